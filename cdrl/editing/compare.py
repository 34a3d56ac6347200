"""Source, edit and, where it is known, the truth side by side, with the source's clock and sound."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cdrl.editing.pipeline import refuse_foreign
from cdrl.media.encoding import write_edit
from cdrl.media.image_warp import warp
from cdrl.media.video import read_video_stream

HEIGHT = 720  # pixels at most: three 4K pictures in a row play nowhere


def write_comparison(source: Path, edited: Path, out: Path, truth: Path | None = None) -> Path:
    """Write source | edit (| truth) into one video, any length in bounded memory.

    Args:
        source, edited: a video and its edit, of as many frames. out: an .mp4.
        truth: a video that shows what the edit should; beside each frame stands the one that is nearest in time.

    Returns:
        `out`.

    Raises:
        InputError: for a file that cannot be read, and an `out` that somebody else made.
    """
    refuse_foreign(source, out)
    shown = (
        "left source, right edit"
        if truth is None
        else "left source, middle edit, right the true recording"
    )
    write_edit(
        source, _rows(source, edited, truth), out, {"title": f"{Path(source).stem}: {shown}"}
    )
    return out


def _rows(source: Path, edited: Path, truth: Path | None) -> Iterator[np.ndarray]:
    times, height = [], None
    beside = None if truth is None else _in_step(truth, times)
    for before, after in zip(_frames(source, times), _frames(edited, []), strict=True):
        height = height or min(HEIGHT, len(before))
        row = [before, after] if beside is None else [before, after, next(beside)]
        yield np.concatenate([_scaled(picture, height) for picture in row], axis=1)


def _in_step(path: Path, times: list[float]) -> Iterator[np.ndarray]:
    """The frame nearest in time for each of `times`, which grows meanwhile; clocks begin with the first pictures."""
    own, now = [], 0
    frames = _frames(path, own)
    picture, coming, number = next(frames), next(frames, None), 0
    while True:
        wanted = times[number] - times[0]
        while coming is not None and abs(own[now + 1] - own[0] - wanted) <= abs(
            own[now] - own[0] - wanted
        ):
            picture, coming, now = coming, next(frames, None), now + 1
        yield picture
        number += 1


def _scaled(picture: np.ndarray, height: int) -> np.ndarray:
    """(H, W, 3) uint8 -> (height, an even width, 3)."""
    factor = len(picture) / height
    width = 2 * round(picture.shape[1] / factor / 2)
    if picture.shape[:2] == (height, width):
        return picture
    matrix = np.array([[picture.shape[1] / width, 0, 0], [0, factor, 0]])
    return warp(picture, matrix, height, width, max(1, int(np.ceil(factor - 0.25))))


def _frames(path: Path, times: list[float]) -> Iterator[np.ndarray]:
    for part in read_video_stream(path, frame_rate=None, chunk=1, times=times):
        yield from part
