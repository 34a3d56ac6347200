"""Retrieval and image swap on any corpus: moments are matched by the true phones, else by DTW on the audio prior."""

from functools import cached_property

import numpy as np

from cdrl.core.errors import InputError
from cdrl.corpora.time_warp import warp
from cdrl.evaluation import retrieval, swap
from cdrl.evaluation.retrieval import unit_rows
from cdrl.priors.features import Features
from cdrl.representation.pairs import WORST

ALIKE = 0.95  # cosine of the audio prior from which two moments sound alike, as `content.false_negative_cosine`


class Speech:
    """The two measures of one reporting store, under names that say how moments were matched.

    Args:
        features: of the store. corpus: `leakage.Corpus` of it. config: `ProbeConfig`.

    Attributes:
        dtw: whether there are no true phones: scores are then called `retrieval_dtw_r1` and `swap_image_dtw`. A moment that DTW
            misplaces costs every code the same, so that they compare with each other and not with the studio's.
        left_out: why a measure could not be taken, one line each.
    """

    def __init__(self, features: Features, corpus, config):
        self.features, self.corpus, self.config = features, corpus, config
        self.dtw = "phoneme" not in corpus.frames
        self.moments_of, self.sounds_alike = matching(features) if self.dtw else (None, None)
        sentences = corpus.clips.groupby(["speaker", "emotion"])["sentence"].nunique()
        self.gallery = min(config.gallery, int(sentences.max())) if self.dtw else config.gallery
        self.left_out = []

    def rows(self, prefix: str, embed) -> dict:
        """Both measures of `embed`, (image frames, audio frames) -> (n, D), as far as the corpus allows.

        Returns:
            `PREFIX.retrieval_r1` and `PREFIX.swap_image`, with DTW as `PREFIX.retrieval_dtw_r1` and `PREFIX.swap_image_dtw`.
        """
        everything, found = np.arange(len(self.features.store)), {}
        calls = {
            "retrieval_dtw_r1" if self.dtw else "retrieval_r1": lambda: self._retrieval(
                embed(everything, everything)
            ),
            "swap_image_dtw" if self.dtw else "swap_image": lambda: swap.swap_image(
                embed, self._triples, self.config.seed
            ),
        }
        for name, call in calls.items():
            try:
                found[f"{prefix}.{name}"] = call()
            except InputError as error:
                self.left_out.append(f"left out {name}: {error}")
        return found

    def _retrieval(self, code: np.ndarray) -> dict:
        clips, frames = self.corpus.clips, self.corpus.frames
        return retrieval.retrieval_r1(
            code,
            clips,
            frames,
            num_sentences=self.gallery,
            seed=self.config.seed,
            moments_of=self.moments_of,
        )

    @cached_property
    def _triples(self) -> swap.Triples:
        given = self.corpus.clips, self.corpus.frames, self.config.swaps, self.config.seed
        return swap.draw_triples(*given, self.moments_of, self.sounds_alike)


def matching(features: Features) -> tuple:
    """How moments are matched and which sound alike where no phones are known.

    Returns:
        (clip, clip) -> (T,) moments by DTW on the audio prior, or None for a path as bad as of another sentence; and
        (frames, frame) -> bool.
    """
    store, paths = features.store, {}

    def moments(one: int, two: int) -> np.ndarray | None:
        if (one, two) not in paths:
            aligned, quality = warp(
                *(np.asarray(features.audio[store.frames(clip)], np.float32) for clip in (one, two))
            )
            paths[one, two] = None if quality > WORST else aligned
        return paths[one, two]

    def alike(some: np.ndarray, one: int) -> np.ndarray:
        heard = unit_rows(np.asarray(features.audio[some], np.float32))
        return heard @ unit_rows(np.asarray(features.audio[one], np.float32)) > ALIKE

    return moments, alike
