"""Hair as a shell around the head: a grid in azimuth and polar angle, lifted off the scalp, cut out by its texture.

Angles are seen from `CENTRE`: azimuth phi = 0 towards the face, positive to the subject's left;
polar angle theta = 0 up.
"""

from functools import lru_cache

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.spatial import Delaunay

from cdrl.studio.head import load_head
from cdrl.studio.people import Person

CENTRE = np.array([0.0, 0.25, 0.30], np.float32)
COLUMNS, ROWS = 73, 29
PHI = np.linspace(-np.pi, np.pi, COLUMNS)
THETA = np.radians(np.linspace(2, 128, ROWS))
HANG_FROM = np.radians(78)  # long hair falls freely below this polar angle
# Hairline: polar angle in degrees at |azimuth| in degrees.
LINE_AT = (0, 22, 45, 62, 74, 84, 92, 104, 125, 150, 180)
SHORT = (64, 66, 68, 74, 88, 97, 88, 90, 116, 122, 124)
FRINGE = (79, 79, 77, 79, 90, 97, 88, 90, 116, 122, 124)
TIED = (64, 65, 69, 76, 90, 98, 86, 90, 110, 116, 118)
LONG = (65, 67, 70, 76, 140, 140, 140, 140, 140, 140, 140)
# style -> hairline, thickness on top, thickness at the sides, length below the ears (dm; 0 follows the head).
STYLES = {
    "short": (SHORT, 0.13, 0.05, 0.0),
    "fringe": (FRINGE, 0.14, 0.07, 0.0),
    "swept": (SHORT, 0.19, 0.05, 0.0),
    "afro": (SHORT, 0.38, 0.33, 0.0),
    "tied": (TIED, 0.07, 0.04, 0.0),
    "bob": (LONG, 0.15, 0.14, 0.85),
    "long": (LONG, 0.13, 0.13, 1.9),
}


def hangs(person: Person) -> bool:
    """True if the hair falls below the ears, so that its inside can be seen."""
    return person.hair_style in STYLES and STYLES[person.hair_style][3] > 0


def hairline(person: Person, phi: np.ndarray, roots: bool = False) -> np.ndarray:
    """Polar angle at which this person's hair ends, or its `roots` on the skin end, per azimuth: (...,) both, radians."""
    style = person.hair_style if person.hair_style in STYLES else "short"
    line = SHORT if roots and STYLES[style][0] is LONG else STYLES[style][0]
    degrees = np.interp(np.degrees(np.abs(phi)), LINE_AT, line)
    front = np.clip(1 - np.degrees(np.abs(phi)) / 75, 0, 1)
    degrees = degrees - 5 * person.hairline * np.sqrt(front)
    if style == "swept":  # a parting: the hair starts lower on one side of it
        degrees = degrees + 7 * front * np.sign(person.part) * np.tanh(
            3 * (phi - 0.5 * np.sign(person.part))
        )
    return np.radians(degrees)


@lru_cache(maxsize=1)
def scalp_weights():
    """Vertex numbers and weights (ROWS, COLUMNS, 3) that give the smooth skin, ears left out, in every grid direction.

    Found once on the average head by a triangulation of the two angles; every person uses the same.
    """
    head = load_head()
    kept = np.flatnonzero(
        (head.part == 0) & (head.ears < 0.1) & (head.sky_visibility > 0.25) & (head.vertices[:, 1] > -1.5)
    )
    offset = (head.vertices[kept] - CENTRE).astype(np.float64)
    phi = np.arctan2(offset[:, 0], offset[:, 2])
    theta = np.arccos(offset[:, 1] / np.linalg.norm(offset, axis=1))
    flat = np.stack([theta * np.sin(phi), theta * np.cos(phi)], 1)  # no seam and no pole in these
    mesh = Delaunay(flat)
    phi, theta = np.meshgrid(PHI, THETA)
    grid = np.stack([theta * np.sin(phi), theta * np.cos(phi)], -1)
    found = mesh.find_simplex(grid)
    share = np.einsum("rcij,rcj->rci", mesh.transform[found, :2], grid - mesh.transform[found, 2])
    weights = np.concatenate([share, 1 - share.sum(2, keepdims=True)], 2)
    return kept[mesh.simplices[found]], weights


def scalp(vertices: np.ndarray) -> np.ndarray:
    """Smoothed skin positions (ROWS, COLUMNS, 3) relative to `CENTRE`, in dm."""
    numbers, weights = scalp_weights()
    surface = np.einsum("rci,rcix->rcx", weights, vertices[numbers]) - CENTRE
    surface[:2] = surface[:2].mean(1, keepdims=True)
    return gaussian_filter(surface, (0.8, 0.8, 0), mode=("nearest", "wrap", "nearest"))


def hair_shell(person: Person, vertices: np.ndarray):
    """Positions (ROWS * COLUMNS, 3) and triangles of the shell in dm, or empty arrays where there is none to lift."""
    if person.hair_style not in STYLES:
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)
    _, top, side, length = STYLES[person.hair_style]
    phi, theta = np.meshgrid(PHI, THETA)
    line = hairline(person, PHI)[None]
    thickness = side + (top - side) * np.clip(1.25 * np.cos(theta) + 0.15, 0, 1)
    if person.hair_style == "swept":
        thickness = thickness * (1 + 0.35 * np.sin(phi) * np.sign(person.part) * np.sin(theta) ** 2)
    rng = np.random.default_rng([person.number, 0x4A1])
    waves = gaussian_filter(rng.normal(0, 1, phi.shape), (2.5, 2), mode=("nearest", "wrap"))
    thickness = thickness * (
        1 + 0.25 * waves / waves.std() * np.sin(theta)
    )  # no wave at the pole, where columns meet
    edge = 0.12 if person.hair_style in ("fringe", "bob", "long") else 0.05
    # Distance from the hair's edge in any direction, so that it lies flat on the temples too.
    inside = np.tile(theta < line, 3)
    away = distance_transform_edt(inside, sampling=(THETA[1] - THETA[0], PHI[1] - PHI[0]))[
        :, COLUMNS : 2 * COLUMNS
    ]
    ramp = np.radians(48 if person.hair_style == "afro" else 30)
    thickness = thickness * (edge + (1 - edge) * np.clip(away / ramp, 0, 1) ** 0.8)
    thickness = thickness + np.where(np.abs(phi) < 1.0, 0.025, 0.012)
    outwards = np.stack(
        [np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)], 2
    )
    shell = scalp(vertices) + outwards * thickness[..., None]
    shell[0] = shell[0].mean(0)
    if length:
        start = int(np.argmax(HANG_FROM <= THETA))
        fall = np.linspace(0, 1, ROWS - start)[:, None]
        ring = shell[start]
        widen = (
            1
            + (0.10 if length < 1 else 0.05) * np.sin(np.pi * np.minimum(1.2 * fall, 1))
            - 0.12 * fall**2
        )
        ears = np.abs(vertices[load_head().ears > 0.5, 0]).max() + 0.06  # hang over the ears
        beside = np.exp(-(((np.abs(PHI) - np.radians(95)) / np.radians(36)) ** 6))
        pushed = np.sign(PHI) * np.maximum(np.abs(ring[:, 0]), ears * beside)
        shell[start:, :, 0] = (
            ring[:, 0] + (pushed - ring[:, 0]) * np.minimum(fall * 10, 1)
        ) * widen
        shell[start:, :, 2] = ring[:, 2] * widen - 0.12 * fall
        shell[start:, :, 1] = ring[:, 1] - fall * (ring[:, 1] + 0.55 + length)
    shell = (shell + CENTRE).reshape(-1, 3).astype(np.float32)
    a = (np.arange(ROWS - 1)[:, None] * COLUMNS + np.arange(COLUMNS - 1)).ravel()
    triangles = np.concatenate(
        [np.stack([a, a + COLUMNS, a + 1], 1), np.stack([a + 1, a + COLUMNS, a + COLUMNS + 1], 1)]
    )
    return shell, triangles.astype(np.int32)
