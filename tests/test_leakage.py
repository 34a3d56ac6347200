"""Probes and intervals on codes whose leak is known."""

import numpy as np
import pytest
from known_codes import labelled_corpus, leaky, noise, one_hot, rotation
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from cdrl.core.errors import InputError
from cdrl.evaluation.estimate import (
    Estimate,
    ScoreStatistics,
    flatten_scores,
    interval_over_people,
    mean_statistics,
    paired_difference,
)
from cdrl.evaluation.leakage import (
    content_scores,
    emotion_scores,
    permutation_accuracies,
    permuted_scores,
)
from cdrl.evaluation.probe_splits import clip_means, frame_table, split_clips
from cdrl.evaluation.probes import correlation_statistics, fit_probes, leak_share, spearman_probe

CORPUS = labelled_corpus()
FRAMES = CORPUS.frames


def labels_and_halves(rows=3000, classes=7, seed=0):
    labels = np.random.default_rng([seed, 11]).integers(classes, size=rows)
    return labels, slice(0, rows // 2), slice(rows // 2, rows)


def probe(code, labels, fit, score, **options):
    return fit_probes(code[fit], labels[fit], code[score], labels[score], **options)


# --- the three probes ---


@pytest.mark.parametrize("leak", [0.0, 0.25, 0.5, 1.0])
def test_a_known_leak_is_read_at_its_size_by_every_probe(leak):
    labels, fit, score = labels_and_halves(6000)
    result = probe(leaky(labels, leak), labels, fit, score)
    expected = leak + (1 - leak) / 7
    assert result.score["linear"] == pytest.approx(expected, abs=0.03)
    assert result.score["mlp"] == pytest.approx(expected, abs=0.03)
    # 20 neighbours outvote each other where the leak is weak.
    assert expected - 0.09 <= result.score["knn"] <= expected + 0.03
    above_chance = (result.highest - result.chance) / (1 - result.chance)
    assert above_chance == pytest.approx(leak, abs=0.04)
    assert result.balanced["linear"] == pytest.approx(expected, abs=0.03)


def test_a_constant_code_scores_exactly_its_chance():
    labels, fit, score = labels_and_halves()
    result = probe(np.full((3000, 8), 0.3), labels, fit, score)
    assert set(result.score.values()) == {result.chance}
    raw = probe(one_hot(labels), labels, fit, score)
    assert leak_share(result, raw).value == 0


def test_noise_and_permuted_labels_score_chance():
    labels, fit, score = labels_and_halves(4000)
    assert probe(noise(4000), labels, fit, score).highest == pytest.approx(1 / 7, abs=0.04)
    smooth = one_hot(labels) @ noise(7, 16) + 2 * noise(4000, seed=5)
    assert probe(smooth, labels, fit, score, kinds=("linear",)).highest > 0.5
    permuted = probe(smooth, labels, fit, score, kinds=("linear",), permuted=True)
    assert permuted.highest == pytest.approx(1 / 7, abs=0.06)


def test_a_rotated_and_a_duplicated_code_score_as_the_code_itself():
    labels, fit, score = labels_and_halves()
    code = np.c_[leaky(labels, 0.5), noise(3000, 5)]
    accuracies = probe(code, labels, fit, score).score
    for equivalent in (code @ rotation(12), np.c_[code, code], 100 * code + 3):
        for kind, accuracy in probe(equivalent, labels, fit, score).score.items():
            assert accuracy == pytest.approx(accuracies[kind], abs=0.04), kind


def test_only_the_highest_probe_sees_a_leak_that_is_not_linear():
    rng = np.random.default_rng(3)
    signs = rng.integers(2, size=(3000, 2))
    code = (2 * signs - 1 + 0.3 * rng.normal(size=(3000, 2))).astype(np.float32)
    labels = signs[:, 0] ^ signs[:, 1]
    result = probe(code, labels, slice(0, 1500), slice(1500, 3000))
    assert result.score["linear"] < 0.6
    assert result.highest > 0.95
    assert result.best != "linear"


def test_neighbours_agree_with_a_naive_cosine_loop():
    labels, fit, score = labels_and_halves(400)
    code = one_hot(labels) @ noise(7, 6) + 1.5 * noise(400, 6, seed=2)
    predicted = probe(code, labels, fit, score, kinds=("knn",)).predicted["knn"]
    scaled = StandardScaler().fit(code[fit]).transform(code).astype(np.float64)
    lengths = np.linalg.norm(scaled, axis=1)
    for row, prediction in zip(range(200, 400), predicted, strict=True):
        cosines = []
        for k in range(200):
            cosines.append(scaled[row] @ scaled[k] / lengths[row] / lengths[k])
        nearest = np.argsort(cosines)[-20:]
        assert prediction == np.bincount(labels[nearest]).argmax()


def test_the_linear_probe_is_standardised_logistic_regression_with_c_1():
    labels, fit, score = labels_and_halves(600)
    scales = np.arange(1, 7) ** 3
    code = one_hot(labels) @ noise(7, 6) * scales + 5 + noise(600, 6, seed=2) * scales
    scaler = StandardScaler().fit(code[fit])
    model = LogisticRegression(C=1.0, max_iter=500)
    model.fit(scaler.transform(code[fit]), labels[fit])
    expected = model.predict(scaler.transform(code[score]))
    predicted = probe(code, labels, fit, score).predicted["linear"]
    assert np.mean(predicted == expected) > 0.99


def test_chance_is_the_fitting_majority_scored_on_the_other_part():
    fit = np.array(list("aabaabcc"))
    score = np.array(list("abbbbc"))
    result = fit_probes(noise(8, 2), fit, noise(6, 2), score, kinds=("knn",))
    assert result.chance == pytest.approx(1 / 6)
    assert result.score["knn"] == pytest.approx(1 / 6)  # 8 rows, 8 neighbours: always the majority
    assert result.balanced["knn"] == pytest.approx(1 / 3)
    one_class = fit_probes(noise(2, 2), fit[:2], noise(6, 2), score, kinds=("knn",))
    assert one_class.estimate().details["unseen"] == pytest.approx(5 / 6)


def test_probes_refuse_an_empty_part_and_an_unknown_kind():
    with pytest.raises(ValueError, match="rows in both parts: got 0 to fit, 5 to score"):
        fit_probes(np.zeros((0, 2)), np.zeros(0), np.zeros((5, 2)), np.zeros(5))
    with pytest.raises(ValueError, match="unknown probe 'tree': accepted are linear, knn, mlp"):
        fit_probes(noise(9), np.arange(9) % 3, noise(9), np.arange(9) % 3, kinds=("tree",))


def test_share_is_the_excess_left_of_the_raw_features():
    labels, fit, score = labels_and_halves(6000)
    raw = probe(leaky(labels, 0.8), labels, fit, score)
    half_as_leaky = probe(leaky(labels, 0.4, seed=1), labels, fit, score)
    half = leak_share(half_as_leaky, raw)
    assert half.value == pytest.approx(0.5, abs=0.05)
    assert half.low < half.value < half.high
    assert leak_share(raw, raw).value == 1


# --- intervals ---


def naive_interval(hits, speakers, share):
    """The t interval by leaving out each speaker in a loop."""
    people = np.unique(speakers)
    without = [np.mean(hits[speakers != person]) for person in people]
    count = len(people)
    variance = (count - 1) / count * np.sum((without - np.mean(without)) ** 2)
    half = stats.t.ppf(0.975, count - 1) * np.sqrt(variance)
    value = np.mean(hits)
    if not share:
        return value - half, value + half
    half /= value * (1 - value)
    middle = np.log(value / (1 - value))
    return tuple(1 / (1 + np.exp(-(middle + side * half))) for side in (-1, 1))


def test_interval_agrees_with_a_naive_loop_over_speakers():
    rng = np.random.default_rng(0)
    speakers = rng.integers(5, size=60)
    hits = (rng.random(60) < 0.2 + 0.15 * speakers).astype(float)
    share = interval_over_people(mean_statistics(hits), speakers)
    assert share == pytest.approx(naive_interval(hits, speakers, share=True), abs=1e-12)
    decibels = rng.normal(30, 3, 60)
    plain = interval_over_people(mean_statistics(decibels), speakers)
    assert plain == pytest.approx(naive_interval(decibels, speakers, share=False), abs=1e-10)


def test_interval_of_group_means_is_the_closed_form():
    means = np.random.default_rng(1).normal(size=20)
    statistics = mean_statistics(np.repeat(means, 30))
    low, high = interval_over_people(statistics, np.repeat(np.arange(20), 30))
    expected = stats.t.ppf(0.975, 19) * means.std(ddof=1) / np.sqrt(20)
    assert (high - low) / 2 == pytest.approx(expected)


@pytest.mark.parametrize("people", [5, 12, 24])
def test_an_interval_called_95_percent_holds_the_share_in_95_of_100_studies(people):
    num_held = 0
    for study in range(1500):
        rng = np.random.default_rng([study, people])
        hits = np.concatenate([rng.random(30) < skill for skill in rng.beta(8, 2, people)])
        groups = np.repeat(np.arange(people), 30)
        low, high = interval_over_people(mean_statistics(hits), groups)
        num_held += low <= 0.8 <= high
    assert 0.93 <= num_held / 1500 <= 0.97


@pytest.mark.parametrize("of_seeds", [0.0, 0.2, 1.0])
def test_with_several_trainings_the_interval_holds_the_value_of_other_seeds_too(of_seeds):
    """Twelve people and three seeds; without the seeds it would hold .67 where they differ."""
    num_held = 0
    groups = np.repeat(np.arange(12), 3)
    seeds = np.tile(np.arange(3), 12)
    for study in range(500):
        rng = np.random.default_rng([study, 41])
        skills = rng.normal(0, 1, 12)[groups]
        trainings = rng.normal(0, of_seeds, 3)[seeds]
        values = 5 + skills + trainings + rng.normal(0, 0.5, 36)
        low, high = interval_over_people(mean_statistics(values), groups, seeds)
        num_held += low <= 5 <= high
    assert 0.91 <= num_held / 500 <= 0.98


def test_a_share_of_all_or_nothing_still_has_an_interval_over_people():
    groups = np.repeat(np.arange(7), 10)
    low, high = interval_over_people(mean_statistics(np.zeros(70)), groups)
    assert (low, high) == pytest.approx((0, 1 - 0.025 ** (1 / 7)))
    low, high = interval_over_people(mean_statistics(np.ones(70)), groups)
    assert (low, high) == pytest.approx((0.025 ** (1 / 7), 1))


def test_one_speaker_has_no_interval():
    assert np.isnan(interval_over_people(mean_statistics(np.arange(9)), np.zeros(9))).all()


def test_paired_difference_sees_what_unpaired_intervals_hide():
    rng = np.random.default_rng(2)
    clips = rng.normal(size=100)
    first = mean_statistics(clips + 0.15 + 0.1 * rng.normal(size=100))
    second = mean_statistics(clips)
    difference = paired_difference(first, second)
    assert difference.low > 0.1
    assert difference.high < 0.3
    assert difference.p < 0.01
    assert difference.n == 100
    low, _ = interval_over_people(first, np.arange(100))
    assert low < second.value
    same = paired_difference(first, first)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    with pytest.raises(ValueError, match="same clips: got 100 and 3 rows"):
        paired_difference(first, mean_statistics(np.ones(3)))


def test_a_skipped_clip_carries_no_weight():
    assert mean_statistics(np.array([1.0, np.nan, 3.0])).value == 2
    nothing = ScoreStatistics(np.zeros((3, 2))).subset(np.zeros(3, bool))
    assert np.isnan(nothing.value)


def test_an_estimate_prints_its_numbers_and_leaves_out_what_it_lacks():
    estimate = Estimate(0.5, low=np.nan, n=4, details={"raw": 0.7, "probe": "linear"})
    names = {"a", "a.low", "a.n", "a.raw"}
    assert set(flatten_scores({"a": estimate})) == names
    assert set(flatten_scores({"a": estimate.finite()})) == names - {"a.low"}


# --- splits and tables ---


@pytest.mark.parametrize("factor", ["viseme", "phoneme", "emotion", "intensity"])
def test_fit_and_score_share_neither_speaker_nor_sentence(factor):
    fit, score = split_clips(CORPUS.clips, factor, seed=3)
    for name in ("speaker", "sentence"):
        values = CORPUS.clips[name].to_numpy()
        assert not set(values[fit]) & set(values[score])
        assert len(set(values[score])) >= 2


@pytest.mark.parametrize(("factor", "apart"), [("speaker", "sentence"), ("sentence", "speaker")])
def test_what_a_label_needs_is_shared_and_the_other_is_disjoint(factor, apart):
    two = CORPUS.clips.assign(fit=CORPUS.clips["speaker"] < 4)
    # People and sentences of the two given parts differ, as in two sets of one corpus.
    two["sentence"] += 100 * two["fit"]
    for clips in (CORPUS.clips, two):
        fit, score = split_clips(clips, factor)
        assert set(clips[factor][fit]) == set(clips[factor][score]) == set(clips[factor])
        assert not set(clips[apart][fit]) & set(clips[apart][score])


def test_a_given_split_is_kept_and_refused_where_it_shares_a_speaker():
    given = CORPUS.clips.assign(fit=CORPUS.clips["speaker"] < 4)
    given["sentence"] += 100 * given["fit"]
    fit, score = split_clips(given, "viseme")
    assert np.array_equal(fit, given["fit"])
    assert np.array_equal(score, ~given["fit"])
    with pytest.raises(ValueError, match="6 sentences are in the fitting AND the scoring part"):
        split_clips(CORPUS.clips.assign(fit=CORPUS.clips["speaker"] < 4), "viseme")
    with pytest.raises(ValueError, match="no split for speaker"):
        split_clips(CORPUS.clips[CORPUS.clips["sentence"] == 0], "speaker")


def test_a_corpus_where_every_sentence_has_one_emotion_is_refused():
    clips = CORPUS.clips.assign(sentence=CORPUS.clips["emotion"].factorize()[0])
    with pytest.raises(
        InputError,
        match="none of 7 sentences is said in two emotions, so emotion and sentence are confounded",
    ):
        split_clips(clips, "emotion")


def test_contempt_is_in_no_part():
    clips = CORPUS.clips.assign(emotion=CORPUS.clips["emotion"].replace("sad", "contempt"))
    is_contempt = (clips["emotion"] == "contempt").to_numpy()
    for factor in ("viseme", "speaker", "sentence"):
        fit, score = split_clips(clips, factor)
        assert not np.any(is_contempt & fit)
        assert not np.any(is_contempt & score)


def test_clip_means_agree_with_a_loop_and_refuse_unordered_frames():
    code = noise(len(FRAMES), 3)
    clip = FRAMES["clip"].to_numpy()
    naive = np.stack([code[clip == k].mean(0) for k in range(len(CORPUS.clips))])
    assert np.allclose(clip_means(code, clip, len(CORPUS.clips)), naive, atol=1e-6)
    with pytest.raises(ValueError, match="order the frames clip by clip"):
        clip_means(code[:4], np.array([0, 1, 0, 1]), 2)
    with pytest.raises(ValueError, match="frames, the labels 3"):
        frame_table(CORPUS.clips, np.zeros(3), np.zeros(3))


# --- the printed rows ---


def test_a_perfect_content_code_reads_visemes_and_nothing_else():
    viseme = one_hot(FRAMES["viseme"])
    raw = np.c_[viseme, one_hot(FRAMES["speaker"]), one_hot(FRAMES["emotion"])]
    rows = content_scores(viseme, CORPUS, raw=raw)
    names = ("viseme", "emotion", "emotion_clip", "speaker", "speaker_share")
    assert list(rows) == [f"content.{name}" for name in names]
    assert rows["content.viseme"].value == 1
    assert rows["content.viseme"].chance < 0.45
    assert rows["content.emotion"].value == pytest.approx(1 / 7, abs=0.05)
    assert rows["content.speaker"].value == pytest.approx(1 / 8, abs=0.05)
    assert abs(rows["content.speaker_share"].value) < 0.06
    assert rows["content.speaker_share"].details["raw"] > 0.99
    printed = flatten_scores(rows)
    for name in ("viseme.chance", "viseme.low", "emotion.n", "emotion.mlp"):
        assert f"content.{name}" in printed


def test_an_entangled_content_code_is_caught_per_frame_and_in_the_clip_mean():
    code = np.c_[one_hot(FRAMES["viseme"]), leaky(FRAMES["emotion"], 0.5)]
    rows = content_scores(code, CORPUS)
    frame = rows["content.emotion"]
    clip = rows["content.emotion_clip"]
    above_chance = (frame.value - frame.chance) / (1 - frame.chance)
    assert above_chance == pytest.approx(0.5, abs=0.08)
    assert clip.value > 0.9  # the mean of a leaky code leaks more than its frames


def test_permuted_labels_score_chance_in_every_row_even_on_a_code_of_few_clusters():
    small = labelled_corpus(speakers=6, phones=3, longest=2)
    code = one_hot(small.frames["emotion"]) + 0.1 * noise(len(small.frames), 7)
    rows = permuted_scores(content_scores, code, small, "control.permuted.content")
    for name in ("viseme", "emotion", "speaker"):
        cells = rows[f"control.permuted.content.{name}"]
        assert cells.value == pytest.approx(cells.chance, abs=0.09), name
    assert rows["control.permuted.content.emotion"].n == 5


def test_a_perfect_emotion_code_reads_emotion_and_its_strength():
    corpus = labelled_corpus(intensities=(1, 2, 3), sentences=5, longest=2)
    frames = corpus.frames
    rng = np.random.default_rng(0)
    code = one_hot(frames["emotion"]) * frames["intensity"].to_numpy()[:, None]
    code = code + 0.02 * rng.normal(size=code.shape)
    raw = np.c_[code, one_hot(frames["speaker"]), one_hot(frames["sentence"])]
    rows = emotion_scores(code, corpus, raw=raw)
    for name in ("emotion", "emotion_2", "emotion_3", "emotion_frame"):
        assert rows[f"emotion.{name}"].value > 0.98, name
    assert rows["emotion.emotion_2"].chance == pytest.approx(1 / 6)
    assert rows["emotion.emotion"].chance < 0.2
    assert rows["emotion.intensity"].value > 0.93
    for name in ("sentence", "speaker"):
        assert rows[f"emotion.{name}"].value < rows[f"emotion.{name}"].chance + 0.1
        assert abs(rows[f"emotion.{name}_share"].value) < 0.12
    assert rows["emotion.sentence"].details["n_fit"] < len(corpus.clips)


def test_intensity_of_noise_and_of_a_constant_is_zero():
    values = np.repeat([1, 2, 3], 100)
    people = np.arange(300) % 10
    code = noise(300, 4)
    assert abs(spearman_probe(code, values, code[::-1], values, people).value) < 0.2
    constant = np.ones((300, 4))
    assert spearman_probe(constant, values, constant, values, people).value == 0
    cubes = values[:, None] ** 3.0
    exact = spearman_probe(cubes, values, cubes, values, people)
    assert exact.value == pytest.approx(1)
    assert exact.low == pytest.approx(1)

    code = noise(300, 20) + values[:, None]
    permuted = []
    for seed in range(12):
        estimate = spearman_probe(code, values, code, values, people, seed, permuted=True)
        permuted.append(estimate.value)
    assert abs(np.mean(permuted)) < 0.4
    assert spearman_probe(code, values, code, values, people).value > 0.4


def test_pooled_correlation_agrees_with_numpy():
    one, two = noise(50, 2).T
    expected = np.corrcoef(one, two)[0, 1]
    assert correlation_statistics(one, two).value == pytest.approx(expected, abs=1e-6)


def permutation_p(predicted, labels, clip, seed=0):
    """Share of permutations that fixed predictions fit as well; the true labels count as one."""
    accuracies = permutation_accuracies(predicted, labels, clip, seed)
    num_as_good = 1 + np.sum(accuracies >= np.mean(predicted == labels))
    return num_as_good / (len(accuracies) + 1)


def test_permutations_of_clips_are_beaten_by_knowledge_and_not_by_guesses():
    clip = np.repeat(np.arange(40), 10)
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(4, size=40), 10)
    assert permutation_p(labels, labels, clip) == 0.005
    p_of_guesses = []
    for seed in range(40):
        guesses = np.repeat(rng.integers(4, size=40), 10)
        p_of_guesses.append(permutation_p(guesses, labels, clip, seed))
    assert 0.3 < np.mean(p_of_guesses) < 0.75
    assert np.mean(np.array(p_of_guesses) < 0.05) < 0.2


def test_permutations_keep_the_labels_of_a_clip_in_order():
    clip = np.repeat(np.arange(6), 5)
    labels = np.tile(np.arange(5), 6)
    assert np.all(permutation_accuracies(labels, labels, clip) == 1)


def test_a_null_of_permuted_labels_holds_noise_and_not_knowledge():
    content = CORPUS.probe_with_null(one_hot(FRAMES["viseme"]), "viseme", kinds=("linear",))
    assert content.value > content.details["null_high"]
    nothing = CORPUS.probe_with_null(noise(len(FRAMES)), "emotion")
    assert nothing.details["null_low"] <= nothing.value <= nothing.details["null_high"]


def test_every_score_is_the_same_on_a_second_run():
    small = labelled_corpus(speakers=4, sentences=4, phones=2, longest=2)
    code = leaky(small.frames["emotion"], 0.3)
    first = flatten_scores(content_scores(code, small))
    assert flatten_scores(content_scores(code, small)) == first


def test_a_narrow_code_in_many_dimensions_is_read_as_its_own_axes_are():
    random = np.random.default_rng(3)
    code = random.standard_normal((900, 4))
    label = (code + random.standard_normal(code.shape)).argmax(1)
    wide = code @ random.standard_normal((4, 40))
    fit = slice(0, 600)
    score = slice(600, 900)
    scaled = (wide - wide[fit].mean(0)) / wide[fit].std(0)
    model = LogisticRegression(C=1.0, max_iter=500).fit(scaled[fit], label[fit])
    expected = model.predict(scaled[score])
    predicted = probe(wide, label, fit, score, kinds=("linear",)).predicted["linear"]
    assert np.mean(predicted == expected) > 0.98


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["fit", "score"])
def test_a_probe_of_features_that_are_not_finite_says_so(value, part):
    features = {
        name: np.random.default_rng(0).standard_normal((60, 4)) for name in ("fit", "score")
    }
    features[part][3, 1] = value
    labels = np.arange(60) % 3
    with pytest.raises(ValueError, match=f"1 of 60 rows to {part} .* row 3"):
        fit_probes(features["fit"], labels, features["score"], labels)
