"""Scores of an edit: emotion, mouth, picture, identity and steadiness.

Each function takes what the evaluation networks read (lists with one array a clip, in one clip
order) and gives `ScoreStatistics`: additive statistics per clip with a formula.
`estimate_per_emotion` adds intervals over speakers, for each emotion too;
`cdrl.evaluation.estimate.paired_difference` compares two variants clip by clip.

`cdrl.evaluation.edit_metrics` lists which of these scores are computed, and what each needs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from cdrl.evaluation.estimate import (
    CentralMoments,
    Estimate,
    ScoreStatistics,
    central_moments,
    estimate_score,
    mean_statistics,
    ratio,
    raw_moments,
    share_from_hits,
)
from cdrl.evaluation.retrieval import unit_rows
from cdrl.media.mouth_curves import CURVES

# Mean squared errors below this are perfect: PSNR stops at 100 dB.
SMALLEST_MSE = 1e-10
# A curve that moves less (standard deviation, in units of facial actions, 0 to 1) counts as still.
STILL = 1e-4
# Gaps of the inner lips, in distances of the outer eye corners.
OPEN_LIPS = 0.03  # of an output: lips of this gap are no longer closed
CLOSED_LIPS = 0.02  # of a real source: below, the lips are closed
OPEN_MOUTH = 0.05  # of a real source: above, it speaks


def _moment_sums(output: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(18,) count, first and second moments of two (T, 3) curves, curve by curve."""
    if output.shape != truth.shape:
        raise ValueError(f"curves of one clip differ in shape: {output.shape} and {truth.shape}")

    output = np.asarray(output, np.float64)
    truth = np.asarray(truth, np.float64)

    sums = [moment.sum(0) for moment in raw_moments(output, truth)]
    return np.stack(sums, axis=1).ravel()


def _moment_rows(output: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> np.ndarray:
    """(C, 18) moments of C clips."""
    rows = []
    for output_curves, truth_curves in zip(output, truth, strict=True):
        rows.append(_moment_sums(output_curves, truth_curves))

    return np.stack(rows)


def _curve_moments(sums: np.ndarray) -> CentralMoments:
    """(..., 18) summed moments -> central moments of the output (first) and the truth, (..., 3)."""
    of_curves = sums.reshape(*sums.shape[:-1], len(CURVES), 6)
    return central_moments(of_curves)


def mouth_error(output: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> ScoreStatistics:
    """RMS error of the three mouth curves, each in stds of the truth, pooled over all frames.

    The stds are the truth's over ALL clips, also for the value of one emotion.

    Args:
        output: (T, 3) per clip, `mouth_curves` of the evaluation tracker on the output.
        truth: (T, 3) per clip, the same on the true edit.

    Returns:
        >= 0; 0 for the truth, 1 for always answering the truth's mean, sqrt(2) for curves of
        another moment.

    Raises:
        ValueError: for curves of different shape, or where the truth never moves.
    """
    return mouth_error_from_moments(_moment_rows(output, truth))


def mouth_error_from_moments(rows: np.ndarray) -> ScoreStatistics:
    """`mouth_error` from its own statistics, (C, 18)."""
    truth_variance = _curve_moments(rows.sum(0)).second_variance
    is_still = truth_variance <= STILL**2

    if np.any(is_still):
        names = [name for name, still in zip(CURVES, is_still, strict=True) if still]
        raise ValueError(
            f"the true edits never move {', '.join(names)}: no unit to measure the error in"
        )

    def root_mean_square(sums: np.ndarray) -> np.ndarray:
        squared_error = _curve_moments(sums).squared_difference.clip(0)
        relative_error = squared_error / truth_variance
        return np.sqrt(relative_error.mean(-1))

    return ScoreStatistics(rows, root_mean_square)


def mouth_correlation(output: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> ScoreStatistics:
    """Pearson r of the three mouth curves, each pooled over all frames of all clips, then the mean.

    Args:
        output: (T, 3) curves per clip.
        truth: (T, 3) curves per clip.

    Returns:
        In [-1, 1]; 1 for the truth and any scaling of it. A curve that never moves counts 0.
    """
    return mouth_correlation_from_moments(_moment_rows(output, truth))


def mouth_correlation_from_moments(rows: np.ndarray) -> ScoreStatistics:
    """`mouth_correlation` from its own statistics, (C, 18)."""
    return ScoreStatistics(rows, _mean_correlation)


def _mean_correlation(sums: np.ndarray) -> np.ndarray:
    """(..., 18) summed moments of the three curves -> (...) mean of their three correlations."""
    moments = _curve_moments(sums)
    output_variance = moments.first_variance.clip(0)
    truth_variance = moments.second_variance.clip(0)

    variances = output_variance * truth_variance
    scale = np.sqrt(np.maximum(variances, STILL**4))
    correlations = np.where(variances > STILL**4, moments.covariance / scale, 0.0)
    return correlations.mean(-1)


def mouth_posture_error(
    output: Sequence[np.ndarray], truth: Sequence[np.ndarray]
) -> ScoreStatistics:
    """`mouth_error` of the means of the clips: how the mouth is held.

    Args:
        output: (T, 3) curves per clip.
        truth: (T, 3) curves per clip.

    Returns:
        >= 0, in stds of the truth over all frames. Its square and that of `mouth_motion_error` add
        up to the square of `mouth_error`.
    """
    return error_part_from_rows(posture_rows(_moment_rows(output, truth)))


def mouth_motion_error(
    output: Sequence[np.ndarray], truth: Sequence[np.ndarray]
) -> ScoreStatistics:
    """`mouth_error` without the means of the clips: how the mouth moves.

    Args:
        output: (T, 3) curves per clip.
        truth: (T, 3) curves per clip.

    Returns:
        >= 0, in stds of the truth over all frames; 0 for the truth and any constant shift of each
        of its clips.
    """
    return error_part_from_rows(motion_rows(_moment_rows(output, truth)))


def posture_rows(moments: np.ndarray) -> np.ndarray:
    """(C, 18) moments -> (C, 12), of each curve: frames, squared error of means, truth's sums."""
    return _error_part_rows(moments, _squared_error_of_means(moments))


def motion_rows(moments: np.ndarray) -> np.ndarray:
    """(C, 18) moments -> (C, 12), as `posture_rows`, of what is left without the means."""
    squared_error = _curve_moments(moments).squared_difference
    return _error_part_rows(moments, squared_error - _squared_error_of_means(moments))


def _squared_error_of_means(moments: np.ndarray) -> np.ndarray:
    """(C, 18) moments -> (C, 3) squared difference of each clip's two means."""
    of_curves = moments.reshape(len(moments), len(CURVES), 6)
    difference = (of_curves[..., 1] - of_curves[..., 2]) / of_curves[..., 0]
    return difference**2


def _error_part_rows(moments: np.ndarray, squared_error: np.ndarray) -> np.ndarray:
    """(C, 18) moments and (C, 3) mean squared errors -> (C, 12) rows of `error_part_from_rows`."""
    of_curves = moments.reshape(len(moments), len(CURVES), 6)
    frames = of_curves[..., 0]
    error_sums = frames * squared_error.clip(0)
    truth_sums = of_curves[..., 2]
    truth_squares = of_curves[..., 4]

    rows = np.stack([frames, error_sums, truth_sums, truth_squares], axis=-1)
    return rows.reshape(len(moments), -1)


def error_part_from_rows(rows: np.ndarray) -> ScoreStatistics:
    """`mouth_posture_error` or `mouth_motion_error` from its own statistics, (C, 12)."""
    frames, _, truth_sums, truth_squares = _columns_of_curves(rows.sum(0))
    truth_variance = truth_squares / frames - (truth_sums / frames) ** 2

    def root_mean_square(sums: np.ndarray) -> np.ndarray:
        frames, error_sums, _, _ = _columns_of_curves(sums)
        relative_error = error_sums / frames / truth_variance
        return np.sqrt(relative_error.mean(-1))

    return ScoreStatistics(rows, root_mean_square)


def _columns_of_curves(sums: np.ndarray) -> np.ndarray:
    """(..., 12) -> (4, ..., 3): frames, squared error, sum and squares of the truth."""
    of_curves = sums.reshape(*sums.shape[:-1], len(CURVES), 4)
    return np.moveaxis(of_curves, -1, 0)


def mouth_truth_correlation(
    output: Sequence[np.ndarray], truth: Sequence[np.ndarray]
) -> ScoreStatistics:
    """Pearson r of the mouth curves within each clip, output against the TRUE edit, mean over all.

    Args:
        output: (T, 3) curves per clip.
        truth: (T, 3) curves per clip.

    Returns:
        1 for the truth and any shift and scaling of each clip. Curves that stay still count as in
        `speech_correlation`.
    """
    return clip_correlation_from_moments(_moment_rows(output, truth))


def clip_correlation_from_moments(moments: np.ndarray) -> ScoreStatistics:
    """`mouth_truth_correlation` from the moments of each clip, (C, 18)."""
    return mean_statistics([_correlation_of_moments(row) for row in moments])


def speech_correlation(
    output: Sequence[np.ndarray], source: Sequence[np.ndarray]
) -> ScoreStatistics:
    """Pearson r of the mouth curves within each clip, output against SOURCE, mean over all.

    Args:
        output: (T, 3) curves per clip.
        source: (T, 3) curves per clip.

    Returns:
        1 for a copied source. It measures preservation, not quality: the studio's true edits have
        .896, so a value above theirs is farther from the right answer, not nearer. It does not see
        lips that no longer close. A curve that the source never moves is left out (a clip without
        any: no weight); one that only the output never moves counts 0.
    """
    values = []
    for output_curves, source_curves in zip(output, source, strict=True):
        values.append(_correlation_within_clip(output_curves, source_curves))

    return mean_statistics(values)


def _correlation_within_clip(output: np.ndarray, source: np.ndarray) -> float:
    """Mean correlation of the curves that the source moves; nan where it moves none."""
    return _correlation_of_moments(_moment_sums(output, source))


def _correlation_of_moments(sums: np.ndarray) -> float:
    """The same from the (18,) moments of one clip, the output's first."""
    moments = _curve_moments(sums)
    output_variance = np.maximum(moments.first_variance, STILL**2)
    source_variance = np.maximum(moments.second_variance, STILL**2)
    scale = np.sqrt(output_variance * source_variance)

    output_moves = moments.first_variance > STILL**2
    source_moves = moments.second_variance > STILL**2
    if not source_moves.any():
        return float("nan")

    correlations = np.where(output_moves, moments.covariance / scale, 0.0)
    return float(correlations[source_moves].mean())


def psnr(output: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio of one clip's aligned face crops, mean over frames.

    Args:
        output: (T, H, W, 3) in [0, 1], or uint8.
        truth: (T, H, W, 3) likewise.

    Returns:
        dB; 20 for an error of 0.1 everywhere, 100 (the ceiling) for the truth itself.
    """
    difference = _as_floats(output) - _as_floats(truth)
    squared_error = (difference**2).mean(axis=(1, 2, 3))
    squared_error = np.maximum(squared_error, SMALLEST_MSE)
    decibels = -10 * np.log10(squared_error)

    return float(np.mean(decibels))


def mouth_box(landmarks: np.ndarray, margin: float = 0.25) -> np.ndarray:
    """The box around one clip's mouth, frame by frame, each side moved out by a margin.

    Args:
        landmarks: (T, M, 2) x, y of the MOUTH points of the TRUE edit, relative to the crop, 0 to
            1.
        margin: relative to the size of the box.

    Returns:
        (T, 4) left, top, right, bottom, within [0, 1].
    """
    landmarks = np.asarray(landmarks, np.float64)
    top_left = landmarks.min(1)
    bottom_right = landmarks.max(1)

    border = margin * (bottom_right - top_left)
    boxes = np.concatenate([top_left - border, bottom_right + border], axis=1)

    return np.clip(boxes, 0, 1)


def mouth_l1(output: np.ndarray, truth: np.ndarray, boxes: np.ndarray) -> float:
    """Mean absolute error inside the mouth box of one clip, mean over its frames.

    Args:
        output: (T, H, W, 3) aligned face crops in [0, 1] or uint8.
        truth: (T, H, W, 3) likewise.
        boxes: (T, 4) from `mouth_box`.

    Returns:
        In [0, 1]; 0 for the truth. Boxes are rounded outwards and hold at least one pixel.
    """
    height, width = truth.shape[1:3]
    frames = zip(_as_floats(output), _as_floats(truth), boxes, strict=True)

    errors = []
    for output_frame, truth_frame, (left, top, right, bottom) in frames:
        rows = _pixel_range(top, bottom, height)
        columns = _pixel_range(left, right, width)

        difference = output_frame[rows, columns] - truth_frame[rows, columns]
        errors.append(np.abs(difference).mean())

    return float(np.mean(errors))


def _pixel_range(low: float, high: float, size: int) -> slice:
    """Pixels from `low` to `high`, both relative to `size`, rounded outwards; at least one."""
    start = int(min(low * size, size - 1))
    stop = max(int(np.ceil(high * size)), int(low * size) + 1)
    return slice(start, stop)


def _as_floats(frames: np.ndarray) -> np.ndarray:
    """float32 in [0, 1] of frames that are so already, or uint8."""
    frames = np.asarray(frames)
    if frames.dtype == np.uint8:
        return frames.astype(np.float32) / 255

    return frames.astype(np.float32)


def identity(
    output: np.ndarray, truth: np.ndarray, another: np.ndarray, speakers: ArrayLike
) -> ScoreStatistics:
    """How much of the person is kept, from 0 (a stranger) to 1 (another frame of that person).

    (cos(output, true edit) - m) / (cos(another true frame of that person, true edit) - m), sums
    over clips first; m = mean cosine of the clip's true edit to the other people's true edits.

    Args:
        output: (C, D) identity embeddings of the output, one row a clip.
        truth: (C, D) of the true edit.
        another: (C, D) of another true frame of the same person.
        speakers: (C,) the person of each clip.

    Returns:
        1: as alike as two true frames of that person; 0: as alike as a stranger; more than 1 where
        the output keeps the lighting and pose that another frame does not.

    Raises:
        ValueError: where there is one person only.
    """
    output = unit_rows(output)
    truth = unit_rows(truth)
    another = unit_rows(another)

    speakers = np.asarray(speakers)
    is_stranger = speakers[:, None] != speakers
    if not is_stranger.any(1).all():
        raise ValueError("identity needs two people or more: there is no stranger to compare with")

    cosines = (truth @ truth.T) * is_stranger
    to_strangers = cosines.sum(1) / is_stranger.sum(1)

    output_excess = (output * truth).sum(1) - to_strangers
    person_excess = (another * truth).sum(1) - to_strangers

    return ScoreStatistics(np.stack([output_excess, person_excess], axis=1), ratio)


def jitter(output: Sequence[np.ndarray], source: Sequence[np.ndarray]) -> ScoreStatistics:
    """Mean acceleration of tracked landmarks over that of the source, pooled over all frames.

    Args:
        output: (T, L, 2) landmarks per clip, T >= 3.
        source: (T, L, 2) landmarks per clip, in the same unit.

    Returns:
        1 for the source itself and any shift of it, 2 for motions twice as large; above 1 the edit
        trembles.
    """
    rows = []
    for output_points, source_points in zip(output, source, strict=True):
        rows.append([_total_acceleration(output_points), _total_acceleration(source_points)])

    return ScoreStatistics(np.array(rows), ratio)


def closure(
    output: Sequence[np.ndarray], closed: Sequence[np.ndarray], open_from: float = OPEN_LIPS
) -> ScoreStatistics:
    """The share of frames with closed lips in the source whose lips are closed in the output too.

    Args:
        output: (T,) per clip, gap of the inner lips in the output, in distances of the outer eye
            corners.
        closed: (T,) bool per clip, frames in which the source's lips must be closed.
        open_from: gap from which on lips count as open.

    Returns:
        In [0, 1]; nan where nothing is closed. The true edits' own value stands beside it.
    """
    rows = []
    for gap, must_close in zip(output, closed, strict=True):
        is_closed = np.asarray(gap)[must_close] < open_from
        rows.append([is_closed.sum(), must_close.sum()])

    return share_from_hits(np.array(rows))


def closed_frames(gap: np.ndarray) -> np.ndarray:
    """Frames of a real clip in which speech closes the lips.

    They lie between the first and the last open frame, so resting mouths at the ends do not count.

    Args:
        gap: (T,) of the inner lips, in distances of the outer eye corners.

    Returns:
        (T,) bool; none where no frame is open.
    """
    is_open = np.flatnonzero(gap > OPEN_MOUTH)
    closed = np.zeros(len(gap), bool)
    if len(is_open):
        between = slice(is_open[0], is_open[-1] + 1)
        closed[between] = gap[between] < CLOSED_LIPS

    return closed


def _total_acceleration(landmarks: np.ndarray) -> float:
    """The lengths of all second differences of (T, L, 2) landmarks, summed."""
    accelerations = np.diff(np.asarray(landmarks, np.float64), n=2, axis=0)
    return np.linalg.norm(accelerations, axis=-1).sum()


def emotion_accuracy(first: ArrayLike, second: ArrayLike, target: ArrayLike) -> ScoreStatistics:
    """Accuracy of the LOWER of two judges.

    Args:
        first: (C,) emotion that one judge reads in each clip.
        second: (C,) emotion that the other judge reads.
        target: (C,) the requested emotion.

    Returns:
        In [0, 1]; the lower is chosen on the sums, so each resample and each emotion has its own
        lower judge.
    """
    target = np.asarray(target)
    first_hits = np.asarray(first) == target
    second_hits = np.asarray(second) == target
    ones = np.ones(len(target))

    rows = np.stack([first_hits, second_hits, ones], axis=1)

    return accuracy_from_hits(rows.astype(np.float64))


def accuracy_from_hits(rows: np.ndarray) -> ScoreStatistics:
    """`emotion_accuracy` from its own statistics, (C, 3): hits of both judges, and ones."""
    return ScoreStatistics(rows, _lower_judge, is_share=True)


def _lower_judge(sums: np.ndarray) -> np.ndarray:
    """(..., 3) hits of two judges and clips -> (...) accuracy of the lower one."""
    return np.minimum(sums[..., 0], sums[..., 1]) / sums[..., 2]


def estimate_emotion_accuracy(
    prefix: str,
    output: ScoreStatistics,
    target: ArrayLike,
    speakers: ArrayLike,
    truth: ScoreStatistics | None = None,
    source_accuracy: float | None = None,
    seeds: ArrayLike | None = None,
) -> dict[str, Estimate]:
    """`emotion_accuracy` with all that is printed beside it.

    Args:
        prefix: "spfem.image.cdrl".
        output: `emotion_accuracy` of the output.
        target: (C,) the requested emotion.
        speakers: (C,) the person.
        truth: `emotion_accuracy` of the true edits, where they exist.
        source_accuracy: accuracy of the lower judge on the labels of untouched clips; printed where
            there are no true edits.
        seeds: (C,) the training seed of each clip, where there are several.

    Returns:
        `PREFIX.emotion_accuracy` with judge_1, judge_2 and chance (1 / number of targets); with
        true edits also truth, truth_1, truth_2 and exaggerated (1 where the value is above the
        truth's). `PREFIX.emotion_accuracy.EMOTION` for each emotion.
    """
    estimates = estimate_per_emotion(prefix, {"emotion_accuracy": output}, speakers, target, seeds)
    name = f"{prefix}.emotion_accuracy"
    overall = estimates[name]

    if source_accuracy is not None:
        overall = overall.with_details(sources=source_accuracy)

    overall = overall.with_details(**_accuracy_of_each_judge("judge", output))

    if truth is not None:
        overall = overall.with_details(**_accuracy_of_each_judge("truth", truth))
        is_exaggerated = int(overall.value > truth.value)
        overall = overall.with_details(truth=truth.value, exaggerated=is_exaggerated)

    num_targets = len(np.unique(np.asarray(target)))
    estimates[name] = replace(overall, chance=1 / num_targets)

    return estimates


def _accuracy_of_each_judge(name: str, accuracy: ScoreStatistics) -> dict[str, float]:
    """NAME_1 and NAME_2: the accuracies of the two judges alone."""
    return {
        f"{name}_1": float(accuracy.rows[:, 0].mean()),
        f"{name}_2": float(accuracy.rows[:, 1].mean()),
    }


def estimate_per_emotion(
    prefix: str,
    scores: Mapping[str, ScoreStatistics],
    speakers: ArrayLike,
    target: ArrayLike,
    seeds: ArrayLike | None = None,
) -> dict[str, Estimate]:
    """Estimate scores over all clips, and for each target emotion by itself.

    Args:
        prefix: "spfem.image.cdrl".
        scores: name -> statistics with one row a clip.
        speakers: (C,) the person of each clip.
        target: (C,) the target emotion of each clip.
        seeds: (C,) the training seed of each clip, where there are several.

    Returns:
        `PREFIX.NAME` with value, low, high (95 %, over speakers and seeds), n, mean_of_emotions;
        `PREFIX.NAME.EMOTION` for each emotion.

    Raises:
        ValueError: where the rows of a score are not as many as the speakers.
    """
    speakers = np.asarray(speakers)
    target = np.asarray(target)
    seeds = None if seeds is None else np.asarray(seeds)

    estimates = {}
    for name, statistics in scores.items():
        num_rows = len(statistics.rows)
        if num_rows != len(speakers):
            raise ValueError(f"{name}: {num_rows} clips measured, {len(speakers)} speakers given")
        of_emotions = {}
        for emotion in np.unique(target):
            selected = target == emotion
            part = statistics.subset(selected)
            part_seeds = None if seeds is None else seeds[selected]
            estimate = estimate_score(part, speakers[selected], part_seeds)
            of_emotions[f"{prefix}.{name}.{emotion}"] = estimate
        mean = float(np.nanmean([estimate.value for estimate in of_emotions.values()]))
        overall = estimate_score(statistics, speakers, seeds)
        estimates[f"{prefix}.{name}"] = overall.with_details(mean_of_emotions=mean)
        estimates.update(of_emotions)

    return estimates
