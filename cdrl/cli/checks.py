"""What commands check before they import anything heavy: settings, files and folders.

A bad value is answered at once. What needs the kit's networks or a corpus is checked later, by the
command itself, still before any work.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cdrl.cli.grid_file import check_grid, grid_folder, read_grid
from cdrl.cli.options import absolute_places, parse_settings, relative_to_root
from cdrl.cli.planning import notebook_paths, plan_notebooks
from cdrl.core.errors import InputError
from cdrl.core.paths import run_path
from cdrl.core.places import check_file, check_folder
from cdrl.core.settings import (
    ContentConfig,
    IngestConfig,
    StudyConfig,
    field_infos,
    from_dict,
    read_value,
    resolve_settings,
)
from cdrl.core.user_code import INTERFACES

MOST_WORKERS = 1024
MOST_SEEDS = 100

# What `cdrl study --sealed` says of who scores; nothing else is accepted.
SEALED_SETTINGS = {"split": "sealed", "half": "opponents", "studio_version": 1, "speech": "espeak"}


def run(arguments: argparse.Namespace) -> None:
    """Check the settings of `cdrl run`, and its folder.

    Args:
        arguments: of the command.

    Raises:
        InputError: for what cannot be used.
    """
    settings = run_settings(arguments)
    check_folder("--out", arguments.out or run_path(f"runs/{arguments.preset}"))
    plan_notebooks(notebook_paths(), run_folder(arguments), arguments.preset, settings)


def run_settings(arguments: argparse.Namespace) -> dict[str, str]:
    """The settings of `cdrl run`, by the names that were typed.

    Args:
        arguments: of the command.
    """
    settings = parse_settings(arguments.set)
    if arguments.corpus:
        settings["corpus.corpus"] = arguments.corpus
    if arguments.data_root:
        settings["corpus.data_root"] = arguments.data_root
    if arguments.cluster:
        settings["corpus.cluster"] = arguments.cluster
    return absolute_places(settings)


def run_folder(arguments: argparse.Namespace) -> Path:
    """The folder of `cdrl run`, as its notebooks get it.

    Args:
        arguments: of the command.
    """
    folder = f"runs/{arguments.preset}" if arguments.out is None else arguments.out
    return relative_to_root(folder)


def compare(arguments: argparse.Namespace) -> None:
    """Check the ideas of `cdrl compare`, and its numbers.

    Args:
        arguments: of the command.

    Raises:
        InputError: for what cannot be used.
    """
    ideas_of(arguments)
    infos = field_infos(ContentConfig)
    read_value("--steps", infos["steps"], arguments.steps)
    read_value("--batch", infos["batch"], arguments.batch)
    seeds = arguments.seeds
    if not 1 <= seeds <= MOST_SEEDS:
        raise InputError(f"--seeds {seeds}: a whole number from 1 to {MOST_SEEDS} is needed")


def ideas_of(arguments: argparse.Namespace) -> dict[str, dict[str, str]]:
    """The ideas of `cdrl compare`: the text of each -> its settings by their full names.

    Args:
        arguments: of the command.

    Raises:
        InputError: a text that is no setting, or a setting of another stage.
    """
    ideas = {}
    for text in arguments.ideas:
        settings = resolve_settings(parse_settings(text.split(","), "idea"))
        for name in settings:
            if name == "content.seed":
                raise InputError(f"{text}: every idea is trained with the same seeds, --seeds N")
            if not name.startswith("content."):
                raise InputError(
                    f"{text}: settings of CCRL are compared, content.NAME; for {name} run "
                    f"cdrl run --set {text}"
                )
        ideas[text] = settings

    return ideas


def grid(arguments: argparse.Namespace) -> None:
    """Check the file of `cdrl grid`, the settings of its runs, and its folder.

    Args:
        arguments: of the command.

    Raises:
        InputError: for what cannot be used.
    """
    workers = arguments.workers
    if not 1 <= workers <= MOST_WORKERS:
        raise InputError(f"--workers {workers}: a whole number from 1 to {MOST_WORKERS} is needed")
    read_value("--cluster", field_infos(IngestConfig)["cluster"], arguments.cluster)
    check_folder("--out", arguments.out or grid_folder(arguments.grid, None))
    check_grid(read_grid(arguments.grid), grid_folder(arguments.grid, arguments.out))


def study(arguments: argparse.Namespace) -> None:
    """Check the settings and the folders of `cdrl study`.

    Args:
        arguments: of the command.

    Raises:
        InputError: for what cannot be used.
    """
    study_settings(arguments)
    check_folder("--out", study_folder(arguments))
    check_folder("--work", arguments.work)


def study_folder(arguments: argparse.Namespace) -> str:
    """The folder of the tables of `cdrl study`.

    Args:
        arguments: of the command.
    """
    if arguments.out is not None:
        return arguments.out
    return "results/sealed" if arguments.sealed else "results/study"


def study_settings(arguments: argparse.Namespace) -> StudyConfig:
    """The settings of `cdrl study`.

    Args:
        arguments: of the command.

    Raises:
        InputError: for what cannot be used.
    """
    settings: dict[str, Any] = {}
    for name, value in parse_settings(arguments.set).items():
        if name in INTERFACES:  # content.loss, which the study calls content_loss
            name = name.replace(".", "_")
        settings[name.removeprefix("study.")] = value
    if arguments.cluster:
        settings["cluster"] = arguments.cluster
    if arguments.again and not arguments.sealed:
        raise InputError("--again: only the sealed set is scored once; add --sealed, or leave it")
    if arguments.sealed:
        _check_sealed(settings)
        settings = SEALED_SETTINGS | settings
    elif settings.get("split") == "sealed":
        raise InputError("split=sealed: `cdrl study --sealed` scores the sealed set, and once")
    return from_dict(StudyConfig, settings)


def _check_sealed(settings: Mapping[str, Any]) -> None:
    """Refuse settings that the sealed set does not have."""
    for name, value in SEALED_SETTINGS.items():
        given = settings.get(name, value)
        if str(given) != str(value):
            raise InputError(f"{name}={given}: the sealed set has {name}={value}; leave it out")


def train(arguments: argparse.Namespace) -> None:
    """Check the folders of `cdrl train`, where it writes any.

    Args:
        arguments: of the command.

    Raises:
        InputError: for what cannot be used.
    """
    if arguments.name or arguments.cards:
        check_folder("--out", arguments.out)
    if arguments.name:
        check_folder("--work", arguments.work)


def evaluate(arguments: argparse.Namespace) -> None:
    """Check the folders of `cdrl evaluate`.

    Args:
        arguments: of the command.

    Raises:
        InputError: for what cannot be used.
    """
    check_folder("--out", arguments.out)
    if arguments.work:
        check_folder("--work", arguments.work)


def export(arguments: argparse.Namespace) -> None:
    """Check the folder of `cdrl export`.

    Args:
        arguments: of the command.

    Raises:
        InputError: for what cannot be used.
    """
    check_folder("--out", arguments.out)


def page(arguments: argparse.Namespace) -> None:
    """Check the file of `cdrl explore` and `cdrl dial`.

    Args:
        arguments: of the command.

    Raises:
        InputError: for what cannot be used.
    """
    if arguments.out:
        check_file("--out", arguments.out, ".html")


def manifest(arguments: argparse.Namespace) -> None:
    """Check the manifest of `cdrl data check`, where it is written.

    Args:
        arguments: of the command.

    Raises:
        InputError: for what cannot be used.
    """
    if arguments.manifest:
        check_file("--manifest", arguments.manifest)


def ingest(arguments: argparse.Namespace) -> None:
    """Check the options of `cdrl data ingest`, and its store.

    Args:
        arguments: of the command.

    Raises:
        InputError: for what cannot be used.
    """
    check_folder("--out", arguments.out)
    if Path(arguments.out).resolve() == Path.cwd():
        raise InputError(
            f"--out {arguments.out}: is the working folder, which a store would replace; name a "
            "folder in it, as in --out store"
        )
    options = {
        "fps": "frame_rate",
        "crop_size": "crop_size",
        "workers": "workers",
        "cluster": "cluster",
        "detector": "detector",
        "boxes": "boxes",
        "limit": "limit_seconds",
    }
    infos = field_infos(IngestConfig)
    for option, field in options.items():
        label = f"--{option.replace('_', '-')}"
        read_value(label, infos[field], getattr(arguments, option))


def studio(arguments: argparse.Namespace) -> None:
    """Check the folder of `cdrl data studio`.

    Args:
        arguments: of the command.

    Raises:
        InputError: for what cannot be used.
    """
    check_folder("--out", arguments.out)
