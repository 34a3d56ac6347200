"""The best edit that looks at no face: one set of fields for each emotion and level."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.vocabulary import EMOTIONS, emotion_index
from cdrl.models.editor_card import DEFAULT_CARD, EditorCard
from cdrl.models.field_network import Fields
from cdrl.models.image_editor import ImageEditor, field_gain

LEVELS = 3
# As the image editor's fields; the residual in colour.
SHAPES = {"flow": (2, 32, 32), "shading": (1, 16, 16), "residual": (3, 64, 64)}


class ConstantEdit(nn.Module):
    """Replaces the image editor in `cdrl.editing.pipeline`: the same intensity scale, no network.

    Args:
        card: what it learnt, see `EditorCard`.

    Example:
        edit_clip(fit_constant(store)[0], crops, "happy", 0.7)
    """

    stride = 0  # it uses no neighbouring frames
    reach = 0
    can_fit = False
    intensity_knots = ImageEditor.intensity_knots
    field_rank = ImageEditor.field_rank
    flow: nn.Parameter
    shading: nn.Parameter
    residual: nn.Parameter

    def __init__(self, card: EditorCard = DEFAULT_CARD) -> None:
        super().__init__()
        self.card = card

        for name, shape in SHAPES.items():
            table = torch.zeros(len(EMOTIONS), LEVELS, *shape)
            self.register_parameter(name, nn.Parameter(table))

    def _tables(self) -> Iterator[nn.Parameter]:
        """Give the fields by emotion and level, (8, 3, C, h, w) each."""
        for name in SHAPES:
            yield getattr(self, name)

    def fields(
        self,
        frames: torch.Tensor,
        weights: torch.Tensor,
        intensity: torch.Tensor,
        selection: slice = slice(None),
        stride: int | None = None,
    ) -> Fields:
        """Interpolate flow, shading and residual between levels.

        Args:
            frames: (B, T, 3, H, W), not used.
            weights: (B, 8) mixture of emotions.
            intensity: (B, T), 0 to 1.5.
            selection: the frames to edit.
            stride: not used.

        Returns:
            Flow (B, t, 2, 32, 32), shading (B, t, 1, 16, 16), residual (B, t, 3, 64, 64).
        """
        intensity = intensity[:, selection]
        level_weights = _level_weights(intensity) * field_gain(intensity)[..., None]
        fields = []
        for table in self._tables():
            field = torch.einsum("be,btl,elchw->btchw", weights, level_weights, table)
            fields.append(field)

        flow, shading, residual = fields

        return flow, shading, residual

    def cells(self, emotion: torch.Tensor, level: torch.Tensor) -> Fields:
        """Select the fields of labels.

        Args:
            emotion: (B,) int64 labels.
            level: (B,) int64, 1 to 3.

        Returns:
            Flow, shading and residual, (B, C, h, w) each.
        """
        cell = LEVELS * emotion + level - 1
        # A product, because gradients through an index are added up in any order.
        chosen = F.one_hot(cell, LEVELS * len(EMOTIONS)).float()
        fields = []
        for table in self._tables():
            field = torch.einsum("bc,cdhw->bdhw", chosen, table.flatten(0, 1))
            fields.append(field)

        flow, shading, residual = fields
        return flow, shading, residual

    @torch.no_grad()
    def finish(self) -> "ConstantEdit":
        """Give neutral the fields of its one level at every level, and freeze."""
        neutral = emotion_index("neutral")
        for table in self._tables():
            table[neutral] = table[neutral, :1].clone()
        return self.eval().requires_grad_(False)


def _level_weights(intensity: torch.Tensor) -> torch.Tensor:
    """Weights of the levels 1 to 3 in a linear interpolation: (B, T) -> (B, T, 3)."""
    position = (LEVELS * intensity - 1).clamp(0, LEVELS - 1)
    distance = (position[..., None] - torch.arange(LEVELS)).abs()
    return (1 - distance).clamp(min=0)
