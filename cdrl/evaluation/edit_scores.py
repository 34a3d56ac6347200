"""Scores of an edit against the true edit: emotion, mouth, picture, identity, steadiness.

Each function takes what the evaluation networks read (lists with one array per clip, in one clip order) and gives a
`ScoreStatistics`: additive statistics per clip with a formula. `estimate_per_emotion` turns measures into rows with a bootstrap interval
over speakers, per emotion too; `cdrl.evaluation.estimate.paired_difference` compares two variants clip by clip.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from cdrl.core.vocabulary import ACTIONS
from cdrl.evaluation.estimate import ScoreStatistics, estimate_score, mean_statistics, ratio

CURVES = ("jaw opening", "lip width", "lip rounding")
_WIDE = [
    ACTIONS.index(f"mouth{name}{side}")
    for name in ("Stretch", "Smile", "Dimple")
    for side in ("Left", "Right")
]
_ROUND = [ACTIONS.index("mouthPucker"), ACTIONS.index("mouthFunnel")]
# Mean squared errors below this are perfect: PSNR stops at 100 dB.
LEAST_MSE = 1e-10
# A source curve that moves less (in coefficient units, 0 to 1) has nothing to correlate with.
STILL = 1e-4


def scored_clips(table: pd.DataFrame) -> np.ndarray:
    """(C,) bool: edits whose source emotion is not the target; columns source_emotion, target_emotion."""
    return (table["source_emotion"] != table["target_emotion"]).to_numpy()


def mouth_curves(coefficients: np.ndarray) -> np.ndarray:
    """Jaw opening, lip width and lip rounding from facial actions.

    jaw opening = jawOpen; lip rounding = mean(mouthPucker, mouthFunnel); lip width = mean of mouthStretch, mouthSmile
    and mouthDimple, left and right, minus lip rounding.

    Args:
        coefficients: (T, 52) in [0, 1], order `vocabulary.ACTIONS`.

    Returns:
        (T, 3) float64; jaw and rounding in [0, 1], width in [-1, 1]. A face at rest gives 0, 0, 0.
    """
    coefficients = np.asarray(coefficients, np.float64)
    rounding = coefficients[:, _ROUND].mean(1)
    width = coefficients[:, _WIDE].mean(1) - rounding
    return np.stack([coefficients[:, ACTIONS.index("jawOpen")], width, rounding], axis=1)


def _moments(output: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(K, 6) count and first and second moments of two (T, K) curves."""
    if output.shape != truth.shape:
        raise ValueError(f"curves of one clip differ in shape: {output.shape} and {truth.shape}")
    output, truth = np.asarray(output, np.float64), np.asarray(truth, np.float64)
    parts = [np.ones_like(output), output, truth, output**2, truth**2, output * truth]
    return np.stack([part.sum(0) for part in parts], axis=1)


def _unpack(sums: np.ndarray) -> tuple:
    """(..., 18) pooled moments -> mean squared error, both variances, covariance, each (..., 3)."""
    moments = sums.reshape(*sums.shape[:-1], len(CURVES), 6)
    n, a, b, aa, bb, ab = np.moveaxis(moments, -1, 0)
    return (
        (aa + bb - 2 * ab) / n,
        aa / n - (a / n) ** 2,
        bb / n - (b / n) ** 2,
        ab / n - a * b / n**2,
    )


def mouth_error(output: list[np.ndarray], truth: list[np.ndarray]) -> ScoreStatistics:
    """RMS error of the three mouth curves, each in standard deviations of the truth, pooled over all frames and curves.

    The deviations are the truth's over ALL clips, also for the value of one emotion.

    Args:
        output, truth: (T, 3) per clip, `mouth_curves` of the evaluation tracker on the output and on the true edit.

    Returns:
        >= 0; 0 for the truth, 1 for always answering the truth's mean, sqrt(2) for curves of another moment.
    """
    return mouth_error_of(
        np.stack([_moments(one, two).ravel() for one, two in zip(output, truth, strict=True)])
    )


def mouth_error_of(sums: np.ndarray) -> ScoreStatistics:
    """`mouth_error` from its own statistics, (C, 18)."""
    moving = _unpack(sums.sum(0))[2]
    if np.any(moving <= STILL**2):
        still = [name for name, spread in zip(CURVES, moving) if spread <= STILL**2]
        raise ValueError(
            f"the true edits never move {', '.join(still)}: no unit to measure the error in"
        )

    def finish(total):
        return np.sqrt((_unpack(total)[0].clip(0) / moving).mean(-1))

    return ScoreStatistics(sums, finish)


def mouth_correlation(output: list[np.ndarray], truth: list[np.ndarray]) -> ScoreStatistics:
    """Pearson r of the three mouth curves, each pooled over all frames of all clips, then the mean of three.

    Args:
        output, truth: one (T, 3) array of curves a clip.

    Returns:
        In [-1, 1]; 1 for the truth and any scaling of it. A curve that never moves counts 0.
    """
    return ScoreStatistics(
        np.stack([_moments(one, two).ravel() for one, two in zip(output, truth, strict=True)]),
        correlation,
    )


def correlation(total: np.ndarray) -> np.ndarray:
    """(..., 18) pooled moments of the three curves -> (...) mean of their three correlations."""
    _, spread_one, spread_two, together = _unpack(total)
    spread = spread_one.clip(0) * spread_two.clip(0)
    return np.where(spread > STILL**4, together / np.sqrt(np.maximum(spread, STILL**4)), 0.0).mean(
        -1
    )


def speech_correlation(output: list[np.ndarray], source: list[np.ndarray]) -> ScoreStatistics:
    """Pearson r of the mouth curves within each clip, output against SOURCE, mean over its curves, then over clips.

    Args:
        output, source: one (T, 3) array of curves a clip.

    Returns:
        1 for a copied source. It measures preservation, not quality: the studio's true edits have .896, so a value above theirs is
        farther from the right answer, not nearer. It does not see lips that no longer close. A curve that the source never moves is left
        out (a clip without any: no weight); one that only the output never moves counts 0.
    """
    values = []
    for one, two in zip(output, source, strict=True):
        n, a, b, aa, bb, ab = _moments(one, two).T
        spread_one, spread_two = aa / n - (a / n) ** 2, bb / n - (b / n) ** 2
        moving = spread_two > STILL**2
        scale = np.sqrt(np.maximum(spread_one, STILL**2) * np.maximum(spread_two, STILL**2))
        r = np.where(spread_one > STILL**2, (ab / n - a * b / n**2) / scale, 0.0)
        values.append(r[moving].mean() if moving.any() else np.nan)
    return mean_statistics(np.array(values))


def psnr(output: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal to noise of one clip's aligned face crops, (T, H, W, 3) in [0, 1]: dB per frame, mean over frames.

    Returns:
        20 dB for an error of 0.1 everywhere, 100 dB (the ceiling) for the truth itself.
    """
    error = ((_floats(output) - _floats(truth)) ** 2).mean(axis=(1, 2, 3))
    return float(np.mean(-10 * np.log10(np.maximum(error, LEAST_MSE))))


def mouth_box(landmarks: np.ndarray, margin: float = 0.25) -> np.ndarray:
    """The box around one clip's mouth landmarks, frame by frame, each side moved out by `margin` of the box's own size.

    Args:
        landmarks: (T, M, 2) x, y of the MOUTH points of the TRUE edit, relative to the crop, 0 to 1.

    Returns:
        (T, 4) left, top, right, bottom, within [0, 1].
    """
    low, high = np.asarray(landmarks, np.float64).min(1), np.asarray(landmarks, np.float64).max(1)
    wider = margin * (high - low)
    return np.clip(np.concatenate([low - wider, high + wider], axis=1), 0, 1)


def mouth_l1(output: np.ndarray, truth: np.ndarray, boxes: np.ndarray) -> float:
    """Mean absolute error inside the mouth box of one clip, mean over its frames.

    Args:
        output, truth: (T, H, W, 3) aligned face crops in [0, 1] or uint8. boxes: (T, 4) from `mouth_box`.

    Returns:
        In [0, 1]; 0 for the truth. Boxes are rounded outwards and hold at least one pixel.
    """
    height, width = truth.shape[1:3]
    errors = []
    for one, two, (left, top, right, bottom) in zip(
        _floats(output), _floats(truth), boxes, strict=True
    ):
        rows = slice(
            int(min(top * height, height - 1)),
            max(int(np.ceil(bottom * height)), int(top * height) + 1),
        )
        columns = slice(
            int(min(left * width, width - 1)),
            max(int(np.ceil(right * width)), int(left * width) + 1),
        )
        errors.append(np.abs(one[rows, columns] - two[rows, columns]).mean())
    return float(np.mean(errors))


def _floats(frames: np.ndarray) -> np.ndarray:
    frames = np.asarray(frames)
    return (
        frames.astype(np.float32) / 255 if frames.dtype == np.uint8 else frames.astype(np.float32)
    )


def identity(
    output: np.ndarray, truth: np.ndarray, another: np.ndarray, speakers: np.ndarray
) -> ScoreStatistics:
    """(cos(output, true edit) - m) / (cos(another true frame of that person, true edit) - m), sums over clips first.

    m = mean cosine of the clip's true edit to the other people's true edits.

    Args:
        output, truth, another: (C, D) identity embeddings of the output, of the true edit and of another true frame of
            the same person, one row per clip. speakers: (C,).

    Returns:
        1: as alike as two true frames of that person; 0: as alike as a stranger; more than 1 where the output keeps the
        lighting and pose that another frame does not.
    """
    output, truth, another = (
        values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
        for values in (np.asarray(v, np.float64) for v in (output, truth, another))
    )
    other = np.asarray(speakers)[:, None] != np.asarray(speakers)
    if not other.any(1).all():
        raise ValueError("identity needs two people or more: there is no stranger to compare with")
    strangers = ((truth @ truth.T) * other).sum(1) / other.sum(1)
    sums = np.stack(
        [(output * truth).sum(1) - strangers, (another * truth).sum(1) - strangers], axis=1
    )
    return ScoreStatistics(sums, ratio)


def jitter(output: list[np.ndarray], source: list[np.ndarray]) -> ScoreStatistics:
    """Mean acceleration of tracked landmarks over that of the source, pooled over all frames.

    Args:
        output, source: (T, L, 2) landmarks per clip, same unit, T >= 3.

    Returns:
        1 for the source itself and any shift of it, 2 for motions twice as large; above 1 the edit trembles.
    """

    def acceleration(points):
        return np.linalg.norm(np.diff(np.asarray(points, np.float64), n=2, axis=0), axis=-1).sum()

    pairs = zip(output, source, strict=True)
    return ScoreStatistics(
        np.array([[acceleration(one), acceleration(two)] for one, two in pairs]), ratio
    )


def emotion_accuracy(first: np.ndarray, second: np.ndarray, target: np.ndarray) -> ScoreStatistics:
    """Accuracy of the LOWER of two judges.

    Args:
        first, second: (C,) emotion each judge reads in a clip. target: (C,) the emotion asked for.

    Returns:
        In [0, 1]; the lower is chosen on the sums, so each resample and each emotion has its own lower judge.
    """
    first, second, target = np.asarray(first), np.asarray(second), np.asarray(target)
    sums = np.stack([first == target, second == target, np.ones(len(target))], axis=1).astype(
        np.float64
    )
    return ScoreStatistics(sums, lower_judge)


def lower_judge(total: np.ndarray) -> np.ndarray:
    """(..., 3) hits of two judges and clips -> (...) accuracy of the lower one."""
    return np.minimum(total[..., 0], total[..., 1]) / total[..., 2]


def estimate_emotion_accuracy(
    prefix: str,
    outputs: tuple[np.ndarray, np.ndarray],
    truths: tuple[np.ndarray, np.ndarray],
    target: np.ndarray,
    speakers: np.ndarray,
    seed: int = 0,
) -> dict[str, dict]:
    """`emotion_accuracy` with all that is printed beside it: both judges, and both on the true edits.

    Args:
        prefix: "spfem.image.cdrl". outputs, truths: (C,) emotions that the two judges read there.

    Returns:
        `PREFIX.emotion_accuracy` with judge_1, judge_2, truth, truth_1, truth_2, chance (1 / number of targets) and
        exaggerated (1 where the value is above the truth's), and `PREFIX.emotion_accuracy.EMOTION`.
    """
    target = np.asarray(target)
    on_truth = emotion_accuracy(*truths, target)
    rows = estimate_per_emotion(
        prefix, {"emotion_accuracy": emotion_accuracy(*outputs, target)}, speakers, target, seed
    )
    beside = {
        f"judge_{k + 1}": float(np.mean(np.asarray(read) == target))
        for k, read in enumerate(outputs)
    }
    beside |= {
        f"truth_{k + 1}": float(np.mean(np.asarray(read) == target))
        for k, read in enumerate(truths)
    }
    cells = rows[f"{prefix}.emotion_accuracy"].with_details(**beside, truth=on_truth.value)
    cells = cells.with_details(exaggerated=int(cells.value > on_truth.value))
    rows[f"{prefix}.emotion_accuracy"] = replace(cells, chance=1 / len(np.unique(target)))
    return rows


def estimate_per_emotion(
    prefix: str,
    measures: dict[str, ScoreStatistics],
    speakers: np.ndarray,
    target: np.ndarray,
    seed: int = 0,
) -> dict[str, dict]:
    """Rows of measures: over all clips, and for each target emotion by itself.

    Args:
        prefix: "spfem.image.cdrl". measures: score name -> measure with one row per clip.
        speakers, target: (C,) speaker and target emotion of each clip.

    Returns:
        `PREFIX.NAME` with value, low, high (95 %, bootstrap over speakers), n, mean_of_emotions; `PREFIX.NAME.EMOTION`.
    """
    speakers, target, rows = np.asarray(speakers), np.asarray(target), {}
    for name, measure in measures.items():
        if len(measure.rows) != len(speakers):
            raise ValueError(
                f"{name}: {len(measure.rows)} clips measured, {len(speakers)} speakers given"
            )
        emotions = {}
        for emotion in np.unique(target):
            part = target == emotion
            emotions[f"{prefix}.{name}.{emotion}"] = estimate_score(
                ScoreStatistics(measure.rows[part], measure.formula), speakers[part], seed
            )
        mean = float(np.nanmean([cells.value for cells in emotions.values()]))
        rows[f"{prefix}.{name}"] = estimate_score(measure, speakers, seed, mean_of_emotions=mean)
        rows |= emotions
    return rows
