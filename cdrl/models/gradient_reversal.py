"""A classifier behind gradient reversal: what it can read, the encoder learns to hide."""

from typing import Any

import torch
from torch import nn


class _GradientReversal(torch.autograd.Function):
    """The identity, whose gradient has the opposite sign."""

    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return -gradients[0]


class Adversary(nn.Module):
    """A classifier of an embedding behind a gradient reversal layer (arXiv:1409.7495).

    Args:
        features: D of the embedding.
        classes: number of labels.
        hidden: width of the hidden layer.

    Example:
        loss = F.cross_entropy(adversary(embedding), labels)
        # Best for the encoder: the entropy of the labels.
    """

    def __init__(self, features: int, classes: int, hidden: int = 128):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, classes))

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """(B, D) -> (B, classes) logits; the gradient of the embedding has the opposite sign."""
        return self.net(_GradientReversal.apply(embedding))
