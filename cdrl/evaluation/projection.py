"""Maps for the eye, each with how far it can be trusted. No score is ever computed ON a map."""

import warnings

import numpy as np

from cdrl.evaluation.retrieval import unit_rows

MIN_ROWS = 4
EPOCH = "_nb_optimize_layout_euclidean_single_epoch"  # of umap.layouts, in umap-learn 0.5.6 and on
SMALL_MAP = 50  # rows; smaller maps begin with the principal components


def umap_map(
    embedding: np.ndarray, seed: int = 0, n_neighbors: int = 30, n_frames: int = 4000
) -> tuple[np.ndarray, np.ndarray]:
    """UMAP of the embedding's directions (cosine).

    The same seed and input give the same map on the same machine.

    Args:
        embedding: (N, D).
        seed: of the map and of the drawn rows.
        n_neighbors: smaller shows detail, larger shows layout.
        n_frames: at most so many rows, drawn at random.

    Returns:
        (n, 2) float32 coordinates, and the (n,) rows of `embedding` they belong to, ascending.

    Raises:
        ValueError: for fewer than 4 rows.
    """
    if len(embedding) < MIN_ROWS:
        raise ValueError(f"a map needs {MIN_ROWS} rows or more: got {len(embedding)}")

    # numba compiles for seconds: only who draws a map pays, and most of it once on a machine.
    import umap
    from sklearn.neighbors import NearestNeighbors

    for function in (
        umap.umap_.smooth_knn_dist,
        umap.umap_.compute_membership_strengths,
        getattr(umap.layouts, EPOCH, None),
    ):
        if function is not None:
            function.enable_caching()

    random = np.random.default_rng([seed, 7401])
    rows = np.sort(random.permutation(len(embedding))[:n_frames])
    points = unit_rows(embedding[rows]).astype(np.float32)

    n_neighbors = min(n_neighbors, len(points) - 1)
    search = NearestNeighbors(n_neighbors=n_neighbors).fit(points)
    distances, nearest = search.kneighbors(points)

    model = umap.UMAP(
        n_neighbors=n_neighbors,
        metric="euclidean",
        random_state=seed,
        n_jobs=1,
        init="pca" if len(points) < SMALL_MAP else "spectral",
        # Exact, and nothing to compile.
        precomputed_knn=(nearest, distances),
    )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        coordinates = model.fit_transform(points)

    return coordinates.astype(np.float32), rows


def map_quality(
    embedding: np.ndarray, coordinates: np.ndarray, n_neighbors: int = 15, max_rows: int = 2000
) -> dict[str, float]:
    """How much of the full space's neighbourhoods a map keeps; printed under it.

    Args:
        embedding: (n, D) the rows that were mapped.
        coordinates: (n, 2).
        n_neighbors: k.
        max_rows: at most so many rows, evenly spaced.

    Returns:
        trustworthiness (sklearn; 1 when no false neighbours, about .5 for a random map) and
        knn_agreement: the mean share of the k nearest that are the same in both (1 for the space
        itself), with its chance k / (n - 1); n.
    """
    num_rows = len(embedding)
    positions = np.linspace(0, num_rows - 1, min(max_rows, num_rows))
    rows = np.unique(positions.astype(int))

    from sklearn.manifold import trustworthiness  # here: its import takes a second

    full = unit_rows(embedding[rows])
    flat = np.asarray(coordinates, np.float64)[rows]

    k = min(n_neighbors, (len(rows) - 1) // 2)
    nearest_full = _nearest(full, k)
    nearest_flat = _nearest(flat, k)

    shares = []
    for in_full, in_flat in zip(nearest_full, nearest_flat, strict=True):
        shares.append(len(np.intersect1d(in_full, in_flat)) / k)

    return {
        "trustworthiness": float(trustworthiness(full, flat, n_neighbors=k)),
        "knn_agreement": float(np.mean(shares)),
        "knn_agreement.chance": k / (len(rows) - 1),
        "n": len(rows),
    }


def _nearest(points: np.ndarray, k: int) -> np.ndarray:
    """(n, k) the nearest other points of each of (n, D) points."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=k).fit(points)
    return search.kneighbors(return_distance=False)
