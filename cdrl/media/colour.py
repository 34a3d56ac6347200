"""Colour of pictures: which numbers stand for which colour, by one rule in reading and in writing.

Video stores brightness Y and two colour differences U and V, of half the size each. A file's tags
say how they become RGB; where they are missing, size decides as players do. All pictures pass
through 8-bit planes in the file's own matrix and range, so that what is not edited is written with
the numbers that were read.
"""

from dataclasses import dataclass
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import Interpolation
from numba import njit

UNSPECIFIED = 2  # the tag of matrix, primaries and transfer that says nothing
LIMITED_RANGE = 1  # Y from 16 to 235
FULL_RANGE = 2  # Y from 0 to 255
MATRIX_OF_RGB = 0
BT709 = 1
BT601 = 6
# Weights of red and blue in brightness, by the tag of the matrix (ITU-T H.273).
WEIGHTS = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.601, 625 lines
    6: (0.299, 0.114),  # BT.601, 525 lines
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020
}
TRANSFER_NAMES = {16: "PQ", 18: "HLG"}  # of high dynamic range
# A picture without tags is taken as HD from this size on, as players take it.
HD_WIDTH = 1280
HD_HEIGHT = 577
FRACTION_BITS = 16  # of the whole numbers that the kernels multiply by
SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP


class ColourTags(NamedTuple):
    """What a file says of its colours, as numbers of ITU-T H.273; 2 is unspecified.

    Attributes:
        matrix: how RGB becomes Y, U and V.
        full_range: whether Y goes from 0 to 255, not from 16 to 235.
        primaries: which red, green and blue.
        transfer: which light a value stands for.
    """

    matrix: int
    full_range: bool
    primaries: int
    transfer: int

    @property
    def weights(self) -> tuple[float, float]:
        """Weights of red and blue in brightness; those of BT.709 for a matrix without any."""
        return WEIGHTS.get(self.matrix, WEIGHTS[BT709])


@dataclass(frozen=True)
class Planes:
    """A picture as brightness and colour differences.

    Attributes:
        brightness: (H, W) uint8, Y.
        blue: (ceil(H / 2), ceil(W / 2)) uint8, U.
        red: the same, V.
        tags: what the numbers mean.
    """

    brightness: np.ndarray
    blue: np.ndarray
    red: np.ndarray
    tags: ColourTags


def tags_by_size(width: int, height: int) -> ColourTags:
    """The tags of a picture that has none: HD is BT.709, anything smaller BT.601.

    Args:
        width: stored pixels.
        height: stored pixels.
    """
    is_hd = width >= HD_WIDTH or height >= HD_HEIGHT
    matrix = BT709 if is_hd else BT601
    return ColourTags(matrix, False, UNSPECIFIED, UNSPECIFIED)


def tags_of(frame: av.VideoFrame) -> ColourTags:
    """The tags of a decoded frame, the missing ones by its size.

    RGB and grey pictures have no matrix; they are written in that of their size.
    """
    assumed = tags_by_size(frame.width, frame.height)
    matrix = int(frame.colorspace)
    if matrix in (MATRIX_OF_RGB, UNSPECIFIED, 3):
        matrix = assumed.matrix

    is_full = frame.color_range == FULL_RANGE
    name = frame.format.name
    if frame.color_range not in (LIMITED_RANGE, FULL_RANGE):
        is_full = name.startswith(("yuvj", "gray", "ya8"))
    if is_rgb(frame):
        is_full = False
    return ColourTags(matrix, is_full, int(frame.color_primaries), int(frame.color_trc))


def is_rgb(frame: av.VideoFrame) -> bool:
    """Whether a frame stores red, green and blue, or numbers of a palette of them."""
    return frame.format.is_rgb or frame.format.has_palette or frame.format.is_bayer


def has_alpha(frame: av.VideoFrame) -> bool:
    """Whether a frame stores how transparent its pixels are."""
    return frame.format.has_palette or any(part.is_alpha for part in frame.format.components)


def frame_planes(frame: av.VideoFrame, width: int, height: int) -> Planes:
    """The planes of a decoded frame, scaled; 8 bits, half-size colour, no transparency.

    Args:
        frame: as decoded, of any pixel format.
        width: of the result, pixels.
        height: of the result, pixels.
    """
    tags = tags_of(frame)
    if is_rgb(frame):
        small = frame.reformat(width, height, "rgb24", interpolation=SCALING)
        return rgb_to_planes(small.to_ndarray(), tags)

    color_range = FULL_RANGE if tags.full_range else LIMITED_RANGE
    is_ready = frame.format.name in ("yuv420p", "yuvj420p")
    if not is_ready or (frame.width, frame.height) != (width, height):
        frame = frame.reformat(
            width,
            height,
            "yuv420p",
            interpolation=SCALING,
            src_color_range=color_range,
            dst_color_range=color_range,
        )
    brightness, blue, red = (_plane_array(plane) for plane in frame.planes)
    return Planes(brightness, blue, red, tags)


def _plane_array(plane: av.video.plane.VideoPlane) -> np.ndarray:
    """A copy of a plane's pixels, (H, W) uint8, without the padding at the end of a row."""
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width].copy()


def planes_to_rgb(planes: Planes) -> np.ndarray:
    """Planes as a picture.

    Args:
        planes: of the picture.

    Returns:
        (H, W, 3) uint8 RGB, each value the nearest one.
    """
    height, width = planes.brightness.shape
    image = np.empty((height, width, 3), np.uint8)
    factors = _factors_of_planes(planes.tags)
    darkest, _, _ = _range(planes.tags)
    _planes_to_rgb(planes.brightness, planes.blue, planes.red, factors, darkest, image)
    return image


def _factors_of_planes(tags: ColourTags) -> np.ndarray:
    """(5,) fixed-point factors of `_planes_to_rgb`."""
    red_weight, blue_weight = tags.weights
    green_weight = 1 - red_weight - blue_weight
    _, steps, color_steps = _range(tags)

    scale = 255 / steps
    color_scale = 255 / color_steps
    red_by_red = 2 * (1 - red_weight) * color_scale
    blue_by_blue = 2 * (1 - blue_weight) * color_scale
    green_by_red = -red_weight / green_weight * red_by_red
    green_by_blue = -blue_weight / green_weight * blue_by_blue

    factors = [scale, red_by_red, green_by_red, green_by_blue, blue_by_blue]
    return _fixed_point(np.array(factors))


def _fixed_point(factors: np.ndarray) -> np.ndarray:
    """Factors of any shape as int32, 1 being `1 << FRACTION_BITS`."""
    one = 1 << FRACTION_BITS
    return np.round(factors * one).astype(np.int32)


def rgb_to_planes(image: np.ndarray, tags: ColourTags) -> Planes:
    """A picture as planes.

    Args:
        image: (H, W, 3) uint8 RGB.
        tags: what the planes shall mean.
    """
    height, width = image.shape[:2]
    color_size = ((height + 1) // 2, (width + 1) // 2)
    brightness = np.empty((height, width), np.uint8)
    blue = np.empty(color_size, np.uint8)
    red = np.empty(color_size, np.uint8)

    pixels = np.ascontiguousarray(image)
    factors = _factors_of_rgb(tags)
    darkest, _, _ = _range(tags)
    _rgb_to_planes(pixels, factors, darkest, brightness, blue, red)
    return Planes(brightness, blue, red, tags)


def _factors_of_rgb(tags: ColourTags) -> np.ndarray:
    """(3, 3) fixed-point factors of `_rgb_to_planes`."""
    red_weight, blue_weight = tags.weights
    green_weight = 1 - red_weight - blue_weight
    _, steps, color_steps = _range(tags)

    weights = np.array([red_weight, green_weight, blue_weight])
    only_red = np.array([1, 0, 0])
    only_blue = np.array([0, 0, 1])
    blue_scale = color_steps / 255 / (2 * (1 - blue_weight))
    red_scale = color_steps / 255 / (2 * (1 - red_weight))

    brightness_factors = weights * steps / 255
    blue_factors = (only_blue - weights) * blue_scale
    red_factors = (only_red - weights) * red_scale
    factors = np.stack([brightness_factors, blue_factors, red_factors])
    return _fixed_point(factors)


def _range(tags: ColourTags) -> tuple[int, int, int]:
    """The Y of black, and how many steps Y and the colour differences go through."""
    return (0, 255, 255) if tags.full_range else (16, 219, 224)


def change_planes(planes: Planes, before: np.ndarray, after: np.ndarray) -> Planes:
    """Planes that show another picture; where the two pictures agree, they keep their numbers.

    Args:
        planes: of `before`.
        before: (H, W, 3) uint8 RGB, `planes_to_rgb(planes)`.
        after: (H, W, 3) uint8 RGB.
    """
    top, bottom, left, right = _changed_box(before, after)
    if top >= bottom:
        return planes

    # Colour is shared by neighbours: the box grows, and begins at even pixels.
    height, width = before.shape[:2]
    top = max(0, top - 2) // 2 * 2
    left = max(0, left - 2) // 2 * 2
    bottom = min(height, bottom + 2)
    right = min(width, right + 2)
    box = np.s_[top:bottom, left:right]
    color_box = np.s_[top // 2 : (bottom + 1) // 2, left // 2 : (right + 1) // 2]

    old = rgb_to_planes(before[box], planes.tags)
    new = rgb_to_planes(after[box], planes.tags)
    brightness = _add_change(planes.brightness, box, old.brightness, new.brightness)
    blue = _add_change(planes.blue, color_box, old.blue, new.blue)
    red = _add_change(planes.red, color_box, old.red, new.red)
    return Planes(brightness, blue, red, planes.tags)


def _add_change(
    plane: np.ndarray, box: tuple[slice, slice], old: np.ndarray, new: np.ndarray
) -> np.ndarray:
    """A copy of an (H, W) uint8 plane with `new - old` added inside the box."""
    changed = plane.copy()
    change = new.astype(np.int16) - old
    changed[box] = np.clip(changed[box] + change, 0, 255)
    return changed


@njit(cache=True, nogil=True)
def _clipped(value: int) -> int:
    """A fixed-point number as the nearest of 0 to 255."""
    rounded = (value + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS
    return min(max(rounded, 0), 255)


@njit(cache=True, nogil=True)
def _changed_box(before: np.ndarray, after: np.ndarray) -> tuple[int, int, int, int]:
    """The smallest box that holds all pixels in which two (H, W, 3) uint8 pictures differ.

    Args:
        before: one picture.
        after: the other.

    Returns:
        First row, row behind the last, first column, column behind the last; all 0 without any.
    """
    height, width = before.shape[:2]
    top = height
    bottom = 0
    left = width
    right = 0
    for i in range(height):
        for j in range(width):
            differs = False
            for channel in range(3):
                differs |= before[i, j, channel] != after[i, j, channel]
            if differs:
                top = min(top, i)
                bottom = i + 1
                left = min(left, j)
                right = max(right, j + 1)
    if bottom == 0:
        return 0, 0, 0, 0
    return top, bottom, left, right


@njit(cache=True, nogil=True)
def _planes_to_rgb(
    brightness: np.ndarray,
    blue: np.ndarray,
    red: np.ndarray,
    factors: np.ndarray,
    darkest: int,
    image: np.ndarray,
) -> None:
    """Fill an image; colour is interpolated between its samples, in eighths.

    A colour sample lies at an even column and between two rows.

    Args:
        brightness: (H, W) uint8.
        blue: (ceil(H / 2), ceil(W / 2)) uint8.
        red: the same.
        factors: (5,) int32: of Y, of V in red and in green, of U in green and in blue.
        darkest: the Y of black.
        image: (H, W, 3) uint8, filled.
    """
    height, width = brightness.shape
    color_height, color_width = blue.shape
    scale, red_by_red, green_by_red, green_by_blue, blue_by_blue = factors
    blue_row = np.empty(color_width + 1, np.int32)
    red_row = np.empty(color_width + 1, np.int32)
    for i in range(height):
        near = i // 2
        far = near + 1 if i % 2 else near - 1
        far = min(max(far, 0), color_height - 1)
        for j in range(color_width):
            blue_row[j] = 3 * blue[near, j] + blue[far, j] - 512
            red_row[j] = 3 * red[near, j] + red[far, j] - 512
        blue_row[color_width] = blue_row[color_width - 1]
        red_row[color_width] = red_row[color_width - 1]

        for j in range(width):
            left = j // 2
            right = left + j % 2
            u = blue_row[left] + blue_row[right]
            v = red_row[left] + red_row[right]
            y = (brightness[i, j] - darkest) * scale
            image[i, j, 0] = _clipped(y + ((red_by_red * v) >> 3))
            image[i, j, 1] = _clipped(y + ((green_by_red * v + green_by_blue * u) >> 3))
            image[i, j, 2] = _clipped(y + ((blue_by_blue * u) >> 3))


@njit(cache=True, nogil=True)
def _rgb_to_planes(
    image: np.ndarray,
    factors: np.ndarray,
    darkest: int,
    brightness: np.ndarray,
    blue: np.ndarray,
    red: np.ndarray,
) -> None:
    """Fill planes; a colour sample is the mean over two rows and, weighted 1 2 1, three columns.

    Args:
        image: (H, W, 3) uint8.
        factors: (3, 3) int32: of red, green and blue in Y, in U and in V.
        darkest: the Y of black.
        brightness: (H, W) uint8, filled.
        blue: (ceil(H / 2), ceil(W / 2)) uint8, filled.
        red: the same.
    """
    height, width = brightness.shape
    color_height, color_width = blue.shape
    for i in range(height):
        for j in range(width):
            total = darkest << FRACTION_BITS
            for channel in range(3):
                total += factors[0, channel] * image[i, j, channel]
            brightness[i, j] = _clipped(total)

    middle = 128 << FRACTION_BITS
    for i in range(color_height):
        top = 2 * i
        bottom = min(top + 1, height - 1)
        for j in range(color_width):
            centre = 2 * j
            left = max(centre - 1, 0)
            right = min(centre + 1, width - 1)
            u = 0
            v = 0
            for channel in range(3):
                upper = image[top, left, channel] + 2 * image[top, centre, channel]
                lower = image[bottom, left, channel] + 2 * image[bottom, centre, channel]
                both = upper + image[top, right, channel] + lower + image[bottom, right, channel]
                u += factors[1, channel] * both
                v += factors[2, channel] * both
            blue[i, j] = _clipped(middle + (u >> 3))
            red[i, j] = _clipped(middle + (v >> 3))
