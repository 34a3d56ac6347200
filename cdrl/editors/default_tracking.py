"""What the default editor reads of a face: pixels, the face mesh, and the person's resting face.

The pixel tracker learnt rendered people alone. On real ones its zero is wrong (resting faces read
wide eyes), and it follows brows, lids and corners of the mouth badly. The mesh tracker follows them
better and is coarse. So each action's movement within the clip is a mixture of both, and the upper
face starts from the person's own resting face (`scripts/measure_tracker.py`).
"""

from functools import cache

import torch

from cdrl.core.vocabulary import ACTIONS, EMOTIONS
from cdrl.editors.default_amounts import UPPER, action_indices
from cdrl.studio.expression import ACTION_UNITS, STYLES

# What the upper face of the studio's neutral clips shows; 0 where nothing is said.
NEUTRAL_UPPER_FACE = {
    "browDown": 0.01,
    "browInnerUp": 0.04,
    "browOuterUp": 0.03,
    "eyeBlink": 0.07,
    "eyeSquint": 0.03,
    "eyeWide": 0.02,
}
# Share of the mesh in the movement of the actions whose names begin so; the rest is the pixels'.
# Chosen on the clips of `results/tracker` that it calls chosen. Gaze and tongue have no mesh.
MESH_SHARES = {
    "brow": 0.75,
    "cheek": 0.5,
    "eyeBlink": 0.25,
    "eyeSquint": 0.5,
    "eyeWide": 0.5,
    "jawOpen": 0.5,
    "mouth": 0.5,
    "mouthSmile": 0.75,
    "nose": 0.5,
}


@cache
def mesh_shares() -> torch.Tensor:
    """(52,) share of the mesh in the movement of each action."""
    shares = torch.zeros(len(ACTIONS))
    for prefix, share in MESH_SHARES.items():
        shares[action_indices((prefix,))] = share

    return shares


def mix_movements(
    tracked: torch.Tensor, median: torch.Tensor, mesh_change: torch.Tensor
) -> torch.Tensor:
    """Actions whose movement is read in pixels and in the mesh.

    Args:
        tracked: (..., T, 52) in pixels.
        median: (52,) of the clip.
        mesh_change: (..., T, 52) in the mesh, the change from its median face.

    Returns:
        (..., T, 52) in [0, 1]; `median` where nothing moves.
    """
    shares = mesh_shares().to(tracked)
    movement = torch.lerp(tracked - median, mesh_change, shares)
    return (median + movement).clamp(0, 1)


def from_resting_face(tracked: torch.Tensor, resting: torch.Tensor) -> torch.Tensor:
    """Actions with the upper face taken relative to the person's own resting face.

    Args:
        tracked: (..., 52).
        resting: (52,) tracked while the face rests.

    Returns:
        (..., 52) in [0, 1]; at rest the upper face is the studio's neutral one.
    """
    calm = tracked.clone()
    shifted = tracked - resting + neutral_actions().to(tracked)
    calm[..., UPPER] = shifted[..., UPPER].clamp(0, 1)
    return calm


@cache
def neutral_actions() -> torch.Tensor:
    """(52,) the upper face of the studio's neutral clips, rounded; 0 elsewhere."""
    actions = torch.zeros(len(ACTIONS))
    for name, value in NEUTRAL_UPPER_FACE.items():
        actions[action_indices((name,))] = value

    return actions


@cache
def acted_actions() -> torch.Tensor:
    """(8, 52) how far an emotion at level 3 moves the actions of the upper face in the studio."""
    table = torch.zeros(len(EMOTIONS), len(ACTIONS))
    for row, emotion in enumerate(EMOTIONS):
        for unit, (strength, chance) in STYLES[emotion].items():
            for action in ACTION_UNITS[unit]:
                table[row, ACTIONS.index(action)] += strength * chance

    lower_face = [index for index in range(len(ACTIONS)) if index not in UPPER]
    table[:, lower_face] = 0
    return table
