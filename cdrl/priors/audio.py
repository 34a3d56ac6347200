"""The audio prior: the content of speech, from sound alone, at the frame rate of the video.

Two families with one call, `(sound, num_frames, frame_rate) -> (num_frames, D)`, and
`extract_clips` for many clips at once: the embedded network (log-mel -> frame-wise phonemes,
trained by this kit, no download), and torchaudio's bundles (`cdrl.priors.bundles`: WAV2VEC2_XLSR53
layer 20 as in the CDRL release, HuBERT).
"""

import math
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.checkpoint import load_network, weights_path
from cdrl.core.weight_files import checksum
from cdrl.media.audio import AUDIO_RATE
from cdrl.priors.bundles import BundleAudioPrior, SoundClip

HOP = 160  # samples, 10 ms
WINDOW = 400  # samples, 25 ms
MELS = 48
CEPSTRA = 13
DILATIONS = (1, 2, 4, 8, 1, 2, 4)


class AudioPrior(Protocol):
    """What every audio prior can do.

    Attributes:
        identity: what makes the features: name, sha256 of the weights, settings.
    """

    identity: dict[str, Any]

    def __call__(self, sound: np.ndarray, num_frames: int, frame_rate: float) -> torch.Tensor:
        """(S,) float32 at 16 kHz -> (num_frames, D) on the CPU."""
        ...

    def extract_clips(self, clips: list[SoundClip]) -> list[torch.Tensor]:
        """Extract the features of many clips at once, (num_frames, D) each."""
        ...


def mel_filters(
    mels: int = MELS, bins: int = WINDOW // 2 + 1, rate: int = AUDIO_RATE
) -> torch.Tensor:
    """Triangular filters on the HTK mel scale, mel = 2595 log10(1 + f / 700).

    Args:
        mels: number of filters.
        bins: number of frequencies of the spectrum.
        rate: of the sound, Hz.

    Returns:
        (mels, bins); every row has a peak of at most 1.
    """
    top_mel = 2595 * math.log10(1 + rate / 2 / 700)
    mel = torch.linspace(0, top_mel, mels + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)

    edges = edges[:, None]
    left = edges[:-2]
    centre = edges[1:-1]
    right = edges[2:]

    frequencies = torch.linspace(0, rate / 2, bins)
    rise = (frequencies - left) / (centre - left)
    fall = (right - frequencies) / (right - centre)

    return torch.minimum(rise, fall).clamp(min=0)


def log_mel(sound: torch.Tensor) -> torch.Tensor:
    """Log-mel spectrogram, 25 ms Hann windows every 10 ms, the level of the utterance removed.

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
    )
    power = spectrum.abs().square()
    filters = mel_filters().to(sound.device)
    mel = torch.einsum("mf,bft->bmt", filters, power)
    log = torch.log(mel + 1e-5)

    return log - log.mean((1, 2), keepdim=True)


class PhonemeNet(nn.Module):
    """Dilated convolutions over log-mel; the last hidden layer is the audio prior.

    Args:
        phonemes: number of classes of the training head.
        width: hidden channels.
        features: output channels.

    Example:
        PhonemeNet(41)(torch.zeros(1, 48, 100))[1].shape == (1, 64, 100)
    """

    def __init__(self, phonemes: int, width: int = 128, features: int = 64):
        super().__init__()

        self.stem = nn.Conv1d(MELS, width, 5, padding=2)
        self.layers = nn.ModuleList()
        for dilation in DILATIONS:
            layer = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
            self.layers.append(layer)

        self.norms = nn.ModuleList()
        for _ in DILATIONS:
            self.norms.append(nn.GroupNorm(8, width))

        self.bottleneck = nn.Conv1d(width, features, 1)
        self.head = nn.Conv1d(features, phonemes, 1)

    def forward(self, mel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Classify phonemes.

        Args:
            mel: (B, 48, T) log-mel at 100 Hz.

        Returns:
            Phoneme logits (B, K, T) and features (B, 64, T).
        """
        x = F.silu(self.stem(mel))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            hidden = norm(layer(x))
            x = x + F.silu(hidden)

        features = torch.tanh(self.bottleneck(x))

        return self.head(features), features


def to_frames(
    features: torch.Tensor, rate: float, num_frames: int, frame_rate: float
) -> torch.Tensor:
    """Average features over the span of each video frame.

    Args:
        features: (T, D), the first one centred on time 0.
        rate: of the features, Hz.
        num_frames: of the video.
        frame_rate: of the video, Hz.

    Returns:
        (num_frames, D); frame k covers k / frame_rate to (k + 1) / frame_rate seconds. Past the end
        the last is repeated.
    """
    count = len(features)
    seconds = torch.arange(num_frames + 1, dtype=torch.float64) / frame_rate
    edges = (seconds * rate).round().long()

    first = edges[:-1].clamp(max=count - 1)
    end = edges[1:].clamp(max=count)
    end = torch.maximum(end, first + 1)

    zero = features.new_zeros(1, features.shape[1])
    total = torch.cat([zero, features.cumsum(0)])

    sums = total[end] - total[first]
    lengths = (end - first)[:, None]

    return sums / lengths.to(total)


def cepstra(sound: np.ndarray, num_frames: int, frame_rate: float) -> torch.Tensor:
    """Mel-frequency cepstral coefficients 1 to 13, standardised over the clip; nothing is learnt.

    Args:
        sound: (S,) float32 at 16 kHz.
        num_frames: of the video.
        frame_rate: of the video, Hz.

    Returns:
        (num_frames, 13), mean 0 and standard deviation 1 per coefficient.
    """
    from scipy.fft import dct  # few paths need it

    mel = log_mel(_as_batch(sound))[0]
    coefficients = dct(mel.T.numpy(), type=2, norm="ortho", axis=1)
    coefficients = coefficients[:, 1 : CEPSTRA + 1].astype(np.float32)

    features = torch.from_numpy(coefficients)
    frames = to_frames(features, AUDIO_RATE / HOP, num_frames, frame_rate)

    centred = frames - frames.mean(0)

    return centred / (frames.std(0) + 1e-6)


def _as_batch(sound: np.ndarray) -> torch.Tensor:
    """(S,) -> (1, S) float32."""
    return torch.as_tensor(sound, dtype=torch.float32)[None]


class EmbeddedAudioPrior:
    """The committed phoneme network.

    Args:
        weights: name or path of weights (see `cdrl.core.checkpoint.find_network`).

    Attributes:
        identity: name and sha256 of the weights; features are stored under it.

    Example:
        EmbeddedAudioPrior()(sound, num_frames=50, frame_rate=25.0).shape == (50, 64)
    """

    def __init__(self, weights: str = "audio_prior"):
        digest = checksum(weights_path(weights))
        self.identity = {"name": weights, "sha256": digest}
        self.net = load_network(PhonemeNet, weights)

    @torch.no_grad()
    def __call__(self, sound: np.ndarray, num_frames: int, frame_rate: float) -> torch.Tensor:
        """(S,) float32 at 16 kHz -> (num_frames, 64) in [-1, 1]."""
        mel = log_mel(_as_batch(sound))
        _, features = self.net(mel)
        return to_frames(features[0].T, AUDIO_RATE / HOP, num_frames, frame_rate)

    def extract_clips(self, clips: list[SoundClip]) -> list[torch.Tensor]:
        """Extract the features of each clip, one by one: (num_frames, 64) each."""
        return [self(*clip) for clip in clips]


def audio_prior(
    name: str = "embedded",
    layer: int = 20,
    windows: str = "whole",
    weights: str = "",
    device: str = "cpu",
) -> AudioPrior:
    """Build an audio prior.

    Args:
        name: `embedded`, a .safetensors path, or a torchaudio bundle (see `BundleAudioPrior`).
        layer: of a bundle.
        windows: of a bundle.
        weights: of a bundle.
        device: of a bundle.

    Raises:
        InputError: any other name, or what is wrong with the weights.
    """
    if name == "embedded":
        return EmbeddedAudioPrior()
    if name.endswith(".safetensors"):
        return EmbeddedAudioPrior(name)
    return BundleAudioPrior(name, layer, windows, weights, device)
