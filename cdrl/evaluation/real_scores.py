"""Scores of edits of real faces, `real.EDITOR.EMOTION.SCORE`, from what was read in each clip.

A person counts once: every score is a mean, a share or a ratio over people, with its interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from cdrl.core.files import atomic_path
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.evaluation.edit_scores import closed_frames, closure, jitter
from cdrl.evaluation.estimate import (
    Estimate,
    ScoreStatistics,
    estimate_score,
    mean_statistics,
    share_from_hits,
)
from cdrl.evaluation.face_geometry import MEASURES, measure_face, measure_landmarks
from cdrl.evaluation.real_networks import EXPRESSION_NETWORKS, LANDMARKS

ALL = "all"  # the mean over the emotions
MEAN_SCORES = ("probability", "rise", "identity", *MEASURES, "opening_correlation", "background")
SCORES = ("top", *MEAN_SCORES, "closure", "jitter")
# Scores of a clip that somebody acted anew: other words, or other moments of them.
ACTED_SCORES = ("top", "probability", "rise", "identity", *MEASURES)
HIGH_IS_BAD = ("jitter", "background")
STILL = 1e-6  # standard deviation of a gap that does not move


@dataclass(frozen=True)
class FaceReading:
    """What the networks and the mesh read in one clip of T frames.

    Attributes:
        probabilities: (2, 7) of the expression networks, order `SCORED_EMOTIONS`.
        identity: (6, 1024) of six frames spread over the clip, unit norm.
        landmarks: (6, 68, 2) of these frames, 0 to 1 in the crop.
        points: (T, 468, 2) of the mesh.
        background: mean change of the pixels outside the face's crop, of 255; 0 for a source.
    """

    probabilities: np.ndarray
    identity: np.ndarray
    landmarks: np.ndarray
    points: np.ndarray
    background: float = 0.0


def save_reading(reading: FaceReading, path: Path, key: str) -> None:
    """Write a reading as .npz with the key of what it was made from."""
    arrays: dict[str, Any] = {"key": np.array(key)}
    for entry in fields(reading):
        value = np.asarray(getattr(reading, entry.name))
        arrays[entry.name] = value.astype(np.float32)

    with atomic_path(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, **arrays)


def load_reading(path: Path, key: str) -> FaceReading | None:
    """Read what `save_reading` wrote; None where it is missing, damaged or of something else."""
    try:
        with np.load(path) as arrays:
            if str(arrays["key"]) != key:
                return None
            values = {entry.name: arrays[entry.name] for entry in fields(FaceReading)}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None

    background = float(values.pop("background"))
    return FaceReading(**values, background=background)


@dataclass(frozen=True)
class PersonEdit:
    """One person's source and edit.

    Attributes:
        person: name.
        emotion: asked for.
        source: read in the source.
        edit: read in the edit.
    """

    person: str
    emotion: str
    source: FaceReading
    edit: FaceReading


def two_frames_identity(source: FaceReading) -> float:
    """Mean cosine of two different frames of the source."""
    return _cross_cosine(source.identity, source.identity)


def _cross_cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Mean cosine of frame i of one clip and frame j of another, i and j different."""
    cosines = first @ second.T
    others = ~np.eye(len(cosines), dtype=bool)
    return float(cosines[others].mean())


def rows_of_edit(edit: PersonEdit) -> dict[str, list[float]]:
    """The additive statistics of one person: score -> value or hits, and weight.

    `probability`, `rise` and `top` are of the mean of the expression networks; with a network's
    name behind a point they are of that one. Movements are by the mesh; with `landmarks` behind a
    point by the network of 68 landmarks.
    """
    target = SCORED_EMOTIONS.index(edit.emotion)
    rows: dict[str, list[float]] = {}

    before = edit.source.probabilities
    after = edit.edit.probabilities
    of_networks = {"": (before.mean(0), after.mean(0))}
    for number, network in enumerate(EXPRESSION_NETWORKS):
        of_networks[f".{network}"] = (before[number], after[number])
    for suffix, (source, edited) in of_networks.items():
        rows[f"probability{suffix}"] = [edited[target], 1]
        rows[f"rise{suffix}"] = [edited[target] - source[target], 1]
        rows[f"top{suffix}"] = [edited.argmax() == target, 1]
        rows[f"top_of_source{suffix}"] = [source.argmax() == target, 1]

    rows["identity"] = [_cross_cosine(edit.edit.identity, edit.source.identity), 1]
    rows["identity_of_two_frames"] = [two_frames_identity(edit.source), 1]
    rows["background"] = [edit.edit.background, 1]

    source_measures = measure_face(edit.source.points)
    edit_measures = measure_face(edit.edit.points)
    source_landmarks = measure_landmarks(edit.source.landmarks)
    edit_landmarks = measure_landmarks(edit.edit.landmarks)
    for name in MEASURES:
        rows[name] = [edit_measures[name].mean() - source_measures[name].mean(), 1]
        moved = edit_landmarks[name].mean() - source_landmarks[name].mean()
        rows[f"{name}.{LANDMARKS}"] = [moved, 1]
    if len(edit.edit.points) == len(edit.source.points):
        rows |= _motion_rows(edit, source_measures["mouth_opening"], edit_measures["mouth_opening"])

    return {name: [float(value) for value in row] for name, row in rows.items()}


def _motion_rows(
    edit: PersonEdit, source_gap: np.ndarray, edit_gap: np.ndarray
) -> dict[str, list[float]]:
    """The statistics of scores that compare frame by frame; (T,) gaps of the inner lips."""
    [closed_row] = closure([edit_gap], [closed_frames(source_gap)]).rows
    [jitter_row] = jitter([edit.edit.points], [edit.source.points]).rows
    rows = {"closure": closed_row.tolist(), "jitter": jitter_row.tolist()}

    if source_gap.std() > STILL and edit_gap.std() > STILL:
        correlation = np.corrcoef(source_gap, edit_gap)[0, 1]
        rows["opening_correlation"] = [correlation, 1]

    return rows


def estimate_real_scores(
    prefix: str, edits: Sequence[PersonEdit], names: Sequence[str] = SCORES
) -> dict[str, Estimate]:
    """The scores of one editor.

    Args:
        prefix: "real.actions".
        edits: of all people and emotions.
        names: of `SCORES`.

    Returns:
        `PREFIX.EMOTION.NAME` and `PREFIX.all.NAME`, with interval over people, n (people) and
        `worst`; `probability`, `rise` and `top` also for each network; `identity` with `two_frames`
        and `top` with `count` and `source`.
    """
    rows = [rows_of_edit(edit) for edit in edits]
    emotions = list(dict.fromkeys(edit.emotion for edit in edits))

    estimates: dict[str, Estimate] = {}
    for emotion in [*emotions, ALL]:
        selected: dict[str, list[dict[str, list[float]]]] = {}
        for edit, row in zip(edits, rows, strict=True):
            if emotion in (edit.emotion, ALL):
                selected.setdefault(edit.person, []).append(row)
        for name in names:
            of_score = _estimates_of(f"{prefix}.{emotion}.{name}", name, selected)
            estimates |= of_score

    return estimates


def _estimates_of(
    printed: str, name: str, rows: Mapping[str, list[dict[str, list[float]]]]
) -> dict[str, Estimate]:
    """The estimate of one score, and those of each network where it has some."""
    found = _statistics(name, rows)
    if found is None:
        return {}

    people, statistics = found
    estimate = estimate_score(statistics, people)
    per_person = values_by_person(statistics, people)
    worst = worst_person(name, per_person)
    worst_value = per_person.get(worst, float("nan"))
    estimate = estimate.with_details(people=len(per_person), worst=worst_value)
    estimate = _with_beside(estimate, name, rows)

    estimates = {printed: estimate}
    for network in (*EXPRESSION_NETWORKS, LANDMARKS):
        of_network = _statistics(f"{name}.{network}", rows)
        if of_network is not None:
            _, network_statistics = of_network
            value = network_statistics.value
            estimates[f"{printed}.{network}"] = Estimate(value, n=len(people))

    return estimates


def _with_beside(
    estimate: Estimate, name: str, rows: Mapping[str, list[dict[str, list[float]]]]
) -> Estimate:
    """The estimate with what stands beside it."""
    beside = {
        "identity": ("identity_of_two_frames", "two_frames"),
        "top": ("top_of_source", "source"),
    }
    if name in beside:
        other, label = beside[name]
        found = _statistics(other, rows)
        if found is not None:
            estimate = estimate.with_details(**{label: found[1].value})
    if name == "top":
        hits = 0.0
        for of_person in rows.values():
            hits += sum(row["top"][0] for row in of_person)
        estimate = estimate.with_details(count=hits)

    return estimate


def _statistics(
    name: str, rows: Mapping[str, list[dict[str, list[float]]]]
) -> tuple[list[str], ScoreStatistics] | None:
    """The people who have a score, and its statistics: one row a person, over the emotions."""
    people = []
    sums = []
    for person, of_person in rows.items():
        present = [row[name] for row in of_person if name in row]
        if present:
            people.append(person)
            sums.append(np.sum(present, axis=0))
    if not people:
        return None

    columns = np.array(sums)
    kind = name.partition(".")[0]
    if kind == "jitter":
        return people, ScoreStatistics(columns)
    if kind in ("top", "top_of_source", "closure"):
        return people, share_from_hits(columns)

    return people, mean_statistics(columns[:, 0] / columns[:, 1])


def values_by_person(statistics: ScoreStatistics, people: Sequence[str]) -> dict[str, float]:
    """A score of each person alone; those without weight are left out."""
    values = {}
    for number, person in enumerate(people):
        one = np.arange(len(people)) == number
        value = statistics.subset(one).value
        if np.isfinite(value):
            values[person] = value

    return values


def worst_person(name: str, values: Mapping[str, float]) -> str:
    """The person with the worst value of a score; nobody where there is none."""
    if not values:
        return ""

    choose = max if name in HIGH_IS_BAD else min
    return choose(values, key=lambda person: values[person])


def people_table(
    editor: str, edits: Sequence[PersonEdit], names: Sequence[str] = SCORES
) -> list[dict[str, Any]]:
    """One line a person and emotion with every score, and a line for the mean over emotions.

    Args:
        editor: "real.actions".
        edits: of all people and emotions.
        names: of `SCORES`.
    """
    lines = []
    for edit in edits:
        lines.append(_person_line(editor, edit.emotion, edit.person, [rows_of_edit(edit)], names))
    for person in dict.fromkeys(edit.person for edit in edits):
        rows = [rows_of_edit(edit) for edit in edits if edit.person == person]
        lines.append(_person_line(editor, ALL, person, rows, names))

    return lines


def _person_line(
    editor: str, emotion: str, person: str, rows: list[dict[str, list[float]]], names: Sequence[str]
) -> dict[str, Any]:
    """The scores of one person."""
    line: dict[str, Any] = {"editor": editor, "emotion": emotion, "person": person}
    for name in names:
        found = _statistics(name, {person: rows})
        if found is not None:
            line[name] = round(found[1].value, 4)

    return line
