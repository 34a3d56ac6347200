"""The commands `cdrl train` and `cdrl study`: committed networks, and the comparison over seeds."""

import argparse
from pathlib import Path

from cdrl.cli.checks import study_folder, study_settings
from cdrl.core.errors import InputError
from cdrl.core.files import check_disk
from cdrl.core.results import all_scores, score_lines
from cdrl.recipes import RECIPES
from cdrl.report.model_cards import write_cards
from cdrl.study.run import run_study

# Scores that the study prints at its end.
MAIN_SCORES = (
    "control.inside",
    "spfem.*.cdrl_minus_baseline.mouth_error.at_equal_accuracy*",
    "spfem.actions.frontier.cdrl_minus_baseline.*",
    "sealed.*",
)
STUDY_DISK_GB = {"espeak": 20, "cached": 1}


def train(arguments: argparse.Namespace) -> None:
    """Make a committed network again, list them all, or write their cards.

    Args:
        arguments: of the command.

    Raises:
        InputError: for an unknown network.
    """
    name = arguments.name
    if arguments.cards:
        print(write_cards(Path(arguments.out)))
    elif not name:
        for recipe in RECIPES.values():
            print(f"{recipe.name}: {recipe.summary}")
    elif name in RECIPES:
        out = Path(arguments.out)
        work = Path(arguments.work) / name
        card = RECIPES[name].make(out, work)
        print("\n".join(score_lines(card["scores"])))
    else:
        raise InputError(f"unknown network {name!r}: accepted are {', '.join(RECIPES)}")


def study(arguments: argparse.Namespace) -> None:
    """Run all rows of the comparison and print its main scores.

    Args:
        arguments: of the command.
    """
    config = study_settings(arguments)
    out = Path(study_folder(arguments))
    work = Path(arguments.work)
    check_disk(work, STUDY_DISK_GB[config.speech])
    results = run_study(out, work, config, again=arguments.again)

    scores = all_scores(results)
    for pattern in MAIN_SCORES:
        print("\n".join(score_lines(scores, pattern)))
    print(f"tables: {out}, scores: cdrl scores {out}")
