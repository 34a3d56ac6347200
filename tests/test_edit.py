"""The edit of clips and files: what stays, what may change, and what is refused before anything is written."""

import shutil

import numpy as np
import pytest
import torch

from cdrl.core.checkpoint import save_weights
from cdrl.core.errors import InputError
from cdrl.core.paths import data_root
from cdrl.core.settings import (
    ContentConfig,
    CorpusConfig,
    EmotionConfig,
    PriorsConfig,
    stage_folder,
)
from cdrl.core.stage import run_stage
from cdrl.corpora.samples import sample_paths
from cdrl.editing import pipeline as edit
from cdrl.media.decoding import opened
from cdrl.media.encoding import SYNTHETIC, write_video
from cdrl.media.faces import Alignment, align, crop
from cdrl.media.video import read_metadata, read_video, video_facts
from cdrl.models.image_editor import ImageEditor, apply_fields, label_weights
from cdrl.representation.guidance import Guidance


@pytest.fixture(scope="module")
def generator():
    """Never trained, but its last layers move, shade and paint."""
    torch.manual_seed(0)
    made = ImageEditor()
    for layer in (made.flow_residual_head, made.shade):
        torch.nn.init.normal_(layer.weight, std=0.2)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """The first second of a real clip, at its own rate, with its sound."""
    clip = read_video(sample_paths()[3], frame_rate=None)
    path = tmp_path_factory.mktemp("edit") / "happy.mp4"
    write_video(path, clip.frames[20:50], clip.frame_rate, clip.audio[10_000:26_016])
    return path


def noise(frames, size=64, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (frames, size, size, 3), dtype=np.uint8)


def sound_packets(path):
    with opened(path) as (container, _, audio):
        return [bytes(packet) for packet in container.demux(audio) if packet.size]


def test_an_edit_in_pieces_equals_an_edit_in_one(generator, monkeypatch):
    crops, curve = noise(50), np.linspace(0, 1.5, 50).astype(np.float32)
    pieces = edit.edit_clip(generator, crops, "happy", curve)
    monkeypatch.setattr(edit, "CHUNK", 1000)
    whole = edit.edit_clip(generator, crops, "happy", curve)
    assert pieces.shape == crops.shape and np.abs(pieces.astype(int) - whole).max() <= 1
    assert (pieces[1:] != crops[1:]).mean() > 0.5 and np.array_equal(pieces[0], crops[0])


def test_one_frame_and_a_long_clip_come_back_whole(generator):
    assert edit.edit_clip(generator, noise(1), "sad").shape == (1, 64, 64, 3)
    assert edit.edit_clip(generator, noise(edit.CHUNK + 9), "sad").shape == (
        edit.CHUNK + 9,
        64,
        64,
        3,
    )


def test_intensity_zero_gives_the_very_crops(generator):
    assert np.array_equal(edit.edit_clip(generator, noise(7, 96), "angry", 0.0), noise(7, 96))


def test_smoothing_keeps_a_constant_and_calms_a_tremble():
    still, tremble = torch.full((9, 2, 3, 3), 0.4), torch.tensor([1.0, -1.0] * 5).view(10, 1, 1, 1)
    assert (
        torch.allclose(edit.smooth(still), still) and edit.smooth(tremble)[2:-2].abs().max() < 1e-6
    )


def test_the_stream_holds_no_more_than_it_must(generator):
    drawn, longest = [], 0

    def crops():
        for k, picture in enumerate(noise(80)):
            drawn.append(k)
            yield picture

    curve, weights = np.ones(80, np.float32), label_weights(["happy"])
    for done, _ in enumerate(edit.edit_stream(generator, crops(), weights, curve)):
        longest = max(longest, len(drawn) - done)
    assert longest <= edit.CHUNK + 2 * 4


def test_a_faster_video_looks_equally_far_back(generator):
    slow = noise(20).repeat(2, 0)  # 50 Hz, every picture twice
    at_50 = edit.edit_clip(generator, slow, "fear", 1.0, frame_rate=50.0)
    at_25 = edit.edit_clip(generator, slow, "fear", 1.0, frame_rate=25.0)
    assert not np.array_equal(at_50, at_25)


def test_mixtures_are_weighed(generator):
    half = edit.emotion_weights({"happy": 2, "sad": 2})
    assert torch.allclose(half, (label_weights(["happy"]) + label_weights(["sad"])) / 2)
    assert torch.equal(edit.emotion_weights("fear"), label_weights(["fear"]))


def test_an_edited_video_keeps_length_rate_size_and_sound(generator, video, tmp_path):
    out = edit.edit_video(video, "sad", tmp_path / "sad.mp4", 1.0, generator, progress=False)
    before, after = video_facts(video), video_facts(out)
    assert (after.num_frames, after.width, after.height) == (
        before.num_frames,
        before.width,
        before.height,
    )
    assert abs(after.frame_rate - before.frame_rate) < 1e-3 and sound_packets(out) == sound_packets(
        video
    )
    assert read_metadata(out)["comment"] == SYNTHETIC and "sad" in read_metadata(out)["title"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sad.mp4"]
    a, b = read_video(video, None).frames.astype(int), read_video(out, None).frames.astype(int)
    assert (
        np.abs(a[:, :20, :20] - b[:, :20, :20]).mean()
        < 2
        < np.abs(a - b)[:, 100:260, 160:320].mean()
    )


def test_frames_outside_the_crop_and_frames_of_intensity_zero_stay_to_the_bit(generator, video):
    frames = read_video(video, None).frames[:12]
    alignment, curve = align(frames), np.array([0] * 6 + [1] * 6, np.float32)
    out = np.stack(
        list(edit.edited_frames(generator, frames, alignment, label_weights(["happy"]), curve))
    )
    assert np.array_equal(out[:6], frames[:6]) and not np.array_equal(out[6:], frames[6:])
    touched = (out != frames).any((0, 3))
    corners = alignment.transforms[0] @ np.array([[0, 96], [0, 96], [1, 1]])
    assert (
        not touched[: int(corners[1, 0]) - 8].any()
        and not touched[:, : int(corners[0, 0]) - 8].any()
    )


def test_a_generator_that_does_nothing_leaves_every_frame_to_the_bit(video):
    torch.manual_seed(0)
    idle, frames = ImageEditor().eval(), read_video(video, None).frames[:8]
    out = list(
        edit.edited_frames(
            idle, frames, align(frames), label_weights(["happy"]), np.ones(8, np.float32)
        )
    )
    assert np.array_equal(np.stack(out), frames)


def test_the_crop_is_as_large_as_the_face():
    for scale, size in ((0.3, 64), (1.0, 96), (2.1, 208), (9.0, 320)):
        transforms = np.tile(np.array([[scale, 0, 0], [0, scale, 0]], np.float32), (3, 1, 1))
        assert edit.crop_size(Alignment(transforms, np.zeros(4))) == size


def test_large_crops_keep_their_detail():
    """A pattern of single pixels, moved by whole pixels, is as sharp as before: fields are enlarged, pictures are not."""
    picture = torch.from_numpy(noise(1, 256)).permute(0, 3, 1, 2).float() / 255
    flow = torch.zeros(1, 2, 32, 32)
    flow[:, 0] = 3 / 128
    out = apply_fields(picture, flow, torch.zeros(1, 1, 16, 16), torch.zeros(1, 3, 64, 64))
    assert torch.allclose(out[..., :200], picture[..., 3:203], atol=1e-3)


def test_a_generator_is_found_by_name_path_and_run(generator, tmp_path, monkeypatch):
    card = {"model": {}, "emotions": ["happy", "sad"]}
    save_weights(tmp_path / "run/05_generator/cdrl/model.safetensors", generator, card)
    save_weights(tmp_path / "mine.safetensors", generator, card)
    monkeypatch.setenv("CDRL_WEIGHTS", str(tmp_path))
    found = [
        edit.load_editor(where)
        for where in ("mine", tmp_path / "mine.safetensors", tmp_path / "run")
    ]
    assert all(
        torch.equal(net.table, found[0].table) and net.emotions == ("happy", "sad") for net in found
    )
    with pytest.raises(InputError, match="emotion 'fear': this generator learnt happy, sad"):
        edit.emotion_weights("fear", found[0])
    with pytest.raises(InputError, match="no trained generator here; run notebook 05"):
        edit.load_editor(tmp_path.parent)


def test_a_generator_crops_as_the_run_that_trained_it(generator, video, tmp_path):
    run = tmp_path / "run"
    save_weights(run / "05_generator/cdrl/model.safetensors", generator, {"model": {}})
    run_stage(CorpusConfig(crop="released"), run, lambda out: {})
    found = [
        edit.load_editor(where)
        for where in (run, run / "05_generator", run / "05_generator/cdrl/model.safetensors")
    ]
    assert [net.crop for net in found] == ["released"] * 3 and edit.load_editor().crop == "aligned"
    before, after = (
        read_video(path, None).frames.astype(int)
        for path in (video, edit.edit_video(video, "sad", tmp_path / "a.mp4", 1.0, found[0]))
    )
    place = align(before.astype(np.uint8), crop="released")
    inside = np.zeros(before.shape[:3], bool)
    for mask, transform in zip(inside, place.transforms):
        (left, top), (right, bottom) = transform[:, 2], transform @ [96, 96, 1]
        mask[int(top) : int(bottom) + 1, int(left) : int(right) + 1] = True
    change = np.abs(before - after).mean(3)
    assert change[~inside].mean() < 2 < change[inside].mean()  # the codec's rounding; the edit


@pytest.mark.parametrize(
    ("emotion", "intensity", "message"),
    [
        ("hapy", 1.0, "unknown emotion 'hapy' .did you mean happy"),
        ({"happy": -1}, 1.0, "emotion 'happy' has weight -1: weights of a mixture are above 0"),
        ("happy", 2.0, "intensity 2: 0 .nothing changes. to 1.5 is accepted"),
        ("happy", -0.1, "intensity -0.1: 0 .nothing changes. to 1.5 is accepted"),
        ("happy", float("nan"), "intensity nan: 0 .nothing changes. to 1.5 is accepted"),
        (
            "happy",
            np.ones(4),
            "a curve of 4 values for 30 frames; give one number, or one per frame",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_written(
    generator, video, tmp_path, emotion, intensity, message
):
    with pytest.raises(InputError, match=message):
        edit.edit_video(video, emotion, tmp_path / "out.mp4", intensity, generator)
    assert not list(tmp_path.iterdir())


def test_a_faceless_or_unreadable_video_is_refused_before_anything_is_written(generator, tmp_path):
    write_video(tmp_path / "wall.mp4", np.full((12, 96, 96, 3), 128, np.uint8), 25.0)
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    for name, message in (
        ("wall.mp4", "wall.mp4: no face found"),
        ("broken.mp4", "broken.mp4"),
        ("none.mp4", "none.mp4"),
    ):
        with pytest.raises(InputError, match=message):
            edit.edit_video(tmp_path / name, "happy", tmp_path / "out.mp4", 1.0, generator)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.mp4", "wall.mp4"]


def test_the_source_is_never_overwritten(generator, video):
    with pytest.raises(InputError, match="is the source itself"):
        edit.edit_video(video, "happy", video, 1.0, generator, progress=False)


def test_crops_of_a_real_clip_are_edited_at_their_own_resolution(generator, video):
    frames = read_video(video, None).frames[:6]
    alignment = align(frames)
    size = edit.crop_size(alignment)
    out = edit.edit_clip(generator, crop(frames, alignment, size), "happy", 1.0, 29.97)
    assert out.shape == (6, size, size, 3) and size > 96


def test_a_folder_without_clips_to_fit_to_is_refused(generator, tmp_path):
    (tmp_path / "1001_DFA_HAP_XX.flv").write_bytes(b"")
    (tmp_path / "holiday.mp4").write_bytes(b"")
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(
            InputError,
            match="no clip to fit to; give a folder of that person's clips named as CREMA-D's",
        ):
            edit.fit_to_folder(generator, folder, tmp_path / "holiday.mp4", "happy")


@pytest.fixture
def released(generator, tmp_path):
    """A run whose generator and encoders learnt released crops; its encoders are the committed ones, its prompts told apart."""
    run = tmp_path / "run"
    for config in (CorpusConfig(crop="released"), PriorsConfig(), ContentConfig(), EmotionConfig()):
        run_stage(config, run, lambda out: {})
    for stage in ("content", "emotion"):
        shutil.copytree(
            data_root() / "weights/guidance" / stage, stage_folder(run, stage), dirs_exist_ok=True
        )
    save_weights(run / "05_generator/cdrl/model.safetensors", generator, {"model": {}})
    return run


def test_a_fit_is_guided_by_the_generator_s_own_run(generator, released, tmp_path, monkeypatch):
    [sad] = [path for path in sample_paths() if "SAD" in path.name]
    (tmp_path / "person").mkdir()
    clip = read_video(sad)
    write_video(
        tmp_path / "person/1001_DFA_SAD_XX.mp4", clip.frames[20:32], 25.0, clip.audio[12_800:20_480]
    )
    guides, fit = [], edit.fit_person
    monkeypatch.setattr(edit, "fit_person", lambda *given: guides.append(given[2]) or fit(*given))
    monkeypatch.setattr(
        edit, "Guidance", lambda where=None: guides.append(where) or Guidance(where)
    )
    for where, run in ((released, released), ("generator", None)):
        guides.clear()
        edit.fit_to_folder(edit.load_editor(where), tmp_path / "person", sad, "happy", steps=1)
        assert guides[0] == run and guides[1].crop == ("aligned" if run is None else "released")


def test_a_fit_with_encoders_of_other_crops_is_refused_in_a_line(released, tmp_path):
    line = "learnt released crops, the guidance .guidance. aligned ones; .* corpus.crop=released, --guidance RUN$"
    with pytest.raises(InputError, match=line):
        edit.fit_to_folder(
            edit.load_editor(released), tmp_path, tmp_path, "happy", guidance="guidance"
        )
    with pytest.raises(InputError, match="learnt aligned crops, the guidance .*run. released ones"):
        edit.fit_to_folder(
            edit.load_editor("generator"), tmp_path, tmp_path, "happy", guidance=released
        )
