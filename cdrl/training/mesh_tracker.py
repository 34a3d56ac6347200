"""Training of the mesh tracker: changes of facial actions from measures of the face mesh."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from cdrl.core.checkpoint import save_weights
from cdrl.core.files import read_array, write_array
from cdrl.core.vocabulary import ACTIONS
from cdrl.corpora.store import Store
from cdrl.media.crop_mesh import mesh_in_crops
from cdrl.priors.mesh_actions import COUNT, MESH_TRACKER, MeshTracker, measure_mesh
from cdrl.training.action_tracker import draw_windows, require_truth
from cdrl.training.cards import STD_FLOOR, r2, r2_scores, training_card, true_actions
from cdrl.training.loop import LoopConfig, Terms, train

STEPS = 3000
GAIN = 0.25  # standard deviation of the logarithm of a factor on all measures of a window
NOISE = 0.15  # of a standardised measure: the mesh is read less exactly on real faces

Batch = tuple[torch.Tensor, torch.Tensor]


def measure_store(store: Store, path: Path) -> np.ndarray:
    """The measures of every frame of a store; they are kept.

    Args:
        store: of aligned crops.
        path: of the file that keeps them, .npy.

    Returns:
        (N, 38) float32; 2.4 milliseconds a frame on one core where they are not kept yet.
    """
    if path.exists():
        return read_array(path)

    measures = np.empty((len(store), COUNT), np.float32)
    for clip in tqdm(range(len(store.clips)), desc="face mesh", unit="clip"):
        rows = store.frames(clip)
        measures[rows] = measure_mesh(mesh_in_crops(store.face[rows]))

    path.parent.mkdir(parents=True, exist_ok=True)
    write_array(path, measures)
    return measures


def from_median(store: Store, values: np.ndarray) -> np.ndarray:
    """Values of every frame less the median of their clip.

    Args:
        store: of N frames.
        values: (N, D).

    Returns:
        (N, D) float32.
    """
    changes = np.empty(values.shape, np.float32)
    for clip in range(len(store.clips)):
        rows = store.frames(clip)
        changes[rows] = values[rows] - np.median(values[rows], axis=0)

    return changes


class MeshSampler:
    """Draws windows of measures and actions, both as changes from the clip's median face.

    The measures get a common factor, for people whose faces move more or less, and noise.

    Args:
        store: with truth.
        measures: (N, 38) of its frames.
    """

    def __init__(self, store: Store, measures: np.ndarray):
        self.store = store
        self.changes = from_median(store, measures)
        self.truth = from_median(store, true_actions(store))
        self.scale = self.changes.std(0)

    def __call__(self, random: np.random.Generator) -> Batch:
        """Draw a batch.

        Args:
            random: source of the random numbers.

        Returns:
            Changes of measures (B, T, 38) and of actions (B, T, 52), float32.
        """
        rows = draw_windows(self.store, random)
        changes = self.changes[rows]
        factors = np.exp(random.normal(0, GAIN, (len(rows), 1, 1)))
        noise = random.normal(0, NOISE, changes.shape) * self.scale

        inputs = (factors * changes + noise).astype(np.float32)
        return torch.from_numpy(inputs), torch.from_numpy(self.truth[rows])


def train_mesh_tracker(
    store: Store, held_out: Store, out: Path, work: Path, steps: int = STEPS
) -> dict[str, Any]:
    """Fit the network that reads changes of all 52 actions from the face mesh.

    Args:
        store: with truth, to train on.
        held_out: of other people, with truth.
        out: folder of the weights.
        work: folder of measures and checkpoint.
        steps: optimiser steps.

    Returns:
        The card; `scores.r2` is the mean over actions with variance, within the clips of the
        held-out people.

    Raises:
        InputError: a store whose clips have no true coefficients.
    """
    for one in (store, held_out):
        require_truth(one)

    sampler = MeshSampler(store, measure_store(store, work / "train.npy"))
    torch.manual_seed(0)
    model = MeshTracker()
    model.scale.copy_(torch.from_numpy(sampler.scale))
    std = sampler.truth.std(0) + STD_FLOOR
    model.network.std.copy_(torch.from_numpy(std))

    def objective(batch: Batch) -> Terms:
        inputs, actions = batch
        error = (model(inputs) - actions) / model.network.std
        return {"actions": error.square().mean((1, 2))}

    config = LoopConfig(
        steps=steps, learning_rate=2e-3, weight_decay=0.05, save_every=500, weights={"actions": 1.0}
    )
    train(model, objective, sampler, config, work / "training", "mesh tracker")
    model.eval()
    model.requires_grad_(False)

    measures = measure_store(held_out, work / "held_out.npy")
    predicted = np.empty((len(held_out), len(ACTIONS)), np.float32)
    for clip in range(len(held_out.clips)):
        rows = held_out.frames(clip)
        predicted[rows] = model.predict(measures[rows])

    values = r2(from_median(held_out, true_actions(held_out)), predicted)
    scores = r2_scores(held_out, values, range(len(ACTIONS)), len(predicted))
    people = store.clips.speaker.nunique()
    card = training_card(
        MESH_TRACKER,
        model.config,
        f"ARKit coefficients ({len(ACTIONS)}) of {people} studio people, no emotion label; the "
        "face mesh below it (data/faces) was trained on real faces by others",
        scores,
        steps,
    )
    save_weights(Path(out) / f"{MESH_TRACKER}.safetensors", model, card)
    return card
