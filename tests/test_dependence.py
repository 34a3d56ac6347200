"""HSIC and effective rank against naive references and closed forms."""

import numpy as np
import pytest
from known_codes import noise, rotation

from cdrl.evaluation.dependence import effective_rank, gaussian_kernel, hsic


def test_kernel_and_hsic_agree_with_loops():
    one = noise(30, 3)
    two = noise(30, 2, seed=1) + noise(30, 3)[:, :2]
    kernels = []
    for code in (one.astype(float), two.astype(float)):
        distance = np.zeros((30, 30))
        of_pairs = []
        for i in range(30):
            for j in range(30):
                distance[i, j] = np.sum((code[i] - code[j]) ** 2.0)
                if i < j:
                    of_pairs.append(distance[i, j])
        kernel = np.exp(-distance / (2 * np.median(of_pairs)))
        assert np.allclose(gaussian_kernel(code), kernel, atol=1e-10)
        kernels.append(kernel)
    centre = np.eye(30) - 1 / 30
    expected = np.trace(kernels[0] @ centre @ kernels[1] @ centre) / 29**2
    assert hsic(one, two).value == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_independent_codes_have_a_large_p_and_dependent_ones_the_least(seed):
    one = noise(300, 5, seed=seed)
    other = noise(300, 5, seed=seed + 50)
    free = hsic(one, other, seed=seed)
    assert free.p > 0.02
    assert free.value < 2 * free.chance
    # No correlation at all, yet dependent.
    bound = hsic(one, one**2 + 0.3 * other, seed=seed)
    assert bound.p == pytest.approx(1 / 201)
    assert bound.value > 1.5 * bound.chance


def test_more_dependence_scores_more_and_a_code_with_itself_scores_one():
    one = noise(400, 4)
    other = noise(400, 4, seed=9)
    values = []
    for share in (0, 0.25, 0.5, 1):
        mixed = share * one + (1 - share) * other
        values.append(hsic(one, mixed, num_permutations=20).details["normalised"])
    assert np.all(np.diff(values) > 0)
    assert values[-1] == pytest.approx(1)
    turned = hsic(one, 3 * one @ rotation(4) + 2, num_permutations=5)
    assert turned.details["normalised"] == pytest.approx(1, abs=1e-6)


def test_a_constant_code_depends_on_nothing():
    estimate = hsic(noise(100), np.ones((100, 3)), num_permutations=30)
    assert estimate.value == pytest.approx(0, abs=1e-12)
    assert estimate.details["normalised"] == 0
    assert estimate.p == 1


def test_whole_clips_are_exchanged_so_that_smooth_independent_signals_are_not_called_dependent():
    rng = np.random.default_rng(0)

    def smooth_signal():
        per_clip = np.repeat(rng.normal(size=(20, 3)), 20, axis=0)
        return per_clip + 0.1 * rng.normal(size=(400, 3))

    by_clip = []
    by_frame = []
    clip = np.repeat(np.arange(20), 20)
    for _ in range(12):
        one = smooth_signal()
        two = smooth_signal()
        by_clip.append(hsic(one, two, clip, num_permutations=60).p)
        by_frame.append(hsic(one, two, num_permutations=60).p)
    assert np.mean(by_clip) > 0.25
    assert np.mean(by_frame) < 0.1


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
    turned = 5 * stretched @ rotation(8) - 2
    assert effective_rank(turned) == pytest.approx(effective_rank(stretched), abs=1e-8)


def test_effective_rank_agrees_with_a_naive_entropy():
    code = noise(60, 4) * [4, 2, 1, 0.5]
    variances = np.linalg.svd(code - code.mean(0).astype(float), compute_uv=False) ** 2
    shares = variances / variances.sum()
    entropy = sum(-share * np.log(share) for share in shares)
    assert effective_rank(code) == pytest.approx(np.exp(entropy), rel=1e-6)
