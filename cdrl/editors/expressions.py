"""How far each emotion moves a face: factors of the manipulator's change, and shifts of parts.

Which parts an emotion moves is after the prototypes of Ekman and Friesen's FACS (action units, AU):
angry 4, 5, 7, 23; disgusted 9, 10, 15; fear 1, 2, 4, 5, 20; happy 6, 12; sad 1, 4, 15; surprised 1,
2, 5, 26. How far is after people who act, by 68 landmarks, in distances of the outer eye corners
(three people, strong less neutral): inner brow surprised +.045, fear +.032, angry -.072, mouth
width happy .116, mouth opening surprised .069. Amounts were chosen on the eight people of
`results/real` until their movement lay between .6 and 1 of that; what the renderer draws of the
manipulator's own change is part of it. People who act were too few for the other parts, whose
shifts were set by eye on the same clips, so that an emotion shows and nothing looks pulled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import torch

from cdrl.core.vocabulary import ACTIONS, EMOTIONS
from cdrl.editors.parts import PARTS

UPPER_FACE = ("brow", "cheek", "eyeBlink", "eyeSquint", "eyeWide", "nose")
OPENING_ACTIONS = ("jawOpen", "mouthUpperUp", "mouthLowerDown", "mouthFunnel", "mouthStretch")


def action_indices(prefixes: tuple[str, ...]) -> list[int]:
    """The indices of the actions whose names begin so.

    Args:
        prefixes: such as "brow".
    """
    return [index for index, name in enumerate(ACTIONS) if name.startswith(prefixes)]


UPPER = action_indices(UPPER_FACE)
OPENING = action_indices(OPENING_ACTIONS)  # they part the lips


@dataclass(frozen=True)
class Expression:
    """One emotion at intensity 1.

    Attributes:
        factors: beginning of the names of actions -> factor of the manipulator's change; 1 where
            nothing is said.
        shifts: part of the face -> outward and upward, in distances of the outer eye corners.
    """

    factors: Mapping[str, float] = field(default_factory=dict)
    shifts: Mapping[str, tuple[float, float]] = field(default_factory=dict)


EXPRESSIONS = {
    "angry": Expression(
        {"cheek": 2.2, "nose": 2.2, "mouthFrown": 2.2},
        {"brow_inner": (-0.020, -0.030), "brow_middle": (0.0, -0.018)},
    ),
    # Contempt is one-sided and hardly moves the upper face: as the manipulator asks for it.
    "contempt": Expression(),
    # Nose and upper lip, and little of the brows: else it looks angry.
    "disgusted": Expression(
        {
            "brow": 0.4,
            "eye": 1.5,
            "cheek": 1.6,
            "nose": 1.4,
            "mouthFrown": 1.3,
            "mouthUpperUp": 1.3,
        },
        {"nostrils": (0.0, 0.025), "upper_lip": (0.0, 0.020), "cheeks": (0.0, 0.015)},
    ),
    # Brows up and together, upper lids up, lips wide: else it looks surprised.
    "fear": Expression(
        {"mouthStretch": 1.5},
        {
            "brow_inner": (-0.020, 0.028),
            "brow_middle": (0.0, 0.012),
            "upper_lids": (0.0, 0.020),
            "mouth_corners": (0.015, -0.005),
        },
    ),
    # A smile thins the upper lip; the renderer thickens it, most of all below a moustache.
    "happy": Expression(
        {"brow": 0.3, "cheek": 2.0, "nose": 2.0, "mouthSmile": 1.08, "mouthUpperUp": 1.2},
        {"lip_edge": (0.0, -0.025)},
    ),
    "neutral": Expression(),
    "sad": Expression(
        {"eye": 1.4, "mouthFrown": 1.3, "mouthShrugLower": 1.3},
        {
            "brow_inner": (-0.010, 0.020),
            "brow_outer": (0.0, -0.014),
            "mouth_corners": (0.0, -0.014),
        },
    ),
    "surprised": Expression(
        {"jawOpen": 1.8},
        {
            "brow_inner": (0.0, 0.020),
            "brow_middle": (0.0, 0.020),
            "brow_outer": (0.0, 0.020),
            "upper_lids": (0.0, 0.036),
            "lower_lids": (0.0, -0.010),
        },
    ),
}


@cache
def _factor_table() -> torch.Tensor:
    """(8, 52) of the factors."""
    table = torch.ones(len(EMOTIONS), len(ACTIONS))
    for emotion, expression in EXPRESSIONS.items():
        row = EMOTIONS.index(emotion)
        for prefix, factor in expression.factors.items():
            table[row, action_indices((prefix,))] = factor

    return table


@cache
def _shift_table() -> torch.Tensor:
    """(8, P, 2) of the shifts."""
    parts = list(PARTS)
    table = torch.zeros(len(EMOTIONS), len(parts), 2)
    for emotion, expression in EXPRESSIONS.items():
        row = EMOTIONS.index(emotion)
        for part, shift in expression.shifts.items():
            table[row, parts.index(part)] = torch.tensor(shift)

    return table


def action_factors(weights: torch.Tensor) -> torch.Tensor:
    """The factors of a mixture.

    Args:
        weights: (8,) of the emotions.

    Returns:
        (52,).
    """
    return weights @ _factor_table().to(weights)


def part_shifts(weights: torch.Tensor) -> torch.Tensor:
    """The shifts of a mixture.

    Args:
        weights: (8,) of the emotions.

    Returns:
        (P, 2) outward and upward, order `PARTS`.
    """
    return torch.einsum("e,epc->pc", weights, _shift_table().to(weights))
