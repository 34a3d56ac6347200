"""What an edit is asked for: mixtures, readings of texts and clips, intensity over time."""

import numpy as np
import pytest

from cdrl.cli.edit import parse_mixture
from cdrl.core.errors import InputError
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.corpora.batches import image_tensor
from cdrl.corpora.samples import sample_clips, sample_paths
from cdrl.editing.control import (
    IntensityCurve,
    describe_mixture,
    emotion_weights,
    read_reference,
    read_text,
)
from cdrl.editing.pipeline import edit_clip
from cdrl.editors.loading import load_editor
from cdrl.evaluation.judges import Judges
from cdrl.media.encoding import write_video
from cdrl.media.faces import align, crop
from cdrl.priors.language import DESCRIPTIONS
from cdrl.representation.guidance import Guidance

INTENSITIES = (0, 1 / 3, 2 / 3, 1, 1.5)
EMOTIONS = ("angry", "disgusted", "fear", "happy", "sad", "surprised")
SECONDS_OF_FRAMES = np.array([0, 0.5, 1, 1.5, 2.25, 3, 9])


@pytest.fixture(scope="module")
def guidance():
    return Guidance()


@pytest.fixture(scope="module")
def editor():
    return load_editor("generator")


def frames_of(emotion):
    """(T, H, W, 3) of the sample clip that shows an emotion."""
    return next(clip.frames for clip in sample_clips() if clip.labels["emotion"] == emotion)


@pytest.fixture(scope="module")
def crops():
    """(12, 96, 96, 3): a real person, neutral, talking."""
    frames = frames_of("neutral")[10:22]
    return crop(frames, align(frames), 96)


def change_of(edited, crops):
    """Mean absolute difference, of 255."""
    return float(np.abs(edited.astype(int) - crops).mean())


def test_the_edit_grows_with_its_intensity(editor, crops):
    """By pixels and by two networks that supervised nothing, mean of six emotions."""
    judges = Judges()
    changes = []
    probabilities = []
    for intensity in INTENSITIES:
        for emotion in EMOTIONS:
            edited = edit_clip(editor, crops, emotion, intensity)
            if intensity == 0:
                assert np.array_equal(edited, crops)
            changes.append(change_of(edited, crops))
            images = image_tensor(edited)
            for judge in ("judge_a", "judge_b"):
                judged = judges.emotion(judge, images)
                probabilities.append(float(judged[..., SCORED_EMOTIONS.index(emotion)].mean()))
    changes = np.array(changes).reshape(len(INTENSITIES), -1)
    probabilities = np.array(probabilities).reshape(len(INTENSITIES), -1)
    assert (np.diff(changes.mean(1)) > 0).all()
    assert (np.diff(probabilities.mean(1)) > 0).all()
    # No single emotion falls back by more than a twentieth.
    assert (np.diff(changes, axis=0) > -0.05 * changes[1:]).all()


def test_what_the_source_shows_already_is_not_edited_where_that_is_said(editor, crops):
    to_itself = edit_clip(editor, crops, "neutral", 1.0, source_emotion="neutral")
    assert np.array_equal(to_itself, crops)
    from_neutral = edit_clip(editor, crops, "happy", 1.0, source_emotion="neutral")
    assert change_of(from_neutral, crops) > 1
    assert not np.array_equal(from_neutral, edit_clip(editor, crops, "happy", 1.0))
    # Unsaid, it costs as much as any edit.
    assert change_of(edit_clip(editor, crops, "neutral"), crops) < 4


def test_a_reference_clip_is_read_as_what_it_shows(guidance, editor):
    [happy] = [path for path in sample_paths() if "HAP" in path.name]
    emotions = editor.card.emotions
    mixture, agreeing, stretches = read_reference(guidance, happy, emotions)
    assert next(iter(mixture)) == "happy" and max(mixture, key=mixture.get) == "happy"
    assert (agreeing, stretches) == (5, 5)
    assert sum(mixture.values()) == pytest.approx(1, abs=0.01)
    assert set(mixture) <= set(emotions) and min(mixture.values()) >= 0.05
    message = "HAP_XX.flv: read as happy, which this editor never learnt; it learnt sad"
    with pytest.raises(InputError, match=message):
        read_reference(guidance, happy, ("sad",))


def test_a_reference_that_changes_its_emotion_is_read_as_less_steady(guidance, tmp_path):
    happy = frames_of("happy")
    neutral = frames_of("neutral")
    clips = {
        "half": np.concatenate([happy[10:30], neutral[10:30]]),
        "still": happy[10:24],
        "brief": happy[20:25],
    }
    readings = {}
    for name, frames in clips.items():
        path = tmp_path / f"{name}.mp4"
        write_video(path, frames, 25.0)
        readings[name] = read_reference(guidance, path)
    assert readings["still"].stretches == 4  # no stretch is under three frames
    assert (readings["brief"].agreeing, readings["brief"].stretches) == (1, 1)
    assert readings["half"].stretches == 5 and 1 <= readings["half"].agreeing < 5


def test_a_text_is_read_through_the_descriptions(guidance, editor):
    emotions = editor.card.emotions
    for name in emotions:
        mixture = read_text(guidance, DESCRIPTIONS[name], emotions)
        assert next(iter(mixture)) == name  # the strongest comes first
    assert "contempt" not in read_text(guidance, DESCRIPTIONS["contempt"], emotions)
    message = "unknown emotion 'furious'.* words and, brows, .* need a real CLIP"
    with pytest.raises(InputError, match=message):
        read_text(guidance, "furious", emotions)


def test_a_reference_without_a_face_or_with_two_frames_is_named(guidance, tmp_path):
    write_video(tmp_path / "wall.mp4", np.full((6, 96, 96, 3), 128, np.uint8), 25.0)
    with pytest.raises(InputError, match="wall.mp4: no face found"):
        read_reference(guidance, tmp_path / "wall.mp4")
    write_video(tmp_path / "short.mp4", sample_clips()[0].frames[:2], 25.0)
    with pytest.raises(InputError, match="short.mp4: reference .*at least 3 frames"):
        read_reference(guidance, tmp_path / "short.mp4")


def test_a_curve_is_linear_between_its_points_and_held_outside():
    curve = IntensityCurve([0.5, 1.5, 3], [0, 1, 0.2])
    assert IntensityCurve.from_text("0.5:0,1.5:1,3:0.2") == curve
    assert np.allclose(curve.at(SECONDS_OF_FRAMES), [0, 0, 0.5, 1, 0.6, 0.2, 0.2])


@pytest.mark.parametrize("text", ["0:0,1", "a:b", "", "0:0:0"])
def test_a_curve_that_cannot_be_read_is_refused(text):
    message = "--curve .*: seconds:intensity pairs are needed, as in 0:0,1.5:1,3:0"
    with pytest.raises(InputError, match=message):
        IntensityCurve.from_text(text, "--curve")


@pytest.mark.parametrize("seconds", [[1, 1], [2, 1], [-1, 0], [float("nan"), 0], []])
def test_seconds_of_a_curve_that_do_not_grow_are_refused(seconds):
    with pytest.raises(InputError, match="curve: seconds from 0 on that grow are needed"):
        IntensityCurve(seconds, [0.5] * len(seconds))


@pytest.mark.parametrize("value", [1.6, -0.1, float("nan")])
def test_intensities_of_a_curve_are_in_their_range(value):
    with pytest.raises(InputError, match=f"intensity {value:g}: 0 .nothing changes. to 1.5"):
        IntensityCurve([0, 1], [1, value])


def test_mixtures_are_read_and_described():
    assert parse_mixture("sad") == "sad" and describe_mixture("sad") == "sad"
    mixture = {"happy": 0.7, "surprised": 0.3}
    assert parse_mixture("happy:0.7, surprised:0.3") == mixture
    assert describe_mixture(mixture) == "0.7 happy + 0.3 surprised"
    with pytest.raises(InputError, match="unknown emotion 'hapy'"):
        parse_mixture("hapy:0.7,sad:1")
    with pytest.raises(InputError, match="a weight above 0 behind every name is needed"):
        parse_mixture("happy:0.7,sad")


@pytest.mark.parametrize("weight", ["inf", "-inf", "nan", "1e-46", "0", "-0.5", "1e39", "1e308"])
@pytest.mark.parametrize("other", ["", ",sad:0.5"])
def test_weights_of_a_mixture_are_positive_and_finite_in_single_precision(weight, other):
    with pytest.raises(InputError, match="happy") as error:
        parse_mixture(f"happy:{weight}{other}")
    assert "\n" not in str(error.value)
    assert "finite" in str(error.value)
    with pytest.raises(InputError, match="happy"):
        emotion_weights({"happy": float(weight)})


@pytest.mark.parametrize("mixture", [{"happy": 3e38, "sad": 3e38}, {}, {"happy": None}])
def test_a_mixture_without_a_finite_positive_sum_is_refused(mixture):
    with pytest.raises(InputError, match="emotion"):
        emotion_weights(mixture)
    with pytest.raises(InputError, match="emotion"):
        emotion_weights("happy", source_emotion=mixture)


def test_accepted_weights_sum_to_one():
    for mixture in ({"happy": 1e-6}, {"happy": 1e30, "sad": 1e30}, {"happy": 2, "sad": 6}):
        weights = emotion_weights(mixture)
        assert float(weights.sum()) == pytest.approx(1)
