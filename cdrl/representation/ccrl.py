"""CCRL, contrastive content representation learning: the training of the content encoder.

It learns from pairs of clips that have the same content and differ in emotion, see `pairs`.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.checkpoint import save_network
from cdrl.core.settings import ContentConfig
from cdrl.core.vocabulary import EMOTIONS, NO_LABEL
from cdrl.losses.contrastive import info_nce
from cdrl.losses.regularisers import cross_correlation, variance_floor
from cdrl.models.content import ContentEncoder
from cdrl.models.gradient_reversal import Adversary
from cdrl.priors.features import Features
from cdrl.representation.components import build_content_encoder, content_loss, load_content_encoder
from cdrl.representation.pairs import IMAGE_CANDIDATES, Batch, PairSampler
from cdrl.training.group import run_in_group, starts_group
from cdrl.training.joint import is_first, joint_forward
from cdrl.training.loop import loop_config, read_history, train

TERMS = ("contrast", "wrong_image", "sound", "emotion", "speaker", "covariance", "variance")
# The wrong-image term costs four passes of the encoder; every fourth moment is enough.
WRONG_IMAGE_STRIDE = 4
IMAGE_SHIFT = 3  # pairs of the batch from one image under a sound to the next
UNIT_FRAMES = (
    20_000  # frames at least that the sound units are clustered from, fewer than twice that
)
EMBED_BATCH = 2048  # frames at least that are embedded at once, fewer than twice that


class ContentObjective(nn.Module):
    """The terms of CCRL on one batch of pairs; encoder and adversaries are trained together.

    With the embedding f, the temperature tau, and for each anchor a the positive p and the
    candidates C, one of which is p:

        contrast = -log(exp(cos(f_a, f_p) / tau) / sum over c in C of exp(cos(f_a, f_c) / tau))

    Each term has one value per sample; weights are in `ContentConfig`.

    - contrast: emotion-aware contrastive learning. The positive is the same moment in the other
      clip of the pair. The candidates are the moments of both clips (`negatives` two), so that
      neither emotion nor speaker helps, or those of the other clip alone. The setting `loss` puts
      another loss in its place.
    - wrong_image: the same with the audio prior in the query of the encoder; the candidates are
      three images under one sound. It costs four more passes of the encoder.
    - sound: cross-entropy, in nats, of a linear readout of the sound unit (a cluster of the audio
      prior) in the middle of the window. It is the entropy of the units, at most ln K, for an
      embedding without content. The sound is a teacher here, no input.
    - emotion, speaker: cross-entropy of an adversary behind gradient reversal.
    - covariance: mean squared correlation of the embedding with the emotion label; off by default
      (its weight is 0).
    - variance: hinge against collapse.

    Args:
        encoder: trained.
        config: temperature and kind of negatives.
        speakers: how many speakers the training clips have.
        units: (K, A) centres of the sound units, of `sound_units`.
    """

    units: torch.Tensor

    def __init__(
        self, encoder: ContentEncoder, config: ContentConfig, speakers: int, units: torch.Tensor
    ):
        super().__init__()
        self.encoder = encoder
        self.config = config
        self.contrastive_loss = content_loss(config)

        self.emotion_adversary = Adversary(config.embedding, len(EMOTIONS))
        self.speaker_adversary = Adversary(config.embedding, speakers)
        self.unit_classifier = nn.Linear(config.embedding, len(units))
        self.unit_scale = nn.Parameter(torch.tensor(10.0))  # of logits of unit vectors
        self.register_buffer("units", units, persistent=False)

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Batch of `PairSampler` -> {term: values}."""
        embedding = self._embed(batch["face"], batch["mouth"])  # (2, P, S, D)
        contrast = self._contrast(embedding, batch)

        flat = embedding.flatten(0, 2)  # (2 P S, D)
        moments = embedding.shape[2]
        emotion = _label_of_moments(batch["emotion"], moments)
        speaker = _label_of_moments(batch["speaker"], moments)
        one_hot = _one_hot(emotion).to(flat.dtype)
        floor = variance_target(flat.shape[1])
        return {
            "contrast": contrast,
            "wrong_image": self._wrong_image(batch),
            "sound": self._sound(flat, batch["audio"]),
            "emotion": adversarial_loss(self.emotion_adversary, flat, emotion),
            "speaker": adversarial_loss(self.speaker_adversary, flat, speaker),
            "covariance": cross_correlation(flat, one_hot),
            "variance": variance_floor(flat, floor),
        }

    def _embed(
        self, face: torch.Tensor, mouth: torch.Tensor, audio: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Windows (..., T, features) -> (..., D)."""
        flat_audio = None if audio is None else audio.flatten(0, -3)
        flat_face = face.flatten(0, -3)
        flat_mouth = mouth.flatten(0, -3)
        embedding = joint_forward(self.encoder, flat_face, flat_mouth, flat_audio)
        return embedding.view(*face.shape[:-2], -1)

    def _contrast(self, embedding: torch.Tensor, batch: Batch) -> torch.Tensor:
        """InfoNCE of every moment (2, P, S, D) against its candidates."""
        moments = embedding.shape[2]
        other_clip = embedding.flip(0)
        candidates = torch.cat([other_clip, embedding], 2)  # (2, P, 2 S, D)
        candidates = candidates[:, :, None].expand(-1, -1, moments, -1, -1)
        # With negatives of one clip, the clips are not exchanged: the first one is the anchor.
        anchors = slice(None) if self.config.negatives == "two" else slice(1)
        anchor = embedding[anchors]
        candidates = candidates[anchors]
        positive = batch["positive"][anchors]
        valid = batch["valid"][anchors]
        return self.contrastive_loss(
            anchor.flatten(0, 2),
            candidates.flatten(0, 2),
            positive.flatten(),
            self.config.temperature,
            valid.flatten(0, 2),
        )

    def _wrong_image(self, batch: Batch) -> torch.Tensor:
        """InfoNCE of moments against three images, all with sound: (P S / 4,).

        The right image and the two wrong ones, of other pairs, have the same sound.
        """
        moments = slice(None, None, WRONG_IMAGE_STRIDE)
        face = batch["face"]
        mouth = batch["mouth"]
        audio = batch["audio"][:, :, moments]
        query = self._embed(face[0, :, moments], mouth[0, :, moments], audio[0])

        images = []
        for shift in image_shifts(face.shape[1]):
            image_face = face[1].roll(shift, 1)[:, moments]
            image_mouth = mouth[1].roll(shift, 1)[:, moments]
            images.append(self._embed(image_face, image_mouth, audio[1]))

        candidates = torch.stack(images, 2)  # (P, S / 4, 3, D)
        positive = batch["image_positive"][:, moments]
        return info_nce(
            query.flatten(0, 1),
            candidates.flatten(0, 1),
            positive.flatten(),
            self.config.temperature,
        )

    def _sound(self, flat: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of the sound unit read from embeddings (2 P S, D): (2 P S,)."""
        middle = audio.shape[3] // 2
        audio_of_moments = audio[..., middle, :].flatten(0, 2)  # (2 P S, A)
        unit = torch.cdist(audio_of_moments, self.units).argmin(1)
        return F.cross_entropy(self.unit_classifier(self.unit_scale * flat), unit, reduction="none")


def image_shifts(pairs: int) -> tuple[int, ...]:
    """How far the batch is rolled to bring the right image, and two wrong ones, under a sound.

    Args:
        pairs: of the batch, at least 3.

    Returns:
        0 and two others, all of different pairs: (0, 3, 6) of 8 pairs, (0, 1, 2) of 6.
    """
    far = tuple(IMAGE_SHIFT * number for number in range(IMAGE_CANDIDATES))
    if len({shift % pairs for shift in far}) == IMAGE_CANDIDATES:
        return far
    return tuple(range(IMAGE_CANDIDATES))


def adversarial_loss(
    adversary: Adversary, embedding: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of an adversary.

    Args:
        adversary: behind gradient reversal.
        embedding: (B, D).
        labels: (B,) int64.

    Returns:
        (B,) nats; the entropy of the labels for an embedding without the label, 0 for `NO_LABEL`.
    """
    return F.cross_entropy(adversary(embedding), labels, reduction="none")


def _one_hot(emotion: torch.Tensor) -> torch.Tensor:
    """(B,) label numbers -> (B, 8); a row of zeros for `NO_LABEL`."""
    is_labelled = emotion != NO_LABEL
    one_hot = F.one_hot(emotion.clamp(min=0), len(EMOTIONS))
    return one_hot.float() * is_labelled[:, None]


def variance_target(size: int) -> float:
    """Standard deviation below which a dimension counts as collapsed.

    Half of what the dimensions of a unit vector have, if all vary alike.

    Args:
        size: dimensions of the embedding.
    """
    return 0.5 / size**0.5


def _label_of_moments(labels: torch.Tensor, moments: int) -> torch.Tensor:
    """(2, P) labels of clips -> (2 P S,) labels of their moments."""
    return labels[:, :, None].expand(-1, -1, moments).flatten()


def sound_units(features: Features, config: ContentConfig) -> torch.Tensor:
    """Cluster the audio prior of the training frames by k-means.

    Such units are the targets of HuBERT (arXiv:2106.07447).

    Args:
        features: of the training clips.
        config: `units` is the number of clusters.

    Returns:
        (K, A) centres, float32.
    """
    from sklearn.cluster import MiniBatchKMeans  # here: its import takes a second

    stride = max(1, len(features.audio) // UNIT_FRAMES)
    audio = np.asarray(features.audio[::stride], np.float32)
    distinct = np.unique(audio, axis=0)
    count = min(config.units, len(distinct))

    clustering = MiniBatchKMeans(count, batch_size=2048, n_init=1, random_state=config.seed)
    clustering.fit(audio)
    centres = clustering.cluster_centers_.astype(np.float32)
    return torch.from_numpy(centres)


def train_content(
    features: Features,
    pairs: pd.DataFrame,
    config: ContentConfig,
    out: Path,
    shuffled: bool = False,
) -> tuple[ContentEncoder, pd.DataFrame]:
    """Train CCRL and write the encoder with its card and history under `out`.

    With `config.devices` above one, as many processes train it as one, see `training.engine`.

    Args:
        features: of the training clips.
        pairs: of `find_pairs`.
        config: settings.
        out: folder.
        shuffled: the control, see `PairSampler`.

    Returns:
        The encoder, frozen, in eval mode; and the history of every term.
    """
    if starts_group(config.devices):
        arguments = (features, pairs, config, out, shuffled)
        run_in_group(train_content, arguments, config.devices, config.device, "CCRL")
        return load_content_encoder(out), read_history(out)

    torch.manual_seed(config.seed)
    sampler = PairSampler(features, pairs, config, shuffled)
    encoder, card = build_content_encoder(config, features)
    units = sound_units(features, config)
    objective = ContentObjective(encoder, config, len(sampler.speakers), units)

    loop = loop_config(config, TERMS)
    history = train(objective, objective, sampler, loop, Path(out) / "training", "CCRL")
    if is_first():
        save_network(out, encoder, card, history)
    return encoder, history


@torch.no_grad()
def embed_content(
    encoder: ContentEncoder,
    features: Features,
    image_rows: np.ndarray | None = None,
    audio_rows: np.ndarray | None = None,
) -> np.ndarray:
    """Content embeddings of frames, each from its window.

    Args:
        encoder: in eval mode.
        features: of the clips.
        image_rows: (N,) frames to embed; None embeds all.
        audio_rows: (N,) frames whose sound goes into the query of the cross-attention, one for each
            of `image_rows`; None: the image alone.

    Returns:
        (N, D) float32, unit norm.
    """
    rows = np.arange(len(features.store)) if image_rows is None else np.asarray(image_rows)
    part_count = max(1, len(rows) // EMBED_BATCH)
    positions = np.arange(len(rows))

    embeddings = []
    for part in np.array_split(positions, part_count):
        face, mouth = features.windows(rows[part], ("face", "mouth"), encoder.window)
        audio = None
        if audio_rows is not None:
            part_audio_rows = np.asarray(audio_rows)[part]
            (audio,) = features.windows(part_audio_rows, ("audio",), encoder.window)
        embedding = encoder(face, mouth, audio)
        embeddings.append(embedding.numpy())

    return np.concatenate(embeddings)
