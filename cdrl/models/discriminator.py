"""The judge in the generator's game: does this window look like a real face with that emotion?"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from cdrl.vocabulary import EMOTIONS

FRAMES = (0, 2, 4)  # of a window of five


class Discriminator(nn.Module):
    """Convolutions with spectral normalisation (arXiv:1802.05957) and one real/fake head per emotion (arXiv:1912.01865).

    Args:
        width: channels after the first layer.

    Example:
        Discriminator()(torch.zeros(2, 5, 3, 64, 64), torch.tensor([4, 0]), torch.tensor([1.0, 0.3])).shape == (2,)
    """

    def __init__(self, width: int = 24):
        super().__init__()
        widths = (3 * len(FRAMES), width, 2 * width, 4 * width, 6 * width)
        self.layers = nn.ModuleList(
            [spectral_norm(nn.Conv2d(a, b, 4, 2, 1)) for a, b in zip(widths[:-1], widths[1:], strict=True)]
        )
        self.patch = spectral_norm(nn.Conv2d(widths[-1], 1, 1))
        self.heads = spectral_norm(nn.Linear(widths[-1], 2 * len(EMOTIONS)))

    def forward(self, frames: torch.Tensor, emotion: torch.Tensor, intensity: torch.Tensor) -> torch.Tensor:
        """(B, 5, 3, 64, 64) in [0, 1], (B,) labels, (B,) 1/3 to 1 -> (B,) logits, high where it looks real.

        One part asks every patch whether it is a face, one asks the whole for the emotion, one for its strength.
        """
        x = frames[:, FRAMES].flatten(1, 2) * 2 - 1
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
        base, slope = self.heads(F.leaky_relu(x, 0.2).sum((2, 3))).view(len(x), 2, -1).unbind(1)
        rows = torch.arange(len(x), device=x.device)
        return self.patch(x).mean((1, 2, 3)) + base[rows, emotion] + (intensity - 2 / 3) * slope[rows, emotion]
