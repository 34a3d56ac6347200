"""Training of the embedded language prior, a tiny CLIP: `cdrl train language_prior`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from cdrl.core.checkpoint import load_network, save_weights
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.corpora.batches import load_images
from cdrl.corpora.sharded_array import RowArray
from cdrl.corpora.store import Store
from cdrl.priors.language import (
    DESCRIPTIONS,
    LanguagePrior,
    WordTokenizer,
    caption,
    encode_tokens,
    tiny_clip,
)
from cdrl.priors.vision import face_backbone, face_view
from cdrl.training.cards import training_card
from cdrl.training.loop import LoopConfig, Terms, train

if TYPE_CHECKING:
    from open_clip.model import CLIP

BATCH = 128
TRAINING_FRAMES = 24_000
IMAGE_NOISE = 0.1  # std of the noise on image features in training
MAX_SCALE = 50  # of the logits
RETRIEVAL = 64  # captions in one retrieval
RETRIEVALS = 40
CLIP_FRAME_STRIDE = 6
CLIP_STRIDE = 2  # every second clip is classified

# Image features (B, 256), tokens (B, L), and the number of the caption's set of phrases (B,).
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class CaptionSampler:
    """Draws frames with captions of their true facial actions.

    Args:
        corpus: with truth.
        rows: (N,) frames to draw from, in order.
        features: (N, 256) of these frames.
    """

    def __init__(self, corpus: Store, rows: np.ndarray, features: torch.Tensor):
        self.coefficients = corpus.truth["coefficients"]
        self.rows = rows
        self.features = features
        self.tokenize = WordTokenizer()

    def __call__(self, random: np.random.Generator) -> Batch:
        """Draw a batch.

        Args:
            random: source of the random numbers.

        Returns:
            Image features (B, 256), tokens (B, L), and groups (B,) of captions with equal phrases.
        """
        positions = random.integers(0, len(self.rows), BATCH)
        positions = np.sort(positions)
        rows = self.rows[positions]
        captions = _captions(self.coefficients, rows, random)

        tokens = self.tokenize(captions)
        groups = _groups_of_captions(captions)
        return self.features[positions], tokens, groups


def _captions(coefficients: RowArray, rows: np.ndarray, random: np.random.Generator) -> list[str]:
    """Captions of the facial actions of some rows of (N, 52) coefficients."""
    actions = coefficients[rows].astype(np.float32)
    return [caption(values, random) for values in actions]


def _groups_of_captions(captions: list[str]) -> torch.Tensor:
    """(B,) numbers; captions with the same phrases in any order have the same number."""
    numbers: dict[str, int] = {}
    groups = []
    for text in captions:
        phrases = sorted(text.split(", "))
        joined = ", ".join(phrases)
        groups.append(numbers.setdefault(joined, len(numbers)))

    return torch.tensor(groups)


def _clip_loss(model: "CLIP", batch: Batch) -> Terms:
    """Symmetric InfoNCE of the batch; captions with equal phrases are all positives."""
    features, tokens, group = batch
    noise = IMAGE_NOISE * torch.randn_like(features)
    projected = model.visual.project(features + noise)
    image = F.normalize(projected, dim=-1)
    text = encode_tokens(model, tokens)

    scale = model.logit_scale.exp().clamp(max=MAX_SCALE)
    logits = scale * image @ text.T

    same = group[:, None] == group[None]
    positives = same.float()
    target = positives / positives.sum(1, keepdim=True)

    image_to_text = F.cross_entropy(logits, target, reduction="none")
    text_to_image = F.cross_entropy(logits.T, target, reduction="none")
    return {"clip": (image_to_text + text_to_image) / 2}


def train_language_prior(
    corpus: Store, held_out: Store, out: Path, work: Path, steps: int = 500
) -> dict[str, Any]:
    """Train the tiny CLIP on captions of facial actions and frames.

    Of the image tower only the projection is trained; the face backbone is frozen.

    Args:
        corpus: with truth, to train on.
        held_out: with truth, to score on.
        out: folder of the weights.
        work: folder of the checkpoint.
        steps: optimiser steps.

    Returns:
        The card; `scores.zero_shot` is the accuracy of `DESCRIPTIONS` on clips it never saw,
        `scores.caption_r1` the retrieval of a frame's caption among 64 (chance 1/64).
    """
    model = tiny_clip()
    model.visual.backbone = load_network(face_backbone, "face_backbone")
    count = min(len(corpus), TRAINING_FRAMES)
    rows = np.sort(np.random.default_rng(1).choice(len(corpus), count, replace=False))
    sampler = CaptionSampler(corpus, rows, _backbone_features(model, corpus, rows))

    def objective(batch: Batch) -> Terms:
        return _clip_loss(model, batch)

    config = LoopConfig(steps=steps, learning_rate=1.5e-3, weights={"clip": 1.0})
    train(model, objective, sampler, config, work, "language prior")

    path = out / "language_prior.safetensors"
    card = training_card(
        "language_prior",
        {"embed_dim": 128, "width": 96, "layers": 3},
        "captions of facial actions made from ARKit coefficients; no emotion word, "
        "no emotion label",
        {},
        steps,
    )
    # The scores are those of the prior as it is loaded, in half precision.
    save_weights(path, model, card)
    card["scores"] = _language_scores(held_out, LanguagePrior(str(path)))
    save_weights(path, model, card)
    return card


@torch.no_grad()
def _backbone_features(model: "CLIP", store: Store, rows: np.ndarray) -> torch.Tensor:
    """(N, 256) features of some frames."""
    features = []
    for part in np.array_split(rows, 240):
        views = face_view(load_images(store, part))
        features.append(model.visual.backbone(views))

    return torch.cat(features)


@torch.no_grad()
def _language_scores(held_out: Store, prior: LanguagePrior) -> dict[str, Any]:
    caption_hits = _caption_hits(held_out, prior)
    caption_r1 = caption_hits.float().mean()
    zero_shot_hits = _zero_shot_hits(held_out, prior)
    zero_shot = np.mean(zero_shot_hits)
    return {
        "caption_r1": float(caption_r1),
        "caption_r1.chance": 1 / RETRIEVAL,
        "zero_shot": float(zero_shot),
        "zero_shot.chance": 1 / len(SCORED_EMOTIONS),
        "n_clips": len(zero_shot_hits),
    }


def _caption_hits(held_out: Store, prior: LanguagePrior) -> torch.Tensor:
    """(N,) bool: the caption of a frame is the nearest of 64."""
    random = np.random.default_rng(2)
    count = RETRIEVAL * RETRIEVALS
    rows = random.choice(len(held_out), count, replace=False)
    rows = np.sort(rows)

    image_parts = []
    for part in np.array_split(rows, RETRIEVALS):
        image_parts.append(_embed_images(held_out, prior, part))

    images = torch.cat(image_parts)
    coefficients = held_out.truth["coefficients"]
    captions = _captions(coefficients, rows, random)
    texts = prior.text_embedding(captions)

    hits = []
    order = torch.from_numpy(random.permutation(count))
    for group in order.view(-1, RETRIEVAL):
        similarity = images[group] @ texts[group].T
        nearest = similarity.argmax(1)
        hits.append(nearest == torch.arange(RETRIEVAL))
    return torch.cat(hits)


def _zero_shot_hits(held_out: Store, prior: LanguagePrior) -> list[bool]:
    """Is the description of a clip's emotion the nearest to its mean image embedding?"""
    descriptions = [DESCRIPTIONS[name] for name in SCORED_EMOTIONS]
    classes = prior.text_embedding(descriptions)
    emotions = held_out.clips.emotion
    scored = np.flatnonzero(emotions.isin(SCORED_EMOTIONS))

    hits = []
    for clip in scored[::CLIP_STRIDE]:
        frames = held_out.frames(clip)
        rows = np.arange(frames.start, frames.stop, CLIP_FRAME_STRIDE)
        embeddings = _embed_images(held_out, prior, rows)
        similarity = classes @ embeddings.mean(0)

        nearest = int(similarity.argmax())
        hits.append(SCORED_EMOTIONS[nearest] == emotions[clip])
    return hits


def _embed_images(store: Store, prior: LanguagePrior, rows: np.ndarray) -> torch.Tensor:
    """(N, D) embeddings of some frames in the space of the prior."""
    return prior.project(prior.image_features(load_images(store, rows)))
