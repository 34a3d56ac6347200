"""Maps for the eye. No score is ever computed ON a map; under each stands how far it can be trusted."""

import warnings

import numpy as np
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

from cdrl.evaluation.retrieval import unit_rows


def umap_map(
    embedding: np.ndarray, seed: int = 0, n_neighbors: int = 30, n_frames: int = 4000
) -> tuple[np.ndarray, np.ndarray]:
    """UMAP of the embedding's directions (cosine), seeded: the same input gives the same map on the same machine.

    Args:
        embedding: (N, D). n_neighbors: smaller shows detail, larger shows layout.
        n_frames: at most so many rows, drawn at random.

    Returns:
        (n, 2) float32 coordinates, and the (n,) rows of `embedding` they belong to, ascending.

    Raises:
        ValueError: for fewer than 4 rows.
    """
    if len(embedding) < 4:
        raise ValueError(f"a map needs 4 rows or more: got {len(embedding)}")
    import umap  # numba compiles for seconds: only who draws a map pays

    rows = np.sort(np.random.default_rng([seed, 7401]).permutation(len(embedding))[:n_frames])
    points = unit_rows(embedding[rows]).astype(np.float32)
    n_neighbors = min(n_neighbors, len(points) - 1)
    distances, nearest = NearestNeighbors(n_neighbors=n_neighbors).fit(points).kneighbors(points)
    model = umap.UMAP(
        n_neighbors=n_neighbors,
        metric="euclidean",
        random_state=seed,
        n_jobs=1,
        init="pca" if len(points) < 50 else "spectral",
        precomputed_knn=(nearest, distances),  # exact, and nothing to compile
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit_transform(points).astype(np.float32), rows


def map_quality(
    embedding: np.ndarray, coordinates: np.ndarray, n_neighbors: int = 15, most: int = 2000
) -> dict[str, float]:
    """How much of the full space's neighbourhoods a map keeps; printed under it.

    Args:
        embedding: (n, D) the rows that were mapped. coordinates: (n, 2). most: first so many rows, evenly spaced.

    Returns:
        trustworthiness (sklearn; 1 when no false neighbours, about .5 for a random map) and knn_agreement: the mean
        share of the n_neighbors nearest that are the same in both (1 for the space itself), with its chance k / (n -
        1); n.
    """
    step = np.unique(np.linspace(0, len(embedding) - 1, min(most, len(embedding))).astype(int))
    full, flat = unit_rows(embedding[step]), np.asarray(coordinates, np.float64)[step]
    k = min(n_neighbors, (len(step) - 1) // 2)
    nearest = [
        NearestNeighbors(n_neighbors=k).fit(points).kneighbors(return_distance=False)
        for points in (full, flat)
    ]
    agree = np.mean([len(np.intersect1d(one, two)) / k for one, two in zip(*nearest)])
    return {
        "trustworthiness": float(trustworthiness(full, flat, n_neighbors=k)),
        "knn_agreement": float(agree),
        "knn_agreement.chance": k / (len(step) - 1),
        "n": len(step),
    }
