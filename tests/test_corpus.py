"""The corpus: disjoint splits, crossed and drawn lists of clips, the rendering pool, and how hard the task is."""

import importlib.util
import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS, MOUTH_INDEX, SCORED_EMOTIONS, VISEME_OF_PHONEME
from cdrl.corpora.store import Store
from cdrl.studio import calibration, corpus, edits
from cdrl.studio.acting import ClipSpec, act, utterance_of
from cdrl.studio.head import LANDMARKS
from cdrl.studio.sentences import SENTENCES, TEXTS
from cdrl.studio.speech import cache_folder, read_cache, speak_all

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None,
    reason="espeakng_loader is not installed (extra: studio)",
)


def test_no_person_no_sentence_and_no_text_is_in_two_splits():
    people = [person for split in corpus.SPLITS.values() for person in split.people]
    # The frozen networks and the encoders learn from other people; what is said tells a backbone nothing about a face.
    sentences = [
        sentence
        for name, split in corpus.SPLITS.items()
        if name not in ("priors", "action_tracker")
        for sentence in split.sentences
    ]
    assert len(set(people)) == len(people) and len(set(sentences)) == len(sentences)
    texts = [text for split in SENTENCES.values() for text in split]
    assert len(set(texts)) == len(texts) == len(TEXTS)
    assert len(SENTENCES["train"]) >= 160 and len(SENTENCES["judge"]) >= 120


def test_reporting_is_crossed_in_two_halves_that_share_nothing():
    found = corpus.specs("report")
    first, second = (
        [spec for spec in found if (spec.person >= 312) == late] for late in (False, True)
    )
    assert (
        len(found) == 1008
        and len({spec.person for spec in first}) == len({spec.person for spec in second}) == 12
    )
    assert {spec.sentence for spec in first} == set(range(300, 306))
    assert {spec.sentence for spec in second} == set(range(306, 312))
    for half in (first, second):
        cells = Counter((spec.person, spec.sentence, spec.emotion) for spec in half)
        assert len(cells) == 12 * 6 * 7 and set(cells.values()) == {1}
    assert {spec.intensity for spec in found if spec.emotion == "neutral"} == {1}
    levels = Counter(spec.intensity for spec in found if spec.emotion != "neutral")
    assert min(levels.values()) > 0.28 * sum(levels.values())


def test_a_smaller_report_keeps_both_halves():
    found = corpus.specs("report", people=5, sentences=3)
    assert {spec.person for spec in found} == {300, 301, 302, 312, 313}
    assert {(spec.person >= 312, spec.sentence) for spec in found} == {
        (False, 300),
        (False, 301),
        (True, 306),
    }
    assert set(found) <= set(corpus.specs("report"))


@pytest.mark.parametrize("clips", [8, 9, 24])
def test_every_training_sentence_is_said_by_its_person_in_two_emotions(clips):
    found = corpus.specs("train", people=40, clips=clips)
    assert len(found) == 40 * clips == len(set(found))
    emotions = {}
    for spec in found:
        emotions.setdefault((spec.person, spec.sentence), []).append(spec.emotion)
    assert all(len(set(said)) == len(said) >= 2 for said in emotions.values())
    counts = Counter(spec.emotion for spec in found)
    assert set(counts) == set(SCORED_EMOTIONS) and max(counts.values()) < 1.35 * min(
        counts.values()
    )


def test_another_seed_draws_another_training_list_of_the_same_people():
    first, second = (corpus.specs("train", people=3, clips=4, seed=seed) for seed in (0, 1))
    assert first != second and {spec.person for spec in first} == {spec.person for spec in second}


def test_the_committed_speech_covers_smoke_whatever_its_seed():
    keys = set(read_cache(cache_folder()))
    for seed in range(5):
        found = corpus.specs("smoke_train", clips=4, seed=seed) + corpus.specs("smoke_report")
        assert {utterance_of(spec).key for spec in found} <= keys


def test_a_name_says_everything_about_its_clip():
    for spec in [
        *corpus.specs("train", people=2),
        ClipSpec(7, 12, "sad", 2, take=3),
        ClipSpec(300, 301, "contempt", 3),
    ]:
        assert corpus.spec_of(corpus.name_of(spec)) == spec
    assert corpus.name_of(ClipSpec(300, 301, "happy", 3)) == "studio-0300-301-happy-3-0"
    with pytest.raises(InputError, match="'1001_DFA_ANG_XX' is no clip of the studio"):
        corpus.spec_of("1001_DFA_ANG_XX")


def test_the_acting_of_this_version_has_not_drifted():
    """Where this fails on purpose, count `corpus.VERSION` up: published scores are of one version."""
    assert corpus.VERSION == 1
    for name, num_frames, coefficients, pose, scene, visemes in (
        ("studio-0600-600-happy-3-0", 33, 0.134477, 0.065696, 4125059886, 200),
        ("studio-0604-603-sad-3-0", 52, 0.102290, 0.043463, 3246094430, 522),
    ):
        found = act(corpus.spec_of(name))
        assert (
            found.scene == scene
            and len(found.viseme) == num_frames
            and found.viseme.sum() == visemes
        )
        assert found.coefficients.mean() == pytest.approx(coefficients, abs=1e-5)
        assert np.abs(found.pose).mean() == pytest.approx(pose, abs=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"split": "test"}, "unknown split 'test': accepted are priors, train, choose, report"),
        ({"split": "train", "people": 641}, "split train: 641 people asked for, it has 1 to 640"),
        ({"split": "train", "clips": 1}, "1 clips per person asked for: accepted are 2 to 400"),
        (
            {"split": "report", "people": 1},
            "a crossed split takes 2 or more people and 2 to 12 sentences",
        ),
    ],
)
def test_a_list_that_cannot_be_made_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        corpus.specs(**given)


def test_the_pool_writes_the_same_store_as_one_process(tmp_path):
    clips = corpus.smoke_specs()[::23][:5]
    made = [
        corpus.generate(clips, tmp_path / str(workers), "smoke", workers=workers, progress=False)
        for workers in (1, 2)
    ]
    assert made[0] == made[1] and made[0].clips == 5 and made[0].missing == ()
    files = sorted(file.name for file in (tmp_path / "1").iterdir())
    for name in files:
        if name.endswith(".npy"):
            assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), (
                name
            )
    store = Store(tmp_path / "2")
    assert (
        list(store.clips.name) == [corpus.name_of(spec) for spec in clips]
        and len(store) == made[0].frames
    )
    truth = act(clips[1])
    span = store.frames(1)
    np.testing.assert_array_equal(store.truth["viseme"][span], truth.viseme)
    np.testing.assert_allclose(store.truth["coefficients"][span], truth.coefficients, atol=1e-3)
    landmarks = store.truth["landmarks"][:]
    assert landmarks.shape[2] == 2 and 0 < np.median(landmarks) < 1


def test_true_edits_are_cropped_as_their_sources_and_the_released_crop_lets_the_jaw_move_the_eyes(
    tmp_path,
):
    spec, moved = next(s for s in corpus.smoke_specs() if s.emotion == "happy"), []
    for crop in ("aligned", "released"):
        corpus.generate([spec], tmp_path / crop, "smoke", workers=1, progress=False, crop=crop)
        store = Store(tmp_path / crop)
        edits.generate_edits(
            store, [(0, "angry", 3)], tmp_path / f"{crop}-edits", 128, 96, workers=1
        )
        made = Store(tmp_path / f"{crop}-edits")
        assert store.crop == made.crop == crop and (made.transforms == store.transforms).all()
        places = np.asarray(store.truth["landmarks"][:], float)
        moved.append(
            places[:, [LANDMARKS.index("right_eye_outer"), LANDMARKS.index("left_eye_outer")]]
            .std(axis=0)
            .mean()
        )
    assert moved[1] > 2 * moved[0]
    heights = dict(
        zip(LANDMARKS, places[:, :, 1].mean(axis=0), strict=True)
    )  # the box goes from .1 / 1.2 to 1.1 / 1.2 of the crop
    assert min(heights.values()) == pytest.approx(0.1 / 1.2, abs=0.04) and heights[
        "chin"
    ] == pytest.approx(1.1 / 1.2, abs=0.04)


def test_clips_whose_face_is_not_found_are_listed_not_dropped_in_silence(tmp_path):
    clips = corpus.smoke_specs()[:2]
    made = corpus.generate(
        clips, tmp_path / "small", "smoke", frame_size=40, workers=1, progress=False
    )
    assert made.clips == 0 and [name for name, _ in made.missing] == [
        corpus.name_of(spec) for spec in clips
    ]
    assert json.loads((tmp_path / "small" / "missing.json").read_text())[0][0] == corpus.name_of(
        clips[0]
    )


def test_what_a_rendering_process_imports_does_not_bring_torch():
    code = "import sys, cdrl.studio.corpus, cdrl.studio.render, cdrl.media.faces; print('torch' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "False\n"
    )


# --- the corpus scores -----------------------------------------------------------------------------------------------


def known_truth(num_frames=2400):
    rng = np.random.default_rng(5)
    emotion = rng.integers(0, 7, num_frames)
    person = np.repeat(np.arange(8), num_frames // 8)
    return calibration.Truth(
        rng.random((num_frames, 52)), None, emotion, emotion, (person >= 4).astype(int), person
    )


def test_a_probe_reads_labels_from_labels_and_chance_from_noise():
    truth = known_truth()
    perfect = calibration.probe(np.eye(7)[truth.emotion], truth.emotion, truth)
    useless = calibration.probe(truth.coefficients[:, :5], truth.emotion, truth)
    assert perfect[""] == 1 and perfect["low"] == perfect["high"] == 1 and perfect["n"] == 2400
    assert (
        useless[""] == pytest.approx(1 / 7, abs=0.04) and useless["low"] < 1 / 7 < useless["high"]
    )
    assert useless["chance"] == pytest.approx(1 / 7, abs=0.03)


def test_mouth_curves_are_jaw_width_and_rounding():
    frame = np.zeros((1, 52))
    for name, value in (
        ("jawOpen", 0.5),
        ("mouthSmileLeft", 0.4),
        ("mouthSmileRight", 0.2),
        ("mouthStretchLeft", 0.2),
        ("mouthPucker", 0.1),
        ("mouthFunnel", 0.25),
    ):
        frame[0, ACTIONS.index(name)] = value
    np.testing.assert_allclose(calibration.mouth_curves(frame), [[0.5, 0.3 + 0.1 - 0.35, 0.35]])


def test_copying_a_curve_correlates_perfectly_and_noise_does_not():
    rng = np.random.default_rng(1)
    curves = rng.normal(size=(4000, 3))
    assert calibration.pooled_correlation(curves, 2 * curves + 1) == pytest.approx(1)
    assert calibration.pooled_correlation(curves, -curves) == pytest.approx(-1)
    assert abs(calibration.pooled_correlation(curves, rng.normal(size=(4000, 3)))) < 0.05


@needs_espeak
def test_both_halves_of_the_hand_written_splits_have_every_mouth_shape():
    for split in ("report", "choose"):
        clips = [spec for spec in corpus.specs(split, people=2) if spec.emotion == "neutral"]
        said = {}
        for spec, item in zip(clips, speak_all([utterance_of(spec) for spec in clips])):
            said.setdefault(spec.sentence < corpus.SPLITS[split].sentences[6], set()).update(
                VISEME_OF_PHONEME[index] for index in item.phoneme
            )
        assert said == {True: set(range(15)), False: set(range(15))}


@needs_espeak
def test_emotion_is_in_the_mouth_but_not_plain_in_it():
    truth = calibration.truth_of(corpus.specs("choose", people=8, sentences=6))
    for name, columns in (
        ("corpus.emotion_from_mouth", list(MOUTH_INDEX)),
        ("corpus.emotion_from_all", list(range(52))),
    ):
        low, high = calibration.BOUNDS[name]
        assert (
            low < calibration.probe(truth.coefficients[:, columns], truth.emotion, truth)[""] < high
        )


def test_no_one_can_read_the_level_of_a_stranger_exactly():
    found = calibration.intensity_ceiling(clips=1500, people=500)
    assert found["n"] == 300 and 0.5 < found[""] < 0.8
