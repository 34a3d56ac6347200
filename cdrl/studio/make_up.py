"""What is painted on the skin of version 2: uneven tone, lids, lashes and make-up.

Everything is a colour and an opacity at positions of the average head; `paint` mixes them in.
"""

from collections.abc import Iterator

import numpy as np

from cdrl.studio.facial_hair import beard_colour, beard_cover, hair_strands, moustache_cover
from cdrl.studio.looks import Looks

# The open eye on the average head: |x|, and the heights of the upper and of the lower lid, dm.
_LID_X = (0.20, 0.235, 0.275, 0.33, 0.385, 0.42, 0.445)
_UPPER_LID = (-0.035, -0.005, 0.012, 0.020, 0.012, -0.004, -0.02)
_LOWER_LID = (-0.045, -0.056, -0.064, -0.068, -0.062, -0.052, -0.035)
_LINE_BLACK = (0.06, 0.045, 0.045)
# Factors on the colour of the skin.
_REDDER = np.array((1.0, 0.86, 0.84))
_PALER = np.array((1.05, 1.04, 1.0))
_BROWN = np.array((0.72, 0.62, 0.55))
_BAGGY = np.array((0.80, 0.70, 0.74))
_CREASED = np.array((0.62, 0.52, 0.50))

Layer = tuple[np.ndarray, np.ndarray]  # colour (3,) or (H, W, 3), and opacity (H, W)
# Heights and largest |x| of what is painted, dm.
SKIN_AREA = (-1.3, 0.95, 0.72)
LID_AREA = (-0.14, 0.14, 0.52)
BEARD_AREA = (-1.58, -0.40, 0.78)


def skin_layers(
    looks: Looks, skin: np.ndarray, position: np.ndarray, noise: list[np.ndarray]
) -> Iterator[Layer]:
    """Unevenness and age.

    Args:
        looks: of the person.
        skin: (3,) sRGB.
        position: (H, W, 3) of the texels of `SKIN_AREA` on the average head, dm.
        noise: two smooth fields (H, W) of unit variance: patches and spots.
    """
    x, y, z = np.moveaxis(position, 2, 0)
    side = np.abs(x)
    patches, spots = noise
    yield skin * _REDDER, 0.30 * looks.mottling * np.clip(patches, 0, 2)
    yield skin * _PALER, 0.25 * looks.mottling * np.clip(-patches, 0, 2)
    if looks.spots > 0:
        yield skin * _BROWN, 0.55 * looks.spots * np.clip(3 * (spots - 2.0), 0, 1) * (z > 0.3)
    around_nose = np.exp(-((side / 0.30) ** 2) - ((y + 0.40) / 0.20) ** 2) * (z > 1.2)
    yield skin * _REDDER, 0.45 * looks.mottling * around_nose

    bag = np.exp(-(((side - 0.31) / 0.11) ** 2) - ((y + 0.125) / 0.045) ** 2)
    yield skin * _BAGGY, 0.75 * looks.eye_bags * bag * (z > 0.9)


def lid_layers(
    looks: Looks, skin: np.ndarray, position: np.ndarray, lash: np.ndarray
) -> Iterator[Layer]:
    """Crease, eye shadow, lines along both lids.

    Args:
        looks: of the person.
        skin: (3,) sRGB.
        position: (H, W, 3) of the texels of `LID_AREA` on the average head, dm.
        lash: (3,) colour of the lashes.
    """
    x, y, z = np.moveaxis(position, 2, 0)
    side = np.abs(x)
    is_front = z > 1.2
    upper = y - np.interp(side, _LID_X, _UPPER_LID)
    lower = np.interp(side, _LID_X, _LOWER_LID) - y
    along = _window(side, 0.19, 0.455, 0.02) * is_front

    crease = np.exp(-(((upper - 0.058) / 0.014) ** 2))
    yield skin * _CREASED, 0.55 * looks.crease * crease * along

    lid = _window(upper, -0.01, 0.075, 0.03) * _window(side, 0.20, 0.49, 0.04) * is_front
    outer = 0.6 + 0.4 * np.clip((side - 0.25) / 0.2, 0, 1)
    yield np.asarray(looks.lid_colour), looks.lid_shadow * lid * outer

    upper_line = np.exp(-((np.maximum(upper - 0.004, 0) / 0.012) ** 2)) * (upper > -0.02)
    yield np.asarray(_LINE_BLACK), 0.9 * looks.eyeliner * upper_line * along
    lower_line = np.exp(-(((lower - 0.006) / 0.010) ** 2))
    yield lash, (0.55 * looks.lower_lashes + 0.35 * looks.eyeliner) * lower_line * along


def beard_layer(looks: Looks, number: int, skin: np.ndarray, position: np.ndarray) -> Layer:
    """The roots of the beard on the skin: all there is of stubble.

    Args:
        looks: of the person.
        number: of the person.
        skin: (3,) sRGB.
        position: (H, W, 3) of the texels of `BEARD_AREA` on the average head, dm.
    """
    beard = looks.beard
    x, y, z = np.moveaxis(position, 2, 0)
    side = np.abs(x)
    strands = hair_strands(number, x.shape)
    cover = np.maximum(beard_cover(beard, side, y, z), moustache_cover(beard, side, y) * (z > 1.2))
    colour = beard_colour(beard, strands)
    is_stubble = beard.style == "stubble"
    if is_stubble:
        colour = 0.55 * colour + 0.30 * skin
    grain = np.clip(0.85 + 0.22 * strands, 0, 1)
    most = 0.75 if is_stubble else 0.95
    return colour, np.minimum(1.25 * cover * grain, most)


def _window(values: np.ndarray, low: float, high: float, edge: float) -> np.ndarray:
    """1 between two values, falling smoothly to 0 over `edge` outside."""
    inside = np.minimum(values - low, high - values)
    share = np.clip(1 + inside / edge, 0, 1)
    return share * share * (3 - 2 * share)
