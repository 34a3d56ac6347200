"""Media files to pictures and sound, each with its time on the file's own clock.

This is the lower of two layers: it opens a file, decodes its streams, and says in one line what is
wrong with a file. `cdrl.media.video` puts what it yields on a constant frame rate.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from cdrl.core.errors import InputError
from cdrl.media.audio import AUDIO_RATE

# A file is truncated when its packets end this much (plus 2 %) before the length in its header.
TRUNCATION_SECONDS = 0.2
TRUNCATION_SHARE = 0.02
# Frames per second where neither the container nor FFmpeg knows the rate.
FALLBACK_RATE = 25
# Sound that jumps by more than this many samples has a hole, or overlaps; its position is set anew.
LARGEST_DRIFT = AUDIO_RATE // 10


class VideoFile(NamedTuple):
    """An open file with pictures: the container, its video stream, and its audio stream or None."""

    container: InputContainer
    video: VideoStream
    audio: AudioStream | None


class AudioFile(NamedTuple):
    """An open file with sound: the container and its audio stream."""

    container: InputContainer
    audio: AudioStream


class TimedFrame(NamedTuple):
    """A decoded picture and the time (s, on the file's own clock) at which it is shown."""

    seconds: float
    frame: av.VideoFrame


class TimedSound(NamedTuple):
    """A piece of sound: the number of its first sample, and (S,) float32 mono samples at 16 kHz."""

    position: int
    samples: np.ndarray


@contextmanager
def open_video(path: Path, require_audio: bool = False) -> Iterator[VideoFile]:
    """Open a file with pictures; every failure becomes an InputError that names the file.

    Args:
        path: the file.
        require_audio: refuse a file without sound.

    Raises:
        InputError: missing, unreadable, a still picture, without video, or without the sound that
            is required.
    """
    with _open_container(Path(path)) as container:
        video = _video_stream(container)
        audio = _audio_stream(container)
        if video is None:
            only = "only sound, " if audio is not None else ""
            raise InputError(
                f"{path}: {only}no video stream that can be decoded; give a file that shows a face"
            )
        if require_audio:
            _refuse_silent_file(path, audio)
        yield VideoFile(container, video, audio)


@contextmanager
def open_audio(path: Path) -> Iterator[AudioFile]:
    """Open a file with sound; every failure becomes an InputError that names the file.

    Args:
        path: the file, with or without pictures.

    Raises:
        InputError: missing, unreadable, a still picture, or without sound.
    """
    with _open_container(Path(path)) as container:
        audio = _refuse_silent_file(path, _audio_stream(container))
        yield AudioFile(container, audio)


@contextmanager
def _open_container(path: Path) -> Iterator[InputContainer]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the path of a video file")
    if not path.stat().st_size:
        raise InputError(f"{path}: not a readable video (empty, 0 bytes); fetch the file again")
    # A playlist under a video's name must not make this machine fetch what it lists.
    options = {"protocol_whitelist": "file"}
    try:
        with av.open(str(path), options=options) as container:
            format_name = container.format.name
            if format_name.endswith("_pipe") or format_name == "image2":
                raise InputError(
                    f"{path}: a picture, not a video; give a video file (mp4, mov, mkv, flv, ...)"
                )
            yield container
    except av.error.FFmpegError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(
            f"{path}: not a readable video ({reason}); convert it, e.g. with ffmpeg, to mp4"
        ) from error


def _video_stream(container: InputContainer) -> VideoStream | None:
    """The first video stream that can be decoded and is no cover picture."""
    cover = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        is_cover = stream.disposition & cover
        if not is_cover and stream.codec_context:
            return stream
    return None


def _audio_stream(container: InputContainer) -> AudioStream | None:
    """The first audio stream that can be decoded."""
    for stream in container.streams.audio:
        if stream.codec_context:
            return stream
    return None


def _refuse_silent_file(path: Path, audio: AudioStream | None) -> AudioStream:
    if audio is None:
        raise InputError(
            f"{path}: no sound; the edit follows the speech, give a video with its sound track"
        )
    return audio


def decode_frames(
    path: Path, require_audio: bool = False, threads: int = 0
) -> Iterator[TimedFrame]:
    """Yield every picture of a file with its time; a truncated file is refused at its end.

    Args:
        path: the file.
        require_audio: refuse a file without sound.
        threads: of the decoder; 0 leaves it to FFmpeg. Each holds frames of its own.

    Raises:
        InputError: as `open_video`; also where no frame can be decoded, and where the file is
            truncated.
    """
    with open_video(path, require_audio) as (container, video, audio):
        video.thread_type = "AUTO"
        video.codec_context.thread_count = threads
        streams = [video] if audio is None else [video, audio]
        seconds = None
        end = 0.0
        for packet in container.demux(streams):
            end = max(end, _packet_end(packet))
            if packet.stream.type != "video":
                continue
            for frame in packet.decode():
                assert isinstance(frame, av.VideoFrame)
                seconds = _frame_seconds(frame, seconds, video)
                yield TimedFrame(seconds, frame)
        if seconds is None:
            raise InputError(
                f"{path}: not one frame could be decoded; convert it, e.g. with ffmpeg, to mp4"
            )
        _refuse_truncated_file(path, container, end)


def _packet_end(packet: av.Packet) -> float:
    """Seconds at which a packet ends; 0 where its time is unknown."""
    if packet.pts is None:
        return 0.0
    return float((packet.pts + (packet.duration or 0)) * packet.time_base)


def _frame_seconds(frame: av.VideoFrame, previous: float | None, video: VideoStream) -> float:
    """The frame's time; where it has none, one frame after the previous one."""
    if frame.time is not None:
        return frame.time
    if previous is None:
        return 0.0
    return previous + 1 / nominal_frame_rate(video)


def _refuse_truncated_file(path: Path, container: InputContainer, end: float) -> None:
    promised_seconds = (container.duration or 0) / av.time_base
    start_seconds = (container.start_time or 0) / av.time_base
    seconds = end - start_seconds
    fewest_seconds = promised_seconds - TRUNCATION_SECONDS - TRUNCATION_SHARE * promised_seconds
    if seconds < fewest_seconds:
        raise InputError(
            f"{path}: truncated, {seconds:.2f} s of {promised_seconds:.2f} s are there; "
            "fetch the file again"
        )


def decode_sound(path: Path, start_seconds: float) -> Iterator[TimedSound]:
    """Yield the sound of a file piece by piece, at 16 kHz; channels are averaged.

    Args:
        path: a file with sound, with or without pictures.
        start_seconds: the time on the file's own clock that is sample 0; earlier pieces have
            negative positions.

    Raises:
        InputError: as `open_audio`.
    """
    position: int | None = None

    with open_audio(path) as (container, audio):
        layout = audio.codec_context.layout
        resampler = av.AudioResampler(format="fltp", layout=layout, rate=AUDIO_RATE)

        for frame in chain(container.decode(audio), [None]):
            if frame is not None and frame.time is not None:
                stated_position = round((frame.time - start_seconds) * AUDIO_RATE)
                if position is None or abs(stated_position - position) > LARGEST_DRIFT:
                    position = stated_position
            for piece in resampler.resample(frame):
                samples = piece.to_ndarray().mean(axis=0, dtype=np.float32)
                position = position or 0
                yield TimedSound(position, samples)
                position += len(samples)


def nominal_frame_rate(video: VideoStream) -> float:
    """Frames per second as the container states them or FFmpeg guesses; 25 where neither does."""
    return float(video.average_rate or video.guessed_rate or FALLBACK_RATE)


def mean_frame_rate(times: list[float], nominal_rate: float) -> float:
    """Frames per second of timestamps; the container's nominal rate where it agrees within 1 %.

    Args:
        times: timestamps of successive frames, s.
        nominal_rate: Hz.
    """
    if len(times) < 2 or times[-1] <= times[0]:
        return nominal_rate

    measured_rate = (len(times) - 1) / (times[-1] - times[0])
    relative_error = abs(measured_rate / nominal_rate - 1)
    return nominal_rate if relative_error < 0.01 else measured_rate


def upright_rgb(frame: av.VideoFrame, pixel_aspect: Fraction | None) -> np.ndarray:
    """The picture of a frame, upright and with square pixels.

    Args:
        frame: as decoded.
        pixel_aspect: width of a pixel by its height; None or an absurd one is taken as 1.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    width = frame.width
    if pixel_aspect and 0.2 < pixel_aspect < 5:
        width = round(frame.width * float(pixel_aspect))

    image = frame.to_ndarray(format="rgb24", width=width, height=frame.height)

    degrees = frame.rotation or 0
    quarter_turns = round(degrees / 90) % 4
    if not quarter_turns:
        return image
    return np.ascontiguousarray(np.rot90(image, quarter_turns))
