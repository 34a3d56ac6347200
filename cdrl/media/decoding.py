"""Video containers: open, find the streams, decode, and say in one line what is wrong with a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from cdrl.core.errors import InputError

# A file is called truncated when its packets end this much (plus 2 %) before the length that its header promises.
TRUNCATION_SECONDS = 0.2


@contextmanager
def open_media(path: Path, require_audio: bool = False, require_video: bool = True):
    """Yield (container, video stream, audio stream or None); every failure becomes an InputError with the file."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the path of a video file")
    if not path.stat().st_size:
        raise InputError(f"{path}: not a readable video (empty, 0 bytes); fetch the file again")
    try:
        # A playlist under a video's name must not make this machine fetch what it lists.
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            covers = av.stream.Disposition.attached_pic
            videos = [
                s for s in container.streams.video if not s.disposition & covers and s.codec_context
            ]
            sounds = [s for s in container.streams.audio if s.codec_context]
            if container.format.name.endswith("_pipe") or container.format.name == "image2":
                raise InputError(
                    f"{path}: a picture, not a video; give a video file (mp4, mov, mkv, flv, ...)"
                )
            if not videos and require_video:
                only = "only sound, " if sounds else ""
                raise InputError(
                    f"{path}: {only}no video stream that can be decoded; give a file that shows a face"
                )
            if require_audio and not sounds:
                raise InputError(
                    f"{path}: no sound; the edit follows the speech, give a video with its sound track"
                )
            yield container, videos[0] if videos else None, sounds[0] if sounds else None
    except av.error.FFmpegError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(
            f"{path}: not a readable video ({reason}); convert it, e.g. with ffmpeg, to mp4"
        ) from error


def decode_frames(
    path: Path, require_audio: bool = False, threads: int = 0
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Yield (seconds on the file's own clock, decoded frame); refuse a file that ends before its header says.

    Args:
        threads: of the decoder; 0 leaves it to FFmpeg. Each holds frames of its own.
    """
    with open_media(path, require_audio) as (container, video, audio):
        video.thread_type, video.codec_context.thread_count = "AUTO", threads
        time, end = None, 0.0
        for packet in container.demux([s for s in (video, audio) if s is not None]):
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            for frame in packet.decode() if packet.stream.type == "video" else ():
                following = 0.0 if time is None else time + 1 / nominal_frame_rate(video)
                time = following if frame.time is None else frame.time
                yield time, frame
        if time is None:
            raise InputError(
                f"{path}: not one frame could be decoded; convert it, e.g. with ffmpeg, to mp4"
            )
        promised = (container.duration or 0) / av.time_base
        end -= (container.start_time or 0) / av.time_base
        if end < promised - TRUNCATION_SECONDS - 0.02 * promised:
            raise InputError(
                f"{path}: truncated, {end:.2f} s of {promised:.2f} s are there; fetch the file again"
            )


def nominal_frame_rate(video: av.VideoStream) -> float:
    """Frames per second as the container states them (or FFmpeg guesses); 25 where neither is known."""
    return float(video.average_rate or video.guessed_rate or 25)


def upright_rgb(frame: av.VideoFrame, aspect: Fraction | None) -> np.ndarray:
    """(H, W, 3) uint8, upright and with square pixels."""
    width = round(frame.width * float(aspect)) if aspect and 0.2 < aspect < 5 else frame.width
    image = frame.to_ndarray(format="rgb24", width=width, height=frame.height)
    turns = round((frame.rotation or 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def mean_frame_rate(times: list[float], fallback: float) -> float:
    """Frames per second of timestamps; the container's nominal rate where it agrees within 1 %."""
    if len(times) < 2 or times[-1] <= times[0]:
        return fallback
    measured = (len(times) - 1) / (times[-1] - times[0])
    return fallback if abs(measured / fallback - 1) < 0.01 else measured
