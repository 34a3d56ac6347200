"""SyncNet v2: how well mouth and sound belong together.

Chung and Zisserman, "Out of time", ACCV workshops 2016. Names of parts and shapes are theirs, so
that the published weights load.
"""

import torch
from torch import nn

WINDOW = 5  # frames of one embedding
STEPS = 20  # of the cepstra under them, four for each frame
CEPSTRA = 13
SIDE = 224  # pixels


class SyncNet(nn.Module):
    """Five frames of a mouth and the sound under them as 1,024 numbers each, near where they match.

    Example:
        SyncNet().extract_visual(torch.zeros(2, 3, 5, 224, 224)).shape == (2, 1024)
    """

    def __init__(self) -> None:
        super().__init__()

        self.netcnnaud = _audio_convolutions()
        self.netcnnlip = _visual_convolutions()
        self.netfcaud = _head()
        self.netfclip = _head()

    def extract_audio(self, cepstra: torch.Tensor) -> torch.Tensor:
        """(B, 1, 13, 20) cepstra, four columns for each frame -> (B, 1024)."""
        hidden = self.netcnnaud(cepstra)
        return self.netfcaud(hidden.flatten(1))

    def extract_visual(self, frames: torch.Tensor) -> torch.Tensor:
        """(B, 3, 5, 224, 224) frames in the order blue, green, red, 0 to 255 -> (B, 1024)."""
        hidden = self.netcnnlip(frames)
        return self.netfclip(hidden.flatten(1))


def _audio_convolutions() -> nn.Sequential:
    """(B, 1, 13, 20) -> (B, 512, 1, 1)."""
    layers = nn.Sequential()
    _add_conv2d(layers, 1, 64, 3, 1)
    layers.append(nn.MaxPool2d(1, 1))

    _add_conv2d(layers, 64, 192, 3, 1)
    layers.append(nn.MaxPool2d(3, (1, 2)))

    _add_conv2d(layers, 192, 384, 3, 1)
    _add_conv2d(layers, 384, 256, 3, 1)
    _add_conv2d(layers, 256, 256, 3, 1)
    layers.append(nn.MaxPool2d(3, 2))

    _add_conv2d(layers, 256, 512, (5, 4), 0)
    return layers


def _visual_convolutions() -> nn.Sequential:
    """(B, 3, 5, 224, 224) -> (B, 512, 1, 1, 1)."""
    layers = nn.Sequential()

    _add_conv3d(layers, 3, 96, (5, 7, 7), 2, 0)
    layers.append(nn.MaxPool3d((1, 3, 3), (1, 2, 2)))

    _add_conv3d(layers, 96, 256, (1, 5, 5), 2, 1)
    layers.append(nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)))

    for _ in range(3):
        _add_conv3d(layers, 256, 256, (1, 3, 3), 1, 1)

    layers.append(nn.MaxPool3d((1, 3, 3), (1, 2, 2)))

    _add_conv3d(layers, 256, 512, (1, 6, 6), 1, 0)
    return layers


def _add_conv2d(
    layers: nn.Sequential, channels: int, out: int, kernel: int | tuple[int, int], padding: int
) -> None:
    layers.append(nn.Conv2d(channels, out, kernel, 1, padding))
    layers.append(nn.BatchNorm2d(out))
    layers.append(nn.ReLU())


def _add_conv3d(
    layers: nn.Sequential,
    channels: int,
    out: int,
    kernel: tuple[int, int, int],
    stride: int,
    padding: int,
) -> None:
    """Add a 3D convolution; stride and padding in space only."""
    strides = (1, stride, stride)
    paddings = (0, padding, padding)

    layers.append(nn.Conv3d(channels, out, kernel, strides, paddings))
    layers.append(nn.BatchNorm3d(out))
    layers.append(nn.ReLU())


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))
