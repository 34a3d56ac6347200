"""Loss terms that the editors share: adversarial, guided, of the fields, of motion.

Each gives one value per sample.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.vocabulary import EMOTIONS
from cdrl.editors.samplers import Batch
from cdrl.editors.variants import Weights
from cdrl.losses.fields import bending, stretching
from cdrl.models.discriminator import conditional_logit
from cdrl.models.field_network import Edit
from cdrl.models.image_editor import LOWEST_LEVEL

Terms = dict[str, torch.Tensor]


class EditGuidance(Protocol):
    """CDRL guidance as the objectives use it.

    An implementation knows which entries of a batch the guidance needs.
    """

    def content(self, batch: Batch, output: torch.Tensor) -> torch.Tensor:
        """(B,) how far the content of the output is from that of the source."""
        ...

    def emotion(self, batch: Batch, output: torch.Tensor) -> torch.Tensor:
        """(B,) how far the emotion of the output is from the target."""
        ...


class TargetEmbeddings(Protocol):
    """What gives the emotion embedding of a label at an intensity."""

    def target(self, *, labels: str, intensity: float) -> torch.Tensor:
        """(1, D), unit norm."""
        ...


def adversarial_terms(
    discriminator: nn.Module,
    source: torch.Tensor,
    output: torch.Tensor,
    batch: Batch,
    view: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Terms:
    """Hinge loss of editor against discriminator, conditioned on emotion and intensity.

    The hinge loss is that of arXiv:1802.05957. Each side has its own copy of the graph: the
    discriminator judges edits without a gradient to the editor, and its parameters get none from
    the editor's term. So the sum of both terms is one number to minimise by one optimiser, and a
    run resumes exactly. Besides edits, the discriminator refuses real windows under another
    emotion's name (arXiv:1605.05396).

    Args:
        discriminator: its input (B, ...) -> (B, 8, 2), see `conditional_logit`.
        source: (B, T, ...) real windows.
        output: (B, T, ...) edits of them.
        batch: emotion, target (B,) label numbers; intensity, target_intensity (B,).
        view: windows -> input of the discriminator; None: the windows themselves.

    Returns:
        discriminator and adversarial, (B,) each; where the target differs from the emotion, a
        discriminator that answers 0 everywhere has 2 and 0.
    """
    emotion = batch["emotion"]
    target = batch["target"]
    target_intensity = batch["target_intensity"]

    with torch.no_grad():
        real = source if view is None else view(source)
    heads = discriminator(real)
    edited = output if view is None else view(output)

    logit_real = conditional_logit(heads, emotion, batch["intensity"])
    logit_misnamed = conditional_logit(heads, target, target_intensity)

    edited_heads = discriminator(edited.detach())
    logit_edited = conditional_logit(edited_heads, target, target_intensity)
    with fixed_parameters(discriminator):
        answering_heads = discriminator(edited)
        answer = conditional_logit(answering_heads, target, target_intensity)

    differs = (emotion != target).float()
    refused_names = differs * F.relu(1 + logit_misnamed)
    refused = refused_names + F.relu(1 + logit_edited)
    return {"discriminator": F.relu(1 - logit_real) + refused / 2, "adversarial": -answer}


@contextmanager
def fixed_parameters(module: nn.Module) -> Iterator[None]:
    """Gradients pass through `module`, not into its parameters, for what is computed inside."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def guided_terms(
    guidance: EditGuidance | None, weights: Weights, batch: Batch, output: torch.Tensor
) -> Terms:
    """CDRL guidance of a batch of edits.

    Args:
        guidance: None gives no terms.
        weights: of all terms; a guided term of weight 0 is measured without a gradient.
        batch: of the sampler.
        output: (B, T, ...) edits of its windows.

    Returns:
        content and emotion, (B,) each.
    """
    if guidance is None:
        return {}

    has_content = weights.get("content", 0) > 0
    with torch.set_grad_enabled(has_content):
        content = guidance.content(batch, output)

    has_emotion = weights.get("emotion", 0) > 0
    with torch.set_grad_enabled(has_emotion):
        emotion = guidance.emotion(batch, output)
    return {"content": content, "emotion": emotion}


def emotion_targets(
    guidance: TargetEmbeddings, labels: torch.Tensor, intensity: torch.Tensor
) -> torch.Tensor:
    """The embeddings that guidance has of labels at intensities; neutral has one level, the lowest.

    Args:
        guidance: has the embeddings.
        labels: (B,) label numbers.
        intensity: (B,) 1/3 to 1.

    Returns:
        (B, D), unit norm, without a gradient.
    """
    targets = []

    for label, level in zip(labels.tolist(), intensity.tolist(), strict=True):
        emotion = EMOTIONS[label]
        if emotion == "neutral":
            level = LOWEST_LEVEL
        embedding = guidance.target(labels=emotion, intensity=level)
        targets.append(embedding)
    return torch.cat(targets)


def smooth_flow_terms(flow: torch.Tensor) -> Terms:
    """Size of a flow (B, ..., 2, h, w), see `cdrl.losses.fields`: (B,) each."""
    return {"bending": bending(flow), "stretching": stretching(flow)}


def painting_terms(edit: Edit) -> Terms:
    """Size of what an edit paints: squared shading in percent, absolute residual, (B,) each."""
    shading = edit.shading.square().flatten(1).mean(1)
    residual = edit.residual.abs().flatten(1).mean(1)
    return {"shading": shading * 100, "residual": residual}


def mean_difference(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(B,) mean absolute difference of (B, ...) and (B, ...)."""
    return (a - b).abs().flatten(1).mean(1)


def scaled_difference(a: torch.Tensor, b: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """(B,) mean absolute difference of actions (B, T, 52), in units of their std (52,)."""
    return ((a - b) / std).abs().mean((1, 2))


def change_acceleration(
    output: torch.Tensor, source: torch.Tensor, std: torch.Tensor
) -> torch.Tensor:
    """Mean squared second difference over time of what an edit adds to facial actions.

    Args:
        output: (B, T, 52) edited actions.
        source: (B, T, 52) actions.
        std: (52,) of the actions, their unit.

    Returns:
        (B,); 0 for a change that stays or grows evenly.
    """
    change = (output - source) / std
    acceleration = change.diff(n=2, dim=1)
    return acceleration.square().mean((1, 2))


def correlation(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Pearson r over time.

    Args:
        a: (B, T) curves.
        b: (B, T) curves.

    Returns:
        (B,); about 0 for a curve that hardly moves (std far below .01).
    """
    a = a - a.mean(1, keepdim=True)
    b = b - b.mean(1, keepdim=True)
    covariance = (a * b).mean(1)

    variance_a = a.square().mean(1) + 1e-5
    variance_b = b.square().mean(1) + 1e-5
    std_product = (variance_a * variance_b).sqrt()
    return covariance / std_product
