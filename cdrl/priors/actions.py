"""Facial actions tracked from pixels: a small head on the frozen face and mouth backbones.

A prior of the studio: it was fitted to the true coefficients of the training people. The tracker of
the evaluation is another network (`cdrl.evaluation.judges`), fitted on other people. It judges what
this one must never judge.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.checkpoint import Pretrained, load_network
from cdrl.core.vocabulary import ACTIONS
from cdrl.corpora.batches import load_images
from cdrl.priors.vision import VisionPrior

if TYPE_CHECKING:
    import pandas as pd

    from cdrl.corpora.store import Store
    from cdrl.priors.features import Features

ACTION_TRACKER = "action_tracker"  # name of the committed weights
DILATIONS = (1, 2, 4)
DROPOUT = 0.1
BATCH = 128  # frames of a clip at once


class TemporalResidualBlock(nn.Module):
    """Layer norm, dilated convolution over time, a linear map, and a skip; the ends are repeated.

    Args:
        width: channels.
        dilation: of the convolution, which has a kernel of 3.
    """

    def __init__(self, width: int, dilation: int):
        super().__init__()

        self.reach = dilation
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, 3, dilation=dilation)
        self.mix = nn.Sequential(nn.SiLU(), nn.Dropout(DROPOUT), nn.Linear(width, width))

    def forward(self, x: torch.Tensor, step: float = 1.0) -> torch.Tensor:
        """Filter.

        Args:
            x: (B, T, width).
            step: factor on the distance of the neighbours, which are interpolated between frames.

        Returns:
            (B, T, width).
        """
        normalised = self.norm(x)
        if step == 1:
            filtered = self._convolve(normalised)
        else:
            filtered = self._convolve_between_frames(normalised, step)
        return x + self.mix(filtered)

    def _convolve(self, x: torch.Tensor) -> torch.Tensor:
        padding = (self.reach, self.reach)
        padded = F.pad(x.transpose(1, 2), padding, mode="replicate")
        return self.conv(padded).transpose(1, 2)

    def _convolve_between_frames(self, x: torch.Tensor, step: float) -> torch.Tensor:
        """Convolve with taps that are any number of frames away."""
        taps = []
        for tap, direction in enumerate((-1, 0, 1)):
            neighbour = _shift_in_time(x, direction * self.reach * step)
            kernel = self.conv.weight[:, :, tap]

            taps.append(neighbour @ kernel.T)

        before, middle, after = taps
        assert self.conv.bias is not None

        return before + middle + after + self.conv.bias


def _shift_in_time(x: torch.Tensor, frames: float) -> torch.Tensor:
    """Values so many frames later, linear between frames; the ends are repeated.

    Args:
        x: (B, T, D).
        frames: may be negative and no whole number.

    Returns:
        (B, T, D).
    """
    last = x.shape[1] - 1
    position = torch.arange(x.shape[1], device=x.device) + frames
    position = position.clamp(0, last)

    before = position.floor().long()
    after = (before + 1).clamp(max=last)
    weight = (position - before).to(x)

    return torch.lerp(x[:, before], x[:, after], weight[:, None])


class ActionTracker(nn.Module, Pretrained):
    """Features of a clip's frames -> facial actions; a frame depends on `reach` on each side.

    Args:
        features: length of a frame's face and mouth features together.
        width: of the hidden layers.

    Example:
        ActionTracker()(torch.zeros(2, 7, 384)).shape == (2, 7, 52)
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, features: int = 384, width: int = 256):
        super().__init__()

        self.config = {"features": features, "width": width}
        self.frame = nn.Linear(features, width)
        self.blocks = nn.ModuleList()
        for dilation in DILATIONS:
            self.blocks.append(TemporalResidualBlock(width, dilation))

        self.plain = nn.Linear(features, len(ACTIONS))
        self.out = nn.Linear(width, len(ACTIONS))
        self.register_buffer("mean", torch.zeros(len(ACTIONS)))
        self.register_buffer("std", torch.ones(len(ACTIONS)))

    @property
    def reach(self) -> int:
        """Frames on each side that the actions of a frame depend on."""
        return sum(DILATIONS)

    def forward(self, features: torch.Tensor, step: float = 1.0) -> torch.Tensor:
        """Track facial actions.

        Args:
            features: (B, T, features); beyond the ends the first and the last frame are repeated.
            step: frames in 40 ms, the distance of frames in training: 1 at 25 Hz, 2 at 50 Hz.

        Returns:
            (B, T, 52), not clipped.
        """
        hidden = F.silu(self.frame(features))
        for block in self.blocks:
            hidden = block(hidden, step)

        linear = self.plain(features)
        standardised = linear + self.out(F.silu(hidden))

        return self.mean + self.std * standardised

    @torch.no_grad()
    def predict(self, features: np.ndarray) -> np.ndarray:
        """Track facial actions of one clip.

        Args:
            features: (T, 384) face and mouth features side by side.

        Returns:
            (T, 52) float32 in [0, 1].
        """
        clip = torch.from_numpy(np.asarray(features, np.float32))
        actions = self(clip[None])[0]
        return actions.clamp(0, 1).numpy()


@dataclass(frozen=True)
class TrackedActions:
    """Facial actions of every frame of a store, as tracked from its pixels.

    Attributes:
        clips: the store's table.
        coefficients: (N, 52) float32 in [0, 1].
        path: of the store, for messages.
    """

    clips: "pd.DataFrame"
    coefficients: np.ndarray
    path: str = ""

    def clip(self, number: int) -> np.ndarray:
        """Facial actions of one clip: (T, 52)."""
        row = self.clips.iloc[number]
        start = int(row.start)
        end = int(row.start + row.num_frames)
        return self.coefficients[start:end]


def load_tracker(name: str = ACTION_TRACKER) -> ActionTracker:
    """Load the committed tracker, or weights of another name or path, frozen, in eval mode."""
    return load_network(ActionTracker, name)


def track(features: "Features", tracker: ActionTracker) -> TrackedActions:
    """Track every clip of a store from its stored features.

    Some 20,000 frames a second on one core.
    """
    store = features.store
    coefficients = np.empty((len(store), len(ACTIONS)), np.float32)
    for clip in range(len(store.clips)):
        rows = store.frames(clip)
        face = features.face[rows]
        mouth = features.mouth[rows]
        both = np.concatenate([face, mouth], 1)

        coefficients[rows] = tracker.predict(both)

    return TrackedActions(store.clips, coefficients, str(store.path))


@torch.no_grad()
def track_clip(
    store: "Store", clip: int, tracker: ActionTracker, vision_prior: VisionPrior
) -> np.ndarray:
    """Track one clip from its crops.

    Args:
        store: of the crops.
        clip: its number.
        tracker: of facial actions.
        vision_prior: the backbones that the tracker was trained on.

    Returns:
        (T, 52) float32 in [0, 1].
    """
    clip_rows = store.frames(clip)
    rows = np.arange(clip_rows.start, clip_rows.stop)
    crops = load_images(store, rows)
    box = torch.tensor(store.clip_mouth_boxes()[clip])

    features = []
    for images in crops.split(BATCH):
        boxes = box.expand(len(images), -1)
        face, mouth = vision_prior(images, boxes)
        features.append(torch.cat([face, mouth], 1))

    return tracker.predict(torch.cat(features).numpy())
