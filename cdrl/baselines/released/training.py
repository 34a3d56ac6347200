"""CCRL and CERL as released, trained at the size of this corpus: what their losses learn.

A re-implementation. Network, attention, loss and sampling are as released
(`cdrl.baselines.released.networks`). Differs from the release: the image encoder is the second
stage of the frozen face backbone (96 x 8 x 8) instead of IResNet-50's third, and the learning rate
fits few steps.
"""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from cdrl.baselines.released.emotion import LabelHeads
from cdrl.baselines.released.losses import released_content, released_emotion
from cdrl.baselines.released.networks import ReleasedContent
from cdrl.core.checkpoint import freeze
from cdrl.core.errors import InputError
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.corpora.batches import load_images
from cdrl.priors.features import Features
from cdrl.priors.language import DESCRIPTIONS, LanguagePrior
from cdrl.priors.vision import VisionPrior, face_view
from cdrl.training.joint import joint_forward
from cdrl.training.loop import LoopConfig, train

# Of the content maps at this size.
CHANNELS = 96
SIDE = 8
PROJECTED = 256  # numbers that replace a content map where it is probed
BATCH = 256  # maps at once
CONTEXT_TOKENS = 8


def small_released(audio: int, face: str = "face_backbone", seed: int = 0) -> ReleasedContent:
    """Build the released CCRL network on the frozen face backbone's second stage, untrained.

    Args:
        audio: length of a frame's audio vector.
        face: weights of the face backbone.
        seed: of the random weights.
    """
    torch.manual_seed(seed)
    backbone = VisionPrior(face).face

    first_stages = list(backbone.stages)[:2]
    encoder = nn.Sequential(backbone.stem, nn.SiLU(), *first_stages)

    return ReleasedContent(freeze(encoder), CHANNELS, SIDE, audio)


class ContentSampler:
    """Draws triplets as the release does: x, its partner y WITH X'S AUDIO, z with its own audio.

    z is another frame of y's clip.

    Args:
        features: of the training people.
        pairs: table of pairs; rows that are not `kept` are left out.
        batch: triplets.
    """

    def __init__(self, features: Features, pairs: pd.DataFrame, batch: int):
        self.features = features
        self.pairs = pairs[pairs.kept].reset_index(drop=True)
        self.batch = batch
        self.starts = features.store.clips["start"].to_numpy()
        self.lengths = features.store.clips["num_frames"].to_numpy()

    def __call__(self, random: np.random.Generator) -> dict[str, list[torch.Tensor]]:
        """Draw a batch.

        Returns:
            `images` of x, y and z, (B, 3, 64, 64) each, and `audio` with each, (B, 1, A).
        """
        pairs = self.pairs.iloc[random.integers(0, len(self.pairs), self.batch)]
        frames = []
        partner_frames = []
        for alignment in pairs["aligned"]:
            frame = int(random.integers(len(alignment)))
            frames.append(frame)
            partner_frames.append(round(float(alignment[frame])))

        anchors = self.starts[pairs["a"].to_numpy()] + frames

        clips = pairs["b"].to_numpy()
        starts = self.starts[clips]
        last_frames = self.lengths[clips] - 1
        positives = starts + np.minimum(partner_frames, last_frames)
        negatives = starts + random.integers(0, last_frames)

        images = [self._images(rows) for rows in (anchors, positives, negatives)]
        audio = [self._audio(rows) for rows in (anchors, anchors, negatives)]

        return {"images": images, "audio": audio}

    def _images(self, rows: np.ndarray) -> torch.Tensor:
        return face_view(load_images(self.features.store, rows))

    def _audio(self, rows: np.ndarray) -> torch.Tensor:
        return _audio_vectors(self.features, rows)


def _audio_vectors(features: Features, rows: np.ndarray) -> torch.Tensor:
    """(n,) rows -> (n, 1, A)."""
    audio = np.asarray(features.audio[rows], np.float32)
    return torch.from_numpy(audio)[:, None]


class ContentObjective(nn.Module):
    """The release's loss on triplets.

    Args:
        network: to train.
    """

    def __init__(self, network: ReleasedContent):
        super().__init__()
        self.network = network

    def forward(self, batch: dict[str, list[torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Batch of `ContentSampler` -> loss and the two clamped cosines, (B,) each."""
        contents = []
        for images, audio in zip(batch["images"], batch["audio"], strict=True):
            content = joint_forward(self.network, images, audio)
            contents.append(content)

        loss, positive, negative = released_content(*contents)

        return {"loss": loss, "positive": positive, "negative": negative}


def train_released_content(
    features: Features,
    pairs: pd.DataFrame,
    steps: int = 400,
    seed: int = 0,
    batch: int = 16,
    learning_rate: float = 1e-4,
) -> tuple[ReleasedContent, pd.DataFrame]:
    """Train the released CCRL.

    Args:
        features: of the training people.
        pairs: table of pairs of clips.
        steps: optimiser steps.
        seed: of weights and batches.
        batch: triplets.
        learning_rate: peak.

    Returns:
        The network in eval mode; the history with `loss`, `positive` and `negative` (the two
        clamped cosines).
    """
    network = small_released(features.audio.shape[1], seed=seed)
    objective = ContentObjective(network)
    sampler = ContentSampler(features, pairs, batch)
    config = LoopConfig(
        steps=steps, learning_rate=learning_rate, weight_decay=0.0, seed=seed, weights={"loss": 1.0}
    )
    history = train(objective, objective, sampler, config, title="CCRL as released")

    return network, history


@torch.no_grad()
def embed_released(
    model: ReleasedContent, features: Features, image_rows: np.ndarray, audio_rows: np.ndarray
) -> np.ndarray:
    """Content maps of images under given sounds, reduced by one fixed random projection.

    Args:
        model: of `train_released_content`.
        features: that the rows belong to.
        image_rows: (n,) frames that give the images.
        audio_rows: (n,) frames that give the audio.

    Returns:
        (n, 256) float32; cosines of maps are preserved to about 1 / 16.
    """
    numbers = CHANNELS * SIDE * SIDE
    generator = torch.Generator().manual_seed(0)
    projection = torch.randn(numbers, PROJECTED, generator=generator)
    projection = projection / PROJECTED**0.5

    embeddings = []
    count = len(image_rows)
    for part in np.array_split(np.arange(count), max(1, count // BATCH)):
        audio = _audio_vectors(features, audio_rows[part])
        images = load_images(features.store, np.asarray(image_rows)[part])
        maps = model(face_view(images), audio)

        embedding = maps.flatten(1) @ projection
        embeddings.append(embedding.numpy())

    return np.concatenate(embeddings)


def emotions_with_clips(features: Features) -> list[str]:
    """The scored emotions that have clips: each tuple of the released CERL has an image of each."""
    in_corpus = set(features.store.clips["emotion"])
    return [name for name in SCORED_EMOTIONS if name in in_corpus]


class TupleSampler:
    """Draws tuples of one image for each label.

    Args:
        features: of the training people.
        emotions: the labels.
        batch: tuples.

    Raises:
        InputError: fewer than two emotions have clips.
    """

    def __init__(self, features: Features, emotions: list[str], batch: int):
        self.features = features
        self.batch = batch

        emotion = features.store.per_frame("emotion")
        self.rows = [np.flatnonzero(emotion == name) for name in emotions]

        if len(self.rows) < 2:
            accepted = ", ".join(SCORED_EMOTIONS)
            raise InputError(
                f"{features.store.path}: a tuple needs images of two or more of {accepted}"
            )

    def __call__(self, random: np.random.Generator) -> torch.Tensor:
        """Draw a batch: (B, K, L) image features of the language prior."""
        rows = [random.choice(label_rows, self.batch) for label_rows in self.rows]
        tuples = np.stack(rows, 1)
        images = np.asarray(self.features.language[tuples], np.float32)
        return torch.from_numpy(images)


class PromptObjective(nn.Module):
    """The release's CERL: heads and learnable context, trained by its loss.

    Args:
        prior: the language prior, frozen.
        features: length of its image features.
        emotions: the labels.
        shared: one head for all labels instead of one for each.
    """

    def __init__(self, prior: LanguagePrior, features: int, emotions: list[str], shared: bool):
        super().__init__()

        self.prior = prior
        self.descriptions = [DESCRIPTIONS[name] for name in emotions]
        self.shared = shared

        num_heads = 1 if shared else len(emotions)
        self.heads = LabelHeads(features, prior.embedding, num_heads)
        context = torch.randn(len(emotions), CONTEXT_TOKENS, prior.token_width) * 0.02
        self.context = nn.Parameter(context)

    def prompts(self) -> torch.Tensor:
        """Encode the learnt prompts: (K, D), unit norm."""
        return self.prior.prompt_embedding(self.context, self.descriptions)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Batch of `TupleSampler` -> loss (B,), nats."""
        text = self.prompts()
        embedding = F.normalize(self._embed(images), dim=-1)
        loss = released_emotion(embedding, text.expand(len(images), -1, -1))
        return {"loss": loss}

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        """(B, K, L) -> (B, K, D)."""
        if not self.shared:
            return joint_forward(self.heads, images)
        flat = images.flatten(0, 1)[:, None]
        return joint_forward(self.heads, flat).view(*images.shape[:2], -1)


def train_released_emotion(
    features: Features,
    language: str,
    steps: int = 300,
    seed: int = 0,
    batch: int = 32,
    shared: bool = False,
) -> pd.DataFrame:
    """Train the released CERL, for its history alone, see `train_released_prompts`.

    Returns:
        The history with `loss`, nats; a head without information on image and label scores ln 7 =
        1.946, the logarithm of the number of emotions with clips.

    Raises:
        InputError: fewer than two emotions have clips.
    """
    _, history = train_released_prompts(features, language, steps, seed, batch, shared)
    return history


def train_released_prompts(
    features: Features,
    language: str,
    steps: int = 300,
    seed: int = 0,
    batch: int = 32,
    shared: bool = False,
) -> tuple[torch.Tensor, pd.DataFrame]:
    """Train the released CERL: InfoNCE inside tuples of one image per label.

    Args:
        features: of the training people.
        language: name of the language prior that made their language features.
        steps: optimiser steps.
        seed: of weights and batches.
        batch: tuples.
        shared: one head for all labels instead of one for each; on images without information it
            stays at ln 7.

    Returns:
        What the release keeps of CERL, the texts of the prompts (7, D), unit norm, order
        `SCORED_EMOTIONS`; for an emotion without clips the text of its description. The history.

    Raises:
        InputError: fewer than two emotions have clips.
    """
    torch.manual_seed(seed)
    prior = LanguagePrior(language)
    emotions = emotions_with_clips(features)
    sampler = TupleSampler(features, emotions, batch)
    objective = PromptObjective(prior, features.language.shape[1], emotions, shared)

    config = LoopConfig(steps=steps, learning_rate=1e-3, seed=seed, weights={"loss": 1.0})
    title = "CERL, one head" if shared else "CERL as released"
    history = train(objective, objective, sampler, config, title=title)

    with torch.no_grad():
        descriptions = [DESCRIPTIONS[name] for name in SCORED_EMOTIONS]
        prompts = prior.text_embedding(descriptions).clone()

        learnt = [SCORED_EMOTIONS.index(name) for name in emotions]
        prompts[learnt] = objective.prompts()

    return prompts, history
