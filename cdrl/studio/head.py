"""The studio's head: mesh, 52 facial actions, identity modes and landmarks of `data/head/head.npz`.

Lengths are decimetres; +x is the subject's left, +y up, +z out of the face; the origin lies between
the eyes. The file is built by `scripts/build_head_pack.py` from CC0 data (see
`data/head/README.md`); rendering needs no other package.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from cdrl.core.errors import InputError
from cdrl.core.paths import data_root

HEAD_WIDTH = 1.5  # decimetres, between the temples of the average head; the unit of pose tx, ty
PARTS = ("skin", "mouth", "left_eye", "right_eye", "upper_teeth", "lower_teeth", "tongue", "lashes")
# Left and right are the SUBJECT's; the subject's left is on the right of the picture.
LANDMARKS = (
    "right_eye_outer",
    "right_eye_inner",
    "left_eye_inner",
    "left_eye_outer",
    "right_pupil",
    "left_pupil",
    "right_brow_outer",
    "right_brow_middle",
    "right_brow_inner",
    "left_brow_inner",
    "left_brow_middle",
    "left_brow_outer",
    "nose_bridge",
    "nose_tip",
    "right_nose_wing",
    "left_nose_wing",
    "mouth_right",
    "mouth_left",
    "upper_lip_outer",
    "lower_lip_outer",
    "upper_lip_inner",
    "lower_lip_inner",
    "upper_lip_right",
    "upper_lip_left",
    "lower_lip_right",
    "lower_lip_left",
    "chin",
    "right_jaw",
    "left_jaw",
)


@dataclass(frozen=True)
class Blendshapes:
    """Named sparse displacements of the mesh.

    Shape m moves the vertices `vertex_ids[offsets[m]:offsets[m + 1]]` by the same slice of
    `deltas`.

    Attributes:
        names: M names.
        vertex_ids: (N,) int64 vertex numbers.
        deltas: (N, 3) float32 displacements, dm.
        offsets: (M + 1,) int64 first entry of each shape.
    """

    names: tuple[str, ...]
    vertex_ids: np.ndarray
    deltas: np.ndarray
    offsets: np.ndarray

    def displacement(self, weights: Mapping[str, float], num_vertices: int) -> np.ndarray:
        """Weighted sum of shapes as a dense array.

        Args:
            weights: name of a shape -> its weight; empty gives zeros.
            num_vertices: V, of the whole mesh.

        Returns:
            (V, 3) float32, dm.
        """
        total = np.zeros((num_vertices, 3), np.float32)
        for name, weight in weights.items():
            index = self.names.index(name)
            first, end = self.offsets[index : index + 2]
            vertex_ids = self.vertex_ids[first:end]
            total[vertex_ids] += np.float32(weight) * self.deltas[first:end]

        return total


@dataclass(frozen=True)
class Head:
    """The average adult head.

    Attributes:
        vertices: (V, 3) float32, dm.
        triangles: (F, 3) int32 vertex numbers, without eyeballs.
        part: (V,) index into `PARTS`.
        uv: (V, 2) texture coordinates as in MakeHuman.
        lips: (V,) in [0, 1], mask.
        ears: (V,) in [0, 1], mask.
        sky_visibility: (V,) in [0, 1], share of the sky that is not occluded at rest.
        skull: (V,) bool, the part that stays still under every shape.
        landmarks: (L,) vertex numbers in the order of `LANDMARKS`.
        identity: shapes of the head that tell people apart.
        actions: the facial actions, in the order of `vocabulary.ACTIONS`.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    part: np.ndarray
    uv: np.ndarray
    lips: np.ndarray
    ears: np.ndarray
    sky_visibility: np.ndarray
    skull: np.ndarray
    landmarks: np.ndarray
    identity: Blendshapes
    actions: Blendshapes

    def vertices_of(self, part: str) -> np.ndarray:
        """Vertex numbers (N,) of one of `PARTS`."""
        return np.flatnonzero(self.part == PARTS.index(part))


def pack_path() -> Path:
    """The file with the head's arrays, in the data folder."""
    return data_root() / "head" / "head.npz"


def load_head(path: Path | None = None) -> Head:
    """Read the head (about 0.1 s, then cached).

    Args:
        path: the file; by default the one of the data folder.

    Raises:
        InputError: if the file is not there.
    """
    return _read_head(pack_path() if path is None else path)


@lru_cache(maxsize=1)
def _read_head(path: Path) -> Head:
    if not path.exists():
        raise InputError(
            f"no head at {path}: restore data/head/head.npz or run scripts/build_head_pack.py"
        )
    with np.load(path, allow_pickle=False) as pack:
        masks = pack["masks"].astype(np.float32) / 255
        sky_visibility = pack["light"].astype(np.float32) / 255
        landmarks = pack["landmarks"].astype(np.int64)
        triangles = pack["triangles"].astype(np.int32)
        identity = _read_shapes(pack, "identity")
        actions = _read_shapes(pack, "action")

        return Head(
            vertices=pack["vertices"],
            triangles=triangles,
            part=pack["part"],
            uv=pack["uv"],
            lips=masks[:, 0],
            ears=masks[:, 2],
            sky_visibility=sky_visibility,
            skull=pack["skull"],
            landmarks=landmarks,
            identity=identity,
            actions=actions,
        )


def _read_shapes(pack: Mapping[str, np.ndarray], prefix: str) -> Blendshapes:
    names = [str(name) for name in pack[f"{prefix}_names"]]

    vertex_ids = pack[f"{prefix}_rows"].astype(np.int64)
    deltas = pack[f"{prefix}_deltas"].astype(np.float32)
    offsets = pack[f"{prefix}_offsets"].astype(np.int64)

    return Blendshapes(tuple(names), vertex_ids, np.ascontiguousarray(deltas), offsets)
