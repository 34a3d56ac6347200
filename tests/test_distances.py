"""Distances of sets on codes whose distance is known."""

import numpy as np
import pytest

from cdrl.evaluation.realism import frechet_distance, set_similarity

RNG = np.random.default_rng(0)


def gaussian(number, mean, std, dimensions=4):
    return RNG.standard_normal((number, dimensions)) * std + mean


def test_the_frechet_distance_of_known_gaussians():
    one = gaussian(200_000, 0, 1)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6)
    moved = gaussian(200_000, [3, 0, 0, 0], 1)
    assert frechet_distance(one, moved) == pytest.approx(9, rel=0.02)
    wider = gaussian(200_000, 0, 2)  # (2 - 1)^2 in each of 4 dimensions
    assert frechet_distance(one, wider) == pytest.approx(4, rel=0.02)
    rotation, _ = np.linalg.qr(RNG.standard_normal((4, 4)))
    turned = one @ rotation
    assert frechet_distance(one, turned) == pytest.approx(0, abs=0.01)


def test_the_frechet_distance_of_correlated_gaussians():
    a = np.array([[2.0, 0.6], [0.6, 1.0]])
    b = np.array([[1.0, -0.3], [-0.3, 0.5]])
    first = RNG.standard_normal((300_000, 2)) @ np.linalg.cholesky(a).T
    second = RNG.standard_normal((300_000, 2)) @ np.linalg.cholesky(b).T
    values, vectors = np.linalg.eigh(a)
    root = vectors @ np.diag(values**0.5) @ vectors.T
    root_trace = np.sqrt(np.linalg.eigvalsh(root @ b @ root)).sum()
    expected = np.trace(a + b) - 2 * root_trace
    assert frechet_distance(first, second) == pytest.approx(expected, abs=0.02)


def test_a_covariance_that_is_not_full_gives_a_number():
    few = gaussian(3, 0, 1, 16)
    assert np.isfinite(frechet_distance(few, few + 1))
    assert frechet_distance(few, few + 1) == pytest.approx(16, rel=0.05)


def test_the_similarity_of_known_sets():
    one = np.tile([[1.0, 0, 0]], (300, 1))
    assert set_similarity(one, 5 * one) == pytest.approx(1)
    assert set_similarity(one, np.tile([[0, 2.0, 0]], (300, 1))) == pytest.approx(0)
    half = np.concatenate([one[:1], -one[:1]]).repeat(50, 0)
    assert set_similarity(half, one) == pytest.approx(0)
    assert set_similarity(one[:7], one[:3]) == pytest.approx(1)
