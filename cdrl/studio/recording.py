"""What a camera and a file do to frames: exposure, colour, blur, small pictures, noise, loss.

Everything follows from the scene's seed, so a clip and its true edit are recorded alike.
"""

import io
import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream
from numba import njit
from PIL import Image, ImageFilter

CODECS = ("none", "jpeg", "libx264", "mpeg1video")
CODEC_CHANCES = (0.12, 0.23, 0.40, 0.25)
# Codec -> best and worst quality, in the codec's own unit.
QUALITY = {"jpeg": (92, 42), "libx264": (18, 31), "mpeg1video": (3, 9)}
REFERENCE_SIZE = 128  # pixels: blur is given at this size and grows with the picture
SMALLEST_FACE = 52  # pixels a side, below which no picture is scaled
GAMMA, KNEE = 2.2, 0.75  # of the display; linear brightness above which it is compressed
LUMA = np.array((0.299, 0.587, 0.114))
_SEED = 61
_NOISE_MARGIN = 64  # pixels by which the field of noise is larger than a frame


@dataclass(frozen=True)
class Recording:
    """How a clip was recorded.

    Attributes:
        seed: of the noise.
        exposure: in stops, 0 as rendered.
        white_balance: factor of red and of blue.
        saturation: factor, 1 as rendered.
        contrast: exponent of an S curve around the middle, 1 as rendered.
        blur: standard deviation in pixels of a picture of `REFERENCE_SIZE`.
        scale: side of the recorded picture as a share of the rendered one.
        read_noise: standard deviation in the dark, of 255.
        shot_noise: growth of its variance with each step of brightness, as a share.
        codec: one of `CODECS`.
        quality: 0 the codec's best to 1 its worst, as in `QUALITY`.
    """

    seed: int
    exposure: float
    white_balance: tuple[float, float]
    saturation: float
    contrast: float
    blur: float
    scale: float
    read_noise: float
    shot_noise: float
    codec: str
    quality: float


@lru_cache(maxsize=1024)
def sample_recording(seed: int) -> Recording:
    """The recording of the scene with this seed."""
    rng = np.random.default_rng([_SEED, seed])
    exposure = float(np.clip(rng.normal(0, 0.35), -0.9, 0.8))
    red, blue = np.exp(rng.normal(0, 0.07, 2))
    saturation = float(rng.uniform(0.7, 1.2))
    contrast = float(rng.uniform(0.85, 1.3))

    is_blurred = rng.random() < 0.5
    blur = float(rng.uniform(0.4, 1.3)) if is_blurred else 0.0
    is_small = rng.random() < 0.45
    scale = float(np.exp(rng.uniform(np.log(0.4), 0))) if is_small else 1.0

    is_noisy = rng.random() < 0.75
    read_noise = float(rng.gamma(2.0, 0.9)) if is_noisy else 0.0
    shot_noise = float(rng.uniform(0, 0.015))

    codec = str(rng.choice(CODECS, p=CODEC_CHANCES))
    quality = float(rng.beta(1.3, 1.5))

    return Recording(
        seed=seed,
        exposure=exposure,
        white_balance=(float(red), float(blue)),
        saturation=saturation,
        contrast=contrast,
        blur=blur,
        scale=scale,
        read_noise=read_noise,
        shot_noise=shot_noise,
        codec=codec,
        quality=quality,
    )


def record(recording: Recording, frames: np.ndarray) -> np.ndarray:
    """Record a clip.

    Args:
        recording: how.
        frames: (T, S, S, 3) uint8 as rendered.

    Returns:
        (T, S, S, 3) uint8. A file's loss depends on neighbouring frames, as in life.
    """
    if len(frames) == 0:
        return frames

    size = frames.shape[1]
    side = max(round(size * recording.scale), min(SMALLEST_FACE, size))
    seen = np.stack([_shrink(image, recording.blur, side) for image in frames])
    matrix, table = _colour_matrix(recording), _tone_table(recording)
    noise, corners = _noise_field(recording, len(frames), side)
    exposed = np.empty_like(seen)
    _expose(seen, matrix, table, noise, corners, recording.shot_noise, exposed)

    stored = _store(recording, exposed)
    if side == size:
        return stored
    return np.stack([_resize(image, size, Image.Resampling.BICUBIC) for image in stored])


def _shrink(image: np.ndarray, blur: float, side: int) -> np.ndarray:
    """An image (S, S, 3) blurred and scaled to a side."""
    sigma = blur * len(image) / REFERENCE_SIZE
    if sigma > 0:
        blurred = Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma))
        image = np.asarray(blurred)
    if len(image) != side:
        image = _resize(image, side, Image.Resampling.BOX)
    return image


def _resize(image: np.ndarray, side: int, method: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((side, side), method))


# --- colour and noise -------------------------------------------------------------------------


def _colour_matrix(recording: Recording) -> np.ndarray:
    """(3, 3) float32: white balance, then saturation."""
    red, blue = recording.white_balance
    grey = np.ones((3, 1)) * LUMA
    saturation = recording.saturation
    matrix = saturation * np.eye(3) + (1 - saturation) * grey
    balanced = matrix * np.array((red, 1.0, blue))
    return balanced.astype(np.float32)


def _tone_table(recording: Recording) -> np.ndarray:
    """(256,) float32: brightness as recorded, 0 to 255, of each brightness as rendered."""
    linear = np.linspace(0, 1, 256) ** GAMMA * 2**recording.exposure
    over = np.maximum(linear - KNEE, 0)
    room = 1 - KNEE
    # Bright parts are compressed where the exposure would clip them.
    shoulder = np.minimum(linear, KNEE) + room * (1 - np.exp(-over / room))
    tone = np.clip(shoulder, 0, 1) ** (1 / GAMMA)

    contrast = recording.contrast
    below = 0.5 * (np.minimum(tone, 0.5) / 0.5) ** contrast
    above = 1 - 0.5 * ((1 - np.maximum(tone, 0.5)) / 0.5) ** contrast
    curve = 255 * np.where(tone < 0.5, below, above)

    return curve.astype(np.float32)


def _noise_field(recording: Recording, frames: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """One field of noise, larger than a frame, and the corner (T, 2) where each frame reads it."""
    rng = np.random.default_rng([_SEED, recording.seed, 1])
    field_side = side + _NOISE_MARGIN
    field = rng.standard_normal((field_side, field_side, 3), np.float32)
    corners = rng.integers(0, _NOISE_MARGIN, (frames, 2))
    return field * np.float32(recording.read_noise), corners


@njit(cache=True, nogil=True)
def _expose(
    frames: np.ndarray,
    matrix: np.ndarray,
    table: np.ndarray,
    noise: np.ndarray,
    corners: np.ndarray,
    shot_noise: float,
    exposed: np.ndarray,
) -> None:
    """Colour matrix, tone and noise of every pixel, into `exposed`.

    The noise grows with the root of the brightness.
    """
    num_frames, height, width, _ = frames.shape
    for frame in range(num_frames):
        top, left = corners[frame]
        for y in range(height):
            for x in range(width):
                red = np.float32(frames[frame, y, x, 0])
                green = np.float32(frames[frame, y, x, 1])
                blue = np.float32(frames[frame, y, x, 2])
                for c in range(3):
                    mixed = matrix[c, 0] * red + matrix[c, 1] * green + matrix[c, 2] * blue
                    level = table[min(max(int(mixed + 0.5), 0), 255)]
                    grain = noise[top + y, left + x, c]
                    level += grain * math.sqrt(1.0 + shot_noise * level)
                    exposed[frame, y, x, c] = np.uint8(min(max(level + 0.5, 0.0), 255.0))


# --- files ------------------------------------------------------------------------------------


def _store(recording: Recording, frames: np.ndarray) -> np.ndarray:
    """Frames as they come out of a file of the recording's codec."""
    if recording.codec == "none":
        return frames

    best, worst = QUALITY[recording.codec]
    quality = round(best + (worst - best) * recording.quality)
    if recording.codec == "jpeg":
        return np.stack([_through_jpeg(image, quality) for image in frames])
    return _through_video(frames, recording.codec, quality)


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def _through_video(frames: np.ndarray, codec: str, quality: int) -> np.ndarray:
    """Frames through a video file in memory; an odd side gets a row and a column for it."""
    side = frames.shape[1]
    padding = side % 2
    edges = ((0, 0), (0, padding), (0, padding), (0, 0))
    padded = np.pad(frames, edges, mode="edge")

    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = cast(VideoStream, container.add_stream(codec, rate=Fraction(25)))
        stream.height, stream.width = padded.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        if codec == "libx264":
            stream.options = {"crf": str(quality), "preset": "veryfast", "tune": "zerolatency"}
        else:
            stream.codec_context.qmin = quality
            stream.codec_context.qmax = quality

        for image in padded:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))

    file.seek(0)
    with av.open(file, "r") as stored:
        stored.streams.video[0].codec_context.thread_count = 1
        decoded = [frame.to_ndarray(format="rgb24") for frame in stored.decode(video=0)]

    return np.stack(decoded)[:, :side, :side]
