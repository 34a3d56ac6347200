"""What version 2 adds to a person: beard, glasses, lashes, make-up, age, shapes of lids and brows.

`PLAIN` is a person of version 1, who has none of it.
"""

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]

BEARDS = ("none", "stubble", "moustache", "goatee", "short", "full")
BEARD_CHANCES = (0.32, 0.20, 0.13, 0.11, 0.16, 0.08)
GLASSES = ("round", "oval", "square", "aviator", "half")
GLASSES_CHANCE = 0.28
# Regions of the face whose lines come with an action; each has its own lines in the texture.
LINES = (
    "forehead",
    "frown",
    "nose_root",
    "nasolabial_left",
    "nasolabial_right",
    "crow_left",
    "crow_right",
    "under_eye_left",
    "under_eye_right",
    "chin",
)
_SEED = 0x10C
FRAME_COLOURS = np.array(
    [
        (0.05, 0.05, 0.06),
        (0.08, 0.07, 0.07),
        (0.22, 0.13, 0.08),
        (0.36, 0.22, 0.12),
        (0.45, 0.42, 0.38),
        (0.62, 0.52, 0.32),
        (0.55, 0.56, 0.58),
        (0.16, 0.20, 0.36),
        (0.45, 0.12, 0.14),
    ]
)
LID_COLOURS = np.array(
    [(0.42, 0.30, 0.26), (0.30, 0.26, 0.34), (0.24, 0.32, 0.36), (0.50, 0.30, 0.34)]
)


@dataclass(frozen=True)
class Beard:
    """Hair on lip, chin and jaw.

    Attributes:
        style: one of `BEARDS`.
        density: 0 to 1, how much skin it hides.
        length: dm, on the chin.
        moustache: 0 to 1, density above the lip.
        droop: dm that the moustache hangs over the upper lip.
        cheek_line: dm by which the beard reaches higher on the cheeks.
        colour: sRGB in [0, 1].
        grey: 0 to 1, share of white hairs.
    """

    style: str = "none"
    density: float = 0.0
    length: float = 0.0
    moustache: float = 0.0
    droop: float = 0.0
    cheek_line: float = 0.0
    colour: Colour = (0.1, 0.1, 0.1)
    grey: float = 0.0


@dataclass(frozen=True)
class Glasses:
    """Glasses, lengths in dm.

    Attributes:
        shape: one of `GLASSES`.
        half_width: of a lens.
        half_height: of a lens.
        rim: thickness of the frame.
        colour: sRGB in [0, 1], of the frame.
        reflection: 0 to 1, size of what the lenses reflect.
        drop: how far the middle of a lens lies below the eye.
    """

    shape: str
    half_width: float
    half_height: float
    rim: float
    colour: Colour
    reflection: float
    drop: float


@dataclass(frozen=True)
class Looks:
    """Everything that version 2 adds to a person.

    Shares are in [0, 1], lengths in dm.

    Attributes:
        beard: hair on the lower face.
        glasses: or None.
        lashes: opacity of the upper lashes.
        lower_lashes: strength of the line of the lower lashes.
        eyeliner: strength of a line on both lids.
        lid_colour: sRGB in [0, 1] of make-up on the upper lids.
        lid_shadow: its strength.
        gloss: of the lips.
        lines: strength at rest of each of `LINES`.
        line_gain: what a full action adds to a line.
        mottling: unevenness of the skin's tone.
        spots: spots of age.
        eye_bags: shadow under the eyes.
        crease: strength of the crease above the upper lid.
        brow_raise: shift of the painted brow.
        brow_gap: shift of the brow's inner end towards the middle of the face.
        brow_tail: shift of the brow's outer end outwards.
        mess: of the hair on the head, which then ends in tufts.
    """

    beard: Beard = Beard()
    glasses: Glasses | None = None
    lashes: float = 0.55
    lower_lashes: float = 0.0
    eyeliner: float = 0.0
    lid_colour: Colour = (0.4, 0.3, 0.3)
    lid_shadow: float = 0.0
    gloss: float = 0.0
    lines: tuple[float, ...] = (0.0,) * len(LINES)
    line_gain: float = 0.0
    mottling: float = 0.0
    spots: float = 0.0
    eye_bags: float = 0.0
    crease: float = 0.0
    brow_raise: float = 0.0
    brow_gap: float = 0.0
    brow_tail: float = 0.0
    mess: float = 0.0


PLAIN = Looks()


def _colour(values: np.ndarray) -> Colour:
    red, green, blue = np.clip(values, 0.0, 1.0)
    return float(red), float(green), float(blue)


def sample_looks(number: int, sex: str, age: float, hair: Colour) -> Looks:
    """The looks of a person of version 2.

    Args:
        number: of the person.
        sex: female or male.
        age: 0 about 20, 1 about 70 years.
        hair: colour of the hair on the head.
    """
    rng = np.random.default_rng([number, _SEED])
    is_female = sex == "female"
    beard = _sample_beard(rng, age, hair)
    glasses = _sample_glasses(rng)
    has_make_up = rng.random() < 0.55
    make_up = rng.uniform(0.2, 1.0, 4)
    lid_colour = LID_COLOURS[rng.integers(len(LID_COLOURS))] * rng.uniform(0.8, 1.2)
    lashes, lower_lashes = rng.uniform((0.25, 0.0), (0.75, 0.45))
    at_rest = _sample_lines(rng, age)
    line_gain = 0.30 + 0.50 * age + rng.normal(0, 0.15)
    crease = rng.uniform(0.0, 0.8)
    mottling, spots, eye_bags = rng.uniform(0, 1, 3)
    brow_raise = float(np.clip(rng.normal(0, 0.018), -0.03, 0.035))
    brow_gap = float(np.clip(rng.normal(0, 0.025), -0.04, 0.06))
    brow_tail = float(np.clip(rng.normal(0, 0.03), -0.06, 0.05))
    mess = float(rng.beta(1.2, 1.2))

    painted = is_female and has_make_up
    return Looks(
        beard=Beard() if is_female else beard,
        glasses=glasses,
        lashes=0.6 + 0.4 * make_up[0] if painted else lashes,
        lower_lashes=lower_lashes + 0.4 * make_up[0] if painted else 0.6 * lower_lashes,
        eyeliner=make_up[1] if painted else 0.0,
        lid_colour=_colour(lid_colour),
        lid_shadow=0.75 * make_up[2] if painted else 0.0,
        gloss=make_up[3] if painted else 0.0,
        lines=at_rest,
        line_gain=float(np.clip(line_gain, 0.1, 1.1)),
        mottling=0.2 + (0.4 + 0.4 * age) * mottling,
        spots=max(age - 0.45, 0) * 2 * spots,
        eye_bags=(0.2 + 0.6 * age) * eye_bags,
        crease=crease,
        brow_raise=brow_raise,
        brow_gap=brow_gap,
        brow_tail=brow_tail,
        mess=mess,
    )


def _sample_beard(rng: np.random.Generator, age: float, hair: Colour) -> Beard:
    style = str(rng.choice(BEARDS, p=BEARD_CHANCES))
    density, length, droop, cheek, shade, greying = rng.uniform(0, 1, 6)
    redder = np.array((1.0, 0.9, 0.8)) ** shade
    colour = np.asarray(hair) * redder * (0.75 + 0.45 * shade)
    grey = float(np.clip(1.6 * (age - 0.35) * greying, 0, 0.8))
    has_beard = style in ("goatee", "short", "full")
    has_moustache = style in ("moustache", "goatee", "short", "full")

    if style == "none":
        return Beard()
    if style == "stubble":
        shadow = 0.25 + 0.45 * density
        return Beard(style, shadow, 0.0, shadow, 0.0, 0.12 * cheek - 0.06, _colour(colour), grey)

    lengths = {"moustache": 0.0, "goatee": 0.16, "short": 0.09, "full": 0.30}
    return Beard(
        style=style,
        density=0.4 + 0.6 * density if has_beard else 0.0,
        length=lengths[style] * (0.5 + 0.7 * length),
        moustache=0.35 + 0.65 * density if has_moustache else 0.0,
        droop=0.02 + 0.06 * droop,
        cheek_line=0.16 * cheek - 0.08,
        colour=_colour(colour),
        grey=grey,
    )


def _sample_glasses(rng: np.random.Generator) -> Glasses | None:
    shape = str(rng.choice(GLASSES))
    wears = rng.random() < GLASSES_CHANCE
    width, height, rim, reflection, drop = rng.uniform(0, 1, 5)
    colour = FRAME_COLOURS[rng.integers(len(FRAME_COLOURS))] * rng.uniform(0.7, 1.2)
    if not wears:
        return None

    flatness = {"round": 0.98, "oval": 0.74, "square": 0.74, "aviator": 0.86, "half": 0.66}
    half_width = 0.225 + 0.06 * width
    return Glasses(
        shape=shape,
        half_width=half_width,
        half_height=half_width * flatness[shape] * (0.92 + 0.16 * height),
        rim=0.014 + 0.026 * rim**1.5,
        colour=_colour(colour),
        reflection=float(max(reflection - 0.5, 0) / 0.5),
        drop=0.01 + 0.03 * drop,
    )


def _sample_lines(rng: np.random.Generator, age: float) -> tuple[float, ...]:
    """Strength at rest of each of `LINES`: little before forty, both sides alike."""
    base = np.clip(0.95 * (age - 0.32), 0, 0.6)
    strength = {}
    for name in LINES:
        stem = name.removesuffix("_left").removesuffix("_right")
        if stem not in strength:
            strength[stem] = base * rng.uniform(0.3, 1.0)
    deepest = max(strength["nasolabial"], 0.08)
    strength["nasolabial"] = deepest

    lines = []
    for name in LINES:
        stem = name.removesuffix("_left").removesuffix("_right")
        lines.append(float(strength[stem]))
    return tuple(lines)
