"""Who finds the face: the embedded detector, another one that is installed, or boxes that were found before.

All are called alike, `find(index, frame, small) -> boxes, scores, eyes` (see `faces.find_face`), and only say where to
look: mesh, alignment and crop are the same for each, so that crops of all corpora and of a user's video are alike.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError
from cdrl.media.faces import MAXIMUM_GAP, find_face

BOX_COLUMNS = ["frame", "left", "top", "right", "bottom"]


@cache
def load_detector(name: str) -> Callable:
    """A detector by name; models are loaded once a process.

    Args:
        name: embedded, mediapipe, facenet-pytorch, or `module:function` for one of your own.

    Raises:
        InputError: for an unknown name, and for a package that is not installed.
    """
    if name in DETECTORS:
        return DETECTORS[name]()
    module, colon, function = name.partition(":")
    if not colon:
        raise InputError(
            f"unknown detector {name!r}: accepted are {', '.join(DETECTORS)}, or module:function of your own"
        )
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"detector {name}: cannot be imported ({error}); give module:function that Python finds"
        ) from error


def _mediapipe() -> Callable:
    try:
        from mediapipe.python.solutions.face_detection import FaceDetection
    except ImportError as error:
        raise InputError(
            "detector mediapipe: no version that holds its models is installed; 0.10.21 and older do and need numpy below 2: "
            'pip install "mediapipe<=0.10.21", or --detector embedded'
        ) from error
    model = FaceDetection(model_selection=1, min_detection_confidence=0.5)

    def find(index: int, frame: np.ndarray, small: bool):
        height, width = frame.shape[:2]
        found = sorted(model.process(frame).detections or [], key=lambda face: -face.score[0])
        areas = [face.location_data.relative_bounding_box for face in found]
        boxes = [
            [
                a.xmin * width,
                a.ymin * height,
                (a.xmin + a.width) * width,
                (a.ymin + a.height) * height,
            ]
            for a in areas
        ]
        eyes = [
            [[p.x * width, p.y * height] for p in face.location_data.relative_keypoints[:2]]
            for face in found
        ]
        return _faces(boxes, [face.score[0] for face in found], eyes)

    return find


def _facenet() -> Callable:
    try:
        from facenet_pytorch import MTCNN
    except ImportError as error:
        raise InputError(
            "detector facenet-pytorch: not installed; pip install --no-deps facenet-pytorch, or --detector embedded"
        ) from error
    model = MTCNN(keep_all=True, device="cpu")

    def find(index: int, frame: np.ndarray, small: bool):
        boxes, scores, points = model.detect(frame, landmarks=True)
        if boxes is None:
            return _faces([], [], [])
        sure = scores > 0.9
        return _faces(boxes[sure], scores[sure], points[sure, :2])

    return find


DETECTORS = {"embedded": lambda: find_face, "mediapipe": _mediapipe, "facenet-pytorch": _facenet}


def _faces(boxes, scores, eyes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shapes = ((boxes, (-1, 4)), (scores, (-1,)), (eyes, (-1, 2, 2)))
    return tuple(np.asarray(values, float).reshape(shape) for values, shape in shapes)


def box_file(folder: Path, name: str) -> Path:
    """The file with a clip's boxes: FOLDER/NAME.csv or .npz.

    Raises:
        InputError: where there is neither.
    """
    for suffix in (".csv", ".npz"):
        if (path := Path(folder) / f"{name}{suffix}").is_file():
            return path
    raise InputError(f"no boxes: neither {name}.csv nor {name}.npz is in the folder of boxes")


def read_boxes(path: Path) -> np.ndarray:
    """(N, 5) float64: frame, left, top, right, bottom, sorted by frame.

    A CSV has these columns; an .npz the arrays `frame` (N,) and `boxes` (N, 4). Frames count the file's own, from 0;
    pixels are those of the upright picture.

    Raises:
        InputError: for other columns or shapes, an empty file, and numbers that are none.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path) as held:
                table = np.column_stack([held["frame"], held["boxes"]]).astype(float)
        else:
            table = pd.read_csv(path)[BOX_COLUMNS].to_numpy(float)
    except (KeyError, ValueError, OSError) as error:  # parser errors of pandas are ValueErrors
        table, reason = np.zeros((0, 5)), f" ({str(error).splitlines()[0]})"
    else:
        reason = ""
    if not len(table) or table.shape[1] != 5 or not np.isfinite(table).all():
        raise InputError(
            f"boxes {path.name}: not readable{reason}; a CSV with the columns {', '.join(BOX_COLUMNS)}, or an .npz with "
            "frame (N,) and boxes (N, 4), is needed"
        )
    return table[np.argsort(table[:, 0], kind="stable")]


class GivenBoxes:
    """A detector that looks up boxes found before; it decides who is meant where several people are seen.

    Args:
        table: as `read_boxes` returns it. times: timestamps (s) of the file's own frames, growing as they are decoded.
        frame_rate: of the frames that are asked for, Hz.
    """

    def __init__(self, table: np.ndarray, times: list[float], frame_rate: float):
        self.table, self.times, self.frame_rate = table, times, frame_rate

    def __call__(self, index: int, frame: np.ndarray, small: bool):
        """Linear between the given frames; none where the nearest is over `MAXIMUM_GAP` frames away."""
        seconds = np.asarray(self.times) - self.times[0]
        number = int(np.argmin(np.abs(seconds - index / self.frame_rate)))
        if np.abs(self.table[:, 0] - number).min() > MAXIMUM_GAP:
            return _faces([], [], [])
        left, top, right, bottom = (
            np.interp(number, self.table[:, 0], column) for column in self.table[:, 1:].T
        )
        level, across = (top + bottom) / 2, right - left
        eyes = [
            [left + 0.3 * across, level],
            [right - 0.3 * across, level],
        ]  # no roll is known: taken as level
        return _faces([[left, top, right, bottom]], [1.0], [eyes])
