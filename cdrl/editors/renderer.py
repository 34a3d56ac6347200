"""Teach the neural renderer to draw: clips of training people rendered with their facial actions changed, pixel for pixel.

Each clip and its changed copy are a pair with exact pixels; no true edit is among them. The changes are those that the coefficient host
with CDRL asks for, so the renderer knows this host's changes best; that favours the CDRL row over the others that it draws.

The picture of a change is determined by the source and the change, so L1 does not shrink it, as it shrinks what it cannot know:
the same host taught the pixels of true edits (`paired`) learns to do little. To L1 a cheek is worth as much as the lips that
speak beside it, so a second part of the training also compares what the vision prior sees.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS
from cdrl.corpora.batches import images, windows
from cdrl.corpora.store import Store
from cdrl.editors.image import WINDOW
from cdrl.losses.fields import bending, stretching
from cdrl.models.action_renderer import ActionRenderer
from cdrl.models.image_editor import Edit
from cdrl.priors.vision import VisionPrior
from cdrl.studio.changes import source_of
from cdrl.training.loop import LoopConfig, train

# `share` is L1 as a share of what is to be changed: a faint change counts as much as a strong one.
WEIGHTS = {
    "truth": 60.0,
    "relative_l1": 0.2,
    "bending": 1.0,
    "stretching": 30.0,
    "shading": 0.5,
    "residual": 5.0,
}
SEEN = 5.0  # weight of what the vision prior sees, in the second part
LEARNING_RATES = {"pixels": 3e-3, "perceptual": 1e-3}  # of the two parts
STEP = (
    WINDOW // 2
)  # the first, the middle and the last frame are what the renderer looks at: its stride
STILL = 0.003  # grey levels: below this a picture is hardly changed
_OTHER = {"Left": "Right", "Right": "Left"}
# Place of the same action on the other side of the face.
MIRRORED = [
    ACTIONS.index(
        next(
            (name[: -len(side)] + other for side, other in _OTHER.items() if name.endswith(side)),
            name,
        )
    )
    for name in ACTIONS
]


class ChangeSampler:
    """Draws the middle of five frames with the first and the last, what they show, what is changed; half of them in a mirror.

    Args:
        store: clips of training people. changed: of `changes.render_changes`. actions: (N, 52) tracked in `store`. batch: windows.

    Raises:
        InputError: where a changed clip is not as long as its source, or none has five frames.
    """

    def __init__(self, store: Store, changed: Store, actions: np.ndarray, batch: int):
        self.store, self.changed, self.actions, self.batch = store, changed, actions, batch
        number = {name: k for k, name in enumerate(store.clips.name)}
        self.origin = np.array([number[source_of(name)] for name in changed.clips.name])
        self.length = changed.clips["num_frames"].to_numpy()
        wrong = np.flatnonzero(self.length != store.clips["num_frames"].to_numpy()[self.origin])
        if len(wrong):
            raise InputError(
                f"{changed.path}: {changed.clips.name[wrong[0]]} is not as long as its source in {store.path}: render it anew"
            )
        self.boxes = store.mouth_boxes()
        self.usable = np.flatnonzero(self.length >= WINDOW)
        if not len(self.usable):
            raise InputError(f"{changed.path}: no clip of {WINDOW} frames or more")

    def __call__(self, random: np.random.Generator) -> dict:
        """-> frames (B, 3, 3, C, C), the middle's truth (B, 1, 3, C, C), actions, change (B, 3, 52), mouth boxes (B, 4); C of the stores."""
        chosen = random.choice(self.usable, self.batch)
        starts = random.integers(0, self.length[chosen] - WINDOW + 1)
        clips = ((self.store, self.origin[chosen]), (self.changed, chosen))
        before, after = (
            windows(store, numbers, starts, WINDOW)[:, ::STEP] for store, numbers in clips
        )
        actions, change = (
            self.actions[before],
            self.changed.truth["change"][after.ravel()].reshape(*after.shape, -1),
        )
        frames = images(self.store, before.ravel()).unflatten(0, before.shape)
        truth = images(self.changed, after[:, 1])[:, None]
        turned = torch.from_numpy(random.random(self.batch) < 0.5)

        def mirror(values, flipped):
            return torch.where(turned.view(-1, *[1] * (values.ndim - 1)), flipped, values)

        actions, change, boxes = (
            torch.from_numpy(np.asarray(v, np.float32))
            for v in (actions, change, self.boxes[before[:, 1]])
        )
        left, top, right, bottom = boxes.unbind(1)
        return {
            "frames": mirror(frames, frames.flip(-1)),
            "truth": mirror(truth, truth.flip(-1)),
            "actions": mirror(actions, actions[..., MIRRORED]),
            "change": mirror(change, change[..., MIRRORED]),
            "boxes": mirror(boxes, torch.stack([1 - right, top, 1 - left, bottom], 1)),
        }


def render_middle(renderer: ActionRenderer, batch: dict) -> Edit:
    """The middle frames (B, 1, 3, C, C) of a batch of `ChangeSampler`, drawn."""
    return renderer(batch["frames"], batch["actions"], batch["change"], slice(1, 2), stride=1)


class RenderingObjective(nn.Module):
    """L1 to the changed frame, in grey levels and as a share of what was to be changed; and the size of the fields.

    Args:
        vision: where it is given, a term `seen` too: squared difference of face and mouth features to those of the changed frame.
    """

    def __init__(self, renderer: ActionRenderer, vision: VisionPrior | None = None):
        super().__init__()
        self.renderer = renderer
        self.__dict__["vision"] = vision  # frozen: no part of what is trained and kept

    def forward(self, batch: dict) -> dict:
        """Batch of `ChangeSampler` -> {name: (B,) values}."""
        drawn, source = render_middle(self.renderer, batch), batch["frames"][:, 1:2]
        left, asked = (
            (picture - batch["truth"]).abs().flatten(1).mean(1)
            for picture in (drawn.frames, source)
        )
        seen = (
            {}
            if self.vision is None
            else {
                "perceptual": perceptual_difference(
                    self.vision, drawn.frames[:, 0], batch["truth"][:, 0], batch["boxes"]
                )
            }
        )
        return {
            "truth": left,
            "relative_l1": left / (asked + STILL),
            "bending": bending(drawn.flow),
            "stretching": stretching(drawn.flow),
            "shading": drawn.shading.square().flatten(1).mean(1) * 100,
            "residual": drawn.residual.abs().flatten(1).mean(1),
        } | seen


def perceptual_difference(
    vision: VisionPrior, drawn: torch.Tensor, truth: torch.Tensor, boxes: torch.Tensor
) -> torch.Tensor:
    """What the vision prior sees to differ: mean squares of face and of mouth features (a perceptual loss, arXiv 1603.08155).

    Args:
        drawn, truth: (B, 3, H, W) in [0, 1]. boxes: (B, 4) of the mouths. The gradient goes to `drawn` alone.

    Returns:
        (B,); 0 for the same pictures, about 0.19 between a source and its changed frame.
    """
    with torch.no_grad():
        wanted = vision(truth, boxes)
    return sum(
        (one - other).square().mean(1)
        for one, other in zip(vision(drawn, boxes), wanted, strict=True)
    )


def train_action_renderer(
    store: Store,
    changed: Store,
    actions: np.ndarray,
    steps: dict,
    out: Path,
    batch: int = 24,
    seed: int = 0,
) -> tuple[ActionRenderer, dict[str, pd.DataFrame]]:
    """Train from nothing in two parts; the checkpoints are kept under `out`, and resumed.

    Args:
        store, changed: as `ChangeSampler` takes them. actions: (N, 52) tracked in `store`.
        steps: of the parts `pixels` (what the frames look like) and `seen` (what the vision prior sees in them, too).

    Returns:
        The renderer, frozen, in eval mode, and of each part the history of every term.
    """
    torch.manual_seed(seed)
    renderer, sampler, history = ActionRenderer(), ChangeSampler(store, changed, actions, batch), {}
    for part, rate in LEARNING_RATES.items():
        weights, vision = (
            (WEIGHTS, None) if part == "pixels" else (WEIGHTS | {"perceptual": SEEN}, VisionPrior())
        )
        objective = RenderingObjective(renderer, vision)
        loop = LoopConfig(steps=steps[part], learning_rate=rate, seed=seed, weights=weights)
        history[part] = train(
            objective, objective, sampler, loop, Path(out) / part, f"action renderer, {part}"
        )
    return renderer.eval().requires_grad_(False), history


@torch.no_grad()
def rendering_scores(
    renderer: ActionRenderer, store: Store, changed: Store, actions: np.ndarray, batches: int = 40
) -> dict:
    """How well changes of other people are drawn: `psnr` in dB of the middle frames, and `psnr.source` of drawing nothing.

    Args:
        store, changed: as `ChangeSampler` takes them, of people that the renderer never saw. actions: (N, 52) tracked in `store`.

    Returns:
        Means over frames; n: frames.
    """
    sampler, found, nothing = ChangeSampler(store, changed, actions, 24), [], []
    for k in range(batches):
        batch = sampler(np.random.default_rng([k, 77]))
        for picture, kept in (
            (render_middle(renderer, batch).frames, found),
            (batch["frames"][:, 1:2], nothing),
        ):
            kept += (
                -10 * (picture - batch["truth"]).square().flatten(1).mean(1).clamp(min=1e-8).log10()
            ).tolist()
    return {"psnr": float(np.mean(found)), "psnr.source": float(np.mean(nothing)), "n": len(found)}
