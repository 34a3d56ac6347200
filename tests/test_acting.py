"""Acting: the truth of every frame, speech and emotion entangled, edits of the emotion alone."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS, EMOTIONS, MOUTH_INDEX, SCORED_EMOTIONS, VISEMES
from cdrl.studio import articulation, expression
from cdrl.studio.acting import ClipSpec, act, expected_edit, true_edit, utterance_of
from cdrl.studio.corpus import smoke_specs
from cdrl.studio.people import VERSIONS
from cdrl.studio.speech import speak_all

SPECS = smoke_specs()
PEOPLE = range(600, 608)
COLUMN = {name: index for index, name in enumerate(ACTIONS)}
LOOKS = [COLUMN[name] for name in ACTIONS if name.startswith("eyeLook")]
# What an edit must not change, beside the actions of the eyes.
KEPT = ("pose", "gaze", "viseme", "phoneme", "audio")


def spec_for(person, emotion):
    """The first spec of a person in an emotion."""
    return next(spec for spec in SPECS if spec.person == person and spec.emotion == emotion)


def mean_of_both_sides(coefficients, name):
    columns = [COLUMN[f"{name}Left"], COLUMN[f"{name}Right"]]
    return coefficients[:, columns].mean()


def test_a_performance_has_the_stated_shapes_and_ranges():
    for spec in SPECS[::10]:
        performance = act(spec)
        num_frames = len(performance.viseme)
        assert 20 < num_frames < 80
        assert performance.coefficients.shape == (num_frames, 52)
        assert performance.coefficients.dtype == np.float32
        assert performance.coefficients.min() >= 0
        assert performance.coefficients.max() <= 1
        assert performance.pose.shape == (num_frames, 6)
        assert np.abs(performance.pose).max() < 0.6
        assert performance.gaze.shape == (num_frames, 2)
        assert len(performance.audio) == 640 * num_frames
        assert performance.phoneme.dtype == np.uint8


def test_the_same_spec_gives_the_same_clip():
    spec = SPECS[3]
    first = act(spec)
    expression.emotion_style.cache_clear()
    expression.resting_face.cache_clear()
    articulation.speaker_targets.cache_clear()
    speech = speak_all([utterance_of(spec)])[0]
    second = act(spec, speech)
    for name in ("coefficients", *KEPT):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.scene == second.scene
    assert first.scene != act(SPECS[4]).scene


def test_an_edit_into_the_clips_own_emotion_is_the_clip():
    for spec in SPECS[::6]:
        edit = true_edit(spec, spec.emotion, spec.intensity)
        np.testing.assert_array_equal(edit.coefficients, act(spec).coefficients)


def test_the_mean_of_others_is_nearer_to_a_true_edit_than_any_other_person():
    others = tuple(range(2000, 2012))
    errors_of_mean = []
    errors_of_one = []
    for spec in SPECS[::16]:
        for emotion in ("happy", "sad", "surprised"):
            truth = true_edit(spec, emotion, 2).coefficients
            edits = [expected_edit(spec, emotion, 2, (person,)) for person in others]
            mean = expected_edit(spec, emotion, 2, others)
            np.testing.assert_allclose(mean, np.mean(edits, axis=0), atol=1e-6)
            assert mean.shape == truth.shape
            assert mean.min() >= 0
            assert mean.max() <= 1
            # The gaze is the clip's.
            np.testing.assert_allclose(mean[:, LOOKS], truth[:, LOOKS], atol=1e-6)
            errors_of_mean.append(np.square(mean - truth).mean())
            errors_of_one += [np.square(edit - truth).mean() for edit in edits]
    assert np.mean(errors_of_mean) < 0.65 * np.mean(errors_of_one)


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_an_edit_leaves_everything_but_the_emotional_actions(emotion):
    for spec in SPECS[::16]:
        source = act(spec)
        edit = true_edit(spec, emotion, 2)
        for name in KEPT:
            np.testing.assert_array_equal(getattr(edit, name), getattr(source, name))
        assert edit.scene == source.scene
        np.testing.assert_array_equal(edit.coefficients[:, LOOKS], source.coefficients[:, LOOKS])
        blink = source.coefficients[:, COLUMN["eyeBlinkLeft"]]
        is_shut = blink > 0.5
        edited_blink = edit.coefficients[:, COLUMN["eyeBlinkLeft"]]
        np.testing.assert_array_equal(edited_blink[is_shut], blink[is_shut])
        if emotion != spec.emotion:
            assert np.abs(edit.coefficients - source.coefficients).max() > 0.05


def intervals(mask):
    """(first, end) of every run of True in (T,)."""
    padded = np.concatenate([[False], mask, [False]])
    return np.flatnonzero(np.diff(padded)).reshape(-1, 2)


@pytest.mark.parametrize("version", VERSIONS)
def test_lips_close_at_every_bilabial_in_every_emotion(version):
    lips = ("UpperUpLeft", "UpperUpRight", "LowerDownLeft", "LowerDownRight")
    parting = [COLUMN[f"mouth{name}"] for name in lips]
    bilabial = VISEMES.index("PP")
    num_closures = 0
    for spec in SPECS[::8]:
        speech = speak_all([utterance_of(spec)])[0]
        for emotion in EMOTIONS:
            edit = true_edit(replace(spec, version=version), emotion, 3, speech)
            for start, end in intervals(edit.viseme == bilabial):
                frames = edit.coefficients[max(start - 1, 0) : end + 1]
                opening = frames[:, COLUMN["jawOpen"]] + frames[:, parting].mean(1)
                assert opening.min() < 0.08, (spec, emotion)
                num_closures += 1
    assert num_closures > 100


def test_each_viseme_moves_what_it_should():
    performances = [act(spec_for(person, "neutral")) for person in PEOPLE]
    visemes = np.concatenate([performance.viseme for performance in performances])
    coefficients = np.concatenate([performance.coefficients for performance in performances])

    def mean(viseme, action):
        frames = visemes == VISEMES.index(viseme)
        return coefficients[frames, COLUMN[action]].mean()

    assert mean("aa", "jawOpen") > mean("ih", "jawOpen") > mean("PP", "jawOpen")
    assert mean("ou", "mouthPucker") > 2 * mean("ih", "mouthPucker")
    assert mean("ih", "mouthStretchLeft") > mean("ou", "mouthStretchLeft")
    assert mean("FF", "mouthRollLower") > 3 * mean("aa", "mouthRollLower")


def naive_channel(segments, person, channel, seconds):
    """Position of one articulator at one time, segment by segment."""
    targets, fall_seconds = articulation.speaker_targets(person)
    name = articulation.CHANNELS[channel]
    column = articulation.DOMINANCE_COLUMN[channel]
    total = articulation.REST_DOMINANCE * targets[0, channel]
    weights = articulation.REST_DOMINANCE
    for phoneme, viseme, start, end in zip(*segments, strict=True):
        target = targets[VISEMES.index(viseme), channel]
        target *= articulation.PHONEME_FACTORS.get(phoneme, {}).get(name, 1)
        dominance = articulation.DOMINANCE[viseme][column]
        if viseme not in ("PP", "FF", "sil"):
            dominance *= min(max((end - start) / 0.07, 0.3), 1.3)
        distance = max(start - seconds, seconds - end, 0)
        weight = dominance * np.exp(-distance / fall_seconds[column])
        total += weight * target
        weights += weight
    return total / weights


def test_the_fast_coarticulation_agrees_with_loops():
    spec = spec_for(602, "sad")
    speech = speak_all([utterance_of(spec)])[0]
    fast = articulation.articulate(speech, spec.person, 30)
    segments = articulation.cut_segments(speech)
    for frame in (4, 11, 20):
        seconds = (frame + 0.5) / 25
        for channel in range(len(articulation.CHANNELS)):
            naive = naive_channel(segments, spec.person, channel, seconds)
            assert fast.channels[frame, channel] == pytest.approx(naive, abs=1e-10)


@pytest.mark.parametrize("emotion", SCORED_EMOTIONS)
def test_emotions_move_the_mouth_and_grow_with_the_level(emotion):
    movement = {1: 0.0, 3: 0.0}
    for person in PEOPLE:
        spec = spec_for(person, "neutral")
        neutral = true_edit(spec, "neutral", 1).coefficients
        for level in movement:
            edit = true_edit(spec, emotion, level).coefficients
            movement[level] += np.abs(edit - neutral)[:, MOUTH_INDEX].mean() / 8
    if emotion == "neutral":
        assert movement[3] == movement[1] == 0
    else:
        assert movement[3] > 1.3 * movement[1] > 0.005


def test_a_level_between_two_levels_lies_between_them():
    for person in (600, 603, 606):
        spec = spec_for(person, "neutral")
        smiles = []
        for level in (1, 2.1, 3):
            edit = true_edit(spec, "happy", level)
            smiles.append(mean_of_both_sides(edit.coefficients, "mouthSmile"))
        assert smiles[0] < smiles[1] <= smiles[2]


def mean_coefficients(emotion):
    """(52,) of all people who say something in an emotion at level 3."""
    means = []
    for person in PEOPLE:
        edit = true_edit(spec_for(person, "neutral"), emotion, 3)
        means.append(edit.coefficients.mean(0))
    return np.mean(means, 0)


def test_each_emotion_has_its_action():
    means = {emotion: mean_coefficients(emotion) for emotion in SCORED_EMOTIONS}
    action_of_emotion = {
        "happy": "mouthSmileLeft",
        "sad": "mouthFrownLeft",
        "angry": "browDownLeft",
        "surprised": "browOuterUpLeft",
        "disgusted": "noseSneerLeft",
        "fear": "mouthStretchLeft",
    }
    for emotion, action in action_of_emotion.items():
        strength = {name: mean[COLUMN[action]] for name, mean in means.items()}
        assert max(strength, key=strength.get) == emotion


def test_people_have_styles_of_their_own():
    styles = [expression.emotion_style(person, "angry") for person in range(20)]
    correlation = np.corrcoef([style.strength for style in styles])
    pairs = correlation[np.triu_indices(20, 1)]
    assert np.median(np.abs(pairs)) < 0.98


def test_contempt_lives_on_one_side_of_the_face():
    for person in range(30):
        factors = expression.emotion_style(person, "contempt").side_factor
        left = factors[COLUMN["mouthDimpleLeft"]]
        right = factors[COLUMN["mouthDimpleRight"]]
        assert max(left, right) > 5 * min(left, right)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"emotion": "joyful"}, "unknown emotion 'joyful'"),
        ({"emotion": "neutral", "intensity": 2}, "intensity 2 of neutral: accepted are 1"),
        ({"intensity": 4}, "intensity 4 of happy: accepted are 1, 2, 3"),
        ({"sentence": 9999}, "unknown sentence 9999"),
        ({"person": -1}, "person -1, take 0: both are 0 or more"),
    ],
)
def test_a_spec_that_means_nothing_is_refused(wrong, message):
    spec = {"person": 600, "sentence": 600, "emotion": "happy", "intensity": 1}
    spec.update(wrong)
    with pytest.raises(InputError, match=message):
        ClipSpec(**spec)


def test_an_edit_beyond_the_scale_is_refused():
    with pytest.raises(InputError, match=r"intensity 5: accepted are levels from 0 to 4.5"):
        true_edit(SPECS[0], "happy", 5)


# --- version 2 --------------------------------------------------------------------------------


@cache
def committed_speech(person):
    return speak_all([utterance_of(spec_for(person, "neutral"))])[0]


def edits_of_version(version, emotion):
    """(edit, neutral) coefficients of each person, on the committed speech of version 1."""
    pairs = []
    for person in PEOPLE:
        spec = replace(spec_for(person, "neutral"), version=version)
        speech = committed_speech(person)
        edit, rest = (true_edit(spec, name, 3, speech) for name in (emotion, "neutral"))
        pairs.append((edit.coefficients, rest.coefficients))
    return pairs


def mean_change(pairs, name):
    return np.mean([(edit - rest)[:, COLUMN[name]].mean() for edit, rest in pairs])


def test_version_2_opens_a_surprised_mouth_half_as_far():
    first, second = (edits_of_version(version, "surprised") for version in (1, 2))
    jaw = [mean_change(pairs, "jawOpen") for pairs in (first, second)]
    brow = [mean_change(pairs, "browInnerUp") for pairs in (first, second)]
    assert 0.25 < jaw[1] / jaw[0] < 0.65
    assert brow[1] > 0.8 * brow[0]  # of an action that moves the brow 1.9 times as far


def test_version_2_acts_contempt_on_one_side():
    one_sided = 0
    for edit, rest in edits_of_version(2, "contempt"):
        left, right = (
            (edit - rest)[:, COLUMN[f"mouthDimple{side}"]].mean() for side in ("Left", "Right")
        )
        one_sided += max(left, right) > 3 * max(min(left, right), 0.01)
    assert one_sided >= 6


def test_a_version_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="studio version 3: accepted are 1, 2"):
        ClipSpec(600, 600, "happy", 1, version=3)
