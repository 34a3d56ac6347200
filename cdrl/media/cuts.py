"""Hard cuts of a video, found by appearance: one picture differs from the last as no other does.

The measure is the mean difference of two small pictures. Talking, walking and panning change every
frame alike; a cut changes one.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np

SIDE = 32  # cells of the small picture, across and down
SAMPLES = 128  # pixels that are looked at of the frame's shorter side
NEIGHBOURS = 3  # changes before and behind that a change is compared with
LEAST_CHANGE = 3.0  # grey levels; between two frames of a quiet talker .3 to .9, of two people 10
LEAST_RATIO = 2.5  # to the second largest change of the neighbours
NOISE = 0.5  # grey levels that are added to it: of a coded still picture


class MarkedFrame(NamedTuple):
    """A frame and whether a new shot begins with it.

    Attributes:
        frame: (H, W, 3) uint8.
        is_cut: whether it is the first of a new shot; of the first frame of all it is False.
    """

    frame: np.ndarray
    is_cut: bool


def mark_cuts(frames: Iterable[np.ndarray]) -> Iterator[MarkedFrame]:
    """Yield each frame with whether a new shot begins there.

    `NEIGHBOURS` frames are held back, no more.

    Args:
        frames: (H, W, 3) uint8 each; a change of their size is a cut.
    """
    waiting: deque[np.ndarray] = deque()
    changes: list[float] = []  # of the frames around the one that is judged
    position = 0  # in `changes`, of the frame that is judged
    previous = None
    for frame in chain(frames, [None] * NEIGHBOURS):
        if frame is not None:
            waiting.append(frame)
            small_picture = _shrink(frame)
            changes.append(_change(previous, small_picture))
            previous = small_picture

        is_known = len(changes) > position + NEIGHBOURS or frame is None
        if not is_known or not waiting:
            continue
        before = changes[max(0, position - NEIGHBOURS) : position]
        behind = changes[position + 1 : position + 1 + NEIGHBOURS]
        yield MarkedFrame(waiting.popleft(), _is_cut(changes[position], before + behind))
        position += 1
        if position > NEIGHBOURS:
            del changes[0]
            position -= 1


def _shrink(frame: np.ndarray) -> np.ndarray:
    """The means of `SIDE` by `SIDE` cells of an (H, W, 3) frame, (SIDE, SIDE, 3) float32."""
    shorter_side = min(frame.shape[:2])
    step = max(1, shorter_side // SAMPLES)
    pixels = frame[::step, ::step].astype(np.float32)

    means = pixels
    for axis in (0, 1):
        length = pixels.shape[axis]
        edges = np.linspace(0, length, min(SIDE, length) + 1).astype(int)
        sums = np.add.reduceat(means, edges[:-1], axis)
        counts = np.diff(edges)
        means = sums / np.expand_dims(counts, (1 - axis, 2))
    return means


def _change(previous: np.ndarray | None, picture: np.ndarray) -> float:
    """Mean absolute difference of two small pictures, grey levels; 0 for the first of all."""
    if previous is None:
        return 0.0
    if previous.shape != picture.shape:
        return 255.0
    return float(np.abs(picture - previous).mean())


def _is_cut(change: float, neighbours: list[float]) -> bool:
    """Whether a change is a cut.

    The largest neighbour may be another cut and does not count; at the ends of a video, where
    neighbours are few, it does.
    """
    changes = sorted(neighbours)
    if len(changes) == 2 * NEIGHBOURS:
        changes.pop()
    usual_change = max(changes, default=0.0)
    return change > LEAST_CHANGE and change > LEAST_RATIO * (usual_change + NOISE)
