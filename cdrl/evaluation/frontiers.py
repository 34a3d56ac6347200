"""Whole frontiers of two variants: emotion accuracy against the error of the mouth's motion.

A setting is one loss weight of the training at one intensity scale of the edit; it has an accuracy
and an error. The frontier of a variant are its settings that no other of its settings beats in
both, and the straight lines between neighbours.

The two primary outcomes of the study are the mean difference in accuracy at equal error, and in
error at equal accuracy, over nine points of the range that both frontiers share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cdrl.core.intervals import Spread, add_spreads, t_interval
from cdrl.evaluation.edit_comparison import Curve, resampled_curve
from cdrl.evaluation.edit_metrics import restore_statistics
from cdrl.evaluation.estimate import Estimate, resample_counts

NUM_POINTS = 9  # of the shared range, both ends among them
LEAST_SHARE = 0.5  # of either frontier that the shared range holds, else there is no verdict
MOST_WITHOUT = 0.05  # share of resamples whose frontiers share no range, else there is no verdict
PRIMARY_CONFIDENCE = 0.975  # two primary outcomes at 5 % together
SEED_DRAWS = 200  # resamples of the few seeds of a training
ACCURACY = "emotion_accuracy"
ERROR = "mouth_motion_error"

StatisticRows = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Frontier:
    """The settings that no other one beats, in order.

    Attributes:
        accuracy: (P,) rising.
        error: (P,) rising.
        settings: (P,) their numbers among all settings.
    """

    accuracy: np.ndarray
    error: np.ndarray
    settings: np.ndarray

    def accuracy_at(self, error: np.ndarray) -> np.ndarray:
        """The accuracy at errors (L,) inside of the frontier's range, (L,)."""
        return np.interp(error, self.error, self.accuracy)

    def error_at(self, accuracy: np.ndarray) -> np.ndarray:
        """The error at accuracies (L,) inside of the frontier's range, (L,)."""
        return np.interp(accuracy, self.accuracy, self.error)


def frontier_of(accuracy: np.ndarray, error: np.ndarray) -> Frontier:
    """The settings that no other one beats: none is as accurate with a smaller error.

    Args:
        accuracy: (S,) of each setting.
        error: (S,) of each setting.

    >>> frontier_of(np.array([0.2, 0.5, 0.4]), np.array([0.3, 0.4, 0.6])).settings.tolist()
    [0, 1]
    """
    order = np.lexsort((error, -accuracy))  # the most accurate first, of equals the least error
    kept: list[int] = []
    for setting in order:
        if not kept or error[setting] < error[kept[-1]]:
            kept.append(int(setting))

    settings = np.array(kept[::-1])
    return Frontier(accuracy[settings], error[settings], settings)


def shared_range(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """The range that two rising series share.

    Args:
        first: (P,) values of a frontier.
        second: (Q,) values of another one.

    Returns:
        Its low end, its high end, and how much of the longer of the two ranges it holds, 0 to 1.
    """
    low = max(first[0], second[0])
    high = min(first[-1], second[-1])
    longest = max(first[-1] - first[0], second[-1] - second[0])
    if high <= low or longest <= 0:
        return float(low), float(high), 0.0
    return float(low), float(high), float((high - low) / longest)


def frontier_differences(first: Frontier, second: Frontier) -> dict[str, float]:
    """The mean differences of two frontiers over their shared range, and the area between them.

    Args:
        first: frontier of one variant.
        second: frontier of the other.

    Returns:
        accuracy, error: first less second, the mean over `NUM_POINTS` points at equal error and at
        equal accuracy; area: of the errors over the shared accuracies; nan where nothing is shared.
        accuracy_share, error_share: how much of the longer range is shared.
    """
    low, high, accuracy_share = shared_range(first.accuracy, second.accuracy)
    levels = np.linspace(low, high, NUM_POINTS)
    errors = first.error_at(levels) - second.error_at(levels)
    error = float(errors.mean()) if accuracy_share else float("nan")
    area = float(np.mean((errors[1:] + errors[:-1]) / 2)) * (high - low)

    low_error, high_error, error_share = shared_range(first.error, second.error)
    levels = np.linspace(low_error, high_error, NUM_POINTS)
    accuracies = first.accuracy_at(levels) - second.accuracy_at(levels)
    accuracy = float(accuracies.mean()) if error_share else float("nan")

    return {
        "accuracy": accuracy,
        "error": error,
        "area": area if accuracy_share else float("nan"),
        "accuracy_share": accuracy_share,
        "error_share": error_share,
    }


def points_of(statistics: Sequence[StatisticRows], error: str = ERROR) -> Curve:
    """Accuracy and error of each setting.

    Args:
        statistics: score -> rows (C, M), one mapping for each setting.
        error: name of the score.
    """
    points = []
    for scores in statistics:
        accuracy = restore_statistics(ACCURACY, scores[ACCURACY])
        points.append((accuracy, restore_statistics(error, scores[error])))
    return points


def measured_frontier(statistics: Sequence[StatisticRows], error: str = ERROR) -> Frontier:
    """The frontier of settings as they were measured, with all rows.

    Args:
        statistics: score -> rows (C, M), one mapping for each setting.
        error: name of the score.
    """
    accuracies = []
    errors = []
    for accuracy, of_setting in points_of(statistics, error):
        accuracies.append(accuracy.value)
        errors.append(of_setting.value)
    return frontier_of(np.array(accuracies), np.array(errors))


def compare_frontiers(
    prefix: str,
    first: Sequence[StatisticRows],
    second: Sequence[StatisticRows],
    people: ArrayLike,
    seeds: ArrayLike | None = None,
    error: str = ERROR,
    confidence: float = PRIMARY_CONFIDENCE,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Compare the frontiers of two variants, paired over people and seeds, which are crossed.

    In every resample, of people and of seeds, both frontiers and their shared range are computed
    anew. The variances of both are added.

    Args:
        prefix: of the names, as `spfem.actions.cdrl_minus_baseline`.
        first: statistics of the settings of one variant, score -> rows (C, M).
        second: those of the other; their rows are the same edits.
        people: (C,) the person of each row.
        seeds: (C,) the training seed of each row, where there are several.
        error: name of the score.
        confidence: of the intervals.
        seed: of the resamples.

    Returns:
        `PREFIX.emotion_accuracy.at_equal_motion_error`,
        `PREFIX.mouth_motion_error.at_equal_emotion` and `PREFIX.mouth_motion_error.area`, with the
        details verdict (1, or 0 where the frontiers share less than half of either's range),
        shared, without_range, confidence. Without a shared range the value is nan. A variant
        against itself is 0 in 0 to 0.
    """
    crossing = Crossing.of(people, seeds)
    curves = (points_of(first, error), points_of(second, error))
    measured = _resampled_differences(curves, crossing.cells, crossing.all_once())[0]
    over_people = _resampled_differences(curves, crossing.cells, crossing.draw_people(seed))
    over_seeds = _resampled_differences(curves, crossing.cells, crossing.draw_seeds(seed))

    names = {
        f"{prefix}.{ACCURACY}.at_equal_motion_error": ("accuracy", "error_share"),
        f"{prefix}.{error}.at_equal_emotion": ("error", "accuracy_share"),
        f"{prefix}.{error}.area": ("area", "accuracy_share"),
    }
    estimates = {}
    for name, (key, share) in names.items():
        of_people = np.array([difference[key] for difference in over_people])
        of_seeds = np.array([difference[key] for difference in over_seeds])
        spread = add_spreads(
            _spread(of_people, crossing.num_people), _spread(of_seeds, crossing.num_seeds)
        )
        without = 1 - float(np.isfinite(of_people).mean())
        shared = measured[share]
        is_verdict = shared >= LEAST_SHARE and without <= MOST_WITHOUT
        low, high = t_interval(measured[key], spread, confidence)
        estimates[name] = Estimate(
            measured[key],
            low,
            high,
            crossing.num_people,
            p=spread.two_sided_p(measured[key]),
            details={
                "verdict": float(is_verdict),
                "shared": shared,
                "without_range": without,
                "confidence": confidence,
            },
        )

    return estimates


@dataclass(frozen=True)
class Crossing:
    """People crossed with training seeds.

    Attributes:
        cells: (C,) the pair of each row, 0 to P - 1.
        person: (P,) the person of each pair.
        training: (P,) the seed of each pair.
    """

    cells: np.ndarray
    person: np.ndarray
    training: np.ndarray

    @classmethod
    def of(cls, people: ArrayLike, seeds: ArrayLike | None) -> "Crossing":
        """The pairs of rows.

        Args:
            people: (C,) the person of each row.
            seeds: (C,) the training seed of each row; None is one.
        """
        _, person_index = np.unique(np.asarray(people), return_inverse=True)
        if seeds is None:
            seeds = np.zeros(len(person_index), int)
        trainings, seed_index = np.unique(np.asarray(seeds), return_inverse=True)
        pairs = person_index * len(trainings) + seed_index
        present, cells = np.unique(pairs, return_inverse=True)
        return cls(cells, present // len(trainings), present % len(trainings))

    @property
    def num_people(self) -> int:
        """How many people there are."""
        return int(self.person.max()) + 1

    @property
    def num_seeds(self) -> int:
        """How many training seeds there are."""
        return int(self.training.max()) + 1

    def all_once(self) -> np.ndarray:
        """(1, P): every pair once."""
        return np.ones((1, len(self.person)), int)

    def draw_people(self, seed: int) -> np.ndarray:
        """(draws, P): how often each pair occurs where people are drawn anew."""
        return resample_counts(self.num_people, seed)[:, self.person]

    def draw_seeds(self, seed: int) -> np.ndarray:
        """(draws, P): how often each pair occurs where seeds are drawn anew."""
        return resample_counts(self.num_seeds, seed + 1, SEED_DRAWS)[:, self.training]


def _resampled_differences(
    curves: tuple[Curve, Curve], cells: np.ndarray, counts: np.ndarray
) -> list[dict[str, float]]:
    """`frontier_differences` of two variants for each of (draws, P) counts."""
    points = [resampled_curve(curve, cells, counts) for curve in curves]
    differences = []
    for draw in range(len(counts)):
        frontiers = [frontier_of(*of_variant[:, draw]) for of_variant in points]
        differences.append(frontier_differences(*frontiers))
    return differences


def _spread(values: np.ndarray, num_groups: int) -> Spread:
    """The spread of a value over G groups from (draws,) resamples of them.

    Resamples vary less than other groups would, by (G - 1) / G.
    """
    known = values[np.isfinite(values)]
    if num_groups < 2 or not len(known):
        return Spread(float("nan"), 0)
    variance = known.var() * num_groups / (num_groups - 1)
    return Spread(float(variance), num_groups - 1)


def chosen_settings(
    statistics: Mapping[str, Mapping[float, StatisticRows]], error: str = ERROR
) -> dict[str, list[float]]:
    """The settings of a variant on its frontier: {row: intensity scales}.

    Args:
        statistics: row -> intensity scale -> score -> rows (C, M). Scale 0, nothing done, counts
            for no row.
        error: name of the score.
    """
    names = []
    rows = []
    for row, scales in statistics.items():
        for scale, scores in scales.items():
            if scale > 0:
                names.append((row, scale))
                rows.append(scores)

    chosen: dict[str, list[float]] = {}
    for number in measured_frontier(rows, error).settings:
        row, scale = names[number]
        chosen.setdefault(row, []).append(scale)
    return {row: sorted(scales) for row, scales in chosen.items()}
