"""Emotions as facial actions over time: every person has a style, every clip a choice.

An emotion is a list of action units (after the prototypes of Ekman and Friesen's FACS) with the
strength they reach at level 3. A person uses some of them, more on one side than on the other; a
clip drops or stresses some, rises and fades at its own times, and carries a trace of another
emotion. Nothing here knows what is being said; `acting` joins the two.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from cdrl.core.vocabulary import ACTIONS, EMOTIONS
from cdrl.studio.people import VERSION

# Action unit -> facial actions (blendshapes) it moves; the FACS number is in the comment.
ACTION_UNITS = {
    "brow_down": ("browDownLeft", "browDownRight"),  # AU 4
    "brow_inner": ("browInnerUp",),  # AU 1
    "brow_outer": ("browOuterUpLeft", "browOuterUpRight"),  # AU 2
    "cheek": ("cheekSquintLeft", "cheekSquintRight"),  # AU 6
    "squint": ("eyeSquintLeft", "eyeSquintRight"),  # AU 7
    "eye_wide": ("eyeWideLeft", "eyeWideRight"),  # AU 5
    "droop": ("eyeBlinkLeft", "eyeBlinkRight"),  # AU 43, partly
    "sneer": ("noseSneerLeft", "noseSneerRight"),  # AU 9
    "smile": ("mouthSmileLeft", "mouthSmileRight"),  # AU 12
    "dimple": ("mouthDimpleLeft", "mouthDimpleRight"),  # AU 14
    "frown": ("mouthFrownLeft", "mouthFrownRight"),  # AU 15
    "upper": ("mouthUpperUpLeft", "mouthUpperUpRight"),  # AU 10
    "lower": ("mouthLowerDownLeft", "mouthLowerDownRight"),  # AU 16
    "stretch": ("mouthStretchLeft", "mouthStretchRight"),  # AU 20
    "press": ("mouthPressLeft", "mouthPressRight"),  # AU 24
    "chin": ("mouthShrugLower",),  # AU 17
    "roll": ("mouthRollUpper", "mouthRollLower"),  # AU 28
    "jaw": ("jawOpen",),  # AU 26
    "jaw_forward": ("jawForward",),  # AU 29
    "funnel": ("mouthFunnel",),  # AU 22
    "pucker": ("mouthPucker",),  # AU 18
}

# Emotion -> action unit -> (strength at level 3, chance that it is in a person's style).
STYLES = {
    "angry": {
        "brow_down": (0.90, 1.0),
        "squint": (0.35, 0.8),
        "eye_wide": (0.35, 0.6),
        "sneer": (0.35, 0.8),
        "press": (0.45, 0.8),
        "upper": (0.35, 0.7),
        "frown": (0.30, 0.8),
        "chin": (0.25, 0.6),
        "roll": (0.20, 0.6),
        "lower": (0.30, 0.6),
        "jaw_forward": (0.30, 0.6),
        "stretch": (0.20, 0.5),
        "funnel": (0.25, 0.5),
    },
    "contempt": {
        "dimple": (0.55, 1.0),
        "smile": (0.30, 0.8),
        "press": (0.25, 0.7),
        "squint": (0.25, 0.7),
        "brow_outer": (0.30, 0.7),
        "upper": (0.25, 0.6),
        "droop": (0.10, 0.6),
        "chin": (0.15, 0.5),
    },
    "disgusted": {
        "sneer": (0.85, 0.9),
        "upper": (0.50, 0.9),
        "brow_down": (0.40, 0.8),
        "squint": (0.40, 0.8),
        "cheek": (0.30, 0.7),
        "frown": (0.35, 0.8),
        "chin": (0.35, 0.8),
        "lower": (0.25, 0.6),
        "stretch": (0.20, 0.5),
        "press": (0.15, 0.5),
    },
    "fear": {
        "brow_inner": (0.80, 0.9),
        "brow_outer": (0.45, 0.8),
        "brow_down": (0.30, 0.7),
        "eye_wide": (0.75, 0.9),
        "stretch": (0.50, 0.9),
        "lower": (0.25, 0.7),
        "jaw": (0.16, 0.7),
        "frown": (0.15, 0.5),
        "upper": (0.15, 0.5),
    },
    "happy": {
        "smile": (0.80, 1.0),
        "cheek": (0.60, 0.9),
        "squint": (0.25, 0.8),
        "dimple": (0.25, 0.7),
        "upper": (0.22, 0.7),
        "brow_outer": (0.20, 0.6),
        "stretch": (0.15, 0.5),
        "jaw": (0.06, 0.6),
    },
    "neutral": {},
    "sad": {
        "brow_inner": (0.80, 0.9),
        "brow_down": (0.30, 0.7),
        "droop": (0.16, 0.8),
        "frown": (0.65, 0.9),
        "pucker": (0.15, 0.5),
        "chin": (0.40, 0.8),
        "press": (0.20, 0.6),
        "squint": (0.20, 0.6),
        "roll": (0.20, 0.6),
        "stretch": (0.15, 0.5),
    },
    "surprised": {
        "brow_inner": (0.70, 0.9),
        "brow_outer": (0.85, 1.0),
        "eye_wide": (0.70, 0.9),
        "jaw": (0.34, 0.9),
        "funnel": (0.18, 0.7),
        "upper": (0.18, 0.6),
        "smile": (0.15, 0.5),
        "lower": (0.15, 0.6),
    },
}
# What version 2 does otherwise.
STYLES_2 = {
    "angry": STYLES["angry"]
    | {
        "brow_down": (1.00, 1.0),
        "squint": (0.50, 0.8),
        "sneer": (0.50, 0.85),
        "upper": (0.42, 0.7),
        "lower": (0.38, 0.7),
        "funnel": (0.36, 0.6),
        "jaw": (0.06, 0.5),
    },
    "disgusted": STYLES["disgusted"]
    | {
        "sneer": (1.00, 1.0),
        "upper": (0.80, 0.95),
        "brow_down": (0.45, 0.8),
        "squint": (0.50, 0.8),
        "cheek": (0.45, 0.8),
        "lower": (0.40, 0.7),
        "jaw": (0.08, 0.5),
    },
    "fear": STYLES["fear"]
    | {
        "brow_inner": (1.00, 1.0),
        "brow_outer": (0.45, 0.8),
        "brow_down": (0.40, 0.8),
        "eye_wide": (1.00, 0.95),
        "stretch": (0.65, 0.95),
        "lower": (0.38, 0.8),
        "jaw": (0.12, 0.7),
        "frown": (0.22, 0.5),
    },
    "happy": STYLES["happy"]
    | {"cheek": (0.70, 0.95), "upper": (0.45, 0.85), "lower": (0.22, 0.7), "jaw": (0.10, 0.7)},
    "sad": STYLES["sad"]
    | {
        "brow_inner": (0.85, 1.0),
        "brow_down": (0.35, 0.7),
        "droop": (0.20, 0.8),
        "frown": (0.85, 0.95),
        "chin": (0.50, 0.8),
    },
    "surprised": {
        "brow_outer": (0.90, 1.0),
        "brow_inner": (0.75, 1.0),
        "eye_wide": (0.90, 0.9),
        "jaw": (0.17, 0.9),
        "funnel": (0.14, 0.6),
        "upper": (0.12, 0.5),
        "smile": (0.12, 0.5),
        "lower": (0.08, 0.5),
    },
}
# Emotion at level 3 -> factor of jaw movement and of lip movement in speech.
ARTICULATION = {
    "angry": (1.25, 1.15),
    "contempt": (0.80, 0.85),
    "disgusted": (0.80, 0.90),
    "fear": (0.85, 0.90),
    "happy": (1.10, 1.00),
    "neutral": (1.00, 1.00),
    "sad": (0.65, 0.75),
    "surprised": (1.20, 1.00),
}
ARTICULATION_2 = {"surprised": (1.05, 1.00)}

# Version 2 moves brows and lids as far as really acted people do, and opens a surprised mouth half
# as far: `scripts/measure_studio.py` prints both versions.
STYLES_OF_VERSION = {1: STYLES, 2: STYLES | STYLES_2}
ARTICULATION_OF_VERSION = {1: ARTICULATION, 2: ARTICULATION | ARTICULATION_2}

# Level -> share of an emotion's full strength, straight lines between.
LEVELS = (0.0, 1.0, 2.0, 3.0, 4.5)
LEVEL_SCALES = (0.0, 0.42, 0.72, 1.0, 1.4)

_REST_SEED, _STYLE_SEED, _CLIP_SEED = 31, 32, 33
_LARGEST_TRACE = 0.18  # largest share of another emotion in a clip
_CHOICE_SCATTER = 0.25  # of the logarithm of a unit's strength, over clips
_DROP_CHANCE = 0.08  # that a clip nearly leaves out a unit
_LARGEST_DROOP = 0.3  # more is a shut eye
_UNITS = tuple(ACTION_UNITS)
_DROOP = _UNITS.index("droop")
# Units that a face at rest may show.
_RESTING = (
    "brow_down",
    "brow_inner",
    "squint",
    "droop",
    "smile",
    "frown",
    "press",
    "upper",
    "chin",
)


def _is_side(side: str) -> np.ndarray:
    """(52,) bool: the actions of one side of the face, Left or Right."""
    return np.array([name.endswith(side) for name in ACTIONS])


def _unit_actions() -> np.ndarray:
    """(U, 52): 1 where the unit moves the action."""
    matrix = np.zeros((len(_UNITS), len(ACTIONS)))
    for row, actions in enumerate(ACTION_UNITS.values()):
        for action in actions:
            column = ACTIONS.index(action)
            matrix[row, column] = 1.0

    return matrix


_IS_LEFT = _is_side("Left")
_IS_RIGHT = _is_side("Right")
_SIDE = _IS_LEFT * 1.0 - _IS_RIGHT  # (52,) 1 left, -1 right, 0 both
_UNIT_ACTIONS = _unit_actions()


class EmotionStyle(NamedTuple):
    """How one person shows one emotion at level 3.

    Attributes:
        strength: (U,) of each action unit.
        side_factor: (52,) factor of each action: one side of the face moves more than the other.
    """

    strength: np.ndarray
    side_factor: np.ndarray


def intensity_scale(level: float) -> float:
    """How much of an emotion's full strength a level means.

    Args:
        level: 0 to 4.5.

    Returns:
        0 for level 0, .42 for 1, .72 for 2, 1 for 3, 1.4 for 4.5, straight lines between.
    """
    return float(np.interp(level, LEVELS, LEVEL_SCALES))


@lru_cache(maxsize=1024)
def resting_face(person: int) -> np.ndarray:
    """(52,) facial actions of a person who expresses nothing: a few, up to about .15."""
    rng = np.random.default_rng([_REST_SEED, person])
    resting_units = rng.choice(_RESTING, 3, replace=False)

    strength = np.zeros(len(_UNITS))
    for unit in resting_units:
        index = _UNITS.index(unit)
        strength[index] = abs(rng.normal(0, 0.07))

    return np.clip(strength @ _UNIT_ACTIONS, 0, 0.2)


@lru_cache(maxsize=8192)
def emotion_style(person: int, emotion: str, version: int = VERSION) -> EmotionStyle:
    """How a person shows an emotion at level 3, in every clip.

    The emotion's first action unit is always there; contempt lives on one side of the face.

    Args:
        person: id.
        emotion: one of `vocabulary.EMOTIONS`.
        version: of the studio.
    """
    rng = np.random.default_rng([_STYLE_SEED, person, EMOTIONS.index(emotion)])
    strength = _style_strength(rng, STYLES_OF_VERSION[version][emotion])
    strength *= _expressiveness(person)

    left, right = _side_factors(rng, emotion)

    side_factor = np.ones(len(ACTIONS))
    side_factor[_IS_LEFT] = left
    side_factor[_IS_RIGHT] = right

    return EmotionStyle(np.minimum(strength, 1.1), side_factor)


def _expressiveness(person: int) -> float:
    """Factor on all emotions of a person."""
    rng = np.random.default_rng([_STYLE_SEED, person])
    return rng.lognormal(0, 0.18)


def _style_strength(rng: np.random.Generator, style: dict[str, tuple[float, float]]) -> np.ndarray:
    """(U,) strength of each unit in one person's style."""
    strength = np.zeros(len(_UNITS))
    for unit, (full_strength, chance) in style.items():
        is_used = rng.random() < chance
        variation = rng.lognormal(0, 0.25)

        share = 1.0 if is_used else 0.12
        strength[_UNITS.index(unit)] = full_strength * variation * share

    return strength


def _side_factors(rng: np.random.Generator, emotion: str) -> tuple[float, float]:
    """Factors of the left and the right side of the face."""
    lean = rng.normal(0, 0.12)
    if emotion != "contempt":
        return np.exp(lean), np.exp(-lean)

    left_only = rng.random() < 0.5
    return (1.0, 0.15) if left_only else (0.15, 1.0)


def slow_noise(
    rng: np.random.Generator, times: np.ndarray, columns: int, highest: float = 1.2
) -> np.ndarray:
    """Smooth noise of mean 0 and standard deviation about 1: four sines.

    Args:
        rng: source of frequencies and phases.
        times: (T,) seconds.
        columns: independent curves.
        highest: highest frequency in Hz; the lowest is .15.

    Returns:
        (T, columns).
    """
    frequency = rng.uniform(0.15, highest, (4, columns))
    phase = rng.uniform(0, 2 * np.pi, (4, columns))
    angle = 2 * np.pi * times[:, None, None] * frequency + phase
    return np.sin(angle).sum(1) / np.sqrt(2)


def envelope(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """Strength of an expression over a clip: it rises from a floor, holds and fades partly.

    Args:
        rng: source of the times.
        times: (T,) seconds, the middles of the frames.

    Returns:
        (T,) 0 to about 1.
    """
    length = times[-1] + times[0]

    floor = rng.uniform(0.35, 0.95)
    onset = rng.uniform(-0.2, 0.35) * length
    attack = rng.uniform(0.15, 0.5)
    fade_at = rng.uniform(0.6, 1.2) * length
    fade = rng.uniform(0.05, 0.45)

    since_onset = -(times - onset)
    since_fade = -(times - fade_at)
    onset_odds = np.exp(since_onset / (attack / 4))
    fade_odds = np.exp(since_fade / 0.08)
    rise = 1 / (1 + onset_odds)
    fall = 1 - fade / (1 + fade_odds)

    return (floor + (1 - floor) * rise) * fall


def express(
    person: int,
    emotion: str,
    level: float,
    clip: tuple[int, ...],
    times: np.ndarray,
    version: int = VERSION,
) -> np.ndarray:
    """Facial actions of an emotion, in one person's style, in one clip.

    Args:
        person: id.
        emotion: one of `vocabulary.EMOTIONS`.
        level: 1 to 3 as labelled; 0 to 4.5 accepted. Only the strength depends on it, never the
            choice of actions.
        clip: numbers that name the clip; with the emotion they seed the clip's own choice.
        times: (T,) seconds.
        version: of the studio.

    Returns:
        (T, 52) in [0, 1], the resting face included; level 0 of any emotion is a neutral face.
    """
    style = emotion_style(person, emotion, version)
    rng = np.random.default_rng([_CLIP_SEED, *clip, EMOTIONS.index(emotion)])
    choice = _clip_choice(rng, list(STYLES_OF_VERSION[version][emotion]))
    scale = intensity_scale(level) * rng.lognormal(0, 0.18)
    lean = rng.normal(0, 0.08)
    strength = style.strength * choice * scale
    units = _course(rng, times) * strength
    droop = units[:, _DROOP]
    np.minimum(droop, _LARGEST_DROOP, out=droop)
    trace = _trace(rng, person, times, version)

    tilt = np.exp(lean * _SIDE)
    emotional = (units @ _UNIT_ACTIONS) * style.side_factor * tilt
    other = trace @ _UNIT_ACTIONS
    actions = resting_face(person) + emotional + other

    return np.clip(actions, 0, 1)


def _course(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """(T, U) how strong each unit is over a clip, about 1 at its strongest."""
    shape = envelope(rng, times)
    noise = slow_noise(rng, times, len(_UNITS))
    return shape[:, None] * (1 + 0.12 * noise)


def _clip_choice(rng: np.random.Generator, units: list[str]) -> np.ndarray:
    """(U,) factor of each unit in one clip; the first of the emotion's `units` stays near 1.

    Without its first unit it would be another emotion.
    """
    num_units = len(_UNITS)
    choice = rng.lognormal(0, _CHOICE_SCATTER, num_units)
    is_dropped = rng.random(num_units) < _DROP_CHANCE
    choice[is_dropped] *= 0.2

    if units:
        first = _UNITS.index(units[0])
        choice[first] = np.clip(choice[first], 0.6, 1.4)
    return choice


def _trace(rng: np.random.Generator, person: int, times: np.ndarray, version: int) -> np.ndarray:
    """(T, U) units of another emotion: classes overlap, most of all at level 1."""
    other = EMOTIONS[rng.integers(len(EMOTIONS))]
    share = rng.uniform(0, _LARGEST_TRACE)

    strength = emotion_style(person, other, version).strength
    variation = rng.lognormal(0, 0.4, len(_UNITS))
    trace = share * strength * variation

    noise = slow_noise(rng, times, 1, 0.5)
    presence = np.maximum(0, 0.7 + 0.5 * noise)

    return trace * presence
