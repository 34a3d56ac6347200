"""What an edit is asked for: emotions by label, text or reference clip, and intensity over time."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import EMOTIONS, emotion_index
from cdrl.corpora.batches import image_tensor
from cdrl.media.inspection import CropsJob, in_worker, read_spread_crops, spread
from cdrl.models.image_editor import MAX_INTENSITY

if TYPE_CHECKING:
    from cdrl.representation.guidance import Guidance

Mixture = dict[str, float]  # emotion -> weight

MIN_SHARE = 0.05  # smaller shares of a reading are noise and are left out
REFERENCE_FRAMES = 64  # of a reference that are read, evenly spread
REFERENCE_SIZE = 64  # pixels of their crops: what the guidance looks at
SMALLEST_WEIGHT = 1e-6  # of a mixture; smaller ones are lost in single precision
_WEIGHTS_HINT = "give one such as 0.7 for each emotion, as in happy:0.7,surprised:0.3"
STRETCHES = 5  # parts of a reference, each read by itself too


class Reading(NamedTuple):
    """The emotion of a reference clip.

    Attributes:
        mixture: {emotion: weight}, the strongest first.
        agreeing: stretches of the clip whose strongest emotion, each read alone, is the mixture's.
        stretches: their number, 5 or fewer: none is under 3 frames.
    """

    mixture: Mixture
    agreeing: int
    stretches: int


def read_reference(
    guidance: "Guidance", path: Path, emotions: tuple[str, ...] = EMOTIONS, isolated: bool = False
) -> Reading:
    """The emotion of a clip by its nearest prototypes, see `Guidance.mixture`.

    Args:
        guidance: reads the clip.
        path: a video of one face; of a long one 64 frames are read.
        emotions: those that the editor learnt.
        isolated: whether to read the file in a process of its own, as `edit_video` does.

    Raises:
        InputError: a file that cannot be read or shows no face, and a clip of under three frames.
    """
    from cdrl.representation.guidance import MIN_EMOTION_FRAMES

    job = CropsJob(path, guidance.crop, REFERENCE_SIZE, REFERENCE_FRAMES)
    crops = in_worker(read_spread_crops, job, path) if isolated else read_spread_crops(job)
    mixture = read_crops(guidance, crops, emotions, str(path))
    strongest = next(iter(mixture))

    stretches = min(STRETCHES, len(crops) // MIN_EMOTION_FRAMES)

    agreeing = 0
    for stretch in np.array_split(crops, stretches):
        weights = guidance.mixture(reference=image_tensor(stretch)[None])
        emotion = EMOTIONS[int(weights.argmax())]
        agreeing += emotion == strongest

    return Reading(mixture, agreeing, stretches)


def read_crops(
    guidance: "Guidance",
    crops: np.ndarray,
    emotions: tuple[str, ...] = EMOTIONS,
    name: str = "reference",
) -> Mixture:
    """The mixture of `read_reference` for crops that are at hand.

    Args:
        guidance: reads the crops.
        crops: (T, H, H, 3) uint8, T from 3; of many, 64 are read.
        emotions: those that the editor learnt.
        name: of the clip, for messages.

    Raises:
        InputError: as there.
    """
    numbers = spread(len(crops), REFERENCE_FRAMES)
    images = image_tensor(np.asarray(crops)[numbers])

    try:
        weights = guidance.mixture(reference=images[None])
        return _to_mixture(weights[0], emotions)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def read_text(guidance: "Guidance", text: str, emotions: tuple[str, ...] = EMOTIONS) -> Mixture:
    """The emotion that a text describes; the embedded prior knows the words of its captions alone.

    Args:
        guidance: reads the text.
        text: a description, or the name of an emotion.
        emotions: those that the editor learnt.

    Returns:
        {emotion: weight}, the strongest first.

    Raises:
        InputError: for words that the language prior never learnt, naming those it did.
    """
    if text in EMOTIONS:
        label_weights = guidance.mixture(labels=text)
        return _to_mixture(label_weights[0], emotions)
    text_weights = guidance.mixture(text=text)
    return _to_mixture(text_weights[0], emotions)


def _to_mixture(weights: torch.Tensor, emotions: tuple[str, ...]) -> Mixture:
    """(8,) weights -> {emotion: weight} of those that the editor learnt, the strongest first."""
    shares = {}
    for name, weight in zip(EMOTIONS, weights.tolist(), strict=True):
        if name in emotions:
            shares[name] = weight
    total = sum(shares.values())
    if total < MIN_SHARE:
        strongest = EMOTIONS[int(weights.argmax())]
        raise InputError(
            f"read as {strongest}, which this editor never learnt; it learnt {', '.join(emotions)}"
        )

    large = {}
    for name, share in shares.items():
        if share >= MIN_SHARE * total:
            large[name] = share
    large_total = sum(large.values())
    mixture = {}
    for name in sorted(large, key=lambda name: -large[name]):
        mixture[name] = round(large[name] / large_total, 3)
    return mixture


def describe_mixture(emotion: str | Mixture) -> str:
    """A mixture in words.

    >>> describe_mixture({"happy": 0.7, "surprised": 0.3})
    '0.7 happy + 0.3 surprised'
    """
    if isinstance(emotion, str):
        return emotion
    parts = [f"{weight:g} {name}" for name, weight in emotion.items()]
    return " + ".join(parts)


def emotion_weights(
    emotion: str | Mixture,
    emotions: tuple[str, ...] = EMOTIONS,
    source_emotion: str | Mixture | None = None,
) -> torch.Tensor:
    """The weights of an emotion or of a mixture.

    Args:
        emotion: a name, or a mixture such as {"happy": 0.7, "surprised": 0.3}.
        emotions: those that the editor learnt.
        source_emotion: that of the source, where it is known. The edit then is the difference of
            the fields of both, so that an emotion edited to itself changes nothing.

    Returns:
        (1, 8), order `EMOTIONS`, sums to 1; (2, 8), with the source's below, where that is given.

    Raises:
        InputError: unknown emotions, ones that this editor never learnt, weights that are not
            positive and finite in single precision, or whose sum is not.
    """
    if source_emotion is not None:
        target = emotion_weights(emotion, emotions)
        source = emotion_weights(source_emotion, emotions)
        return torch.cat([target, source])

    mixture = {emotion: 1.0} if isinstance(emotion, str) else emotion
    weights = torch.zeros(1, len(EMOTIONS))
    for name, weight in mixture.items():
        index = emotion_index(name)
        if name not in emotions:
            raise InputError(
                f"emotion {name!r}: this editor learnt {', '.join(emotions)}; train one on clips "
                "that show it"
            )
        weights[0, index] = _checked_weight(name, weight)
    total = weights.sum()
    if not bool(torch.isfinite(total)):
        raise InputError(f"emotion {mixture}: the sum of its weights is too large; {_WEIGHTS_HINT}")
    if not bool(total > 0):
        raise InputError(f"emotion {mixture}: a mixture has at least one emotion; {_WEIGHTS_HINT}")
    return weights / total


def _checked_weight(name: str, weight: float) -> torch.Tensor:
    """() a weight in single precision; refuses one that is not positive and finite there."""
    try:
        value = torch.tensor(float(weight), dtype=torch.float32)
    except (OverflowError, TypeError, ValueError):
        value = torch.tensor(math.nan)
    if not bool(torch.isfinite(value)) or not bool(value >= SMALLEST_WEIGHT):
        raise InputError(
            f"emotion {name!r} has weight {weight}: weights of a mixture are finite and at least "
            f"{SMALLEST_WEIGHT:g}; {_WEIGHTS_HINT}"
        )
    return value


@dataclass(frozen=True)
class IntensityCurve:
    """Intensity over time, linear between its points and held before the first and after the last.

    Args:
        seconds: K times from 0 on that grow.
        values: K intensities, 0 to 1.5.

    Raises:
        InputError: seconds that do not grow, or intensities outside their range.

    Example:
        IntensityCurve([0, 2], [0, 1]).at(np.array([0.5, 1.0])).tolist() == [0.25, 0.5]
    """

    seconds: list[float]
    values: list[float]

    def __post_init__(self) -> None:
        frame_intensities(np.array(self.values), len(self.values))

        times = np.array(self.seconds, float)
        is_growing = (np.diff(times) > 0).all()
        is_positive = (times >= 0).all()
        if not (len(times) and is_positive and is_growing):
            raise InputError("curve: seconds from 0 on that grow are needed, as in 0:0,1.5:1,3:0")

    @classmethod
    def from_text(cls, text: str, label: str = "intensity") -> "IntensityCurve":
        """Read a curve: "0:0,1.5:1,3:0" rises to 1 in a second and a half, and falls again.

        Args:
            text: seconds:intensity pairs with commas between them.
            label: what the message calls the text.

        Raises:
            InputError: for what is no pair of numbers, and as the class.

        >>> IntensityCurve.from_text("0:0,2:1").values
        [0.0, 1.0]
        """
        seconds = []
        values = []
        for part in text.split(","):
            time, _, value = part.partition(":")
            try:
                seconds.append(float(time))
                values.append(float(value))
            except ValueError:
                raise InputError(
                    f"{label} {text}: seconds:intensity pairs are needed, as in 0:0,1.5:1,3:0"
                ) from None

        return cls(seconds, values)

    def at(self, seconds: np.ndarray) -> np.ndarray:
        """(T,) intensities at (T,) seconds."""
        return np.interp(seconds, self.seconds, self.values)


def frame_intensities(intensity: float | np.ndarray, frames: int) -> np.ndarray:
    """One intensity for each frame, checked.

    Args:
        intensity: one number, or (T,).
        frames: T.

    Returns:
        (T,) float32 in [0, 1.5].

    Raises:
        InputError: values outside, or another number of values than frames.
    """
    values = np.asarray(intensity, np.float32)
    if values.ndim and values.shape != (frames,):
        raise InputError(
            f"intensity: a curve of {values.size} values for {frames} frames; give one number, or "
            "one per frame"
        )
    accepted = (values >= 0) & (values <= MAX_INTENSITY)
    if not accepted.all():
        worst = _farthest_outside(np.ravel(values))
        raise InputError(
            f"intensity {worst:g}: 0 (nothing changes) to {MAX_INTENSITY:g} is accepted, 1 is the "
            "strongest level"
        )
    return np.broadcast_to(values, (frames,))


def _farthest_outside(values: np.ndarray) -> float:
    """The value farthest from the middle of the range; what is no number counts as farthest."""
    distance = np.abs(np.nan_to_num(values, nan=np.inf) - MAX_INTENSITY / 2)
    return float(values[np.argmax(distance)])
