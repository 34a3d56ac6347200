"""Retrieval and image swap on any corpus: moments are matched by true phones, else by DTW."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from cdrl.core.errors import InputError
from cdrl.core.settings import ProbeConfig
from cdrl.corpora.dtw import dtw_alignment
from cdrl.evaluation import retrieval, swap
from cdrl.evaluation.estimate import Estimate
from cdrl.evaluation.leakage import ProbeCorpus
from cdrl.evaluation.retrieval import unit_rows
from cdrl.evaluation.swap import Embed
from cdrl.priors.features import Features
from cdrl.representation.pairs import MAX_PATH_COST

# Cosine of the audio prior above which two moments sound alike, as `content.false_negative_cosine`.
SOUND_ALIKE = 0.95

# (clip, clip) -> (T,) moments of the second at which the first's frames are said, or None.
Moments = Callable[[int, int], np.ndarray | None]
# ((n,) frames, frame) -> (n,) bool, which of the frames sound like the one.
SoundsAlike = Callable[[np.ndarray, int], np.ndarray]


class SpeechScores:
    """Retrieval and image swap of one reporting store, under names that say how moments match.

    Args:
        features: of the store.
        corpus: the probe corpus of the store.
        config: the stage's settings.

    Attributes:
        uses_dtw: whether true phones are unknown. Scores are then called `retrieval_dtw_r1` and
            `swap_image_dtw`. A moment that DTW misplaces costs every code the same, so these scores
            compare with each other, not with those of the studio.
        left_out: why a score could not be computed, one line each.
    """

    def __init__(self, features: Features, corpus: ProbeCorpus, config: ProbeConfig) -> None:
        self.features = features
        self.corpus = corpus

        self.config = config
        self.left_out: list[str] = []

        self.uses_dtw = uses_dtw(corpus)
        self.gallery = config.gallery

        self.moments_of: Moments | None = None
        self.sounds_alike: SoundsAlike | None = None
        if self.uses_dtw:
            sentences = corpus.clips.groupby(["speaker", "emotion"])["sentence"].nunique()
            self.gallery = min(config.gallery, int(sentences.max()))
            self.moments_of, self.sounds_alike = match_by_audio(features)

    def estimate(self, prefix: str, embed: Embed) -> dict[str, Estimate]:
        """Score an embedding as far as the corpus allows.

        Args:
            prefix: of the score names.
            embed: ((n,) image frames, (n,) audio frames) -> (n, D).

        Returns:
            `PREFIX.retrieval_r1` and `PREFIX.swap_image`; with DTW `PREFIX.retrieval_dtw_r1` and
            `PREFIX.swap_image_dtw`.
        """
        estimates = {}
        retrieval_name = "retrieval_dtw_r1" if self.uses_dtw else "retrieval_r1"
        try:
            estimates[f"{prefix}.{retrieval_name}"] = self._retrieval(embed)
        except InputError as error:
            self.left_out.append(f"left out {retrieval_name}: {error}")

        swap_name = "swap_image_dtw" if self.uses_dtw else "swap_image"

        try:
            image_swap = swap.swap_image(embed, self._triples)
            estimates[f"{prefix}.{swap_name}"] = image_swap
        except InputError as error:
            self.left_out.append(f"left out {swap_name}: {error}")

        return estimates

    def _retrieval(self, embed: Embed) -> Estimate:
        all_frames = np.arange(len(self.features.store))
        return retrieval.retrieval_r1(
            embed(all_frames, all_frames),
            self.corpus.clips,
            self.corpus.frames,
            num_sentences=self.gallery,
            seed=self.config.seed,
            moments_of=self.moments_of,
        )

    @cached_property
    def _triples(self) -> swap.Triples:
        return swap.draw_triples(
            self.corpus.clips,
            self.corpus.frames,
            self.config.swaps,
            self.config.seed,
            self.moments_of,
            self.sounds_alike,
        )


def uses_dtw(corpus: ProbeCorpus) -> bool:
    """Whether moments are matched by DTW, since no phones are known.

    Args:
        corpus: of the reporting store.
    """
    return "phoneme" not in corpus.frames


def match_by_audio(features: Features) -> tuple[Moments, SoundsAlike]:
    """Match moments by the audio prior where no phones are known.

    Args:
        features: of a store.

    Returns:
        (clip, clip) -> (T,) moments by DTW, None for a path as bad as one between two sentences;
        and (frames, frame) -> bool, which frames sound alike.
    """
    store = features.store
    paths: dict[tuple[int, int], np.ndarray | None] = {}

    def audio(rows: Any) -> np.ndarray:
        return np.asarray(features.audio[rows], np.float32)

    def moments(first: int, second: int) -> np.ndarray | None:
        if (first, second) not in paths:
            first_audio = audio(store.frames(first))
            second_audio = audio(store.frames(second))
            path, cost = dtw_alignment(first_audio, second_audio)
            paths[first, second] = None if cost > MAX_PATH_COST else path

        return paths[first, second]

    def sounds_alike(frames: np.ndarray, frame: int) -> np.ndarray:
        reference = unit_rows(audio(frame))
        return unit_rows(audio(frames)) @ reference > SOUND_ALIKE

    return moments, sounds_alike


def look_up(code: np.ndarray) -> swap.Embed:
    """Return an embedding function that reads an (N, D) code of all frames, whatever the audio.

    Args:
        code: (N, D).
    """

    def embed(image_frames: np.ndarray, audio_frames: np.ndarray) -> np.ndarray:
        return code[image_frames]

    return embed
