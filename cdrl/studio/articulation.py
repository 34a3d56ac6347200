"""Phonemes -> movements of jaw and lips, with coarticulation.

Every phoneme pulls each articulator towards a target with a strength (its dominance) that falls off
exponentially outside its own time; the position is the weighted mean of all pulls and of a weak
pull to rest (Cohen and Massaro, "Modeling coarticulation in synthetic visual speech", 1993). So
rounding begins before its vowel, a jaw never opens fully in a short one, and a consonant that does
not involve the lips takes its neighbours' shape. Only bilabials must close.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from cdrl.core.vocabulary import PHONEME_TO_VISEME, PHONEMES, VISEMES
from cdrl.studio.speech import Speech

FRAME_RATE = 25.0
# Articulators; each becomes one or two facial actions in `acting`.
CHANNELS = (
    "jaw",
    "pucker",
    "funnel",
    "wide",
    "dimple",
    "upper",
    "lower",
    "tuck",
    "press",
    "shrug",
    "forward",
    "close",
    "tongue",
)

# Viseme -> target of each channel, 0 to 1 of the facial action's range.
TARGETS = {
    #      jaw  puck  funn  wide  dimp  upper lower tuck  press shrug forw  close tongue
    "sil": (0.02, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.06, 0.00, 0.00, 0.00, 0.00),
    "PP": (0.04, 0.03, 0.00, 0.00, 0.00, 0.00, 0.00, 0.16, 0.34, 0.06, 0.00, 0.00, 0.00),
    "FF": (0.09, 0.00, 0.00, 0.06, 0.00, 0.16, 0.00, 0.60, 0.00, 0.18, 0.00, 0.04, 0.00),
    "TH": (0.17, 0.00, 0.00, 0.06, 0.00, 0.05, 0.18, 0.00, 0.00, 0.00, 0.05, 0.00, 0.45),
    "DD": (0.11, 0.00, 0.00, 0.14, 0.00, 0.03, 0.14, 0.00, 0.03, 0.05, 0.14, 0.05, 0.10),
    "kk": (0.26, 0.00, 0.03, 0.03, 0.06, 0.10, 0.08, 0.00, 0.00, 0.06, 0.00, 0.00, 0.00),
    "CH": (0.12, 0.12, 0.55, 0.00, 0.00, 0.24, 0.26, 0.00, 0.00, 0.16, 0.26, 0.02, 0.00),
    "SS": (0.06, 0.00, 0.00, 0.32, 0.05, 0.10, 0.30, 0.00, 0.00, 0.00, 0.20, 0.03, 0.00),
    "nn": (0.19, 0.00, 0.00, 0.08, 0.02, 0.00, 0.10, 0.00, 0.00, 0.00, 0.00, 0.02, 0.26),
    "RR": (0.17, 0.36, 0.22, 0.00, 0.00, 0.06, 0.06, 0.03, 0.00, 0.06, 0.00, 0.00, 0.00),
    "aa": (0.60, 0.00, 0.00, 0.05, 0.04, 0.10, 0.36, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00),
    "E": (0.34, 0.00, 0.00, 0.27, 0.15, 0.14, 0.28, 0.00, 0.00, 0.00, 0.00, 0.00, 0.03),
    "ih": (0.20, 0.00, 0.00, 0.44, 0.22, 0.08, 0.20, 0.00, 0.00, 0.00, 0.00, 0.00, 0.03),
    "oh": (0.44, 0.20, 0.50, 0.00, 0.00, 0.00, 0.16, 0.00, 0.00, 0.00, 0.04, 0.00, 0.00),
    "ou": (0.18, 0.70, 0.24, 0.00, 0.00, 0.00, 0.03, 0.00, 0.00, 0.08, 0.06, 0.00, 0.00),
}
# Viseme -> dominance over the jaw, rounding (pucker, funnel), the other channels.
DOMINANCE = {
    "sil": (0.8, 0.6, 0.8),
    "PP": (2.5, 0.4, 4.0),
    "FF": (1.8, 0.5, 4.0),
    "TH": (1.4, 0.4, 2.2),
    "DD": (1.5, 0.4, 1.6),
    "kk": (1.0, 0.35, 1.1),
    "CH": (1.8, 3.0, 2.4),
    "SS": (2.2, 1.0, 2.2),
    "nn": (1.0, 0.4, 1.3),
    "RR": (1.0, 1.8, 1.2),
    "aa": (2.0, 1.2, 1.6),
    "E": (1.6, 1.2, 1.6),
    "ih": (1.6, 1.4, 1.8),
    "oh": (1.8, 3.0, 1.6),
    "ou": (1.6, 3.2, 1.7),
}
# Channel -> column of `DOMINANCE`: jaw, then pucker and funnel, then the others.
DOMINANCE_COLUMN = np.array([0, 1, 1] + [2] * 10)
# Phonemes that differ from their viseme: channel -> factor on its target.
PHONEME_FACTORS = {
    "AX": {"jaw": 0.75, "wide": 0.7},
    "AH": {"jaw": 0.85},
    "AE": {"wide": 3.0},
    "UH": {"pucker": 0.7},
    "AO": {"funnel": 0.85},
}
REST_DOMINANCE = 0.12
FIRM_VISEMES = ("PP", "FF", "sil")  # they reach their targets however short they are
# Diphthongs end in another viseme from half their time on.
_GLIDE = {"AY": "ih", "EY": "ih", "OY": "ih", "AW": "ou", "OW": "ou"}
_FALL_SECONDS = np.array([0.013, 0.024, 0.014])  # dominance falls to 1/e, per column of DOMINANCE
_FULL_SECONDS = 0.07  # a sound of this length has its full dominance
_HOLD_SECONDS = 0.024  # a closure holds at least twice this: more than one frame
_EDGE_SECONDS = 0.034  # a closure's onset and release
_SEED = 21
# Standard deviation over people of the logarithm of each channel's strength.
_SCATTER = (0.12, 0.12, 0.12, 0.15, 0.20, 0.18, 0.14, 0.08, 0.14, 0.20, 0.20, 0.20, 0.16)


@dataclass(frozen=True)
class Articulation:
    """T frames of speech movement before any emotion.

    Attributes:
        channels: (T, 13) float64 in [0, 1], order `CHANNELS`.
        closure: (T,) 1 where the lips must touch (P, B, M), 0 where they are free.
        phoneme: (T,) uint8, position in `vocabulary.PHONEMES` at the middle of each frame.
        viseme: (T,) uint8, position in `vocabulary.VISEMES`.
    """

    channels: np.ndarray
    closure: np.ndarray
    phoneme: np.ndarray
    viseme: np.ndarray


class Segments(NamedTuple):
    """P phonemes in order of time, with diphthongs cut in two.

    Attributes:
        phonemes: P names.
        visemes: P names.
        starts: (P,) seconds.
        ends: (P,) seconds.
    """

    phonemes: list[str]
    visemes: list[str]
    starts: np.ndarray
    ends: np.ndarray


def frame_times(num_frames: int) -> np.ndarray:
    """(T,) seconds: the middle of each frame.

    Frame t shows the sound of samples 640 t to 640 (t + 1).
    """
    return (np.arange(num_frames) + 0.5) / FRAME_RATE


@lru_cache(maxsize=1024)
def speaker_targets(person: int) -> tuple[np.ndarray, np.ndarray]:
    """A person's own mouth shapes, scattered around the table.

    Returns:
        Targets (15, 13), and fall times (3,) in seconds.
    """
    rng = np.random.default_rng([_SEED, person])
    mean_targets = np.array([TARGETS[viseme] for viseme in VISEMES])

    channel_strength = rng.lognormal(0, _SCATTER)
    variation = rng.lognormal(0, 0.12, mean_targets.shape)
    targets = np.clip(mean_targets * channel_strength * variation, 0, 0.9)

    fall_factor = rng.lognormal(0, 0.15, 3)

    return targets, _FALL_SECONDS * fall_factor


def cut_segments(speech: Speech) -> Segments:
    """The phonemes of an utterance with their visemes; a diphthong has two, one after the other."""
    phonemes: list[str] = []
    visemes: list[str] = []
    starts: list[float] = []
    ends: list[float] = []

    def append(phoneme: str, viseme: str, start: float, end: float) -> None:
        phonemes.append(phoneme)
        visemes.append(viseme)
        starts.append(start)
        ends.append(end)

    times = zip(speech.start_seconds, speech.end_seconds, strict=True)
    for index, (start, end) in zip(speech.phoneme, times, strict=True):
        phoneme = PHONEMES[index]
        viseme = PHONEME_TO_VISEME[phoneme]
        if phoneme in _GLIDE:
            middle = (start + end) / 2
            append(phoneme, viseme, start, middle)
            append(phoneme, _GLIDE[phoneme], middle, end)
        else:
            append(phoneme, viseme, start, end)

    return Segments(phonemes, visemes, np.array(starts), np.array(ends))


def articulate(speech: Speech, person: int, num_frames: int) -> Articulation:
    """How a person's mouth says something without emotion.

    Args:
        speech: its times count from the beginning of the clip.
        person: id.
        num_frames: T, at 25 frames a second.

    Returns:
        Every P, B and M has at least one frame of closure 1; the jaw is about .05 in silence, .4 to
        .6 in "father".
    """
    segments = cut_segments(speech)
    times = frame_times(num_frames)
    channels = _coarticulate(segments, person, times)
    closure = _closure(segments, times)
    phoneme, viseme = _spoken_at(speech, times)

    return Articulation(channels, closure, phoneme, viseme)


def _coarticulate(segments: Segments, person: int, times: np.ndarray) -> np.ndarray:
    """Position of every articulator: the mean of all targets, weighted by dominance.

    Args:
        segments: P segments.
        person: id.
        times: (T,) seconds.

    Returns:
        (T, 13).
    """
    targets, fall_seconds = speaker_targets(person)
    goals = _segment_targets(segments, targets)

    distance = _seconds_outside(segments, times)
    fall = np.exp(-distance[:, :, None] / fall_seconds)
    dominance = fall * _segment_dominance(segments)  # (T, P, 3)

    channels = np.empty((len(times), len(CHANNELS)))
    for column in range(3):
        members = column == DOMINANCE_COLUMN
        rest = targets[0, members]

        weights = dominance[:, :, column]
        pull_to_rest = REST_DOMINANCE * rest
        pull = weights @ goals[:, members] + pull_to_rest

        total_weight = weights.sum(1, keepdims=True) + REST_DOMINANCE
        channels[:, members] = pull / total_weight

    return channels


def _seconds_outside(segments: Segments, times: np.ndarray) -> np.ndarray:
    """(T, P) how far each time lies outside each segment, seconds."""
    before = segments.starts - times[:, None]
    after = times[:, None] - segments.ends
    return np.maximum(np.maximum(before, after), 0)


def _segment_targets(segments: Segments, targets: np.ndarray) -> np.ndarray:
    """(P, 13) targets of each segment: its viseme's, with what its phoneme does otherwise."""
    viseme_ids = [VISEMES.index(viseme) for viseme in segments.visemes]
    goals = targets[viseme_ids]

    for row, phoneme in enumerate(segments.phonemes):
        factors = PHONEME_FACTORS.get(phoneme, {})
        for channel, factor in factors.items():
            column = CHANNELS.index(channel)
            goals[row, column] *= factor

    return goals


def _segment_dominance(segments: Segments) -> np.ndarray:
    """(P, 3) dominance of each segment at its own time; short sounds undershoot."""
    dominance = np.array([DOMINANCE[viseme] for viseme in segments.visemes])

    seconds = segments.ends - segments.starts
    share = np.clip(seconds / _FULL_SECONDS, 0.3, 1.3)
    is_firm = np.isin(segments.visemes, FIRM_VISEMES)
    share[is_firm] = 1.0

    return dominance * share[:, None]


def _spoken_at(speech: Speech, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Phoneme and viseme (T,) uint8 at each of the times (T,)."""
    position = np.searchsorted(speech.end_seconds, times, side="right")
    phoneme = speech.phoneme[position.clip(max=len(speech.phoneme) - 1)]
    viseme = [VISEMES.index(PHONEME_TO_VISEME[PHONEMES[index]]) for index in phoneme]
    return phoneme, np.array(viseme, np.uint8)


def _closure(segments: Segments, times: np.ndarray) -> np.ndarray:
    """(T,) smooth 0 to 1: lips together around every bilabial."""
    bilabial = np.array(segments.visemes) == "PP"
    if not bilabial.any():
        return np.zeros(len(times))

    starts = segments.starts[bilabial]
    ends = segments.ends[bilabial]
    middle = (starts + ends) / 2
    hold = np.maximum((ends - starts) / 2 - 0.010, _HOLD_SECONDS)

    distance = np.abs(times[:, None] - middle) - hold
    outside = np.maximum(distance, 0) / _EDGE_SECONDS
    phase = np.pi * np.minimum(outside, 1)
    closure = 0.5 + 0.5 * np.cos(phase)

    return closure.max(1)
