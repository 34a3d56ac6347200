"""A plain classifier of emotions on CERL's inputs: an opponent of CERL's.

The same encoder, sampler and steps, and cross-entropy alone: no prompts, no contrast, no
adversary. The settings say whether its code passes CERL's narrow noisy bottleneck.
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from cdrl.core.checkpoint import save_network
from cdrl.core.settings import EmotionConfig
from cdrl.core.vocabulary import EMOTIONS
from cdrl.models.emotion import EmotionEncoder
from cdrl.priors.features import Features
from cdrl.priors.language import LanguagePrior
from cdrl.representation.cerl import EmotionSampler, label_prototypes
from cdrl.representation.components import build_emotion_encoder
from cdrl.training.joint import joint_forward
from cdrl.training.loop import LoopConfig, train

Batch = dict[str, torch.Tensor]


class ClassifierObjective(nn.Module):
    """Cross-entropy of a linear readout of the embedding, in nats; chance is ln 8.

    Args:
        encoder: trained.
    """

    def __init__(self, encoder: EmotionEncoder):
        super().__init__()
        self.encoder = encoder
        self.readout = nn.Linear(encoder.config["embedding"], len(EMOTIONS))
        # Unit vectors: without a scale no class could be likely.
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, batch: Batch) -> Batch:
        """Batch of `EmotionSampler` -> {"cross_entropy": (2 P,) values}."""
        embedding = joint_forward(self.encoder, batch["features"].flatten(0, 1))
        logits = self.readout(embedding) * self.scale.exp()
        labels = batch["emotion"].flatten()
        return {"cross_entropy": F.cross_entropy(logits, labels, reduction="none")}


def without_bottleneck(config: EmotionConfig) -> EmotionConfig:
    """The same settings with 128 dimensions and no noise: a classifier as one finds it.

    Args:
        config: of CERL.
    """
    return replace(config, bottleneck=128, noise=0.0)


def train_classifier(
    features: Features, config: EmotionConfig, language: str, out: Path
) -> tuple[EmotionEncoder, pd.DataFrame]:
    """Train a classifier and write its encoder as CERL's is written.

    Args:
        features: of the training clips.
        config: settings; of the weights none is used.
        language: name of the language prior, which made the image features.
        out: folder.

    Returns:
        The encoder, frozen, in eval mode; and the history of the loss.
    """
    torch.manual_seed(config.seed)
    prior = LanguagePrior(language)
    encoder, card = build_emotion_encoder(config, features, prior.embedding, prior.token_width)
    encoder.context.requires_grad_(False)  # it has no prompts
    objective = ClassifierObjective(encoder)

    loop = LoopConfig(
        steps=config.steps,
        learning_rate=config.learning_rate,
        seed=config.seed,
        weights={"cross_entropy": 1.0},
        device=config.device,
        precision=config.precision,
        tracker=config.tracker,
    )
    sampler = EmotionSampler(features, config)
    history = train(objective, objective, sampler, loop, Path(out) / "training", "classifier")

    classes = F.normalize(objective.readout.weight.detach(), dim=-1)
    prototypes = label_prototypes(encoder, features)
    targets = {"text": classes.contiguous(), "prototypes": prototypes.contiguous()}
    save_file(targets, Path(out) / "targets.safetensors")
    save_network(out, encoder, card | {"language": language}, history)
    return encoder, history
