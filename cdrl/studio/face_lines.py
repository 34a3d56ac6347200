"""Wrinkles: lines in the skin that are there at rest with age, and deepen with an action.

All lines lie in one map of the skin, in the alpha of its texture. Which of them are seen in a frame
is a weight per vertex: each region of `looks.LINES` has its vertices and its actions.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from cdrl.core.vocabulary import ACTIONS
from cdrl.studio.head import PARTS, load_head
from cdrl.studio.looks import LINES, Looks
from cdrl.studio.texels import texel_window

# Region -> facial action -> share of the region's full strength; `Side` is the region's own.
LINE_ACTIONS = {
    "forehead": {"browInnerUp": 0.65, "browOuterUpLeft": 0.35, "browOuterUpRight": 0.35},
    "frown": {
        "browDownLeft": 0.55,
        "browDownRight": 0.55,
        "noseSneerLeft": 0.15,
        "noseSneerRight": 0.15,
    },
    "nose_root": {"noseSneerLeft": 0.55, "noseSneerRight": 0.55},
    "nasolabial": {
        "mouthSmileSide": 0.95,
        "noseSneerSide": 0.6,
        "mouthUpperUpSide": 0.6,
        "cheekSquintSide": 0.3,
        "mouthDimpleSide": 0.3,
    },
    "crow": {"cheekSquintSide": 0.75, "eyeSquintSide": 0.4, "mouthSmileSide": 0.3},
    "under_eye": {"cheekSquintSide": 0.7, "eyeSquintSide": 0.5, "mouthSmileSide": 0.2},
    "chin": {"mouthShrugLower": 1.0, "mouthFrownLeft": 0.25, "mouthFrownRight": 0.25},
}
STRONGEST = 1.3


class _Box(NamedTuple):
    """Middle and half size of a region on |x| (of one side) or x (of both), and y; dm."""

    x: float
    y: float
    half_width: float
    half_height: float


_REGIONS = {
    "forehead": _Box(0.0, 0.60, 0.58, 0.24),
    "frown": _Box(0.0, 0.26, 0.15, 0.18),
    "nose_root": _Box(0.0, 0.0, 0.17, 0.15),
    "nasolabial": _Box(0.32, -0.58, 0.17, 0.30),
    "crow": _Box(0.56, -0.03, 0.15, 0.17),
    "under_eye": _Box(0.32, -0.16, 0.16, 0.11),
    "chin": _Box(0.0, -1.03, 0.20, 0.13),
}


def _stem(region: str) -> tuple[str, str]:
    """A region without its side, and the side as actions spell it, or nothing."""
    for side in ("left", "right"):
        if region.endswith(f"_{side}"):
            return region.removesuffix(f"_{side}"), side.capitalize()
    return region, ""


# --- which lines are seen ---------------------------------------------------------------------


class LineVertices(NamedTuple):
    """Vertices of all regions, one after the other.

    Attributes:
        vertex_ids: (N,) vertices.
        regions: (N,) numbers in `LINES`.
        masks: (N,) float32, 1 inside a region, less at its border.
    """

    vertex_ids: np.ndarray
    regions: np.ndarray
    masks: np.ndarray


NO_LINES = LineVertices(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))


@lru_cache(maxsize=1)
def line_vertices() -> LineVertices:
    """The vertices of every region, on the average head."""
    head = load_head()
    x, y, z = head.vertices.T
    is_front = (head.part == PARTS.index("skin")) & (z > 0.7) & (head.lips < 0.5)

    vertex_ids = []
    regions = []
    masks = []
    for number, region in enumerate(LINES):
        stem, side = _stem(region)
        box = _REGIONS[stem]
        along = {"Left": x, "Right": -x, "": x}[side]
        across = np.abs(along - box.x) / box.half_width
        up = np.abs(y - box.y) / box.half_height
        mask = np.clip(3 * (1 - across), 0, 1) * np.clip(3 * (1 - up), 0, 1) * is_front

        members = np.flatnonzero(mask > 0)
        vertex_ids.append(members)
        regions.append(np.full(len(members), number))
        masks.append(mask[members])

    return LineVertices(
        np.concatenate(vertex_ids),
        np.concatenate(regions),
        np.concatenate(masks).astype(np.float32),
    )


@lru_cache(maxsize=1)
def _activation_matrix() -> np.ndarray:
    """(52, R) how much each action shows each region."""
    matrix = np.zeros((len(ACTIONS), len(LINES)))
    for column, region in enumerate(LINES):
        stem, side = _stem(region)
        for name, share in LINE_ACTIONS[stem].items():
            action = name.replace("Side", side)
            matrix[ACTIONS.index(action), column] = share
    return matrix


def line_weights(looks: Looks, coefficients: np.ndarray) -> np.ndarray:
    """How strongly each region's lines show in T frames.

    Args:
        looks: of the person.
        coefficients: (T, 52).

    Returns:
        (T, R) float32, 0 to `STRONGEST`.
    """
    action = np.clip(coefficients @ _activation_matrix(), 0, 1)
    weights = np.asarray(looks.lines) + looks.line_gain * action**1.2
    return np.clip(weights, 0, STRONGEST).astype(np.float32)


# --- the map of lines -------------------------------------------------------------------------


def line_map(number: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """All lines of a person.

    Args:
        number: of the person; no two have the same lines.
        x: (H, W) position of each texel on the average head, dm.
        y: likewise.

    Returns:
        (H, W) float32: 1 in the deepest line, below 0 on the light rim beside it.
    """
    rng = np.random.default_rng([number, 0x11E])
    depth = np.zeros(x.shape, np.float32)
    for paint, (low, high, half_width) in _PAINTED.items():
        window = texel_window(x, y, low, high, half_width)
        depth[window] += paint(rng, x[window], y[window])

    return np.clip(depth, -1, 1)


def _line(distance: np.ndarray, width: float) -> np.ndarray:
    """A dark line with light skin beside it, by the distance (dm) from its middle."""
    dark = np.exp(-((distance / width) ** 2))
    beside = np.abs(distance) / width
    light = np.exp(-((beside - 2.0) ** 2))
    return dark - 0.35 * light


def _wave(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Slow waves over x, dm."""
    phase, slope = rng.uniform(0, 2 * np.pi, 2)
    return 0.014 * np.sin(9 * x + phase) + 0.010 * np.sin(17 * x + slope)


def _forehead(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Three or four lines across the forehead, lower towards the temples."""
    depth = np.zeros(x.shape)
    y = y + _wave(rng, x)
    spacing = rng.uniform(0.095, 0.125)
    lowest = rng.uniform(0.43, 0.48)
    for line in range(int(rng.integers(3, 5))):
        height = lowest + spacing * line - 0.20 * x**2
        half_length = rng.uniform(0.30, 0.48)
        fade = 1 / (1 + np.exp((np.abs(x - rng.normal(0, 0.04)) - half_length) / 0.04))
        depth += rng.uniform(0.55, 0.9) * fade * _line(y - height, 0.020)
    return depth


def _frown(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Two upright lines between the brows."""
    depth = np.zeros(x.shape)
    for sign in (-1, 1):
        middle = sign * rng.uniform(0.055, 0.085) + sign * 0.18 * (y - 0.2)
        fade = np.exp(-(((y - rng.uniform(0.22, 0.27)) / rng.uniform(0.055, 0.095)) ** 4))
        depth += rng.uniform(0.4, 0.9) * fade * _line(x - middle, 0.018)
    return depth


def _nose_root(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Lines across the root of the nose, and oblique ones on its sides."""
    side = np.abs(x)
    across = np.exp(-((x / 0.10) ** 4))
    first, second = rng.uniform((0.05, -0.03), (0.08, 0.0))
    depth = 0.7 * across * (_line(y - first, 0.017) + 0.8 * _line(y - second, 0.017))

    on_side = np.exp(-(((side - 0.11) / 0.04) ** 2)) * np.exp(-(((y + 0.08) / 0.07) ** 2))
    return depth + 0.6 * on_side * _line((y + 0.08) - 0.7 * (side - 0.11), 0.018)


def _nasolabial(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The fold from the wing of the nose past the corner of the mouth."""
    side = np.abs(x)
    down = np.clip((-0.36 - y) / 0.45, 0, 1)  # 0 at the wing, 1 at the end
    bulge = rng.uniform(0.02, 0.05)
    fold = 0.255 + 0.10 * down + bulge * np.sin(np.pi * down)
    fade = np.exp(-(((y + 0.57) / 0.21) ** 4))
    distance = side - fold
    shadow = np.exp(-((distance / 0.028) ** 2))
    cheek = np.exp(-(((distance - 0.07) / 0.045) ** 2))
    return fade * (0.85 * shadow - 0.35 * cheek)


def _crow(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Crow's feet: rays from the outer corner of the eye."""
    outwards = np.abs(x) - 0.46
    depth = np.zeros(x.shape)
    fade = np.exp(-(((outwards - 0.085) / 0.065) ** 4)) * (outwards > 0)
    for slope in (0.55, 0.08, -0.42):
        ray = -0.025 + (slope + rng.normal(0, 0.06)) * outwards
        depth += rng.uniform(0.7, 1.0) * fade * _line(y - ray, 0.016)
    return depth


def _under_eye(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Two folds under the lower lid."""
    side = np.abs(x)
    bend = rng.uniform(0.6, 1.1)
    fade = np.exp(-(((side - 0.32) / 0.12) ** 4))
    bow = bend * (side - 0.32) ** 2
    upper = _line(y + 0.115 - bow, 0.016)
    lower = _line(y + 0.185 - bow, 0.024)
    return fade * (0.5 * upper + 0.45 * lower)


def _chin(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Dimples of a chin that is pushed up, and the fold above it."""
    noise = gaussian_filter(rng.normal(0, 1, x.shape), 4.5)
    area = np.exp(-((x / 0.14) ** 4) - ((y + 1.05) / 0.09) ** 4)
    fold = np.exp(-((x / 0.15) ** 4)) * _line(y + 0.925, 0.022)
    dimples = np.maximum(noise / noise.std(), -0.5)
    return 0.25 * area * dimples + 0.5 * fold


# How to paint a region, and between which heights and how far from the middle its lines lie, dm.
_PAINTED = {
    _forehead: (0.35, 0.95, 0.62),
    _frown: (0.05, 0.45, 0.22),
    _nose_root: (-0.20, 0.16, 0.24),
    _nasolabial: (-0.88, -0.30, 0.56),
    _crow: (-0.22, 0.20, 0.72),
    _under_eye: (-0.28, -0.04, 0.52),
    _chin: (-1.18, -0.84, 0.24),
}
