"""Variants of the edit compared clip by clip: the paired difference, and the mouth at equal emotion accuracy."""

from collections.abc import Callable

import numpy as np

from cdrl.evaluation import edit_scores
from cdrl.evaluation.estimate import (
    CONFIDENCE,
    Estimate,
    ScoreStatistics,
    mean_statistics,
    paired_difference,
    ratio,
    resample_counts,
    sum_by_group,
)

# Accuracies between nothing done and what the weaker one reaches, for the mean over all of them.
STEPS = 20
# How the sums of each score finish; `mouth_error` also needs the spread of the truth, which its sums hold.
FINISH: dict[str, Callable] = {
    "mouth_correlation": edit_scores.correlation,
    "emotion_accuracy": edit_scores.lower_judge,
    **dict.fromkeys(("speech_correlation", "psnr", "mouth_l1", "identity", "jitter"), ratio),
}


def restore_statistics(name: str, sums: np.ndarray) -> ScoreStatistics:
    """The measure of score `name` whose statistics (C, M) were kept: `restore_statistics(name, m.rows).value == m.value`."""
    return (
        ScoreStatistics(sums, FINISH[name]) if name in FINISH else edit_scores.mouth_error_of(sums)
    )


def single_judge(accuracy: ScoreStatistics, judge: int) -> ScoreStatistics:
    """The accuracy of judge 0 or 1 alone, from `edit_scores.emotion_accuracy`; sums are (C, 3)."""
    return mean_statistics(accuracy.rows[:, judge])


def estimate_differences(
    prefix: str,
    first: dict[str, ScoreStatistics],
    second: dict[str, ScoreStatistics],
    clips: np.ndarray,
    target: np.ndarray = (),
    seed: int = 0,
) -> dict:
    """Paired bootstrap over clips of every score that both have, and of it for each target emotion where they are given.

    Args:
        prefix: "spfem.image.cdrl_minus_baseline". first, second: score name -> measure, the same rows in the same order.
        clips: (C,) the clip of each row, so that the seeds of a clip stay together. target: (C,) the emotion asked for.

    Returns:
        `PREFIX.NAME` with value, low, high, p, n, and `PREFIX.NAME.EMOTION`; a variant against itself is 0 in 0 to 0.
    """
    rows = {}
    for name in (name for name in first if name in second):
        rows[f"{prefix}.{name}"] = paired_difference(first[name], second[name], clips, seed)
        for emotion in np.unique(target):
            part = np.asarray(target) == emotion
            some = [
                ScoreStatistics(measures[name].rows[part], measures[name].formula)
                for measures in (first, second)
            ]
            rows[f"{prefix}.{name}.{emotion}"] = paired_difference(
                *some, np.asarray(clips)[part], seed
            )
    return rows


def error_at(accuracy: np.ndarray, error: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The error where a dial that is turned up from nothing first reaches an accuracy; straight between its settings.

    Args:
        accuracy, error: (..., K) at K settings of the dial, the first is nothing done. wanted: (...).

    Returns:
        (...); nan where no setting reaches it. Accuracies 0, .5, 1 and errors 2, 1, 3 give 1.5 at .25 and 2 at .75.
    """
    reached = accuracy >= wanted[..., None] - 1e-12
    to = reached.argmax(-1)
    low = np.maximum(to - 1, 0)
    (a, b), (x, y) = (
        [np.take_along_axis(values, k[..., None], -1)[..., 0] for k in (low, to)]
        for values in (accuracy, error)
    )
    share = np.where(b > a, (wanted - a) / np.where(b > a, b - a, 1), 1.0).clip(0, 1)
    return np.where(reached.any(-1), x + share * (y - x), np.nan)


def equal_accuracy(
    first: list[list[tuple]], second: list[list[tuple]], clips: np.ndarray, seed: int = 0
) -> dict[str, dict]:
    """The error of `first` minus that of `second` at equal emotion accuracy, each along its own dial.

    `at_best`: at the accuracy that the weaker one reaches at most. `over_accuracies`: the mean over `STEPS` accuracies from what
    the source scores up to there. In every resample of the clips the curves, and what the weaker one reaches, are made anew.

    Args:
        first, second: one or more curves, one for each weight that was trained with (the least error of them counts, so give
            both variants as many): (accuracy, error) measures at each setting of the dial, the first one with nothing done;
            their rows are the same. clips: (C,) what is drawn again, as in `estimate_differences`.

    Returns:
        at_best, over_accuracies: value, low, high, p, n, accuracy (where the curves end), first, second (their errors). Two
        variants that are one give 0 in 0 to 0.
    """
    groups = len(np.unique(clips))
    counts = np.concatenate(
        [np.ones((1, groups), int), resample_counts(groups, seed)]
    )  # the clips themselves, then every resample
    curves = [[_curve(curve, clips, counts) for curve in family] for family in (first, second)]
    best = np.minimum(
        *(np.max([accuracy.max(-1) for accuracy, _ in family], 0) for family in curves)
    )
    start = curves[0][0][0][:, 0]
    levels = start + (best - start) * np.linspace(0, 1, STEPS)[1:, None]
    found = {
        "at_best": [_least(family, best) for family in curves],
        "over_accuracies": [
            np.mean([_least(family, level) for level in levels], 0) for family in curves
        ],
    }
    return {name: _cells(*errors, best[0], groups) for name, errors in found.items()}


def _curve(points: list[tuple], clips: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(2, draws, K) accuracy and error of every resample at every setting of the dial."""
    return np.array(
        [[m.formula(counts @ sum_by_group(m.rows, clips)) for m in point] for point in points]
    ).transpose(1, 2, 0)


def _least(family: list[np.ndarray], wanted: np.ndarray) -> np.ndarray:
    """(draws,) the least error of the curves that reach an accuracy."""
    errors = [error_at(*curve, wanted) for curve in family]
    return np.min([np.where(np.isnan(error), np.inf, error) for error in errors], 0)


def _cells(first: np.ndarray, second: np.ndarray, accuracy: float, groups: int) -> Estimate:
    """Value from the first entry of (1 + draws,), interval and p from the others, as in `bootstrap.paired_difference`."""
    drawn = (first - second)[1:]
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    tail = 2 * min(np.mean(drawn <= 0), np.mean(drawn >= 0))
    details = {"accuracy": float(accuracy), "first": float(first[0]), "second": float(second[0])}
    p = float(np.clip(tail, 1 / len(drawn), 1))
    return Estimate(
        float(first[0] - second[0]), float(low), float(high), groups, p=p, details=details
    )
