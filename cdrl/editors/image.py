"""Training of the image editor: SPFEM on pixels, without a true edit.

With CDRL guidance and, term for term the same, without.
"""

from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from cdrl.baselines.released.guidance import ReleasedGuidance
from cdrl.core.checkpoint import freeze, load_card, load_weights, save_network, save_weights
from cdrl.core.settings import GeneratorConfig
from cdrl.core.user_code import identity, is_own
from cdrl.core.vocabulary import EMOTIONS
from cdrl.corpora.store import Store
from cdrl.editors.base import DEFAULT_CARD, EditorCard, card_entries
from cdrl.editors.objective import (
    EditGuidance,
    Terms,
    adversarial_terms,
    emotion_targets,
    guided_terms,
    mean_difference,
    painting_terms,
    smooth_flow_terms,
)
from cdrl.editors.samplers import WINDOW, Batch, WindowSampler
from cdrl.editors.user_editor import CODE, build_own_editor
from cdrl.editors.variants import IMAGE_FIT, IMAGE_START, Weights, image_weights, measurable_weights
from cdrl.losses.fields import acceleration, asymmetry
from cdrl.models.discriminator import FRAMES, Discriminator, jitter_frames
from cdrl.models.field_network import Edit
from cdrl.models.image_editor import ImageEditor
from cdrl.priors.vision import VisionPrior
from cdrl.representation.guidance import Guidance
from cdrl.training.group import run_in_group, starts_group
from cdrl.training.joint import is_first, joint_forward
from cdrl.training.loop import LoopConfig, read_history, train

KIND = "image"  # of an editor, in its card
START = "generator_start"  # the committed weights that training begins with
MIDDLE = slice(
    WINDOW // 2, WINDOW // 2 + 1
)  # the frame of a window that cycle and reconstruction look at


class WindowGuidance(nn.Module):
    """CDRL guidance of windows of five frames.

    The content of all frames counts, and the emotion of three, against the target's prototype.

    Args:
        guidance: frozen from now on.
    """

    def __init__(self, guidance: Guidance):
        super().__init__()
        self.guidance = freeze(guidance)

    def content(self, batch: Batch, output: torch.Tensor) -> torch.Tensor:
        """(B,) 1 - cos of the content of source and output (B, 5, 3, H, W)."""
        return self.guidance.content(batch["frames"], output, boxes=batch["boxes"])

    def emotion(self, batch: Batch, output: torch.Tensor) -> torch.Tensor:
        """(B,) 1 - cos of the emotions of target and output (B, 5, 3, H, W)."""
        frames = output[:, FRAMES]
        targets = emotion_targets(self.guidance, batch["target"], batch["target_intensity"])
        return self.guidance.emotion(frames, embedding=targets, boxes=batch["boxes"])


class ReleasedWindowGuidance(nn.Module):
    """The released losses on windows of five frames.

    The emotion is that of an unrelated reference, frame against frame.

    Args:
        guidance: frozen from now on.
    """

    def __init__(self, guidance: ReleasedGuidance):
        super().__init__()
        self.guidance = freeze(guidance)

    def content(self, batch: Batch, output: torch.Tensor) -> torch.Tensor:
        """(B,) content loss of source and output (B, 5, 3, H, W) under the source's sound."""
        return self.guidance.content(batch["frames"], output, audio_features=batch["audio"])

    def emotion(self, batch: Batch, output: torch.Tensor) -> torch.Tensor:
        """(B,) emotion loss of output (B, 5, 3, H, W) against the window that shows the target."""
        reference = batch["frames"][batch["reference"]]
        return self.guidance.emotion(
            output[:, FRAMES], reference=reference[:, FRAMES], label_indices=batch["target"]
        )


class ImageObjective(nn.Module):
    """The terms of SPFEM on one batch.

    Editor and discriminator are trained together, by one optimiser.

    Terms, each one value per sample:
        discriminator, adversarial: see `adversarial_terms`.
        content, emotion: CDRL guidance, see `guided_terms`.
        cycle: L1 of the middle frame after the edit back to the source's emotion and level.
        reconstruction: L1 of the middle frame after an edit to what it already is.
        bending, stretching, asymmetry, shading, residual, temporal_smoothness: size of the fields
        (`cdrl.losses.fields`).

    Args:
        editor: to train.
        discriminator: its adversary; None: no adversarial terms.
        weights: of the terms; a guided term of weight 0 is measured without a gradient.
        guidance: None: no guided terms.
    """

    def __init__(
        self,
        editor: ImageEditor,
        discriminator: Discriminator | None,
        weights: Weights,
        guidance: EditGuidance | None = None,
    ):
        super().__init__()
        self.editor = editor
        self.discriminator = discriminator
        self.weights = weights
        self.guidance = guidance
        self.vision = None if discriminator is None else freeze(VisionPrior())

    def forward(self, batch: Batch) -> Terms:
        """Batch of `WindowSampler` -> {name: (B,) values}."""
        source = batch["frames"]
        intensity = batch["intensity"]
        emotion = _one_hot(batch["emotion"])
        target = _one_hot(batch["target"])

        edit = joint_forward(self.editor, source, target, batch["target_intensity"])
        back = joint_forward(self.editor, edit.frames, emotion, intensity, MIDDLE)
        same = joint_forward(self.editor, source, emotion, intensity, MIDDLE)

        terms = self.target_terms(batch, edit.frames)
        middle = source[:, MIDDLE]
        terms["cycle"] = mean_difference(back.frames, middle)
        terms["reconstruction"] = mean_difference(same.frames, middle)
        terms |= _field_terms(edit)
        return terms

    def target_terms(self, batch: Batch, output: torch.Tensor) -> Terms:
        """The terms that tell the editor which edit is the target.

        Args:
            batch: of `WindowSampler`.
            output: (B, 5, 3, 64, 64) edits of its windows.
        """
        terms = {}
        if self.discriminator is not None:
            source = batch["frames"]
            view = partial(self._discriminator_view, boxes=batch["boxes"])
            terms = adversarial_terms(self.discriminator, source, output, batch, view)

        terms |= guided_terms(self.guidance, self.weights, batch, output)
        return terms

    def _discriminator_view(self, frames: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Features of three frames, jittered.

        Args:
            frames: (B, 5, 3, 64, 64).
            boxes: (B, 4) of the mouths.

        Returns:
            (B, 3, 384) of the frozen backbones.
        """
        assert self.vision is not None
        jittered = jitter_frames(frames[:, FRAMES])
        batch, count = jittered.shape[:2]

        images = jittered.flatten(0, 1)
        frame_boxes = boxes.repeat_interleave(count, 0)

        face, mouth = joint_forward(self.vision, images, frame_boxes)
        features = torch.cat([face, mouth], 1)
        return features.unflatten(0, (batch, count))


def _field_terms(edit: Edit) -> Terms:
    """Size of the fields of an edit, (B,) each."""
    terms = smooth_flow_terms(edit.flow)
    terms["asymmetry"] = asymmetry(edit.flow)
    terms |= painting_terms(edit)
    flow_acceleration = acceleration(edit.flow)
    residual_acceleration = acceleration(edit.residual)
    terms["temporal_smoothness"] = flow_acceleration + residual_acceleration
    return terms


def _one_hot(emotion: torch.Tensor) -> torch.Tensor:
    """(B,) label numbers -> (B, 8) weights."""
    return F.one_hot(emotion, len(EMOTIONS)).float()


def train_image_editor(
    store: Store,
    guidance: EditGuidance | None,
    config: GeneratorConfig,
    variant: str,
    out: Path,
    start: str | None = START,
    audio: np.ndarray | None = None,
    run: Path | None = None,
) -> tuple[ImageEditor, pd.DataFrame]:
    """Train one variant.

    Writes `model.safetensors`, `model.json`, `history.parquet` under `out`; resumes. With
    `config.devices` above one, as many processes train it as one, see `training.engine`.

    Args:
        store: training people.
        guidance: `WindowGuidance`, or `ReleasedWindowGuidance` for the variant `released`; None
            only where neither of its terms has a weight, they are not measured then.
        config: settings of training.
        variant: name in `IMAGE_VARIANTS`.
        out: folder of the weights and of the checkpoint.
        start: weights that both networks begin with; None begins from nothing.
        audio: (N, A) of the store's frames, for the variant `released`.
        run: folder of the run that the editor belongs to, for its card.

    Returns:
        The editor, frozen, in eval mode, and the history of every term.

    Raises:
        InputError: unknown variant, or guidance that is missing.
    """
    weights = image_weights(variant, config)
    weights = measurable_weights(weights, guidance is not None, variant)
    if starts_group(config.devices):
        arguments = (store, guidance, config, variant, out, start, audio, run)
        title = f"SPFEM {variant}"
        run_in_group(train_image_editor, arguments, config.devices, config.device, title)
        return ImageEditor.from_pretrained(out), read_history(out)

    card = EditorCard(variant, emotions_of(store), store.crop, run)
    own = config.editor if is_own(config.editor) else ""
    editor, discriminator = starting_networks(start, config.seed, card, own)
    objective = ImageObjective(editor, discriminator, weights, guidance)
    sampler = WindowSampler(store, config.batch, audio=audio)

    loop = LoopConfig(
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
    checkpoint = Path(out) / "training"
    history = train(objective, objective, sampler, loop, checkpoint, f"SPFEM {variant}")
    if not is_first():
        return editor, history

    entries = image_entries(editor, out)
    entries |= {"variant": variant, "weights": weights, "start": start, "steps": config.steps}
    if own:
        entries[CODE] = identity(own)
    save_network(out, editor, entries, history)
    return editor, history


def image_entries(editor: ImageEditor, folder: Path) -> dict[str, Any]:
    """The entries of the card file of an image editor that `load_editor` needs.

    Args:
        editor: with its card.
        folder: where it is written.
    """
    return {"model": {}, "editor": KIND} | card_entries(editor.card, folder)


def emotions_of(store: Store) -> tuple[str, ...]:
    """The emotions that an editor trained on `store` learns, in alphabetical order."""
    return tuple(sorted(set(store.clips["emotion"])))


def starting_networks(
    start: str | None, seed: int = 0, card: EditorCard = DEFAULT_CARD, own: str = ""
) -> tuple[ImageEditor, Discriminator]:
    """Editor and discriminator to train on.

    Args:
        start: name of the editor's weights, whose card names the discriminator's; None: new
            networks.
        seed: of new networks.
        card: of the editor.
        own: name of an editor of the user, which begins from nothing; empty: the kit's.
    """
    torch.manual_seed(seed)
    editor = build_own_editor(own, card) if own else ImageEditor(card=card)
    discriminator = Discriminator()
    if start is not None:
        entries = load_card(start)
        if not own:
            load_weights(start, editor)
        if "discriminator" in entries:
            load_weights(entries["discriminator"], discriminator)
    return editor.requires_grad_(True), discriminator.requires_grad_(True)


def train_start(
    corpus: Store, out: Path, work: Path, steps: int = 1200, batch: int = 6
) -> dict[str, Any]:
    """Make the committed start.

    The baseline's objective (no guidance, no truth), from nothing, for longer.

    Args:
        corpus: training people.
        out: folder of the weights, `generator_start` and its discriminator.
        work: folder of the checkpoint.
        steps: of training.
        batch: windows.

    Returns:
        The card; its scores are the last values of the terms, on the training people.
    """
    card = EditorCard(START, emotions_of(corpus), corpus.crop)
    editor, discriminator = starting_networks(None, card=card)
    objective = ImageObjective(editor, discriminator, IMAGE_START)
    loop = LoopConfig(steps=steps, learning_rate=2e-3, weights=IMAGE_START)
    sampler = WindowSampler(corpus, batch)
    history = train(objective, objective, sampler, loop, work, "generator start")

    people = corpus.clips.speaker.nunique()
    clips = len(corpus.clips)
    last_terms = history.tail(10).mean().drop("step")
    discriminator_name = f"{START}_discriminator"
    description = {
        "model": {},
        "command": "cdrl train generator_start",
        "licence": "Apache-2.0",
        "discriminator": discriminator_name,
        "trained_on": f"{people} people, {clips} clips, {steps} steps of {batch} windows",
        "truth": "none: crops, emotion and level of unpaired clips; no true edit, no guidance",
        "scores": last_terms.round(4).to_dict(),
    }
    save_weights(Path(out) / f"{discriminator_name}.safetensors", discriminator, description)
    entries = description | image_entries(editor, out)
    save_weights(Path(out) / f"{START}.safetensors", editor, entries)
    return entries


def fit_person(
    editor: ImageEditor,
    store: Store,
    guidance: Guidance,
    targets: Sequence[str],
    leave_out: Sequence[str] = (),
    steps: int = 120,
    batch: int = 6,
    learning_rate: float = 3e-4,
    seed: int = 0,
) -> tuple[ImageEditor, pd.DataFrame]:
    """Fine-tune a copy of the editor on one person's clips: a minute or two on a CPU.

    The stage that NED trains per actor. Without adversarial terms (a handful of clips would be
    learnt by heart): reconstruction, cycle, fields, guidance.

    Args:
        editor: stays as it is.
        store: that person's clips.
        guidance: CDRL.
        targets: emotions that will be asked for.
        leave_out: emotions of which no clip is used; leave out the target where its clip is to be
            the test.
        steps: of training.
        batch: windows.
        learning_rate: its peak.
        seed: of training.

    Returns:
        The copy, frozen, in eval mode; and the history of every term.
    """
    copy = deepcopy(editor)
    copy.requires_grad_(True)
    objective = ImageObjective(copy, None, IMAGE_FIT, WindowGuidance(guidance))

    sampler = WindowSampler(store, batch, targets=targets, leave_out=leave_out)
    loop = LoopConfig(steps=steps, learning_rate=learning_rate, seed=seed, weights=IMAGE_FIT)
    history = train(objective, objective, sampler, loop, None, "fit to the person")

    copy.eval().requires_grad_(False)
    return copy, history
