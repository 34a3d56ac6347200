"""The studio's renderer: a z-buffer with 2x2 samples a pixel, smooth normals and one light model.

Every frame is computed from its own inputs alone: frame t of a clip equals, bit for bit, frame t
rendered by itself.

Signs: yaw > 0 turns the face to the subject's left (right of the picture), pitch > 0 lowers it,
roll > 0 tilts it onto the left shoulder (clockwise in the picture); tx > 0 moves right, ty > 0
down; gaze yaw > 0 looks to the subject's left, gaze pitch > 0 down.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS
from cdrl.studio.hair import ROWS, hair_shell, hangs
from cdrl.studio.head import HEAD_WIDTH, LANDMARKS, PARTS, Head, load_head
from cdrl.studio.kernels import Camera, Lights, Motion, PersonModel, SparseShapes, film
from cdrl.studio.paint import (
    ATLAS,
    EYE_RADIUS,
    EYE_ROW,
    HAIR_ROW,
    HALF_EYE,
    atlas_uv,
    half_size,
    paint_atlas,
    smoothstep,
)
from cdrl.studio.people import Person, Scene, person_vertices, sample_person, sample_scene

__all__ = ["LANDMARKS", "render"]

VIEW = 2.95  # decimetres: height of the picture in the plane of the face at zoom 1
VIEW_CENTRE, VIEW_DEPTH = -0.12, 0.6  # height and depth (dm) of the point the camera looks at
TEETH = (PARTS.index("upper_teeth"), PARTS.index("lower_teeth"))
MOUTH_INTERIOR = (PARTS.index("mouth"), PARTS.index("tongue"), *TEETH)
TEETH_BACK = 0.035  # dm: identity modes move lips, not teeth, which must not show through
NECK = np.array([0.0, -0.55, 0.15], np.float32)  # the joint that the head turns about, dm
EYE_RINGS, EYE_SPOKES, EYE_REACH = 12, 24, np.radians(105)
LOWER_LASHES = 0.957  # texture coordinate v above which a lash is a lower one
WIDEST_SKIN = 2.1  # dm: skin farther to the side is never in the picture


# --- geometry ---------------------------------------------------------------------------------


class _Eyeball(NamedTuple):
    """The front of a sphere; its first vertex is the pupil."""

    vertices: np.ndarray  # (N, 3) dm
    uv: np.ndarray  # (N, 2) texels
    triangles: np.ndarray  # (F, 3)
    sphere: np.ndarray  # (4,) centre and radius, dm


def _hemisphere() -> np.ndarray:
    """Unit vectors (N, 3): the pole on +z, then rings of `EYE_SPOKES` around it."""
    rings = np.linspace(0, EYE_REACH, EYE_RINGS + 1)[1:]
    spokes = np.linspace(0, 2 * np.pi, EYE_SPOKES, endpoint=False)
    polar, azimuth = np.meshgrid(rings, spokes, indexing="ij")
    x = np.sin(polar) * np.cos(azimuth)
    y = np.sin(polar) * np.sin(azimuth)
    rings_of_points = np.stack([x, y, np.cos(polar)], -1)
    return np.concatenate([[[0, 0, 1]], rings_of_points.reshape(-1, 3)])


def _hemisphere_triangles() -> np.ndarray:
    """Triangles (F, 3) of `_hemisphere`: a fan around the pole, then bands between the rings."""
    spokes = np.arange(EYE_SPOKES)
    first_ring = 1 + spokes
    fan = np.stack([np.zeros(EYE_SPOKES, int), first_ring, np.roll(first_ring, -1)], 1)
    triangles = [fan]
    for ring in range(EYE_RINGS - 1):
        inner = 1 + ring * EYE_SPOKES + spokes
        next_inner = np.roll(inner, -1)
        outer = inner + EYE_SPOKES
        next_outer = next_inner + EYE_SPOKES
        triangles.append(np.stack([inner, outer, next_inner], 1))
        triangles.append(np.stack([next_inner, outer, next_outer], 1))
    return np.concatenate(triangles)


def _eyeball(anchors: np.ndarray, first_vertex: int) -> _Eyeball:
    """The eyeball between the anchors (N, 3), its vertices numbered from `first_vertex`."""
    low, high = anchors.min(0), anchors.max(0)
    extent = float((high - low)[:2].sum())
    radius = 0.25 * extent * 0.99
    x = (low[0] + high[0]) / 2
    y = (low[1] + high[1]) / 2
    z = high[2] - 1.01 * radius
    centre = np.array([x, y, z], np.float32)
    unit = _hemisphere()
    column = HALF_EYE + EYE_RADIUS * unit[:, 0]
    row = EYE_ROW + HALF_EYE - EYE_RADIUS * unit[:, 1]
    return _Eyeball(
        vertices=centre + radius * unit,
        uv=np.stack([column, row], 1) + 0.5,
        triangles=_hemisphere_triangles() + first_vertex,
        sphere=np.append(centre, radius),
    )


def _hair_uv(num_vertices: int) -> np.ndarray:
    """Texels (N, 2) of the hair's grid of vertices."""
    if num_vertices == 0:
        return np.zeros((0, 2))
    columns = np.linspace(0.5, ATLAS[1] - 0.5, num_vertices // ROWS)
    rows = np.linspace(HAIR_ROW + 0.5, ATLAS[0] - 0.5, ROWS)
    return np.stack([np.tile(columns, ROWS), np.repeat(rows, len(columns))], 1)


def _visible_triangles(head: Head) -> tuple[np.ndarray, np.ndarray]:
    """Triangles (F, 3) of the head that are drawn: opaque ones, and lashes.

    Lower lashes would be a bar at this scale.
    """
    corner = head.triangles[:, 0]
    is_lash = head.part[corner] == PARTS.index("lashes")
    is_lower_lash = is_lash & (head.uv[corner, 1] > LOWER_LASHES)
    nearest_side = np.abs(head.vertices[head.triangles][..., 0]).min(1)
    unseen = nearest_side > WIDEST_SKIN
    return head.triangles[~is_lash & ~unseen], head.triangles[is_lash & ~is_lower_lash]


def _head_weights(head: Head, num_vertices: int, hair: np.ndarray) -> np.ndarray:
    """Skinning weight (V,) of every vertex: 1 turns with the head, 0 stays with the body.

    Args:
        head: the average head; its vertices come first.
        num_vertices: V, of head, eyeballs and hair.
        hair: (N, 3) positions of the last vertices, dm.
    """
    weights = np.ones(num_vertices, np.float32)
    height = head.vertices[:, 1] + 0.35 * (head.vertices[:, 2] - 0.1)
    weights[: len(head.vertices)] = smoothstep(-1.70, -0.90, height)
    if len(hair):
        weights[-len(hair) :] = smoothstep(-2.6, -0.9, hair[:, 1])
    return weights


# --- material ---------------------------------------------------------------------------------


class _Material(NamedTuple):
    """What is not in the texture, per vertex; the attributes of `PersonModel`."""

    albedo_factor: np.ndarray  # (V, 3)
    sky_visibility: np.ndarray  # (V,)
    specular: np.ndarray  # (V, 2)


def _material(
    person: Person, head: Head, num_vertices: int, eye_ranges: np.ndarray, first_hair: int
) -> _Material:
    """The material of every vertex.

    Args:
        person: for the colour of skin and lips.
        head: the average head; its vertices come first.
        num_vertices: V, of head, eyeballs and hair.
        eye_ranges: (2, 2) first and last + 1 vertex of the eyeballs.
        first_hair: number of the hair's first vertex.
    """
    num_head = len(head.vertices)
    lips = np.zeros(num_vertices, np.float32)
    lips[:num_head] = smoothstep(0.15, 0.75, head.lips)
    ears = np.zeros(num_vertices, np.float32)
    ears[:num_head] = head.ears
    interior = np.flatnonzero(np.isin(head.part, MOUTH_INTERIOR))
    teeth = np.flatnonzero(np.isin(head.part, TEETH))
    depth = head.vertices[:, 2]

    albedo_factor = np.ones((num_vertices, 3), np.float32)
    albedo_factor += lips[:, None] * (np.asarray(person.lips) / np.asarray(person.skin) - 1)
    albedo_factor *= 1 - ears[:, None] * (0.0, 0.08, 0.09)

    sky_visibility = np.ones(num_vertices, np.float32)
    sky_visibility[:num_head] = np.maximum(head.sky_visibility, 0.55 * lips[:num_head])
    sky_visibility[interior] = 0.04 + 0.60 * smoothstep(1.0, 1.5, depth[interior])
    sky_visibility[teeth] = 0.14 + 0.86 * smoothstep(1.16, 1.42, depth[teeth])
    sky_visibility[first_hair:] = 0.9

    specular = np.tile(np.array([0.10, 12.0], np.float32), (num_vertices, 1))
    specular[lips > 0.4] = (0.16, 22.0)
    specular[interior] = (0.05, 20.0)
    for first, end in eye_ranges:
        specular[first:end] = (0.75, 90.0)
    specular[first_hair:] = (0.10, 10.0)
    return _Material(albedo_factor, sky_visibility, specular)


def _texture(person: Person, halvings: int) -> np.ndarray:
    """The person's texture (H, W, 4) uint8, halved so many times."""
    texture = paint_atlas(person)
    for _ in range(halvings):
        texture = half_size(texture)
    return texture


@lru_cache(maxsize=32)
def person_model(person: Person, halvings: int) -> PersonModel:
    """Geometry, material and texture of a person.

    Args:
        person: looks.
        halvings: how many times the texture is halved, for small pictures.
    """
    head = load_head()
    neutral = person_vertices(person)
    left_start = len(neutral)
    left = _eyeball(neutral[head.vertices_of("left_eye")], left_start)
    right_start = left_start + len(left.vertices)
    right = _eyeball(neutral[head.vertices_of("right_eye")], right_start)
    first_hair = right_start + len(right.vertices)
    hair, hair_triangles = hair_shell(person, neutral)

    vertices = np.concatenate([neutral, left.vertices, right.vertices, hair])
    teeth = np.flatnonzero(np.isin(head.part, TEETH))
    vertices[teeth] -= (0, 0, TEETH_BACK)
    opaque, lashes = _visible_triangles(head)
    hair_triangles = hair_triangles + first_hair
    triangles = np.concatenate([opaque, left.triangles, right.triangles, lashes, hair_triangles])
    num_eyes = len(left.triangles) + len(right.triangles)
    num_one_sided = 0 if hangs(person) else len(hair_triangles)

    uv = np.concatenate([atlas_uv(head), left.uv, right.uv, _hair_uv(len(hair))])
    eye_ranges = np.array([(left_start, right_start), (right_start, first_hair)])
    material = _material(person, head, len(vertices), eye_ranges, first_hair)
    landmarks = head.landmarks.copy()
    landmarks[LANDMARKS.index("left_pupil")] = left_start
    landmarks[LANDMARKS.index("right_pupil")] = right_start
    inner_lips = [LANDMARKS.index("upper_lip_inner"), LANDMARKS.index("lower_lip_inner")]
    return PersonModel(
        vertices=np.ascontiguousarray(vertices, np.float32),
        triangles=np.ascontiguousarray(triangles, np.int32),
        opaque_end=len(opaque) + num_eyes,
        two_sided_end=len(triangles) - num_one_sided,
        uv=(uv / 2**halvings).astype(np.float32),
        albedo_factor=material.albedo_factor,
        sky_visibility=material.sky_visibility,
        specular=material.specular,
        head_weight=_head_weights(head, len(vertices), hair),
        eye_ranges=eye_ranges,
        eye_spheres=np.array([left.sphere, right.sphere], np.float32),
        mouth_interior=np.flatnonzero(np.isin(head.part, MOUTH_INTERIOR)),
        inner_lips=landmarks[inner_lips],
        landmarks=landmarks,
        texture=_texture(person, halvings),
    )


def _texture_halvings(size: int) -> int:
    """How often the texture is halved for a picture of `size` pixels."""
    if size >= 192:
        return 0
    return 1 if size >= 96 else 2


# --- motion, camera, light --------------------------------------------------------------------


def _rotation(yaw: float, pitch: float, roll: float = 0.0) -> np.ndarray:
    """Rotation (3, 3) float32 for angles in radians with the signs of this module."""
    cos_yaw, sin_yaw = np.cos(yaw), np.sin(yaw)
    cos_pitch, sin_pitch = np.cos(pitch), np.sin(pitch)
    cos_roll, sin_roll = np.cos(roll), np.sin(roll)
    around_y = np.array([[cos_yaw, 0, sin_yaw], [0, 1, 0], [-sin_yaw, 0, cos_yaw]])
    around_x = np.array([[1, 0, 0], [0, cos_pitch, -sin_pitch], [0, sin_pitch, cos_pitch]])
    around_z = np.array([[cos_roll, sin_roll, 0], [-sin_roll, cos_roll, 0], [0, 0, 1]])
    rotation = around_z @ around_y @ around_x
    return rotation.astype(np.float32)


def _rotations(angles: np.ndarray) -> np.ndarray:
    """Rotations (T, 3, 3) float32 for angles (T, 2) or (T, 3): yaw, pitch and roll."""
    rotations = np.zeros((len(angles), 3, 3), np.float32)
    for frame, row in enumerate(angles):
        rotations[frame] = _rotation(*row)
    return rotations


def _motion(coefficients: np.ndarray, pose: np.ndarray, gaze: np.ndarray) -> Motion:
    """The kernels' form of T frames; see `render`."""
    translations = np.zeros((len(pose), 3), np.float32)
    translations[:, :2] = pose[:, 3:5] * np.array([HEAD_WIDTH, -HEAD_WIDTH], np.float32)
    return Motion(
        coefficients=coefficients,
        head_rotations=_rotations(pose[:, :3]),
        eye_rotations=_rotations(gaze),
        translations=translations,
        neck=NECK,
    )


def _camera(scene: Scene, log_scale: np.ndarray, size: int) -> Camera:
    """The scene's camera, in samples.

    Args:
        scene: its distance, zoom and shift.
        log_scale: (T,) logarithm of the head's size in each frame.
        size: side of the picture in pixels.
    """
    samples_per_dm = 2 * size / VIEW
    focal = samples_per_dm * (scene.distance - VIEW_DEPTH) * scene.zoom * np.exp(log_scale)
    x = size * (1 + 2 * scene.shift[0])
    y = size * (1 + 2 * scene.shift[1])
    return Camera(
        focal=focal.astype(np.float32),
        centre=np.array([x, y], np.float32),
        distance=np.float32(scene.distance),
        height=np.float32(VIEW_CENTRE),
    )


def _lights(scene: Scene) -> Lights:
    return Lights(
        key_direction=np.array(scene.key_direction, np.float32),
        key=np.array(scene.key, np.float32),
        fill_direction=np.array(scene.fill_direction, np.float32),
        fill=np.array(scene.fill, np.float32),
        sky=np.array(scene.sky, np.float32),
        ground=np.array(scene.ground, np.float32),
    )


def _background(scene: Scene, size: int) -> np.ndarray:
    """Gradient between two colours with a weak vignette, (size, size, 3) float32 in [0, 1]."""
    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size - 0.5
    angle = scene.background_angle
    along = 0.5 + 0.7 * (np.cos(angle) * x + np.sin(angle) * y)
    first, second = np.asarray(scene.background)
    image = first + (second - first) * np.clip(along, 0, 1)[..., None]
    vignette = 1 - 0.25 * (x**2 + y**2)
    return (image * vignette[..., None]).astype(np.float32)


# --- a clip -----------------------------------------------------------------------------------


def _check_frames(
    name: str, values: ArrayLike, width: int, num_frames: int | None = None
) -> np.ndarray:
    """The values as a float32 array (T, width), or an error that names them."""
    array = np.ascontiguousarray(values, np.float32)
    right_length = num_frames is None or len(array) == num_frames
    if array.ndim != 2 or array.shape[1] != width or not right_length:
        rows = "T" if num_frames is None else num_frames
        raise InputError(
            f"{name} has shape {array.shape}: accepted is ({rows}, {width}), one row a frame"
        )
    if not np.isfinite(array).all():
        raise InputError(f"{name} holds a number that is not finite; give finite numbers")
    return array


def render(
    person: Person | int,
    coefficients: ArrayLike,
    pose: ArrayLike,
    gaze: ArrayLike,
    scene: Scene | int,
    size: int = 128,
) -> tuple[np.ndarray, np.ndarray]:
    """Render a clip of one head.

    Args:
        person: a `Person` or its number.
        coefficients: (T, 52) in [0, 1], order `vocabulary.ACTIONS`; zeros are the neutral face.
        pose: (T, 6) yaw, pitch, roll in radians, tx, ty in head widths, log of the scale.
        gaze: (T, 2) yaw, pitch of both eyeballs in radians (lids follow the eyeLook actions, not
            the gaze).
        scene: a `Scene` or its seed.
        size: side of the picture in pixels, 16 to 1024.

    Returns:
        Frames (T, size, size, 3) uint8 RGB, and landmarks (T, L, 2) float32 in pixels (x right,
        y down, the first pixel covers 0 to 1), order `LANDMARKS`. A neutral head spans about 80 %
        of the height.

    Raises:
        InputError: for arrays of another shape, or a size outside the range.
    """
    if not 16 <= size <= 1024:
        raise InputError(f"size {size}: accepted are 16 to 1024 pixels")
    coefficients = _check_frames("coefficients", coefficients, len(ACTIONS))
    pose = _check_frames("pose", pose, 6, len(coefficients))
    gaze = _check_frames("gaze", gaze, 2, len(coefficients))
    if not isinstance(person, Person):
        person = sample_person(int(person))
    if not isinstance(scene, Scene):
        scene = sample_scene(int(scene))

    actions = load_head().actions
    return film(
        person_model(person, _texture_halvings(size)),
        SparseShapes(actions.vertex_ids, actions.deltas, actions.offsets),
        _motion(coefficients, pose, gaze),
        _camera(scene, pose[:, 5], size),
        _lights(scene),
        _background(scene, size),
    )
