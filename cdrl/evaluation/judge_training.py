"""Training of the evaluation networks, on people and sentences of the `judge` split."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.checkpoint import save_weights
from cdrl.core.vocabulary import ACTIONS, SCORED_EMOTIONS
from cdrl.corpora import batches
from cdrl.corpora.store import Store
from cdrl.evaluation.judges import NETWORKS, FrameNet
from cdrl.training.cards import r2
from cdrl.training.loop import LoopConfig, train

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

BATCH_SIZE = 64
LEARNING_RATE = 2e-3
SAVE_EVERY = 500
IDENTITY_DIMENSIONS = 64
COSINE_SCALE = 16  # of the softmax over people
SMALLEST_STD = 0.01  # added to the std of every output of the tracker
READOUT_STRIDE = 9  # frames between two that fit the linear readout of a judge
SCORED_STRIDE = 3  # frames between two that score a judge
TRACKED_FRAMES = 6000  # at most, that score the tracker
IDENTITY_FRAMES = 2000  # at most, that score the identity network
AUC_PAIRS = 50_000

Card = dict[str, Any]


def train_action_network(
    name: str, corpus: Store, work: Path, steps: int
) -> tuple[FrameNet, np.ndarray, np.ndarray]:
    """Train one network to predict facial actions and landmarks from one crop, standardised.

    Args:
        name: of the network, in `NETWORKS`.
        corpus: store with true actions and landmarks.
        work: folder of the checkpoint.
        steps: of the training.

    Returns:
        The network, and mean and std, (52 + 2 L,) each, of its outputs over the corpus.
    """
    architecture, seed = NETWORKS[name]
    torch.manual_seed(seed)

    actions = corpus.truth["coefficients"][:].astype(np.float32)
    landmarks = corpus.truth["landmarks"][:].astype(np.float32)
    flat_landmarks = landmarks.reshape(len(landmarks), -1)

    targets = np.concatenate([actions, flat_landmarks], 1)
    mean = targets.mean(0)
    std = targets.std(0) + SMALLEST_STD
    network = FrameNet(architecture, targets.shape[1])

    mean_tensor = torch.from_numpy(mean)
    std_tensor = torch.from_numpy(std)

    def sample(random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        rows = random.integers(0, len(corpus), BATCH_SIZE)
        crops = batches.load_images(corpus, rows)

        points = torch.from_numpy(landmarks[rows])
        crops, moved_points = batches.augment(crops, random, points)
        assert moved_points is not None

        true_actions = torch.from_numpy(actions[rows])
        values = torch.cat([true_actions, moved_points.flatten(1)], 1)
        return crops, (values - mean_tensor) / std_tensor

    def objective(batch: tuple[torch.Tensor, torch.Tensor]) -> dict[str, torch.Tensor]:
        crops, standardised = batch
        squared_error = (network(crops) - standardised).square()

        action_error = squared_error[:, : len(ACTIONS)]
        landmark_error = squared_error[:, len(ACTIONS) :]

        return {"actions": action_error.mean(1), "landmarks": landmark_error.mean(1)}

    config = _loop_config(steps, seed, {"actions": 1.0, "landmarks": 0.5})
    train(network, objective, sample, config, work, name)

    return network, mean, std


def _loop_config(steps: int, seed: int, weights: dict[str, float]) -> LoopConfig:
    return LoopConfig(
        steps=steps, learning_rate=LEARNING_RATE, seed=seed, save_every=SAVE_EVERY, weights=weights
    )


def train_judge(
    name: str, corpus: Store, held_out: Store, out: Path, work: Path, steps: int = 4000
) -> Card:
    """Train one emotion judge: its body learns facial actions, then emotion is read out linearly.

    Emotion labels alone are memorised clip by clip; the actions are what new people share with
    those of the training.

    Args:
        name: "judge_a" or "judge_b".
        corpus: store with truth.
        held_out: store of other people and sentences.
        out: folder of the weights.
        work: folder of the checkpoint.
        steps: of the training.

    Returns:
        The card; `scores.accuracy` is clip level (mean probability over frames) on the held-out
        people, chance 1/7.
    """
    action_network, _, _ = train_action_network(name, corpus, work, steps)
    readout = _fit_readout(action_network, corpus)
    judge = _fold_readout(name, action_network, readout)

    architecture, _ = NETWORKS[name]
    model = {"architecture": architecture, "outputs": len(SCORED_EMOTIONS)}

    card = _card(name, model, "actions and landmarks, then emotion labels", steps, corpus)
    card["scores"] = score_judge(judge, held_out)
    save_weights(out / f"{name}.safetensors", judge, card)

    return card


@torch.no_grad()
def _fit_readout(action_network: FrameNet, corpus: Store) -> "LogisticRegression":
    """A linear classifier of emotions on predicted actions."""
    from sklearn.linear_model import LogisticRegression  # here: its import takes a second

    predictions = []
    labels = []
    for clip, emotion in enumerate(corpus.clips.emotion):
        if emotion not in SCORED_EMOTIONS:
            continue
        rows = _strided_rows(corpus, clip, READOUT_STRIDE)
        predictions.append(action_network(batches.load_images(corpus, rows)))
        labels += [SCORED_EMOTIONS.index(emotion)] * len(rows)

    actions = torch.cat(predictions)[:, : len(ACTIONS)].numpy()

    return LogisticRegression(C=0.01, max_iter=1000).fit(actions, np.array(labels))


def _strided_rows(corpus: Store, clip: int, stride: int) -> np.ndarray:
    """(n,) rows of every so many frames of a clip."""
    frames = corpus.frames(clip)
    return np.arange(frames.start, frames.stop, stride)


@torch.no_grad()
def _fold_readout(name: str, action_network: FrameNet, readout: "LogisticRegression") -> FrameNet:
    """A judge whose one last layer is the action network's last layer and the readout."""
    architecture, _ = NETWORKS[name]
    judge = FrameNet(architecture, len(SCORED_EMOTIONS)).eval()
    state = judge.state_dict()

    body = {}
    for key, value in action_network.state_dict().items():
        if value.shape == state[key].shape:
            body[key] = value

    judge.load_state_dict(body, strict=False)

    action_layer = action_network.last()
    emotion_layer = judge.last()

    weight = torch.from_numpy(readout.coef_).float()
    intercept = torch.from_numpy(readout.intercept_).float()

    emotion_layer.weight.copy_(weight @ action_layer.weight[: len(ACTIONS)])
    emotion_layer.bias.copy_(weight @ action_layer.bias[: len(ACTIONS)] + intercept)

    return judge


@torch.no_grad()
def score_judge(judge: FrameNet, held_out: Store) -> dict[str, float]:
    """Accuracy of a judge per clip (mean probability over every third frame) and per frame."""
    clip_hits = []
    frame_accuracies = []
    for clip, emotion in enumerate(held_out.clips.emotion):
        if emotion not in SCORED_EMOTIONS:
            continue
        label = SCORED_EMOTIONS.index(emotion)
        rows = _strided_rows(held_out, clip, SCORED_STRIDE)
        logits = judge(batches.load_images(held_out, rows))[:, : len(SCORED_EMOTIONS)]
        probabilities = logits.softmax(1)
        clip_hits.append(int(probabilities.mean(0).argmax()) == label)
        frame_hits = probabilities.argmax(1) == label
        frame_accuracies.append(float(frame_hits.float().mean()))

    return {
        "accuracy": round(float(np.mean(clip_hits)), 4),
        "chance": round(1 / len(SCORED_EMOTIONS), 4),
        "n_clips": len(clip_hits),
        "accuracy_frame": round(float(np.mean(frame_accuracies)), 4),
    }


def train_tracker(corpus: Store, held_out: Store, out: Path, work: Path, steps: int = 4000) -> Card:
    """Train the tracker: facial actions and landmarks from one crop.

    Args:
        corpus: store with truth.
        held_out: store of other people and sentences.
        out: folder of the weights.
        work: folder of the checkpoint.
        steps: of the training.

    Returns:
        The card; `scores.r2.*` per action, `scores.landmark_error` mean distance in percent of the
        crop's width.
    """
    network, mean, std = train_action_network("tracker", corpus, work, steps)
    architecture, _ = NETWORKS["tracker"]
    model = {"architecture": architecture, "outputs": len(mean)}

    card = _card("tracker", model, "actions and landmarks", steps, corpus)

    card["mean"] = _rounded(mean)
    card["deviation"] = _rounded(std)
    card["scores"] = _score_tracker(network, mean, std, held_out)
    save_weights(out / "tracker.safetensors", network, card)

    return card


def _rounded(values: np.ndarray) -> list[float]:
    """(n,) as they are written in a card."""
    return [round(float(value), 5) for value in values]


@torch.no_grad()
def _score_tracker(
    network: FrameNet, mean: np.ndarray, std: np.ndarray, held_out: Store
) -> dict[str, float]:
    """R^2 of the actions and mean error of the landmarks; mean, std: (52 + 2 L,)."""
    rows = _draw_rows(held_out, TRACKED_FRAMES)
    outputs = []
    for part in np.array_split(rows, 60):
        outputs.append(network(batches.load_images(held_out, part)))

    predictions = torch.cat(outputs).numpy() * std + mean
    actions = predictions[:, : len(ACTIONS)]
    landmarks = predictions[:, len(ACTIONS) :].reshape(len(rows), -1, 2)

    true_actions = held_out.truth["coefficients"][rows].astype(np.float32)
    true_landmarks = held_out.truth["landmarks"][rows].astype(np.float32)

    action_scores = r2(true_actions, actions)
    distances = np.linalg.norm(landmarks - true_landmarks, axis=-1)

    scores: dict[str, float] = {
        "r2": round(float(np.nanmean(action_scores)), 4),
        "n": len(rows),
        "landmark_error_percent": round(float(distances.mean() * 100), 3),
    }

    for action, score in zip(ACTIONS, action_scores, strict=True):
        if np.isfinite(score):
            scores[f"r2.{action}"] = round(float(score), 3)

    return scores


def _draw_rows(store: Store, at_most: int) -> np.ndarray:
    """(n,) rows of frames drawn at random, ascending; the same at every call."""
    random = np.random.default_rng(0)
    number = min(len(store), at_most)
    return np.sort(random.choice(len(store), number, replace=False))


def train_identity(
    corpus: Store, held_out: Store, out: Path, work: Path, steps: int = 3000
) -> Card:
    """Train the identity network: scaled cosine softmax over people (arXiv:1801.05599, margin 0).

    Args:
        corpus: store of the judges' people.
        held_out: store of other people.
        out: folder of the weights.
        work: folder of the checkpoint.
        steps: of the training.

    Returns:
        The card; `scores.auc`: probability that two frames of one held-out person are nearer than
        frames of two.
    """
    architecture, seed = NETWORKS["identity"]
    torch.manual_seed(seed)

    people = sorted(set(corpus.clips.speaker))
    number_of = {person: number for number, person in enumerate(people)}
    labels = np.array([number_of[person] for person in corpus.per_frame("speaker")])

    network = FrameNet(architecture, IDENTITY_DIMENSIONS)
    classes = nn.Embedding(len(people), IDENTITY_DIMENSIONS)

    def sample(random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        rows = random.integers(0, len(corpus), BATCH_SIZE)
        crops, _ = batches.augment(batches.load_images(corpus, rows), random)
        return crops, torch.from_numpy(labels[rows])

    def objective(batch: tuple[torch.Tensor, torch.Tensor]) -> dict[str, torch.Tensor]:
        crops, people_of_crops = batch
        embedding = F.normalize(network(crops), dim=1)
        centres = F.normalize(classes.weight, dim=1)
        logits = COSINE_SCALE * (embedding @ centres.T)

        return {"identity": F.cross_entropy(logits, people_of_crops, reduction="none")}

    model = nn.ModuleDict({"net": network, "classes": classes})
    config = _loop_config(steps, seed, {"identity": 1.0})
    train(model, objective, sample, config, work, "identity")

    shape = {"architecture": architecture, "outputs": IDENTITY_DIMENSIONS}

    card = _card("identity", shape, "speaker labels", steps, corpus)
    card["scores"] = _score_identity(network, held_out)
    save_weights(out / "identity.safetensors", network, card)

    return card


@torch.no_grad()
def _score_identity(network: FrameNet, held_out: Store) -> dict[str, float]:
    """How well frames of one person, from two clips, are separated from frames of two people."""
    rows = _draw_rows(held_out, IDENTITY_FRAMES)
    embeddings = []
    for part in np.array_split(rows, 20):
        images = batches.load_images(held_out, part)
        embeddings.append(F.normalize(network(images), dim=1))

    embedding = torch.cat(embeddings)
    cosine = (embedding @ embedding.T).numpy()

    people = held_out.per_frame("speaker")[rows]
    clips = held_out.per_frame("name")[rows]

    same_person = people[:, None] == people[None]
    other_clip = clips[:, None] != clips[None]

    of_one = cosine[same_person & other_clip]
    of_two = cosine[~same_person]

    random = np.random.default_rng(1)
    drawn_of_one = random.choice(of_one, AUC_PAIRS)
    drawn_of_two = random.choice(of_two, AUC_PAIRS)
    auc = float((drawn_of_one > drawn_of_two).mean())

    return {
        "auc": round(auc, 4),
        "chance": 0.5,
        "n": len(rows),
        "cosine_same": round(float(of_one.mean()), 4),
        "cosine_other": round(float(of_two.mean()), 4),
    }


def _card(name: str, model: dict[str, Any], truth: str, steps: int, corpus: Store) -> Card:
    """What a file of weights says of itself; its scores are still to come."""
    _, seed = NETWORKS[name]
    num_people = corpus.clips.speaker.nunique()
    return {
        "name": name,
        "model": model,
        "steps": steps,
        "command": f"cdrl train {name}",
        "licence": "Apache-2.0",
        "truth": f"{truth} of {num_people} studio people of the judge split",
        "held_out": "choosing set: other people and other sentences",
        "seed": seed,
    }
