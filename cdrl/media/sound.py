"""The sound of media files, with its place on the file's own clock."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from cdrl.media.audio import AUDIO_RATE
from cdrl.media.clock import PacketClock, SoundPiece, place_sound
from cdrl.media.decoding import open_audio, packets_of

# A channel whose power is below this share of the loudest one's is silent.
SILENT_SHARE = 0.01
# A channel that resembles the negative of the loudest one this much is turned around.
OPPOSITE = -0.5
CENTRE = "FC"
DEEP_SOUNDS = "LFE"
# Layouts of so many channels that a file does not name.
USUAL_LAYOUTS = {6: "5.1", 7: "6.1", 8: "7.1"}


class TimedSound(NamedTuple):
    """A piece of sound: the number of its first sample, and (S,) float32 mono samples at 16 kHz."""

    position: int
    samples: np.ndarray


class TimedChannels(NamedTuple):
    """A piece of sound with all its channels.

    Attributes:
        position: number of the first sample.
        layout: which channels these are.
        channels: (S, C) float32.
    """

    position: int
    layout: av.AudioLayout
    channels: np.ndarray


class ResampledRun:
    """Sound without a hole, at another sample rate.

    Args:
        first: its first frame; all have the same layout, format and rate.
        position: number of the first sample, at the new rate.
        rate: new sample rate, Hz.
        layout: new layout of the channels; None keeps them.
    """

    def __init__(
        self, first: AudioFrame, position: int, rate: int, layout: str | None = None
    ) -> None:
        self.setup = _setup(first)
        self.position = position
        self.layout = av.AudioLayout(layout) if layout else first.layout
        # Packed: PyAV miscounts the planes of eight channels and more, and crashes.
        self.resampler = av.AudioResampler(format="flt", layout=self.layout, rate=rate)

    def takes(self, frame: AudioFrame) -> bool:
        """Whether a frame has the layout, format and rate of the run."""
        return _setup(frame) == self.setup

    def convert(self, frame: AudioFrame | None) -> Iterator[TimedChannels]:
        """Yield the sound of the next frame; that which is still held, for None."""
        for piece in self.resampler.resample(frame):
            channels = piece.to_ndarray().reshape(-1, self.layout.nb_channels)
            yield TimedChannels(self.position, self.layout, channels)
            self.position += len(channels)


def _setup(frame: AudioFrame) -> tuple[str, int, str, int]:
    return frame.layout.name, frame.layout.nb_channels, frame.format.name, frame.sample_rate


class SoundDecoder:
    """Decodes packets of sound; one alone that is damaged is left out, as where files were joined.

    Two in a row are an error of the file.
    """

    def __init__(self) -> None:
        self.last_was_damaged = False

    def decode(self, packet: av.Packet) -> list[SoundPiece[AudioFrame]]:
        """The decoded frames of a packet with their timestamps.

        Args:
            packet: the next one of its stream.
        """
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            if self.last_was_damaged:
                raise
            self.last_was_damaged = True
            return []
        self.last_was_damaged = False
        pieces: list[SoundPiece[AudioFrame]] = []
        for frame in frames:
            assert isinstance(frame, AudioFrame)
            pieces.append(SoundPiece(frame.time, frame.samples / frame.sample_rate, frame))
        return pieces


def sound_frames(container: InputContainer, audio: AudioStream) -> Iterator[SoundPiece[AudioFrame]]:
    """Yield the decoded frames of a stream with their timestamps.

    Args:
        container: an open file.
        audio: one of its streams.
    """
    clock = PacketClock()
    decoder = SoundDecoder()
    for packet in packets_of(container):
        clock.correct(packet)
        if packet.stream.index == audio.index:
            yield from decoder.decode(packet)


def changes_setup(path: Path) -> bool:
    """Whether the sound's rate or channels change midway, as where unlike recordings were joined.

    All of it is decoded, unless the container describes it once for all, as mp4 does with AAC.

    Args:
        path: a file with sound.

    Raises:
        InputError: as `open_audio`.
    """
    with open_audio(path) as (container, audio):
        if audio.codec_context.extradata:
            return False
        first: tuple[str, int, str, int] | None = None
        for piece in sound_frames(container, audio):
            setup = _setup(piece.item)
            first = first or setup
            if setup != first:
                return True
    return False


def decode_sound(path: Path, start_seconds: float) -> Iterator[TimedSound]:
    """Yield the sound of a file piece by piece, at 16 kHz, its channels as one.

    Args:
        path: a file with sound, with or without pictures.
        start_seconds: the time on the file's own clock that is sample 0; earlier pieces have
            negative positions.

    Raises:
        InputError: as `open_audio`; also where the clock leaps by more than an hour.
    """
    weights: dict[str, np.ndarray] = {}
    for piece in _decode_channels(path, start_seconds):
        if piece.channels.shape[1] == 1:
            yield TimedSound(piece.position, piece.channels[:, 0])
            continue
        layout = piece.layout.name
        if layout not in weights:
            weights = _weights_of_layouts(path)
        yield TimedSound(piece.position, piece.channels @ weights[layout])


def _decode_channels(path: Path, start_seconds: float) -> Iterator[TimedChannels]:
    """Yield the sound of a file piece by piece, at 16 kHz, all channels; as `decode_sound`."""
    run: ResampledRun | None = None
    with open_audio(path) as (container, audio):
        for placed in place_sound(str(path), sound_frames(container, audio)):
            frame = placed.item
            if run is None or not placed.continues or not run.takes(frame):
                if run is not None:
                    yield from run.convert(None)
                position = round((placed.seconds - start_seconds) * AUDIO_RATE)
                run = ResampledRun(frame, position, AUDIO_RATE)
            yield from run.convert(frame)
        if run is not None:
            yield from run.convert(None)


def _weights_of_layouts(path: Path) -> dict[str, np.ndarray]:
    """How much of each channel is heard, for every layout of a file: see `channel_weights`."""
    layouts: dict[str, av.AudioLayout] = {}
    products: dict[str, np.ndarray] = {}
    for piece in _decode_channels(path, 0.0):
        name = piece.layout.name
        layouts[name] = piece.layout
        channels = piece.channels.astype(np.float64)
        product = channels.T @ channels
        products[name] = products.get(name, 0) + product

    weights = {}
    for name, layout in layouts.items():
        channel_names = _channel_names(layout)
        weights[name] = channel_weights(channel_names, products[name])
    return weights


def _channel_names(layout: av.AudioLayout) -> list[str]:
    """Names of channels; where a file has none, those that are usual for their number."""
    number = layout.nb_channels
    if layout.name == f"{number} channels" and number in USUAL_LAYOUTS:
        layout = av.AudioLayout(USUAL_LAYOUTS[number])
    return [channel.name for channel in layout.channels]


def channel_weights(names: Sequence[str], products: np.ndarray) -> np.ndarray:
    """How much of each channel is heard where all are made one.

    Speech lies in the centre channel of a film. Without one the channels that carry sound are
    averaged; one that is the negative of the loudest is turned around first, or both would vanish.

    Args:
        names: of the C channels, as FFmpeg calls them.
        products: (C, C) sums over the sound of each channel times each other.

    Returns:
        (C,) float32; their magnitudes sum to 1.
    """
    powers = np.diag(products)
    loudest = int(np.argmax(powers))
    if not powers[loudest] > 0:
        return np.full(len(names), 1 / len(names), np.float32)

    is_heard = powers > SILENT_SHARE * powers[loudest]
    for index, name in enumerate(names):
        if len(names) > 2 and name == CENTRE and is_heard[index]:
            return np.eye(len(names), dtype=np.float32)[index]
        if name == DEEP_SOUNDS and index != loudest:
            is_heard[index] = False

    likeness = _likeness(products, loudest)
    signs = np.where(likeness < OPPOSITE, -1.0, 1.0)
    number = is_heard.sum()
    weights = signs * is_heard / number
    return weights.astype(np.float32)


def _likeness(products: np.ndarray, channel: int) -> np.ndarray:
    """How much each channel is like one of them: 1 the same, -1 its negative, 0 where silent.

    Args:
        products: (C, C), see `channel_weights`.
        channel: number of that channel.

    Returns:
        (C,).
    """
    powers = np.diag(products)
    scale = np.sqrt(powers * powers[channel])
    likeness = np.zeros(len(powers))
    np.divide(products[channel], scale, out=likeness, where=scale > 0)
    return likeness
