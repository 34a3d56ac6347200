"""The crop of the CDRL release, beside the kit's own: the box of 68 landmarks, a tenth wider on every side, made square by stretching.

The release shrinks a frame to 224 x 224, looks for 68 landmarks, takes their box with a tenth of its width and height added on each
side, and resizes that to a square; every frame by itself. Box and stretch are what this module computes, on the frame as it is: the
small picture between would only cost detail. So open jaws and raised brows move the whole crop, and a turned head narrows it.
"""

import numpy as np

# Of the 68 places those that can bound the box, in the kit's mesh: jaw line from ear to ear, then both brows.
OUTLINE = (
    127,
    234,
    93,
    58,
    172,
    136,
    149,
    148,
    152,
    377,
    378,
    365,
    397,
    288,
    323,
    454,
    356,
    70,
    63,
    105,
    66,
    107,
    336,
    296,
    334,
    293,
    300,
)
MARGIN = 0.1  # of the box's width on its left and right, of its height above and below


def landmark_box(points: np.ndarray) -> np.ndarray:
    """(L, 2) landmarks -> (4,) left, top, right, bottom of their box, `MARGIN` wider on each side; same unit."""
    low, high = points.min(axis=0), points.max(axis=0)
    return np.concatenate([low - MARGIN * (high - low), high + MARGIN * (high - low)])


def box_transforms(boxes: np.ndarray, size: float) -> np.ndarray:
    """Boxes (T, 4) in frame pixels -> (T, 2, 3) maps from crop coordinates, 0 to `size` on both axes, to frame pixels.

    An axis of its own scale each, no turn; invertible, for a box has an area.
    """
    maps = np.zeros((len(boxes), 2, 3))
    maps[:, [0, 1], [0, 1]] = (boxes[:, 2:] - boxes[:, :2]) / size
    maps[:, :, 2] = boxes[:, :2]
    return maps
