"""What the evaluation networks read in clips: of edits, of their sources, of true edits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from cdrl.core.files import atomic_path, read_arrays
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.evaluation.edit_tasks import Edits, TrueEdits
from cdrl.evaluation.judges import Judges
from cdrl.media.mouth_curves import mouth_curves

JUDGES = ("judge_a", "judge_b")
# Field of `ClipReading` -> its name in files.
_FILE_NAMES = {
    "mouth_curves": "curves",
    "landmarks": "landmarks",
    "judge_a": "judge_a",
    "judge_b": "judge_b",
    "identity": "identity",
}
_PER_FRAME = ("mouth_curves", "landmarks")


@dataclass(frozen=True)
class ClipReading:
    """What the evaluation networks read in one clip of T frames; empty where a network was not run.

    Attributes:
        mouth_curves: (T, 3), see `mouth_curves`.
        landmarks: (T, L, 2) relative to the crop.
        judge_a: the emotion that the first judge reads.
        judge_b: the emotion that the second judge reads.
        identity: (D,) mean identity embedding.
    """

    mouth_curves: np.ndarray
    landmarks: np.ndarray = field(default_factory=partial(np.zeros, (0, 0, 2)))
    judge_a: str = ""
    judge_b: str = ""
    identity: np.ndarray = field(default_factory=partial(np.zeros, 0))


@dataclass(frozen=True)
class References:
    """What edits are compared with.

    Attributes:
        source: readings of the source clip of each edit.
        truth: readings of each true edit; none where there are no true edits.
        another_identity: (E, D) identity in another clip of each edit's person; None where not
            every person has one.
        source_accuracy: accuracy of the lower judge on the labels of the untouched clips; None
            where the judges are calibrated on true edits.
    """

    source: list[ClipReading]
    truth: list[ClipReading]
    another_identity: np.ndarray | None = None
    source_accuracy: float | None = None


def frames_to_tensor(frames: np.ndarray) -> torch.Tensor:
    """(T, H, W, 3) uint8 -> (T, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2).float() / 255


def collect(readings: list[ClipReading], name: str) -> list:
    """One field of every reading, in order."""
    return [getattr(reading, name) for reading in readings]


def read_clip(judges: Judges, frames: np.ndarray, with_identity: bool = True) -> ClipReading:
    """Run the evaluation networks on the crops of one clip.

    Args:
        judges: the networks.
        frames: (T, S, S, 3) uint8.
        with_identity: whether to run the identity network too.
    """
    images = frames_to_tensor(frames)
    actions, landmarks = judges.track(images)

    emotions = {}
    for name in JUDGES:
        probabilities = judges.emotion(name, images)
        emotions[name] = SCORED_EMOTIONS[int(probabilities.argmax())]

    identity = np.zeros(0)
    if with_identity:
        identity = judges.identity(images).mean(0)

    return ClipReading(
        mouth_curves=mouth_curves(actions),
        landmarks=landmarks,
        judge_a=emotions["judge_a"],
        judge_b=emotions["judge_b"],
        identity=identity,
    )


def read_references(edits: Edits, judges: Judges, seed: int = 0) -> References:
    """Read everything that edits are compared with.

    Args:
        edits: the requested edits, with true edits or without.
        judges: the evaluation networks.
        seed: draws the other clip of each person where there are true edits.
    """
    if isinstance(edits, TrueEdits):
        return _references_with_truth(edits, judges, seed)
    return _references_without_truth(edits, judges)


def _references_with_truth(edits: TrueEdits, judges: Judges, seed: int) -> References:
    source = []
    truth = []
    another = []
    for edit in tqdm(range(len(edits)), desc="judging the truth", mininterval=2):
        source.append(read_clip(judges, edits.source(edit)))
        truth.append(read_clip(judges, edits.truth(edit)))

        images = frames_to_tensor(edits.another(edit, seed))
        another.append(judges.identity(images).mean(0))

    return References(source, truth, np.array(another))


def _references_without_truth(edits: Edits, judges: Judges) -> References:
    untouched = []
    for number in tqdm(range(len(edits.report.clips)), desc="judging the sources", mininterval=2):
        untouched.append(read_clip(judges, edits.clip(number)))

    source = [untouched[number] for number in edits.sources]
    another = _another_identity(edits, untouched)
    accuracy = _accuracy_on_labels(edits, untouched)

    return References(source, [], another, accuracy)


def _another_identity(edits: Edits, untouched: list[ClipReading]) -> np.ndarray | None:
    """(E, D) identity in another clip of each edit's person; None where somebody has one clip."""
    identities = []
    for edit, source in enumerate(edits.sources):
        others = edits.other_clips(edit)
        if not len(others):
            return None
        number = others[source % len(others)]
        identities.append(untouched[number].identity)

    return np.array(identities)


def _accuracy_on_labels(edits: Edits, untouched: list[ClipReading]) -> float:
    """Accuracy of the lower judge on the clips whose label it knows; nan where there are none."""
    labels = edits.report.clips.emotion
    is_scored = labels.isin(SCORED_EMOTIONS).to_numpy()
    if not is_scored.any():
        return float("nan")

    accuracies = []
    for judge in JUDGES:
        emotions = np.array(collect(untouched, judge))
        hits = emotions[is_scored] == labels.to_numpy()[is_scored]
        accuracies.append(np.mean(hits))

    return float(min(accuracies))


def save_references(references: References, path: Path) -> None:
    """Write references as one .npz of plain arrays, the frames of all clips one after another."""
    lengths = [len(reading.mouth_curves) for reading in references.truth]
    arrays = {
        "another": np.asarray(references.another_identity),
        "lengths": np.array(lengths),
        **_join_readings("source", references.source),
        **_join_readings("truth", references.truth),
    }

    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _join_readings(kind: str, readings: list[ClipReading]) -> dict[str, np.ndarray]:
    """KIND.FIELD -> the values of all clips, frames one after another."""
    arrays = {}
    for name, file_name in _FILE_NAMES.items():
        values = collect(readings, name)
        key = f"{kind}.{file_name}"
        if name in _PER_FRAME:
            arrays[key] = np.concatenate(values)
        else:
            arrays[key] = np.array(values)

    return arrays


def load_references(path: Path) -> References:
    """Read references as `save_references` wrote them."""
    names = [f"{kind}.{name}" for kind in ("source", "truth") for name in _FILE_NAMES.values()]
    arrays = read_arrays(path, ("lengths", "another", *names))
    ends = np.cumsum(arrays["lengths"])
    return References(
        source=_split_readings("source", arrays, ends[:-1]),
        truth=_split_readings("truth", arrays, ends[:-1]),
        another_identity=arrays["another"],
    )


def _split_readings(
    kind: str, arrays: Mapping[str, np.ndarray], ends: np.ndarray
) -> list[ClipReading]:
    """The readings of one kind; ends: (C - 1,) joined frames where each clip but the last ends."""
    columns = {}
    for name, file_name in _FILE_NAMES.items():
        values = arrays[f"{kind}.{file_name}"]
        columns[name] = np.split(values, ends) if name in _PER_FRAME else list(values)

    readings = []
    for number in range(len(ends) + 1):
        fields: dict[str, Any] = {name: column[number] for name, column in columns.items()}
        readings.append(ClipReading(**fields))

    return readings
