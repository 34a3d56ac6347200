"""Writing videos: under a temporary name that is renamed when the file is complete, never half-written."""

import errno
import os
from collections.abc import Iterable
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace

from cdrl.core.errors import InputError
from cdrl.media.audio import AUDIO_RATE
from cdrl.media.decoding import nominal_frame_rate, open_media

SYNTHETIC = "Synthetic: facial expression edited by the cdrl kit; not a recording of what happened"
# Sound in these codecs is copied into an mp4 packet by packet; any other is encoded anew at its own sample rate.
COPIED_AUDIO = ("aac", "mp3", "mp3float")
LARGE = 4 << 20  # pixels; from here on the encoder looks less far ahead: its frames take 50 MB each
CLOSED_TO_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS)


@contextmanager
def _writing(path: Path, metadata: dict | None):
    """Yield an output mp4 under a temporary name; rename it to `path` at the end, remove it after any failure."""
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise InputError(f"{path}: videos are written as .mp4; give a name that ends so")
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = {"movflags": "+faststart+use_metadata_tags"}
        with av.open(str(partial), "w", format="mp4", options=flags) as container:
            container.metadata.update(
                {"comment": SYNTHETIC, "description": SYNTHETIC, **(metadata or {})}
            )
            yield container
        os.replace(partial, path)
    except (OSError, av.error.FFmpegError) as error:
        if error.errno not in CLOSED_TO_WRITING:
            raise
        reason = (
            f"{path}: cannot be written ({error.strerror}); free some space or give another --out"
        )
        raise InputError(reason) from error
    finally:
        partial.unlink(missing_ok=True)


def _even(image: np.ndarray) -> np.ndarray:
    """H.264 in yuv420p needs even sizes: repeat the last row or column where one is odd."""
    height, width = image.shape[:2]
    return (
        np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if height % 2 or width % 2
        else image
    )


def _video_stream(container, height: int, width: int, frame_rate: float, time_base: Fraction):
    rate = Fraction(frame_rate).limit_denominator(100_000)
    options = {"crf": "17", "preset": "fast"}
    if height * width > LARGE:
        options["x264-params"] = "rc-lookahead=8:sync-lookahead=0"
    stream = container.add_stream("libx264", rate=rate, options=options)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.time_base = stream.codec_context.time_base = time_base
    space = Colorspace.ITU709 if height >= 720 else Colorspace.ITU601
    stream.codec_context.colorspace = int(space)
    return stream


def _encode(stream, image: np.ndarray, pts: int, duration: int) -> list:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace=stream.codec_context.colorspace)
    frame.pts, frame.duration, frame.time_base = pts, duration, stream.codec_context.time_base
    return stream.encode(frame)


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    frame_rate: float,
    audio: np.ndarray | None = None,
    metadata: dict | None = None,
    sample_rate: int = AUDIO_RATE,
    sound_codec: str = "aac",
) -> None:
    """Write H.264 (yuv420p, crf 17) and sound into an mp4 whose metadata says that it is synthetic.

    Args:
        frames: (T, H, W, 3) uint8 RGB, or an iterable of such images; odd sizes grow by one pixel. frame_rate: Hz.
        audio: (S,) float in [-1, 1] mono, starting with the first frame; None or empty writes a silent file.
        metadata: added to (or put in place of) `comment` and `description`.
        sound_codec: aac, or libmp3lame for players without AAC (VS Code's).

    Raises:
        InputError: for a name that is no .mp4, and where the disk is full or closed to writing.
    """
    frames, base = iter(frames), 1 / Fraction(frame_rate).limit_denominator(100_000)
    with _writing(path, metadata) as container:
        image = _even(next(frames))
        video = _video_stream(container, *image.shape[:2], frame_rate, base)
        sound = None
        if audio is not None and len(audio):
            sound = container.add_stream(sound_codec, rate=sample_rate, layout="mono")
            sound.bit_rate = 96_000
            audio = np.clip(np.asarray(audio, np.float32), -1, 1)[None]
        for index, image in enumerate(chain([image], map(_even, frames))):
            container.mux(_encode(video, image, index, 1))
            if sound is not None:
                low, high = (round(k * sample_rate * float(base)) for k in (index, index + 1))
                container.mux(_encode_sound(sound, audio[:, low:high], low))
        if sound is not None:
            container.mux(_encode_sound(sound, audio[:, high:], high))
            container.mux(sound.encode(None))
        container.mux(video.encode(None))


def _encode_sound(stream, samples: np.ndarray, position: int) -> list:
    if not samples.shape[1]:
        return []
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = stream.rate, position, Fraction(1, stream.rate)
    return stream.encode(frame)


def write_edit(
    source: Path, frames: Iterable[np.ndarray], out: Path, metadata: dict | None = None
) -> int:
    """The source's own clock and sound with other pictures.

    Every frame keeps the timestamp of the source frame it stands for; AAC and MP3 sound is copied packet by packet,
    other sound is encoded anew at its own sample rate, in mono or stereo. Frames may come from a generator: memory is
    bounded.

    Args:
        frames: one (H, W, 3) uint8 image per frame that `read_video_stream(source, frame_rate=None)` yields.

    Returns:
        Number of frames written.

    Raises:
        InputError: as `read_video` and `write_video`; also where `out` is the source itself.
        ValueError: when there are fewer or more frames than the source has.
    """
    source, out, frames, count = Path(source), Path(out), iter(frames), 0
    if out.exists() and out.samefile(source):
        raise InputError(f"{out}: is the source itself; give another name to --out")
    with open_media(source) as (reader, video, sound), _writing(out, metadata) as writer:
        video.thread_type = "AUTO"
        target = None
        track = _SoundTrack(writer, sound) if sound is not None else None
        origin = Fraction(reader.start_time or 0, av.time_base)
        shift = round(origin / video.time_base)
        step = max(1, round(1 / (nominal_frame_rate(video) * float(video.time_base))))
        waiting = []  # sound that came before the first picture: the header needs both streams
        for packet in reader.demux([s for s in (video, sound) if s is not None]):
            if packet.stream.type == "audio":
                (
                    waiting.append
                    if target is None
                    else lambda p: writer.mux(track.packets(p, origin))
                )(packet)
                continue
            for frame in packet.decode():
                image = next(frames, None)
                if image is None:
                    raise ValueError(
                        f"{source}: more than the {count} edited frames that were given"
                    )
                image = _even(image)
                if target is None:
                    target = _video_stream(
                        writer, *image.shape[:2], nominal_frame_rate(video), video.time_base
                    )
                    for early in waiting:
                        writer.mux(track.packets(early, origin))
                pts = frame.pts - shift if frame.pts is not None else count * step
                writer.mux(_encode(target, image, pts, step))
                count += 1
        if next(frames, None) is not None:
            raise ValueError(f"{source}: {count} frames, more edited frames were given")
        writer.mux(target.encode(None))
        if track is not None:
            writer.mux(track.end())
    return count


class _SoundTrack:
    """The output's sound stream: copies packets of the source, or decodes and encodes them."""

    def __init__(self, writer, source):
        self.source, self.copies = source, source.codec_context.name in COPIED_AUDIO
        self.rate, self.position = source.codec_context.sample_rate, None
        if self.copies:
            self.stream = writer.add_stream_from_template(source)
        else:
            layout = "mono" if source.codec_context.channels == 1 else "stereo"
            self.stream = writer.add_stream("aac", rate=self.rate, layout=layout)
            self.resampler = av.AudioResampler(format="fltp", layout=layout, rate=self.rate)

    def packets(self, packet, origin: Fraction) -> list:
        """Packets to mux for one source packet, on a clock that starts at `origin` seconds of the source."""
        if packet.pts is None:
            return []
        if not self.copies:
            out = []
            for frame in packet.decode():
                for piece in self.resampler.resample(frame):
                    if self.position is None:
                        self.position = round(
                            (Fraction(frame.pts) * frame.time_base - origin) * self.rate
                        )
                    out += self._encode(piece)
            return out
        # Clocks as coarse as FLV's milliseconds jitter; the sound itself runs evenly, so count its samples.
        heard = round((packet.pts * packet.time_base - origin) * self.rate)
        length = self.source.codec_context.frame_size or round(
            (packet.duration or 0) * packet.time_base * self.rate
        )
        if self.position is None or abs(heard - self.position) > self.rate // 20:
            self.position = heard
        packet.time_base = Fraction(1, self.rate)
        packet.pts = packet.dts = self.position
        packet.duration, packet.stream = length, self.stream
        self.position += length
        return [packet]

    def _encode(self, piece) -> list:
        piece.pts, piece.time_base = self.position, Fraction(1, self.rate)
        self.position += piece.samples
        return self.stream.encode(piece)

    def end(self) -> list:
        if self.copies:
            return []
        rest = [packet for piece in self.resampler.resample(None) for packet in self._encode(piece)]
        return rest + self.stream.encode(None)
