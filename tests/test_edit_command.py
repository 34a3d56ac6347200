"""`cdrl edit` on files that phones, editors and accidents make: handled, or left out with one line that says why."""

import re
import shutil
import weakref
from fractions import Fraction

import av
import numpy as np
import pytest
from test_edit import sound_packets
from test_ingest import performed
from test_media import encode

from cdrl.cli.edit import _read
from cdrl.cli.main import build_parser, main
from cdrl.core.vocabulary import EMOTIONS
from cdrl.corpora.samples import sample_paths
from cdrl.editing import pipeline as edit
from cdrl.editing.compare import write_comparison
from cdrl.editing.control import describe_mixture
from cdrl.media.encoding import SYNTHETIC, write_video
from cdrl.media.faces import align
from cdrl.media.image_warp import warp
from cdrl.media.video import read_metadata, read_video, read_video_stream, video_facts
from cdrl.models.image_editor import label_weights

RIGHT = 20  # columns at the left and right edge that no crop reaches


@pytest.fixture(scope="module")
def clip():
    """Half a second of a real neutral clip, at its own rate."""
    whole = read_video(next(path for path in sample_paths() if "NEU" in path.name), frame_rate=None)
    return whole.frames[10:26], whole.frame_rate, whole.audio[5_300:13_800]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, clip):
    """Videos that can be edited, videos that cannot, and a file that is none."""
    frames, rate, audio = clip
    made = tmp_path_factory.mktemp("videos")
    write_video(made / "good.mp4", frames, rate, audio)
    write_video(made / "mute.mov.mp4", frames, rate)
    # A phone held upright: the pixels lie, the container says how to turn them.
    encode(
        made / "portrait.mp4",
        np.rot90(frames[:, :, 60:420], -1, (1, 2)),
        30,
        audio=audio,
        sample_rate=16_000,
        rotation=90,
    )
    irregular(made / "varying.mkv", frames)
    enlarged = np.stack(
        [
            warp(frame, np.array([[1 / 6, 0, -80], [0, 1 / 6, 0]]), 2160, 3840, 1)
            for frame in frames[:4]
        ]
    )
    encode(made / "uhd.mp4", enlarged, 30)
    write_video(made / "two.mp4", np.concatenate([frames, frames], 2), rate)
    write_video(made / "wall.mp4", np.full((12, 96, 96, 3), 128, np.uint8), 25.0)
    walls = np.full((48, *frames.shape[1:]), 70, np.uint8)
    for k, wall in enumerate(walls):  # walks out to the right, 10 pixels a frame
        wall[:, 10 * k :] = frames[k % 16][:, : 480 - 10 * k]
    write_video(made / "leaving.mp4", walls, rate)
    write_video(made / "profile.mp4", performed(1.6)[0][:10], 25.0)
    (made / "broken.avi").write_bytes(b"not a video")
    (made / "notes.txt").write_text("ignored")
    return made


def irregular(path, frames):
    """Frames whose distances are 20 to 60 ms, as screen recorders and phones write them."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt, video.bit_rate = (
            frames.shape[2],
            frames.shape[1],
            "yuv420p",
            4_000_000,
        )
        video.time_base = video.codec_context.time_base = Fraction(1, 1000)
        for k, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = 40 * k + 20 * (k % 2), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))


def times(path):
    found = []
    for _ in read_video_stream(path, None, times=found):
        pass
    return np.array(found) - found[0]


def test_a_folder_is_edited_and_what_is_left_out_says_why(folder, tmp_path, capsys):
    assert main(["edit", str(folder), "happy", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out.splitlines()
    edited = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert edited == ["good.mp4", "mute.mov.mp4", "portrait.mp4", "uhd.mp4", "varying.mp4"]
    assert f"5 of 10 videos edited into {tmp_path / 'out'}, 5 left out" in printed
    reasons = dict(
        line.removeprefix("left out ").split(": ", 1)
        for line in printed
        if line.startswith("left out")
    )
    assert reasons.keys() == {"two.mp4", "wall.mp4", "leaving.mp4", "profile.mp4", "broken.avi"}
    assert reasons["two.mp4"] == "more than one face (frame 0); give a video that shows one person"
    assert reasons["wall.mp4"].startswith(
        "no face found (frames 0 to 11); a frontal face of at least"
    )
    assert (
        reasons["leaving.mp4"].startswith("face lost from frame")
        and " to 47; " in reasons["leaving.mp4"]
    )
    assert "face" in reasons["profile.mp4"] and reasons["broken.avi"].startswith(
        "not a readable video"
    )
    for name in edited:
        source, out = folder / name.replace("varying.mp4", "varying.mkv"), tmp_path / "out" / name
        before, after = video_facts(source), video_facts(out)
        assert (before.width, before.height, before.num_frames) == (
            after.width,
            after.height,
            after.num_frames,
        ), name
        assert np.abs(times(source) - times(out)).max() < 0.002, name
        assert (
            before.sample_rate == after.sample_rate and read_metadata(out)["comment"] == SYNTHETIC
        )
        if before.sample_rate:
            assert sound_packets(out) == sound_packets(source)
        a, b = (
            read_video(path, None, require_audio=False).frames.astype(int) for path in (source, out)
        )
        place = align(a.astype(np.uint8)).transforms[0] @ [48, 48, 1]
        rows, columns = (
            slice(int(x) - before.width // 20, int(x) + before.width // 20) for x in place[::-1]
        )
        assert np.abs(a - b)[:, rows, columns].mean() > 2 * np.abs(a - b)[:, :, :RIGHT].mean(), name
    assert np.ptp(np.diff(times(tmp_path / "out" / "varying.mp4"))) > 0.03


def test_a_folder_without_a_video_that_can_be_edited_fails(folder, tmp_path, capsys):
    bad = tmp_path / "bad"
    bad.mkdir()
    shutil.copy(folder / "wall.mp4", bad)
    assert main(["edit", str(bad), "--emotion", "sad", "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert (
        "left out wall.mp4: no face found" in printed.out
        and "none of 1 videos could be edited" in printed.err
    )
    assert not (tmp_path / "out").exists()


def test_a_text_a_curve_and_a_comparison_with_the_truth(folder, tmp_path, capsys):
    truth = next(path for path in sample_paths() if "HAP" in path.name)
    words = [
        "edit",
        str(folder / "good.mp4"),
        "--text",
        "lip corners strongly up, cheeks raised",
        "--curve",
        "0:0,0.2:0,0.4:1",
    ]
    assert main([*words, "--truth", str(truth), "--out", str(tmp_path / "a.mp4")]) == 0
    printed = capsys.readouterr().out
    assert "read as" in printed and "happy" in printed and "a-compare.mp4" in printed
    source, out, beside = (
        read_video(path, None, require_audio=False)
        for path in (folder / "good.mp4", tmp_path / "a.mp4", tmp_path / "a-compare.mp4")
    )
    change = np.abs(source.frames.astype(int) - out.frames)[:, 120:240, 180:300].mean((1, 2, 3))
    assert change[:5].max() < change[13:].min()  # nothing before 0.2 s but the codec's rounding
    assert beside.frames.shape == (16, 360, 1440, 3) and len(beside.audio) == len(source.audio)
    assert np.abs(beside.frames[:, :, :480].astype(int) - source.frames).mean() < 2
    assert (
        np.abs(beside.frames[0, :, 960:].astype(int) - read_video(truth, None).frames[0]).mean() < 2
    )
    with pytest.raises(Exception, match="is there already and is no edit of this kit"):
        shutil.copy(truth, tmp_path / "mine.mp4")
        write_comparison(folder / "good.mp4", tmp_path / "a.mp4", tmp_path / "mine.mp4")


def test_a_reference_is_printed_with_what_it_is_read_as_and_how_steadily(folder, capsys):
    happy = next(path for path in sample_paths() if "HAP" in path.name)
    brief = folder / "good.mp4"
    for path, ending in (
        (happy, r", 5 of 5 stretches agree"),
        (brief, r", \d of 5 stretches agree"),
    ):
        chosen = build_parser().parse_args(
            ["edit", str(brief), "--reference", str(path), "--out", "out.mp4"]
        )
        mixture = _read(chosen, EMOTIONS)
        line = capsys.readouterr().out
        assert re.fullmatch(
            re.escape(f"{path}: read as {describe_mixture(mixture)}") + ending + "\n", line
        ), line


def refused(capsys, *words):
    assert main(["edit", *map(str, words)]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("cdrl: ") and printed.err.count("\n") == 1
    return printed.err[6:-1]


def test_what_cannot_be_asked_is_refused_in_one_line(folder, tmp_path, capsys):
    good, out = folder / "good.mp4", ("--out", tmp_path / "o.mp4")
    assert "exactly one of --emotion, --text and --reference" in refused(capsys, good, *out)
    assert "exactly one of --emotion, --text and --reference" in refused(
        capsys, good, "sad", "--text", "face relaxed", *out
    )
    assert "--curve says the intensity" in refused(
        capsys, good, "sad", "--curve", "0:1", "--intensity", "1", *out
    )
    assert "intensity 2: 0 (nothing changes) to 1.5 is accepted" in refused(
        capsys, good, "sad", "--curve", "0:1,1:2", *out
    )
    assert "gone.mp4: no such video file" in refused(capsys, good, "--reference", "gone.mp4", *out)
    assert "is a folder, so a folder for the edits is needed" in refused(
        capsys, folder, "sad", *out
    )
    assert "--fit: goes with one video" in refused(capsys, folder, "sad", "--fit", folder, *out)
    assert "no video in it" in refused(capsys, tmp_path, "sad", "--out", tmp_path / "x")
    shutil.copy(folder / "wall.mp4", tmp_path / "holiday.mp4")
    with av.open(str(tmp_path / "own.mp4"), "w") as container:  # somebody else's file
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        container.mux([*video.encode(av.VideoFrame(64, 64, "yuv420p")), *video.encode(None)])
    line = refused(capsys, good, "sad", "--out", tmp_path / "own.mp4")
    assert "is there already and is no edit of this kit" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["holiday.mp4", "own.mp4"]


@pytest.mark.parametrize(("name", "reach"), [("generator", 4), ("action_renderer", 26)])
def test_of_large_frames_few_are_alive(clip, monkeypatch, name, reach):
    frames, alive, most = np.concatenate([clip[0]] * 5), [], 0
    alignment = align(clip[0])
    alignment = type(alignment)(np.concatenate([alignment.transforms] * 5), alignment.mouth_box)

    def read():
        for frame in frames:
            frame = frame.copy()
            alive.append(weakref.ref(frame))
            yield frame

    monkeypatch.setattr(edit, "HELD_BYTES", 1)
    edited = edit.edited_frames(
        edit.load_editor(name), read(), alignment, label_weights(["sad"]), np.ones(80, np.float32)
    )
    for done, _ in enumerate(edited):
        most = max(most, sum(reference() is not None for reference in alive))
    assert done == 79 and most <= 4 + 2 * reach + 2
