"""The discriminator of the image editor's adversarial training, on frozen backbone features."""

import torch
from torch import nn

from cdrl.core.vocabulary import EMOTIONS

FRAMES = (0, 2, 4)  # of a window of five
MAX_SHIFT = 2  # pixels
MIDDLE_INTENSITY = 2 / 3  # where the slope of a logit has no effect


class Discriminator(nn.Module):
    """Tells real windows with an emotion from edited ones.

    It reads frozen backbone features (a projected GAN, arXiv:2111.01007) and has one output for
    each emotion (arXiv:1912.01865).

    Args:
        features: length of a frame's features.
        width: of the hidden layers.

    Example:
        Discriminator()(torch.zeros(2, 3, 384)).shape == (2, 8, 2)
    """

    def __init__(self, features: int = 384, width: int = 192):
        super().__init__()

        inputs = features * len(FRAMES)
        self.net = nn.Sequential()
        for layer_inputs in (inputs, width):
            self.net.append(nn.Linear(layer_inputs, width))
            self.net.append(nn.LeakyReLU(0.2))
            self.net.append(nn.Dropout(0.2))

        self.net.append(nn.Linear(width, 2 * len(EMOTIONS)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Compute logits.

        Args:
            features: (B, 3, features) of three frames.

        Returns:
            (B, 8, 2): per emotion a logit, high where real, and its slope in intensity.
        """
        logits = self.net(features.flatten(1))
        return logits.view(len(features), len(EMOTIONS), 2)


def conditional_logit(
    logits: torch.Tensor, emotion: torch.Tensor, intensity: torch.Tensor
) -> torch.Tensor:
    """Logit of one emotion at an intensity.

    Args:
        logits: (B, 8, 2), logit and slope per emotion.
        emotion: (B,) int64 labels.
        intensity: (B,), 1/3 to 1.

    Returns:
        (B,), high where the window looks real.
    """
    samples = torch.arange(len(logits), device=logits.device)
    base, slope = logits[samples, emotion].unbind(1)
    return base + (intensity - MIDDLE_INTENSITY) * slope


def jitter_frames(frames: torch.Tensor) -> torch.Tensor:
    """Shift frames and change their light and colour at random, alike within a window.

    Differentiable augmentation (arXiv:2006.10738): the generator gains nothing by changes of single
    pixels.

    Args:
        frames: (B, T, 3, H, W) in [0, 1].

    Returns:
        (B, T, 3, H, W), differentiable; shifted by up to 2 pixels, borders repeated.
    """
    frames = _shift(frames)
    strength = torch.rand(3, len(frames), 1, 1, 1, 1) - 0.5
    saturation, contrast, light = strength.to(frames.device).unbind(0)

    grey = frames.mean(2, keepdim=True)
    colour = frames - grey
    frames = grey + colour * (1 + 0.6 * saturation)

    around_zero = frames - 0.5
    frames = around_zero * (1 + 0.4 * contrast) + 0.5

    return frames + 0.2 * light


def _shift(frames: torch.Tensor) -> torch.Tensor:
    """Shift every window by whole pixels at random."""
    batch = len(frames)
    shift = torch.randint(-MAX_SHIFT, MAX_SHIFT + 1, (batch, 2))

    rows = _shifted_indices(frames.shape[-2], shift[:, :1])
    columns = _shifted_indices(frames.shape[-1], shift[:, 1:])

    shifted = []
    for number, window in enumerate(frames):
        window = window[:, :, rows[number]]
        window = window[..., columns[number]]

        shifted.append(window)

    return torch.stack(shifted)


def _shifted_indices(count: int, shift: torch.Tensor) -> torch.Tensor:
    """(B, 1) shifts -> (B, count) indices; those beyond an end repeat it."""
    indices = torch.arange(count) + shift
    return indices.clamp(0, count - 1)
