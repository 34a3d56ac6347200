"""`cdrl doctor` finds what is here, and says what each missing piece would need."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from cdrl.cli.doctor import Finding, examine, finding_lines
from cdrl.cli.main import main

HIDE_PACKAGES = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
"""
RUN_DOCTOR = "import cdrl.cli.main; print(cdrl.cli.main.main(['doctor']))"
IMPORT_EVERYTHING = """
import importlib, pkgutil
import cdrl, cdrl.cli.main
cdrl.cli.main.main(["doctor"])
names = [module.name for module in pkgutil.walk_packages(cdrl.__path__, "cdrl.")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def run_without(packages, code):
    """What code prints in an interpreter in which these packages are not installed."""
    hide = HIDE_PACKAGES.format(hidden=packages)
    done = subprocess.run([sys.executable, "-c", hide + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def doctor_text():
    return "\n".join(finding_lines(examine()))


def test_doctor_finds_what_this_environment_has():
    findings = {finding.name: finding for finding in examine()}
    assert findings["torch"].present
    assert findings["torch"].detail.startswith("2.")
    assert findings["espeak-ng"].present
    assert findings["torchaudio"].present
    assert findings["real clips"].detail == "6 of CREMA-D"


def test_without_torchaudio_and_espeak_all_is_imported_and_doctor_says_what_needs_them():
    printed = run_without(["torchaudio", "espeakng_loader"], IMPORT_EVERYTHING)
    num_modules = int(printed.splitlines()[-1])
    assert num_modules > 20
    assert "missing  torchaudio: only the wide audio priors" in printed
    assert "missing  espeak-ng: new studio speech needs it, --preset smoke has" in printed
    assert "ok       torch: 2." in printed


@pytest.mark.parametrize("module, name", [("umap", "umap-learn"), ("torch", "torch")])
def test_a_missing_package_that_everything_needs_makes_the_status_1(module, name):
    printed = run_without([module], RUN_DOCTOR)
    assert f"missing  {name}: pip install {name}" in printed
    assert printed.splitlines()[-1] == "1"


def test_missing_data_is_reported_with_its_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("CDRL_DATA", str(tmp_path))
    printed = doctor_text()
    judge = tmp_path / "weights" / "judge_a.safetensors"
    assert f"missing  weights judge_a: {judge} is missing: git checkout data/weights" in printed
    assert "cdrl train judge_a" in printed
    folders = f"{tmp_path / 'head'} and {tmp_path / 'speech'}"
    assert f"missing  corpus studio: nothing in {folders}: git checkout data" in printed
    assert "missing  real clips: " in printed


def test_weights_without_a_card_are_reported(monkeypatch, tmp_path):
    monkeypatch.setenv("CDRL_DATA", str(tmp_path))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "judge.safetensors").write_bytes(b"0")
    printed = doctor_text()
    assert "missing  weights judge: " in printed
    assert "(its card) is missing" in printed


def test_a_missing_data_folder_is_reported(monkeypatch, tmp_path):
    monkeypatch.setenv("CDRL_DATA", str(tmp_path / "gone"))
    assert "missing  data: no data folder at CDRL_DATA=" in doctor_text()


def test_without_anywidget_and_a_browser_doctor_says_what_still_works(monkeypatch):
    def find_spec(module):
        return None if module == "anywidget" else True

    monkeypatch.setattr("cdrl.cli.doctor.find_spec", find_spec)
    monkeypatch.setattr("shutil.which", lambda name: None)
    printed = doctor_text()
    assert "missing  anywidget: only explorer and dial inside a notebook need it" in printed
    assert "cdrl explore RUN and cdrl dial RUN write pages without" in printed
    assert "missing  browser: only the tests that drive JupyterLab need a Chromium" in printed


@pytest.mark.parametrize("free, state", [(1e9, "missing"), (1e12, "ok     ")])
def test_too_little_disk_is_reported(monkeypatch, free, state):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    assert f"{state}  disk: " in doctor_text()


def test_doctor_says_where_compiled_code_is_kept(monkeypatch):
    found = {finding.name: finding for finding in examine()}["compiled code"]
    assert found.present
    monkeypatch.setattr("cdrl.cli.doctor.choose_compile_cache", lambda: "/scratch/cdrl-numba-1")
    monkeypatch.setattr("tempfile.tempdir", "/scratch")
    printed = doctor_text()
    assert "missing  compiled code: neither the installation nor ~/.cache can be written" in printed
    assert "set NUMBA_CACHE_DIR" in printed


def test_a_line_says_what_is_there_or_what_to_do():
    present = Finding("a", True, "1.0", "buy it")
    missing = Finding("b", False, "", "buy it")
    assert finding_lines([present, missing]) == ["ok       a: 1.0", "missing  b: buy it"]


def test_doctor_is_a_command(capsys):
    assert main(["doctor"]) in (0, 1)
    assert "python: 3." in capsys.readouterr().out


def test_every_committed_network_is_found():
    """In a clone nothing is missing that `make demo` reads, with both encoders of the guidance."""
    weights = [finding for finding in examine() if finding.name.startswith("weights")]
    names = {finding.name for finding in weights}
    assert {"weights guidance/content", "weights guidance/emotion", "weights generator"} <= names
    assert [finding.name for finding in weights if not finding.present] == []
