"""Variants of the edit compared clip by clip: paired differences, the mouth at equal accuracy."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from cdrl.core.errors import InputError
from cdrl.core.intervals import Spread, t_interval
from cdrl.evaluation.edit_metrics import SWEEP_SCORES, restore_statistics
from cdrl.evaluation.estimate import (
    Estimate,
    ScoreStatistics,
    mean_statistics,
    paired_difference,
    resample_counts,
    sum_by_group,
)
from cdrl.models.image_editor import MAX_INTENSITY

# Accuracies between nothing done and what the weaker variant reaches, for the mean over all of
# them.
NUM_ACCURACIES = 20
# Suffix of a printed name -> the judge that alone gives the accuracy; None for the lower of the
# two.
_JUDGE_OF_SUFFIX = {"": None, ".judge_1": 0, ".judge_2": 1}

# (accuracy, error) at one intensity scale.
CurvePoint = tuple[ScoreStatistics, ScoreStatistics]
# One variant at every intensity scale, the first with nothing done.
Curve = Sequence[CurvePoint]
# Name of a score -> its statistics (C, M), at one intensity scale.
StatisticRows = Mapping[str, np.ndarray]


def single_judge(accuracy: ScoreStatistics, judge: int) -> ScoreStatistics:
    """The accuracy of judge 0 or 1 alone, from `edit_scores.emotion_accuracy`, (C, 3) rows."""
    return mean_statistics(accuracy.rows[:, judge])


def estimate_differences(
    prefix: str,
    first: Mapping[str, ScoreStatistics],
    second: Mapping[str, ScoreStatistics],
    groups: ArrayLike,
    target: ArrayLike = (),
    seeds: ArrayLike | None = None,
) -> dict[str, Estimate]:
    """Paired differences of every score that both variants have.

    Args:
        prefix: "spfem.image.cdrl_minus_baseline".
        first: score name -> statistics.
        second: score name -> statistics, the same rows in the same order.
        groups: (C,) the person of each row, or the clip where a claim is about these people alone.
        target: (C,) the requested emotion, for a difference for each emotion too; or nothing.
        seeds: (C,) the training seed of each row, where there are several.

    Returns:
        `PREFIX.NAME` and `PREFIX.NAME.EMOTION`; a variant against itself is 0 in 0 to 0.
    """
    groups = np.asarray(groups)
    target = np.asarray(target)
    seeds = None if seeds is None else np.asarray(seeds)

    differences = {}
    for name in first:
        if name not in second:
            continue
        difference = paired_difference(first[name], second[name], groups, seeds)
        differences[f"{prefix}.{name}"] = difference
        for emotion in np.unique(target):
            selected = target == emotion
            first_part = first[name].subset(selected)
            second_part = second[name].subset(selected)
            part_seeds = None if seeds is None else seeds[selected]
            difference = paired_difference(first_part, second_part, groups[selected], part_seeds)
            differences[f"{prefix}.{name}.{emotion}"] = difference

    return differences


def error_at(accuracy: np.ndarray, error: np.ndarray, level: np.ndarray) -> np.ndarray:
    """The error where an edit that grows from nothing first reaches an accuracy.

    Linear between the intensity scales.

    Args:
        accuracy: (..., K) at K intensity scales, the first is nothing done.
        error: (..., K) at the same scales.
        level: (...) the accuracy to reach.

    Returns:
        (...); nan where no scale reaches it. Accuracies 0, .5, 1 and errors 2, 1, 3 give 1.5 at .25
        and 2 at .75.
    """
    reaches = accuracy >= level[..., None] - 1e-12
    after = reaches.argmax(-1)
    before = np.maximum(after - 1, 0)

    accuracy_before = _at_scale(accuracy, before)
    accuracy_after = _at_scale(accuracy, after)
    error_before = _at_scale(error, before)
    error_after = _at_scale(error, after)

    rises = accuracy_after > accuracy_before
    rise = np.where(rises, accuracy_after - accuracy_before, 1)
    fraction = np.where(rises, (level - accuracy_before) / rise, 1.0)
    fraction = fraction.clip(0, 1)

    interpolated = error_before + fraction * (error_after - error_before)

    return np.where(reaches.any(-1), interpolated, np.nan)


def _at_scale(values: np.ndarray, scale_index: np.ndarray) -> np.ndarray:
    """(..., K) values, (...) index -> (...)."""
    return np.take_along_axis(values, scale_index[..., None], -1)[..., 0]


def equal_accuracy(
    first: Sequence[Curve],
    second: Sequence[Curve],
    groups: ArrayLike,
    seed: int = 0,
    seeds: ArrayLike | None = None,
) -> dict[str, Estimate]:
    """The error of `first` minus that of `second` at equal emotion accuracy.

    `at_best`: at the highest accuracy of the weaker variant. `over_accuracies`: the mean over
    `NUM_ACCURACIES` accuracies from what the source scores up to there. In every resample of people
    and seeds the curves, and what the weaker one reaches, are computed anew. The interval is the
    value -+ t times the standard deviation over the resamples.

    Args:
        first: one or more curves, one for each loss weight of the training. The least error of them
            counts, so give both variants as many.
        second: curves of the other variant; their rows are the same clips.
        groups: (C,) the person of each row, as in `estimate_differences`.
        seed: of the resamples.
        seeds: (C,) the training seed of each row, where there are several.

    Returns:
        at_best, over_accuracies: with details accuracy (where the curves end), first, second (their
        errors). Two variants that are one give 0 in 0 to 0.
    """
    num_groups = len(np.unique(groups))
    cells, counts = _resampled_cells(groups, seeds, seed)

    first_curves = [resampled_curve(curve, cells, counts) for curve in first]
    second_curves = [resampled_curve(curve, cells, counts) for curve in second]

    best = np.minimum(_highest_accuracy(first_curves), _highest_accuracy(second_curves))
    nothing_done = first_curves[0][0][:, 0]
    fractions = np.linspace(0, 1, NUM_ACCURACIES)[1:, None]
    levels = nothing_done + (best - nothing_done) * fractions

    at_best = _estimate_error_difference(
        _least_error(first_curves, best), _least_error(second_curves, best), best[0], num_groups
    )
    over_accuracies = _estimate_error_difference(
        _mean_least_error(first_curves, levels),
        _mean_least_error(second_curves, levels),
        best[0],
        num_groups,
    )

    return {"at_best": at_best, "over_accuracies": over_accuracies}


def _resampled_cells(
    groups: ArrayLike, seeds: ArrayLike | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """People crossed with training seeds, and how often each pair occurs in each resample.

    Args:
        groups: (C,) the person of each row.
        seeds: (C,) the training seed of each row, or None.
        seed: of the resamples.

    Returns:
        (C,) the pair of each row, 0 to P - 1, and (1 + draws, P) counts, the first all 1. Both are
        drawn again: a pair occurs as often as its person times as often as its seed.
    """
    people, person_index = np.unique(np.asarray(groups), return_inverse=True)
    if seeds is None:
        seeds = np.zeros(len(person_index), int)
    trainings, seed_index = np.unique(np.asarray(seeds), return_inverse=True)

    of_people = _with_all_once(resample_counts(len(people), seed))
    of_seeds = _with_all_once(resample_counts(len(trainings), seed + 1))
    counts = of_people[:, :, None] * of_seeds[:, None, :]

    pairs = person_index * len(trainings) + seed_index
    present, cells = np.unique(pairs, return_inverse=True)

    return cells, counts.reshape(len(counts), -1)[:, present]


def _with_all_once(counts: np.ndarray) -> np.ndarray:
    """(draws, G) counts -> (1 + draws, G), in the first row every group once."""
    return np.concatenate([np.ones_like(counts[:1]), counts])


def resampled_curve(curve: Curve, cells: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Accuracy and error of every resample at every intensity scale.

    Args:
        curve: one variant at K intensity scales.
        cells: (C,) the pair of person and seed of each row, of `_resampled_cells`.
        counts: (1 + draws, P) how often each pair occurs.

    Returns:
        (2, 1 + draws, K).
    """
    points = []
    for point in curve:
        values = []
        for statistics in point:
            sums = sum_by_group(statistics.rows, cells)
            values.append(statistics.formula(counts @ sums))
        points.append(values)

    return np.array(points).transpose(1, 2, 0)


def _highest_accuracy(curves: list[np.ndarray]) -> np.ndarray:
    """(draws,) the highest accuracy of all curves."""
    highest = [accuracy.max(-1) for accuracy, _ in curves]
    return np.max(highest, 0)


def _least_error(curves: list[np.ndarray], level: np.ndarray) -> np.ndarray:
    """(draws,) the least error of the curves that reach an accuracy; infinite where none does."""
    errors = []
    for accuracy, error in curves:
        error_at_level = error_at(accuracy, error, level)
        errors.append(np.where(np.isnan(error_at_level), np.inf, error_at_level))

    return np.min(errors, 0)


def _mean_least_error(curves: list[np.ndarray], levels: np.ndarray) -> np.ndarray:
    """(draws,) the least error, mean over (L, draws) accuracies."""
    errors = [_least_error(curves, level) for level in levels]
    return np.mean(errors, 0)


def _estimate_error_difference(
    first: np.ndarray, second: np.ndarray, accuracy: float, num_groups: int
) -> Estimate:
    """The first entry of (1 + draws,) errors gives the value, the others its interval and p."""
    differences = first - second

    value = float(differences[0])

    resampled = differences[1:]
    resampled = resampled[np.isfinite(resampled)]
    # Resamples vary less than other people would, by (G - 1) / G.
    variance = resampled.var() * num_groups / max(num_groups - 1, 1)
    spread = Spread(float(variance), num_groups - 1)
    low, high = t_interval(value, spread)

    return Estimate(
        value=value,
        low=low,
        high=high,
        n=num_groups,
        p=spread.two_sided_p(value),
        details={"accuracy": float(accuracy), "first": float(first[0]), "second": float(second[0])},
    )


def parse_intensity_scales(text: str, largest: float = MAX_INTENSITY) -> list[float]:
    """The intensity scales of a sweep, in order; 1, the requested level, is always among them.

    Args:
        text: numbers with commas between them.
        largest: that is accepted.

    Raises:
        InputError: for anything but numbers above 0 that the editor accepts.

    >>> parse_intensity_scales("1.5, 0.5")
    [0.5, 1.0, 1.5]
    """
    parts = [part for part in text.split(",") if part.strip()]
    try:
        scales = {1.0, *map(float, parts)}
    except ValueError:
        scales = {0.0}

    if not all(0 < scale <= largest for scale in scales):
        raise InputError(
            f"sweep={text}: numbers above 0 up to {largest:g} are accepted, as in sweep=0.5,1.5"
        )

    return sorted(scales)


def estimate_intensity_curve(
    prefix: str, scales: Sequence[float], curve: Sequence[StatisticRows]
) -> dict[str, Estimate]:
    """`PREFIX.scale_050.mouth_error` and the like: each score at each intensity scale.

    Args:
        prefix: "spfem.image.cdrl".
        scales: the intensity scales.
        curve: statistics of every score, one mapping for each scale.
    """
    estimates = {}
    for scale, statistics in zip(scales, curve, strict=True):
        percent = round(100 * scale)
        for name in SWEEP_SCORES:
            if name not in statistics:
                continue
            value = restore_statistics(name, statistics[name]).value
            estimates[f"{prefix}.scale_{percent:03d}.{name}"] = Estimate(value)

    return estimates


def estimate_at_equal_accuracy(
    prefix: str,
    first: Sequence[Sequence[StatisticRows]],
    second: Sequence[Sequence[StatisticRows]],
    groups: ArrayLike,
    seed: int = 0,
    name: str = "mouth_error",
    seeds: ArrayLike | None = None,
) -> dict[str, Estimate]:
    """Estimate the difference of two variants at equal accuracy, by the lower and by each judge.

    Args:
        prefix: "spfem.image.cdrl_minus_baseline".
        first: for each loss weight of the training, statistics at each intensity scale, the source
            first.
        second: the same of the other variant.
        groups: (C,) the person of each row.
        seed: of the resamples.
        name: of the difference in the printed names, and of the error before its first point:
            mouth_error or mouth_motion_error.
        seeds: (C,) the training seed of each row, where there are several.

    Returns:
        `PREFIX.NAME.at_equal_accuracy` and `.over_accuracies`, and both with `.judge_1` and
        `.judge_2`.
    """
    error = name.partition(".")[0]
    estimates = {}
    for suffix, judge in _JUDGE_OF_SUFFIX.items():
        first_curves = [_curve_points(curve, judge, error) for curve in first]
        second_curves = [_curve_points(curve, judge, error) for curve in second]

        difference = equal_accuracy(first_curves, second_curves, groups, seed, seeds)
        at_best = f"{prefix}.{name}.at_equal_accuracy{suffix}"
        over_accuracies = f"{prefix}.{name}.over_accuracies{suffix}"
        estimates[at_best] = difference["at_best"]
        estimates[over_accuracies] = difference["over_accuracies"]

    return estimates


def _curve_points(curve: Sequence[StatisticRows], judge: int | None, name: str) -> list[CurvePoint]:
    """Accuracy (of one judge or of the lower one) and the named error at each intensity scale."""
    points = []
    for statistics in curve:
        accuracy = restore_statistics("emotion_accuracy", statistics["emotion_accuracy"])
        if judge is not None:
            accuracy = single_judge(accuracy, judge)
        error = restore_statistics(name, statistics[name])
        points.append((accuracy, error))

    return points
