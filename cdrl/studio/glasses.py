"""Glasses: rims, a bridge and temples as thin bars, and lenses that are seen where they reflect.

They sit on the person's own nose and ears and turn with the head; no facial action moves them.
"""

from typing import NamedTuple

import numpy as np

from cdrl.studio.head import LANDMARKS, PARTS, load_head
from cdrl.studio.looks import Glasses

_SEGMENTS = 22  # of a rim
_WRAP = 0.20  # dm that a lens recedes per dm outwards
_HINGE = 0.05  # dm from the outer end of a rim to the temple
_LENS_GAP = 0.09  # dm in front of the eyeball
_LENS_ROWS = 64


class Frame(NamedTuple):
    """Geometry of a pair of glasses.

    Attributes:
        vertices: (N, 3) dm; those of the frame, then those of the lenses.
        frame: (F, 3) triangles of rims, bridge and temples, numbered from 0.
        lenses: (G, 3) triangles of the lenses.
        lens_uv: (N, 2) in [0, 1] over a lens; 0 for the frame.
        num_frame: number of the frame's vertices.
    """

    vertices: np.ndarray
    frame: np.ndarray
    lenses: np.ndarray
    lens_uv: np.ndarray
    num_frame: int


def _outline(glasses: Glasses) -> np.ndarray:
    """(S, 2) the lens of the left eye around its middle, dm; +x is outwards, the path is closed."""
    angle = np.linspace(0, 2 * np.pi, _SEGMENTS, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    if glasses.shape in ("square", "half"):
        power = 0.45
        cos = np.sign(cos) * np.abs(cos) ** power
        sin = np.sign(sin) * np.abs(sin) ** power
    x = glasses.half_width * cos
    y = glasses.half_height * sin
    if glasses.shape == "aviator":
        x = x * (1 + 0.10 * sin)
        y = y - 0.16 * glasses.half_height * cos * (sin < 0)
    return np.stack([x, y], 1)


def _bar(path: np.ndarray, thickness: float, closed: bool) -> tuple[np.ndarray, np.ndarray]:
    """A bar of square section along a path (P, 3): vertices (4 P, 3) and triangles."""
    following = np.roll(path, -1, axis=0)
    before = np.roll(path, 1, axis=0)
    if not closed:
        following[-1] = path[-1]
        before[0] = path[0]
    along = following - before
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    forward = np.array((0.0, 0.0, 1.0))
    # A bar that runs to the back has its height upwards.
    reference = np.where(np.abs(along @ forward)[:, None] > 0.8, [[0.0, 1.0, 0.0]], forward)
    first = np.cross(along, reference)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(first, along)

    half = thickness / 2
    corners = []
    for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        corners.append(path + half * (a * first + b * second))
    vertices = np.stack(corners, 1).reshape(-1, 3)

    triangles = []
    num_steps = len(path) if closed else len(path) - 1
    for step in range(num_steps):
        here = 4 * step
        there = 4 * ((step + 1) % len(path))
        for corner in range(4):
            other = (corner + 1) % 4
            a, b = here + corner, here + other
            c, d = there + corner, there + other
            triangles += [(a, b, c), (b, d, c)]
    return vertices, np.array(triangles)


def glasses_frame(glasses: Glasses, neutral: np.ndarray, eyes: np.ndarray) -> Frame:
    """A person's glasses.

    Args:
        glasses: their form.
        neutral: (V, 3) the person's head, dm.
        eyes: (2, 4) centre and radius of the left and the right eyeball, dm.
    """
    bars: list[tuple[np.ndarray, np.ndarray]] = []
    lenses: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    middle, depth = _lens_middle(glasses, neutral, eyes)
    outline = _outline(glasses)
    for sign in (1, -1):
        rim = _place(outline, middle, depth, sign)
        seen = rim if glasses.shape != "half" else rim[: _SEGMENTS // 2 + 1]
        bars.append(_bar(seen, glasses.rim, closed=glasses.shape != "half"))
        bars.append(_bar(_temple(rim, neutral, sign), 0.8 * glasses.rim + 0.01, closed=False))
        lenses.append(_lens(outline, rim))
    bars.append(_bar(_bridge(outline, middle, depth), 0.9 * glasses.rim, closed=False))

    return _join(bars, lenses)


def _lens_middle(
    glasses: Glasses, neutral: np.ndarray, eyes: np.ndarray
) -> tuple[np.ndarray, float]:
    """Middle (2,) of the left lens, and its depth z, dm."""
    left, right = eyes
    eye_x = (left[0] - right[0]) / 2
    eye_y = (left[1] + right[1]) / 2
    x = max(eye_x + 0.01, glasses.half_width + 0.075)
    cornea = max(left[2] + left[3], right[2] + right[3])
    bridge = neutral[load_head().landmarks[LANDMARKS.index("nose_bridge")], 2]
    depth = max(cornea + _LENS_GAP, bridge + 0.01)
    return np.array((x, eye_y - glasses.drop)), float(depth)


def _place(outline: np.ndarray, middle: np.ndarray, depth: float, sign: int) -> np.ndarray:
    """(S, 3) an outline in front of one eye, receding outwards."""
    x = middle[0] + outline[:, 0]
    y = middle[1] + outline[:, 1]
    z = depth - _WRAP * np.maximum(x - 0.1, 0) ** 1.3
    return np.stack([sign * x, y, z], 1)


def _bridge(outline: np.ndarray, middle: np.ndarray, depth: float) -> np.ndarray:
    """(5, 3) an arch between the lenses."""
    inner = middle[0] + outline[:, 0].min()
    x = np.linspace(-inner, inner, 5)
    y = middle[1] + 0.06 + 0.035 * (1 - (x / inner) ** 2)
    return np.stack([x, y, np.full(5, depth + 0.01)], 1)


def _temple(rim: np.ndarray, neutral: np.ndarray, sign: int) -> np.ndarray:
    """(4, 3) from the outer end of a rim to the ear, outside the skin."""
    head = load_head()
    is_skin = (head.part == PARTS.index("skin")) & (head.ears < 0.1)
    outer = rim[np.argmax(sign * rim[:, 0])]
    height = outer[1] + 0.04
    path = [outer + np.array((0.0, 0.04, 0.0))]
    for z in (1.22, 0.95, 0.55):
        near = is_skin & (np.abs(neutral[:, 1] - height) < 0.14)
        near &= np.abs(neutral[:, 2] - z) < 0.12
        widest = np.max(sign * neutral[near, 0]) if near.any() else 0.7
        x = max(widest + 0.025, sign * outer[0] + _HINGE)
        path.append(np.array((sign * x, height, z)))
    return np.stack(path)


def _lens(outline: np.ndarray, rim: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A fan over a lens: vertices (S + 1, 3), triangles, and uv (S + 1, 2)."""
    vertices = np.concatenate([rim, rim.mean(0, keepdims=True)])
    size = 2 * np.abs(outline).max(0)
    uv = np.concatenate([outline / size + 0.5, [[0.5, 0.5]]])
    # Both lenses reflect the same window, so both are read in the same direction.
    uv[:, 0] = np.where(rim[0, 0] < 0, 1 - uv[:, 0], uv[:, 0])
    around = np.arange(len(rim))
    centre = np.full(len(rim), len(rim))
    triangles = np.stack([centre, around, np.roll(around, -1)], 1)
    return vertices, triangles, uv


def _join(
    bars: list[tuple[np.ndarray, np.ndarray]],
    lenses: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> Frame:
    """All parts as one mesh."""
    vertices: list[np.ndarray] = []
    frame: list[np.ndarray] = []
    glass: list[np.ndarray] = []
    first = 0
    for points, triangles in bars:
        vertices.append(points)
        frame.append(triangles + first)
        first += len(points)
    num_frame = first

    uv = [np.zeros((num_frame, 2))]
    for points, triangles, texels in lenses:
        vertices.append(points)
        glass.append(triangles + first)
        uv.append(texels)
        first += len(points)

    return Frame(
        np.concatenate(vertices),
        np.concatenate(frame),
        np.concatenate(glass),
        np.concatenate(uv),
        num_frame,
    )


def paint_lens(glasses: Glasses, number: int, side: int) -> np.ndarray:
    """(side, side, 4) what a lens reflects: a bright window, cut by its bars; else transparent.

    Args:
        glasses: of the person.
        number: of the person.
        side: texels.
    """
    rng = np.random.default_rng([number, 0x61A])
    row, column = (np.mgrid[0:side, 0:side] + 0.5) / side
    slant = rng.uniform(-0.5, 0.5)
    x = column + slant * (row - 0.5) - rng.uniform(0.3, 0.7)
    y = row - rng.uniform(0.25, 0.5)
    size = 0.05 + 0.14 * glasses.reflection
    is_window = (np.abs(x) < size) & (np.abs(y) < 1.2 * size)
    is_bar = np.abs(x) < 0.025
    alpha = np.where(is_window & ~is_bar, 45, 0) / 255  # one of a pixel's four samples
    if glasses.reflection <= 0:
        alpha = np.zeros_like(alpha)
    lens = np.ones((side, side, 4), np.float32) * (0.88, 0.92, 0.96, 0)
    lens[..., 3] = alpha
    return lens
