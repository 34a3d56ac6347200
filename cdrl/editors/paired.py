"""The upper bound: the same host trained on true edits of the training people, which no real corpus has. Never mixed into the others."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cdrl.core.errors import InputError
from cdrl.core.settings import GeneratorConfig
from cdrl.core.vocabulary import emotion_index
from cdrl.corpora.batches import images, windows
from cdrl.corpora.store import Store
from cdrl.editors.image import GUIDED, SHARED, WINDOW, ImageObjective, emotions_of, starting_nets
from cdrl.models.image_editor import ImageEditor, working_view
from cdrl.representation.content import save_encoder
from cdrl.training.loop import LoopConfig, train

# No game and no guidance: the truth says what is wanted; what keeps a face a face is shared.
WEIGHTS = {
    name: value
    for name, value in SHARED.items()
    if name not in ("discriminator", "adversarial", *GUIDED)
} | {"truth": 100.0}


class PairedSampler:
    """Windows of five frames with the same five frames of the true edit, every target equally often.

    Args:
        store: clips of training people. wanted: their true edits. origin: (E,) the clip in `store` that each was made from.

    Raises:
        InputError: where an edit is not as long as its source.
    """

    def __init__(self, store: Store, wanted: Store, origin: np.ndarray, batch: int):
        self.store, self.wanted, self.origin, self.batch = store, wanted, np.asarray(origin), batch
        self.length = wanted.clips["num_frames"].to_numpy()
        wrong = np.flatnonzero(self.length != store.clips["num_frames"].to_numpy()[self.origin])
        if len(wrong):
            raise InputError(
                f"{wanted.path}: {wanted.clips.name[wrong[0]]} is not as long as its source in {store.path}: render it anew"
            )
        self.label = [
            table["emotion"].map(emotion_index).to_numpy() for table in (store.clips, wanted.clips)
        ]
        usable = np.flatnonzero(self.length >= WINDOW)
        self.groups = [usable[self.label[1][usable] == k] for k in np.unique(self.label[1][usable])]

    def __call__(self, random: np.random.Generator) -> dict:
        """-> frames, truth (B, 5, 3, 64, 64), emotion, target (B,) int64, intensity, target_intensity (B,) 1/3 to 1."""
        first = random.integers(len(self.groups))
        edits = np.array(
            [random.choice(self.groups[(first + k) % len(self.groups)]) for k in range(self.batch)]
        )
        clips, starts = self.origin[edits], random.integers(0, self.length[edits] - WINDOW + 1)
        turned = torch.from_numpy(random.random(len(edits)) < 0.5)[:, None, None, None, None]
        shown = []
        for store, which in ((self.store, clips), (self.wanted, edits)):
            rows = windows(store, which, starts, WINDOW)
            frames = working_view(images(store, rows.ravel())).unflatten(0, rows.shape)
            shown.append(torch.where(turned, frames.flip(-1), frames))
        levels = [
            store.clips["intensity"].to_numpy()[which] / 3
            for store, which in ((self.store, clips), (self.wanted, edits))
        ]
        return {
            "frames": shown[0],
            "truth": shown[1],
            "emotion": torch.from_numpy(self.label[0][clips]),
            "target": torch.from_numpy(self.label[1][edits]),
            "intensity": torch.from_numpy(levels[0]).float(),
            "target_intensity": torch.from_numpy(levels[1]).float(),
        }


class PairedObjective(ImageObjective):
    """`truth`, L1 to the true edit, in the place of the game and the guidance; the rest as for every variant."""

    def __init__(self, generator: ImageEditor):
        super().__init__(generator, None, WEIGHTS)

    def _answer(self, source: torch.Tensor, output: torch.Tensor, batch: dict) -> dict:
        return {"truth": (output - batch["truth"]).abs().flatten(1).mean(1)}


def train_paired_image_editor(
    store: Store,
    wanted: Store,
    origin: np.ndarray,
    config: GeneratorConfig,
    out: Path,
    start: str | None = "generator_start",
) -> tuple[ImageEditor, pd.DataFrame]:
    """Train the host on true edits and write `model.safetensors`, `model.json`, `history.parquet` under `out`.

    Args:
        store, wanted, origin: as `PairedSampler` takes them, origin (E,). start: weights to begin with, those of every variant.

    Returns:
        The generator in eval mode, and the history of every term.
    """
    objective = PairedObjective(starting_nets(start, config.seed)[0])
    loop = LoopConfig(
        steps=config.steps, learning_rate=config.learning_rate, seed=config.seed, weights=WEIGHTS
    )
    history = train(
        objective,
        objective,
        PairedSampler(store, wanted, origin, config.batch),
        loop,
        Path(out) / "training",
        "SPFEM paired",
    )
    card = {
        "model": {},
        "emotions": emotions_of(store),
        "variant": "paired",
        "weights": WEIGHTS,
        "start": start,
        "steps": config.steps,
    }
    return save_encoder(
        objective.generator, card | {"truth": "true edits of the training people"}, history, out
    ), history
