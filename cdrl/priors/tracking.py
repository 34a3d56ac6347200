"""Facial actions tracked from pixels: a small head on the frozen face and mouth backbones.

A prior of the studio: it was fitted to the true coefficients of the training people. The evaluation's tracker is another
network (`cdrl.evaluation.networks`), of other people, and reads what this one must never be judged by.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from cdrl.data.store import Store
from cdrl.priors.store import Features
from cdrl.priors.vision import VisionPrior
from cdrl.priors.weights import load_card, load_weights
from cdrl.vocabulary import ACTIONS

READER = "action_reader"  # the committed weights


class ActionReader(nn.Module):
    """Features of a clip's frames -> facial actions, each frame read with two neighbours on each side.

    Args:
        features: length of a frame's face and mouth features together. width: of the hidden layers.

    Example:
        ActionReader()(torch.zeros(2, 7, 384)).shape == (2, 7, 52)
    """

    def __init__(self, features: int = 384, width: int = 192):
        super().__init__()
        self.frame = nn.Linear(features, width)
        self.time = nn.Conv1d(width, width, 5)
        self.plain, self.out = nn.Linear(features, len(ACTIONS)), nn.Linear(width, len(ACTIONS))
        self.register_buffer("mean", torch.zeros(len(ACTIONS)))
        self.register_buffer("deviation", torch.ones(len(ACTIONS)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, T, features) -> (B, T, 52), not clipped; beyond the ends the first and the last frame are held."""
        hidden = F.silu(self.frame(features)).transpose(1, 2)
        hidden = F.silu(self.time(F.pad(hidden, (2, 2), mode="replicate"))).transpose(1, 2)
        return self.mean + self.deviation * (self.plain(features) + self.out(hidden))

    @torch.no_grad()
    def read(self, features: np.ndarray) -> np.ndarray:
        """Facial actions of one clip.

        Args:
            features: (T, 384) face and mouth features side by side.

        Returns:
            (T, 52) float32 in [0, 1].
        """
        found = self(torch.from_numpy(np.asarray(features, np.float32))[None])[0]
        return found.clamp(0, 1).numpy()


@dataclass(frozen=True)
class Tracked:
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


def load_reader(name: str = READER) -> ActionReader:
    """The committed tracker, or the weights of that name or path, frozen, in eval mode."""
    return load_weights(name, ActionReader(**load_card(name)["model"]))


def track(features: Features, reader: ActionReader) -> Tracked:
    """Read every clip of a store from its cached features; about 20,000 frames a second on one core."""
    found = np.empty((len(features.face), len(ACTIONS)), np.float32)
    clips = features.store.clips
    for start, length in zip(clips["start"], clips["num_frames"], strict=True):
        rows = slice(int(start), int(start + length))
        found[rows] = reader.read(np.concatenate([features.face[rows], features.mouth[rows]], 1))
    return Tracked(clips, found, str(features.store.path))


@torch.no_grad()
def track_clip(store: Store, clip: int, reader: ActionReader, vision: VisionPrior) -> np.ndarray:
    """(T, 52) float32: the facial actions of one clip, read from its crops."""
    rows, row = store.frames(clip), store.clips.iloc[clip]
    crops = torch.from_numpy(np.array(store.face[rows])).permute(0, 3, 1, 2).float() / 255
    box = torch.tensor([[row.mouth_left, row.mouth_top, row.mouth_right, row.mouth_bottom]], dtype=torch.float32)
    found = [torch.cat(vision(part, box.expand(len(part), -1)), 1) for part in crops.split(128)]
    return reader.read(torch.cat(found).numpy())
