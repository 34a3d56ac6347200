"""Everything with a colour: one texture per person, painted in terms of positions on the average head.

The atlas is (1024, 512, 4) uint8 RGBA: skin by azimuth and height on top, then eye, teeth and plain patches, then hair.
Alpha matters for lashes and hair alone.
"""

from functools import lru_cache

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, zoom

from cdrl.studio.hair import COLUMNS, PHI, ROWS, STYLES, THETA, hairline
from cdrl.studio.head import Head, load_head
from cdrl.studio.people import Person

ATLAS = (1024, 512)
SKIN_ROWS, EYE_ROW, HAIR_ROW = 640, 640, 768
AXIS = 0.30  # z of the vertical axis that azimuth is measured around, dm
REACH = 1.75  # azimuth at the border of the skin patch, radians
TOP, BOTTOM = 1.25, -1.90  # heights at the border of the skin patch, dm
IRIS, PUPIL = 0.41, 0.17  # radii as shares of the eyeball's
BROW_FROM, BROW_TO, BROW_HEIGHT = 0.115, 0.535, 0.235  # |x| of the brow's ends and its height, dm


def skin_uv(vertices: np.ndarray) -> np.ndarray:
    """Texel coordinates (V, 2) of positions on the average head."""
    phi = np.arctan2(vertices[:, 0], vertices[:, 2] - AXIS)
    column = (0.5 + np.clip(phi / (2 * REACH), -0.498, 0.498)) * ATLAS[1]
    row = (TOP - np.clip(vertices[:, 1], BOTTOM + 0.01, TOP - 0.01)) / (TOP - BOTTOM) * SKIN_ROWS
    return np.stack([column, row], 1).astype(np.float32)


def atlas_uv(head: Head) -> np.ndarray:
    """Texel coordinates (V, 2) of every vertex of the head (eyeballs and hair bring their own)."""
    uv = skin_uv(head.vertices)
    uv[head.vertices_of("mouth")] = (272, EYE_ROW + 16)
    uv[head.vertices_of("tongue")] = (304, EYE_ROW + 16)
    for part, middle, low, high, row in (
        ("upper_teeth", 0.8545, 0.0300, 0.0440, 0),
        ("lower_teeth", 0.9540, 0.0415, 0.0565, 64),
    ):
        i = head.vertices_of(part)
        across, up = head.uv[i, 0] - 0.708, head.uv[i, 1] - middle
        angle, radius = np.arctan2(across, np.abs(up)), np.hypot(across, up)
        uv[i, 0] = 192 + 60 * np.clip(angle / 0.95, -1, 1)
        uv[i, 1] = EYE_ROW + row + 2 + 60 * np.clip((radius - low) / (high - low), 0, 1)
    i = head.vertices_of("lashes")
    uv[i] = np.stack([324 + 56 * (head.uv[i, 0] * 20 % 1), np.full(len(i), EYE_ROW + 16)], 1)
    return uv


@lru_cache(maxsize=1)
def skin_positions() -> np.ndarray:
    """Position (SKIN_ROWS, W, 3), in dm, on the average head of every texel of the skin; the outermost surface wins."""
    head = load_head()
    uv, shown = skin_uv(head.vertices), head.part[head.triangles].max(1) == 0
    shown &= head.ears[head.triangles].max(1) < 0.5
    found = np.full((SKIN_ROWS, ATLAS[1], 3), np.nan)
    best = np.full((SKIN_ROWS, ATLAS[1]), -np.inf)
    for corners in head.triangles[shown]:
        t, p = uv[corners].astype(np.float64), head.vertices[corners].astype(np.float64)
        x0, y0 = np.floor(t.min(0)).astype(int)
        x1, y1 = np.ceil(t.max(0)).astype(int) + 1
        if x1 - x0 > 60:
            continue
        x, y = np.meshgrid(
            np.arange(x0, min(x1, ATLAS[1])) + 0.5, np.arange(y0, min(y1, SKIN_ROWS)) + 0.5
        )
        e1, e2 = t[1] - t[0], t[2] - t[0]
        area = e1[0] * e2[1] - e1[1] * e2[0]
        if abs(area) < 1e-9:
            continue
        b = ((x - t[0, 0]) * e2[1] - (y - t[0, 1]) * e2[0]) / area
        c = (e1[0] * (y - t[0, 1]) - e1[1] * (x - t[0, 0])) / area
        point = p[0] + b[..., None] * (p[1] - p[0]) + c[..., None] * (p[2] - p[0])
        out = np.hypot(point[..., 0], point[..., 2] - AXIS)
        box = best[y0 : y0 + x.shape[0], x0 : x0 + x.shape[1]]
        inside = (b >= -0.01) & (c >= -0.01) & (b + c <= 1.01) & (out > box)
        box[inside] = out[inside]
        found[y0 : y0 + x.shape[0], x0 : x0 + x.shape[1]][inside] = point[inside]
    hole = np.isnan(found[..., 0])
    row, column = distance_transform_edt(hole, return_distances=False, return_indices=True)
    return found[row, column].astype(np.float32)


def _smooth(low, high, value):
    share = np.clip((value - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def _blend(image, colour, alpha):
    image += (np.asarray(colour, np.float32) - image) * alpha[..., None]


def _noise(rng, shape, sigma):
    """Smooth random field of unit variance; slow directions are drawn coarsely and stretched."""
    sigma = np.broadcast_to(sigma, 2)
    step = tuple(4 if s >= 6 else 1 for s in sigma)
    coarse = rng.normal(0, 1, [n // k for n, k in zip(shape, step, strict=True)]).astype(np.float32)
    field = gaussian_filter(coarse, sigma / step, mode="wrap")
    field = zoom(field, step, order=1, mode="grid-wrap", grid_mode=True) if max(step) > 1 else field
    return field / field.std()


def _brows(person: Person, x, y, rng) -> np.ndarray:
    """Opacity (H, W) of the brows: a tapered arch of hairs that lean outwards."""
    s = (np.abs(x) - BROW_FROM) / (BROW_TO - BROW_FROM)
    arch = 0.050 * person.brow_arch * (1 - ((s - 0.62) / 0.62) ** 2) + 0.03 * person.brow_slope * (
        s - 0.4
    )
    middle = BROW_HEIGHT + arch - 0.045 * np.clip(s - 0.7, 0, 1)
    half = 0.5 * person.brow_width * (1 - 0.72 * np.clip(s, 0, 1) ** 1.6) * _smooth(-0.06, 0.12, s)
    across = np.abs(y - middle) / np.maximum(half, 1e-3)
    hairs = _noise(rng, x.shape, (2.2, 0.9))
    cover = (
        (1 - _smooth(0.55, 1.25, across + 0.12 * hairs))
        * _smooth(-0.05, 0.10, s)
        * (1 - _smooth(0.90, 1.03, s))
    )
    return person.brow_density * cover * np.clip(0.88 + 0.12 * hairs, 0, 1)


def paint_skin(person: Person) -> np.ndarray:
    """Skin patch (SKIN_ROWS, W, 3) float32 in [0, 1]."""
    rng = np.random.default_rng([person.number, 0x5C1])
    position = skin_positions()
    x, y, z = position[..., 0], position[..., 1], position[..., 2]
    skin = np.asarray(person.skin, np.float32)
    image = np.ones(x.shape + (3,), np.float32) * skin
    image *= (
        1
        + 0.018 * _noise(rng, x.shape, 1.2)[..., None]
        + 0.022 * _noise(rng, x.shape, 14)[..., None] * (0.4, 1.0, 1.1)
    )
    red = skin * (1.02, 0.80, 0.78)
    cheeks = np.exp(-(((np.abs(x) - 0.43) / 0.17) ** 2) - ((y + 0.40) / 0.17) ** 2)
    nose = np.exp(-((x / 0.13) ** 2) - ((y + 0.42) / 0.12) ** 2) * (z > 1.4)
    _blend(image, red, np.clip(person.blush * (cheeks + 0.7 * nose), 0, 1))
    sockets = np.exp(-(((np.abs(x) - 0.31) / 0.20) ** 2) - ((y + 0.02) / 0.11) ** 2) * (z > 0.8)
    _blend(image, skin * (0.80, 0.72, 0.72), (0.30 + 0.35 * person.age) * sockets)
    if person.freckles > 0:
        spots = _noise(rng, x.shape, 1.6) > 2.0
        where = np.exp(-((x / 0.5) ** 2) - ((y + 0.28) / 0.25) ** 2) * (z > 0.6)
        _blend(
            image,
            skin * (0.74, 0.60, 0.50),
            np.clip(gaussian_filter(spots * 1.0, 0.7) * where * person.freckles * 2, 0, 0.8),
        )
    hair = np.asarray(person.hair, np.float32)
    if person.stubble > 0.05:
        jaw = 1 - _smooth(-0.70, -0.42, y - 0.40 * np.clip(np.abs(x) - 0.25, 0, 1))
        moustache = np.exp(-(((y + 0.585) / 0.055) ** 2)) * (np.abs(x) < 0.26)
        below = np.exp(-((x / 0.12) ** 2) - ((y + 0.93) / 0.05) ** 2)
        chin = (
            _smooth(-1.55, -1.25, y)
            * jaw
            * (1 - np.exp(-((x / 0.27) ** 2) - ((y + 0.745) / 0.10) ** 2) * (1 - 0.5 * below))
        )
        grain = np.clip(0.80 + 0.16 * _noise(rng, x.shape, 0.7), 0, 1)
        amount = np.clip(np.maximum(chin, 0.9 * moustache), 0, 1) * grain * person.stubble
        _blend(image, 0.55 * hair + 0.25 * skin, np.clip(amount * (z > 0.1), 0, 0.85))
    _blend(image, person.brow, _brows(person, x, y, rng) * (z > 0.9))
    offset = position - np.float32([0.0, 0.25, 0.30])
    phi, theta = (
        np.arctan2(offset[..., 0], offset[..., 2]),
        np.arccos(offset[..., 1] / np.linalg.norm(offset, axis=2)),
    )
    if person.hair_style != "bald":
        grain = _noise(rng, x.shape, (3.0, 0.8))
        inside = _smooth(-0.07, 0.07, hairline(person, phi, roots=True) - theta + 0.012 * grain)
        cover = 0.72 if person.hair_style == "buzz" else 0.92
        _blend(
            image, hair * 0.85 + 0.08 * skin, np.clip(cover * inside * (0.93 + 0.07 * grain), 0, 1)
        )
    collar = _smooth(0.0, 0.03, -1.66 + 0.10 * np.cos(np.arctan2(x, z - 0.2)) * -1.5 - y)
    _blend(image, person.shirt, collar)
    return np.clip(image, 0, 1)


def paint_eye(person: Person) -> np.ndarray:
    """Eye patch (128, 128, 3): the front half of the eyeball seen along its axis, 1.06 radii from middle to border."""
    rng = np.random.default_rng([person.number, 0xE7E])
    y, x = (np.mgrid[0:128, 0:128] - 63.5) / 60.0
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    image = np.ones((128, 128, 3), np.float32) * (0.90, 0.885, 0.87)
    _blend(image, (0.80, 0.62, 0.58), 0.35 * _smooth(0.55, 1.0, radius))
    iris = np.asarray(person.iris, np.float32)
    fibres = np.interp(
        angle,
        np.linspace(-np.pi, np.pi, 60),
        gaussian_filter(rng.normal(0, 1, 60), 0.8, mode="wrap"),
    )
    inner = iris * (1.25 - 0.1 * fibres[..., None])
    shade = inner * (1.15 - 0.75 * _smooth(0.55, 1.0, radius / IRIS)[..., None])
    _blend(image, np.clip(shade, 0, 1), 1 - _smooth(IRIS - 0.03, IRIS + 0.03, radius))
    _blend(image, (0.03, 0.025, 0.025), 1 - _smooth(PUPIL - 0.03, PUPIL + 0.03, radius))
    return np.clip(image, 0, 1)


def paint_teeth(upper: bool) -> np.ndarray:
    """Teeth patch (64, 128, 3), the jaw's arch across; rows from the tooth's back over its edge to the gum."""
    row, column = np.mgrid[0:64, 0:128]
    along = (column - 63.5) / 60 * 6.0
    gap = np.abs(along - np.round(along)) < 0.055
    image = np.ones((64, 128, 3), np.float32) * (0.90, 0.87, 0.80)
    image *= 1 - 0.09 * np.clip(np.abs(along) / 6, 0, 1)[..., None]
    _blend(image, (0.62, 0.55, 0.48), 0.5 * gap)
    line = 49 + 2.5 * np.cos(2 * np.pi * along)
    _blend(image, (0.74, 0.42, 0.42), _smooth(-1.5, 1.5, row - line))
    if not upper:
        image *= 0.93
    return image


def paint_hair(person: Person) -> np.ndarray:
    """Hair patch (256, 512, 4): strands along the polar angle, alpha falls to 0 over a ragged hairline."""
    image = np.zeros((256, 512, 4), np.float32)
    if person.hair_style not in STYLES:
        return image
    rng = np.random.default_rng([person.number, 0xA17])
    curly = person.hair_style == "afro"
    phi = np.interp(np.arange(512), np.linspace(0, 511, COLUMNS), PHI)[None]
    theta = np.interp(np.arange(256), np.linspace(0, 255, ROWS), THETA)[:, None]
    strands = _noise(rng, (256, 512), (2.5, 2.5) if curly else (30, 1.2))
    locks = _noise(rng, (256, 512), (6, 6) if curly else (40, 6))
    colour = np.asarray(person.hair, np.float32) * (1 + 0.13 * strands + 0.13 * locks)[..., None]
    ends = (
        np.where(theta > THETA[-1] - 0.10, (THETA[-1] - theta) / 0.10, 1.0)
        if STYLES[person.hair_style][3]
        else 1.0
    )
    inside = hairline(person, phi) - theta
    ragged = 0.030 * strands + 0.030 * locks
    image[..., :3] = np.clip(colour, 0, 1)
    image[..., 3] = _smooth(-0.03, 0.07, inside + ragged) * np.clip(
        ends + 6 * ragged * (np.asarray(ends) < 1), 0, 1
    )
    return image


def paint_atlas(person: Person) -> np.ndarray:
    """The person's whole texture, (1024, 512, 4) uint8."""
    atlas = np.ones(ATLAS + (4,), np.float32)
    atlas[:SKIN_ROWS, :, :3] = paint_skin(person)
    patch = atlas[EYE_ROW : EYE_ROW + 128]
    patch[:, :128, :3] = paint_eye(person)
    patch[:64, 128:256, :3], patch[64:, 128:256, :3] = paint_teeth(True), paint_teeth(False)
    patch[:, 256:288, :3], patch[:, 288:320, :3] = (0.46, 0.20, 0.20), (0.68, 0.36, 0.37)
    patch[:, 320:384] = np.append(0.35 * np.asarray(person.brow) + 0.02, 0.55)
    atlas[HAIR_ROW:] = paint_hair(person)
    return np.round(atlas * 255).astype(np.uint8)


def halved(atlas: np.ndarray) -> np.ndarray:
    """Texture (2 H, 2 W, C) at half the size, (H, W, C) uint8, each texel the mean of four."""
    wide = atlas.astype(np.uint16)
    total = wide[0::2, 0::2] + wide[1::2, 0::2] + wide[0::2, 1::2] + wide[1::2, 1::2]
    return ((total + 2) // 4).astype(np.uint8)
