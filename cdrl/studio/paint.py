"""Everything with a colour: one texture per person, in terms of positions on the average head.

The atlas is (1024, 512, 4) uint8 RGBA: skin by azimuth and height on top, then eye, teeth and plain
patches, then hair. Alpha matters for lashes and hair alone.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import distance_transform_edt, gaussian_filter, zoom

from cdrl.studio.face_lines import line_map
from cdrl.studio.facial_hair import (
    FIRST_SKIN_ROW,
    LAYERS,
    PATCH_ROWS,
    beard_colour,
    beard_cover,
    hair_strands,
    has_shell,
    moustache_cover,
    shell_opacity,
)
from cdrl.studio.glasses import paint_lens
from cdrl.studio.hair import CENTRE, COLUMNS, PHI, ROWS, STYLES, THETA, hairline
from cdrl.studio.head import PARTS, Head, load_head
from cdrl.studio.make_up import (
    BEARD_AREA,
    LID_AREA,
    SKIN_AREA,
    beard_layer,
    lid_layers,
    skin_layers,
)
from cdrl.studio.people import Person
from cdrl.studio.texels import texel_window

_Vector = np.ndarray | Sequence[np.ndarray]  # x and y

ATLAS = (1024, 512)
SKIN_ROWS, EYE_ROW, HAIR_ROW = 640, 640, 768
# Of version 2: what lenses reflect, the colour of a frame, and the layers of a beard below it all.
LENS_COLUMN, LENS_SIDE, FRAME_COLUMN, BEARD_ROW = 384, 96, 480, 1024
NO_LINE = 128  # alpha of skin without a wrinkle
AXIS = 0.30  # z of the vertical axis that azimuth is measured around, dm
REACH = 1.75  # azimuth at the border of the skin patch, radians
TOP, BOTTOM = 1.25, -1.90  # heights at the border of the skin patch, dm
HALF_EYE, EYE_RADIUS = 63.5, 60.0  # texels: middle of the eye patch, radius of the eyeball in it
IRIS, PUPIL = 0.41, 0.17  # radii as shares of the eyeball's
BROW_FROM, BROW_TO, BROW_HEIGHT = 0.115, 0.535, 0.235  # |x| of the brow's ends and its height, dm
WIDEST_TRIANGLE = 60  # texels; a wider one lies across the seam at the back of the head

# Factors on the colour of the skin.
REDDISH = np.array((1.02, 0.80, 0.78))
SHADOWED = np.array((0.80, 0.72, 0.72))
FRECKLED = np.array((0.74, 0.60, 0.50))
# Colours, sRGB in [0, 1].
EYE_WHITE, EYE_BORDER, PUPIL_BLACK = (0.90, 0.885, 0.87), (0.80, 0.62, 0.58), (0.03, 0.025, 0.025)
ENAMEL, TOOTH_GAP, GUM = (0.90, 0.87, 0.80), (0.62, 0.55, 0.48), (0.74, 0.42, 0.42)
MOUTH_LINING, TONGUE = (0.46, 0.20, 0.20), (0.68, 0.36, 0.37)


class Bump(NamedTuple):
    """A Gaussian on the face: its middle, and where it falls to 1/e, in dm."""

    x: float
    y: float
    width: float
    height: float


# Those with a side lie on both cheeks: x is |x|.
CHEEK = Bump(0.43, -0.40, 0.17, 0.17)
NOSE = Bump(0.0, -0.42, 0.13, 0.12)
EYE_SOCKET = Bump(0.31, -0.02, 0.20, 0.11)
FRECKLED_AREA = Bump(0.0, -0.28, 0.5, 0.25)
MOUTH = Bump(0.0, -0.745, 0.27, 0.10)
BELOW_LIP = Bump(0.0, -0.93, 0.12, 0.05)


def smoothstep(low: float, high: float, values: ArrayLike) -> np.ndarray:
    """Smooth step (...,) from 0 at `low` to 1 at `high`, cubic between them."""
    share = np.clip((np.asarray(values) - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


# --- texture coordinates ----------------------------------------------------------------------


def skin_uv(vertices: np.ndarray) -> np.ndarray:
    """Texel coordinates (V, 2) of positions (V, 3) on the average head."""
    x, y, z = vertices.T
    azimuth = np.arctan2(x, z - AXIS)
    from_middle = np.clip(azimuth / (2 * REACH), -0.498, 0.498)
    column = (0.5 + from_middle) * ATLAS[1]

    height = np.clip(y, BOTTOM + 0.01, TOP - 0.01)
    from_top = (TOP - height) / (TOP - BOTTOM)
    row = from_top * SKIN_ROWS

    return np.stack([column, row], 1).astype(np.float32)


class _Arch(NamedTuple):
    """A row of teeth in MakeHuman's texture, where the dental arch lies in the plane."""

    middle: float  # v of the arch's centre
    inner_radius: float
    outer_radius: float
    first_row: int  # of its patch in the atlas


_UPPER_ARCH = _Arch(0.8545, 0.0300, 0.0440, EYE_ROW)
_LOWER_ARCH = _Arch(0.9540, 0.0415, 0.0565, EYE_ROW + 64)


def _teeth_uv(uv: np.ndarray, arch: _Arch) -> np.ndarray:
    """Texel coordinates (N, 2) of a row of teeth: along the arch, and from back to gum.

    Args:
        uv: (N, 2) texture coordinates as in MakeHuman.
        arch: where the row lies in them.
    """
    across = uv[:, 0] - 0.708
    up = uv[:, 1] - arch.middle
    angle = np.arctan2(across, np.abs(up))
    column = 192 + 60 * np.clip(angle / 0.95, -1, 1)

    thickness = arch.outer_radius - arch.inner_radius
    from_inside = np.hypot(across, up) - arch.inner_radius
    depth = np.clip(from_inside / thickness, 0, 1)
    row = arch.first_row + 2 + 60 * depth

    return np.stack([column, row], 1)


def atlas_uv(head: Head) -> np.ndarray:
    """Texel coordinates (V, 2) of every vertex of the head; eyeballs and hair bring their own."""
    upper = head.vertices_of("upper_teeth")
    lower = head.vertices_of("lower_teeth")
    lashes = head.vertices_of("lashes")

    uv = skin_uv(head.vertices)
    uv[head.vertices_of("mouth")] = (272, EYE_ROW + 16)
    uv[head.vertices_of("tongue")] = (304, EYE_ROW + 16)

    uv[upper] = _teeth_uv(head.uv[upper], _UPPER_ARCH)
    uv[lower] = _teeth_uv(head.uv[lower], _LOWER_ARCH)

    along_lash = head.uv[lashes, 0] * 20 % 1
    uv[lashes, 0] = 324 + 56 * along_lash
    uv[lashes, 1] = EYE_ROW + 16

    return uv


# --- positions of the skin's texels -----------------------------------------------------------


class SkinTexels(NamedTuple):
    """Where every texel of the skin lies on the average head, in dm.

    Attributes:
        position: (H, W, 3) float32.
        x: (H, W), to the subject's left.
        y: (H, W), up.
        z: (H, W), out of the face.
        side: (H, W) |x|.
    """

    position: np.ndarray
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    side: np.ndarray


@lru_cache(maxsize=1)
def skin_texels() -> SkinTexels:
    """The texels of the skin, H = SKIN_ROWS; the outermost surface wins.

    A texel that no triangle covers has the position of the nearest that one does.
    """
    head = load_head()
    uv = skin_uv(head.vertices)
    parts = head.part[head.triangles]
    ears = head.ears[head.triangles]
    is_skin = parts.max(1) == PARTS.index("skin")
    is_ear = ears.max(1) >= 0.5

    canvas = _PositionCanvas()
    for corners in head.triangles[is_skin & ~is_ear]:
        texels = uv[corners].astype(np.float64)
        points = head.vertices[corners].astype(np.float64)
        canvas.add(texels, points)

    position = canvas.filled().astype(np.float32)
    x, y, z = np.moveaxis(position, 2, 0)

    return SkinTexels(position, x, y, z, np.abs(x))


class _PositionCanvas:
    """Positions of the texels that triangles cover, one triangle after the other."""

    def __init__(self) -> None:
        self.positions = np.full((SKIN_ROWS, ATLAS[1], 3), np.nan)
        self.distances = np.full((SKIN_ROWS, ATLAS[1]), -np.inf)  # from the axis, dm

    def add(self, texels: np.ndarray, points: np.ndarray) -> None:
        """Write the texels of a triangle where no other lies farther out.

        Args:
            texels: (3, 2) corners in the texture.
            points: (3, 3) corners on the head, dm.
        """
        left, top = np.floor(texels.min(0)).astype(int)
        right, bottom = np.ceil(texels.max(0)).astype(int) + 1
        first_edge = texels[1] - texels[0]
        second_edge = texels[2] - texels[0]
        area = _cross(first_edge, second_edge)
        if right - left > WIDEST_TRIANGLE or abs(area) < 1e-9:
            return

        columns = np.arange(left, min(right, ATLAS[1]))
        rows = np.arange(top, min(bottom, SKIN_ROWS))
        from_corner = np.meshgrid(columns + 0.5 - texels[0, 0], rows + 0.5 - texels[0, 1])
        b = _cross(from_corner, second_edge) / area
        c = _cross(first_edge, from_corner) / area
        inside = (b >= -0.01) & (c >= -0.01) & (b + c <= 1.01)

        along_first = b[..., None] * (points[1] - points[0])
        along_second = c[..., None] * (points[2] - points[0])
        positions = points[0] + along_first + along_second
        box = (slice(top, top + len(rows)), slice(left, left + len(columns)))
        self._write(positions, inside, box)

    def _write(self, positions: np.ndarray, inside: np.ndarray, box: tuple[slice, slice]) -> None:
        """Write positions (h, w, 3) into a box of the canvas, where they are the outermost."""
        distances = np.hypot(positions[..., 0], positions[..., 2] - AXIS)
        is_outermost = inside & (distances > self.distances[box])
        self.distances[box][is_outermost] = distances[is_outermost]
        self.positions[box][is_outermost] = positions[is_outermost]

    def filled(self) -> np.ndarray:
        """(H, W, 3) positions, with the nearest one where there was none."""
        is_hole = np.isnan(self.positions[..., 0])
        row, column = distance_transform_edt(is_hole, return_distances=False, return_indices=True)
        return self.positions[row, column]


def _cross(first: _Vector, second: _Vector) -> np.ndarray:
    """Cross product (...,) of two vectors of the plane, or of arrays of them."""
    first_x, first_y = first
    second_x, second_y = second
    return first_x * second_y - first_y * second_x


# --- brushes ----------------------------------------------------------------------------------


def _blend(image: np.ndarray, colour: ArrayLike, opacity: np.ndarray) -> None:
    """Mix a colour (3,) or (H, W, 3) into an image (H, W, 3), in place.

    Args:
        image: float32.
        colour: sRGB in [0, 1].
        opacity: (H, W), clipped to [0, 1].
    """
    alpha = np.clip(opacity, 0, 1)[..., None]
    image += (np.asarray(colour, np.float32) - image) * alpha


def _bump(x: np.ndarray, y: np.ndarray, bump: Bump) -> np.ndarray:
    """A Gaussian (H, W) with value 1 in its middle."""
    across = ((x - bump.x) / bump.width) ** 2
    up = ((y - bump.y) / bump.height) ** 2
    return np.exp(-across - up)


def _noise(
    rng: np.random.Generator, shape: tuple[int, ...], sigma: float | Sequence[float]
) -> np.ndarray:
    """Smooth random field (H, W) of unit variance.

    Args:
        rng: source of the noise.
        shape: H and W.
        sigma: texels, of both axes or of each; wide ones are drawn coarsely and stretched.
    """
    sigmas = np.broadcast_to(sigma, 2)
    step = tuple(4 if value >= 6 else 1 for value in sigmas)
    coarse_shape = [length // factor for length, factor in zip(shape, step, strict=True)]
    coarse = rng.normal(0, 1, coarse_shape).astype(np.float32)

    field = gaussian_filter(coarse, sigmas / step, mode="wrap")
    if max(step) > 1:
        field = zoom(field, step, order=1, mode="grid-wrap", grid_mode=True)
    return field / field.std()


def _single(colour: ArrayLike) -> np.ndarray:
    """A colour (3,) as float32."""
    return np.asarray(colour, np.float32)


# --- skin -------------------------------------------------------------------------------------


def paint_skin(person: Person) -> np.ndarray:
    """Skin patch (SKIN_ROWS, W, 3) float32 in [0, 1]."""
    rng = np.random.default_rng([person.number, 0x5C1])
    at = skin_texels()
    image = _bare_skin(person, rng, at.x.shape)
    _paint_blush(image, person, at)
    _paint_eye_sockets(image, person, at)
    if person.freckles > 0:
        _paint_freckles(image, person, at, rng)

    if person.stubble > 0.05:
        _paint_stubble(image, person, at, rng)
    if person.version > 1:
        _paint_looks(image, person, at)

    _paint_brows(image, person, at, rng)
    if person.hair_style != "bald":
        _paint_hair_roots(image, person, at, rng)

    _paint_collar(image, person, at)

    return np.clip(image, 0, 1)


def _bare_skin(person: Person, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Skin (H, W, 3) of one colour with fine and coarse mottling."""
    image = np.ones((*shape, 3), np.float32)
    image *= _single(person.skin)

    fine_noise = _noise(rng, shape, 1.2)[..., None]
    coarse_noise = _noise(rng, shape, 14)[..., None]

    fine = 0.018 * fine_noise
    coarse = 0.022 * coarse_noise * np.array((0.4, 1.0, 1.1))
    image *= 1 + fine + coarse

    return image


def _paint_blush(image: np.ndarray, person: Person, at: SkinTexels) -> None:
    """Red cheeks and nose."""
    cheeks = _bump(at.side, at.y, CHEEK)
    is_nose = at.z > 1.4
    nose = _bump(at.x, at.y, NOSE) * is_nose

    redness = cheeks + 0.7 * nose
    colour = _single(person.skin) * REDDISH
    _blend(image, colour, person.blush * redness)


def _paint_eye_sockets(image: np.ndarray, person: Person, at: SkinTexels) -> None:
    """Darker skin around the eyes, more with age."""
    is_front = at.z > 0.8
    sockets = _bump(at.side, at.y, EYE_SOCKET) * is_front
    strength = 0.30 + 0.35 * person.age
    colour = _single(person.skin) * SHADOWED
    _blend(image, colour, strength * sockets)


def _paint_freckles(
    image: np.ndarray, person: Person, at: SkinTexels, rng: np.random.Generator
) -> None:
    """Spots on nose and cheeks."""
    is_spot = _noise(rng, at.x.shape, 1.6) > 2.0
    spots = gaussian_filter(is_spot * 1.0, 0.7)
    is_front = at.z > 0.6
    area = _bump(at.x, at.y, FRECKLED_AREA) * is_front

    opacity = spots * area * person.freckles * 2
    colour = _single(person.skin) * FRECKLED
    _blend(image, colour, np.minimum(opacity, 0.8))


def _paint_stubble(
    image: np.ndarray, person: Person, at: SkinTexels, rng: np.random.Generator
) -> None:
    """A shadow of beard on jaw, chin and upper lip, none on the lips."""
    moustache = 0.9 * _moustache(at)
    coverage = np.clip(np.maximum(_beard(at), moustache), 0, 1)
    grain = 0.80 + 0.16 * _noise(rng, at.x.shape, 0.7)
    hairs = np.clip(grain, 0, 1)
    opacity = coverage * hairs * person.stubble
    is_front = at.z > 0.1

    hair_part = 0.55 * _single(person.hair)
    skin_part = 0.25 * _single(person.skin)
    _blend(image, hair_part + skin_part, np.minimum(opacity * is_front, 0.85))


def _moustache(at: SkinTexels) -> np.ndarray:
    """(H, W) a band above the upper lip."""
    from_middle = (at.y + 0.585) / 0.055
    is_lip = at.side < 0.26
    return np.exp(-(from_middle**2)) * is_lip


def _beard(at: SkinTexels) -> np.ndarray:
    """(H, W) chin and jaw, without the mouth."""
    sideburn = np.clip(at.side - 0.25, 0, 1)
    cheek_line = at.y - 0.40 * sideburn
    jaw = 1 - smoothstep(-0.70, -0.42, cheek_line)

    below_lip = _bump(at.x, at.y, BELOW_LIP)
    mouth = _bump(at.x, at.y, MOUTH) * (1 - 0.5 * below_lip)
    above_neck = smoothstep(-1.55, -1.25, at.y)

    return above_neck * jaw * (1 - mouth)


def _paint_looks(image: np.ndarray, person: Person, at: SkinTexels) -> None:
    """Unevenness, age, lids, make-up and the roots of a beard."""
    rng = np.random.default_rng([person.number, 0x5C2])
    looks = person.looks
    skin = _single(person.skin)

    face = texel_window(at.x, at.y, *SKIN_AREA)
    position = at.position[face]
    shape = tuple(length // 4 * 4 for length in position.shape[:2])
    noise = []
    for sigma in (22, 3):
        field = _noise(rng, shape, sigma) if sigma > 3 or looks.spots > 0 else np.zeros(shape)
        missing = [(0, whole - part) for whole, part in zip(position.shape, shape, strict=False)]
        noise.append(np.pad(field, missing, mode="edge"))
    for colour, opacity in skin_layers(looks, skin, position, noise):
        _blend(image[face], colour, opacity)

    lids = texel_window(at.x, at.y, *LID_AREA)
    for colour, opacity in lid_layers(looks, skin, at.position[lids], _lash_colour(person)):
        _blend(image[lids], colour, opacity)

    if looks.beard.style != "none":
        lower_face = texel_window(at.x, at.y, *BEARD_AREA)
        position = at.position[lower_face]
        colour, opacity = beard_layer(looks, person.number, skin, position)
        _blend(image[lower_face], colour, opacity)


def _lash_colour(person: Person) -> np.ndarray:
    """(3,) sRGB."""
    return 0.35 * np.asarray(person.brow) + 0.02


def _paint_brows(
    image: np.ndarray, person: Person, at: SkinTexels, rng: np.random.Generator
) -> None:
    """The brows: a tapered arch of hairs that lean outwards."""
    inner = BROW_FROM - person.looks.brow_gap
    outer = BROW_TO + person.looks.brow_tail
    along = (at.side - inner) / (outer - inner)  # 0 at the inner end, 1 at the outer
    half_width = np.maximum(_brow_half_width(person, along), 1e-3)
    across = np.abs(at.y - _brow_height(person, along)) / half_width
    hairs = _noise(rng, at.x.shape, (2.2, 0.9))

    inside = 1 - smoothstep(0.55, 1.25, across + 0.12 * hairs)
    after_start = smoothstep(-0.05, 0.10, along)
    before_end = 1 - smoothstep(0.90, 1.03, along)
    coverage = inside * after_start * before_end
    density = np.clip(0.88 + 0.12 * hairs, 0, 1)
    opacity = person.brow_density * coverage * density
    is_front = at.z > 0.9
    _blend(image, person.brow, opacity * is_front)


def _brow_height(person: Person, along: np.ndarray) -> np.ndarray:
    """Height (H, W) of the brow's middle, dm; `along` (H, W) is 0 at its start and 1 at its end."""
    from_peak = (along - 0.62) / 0.62
    arch = 0.050 * person.brow_arch * (1 - from_peak**2)
    slope = 0.03 * person.brow_slope * (along - 0.4)
    fall = 0.045 * np.clip(along - 0.7, 0, 1)

    return BROW_HEIGHT + person.looks.brow_raise + (arch + slope) - fall


def _brow_half_width(person: Person, along: np.ndarray) -> np.ndarray:
    """Half the brow's width (H, W), dm; `along` (H, W) is 0 at its start and 1 at its end."""
    taper = 1 - 0.72 * np.clip(along, 0, 1) ** 1.6
    start = smoothstep(-0.06, 0.12, along)
    return 0.5 * person.brow_width * taper * start


def _paint_hair_roots(
    image: np.ndarray, person: Person, at: SkinTexels, rng: np.random.Generator
) -> None:
    """The scalp under the hair, or the hair itself where it is a buzz cut."""
    offset = at.position - CENTRE
    x, y, z = np.moveaxis(offset, 2, 0)
    azimuth = np.arctan2(x, z)
    radius = np.linalg.norm(offset, axis=2)
    polar = np.arccos(y / radius)
    strands = _noise(rng, polar.shape, (3.0, 0.8))
    roots = hairline(person, azimuth, roots=True)
    above_edge = roots - polar + 0.012 * strands
    inside = smoothstep(-0.07, 0.07, above_edge)

    coverage = 0.72 if person.hair_style == "buzz" else 0.92
    opacity = coverage * inside * (0.93 + 0.07 * strands)
    hair_part = _single(person.hair) * 0.85
    skin_part = 0.08 * _single(person.skin)
    _blend(image, hair_part + skin_part, opacity)


def _paint_collar(image: np.ndarray, person: Person, at: SkinTexels) -> None:
    """The shirt, from a round collar down."""
    azimuth = np.arctan2(at.x, at.z - 0.2)
    edge = -1.66 + 0.10 * np.cos(azimuth) * -1.5
    _blend(image, person.shirt, smoothstep(0.0, 0.03, edge - at.y))


# --- eyes, teeth, hair ------------------------------------------------------------------------


def paint_eye(person: Person) -> np.ndarray:
    """Eye patch (128, 128, 3): the front half of the eyeball, seen along its axis.

    It reaches 1.06 radii from the middle to the border.
    """
    texels = np.mgrid[0:128, 0:128] - HALF_EYE
    y, x = texels / EYE_RADIUS
    radius = np.hypot(x, y)
    angle = np.arctan2(y, x)

    image = np.ones((128, 128, 3), np.float32)
    image *= _single(EYE_WHITE)
    _blend(image, EYE_BORDER, 0.35 * smoothstep(0.55, 1.0, radius))
    in_iris = 1 - smoothstep(IRIS - 0.03, IRIS + 0.03, radius)
    _blend(image, _iris_colour(person, radius, angle), in_iris)
    in_pupil = 1 - smoothstep(PUPIL - 0.03, PUPIL + 0.03, radius)
    _blend(image, PUPIL_BLACK, in_pupil)

    return np.clip(image, 0, 1)


def _iris_colour(person: Person, radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Colour (H, W, 3) of the iris: radial fibres, darker towards its rim.

    Args:
        person: whose eye.
        radius: (H, W) from the pupil's middle, in radii of the eyeball.
        angle: (H, W) around it, radians.
    """
    rng = np.random.default_rng([person.number, 0xE7E])
    noise = rng.normal(0, 1, 60)
    fibre_values = gaussian_filter(noise, 0.8, mode="wrap")
    fibre_angles = np.linspace(-np.pi, np.pi, 60)
    fibres = np.interp(angle, fibre_angles, fibre_values)
    rim = smoothstep(0.55, 1.0, radius / IRIS)

    fibre_brightness = 1.25 - 0.1 * fibres
    rim_brightness = 1.15 - 0.75 * rim
    colour = _single(person.iris) * fibre_brightness[..., None]

    return np.clip(colour * rim_brightness[..., None], 0, 1)


def paint_teeth(is_upper: bool) -> np.ndarray:
    """Teeth patch (64, 128, 3): the jaw's arch across, from the tooth's back to the gum down.

    Args:
        is_upper: the upper row; the lower one is a little darker.
    """
    row, column = np.mgrid[0:64, 0:128]
    tooth = (column - 63.5) / 60 * 6.0
    from_edge = np.abs(tooth - np.round(tooth))
    is_gap = from_edge < 0.055
    side = np.clip(np.abs(tooth) / 6, 0, 1)
    phase = 2 * np.pi * tooth
    gum_line = 49 + 2.5 * np.cos(phase)

    image = np.ones((64, 128, 3), np.float32) * ENAMEL
    image *= 1 - 0.09 * side[..., None]
    _blend(image, TOOTH_GAP, 0.5 * is_gap)
    _blend(image, GUM, smoothstep(-1.5, 1.5, row - gum_line))
    if not is_upper:
        image *= 0.93
    return image


def paint_hair(person: Person) -> np.ndarray:
    """Hair patch (256, 512, 4): strands along the polar angle, alpha 0 beyond a ragged hairline."""
    image = np.zeros((256, 512, 4), np.float32)
    if person.hair_style not in STYLES:
        return image

    rng = np.random.default_rng([person.number, 0xA17])
    is_curly = person.hair_style == "afro"
    strands = _noise(rng, (256, 512), (2.5, 2.5) if is_curly else (30, 1.2))
    locks = _noise(rng, (256, 512), (6, 6) if is_curly else (40, 6))
    brightness = 1 + 0.13 * strands + 0.13 * locks
    colour = _single(person.hair) * brightness[..., None]
    tufts = 0.10 * person.looks.mess
    ragged = 0.030 * strands + (0.030 + tufts) * locks

    image[..., :3] = np.clip(colour, 0, 1)
    image[..., 3] = _hair_opacity(person, ragged)

    return image


def _hair_opacity(person: Person, ragged: np.ndarray) -> np.ndarray:
    """Alpha (256, 512) of the hair: it ends at the hairline, long hair also at its tips.

    Args:
        person: whose hair.
        ragged: (256, 512) noise that both ends get.
    """
    azimuth = np.interp(np.arange(512), np.linspace(0, 511, COLUMNS), PHI)
    polar = np.interp(np.arange(256), np.linspace(0, 255, ROWS), THETA)[:, None]
    inside = hairline(person, azimuth[None]) - polar
    opacity = smoothstep(-0.03, 0.07, inside + ragged)
    if STYLES[person.hair_style].length == 0:
        return opacity

    # Long hair thins out over its last .10 radians.
    last_row = THETA[-1]
    to_end = np.where(polar > last_row - 0.10, (last_row - polar) / 0.10, 1.0)
    is_tip = to_end < 1

    return opacity * np.clip(to_end + 6 * ragged * is_tip, 0, 1)


# --- the atlas --------------------------------------------------------------------------------


def paint_atlas(person: Person) -> np.ndarray:
    """The person's whole texture, (1024, 512, 4) uint8."""
    atlas = np.ones((*ATLAS, 4), np.float32)
    atlas[:SKIN_ROWS, :, :3] = paint_skin(person)
    atlas[HAIR_ROW:] = paint_hair(person)

    patches = atlas[EYE_ROW:HAIR_ROW]
    patches[:, :128, :3] = paint_eye(person)
    patches[:64, 128:256, :3] = paint_teeth(is_upper=True)
    patches[64:, 128:256, :3] = paint_teeth(is_upper=False)
    patches[:, 256:288, :3] = MOUTH_LINING
    patches[:, 288:320, :3] = TONGUE
    lashes = 0.35 * np.asarray(person.brow) + 0.02
    patches[:, 320:384] = np.append(lashes, 0.55)

    if person.version > 1:
        atlas = _add_looks(atlas, person)

    bytes_of_atlas = np.round(atlas * 255)
    return bytes_of_atlas.astype(np.uint8)


def _add_looks(atlas: np.ndarray, person: Person) -> np.ndarray:
    """The atlas with what version 2 has beside it: wrinkles, glasses, layers of a beard.

    Args:
        atlas: (H, W, 4) in [0, 1]; its patches are painted in place.
        person: looks.
    """
    at = skin_texels()
    looks = person.looks
    lines = line_map(person.number, at.x, at.y)
    atlas[:SKIN_ROWS, :, 3] = (NO_LINE - 127 * lines) / 255
    patches = atlas[EYE_ROW:HAIR_ROW]
    patches[:, 320:384, 3] = looks.lashes
    if looks.glasses is not None:
        frame_end = ATLAS[1]
        patches[:, FRAME_COLUMN:frame_end, :3] = looks.glasses.colour
        lens = paint_lens(looks.glasses, person.number, LENS_SIDE)
        patches[:LENS_SIDE, LENS_COLUMN:FRAME_COLUMN] = lens
    if not has_shell(looks.beard):
        return atlas

    rows = slice(FIRST_SKIN_ROW, FIRST_SKIN_ROW + PATCH_ROWS)
    _, columns = texel_window(at.x, at.y, *BEARD_AREA)
    position = at.position[rows, columns]
    side = np.abs(position[..., 0])
    y, z = position[..., 1], position[..., 2]
    cover = beard_cover(looks.beard, side, y, z)
    cover = np.maximum(cover, 1.15 * moustache_cover(looks.beard, side, y + 0.012))
    strands = hair_strands(person.number, side.shape)
    colour = beard_colour(looks.beard, strands)
    layers = []
    for layer in range(LAYERS):
        opacity = shell_opacity(cover, strands, layer)
        brightness = 0.85 + 0.15 * (layer + 1) / LAYERS
        patch = np.zeros((PATCH_ROWS, ATLAS[1], 4), np.float32)
        patch[:, columns, :3] = colour * brightness
        patch[:, columns, 3] = opacity
        layers.append(patch)

    return np.concatenate([atlas, *layers]).astype(np.float32)


def half_size(atlas: np.ndarray) -> np.ndarray:
    """Texture (2 H, 2 W, C) at half the size, (H, W, C) uint8, each texel the mean of four."""
    wide = atlas.astype(np.uint16)
    even = wide[0::2, 0::2] + wide[1::2, 0::2]
    odd = wide[0::2, 1::2] + wide[1::2, 1::2]
    return ((even + odd + 2) // 4).astype(np.uint8)
