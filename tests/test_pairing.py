"""Dynamic time warping against a naive version and on signals whose answer is known."""

import numpy as np
import pytest

from cdrl.corpora import dtw
from cdrl.corpora.dtw import dtw_alignment, linear_alignment


def least_cost_by_loops(cost):
    """Naive recursion without a band: the cost of the best path."""
    total = np.full(cost.shape, np.inf)
    for i in range(cost.shape[0]):
        for j in range(cost.shape[1]):
            best = 0.0 if i == j == 0 else np.inf
            if i and j:
                best = min(best, total[i - 1, j - 1])
            if i:
                best = min(best, total[i - 1, j])
            if j:
                best = min(best, total[i, j - 1])
            total[i, j] = best + cost[i, j]
    return total[-1, -1]


def random_walk(length, seed=0, dimensions=6):
    steps = np.random.default_rng(seed).standard_normal((length, dimensions))
    return np.cumsum(steps, 0)


def test_identical_clips_align_on_the_diagonal_at_no_cost():
    frames, quality = dtw_alignment(random_walk(30), random_walk(30))
    assert frames == pytest.approx(np.arange(30))
    assert quality == pytest.approx(0, abs=1e-12)


def test_a_stretched_clip_is_found_within_a_frame():
    clip = random_walk(40)
    stretched = np.repeat(clip, 2, axis=0)[5:-3]
    frames, _ = dtw_alignment(clip, stretched)
    truth = np.clip(np.arange(40) * 2 + 0.5 - 5, 0, len(stretched) - 1)
    assert np.abs(frames - truth).max() <= 2.5


def test_the_path_has_the_cost_of_the_naive_recursion():
    cost = np.random.default_rng(3).random((12, 9))
    total, _ = dtw._accumulate(cost, 10.0)
    assert total[-1, -1] == pytest.approx(least_cost_by_loops(cost), abs=1e-10)


def test_unrelated_clips_cost_more_than_the_same_sentence():
    clip = random_walk(40)
    _, same_cost = dtw_alignment(clip, np.repeat(clip, 2, 0))
    _, unrelated_cost = dtw_alignment(clip, random_walk(45, seed=9))
    assert unrelated_cost > 5 * same_cost + 0.05


def test_the_linear_alignment_joins_first_to_first_and_last_to_last():
    assert linear_alignment(5, 9) == pytest.approx([0, 2, 4, 6, 8])


@pytest.mark.parametrize(("num_first", "num_second"), [(1, 1), (1, 2), (1, 30), (30, 1), (2, 90)])
@pytest.mark.parametrize("band", [0.0, 0.25])
def test_clips_of_any_length_have_an_alignment(num_first, num_second, band):
    rng = np.random.default_rng(0)
    first = rng.standard_normal((num_first, 6))
    second = rng.standard_normal((num_second, 6))
    positions, quality = dtw_alignment(first, second, band)
    assert positions.shape == (num_first,)
    assert positions.min() >= 0 and positions.max() <= num_second - 1
    assert np.isfinite(quality)
    if num_first == 1:
        assert positions[0] == (num_second - 1) / 2


@pytest.mark.parametrize("spoilt", [np.zeros((0, 6)), np.full((4, 6), np.nan)])
def test_features_that_cannot_be_aligned_are_refused_with_the_reason(spoilt):
    whole = np.ones((5, 6))
    for pair in ((spoilt, whole), (whole, spoilt)):
        with pytest.raises(ValueError, match="an alignment needs"):
            dtw_alignment(*pair)
