"""Maps: seeded, and honest about what they keep."""

import numpy as np
import pytest
from known_codes import noise, one_hot

from cdrl.evaluation.projection import map_quality, umap_map

LABELS = np.arange(240) % 4
CLUSTERS = 8 * one_hot(LABELS) @ noise(4, 10) + noise(240, 10, seed=1)


@pytest.fixture(scope="module")
def mapped():
    return umap_map(CLUSTERS, seed=3, n_neighbors=12)


def test_the_same_seed_draws_the_same_map(mapped):
    points, rows = umap_map(CLUSTERS, seed=3, n_neighbors=12)
    assert points.dtype == np.float32
    assert points.shape == (240, 2)
    assert np.array_equal(rows, np.arange(240))
    assert np.array_equal(points, mapped[0])


def test_clusters_stay_clusters_and_the_quality_says_so(mapped):
    points, _ = mapped
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1) + 1e9 * np.eye(240)
    assert np.mean(LABELS[distance.argmin(1)] == LABELS) > 0.98
    assert map_quality(CLUSTERS, points)["trustworthiness"] > 0.85


def test_quality_of_the_space_itself_is_one_and_of_a_random_map_chance():
    flat = noise(200, 2)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    itself = map_quality(flat, flat)
    assert itself["trustworthiness"] == 1
    assert itself["knn_agreement"] == 1
    random = map_quality(noise(400, 6), noise(400, 2, seed=5))
    assert random["knn_agreement"] == pytest.approx(random["knn_agreement.chance"], abs=0.03)
    assert random["trustworthiness"] == pytest.approx(0.5, abs=0.08)
    assert random["n"] == 400


def test_rows_are_capped_and_belong_to_their_points():
    points, rows = umap_map(CLUSTERS, n_frames=60, n_neighbors=8)
    assert points.shape == (60, 2)
    assert np.all(np.diff(rows) > 0)
    assert rows.max() < 240
    with pytest.raises(ValueError, match="4 rows or more: got 3"):
        umap_map(CLUSTERS[:3])
