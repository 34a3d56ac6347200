"""Facial actions tracked from the face mesh: how a face differs from the one its clip shows most.

The face mesh was trained on real faces and sees rendered ones as well. So what is learnt on its
points at rendered people holds for real ones better than what is learnt on pixels. The network
reads distances and heights of the mesh, with position, size and roll of the head taken out, each
less the clip's own median.
"""

from functools import cache

import numpy as np
import torch
from torch import nn

from cdrl.core.checkpoint import Pretrained, load_network
from cdrl.priors.actions import ActionTracker

MESH_TRACKER = "mesh_tracker"  # name of the committed weights
OUTER_CORNERS = (33, 263)  # of the eyes, left in the picture and right
EYE_CORNERS = (33, 133, 362, 263)
LARGEST = 6.0  # of a standardised measure: beyond it the mesh has slipped
# Points of the mesh, by their fixed numbers. Gaps are means over pairs of points.
GAPS = {
    "lids_left": ((159, 145), (158, 153), (160, 144)),
    "lids_right": ((386, 374), (385, 380), (387, 373)),
    "brows_apart": ((107, 336),),
    "brow_heads_apart": ((55, 285),),
    "mouth_width": ((61, 291),),
    "inner_mouth_width": ((78, 308),),
    "inner_lips_middle": ((13, 14),),
    "inner_lips_left": ((81, 178),),
    "inner_lips_right": ((311, 402),),
    "outer_lips_middle": ((0, 17),),
    "outer_lips_left": ((37, 84),),
    "outer_lips_right": ((267, 314),),
    "upper_lip": ((0, 13),),
    "lower_lip": ((14, 17),),
    "nostrils_apart": ((98, 327),),
}
# Means over points: how far they are below the eyes.
HEIGHTS = {
    "brow_inner_left": (55, 107),
    "brow_inner_right": (285, 336),
    "brow_middle_left": (65, 66),
    "brow_middle_right": (295, 296),
    "brow_outer_left": (46, 70),
    "brow_outer_right": (276, 300),
    "mouth_corner_left": (61,),
    "mouth_corner_right": (291,),
    "upper_lip_edge": (0,),
    "lower_lip_edge": (17,),
    "upper_lip_inside": (13,),
    "lower_lip_inside": (14,),
    "chin": (152,),
    "nostril_left": (98,),
    "nostril_right": (327,),
    "cheekbone_left": (50,),
    "cheekbone_right": (280,),
    "cheek_left": (205,),
    "cheek_right": (425,),
    "nose_base": (2,),
    "nose_tip": (4,),
}
# How far they are to the right of the middle between the eyes.
SIDES = {"mouth_corner_left": 61, "mouth_corner_right": 291}
COUNT = len(GAPS) + len(HEIGHTS) + len(SIDES)


def measure_mesh(meshes: np.ndarray) -> np.ndarray:
    """The measures of a face.

    Args:
        meshes: (T, 468, 2) x right, y down, in any unit.

    Returns:
        (T, 38) float32, in distances of the outer eye corners: `GAPS`, `HEIGHTS`, `SIDES`. They do
        not change where the head is shifted, turned in the picture's plane, or nearer.
    """
    meshes = np.asarray(meshes, np.float64)
    left, right = (meshes[:, corner] for corner in OUTER_CORNERS)
    across = right - left
    scale = np.linalg.norm(across, axis=1)
    across = across / scale[:, None]
    down = np.stack([-across[:, 1], across[:, 0]], axis=1)

    middle = meshes[:, list(EYE_CORNERS)].mean(1)
    centred = (meshes - middle[:, None]) / scale[:, None, None]
    x = np.einsum("tpc,tc->tp", centred, across)
    y = np.einsum("tpc,tc->tp", centred, down)

    measures = []
    for pairs in GAPS.values():
        distances = [np.hypot(x[:, a] - x[:, b], y[:, a] - y[:, b]) for a, b in pairs]
        measures.append(np.mean(distances, axis=0))
    for points in HEIGHTS.values():
        measures.append(y[:, list(points)].mean(1))
    for point in SIDES.values():
        measures.append(x[:, point])

    return np.stack(measures, axis=1).astype(np.float32)


class MeshTracker(nn.Module, Pretrained):
    """Measures of a clip's frames -> how its facial actions differ from those shown most.

    Args:
        width: of the hidden layers.

    Example:
        MeshTracker()(torch.zeros(2, 7, 38)).shape == (2, 7, 52)
    """

    scale: torch.Tensor

    def __init__(self, width: int = 128):
        super().__init__()

        self.config = {"width": width}
        self.network = ActionTracker(features=COUNT, width=width)
        self.register_buffer("scale", torch.ones(COUNT))

    @property
    def reach(self) -> int:
        """Frames on each side that the actions of a frame depend on."""
        return self.network.reach

    def forward(self, changes: torch.Tensor, step: float = 1.0) -> torch.Tensor:
        """Track the change of facial actions.

        Args:
            changes: (B, T, 38) measures less those of the clip's median face; beyond the ends the
                first and the last frame are repeated.
            step: frames in 40 ms, the distance of frames in training: 1 at 25 Hz, 2 at 50 Hz.

        Returns:
            (B, T, 52), between about -1 and 1.
        """
        standardised = (changes / self.scale).clamp(-LARGEST, LARGEST)
        return self.network(standardised, step)

    @torch.no_grad()
    def predict(self, measures: np.ndarray) -> np.ndarray:
        """Track one clip.

        Args:
            measures: (T, 38) of `measure_mesh`.

        Returns:
            (T, 52) float32, the change from the clip's median face.
        """
        changes = measures - np.median(measures, axis=0)
        clip = torch.from_numpy(np.asarray(changes, np.float32))
        return self(clip[None])[0].numpy()


@cache
def load_mesh_tracker(name: str = MESH_TRACKER) -> MeshTracker:
    """Load the committed tracker, or weights of another name or path, frozen, in eval mode."""
    return load_network(MeshTracker, name)
