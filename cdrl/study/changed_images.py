"""Stores whose images are worse than they are: the mouth covered, blurred, or few pixels.

Nothing is written: crops are changed when they are read, and features lie in folders of their own.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from cdrl.corpora.sharded_array import RowArray
from cdrl.corpora.store import Store

# Left, top, right, bottom of what is covered, in an aligned crop.
COVERED = (0.2, 0.45, 0.8, 0.95)
GREY = 128
BLUR_SHARE = 1 / 24  # standard deviation, of the crop's side
SMALL = 20  # pixels of a crop's side

ChangeImages = Callable[[np.ndarray], np.ndarray]


def cover_mouth(crops: np.ndarray) -> np.ndarray:
    """Cover the mouth by a grey box.

    Args:
        crops: (n, C, C, 3) uint8.

    Returns:
        (n, C, C, 3) uint8.
    """
    size = crops.shape[1]
    left, top, right, bottom = (round(size * side) for side in COVERED)
    covered = crops.copy()
    covered[:, top:bottom, left:right] = GREY
    return covered


def blur(crops: np.ndarray) -> np.ndarray:
    """Blur by a Gaussian.

    Args:
        crops: (n, C, C, 3) uint8.

    Returns:
        (n, C, C, 3) uint8.
    """
    std = BLUR_SHARE * crops.shape[1]
    reach = int(np.ceil(3 * std))
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.exp(-(steps**2) / (2 * std**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)

    images = _channels_first(crops)
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    rows = F.conv2d(padded, kernel, groups=3)
    blurred = F.conv2d(rows, kernel.transpose(2, 3), groups=3)
    return _to_uint8(blurred)


def shrink(crops: np.ndarray) -> np.ndarray:
    """Leave `SMALL` pixels of each side.

    Args:
        crops: (n, C, C, 3) uint8.

    Returns:
        (n, C, C, 3) uint8, enlarged again.
    """
    images = _channels_first(crops)
    small = F.interpolate(images, (SMALL, SMALL), mode="bilinear", antialias=True)
    return _to_uint8(F.interpolate(small, crops.shape[1:3], mode="bicubic"))


def _channels_first(crops: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float()


def _to_uint8(images: torch.Tensor) -> np.ndarray:
    pixels = images.clamp(0, 255).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).numpy()


CHANGES: dict[str, ChangeImages] = {"occluded": cover_mouth, "blurred": blur, "small": shrink}


class ChangedFaces:
    """Crops of a store, changed when they are read.

    Args:
        face: (N, C, C, 3) uint8.
        change: of some crops.
    """

    def __init__(self, face: RowArray, change: ChangeImages) -> None:
        self.face = face
        self.change = change
        self.shape = face.shape
        self.dtype = face.dtype

    def __len__(self) -> int:
        return len(self.face)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Some crops (n, C, C, 3)."""
        return self.change(np.asarray(self.face[rows]))


def with_changed_images(store: Store, name: str) -> Store:
    """The same store, its crops changed.

    Args:
        store: of the clips.
        name: of `CHANGES`.
    """
    changed = copy.copy(store)
    faces: Any = ChangedFaces(store.face, CHANGES[name])
    changed.face = faces
    return changed
