"""The coefficient host in the study: the reporting people's facial actions tracked from pixels, edited by every variant, rendered again."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from tqdm.auto import tqdm

from cdrl.core.checkpoint import checksum, weights_path
from cdrl.core.settings import ActionsConfig, StudyConfig
from cdrl.core.vocabulary import ACTIONS
from cdrl.corpora.store import Store
from cdrl.editors.manipulator import train_action_manipulator
from cdrl.editors.rendered import alignment_of, edit_actions, render_edit, tracked_edit_pairs
from cdrl.evaluation.edit_evaluation import TrueEdits, read_clip, resized
from cdrl.evaluation.judges import Judges
from cdrl.models.action_editor import ActionManipulator
from cdrl.priors.actions import READER, load_tracker, track, track_clip
from cdrl.priors.vision import VisionPrior
from cdrl.representation.distillation import ActionGuidance, distil
from cdrl.representation.guidance import Guidance
from cdrl.studio import corpus as studio
from cdrl.studio.acting import expected_edit
from cdrl.study.jobs import features_of


def coefficient_settings(config: StudyConfig, seed: int) -> ActionsConfig:
    """The same for every variant."""
    return ActionsConfig(
        steps=config.coefficient_steps, distil_steps=config.distil_steps, seed=seed
    )


def tracker_folder(place: Path) -> Path:
    """Folder, among what the edits share, of that which was made from the committed tracker's readings."""
    return Path(place) / f"tracker_{checksum(weights_path(READER))[:8]}"


def make_students(
    work: Path, config: StudyConfig, seed: int, guidance: Path, out: Path
) -> ActionGuidance:
    """The guidance of one seed, taught to two networks that see facial actions instead of pixels."""
    features = features_of(Path(work), "train", "actions")
    return distil(
        features,
        track(features, load_tracker()),
        Guidance(guidance),
        coefficient_settings(config, seed),
        out,
    )


def load_students(folder: Path) -> ActionGuidance:
    """What `make_students` left in `folder`, frozen, in eval mode."""
    state = load_file(Path(folder) / "model.safetensors")
    mean, deviation = (torch.zeros(len(ACTIONS)) for _ in range(2))
    length = state["content_student.net.4.weight"].shape[0]
    students = ActionGuidance(mean, deviation, torch.zeros_like(state["prototypes"]), length)
    students.load_state_dict(state)
    return students.eval().requires_grad_(False)


class Rendered:
    """Edits of tracked actions, rendered with the source's person, pose and light and cropped where the source was.

    Args:
        edits: what is asked for. host: None renders the actions as they were tracked.

    Example:
        Rendered(edits, host)(0, 1.0).shape == edits.source(0).shape   # (T, S, S, 3) uint8
    """

    def __init__(
        self, edits: TrueEdits, host: ActionManipulator | None = None, frame_size: int = 128
    ):
        self.edits, self.host, self.frame_size = edits, host, frame_size
        self.reader, self.vision, self.actions = load_tracker(), VisionPrior(), {}

    def __call__(self, edit: int, dial: float = 1.0) -> np.ndarray:
        edits, clip = self.edits, int(self.edits.sources[edit])
        if clip not in self.actions:
            self.actions[clip] = track_clip(edits.report, clip, self.reader, self.vision)
        actions = self.actions[clip]
        if self.host is not None:
            actions = edit_actions(
                self.host, actions, edits.target[edit], edits.intensity(edit, dial)
            )
        crops = render_edit(
            edits.report.clips.name[clip],
            actions,
            alignment_of(edits.report, clip),
            self.frame_size,
            edits.report.face.shape[1],
        )
        return resized(crops, edits.size)


class Expected:
    """What a person's edit is expected to be by one who does not know that person's way, rendered as `Rendered` does.

    Args:
        edits: what is asked for. people: training people whose ways are averaged.
    """

    def __init__(self, edits: TrueEdits, people: int = 60, frame_size: int = 128):
        self.edits, self.frame_size, self.people = (
            edits,
            frame_size,
            studio.SPLITS["train"].people[:people],
        )

    def __call__(self, edit: int) -> np.ndarray:
        edits, clip = self.edits, int(self.edits.sources[edit])
        name, level = edits.report.clips.name[clip], 3 * edits.intensity(edit, 1.0)
        actions = expected_edit(studio.spec_of(name), edits.target[edit], level, self.people)
        return resized(
            render_edit(
                name,
                actions,
                alignment_of(edits.report, clip),
                self.frame_size,
                edits.report.face.shape[1],
            ),
            edits.size,
        )


def tracked_readings(edits: TrueEdits, judges: Judges) -> list[dict]:
    """What the networks say of every source tracked and rendered again, nothing edited: where this host's dial begins."""
    rendered, found = Rendered(edits), {}
    for clip, edit in tqdm(
        {clip: edit for edit, clip in enumerate(edits.sources)}.items(),
        desc="tracked sources",
        mininterval=2,
    ):
        found[clip] = read_clip(judges, rendered(edit))
    return [found[clip] for clip in edits.sources]


def trained_host(
    work: Path, config: StudyConfig, variant: str, seed: int, place: Path
) -> tuple[ActionManipulator, pd.DataFrame]:
    """The coefficient host trained as the variant says, once for all who show its edits.

    Args:
        place: folder of what the edits share: for `paired` the true edits of the training people, and `tracker_folder`, where
            the students of every seed are and hosts are kept.

    Returns:
        The host, frozen, and the history of every term.
    """
    features = features_of(Path(work), "train", "actions")
    tracked, pairs = track(features, load_tracker()), None
    if variant == "paired":
        pairs = tracked_edit_pairs(tracked, Store(place / "paired"), load_tracker())
    students = (
        None
        if variant == "paired"
        else load_students(tracker_folder(place) / "students" / str(seed))
    )
    out = tracker_folder(place) / "hosts" / f"coefficient.{variant}.{seed}"
    return train_action_manipulator(
        tracked, students, coefficient_settings(config, seed), variant, out, pairs
    )
