"""Training of the neural renderer on clips rendered with their facial actions changed.

Each clip and its changed copy are a pair with exact pixels; no true edit is among them. The changes
are those that the action manipulator with CDRL makes, so the renderer knows the changes of this
manipulator best; that favours the CDRL row over the others that it draws.

The picture of a change is determined by the source and the change, so L1 does not shrink it, as it
shrinks what it cannot know: the image editor trained on the pixels of true edits (`paired`) learns
to do little. To L1 a cheek is worth as much as the lips that speak beside it, so a second part of
the training also compares features of the vision prior.
"""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from cdrl.core.checkpoint import freeze
from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS, EMOTIONS
from cdrl.corpora.batches import load_images, window_rows
from cdrl.corpora.store import Store
from cdrl.editors.actions import edit_actions
from cdrl.editors.objective import Terms, mean_difference, painting_terms, smooth_flow_terms
from cdrl.editors.samplers import (
    WINDOW,
    Batch,
    check_lengths,
    draw_mirrored,
    draw_starts,
    mirror_boxes,
    mirror_where,
    numbers_of_clips,
)
from cdrl.models.action_networks import ActionManipulator
from cdrl.models.action_renderer import ActionRenderer
from cdrl.models.field_network import Edit, roi_mask
from cdrl.models.image_editor import LOWEST_LEVEL, MAX_INTENSITY
from cdrl.priors.actions import TrackedActions
from cdrl.priors.vision import VisionPrior
from cdrl.studio.changes import source_of
from cdrl.studio.expression import ACTION_UNITS
from cdrl.training.joint import joint_forward
from cdrl.training.loop import LoopConfig, train

PIXELS = "pixels"  # the first part of training: what the frames look like
PERCEPTUAL = "perceptual"  # the second: also which features the vision prior extracts from them
# `relative_l1` is L1 over the size of the change: a faint change counts as much as a strong one.
PIXEL_WEIGHTS = {
    "truth": 60.0,
    "relative_l1": 0.2,
    "bending": 1.0,
    "stretching": 30.0,
    "shading": 0.5,
    "residual": 5.0,
}
WEIGHTS = {PIXELS: PIXEL_WEIGHTS, PERCEPTUAL: PIXEL_WEIGHTS | {"perceptual": 5.0}}
# Of a renderer with fine shading, which may bend more sharply too.
FINE_WEIGHTS = {"bending": 0.5, "darkening": 2.0}
LEARNING_RATES = {PIXELS: 3e-3, PERCEPTUAL: 1e-3}
STRIDE = WINDOW // 2  # the renderer looks at the first, the middle and the last frame of a window
MIN_CHANGE = 0.003  # grey levels: below this a picture is hardly changed
SCORED_BATCH = 24  # frames
SIDES = {"Left": "Right", "Right": "Left"}
# How changes are varied, see `sample_changes`.
GROUPS = [
    [number for number, name in enumerate(ACTIONS) if name.startswith(prefix)]
    for prefix in ("brow", "cheek", "eyeBlink", "eyeSquint", "eyeWide", "jaw", "mouth", "nose")
]
GROUP_SCATTER = 0.5  # of the logarithm of a group's scale
MOST_UNITS = 2
UNITS = tuple(ACTION_UNITS)
UNIT_STRENGTH = (-0.5, 1.0)
LEAST_SIDE = 0.5  # of a unit's strength, on the side of the face that has less


def _mirrored_action(name: str) -> str:
    """The same action on the other side of the face."""
    for side, other_side in SIDES.items():
        if name.endswith(side):
            return name.removesuffix(side) + other_side
    return name


# For each action the index of the same action on the other side of the face.
MIRRORED = [ACTIONS.index(_mirrored_action(name)) for name in ACTIONS]


def sample_changes(
    manipulator: ActionManipulator,
    tracked: TrackedActions,
    number: int,
    seed: int = 0,
    varied: bool = False,
) -> list[tuple[int, np.ndarray]]:
    """Changes of facial actions to learn to render.

    Edits of clips drawn by lot, emotions in turn, at intensities from 1/3 to 1.5. No true edit is
    involved.

    Args:
        manipulator: edits the actions.
        tracked: the people whose clips are changed.
        number: of changes.
        seed: of the draw.
        varied: scale each group of actions, and add up to two action units, by lot: what the
            default editor asks of a real face is not what the manipulator asks of a rendered one.

    Returns:
        (number of a clip, change (T, 52)) each, as `changes.render_changes` takes them.
    """
    random = np.random.default_rng([seed, 4711])

    changes = []
    for turn in range(number):
        clip = int(random.integers(len(tracked.clips)))
        emotion = EMOTIONS[turn % len(EMOTIONS)]
        intensity = float(random.uniform(LOWEST_LEVEL, MAX_INTENSITY))

        actions = tracked.clip(clip)
        change = edit_actions(manipulator, actions, emotion, intensity) - actions
        changes.append((clip, _vary(change, random) if varied else change))

    return changes


def _vary(change: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A change (T, 52) with its groups of actions scaled, and up to two action units added."""
    change = change.copy()
    for group in GROUPS:
        change[:, group] *= np.exp(random.normal(0, GROUP_SCATTER))

    for _ in range(random.integers(MOST_UNITS + 1)):
        unit = UNITS[random.integers(len(UNITS))]
        strength = random.uniform(*UNIT_STRENGTH)
        for action in ACTION_UNITS[unit]:
            change[:, ACTIONS.index(action)] += strength * random.uniform(LEAST_SIDE, 1)

    return change


class ChangeSampler:
    """Draws the middle of five frames with the first and the last, and what is changed.

    Half of the windows are mirrored.

    Args:
        store: clips of training people.
        changed: their changed copies, of `changes.render_changes`.
        actions: (N, 52) tracked in `store`.
        batch: windows.

    Raises:
        InputError: where a changed clip is not as long as its source, or none has five frames.
    """

    def __init__(self, store: Store, changed: Store, actions: np.ndarray, batch: int):
        self.store = store
        self.changed = changed
        self.actions = actions
        self.batch = batch

        sources = [source_of(name) for name in changed.clips.name]
        self.origin = numbers_of_clips(store, sources)
        check_lengths(store, changed, self.origin)

        self.length = changed.clips["num_frames"].to_numpy()
        self.boxes = store.mouth_boxes()
        self.usable = np.flatnonzero(self.length >= WINDOW)
        if not len(self.usable):
            raise InputError(f"{changed.path}: no clip of {WINDOW} frames or more")

    def __call__(self, random: np.random.Generator) -> Batch:
        """Draw a batch; C is the size of the crops.

        Returns:
            frames (B, 3, 3, C, C), truth (B, 1, 3, C, C) of the middle frame, actions and change
            (B, 3, 52), boxes (B, 4) of the mouths.
        """
        clips = random.choice(self.usable, self.batch)
        starts = draw_starts(self.length[clips], WINDOW, random)
        mirrored = draw_mirrored(self.batch, random)
        windows = self._source_windows(clips, starts) | self._changed_windows(clips, starts)
        actions = windows["actions"]
        change = windows["change"]
        mirror_image = {
            "frames": windows["frames"].flip(-1),
            "truth": windows["truth"].flip(-1),
            "actions": actions[..., MIRRORED],
            "change": change[..., MIRRORED],
            "boxes": mirror_boxes(windows["boxes"]),
        }

        batch = {}
        for name, values in windows.items():
            batch[name] = mirror_where(mirrored, values, mirror_image[name])
        return batch

    def _source_windows(self, clips: np.ndarray, starts: np.ndarray) -> Batch:
        """frames, actions and boxes of windows of the sources of changed clips (B,)."""
        rows = window_rows(self.store, self.origin[clips], starts, WINDOW)
        rows = rows[:, ::STRIDE]
        images = load_images(self.store, rows.ravel())
        middle = rows[:, 1]
        return {
            "frames": images.unflatten(0, rows.shape),
            "actions": _single_precision(self.actions[rows]),
            "boxes": _single_precision(self.boxes[middle]),
        }

    def _changed_windows(self, clips: np.ndarray, starts: np.ndarray) -> Batch:
        """Truth and change of windows of changed clips (B,)."""
        rows = window_rows(self.changed, clips, starts, WINDOW)
        rows = rows[:, ::STRIDE]
        middle = rows[:, 1]
        truth = load_images(self.changed, middle)
        change = _single_precision(self.changed.truth["change"][rows.ravel()])
        return {"truth": truth[:, None], "change": change.unflatten(0, rows.shape)}


def _single_precision(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))


def render_middle(renderer: ActionRenderer, batch: Batch) -> Edit:
    """The middle frames (B, 1, 3, C, C) of a batch of `ChangeSampler`, rendered."""
    middle = slice(1, 2)
    frames = batch["frames"]
    return joint_forward(renderer, frames, batch["actions"], batch["change"], middle, 1)


class RenderingObjective(nn.Module):
    """L1 to the changed frame, in grey levels and relative to the change; and size of the fields.

    Args:
        renderer: to train.
        vision: where it is given, a term `perceptual` too, see `perceptual_difference`.
    """

    def __init__(self, renderer: ActionRenderer, vision: VisionPrior | None = None):
        super().__init__()
        self.renderer = renderer
        self.vision = None if vision is None else freeze(vision)

    def forward(self, batch: Batch) -> Terms:
        """Batch of `ChangeSampler` -> {name: (B,) values}."""
        truth = batch["truth"]
        source = batch["frames"][:, 1:2]
        edit = render_middle(self.renderer, batch)
        error = mean_difference(edit.frames, truth)
        change = mean_difference(source, truth)
        perceptual = {}
        if self.vision is not None:
            rendered = edit.frames[:, 0]
            perceptual["perceptual"] = perceptual_difference(
                self.vision, rendered, truth[:, 0], batch["boxes"]
            )

        terms = {"truth": error}
        terms["relative_l1"] = error / (change + MIN_CHANGE)
        terms |= smooth_flow_terms(edit.flow)
        terms |= rendered_painting_terms(edit, self.renderer)
        return terms | perceptual


def rendered_painting_terms(edit: Edit, renderer: ActionRenderer) -> Terms:
    """Size of what a renderer paints.

    Args:
        edit: by that renderer.
        renderer: with fine shading, a mouth that opens may get dark at little cost.

    Returns:
        shading, squared in percent, and residual, absolute; with fine shading the former outside
        the mouth, and darkening, absolute, inside it. (B,) each.
    """
    if not renderer.fine_shading:
        return painting_terms(edit)

    mouth = roi_mask(edit.shading.shape[-1], ("mouth",)).to(edit.shading)
    outside = edit._replace(shading=edit.shading * (1 - mouth))
    darkening = (edit.shading * mouth).abs().flatten(1).mean(1)
    return painting_terms(outside) | {"darkening": darkening}


def perceptual_difference(
    vision: VisionPrior, rendered: torch.Tensor, truth: torch.Tensor, boxes: torch.Tensor
) -> torch.Tensor:
    """Mean squared difference of face features plus that of mouth features (arXiv:1603.08155).

    Args:
        vision: extracts the features.
        rendered: (B, 3, H, W) in [0, 1]; the gradient goes here alone.
        truth: (B, 3, H, W) in [0, 1].
        boxes: (B, 4) of the mouths.

    Returns:
        (B,); 0 for the same pictures, about 0.19 between a source and its changed frame.
    """
    with torch.no_grad():
        true_face, true_mouth = vision(truth, boxes)

    face, mouth = vision(rendered, boxes)
    face_difference = (face - true_face).square()
    mouth_difference = (mouth - true_mouth).square()
    return face_difference.mean(1) + mouth_difference.mean(1)


def train_action_renderer(
    store: Store,
    changed: Store,
    actions: np.ndarray,
    steps: dict[str, int],
    out: Path,
    batch: int = 24,
    seed: int = 0,
    start: ActionRenderer | None = None,
) -> tuple[ActionRenderer, dict[str, pd.DataFrame]]:
    """Train in two parts; the checkpoints are kept under `out`, and resumed.

    Args:
        store: clips of training people.
        changed: their changed copies, of `changes.render_changes`.
        actions: (N, 52) tracked in `store`.
        steps: of the parts `pixels` and `perceptual`.
        out: folder of the checkpoints.
        batch: windows.
        seed: of training.
        start: a renderer to begin with; None begins with nothing.

    Returns:
        The renderer, frozen, in eval mode, and of each part the history of every term.
    """
    torch.manual_seed(seed)
    renderer = ActionRenderer() if start is None else deepcopy(start).requires_grad_(True)
    sampler = ChangeSampler(store, changed, actions, batch)
    history = {}
    for part, learning_rate in LEARNING_RATES.items():
        vision = VisionPrior() if part == PERCEPTUAL else None
        objective = RenderingObjective(renderer, vision)
        weights = WEIGHTS[part] | (FINE_WEIGHTS if renderer.fine_shading else {})
        loop = LoopConfig(
            steps=steps[part], learning_rate=learning_rate, seed=seed, weights=weights
        )
        checkpoint = Path(out) / part
        title = f"action renderer, {part}"
        history[part] = train(objective, objective, sampler, loop, checkpoint, title)

    return renderer.eval().requires_grad_(False), history


def with_fine_shading(renderer: ActionRenderer) -> ActionRenderer:
    """A copy of a renderer that may shade finely, and does not yet.

    Args:
        renderer: without fine shading.
    """
    fine = ActionRenderer(**(renderer.config | {"fine_shading": True}))
    fine.load_state_dict(renderer.state_dict(), strict=False)
    return fine


@torch.no_grad()
def rendering_scores(
    renderer: ActionRenderer, store: Store, changed: Store, actions: np.ndarray, batches: int = 40
) -> dict[str, float]:
    """How well changes of other people are rendered.

    Args:
        renderer: to score.
        store: clips of people that the renderer never saw.
        changed: their changed copies, of `changes.render_changes`.
        actions: (N, 52) tracked in `store`.
        batches: to score, of 24 frames.

    Returns:
        Means over frames: psnr, in dB, of the middle frames; psnr.source, of the unchanged source;
        n: frames.
    """
    sampler = ChangeSampler(store, changed, actions, SCORED_BATCH)
    rendered_psnr = []
    source_psnr = []
    for number in range(batches):
        random = np.random.default_rng([number, 77])
        batch = sampler(random)
        truth = batch["truth"]
        source = batch["frames"][:, 1:2]
        rendered = render_middle(renderer, batch).frames
        rendered_psnr += _psnr(rendered, truth)
        source_psnr += _psnr(source, truth)

    return {
        "psnr": float(np.mean(rendered_psnr)),
        "psnr.source": float(np.mean(source_psnr)),
        "n": len(rendered_psnr),
    }


def _psnr(frames: torch.Tensor, truth: torch.Tensor) -> list[float]:
    """Peak signal-to-noise ratio in dB of B frames (B, 1, 3, H, W), at most 80."""
    mean_square = (frames - truth).square().flatten(1).mean(1)
    return (-10 * mean_square.clamp(min=1e-8).log10()).tolist()
