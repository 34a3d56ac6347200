"""Sampling of CCRL: pairs of clips with the same sentence in two emotions, aligned in time.

Notation of the paper: (c1, e1) is the anchor, (c1, e2) the positive, (c2, e2) a negative; c is the
content, e the emotion. Here the anchor is a moment of one clip of a pair, the positive is the same
moment of speech in the other clip, and the negatives are other moments of both clips. A negative
then has speaker and emotion of the anchor or of the positive, so that content alone tells them
apart: emotion-aware contrastive learning.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from cdrl.core.errors import InputError
from cdrl.core.settings import ContentConfig
from cdrl.core.vocabulary import UNLABELLED, label_index
from cdrl.corpora.dtw import dtw_alignment, linear_alignment, phone_alignment
from cdrl.losses.contrastive import info_nce
from cdrl.priors.audio import cepstra
from cdrl.priors.features import Features

# A pair whose path costs more (mean cosine distance) is rejected: probably two sentences.
MAX_PATH_COST = 0.5
SHORT_WINDOW_REACH = 2  # frames on each side of a short window, as in the training of an editor
DRAWS_PER_PAIR = 4  # attempts to find a pair before fewer pairs are accepted
IMAGE_CANDIDATES = 3  # images under one sound in the wrong-image term
# In such a corpus the sentence of a clip may be unknown; a clip without partner is its own.
OPEN_CORPUS = "folder"

# Frame of the second clip for each frame of the first, or None; and the cost of the path.
Alignment = tuple[np.ndarray | None, float]
Aligner = Callable[[int, int], Alignment]
Batch = dict[str, torch.Tensor]


def find_pairs(features: Features, config: ContentConfig) -> pd.DataFrame:
    """Pair clips of one sentence in two emotions, by one speaker or by two, and align them.

    A clip of `OPEN_CORPUS` that has no partner is paired with itself: the two views of it differ in
    what the sampler exchanges, the lasting look and the length of the window.

    Args:
        features: with the audio prior of every frame.
        config: `pairs` is how many to draw; `alignment` is one of prior (DTW on the audio prior),
            mfcc (DTW on cepstra, no learnt prior), linear (a straight line, no sound at all), truth
            (phone times: only where a corpus has them, an upper bound and no method).

    Returns:
        One row per pair: a, b (clip numbers), quality (mean cosine distance along the path; NaN
        where there is no path), kept (False where the pair is rejected), aligned ((T,) float, the
        frame of b for each of the T frames of a).

    Raises:
        InputError: no sentence is said in two emotions (MEAD's usual test set), so that content and
            emotion are confounded; or truth where there is none.
    """
    random = np.random.default_rng([config.seed, 11])
    clip_pairs = _draw_pairs(features, config.pairs, random)
    clip_pairs |= _own_pairs(features.store.clips, config.pairs, random)
    align = _build_aligner(features, config.alignment)

    rows = []
    for a, b in sorted(clip_pairs):
        aligned, quality = align(a, b) if a != b else _align_with_itself(features, a)
        is_good = aligned is not None and not quality > MAX_PATH_COST
        rows.append({"a": a, "b": b, "quality": quality, "kept": is_good, "aligned": aligned})

    return pd.DataFrame(rows)


def _draw_pairs(
    features: Features, count: int, random: np.random.Generator
) -> set[tuple[int, int]]:
    """Draw pairs of clips of one sentence in two emotions; half of the draws may mix speakers."""
    clips = features.store.clips
    sentences = _sentences_in_two_emotions(clips)
    if not sentences:
        raise InputError(
            f"{features.store.path}: no sentence is said in two emotions, so content and emotion "
            "cannot be told apart; take sentences common to several emotions"
        )

    pairs: set[tuple[int, int]] = set()
    for draw in range(count * DRAWS_PER_PAIR):
        sentence = sentences[random.integers(len(sentences))]
        first, second = random.choice(sentence, 2, replace=False)
        a, b = int(first), int(second)
        same_speaker = clips.speaker[a] == clips.speaker[b]
        mixes_speakers = draw % 2 == 1
        if clips.emotion[a] != clips.emotion[b] and (same_speaker or mixes_speakers):
            pairs.add((a, b))
        if len(pairs) == count:
            break

    return pairs


def _own_pairs(
    clips: pd.DataFrame, count: int, random: np.random.Generator
) -> set[tuple[int, int]]:
    """Pair clips of `OPEN_CORPUS` whose sentence nobody says in another emotion with themselves."""
    has_partner = np.zeros(len(clips), bool)
    for numbers in _sentences_in_two_emotions(clips):
        has_partner[numbers] = True

    is_open = (clips["corpus"] == OPEN_CORPUS).to_numpy()
    alone = np.flatnonzero(is_open & ~has_partner)
    if len(alone) > count:
        alone = random.choice(alone, count, replace=False)
    return {(int(clip), int(clip)) for clip in alone}


def _align_with_itself(features: Features, clip: int) -> Alignment:
    """Every frame of a clip with itself, at no cost."""
    num_frames = features.store.clips["num_frames"].iloc[clip]
    return np.arange(num_frames, dtype=float), 0.0


def _sentences_in_two_emotions(clips: pd.DataFrame) -> list[np.ndarray]:
    """For each sentence that is said in two emotions, the numbers of its labelled clips."""
    labelled = clips[clips["emotion"] != UNLABELLED]
    sentences = []
    for _, group in labelled.groupby("sentence"):
        if group["emotion"].nunique() > 1:
            sentences.append(group.index.to_numpy())
    return sentences


def _build_aligner(features: Features, alignment: str) -> Aligner:
    """The function that aligns two clips, given by their numbers."""
    if alignment == "linear":
        return _LinearAligner(features)
    if alignment == "truth":
        return _PhoneAligner(features)
    if alignment == "mfcc":
        return _CepstraAligner(features)
    return _PriorAligner(features)


class _LinearAligner:
    """A straight line from the first frame to the last."""

    def __init__(self, features: Features):
        self.lengths = features.store.clips["num_frames"].to_numpy()

    def __call__(self, a: int, b: int) -> Alignment:
        return linear_alignment(self.lengths[a], self.lengths[b]), float("nan")


class _PhoneAligner:
    """Phone times, where a corpus knows them."""

    def __init__(self, features: Features):
        self.store = features.store
        if "phoneme" not in self.store.truth:
            raise InputError(
                f"{self.store.path}: alignment=truth needs phone times, which only a generated "
                "corpus has"
            )
        self.phonemes = np.asarray(self.store.truth["phoneme"][:])

    def __call__(self, a: int, b: int) -> Alignment:
        phonemes_a = self.phonemes[self.store.frames(a)]
        phonemes_b = self.phonemes[self.store.frames(b)]
        return phone_alignment(phonemes_a, phonemes_b), float("nan")


class _CepstraAligner:
    """DTW on mel-frequency cepstra, which are computed once per clip."""

    def __init__(self, features: Features):
        self.store = features.store
        self.lengths = self.store.clips["num_frames"].to_numpy()
        self.rates = self.store.clips["frame_rate"].to_numpy()
        self.cepstra: dict[int, np.ndarray] = {}

    def __call__(self, a: int, b: int) -> Alignment:
        aligned, _ = dtw_alignment(self._cepstra_of(a), self._cepstra_of(b))
        return aligned, float("nan")

    def _cepstra_of(self, clip: int) -> np.ndarray:
        if clip not in self.cepstra:
            sound = self.store.sound(clip)
            length = int(self.lengths[clip])
            rate = float(self.rates[clip])
            self.cepstra[clip] = cepstra(sound, length, rate).numpy()

        return self.cepstra[clip]


class _PriorAligner:
    """DTW on the audio prior."""

    def __init__(self, features: Features):
        self.features = features

    def __call__(self, a: int, b: int) -> Alignment:
        return dtw_alignment(self._audio_of(a), self._audio_of(b))

    def _audio_of(self, clip: int) -> np.ndarray:
        frames = self.features.store.frames(clip)
        return np.asarray(self.features.audio[frames], np.float32)


class PairSampler:
    """Draws P aligned pairs of clips and S moments of each.

    Args:
        features: of the training store.
        pairs: of `find_pairs`.
        config: batch size, window, augmentation, thresholds.
        shuffled: control; the positive is drawn at random from the candidates, and so is the sound
            that belongs to an image.

    Attributes:
        speakers: names, in the order of the speaker labels.

    Raises:
        InputError: fewer than two pairs could be aligned.
    """

    def __init__(
        self, features: Features, pairs: pd.DataFrame, config: ContentConfig, shuffled: bool = False
    ):
        self.features = features
        self.config = config
        self.shuffled = shuffled
        self.pairs = pairs[pairs.kept].reset_index(drop=True)
        if len(self.pairs) < 2:
            raise InputError(
                f"{features.store.path}: {len(self.pairs)} of {len(pairs)} pairs could be aligned; "
                "at least 2 are needed"
            )

        clips = features.store.clips
        self.starts = clips["start"].to_numpy()
        self.lengths = clips["num_frames"].to_numpy()
        self.emotion = clips["emotion"].map(label_index).to_numpy()
        self.speakers = sorted(set(clips["speaker"]))
        speaker_index = {name: index for index, name in enumerate(self.speakers)}
        self.speaker = clips["speaker"].map(speaker_index).to_numpy()
        self.means = {
            "face": torch.from_numpy(features.clip_means("face")),
            "mouth": torch.from_numpy(features.clip_means("mouth")),
        }

    def __call__(self, random: np.random.Generator) -> Batch:
        """Draw a batch; the first axis counts the two clips of a pair, each the anchor in turn.

        Args:
            random: source of the random numbers.

        Returns:
            face, mouth, audio: (2, P, S, T, D) windows around the moments.
            valid: (2, P, S, 2 S) bool, the positive and the negatives among the candidates, which
            are the S moments of the other clip, then the S moments of the anchor's own clip.
            positive: (2, P, S) int64, which candidate is the positive.
            image_positive: (P, S) int64, which of three images goes with the sound.
            emotion, speaker: (2, P) int64 labels; `NO_LABEL` for a clip that nobody labelled.
        """
        pairs = self._draw_pairs(random)
        moments = self._draw_moments(pairs, random)
        clips = np.array([pairs["a"], pairs["b"]])  # (2, P)
        face, mouth, audio = self._draw_windows(clips, moments, random)

        middle = self.config.window // 2
        valid = self._valid_candidates(moments, audio[0, :, :, middle])
        _, batch, count = moments.shape
        positive = torch.arange(count).expand(2, batch, -1)
        image_positive = torch.zeros(batch, count, dtype=torch.long)
        if self.shuffled:
            positive = _draw_positives(valid, random)
            image_positive = _draw_image_positives(batch, count, random)
            audio = _shuffle_moments(audio, random)

        return {
            "face": self._swap_means(face, "face", clips, random),
            "mouth": self._swap_means(mouth, "mouth", clips, random),
            "audio": audio,
            "valid": valid,
            "positive": positive,
            "image_positive": image_positive,
            "emotion": torch.from_numpy(self.emotion[clips]),
            "speaker": torch.from_numpy(self.speaker[clips]),
        }

    def _draw_pairs(self, random: np.random.Generator) -> pd.DataFrame:
        batch = self.config.batch
        too_few = len(self.pairs) < batch
        rows = random.choice(len(self.pairs), batch, replace=too_few)
        return self.pairs.iloc[rows]

    def _draw_moments(self, pairs: pd.DataFrame, random: np.random.Generator) -> np.ndarray:
        """(2, P, S): S frames of the first clip, in order, and the same moments in the second."""
        moments_a = []
        moments_b = []
        count = self.config.moments
        for aligned, clip_b in zip(pairs["aligned"], pairs["b"], strict=True):
            too_few = len(aligned) < count
            frames_a = random.choice(len(aligned), count, replace=too_few)
            frames_a = np.sort(frames_a)
            moments_a.append(frames_a)

            frames_b = np.asarray(aligned)[frames_a]
            frames_b = np.round(frames_b).astype(int)
            last_frame = self.lengths[clip_b] - 1
            moments_b.append(np.clip(frames_b, 0, last_frame))

        return np.array([moments_a, moments_b])

    def _draw_windows(
        self, clips: np.ndarray, moments: np.ndarray, random: np.random.Generator
    ) -> list[torch.Tensor]:
        """Face, mouth and audio windows (2, P, S, T, D); a share of the clips has short windows."""
        window = self.config.window
        is_short = random.random(clips.shape) < self.config.short_window_prob
        reach = np.where(is_short, SHORT_WINDOW_REACH, window)

        clip_starts = self.starts[clips]
        rows = clip_starts[..., None] + moments
        kinds = ("face", "mouth", "audio")
        return self.features.windows(rows, kinds, window, reach[..., None])

    def _valid_candidates(self, moments: np.ndarray, audio: torch.Tensor) -> torch.Tensor:
        """Mark the positives and the negatives among the candidates.

        A moment is no negative where it is near in time in either clip, or sounds the same (a false
        negative).

        Args:
            moments: (2, P, S) frames.
            audio: (P, S, A) audio prior of the moments of the first clip.

        Returns:
            (2, P, S, 2 S) bool.
        """
        distance = np.abs(moments[..., :, None] - moments[..., None, :])
        is_near = distance <= self.config.temporal_exclusion  # (2, P, S, S)
        near_in_either = torch.from_numpy(is_near[0] | is_near[1])

        unit = F.normalize(audio, dim=-1)
        cosine = unit @ unit.transpose(1, 2)
        sounds_alike = cosine > self.config.false_negative_cosine
        negative = ~(near_in_either | sounds_alike)
        negative = negative.expand(2, -1, -1, -1)

        same_moment = torch.eye(moments.shape[2], dtype=torch.bool)
        same_moment = same_moment.expand_as(negative)
        in_other_clip = negative | same_moment
        in_own_clip = torch.zeros_like(negative)
        if self.config.negatives == "two":
            in_own_clip = negative & ~same_moment
        return torch.cat([in_other_clip, in_own_clip], 3)

    def _swap_means(
        self, windows: torch.Tensor, kind: str, clips: np.ndarray, random: np.random.Generator
    ) -> torch.Tensor:
        """Exchange the mean feature of a share of the clips for that of another clip.

        The mean holds the lasting look of a clip; its movement stays as it is.
        """
        others = random.integers(0, len(self.starts), clips.shape)
        is_swapped = random.random(clips.shape) < self.config.mean_swap_prob
        factor = torch.from_numpy(is_swapped).float()

        means = self.means[kind]
        difference = means[others] - means[clips]  # (2, P, D)
        change = difference * factor[..., None]
        return windows + change[:, :, None, None]


def _draw_positives(valid: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """(2, P, S): one of the valid candidates (2, P, S, 2 S) for each anchor, at random."""
    ranks = torch.from_numpy(random.random(valid.shape, dtype=np.float32))
    return ranks.masked_fill(~valid, -1).argmax(3)


def _draw_image_positives(batch: int, count: int, random: np.random.Generator) -> torch.Tensor:
    """(P, S): which image is called the positive, at random."""
    return torch.from_numpy(random.integers(0, IMAGE_CANDIDATES, (batch, count)))


def _shuffle_moments(audio: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """Exchange the sounds (2, P, S, T, A) of all moments at random.

    Within a clip would not do: the sounds of a clip tell its sentence.
    """
    flat = audio.flatten(0, 2)
    order = torch.from_numpy(random.permutation(len(flat)))
    return flat[order].view_as(audio)


def chance_loss(
    sampler: PairSampler, loss: Callable[..., torch.Tensor] = info_nce, batches: int = 20
) -> float:
    """The contrastive term of a constant encoder; of InfoNCE the mean log number of candidates.

    Args:
        sampler: of the training.
        loss: the contrastive loss, called as `info_nce`, (B,) values.
        batches: how many batches to average over.

    Returns:
        Nats, or the unit of the loss.
    """
    size = sampler.config.embedding
    constant = torch.full((size,), size**-0.5)

    losses = []
    for number in range(batches):
        batch = sampler(np.random.default_rng([sampler.config.seed, number]))
        valid = batch["valid"].flatten(0, 2)
        anchor = constant.expand(len(valid), -1)
        candidates = constant.expand(*valid.shape, -1)
        positive = batch["positive"].flatten()
        values = loss(anchor, candidates, positive, sampler.config.temperature, valid)
        losses.append(float(values.mean()))

    return float(np.mean(losses))
