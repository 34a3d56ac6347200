"""What probes predict from frozen embeddings of new people: wanted factors, and leaks.

A wanted factor is scored by the linear probe, an unwanted one by the HIGHEST of the three
(`cdrl.evaluation.probes`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError
from cdrl.evaluation.estimate import Estimate, estimate_score, mean_statistics
from cdrl.evaluation.probe_splits import clip_means, sample_frames, split_clips
from cdrl.evaluation.probes import PROBE_KINDS, ProbeResult, fit_probes, leak_share, spearman_probe

# At most this many frames fit a frame probe (fewer than 20,000 understate a leak) and at most this
# many score it: the three probes cost about 8 CPU seconds then, and the interval is over speakers.
MAX_FIT = 20_000
MAX_SCORE = 6_000
NUM_PERMUTATIONS = 199
NULL_INTERVAL = (0.005, 0.995)  # three probes are tried: 95 % would be too narrow
PERMUTED_MAX_FIT = 5000
PERMUTED_MAX_SCORE = 2500
_NAN = float("nan")


@dataclass(frozen=True)
class ProbeCorpus:
    """What every probe is fitted on and scored on: the clips, their frames, and how to sample them.

    Attributes:
        clips: speaker, sentence, emotion, intensity, num_frames and optionally fit, score (bool),
            one row a clip.
        frames: `frame_table` of these clips.
        seed: of the parts, the samples and the intervals.
        max_fit: at most so many frames fit a probe.
        max_score: at most so many frames score it.
    """

    clips: pd.DataFrame
    frames: pd.DataFrame
    seed: int = 0
    max_fit: int = MAX_FIT
    max_score: int = MAX_SCORE

    def table(self, per_clip: bool) -> pd.DataFrame:
        """The clips, or the frames."""
        return self.clips if per_clip else self.frames

    def split_rows(self, factor: str, per_clip: bool) -> tuple[np.ndarray, np.ndarray]:
        """Rows (clips, or sampled frames) that fit and that score a probe of `factor`."""
        fit, score = split_clips(self.clips, factor, self.seed)
        if per_clip:
            return np.flatnonzero(fit), np.flatnonzero(score)

        clip = self.frames["clip"].to_numpy()
        fit_rows = sample_frames(clip, fit, self.max_fit, self.seed)
        score_rows = sample_frames(clip, score, self.max_score, self.seed)

        return fit_rows, score_rows

    def missing_reason(self, factor: str, per_clip: bool) -> str:
        """Why a factor cannot be probed in these clips; "" where it can."""
        table = self.table(per_clip)
        if factor not in table:
            return f"no truth about {factor} on this corpus"

        try:
            fit, score = self.split_rows(factor, per_clip)
        except InputError as error:
            return str(error)

        if factor == "intensity":
            fit = self._with_levels(fit, per_clip)
            score = self._with_levels(score, per_clip)

        num_fit_values = table[factor].iloc[fit].nunique()
        num_score_values = table[factor].iloc[score].nunique()

        if min(num_fit_values, num_score_values) < 2:
            return f"fewer than two values of {factor} to fit, or to score"

        return ""

    def probe(
        self,
        features: np.ndarray,
        factor: str,
        per_clip: bool = False,
        kinds: tuple[str, ...] = PROBE_KINDS,
        permuted: bool = False,
    ) -> ProbeResult:
        """Probe a factor.

        Args:
            features: (N, D) per frame.
            factor: a column of the clips, or of the frames.
            per_clip: probe the mean over each clip instead of the frames.
            kinds: of `PROBE_KINDS`.
            permuted: fit on permuted labels, a control.
        """
        table = self.table(per_clip)
        labels = table[factor].to_numpy()
        speakers = table["speaker"].to_numpy()

        fit, score = self.split_rows(factor, per_clip)
        features = self._features(features, per_clip)

        return fit_probes(
            features[fit],
            labels[fit],
            features[score],
            labels[score],
            kinds,
            groups_score=speakers[score],
            seed=self.seed,
            permuted=permuted,
        )

    def probe_with_null(
        self,
        features: np.ndarray,
        factor: str,
        per_clip: bool = False,
        kinds: tuple[str, ...] = PROBE_KINDS,
    ) -> Estimate:
        """Probe a factor, and estimate what the same predictions score without information.

        `null` is the mean accuracy over 199 permutations of the scored labels, `null_low` to
        `null_high` the interval that holds 99 % of them.

        Args:
            features: (N, D) per frame.
            factor: as in `probe`.
            per_clip: as in `probe`.
            kinds: as in `probe`.
        """
        result = self.probe(features, factor, per_clip, kinds)
        _, score = self.split_rows(factor, per_clip)
        labels = self.table(per_clip)[factor].to_numpy()
        clips = np.arange(len(self.clips)) if per_clip else self.frames["clip"].to_numpy()

        predicted = result.predicted[result.best]
        accuracies = permutation_accuracies(predicted, labels[score], clips[score], self.seed)
        low, high = np.quantile(accuracies, NULL_INTERVAL)

        return result.estimate().with_details(
            null=float(accuracies.mean()), null_low=float(low), null_high=float(high)
        )

    def probe_intensity(
        self, features: np.ndarray, per_clip: bool = True, permuted: bool = False
    ) -> Estimate:
        """Rank correlation of intensity; neutral, which has one level only, is left out.

        Args:
            features: (N, D) per frame.
            per_clip: probe the mean over each clip instead of the frames.
            permuted: fit on permuted levels, a control.
        """
        table = self.table(per_clip)
        levels = table["intensity"].to_numpy()
        speakers = table["speaker"].to_numpy()

        fit, score = self.split_rows("intensity", per_clip)
        fit = self._with_levels(fit, per_clip)
        score = self._with_levels(score, per_clip)
        features = self._features(features, per_clip)

        return spearman_probe(
            features[fit],
            levels[fit],
            features[score],
            levels[score],
            speakers[score],
            self.seed,
            permuted,
        )

    def _with_levels(self, rows: np.ndarray, per_clip: bool) -> np.ndarray:
        """The (n,) rows whose emotion has levels."""
        emotions = self.table(per_clip)["emotion"].to_numpy()[rows]
        return rows[emotions != "neutral"]

    def _features(self, features: np.ndarray, per_clip: bool) -> np.ndarray:
        """(N, D) as they are, or (C, D) their mean over each clip."""
        if not per_clip:
            return features
        return clip_means(features, self.frames["clip"].to_numpy(), len(self.clips))


# Probes of the input features: the array (N, E), or what `raw_results` computed from it.
Raw = np.ndarray | Mapping[str, ProbeResult]


def content_scores(
    embedding: np.ndarray,
    corpus: ProbeCorpus,
    raw: Raw | None = None,
    prefix: str = "content",
    permuted: bool = False,
    known: Mapping[str, ProbeResult] | None = None,
) -> dict[str, Estimate]:
    """Probe a content embedding.

    Args:
        embedding: (N, D) per frame, its audio exchanged where it has one (with the right audio:
            prefix "content_av").
        corpus: its clips and frames.
        raw: (N, E) the input features, for the share of the speaker leak that is left, or
            `raw_results` of them; no share where None.
        prefix: of the names.
        permuted: fit on permuted labels (prefix "control.permuted.content").
        known: `raw_results` of this embedding, where it was probed before.

    Returns:
        `PREFIX.viseme` (linear), `.emotion`, `.emotion_clip`, `.speaker` (highest of three),
        `.speaker_share`; each with value, chance, low, high, n, n_fit, balanced, and the three
        probes' accuracies. What `ProbeCorpus.missing_reason` excludes is not there.
    """
    scores = {}
    if not corpus.missing_reason("viseme", per_clip=False):
        viseme = corpus.probe(embedding, "viseme", kinds=("linear",), permuted=permuted)
        scores["viseme"] = viseme.estimate()

    for name, per_clip in (("emotion", False), ("emotion_clip", True)):
        if not corpus.missing_reason("emotion", per_clip):
            emotion = corpus.probe(embedding, "emotion", per_clip, permuted=permuted)
            scores[name] = emotion.estimate()

    if not corpus.missing_reason("speaker", per_clip=False):
        if known:
            speaker = known["speaker"]
        else:
            speaker = corpus.probe(embedding, "speaker", permuted=permuted)
        scores["speaker"] = speaker.estimate()

        if raw is not None:
            raw_speaker = _raw_result(raw, corpus, "speaker", per_clip=False)
            scores["speaker_share"] = leak_share(speaker, raw_speaker)

    return {f"{prefix}.{name}": estimate for name, estimate in scores.items()}


def emotion_scores(
    embedding: np.ndarray,
    corpus: ProbeCorpus,
    raw: Raw | None = None,
    prefix: str = "emotion",
    permuted: bool = False,
) -> dict[str, Estimate]:
    """Probe an emotion embedding.

    Args:
        embedding: (N, D) per frame; the clip probes see the mean over the clip.
        corpus: its clips and frames.
        raw: as in `content_scores`.
        prefix: of the names.
        permuted: fit on permuted labels.

    Returns:
        `PREFIX.emotion` (clip, linear; `_2`, `_3`: only clips of that intensity, where neutral has
        none), `.emotion_frame` (linear), `.intensity` (Spearman), `.viseme` (frame), `.sentence`,
        `.speaker` (clip), highest of three, and `_share` of the last three: what is left of the raw
        features' excess over chance. What `ProbeCorpus.missing_reason` excludes is not there.
    """
    scores = {}
    if not corpus.missing_reason("emotion", per_clip=True):
        of_clips = corpus.probe(embedding, "emotion", True, ("linear",), permuted)
        scores["emotion"] = of_clips.estimate()
        for level in (2, 3):
            scores[f"emotion_{level}"] = _estimate_at_intensity(of_clips, corpus, level)

        of_frames = corpus.probe(embedding, "emotion", False, ("linear",), permuted)
        scores["emotion_frame"] = of_frames.estimate()

    if not corpus.missing_reason("intensity", per_clip=True):
        scores["intensity"] = corpus.probe_intensity(embedding, permuted=permuted)

    for factor, per_clip in (("viseme", False), ("sentence", True), ("speaker", True)):
        if corpus.missing_reason(factor, per_clip):
            continue
        result = corpus.probe(embedding, factor, per_clip, permuted=permuted)
        scores[factor] = result.estimate()
        if raw is not None:
            raw_result = _raw_result(raw, corpus, factor, per_clip)
            scores[f"{factor}_share"] = leak_share(result, raw_result)

    return {f"{prefix}.{name}": estimate for name, estimate in scores.items()}


def raw_results(
    raw: np.ndarray, corpus: ProbeCorpus, factors: Mapping[str, bool]
) -> dict[str, ProbeResult]:
    """Probe the input features once for many embeddings.

    Args:
        raw: (N, E) the input features.
        corpus: their clips and frames.
        factors: factor -> whether it is probed per clip.

    Returns:
        Factor -> result, without what `ProbeCorpus.missing_reason` excludes.
    """
    results = {}
    for factor, per_clip in factors.items():
        if not corpus.missing_reason(factor, per_clip):
            results[factor] = corpus.probe(raw, factor, per_clip)

    return results


def _raw_result(raw: Raw, corpus: ProbeCorpus, factor: str, per_clip: bool) -> ProbeResult:
    if isinstance(raw, Mapping):
        return raw[factor]
    return corpus.probe(raw, factor, per_clip)


def _estimate_at_intensity(result: ProbeResult, corpus: ProbeCorpus, level: int) -> Estimate:
    """The clip probe of emotion scored on one level; chance: the majority of its fitting clips."""
    fit, score = corpus.split_rows("emotion", per_clip=True)
    levels = corpus.clips["intensity"].to_numpy()
    emotions = corpus.clips["emotion"].to_numpy()

    has_level = levels[score] == level
    fit_emotions, counts = np.unique(emotions[fit][levels[fit] == level], return_counts=True)

    if not has_level.any() or not len(fit_emotions):
        return Estimate(_NAN, _NAN, _NAN, n=0, chance=_NAN)

    labels = emotions[score][has_level]
    predicted = result.predicted["linear"][has_level]
    majority = fit_emotions[counts.argmax()]

    recalls = []
    for emotion in np.unique(labels):
        recalls.append(np.mean(predicted[labels == emotion] == emotion))

    return estimate_score(
        mean_statistics(predicted == labels),
        result.groups[has_level],
        chance=float(np.mean(labels == majority)),
        balanced=float(np.mean(recalls)),
        n_fit=result.n_fit,
        probe="linear",
    )


def permuted_scores(
    scores: Callable[..., dict[str, Estimate]],
    embedding: np.ndarray,
    corpus: ProbeCorpus,
    prefix: str,
    draws: int = 5,
) -> dict[str, Estimate]:
    """`content_scores` or `emotion_scores` with probes fitted on permuted labels, a control.

    An embedding in few tight clusters gives each cluster one random label, so that one permutation
    may score far from chance: the mean over permutations (each on other frames, 5,000 at most) does
    not. Of three probes the highest MEAN counts.

    Args:
        scores: `content_scores` or `emotion_scores`.
        embedding: (N, D) per frame.
        corpus: its clips and frames.
        prefix: "control.permuted.content".
        draws: permutations.

    Returns:
        Estimates with value, chance (means over permutations), low, high (least and greatest
        permutation), n (permutations).
    """
    small = replace(
        corpus,
        max_fit=min(PERMUTED_MAX_FIT, corpus.max_fit),
        max_score=min(PERMUTED_MAX_SCORE, corpus.max_score),
    )
    runs = []
    for draw in range(draws):
        redrawn = replace(small, seed=corpus.seed + draw)
        runs.append(scores(embedding, redrawn, prefix=prefix, permuted=True))

    return {name: _mean_of_permutations([run[name] for run in runs]) for name in runs[0]}


def _mean_of_permutations(estimates: list[Estimate]) -> Estimate:
    """One score over several permutations, by the kind of probe with the highest mean."""
    values_of_kind: dict[str, list[float]] = {}
    for kind in PROBE_KINDS:
        if kind in estimates[0].details:
            values_of_kind[kind] = [float(estimate.details[kind]) for estimate in estimates]

    if not values_of_kind:
        values_of_kind["value"] = [estimate.value for estimate in estimates]

    means = {kind: np.mean(values) for kind, values in values_of_kind.items()}
    best = max(means, key=means.__getitem__)
    values = values_of_kind[best]

    return Estimate(
        value=float(np.mean(values)),
        low=float(min(values)),
        high=float(max(values)),
        n=len(estimates),
        chance=float(np.mean([estimate.chance for estimate in estimates])),
        details={"probe": best},
    )


def permutation_accuracies(
    predicted: np.ndarray,
    labels: np.ndarray,
    clip: np.ndarray,
    seed: int = 0,
    draws: int = NUM_PERMUTATIONS,
) -> np.ndarray:
    """Accuracies of fixed predictions when the labels of whole clips are permuted.

    This is what the predictions score without information.

    Args:
        predicted: (n,) labels.
        labels: (n,) true labels.
        clip: (n,) the clip of each row; clips keep their labels in order.
        seed: of the permutations.
        draws: how many.

    Returns:
        (draws,) accuracies.
    """
    random = np.random.default_rng([seed, 7006])
    begins = np.flatnonzero(clip[1:] != clip[:-1]) + 1
    runs = np.split(np.arange(len(clip)), begins)

    lengths = [len(run) for run in runs]
    first_labels = labels[[run[0] for run in runs]]
    one_label_a_clip = np.array_equal(labels, np.repeat(first_labels, lengths))

    accuracies = []
    for _ in range(draws):
        order = random.permutation(len(runs))
        if one_label_a_clip:
            # Exchange the labels, whatever the lengths of the clips.
            permuted = np.repeat(first_labels[order], lengths)
        else:
            permuted = labels[np.concatenate([runs[number] for number in order])]
        accuracies.append(np.mean(predicted == permuted))

    return np.array(accuracies)
