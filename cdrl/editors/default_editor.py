"""The default editor: the facial-action editor with what real faces need.

It wraps `ActionEditor`, whose networks it uses as they are. What it adds, each from a cause that
was measured on real faces (docs/guides/real_faces.md):

- the tracker reads resting faces of real people wrong, so the upper face is taken relative to the
  person's own resting face, and movements are read in the face mesh too
  (`cdrl.editors.default_tracking`);
- the manipulator asks for less than people act, and the renderer draws less than is asked: amounts
  of each emotion (`cdrl.editors.default_amounts`), and parts of the face that are shifted;
- what opens the mouth is scaled by the gap of the source's lips: lips that close stay closed;
- eyes that blink are not opened;
- the renderer lightens lips and a moustache to the studio's smooth skin: it may paint lighter only
  where something is uncovered, between the lips and around the eyes.
"""

from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cdrl.core.checkpoint import weights_path
from cdrl.core.vocabulary import EMOTIONS
from cdrl.corpora.batches import image_tensor
from cdrl.editors import default_amounts, default_shifts, default_tracking
from cdrl.editors.actions import ActionEditor
from cdrl.editors.base import EditorCard, Fields
from cdrl.editors.default_amounts import OPENING, action_factors, action_indices, part_shifts
from cdrl.editors.default_shifts import lightened_share, opening_share, part_masks, shift_flow
from cdrl.editors.default_tracking import acted_actions, from_resting_face, mix_movements
from cdrl.media.crop_mesh import mesh_in_crops
from cdrl.media.inspection import spread
from cdrl.models.action_renderer import ActionRenderer
from cdrl.models.field_network import WORKING_SIZE
from cdrl.priors import mesh_actions
from cdrl.priors.mesh_actions import MESH_TRACKER, load_mesh_tracker, measure_mesh

NAME = "calibrated"  # that `load_editor` knows
RESTING_FRAMES = 24  # of a clip, in which the resting face is read: .12 seconds on one core
INNER_LIPS = (13, 14)  # points of the face mesh
# Gap of the inner lips, in distances of the outer eye corners, at which nothing opens them; and how
# much wider it is where they are opened as asked.
SHUT = 0.02
WIDEST_SHUT = 0.045  # of a person whose lips are never seen to meet: a moustache hides it
OPENING_RANGE = 0.035
# Gap from which on a mouth that is open anyway is opened less, and that at which no further.
WIDE = 0.12
WIDEST = 0.24
# Lids that squint or blink are opened by so much at most: below them there is no eye to show.
LIDS = action_indices(("eyeBlink", "eyeSquint"))
MOST_OPENED = -0.15
# Rise of the blink from the resting face at which nothing opens the eyes less, and from which on
# nothing opens them. Real blinks are read as .05 to .2, open eyes within .015 of the resting face.
BLINK = action_indices(("eyeBlink",))
WIDE_EYES = action_indices(("eyeWide",))
CLOSING_EYES = 0.02
CLOSED_EYES = 0.05


@dataclass(frozen=True)
class ClipFace:
    """What an editor knows of the face of one clip.

    Attributes:
        resting: (52,) the actions that the tracker reads while the face rests.
        median: (52,) the actions that it reads most.
        measures: (38,) of the face mesh that is seen most, of `measure_mesh`.
        masks: (P, h, h) of `part_masks`.
        shut: gap of the inner lips where they meet, in distances of the outer eye corners.
    """

    resting: torch.Tensor
    median: torch.Tensor
    measures: np.ndarray
    masks: torch.Tensor
    shut: float


class DefaultEditor(nn.Module):
    """Edits one clip after another, each from the resting face of its person.

    Args:
        editor: tracks and edits facial actions.
        renderer: draws their change on real faces.
        card: what its manipulator learnt.
        clip: the face of the clip; None: it is read in the frames that are edited.
        source: (8,) the emotion of the source where it is known: the edit starts from there.

    Example:
        editor = load_editor("calibrated")
        editor.for_clip(crops[::4]).fields(frames, weights, intensity)
    """

    can_fit = True
    intensity_knots = ActionEditor.intensity_knots
    field_rank = ActionEditor.field_rank

    def __init__(
        self,
        editor: ActionEditor,
        renderer: ActionRenderer,
        card: EditorCard,
        clip: ClipFace | None = None,
        source: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        self.editor = editor
        self.renderer = renderer
        self.card = card
        self.clip = clip
        self.source = source
        self.stride = editor.stride
        self.reach = editor.reach

    @torch.no_grad()
    def for_clip(self, crops: np.ndarray, source: torch.Tensor | None = None) -> "DefaultEditor":
        """The editor of one clip.

        Args:
            crops: (N, H, H, 3) uint8 RGB, aligned, spread over the clip; each is read by itself.
            source: (8,) the emotion that they show; None: not known, so the face that is seen most
                is taken for the resting one.
        """
        crops = crops[spread(len(crops), RESTING_FRAMES)]
        tracked = self.editor.actions(image_tensor(crops)[:, None])[:, 0]
        median = tracked.median(0).values
        resting = median
        if source is not None:
            resting = (median - source.to(median) @ acted_actions()).clamp(0, 1)

        meshes = mesh_in_crops(crops)
        measures = np.median(measure_mesh(meshes), axis=0)
        masks = part_masks(np.median(meshes, axis=0), WORKING_SIZE)
        shut = float(np.clip(lip_gaps(meshes).min(), SHUT, WIDEST_SHUT))
        clip = ClipFace(resting, median, measures, masks, shut)
        return DefaultEditor(self.editor, self.renderer, self.card, clip, source)

    def with_renderer(self, renderer: ActionRenderer, name: str) -> "DefaultEditor":
        """The same editor of no clip, drawn by another renderer.

        Args:
            renderer: draws the changes.
            name: of the editor, in the notes of what it edits.
        """
        return DefaultEditor(self.editor, renderer, replace(self.card, name=name))

    @torch.no_grad()
    def actions_and_changes(self, crops: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """The actions of a clip, from its resting face, and what the editor asks for there.

        Args:
            crops: (T, H, H, 3) uint8 RGB, aligned, at 25 Hz.

        Returns:
            (T, 52), and (E, T, 52) of the E emotions that it learnt, at intensity 1; lips open in
            them also where those of the source meet.
        """
        own = self.for_clip(crops)
        assert own.clip is not None
        actions = own._actions(image_tensor(crops)[None], own.clip, 1.0)

        intensity = torch.ones(1, len(crops))
        changes = []
        for emotion in self.card.emotions:
            weights = torch.zeros(len(EMOTIONS))
            weights[EMOTIONS.index(emotion)] = 1
            change = own._change(actions, weights, intensity, 1.0)
            changes.append((actions + change).clamp(0, 1) - actions)
        return actions[0], torch.cat(changes)

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
            frames: (B, T, 3, H, W) RGB in [0, 1]; B is 1 for the editor of one clip, or for one
                clip at K intensities.
            weights: (B, 8) mixtures of emotions.
            intensity: (B or K, T), 0 to 1.5.
            selection: the frames to edit; up to `reach` of their neighbours are looked at.
            stride: replaces the renderer's own where the frame rate is not 25 Hz.
        """
        if len(frames) == 1:
            return self._clip_fields(frames, weights, intensity, selection, stride)

        of_clips = []
        for number in range(len(frames)):
            one = slice(number, number + 1)
            arguments = (frames[one], weights[one], intensity[one], selection, stride)
            of_clips.append(self._clip_fields(*arguments))
        flow, shading, residual = (torch.cat(field) for field in zip(*of_clips, strict=True))
        return flow, shading, residual

    def _clip_fields(
        self,
        frames: torch.Tensor,
        weights: torch.Tensor,
        intensity: torch.Tensor,
        selection: slice,
        stride: int | None,
    ) -> Fields:
        """The fields of one clip, (1, T, 3, H, W), at K intensities (K, T)."""
        clip = self.clip
        if clip is None:
            numbers = spread(frames.shape[1], RESTING_FRAMES)
            bound = self.for_clip(_to_bytes(frames[0, numbers]), self.source)
            assert bound.clip is not None
            clip = bound.clip

        stride = stride or self.stride
        step = stride / self.stride
        window, inner = self.editor.window(frames.shape[1], selection, step)
        frames = frames[:, window]
        intensity = intensity[:, window]

        actions = self._actions(frames, clip, step)
        change = self._change(actions, weights[0], intensity, step)

        share, room, meshes = opening_of_lips(frames[0], inner, clip.shut)
        edited = change[:, inner]
        opening = edited[..., OPENING] * share[:, None]
        edited[..., OPENING] = torch.minimum(opening, opening * room[:, None])
        open_eyes = opening_of_eyes(actions[0], clip)
        change[..., WIDE_EYES] *= open_eyes[:, None]
        lids = change[..., LIDS]
        change[..., LIDS] = torch.maximum(lids, lids * open_eyes[:, None])

        number = len(intensity)
        actions = actions.expand(number, -1, -1)
        change = (actions + change).clamp(0, 1) - actions
        frames = frames.expand(number, -1, -1, -1, -1)
        rendered = self.renderer.fields(frames, actions, change, inner, stride)
        flow = self._shifts(clip.masks, weights[0], opening_share(share, open_eyes[inner]))
        strength = intensity[:, inner, None, None, None]
        flow = rendered[0] + strength * flow

        residual = rendered[2]
        lighter = residual.clamp(min=0) * lightened_share(meshes, flow)
        return flow, rendered[1], residual.clamp(max=0) + lighter

    def _actions(self, frames: torch.Tensor, clip: ClipFace, step: float) -> torch.Tensor:
        """(1, T, 52): the actions of frames (1, T, 3, H, W), from the resting face."""
        tracked = self.editor.actions(frames, step)
        measures = measure_mesh(mesh_in_crops(_to_bytes(frames[0])))
        changes = torch.from_numpy(measures - clip.measures).to(tracked)
        mesh_change = load_mesh_tracker()(changes[None], step)
        mixed = mix_movements(tracked, clip.median, mesh_change)
        return from_resting_face(mixed, clip.resting)

    def _change(
        self, actions: torch.Tensor, weights: torch.Tensor, intensity: torch.Tensor, step: float
    ) -> torch.Tensor:
        """(K, T, 52): what the edit adds to the actions (1, T, 52); lips may still open."""
        count = len(intensity)
        actions = actions.expand(count, -1, -1)
        change = self.editor.change(actions, weights[None], intensity, step)
        if self.source is not None:
            of_source = self.source[None].to(weights)
            change = change - self.editor.change(actions, of_source, intensity, step)

        change = change * action_factors(weights)
        change[..., LIDS] = change[..., LIDS].clamp(min=MOST_OPENED)
        return change

    def _shifts(
        self, masks: torch.Tensor, weights: torch.Tensor, share: torch.Tensor
    ) -> torch.Tensor:
        """The flow of the shifted parts at intensity 1.

        Args:
            masks: (P, h, h) of the face.
            weights: (8,) of the emotions.
            share: (t, P) of each part's shift that a frame takes.

        Returns:
            (t, 2, h, h).
        """
        shifts = part_shifts(weights)
        if self.source is not None:
            shifts = shifts - part_shifts(self.source)

        return shift_flow(masks, share[..., None] * shifts)


def opening_of_lips(
    frames: torch.Tensor, selection: slice, shut: float
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """How much of an opening some frames take: the least of a frame and its two neighbours.

    The fields are smoothed over time, so a neighbour that opens would open lips that close.

    Args:
        frames: (T, 3, H, W) RGB in [0, 1].
        selection: the t frames; start and stop are numbers from 0.
        shut: gap at which the lips meet.

    Returns:
        (t,) 0 where the lips meet to 1; (t,) 1 to 0 where they are as wide open as can be; and the
        meshes (t, 468, 2).
    """
    first = max(0, selection.start - 1)
    last = min(len(frames), selection.stop + 1)
    meshes = mesh_in_crops(_to_bytes(frames[first:last]))
    gaps = lip_gaps(meshes)
    share = np.clip((gaps - shut) / OPENING_RANGE, 0, 1)

    padded = np.pad(share, 1, mode="edge")
    least = np.minimum(np.minimum(padded[:-2], padded[1:-1]), padded[2:])
    inner = slice(selection.start - first, selection.stop - first)
    room = np.clip((WIDEST - gaps[inner]) / (WIDEST - WIDE), 0, 1)
    shares = torch.from_numpy(least[inner]).to(frames), torch.from_numpy(room).to(frames)
    return *shares, meshes[inner]


def opening_of_eyes(actions: torch.Tensor, clip: ClipFace) -> torch.Tensor:
    """How much of an opening of the eyes frames take: the least of a frame and its two neighbours.

    Args:
        actions: (T, 52) from the resting face.
        clip: the face.

    Returns:
        (T,) 1 where the eyes are as open as they mostly are, 0 where they blink.
    """
    mostly = from_resting_face(clip.median, clip.resting)
    rise = (actions - mostly)[:, BLINK].mean(1)
    share = ((CLOSED_EYES - rise) / (CLOSED_EYES - CLOSING_EYES)).clamp(0, 1)
    before = torch.cat([share[:1], share[:-1]])
    after = torch.cat([share[1:], share[-1:]])
    return torch.minimum(share, torch.minimum(before, after))


def lip_gaps(meshes: np.ndarray) -> np.ndarray:
    """(T, 468, 2) meshes -> (T,) gap of the inner lips, in distances of the outer eye corners."""
    upper, lower = INNER_LIPS
    return np.linalg.norm(meshes[:, upper] - meshes[:, lower], axis=-1)


def _to_bytes(images: torch.Tensor) -> np.ndarray:
    """(T, 3, H, W) in [0, 1] -> (T, H, W, 3) uint8."""
    pixels = (images * 255).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).numpy()


def code_sum() -> str:
    """Twelve digits that change when this editor's code, an amount of it or its tracker does."""
    modules = (default_amounts, default_shifts, default_tracking, mesh_actions)
    files = [__file__, *(str(module.__file__) for module in modules)]
    digest = sha256(weights_path(MESH_TRACKER).read_bytes())
    for file in files:
        digest.update(Path(file).read_bytes())

    return digest.hexdigest()[:12]
