"""Training of the rows of `cdrl.study.opponents` that edit facial actions.

What is trained does not depend on who scores: choosing, reporting and sealed set share it.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd

from cdrl.core.settings import ActionsConfig, StudyConfig, config_hash
from cdrl.editors.manipulator import ActionWindowGuidance, train_action_manipulator
from cdrl.editors.variants import ACTION_VARIANTS
from cdrl.models.action_networks import ActionManipulator
from cdrl.representation.classifier import train_classifier
from cdrl.representation.distillation import load_students
from cdrl.representation.label_free import load_label_free_view, train_label_free_view
from cdrl.study.action_jobs import (
    make_students,
    manipulator_settings,
    track_training_people,
    tracker_folder,
)
from cdrl.study.encoder_jobs import encoder_settings, train_encoders
from cdrl.study.inputs import LANGUAGE, study_features
from cdrl.study.row import Job, Row
from cdrl.study.rows import TABLES
from cdrl.study.teachers import TEACHERS, classifier_folder, emotion_settings

ENCODERS = "opponents.encoders"
CLASSIFIER = "opponents.classifier"
BOTTLENECK = "opponents.classifier_bottleneck"
VIEW = "opponents.view"
STUDENTS = "opponents.students."  # and the name of the teacher
WEIGHTS = "model.safetensors"
# Teachers -> the classifier that they need first.
CLASSIFIER_OF = {
    "classifier": CLASSIFIER,
    "classifier_untrained": CLASSIFIER,
    "classifier_bottleneck": BOTTLENECK,
}


def training_folder(work: Path, config: StudyConfig) -> Path:
    """Return the folder of what is trained for the opponents, the same for every set that scores.

    Args:
        work: the study's work folder.
        config: the study's settings.
    """
    settings = (*encoder_settings(config, 0), manipulator_settings(config, 0))
    hashes = [config_hash(each) for each in settings]
    people = [config.people, config.clips, config.speech, config.studio_version]
    text = json.dumps([hashes, people, config.released_steps, ACTION_VARIANTS], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Path(work) / f"opponents_{digest[:12]}"


def opponent_phases(
    work: Path, config: StudyConfig, jobs: list[Job]
) -> list[list[tuple[str, int]]]:
    """List what the rows of opponents share and what is missing, as `prepare_edits` does.

    Args:
        work: the study's work folder.
        config: the study's settings.
        jobs: of the edit half.

    Returns:
        Lists of (what, seed); each list needs those before it.
    """
    first: dict[tuple[str, int], None] = {}
    second: dict[tuple[str, int], None] = {}
    third: dict[tuple[str, int], None] = {}
    for job in jobs:
        row = TABLES["edit"][job.row]
        if not row.teacher:
            continue
        first[(ENCODERS, job.seed)] = None
        if row.teacher in CLASSIFIER_OF:
            second[(CLASSIFIER_OF[row.teacher], job.seed)] = None
        if row.label_free:
            second[(VIEW, job.seed)] = None
        third[(STUDENTS + row.teacher, job.seed)] = None

    phases = []
    for phase in (first, second, third):
        missing = [item for item in phase if not _shared_file(work, config, *item).exists()]
        phases.append(missing)
    return phases


def _shared_file(work: Path, config: StudyConfig, what: str, seed: int) -> Path:
    """Return the file that is there when something that rows share is made."""
    folder = training_folder(work, config)
    if what == ENCODERS:
        return folder / "guidance" / str(seed) / "03_emotion" / WEIGHTS
    if what in (CLASSIFIER, BOTTLENECK):
        settings = emotion_settings(config, seed, what == BOTTLENECK)
        return classifier_folder(work, settings) / WEIGHTS
    if what == VIEW:
        return tracker_folder(folder) / "view" / str(seed) / WEIGHTS
    teacher = what.removeprefix(STUDENTS)
    return tracker_folder(folder) / "students" / teacher / str(seed) / WEIGHTS


def make_opponent_shared(work: Path, config: StudyConfig, what: str, seed: int) -> bool:
    """Make one thing that rows of opponents share.

    Args:
        work: the study's work folder.
        config: the study's settings.
        what: of `opponent_phases`.
        seed: of the training.

    Returns:
        Whether it is a thing of opponents.
    """
    if not what.startswith("opponents."):
        return False

    out = _shared_file(work, config, what, seed).parent
    guidance = training_folder(work, config) / "guidance" / str(seed)
    train = study_features(work, "train", "actions")
    if what == ENCODERS:
        train_encoders(work, config, seed, guidance)
    elif what in (CLASSIFIER, BOTTLENECK):
        train_classifier(train, emotion_settings(config, seed, what == BOTTLENECK), LANGUAGE, out)
    elif what == VIEW:
        label_free = study_features(work, "train", "identity")
        settings = manipulator_settings(config, seed)
        train_label_free_view(label_free, track_training_people(work), settings, out)
    else:
        teachers = TEACHERS[what.removeprefix(STUDENTS)](work, config, seed, guidance)
        make_students(work, config, seed, teachers, out)
    return True


def opponent_settings(config: StudyConfig, row: Row, seed: int) -> ActionsConfig:
    """Return the training settings of a row: those of every variant, with the row's change.

    Args:
        config: the study's settings.
        row: of the opponents.
        seed: of the training.
    """
    change = {name: value for name, value in row.change.items() if name != "variant"}
    settings = manipulator_settings(config, seed)
    return replace(settings, steps=row.duration * settings.steps, **change)


def train_opponent(
    work: Path, config: StudyConfig, name: str, row: Row, seed: int
) -> tuple[ActionManipulator, pd.DataFrame]:
    """Train the action manipulator as a row of the opponents says.

    Args:
        work: the study's work folder.
        config: the study's settings.
        name: of the row.
        row: as in `cdrl.study.opponents`.
        seed: of the training.

    Returns:
        The manipulator, frozen, and the history of every loss term.
    """
    students = load_students(_shared_file(work, config, STUDENTS + row.teacher, seed).parent)
    view = None
    if row.label_free:
        view = load_label_free_view(_shared_file(work, config, VIEW, seed).parent)

    out = tracker_folder(training_folder(work, config)) / "manipulators" / f"{name}.{seed}"
    settings = opponent_settings(config, row, seed)
    return train_action_manipulator(
        track_training_people(work),
        ActionWindowGuidance(students, settings.contrast_content),
        settings,
        row.change["variant"],
        out,
        view=view,
    )
