"""Where the mouth is in face crops that another program made.

It is found in the pixels; where that fails, the box is that of an aligned crop.
"""

import numpy as np

from cdrl.core.errors import InputError
from cdrl.media.faces import CROP_SIZE, Alignment, align, find_face
from cdrl.media.mesh import Detections

# In an aligned crop, relative: mean mouth box of the six sample clips and of 630 studio clips (each
# coordinate +- .01); and the eyes.
DEFAULT_MOUTH_BOX = (0.27, 0.48, 0.74, 0.79)
DEFAULT_EYES = ((0.33, 0.254), (0.67, 0.254))
DEFAULT_FACE_BOX = (0.15, 0.1, 0.85, 0.95)
KEY_FRAMES = 5  # looked at in one clip, at most
LEAST_SIDE = 0.05  # of a mouth box, relative; a smaller one was clipped away


def mouth_box(frames: np.ndarray) -> np.ndarray:
    """The box of the mouth in crops of one face; one box for the clip.

    It is the box of `faces.align`, of fixed size about the lips.

    Args:
        frames: (T, H, W, 3) uint8.

    Returns:
        (4,) left, top, right, bottom, 0 to 1; `DEFAULT_MOUTH_BOX` where no face, or more than one,
        is found.
    """
    stride = max(2, -(-len(frames) // (KEY_FRAMES - 1)))
    try:
        alignment = align(frames, stride=stride, detector=_find_face_in_crop)
    except InputError:
        return np.array(DEFAULT_MOUTH_BOX)

    height, width = frames.shape[1:3]
    box = _in_frame(alignment, height, width)
    sides = box[2:] - box[:2]
    return box if sides.min() > LEAST_SIDE else np.array(DEFAULT_MOUTH_BOX)


def _in_frame(alignment: Alignment, height: int, width: int) -> np.ndarray:
    """(4,) the alignment's mouth box in the frame, relative to its size, 0 to 1."""
    left, top, right, bottom = alignment.mouth_box * CROP_SIZE
    corners = np.array([[left, right, left, right], [top, top, bottom, bottom], [1, 1, 1, 1]])
    transform = np.median(alignment.transforms, axis=0)
    in_frame = (transform @ corners).T / (width, height)

    box = np.concatenate([in_frame.min(axis=0), in_frame.max(axis=0)])
    return np.clip(box, 0, 1)


def _find_face_in_crop(index: int, frame: np.ndarray, small: bool) -> Detections:
    """The kit's detector; where it finds no face, that of an aligned crop.

    The mesh then decides whether there is a face.

    Args:
        index: number of the frame.
        frame: (H, W, 3) uint8.
        small: not used; the face fills the crop.
    """
    detections = find_face(index, frame, False)
    if len(detections.boxes):
        return detections
    height, width = frame.shape[:2]
    left, top, right, bottom = DEFAULT_FACE_BOX
    box = [left * width, top * height, right * width, bottom * height]
    eyes = np.array([DEFAULT_EYES]) * (width, height)
    return Detections(np.array([box]), np.ones(1), eyes)
