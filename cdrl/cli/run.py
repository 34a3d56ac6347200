"""The command `cdrl run`: the notebooks in order, after their input was checked."""

import argparse
import io
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path

from cdrl.cli.checks import run_folder, run_settings
from cdrl.cli.notebooks import NotebookError, run_notebooks
from cdrl.cli.planning import notebook_paths, plan_notebooks
from cdrl.core.files import check_disk
from cdrl.core.paths import run_path
from cdrl.core.pools import beside
from cdrl.core.presets import COSTS
from cdrl.core.stage import finish_run
from cdrl.core.stage_code import FORMER, other_code, say_other_code, set_aside
from cdrl.report.run_page import write_report

FAULT = 1


def run(arguments: argparse.Namespace) -> int:
    """Run the notebooks.

    Args:
        arguments: of the command.

    Returns:
        0, or 1 where a notebook failed by a fault of the kit.
    """
    preset = arguments.preset
    settings = _look_for_inputs(preset, run_settings(arguments))
    weights = settings.get("priors.weights")
    if weights:
        os.environ["CDRL_WEIGHTS"] = weights  # for the notebooks after 01

    folder = run_folder(arguments)
    out = run_path(folder)
    parameters = plan_notebooks(notebook_paths(), folder, preset, settings)
    if arguments.remake:
        _set_aside(folder)
    say_other_code(folder, other_code(out))
    cost = COSTS[preset]
    check_disk(out, cost.disk_gb)
    print(
        f"preset {preset} into {folder}: about {cost.minutes:g} minutes on 2 idle cores, "
        f"{cost.memory_gb:g} GB of memory, {cost.disk_gb:g} GB of disk at most; "
        "Ctrl-C is safe, the same command resumes",
        flush=True,
    )
    try:
        seconds, peak_gb = run_notebooks(parameters, out, first=arguments.first)
    except NotebookError as error:
        print(f"cdrl: {error}", file=sys.stderr)
        return FAULT

    _finish(folder, seconds, peak_gb)
    return 0


def _look_for_inputs(preset: str, settings: dict[str, str]) -> dict[str, str]:
    """The settings after `check_inputs`, which is done in a process that ends.

    This process stays to the end of the run, so that what the check imports would stay in memory.
    Where it is imported already, this process checks.
    """
    if "cdrl.stages" in sys.modules:
        checked, findings = _check_inputs(preset, settings)
    else:
        with beside(_check_inputs, [(preset, settings)], 2) as results:  # this process and one more
            pass
        [(checked, findings)] = results
    if findings:
        print(findings, end="", flush=True)
    return checked


def _check_inputs(preset: str, settings: dict[str, str]) -> tuple[dict[str, str], str]:
    """The settings after `check_inputs`, and what it printed."""
    from cdrl.cli.inputs import check_inputs  # imports every stage

    findings = io.StringIO()
    with redirect_stdout(findings):
        check_inputs(preset, settings)
    return settings, findings.getvalue()


def _set_aside(run_folder: Path) -> None:
    """Move the stages that other code made out of the way, and say where they are."""
    moved = set_aside(run_path(run_folder))
    if moved:
        names = ", ".join(folder.name for folder in moved)
        print(
            f"made again: {names}; as they were they are in {run_folder}/{FORMER}, remove it if "
            "you need them no more",
            flush=True,
        )


def _finish(run_folder: Path, seconds: float, peak_gb: float) -> None:
    """Write the results and the report of a complete run, and say where they are."""
    out = run_path(run_folder)
    measured = finish_run(out, seconds, peak_gb)["run"]
    page = write_report(out)
    minutes = measured["time.total_seconds"] / 60
    memory_gb = measured["memory.peak_gb"]
    print(
        f"{minutes:.1f} minutes, {memory_gb:.1f} GB at most. Read {run_folder}/{page.name}; "
        f"videos in {run_folder}/videos, scores: cdrl scores {run_folder}"
    )
