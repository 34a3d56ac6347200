"""Comparisons of variants on known answers: the same twice, a known shift, a known trade-off."""

import numpy as np
import pytest

from cdrl.evaluation import edit_scores
from cdrl.evaluation.edit_comparison import (
    equal_accuracy,
    error_at,
    estimate_differences,
    single_judge,
)
from cdrl.evaluation.edit_metrics import restore_statistics
from cdrl.evaluation.estimate import ScoreStatistics, mean_statistics

CLIPS = 80
TARGET = np.tile(["happy", "sad"], CLIPS // 2)
RNG = np.random.default_rng(31)
TRUTH = [0.3 + np.cumsum(RNG.normal(0, 0.03, (30, 3)), 0) for _ in range(CLIPS)]
PEOPLE = np.arange(CLIPS)


def noisy(size, seed=1):
    rng = np.random.default_rng([seed, 32])
    std = np.concatenate(TRUTH).std(0)
    return [clip + size * std * rng.normal(size=clip.shape) for clip in TRUTH]


def accuracy_of(hits):
    return edit_scores.emotion_accuracy(hits, hits, np.ones(CLIPS))


def intensity_curve(slope, curve_seed, noise=0.0):
    """(accuracy, error) at five intensity scales; the error rises by `slope` times the accuracy."""
    ranks = np.random.default_rng(33).permutation(CLIPS)
    points = []
    of_clips = np.random.default_rng([curve_seed, 34]).normal(0, noise, CLIPS)
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        accuracy = accuracy_of(ranks < share * CLIPS)
        error = mean_statistics(slope * share + 0.2 + of_clips)
        points.append((accuracy, error))
    return points


def test_kept_statistics_give_the_same_score():
    curves = noisy(0.5)
    points = [clip[:, None, :2] for clip in curves]
    true_points = [clip[:, None, :2] for clip in TRUTH]
    emotions = np.where(np.arange(CLIPS) % 3, TARGET, "")
    accuracy = edit_scores.emotion_accuracy(emotions, TARGET, TARGET)
    scores = {
        "mouth_error": edit_scores.mouth_error(curves, TRUTH),
        "mouth_correlation": edit_scores.mouth_correlation(curves, TRUTH),
        "speech_correlation": edit_scores.speech_correlation(curves, TRUTH),
        "jitter": edit_scores.jitter(points, true_points),
        "emotion_accuracy": accuracy,
    }
    for name, statistics in scores.items():
        assert restore_statistics(name, statistics.rows).value == statistics.value, name
    assert single_judge(accuracy, 1).value == 1
    assert single_judge(accuracy, 0).value == np.mean(emotions == TARGET)


def test_a_variant_against_itself_is_zero_and_a_known_shift_is_found():
    same = edit_scores.mouth_error(noisy(0.5), TRUTH)
    worse = edit_scores.mouth_error(noisy(0.8), TRUTH)
    rows = estimate_differences(
        "x",
        {"mouth_error": same, "psnr": mean_statistics(np.ones(CLIPS))},
        {"mouth_error": same},
        PEOPLE,
        TARGET,
    )
    assert set(rows) == {"x.mouth_error", "x.mouth_error.happy", "x.mouth_error.sad"}
    same_estimate = rows["x.mouth_error"]
    assert (same_estimate.value, same_estimate.low, same_estimate.high) == (0, 0, 0)
    assert (same_estimate.p, same_estimate.n) == (1, CLIPS)
    rows = estimate_differences("x", {"e": worse}, {"e": same}, PEOPLE, TARGET)
    assert rows["x.e"].value == pytest.approx(0.3, abs=0.02)
    assert rows["x.e"].low > 0.25
    assert rows["x.e"].p <= 0.002


def test_two_samplings_of_one_variant_do_not_differ():
    rows = estimate_differences(
        "x",
        {"e": edit_scores.mouth_error(noisy(0.5, 1), TRUTH)},
        {"e": edit_scores.mouth_error(noisy(0.5, 2), TRUTH)},
        PEOPLE,
        TARGET,
    )
    assert rows["x.e"].low < 0 < rows["x.e"].high
    assert abs(rows["x.e"].value) < 0.02


def test_seeds_of_a_clip_are_drawn_together():
    rng = np.random.default_rng(35)
    values = rng.normal(0.1, 1, CLIPS)
    zero = mean_statistics(np.zeros(CLIPS))
    rows = estimate_differences("x", {"a": mean_statistics(values)}, {"a": zero}, PEOPLE, TARGET)
    once = rows["x.a"]
    rows = estimate_differences(
        "x",
        {"a": mean_statistics(np.tile(values, 3))},
        {"a": mean_statistics(np.zeros(3 * CLIPS))},
        np.tile(PEOPLE, 3),
        np.tile(TARGET, 3),
    )
    thrice = rows["x.a"]
    expected = [once.value, once.low, once.high, once.n]
    assert [thrice.value, thrice.low, thrice.high, thrice.n] == pytest.approx(expected)


def test_the_error_is_read_where_the_edit_first_reaches_the_accuracy():
    accuracy = np.array([0.0, 0.5, 0.4, 1.0])
    error = np.array([2.0, 1.0, 9.0, 3.0])
    for level, expected in ((0.0, 2), (0.25, 1.5), (0.5, 1), (0.7, 6)):
        assert error_at(accuracy, error, np.array(level)) == pytest.approx(expected)
    assert np.isnan(error_at(accuracy, error, np.array(1.1)))
    flat = np.array([0.3, 0.3])
    assert error_at(flat, np.array([2.0, 1.0]), np.array(0.3)) == 2


def test_at_equal_accuracy_one_variant_is_itself_and_a_cheaper_one_is_cheaper():
    same = equal_accuracy([intensity_curve(0.5, 1)], [intensity_curve(0.5, 1)], PEOPLE)
    for difference in same.values():
        assert (difference.value, difference.low, difference.high) == (0, 0, 0)
        assert difference.p == 1

    found = equal_accuracy([intensity_curve(0.2, 1, 0.05)], [intensity_curve(0.6, 2, 0.05)], PEOPLE)
    assert found["at_best"].details["accuracy"] == 0.9
    assert found["at_best"].n == CLIPS
    assert found["at_best"].value == pytest.approx(-0.4 * 0.9, abs=0.03)
    assert found["at_best"].high < -0.3
    middle = np.mean(np.linspace(0.1, 0.9, 20)[1:])
    assert found["over_accuracies"].value == pytest.approx(-0.4 * middle, abs=0.03)
    assert found["over_accuracies"].high < 0


def test_a_stronger_variant_is_compared_where_the_weaker_one_ends():
    """The error of the stronger one is read at the highest accuracy of the weaker one."""
    strong = intensity_curve(0.5, 1)
    found = equal_accuracy([strong], [strong[:3]], PEOPLE)["at_best"]
    assert found.details["accuracy"] == 0.5
    assert found.value == pytest.approx(0, abs=1e-9)
    assert found.low <= 0 <= found.high
    # What a comparison at the full intensity would have said.
    _, error_at_most = strong[-1]
    _, error_at_weaker = strong[2]
    assert error_at_most.value - error_at_weaker.value == pytest.approx(0.2)


def test_of_several_weights_the_one_that_costs_least_counts():
    cheap = intensity_curve(0.2, 1)
    dear = intensity_curve(0.6, 1)
    assert equal_accuracy([dear, cheap], [cheap], PEOPLE)["at_best"].value == 0
    # The cheap weight does not reach that far.
    short = equal_accuracy([cheap[:3], dear], [dear], PEOPLE)["at_best"]
    assert short.details["accuracy"] == 0.9
    assert short.value == 0


def test_chance_alone_is_rarely_outside_the_interval():
    rng = np.random.default_rng(36)

    def random_curve():
        skill = rng.random(CLIPS)
        points = []
        for share in (0.1, 0.5, 0.9):
            error = mean_statistics(0.5 * share + rng.normal(0, 0.3, CLIPS))
            points.append((accuracy_of(skill < share), error))
        return points

    num_outside = 0
    for trial in range(40):
        first = random_curve()
        second = random_curve()
        differences = equal_accuracy([first], [second], PEOPLE, seed=trial)
        difference = differences["over_accuracies"]
        num_outside += not difference.low <= 0 <= difference.high
    assert num_outside <= 6  # 2 of 40 are expected


def test_measures_of_other_clips_are_refused():
    first = mean_statistics(np.zeros(80))
    second = ScoreStatistics(np.ones((79, 2)))
    with pytest.raises(ValueError, match="same clips: got 80 and 79 rows"):
        estimate_differences("x", {"a": first}, {"a": second}, PEOPLE, TARGET)
