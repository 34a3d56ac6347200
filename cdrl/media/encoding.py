"""Pictures and sound to an mp4 file, which appears whole or not at all.

`write_video` counts frames of a constant rate. `write_edit` keeps the clock, the sound, the colours
and the other streams of the file that was edited, and says in one line what it could not keep.
"""

from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.sidedata.sidedata import Type
from av.stream import Stream

from cdrl.core.errors import InputError
from cdrl.media.audio import AUDIO_RATE
from cdrl.media.colour import (
    TRANSFER_NAMES,
    WEIGHTS,
    ColourTags,
    has_alpha,
    is_rgb,
    rgb_to_planes,
    tags_by_size,
)
from cdrl.media.decoding import (
    MediaWalk,
    TimedFrame,
    VideoFile,
    nominal_frame_rate,
    open_video,
    pixel_aspect,
)
from cdrl.media.display import Screen, Turn
from cdrl.media.mp4_file import SYNTHETIC, Output, PictureTrack, open_output
from cdrl.media.sound_tracks import (
    COPIED_CODECS,
    CopiedSound,
    EncodedSound,
    SampleTrack,
    codec_name,
    sound_track,
)

# What a container says of itself, not of what it shows.
CONTAINER_KEYS = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration")
# A source's own words where an edit must say that it is synthetic.
REPLACED_KEYS = ("comment", "description")
STREAM_KINDS = {
    "audio": "sound track",
    "data": "a track that is neither picture nor sound",
    "subtitle": "subtitles",
    "video": "second picture",
}

Say = Callable[[str], None]


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
    rate = _exact_rate(frame_rate)

    with open_output(Path(path), metadata or {}) as output:
        first = next(images, None)
        if first is None:
            raise InputError(f"{path}: there is no frame to write")
        height, width = first.shape[:2]
        tags = tags_by_size(width, height)
        pictures = PictureTrack(output, (width, height), tags, rate, 1 / rate)
        sound = None
        if audio is not None and len(audio):
            sound = SampleTrack(output, audio, sample_rate, sound_codec)

        for index, image in enumerate(chain([first], images)):
            seconds = float(index / rate)
            output.mux(pictures.encode(rgb_to_planes(image, tags), seconds))
            if sound is not None:
                end = round((index + 1) * sample_rate / rate)
                output.mux(sound.encode_until(end))
        if sound is not None:
            output.mux(sound.finish())
        output.mux(pictures.finish())


def _exact_rate(frame_rate: float) -> Fraction:
    return Fraction(frame_rate).limit_denominator(100_000)


def write_edit(
    source: Path,
    frames: Iterable[np.ndarray],
    out: Path,
    metadata: dict | None = None,
    say: Say = print,
) -> int:
    """Write the source's own clock, colours and sound with other pictures.

    Every frame keeps the time of the source frame it stands for, and pixels that were not edited
    keep their numbers, so that only the codec changes them. AAC and MP3 sound is copied packet by
    packet, unless its rate or channels change; other sound is encoded anew at its own sample rate.
    Other sound tracks and chapters go along where an mp4 can hold them. Frames may come from a
    generator: memory is bounded.

    Args:
        source: the file that was edited.
        frames: one (H, W, 3) uint8 image per frame that `read_video_stream(source,
            frame_rate=None)` yields. Images of another size are other pictures: nothing of the
            source's pixels is kept.
        out: the file to write, named .mp4.
        metadata: as in `write_video`; the source's own is kept beside it.
        say: called with one line on what is kept, converted or dropped, where there is any.

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
    with open_video(source) as file:
        all_metadata = _edit_metadata(file.container.metadata, metadata or {})
        with open_output(out, all_metadata) as output:
            walk = MediaWalk(source, file)
            edit = _EditedCopy(output, source, file)
            for part in walk:
                if not isinstance(part, TimedFrame):
                    edit.add_packet(part)
                    continue
                image = next(images, None)
                if image is None:
                    raise ValueError(
                        f"{source}: more than the {edit.num_frames} edited frames that were given"
                    )
                edit.add_picture(part, image)
            if next(images, None) is not None:
                raise ValueError(
                    f"{source}: {edit.num_frames} frames, more edited frames were given"
                )
            edit.finish()

    changes = edit.changes
    _note_walk(changes, walk, edit.screen)
    if changes.line():
        say(f"{source.name}: {changes.line()}")
    return edit.num_frames


def _edit_metadata(of_source: dict[str, str], given: dict[str, str]) -> dict[str, str]:
    """The metadata of an edit: what is given, beside what the source says.

    The source's title stands before that of the edit, its comment under `source_comment`.
    """
    metadata = {}
    for key, text in of_source.items():
        name = key.lower()
        if name in CONTAINER_KEYS:
            continue
        if name not in REPLACED_KEYS:
            metadata[name] = text
        elif not text.startswith(SYNTHETIC):
            metadata[f"source_{name}"] = text
    own_title = metadata.get("title")
    metadata.update(given)
    if own_title and "title" in given:
        metadata["title"] = f"{own_title} ({given['title']})"
    return metadata


class _Changes:
    """What an edit keeps, converts and drops of its source, in words."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.converted: list[str] = []
        self.dropped: list[str] = []

    def line(self) -> str:
        """All of it in one line; empty where nothing was changed or dropped."""
        parts = []
        for name in ("kept", "converted", "dropped"):
            things = getattr(self, name)
            if things:
                parts.append(f"{name}: {', '.join(things)}")
        return "; ".join(parts)


class _EditedCopy:
    """An output that is being made from a source's packets, and other pictures.

    Args:
        output: the file.
        source: the source's path, for errors.
        file: the open source.
    """

    def __init__(self, output: Output, source: Path, file: VideoFile) -> None:
        self.output = output
        self.source = source
        self.file = file
        self.screen = Screen(pixel_aspect(file.video))
        self.changes = _Changes()

        time_base = cast(Fraction, file.video.time_base)
        start = Fraction(file.container.start_time or 0, av.time_base)
        self.time_base = time_base
        self.origin = round(start / time_base) * time_base

        self.num_frames = 0
        self.pictures: PictureTrack | None = None  # begins with the first picture
        self.tracks: dict[int, CopiedSound | EncodedSound | _CopiedPackets] = {}
        # Packets that came before the first picture: the file's header needs all streams.
        self.early_packets: list[av.Packet] = []

    def add_packet(self, packet: av.Packet) -> None:
        """Add a packet of another stream than the pictures'."""
        if self.pictures is None:
            self.early_packets.append(packet)
        elif packet.stream.index in self.tracks:
            self.output.mux(self.tracks[packet.stream.index].convert(packet))

    def add_picture(self, timed: TimedFrame, image: np.ndarray) -> None:
        """Add an image in place of a frame.

        Args:
            timed: frame of the source, with its time.
            image: (H, W, 3) uint8 RGB.
        """
        shown = self.screen.show(timed.frame)
        if self.pictures is None:
            self.pictures = self._begin(timed.frame, image, shown.tags)
        planes = shown.edited_planes(image, self.pictures.tags)
        seconds = timed.seconds - float(self.origin)

        packets = self.pictures.encode(planes, seconds)
        self.output.mux(packets)
        self.num_frames += 1

    def _begin(self, frame: av.VideoFrame, image: np.ndarray, tags: ColourTags) -> PictureTrack:
        """Begin all streams of the output, when the first picture is known."""
        _note_picture(self.changes, frame, tags, self.screen)
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            self.changes.converted.append(f"odd size {width}x{height} to an even one")
        rate = Fraction(nominal_frame_rate(self.file.video)).limit_denominator(100_000)
        self.pictures = PictureTrack(self.output, (width, height), tags, rate, self.time_base)

        self._begin_sound()
        for stream in self.file.container.streams:
            if stream.index not in (self.file.video.index, *self.tracks):
                self._begin_other(stream)
        self._copy_chapters()

        for packet in self.early_packets:
            self.add_packet(packet)
        self.early_packets.clear()
        return self.pictures

    def _begin_sound(self) -> None:
        audio = self.file.audio
        if audio is None:
            return
        track = sound_track(self.output, self.source, audio, self.origin)
        self.tracks[audio.index] = track
        _copy_track_names(audio, track.stream)
        if isinstance(track, EncodedSound):
            self.changes.converted.append(_sound_change(audio, track))

    def _begin_other(self, stream: Stream) -> None:
        """Copy another stream of the source, or name it as dropped."""
        name = _stream_name(stream)
        try:
            track: CopiedSound | _CopiedPackets
            if isinstance(stream, AudioStream) and stream.codec_context:
                track = CopiedSound(self.output, str(self.source), stream, self.origin)
            elif stream.type == "subtitle" and stream.codec_context:
                track = _CopiedPackets(self.output, stream, self.origin)
            else:
                self.changes.dropped.append(name)
                return
        except ValueError:  # an mp4 cannot hold the codec
            self.changes.dropped.append(name)
            return
        self.tracks[stream.index] = track
        _copy_track_names(stream, track.stream)
        self.changes.kept.append(name)

    def _copy_chapters(self) -> None:
        chapters = self.file.container.chapters()
        for chapter in chapters:
            time_base = chapter["time_base"] or Fraction(1, av.time_base)
            shift = round(self.origin / time_base)
            chapter["start"] -= shift
            chapter["end"] -= shift
        if chapters:
            self.output.container.set_chapters(chapters)
            self.changes.kept.append(f"{len(chapters)} chapters")

    def finish(self) -> None:
        """Write what the encoders still hold."""
        assert self.pictures is not None, "a source without a frame is refused"
        self.output.mux(self.pictures.finish())
        for track in self.tracks.values():
            self.output.mux(track.finish())


class _CopiedPackets:
    """A stream of the output: packets of the source at their own times.

    Args:
        output: the file.
        source: the source's stream.
        origin: seconds on the source's clock at which the output's clock is 0.

    Raises:
        ValueError: where an mp4 cannot hold the stream's codec.
    """

    def __init__(self, output: Output, source: Stream, origin: Fraction) -> None:
        self.stream = output.container.add_stream_from_template(source)
        self.origin = origin

    def convert(self, packet: av.Packet) -> list[av.Packet]:
        """The packets to write for a packet of the source."""
        if packet.pts is None or packet.dts is None:
            return []
        shift = round(self.origin / packet.time_base)
        packet.pts -= shift
        packet.dts -= shift
        packet.stream = self.stream
        return [packet]

    def finish(self) -> list[av.Packet]:
        """Nothing is held back."""
        return []


def _sound_change(source: AudioStream, track: EncodedSound) -> str:
    """What became of sound that was encoded anew, in words."""
    name = codec_name(source)
    rate = source.codec_context.sample_rate
    layout = source.codec_context.layout
    if not rate:
        return f"sound {name} that begins late to aac"
    change = f"sound {name} to aac"
    if name in COPIED_CODECS:
        change = f"sound {name} whose rate or channels change to aac of one"
    if track.encoder.num_channels != layout.nb_channels:
        change += f" ({layout.name} to {track.layout})"
    if track.rate != rate:
        change += f" ({rate} to {track.rate} Hz)"
    return change


def _copy_track_names(source: Stream, copy: Stream) -> None:
    """Copy the title, language and handler of a track."""
    for key in ("language", "title", "handler_name"):
        if key in source.metadata:
            copy.metadata[key] = source.metadata[key]


def _stream_name(stream: Stream) -> str:
    """What a stream is, in words: sound track (fra, ac3)."""
    kind = STREAM_KINDS.get(stream.type, f"{stream.type} stream")
    details = []
    if "language" in stream.metadata:
        details.append(stream.metadata["language"])
    if stream.codec_context:
        details.append(codec_name(stream))
    if not details:
        return kind
    return f"{kind} ({', '.join(details)})"


def _note_picture(
    changes: _Changes, frame: av.VideoFrame, tags: ColourTags, screen: Screen
) -> None:
    """Note what the first frame says of all pictures."""
    depth = max(part.bits for part in frame.format.components)
    transfer = TRANSFER_NAMES.get(tags.transfer)
    if transfer:
        changes.kept.append(f"HDR tags ({transfer})")
    if depth > 8:
        changes.converted.append(f"{depth} bits to 8")
    for kind in (Type.MASTERING_DISPLAY_METADATA, Type.DYNAMIC_HDR_PLUS, Type.DOVI_METADATA):
        if kind in frame.side_data:
            changes.dropped.append(f"HDR metadata ({kind.name.lower()})")
    if has_alpha(frame):
        changes.dropped.append("transparency")
    if is_rgb(frame):
        changes.converted.append("RGB to YUV 4:2:0")
    elif not frame.format.name.startswith(("yuv420", "yuvj420", "yuva420", "gray")):
        changes.converted.append(f"colours of {frame.format.name} to 4:2:0")
    if tags.matrix not in WEIGHTS:
        changes.converted.append(f"matrix {tags.matrix} edited as BT.709")

    display = screen.first
    assert display is not None, "the first frame has been shown"
    if display.square_size != (frame.width, frame.height):
        changes.converted.append(f"pixels of {screen.pixel_aspect} to square ones")
    if display.matrix is not None or display.turn != Turn():
        changes.converted.append("display matrix to pixels that are turned")


def _note_walk(changes: _Changes, walk: MediaWalk, screen: Screen) -> None:
    """Note what was seen on the way through a file."""
    if walk.deinterlacer.has_worked:
        changes.converted.append("interlaced fields to whole pictures")
    if screen.is_scaled:
        changes.converted.append("pictures of other sizes to the first one's")
    joints = walk.packet_clock.num_joints
    if joints:
        changes.converted.append(f"a clock that falls back {joints} times to one that rises")
