"""Dynamic time warping against a naive version and on signals whose answer is known."""

import numpy as np
import pytest

from cdrl.corpora.dtw import dtw_alignment, linear_alignment


def naive_cost(cost):
    total = np.full(cost.shape, np.inf)
    for i in range(cost.shape[0]):
        for j in range(cost.shape[1]):
            before = [
                total[i - 1, j - 1] if i and j else np.inf,
                total[i - 1, j] if i else np.inf,
                total[i, j - 1] if j else np.inf,
            ]
            total[i, j] = cost[i, j] + (0 if i == j == 0 else min(before))
    return total[-1, -1]


def signal(length, seed=0, dimensions=6):
    return np.cumsum(np.random.default_rng(seed).standard_normal((length, dimensions)), 0)


def test_identical_clips_align_on_the_diagonal_at_no_cost():
    aligned, quality = dtw_alignment(signal(30), signal(30))
    assert aligned == pytest.approx(np.arange(30)) and quality == pytest.approx(0, abs=1e-12)


def test_a_stretched_clip_is_found_within_a_frame():
    a = signal(40)
    b = np.repeat(a, 2, axis=0)[5:-3]
    aligned, _ = dtw_alignment(a, b)
    truth = np.clip(np.arange(40) * 2 + 0.5 - 5, 0, len(b) - 1)
    assert np.abs(aligned - truth).max() <= 2.5


def test_the_path_has_the_cost_of_the_naive_recursion():
    from cdrl.corpora.dtw import _accumulate

    cost = np.random.default_rng(3).random((12, 9))
    assert _accumulate(cost, 10.0)[0][-1, -1] == pytest.approx(naive_cost(cost), abs=1e-10)


def test_unrelated_clips_cost_more_than_the_same_sentence():
    a = signal(40)
    assert dtw_alignment(a, signal(45, seed=9))[1] > 5 * dtw_alignment(a, np.repeat(a, 2, 0))[1] + 0.05


def test_the_linear_alignment_joins_first_to_first_and_last_to_last():
    assert linear_alignment(5, 9) == pytest.approx([0, 2, 4, 6, 8])
