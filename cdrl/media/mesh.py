"""Face detector and 468-point face mesh: MediaPipe's models under `ai-edge-litert`, on a CPU, without a network.

Models (Apache-2.0, committed under `data/faces`): BlazeFace short range, arXiv:1907.05047; Face Mesh,
arXiv:1907.06724. Pre- and postprocessing here are our own, from those papers and the models' cards.
"""

import os
from contextlib import contextmanager
from functools import cache

import numpy as np

from cdrl.core.errors import InputError
from cdrl.core.paths import data_root
from cdrl.media.image_warp import affine_warp

DETECTOR, MESH = "face_detection_short_range.tflite", "face_landmark.tflite"
# Two boxes that overlap more than this are one face.
OVERLAP = 0.3
# The mesh sees a square of this many times the face's longer side.
MARGIN = 1.5
# Mesh points, by their fixed numbers. Left and right are the picture's.
LEFT_EYE, RIGHT_EYE = (33, 133), (362, 263)  # outer and inner, inner and outer corner
LIPS = (
    61,
    291,
    0,
    17,
    37,
    267,
    84,
    314,
)  # outer corners, mid upper and lower lip and their neighbours


@cache
def _interpreter(name: str):
    """A loaded model, one per process, single-threaded."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise InputError(
            "finding faces needs the package ai-edge-litert; run `pip install ai-edge-litert`"
        ) from error
    path = data_root() / "faces" / name
    if not path.is_file():
        raise InputError(
            f"{path}: face model missing; restore it from the repository (git checkout -- data/faces)"
        )
    try:
        with _without_start_up_note():
            model = Interpreter(model_path=str(path), num_threads=1)
            model.allocate_tensors()
    except ValueError as error:
        raise InputError(
            f"{path}: face model damaged; restore it (git checkout -- data/faces)"
        ) from error
    return model


@contextmanager
def _without_start_up_note():
    """LiteRT writes a note about its delegate to file descriptor 2, past `sys.stderr`; no setting silences it."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _run(name: str, image: np.ndarray) -> list[np.ndarray]:
    model = _interpreter(name)
    model.set_tensor(model.get_input_details()[0]["index"], image[None])
    model.invoke()
    return [model.get_tensor(output["index"])[0] for output in model.get_output_details()]


@cache
def _anchors() -> np.ndarray:
    """(896, 2) centres, 0 to 1: two for each cell of a 16 x 16 grid, then six for each of an 8 x 8 grid."""
    grids = []
    for cells, repeats in ((16, 2), (8, 6)):
        centres = (np.arange(cells) + 0.5) / cells
        x, y = np.meshgrid(centres, centres)
        grids.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), repeats, axis=0))
    return np.concatenate(grids)


def square_crop(
    frame: np.ndarray, centre, side: float, angle: float, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """A rotated square of the frame.

    Args:
        centre: (2,) x, y in frame pixels. side: frame pixels. angle: radians, clockwise on the screen.

    Returns:
        (size, size, 3) uint8, and the (2, 3) map of its coordinates to the frame's.
    """
    scale = side / size
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[cos, -sin, 0.0], [sin, cos, 0.0]])
    matrix[:, 2] = np.asarray(centre) - matrix[:, :2] @ np.full(2, size / 2)
    return affine_warp(frame, matrix, size, size, max(1, int(np.ceil(scale - 0.25)))), matrix


def _windows(height: int, width: int):
    """(centre x, centre y, side) of squares to look at: the whole frame, then tiles of half and a third of it."""
    yield width / 2, height / 2, float(max(height, width))
    for part in (2, 3):
        side = max(height, width) / part
        xs = np.linspace(side / 2, width - side / 2, max(1, int(np.ceil(2 * width / side)) - 1))
        ys = np.linspace(side / 2, height - side / 2, max(1, int(np.ceil(2 * height / side)) - 1))
        for y in ys if height > side else [height / 2]:
            for x in xs if width > side else [width / 2]:
                yield x, y, side


def detect_faces(
    frame: np.ndarray, threshold: float = 0.5, small: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find faces.

    Args:
        frame: (H, W, 3) uint8 RGB. threshold: least score, 0 to 1.
        small: when the whole frame shows none, look again at overlapping parts of it, for smaller faces.

    Returns:
        boxes (F, 4) left, top, right, bottom in pixels; scores (F,), best first; eyes (F, 2, 2), the eye on the
        left of the picture first. All empty where there is no face.
    """
    found = []
    for number, (x, y, side) in enumerate(_windows(*frame.shape[:2])):
        if number == 1 and (found or not small):
            break
        image, matrix = square_crop(frame, (x, y), side, 0.0, 128)
        values, logits = _run(DETECTOR, image.astype(np.float32) / 127.5 - 1)
        scores = 1 / (1 + np.exp(-np.clip(logits[:, 0], -80, 80)))
        for index in np.flatnonzero(scores > threshold):
            points = values[index].reshape(-1, 2) / 128
            points[[0, *range(2, 8)]] += _anchors()[
                index
            ]  # centre and key points are relative to the anchor
            scale = matrix[0, 0] * 128
            centre, eyes = points[0] * scale + matrix[:, 2], points[2:4] * scale + matrix[:, 2]
            half = np.abs(points[1]) * scale / 2
            found.append((scores[index], np.concatenate([centre - half, centre + half]), eyes))
    return _merge(found)


def _merge(found: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average overlapping boxes, weighted by score: what BlazeFace does in place of suppressing all but one."""
    found = sorted(found, key=lambda f: -f[0])
    boxes, scores, eyes = [], [], []
    while found:
        overlap = [intersection_over_union(found[0][1], box) for _, box, _ in found]
        same = [f for f, o in zip(found, overlap, strict=True) if o > OVERLAP]
        weights = np.array([f[0] for f in same])
        boxes.append(np.average([f[1] for f in same], axis=0, weights=weights))
        eyes.append(np.average([f[2] for f in same], axis=0, weights=weights))
        scores.append(same[0][0])
        found = [f for f, o in zip(found, overlap, strict=True) if o <= OVERLAP]
    return np.array(boxes).reshape(-1, 4), np.array(scores), np.array(eyes).reshape(-1, 2, 2)


def intersection_over_union(one: np.ndarray, other: np.ndarray) -> float:
    """Shared part of two boxes (left, top, right, bottom), 0 to 1."""
    width, height = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = max(width, 0.0) * max(height, 0.0)
    area = np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared
    return float(shared / area) if area > 0 else 0.0


def region_of_box(box: np.ndarray, eyes: np.ndarray) -> tuple[np.ndarray, float, float]:
    """(centre, side, angle) of the square in which the mesh looks for a detected face."""
    across = eyes[1] - eyes[0]
    return (
        (box[:2] + box[2:]) / 2,
        MARGIN * float(max(box[2:] - box[:2])),
        float(np.arctan2(across[1], across[0])),
    )


def mesh_points(
    frame: np.ndarray, region: tuple[np.ndarray, float, float]
) -> tuple[np.ndarray, float]:
    """468 surface points of the face in a region.

    Args:
        frame: (H, W, 3) uint8 RGB. region: centre (2,) and side in pixels, angle in radians.

    Returns:
        (468, 3) x, y in frame pixels and z at the same scale (smaller is nearer); the score, 0 to 1, that this is a
        face: above .5 where it is.
    """
    image, matrix = square_crop(frame, *region, 192)
    outputs = _run(MESH, image.astype(np.float32) / 255)
    points, logit = sorted((output.ravel() for output in outputs), key=len, reverse=True)
    points = points.reshape(468, 3).astype(np.float64)
    flat = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    depth = points[:, 2:] * region[1] / 192
    return np.concatenate([flat, depth], axis=1), float(
        1 / (1 + np.exp(-np.clip(logit[0], -80, 80)))
    )
