"""Go on training a run's encoders on a few other clips, as real ones, with the objectives that trained them."""

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from cdrl.core.settings import ContentConfig, EmotionConfig
from cdrl.models.content import ContentEncoder
from cdrl.models.emotion import EmotionEncoder
from cdrl.priors.features import Features
from cdrl.priors.language import LanguagePrior
from cdrl.representation.content import TERMS as CONTENT_TERMS
from cdrl.representation.content import ContentObjective
from cdrl.representation.emotion import TERMS as EMOTION_TERMS
from cdrl.representation.emotion import EmotionObjective, EmotionSampler
from cdrl.representation.pairs import PairSampler, find_pairs
from cdrl.training.loop import LoopConfig, train

SLOWER = 0.25  # of the training's learning rate


def select_clips(features: Features, clips) -> Features:
    """The features of some clips, by number: whatever is drawn from them reads no frame of the others."""
    part, store = copy.copy(features), copy.copy(features.store)
    store.clips = features.store.clips.iloc[clips].reset_index(drop=True)
    part.store = store
    return part


def fit_content(
    encoder: ContentEncoder,
    clips: Features,
    before: PairSampler,
    units: torch.Tensor,
    config: ContentConfig,
    steps: int,
) -> ContentEncoder:
    """CCRL goes on: half of every batch are pairs of `clips` by DTW on the audio prior, half are pairs that it was trained on.

    Args:
        encoder: stays as it is, a copy is fitted. clips: what to fit to, all of it; see `select_clips`. before: of the training clips, so
            that they are not forgotten. units: (K, A) of `sound_units` of those. config: of the training; its steps and batch count
            for nothing.

    Returns:
        The copy, frozen, in eval mode.

    Raises:
        InputError: where no two of the clips say the same in two emotions, or fewer than two pairs can be aligned.
    """
    count = len(clips.store.clips)
    config = replace(
        config, batch=before.config.batch, pairs=count * (count - 1), alignment="prior"
    )
    new = PairSampler(clips, find_pairs(clips, config), config)
    torch.manual_seed(config.seed)
    objective = ContentObjective(
        copy.deepcopy(encoder).requires_grad_(True),
        config,
        len(before.speakers) + len(new.speakers),
        units,
    )
    _go_on(
        objective,
        (before, new),
        {name: getattr(config, f"{name}_weight") for name in CONTENT_TERMS},
        config,
        steps,
    )
    return objective.encoder.requires_grad_(False)


def fit_emotion(
    encoder: EmotionEncoder,
    clips: Features,
    before: EmotionSampler,
    language: str,
    config: EmotionConfig,
    steps: int,
) -> tuple[EmotionEncoder, torch.Tensor]:
    """CERL goes on, as `fit_content`; the level of the clips is not asked for, which real ones seldom have.

    Returns:
        The copy, frozen, in eval mode; and its prompts, (8, D), unit norm.

    Raises:
        InputError: where no two of the clips say the same in two emotions.
    """
    new = EmotionSampler(clips, before.config)
    torch.manual_seed(config.seed)
    prior = LanguagePrior(language)
    copied = copy.deepcopy(encoder).requires_grad_(True)
    objective = EmotionObjective(
        copied, prior, config, prior.embedding, len(before.speakers) + len(new.speakers)
    )
    _go_on(
        objective,
        (before, new),
        {name: getattr(config, f"{name}_weight") for name in EMOTION_TERMS},
        config,
        steps,
        ("intensity",),
    )
    with torch.no_grad():
        return objective.encoder.requires_grad_(False), objective.prompts()


def _go_on(
    objective: nn.Module, samplers: tuple, weights: dict, config, steps: int, unasked: tuple = ()
) -> None:
    """Train on what both samplers draw; of the second, the new clips, the terms `unasked` are left out."""
    before, new = samplers

    def draw(random: np.random.Generator) -> list[dict]:
        batches = [before(random), new(random)]
        batches[1]["speaker"] = batches[1]["speaker"] + len(before.speakers)
        return batches

    def terms(batches: list[dict]) -> dict:
        old, fresh = map(objective, batches)
        return {
            name: torch.cat(
                [value.reshape(-1), fresh[name].reshape(-1)[: 0 if name in unasked else None]]
            )
            for name, value in old.items()
        }

    loop = LoopConfig(
        steps=steps,
        learning_rate=SLOWER * config.learning_rate,
        seed=config.seed,
        weights=weights,
        device=config.device,
    )
    train(objective, terms, draw, loop, None, "fit")
