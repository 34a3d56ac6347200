"""Face detector and 468-point face mesh: MediaPipe's models under `ai-edge-litert`.

They run on a CPU, without a network. Models (Apache-2.0, committed under `data/faces`): BlazeFace
short range, arXiv:1907.05047; Face Mesh, arXiv:1907.06724. The steps before and after the networks
are our own, from those papers and the models' cards.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cdrl.core.errors import InputError
from cdrl.core.paths import data_root
from cdrl.media.image_warp import affine_warp

DETECTOR = "face_detection_short_range.tflite"
MESH = "face_landmark.tflite"
DETECTOR_SIZE = 128  # pixels a side that the detector sees
MESH_SIZE = 192  # pixels a side that the mesh sees
# Two boxes that overlap more than this are one face.
OVERLAP = 0.3
# The mesh sees a square of this many times the face's longer side.
MARGIN = 1.5
# Mesh points, by their fixed numbers: outer corners, mid upper lip, mid lower lip, and the
# neighbours of these two.
LIPS = (61, 291, 0, 17, 37, 267, 84, 314)


class Detections(NamedTuple):
    """Faces in a picture, best first; all empty where there is none.

    Attributes:
        boxes: (F, 4) left, top, right, bottom in pixels.
        scores: (F,) 0 to 1.
        eyes: (F, 2, 2) x, y in pixels; the eye on the left of the picture first.
    """

    boxes: np.ndarray
    scores: np.ndarray
    eyes: np.ndarray


class Region(NamedTuple):
    """A turned square of a picture.

    Attributes:
        centre: (2,) x, y in pixels.
        side: pixels.
        angle: radians, clockwise on the screen.
    """

    centre: np.ndarray
    side: float
    angle: float


@cache
def _load_model(path: Path) -> Any:
    """A loaded model, one per process, single-threaded."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise InputError(
            "finding faces needs the package ai-edge-litert; run `pip install ai-edge-litert`"
        ) from error
    if not path.is_file():
        raise InputError(
            f"{path}: face model missing; restore it from the repository "
            "(git checkout -- data/faces)"
        )
    try:
        with _muted_start():
            model = Interpreter(model_path=str(path), num_threads=1)
            model.allocate_tensors()
    except ValueError as error:
        raise InputError(
            f"{path}: face model damaged; restore it (git checkout -- data/faces)"
        ) from error
    return model


@contextmanager
def _muted_start() -> Iterator[None]:
    """Mute file descriptor 2.

    LiteRT writes a note about its delegate there, past `sys.stderr`; no setting silences it.
    """
    standard_error = os.dup(2)
    null_device = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null_device, 2)
        yield
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)
        os.close(null_device)


def _run(name: str, image: np.ndarray) -> list[np.ndarray]:
    """The outputs of a model for an (H, W, 3) float32 image, without their batch axis."""
    model = _load_model(data_root() / "faces" / name)
    input_index = model.get_input_details()[0]["index"]
    model.set_tensor(input_index, image[None])
    model.invoke()
    outputs = []
    for details in model.get_output_details():
        batch = model.get_tensor(details["index"])
        outputs.append(batch[0])
    return outputs


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(logits, -80, 80)))


@cache
def _anchors() -> np.ndarray:
    """(896, 2) centres, 0 to 1: two for each cell of a 16 x 16 grid, then six for each of 8 x 8."""
    grids = []
    for cells, repeats in ((16, 2), (8, 6)):
        centres = (np.arange(cells) + 0.5) / cells
        x, y = np.meshgrid(centres, centres)
        grid = np.stack([x.ravel(), y.ravel()], axis=1)
        grids.append(np.repeat(grid, repeats, axis=0))
    return np.concatenate(grids)


def square_crop(frame: np.ndarray, region: Region, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A turned square of the frame.

    Args:
        frame: (H, W, 3) uint8 RGB.
        region: which square.
        size: pixels a side of the result.

    Returns:
        (size, size, 3) uint8, and the (2, 3) map of its coordinates to the frame's.
    """
    scale = region.side / size
    cos = scale * np.cos(region.angle)
    sin = scale * np.sin(region.angle)
    matrix = np.array([[cos, -sin, 0.0], [sin, cos, 0.0]])
    matrix[:, 2] = np.asarray(region.centre) - matrix[:, :2] @ np.full(2, size / 2)

    samples = max(1, int(np.ceil(scale - 0.25)))
    return affine_warp(frame, matrix, size, size, samples), matrix


def _search_regions(height: int, width: int) -> Iterator[Region]:
    """Yield squares to look at: the whole frame, then overlapping tiles of half and a third."""
    longer_side = max(height, width)

    yield Region(np.array([width / 2, height / 2]), float(longer_side), 0.0)

    for parts in (2, 3):
        side = longer_side / parts
        rows = _tile_centres(height, side)
        columns = _tile_centres(width, side)
        for y in rows:
            for x in columns:
                centre = np.array([x, y])
                yield Region(centre, side, 0.0)


def _tile_centres(length: int, side: float) -> np.ndarray:
    """(K,) centres of tiles of `side` pixels that cover `length` pixels and overlap by half."""
    if length <= side:
        return np.array([length / 2])
    num_tiles = max(1, int(np.ceil(2 * length / side)) - 1)
    return np.linspace(side / 2, length - side / 2, num_tiles)


def detect_faces(
    frame: np.ndarray, threshold: float = 0.5, small: bool = True, everywhere: bool = False
) -> Detections:
    """Find faces.

    Args:
        frame: (H, W, 3) uint8 RGB.
        threshold: least score, 0 to 1.
        small: when the whole frame shows none, look again at overlapping parts of it, for smaller
            faces.
        everywhere: look at these parts in any case, for smaller faces beside a large one.

    Returns:
        boxes (F, 4) left, top, right, bottom in pixels; scores (F,), best first; eyes (F, 2, 2),
        the eye on the left of the picture first. All empty where there is no face.
    """
    height, width = frame.shape[:2]

    faces: list[_Face] = []
    for number, region in enumerate(_search_regions(height, width)):
        is_enough = bool(faces) or not small
        if number == 1 and is_enough and not everywhere:
            break
        faces += _faces_in_region(frame, region, threshold)

    return _merge(faces)


class _Face(NamedTuple):
    """A detected face: score, (4,) box, (2, 2) eyes, in pixels of the frame."""

    score: float
    box: np.ndarray
    eyes: np.ndarray


def _faces_in_region(frame: np.ndarray, region: Region, threshold: float) -> list[_Face]:
    """The faces that the detector sees in a square of the (H, W, 3) frame; they may overlap."""
    image, matrix = square_crop(frame, region, DETECTOR_SIZE)
    values, logits = _run(DETECTOR, image.astype(np.float32) / 127.5 - 1)

    scores = _sigmoid(logits[:, 0])
    scale = matrix[0, 0] * DETECTOR_SIZE
    origin = matrix[:, 2]
    faces = []
    for index in np.flatnonzero(scores > threshold):
        # Centre, size, then six key points; all but the size are relative to the anchor.
        points = values[index].reshape(-1, 2) / DETECTOR_SIZE
        points[[0, *range(2, 8)]] += _anchors()[index]
        centre = points[0] * scale + origin
        eyes = points[2:4] * scale + origin
        half_size = np.abs(points[1]) * scale / 2
        box = np.concatenate([centre - half_size, centre + half_size])
        faces.append(_Face(scores[index], box, eyes))
    return faces


def _merge(faces: list[_Face]) -> Detections:
    """Average overlapping boxes, weighted by score.

    BlazeFace does this in place of suppressing all but one.
    """
    remaining = sorted(faces, key=_descending_score)
    boxes = []
    scores = []
    eyes = []
    while remaining:
        best = remaining[0]
        same: list[_Face] = []
        others: list[_Face] = []
        for face in remaining:
            overlap = intersection_over_union(best.box, face.box)
            group = same if overlap > OVERLAP else others
            group.append(face)

        weights = np.array([face.score for face in same])
        boxes.append(np.average([face.box for face in same], axis=0, weights=weights))
        eyes.append(np.average([face.eyes for face in same], axis=0, weights=weights))
        scores.append(best.score)

        remaining = others

    return Detections(
        boxes=np.array(boxes).reshape(-1, 4),
        scores=np.array(scores),
        eyes=np.array(eyes).reshape(-1, 2, 2),
    )


def _descending_score(face: _Face) -> float:
    return -face.score


def intersection_over_union(first: np.ndarray, second: np.ndarray) -> float:
    """Shared part of two boxes, 0 to 1.

    Args:
        first: (4,) left, top, right, bottom.
        second: (4,) the same for the other box.
    """
    low = np.maximum(first[:2], second[:2])
    high = np.minimum(first[2:], second[2:])
    width, height = high - low

    shared = max(width, 0.0) * max(height, 0.0)
    first_area = np.prod(first[2:] - first[:2])
    second_area = np.prod(second[2:] - second[:2])
    area = first_area + second_area - shared
    return float(shared / area) if area > 0 else 0.0


def region_of_box(box: np.ndarray, eyes: np.ndarray) -> Region:
    """The square in which the mesh looks for a detected face.

    Args:
        box: (4,) left, top, right, bottom in pixels.
        eyes: (2, 2) x, y in pixels, the eye on the left of the picture first.
    """
    low = box[:2]
    high = box[2:]
    size = high - low
    x, y = eyes[1] - eyes[0]

    return Region(
        centre=(low + high) / 2, side=MARGIN * float(max(size)), angle=float(np.arctan2(y, x))
    )


def mesh_points(frame: np.ndarray, region: Region) -> tuple[np.ndarray, float]:
    """468 surface points of the face in a region.

    Args:
        frame: (H, W, 3) uint8 RGB.
        region: where the face is.

    Returns:
        (468, 3) x, y in frame pixels and z at the same scale (smaller is nearer); the score, 0 to
        1, that this is a face: above .5 where it is.
    """
    image, matrix = square_crop(frame, region, MESH_SIZE)

    outputs = _run(MESH, image.astype(np.float32) / 255)
    flat_outputs = [output.ravel() for output in outputs]
    logit, coordinates = sorted(flat_outputs, key=len)
    points = coordinates.reshape(468, 3).astype(np.float64)

    in_frame = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    depth = points[:, 2:] * region.side / MESH_SIZE
    score = float(_sigmoid(logit[0]))
    return np.concatenate([in_frame, depth], axis=1), score
