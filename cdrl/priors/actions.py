"""Facial actions tracked from pixels: a small head on the frozen face and mouth backbones.

A prior of the studio: it was fitted to the true coefficients of the training people. The evaluation's tracker is another
network (`cdrl.evaluation.judges`), of other people, and reads what this one must never be judged by.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.checkpoint import load_card, load_weights
from cdrl.core.vocabulary import ACTIONS
from cdrl.corpora.store import Store
from cdrl.priors.features import Features
from cdrl.priors.vision import VisionPrior

ACTION_TRACKER = "action_tracker"  # the committed weights
DROPOUT = 0.1


class TemporalResidualBlock(nn.Module):
    """Each frame with one before and one behind: normalised, convolved over time, mixed, added; the ends are held."""

    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.reach = dilation
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, 3, dilation=dilation)
        self.mix = nn.Sequential(nn.SiLU(), nn.Dropout(DROPOUT), nn.Linear(width, width))

    def forward(self, x: torch.Tensor, step: float = 1.0) -> torch.Tensor:
        """(B, T, width) -> (B, T, width); neighbours are `reach` times `step` frames away, between two frames their mixture."""
        seen = self.norm(x)
        if step == 1:
            held = F.pad(seen.transpose(1, 2), (self.reach, self.reach), mode="replicate")
            return x + self.mix(self.conv(held).transpose(1, 2))
        around = [
            _moved(seen, sign * self.reach * step) @ self.conv.weight[:, :, k].T
            for k, sign in enumerate((-1, 0, 1))
        ]
        return x + self.mix(sum(around) + self.conv.bias)


def _moved(x: torch.Tensor, frames: float) -> torch.Tensor:
    """(B, T, D): what is shown so many frames later, linear between two frames; the ends are held."""
    place = (torch.arange(x.shape[1], device=x.device) + frames).clamp(0, x.shape[1] - 1)
    low = place.floor().long()
    return torch.lerp(
        x[:, low], x[:, (low + 1).clamp(max=x.shape[1] - 1)], (place - low).to(x)[:, None]
    )


class ActionTracker(nn.Module):
    """Features of a clip's frames -> facial actions, each frame read with `reach` neighbours on each side.

    Args:
        features: length of a frame's face and mouth features together. width: of the hidden layers.

    Example:
        ActionTracker()(torch.zeros(2, 7, 384)).shape == (2, 7, 52)
    """

    def __init__(self, features: int = 384, width: int = 256):
        super().__init__()
        self.frame = nn.Linear(features, width)
        self.blocks = nn.ModuleList(
            [TemporalResidualBlock(width, dilation) for dilation in (1, 2, 4)]
        )
        self.plain, self.out = nn.Linear(features, len(ACTIONS)), nn.Linear(width, len(ACTIONS))
        self.register_buffer("mean", torch.zeros(len(ACTIONS)))
        self.register_buffer("std", torch.ones(len(ACTIONS)))

    @property
    def reach(self) -> int:
        """Frames on each side that a frame's reading depends on."""
        return sum(block.reach for block in self.blocks)

    def forward(self, features: torch.Tensor, step: float = 1.0) -> torch.Tensor:
        """(B, T, features) -> (B, T, 52), not clipped; beyond the ends the first and the last frame are held.

        Args:
            step: frames in 40 ms, the time from one to the next in training: 1 at 25 Hz, 2 at 50.
        """
        hidden = F.silu(self.frame(features))
        for block in self.blocks:
            hidden = block(hidden, step)
        return self.mean + self.std * (self.plain(features) + self.out(F.silu(hidden)))

    @torch.no_grad()
    def predict(self, features: np.ndarray) -> np.ndarray:
        """Facial actions of one clip.

        Args:
            features: (T, 384) face and mouth features side by side.

        Returns:
            (T, 52) float32 in [0, 1].
        """
        found = self(torch.from_numpy(np.asarray(features, np.float32))[None])[0]
        return found.clamp(0, 1).numpy()


@dataclass(frozen=True)
class TrackedActions:
    """Facial actions of every frame of a store, as read from its pixels.

    Attributes:
        clips: the store's table. coefficients: (N, 52) float32 in [0, 1]. path: of the store, for messages.
    """

    clips: pd.DataFrame
    coefficients: np.ndarray
    path: str = ""

    def clip(self, number: int) -> np.ndarray:
        """(T, 52): the facial actions of one clip."""
        row = self.clips.iloc[number]
        return self.coefficients[int(row.start) : int(row.start + row.num_frames)]


def load_tracker(name: str = ACTION_TRACKER) -> ActionTracker:
    """The committed tracker, or the weights of that name or path, frozen, in eval mode."""
    return load_weights(name, ActionTracker(**load_card(name)["model"]))


def track(features: Features, reader: ActionTracker) -> TrackedActions:
    """Read every clip of a store from its cached features; about 20,000 frames a second on one core."""
    found = np.empty((len(features.face), len(ACTIONS)), np.float32)
    clips = features.store.clips
    for start, length in zip(clips["start"], clips["num_frames"], strict=True):
        rows = slice(int(start), int(start + length))
        found[rows] = reader.predict(np.concatenate([features.face[rows], features.mouth[rows]], 1))
    return TrackedActions(clips, found, str(features.store.path))


@torch.no_grad()
def track_clip(store: Store, clip: int, reader: ActionTracker, vision: VisionPrior) -> np.ndarray:
    """(T, 52) float32: the facial actions of one clip, read from its crops."""
    rows, row = store.frames(clip), store.clips.iloc[clip]
    crops = torch.from_numpy(np.array(store.face[rows])).permute(0, 3, 1, 2).float() / 255
    box = torch.tensor(
        [[row.mouth_left, row.mouth_top, row.mouth_right, row.mouth_bottom]], dtype=torch.float32
    )
    found = [torch.cat(vision(part, box.expand(len(part), -1)), 1) for part in crops.split(128)]
    return reader.predict(torch.cat(found).numpy())
