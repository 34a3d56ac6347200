"""The fit of the default editor to clips without labels, and the figure that says if it helped."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from cdrl.core.errors import InputError
from cdrl.editing import fit
from cdrl.editing.disclosure import NOTE_KEY
from cdrl.editing.fit import FitReport, fit_to_folder, split_clips
from cdrl.editors import frame_pairs
from cdrl.editors.default_editor import DefaultEditor
from cdrl.editors.frame_pairs import (
    LEAST_GAP,
    PairSampler,
    TrackedClip,
    draw_pair,
    fit_renderer,
    kept_movement,
    redrawing_errors,
    tracked_clip,
)
from cdrl.editors.loading import load_editor
from cdrl.evaluation.real_run import studio_subjects
from cdrl.media.encoding import write_video
from cdrl.media.faces import crop

HELPED = FitReport(9.0, 7.0, 6.0, 0.1, 1.0, 48, 1, 2, 3.0)


@pytest.fixture(scope="module")
def editor() -> DefaultEditor:
    loaded = load_editor()
    assert isinstance(loaded, DefaultEditor)
    return loaded


@pytest.fixture(scope="module")
def footage():
    """A person of the studio on whom nothing was trained, who speaks."""
    return studio_subjects(1)[0].read()


@pytest.fixture(scope="module")
def clip(editor, footage) -> TrackedClip:
    return tracked_clip(editor, crop(footage.frames, footage.alignment, 96), "anything")


@pytest.fixture(scope="module")
def folder(footage, tmp_path_factory):
    """One clip whose name says nothing, and a file that is no video."""
    path = tmp_path_factory.mktemp("person")
    write_video(path / "our holiday (2).mp4", footage.frames, footage.frame_rate)
    (path / "notes.txt").write_text("no video")
    return path


def test_a_fit_draws_left_out_frames_nearer_and_keeps_the_edits(editor, clip):
    [learnt], [left_out], whole = split_clips([clip])
    before = editor.renderer
    after, history = fit_renderer(before, [learnt], 16, batch=4)

    errors = redrawing_errors([before, after], [left_out]).mean(0)
    assert whole == 0 and len(learnt) + len(left_out) == len(clip)
    assert errors[2] < 0.98 * errors[1] < errors[0]
    assert 0.9 < kept_movement(before, after, [left_out]) < 1.1
    assert history["redraw"].iloc[-1] < history["redraw"].iloc[0]


def test_a_stopped_fit_goes_on_bit_for_bit(editor, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(frame_pairs, "SAVE_EVERY", 2)
    renderer = editor.renderer
    whole, _ = fit_renderer(renderer, [clip], 4, batch=1)

    draw = PairSampler.__call__
    drawn = []

    def stop_at_the_fourth(sampler, random):
        drawn.append(1)
        if len(drawn) == 4:
            raise KeyboardInterrupt
        return draw(sampler, random)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(PairSampler, "__call__", stop_at_the_fourth)
        fit_renderer(renderer, [clip], 4, tmp_path, batch=1)
    resumed, _ = fit_renderer(renderer, [clip], 4, tmp_path, batch=1)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_pair_is_two_distant_frames_and_what_differs(clip):
    random = np.random.default_rng(0)
    images = torch.from_numpy(clip.crops).permute(0, 3, 1, 2).float() / 255
    for _ in range(20):
        pair = draw_pair(clip, random)
        first = int((images - pair["frames"][1]).abs().sum((1, 2, 3)).argmin())
        second = int((images - pair["truth"][0]).abs().sum((1, 2, 3)).argmin())
        assert abs(first - second) >= LEAST_GAP
        expected = torch.from_numpy(clip.actions[second] - clip.actions[first])
        assert torch.equal(pair["change"][1], expected)


def test_the_face_is_inside_its_mask_and_the_background_is_not(clip):
    size = len(clip.inside)
    assert clip.inside[int(0.67 * size), size // 2] == 1  # the mouth
    assert clip.inside[int(0.26 * size), int(0.3 * size)] == 1  # an eye
    assert clip.inside[0].max() == clip.inside[:, 0].max() == clip.inside[-1, 0] == 0


def test_a_fit_is_kept_where_it_helps_alone():
    assert HELPED.helped and HELPED.describe().endswith("kept")
    for worse in (
        replace(HELPED, after=6.99),  # less than a hundredth
        replace(HELPED, standard_error=0.6),  # chance
        replace(HELPED, movement=0.8),  # the edits would move less
        replace(HELPED, after=8.0),
    ):
        assert not worse.helped and "is not kept" in worse.describe()


def test_every_third_clip_is_left_out(clip):
    clips = [replace(clip, name=str(number)) for number in range(7)]
    learnt, left_out, whole = split_clips(clips)
    assert [one.name for one in left_out] == ["2", "5"] and whole == 2
    assert [one.name for one in learnt] == ["0", "1", "3", "4", "6"]


def test_a_fit_that_does_not_help_is_not_kept_and_found_again(
    editor, folder, tmp_path, monkeypatch
):
    """One step of training changes next to nothing."""
    lines = []
    assert fit_to_folder(editor, folder, tmp_path, steps=1, say=lines.append) is editor
    assert "about 1 minutes" in lines[0] and "it did not help, and is not kept" in lines[1]
    [work] = tmp_path.glob("fit-*")
    assert {path.name for path in work.iterdir()} >= {"fit.json", "renderer.safetensors"}
    assert not (work / "checkpoint.pt").exists()

    monkeypatch.setattr(fit, "fit_renderer", None)  # nothing is fitted again
    again = []
    assert fit_to_folder(editor, folder, tmp_path, steps=1, say=again.append) is editor
    assert again == lines[1:]

    monkeypatch.setattr(fit, "LEAST_GAIN", -1.0)
    monkeypatch.setattr(fit, "STANDARD_ERRORS", -10.0)
    kept = fit_to_folder(editor, folder, tmp_path, steps=1, say=again.append)
    assert isinstance(kept, DefaultEditor) and kept is not editor
    assert kept.card.name == f"calibrated, {work.name}" and editor.card.name == "calibrated"


def test_the_fit_of_another_renderer_is_another_fit(editor):
    other = deepcopy(editor.renderer)
    other.shade.bias.add_(1e-3)
    keys = [fit._key(one, [], 1) for one in (editor, editor.with_renderer(other, "other"))]
    assert keys[0] != keys[1]
    assert fit._key(editor, [], 1) == keys[0] != fit._key(editor, [], 2)


def test_edits_of_this_kit_are_not_learnt_from(footage, tmp_path):
    write_video(tmp_path / "b.mp4", footage.frames[:2], 25.0)
    note = {"comment": "synthetic", "description": "", NOTE_KEY: "{}"}
    write_video(tmp_path / "a.mp4", footage.frames[:2], 25.0, metadata=note)
    assert fit.find_videos(tmp_path) == [tmp_path / "b.mp4"]


def test_a_folder_without_a_clip_is_one_line(editor, tmp_path):
    with pytest.raises(InputError, match="--fit .*none: no such folder"):
        fit_to_folder(editor, tmp_path / "none", tmp_path)
    with pytest.raises(InputError, match="no video in it; files that end in .mp4, "):
        fit_to_folder(editor, tmp_path, tmp_path)

    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    lines = []
    with pytest.raises(InputError, match="no clip to learn from, the reasons are above"):
        fit_to_folder(editor, tmp_path, tmp_path / "out", say=lines.append)
    assert len(lines) == 1 and lines[0].startswith("fit: left out") and "broken.mp4" in lines[0]
