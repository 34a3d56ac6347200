"""Which moments of which clips CCRL compares: pairs of clips that say the same, aligned, and batches drawn from them."""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from cdrl.core.errors import InputError
from cdrl.core.settings import ContentConfig
from cdrl.core.vocabulary import emotion_index
from cdrl.corpora.dtw import dtw_alignment, linear_alignment, phone_alignment
from cdrl.priors.audio import cepstra
from cdrl.priors.features import Features

MAX_PATH_COST = 0.5  # a pair whose path costs more (cosine distance) is rejected: probably not the same sentence
HELD = 2  # frames on each side that a short window has, as in a generator's training


def find_pairs(features: Features, config: ContentConfig) -> pd.DataFrame:
    """Pair clips of the same sentence in different emotions, by one speaker or by two, and align them.

    Args:
        features: with the audio prior of every frame.
        config: `pairs` is how many to draw; `alignment` one of
            prior (DTW on the audio prior), mfcc (DTW on cepstra, no learnt prior), linear (a linear time warp, no sound at all),
            truth (phone times: only where a corpus has them, an upper bound and no method).

    Returns:
        One row per pair: a, b (clip numbers), quality (mean cosine distance of the path; nan where there is no path), kept,
        aligned ((T_a,) float).

    Raises:
        InputError: where no sentence is said in two emotions (MEAD's usual test set): content and emotion are confounded; or
            truth is asked for where there is none.
    """
    clips, random = features.store.clips, np.random.default_rng([config.seed, 11])
    groups = [
        g.index.to_numpy() for _, g in clips.groupby("sentence") if g["emotion"].nunique() > 1
    ]
    if not groups:
        raise InputError(
            f"{features.store.path}: no sentence is said in two emotions, so content and emotion cannot be told apart; "
            "take sentences common to several emotions"
        )
    drawn = set()
    for k in range(config.pairs * 4):
        a, b = (
            int(x) for x in random.choice(groups[random.integers(len(groups))], 2, replace=False)
        )
        same = clips.speaker[a] == clips.speaker[b]
        if clips.emotion[a] != clips.emotion[b] and (same or k % 2):
            drawn.add((a, b))
        if len(drawn) == config.pairs:
            break
    align = _aligner(features, config.alignment)
    rows = []
    for a, b in sorted(drawn):
        aligned, quality = align(a, b)
        kept = aligned is not None and not quality > MAX_PATH_COST
        rows.append({"a": a, "b": b, "quality": quality, "kept": kept, "aligned": aligned})
    return pd.DataFrame(rows)


def _aligner(features: Features, alignment: str):
    """(clip, clip) -> alignment and quality, of one kind."""
    store = features.store
    counts = store.clips["num_frames"].to_numpy()
    if alignment == "linear":
        return lambda a, b: (linear_alignment(counts[a], counts[b]), float("nan"))
    if alignment == "truth":
        if "phoneme" not in store.truth:
            raise InputError(
                f"{store.path}: alignment=truth needs phone times, which only a generated corpus has"
            )
        said = np.asarray(store.truth["phoneme"][:])
        return lambda a, b: (
            phone_alignment(*(said[store.frames(c)] for c in (a, b))),
            float("nan"),
        )
    if alignment == "mfcc":
        rates = store.clips["frame_rate"].to_numpy()
        sound = {}

        def heard(clip):
            if clip not in sound:
                sound[clip] = cepstra(
                    store.sound(clip), int(counts[clip]), float(rates[clip])
                ).numpy()
            return sound[clip]

        return lambda a, b: (dtw_alignment(heard(a), heard(b))[0], float("nan"))
    return lambda a, b: dtw_alignment(
        *(np.asarray(features.audio[store.frames(c)], np.float32) for c in (a, b))
    )


class PairSampler:
    """Draws batches of aligned moments.

    Args:
        features: of the training store. pairs: from `find_pairs`. config: batch size, window, augmentation, thresholds.
        shuffled: control; which candidate is called the positive, and which sound belongs to an image, is drawn by lot.

    Raises:
        InputError: fewer than two pairs that could be aligned.
    """

    def __init__(
        self, features: Features, pairs: pd.DataFrame, config: ContentConfig, shuffled: bool = False
    ):
        self.features, self.config, self.shuffled = features, config, shuffled
        self.pairs = pairs[pairs.kept].reset_index(drop=True)
        if len(self.pairs) < 2:
            raise InputError(
                f"{features.store.path}: {len(self.pairs)} of {len(pairs)} pairs could be aligned; at least 2 are needed"
            )
        clips = features.store.clips
        self.starts, self.lengths = clips["start"].to_numpy(), clips["num_frames"].to_numpy()
        self.emotion = clips["emotion"].map(emotion_index).to_numpy()
        self.speakers = sorted(set(clips["speaker"]))
        self.speaker = (
            clips["speaker"].map({name: k for k, name in enumerate(self.speakers)}).to_numpy()
        )
        self.means = {
            kind: torch.from_numpy(features.clip_means(kind)) for kind in ("face", "mouth")
        }

    def __call__(self, random: np.random.Generator) -> dict:
        """-> face, mouth, audio (2, P, S, T, D); valid (2, P, S, 2S) bool and positive (2, P, S): the candidates are the S
        moments of the other clip, then those of the own; answer (P, S): which of three images goes with the sound; emotion,
        speaker (2, P) int64."""
        number = self.config.batch
        chosen = self.pairs.iloc[
            random.choice(len(self.pairs), number, replace=len(self.pairs) < number)
        ]
        moments = self._moments(chosen, random)  # (2, P, S)
        clips = np.array([chosen["a"], chosen["b"]])
        reach = np.where(
            random.random(clips.shape) < self.config.short_window_prob, HELD, self.config.window
        )[..., None]
        rows = self.starts[clips][..., None] + moments
        face, mouth, audio = self.features.windows(
            rows, ("face", "mouth", "audio"), self.config.window, reach
        )
        valid = self._valid(moments, audio[0, :, :, self.config.window // 2])
        positive = torch.arange(moments.shape[2]).expand(2, number, -1)
        answer = torch.zeros(number, moments.shape[2], dtype=torch.long)
        if self.shuffled:
            lots = torch.from_numpy(random.random(valid.shape, dtype=np.float32))
            positive = lots.masked_fill(~valid, -1).argmax(3)
            answer = torch.from_numpy(random.integers(0, 3, answer.shape))
            lot = torch.from_numpy(
                random.permutation(2 * number * moments.shape[2])
            )  # over clips too: a clip's own sounds tell its sentence
            audio = audio.flatten(0, 2)[lot].view_as(audio)
        return {
            "face": self._offset(face, "face", clips, random),
            "mouth": self._offset(mouth, "mouth", clips, random),
            "audio": audio,
            "valid": valid,
            "positive": positive,
            "answer": answer,
            "emotion": torch.from_numpy(self.emotion[clips]),
            "speaker": torch.from_numpy(self.speaker[clips]),
        }

    def _moments(self, chosen: pd.DataFrame, random: np.random.Generator) -> np.ndarray:
        """(2, P, S) frames of both clips of each pair, aligned."""
        here, there, wanted = [], [], self.config.moments
        for row in chosen.itertuples():
            moments = np.sort(
                random.choice(len(row.aligned), wanted, replace=len(row.aligned) < wanted)
            )
            partner = np.clip(
                np.round(np.asarray(row.aligned)[moments]).astype(int), 0, self.lengths[row.b] - 1
            )
            here.append(moments)
            there.append(partner)
        return np.array([here, there])

    def _valid(self, moments: np.ndarray, sound: torch.Tensor) -> torch.Tensor:
        """(2, P, S, 2S) bool: the positive, and every moment that is neither near nor sounds alike (false negatives)."""
        near = (
            np.abs(moments[..., :, None] - moments[..., None, :]) <= self.config.temporal_exclusion
        )
        sound = F.normalize(sound, dim=-1)
        apart = ~(
            torch.from_numpy(near[0] | near[1])
            | ((sound @ sound.transpose(1, 2)) > self.config.false_negative_cosine)
        )
        apart = apart.expand(2, -1, -1, -1)
        itself = torch.eye(moments.shape[2], dtype=torch.bool).expand_as(apart)
        own = (apart & ~itself) if self.config.negatives == "two" else torch.zeros_like(apart)
        return torch.cat([apart | itself, own], 3)

    def _offset(
        self, features: torch.Tensor, kind: str, clips: np.ndarray, random: np.random.Generator
    ) -> torch.Tensor:
        """For a share of the clips, the clip's mean feature replaced by another clip's: its lasting look, not its movement."""
        other = random.integers(0, len(self.starts), clips.shape)
        swapped = torch.from_numpy(random.random(clips.shape) < self.config.mean_swap_prob).float()
        change = (self.means[kind][other] - self.means[kind][clips]) * swapped[..., None]
        return features + change[:, :, None, None]


def chance_loss(sampler: PairSampler, batches: int = 20) -> float:
    """What a constant encoder scores on the contrastive term: mean log of the candidates that the masks leave, in nats."""
    drawn = [
        sampler(np.random.default_rng([sampler.config.seed, k]))["valid"] for k in range(batches)
    ]
    return float(np.mean([valid.sum(3).float().log().mean() for valid in drawn]))
