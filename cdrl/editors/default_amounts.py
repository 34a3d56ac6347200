"""How far each emotion moves a face: factors of the manipulator's change, and shifts of parts.

Which parts an emotion moves is after the prototypes of Ekman and Friesen's FACS (action units, AU):
angry 4, 5, 7, 23; disgusted 9, 10, 15; fear 1, 2, 4, 5, 20; happy 6, 12; sad 1, 4, 15; surprised 1,
2, 5, 26. How far is after people who act, by 68 landmarks, in distances of the outer eye corners
(three people, strong less neutral): inner brow surprised +.045, fear +.032, angry -.072, mouth
width happy .116, mouth opening surprised .069. Amounts were chosen on the eight people of
`results/real` until their movement lay between .6 and 1 of that; what the renderer draws of the
manipulator's own change is part of it. People who act were too few for the other parts, whose
shifts were set by eye on the same clips, so that an emotion shows and nothing looks pulled.

The likeness falls most with what the renderer moves of brows, cheeks and nose, which adds little to
the emotion; shifts of the inner brow and of the lids cost less for the same gain. So the factors of
the upper face are small and these shifts are large (`scripts/measure_likeness.py` prints what each
part is worth).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import torch

from cdrl.core.vocabulary import ACTIONS, EMOTIONS
from cdrl.editors.default_shifts import PARTS

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
        {
            "browDown": 0.55,
            "browInnerUp": 0.8,
            "browOuterUp": 0.4,
            "eye": 0.8,
            "cheek": 1.7,
            "nose": 2.6,
            "mouthFrown": 2.2,
            "mouthPress": 0.45,
            "mouthRoll": 0.5,
            "mouthShrug": 0.5,
            "mouthUpperUp": 1.6,
        },
        {"brow_inner": (-0.050, -0.078), "brow_middle": (0.0, -0.010)},
    ),
    # Contempt is one-sided and hardly moves the upper face: as the manipulator asks for it.
    "contempt": Expression(),
    # Nose and upper lip, and little of the brows: else it looks angry.
    "disgusted": Expression(
        {
            "brow": 0.3,
            "eye": 0.8,
            "cheek": 1.6,
            "nose": 1.9,
            "mouthFrown": 1.3,
            "mouthLowerDown": 1.3,
            "mouthUpperUp": 2.2,
        },
        {"nostrils": (0.0, 0.012), "upper_lip": (0.0, 0.028), "cheeks": (0.0, 0.010)},
    ),
    # Brows up and together, upper lids up, lips wide: else it looks surprised.
    "fear": Expression(
        {"brow": 0.6, "cheek": 0.6, "nose": 0.6, "mouthStretch": 2.0},
        {
            "brow_inner": (-0.012, 0.049),
            "upper_lids": (0.0, 0.040),
            "mouth_corners": (0.015, -0.005),
        },
    ),
    # A smile thins the upper lip; the renderer thickens it, most of all below a moustache.
    "happy": Expression(
        {
            "brow": 0.15,
            "eye": 0.7,
            "cheek": 1.5,
            "nose": 1.2,
            "mouthSmile": 1.25,
            "mouthUpperUp": 1.5,
        },
        {"lip_edge": (0.0, -0.036)},
    ),
    "neutral": Expression(),
    "sad": Expression(
        {"brow": 0.7, "cheek": 0.7, "nose": 0.7, "mouthFrown": 1.9, "mouthShrugLower": 1.8},
        {
            "brow_inner": (-0.013, 0.032),
            "brow_outer": (0.0, -0.010),
            "mouth_corners": (0.0, -0.022),
        },
    ),
    "surprised": Expression(
        {"brow": 0.75, "eye": 1.3, "cheek": 0.6, "nose": 0.6, "jawOpen": 2.1},
        {
            "brow_inner": (0.0, 0.028),
            "brow_middle": (0.0, 0.023),
            "brow_outer": (0.0, 0.023),
            "upper_lids": (0.0, 0.044),
            "lower_lids": (0.0, -0.015),
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
