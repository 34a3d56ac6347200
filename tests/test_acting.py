"""Acting: the truth of every frame, speech and emotion entangled, edits that change the emotion alone."""

import numpy as np
import pytest

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS, EMOTIONS, MOUTH_INDEX, SCORED_EMOTIONS, VISEMES
from cdrl.studio import articulation, expression
from cdrl.studio.acting import ClipSpec, act, expected_edit, true_edit, utterance_of
from cdrl.studio.corpus import smoke_specs
from cdrl.studio.speech import speak_all

SPECS = smoke_specs()
COLUMN = {name: index for index, name in enumerate(ACTIONS)}
LOOKS = [COLUMN[name] for name in ACTIONS if name.startswith("eyeLook")]


def of(person, emotion):
    return next(spec for spec in SPECS if spec.person == person and spec.emotion == emotion)


def both(coefficients, name):
    return coefficients[:, [COLUMN[f"{name}Left"], COLUMN[f"{name}Right"]]].mean()


def test_a_performance_has_the_stated_shapes_and_ranges():
    for spec in SPECS[::10]:
        found = act(spec)
        num_frames = len(found.viseme)
        assert (
            found.coefficients.shape == (num_frames, 52) and found.coefficients.dtype == np.float32
        )
        assert found.coefficients.min() >= 0 and found.coefficients.max() <= 1
        assert found.pose.shape == (num_frames, 6) and found.gaze.shape == (num_frames, 2)
        assert len(found.audio) == 640 * num_frames and found.phoneme.dtype == np.uint8
        assert np.abs(found.pose).max() < 0.6 and 20 < num_frames < 80


def test_the_same_spec_gives_the_same_clip():
    spec = SPECS[3]
    first = act(spec)
    for cached in (expression.emotion_style, expression.resting_face, articulation.speaker_targets):
        cached.cache_clear()
    second = act(spec, speak_all([utterance_of(spec)])[0])
    for name in ("coefficients", "pose", "gaze", "viseme", "phoneme", "audio"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.scene == second.scene != act(SPECS[4]).scene


def test_an_edit_into_the_clips_own_emotion_is_the_clip():
    for spec in SPECS[::6]:
        np.testing.assert_array_equal(
            true_edit(spec, spec.emotion, spec.intensity).coefficients, act(spec).coefficients
        )


def test_what_others_do_is_nearer_to_a_true_edit_than_what_any_other_does():
    error = {"mean": [], "one": []}
    for spec in SPECS[::16]:
        for emotion in ("happy", "sad", "surprised"):
            truth = true_edit(spec, emotion, 2).coefficients
            ways = [expected_edit(spec, emotion, 2, (person,)) for person in range(2000, 2012)]
            mean = expected_edit(spec, emotion, 2, tuple(range(2000, 2012)))
            np.testing.assert_allclose(mean, np.mean(ways, axis=0), atol=1e-6)
            assert mean.shape == truth.shape and mean.min() >= 0 and mean.max() <= 1
            np.testing.assert_allclose(
                mean[:, LOOKS], truth[:, LOOKS], atol=1e-6
            )  # where one looks is the clip's
            error["mean"].append(np.square(mean - truth).mean())
            error["one"] += [np.square(way - truth).mean() for way in ways]
    assert np.mean(error["mean"]) < 0.65 * np.mean(error["one"])


def test_an_edit_leaves_everything_but_the_emotional_actions():
    for spec in SPECS[::16]:
        source = act(spec)
        for emotion in EMOTIONS:
            edit = true_edit(spec, emotion, 2)
            for name in ("pose", "gaze", "viseme", "phoneme", "audio"):
                np.testing.assert_array_equal(getattr(edit, name), getattr(source, name))
            assert edit.scene == source.scene
            np.testing.assert_array_equal(
                edit.coefficients[:, LOOKS], source.coefficients[:, LOOKS]
            )
            blinking = source.coefficients[:, COLUMN["eyeBlinkLeft"]] > 0.5
            np.testing.assert_array_equal(
                edit.coefficients[blinking, COLUMN["eyeBlinkLeft"]],
                source.coefficients[blinking, COLUMN["eyeBlinkLeft"]],
            )
            if emotion != spec.emotion:
                assert np.abs(edit.coefficients - source.coefficients).max() > 0.05


def test_lips_close_at_every_bilabial_in_every_emotion():
    parting = [
        COLUMN[f"mouth{name}{side}"]
        for name in ("UpperUp", "LowerDown")
        for side in ("Left", "Right")
    ]
    closed = VISEMES.index("PP")
    seen = 0
    for spec in SPECS[::8]:
        for emotion in EMOTIONS:
            found = true_edit(spec, emotion, 3)
            edges = np.flatnonzero(np.diff(np.r_[False, found.viseme == closed, False])).reshape(
                -1, 2
            )
            for start, end in edges:
                near = found.coefficients[max(start - 1, 0) : end + 1]
                opening = near[:, COLUMN["jawOpen"]] + near[:, parting].mean(1)
                assert opening.min() < 0.08, (spec, emotion)
                seen += 1
    assert seen > 100


def test_each_mouth_shape_moves_what_it_should():
    found = [act(of(person, "neutral")) for person in range(600, 608)]
    visemes = np.concatenate([item.viseme for item in found])
    coefficients = np.concatenate([item.coefficients for item in found])

    def mean(viseme, action):
        return coefficients[visemes == VISEMES.index(viseme), COLUMN[action]].mean()

    assert mean("aa", "jawOpen") > mean("ih", "jawOpen") > mean("PP", "jawOpen")
    assert mean("ou", "mouthPucker") > 2 * mean("ih", "mouthPucker")
    assert mean("ih", "mouthStretchLeft") > mean("ou", "mouthStretchLeft")
    assert mean("FF", "mouthRollLower") > 3 * mean("aa", "mouthRollLower")


def test_the_fast_coarticulation_agrees_with_loops():
    spec = of(602, "sad")
    said = speak_all([utterance_of(spec)])[0]
    fast = articulation.articulate(said, spec.person, 30)
    targets, fall = articulation.speaker_targets(spec.person)
    names, visemes, starts, ends = articulation._segments(said)
    for frame in (4, 11, 20):
        time = (frame + 0.5) / 25
        for channel, name in enumerate(articulation.CHANNELS):
            group = articulation._GROUP[channel]
            total, weights = articulation._REST * targets[0, channel], articulation._REST
            for phoneme, viseme, start, end in zip(names, visemes, starts, ends):
                goal = targets[VISEMES.index(viseme), channel]
                goal *= articulation._VARIANT.get(phoneme, {}).get(name, 1)
                pull = articulation.DOMINANCE[viseme][group]
                if viseme not in ("PP", "FF", "sil"):
                    pull *= min(max((end - start) / 0.07, 0.3), 1.3)
                weight = pull * np.exp(-max(start - time, time - end, 0) / fall[group])
                total, weights = total + weight * goal, weights + weight
            assert fast.channels[frame, channel] == pytest.approx(total / weights, abs=1e-10)


def test_emotions_move_the_mouth_and_grow_with_the_level():
    for emotion in SCORED_EMOTIONS:
        moved = {1: 0.0, 3: 0.0}
        for person in range(600, 608):
            neutral = true_edit(of(person, "neutral"), "neutral", 1).coefficients
            for level in moved:
                edit = true_edit(of(person, "neutral"), emotion, level).coefficients
                moved[level] += np.abs(edit - neutral)[:, MOUTH_INDEX].mean() / 8
        assert (
            moved[3] > 1.3 * moved[1] > 0.005 if emotion != "neutral" else moved[3] == moved[1] == 0
        )


def test_a_level_between_two_levels_lies_between_them():
    for person in (600, 603, 606):
        smiles = [
            both(true_edit(of(person, "neutral"), "happy", level).coefficients, "mouthSmile")
            for level in (1, 2.1, 3)
        ]
        assert smiles[0] < smiles[1] <= smiles[2]


def test_emotions_have_their_actions_and_people_their_styles():
    means = {
        emotion: np.mean(
            [
                true_edit(of(person, "neutral"), emotion, 3).coefficients.mean(0)
                for person in range(600, 608)
            ],
            0,
        )
        for emotion in SCORED_EMOTIONS
    }
    for emotion, action in (
        ("happy", "mouthSmileLeft"),
        ("sad", "mouthFrownLeft"),
        ("angry", "browDownLeft"),
        ("surprised", "browOuterUpLeft"),
        ("disgusted", "noseSneerLeft"),
        ("fear", "mouthStretchLeft"),
    ):
        assert max(means, key=lambda name: means[name][COLUMN[action]]) == emotion
    styles = np.stack([expression.emotion_style(person, "angry").strength for person in range(20)])
    assert np.median(np.abs(np.corrcoef(styles)[np.triu_indices(20, 1)])) < 0.98


def test_contempt_lives_on_one_side_of_the_face():
    for person in range(30):
        sides = expression.emotion_style(person, "contempt").side_factor
        left, right = sides[COLUMN["mouthDimpleLeft"]], sides[COLUMN["mouthDimpleRight"]]
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
    with pytest.raises(InputError, match=message):
        ClipSpec(**{"person": 600, "sentence": 600, "emotion": "happy", "intensity": 1, **wrong})


def test_an_edit_beyond_the_scale_is_refused():
    with pytest.raises(InputError, match="intensity 5: accepted are levels from 0 to 4.5"):
        true_edit(SPECS[0], "happy", 5)
