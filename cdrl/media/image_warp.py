"""Affine image warps: sampling an image through an affine map, and putting edited samples back.

Coordinates are continuous: pixel (row i, column j) covers [j, j + 1) x [i, i + 1), its centre is
(j + .5, i + .5), and a crop rescaled by a factor has its coordinates multiplied by it, without
half-pixel corrections. The inner loops are compiled by numba and kept on disk.
"""

import numpy as np
from numba import njit


@njit(cache=True, fastmath=True, nogil=True)
def affine_warp(
    image: np.ndarray, matrix: np.ndarray, height: int, width: int, samples: int
) -> np.ndarray:
    """Bilinear resampling of an image through an affine map; outside, the edge pixels repeat.

    Args:
        image: (H, W, 3) uint8.
        matrix: (2, 3) float, output coordinates -> image coordinates.
        height: of the output.
        width: of the output.
        samples: points per output pixel and axis that are averaged; the factor of shrinking,
            rounded up, prevents aliasing.

    Returns:
        (height, width, 3) uint8; the identity matrix returns the image itself.
    """
    rows = image.shape[0]
    columns = image.shape[1]
    out = np.empty((height, width, 3), np.uint8)
    weight = 1.0 / (samples * samples)
    step = 1.0 / samples
    for i in range(height):
        for j in range(width):
            red = 0.0
            green = 0.0
            blue = 0.0
            for k in range(samples):
                v = i + (k + 0.5) * step
                for m in range(samples):
                    u = j + (m + 0.5) * step
                    x = matrix[0, 0] * u + matrix[0, 1] * v + matrix[0, 2] - 0.5
                    y = matrix[1, 0] * u + matrix[1, 1] * v + matrix[1, 2] - 0.5
                    x = min(max(x, 0.0), columns - 1.0)
                    y = min(max(y, 0.0), rows - 1.0)

                    left = int(x)
                    top = int(y)
                    right = min(left + 1, columns - 1)
                    bottom = min(top + 1, rows - 1)
                    # Bilinear weights of the four neighbours.
                    fx = x - left
                    fy = y - top
                    a = (1 - fx) * (1 - fy)
                    b = fx * (1 - fy)
                    c = (1 - fx) * fy
                    d = fx * fy

                    red += a * image[top, left, 0] + b * image[top, right, 0]
                    red += c * image[bottom, left, 0] + d * image[bottom, right, 0]
                    green += a * image[top, left, 1] + b * image[top, right, 1]
                    green += c * image[bottom, left, 1] + d * image[bottom, right, 1]
                    blue += a * image[top, left, 2] + b * image[top, right, 2]
                    blue += c * image[bottom, left, 2] + d * image[bottom, right, 2]
            out[i, j, 0] = int(red * weight + 0.5)
            out[i, j, 1] = int(green * weight + 0.5)
            out[i, j, 2] = int(blue * weight + 0.5)
    return out


@njit(cache=True, fastmath=True, nogil=True)
def _bilinear(plane: np.ndarray, x: float, y: float, channel: int) -> float:
    """Value of a (K, K, 3) array at pixel-centre coordinates; edges repeat."""
    last = plane.shape[0] - 1
    x = min(max(x, 0.0), float(last))
    y = min(max(y, 0.0), float(last))
    left = int(x)
    top = int(y)
    right = min(left + 1, last)
    bottom = min(top + 1, last)
    fx = x - left
    fy = y - top
    upper = (1 - fx) * plane[top, left, channel] + fx * plane[top, right, channel]
    lower = (1 - fx) * plane[bottom, left, channel] + fx * plane[bottom, right, channel]
    return (1 - fy) * upper + fy * lower


@njit(cache=True, fastmath=True, nogil=True)
def add_difference(
    frame: np.ndarray,
    edited: np.ndarray,
    original: np.ndarray,
    inverse: np.ndarray,
    feather: float,
    keep: float,
) -> None:
    """Add `edited - original` (crops) to the frame in place, softly masked.

    See `cdrl.media.faces.paste`.

    Args:
        frame: (H, W, 3) uint8, changed in place.
        edited: (K, K, 3) uint8.
        original: (K, K, 3) uint8.
        inverse: (2, 3) frame coordinates -> crop coordinates in [0, K].
        feather: width of the soft border, fraction of K.
        keep: difference (grey levels) at which the frame's own fine detail has faded to 1/e.
    """
    size = edited.shape[0]
    rows = frame.shape[0]
    columns = frame.shape[1]
    for i in range(rows):
        for j in range(columns):
            u = inverse[0, 0] * (j + 0.5) + inverse[0, 1] * (i + 0.5) + inverse[0, 2]
            v = inverse[1, 0] * (j + 0.5) + inverse[1, 1] * (i + 0.5) + inverse[1, 2]
            edge = min(min(u, size - u), min(v, size - v)) / (feather * size)
            if edge <= 0:
                continue
            edge = min(edge, 1.0)
            mask = edge * edge * (3 - 2 * edge)

            largest = 0.0
            for channel in range(3):
                after = _bilinear(edited, u - 0.5, v - 0.5, channel)
                before = _bilinear(original, u - 0.5, v - 0.5, channel)
                largest = max(largest, abs(after - before))
            if largest == 0.0:
                continue

            fade = 1 - np.exp(-((largest / keep) ** 2))
            for channel in range(3):
                after = _bilinear(edited, u - 0.5, v - 0.5, channel)
                before = _bilinear(original, u - 0.5, v - 0.5, channel)
                detail = frame[i, j, channel] - before
                value = frame[i, j, channel] + mask * (after - before - fade * detail)
                frame[i, j, channel] = int(min(max(value, 0.0), 255.0) + 0.5)
