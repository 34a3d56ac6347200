"""What a run needs beside its settings, asked before it begins: corpora, networks, devices."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cdrl.core.devices import pick_device
from cdrl.core.errors import InputError
from cdrl.core.settings import (
    EVERY_STAGE,
    STAGES,
    CorpusConfig,
    PriorsConfig,
    field_names,
    stage_config,
)
from cdrl.evaluation.lip_sync import load_syncnet
from cdrl.evaluation.realism import load_published
from cdrl.priors.sources import check_folder
from cdrl.stages.s00_corpus import list_clips
from cdrl.stages.s00_real_corpus import describe_run
from cdrl.stages.s01_priors import load_priors

# Settings of notebook 06 that name weights, and what loads them.
PUBLISHED_WEIGHTS: dict[str, Callable[[str], Any]] = {
    "syncnet": load_syncnet,
    "arcface": partial(load_published, "face"),
    "efficient_face": partial(load_published, "expression"),
}


def check_inputs(preset: str, settings: dict[str, str]) -> None:
    """Look for all that a run will need, before anything runs.

    Args:
        preset: name of the preset.
        settings: of the run; bare names of corpus and priors get their full names, and paths become
            absolute, because the notebooks run in another folder.

    Raises:
        InputError: for what is not there or cannot be used.
    """
    check_corpus(preset, settings)
    check_devices(preset, settings)
    check_priors(preset, settings)
    check_published_weights(settings)


def check_devices(preset: str, settings: dict[str, str]) -> None:
    """Refuse a device that is not here.

    Args:
        preset: name of the preset.
        settings: of the run.

    Raises:
        InputError: with the device and those that are accepted.
    """
    for stage, config_class in STAGES.items():
        if "device" not in field_names(config_class):
            continue
        names = _of_stage(stage, settings)
        if "device" in settings:
            names["device"] = settings["device"]
        device = stage_config(stage, preset, names).device
        if device not in ("auto", "cpu"):
            pick_device(device)


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
        if name not in EVERY_STAGE and name in settings:  # a bare seed is every stage's
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
        list_clips(config)  # refuses more people or sentences than there are
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
        InputError: for weights that are missing or wrong.
    """
    for name in field_names(PriorsConfig):
        is_shared = name in EVERY_STAGE or name == "batch"  # names that other stages have too
        if not is_shared and name in settings:
            settings[f"priors.{name}"] = settings.pop(name)
    for name in ("priors.weights", "priors.features"):
        if settings.get(name):
            settings[name] = _absolute(settings[name])

    config = stage_config("priors", preset, _of_stage("priors", settings))
    check_folder(config)
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
