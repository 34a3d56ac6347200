"""Who is in front of the studio's camera, and how it is lit: every person and every scene follows from one integer."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cdrl.core.errors import InputError
from cdrl.studio.head import load_head

RACES = ("african", "asian", "caucasian")
HAIR_STYLES = ("bald", "buzz", "short", "fringe", "swept", "afro", "tied", "bob", "long")
# Chances of a style, per sex, in the order of `HAIR_STYLES`.
STYLE_CHANCES = {
    "male": (0.10, 0.15, 0.30, 0.12, 0.20, 0.06, 0.01, 0.02, 0.04),
    "female": (0.00, 0.02, 0.06, 0.08, 0.08, 0.07, 0.24, 0.20, 0.25),
}
SPREAD, LIMIT = (
    0.24,
    0.6,
)  # standard deviation and clip of identity weights: wider gives caricatures
# Skin from fairest to darkest, sRGB in [0, 1].
SKIN = (
    np.array(
        [
            [238, 203, 187],
            [228, 184, 158],
            [208, 156, 122],
            [172, 118, 86],
            [126, 84, 62],
            [86, 57, 45],
        ]
    )
    / 255
)
HAIR = (
    np.array(
        [
            [24, 20, 19],
            [44, 31, 25],
            [78, 52, 36],
            [120, 82, 50],
            [176, 132, 82],
            [150, 74, 40],
            [148, 144, 140],
        ]
    )
    / 255
)
IRIS = (
    np.array(
        [
            [62, 38, 24],
            [92, 58, 32],
            [110, 92, 50],
            [86, 108, 72],
            [92, 124, 148],
            [70, 100, 140],
            [120, 128, 132],
        ]
    )
    / 255
)


@dataclass(frozen=True)
class Person:
    """Looks of one person. Colours are sRGB triples in [0, 1], shares are in [0, 1], lengths in dm."""

    number: int
    sex: str
    races: tuple[float, float, float]  # shares of `RACES`, sum 1
    age: float  # 0 about 20, 1 about 70 years
    weight: float  # -1 thin to 1 heavy
    shape: tuple[tuple[str, float], ...]  # local identity modes and their weights
    skin: tuple[float, float, float]
    lips: tuple[float, float, float]
    blush: float
    freckles: float
    stubble: float
    hair_style: str
    hair: tuple[float, float, float]
    hairline: float  # shift of the hairline on the forehead, -1 low to 1 receding
    part: float  # side of the parting, -1 to 1
    brow: tuple[float, float, float]
    brow_width: float  # dm, thickest place
    brow_arch: float
    brow_slope: float
    brow_density: float
    iris: tuple[float, float, float]
    shirt: tuple[float, float, float]


@dataclass(frozen=True)
class Scene:
    """Light (linear), background (sRGB) and camera. Directions point from the face towards the light."""

    key_direction: tuple[float, float, float]
    key: tuple[float, float, float]
    fill_direction: tuple[float, float, float]
    fill: tuple[float, float, float]
    sky: tuple[float, float, float]
    ground: tuple[float, float, float]
    background: tuple[tuple[float, float, float], tuple[float, float, float]]
    background_angle: float  # radians, direction of the gradient
    distance: float  # camera to head, dm
    zoom: float  # 1: the head fills about 80 % of the height
    shift: tuple[float, float]  # of the head in the picture, fractions of its height


def _colour(values) -> tuple[float, float, float]:
    return tuple(float(value) for value in np.clip(values, 0.0, 1.0))


def _palette(rng, palette, chances):
    """One colour of the palette by chance, mixed a little with another and shifted in brightness."""
    first, second = rng.choice(len(palette), 2, p=np.array(chances) / np.sum(chances))
    return (0.75 * palette[first] + 0.25 * palette[second]) * rng.uniform(0.85, 1.15)


def _shape(rng) -> tuple[tuple[str, float], ...]:
    """Weights of the local modes: clipped normals; the two sides share nine tenths of theirs."""
    weights, drawn = {}, {}
    for name in load_head().identity.names:
        if name.startswith(RACES + ("age-", "weight-")):
            continue
        stem = name[2:] if name.startswith(("l-", "r-")) else name
        if stem not in drawn:
            drawn[stem] = rng.normal(0, SPREAD)
        own = rng.normal(0, SPREAD)
        value = 0.94 * drawn[stem] + 0.2 * own if stem != name else drawn[stem]
        # Ear shapes and whole-head forms add up over many modes, and wide eyes read as fear: keep them smaller.
        value *= (
            0.6 if stem.startswith(("head-", "eye-height", "eyebrows", "mouth-angles")) else 1.0
        )
        weights[name] = float(np.clip(value, -LIMIT, LIMIT))
    return tuple(weights.items())


@lru_cache(maxsize=1024)
def sample_person(number: int) -> Person:
    """The person with this number; the same for ever, any number >= 0.

    Raises:
        InputError: for a negative number.
    """
    if number < 0:
        raise InputError(f"person {number}: person numbers are 0 or more")
    rng = np.random.default_rng([number, 0x9E0])
    sex = ("female", "male")[int(rng.integers(2))]
    races = rng.dirichlet((0.5, 0.5, 0.5))
    age, weight = float(rng.beta(1.3, 2.2)), float(np.clip(rng.normal(0, 0.35), -0.8, 0.8))
    tone = float(np.clip(races @ (0.82, 0.34, 0.16) + rng.normal(0, 0.1), 0, 1)) * (len(SKIN) - 1)
    skin = np.array([np.interp(tone, np.arange(len(SKIN)), SKIN[:, c]) for c in range(3)])
    skin = np.clip(skin + rng.normal(0, 0.012, 3), 0.1, 0.96)
    dark = tone / (len(SKIN) - 1)
    made_up = rng.random() < (0.45 if sex == "female" else 0.0)
    lips = (
        skin * (0.92, 0.70, 0.70)
        if not made_up
        else skin * 0.45 + np.array((0.42, 0.10, 0.14)) * rng.uniform(0.8, 1.2)
    )
    lips = lips * rng.uniform(0.92, 1.06)
    fair = (1 - dark) ** 2
    hair = _palette(
        rng,
        HAIR,
        (1.2, 1.5, 1.6 * fair, 1.3 * fair, 1.1 * fair, 0.6 * fair, 4 * max(age - 0.5, 0) + 0.02),
    )
    iris = _palette(rng, IRIS, (2, 1.5, 1.0 * fair, 0.8 * fair, 1.0 * fair, 1.0 * fair, 0.6 * fair))
    style = str(
        rng.choice(HAIR_STYLES, p=np.array(STYLE_CHANCES[sex]) / np.sum(STYLE_CHANCES[sex]))
    )
    stubble = float(np.clip(rng.beta(1, 2), 0, 0.9)) if sex == "male" else 0.0
    return Person(
        number=number,
        sex=sex,
        races=tuple(map(float, races)),
        age=age,
        weight=weight,
        shape=_shape(rng),
        skin=_colour(skin),
        lips=_colour(lips),
        blush=float(rng.uniform(0.05, 0.5)),
        freckles=float(max(rng.normal(-0.3, 0.5), 0)) * fair,
        stubble=stubble,
        hair_style=style,
        hair=_colour(hair),
        hairline=float(np.clip(rng.normal(0, 0.4), -1, 1)),
        part=float(rng.uniform(-1, 1)),
        brow=_colour(hair * rng.uniform(0.55, 0.9)),
        brow_width=float(rng.uniform(0.045, 0.07) if sex == "female" else rng.uniform(0.06, 0.095)),
        brow_arch=float(rng.uniform(0.2, 1.0)),
        brow_slope=float(rng.normal(0, 0.5)),
        brow_density=float(rng.uniform(0.65, 1.0)),
        iris=_colour(iris),
        shirt=_colour(rng.uniform(0.1, 0.75) + rng.normal(0, 0.09, 3)),
    )


@lru_cache(maxsize=1024)
def person_vertices(person: Person) -> np.ndarray:
    """Neutral head (V, 3) of a person in dm, float32: average head plus macro mix plus local modes."""
    head = load_head()
    macro = {f"{race}-{person.sex}": share for race, share in zip(RACES, person.races, strict=True)}
    macro |= {f"age-{person.sex}": 0.75 * person.age, f"weight-{person.sex}": person.weight}
    return head.vertices + head.identity.displacement(macro | dict(person.shape), len(head.vertices))


def _direction(azimuth, elevation) -> tuple[float, float, float]:
    flat = np.cos(elevation)
    return (float(flat * np.sin(azimuth)), float(np.sin(elevation)), float(flat * np.cos(azimuth)))


def sample_scene(seed: int) -> Scene:
    """The scene with this seed: a key light from the front half, a weak fill from the other side, a gradient behind."""
    rng = np.random.default_rng([seed, 0x5CE])
    side = rng.choice((-1, 1))
    warm = rng.normal(0, 0.06)
    tint = np.array((1 + warm, 1.0, 1 - warm))
    key = rng.uniform(0.50, 0.72) * tint
    sky = rng.uniform(0.30, 0.44) * (tint[::-1] * 0.5 + 0.5)
    first = rng.uniform(0.15, 0.8) * np.clip(1 + rng.normal(0, 0.12, 3), 0.6, 1.4)
    second = first * rng.uniform(0.55, 1.2)
    return Scene(
        key_direction=_direction(side * rng.uniform(0.1, 0.95), rng.uniform(0.15, 0.8)),
        key=tuple(map(float, key)),
        fill_direction=_direction(-side * rng.uniform(0.5, 1.2), rng.uniform(-0.1, 0.4)),
        fill=tuple(map(float, rng.uniform(0.08, 0.2) * tint[::-1])),
        sky=tuple(map(float, sky)),
        ground=tuple(map(float, sky * (0.75, 0.62, 0.55))),
        background=(_colour(first), _colour(second)),
        background_angle=float(rng.uniform(0, 2 * np.pi)),
        distance=float(rng.uniform(13, 20)),
        zoom=float(rng.uniform(0.95, 1.05)),
        shift=(float(rng.normal(0, 0.01)), float(rng.normal(0, 0.01))),
    )
