"""One clip of an ingest, in a worker: read, aligned, cropped, and written as a piece.

A piece is there in full or not at all. Whatever is wrong with the clip becomes its reason.
"""

import errno
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cdrl.core.errors import InputError
from cdrl.core.settings import IngestConfig
from cdrl.corpora.ingest_plan import Job
from cdrl.corpora.manifest import hash_file
from cdrl.corpora.rejects import thumbnail
from cdrl.corpora.store_writer import StoreWriter
from cdrl.media.audio import AUDIO_RATE
from cdrl.media.decoding import open_audio, open_video
from cdrl.media.detectors import GivenBoxes, box_file, load_detector, read_boxes
from cdrl.media.faces import Alignment, Detector, align, crop
from cdrl.media.video import read_audio, read_video_stream

SILENCE = 0.002  # full scale 1; sound that never exceeds it is none
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
CHUNK = 1  # frames decoded at once: 4K pictures are 25 MB each
REASON_LENGTH = 400  # characters, at most


def make_piece(job: Job) -> dict[str, Any]:
    """Read, align and crop one clip into a store of its own.

    Args:
        job: the clip.

    Returns:
        {"frames": T, "core_seconds": processor time}, or {"reason": one line, "thumbnail": the last
        frame that was looked at}, or {"stop": why nothing more can be written}.
    """
    frames = _FrameSource(job.root / job.path, job.config)
    start = time.process_time()
    try:
        num_frames = _write_piece(job, frames)
        return {"frames": num_frames, "core_seconds": time.process_time() - start}
    except InputError as error:
        message = str(error).removeprefix(f"{frames.path}: ")
        reason = message.replace(f"{job.root}{os.sep}", "")
    except OSError as error:
        if error.errno in DISK_FULL:  # only writing ends so
            return {"stop": error.strerror}
        reason = f"not readable ({error.strerror or error})"
    except Exception as error:
        # Whatever else a strange file sets off is this clip's fault, not the batch's end.
        reason = f"could not be used ({type(error).__name__}: {error})"
    one_line = " ".join(reason.split())
    return {"reason": one_line[:REASON_LENGTH], "thumbnail": thumbnail(frames.last)}


def _write_piece(job: Job, frames: "_FrameSource") -> int:
    """Make the piece; returns its number of frames."""
    has_sound = _check_files(job)
    alignment = _align(job, frames)
    audio = _read_sound(job, frames, len(alignment), has_sound)

    partial = job.piece.with_name(f"{job.piece.name}.{os.getpid()}")
    row = {"name": job.name, "frame_rate": job.config.frame_rate}
    with StoreWriter(partial, job.config.crop) as writer:
        crops = frames.crops(alignment)
        writer.add(row, crops, alignment.transforms, audio, alignment.mouth_box)
    if job.piece.exists():  # another run of the same command was faster
        shutil.rmtree(partial)
    else:
        os.replace(partial, job.piece)
    return len(alignment)


def _check_files(job: Job) -> bool:
    """Refuse what headers and manifest show to be unusable; return whether the video has sound."""
    if not job.path:
        raise InputError(
            "only sound, no video; crops need the picture: fetch this clip's video file"
        )
    path = job.root / job.path
    require_audio = job.config.require_sound and not job.sound
    with open_video(path, require_audio) as (_, _, audio):
        has_sound = audio is not None
    num_bytes = path.stat().st_size
    if job.bytes and num_bytes != job.bytes:
        raise InputError(
            f"{num_bytes} bytes, the manifest says {job.bytes}; check the corpus again"
        )
    if job.sha256 and job.sha256 != hash_file(path):
        raise InputError(
            "its sum is not that of the manifest; fetch the file again, or check the corpus again"
        )
    if job.sound:
        with open_audio(job.root / job.sound):
            pass
    return has_sound


def _align(job: Job, frames: "_FrameSource") -> Alignment:
    config = job.config
    detector: Detector = load_detector(config.detector)
    if config.boxes:
        boxes = read_boxes(box_file(Path(config.boxes), job.name))
        detector = GivenBoxes(boxes, frames.times, config.frame_rate)
    name = str(frames.path)
    return align(frames.read(), config.stride, name, detector, config.crop)


def _read_sound(job: Job, frames: "_FrameSource", num_frames: int, has_sound: bool) -> np.ndarray:
    """(S,) float32 sound of a clip, as long as its frames; (0,) where there is none."""
    seconds = num_frames / job.config.frame_rate
    if job.sound:
        # A separate sound file begins with the first picture.
        audio = read_audio(job.root / job.sound, 0.0, seconds)
    elif has_sound:
        audio = read_audio(frames.path, frames.times[0], seconds)
    else:
        audio = np.zeros(0, np.float32)
    if job.config.require_sound:
        _refuse_silence(audio, seconds)
    return audio


def _refuse_silence(audio: np.ndarray, seconds: float) -> None:
    """Refuse (S,) sound that is none, or that ends in the first half of the clip."""
    if np.abs(audio).max(initial=0) < SILENCE:
        raise InputError(
            "silent; a clip without speech teaches nothing here, --allow-silent takes it all the "
            "same"
        )
    last_sample = np.flatnonzero(audio)[-1]
    end = (last_sample + 1) / AUDIO_RATE
    if end < seconds / 2:
        raise InputError(
            f"the sound ends after {end:.2f} s of {seconds:.2f} s; fetch the file again"
        )


class _FrameSource:
    """The frames of one file for two readings: kept while they are few, else decoded again.

    Args:
        path: the file.
        config: frame rate, size of the crops, and how many MB of frames are kept.
    """

    def __init__(self, path: Path, config: IngestConfig) -> None:
        self.path = path
        self.config = config
        self.times: list[
            float
        ] = []  # of the file's own frames, seconds; grows in the first reading
        self.cache: list[np.ndarray] | None = []  # (H, W, 3) frames; None: too many to keep
        self.last: np.ndarray | None = None  # the last frame that was read

    def read(self) -> Iterator[np.ndarray]:
        """Yield the frames for the first time, (H, W, 3) each."""
        limit = self.config.held_mb << 20
        num_bytes = 0
        for frame in self._decode(self.times):
            num_bytes += frame.nbytes
            self.last = frame
            if self.cache is not None:
                self.cache.append(frame)
            if num_bytes > limit:
                self.cache = None
            yield frame

    def crops(self, alignment: Alignment) -> Iterator[np.ndarray]:
        """Yield the face crops, (1, C, C, 3) each."""
        frames = self._decode([]) if self.cache is None else self.cache
        for index, frame in enumerate(frames):
            yield crop([frame], alignment.part(index, index + 1), self.config.crop_size)

    def _decode(self, times: list[float]) -> Iterator[np.ndarray]:
        chunks = read_video_stream(self.path, self.config.frame_rate, CHUNK, times=times, threads=1)
        for chunk in chunks:
            yield from chunk
