"""The facial-action editor: tracks facial actions in any video, edits them, and renders the change.

Three networks in a row: the action tracker reads the actions of every frame, the action manipulator
changes them to another emotion, and the neural renderer turns the change into fields.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.checkpoint import load_card, load_weights
from cdrl.core.errors import InputError
from cdrl.core.vocabulary import emotion_index
from cdrl.editors.base import DEFAULT_CARD, EditorCard, Fields
from cdrl.media.mouths import DEFAULT_MOUTH_BOX
from cdrl.models.action_networks import ActionManipulator
from cdrl.models.action_renderer import ActionRenderer
from cdrl.models.image_editor import MAX_INTENSITY
from cdrl.priors.actions import ActionTracker, load_tracker
from cdrl.priors.vision import VisionPrior

KIND = "facial actions"  # of an editor, in its card
MANIPULATOR = "action_manipulator"  # the committed weights
RENDERER = "action_renderer"
DEFAULT_RENDERER = "default_renderer"  # of the default editor, for real faces


def load_manipulator(name: str = MANIPULATOR) -> ActionManipulator:
    """The committed action manipulator, or the weights of that name or path, frozen."""
    settings = load_card(name)["model"]
    manipulator = ActionManipulator(**settings)
    load_weights(name, manipulator)
    return manipulator


def load_renderer(name: str = RENDERER) -> ActionRenderer:
    """The committed neural renderer, or the weights of that name or path, frozen."""
    settings = load_card(name)["model"]
    renderer = ActionRenderer(**settings)
    load_weights(name, renderer)
    return renderer


class ActionEditor(nn.Module):
    """Edits facial actions and gives the fields that draw the change, as `Editor` asks.

    Args:
        manipulator: edits the actions.
        renderer: draws their change.
        tracker: reads them; None is the committed one.
        card: what the manipulator learnt, see `EditorCard`.

    Example:
        editor = ActionEditor(load_manipulator(), load_renderer())
        weights, intensity = label_weights(["happy"]), torch.ones(1, 30)
        editor.fields(frames, weights, intensity)[0].shape == (1, 30, 2, 64, 64)
    """

    can_fit = False
    # Facial actions reach their ends, and a faint change fades out: the fields bend everywhere.
    intensity_knots = (1 / 12, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 1.0, 1.25, 1.5)
    field_rank = 16

    def __init__(
        self,
        manipulator: ActionManipulator,
        renderer: ActionRenderer,
        tracker: ActionTracker | None = None,
        card: EditorCard = DEFAULT_CARD,
    ):
        super().__init__()
        self.card = card
        self.manipulator = manipulator
        self.renderer = renderer
        self.tracker = load_tracker() if tracker is None else tracker
        self.vision = VisionPrior()
        self.stride = renderer.stride
        self.reach = manipulator.reach + self.tracker.reach + self.stride
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def fields(
        self,
        frames: torch.Tensor,
        weights: torch.Tensor,
        intensity: torch.Tensor,
        selection: slice = slice(None),
        stride: int | None = None,
    ) -> Fields:
        """Flow, shading and residual, shapes as in `Edit`.

        Args:
            frames: (B, T, 3, H, W) RGB in [0, 1]. One clip can be edited at K intensities at once:
                B is 1 then, and it is tracked once.
            weights: (B, 8) mixtures of emotions.
            intensity: (B or K, T), 0 to 1.5.
            selection: the frames to edit; up to `reach` of their neighbours are looked at.
            stride: replaces the renderer's own where the frame rate is not 25 Hz; actions are then
                edited at 25 Hz all the same.
        """
        stride = stride or self.stride
        step = stride / self.stride
        window, inner = self.window(frames.shape[1], selection, step)
        frames = frames[:, window]
        intensity = intensity[:, window]

        number = len(intensity)
        actions = self.actions(frames, step)
        actions = actions.expand(number, -1, -1)
        frames = frames.expand(number, -1, -1, -1, -1)
        change = self.change(actions, weights, intensity, step)
        return self.renderer.fields(frames, actions, change, inner, stride)

    def window(self, count: int, selection: slice, step: float) -> tuple[slice, slice]:
        """The frames that have to be looked at to edit some.

        Args:
            count: of the frames that are there.
            selection: the frames to edit.
            step: frames in 40 ms.

        Returns:
            Them, and where the selection is among them.
        """
        margin = math.ceil(self.reach * step)
        low, high, _ = selection.indices(count)
        first = max(0, low - margin)
        last = min(count, high + margin)
        return slice(first, last), slice(low - first, high - first)

    def actions(self, frames: torch.Tensor, step: float = 1.0) -> torch.Tensor:
        """Track; the mouth is looked for where aligned crops have it.

        Args:
            frames: (B, T, 3, H, W) RGB in [0, 1].
            step: frames in 40 ms: 1 at 25 Hz, 2 at 50.

        Returns:
            (B, T, 52) in [0, 1].
        """
        images = frames.flatten(0, 1)
        box = images.new_tensor(DEFAULT_MOUTH_BOX)
        boxes = box.expand(len(images), -1)

        face, mouth = self.vision(images, boxes)
        features = torch.cat([face, mouth], 1)
        features = features.unflatten(0, frames.shape[:2])

        tracked = self.tracker(features, step)
        return tracked.clamp(0, 1)

    def change(
        self,
        actions: torch.Tensor,
        weights: torch.Tensor,
        intensity: torch.Tensor,
        step: float = 1.0,
    ) -> torch.Tensor:
        """What the edit adds to the actions.

        Args:
            actions: (B, T, 52) in [0, 1].
            weights: (B, 8) mixtures of emotions.
            intensity: (B, T), 0 to 1.5.
            step: frames in 40 ms, the time from one frame of the manipulator to the next: 1 at
                25 Hz, 2 at 50.

        Returns:
            (B, T, 52), 0 where the intensity is 0.
        """
        table = self.manipulator.table
        style = weights.to(table) @ table
        if step == 1:
            return self.manipulator(actions, style, intensity) - actions

        count = actions.shape[1]
        resampled_count = max(2, round((count - 1) / step) + 1)
        resampled = _resample(actions, resampled_count)
        intensity = intensity[..., None]
        resampled_intensity = _resample(intensity, resampled_count)

        edited = self.manipulator(resampled, style, resampled_intensity[..., 0])
        change = _resample(edited - resampled, count)
        return change.masked_fill(intensity == 0, 0)


def _resample(values: torch.Tensor, count: int) -> torch.Tensor:
    """(B, T, D) -> (B, count, D), linear; the first and the last are kept."""
    channels_first = values.transpose(1, 2)
    resampled = F.interpolate(channels_first, count, mode="linear", align_corners=True)
    return resampled.transpose(1, 2)


@torch.no_grad()
def edit_actions(
    manipulator: ActionManipulator,
    actions: np.ndarray,
    emotion: str | None = None,
    intensity: float | np.ndarray = 1.0,
    reference: np.ndarray | None = None,
) -> np.ndarray:
    """Another emotion on a clip's facial actions.

    Args:
        manipulator: edits them.
        actions: (T, 52) in [0, 1], any T.
        emotion: its name; None where a reference is given.
        intensity: 0 to 1.5, or a curve (T,).
        reference: (T', 52) actions of a clip that shows the emotion.

    Returns:
        (T, 52) float32 in [0, 1]; where the intensity is 0 what was given, bit for bit.

    Raises:
        InputError: unknown emotion, an intensity outside its range, not exactly one of emotion and
            reference.
    """
    if (emotion is None) == (reference is None):
        raise InputError("edit_actions: give one of emotion and reference")
    curve = np.broadcast_to(np.float32(intensity), len(actions)).copy()
    if not ((curve >= 0) & (curve <= MAX_INTENSITY)).all():
        raise InputError(
            f"intensity {intensity}: accepted are 0 (changes nothing) to {MAX_INTENSITY} "
            "(level 3 is 1)"
        )

    if reference is None:
        label = torch.tensor([emotion_index(str(emotion))])
        style = manipulator.label_style(label)
    else:
        style = manipulator.style_encoder(_as_batch(reference))

    curves = torch.from_numpy(curve)[None]
    edited = manipulator(_as_batch(actions), style, curves)
    return edited[0].numpy()


def _as_batch(actions: np.ndarray) -> torch.Tensor:
    """(T, 52) -> (1, T, 52) float32."""
    return torch.from_numpy(np.asarray(actions, np.float32))[None]
