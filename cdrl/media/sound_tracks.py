"""Sound on its way from a source into an edit: copied, or encoded anew on the same clock."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.stream import Stream

from cdrl.media.clock import PlacedSound, SoundClock, SoundPiece
from cdrl.media.mp4_file import Output
from cdrl.media.sound import ResampledRun, SoundDecoder, TimedChannels, changes_setup

# Sound in these codecs is copied packet by packet; any other is encoded anew at its own rate.
COPIED_CODECS = ("aac", "mp3")
SOUND_BITS = 96_000  # a second and channel, of encoded sound
ENCODED_RATE = 48_000  # Hz, where AAC does not know the source's own rate
KEPT_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}  # by number of channels; others become stereo
SILENCE_SECONDS = 1  # of silence that is made at once


class SampleTrack:
    """The output's sound stream, made from samples.

    Args:
        output: the file.
        audio: (S,) float in [-1, 1] mono.
        sample_rate: Hz.
        codec: FFmpeg's name of the encoder.
    """

    def __init__(self, output: Output, audio: np.ndarray, sample_rate: int, codec: str) -> None:
        self.encoder = SoundEncoder(output, codec, sample_rate, "mono")
        self.audio = np.clip(np.asarray(audio, np.float32), -1, 1)
        self.position = 0  # samples handed to the encoder

    def encode_until(self, end: int) -> list[av.Packet]:
        """Encode what has not been encoded of the first `end` samples."""
        start = self.position
        self.position = end
        return self.encoder.encode(start, self.audio[start:end, None])

    def finish(self) -> list[av.Packet]:
        """Encode the rest, and return the packets that the encoder still holds."""
        rest = self.encode_until(len(self.audio))
        return rest + self.encoder.finish()


class SoundEncoder:
    """A stream of encoded sound in an output.

    Args:
        output: the file.
        codec: FFmpeg's name of the encoder.
        rate: sample rate, Hz.
        layout: of the channels.
    """

    def __init__(self, output: Output, codec: str, rate: int, layout: str) -> None:
        stream = output.container.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, AudioStream)
        self.num_channels = av.AudioLayout(layout).nb_channels
        stream.bit_rate = SOUND_BITS * self.num_channels
        self.stream = stream
        self.rate = rate
        self.layout = layout

    def encode(self, position: int, channels: np.ndarray) -> list[av.Packet]:
        """Encode samples; they follow those before.

        Args:
            position: number of the first sample.
            channels: (S, C) float in [-1, 1].
        """
        if not len(channels):
            return []
        planes = np.ascontiguousarray(channels.T, np.float32)
        frame = AudioFrame.from_ndarray(planes, format="fltp", layout=self.layout)
        frame.sample_rate = self.rate
        frame.pts = position
        frame.time_base = Fraction(1, self.rate)
        return self.stream.encode(frame)

    def finish(self) -> list[av.Packet]:
        """The packets that the encoder still holds."""
        return self.stream.encode(None)


class CopiedSound:
    """A sound stream of the output: packets of the source as they are, on the output's clock.

    Args:
        output: the file.
        name: of the source, for errors.
        source: the source's audio stream.
        origin: seconds on the source's clock at which the output's clock is 0.

    Raises:
        ValueError: where an mp4 cannot hold the stream's codec.
    """

    def __init__(self, output: Output, name: str, source: AudioStream, origin: Fraction) -> None:
        self.stream = output.container.add_stream_from_template(source)
        self.context = source.codec_context
        self.rate = self.context.sample_rate
        self.origin = origin
        self.clock: SoundClock[av.Packet] = SoundClock(name)
        self.position = 0  # of the next packet, samples
        self.end: int | None = None  # of what has been written, samples

    def convert(self, packet: av.Packet) -> list[av.Packet]:
        """The packets to write after a packet of the source; a few are held back.

        Clocks as coarse as FLV's milliseconds jitter; the sound itself runs evenly, so that its
        samples are counted as long as the timestamps agree.
        """
        if packet.pts is None:
            return []
        length = self._num_samples(packet) / self.rate
        stated = float(packet.pts * packet.time_base)
        placed = self.clock.add(SoundPiece(stated, length, packet))
        return list(self._retimed(placed))

    def _num_samples(self, packet: av.Packet) -> int:
        packet_seconds = (packet.duration or 0) * packet.time_base
        return self.context.frame_size or round(packet_seconds * self.rate)

    def _retimed(self, pieces: list[PlacedSound[av.Packet]]) -> Iterator[av.Packet]:
        for placed in pieces:
            packet = placed.item
            num_samples = self._num_samples(packet)
            if not placed.continues:
                self.position = round((placed.seconds - float(self.origin)) * self.rate)
            start = self.position
            self.position += num_samples

            # Of two recordings that overlap, the first one is heard to its end.
            overlap = 0 if self.end is None else self.end - start
            if overlap > num_samples // 2:
                continue
            self.end = self.position
            packet.time_base = Fraction(1, self.rate)
            packet.pts = start
            packet.dts = start
            packet.duration = num_samples
            packet.stream = self.stream
            yield packet

    def finish(self) -> list[av.Packet]:
        """The packets that are still held."""
        return list(self._retimed(self.clock.finish()))


class EncodedSound:
    """A sound stream of the output: the source's sound, decoded and encoded as AAC.

    Silence is put where the source has none, so that what follows keeps its place.

    Args:
        output: the file.
        name: of the source, for errors.
        source: the source's audio stream.
        origin: seconds on the source's clock at which the output's clock is 0.
    """

    def __init__(self, output: Output, name: str, source: AudioStream, origin: Fraction) -> None:
        context = source.codec_context
        self.layout = KEPT_LAYOUTS.get(context.layout.nb_channels, "stereo")
        known_rates = av.Codec("aac", "w").audio_rates or ()
        is_known = context.sample_rate in known_rates
        self.rate = context.sample_rate if is_known else ENCODED_RATE

        self.encoder = SoundEncoder(output, "aac", self.rate, self.layout)
        self.stream = self.encoder.stream
        self.origin = origin
        self.decoder = SoundDecoder()
        self.clock: SoundClock[AudioFrame] = SoundClock(name)
        self.run: ResampledRun | None = None
        self.end: int | None = None  # of what has been encoded, samples

    def convert(self, packet: av.Packet) -> list[av.Packet]:
        """The packets to write after a packet of the source; some sound is held back."""
        packets: list[av.Packet] = []
        for piece in self.decoder.decode(packet):
            for placed in self.clock.add(piece):
                packets += self._take(placed)
        return packets

    def _take(self, placed: PlacedSound[AudioFrame]) -> list[av.Packet]:
        frame = placed.item
        packets: list[av.Packet] = []
        if self.run is None or not placed.continues or not self.run.takes(frame):
            packets += self._finish_run()
            seconds = placed.seconds - float(self.origin)
            position = round(seconds * self.rate)
            self.run = ResampledRun(frame, position, self.rate, self.layout)
        for piece in self.run.convert(frame):
            packets += self._encode(piece)
        return packets

    def _finish_run(self) -> list[av.Packet]:
        packets: list[av.Packet] = []
        if self.run is not None:
            for piece in self.run.convert(None):
                packets += self._encode(piece)
        return packets

    def _encode(self, piece: TimedChannels) -> list[av.Packet]:
        """Encode a piece of sound at its place: silence before it, what overlaps cut off."""
        position = piece.position
        if self.end is None:
            self.end = position
        packets: list[av.Packet] = []
        longest = SILENCE_SECONDS * self.rate
        while position > self.end:
            length = min(position - self.end, longest)
            shape = (length, self.encoder.num_channels)
            silence = np.zeros(shape, np.float32)
            packets += self.encoder.encode(self.end, silence)
            self.end += length

        overlap = self.end - position
        new_channels = piece.channels[overlap:]
        samples = np.clip(new_channels, -1, 1)
        packets += self.encoder.encode(self.end, samples)
        self.end += len(samples)
        return packets

    def finish(self) -> list[av.Packet]:
        """The packets of the sound that is still held."""
        packets: list[av.Packet] = []
        for placed in self.clock.finish():
            packets += self._take(placed)
        packets += self._finish_run()
        return packets + self.encoder.finish()


SoundTrack = CopiedSound | EncodedSound


def codec_name(stream: Stream) -> str:
    """FFmpeg's name of a stream's codec, not of the decoder that reads it."""
    context = stream.codec_context
    return context.codec.canonical_name if context else "unknown"


def sound_track(output: Output, path: Path, source: AudioStream, origin: Fraction) -> SoundTrack:
    """The output's sound stream for the source's: copied where players know its codec.

    An mp4 states one rate and one number of channels at its begin. Sound that changes them, or
    that begins so late that they are not known yet, is encoded anew.

    Args:
        output: the file.
        path: of the source.
        source: its audio stream, the one that is read.
        origin: seconds on the source's clock at which the output's clock is 0.
    """
    is_known = source.codec_context.sample_rate > 0
    if is_known and codec_name(source) in COPIED_CODECS and not changes_setup(path):
        return CopiedSound(output, str(path), source, origin)
    return EncodedSound(output, str(path), source, origin)
