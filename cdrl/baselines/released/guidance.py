"""CCRL and CERL as released, in the places where the release's generators have them: a row of the study, no part of our method.

As released: -log of the clamped cosine of content maps under one sound; 1 - cosine of CLIP features times a prompt, frame
against frame of an unrelated reference. Differs from the release: one host takes both terms, on the edit against its source
(the release has content on reconstructions only); frozen networks are in eval mode; networks of this corpus's size.
"""

from pathlib import Path

import pandas as pd
import torch
from torch import nn

from cdrl.baselines.released.losses import released_content_guidance, released_emotion_guidance
from cdrl.baselines.released.networks import ReleasedContent
from cdrl.baselines.released.training import (
    small_released,
    train_released_content,
    train_released_prompts,
)
from cdrl.core.checkpoint import load_network, save_network
from cdrl.core.vocabulary import EMOTIONS, SCORED_EMOTIONS
from cdrl.models.discriminator import FRAMES
from cdrl.priors.features import Features
from cdrl.priors.language import LanguagePrior
from cdrl.priors.vision import face_view


class ReleasedNets(nn.Module):
    """What training leaves: CCRL as released, and the texts of CERL's prompts (7, D).

    Args:
        audio: length of a frame's audio vector. embedding: D.
    """

    def __init__(self, audio: int, embedding: int):
        super().__init__()
        self.content: ReleasedContent = small_released(audio)
        self.register_buffer("prompts", torch.zeros(len(SCORED_EMOTIONS), embedding))


class ReleasedGuidance(nn.Module):
    """The released losses as supervision of the image host; frozen, in eval mode, differentiable to the pixels.

    Args:
        where: folder that `train_released` wrote. language: name of the vision-language prior.
    """

    def __init__(self, where: Path, language: str = "embedded"):
        super().__init__()
        nets = load_network(ReleasedNets, where)
        self.content_net, self.language = nets.content, LanguagePrior(language)
        rows = [
            nets.prompts[SCORED_EMOTIONS.index(name)]
            if name in SCORED_EMOTIONS
            else torch.ones_like(nets.prompts[0])
            for name in EMOTIONS
        ]
        self.register_buffer(
            "prompts", torch.stack(rows)
        )  # (8, D); contempt, which the release has not, weights all alike
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "ReleasedGuidance":
        """Frozen: stays in eval mode."""
        return super().train(False)

    def content(
        self, source: torch.Tensor, output: torch.Tensor, *, audio_features: torch.Tensor
    ) -> torch.Tensor:
        """(B, 5, 3, H, W) twice, in [0, 1], and the SOURCE's audio prior (B, 5, A), heard with both -> (B,), mean of three frames."""
        sound = audio_features[:, FRAMES].flatten(0, 1)[:, None]
        with torch.no_grad():
            wanted = self.content_net(face_view(source[:, FRAMES].flatten(0, 1)), sound)
        found = self.content_net(face_view(output[:, FRAMES].flatten(0, 1)), sound)
        return released_content_guidance(wanted, found).view(len(source), -1).mean(1)

    def emotion(
        self, output: torch.Tensor, *, reference: torch.Tensor, label_indices: torch.Tensor
    ) -> torch.Tensor:
        """(B, T, 3, H, W) frames of a reference and of the output in [0, 1], and the wanted labels (B,) -> (B,), mean over frames."""
        shown = [
            self.language.project(self.language.image_features(x.flatten(0, 1)))
            for x in (reference, output)
        ]
        prompt = self.prompts[label_indices].repeat_interleave(output.shape[1], 0)
        return released_emotion_guidance(*shown, prompt).view(len(output), -1).mean(1)


def train_released(
    features: Features,
    pairs: pd.DataFrame,
    language: str,
    steps: tuple[int, int],
    seed: int,
    out: Path,
) -> ReleasedGuidance:
    """Train both networks as released on the training people, write them under `out`, and load them as guidance.

    Args:
        steps: of CCRL and of CERL.
    """
    content, history = train_released_content(features, pairs, steps[0], seed)
    prompts, _ = train_released_prompts(features, language, steps[1], seed)
    nets = ReleasedNets(features.audio.shape[1], prompts.shape[1])
    nets.content, nets.prompts = content, prompts
    card = {
        "model": {"audio": features.audio.shape[1], "embedding": prompts.shape[1]},
        "language": language,
        "steps": list(steps),
    }
    save_network(out, nets, card, history)
    return ReleasedGuidance(out, language)
