"""The fields of one clip and one emotion at every intensity, small enough to be sent to a browser once and turned there.

Fields bend with the intensity: they are computed at some knots and interpolated, and fade out evenly below the first. Frames
and knots of one clip are much alike, so that all of them are sums of a few `components`.
"""

from dataclasses import dataclass

import numpy as np
import torch

from cdrl.editing.pipeline import TRAINED_RATE, smooth
from cdrl.editors.actions import ActionEditor
from cdrl.models.image_editor import ImageEditor, apply_fields

# The image host's fields are the intensity times those at level 1 below it, and times those at level 3 above (`field_gain`).
KNOTS, RANK = (
    (1 / 3, 1 / 2, 2 / 3, 5 / 6, 1.0, 1.5),
    12,
)  # RANK: components kept; the rest is measured by tests/test_dial.py
# Facial actions reach their ends, and a faint change fades out: their fields bend everywhere, and are finer.
ACTION_KNOTS, ACTION_RANK = (1 / 12, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 1.0, 1.25, 1.5), 16
CHUNK = 24  # frames that the generator sees at once, at every knot


@dataclass(frozen=True)
class LowRankFields:
    """Fields as `scale[r] * weights[k, t, r] * components[r]`, summed over r: knot k, frame t.

    Attributes:
        components: (R, 3 fine^2 + coarse^2) int8: flow x and y, shading, residual, one after the other.
        weights: (K, T, R) int16. scale: (R,) float32. knots: the K intensities, ascending.
        fine: cells a side of flow and residual. coarse: of the shading.
    """

    components: np.ndarray
    weights: np.ndarray
    scale: np.ndarray
    knots: tuple
    fine: int
    coarse: int


@torch.no_grad()
def low_rank_fields(
    generator: ImageEditor | ActionEditor,
    crops: np.ndarray,
    weights: torch.Tensor,
    frame_rate: float = TRAINED_RATE,
) -> LowRankFields:
    """Everything that the edits of one clip to one emotion need besides its pictures; some seconds.

    Args:
        crops: (T, H, H, 3) uint8 aligned crops. weights: (1, 8) of the emotions. frame_rate: Hz.
    """
    frames = torch.from_numpy(np.array(crops)).permute(0, 3, 1, 2)[None].float() / 255
    stride = max(1, round(generator.stride * frame_rate / TRAINED_RATE))
    knots, rank = (
        (ACTION_KNOTS, ACTION_RANK) if isinstance(generator, ActionEditor) else (KNOTS, RANK)
    )
    levels = torch.tensor(knots)[:, None].expand(-1, len(crops))
    parts = [
        generator.fields(frames, weights, levels, slice(low, low + CHUNK), stride)
        for low in range(0, len(crops), CHUNK)
    ]
    flow, shading, residual = (torch.cat(found, 1) for found in zip(*parts, strict=True))
    flat = (
        torch.cat([field.flatten(2) for field in (flow, shading, residual)], 2)
        .flatten(0, 1)
        .numpy()
    )
    left, size, right = np.linalg.svd(flat, full_matrices=False)
    rank = min(rank, len(size))
    components, first = _whole(right[:rank], 1, np.int8)
    shares, second = _whole((left * size)[:, :rank], 0, np.int16)
    shares, scale = (
        shares.reshape(len(knots), len(crops), rank),
        (first * second).astype(np.float32),
    )
    return LowRankFields(components, shares, scale, knots, flow.shape[-1], shading.shape[-1])


def fields_at(bank: LowRankFields, curve: np.ndarray) -> list[torch.Tensor]:
    """Flow (T, 2, F, F), shading (T, 1, C, C) and residual (T, 1, F, F) for an intensity per frame; what warp.js does.

    Args:
        curve: (T,) intensities, 0 to 1.5; 0 gives zeros.
    """
    place = np.interp(curve, bank.knots, np.arange(len(bank.knots)))
    low = np.minimum(place.astype(int), len(bank.knots) - 2)
    part, frame = (place - low)[:, None], np.arange(len(curve))
    mixed = bank.weights[low, frame] * (1 - part) + bank.weights[low + 1, frame] * part
    faded = torch.from_numpy(
        mixed * bank.scale * np.clip(curve / bank.knots[0], 0, 1)[:, None]
    ).float()
    still = torch.tensor(np.array(curve) == 0)[:, None]
    flat = smooth(faded).masked_fill(still, 0) @ torch.from_numpy(bank.components).float()
    parts = flat.split([2 * bank.fine**2, bank.coarse**2, bank.fine**2], 1)
    shapes = ((2, bank.fine, bank.fine), (1, bank.coarse, bank.coarse), (1, bank.fine, bank.fine))
    return [part.view(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]


def edit_with_fields(bank: LowRankFields, crops: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """The edit from a bank: `edit_clip` to within a level or so of 255 (tests/test_dial.py), without its network.

    Args:
        crops: (T, H, H, 3) uint8. curve: (T,) intensities.

    Returns:
        (T, H, H, 3) uint8.
    """
    frames = torch.from_numpy(np.array(crops)).permute(0, 3, 1, 2).float() / 255
    out = apply_fields(frames, *fields_at(bank, np.asarray(curve, np.float32)))
    return (out * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _whole(values: np.ndarray, axis: int, kind: type) -> tuple[np.ndarray, np.ndarray]:
    """Values as whole numbers of `kind`, and the (R,) factors that give them back; `axis` is the one that shares a factor."""
    factor = np.maximum(np.abs(values).max(axis, keepdims=True), 1e-12) / np.iinfo(kind).max
    return np.round(values / factor).astype(kind), factor.ravel()
