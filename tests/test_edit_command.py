"""`cdrl edit` on files of phones, editors and accidents: edited, or left out with a line."""

import io
import re
import shutil
import subprocess
import sys
import weakref
from contextlib import redirect_stdout
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from test_edit import sound_packets
from test_ingest import turned_performance
from test_media import encode
from troublesome import inspect_or_die

from cdrl.cli.edit import _plan_folder, read_emotion
from cdrl.cli.main import build_parser, main
from cdrl.core.errors import InputError
from cdrl.core.vocabulary import EMOTIONS
from cdrl.corpora.samples import sample_paths
from cdrl.corpora.scan import VIDEO_SUFFIXES
from cdrl.editing import pipeline
from cdrl.editing.compare import write_comparison
from cdrl.editing.control import describe_mixture, emotion_weights
from cdrl.editors.loading import load_editor
from cdrl.media.encoding import SYNTHETIC, write_video
from cdrl.media.faces import align
from cdrl.media.image_warp import affine_warp
from cdrl.media.tracks import follow_face
from cdrl.media.video import read_metadata, read_video, read_video_stream, video_facts

OUTSIDE = 20  # columns at the left edge that no crop reaches
EDITED = [
    "black.mp4",
    "good.mp4",
    "leaving.mp4",
    "mute.mov.mp4",
    "portrait.mp4",
    "two.mp4",
    "uhd.mp4",
    "varying.mp4",
]
BROKEN = ["broken.avi", "cam.MTS"]
ENLARGE = np.array([[1 / 6, 0, -80], [0, 1 / 6, 0]])  # six times as large, in a wider frame


def sample(name):
    """The committed real clip of an emotion, by its code in the file's name."""
    return next(path for path in sample_paths() if name in path.name)


@pytest.fixture(scope="module")
def clip():
    """Frames, rate and sound of half a second of a real neutral clip."""
    whole = read_video(sample("NEU"), frame_rate=None)
    return whole.frames[10:26], whole.frame_rate, whole.audio[5_300:13_800]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, clip):
    """Videos that can be edited, videos that cannot, and a file that is no video."""
    frames, rate, audio = clip
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "good.mp4", frames, rate, audio)
    write_video(folder / "mute.mov.mp4", frames, rate)
    write_portrait(folder / "portrait.mp4", frames, audio)
    write_irregular(folder / "varying.mkv", frames)
    large_frames = [affine_warp(frame, ENLARGE, 2160, 3840, 1) for frame in frames[:4]]
    encode(folder / "uhd.mp4", np.stack(large_frames), 30)

    write_video(folder / "two.mp4", np.concatenate([frames[:6], frames[:6]], 2), rate)
    black = np.concatenate([np.zeros_like(frames[:8]), frames[:8]])
    write_video(folder / "black.mp4", black, rate)
    write_video(folder / "wall.mp4", np.full((12, 96, 96, 3), 128, np.uint8), 25.0)
    write_video(folder / "leaving.mp4", leaving_frames(frames), rate)
    profile = turned_performance(yaw=1.6)[0][:10]
    write_video(folder / "profile.mp4", profile, 25.0)
    for name in BROKEN:
        (folder / name).write_bytes(b"not a video")
    (folder / "notes.txt").write_text("ignored")
    (folder / "loop.mp4").symlink_to("loop.mp4")
    (folder / "more").mkdir()
    return folder


def write_portrait(path, frames, audio):
    """A phone held upright: the pixels lie, the container says how to turn them."""
    lying = np.rot90(frames[:, :, 60:420], -1, (1, 2))
    encode(path, lying, 30, audio=audio, sample_rate=16_000, rotation=90)


def leaving_frames(frames):
    """Frames in which the face moves out to the right, 24 pixels a frame."""
    leaving = np.full((20, *frames.shape[1:]), 70, np.uint8)
    for k, wall in enumerate(leaving):
        wall[:, 24 * k :] = frames[k % 16][:, : 480 - 24 * k]
    return leaving


def write_irregular(path, frames):
    """Frames whose distances are 20 to 60 ms, as screen recorders and phones write them."""
    millisecond = Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        video.bit_rate = 4_000_000
        video.time_base = millisecond
        video.codec_context.time_base = millisecond
        for k, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = 40 * k + 20 * (k % 2)
            frame.time_base = millisecond
            container.mux(video.encode(frame))
        container.mux(video.encode(None))


def frame_times(path):
    """(T,) seconds of the frames of a video, from the first on."""
    times = []
    for _ in read_video_stream(path, None, times=times):
        pass
    return np.array(times) - times[0]


@pytest.fixture(scope="module")
def edited_folder(folder, tmp_path_factory):
    """The folder of the edits, and the lines that the command printed."""
    out = tmp_path_factory.mktemp("edits") / "out"
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert main(["edit", str(folder), "happy", "--out", str(out)]) == 0
    return out, printed.getvalue().splitlines()


@pytest.fixture(scope="module")
def edited(edited_folder):
    """The folder of the edits."""
    return edited_folder[0]


def test_a_folder_is_edited_and_what_is_left_out_says_why(edited_folder):
    out, lines = edited_folder
    assert sorted(path.name for path in out.iterdir()) == EDITED
    left_out = {"wall.mp4", "profile.mp4", "loop.mp4", *BROKEN}
    count = len(EDITED) + len(left_out)
    assert f"8 of {count} videos edited into {out}, {len(left_out)} left out" in lines

    reasons = {}
    for line in lines:
        if line.startswith("left out "):
            name, reason = line.removeprefix("left out ").split(": ", 1)
            reasons[name] = reason
    assert reasons.keys() == left_out
    assert reasons["wall.mp4"].startswith("no face found (frames 0 to 11)")
    assert "face" in reasons["profile.mp4"]
    assert reasons["loop.mp4"].startswith("no such file")
    for name in BROKEN:
        assert reasons[name].startswith("not a readable video")
    assert "skipped, no videos by their names: more, notes.txt" in lines


def test_what_was_seen_of_each_video_is_told_in_lines(edited_folder):
    _, lines = edited_folder
    seen = {}
    for line in lines:
        name, _, rest = line.partition(": ")
        seen.setdefault(name, []).append(rest)
    assert seen["good.mp4"][0].startswith("1 face (1: ")
    assert seen["good.mp4"][0].endswith("one shot")
    assert seen["two.mp4"][0].startswith("2 faces (1: ")
    assert "is edited" in seen["two.mp4"][0]
    assert seen["black.mp4"][0].startswith("2 shots, each edited by itself: from 0.00 s no face")
    assert seen["black.mp4"][1].startswith("8 of 16 frames stay as they are: 0.00 to 0.27 s (no f")
    assert "to 0.63 s (no face)" in seen["leaving.mp4"][1]
    assert seen["leaving.mp4"][1].endswith("the edit fades over 0.3 s")


def source_of(folder, name):
    return folder / name.replace("varying.mp4", "varying.mkv")


@pytest.mark.parametrize("name", EDITED)
def test_an_edit_keeps_size_times_and_sound(folder, edited, name):
    source = source_of(folder, name)
    out = edited / name
    before = video_facts(source)
    after = video_facts(out)
    assert (after.width, after.height) == (before.width, before.height)
    assert after.num_frames == before.num_frames
    assert np.abs(frame_times(source) - frame_times(out)).max() < 0.002
    assert after.sample_rate == before.sample_rate
    if before.sample_rate:
        assert sound_packets(out) == sound_packets(source)
    assert read_metadata(out)["comment"] == SYNTHETIC


@pytest.mark.parametrize("name", EDITED)
def test_an_edit_changes_the_face_and_not_the_edge_of_the_frame(folder, edited, name):
    source = read_video(source_of(folder, name), None, require_audio=False).frames
    out = read_video(edited / name, None, require_audio=False).frames
    if name == "black.mp4":
        assert np.abs(source[:8].astype(int) - out[:8]).max() <= 2
        source = source[8:]
        out = out[8:]
    difference = np.abs(source.astype(int) - out)
    stretch = next(part for part in follow_face(source).stretches if part.alignment)
    middle_x, middle_y = stretch.alignment.transforms[0] @ [48, 48, 1]
    half = source.shape[2] // 20
    rows = slice(int(middle_y) - half, int(middle_y) + half)
    columns = slice(int(middle_x) - half, int(middle_x) + half)
    face_change = difference[:, rows, columns].mean()
    assert face_change > 2 * difference[:, :, :OUTSIDE].mean()


def test_irregular_frame_times_stay_irregular(edited):
    assert np.ptp(np.diff(frame_times(edited / "varying.mp4"))) > 0.03


def test_a_folder_without_a_video_that_can_be_edited_fails(folder, tmp_path, capsys):
    bad = tmp_path / "bad"
    bad.mkdir()
    shutil.copy(folder / "wall.mp4", bad)
    out = tmp_path / "out"
    assert main(["edit", str(bad), "--emotion", "sad", "--out", str(out)]) == 2
    printed = capsys.readouterr()
    assert "left out wall.mp4: no face found" in printed.out
    assert "none of 1 videos could be edited" in printed.err
    assert not out.exists()


def test_a_text_a_curve_and_a_comparison_with_the_truth(folder, tmp_path, capsys):
    truth = sample("HAP")
    good = folder / "good.mp4"
    words = ["edit", str(good), "--text", "lip corners strongly up, cheeks raised"]
    words += ["--curve", "0:0,0.2:0,0.4:1", "--truth", str(truth)]
    assert main([*words, "--out", str(tmp_path / "a.mp4")]) == 0
    printed = capsys.readouterr().out
    assert "read as" in printed
    assert "happy" in printed
    assert "a-compare.mp4" in printed

    source = read_video(good, None)
    out = read_video(tmp_path / "a.mp4", None)
    mouth_change = np.abs(source.frames.astype(int) - out.frames)[:, 120:240, 180:300]
    change = mouth_change.mean((1, 2, 3))
    assert change[:5].max() < change[13:].min(), "nothing before 0.2 s but the codec's rounding"

    comparison = read_video(tmp_path / "a-compare.mp4", None)
    assert comparison.frames.shape == (16, 360, 1440, 3)
    assert len(comparison.audio) == len(source.audio)
    left = comparison.frames[:, :, :480].astype(int)
    assert np.abs(left - source.frames).mean() < 2
    right = comparison.frames[0, :, 960:].astype(int)
    assert np.abs(right - read_video(truth, None).frames[0]).mean() < 2


def test_a_comparison_does_not_replace_a_user_s_own_file(folder, tmp_path):
    mine = tmp_path / "mine.mp4"
    shutil.copy(sample("HAP"), mine)
    with pytest.raises(InputError, match="is there already and is no edit of this kit"):
        write_comparison(folder / "good.mp4", folder / "good.mp4", mine)


def test_a_reference_is_printed_with_its_mixture_and_its_agreement(folder, capsys):
    brief = folder / "good.mp4"
    endings = {sample("HAP"): r", 5 of 5 stretches agree", brief: r", \d of 5 stretches agree"}
    for path, ending in endings.items():
        words = ["edit", str(brief), "--reference", str(path), "--out", "out.mp4"]
        mixture = read_emotion(build_parser().parse_args(words), EMOTIONS)
        line = capsys.readouterr().out
        begin = re.escape(f"{path}: read as {describe_mixture(mixture)}")
        assert re.fullmatch(begin + ending + "\n", line), line


def refused(capsys, *words):
    """The one line with which `cdrl edit` refuses its input."""
    assert main(["edit", *map(str, words)]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("cdrl: ")
    assert printed.err.count("\n") == 1
    return printed.err[6:-1]


def test_none_or_several_emotions_are_refused(folder, tmp_path, capsys):
    good = folder / "good.mp4"
    out = ["--out", tmp_path / "o.mp4"]
    message = "exactly one of --emotion, --text and --reference"
    assert message in refused(capsys, good, *out)
    assert message in refused(capsys, good, "sad", "--text", "face relaxed", *out)
    assert message in refused(capsys, good, "sad", "--emotion", "sad", *out)


def test_intensities_that_do_not_fit_are_refused(folder, tmp_path, capsys):
    words = [folder / "good.mp4", "sad", "--out", tmp_path / "o.mp4"]
    line = refused(capsys, *words, "--curve", "0:1", "--intensity", "1")
    assert "--curve says the intensity" in line
    line = refused(capsys, *words, "--curve", "0:1,1:2")
    assert "intensity 2: 0 (nothing changes) to 1.5 is accepted" in line


def test_paths_that_do_not_fit_are_refused(folder, tmp_path, capsys):
    out = ["--out", tmp_path / "o.mp4"]
    line = refused(capsys, folder / "good.mp4", "--reference", "gone.mp4", *out)
    assert "gone.mp4: no such video file" in line
    line = refused(capsys, folder, "sad", *out)
    assert "is a folder, so a folder for the edits is needed" in line
    line = refused(capsys, folder, "sad", "--truth", folder / "good.mp4", "--out", tmp_path / "x")
    assert "--truth: goes with one video" in line
    words = (folder, "sad", "--fit", folder, "--out", tmp_path / "x")
    line = refused(capsys, *words, "--editor", "image")
    assert "--fit: goes with one video where the image editor is fitted" in line
    line = refused(capsys, tmp_path, "sad", "--out", tmp_path / "x")
    assert "no video in it" in line


def test_one_fit_serves_every_video_of_a_folder(tmp_path, monkeypatch):
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("a", "b"):
        shutil.copy(sample("NEU"), clips / f"{name}{sample('NEU').suffix}")
    fitted = []

    def remember(editor, folder, out, **_):
        fitted.append((folder, out))
        return editor

    monkeypatch.setattr("cdrl.editing.fit.fit_to_folder", remember)
    edits = tmp_path / "edits" / "sad"
    main(["edit", str(clips), "sad", "--fit", str(clips), "--out", str(edits)])
    assert fitted == [(clips, tmp_path / "edits" / "fits")]
    assert sorted(path.name for path in edits.glob("*.mp4")) == ["a.mp4", "b.mp4"]


OUTS = {
    ".": "give a name that ends in .mp4",
    "/": "give a name that ends in .mp4",
    "edit.mov": "as in --out edit.mp4",
    "/dev/null/x.mp4": "/dev/null",
    "FILE/x.mp4": "a file, not a folder",
    "FILE/more/x.mp4": "a file, not a folder",
    "FOLDER.mp4": "is a folder",
    "LINK.mp4": "a link to nothing",
    "LINK.mp4/x.mp4": "a link to nothing",
    "LOOP.mp4": "leads to itself",
    "LOOP.mp4/x.mp4": "leads to itself",
    "x" * 300 + ".mp4": "too long",
    "new/" + "x" * 300 + ".mp4": "304 bytes",
    "new/" + "л" * 130 + "/x.mp4": "260 bytes",
}


@pytest.mark.parametrize("name", OUTS)
def test_a_place_where_nothing_can_be_written_is_refused_before_any_work(
    folder, tmp_path, capsys, monkeypatch, name
):
    def work(*_):
        raise AssertionError("an editor is loaded before --out was looked at")

    monkeypatch.setattr("cdrl.cli.edit.load_editor", work)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("mine")
    (tmp_path / "FOLDER.mp4").mkdir()
    (tmp_path / "LINK.mp4").symlink_to("gone/at/all")
    (tmp_path / "LOOP.mp4").symlink_to("LOOP.mp4")
    before = sorted(tmp_path.iterdir())
    line = refused(capsys, folder / "good.mp4", "sad", "--out", name)
    assert OUTS[name] in line and "--out" in line
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "FILE").read_text() == "mine"


def test_a_place_for_a_folder_of_edits_is_looked_at_before_any_work(folder, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert "is a file" in refused(capsys, folder, "sad", "--out", tmp_path / "file")
    assert "folder of the sources" in refused(capsys, folder, "sad", "--out", folder)
    line = refused(capsys, folder, "sad", "--out", tmp_path / "file" / "x")
    assert "a file, not a folder" in line


@pytest.mark.parametrize("face", ["0", "-1", "1.5", "left", "1,2,3", "1,2,0,4", "1,2,3,nan", "inf"])
def test_a_face_that_is_no_number_and_no_box_is_refused(folder, tmp_path, capsys, face):
    words = [folder / "good.mp4", "sad", "--out", tmp_path / "o.mp4", f"--face={face}"]
    line = refused(capsys, *words)
    assert face in line and "--face 2 or --face 40,60,90,110" in line


@pytest.mark.parametrize("option", ["--curve", "--editor", "--face", "--out"])
def test_an_empty_text_is_no_default(folder, tmp_path, capsys, option):
    words = [folder / "good.mp4", "sad", "--out", tmp_path / "o.mp4", option, ""]
    assert option in refused(capsys, *words)


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES))
def test_a_folder_takes_every_kind_of_video_in_either_case(tmp_path, suffix):
    names = [f"a{suffix}", f"b{suffix.upper()}", f"c.d{suffix}"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    arguments = build_parser().parse_args(["edit", str(tmp_path), "sad", "--out", "x"])
    plan = _plan_folder(tmp_path, tmp_path / "out", arguments)
    assert [job.source.name for job in plan.jobs] == names
    assert [job.out.name for job in plan.jobs] == ["a.mp4", "b.mp4", "c.d.mp4"]


def test_edits_of_one_folder_never_share_a_name(tmp_path):
    for name in ("a.mp4", "a.mov", "A.avi", "a.mp4.mkv", "b.mp4"):
        (tmp_path / name).write_bytes(b"x")
    arguments = build_parser().parse_args(["edit", str(tmp_path), "sad", "--out", "x"])
    plan = _plan_folder(tmp_path, tmp_path / "out", arguments)
    names = [job.out.name.lower() for job in plan.jobs]
    assert len(set(names)) == len(names) == 5


def test_a_path_is_a_path_and_never_a_protocol(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("file:x.mp4", "take:1.mp4", "concat:a|b.mp4", "pipe:0.mp4"):
        shutil.copy(folder / "mute.mov.mp4", name)
        assert len(read_video(Path(name), None, require_audio=False).frames) == 16
        out = Path(f"out:{name}")
        write_video(out, np.zeros((2, 32, 32, 3), np.uint8), 25.0)
        assert len(read_video(out, None, require_audio=False).frames) == 2


def test_a_file_that_kills_its_reader_costs_itself_alone(
    folder, tmp_path, capsys, monkeypatch, clip
):
    """`troublesome.inspect_or_die` ends its process at a file of that name."""
    files = tmp_path / "files"
    files.mkdir()
    shutil.copy(folder / "wall.mp4", files / "wall.mp4")
    write_video(files / "deadly.mp4", clip[0][:4], 25.0)
    monkeypatch.setattr(pipeline, "inspect_video", inspect_or_die)
    assert main(["edit", str(files), "sad", "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr().out
    assert "left out deadly.mp4: reading it killed its process, SIGSEGV; convert it" in printed
    assert "left out wall.mp4: no face found" in printed


def test_reading_a_stranger_s_file_starts_without_the_heavy_libraries():
    code = (
        "import sys, cdrl.media.inspection; "
        "print(sorted({'torch', 'pandas', 'sklearn', 'matplotlib', 'IPython'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_user_s_own_file_is_not_replaced(folder, tmp_path, capsys):
    own = tmp_path / "own.mp4"
    with av.open(str(own), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width = 64
        video.height = 64
        video.pix_fmt = "yuv420p"
        frame = av.VideoFrame(64, 64, "yuv420p")
        container.mux([*video.encode(frame), *video.encode(None)])
    content = own.read_bytes()
    line = refused(capsys, folder / "good.mp4", "sad", "--out", own)
    assert "is there already and is no edit of this kit" in line
    assert own.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["own.mp4"]


@pytest.mark.parametrize(("name", "reach"), [("generator", 4), ("action_renderer", 26)])
def test_of_large_frames_few_are_alive(clip, monkeypatch, name, reach):
    frames = np.concatenate([clip[0]] * 5)
    alignment = align(clip[0])
    alignment = replace(alignment, transforms=np.concatenate([alignment.transforms] * 5))
    references = []

    def read():
        for frame in frames:
            copy = frame.copy()
            references.append(weakref.ref(copy))
            yield copy

    monkeypatch.setattr(pipeline, "MAX_BUFFER_BYTES", 1)
    weights = emotion_weights("sad")
    intensities = np.ones(80, np.float32)
    edited = pipeline.edited_frames(load_editor(name), read(), alignment, weights, intensities)
    num_edited = 0
    largest = 0
    for _ in edited:
        num_edited += 1
        alive = [reference for reference in references if reference() is not None]
        largest = max(largest, len(alive))
    assert num_edited == 80
    assert largest <= 4 + 2 * reach + 2
