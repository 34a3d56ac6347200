"""The corpus: disjoint splits, crossed and drawn lists of clips, rendering, and its difficulty."""

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS, EMOTIONS, MOUTH_INDEX, SCORED_EMOTIONS, VISEME_OF_PHONEME
from cdrl.corpora.store import Store
from cdrl.media.mouth_curves import mouth_curves
from cdrl.studio import calibration, corpus, edits
from cdrl.studio.acting import ClipSpec, act, utterance_of
from cdrl.studio.head import LANDMARKS
from cdrl.studio.sentences import SENTENCES, TEXTS
from cdrl.studio.speech import cache_folder, read_cache, speak_all

FIRST_OF_SECOND_HALF = 312  # of the report split's people
needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None,
    reason="espeakng_loader is not installed (extra: studio)",
)


# --- lists of clips ---------------------------------------------------------------------------


def test_no_person_is_in_two_splits():
    people = []
    for split in corpus.SPLITS.values():
        people += split.people
    assert len(set(people)) == len(people)


def test_no_sentence_and_no_text_is_in_two_splits():
    # The frozen networks and the encoders learn from other people; what is said tells a backbone
    # nothing about a face.
    sentences = []
    for name, split in corpus.SPLITS.items():
        if name not in ("priors", "action_tracker"):
            sentences += split.sentences
    assert len(set(sentences)) == len(sentences)
    texts = []
    for split_texts in SENTENCES.values():
        texts += split_texts
    assert len(set(texts)) == len(texts) == len(TEXTS)
    assert len(SENTENCES["train"]) >= 160
    assert len(SENTENCES["judge"]) >= 120


def test_reporting_is_crossed_in_two_halves_that_share_nothing():
    clips = corpus.specs("report")
    first = [spec for spec in clips if spec.person < FIRST_OF_SECOND_HALF]
    second = [spec for spec in clips if spec.person >= FIRST_OF_SECOND_HALF]
    assert len(clips) == 1008
    assert {spec.sentence for spec in first} == set(range(300, 306))
    assert {spec.sentence for spec in second} == set(range(306, 312))
    for half in (first, second):
        assert len({spec.person for spec in half}) == 12
        counts = Counter((spec.person, spec.sentence, spec.emotion) for spec in half)
        assert len(counts) == 12 * 6 * 7
        assert set(counts.values()) == {1}


def test_intensities_of_the_report_are_balanced_and_neutral_has_one():
    clips = corpus.specs("report")
    assert {spec.intensity for spec in clips if spec.emotion == "neutral"} == {1}
    levels = Counter(spec.intensity for spec in clips if spec.emotion != "neutral")
    assert min(levels.values()) > 0.28 * sum(levels.values())


def test_a_smaller_report_keeps_both_halves():
    clips = corpus.specs("report", people=5, sentences=3)
    assert {spec.person for spec in clips} == {300, 301, 302, 312, 313}
    halves = {(spec.person >= FIRST_OF_SECOND_HALF, spec.sentence) for spec in clips}
    assert halves == {(False, 300), (False, 301), (True, 306)}
    assert set(clips) <= set(corpus.specs("report"))


@pytest.mark.parametrize("num_clips", [8, 9, 24])
def test_every_training_sentence_is_said_by_its_person_in_two_emotions(num_clips):
    clips = corpus.specs("train", people=40, clips=num_clips)
    assert len(clips) == 40 * num_clips == len(set(clips))
    emotions = {}
    for spec in clips:
        emotions.setdefault((spec.person, spec.sentence), []).append(spec.emotion)
    for emotions_of_pair in emotions.values():
        assert len(set(emotions_of_pair)) == len(emotions_of_pair) >= 2
    counts = Counter(spec.emotion for spec in clips)
    assert set(counts) == set(SCORED_EMOTIONS)
    assert max(counts.values()) < 1.35 * min(counts.values())


def test_another_seed_draws_another_training_list_of_the_same_people():
    first = corpus.specs("train", people=3, clips=4, seed=0)
    second = corpus.specs("train", people=3, clips=4, seed=1)
    assert first != second
    assert {spec.person for spec in first} == {spec.person for spec in second}


@pytest.mark.parametrize("seed", range(5))
def test_the_committed_speech_covers_smoke_whatever_its_seed(seed):
    cached = set(read_cache(cache_folder()))
    clips = corpus.specs("smoke_train", clips=4, seed=seed) + corpus.specs("smoke_report")
    assert {utterance_of(spec).key for spec in clips} <= cached


def test_a_name_says_everything_about_its_clip():
    clips = corpus.specs("train", people=2)
    clips.append(ClipSpec(7, 12, "sad", 2, take=3))
    clips.append(ClipSpec(300, 301, "contempt", 3))
    clips.append(ClipSpec(1_000_000, 700, "fear", 3, version=2))
    for spec in clips:
        assert corpus.spec_of(corpus.name_of(spec)) == spec
    assert corpus.name_of(ClipSpec(300, 301, "happy", 3)) == "studio-0300-301-happy-3-0"


def test_training_of_version_2_has_contempt_as_often_as_other_emotions():
    clips = corpus.specs("train", people=20, clips=8, version=2)
    counts = Counter(spec.emotion for spec in clips)
    assert set(counts) == set(EMOTIONS)
    assert set(counts.values()) == {20}
    assert {spec.version for spec in clips} == {2}
    reporting = corpus.specs("reserved", people=2, sentences=2, version=2)
    assert {spec.emotion for spec in reporting} == set(SCORED_EMOTIONS)


def test_a_name_of_another_corpus_is_refused():
    with pytest.raises(InputError, match="'1001_DFA_ANG_XX' is no clip of the studio"):
        corpus.spec_of("1001_DFA_ANG_XX")


@pytest.mark.parametrize(
    ("name", "num_frames", "coefficients", "pose", "scene", "visemes"),
    [
        ("studio-0600-600-happy-3-0", 33, 0.134477, 0.065696, 4125059886, 200),
        ("studio-0604-603-sad-3-0", 52, 0.102290, 0.043463, 3246094430, 522),
    ],
)
def test_the_acting_of_this_version_has_not_drifted(
    name, num_frames, coefficients, pose, scene, visemes
):
    """Where this fails on purpose, count `corpus.VERSION` up: scores are of one version."""
    assert corpus.VERSION == 1
    performance = act(corpus.spec_of(name))
    assert performance.scene == scene
    assert len(performance.viseme) == num_frames
    assert performance.viseme.sum() == visemes
    assert performance.coefficients.mean() == pytest.approx(coefficients, abs=1e-5)
    assert np.abs(performance.pose).mean() == pytest.approx(pose, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "test"}, "unknown split 'test': accepted are priors, train, choose, report"),
        ({"split": "train", "people": 641}, "split train: 641 people asked for, it has 1 to 640"),
        ({"split": "reserved"}, "split reserved: its voices are of studio version 2"),
        ({"split": "train", "clips": 1}, "1 clips per person asked for: accepted are 2 to 400"),
        (
            {"split": "report", "people": 1},
            "a crossed split takes 2 or more people and 2 to 12 sentences",
        ),
    ],
)
def test_a_list_that_cannot_be_made_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        corpus.specs(**arguments)


# --- stores -----------------------------------------------------------------------------------


def generate(clips, path, **settings):
    return corpus.generate(clips, path, "smoke", progress=False, **settings)


def test_the_pool_writes_the_same_store_as_one_process(tmp_path):
    clips = corpus.smoke_specs()[::23][:5]
    alone = generate(clips, tmp_path / "alone", workers=1)
    pooled = generate(clips, tmp_path / "pooled", workers=2)
    assert alone == pooled
    assert alone.clips == 5
    assert alone.missing == ()
    arrays = sorted((tmp_path / "alone").glob("*.npy"))
    assert arrays
    for path in arrays:
        assert path.read_bytes() == (tmp_path / "pooled" / path.name).read_bytes(), path.name

    store = Store(tmp_path / "pooled")
    assert list(store.clips.name) == [corpus.name_of(spec) for spec in clips]
    assert len(store) == alone.frames
    truth = act(clips[1])
    frames = store.frames(1)
    np.testing.assert_array_equal(store.truth["viseme"][frames], truth.viseme)
    np.testing.assert_allclose(store.truth["coefficients"][frames], truth.coefficients, atol=1e-3)
    landmarks = store.truth["landmarks"][:]
    assert landmarks.shape[2] == 2
    assert 0 < np.median(landmarks) < 1


def store_with_edit(folder, crop):
    """A store of one happy clip, and the store of its angry edit."""
    spec = next(spec for spec in corpus.smoke_specs() if spec.emotion == "happy")
    generate([spec], folder / crop, workers=1, crop=crop)
    source = Store(folder / crop)
    edits.generate_edits(source, [(0, "angry", 3)], folder / f"{crop}-edits", 128, 96, workers=1)
    return source, Store(folder / f"{crop}-edits")


@pytest.mark.parametrize("crop", ["aligned", "released"])
def test_true_edits_are_cropped_as_their_sources(tmp_path, crop):
    source, edit = store_with_edit(tmp_path, crop)
    assert source.crop == edit.crop == crop
    np.testing.assert_array_equal(edit.transforms[:], source.transforms[:])


def test_the_released_crop_lets_the_jaw_move_the_eyes(tmp_path):
    eye_corners = [LANDMARKS.index("right_eye_outer"), LANDMARKS.index("left_eye_outer")]
    movement = {}
    heights = {}
    for crop in ("aligned", "released"):
        source, _ = store_with_edit(tmp_path, crop)
        landmarks = np.asarray(source.truth["landmarks"][:], float)
        movement[crop] = landmarks[:, eye_corners].std(axis=0).mean()
        heights[crop] = landmarks[:, :, 1].mean(axis=0)
    assert movement["released"] > 2 * movement["aligned"]
    # The box goes from .1 / 1.2 to 1.1 / 1.2 of the crop.
    released = heights["released"]
    assert released.min() == pytest.approx(0.1 / 1.2, abs=0.04)
    assert released[LANDMARKS.index("chin")] == pytest.approx(1.1 / 1.2, abs=0.04)


def test_clips_whose_face_is_not_found_are_listed_not_dropped_in_silence(tmp_path):
    clips = corpus.smoke_specs()[:2]
    names = [corpus.name_of(spec) for spec in clips]
    report = generate(clips, tmp_path / "small", frame_size=40, workers=1)
    assert report.clips == 0
    assert [name for name, _ in report.missing] == names
    listed = json.loads((tmp_path / "small" / "missing.json").read_text())
    assert listed[0][0] == names[0]


def test_what_a_rendering_process_imports_does_not_bring_torch():
    code = (
        "import sys, cdrl.studio.corpus, cdrl.studio.render, cdrl.media.faces; "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# --- the corpus scores ------------------------------------------------------------------------


def random_truth(num_frames=2400):
    """Truth whose coefficients say nothing about its labels."""
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 7, num_frames)
    person = np.repeat(np.arange(8), num_frames // 8)
    return calibration.Truth(
        coefficients=rng.random((num_frames, 52)),
        windows=np.zeros((num_frames, 5), int),
        emotion=labels,
        viseme=labels,
        half=(person >= 4).astype(int),
        person=person,
    )


def test_a_probe_reads_labels_from_labels():
    truth = random_truth()
    perfect = calibration.probe(np.eye(7)[truth.emotion], truth.emotion, truth)
    assert perfect.value == 1
    assert perfect.low < 1  # four people who score 1 leave room for others
    assert perfect.high == 1
    assert perfect.n == 2400


def test_a_probe_reads_chance_from_noise():
    truth = random_truth()
    useless = calibration.probe(truth.coefficients[:, :5], truth.emotion, truth)
    assert useless.value == pytest.approx(1 / 7, abs=0.04)
    assert useless.low < 1 / 7 < useless.high
    assert useless.chance == pytest.approx(1 / 7, abs=0.03)


def test_scores_have_their_parts_beside_them():
    scores = {"a": calibration.CorpusScore(0.5, 10, chance=0.1), "b": calibration.CorpusScore(1, 2)}
    assert calibration.flatten(scores) == {
        "corpus.a": 0.5,
        "corpus.a.chance": 0.1,
        "corpus.a.n": 10,
        "corpus.b": 1,
        "corpus.b.n": 2,
    }


def test_mouth_curves_are_jaw_width_and_rounding():
    actions = {
        "jawOpen": 0.5,
        "mouthSmileLeft": 0.4,
        "mouthSmileRight": 0.2,
        "mouthStretchLeft": 0.2,
        "mouthPucker": 0.1,
        "mouthFunnel": 0.25,
    }
    frame = np.zeros((1, 52))
    for name, value in actions.items():
        frame[0, ACTIONS.index(name)] = value
    jaw, width, rounding = mouth_curves(frame)[0]
    assert jaw == 0.5
    assert rounding == pytest.approx((0.1 + 0.25) / 2)
    assert width == pytest.approx((0.4 + 0.2 + 0.2) / 6 - rounding)


def test_copying_a_curve_correlates_perfectly_and_noise_does_not():
    rng = np.random.default_rng(1)
    curves = rng.normal(size=(4000, 3))
    noise = rng.normal(size=(4000, 3))
    assert calibration.pooled_correlation(curves, 2 * curves + 1) == pytest.approx(1)
    assert calibration.pooled_correlation(curves, -curves) == pytest.approx(-1)
    assert abs(calibration.pooled_correlation(curves, noise)) < 0.05


@needs_espeak
@pytest.mark.parametrize("split", ["report", "choose"])
def test_both_halves_of_the_hand_written_splits_have_every_viseme(split):
    clips = [spec for spec in corpus.specs(split, people=2) if spec.emotion == "neutral"]
    speeches = speak_all([utterance_of(spec) for spec in clips])
    first_of_second_half = corpus.SPLITS[split].sentences[6]
    visemes = {False: set(), True: set()}
    for spec, speech in zip(clips, speeches, strict=True):
        is_second_half = spec.sentence >= first_of_second_half
        visemes[is_second_half].update(VISEME_OF_PHONEME[index] for index in speech.phoneme)
    assert visemes == {False: set(range(15)), True: set(range(15))}


@needs_espeak
@pytest.mark.parametrize(
    ("columns", "low", "high"), [(list(MOUTH_INDEX), 0.60, 0.90), (list(range(52)), 0.0, 0.97)]
)
def test_emotion_is_in_the_mouth_but_not_plain_in_it(columns, low, high):
    """Outside these bounds the task is too easy or has no answer."""
    specs = corpus.specs("choose", people=8, sentences=6)
    truth = calibration.truth_of(specs, calibration.act_clips(specs))
    score = calibration.probe(truth.coefficients[:, columns], truth.emotion, truth)
    assert low < score.value < high


def test_no_one_can_read_the_level_of_a_stranger_exactly():
    score = calibration.intensity_ceiling(clips=1500, people=500)
    assert score.n == 300
    assert 0.5 < score.value < 0.8


# --- version 2 --------------------------------------------------------------------------------


@needs_espeak
def test_a_clip_of_version_2_and_its_true_edit_are_made_from_its_name_alone(tmp_path):
    spec = ClipSpec(604, 602, "happy", 3, version=2)
    generate([spec], tmp_path / "clips", workers=1)
    source = Store(tmp_path / "clips")
    edits.generate_edits(source, [(0, "sad", 3)], tmp_path / "edits", 128, 96, workers=1)
    truth = Store(tmp_path / "edits")
    assert list(source.clips.name) == ["studio2-0604-602-happy-3-0"]
    assert list(truth.clips.name) == ["studio2-0604-602-happy-3-0->sad-3"]
    assert len(truth) == len(source)
    change = truth.face[:].astype(float) - source.face[:]
    assert 1 < np.sqrt(np.square(change).mean()) < 40


def test_a_setting_says_which_version_a_run_renders():
    from cdrl.core.settings import CorpusConfig, config_hash
    from cdrl.stages.s00_corpus import list_clips

    config = CorpusConfig(speech="cached", train_people=2, report_people=2, report_sentences=2)
    for version in (1, 2):
        train, report = list_clips(replace(config, studio_version=version))
        assert {spec.version for spec in train + report} == {version}
    assert config_hash(config) == config_hash(replace(config, studio_version=1))
    assert config_hash(config) != config_hash(replace(config, studio_version=2))
