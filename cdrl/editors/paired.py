"""The upper bounds: the same editors trained on true edits of the training people.

No real corpus has true edits. They are never mixed into the training of the other variants.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from cdrl.core.checkpoint import save_network
from cdrl.core.errors import InputError
from cdrl.core.settings import GeneratorConfig
from cdrl.core.vocabulary import emotion_index
from cdrl.corpora.store import Store
from cdrl.editors.base import EditorCard
from cdrl.editors.image import START, ImageObjective, emotions_of, image_entries, starting_networks
from cdrl.editors.objective import Terms, change_acceleration, mean_difference, scaled_difference
from cdrl.editors.samplers import (
    WINDOW,
    Batch,
    check_lengths,
    draw_balanced,
    draw_mirrored,
    draw_starts,
    group_by_emotion,
    level_intensities,
    mirror_where,
    window_frames,
)
from cdrl.editors.variants import IMAGE_PAIRED
from cdrl.models.action_networks import ActionManipulator
from cdrl.models.image_editor import ImageEditor
from cdrl.training.joint import joint_forward
from cdrl.training.loop import LoopConfig, train


class PairedWindowSampler:
    """Windows of five frames with the same frames of the true edit, every target equally often.

    Args:
        store: clips of training people.
        truths: their true edits.
        origin: (E,) the clip in `store` that each true edit was made from.
        batch: windows.

    Raises:
        InputError: where an edit is not as long as its source.
    """

    def __init__(self, store: Store, truths: Store, origin: np.ndarray, batch: int):
        self.store = store
        self.truths = truths
        self.origin = np.asarray(origin)
        self.batch = batch
        check_lengths(store, truths, self.origin)

        clips = store.clips
        self.emotion = clips["emotion"].map(emotion_index).to_numpy()
        self.level = clips["intensity"].to_numpy()
        edits = truths.clips
        self.length = edits["num_frames"].to_numpy()
        self.target = edits["emotion"].map(emotion_index).to_numpy()
        self.target_level = edits["intensity"].to_numpy()

        usable = np.flatnonzero(self.length >= WINDOW)
        self.groups = group_by_emotion(self.target, usable)

    def __call__(self, random: np.random.Generator) -> Batch:
        """Draw a batch.

        Returns:
            frames, truth (B, 5, 3, 64, 64), emotion, target (B,) int64, intensity,
            target_intensity (B,) 1/3 to 1.
        """
        edits = draw_balanced(self.groups, self.batch, random)
        clips = self.origin[edits]
        starts = draw_starts(self.length[edits], WINDOW, random)
        mirrored = draw_mirrored(len(edits), random)

        _, frames = window_frames(self.store, clips, starts)
        frames = mirror_where(mirrored, frames, frames.flip(-1))
        _, truth = window_frames(self.truths, edits, starts)
        truth = mirror_where(mirrored, truth, truth.flip(-1))

        emotion = torch.from_numpy(self.emotion[clips])
        target = torch.from_numpy(self.target[edits])
        return {
            "frames": frames,
            "truth": truth,
            "emotion": emotion,
            "target": target,
            "intensity": level_intensities(self.level[clips]),
            "target_intensity": level_intensities(self.target_level[edits]),
        }


class PairedImageObjective(ImageObjective):
    """`truth`, L1 to the true edit, in the place of adversarial and guided terms.

    The other terms are those of every variant.

    Args:
        editor: to train.
    """

    def __init__(self, editor: ImageEditor):
        super().__init__(editor, None, IMAGE_PAIRED)

    def target_terms(self, batch: Batch, output: torch.Tensor) -> Terms:
        """The distance of the output (B, 5, 3, 64, 64) to the true edit."""
        return {"truth": mean_difference(output, batch["truth"])}


def train_paired_image_editor(
    store: Store,
    truths: Store,
    origin: np.ndarray,
    config: GeneratorConfig,
    out: Path,
    start: str | None = START,
) -> tuple[ImageEditor, pd.DataFrame]:
    """Train the image editor on true edits.

    Writes `model.safetensors`, `model.json`, `history.parquet` under `out`; resumes.

    Args:
        store: clips of training people.
        truths: their true edits.
        origin: (E,) the clip in `store` that each true edit was made from.
        config: settings of training, those of every variant.
        out: folder of the weights and of the checkpoint.
        start: weights to begin with, those of every variant; None begins from nothing.

    Returns:
        The editor, frozen, in eval mode, and the history of every term.
    """
    card = EditorCard("paired", emotions_of(store), store.crop)
    editor, _ = starting_networks(start, config.seed, card)
    objective = PairedImageObjective(editor)
    sampler = PairedWindowSampler(store, truths, origin, config.batch)
    loop = LoopConfig(
        steps=config.steps,
        learning_rate=config.learning_rate,
        seed=config.seed,
        weights=IMAGE_PAIRED,
    )
    checkpoint = Path(out) / "training"
    history = train(objective, objective, sampler, loop, checkpoint, "SPFEM paired")
    entries = image_entries(editor, out)
    entries |= {
        "variant": "paired",
        "weights": IMAGE_PAIRED,
        "start": start,
        "steps": config.steps,
        "truth": "true edits of the training people",
    }
    save_network(out, editor, entries, history)
    return editor, history


@dataclass(frozen=True)
class TrackedEdits:
    """Tracked actions of true edits beside those of the clips they were made from.

    Attributes:
        sources: E arrays (T, 52) in [0, 1].
        truths: E arrays (T, 52) in [0, 1], each as long as its source.
        emotion: (E,) label number of each edit.
        level: (E,) 1 to 3.
    """

    sources: list[np.ndarray]
    truths: list[np.ndarray]
    emotion: np.ndarray
    level: np.ndarray


class PairedActionSampler:
    """Windows of the tracked actions of true edits beside their sources.

    Args:
        edits: of training people.
        batch: windows.
        window: frames.

    Raises:
        InputError: where no edit is as long as a window.
    """

    def __init__(self, edits: TrackedEdits, batch: int, window: int):
        self.edits = edits
        self.batch = batch
        self.window = window
        lengths = np.array([len(source) for source in edits.sources])
        self.usable = np.flatnonzero(lengths >= window)
        if not len(self.usable):
            raise InputError(
                f"paired: none of {len(lengths)} true edits has {window} frames; make some of "
                "longer clips"
            )

    def __call__(self, random: np.random.Generator) -> Batch:
        """Draw a batch.

        Returns:
            source, truth (B, T, 52), target (B,) int64, target_intensity (B,).
        """
        edits = self.edits
        numbers = random.choice(self.usable, self.batch)
        sources = []
        truths = []
        for number in numbers:
            source = edits.sources[number]
            truth = edits.truths[number]
            last_start = len(source) - self.window
            start = int(random.integers(last_start + 1))
            frames = slice(start, start + self.window)
            sources.append(source[frames])
            truths.append(truth[frames])

        target = torch.from_numpy(edits.emotion[numbers])
        return {
            "source": torch.from_numpy(np.stack(sources)),
            "truth": torch.from_numpy(np.stack(truths)),
            "target": target,
            "target_intensity": level_intensities(edits.level[numbers]),
        }


class PairedActionObjective(nn.Module):
    """L1, in units of std, to the tracked actions of the true edit.

    Terms, each one value per sample:
        paired: L1 of the edit to the label's style.
        style: L1 of the style of the true edit to the label's style.
        temporal_smoothness: squared acceleration of the change.

    Args:
        manipulator: to train.
    """

    def __init__(self, manipulator: ActionManipulator):
        super().__init__()
        self.manipulator = manipulator

    def forward(self, batch: Batch) -> Terms:
        """Batch of `PairedActionSampler` -> {name: (B,) values}."""
        manipulator = self.manipulator
        std = manipulator.std
        source = batch["source"]
        truth = batch["truth"]
        label_style = manipulator.label_style(batch["target"])
        true_style = manipulator.style_encoder(truth)
        output = joint_forward(manipulator, source, label_style, batch["target_intensity"])
        style_difference = (true_style - label_style.detach()).abs()
        return {
            "paired": scaled_difference(output, truth, std),
            "style": style_difference.mean(1),
            "temporal_smoothness": change_acceleration(output, source, std),
        }
