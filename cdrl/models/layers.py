"""Layers that several networks share."""

from itertools import pairwise

import torch
from torch import nn


def silu_layers(*widths: int) -> nn.Sequential:
    """Make linear layers between these widths, each followed by SiLU."""
    layers = nn.Sequential()
    for features, out in pairwise(widths):
        layers.append(nn.Linear(features, out))
        layers.append(nn.SiLU())
    return layers


def mean_and_std(hidden: torch.Tensor) -> torch.Tensor:
    """Mean and standard deviation over time: (B, T, D) -> (B, 2 D)."""
    mean = hidden.mean(1)
    variance = hidden.var(1, unbiased=False)
    std = (variance + 1e-4).sqrt()
    return torch.cat([mean, std], -1)
