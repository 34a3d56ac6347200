"""Source, edit and, where it is known, the truth side by side.

Clock and sound are the source's.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cdrl.editing.output_paths import check_out_file
from cdrl.media.encoding import write_edit
from cdrl.media.image_warp import affine_warp
from cdrl.media.inspection import single_frames

MAX_HEIGHT = 720  # pixels: three 4K images in a row play nowhere


def write_comparison(source: Path, edited: Path, out: Path, truth: Path | None = None) -> Path:
    """Write source | edit (| truth) into one video, any length in bounded memory.

    Args:
        source: a video.
        edited: its edit, of as many frames.
        out: an .mp4.
        truth: a video that shows what the edit should; beside each frame stands the one that is
            nearest in time.

    Returns:
        `out`.

    Raises:
        InputError: for a file that cannot be read, and an `out` that this kit did not make.
    """
    check_out_file(source, out)
    columns = "left source, right edit"
    if truth is not None:
        columns = "left source, middle edit, right the true recording"
    title = f"{Path(source).stem}: {columns}"
    write_edit(source, _rows(source, edited, truth), out, {"title": title}, _say_nothing)
    return out


def _say_nothing(line: str) -> None:
    """What becomes of the source's tracks was said by its edit."""


def _rows(source: Path, edited: Path, truth: Path | None) -> Iterator[np.ndarray]:
    """Each frame of the source beside its edit and the truth, (H, W', 3) uint8."""
    times: list[float] = []
    truth_frames = None
    if truth is not None:
        truth_frames = _nearest_frames(truth, times)

    height = None
    source_frames = single_frames(source, times)
    for before, after in zip(source_frames, single_frames(edited), strict=True):
        images = [before, after]
        if truth_frames is not None:
            images.append(next(truth_frames))
        if height is None:
            height = min(MAX_HEIGHT, len(before))
        scaled = [_scale_to_height(image, height) for image in images]
        yield np.concatenate(scaled, axis=1)


def _nearest_frames(path: Path, source_times: list[float]) -> Iterator[np.ndarray]:
    """The frame of a video nearest in time to each frame of the source; both clocks start at 0.

    Args:
        path: of the video.
        source_times: seconds of the source's frames; it has grown by one before each frame is asked
            for.
    """
    times: list[float] = []
    frames = single_frames(path, times)
    current = next(frames)
    following = next(frames, None)
    current_index = 0
    source_index = 0
    while True:
        seconds = source_times[source_index] - source_times[0]
        while following is not None:
            distance = abs(times[current_index] - times[0] - seconds)
            following_distance = abs(times[current_index + 1] - times[0] - seconds)
            if following_distance > distance:
                break
            current = following
            following = next(frames, None)
            current_index += 1
        yield current
        source_index += 1


def _scale_to_height(image: np.ndarray, height: int) -> np.ndarray:
    """(H, W, 3) uint8 -> (height, an even width, 3)."""
    source_height, source_width = image.shape[:2]

    factor = source_height / height
    width = 2 * round(source_width / factor / 2)
    if (source_height, source_width) == (height, width):
        return image

    across = source_width / width
    matrix = np.array([[across, 0, 0], [0, factor, 0]])
    samples = max(1, int(np.ceil(factor - 0.25)))
    return affine_warp(image, matrix, height, width, samples)
