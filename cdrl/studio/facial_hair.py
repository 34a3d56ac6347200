"""Beards and moustaches: hair painted on the skin, and shells of hair that move with it.

A shell is the skin of the beard's area once more, lifted; its vertices follow those of the skin, so
that a moustache rises with a smile and a beard drops with the jaw. The texture cuts out its hairs.
"""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from cdrl.studio.head import PARTS, load_head
from cdrl.studio.looks import Beard

LAYERS = 1
PATCH_ROWS = 256  # of each layer's patch in the texture
FIRST_SKIN_ROW = 336  # row of the skin that the first row of a patch repeats
_THINNEST = 0.02  # dm
_LEAST_COVER = 0.06  # less is skin without a shell


class Shell(NamedTuple):
    """Lifted skin, layer by layer.

    Attributes:
        vertices: (N, 3) dm.
        triangles: (F, 3), numbered from 0.
        anchors: (N,) vertices of the head that they follow.
        layer: (N,) 0 next to the skin.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    anchors: np.ndarray
    layer: np.ndarray


def _step(low: float, high: float, values: np.ndarray) -> np.ndarray:
    """Smooth step (...,) from 0 at `low` to 1 at `high`."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


# --- where hair grows -------------------------------------------------------------------------


def moustache_cover(beard: Beard, side: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Density (...,) of the hair above the lip, at |x| and y on the average head (dm)."""
    middle = -0.578 - 0.50 * np.maximum(side - 0.12, 0)
    above = _step(-0.052, -0.018, y - middle) * (1 - _step(0.028, 0.062, y - middle))
    ends = 1 - _step(0.25, 0.34, side)
    philtrum = 1 - 0.35 * np.exp(-((side / 0.03) ** 2))
    return beard.moustache * above * ends * philtrum


def beard_cover(beard: Beard, side: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Density (...,) of the hair on chin and jaw, none on the lips."""
    mouth = np.exp(-((side / 0.27) ** 4) - ((y + 0.76) / 0.125) ** 4)
    soul_patch = 0.8 * np.exp(-((side / 0.07) ** 2) - ((y + 0.915) / 0.04) ** 2)
    below = _step(-1.42, -1.18, y)
    if beard.style == "goatee":
        chin = np.exp(-((side / 0.27) ** 4)) * (1 - _step(-0.95, -0.87, y))
        beside = np.exp(-(((side - 0.31) / 0.06) ** 2)) * (1 - _step(-0.68, -0.60, y))
        area = np.maximum(chin, beside * (y > -1.0)) * below
    else:
        cheek_line = y - 0.44 * np.clip(side - 0.25, 0, 1) - beard.cheek_line
        jaw = 1 - _step(-0.74, -0.52, cheek_line)
        area = jaw * _step(-1.50, -1.22, y)
    cover = np.maximum(area * (1 - mouth), soul_patch * area)
    return beard.density * cover * (z > 0.05)


# --- shells -----------------------------------------------------------------------------------


def has_shell(beard: Beard) -> bool:
    """Whether the hair is more than a shadow on the skin."""
    return beard.style not in ("none", "stubble")


def beard_shell(beard: Beard, neutral: np.ndarray) -> Shell:
    """The shells of a beard; without vertices where hair is no more than a shadow.

    Args:
        beard: of the person.
        neutral: (V, 3) the person's head, dm.
    """
    head = load_head()
    if not has_shell(beard):
        empty = np.zeros(0, np.int64)
        return Shell(np.zeros((0, 3)), np.zeros((0, 3), np.int64), empty, empty)

    x, y, z = head.vertices.T
    side = np.abs(x)
    on_chin = beard_cover(beard, side, y, z)
    on_lip = moustache_cover(beard, side, y)
    is_skin = head.part == PARTS.index("skin")
    cover = np.maximum(on_chin, on_lip) * is_skin
    is_haired = cover > _LEAST_COVER
    # The upper lip's red begins under the moustache's ends.
    if beard.moustache > 0:
        is_edge = is_skin & (side < 0.27) & (y > -0.672) & (y < -0.60) & (z > 1.35)
        is_haired |= is_edge
    in_area = is_haired[head.triangles].all(1)
    triangles = head.triangles[in_area]
    anchors, corners = np.unique(triangles, return_inverse=True)
    corners = corners.reshape(-1, 3)

    lift = _lift(beard, neutral, on_chin, on_lip)[anchors]
    vertices = []
    faces = []
    for layer in range(LAYERS):
        share = (layer + 1) / LAYERS
        vertices.append(neutral[anchors] + share * lift)
        faces.append(corners + layer * len(anchors))

    layers = np.repeat(np.arange(LAYERS), len(anchors))
    return Shell(np.concatenate(vertices), np.concatenate(faces), np.tile(anchors, LAYERS), layers)


def _lift(beard: Beard, neutral: np.ndarray, on_chin: np.ndarray, on_lip: np.ndarray) -> np.ndarray:
    """(V, 3) how far the outermost hairs stand from the skin, dm."""
    head = load_head()
    x, y, _ = head.vertices.T
    side = np.abs(x)
    outwards = _normals(neutral, head.triangles)
    down = np.array((0.0, -1.0, 0.0))

    low = _step(-0.80, -1.12, y) * (1 - 0.45 * _step(0.30, 0.65, side))
    thickness = _THINNEST + 0.25 * beard.length
    chin = np.minimum(1.6 * on_chin, 1)[:, None]
    hanging = chin * (beard.length * low)[:, None]
    lift = chin * thickness * outwards + hanging * (0.55 * outwards + 0.75 * down)

    lip = np.minimum(2 * on_lip + 0.6 * (y < -0.60) * (y > -0.69) * (side < 0.27), 1)[:, None]
    at_lip = _step(-0.57, -0.63, y)[:, None]
    moustache = lip * (0.030 * outwards + (at_lip * beard.droop) * down)
    has_moustache = beard.moustache > 0 and (y > -0.70)
    return lift + moustache * np.asarray(has_moustache, float).reshape(-1, 1)


def _normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(V, 3) unit normals of a mesh."""
    first, second, third = (points[triangles[:, corner]] for corner in range(3))
    of_triangles = np.cross(second - first, third - first)
    normals = np.zeros(points.shape)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], of_triangles)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.maximum(length, 1e-9)


# --- texture ----------------------------------------------------------------------------------


def hair_strands(number: int, shape: tuple[int, ...]) -> np.ndarray:
    """(H, W) noise of unit variance, drawn out along the hairs of a beard."""
    rng = np.random.default_rng([number, 0xBEA])
    first, second = rng.standard_normal((2, *shape), np.float32)
    fine = gaussian_filter(first, (3.0, 0.8), mode="wrap")
    coarse = gaussian_filter(second, (7.0, 2.5), mode="wrap")
    strands = fine / fine.std() + 0.5 * coarse / coarse.std()
    return strands / strands.std()


def beard_colour(beard: Beard, strands: np.ndarray) -> np.ndarray:
    """(H, W, 3) colour of every hair: lighter and darker ones, some of them white."""
    colour = np.asarray(beard.colour) * (1 + 0.28 * strands)[..., None]
    white = np.array((0.78, 0.77, 0.75))
    is_white = _step(0.2, 0.9, np.sin(7 * strands) + 2 * beard.grey - 0.9)
    share = (beard.grey * is_white)[..., None]
    return np.clip(colour + (white - colour) * share, 0, 1)


def shell_opacity(cover: np.ndarray, strands: np.ndarray, layer: int) -> np.ndarray:
    """(H, W) alpha of a layer: outer hairs are fewer, and the edge is ragged."""
    height = (layer + 1) / LAYERS
    hairs = 1.5 * cover - 0.40 * height + 0.30 * strands
    return _step(0.05, 0.55, hairs)
