"""Parts of a face that are shifted in the picture: where they are, and the flow that shifts them.

The neural renderer draws some two thirds of a true movement of brows and lids, and learnt rendered
faces alone. A shift of a part is exact on any face, because it takes the pixels that are there.
"""

from typing import NamedTuple

import numpy as np
import torch

from cdrl.media.faces import EYES_BELOW_TOP, SIDE
from cdrl.models.field_network import border_window, sample_moved

HALF_SIDE = SIDE / 2  # flow 1, in distances of the outer eye corners
MIDDLE_WIDTH = 0.06  # over which "outward" turns from one side of the face to the other
UPPER_LIDS = (158, 159, 160, 385, 386, 387)
# Below a brow its shift fades within so much of the way to the upper lids, at least of this way.
SHARE_BELOW = 0.45
SMALLEST_GAP = 0.08
LOWER_LIDS = (144, 145, 153, 373, 374, 380)
# Gap of the lids at which they take none of their shift, and that from which on all of it: in a
# narrow eye the iris would be stretched.
NARROW_EYE = 0.05
OPEN_EYE = 0.10
# Corners and middle of the inner lips, how far around them an edit may lighten, and the height
# down to which it may anywhere; in distances of the outer eye corners.
INNER_LIPS = (78, 308, 13, 14)
LIP_MARGIN = 0.015
EYES_END = 0.3
PLATEAU = 1.15  # a part's own points move by the whole shift


class Part(NamedTuple):
    """A part of the face.

    Attributes:
        points: of the face mesh, by their fixed numbers, both sides together.
        radii: standard deviations of the shift around each point, across and down, in distances of
            the outer eye corners.
        spares_eyes: whether the eyes stay where they are.
        parts_lips: whether its shift opens the mouth.
        parts_lids: whether its shift opens the eyes.
    """

    points: tuple[int, ...]
    radii: tuple[float, float]
    spares_eyes: bool = False
    parts_lips: bool = False
    parts_lids: bool = False


PARTS = {
    "brow_inner": Part((55, 107, 285, 336), (0.12, 0.16), True),
    "brow_middle": Part((52, 65, 66, 105, 282, 295, 296, 334), (0.12, 0.16), True),
    "brow_outer": Part((46, 53, 63, 70, 276, 283, 293, 300), (0.12, 0.16), True),
    "upper_lids": Part(UPPER_LIDS, (0.09, 0.035), parts_lids=True),
    "lower_lids": Part(LOWER_LIDS, (0.09, 0.045), parts_lids=True),
    "nostrils": Part((98, 129, 327, 358), (0.10, 0.07)),
    "cheeks": Part((50, 205, 280, 425), (0.14, 0.12)),
    "upper_lip": Part((37, 39, 40, 267, 269, 270), (0.07, 0.06), parts_lips=True),
    "lip_edge": Part((0, 37, 39, 267, 269), (0.07, 0.05)),
    "mouth_corners": Part((61, 291), (0.10, 0.09)),
}
EYES = ((33, 133, 145, 159), (263, 362, 374, 386))
# Of an eye that stays: half its width and height, and its middle below that of its points.
EYE_RADII = (0.17, 0.095)
EYE_BELOW = 0.02


def part_masks(mesh: np.ndarray, cells: int) -> torch.Tensor:
    """How much of a shift of each part every cell of a field takes.

    Args:
        mesh: (468, 2) of `mesh_in_crops`.
        cells: a side of the field.

    Returns:
        (P, cells, cells) 0 to 1, order `PARTS`; 0 at the border of the crop.
    """
    x, y = _cell_centres(cells)
    away_from_eyes = np.ones((cells, cells))
    for eye in EYES:
        middle = mesh[list(eye)].mean(0)
        across = (x - middle[0]) / EYE_RADII[0]
        down = (y - middle[1] - EYE_BELOW) / EYE_RADII[1]
        away_from_eyes *= 1 - np.exp(-(across**4 + down**4))

    lid_gap = mesh[list(LOWER_LIDS), 1].mean() - mesh[list(UPPER_LIDS), 1].mean()
    eye_size = float(np.clip((lid_gap - NARROW_EYE) / (OPEN_EYE - NARROW_EYE), 0, 1))

    masks = []
    for name, part in PARTS.items():
        mask = np.zeros((cells, cells))
        for point in part.points:
            across = (x - mesh[point, 0]) / part.radii[0]
            down = (y - mesh[point, 1]) / part.radii[1]
            if part.spares_eyes:
                to_lids = max(mesh[list(UPPER_LIDS), 1].mean() - mesh[point, 1], SMALLEST_GAP)
                below = (y - mesh[point, 1]) / (SHARE_BELOW * to_lids)
                down = np.where(below > 0, below, down)
            mask = np.maximum(mask, np.exp(-(across**2 + down**2) / 2))
        mask = np.minimum(PLATEAU * mask, 1)
        if name in ("upper_lids", "lower_lids"):
            mask *= eye_size
        masks.append(mask * away_from_eyes if part.spares_eyes else mask)

    stacked = torch.from_numpy(np.stack(masks).astype(np.float32))
    return stacked * border_window(cells)[0]


def lightened_share(meshes: np.ndarray, flow: torch.Tensor) -> torch.Tensor:
    """Where an edit may paint lighter than its source: around the eyes, and between the lips.

    Teeth and the white of an eye may be uncovered. Elsewhere the renderer would paint the smooth
    skin of the studio over lips and hair.

    Args:
        meshes: (t, 468, 2) of the source, of `mesh_in_crops`.
        flow: (K, t, 2, h, h) of its edits at K intensities.

    Returns:
        (K, t, 1, h, h) 0 to 1.
    """
    cells = flow.shape[-1]
    x, y = _cell_centres(cells)
    of_source = []
    for mesh in meshes:
        left, right, upper, lower = mesh[list(INNER_LIPS)]
        middle = (left + right + upper + lower) / 4
        half_width = (right[0] - left[0]) / 2 + LIP_MARGIN
        half_height = (lower[1] - upper[1]) / 2 + LIP_MARGIN
        distance = ((x - middle[0]) / half_width) ** 2 + ((y - middle[1]) / half_height) ** 2
        of_source.append(np.where(y < EYES_END, 1, np.clip(2 - distance, 0, 1)))

    share = torch.from_numpy(np.stack(of_source)).to(flow)
    share = share[None, :, None].expand(len(flow), -1, -1, -1, -1)
    return sample_moved(share.flatten(0, 1), flow.flatten(0, 1)).unflatten(0, flow.shape[:2])


def opening_share(lips: torch.Tensor, lids: torch.Tensor) -> torch.Tensor:
    """How much of each part's shift frames take.

    Args:
        lips: (T,) share of an opening of the mouth that they take.
        lids: (T,) share of an opening of the eyes.

    Returns:
        (T, P), order `PARTS`.
    """
    parts = []
    for part in PARTS.values():
        if part.parts_lips:
            parts.append(lips)
        elif part.parts_lids:
            parts.append(lids)
        else:
            parts.append(torch.ones_like(lips))
    return torch.stack(parts, 1)


def shift_flow(masks: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """The flow that shifts parts.

    Args:
        masks: (P, h, h) of `part_masks`.
        shifts: (T, P, 2) outward and upward, in distances of the outer eye corners.

    Returns:
        (T, 2, h, h), as in `Edit`.
    """
    cells = masks.shape[-1]
    x, _ = _cell_centres(cells)
    side = torch.from_numpy(np.tanh(x / MIDDLE_WIDTH)).to(masks)
    outward, upward = torch.einsum("tpc,phw->cthw", shifts.to(masks), masks)
    return torch.stack([-outward * side, upward], 1) / HALF_SIDE


def _cell_centres(cells: int) -> tuple[np.ndarray, np.ndarray]:
    """(cells, cells) x and y of the cells, as `mesh_in_crops` states points."""
    position = (np.arange(cells) + 0.5) / cells * SIDE
    x, y = np.meshgrid(position - HALF_SIDE, position - EYES_BELOW_TOP)
    return x, y
