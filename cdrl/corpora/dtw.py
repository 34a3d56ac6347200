"""Which frame of one clip is the same moment of speech as which frame of another: dynamic time warping."""

from difflib import SequenceMatcher

import numba
import numpy as np

# Takes of one sentence may differ by phones shorter than a frame; with fewer frames matched there is no truth.
LEAST_MATCHED = 0.8


@numba.njit(cache=True)
def _accumulate(cost: np.ndarray, band: float):
    rows, columns = cost.shape
    total = np.full((rows, columns), np.inf)
    step = np.zeros((rows, columns), np.int8)  # 0 diagonal, 1 down, 2 right
    slope = (columns - 1) / max(rows - 1, 1)
    width = band * columns + abs(columns - rows) * 0.5
    for i in range(rows):
        for j in range(columns):
            if abs(j - i * slope) > width:
                continue
            if i == 0 and j == 0:
                total[i, j] = cost[i, j]
                continue
            best, way = np.inf, 0
            if i > 0 and j > 0:
                best, way = total[i - 1, j - 1] + cost[i, j], 0
            if i > 0 and total[i - 1, j] + cost[i, j] < best:
                best, way = total[i - 1, j] + cost[i, j], 1
            if j > 0 and total[i, j - 1] + cost[i, j] < best:
                best, way = total[i, j - 1] + cost[i, j], 2
            total[i, j] = best
            step[i, j] = way
    return total, step


def dtw_alignment(a: np.ndarray, b: np.ndarray, band: float = 0.25) -> tuple[np.ndarray, float]:
    """Align two clips by their content prior: DTW with steps (1,1), (1,0), (0,1) inside a Sakoe-Chiba band.

    Args:
        a: (T, D). b: (U, D), one prior vector per frame. band: half-width, as a fraction of U.

    Returns:
        (T,) float, for each frame of `a` the mean of the frames of `b` that the path joins to it; and the mean cosine
        distance along the path (0 for identical clips, about 1 for unrelated ones): the pair's quality.
    """
    unit = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-8) for x in (a, b)]
    cost = (1 - unit[0] @ unit[1].T).astype(np.float64)
    _, step = _accumulate(cost, band)
    i, j = len(a) - 1, len(b) - 1
    joined, weight, path = np.zeros(len(a)), np.zeros(len(a)), []
    while True:
        joined[i] += j
        weight[i] += 1
        path.append(cost[i, j])
        if i == 0 and j == 0:
            break
        way = step[i, j]
        i, j = i - (way != 2), j - (way != 1)
    return joined / weight, float(np.mean(path))


def linear_alignment(a: int, b: int) -> np.ndarray:
    """(a,) the alignment that knows no sound: frame t of `a` frames goes to t (b - 1) / (a - 1) of `b`."""
    return np.arange(a) * (b - 1) / max(a - 1, 1)


def label_runs(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Equal neighbours merged: (R,) label of each run and (R + 1,) its boundaries, in frames, from 0 to len(labels).

    >>> label_runs(np.array([7, 7, 2, 2, 2]))[1].tolist()
    [0, 2, 5]
    """
    labels = np.asarray(labels)
    starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    return labels[starts], np.r_[starts, len(labels)]


def phone_alignment(first: np.ndarray, second: np.ndarray) -> np.ndarray | None:
    """The moment of clip `second` at which each frame of clip `first` is said, linear inside each phone.

    Two takes of one sentence have the same phones in the same order, with other durations. A phone shorter than a
    frame, or a pause, may be missing from one of them: what is left unmatched is crossed by a straight line.

    Args:
        first: (T,) phoneme of each frame. second: (U,) the same for the other clip.

    Returns:
        (T,) float frame positions in [0, U - 1], rounding to the frame that holds the moment; None where less than 80 %
        of either clip's frames lie in matched phones. A clip aligned to itself gives 0, 1, 2, ...
    """
    (one, edges_one), (two, edges_two) = label_runs(first), label_runs(second)
    if np.array_equal(one, two):
        at, to = edges_one, edges_two
    else:
        blocks = SequenceMatcher(
            None, one.tolist(), two.tolist(), autojunk=False
        ).get_matching_blocks()
        pairs = [(block.a + k, block.b + k) for block in blocks for k in range(block.size)]
        matched = [
            (edges_one[a + 1] - edges_one[a], edges_two[b + 1] - edges_two[b]) for a, b in pairs
        ]
        if not pairs or np.any(
            np.sum(matched, 0) < LEAST_MATCHED * np.array([len(first), len(second)])
        ):
            return None
        at = np.r_[0, np.ravel([(edges_one[a], edges_one[a + 1]) for a, _ in pairs]), len(first)]
        to = np.r_[0, np.ravel([(edges_two[b], edges_two[b + 1]) for _, b in pairs]), len(second)]
    # Frame t stands for its centre, t + 1/2.
    moments = np.interp(np.arange(len(first)) + 0.5, at, to) - 0.5
    return np.clip(moments, 0, len(second) - 1)
