"""Whether a mouth is covered: by a hand, a cup, a microphone.

The face mesh guesses lips under a hand as surely as lips that are seen, and guesses them shut. So
colours are read where the mesh has lips and the skin around them. Lips that speak keep their
pattern, because the mesh moves with them. A hand has another one.
"""

from typing import NamedTuple

import numpy as np

# Points of the mesh: lips without their inner edge, skin around them, and skin that no mouth moves.
UPPER_LIP = (185, 40, 39, 37, 0, 267, 269, 270, 409, 73, 72, 11, 302, 303, 74, 304)
LOWER_LIP = (146, 91, 181, 84, 17, 314, 405, 321, 375, 90, 180, 85, 16, 315, 404, 320)
LIPS = (61, 291, *UPPER_LIP, *LOWER_LIP)
ABOVE = (164, 167, 393, 165, 391, 92, 322, 186, 410)
BESIDE = (57, 287, 43, 273, 106, 335, 204, 424)
BELOW = (194, 418, 201, 421, 182, 406, 83, 313, 18, 200)
AROUND = (*ABOVE, *BESIDE, *BELOW)
NOSE = (168, 6, 197, 195, 5, 51, 281, 45, 275)
CHEEKS = (50, 280, 101, 330, 117, 346, 118, 347, 100, 329)
FOREHEAD = (108, 337, 151, 69, 299, 9, 8)
UPPER_FACE = (*NOSE, *CHEEKS, *FOREHEAD)
POINTS = (*LIPS, *AROUND, *UPPER_FACE)
EYE_CORNERS = (33, 263)
INNER_LIPS = (13, 14)
BLOCK = 0.03  # half side of the block that is read at a point, in distances of the eye corners
SAMPLES = 5  # pixels that are read of it, across and down

COVERED = 0.55  # difference of the patterns: 0 for the same, 1 for unrelated ones
WIDE = 0.13  # gap of the lips, in distances of the eye corners, that the mesh never guesses
LEAST_LOOKS = 8  # of a shot, from which the usual pattern is known
SHORTEST = 2  # looks in a row: one alone is no hand
DARK = 4.0  # grey levels: below, light cannot be compared
FAINTEST = 0.2  # light, of the usual one, that is still taken out


class MouthLook(NamedTuple):
    """What is seen of a mouth in one frame.

    Attributes:
        colours: (87, 3) uint8, the mean of a small block about each of `POINTS`.
        gap: of the inner lips, in distances of the outer eye corners.
    """

    colours: np.ndarray
    gap: float


def look_at_mouth(frame: np.ndarray, points: np.ndarray) -> MouthLook:
    """Read the colours of mouth and face, and the gap of the lips.

    Args:
        frame: (H, W, 3) uint8 RGB.
        points: (468, 2 or 3) of the mesh, frame pixels.
    """
    left, right = points[list(EYE_CORNERS), :2]
    eye_distance = float(np.linalg.norm(right - left))
    half_side = BLOCK * eye_distance
    steps = np.linspace(-half_side, half_side, SAMPLES)
    centres = points[list(POINTS), :2]

    columns = (centres[:, :1] + steps).round().astype(int)
    rows = (centres[:, 1:2] + steps).round().astype(int)
    columns = columns.clip(0, frame.shape[1] - 1)
    rows = rows.clip(0, frame.shape[0] - 1)
    blocks = frame[rows[:, :, None], columns[:, None, :]]
    colours = blocks.mean(axis=(1, 2)).round().astype(np.uint8)

    upper, lower = points[list(INNER_LIPS), :2]
    return MouthLook(colours, float(np.linalg.norm(upper - lower)) / eye_distance)


def covered_looks(looks: list[MouthLook]) -> np.ndarray:
    """In which looks at a face its mouth is covered.

    Args:
        looks: L looks at one face, in order.

    Returns:
        (L,) bool; all False where there are too few looks to know the mouth, or no pattern that
        most of them show.
    """
    covered = np.zeros(len(looks), bool)
    if len(looks) < LEAST_LOOKS:
        return covered

    differences = pattern_differences(np.stack([look.colours for look in looks]))
    gaps = np.array([look.gap for look in looks])
    is_odd = (differences > COVERED) & (gaps < WIDE)
    for first in range(len(looks) - SHORTEST + 1):
        if is_odd[first : first + SHORTEST].all():
            covered[first : first + SHORTEST] = True
    if covered.mean() > 0.5:  # what is usual is that of most looks
        covered[:] = False
    return covered


def pattern_differences(colours: np.ndarray) -> np.ndarray:
    """How much the pattern of lips and skin differs from the usual one of the face.

    1 - r of the colours of lips and of the skin around them, their mean taken out; the usual
    pattern is the median over the looks. Light is taken out by the upper face.

    Args:
        colours: (L, 87, 3) of `look_at_mouth`.

    Returns:
        (L,) 0 for the same pattern, 1 for an unrelated one.
    """
    values = colours.astype(np.float64)
    usual = np.median(values, axis=0)

    mouth = slice(0, len(LIPS) + len(AROUND))
    upper = slice(mouth.stop, None)
    light = np.median(values[:, upper] / usual[upper].clip(DARK), axis=1)
    pattern = _centred(values[:, mouth] / light[:, None].clip(FAINTEST))
    usual_pattern = _centred(usual[None, mouth])

    products = (pattern * usual_pattern).sum(axis=(1, 2))
    energies = (pattern**2).sum(axis=(1, 2)) * (usual_pattern**2).sum()
    return 1 - products / np.sqrt(energies + 1.0)


def _centred(values: np.ndarray) -> np.ndarray:
    """(L, K, 3) less the mean of the K points."""
    return values - values.mean(axis=1, keepdims=True)
