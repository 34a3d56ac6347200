"""Small films of face crops: hundreds of them fit into one page."""

import io
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream

from cdrl.corpora.store import Store
from cdrl.media.audio import AUDIO_RATE
from cdrl.media.colour import BT601, LIMITED_RANGE

SYNTHETIC = "Synthetic: a generated person of the cdrl studio; nobody said this"
# A face of 96 pixels that is looked at for a second: small and quickly made.
PICTURE_OPTIONS = {"crf": "30", "preset": "veryfast", "threads": "1"}
SOUND_OPTIONS = {"compression_level": "9"}
SOUND_RATE = 24_000  # bits a second, enough for speech


def films_of(store: Path, clips: Iterable[int]) -> list[bytes]:
    """The films of some clips: one job of a worker process.

    Args:
        store: folder of the store.
        clips: numbers of the clips.
    """
    opened = Store(store)
    return [film_of(opened, clip) for clip in clips]


def film_of(store: Store, clip: int) -> bytes:
    """An mp4 (H.264, MP3) of one clip's crops with its sound; a studio clip is labelled.

    Args:
        store: with the clip.
        clip: its number.
    """
    clips = store.clips
    crops = np.asarray(store.face[store.frames(clip)])
    rate = Fraction(float(clips.frame_rate.iloc[clip])).limit_denominator(1000)
    sound = np.asarray(store.sound(clip), np.float32)

    buffer = io.BytesIO()
    options = {"movflags": "+use_metadata_tags"}
    with av.open(buffer, "w", format="mp4", options=options) as container:
        if clips.corpus.iloc[clip] == "studio":
            container.metadata.update({"comment": SYNTHETIC, "description": SYNTHETIC})
        pictures = container.add_stream("libx264", rate=rate, options=PICTURE_OPTIONS)
        speech = None
        if len(sound):
            speech = container.add_stream(
                "libmp3lame", rate=AUDIO_RATE, layout="mono", options=SOUND_OPTIONS
            )
        _write_pictures(container, pictures, crops)
        if speech is not None:
            _write_sound(container, speech, sound)

    return buffer.getvalue()


def _write_pictures(container: OutputContainer, stream: VideoStream, crops: np.ndarray) -> None:
    """Encode (T, H, W, 3) uint8 crops; an odd side loses its last pixel."""
    height, width = (side - side % 2 for side in crops.shape[1:3])
    stream.width = width
    stream.height = height
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.colorspace = BT601
    context.color_range = LIMITED_RANGE

    reformatter = VideoReformatter()  # one for all frames: it is dear to make
    for crop in crops:
        pixels = np.ascontiguousarray(crop[:height, :width])
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        planes = reformatter.reformat(
            frame,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
        )
        container.mux(stream.encode(planes))
    container.mux(stream.encode(None))


def _write_sound(container: OutputContainer, stream: AudioStream, sound: np.ndarray) -> None:
    """Encode (S,) samples at 16 kHz."""
    stream.bit_rate = SOUND_RATE
    frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
    frame.sample_rate = AUDIO_RATE
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
