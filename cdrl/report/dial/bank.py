"""The fields of one clip and one emotion at every intensity, small enough to be sent to a browser once and turned there.

Below level 1 and above level 3 the generator's fields are the intensity times those at that level, exactly
(`field_gain`). Between them they bend a little with the emotion's code: they are computed at the five `KNOTS` and
interpolated. Frames and knots of one clip are much alike, so that all of them are sums of a few `components`.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from cdrl.generation.edit import TRAINED_RATE, smooth
from cdrl.models.generator import Generator, apply_fields, field_gain

KNOTS = (1 / 3, 1 / 2, 2 / 3, 5 / 6, 1.0)
RANK = 12  # components kept; the rest is measured by tests/test_dial.py
SHAPES = ((2, 32, 32), (1, 16, 16), (1, 32, 32))  # flow, shading, residual, as in `Edit`
CHUNK = 48  # frames that the generator sees at once


@dataclass(frozen=True)
class FieldBank:
    """Fields as `scale[r] * weights[k, t, r] * components[r]`, summed over r: knot k, frame t.

    Attributes:
        components: (R, 3328) int8, the fields of `SHAPES` one after the other. weights: (5, T, R) int16, gain not applied.
        scale: (R,) float32.
    """

    components: np.ndarray
    weights: np.ndarray
    scale: np.ndarray


@torch.no_grad()
def field_bank(generator: Generator, crops: np.ndarray, weights: torch.Tensor, frame_rate: float = TRAINED_RATE) -> FieldBank:
    """Everything that the edits of one clip to one emotion need besides its pictures; half a second a clip of two.

    Args:
        crops: (T, H, H, 3) uint8 aligned crops. weights: (1, 8) of the emotions. frame_rate: Hz.
    """
    frames = torch.from_numpy(np.array(crops)).permute(0, 3, 1, 2)[None].float() / 255
    stride = max(1, round(generator.stride * frame_rate / TRAINED_RATE))
    rows = []
    for knot in KNOTS:
        level = torch.full((1, len(crops)), knot)
        for low in range(0, len(crops), CHUNK):
            found = generator.fields(frames, weights, level, slice(low, low + CHUNK), stride)
            rows.append(torch.cat([field[0].flatten(1) for field in found], 1))
    flat = torch.cat(rows).numpy()
    left, size, right = np.linalg.svd(flat, full_matrices=False)
    rank = min(RANK, len(size))
    components, first = _whole(right[:rank], 1, np.int8)
    shares, second = _whole((left * size)[:, :rank], 0, np.int16)
    return FieldBank(components, shares.reshape(len(KNOTS), len(crops), rank), (first * second).astype(np.float32))


def fields_at(bank: FieldBank, curve: np.ndarray) -> list[torch.Tensor]:
    """Flow (T, 2, 32, 32), shading (T, 1, 16, 16) and residual (T, 1, 32, 32) for an intensity per frame; what warp.js does.

    Args:
        curve: (T,) intensities, 0 to 1.5; 0 gives zeros.
    """
    place = np.interp(np.clip(curve, KNOTS[0], KNOTS[-1]), KNOTS, np.arange(len(KNOTS)))
    low = np.minimum(place.astype(int), len(KNOTS) - 2)
    part, frame = (place - low)[:, None], np.arange(len(curve))
    mixed = bank.weights[low, frame] * (1 - part) + bank.weights[low + 1, frame] * part
    gained = torch.from_numpy(mixed * bank.scale).float() * field_gain(torch.tensor(np.array(curve)))[:, None]
    still = torch.tensor(np.array(curve) == 0)[:, None]
    flat = smooth(gained).masked_fill(still, 0) @ torch.from_numpy(bank.components).float()
    parts = flat.split([int(np.prod(shape)) for shape in SHAPES], 1)
    return [part.view(-1, *shape) for part, shape in zip(parts, SHAPES, strict=True)]


def bank_edit(bank: FieldBank, crops: np.ndarray, curve: np.ndarray) -> np.ndarray:
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
