"""The command `cdrl compare`: losses, encoders and settings of CCRL beside the kit's."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cdrl.cli.checks import ideas_of
from cdrl.cli.options import relative_to_root
from cdrl.core.paths import run_path
from cdrl.core.results import RESULTS
from cdrl.core.settings import ContentConfig, stage_config, stage_folder
from cdrl.report.ideas import idea_lines
from cdrl.stages import SMALL_RUN, compare_content, prepare_features

DEMO = "runs/demo"
SMALL = "runs/ideas"
KIT = "the kit's"


def compare(arguments: argparse.Namespace) -> None:
    """Train CCRL with each idea and without, and print the scores and their differences.

    Args:
        arguments: of the command.
    """
    ideas = ideas_of(arguments)
    configs = {KIT: _config(arguments, {})}
    for name, settings in ideas.items():
        configs[name] = _config(arguments, settings)

    run, run_settings = _run_with_features(arguments)
    seeds = range(arguments.seeds)
    print(
        f"features of {run}; {len(configs)} x {arguments.seeds} trainings of {arguments.steps} "
        "steps",
        flush=True,
    )
    probes = stage_config("probe", arguments.preset, run_settings)
    scores = compare_content(run_path(run), configs, probes, seeds)
    print("\n".join(idea_lines(scores)))


def _config(arguments: argparse.Namespace, settings: dict[str, str]) -> ContentConfig:
    """The settings of CCRL with those of one idea."""
    sizes = {"content.steps": arguments.steps, "content.batch": arguments.batch}
    return stage_config("content", arguments.preset, sizes | settings)


def _run_with_features(arguments: argparse.Namespace) -> tuple[Path, Mapping[str, Any]]:
    """The run that is named; else that of `make demo`; else a small one, which is made.

    Returns:
        The run, and settings that are not those of its preset.
    """
    if arguments.run:
        return relative_to_root(arguments.run), {}
    if _has_features(DEMO):
        return Path(DEMO), {}
    if not _has_features(SMALL):
        print(
            f"{DEMO} has no features: a small corpus into {SMALL} first, in some two minutes",
            flush=True,
        )
    prepare_features(run_path(SMALL), arguments.preset, SMALL_RUN)
    return Path(SMALL), SMALL_RUN


def _has_features(run: str) -> bool:
    """Whether notebooks 00 and 01 of a run are done."""
    return (stage_folder(run_path(run), "priors") / RESULTS).exists()
