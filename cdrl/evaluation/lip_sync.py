"""LSE-D and LSE-C (arXiv:2008.10010) as the paper's release computes them, by SyncNet v2, whose weights a user brings.

The release asks at 30 frames a second a network that learnt at 25, so its numbers compare with its own tables alone; the least distance over
shifts hides a constant delay. Differs from the release: no sound is cut off, which made up for two frames that its renderer leaves out.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.fft import dct

from cdrl.core.weight_files import fill, read_state, verify
from cdrl.core.errors import InputError
from cdrl.models.syncnet import CEPSTRA, SIDE, STEPS, WINDOW, SyncNet

SHIFTS = 10  # frames that the sound is moved either way
FEWEST = WINDOW + 1  # frames of picture and of sound
MARGIN = 35 / 256  # of the crop's side, cut off all around
SAMPLE_RATE = 16000  # Hz
_SPAN, _POINTS, _BANDS, _LIFTER = 400, 512, 26, 22
_BATCH = 16


@lru_cache(maxsize=1)
def load_syncnet(path: str | Path) -> SyncNet:
    """The network with the weights in `path`, `syncnet_v2.model` as published or the same as .safetensors, frozen, in eval mode.

    Raises:
        InputError: no such file, one that holds more than tensors, another network's weights, or a file that has changed.
    """
    path = Path(path)
    state = read_state(path)
    verify(path)
    return fill(SyncNet(), state, path)


def cepstra(sound: np.ndarray, frame_rate: float) -> np.ndarray:
    """Mel-frequency cepstra as `python_speech_features.mfcc` 0.6 computes them, four for each video frame.

    26 triangles on spans of 25 ms, pre-emphasis .97, cosine transform, lifter 22; the first is the logarithm of the span's energy.

    Args:
        sound: (S,) 16 kHz in [-1, 1]; the network learnt on 16 bit integers, so it is scaled to them. frame_rate: Hz of the video.

    Returns:
        (M, 13) float64; M = 1 + ceil((S - 400) / step), step the samples of a quarter of a frame, rounded.
    """
    sound = np.round(np.asarray(sound, np.float64) * 32767)
    step = int(np.floor(SAMPLE_RATE / (4 * frame_rate) + 0.5))
    sound = np.append(sound[:1], sound[1:] - 0.97 * sound[:-1])
    count = 1 + max(0, -(-(len(sound) - _SPAN) // step))
    sound = np.pad(sound, (0, max(0, (count - 1) * step + _SPAN - len(sound))))
    spans = sound[np.arange(count)[:, None] * step + np.arange(_SPAN)]
    power = np.abs(np.fft.rfft(spans, _POINTS)) ** 2 / _POINTS
    tiny = np.finfo(float).eps
    found = dct(np.log(np.maximum(power @ _triangles().T, tiny)), type=2, axis=1, norm="ortho")[
        :, :CEPSTRA
    ]
    found *= 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(CEPSTRA) / _LIFTER)
    found[:, 0] = np.log(np.maximum(power.sum(1), tiny))
    return found


@lru_cache(maxsize=1)
def _triangles() -> np.ndarray:
    """(26, 257) equally wide on the mel scale, corners on whole points of the spectrum."""
    highest = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, highest, _BANDS + 2) / 2595) - 1)
    corners = np.floor((_POINTS + 1) * hertz / SAMPLE_RATE)
    point = np.arange(_POINTS // 2 + 1)
    low, middle, high = (corners[k : k + _BANDS, None] for k in range(3))
    rise, fall = (point - low) / (middle - low), (high - point) / (high - middle)
    return np.where(
        (point >= low) & (point < middle),
        rise,
        np.where((point >= middle) & (point < high), fall, 0),
    )


@torch.no_grad()
def distances(
    network: SyncNet, frames: np.ndarray, sound: np.ndarray, frame_rate: float
) -> np.ndarray:
    """How far the picture lies from the sound, moved by -10 to 10 frames.

    Args:
        frames: (T, H, H, 3) uint8 RGB, crops of the face; `MARGIN` of them is cut off. sound: (S,) 16 kHz. frame_rate: Hz.

    Returns:
        (T - 5, 21) Euclidean distances; beyond the ends the sound is zeros, as released. Fewer rows where the sound is shorter.

    Raises:
        InputError: fewer than six frames of picture and sound.
    """
    heard = torch.from_numpy(cepstra(sound, frame_rate).T.astype(np.float32))
    rows = min(len(frames), int(len(sound) * frame_rate // SAMPLE_RATE)) - WINDOW
    if rows < 1:
        raise InputError(
            f"lip sync: {len(frames)} frames and {len(sound) / SAMPLE_RATE:.2f} s of sound; at least {FEWEST} frames of both are needed"
        )
    heard = F.pad(heard, (0, max(0, 4 * (rows - 1) + STEPS - heard.shape[1])))
    cut = round(MARGIN * frames.shape[1])
    inner = torch.from_numpy(
        np.ascontiguousarray(
            frames[:, cut : frames.shape[1] - cut, cut : frames.shape[2] - cut, ::-1]
        )
    )
    large = F.interpolate(
        inner.permute(0, 3, 1, 2).float(), (SIDE, SIDE), mode="bilinear", align_corners=False
    )
    seen, said = [], []
    for first in range(0, rows, _BATCH):
        part = range(first, min(first + _BATCH, rows))
        seen.append(
            network.extract_visual(
                torch.stack([large[k : k + WINDOW].transpose(0, 1) for k in part])
            )
        )
        said.append(
            network.extract_audio(
                torch.stack([heard[None, :, 4 * k : 4 * k + STEPS] for k in part])
            )
        )
    picture, voice = torch.cat(seen), F.pad(torch.cat(said), (0, 0, SHIFTS, SHIFTS))
    shifted = voice.unfold(0, 2 * SHIFTS + 1, 1).transpose(1, 2)  # (rows, 21, 1024)
    return F.pairwise_distance(picture[:, None], shifted).numpy()


def lse(found: np.ndarray) -> tuple[float, float]:
    """LSE-D and LSE-C of `distances` (T, 21): over the shifts, the least of the mean distances; and their median less it.

    Returns:
        Lower LSE-D and higher LSE-C: more in time. LSE-D of the release's own edits is 9.2 to 9.9; LSE-C of a still face is near 0.

    >>> lse(np.array([[3.0, 1.0, 3.0, 3.0, 3.0]]))
    (1.0, 2.0)
    """
    means = found.mean(0)
    return float(means.min()), float(np.median(means) - means.min())
