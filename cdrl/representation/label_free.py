"""A view of facial actions for a discriminator that has not seen action labels.

Tracked actions come from a tracker that learnt exact actions. A student predicts from them what a
backbone, trained on speaker labels alone, shows of the same pixels; the discriminator sees its
answer instead of the actions. The mean of each speaker is taken off: it is who somebody is.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cdrl.core.checkpoint import load_tensors, save_network
from cdrl.core.settings import ActionsConfig
from cdrl.core.weight_files import fill
from cdrl.models.label_free_view import CHANNELS, LabelFreeView
from cdrl.priors.actions import TrackedActions
from cdrl.priors.features import Features
from cdrl.representation.distillation import LEARNING_RATE, feature_stats
from cdrl.training.loop import LoopConfig, train

BATCH = 512  # frames
LEAST_VARIANCE = 1e-6  # of a component, as a share of the largest


def speaker_free_components(features: Features, components: int = CHANNELS) -> np.ndarray:
    """Whitened principal components of face and mouth features, less the mean of each speaker.

    Args:
        features: of the training clips, by backbones that were trained on speaker labels.
        components: how many.

    Returns:
        (N, components) float32, of mean 0 and variance 1; those that the features lack are 0.
    """
    parts = [features.face[:], features.mouth[:]]
    frames = np.concatenate(parts, 1).astype(np.float32)
    speakers = pd.factorize(features.store.per_frame("speaker"))[0]
    counts = np.bincount(speakers)

    sums = np.zeros((len(counts), frames.shape[1]), np.float32)
    np.add.at(sums, speakers, frames)
    frames -= (sums / counts[:, None])[speakers]

    variances, directions = np.linalg.eigh(np.cov(frames, rowvar=False))
    largest = np.argsort(variances)[::-1][:components]
    variances = variances[largest]
    is_there = variances > LEAST_VARIANCE * variances[0]
    scale = np.where(is_there, np.sqrt(np.maximum(variances, 1e-12)), np.inf)
    return (frames @ directions[:, largest] / scale).astype(np.float32)


def train_label_free_view(
    features: Features, tracked: TrackedActions, config: ActionsConfig, out: Path
) -> LabelFreeView:
    """Train the student and write it under `out`; resumes.

    The loss is the squared error, mean over components; a student that knows nothing has 1.

    Args:
        features: of the training clips, by backbones that were trained on speaker labels.
        tracked: actions of the same clips.
        config: seed, and the steps of a distillation.
        out: folder.

    Returns:
        The student, frozen.
    """
    torch.manual_seed(config.seed)
    targets = speaker_free_components(features)
    view = LabelFreeView(*feature_stats(tracked.coefficients))

    def sample(random: np.random.Generator) -> dict[str, torch.Tensor]:
        rows = random.integers(0, len(targets), BATCH)
        coefficients = torch.from_numpy(tracked.coefficients[rows])
        return {"coefficients": coefficients, "targets": torch.from_numpy(targets[rows])}

    def objective(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        error = view(batch["coefficients"]) - batch["targets"]
        return {"error": error.square().mean(1)}

    loop = LoopConfig(
        steps=config.distil_steps,
        learning_rate=LEARNING_RATE,
        seed=config.seed,
        weights={"error": 1.0},
        device=config.device,
        precision=config.precision,
        tracker=config.tracker,
    )
    history = train(view, objective, sample, loop, Path(out) / "training", "label-free view")
    return save_network(out, view, {"model": {}, "steps": config.distil_steps}, history)


def load_label_free_view(folder: Path) -> LabelFreeView:
    """Load what `train_label_free_view` wrote, frozen, in eval mode."""
    path = Path(folder) / "model.safetensors"
    view = LabelFreeView()
    fill(view, load_tensors(path, ("mean", "std")), path)
    return view.eval().requires_grad_(False)
