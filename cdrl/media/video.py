"""Video files in and out, sound and picture on one time base.

Reading puts time zero at the first video frame: frame i is shown at i / frame_rate seconds, sample s is heard at
s / 16000 seconds, whatever order, start offset and rate the streams of the file had.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import av
import numpy as np

from cdrl.core.errors import InputError
from cdrl.media.audio import AUDIO_RATE
from cdrl.media.decoding import (
    decode_frames,
    mean_frame_rate,
    nominal_frame_rate,
    open_media,
    upright_rgb,
)
from cdrl.media.encoding import SYNTHETIC, write_edit, write_video

__all__ = [
    "SYNTHETIC",
    "Clip",
    "VideoFacts",
    "read_audio",
    "read_metadata",
    "read_video",
    "read_video_stream",
    "video_facts",
    "write_edit",
    "write_video",
]

# `read_video` holds a whole clip; above this it refuses and `read_video_stream` is the way.
MEMORY_LIMIT = 3 << 30
# Seconds without a picture that are bridged by repeating the last one.
LONGEST_HOLE = 60.0


@dataclass(frozen=True)
class Clip:
    """A clip of any corpus before cropping.

    Attributes:
        name: what errors and manifests call it.
        frames: (T, H, W, 3) uint8 RGB. frame_rate: Hz.
        audio: (S,) float32 in [-1, 1], 16 kHz mono, starting with frame 0; S = round(T / frame_rate * 16000), or 0
            for a clip without sound.
        labels: speaker, sentence, emotion, intensity, ... where known.
        media: the file it came from, or "".
    """

    name: str
    frames: np.ndarray
    frame_rate: float
    audio: np.ndarray
    labels: dict = field(default_factory=dict)
    media: str = ""


@dataclass(frozen=True)
class VideoFacts:
    """What a file holds, counted by decoding it. Sizes in displayed (upright, square) pixels, times in seconds."""

    width: int
    height: int
    num_frames: int
    frame_rate: float
    seconds: float
    sample_rate: int  # 0 without sound
    metadata: dict


def read_video_stream(
    path: Path,
    frame_rate: float | None = 25.0,
    chunk: int = 64,
    require_audio: bool = False,
    times: list[float] | None = None,
    threads: int = 0,
) -> Iterator[np.ndarray]:
    """Yield the video in chunks of (<= chunk, H, W, 3) uint8 RGB; memory stays at two chunks however long it is.

    Args:
        frame_rate: Hz to resample to by nearest timestamp; None keeps the frames of the file.
        times: receives the file's own timestamps (s) as they are decoded; frame 0 is shown at times[0].
        threads: of the decoder; 0 leaves it to FFmpeg.

    Raises:
        InputError: missing, unreadable, truncated, without video or (where required) without sound.
    """
    times = [] if times is None else times
    with open_media(path) as (_, video, _):
        nominal, aspect = nominal_frame_rate(video), video.codec_context.sample_aspect_ratio
    pending, emitted, previous = [], 0, None
    for time, frame in decode_frames(path, require_audio, threads):
        times.append(time)
        if previous is not None and times[-1] - times[-2] > LONGEST_HOLE:
            raise InputError(
                f"{path}: no picture from {times[-2]:.1f} to {times[-1]:.1f} s; its clock is broken: convert it to mp4"
            )
        if frame_rate is not None and previous is not None:
            copies = _frames_before((times[-1] + times[-2]) / 2 - times[0], frame_rate) - emitted
            pending += [previous] * copies
            emitted += copies
        previous = upright_rgb(frame, aspect)
        if frame_rate is None:
            pending.append(previous)
        while len(pending) >= chunk:
            yield _stacked(pending[:chunk])
            del pending[:chunk]
    if frame_rate is not None:
        seconds = times[-1] - times[0] + 1 / mean_frame_rate(times, nominal)
        pending += [previous] * (max(1, round(seconds * frame_rate)) - emitted)
    for start in range(0, len(pending), chunk):
        yield _stacked(pending[start : start + chunk])


def _stacked(frames: list[np.ndarray]) -> np.ndarray:
    """(N, H, W, 3); one frame is not copied."""
    return np.stack(frames) if len(frames) > 1 else frames[0][None]


def _frames_before(seconds: float, frame_rate: float) -> int:
    """How many frames i of a constant rate have i / frame_rate <= seconds."""
    return max(0, int(np.floor(seconds * frame_rate + 1e-6)) + 1)


def video_facts(path: Path, require_audio: bool = False) -> VideoFacts:
    """Size, length and rates of a file, by decoding its pictures once (none is kept).

    Returns:
        For the CREMA-D samples: 480 x 360, 29.97 Hz, 44100 Hz sound.
    """
    times, shape = [], None
    with open_media(path) as (container, video, audio):
        nominal, aspect = nominal_frame_rate(video), video.codec_context.sample_aspect_ratio
        metadata = dict(container.metadata)
        sample_rate = audio.codec_context.sample_rate if audio else 0
    for time, frame in decode_frames(path, require_audio):
        times.append(time)
        shape = shape or upright_rgb(frame, aspect).shape
    rate = mean_frame_rate(times, nominal)
    return VideoFacts(
        shape[1], shape[0], len(times), rate, times[-1] - times[0] + 1 / rate, sample_rate, metadata
    )


def read_audio(path: Path, start_seconds: float, seconds: float) -> np.ndarray:
    """(round(seconds * 16000),) float32 mono 16 kHz sound from `start_seconds` on the file's own clock.

    Parts that the file does not cover are silent. Channels are averaged. A file without pictures will do.
    """
    out, position = np.zeros(round(seconds * AUDIO_RATE), np.float32), None
    with open_media(path, require_audio=True, require_video=False) as (container, _, audio):
        resampler = av.AudioResampler(
            format="fltp", layout=audio.codec_context.layout, rate=AUDIO_RATE
        )
        for frame in chain(container.decode(audio), [None]):
            if frame is not None and frame.time is not None:
                heard = round((frame.time - start_seconds) * AUDIO_RATE)
                if (
                    position is None or abs(heard - position) > AUDIO_RATE // 10
                ):  # the first, or a hole in the sound
                    position = heard
            for piece in resampler.resample(frame):
                samples, position = piece.to_ndarray().mean(axis=0, dtype=np.float32), position or 0
                low, high = max(position, 0), min(position + len(samples), len(out))
                if low < high:
                    out[low:high] = samples[low - position : high - position]
                position += len(samples)
    return np.clip(out, -1, 1)


def read_video(
    path: Path,
    frame_rate: float | None = 25.0,
    require_audio: bool = True,
    labels: dict | None = None,
) -> Clip:
    """A whole file as a `Clip`.

    Args:
        frame_rate: Hz to resample to by nearest timestamp; None keeps the frames and the (mean) rate of the file.
        require_audio: False accepts a file without sound; its audio then is empty.

    Returns:
        Clip whose sound is exactly as long as its pictures. CREMA-D's 67 frames at 29.97 Hz become 56 at 25 Hz.

    Raises:
        InputError: naming the file; also for a video that would not fit in memory.
    """
    path, chunks, times, held = Path(path), [], [], 0
    with open_media(path, require_audio) as (_, video, audio):
        nominal, has_sound = nominal_frame_rate(video), audio is not None
    for frames in read_video_stream(path, frame_rate, 64, require_audio, times):
        chunks.append(frames)
        held += frames.nbytes
        if held > MEMORY_LIMIT:
            raise InputError(
                f"{path}: over {MEMORY_LIMIT >> 30} GB when decoded, too long to read at once; cut it"
            )
    frames, rate = np.concatenate(chunks), frame_rate or mean_frame_rate(times, nominal)
    sound = read_audio(path, times[0], len(frames) / rate) if has_sound else np.zeros(0, np.float32)
    return Clip(path.stem, frames, rate, sound, dict(labels or {}), str(path))


def read_metadata(path: Path) -> dict:
    """The container's metadata, e.g. the `comment` that says an edit is synthetic."""
    with open_media(path) as (container, _, _):
        return dict(container.metadata)
