"""The studio's renderer: a z-buffer with 2x2 samples a pixel, smooth normals and one soft light model, in numba.

Every frame is computed from its own inputs alone: frame t of a clip equals, bit for bit, rendering frame t by itself.

Signs: yaw > 0 turns the face to the subject's left (right of the picture), pitch > 0 lowers it, roll > 0 tilts it onto
the left shoulder (clockwise in the picture); tx > 0 moves right, ty > 0 down; gaze yaw > 0 looks to the subject's left,
gaze pitch > 0 down.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS
from cdrl.studio import kernels
from cdrl.studio.hair import ROWS, hair_shell, hangs
from cdrl.studio.head import HEAD_WIDTH, LANDMARKS, PARTS, load_head
from cdrl.studio.paint import ATLAS, EYE_ROW, HAIR_ROW, atlas_uv, halved, paint_atlas
from cdrl.studio.people import Person, Scene, person_vertices, sample_person, sample_scene

__all__ = ["LANDMARKS", "render"]

VIEW = 2.95  # decimetres: height of the picture in the plane of the face at zoom 1
VIEW_CENTRE, VIEW_DEPTH = -0.12, 0.6  # height and depth (dm) of the point the camera looks at
TEETH = (PARTS.index("upper_teeth"), PARTS.index("lower_teeth"))
INSIDE = (PARTS.index("mouth"), PARTS.index("tongue"), *TEETH)
TEETH_BACK = 0.035  # dm: identity modes move lips, not teeth, which must not show through
PIVOT = np.array([0.0, -0.55, 0.15], np.float32)  # the joint that the head turns about, dm
EYE_RINGS, EYE_SPOKES, EYE_REACH = 12, 24, np.radians(105)


@dataclass(frozen=True)
class Model:
    """A person ready to render: per vertex position, texel, tint, openness, gloss; triangles; texture at one scale."""

    vertices: np.ndarray  # (V, 3) neutral, dm
    triangles: np.ndarray  # (F, 3); the first `opaque` need no alpha
    opaque: int
    single: int  # from this triangle on only the outside shows: hair that follows the head
    uv: np.ndarray  # (V, 2) texels
    tint: np.ndarray  # (V, 3) factor on the texture
    light: np.ndarray  # (V,) share of open sky
    gloss: np.ndarray  # (V, 2) strength and exponent of the highlight
    follow: np.ndarray  # (V,) 1 turns with the head, 0 stays with the body
    eyes: np.ndarray  # (2, 2) first and last + 1 vertex of the left and right eyeball
    centres: np.ndarray  # (2, 4) centre and radius of the eyeballs, dm
    inside: np.ndarray  # vertices inside the mouth: they get light as the lips part
    lips: np.ndarray  # (2,) inner middle of the upper and the lower lip
    landmarks: np.ndarray  # (L,)
    texture: np.ndarray  # (H, W, 4) uint8


def _smooth(low, high, value):
    share = np.clip((value - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def _eyeball(anchors: np.ndarray, start: int):
    """Front of a sphere around the anchors: vertices, texels, triangles, centre and radius. Vertex 0 is the pupil."""
    low, high = anchors.min(0), anchors.max(0)
    radius = 0.25 * float((high - low)[:2].sum()) * 0.99
    centre = np.array(
        [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, high[2] - 1.01 * radius], np.float32
    )
    polar, around = np.meshgrid(
        np.linspace(0, EYE_REACH, EYE_RINGS + 1)[1:],
        np.linspace(0, 2 * np.pi, EYE_SPOKES, endpoint=False),
    )
    polar, around = polar.T, around.T
    unit = np.stack(
        [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], -1
    ).reshape(-1, 3)
    unit = np.concatenate([[[0, 0, 1]], unit])
    uv = np.stack([63.5 + 60 * unit[:, 0], EYE_ROW + 63.5 - 60 * unit[:, 1]], 1) + 0.5
    first = 1 + np.arange(EYE_SPOKES)
    fan = np.stack([np.zeros(EYE_SPOKES, int), first, np.roll(first, -1)], 1)
    bands = [fan]
    for ring in range(EYE_RINGS - 1):
        a = 1 + ring * EYE_SPOKES + np.arange(EYE_SPOKES)
        b = np.roll(a, -1)
        bands += [
            np.stack([a, a + EYE_SPOKES, b], 1),
            np.stack([b, a + EYE_SPOKES, b + EYE_SPOKES], 1),
        ]
    return centre + radius * unit, uv, np.concatenate(bands) + start, np.append(centre, radius)


@lru_cache(maxsize=32)
def _model(person: Person, scale: int) -> Model:
    """Geometry and texture of a person; the texture is halved `scale` times."""
    head = load_head()
    neutral = person_vertices(person)
    count = len(neutral)
    parts = [neutral]
    uvs, opaque, centres, eyes = [atlas_uv(head)], [], [], []
    for name in ("left_eye", "right_eye"):
        start = sum(map(len, parts))
        ball, uv, triangles, centre = _eyeball(neutral[head.vertices_of(name)], start)
        parts.append(ball), uvs.append(uv), opaque.append(triangles), centres.append(centre)
        eyes.append((start, start + len(ball)))
    start = sum(map(len, parts))
    shell, hair_triangles = hair_shell(person, neutral)
    parts.append(shell)
    column = np.tile(
        np.linspace(0.5, ATLAS[1] - 0.5, len(shell) // ROWS or 1), ROWS if len(shell) else 0
    )
    row = np.repeat(np.linspace(HAIR_ROW + 0.5, ATLAS[0] - 0.5, ROWS), len(shell) // ROWS)
    uvs.append(np.stack([column, row], 1))
    is_lash = head.part[head.triangles[:, 0]] == PARTS.index("lashes")
    lower = is_lash & (
        head.uv[head.triangles[:, 0], 1] > 0.957
    )  # lower lashes would be a bar at this scale
    unseen = np.abs(head.vertices[head.triangles][..., 0]).min(1) > 2.1
    skin = head.triangles[~is_lash & ~unseen]
    triangles = np.concatenate(
        [skin, *opaque, head.triangles[is_lash & ~lower], hair_triangles + start]
    )
    vertices, uv = np.concatenate(parts), np.concatenate(uvs)
    vertices[:count][np.isin(head.part, TEETH)] -= (0, 0, TEETH_BACK)
    single = len(triangles) - (0 if hangs(person) else len(hair_triangles))
    tint, light, gloss = _surface(person, head, vertices, eyes, start)
    follow = np.ones(len(vertices), np.float32)
    body = head.vertices
    follow[:count] = _smooth(-1.70, -0.90, body[:, 1] + 0.35 * (body[:, 2] - 0.1))
    follow[start:] = _smooth(-2.6, -0.9, shell[:, 1]) if len(shell) else 1.0
    landmarks = head.landmarks.copy()
    landmarks[LANDMARKS.index("left_pupil")], landmarks[LANDMARKS.index("right_pupil")] = (
        eyes[0][0],
        eyes[1][0],
    )
    texture = paint_atlas(person)
    for _ in range(scale):
        texture = halved(texture)
    return Model(
        np.ascontiguousarray(vertices, np.float32),
        np.ascontiguousarray(triangles, np.int32),
        len(skin) + sum(map(len, opaque)),
        single,
        (uv / 2**scale).astype(np.float32),
        tint,
        light,
        gloss,
        follow,
        np.array(eyes),
        np.array(centres, np.float32),
        np.flatnonzero(np.isin(head.part, INSIDE)),
        landmarks[[LANDMARKS.index("upper_lip_inner"), LANDMARKS.index("lower_lip_inner")]],
        landmarks,
        texture,
    )


def _surface(person: Person, head, vertices, eyes, hair_start):
    """Tint (V, 3), openness (V,) and gloss (V, 2) of all vertices: what is not in the texture."""
    count, total = len(head.vertices), len(vertices)
    tint, light = np.ones((total, 3), np.float32), np.ones(total, np.float32)
    gloss = np.tile(np.float32([0.10, 12.0]), (total, 1))
    lips = np.zeros(total, np.float32)
    lips[:count] = _smooth(0.15, 0.75, head.lips)
    tint += lips[:, None] * (np.asarray(person.lips) / np.asarray(person.skin) - 1)
    ears = np.zeros(total, np.float32)
    ears[:count] = head.ears
    tint *= 1 - ears[:, None] * (0.0, 0.08, 0.09)
    light[:count] = np.maximum(head.sky_visibility, 0.55 * lips[:count])
    depth = head.vertices[:, 2]
    inside = np.isin(head.part, INSIDE)
    light[:count][inside] = (0.04 + 0.60 * _smooth(1.0, 1.5, depth))[inside]
    teeth = np.isin(head.part, TEETH)
    light[:count][teeth] = (0.14 + 0.86 * _smooth(1.16, 1.42, depth))[teeth]
    gloss[:count][lips[:count] > 0.4] = (0.16, 22.0)
    gloss[:count][inside] = (0.05, 20.0)
    for first, last in eyes:
        gloss[first:last] = (0.75, 90.0)
    gloss[hair_start:] = (0.10, 10.0)
    light[hair_start:] = 0.9
    return tint, light, gloss


def _background(scene: Scene, size: int) -> np.ndarray:
    """Gradient between two colours with a weak vignette, (size, size, 3) float32 in [0, 1]."""
    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size - 0.5
    along = 0.5 + 0.7 * (np.cos(scene.background_angle) * x + np.sin(scene.background_angle) * y)
    first, second = np.asarray(scene.background)
    image = first + (second - first) * np.clip(along, 0, 1)[..., None]
    return (image * (1 - 0.25 * (x**2 + y**2))[..., None]).astype(np.float32)


def _turns(yaw, pitch, roll=0.0) -> np.ndarray:
    """Rotation (3, 3) for angles in radians with the signs of this module."""
    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw),
        np.sin(yaw),
        np.cos(pitch),
        np.sin(pitch),
        np.cos(roll),
        np.sin(roll),
    )
    around_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    around_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    around_z = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
    return (around_z @ around_y @ around_x).astype(np.float32)


def _checked(name: str, array, width: int, length: int | None = None) -> np.ndarray:
    array = np.ascontiguousarray(array, np.float32)
    if array.ndim != 2 or array.shape[1] != width or (length is not None and len(array) != length):
        rows = "T" if length is None else length
        raise InputError(
            f"{name} has shape {array.shape}: accepted is ({rows}, {width}), one row a frame"
        )
    if not np.isfinite(array).all():
        raise InputError(f"{name} holds a number that is not finite; give finite numbers")
    return array


def render(person: Person | int, coefficients, pose, gaze, scene: Scene | int, size: int = 128):
    """Film of one head.

    Args:
        person: a `Person` or its number. scene: a `Scene` or its seed.
        coefficients: (T, 52) in [0, 1], order `vocabulary.ACTIONS`; zeros are the neutral face.
        pose: (T, 6) yaw, pitch, roll in radians, tx, ty in head widths, log of the scale.
        gaze: (T, 2) yaw, pitch of both eyeballs in radians (lids follow the eyeLook actions, not the gaze).
        size: side of the picture in pixels, 16 to 1024.

    Returns:
        frames (T, size, size, 3) uint8 RGB and landmarks (T, L, 2) float32 in pixels (x right, y down, the first pixel
        covers 0 to 1), order `LANDMARKS`. A neutral head spans about 80 % of the height.

    Raises:
        InputError: for arrays of another shape, or a size outside the range.
    """
    if not 16 <= size <= 1024:
        raise InputError(f"size {size}: accepted are 16 to 1024 pixels")
    coefficients = _checked("coefficients", coefficients, len(ACTIONS))
    pose = _checked("pose", pose, 6, len(coefficients))
    gaze = _checked("gaze", gaze, 2, len(coefficients))
    person = sample_person(person) if isinstance(person, int | np.integer) else person
    scene = sample_scene(int(scene)) if isinstance(scene, int | np.integer) else scene
    model, actions = (
        _model(person, 0 if size >= 192 else 1 if size >= 96 else 2),
        load_head().actions,
    )
    turns = (
        np.stack([_turns(*row[:3]) for row in pose])
        if len(pose)
        else np.zeros((0, 3, 3), np.float32)
    )
    looks = (
        np.stack([_turns(*row) for row in gaze]) if len(gaze) else np.zeros((0, 3, 3), np.float32)
    )
    shift = np.concatenate(
        [
            pose[:, 3:5] * np.float32([HEAD_WIDTH, -HEAD_WIDTH]),
            np.zeros((len(pose), 1), np.float32),
        ],
        1,
    )
    focal = (
        2 * size / VIEW * (scene.distance - VIEW_DEPTH) * scene.zoom * np.exp(pose[:, 5])
    ).astype(np.float32)
    centre = np.float32([size * (1 + 2 * scene.shift[0]), size * (1 + 2 * scene.shift[1])])
    lights = np.float32(
        [scene.key_direction, scene.key, scene.fill_direction, scene.fill, scene.sky, scene.ground]
    )
    return kernels.film(
        model.vertices,
        model.triangles,
        model.opaque,
        model.single,
        model.uv,
        model.tint,
        model.light,
        model.gloss,
        model.follow,
        model.eyes,
        model.centres,
        model.inside,
        model.lips,
        model.landmarks,
        model.texture,
        actions.vertex_ids,
        actions.deltas,
        actions.offsets,
        coefficients,
        turns,
        looks,
        shift,
        focal,
        centre,
        np.float32(scene.distance),
        np.float32(VIEW_CENTRE),
        PIVOT,
        lights,
        _background(scene, size),
        size,
    )
