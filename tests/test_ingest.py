"""Real clips into a crop store: whole trees, damaged files, kills, resumption, and the report."""

import hashlib
import json
import os
import re
import resource
import shutil
import struct
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import psutil
import pytest
from troublesome import CYAN, MAGENTA, peak_growth

from cdrl.cli.main import main
from cdrl.core.errors import InputError
from cdrl.core.files import exclusive, folder_gb, keep_work_folder
from cdrl.core.paths import repository_root
from cdrl.core.pools import run_each
from cdrl.core.settings import IngestConfig
from cdrl.corpora import ingest_cost, samples, store_writer
from cdrl.corpora.ingest import ingest, summary
from cdrl.corpora.ingest_cost import describe_cost, expected_cost
from cdrl.corpora.ingest_plan import Job
from cdrl.corpora.ingest_worker import make_piece
from cdrl.corpora.manifest import COLUMNS
from cdrl.corpora.rejects import reason_kind
from cdrl.corpora.scan import scan
from cdrl.corpora.store import MOUTH_COLUMNS, Store
from cdrl.media.detectors import BOX_COLUMNS, load_detector, read_boxes
from cdrl.media.encoding import write_video
from cdrl.media.faces import Alignment, align, find_face, paste
from cdrl.media.video import read_audio, read_video
from cdrl.studio import corpus
from cdrl.studio.acting import act
from cdrl.studio.layouts import RENDERED, write_layout

IN_PROCESS = IngestConfig(workers=0)
SECOND = 16_000  # samples
FRAME = 640  # samples


# --- what the tests are made of ------------------------------------------------------------------


def manifest_row(root, path, sound="", **columns):
    """A row of a manifest by hand."""
    file = root / path
    row = {
        "name": path.rpartition(".")[0].replace("/", "-"),
        "corpus": "test",
        "speaker": "7",
        "sentence": "1",
        "emotion": "happy",
        "intensity": 2,
        "camera": "front",
        "take": "1",
        "path": path,
        "sound": sound,
        "bytes": file.stat().st_size if file.is_file() else 0,
        "sha256": "",
    }
    return row | columns


def manifest_of(rows):
    return pd.DataFrame(rows, columns=list(COLUMNS))


def manifest(root, paths):
    """A manifest of videos below the root."""
    return manifest_of([manifest_row(root, path) for path in paths])


def assert_same_bytes(folder, other):
    """Both folders hold the same files."""
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    for name in names:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name


def change_times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


LAYOUTS_AND_PEOPLE = (("mead", 1), ("ravdess", 2), ("crema-d", 1), ("folder", 1))


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Layout -> (root, files) of a few studio clips."""
    emotions = ("angry", "happy")
    tree_of_layout = {}
    for layout, num_people in LAYOUTS_AND_PEOPLE:
        root = tmp_path_factory.mktemp(layout)
        paths = write_layout(layout, root, num_people, 1, 128, emotions, progress=False)
        files = [path.relative_to(root).as_posix() for path in paths]
        tree_of_layout[layout] = (root, files)
    return tree_of_layout


def clips_of(trees, layout):
    """(root, manifest) of a tree."""
    root, files = trees[layout]
    rows = []
    for file in files:
        if not file.endswith((".mp4", ".flv")):
            continue
        sound = ""
        if layout == "mead":
            sound = re.sub("/video/front/(.*)mp4", r"/audio/\1m4a", file)
        rows.append(manifest_row(root, file, sound))
    return root, manifest_of(rows)


@pytest.fixture(scope="module")
def film(trees):
    """Frames and sound of one studio clip."""
    root, files = trees["ravdess"]
    return read_video(root / files[0])


def write_clip(path, frames, audio):
    write_video(path, frames, 25.0, audio)


def write_coloured_clip(path, colour):
    frames = np.full((6, 64, 64, 3), colour, np.uint8)
    write_clip(path, frames, np.full(6 * FRAME, 0.1, np.float32))


def turned_performance(yaw):
    """Frames and sound of a studio clip whose head is turned by `yaw` radians."""
    spec = corpus.smoke_specs()[0]
    performance = act(spec)
    pose = performance.pose.copy()
    pose[:, 0] += yaw
    frames, _ = corpus.render_performance(spec, replace(performance, pose=pose), 160)
    return frames, performance.audio


# --- whole trees ---------------------------------------------------------------------------------

FORMS = {
    "mead": r"[MW]\d{3}/(video/front|audio)/(angry|happy)/level_[123]/001\.(mp4|m4a)",
    "ravdess": r"Actor_(\d\d)/0[13]-01-0[35]-0[12]-01-01-\1\.(mp4|wav)",
    "crema-d": r"1001_DFA_(ANG|HAP)_(LO|MD|HI)\.flv",
    "folder": r"ann/(angry|happy)/sentence_1\.mp4",
}


@pytest.mark.parametrize(
    "layout, num_files", [("mead", 4), ("ravdess", 8), ("crema-d", 2), ("folder", 2)]
)
def test_a_studio_tree_has_the_names_of_its_corpus(trees, layout, num_files):
    root, files = trees[layout]
    assert all(re.fullmatch(FORMS[layout], file) for file in files)
    assert len(files) == num_files
    assert not list(root.rglob("*.partial"))
    for file in files:
        with av.open(str(root / file)) as container:
            assert container.metadata["comment"] == RENDERED


@pytest.mark.parametrize("layout", list(FORMS))
def test_a_studio_tree_goes_in_whole(trees, tmp_path, layout):
    root, _ = trees[layout]
    clips = scan(root).clips
    assert set(clips["corpus"]) == {layout}
    assert set(clips["emotion"]) == {"angry", "happy"}
    assert clips["speaker"].nunique() == (2 if layout == "ravdess" else 1)
    assert (clips["sound"] != "").all() == (layout == "mead")

    result = ingest(clips, root, tmp_path / "store", IN_PROCESS, progress=False)
    store = Store(tmp_path / "store")
    assert result.rejected == ()
    assert result.clips == len(clips) == len(store.clips)
    assert result.frames == len(store)
    assert list(store.clips["name"]) == list(clips["name"])
    assert set(store.clips["camera"]) == {"front" if layout == "mead" else ""}
    for number, row in store.clips.iterrows():
        sound = store.sound(number)
        assert len(sound) == round(row["num_frames"] / 25 * SECOND)
        assert np.abs(sound).max() > 0.05
        assert Path(row["media"]) == root / clips["path"][number]
    assert not (tmp_path / "store.pieces").exists()


def test_sound_of_a_separate_file_is_that_of_the_picture(trees, tmp_path):
    root, clips = clips_of(trees, "mead")
    ingest(clips[:1], root, tmp_path / "store", IN_PROCESS, progress=False)
    store = Store(tmp_path / "store")
    split = corpus.SPLITS["smoke_train"]
    person = split.people[0]
    sentence = split.sentences[0]
    level = corpus.level_of(person, sentence, "angry")
    truth = act(corpus.ClipSpec(person, sentence, "angry", level))
    assert len(store) == len(truth.pose)
    # AAC; a shift of a frame would give about 0.
    assert np.corrcoef(store.sound(0), truth.audio)[0, 1] > 0.98


@pytest.fixture(scope="module")
def released_store(trees, tmp_path_factory):
    """A store of the release's crops, made by the command: its words without --out, and folder."""
    root, _ = trees["mead"]
    out = tmp_path_factory.mktemp("released") / "store"
    words = ["data", "ingest", str(root), "--fps", "30", "--crop-size", "64", "--workers", "1"]
    assert main([*words, "--crop", "released", "--out", str(out)]) == 0
    return words, out


def test_the_release_s_crop_is_a_setting_that_the_store_keeps(released_store, capsys):
    words, out = released_store
    store = Store(out)
    record = json.loads((out / "ingest.json").read_text())
    assert store.crop == "released"
    assert record["settings"]["crop"] == "released"
    assert (store.transforms[:, [0, 1], [1, 0]] == 0).all()
    assert store.face.shape[1:] == (64, 64, 3)
    assert len(store.clips) == 2
    assert main([*words, "--out", str(out)]) == 2
    assert "made with crop=released; choose another --out" in capsys.readouterr().err


def test_the_release_s_crop_leads_back_into_the_frame(released_store):
    _, out = released_store
    store = Store(out)
    for clip, row in store.clips.iterrows():
        rows = store.frames(clip)
        frames = read_video(row["media"], 30.0, require_audio=False).frames
        box = row[MOUTH_COLUMNS].to_numpy(np.float32)
        alignment = Alignment(store.transforms[rows], box)
        again = align(frames, crop="released")
        assert (alignment.transforms == again.transforms).all()
        assert (alignment.mouth_box == again.mouth_box).all()
        assert (paste(frames, store.face[rows], alignment) == frames).all()

        edited = paste(frames, 255 - store.face[rows], alignment)
        for before, after, transform in zip(frames, edited, alignment.transforms, strict=True):
            assert_only_the_box_changed(before, after, transform)


def assert_only_the_box_changed(before, after, transform):
    """All that changed lies in the frame's own box, (2, 3) its transform, and fills most of it."""
    left, top = transform[:, 2]
    right, bottom = transform[:, :2].sum(axis=1) * 96 + transform[:, 2]
    ys, xs = np.nonzero((before != after).any(axis=2))
    assert xs.min() + 1 > left
    assert ys.min() + 1 > top
    assert xs.max() < right
    assert ys.max() < bottom
    assert len(xs) > 0.6 * (right - left) * (bottom - top)


def test_a_store_of_before_there_was_a_choice_is_read_as_aligned(trees, tmp_path):
    root, clips = clips_of(trees, "crema-d")
    out = tmp_path / "store"
    ingest(clips[:1], root, out, IN_PROCESS, progress=False)
    record = json.loads((out / "ingest.json").read_text())
    record["settings"].pop("crop")
    (out / "ingest.json").write_text(json.dumps(record))
    card = json.loads((out / "store.json").read_text())
    card.pop("crop")
    (out / "store.json").write_text(json.dumps(card))

    assert Store(out).crop == "aligned"
    assert ingest(clips[:1], root, out, IN_PROCESS, progress=False).read_frames == 0
    with pytest.raises(InputError, match="made with crop=aligned"):
        ingest(clips[:1], root, out, replace(IN_PROCESS, crop="released"), progress=False)


def test_the_samples_give_the_same_bytes_in_one_process_and_in_two_workers(tmp_path):
    root = samples.sample_folder()
    names = [path.name for path in samples.sample_paths()]
    clips = manifest(root, names[:2])
    config = IngestConfig(workers=2, frame_rate=30.0, crop_size=64)
    alone = replace(config, workers=0, held_mb=1)
    result = ingest(clips, root, tmp_path / "two", config, progress=False)
    ingest(clips, root, tmp_path / "one", alone, progress=False)
    assert_same_bytes(tmp_path / "one", tmp_path / "two")
    store = Store(tmp_path / "two")
    assert store.face.shape[1:] == (64, 64, 3)
    assert set(store.clips["frame_rate"]) == {30.0}
    assert store.clips["num_frames"][0] == 67
    assert result.read_frames == result.frames == len(store)


def test_throughput_is_said_in_frames_a_second_and_of_one_core(trees, tmp_path, capsys):
    root, clips = clips_of(trees, "ravdess")
    result = ingest(clips, root, tmp_path / "store", IN_PROCESS)
    printed = capsys.readouterr()
    match = re.search(
        r"4 clips, (\d+) frames; (\d+) of them now, in ([\d.]+) s: ([\d.]+) frames a second, "
        r"([\d.]+) a",
        printed.out,
    )
    assert re.search(r"store, the store: 100%.* 4/4 ", printed.err)
    frames, read_frames, _, speed, core_speed = (float(number) for number in match.groups())
    assert frames == read_frames == result.frames
    assert speed == pytest.approx(frames / result.seconds, abs=0.06)
    assert core_speed >= 0.9 * speed

    again = ingest(clips, root, tmp_path / "store", IN_PROCESS, progress=False)
    assert again.read_frames == 0
    assert again.frames == result.frames
    known = replace(result, read_frames=50, seconds=2.0, core_seconds=4.0)
    (line,) = summary(known, {})
    assert line.endswith("in 2.0 s: 25.0 frames a second, 12.5 a second of one core")


def test_the_cost_is_guessed_from_headers(trees):
    root, clips = clips_of(trees, "ravdess")
    cost = expected_cost(clips, root, IN_PROCESS)
    num_frames = sum(len(read_video(root / path).frames) for path in clips["path"])
    assert cost.frames == pytest.approx(num_frames, rel=0.05)
    assert 0 < cost.minutes < 1
    frame_bytes = 96 * 96 * 3 + 24 + 1280
    store_gb = num_frames * frame_bytes / 1e9
    assert cost.disk_gb == pytest.approx(2 * store_gb, rel=0.05)
    assert cost.end_gb == pytest.approx(store_gb, rel=0.05)
    assert expected_cost(clips, root, IN_PROCESS, keep_pieces=True).end_gb == cost.disk_gb


def test_a_large_store_needs_room_for_itself_and_a_shard(trees, monkeypatch):
    root, clips = clips_of(trees, "ravdess")
    monkeypatch.setattr(ingest_cost, "SHARD_BYTES", 10**6)
    cost = expected_cost(clips, root, IN_PROCESS)
    assert cost.disk_gb == pytest.approx(cost.end_gb + 0.001)
    assert f"{cost.end_gb:.2f} GB in the end" in describe_cost(clips, root, IN_PROCESS)


# --- bad and odd files ---------------------------------------------------------------------------


def write_flv_with_duration(source, path, seconds):
    """A copy whose header promises another length."""
    data = bytearray(source.read_bytes())
    position = data.index(b"duration") + 9  # after the name and the type of the value
    data[position : position + 8] = struct.pack(">d", seconds)
    path.write_bytes(data)


def write_float_wav(path, sample_rate=22_050):
    """One second of a tone as float32, in a file without pictures."""
    sound = (0.3 * np.sin(np.arange(sample_rate) / 9)).astype("<f4").tobytes()
    form = struct.pack("<IHHIIHH", 16, 3, 1, sample_rate, 4 * sample_rate, 4, 32)
    body = b"WAVEfmt " + form + b"data" + struct.pack("<I", len(sound)) + sound
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


def write_clocked(path, frames, times, audio, rotation=0):
    """An mp4 whose frames are shown at `times` (s), perhaps stored turned."""
    millisecond = Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=30, options={"crf": "15"})
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        video.time_base = millisecond
        video.codec_context.time_base = millisecond
        if rotation:
            video.set_display_rotation(rotation)
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        for image, seconds in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = round(1000 * seconds)
            frame.time_base = millisecond
            container.mux(video.encode(frame))
        frame = av.AudioFrame.from_ndarray(audio[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux([*video.encode(None), *sound.encode(frame), *sound.encode(None)])


# File -> what its reason must match; None where it must go in.
REASONS = {
    "good.mp4": None,
    "cut.mp4": "not a readable video",
    "ends_early.flv": "truncated",
    "promises_more.flv": "of 60.00 s are there",
    "promises_less.flv": None,
    "silent.mp4": "silent",
    "mute.mp4": "no sound",
    "half_the_sound.mp4": "the sound ends after",
    "speech.mp4": "only sound, no video",
    "empty.mp4": "empty, 0 bytes",
    "letter.mp4": "not a readable video",
    "playlist.mp4": "not a",
    "playlist_of_files.mp4": "not a",
    "noise.mp4": "not a readable video",
    "damaged.mp4": "",
    "wall.mp4": "no face found",
    "two.mp4": "more than one face",
    "leaves.mp4": "face lost from frame",
    "profile.mp4": "turned|no face found",
    "variable.mp4": None,
    "portrait.mp4": None,
    "hole.mp4": "no picture from 0.0 to 900.0 s",
    "gone.mp4": "no such file",
}
# The same of clips that are wrong by their row of the manifest.
REASONS_OF_ROWS = {
    "deadly": "killed its process, SIGSEGV",
    "sound_gone": "no_such.wav: no such file",
    "sound_lies": "letter.mp4: not a readable video",
    "sound_22_kHz": None,
    "only_sound": "only sound, no video; crops need the picture",
    "other_size": "bytes, the manifest says 12",
}


@pytest.fixture(scope="module")
def bad_folder(trees, film, tmp_path_factory):
    """A folder with the files of `REASONS`, but gone.mp4."""
    folder = tmp_path_factory.mktemp("bad")
    root, files = trees["ravdess"]
    flv_root, flv_files = trees["crema-d"]
    write_damaged_copies(folder, root / files[0], flv_root / flv_files[0])
    write_odd_sounds(folder, film)
    write_no_videos(folder)
    write_odd_pictures(folder, film)
    write_odd_clocks(folder, film)
    return folder


def write_damaged_copies(folder, mp4, flv):
    whole = mp4.read_bytes()
    half = len(whole) // 2
    (folder / "good.mp4").write_bytes(whole)
    (folder / "cut.mp4").write_bytes(whole[:half])
    damaged = bytearray(whole)
    quarter = len(whole) // 4
    damaged[quarter : quarter + 800] = np.random.default_rng(3).bytes(800)
    (folder / "damaged.mp4").write_bytes(damaged)

    flv_bytes = flv.read_bytes()
    (folder / "ends_early.flv").write_bytes(flv_bytes[: len(flv_bytes) // 2])
    write_flv_with_duration(flv, folder / "promises_more.flv", 60.0)
    write_flv_with_duration(flv, folder / "promises_less.flv", 0.1)


def write_odd_sounds(folder, film):
    write_clip(folder / "silent.mp4", film.frames, 0 * film.audio)
    write_clip(folder / "mute.mp4", film.frames, None)
    first_quarter = film.audio.copy()
    first_quarter[-(-len(film.audio) // 4) :] = 0
    write_clip(folder / "half_the_sound.mp4", film.frames, first_quarter)
    write_float_wav(folder / "speech.mp4")


def write_no_videos(folder):
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "letter.mp4").write_text("Dear reader,\nthis is not a video.\n" * 50)
    (folder / "playlist.mp4").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://192.0.2.1/a.ts\n#EXT-X-ENDLIST\n"
    )
    (folder / "playlist_of_files.mp4").write_text(f"ffconcat version 1.0\nfile {folder}/good.mp4\n")
    (folder / "noise.mp4").write_bytes(np.random.default_rng(2).bytes(50_000))


def write_odd_pictures(folder, film):
    frames = film.frames
    write_clip(folder / "wall.mp4", np.full_like(frames[:20], 90), film.audio[: 20 * FRAME])
    mirrored = frames[:, :, ::-1]
    write_clip(folder / "two.mp4", np.concatenate([frames, mirrored], axis=2), film.audio)
    write_clip(folder / "leaves.mp4", leaving_frames(frames), film.audio)
    turned, audio = turned_performance(yaw=1.5)
    write_clip(folder / "profile.mp4", turned, audio)


def leaving_frames(frames):
    """Eight frames as they are, then the face leaves on the right and stays away."""
    leaving = list(frames[:8])
    for number in range(8, len(frames)):
        step = min(number - 7, 8)
        wall = np.full((128, 16 * step, 3), 90, np.uint8)
        leaving.append(np.concatenate([wall, frames[step]], axis=1)[:, :128])
    return leaving


def write_odd_clocks(folder, film):
    frames = film.frames
    steps = np.random.default_rng(4).choice([0.02, 0.04, 0.06], len(frames))
    times = np.cumsum(steps)
    write_clocked(folder / "variable.mp4", frames, times - times[0], film.audio)
    stored = np.rot90(frames, 1, (1, 2))
    regular = np.arange(len(frames)) / 25
    write_clocked(folder / "portrait.mp4", stored, regular, film.audio, rotation=-90)
    write_clocked(folder / "hole.mp4", frames[:4], [0, 0.04, 900, 900.04], film.audio)


@pytest.fixture(scope="module")
def batch(bad_folder, tmp_path_factory):
    """All bad files in one batch with two workers, one of which is killed by a clip.

    Returns the manifest, what `ingest` returned, and the store's folder.
    """
    out = tmp_path_factory.mktemp("batch") / "store"
    write_coloured_clip(bad_folder / "deadly.mp4", MAGENTA)
    rows = [manifest_row(bad_folder, file) for file in ("deadly.mp4", *REASONS)]
    rows += [
        manifest_row(bad_folder, "good.mp4", "no_such.wav", name="sound_gone"),
        manifest_row(bad_folder, "good.mp4", "letter.mp4", name="sound_lies"),
        manifest_row(bad_folder, "good.mp4", "speech.mp4", name="sound_22_kHz"),
        manifest_row(bad_folder, "", "speech.mp4", name="only_sound"),
        manifest_row(bad_folder, "good.mp4", name="other_size", bytes=12),
    ]
    clips = manifest_of(rows)
    config = IngestConfig(detector="troublesome:crash_or_hang", limit_seconds=300)
    result = ingest(clips, bad_folder, out, config, progress=False)
    return clips, result, out


def test_every_bad_file_gets_one_line_and_stops_nothing(bad_folder, batch):
    clips, result, _ = batch
    reasons = dict(result.rejected)
    expected = {Path(file).stem: pattern for file, pattern in REASONS.items()} | REASONS_OF_ROWS
    for name, pattern in expected.items():
        if pattern is None:
            assert name not in reasons, (name, reasons[name])
        elif pattern:
            assert re.search(pattern, reasons[name]), (name, reasons[name])
    for name, reason in reasons.items():
        assert "\n" not in reason, name
        assert "could not be used" not in reason, (name, reason)
        statement = reason.split(";")[0]
        assert str(bad_folder) not in statement, "the report names files relative to the root"
    assert result.clips + len(reasons) == len(clips) == len(expected)


def test_odd_clocks_and_turned_pictures_become_the_same_crops(batch, film):
    _, _, out = batch
    store = Store(out)
    number_of = {row["name"]: number for number, row in store.clips.iterrows()}
    good = store.face[store.frames(number_of["good"])].astype(int)
    portrait = store.face[store.frames(number_of["portrait"])].astype(int)
    assert good.shape == portrait.shape
    assert np.abs(good - portrait).mean() < 4
    variable = store.clips.iloc[number_of["variable"]]
    assert variable["num_frames"] == pytest.approx(len(film.frames), rel=0.2)
    assert len(store.sound(number_of["variable"])) == variable["num_frames"] * FRAME
    resampled = store.sound(number_of["sound_22_kHz"])  # 22.05 kHz float32: 390 Hz stays 390 Hz
    spectrum = np.abs(np.fft.rfft(resampled[:SECOND], SECOND))
    assert spectrum.argmax() == pytest.approx(22_050 / 9 / 2 / np.pi, abs=2)


def test_the_report_shows_each_left_out_clip_with_its_reason_and_counts(batch):
    clips, result, out = batch
    page = (out / "report.html").read_text()
    table = pd.read_csv(out / "rejected.csv", dtype=str)
    assert dict(zip(table["name"], table["reason"], strict=True)) == dict(result.rejected)
    assert set(table.columns) == {*COLUMNS, "kind", "reason"}
    assert f"{result.clips} of {len(clips)} clips accepted" in page
    assert "A clip is accepted when one face" in page
    plain_page = page.replace("&#x27;", "'")
    for kind, number in table["kind"].value_counts().items():
        assert f"<td>{kind}</td><td>{number}</td>" in plain_page
    row = re.search(r"<tr><td>([^\n]*?)</td><td>wall.mp4</td><td>no face found", page)
    first_cell = row.group(1).rpartition("<tr><td>")[2]
    assert first_cell.startswith('<img alt="" src="data:image/jpeg;base64,/9j/')
    assert "http" not in page.replace("http-equiv", "")
    assert 'src="data:' in page


def test_reasons_that_differ_in_their_numbers_are_of_one_kind():
    reason = "face lost from frame 3 to 20; it must"
    assert reason_kind(reason) == reason_kind("face lost from frame 9 to 95; it must")


def test_unreadable_permissions_are_one_clip_s_reason(trees, tmp_path, monkeypatch):
    root, clips = clips_of(trees, "ravdess")
    job = Job("a", root, clips["path"][0], "", 0, "", tmp_path / "piece", IN_PROCESS)

    def refuse_file(*_, **__):
        raise av.error.PermissionError(13, "Permission denied")

    monkeypatch.setattr("av.open", refuse_file)
    reason = make_piece(job)["reason"]
    assert reason.startswith("not a readable video (Permission denied); convert it")

    def refuse_folder(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse_folder)
    assert make_piece(job)["reason"] == "not readable (Permission denied)"


def test_what_nobody_foresaw_is_one_clip_s_reason(trees, tmp_path, monkeypatch):
    root, clips = clips_of(trees, "ravdess")
    monkeypatch.setattr("cdrl.corpora.ingest_worker.align", lambda *_: 1 / 0)
    pattern = "none of 4 clips could be used .4 could not be used.*ZeroDivisionError: division by"
    with pytest.raises(InputError, match=pattern):
        ingest(clips, root, tmp_path / "store", IN_PROCESS, progress=False)


def test_a_sum_that_is_not_the_manifest_s_leaves_the_clip_out(trees, tmp_path):
    root, clips = clips_of(trees, "crema-d")
    right, _ = clips["path"]
    sums = [hashlib.sha256((root / right).read_bytes()).hexdigest(), "0" * 64]
    summed = clips.assign(sha256=sums)
    result = ingest(summed, root, tmp_path / "store", IN_PROCESS, progress=False)
    ((name, reason),) = result.rejected
    assert name == clips["name"][1]
    assert "sum" in reason and "manifest" in reason
    assert result.clips == 1


def test_a_path_that_leaves_the_root_is_refused_before_anything_is_read(trees, tmp_path):
    root, clips = clips_of(trees, "crema-d")
    outside = tmp_path / "secret.flv"
    outside.write_bytes((root / clips["path"][0]).read_bytes())
    for path in (str(outside), os.path.relpath(outside, root)):
        leaving = clips.assign(path=[path, clips["path"][1]])
        with pytest.raises(InputError, match="row 0, column path"):
            ingest(leaving, root, tmp_path / "store", IN_PROCESS, progress=False)
    assert not (tmp_path / "store").exists()


def test_silence_can_be_allowed(bad_folder, tmp_path):
    clips = manifest(bad_folder, ["mute.mp4", "silent.mp4"])
    config = replace(IN_PROCESS, require_sound=False)
    result = ingest(clips, bad_folder, tmp_path / "store", config, progress=False)
    assert result.clips == 2
    store = Store(tmp_path / "store")
    assert len(store.sound(0)) == 0
    assert len(store.sound(1)) > 0


def test_a_full_disk_stops_the_batch_and_is_no_clip_s_fault(trees, tmp_path):
    root, clips = clips_of(trees, "ravdess")
    out = tmp_path / "store"
    pattern = "store.pieces: cannot be written .File too large.; free some space"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # what a full disk or a quota does
    try:
        with pytest.raises(InputError, match=pattern):
            ingest(clips, root, out, IN_PROCESS, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "store.pieces").glob("*.json"))
    assert ingest(clips, root, out, IN_PROCESS, progress=False).clips == 4


# --- workers, kills, resumption ------------------------------------------------------------------


def test_a_clip_that_takes_too_long_is_left_out_and_tried_again_only_with_more_time(tmp_path):
    write_coloured_clip(tmp_path / "endless.mp4", CYAN)
    clips = manifest(tmp_path, ["endless.mp4"])
    config = IngestConfig(workers=1, detector="troublesome:crash_or_hang", limit_seconds=1.0)
    pattern = r"none of 1 clips .* endless: took longer than \d s and was stopped; raise the time"
    for limit, least_seconds in ((1.0, 1.0), (1.0, 0.0), (2.0, 2.0)):
        limited = replace(config, limit_seconds=limit)
        start = time.monotonic()
        with pytest.raises(InputError, match=pattern):
            ingest(clips, tmp_path, tmp_path / "store", limited, progress=False)
        assert time.monotonic() - start > least_seconds
    (reason_file,) = (tmp_path / "store.pieces").glob("*.json")
    assert json.loads(reason_file.read_text())["limit"] == 2.0


INGEST_SCRIPT = """
import sys
from pathlib import Path

import pandas

from cdrl.core.settings import IngestConfig
from cdrl.corpora.ingest import ingest

if __name__ == "__main__":
    clips = pandas.read_parquet(sys.argv[1])
    ingest(clips, Path(sys.argv[2]), Path(sys.argv[3]), IngestConfig(workers=1))
"""


def test_killed_in_the_middle_it_goes_on_and_ends_with_the_same_bytes(trees, tmp_path):
    root, clips = clips_of(trees, "ravdess")
    clips = pd.concat([clips, manifest(root, ["gone.mp4"])], ignore_index=True)
    clips.to_parquet(tmp_path / "clips.parquet")
    script = tmp_path / "script.py"
    script.write_text(INGEST_SCRIPT)
    out = tmp_path / "killed"
    pieces = tmp_path / "killed.pieces"
    num_pieces = kill_after_two_pieces(
        [str(script), str(tmp_path / "clips.parquet"), str(root), str(out)], pieces
    )
    assert num_pieces >= 2
    assert not out.exists()

    (pieces / "half.123.partial").mkdir()  # what a kill may leave
    result = ingest(clips, root, out, IN_PROCESS, progress=False)
    assert 0 < result.read_frames < result.frames
    whole = ingest(clips, root, tmp_path / "whole", IN_PROCESS, progress=False)
    assert whole.read_frames == whole.frames == result.frames
    assert_same_bytes(out, tmp_path / "whole")
    assert not pieces.exists()


def kill_after_two_pieces(arguments, pieces):
    """Run Python, kill it when two pieces are there; returns how many there are then."""
    environment = os.environ | {"PYTHONPATH": str(repository_root())}
    process = subprocess.Popen(
        [sys.executable, *arguments], env=environment, stderr=subprocess.DEVNULL
    )
    while len(list(pieces.glob("*/store.json"))) < 2:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    num_pieces = len(list(pieces.glob("*/store.json")))
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == [], "workers end with their parent"
    return num_pieces


SHARDS_SCRIPT = """
import sys
from pathlib import Path

import pandas

from cdrl.core.settings import IngestConfig
from cdrl.corpora import store_writer
from cdrl.corpora.ingest import ingest

store_writer.SHARD_BYTES = 1
add = store_writer.StoreWriter.add


def add_or_wait(writer, *arguments):
    if len(writer.rows) == 3:
        sys.stdin.read()  # until the test kills it
    add(writer, *arguments)


store_writer.StoreWriter.add = add_or_wait

if __name__ == "__main__":
    clips = pandas.read_parquet(sys.argv[1])
    ingest(clips, Path(sys.argv[2]), Path(sys.argv[3]), IngestConfig(workers=0))
"""


@pytest.fixture
def half_joined(trees, tmp_path):
    """(root, manifest, out): killed while the fourth clip was joined, a clip to a shard."""
    root, clips = clips_of(trees, "ravdess")
    clips = pd.concat([manifest(root, ["gone.mp4"]), clips], ignore_index=True)
    clips.to_parquet(tmp_path / "clips.parquet")
    (tmp_path / "script.py").write_text(SHARDS_SCRIPT)
    out = tmp_path / "killed"
    arguments = [tmp_path / "script.py", tmp_path / "clips.parquet", root, out]
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(repository_root())},
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    while not (tmp_path / "killed.partial" / "shard.001.json").exists():
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    time.sleep(0.2)  # it removes the pieces and waits
    process.kill()
    process.wait()
    process.stdin.close()
    return root, clips, out


def test_killed_while_joining_it_goes_on_behind_its_last_shard(half_joined, tmp_path, monkeypatch):
    root, clips, out = half_joined
    num_accepted = len(clips) - 1
    pieces = out.with_name("killed.pieces")
    assert not out.exists()
    assert len(list(pieces.glob("*/store.json"))) == num_accepted - 2
    first_shard = out.with_name("killed.partial") / "face.000.npy"
    written = first_shard.stat().st_mtime_ns

    monkeypatch.setattr(store_writer, "SHARD_BYTES", 1)
    result = ingest(clips, root, out, IN_PROCESS, progress=False)
    assert result.read_frames == 0
    assert (out / "face.000.npy").stat().st_mtime_ns == written
    assert not pieces.exists()
    assert not out.with_name("killed.partial").exists()
    whole = ingest(clips, root, tmp_path / "whole", IN_PROCESS, progress=False)
    assert whole.read_frames == result.frames
    assert_same_bytes(out, tmp_path / "whole")

    store = Store(out)
    assert store.num_shards == num_accepted
    monkeypatch.undo()
    ingest(clips, root, tmp_path / "one_file", IN_PROCESS, progress=False)
    other = Store(tmp_path / "one_file")
    assert other.num_shards == 0
    pd.testing.assert_frame_equal(store.clips, other.clips)
    assert np.array_equal(store.face[:], other.face)
    assert np.array_equal(store.transforms[:], other.transforms)
    assert np.array_equal(store.audio[:], other.audio)
    for name in ("report.html", "rejected.csv"):
        assert (out / name).read_bytes() == (tmp_path / "one_file" / name).read_bytes()


def test_pieces_that_a_killed_run_could_not_remove_go_first(half_joined, tmp_path, monkeypatch):
    """They were joined, but the kill came before their removal."""
    root, clips, out = half_joined
    pieces = out.with_name("killed.pieces")
    whole = tmp_path / "whole.pieces"
    monkeypatch.setattr(store_writer, "SHARD_BYTES", 1)
    ingest(clips, root, tmp_path / "other", IN_PROCESS, progress=False, shared=whole)
    shutil.copytree(whole, pieces, dirs_exist_ok=True)
    num_pieces = []
    add = store_writer.StoreWriter.add

    def watched_add(writer, *arguments):
        num_pieces.append(len(list(pieces.glob("*/store.json"))))
        add(writer, *arguments)

    monkeypatch.setattr(store_writer.StoreWriter, "add", watched_add)
    ingest(clips, root, out, IN_PROCESS, progress=False)
    assert num_pieces[0] == len(clips) - 1 - 2
    assert_same_bytes(out, tmp_path / "other")


def test_a_half_joined_store_takes_no_other_manifest(half_joined):
    root, clips, out = half_joined
    partial = out.with_name("killed.partial")
    before = change_times(partial)
    for other, settings in ((clips[:3], IN_PROCESS), (clips, replace(IN_PROCESS, crop_size=64))):
        with pytest.raises(InputError) as refused:
            ingest(other, root, out, settings, progress=False)
        assert str(partial) in str(refused.value)
        assert "2 clips of an unfinished store" in str(refused.value)
        assert "\n" not in str(refused.value)
    assert change_times(partial) == before


def test_a_damaged_shard_of_a_half_joined_store_is_named(half_joined):
    root, clips, out = half_joined
    file = out.with_name("killed.partial") / "audio.001.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"audio\.001\.npy .* bytes, .* to begin anew"):
        ingest(clips, root, out, IN_PROCESS, progress=False)
    assert file.exists()


def test_the_disk_never_holds_much_more_than_the_store(trees, tmp_path, monkeypatch):
    root, clips = clips_of(trees, "ravdess")
    monkeypatch.setattr(store_writer, "SHARD_BYTES", 1)
    sizes = []
    add = store_writer.StoreWriter.add

    def watched_add(writer, *arguments):
        add(writer, *arguments)
        if writer.path.parent == tmp_path:  # the store, not a piece
            sizes.append(folder_gb(tmp_path))

    monkeypatch.setattr(store_writer.StoreWriter, "add", watched_add)
    ingest(clips, root, tmp_path / "store", IN_PROCESS, progress=False)
    store = Store(tmp_path / "store")
    clip_gb = store.clips["num_frames"].max() * (96 * 96 * 3 + 24 + 1280) / 1e9
    assert len(sizes) == len(clips) > 3
    # Two clips more at most: the one that was added, and the one before it, in pieces still.
    assert max(sizes) < folder_gb(tmp_path / "store") + 2.1 * clip_gb


def test_pieces_that_stores_share_stay(trees, tmp_path, monkeypatch):
    root, clips = clips_of(trees, "ravdess")
    monkeypatch.setattr(store_writer, "SHARD_BYTES", 1)
    ingest(clips, root, tmp_path / "a", IN_PROCESS, progress=False, shared=tmp_path / "pieces")
    assert len(list((tmp_path / "pieces").glob("*/store.json"))) == len(clips)
    shared = tmp_path / "pieces"
    result = ingest(clips, root, tmp_path / "b", IN_PROCESS, progress=False, shared=shared)
    assert result.read_frames == 0
    assert_same_bytes(tmp_path / "a", tmp_path / "b")


def test_a_finished_store_is_read_and_never_overwritten(trees, tmp_path):
    root, clips = clips_of(trees, "crema-d")
    out = tmp_path / "store"
    ingest(clips, root, out, IN_PROCESS, progress=False)
    before = change_times(out)
    assert ingest(clips, root, out, IngestConfig(workers=2), progress=False).read_frames == 0
    pattern = (
        "holds a finished store, made with frame_rate=25.0, crop_size=96; choose another --out"
    )
    other_settings = replace(IN_PROCESS, frame_rate=30.0, crop_size=64)
    with pytest.raises(InputError, match=pattern):
        ingest(clips, root, out, other_settings, progress=False)
    with pytest.raises(InputError, match="holds a finished store, made of another manifest"):
        ingest(clips[:1], root, out, IN_PROCESS, progress=False)
    assert change_times(out) == before


def test_memory_is_bounded_however_long_a_clip_is(film, tmp_path):
    large = film.frames.repeat(4, axis=1).repeat(4, axis=2)[:25]
    tone = 0.1 * np.sin(np.arange(400 * FRAME) / 9).astype(np.float32)
    write_clip(tmp_path / "short.mp4", large[:8], tone[: 8 * FRAME])
    there_and_back = [*range(25), *range(23, 0, -1)]
    long_frames = (large[there_and_back[k % 48]] for k in range(400))
    write_clip(tmp_path / "long.mp4", long_frames, tone)

    config = IngestConfig(held_mb=20, limit_seconds=500, stride=8)
    job = Job("long", tmp_path, "long.mp4", "", 0, "", tmp_path / "piece", config)
    ((_, (num_frames, growth)),) = run_each(peak_growth, [job], 1, 500)
    assert num_frames == 400
    all_frames_mb = 400 * large[0].nbytes >> 20
    assert growth < 80, f"{growth:.0f} MB; all its frames are {all_frames_mb} MB"


# --- detectors and boxes -------------------------------------------------------------------------


def test_boxes_found_before_choose_the_person(bad_folder, film, tmp_path):
    clips = manifest(bad_folder, ["two.mp4"])
    width = film.frames.shape[2]
    numbers = np.arange(0, len(film.frames), 5)
    left, top, right, bottom = find_face(0, film.frames[0], True).boxes[0]
    left_boxes = np.tile([left, top, right, bottom], (len(numbers), 1))
    # The right half of the picture is the left one mirrored.
    right_boxes = np.tile([2 * width - right, top, 2 * width - left, bottom], (len(numbers), 1))

    (tmp_path / "left").mkdir()
    table = np.column_stack([numbers, left_boxes])
    pd.DataFrame(table, columns=BOX_COLUMNS).to_csv(tmp_path / "left" / "two.csv", index=False)
    (tmp_path / "right").mkdir()
    np.savez(tmp_path / "right" / "two.npz", frame=numbers, boxes=right_boxes)

    stores = []
    for side in ("left", "right"):
        config = replace(IN_PROCESS, boxes=str(tmp_path / side))
        out = tmp_path / f"{side}_store"
        assert ingest(clips, bad_folder, out, config, progress=False).clips == 1
        stores.append(Store(out))
    left_store, right_store = stores
    left_position = np.median(left_store.transforms[:, 0, 2])
    right_position = np.median(right_store.transforms[:, 0, 2])
    assert left_position < right_position - width / 2
    crops = left_store.face.astype(int)
    mirrored = right_store.face[:, :, ::-1].astype(int)
    assert np.abs(crops - mirrored).mean() < 8
    assert np.abs(crops - mirrored[::-1]).mean() > 0


def test_boxes_that_are_missing_far_or_unreadable_are_a_reason(bad_folder, tmp_path):
    clips = manifest(bad_folder, ["good.mp4"])
    config = replace(IN_PROCESS, boxes=str(tmp_path))

    def reason():
        with pytest.raises(InputError) as caught:
            ingest(clips, bad_folder, tmp_path / "store", config, progress=False)
        return str(caught.value)

    missing = reason()
    assert "good: no boxes: neither good.csv nor good.npz is in the folder of boxes" in missing
    (tmp_path / "good.csv").write_text("frame,x,y\n0,1,2\n")
    unreadable = reason()
    assert "boxes good.csv: not readable" in unreadable
    assert "columns frame, left, top, right, bottom" in unreadable
    (tmp_path / "good.csv").write_text("frame,left,top,right,bottom\n900,1,2,30,40\n")
    assert "no face found" in reason()
    (tmp_path / "empty.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="boxes empty.npz: not readable"):
        read_boxes(tmp_path / "empty.npz")


MISSING_DETECTORS = {
    "mediapipe": "detector mediapipe: no version that holds .* "
    "pip install .mediapipe<=0.10.21., or --detector embedded",
    "facenet-pytorch": "detector facenet-pytorch: not installed; "
    "pip install --no-deps facenet-pytorch",
    "no_such_module:find": "detector no_such_module:find: cannot be imported",
}


@pytest.mark.parametrize("name", list(MISSING_DETECTORS))
def test_a_detector_that_is_not_there_is_refused_before_anything_is_read(
    trees, tmp_path, monkeypatch, name
):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    monkeypatch.setitem(sys.modules, "mediapipe.python.solutions.face_detection", None)
    monkeypatch.setitem(sys.modules, "facenet_pytorch", None)
    load_detector.cache_clear()
    root, clips = clips_of(trees, "crema-d")
    config = replace(IN_PROCESS, detector=name)
    with pytest.raises(InputError, match=MISSING_DETECTORS[name]):
        ingest(clips, root, tmp_path / "store", config, progress=False)
    assert not list(tmp_path.iterdir())


def test_an_unknown_detector_is_refused():
    accepted = "accepted are embedded, mediapipe, facenet-pytorch, or module:function"
    with pytest.raises(InputError, match=f"unknown detector 'haar': {accepted}"):
        load_detector("haar")


# --- manifests and the command -------------------------------------------------------------------


def test_a_manifest_that_is_none_is_refused(trees, tmp_path):
    root, clips = clips_of(trees, "crema-d")
    without_columns = clips.drop(columns=["take", "path"])
    same_names = clips.assign(name="a")
    cases = [
        (without_columns, "manifest: no column take, path; a table with the columns name, corpus"),
        (clips[:0], "manifest: no clip in it"),
        (same_names, "manifest: the name 'a' stands for several clips"),
    ]
    for wrong, pattern in cases:
        with pytest.raises(InputError, match=pattern):
            ingest(wrong, root, tmp_path / "store", IN_PROCESS, progress=False)


@pytest.fixture
def ingest_words(trees, tmp_path):
    """The words of `cdrl data ingest` with a saved manifest."""
    root, clips = clips_of(trees, "crema-d")
    clips.to_parquet(tmp_path / "clips.parquet")
    manifest_words = ["--manifest", str(tmp_path / "clips.parquet")]
    return ["data", "ingest", str(root), *manifest_words, "--out", str(tmp_path / "store")]


def test_the_command_says_its_cost_first_and_writes_a_store(ingest_words, tmp_path, capsys):
    assert main([*ingest_words, "--workers", "0", "--fps", "30", "--crop-size", "64"]) == 0
    lines = capsys.readouterr().out.splitlines()
    cost = r"about \d+ frames, [\d.]+ minutes on 1 idle cores, .*Ctrl-C is safe"
    assert re.match(f"2 clips into .*store: {cost}", lines[0])
    assert lines[-1].startswith("2 clips in, 0 left out: reasons in")
    assert Store(tmp_path / "store").face.shape[1] == 64


def test_the_command_refuses_bad_values_in_one_line(ingest_words, tmp_path, capsys):
    letter = tmp_path / "letter.parquet"
    letter.write_text("no table")
    assert main([*ingest_words, "--manifest", str(letter)]) == 2
    assert "letter.parquet: no manifest that can be read" in capsys.readouterr().err
    assert main([*ingest_words, "--fps", "0"]) == 2
    assert "argument --fps: 0: a number above 0 is needed" in capsys.readouterr().err


def test_the_command_takes_a_folder_by_its_names(trees, tmp_path, capsys):
    root, _ = trees["crema-d"]
    out = tmp_path / "named"
    assert main(["data", "ingest", str(root), "--out", str(out), "--workers", "0"]) == 0
    assert set(Store(out).clips["corpus"]) == {"crema-d"}
    assert "2 clips in, 0 left out" in capsys.readouterr().out
    assert main(["data", "ingest", str(root / "none"), "--out", str(tmp_path / "b")]) == 2
    assert "none: not a folder; give the one that holds the corpus" in capsys.readouterr().err


STUDIO_WORDS = ["--layout", "crema-d", "--people", "1", "--sentences", "1", "--size", "32"]


def test_the_studio_s_tree_is_written_by_a_command_and_resumes(tmp_path, capsys):
    words = ["data", "studio", *STUDIO_WORDS, "--out", str(tmp_path)]
    assert main(words) == 0
    assert len(list(tmp_path.glob("1001_DFA_*.flv"))) == 6
    assert "6 files in" in capsys.readouterr().out

    times = change_times(tmp_path)
    lost = min(times)
    (tmp_path / lost).unlink()
    del times[lost]
    assert main(words) == 0
    new_times = change_times(tmp_path)
    assert len(new_times) == 6
    for name, changed_ns in times.items():
        assert new_times[name] == changed_ns
    assert read_audio(tmp_path / min(times), 0, 1).any()


def test_a_layout_that_is_not_there_is_refused(tmp_path, capsys):
    words = ["data", "studio", *STUDIO_WORDS, "--out", str(tmp_path)]
    assert main([*words, "--layout", "vox"]) == 2
    accepted = "unknown layout 'vox': accepted are mead, ravdess, crema-d"
    assert accepted in capsys.readouterr().err
    assert main([*words, "--people", "9"]) == 2
    message = capsys.readouterr().err
    assert "layout crema-d: 9 people and 1 sentences asked for" in message
    assert "it has 1 to 4 people and 1 to 12 sentences" in message
    with pytest.raises(InputError, match="crema-d: no surprised; accepted are angry, disgusted"):
        write_layout("crema-d", tmp_path, emotions=("surprised",))


# --- files of somebody else --------------------------------------------------------------------


@pytest.mark.parametrize("out", ["", ".."])
def test_a_store_is_never_put_where_the_corpus_lies(trees, tmp_path, out):
    root, clips = clips_of(trees, "ravdess")
    files = sorted(root.rglob("*"))
    with pytest.raises(InputError) as refused:
        ingest(clips, root, root / out, IN_PROCESS, progress=False)
    assert str(root) in str(refused.value)
    assert "--out" in str(refused.value)
    assert sorted(root.rglob("*")) == files


@pytest.mark.parametrize("name", ["store", "store.pieces", "store.partial"])
def test_files_of_somebody_else_are_neither_removed_nor_mixed_with_ours(trees, tmp_path, name):
    root, clips = clips_of(trees, "ravdess")
    folder = tmp_path / name
    folder.mkdir()
    (folder / "diary.txt").write_text("mine")
    with pytest.raises(InputError) as refused:
        ingest(clips, root, tmp_path / "store", IN_PROCESS, progress=False)
    assert str(folder) in str(refused.value)
    assert (folder / "diary.txt").read_text() == "mine"


def test_a_second_ingest_into_one_store_is_refused_by_name(trees, tmp_path):
    root, clips = clips_of(trees, "ravdess")
    pieces = keep_work_folder(tmp_path / "store.pieces")
    with exclusive(pieces), pytest.raises(InputError) as refused:
        ingest(clips, root, tmp_path / "store", IN_PROCESS, progress=False)
    assert str(pieces) in str(refused.value)
    assert "another process" in str(refused.value)


@pytest.mark.parametrize("name", ["face", "transforms", "audio"])
def test_arrays_of_another_length_than_the_clips_are_damage(trees, tmp_path, name):
    root, clips = clips_of(trees, "crema-d")
    ingest(clips, root, tmp_path / "store", IN_PROCESS, progress=False)
    file = tmp_path / "store" / f"{name}.npy"
    np.save(file, np.load(file)[:-1])
    with pytest.raises(InputError) as refused:
        Store(tmp_path / "store")
    assert str(file) in str(refused.value)
    assert "remove" in str(refused.value)


@pytest.mark.parametrize("name", ["store.json", "clips.parquet", "face.npy", "audio.npy"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\x93NUMPY\x01\x00"])
def test_a_damaged_file_of_a_store_is_named_in_one_line(trees, tmp_path, name, content):
    root, clips = clips_of(trees, "crema-d")
    ingest(clips[:1], root, tmp_path / "store", IN_PROCESS, progress=False)
    (tmp_path / "store" / name).write_bytes(content)
    with pytest.raises(InputError) as refused:
        Store(tmp_path / "store")
    assert str(tmp_path / "store") in str(refused.value)
    assert "\n" not in str(refused.value)
