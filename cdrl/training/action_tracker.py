"""Training of the action tracker: facial actions from the features of the frozen backbones."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from cdrl.core.checkpoint import save_weights
from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS
from cdrl.corpora.batches import window_rows
from cdrl.corpora.store import Store
from cdrl.priors.actions import ACTION_TRACKER, ActionTracker, track
from cdrl.priors.features import Features
from cdrl.training.cards import STD_FLOOR, r2, r2_scores, training_card, true_actions
from cdrl.training.loop import LoopConfig, Terms, train

WINDOW = 24  # frames
BATCH = 32  # windows

Batch = tuple[torch.Tensor, torch.Tensor]


class TrackingSampler:
    """Draws windows of features with their true actions.

    Args:
        corpora: each has the same share of the batches.
    """

    def __init__(self, corpora: tuple[Features, ...]):
        self.corpora = corpora
        self.truth = [true_actions(features.store) for features in corpora]

    def __call__(self, random: np.random.Generator) -> Batch:
        """Draw a batch.

        Args:
            random: source of the random numbers.

        Returns:
            Features (B, T, F) and actions (B, T, 52), float32.
        """
        number = random.integers(len(self.corpora))
        features = self.corpora[number]
        rows = draw_windows(features.store, random)

        face = features.face[rows]
        mouth = features.mouth[rows]
        joined = np.concatenate([face, mouth], -1)
        inputs = joined.astype(np.float32)

        actions = self.truth[number][rows]
        return torch.from_numpy(inputs), torch.from_numpy(actions)


def draw_windows(store: Store, random: np.random.Generator) -> np.ndarray:
    """Draw windows of 24 frames; a clip that is too short for them is left out.

    Args:
        store: of clips.
        random: source of the random numbers.

    Returns:
        (32, 24) frame rows.
    """
    lengths = store.clips["num_frames"].to_numpy()
    long_enough = np.flatnonzero(lengths >= WINDOW)
    clips = random.choice(long_enough, BATCH)

    spare = lengths[clips] - WINDOW
    starts = random.integers(0, spare + 1)
    return window_rows(store, clips, starts, WINDOW)


def train_action_tracker(
    corpora: tuple[Features, ...], held_out: Features, out: Path, work: Path, steps: int = 5000
) -> dict[str, Any]:
    """Fit the network that reads all 52 actions from a window of face and mouth features.

    Args:
        corpora: features of stores with truth, to train on.
        held_out: features of a store of other people, with truth.
        out: folder of the weights.
        work: folder of the checkpoint.
        steps: optimiser steps.

    Returns:
        The card; `scores.r2` is the mean over actions with variance, on the held-out people.

    Raises:
        InputError: a store whose clips have no true coefficients.
    """
    for features in (*corpora, held_out):
        require_truth(features.store)

    sampler = TrackingSampler(corpora)
    size = held_out.face.shape[1] + held_out.mouth.shape[1]
    torch.manual_seed(0)
    model = ActionTracker(features=size)
    truth = sampler.truth[0]
    std = truth.std(0) + STD_FLOOR
    model.mean.copy_(torch.from_numpy(truth.mean(0)))
    model.std.copy_(torch.from_numpy(std))

    def objective(batch: Batch) -> Terms:
        inputs, actions = batch
        error = (model(inputs) - actions) / model.std
        return {"coefficients": error.square().mean((1, 2))}

    config = LoopConfig(
        steps=steps, learning_rate=2e-3, save_every=500, weights={"coefficients": 1.0}
    )
    train(model, objective, sampler, config, work, "action tracker")
    model.eval()
    model.requires_grad_(False)

    predictions = track(held_out, model).coefficients
    values = r2(true_actions(held_out.store), predictions)
    scores = r2_scores(held_out.store, values, range(len(ACTIONS)), len(predictions))

    people = 0
    for features in corpora:
        people += features.store.clips.speaker.nunique()
    card = training_card(
        ACTION_TRACKER,
        {"features": size},
        f"ARKit coefficients ({len(ACTIONS)}) of {people} studio people, no emotion label",
        scores,
        steps,
    )
    save_weights(Path(out) / f"{ACTION_TRACKER}.safetensors", model, card)
    return card


def require_truth(store: Store) -> None:
    """Refuse a store whose true facial actions nobody knows.

    Args:
        store: to train or to score on.

    Raises:
        InputError: naming it.
    """
    if "coefficients" not in store.truth:
        raise InputError(
            f"{store.path}: no true coefficients here; the tracker is fitted to a store of the "
            "studio"
        )
