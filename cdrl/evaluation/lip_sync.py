"""LSE-D and LSE-C (arXiv:2008.10010) as the paper's release computes them, by SyncNet v2.

A user brings its weights. The release applies at 30 frames a second a network that was trained at
25, so its numbers compare with its own tables alone; the least distance over shifts hides a
constant delay. Differs from the release: no sound is cut off, which made up for two frames that its
renderer leaves out.
"""

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from cdrl.core.errors import InputError
from cdrl.core.weight_files import fill, read_state, verify
from cdrl.models.syncnet import CEPSTRA, SIDE, STEPS, WINDOW, SyncNet

MAX_SHIFT = 10  # frames that the sound is moved either way
MIN_FRAMES = WINDOW + 1  # of picture and of sound
MARGIN = 35 / 256  # of the crop's side, cut off all around
SAMPLE_RATE = 16000  # Hz
_SPAN_SAMPLES = 400
_FFT_POINTS = 512
_NUM_BANDS = 26
_LIFTER = 22
_PRE_EMPHASIS = 0.97
_COLUMNS_PER_FRAME = 4  # of the cepstra
_BATCH_SIZE = 16


@lru_cache(maxsize=1)
def load_syncnet(path: str | Path) -> SyncNet:
    """Load SyncNet v2 with a user's weights, frozen, in eval mode.

    Args:
        path: `syncnet_v2.model` as published, or the same as .safetensors.

    Raises:
        InputError: no such file, one that holds more than tensors, another network's weights, or a
            file that has changed.
    """
    path = Path(path)
    verify(path)
    state = read_state(path)

    return fill(SyncNet(), state, path)


def cepstra(sound: np.ndarray, frame_rate: float) -> np.ndarray:
    """Mel-frequency cepstra as `python_speech_features.mfcc` 0.6 computes them, four a frame.

    26 triangles on spans of 25 ms, pre-emphasis .97, cosine transform, lifter 22; the first is the
    logarithm of the span's energy.

    Args:
        sound: (S,) 16 kHz in [-1, 1]; the network was trained on 16 bit integers, so it is scaled
            to them.
        frame_rate: Hz of the video.

    Returns:
        (M, 13) float64; M = 1 + ceil((S - 400) / step), step the samples of a quarter of a frame,
        rounded.
    """
    from scipy.fft import dct  # few paths need it

    levels = np.round(np.asarray(sound, np.float64) * 32767)
    emphasised = np.append(levels[:1], levels[1:] - _PRE_EMPHASIS * levels[:-1])

    columns_per_second = _COLUMNS_PER_FRAME * frame_rate
    step = int(np.floor(SAMPLE_RATE / columns_per_second + 0.5))
    spans = _overlapping_spans(emphasised, step)

    spectrum = np.fft.rfft(spans, _FFT_POINTS)
    power = np.abs(spectrum) ** 2 / _FFT_POINTS

    smallest = np.finfo(float).eps
    bands = np.maximum(power @ _mel_triangles().T, smallest)
    coefficients = dct(np.log(bands), type=2, axis=1, norm="ortho")
    coefficients = coefficients[:, :CEPSTRA]

    orders = np.arange(CEPSTRA)
    coefficients *= 1 + _LIFTER / 2 * np.sin(np.pi * orders / _LIFTER)

    energy = np.maximum(power.sum(1), smallest)
    coefficients[:, 0] = np.log(energy)
    return coefficients


def _overlapping_spans(sound: np.ndarray, step: int) -> np.ndarray:
    """(S,) -> (M, 400) spans that begin every `step` samples; the last one is filled with zeros."""
    num_later_samples = max(0, len(sound) - _SPAN_SAMPLES)
    num_steps = math.ceil(num_later_samples / step)

    needed = num_steps * step + _SPAN_SAMPLES
    missing = max(0, needed - len(sound))
    padded = np.pad(sound, (0, missing))

    starts = step * np.arange(num_steps + 1)
    offsets = np.arange(_SPAN_SAMPLES)
    return padded[starts[:, None] + offsets]


@lru_cache(maxsize=1)
def _mel_triangles() -> np.ndarray:
    """(26, 257) equally wide on the mel scale, corners on whole points of the spectrum."""
    nyquist = SAMPLE_RATE / 2
    highest_mel = 2595 * np.log10(1 + nyquist / 700)
    mels = np.linspace(0, highest_mel, _NUM_BANDS + 2)
    hertz = 700 * (10 ** (mels / 2595) - 1)

    corners = np.floor((_FFT_POINTS + 1) * hertz / SAMPLE_RATE)
    low = corners[:_NUM_BANDS, None]
    middle = corners[1 : _NUM_BANDS + 1, None]
    high = corners[2:, None]

    point = np.arange(_FFT_POINTS // 2 + 1)
    rising = (point - low) / (middle - low)
    falling = (high - point) / (high - middle)

    is_rising = (point >= low) & (point < middle)
    is_falling = (point >= middle) & (point < high)

    triangles = np.where(is_falling, falling, 0)
    return np.where(is_rising, rising, triangles)


@torch.no_grad()
def sync_distances(
    network: SyncNet, frames: np.ndarray, sound: np.ndarray, frame_rate: float
) -> np.ndarray:
    """How far the picture lies from the sound, moved by -10 to 10 frames.

    Args:
        network: of `load_syncnet`.
        frames: (T, H, H, 3) uint8 RGB, crops of the face; `MARGIN` of them is cut off.
        sound: (S,) 16 kHz.
        frame_rate: Hz of the video.

    Returns:
        (T - 5, 21) Euclidean distances; beyond the ends the sound is zeros, as released. Fewer rows
        where the sound is shorter.

    Raises:
        InputError: fewer than six frames of picture and sound.
    """
    num_sound_frames = int(len(sound) * frame_rate // SAMPLE_RATE)
    num_windows = min(len(frames), num_sound_frames) - WINDOW

    if num_windows < 1:
        raise InputError(
            f"lip sync: {len(frames)} frames and {len(sound) / SAMPLE_RATE:.2f} s of sound; at "
            f"least {MIN_FRAMES} frames of both are needed"
        )

    columns = _cepstra_columns(sound, frame_rate, num_windows)
    images = _network_images(frames)

    visual_parts = []
    audio_parts = []
    for start in range(0, num_windows, _BATCH_SIZE):
        stop = min(start + _BATCH_SIZE, num_windows)
        clips = []
        spectra = []
        for first in range(start, stop):
            column = _COLUMNS_PER_FRAME * first
            clips.append(images[first : first + WINDOW].transpose(0, 1))
            spectra.append(columns[None, :, column : column + STEPS])
        visual_parts.append(network.extract_visual(torch.stack(clips)))
        audio_parts.append(network.extract_audio(torch.stack(spectra)))

    visual = torch.cat(visual_parts)
    audio = F.pad(torch.cat(audio_parts), (0, 0, MAX_SHIFT, MAX_SHIFT))

    num_shifts = 2 * MAX_SHIFT + 1
    shifted = audio.unfold(0, num_shifts, 1).transpose(1, 2)  # (T - 5, 21, 1024)

    return F.pairwise_distance(visual[:, None], shifted).numpy()


def _cepstra_columns(sound: np.ndarray, frame_rate: float, num_windows: int) -> torch.Tensor:
    """(13, M) cepstra, with zeros at the end so that every window has its columns."""
    columns = torch.from_numpy(cepstra(sound, frame_rate).T.astype(np.float32))
    needed = _COLUMNS_PER_FRAME * (num_windows - 1) + STEPS
    return F.pad(columns, (0, max(0, needed - columns.shape[1])))


def _network_images(frames: np.ndarray) -> torch.Tensor:
    """(T, H, H, 3) uint8 RGB -> (T, 3, 224, 224) blue, green, red, 0 to 255, the margin cut off."""
    height, width = frames.shape[1:3]
    margin = round(MARGIN * height)

    rows = slice(margin, height - margin)
    columns = slice(margin, width - margin)

    bgr = np.ascontiguousarray(frames[:, rows, columns, ::-1])
    images = torch.from_numpy(bgr).permute(0, 3, 1, 2).float()
    return F.interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False)


def lse(distances: np.ndarray) -> tuple[float, float]:
    """LSE-D and LSE-C: the least mean distance over shifts, and the median minus it.

    Args:
        distances: (T, 21) of `sync_distances`.

    Returns:
        Lower LSE-D and higher LSE-C: more in time. LSE-D of the release's own edits is 9.2 to 9.9;
        LSE-C of a still face is near 0.

    >>> lse(np.array([[3.0, 1.0, 3.0, 3.0, 3.0]]))
    (1.0, 2.0)
    """
    means = distances.mean(0)
    least = means.min()
    return float(least), float(np.median(means) - least)


def lse_of_clip(
    network: SyncNet, frames: np.ndarray, sound: np.ndarray, frame_rate: float
) -> tuple[float, float]:
    """LSE-D and LSE-C of one clip, see `sync_distances`; nan for a clip of under six frames.

    Args:
        network: of `load_syncnet`.
        frames: (T, H, H, 3) uint8 RGB, crops of the face.
        sound: (S,) 16 kHz.
        frame_rate: Hz of the video.
    """
    num_sound_frames = len(sound) * frame_rate / SAMPLE_RATE
    if min(len(frames), num_sound_frames) < MIN_FRAMES:
        return float("nan"), float("nan")

    distances = sync_distances(network, frames, sound, frame_rate)

    return lse(distances)
