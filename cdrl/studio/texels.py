"""Windows of the skin's texture, so that a line on the forehead is not painted on the neck too."""

import numpy as np

Window = tuple[slice, slice]  # rows and columns


def texel_window(
    x: np.ndarray, y: np.ndarray, low: float, high: float, half_width: float
) -> Window:
    """The texels between two heights and near the middle of the face.

    Args:
        x: (H, W) position of each texel on the average head, dm.
        y: likewise, falling with the row.
        low: lowest height, dm.
        high: highest height, dm.
        half_width: largest |x|, dm.
    """
    heights = y[:, y.shape[1] // 2]
    rows = np.flatnonzero((heights >= low) & (heights <= high))
    first_row, last_row = rows[0], rows[-1]
    nearest = np.abs(x[first_row : last_row + 1 : 4]).min(0)
    columns = np.flatnonzero(nearest <= half_width)

    return slice(first_row, last_row + 1), slice(columns[0], columns[-1] + 1)
