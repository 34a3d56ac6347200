"""CCRL and CERL as released, as guidance of the image editor: one row of the study.

As released: -log of the clamped cosine of content maps under one sound; 1 - cosine of CLIP features
times a prompt, frame against frame of an unrelated reference. Differs from the release: one editor
has both terms, on the edit against its source (the release has content on reconstructions only);
frozen networks are in eval mode; networks have the size of this corpus.
"""

from pathlib import Path

import pandas as pd
import torch
from torch import nn

from cdrl.baselines.released.losses import released_content_guidance, released_emotion_guidance
from cdrl.baselines.released.training import (
    small_released,
    train_released_content,
    train_released_prompts,
)
from cdrl.core.checkpoint import freeze, load_network, save_network
from cdrl.core.vocabulary import EMOTIONS, SCORED_EMOTIONS
from cdrl.models.discriminator import FRAMES
from cdrl.priors.features import Features
from cdrl.priors.language import LanguagePrior
from cdrl.priors.vision import face_view


class ReleasedNetworks(nn.Module):
    """What training leaves: CCRL as released, and the texts of CERL's prompts (7, D).

    Args:
        audio: length of a frame's audio vector.
        embedding: D.
    """

    prompts: torch.Tensor

    def __init__(self, audio: int, embedding: int):
        super().__init__()
        self.content = small_released(audio)
        self.register_buffer("prompts", torch.zeros(len(SCORED_EMOTIONS), embedding))


class ReleasedGuidance(nn.Module):
    """The released losses as guidance; frozen, in eval mode, differentiable to the pixels.

    Args:
        where: folder that `train_released` wrote.
        language: name of the language prior.
    """

    prompts: torch.Tensor

    def __init__(self, where: Path, language: str = "embedded"):
        super().__init__()

        networks = load_network(ReleasedNetworks, where)
        self.content_net = networks.content
        self.language = LanguagePrior(language)

        prompts = [_prompt(name, networks.prompts) for name in EMOTIONS]
        self.register_buffer("prompts", torch.stack(prompts))
        freeze(self)

    def content(
        self, source: torch.Tensor, output: torch.Tensor, *, audio_features: torch.Tensor
    ) -> torch.Tensor:
        """Compute the content term.

        Args:
            source: (B, 5, 3, H, W) in [0, 1].
            output: (B, 5, 3, H, W) in [0, 1].
            audio_features: (B, 5, A) audio prior of the SOURCE, which goes with both.

        Returns:
            (B,), mean of three frames.
        """
        audio = audio_features[:, FRAMES].flatten(0, 1)[:, None]
        with torch.no_grad():
            source_content = self._content_maps(source, audio)
        output_content = self._content_maps(output, audio)

        losses = released_content_guidance(source_content, output_content)

        return losses.view(len(source), -1).mean(1)

    def _content_maps(self, clips: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
        frames = clips[:, FRAMES].flatten(0, 1)
        return self.content_net(face_view(frames), audio)

    def emotion(
        self, output: torch.Tensor, *, reference: torch.Tensor, label_indices: torch.Tensor
    ) -> torch.Tensor:
        """Compute the emotion term.

        Args:
            output: (B, T, 3, H, W) in [0, 1].
            reference: (B, T, 3, H, W) in [0, 1], frames of another clip.
            label_indices: (B,) target labels.

        Returns:
            (B,), mean over frames.
        """
        reference_features = self._image_features(reference)
        output_features = self._image_features(output)

        prompt = self.prompts[label_indices]
        prompt = prompt.repeat_interleave(output.shape[1], 0)

        losses = released_emotion_guidance(reference_features, output_features, prompt)

        return losses.view(len(output), -1).mean(1)

    def _image_features(self, clips: torch.Tensor) -> torch.Tensor:
        features = self.language.image_features(clips.flatten(0, 1))
        return self.language.project(features)


def _prompt(emotion: str, prompts: torch.Tensor) -> torch.Tensor:
    """Prompt of an emotion; contempt, which the release has not, weights all dimensions alike."""
    if emotion not in SCORED_EMOTIONS:
        return torch.ones_like(prompts[0])
    return prompts[SCORED_EMOTIONS.index(emotion)]


def train_released(
    features: Features,
    pairs: pd.DataFrame,
    language: str,
    steps: tuple[int, int],
    seed: int,
    out: Path,
) -> ReleasedGuidance:
    """Train both networks as released on the training people and write them.

    Args:
        features: of the training people.
        pairs: table of pairs of clips.
        language: name of the language prior.
        steps: of CCRL and of CERL.
        seed: of weights and batches.
        out: folder of the networks.

    Returns:
        The guidance that uses them.
    """
    content_steps, emotion_steps = steps
    content, history = train_released_content(features, pairs, content_steps, seed)
    prompts, _ = train_released_prompts(features, language, emotion_steps, seed)

    shape = {"audio": features.audio.shape[1], "embedding": prompts.shape[1]}
    networks = ReleasedNetworks(**shape)
    networks.content = content
    networks.prompts = prompts

    card = {"model": shape, "language": language, "steps": list(steps)}
    save_network(out, networks, card, history)

    return ReleasedGuidance(out, language)
