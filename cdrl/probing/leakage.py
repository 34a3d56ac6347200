"""What can be read from frozen embeddings by people and sentences the probe never saw: the wanted, and the leak.

Probes (all on features standardised with the fitting part's mean and deviation): `linear` logistic regression, C = 1;
`knn` 20 nearest neighbours by cosine; `mlp` one hidden layer of 128 with early stopping. A wanted factor is scored by the
linear probe, an unwanted one by the HIGHEST of the three. Chance is the fitting part's majority class, scored on the other.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cdrl.probing.bootstrap import Measure, group_interval, mean_of, row
from cdrl.probing.splits import clip_means, sample_frames, split

KINDS = ("linear", "knn", "mlp")
FACTORS = ("viseme", "phoneme", "sentence", "emotion", "intensity", "speaker")
FRAME_FACTORS = ("viseme", "phoneme")
WANTED = {"content": ("viseme", "phoneme", "sentence"), "emotion": ("emotion", "intensity")}
# At most this many frames fit a frame probe (fewer than 20,000 understate a leak) and at most this many score it:
# 20 neighbours of 10,000 frames among 25,000 cost 7 CPU seconds, and the interval is over speakers anyway.
MAX_FIT, MAX_SCORE = 25_000, 10_000


@dataclass(frozen=True)
class ProbeResult:
    """How well labels were read.

    Attributes:
        score, balanced: probe kind -> accuracy, balanced accuracy (mean recall of the classes that were scored).
        chance: accuracy of always answering the fitting part's majority class.
        hits: probe kind -> (n_score,) bool. chance_hits: (n_score,) bool. groups: (n_score,) speaker of each row.
        predicted: probe kind -> (n_score,) labels.
    """

    score: dict[str, float]
    balanced: dict[str, float]
    chance: float
    n_fit: int
    n_score: int
    hits: dict[str, np.ndarray]
    chance_hits: np.ndarray
    groups: np.ndarray
    predicted: dict[str, np.ndarray]

    @property
    def best(self) -> str:
        """The probe kind with the highest accuracy."""
        return max(self.score, key=self.score.get)

    @property
    def highest(self) -> float:
        """The highest accuracy of all probes: the leak."""
        return self.score[self.best]

    def interval(self, kind: str | None = None, seed: int = 0) -> tuple[float, float]:
        """95 % bootstrap interval over speakers of one kind's accuracy (default: of the highest)."""
        return group_interval(mean_of(self.hits[kind or self.best]), self.groups, seed)

    def row(self, kind: str | None = None, seed: int = 0) -> dict:
        """value, low, high, n, chance, balanced, n_fit, speakers and every kind's accuracy, of `kind` or of the highest."""
        kind = kind or self.best
        return row(
            mean_of(self.hits[kind]), self.groups, seed, chance=self.chance, balanced=self.balanced[kind],
            n_fit=self.n_fit, speakers=len(np.unique(self.groups)), probe=kind, **self.score,
        )  # fmt: skip


def _unit(values: np.ndarray) -> np.ndarray:
    """Rows at unit length; rows of zeros stay."""
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def _classifier(kind: str, num_rows: int, smallest_class: int, num_classes: int, seed: int):
    if kind == "linear":
        return LogisticRegression(C=1.0, max_iter=500)
    if kind == "knn":  # euclidean on unit rows has the neighbours of cosine and sklearn's fast path
        return KNeighborsClassifier(min(20, num_rows), algorithm="brute", metric="euclidean")
    if kind == "mlp":  # early stopping holds a tenth out, stratified: impossible for tiny sets
        stop = smallest_class >= 2 and num_rows >= 10 * num_classes
        return MLPClassifier((128,), early_stopping=stop, batch_size=min(256, num_rows), n_iter_no_change=8, max_iter=100,
                             random_state=seed)  # fmt: skip
    raise ValueError(f"unknown probe {kind!r}: accepted are {', '.join(KINDS)}")


def probe(
    features_fit: np.ndarray, labels_fit: np.ndarray, features_score: np.ndarray, labels_score: np.ndarray,
    kinds: tuple[str, ...] = KINDS, groups_score: np.ndarray | None = None, seed: int = 0, permuted: bool = False,
) -> ProbeResult:  # fmt: skip
    """Fit probes on one part, score them on the other.

    Args:
        features_fit, features_score: (n, D). labels_*: (n,) any sortable labels.
        kinds: subset of `KINDS`.
        groups_score: (n_score,) speakers, for the interval; each row its own group where None.
        permuted: fit on shuffled labels, the control that must score chance.

    Returns:
        A `ProbeResult`. A constant code scores exactly its chance; a one-hot code of the label scores 1 in all kinds.

    Raises:
        ValueError: for an unknown kind or an empty part.

    >>> code = np.repeat(np.eye(3), 40, axis=0); label = np.repeat([0, 1, 2], 40)
    >>> probe(code, label, code, label).highest
    1.0
    """
    labels_fit, labels_score = np.asarray(labels_fit), np.asarray(labels_score)
    if not len(labels_fit) or not len(labels_score):
        raise ValueError(f"a probe needs rows in both parts: got {len(labels_fit)} to fit, {len(labels_score)} to score")
    rng = np.random.default_rng([seed, 7002])
    labels_fit = rng.permutation(labels_fit) if permuted else labels_fit
    classes, counts = np.unique(labels_fit, return_counts=True)
    majority = classes[counts.argmax()]
    scaler = StandardScaler().fit(np.asarray(features_fit, np.float64))
    fit = scaler.transform(features_fit).astype(np.float32)
    scored = scaler.transform(features_score).astype(np.float32)
    empty = len(classes) == 1 or not np.any(scaler.var_ > 0)
    score, balanced, hits, predicted = {}, {}, {}, {}
    for kind in kinds:
        model = _classifier(kind, len(fit), counts.min(), len(classes), seed)
        one, two = (_unit(fit), _unit(scored)) if kind == "knn" else (fit, scored)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            # One class or a constant code carries nothing: neighbours would be decided by the order of rows.
            guess = np.full(len(two), majority) if empty else model.fit(one, labels_fit).predict(two)
        predicted[kind], hits[kind] = guess, guess == labels_score
        score[kind] = float(hits[kind].mean())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # classes predicted that the scored part lacks
            balanced[kind] = float(balanced_accuracy_score(labels_score, guess))
    groups = np.arange(len(labels_score)) if groups_score is None else np.asarray(groups_score)
    chance_hits = labels_score == majority
    return ProbeResult(score, balanced, float(chance_hits.mean()), len(labels_fit), len(labels_score), hits,
                       chance_hits, groups, predicted)  # fmt: skip


def share(result: ProbeResult, raw: ProbeResult, seed: int = 0) -> dict:
    """(score - chance) / (raw score - chance), highest probes of both, interval over speakers paired row by row.

    Returns:
        A row; an embedding equal to the raw features gives 1, a constant one 0. `raw` = the raw features' score.
    """
    columns = [result.hits[result.best], raw.hits[raw.best], result.chance_hits]

    def finish(sums):
        with np.errstate(invalid="ignore", divide="ignore"):
            return (sums[..., 0] - sums[..., 2]) / (sums[..., 1] - sums[..., 2])

    measure = Measure(np.stack(columns, axis=1).astype(np.float64), finish)
    return row(measure, result.groups, seed, raw=raw.highest, chance=0.0)


def spearman_probe(
    features_fit: np.ndarray, values_fit: np.ndarray, features_score: np.ndarray, values_score: np.ndarray,
    groups_score: np.ndarray, seed: int = 0, permuted: bool = False,
) -> dict:  # fmt: skip
    """Rank correlation of a ridge regression's prediction with an ordered value (intensity), on the scored part.

    Standardised features; the ridge penalty is chosen among 0.1 .. 10,000 by leave-one-out on the fitting part.

    Returns:
        A row: Spearman's rho as Pearson's r of ranks (ranks taken once, over the whole scored part), chance 0.
    """
    values_fit = np.asarray(values_fit, np.float64)
    if permuted:
        values_fit = np.random.default_rng([seed, 7003]).permutation(values_fit)
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 11)))
    guess = model.fit(np.asarray(features_fit, np.float64), values_fit).predict(np.asarray(features_score, np.float64))
    # A code without information predicts one value up to rounding: ranks of rounding errors are not a score.
    guess = np.round(guess, 9)
    measure = correlation_measure(rankdata(guess), rankdata(values_score))
    return row(measure, groups_score, seed, chance=0.0, n_fit=len(values_fit), speakers=len(np.unique(groups_score)))


def correlation_measure(first: np.ndarray, second: np.ndarray) -> Measure:
    """Pearson's r of two (n,) series as a measure; 0 where either is constant."""
    first, second = (np.asarray(values, np.float64) for values in (first, second))
    first, second = first - first.mean(), second - second.mean()
    sums = np.stack([np.ones_like(first), first, second, first**2, second**2, first * second], axis=1)

    def finish(total):
        n, a, b, aa, bb, ab = np.moveaxis(total, -1, 0)
        spread = (aa / n - (a / n) ** 2).clip(0) * (bb / n - (b / n) ** 2).clip(0)
        return np.where(spread > 1e-24, (ab / n - a * b / n**2) / np.sqrt(np.maximum(spread, 1e-24)), 0.0)

    return Measure(sums, finish)


@dataclass(frozen=True)
class Corpus:
    """What every score below reads: the clips, their frames, and how to sample them.

    Attributes:
        clips: speaker, sentence, emotion, intensity, num_frames and optionally fit, score (bool), one row per clip.
        frames: `frame_table` of these clips.
    """

    clips: pd.DataFrame
    frames: pd.DataFrame
    seed: int = 0
    max_fit: int = MAX_FIT
    max_score: int = MAX_SCORE

    def parts(self, factor: str, per_clip: bool) -> tuple[np.ndarray, np.ndarray]:
        """Rows (clips, or sampled frames) that fit and that score a probe of `factor`."""
        fit, score = split(self.clips, factor, self.seed)
        if per_clip:
            return np.flatnonzero(fit), np.flatnonzero(score)
        clip = self.frames["clip"].to_numpy()
        return sample_frames(clip, fit, self.max_fit, self.seed), sample_frames(clip, score, self.max_score, self.seed)

    def read(self, features, factor: str, per_clip: bool = False, kinds=KINDS, permuted: bool = False) -> ProbeResult:
        """Probe `factor` in (N, D) frame features, per frame or in clip means."""
        table = self.clips if per_clip else self.frames
        fit, score = self.parts(factor, per_clip)
        features = clip_means(features, self.frames["clip"].to_numpy(), len(self.clips)) if per_clip else features
        labels, speakers = table[factor].to_numpy(), table["speaker"].to_numpy()
        return probe(features[fit], labels[fit], features[score], labels[score], kinds, speakers[score], self.seed, permuted)

    def intensity(self, features, per_clip: bool = True, permuted: bool = False) -> dict:
        """Spearman of intensity; neutral, which has one level only, is left out."""
        table = self.clips if per_clip else self.frames
        features = clip_means(features, self.frames["clip"].to_numpy(), len(self.clips)) if per_clip else features
        dial = (table["emotion"] != "neutral").to_numpy()
        fit, score = (rows[dial[rows]] for rows in self.parts("intensity", per_clip))
        values, speakers = table["intensity"].to_numpy(), table["speaker"].to_numpy()
        return spearman_probe(features[fit], values[fit], features[score], values[score], speakers[score], self.seed, permuted)


def content_scores(embedding, corpus: Corpus, raw=None, prefix: str = "content", permuted: bool = False) -> dict[str, dict]:
    """The probe rows of a content embedding.

    Args:
        embedding: (N, D) per frame, its audio exchanged where it has one (with the right audio: prefix "content_av").
        raw: (N, E) the input features, for the share of the speaker leak that is left; no share where None.
        permuted: fit on shuffled labels (prefix "control.permuted.content").

    Returns:
        `PREFIX.viseme` (linear), `.emotion`, `.emotion_clip`, `.speaker` (highest of three), `.speaker_share`; each a row
        with value, chance, low, high, n, n_fit, balanced, and the three probes' own accuracies.
    """
    seed, options = corpus.seed, {"permuted": permuted}
    speaker = corpus.read(embedding, "speaker", **options)
    rows = {
        "viseme": corpus.read(embedding, "viseme", kinds=("linear",), **options).row(seed=seed),
        "emotion": corpus.read(embedding, "emotion", **options).row(seed=seed),
        "emotion_clip": corpus.read(embedding, "emotion", per_clip=True, **options).row(seed=seed),
        "speaker": speaker.row(seed=seed),
    }
    if raw is not None:
        rows["speaker_share"] = share(speaker, corpus.read(raw, "speaker"), seed)
    return {f"{prefix}.{name}": cells for name, cells in rows.items()}


def emotion_scores(embedding, corpus: Corpus, raw=None, prefix: str = "emotion", permuted: bool = False) -> dict[str, dict]:
    """The probe rows of an emotion embedding.

    Args:
        embedding: (N, D) per frame; clip rows read the mean over the clip. raw, permuted: as in `content_scores`.

    Returns:
        `PREFIX.emotion` (clip, linear; `_2`, `_3`: only clips of that intensity, where neutral has none),
        `.emotion_frame` (linear), `.intensity` (Spearman), `.viseme` (frame), `.sentence`, `.speaker` (clip), highest of
        three, and `_share` of the last three: what is left of the raw features' excess over chance.
    """
    seed, options = corpus.seed, {"permuted": permuted}
    emotion = corpus.read(embedding, "emotion", per_clip=True, kinds=("linear",), **options)
    rows = {"emotion": emotion.row(seed=seed)}
    for level in (2, 3):
        rows[f"emotion_{level}"] = _at_intensity(emotion, corpus, level)
    rows["emotion_frame"] = corpus.read(embedding, "emotion", kinds=("linear",), **options).row(seed=seed)
    rows["intensity"] = corpus.intensity(embedding, **options)
    for factor in ("viseme", "sentence", "speaker"):
        result = corpus.read(embedding, factor, per_clip=factor != "viseme", **options)
        rows[factor] = result.row(seed=seed)
        if raw is not None:
            rows[f"{factor}_share"] = share(result, corpus.read(raw, factor, per_clip=factor != "viseme"), seed)
    return {f"{prefix}.{name}": cells for name, cells in rows.items()}


def _at_intensity(result: ProbeResult, corpus: Corpus, level: int) -> dict:
    """The clip probe of emotion scored on one intensity; chance is the majority class of that intensity's fitting clips."""
    fit, score = corpus.parts("emotion", per_clip=True)
    strength, emotion = corpus.clips["intensity"].to_numpy(), corpus.clips["emotion"].to_numpy()
    keep = strength[score] == level
    names, counts = np.unique(emotion[fit][strength[fit] == level], return_counts=True)
    if not keep.any() or not len(names):
        return {"value": float("nan"), "low": float("nan"), "high": float("nan"), "n": 0, "chance": float("nan")}
    truth, guess = emotion[score][keep], result.predicted["linear"][keep]
    return row(
        mean_of(guess == truth), result.groups[keep], corpus.seed, chance=float(np.mean(truth == names[counts.argmax()])),
        balanced=float(np.mean([np.mean(guess[truth == name] == name) for name in np.unique(truth)])),
        n_fit=result.n_fit, probe="linear",
    )  # fmt: skip


def leakage_matrix(
    embeddings: dict[str, np.ndarray], corpus: Corpus, factors: tuple[str, ...] = FACTORS, kinds: tuple[str, ...] = KINDS,
) -> pd.DataFrame:  # fmt: skip
    """Which z holds which factor, per frame and in clip means.

    Args:
        embeddings: name -> (N, D) per frame; "content" and "emotion" have wanted factors (`WANTED`), any other name
            (the input features: the baseline) has neither wanted nor unwanted ones.
        factors: of `FACTORS`. Frames: all of them; clip means: those that a clip has one of.

    Returns:
        Tidy: z, factor, level (frame | clip), wanted (True, False or None), score, chance, corrected, low, high, n, n_fit,
        probe, p and one column per kind. `corrected` = (score - chance) / (1 - chance), 0 for a useless code, 1 for a perfect
        one; intensity's score is Spearman's rho and stands as it is. `low`, `high` belong to `score`. `p`: share of
        199 relabellings of the scored part (whole clips exchanged) that the same predictions fit as well or better.
    """
    table = []
    for name, features in embeddings.items():
        for factor in factors:
            for level in ("frame", "clip")[: 1 if factor in FRAME_FACTORS else 2]:
                wanted = factor in WANTED[name] if name in WANTED else None
                cells = _cell(features, corpus, factor, level == "clip", kinds, wanted)
                table.append({"z": name, "factor": factor, "level": level, "wanted": wanted, **cells})
    return pd.DataFrame(table)


def _cell(features, corpus: Corpus, factor: str, per_clip: bool, kinds, wanted) -> dict:
    if factor == "intensity":
        cells = corpus.intensity(features, per_clip)
        score = cells.pop("value")
        return {"score": score, "corrected": score, "probe": "ridge", **cells}
    result = corpus.read(features, factor, per_clip, kinds)
    cells = result.row("linear" if wanted and "linear" in kinds else None, corpus.seed)
    score, chance = cells.pop("value"), cells["chance"]
    _, rows = corpus.parts(factor, per_clip)
    clip = rows if per_clip else corpus.frames["clip"].to_numpy()[rows]
    labels = (corpus.clips if per_clip else corpus.frames)[factor].to_numpy()[rows]
    p = relabelling_p(result.predicted[cells["probe"]], labels, clip, corpus.seed)
    return {"score": score, "corrected": (score - chance) / (1 - chance), **cells, "p": p}


def relabelling_p(predicted: np.ndarray, labels: np.ndarray, clip: np.ndarray, seed: int = 0, draws: int = 199) -> float:
    """Share of relabellings, whole clips exchanged, that fixed predictions fit at least as well (the true one counted).

    Args:
        predicted, labels: (n,). clip: (n,) the clip of each row; clips keep their own run of labels in order.

    Returns:
        p in [1 / (draws + 1), 1]; uniform for predictions that know nothing.
    """
    rng = np.random.default_rng([seed, 7006])
    runs = np.split(np.arange(len(clip)), np.flatnonzero(clip[1:] != clip[:-1]) + 1)
    constant = all(np.all(labels[run] == labels[run[0]]) for run in runs)
    own, beaten = np.mean(predicted == labels), 1
    for _ in range(draws):
        order = rng.permutation(len(runs))
        if constant:  # one label a clip: exchange the labels, whatever the clips' lengths
            other = np.concatenate([np.full(len(run), labels[runs[at][0]]) for run, at in zip(runs, order)])
        else:
            other = labels[np.concatenate([runs[at] for at in order])]
        beaten += np.mean(predicted == other) >= own
    return float(beaten / (draws + 1))


def selectivity(matrix: pd.DataFrame) -> dict[str, float]:
    """Mean corrected score of the wanted factors minus that of the unwanted, per z; 1 for a perfect branch, 0 for a useless one."""
    judged = matrix[matrix["wanted"].notna()]
    means = judged.groupby(["z", judged["wanted"].astype(bool)])["corrected"].mean().unstack()
    return {str(z): float(line[True] - line[False]) for z, line in means.iterrows()}
