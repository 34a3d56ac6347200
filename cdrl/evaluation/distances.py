"""Distances between sets of frames as the paper's release computes them, on the features of a network that is named.

The release's own networks are not to be had here: FAD takes an ArcFace ResNet-18 (`resnet18_110.pth` of arcface-pytorch),
CSIM an EfficientFace trained on AffectNet-7. Numbers on other networks do not compare with its tables.
"""

import numpy as np
from scipy.linalg import sqrtm

EPSILON = 1e-6  # added to the diagonals where the product of covariances has no root


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Frechet distance of the Gaussians of two sets of features: |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)).

    As in FAD and FID (arXiv:1706.08500).

    Args:
        first, second: (N, D) and (M, D) features; with fewer rows than dimensions the covariances are not full, and the value is
            too large.

    Returns:
        0 for one set against itself; 9 for unit Gaussians whose means are 3 apart in one dimension, D for one of deviation 1
        against one of deviation 2 in D dimensions.
    """
    means = [np.asarray(x, np.float64).mean(0) for x in (first, second)]
    spreads = [np.cov(np.asarray(x, np.float64), rowvar=False).reshape(len(means[0]), -1) for x in (first, second)]
    root = sqrtm(spreads[0] @ spreads[1])
    if not np.isfinite(root).all():
        guard = EPSILON * np.eye(len(root))
        root = sqrtm((spreads[0] + guard) @ (spreads[1] + guard))
    value = np.square(means[0] - means[1]).sum() + np.trace(spreads[0] + spreads[1]) - 2 * np.trace(root.real)
    return float(max(value, 0.0))


def set_similarity(first: np.ndarray, second: np.ndarray, number: int = 100, seed: int = 1) -> float:
    """Mean of all cosines between `number` random rows of each of two sets: CSIM as released, seed and number too.

    Args:
        first, second: (N, D), (M, D) features. number: rows drawn of each, without repetition; all where there are fewer.

    Returns:
        In [-1, 1]; 1 for two sets of one direction, 0 for unrelated ones.
    """
    random, drawn = np.random.default_rng(seed), []
    for rows in (first, second):
        rows = np.asarray(rows, np.float64)[random.permutation(len(rows))[:number]]
        drawn.append(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
    return float((drawn[0] @ drawn[1].T).mean())
