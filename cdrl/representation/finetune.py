"""Fine-tuning: go on training the encoders of a run on a few other clips, such as real ones.

The objectives are those of the training. Half of every batch comes from the training clips, so that
they are not forgotten.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from cdrl.core.settings import ContentConfig, EmotionConfig
from cdrl.models.content import ContentEncoder
from cdrl.models.emotion import EmotionEncoder
from cdrl.priors.features import Features
from cdrl.priors.language import LanguagePrior
from cdrl.representation.ccrl import TERMS as CONTENT_TERMS
from cdrl.representation.ccrl import ContentObjective
from cdrl.representation.cerl import TERMS as EMOTION_TERMS
from cdrl.representation.cerl import EmotionObjective, EmotionSampler
from cdrl.representation.pairs import Batch, PairSampler, find_pairs
from cdrl.training.loop import LoopConfig, Terms, loop_config, train

RATE_FACTOR = 0.25  # of the learning rate of the training


def select_clips(features: Features, clips: Sequence[int] | np.ndarray) -> Features:
    """The features of some clips; a sampler of them reads no frame of the others.

    Args:
        features: of all clips.
        clips: (C,) numbers of the clips.
    """
    store = copy.copy(features.store)
    store.clips = features.store.clips.iloc[clips].reset_index(drop=True)

    selected = copy.copy(features)
    selected.store = store
    return selected


def fit_content(
    encoder: ContentEncoder,
    clips: Features,
    training_sampler: PairSampler,
    units: torch.Tensor,
    config: ContentConfig,
    steps: int,
) -> ContentEncoder:
    """Fine-tune CCRL on pairs of the clips, aligned by DTW on the audio prior.

    Args:
        encoder: stays as it is; a copy is fine-tuned.
        clips: what to fit to, all of it; see `select_clips`.
        training_sampler: of the training clips.
        units: (K, A) sound units of the training clips, see `sound_units`.
        config: of the training; its steps, batch and number of pairs are not used.
        steps: of the fine-tuning.

    Returns:
        The copy, frozen, in eval mode.

    Raises:
        InputError: no two of the clips say the same in two emotions, or fewer than two pairs can be
            aligned.
    """
    count = len(clips.store.clips)
    config = replace(
        config,
        batch=training_sampler.config.batch,
        pairs=max(1, count * (count - 1)),
        alignment="prior",
        steps=steps,
    )
    new_sampler = PairSampler(clips, find_pairs(clips, config), config)
    speakers = len(training_sampler.speakers) + len(new_sampler.speakers)

    torch.manual_seed(config.seed)
    trained = copy.deepcopy(encoder).requires_grad_(True)
    objective = ContentObjective(trained, config, speakers, units)
    loop = _slow(loop_config(config, CONTENT_TERMS))
    _train_on_both(objective, training_sampler, new_sampler, loop)
    return trained.requires_grad_(False)


def fit_emotion(
    encoder: EmotionEncoder,
    clips: Features,
    training_sampler: EmotionSampler,
    language: str,
    config: EmotionConfig,
    steps: int,
) -> tuple[EmotionEncoder, torch.Tensor]:
    """Fine-tune CERL; the level of the new clips is not used, which real ones seldom have.

    Args:
        encoder: stays as it is; a copy is fine-tuned.
        clips: what to fit to, all of it; see `select_clips`.
        training_sampler: of the training clips.
        language: name of the language prior.
        config: of the training; its steps are not used.
        steps: of the fine-tuning.

    Returns:
        The copy, frozen, in eval mode; and its prompts, (8, D), unit norm.

    Raises:
        InputError: no two of the clips say the same in two emotions.
    """
    new_sampler = EmotionSampler(clips, training_sampler.config)
    speakers = len(training_sampler.speakers) + len(new_sampler.speakers)

    torch.manual_seed(config.seed)
    prior = LanguagePrior(language)
    trained = copy.deepcopy(encoder).requires_grad_(True)
    objective = EmotionObjective(trained, prior, config, speakers)

    loop = _slow(loop_config(replace(config, steps=steps), EMOTION_TERMS))
    _train_on_both(objective, training_sampler, new_sampler, loop, without=("intensity",))

    with torch.no_grad():
        prompts = objective.prompts()
    return trained.requires_grad_(False), prompts


def _slow(loop: LoopConfig) -> LoopConfig:
    return replace(loop, learning_rate=RATE_FACTOR * loop.learning_rate)


def _train_on_both(
    objective: nn.Module,
    training_sampler: PairSampler | EmotionSampler,
    new_sampler: PairSampler | EmotionSampler,
    loop: LoopConfig,
    without: tuple[str, ...] = (),
) -> None:
    """Train on a batch of both samplers in each step.

    Args:
        objective: a sample's terms are averaged over both batches.
        training_sampler: its speakers have the first labels.
        new_sampler: its speakers have the labels after those.
        loop: how to train.
        without: terms that are left out for the batch of the new sampler.
    """
    speakers = len(training_sampler.speakers)

    def draw(random: np.random.Generator) -> list[Batch]:
        training_batch = training_sampler(random)
        new_batch = new_sampler(random)
        new_batch["speaker"] = new_batch["speaker"] + speakers
        return [training_batch, new_batch]

    train(objective, _joined_terms(objective, without), draw, loop, None, "fit")


def _joined_terms(objective: nn.Module, without: tuple[str, ...]) -> Callable[[list[Batch]], Terms]:
    """An objective of two batches: the values of both, joined."""

    def terms(batches: list[Batch]) -> Terms:
        training_terms = objective(batches[0])
        new_terms = objective(batches[1])
        joined = {}
        for name, values in training_terms.items():
            new_values = new_terms[name].reshape(-1)
            if name in without:
                new_values = new_values[:0]
            joined[name] = torch.cat([values.reshape(-1), new_values])

        return joined

    return terms
