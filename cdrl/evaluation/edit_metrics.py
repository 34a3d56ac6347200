"""The scores of an edit. Each declares what it needs; without that it is left out with a reason."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from cdrl.evaluation import edit_scores
from cdrl.evaluation.estimate import ScoreStatistics, mean_statistics, share_from_hits
from cdrl.evaluation.readings import ClipReading, References, collect
from cdrl.studio.head import LANDMARKS

TRUE_EDITS = "true edits"
OTHER_CLIPS = "other clips"
PROTOCOL = "protocol"
BILABIALS = "bilabials"
SYNCNET = "syncnet"
ARCFACE = "arcface"
EFFICIENT_FACE = "efficient_face"
# What a score may need -> why the score is left out where it is missing.
MISSING = {
    TRUE_EDITS: "they compare with a true edit, and nobody acted the same moment twice",
    OTHER_CLIPS: "it takes two people, with two clips each",
    BILABIALS: "the phonemes of the sources are not known",
    PROTOCOL: "sets of frames are compared where there are no true edits to compare with",
    SYNCNET: "they need SyncNet v2's weights: --set evaluate.syncnet=FOLDER/syncnet_v2.model",
    ARCFACE: "it needs the ArcFace ResNet-18 of arcface-pytorch: "
    "--set evaluate.arcface=FOLDER/resnet18_110.pth",
    EFFICIENT_FACE: "it needs EfficientFace on AffectNet-7: "
    "--set evaluate.efficient_face=FOLDER/EfficientFace_Trained_on_AffectNet7.pth.tar",
}


@dataclass(frozen=True)
class EditReadings:
    """Everything that the scores of one variant are computed from; E edits in one order.

    Attributes:
        outputs: readings of the edited clips.
        references: readings of what they are compared with.
        target_emotions: (E,) the requested emotion.
        speakers: (E,) the person.
        clip_values: name of a score -> its value for each edit, where it is computed from frames.
        closed: (T,) bool of each edit: frames in which the source's speech closes the lips; none
            where its phonemes are not known.
    """

    outputs: list[ClipReading]
    references: References
    target_emotions: np.ndarray
    speakers: np.ndarray
    clip_values: Mapping[str, Sequence[float]] = field(default_factory=dict)
    closed: Sequence[np.ndarray] = ()


class Needing(Protocol):
    """A score that says what it needs."""

    @property
    def name(self) -> str:
        """Last part of its printed name."""

    @property
    def needs(self) -> frozenset[str]:
        """Keys of `MISSING`."""


@dataclass(frozen=True)
class Metric:
    """A score with one row of statistics an edit.

    Attributes:
        name: last part of its printed name.
        needs: keys of `MISSING`; it is computed where all are available.
        compute: readings of all edits -> statistics of E rows.
        restore: (E, M) rows of those statistics, as they were kept in a file -> the statistics.
    """

    name: str
    needs: frozenset[str]
    compute: Callable[[EditReadings], ScoreStatistics]
    restore: Callable[[np.ndarray], ScoreStatistics] = ScoreStatistics


def left_out_notes(metrics: Iterable[Needing], available: set[str]) -> list[str]:
    """One line for each thing that is missing: the scores that need it, and why they do."""
    left_out: dict[str, list[str]] = {}
    for metric in metrics:
        missing = metric.needs - available
        for need in sorted(missing):
            left_out.setdefault(need, []).append(metric.name)

    notes = []
    for need, names in left_out.items():
        scores = ", ".join(names)
        notes.append(f"left out {scores}: {MISSING[need]}")

    return notes


def _emotion_accuracy(readings: EditReadings) -> ScoreStatistics:
    return accuracy_of_readings(readings.outputs, readings.target_emotions)


def accuracy_of_readings(readings: list[ClipReading], target: np.ndarray) -> ScoreStatistics:
    """Accuracy of the lower judge in clips that should show the emotions `target`, (E,)."""
    first = np.array(collect(readings, "judge_a"))
    second = np.array(collect(readings, "judge_b"))
    return edit_scores.emotion_accuracy(first, second, target)


def _mouth_curves(readings: EditReadings) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The mouth curves of every edit and of its true edit."""
    output = collect(readings.outputs, "mouth_curves")
    truth = collect(readings.references.truth, "mouth_curves")
    return output, truth


def _mouth_error(readings: EditReadings) -> ScoreStatistics:
    return edit_scores.mouth_error(*_mouth_curves(readings))


def _mouth_correlation(readings: EditReadings) -> ScoreStatistics:
    return edit_scores.mouth_correlation(*_mouth_curves(readings))


def _mouth_posture_error(readings: EditReadings) -> ScoreStatistics:
    return edit_scores.mouth_posture_error(*_mouth_curves(readings))


def _mouth_motion_error(readings: EditReadings) -> ScoreStatistics:
    return edit_scores.mouth_motion_error(*_mouth_curves(readings))


def _mouth_truth_correlation(readings: EditReadings) -> ScoreStatistics:
    return edit_scores.mouth_truth_correlation(*_mouth_curves(readings))


def _closure(readings: EditReadings) -> ScoreStatistics:
    """Closed lips in the frames in which the source's speech closes them."""
    return closure_of_readings(readings.outputs, readings.closed)


def closure_of_readings(
    readings: list[ClipReading], closed: Sequence[np.ndarray]
) -> ScoreStatistics:
    """The share of (T,) `closed` frames of each clip whose tracked lips are closed."""
    gaps = [lip_gap(reading.landmarks) for reading in readings]
    return edit_scores.closure(gaps, closed)


def lip_gap(landmarks: np.ndarray) -> np.ndarray:
    """(T, L, 2) studio landmarks -> (T,) gap of the inner lips in outer eye distances."""
    upper = landmarks[:, LANDMARKS.index("upper_lip_inner")]
    lower = landmarks[:, LANDMARKS.index("lower_lip_inner")]
    right_eye = landmarks[:, LANDMARKS.index("right_eye_outer")]
    left_eye = landmarks[:, LANDMARKS.index("left_eye_outer")]

    gap = np.linalg.norm(upper - lower, axis=-1)
    eye_distance = np.linalg.norm(right_eye - left_eye, axis=-1)
    return gap / eye_distance


def _speech_correlation(readings: EditReadings) -> ScoreStatistics:
    output = collect(readings.outputs, "mouth_curves")
    source = collect(readings.references.source, "mouth_curves")
    return edit_scores.speech_correlation(output, source)


def _identity(readings: EditReadings) -> ScoreStatistics:
    """Identity in the true edit is the goal; where there is none, identity in the source clip."""
    references = readings.references
    goal = references.truth or references.source

    output = np.array(collect(readings.outputs, "identity"))
    expected = np.array(collect(goal, "identity"))
    another = np.asarray(references.another_identity)

    return edit_scores.identity(output, expected, another, readings.speakers)


def _jitter(readings: EditReadings) -> ScoreStatistics:
    output = collect(readings.outputs, "landmarks")
    source = collect(readings.references.source, "landmarks")
    return edit_scores.jitter(output, source)


def _mean_over_clips(name: str, readings: EditReadings) -> ScoreStatistics:
    return mean_statistics(readings.clip_values[name])


_NOTHING: frozenset[str] = frozenset()
_NEEDS_TRUTH = frozenset({TRUE_EDITS})
_NEEDS_SYNCNET = frozenset({SYNCNET})

METRICS = (
    Metric("emotion_accuracy", _NOTHING, _emotion_accuracy, edit_scores.accuracy_from_hits),
    Metric("mouth_error", _NEEDS_TRUTH, _mouth_error, edit_scores.mouth_error_from_moments),
    Metric(
        "mouth_correlation",
        _NEEDS_TRUTH,
        _mouth_correlation,
        edit_scores.mouth_correlation_from_moments,
    ),
    Metric(
        "mouth_posture_error", _NEEDS_TRUTH, _mouth_posture_error, edit_scores.error_part_from_rows
    ),
    Metric(
        "mouth_motion_error", _NEEDS_TRUTH, _mouth_motion_error, edit_scores.error_part_from_rows
    ),
    Metric("mouth_truth_correlation", _NEEDS_TRUTH, _mouth_truth_correlation),
    Metric("closure", frozenset({BILABIALS}), _closure, share_from_hits),
    Metric("speech_correlation", _NOTHING, _speech_correlation),
    Metric("identity", frozenset({OTHER_CLIPS}), _identity),
    Metric("jitter", _NOTHING, _jitter),
    Metric("psnr", _NEEDS_TRUTH, partial(_mean_over_clips, "psnr")),
    Metric("mouth_l1", _NEEDS_TRUTH, partial(_mean_over_clips, "mouth_l1")),
    Metric("lse_d", _NEEDS_SYNCNET, partial(_mean_over_clips, "lse_d")),
    Metric("lse_c", _NEEDS_SYNCNET, partial(_mean_over_clips, "lse_c")),
)
# Scores that the tables of edits show, in their order.
TABLE_SCORES = (
    "emotion_accuracy",
    "mouth_error",
    "mouth_posture_error",
    "mouth_motion_error",
    "mouth_correlation",
    "mouth_truth_correlation",
    "speech_correlation",
    "closure",
    "psnr",
    "mouth_l1",
    "identity",
    "jitter",
)
# Scores of edits that are rendered with the true person, so that picture and identity say nothing.
RENDERED_SCORES = (
    "emotion_accuracy",
    "mouth_error",
    "mouth_posture_error",
    "mouth_motion_error",
    "mouth_correlation",
    "mouth_truth_correlation",
    "speech_correlation",
    "jitter",
)
# Scores that are read at every intensity scale.
SWEEP_SCORES = (
    "emotion_accuracy",
    "mouth_error",
    "mouth_posture_error",
    "mouth_motion_error",
    "speech_correlation",
)
LIP_SYNC_SCORES = ("lse_d", "lse_c")
_METRIC_OF = {metric.name: metric for metric in METRICS}


def with_derived_scores(statistics: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Statistics that were kept before some scores existed, with those that they hold.

    Args:
        statistics: name -> (E, M) rows; those of `mouth_error` hold the moments of each clip.

    Returns:
        The same with `mouth_posture_error`, `mouth_motion_error` and `mouth_truth_correlation`.
    """
    moments = statistics.get("mouth_error")
    if moments is None:
        return statistics

    derived = {
        "mouth_posture_error": edit_scores.posture_rows(moments),
        "mouth_motion_error": edit_scores.motion_rows(moments),
        "mouth_truth_correlation": edit_scores.clip_correlation_from_moments(moments).rows,
    }
    return derived | statistics


def compute_statistics(readings: EditReadings, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The statistics of the named scores: name -> (E, M) rows."""
    statistics = {}
    for metric in METRICS:
        if BILABIALS in metric.needs and not readings.closed:
            continue
        if metric.name in names:
            statistics[metric.name] = metric.compute(readings).rows

    return statistics


def restore_statistics(name: str, rows: np.ndarray) -> ScoreStatistics:
    """The statistics of score `name` from rows (C, M) that were kept.

    `restore_statistics(name, statistics.rows).value == statistics.value` for every score.
    """
    return _METRIC_OF[name].restore(rows)
