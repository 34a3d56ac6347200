"""Training of the action manipulator: SPFEM on facial actions, on unpaired windows.

With CDRL guidance and, term for term the same, without. Most steps are guided by students that see
facial actions; the last ones may be guided by the encoders themselves, on the pixels that the
renderer draws of the edited actions.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from cdrl.core.checkpoint import freeze, save_network
from cdrl.core.errors import InputError
from cdrl.core.settings import ActionsConfig
from cdrl.core.vocabulary import ACTIONS
from cdrl.corpora.store import Store
from cdrl.editors.actions import KIND, RENDERER
from cdrl.editors.base import EditorCard, card_entries
from cdrl.editors.objective import (
    EditGuidance,
    Terms,
    adversarial_terms,
    change_acceleration,
    correlation,
    emotion_targets,
    guided_terms,
    scaled_difference,
)
from cdrl.editors.paired import PairedActionObjective, PairedActionSampler, TrackedEdits
from cdrl.editors.samplers import ActionWindowSampler, Batch, middle_frames
from cdrl.editors.variants import Weights, action_weights, measurable_weights
from cdrl.models.action_networks import ActionDiscriminator, ActionManipulator
from cdrl.models.action_renderer import ActionRenderer
from cdrl.priors.actions import TrackedActions
from cdrl.representation.distillation import ActionGuidance, feature_stats
from cdrl.training.group import run_in_group, starts_group
from cdrl.training.joint import is_first, joint_forward
from cdrl.training.loop import LoopConfig, read_history, train

JAW = ACTIONS.index("jawOpen")
PIXEL_BATCH = 8  # windows in a batch of the last steps, at most
PIXEL_LEARNING_RATE = 0.25  # of that of the steps before


class ActionWindowGuidance(nn.Module):
    """Distilled CDRL guidance of windows of facial actions.

    The target is the prototype of the label, or where the style is that of the reference window,
    its emotion embedding.

    Args:
        guidance: frozen from now on.
        contrast: whether the content term contrasts moments, see `ActionGuidance.content_contrast`.
    """

    def __init__(self, guidance: ActionGuidance, contrast: bool = False):
        super().__init__()
        self.guidance = freeze(guidance)
        self.contrast = contrast

    def content(self, batch: Batch, output: torch.Tensor) -> torch.Tensor:
        """(B,) how far the content of output (B, T, 52) is from that of the source."""
        if self.contrast:
            return self.guidance.content_contrast(batch["source"], output)
        return self.guidance.content(batch["source"], output)

    def emotion(self, batch: Batch, output: torch.Tensor) -> torch.Tensor:
        """(B,) 1 - cos of the emotions of target and output (B, T, 52)."""
        intensity = batch["target_intensity"]
        is_reference = takes_reference(batch)[:, None]

        with torch.no_grad():
            labels = emotion_targets(self.guidance, batch["target"], intensity)
            references = self.guidance.emotion_student(batch["reference"])
            targets = torch.where(is_reference, references, labels)

        return self.guidance.emotion(output, embedding=targets)


def takes_reference(batch: Batch) -> torch.Tensor:
    """(B,) bool: every other window takes the style of its reference, the others of a label."""
    source = batch["source"]
    return torch.arange(len(source), device=source.device) % 2 == 1


class ActionDrawing(nn.Module):
    """Draws the five middle frames of windows of edited actions; differentiable to the actions.

    Args:
        renderer: frozen from now on.
    """

    def __init__(self, renderer: ActionRenderer):
        super().__init__()
        self.renderer = freeze(renderer)

    def forward(self, batch: Batch, output: torch.Tensor) -> torch.Tensor:
        """Draw.

        Args:
            batch: of `ActionWindowSampler` with a store.
            output: (B, T, 52) edited actions of its windows.

        Returns:
            (B, 5, 3, 64, 64) RGB in [0, 1].
        """
        middle = middle_frames(output.shape[1])
        source = batch["source"][:, middle]
        change = output[:, middle] - source
        return joint_forward(self.renderer, batch["frames"], source, change).frames


@dataclass(frozen=True)
class PixelSupervision:
    """What the last steps need to compute the CDRL terms on drawn pixels.

    Attributes:
        store: the clips whose actions were tracked.
        renderer: draws edited actions.
        guidance: CDRL on windows of five frames.
    """

    store: Store
    renderer: ActionRenderer
    guidance: EditGuidance


class ActionObjective(nn.Module):
    """The terms of the manipulator on one batch.

    Manipulator and discriminator are trained together, by one optimiser.

    Terms, each one value per sample:
        discriminator, adversarial: see `adversarial_terms`.
        cycle: L1, in units of std, after the edit back.
        reconstruction: L1, in units of std, after an edit to what it already is.
        style: L1 of the style read from the output to the target style.
        speech: 1 - Pearson r of the jaw's opening, output against source (NED's).
        temporal_smoothness: squared acceleration of the change.
        content, emotion: CDRL guidance, see `guided_terms`.

    Args:
        manipulator: to train.
        discriminator: its adversary.
        weights: of the terms; a guided term of weight 0 is measured without a gradient.
        guidance: of edited actions, or of the pixels drawn of them; None: no guided terms.
        drawing: draws what the guidance sees; None: it sees the edited actions.
        view: what the discriminator sees of actions, (B, T, 52) -> (B, T, 52), frozen from now on;
            None: the actions.
    """

    def __init__(
        self,
        manipulator: ActionManipulator,
        discriminator: ActionDiscriminator,
        weights: Weights,
        guidance: EditGuidance | None,
        drawing: ActionDrawing | None = None,
        view: nn.Module | None = None,
    ):
        super().__init__()
        self.manipulator = manipulator
        self.discriminator = discriminator
        self.weights = weights
        self.guidance = guidance
        self.drawing = drawing
        self.view = None if view is None else freeze(view)

    def forward(self, batch: Batch) -> Terms:
        """Batch of `ActionWindowSampler` -> {name: (B,) values}."""
        source = batch["source"]
        manipulator = self.manipulator
        std = manipulator.std

        target_style = self._style(batch, batch["reference"], batch["target"])
        source_style = self._style(batch, source, batch["emotion"])
        output = joint_forward(manipulator, source, target_style, batch["target_intensity"])

        terms = adversarial_terms(self.discriminator, source, output, batch, self.view)
        back = joint_forward(manipulator, output, source_style, batch["intensity"])
        terms["cycle"] = scaled_difference(back, source, std)
        same = joint_forward(manipulator, source, source_style, batch["intensity"])
        terms["reconstruction"] = scaled_difference(same, source, std)

        output_style = manipulator.style_encoder(output)
        style_difference = (output_style - target_style.detach()).abs()
        terms["style"] = style_difference.mean(1)

        jaw_correlation = correlation(output[..., JAW], source[..., JAW])
        terms["speech"] = 1 - jaw_correlation
        terms["temporal_smoothness"] = change_acceleration(output, source, std)

        seen = output if self.drawing is None else self.drawing(batch, output)
        terms |= guided_terms(self.guidance, self.weights, batch, seen)
        return terms

    def _style(self, batch: Batch, window: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """(B, 16): the style of windows (B, T, 52) or of labels (B,), see `takes_reference`."""
        window_style = self.manipulator.style_encoder(window)
        label_style = self.manipulator.label_style(label)
        return torch.where(takes_reference(batch)[:, None], window_style, label_style)


def train_action_manipulator(
    tracked: TrackedActions,
    guidance: EditGuidance | None,
    config: ActionsConfig,
    variant: str,
    out: Path,
    edits: TrackedEdits | None = None,
    pixels: PixelSupervision | None = None,
    card: dict[str, Any] | None = None,
    view: nn.Module | None = None,
) -> tuple[ActionManipulator, pd.DataFrame]:
    """Train one variant.

    Writes `model.safetensors`, `model.json`, `history.parquet` under `out`; resumes. With
    `config.devices` above one, as many processes train it as one, see `training.engine`.

    Args:
        tracked: training people.
        guidance: `ActionWindowGuidance` of what `distil` gives; None where neither of its terms has
            a weight, they are not measured then.
        config: settings of training.
        variant: name in `ACTION_VARIANTS`.
        out: folder of the weights and of the checkpoint.
        edits: true edits of training people, for `paired` only.
        pixels: for the last `config.pixel_steps` steps; None: all steps are guided on actions.
        card: further entries of the card file.
        view: what the discriminator sees, see `ActionObjective`.

    Returns:
        The manipulator, frozen, in eval mode, and the history of every term; its column `pixels` is
        1 for the steps whose guided terms were measured on drawn pixels.

    Raises:
        InputError: unknown variant, guidance that is missing, true edits that are missing or given
            to an unpaired variant.
    """
    weights = action_weights(variant, config)
    if (variant == "paired") != (edits is not None):
        use = "needed" if variant == "paired" else "for `paired` alone, no other may see them"
        raise InputError(f"variant {variant!r}: true edits are {use}")
    weights = measurable_weights(weights, guidance is not None, variant)
    title = f"action manipulator, {variant}"
    if starts_group(config.devices):
        arguments = (tracked, guidance, config, variant, out, edits, pixels, card, view)
        run_in_group(train_action_manipulator, arguments, config.devices, config.device, title)
        return ActionManipulator.from_pretrained(out), read_history(out)

    torch.manual_seed(config.seed)
    mean, std = feature_stats(tracked.coefficients)
    manipulator = ActionManipulator(mean, std)
    objective: nn.Module
    apart: nn.Module | None = None
    sampler: PairedActionSampler | ActionWindowSampler
    if edits is not None:
        objective = PairedActionObjective(manipulator)
        sampler = PairedActionSampler(edits, config.batch, config.window)
    else:
        discriminator = ActionDiscriminator() if view else ActionDiscriminator(mean, std)
        objective = ActionObjective(manipulator, discriminator, weights, guidance, view=view)
        apart = discriminator if config.clip_apart else None
        sampler = ActionWindowSampler(tracked, config.batch, config.window)

    loop = _loop_config(config, weights)
    checkpoint = Path(out) / "training"
    history = train(objective, objective, sampler, loop, checkpoint, title, apart)
    if pixels is not None and config.pixel_steps and isinstance(objective, ActionObjective):
        last = _train_on_pixels(tracked, pixels, objective, config, out, title)
        last["step"] += config.steps
        history = pd.concat([history.assign(pixels=0.0), last.assign(pixels=1.0)])
    if not is_first():
        return manipulator, history

    entries = {
        "model": {},
        "variant": variant,
        "weights": weights,
        "steps": config.steps,
        "people": int(tracked.clips.speaker.nunique()),
    }
    save_network(out, manipulator, entries | (card or {}), history)
    return manipulator, history


def _loop_config(config: ActionsConfig, weights: Weights) -> LoopConfig:
    return LoopConfig(
        steps=config.steps,
        learning_rate=config.learning_rate,
        seed=config.seed,
        weights=weights,
        device=config.device,
        precision=config.precision,
        micro_batches=config.micro_batches,
        compiled=config.compiled,
        tracker=config.tracker,
    )


def _train_on_pixels(
    tracked: TrackedActions,
    pixels: PixelSupervision,
    trained: ActionObjective,
    config: ActionsConfig,
    out: Path,
    title: str,
) -> pd.DataFrame:
    """Train the same networks on, with the guided terms on drawn pixels; the history."""
    drawing = ActionDrawing(pixels.renderer)
    objective = ActionObjective(
        trained.manipulator,
        trained.discriminator,
        trained.weights,
        pixels.guidance,
        drawing,
        trained.view,
    )
    apart = trained.discriminator if config.clip_apart else None
    batch = min(config.batch, PIXEL_BATCH)
    sampler = ActionWindowSampler(tracked, batch, config.window, pixels.store)

    loop = replace(
        _loop_config(config, trained.weights),
        steps=config.pixel_steps,
        learning_rate=PIXEL_LEARNING_RATE * config.learning_rate,
    )
    checkpoint = Path(out) / "training_on_pixels"
    return train(objective, objective, sampler, loop, checkpoint, f"{title}, on pixels", apart)


def editor_entries(card: EditorCard, folder: Path) -> dict[str, Any]:
    """The entries of the card file of a trained manipulator that `load_editor` needs.

    Args:
        card: of the editor.
        folder: where the manipulator is written.
    """
    return {"editor": KIND, "renderer": RENDERER} | card_entries(card, folder)
