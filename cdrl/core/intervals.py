"""Student's t intervals of scores over few groups, which are people in most tables.

A score is computed again without each group in turn (the jackknife). How much these values differ
says how much the score would differ with other people. Shares are taken on the logit, so that their
interval ends between 0 and 1. In simulation an interval called 95 % holds the true share in .95 of
cases with 5 people, .95 with 12 and .95 with 24.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit, stdtr, stdtrit  # scipy.stats takes half a second

CONFIDENCE = 0.95  # of every interval


class Spread(NamedTuple):
    """How much a score would differ with other people.

    Attributes:
        variance: of the score.
        freedom: degrees of freedom of that variance; 0 for one group.
    """

    variance: float
    freedom: float

    def half_width(self, confidence: float = CONFIDENCE) -> float:
        """Half of the interval's width; nan for one group."""
        if self.freedom <= 0:
            return float("nan")

        quantile = stdtrit(self.freedom, (1 + confidence) / 2)
        return float(quantile * np.sqrt(self.variance))

    def two_sided_p(self, difference: float) -> float:
        """How often a difference as large would be seen if there were none; 1 for 0."""
        if self.freedom <= 0:
            return float("nan")
        if self.variance == 0:
            return float(difference == 0)

        ratio = abs(difference) / np.sqrt(self.variance)
        return float(2 * stdtr(self.freedom, -ratio))


def jackknife_spread(without: np.ndarray) -> Spread:
    """The spread of a score from its values without each group.

    Args:
        without: (G,) the score without each of the G groups; values that are not finite are left
            out.

    Returns:
        For the mean of G values with standard deviation s: variance s^2 / G, freedom G - 1.
    """
    finite = without[np.isfinite(without)]
    count = len(finite)
    if count < 2:
        return Spread(float("nan"), 0)

    squares = (finite - finite.mean()) ** 2
    variance = (count - 1) / count * squares.sum()

    return Spread(float(variance), count - 1)


def add_spreads(people: Spread, seeds: Spread) -> Spread:
    """The spread over people and over the seeds of a training, which are crossed.

    The variances are added and the degrees of freedom are Satterthwaite's. What people and seeds
    share is counted twice, so the interval is a little wide where seeds hardly differ.
    """
    if seeds.freedom <= 0 or seeds.variance == 0:
        return people
    if people.freedom <= 0 or people.variance == 0:
        return seeds

    variance = people.variance + seeds.variance
    of_people = people.variance**2 / people.freedom
    of_seeds = seeds.variance**2 / seeds.freedom

    return Spread(variance, variance**2 / (of_people + of_seeds))


def t_interval(value: float, spread: Spread, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Low and high end of the t interval of a score; (nan, nan) for one group."""
    half_width = spread.half_width(confidence)
    return value - half_width, value + half_width


def share_interval(
    value: float, spread: Spread, groups: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Low and high end of the interval of a share, which lies between 0 and 1.

    Args:
        value: the share.
        spread: of the share itself, not of its logit.
        groups: number of groups; where all of them have only hits, or none, they count as so many
            single trials.
        confidence: 0.95 for a 95 % interval.
    """
    if groups < 2 or not np.isfinite(value):
        return float("nan"), float("nan")
    if value <= 0 or value >= 1:
        farthest = ((1 - confidence) / 2) ** (1 / groups)
        return (0.0, 1 - farthest) if value <= 0 else (farthest, 1.0)

    slope = value * (1 - value)
    half_width = spread.half_width(confidence) / slope
    centre = logit(value)

    return float(expit(centre - half_width)), float(expit(centre + half_width))


def share_over_people(hits: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """The interval of a share from (G,) hits and (G,) counts of each person."""
    total_hits = hits.sum()
    total = counts.sum()
    without = (total_hits - hits) / (total - counts)

    return share_interval(float(total_hits / total), jackknife_spread(without), len(hits))
