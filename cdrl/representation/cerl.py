"""CERL, contrastive emotion representation learning: emotion encoder and prompts.

They learn from clips that have the same content and differ in emotion.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from cdrl.core.checkpoint import freeze, save_network
from cdrl.core.errors import InputError
from cdrl.core.settings import EmotionConfig
from cdrl.core.vocabulary import EMOTIONS, UNLABELLED, label_index
from cdrl.losses.contrastive import info_nce
from cdrl.losses.regularisers import variance_floor
from cdrl.models.emotion import EmotionEncoder
from cdrl.models.gradient_reversal import Adversary
from cdrl.priors.features import Features
from cdrl.priors.language import DESCRIPTIONS, LanguagePrior
from cdrl.representation.ccrl import adversarial_loss, variance_target
from cdrl.representation.components import build_emotion_encoder, emotion_loss, load_emotion_encoder
from cdrl.training.group import run_in_group, starts_group
from cdrl.training.joint import is_first, joint_forward
from cdrl.training.loop import loop_config, read_history, train

TERMS = ("prior", "contrast", "direction", "intensity", "speaker", "variance")
LEVELS = 3  # of intensity
SHORT_WINDOW = 5  # frames that an editor shows its guidance
EMBED_BATCH = 2048  # frames at least that are embedded at once, fewer than twice that

Batch = dict[str, torch.Tensor]


class EmotionObjective(nn.Module):
    """The terms of CERL on one batch of pairs; encoder, prompts and adversary are trained together.

    With the image embedding v_i of sample i, the embedding T_k of the prompt of emotion k, the
    emotion y_i and the temperature tau:

        prior     = -log(exp(cos(v_i, T_y_i) / tau) / sum over k of exp(cos(v_i, T_k) / tau))
        direction = 1 - cos(v_i - v_j, T_y_i - T_y_j)

    Each term has one value per sample; weights are in `EmotionConfig`.

    - prior: InfoNCE against the eight prompts (chance ln 8).
    - contrast: emotion-augmented contrastive learning, SupCon over the batch. Every sample has a
      negative of the same speaker and sentence in another emotion, and positives of other speakers
      and sentences. The setting `loss` puts another loss in its place.
    - direction: i and j are the two clips of a pair, which have the same content. The change of
      embedding between two emotions is that of their prompts.
    - intensity: squared error of a linear readout of the level (0 neutral, 1/3, 2/3, 1).
    - speaker: cross-entropy of an adversary behind gradient reversal.
    - variance: hinge against collapse.

    Args:
        encoder: trained; has the context of the prompts.
        prior: frozen.
        config: temperature.
        speakers: how many speakers the training clips have.
    """

    def __init__(
        self, encoder: EmotionEncoder, prior: LanguagePrior, config: EmotionConfig, speakers: int
    ):
        super().__init__()
        self.encoder = encoder
        self.config = config
        self.contrastive_loss = emotion_loss(config)
        self.prior = freeze(prior)
        self.level_readout = nn.Linear(prior.embedding, 1)
        self.speaker_adversary = Adversary(prior.embedding, speakers)

    def prompts(self) -> torch.Tensor:
        """Embed the learnt prompt of each emotion.

        Returns:
            (8, D), unit norm.
        """
        descriptions = [DESCRIPTIONS[name] for name in EMOTIONS]
        return self.prior.prompt_embedding(self.encoder.context, descriptions)

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Batch of `EmotionSampler` -> {term: values}."""
        features = batch["features"].flatten(0, 1)
        emotion = batch["emotion"].flatten()
        level = batch["level"].flatten()
        speaker = batch["speaker"].flatten()

        embedding = joint_forward(self.encoder, features)  # (2 P, D)
        prompts = self.prompts()
        direction = self._direction(embedding, prompts[batch["emotion"]])

        temperature = self.config.temperature
        floor = variance_target(embedding.shape[1])
        return {
            "prior": info_nce(embedding, prompts, emotion, temperature),
            "contrast": self.contrastive_loss(embedding, emotion, temperature),
            "direction": direction,
            "intensity": self._intensity(embedding, level),
            "speaker": adversarial_loss(self.speaker_adversary, embedding, speaker),
            "variance": variance_floor(embedding, floor),
        }

    def _intensity(self, embedding: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """(B,): squared error of the level read from embeddings (B, D)."""
        readout = self.level_readout(embedding)[:, 0]
        return (readout - level).square()

    def _direction(self, embedding: torch.Tensor, prompts: torch.Tensor) -> torch.Tensor:
        """(P,): 1 - cosine of the change of embeddings (2 P, D) and of their prompts (2, P, D)."""
        pair = embedding.view(2, -1, embedding.shape[1])
        change = pair[0] - pair[1]
        prompt_change = prompts[0] - prompts[1]
        return 1 - F.cosine_similarity(change, prompt_change, dim=-1)


class EmotionSampler:
    """Draws P pairs of clips of one speaker and sentence in two emotions, a random window of each.

    A share of the batches (`short`) has five frames only, as in the training of an editor.

    Args:
        features: of the training clips.
        config: batch size, windows.

    Attributes:
        speakers: names, in the order of the speaker labels.

    Raises:
        InputError: no speaker says one sentence in two emotions.
    """

    def __init__(self, features: Features, config: EmotionConfig):
        self.features = features
        self.config = config
        clips = features.store.clips
        self.groups = _groups_of_content(clips)
        if not self.groups:
            raise InputError(
                f"{features.store.path}: no speaker says one sentence in two emotions; CERL needs "
                "such clips"
            )
        self.emotion = clips["emotion"].map(label_index).to_numpy()

        is_neutral = clips["emotion"] == "neutral"
        level = np.where(is_neutral, 0, clips["intensity"] / LEVELS)
        self.level = level.astype(np.float32)

        self.speakers = sorted(set(clips["speaker"]))
        speaker_index = {name: index for index, name in enumerate(self.speakers)}
        self.speaker = clips["speaker"].map(speaker_index).to_numpy()

        self.starts = clips["start"].to_numpy()
        self.lengths = clips["num_frames"].to_numpy()

    def __call__(self, random: np.random.Generator) -> Batch:
        """Draw a batch; the first axis counts the two clips of a pair.

        Args:
            random: source of the random numbers.

        Returns:
            features: (2, P, T, L + M) float32, see `window_features`.
            emotion, speaker: (2, P) int64 labels.
            level: (2, P) float32, 0 to 1.
        """
        is_short = random.random() < self.config.short
        window = SHORT_WINDOW if is_short else self.config.window
        clips = self._draw_clips(random)
        middles = self._draw_middles(clips, window, random)

        emotion = self.emotion[clips]
        level = self.level[clips]
        speaker = self.speaker[clips]
        return {
            "features": window_features(self.features, middles, window),
            "emotion": torch.from_numpy(emotion),
            "level": torch.from_numpy(level),
            "speaker": torch.from_numpy(speaker),
        }

    def _draw_clips(self, random: np.random.Generator) -> np.ndarray:
        """(2, P) clips of the same content in two emotions."""
        clips = np.empty((2, self.config.batch), int)
        for pair in range(self.config.batch):
            number = random.integers(len(self.groups))
            group = self.groups[number]
            first = random.choice(group)
            clips[0, pair] = first

            differs = self.emotion[group] != self.emotion[first]
            clips[1, pair] = random.choice(group[differs])

        return clips

    def _draw_middles(
        self, clips: np.ndarray, window: int, random: np.random.Generator
    ) -> np.ndarray:
        """(2, P) frame rows, the middles of windows that lie in their clips.

        Every start from 0 to length - window has the same probability. The middle is a frame of the
        clip also where the clip is shorter than the window.
        """
        lengths = self.lengths[clips]
        choices = np.maximum(lengths - window + 1, 1)
        starts = (random.random(clips.shape) * choices).astype(int)
        middles = np.minimum(starts + window // 2, lengths - 1)
        return self.starts[clips] + middles


def _groups_of_content(clips: pd.DataFrame) -> list[np.ndarray]:
    """For each speaker and sentence with two emotions or more, the numbers of its clips.

    Clips that nobody labelled are in none.
    """
    labelled = clips[clips["emotion"] != UNLABELLED]
    groups = []
    for _, group in labelled.groupby(["speaker", "sentence"]):
        if group["emotion"].nunique() > 1:
            groups.append(group.index.to_numpy())
    return groups


def window_features(features: Features, middles: np.ndarray, window: int) -> torch.Tensor:
    """Features of windows as CERL sees them.

    T is the window up to five frames; of a longer window every other frame, which is enough for
    what is slow. A window that would reach over an end of its clip lies inside instead, and spreads
    its T frames over a shorter clip: repeated frames would tell where clips end.

    Args:
        features: of the clips.
        middles: (...) frame rows, the middles of the windows.
        window: frames.

    Returns:
        (..., T, L + M) float32: image features of the language prior, then those of the mouth.
    """
    frames = _features_of_frames(features, _window_rows(features, middles, window))
    return torch.from_numpy(frames)


def _window_rows(features: Features, middles: np.ndarray, window: int) -> np.ndarray:
    """(..., T) frame rows of the windows of `window_features`."""
    clips = features.store.clips
    starts = clips["start"].to_numpy()
    lengths = clips["num_frames"].to_numpy()
    clip = np.searchsorted(starts, middles, side="right") - 1
    first = starts[clip]
    last = first + lengths[clip] - 1

    half_width = np.minimum(window // 2, (last - first) / 2)
    inside = np.clip(middles, first + half_width, last - half_width)

    count = window if window <= SHORT_WINDOW else window // 2 + 1
    steps = np.linspace(-1, 1, count)
    positions = inside[..., None] + half_width[..., None] * steps
    return np.rint(positions).astype(int)


def _features_of_frames(features: Features, index: np.ndarray | slice) -> np.ndarray:
    """(..., L + M) float32 of some frame rows (...)."""
    language = features.language[index]
    mouth = features.mouth[index]
    joined = np.concatenate([language, mouth], -1)
    return joined.astype(np.float32)


def train_emotion(
    features: Features, config: EmotionConfig, language: str, out: Path
) -> tuple[EmotionEncoder, pd.DataFrame]:
    """Train CERL and write the encoder with its card and history under `out`.

    With `config.devices` above one, as many processes train it as one, see `training.engine`.
    Beside it, `targets.safetensors` holds the prompts and the prototypes by label and level.

    Args:
        features: of the training clips.
        config: settings.
        language: name of the language prior.
        out: folder.

    Returns:
        The encoder, frozen, in eval mode; and the history of every term.
    """
    if starts_group(config.devices):
        arguments = (features, config, language, out)
        run_in_group(train_emotion, arguments, config.devices, config.device, "CERL")
        return load_emotion_encoder(out), read_history(out)

    torch.manual_seed(config.seed)
    prior = LanguagePrior(language)
    sampler = EmotionSampler(features, config)
    encoder, card = build_emotion_encoder(config, features, prior.embedding, prior.token_width)
    objective = EmotionObjective(encoder, prior, config, len(sampler.speakers))

    loop = loop_config(config, TERMS)
    history = train(objective, objective, sampler, loop, Path(out) / "training", "CERL")

    if not is_first():
        return encoder, history
    with torch.no_grad():
        prompts = objective.prompts()
    prototypes = label_prototypes(encoder, features)
    targets = {"text": prompts.contiguous(), "prototypes": prototypes.contiguous()}
    save_file(targets, Path(out) / "targets.safetensors")
    save_network(out, encoder, card | {"language": language}, history)
    return encoder, history


@torch.no_grad()
def embed_clips(encoder: EmotionEncoder, features: Features) -> np.ndarray:
    """Emotion embeddings of clips, pooled over all their frames.

    Args:
        encoder: in eval mode.
        features: of the clips.

    Returns:
        (C, D) float32, unit norm.
    """
    embeddings = []
    for clip in range(len(features.store.clips)):
        frames = _features_of_frames(features, features.store.frames(clip))
        batch_of_one = torch.from_numpy(frames)[None]
        embeddings.append(encoder(batch_of_one))

    return torch.cat(embeddings).numpy()


@torch.no_grad()
def embed_emotion(
    encoder: EmotionEncoder, features: Features, window: int | None = None
) -> np.ndarray:
    """Emotion embeddings of frames, each pooled over a window inside its clip.

    Args:
        encoder: in eval mode.
        features: of the clips.
        window: frames pooled; None takes the encoder's own. The guidance of an editor sees five.

    Returns:
        (N, D) float32, unit norm.
    """
    count = len(features.store)
    part_count = max(1, count // EMBED_BATCH)
    window = window or encoder.window
    parts = np.array_split(np.arange(count), part_count)
    # A frame is in many windows: the layers that see it by itself need to see it once.
    sees_frames_alone = type(encoder) is EmotionEncoder
    if sees_frames_alone:
        frames = [torch.from_numpy(_features_of_frames(features, rows)) for rows in parts]
        hidden = torch.cat([encoder.frame(part) for part in frames])

    embeddings = []
    for rows in parts:
        if sees_frames_alone:
            index = torch.from_numpy(_window_rows(features, rows, window))
            embedding = encoder.pool(hidden[index])
        else:
            embedding = encoder(window_features(features, rows, window))
        embeddings.append(embedding.numpy())

    return np.concatenate(embeddings)


def label_prototypes(encoder: EmotionEncoder, features: Features) -> torch.Tensor:
    """The mean embedding of each label and level.

    A level without clips takes the mean of its label; a label without clips has zeros.

    Args:
        encoder: in eval mode.
        features: of the training clips.

    Returns:
        (8, 3, D), unit norm.
    """
    embeddings = torch.from_numpy(embed_clips(encoder, features))
    return mean_by_label(embeddings, features)


def mean_by_label(embeddings: torch.Tensor, features: Features) -> torch.Tensor:
    """The mean of clips' embeddings by label and level, as `label_prototypes`.

    Args:
        embeddings: (C, D) of the clips.
        features: of the same clips.

    Returns:
        (8, 3, D), unit norm.
    """
    emotions = features.store.clips["emotion"].to_numpy()
    levels = features.store.clips["intensity"].to_numpy()

    means = []
    for name in EMOTIONS:
        has_label = emotions == name
        for level in range(1, LEVELS + 1):
            has_level = has_label & (levels == level)
            members = has_level if has_level.any() else has_label
            means.append(_mean_of(embeddings, np.flatnonzero(members)))

    prototypes = F.normalize(torch.stack(means), dim=-1)
    return prototypes.view(len(EMOTIONS), LEVELS, -1)


def _mean_of(embeddings: torch.Tensor, members: np.ndarray) -> torch.Tensor:
    """(D,) mean of some of the embeddings (C, D); zeros where there are none."""
    if len(members):
        return embeddings[members].mean(0)
    return torch.zeros(embeddings.shape[1])
