"""Phonemes -> movements of jaw and lips, with coarticulation.

Every phoneme pulls each articulator towards a target with a strength (its dominance) that falls off exponentially
outside its own time; the position is the weighted mean of all pulls and of a weak pull to rest (Cohen and Massaro,
"Modeling coarticulation in synthetic visual speech", 1993). So rounding begins before its vowel, a jaw never opens
fully in a short one, and a consonant that does not care about the lips wears its neighbours' shape. Bilabials, alone,
must close.
"""

from dataclasses import dataclass
from functools import lru_cache

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
# Viseme -> dominance over jaw / rounding (pucker, funnel) / the other channels.
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
_GROUP = np.array([0, 1, 1] + [2] * 10)  # channel -> column of DOMINANCE
# Phonemes that differ from their viseme: channel -> factor.
_VARIANT = {
    "AX": {"jaw": 0.75, "wide": 0.7},
    "AH": {"jaw": 0.85},
    "AE": {"wide": 3.0},
    "UH": {"pucker": 0.7},
    "AO": {"funnel": 0.85},
}
# Diphthongs end in another shape from half their time on.
_GLIDE = {"AY": "ih", "EY": "ih", "OY": "ih", "AW": "ou", "OW": "ou"}
_FALL = np.array([0.013, 0.024, 0.014])  # seconds, dominance falls to 1/e, per group
_REST = 0.12
_HOLD, _EDGE = (
    0.024,
    0.034,
)  # seconds: a closure holds at least twice the first (> one frame), its edges last the second
_SEED = 21
# Standard deviation over people of the logarithm of each channel's strength.
_SCATTER = (0.12, 0.12, 0.12, 0.15, 0.20, 0.18, 0.14, 0.08, 0.14, 0.20, 0.20, 0.20, 0.16)


@dataclass(frozen=True)
class Articulation:
    """T frames of speech movement before any emotion.

    Attributes:
        channels: (T, 13) float64 in [0, 1], order `CHANNELS`.
        closure: (T,) 1 where the lips must touch (P, B, M), 0 where they are free.
        phoneme, viseme: (T,) uint8, what is spoken at the middle of each frame.
    """

    channels: np.ndarray
    closure: np.ndarray
    phoneme: np.ndarray
    viseme: np.ndarray


def frame_times(num_frames: int) -> np.ndarray:
    """(T,) seconds: the middle of each frame; frame t shows the sound of samples 640 t to 640 (t + 1)."""
    return (np.arange(num_frames) + 0.5) / FRAME_RATE


@lru_cache(maxsize=1024)
def speaker_targets(person: int) -> tuple[np.ndarray, np.ndarray]:
    """A person's own mouth shapes: (15, 13) targets and (3,) fall times, scattered around the table."""
    rng = np.random.default_rng([_SEED, person])
    targets = np.array([TARGETS[name] for name in VISEMES])
    strength = rng.lognormal(0, _SCATTER)
    targets = targets * strength * rng.lognormal(0, 0.12, targets.shape)
    return np.clip(targets, 0, 0.9), _FALL * rng.lognormal(0, 0.15, 3)


def _segments(speech: Speech) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
    """Phonemes, diphthongs cut in two: names, visemes, starts, ends."""
    rows = []
    for index, start, end in zip(speech.phoneme, speech.start_seconds, speech.end_seconds):
        name = PHONEMES[index]
        middle = (start + end) / 2 if name in _GLIDE else end
        rows.append((name, PHONEME_TO_VISEME[name], start, middle))
        if name in _GLIDE:
            rows.append((name, _GLIDE[name], middle, end))
    names, visemes, starts, ends = zip(*rows)
    return names, visemes, np.array(starts), np.array(ends)


def articulate(speech: Speech, person: int, num_frames: int) -> Articulation:
    """How a person's mouth says something without emotion.

    Args:
        speech: its times count from the beginning of the clip.
        num_frames: T, at 25 frames a second.

    Returns:
        every P, B and M has at least one frame of closure 1; jaw about .05 in silence, .4 to .6 in "father".
    """
    targets, fall = speaker_targets(person)
    names, visemes, starts, ends = _segments(speech)
    shape = np.array([VISEMES.index(name) for name in visemes])
    goal = targets[shape]
    for row, name in enumerate(names):
        for channel, factor in _VARIANT.get(name, {}).items():
            goal[row, CHANNELS.index(channel)] *= factor
    pull = np.array([DOMINANCE[name] for name in visemes])
    firm = np.isin(visemes, ("PP", "FF", "sil"))
    pull = (
        pull * np.where(firm, 1.0, np.clip((ends - starts) / 0.07, 0.3, 1.3))[:, None]
    )  # short sounds undershoot
    times = frame_times(num_frames)[:, None]
    away = np.maximum(
        np.maximum(starts - times, times - ends), 0
    )  # (T, P) seconds outside the sound
    weight = np.exp(-away[:, :, None] / fall) * pull  # (T, P, 3)
    channels = np.empty((num_frames, len(CHANNELS)))
    for group in range(3):
        columns = _GROUP == group
        total = weight[:, :, group].sum(1, keepdims=True) + _REST
        channels[:, columns] = (
            weight[:, :, group] @ goal[:, columns] + _REST * targets[0, columns]
        ) / total
    spoken = np.searchsorted(speech.end_seconds, times[:, 0], side="right").clip(
        max=len(speech.phoneme) - 1
    )
    phoneme = speech.phoneme[spoken]
    viseme = np.array(
        [VISEMES.index(PHONEME_TO_VISEME[PHONEMES[index]]) for index in phoneme], np.uint8
    )
    return Articulation(channels, _closure(times[:, 0], visemes, starts, ends), phoneme, viseme)


def _closure(
    times: np.ndarray, visemes: list[str], starts: np.ndarray, ends: np.ndarray
) -> np.ndarray:
    """(T,) smooth 0 to 1: lips together around every bilabial."""
    bilabial = np.array(visemes) == "PP"
    if not bilabial.any():
        return np.zeros(len(times))
    middle = (starts + ends)[bilabial] / 2
    hold = np.maximum((ends - starts)[bilabial] / 2 - 0.010, _HOLD)
    outside = np.maximum(np.abs(times[:, None] - middle) - hold, 0) / _EDGE
    return (0.5 + 0.5 * np.cos(np.pi * np.minimum(outside, 1))).max(1)
