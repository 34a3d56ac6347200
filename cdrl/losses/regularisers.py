"""Regularisers of an embedding, against leakage and collapse.

They are statistics of a batch: one number for all samples.
"""

import torch


def cross_correlation(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Mean squared correlation between every pair of dimensions of two embeddings.

    Compare Eq. 4 of arXiv:1412.6583.

    Args:
        first: (B, D).
        second: (B, E), an embedding or one-hot labels of the same samples.

    Returns:
        Scalar in [0, 1]; 0 for embeddings that are linearly unrelated, about 1 / B for noise.
    """
    first = _standardise(first)
    second = _standardise(second)
    correlation = first.T @ second / len(first)
    return correlation.square().mean()


def _standardise(code: torch.Tensor) -> torch.Tensor:
    """Bring every dimension of (B, D) to mean 0 and standard deviation 1 over the batch."""
    centred = code - code.mean(0)
    std = code.std(0, unbiased=False)
    return centred / (std + 1e-4)


def variance_floor(embedding: torch.Tensor, floor: float) -> torch.Tensor:
    """Hinge on the standard deviation of each dimension: a collapsed embedding costs `floor`.

    Eq. 1 of arXiv:2105.04906.

    Args:
        embedding: (B, D).
        floor: the least standard deviation that costs nothing.

    Returns:
        Scalar in [0, floor]; a constant embedding scores floor, less .01 because 1e-4 is added
        under the square root.
    """
    std = (embedding.var(0) + 1e-4).sqrt()
    return (floor - std).clamp(min=0).mean()
