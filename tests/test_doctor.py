import subprocess
import sys

import pytest

from cdrl.cli.doctor import Finding, examine, finding_lines
from cdrl.cli.main import main

HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
"""


def hidden(names, code):
    """Runs code in an interpreter in which these packages are not installed."""
    done = subprocess.run(
        [sys.executable, "-c", HIDE.format(hidden=names) + code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_doctor_finds_what_this_environment_has():
    found = {finding.name: finding for finding in examine()}
    assert found["torch"].present and found["torch"].found.startswith("2.")
    assert found["espeak-ng"].present and found["torchaudio"].present
    assert found["real clips"].found == "6 of CREMA-D"


def test_without_torchaudio_and_espeak_every_module_imports_and_doctor_says_what_needs_them():
    code = (
        "import pkgutil, importlib, cdrl, cdrl.cli.main\n"
        "cdrl.cli.main.main(['doctor'])\n"
        "names = [m.name for m in pkgutil.walk_packages(cdrl.__path__, 'cdrl.')]\n"
        "[importlib.import_module(name) for name in names]\n"
        "print(len(names))"
    )
    printed = hidden(["torchaudio", "espeakng_loader"], code)
    assert int(printed.splitlines()[-1]) > 20  # modules, each imported
    assert (
        "missing  torchaudio: only the wide audio priors (wav2vec 2.0, HuBERT) need it, all else works"
        in printed
    )
    assert (
        "missing  espeak-ng: new studio speech needs it, --preset smoke has its speech cached"
        in printed
    )
    assert "ok       torch: 2." in printed


def test_a_missing_package_that_everything_needs_makes_the_status_1():
    code = "import cdrl.cli.main; print(cdrl.cli.main.main(['doctor']))"
    printed = hidden(["umap"], code)
    assert (
        "missing  umap-learn: pip install umap-learn" in printed and printed.splitlines()[-1] == "1"
    )


def test_missing_data_is_reported_with_its_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("CDRL_DATA", str(tmp_path))
    printed = "\n".join(finding_lines(examine()))
    judge = tmp_path / "weights" / "judge_a.safetensors"
    assert (
        f"missing  weights judge_a: {judge} is missing: git checkout data/weights, or cdrl train judge_a"
        in printed
    )
    assert (
        f"missing  corpus studio: nothing in {tmp_path / 'head'} and {tmp_path / 'speech'}: git checkout data"
        in printed
    )
    assert "missing  real clips: " in printed
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "judge.safetensors").write_bytes(b"0")
    assert "weights judge: " in "\n".join(
        finding_lines(examine())
    ) and "(its card) is missing" in "\n".join(finding_lines(examine()))
    monkeypatch.setenv("CDRL_DATA", str(tmp_path / "gone"))
    assert "missing  data: no data folder at CDRL_DATA=" in "\n".join(finding_lines(examine()))


def test_without_anywidget_and_a_browser_doctor_says_what_still_works(monkeypatch):
    monkeypatch.setattr(
        "cdrl.cli.doctor.find_spec", lambda module: None if module == "anywidget" else True
    )
    monkeypatch.setattr("shutil.which", lambda name: None)
    printed = "\n".join(finding_lines(examine()))
    assert (
        "missing  anywidget: only explorer and dial inside a notebook need it, cdrl explore RUN and cdrl dial RUN write pages without"
        in printed
    )
    assert (
        "missing  browser: only the tests that drive JupyterLab need a Chromium on the path, they skip without"
        in printed
    )


@pytest.mark.parametrize("free, state", [(1e9, "missing"), (1e12, "ok     ")])
def test_too_little_disk_is_reported(monkeypatch, free, state):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": free})())
    assert any(line.startswith(f"{state}  disk: ") for line in finding_lines(examine()))


def test_a_line_says_what_is_found_or_what_to_do():
    assert finding_lines(
        [Finding("a", True, "1.0", "buy it"), Finding("b", False, "", "buy it")]
    ) == ["ok       a: 1.0", "missing  b: buy it"]


def test_doctor_is_a_command(capsys):
    assert main(["doctor"]) in (0, 1)
    assert "python: 3." in capsys.readouterr().out


def test_every_committed_network_is_found():
    """In a clone nothing is missing that `make demo` reads, the two encoders of the guidance included."""
    weights = [finding for finding in examine() if finding.name.startswith("weights")]
    assert {"weights guidance/content", "weights guidance/emotion", "weights generator"} <= {
        w.name for w in weights
    }
    assert [w.name for w in weights if not w.present] == []
