"""Hair as a shell around the head: a grid in azimuth and polar angle, lifted off the scalp; its edge lives in the texture.

Angles are seen from `CENTRE`: azimuth phi = 0 towards the face, positive to the subject's left; polar angle theta = 0 up.
"""

import numpy as np
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from scipy.ndimage import gaussian_filter

from cdrl.data.studio.head import Head
from cdrl.data.studio.people import Person

CENTRE = np.array([0.0, 0.25, 0.30], np.float32)
COLUMNS, ROWS = 73, 29
PHI = np.linspace(-np.pi, np.pi, COLUMNS)
THETA = np.radians(np.linspace(2, 128, ROWS))
HANG_FROM = np.radians(78)  # long hair falls freely below this polar angle
# Hairline: polar angle in degrees at |azimuth| in degrees.
LINE_AT = (0, 22, 45, 62, 74, 84, 92, 104, 125, 150, 180)
SHORT = (64, 66, 68, 74, 96, 108, 88, 90, 116, 122, 124)
FRINGE = (79, 79, 77, 79, 98, 108, 88, 90, 116, 122, 124)
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


def hairline(person: Person, phi: np.ndarray) -> np.ndarray:
    """Polar angle (radians) at which this person's hair ends, per azimuth (radians)."""
    style = person.hair_style if person.hair_style in STYLES else "short"
    line = STYLES[style][0]
    degrees = np.interp(np.degrees(np.abs(phi)), LINE_AT, line)
    front = np.clip(1 - np.degrees(np.abs(phi)) / 75, 0, 1)
    degrees = degrees - 5 * person.hairline * np.sqrt(front)
    if style == "swept":  # a parting: the hair starts lower on one side of it
        degrees = degrees + 7 * front * np.sign(person.part) * np.tanh(3 * (phi - 0.5 * np.sign(person.part)))
    return np.radians(degrees)


def scalp_radius(head: Head, vertices: np.ndarray) -> np.ndarray:
    """Distance (ROWS, COLUMNS) in dm from `CENTRE` to the smooth skin in every direction of the grid, ears left out."""
    kept = (head.part == 0) & (head.ears < 0.1) & (head.light > 0.25) & (vertices[:, 1] > -1.5)
    offset = (vertices[kept] - CENTRE).astype(np.float64)
    radius = np.linalg.norm(offset, axis=1)
    phi, theta = np.arctan2(offset[:, 0], offset[:, 2]), np.arccos(offset[:, 1] / radius)
    phi = np.concatenate([phi - 2 * np.pi, phi, phi + 2 * np.pi])
    points = np.stack([phi, np.tile(theta, 3)], 1)
    grid = np.meshgrid(PHI, THETA)
    found = LinearNDInterpolator(points, np.tile(radius, 3))(*grid)
    missing = np.isnan(found)
    if missing.any():
        found[missing] = NearestNDInterpolator(points, np.tile(radius, 3))(*grid)[missing]
    return gaussian_filter(found, (1.0, 1.0), mode=("nearest", "wrap"))


def hair_shell(head: Head, person: Person, vertices: np.ndarray):
    """Positions (ROWS * COLUMNS, 3) and triangles of the shell in dm, or empty arrays where there is none to lift."""
    if person.hair_style not in STYLES:
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)
    _, top, side, length = STYLES[person.hair_style]
    phi, theta = np.meshgrid(PHI, THETA)
    line = hairline(person, PHI)[None]
    thickness = side + (top - side) * np.clip(1.25 * np.cos(theta) + 0.15, 0, 1)
    if person.hair_style == "swept":
        thickness = thickness * (1 + 0.35 * np.sin(phi) * np.sign(person.part) * np.sin(theta))
    rng = np.random.default_rng([person.number, 0x4A1])
    waves = gaussian_filter(rng.normal(0, 1, phi.shape), (2.5, 2), mode=("nearest", "wrap"))
    thickness = thickness * (1 + 0.25 * waves / waves.std())
    edge = 0.12 if person.hair_style in ("fringe", "bob", "long") else 0.05
    thickness = thickness * (edge + (1 - edge) * np.clip((line - theta) / np.radians(24), 0, 1) ** 0.6) + 0.012
    radius = scalp_radius(head, vertices) + thickness
    shell = np.stack([np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)], 2) * radius[..., None]
    if length:
        start = int(np.argmax(HANG_FROM <= THETA))
        fall = np.linspace(0, 1, ROWS - start)[:, None]
        ring = shell[start]
        widen = 1 + (0.10 if length < 1 else 0.05) * np.sin(np.pi * np.minimum(1.2 * fall, 1)) - 0.12 * fall**2
        shell[start:, :, 0] = ring[:, 0] * widen * (1 + 0.12 * np.minimum(fall * 6, 1))
        shell[start:, :, 2] = ring[:, 2] * widen - 0.12 * fall
        shell[start:, :, 1] = ring[:, 1] - fall * (ring[:, 1] + 0.55 + length)
    shell = (shell + CENTRE).reshape(-1, 3).astype(np.float32)
    a = (np.arange(ROWS - 1)[:, None] * COLUMNS + np.arange(COLUMNS - 1)).ravel()
    triangles = np.concatenate([
        np.stack([a, a + COLUMNS, a + 1], 1), np.stack([a + 1, a + COLUMNS, a + COLUMNS + 1], 1),
    ])  # fmt: skip
    return shell, triangles.astype(np.int32)
