"""A classifier behind gradient reversal."""

import torch
from torch import nn


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.view_as(x)

    @staticmethod
    def backward(context, gradient):
        return -gradient


class Adversary(nn.Module):
    """A classifier behind a gradient reversal layer (arXiv:1409.7495): it learns to read a label, the encoder to hide it.

    Args:
        features: D of the embedding. classes: number of labels.

    Example:
        F.cross_entropy(adversary(embedding), labels)   # at best for the encoder: the label's entropy
    """

    def __init__(self, features: int, classes: int, hidden: int = 128):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, classes))

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """(B, D) -> (B, classes) logits; the gradient to the embedding has its sign turned."""
        return self.net(_Reverse.apply(embedding))
