"""The studio's renderer: a z-buffer with 2x2 samples a pixel, smooth normals and one light model.

Every frame is computed from its own inputs alone: frame t of a clip equals, bit for bit, frame t
rendered by itself.

Signs: yaw > 0 turns the face to the subject's left (right of the picture), pitch > 0 lowers it,
roll > 0 tilts it onto the left shoulder (clockwise in the picture); tx > 0 moves right, ty > 0
down; gaze yaw > 0 looks to the subject's left, gaze pitch > 0 down.
"""

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter, zoom

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS
from cdrl.studio.face_lines import NO_LINES, line_vertices, line_weights
from cdrl.studio.facial_hair import FIRST_SKIN_ROW, PATCH_ROWS, Shell, beard_shell
from cdrl.studio.glasses import Frame, glasses_frame
from cdrl.studio.hair import ROWS, hair_shell, hangs
from cdrl.studio.head import HEAD_WIDTH, LANDMARKS, PARTS, Blendshapes, Head, load_head
from cdrl.studio.kernels import Camera, Lights, Motion, PersonModel, SparseShapes, film
from cdrl.studio.looks import Looks
from cdrl.studio.paint import (
    ATLAS,
    BEARD_ROW,
    EYE_RADIUS,
    EYE_ROW,
    FRAME_COLUMN,
    HAIR_ROW,
    HALF_EYE,
    LENS_COLUMN,
    LENS_SIDE,
    atlas_uv,
    half_size,
    paint_atlas,
    smoothstep,
)
from cdrl.studio.people import VERSIONS, Person, Scene, person_vertices, sample_person, sample_scene

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
EAR_ABSORPTION = np.array((0.0, 0.08, 0.09))  # of the light's colour: ears are redder


# --- geometry ---------------------------------------------------------------------------------


class _Eyeball(NamedTuple):
    """The front of a sphere; its first vertex is the pupil."""

    vertices: np.ndarray  # (N, 3) dm
    uv: np.ndarray  # (N, 2) texels
    triangles: np.ndarray  # (F, 3)
    sphere: np.ndarray  # (4,) centre and radius, dm


def _hemisphere() -> np.ndarray:
    """Unit vectors (N, 3): the pole on +z, then rings of `EYE_SPOKES` around it."""
    rings = np.linspace(0, EYE_REACH, EYE_RINGS + 1)
    spokes = np.linspace(0, 2 * np.pi, EYE_SPOKES, endpoint=False)
    polar, azimuth = np.meshgrid(rings[1:], spokes, indexing="ij")

    radius = np.sin(polar)
    x = radius * np.cos(azimuth)
    y = radius * np.sin(azimuth)
    z = np.cos(polar)
    ring_points = np.stack([x, y, z], -1)
    pole = [[0, 0, 1]]

    return np.concatenate([pole, ring_points.reshape(-1, 3)])


def _hemisphere_triangles() -> np.ndarray:
    """Triangles (F, 3) of `_hemisphere`: a fan around the pole, then bands between the rings."""
    spokes = np.arange(EYE_SPOKES)
    first_ring = 1 + spokes
    pole = np.zeros(EYE_SPOKES, int)
    fan = np.stack([pole, first_ring, np.roll(first_ring, -1)], 1)

    triangles = [fan]

    for ring in range(EYE_RINGS - 1):
        first = 1 + ring * EYE_SPOKES
        inner = first + spokes
        outer = inner + EYE_SPOKES

        next_inner = np.roll(inner, -1)
        next_outer = next_inner + EYE_SPOKES

        triangles.append(np.stack([inner, outer, next_inner], 1))
        triangles.append(np.stack([next_inner, outer, next_outer], 1))

    return np.concatenate(triangles)


def _eyeball(anchors: np.ndarray, first_vertex: int) -> _Eyeball:
    """The eyeball between the anchors (N, 3), its vertices numbered from `first_vertex`."""
    low_x, low_y, _ = anchors.min(0)
    high_x, high_y, high_z = anchors.max(0)
    extent = float((high_x - low_x) + (high_y - low_y))
    radius = 0.25 * extent * 0.99

    x = (low_x + high_x) / 2
    y = (low_y + high_y) / 2
    z = high_z - 1.01 * radius
    centre = np.array([x, y, z], np.float32)

    unit = _hemisphere()
    column = HALF_EYE + EYE_RADIUS * unit[:, 0]
    row = EYE_ROW + HALF_EYE - EYE_RADIUS * unit[:, 1]
    uv = np.stack([column, row], 1) + 0.5

    vertices = centre + radius * unit
    triangles = _hemisphere_triangles() + first_vertex
    sphere = np.append(centre, radius)
    return _Eyeball(vertices, uv, triangles, sphere)


class _Head(NamedTuple):
    """Everything that is drawn of a person: head, eyeballs, hair, glasses, beard, in this order.

    Attributes:
        average: the average head.
        neutral: (V, 3) the person's head, dm.
        left_eye: eyeball.
        right_eye: eyeball.
        hair: (N, 3) positions, dm; none where there is no hair to lift.
        hair_triangles: (F, 3), numbered from 0.
        glasses: or None.
        beard: shells of hair on the face; without vertices in most people.
    """

    average: Head
    neutral: np.ndarray
    left_eye: _Eyeball
    right_eye: _Eyeball
    hair: np.ndarray
    hair_triangles: np.ndarray
    glasses: Frame | None
    beard: Shell

    @property
    def first_vertices(self) -> tuple[int, int, int]:
        """First vertex of the left eyeball, of the right one, and of the hair."""
        left = len(self.neutral)
        right = left + len(self.left_eye.vertices)
        return left, right, right + len(self.right_eye.vertices)

    @property
    def first_glasses(self) -> int:
        """First vertex of the glasses."""
        return self.first_vertices[2] + len(self.hair)

    @property
    def first_beard(self) -> int:
        """First vertex of the beard."""
        num_glasses = 0 if self.glasses is None else len(self.glasses.vertices)
        return self.first_glasses + num_glasses

    @property
    def num_vertices(self) -> int:
        """V of all parts."""
        return self.first_beard + len(self.beard.vertices)


def _assemble(person: Person) -> _Head:
    average = load_head()
    neutral = person_vertices(person)

    left_anchors = neutral[average.vertices_of("left_eye")]
    right_anchors = neutral[average.vertices_of("right_eye")]
    left_eye = _eyeball(left_anchors, len(neutral))
    right_eye = _eyeball(right_anchors, len(neutral) + len(left_eye.vertices))

    hair, hair_triangles = hair_shell(person, neutral)

    beard = beard_shell(person.looks.beard, neutral)
    glasses = None
    if person.looks.glasses is not None:
        eyes = np.stack([left_eye.sphere, right_eye.sphere])
        glasses = glasses_frame(person.looks.glasses, neutral, eyes)

    return _Head(average, neutral, left_eye, right_eye, hair, hair_triangles, glasses, beard)


def _vertices(head: _Head) -> np.ndarray:
    """Neutral positions (V, 3) float32 of all parts, dm."""
    parts = [head.neutral, head.left_eye.vertices, head.right_eye.vertices, head.hair]
    if head.glasses is not None:
        parts.append(head.glasses.vertices)
    parts.append(head.beard.vertices)
    vertices = np.concatenate(parts)
    teeth = np.flatnonzero(np.isin(head.average.part, TEETH))
    vertices[teeth] -= (0, 0, TEETH_BACK)

    return np.ascontiguousarray(vertices, np.float32)


def _uv(head: _Head) -> np.ndarray:
    """Texels (V, 2) of all parts in the full texture."""
    skin_uv = atlas_uv(head.average)
    hair_uv = _hair_uv(len(head.hair))
    parts = [skin_uv, head.left_eye.uv, head.right_eye.uv, hair_uv]
    if head.glasses is not None:
        parts.append(_glasses_uv(head.glasses))
    parts.append(_beard_uv(head.beard, skin_uv))
    return np.concatenate(parts)


def _glasses_uv(glasses: Frame) -> np.ndarray:
    """Texels (N, 2): the frame has one colour, the lenses what they reflect."""
    uv = np.empty((len(glasses.vertices), 2))
    uv[:, 0] = LENS_COLUMN + 1 + (LENS_SIDE - 2) * glasses.lens_uv[:, 0]
    uv[:, 1] = EYE_ROW + 1 + (LENS_SIDE - 2) * (1 - glasses.lens_uv[:, 1])
    uv[: glasses.num_frame] = ((FRAME_COLUMN + ATLAS[1]) / 2, EYE_ROW + 64)
    return uv


def _beard_uv(beard: Shell, skin_uv: np.ndarray) -> np.ndarray:
    """Texels (N, 2): those of the skin below, in the patch of each layer."""
    uv = skin_uv[beard.anchors].astype(np.float64)
    uv[:, 1] += BEARD_ROW - FIRST_SKIN_ROW + PATCH_ROWS * beard.layer
    return uv


def _hair_uv(num_vertices: int) -> np.ndarray:
    """Texels (N, 2) of the hair's grid of vertices."""
    if num_vertices == 0:
        return np.zeros((0, 2))

    num_columns = num_vertices // ROWS
    columns = np.linspace(0.5, ATLAS[1] - 0.5, num_columns)
    rows = np.linspace(HAIR_ROW + 0.5, ATLAS[0] - 0.5, ROWS)

    column = np.tile(columns, ROWS)
    row = np.repeat(rows, num_columns)
    return np.stack([column, row], 1)


class _Triangles(NamedTuple):
    """Triangles as in `PersonModel`."""

    corners: np.ndarray  # (F, 3) int32
    opaque_end: int
    two_sided_end: int


def _triangles(head: _Head, hair_hangs: bool) -> _Triangles:
    """All triangles: opaque ones, lashes, hair; hair that hangs shows its inside too."""
    skin, lashes = _visible_triangles(head.average)
    opaque = np.concatenate([skin, head.left_eye.triangles, head.right_eye.triangles])
    lenses = np.zeros((0, 3), np.int64)
    if head.glasses is not None:
        opaque = np.concatenate([opaque, head.glasses.frame + head.first_glasses])
        lenses = head.glasses.lenses + head.first_glasses

    hair = head.hair_triangles + head.first_vertices[2]
    beard = head.beard.triangles + head.first_beard
    corners = np.concatenate([opaque, lashes, lenses, hair, beard])
    num_one_sided = len(beard) if hair_hangs else len(hair) + len(beard)

    two_sided_end = len(corners) - num_one_sided
    corners = np.ascontiguousarray(corners, np.int32)
    return _Triangles(corners, len(opaque), two_sided_end)


def _visible_triangles(head: Head) -> tuple[np.ndarray, np.ndarray]:
    """Triangles (F, 3) of the head that are drawn: skin, and lashes.

    Lower lashes would be a bar at this scale.
    """
    first_corner = head.triangles[:, 0]
    is_lash = head.part[first_corner] == PARTS.index("lashes")
    is_lower = head.uv[first_corner, 1] > LOWER_LASHES

    corners = head.vertices[head.triangles]
    sides = np.abs(corners[..., 0])
    nearest_side = sides.min(1)

    is_seen = nearest_side <= WIDEST_SKIN
    skin = head.triangles[~is_lash & is_seen]
    lashes = head.triangles[is_lash & ~is_lower]

    return skin, lashes


def _head_weights(head: _Head) -> np.ndarray:
    """Skinning weight (V,) of every vertex: 1 turns with the head, 0 stays with the body."""
    weights = np.ones(head.num_vertices, np.float32)

    _, y, z = head.average.vertices.T
    forward = z - 0.1
    height = y + 0.35 * forward
    weights[: len(height)] = smoothstep(-1.70, -0.90, height)

    first_hair = head.first_vertices[2]
    hair_height = head.hair[:, 1]
    weights[first_hair : head.first_glasses] = smoothstep(-2.6, -0.9, hair_height)
    weights[head.first_beard :] = weights[head.beard.anchors]

    return weights


def _landmarks(head: _Head) -> np.ndarray:
    """Vertices (L,) of the landmarks; the pupils are on the eyeballs."""
    left, right, _ = head.first_vertices
    landmarks = head.average.landmarks.copy()
    landmarks[LANDMARKS.index("left_pupil")] = left
    landmarks[LANDMARKS.index("right_pupil")] = right

    return landmarks


# --- material ---------------------------------------------------------------------------------


def _vertices_in(head: _Head, parts: tuple[int, ...]) -> np.ndarray:
    """Vertices (N,) of some of `PARTS`, by their numbers."""
    return np.flatnonzero(np.isin(head.average.part, parts))


def _lip_mask(head: _Head) -> np.ndarray:
    """(V,) 1 on the lips, 0 elsewhere, smooth between."""
    mask = np.zeros(head.num_vertices, np.float32)
    mask[: len(head.neutral)] = smoothstep(0.15, 0.75, head.average.lips)
    return mask


def _albedo_factor(head: _Head, person: Person) -> np.ndarray:
    """(V, 3) factor on the texture: red lips and ears."""
    ears = np.zeros(head.num_vertices, np.float32)
    ears[: len(head.neutral)] = head.average.ears
    lip_colour = np.asarray(person.lips) / np.asarray(person.skin)
    lips = _lip_mask(head)[:, None]

    factor = np.ones((head.num_vertices, 3), np.float32)
    factor += lips * (lip_colour - 1)
    factor *= 1 - ears[:, None] * EAR_ABSORPTION

    return factor


def _sky_visibility(head: _Head) -> np.ndarray:
    """(V,) share of the sky that each vertex sees, less inside the mouth."""
    num_head = len(head.neutral)
    lips = _lip_mask(head)[:num_head]
    depth = head.average.vertices[:, 2]
    interior = _vertices_in(head, MOUTH_INTERIOR)
    teeth = _vertices_in(head, TEETH)

    visibility = np.ones(head.num_vertices, np.float32)
    visibility[:num_head] = np.maximum(head.average.sky_visibility, 0.55 * lips)
    interior_depth = smoothstep(1.0, 1.5, depth[interior])
    teeth_depth = smoothstep(1.16, 1.42, depth[teeth])
    visibility[interior] = 0.04 + 0.60 * interior_depth
    visibility[teeth] = 0.14 + 0.86 * teeth_depth
    visibility[head.first_vertices[2] :] = 0.9
    below = visibility[head.beard.anchors]
    visibility[head.first_beard :] = np.maximum(0.8 * below, 0.35) + 0.08 * head.beard.layer

    return visibility


def _specular(head: _Head, person: Person) -> np.ndarray:
    """(V, 2) strength and exponent of the highlight."""
    left, _, first_hair = head.first_vertices

    specular = np.empty((head.num_vertices, 2), np.float32)
    specular[:] = (0.10, 12.0)
    specular[_lip_mask(head) > 0.4] = (0.16, 22.0)
    specular[_vertices_in(head, MOUTH_INTERIOR)] = (0.05, 20.0)

    specular[left:first_hair] = (0.75, 90.0)  # both eyeballs
    specular[first_hair:] = (0.10, 10.0)
    if person.version > 1:
        lips = _lip_mask(head) > 0.4
        specular[lips, 0] += 0.18 * person.looks.gloss
        specular[head.first_glasses : head.first_beard] = (0.35, 25.0)
        specular[head.first_beard :] = (0.05, 8.0)

    return specular


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
    head = _assemble(person)
    left, right, first_hair = head.first_vertices
    triangles = _triangles(head, hangs(person))
    uv = _uv(head) / 2**halvings
    landmarks = _landmarks(head)
    inner_lips = [LANDMARKS.index("upper_lip_inner"), LANDMARKS.index("lower_lip_inner")]
    eye_spheres = [head.left_eye.sphere, head.right_eye.sphere]
    lines = line_vertices() if person.version > 1 else NO_LINES

    return PersonModel(
        vertices=_vertices(head),
        triangles=triangles.corners,
        opaque_end=triangles.opaque_end,
        two_sided_end=triangles.two_sided_end,
        uv=uv.astype(np.float32),
        albedo_factor=_albedo_factor(head, person),
        sky_visibility=_sky_visibility(head),
        specular=_specular(head, person),
        head_weight=_head_weights(head),
        eye_ranges=np.array([(left, right), (right, first_hair)]),
        eye_spheres=np.array(eye_spheres, np.float32),
        mouth_interior=_vertices_in(head, MOUTH_INTERIOR),
        inner_lips=landmarks[inner_lips],
        landmarks=landmarks,
        texture=_texture(person, halvings),
        anchors=head.beard.anchors,
        line_vertices=lines.vertex_ids,
        line_regions=lines.regions,
        line_masks=lines.masks,
    )


def _texture_halvings(size: int) -> int:
    """How often the texture is halved for a picture of `size` pixels."""
    if size >= 192:
        return 0
    return 1 if size >= 96 else 2


# Facial action -> factor on its displacement in version 2: as far as really acted people move.
ACTION_GAINS = {
    "browDownLeft": 1.5,
    "browDownRight": 1.5,
    "browInnerUp": 1.9,
    "browOuterUpLeft": 1.3,
    "browOuterUpRight": 1.3,
    "eyeWideLeft": 1.2,
    "eyeWideRight": 1.2,
}


@lru_cache(maxsize=len(VERSIONS))
def action_shapes(version: int) -> Blendshapes:
    """The facial actions of a version of the studio."""
    actions = load_head().actions
    if version == 1:
        return actions

    gains = [ACTION_GAINS.get(name, 1.0) for name in actions.names]
    of_entries = np.repeat(gains, np.diff(actions.offsets))
    deltas = actions.deltas * of_entries[:, None]
    return replace(actions, deltas=np.ascontiguousarray(deltas, np.float32))


# --- motion, camera, light --------------------------------------------------------------------


def _around_x(angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])


def _around_y(angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


def _around_z(angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])


def _rotation(yaw: float, pitch: float, roll: float = 0.0) -> np.ndarray:
    """Rotation (3, 3) float32 for angles in radians with the signs of this module."""
    rotation = _around_z(roll) @ _around_y(yaw) @ _around_x(pitch)
    return rotation.astype(np.float32)


def _rotations(angles: np.ndarray) -> np.ndarray:
    """Rotations (T, 3, 3) float32 for angles (T, 2) or (T, 3): yaw, pitch and roll."""
    rotations = np.zeros((len(angles), 3, 3), np.float32)
    for frame, angles_of_frame in enumerate(angles):
        rotations[frame] = _rotation(*angles_of_frame)
    return rotations


def _motion(coefficients: np.ndarray, pose: np.ndarray, gaze: np.ndarray, looks: Looks) -> Motion:
    """The kernels' form of T frames; see `render`."""
    translations = np.zeros((len(pose), 3), np.float32)
    translations[:, 0] = pose[:, 3] * HEAD_WIDTH
    translations[:, 1] = pose[:, 4] * -HEAD_WIDTH
    head_rotations = _rotations(pose[:, :3])
    eye_rotations = _rotations(gaze)

    lines = line_weights(looks, coefficients)

    return Motion(coefficients, head_rotations, eye_rotations, translations, NECK, lines)


def _camera(scene: Scene, log_scale: np.ndarray, size: int) -> Camera:
    """The scene's camera, in samples.

    Args:
        scene: its distance, zoom and shift.
        log_scale: (T,) logarithm of the head's size in each frame.
        size: side of the picture in pixels.
    """
    samples_per_dm = 2 * size / VIEW
    depth = scene.distance - VIEW_DEPTH
    focal_at_rest = samples_per_dm * depth * scene.zoom
    focal = focal_at_rest * np.exp(log_scale)

    right, down = scene.shift
    x = size * (1 + 2 * right)
    y = size * (1 + 2 * down)
    centre = np.array([x, y], np.float32)
    distance = np.float32(scene.distance)
    height = np.float32(VIEW_CENTRE)

    return Camera(focal.astype(np.float32), centre, distance, height)


def _float32(values: ArrayLike) -> np.ndarray:
    return np.array(values, np.float32)


def _lights(scene: Scene) -> Lights:
    """The scene's lights as (3,) arrays."""
    key_direction = _float32(scene.key_direction)
    key = _float32(scene.key)
    fill_direction = _float32(scene.fill_direction)
    fill = _float32(scene.fill)
    sky = _float32(scene.sky)
    ground = _float32(scene.ground)

    return Lights(key_direction, key, fill_direction, fill, sky, ground)


def _background(scene: Scene, size: int) -> np.ndarray:
    """Gradient between two colours with a weak vignette, (size, size, 3) float32 in [0, 1]."""
    pixels = np.mgrid[0:size, 0:size] + 0.5
    y, x = pixels / size - 0.5
    across = np.cos(scene.background_angle) * x
    up = np.sin(scene.background_angle) * y
    share = np.clip(0.5 + 0.7 * (across + up), 0, 1)

    first, second = np.asarray(scene.background)
    image = first + (second - first) * share[..., None]
    vignette = 1 - 0.25 * (x**2 + y**2)

    image = image * vignette[..., None]
    if scene.clutter > 0:
        image = np.clip(image * _clutter(scene, size), 0, 1)
    return image.astype(np.float32)


def _clutter(scene: Scene, size: int) -> np.ndarray:
    """(size, size, 3) factors of a room out of focus: boards and boxes of several sizes."""
    rng = np.random.default_rng([scene.clutter_seed, 0xC1])
    coarse = 48
    room = np.zeros((coarse, coarse, 3))
    for _ in range(9):
        top, left = rng.integers(-10, coarse, 2)
        height, width = rng.integers(6, 34, 2)
        rows = slice(max(top, 0), max(top + height, 0))
        columns = slice(max(left, 0), max(left + width, 0))
        room[rows, columns] += rng.normal(0, 1) + rng.normal(0, 0.3, 3)

    blurred = gaussian_filter(room, (rng.uniform(0.6, 2.5),) * 2 + (0,))
    scale = (size / coarse, size / coarse, 1)
    return np.exp(scene.clutter * zoom(blurred, scale, order=1, mode="nearest", grid_mode=True))


# --- a clip -----------------------------------------------------------------------------------


def _check_frames(
    name: str, values: ArrayLike, width: int, num_frames: int | None = None
) -> np.ndarray:
    """The values as a float32 array (T, width), or an error that names them."""
    array = np.ascontiguousarray(values, np.float32)

    rows = "T" if num_frames is None else num_frames
    has_length = rows in ("T", len(array))
    if array.ndim != 2 or array.shape[1] != width or not has_length:
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

    actions = action_shapes(person.version)
    shapes = SparseShapes(actions.vertex_ids, actions.deltas, actions.offsets)
    model = person_model(person, _texture_halvings(size))
    motion = _motion(coefficients, pose, gaze, person.looks)
    camera = _camera(scene, pose[:, 5], size)

    return film(model, shapes, motion, camera, _lights(scene), _background(scene, size))
