"""The inner loops of the renderer, compiled once by numba and kept on disk."""

import math

import numpy as np
from numba import njit

FAST = {"cache": True, "fastmath": True, "nogil": True, "error_model": "numpy"}


@njit(**FAST)
def _deform(neutral, rows, deltas, offsets, weights, out):
    """out = neutral + sum of weighted sparse actions."""
    out[:] = neutral
    for action in range(len(weights)):
        weight = weights[action]
        if weight != 0.0:
            for i in range(offsets[action], offsets[action + 1]):
                for axis in range(3):
                    out[rows[i], axis] += weight * deltas[i, axis]


@njit(**FAST)
def _turn_eyes(points, eyes, centres, look):
    for eye in range(2):
        cx, cy, cz = centres[eye, 0], centres[eye, 1], centres[eye, 2]
        for i in range(eyes[eye, 0], eyes[eye, 1]):
            x, y, z = points[i, 0] - cx, points[i, 1] - cy, points[i, 2] - cz
            points[i, 0] = cx + look[0, 0] * x + look[0, 1] * y + look[0, 2] * z
            points[i, 1] = cy + look[1, 0] * x + look[1, 1] * y + look[1, 2] * z
            points[i, 2] = cz + look[2, 0] * x + look[2, 1] * y + look[2, 2] * z


@njit(**FAST)
def _pose(points, follow, turn, shift, pivot):
    """Turns about the pivot by the share `follow`, then shifts everything."""
    for i in range(len(points)):
        x, y, z, f = (
            points[i, 0] - pivot[0],
            points[i, 1] - pivot[1],
            points[i, 2] - pivot[2],
            follow[i],
        )
        a = turn[0, 0] * x + turn[0, 1] * y + turn[0, 2] * z
        b = turn[1, 0] * x + turn[1, 1] * y + turn[1, 2] * z
        c = turn[2, 0] * x + turn[2, 1] * y + turn[2, 2] * z
        points[i, 0] = pivot[0] + x + f * (a - x) + shift[0]
        points[i, 1] = pivot[1] + y + f * (b - y) + shift[1]
        points[i, 2] = pivot[2] + z + f * (c - z) + shift[2]


@njit(**FAST)
def _normals(points, triangles, out):
    """Area-weighted vertex normals, unit length."""
    out[:] = 0.0
    for t in range(len(triangles)):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = (
            points[j, 0] - points[i, 0],
            points[j, 1] - points[i, 1],
            points[j, 2] - points[i, 2],
        )
        bx, by, bz = (
            points[k, 0] - points[i, 0],
            points[k, 1] - points[i, 1],
            points[k, 2] - points[i, 2],
        )
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        for corner in (i, j, k):
            out[corner, 0] += nx
            out[corner, 1] += ny
            out[corner, 2] += nz
    for i in range(len(out)):
        length = math.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2) + np.float32(1e-12)
        for axis in range(3):
            out[i, axis] /= length


@njit(**FAST)
def _shade(normals, tint, light, gloss, lights, half, out):
    """Per vertex: factor on the texture (3, gamma 2 space) and highlight (1). Light wraps further for red: skin."""
    for i in range(len(normals)):
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        key = nx * lights[0, 0] + ny * lights[0, 1] + nz * lights[0, 2]
        fill = max(nx * lights[2, 0] + ny * lights[2, 1] + nz * lights[2, 2], np.float32(0.0))
        up = np.float32(0.5) + np.float32(0.5) * ny
        open_sky = light[i]
        direct = (
            min(np.float32(0.25) + np.float32(1.1) * open_sky, np.float32(1.0))
            if open_sky > 0.3
            else np.float32(1.9) * open_sky
        )
        for c in range(3):
            wrap = np.float32(0.30) - np.float32(0.10) * c
            lit = max(key + wrap, np.float32(0.0)) / (np.float32(1.0) + wrap)
            ambient = (lights[5, c] + (lights[4, c] - lights[5, c]) * up) * open_sky
            total = ambient + direct * (lit * lights[1, c] + fill * lights[3, c])
            out[i, c] = math.sqrt(total) * tint[i, c]
        shine = nx * half[0] + ny * half[1] + nz * half[2]
        out[i, 3] = gloss[i, 0] * direct * shine ** gloss[i, 1] if shine > 0.3 else np.float32(0.0)


@njit(**FAST)
def _cover(screen, triangles, opaque, single, uv, texture, depth, owner):
    """Nearest triangle of every sample; from number `opaque` on where alpha allows, up to `single` from both sides."""
    side, h, one, tiny = depth.shape[0], np.float32(0.5), np.float32(1.0), np.float32(1e-6)
    height, width = texture.shape[0], texture.shape[1]
    for t in range(len(triangles)):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0, x1, y1, x2, y2 = (
            screen[i, 0],
            screen[i, 1],
            screen[j, 0],
            screen[j, 1],
            screen[k, 0],
            screen[k, 1],
        )
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0.0 or (area > 0.0 and (t < opaque or t >= single)):
            continue
        # Samples lie at half numbers: the first at or after x is int(x + 0.5), the last before it one less.
        left, right = max(int(min(x0, x1, x2) + h), 0), min(int(max(x0, x1, x2) + h) - 1, side - 1)
        top, bottom = max(int(min(y0, y1, y2) + h), 0), min(int(max(y0, y1, y2) + h) - 1, side - 1)
        if left > right or top > bottom:
            continue
        scale = np.float32(1.0) / area
        bx, by = (y2 - y0) * scale, (x0 - x2) * scale
        cx, cy = (y0 - y1) * scale, (x1 - x0) * scale
        ax, ay = -bx - cx, -by - cy
        ib, ic, ia = one / bx, one / cx, one / ax
        z0, z1, z2 = screen[i, 2], screen[j, 2], screen[k, 2]
        for row in range(top, bottom + 1):
            dy = np.float32(row) + h - y0
            b0, c0, a0 = by * dy, cy * dy, one + ay * dy
            # Where the row enters and leaves the triangle, one sample wider than that; the test below decides.
            low, high = np.float32(left), np.float32(right)
            for slope, inverse, value in ((bx, ib, b0), (cx, ic, c0), (ax, ia, a0)):
                crossing = x0 - h - value * inverse
                if slope > tiny:
                    low = max(low, crossing - one)
                elif slope < -tiny:
                    high = min(high, crossing + one)
            if high < low:
                continue
            for column in range(int(low), int(high) + 1):
                dx = np.float32(column) + h - x0
                b = b0 + bx * dx
                c = c0 + cx * dx
                a = one - b - c
                if a < 0.0 or b < 0.0 or c < 0.0:
                    continue
                z = a * z0 + b * z1 + c * z2
                if z >= depth[row, column]:
                    continue
                if t >= opaque:
                    u = min(max(int(a * uv[i, 0] + b * uv[j, 0] + c * uv[k, 0]), 0), width - 1)
                    v = min(max(int(a * uv[i, 1] + b * uv[j, 1] + c * uv[k, 1]), 0), height - 1)
                    # Alpha to coverage: each of a pixel's four samples has its own threshold.
                    level = 32 + 64 * ((row & 1) * 2 + ((row ^ column) & 1))
                    if texture[v, u, 3] < level:
                        continue
                depth[row, column] = z
                owner[row, column] = t


@njit(**FAST)
def _colour(screen, triangles, uv, shade, texture, owner, background, frame):
    """Shades every sample that has an owner and averages the four samples of each pixel."""
    size, h = frame.shape[0], np.float32(0.5)
    height, width = texture.shape[0], texture.shape[1]
    for y in range(size):
        for x in range(size):
            red, green, blue = np.float32(0.0), np.float32(0.0), np.float32(0.0)
            for sample in range(4):
                row, column = 2 * y + sample // 2, 2 * x + sample % 2
                t = owner[row, column]
                if t < 0:
                    red += background[y, x, 0]
                    green += background[y, x, 1]
                    blue += background[y, x, 2]
                    continue
                i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                x0, y0, x1, y1, x2, y2 = (
                    screen[i, 0],
                    screen[i, 1],
                    screen[j, 0],
                    screen[j, 1],
                    screen[k, 0],
                    screen[k, 1],
                )
                scale = np.float32(1.0) / ((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0))
                dx, dy = np.float32(column) + h - x0, np.float32(row) + h - y0
                b = ((y2 - y0) * dx + (x0 - x2) * dy) * scale
                c = ((y0 - y1) * dx + (x1 - x0) * dy) * scale
                a = np.float32(1.0) - b - c
                u = a * uv[i, 0] + b * uv[j, 0] + c * uv[k, 0] - np.float32(0.5)
                v = a * uv[i, 1] + b * uv[j, 1] + c * uv[k, 1] - np.float32(0.5)
                u0, v0 = min(max(int(u), 0), width - 2), min(max(int(v), 0), height - 2)
                fu, fv = (
                    min(max(u - u0, np.float32(0.0)), np.float32(1.0)),
                    min(max(v - v0, np.float32(0.0)), np.float32(1.0)),
                )
                w00, w01 = (1 - fu) * (1 - fv), fu * (1 - fv)
                w10, w11 = (1 - fu) * fv, fu * fv
                shine = a * shade[i, 3] + b * shade[j, 3] + c * shade[k, 3]
                p, q = texture[v0], texture[v0 + 1]
                n = np.float32(1.0 / 255.0)
                red += shine + n * (
                    w00 * p[u0, 0] + w01 * p[u0 + 1, 0] + w10 * q[u0, 0] + w11 * q[u0 + 1, 0]
                ) * (a * shade[i, 0] + b * shade[j, 0] + c * shade[k, 0])
                green += shine + n * (
                    w00 * p[u0, 1] + w01 * p[u0 + 1, 1] + w10 * q[u0, 1] + w11 * q[u0 + 1, 1]
                ) * (a * shade[i, 1] + b * shade[j, 1] + c * shade[k, 1])
                blue += shine + n * (
                    w00 * p[u0, 2] + w01 * p[u0 + 1, 2] + w10 * q[u0, 2] + w11 * q[u0 + 1, 2]
                ) * (a * shade[i, 2] + b * shade[j, 2] + c * shade[k, 2])
            frame[y, x, 0] = np.uint8(
                min(red * np.float32(63.75) + np.float32(0.5), np.float32(255.0))
            )
            frame[y, x, 1] = np.uint8(
                min(green * np.float32(63.75) + np.float32(0.5), np.float32(255.0))
            )
            frame[y, x, 2] = np.uint8(
                min(blue * np.float32(63.75) + np.float32(0.5), np.float32(255.0))
            )


@njit(**FAST)
def film(
    neutral,
    triangles,
    opaque,
    single,
    uv,
    tint,
    light,
    gloss,
    follow,
    eyes,
    centres,
    inside,
    lips,
    landmarks,
    texture,
    rows,
    deltas,
    offsets,
    coefficients,
    turns,
    looks,
    shift,
    focal,
    centre,
    distance,
    height,
    pivot,
    lights,
    background,
    size,
):
    """All frames (T, size, size, 3) uint8 and landmarks (T, L, 2) float32 in pixels; see `render.render`."""
    num_frames, side, count = len(coefficients), 2 * size, len(neutral)
    frames = np.empty((num_frames, size, size, 3), np.uint8)
    marks = np.empty((num_frames, len(landmarks), 2), np.float32)
    points, normals = np.empty((count, 3), np.float32), np.empty((count, 3), np.float32)
    screen, shade = np.empty((count, 3), np.float32), np.empty((count, 4), np.float32)
    open_sky = light.copy()
    depth, owner = np.empty((side, side), np.float32), np.empty((side, side), np.int32)
    half = lights[0] + np.array([0.0, 0.0, 1.0], np.float32)
    half /= np.float32(math.sqrt(half[0] ** 2 + half[1] ** 2 + half[2] ** 2))
    for frame in range(num_frames):
        _deform(neutral, rows, deltas, offsets, coefficients[frame], points)
        _turn_eyes(points, eyes, centres, looks[frame])
        for eye in range(2):  # the upper lid shades the eyeball
            for i in range(eyes[eye, 0], eyes[eye, 1]):
                y = (points[i, 1] - centres[eye, 1]) / centres[eye, 3]
                x = abs(points[i, 0] - centres[eye, 0]) / centres[eye, 3]
                open_sky[i] = (
                    np.float32(0.85)
                    - np.float32(0.75)
                    * min(max(y + np.float32(0.15), np.float32(0.0)), np.float32(0.7))
                    - np.float32(0.2) * x * x
                )
        parted = (
            points[lips[0], 1] - points[lips[1], 1] - (neutral[lips[0], 1] - neutral[lips[1], 1])
        )
        for i in inside:  # light enters as the lips part
            open_sky[i] = light[i] * (
                np.float32(0.12)
                + np.float32(0.88)
                * min(max(parted * np.float32(10.0), np.float32(0.0)), np.float32(1.0))
            )
        _pose(points, follow, turns[frame], shift[frame], pivot)
        _normals(points, triangles, normals)
        _shade(normals, tint, open_sky, gloss, lights, half, shade)
        for i in range(count):
            near = focal[frame] / (distance - points[i, 2])
            screen[i, 0] = centre[0] + near * points[i, 0]
            screen[i, 1] = centre[1] - near * (points[i, 1] - height)
            screen[i, 2] = -points[i, 2]
        depth[:] = np.float32(1e9)
        owner[:] = -1
        _cover(screen, triangles, opaque, single, uv, texture, depth, owner)
        _colour(screen, triangles, uv, shade, texture, owner, background, frames[frame])
        for m in range(len(landmarks)):
            marks[frame, m, 0] = np.float32(0.5) * screen[landmarks[m], 0]
            marks[frame, m, 1] = np.float32(0.5) * screen[landmarks[m], 1]
    return frames, marks
