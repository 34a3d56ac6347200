"""What an edit is asked for: mixtures, readings of texts and clips, curves over time, and how it answers to intensity."""

import numpy as np
import pytest
import torch

from cdrl.cli.edit import parse_curve, parse_mixture
from cdrl.core.errors import InputError
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.corpora.samples import sample_clips, sample_paths
from cdrl.editing.control import curve_at, describe_mixture, read_reference, read_text
from cdrl.editing.pipeline import edit_clip, load_editor
from cdrl.evaluation.judges import Judges
from cdrl.media.faces import align, crop
from cdrl.media.video import write_video
from cdrl.priors.language import DESCRIPTIONS
from cdrl.representation.guidance import Guidance

INTENSITIES = (0, 1 / 3, 2 / 3, 1, 1.5)
SHOWN = ("angry", "disgusted", "fear", "happy", "sad", "surprised")


@pytest.fixture(scope="module")
def guidance():
    return Guidance()


@pytest.fixture(scope="module")
def generator():
    return load_editor("generator")


@pytest.fixture(scope="module")
def crops():
    """(12, 96, 96, 3): a real person, neutral, talking."""
    [clip] = [clip for clip in sample_clips() if clip.labels["emotion"] == "neutral"]
    return crop(clip.frames[10:22], align(clip.frames[10:22]), 96)


def changed(edited, crops):
    return float(np.abs(edited.astype(int) - crops).mean())


def test_the_edit_grows_with_its_intensity(generator, crops):
    """By pixels and by two networks that supervised nothing, mean of six emotions; 0 changes nothing, to the bit."""
    judges, change, heard = Judges(), [], []
    for intensity in INTENSITIES:
        edits = {name: edit_clip(generator, crops, name, intensity) for name in SHOWN}
        change.append([changed(edited, crops) for edited in edits.values()])
        frames = {
            name: torch.from_numpy(edited).permute(0, 3, 1, 2) / 255
            for name, edited in edits.items()
        }
        heard.append(
            [
                float(judges.emotion(judge, x)[..., SCORED_EMOTIONS.index(name)].mean())
                for name, x in frames.items()
                for judge in ("judge_a", "judge_b")
            ]
        )
        if intensity == 0:
            assert all(np.array_equal(edited, crops) for edited in edits.values())
    change, heard = np.array(change), np.array(heard)
    assert (np.diff(change.mean(1)) > 0).all() and (np.diff(heard.mean(1)) > 0).all()
    assert (
        np.diff(change, axis=0) > -0.05 * change[1:]
    ).all()  # no single emotion falls back by more than a twentieth


def test_what_the_source_shows_already_is_not_edited_where_that_is_said(generator, crops):
    assert np.array_equal(
        edit_clip(generator, crops, "neutral", 1.0, source_emotion="neutral"), crops
    )
    started = edit_clip(generator, crops, "happy", 1.0, source_emotion="neutral")
    assert changed(started, crops) > 1 and not np.array_equal(
        started, edit_clip(generator, crops, "happy", 1.0)
    )
    assert (
        changed(edit_clip(generator, crops, "neutral"), crops) < 4
    )  # of 255; unsaid, it costs as much as any edit


def test_a_reference_clip_is_read_as_what_it_shows(guidance, generator):
    [happy] = [path for path in sample_paths() if "HAP" in path.name]
    mixture, agreeing, stretches = read_reference(guidance, happy, generator.emotions)
    assert (
        max(mixture, key=mixture.get) == "happy"
        and (agreeing, stretches) == (5, 5)
        and sum(mixture.values()) == pytest.approx(1, abs=0.01)
    )
    assert set(mixture) <= set(generator.emotions) and min(mixture.values()) >= 0.05
    with pytest.raises(
        InputError,
        match="HAP_XX.flv: read as happy, which this generator never learnt; it learnt sad",
    ):
        read_reference(guidance, happy, ("sad",))


def test_a_reference_that_changes_its_emotion_is_read_as_less_steady(guidance, tmp_path):
    happy, neutral = (
        next(clip.frames for clip in sample_clips() if clip.labels["emotion"] == name)
        for name in ("happy", "neutral")
    )
    for name, frames in {
        "half": [*happy[10:30], *neutral[10:30]],
        "still": happy[10:24],
        "brief": happy[20:25],
    }.items():
        write_video(tmp_path / f"{name}.mp4", np.stack(frames), 25.0)
    read = {path.stem: read_reference(guidance, path) for path in tmp_path.iterdir()}
    assert read["still"][2] == 4 and read["brief"][1:] == (1, 1)  # no stretch is under three frames
    assert read["half"][2] == 5 and 1 <= read["half"][1] < 5


def test_a_text_is_read_through_the_descriptions(guidance, generator):
    for name in generator.emotions:
        mixture = read_text(guidance, DESCRIPTIONS[name], generator.emotions)
        assert next(iter(mixture)) == name  # the strongest comes first
    assert "contempt" not in read_text(guidance, DESCRIPTIONS["contempt"], generator.emotions)
    with pytest.raises(
        InputError, match="unknown emotion 'furious'.* words and, brows, .* need a real CLIP"
    ):
        read_text(guidance, "furious", generator.emotions)


def test_a_reference_without_a_face_or_with_two_frames_is_named(guidance, tmp_path):
    write_video(tmp_path / "wall.mp4", np.full((6, 96, 96, 3), 128, np.uint8), 25.0)
    with pytest.raises(InputError, match="wall.mp4: no face found"):
        read_reference(guidance, tmp_path / "wall.mp4")
    write_video(tmp_path / "short.mp4", sample_clips()[0].frames[:2], 25.0)
    with pytest.raises(InputError, match="short.mp4: reference .*at least 3 frames"):
        read_reference(guidance, tmp_path / "short.mp4")


def test_a_curve_is_linear_between_its_points_and_held_outside():
    points = parse_curve("0.5:0,1.5:1,3:0.2")
    assert points == [[0.5, 0], [1.5, 1], [3, 0.2]]
    assert np.allclose(
        curve_at(points, np.array([0, 0.5, 1, 1.5, 2.25, 3, 9])), [0, 0, 0.5, 1, 0.6, 0.2, 0.2]
    )
    for text in ("0:0,1", "a:b", "", "0:0:0"):
        with pytest.raises(
            InputError, match="--curve .*: seconds:intensity pairs are needed, as in 0:0,1.5:1,3:0"
        ):
            parse_curve(text)
    for points in ([[1, 0], [1, 1]], [[2, 0], [1, 1]], [[-1, 0]], [[float("nan"), 0]]):
        with pytest.raises(InputError, match="curve: seconds from 0 on that grow are needed"):
            curve_at(points, np.zeros(1))


def test_mixtures_are_read_and_spelled():
    assert parse_mixture("sad") == "sad" and describe_mixture("sad") == "sad"
    assert parse_mixture("happy:0.7, surprised:0.3") == {"happy": 0.7, "surprised": 0.3}
    with pytest.raises(InputError, match="unknown emotion 'hapy'"):
        parse_mixture("hapy:0.7,sad:1")
    with pytest.raises(InputError, match="a weight above 0 behind every name is needed"):
        parse_mixture("happy:0.7,sad")
