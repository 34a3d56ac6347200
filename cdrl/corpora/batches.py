"""Frames as tensors: read from a store, augmented for training, checked where a user gives them."""

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
import torch.nn.functional as F

from cdrl.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from cdrl.corpora.store import Store

SMALLEST = 48  # pixels a side of a crop that any encoder can read
# Values may leave [0, 1] by this much, as rounding does.
TOLERANCE = 1e-3


class ClipTable(Protocol):
    """Whatever has a table of clips with the row of their first frame, as a store has."""

    @property
    def clips(self) -> "pd.DataFrame":
        """One row a clip; `start` is the row of its first frame."""
        ...


def image_tensor(frames: np.ndarray) -> torch.Tensor:
    """Turn uint8 frames into the form that all networks take.

    Args:
        frames: (B, H, W, 3) uint8 RGB.

    Returns:
        (B, 3, H, W) float32 RGB in [0, 1].
    """
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255


def load_images(store: "Store", rows: np.ndarray) -> torch.Tensor:
    """Read frames of a store.

    Args:
        store: the crops.
        rows: (B,) numbers of frames, in any order.

    Returns:
        (B, 3, C, C) float32 RGB in [0, 1].
    """
    # A file is read fastest from its begin to its end.
    order = np.argsort(rows, kind="stable")
    frames = np.empty((len(rows), *store.face.shape[1:]), np.uint8)
    frames[order] = store.face[np.asarray(rows)[order]]
    return image_tensor(frames)


def window_rows(store: ClipTable, clips: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """Rows of the frame arrays for windows of clips.

    Args:
        store: has the clips.
        clips: (B,) numbers of clips.
        starts: (B,) first frame of each window, counted in its clip.
        length: frames of a window.

    Returns:
        (B, length) int.
    """
    first_rows = store.clips["start"].to_numpy()[clips] + starts
    return first_rows[:, None] + np.arange(length)


def augment(
    crops: torch.Tensor, random: np.random.Generator, points: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Vary what no network may rely on: framing, colour, contrast, resolution and noise.

    Shift up to 5 %, rotation up to 6 degrees, scale up to 8 %; 15 % of the crops lose all colour.

    Args:
        crops: (B, 3, C, C) in [0, 1].
        random: source of the random numbers.
        points: (B, L, 2) relative positions that move along, or None.

    Returns:
        crops of the same shape, and the moved points (or None).
    """
    batch = len(crops)
    angle = _uniform(random, -0.1, 0.1, batch)
    scale = _uniform(random, -0.08, 0.08, batch).exp()
    shift = _uniform(random, -0.1, 0.1, batch, 2)
    rotation = _rotations(angle) * scale[:, None, None]
    size = crops.shape[-2:]

    crops = _warp(crops, rotation, shift)
    if points is not None:
        points = _move_points(points, rotation, shift)
    crops = _change_colours(crops, random)
    if random.random() < 0.5:
        crops = _coarsen(crops, int(random.integers(40, crops.shape[-1])), size)
    noise = torch.as_tensor(random.standard_normal(crops.shape, dtype=np.float32))
    noise_level = _uniform(random, 0, 0.03, batch, 1, 1, 1)
    return (crops + noise * noise_level).clamp(0, 1), points


def _uniform(random: np.random.Generator, low: float, high: float, *shape: int) -> torch.Tensor:
    """A float32 tensor of the shape, uniform in [low, high)."""
    return torch.as_tensor(random.uniform(low, high, shape), dtype=torch.float32)


def _rotations(angle: torch.Tensor) -> torch.Tensor:
    """(B,) radians -> (B, 2, 2)."""
    entries = [angle.cos(), -angle.sin(), angle.sin(), angle.cos()]
    return torch.stack(entries, 1).view(len(angle), 2, 2)


def _warp(crops: torch.Tensor, rotation: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Sample (B, 3, C, C) crops through (B, 2, 2) rotations and (B, 2) shifts; edges repeat."""
    transform = torch.cat([rotation, shift[:, :, None]], 2)
    grid = F.affine_grid(transform, list(crops.shape), align_corners=False)
    return F.grid_sample(crops, grid, padding_mode="border", align_corners=False)


def _move_points(points: torch.Tensor, rotation: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """(B, L, 2) relative positions in the crops -> in the crops that `_warp` returns."""
    centred = points * 2 - 1 - shift[:, None]
    moved = torch.linalg.solve(rotation[:, None], centred[..., None])
    return moved[..., 0] / 2 + 0.5


def _change_colours(crops: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """Vary saturation, contrast, brightness and tint of (B, 3, C, C) crops."""
    batch = len(crops)
    is_grey = _uniform(random, 0, 1, batch, 1, 1, 1) < 0.15
    saturation = _uniform(random, 0.6, 1.3, batch, 1, 1, 1)
    saturation = torch.where(is_grey, torch.zeros(()), saturation)
    grey = crops.mean(1, keepdim=True)
    crops = grey + (crops - grey) * saturation

    contrast = _uniform(random, 0.7, 1.3, batch, 1, 1, 1)
    brightness = _uniform(random, -0.12, 0.12, batch, 1, 1, 1)
    tint = _uniform(random, -0.06, 0.06, batch, 3, 1, 1)
    return (crops - 0.5) * contrast + 0.5 + brightness + tint


def _coarsen(crops: torch.Tensor, side: int, size: torch.Size) -> torch.Tensor:
    """Shrink (B, 3, C, C) crops to `side` pixels and enlarge them to `size` again."""
    crops = F.interpolate(crops, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return F.interpolate(crops, size, mode="bilinear", align_corners=False)


def check_frames(
    name: str, images: torch.Tensor, fewest: int, like: torch.Tensor | None = None
) -> None:
    """Refuse in one line what is no (B, T, 3, H, W) of finite numbers in [0, 1].

    Args:
        name: what the line calls the frames.
        images: what to check.
        fewest: least T.
        like: (B, T, 3, H, W) of as many clips and frames, of any size.

    Raises:
        InputError: saying what was received and what is accepted.
    """
    _check_kind(name, images)
    shape = tuple(images.shape)
    num_clips, num_frames, _, height, width = shape
    if num_clips < 1 or num_frames < fewest:
        raise InputError(
            f"{name} {shape}: clips of at least {fewest} frames are needed, got {num_clips} of "
            f"{num_frames}"
        )
    if min(height, width) < SMALLEST:
        raise InputError(
            f"{name} {shape}: crops of at least {SMALLEST} x {SMALLEST} pixels are needed; enlarge "
            "them"
        )
    if like is not None and shape[:2] != tuple(like.shape[:2]):
        raise InputError(
            f"{name} {shape}: as many clips and frames as the source has, {tuple(like.shape)}, are "
            "needed"
        )
    _check_range(name, images)


def _check_kind(name: str, images: object) -> None:
    """Refuse what is no float tensor (B, T, 3, H, W)."""
    description = type(images).__name__
    if isinstance(images, torch.Tensor):
        is_image_batch = images.ndim == 5 and images.shape[2] == 3
        if is_image_batch and images.is_floating_point():
            return
        description = f"{tuple(images.shape)} {images.dtype}"
    raise InputError(
        f"{name}: float frames (B, T, 3, H, W), RGB in [0, 1], are needed, got {description}"
    )


def _check_range(name: str, images: torch.Tensor) -> None:
    """Refuse values outside [0, 1]; also where one is NaN."""
    lowest, highest = torch.aminmax(images.detach())
    low = float(lowest)
    high = float(highest)
    if not (low > -TOLERANCE and high < 1 + TOLERANCE):
        raise InputError(
            f"{name}: values from {low:.3g} to {high:.3g}; [0, 1] is needed: end your generator in "
            "a sigmoid or a clamp"
        )


def check_boxes(boxes: torch.Tensor, batch: int) -> None:
    """Refuse in one line what are no boxes left, top, right, bottom, relative to the crop.

    Args:
        boxes: (B, 4), 0 to 1.
        batch: B.

    Raises:
        InputError: for another shape, values outside [0, 1], or sides in the wrong order.
    """
    is_valid = isinstance(boxes, torch.Tensor) and tuple(boxes.shape) == (batch, 4)
    if is_valid:
        is_inside = (boxes >= 0) & (boxes <= 1)
        is_ordered = boxes[:, :2] < boxes[:, 2:]
        is_valid = bool(is_inside.all()) and bool(is_ordered.all())
    if not is_valid:
        raise InputError(
            f"boxes: ({batch}, 4) left < right, top < bottom, relative to the crop, 0 to 1, are "
            "needed"
        )
