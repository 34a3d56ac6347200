"""Video files as frames and sound on one time base.

Time zero is the first video frame: frame i is shown at i / frame_rate seconds, sample s is heard at
s / 16000 seconds, whatever order, start offset and rate the streams of the file had.
`cdrl.media.decoding` is the layer below; `cdrl.media.encoding` writes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import numpy as np

from cdrl.core.errors import InputError
from cdrl.media.audio import AUDIO_RATE
from cdrl.media.decoding import (
    decode_frames,
    mean_frame_rate,
    nominal_frame_rate,
    open_video,
    pixel_aspect,
)
from cdrl.media.display import Screen
from cdrl.media.sound import decode_sound

# `read_video` holds a whole clip; a larger one is refused and `read_video_stream` is the way.
MEMORY_LIMIT = 3 << 30  # bytes
# Seconds without a picture that are bridged by repeating the last one.
LONGEST_HOLE = 60.0


@dataclass(frozen=True)
class Clip:
    """A clip of any corpus before cropping.

    Attributes:
        name: what errors and manifests call it.
        frames: (T, H, W, 3) uint8 RGB.
        frame_rate: Hz.
        audio: (S,) float32 in [-1, 1], 16 kHz mono, starting with frame 0; S = round(T / frame_rate
            * 16000), or 0 for a clip without sound.
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
    """What a file holds, counted by decoding it.

    Attributes:
        width: displayed (upright, square) pixels.
        height: displayed pixels.
        num_frames: of the file.
        frame_rate: Hz, mean.
        seconds: from the first frame to the end of the last.
        sample_rate: of the sound, Hz; 0 without sound.
        metadata: of the container.
    """

    width: int
    height: int
    num_frames: int
    frame_rate: float
    seconds: float
    sample_rate: int
    metadata: dict[str, str]


def read_video_stream(
    path: Path,
    frame_rate: float | None = 25.0,
    chunk: int = 64,
    require_audio: bool = False,
    times: list[float] | None = None,
    threads: int = 0,
) -> Iterator[np.ndarray]:
    """Yield the video in chunks of (<= chunk, H, W, 3) uint8 RGB.

    Memory stays at two chunks, however long the video is.

    Args:
        path: the file.
        frame_rate: Hz to resample to by nearest timestamp; None keeps the frames of the file.
        chunk: frames in a chunk at most.
        require_audio: refuse a file without sound.
        times: receives the file's own timestamps (s) as they are decoded; frame 0 is shown at
            times[0].
        threads: of the decoder; 0 leaves it to FFmpeg.

    Raises:
        InputError: missing, unreadable, truncated, without video or (where required) without sound.
    """
    times = [] if times is None else times
    with open_video(path) as (_, video, _):
        nominal_rate = nominal_frame_rate(video)
        screen = Screen(pixel_aspect(video))

    images = _shown_images(path, screen, require_audio, threads, times)
    if frame_rate is not None:
        images = _at_constant_rate(images, times, frame_rate, nominal_rate)
    yield from _in_chunks(images, chunk)


def _shown_images(
    path: Path, screen: Screen, require_audio: bool, threads: int, times: list[float]
) -> Iterator[np.ndarray]:
    """Yield the file's own pictures, (H, W, 3); `times` receives the time of each first."""
    for seconds, frame in decode_frames(path, require_audio, threads):
        if times and seconds - times[-1] > LONGEST_HOLE:
            raise InputError(
                f"{path}: no picture from {times[-1]:.1f} to {seconds:.1f} s; its clock is broken: "
                "convert it to mp4"
            )
        times.append(seconds)
        yield screen.show(frame).image


def _at_constant_rate(
    images: Iterable[np.ndarray], times: list[float], frame_rate: float, nominal_rate: float
) -> Iterator[np.ndarray]:
    """Repeat or drop images so that number i is the one nearest to i / frame_rate seconds.

    Args:
        images: (H, W, 3) each.
        times: seconds; it grows with `images`, its last entry is that of the last image.
        frame_rate: Hz, of the result.
        nominal_rate: Hz, as the container states it.
    """
    previous: np.ndarray | None = None
    num_frames = 0
    for image in images:
        if previous is not None:
            middle = (times[-1] + times[-2]) / 2 - times[0]
            num_copies = _frames_until(middle, frame_rate) - num_frames
            yield from repeat(previous, num_copies)

            num_frames += num_copies

        previous = image

    seconds = times[-1] - times[0] + 1 / mean_frame_rate(times, nominal_rate)
    num_copies = max(1, round(seconds * frame_rate)) - num_frames

    assert previous is not None, "a file without a frame is refused"
    yield from repeat(previous, num_copies)


def _frames_until(seconds: float, frame_rate: float) -> int:
    """How many frames i of a constant rate have i / frame_rate <= seconds."""
    return max(0, int(np.floor(seconds * frame_rate + 1e-6)) + 1)


def _in_chunks(images: Iterable[np.ndarray], chunk: int) -> Iterator[np.ndarray]:
    """(H, W, 3) images -> (<= chunk, H, W, 3) arrays; a chunk of one frame is not copied."""
    waiting: list[np.ndarray] = []
    for image in images:
        waiting.append(image)
        if len(waiting) == chunk:
            yield _stack(waiting)
            waiting.clear()
    if waiting:
        yield _stack(waiting)


def _stack(images: list[np.ndarray]) -> np.ndarray:
    return np.stack(images) if len(images) > 1 else images[0][None]


def video_facts(path: Path, require_audio: bool = False) -> VideoFacts:
    """Size, length and rates of a file, by decoding its pictures once (none is kept).

    Args:
        path: the file.
        require_audio: refuse a file without sound.

    Returns:
        For the CREMA-D samples: 480 x 360, 29.97 Hz, 44100 Hz sound.

    Raises:
        InputError: as `read_video_stream`.
    """
    with open_video(path) as (container, video, audio):
        nominal_rate = nominal_frame_rate(video)
        screen = Screen(pixel_aspect(video))
        metadata = dict(container.metadata)
        sample_rate = audio.codec_context.sample_rate if audio is not None else 0

    times: list[float] = []
    for seconds, frame in decode_frames(path, require_audio):
        screen.display(frame)
        times.append(seconds)
    frame_rate = mean_frame_rate(times, nominal_rate)
    assert screen.first is not None, "a file without a frame is refused"
    return VideoFacts(
        width=screen.first.width,
        height=screen.first.height,
        num_frames=len(times),
        frame_rate=frame_rate,
        seconds=times[-1] - times[0] + 1 / frame_rate,
        sample_rate=sample_rate,
        metadata=metadata,
    )


def read_audio(path: Path, start_seconds: float, seconds: float) -> np.ndarray:
    """The sound of a part of a file, mono, 16 kHz.

    Parts that the file does not cover are silent. Channels become one as `channel_weights` says. A
    file without pictures will do.

    Args:
        path: the file.
        start_seconds: begin of the part, on the file's own clock.
        seconds: length of the part.

    Returns:
        (round(seconds * 16000),) float32 in [-1, 1].

    Raises:
        InputError: missing, unreadable, or without sound.
    """
    sound = np.zeros(round(seconds * AUDIO_RATE), np.float32)
    for position, samples in decode_sound(path, start_seconds):
        start = max(position, 0)
        stop = min(position + len(samples), len(sound))
        if start < stop:
            sound[start:stop] = samples[start - position : stop - position]
    return np.clip(sound, -1, 1)


def read_video(
    path: Path,
    frame_rate: float | None = 25.0,
    require_audio: bool = True,
    labels: dict | None = None,
) -> Clip:
    """A whole file as a `Clip`.

    Args:
        path: the file.
        frame_rate: Hz to resample to by nearest timestamp; None keeps the frames and the (mean)
            rate of the file.
        require_audio: False accepts a file without sound; its audio then is empty.
        labels: of the clip.

    Returns:
        Clip whose sound is exactly as long as its pictures. CREMA-D's 67 frames at 29.97 Hz become
        56 at 25 Hz.

    Raises:
        InputError: naming the file; also for a video that would not fit in memory.
    """
    path = Path(path)
    with open_video(path, require_audio) as (_, video, audio):
        nominal_rate = nominal_frame_rate(video)
        has_sound = audio is not None

    chunks = []
    times: list[float] = []
    num_bytes = 0
    for frames in read_video_stream(path, frame_rate, 64, require_audio, times):
        chunks.append(frames)
        num_bytes += frames.nbytes
        if num_bytes > MEMORY_LIMIT:
            raise InputError(
                f"{path}: over {MEMORY_LIMIT >> 30} GB when decoded, too long to read at once; "
                "cut it"
            )
    frames = np.concatenate(chunks)
    rate = frame_rate or mean_frame_rate(times, nominal_rate)

    sound = np.zeros(0, np.float32)
    if has_sound:
        sound = read_audio(path, times[0], len(frames) / rate)
    return Clip(path.stem, frames, rate, sound, dict(labels or {}), str(path))


def read_metadata(path: Path) -> dict[str, str]:
    """The container's metadata, e.g. the `comment` that says an edit is synthetic."""
    with open_video(path) as (container, _, _):
        return dict(container.metadata)
