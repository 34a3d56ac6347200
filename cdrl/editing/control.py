"""What an edit is asked for: which emotions, read from a text or from another clip, and how strongly at each moment."""

from pathlib import Path

import numpy as np
import torch

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import EMOTIONS
from cdrl.media.faces import align, crop
from cdrl.media.video import read_video_stream
from cdrl.models.image_editor import MAX_INTENSITY
from cdrl.representation.guidance import MIN_EMOTION_FRAMES, Guidance

LEAST = 0.05  # smaller shares of a reading are noise and are left out
LOOKS = 64  # frames of a reference that are read, evenly spread
SIZE = 64  # pixels of their crops: what the guidance looks at
STRETCHES = 5  # parts of a reference, each read by itself too


def read_reference(
    guidance: Guidance, path: Path, known: tuple = EMOTIONS
) -> tuple[dict, int, int]:
    """The emotion of a clip as a mixture {name: weight}, by its nearest prototypes (see `Guidance.mixture`), and how steadily it is shown.

    Args:
        path: a video of one face; of a long one 64 frames are read. known: emotions that the generator learnt.

    Returns:
        The mixture; of how many stretches of the frames, each read alone, its strongest emotion is the strongest too; and how
        many stretches there are, 5 or fewer: none is under 3 frames.

    Raises:
        InputError: a file that cannot be read or shows no face, and a clip of under three frames.
    """
    alignment = align(_frames(path), name=str(path), crop=guidance.crop)
    chosen = set(
        np.linspace(0, len(alignment) - 1, min(LOOKS, len(alignment))).round().astype(int).tolist()
    )
    crops = [
        crop([frame], alignment.part(k, k + 1), SIZE)[0]
        for k, frame in enumerate(_frames(path))
        if k in chosen
    ]
    mixture = read_crops(guidance, np.stack(crops), known, str(path))
    parts = np.array_split(np.stack(crops), min(STRETCHES, len(crops) // MIN_EMOTION_FRAMES))
    strongest = [EMOTIONS[int(guidance.mixture(_images(part)).argmax())] for part in parts]
    return mixture, strongest.count(next(iter(mixture))), len(parts)


def read_crops(
    guidance: Guidance, crops: np.ndarray, known: tuple = EMOTIONS, name: str = "reference"
) -> dict:
    """The mixture of `read_reference` for crops that are at hand, (T, H, H, 3) uint8, T from 3; of many, 64 are read.

    Raises:
        InputError: as there; `name` stands before the reason.
    """
    chosen = np.linspace(0, len(crops) - 1, min(LOOKS, len(crops))).round().astype(int)
    try:
        return _named(guidance.mixture(_images(np.asarray(crops)[chosen])), known)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def read_text(guidance: Guidance, text: str, known: tuple = EMOTIONS) -> dict:
    """The emotion that a text describes as a mixture {name: weight}; the embedded prior knows the words of its captions alone.

    Raises:
        InputError: for words that the language prior never learnt, naming those it did.
    """
    return _named(guidance.mixture(text), known)


def _named(weights: torch.Tensor, known: tuple) -> dict:
    shares = {
        name: float(weight) for name, weight in zip(EMOTIONS, weights, strict=True) if name in known
    }
    total = sum(shares.values())
    kept = {name: share for name, share in shares.items() if share >= LEAST * total}
    if total < LEAST:
        strongest = EMOTIONS[int(weights.argmax())]
        raise InputError(
            f"read as {strongest}, which this generator never learnt; it learnt {', '.join(known)}"
        )
    return {
        name: round(share / sum(kept.values()), 3)
        for name, share in sorted(kept.items(), key=lambda pair: -pair[1])
    }


def describe_mixture(emotion: str | dict) -> str:
    """A mixture in words.

    >>> describe_mixture({"happy": 0.7, "surprised": 0.3})
    '0.7 happy + 0.3 surprised'
    """
    return (
        emotion
        if isinstance(emotion, str)
        else " + ".join(f"{weight:g} {name}" for name, weight in emotion.items())
    )


def intensity_curve(intensity: float | np.ndarray, frames: int) -> np.ndarray:
    """One number, or one per frame, checked: (frames,) float32 in [0, 1.5].

    Raises:
        InputError: values outside, or as many values as there are no frames.
    """
    curve = np.asarray(intensity, np.float32)
    if curve.ndim and curve.shape != (frames,):
        raise InputError(
            f"intensity: a curve of {curve.size} values for {frames} frames; give one number, or one per frame"
        )
    if not ((curve >= 0) & (curve <= MAX_INTENSITY)).all():
        worst = float(
            np.ravel(curve)[np.argmax(np.abs(np.nan_to_num(np.ravel(curve), nan=np.inf) - 0.75))]
        )
        raise InputError(
            f"intensity {worst:g}: 0 (nothing changes) to {MAX_INTENSITY:g} is accepted, 1 is the strongest level"
        )
    return np.broadcast_to(curve, (frames,))


def curve_at(points: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """(K, 2) seconds and intensities, linear in between and held outside -> (T,) intensity at (T,) seconds.

    Raises:
        InputError: for seconds that do not grow.
    """
    at, values = np.asarray(points, float).reshape(-1, 2).T
    if not (len(at) and (at >= 0).all() and (np.diff(at) > 0).all()):
        raise InputError("curve: seconds from 0 on that grow are needed, as in 0:0,1.5:1,3:0")
    return np.interp(seconds, at, values)


def _images(crops: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(crops).permute(0, 3, 1, 2) / 255


def _frames(path: Path):
    for part in read_video_stream(path, frame_rate=None, chunk=1):
        yield from part
