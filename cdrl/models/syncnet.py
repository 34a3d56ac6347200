"""SyncNet v2 (Chung and Zisserman, "Out of time", ACCV workshops 2016), so that its published weights load: names and shapes are theirs."""

import torch
from torch import nn

WINDOW = 5  # frames that one embedding sees
STEPS = 20  # of the cepstra under them, four for each frame
CEPSTRA = 13
SIDE = 224  # pixels


class SyncNet(nn.Module):
    """Five frames of a mouth and the sound under them, each as 1,024 numbers; near where they belong together.

    Example:
        SyncNet().extract_visual(torch.zeros(2, 3, 5, 224, 224)).shape == (2, 1024)
    """

    def __init__(self):
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_flat(1, 64, 3, 1),
            nn.MaxPool2d(1, 1),
            *_flat(64, 192, 3, 1),
            nn.MaxPool2d(3, (1, 2)),
            *_flat(192, 384, 3, 1),
            *_flat(384, 256, 3, 1),
            *_flat(256, 256, 3, 1),
            nn.MaxPool2d(3, 2),
            *_flat(256, 512, (5, 4), 0),
        )
        self.netcnnlip = nn.Sequential(
            *_deep(3, 96, (5, 7, 7), 2, 0),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_deep(96, 256, (1, 5, 5), 2, 1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_deep(256, 256, (1, 3, 3), 1, 1),
            *_deep(256, 256, (1, 3, 3), 1, 1),
            *_deep(256, 256, (1, 3, 3), 1, 1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_deep(256, 512, (1, 6, 6), 1, 0),
        )
        self.netfcaud, self.netfclip = _head(), _head()

    def extract_audio(self, cepstra: torch.Tensor) -> torch.Tensor:
        """(B, 1, 13, 20) cepstra, four columns for each frame -> (B, 1024)."""
        return self.netfcaud(self.netcnnaud(cepstra).flatten(1))

    def extract_visual(self, frames: torch.Tensor) -> torch.Tensor:
        """(B, 3, 5, 224, 224) frames in the order blue, green, red, 0 to 255 -> (B, 1024)."""
        return self.netfclip(self.netcnnlip(frames).flatten(1))


def _flat(channels: int, out: int, kernel, padding: int) -> tuple:
    return nn.Conv2d(channels, out, kernel, 1, padding), nn.BatchNorm2d(out), nn.ReLU()


def _deep(channels: int, out: int, kernel: tuple, stride: int, padding: int) -> tuple:
    return (
        nn.Conv3d(channels, out, kernel, (1, stride, stride), (0, padding, padding)),
        nn.BatchNorm3d(out),
        nn.ReLU(),
    )


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))
