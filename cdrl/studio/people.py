"""Who is in front of the studio's camera, and how it is lit.

Every person and every scene follows from one integer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from cdrl.core.errors import InputError
from cdrl.studio.head import load_head
from cdrl.studio.looks import PLAIN, Looks, sample_looks

# Version 1 is what the committed networks and results stand on; version 2 has more kinds of faces,
# acts as strongly as real people, and is seen through a camera.
VERSIONS = (1, 2)
VERSION = 1  # where nothing else is said; 2 when all networks are trained again on it
# Ids of people who may score and be sealed: voices and sentences of their own, of no training.
RESERVED_PEOPLE = range(1_000_000, 2_000_000)
RACES = ("african", "asian", "caucasian")
HAIR_STYLES = ("bald", "buzz", "short", "fringe", "swept", "afro", "tied", "bob", "long")
# Chances of a style, per sex, in the order of `HAIR_STYLES`.
STYLE_CHANCES = {
    "male": (0.10, 0.15, 0.30, 0.12, 0.20, 0.06, 0.01, 0.02, 0.04),
    "female": (0.00, 0.02, 0.06, 0.08, 0.08, 0.07, 0.24, 0.20, 0.25),
}
# Standard deviation and clip of the weights of identity modes; wider gives caricatures.
SPREAD, LIMIT = 0.24, 0.6
MACRO_MODES = (*RACES, "age-", "weight-")  # first part of the names of modes of the whole head
# Whole-head forms add up over many modes, and wide eyes read as fear: keep them smaller.
SUBDUED_MODES = ("head-", "eye-height", "eyebrows", "mouth-angles")
# Version 2 spreads these wider: lids, folds above them, brows.
VARIED_MODES = ("eye-eyefold", "eye-epicanthus", "eye-bag", "eye-corner", "eyebrows", "mouth-laugh")
VARIED_LIMIT = 0.75
BROW_WIDTHS = {"male": (0.06, 0.095), "female": (0.045, 0.07)}  # dm, from and to
LIPSTICK = np.array((0.42, 0.10, 0.14))
TONE_OF_RACES = (0.82, 0.34, 0.16)  # mean place in `SKIN`, 0 to 1
# Skin from fairest to darkest, sRGB in [0, 1].
SKIN = (
    np.array(
        [
            (238, 203, 187),
            (228, 184, 158),
            (208, 156, 122),
            (172, 118, 86),
            (126, 84, 62),
            (86, 57, 45),
        ]
    )
    / 255
)
HAIR = (
    np.array(
        [
            (24, 20, 19),
            (44, 31, 25),
            (78, 52, 36),
            (120, 82, 50),
            (176, 132, 82),
            (150, 74, 40),
            (148, 144, 140),
        ]
    )
    / 255
)
IRIS = (
    np.array(
        [
            (62, 38, 24),
            (92, 58, 32),
            (110, 92, 50),
            (86, 108, 72),
            (92, 124, 148),
            (70, 100, 140),
            (120, 128, 132),
        ]
    )
    / 255
)
Colour = tuple[float, float, float]
Direction = tuple[float, float, float]


@dataclass(frozen=True)
class Person:
    """Looks of one person.

    Colours are sRGB triples in [0, 1], shares are in [0, 1], lengths in dm.
    """

    number: int
    sex: str
    races: tuple[float, ...]  # shares of `RACES`, sum 1
    age: float  # 0 about 20, 1 about 70 years
    weight: float  # -1 thin to 1 heavy
    shape: tuple[tuple[str, float], ...]  # local identity modes and their weights
    skin: Colour
    lips: Colour
    blush: float
    freckles: float
    stubble: float
    hair_style: str
    hair: Colour
    hairline: float  # shift of the hairline on the forehead, -1 low to 1 receding
    part: float  # side of the parting, -1 to 1
    brow: Colour
    brow_width: float  # dm, thickest place
    brow_arch: float
    brow_slope: float
    brow_density: float
    iris: Colour
    shirt: Colour
    version: int = 1  # of the studio
    looks: Looks = PLAIN


@dataclass(frozen=True)
class Scene:
    """Light (linear), background (sRGB) and camera.

    Directions are unit vectors from the face towards the light.
    """

    key_direction: Direction
    key: Colour
    fill_direction: Direction
    fill: Colour
    sky: Colour
    ground: Colour
    background: tuple[Colour, Colour]
    background_angle: float  # radians, direction of the gradient
    distance: float  # camera to head, dm
    zoom: float  # 1: the head fills about 80 % of the height
    shift: tuple[float, float]  # of the head in the picture, fractions of its height
    clutter: float = 0.0  # contrast of what is out of focus behind the head
    clutter_seed: int = 0


def check_version(version: int) -> None:
    """Refuse a version that the studio does not have.

    Raises:
        InputError: the version is not one of `VERSIONS`.
    """
    if version not in VERSIONS:
        accepted = ", ".join(map(str, VERSIONS))
        raise InputError(f"studio version {version!r}: accepted are {accepted}")


def _colour(values: np.ndarray) -> Colour:
    red, green, blue = np.clip(values, 0.0, 1.0)
    return float(red), float(green), float(blue)


def _clipped_normal(rng: np.random.Generator, std: float, limit: float) -> float:
    return float(np.clip(rng.normal(0, std), -limit, limit))


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _from_palette(
    rng: np.random.Generator, palette: np.ndarray, weights: Sequence[float]
) -> np.ndarray:
    """A colour (3,) of the palette by chance, mixed a little with another, shifted in brightness.

    Args:
        rng: of the person.
        palette: (N, 3) sRGB.
        weights: N, of each colour's chance.
    """
    chances = np.array(weights) / np.sum(weights)
    first, second = rng.choice(len(palette), 2, p=chances)
    mixed = 0.75 * palette[first] + 0.25 * palette[second]
    return mixed * rng.uniform(0.85, 1.15)


def _sample_shape(rng: np.random.Generator) -> tuple[tuple[str, float], ...]:
    """Weights of the local modes: clipped normals; the two sides share nine tenths of theirs."""
    weights: list[tuple[str, float]] = []
    weight_of_both: dict[str, float] = {}
    for mode in load_head().identity.names:
        if mode.startswith(MACRO_MODES):
            continue
        has_sides = mode.startswith(("l-", "r-"))
        stem = mode[2:] if has_sides else mode
        if stem not in weight_of_both:
            weight_of_both[stem] = rng.normal(0, SPREAD)

        own_weight = rng.normal(0, SPREAD)
        weight = weight_of_both[stem]
        if has_sides:
            weight = 0.94 * weight + 0.2 * own_weight
        if stem.startswith(SUBDUED_MODES):
            weight *= 0.6

        weights.append((mode, float(np.clip(weight, -LIMIT, LIMIT))))

    return tuple(weights)


def _sample_skin(rng: np.random.Generator, races: np.ndarray) -> tuple[np.ndarray, float]:
    """Colour (3,) of the skin, and its darkness from 0 to 1.

    Args:
        rng: of the person.
        races: (3,) shares of `RACES`.
    """
    last = len(SKIN) - 1
    mean_tone = races @ TONE_OF_RACES
    drawn_tone = mean_tone + rng.normal(0, 0.1)
    tone = float(np.clip(drawn_tone, 0, 1))
    position = tone * last

    channels = []
    for shades in SKIN.T:
        channels.append(np.interp(position, np.arange(len(SKIN)), shades))

    noise = rng.normal(0, 0.012, 3)
    skin = np.array(channels) + noise

    return np.clip(skin, 0.1, 0.96), position / last


def _sample_lips(rng: np.random.Generator, skin: np.ndarray, sex: str) -> np.ndarray:
    """Colour (3,) of the lips, some of them made up."""
    chance_of_lipstick = 0.45 if sex == "female" else 0.0
    if rng.random() < chance_of_lipstick:
        lips = skin * 0.45 + LIPSTICK * rng.uniform(0.8, 1.2)
    else:
        lips = skin * (0.92, 0.70, 0.70)

    return lips * rng.uniform(0.92, 1.06)


def _hair_chances(fairness: float, age: float) -> tuple[float, ...]:
    """Weights of the colours in `HAIR`, from black to grey."""
    fair_colours = (1.6 * fairness, 1.3 * fairness, 1.1 * fairness, 0.6 * fairness)
    grey = 4 * max(age - 0.5, 0) + 0.02
    return (1.2, 1.5, *fair_colours, grey)


def _iris_chances(fairness: float) -> tuple[float, ...]:
    """Weights of the colours in `IRIS`, two browns first."""
    return (2, 1.5, 1.0 * fairness, 0.8 * fairness, 1.0 * fairness, 1.0 * fairness, 0.6 * fairness)


def _sample_hair_style(rng: np.random.Generator, sex: str) -> str:
    weights = np.array(STYLE_CHANCES[sex])
    return str(rng.choice(HAIR_STYLES, p=weights / np.sum(weights)))


@lru_cache(maxsize=1024)
def sample_person(number: int, version: int = VERSION) -> Person:
    """The person with this number; always the same.

    Args:
        number: 0 or more.
        version: of the studio; one number has the same sex and a like head in all.

    Raises:
        InputError: for a negative number or an unknown version.
    """
    if number < 0:
        raise InputError(f"person {number}: person numbers are 0 or more")
    check_version(version)

    # The order of the draws is part of the corpus: another one makes other people.
    rng = np.random.default_rng([number, 0x9E0])
    sex = ("female", "male")[int(rng.integers(2))]
    races = rng.dirichlet((0.5, 0.5, 0.5))
    age = float(rng.beta(1.3, 2.2))
    weight = _clipped_normal(rng, 0.35, 0.8)

    skin, darkness = _sample_skin(rng, races)
    fairness = (1 - darkness) ** 2
    lips = _sample_lips(rng, skin, sex)
    hair = _from_palette(rng, HAIR, _hair_chances(fairness, age))
    iris = _from_palette(rng, IRIS, _iris_chances(fairness))
    hair_style = _sample_hair_style(rng, sex)
    stubble = float(np.clip(rng.beta(1, 2), 0, 0.9)) if sex == "male" else 0.0

    shape = _sample_shape(rng)
    blush = _uniform(rng, 0.05, 0.5)
    freckles = float(max(rng.normal(-0.3, 0.5), 0)) * fairness
    hairline = _clipped_normal(rng, 0.4, 1)
    part = _uniform(rng, -1, 1)

    brow = hair * rng.uniform(0.55, 0.9)
    thinnest, thickest = BROW_WIDTHS[sex]
    brow_width = _uniform(rng, thinnest, thickest)
    brow_arch = _uniform(rng, 0.2, 1.0)
    brow_slope = float(rng.normal(0, 0.5))
    brow_density = _uniform(rng, 0.65, 1.0)
    shirt = rng.uniform(0.1, 0.75) + rng.normal(0, 0.09, 3)

    person = Person(
        number=number,
        sex=sex,
        races=tuple(map(float, races)),
        age=age,
        weight=weight,
        shape=shape,
        skin=_colour(skin),
        lips=_colour(lips),
        blush=blush,
        freckles=freckles,
        stubble=stubble,
        hair_style=hair_style,
        hair=_colour(hair),
        hairline=hairline,
        part=part,
        brow=_colour(brow),
        brow_width=brow_width,
        brow_arch=brow_arch,
        brow_slope=brow_slope,
        brow_density=brow_density,
        iris=_colour(iris),
        shirt=_colour(shirt),
        version=version,
    )
    return person if version == 1 else _vary(person)


def _vary(person: Person) -> Person:
    """A person of version 1 with the looks of version 2, and lids and brows of more shapes."""
    rng = np.random.default_rng([person.number, 0x9E1])
    shape = []
    for mode, weight in person.shape:
        stem = mode[2:] if mode.startswith(("l-", "r-")) else mode
        if stem.startswith(VARIED_MODES):
            weight = float(np.clip(1.7 * weight, -VARIED_LIMIT, VARIED_LIMIT))
        shape.append((mode, weight))

    thickness = float(np.exp(rng.normal(0, 0.28)))
    slope = person.brow_slope + float(rng.normal(0, 0.8))
    density = float(np.clip(person.brow_density * rng.uniform(0.6, 1.1), 0.35, 1.0))
    looks = sample_looks(person.number, person.sex, person.age, person.hair)

    return replace(
        person,
        shape=tuple(shape),
        stubble=0.0,
        brow_width=person.brow_width * thickness,
        brow_slope=slope,
        brow_density=density,
        looks=looks,
    )


@lru_cache(maxsize=1024)
def person_vertices(person: Person) -> np.ndarray:
    """Neutral head (V, 3) of a person in dm, float32: average head, macro modes, local modes."""
    head = load_head()
    sex = person.sex
    weights: dict[str, float] = {}
    for race, share in zip(RACES, person.races, strict=True):
        weights[f"{race}-{sex}"] = share

    weights[f"age-{sex}"] = 0.75 * person.age
    weights[f"weight-{sex}"] = person.weight
    weights.update(person.shape)

    return head.vertices + head.identity.displacement(weights, len(head.vertices))


# --- scenes -----------------------------------------------------------------------------------


def _direction(azimuth: float, elevation: float) -> Direction:
    """Unit vector towards a light; azimuth and elevation in radians, 0 in front of the face."""
    horizontal = np.cos(elevation)

    x = horizontal * np.sin(azimuth)
    y = np.sin(elevation)
    z = horizontal * np.cos(azimuth)

    return float(x), float(y), float(z)


def _light(values: np.ndarray) -> Colour:
    """A linear colour, not clipped."""
    red, green, blue = values
    return float(red), float(green), float(blue)


def _sample_background(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two colours (3,) of a gradient."""
    brightness = rng.uniform(0.15, 0.8)
    tint = np.clip(1 + rng.normal(0, 0.12, 3), 0.6, 1.4)
    first = brightness * tint
    return first, first * rng.uniform(0.55, 1.2)


def sample_scene(seed: int, version: int = VERSION) -> Scene:
    """The scene with this seed.

    A key light from the front half, a weak fill from the other side, a gradient behind.

    Args:
        seed: 0 or more.
        version: of the studio.
    """
    check_version(version)
    if version > 1:
        return _sample_varied_scene(seed)

    # The order of the draws is part of the corpus.
    rng = np.random.default_rng([seed, 0x5CE])
    side = rng.choice((-1, 1))
    warmth = rng.normal(0, 0.06)
    warm = np.array((1 + warmth, 1.0, 1 - warmth))
    cool = warm[::-1]

    key = rng.uniform(0.50, 0.72) * warm
    sky = rng.uniform(0.30, 0.44) * (cool * 0.5 + 0.5)
    first, second = _sample_background(rng)

    key_azimuth = side * rng.uniform(0.1, 0.95)
    key_elevation = rng.uniform(0.15, 0.8)
    fill_azimuth = -side * rng.uniform(0.5, 1.2)
    fill_elevation = rng.uniform(-0.1, 0.4)
    fill = rng.uniform(0.08, 0.2) * cool

    background_angle = _uniform(rng, 0, 2 * np.pi)
    distance = _uniform(rng, 13, 20)
    zoom = _uniform(rng, 0.95, 1.05)
    right = float(rng.normal(0, 0.01))
    down = float(rng.normal(0, 0.01))

    return Scene(
        key_direction=_direction(key_azimuth, key_elevation),
        key=_light(key),
        fill_direction=_direction(fill_azimuth, fill_elevation),
        fill=_light(fill),
        sky=_light(sky),
        ground=_light(sky * (0.75, 0.62, 0.55)),
        background=(_colour(first), _colour(second)),
        background_angle=background_angle,
        distance=distance,
        zoom=zoom,
        shift=(right, down),
    )


def _sample_varied_scene(seed: int) -> Scene:
    """A scene of version 2: light from any side of the front, soft or hard, warm or cold."""
    rng = np.random.default_rng([seed, 0x5CF])
    side = rng.choice((-1, 1))
    key_tint = _tint(rng.normal(0, 0.5))
    sky_tint = _tint(rng.normal(0, 0.4))
    hardness = rng.beta(1.6, 1.6)  # 0: the sky alone, nearly; 1: one lamp in the dark

    key = (0.30 + 0.55 * hardness) * key_tint
    sky = (0.52 - 0.34 * hardness) * rng.uniform(0.9, 1.1) * sky_tint
    fill = rng.uniform(0.02, 0.22) * sky_tint
    bounce = rng.uniform(0.35, 1.0) * np.array((1.05, 0.95, 0.88))
    first, second = _sample_background(rng)

    key_azimuth = side * rng.uniform(0.0, 1.3)
    is_low = rng.random() < 0.12
    key_elevation = rng.uniform(-0.5, 0.0) if is_low else rng.uniform(0.0, 1.0)
    fill_azimuth = -side * rng.uniform(0.5, 1.3)
    fill_elevation = rng.uniform(-0.2, 0.5)

    angle, distance, zoom = rng.uniform((0, 11, 0.93), (2 * np.pi, 22, 1.06))
    right, down = rng.normal(0, 0.012, 2)
    has_clutter = rng.random() < 0.6
    clutter = rng.uniform(0.1, 0.45) if has_clutter else 0.0

    return Scene(
        key_direction=_direction(key_azimuth, key_elevation),
        key=_light(key),
        fill_direction=_direction(fill_azimuth, fill_elevation),
        fill=_light(fill),
        sky=_light(sky),
        ground=_light(sky * bounce),
        background=(_colour(first), _colour(second)),
        background_angle=float(angle),
        distance=float(distance),
        zoom=float(zoom),
        shift=(float(right), float(down)),
        clutter=float(clutter),
        clutter_seed=seed,
    )


def _tint(warmth: float) -> np.ndarray:
    """Factors (3,) of the light's colour: warm above 0, cold below, of mean 1."""
    tint = np.exp(warmth * np.array((0.22, 0.0, -0.30)))
    return tint / tint.mean()
