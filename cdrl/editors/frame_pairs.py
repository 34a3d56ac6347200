"""What the neural renderer learns from any clip, without a label: one frame drawn from another.

Two frames of one clip show the same person, light and camera, and the tracker says how their facial
actions differ. So the renderer draws the second from the first, and is compared with it inside the
face. A clip of speech tells nothing of expressions that it does not show. Therefore the same
training also keeps what the renderer draws of the editor's own changes on the same frames, and may
be mixed with changed clips of the studio.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from cdrl.core.checkpoint import freeze
from cdrl.core.errors import InputError
from cdrl.corpora.batches import image_tensor
from cdrl.editors.default_editor import DefaultEditor
from cdrl.editors.objective import Terms, smooth_flow_terms
from cdrl.editors.renderer import (
    MIN_CHANGE,
    MIRRORED,
    ChangeSampler,
    RenderingObjective,
    render_middle,
    rendered_painting_terms,
)
from cdrl.editors.samplers import Batch, draw_mirrored, mirror_where
from cdrl.media.crop_mesh import mesh_in_crops
from cdrl.media.faces import EYES_BELOW_TOP, SIDE
from cdrl.models.action_renderer import ActionRenderer
from cdrl.models.field_network import BORDER
from cdrl.training.loop import LoopConfig, train

CROP = 96  # pixels a side of the crops that are learnt from, as those of the studio
LEAST_GAP = 5  # frames: nearer ones are among the neighbours that the renderer is shown
LEAST_FRAMES = 2 * LEAST_GAP + 2  # of a clip, so that every frame has others to be drawn
CANDIDATES = (
    3  # second frames that are chosen at random, of which the one that differs most is taken
)
SAVE_EVERY = 25  # steps
SCORED_PAIRS = 48  # of a clip that was left out
LEVELS = 255
# The outline of the face in the mesh, by its fixed numbers, from the forehead to the right.
OUTLINE = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
LEARNING_RATE = 3e-4
WEIGHTS = {
    "redraw": 60.0,
    "relative_redraw": 0.2,
    "kept": 60.0,
    "relative_kept": 0.4,
    "bending": 1.0,
    "stretching": 30.0,
    "shading": 0.5,
    "residual": 5.0,
}
FINE_WEIGHTS = {"darkening": 2.0}  # of a renderer with fine shading
STUDIO = "studio_"  # before the terms of changed clips of the studio
STUDIO_WEIGHTS = {f"{STUDIO}truth": 60.0, f"{STUDIO}relative_l1": 0.2}


@dataclass(frozen=True)
class TrackedClip:
    """The face of one clip at 25 Hz, and what the editor reads and asks there.

    Attributes:
        name: of the clip.
        crops: (T, C, C, 3) uint8 RGB, aligned.
        actions: (T, 52) float32, as the editor hands them to its renderer.
        changes: (E, T, 52) float32, what the editor adds for each of its emotions at intensity 1.
        inside: (C, C) float32, 1 inside the face and 0 outside.
    """

    name: str
    crops: np.ndarray
    actions: np.ndarray
    changes: np.ndarray
    inside: np.ndarray

    def __len__(self) -> int:
        return len(self.crops)

    def part(self, start: int, stop: int) -> "TrackedClip":
        """The frames from `start` to `stop`."""
        frames = slice(start, stop)
        return TrackedClip(
            self.name,
            self.crops[frames],
            self.actions[frames],
            self.changes[:, frames],
            self.inside,
        )


def tracked_clip(editor: DefaultEditor, crops: np.ndarray, name: str) -> TrackedClip:
    """Read the face of a clip.

    Args:
        editor: tracks the actions and asks for changes.
        crops: (T, C, C, 3) uint8 RGB, aligned, at 25 Hz.
        name: of the clip.
    """
    actions, changes = editor.actions_and_changes(crops)
    mesh = np.median(mesh_in_crops(crops[:: max(1, len(crops) // 8)]), axis=0)
    inside = face_mask(mesh, crops.shape[1])
    return TrackedClip(name, crops, actions.numpy(), changes.numpy(), inside)


def face_mask(mesh: np.ndarray, size: int) -> np.ndarray:
    """Where the face is in a crop.

    Args:
        mesh: (468, 2) of `mesh_in_crops`.
        size: C, pixels a side of the crop.

    Returns:
        (C, C) float32: 1 inside the outline of the mesh, 0 outside and where fields fade out.
    """
    position = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(position * SIDE - SIDE / 2, position * SIDE - EYES_BELOW_TOP)

    inside = np.zeros((size, size), bool)
    corners = mesh[list(OUTLINE)]
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        crosses = (y0 > y) != (y1 > y)
        height = y1 - y0 if y1 != y0 else 1.0
        inside ^= crosses & (x < x0 + (y - y0) / height * (x1 - x0))

    away = (position > BORDER) & (position < 1 - BORDER)
    return (inside & away[:, None] & away[None]).astype(np.float32)


class PairSampler:
    """Draws pairs of frames of one clip, and frames with a change that the editor asks for.

    Half of the pairs are mirrored.

    Args:
        clips: of people who speak.
        batch: pairs, and as many changes.

    Raises:
        InputError: where no clip is long enough.
    """

    def __init__(self, clips: Sequence[TrackedClip], batch: int) -> None:
        self.clips = [clip for clip in clips if len(clip) >= LEAST_FRAMES]
        self.batch = batch
        if not self.clips:
            raise InputError(f"no clip of {LEAST_FRAMES} frames or more to learn from")

        lengths = np.array([len(clip) for clip in self.clips])
        self.chances = lengths / lengths.sum()

    def __call__(self, random: np.random.Generator) -> dict[str, Batch]:
        """Draw a batch.

        Returns:
            pairs: frames (B, 3, 3, C, C), truth (B, 1, 3, C, C) of the other frame, actions and
            change (B, 3, 52), inside (B, 1, 1, C, C). changes: the same without truth.
        """
        numbers = random.choice(len(self.clips), 2 * self.batch, p=self.chances)
        pairs = []
        changes = []
        for number in numbers[: self.batch]:
            pairs.append(draw_pair(self.clips[number], random))
        for number in numbers[self.batch :]:
            changes.append(_draw_change(self.clips[number], random))

        return {
            "pairs": _mirrored_half(_stacked(pairs), random),
            "changes": _mirrored_half(_stacked(changes), random),
        }


def draw_pair(clip: TrackedClip, random: np.random.Generator) -> Batch:
    """A frame with its neighbours, and another frame of the clip to draw from it.

    Args:
        clip: at least `LEAST_FRAMES` long.
        random: of the draw; of a few second frames the one whose actions differ most is taken.

    Returns:
        As one entry of a batch of `PairSampler`.
    """
    first = int(random.integers(len(clip)))
    others = np.arange(len(clip))
    others = others[np.abs(others - first) >= LEAST_GAP]
    candidates = random.choice(others, CANDIDATES)
    differences = np.abs(clip.actions[candidates] - clip.actions[first]).sum(1)
    second = int(candidates[differences.argmax()])

    sample = _window(clip, first)
    sample["truth"] = image_tensor(clip.crops[second : second + 1])
    change = clip.actions[second] - clip.actions[first]
    sample["change"] = torch.from_numpy(change).expand(3, -1)
    return sample


def _draw_change(clip: TrackedClip, random: np.random.Generator) -> Batch:
    """A frame with its neighbours, and a change that the editor asks for there."""
    first = int(random.integers(len(clip)))
    emotion = int(random.integers(len(clip.changes)))
    intensity = float(random.uniform(1 / 3, 1))

    sample = _window(clip, first)
    change = intensity * clip.changes[emotion, first]
    sample["change"] = torch.from_numpy(change).expand(3, -1)
    return sample


def _window(clip: TrackedClip, middle: int) -> Batch:
    """A frame of a clip and those 80 ms before and after, with their actions."""
    rows = np.clip([middle - 2, middle, middle + 2], 0, len(clip) - 1)
    return {
        "frames": image_tensor(clip.crops[rows]),
        "actions": torch.from_numpy(clip.actions[rows]),
        "inside": torch.from_numpy(clip.inside)[None, None],
    }


def _stacked(samples: Sequence[Batch]) -> Batch:
    """Samples as one batch."""
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def _mirrored_half(batch: Batch, random: np.random.Generator) -> Batch:
    """The batch with a drawn half of it mirrored."""
    mirrored = draw_mirrored(len(batch["frames"]), random)
    result = {}
    for name, values in batch.items():
        is_action = name in ("actions", "change")
        image = values[..., MIRRORED] if is_action else values.flip(-1)
        result[name] = mirror_where(mirrored, values, image)

    return result


def difference_inside(a: torch.Tensor, b: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference inside the face.

    Args:
        a: (B, 1, 3, C, C).
        b: (B, 1, 3, C, C).
        inside: (B, 1, 1, C, C), 1 inside and 0 outside.

    Returns:
        (B,).
    """
    difference = (a - b).abs().mean(2, keepdim=True) * inside
    return difference.flatten(1).sum(1) / inside.flatten(1).sum(1).clamp(min=1)


class FitObjective(nn.Module):
    """L1 to the other frame, to what the renderer drew before, and, if given, to the studio's.

    Args:
        renderer: to train; a copy of it as it is now says what is to be kept.
    """

    def __init__(self, renderer: ActionRenderer) -> None:
        super().__init__()
        self.renderer = renderer
        self.before = freeze(deepcopy(renderer))
        self.studio = RenderingObjective(renderer)

    def forward(self, batch: dict[str, Batch]) -> Terms:
        """Batch of `PairSampler`, and of `ChangeSampler` under `studio` -> {name: (B,)}."""
        pairs = batch["pairs"]
        edit = render_middle(self.renderer, pairs)
        terms = _picture_terms("redraw", edit.frames, pairs["truth"], pairs)
        terms |= smooth_flow_terms(edit.flow)
        terms |= rendered_painting_terms(edit, self.renderer)

        changes = batch["changes"]
        with torch.no_grad():
            rendered_before = render_middle(self.before, changes).frames
        rendered = render_middle(self.renderer, changes).frames
        terms |= _picture_terms("kept", rendered, rendered_before, changes)

        if "studio" in batch:
            for name, values in self.studio(batch["studio"]).items():
                terms[f"{STUDIO}{name}"] = values
        return terms


def _picture_terms(name: str, rendered: torch.Tensor, truth: torch.Tensor, batch: Batch) -> Terms:
    """The difference inside the face, in levels and relative to the change of the picture."""
    source = batch["frames"][:, 1:2]
    error = difference_inside(rendered, truth, batch["inside"])
    change = difference_inside(source, truth, batch["inside"])
    return {name: error, f"relative_{name}": error / (change + MIN_CHANGE)}


class MixedSampler:
    """Draws pairs of clips, and changed clips of the studio beside them.

    Args:
        pairs: of the clips.
        studio: of clips rendered with changed actions.
    """

    def __init__(self, pairs: PairSampler, studio: ChangeSampler) -> None:
        self.pairs = pairs
        self.studio = studio

    def __call__(self, random: np.random.Generator) -> dict[str, Batch]:
        """Draw a batch of `PairSampler`, with `studio` in it."""
        batch = self.pairs(random)
        batch["studio"] = self.studio(random)
        return batch


def fit_renderer(
    renderer: ActionRenderer,
    clips: Sequence[TrackedClip],
    steps: int,
    out: Path | None = None,
    studio: ChangeSampler | None = None,
    batch: int = 8,
    seed: int = 0,
) -> tuple[ActionRenderer, pd.DataFrame]:
    """Train a copy of a renderer on pairs of frames; the checkpoint is kept in `out`, and resumed.

    Args:
        renderer: to begin with; it stays as it is.
        clips: to learn from.
        steps: of training.
        out: folder of the checkpoint; None keeps none.
        studio: draws changed clips of the studio beside the pairs.
        batch: pairs, and as many changes.
        seed: of training.

    Returns:
        The fitted renderer, frozen, in eval mode, and the history of every term.

    Raises:
        InputError: where no clip is long enough.
    """
    fitted = deepcopy(renderer).requires_grad_(True)
    pairs = PairSampler(clips, batch)
    sampler = pairs if studio is None else MixedSampler(pairs, studio)
    weights = WEIGHTS | (FINE_WEIGHTS if renderer.fine_shading else {})
    if studio is not None:
        weights |= STUDIO_WEIGHTS
    loop = LoopConfig(
        steps=steps,
        learning_rate=LEARNING_RATE,
        weight_decay=0.0,
        seed=seed,
        save_every=SAVE_EVERY,
        weights=weights,
    )

    history = train(fitted, FitObjective(fitted), sampler, loop, out, "fit of the renderer")
    return fitted.eval().requires_grad_(False), history


@torch.no_grad()
def redrawing_errors(
    renderers: Sequence[ActionRenderer], clips: Sequence[TrackedClip], pairs: int = SCORED_PAIRS
) -> np.ndarray:
    """How well frames are drawn from other frames of their clip.

    Args:
        renderers: R of them, each on the same pairs.
        clips: on which they were not fitted.
        pairs: of each clip.

    Returns:
        (N, 1 + R): of each pair the mean absolute difference inside the face, of 255: of the frame
        that was drawn from, without any warp, and of what each renderer draws.
    """
    rows = []
    for number, clip in enumerate(clips):
        random = np.random.default_rng([number, 1303])
        batch = _stacked([draw_pair(clip, random) for _ in range(pairs)])
        truth = batch["truth"]
        inside = batch["inside"]
        columns = [difference_inside(batch["frames"][:, 1:2], truth, inside)]
        for renderer in renderers:
            rendered = render_middle(renderer, batch).frames
            columns.append(difference_inside(rendered, truth, inside))
        rows.append(torch.stack(columns, 1).numpy() * LEVELS)

    return np.concatenate(rows)


@torch.no_grad()
def kept_movement(
    before: ActionRenderer, after: ActionRenderer, clips: Sequence[TrackedClip], frames: int = 4
) -> float:
    """How much of an edit's movement a fit leaves.

    Args:
        before: the renderer before the fit.
        after: the renderer after it.
        clips: on which both draw every change that the editor asks for.
        frames: of each clip.

    Returns:
        Slope of the flow after on the flow before; 1 where nothing changes.
    """
    product = 0.0
    square = 0.0
    for clip in clips:
        for middle in np.linspace(2, len(clip) - 3, frames).round().astype(int):
            sample = _window(clip, int(middle))
            number = len(clip.changes)
            batch = _stacked([sample] * number)
            changes = torch.from_numpy(clip.changes[:, middle])
            batch["change"] = changes[:, None].expand(-1, 3, -1)
            flow_before = render_middle(before, batch).flow
            flow_after = render_middle(after, batch).flow
            product += float((flow_before * flow_after).sum())
            square += float(flow_before.square().sum())

    return product / square if square else 1.0
