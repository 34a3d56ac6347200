"""Emotions as facial actions over time: every person has a style, every clip a choice.

An emotion is a list of actions (after Ekman and Friesen's FACS prototypes) with the strength they reach at level 3. A
person uses some of them, more on one side than the other; a clip drops or stresses some, rises and fades at its own
times, and carries a trace of something else. Nothing here knows what is being said; `acting` joins the two.
"""

from functools import lru_cache

import numpy as np

from cdrl.core.vocabulary import ACTIONS, EMOTIONS

# Group -> facial actions it moves; L and R are drawn apart for those with two sides.
GROUPS = {
    "brow_down": ("browDownLeft", "browDownRight"),
    "brow_inner": ("browInnerUp",),
    "brow_outer": ("browOuterUpLeft", "browOuterUpRight"),
    "cheek": ("cheekSquintLeft", "cheekSquintRight"),
    "squint": ("eyeSquintLeft", "eyeSquintRight"),
    "eye_wide": ("eyeWideLeft", "eyeWideRight"),
    "droop": ("eyeBlinkLeft", "eyeBlinkRight"),
    "sneer": ("noseSneerLeft", "noseSneerRight"),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "dimple": ("mouthDimpleLeft", "mouthDimpleRight"),
    "frown": ("mouthFrownLeft", "mouthFrownRight"),
    "upper": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "lower": ("mouthLowerDownLeft", "mouthLowerDownRight"),
    "stretch": ("mouthStretchLeft", "mouthStretchRight"),
    "press": ("mouthPressLeft", "mouthPressRight"),
    "chin": ("mouthShrugLower",),
    "roll": ("mouthRollUpper", "mouthRollLower"),
    "jaw": ("jawOpen",),
    "jaw_forward": ("jawForward",),
    "funnel": ("mouthFunnel",),
    "pucker": ("mouthPucker",),
}

# Emotion -> group -> (strength at level 3, chance that a person has it in his style).
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

_LEVELS = (
    (0.0, 1.0, 2.0, 3.0, 4.5),
    (0.0, 0.42, 0.72, 1.0, 1.4),
)  # level -> scale, straight lines between
_REST_SEED, _STYLE_SEED, _CLIP_SEED = 31, 32, 33
_TRACE = 0.18  # largest share of another emotion in a clip
_CHOICE, _DROPPED = 0.25, 0.08
_NAMES = tuple(GROUPS)
_DROOP = _NAMES.index("droop")
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
)  # a face at rest
_SIDES = {side: np.array([name.endswith(side) for name in ACTIONS]) for side in ("Left", "Right")}
# (G, 52) 1 where the group moves the action.
_MOVES = np.array([[float(name in GROUPS[group]) for name in ACTIONS] for group in _NAMES])


def scale_of(level: float) -> float:
    """How much of an emotion's full strength a level means: 1 -> .42, 2 -> .72, 3 -> 1, 4.5 -> 1.4."""
    return float(np.interp(level, *_LEVELS))


@lru_cache(maxsize=1024)
def resting_face(person: int) -> np.ndarray:
    """(52,) the few facial actions a person wears when nothing is expressed, up to about .15."""
    rng = np.random.default_rng([_REST_SEED, person])
    amount = np.zeros(len(_NAMES))
    for name in rng.choice(_RESTING, 3, replace=False):
        amount[_NAMES.index(name)] = abs(rng.normal(0, 0.07))
    return np.clip(amount @ _MOVES, 0, 0.2)


@lru_cache(maxsize=8192)
def style_of(person: int, emotion: str) -> tuple[np.ndarray, np.ndarray]:
    """A person's way with one emotion at level 3: (G,) strength of each group, (52,) factor of each side.

    The emotion's first action is always there; contempt lives on one side of the face.
    """
    rng = np.random.default_rng([_STYLE_SEED, person, EMOTIONS.index(emotion)])
    expressive = np.random.default_rng([_STYLE_SEED, person]).lognormal(0, 0.18)
    strength = np.zeros(len(_NAMES))
    for name, (full, chance) in STYLES[emotion].items():
        used = rng.random() < chance
        strength[_NAMES.index(name)] = full * rng.lognormal(0, 0.25) * (1.0 if used else 0.12)
    lean = rng.normal(0, 0.12)
    left, right = np.exp(lean), np.exp(-lean)
    if emotion == "contempt":
        left, right = (1.0, 0.15) if rng.random() < 0.5 else (0.15, 1.0)
    sides = np.where(_SIDES["Left"], left, np.where(_SIDES["Right"], right, 1.0))
    return np.minimum(strength * expressive, 1.1), sides


def slow_noise(
    rng: np.random.Generator, times: np.ndarray, columns: int, fastest: float = 1.2
) -> np.ndarray:
    """(T, columns) smooth noise of mean 0 and standard deviation about 1: four sines from .15 Hz to `fastest`."""
    frequency = rng.uniform(0.15, fastest, (4, columns))
    phase = rng.uniform(0, 2 * np.pi, (4, columns))
    return np.sin(2 * np.pi * times[:, None, None] * frequency + phase).sum(1) / np.sqrt(2)


def envelope(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """(T,) 0 to about 1: an expression's rise from what is there at the start, its hold and its partial fading."""
    length = times[-1] + times[0]
    floor, onset, attack = (
        rng.uniform(0.35, 0.95),
        rng.uniform(-0.2, 0.35) * length,
        rng.uniform(0.15, 0.5),
    )
    fade_at, fade = rng.uniform(0.6, 1.2) * length, rng.uniform(0.05, 0.45)
    rise = 1 / (1 + np.exp(-(times - onset) / (attack / 4)))
    fall = 1 - fade / (1 + np.exp(-(times - fade_at) / 0.08))
    return (floor + (1 - floor) * rise) * fall


def express(
    person: int, emotion: str, level: float, clip: tuple[int, ...], times: np.ndarray
) -> np.ndarray:
    """Facial actions of an emotion, in one person's style, in one clip.

    Args:
        level: 1 to 3 as labelled; 0 to 4.5 accepted. Only the strength depends on it, never the choice.
        clip: numbers that name the clip; with the emotion they seed the clip's own choice.
        times: (T,) seconds.

    Returns:
        (T, 52) in [0, 1], the resting face included; level 0 of any emotion is a neutral face.
    """
    strength, sides = style_of(person, emotion)
    rng = np.random.default_rng([_CLIP_SEED, *clip, EMOTIONS.index(emotion)])
    choice = rng.lognormal(0, _CHOICE, len(_NAMES)) * np.where(
        rng.random(len(_NAMES)) < _DROPPED, 0.2, 1.0
    )
    for name in list(STYLES[emotion])[:1]:  # the action without which it would be another emotion
        choice[_NAMES.index(name)] = np.clip(choice[_NAMES.index(name)], 0.6, 1.4)
    scale = scale_of(level) * rng.lognormal(0, 0.18)
    tilt = np.exp(rng.normal(0, 0.08) * (_SIDES["Left"] * 1.0 - _SIDES["Right"]))
    shape = envelope(rng, times)[:, None] * (1 + 0.12 * slow_noise(rng, times, len(_NAMES)))
    moved = shape * (strength * choice * scale)
    moved[:, _DROOP] = np.minimum(moved[:, _DROOP], 0.3)  # more is a shut eye
    other = EMOTIONS[
        rng.integers(len(EMOTIONS))
    ]  # a trace of something else: classes overlap, most of all at level 1
    trace = rng.uniform(0, _TRACE) * style_of(person, other)[0] * rng.lognormal(0, 0.4, len(_NAMES))
    trace = trace * np.maximum(0, 0.7 + 0.5 * slow_noise(rng, times, 1, 0.5))
    return np.clip(resting_face(person) + (moved @ _MOVES) * sides * tilt + trace @ _MOVES, 0, 1)
