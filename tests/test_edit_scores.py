"""Scores of an edit on outputs of known score: the truth, a copied source, a still mouth."""

import numpy as np
import pytest

from cdrl.core.vocabulary import ACTIONS
from cdrl.evaluation.edit_scores import (
    closed_frames,
    closure,
    emotion_accuracy,
    estimate_emotion_accuracy,
    estimate_per_emotion,
    identity,
    jitter,
    mouth_box,
    mouth_correlation,
    mouth_error,
    mouth_l1,
    mouth_motion_error,
    mouth_posture_error,
    mouth_truth_correlation,
    psnr,
    speech_correlation,
)
from cdrl.media.mouth_curves import mouth_curves

SPEAKERS = np.repeat(np.arange(5), 8)
TARGET = np.tile(["happy", "sad"], 20)


def curves(seed=0, clips=40):
    """(T, 3) per clip: smooth curves whose mean differs from clip to clip."""
    rng = np.random.default_rng([seed, 21])
    all_curves = []
    for num_frames in rng.integers(20, 40, clips):
        level = 0.3 + rng.normal(0, 0.05, 3)
        motion = np.cumsum(rng.normal(0, 0.03, (num_frames, 3)), 0)
        all_curves.append(level + motion)
    return all_curves


TRUTH = curves()


def plus_noise(size, seed=1):
    rng = np.random.default_rng([seed, 22])
    std = np.concatenate(TRUTH).std(0)
    return [clip + size * std * rng.normal(size=clip.shape) for clip in TRUTH]


def naive_correlation(output, truth):
    """Mean over curves of the correlation of two (T, 3) arrays."""
    return np.mean([np.corrcoef(output[:, k], truth[:, k])[0, 1] for k in range(3)])


def test_mouth_curves_are_read_from_their_actions():
    face = np.zeros((4, 52))
    face[1, ACTIONS.index("jawOpen")] = 0.8
    face[2, ACTIONS.index("mouthPucker")] = 0.6
    face[2, ACTIONS.index("mouthFunnel")] = 0.2
    for name in ("SmileLeft", "SmileRight", "StretchLeft"):
        face[3, ACTIONS.index(f"mouth{name}")] = 0.6
    expected = [[0, 0, 0], [0.8, 0, 0], [0, -0.4, 0.4], [0, 0.3, 0]]
    assert np.allclose(mouth_curves(face), expected)


def test_mouth_error_of_the_truth_is_zero_of_its_mean_one_and_of_noise_the_noise():
    mean = np.concatenate(TRUTH).mean(0)
    constant = [np.broadcast_to(mean, clip.shape) for clip in TRUTH]
    assert mouth_error(TRUTH, TRUTH).value == pytest.approx(0, abs=1e-6)
    assert mouth_error(constant, TRUTH).value == pytest.approx(1)
    assert mouth_error(plus_noise(0.5), TRUTH).value == pytest.approx(0.5, rel=0.05)


def test_mouth_error_and_correlation_agree_with_numpy_on_all_frames():
    output = np.concatenate(plus_noise(0.7))
    truth = np.concatenate(TRUTH)
    squared_errors = []
    for k in range(3):
        squared_error = np.mean((output[:, k] - truth[:, k]) ** 2)
        squared_errors.append(squared_error / truth[:, k].var())
    expected = np.sqrt(np.mean(squared_errors))
    assert mouth_error(plus_noise(0.7), TRUTH).value == pytest.approx(expected, abs=1e-10)
    expected = naive_correlation(output, truth)
    assert mouth_correlation(plus_noise(0.7), TRUTH).value == pytest.approx(expected, abs=1e-10)


def test_one_emotion_is_measured_in_the_stds_of_all_clips():
    truth = []
    for clip, emotion in zip(TRUTH, TARGET, strict=True):
        truth.append(0.01 * clip if emotion == "sad" else clip)
    output = [clip + 0.05 for clip in truth]
    error = mouth_error(output, truth)
    rows = estimate_per_emotion("x", {"mouth_error": error}, SPEAKERS, TARGET)
    happy = rows["x.mouth_error.happy"].value
    assert rows["x.mouth_error.sad"].value == pytest.approx(happy, rel=1e-6)


def test_pooled_correlation_sees_the_level_of_a_clip_and_the_correlation_per_clip_does_not():
    shifted = []
    for number, clip in enumerate(TRUTH):
        shift = np.random.default_rng(number).normal(0, 0.3, 3)
        shifted.append(clip + shift)
    assert speech_correlation(shifted, TRUTH).value == pytest.approx(1)
    assert mouth_correlation(shifted, TRUTH).value < 0.75


def test_a_copied_source_keeps_all_speech_and_a_dead_mouth_none():
    assert speech_correlation(TRUTH, TRUTH).value == pytest.approx(1)
    dead = [np.full_like(clip, 0.2) for clip in TRUTH]
    assert speech_correlation(dead, TRUTH).value == 0
    assert mouth_correlation(dead, TRUTH).value == 0
    assert speech_correlation([-clip for clip in TRUTH], TRUTH).value == pytest.approx(-1)


def test_speech_correlation_agrees_with_numpy_and_leaves_out_what_the_source_never_moves():
    output = plus_noise(0.5)
    correlations = []
    for output_clip, true_clip in zip(output, TRUTH, strict=True):
        correlations.append(naive_correlation(output_clip, true_clip))
    expected = np.mean(correlations)
    assert speech_correlation(output, TRUTH).value == pytest.approx(expected, abs=1e-10)

    still = [np.c_[clip[:, :2], np.full(len(clip), 0.1)] for clip in TRUTH]
    assert speech_correlation(still, still).value == pytest.approx(1)
    first_still = [np.zeros_like(TRUTH[0]), *TRUTH[1:]]
    statistics = speech_correlation(TRUTH, first_still)
    assert statistics.value == pytest.approx(1)
    assert statistics.rows[0].tolist() == [0, 0]


def naive_parts(output, truth):
    """Posture and motion error by loops over clips, curves and frames."""
    all_truth = np.concatenate(truth)
    posture = np.zeros(3)
    motion = np.zeros(3)
    for output_clip, true_clip in zip(output, truth, strict=True):
        for k in range(3):
            output_mean = np.mean(output_clip[:, k])
            true_mean = np.mean(true_clip[:, k])
            for t in range(len(true_clip)):
                posture[k] += (output_mean - true_mean) ** 2
                about_means = output_clip[t, k] - output_mean - true_clip[t, k] + true_mean
                motion[k] += about_means**2
    scale = len(all_truth) * all_truth.var(0)
    return np.sqrt(np.mean(posture / scale)), np.sqrt(np.mean(motion / scale))


def test_posture_and_motion_error_agree_with_a_naive_loop_and_add_up_to_the_mouth_error():
    output = [clip + 0.1 * (number % 3) for number, clip in enumerate(plus_noise(0.4))]
    posture = mouth_posture_error(output, TRUTH).value
    motion = mouth_motion_error(output, TRUTH).value
    assert (posture, motion) == pytest.approx(naive_parts(output, TRUTH), abs=1e-10)
    whole = mouth_error(output, TRUTH).value
    assert posture**2 + motion**2 == pytest.approx(whole**2, abs=1e-10)


def test_a_shift_of_each_clip_is_posture_alone_and_centred_noise_is_motion_alone():
    shifted = [clip + 0.1 for clip in TRUTH]
    assert mouth_motion_error(shifted, TRUTH).value == pytest.approx(0, abs=1e-6)
    whole = mouth_error(shifted, TRUTH).value
    assert mouth_posture_error(shifted, TRUTH).value == pytest.approx(whole)
    mirrored = [2 * clip.mean(0) - clip for clip in TRUTH]
    assert mouth_posture_error(mirrored, TRUTH).value == pytest.approx(0, abs=1e-6)
    assert mouth_motion_error(mirrored, TRUTH).value == pytest.approx(
        mouth_error(mirrored, TRUTH).value
    )


def test_truth_correlation_agrees_with_numpy_within_each_clip():
    output = plus_noise(0.5)
    pairs = zip(output, TRUTH, strict=True)
    expected = np.mean([naive_correlation(first, second) for first, second in pairs])
    assert mouth_truth_correlation(output, TRUTH).value == pytest.approx(expected, abs=1e-10)
    shifted = [3 * clip + number for number, clip in enumerate(TRUTH)]
    assert mouth_truth_correlation(shifted, TRUTH).value == pytest.approx(1)


def test_closure_counts_the_frames_that_must_close_and_no_others():
    rng = np.random.default_rng(7)
    gaps = [rng.uniform(0, 0.06, 30) for _ in range(5)]
    closed = [rng.random(30) < 0.3 for _ in range(5)]
    kept = 0
    frames = 0
    for gap, must_close in zip(gaps, closed, strict=True):
        for t in range(30):
            if must_close[t]:
                frames += 1
                kept += gap[t] < 0.03
    assert closure(gaps, closed).value == pytest.approx(kept / frames)
    assert closure([np.zeros(30)] * 5, closed).value == 1
    assert closure([np.full(30, 0.2)] * 5, closed).value == 0
    assert np.isnan(closure(gaps, [np.zeros(30, bool)] * 5).value)


def test_lips_of_a_real_clip_are_closed_by_speech_between_its_first_and_last_open_frame():
    gap = np.array([0.01, 0.01, 0.06, 0.01, 0.03, 0.015, 0.08, 0.01])
    assert np.flatnonzero(closed_frames(gap)).tolist() == [3, 5]
    assert not closed_frames(np.full(6, 0.01)).any()


def test_curves_must_match_and_the_truth_must_move():
    with pytest.raises(ValueError, match=r"differ in shape: \(5, 3\) and \(6, 3\)"):
        mouth_error([np.zeros((5, 3))], [np.zeros((6, 3))])
    no_rounding = [np.c_[clip[:, :2], np.zeros(len(clip))] for clip in TRUTH]
    with pytest.raises(ValueError, match="never move lip rounding"):
        mouth_error(TRUTH, no_rounding)


def test_psnr_has_its_closed_form():
    frames = np.full((3, 8, 8, 3), 0.4)
    assert psnr(frames + 0.1, frames) == pytest.approx(20, abs=1e-4)
    assert psnr(frames, frames) == pytest.approx(100)
    levels = np.full((2, 8, 8, 3), 100, np.uint8)
    expected = -20 * np.log10(0.2)
    assert psnr(levels + np.uint8(51), levels) == pytest.approx(expected, abs=1e-4)


def test_mouth_l1_counts_the_mouth_and_nothing_else():
    points = np.array([[0.4, 0.6], [0.6, 0.6], [0.5, 0.55], [0.5, 0.75]])
    landmarks = np.tile(points, (3, 1, 1))
    boxes = mouth_box(landmarks)
    assert np.allclose(boxes, [0.35, 0.5, 0.65, 0.8])
    truth = np.full((3, 40, 40, 3), 0.5)
    outside = truth.copy()
    outside[:, :20] = 0
    inside = truth.copy()
    inside[:, 20:32, 14:26] = 0.7
    assert mouth_l1(outside, truth, boxes) == 0
    assert mouth_l1(inside, truth, boxes) == pytest.approx(0.2, abs=1e-6)
    assert mouth_box(landmarks - 0.5).min() == 0
    assert mouth_l1(truth, truth + 0.1, np.ones((3, 4))) == pytest.approx(0.1, abs=1e-6)


def people(seed=0, within=0.4):
    rng = np.random.default_rng([seed, 23])
    centres = rng.normal(size=(5, 64)) + 1  # a mean direction shared by all faces
    return [centres[SPEAKERS] + within * rng.normal(size=(40, 64)) for _ in range(3)]


def test_identity_is_one_for_another_true_frame_and_zero_for_a_stranger():
    truth, another, third = people()
    assert identity(another, truth, another, SPEAKERS).value == 1
    assert identity(third, truth, another, SPEAKERS).value == pytest.approx(1, abs=0.05)
    assert identity(truth, truth, another, SPEAKERS).value > 1.05
    stranger = np.roll(truth, 8, axis=0)
    assert identity(stranger, truth, another, SPEAKERS).value == pytest.approx(0, abs=0.15)


def test_identity_agrees_with_a_naive_loop_and_needs_two_people():
    output, truth, another = people(1)

    def cos(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    over = 0
    under = 0
    for k in range(40):
        others = np.flatnonzero(SPEAKERS[k] != SPEAKERS)
        to_strangers = np.mean([cos(truth[k], truth[j]) for j in others])
        over += cos(output[k], truth[k]) - to_strangers
        under += cos(another[k], truth[k]) - to_strangers
    expected = over / under
    assert identity(output, truth, another, SPEAKERS).value == pytest.approx(expected, abs=1e-10)
    with pytest.raises(ValueError, match="two people or more"):
        identity(output, truth, another, np.zeros(40))


def test_jitter_is_one_for_the_source_and_scales_with_the_trembling():
    rng = np.random.default_rng(5)
    source = [np.cumsum(rng.normal(size=(30, 6, 2)), 0) for _ in range(4)]
    assert jitter(source, source).value == 1
    drift = np.arange(30)[:, None, None]
    doubled = [2 * clip + drift for clip in source]
    assert jitter(doubled, source).value == pytest.approx(2)
    trembling = [clip + rng.normal(size=clip.shape) for clip in source]
    assert jitter(trembling, source).value > 1.3

    def mean_acceleration(clips):
        accelerations = []
        for clip in clips:
            for t in range(1, 29):
                second_difference = clip[t + 1] - 2 * clip[t] + clip[t - 1]
                accelerations.append(np.linalg.norm(second_difference, axis=-1))
        return np.mean(accelerations)

    other = [np.cumsum(rng.normal(size=(30, 6, 2)), 0) for _ in range(4)]
    expected = mean_acceleration(other) / mean_acceleration(source)
    assert jitter(other, source).value == pytest.approx(expected, abs=1e-10)


def test_emotion_accuracy_is_the_lower_judge():
    perfect = TARGET.copy()
    wrong = np.where(TARGET == "happy", "sad", "happy")
    half = np.where(np.arange(40) < 20, perfect, wrong)
    assert emotion_accuracy(perfect, perfect, TARGET).value == 1
    assert emotion_accuracy(perfect, half, TARGET).value == 0.5
    assert emotion_accuracy(half, perfect, TARGET).value == 0.5
    assert emotion_accuracy(wrong, perfect, TARGET).value == 0


@pytest.mark.parametrize("leak", [0.0, 0.25, 0.5, 1.0])
def test_a_known_share_of_right_edits_is_read_at_its_size(leak):
    rng = np.random.default_rng(6)
    target = rng.choice(list("abcdefg"), 6000)

    def judge():
        is_right = rng.random(6000) < leak
        guess = rng.choice(list("abcdefg"), 6000)
        return np.where(is_right, target, guess)

    expected = leak + (1 - leak) / 7
    assert emotion_accuracy(judge(), judge(), target).value == pytest.approx(expected, abs=0.02)


def test_rows_print_both_judges_the_truth_and_exaggeration():
    wrong = np.where(TARGET == "happy", "sad", "happy")
    most = np.where(np.arange(40) < 30, TARGET, wrong)
    rows = estimate_emotion_accuracy(
        "spfem.image.cdrl",
        emotion_accuracy(TARGET, TARGET, TARGET),
        TARGET,
        SPEAKERS,
        truth=emotion_accuracy(most, TARGET, TARGET),
    )
    cells = rows["spfem.image.cdrl.emotion_accuracy"]
    assert cells.value == 1
    beside = ("judge_1", "truth", "truth_1", "truth_2")
    assert [cells.details[name] for name in beside] == [1, 0.75, 0.75, 1]
    assert cells.chance == 0.5
    assert cells.details["exaggerated"] == 1
    assert cells.n == 40
    assert rows["spfem.image.cdrl.emotion_accuracy.happy"].n == 20
    always_wrong = emotion_accuracy(wrong, wrong, TARGET)
    always_right = emotion_accuracy(TARGET, TARGET, TARGET)
    rows = estimate_emotion_accuracy("x", always_wrong, TARGET, SPEAKERS, truth=always_right)
    copied = rows["x.emotion_accuracy"]
    assert copied.value == 0
    assert copied.details["exaggerated"] == 0


def test_without_true_edits_the_accuracy_on_the_sources_stands_beside_it():
    accuracy = emotion_accuracy(TARGET, TARGET, TARGET)
    rows = estimate_emotion_accuracy("x", accuracy, TARGET, SPEAKERS, source_accuracy=0.6)
    details = rows["x.emotion_accuracy"].details
    assert details["sources"] == 0.6
    assert "truth" not in details
    assert "exaggerated" not in details


def test_rows_have_an_interval_over_speakers_and_a_mean_of_emotions():
    scores = {"mouth_error": mouth_error(plus_noise(0.5), TRUTH)}
    rows = estimate_per_emotion("x", scores, SPEAKERS, TARGET)
    overall = rows["x.mouth_error"]
    assert overall.low < overall.value < overall.high
    assert set(rows) == {"x.mouth_error", "x.mouth_error.happy", "x.mouth_error.sad"}
    emotions = [rows[f"x.mouth_error.{emotion}"].value for emotion in ("happy", "sad")]
    assert overall.details["mean_of_emotions"] == np.mean(emotions)
    with pytest.raises(ValueError, match="mouth_error: 40 clips measured, 3 speakers given"):
        estimate_per_emotion("x", scores, SPEAKERS[:3], TARGET[:3])
