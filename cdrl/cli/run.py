"""The command `cdrl run`: the notebooks in order, after their input was checked."""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cdrl.cli.notebooks import NotebookError, run_notebooks
from cdrl.cli.options import parse_settings, relative_to_root
from cdrl.cli.planning import notebook_paths, plan_notebooks
from cdrl.core.devices import pick_device
from cdrl.core.errors import InputError
from cdrl.core.files import check_disk
from cdrl.core.paths import run_path
from cdrl.core.presets import COSTS
from cdrl.core.settings import EVERY_STAGE, CorpusConfig, PriorsConfig, field_names, stage_config
from cdrl.core.stage import finish_run
from cdrl.core.stage_code import FORMER, other_code, say_other_code, set_aside
from cdrl.evaluation.lip_sync import load_syncnet
from cdrl.evaluation.realism import load_published
from cdrl.report.page import write_report
from cdrl.stages.s00_real_corpus import describe_run
from cdrl.stages.s01_priors import load_priors

FAULT = 1
# Settings of notebook 06 that name weights, and what loads them.
PUBLISHED_WEIGHTS: dict[str, Callable[[str], Any]] = {
    "syncnet": load_syncnet,
    "arcface": partial(load_published, "face"),
    "efficient_face": partial(load_published, "expression"),
}


def run(arguments: argparse.Namespace) -> int:
    """Run the notebooks.

    Args:
        arguments: of the command.

    Returns:
        0, or 1 where a notebook failed by a fault of the kit.
    """
    preset = arguments.preset
    settings = parse_settings(arguments.set)
    if arguments.corpus:
        settings["corpus.corpus"] = arguments.corpus
    if arguments.data_root:
        settings["corpus.data_root"] = arguments.data_root
    check_corpus(preset, settings)
    check_priors(preset, settings)
    check_published_weights(settings)

    folder = f"runs/{preset}" if arguments.out is None else arguments.out
    run_folder = relative_to_root(folder)
    out = run_path(run_folder)
    parameters = plan_notebooks(notebook_paths(), run_folder, preset, settings)
    if arguments.remake:
        _set_aside(run_folder)
    say_other_code(run_folder, other_code(out))
    cost = COSTS[preset]
    check_disk(out, cost.disk_gb)
    print(
        f"preset {preset} into {run_folder}: about {cost.minutes:g} minutes on 2 idle cores, "
        f"{cost.memory_gb:g} GB of memory, {cost.disk_gb:g} GB of disk at most; "
        "Ctrl-C is safe, the same command resumes",
        flush=True,
    )
    try:
        seconds, peak_gb = run_notebooks(parameters, out, first=arguments.first)
    except NotebookError as error:
        print(f"cdrl: {error}", file=sys.stderr)
        return FAULT

    _finish(run_folder, seconds, peak_gb)
    return 0


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


def check_corpus(preset: str, settings: dict[str, str]) -> None:
    """Say what a corpus in a folder holds and allows, before anything runs.

    Bare names of the corpus's settings get their full names, and paths become absolute, because
    the notebooks run in another folder.

    Args:
        preset: name of the preset.
        settings: of the run; changed.

    Raises:
        InputError: for a corpus that is not generated and has no folder, or no usable clips in it.
    """
    for name in field_names(CorpusConfig):
        if name != "seed" and name in settings:  # a bare seed is every stage's
            settings[f"corpus.{name}"] = settings.pop(name)

    config = stage_config("corpus", preset, _of_stage("corpus", settings))
    if config.corpus != "studio" and not config.data_root:
        raise InputError(
            f"corpus {config.corpus}: it is not generated, name its folder: --data-root FOLDER; or "
            "take --corpus studio"
        )
    if config.data_root and not Path(config.data_root).is_dir():
        raise InputError(
            f"corpus {config.corpus}: corpus.data_root={config.data_root} is not a folder: give "
            "the folder that holds the corpus, --set corpus.data_root=FOLDER"
        )

    if config.corpus == "studio":
        if config.data_root:
            raise InputError(
                f"corpus.data_root={config.data_root} names a folder, but the corpus is studio, "
                "which is generated: add --corpus folder, mead, ravdess or crema-d"
            )
    else:
        print("\n".join(describe_run(config)), flush=True)

    settings_with_paths = ["data_root", "ingested"]
    if config.split.endswith(".json"):
        settings_with_paths.append("split")
    for name in settings_with_paths:
        path = getattr(config, name)
        if path:
            settings[f"corpus.{name}"] = _absolute(path)


def check_priors(preset: str, settings: dict[str, str]) -> None:
    """Load the priors before anything runs, so that missing or wrong weights are told at once.

    Bare names of the priors' settings get their full names, and paths become absolute.

    Args:
        preset: name of the preset.
        settings: of the run; changed.

    Raises:
        InputError: for weights that are missing or wrong, and a device that is not here.
    """
    if "device" in settings:
        settings["priors.device"] = settings["device"]
    for name in field_names(PriorsConfig):
        is_shared = name in EVERY_STAGE or name == "batch"  # names that other stages have too
        if not is_shared and name in settings:
            settings[f"priors.{name}"] = settings.pop(name)
    for name in ("priors.weights", "priors.features"):
        if settings.get(name):
            settings[name] = _absolute(settings[name])

    config = stage_config("priors", preset, _of_stage("priors", settings))
    if config.weights:
        os.environ["CDRL_WEIGHTS"] = config.weights  # for the notebooks after 01
    if config.device not in ("auto", "cpu"):
        pick_device(config.device)
    if {config.audio, config.language, config.vision} != {"embedded"}:
        load_priors(replace(config, device="cpu"))  # the GPU is left to the notebooks


def check_published_weights(settings: dict[str, str]) -> None:
    """Load the weights that notebook 06 needs, so that a wrong file is told before the work.

    Args:
        settings: of the run; their paths become absolute.

    Raises:
        InputError: for weights that are missing or wrong.
    """
    for name, load in PUBLISHED_WEIGHTS.items():
        for key in (f"evaluate.{name}", name):
            if settings.get(key):
                settings[key] = _absolute(settings[key])
                load(settings[key])


def _of_stage(stage: str, settings: dict[str, str]) -> dict[str, str]:
    """The settings of one stage, by their full names."""
    prefix = f"{stage}."
    return {name: value for name, value in settings.items() if name.startswith(prefix)}


def _absolute(path: str) -> str:
    """A path that holds in every working directory."""
    return str(Path(path).resolve())
