"""Tables of clips and frames, and who fits a probe and who scores it."""

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import SCORED_EMOTIONS


def frame_table(
    clips: pd.DataFrame, viseme: np.ndarray | None = None, phoneme: np.ndarray | None = None
) -> pd.DataFrame:
    """One row per frame: clip (position in `clips`), moment (frame of the clip), the clip's labels, viseme, phoneme.

    Args:
        clips: speaker, sentence, emotion, intensity, num_frames; the frames of clip 0 first, then of clip 1, ...
        viseme, phoneme: (N,) with N = sum of num_frames; None where a corpus has not that truth: no such column then.
    """
    counts = clips["num_frames"].to_numpy()
    truth = {
        name: values
        for name, values in (("viseme", viseme), ("phoneme", phoneme))
        if values is not None
    }
    if viseme is not None and counts.sum() != len(viseme):
        raise ValueError(f"the clips hold {counts.sum()} frames, the labels {len(viseme)}")
    clip = np.repeat(np.arange(len(clips)), counts)
    labels = {
        name: clips[name].to_numpy()[clip]
        for name in ("speaker", "sentence", "emotion", "intensity")
    }
    moment = np.arange(len(clip)) - np.repeat(np.cumsum(counts) - counts, counts)
    return pd.DataFrame({"clip": clip, "moment": moment, **labels, **truth})


def _halves(keys: np.ndarray, first_of: np.ndarray, share_fit: float, rng) -> set:
    """A random share of the distinct keys, drawn evenly within keys that first occur with the same partner."""
    order = pd.DataFrame({"key": keys, "partner": first_of}).groupby("key")["partner"].min()
    chosen = set()
    for _, group in order.groupby(order):
        names = rng.permutation(np.sort(group.index.to_numpy()))
        chosen |= set(names[: max(1, min(len(names) - 1, round(share_fit * len(names))))])
    return chosen


def split_clips(
    clips: pd.DataFrame, factor: str, seed: int = 0, share_fit: float = 0.6
) -> tuple[np.ndarray, np.ndarray]:
    """Which clips fit a probe of `factor` and which score it.

    speaker: same people, sentences disjoint. sentence: same sentences, people disjoint. Every other factor: people AND
    sentences disjoint, taken from the columns `fit` (and `score`, else not `fit`) where `clips` has them, else drawn:
    of a crossed grid the clips that mix a fitting person with a scoring sentence are in neither part; where all say one
    and the same sentence, people alone are apart. Contempt is in none.

    Returns:
        Two (C,) bool.

    Raises:
        InputError: where the given columns share a speaker or a sentence, a part is empty, or emotion and sentence are
            confounded: no sentence is said in two emotions, so each predicts the other and a probe would flatter.
    """
    if (
        factor in ("emotion", "sentence")
        and clips.groupby("sentence")["emotion"].nunique().max() < 2
    ):
        raise InputError(
            f"no split for {factor}: none of {clips['sentence'].nunique()} sentences is said in two emotions, so emotion and "
            "sentence are confounded; take sentences common to several emotions"
        )
    rng = np.random.default_rng([seed, 7004])
    speaker, sentence = clips["speaker"].to_numpy(), clips["sentence"].to_numpy()
    usable = clips["emotion"].isin(SCORED_EMOTIONS).to_numpy()
    if factor in ("speaker", "sentence"):
        same, apart = (speaker, sentence) if factor == "speaker" else (sentence, speaker)
        fit = np.isin(apart, list(_halves(apart[usable], same[usable], 0.5, rng)))
        both = np.isin(same, np.intersect1d(same[fit & usable], same[~fit & usable])) & usable
        fit, score = fit & both, ~fit & both
    elif "fit" in clips:
        fit = clips["fit"].to_numpy(bool) & usable
        score = (
            clips["score"].to_numpy(bool) if "score" in clips else ~clips["fit"].to_numpy(bool)
        ) & usable
        for name, values in (("speaker", speaker), ("sentence", sentence)):
            shared = np.intersect1d(values[fit], values[score])
            if len(shared):
                raise InputError(
                    f"{len(shared)} {name}s are in the fitting AND the scoring part, e.g. {shared[0]}: take them out of one"
                )
    else:
        if (
            factor == "emotion"
        ):  # a sentence of one emotion would give it away, or leave nothing to tell apart
            usable = (
                usable & (clips.groupby("sentence")["emotion"].transform("nunique") > 1).to_numpy()
            )
        people = np.isin(
            speaker, list(_halves(speaker[usable], np.zeros(usable.sum()), share_fit, rng))
        )
        texts = np.isin(
            sentence, list(_halves(sentence[usable], np.zeros(usable.sum()), share_fit, rng))
        )
        if (
            len(np.unique(sentence[usable])) == 1
        ):  # nothing of the sentence can tell the factor then
            fit, score = people & usable, ~people & usable
        else:
            fit, score = people & texts & usable, ~people & ~texts & usable
    if not fit.any() or not score.any():
        raise InputError(
            f"no split for {factor}: {fit.sum()} clips to fit, {score.sum()} to score; take more people"
        )
    return fit, score


def clip_means(features: np.ndarray, clip: np.ndarray, num_clips: int) -> np.ndarray:
    """(N, D) per frame -> (C, D) mean over each clip's frames, float32."""
    starts = np.flatnonzero(np.r_[True, clip[1:] != clip[:-1]])
    if len(starts) != num_clips:
        raise ValueError(
            f"{num_clips} clips, but the frames come in {len(starts)} runs: order the frames clip by clip"
        )
    counts = np.diff(np.r_[starts, len(clip)])
    return (
        np.add.reduceat(np.asarray(features, np.float64), starts, axis=0) / counts[:, None]
    ).astype(np.float32)


def sample_frames(clip: np.ndarray, mask: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Positions of at most `most` frames of the clips that `mask` (C,) selects, drawn at random, in ascending order."""
    rows = np.flatnonzero(mask[clip])
    if len(rows) > most:
        rows = np.sort(np.random.default_rng([seed, 7005]).choice(rows, most, replace=False))
    return rows
