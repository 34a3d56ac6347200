"""The facial-action editor's neural renderer: frames and a change of actions in, edited frames out.

Edited actions have to be rendered. The studio's renderer knows person, pose and light of its own
people only. This network takes all that from the source's pixels, so the video of any person can be
edited through facial actions.
"""

import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.vocabulary import ACTIONS
from cdrl.models.field_network import (
    WORKING_SIZE,
    Edit,
    FieldNetwork,
    Fields,
    apply_to_clips,
    roi_mask,
    zero_init,
)
from cdrl.models.layers import silu_layers

RESOLUTION_FACTOR = 2  # flow and residual at 64 x 64: lids and lips are finer than cells of 32 x 32
# A change of every action below this fades out: no change must leave every pixel as it is.
FAINT = 0.02
# Of the fine shading, the logarithm of a factor: lines in the skin; and how much darker it may get
# in the mouth, which is dark inside where it opens.
LINE_LIMIT = 0.25
DARKEST_MOUTH = 2.5


class ActionRenderer(FieldNetwork):
    """Renders a change of facial actions by the image editor's fields.

    Args:
        width: channels at 16 x 16, as in `ImageEditor`, and as many at 32 x 32, because a change of
            actions tells more finely than an emotion what moves.
        code: length of what the actions are mapped to.
        stride: distance in frames to the two neighbours that are read too.
        fine_shading: shade in cells of the flow too: wrinkles, and the dark inside of a mouth.

    Example:
        renderer = ActionRenderer()
        edit = renderer(frames, actions, target - actions)
        edit.frames     # (B, T, 3, H, W) as `frames`; actions are (B, T, 52)
    """

    darkest: torch.Tensor

    def __init__(
        self, width: int = 32, code: int = 64, stride: int = 2, fine_shading: bool = False
    ):
        super().__init__(stride, resolution_factor=RESOLUTION_FACTOR)

        self.config = {"width": width, "code": code, "stride": stride, "fine_shading": fine_shading}
        self.fine_shading = fine_shading
        self.condition_mlp = silu_layers(2 * len(ACTIONS), 2 * code, code, code)
        self._build(width, code)
        if fine_shading:
            channels = RESOLUTION_FACTOR * width // 2
            self.fine_shade = zero_init(nn.Conv2d(channels, RESOLUTION_FACTOR**2, 3, 1, 1))
            mouth = roi_mask(WORKING_SIZE, ("mouth",))
            self.register_buffer("darkest", LINE_LIMIT + DARKEST_MOUTH * mouth, persistent=False)

    def forward(
        self,
        frames: torch.Tensor,
        actions: torch.Tensor,
        change: torch.Tensor,
        selection: slice = slice(None),
        stride: int | None = None,
    ) -> Edit:
        """Render.

        Args:
            frames: (B, T, 3, H, W) RGB in [0, 1], aligned crops of consecutive frames, H = W >= 64.
            actions: (B, T, 52), those of the frames, as tracked.
            change: (B, T, 52), what is added to them.
            selection: the frames to render and to return; their neighbours are read all the same.
            stride: replaces the renderer's own where the frame rate is not 25 Hz.

        Returns:
            `Edit`. Where the change is 0, and from a new renderer, not trained yet, the frames
            themselves, to rounding.
        """
        fields = self.fields(frames, actions, change, selection, stride)
        edited = apply_to_clips(frames[:, selection], fields)
        return Edit(edited, *fields)

    def fields(
        self,
        frames: torch.Tensor,
        actions: torch.Tensor,
        change: torch.Tensor,
        selection: slice = slice(None),
        stride: int | None = None,
    ) -> Fields:
        """Predict flow, shading and residual.

        Args:
            frames: (B, T, 3, H, W) RGB in [0, 1].
            actions: (B, T, 52), those of the frames.
            change: (B, T, 52), what is added to them.
            selection: the frames to render.
            stride: replaces the renderer's own.

        Returns:
            Flow, shading and residual, shapes as in `Edit`.
        """
        actions = actions[:, selection]
        change = change[:, selection]
        largest_change = change.abs().amax(-1)
        gain = (largest_change / FAINT).clamp(0, 1)

        condition = torch.cat([actions, change], -1)
        code = self.condition_mlp(condition)

        return self.predict_fields(frames, code, gain, selection, stride)

    def _shading(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        slow = super()._shading(fine, coarse)
        if not self.fine_shading:
            return slow

        lines = F.pixel_shuffle(self.fine_shade(fine), RESOLUTION_FACTOR).tanh()
        limit = torch.where(lines < 0, self.darkest, LINE_LIMIT)
        size = lines.shape[-2:]
        enlarged = F.interpolate(slow, size, mode="bilinear", align_corners=False)
        return enlarged + limit * lines * self.window
