"""Which frame of one clip is the same moment of speech as which frame of another: dynamic time warping."""

import numba
import numpy as np


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


def warp(a: np.ndarray, b: np.ndarray, band: float = 0.25) -> tuple[np.ndarray, float]:
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


def linear(a: int, b: int) -> np.ndarray:
    """(a,) the alignment that knows no sound: frame t of `a` frames goes to t (b - 1) / (a - 1) of `b`."""
    return np.arange(a) * (b - 1) / max(a - 1, 1)
