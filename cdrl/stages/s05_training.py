"""Notebook 05: what its stage trains, the facial-action editor or the image editor of a run."""

from pathlib import Path

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.files import read_array, write_array
from cdrl.core.settings import ActionsConfig, GeneratorConfig, stage_folder
from cdrl.core.stage import made_with
from cdrl.corpora.store import Store
from cdrl.editors.actions import load_renderer
from cdrl.editors.base import Editor, EditorCard
from cdrl.editors.image import WindowGuidance, emotions_of, train_image_editor
from cdrl.editors.loading import load_editor, without_rules
from cdrl.editors.manipulator import (
    ActionWindowGuidance,
    PixelSupervision,
    editor_entries,
    train_action_manipulator,
)
from cdrl.priors.actions import TrackedActions, load_tracker, track, track_clip
from cdrl.priors.vision import VisionPrior
from cdrl.representation.distillation import ActionGuidance, distil, load_students
from cdrl.representation.guidance import Guidance
from cdrl.stages.s00_corpus import has_truth
from cdrl.stages.s01_priors import open_features

STUDENTS = "students"  # folder of the distilled guidance, in the stage's
TRACKED = "tracked.npy"  # facial actions of the training clips, in the stage's folder


def edits_actions(config: GeneratorConfig) -> bool:
    """Whether a stage trains the facial-action editor; else an editor of pixels."""
    return config.editor == "actions"


def training_clips(run: Path) -> Store:
    """Return the clips that train the editor: a split's own part for it, or the part train.

    Clips without a label of their emotion are in neither.

    Args:
        run: folder of the run.
    """
    own_part = stage_folder(run, "corpus") / "host"
    if (own_part / "store.json").exists():
        return Store(own_part)

    return open_features(run, "train").store


def train_variant(
    run: Path, config: GeneratorConfig, variant: str, out: Path
) -> tuple[Editor, pd.DataFrame]:
    """Train one variant of the run's editor.

    Args:
        run: folder of the run.
        config: the stage's settings.
        variant: baseline or cdrl.
        out: the stage's folder; it has the students where facial actions are edited.

    Returns:
        The editor, and the history of its loss terms.
    """
    if edits_actions(config):
        return _train_action_variant(run, config, variant, out)

    return train_image_editor(
        training_clips(run),
        WindowGuidance(Guidance(run)),
        config,
        variant,
        out / variant,
        config.start or None,
        run=run,
    )


def _train_action_variant(
    run: Path, config: GeneratorConfig, variant: str, out: Path
) -> tuple[Editor, pd.DataFrame]:
    store = training_clips(run)
    tracked = _saved_actions(run, out)
    students = load_students(out / STUDENTS)
    folder = out / variant

    _, history = train_action_manipulator(
        tracked,
        ActionWindowGuidance(students),
        action_settings(config),
        variant,
        folder,
        pixels=PixelSupervision(store, load_renderer(), WindowGuidance(Guidance(run))),
        card=editor_entries(EditorCard(variant, emotions_of(store), store.crop, run), folder),
    )
    return run_editor(run, folder), history


def run_editor(run: Path, folder: Path) -> Editor:
    """Open an editor of a run as the run's own clips are edited by it.

    On rendered people that is the facial-action editor without its rules for real faces; `cdrl
    edit` and the dial take `load_editor`, with them.

    Args:
        run: folder of the run.
        folder: of the trained editor.
    """
    editor = load_editor(folder)
    return without_rules(editor) if has_truth(run) else editor


def action_settings(config: GeneratorConfig) -> ActionsConfig:
    """Return the settings of the facial-action editor's training.

    Args:
        config: the stage's settings.
    """
    return ActionsConfig(
        steps=config.steps,
        batch=config.batch,
        learning_rate=config.learning_rate,
        distil_steps=config.distil_steps,
        pixel_steps=config.pixel_steps,
        content_weight=config.content_weight,
        emotion_weight=config.emotion_weight,
        adversarial_weight=config.adversarial_weight,
        seed=config.seed,
        device=config.device,
        devices=config.devices,
        precision=config.precision,
        micro_batches=config.micro_batches,
        compiled=config.compiled,
        tracker=config.tracker,
    )


def make_students(run: Path, config: GeneratorConfig, out: Path) -> ActionGuidance:
    """Distil the run's encoders into students that see facial actions, once.

    Args:
        run: folder of the run.
        config: the stage's settings.
        out: the stage's folder.

    Returns:
        The students, frozen.

    Raises:
        InputError: clips that are not cropped as the facial-action editor needs.
    """
    if (out / STUDENTS / "model.safetensors").exists():
        return load_students(out / STUDENTS)

    features = open_features(run, "train")
    if features.store.crop != "aligned":
        raise InputError(
            f"{run}: the facial-action editor draws aligned crops, and this run has "
            f"{features.store.crop} ones; give generator.editor=image"
        )
    _saved_actions(run, out)
    tracked = _track(run, features.store)
    return distil(features, tracked, Guidance(run), action_settings(config), out / STUDENTS)


def track_training_clips(run: Path) -> TrackedActions:
    """Track the facial actions of the clips that train the editor.

    By their stored features, some 20,000 frames a second on one core, or by their crops where those
    are not to be had.

    Args:
        run: folder of the run.
    """
    return _track(run, training_clips(run))


def _saved_actions(run: Path, out: Path) -> TrackedActions:
    """Track the clips that train the editor, once."""
    store = training_clips(run)
    file = out / TRACKED
    if not file.exists():
        write_array(file, _track(run, store).coefficients)

    return TrackedActions(store.clips, read_array(file, 2), str(store.path))


def _track(run: Path, store: Store) -> TrackedActions:
    """Track clips by their stored features, or by their crops."""
    features = open_features(run, "train")
    tracker = load_tracker()
    has_backbones = made_with(run, "priors", "vision", "embedded") == "embedded"
    if has_backbones and store.path == features.store.path:
        return track(features, tracker)

    vision = VisionPrior()
    of_clips = [track_clip(store, clip, tracker, vision) for clip in range(len(store.clips))]
    return TrackedActions(store.clips, np.concatenate(of_clips), str(store.path))
