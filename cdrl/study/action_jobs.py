"""The action manipulator in the study: facial actions are tracked, edited and rendered again."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from cdrl.core.checkpoint import weights_path
from cdrl.core.settings import ActionsConfig, StudyConfig
from cdrl.core.weight_files import checksum
from cdrl.corpora.store import Store
from cdrl.editors.actions import ActionEditor, edit_actions
from cdrl.editors.manipulator import ActionWindowGuidance, train_action_manipulator
from cdrl.editors.rendered import alignment_of, render_edit, tracked_edit_pairs
from cdrl.evaluation.edit_tasks import TrueEdits, resize_crops
from cdrl.evaluation.judges import Judges
from cdrl.evaluation.readings import ClipReading, read_clip
from cdrl.models.action_networks import ActionManipulator
from cdrl.models.action_renderer import ActionRenderer
from cdrl.priors.actions import ACTION_TRACKER, TrackedActions, load_tracker, track, track_clip
from cdrl.priors.vision import VisionPrior
from cdrl.representation.distillation import ActionGuidance, Teachers, distil, load_students
from cdrl.representation.guidance import Guidance
from cdrl.studio import corpus as studio
from cdrl.studio.acting import expected_edit
from cdrl.study.inputs import study_features

FRAME_SIZE = 128  # pixels of a rendered frame
EXPECTED_PEOPLE = 60  # training people whose acting is averaged
LEVELS = 3  # intensity 1 is level 3


def manipulator_settings(config: StudyConfig, seed: int) -> ActionsConfig:
    """Return the training settings of every variant of the action manipulator."""
    return ActionsConfig(
        steps=config.manipulator_steps, distil_steps=config.distil_steps, seed=seed
    )


def tracker_folder(folder: Path) -> Path:
    """Return the folder of what was made from the readings of the present tracker weights.

    Args:
        folder: what the edits of one study share.
    """
    tracker_sum = checksum(weights_path(ACTION_TRACKER))
    return Path(folder) / f"tracker_{tracker_sum[:8]}"


def track_training_people(work: Path) -> TrackedActions:
    """Track the facial actions of all training clips."""
    features = study_features(Path(work), "train", "actions")
    return track(features, load_tracker())


def make_students(
    work: Path, config: StudyConfig, seed: int, teachers: Guidance | Teachers, out: Path
) -> ActionGuidance:
    """Distil the guidance of one seed into two networks that see facial actions instead of pixels.

    Args:
        work: the study's work folder.
        config: the study's settings.
        seed: of the distillation.
        teachers: the encoders of that seed, or who stands in their place.
        out: folder of the students.

    Returns:
        The students, frozen.
    """
    features = study_features(Path(work), "train", "actions")
    tracked = track_training_people(work)
    settings = manipulator_settings(config, seed)

    return distil(features, tracked, teachers, settings, out)


class SweepEditor(ActionEditor):
    """The facial-action editor, which tracks a clip once for all intensities and emotions.

    Args:
        manipulator: as of `ActionEditor`.
        renderer: as of `ActionEditor`.

    Example:
        SweepEditor(manipulator, load_renderer()).actions(frames).shape == (1, 30, 52)
    """

    def __init__(self, manipulator: ActionManipulator, renderer: ActionRenderer) -> None:
        super().__init__(manipulator, renderer)
        self.tracked: dict[bytes, torch.Tensor] = {}

    def actions(self, frames: torch.Tensor, step: float = 1.0) -> torch.Tensor:
        """Track frames, or find what was tracked in the same ones.

        Args:
            frames: (B, T, 3, H, W) RGB in [0, 1].
            step: frames in 40 ms.
        """
        key = hashlib.sha256(frames.numpy().tobytes() + str((frames.shape, step)).encode()).digest()
        if key not in self.tracked:
            self.tracked[key] = super().actions(frames, step)
        return self.tracked[key]


class RenderedEdits:
    """Edits of tracked actions, rendered with the source's person, pose, light and crop.

    Args:
        edits: which clip becomes which emotion.
        manipulator: None renders the actions as they were tracked.
        frame_size: pixels.

    Example:
        RenderedEdits(edits, manipulator)(0, 1.0).shape == edits.source(0).shape  # (T, S, S, 3)
    """

    def __init__(
        self,
        edits: TrueEdits,
        manipulator: ActionManipulator | None = None,
        frame_size: int = FRAME_SIZE,
    ) -> None:
        self.edits = edits
        self.manipulator = manipulator
        self.frame_size = frame_size

        self.tracker = load_tracker()
        self.vision = VisionPrior()
        self.tracked: dict[int, np.ndarray] = {}

    def __call__(self, edit: int, scale: float = 1.0) -> np.ndarray:
        """Return the crops of an edit at an intensity scale, (T, S, S, 3) uint8."""
        clip = int(self.edits.sources[edit])
        if clip not in self.tracked:
            report = self.edits.report
            self.tracked[clip] = track_clip(report, clip, self.tracker, self.vision)

        actions = self.tracked[clip]
        if self.manipulator is not None:
            emotion = self.edits.target_emotions[edit]
            intensity = self.edits.intensity(edit, scale)
            actions = edit_actions(self.manipulator, actions, emotion, intensity)

        return _render(self.edits, clip, actions, self.frame_size)


class ExpectedEdits:
    """What is expected of a person's edit without knowing the person's way of acting, rendered.

    Args:
        edits: which clip becomes which emotion.
        people: number of training people whose acting is averaged.
        frame_size: pixels.
    """

    def __init__(
        self, edits: TrueEdits, people: int = EXPECTED_PEOPLE, frame_size: int = FRAME_SIZE
    ) -> None:
        self.edits = edits
        self.frame_size = frame_size
        self.people = studio.SPLITS["train"].people[:people]

    def __call__(self, edit: int) -> np.ndarray:
        """Return the crops of an edit, (T, S, S, 3) uint8."""
        clip = int(self.edits.sources[edit])
        name = self.edits.report.clips.name[clip]
        spec = studio.spec_of(name)

        emotion = self.edits.target_emotions[edit]
        level = LEVELS * self.edits.intensity(edit, 1.0)

        actions = expected_edit(spec, emotion, level, self.people)
        return _render(self.edits, clip, actions, self.frame_size)


def _render(edits: TrueEdits, clip: int, actions: np.ndarray, frame_size: int) -> np.ndarray:
    """Render a source clip with other actions, (T, 52), cropped where the source was."""
    report = edits.report
    crops = render_edit(
        report.clips.name[clip],
        actions,
        alignment_of(report, clip),
        frame_size,
        report.face.shape[1],
    )
    return resize_crops(crops, edits.size)


def tracked_readings(edits: TrueEdits, judges: Judges) -> list[ClipReading]:
    """Read every source that is tracked and rendered again, not edited: intensity scale 0.

    Args:
        edits: their sources are read.
        judges: the evaluation networks.

    Returns:
        One reading an edit, see `read_clip`.
    """
    rendered = RenderedEdits(edits)
    edit_of_clip = {clip: edit for edit, clip in enumerate(edits.sources)}

    readings = {}
    for clip, edit in tqdm(edit_of_clip.items(), desc="tracked sources", mininterval=2):
        readings[clip] = read_clip(judges, rendered(edit))

    return [readings[clip] for clip in edits.sources]


def train_manipulator(
    work: Path, config: StudyConfig, variant: str, seed: int, folder: Path
) -> tuple[ActionManipulator, pd.DataFrame]:
    """Train one variant of the action manipulator, or load it where it is trained already.

    Args:
        work: the study's work folder.
        config: the study's settings.
        variant: name in `ACTION_VARIANTS`.
        seed: of the training.
        folder: what the edits share. It holds the true edits of the training people for `paired`,
            and the students of every seed in its `tracker_folder`.

    Returns:
        The manipulator, frozen, and the history of every loss term.
    """
    tracked = track_training_people(work)
    pairs = None

    guidance = None
    if variant == "paired":
        pairs = tracked_edit_pairs(tracked, Store(folder / "paired"), load_tracker())
    else:
        students = load_students(tracker_folder(folder) / "students" / str(seed))
        guidance = ActionWindowGuidance(students)

    settings = manipulator_settings(config, seed)
    out = tracker_folder(folder) / "manipulators" / f"{variant}.{seed}"

    return train_action_manipulator(tracked, guidance, settings, variant, out, pairs)
