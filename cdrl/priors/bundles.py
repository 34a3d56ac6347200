"""The wide audio priors: wav2vec 2.0 and HuBERT as torchaudio bundles, any transformer layer.

torchaudio is imported only when such a prior is built. There are two ways to cut the sound.

`whole`: a clip at once, the waveform normalised where the bundle says so, clips batched; a video
frame takes the features at its middle.

`released`: as the CDRL release did it, 30 frames a second, 128 frames at a time with 15 of the
window before, whose outputs are dropped. Each window is stretched to its frames with the ends
aligned. The waveform is not normalised, because the release called the network's parts and so left
that step out. Its last linear map, 1024 to 512, was never published: here the transformer's 1024
numbers are kept.
"""

from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from cdrl.core.errors import InputError
from cdrl.core.weight_files import fill, read_state, verify
from cdrl.media.audio import AUDIO_RATE
from cdrl.priors import sources

HOP = 320  # samples from one output to the next
FIELD = 400  # samples that one output depends on
RELEASED_RATE = 30  # frames a second
RELEASED_WINDOW = 128  # frames
RELEASED_OVERLAP = 15  # frames
WINDOWS = ("whole", "released")

SoundClip = tuple[np.ndarray, int, float]  # (S,) float32 at 16 kHz, frames, frames a second


def released_windows(num_frames: int) -> list[tuple[int, int, int]]:
    """Cut a clip into the windows of the release.

    Returns:
        First frame, end, and how many outputs are dropped, for each window.

    >>> released_windows(300)
    [(0, 128, 0), (113, 241, 15), (226, 300, 15)]
    """
    windows = []
    done = 0
    while done < num_frames:
        first = max(0, done - RELEASED_OVERLAP)
        end = min(num_frames, first + RELEASED_WINDOW)
        windows.append((first, end, done - first))
        done = end

    return windows


def at_frames(features: torch.Tensor, num_frames: int, frame_rate: float) -> torch.Tensor:
    """Interpolate features at the middle of each video frame; the ends are repeated.

    Args:
        features: (T, D), output t centred on sample 320 t + 200.
        num_frames: of the video.
        frame_rate: of the video, Hz.

    Returns:
        (num_frames, D); frame k is interpolated at (k + 1/2) / frame_rate seconds.
    """
    last = len(features) - 1
    middle = torch.arange(num_frames, dtype=torch.float64, device=features.device) + 0.5
    seconds = middle / frame_rate
    position = (seconds * AUDIO_RATE - FIELD / 2) / HOP
    position = position.clamp(0, last)

    before = position.long()
    after = (before + 1).clamp(max=last)

    weight = (position - before)[:, None]

    return torch.lerp(features[before], features[after], weight.to(features))


class BundleAudioPrior:
    """One transformer layer of a torchaudio bundle, at the frame rate of the video.

    Args:
        name: WAV2VEC2_XLSR53 (the release's), WAV2VEC2_BASE, HUBERT_BASE, HUBERT_LARGE, ...; with
            `/random` behind it the same architecture with weights drawn from seed 0, for trials
            and tests.
        layer: 1-based; the release takes 20 of XLSR-53's 24.
        windows: `whole` or `released`, see the module.
        weights: folder or file of the weights (see `cdrl.priors.sources`).
        device: of the network.

    Attributes:
        identity: name, layer, windows and sha256 of the weights; features are stored under it.

    Raises:
        InputError: torchaudio missing, an unknown bundle or layer, weights that are missing or not
            this bundle's.
    """

    def __init__(
        self,
        name: str,
        layer: int = 20,
        windows: str = "whole",
        weights: str = "",
        device: str = "cpu",
    ):
        self.bundle = sources.find_bundle(name)
        self._check(name, layer, windows)
        path = None
        digest = "random"
        if not name.endswith("/random"):
            path = sources.require_file(sources.audio_source(name), weights)
            digest = verify(path)

        self.identity = {"name": name, "layer": layer, "windows": windows, "sha256": digest}
        self.layer = layer
        self.windows = windows
        self.device = torch.device(device)
        self.model = self._build(path).to(self.device)

    def _check(self, name: str, layer: int, windows: str) -> None:
        depth = self.bundle._params["encoder_num_layers"]
        if not 1 <= layer <= depth:
            raise InputError(
                f"audio prior {name}: layer {layer} does not exist, it has layers 1 to {depth}; "
                f"choose one with --set priors.audio_layer={depth // 2}"
            )
        if windows not in WINDOWS:
            accepted = ", ".join(WINDOWS)
            raise InputError(f"audio prior {name}: windows={windows}: accepted are {accepted}")

    def _build(self, path: Path | None) -> Any:
        """Build the network with weights of a file, or random ones."""
        from torchaudio.models import wav2vec2_model

        if path is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                model = wav2vec2_model(**self.bundle._params)
            return model.eval().requires_grad_(False)

        with torch.device("meta"):  # no time or memory for weights that are replaced at once
            model = wav2vec2_model(**self.bundle._params)

        return fill(model, read_state(path), path, assign=True)

    def __call__(self, sound: np.ndarray, num_frames: int, frame_rate: float) -> torch.Tensor:
        """Extract the features of one clip.

        XLSR-53 to layer 20 takes 0.6 s of one core for a second of sound, and 1.3 GB.

        Args:
            sound: (S,) float32 at 16 kHz.
            num_frames: of the video.
            frame_rate: of the video, Hz.

        Returns:
            (num_frames, D) on the CPU; D is 768 (BASE) or 1024 (XLSR53, LARGE).
        """
        return self.extract_clips([(sound, num_frames, frame_rate)])[0]

    def extract_clips(self, clips: list[SoundClip]) -> list[torch.Tensor]:
        """Extract the features of clips in one batch; they differ from single ones by 1e-4 at most.

        Args:
            clips: sound (S,), frames and frame rate of each.

        Returns:
            (num_frames, D) for each clip, on the CPU.
        """
        if self.windows == "released":
            return [self._extract_released(*clip) for clip in clips]

        sounds = [self._load(sound) for sound, _, _ in clips]
        if self.bundle._normalize_waveform:
            sounds = [F.layer_norm(sound, sound.shape) for sound in sounds]

        features = []
        outputs = self._transform(sounds)
        for output, (_, num_frames, frame_rate) in zip(outputs, clips, strict=True):
            frames = at_frames(output, num_frames, frame_rate)
            features.append(frames.cpu())

        return features

    def _load(self, sound: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(sound, dtype=torch.float32, device=self.device)

    def _extract_released(
        self, sound: np.ndarray, num_frames: int, frame_rate: float
    ) -> torch.Tensor:
        """Extract the features of one clip in the windows of the release."""
        # Sound of a clip at another frame rate is cut at 30 frames a second all the same.
        released_frames = max(1, round(num_frames * RELEASED_RATE / frame_rate))
        windows = released_windows(released_frames)
        step = AUDIO_RATE / RELEASED_RATE
        whole = self._load(sound)
        sounds = [whole[int(first * step) : ceil(end * step)] for first, end, _ in windows]

        parts = []
        outputs = self._transform(sounds)
        for output, (first, end, dropped) in zip(outputs, windows, strict=True):
            stretched = _resample(output, end - first, align_corners=True)
            parts.append(stretched[dropped:])

        features = torch.cat(parts)
        if released_frames != num_frames:
            features = _resample(features, num_frames, align_corners=False)

        return features.cpu()

    @torch.no_grad()
    def _transform(self, sounds: list[torch.Tensor]) -> list[torch.Tensor]:
        """Run the network: (S,) each -> (T, D) each, T = (S - 400) // 320 + 1.

        Convolutions get one sound at a time, because BASE's group norm averages over time and
        padding would change it; the transformer gets all, padding masked.
        """
        on_gpu = self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.float16, enabled=on_gpu):
            convolved = [self._convolve(sound) for sound in sounds]

            lengths = torch.tensor([len(part) for part in convolved], device=self.device)
            padded = torch.nn.utils.rnn.pad_sequence(convolved, batch_first=True)
            all_alike = bool((lengths == lengths[0]).all())
            mask = None if all_alike else lengths

            layers = self.model.encoder.extract_features(padded, mask, self.layer)
            outputs = layers[-1].float()

        return [output[: len(part)] for output, part in zip(outputs, convolved, strict=True)]

    def _convolve(self, sound: torch.Tensor) -> torch.Tensor:
        """(S,) -> (T, C), from a sound that is padded to one output at least."""
        missing = max(0, FIELD - len(sound))
        padded = F.pad(sound, (0, missing))
        features, _ = self.model.feature_extractor(padded[None], None)
        return features[0]


def _resample(features: torch.Tensor, count: int, align_corners: bool) -> torch.Tensor:
    """(T, D) -> (count, D), linear."""
    channels_first = features.T[None]
    resampled = F.interpolate(channels_first, count, mode="linear", align_corners=align_corners)
    return resampled[0].T
