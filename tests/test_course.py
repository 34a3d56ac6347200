"""The notebooks as a course: none lacks a part of the argument, and what they tell to try is accepted as it stands."""

import re
import shlex
import subprocess
from pathlib import Path

import nbformat
import pytest
import yaml

from cdrl.cli.grid import check_grid, read_grid
from cdrl.cli.main import build_parser, parse_settings
from cdrl.cli.notebooks import declared_parameters, notebook_paths
from cdrl.core.paths import repository_root
from cdrl.core.results import RESULTS
from cdrl.core.settings import STAGES, stage_config, stage_folder
from cdrl.core.stage import check_stage, run_stage
from cdrl.priors.language import WORDS

ROOT = repository_root()
PAPER = "arxiv.org/abs/2504.05672"
PARTS = ("**Question.**", "**Idea", "**Figure.**", "**Reading.**", "## Try next")


def prose(path):
    return "\n\n".join(
        cell.source
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown"
    )


@pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)
def test_no_part_of_the_argument_is_missing(path):
    text = prose(path)
    assert [part for part in PARTS if part not in text] == []
    first = nbformat.read(path, as_version=4).cells[0].source
    assert "$$" in first and PAPER in first, "the idea has its equation and its source"
    assert len(set(re.findall(r"arxiv\.org/abs/[\d.]+\d|doi\.org/[\w./-]+", text))) >= 2, (
        "and a classical one"
    )
    assert re.search(r"[Rr]efuted|would mean|would have proved us", text), (
        "what would have refuted it"
    )


def commands(path):
    """The lines that a notebook gives to be typed, each command alone."""
    for block in re.findall(r"^```\n(.*?)^```", prose(path), re.S | re.M):
        yield from (part.strip() for line in block.splitlines() for part in line.split("&&"))


@pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)
def test_what_a_notebook_tells_to_try_is_accepted_and_changes_something(path, tmp_path):
    tried = [shlex.split(line) for line in commands(path)]
    runs = [words for words in tried if words[:2] == ["cdrl", "run"]]
    assert runs, "a run with one thing changed"
    for words in tried:
        if words[0] == "cdrl":
            chosen = build_parser().parse_args(words[1:])
            if words[1] == "run":
                check_settings(parse_settings(chosen.set), chosen.preset)
            elif words[1] == "edit":
                assert (ROOT / chosen.source).is_file() and set(
                    re.findall(r"\w+", chosen.text)
                ) <= set(WORDS)
        elif words[0] == "papermill":
            check_papermill(words[1:])
        elif words[0] == "printf":
            grid = tmp_path / words[-1]
            grid.write_text(words[1].replace("\\n", "\n"))
            check_grid(read_grid(grid), tmp_path / "grid")
        else:
            assert words[0] in ("mkdir", "cp"), words


def check_settings(settings, preset):
    for stage in STAGES:  # as `cdrl run` asks before anything runs
        stage_config(stage, preset, settings)
    for name, value in settings.items():
        stage, _, field = name.partition(".")
        before = getattr(stage_config(stage, preset, {}), field)
        assert getattr(stage_config(stage, preset, {name: value}), field) != before, (
            f"{name} is {before} already"
        )


def check_papermill(words):
    source, target, given = words[0], words[1], parameters(words)
    assert (ROOT / source).is_file() and target.endswith(".ipynb")
    assert set(given) <= set(declared_parameters(ROOT / source))
    check_settings(given["settings"], given.get("preset", "cpu"))


def parameters(words):
    """What the words behind `papermill` give the notebook."""
    given, rest = {}, words[2:]
    while rest:
        option, value, *rest = rest
        if option == "-p":
            given[value], *rest = rest
        elif option == "-y":
            given |= yaml.safe_load(value)
        else:
            assert (option, value) == ("-k", "python3")
    return given | {"settings": {name: str(value) for name, value in given["settings"].items()}}


def asked(words):
    """(folder of the run, preset, settings, the one stage to be made or None for all) of a command; None for one that makes no stage."""
    if words[:2] == ["cdrl", "run"]:
        chosen = build_parser().parse_args(words[1:])
        return chosen.out, chosen.preset, parse_settings(chosen.set), None
    if words[0] == "papermill":
        given = parameters(words[1:])
        return (
            given["run_folder"],
            given.get("preset", "cpu"),
            given["settings"],
            list(STAGES)[int(Path(words[1]).name[:2])],
        )
    return None


@pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)
def test_what_is_told_to_be_copied_is_all_that_stays_the_same(path, tmp_path):
    """After the copies that stand before it, a run is not refused, and makes nothing but what its settings change and what follows."""
    for stage in STAGES:
        run_stage(stage_config(stage, "cpu", {}), tmp_path / "runs" / "demo", lambda out: {})
    for command in commands(path):
        words = shlex.split(command)
        if words[0] in ("mkdir", "cp"):
            subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
        elif asked(words):
            run, preset, settings, only = asked(words)
            configs = {stage: stage_config(stage, preset, settings) for stage in STAGES}
            for config in configs.values():
                check_stage(config, tmp_path / run)
            there = [
                stage
                for stage in STAGES
                if (stage_folder(tmp_path / run, stage) / RESULTS).exists()
            ]
            changed = min(list(STAGES).index(name.partition(".")[0]) for name in settings)
            assert there == list(STAGES)[:changed] and only in (None, list(STAGES)[changed]), (
                command
            )
            run_stage(configs[list(STAGES)[changed]], tmp_path / run, lambda out: {})
