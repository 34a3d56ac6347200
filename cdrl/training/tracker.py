"""The tracker of the coefficient host: facial actions from the frozen backbones' features, training people only."""

from pathlib import Path

import numpy as np
import torch

from cdrl.core.checkpoint import save_weights
from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS
from cdrl.corpora.batches import window_rows
from cdrl.priors.actions import ACTION_TRACKER, ActionTracker, track
from cdrl.priors.features import Features
from cdrl.training.backbones import r2
from cdrl.training.loop import LoopConfig, train

WINDOW, BATCH = 24, 32  # frames, clips


def train_action_tracker(
    features: tuple[Features, ...], held_out: Features, out: Path, work: Path, steps: int = 5000
) -> dict:
    """Fit the head that reads all 52 actions from a window of face and mouth features.

    Args:
        features, held_out: of stores with truth; those to learn from, taken by lot, and other people. out: folder of the weights.
            work: folder of the checkpoint.

    Returns:
        The card; `scores.r2` is the mean over actions with variance, on the held-out people.

    Raises:
        InputError: a store whose clips have no true coefficients.
    """
    for store in (*(each.store for each in features), held_out.store):
        if "coefficients" not in store.truth:
            raise InputError(
                f"{store.path}: no true coefficients here; the tracker is fitted to a store of the studio"
            )
    truth = [each.store.truth["coefficients"][:].astype(np.float32) for each in features]
    shape = {"features": held_out.face.shape[1] + held_out.mouth.shape[1]}
    torch.manual_seed(0)
    model = ActionTracker(**shape)
    model.mean.copy_(torch.from_numpy(truth[0].mean(0)))
    model.std.copy_(torch.from_numpy(truth[0].std(0) + 0.02))
    lengths = [each.store.clips["num_frames"].to_numpy() for each in features]

    def sample(random):
        k = random.integers(len(features))
        clips = random.choice(np.flatnonzero(lengths[k] >= WINDOW), BATCH)
        rows = window_rows(
            features[k].store, clips, random.integers(0, lengths[k][clips] - WINDOW + 1), WINDOW
        )
        seen = np.concatenate([features[k].face[rows], features[k].mouth[rows]], -1).astype(
            np.float32
        )
        return torch.from_numpy(seen), torch.from_numpy(truth[k][rows])

    def objective(batch):
        error = (model(batch[0]) - batch[1]) / model.std
        return {"coefficients": error.square().mean((1, 2))}

    config = LoopConfig(
        steps=steps, learning_rate=2e-3, save_every=500, weights={"coefficients": 1.0}
    )
    train(model, objective, sample, config, work, "action reader")
    model.eval().requires_grad_(False)
    wanted, found = (
        held_out.store.truth["coefficients"][:].astype(np.float32),
        track(held_out, model).coefficients,
    )
    score = r2(wanted, found)
    people = sum(each.store.clips.speaker.nunique() for each in features)
    card = {
        "name": ACTION_TRACKER,
        "model": shape,
        "steps": steps,
        "command": f"cdrl train {ACTION_TRACKER}",
        "licence": "Apache-2.0",
        "truth": f"ARKit coefficients (52) of {people} studio people, no emotion label",
        "held_out": "choosing set: other people and other sentences",
        "scores": {
            "r2": round(float(np.nanmean(score)), 4),
            "n": len(found),
            "people": int(held_out.store.clips.speaker.nunique()),
            **{
                f"r2.{a}": round(float(s), 3)
                for a, s in zip(ACTIONS, score, strict=True)
                if np.isfinite(s)
            },
        },
    }
    save_weights(Path(out) / f"{ACTION_TRACKER}.safetensors", model, card)
    return card
