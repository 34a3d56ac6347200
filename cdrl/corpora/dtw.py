"""Which frame of one clip is the same moment of speech as which frame of another.

Found from the sound by dynamic time warping (DTW), or from true phones where they are known.
"""

from difflib import SequenceMatcher

import numba
import numpy as np

# Takes of one sentence may differ by phones shorter than a frame; with fewer frames matched there
# is no truth.
LEAST_MATCHED = 0.8
# Steps of a DTW path.
DIAGONAL = 0
DOWN = 1
RIGHT = 2


@numba.njit(cache=True)
def _accumulate(cost: np.ndarray, band: float) -> tuple[np.ndarray, np.ndarray]:
    """Least cost of a path to each cell, and the step that ends it.

    Args:
        cost: (T, U) cost of each cell.
        band: half-width of the band about the diagonal, as a fraction of U.

    Returns:
        (T, U) float64, infinite outside the band; (T, U) int8.
    """
    rows, columns = cost.shape
    total = np.full((rows, columns), np.inf)
    step = np.zeros((rows, columns), np.int8)
    slope = (columns - 1) / max(rows - 1, 1)
    width = band * columns + abs(columns - rows) * 0.5
    for i in range(rows):
        for j in range(columns):
            if rows > 1 and abs(j - i * slope) > width:  # one row has no diagonal
                continue
            if i == 0 and j == 0:
                total[i, j] = cost[i, j]
                continue
            best = np.inf
            best_step = DIAGONAL
            if i > 0 and j > 0:
                best = total[i - 1, j - 1] + cost[i, j]
            if i > 0 and total[i - 1, j] + cost[i, j] < best:
                best = total[i - 1, j] + cost[i, j]
                best_step = DOWN
            if j > 0 and total[i, j - 1] + cost[i, j] < best:
                best = total[i, j - 1] + cost[i, j]
                best_step = RIGHT
            total[i, j] = best
            step[i, j] = best_step
    return total, step


def dtw_alignment(
    first: np.ndarray, second: np.ndarray, band: float = 0.25
) -> tuple[np.ndarray, float]:
    """Align two clips by their content prior.

    DTW with steps (1,1), (1,0), (0,1) inside a Sakoe-Chiba band.

    Args:
        first: (T, D), one prior vector per frame.
        second: (U, D), the same for the other clip.
        band: half-width, as a fraction of U.

    Returns:
        (T,) float, for each frame of `first` the mean of the frames of `second` that the path joins
        to it; and the mean cosine distance along the path (0 for identical clips, about 1 for
        unrelated ones): the pair's quality. A clip of one frame is aligned to all of the other.

    Raises:
        ValueError: a clip without frames, or features that are not finite.
    """
    if not len(first) or not len(second):
        raise ValueError(
            f"an alignment needs frames in both clips: got {len(first)} and {len(second)}"
        )
    if not np.isfinite(first).all() or not np.isfinite(second).all():
        raise ValueError("an alignment needs finite features: got a NaN or an infinite value")
    cosines = _unit_rows(first) @ _unit_rows(second).T
    cost = (1 - cosines).astype(np.float64)
    _, step = _accumulate(cost, band)

    position_sums = np.zeros(len(first))
    num_joined = np.zeros(len(first))
    path_costs = []
    i = len(first) - 1
    j = len(second) - 1
    while True:
        position_sums[i] += j
        num_joined[i] += 1
        path_costs.append(cost[i, j])
        if i == 0 and j == 0:
            break
        last_step = step[i, j]
        if last_step != RIGHT:
            i -= 1
        if last_step != DOWN:
            j -= 1
    return position_sums / num_joined, float(np.mean(path_costs))


def _unit_rows(features: np.ndarray) -> np.ndarray:
    """(T, D) rows scaled to norm 1."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(norms, 1e-8)


def linear_alignment(num_first: int, num_second: int) -> np.ndarray:
    """The alignment that knows no sound: a straight line, first to first and last to last.

    Args:
        num_first: frames of the first clip.
        num_second: frames of the second clip.

    Returns:
        (num_first,): frame t goes to t (num_second - 1) / (num_first - 1).
    """
    return np.arange(num_first) * (num_second - 1) / max(num_first - 1, 1)


def label_runs(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Equal neighbours merged.

    Args:
        labels: (T,) label of each frame.

    Returns:
        (R,) label of each run; (R + 1,) its boundaries, in frames, from 0 to T.

    >>> label_runs(np.array([7, 7, 2, 2, 2]))[1].tolist()
    [0, 2, 5]
    """
    labels = np.asarray(labels)
    is_start = np.r_[True, labels[1:] != labels[:-1]]
    starts = np.flatnonzero(is_start)
    return labels[starts], np.r_[starts, len(labels)]


def phone_alignment(first: np.ndarray, second: np.ndarray) -> np.ndarray | None:
    """The moment of clip `second` at which each frame of clip `first` is said, by true phones.

    Linear inside each phone. Two takes of one sentence have the same phones in the same order, with
    other durations. A phone shorter than a frame, or a pause, may be missing from one of them: what
    is left unmatched is crossed by a straight line.

    Args:
        first: (T,) phoneme of each frame.
        second: (U,) the same for the other clip.

    Returns:
        (T,) float frame positions in [0, U - 1], rounding to the frame that holds the moment; None
        where less than 80 % of either clip's frames lie in matched phones. A clip aligned to itself
        gives 0, 1, 2, ...
    """
    phones, edges = label_runs(first)
    other_phones, other_edges = label_runs(second)
    if not np.array_equal(phones, other_phones):
        pairs = _matched_runs(phones, other_phones)
        num_matched = _run_lengths(edges, pairs[:, 0]).sum()
        other_num_matched = _run_lengths(other_edges, pairs[:, 1]).sum()
        is_too_few = num_matched < LEAST_MATCHED * len(first)
        other_is_too_few = other_num_matched < LEAST_MATCHED * len(second)
        if not len(pairs) or is_too_few or other_is_too_few:
            return None
        edges = _edges_of_runs(edges, pairs[:, 0])
        other_edges = _edges_of_runs(other_edges, pairs[:, 1])

    # Frame t stands for its centre, t + 1/2.
    centres = np.arange(len(first)) + 0.5
    moments = np.interp(centres, edges, other_edges) - 0.5
    return np.clip(moments, 0, len(second) - 1)


def _matched_runs(phones: np.ndarray, other_phones: np.ndarray) -> np.ndarray:
    """(P, 2) numbers of the runs that two sequences of phones share, in order."""
    matcher = SequenceMatcher(None, phones.tolist(), other_phones.tolist(), autojunk=False)
    pairs = []
    for block in matcher.get_matching_blocks():
        for k in range(block.size):
            pairs.append((block.a + k, block.b + k))
    return np.array(pairs, int).reshape(-1, 2)


def _run_lengths(edges: np.ndarray, runs: np.ndarray) -> np.ndarray:
    """(P,) frames of some runs, from the (R + 1,) boundaries of all."""
    return edges[runs + 1] - edges[runs]


def _edges_of_runs(edges: np.ndarray, runs: np.ndarray) -> np.ndarray:
    """(2 P + 2,) begin and end of some runs, between the clip's own begin and end."""
    begins_and_ends = np.stack([edges[runs], edges[runs + 1]], axis=1)
    return np.r_[0, begins_and_ends.ravel(), edges[-1]]
