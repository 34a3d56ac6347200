"""Media files to pictures, each with its time on the file's own clock.

This is the lower of two layers: it opens a file, decodes its pictures, and says in one line what is
wrong with a file. `cdrl.media.sound` does the same for sound. `cdrl.media.video` puts what they
yield on a constant frame rate.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.filter import Graph
from av.stream import Disposition
from av.video.stream import VideoStream

from cdrl.core.errors import InputError
from cdrl.media.clock import PacketClock, PacketTimes, PictureClock
from cdrl.media.riff import refuse_cut_file

# A file is truncated when its packets end this much (plus 2 %) before the length in its header.
TRUNCATION_SECONDS = 0.2
TRUNCATION_SHARE = 0.02
# Frames per second where neither the container nor FFmpeg knows the rate.
FALLBACK_RATE = 25
# Labels need not be UTF-8, many files have Latin-1. PyAV takes any by itself from version 19 on.
_KNOWS_ANY = int(av.__version__.partition(".")[0]) >= 19
ANY_LABELS: dict[str, Any] = {} if _KNOWS_ANY else {"metadata_errors": "replace"}

AnyStream = TypeVar("AnyStream", VideoStream, AudioStream)


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
        # A path is a path, never a protocol: `12:30.mp4`.
        source = f"file:{path}"
        with av.open(source, options=options, **ANY_LABELS) as container:
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


def packets_of(container: InputContainer) -> Iterator[av.Packet]:
    """Yield the packets of all streams in the file's order.

    Args:
        container: an open file.

    Raises:
        InputError: a stream begins in the middle of the file, which only damaged ones do.
    """
    packets = container.demux()
    while True:
        try:
            packet = next(packets, None)
        except IndexError:  # of a stream that the header does not have
            path = container.name.removeprefix("file:")
            raise InputError(
                f"{path}: not a readable video (a stream begins in its middle); convert it, e.g. "
                "with ffmpeg, to mp4"
            ) from None
        if packet is None:
            return
        yield packet


def _video_stream(container: InputContainer) -> VideoStream | None:
    """The default video stream that can be decoded and is no cover picture, or the first."""
    cover = Disposition.attached_pic
    streams = []
    for stream in container.streams.video:
        is_cover = stream.disposition & cover
        if not is_cover and stream.codec_context:
            streams.append(stream)
    return _default_stream(streams)


def _audio_stream(container: InputContainer) -> AudioStream | None:
    """The default audio stream that can be decoded, or the first."""
    streams = [stream for stream in container.streams.audio if stream.codec_context]
    return _default_stream(streams)


def _default_stream(streams: list[AnyStream]) -> AnyStream | None:
    """The first stream that its file marks as default; else the first; None without any."""
    for stream in streams:
        if stream.disposition & Disposition.default:
            return stream
    return streams[0] if streams else None


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
    with open_video(path, require_audio) as file:
        for part in MediaWalk(path, file, threads):
            if isinstance(part, TimedFrame):
                yield part


class MediaWalk:
    """Goes once through a file: its pictures decoded, its other packets as they are.

    Fields are woven into whole pictures, and the clock rises: see `cdrl.media.clock`.

    Args:
        path: the file, for errors.
        file: the open file.
        threads: of the decoder; 0 leaves it to FFmpeg.
    """

    def __init__(self, path: Path, file: VideoFile, threads: int = 0) -> None:
        self.path = path
        self.container, self.video, _ = file
        self.video.thread_type = "AUTO"
        self.video.codec_context.thread_count = threads

        self.packet_clock = PacketClock()
        self.picture_clock = PictureClock(1 / nominal_frame_rate(self.video))
        self.deinterlacer = Deinterlacer()
        # Seconds at which the first packet of a picture begins, and at which the last one ends.
        self.video_start: float | None = None
        self.video_end = 0.0

    def __iter__(self) -> Iterator[TimedFrame | av.Packet]:
        """Yield pictures with their times, and packets of other streams, in the file's order."""
        num_frames = 0
        for packet in packets_of(self.container):
            times = self.packet_clock.correct(packet)
            if packet.stream.index != self.video.index:
                yield packet
                continue
            self._note_video(times)
            for frame in packet.decode():
                assert isinstance(frame, av.VideoFrame)
                timed = TimedFrame(self.picture_clock.time(frame.time), frame)
                for whole in self.deinterlacer.convert(timed):
                    num_frames += 1
                    yield whole
        for whole in self.deinterlacer.finish():
            num_frames += 1
            yield whole

        if not num_frames:
            raise InputError(
                f"{self.path}: not one frame could be decoded; convert it, e.g. with ffmpeg, to mp4"
            )
        self._refuse_truncated_file()

    def _note_video(self, times: PacketTimes) -> None:
        if times.start is None or times.end is None:
            return
        if self.video_start is None:
            self.video_start = times.start
        self.video_start = min(self.video_start, times.start)
        self.video_end = max(self.video_end, times.end)

    def _refuse_truncated_file(self) -> None:
        """Refuse a file that promises more seconds than its packets hold.

        The file's own length is that of its longest stream, so it is compared with all of them. An
        AVI that was cut has no index and a length that is guessed; the bytes that it lacks tell.
        """
        refuse_cut_file(self.path)
        promised = (self.container.duration or 0) / av.time_base
        start = (self.container.start_time or 0) / av.time_base
        seconds = self.packet_clock.end - start
        self._refuse_missing_end(seconds, promised)

        if self.video.duration and self.video_start is not None:
            time_base = cast(Fraction, self.video.time_base)
            promised = float(self.video.duration * time_base)
            seconds = self.video_end - self.video_start
            self._refuse_missing_end(seconds, promised)

    def _refuse_missing_end(self, seconds: float, promised: float) -> None:
        if seconds < promised - TRUNCATION_SECONDS - TRUNCATION_SHARE * promised:
            raise InputError(
                f"{self.path}: truncated, {seconds:.2f} s of {promised:.2f} s are there; "
                "fetch the file again"
            )


class Deinterlacer:
    """Makes whole pictures of frames that hold two fields; other frames pass as they are.

    It holds one frame back once it has seen fields.
    """

    def __init__(self) -> None:
        self.graph: Graph | None = None
        self.layout: tuple[int, int, str] | None = None  # width, height and format in the graph
        self.waiting: deque[float] = deque()  # times of the frames in the graph

    @property
    def has_worked(self) -> bool:
        """Whether fields were seen."""
        return self.layout is not None

    def convert(self, timed: TimedFrame) -> list[TimedFrame]:
        """Take a decoded frame.

        Args:
            timed: the frame and its time.

        Returns:
            The frames that are ready, in order.
        """
        frame = timed.frame
        if self.graph is None and not frame.interlaced_frame:
            return [timed]
        ready = []
        layout = (frame.width, frame.height, frame.format.name)
        if self.graph is None or layout != self.layout:
            ready = self.finish()
            self.graph = _deinterlacing_graph(frame)
            self.layout = layout
        self.waiting.append(timed.seconds)
        self.graph.vpush(frame)
        return ready + self._pull()

    def finish(self) -> list[TimedFrame]:
        """The frames that are still held."""
        if self.graph is None:
            return []
        self.graph.vpush(None)
        ready = self._pull()
        self.graph = None
        return ready

    def _pull(self) -> list[TimedFrame]:
        assert self.graph is not None
        ready: list[TimedFrame] = []
        while True:
            try:
                frame = self.graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return ready
            ready.append(TimedFrame(self.waiting.popleft(), frame))


def _deinterlacing_graph(frame: av.VideoFrame) -> Graph:
    """A filter that makes one picture of both fields of a frame; its neighbours help."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=frame.time_base or Fraction(1, av.time_base),
    )
    graph.link_nodes(
        source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink")
    ).configure()
    return graph


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


def pixel_aspect(video: VideoStream) -> Fraction | None:
    """Width of a pixel by its height, the container's word before the codec's; None unknown."""
    return video.sample_aspect_ratio
