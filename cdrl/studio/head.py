"""The studio's head: mesh, 52 facial actions, identity modes and landmarks, read from `data/head/head.npz`.

Lengths are decimetres; +x is the subject's left, +y up, +z out of the face; the origin lies between the eyes. The pack
is built by `scripts/build_head_pack.py` from CC0 data (see `data/head/README.md`); rendering needs no other package.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from cdrl.core.errors import InputError

PACK = Path(__file__).resolve().parents[2] / "data" / "head" / "head.npz"
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
class Modes:
    """Sparse displacements: mode m moves vertices `rows[offsets[m]:offsets[m + 1]]` by `deltas` (same slice), in dm."""

    names: tuple[str, ...]
    rows: np.ndarray
    deltas: np.ndarray
    offsets: np.ndarray

    def moved(self, weights: dict[str, float], num_vertices: int) -> np.ndarray:
        """Sum of weighted modes as a dense (V, 3) array in dm; {} gives zeros."""
        total = np.zeros((num_vertices, 3), np.float32)
        for name, weight in weights.items():
            part = slice(*self.offsets[(m := self.names.index(name)) : m + 2])
            total[self.rows[part]] += np.float32(weight) * self.deltas[part]
        return total


@dataclass(frozen=True)
class Head:
    """The average adult head.

    vertices (V, 3) float32 dm; triangles (F, 3) int32, without eyeballs; part (V,) index into `PARTS`; uv (V, 2) as in
    MakeHuman; lips, eyelids, ears (V,) in [0, 1]; light (V,) in [0, 1], share of open sky seen at rest; skull (V,)
    bool, the part that stays still under every mode; landmarks (L,) vertex numbers in the order of `LANDMARKS`.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    part: np.ndarray
    uv: np.ndarray
    lips: np.ndarray
    eyelids: np.ndarray
    ears: np.ndarray
    light: np.ndarray
    skull: np.ndarray
    landmarks: np.ndarray
    identity: Modes
    actions: Modes

    def vertices_of(self, part: str) -> np.ndarray:
        """Vertex numbers of one of `PARTS`."""
        return np.flatnonzero(self.part == PARTS.index(part))


def _modes(pack, prefix: str) -> Modes:
    deltas = np.ascontiguousarray(pack[f"{prefix}_deltas"].astype(np.float32))
    offsets = pack[f"{prefix}_offsets"].astype(np.int64)
    return Modes(
        tuple(map(str, pack[f"{prefix}_names"])),
        pack[f"{prefix}_rows"].astype(np.int64),
        deltas,
        offsets,
    )


@lru_cache(maxsize=1)
def load_head(path: Path = PACK) -> Head:
    """Read the pack (about 0.1 s, then cached).

    Raises:
        InputError: if the pack is not there.
    """
    if not Path(path).exists():
        raise InputError(
            f"no head at {path}: restore data/head/head.npz or run scripts/build_head_pack.py"
        )
    with np.load(path, allow_pickle=False) as pack:
        masks = pack["masks"].astype(np.float32) / 255
        return Head(
            vertices=pack["vertices"],
            triangles=pack["triangles"].astype(np.int32),
            part=pack["part"],
            uv=pack["uv"],
            lips=masks[:, 0],
            eyelids=masks[:, 1],
            ears=masks[:, 2],
            light=pack["light"].astype(np.float32) / 255,
            skull=pack["skull"],
            landmarks=pack["landmarks"].astype(np.int64),
            identity=_modes(pack, "identity"),
            actions=_modes(pack, "action"),
        )
