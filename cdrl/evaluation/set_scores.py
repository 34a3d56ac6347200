"""FAD and CSIM, distances between sets of frames, on the kit's networks and on published ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import nn

from cdrl.evaluation.edit_metrics import ARCFACE, EFFICIENT_FACE, PROTOCOL
from cdrl.evaluation.estimate import Estimate
from cdrl.evaluation.judges import Judges
from cdrl.evaluation.readings import frames_to_tensor
from cdrl.evaluation.realism import (
    frechet_distance,
    load_published,
    published_features,
    set_similarity,
)

FRAMES_PER_DIMENSION = 2  # at least so many frames for each feature of an estimated covariance
# Features of one clip: network -> (T, D).
Features = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class SetMetric:
    """A distance between the edited frames and the untouched frames of the same people.

    Attributes:
        name: last part of its printed name.
        needs: keys of `cdrl.evaluation.edit_metrics.MISSING`.
        network: whose features are compared, as `FeatureExtractor` names it.
        pooled: Frechet distance over the frames of all people; else the mean over people of the
            similarity of each person's two sets.
    """

    name: str
    needs: frozenset[str]
    network: str
    pooled: bool


SET_METRICS = (
    SetMetric("frechet.identity", frozenset({PROTOCOL}), "identity", pooled=True),
    SetMetric("similarity.judge_a", frozenset({PROTOCOL}), "judge_a", pooled=False),
    SetMetric("fad", frozenset({ARCFACE}), "face", pooled=True),
    SetMetric("csim", frozenset({EFFICIENT_FACE}), "expression", pooled=False),
)


class FeatureExtractor:
    """The features of crops that FAD and CSIM compare.

    Args:
        judges: the kit's networks, with `identity` and `judge_a`.
        arcface: file of the published face network's weights; empty for none.
        efficient_face: file of the published expression network's weights; empty for none.
    """

    def __init__(self, judges: Judges, arcface: str = "", efficient_face: str = "") -> None:
        self.judges = judges
        self.published: dict[str, nn.Module] = {}
        if arcface:
            self.published["face"] = load_published("face", arcface)
        if efficient_face:
            self.published["expression"] = load_published("expression", efficient_face)

    def extract(self, frames: np.ndarray, networks: Sequence[str]) -> dict[str, np.ndarray]:
        """(T, S, S, 3) uint8 -> network: (T, D) features, for each network that is named."""
        images = frames_to_tensor(frames)
        features = {}
        for network in networks:
            if network in self.published:
                features[network] = published_features(self.published[network], frames)
            elif network == "identity":
                features[network] = self.judges.identity(images)
            else:
                features[network] = self.judges.features(network, images)

        return features


@dataclass(frozen=True)
class FrameSets:
    """The features of all edits and of all untouched clips.

    Attributes:
        edited: features of each edit.
        requests: table of the edits: speaker, emotion, and protocol where edits differ in timing.
            Without protocol all edits keep their source's timing, which is `intra`.
        untouched: features of each clip of the report.
        clips: table of those clips: speaker, emotion.
    """

    edited: Sequence[Features]
    requests: pd.DataFrame
    untouched: Sequence[Features]
    clips: pd.DataFrame

    def protocols(self) -> pd.Series:
        """(E,) the protocol of each edit."""
        if "protocol" in self.requests:
            return self.requests.protocol
        return pd.Series("intra", index=self.requests.index)

    def of_emotion(
        self, network: str, protocol: str, emotion: str
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The untouched and the edited frames of one emotion.

        Args:
            network: whose features.
            protocol: of the edits.
            emotion: target of the edits, and label of the untouched clips.

        Returns:
            Person -> (n, D) untouched frames, of the people who are edited and have some; person ->
            (n, D) edited frames.
        """
        is_edit = (self.protocols() == protocol) & (self.requests.emotion == emotion)
        edited = _frames_by_person(network, self.edited, self.requests, is_edit)

        of_people = self.clips.speaker.isin(list(edited))
        is_real = of_people & (self.clips.emotion == emotion)
        untouched = _frames_by_person(network, self.untouched, self.clips, is_real)

        return untouched, edited


def score_sets(
    prefix: str, sets: FrameSets, metrics: Sequence[SetMetric]
) -> tuple[dict[str, Estimate], list[str]]:
    """FAD and CSIM per protocol and emotion, and their plain mean over emotions.

    As in the release's tables, the real set is the untouched frames of the SOURCE actors in the
    target emotion.

    Args:
        prefix: of the printed names, as in "spfem.image.cdrl".
        sets: features of edits and of untouched clips.
        metrics: what to compute.

    Returns:
        `PREFIX.METRIC.PROTOCOL[.EMOTION]`, and a line for each score that had too few frames.
    """
    estimates: dict[str, Estimate] = {}
    notes = []
    for protocol in sorted(set(sets.protocols())):
        for metric in metrics:
            num_dimensions = sets.edited[0][metric.network].shape[1]
            min_frames = FRAMES_PER_DIMENSION * num_dimensions if metric.pooled else 0
            values, too_few = _score_emotions(metric, protocol, sets, min_frames)

            name = f"{prefix}.{metric.name}.{protocol}"
            estimates.update(_estimates_of_emotions(name, values))
            if too_few:
                emotions = ", ".join(too_few)
                notes.append(
                    f"left out {metric.name} of {protocol} edits to {emotions}: fewer than "
                    f"{min_frames} frames, made or real"
                )

    return estimates, notes


def _score_emotions(
    metric: SetMetric, protocol: str, sets: FrameSets, min_frames: int
) -> tuple[dict[str, float], list[str]]:
    """Emotion -> value, and the emotions with fewer frames than `min_frames`."""
    emotions = sets.requests.emotion[sets.protocols() == protocol]
    values: dict[str, float] = {}
    too_few = []
    for emotion in sorted(set(emotions)):
        untouched, edited = sets.of_emotion(metric.network, protocol, emotion)
        if min(_num_frames(untouched), _num_frames(edited)) < min_frames:
            too_few.append(emotion)
        elif untouched:
            values[emotion] = _distance(metric, untouched, edited)

    return values, too_few


def _frames_by_person(
    network: str, features: Sequence[Features], table: pd.DataFrame, selected: pd.Series
) -> dict[str, np.ndarray]:
    """The features of the selected clips, person by person: (n, D) each; selected: (C,) bool."""
    frames = {}
    for person in sorted(set(table.speaker[selected])):
        numbers = np.flatnonzero(selected & (table.speaker == person)).tolist()
        parts = [features[number][network] for number in numbers]
        frames[person] = np.concatenate(parts)

    return frames


def _num_frames(sets: dict[str, np.ndarray]) -> int:
    return sum(len(frames) for frames in sets.values())


def _distance(
    metric: SetMetric, real: dict[str, np.ndarray], edited: dict[str, np.ndarray]
) -> float:
    if metric.pooled:
        real_frames = np.concatenate(list(real.values()))
        edited_frames = np.concatenate(list(edited.values()))
        return frechet_distance(real_frames, edited_frames)

    similarities = []
    for person, frames in real.items():
        similarities.append(set_similarity(frames, edited[person]))

    return float(np.mean(similarities))


def _estimates_of_emotions(name: str, values: dict[str, float]) -> dict[str, Estimate]:
    """The value for each emotion, and the mean of all under `name`; nothing without a value."""
    estimates = {}
    for emotion, value in values.items():
        estimates[f"{name}.{emotion}"] = Estimate(value)

    if values:
        mean = float(np.mean(list(values.values())))
        estimates[name] = Estimate(mean, details={"emotions": len(values)})

    return estimates
