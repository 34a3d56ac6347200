"""Probes: how well a classifier predicts a label of new people from frozen embeddings.

All are fitted on features standardised with the fitting part's mean and std: `linear` logistic
regression, C = 1; `knn` 20 nearest neighbours by cosine; `mlp` one hidden layer of 128 with early
stopping. Chance is the fitting part's majority class, scored on the other part.
"""

import warnings
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from cdrl.evaluation.estimate import (
    Estimate,
    ScoreStatistics,
    central_moments,
    estimate_score,
    mean_statistics,
    raw_moments,
)

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

PROBE_KINDS = ("linear", "knn", "mlp")
SMALLEST_VARIANCE = 1e-6  # of a principal axis that a probe uses, relative to the largest
# Pearson's r is 0 where the product of both variances is smaller.
_STILL = 1e-24


@dataclass(frozen=True)
class ProbeResult:
    """How well labels were predicted.

    Attributes:
        score: kind of probe -> accuracy.
        balanced: kind -> balanced accuracy (mean recall of the classes that were scored).
        chance: accuracy of always answering the fitting part's majority class.
        n_fit: rows that fitted.
        hits: kind -> (n_score,) bool.
        chance_hits: (n_score,) bool, hits of the majority class.
        groups: (n_score,) speaker of each row.
        predicted: kind -> (n_score,) labels.
        unseen: share of the scored rows whose label no fitting row has; they can only be wrong.
    """

    score: dict[str, float]
    balanced: dict[str, float]
    chance: float
    n_fit: int
    hits: dict[str, np.ndarray]
    chance_hits: np.ndarray
    groups: np.ndarray
    predicted: dict[str, np.ndarray]
    unseen: float

    @property
    def best(self) -> str:
        """The kind of probe with the highest accuracy."""
        return max(self.score, key=self.score.__getitem__)

    @property
    def highest(self) -> float:
        """The highest accuracy of all probes, found on the rows that score: it errs upwards."""
        return self.score[self.best]

    def estimate(self, kind: str | None = None) -> Estimate:
        """The accuracy of one kind (default: the highest), and beside it those of all kinds."""
        kind = kind or self.best
        accuracy = mean_statistics(self.hits[kind])
        estimate = estimate_score(accuracy, self.groups, chance=self.chance)

        return estimate.with_details(
            balanced=self.balanced[kind],
            n_fit=self.n_fit,
            speakers=len(np.unique(self.groups)),
            probe=kind,
            unseen=self.unseen,
            **self.score,
        )


def fit_probes(
    features_fit: np.ndarray,
    labels_fit: ArrayLike,
    features_score: np.ndarray,
    labels_score: ArrayLike,
    kinds: tuple[str, ...] = PROBE_KINDS,
    groups_score: ArrayLike | None = None,
    seed: int = 0,
    permuted: bool = False,
) -> ProbeResult:
    """Fit probes on one part and score them on the other.

    Args:
        features_fit: (n_fit, D).
        labels_fit: (n_fit,) any sortable labels.
        features_score: (n_score, D).
        labels_score: (n_score,).
        kinds: of `PROBE_KINDS`.
        groups_score: (n_score,) speakers, for the interval; each row its own group where None.
        seed: of the permutation and of the multilayer perceptron.
        permuted: fit on shuffled labels, the control that must score chance.

    Returns:
        A `ProbeResult`. A constant code scores exactly its chance; a one-hot code of the label
        scores 1 in all kinds.

    Raises:
        ValueError: for an unknown kind, an empty part or features that are not finite.

    >>> code = np.repeat(np.eye(3), 40, axis=0); label = np.repeat([0, 1, 2], 40)
    >>> fit_probes(code, label, code, label).highest
    1.0
    """
    labels_fit = np.asarray(labels_fit)
    labels_score = np.asarray(labels_score)
    _check_parts(labels_fit, labels_score)
    _check_finite("fit", features_fit)
    _check_finite("score", features_score)

    if permuted:
        random = np.random.default_rng([seed, 7002])
        labels_fit = random.permutation(labels_fit)

    predicted = _predict_all(kinds, features_fit, labels_fit, features_score, seed)
    hits = {kind: predictions == labels_score for kind, predictions in predicted.items()}

    balanced = {}
    for kind, predictions in predicted.items():
        balanced[kind] = _balanced_accuracy(labels_score, predictions)

    if groups_score is None:
        groups_score = np.arange(len(labels_score))

    chance_hits = labels_score == _majority(labels_fit)
    # Of texts numpy compares every row with every other: with the distinct ones it takes no time.
    is_unseen = ~np.isin(labels_score, np.unique(labels_fit))

    return ProbeResult(
        score={kind: float(hits_of_kind.mean()) for kind, hits_of_kind in hits.items()},
        balanced=balanced,
        chance=float(chance_hits.mean()),
        n_fit=len(labels_fit),
        hits=hits,
        chance_hits=chance_hits,
        groups=np.asarray(groups_score),
        predicted=predicted,
        unseen=float(np.mean(is_unseen)),
    )


def _check_parts(labels_fit: np.ndarray, labels_score: np.ndarray) -> None:
    if not len(labels_fit) or not len(labels_score):
        raise ValueError(
            f"a probe needs rows in both parts: got {len(labels_fit)} to fit, {len(labels_score)} "
            "to score"
        )


def _check_finite(part: str, features: np.ndarray) -> None:
    """Refuse (n, D) features with a NaN or an infinite value; `part` is named in the message."""
    is_finite = np.isfinite(np.asarray(features, np.float64)).reshape(len(features), -1).all(1)
    if not is_finite.all():
        row = int(np.argmin(is_finite))
        raise ValueError(
            f"a probe needs finite features: {np.sum(~is_finite)} of {len(features)} rows to "
            f"{part} hold a NaN or an infinite value, the first is row {row}"
        )


def _majority(labels: np.ndarray) -> Hashable:
    """The most frequent of (n,) labels; the first in order where several are."""
    classes, counts = np.unique(labels, return_counts=True)
    return classes[counts.argmax()]


def _predict_all(
    kinds: tuple[str, ...],
    features_fit: np.ndarray,
    labels_fit: np.ndarray,
    features_score: np.ndarray,
    seed: int,
) -> dict[str, np.ndarray]:
    """Kind of probe -> (n_score,) predictions; the majority where nothing can be learnt."""
    from sklearn.preprocessing import StandardScaler  # here: its import takes a second

    scaler = StandardScaler().fit(np.asarray(features_fit, np.float64))
    fit = scaler.transform(features_fit).astype(np.float32)
    scored = scaler.transform(features_score).astype(np.float32)

    _, class_counts = np.unique(labels_fit, return_counts=True)
    is_informative = len(class_counts) > 1 and np.any(scaler.var_ > 0)

    predicted = {}
    for kind in kinds:
        model = _classifier(kind, len(fit), class_counts, seed)
        if is_informative:
            predicted[kind] = _predict(model, kind, fit, labels_fit, scored)
        else:
            # Neighbours would be decided by the order of rows.
            predicted[kind] = np.full(len(scored), _majority(labels_fit))

    return predicted


def _classifier(kind: str, num_rows: int, class_counts: np.ndarray, seed: int) -> "ClassifierMixin":
    """A probe that is not fitted yet; class_counts: (K,) fitting rows of each class."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier

    if kind == "linear":
        return LogisticRegression(C=1.0, max_iter=500)

    if kind == "knn":
        # Euclidean on unit rows has the neighbours of cosine and sklearn's fast path.
        num_neighbours = min(20, num_rows)
        return KNeighborsClassifier(num_neighbours, algorithm="brute", metric="euclidean")

    if kind != "mlp":
        raise ValueError(f"unknown probe {kind!r}: accepted are {', '.join(PROBE_KINDS)}")

    # Early stopping holds out a tenth, stratified: impossible for tiny sets.
    early_stopping = class_counts.min() >= 2 and num_rows >= 10 * len(class_counts)
    batch_size = 512 if num_rows >= 2000 else "auto"

    return MLPClassifier(
        (128,),
        early_stopping=early_stopping,
        batch_size=batch_size,
        n_iter_no_change=5,
        max_iter=100,
        random_state=seed,
    )


def _predict(
    model: "ClassifierMixin", kind: str, fit: np.ndarray, labels: np.ndarray, scored: np.ndarray
) -> np.ndarray:
    """Fit a probe on (n_fit, D) features and (n_fit,) labels -> (n_score,) predictions."""
    from sklearn.exceptions import ConvergenceWarning

    if kind == "knn":
        fit = _unit_rows(fit)
        scored = _unit_rows(scored)
    elif kind == "linear":
        fit, scored = _principal_axes(fit, scored)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(fit, labels).predict(scored)


def _unit_rows(features: np.ndarray) -> np.ndarray:
    """Rows at unit length; rows of zeros stay."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(lengths, 1e-12)


def _principal_axes(fit: np.ndarray, scored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both turned to the fitting part's principal axes, without those that it does not fill.

    A logistic regression with an L2 penalty gives the same predictions before and after; a narrow
    code in many dimensions is fitted in a tenth of the time.
    """
    num_dimensions = fit.shape[1]
    covariance = np.cov(fit, rowvar=False).reshape(num_dimensions, -1)
    variances, axes = np.linalg.eigh(covariance)
    is_filled = variances > SMALLEST_VARIANCE * variances.max()

    if is_filled.all():
        return fit, scored

    axes = axes[:, is_filled].astype(np.float32)

    return fit @ axes, scored @ axes


def _balanced_accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    from sklearn.metrics import balanced_accuracy_score

    with warnings.catch_warnings():
        # Of classes that are predicted and that the scored part lacks.
        warnings.simplefilter("ignore", UserWarning)
        return float(balanced_accuracy_score(labels, predictions))


def leak_share(result: ProbeResult, raw: ProbeResult) -> Estimate:
    """How much of the raw features' excess over chance an embedding keeps.

    (score - chance) / (raw score - chance), highest probes of both, interval over speakers paired
    row by row.

    Args:
        result: probes of the embedding.
        raw: probes of the raw features, on the same rows.

    Returns:
        1 for an embedding equal to the raw features, 0 for a constant one; `raw` is the raw
        features' accuracy.
    """
    hits = result.hits[result.best]
    raw_hits = raw.hits[raw.best]
    rows = np.stack([hits, raw_hits, result.chance_hits], axis=1)

    statistics = ScoreStatistics(rows.astype(np.float64), _excess_ratio)

    return estimate_score(statistics, result.groups, chance=0.0, raw=raw.highest)


def _excess_ratio(sums: np.ndarray) -> np.ndarray:
    """(..., 3) hits, raw hits and chance hits -> (...) ratio of the excesses over chance."""
    with np.errstate(invalid="ignore", divide="ignore"):
        excess = sums[..., 0] - sums[..., 2]
        raw_excess = sums[..., 1] - sums[..., 2]
        return excess / raw_excess


def spearman_probe(
    features_fit: np.ndarray,
    values_fit: ArrayLike,
    features_score: np.ndarray,
    values_score: ArrayLike,
    groups_score: ArrayLike,
    seed: int = 0,
    permuted: bool = False,
) -> Estimate:
    """Rank correlation of a ridge regression's prediction with an ordered value (intensity).

    Standardised features; the ridge penalty is chosen among 0.1 .. 10,000 by leave-one-out on the
    fitting part.

    Args:
        features_fit: (n, D).
        values_fit: (n,).
        features_score: (m, D).
        values_score: (m,).
        groups_score: (m,) the person of each row.
        seed: of the permutation.
        permuted: fit on shuffled values, the control that must score chance.

    Returns:
        Spearman's rho on the scored part as Pearson's r of ranks (ranks taken once, over the whole
        part), chance 0. A prediction in the right order but without ties scores .943 on three
        equally frequent levels: that is the ceiling, not 1.
    """
    from scipy.stats import rankdata
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    values_fit = np.asarray(values_fit, np.float64)
    if permuted:
        random = np.random.default_rng([seed, 7003])
        values_fit = random.permutation(values_fit)

    penalties = np.logspace(-1, 4, 11)
    model = make_pipeline(StandardScaler(), RidgeCV(penalties))
    model.fit(np.asarray(features_fit, np.float64), values_fit)

    predictions = model.predict(np.asarray(features_score, np.float64))
    # A code without information predicts one value up to rounding: ranks of rounding errors are not
    # a score.
    predictions = np.round(predictions, 9)

    correlation = correlation_statistics(rankdata(predictions), rankdata(values_score))
    num_speakers = len(np.unique(groups_score))

    return estimate_score(
        correlation, groups_score, chance=0.0, n_fit=len(values_fit), speakers=num_speakers
    )


def correlation_statistics(first: ArrayLike, second: ArrayLike) -> ScoreStatistics:
    """The statistics of Pearson's r of two (n,) series; 0 where either is constant."""
    first = np.asarray(first, np.float64)
    second = np.asarray(second, np.float64)

    columns = raw_moments(first - first.mean(), second - second.mean())
    return ScoreStatistics(np.stack(columns, axis=1), _pearson)


def _pearson(sums: np.ndarray) -> np.ndarray:
    """(..., 6) count, first and second moments -> (...) Pearson's r."""
    moments = central_moments(sums)
    first_variance = moments.first_variance.clip(0)
    second_variance = moments.second_variance.clip(0)

    variances = first_variance * second_variance
    scale = np.sqrt(np.maximum(variances, _STILL))
    return np.where(variances > _STILL, moments.covariance / scale, 0.0)
