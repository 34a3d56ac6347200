"""CCRL and CERL as released, at the size of this corpus: what their losses learn, for comparison.

Our re-implementation, on our corpus: network, attention, loss and sampling as released (`cdrl.baselines.released.networks`), on the
second stage of the frozen face backbone (96 x 8 x 8) instead of IResNet-50's third, a learning rate that fits few steps.
"""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from cdrl.baselines.released.emotion import LabelHeads
from cdrl.baselines.released.losses import released_content, released_emotion
from cdrl.baselines.released.networks import ReleasedContent
from cdrl.core.errors import InputError
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.corpora import batches
from cdrl.priors.features import Features
from cdrl.priors.language import DESCRIPTIONS, LanguagePrior
from cdrl.priors.vision import VisionPrior, face_view
from cdrl.training.loop import LoopConfig, train

CHANNELS, SIDE = 96, 8
PROJECTED = 256  # numbers that stand for a content map where it is probed


def small_released(audio: int, face: str = "face_backbone", seed: int = 0) -> ReleasedContent:
    """The released CCRL network on the frozen face backbone's second stage, untrained."""
    torch.manual_seed(seed)
    net = VisionPrior(face).face
    trunk = nn.Sequential(net.stem, nn.SiLU(), *net.stages[:2]).eval().requires_grad_(False)
    return ReleasedContent(trunk, CHANNELS, SIDE, audio)


def train_released_content(
    features: Features,
    pairs: pd.DataFrame,
    steps: int = 400,
    seed: int = 0,
    batch: int = 16,
    learning_rate: float = 1e-4,
) -> tuple[ReleasedContent, pd.DataFrame]:
    """Train the released CCRL: x a frame, y its partner WITH X'S AUDIO, z another frame of y's clip with its own.

    Returns:
        The network in eval mode; the history with `loss`, `positive` and `negative` (the two clamped cosines).
    """
    kept, store = pairs[pairs.kept].reset_index(drop=True), features.store
    starts, lengths = store.clips["start"].to_numpy(), store.clips["num_frames"].to_numpy()
    model = small_released(features.audio.shape[1], seed=seed)

    def sample(random):
        chosen = kept.iloc[random.integers(0, len(kept), batch)]
        at = [int(random.integers(len(aligned))) for aligned in chosen["aligned"]]
        to = [round(float(aligned[k])) for aligned, k in zip(chosen["aligned"], at, strict=True)]
        a, b = chosen["a"].to_numpy(), chosen["b"].to_numpy()
        rows = (
            starts[a] + at,
            starts[b] + np.minimum(to, lengths[b] - 1),
            starts[b] + random.integers(0, lengths[b] - 1),
        )
        sound = [
            torch.from_numpy(np.asarray(features.audio[rows[k]], np.float32))[:, None]
            for k in (0, 0, 2)
        ]
        return [face_view(batches.load_images(store, r)) for r in rows], sound

    def objective(drawn):
        loss, positive, negative = released_content(
            *[model(image, sound) for image, sound in zip(*drawn, strict=True)]
        )
        return {"loss": loss, "positive": positive, "negative": negative}

    config = LoopConfig(
        steps=steps, learning_rate=learning_rate, weight_decay=0.0, seed=seed, weights={"loss": 1.0}
    )
    return model, train(model, objective, sample, config, title="CCRL as released")


@torch.no_grad()
def embed_released(
    model: ReleasedContent, features: Features, image_rows: np.ndarray, audio_rows: np.ndarray
) -> np.ndarray:
    """Content maps of images under given sounds, each reduced to 256 numbers by one fixed random projection.

    Args:
        image_rows, audio_rows: (n,) rows of the features.

    Returns:
        (n, 256) float32; cosines of maps are kept to about 1 / 16.
    """
    project = (
        torch.randn(CHANNELS * SIDE * SIDE, PROJECTED, generator=torch.Generator().manual_seed(0))
        / PROJECTED**0.5
    )
    out = []
    for part in np.array_split(np.arange(len(image_rows)), max(1, len(image_rows) // 256)):
        sound = torch.from_numpy(np.asarray(features.audio[audio_rows[part]], np.float32))[:, None]
        maps = model(face_view(batches.load_images(features.store, np.asarray(image_rows)[part])), sound)
        out.append((maps.flatten(1) @ project).numpy())
    return np.concatenate(out)


def emotions_with_clips(features: Features) -> list[str]:
    """The scored emotions that have clips: a tuple of the released CERL has an image of each."""
    return [name for name in SCORED_EMOTIONS if (features.store.clips["emotion"] == name).any()]


def train_released_emotion(
    features: Features,
    language: str,
    steps: int = 300,
    seed: int = 0,
    batch: int = 32,
    shared: bool = False,
) -> pd.DataFrame:
    """Train the released CERL: a head per label, learnable context per class, InfoNCE inside tuples of one image per label.

    Args:
        shared: one head for all labels instead, the same otherwise; on images without information it stays at ln 7.

    Returns:
        The history with `loss`, nats; a head that sees nothing and does not know the label scores ln 7 = 1.946, the logarithm
        of the number of emotions that are there.

    Raises:
        InputError: where fewer than two emotions have clips.
    """
    return train_released_prompts(features, language, steps, seed, batch, shared)[1]


def train_released_prompts(
    features: Features,
    language: str,
    steps: int = 300,
    seed: int = 0,
    batch: int = 32,
    shared: bool = False,
) -> tuple[torch.Tensor, pd.DataFrame]:
    """As `train_released_emotion`, and what the release keeps of CERL: the prompts' texts.

    Returns:
        (7, D), unit norm, order `SCORED_EMOTIONS`; of an emotion without clips the plain description's. The history.
    """
    torch.manual_seed(seed)
    prior = LanguagePrior(language)
    emotion = features.store.per_frame("emotion")
    names = emotions_with_clips(features)
    rows = [np.flatnonzero(emotion == name) for name in names]
    if len(rows) < 2:
        raise InputError(
            f"{features.store.path}: a tuple needs images of two or more of {', '.join(SCORED_EMOTIONS)}"
        )
    heads = LabelHeads(features.language.shape[1], prior.embedding, 1 if shared else len(rows))
    model = nn.ModuleDict({"heads": heads})
    model.context = nn.Parameter(torch.randn(len(rows), 8, prior.token_width) * 0.02)

    def sample(random):
        picked = np.stack([random.choice(r, batch) for r in rows], 1)
        return torch.from_numpy(np.asarray(features.language[picked], np.float32))

    def objective(images):
        text = prior.prompt_embedding(model.context, [DESCRIPTIONS[name] for name in names])
        flat = images.flatten(0, 1)[:, None]
        image = heads(flat).view(*images.shape[:2], -1) if shared else heads(images)
        return {
            "loss": released_emotion(F.normalize(image, dim=-1), text.expand(len(images), -1, -1))
        }

    config = LoopConfig(steps=steps, learning_rate=1e-3, seed=seed, weights={"loss": 1.0})
    history = train(
        model, objective, sample, config, title="CERL, one head" if shared else "CERL as released"
    )
    with torch.no_grad():
        prompts = prior.text_embedding([DESCRIPTIONS[name] for name in SCORED_EMOTIONS]).clone()
        learnt = [SCORED_EMOTIONS.index(name) for name in names]
        prompts[learnt] = prior.prompt_embedding(
            model.context, [DESCRIPTIONS[name] for name in names]
        )
    return prompts, history
