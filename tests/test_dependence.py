"""HSIC and effective rank against naive references and closed forms."""

import numpy as np
import pytest
from known_codes import noise, rotation

from cdrl.evaluation.dependence import effective_rank, gaussian_kernel, hsic


def test_kernel_and_hsic_agree_with_loops():
    one, two = noise(30, 3), noise(30, 2, seed=1) + noise(30, 3)[:, :2]
    kernels = []
    for code in (one, two):
        distance = np.array(
            [[np.sum((a - b) ** 2.0) for b in code.astype(float)] for a in code.astype(float)]
        )
        width = np.median([distance[i, j] for i in range(30) for j in range(i + 1, 30)])
        kernels.append(np.exp(-distance / (2 * width)))
        assert np.allclose(gaussian_kernel(code), kernels[-1], atol=1e-10)
    centre = np.eye(30) - 1 / 30
    expected = np.trace(kernels[0] @ centre @ kernels[1] @ centre) / 29**2
    assert hsic(one, two).value == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_independent_codes_have_a_large_p_and_dependent_ones_the_least(seed):
    one, other = noise(300, 5, seed=seed), noise(300, 5, seed=seed + 50)
    free = hsic(one, other, seed=seed)
    assert free.p > 0.02 and free.value < 2 * free.chance
    # No correlation at all, yet dependent.
    bound = hsic(one, one**2 + 0.3 * other, seed=seed)
    assert bound.p == pytest.approx(1 / 201) and bound.value > 1.5 * bound.chance


def test_more_dependence_scores_more_and_a_code_with_itself_scores_one():
    one, other = noise(400, 4), noise(400, 4, seed=9)
    mixed = [share * one + (1 - share) * other for share in (0, 0.25, 0.5, 1)]
    found = [hsic(one, code, num_permutations=20).details["normalised"] for code in mixed]
    assert np.all(np.diff(found) > 0) and found[-1] == pytest.approx(1)
    assert hsic(one, 3 * one @ rotation(4) + 2, num_permutations=5).details["normalised"] == pytest.approx(
        1, abs=1e-6
    )


def test_a_constant_code_depends_on_nothing():
    found = hsic(noise(100), np.ones((100, 3)), num_permutations=30)
    assert (
        found.value == pytest.approx(0, abs=1e-12)
        and found.details["normalised"] == 0
        and found.p == 1
    )


def test_whole_clips_are_exchanged_so_that_smooth_independent_signals_are_not_called_dependent():
    rng, by_clip, by_frame = np.random.default_rng(0), [], []
    clip = np.repeat(np.arange(20), 20)
    for _ in range(12):
        one, two = (
            np.repeat(rng.normal(size=(20, 3)), 20, axis=0) + 0.1 * rng.normal(size=(400, 3))
            for _ in range(2)
        )
        by_clip.append(hsic(one, two, clip, num_permutations=60).p)
        by_frame.append(hsic(one, two, num_permutations=60).p)
    assert np.mean(by_clip) > 0.25 and np.mean(by_frame) < 0.1


def test_rows_are_capped_and_lengths_checked():
    assert hsic(noise(500), noise(500, seed=1), max_frames=80, num_permutations=5).n == 80
    with pytest.raises(ValueError, match="got 5 and 4"):
        hsic(noise(5), noise(4))


def test_effective_rank_of_known_codes():
    wide = noise(20000, 8)
    assert effective_rank(wide) == pytest.approx(8, abs=0.02)
    assert effective_rank(wide[:, :1] * np.arange(1, 9)) == pytest.approx(1, abs=1e-6)
    assert effective_rank(np.full((50, 8), 3.7)) == 0
    assert effective_rank(np.c_[wide, wide]) == pytest.approx(8, abs=0.02)
    stretched = wide * [9, 3, 1, 1, 1, 1, 1, 1]
    assert effective_rank(5 * stretched @ rotation(8) - 2) == pytest.approx(
        effective_rank(stretched), abs=1e-8
    )


def test_effective_rank_agrees_with_a_naive_entropy():
    code = noise(60, 4) * [4, 2, 1, 0.5]
    values = np.linalg.svd(code - code.mean(0).astype(float), compute_uv=False) ** 2
    share = values / values.sum()
    assert effective_rank(code) == pytest.approx(
        np.exp(sum(-p * np.log(p) for p in share)), rel=1e-6
    )
