"""Pictures and sound to an mp4 file, which appears whole or not at all.

A picture comes with its time as a number of ticks of the stream's time base. `write_video` counts
frames of a constant rate; `write_edit` keeps the clock of the file that was edited.
"""

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from cdrl.core.errors import InputError
from cdrl.core.files import atomic_path
from cdrl.media.audio import AUDIO_RATE
from cdrl.media.decoding import nominal_frame_rate, open_video

SYNTHETIC = "Synthetic: facial expression edited by the cdrl kit; not a recording of what happened"
# Sound in these codecs is copied packet by packet; any other is encoded anew at its own rate.
COPIED_AUDIO = ("aac", "mp3", "mp3float")
# From this many pixels on the encoder looks less far ahead: its frames take 50 MB each.
LARGE = 4 << 20
# From this height on players expect the colours of HD video.
HD_HEIGHT = 720
SOUND_BITS = 96_000  # a second, of encoded sound
CLOSED_TO_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS)


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
        path: the file, named .mp4.
        frames: (T, H, W, 3) uint8 RGB, or an iterable of such images; odd sizes grow by one pixel.
        frame_rate: Hz.
        audio: (S,) float in [-1, 1] mono, starting with the first frame; None or empty writes a
            silent file.
        metadata: added to (or put in place of) `comment` and `description`.
        sample_rate: of the sound, Hz.
        sound_codec: aac, or libmp3lame for players without AAC (VS Code's).

    Raises:
        InputError: for a name that is no .mp4, and where the disk is full or closed to writing.
    """
    images = iter(frames)
    frame_seconds = 1 / _exact_rate(frame_rate)

    with _open_output(Path(path), metadata) as container:
        first = next(images)
        pictures = _PictureTrack(container, first, frame_rate, frame_seconds)
        sound = None
        if audio is not None and len(audio):
            sound = _SampleTrack(container, audio, sample_rate, sound_codec)

        for index, image in enumerate(chain([first], images)):
            container.mux(pictures.encode(image, index, 1))
            if sound is not None:
                num_shown = index + 1
                end = round(num_shown * sample_rate * float(frame_seconds))
                container.mux(sound.encode_until(end))
        if sound is not None:
            container.mux(sound.finish())
        container.mux(pictures.finish())


def write_edit(
    source: Path, frames: Iterable[np.ndarray], out: Path, metadata: dict | None = None
) -> int:
    """Write the source's own clock and sound with other pictures.

    Every frame keeps the timestamp of the source frame it stands for; AAC and MP3 sound is copied
    packet by packet, other sound is encoded anew at its own sample rate, in mono or stereo. Frames
    may come from a generator: memory is bounded.

    Args:
        source: the file that was edited.
        frames: one (H, W, 3) uint8 image per frame that `read_video_stream(source,
            frame_rate=None)` yields.
        out: the file to write, named .mp4.
        metadata: as in `write_video`.

    Returns:
        Number of frames written.

    Raises:
        InputError: as `read_video` and `write_video`; also where `out` is the source itself.
        ValueError: when there are fewer or more frames than the source has.
    """
    source = Path(source)
    out = Path(out)
    images = iter(frames)
    if out.exists() and out.samefile(source):
        raise InputError(f"{out}: is the source itself; give another name to --out")
    with open_video(source) as (reader, video, audio), _open_output(out, metadata) as writer:
        video.thread_type = "AUTO"
        edit = _EditedCopy(writer, reader, video, audio)
        streams = [video] if audio is None else [video, audio]
        for packet in reader.demux(streams):
            if packet.stream.type == "audio":
                edit.add_sound(packet)
                continue
            for frame in packet.decode():
                assert isinstance(frame, av.VideoFrame)
                image = next(images, None)
                if image is None:
                    raise ValueError(
                        f"{source}: more than the {edit.num_frames} edited frames that were given"
                    )
                edit.add_picture(frame, image)
        if next(images, None) is not None:
            raise ValueError(f"{source}: {edit.num_frames} frames, more edited frames were given")
        edit.finish()
    return edit.num_frames


@contextmanager
def _open_output(path: Path, metadata: dict | None) -> Iterator[OutputContainer]:
    """Yield an mp4 under a temporary name; rename it to `path` at the end, remove it on failure."""
    if path.suffix.lower() != ".mp4":
        raise InputError(f"{path}: videos are written as .mp4; give a name that ends so")
    options = {"movflags": "+faststart+use_metadata_tags"}
    notice = {"comment": SYNTHETIC, "description": SYNTHETIC}
    try:
        with (
            atomic_path(path) as partial,
            av.open(str(partial), "w", format="mp4", options=options) as container,
        ):
            container.metadata.update(notice | (metadata or {}))
            yield container
    except (OSError, av.error.FFmpegError) as error:
        if error.errno not in CLOSED_TO_WRITING:
            raise
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); free some space or give another --out"
        ) from error


def _exact_rate(frame_rate: float) -> Fraction:
    return Fraction(frame_rate).limit_denominator(100_000)


class _PictureTrack:
    """The output's video stream, H.264 in yuv420p.

    Args:
        container: the output.
        first: (H, W, 3) uint8, the first image; it gives the size.
        frame_rate: Hz, nominal.
        time_base: seconds in a tick.
    """

    def __init__(
        self, container: OutputContainer, first: np.ndarray, frame_rate: float, time_base: Fraction
    ) -> None:
        height, width = _to_even_size(first).shape[:2]
        options = {"crf": "17", "preset": "fast"}
        if height * width > LARGE:
            options["x264-params"] = "rc-lookahead=8:sync-lookahead=0"

        stream = container.add_stream("libx264", rate=_exact_rate(frame_rate), options=options)
        stream.width = width
        stream.height = height
        stream.pix_fmt = "yuv420p"

        stream.time_base = time_base
        stream.codec_context.time_base = time_base

        colorspace = Colorspace.ITU709 if height >= HD_HEIGHT else Colorspace.ITU601
        stream.codec_context.colorspace = int(colorspace)
        self.stream = stream

    def encode(self, image: np.ndarray, ticks: int, duration: int) -> list[av.Packet]:
        """Encode an image.

        Args:
            image: (H, W, 3) uint8 RGB.
            ticks: when it is shown.
            duration: how long, ticks.
        """
        context = self.stream.codec_context
        pixels = np.ascontiguousarray(_to_even_size(image))
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")

        frame = frame.reformat(format="yuv420p", dst_colorspace=context.colorspace)

        frame.pts = ticks
        frame.duration = duration
        frame.time_base = context.time_base
        return self.stream.encode(frame)

    def finish(self) -> list[av.Packet]:
        """The packets that the encoder still holds."""
        return self.stream.encode(None)


def _to_even_size(image: np.ndarray) -> np.ndarray:
    """Repeat the last row or column of an (H, W, 3) image where its number is odd.

    H.264 in yuv420p needs even sizes.
    """
    height, width = image.shape[:2]
    missing_rows = height % 2
    missing_columns = width % 2

    if not missing_rows and not missing_columns:
        return image

    padding = ((0, missing_rows), (0, missing_columns), (0, 0))
    return np.pad(image, padding, mode="edge")


class _SampleTrack:
    """The output's sound stream, made from samples.

    Args:
        container: the output.
        audio: (S,) float in [-1, 1] mono.
        sample_rate: Hz.
        codec: FFmpeg's name of the encoder.
    """

    def __init__(
        self, container: OutputContainer, audio: np.ndarray, sample_rate: int, codec: str
    ) -> None:
        stream = container.add_stream(codec, rate=sample_rate, layout="mono")
        self.stream = cast(AudioStream, stream)
        self.stream.bit_rate = SOUND_BITS
        self.sample_rate = sample_rate
        self.audio = np.clip(np.asarray(audio, np.float32), -1, 1)
        self.position = 0  # samples handed to the encoder

    def encode_until(self, end: int) -> list[av.Packet]:
        """Encode what has not been encoded of the first `end` samples."""
        start = self.position
        samples = self.audio[None, start:end]
        self.position = end
        if not samples.size:
            return []

        frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout="mono")

        frame.sample_rate = self.sample_rate
        frame.pts = start
        frame.time_base = Fraction(1, self.sample_rate)

        return self.stream.encode(frame)

    def finish(self) -> list[av.Packet]:
        """Encode the rest, and return the packets that the encoder still holds."""
        rest = self.encode_until(len(self.audio))
        return rest + self.stream.encode(None)


class _EditedCopy:
    """An output that is being made from a source's packets: its sound, and other pictures.

    Args:
        writer: the output.
        reader: the source.
        video: the source's video stream.
        audio: its audio stream, or None.
    """

    def __init__(
        self,
        writer: OutputContainer,
        reader: InputContainer,
        video: VideoStream,
        audio: AudioStream | None,
    ) -> None:
        self.writer = writer
        self.frame_rate = nominal_frame_rate(video)
        self.time_base = cast(Fraction, video.time_base)
        self.frame_ticks = max(1, round(1 / (self.frame_rate * float(self.time_base))))
        origin = Fraction(reader.start_time or 0, av.time_base)
        self.origin_ticks = round(origin / self.time_base)

        self.num_frames = 0
        self.pictures: _PictureTrack | None = None  # begins with the first picture
        self.sound = _sound_track(writer, audio, origin)
        # Sound that came before the first picture: the file's header needs both streams.
        self.early_sound: list[av.Packet] = []

    def add_sound(self, packet: av.Packet) -> None:
        """Add a packet of the source's sound."""
        if self.pictures is None:
            self.early_sound.append(packet)
        elif self.sound is not None:
            self.writer.mux(self.sound.convert(packet))

    def add_picture(self, frame: av.VideoFrame, image: np.ndarray) -> None:
        """Add an image in place of a frame.

        Args:
            frame: of the source; it gives the time.
            image: (H, W, 3) uint8 RGB.
        """
        if self.pictures is None:
            self.pictures = _PictureTrack(self.writer, image, self.frame_rate, self.time_base)
            for packet in self.early_sound:
                self.add_sound(packet)

        if frame.pts is None:
            ticks = self.num_frames * self.frame_ticks
        else:
            ticks = frame.pts - self.origin_ticks

        self.writer.mux(self.pictures.encode(image, ticks, self.frame_ticks))
        self.num_frames += 1

    def finish(self) -> None:
        """Write what the encoders still hold."""
        assert self.pictures is not None, "a source without a frame is refused"
        self.writer.mux(self.pictures.finish())
        if self.sound is not None:
            self.writer.mux(self.sound.finish())


class _CopiedSound:
    """The output's sound stream: packets of the source as they are, on the output's clock.

    Args:
        writer: the output.
        source: the source's audio stream.
        origin: seconds on the source's clock at which the output's clock is 0.
    """

    def __init__(self, writer: OutputContainer, source: AudioStream, origin: Fraction) -> None:
        self.stream = writer.add_stream_from_template(source)
        self.context = source.codec_context
        self.rate = self.context.sample_rate
        self.origin = origin
        self.position: int | None = None  # samples written

    def convert(self, packet: av.Packet) -> list[av.Packet]:
        """The packets to write for one packet of the source.

        Clocks as coarse as FLV's milliseconds jitter; the sound itself runs evenly, so that its
        samples are counted.
        """
        if packet.pts is None:
            return []
        seconds = packet.pts * packet.time_base - self.origin
        stated_position = round(seconds * self.rate)

        packet_seconds = (packet.duration or 0) * packet.time_base
        num_samples = self.context.frame_size or round(packet_seconds * self.rate)

        largest_drift = self.rate // 20
        if self.position is None or abs(stated_position - self.position) > largest_drift:
            self.position = stated_position

        packet.time_base = Fraction(1, self.rate)
        packet.pts = self.position
        packet.dts = self.position
        packet.duration = num_samples
        packet.stream = self.stream
        self.position += num_samples
        return [packet]

    def finish(self) -> list[av.Packet]:
        """Nothing is held back."""
        return []


class _EncodedSound:
    """The output's sound stream: the source's sound, decoded and encoded as AAC.

    Args:
        writer: the output.
        source: the source's audio stream.
        origin: seconds on the source's clock at which the output's clock is 0.
    """

    def __init__(self, writer: OutputContainer, source: AudioStream, origin: Fraction) -> None:
        context = source.codec_context
        layout = "mono" if context.channels == 1 else "stereo"

        self.rate = context.sample_rate
        self.stream = writer.add_stream("aac", rate=self.rate, layout=layout)
        self.resampler = av.AudioResampler(format="fltp", layout=layout, rate=self.rate)

        self.origin = origin
        self.position: int | None = None  # samples written

    def convert(self, packet: av.Packet) -> list[av.Packet]:
        """The packets to write for one packet of the source."""
        if packet.pts is None:
            return []
        packets: list[av.Packet] = []
        for frame in packet.decode():
            assert isinstance(frame, AudioFrame)
            for piece in self.resampler.resample(frame):
                if self.position is None:
                    self.position = self._first_position(frame)
                packets += self._encode(piece)
        return packets

    def _first_position(self, frame: AudioFrame) -> int:
        """The number of a frame's first sample on the output's clock."""
        assert frame.pts is not None
        assert frame.time_base is not None
        seconds = Fraction(frame.pts) * frame.time_base - self.origin
        return round(seconds * self.rate)

    def _encode(self, piece: AudioFrame) -> list[av.Packet]:
        assert self.position is not None, "a piece comes after the first frame"

        piece.pts = self.position
        piece.time_base = Fraction(1, self.rate)
        self.position += piece.samples
        return self.stream.encode(piece)

    def finish(self) -> list[av.Packet]:
        """The packets that resampler and encoder still hold."""
        packets: list[av.Packet] = []
        for piece in self.resampler.resample(None):
            packets += self._encode(piece)
        return packets + self.stream.encode(None)


def _sound_track(
    writer: OutputContainer, source: AudioStream | None, origin: Fraction
) -> _CopiedSound | _EncodedSound | None:
    """The output's sound stream for a source's, see `COPIED_AUDIO`; None without sound."""
    if source is None:
        return None
    if source.codec_context.name in COPIED_AUDIO:
        return _CopiedSound(writer, source, origin)
    return _EncodedSound(writer, source, origin)
