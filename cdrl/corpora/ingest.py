"""Real clips into a crop store: the one way in, whatever corpus they come from.

    manifest row -> [worker] decode on one time base -> find, follow, crop the face -> piece   (or a reason)
    all pieces   -> one store, in the manifest's order, with report.html and rejected.csv

A piece is a store of one clip in `OUT.pieces`, there in full or not at all. So a run that was killed goes on where it
was, and the finished store has the same bytes whatever the number of workers and of interruptions.
"""

import errno
import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from cdrl.core.errors import InputError
from cdrl.core.pools import Lost, run_each
from cdrl.core.settings import IngestConfig, config_hash, hashed_settings
from cdrl.corpora.adapters import CORPORA
from cdrl.corpora.manifest import COLUMNS
from cdrl.corpora.rejects import SHOWN, reason_kind, thumbnail, write_report
from cdrl.corpora.store import Store, StoreWriter
from cdrl.media.audio import AUDIO_RATE
from cdrl.media.decoding import open_audio, open_video
from cdrl.media.detectors import GivenBoxes, box_file, load_detector, read_boxes
from cdrl.media.faces import Alignment, align, crop
from cdrl.media.video import read_audio, read_video_stream

LABELS = COLUMNS[:8]
# Counts up whenever the same file under the same settings would give other crops or sound.
VERSION = 1
SILENCE = 0.002  # full scale 1; sound that never exceeds it is none
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
# Of one core, measured at 480 x 360 and 1920 x 1080 and rounded up: face and crop, and decoding a megapixel.
SECONDS_A_FRAME, SECONDS_A_MEGAPIXEL = 0.006, 0.014
CHUNK = 1  # frames in flight beside the kept ones: 4K pictures are 25 MB each


@dataclass(frozen=True)
class IngestResult:
    """What `ingest` did.

    Attributes:
        clips, frames: in the store. rejected: (name, reason) of the others.
        read_frames, seconds: cropped by this call, and how long that took; 0 where all was done before.
        core_seconds: of processor time that the workers spent on those frames.
    """

    clips: int
    frames: int
    rejected: tuple[tuple[str, str], ...]
    read_frames: int
    seconds: float
    core_seconds: float


@dataclass(frozen=True)
class Job:
    """One clip for a worker: its files, and the folder that its piece becomes."""

    name: str
    root: Path
    path: str
    sound: str
    bytes: int
    piece: Path
    config: IngestConfig


def ingest(
    manifest: pd.DataFrame,
    root: Path,
    out: Path,
    config=IngestConfig(),
    progress: bool = True,
    shared: Path | None = None,
) -> IngestResult:
    """Read, align and crop every clip of a manifest into a store; a clip that cannot be used is left out and named.

    Args:
        manifest: columns `manifest.COLUMNS`; `path` and `sound` relative to `root`, `sound` "" where it is in the video.
        out: folder of the store; it appears when it is complete. What is done of it waits in `OUT.pieces`.
        progress: a bar, and a line with the throughput at the end.
        shared: folder of finished clips that several stores may take from, and that stays; None: `OUT.pieces`, removed in the end.

    Returns:
        counts and reasons; the same reasons are in the store's `report.html` and `rejected.csv`.

    Raises:
        InputError: a manifest that is none, a detector that is not installed, an `out` made of another manifest or with
            other settings, a full disk, and where not one clip could be used.
    """
    manifest, root, out = _checked(manifest), Path(root), Path(out)
    record = {
        "ingest": VERSION,
        "settings": hashed_settings(config),
        "manifest": _digest(manifest.to_csv(index=False)),
    }
    pieces = Path(shared) if shared else out.with_name(out.name + ".pieces")
    if (out / "store.json").exists():
        _same_or_refused(out, record)
        if not shared:
            shutil.rmtree(pieces, ignore_errors=True)
        return _read(out)
    load_detector(config.detector)(0, np.zeros((64, 64, 3), np.uint8), False)
    pieces.mkdir(parents=True, exist_ok=True)
    jobs = [_job(row, root, pieces, config) for row in manifest.itertuples()]
    todo = [job for job in jobs if not _done(job)]
    start, read_frames, core_seconds = time.monotonic(), 0, 0.0
    bar = tqdm(
        total=len(jobs),
        initial=len(jobs) - len(todo),
        unit="clip",
        disable=not progress,
        desc=out.name,
    )
    with bar, closing(run_each(make_piece, todo, config.workers, config.limit_seconds)) as results:
        for number, result in results:
            frames, spent = _keep(todo[number], result)
            read_frames, core_seconds = read_frames + frames, core_seconds + spent
            bar.set_postfix_str(
                f"{read_frames / (time.monotonic() - start):.0f} frames/s", refresh=False
            )
            bar.update()
    seconds = time.monotonic() - start  # what follows only copies
    try:
        rejected = _assemble(manifest, jobs, out, record, config)
    except OSError as error:
        raise _unwritable(out, error.strerror or str(error)) from error
    if not shared:
        shutil.rmtree(pieces, ignore_errors=True)
    done = _read(out, read_frames, seconds, core_seconds)
    if progress:
        tqdm.write("\n".join(summary(done, rejected)))
    return done


def summary(done: IngestResult, rejected: dict) -> list[str]:
    """The lines that close a run: what is in, how fast it went, how many were left out and why."""
    speed, of_core = (
        done.read_frames / max(time, 1e-9) for time in (done.seconds, done.core_seconds)
    )
    return [
        f"{done.clips} clips, {done.frames} frames; {done.read_frames} of them now, in {done.seconds:.1f} s: {speed:.1f} "
        f"frames a second, {of_core:.1f} a second of one core",
        *(f"left out {number}: {kind}" for kind, number in _kinds(rejected)),
    ]


def expected_cost(
    manifest: pd.DataFrame, root: Path, config: IngestConfig
) -> tuple[int, float, float]:
    """Frames, minutes and GB of disk that an ingest will take, from the headers of a few clips; a rough guess.

    While pieces and store are both there the disk holds everything twice. Clips that are sound alone cost nothing.
    """
    shown = _checked(manifest)["path"]
    shown = shown[shown != ""]
    seconds, pixels = _headers(shown, root)
    typical = (
        CORPORA[manifest["corpus"].iloc[0]].seconds
        if manifest["corpus"].iloc[0] in CORPORA
        else 3.0
    )
    frames = round(
        len(shown) * (float(np.mean(seconds)) if seconds else typical) * config.frame_rate
    )
    spent = frames * (
        SECONDS_A_FRAME + SECONDS_A_MEGAPIXEL * (float(np.mean(pixels)) if pixels else 1.0)
    )
    held = frames * (3 * config.crop_size**2 + 24 + 2 * AUDIO_RATE / config.frame_rate)
    return frames, spent / max(1, config.workers) / 60, 2 * held / 1e9


def _headers(paths: pd.Series, root: Path) -> tuple[list[float], list[float]]:
    """Seconds and megapixels of some of the files, of those that can be opened."""
    seconds, pixels = [], []
    for path in paths.iloc[:: max(1, len(paths) // 20)]:
        try:
            with open_video(Path(root) / path) as (container, video, _):
                seconds.append((container.duration or 0) / 1e6)
                pixels.append(video.codec_context.width * video.codec_context.height / 1e6)
        except (InputError, OSError):
            continue
    return seconds, pixels


def describe_cost(
    manifest: pd.DataFrame, root: Path, config: IngestConfig, frames_per_second: float = 0.0
) -> str:
    """`expected_cost` in words, the same for every command that tells it.

    Args:
        frames_per_second: of one core, where it was measured; 0: by the size of the pictures.
    """
    frames, minutes, disk_gb = expected_cost(manifest, root, config)
    if not frames:
        return "nothing to do, these are sounds without pictures"
    cores = max(1, config.workers)
    minutes = frames / frames_per_second / cores / 60 if frames_per_second else minutes
    guess = (
        ""
        if _headers(manifest["path"][manifest["path"] != ""], root)[0]
        else ": a guess, no header could be read"
    )
    return (
        f"about {frames} frames, {minutes:.1f} minutes on {cores} idle cores, {disk_gb:.2f} GB of disk at most and half of it "
        f"in the end{guess}"
    )


def _kinds(rejected: dict) -> list[tuple[str, int]]:
    return Counter(reason_kind(entry["reason"]) for entry in rejected.values()).most_common()


def _checked(manifest: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in COLUMNS if name not in manifest.columns]
    if missing or not len(manifest):
        wrong = f"no column {', '.join(missing)}" if missing else "no clip in it"
        raise InputError(
            f"manifest: {wrong}; a table with the columns {', '.join(COLUMNS)} is needed"
        )
    manifest = manifest[list(COLUMNS)].reset_index(drop=True)
    twice = manifest["name"][manifest["name"].duplicated()]
    if len(twice):
        raise InputError(
            f"manifest: the name {twice.iloc[0]!r} stands for several clips; each needs its own"
        )
    return manifest


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _same_or_refused(out: Path, record: dict) -> None:
    held = json.loads((out / "ingest.json").read_text()) if (out / "ingest.json").exists() else {}
    settings = {"crop": "aligned"} | held.get(
        "settings", {}
    )  # a store of before there was a choice
    if held | {"settings": settings} == record:
        return
    changed = [
        f"{name}={settings.get(name)}"
        for name, value in record["settings"].items()
        if settings.get(name) != value
    ]
    reason = f"made with {', '.join(changed)}" if changed else "made of another manifest"
    raise InputError(
        f"{out}: holds a finished store, {reason}; choose another --out, nothing is overwritten"
    )


def _job(row, root: Path, pieces: Path, config: IngestConfig) -> Job:
    boxes = ""
    if config.boxes:
        try:
            boxes = hashlib.sha256(box_file(Path(config.boxes), row.name).read_bytes()).hexdigest()
        except (InputError, OSError):
            pass  # the worker says so, for this clip
    what = [
        VERSION,
        config_hash(config),
        row.path,
        row.sound,
        int(row.bytes),
        row.sha256,
        bool(config.boxes),
        boxes,
    ]
    if (
        row.sha256 and row.sound and row.path
    ):  # the sum is of the pictures; a sound exchanged beside them is another clip
        try:
            what.append([(root / row.sound).stat().st_size, (root / row.sound).stat().st_mtime_ns])
        except OSError:
            pass  # the worker says so
    return Job(
        row.name,
        root,
        row.path,
        row.sound,
        int(row.bytes),
        pieces / _digest(json.dumps(what))[:20],
        config,
    )


# --- one clip, in a worker -------------------------------------------------------------------------------------------


def make_piece(job: Job) -> dict:
    """Read, align and crop one clip into a store of its own.

    Returns:
        {"frames": T, "core_seconds": processor time}, or {"reason": one line, "thumbnail": the last frame that was looked at}, or {"stop": why nothing
        more can be written}.
    """
    pictures, start = _Pictures(job.root / job.path, job.config), time.process_time()
    try:
        return {"frames": _write_piece(job, pictures), "core_seconds": time.process_time() - start}
    except InputError as error:
        reason = str(error).removeprefix(f"{pictures.path}: ").replace(f"{job.root}{os.sep}", "")
    except OSError as error:
        if error.errno in DISK_FULL:  # only writing ends so
            return {"stop": error.strerror}
        reason = f"not readable ({error.strerror or error})"
    except (
        Exception
    ) as error:  # whatever else a strange file sets off is this clip's fault, not the batch's end
        reason = f"could not be used ({type(error).__name__}: {error})"
    return {"reason": " ".join(reason.split())[:400], "thumbnail": thumbnail(pictures.last)}


def _write_piece(job: Job, pictures: "_Pictures") -> int:
    config, sound = job.config, job.root / job.sound if job.sound else None
    if not job.path:
        raise InputError(
            "only sound, no video; crops need the picture: fetch this clip's video file"
        )
    with open_video(pictures.path, require_audio=config.require_sound and sound is None) as (
        _,
        _,
        audio,
    ):
        heard = sound or (pictures.path if audio is not None else None)
    found = pictures.path.stat().st_size
    if job.bytes and found != job.bytes:
        raise InputError(f"{found} bytes, the manifest says {job.bytes}; check the corpus again")
    if sound is not None:
        with open_audio(sound):
            pass
    find = load_detector(config.detector)
    if config.boxes:
        find = GivenBoxes(
            read_boxes(box_file(Path(config.boxes), job.name)), pictures.times, config.frame_rate
        )
    alignment = align(pictures.first(), config.stride, str(pictures.path), find, config.crop)
    seconds = len(alignment) / config.frame_rate
    samples = np.zeros(0, np.float32)
    if heard is not None:  # a separate sound file begins with the first picture
        samples = read_audio(heard, pictures.times[0] if sound is None else 0.0, seconds)
    if config.require_sound:
        _refuse_silence(samples, seconds)
    ours = job.piece.with_name(f"{job.piece.name}.{os.getpid()}")
    with StoreWriter(ours, config.crop) as writer:
        row = {"name": job.name, "frame_rate": config.frame_rate}
        writer.add(
            row, pictures.crops(alignment), alignment.transforms, samples, alignment.mouth_box
        )
    if job.piece.exists():  # another run of the same command was faster
        shutil.rmtree(ours)
    else:
        os.replace(ours, job.piece)
    return len(alignment)


def _refuse_silence(samples: np.ndarray, seconds: float) -> None:
    if np.abs(samples).max(initial=0) < SILENCE:
        raise InputError(
            "silent; a clip without speech teaches nothing here, --allow-silent takes it all the same"
        )
    end = (np.flatnonzero(samples)[-1] + 1) / AUDIO_RATE
    if end < seconds / 2:
        raise InputError(
            f"the sound ends after {end:.2f} s of {seconds:.2f} s; fetch the file again"
        )


class _Pictures:
    """The frames of one file for two readings: kept while they are few, else decoded again."""

    def __init__(self, path: Path, config: IngestConfig):
        self.path, self.config = path, config
        self.times, self.kept, self.last = [], [], None

    def first(self) -> Iterator[np.ndarray]:
        held = 0
        for frame in self._decoded(self.times):
            held, self.last = held + frame.nbytes, frame
            if self.kept is not None:
                self.kept.append(frame)
                self.kept = self.kept if held <= self.config.held_mb << 20 else None
            yield frame

    def crops(self, alignment: Alignment) -> Iterator[np.ndarray]:
        """(1, C, C, 3) each."""
        for index, frame in enumerate(self._decoded([]) if self.kept is None else self.kept):
            yield crop([frame], alignment.part(index, index + 1), self.config.crop_size)

    def _decoded(self, times: list[float]) -> Iterator[np.ndarray]:
        for part in read_video_stream(
            self.path, self.config.frame_rate, CHUNK, times=times, threads=1
        ):
            yield from part


def _unwritable(place: Path, reason: str) -> InputError:
    return InputError(
        f"{place}: cannot be written ({reason}); free some space, the same command goes on"
    )


# --- pieces, kept and put together -----------------------------------------------------------------------------------


def _reason_file(job: Job) -> Path:
    return job.piece.with_suffix(".json")


def _done(job: Job) -> bool:
    """A piece or a reason is there; one that took too long is tried again only with more time."""
    if (job.piece / "store.json").exists():
        return True
    if not _reason_file(job).exists():
        return False
    return (
        json.loads(_reason_file(job).read_text()).get("limit", np.inf) >= job.config.limit_seconds
    )


def _keep(job: Job, result: dict | Lost) -> tuple[int, float]:
    """Frames of the new piece and their cost; a reason is written down, atomically."""
    if isinstance(result, Lost):
        result = {"reason": result.reason, "thumbnail": "", "limit": job.config.limit_seconds}
    if "stop" in result:
        raise _unwritable(job.piece.parent, result["stop"])
    if "frames" in result:
        return result["frames"], result["core_seconds"]
    partial = _reason_file(job).with_suffix(".partial")
    partial.write_text(json.dumps(result))
    os.replace(partial, _reason_file(job))
    return 0, 0.0


def _assemble(
    manifest: pd.DataFrame, jobs: list[Job], out: Path, record: dict, config: IngestConfig
) -> dict:
    """Write the store from the pieces; returns name -> reason and thumbnail of the clips that have none."""
    accepted = [job for job in jobs if (job.piece / "store.json").exists()]
    names = {job.name for job in accepted}
    rejected = {
        job.name: json.loads(_reason_file(job).read_text()) for job in jobs if job.name not in names
    }
    if not accepted:
        write_report(jobs[0].piece.parent, manifest, rejected, 0, ())
        kinds = ", ".join(f"{number} {kind}" for kind, number in _kinds(rejected))
        name, entry = next(iter(rejected.items()))
        raise InputError(
            f"{out}: none of {len(jobs)} clips could be used ({kinds}); the first, {name}: {entry['reason']}; all reasons "
            f"in {jobs[0].piece.parent}/report.html"
        )
    crops, every = [], max(1, -(-len(accepted) // (SHOWN // 5)))
    with StoreWriter(out, config.crop) as writer:
        for job, row in zip(jobs, manifest.to_dict("records")):
            if job.name in rejected:
                continue
            piece = Store(job.piece)
            labels = {name: row[name] for name in LABELS} | {
                "take": str(row["take"]),
                "camera": str(row["camera"]),
            }
            place = {
                "split": config.split,
                "frame_rate": config.frame_rate,
                "media": str(job.root / job.path),
            }
            box = piece.clips.loc[0, ["mouth_left", "mouth_top", "mouth_right", "mouth_bottom"]]
            writer.add(labels | place, piece.face, piece.transforms, piece.audio, box)
            if len(writer.rows) % every == 1 or every == 1:
                crops.append(np.array(piece.face[len(piece) // 2]))
        write_report(writer.partial, manifest, rejected, writer.frames, crops)
        (writer.partial / "ingest.json").write_text(json.dumps(record, indent=1))
    return rejected


def _read(
    out: Path, read_frames: int = 0, seconds: float = 0.0, core_seconds: float = 0.0
) -> IngestResult:
    store, left_out = (
        Store(out),
        pd.read_csv(out / "rejected.csv", keep_default_na=False, dtype=str),
    )
    rejected = tuple(zip(left_out["name"], left_out["reason"]))
    return IngestResult(len(store.clips), len(store), rejected, read_frames, seconds, core_seconds)
