"""The coefficient host on any video: facial actions tracked from the crops, edited, and drawn on them by the neural renderer."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.checkpoint import load_card, load_weights
from cdrl.media.mouths import MOUTH
from cdrl.models.action_editor import ActionManipulator
from cdrl.models.action_renderer import ActionRenderer
from cdrl.priors.actions import ActionTracker, load_tracker
from cdrl.priors.vision import VisionPrior

RENDERER = "action_renderer"  # the committed weights


def load_renderer(where: str = RENDERER) -> ActionRenderer:
    """The committed neural renderer, or the weights of that name or path, frozen, in eval mode."""
    return load_weights(where, ActionRenderer(**load_card(where)["model"]))


class ActionEditor(nn.Module):
    """Answers with fields as `ImageEditor` does, so that whatever edits with a generator edits with this.

    Args:
        host: edits the actions. renderer: draws their change. reader: tracks them; None is the committed one.

    Example:
        editor = ActionEditor(load_manipulator(), renderer)
        editor.fields(frames, label_weights(["happy"]), torch.ones(1, 30))[0].shape == (1, 30, 2, 64, 64)
    """

    def __init__(
        self, host: ActionManipulator, renderer: ActionRenderer, reader: ActionTracker | None = None
    ):
        super().__init__()
        self.host, self.renderer, self.reader, self.vision = (
            host,
            renderer,
            reader or load_tracker(),
            VisionPrior(),
        )
        self.stride = renderer.stride
        self.reach = host.reach + self.reader.reach + self.stride
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def fields(
        self,
        frames: torch.Tensor,
        weights: torch.Tensor,
        intensity: torch.Tensor,
        at: slice = slice(None),
        stride: int | None = None,
    ) -> tuple:
        """Flow, shading and residual for frames (B, T, 3, H, W), weights (B, 8), intensity (B, T) 0 to 1.5; shapes as in `Edit`.

        One clip may be asked for at K intensities at once, (K, T): it is tracked once.

        Args:
            at: the frames to edit; up to `reach` of their neighbours are looked at. stride: replaces the renderer's own where the
                frame rate is not 25 Hz; actions are then edited at 25 Hz all the same.
        """
        stride = stride or self.stride
        low, high, _ = at.indices(frames.shape[1])
        around = math.ceil(self.reach * stride / self.stride)
        first, last = max(0, low - around), min(frames.shape[1], high + around)
        frames, intensity, at = (
            frames[:, first:last],
            intensity[:, first:last],
            slice(low - first, high - first),
        )
        step = stride / self.stride
        actions = self.actions(frames, step).expand(len(intensity), -1, -1)
        frames = frames.expand(len(intensity), *frames.shape[1:])
        change = self.change(actions, weights, intensity, step)
        return self.renderer.fields(frames, actions, change, at, stride)

    def actions(self, frames: torch.Tensor, step: float = 1.0) -> torch.Tensor:
        """(B, T, 3, H, W) -> (B, T, 52) in [0, 1], as tracked; the mouth is looked for where aligned crops have it. `step`: see `change`."""
        flat = frames.flatten(0, 1)
        seen = torch.cat(self.vision(flat, flat.new_tensor(MOUTH).expand(len(flat), -1)), 1)
        return self.reader(seen.unflatten(0, frames.shape[:2]), step).clamp(0, 1)

    def change(
        self,
        actions: torch.Tensor,
        weights: torch.Tensor,
        intensity: torch.Tensor,
        step: float = 1.0,
    ) -> torch.Tensor:
        """What the host adds to actions (B, T, 52) for weights (B, 8) and intensity (B, T): (B, T, 52), 0 where the intensity is 0.

        Args:
            step: frames from one time at which the host looks to the next: 1 at 25 Hz, 2 at 50.
        """
        style = weights.to(self.host.table) @ self.host.table
        if step == 1:
            return self.host(actions, style, intensity) - actions
        places = max(2, round((actions.shape[1] - 1) / step) + 1)
        seen, dial = _resampled(actions, places), _resampled(intensity[..., None], places)[..., 0]
        found = _resampled(self.host(seen, style, dial) - seen, actions.shape[1])
        return found.masked_fill(intensity[..., None] == 0, 0)


def _resampled(values: torch.Tensor, count: int) -> torch.Tensor:
    """(B, T, D) -> (B, count, D), linear, first and last kept."""
    return F.interpolate(
        values.transpose(1, 2), count, mode="linear", align_corners=True
    ).transpose(1, 2)
