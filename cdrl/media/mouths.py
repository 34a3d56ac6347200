"""Where the mouth is in face crops that somebody else made: found in the pixels, else where an aligned crop has it."""

import numpy as np

from cdrl.core.errors import InputError
from cdrl.media.faces import CROP_SIZE, align, find_face

# Of an aligned crop, relative: mean mouth box of the six sample clips and of 630 studio clips (each coordinate +- .01); eyes.
DEFAULT_MOUTH_BOX = (0.27, 0.48, 0.74, 0.79)
EYES = ((0.33, 0.254), (0.67, 0.254))
LOOKS = 5  # at most, in one clip


def mouth_box(frames: np.ndarray) -> np.ndarray:
    """(4,) left, top, right, bottom of the mouth, 0 to 1, in (T, H, W, 3) uint8 crops of one face; one box for the clip.

    The box is that of `faces.align`, of fixed size about the lips. `DEFAULT_MOUTH_BOX` where no face, or more than one, is found.
    """
    try:
        found = align(frames, stride=max(2, -(-len(frames) // (LOOKS - 1))), find=_find)
    except InputError:
        return np.array(DEFAULT_MOUTH_BOX)
    left, top, right, bottom = found.mouth_box * CROP_SIZE
    corners = np.array([[left, right, left, right], [top, top, bottom, bottom], [1, 1, 1, 1]])
    placed = (np.median(found.transforms, axis=0) @ corners).T / frames.shape[2:0:-1]
    box = np.clip(np.concatenate([placed.min(axis=0), placed.max(axis=0)]), 0, 1)
    return box if (box[2:] - box[:2]).min() > 0.05 else np.array(DEFAULT_MOUTH_BOX)


def _find(index: int, frame: np.ndarray, small: bool) -> tuple:
    """The kit's detector; where it sees nothing, the place of the face in an aligned crop, for the mesh to decide."""
    boxes, scores, eyes = find_face(index, frame, False)
    if len(boxes):
        return boxes, scores, eyes
    height, width = frame.shape[:2]
    return (
        np.array([[0.15 * width, 0.1 * height, 0.85 * width, 0.95 * height]]),
        np.ones(1),
        np.array([EYES]) * (width, height),
    )
