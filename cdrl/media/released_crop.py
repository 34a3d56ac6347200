"""The crop of the CDRL release, for comparison: the box of 68 landmarks, stretched to a square.

The release shrinks a frame to 224 x 224, looks for 68 landmarks, takes their box with a tenth of
its width and height added on each side, and resizes that to a square; every frame by itself. This
module computes box and stretch, on the frame as it is: the small picture between would only cost
detail. So open jaws and raised brows move the whole crop, and a turned head narrows it.
"""

import numpy as np

# Of the 68 landmarks those that can bound the box, in the kit's mesh: from ear to ear, and brows.
JAW_LINE = (127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356)
BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
OUTLINE = JAW_LINE + BROWS
MARGIN = 0.1  # of the box's width on its left and right, of its height above and below


def landmark_box(points: np.ndarray) -> np.ndarray:
    """The box of landmarks, `MARGIN` wider on each side.

    Args:
        points: (L, 2) x, y.

    Returns:
        (4,) left, top, right, bottom; same unit.
    """
    low = points.min(axis=0)
    high = points.max(axis=0)
    margin = MARGIN * (high - low)
    return np.concatenate([low - margin, high + margin])


def box_transforms(boxes: np.ndarray, size: float) -> np.ndarray:
    """Maps from coordinates of the stretched crop to frame pixels.

    Each axis has a scale of its own, and there is no turn; invertible, for a box has an area.

    Args:
        boxes: (T, 4) left, top, right, bottom, frame pixels.
        size: of the crop: its coordinates go from 0 to `size` on both axes.

    Returns:
        (T, 2, 3) float64.
    """
    transforms = np.zeros((len(boxes), 2, 3))
    transforms[:, [0, 1], [0, 1]] = (boxes[:, 2:] - boxes[:, :2]) / size
    transforms[:, :, 2] = boxes[:, :2]
    return transforms
