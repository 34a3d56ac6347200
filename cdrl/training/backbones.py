"""Training of the face and mouth backbones, on the studio's training people only.

`cdrl train face_backbone | mouth_backbone | face_identity | mouth_identity`. Each writes
`data/weights/NAME.safetensors` and its card. Held-out scores are on the choosing set: other people
and other sentences.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.checkpoint import save_weights
from cdrl.core.vocabulary import ACTIONS, MOUTH_INDEX
from cdrl.corpora.batches import augment, load_images
from cdrl.corpora.sharded_array import RowArray
from cdrl.corpora.store import Store
from cdrl.priors.vision import Backbone, face_backbone, face_view, mouth_backbone, mouth_view
from cdrl.training.cards import STD_FLOOR, r2, r2_scores, training_card, true_actions
from cdrl.training.loop import LoopConfig, Terms, train

BATCH = 64
ARC_SCALE = 16.0
ARC_MARGIN = 0.2  # radians
MAX_COSINE = 1 - 1e-6  # the arc cosine has no gradient at 1
# Frames this far apart are loaded where there are two corpora: neighbours are nearly alike.
FRAME_STRIDE = 5
SCORED_FRAMES = 6000  # of the held-out people, by the action backbones
SCORED_IDENTITY_FRAMES = 2000
SCORED_IDENTITY_PAIRS = 50_000

# (B, 3, C, C) crops and (B, 4) mouth boxes -> what the backbone sees.
View = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Batch = tuple[torch.Tensor, torch.Tensor]


def _view_face(crops: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    return face_view(crops)


VIEWS: dict[str, View] = {"face": _view_face, "mouth": mouth_view}
BACKBONES: dict[str, Callable[[], Backbone]] = {"face": face_backbone, "mouth": mouth_backbone}
ACTION_INDEX = {"face": np.arange(len(ACTIONS)), "mouth": np.array(MOUTH_INDEX)}


@dataclass
class ActionFrames:
    """Frames with their true actions.

    Args:
        crops: (N, C, C, 3) uint8.
        boxes: (N, 4) mouth boxes.
        actions: (N, K) float32.
    """

    crops: RowArray
    boxes: np.ndarray
    actions: np.ndarray


class ActionSampler:
    """Draws augmented views of frames, and their actions with mean 0 and standard deviation 1.

    Args:
        corpora: each has the same share of the batches.
        view: of the backbone.
        mean: (K,) of the actions.
        std: (K,) of the actions.
    """

    def __init__(self, corpora: list[ActionFrames], view: View, mean: np.ndarray, std: np.ndarray):
        self.corpora = corpora
        self.view = view
        self.mean = mean
        self.std = std

    def __call__(self, random: np.random.Generator) -> Batch:
        """Draw a batch.

        Args:
            random: source of the random numbers.

        Returns:
            Views (B, 3, H, W) and actions (B, K).
        """
        number = random.integers(len(self.corpora))
        frames = self.corpora[number]
        rows = random.integers(0, len(frames.boxes), BATCH)

        pixels = torch.from_numpy(frames.crops[rows])
        crops = pixels.permute(0, 3, 1, 2).float() / 255
        augmented, _ = augment(crops, random)
        boxes = torch.from_numpy(frames.boxes[rows])
        views = self.view(augmented, boxes)

        actions = (frames.actions[rows] - self.mean) / self.std
        return views, torch.from_numpy(actions)


def train_backbone(
    kind: str,
    corpus: Store,
    held_out: Store,
    out: Path,
    work: Path,
    steps: int = 8000,
    others: Store | None = None,
    more_steps: int = 0,
) -> dict[str, Any]:
    """Train the face or the mouth backbone to read facial actions from pixels.

    A backbone gains by people: its features tell visemes apart better on people of its training.

    Args:
        kind: `face` (all 52 actions) or `mouth` (those of the mouth).
        corpus: with truth, to train on.
        held_out: with truth, to score on.
        out: folder of the weights.
        work: folder of the checkpoints.
        steps: on `corpus`.
        others: a store of other people, or None.
        more_steps: at half the rate on both stores.

    Returns:
        The card; `scores.r2` is the mean over actions with variance, on the held-out people.
    """
    index = ACTION_INDEX[kind]
    truth = true_actions(corpus)[:, index]
    mean = truth.mean(0)
    std = truth.std(0) + STD_FLOOR
    backbone = BACKBONES[kind]()
    view = VIEWS[kind]
    features = backbone.out.out_features
    model = nn.Sequential(backbone, nn.Linear(features, len(index)))

    def objective(batch: Batch) -> Terms:
        views, actions = batch
        error = model(views) - actions
        return {"coefficients": error.square().mean(1)}

    config = LoopConfig(
        steps=steps, learning_rate=2e-3, save_every=500, weights={"coefficients": 1.0}
    )
    sampler = ActionSampler([_all_frames(corpus, index)], view, mean, std)
    train(model, objective, sampler, config, work, f"{kind} backbone")

    people = corpus.clips.speaker.nunique()
    if others is not None:
        people += others.clips.speaker.nunique()
        corpora = [_every_few_frames(corpus, index), _every_few_frames(others, index)]
        sampler = ActionSampler(corpora, view, mean, std)
        wider = replace(config, steps=more_steps, learning_rate=1e-3, warmup=100)
        wider_work = Path(work) / "wider"
        train(model, objective, sampler, wider, wider_work, f"{kind} backbone, more people")

    rows = _scored_rows(held_out, SCORED_FRAMES)
    outputs = _apply(model, view, held_out, rows, parts=60)
    predictions = outputs * std + mean
    held_out_truth = true_actions(held_out)[rows][:, index]
    values = r2(held_out_truth, predictions)

    name = f"{kind}_backbone"
    card = training_card(
        name,
        {"features": features},
        f"ARKit coefficients ({len(index)}) of {people} studio people, no emotion label",
        r2_scores(held_out, values, index, len(rows)),
        steps + more_steps,
    )
    save_weights(out / f"{name}.safetensors", backbone, card)
    return card


def _all_frames(store: Store, index: np.ndarray) -> ActionFrames:
    """All frames; the crops stay on the disk."""
    return ActionFrames(store.face, store.mouth_boxes(), true_actions(store)[:, index])


def _every_few_frames(store: Store, index: np.ndarray) -> ActionFrames:
    """Frames of each clip that are `FRAME_STRIDE` apart, in memory."""
    all_rows = np.arange(len(store))
    crops_of_clips = []
    rows_of_clips = []
    for clip in range(len(store.clips)):
        clip_rows = all_rows[store.frames(clip)]
        offset = clip % FRAME_STRIDE
        clip_rows = clip_rows[offset::FRAME_STRIDE]
        rows_of_clips.append(clip_rows)

        first = clip_rows[0]
        last = clip_rows[-1]
        span = np.asarray(store.face[first : last + 1])
        crops_of_clips.append(span[::FRAME_STRIDE])

    crops = np.concatenate(crops_of_clips)
    rows = np.concatenate(rows_of_clips)
    boxes = store.mouth_boxes()
    actions = true_actions(store)[:, index]
    return ActionFrames(crops, boxes[rows], actions[rows])


def _scored_rows(store: Store, limit: int) -> np.ndarray:
    """(N,) frames to score, drawn once for all networks."""
    count = min(len(store), limit)
    return np.random.default_rng(0).choice(len(store), count, replace=False)


@torch.no_grad()
def _apply(model: nn.Module, view: View, store: Store, rows: np.ndarray, parts: int) -> np.ndarray:
    """(N, K) outputs of a network for some frames, computed in parts."""
    boxes = torch.from_numpy(store.mouth_boxes())
    outputs = []
    for part in np.array_split(rows, parts):
        crops = load_images(store, part)
        views = view(crops, boxes[part])
        outputs.append(model(views).numpy())

    return np.concatenate(outputs)


class IdentitySampler:
    """Draws augmented views of frames and the labels of their speakers.

    Args:
        corpus: to train on.
        view: of the backbone.
    """

    def __init__(self, corpus: Store, view: View):
        self.corpus = corpus
        self.view = view
        self.boxes = corpus.mouth_boxes()

        speakers, labels = np.unique(corpus.per_frame("speaker"), return_inverse=True)
        self.people = len(speakers)
        self.labels = labels

    def __call__(self, random: np.random.Generator) -> Batch:
        """Draw a batch.

        Args:
            random: source of the random numbers.

        Returns:
            Views (B, 3, H, W) and labels (B,).
        """
        rows = random.integers(0, len(self.corpus), BATCH)
        crops = load_images(self.corpus, rows)
        augmented, _ = augment(crops, random)
        boxes = torch.from_numpy(self.boxes[rows])
        views = self.view(augmented, boxes)

        labels = self.labels[rows]
        return views, torch.from_numpy(labels)


class IdentityObjective(nn.Module):
    """ArcFace: cross-entropy of scaled cosines; the angle to the true class has a margin added.

    Eq. 3 of arXiv:1801.07698, with a scale of 16 and a margin of .2.

    Args:
        backbone: trained.
        people: number of speakers.
    """

    def __init__(self, backbone: Backbone, people: int):
        super().__init__()
        self.net = backbone
        self.people = nn.Embedding(people, backbone.out.out_features)

    def forward(self, batch: Batch) -> Terms:
        """Batch of `IdentitySampler` -> {identity: (B,) nats}."""
        views, labels = batch
        codes = F.normalize(self.net(views), dim=1)
        centres = F.normalize(self.people.weight, dim=1)
        cosine = codes @ centres.T
        angle = cosine.clamp(-MAX_COSINE, MAX_COSINE).acos()

        margin = ARC_MARGIN * F.one_hot(labels, len(centres))
        enlarged = (angle + margin).clamp(max=np.pi)
        logits = ARC_SCALE * enlarged.cos()

        loss = F.cross_entropy(logits, labels, reduction="none")
        return {"identity": loss}


def train_identity_backbone(
    kind: str, corpus: Store, held_out: Store, out: Path, work: Path, steps: int = 2000
) -> dict[str, Any]:
    """Train a backbone of the same architecture on speaker labels alone, as ArcFace.

    It never saw a facial action: what CCRL and CERL reach on it does not come from coefficients.

    Args:
        kind: `face` or `mouth`.
        corpus: to train on.
        held_out: to score on.
        out: folder of the weights.
        work: folder of the checkpoints.
        steps: optimiser steps.

    Returns:
        The card; `scores.auc` is the probability that frames of two clips of one held-out person
        are nearer than frames of two people.
    """
    name = f"{kind}_identity"
    view = VIEWS[kind]
    sampler = IdentitySampler(corpus, view)
    backbone = BACKBONES[kind]()
    objective = IdentityObjective(backbone, sampler.people)
    config = LoopConfig(
        steps=steps, learning_rate=2e-3, seed=7, save_every=500, weights={"identity": 1.0}
    )
    train(objective, objective, sampler, config, work, name)

    card = training_card(
        name,
        {"features": backbone.out.out_features},
        f"speaker labels of {sampler.people} studio people; no coefficient, no emotion, no phoneme",
        _identity_scores(backbone, view, held_out),
        steps,
    )
    save_weights(out / f"{name}.safetensors", backbone, card)
    return card


def _identity_scores(backbone: Backbone, view: View, held_out: Store) -> dict[str, Any]:
    """How often two frames of one person, of two clips, are nearer than frames of two people."""
    rows = _scored_rows(held_out, SCORED_IDENTITY_FRAMES)
    rows = np.sort(rows)
    features = _apply(backbone, view, held_out, rows, parts=20)
    codes = F.normalize(torch.from_numpy(features), dim=1)
    cosine = (codes @ codes.T).numpy()

    speaker = held_out.per_frame("speaker")[rows]
    clip = held_out.per_frame("name")[rows]
    same_speaker = speaker[:, None] == speaker[None]
    two_clips = clip[:, None] != clip[None]

    of_one_person = _sample_pairs(cosine[same_speaker & two_clips])
    of_two_people = _sample_pairs(cosine[~same_speaker])
    auc = (of_one_person > of_two_people).mean()
    return {
        "auc": float(auc),
        "auc.chance": 0.5,
        "n": len(rows),
        "people": int(held_out.clips.speaker.nunique()),
    }


def _sample_pairs(cosine: np.ndarray) -> np.ndarray:
    """(N,) of the cosines (M,), drawn with the same numbers each time."""
    random = np.random.default_rng(1)
    return random.choice(cosine, SCORED_IDENTITY_PAIRS)
