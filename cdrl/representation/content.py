"""CCRL: train the content encoder on pairs of clips that say the same with another emotion."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from sklearn.cluster import MiniBatchKMeans
from torch import nn

from cdrl.core.settings import ContentConfig
from cdrl.losses.contrastive import info_nce
from cdrl.losses.regularisers import cross_covariance, variance_floor
from cdrl.models.adversary import Adversary
from cdrl.models.content import ContentEncoder
from cdrl.priors.features import Features
from cdrl.representation.pairs import PairSampler
from cdrl.training.loop import LoopConfig, train

TERMS = ("contrast", "wrong_image", "sound", "emotion", "speaker", "covariance", "variance")
SPARSE = 4  # every fourth moment also meets the wrong images: each costs four passes


class ContentObjective(nn.Module):
    """The terms of CCRL on one batch of pairs; its encoder and its adversaries are trained together.

    Terms, each one value per sample (weights: `ContentConfig`):
        contrast: NT-Xent inside a pair of clips. Positive: the same moment in the other clip. Candidates: the other
            moments of BOTH clips (`sides` two), so that neither emotion nor speaker helps; or of the other clip alone.
        wrong_image: the same with the audio prior as query, and as candidates other images under the SAME sound.
        sound: cross-entropy, in nats, of a linear reading of which of K clusters of the audio prior (units, as HuBERT's) the
            middle of the window sounds like; the entropy of the units, at most ln K, for a code that knows nothing. The sound
            is a teacher here, never an input.
        emotion, speaker: cross-entropy of an adversary behind gradient reversal. covariance: mean squared correlation of the
            code with the emotion label. variance: hinge against collapse.
    """

    def __init__(
        self, encoder: ContentEncoder, config: ContentConfig, speakers: int, units: torch.Tensor
    ):
        super().__init__()
        self.encoder, self.config = encoder, config
        self.emotion = Adversary(config.embedding, 8)
        self.speaker = Adversary(config.embedding, speakers)
        self.read = nn.Linear(config.embedding, len(units))
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.units = units

    def forward(self, batch: dict) -> dict:
        """Batch of `PairSampler` -> {name: values}."""
        face, mouth, audio = batch["face"], batch["mouth"], batch["audio"]  # (2, P, S, T, D)
        moments = face.shape[2]
        code = self._embed(face, mouth)
        candidates = torch.cat([code.flip(0), code], 2)[:, :, None].expand(
            -1, -1, moments, -1, -1
        )  # (2, P, S, 2S, D)
        anchors = slice(None) if self.config.negatives == "two" else slice(1)
        contrast = info_nce(
            code[anchors].flatten(0, 2),
            candidates[anchors].flatten(0, 2),
            batch["positive"][anchors].flatten(),
            self.config.temperature,
            batch["valid"][anchors].flatten(0, 2),
        )
        flat = code.flatten(0, 2)
        unit = torch.cdist(audio[..., audio.shape[3] // 2, :].flatten(0, 2), self.units).argmin(1)
        labels = {
            name: batch[name][:, :, None].expand(-1, -1, moments).flatten()
            for name in ("emotion", "speaker")
        }
        return {
            "contrast": contrast,
            "wrong_image": self._wrong_image(face, mouth, audio, batch["answer"]),
            "sound": F.cross_entropy(self.read(self.scale * flat), unit, reduction="none"),
            "emotion": F.cross_entropy(self.emotion(flat), labels["emotion"], reduction="none"),
            "speaker": F.cross_entropy(self.speaker(flat), labels["speaker"], reduction="none"),
            "covariance": cross_covariance(flat, F.one_hot(labels["emotion"], 8).float()),
            "variance": variance_floor(flat, 0.5 / flat.shape[1] ** 0.5),
        }

    def _embed(self, face, mouth, audio=None) -> torch.Tensor:
        code = self.encoder(
            *[x.flatten(0, -3) for x in (face, mouth)],
            None if audio is None else audio.flatten(0, -3),
        )
        return code.view(*face.shape[:-2], -1)

    def _wrong_image(self, face, mouth, audio, answer) -> torch.Tensor:
        """InfoNCE of the anchor, heard, against three images of the partner that are all given the right sound: (P S/4,)."""
        some = slice(None, None, SPARSE)
        query = self._embed(face[0, :, some], mouth[0, :, some], audio[0, :, some])
        shown = [
            self._embed(
                face[1].roll(k, 1)[:, some], mouth[1].roll(k, 1)[:, some], audio[1, :, some]
            )
            for k in (0, 3, 6)
        ]
        return info_nce(
            query.flatten(0, 1),
            torch.stack(shown, 2).flatten(0, 1),
            answer[:, some].flatten(),
            self.config.temperature,
        )


def sound_units(features: Features, config: ContentConfig) -> torch.Tensor:
    """(K, A) centres of the audio prior's clusters over the training frames (k-means, as HuBERT's units, arXiv:2106.07447)."""
    heard = np.asarray(features.audio[:: max(1, len(features.audio) // 20_000)], np.float32)
    number = min(config.units, len(np.unique(heard, axis=0)))
    found = MiniBatchKMeans(number, batch_size=2048, n_init=1, random_state=config.seed).fit(heard)
    return torch.from_numpy(found.cluster_centers_.astype(np.float32))


def train_content(
    features: Features,
    pairs: pd.DataFrame,
    config: ContentConfig,
    out: Path,
    shuffled: bool = False,
):
    """Train CCRL and write `model.safetensors`, `model.json`, `history.parquet` under `out`.

    Returns:
        The encoder in eval mode, and the history of every term.
    """
    torch.manual_seed(config.seed)
    shape = {
        "face": features.face.shape[1],
        "mouth": features.mouth.shape[1],
        "audio": features.audio.shape[1],
        "window": config.window,
        "embedding": config.embedding,
        "dropout": config.dropout,
    }
    sampler = PairSampler(features, pairs, config, shuffled)
    objective = ContentObjective(
        ContentEncoder(**shape), config, len(sampler.speakers), sound_units(features, config)
    )
    weights = {name: getattr(config, f"{name}_weight") for name in TERMS}
    loop = LoopConfig(
        steps=config.steps,
        learning_rate=config.learning_rate,
        seed=config.seed,
        weights=weights,
        device=config.device,
    )
    history = train(objective, objective, sampler, loop, Path(out) / "training", "CCRL")
    return save_encoder(objective.encoder, {"model": shape}, history, out), history


def save_encoder(encoder: nn.Module, card: dict, history: pd.DataFrame, out: Path) -> nn.Module:
    """Write an encoder of a run: model.safetensors, model.json (how to rebuild it), history.parquet."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    history.to_parquet(out / "history.parquet", index=False)
    save_file({k: v.contiguous() for k, v in encoder.state_dict().items()}, out / "model.partial")
    (out / "model.json").write_text(json.dumps(card, indent=1))
    os.replace(out / "model.partial", out / "model.safetensors")
    return encoder.eval().requires_grad_(False)


@torch.no_grad()
def embed_content(
    encoder: ContentEncoder, features: Features, image_rows=None, audio_rows=None
) -> np.ndarray:
    """Content embeddings of frames, each from its window.

    Args:
        image_rows: (n,) frames to embed, all where None. audio_rows: (n,) frames whose sound guides the query; None: image only.

    Returns:
        (n, D) float32, unit norm.
    """
    rows = np.arange(len(features.store)) if image_rows is None else np.asarray(image_rows)
    out = []
    for part in np.array_split(np.arange(len(rows)), max(1, len(rows) // 2048)):
        face, mouth = features.windows(rows[part], ("face", "mouth"), encoder.window)
        audio = None
        if audio_rows is not None:
            (audio,) = features.windows(np.asarray(audio_rows)[part], ("audio",), encoder.window)
        out.append(encoder(face, mouth, audio).numpy())
    return np.concatenate(out)
