"""Hair as a shell around the head, cut out by its texture.

The shell is a grid in azimuth and polar angle, lifted off the scalp. Angles are seen from `CENTRE`:
azimuth 0 points towards the face, positive to the subject's left; polar angle 0 points up.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.spatial import Delaunay

from cdrl.studio.head import PARTS, load_head
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


class HairStyle(NamedTuple):
    """Form of a hair style.

    Attributes:
        hairline: polar angle in degrees at each azimuth of `LINE_AT`.
        top: thickness on top, dm.
        side: thickness at the sides, dm.
        length: below the ears, dm; 0 follows the head.
    """

    hairline: tuple[int, ...]
    top: float
    side: float
    length: float


STYLES = {
    "short": HairStyle(SHORT, top=0.13, side=0.05, length=0.0),
    "fringe": HairStyle(FRINGE, top=0.14, side=0.07, length=0.0),
    "swept": HairStyle(SHORT, top=0.19, side=0.05, length=0.0),
    "afro": HairStyle(SHORT, top=0.38, side=0.33, length=0.0),
    "tied": HairStyle(TIED, top=0.07, side=0.04, length=0.0),
    "bob": HairStyle(LONG, top=0.15, side=0.14, length=0.85),
    "long": HairStyle(LONG, top=0.13, side=0.13, length=1.9),
}


def hangs(person: Person) -> bool:
    """True if the hair falls below the ears, so that its inside can be seen."""
    return person.hair_style in STYLES and STYLES[person.hair_style].length > 0


def hairline(person: Person, azimuth: np.ndarray, roots: bool = False) -> np.ndarray:
    """Polar angle at which a person's hair ends, per azimuth.

    Args:
        person: whose hair.
        azimuth: (...,) radians.
        roots: where its roots on the skin end, not the hair itself; long hair falls over the skin.

    Returns:
        (...,) radians.
    """
    style = person.hair_style if person.hair_style in STYLES else "short"
    line = STYLES[style].hairline
    if roots and line is LONG:
        line = SHORT

    azimuth_degrees = np.degrees(np.abs(azimuth))
    degrees = np.interp(azimuth_degrees, LINE_AT, line)

    front = np.clip(1 - azimuth_degrees / 75, 0, 1)
    degrees = degrees - 5 * person.hairline * np.sqrt(front)
    if style == "swept":  # a parting: the hair starts lower on one side of it
        side = np.sign(person.part)
        beside_parting = np.tanh(3 * (azimuth - 0.5 * side))
        degrees = degrees + 7 * front * side * beside_parting
    return np.radians(degrees)


def _plane(theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """Directions as points (..., 2) of a plane that has no seam and no pole in it."""
    return np.stack([theta * np.sin(phi), theta * np.cos(phi)], -1)


def _scalp_vertices() -> np.ndarray:
    """Vertices (N,) of the smooth skin that hair may grow on, ears left out."""
    head = load_head()

    is_skin = head.part == PARTS.index("skin")
    is_ear = head.ears >= 0.1
    is_open = head.sky_visibility > 0.25
    height = head.vertices[:, 1]
    is_high = height > -1.5

    return np.flatnonzero(is_skin & ~is_ear & is_open & is_high)


@lru_cache(maxsize=1)
def scalp_weights() -> tuple[np.ndarray, np.ndarray]:
    """Barycentric coordinates of the scalp in every direction of the grid.

    Computed once on the average head by a triangulation of the two angles; every person uses the
    same.

    Returns:
        Vertex numbers and weights, (ROWS, COLUMNS, 3) both.
    """
    vertex_ids = _scalp_vertices()
    positions = load_head().vertices[vertex_ids]
    offset = (positions - CENTRE).astype(np.float64)
    x, y, z = offset.T
    phi = np.arctan2(x, z)
    radius = np.linalg.norm(offset, axis=1)
    theta = np.arccos(y / radius)
    mesh = Delaunay(_plane(theta, phi))

    grid_phi, grid_theta = np.meshgrid(PHI, THETA)
    grid = _plane(grid_theta, grid_phi)
    simplex = mesh.find_simplex(grid)
    to_barycentric = mesh.transform[simplex, :2]
    from_origin = grid - mesh.transform[simplex, 2]
    first_two = np.einsum("rcij,rcj->rci", to_barycentric, from_origin)
    third = 1 - first_two.sum(2, keepdims=True)
    weights = np.concatenate([first_two, third], 2)

    return vertex_ids[mesh.simplices[simplex]], weights


def scalp(vertices: np.ndarray) -> np.ndarray:
    """Smoothed skin positions (ROWS, COLUMNS, 3) relative to `CENTRE`, in dm.

    Args:
        vertices: (V, 3) of one person's head, dm.
    """
    vertex_ids, weights = scalp_weights()
    surface = np.einsum("rci,rcix->rcx", weights, vertices[vertex_ids]) - CENTRE
    surface[:2] = surface[:2].mean(1, keepdims=True)
    return gaussian_filter(surface, (0.8, 0.8, 0), mode=("nearest", "wrap", "nearest"))


def hair_shell(person: Person, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shell of a person's hair.

    Args:
        person: whose hair.
        vertices: (V, 3) of the person's head, dm.

    Returns:
        Positions (ROWS * COLUMNS, 3) float32 in dm and triangles (F, 3) int32; empty where there
        is no hair to lift.
    """
    if person.hair_style not in STYLES:
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)

    phi, theta = np.meshgrid(PHI, THETA)
    thickness = _thickness(person, phi, theta)
    lift = _directions(phi, theta) * thickness[..., None]
    shell = scalp(vertices) + lift
    shell[0] = shell[0].mean(0)
    length = STYLES[person.hair_style].length
    if length > 0:
        _let_hang(shell, length, vertices)

    positions = (shell + CENTRE).reshape(-1, 3)

    return positions.astype(np.float32), _grid_triangles()


def _directions(phi: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Unit vectors (ROWS, COLUMNS, 3) of azimuths and polar angles (ROWS, COLUMNS)."""
    radius = np.sin(theta)
    x = radius * np.sin(phi)
    z = radius * np.cos(phi)
    return np.stack([x, np.cos(theta), z], 2)


def _thickness(person: Person, phi: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Height of the hair above the scalp, dm.

    Args:
        person: whose hair.
        phi: (ROWS, COLUMNS) azimuth, radians.
        theta: (ROWS, COLUMNS) polar angle, radians.

    Returns:
        (ROWS, COLUMNS).
    """
    style = STYLES[person.hair_style]
    on_top = np.clip(1.25 * np.cos(theta) + 0.15, 0, 1)
    thickness = style.side + (style.top - style.side) * on_top
    if person.hair_style == "swept":
        sideways = np.sin(phi) * np.sign(person.part) * np.sin(theta) ** 2
        thickness = thickness * (1 + 0.35 * sideways)

    # No wave at the pole, where the columns meet.
    height = 0.25 + 0.30 * person.looks.mess
    waves = height * _waves(person, phi.shape) * np.sin(theta)
    thickness = thickness * (1 + waves)
    thickness = thickness * _edge_profile(person, theta)
    is_front = np.abs(phi) < 1.0

    return thickness + np.where(is_front, 0.025, 0.012)


def _waves(person: Person, shape: tuple[int, ...]) -> np.ndarray:
    """Smooth noise (ROWS, COLUMNS) of unit variance."""
    rng = np.random.default_rng([person.number, 0x4A1])
    noise = rng.normal(0, 1, shape)
    waves = gaussian_filter(noise, (2.5, 2), mode=("nearest", "wrap"))
    return waves / waves.std()


def _edge_profile(person: Person, theta: np.ndarray) -> np.ndarray:
    """Factor (ROWS, COLUMNS) on the thickness: hair is thin at its edge.

    Args:
        person: whose hair.
        theta: (ROWS, COLUMNS) polar angle, radians.
    """
    at_edge = 0.12 if person.hair_style in ("fringe", "bob", "long") else 0.05
    ramp_degrees = 48 if person.hair_style == "afro" else 30
    inside = theta < hairline(person, PHI)[None]
    distance = _distance_to_edge(inside)
    share = np.clip(distance / np.radians(ramp_degrees), 0, 1)

    return at_edge + (1 - at_edge) * share**0.8


def _distance_to_edge(inside: np.ndarray) -> np.ndarray:
    """Angle to the hair's edge in any direction, so that it lies flat on the temples too.

    Args:
        inside: (ROWS, COLUMNS) where there is hair.

    Returns:
        (ROWS, COLUMNS) radians.
    """
    around = np.tile(inside, 3)
    step = (THETA[1] - THETA[0], PHI[1] - PHI[0])
    distance = distance_transform_edt(around, sampling=step)
    return distance[:, COLUMNS : 2 * COLUMNS]


def _let_hang(shell: np.ndarray, length: float, vertices: np.ndarray) -> None:
    """Let the lower part of a shell fall straight down, over the ears, in place.

    Args:
        shell: (ROWS, COLUMNS, 3) relative to `CENTRE`, dm.
        length: below the ears, dm.
        vertices: (V, 3) of the person's head, dm.
    """
    start = int(np.argmax(HANG_FROM <= THETA))
    fall = np.linspace(0, 1, ROWS - start)[:, None]  # 0 at the ring, 1 at the tips
    bulge = 0.10 if length < 1 else 0.05
    phase = np.pi * np.minimum(1.2 * fall, 1)
    outwards = bulge * np.sin(phase)
    widen = 1 + outwards - 0.12 * fall**2

    ring_x, ring_y, ring_z = shell[start].T.copy()
    to_ears = _over_ears(ring_x, vertices) - ring_x
    x = ring_x + to_ears * np.minimum(fall * 10, 1)
    drop = ring_y + 0.55 + length
    hanging = shell[start:]
    hanging[..., 0] = x * widen
    hanging[..., 1] = ring_y - fall * drop
    hanging[..., 2] = ring_z * widen - 0.12 * fall


def _over_ears(ring_x: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """The x (COLUMNS,) of a ring of hair that hangs over the ears, dm.

    Args:
        ring_x: (COLUMNS,) of the ring as it is.
        vertices: (V, 3) of the person's head, dm.
    """
    ear_x = vertices[load_head().ears > 0.5, 0]
    outside_ears = np.abs(ear_x).max() + 0.06
    from_ear = (np.abs(PHI) - np.radians(95)) / np.radians(36)
    beside_ear = np.exp(-(from_ear**6))

    side = np.maximum(np.abs(ring_x), outside_ears * beside_ear)
    return np.sign(PHI) * side


def _grid_triangles() -> np.ndarray:
    """Two triangles for each cell of the grid of directions, (F, 3) int32."""
    first_column = np.arange(ROWS - 1)[:, None] * COLUMNS
    corners = first_column + np.arange(COLUMNS - 1)
    corner = corners.ravel()
    right = corner + 1
    below = corner + COLUMNS

    upper = np.stack([corner, below, right], 1)
    lower = np.stack([right, below, below + 1], 1)

    triangles = np.concatenate([upper, lower])
    return triangles.astype(np.int32)
