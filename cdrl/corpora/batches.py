"""Frames as tensors: out of a store, checked where a user gives them, augmented as every image network trains with them."""

import numpy as np
import torch
import torch.nn.functional as F

from cdrl.core.errors import InputError
from cdrl.corpora.store import Store

SMALLEST = 48  # pixels a side of a crop that any encoder can read


def load_images(store: Store, rows: np.ndarray) -> torch.Tensor:
    """Frames `rows` of a store.

    Returns:
        (B, 3, C, C) float32 RGB in [0, 1].
    """
    order = np.argsort(rows, kind="stable")
    found = np.empty((len(rows), *store.face.shape[1:]), np.uint8)
    found[order] = store.face[np.asarray(rows)[order]]
    return torch.from_numpy(found).permute(0, 3, 1, 2).float() / 255


def window_rows(store: Store, clips: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """(B, length) rows of the frame arrays: `length` frames of each clip from frame `starts` on."""
    first = store.clips["start"].to_numpy()[clips] + starts
    return first[:, None] + np.arange(length)


def augment(crops: torch.Tensor, random: np.random.Generator, points: torch.Tensor | None = None):
    """Vary what no network may rely on: framing, colour, contrast, resolution, noise; sometimes all colour.

    Args:
        crops: (B, 3, C, C) in [0, 1]. points: (B, L, 2) relative positions that move along, or None.

    Returns:
        crops of the same shape, and the moved points (or None). Shift up to 5 %, rotation up to 6 degrees, scale up to 8 %.
    """
    batch = len(crops)

    def uniform(low, high, *shape):
        return torch.as_tensor(random.uniform(low, high, (batch, *shape)), dtype=torch.float32)

    angle, scale, shift = uniform(-0.1, 0.1), uniform(-0.08, 0.08).exp(), uniform(-0.1, 0.1, 2)
    rotation = (
        torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(batch, 2, 2)
        * scale[:, None, None]
    )
    grid = F.affine_grid(
        torch.cat([rotation, shift[:, :, None]], 2), list(crops.shape), align_corners=False
    )
    crops = F.grid_sample(crops, grid, padding_mode="border", align_corners=False)
    if points is not None:
        centred = points * 2 - 1 - shift[:, None]
        points = torch.linalg.solve(rotation[:, None], centred[..., None])[..., 0] / 2 + 0.5
    grey = crops.mean(1, keepdim=True)
    saturation = torch.where(
        uniform(0, 1, 1, 1, 1) < 0.15, torch.zeros(()), uniform(0.6, 1.3, 1, 1, 1)
    )
    crops = grey + (crops - grey) * saturation
    crops = (
        (crops - 0.5) * uniform(0.7, 1.3, 1, 1, 1)
        + 0.5
        + uniform(-0.12, 0.12, 1, 1, 1)
        + uniform(-0.06, 0.06, 3, 1, 1)
    )
    if random.random() < 0.5:
        small = int(random.integers(40, crops.shape[-1]))
        crops = F.interpolate(
            crops, (small, small), mode="bilinear", antialias=True, align_corners=False
        )
        crops = F.interpolate(crops, grid.shape[1:3], mode="bilinear", align_corners=False)
    noise = torch.as_tensor(random.standard_normal(crops.shape, dtype=np.float32))
    return (crops + noise * uniform(0, 0.03, 1, 1, 1)).clamp(0, 1), points


def check_frames(
    name: str, images: torch.Tensor, fewest: int, like: torch.Tensor | None = None
) -> None:
    """Refuses in one line what is no (B, T, 3, H, W) of finite numbers in [0, 1].

    Args:
        name: what the line calls them. fewest: least T. like: (B, T, 3, H, W) of as many clips and frames, of any size.

    Raises:
        InputError: saying what was got and what is accepted.
    """
    shape = tuple(getattr(images, "shape", ()))
    if (
        not isinstance(images, torch.Tensor)
        or not images.is_floating_point()
        or len(shape) != 5
        or shape[2] != 3
    ):
        found = (
            f"{shape} {images.dtype}" if isinstance(images, torch.Tensor) else type(images).__name__
        )
        raise InputError(
            f"{name}: float frames (B, T, 3, H, W), RGB in [0, 1], are needed, got {found}"
        )
    if shape[0] < 1 or shape[1] < fewest:
        raise InputError(
            f"{name} {shape}: clips of at least {fewest} frames are needed, got {shape[0]} of {shape[1]}"
        )
    if min(shape[3:]) < SMALLEST:
        raise InputError(
            f"{name} {shape}: crops of at least {SMALLEST} x {SMALLEST} pixels are needed; enlarge them"
        )
    if like is not None and shape[:2] != tuple(like.shape[:2]):
        raise InputError(
            f"{name} {shape}: as many clips and frames as the source has, {tuple(like.shape)}, are needed"
        )
    low, high = (float(value) for value in torch.aminmax(images.detach()))
    if not (low > -1e-3 and high < 1 + 1e-3):  # also where one is NaN
        raise InputError(
            f"{name}: values from {low:.3g} to {high:.3g}; [0, 1] is needed: end your generator in a sigmoid or a clamp"
        )


def check_boxes(boxes: torch.Tensor, batch: int) -> None:
    """Refuses in one line what are no (B, 4) boxes left, top, right, bottom, relative to the crop."""
    shaped = isinstance(boxes, torch.Tensor) and tuple(boxes.shape) == (batch, 4)
    if not (
        shaped and (boxes >= 0).all() and (boxes <= 1).all() and (boxes[:, :2] < boxes[:, 2:]).all()
    ):
        raise InputError(
            f"boxes: ({batch}, 4) left < right, top < bottom, relative to the crop, 0 to 1, are needed"
        )
