"""The wide audio priors: wav2vec 2.0 and HuBERT as torchaudio bundles, any transformer layer, on real or random weights.

torchaudio is imported only when such a prior is asked for. Two ways to cut the sound:

`whole`: a clip at once, the waveform normalised where the bundle says so, clips batched; a video frame takes the features at
its middle. `released`: as the CDRL release did it, 30 frames a second, 128 frames at a time with 15 of the window before, whose
outputs are dropped; each window is stretched to its frames with the ends aligned, and the waveform is not normalised, because
the release called the network's parts and so went past that step. Its last linear map, 1024 to 512, was never published:
here the transformer's 1024 numbers are kept.
"""

from math import ceil

import numpy as np
import torch
import torch.nn.functional as F

from cdrl.core.errors import InputError
from cdrl.core.weight_files import fill, read_state, verify
from cdrl.media.audio import AUDIO_RATE
from cdrl.priors import sources

HOP, FIELD = 320, 400  # samples from one output to the next, and those that one output hears
RELEASED_RATE, RELEASED_WINDOW, RELEASED_OVERLAP = 30, 128, 15  # frames a second; frames
WINDOWS = ("whole", "released")


def released_windows(num_frames: int) -> list[tuple[int, int, int]]:
    """The release's windows over a clip, in frames: (first, end, how many of its outputs are dropped).

    >>> released_windows(300)
    [(0, 128, 0), (113, 241, 15), (226, 300, 15)]
    """
    found, done = [], 0
    while done < num_frames:
        first = max(0, done - RELEASED_OVERLAP)
        end = min(num_frames, first + RELEASED_WINDOW)
        found.append((first, end, done - first))
        done = end
    return found


def at_frames(features: torch.Tensor, num_frames: int, frame_rate: float) -> torch.Tensor:
    """Features at the middle of each video frame, linear between outputs, held at the ends.

    Args:
        features: (T, D), output t centred on sample 320 t + 200.

    Returns:
        (num_frames, D); frame k is looked up at (k + 1/2) / frame_rate seconds.
    """
    seconds = (
        torch.arange(num_frames, dtype=torch.float64, device=features.device) + 0.5
    ) / frame_rate
    place = ((seconds * AUDIO_RATE - FIELD / 2) / HOP).clamp(0, len(features) - 1)
    before = place.long()
    after = (before + 1).clamp(max=len(features) - 1)
    return torch.lerp(features[before], features[after], (place - before)[:, None].to(features))


class BundleAudioPrior:
    """One transformer layer of a torchaudio bundle, at the frame rate of the video.

    Args:
        name: WAV2VEC2_XLSR53 (the release's), WAV2VEC2_BASE, HUBERT_BASE, HUBERT_LARGE, ...; with `/random` behind it the same
            architecture with weights drawn from seed 0, for trials and tests.
        layer: 1-based; the release takes 20 of XLSR-53's 24.
        windows: `whole` or `released`, see above.
        weights: folder or file of the weights (see `cdrl.priors.sources`). device: of the network.

    Raises:
        InputError: torchaudio missing, an unknown bundle or layer, weights that are not at hand or not this bundle's.
    """

    def __init__(
        self,
        name: str,
        layer: int = 20,
        windows: str = "whole",
        weights: str = "",
        device: str = "cpu",
    ):
        self.bundle, random = sources.bundle(name), name.endswith("/random")
        depth = self.bundle._params["encoder_num_layers"]
        if not 1 <= layer <= depth:
            raise InputError(
                f"audio prior {name}: layer {layer} does not exist, it has layers 1 to {depth}; choose one with "
                f"--set priors.audio_layer={depth // 2}"
            )
        if windows not in WINDOWS:
            raise InputError(
                f"audio prior {name}: windows={windows}: accepted are {', '.join(WINDOWS)}"
            )
        path = None if random else sources.require_file(sources.audio_source(name), weights)
        self.identity = {
            "name": name,
            "layer": layer,
            "windows": windows,
            "sha256": verify(path) if path else "random",
        }
        self.layer, self.windows, self.device = layer, windows, torch.device(device)
        self.model = self._build(path).to(self.device)

    def _build(self, path) -> torch.nn.Module:
        from torchaudio.models import wav2vec2_model

        if path is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                return wav2vec2_model(**self.bundle._params).eval().requires_grad_(False)
        with torch.device("meta"):  # no time or memory for weights that are replaced at once
            model = wav2vec2_model(**self.bundle._params)
        return fill(model, read_state(path), path, assign=True)

    def __call__(self, sound: np.ndarray, num_frames: int, frame_rate: float) -> torch.Tensor:
        """(S,) float32 at 16 kHz -> (num_frames, D) on the CPU; D is 768 (BASE) or 1024 (XLSR53, LARGE).

        XLSR-53 to layer 20 takes 0.6 s of one core for a second of sound, and 1.3 GB.
        """
        return self.extract_clips([(sound, num_frames, frame_rate)])[0]

    def extract_clips(self, clips: list) -> list[torch.Tensor]:
        """(sound, num_frames, frame_rate) of each clip -> its features, all in one batch; the same as one by one to 1e-4."""
        clips = [
            (torch.as_tensor(sound, dtype=torch.float32, device=self.device), *rest)
            for sound, *rest in clips
        ]
        if self.windows == "released":
            return self._listen_released(clips)
        normal = self.bundle._normalize_waveform
        heard = self._transform(
            [F.layer_norm(sound, sound.shape) if normal else sound for sound, *_ in clips]
        )
        return [
            at_frames(found, *rest).cpu() for found, (_, *rest) in zip(heard, clips, strict=True)
        ]

    def _listen_released(self, clips: list) -> list[torch.Tensor]:
        out = []
        for sound, num_frames, frame_rate in clips:
            frames = max(
                1, round(num_frames * RELEASED_RATE / frame_rate)
            )  # a clip at another rate is heard at 30 all the same
            windows, step = released_windows(frames), AUDIO_RATE / RELEASED_RATE
            heard = self._transform(
                [sound[int(first * step) : ceil(end * step)] for first, end, _ in windows]
            )
            found = [
                F.interpolate(one.T[None], end - first, mode="linear", align_corners=True)[0].T[
                    dropped:
                ]
                for one, (first, end, dropped) in zip(heard, windows, strict=True)
            ]
            found = torch.cat(found)
            if frames != num_frames:
                found = F.interpolate(
                    found.T[None], num_frames, mode="linear", align_corners=False
                )[0].T
            out.append(found.cpu())
        return out

    @torch.no_grad()
    def _transform(self, sounds: list[torch.Tensor]) -> list[torch.Tensor]:
        """(S,) each -> (T, D) each, T = (S - 400) // 320 + 1.

        Convolutions see one sound at a time, because BASE's group norm averages over time and padding would change it; the
        transformer sees all, padding masked.
        """
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            sounds = [F.pad(sound, (0, max(0, FIELD - len(sound)))) for sound in sounds]
            heard = [self.model.feature_extractor(sound[None], None)[0][0] for sound in sounds]
            lengths = torch.tensor([len(one) for one in heard], device=self.device)
            padded = torch.nn.utils.rnn.pad_sequence(heard, batch_first=True)
            mask = None if bool((lengths == lengths[0]).all()) else lengths
            found = self.model.encoder.extract_features(padded, mask, self.layer)[-1].float()
        return [one[: len(part)] for one, part in zip(found, heard, strict=True)]
