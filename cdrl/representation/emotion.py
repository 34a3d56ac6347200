"""CERL: train the emotion encoder and its prompts on clips that share their content and differ in emotion."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from cdrl.core.checkpoint import save_network
from cdrl.core.errors import InputError
from cdrl.core.settings import EmotionConfig
from cdrl.core.vocabulary import EMOTIONS, emotion_index
from cdrl.losses.contrastive import info_nce, supervised_contrastive
from cdrl.losses.regularisers import variance_floor
from cdrl.models.adversary import Adversary
from cdrl.models.emotion import EmotionEncoder
from cdrl.priors.features import Features
from cdrl.priors.language import DESCRIPTIONS, LanguagePrior
from cdrl.training.loop import LoopConfig, train

TERMS = ("prior", "contrast", "direction", "intensity", "speaker", "variance")


class EmotionObjective(nn.Module):
    """The terms of CERL on one batch, each one value per sample (weights: `EmotionConfig`).

    prior: InfoNCE of an image embedding against the 8 prompts, its own the positive (chance ln 8).
    contrast: emotion-augmented contrastive learning: SupCon over the batch, where every sample has a negative of the same
        speaker and sentence in another emotion, and positives of other speakers and sentences.
    direction: 1 - cosine between the change of embedding from one emotion to another of the same content, and the change of
        their prompts.
    intensity: squared error of a linear reading of the level (0 neutral, 1/3, 2/3, 1).
    speaker: cross-entropy of an adversary behind gradient reversal. variance: hinge against collapse.
    """

    def __init__(
        self,
        encoder: EmotionEncoder,
        prior: LanguagePrior,
        config: EmotionConfig,
        embedding: int,
        speakers: int,
    ):
        super().__init__()
        self.encoder, self.config = encoder, config
        self.prior = [prior]  # in a list: frozen, and no part of this module's parameters
        self.level = nn.Linear(embedding, 1)
        self.speaker = Adversary(embedding, speakers)

    def prompts(self) -> torch.Tensor:
        """(8, D) the learnt prompt of each emotion, unit norm."""
        return self.prior[0].prompt_embedding(
            self.encoder.context, [DESCRIPTIONS[name] for name in EMOTIONS]
        )

    def forward(self, batch: dict) -> dict:
        """features (2, P, T, L), emotion, level, speaker (2, P) -> {name: values}."""
        code = self.encoder(batch["features"].flatten(0, 1))  # (2P, D)
        label, text = batch["emotion"].flatten(), self.prompts()
        difference = code.view(2, -1, code.shape[1])
        wanted = text[batch["emotion"]]
        turn = F.cosine_similarity(difference[0] - difference[1], wanted[0] - wanted[1], dim=-1)
        return {
            "prior": info_nce(code, text, label, self.config.temperature),
            "contrast": supervised_contrastive(code, label, self.config.temperature),
            "direction": 1 - turn,
            "intensity": (self.level(code)[:, 0] - batch["level"].flatten()).square(),
            "speaker": F.cross_entropy(
                self.speaker(code), batch["speaker"].flatten(), reduction="none"
            ),
            "variance": variance_floor(code, 0.5 / code.shape[1] ** 0.5),
        }


SHORT_WINDOW = 5  # frames that a generator shows its guidance


class EmotionSampler:
    """Draws pairs of clips of one speaker and sentence in two emotions (the same content), a random window of each.

    A share of the batches (`short`) shows five frames only, as a generator's training does.
    """

    def __init__(self, features: Features, config: EmotionConfig):
        self.features, self.config = features, config
        clips = features.store.clips
        self.groups = [
            g.index.to_numpy()
            for _, g in clips.groupby(["speaker", "sentence"])
            if g["emotion"].nunique() > 1
        ]
        if not self.groups:
            raise InputError(
                f"{features.store.path}: no speaker says one sentence in two emotions; CERL needs such clips"
            )
        self.emotion = clips["emotion"].map(emotion_index).to_numpy()
        self.level = np.where(clips["emotion"] == "neutral", 0, clips["intensity"] / 3).astype(
            np.float32
        )
        self.speakers = sorted(set(clips["speaker"]))
        self.speaker = (
            clips["speaker"].map({name: k for k, name in enumerate(self.speakers)}).to_numpy()
        )
        self.starts, self.lengths = clips["start"].to_numpy(), clips["num_frames"].to_numpy()

    def __call__(self, random: np.random.Generator) -> dict:
        """-> features (2, P, T, L) float32, emotion and speaker (2, P) int64, level (2, P) float32."""
        window = SHORT_WINDOW if random.random() < self.config.short else self.config.window
        clips = np.empty((2, self.config.batch), int)
        for k in range(self.config.batch):
            group = self.groups[random.integers(len(self.groups))]
            first = random.choice(group)
            clips[:, k] = first, random.choice(group[self.emotion[group] != self.emotion[first]])
        offset = (random.random(clips.shape) * np.maximum(self.lengths[clips] - window, 1)).astype(
            int
        )
        return {
            "features": seen(self.features, self.starts[clips] + offset + window // 2, window),
            "emotion": torch.from_numpy(self.emotion[clips]),
            "level": torch.from_numpy(self.level[clips]),
            "speaker": torch.from_numpy(self.speaker[clips]),
        }


def train_emotion(features: Features, config: EmotionConfig, language: str, out: Path):
    """Train CERL and write, beside the encoder, `targets.safetensors`: the prompts and the prototypes per label and level.

    Returns:
        The encoder in eval mode, and the history of every term.
    """
    torch.manual_seed(config.seed)
    prior, sampler = LanguagePrior(language), EmotionSampler(features, config)
    shape = {
        "features": features.language.shape[1] + features.mouth.shape[1],
        "embedding": prior.embedding,
        "token_width": prior.token_width,
        "bottleneck": config.bottleneck,
        "noise": config.noise,
        "window": config.window,
    }
    encoder = EmotionEncoder(**shape)
    objective = EmotionObjective(encoder, prior, config, prior.embedding, len(sampler.speakers))
    weights = {name: getattr(config, f"{name}_weight") for name in TERMS}
    loop = LoopConfig(
        steps=config.steps,
        learning_rate=config.learning_rate,
        seed=config.seed,
        weights=weights,
        device=config.device,
    )
    history = train(objective, objective, sampler, loop, Path(out) / "training", "CERL")
    with torch.no_grad():
        targets = {"text": objective.prompts(), "prototypes": _prototypes(encoder.eval(), features)}
    save_file({k: v.contiguous() for k, v in targets.items()}, Path(out) / "targets.safetensors")
    save_network(out, encoder, {"model": shape, "language": language}, history)
    return encoder, history


def seen(features: Features, rows: np.ndarray, window: int) -> torch.Tensor:
    """(..., T, L + M) what CERL sees around frames: the vision-language prior's image features beside those of the mouth.

    T = window up to five frames; of a longer window every other frame, which is enough for what is slow. A window that would
    reach over an end of its clip lies inside instead, and spreads its T over a shorter clip: frames held still would tell of ends.
    """
    clips, count = features.store.clips, window if window <= SHORT_WINDOW else window // 2 + 1
    first, length = clips["start"].to_numpy(), clips["num_frames"].to_numpy()
    clip = np.searchsorted(first, rows, side="right") - 1
    room = np.minimum(window // 2, (length[clip] - 1) / 2)
    middle = np.clip(rows, first[clip] + room, first[clip] + length[clip] - 1 - room)
    index = np.rint(middle[..., None] + room[..., None] * np.linspace(-1, 1, count)).astype(int)
    return torch.from_numpy(
        np.concatenate([features.language[index], features.mouth[index]], -1).astype(np.float32)
    )


def embed_clips(encoder: EmotionEncoder, features: Features) -> np.ndarray:
    """(C, D) float32, unit norm: every clip's emotion embedding, pooled over all its frames."""
    found = []
    for clip in range(len(features.store.clips)):
        rows = features.store.frames(clip)
        frames = np.concatenate([features.language[rows], features.mouth[rows]], 1).astype(
            np.float32
        )
        with torch.no_grad():
            found.append(encoder(torch.from_numpy(frames)[None]))
    return torch.cat(found).numpy()


@torch.no_grad()
def embed_emotion(
    encoder: EmotionEncoder, features: Features, window: int | None = None
) -> np.ndarray:
    """(N, D) float32, unit norm: the emotion embedding of every frame, pooled over its window, which lies in its clip.

    Args:
        window: frames pooled; None: the encoder's own. A generator's guidance sees five.
    """
    rows = np.array_split(np.arange(len(features.store)), max(1, len(features.store) // 2048))
    return np.concatenate(
        [encoder(seen(features, part, window or encoder.window)).numpy() for part in rows]
    )


@torch.no_grad()
def _prototypes(encoder: EmotionEncoder, features: Features) -> torch.Tensor:
    """(8, 3, D) mean training embedding of each label and level; a level without clips takes the label's mean."""
    code, clips = torch.from_numpy(embed_clips(encoder, features)), features.store.clips
    rows = []
    for name in EMOTIONS:
        of_label = (clips["emotion"] == name).to_numpy()
        for level in (1, 2, 3):
            chosen = of_label & (clips["intensity"] == level).to_numpy()
            chosen = np.flatnonzero(chosen if chosen.any() else of_label)
            rows.append(code[chosen].mean(0) if len(chosen) else torch.zeros(code.shape[1]))
    return F.normalize(torch.stack(rows), dim=-1).view(len(EMOTIONS), 3, -1)
