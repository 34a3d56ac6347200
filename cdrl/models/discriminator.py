"""The judge in the generator's game: does this window look like a real face with that emotion?"""

import torch
from torch import nn

from cdrl.core.vocabulary import EMOTIONS

FRAMES = (0, 2, 4)  # of a window of five
SHIFT = 2  # pixels


class Discriminator(nn.Module):
    """Reads frozen backbone features (a projected GAN, arXiv:2111.01007); one real/fake head per emotion (arXiv:1912.01865).

    Args:
        features: length of a frame's features. width: of the hidden layers.

    Example:
        Discriminator()(torch.zeros(2, 3, 384)).shape == (2, 8, 2)
    """

    def __init__(self, features: int = 384, width: int = 192):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(features * len(FRAMES), width),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.2),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.2),
            nn.Linear(width, 2 * len(EMOTIONS)),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, 3, features) of three frames -> (B, 8, 2): per emotion a logit, high where real, and its slope in intensity."""
        return self.net(features.flatten(1)).view(len(features), len(EMOTIONS), 2)


def conditional_logit(
    heads: torch.Tensor, emotion: torch.Tensor, intensity: torch.Tensor
) -> torch.Tensor:
    """The logit of the emotion asked for: (B, 8, 2), (B,) labels, (B,) 1/3 to 1 -> (B,)."""
    base, slope = heads[torch.arange(len(heads), device=heads.device), emotion].unbind(1)
    return base + (intensity - 2 / 3) * slope


def jitter_frames(frames: torch.Tensor) -> torch.Tensor:
    """Shift, light and colour at random, alike for a window's frames (arXiv:2006.10738): no trick of single pixels counts.

    Args:
        frames: (B, T, 3, H, W) in [0, 1].

    Returns:
        The same shape, differentiable; shifted by up to 2 of 64 pixels, borders repeated.
    """
    batch, _, _, height, width = frames.shape
    shift = torch.randint(-SHIFT, SHIFT + 1, (batch, 2))
    rows = (torch.arange(height) + shift[:, :1]).clamp(0, height - 1)
    columns = (torch.arange(width) + shift[:, 1:]).clamp(0, width - 1)
    frames = torch.stack(
        [x[:, :, r][..., c] for x, r, c in zip(frames, rows, columns, strict=True)]
    )
    grey = frames.mean(2, keepdim=True)
    saturation, contrast, light = (
        (torch.rand(3, batch, 1, 1, 1, 1) - 0.5).to(frames.device).unbind(0)
    )
    return (
        (grey + (frames - grey) * (1 + 0.6 * saturation) - 0.5) * (1 + 0.4 * contrast)
        + 0.5
        + 0.2 * light
    )
