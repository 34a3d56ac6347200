"""Does an embedding find the same moment of speech in another person with another emotion?"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.corpora.dtw import label_runs, phone_alignment
from cdrl.evaluation.estimate import Estimate, estimate_score, mean_statistics

# Similarities closer than this are a tie, and a tie is worth its expected hit: a constant code must
# score chance.
TIE = 1e-6
COLUMNS = 64  # that are standardised at once

# (clip, clip) -> (T,) moments of the second at which the first's frames are said; None where the
# two cannot be aligned.
Alignment = Callable[[int, int], np.ndarray | None]
# Clips of one speaker and emotion: sentence -> numbers of the clips.
Takes = dict[Hashable, list[int]]


def standardise(features: np.ndarray) -> np.ndarray:
    """(N, D) with mean 0 and std 1 per column: what cosine needs of raw features and of actions.

    Embeddings are compared as they are: cosine is what their training and their use compare.
    """
    features = np.asarray(features)
    standardised = np.empty(features.shape, np.float32)
    # Some columns at a time: in double precision all of them would take a gigabyte.
    for start in range(0, features.shape[1], COLUMNS):
        columns = slice(start, start + COLUMNS)
        values = features[:, columns].astype(np.float64)
        std = np.maximum(values.std(0), 1e-9)
        standardised[:, columns] = (values - values.mean(0)) / std

    return standardised


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Rows of (..., D) at unit length, float64; rows of zeros stay zero."""
    features = np.asarray(features, np.float64)
    lengths = np.linalg.norm(features, axis=-1, keepdims=True)
    return features / np.maximum(lengths, 1e-12)


def clip_starts(frames: pd.DataFrame) -> np.ndarray:
    """(C + 1,) first frame of each clip, and the end; frames: column clip, clip by clip."""
    clip = frames["clip"].to_numpy()
    num_clips = clip[-1] + 1
    return np.searchsorted(clip, np.arange(num_clips + 1))


def align_by_phones(frames: pd.DataFrame) -> Alignment:
    """Alignment of any two clips by their true phones; frames: clip, phoneme, clip by clip."""
    starts = clip_starts(frames)
    phonemes = frames["phoneme"].to_numpy()

    def align(first: int, second: int) -> np.ndarray | None:
        first_phonemes = phonemes[starts[first] : starts[first + 1]]
        second_phonemes = phonemes[starts[second] : starts[second + 1]]
        return phone_alignment(first_phonemes, second_phonemes)

    return align


def draw_galleries(
    clips: pd.DataFrame, num_queries: int, num_sentences: int, seed: int
) -> list[tuple[int, list[int]]]:
    """Draw query clips, each with a gallery of one other speaker in one other emotion.

    Args:
        clips: speaker, sentence, emotion.
        num_queries: how many query clips, each drawn at random.
        num_sentences: how many sentences, and clips, a gallery has.
        seed: of the draws.

    Returns:
        Up to `num_queries` of (query clip, [clip of the same sentence, clips of other sentences
        ...]).
    """
    random = np.random.default_rng([seed, 7101])
    usable = np.flatnonzero(clips["emotion"].isin(SCORED_EMOTIONS).to_numpy())

    speakers = clips["speaker"].to_numpy()
    emotions = clips["emotion"].to_numpy()
    sentences = clips["sentence"].to_numpy()

    takes_of: dict[tuple[Hashable, Hashable], Takes] = {}
    for clip in usable:
        takes = takes_of.setdefault((speakers[clip], emotions[clip]), {})
        takes.setdefault(sentences[clip], []).append(int(clip))

    large = [key for key, takes in takes_of.items() if len(takes) >= num_sentences]
    large.sort(key=str)

    if not large:
        return []

    galleries = []
    for query in random.choice(usable, num_queries):
        sentence = sentences[query]
        candidates = []
        for speaker, emotion in large:
            differs = speaker != speakers[query] and emotion != emotions[query]
            if differs and sentence in takes_of[speaker, emotion]:
                candidates.append((speaker, emotion))
        if not candidates:
            continue

        takes = takes_of[candidates[random.integers(len(candidates))]]
        others = sorted((name for name in takes if name != sentence), key=str)
        drawn = random.permutation(np.array(others))[: num_sentences - 1]
        gallery = []
        for name in [sentence, *drawn]:
            clips_of_sentence = takes[name]
            gallery.append(clips_of_sentence[random.integers(len(clips_of_sentence))])
        galleries.append((int(query), gallery))

    return galleries


def frame_hits(
    queries: np.ndarray, gallery: np.ndarray, moments: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the nearest frame of a gallery lies within one frame of the aligned moment.

    Args:
        queries: (n, D) unit rows.
        gallery: (S, D) unit rows.
        moments: (n,) float, the aligned moment of each query, in frames of the clip that comes
            first in the gallery.
        length: frames of that clip.

    Returns:
        (n,) hits, 0 to 1: of several nearest frames the share that lies there; and (n,) what a
        frame drawn at random scores.
    """
    similarity = queries @ gallery.T
    highest = similarity.max(1, keepdims=True)
    is_nearest = similarity >= highest - TIE

    distance = np.abs(np.arange(len(gallery)) - np.round(moments)[:, None])
    is_hit = distance <= 1
    is_hit[:, length:] = False

    hits = (is_nearest & is_hit).sum(1) / is_nearest.sum(1)

    return hits, is_hit.mean(1)


@dataclass(frozen=True)
class _Retrieval:
    """The frames of one query clip searched in one gallery.

    hits: (n,) 0 to 1. chance: (n,). size: frames of the gallery. is_exact: both clips have the same
    phones.
    """

    hits: np.ndarray
    chance: np.ndarray
    size: int
    is_exact: bool


def retrieval_r1(
    features: np.ndarray,
    clips: pd.DataFrame,
    frames: pd.DataFrame,
    num_queries: int = 400,
    per_query: int = 10,
    num_sentences: int = 5,
    seed: int = 0,
    moments_of: Alignment | None = None,
) -> Estimate:
    """Recall at 1 of the aligned moment across speakers and emotions.

    A query frame of one speaker and emotion; the gallery is every frame of five sentences (the
    query's among them) of ONE other speaker in ONE other emotion; a hit is a nearest frame, by
    cosine, within one frame of the aligned moment.

    Args:
        features: (N, D) per frame (an embedding as it is; raw features and actions through
            `standardise`).
        clips: speaker, sentence, emotion.
        frames: clip, phoneme, one row a frame, clip by clip.
        num_queries: query clips.
        per_query: frames drawn from each.
        num_sentences: sentences in a gallery.
        seed: of the draws.
        moments_of: alignment of two clips, where `frames` has no phonemes. Default: by the true
            phones.

    Returns:
        With chance (frames that would hit / gallery size, mean over queries), interval over query
        speakers, n, gallery (mean size in frames), inexact (share of pairs whose phones differ),
        skipped (pairs without alignment). A constant code scores exactly its chance; true speech
        actions 1 where every moment of speech is unlike others.

    Raises:
        InputError: where no gallery can be drawn.
    """
    random = np.random.default_rng([seed, 7102])
    search = _Search(np.asarray(features), frames, moments_of)
    galleries = draw_galleries(clips, num_queries, num_sentences, seed)

    retrievals = []
    speakers: list[Hashable] = []
    for query, gallery in galleries:
        retrieval = search.retrieve(query, gallery, per_query, random)
        if retrieval is not None:
            retrievals.append(retrieval)
            speakers += [clips["speaker"].iloc[query]] * len(retrieval.hits)

    num_skipped = len(galleries) - len(retrievals)

    if not retrievals:
        raise InputError(
            f"no gallery of {num_sentences} sentences by another speaker in another emotion among "
            f"{len(clips)} clips ({num_skipped} pairs without alignment)"
        )

    hits = np.concatenate([retrieval.hits for retrieval in retrievals])
    chance = np.concatenate([retrieval.chance for retrieval in retrievals])
    sizes = [retrieval.size for retrieval in retrievals]

    estimate = estimate_score(
        mean_statistics(hits), np.array(speakers), chance=float(np.mean(chance))
    )
    estimate = estimate.with_details(gallery=float(np.mean(sizes)), skipped=num_skipped)

    if moments_of is not None:
        return estimate

    num_inexact = sum(not retrieval.is_exact for retrieval in retrievals)

    return estimate.with_details(inexact=num_inexact / len(galleries))


class _Search:
    """Query frames searched in galleries.

    Args:
        embedding: (N, D).
        frames: clip, phoneme, one row a frame.
        moments_of: alignment of two clips; by the true phones where None.
    """

    def __init__(
        self, embedding: np.ndarray, frames: pd.DataFrame, moments_of: Alignment | None
    ) -> None:
        self.embedding = embedding
        self.starts = clip_starts(frames)
        self.align = moments_of or align_by_phones(frames)
        self.phonemes = None if moments_of else frames["phoneme"].to_numpy()

    def rows(self, clip: int) -> slice:
        """The rows of the frames of a clip."""
        return slice(self.starts[clip], self.starts[clip + 1])

    def retrieve(
        self, query: int, gallery: list[int], per_query: int, random: np.random.Generator
    ) -> _Retrieval | None:
        """Search randomly drawn frames of a clip; None where the clips cannot be aligned."""
        target = gallery[0]
        moments = self.align(query, target)

        if moments is None:
            return None

        query_embedding = self._unit_rows(query)
        chosen = random.permutation(np.arange(len(query_embedding)))[:per_query]
        # The target clip comes first, so positions in it are positions in the gallery.
        gallery_embedding = np.concatenate([self._unit_rows(clip) for clip in gallery])
        target_length = self.starts[target + 1] - self.starts[target]

        hits, chance = frame_hits(
            query_embedding[chosen], gallery_embedding, moments[chosen], target_length
        )
        is_exact = self._have_same_phones(query, target)

        return _Retrieval(hits, chance, len(gallery_embedding), is_exact)

    def _unit_rows(self, clip: int) -> np.ndarray:
        """(T, D) the embedding of a clip at unit length; of all clips it would be too large."""
        return unit_rows(self.embedding[self.rows(clip)])

    def _have_same_phones(self, first: int, second: int) -> bool:
        if self.phonemes is None:
            return True

        first_phones, _ = label_runs(self.phonemes[self.rows(first)])
        second_phones, _ = label_runs(self.phonemes[self.rows(second)])

        return np.array_equal(first_phones, second_phones)
