"""The command `cdrl scores`: the scores of a run, one a line."""

import argparse

from cdrl.core.errors import InputError
from cdrl.core.results import all_scores, read_results, score_lines


def scores(arguments: argparse.Namespace) -> None:
    """Print the scores of a run.

    Args:
        arguments: of the command.

    Raises:
        InputError: where no score matches the pattern.
    """
    run = arguments.run
    pattern = arguments.pattern
    lines = score_lines(all_scores(read_results(run)), pattern)
    if not lines:
        raise InputError(f"no score of {run} matches {pattern!r}: cdrl scores {run} lists all")
    print("\n".join(lines))
