"""An mp4 file that is being written: it appears whole or not at all."""

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer

from cdrl.core.errors import InputError
from cdrl.core.files import atomic_path
from cdrl.media.colour import FULL_RANGE, LIMITED_RANGE, ColourTags, Planes

SYNTHETIC = "Synthetic: facial expression edited by the cdrl kit; not a recording of what happened"
# From this many pixels on the encoder looks less far ahead: its frames take 50 MB each.
LARGE = 4 << 20
FINEST_TICK = Fraction(1, 10_000)  # seconds; coarser clocks are divided
CLOSED_TO_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS)


class Output:
    """An open mp4 file.

    Args:
        path: its name when it is whole, for errors.
        container: what is written under a temporary name.
    """

    def __init__(self, path: Path, container: OutputContainer) -> None:
        self.path = path
        self.container = container

    def mux(self, packets: Iterable[av.Packet]) -> None:
        """Write packets; they are put in order of time.

        Args:
            packets: of any of its streams.

        Raises:
            InputError: where the disk is full or closed, or the packets do not fit into an mp4.
        """
        try:
            with _writing(self.path):
                for packet in packets:
                    self.container.mux(packet)
        except av.error.FFmpegError as error:
            raise InputError(
                f"{self.path}: cannot be written as mp4 ({error.strerror}); convert the source to "
                "mp4, e.g. with ffmpeg, and edit that"
            ) from error


@contextmanager
def open_output(path: Path, metadata: dict[str, str]) -> Iterator[Output]:
    """Yield an mp4 under a temporary name; rename it to `path` at the end, remove it on failure.

    Args:
        path: the file, named .mp4.
        metadata: added to (or put in place of) a `comment` and a `description` that say that the
            file is synthetic.

    Raises:
        InputError: for a name that is no .mp4, and where the disk is full or closed to writing.
    """
    if path.suffix.lower() != ".mp4":
        raise InputError(f"{path}: videos are written as .mp4; give a name that ends so")
    options = {"movflags": "+faststart+use_metadata_tags"}
    notice = {"comment": SYNTHETIC, "description": SYNTHETIC}
    with _writing(path), atomic_path(path) as partial:
        container = av.open(f"file:{partial}", "w", format="mp4", options=options)
        container.metadata.update(notice | metadata)
        try:
            yield Output(path, container)
        except BaseException:
            with suppress(OSError, av.error.FFmpegError):
                container.close()
            raise
        container.close()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Errors of a disk that is full or closed to writing become one line with a remedy."""
    try:
        yield
    except (OSError, av.error.FFmpegError) as error:
        if error.errno not in CLOSED_TO_WRITING:
            raise
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); free some space or give another --out"
        ) from error


class PictureTrack:
    """The output's video stream, H.264 in yuv420p.

    Args:
        output: the file.
        size: (width, height) of the pictures; odd ones grow by one pixel.
        tags: of their colours.
        frame_rate: Hz, nominal.
        time_base: seconds in a tick of the clock that the pictures follow.
    """

    def __init__(
        self,
        output: Output,
        size: tuple[int, int],
        tags: ColourTags,
        frame_rate: Fraction,
        time_base: Fraction,
    ) -> None:
        width, height = size
        options = {"crf": "17", "preset": "fast"}
        if height * width > LARGE:
            options["x264-params"] = "rc-lookahead=8:sync-lookahead=0"

        stream = output.container.add_stream("libx264", rate=frame_rate, options=options)
        stream.width = width + width % 2
        stream.height = height + height % 2
        stream.pix_fmt = "yuv420p"

        self.time_base = fine_time_base(time_base)
        stream.time_base = self.time_base
        context = stream.codec_context
        context.time_base = self.time_base

        context.colorspace = tags.matrix
        context.color_range = FULL_RANGE if tags.full_range else LIMITED_RANGE
        context.color_primaries = tags.primaries
        context.color_trc = tags.transfer
        self.tags = tags
        self.stream = stream
        self.frame_ticks = max(1, round(1 / frame_rate / self.time_base))
        self.latest: int | None = None  # ticks of the latest picture

    def encode(self, planes: Planes, seconds: float) -> list[av.Packet]:
        """Encode a picture.

        Args:
            planes: of the picture, with the track's tags.
            seconds: when it is shown; one that is not later than the one before is shown next.
        """
        ticks = round(seconds / self.time_base)
        if self.latest is not None:
            ticks = max(ticks, self.latest + 1)
        self.latest = ticks

        frame = _even_frame(planes)
        frame.pts = ticks
        frame.duration = self.frame_ticks
        frame.time_base = self.time_base
        frame.colorspace = self.tags.matrix
        frame.color_range = FULL_RANGE if self.tags.full_range else LIMITED_RANGE
        frame.color_primaries = self.tags.primaries
        frame.color_trc = self.tags.transfer
        return self.stream.encode(frame)

    def finish(self) -> list[av.Packet]:
        """The packets that the encoder still holds."""
        return self.stream.encode(None)


def fine_time_base(time_base: Fraction) -> Fraction:
    """A clock's tick (s), divided until it is fine enough for any picture to be moved a little."""
    return time_base / max(1, -(-time_base // FINEST_TICK))


def _even_frame(planes: Planes) -> av.VideoFrame:
    """Planes as a frame; the last row or column is repeated where its number is odd."""
    height, width = planes.brightness.shape
    missing_rows = (0, height % 2)
    missing_columns = (0, width % 2)
    padding = (missing_rows, missing_columns)
    brightness = np.pad(planes.brightness, padding, mode="edge")

    parts = [brightness, planes.blue, planes.red]
    numbers = np.concatenate([part.ravel() for part in parts])
    even_width = brightness.shape[1]
    rows = numbers.reshape(-1, even_width)
    return av.VideoFrame.from_ndarray(rows, format="yuv420p")
