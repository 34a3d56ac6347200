"""The best edit that looks at nothing: the same fields for every face, one set for each emotion and level."""

import torch
from torch import nn

from cdrl.core.vocabulary import EMOTIONS, emotion_index
from cdrl.models.editor_card import DEFAULT_CARD, EditorCard
from cdrl.models.image_editor import ImageEditor, field_gain

LEVELS = 3
SHAPES = {
    "flow": (2, 32, 32),
    "shading": (1, 16, 16),
    "residual": (3, 64, 64),
}  # as the generator's, a residual in colour


class ConstantEdit(nn.Module):
    """Takes the generator's place in `cdrl.editing.pipeline`: same dial, same fields, no network.

    Args:
        card: what it learnt, see `EditorCard`.

    Example:
        edit_clip(fit_constant(store)[0], crops, "happy", 0.7)
    """

    stride = 0  # no neighbour is looked at
    reach = 0
    can_fit = False
    intensity_knots = ImageEditor.intensity_knots
    field_rank = ImageEditor.field_rank

    def __init__(self, card: EditorCard = DEFAULT_CARD):
        super().__init__()
        self.card = card
        for name, shape in SHAPES.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(len(EMOTIONS), LEVELS, *shape)))

    def fields(
        self,
        frames: torch.Tensor,
        weights: torch.Tensor,
        intensity: torch.Tensor,
        at: slice = slice(None),
        stride: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Flow, shading, residual for frames (B, T, 3, H, W), weights (B, 8), intensity (B, T); levels are interpolated."""
        intensity = intensity[:, at]
        level = (LEVELS * intensity - 1).clamp(0, LEVELS - 1)
        share = (1 - (level[..., None] - torch.arange(LEVELS)).abs()).clamp(min=0) * field_gain(
            intensity
        )[..., None]  # (B, T, 3)
        return tuple(
            torch.einsum("be,btl,elchw->btchw", weights, share, getattr(self, name))
            for name in SHAPES
        )

    def cells(self, emotion: torch.Tensor, level: torch.Tensor) -> tuple:
        """The fields of (B,) emotions and levels 1 to 3, each (B, C, h, w)."""
        return tuple(getattr(self, name)[emotion, level - 1] for name in SHAPES)

    @torch.no_grad()
    def finish(self) -> "ConstantEdit":
        """Neutral has one level, which stands for every strength; frozen, in eval mode."""
        for name in SHAPES:
            table = getattr(self, name)
            table[emotion_index("neutral")] = table[emotion_index("neutral"), :1].clone()
        return self.eval().requires_grad_(False)
