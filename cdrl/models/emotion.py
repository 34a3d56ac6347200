"""CERL's emotion encoder: one shared head over the language prior's image features, learnable prompts beside it."""

import torch
import torch.nn.functional as F
from torch import nn


class EmotionEncoder(nn.Module):
    """Windows of image features -> the language prior's space, pooled over time.

    One head for all labels. In the release each label has a head of its own; re-implemented on a small rendered corpus, that
    loss can be met from the label alone.

    What passes is little by design: a few dimensions at a fixed length, with noise on them while training. What does not help
    to tell emotions apart drowns in it, so that speaker and speech are hard to keep (an information bottleneck).

    Args:
        features: length of the image features, the prior's and the mouth's. embedding: D, that of the prior's text embeddings.
        bottleneck: dimensions that everything passes. noise: deviation of the noise per dimension of unit variance.
        window: frames around a frame that its own embedding pools.
        classes, tokens, token_width: learnable context, `tokens` of `token_width` per class.

    Example:
        EmotionEncoder()(torch.zeros(2, 5, 384)).shape == (2, 128)
    """

    def __init__(
        self,
        features: int = 384,
        embedding: int = 128,
        bottleneck: int = 8,
        noise: float = 0.5,
        window: int = 51,
        classes: int = 8,
        tokens: int = 8,
        token_width: int = 96,
        hidden: int = 256,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.noise, self.window = noise, window
        self.context = nn.Parameter(torch.randn(classes, tokens, token_width) * 0.02)
        self.frame = nn.Sequential(
            nn.LayerNorm(features),
            nn.Linear(features, hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
        )
        self.narrow = nn.Sequential(nn.LayerNorm(2 * hidden), nn.Linear(2 * hidden, bottleneck))
        self.out = nn.Linear(bottleneck, embedding)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, T, features) of any length T -> (B, D), unit norm: mean and deviation over time, narrowed, projected."""
        hidden = self.frame(features)
        code = self.narrow(
            torch.cat([hidden.mean(1), (hidden.var(1, unbiased=False) + 1e-4).sqrt()], -1)
        )
        code = F.normalize(code, dim=-1) * code.shape[-1] ** 0.5
        if self.training and self.noise:
            code = code + self.noise * torch.randn_like(code)
        return F.normalize(self.out(code), dim=-1)
