"""The coefficient host's neural renderer: source frames and another set of facial actions in, the same frames acting so out.

Edited actions need somebody who draws them. The studio's renderer knows person, pose and light of its own people only; this
network takes all that from the source's pixels, so a stranger's video can be edited through its facial actions.
"""

import torch
from torch import nn

from cdrl.core.vocabulary import ACTIONS
from cdrl.models.image_editor import Edit, FieldNet, apply_fields

RESOLUTION_FACTOR = 2  # flow and residual at 64 x 64: lids and lips are finer than cells of 32 x 32
FAINT = 0.02  # a change of every action below this fades out: no change at all must leave every pixel as it is


class ActionRenderer(FieldNet):
    """Draws a change of facial actions: the image host's fields, asked for by actions in place of an emotion.

    Args:
        width: channels at 16 x 16, as in `ImageEditor`, and as many at 32 x 32: a change of actions says more finely what moves than
            an emotion does. code: length of what the actions are mapped to. stride: as in `ImageEditor`.

    Example:
        renderer = ActionRenderer()
        renderer(frames, actions, wanted - actions).frames     # (B, T, 3, H, W), (B, T, 52) twice -> (B, T, 3, H, W)
    """

    def __init__(self, width: int = 32, code: int = 64, stride: int = 2):
        super().__init__(stride, resolution_factor=RESOLUTION_FACTOR)
        self.condition_mlp = nn.Sequential(
            nn.Linear(2 * len(ACTIONS), 2 * code),
            nn.SiLU(),
            nn.Linear(2 * code, code),
            nn.SiLU(),
            nn.Linear(code, code),
            nn.SiLU(),
        )
        self._build(width, code)

    def forward(
        self,
        frames: torch.Tensor,
        actions: torch.Tensor,
        change: torch.Tensor,
        at: slice = slice(None),
        stride: int | None = None,
    ) -> Edit:
        """Draw.

        Args:
            frames: (B, T, 3, H, W) RGB in [0, 1], aligned crops of consecutive frames, any H = W >= 64.
            actions: (B, T, 52) what they show, as tracked. change: (B, T, 52) what is added to it.
            at: the frames to draw and to return; their neighbours are looked at all the same. stride: replaces the renderer's own.

        Returns:
            `Edit`. Where the change is 0 the frames themselves, to rounding; so does a renderer that was never trained.
        """
        fields, frames = self.fields(frames, actions, change, at, stride), frames[:, at]
        out = apply_fields(*[field.flatten(0, 1) for field in (frames, *fields)]).view_as(frames)
        return Edit(out, *fields)

    def fields(
        self,
        frames: torch.Tensor,
        actions: torch.Tensor,
        change: torch.Tensor,
        at: slice = slice(None),
        stride: int | None = None,
    ) -> tuple:
        """Flow, shading and residual for frames (B, T, 3, H, W), actions and their change (B, T, 52); shapes as in `Edit`.

        `stride` replaces the renderer's own where the frame rate is not 25 Hz.
        """
        actions, change = actions[:, at], change[:, at]
        gain = (change.abs().amax(-1) / FAINT).clamp(0, 1)
        return self.predict_fields(
            frames, self.condition_mlp(torch.cat([actions, change], -1)), gain, at, stride
        )
