"""The inner loops of the renderer, compiled once by numba and kept on disk.

One frame: blendshapes and eye rotation move the vertices, the head pose turns them, vertex normals
and one soft light model shade them, a z-buffer finds the triangle of every sample, and four samples
make a pixel.

The arithmetic is compiled with `fastmath`, and 64-bit numbers enter where an integer meets a 32-bit
one. Both decide the last bit of a colour, so the order of operations and the types in this file are
part of the corpus. Small functions are inlined before the compiler reorders anything: the result is
that of one long function.

numba's files in `__pycache__` name the tuples below; delete them after renaming one.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

FAST: dict[str, Any] = {"cache": True, "fastmath": True, "nogil": True, "error_model": "numpy"}
INLINE: dict[str, Any] = {**FAST, "inline": "always"}
SAMPLES = 4  # per pixel, two by two
BLOCK = 16  # samples of a row that are tested at once, so that the compiler uses vectors
HALF = np.float32(0.5)
ONE = np.float32(1.0)
ZERO = np.float32(0.0)
BYTE = np.float32(1.0 / 255.0)
LINE_DEPTH = np.float32(0.5 / 127.0)  # the deepest wrinkle takes half of the light
FAR = np.float32(1e9)


class PersonModel(NamedTuple):
    """A person ready to render: geometry, material and texture.

    Triangles before `opaque_end` are opaque; the others are cut out by the texture's alpha. Back
    faces are drawn only from `opaque_end` to `two_sided_end`.

    Attributes:
        vertices: (V, 3) float32 neutral positions, dm.
        triangles: (F, 3) int32 vertex numbers.
        opaque_end: number of opaque triangles.
        two_sided_end: number of the first triangle after those that show both sides.
        uv: (V, 2) float32 texture coordinates in texels.
        albedo_factor: (V, 3) float32 factor on the texture's colour.
        sky_visibility: (V,) float32 share of the sky that is not occluded, at rest.
        specular: (V, 2) float32 strength and exponent of the highlight.
        head_weight: (V,) float32 skinning weight: 1 turns with the head, 0 stays with the body.
        eye_ranges: (2, 2) first and last + 1 vertex of the left and the right eyeball.
        eye_spheres: (2, 4) float32 centre and radius of the eyeballs, dm.
        mouth_interior: (N,) vertices inside the mouth; they receive light as the lips part.
        inner_lips: (2,) vertices in the inner middle of the upper and the lower lip.
        landmarks: (L,) vertex numbers.
        texture: (H, W, 4) uint8 RGBA.
        anchors: (N,) vertices that the last N vertices follow: hair on the face.
        line_vertices: (K,) vertices of wrinkled regions; none where a person has no wrinkles.
        line_regions: (K,) region of each.
        line_masks: (K,) float32 in [0, 1], less at a region's border.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    opaque_end: int
    two_sided_end: int
    uv: np.ndarray
    albedo_factor: np.ndarray
    sky_visibility: np.ndarray
    specular: np.ndarray
    head_weight: np.ndarray
    eye_ranges: np.ndarray
    eye_spheres: np.ndarray
    mouth_interior: np.ndarray
    inner_lips: np.ndarray
    landmarks: np.ndarray
    texture: np.ndarray
    anchors: np.ndarray
    line_vertices: np.ndarray
    line_regions: np.ndarray
    line_masks: np.ndarray


class SparseShapes(NamedTuple):
    """Blendshapes as arrays.

    Shape a moves the vertices `vertex_ids[offsets[a]:offsets[a + 1]]` by the same slice of
    `deltas`.

    Attributes:
        vertex_ids: (N,) vertex numbers.
        deltas: (N, 3) float32 displacements, dm.
        offsets: (A + 1,) first entry of each shape.
    """

    vertex_ids: np.ndarray
    deltas: np.ndarray
    offsets: np.ndarray


class Motion(NamedTuple):
    """What moves, frame by frame.

    Attributes:
        coefficients: (T, A) float32 blendshape weights.
        head_rotations: (T, 3, 3) float32.
        eye_rotations: (T, 3, 3) float32, in the head's frame.
        translations: (T, 3) float32, dm.
        neck: (3,) float32 joint that the head turns about, dm.
        lines: (T, R) float32 strength of the wrinkles of each region.
    """

    coefficients: np.ndarray
    head_rotations: np.ndarray
    eye_rotations: np.ndarray
    translations: np.ndarray
    neck: np.ndarray
    lines: np.ndarray


class Camera(NamedTuple):
    """A pinhole camera on the z axis, in samples (two a pixel).

    Attributes:
        focal: (T,) float32 focal length.
        centre: (2,) float32 principal point.
        distance: float32, dm, from the origin.
        height: float32, dm, of the optical axis.
    """

    focal: np.ndarray
    centre: np.ndarray
    distance: np.float32
    height: np.float32


class Lights(NamedTuple):
    """A key and a fill light, and a sky above a ground.

    All are (3,) float32: unit vectors towards the two lights, and linear colours.
    """

    key_direction: np.ndarray
    key: np.ndarray
    fill_direction: np.ndarray
    fill: np.ndarray
    sky: np.ndarray
    ground: np.ndarray


# --- geometry ---------------------------------------------------------------------------------


@njit(**INLINE)
def _add_rotated(offset: float, row: np.ndarray, x: float, y: float, z: float) -> float:
    """An offset plus one component of a rotated vector."""
    return offset + row[0] * x + row[1] * y + row[2] * z


@njit(**INLINE)
def _dot(direction: np.ndarray, x: float, y: float, z: float) -> float:
    return x * direction[0] + y * direction[1] + z * direction[2]


@njit(**INLINE)
def _clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


@njit(**INLINE)
def _row(values: np.ndarray, i: int) -> tuple[Any, Any, Any]:
    """One row of an array (N, 3) as a tuple."""
    return values[i, 0], values[i, 1], values[i, 2]


@njit(**INLINE)
def _offset(points: np.ndarray, i: int, origin: np.ndarray) -> tuple[float, float, float]:
    """A point relative to an origin (3,)."""
    x = points[i, 0] - origin[0]
    y = points[i, 1] - origin[1]
    z = points[i, 2] - origin[2]
    return x, y, z


@njit(**FAST)
def _deform(
    neutral: np.ndarray, shapes: SparseShapes, weights: np.ndarray, points: np.ndarray
) -> None:
    """Neutral positions plus the weighted blendshapes, into `points`."""
    for vertex in range(len(neutral)):
        for axis in range(3):
            points[vertex, axis] = neutral[vertex, axis]
    for shape in range(len(weights)):
        weight = weights[shape]
        if weight != 0.0:
            for i in range(shapes.offsets[shape], shapes.offsets[shape + 1]):
                vertex = shapes.vertex_ids[i]
                for axis in range(3):
                    points[vertex, axis] += weight * shapes.deltas[i, axis]


@njit(**FAST)
def _attach(neutral: np.ndarray, anchors: np.ndarray, points: np.ndarray) -> None:
    """Move the last vertices as those that they follow, in place."""
    first = len(points) - len(anchors)
    for number in range(len(anchors)):
        anchor = anchors[number]
        for axis in range(3):
            moved = points[anchor, axis] - neutral[anchor, axis]
            points[first + number, axis] += moved


@njit(**FAST)
def _rotate_eyes(points: np.ndarray, model: PersonModel, rotation: np.ndarray) -> None:
    """Turn both eyeballs about their centres, in place."""
    for eye in range(2):
        centre = model.eye_spheres[eye]
        for i in range(model.eye_ranges[eye, 0], model.eye_ranges[eye, 1]):
            x, y, z = _offset(points, i, centre)
            for axis in range(3):
                points[i, axis] = _add_rotated(centre[axis], rotation[axis], x, y, z)


@njit(**FAST)
def _pose_head(
    points: np.ndarray,
    head_weight: np.ndarray,
    rotation: np.ndarray,
    translation: np.ndarray,
    neck: np.ndarray,
) -> None:
    """Turn each vertex about the neck by its weight, then translate all of them, in place."""
    for i in range(len(points)):
        x, y, z = _offset(points, i, neck)
        weight = head_weight[i]
        turned_x = weight * (_dot(rotation[0], x, y, z) - x)
        turned_y = weight * (_dot(rotation[1], x, y, z) - y)
        turned_z = weight * (_dot(rotation[2], x, y, z) - z)

        points[i, 0] = neck[0] + x + turned_x + translation[0]
        points[i, 1] = neck[1] + y + turned_y + translation[1]
        points[i, 2] = neck[2] + z + turned_z + translation[2]


@njit(**INLINE)
def _edge(points: np.ndarray, start: int, end: int) -> tuple[float, float, float]:
    """The vector from one vertex to another."""
    x = points[end, 0] - points[start, 0]
    y = points[end, 1] - points[start, 1]
    z = points[end, 2] - points[start, 2]
    return x, y, z


@njit(**INLINE)
def _cross(
    first: tuple[float, float, float], second: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Cross product of two vectors."""
    ax, ay, az = first
    bx, by, bz = second

    x = ay * bz - az * by
    y = az * bx - ax * bz
    z = ax * by - ay * bx

    return x, y, z


@njit(**FAST)
def _vertex_normals(points: np.ndarray, triangles: np.ndarray, normals: np.ndarray) -> None:
    """Area-weighted vertex normals of unit length, into `normals`."""
    for i in range(len(normals)):
        for axis in range(3):
            normals[i, axis] = ZERO
    for t in range(len(triangles)):
        i, j, k = _row(triangles, t)
        first = _edge(points, i, j)
        second = _edge(points, i, k)

        x, y, z = _cross(first, second)
        for corner in (i, j, k):
            normals[corner, 0] += x
            normals[corner, 1] += y
            normals[corner, 2] += z

    for i in range(len(normals)):
        x, y, z = _row(normals, i)
        square = x**2 + y**2 + z**2
        length = math.sqrt(square) + np.float32(1e-12)
        for axis in range(3):
            normals[i, axis] /= length


@njit(**INLINE)
def _project(points: np.ndarray, camera: Camera, focal: float, screen: np.ndarray) -> None:
    """Perspective projection: column, row (samples) and depth of every vertex, into `screen`."""
    centre_x = camera.centre[0]
    centre_y = camera.centre[1]
    for i in range(len(points)):
        x, y, z = _row(points, i)
        scale = focal / (camera.distance - z)
        above_axis = y - camera.height
        screen[i, 0] = centre_x + scale * x
        screen[i, 1] = centre_y - scale * above_axis
        screen[i, 2] = -z


# --- light ------------------------------------------------------------------------------------


@njit(**INLINE)
def _occlude_eyes(points: np.ndarray, model: PersonModel, sky_visibility: np.ndarray) -> None:
    """The upper lid shades the eyeball: less sky at its top and at its sides."""
    for eye in range(2):
        sphere = model.eye_spheres[eye]
        radius = sphere[3]
        for i in range(model.eye_ranges[eye, 0], model.eye_ranges[eye, 1]):
            right, up, _ = _offset(points, i, sphere)
            height = up / radius
            side = abs(right) / radius
            under_lid = _clamp(height + np.float32(0.15), ZERO, np.float32(0.7))
            lid_shadow = np.float32(0.75) * under_lid
            side_shadow = np.float32(0.2) * side * side
            sky_visibility[i] = np.float32(0.85) - lid_shadow - side_shadow


@njit(**INLINE)
def _lip_gap(points: np.ndarray, inner_lips: np.ndarray) -> float:
    """Height of the upper lip's inner middle over the lower one's."""
    upper, lower = inner_lips[0], inner_lips[1]
    return points[upper, 1] - points[lower, 1]


@njit(**INLINE)
def _light_mouth(points: np.ndarray, model: PersonModel, sky_visibility: np.ndarray) -> None:
    """Light enters the mouth as the lips part."""
    gap = _lip_gap(points, model.inner_lips)
    gap_at_rest = _lip_gap(model.vertices, model.inner_lips)
    opening = _clamp((gap - gap_at_rest) * np.float32(10.0), ZERO, ONE)
    share = np.float32(0.12) + np.float32(0.88) * opening
    for i in model.mouth_interior:
        sky_visibility[i] = model.sky_visibility[i] * share


@njit(**INLINE)
def _direct_visibility(sky_visibility: float) -> float:
    """Share of a direct light that reaches a point which sees this share of the sky."""
    if sky_visibility > 0.3:
        return min(np.float32(0.25) + np.float32(1.1) * sky_visibility, ONE)
    return np.float32(1.9) * sky_visibility


@njit(**FAST)
def _shade_vertices(
    normals: np.ndarray,
    model: PersonModel,
    sky_visibility: np.ndarray,
    lights: Lights,
    half_vector: np.ndarray,
    shading: np.ndarray,
) -> None:
    """Factor on the texture (three columns, gamma 2) and highlight (fourth column) of each vertex.

    Wrapped diffuse light, wider for red than for blue as on skin, plus a hemisphere of sky and
    ground.
    """
    for i in range(len(normals)):
        nx, ny, nz = _row(normals, i)
        key_cosine = _dot(lights.key_direction, nx, ny, nz)
        fill_cosine = max(_dot(lights.fill_direction, nx, ny, nz), ZERO)
        up = HALF + HALF * ny
        visibility = sky_visibility[i]
        direct = _direct_visibility(visibility)
        for c in range(3):
            wrap = np.float32(0.30) - np.float32(0.10) * c
            diffuse = max(key_cosine + wrap, ZERO) / (ONE + wrap)
            ground = lights.ground[c]
            ambient = (ground + (lights.sky[c] - ground) * up) * visibility
            key = diffuse * lights.key[c]
            fill = fill_cosine * lights.fill[c]
            light = ambient + direct * (key + fill)
            shading[i, c] = math.sqrt(light) * model.albedo_factor[i, c]

        half_cosine = _dot(half_vector, nx, ny, nz)
        if half_cosine > 0.3:
            strength = model.specular[i, 0]
            exponent = model.specular[i, 1]
            shading[i, 3] = strength * direct * half_cosine**exponent
        else:
            shading[i, 3] = ZERO


@njit(**FAST)
def _weigh_lines(model: PersonModel, strength: np.ndarray, weights: np.ndarray) -> None:
    """How strongly wrinkles show at each vertex in a frame, into `weights`."""
    for vertex in range(len(weights)):
        weights[vertex] = ZERO
    for number in range(len(model.line_vertices)):
        vertex = model.line_vertices[number]
        shown = strength[model.line_regions[number]] * model.line_masks[number]
        weights[vertex] = max(weights[vertex], shown)


# --- z-buffer ---------------------------------------------------------------------------------


@njit(**INLINE)
def _sample_range(first: float, second: float, third: float, side: int) -> tuple[int, int]:
    """First and last sample along one axis that a triangle with these corners can cover.

    Samples lie at half numbers: the first at or after x is int(x + 0.5), the last before it is one
    less.
    """
    low = max(int(min(first, second, third) + HALF), 0)
    high = min(int(max(first, second, third) + HALF) - 1, side - 1)
    return low, high


@njit(**INLINE)
def _interpolate(
    values: np.ndarray,
    corners: tuple[int, int, int],
    weights: tuple[float, float, float],
    column: int,
) -> float:
    """One column of per-vertex values at a point of a triangle."""
    i, j, k = corners
    a, b, c = weights
    return a * values[i, column] + b * values[j, column] + c * values[k, column]


@njit(**INLINE)
def _passes_alpha(
    model: PersonModel, t: int, weights: tuple[float, float, float], row: int, column: int
) -> bool:
    """Alpha to coverage: each of a pixel's four samples has its own threshold on the alpha."""
    corners = _row(model.triangles, t)
    u = int(_interpolate(model.uv, corners, weights, 0))
    v = int(_interpolate(model.uv, corners, weights, 1))
    height, width = model.texture.shape[:2]
    texel_column = _clamp(u, 0, width - 1)
    texel_row = _clamp(v, 0, height - 1)
    alpha = model.texture[texel_row, texel_column, 3]
    sample = (row & 1) * 2 + ((row ^ column) & 1)

    return alpha >= 32 + 64 * sample


@njit(**FAST)
def _clear(depth: np.ndarray, nearest: np.ndarray) -> None:
    """No triangle yet, at any sample."""
    for row in range(depth.shape[0]):
        for column in range(depth.shape[1]):
            depth[row, column] = FAR
            nearest[row, column] = -1


@njit(**FAST)
def _rasterise(
    screen: np.ndarray, model: PersonModel, depth: np.ndarray, nearest: np.ndarray
) -> None:
    """Nearest triangle of every sample, into `nearest`, and its depth, into `depth`.

    Both are `BLOCK` columns wider than the picture: the last block of a row may pass its end.
    """
    side = depth.shape[0]
    for t in range(len(model.triangles)):
        i, j, k = _row(model.triangles, t)
        x0, y0, z0 = _row(screen, i)
        x1, y1, z1 = _row(screen, j)
        x2, y2, z2 = _row(screen, k)

        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        one_sided = t < model.opaque_end or t >= model.two_sided_end
        if area == 0.0 or (area > 0.0 and one_sided):
            continue
        left, right = _sample_range(x0, x1, x2, side)
        top, bottom = _sample_range(y0, y1, y2, side)
        if left > right or top > bottom:
            continue

        # Barycentric coordinates a, b, c: their change a column (x) and a row (y).
        scale = ONE / area
        bx, by = (y2 - y0) * scale, (x0 - x2) * scale
        cx, cy = (y0 - y1) * scale, (x1 - x0) * scale

        if t < model.opaque_end:
            number = np.int32(t)
            for row in range(top, bottom + 1):
                dy = np.float32(row) + HALF - y0
                row_b = by * dy
                row_c = cy * dy
                for start in range(left, right + 1, BLOCK):
                    block_depth = depth[row, start : start + BLOCK]
                    block_nearest = nearest[row, start : start + BLOCK]
                    first_dx = np.float32(start) + HALF - x0
                    # No branch, and both arrays written always: this is what a vector can do.
                    for i in range(BLOCK):
                        dx = first_dx + np.float32(np.int32(i))
                        b = row_b + bx * dx
                        c = row_c + cx * dx
                        a = ONE - b - c
                        z = a * z0 + b * z1 + c * z2
                        inside = (a >= ZERO) & (b >= ZERO) & (c >= ZERO)
                        wins = inside & (z < block_depth[i])
                        block_depth[i] = z if wins else block_depth[i]
                        block_nearest[i] = number if wins else block_nearest[i]
            continue

        for row in range(top, bottom + 1):
            dy = np.float32(row) + HALF - y0
            row_b = by * dy
            row_c = cy * dy
            for column in range(left, right + 1):
                dx = np.float32(column) + HALF - x0
                b = row_b + bx * dx
                c = row_c + cx * dx
                a = ONE - b - c
                if a < 0.0 or b < 0.0 or c < 0.0:
                    continue

                z = a * z0 + b * z1 + c * z2
                if z < depth[row, column] and _passes_alpha(model, t, (a, b, c), row, column):
                    depth[row, column] = z
                    nearest[row, column] = t


# --- pixels -----------------------------------------------------------------------------------


@njit(**INLINE)
def _barycentric(
    screen: np.ndarray, corners: tuple[int, int, int], row: int, column: int
) -> tuple[float, float, float]:
    """Barycentric coordinates of a sample in its triangle."""
    i, j, k = corners
    x0, y0, _ = _row(screen, i)
    x1, y1, _ = _row(screen, j)
    x2, y2, _ = _row(screen, k)
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    scale = ONE / area

    dx = np.float32(column) + HALF - x0
    dy = np.float32(row) + HALF - y0
    b = ((y2 - y0) * dx + (x0 - x2) * dy) * scale
    c = ((y0 - y1) * dx + (x1 - x0) * dy) * scale
    a = ONE - b - c

    return a, b, c


@njit(**INLINE)
def _bilinear(
    upper: np.ndarray,
    lower: np.ndarray,
    column: int,
    weights: tuple[float, float, float, float],
    channel: int,
) -> float:
    """One channel between four texels: two of an upper row, two of the row below."""
    w00, w01, w10, w11 = weights
    upper_left = w00 * upper[column, channel]
    upper_right = w01 * upper[column + 1, channel]
    lower_left = w10 * lower[column, channel]
    lower_right = w11 * lower[column + 1, channel]

    return upper_left + upper_right + lower_left + lower_right


@njit(**INLINE)
def _shade_sample(
    screen: np.ndarray, model: PersonModel, shading: np.ndarray, t: int, row: int, column: int
) -> tuple[float, float, float]:
    """Colour of one sample: bilinear texture times interpolated shading, plus the highlight."""
    corners = _row(model.triangles, t)
    weights = _barycentric(screen, corners, row, column)

    height, width = model.texture.shape[:2]
    u = _interpolate(model.uv, corners, weights, 0) - HALF
    v = _interpolate(model.uv, corners, weights, 1) - HALF
    u0 = _clamp(int(u), 0, width - 2)
    v0 = _clamp(int(v), 0, height - 2)
    fu = _clamp(u - u0, ZERO, ONE)
    fv = _clamp(v - v0, ZERO, ONE)

    texel_weights = ((1 - fu) * (1 - fv), fu * (1 - fv), (1 - fu) * fv, fu * fv)
    upper = model.texture[v0]
    lower = model.texture[v0 + 1]

    highlight = _interpolate(shading, corners, weights, 3)
    red = BYTE * _bilinear(upper, lower, u0, texel_weights, 0)
    green = BYTE * _bilinear(upper, lower, u0, texel_weights, 1)
    blue = BYTE * _bilinear(upper, lower, u0, texel_weights, 2)
    red = highlight + red * _interpolate(shading, corners, weights, 0)
    green = highlight + green * _interpolate(shading, corners, weights, 1)
    blue = highlight + blue * _interpolate(shading, corners, weights, 2)

    return red, green, blue


@njit(**INLINE)
def _shade_pixel(
    screen: np.ndarray,
    model: PersonModel,
    shading: np.ndarray,
    line_weights: np.ndarray,
    t: int,
    y: int,
    x: int,
) -> tuple[float, float, float]:
    """Colour of a triangle in the middle of a pixel, as `_shade_sample` has it, with wrinkles.

    The alpha of the skin says how deep a wrinkle is there: it darkens by how strongly the wrinkles
    of its region show.
    """
    corners = _row(model.triangles, t)
    row = np.float32(2 * y) + HALF
    column = np.float32(2 * x) + HALF
    weights = _barycentric(screen, corners, row, column)

    height, width = model.texture.shape[:2]
    u = _interpolate(model.uv, corners, weights, 0) - HALF
    v = _interpolate(model.uv, corners, weights, 1) - HALF
    u0 = _clamp(int(u), 0, width - 2)
    v0 = _clamp(int(v), 0, height - 2)
    fu = _clamp(u - np.float32(u0), ZERO, ONE)
    fv = _clamp(v - np.float32(v0), ZERO, ONE)

    texel_weights = ((ONE - fu) * (ONE - fv), fu * (ONE - fv), (ONE - fu) * fv, fu * fv)
    upper = model.texture[v0]
    lower = model.texture[v0 + 1]

    i, j, k = corners
    a, b, c = weights
    line_weight = a * line_weights[i] + b * line_weights[j] + c * line_weights[k]
    depth = ZERO
    if line_weight > ZERO:
        alpha = _bilinear(upper, lower, u0, texel_weights, 3)
        depth = line_weight * (np.float32(128.0) - alpha) * LINE_DEPTH

    highlight = _interpolate(shading, corners, weights, 3)
    red = BYTE * _bilinear(upper, lower, u0, texel_weights, 0)
    green = BYTE * _bilinear(upper, lower, u0, texel_weights, 1)
    blue = BYTE * _bilinear(upper, lower, u0, texel_weights, 2)
    red = highlight + red * _interpolate(shading, corners, weights, 0)
    green = highlight + green * _interpolate(shading, corners, weights, 1)
    blue = highlight + blue * _interpolate(shading, corners, weights, 2)

    light = ONE - depth
    return red * (ONE - np.float32(0.8) * depth), green * light, blue * light


@njit(**INLINE)
def _to_byte(total: float) -> int:
    """The mean of a pixel's samples, from their sum in [0, 4], as a rounded byte."""
    return np.uint8(min(total * np.float32(63.75) + HALF, np.float32(255.0)))


@njit(**FAST)
def _resolve(
    screen: np.ndarray,
    model: PersonModel,
    shading: np.ndarray,
    nearest: np.ndarray,
    background: np.ndarray,
    frame: np.ndarray,
) -> None:
    """Shade every covered sample and average the samples of each pixel, into `frame`."""
    size = frame.shape[0]
    for y in range(size):
        for x in range(size):
            red, green, blue = ZERO, ZERO, ZERO

            for sample in range(SAMPLES):
                row = 2 * y + sample // 2
                column = 2 * x + sample % 2

                t = nearest[row, column]
                if t < 0:
                    red += background[y, x, 0]
                    green += background[y, x, 1]
                    blue += background[y, x, 2]
                else:
                    colour = _shade_sample(screen, model, shading, t, row, column)
                    red += colour[0]
                    green += colour[1]
                    blue += colour[2]

            frame[y, x, 0] = _to_byte(red)
            frame[y, x, 1] = _to_byte(green)
            frame[y, x, 2] = _to_byte(blue)


@njit(**FAST)
def _resolve_once(
    screen: np.ndarray,
    model: PersonModel,
    shading: np.ndarray,
    line_weights: np.ndarray,
    nearest: np.ndarray,
    background: np.ndarray,
    frame: np.ndarray,
) -> None:
    """As `_resolve`, but a triangle that covers several samples of a pixel is shaded once.

    This is what version 2 takes: it pays for wrinkles and hair.
    """
    size = frame.shape[0]
    for y in range(size):
        for x in range(size):
            red, green, blue = ZERO, ZERO, ZERO
            last = np.int32(-2)
            colour = (ZERO, ZERO, ZERO)

            for sample in range(SAMPLES):
                row = 2 * y + sample // 2
                column = 2 * x + sample % 2

                t = nearest[row, column]
                if t != last:
                    last = t
                    if t < 0:
                        colour = (background[y, x, 0], background[y, x, 1], background[y, x, 2])
                    else:
                        colour = _shade_pixel(screen, model, shading, line_weights, t, y, x)
                red += colour[0]
                green += colour[1]
                blue += colour[2]

            frame[y, x, 0] = _to_byte(red)
            frame[y, x, 1] = _to_byte(green)
            frame[y, x, 2] = _to_byte(blue)


# --- a clip -----------------------------------------------------------------------------------


@njit(**INLINE)
def _half_vector(key_direction: np.ndarray) -> np.ndarray:
    """Unit vector (3,) half-way between the key light and the camera."""
    half = key_direction + np.array([0.0, 0.0, 1.0], np.float32)
    half /= np.float32(math.sqrt(half[0] ** 2 + half[1] ** 2 + half[2] ** 2))
    return half


@njit(**FAST)
def film(
    model: PersonModel,
    shapes: SparseShapes,
    motion: Motion,
    camera: Camera,
    lights: Lights,
    background: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Render a clip; see `render.render`.

    Args:
        model: the person.
        shapes: the facial actions.
        motion: T frames of coefficients, head pose and gaze.
        camera: in samples, two a pixel.
        lights: linear.
        background: (size, size, 3) float32 in [0, 1], behind the head.

    Returns:
        Frames (T, size, size, 3) uint8, and landmarks (T, L, 2) float32 in pixels.
    """
    num_frames = len(motion.coefficients)
    num_vertices = len(model.vertices)
    size = len(background)
    frames = np.empty((num_frames, size, size, 3), np.uint8)
    landmarks = np.empty((num_frames, len(model.landmarks), 2), np.float32)

    sky_visibility = model.sky_visibility.copy()
    half_vector = _half_vector(lights.key_direction)
    points = np.empty((num_vertices, 3), np.float32)
    normals = np.empty((num_vertices, 3), np.float32)
    screen = np.empty((num_vertices, 3), np.float32)
    shading = np.empty((num_vertices, 4), np.float32)
    line_weights = np.zeros(num_vertices, np.float32)
    depth = np.empty((2 * size, 2 * size + BLOCK), np.float32)
    nearest = np.empty((2 * size, 2 * size + BLOCK), np.int32)

    for frame in range(num_frames):
        _deform(model.vertices, shapes, motion.coefficients[frame], points)
        _attach(model.vertices, model.anchors, points)
        _weigh_lines(model, motion.lines[frame], line_weights)
        _rotate_eyes(points, model, motion.eye_rotations[frame])
        _occlude_eyes(points, model, sky_visibility)
        _light_mouth(points, model, sky_visibility)

        rotation = motion.head_rotations[frame]
        translation = motion.translations[frame]
        _pose_head(points, model.head_weight, rotation, translation, motion.neck)
        _vertex_normals(points, model.triangles, normals)
        _shade_vertices(normals, model, sky_visibility, lights, half_vector, shading)
        _project(points, camera, camera.focal[frame], screen)

        _clear(depth, nearest)
        _rasterise(screen, model, depth, nearest)
        if len(model.line_vertices) > 0:
            _resolve_once(screen, model, shading, line_weights, nearest, background, frames[frame])
        else:
            _resolve(screen, model, shading, nearest, background, frames[frame])

        for number in range(len(model.landmarks)):
            vertex = model.landmarks[number]
            landmarks[frame, number, 0] = HALF * screen[vertex, 0]
            landmarks[frame, number, 1] = HALF * screen[vertex, 1]

    return frames, landmarks
