"""The content prior: what is being said, read from sound alone, at the frame rate of the video.

Two families behind one call, `(sound, num_frames, frame_rate) -> (num_frames, D)`, and `extract_clips` for many clips at once:
the embedded network (log-mel -> frame-wise phonemes, trained by this kit, no download), and torchaudio's bundles
(`cdrl.priors.bundles`: WAV2VEC2_XLSR53 layer 20 as in the CDRL release, HuBERT).
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy.fft import dct
from torch import nn

from cdrl.core.checkpoint import load_card, load_weights, weights_path
from cdrl.core.weight_files import checksum
from cdrl.media.audio import AUDIO_RATE
from cdrl.priors.bundles import BundleAudioPrior

HOP = 160  # 10 ms
WINDOW = 400  # 25 ms
MELS = 48


def mel_filters(
    mels: int = MELS, bins: int = WINDOW // 2 + 1, rate: int = AUDIO_RATE
) -> torch.Tensor:
    """Triangular filters on the HTK mel scale, mel = 2595 log10(1 + f / 700).

    Returns:
        (mels, bins); every row has a peak of at most 1.
    """
    top = 2595 * math.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, mels + 2) / 2595) - 1)
    frequencies = torch.linspace(0, rate / 2, bins)
    rise = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rise, fall).clamp(min=0)


def log_mel(sound: torch.Tensor) -> torch.Tensor:
    """Log-mel spectrogram, 25 ms Hann windows every 10 ms, mean and level of the utterance removed.

    Args:
        sound: (B, S) float in [-1, 1] at 16 kHz.

    Returns:
        (B, 48, S // 160 + 1), natural log, zero mean over the utterance; silence gives zeros.
    """
    spectrum = torch.stft(
        sound,
        WINDOW,
        HOP,
        window=torch.hann_window(WINDOW, device=sound.device),
        center=True,
        pad_mode="constant",
        return_complex=True,
    ).abs()
    mel = torch.log(
        torch.einsum("mf,bft->bmt", mel_filters().to(sound.device), spectrum.square()) + 1e-5
    )
    return mel - mel.mean((1, 2), keepdim=True)


class PhonemeNet(nn.Module):
    """Dilated convolutions over log-mel; its last hidden layer is the content prior.

    Args:
        phonemes: number of classes of the training head.
        width, features: hidden and output channels.

    Example:
        PhonemeNet(41)(torch.zeros(1, 48, 100))[1].shape == (1, 64, 100)
    """

    def __init__(self, phonemes: int, width: int = 128, features: int = 64):
        super().__init__()
        self.stem = nn.Conv1d(MELS, width, 5, padding=2)
        self.layers = nn.ModuleList(
            [nn.Conv1d(width, width, 3, padding=d, dilation=d) for d in (1, 2, 4, 8, 1, 2, 4)]
        )
        self.norms = nn.ModuleList([nn.GroupNorm(8, width) for _ in self.layers])
        self.bottleneck = nn.Conv1d(width, features, 1)
        self.head = nn.Conv1d(features, phonemes, 1)

    def forward(self, mel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 48, T) log-mel at 100 Hz -> phoneme logits (B, K, T) and features (B, 64, T)."""
        x = F.silu(self.stem(mel))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = x + F.silu(norm(layer(x)))
        features = torch.tanh(self.bottleneck(x))
        return self.head(features), features


def to_frames(
    features: torch.Tensor, rate: float, num_frames: int, frame_rate: float
) -> torch.Tensor:
    """Average features over the span of each video frame.

    Args:
        features: (T, D) at `rate` per second, the first one centred on time 0.

    Returns:
        (num_frames, D); frame k covers k / frame_rate to (k + 1) / frame_rate seconds. Past the end the last is repeated.
    """
    total = torch.cat([features.new_zeros(1, features.shape[1]), features.cumsum(0)])
    edges = torch.arange(num_frames + 1, dtype=torch.float64) / frame_rate * rate
    first = edges[:-1].round().long().clamp(max=len(features) - 1)
    last = torch.maximum(edges[1:].round().long().clamp(max=len(features)), first + 1)
    return (total[last] - total[first]) / (last - first)[:, None].to(total)


def cepstra(sound: np.ndarray, num_frames: int, frame_rate: float) -> torch.Tensor:
    """Mel-frequency cepstral coefficients 1 to 13, standardised over the clip: the audio features that nobody learnt.

    Args:
        sound: (S,) float32 at 16 kHz.

    Returns:
        (num_frames, 13), mean 0 and deviation 1 per coefficient.
    """
    mel = log_mel(torch.as_tensor(sound, dtype=torch.float32)[None])[0].T.numpy()
    found = torch.from_numpy(dct(mel, type=2, norm="ortho", axis=1)[:, 1:14].astype(np.float32))
    found = to_frames(found, AUDIO_RATE / HOP, num_frames, frame_rate)
    return (found - found.mean(0)) / (found.std(0) + 1e-6)


class EmbeddedAudioPrior:
    """The committed phoneme network.

    Example:
        EmbeddedAudioPrior()(sound, num_frames=50, frame_rate=25.0).shape == (50, 64)
    """

    def __init__(self, weights: str = "audio_prior"):
        self.identity = {"name": weights, "sha256": checksum(weights_path(weights))}
        self.net = load_weights(weights, PhonemeNet(**load_card(weights)["model"]))

    @torch.no_grad()
    def __call__(self, sound: np.ndarray, num_frames: int, frame_rate: float) -> torch.Tensor:
        """(S,) float32 at 16 kHz -> (num_frames, 64) in [-1, 1]."""
        features = self.net(log_mel(torch.as_tensor(sound, dtype=torch.float32)[None]))[1][0].T
        return to_frames(features, AUDIO_RATE / HOP, num_frames, frame_rate)

    def extract_clips(self, clips: list) -> list[torch.Tensor]:
        """(sound, num_frames, frame_rate) of each clip -> its features, one by one."""
        return [self(*clip) for clip in clips]


def audio_prior(
    name: str = "embedded",
    layer: int = 20,
    windows: str = "whole",
    weights: str = "",
    device: str = "cpu",
):
    """The audio prior called `name`: `embedded`, a .safetensors path, or a torchaudio bundle (see `BundleAudioPrior`).

    Raises:
        InputError: for any other name.
    """
    if name == "embedded":
        return EmbeddedAudioPrior()
    if name.endswith(".safetensors"):
        return EmbeddedAudioPrior(name)
    return BundleAudioPrior(name, layer, windows, weights, device)
