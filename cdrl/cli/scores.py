"""The command `cdrl scores`: the scores of a run, one a line."""

import argparse
from collections.abc import Mapping
from typing import Any

from cdrl.core.errors import InputError
from cdrl.core.results import all_scores, read_results, score_lines
from cdrl.report.main_scores import NUM_SCORES, in_columns, main_scores, parts_of, score_texts
from cdrl.report.words import words_of

HEADS = ("name", "value", "chance", "95 % interval", "n", "what")


def scores(arguments: argparse.Namespace) -> None:
    """Print the scores of a run: those that matter, those of a pattern, or all.

    Args:
        arguments: of the command.

    Raises:
        InputError: where no score matches the pattern.
    """
    run = arguments.run
    pattern = arguments.pattern
    values = all_scores(read_results(run))
    if not pattern and not arguments.all and len(values) > NUM_SCORES:
        print("\n".join(_main_lines(values, run)))
        return

    lines = score_lines(values, pattern)
    if not lines:
        raise InputError(
            f"no score of {run} matches {pattern!r}: cdrl scores {run} --all lists all"
        )
    print("\n".join(lines))


def _main_lines(values: Mapping[str, Any], run: str) -> list[str]:
    """The scores that matter as a table, and how to see the others."""
    texts = score_texts(values)
    names = main_scores(values)
    rows: list[tuple[str, ...]] = [HEADS]
    for name in names:
        parts = parts_of(texts, name)
        numbers = [parts.get(part, "") for part in ("chance", "interval", "n")]
        rows.append((name, texts[name], *numbers, words_of(name)))

    lines = in_columns(rows)
    lines.append("")
    lines.append(
        f"{len(names)} of {len(values):,} lines. Others by name: cdrl scores {run} content, or "
        f"'spfem.*.psnr'; every one: cdrl scores {run} --all"
    )
    return lines
