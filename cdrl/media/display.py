"""How a stored picture is shown: the shape of its pixels and the display matrix of its file.

Both readers and writers work on the picture as it is shown, upright and with square pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.buffer import Buffer
from av.sidedata.sidedata import Type

from cdrl.media.colour import (
    ColourTags,
    Planes,
    change_planes,
    frame_planes,
    planes_to_rgb,
    rgb_to_planes,
    tags_of,
)
from cdrl.media.image_warp import affine_warp

# Width of a pixel by its height; a file that states another one is not believed.
NARROWEST_PIXEL = 0.2
WIDEST_PIXEL = 5
ONE = 1 << 16  # in the fixed-point numbers of a display matrix
# A matrix this near to quarter turns and mirrors is one.
TURN_TOLERANCE = 0.01


@dataclass(frozen=True)
class Turn:
    """A quarter turn, a mirror, or both: pixels change their places and nothing else.

    Attributes:
        swaps: whether rows become columns, before anything is mirrored.
        flips_rows: whether the picture is turned upside down.
        flips_columns: whether left and right are exchanged.
    """

    swaps: bool = False
    flips_rows: bool = False
    flips_columns: bool = False

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W, ...) pixels turned; (W, H, ...) where rows become columns."""
        if self.swaps:
            pixels = pixels.swapaxes(0, 1)
        if self.flips_rows:
            pixels = pixels[::-1]
        if self.flips_columns:
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(pixels)


@dataclass(frozen=True)
class Display:
    """How the pictures of a file are shown.

    Attributes:
        width: of the shown picture, pixels.
        height: of the shown picture, pixels.
        square_size: (width, height) before turning, with square pixels.
        turn: how it is turned, where that is exact.
        matrix: (2, 2) of a display matrix that is no turn, shown x and y from stored ones; or None.
    """

    width: int
    height: int
    square_size: tuple[int, int]
    turn: Turn
    matrix: np.ndarray | None = None


def display_of(frame: av.VideoFrame, pixel_aspect: Fraction | None) -> Display:
    """How a frame is shown.

    Args:
        frame: as decoded; its side data hold the display matrix.
        pixel_aspect: width of a pixel by its height; None or an absurd one is taken as 1.
    """
    width = frame.width
    height = frame.height
    if pixel_aspect and pixel_aspect != 1 and NARROWEST_PIXEL < pixel_aspect < WIDEST_PIXEL:
        width = 2 * round(frame.width * float(pixel_aspect) / 2)  # even, as H.264 needs it

    matrix = _display_matrix(frame)
    turn = _exact_turn(matrix)
    if turn is None:
        shown_size = _size_of_box(matrix, width, height)
        return Display(*shown_size, (width, height), Turn(), matrix)
    shown_size = (height, width) if turn.swaps else (width, height)
    return Display(*shown_size, (width, height), turn)


def _display_matrix(frame: av.VideoFrame) -> np.ndarray:
    """(2, 2) float, shown (x, y) = matrix @ stored (x, y), its area kept; 1 where it has none."""
    side_data = cast(Mapping[Type, Buffer], frame.side_data)
    if Type.DISPLAYMATRIX not in side_data:
        return np.eye(2)
    stored = bytes(side_data[Type.DISPLAYMATRIX])
    numbers = np.frombuffer(stored, np.int32).reshape(3, 3)
    matrix = numbers[:2, :2].T / ONE
    area = abs(np.linalg.det(matrix))
    if area < TURN_TOLERANCE:
        return np.eye(2)
    return matrix / np.sqrt(area)


def _exact_turn(matrix: np.ndarray) -> Turn | None:
    """The quarter turn or mirror that a (2, 2) display matrix is; None for any other."""
    rounded = np.round(matrix)
    is_turn = np.abs(matrix - rounded).max() < TURN_TOLERANCE and abs(np.linalg.det(rounded)) == 1
    if not is_turn or np.abs(rounded).sum() != 2:
        return None
    (across, across_by_rows), (down_by_columns, down) = rounded
    return Turn(
        swaps=across == 0,
        flips_rows=down + down_by_columns < 0,
        flips_columns=across + across_by_rows < 0,
    )


def _size_of_box(matrix: np.ndarray, width: int, height: int) -> tuple[int, int]:
    """Width and height of the upright box around a turned picture, pixels."""
    box = np.abs(matrix) @ (width, height)
    box_width, box_height = np.round(box).astype(int)
    return max(2, int(box_width)), max(2, int(box_height))


@dataclass(frozen=True)
class Shown:
    """A picture as it is shown.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        planes: of the same picture, where no pixel had to be invented; else None.
        tags: of the frame.
    """

    image: np.ndarray
    planes: Planes | None
    tags: ColourTags

    def edited_planes(self, image: np.ndarray, tags: ColourTags) -> Planes:
        """The planes of an edit of the picture; what was not edited keeps its numbers.

        Args:
            image: (H, W, 3) uint8 RGB, of any size; of another size it is another picture.
            tags: of the file that is written.
        """
        if self.planes is None or image.shape != self.image.shape or tags != self.tags:
            return rgb_to_planes(image, tags)
        return change_planes(self.planes, self.image, image)


class Screen:
    """Shows the frames of a file in one size, that of its first frame.

    Args:
        pixel_aspect: width of a pixel by its height.
    """

    def __init__(self, pixel_aspect: Fraction | None) -> None:
        self.pixel_aspect = pixel_aspect
        self.first: Display | None = None
        self.is_scaled = False  # whether a frame of another size came

    def display(self, frame: av.VideoFrame) -> Display:
        """How a frame is shown by its own file, before it gets the size of the first frame."""
        display = display_of(frame, self.pixel_aspect)
        if self.first is None:
            self.first = display
        return display

    def show(self, frame: av.VideoFrame) -> Shown:
        """A decoded frame as it is shown."""
        display = self.display(frame)
        assert self.first is not None
        shown_size = (self.first.width, self.first.height)
        tags = tags_of(frame)
        if (display.width, display.height) != shown_size:
            self.is_scaled = True

        if display.matrix is not None:
            flat = planes_to_rgb(frame_planes(frame, *display.square_size))
            image = _turned_freely(flat, display, display.matrix)
            return Shown(_resized(image, shown_size), None, tags)

        square_size = shown_size[::-1] if display.turn.swaps else shown_size
        planes = frame_planes(frame, *square_size)
        turned = Planes(
            display.turn.apply(planes.brightness),
            display.turn.apply(planes.blue),
            display.turn.apply(planes.red),
            tags,
        )
        return Shown(planes_to_rgb(turned), turned, tags)


def _turned_freely(image: np.ndarray, display: Display, matrix: np.ndarray) -> np.ndarray:
    """An image turned by a display matrix that is no quarter turn; black around it.

    Args:
        image: (H, W, 3) uint8.
        display: how it is shown.
        matrix: (2, 2), shown x and y from stored ones.
    """
    border = 1  # pixels of black, which the warp repeats outside
    both_sides = (border, border)
    framed = np.pad(image, (both_sides, both_sides, (0, 0)))

    shown_size = np.array([display.width, display.height])
    shown_centre = shown_size / 2
    stored_size = np.array(display.square_size)
    stored_centre = stored_size / 2 + border

    inverse = np.linalg.inv(matrix)
    turned_centre = inverse @ shown_centre
    offset = stored_centre - turned_centre
    to_stored = np.column_stack([inverse, offset])
    return affine_warp(framed, to_stored, display.height, display.width, 1)


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 -> (height, width, 3), from `size` (width, height)."""
    width, height = size
    if image.shape[:2] == (height, width):
        return image
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    return frame.reformat(width, height).to_ndarray()
