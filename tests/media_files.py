"""Small media files for tests: any codec, colour tags, display matrix, sound and timestamps."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

RATE = 25  # Hz
TURN_UNIT = 1 << 16  # 1 in a display matrix
MATRIX_END = 1 << 30


def colour_patches(num_frames: int = 4, height: int = 96, width: int = 128) -> np.ndarray:
    """(T, H, W, 3): four flat colours above, a soft pattern below; no two sides are alike."""
    colours = [(200, 60, 50), (60, 170, 70), (50, 80, 190), (220, 180, 150)]
    quarter = width // 4
    image = np.zeros((height, width, 3), np.uint8)
    for k, colour in enumerate(colours):
        image[:, k * quarter : (k + 1) * quarter] = colour
    rng = np.random.default_rng(1)
    coarse = rng.integers(40, 216, (6, 8, 3), dtype=np.uint8)
    soft = Image.fromarray(coarse).resize((width, height // 2), Image.Resampling.BICUBIC)
    image[height // 2 :] = soft
    return np.stack([image] * num_frames)


def write_pictures(
    path: Path,
    frames: np.ndarray,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    tags: Sequence[int] | None = None,
    aspect: Fraction | None = None,
    matrix: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    times: Sequence[int] | None = None,
) -> Path:
    """Write a file of pictures only, at 25 Hz or at `times`.

    Args:
        path: of the file; its name says which container.
        frames: (T, H, W, 3) uint8 RGB.
        codec: FFmpeg's name.
        pixels: pixel format.
        tags: matrix, range, primaries and transfer.
        aspect: of a pixel.
        matrix: nine numbers of a display matrix.
        options: of the encoder.
        times: of the frames, in 25ths of a second.
    """
    if options is None and codec == "libx264":
        options = {"crf": "8"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        context = stream.codec_context
        if tags:
            context.colorspace, context.color_range, context.color_primaries, context.color_trc = (
                tags
            )
        if aspect:
            context.sample_aspect_ratio = aspect
        if matrix:
            stream.set_display_matrix(matrix)
        stated = iter(times or range(len(frames)))
        for ticks, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            settings = {"dst_colorspace": tags[0], "dst_color_range": tags[1]} if tags else {}
            frame = frame.reformat(format=pixels, interpolation=0x4 | 0x4000 | 0x40000, **settings)
            if tags:
                frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc = tags
            frame.pts = ticks
            frame.time_base = Fraction(1, RATE)
            packets = stream.encode(frame)
            if times:  # of a codec that holds nothing back
                [packet] = packets
                packet.pts = packet.dts = round(next(stated) / RATE / packet.time_base)
            container.mux(packets)
        container.mux(stream.encode(None))
    return path


def tones(seconds: float, starts: Iterable[float], rate: int) -> np.ndarray:
    """(S,) float32 silence with a tone of 10 ms at each of some times (s)."""
    samples = np.zeros(round(seconds * rate), np.float32)
    length = round(0.01 * rate)
    tone = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(length) / rate)
    for start in starts:
        first = round(start * rate)
        samples[first : first + length] = tone
    return samples


def tone_starts(samples: np.ndarray, near: Iterable[float], rate: int = 16_000) -> np.ndarray:
    """Where tones are heard, s; NaN where none is within .3 s.

    Args:
        samples: (S,) sound.
        near: about when they should be, s.
        rate: Hz.
    """
    found = []
    for seconds in near:
        first = max(0, round((seconds - 0.3) * rate))
        is_loud = np.abs(samples[first : first + round(0.6 * rate)]) > 0.3
        found.append((first + is_loud.argmax()) / rate if is_loud.any() else np.nan)
    return np.array(found)


def write_sound(
    path: Path,
    tracks: Sequence[np.ndarray],
    *,
    codec: str = "aac",
    rate: int = 48_000,
    layout: str = "mono",
    holes: Sequence[tuple[float, float]] = (),
    seconds: float = 4.0,
    picture_rate: int = 5,
    titles: Sequence[dict[str, str]] = (),
    default: int = 0,
    metadata: dict[str, str] | None = None,
    chapters: Sequence[tuple[float, float]] = (),
) -> Path:
    """Write pictures of 64 x 48 and sound tracks.

    Args:
        path: of the file; its name says which container.
        tracks: (S,) or (S, C) samples each.
        codec: FFmpeg's name.
        rate: of the sound, Hz.
        layout: of the channels.
        holes: seconds from and to which packets of sound are left out.
        seconds: of the pictures.
        picture_rate: Hz.
        titles: metadata of each track.
        default: number of the track that is marked as default.
        metadata: of the file.
        chapters: seconds from and to.
    """
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata or {})
        parts = [
            {
                "id": number,
                "start": round(first * 1000),
                "end": round(last * 1000),
                "time_base": Fraction(1, 1000),
                "metadata": {"title": f"part {number}"},
            }
            for number, (first, last) in enumerate(chapters)
        ]
        if parts:
            container.set_chapters(parts)
        video = container.add_stream("mpeg4", rate=picture_rate)
        video.width = 64
        video.height = 48
        video.pix_fmt = "yuv420p"
        streams = []
        for number in range(len(tracks)):
            stream = container.add_stream(codec, rate=rate, layout=layout)
            if titles:
                stream.metadata.update(titles[number])
            if number == default:
                stream.disposition = av.stream.Disposition.default
            else:
                stream.disposition = av.stream.Disposition(0)
            streams.append(stream)
        image = np.full((48, 64, 3), 90, np.uint8)
        for k in range(round(seconds * picture_rate)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = k
            frame.time_base = Fraction(1, picture_rate)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for stream, samples in zip(streams, tracks, strict=True):
            for packet in sound_packets(stream, samples, rate, layout):
                start = float(packet.pts * packet.time_base)
                is_lost = any(first <= start < last for first, last in holes)
                if not is_lost:
                    container.mux(packet)
    return path


def sound_packets(stream, samples: np.ndarray, rate: int, layout: str) -> list[av.Packet]:
    """Encode (S,) or (S, C) samples in pieces of 20 ms."""
    channels = samples if samples.ndim == 2 else samples[:, None]
    source_format = "flt"
    resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
    step = rate // 50
    packets = []
    for first in range(0, len(channels), step):
        piece = np.ascontiguousarray(channels[first : first + step].reshape(1, -1), np.float32)
        frame = av.AudioFrame.from_ndarray(piece, format=source_format, layout=layout)
        frame.sample_rate = rate
        frame.pts = first
        frame.time_base = Fraction(1, rate)
        for converted in resampler.resample(frame):
            packets += stream.encode(converted)
    for converted in resampler.resample(None):
        packets += stream.encode(converted)
    return packets + stream.encode(None)
