"""Do two embeddings know anything of each other, and does either still use its dimensions?"""

import numpy as np

from cdrl.evaluation.estimate import Estimate

MAX_FRAMES = 2000
_SMALLEST = 1e-12


def gaussian_kernel(features: np.ndarray) -> np.ndarray:
    """exp(-d^2 / (2 s^2)), s the median distance of two different rows.

    Args:
        features: (n, D).

    Returns:
        (n, n); all ones for a constant code.
    """
    features = np.asarray(features, np.float64)
    features = features - features.mean(0)

    squares = (features**2).sum(1)
    twice_products = (2 * features) @ features.T
    distance = np.maximum(squares[:, None] + squares[None] - twice_products, 0)
    np.fill_diagonal(distance, 0)

    pairs = np.triu_indices(len(distance), 1)
    width = np.median(distance[pairs])

    if width <= _SMALLEST:
        # More than half of the pairs are equal: the median says nothing, the mean does.
        width = distance.mean()

    if width <= _SMALLEST:
        return np.ones_like(distance)

    return np.exp(-distance / (2 * width))


def _centred(kernel: np.ndarray) -> np.ndarray:
    """(n, n) kernel with the mean of every row and column removed."""
    return kernel - kernel.mean(0) - kernel.mean(1, keepdims=True) + kernel.mean()


def hsic(
    first: np.ndarray,
    second: np.ndarray,
    clip: np.ndarray | None = None,
    num_permutations: int = 200,
    max_frames: int = MAX_FRAMES,
    seed: int = 0,
) -> Estimate:
    """Hilbert-Schmidt independence criterion with a permutation p.

    tr(K H L H) / (n - 1)^2 (Gretton et al. 2005), Gaussian kernels with median bandwidth.

    Args:
        first: (N, D).
        second: (N, E).
        clip: (N,) clip of each row, rows clip by clip. Whole clips are exchanged: frames of a clip
            are not independent, and permuting frames would call any two smooth signals dependent.
            Rows are exchanged where None.
        num_permutations: P.
        max_frames: at most so many rows, drawn at random.
        seed: of the draws.

    Returns:
        Value (>= 0, 0 when independent and n grows), chance (mean under permutation), p in
        [1 / (P + 1), 1], n, normalised (value / sqrt(value of each with itself): 1 for a code with
        itself, any rotation or scale of it).

    Raises:
        ValueError: for different lengths.
    """
    if len(first) != len(second):
        raise ValueError(f"HSIC compares rows: got {len(first)} and {len(second)}")

    random = np.random.default_rng([seed, 7301])
    rows = np.sort(random.permutation(len(first))[:max_frames])
    row_clips = rows if clip is None else np.asarray(clip)[rows]

    first_kernel = _centred(gaussian_kernel(first[rows]))
    second_kernel = _centred(gaussian_kernel(second[rows]))

    scale = (len(rows) - 1) ** 2
    value = float((first_kernel * second_kernel).sum() / scale)

    first_square = (first_kernel * first_kernel).sum()
    second_square = (second_kernel * second_kernel).sum()
    with_itself = np.sqrt(first_square * second_square) / scale
    normalised = value / with_itself if with_itself > _SMALLEST else 0.0

    null = _permuted_values(first_kernel, second_kernel, row_clips, num_permutations, random)

    # Single precision in the permutations: a constant code must not win by rounding.
    threshold = value * (1 - 1e-4) - _SMALLEST
    num_as_large = 1 + np.sum(null >= threshold)
    p = float(num_as_large / (num_permutations + 1))

    estimate = Estimate(value, n=len(rows), chance=float(null.mean()), p=p)
    return estimate.with_details(normalised=normalised)


def _permuted_values(
    first_kernel: np.ndarray,
    second_kernel: np.ndarray,
    clip: np.ndarray,
    num_permutations: int,
    random: np.random.Generator,
) -> np.ndarray:
    """(P,) values of two (n, n) centred kernels, the clips, (n,), of the second permuted."""
    scale = (len(clip) - 1) ** 2
    begins = np.flatnonzero(clip[1:] != clip[:-1]) + 1
    runs = np.split(np.arange(len(clip)), begins)

    first_single = first_kernel.astype(np.float32)
    second_single = second_kernel.astype(np.float32)

    values = np.empty(num_permutations)

    for draw in range(num_permutations):
        permuted_runs = [runs[number] for number in random.permutation(len(runs))]
        order = np.concatenate(permuted_runs)
        permuted = np.take(second_single[order], order, axis=1)
        values[draw] = np.vdot(first_single, permuted) / scale

    return values


def effective_rank(features: np.ndarray) -> float:
    """exp(entropy of the covariance's normalised eigenvalues), from 1 to D (Roy & Vetterli 2007).

    Args:
        features: (N, D).

    Returns:
        D for isotropic features, 1 for features along a line, 0 for a constant (a collapsed
        embedding). Any rotation or common scale leaves it as it is.
    """
    features = np.asarray(features, np.float64)
    covariance = np.atleast_2d(np.cov(features, rowvar=False))
    variances = np.linalg.eigvalsh(covariance).clip(0)

    mean_square = float((features**2).mean())

    if variances.sum() <= _SMALLEST * max(1.0, mean_square):
        return 0.0

    shares = variances / variances.sum()
    shares = shares[shares > 1e-15]
    entropy = -(shares * np.log(shares)).sum()

    return float(np.exp(entropy))
