"""Does an embedding find the same moment of speech in another person with another emotion?"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.corpora.dtw import label_runs, phone_alignment
from cdrl.evaluation.estimate import estimate_score, mean_statistics

# Similarities closer than this are a tie, and a tie is worth its expected hit: a constant code must score chance.
TIE = 1e-6


def standardise(features: np.ndarray) -> np.ndarray:
    """(N, D) with mean 0 and deviation 1 per column: what cosine needs of raw features and of coefficients.

    Embeddings are compared as they are: cosine is what their training and their use compare.
    """
    features = np.asarray(features, np.float64)
    return ((features - features.mean(0)) / np.maximum(features.std(0), 1e-9)).astype(np.float32)


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Rows of (..., D) at unit length, float64; rows of zeros stay zero."""
    features = np.asarray(features, np.float64)
    return features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-12)


def clip_starts(frames: pd.DataFrame) -> np.ndarray:
    """(C + 1,) first frame of each clip, and the end."""
    return np.searchsorted(frames["clip"].to_numpy(), np.arange(frames["clip"].iloc[-1] + 2))


def by_phones(frames: pd.DataFrame) -> Callable:
    """(clip, clip) -> alignment by the true phones, as `phone_alignment`."""
    starts, phoneme = clip_starts(frames), frames["phoneme"].to_numpy()
    return lambda one, two: phone_alignment(
        *(phoneme[starts[clip] : starts[clip + 1]] for clip in (one, two))
    )


def draw_galleries(
    clips: pd.DataFrame, num_queries: int, num_sentences: int, seed: int
) -> list[tuple[int, list[int]]]:
    """Query clips, each with a gallery: one other speaker, one other emotion, the query's text first.

    Args:
        clips: speaker, sentence, emotion. num_queries: how many query clips, each drawn at random.

    Returns:
        Up to `num_queries` of (query clip, [clip of the same sentence, clips of other sentences ...]).
    """
    rng = np.random.default_rng([seed, 7101])
    usable = np.flatnonzero(clips["emotion"].isin(SCORED_EMOTIONS).to_numpy())
    speaker, sentence, emotion = (
        clips[name].to_numpy() for name in ("speaker", "sentence", "emotion")
    )
    shelves = {}  # (speaker, emotion) -> {sentence: [clips]}
    for clip in usable:
        shelf = shelves.setdefault((speaker[clip], emotion[clip]), {})
        shelf.setdefault(sentence[clip], []).append(int(clip))
    full = sorted((key for key, shelf in shelves.items() if len(shelf) >= num_sentences), key=str)
    drawn = []
    for query in rng.choice(usable, num_queries) if len(full) else ():
        fitting = [
            key
            for key in full
            if key[0] != speaker[query]
            and key[1] != emotion[query]
            and sentence[query] in shelves[key]
        ]
        if not fitting:
            continue
        shelf = shelves[fitting[rng.integers(len(fitting))]]
        others = rng.permutation(
            sorted((name for name in shelf if name != sentence[query]), key=str)
        )
        chosen = [sentence[query], *others[: num_sentences - 1]]
        drawn.append((int(query), [shelf[name][rng.integers(len(shelf[name]))] for name in chosen]))
    return drawn


def frame_hits(
    queries: np.ndarray, shelf: np.ndarray, moments: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the nearest of a shelf lies within one frame of the aligned moment.

    Args:
        queries: (n, D), shelf: (S, D), unit rows. moments: (n,) float, of each query, in frames of the clip that comes first on the
            shelf and is `length` frames long.

    Returns:
        (n,) hits, 0 to 1: of several nearest the share that lies there; and (n,) what a frame drawn by lot scores.
    """
    likeness = queries @ shelf.T
    best = likeness >= likeness.max(1, keepdims=True) - TIE
    near = np.abs(np.arange(len(shelf)) - np.round(moments)[:, None]) <= 1
    near[:, length:] = False
    return (best & near).sum(1) / best.sum(1), near.mean(1)


def retrieval_r1(
    features: np.ndarray,
    clips: pd.DataFrame,
    frames: pd.DataFrame,
    num_queries: int = 400,
    per_query: int = 10,
    num_sentences: int = 5,
    seed: int = 0,
    include: np.ndarray | None = None,
    moments_of: Callable | None = None,
) -> dict:
    """Recall at 1 of the aligned moment across speakers and emotions.

    A query frame of one speaker and emotion; the gallery is every frame of five sentences (the query's among them) of
    ONE other speaker in ONE other emotion; a hit is a nearest frame, by cosine, within one frame of the aligned moment.

    Args:
        features: (N, D) per frame (embedding as it is; raw features and coefficients through `standardise`).
        clips: speaker, sentence, emotion. frames: clip, phoneme, one row per frame, clip by clip.
        num_queries, per_query: query clips, and frames drawn from each.
        include: (N,) bool, frames that may be queries (all where None).
        moments_of: (clip, clip) -> (T,) moments of the second at which the first's frames are said, or None; where `frames` has
            no phonemes. Default: by the true phones.

    Returns:
        A row: value, chance (frames that would hit / gallery size, mean over queries), low, high over query speakers,
        n, gallery (mean size in frames), inexact (share of pairs whose phones differ), skipped (pairs without
        alignment). A constant code scores exactly its chance; true speech coefficients 1 where every moment of speech
        is unlike others.
    """
    rng = np.random.default_rng([seed, 7102])
    unit, starts = unit_rows(features), clip_starts(frames)
    phoneme = frames["phoneme"].to_numpy() if moments_of is None else np.zeros(len(frames))
    align, speaker = moments_of or by_phones(frames), clips["speaker"].to_numpy()
    credit, chance, who, sizes, inexact, skipped, pairs = [], [], [], [], 0, 0, 0
    for query, gallery in draw_galleries(clips, num_queries, num_sentences, seed):
        own, target = (
            phoneme[starts[query] : starts[query + 1]],
            phoneme[starts[gallery[0]] : starts[gallery[0] + 1]],
        )
        pairs += 1
        moments = align(query, gallery[0])
        if moments is None:
            skipped += 1
            continue
        inexact += not np.array_equal(label_runs(own)[0], label_runs(target)[0])
        allowed = (
            np.arange(len(own))
            if include is None
            else np.flatnonzero(include[starts[query] : starts[query + 1]])
        )
        chosen = rng.permutation(allowed)[:per_query]
        # The target clip comes first, so positions in it are positions in the gallery.
        shelf = np.concatenate([unit[starts[clip] : starts[clip + 1]] for clip in gallery])
        hit, by_chance = frame_hits(
            unit[starts[query] + chosen], shelf, moments[chosen], len(target)
        )
        credit.extend(hit)
        chance.extend(by_chance)
        who.extend([speaker[query]] * len(chosen))
        sizes.append(len(shelf))
    if not credit:
        raise InputError(
            f"no gallery of {num_sentences} sentences by another speaker in another emotion among {len(clips)} clips"
            f" ({skipped} pairs without alignment)"
        )
    return estimate_score(
        mean_statistics(credit),
        np.array(who),
        seed,
        chance=float(np.mean(chance)),
        gallery=float(np.mean(sizes)),
        skipped=skipped,
        **({} if moments_of else {"inexact": inexact / pairs}),
    )
