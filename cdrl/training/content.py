"""CCRL: train the content encoder on pairs of clips that say the same with another emotion."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from cdrl.config import ContentConfig
from cdrl.data.pairing import linear, warp
from cdrl.errors import InputError
from cdrl.losses.contrastive import info_nce
from cdrl.losses.regularisers import Adversary, variance_floor
from cdrl.models.content import ContentEncoder
from cdrl.priors.store import Features
from cdrl.training.loop import LoopConfig, train
from cdrl.vocabulary import emotion_index

MOMENTS = 12  # of each pair in a batch
GUARD = 2  # frames: a moment this near is no negative
WORST = 0.5  # a pair whose path costs more (cosine distance) is rejected: probably not the same sentence


def find_pairs(features: Features, config: ContentConfig, alignment: str = "prior") -> pd.DataFrame:
    """Pair clips of the same sentence in different emotions, by one speaker or by two, and align them.

    Args:
        features: with the audio prior of every frame. config: `pairs` is how many to draw.
        alignment: `prior` (DTW on the audio prior) or `linear` (no prior: a linear time warp).

    Returns:
        One row per pair: a, b (clip numbers), quality (mean cosine distance of the path), kept, aligned ((T_a,) float).

    Raises:
        InputError: where no sentence is said in two emotions (MEAD's usual test set): content and emotion are confounded.
    """
    clips, random = features.store.clips, np.random.default_rng([config.seed, 11])
    groups = [g.index.to_numpy() for _, g in clips.groupby("sentence") if g["emotion"].nunique() > 1]
    if not groups:
        raise InputError(
            f"{features.store.path}: no sentence is said in two emotions, so content and emotion cannot be told apart; "
            "take sentences common to several emotions"
        )
    drawn = set()
    for k in range(config.pairs * 4):
        a, b = (int(x) for x in random.choice(groups[random.integers(len(groups))], 2, replace=False))
        same = clips.speaker[a] == clips.speaker[b]
        if clips.emotion[a] != clips.emotion[b] and (same or k % 2):
            drawn.add((a, b))
        if len(drawn) == config.pairs:
            break
    rows = []
    for a, b in sorted(drawn):
        sound = [np.asarray(features.audio[features.store.frames(c)], np.float32) for c in (a, b)]
        aligned, quality = warp(*sound)
        if alignment == "linear":
            aligned = linear(len(sound[0]), len(sound[1]))
        rows.append({"a": a, "b": b, "quality": quality, "kept": quality <= WORST, "aligned": aligned})
    return pd.DataFrame(rows)


class ContentObjective(nn.Module):
    """The terms of CCRL on one batch of pairs; its encoder and its adversaries are trained together.

    Terms, each one value per sample (weights: `ContentConfig`):
        contrast: two-sided NT-Xent inside a pair of clips. Positive: the same moment in the other clip. Candidates: the other
            moments of BOTH clips, so that neither emotion nor speaker helps; near or alike-sounding moments are left out.
        wrong_image: the same with the audio prior as query, and as candidates other images under the SAME sound.
        emotion, speaker: cross-entropy of an adversary behind gradient reversal. variance: hinge against collapse.
    """

    def __init__(self, encoder: ContentEncoder, config: ContentConfig, speakers: int):
        super().__init__()
        self.encoder, self.config = encoder, config
        self.emotion = Adversary(config.embedding, 8)
        self.speaker = Adversary(config.embedding, speakers)

    def forward(self, batch: dict) -> dict:
        """Batch of `PairSampler` -> {name: values}."""
        face, mouth, audio = batch["face"], batch["mouth"], batch["audio"]  # (2, P, S, T, D)
        sides, pairs, moments = face.shape[:3]

        def embed(f, m, a=None):
            code = self.encoder(*[x.flatten(0, -3) for x in (f, m)], None if a is None else a.flatten(0, -3))
            return code.view(*f.shape[:-2], -1)

        code = embed(face, mouth)
        own, other = code, code.flip(0)
        candidates = torch.cat([other, own], 2)  # (2, P, 2S, D)
        apart = batch["apart"].expand(sides, -1, -1, -1)  # (2, P, S, S) bool
        itself = torch.eye(moments, dtype=torch.bool).expand_as(apart)
        valid = torch.cat([apart | itself, apart & ~itself], 3)
        positive = torch.arange(moments).expand(sides, pairs, -1)
        contrast = info_nce(
            own.flatten(0, 2), candidates[:, :, None].expand(-1, -1, moments, -1, -1).flatten(0, 2), positive.flatten(),
            self.config.temperature, valid.flatten(0, 2),
        )  # fmt: skip
        heard = embed(face[0], mouth[0], audio[0])  # (P, S, D)
        right = embed(face[1], mouth[1], audio[1])
        shift = [embed(face[1].roll(k, 1), mouth[1].roll(k, 1), audio[1]) for k in (3, 6)]
        wrong_image = info_nce(
            heard.flatten(0, 1), torch.stack([right, *shift], 2).flatten(0, 1),
            torch.zeros(pairs * moments, dtype=torch.long), self.config.temperature,
        )  # fmt: skip
        flat = code.flatten(0, 2)
        hidden = {
            name: F.cross_entropy(getattr(self, name)(flat), batch[name][:, :, None].expand(-1, -1, moments).flatten(), reduction="none")
            for name in ("emotion", "speaker")
        }
        return {"contrast": contrast, "wrong_image": wrong_image, **hidden, "variance": variance_floor(flat, 0.5 / flat.shape[1] ** 0.5)}


class PairSampler:
    """Draws batches of aligned moments.

    Args:
        features: of the training store. pairs: from `find_pairs`. config: batch size, window, thresholds.
        shuffled: control; the aligned moments are permuted, so no positive is right.
    """

    def __init__(self, features: Features, pairs: pd.DataFrame, config: ContentConfig, shuffled: bool = False):
        self.features, self.config, self.shuffled = features, config, shuffled
        self.pairs = pairs[pairs.kept].reset_index(drop=True)
        if len(self.pairs) < 2:
            raise InputError(f"{features.store.path}: {len(self.pairs)} of {len(pairs)} pairs could be aligned; at least 2 are needed")
        clips = features.store.clips
        self.starts, self.lengths = clips["start"].to_numpy(), clips["num_frames"].to_numpy()
        self.emotion = clips["emotion"].map(emotion_index).to_numpy()
        self.speakers = sorted(set(clips["speaker"]))
        self.speaker = clips["speaker"].map({name: k for k, name in enumerate(self.speakers)}).to_numpy()

    def __call__(self, random: np.random.Generator) -> dict:
        """-> face, mouth, audio (2, P, S, T, D); apart (P, S, S) bool; emotion, speaker (2, P) int64."""
        chosen = self.pairs.iloc[random.choice(len(self.pairs), self.config.batch, replace=len(self.pairs) < self.config.batch)]
        a, b = chosen["a"].to_numpy(), chosen["b"].to_numpy()
        here, there = [], []
        for first, second, aligned in zip(a, b, chosen["aligned"], strict=True):
            moments = np.sort(random.choice(len(aligned), MOMENTS, replace=len(aligned) < MOMENTS))
            partner = np.clip(np.round(np.asarray(aligned)[moments]).astype(int), 0, self.lengths[second] - 1)
            here.append(moments)
            there.append(random.permutation(partner) if self.shuffled else partner)
        here, there = np.array(here), np.array(there)
        rows = np.stack([self.starts[a][:, None] + here, self.starts[b][:, None] + there])
        face, mouth, audio = self.features.windows(rows, ("face", "mouth", "audio"), self.config.window)
        near = [np.abs(x[:, :, None] - x[:, None]) <= GUARD for x in (here, there)]
        sound = F.normalize(audio[0, :, :, self.config.window // 2], dim=-1)
        alike = (sound @ sound.transpose(1, 2)) > self.config.alike
        return {
            "face": face, "mouth": mouth, "audio": audio, "apart": ~(torch.from_numpy(near[0] | near[1]) | alike),
            "emotion": torch.from_numpy(np.stack([self.emotion[a], self.emotion[b]])),
            "speaker": torch.from_numpy(np.stack([self.speaker[a], self.speaker[b]])),
        }  # fmt: skip


def train_content(features: Features, pairs: pd.DataFrame, config: ContentConfig, out: Path, shuffled: bool = False):
    """Train CCRL and write `model.safetensors`, `model.json`, `history.parquet` under `out`.

    Returns:
        The encoder in eval mode, and the history of every term.
    """
    torch.manual_seed(config.seed)
    shape = {
        "face": features.face.shape[1], "mouth": features.mouth.shape[1], "audio": features.audio.shape[1],
        "window": config.window, "embedding": config.embedding,
    }  # fmt: skip
    sampler = PairSampler(features, pairs, config, shuffled)
    objective = ContentObjective(ContentEncoder(**shape), config, len(sampler.speakers))
    weights = {name: getattr(config, f"{name}_weight") for name in ("contrast", "wrong_image", "emotion", "speaker", "variance")}
    loop = LoopConfig(steps=config.steps, learning_rate=config.learning_rate, seed=config.seed, weights=weights)
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
def embed_content(encoder: ContentEncoder, features: Features, image_rows=None, audio_rows=None) -> np.ndarray:
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
