"""Probes: how well a classifier that never saw these people reads a label from frozen embeddings.

All read features standardised with the fitting part's mean and deviation: `linear` logistic regression, C = 1; `knn` 20
nearest neighbours by cosine; `mlp` one hidden layer of 128 with early stopping. Chance is the fitting part's majority
class, scored on the other part.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cdrl.evaluation.estimate import (
    ScoreStatistics,
    bootstrap_interval,
    estimate_score,
    mean_statistics,
)

PROBE_KINDS = ("linear", "knn", "mlp")


@dataclass(frozen=True)
class ProbeResult:
    """How well labels were read.

    Attributes:
        score, balanced: probe kind -> accuracy, balanced accuracy (mean recall of the classes that were scored).
        chance: accuracy of always answering the fitting part's majority class.
        hits: probe kind -> (n_score,) bool. chance_hits: (n_score,) bool. groups: (n_score,) speaker of each row.
        predicted: probe kind -> (n_score,) labels.
        unseen: share of the scored rows whose label no fitting row has; they can only be wrong.
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
    unseen: float

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
        return bootstrap_interval(mean_statistics(self.hits[kind or self.best]), self.groups, seed)

    def estimate(self, kind: str | None = None, seed: int = 0) -> dict:
        """A row of `kind` (or the highest): value, low, high, n, chance, balanced, n_fit, speakers; all accuracies."""
        kind = kind or self.best
        return estimate_score(
            mean_statistics(self.hits[kind]),
            self.groups,
            seed,
            chance=self.chance,
            balanced=self.balanced[kind],
            n_fit=self.n_fit,
            speakers=len(np.unique(self.groups)),
            probe=kind,
            unseen=self.unseen,
            **self.score,
        )


def _unit(values: np.ndarray) -> np.ndarray:
    """Rows at unit length; rows of zeros stay."""
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def _spanned(fit: np.ndarray, scored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both turned to the fitting part's principal axes, without those that it does not fill.

    A logistic regression with an L2 penalty gives the same predictions before and after; a narrow code in many dimensions
    is read in a tenth of the time.
    """
    variance, axes = np.linalg.eigh(np.cov(fit, rowvar=False).reshape(fit.shape[1], -1))
    axes = axes[:, variance > 1e-6 * variance.max()].astype(np.float32)
    return (fit @ axes, scored @ axes) if axes.shape[1] < fit.shape[1] else (fit, scored)


def _classifier(kind: str, num_rows: int, smallest_class: int, num_classes: int, seed: int):
    if kind == "linear":
        return LogisticRegression(C=1.0, max_iter=500)
    if kind == "knn":  # euclidean on unit rows has the neighbours of cosine and sklearn's fast path
        return KNeighborsClassifier(min(20, num_rows), algorithm="brute", metric="euclidean")
    if kind == "mlp":  # early stopping holds a tenth out, stratified: impossible for tiny sets
        stop = smallest_class >= 2 and num_rows >= 10 * num_classes
        batch = 512 if num_rows >= 2000 else "auto"
        return MLPClassifier(
            (128,),
            early_stopping=stop,
            batch_size=batch,
            n_iter_no_change=5,
            max_iter=100,
            random_state=seed,
        )
    raise ValueError(f"unknown probe {kind!r}: accepted are {', '.join(PROBE_KINDS)}")


def fit_probes(
    features_fit: np.ndarray,
    labels_fit: np.ndarray,
    features_score: np.ndarray,
    labels_score: np.ndarray,
    kinds: tuple[str, ...] = PROBE_KINDS,
    groups_score: np.ndarray | None = None,
    seed: int = 0,
    permuted: bool = False,
) -> ProbeResult:
    """Fit probes on one part, score them on the other.

    Args:
        features_fit, features_score: (n, D). labels_*: (n,) any sortable labels.
        kinds: subset of `PROBE_KINDS`.
        groups_score: (n_score,) speakers, for the interval; each row its own group where None.
        permuted: fit on shuffled labels, the control that must score chance.

    Returns:
        A `ProbeResult`. A constant code scores exactly its chance; a one-hot code of the label scores 1 in all kinds.

    Raises:
        ValueError: for an unknown kind or an empty part.

    >>> code = np.repeat(np.eye(3), 40, axis=0); label = np.repeat([0, 1, 2], 40)
    >>> fit_probes(code, label, code, label).highest
    1.0
    """
    labels_fit, labels_score = np.asarray(labels_fit), np.asarray(labels_score)
    if not len(labels_fit) or not len(labels_score):
        raise ValueError(
            f"a probe needs rows in both parts: got {len(labels_fit)} to fit, {len(labels_score)} to score"
        )
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
        one, two = _spanned(fit, scored) if kind == "linear" and not empty else (one, two)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            # One class or a constant code carries nothing: neighbours would be decided by the order of rows.
            guess = (
                np.full(len(two), majority) if empty else model.fit(one, labels_fit).predict(two)
            )
        predicted[kind], hits[kind] = guess, guess == labels_score
        score[kind] = float(hits[kind].mean())
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # classes predicted that the scored part lacks
            balanced[kind] = float(balanced_accuracy_score(labels_score, guess))
    groups = np.arange(len(labels_score)) if groups_score is None else np.asarray(groups_score)
    chance_hits, unseen = labels_score == majority, float(np.mean(~np.isin(labels_score, classes)))
    return ProbeResult(
        score,
        balanced,
        float(chance_hits.mean()),
        len(labels_fit),
        len(labels_score),
        hits,
        chance_hits,
        groups,
        predicted,
        unseen,
    )


def leak_share(result: ProbeResult, raw: ProbeResult, seed: int = 0) -> dict:
    """(score - chance) / (raw score - chance), highest probes of both, interval over speakers paired row by row.

    Returns:
        A row; an embedding equal to the raw features gives 1, a constant one 0. `raw` = the raw features' score.
    """
    columns = [result.hits[result.best], raw.hits[raw.best], result.chance_hits]

    def finish(sums):
        with np.errstate(invalid="ignore", divide="ignore"):
            return (sums[..., 0] - sums[..., 2]) / (sums[..., 1] - sums[..., 2])

    measure = ScoreStatistics(np.stack(columns, axis=1).astype(np.float64), finish)
    return estimate_score(measure, result.groups, seed, raw=raw.highest, chance=0.0)


def spearman_probe(
    features_fit: np.ndarray,
    values_fit: np.ndarray,
    features_score: np.ndarray,
    values_score: np.ndarray,
    groups_score: np.ndarray,
    seed: int = 0,
    permuted: bool = False,
) -> dict:
    """Rank correlation of a ridge regression's prediction with an ordered value (intensity), on the scored part.

    Standardised features; the ridge penalty is chosen among 0.1 .. 10,000 by leave-one-out on the fitting part.

    Args:
        features_fit, features_score: (n, D), (m, D). values_*: (n,), (m,). groups_score: (m,) of what is resampled.

    Returns:
        A row: Spearman's rho as Pearson's r of ranks (ranks taken once, over the whole scored part), chance 0. A
        prediction in the right order but without ties scores .943 on three equally frequent levels: that is the
        ceiling, not 1.
    """
    values_fit = np.asarray(values_fit, np.float64)
    if permuted:
        values_fit = np.random.default_rng([seed, 7003]).permutation(values_fit)
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 11)))
    guess = model.fit(np.asarray(features_fit, np.float64), values_fit).predict(
        np.asarray(features_score, np.float64)
    )
    # A code without information predicts one value up to rounding: ranks of rounding errors are not a score.
    guess = np.round(guess, 9)
    measure = correlation_statistics(rankdata(guess), rankdata(values_score))
    return estimate_score(
        measure,
        groups_score,
        seed,
        chance=0.0,
        n_fit=len(values_fit),
        speakers=len(np.unique(groups_score)),
    )


def correlation_statistics(first: np.ndarray, second: np.ndarray) -> ScoreStatistics:
    """Pearson's r of two (n,) series as a measure; 0 where either is constant."""
    first, second = (np.asarray(values, np.float64) for values in (first, second))
    first, second = first - first.mean(), second - second.mean()
    sums = np.stack(
        [np.ones_like(first), first, second, first**2, second**2, first * second], axis=1
    )

    def finish(total):
        n, a, b, aa, bb, ab = np.moveaxis(total, -1, 0)
        spread = (aa / n - (a / n) ** 2).clip(0) * (bb / n - (b / n) ** 2).clip(0)
        return np.where(
            spread > 1e-24, (ab / n - a * b / n**2) / np.sqrt(np.maximum(spread, 1e-24)), 0.0
        )

    return ScoreStatistics(sums, finish)
