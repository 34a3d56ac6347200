"""Face detectors: the embedded one, another one that is installed, or boxes found before.

All are called alike, `detector(index, frame, small) -> boxes, scores, eyes` (see
`faces.find_face`), and only say where to look: mesh, alignment and crop are the same for each, so
that the crops of all corpora and of a user's video are alike.
"""

import zlib
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from cdrl.core.errors import InputError
from cdrl.media.faces import MAXIMUM_GAP, Detector, find_face
from cdrl.media.mesh import Detections

BOX_COLUMNS = ["frame", "left", "top", "right", "bottom"]
# What numpy and pandas raise for files that are no table. Parser errors of pandas are ValueErrors.
# A damaged .npz is a bad archive, a broken stream, a bare array, or an array that is too large.
UNREADABLE = (
    KeyError,
    ValueError,
    OSError,
    EOFError,
    TypeError,
    MemoryError,
    NotImplementedError,
    BadZipFile,
    zlib.error,
)
# Where the eyes are taken to be in a box without eyes, from its left and right side.
EYE_INSET = 0.3


@cache
def load_detector(name: str) -> Detector:
    """A detector by name; models are loaded once a process.

    Args:
        name: embedded, mediapipe, facenet-pytorch, or `module:function` for one of your own.

    Raises:
        InputError: for an unknown name, and for a package that is not installed.
    """
    if name in DETECTORS:
        load = DETECTORS[name]
        return load()
    module, colon, function = name.partition(":")
    if not colon:
        accepted = ", ".join(DETECTORS)
        raise InputError(
            f"unknown detector {name!r}: accepted are {accepted}, or module:function of your own"
        )
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"detector {name}: cannot be imported ({error}); give module:function that Python finds"
        ) from error


def _load_embedded() -> Detector:
    return find_face


class MediapipeDetector:
    """MediaPipe's full-range detector.

    Raises:
        InputError: where no version that holds its models is installed.
    """

    def __init__(self) -> None:
        try:
            from mediapipe.python.solutions.face_detection import FaceDetection
        except ImportError as error:
            raise InputError(
                "detector mediapipe: no version that holds its models is installed; 0.10.21 and "
                'older do and need numpy below 2: pip install "mediapipe<=0.10.21", '
                "or --detector embedded"
            ) from error
        self.model = FaceDetection(model_selection=1, min_detection_confidence=0.5)

    def __call__(self, index: int, frame: np.ndarray, small: bool) -> Detections:
        """Find faces in an (H, W, 3) uint8 frame, as `faces.find_face`."""
        height, width = frame.shape[:2]
        result = self.model.process(frame)
        faces = sorted(result.detections or [], key=_descending_score)

        boxes = []
        scores = []
        eyes = []
        for face in faces:
            location = face.location_data
            box = location.relative_bounding_box
            left = box.xmin * width
            top = box.ymin * height
            right = (box.xmin + box.width) * width
            bottom = (box.ymin + box.height) * height

            boxes.append([left, top, right, bottom])
            scores.append(face.score[0])

            key_points = location.relative_keypoints[:2]
            eyes.append([[point.x * width, point.y * height] for point in key_points])
        return _detections(boxes, scores, eyes)


def _descending_score(face: Any) -> float:
    return -face.score[0]


class FacenetDetector:
    """MTCNN of facenet-pytorch.

    Raises:
        InputError: where it is not installed.
    """

    LEAST_SCORE = 0.9

    def __init__(self) -> None:
        try:
            from facenet_pytorch import MTCNN
        except ImportError as error:
            raise InputError(
                "detector facenet-pytorch: not installed; pip install --no-deps facenet-pytorch, "
                "or --detector embedded"
            ) from error
        self.model = MTCNN(keep_all=True, device="cpu")

    def __call__(self, index: int, frame: np.ndarray, small: bool) -> Detections:
        """Find faces in an (H, W, 3) uint8 frame, as `faces.find_face`."""
        boxes, scores, points = self.model.detect(frame, landmarks=True)
        if boxes is None:
            return _detections([], [], [])
        is_sure = scores > self.LEAST_SCORE
        return _detections(boxes[is_sure], scores[is_sure], points[is_sure, :2])


DETECTORS: dict[str, Callable[[], Detector]] = {
    "embedded": _load_embedded,
    "mediapipe": MediapipeDetector,
    "facenet-pytorch": FacenetDetector,
}


def _detections(boxes: Any, scores: Any, eyes: Any) -> Detections:
    """Arrays of the right shape, from lists or arrays that may be empty."""
    return Detections(
        boxes=np.asarray(boxes, float).reshape(-1, 4),
        scores=np.asarray(scores, float).reshape(-1),
        eyes=np.asarray(eyes, float).reshape(-1, 2, 2),
    )


def box_file(folder: Path, name: str) -> Path:
    """The file with a clip's boxes: FOLDER/NAME.csv or .npz.

    Args:
        folder: the folder of boxes.
        name: of the clip.

    Raises:
        InputError: where there is neither.
    """
    for suffix in (".csv", ".npz"):
        path = Path(folder) / f"{name}{suffix}"
        if path.is_file():
            return path
    raise InputError(f"no boxes: neither {name}.csv nor {name}.npz is in the folder of boxes")


def read_boxes(path: Path) -> np.ndarray:
    """Boxes of a clip, found before.

    A CSV has the columns `BOX_COLUMNS`; an .npz the arrays `frame` (N,) and `boxes` (N, 4). Frames
    count the file's own, from 0; pixels are those of the upright picture.

    Args:
        path: the .csv or .npz file.

    Returns:
        (N, 5) float64: frame, left, top, right, bottom, sorted by frame.

    Raises:
        InputError: for other columns or shapes, an empty file, and numbers that are none.
    """
    try:
        table = _read_table(path)
    except UNREADABLE as error:
        message = str(error) or type(error).__name__
        first_line = message.splitlines()[0]
        raise _unreadable_boxes(path, f" ({first_line})") from error

    has_columns = table.shape[1] == len(BOX_COLUMNS)
    is_finite = np.isfinite(table).all()
    if not len(table) or not has_columns or not is_finite:
        raise _unreadable_boxes(path, "")

    order = np.argsort(table[:, 0], kind="stable")
    return table[order]


def _read_table(path: Path) -> np.ndarray:
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return np.column_stack([arrays["frame"], arrays["boxes"]]).astype(float)
    import pandas as pd  # here alone: not every edit needs it

    return pd.read_csv(path)[BOX_COLUMNS].to_numpy(float)


def _unreadable_boxes(path: Path, reason: str) -> InputError:
    columns = ", ".join(BOX_COLUMNS)
    return InputError(
        f"boxes {path.name}: not readable{reason}; a CSV with the columns {columns}, or an .npz "
        "with frame (N,) and boxes (N, 4), is needed"
    )


class GivenBoxes:
    """A detector that looks up boxes found before.

    It decides who is meant where several people are in the picture.

    Args:
        table: (N, 5) as `read_boxes` returns it.
        times: timestamps (s) of the file's own frames; the list grows as they are decoded.
        frame_rate: of the frames that are looked up, Hz.
    """

    def __init__(self, table: np.ndarray, times: list[float], frame_rate: float) -> None:
        self.table = table
        self.times = times
        self.frame_rate = frame_rate

    def __call__(self, index: int, frame: np.ndarray, small: bool) -> Detections:
        """The box of a frame, linear between the given ones.

        Args:
            index: number of the frame, at `frame_rate`.
            frame: (H, W, 3) uint8; not looked at.
            small: not used.

        Returns:
            boxes (F, 4), scores (F,), eyes (F, 2, 2) with F = 1, or 0 where the nearest given frame
            is over `MAXIMUM_GAP` frames away.
        """
        seconds = np.asarray(self.times) - self.times[0]
        own_number = int(np.argmin(np.abs(seconds - index / self.frame_rate)))

        given_numbers = self.table[:, 0]
        if np.abs(given_numbers - own_number).min() > MAXIMUM_GAP:
            return _detections([], [], [])
        sides = [np.interp(own_number, given_numbers, column) for column in self.table[:, 1:].T]
        left, top, right, bottom = sides
        # The roll of the head is not known: it is taken as level.
        height = (top + bottom) / 2
        inset = EYE_INSET * (right - left)
        eyes = [[left + inset, height], [right - inset, height]]
        return _detections([sides], [1.0], [eyes])
