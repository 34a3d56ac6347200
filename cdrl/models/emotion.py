"""CERL's emotion encoder: one shared head on image features, and learnable prompts."""

import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.checkpoint import Pretrained
from cdrl.models.layers import mean_and_std


class EmotionEncoder(nn.Module, Pretrained):
    """Windows of image features -> the language prior's space, pooled over time.

    One head for all labels. In the release each label has a head of its own; re-implemented on a
    small rendered corpus, that loss can be met from the label alone.

    A bottleneck of a few dimensions at a fixed length, with noise in training, limits what passes.
    What does not help to tell emotions apart is lost in the noise, so the code can keep little of
    speaker and speech (an information bottleneck).

    Args:
        features: length of the image features: the language prior's and the mouth's.
        embedding: D, that of the prior's text embeddings.
        bottleneck: dimensions of the code.
        noise: standard deviation of the noise per dimension of unit variance.
        window: frames around a frame that its own embedding pools.
        classes: number of emotions.
        tokens: context tokens of each class.
        token_width: length of a context token.
        hidden: width of the hidden layers.
        dropout: in the frame-wise layers.

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

        self.config = {
            "features": features,
            "embedding": embedding,
            "bottleneck": bottleneck,
            "noise": noise,
            "window": window,
            "classes": classes,
            "tokens": tokens,
            "token_width": token_width,
            "hidden": hidden,
            "dropout": dropout,
        }
        self.noise = noise
        self.window = window
        context = torch.randn(classes, tokens, token_width) * 0.02
        self.context = nn.Parameter(context)

        self.frame = nn.Sequential()
        self.frame.append(nn.LayerNorm(features))
        self.frame.append(nn.Linear(features, hidden))
        self.frame.append(nn.SiLU())
        self.frame.append(nn.Dropout(dropout))
        self.frame.append(nn.Linear(hidden, hidden))
        self.frame.append(nn.SiLU())

        self.narrow = nn.Sequential()
        self.narrow.append(nn.LayerNorm(2 * hidden))
        self.narrow.append(nn.Linear(2 * hidden, bottleneck))
        self.out = nn.Linear(bottleneck, embedding)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Embed windows.

        Args:
            features: (B, T, features), any number of frames.

        Returns:
            (B, D), unit norm.
        """
        return self.pool(self.frame(features))

    def pool(self, hidden: torch.Tensor) -> torch.Tensor:
        """Embed windows whose frames `self.frame` has seen, each by itself.

        Args:
            hidden: (B, T, hidden), any number of frames.

        Returns:
            (B, D), unit norm.
        """
        code = self.narrow(mean_and_std(hidden))

        unit_code = F.normalize(code, dim=-1)
        code = unit_code * code.shape[-1] ** 0.5  # unit variance per dimension
        if self.training and self.noise:
            noise = torch.randn_like(code)
            code = code + self.noise * noise

        embedding = self.out(code)

        return F.normalize(embedding, dim=-1)
