"""Training of the action manipulator: SPFEM on facial actions, on unpaired windows.

With CDRL guidance and, term for term the same, without.
"""

from pathlib import Path

import pandas as pd
import torch
from torch import nn

from cdrl.core.checkpoint import freeze, save_network
from cdrl.core.errors import InputError
from cdrl.core.settings import ActionsConfig
from cdrl.core.vocabulary import ACTIONS
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
from cdrl.editors.samplers import ActionWindowSampler, Batch
from cdrl.editors.variants import Weights, action_weights, measurable_weights
from cdrl.models.action_networks import ActionDiscriminator, ActionManipulator
from cdrl.priors.actions import TrackedActions
from cdrl.representation.distillation import ActionGuidance, feature_stats
from cdrl.training.joint import joint_forward
from cdrl.training.loop import LoopConfig, train

JAW = ACTIONS.index("jawOpen")


class ActionWindowGuidance(nn.Module):
    """Distilled CDRL guidance of windows of facial actions.

    The target is the prototype of the label, or where the style is that of the reference window,
    its emotion embedding.
    """

    def __init__(self, guidance: ActionGuidance):
        super().__init__()
        self.guidance = freeze(guidance)

    def content(self, batch: Batch, output: torch.Tensor) -> torch.Tensor:
        """(B,) 1 - cos of the content of source and output (B, T, 52)."""
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
    return torch.arange(len(batch["source"])) % 2 == 1


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
        content, emotion: distilled CDRL guidance, see `guided_terms`.

    Args:
        manipulator: to train.
        discriminator: its adversary.
        weights: of the terms; a guided term of weight 0 is measured without a gradient.
        guidance: None: no guided terms.
    """

    def __init__(
        self,
        manipulator: ActionManipulator,
        discriminator: ActionDiscriminator,
        weights: Weights,
        guidance: EditGuidance | None,
    ):
        super().__init__()
        self.manipulator = manipulator
        self.discriminator = discriminator
        self.weights = weights
        self.guidance = guidance

    def forward(self, batch: Batch) -> Terms:
        """Batch of `ActionWindowSampler` -> {name: (B,) values}."""
        source = batch["source"]
        manipulator = self.manipulator
        std = manipulator.std

        target_style = self._style(batch, batch["reference"], batch["target"])
        source_style = self._style(batch, source, batch["emotion"])
        output = joint_forward(manipulator, source, target_style, batch["target_intensity"])

        terms = adversarial_terms(self.discriminator, source, output, batch)
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

        terms |= guided_terms(self.guidance, self.weights, batch, output)
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
) -> tuple[ActionManipulator, pd.DataFrame]:
    """Train one variant.

    Writes `model.safetensors`, `model.json`, `history.parquet` under `out`; resumes.

    Args:
        tracked: training people.
        guidance: `ActionWindowGuidance` of what `distil` gives; None where neither of its terms has
            a weight, they are not measured then.
        config: settings of training.
        variant: name in `ACTION_VARIANTS`.
        out: folder of the weights and of the checkpoint.
        edits: true edits of training people, for `paired` only.

    Returns:
        The manipulator, frozen, in eval mode, and the history of every term.

    Raises:
        InputError: unknown variant, guidance that is missing, true edits that are missing or given
            to an unpaired variant.
    """
    weights = action_weights(variant, config)
    if (variant == "paired") != (edits is not None):
        use = "needed" if variant == "paired" else "for `paired` alone, no other may see them"
        raise InputError(f"variant {variant!r}: true edits are {use}")
    weights = measurable_weights(weights, guidance is not None, variant)

    torch.manual_seed(config.seed)
    mean, std = feature_stats(tracked.coefficients)
    manipulator = ActionManipulator(mean, std)
    objective: nn.Module
    sampler: PairedActionSampler | ActionWindowSampler
    if edits is not None:
        objective = PairedActionObjective(manipulator)
        sampler = PairedActionSampler(edits, config.batch, config.window)
    else:
        discriminator = ActionDiscriminator(mean, std)
        objective = ActionObjective(manipulator, discriminator, weights, guidance)
        sampler = ActionWindowSampler(tracked, config.batch, config.window)

    loop = LoopConfig(
        steps=config.steps, learning_rate=config.learning_rate, seed=config.seed, weights=weights
    )
    checkpoint = Path(out) / "training"
    title = f"action manipulator, {variant}"
    history = train(objective, objective, sampler, loop, checkpoint, title)
    entries = {
        "model": {},
        "variant": variant,
        "weights": weights,
        "steps": config.steps,
        "people": int(tracked.clips.speaker.nunique()),
    }
    save_network(out, manipulator, entries, history)
    return manipulator, history
