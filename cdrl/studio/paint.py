"""Everything with a colour: one texture per person, in terms of positions on the average head.

The atlas is (1024, 512, 4) uint8 RGBA: skin by azimuth and height on top, then eye, teeth and plain
patches, then hair. Alpha matters for lashes and hair alone.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import distance_transform_edt, gaussian_filter, zoom

from cdrl.studio.hair import CENTRE, COLUMNS, PHI, ROWS, STYLES, THETA, hairline
from cdrl.studio.head import PARTS, Head, load_head
from cdrl.studio.people import Person

ATLAS = (1024, 512)
SKIN_ROWS, EYE_ROW, HAIR_ROW = 640, 640, 768
AXIS = 0.30  # z of the vertical axis that azimuth is measured around, dm
REACH = 1.75  # azimuth at the border of the skin patch, radians
TOP, BOTTOM = 1.25, -1.90  # heights at the border of the skin patch, dm
HALF_EYE, EYE_RADIUS = 63.5, 60.0  # texels: middle of the eye patch, radius of the eyeball in it
IRIS, PUPIL = 0.41, 0.17  # radii as shares of the eyeball's
BROW_FROM, BROW_TO, BROW_HEIGHT = 0.115, 0.535, 0.235  # |x| of the brow's ends and its height, dm
WIDEST_TRIANGLE = 60  # texels; a wider one lies across the seam at the back of the head


def smoothstep(low: float, high: float, values: ArrayLike) -> np.ndarray:
    """Smooth step (...,) from 0 at `low` to 1 at `high`, cubic between them."""
    share = np.clip((np.asarray(values) - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


# --- texture coordinates ----------------------------------------------------------------------


def skin_uv(vertices: np.ndarray) -> np.ndarray:
    """Texel coordinates (V, 2) of positions (V, 3) on the average head."""
    azimuth = np.arctan2(vertices[:, 0], vertices[:, 2] - AXIS)
    across = 0.5 + np.clip(azimuth / (2 * REACH), -0.498, 0.498)
    column = across * ATLAS[1]
    height = np.clip(vertices[:, 1], BOTTOM + 0.01, TOP - 0.01)
    row = (TOP - height) / (TOP - BOTTOM) * SKIN_ROWS
    return np.stack([column, row], 1).astype(np.float32)


def _teeth_uv(uv: np.ndarray, middle: float, low: float, high: float, row: int) -> np.ndarray:
    """Texel coordinates (N, 2) of one row of teeth: along the arch, and from back to gum.

    Args:
        uv: (N, 2) texture coordinates as in MakeHuman, where the arch lies in the plane.
        middle: v of the arch's centre.
        low: radius of the inner side of the arch.
        high: radius of its outer side.
        row: first row of the teeth's patch, from the eye's on.
    """
    across = uv[:, 0] - 0.708
    up = uv[:, 1] - middle
    angle = np.arctan2(across, np.abs(up))
    radius = np.hypot(across, up)
    column = 192 + 60 * np.clip(angle / 0.95, -1, 1)
    depth = np.clip((radius - low) / (high - low), 0, 1)
    return np.stack([column, EYE_ROW + row + 2 + 60 * depth], 1)


def atlas_uv(head: Head) -> np.ndarray:
    """Texel coordinates (V, 2) of every vertex of the head; eyeballs and hair bring their own."""
    uv = skin_uv(head.vertices)
    uv[head.vertices_of("mouth")] = (272, EYE_ROW + 16)
    uv[head.vertices_of("tongue")] = (304, EYE_ROW + 16)
    upper = head.vertices_of("upper_teeth")
    lower = head.vertices_of("lower_teeth")
    uv[upper] = _teeth_uv(head.uv[upper], middle=0.8545, low=0.0300, high=0.0440, row=0)
    uv[lower] = _teeth_uv(head.uv[lower], middle=0.9540, low=0.0415, high=0.0565, row=64)
    lashes = head.vertices_of("lashes")
    uv[lashes, 0] = 324 + 56 * (head.uv[lashes, 0] * 20 % 1)
    uv[lashes, 1] = EYE_ROW + 16
    return uv


@lru_cache(maxsize=1)
def skin_positions() -> np.ndarray:
    """Position on the average head of every texel of the skin; the outermost surface wins.

    Returns:
        (SKIN_ROWS, W, 3) float32, dm; a texel that no triangle covers has its neighbour's.
    """
    head = load_head()
    uv = skin_uv(head.vertices)
    is_skin = head.part[head.triangles].max(1) == PARTS.index("skin")
    is_ear = head.ears[head.triangles].max(1) >= 0.5
    positions = np.full((SKIN_ROWS, ATLAS[1], 3), np.nan)
    outermost = np.full((SKIN_ROWS, ATLAS[1]), -np.inf)
    for corners in head.triangles[is_skin & ~is_ear]:
        texels = uv[corners].astype(np.float64)
        points = head.vertices[corners].astype(np.float64)
        _fill_positions(texels, points, positions, outermost)
    hole = np.isnan(positions[..., 0])
    row, column = distance_transform_edt(hole, return_distances=False, return_indices=True)
    return positions[row, column].astype(np.float32)


def _fill_positions(
    texels: np.ndarray, points: np.ndarray, positions: np.ndarray, outermost: np.ndarray
) -> None:
    """Write the positions of the texels inside one triangle, where no other lies farther out.

    Args:
        texels: (3, 2) corners in the texture.
        points: (3, 3) corners on the head, dm.
        positions: (H, W, 3) of all texels, dm; changed in place.
        outermost: (H, W) distance of each of them from the axis, dm; changed in place.
    """
    left, top = np.floor(texels.min(0)).astype(int)
    right, bottom = np.ceil(texels.max(0)).astype(int) + 1
    if right - left > WIDEST_TRIANGLE:
        return
    columns = np.arange(left, min(right, ATLAS[1])) + 0.5
    rows = np.arange(top, min(bottom, SKIN_ROWS)) + 0.5
    x, y = np.meshgrid(columns, rows)
    first_edge = texels[1] - texels[0]
    second_edge = texels[2] - texels[0]
    area = first_edge[0] * second_edge[1] - first_edge[1] * second_edge[0]
    if abs(area) < 1e-9:
        return

    dx = x - texels[0, 0]
    dy = y - texels[0, 1]
    b = (dx * second_edge[1] - dy * second_edge[0]) / area
    c = (first_edge[0] * dy - first_edge[1] * dx) / area
    along_first = b[..., None] * (points[1] - points[0])
    along_second = c[..., None] * (points[2] - points[0])
    position = points[0] + along_first + along_second
    distance = np.hypot(position[..., 0], position[..., 2] - AXIS)
    box = (slice(top, top + len(rows)), slice(left, left + len(columns)))
    inside = (b >= -0.01) & (c >= -0.01) & (b + c <= 1.01)
    farther_out = inside & (distance > outermost[box])
    outermost[box][farther_out] = distance[farther_out]
    positions[box][farther_out] = position[farther_out]


# --- brushes ----------------------------------------------------------------------------------


def _blend(image: np.ndarray, colour: ArrayLike, alpha: np.ndarray) -> None:
    """Mix a colour (3,) or (H, W, 3) into an image (H, W, 3) with opacity (H, W), in place."""
    image += (np.asarray(colour, np.float32) - image) * alpha[..., None]


def _bump(
    x: np.ndarray, y: np.ndarray, centre: tuple[float, float], width: tuple[float, float]
) -> np.ndarray:
    """Gaussian (H, W) with value 1 at `centre`; `width` is where it falls to 1/e, in x and y."""
    across = ((x - centre[0]) / width[0]) ** 2
    up = ((y - centre[1]) / width[1]) ** 2
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


# --- skin -------------------------------------------------------------------------------------


def paint_skin(person: Person) -> np.ndarray:
    """Skin patch (SKIN_ROWS, W, 3) float32 in [0, 1]."""
    rng = np.random.default_rng([person.number, 0x5C1])
    position = skin_positions()
    image = _bare_skin(person, rng, position.shape[:2])
    _paint_blush(image, person, position)
    _paint_eye_sockets(image, person, position)
    if person.freckles > 0:
        _paint_freckles(image, person, position, rng)
    if person.stubble > 0.05:
        _paint_stubble(image, person, position, rng)
    brows = _brows(person, position[..., 0], position[..., 1], rng)
    _blend(image, person.brow, brows * (position[..., 2] > 0.9))
    if person.hair_style != "bald":
        _paint_hair_roots(image, person, position, rng)
    _paint_collar(image, person, position)
    return np.clip(image, 0, 1)


def _bare_skin(person: Person, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Skin (H, W, 3) of one colour with fine and coarse mottling."""
    image = np.ones((*shape, 3), np.float32) * np.asarray(person.skin, np.float32)
    fine = 0.018 * _noise(rng, shape, 1.2)[..., None]
    coarse = 0.022 * _noise(rng, shape, 14)[..., None] * (0.4, 1.0, 1.1)
    image *= 1 + fine + coarse
    return image


def _paint_blush(image: np.ndarray, person: Person, position: np.ndarray) -> None:
    """Red cheeks and nose."""
    x, y, z = position[..., 0], position[..., 1], position[..., 2]
    cheeks = _bump(np.abs(x), y, (0.43, -0.40), (0.17, 0.17))
    nose = _bump(x, y, (0.0, -0.42), (0.13, 0.12)) * (z > 1.4)
    red = np.asarray(person.skin, np.float32) * (1.02, 0.80, 0.78)
    _blend(image, red, np.clip(person.blush * (cheeks + 0.7 * nose), 0, 1))


def _paint_eye_sockets(image: np.ndarray, person: Person, position: np.ndarray) -> None:
    """Darker skin around the eyes, more with age."""
    x, y, z = position[..., 0], position[..., 1], position[..., 2]
    sockets = _bump(np.abs(x), y, (0.31, -0.02), (0.20, 0.11)) * (z > 0.8)
    dark = np.asarray(person.skin, np.float32) * (0.80, 0.72, 0.72)
    _blend(image, dark, (0.30 + 0.35 * person.age) * sockets)


def _paint_freckles(
    image: np.ndarray, person: Person, position: np.ndarray, rng: np.random.Generator
) -> None:
    """Spots on nose and cheeks."""
    x, y, z = position[..., 0], position[..., 1], position[..., 2]
    spots = gaussian_filter((_noise(rng, x.shape, 1.6) > 2.0) * 1.0, 0.7)
    region = _bump(x, y, (0.0, -0.28), (0.5, 0.25)) * (z > 0.6)
    brown = np.asarray(person.skin, np.float32) * (0.74, 0.60, 0.50)
    _blend(image, brown, np.clip(spots * region * person.freckles * 2, 0, 0.8))


def _paint_stubble(
    image: np.ndarray, person: Person, position: np.ndarray, rng: np.random.Generator
) -> None:
    """A shadow of beard on jaw, chin and upper lip, none on the lips."""
    x, y, z = position[..., 0], position[..., 1], position[..., 2]
    cheek_line = y - 0.40 * np.clip(np.abs(x) - 0.25, 0, 1)
    jaw = 1 - smoothstep(-0.70, -0.42, cheek_line)
    moustache = np.exp(-(((y + 0.585) / 0.055) ** 2)) * (np.abs(x) < 0.26)
    below_lip = _bump(x, y, (0.0, -0.93), (0.12, 0.05))
    mouth = _bump(x, y, (0.0, -0.745), (0.27, 0.10)) * (1 - 0.5 * below_lip)
    chin = smoothstep(-1.55, -1.25, y) * jaw * (1 - mouth)
    hairs = np.clip(0.80 + 0.16 * _noise(rng, x.shape, 0.7), 0, 1)
    beard = np.clip(np.maximum(chin, 0.9 * moustache), 0, 1)
    opacity = beard * hairs * person.stubble
    hair = np.asarray(person.hair, np.float32)
    skin = np.asarray(person.skin, np.float32)
    _blend(image, 0.55 * hair + 0.25 * skin, np.clip(opacity * (z > 0.1), 0, 0.85))


def _brows(person: Person, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Opacity (H, W) of the brows: a tapered arch of hairs that lean outwards."""
    s = (np.abs(x) - BROW_FROM) / (BROW_TO - BROW_FROM)  # 0 at the inner end, 1 at the outer
    arch = 0.050 * person.brow_arch * (1 - ((s - 0.62) / 0.62) ** 2)
    slope = 0.03 * person.brow_slope * (s - 0.4)
    middle = BROW_HEIGHT + (arch + slope) - 0.045 * np.clip(s - 0.7, 0, 1)
    taper = 1 - 0.72 * np.clip(s, 0, 1) ** 1.6
    half_width = 0.5 * person.brow_width * taper * smoothstep(-0.06, 0.12, s)
    across = np.abs(y - middle) / np.maximum(half_width, 1e-3)
    hairs = _noise(rng, x.shape, (2.2, 0.9))
    cover = 1 - smoothstep(0.55, 1.25, across + 0.12 * hairs)
    cover = cover * smoothstep(-0.05, 0.10, s)
    cover = cover * (1 - smoothstep(0.90, 1.03, s))
    return person.brow_density * cover * np.clip(0.88 + 0.12 * hairs, 0, 1)


def _paint_hair_roots(
    image: np.ndarray, person: Person, position: np.ndarray, rng: np.random.Generator
) -> None:
    """The scalp under the hair, or the hair itself where it is a buzz cut."""
    offset = position - CENTRE
    azimuth = np.arctan2(offset[..., 0], offset[..., 2])
    polar = np.arccos(offset[..., 1] / np.linalg.norm(offset, axis=2))
    strands = _noise(rng, azimuth.shape, (3.0, 0.8))
    roots = hairline(person, azimuth, roots=True)
    inside = smoothstep(-0.07, 0.07, roots - polar + 0.012 * strands)
    cover = 0.72 if person.hair_style == "buzz" else 0.92
    opacity = np.clip(cover * inside * (0.93 + 0.07 * strands), 0, 1)
    hair = np.asarray(person.hair, np.float32)
    skin = np.asarray(person.skin, np.float32)
    _blend(image, hair * 0.85 + 0.08 * skin, opacity)


def _paint_collar(image: np.ndarray, person: Person, position: np.ndarray) -> None:
    """The shirt, from a round collar down."""
    x, y, z = position[..., 0], position[..., 1], position[..., 2]
    azimuth = np.arctan2(x, z - 0.2)
    edge = -1.66 + 0.10 * np.cos(azimuth) * -1.5
    _blend(image, person.shirt, smoothstep(0.0, 0.03, edge - y))


# --- eyes, teeth, hair ------------------------------------------------------------------------


def paint_eye(person: Person) -> np.ndarray:
    """Eye patch (128, 128, 3): the front half of the eyeball, seen along its axis.

    It reaches 1.06 radii from the middle to the border.
    """
    rng = np.random.default_rng([person.number, 0xE7E])
    y, x = (np.mgrid[0:128, 0:128] - HALF_EYE) / EYE_RADIUS
    radius = np.hypot(x, y)
    angle = np.arctan2(y, x)
    image = np.ones((128, 128, 3), np.float32) * (0.90, 0.885, 0.87)
    _blend(image, (0.80, 0.62, 0.58), 0.35 * smoothstep(0.55, 1.0, radius))
    around = np.linspace(-np.pi, np.pi, 60)
    fibre_values = gaussian_filter(rng.normal(0, 1, 60), 0.8, mode="wrap")
    fibres = np.interp(angle, around, fibre_values)
    iris = np.asarray(person.iris, np.float32) * (1.25 - 0.1 * fibres[..., None])
    rim = smoothstep(0.55, 1.0, radius / IRIS)
    iris = iris * (1.15 - 0.75 * rim[..., None])
    _blend(image, np.clip(iris, 0, 1), 1 - smoothstep(IRIS - 0.03, IRIS + 0.03, radius))
    _blend(image, (0.03, 0.025, 0.025), 1 - smoothstep(PUPIL - 0.03, PUPIL + 0.03, radius))
    return np.clip(image, 0, 1)


def paint_teeth(upper: bool) -> np.ndarray:
    """Teeth patch (64, 128, 3): the jaw's arch across, from the tooth's back to the gum down.

    Args:
        upper: the upper row; the lower one is a little darker.
    """
    row, column = np.mgrid[0:64, 0:128]
    tooth = (column - 63.5) / 60 * 6.0
    gap = np.abs(tooth - np.round(tooth)) < 0.055
    image = np.ones((64, 128, 3), np.float32) * (0.90, 0.87, 0.80)
    side = np.clip(np.abs(tooth) / 6, 0, 1)
    image *= 1 - 0.09 * side[..., None]
    _blend(image, (0.62, 0.55, 0.48), 0.5 * gap)
    gum_line = 49 + 2.5 * np.cos(2 * np.pi * tooth)
    _blend(image, (0.74, 0.42, 0.42), smoothstep(-1.5, 1.5, row - gum_line))
    if not upper:
        image *= 0.93
    return image


def paint_hair(person: Person) -> np.ndarray:
    """Hair patch (256, 512, 4): strands along the polar angle, alpha 0 beyond a ragged hairline."""
    image = np.zeros((256, 512, 4), np.float32)
    if person.hair_style not in STYLES:
        return image
    rng = np.random.default_rng([person.number, 0xA17])
    curly = person.hair_style == "afro"
    azimuth = np.interp(np.arange(512), np.linspace(0, 511, COLUMNS), PHI)[None]
    polar = np.interp(np.arange(256), np.linspace(0, 255, ROWS), THETA)[:, None]
    strands = _noise(rng, (256, 512), (2.5, 2.5) if curly else (30, 1.2))
    locks = _noise(rng, (256, 512), (6, 6) if curly else (40, 6))
    brightness = 1 + 0.13 * strands + 0.13 * locks
    colour = np.asarray(person.hair, np.float32) * brightness[..., None]
    ragged = 0.030 * strands + 0.030 * locks
    inside = hairline(person, azimuth) - polar
    image[..., :3] = np.clip(colour, 0, 1)
    opacity = smoothstep(-0.03, 0.07, inside + ragged)
    if STYLES[person.hair_style].length > 0:
        opacity = opacity * _tips(polar, ragged)
    image[..., 3] = opacity
    return image


def _tips(polar: np.ndarray, ragged: np.ndarray) -> np.ndarray:
    """Opacity (H, W) of long hair, thinning out over its last .10 radians.

    Args:
        polar: (H, 1) radians, the last row is the end of the hair.
        ragged: (H, W) noise.
    """
    to_end = np.where(polar > THETA[-1] - 0.10, (THETA[-1] - polar) / 0.10, 1.0)
    return np.clip(to_end + 6 * ragged * (to_end < 1), 0, 1)


# --- the atlas --------------------------------------------------------------------------------


def paint_atlas(person: Person) -> np.ndarray:
    """The person's whole texture, (1024, 512, 4) uint8."""
    atlas = np.ones((*ATLAS, 4), np.float32)
    atlas[:SKIN_ROWS, :, :3] = paint_skin(person)
    patch = atlas[EYE_ROW : EYE_ROW + 128]
    patch[:, :128, :3] = paint_eye(person)
    patch[:64, 128:256, :3] = paint_teeth(True)
    patch[64:, 128:256, :3] = paint_teeth(False)
    patch[:, 256:288, :3] = (0.46, 0.20, 0.20)  # mouth
    patch[:, 288:320, :3] = (0.68, 0.36, 0.37)  # tongue
    lashes = 0.35 * np.asarray(person.brow) + 0.02
    patch[:, 320:384] = np.append(lashes, 0.55)
    atlas[HAIR_ROW:] = paint_hair(person)
    return np.round(atlas * 255).astype(np.uint8)


def half_size(atlas: np.ndarray) -> np.ndarray:
    """Texture (2 H, 2 W, C) at half the size, (H, W, C) uint8, each texel the mean of four."""
    wide = atlas.astype(np.uint16)
    even = wide[0::2, 0::2] + wide[1::2, 0::2]
    odd = wide[0::2, 1::2] + wide[1::2, 1::2]
    return ((even + odd + 2) // 4).astype(np.uint8)
