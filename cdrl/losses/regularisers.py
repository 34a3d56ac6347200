"""What keeps an embedding from leaking and from collapsing: functions of a batch."""

import torch


def cross_covariance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Mean squared correlation between every pair of dimensions of two codes (cf. Eq. 4 of arXiv:1412.6583).

    Args:
        a: (B, D). b: (B, E), the same samples; a one-hot label serves as well.

    Returns:
        Scalar in [0, 1]; 0 where they are linearly unrelated, about 1 / B for independent noise.
    """
    a, b = ((x - x.mean(0)) / (x.std(0, unbiased=False) + 1e-4) for x in (a, b))
    return (a.T @ b / len(a)).square().mean()


def variance_floor(embedding: torch.Tensor, floor: float) -> torch.Tensor:
    """Hinge on the standard deviation of each dimension (Eq. 1 of arXiv:2105.04906): a collapsed code pays `floor`.

    Args:
        embedding: (B, D).

    Returns:
        Scalar in [0, floor]; a constant code scores floor (less .01, from the square root's guard).
    """
    return (floor - (embedding.var(0) + 1e-4).sqrt()).clamp(min=0).mean()
