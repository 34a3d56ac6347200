"""Real clips into a crop store: whole trees, damaged files, kills, resumption, and the report of what was left out."""

import json
import os
import re
import resource
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
from cdrl.core.pools import run_each
from cdrl.core.settings import IngestConfig
from cdrl.corpora import samples
from cdrl.corpora.ingest import Job, expected_cost, ingest, make_piece, summary
from cdrl.corpora.manifest import COLUMNS
from cdrl.corpora.rejects import reason_kind
from cdrl.corpora.scan import scan
from cdrl.corpora.store import Store
from cdrl.media.detectors import BOX_COLUMNS, load_detector, read_boxes
from cdrl.media.faces import Alignment, align, find_face, paste
from cdrl.media.video import read_audio, read_video, write_video
from cdrl.studio import corpus
from cdrl.studio.acting import act
from cdrl.studio.layouts import write_layout

HERE = IngestConfig(workers=0)


# --- what the tests are made of ---------------------------------------------------------------------------------------


def manifest(root, files, **columns):
    """A manifest by hand: files are names below root, or (name, sound file)."""
    rows = []
    for file in files:
        path, sound = file if isinstance(file, tuple) else (file, "")
        there = (root / path).is_file()
        rows.append(
            {
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
                "bytes": (root / path).stat().st_size if there else 0,
                "sha256": "",
            }
            | columns
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def same_bytes(one, other):
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    return [
        name for name in names if (one / name).read_bytes() != (other / name).read_bytes()
    ] == []


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Layout -> (root, files) of a few studio clips."""
    found = {}
    for layout, people in (("mead", 1), ("ravdess", 2), ("crema-d", 1)):
        root = tmp_path_factory.mktemp(layout)
        paths = write_layout(layout, root, people, 1, 128, ("angry", "happy"), progress=False)
        found[layout] = root, [path.relative_to(root).as_posix() for path in paths]
    return found


def clips_of(trees, layout):
    root, files = trees[layout]
    videos = [file for file in files if file.endswith((".mp4", ".flv"))]
    sounds = [
        re.sub("/video/front/(.*)mp4", r"/audio/\1m4a", file) if layout == "mead" else ""
        for file in videos
    ]
    return root, manifest(root, list(zip(videos, sounds)))


@pytest.fixture(scope="module")
def film(trees):
    """Frames and sound of one studio clip."""
    root, files = trees["ravdess"]
    return read_video(root / files[0])


def make(path, frames, audio, **more):
    write_video(path, frames, 25.0, audio, **more)
    return path.name


def performed(yaw=0.0):
    spec = corpus.smoke_specs()[0]
    performance = act(spec)
    pose = performance.pose.copy()
    pose[:, 0] += yaw
    return corpus.render_performance(spec, replace(performance, pose=pose), 160)[0], performance.audio


# --- whole trees -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout, per_person", [("mead", 4), ("ravdess", 4), ("crema-d", 2)])
def test_a_studio_tree_has_the_names_of_its_corpus_and_goes_in_whole(
    trees, tmp_path, layout, per_person
):
    root, files = trees[layout]
    form = {
        "mead": r"[MW]\d{3}/(video/front|audio)/(angry|happy)/level_[123]/001\.(mp4|m4a)",
        "ravdess": r"Actor_(\d\d)/0[13]-01-0[35]-0[12]-01-01-\1\.(mp4|wav)",
        "crema-d": r"1001_DFA_(ANG|HAP)_(LO|MD|HI)\.flv",
    }[layout]
    assert all(re.fullmatch(form, file) for file in files)
    assert len(files) == per_person * (2 if layout == "ravdess" else 1) and not list(
        root.rglob("*.partial")
    )
    clips = scan(root).clips
    assert set(clips["corpus"]) == {layout} and set(clips["emotion"]) == {"angry", "happy"}
    assert clips["speaker"].nunique() == (2 if layout == "ravdess" else 1) and (
        clips["sound"] != ""
    ).all() == (layout == "mead")
    done = ingest(clips, root, tmp_path / "store", HERE, progress=False)
    store = Store(tmp_path / "store")
    assert (
        done.rejected == ()
        and done.clips == len(clips) == len(store.clips)
        and done.frames == len(store)
    )
    assert list(store.clips["name"]) == list(clips["name"]) and set(store.clips["camera"]) == {
        "front" if layout == "mead" else ""
    }
    for number, row in store.clips.iterrows():
        sound = store.sound(number)
        assert len(sound) == round(row["num_frames"] / 25 * 16_000) and np.abs(sound).max() > 0.05
        assert Path(row["media"]) == root / clips["path"][number]
    assert not (tmp_path / "store.pieces").exists()


def test_sound_of_a_separate_file_is_that_of_the_picture(trees, tmp_path):
    root, clips = clips_of(trees, "mead")
    ingest(clips[:1], root, tmp_path / "store", HERE, progress=False)
    store, spec = Store(tmp_path / "store"), corpus.SPLITS["smoke_train"]
    truth = act(
        corpus.ClipSpec(
            spec.people[0],
            spec.sentences[0],
            "angry",
            corpus.level_of(spec.people[0], spec.sentences[0], "angry"),
        )
    )
    assert len(store) == len(truth.pose)
    assert (
        np.corrcoef(store.sound(0), truth.audio)[0, 1] > 0.98
    )  # AAC; a shift of a frame would give about 0


def test_the_release_s_crop_is_a_setting_that_the_store_keeps_and_that_leads_back_into_the_frame(
    trees, tmp_path, capsys
):
    root, _ = trees["mead"]
    words = [
        "data",
        "ingest",
        str(root),
        "--fps",
        "30",
        "--crop",
        "released",
        "--crop-size",
        "64",
        "--workers",
        "1",
    ]
    assert main([*words, "--out", str(tmp_path / "store")]) == 0
    store = Store(tmp_path / "store")
    assert (
        store.crop == "released"
        and json.loads((tmp_path / "store" / "ingest.json").read_text())["settings"]["crop"]
        == "released"
    )
    assert (
        (store.transforms[:, [0, 1], [1, 0]] == 0).all()
        and store.face.shape[1:] == (64, 64, 3)
        and len(store.clips) == 2
    )
    for clip, row in store.clips.iterrows():
        frames, rows = (
            read_video(row["media"], 30.0, require_audio=False).frames,
            store.frames(clip),
        )
        box = row[["mouth_left", "mouth_top", "mouth_right", "mouth_bottom"]].to_numpy(np.float32)
        kept = Alignment(store.transforms[rows], box)
        again = align(frames, crop="released")
        assert (kept.transforms == again.transforms).all() and (
            kept.mouth_box == again.mouth_box
        ).all()
        assert (paste(frames, store.face[rows], kept) == frames).all()
        edited = paste(frames, 255 - store.face[rows], kept)
        low, high = (
            kept.transforms[:, :, 2],
            kept.transforms[:, :, :2].sum(axis=2) * 96 + kept.transforms[:, :, 2],
        )
        for before, after, corner, other in zip(
            frames, edited, low, high
        ):  # all that changed lies in the frame's own box
            ys, xs = np.nonzero((before != after).any(axis=2))
            assert (
                xs.min() + 1 > corner[0]
                and ys.min() + 1 > corner[1]
                and xs.max() < other[0]
                and ys.max() < other[1]
            )
            assert len(xs) > 0.6 * np.prod(other - corner)
    assert main([*words[:5], *words[7:], "--out", str(tmp_path / "store")]) == 2
    assert "made with crop=released; choose another --out" in capsys.readouterr().err


def test_a_store_of_before_there_was_a_choice_is_read_as_aligned(trees, tmp_path):
    root, clips = clips_of(trees, "crema-d")
    out = tmp_path / "store"
    ingest(clips[:1], root, out, HERE, progress=False)
    for name in ("ingest.json", "store.json"):
        card = json.loads((out / name).read_text())
        card.get("settings", card).pop("crop")
        (out / name).write_text(json.dumps(card))
    assert (
        Store(out).crop == "aligned"
        and ingest(clips[:1], root, out, HERE, progress=False).read_frames == 0
    )
    with pytest.raises(InputError, match="made with crop=aligned"):
        ingest(clips[:1], root, out, replace(HERE, crop="released"), progress=False)


def test_the_samples_give_the_same_bytes_in_one_process_and_in_two_workers(tmp_path):
    root = samples.sample_folder()
    clips = manifest(root, [path.name for path in samples.sample_paths()][:2])
    config = IngestConfig(workers=2, frame_rate=30.0, crop_size=64)
    done = ingest(clips, root, tmp_path / "two", config, progress=False)
    ingest(clips, root, tmp_path / "one", replace(config, workers=0, held_mb=1), progress=False)
    assert same_bytes(tmp_path / "one", tmp_path / "two")
    store = Store(tmp_path / "two")
    assert store.face.shape[1:] == (64, 64, 3) and set(store.clips["frame_rate"]) == {30.0}
    assert store.clips["num_frames"][0] == 67 and done.read_frames == done.frames == len(store)


def test_throughput_is_said_in_frames_a_second_and_of_one_core(trees, tmp_path, capsys):
    root, clips = clips_of(trees, "ravdess")
    done = ingest(clips, root, tmp_path / "store", HERE)
    found = re.search(
        r"4 clips, (\d+) frames; (\d+) of them now, in ([\d.]+) s: ([\d.]+) frames a second, ([\d.]+) a",
        capsys.readouterr().out,
    )
    frames, now, seconds, speed, of_core = (float(number) for number in found.groups())
    assert (
        frames == now == done.frames
        and speed == pytest.approx(frames / done.seconds, abs=0.06)
        and of_core >= 0.9 * speed
    )
    again = ingest(clips, root, tmp_path / "store", HERE, progress=False)
    assert again.read_frames == 0 and again.frames == done.frames
    assert summary(replace(done, read_frames=50, seconds=2.0, core_seconds=4.0), {})[0].endswith(
        "in 2.0 s: 25.0 frames a second, 12.5 a second of one core"
    )


def test_the_cost_is_guessed_from_headers(trees):
    root, clips = clips_of(trees, "ravdess")
    frames, minutes, disk = expected_cost(clips, root, HERE)
    true = sum(len(read_video(root / path).frames) for path in clips["path"])
    assert frames == pytest.approx(true, rel=0.05)
    assert 0 < minutes < 1 and disk == pytest.approx(
        2 * true * (96 * 96 * 3 + 24 + 1280) / 1e9, rel=0.05
    )


# --- bad and odd files -------------------------------------------------------------------------------------------------


def flv_with_duration(source, path, seconds):
    """A copy whose header promises another length."""
    data = bytearray(source.read_bytes())
    place = data.index(b"duration") + 9  # after the name and the type of the value
    data[place : place + 8] = struct.pack(">d", seconds)
    path.write_bytes(data)


def write_float_wav(path, sample_rate=22_050):
    sound = (0.3 * np.sin(np.arange(sample_rate) / 9)).astype("<f4").tobytes()
    head = b"fmt " + struct.pack("<IHHIIHH", 16, 3, 1, sample_rate, 4 * sample_rate, 4, 32)
    body = b"WAVE" + head + b"data" + struct.pack("<I", len(sound)) + sound
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


def write_clocked(path, frames, times, audio, rotation=0):
    """An mp4 whose frames are shown at `times` (s), perhaps stored turned."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=30, options={"crf": "15"})
        video.height, video.width, video.pix_fmt, video.time_base = (
            *frames.shape[1:3],
            "yuv420p",
            Fraction(1, 1000),
        )
        video.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            video.set_display_rotation(rotation)
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        for image, seconds in zip(frames, times):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = round(1000 * seconds), Fraction(1, 1000)
            container.mux(video.encode(frame))
        frame = av.AudioFrame.from_ndarray(audio[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux([*video.encode(None), *sound.encode(frame), *sound.encode(None)])


@pytest.fixture(scope="module")
def bad(trees, film, tmp_path_factory):
    """(folder, {file: words that its reason must have, or None where it must go in})."""
    folder = tmp_path_factory.mktemp("bad")
    root, files = trees["ravdess"]
    flv = trees["crema-d"][0] / trees["crema-d"][1][0]
    frames, audio = film.frames, film.audio
    whole = (root / files[0]).read_bytes()
    (folder / "good.mp4").write_bytes(whole)
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "ends_early.flv").write_bytes(flv.read_bytes()[: flv.stat().st_size // 2])
    flv_with_duration(flv, folder / "promises_more.flv", 60.0)
    flv_with_duration(flv, folder / "promises_less.flv", 0.1)
    make(folder / "silent.mp4", frames, 0 * audio)
    make(folder / "mute.mp4", frames, None)
    make(
        folder / "half_the_sound.mp4",
        frames,
        np.where(np.arange(len(audio)) < len(audio) / 4, audio, 0),
    )
    write_float_wav(folder / "speech.mp4")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "letter.mp4").write_text("Dear reader,\nthis is not a video.\n" * 50)
    (folder / "playlist.mp4").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://192.0.2.1/a.ts\n#EXT-X-ENDLIST\n"
    )
    (folder / "playlist_of_files.mp4").write_text(f"ffconcat version 1.0\nfile {folder}/good.mp4\n")
    (folder / "noise.mp4").write_bytes(np.random.default_rng(2).bytes(50_000))
    damaged = bytearray(whole)
    damaged[len(whole) // 4 : len(whole) // 4 + 800] = np.random.default_rng(3).bytes(800)
    (folder / "damaged.mp4").write_bytes(damaged)
    make(folder / "wall.mp4", np.full_like(frames[:20], 90), audio[: 20 * 640])
    make(folder / "two.mp4", np.concatenate([frames, frames[:, :, ::-1]], axis=2), audio)
    leaving = [
        np.concatenate([np.full((128, 16 * k, 3), 90, np.uint8), frame], axis=1)[:, :128]
        for k, frame in enumerate(frames)
    ]
    make(
        folder / "leaves.mp4",
        [frame if k < 8 else leaving[min(k - 7, 8)] for k, frame in enumerate(frames)],
        audio,
    )
    turned, said = performed(yaw=1.5)
    make(folder / "profile.mp4", turned, said)
    times = np.cumsum(np.random.default_rng(4).choice([0.02, 0.04, 0.06], len(frames)))
    write_clocked(folder / "variable.mp4", frames, times - times[0], audio)
    write_clocked(
        folder / "portrait.mp4",
        np.rot90(frames, 1, (1, 2)),
        np.arange(len(frames)) / 25,
        audio,
        rotation=-90,
    )
    write_clocked(folder / "hole.mp4", frames[:4], [0, 0.04, 900, 900.04], audio)
    return folder, {
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


@pytest.fixture(scope="module")
def batch(bad, tmp_path_factory):
    """All of them in one batch with two workers, one of which is killed by a clip: the store and what ingest returned."""
    folder, expected = bad
    out = tmp_path_factory.mktemp("batch") / "store"
    make(
        folder / "deadly.mp4",
        np.full((6, 64, 64, 3), MAGENTA, np.uint8),
        np.ones(6 * 640, np.float32) * 0.1,
    )
    clips = pd.concat(
        [
            manifest(folder, ["deadly.mp4", *expected]),
            manifest(folder, [("good.mp4", "no_such.wav"), ("good.mp4", "letter.mp4")]).assign(
                name=["sound_gone", "sound_lies"]
            ),
            manifest(folder, [("good.mp4", "speech.mp4")]).assign(name=["sound_22_kHz"]),
            manifest(folder, [("", "speech.mp4")]).assign(name=["only_sound"]),
            manifest(folder, ["good.mp4"]).assign(name=["other_size"], bytes=12),
        ],
        ignore_index=True,
    )
    done = ingest(
        clips,
        folder,
        out,
        IngestConfig(detector="troublesome:touchy", limit_seconds=300),
        progress=False,
    )
    return clips, done, out


def test_every_bad_file_gets_one_line_and_stops_nothing(bad, batch):
    clips, done, _ = batch
    reasons = dict(done.rejected)
    expected = {Path(file).stem: words for file, words in bad[1].items()} | {
        "deadly": "killed the process that read it, SIGSEGV",
        "sound_gone": "no_such.wav: no such file",
        "sound_lies": "letter.mp4: not a readable video",
        "sound_22_kHz": None,
        "only_sound": "only sound, no video; crops need the picture",
        "other_size": "bytes, the manifest says 12",
    }
    for name, words in expected.items():
        if words is None:
            assert name not in reasons, (name, reasons[name])
        elif words:
            assert re.search(words, reasons[name]), (name, reasons[name])
    for name, reason in reasons.items():
        assert "\n" not in reason and "could not be used" not in reason, (name, reason)
        assert str(bad[0]) not in reason.split(";")[0], (
            "the report names files relative to the root"
        )
    assert done.clips + len(reasons) == len(clips) == len(expected)


def test_odd_clocks_and_turned_pictures_become_the_same_crops(batch, film):
    _, _, out = batch
    store = Store(out)
    rows = {row["name"]: number for number, row in store.clips.iterrows()}
    good, portrait = (
        store.face[store.frames(rows[name])].astype(int) for name in ("good", "portrait")
    )
    assert good.shape == portrait.shape and np.abs(good - portrait).mean() < 4
    variable = store.clips.iloc[rows["variable"]]
    assert variable["num_frames"] == pytest.approx(len(film.frames), rel=0.2)
    assert len(store.sound(rows["variable"])) == variable["num_frames"] * 640
    lower = store.sound(rows["sound_22_kHz"])  # 22.05 kHz float32: 390 Hz stays 390 Hz
    spectrum = np.abs(np.fft.rfft(lower[:16_000], 16_000))
    assert spectrum.argmax() == pytest.approx(22_050 / 9 / 2 / np.pi, abs=2)


def test_the_report_shows_each_left_out_clip_with_its_reason_and_counts(batch):
    clips, done, out = batch
    page, table = (out / "report.html").read_text(), pd.read_csv(out / "rejected.csv", dtype=str)
    assert dict(zip(table["name"], table["reason"])) == dict(done.rejected)
    assert set(table.columns) == {*COLUMNS, "kind", "reason"}
    assert (
        f"{done.clips} of {len(clips)} clips accepted" in page
        and "A clip is accepted when one face" in page
    )
    for kind, number in table["kind"].value_counts().items():
        assert f"<td>{kind}</td><td>{number}</td>" in page.replace("&#x27;", "'")
    row = re.search(r"<tr><td>([^\n]*?)</td><td>wall.mp4</td><td>no face found", page)
    assert (
        row.group(1)
        .rpartition("<tr><td>")[2]
        .startswith('<img alt="" src="data:image/jpeg;base64,/9j/')
    )
    assert "http" not in page.replace("http-equiv", "") and 'src="data:' in page
    assert reason_kind("face lost from frame 3 to 20; it must") == reason_kind(
        "face lost from frame 9 to 95; it must"
    )


def test_unreadable_permissions_are_one_clip_s_reason(trees, tmp_path, monkeypatch):
    root, clips = clips_of(trees, "ravdess")
    job = Job("a", root, clips["path"][0], "", 0, tmp_path / "piece", HERE)

    def forbidden(*_, **__):
        raise av.error.PermissionError(13, "Permission denied")

    monkeypatch.setattr("av.open", forbidden)
    assert (
        make_piece(job)["reason"]
        == "not a readable video (Permission denied); convert it, e.g. with ffmpeg, to mp4"
    )

    def folder_forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", folder_forbidden)
    assert make_piece(job)["reason"] == "not readable (Permission denied)"


def test_what_nobody_foresaw_is_one_clip_s_reason(trees, tmp_path, monkeypatch):
    root, clips = clips_of(trees, "ravdess")
    monkeypatch.setattr("cdrl.corpora.ingest.align", lambda *_: 1 / 0)
    with pytest.raises(
        InputError,
        match="none of 4 clips could be used .4 could not be used.*ZeroDivisionError: division by",
    ):
        ingest(clips, root, tmp_path / "store", HERE, progress=False)


def test_silence_can_be_allowed(bad, tmp_path):
    clips = manifest(bad[0], ["mute.mp4", "silent.mp4"])
    done = ingest(
        clips, bad[0], tmp_path / "store", replace(HERE, require_sound=False), progress=False
    )
    assert done.clips == 2 and [len(Store(tmp_path / "store").sound(k)) > 0 for k in (0, 1)] == [
        False,
        True,
    ]


def test_a_full_disk_stops_the_batch_and_is_no_clip_s_fault(trees, tmp_path):
    root, clips = clips_of(trees, "ravdess")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # what a full disk or a quota does
    try:
        with pytest.raises(
            InputError, match="store.pieces: cannot be written .File too large.; free some space"
        ):
            ingest(clips, root, tmp_path / "store", HERE, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "store.pieces").glob("*.json"))
    assert ingest(clips, root, tmp_path / "store", HERE, progress=False).clips == 4


# --- workers, kills, resumption ----------------------------------------------------------------------------------------


def test_a_clip_that_takes_too_long_is_left_out_and_tried_again_only_with_more_time(tmp_path):
    make(
        tmp_path / "endless.mp4",
        np.full((6, 64, 64, 3), CYAN, np.uint8),
        np.ones(6 * 640, np.float32) * 0.1,
    )
    clips = manifest(tmp_path, ["endless.mp4"])
    config = IngestConfig(workers=1, detector="troublesome:touchy", limit_seconds=1.0)
    for limit, least in ((1.0, 1.0), (1.0, 0.0), (2.0, 2.0)):
        start = time.monotonic()
        with pytest.raises(
            InputError,
            match=r"none of 1 clips .* endless: took longer than \d s and was stopped; raise the time",
        ):
            ingest(
                clips,
                tmp_path,
                tmp_path / "store",
                replace(config, limit_seconds=limit),
                progress=False,
            )
        assert time.monotonic() - start > least
    (held,) = (tmp_path / "store.pieces").glob("*.json")
    assert json.loads(held.read_text())["limit"] == 2.0


def test_killed_in_the_middle_it_goes_on_and_ends_with_the_same_bytes(trees, bad, tmp_path):
    root, clips = clips_of(trees, "ravdess")
    clips = pd.concat([clips, manifest(root, ["gone.mp4"])], ignore_index=True)
    clips.to_parquet(tmp_path / "clips.parquet")
    code = (
        "import sys, pandas\nfrom pathlib import Path\nfrom cdrl.core.settings import IngestConfig\n"
        "from cdrl.corpora.ingest import ingest\n"
        "if __name__ == '__main__':\n"
        "    ingest(pandas.read_parquet(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), IngestConfig(workers=1))\n"
    )
    (tmp_path / "script.py").write_text(code)
    out = tmp_path / "killed"
    pieces = out.with_name("killed.pieces")
    words = [sys.executable, tmp_path / "script.py", tmp_path / "clips.parquet", root, out]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen(list(map(str, words)), env=environment, stderr=subprocess.DEVNULL)
    while len(list(pieces.glob("*/store.json"))) < 2:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    held = {
        path: path.stat().st_mtime_ns
        for path in pieces.glob("*/face.npy")
        if path.with_name("store.json").exists()
    }
    assert not out.exists() and psutil.wait_procs(children, timeout=60)[1] == [], (
        "workers end with their parent"
    )
    (pieces / "half.123.partial").mkdir()  # what a kill may leave
    done = ingest(clips, root, out, HERE, progress=False)
    assert 0 < done.read_frames < done.frames and len(held) >= 2
    whole = ingest(clips, root, tmp_path / "whole", HERE, progress=False)
    assert whole.read_frames == whole.frames == done.frames and same_bytes(out, tmp_path / "whole")
    assert not pieces.exists()


def test_a_finished_store_is_read_and_never_overwritten(trees, tmp_path):
    root, clips = clips_of(trees, "crema-d")
    out = tmp_path / "store"
    ingest(clips, root, out, HERE, progress=False)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert ingest(clips, root, out, IngestConfig(workers=2), progress=False).read_frames == 0
    with pytest.raises(
        InputError,
        match=r"holds a finished store, made with frame_rate=25.0, crop_size=96; choose another --out",
    ):
        ingest(clips, root, out, replace(HERE, frame_rate=30.0, crop_size=64), progress=False)
    with pytest.raises(InputError, match="holds a finished store, made of another manifest"):
        ingest(clips[:1], root, out, HERE, progress=False)
    assert before == {path.name: path.stat().st_mtime_ns for path in out.iterdir()}


def test_memory_is_bounded_however_long_a_clip_is(film, tmp_path):
    large = film.frames.repeat(4, axis=1).repeat(4, axis=2)[:25]
    tone = 0.1 * np.sin(np.arange(400 * 640) / 9).astype(np.float32)
    make(tmp_path / "short.mp4", large[:8], tone[: 8 * 640])
    there_and_back = [*range(25), *range(23, 0, -1)]
    make(tmp_path / "long.mp4", (large[there_and_back[k % 48]] for k in range(400)), tone)
    config = IngestConfig(held_mb=20, limit_seconds=500, stride=8)
    job = Job("long", tmp_path, "long.mp4", "", 0, tmp_path / "piece", config)
    ((_, (frames, growth)),) = run_each(peak_growth, [job], 1, 500)
    assert frames == 400 and growth < 80, (
        f"{growth:.0f} MB; all its frames are {400 * large[0].nbytes >> 20} MB"
    )


# --- detectors and boxes -----------------------------------------------------------------------------------------------


def test_boxes_found_before_choose_the_person(bad, film, tmp_path):
    clips = manifest(bad[0], ["two.mp4"])
    boxes, _, _ = find_face(0, film.frames[0], True)
    width, count = film.frames.shape[2], len(film.frames)
    for side, shift in (("left", 0), ("right", width)):
        left, top, right, bottom = boxes[0]
        if side == "right":  # the right half is the left one mirrored
            left, right = width - right, width - left
        table = np.array(
            [[frame, left + shift, top, right + shift, bottom] for frame in range(0, count, 5)]
        )
        (tmp_path / side).mkdir()
        pd.DataFrame(table, columns=BOX_COLUMNS).to_csv(tmp_path / side / "two.csv", index=False)
        if side == "right":
            (tmp_path / side / "two.csv").unlink()
            np.savez(tmp_path / side / "two.npz", frame=table[:, 0], boxes=table[:, 1:])
        done = ingest(
            clips,
            bad[0],
            tmp_path / f"{side}_store",
            replace(HERE, boxes=str(tmp_path / side)),
            progress=False,
        )
        assert done.clips == 1
    one, other = (Store(tmp_path / f"{side}_store") for side in ("left", "right"))
    assert np.median(one.transforms[:, 0, 2]) < np.median(other.transforms[:, 0, 2]) - width / 2
    mirrored = other.face[:, :, ::-1].astype(int)
    assert (
        np.abs(one.face.astype(int) - mirrored).mean()
        < 8
        < np.abs(one.face.astype(int) - mirrored[::-1]).mean() + 8
    )


def test_boxes_that_are_missing_far_or_unreadable_are_a_reason(bad, tmp_path):
    clips = manifest(bad[0], ["good.mp4"])

    def reason():
        with pytest.raises(InputError) as caught:
            ingest(
                clips,
                bad[0],
                tmp_path / "store",
                replace(HERE, boxes=str(tmp_path)),
                progress=False,
            )
        return str(caught.value)

    assert "good: no boxes: neither good.csv nor good.npz is in the folder of boxes" in reason()
    (tmp_path / "good.csv").write_text("frame,x,y\n0,1,2\n")
    assert (
        "boxes good.csv: not readable" in reason()
        and "columns frame, left, top, right, bottom" in reason()
    )
    (tmp_path / "good.csv").write_text("frame,left,top,right,bottom\n900,1,2,30,40\n")
    assert "no face found" in reason()
    (tmp_path / "empty.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="boxes empty.npz: not readable"):
        read_boxes(tmp_path / "empty.npz")


@pytest.mark.parametrize(
    "name, words",
    [
        (
            "mediapipe",
            "detector mediapipe: no version that holds .* pip install .mediapipe<=0.10.21., or --detector embedded",
        ),
        (
            "facenet-pytorch",
            "detector facenet-pytorch: not installed; pip install --no-deps facenet-pytorch",
        ),
        (
            "haar",
            "unknown detector 'haar': accepted are embedded, mediapipe, facenet-pytorch, or module:function",
        ),
        ("no_such_module:find", "detector no_such_module:find: cannot be imported"),
    ],
)
def test_a_detector_that_is_not_there_is_refused_before_anything_is_read(
    trees, tmp_path, monkeypatch, name, words
):
    for module in ("mediapipe", "facenet_pytorch"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "mediapipe.python.solutions.face_detection", None)
    load_detector.cache_clear()
    root, clips = clips_of(trees, "crema-d")
    with pytest.raises(InputError, match=words):
        ingest(clips, root, tmp_path / "store", replace(HERE, detector=name), progress=False)
    assert not list(tmp_path.iterdir())


# --- manifests and the command -----------------------------------------------------------------------------------------


def test_a_manifest_that_is_none_is_refused(trees, tmp_path):
    root, clips = clips_of(trees, "crema-d")
    for wrong, words in (
        (
            clips.drop(columns=["take", "path"]),
            "manifest: no column take, path; a table with the columns name, corpus",
        ),
        (clips[:0], "manifest: no clip in it"),
        (clips.assign(name="a"), "manifest: the name 'a' stands for several clips"),
    ):
        with pytest.raises(InputError, match=words):
            ingest(wrong, root, tmp_path / "store", HERE, progress=False)


def test_the_command_says_its_cost_first_and_writes_a_store(trees, tmp_path, capsys):
    root, clips = clips_of(trees, "crema-d")
    clips.to_parquet(tmp_path / "clips.parquet")
    words = [
        "data",
        "ingest",
        str(root),
        "--manifest",
        str(tmp_path / "clips.parquet"),
        "--out",
        str(tmp_path / "store"),
    ]
    assert main([*words, "--workers", "0", "--fps", "30", "--crop-size", "64"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert re.match(
        r"2 clips into .*store: about \d+ frames, [\d.]+ minutes on 1 idle cores, .*Ctrl-C is safe",
        printed[0],
    )
    assert printed[-1].startswith("2 clips in, 0 left out: reasons in")
    assert Store(tmp_path / "store").face.shape[1] == 64
    (tmp_path / "letter.parquet").write_text("no table")
    for change, words_back in (
        (
            ["--manifest", str(tmp_path / "letter.parquet")],
            "letter.parquet: no manifest that can be read",
        ),
        (["--fps", "0"], "argument --fps: 0: a number above 0 is needed"),
    ):
        assert main([*words, *change]) == 2
        assert words_back in capsys.readouterr().err
    assert (
        main(["data", "ingest", str(root), "--out", str(tmp_path / "named"), "--workers", "0"]) == 0
    )
    assert (
        set(Store(tmp_path / "named").clips["corpus"]) == {"crema-d"}
        and "2 clips in, 0 left out" in capsys.readouterr().out
    )
    assert main(["data", "ingest", str(root / "none"), "--out", str(tmp_path / "b")]) == 2
    assert "none: not a folder; give the one that holds the corpus" in capsys.readouterr().err


def test_the_studio_s_tree_is_written_by_a_command_and_resumes(tmp_path, capsys, monkeypatch):
    words = [
        "data",
        "studio",
        "--layout",
        "crema-d",
        "--out",
        str(tmp_path),
        "--people",
        "1",
        "--sentences",
        "1",
        "--size",
        "32",
    ]
    assert main(words) == 0 and len(list(tmp_path.glob("1001_DFA_*.flv"))) == 6
    assert "6 files in" in capsys.readouterr().out
    kept = {path: path.stat().st_mtime_ns for path in list(tmp_path.iterdir())[1:]}
    next(path for path in tmp_path.iterdir() if path not in kept).unlink()
    assert main(words) == 0 and all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert len(list(tmp_path.iterdir())) == 6 and read_audio(next(iter(kept)), 0, 1).any()
    capsys.readouterr()
    for change, words_back in (
        (["--layout", "vox"], "unknown layout 'vox': accepted are mead, ravdess, crema-d"),
        (
            ["--people", "9"],
            "layout crema-d: 9 people and 1 sentences asked for; it has 1 to 4 people and 1 to 12 sentences",
        ),
    ):
        assert main([*words, *change]) == 2 and words_back in capsys.readouterr().err
    with pytest.raises(
        InputError, match="layout crema-d: no surprised; accepted are angry, disgusted"
    ):
        write_layout("crema-d", tmp_path, emotions=("surprised",))
