"""The image editor (SPFEM): frames and an emotion in, the same frames with that emotion out."""

import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.vocabulary import EMOTIONS, emotion_index
from cdrl.models.editor_card import DEFAULT_CARD, EditorCard
from cdrl.models.field_network import Edit, FieldNetwork, Fields, apply_to_clips
from cdrl.models.layers import silu_layers

LOWEST_LEVEL = 1 / 3
MAX_INTENSITY = 1.5


class ImageEditor(FieldNetwork):
    """Windows of aligned crops and an emotion -> edited windows.

    Args:
        width: channels at 16 x 16; half of it at 32 x 32, twice at 8 x 8, three times at 4 x 4.
        code: length of an emotion's learnt code.
        stride: distance in frames to the two neighbours that are read too.
        card: what it learnt, see `EditorCard`.

    Example:
        editor = ImageEditor()
        weights = label_weights(["happy", "sad"])
        edit = editor(frames, weights, torch.tensor([1.0, 0.7]))
        edit.frames     # (2, T, 3, H, W) as `frames`
    """

    can_fit = True
    # Below level 1 the fields are those of level 1 times a factor, above level 3 those of level 3
    # times a factor, see `field_gain`.
    intensity_knots = (1 / 3, 1 / 2, 2 / 3, 5 / 6, 1.0, 1.5)
    field_rank = 12

    def __init__(
        self, width: int = 32, code: int = 64, stride: int = 2, card: EditorCard = DEFAULT_CARD
    ):
        super().__init__(stride)

        self.config = {"width": width, "code": code, "stride": stride}
        self.card = card
        self.table = nn.Parameter(torch.randn(len(EMOTIONS), code))
        self.mapping = silu_layers(code, code, code)
        self._build(width, code)

    @property
    def reach(self) -> int:
        """Frames on each side that a frame's fields depend on."""
        return self.stride

    def forward(
        self,
        frames: torch.Tensor,
        weights: torch.Tensor,
        intensity: torch.Tensor,
        selection: slice = slice(None),
    ) -> Edit:
        """Edit clips.

        Args:
            frames: (B, T, 3, H, W) RGB in [0, 1], aligned crops of consecutive frames, H = W >= 64.
            weights: (B, 8) mixture of emotions, order `EMOTIONS`, sums to 1.
            intensity: (B,) or (B, T), 0 to 1.5. 0 changes nothing, exactly. 1/3, 2/3 and 1 are
                levels 1 to 3 of the corpora.
            selection: the frames to edit and to return; their neighbours are read all the same.

        Returns:
            `Edit`. A new editor, not trained yet, returns its source.
        """
        batch, count = frames.shape[:2]
        intensity = intensity_per_frame(intensity, batch, count)

        fields = self.fields(frames, weights, intensity, selection)

        frames = frames[:, selection]
        edited = apply_to_clips(frames, fields)
        unchanged = intensity[:, selection, None, None, None] == 0

        return Edit(torch.where(unchanged, frames, edited), *fields)

    def fields(
        self,
        frames: torch.Tensor,
        weights: torch.Tensor,
        intensity: torch.Tensor,
        selection: slice = slice(None),
        stride: int | None = None,
    ) -> Fields:
        """Predict flow, shading and residual.

        Args:
            frames: (B, T, 3, H, W) RGB in [0, 1]; B may be 1 with K intensities of one clip.
            weights: (B, 8) mixture of emotions.
            intensity: (B, T) or (K, T), 0 to 1.5.
            selection: the frames to edit.
            stride: replaces the editor's own where the frame rate is not 25 Hz.

        Returns:
            Flow, shading and residual, shapes as in `Edit`.
        """
        count = len(intensity)
        frames = frames.expand(count, -1, -1, -1, -1)
        intensity = intensity[:, selection]

        code = self.code(weights, intensity)
        return self.predict_fields(frames, code, field_gain(intensity), selection, stride)

    def code(self, weights: torch.Tensor, intensity: torch.Tensor) -> torch.Tensor:
        """Compute what the fields are conditioned on.

        Args:
            weights: (B, 8) mixture of emotions.
            intensity: (B, T).

        Returns:
            (B, T, code): the mixture of the emotions' codes, scaled by the intensity, mapped.
        """
        emotion_code = weights.to(self.table) @ self.table
        strength = intensity.clamp(LOWEST_LEVEL, 1)
        return self.mapping(emotion_code[:, None] * strength[:, :, None])


def label_weights(labels: list[str]) -> torch.Tensor:
    """Convert emotion names to weights.

    Returns:
        (B, 8) one-hot.

    Raises:
        InputError: a word that is no emotion.
    """
    indices = [emotion_index(name) for name in labels]
    return F.one_hot(torch.tensor(indices), len(EMOTIONS)).float()


def intensity_per_frame(intensity: torch.Tensor, batch: int, count: int) -> torch.Tensor:
    """Expand an intensity to all frames: (B,) or (B, T) -> (B, T)."""
    if intensity.ndim == 1:
        intensity = intensity[:, None]
    return intensity.expand(batch, count)


def field_gain(intensity: torch.Tensor) -> torch.Tensor:
    """Factor on the fields: 0 at 0, 1 from level 1 (1/3) to level 3 (1), the intensity above.

    No clip has less than level 1, so below it the edit to level 1 fades out; above level 3 the edit
    to level 3 is exaggerated.

    Args:
        intensity: (B, T) or any other shape (..., 1).

    Returns:
        The shape of `intensity`.
    """
    fade = (intensity / LOWEST_LEVEL).clamp(0, 1)
    return fade * intensity.clamp(min=1)
