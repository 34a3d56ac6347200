"""Do two embeddings know anything of each other, and does either still use its dimensions?"""

import numpy as np

from cdrl.evaluation.estimate import Estimate

MAX_FRAMES = 2000


def gaussian_kernel(features: np.ndarray) -> np.ndarray:
    """(n, n) exp(-d^2 / (2 s^2)), s the median distance of two different rows; all ones for a constant code."""
    features = np.asarray(features, np.float64)
    features = features - features.mean(0)
    square = (features**2).sum(1)
    distance = np.maximum(square[:, None] + square[None] - 2 * features @ features.T, 0)
    np.fill_diagonal(distance, 0)
    width = np.median(distance[np.triu_indices(len(distance), 1)])
    # More than half of the pairs equal: the median says nothing, the mean does.
    width = width if width > 1e-12 else distance.mean()
    return np.exp(-distance / (2 * width)) if width > 1e-12 else np.ones_like(distance)


def _centred(kernel: np.ndarray) -> np.ndarray:
    return kernel - kernel.mean(0) - kernel.mean(1, keepdims=True) + kernel.mean()


def hsic(
    first: np.ndarray,
    second: np.ndarray,
    clip: np.ndarray | None = None,
    num_permutations: int = 200,
    max_frames: int = MAX_FRAMES,
    seed: int = 0,
) -> Estimate:
    """Hilbert-Schmidt independence criterion, tr(K H L H) / (n - 1)^2 (Gretton et al. 2005), with a permutation p.

    Args:
        first: (N, D). second: (N, E). Gaussian kernels, median bandwidth.
        clip: (N,) clip of each row, rows clip by clip. Whole clips are exchanged: frames of a clip are not independent,
            and permuting frames would call any two smooth signals dependent. Rows are exchanged where None.
        max_frames: at most so many rows, drawn at random.

    Returns:
        value (>= 0, 0 when independent and n grows), chance (mean under permutation), p in [1 / (P + 1), 1], n,
        normalised (value / sqrt(value of each with itself): 1 for a code with itself, any rotation or scale of it).

    Raises:
        ValueError: for different lengths.
    """
    if len(first) != len(second):
        raise ValueError(f"HSIC compares rows: got {len(first)} and {len(second)}")
    rng = np.random.default_rng([seed, 7301])
    rows = np.sort(rng.permutation(len(first))[:max_frames])
    clip = rows if clip is None else np.asarray(clip)[rows]
    one, two = _centred(gaussian_kernel(first[rows])), _centred(gaussian_kernel(second[rows]))
    scale = (len(rows) - 1) ** 2
    value = float((one * two).sum() / scale)
    blocks = np.split(np.arange(len(rows)), np.flatnonzero(clip[1:] != clip[:-1]) + 1)
    small_one, small_two = one.astype(np.float32), two.astype(np.float32)
    null = np.empty(num_permutations)
    for draw in range(num_permutations):
        order = np.concatenate([blocks[k] for k in rng.permutation(len(blocks))])
        null[draw] = np.vdot(small_one, np.take(small_two[order], order, axis=1)) / scale
    itself = np.sqrt((one * one).sum() * (two * two).sum()) / scale
    # Single precision in the permutations: a constant code must not win by rounding.
    beaten = 1 + np.sum(null >= value * (1 - 1e-4) - 1e-12)
    normalised = value / itself if itself > 1e-12 else 0.0
    return Estimate(
        value,
        n=len(rows),
        chance=float(null.mean()),
        p=float(beaten / (num_permutations + 1)),
        details={"normalised": normalised},
    )


def effective_rank(features: np.ndarray) -> float:
    """exp(entropy of the covariance's normalised eigenvalues), from 1 to D (Roy & Vetterli 2007).

    Args:
        features: (N, D).

    Returns:
        D for isotropic features, 1 for features along a line, 0 for a constant (a collapsed embedding). Any rotation or
        common scale leaves it as it is.
    """
    features = np.asarray(features, np.float64)
    spread = np.linalg.eigvalsh(np.atleast_2d(np.cov(features, rowvar=False))).clip(0)
    if spread.sum() <= 1e-12 * max(1.0, float((features**2).mean())):
        return 0.0
    share = spread / spread.sum()
    share = share[share > 1e-15]
    return float(np.exp(-(share * np.log(share)).sum()))
