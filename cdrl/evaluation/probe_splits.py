"""Tables of clips and frames, and which clips fit a probe and which score it."""

from typing import Any

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import SCORED_EMOTIONS

CLIP_LABELS = ("speaker", "sentence", "emotion", "intensity")


def frame_table(
    clips: pd.DataFrame, viseme: np.ndarray | None = None, phoneme: np.ndarray | None = None
) -> pd.DataFrame:
    """One row a frame, with the labels of its clip.

    Args:
        clips: speaker, sentence, emotion, intensity, num_frames; the frames of clip 0 come first,
            then those of clip 1, and so on.
        viseme: (N,) with N = sum of num_frames; None where a corpus does not know it.
        phoneme: (N,) likewise.

    Returns:
        Columns clip (position in `clips`), frame_index (in the clip), the labels of the clip, and
        viseme and phoneme where they are known.

    Raises:
        ValueError: where the labels are not as many as the frames.
    """
    lengths = clips["num_frames"].to_numpy()
    if viseme is not None and lengths.sum() != len(viseme):
        raise ValueError(f"the clips hold {lengths.sum()} frames, the labels {len(viseme)}")

    clip = np.repeat(np.arange(len(clips)), lengths)
    starts = np.cumsum(lengths) - lengths
    frame_index = np.arange(len(clip)) - np.repeat(starts, lengths)
    columns = {"clip": clip, "frame_index": frame_index}

    for name in CLIP_LABELS:
        columns[name] = clips[name].to_numpy()[clip]

    if viseme is not None:
        columns["viseme"] = viseme

    if phoneme is not None:
        columns["phoneme"] = phoneme

    return pd.DataFrame(columns)


def split_clips(
    clips: pd.DataFrame, factor: str, seed: int = 0, fit_share: float = 0.6
) -> tuple[np.ndarray, np.ndarray]:
    """Which clips fit a probe of `factor` and which score it.

    speaker: same people, sentences disjoint. sentence: same sentences, people disjoint. Every other
    factor: people AND sentences disjoint, taken from the columns `fit` (and `score`, else not
        `fit`)
    where `clips` has them, else drawn: of a crossed grid the clips that mix a fitting person with a
    scoring sentence are in neither part; where all say one and the same sentence, only people are
    disjoint. Contempt is in neither part.

    Args:
        clips: speaker, sentence, emotion and optionally fit, score, one row a clip.
        factor: the label that is probed.
        seed: of the drawn parts.
        fit_share: share of the people, and of the sentences, that fit.

    Returns:
        Two (C,) bool: the clips that fit, and those that score.

    Raises:
        InputError: where the given columns share a speaker or a sentence, a part is empty, or
            emotion and sentence are confounded: no sentence is said in two emotions, so each
            predicts the other and a probe would be too good.
    """
    if factor in ("emotion", "sentence"):
        _check_not_confounded(clips, factor)

    random = np.random.default_rng([seed, 7004])
    usable = clips["emotion"].isin(SCORED_EMOTIONS).to_numpy()

    if factor == "speaker":
        fit, score = _split_within(clips, "speaker", "sentence", usable, random)
    elif factor == "sentence":
        fit, score = _split_within(clips, "sentence", "speaker", usable, random)
    elif "fit" in clips:
        fit, score = _given_split(clips, usable)
    else:
        fit, score = _draw_split(clips, factor, usable, fit_share, random)

    if not fit.any() or not score.any():
        raise InputError(
            f"no split for {factor}: {fit.sum()} clips to fit, {score.sum()} to score; take more "
            "people"
        )

    return fit, score


def _check_not_confounded(clips: pd.DataFrame, factor: str) -> None:
    emotions_of_sentence = clips.groupby("sentence")["emotion"].nunique()
    if emotions_of_sentence.max() < 2:
        raise InputError(
            f"no split for {factor}: none of {len(emotions_of_sentence)} sentences is said in two "
            "emotions, so emotion and sentence are confounded; take sentences common to several "
            "emotions"
        )


def _split_within(
    clips: pd.DataFrame, shared: str, disjoint: str, usable: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Both parts have the same values of one column, and no value of the other in common."""
    shared_values = clips[shared].to_numpy()
    disjoint_values = clips[disjoint].to_numpy()

    fit_values = _draw_part(disjoint_values[usable], shared_values[usable], 0.5, random)
    fit = np.isin(disjoint_values, list(fit_values))

    of_fit = shared_values[fit & usable]
    of_score = shared_values[~fit & usable]

    common = np.intersect1d(of_fit, of_score)
    in_both = np.isin(shared_values, common) & usable

    return fit & in_both, ~fit & in_both


def _given_split(clips: pd.DataFrame, usable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The parts that the columns `fit` and `score` give."""
    given_fit = clips["fit"].to_numpy(bool)
    given_score = clips["score"].to_numpy(bool) if "score" in clips else ~given_fit

    fit = given_fit & usable
    score = given_score & usable

    for name in ("speaker", "sentence"):
        values = clips[name].to_numpy()
        common = np.intersect1d(values[fit], values[score])
        if len(common):
            raise InputError(
                f"{len(common)} {name}s are in the fitting AND the scoring part, e.g. {common[0]}: "
                "take them out of one"
            )

    return fit, score


def _draw_split(
    clips: pd.DataFrame,
    factor: str,
    usable: np.ndarray,
    fit_share: float,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """People and sentences of the two parts drawn at random."""
    if factor == "emotion":
        # A sentence of one emotion would give it away, or leave nothing to tell apart.
        emotions_of_sentence = clips.groupby("sentence")["emotion"].transform("nunique")
        usable = usable & (emotions_of_sentence > 1).to_numpy()

    speakers = clips["speaker"].to_numpy()
    sentences = clips["sentence"].to_numpy()

    one_group = np.zeros(usable.sum())
    fit_people = _draw_part(speakers[usable], one_group, fit_share, random)
    fit_sentences = _draw_part(sentences[usable], one_group, fit_share, random)

    by_fit_person = np.isin(speakers, list(fit_people))
    of_fit_sentence = np.isin(sentences, list(fit_sentences))

    if len(np.unique(sentences[usable])) == 1:
        # Nothing of the sentence can tell the factor then.
        return by_fit_person & usable, ~by_fit_person & usable

    fit = by_fit_person & of_fit_sentence & usable
    score = ~by_fit_person & ~of_fit_sentence & usable

    return fit, score


def _draw_part(
    values: np.ndarray, groups: np.ndarray, share: float, random: np.random.Generator
) -> set[Any]:
    """A random share of the distinct values, drawn evenly within those of the same first group."""
    table = pd.DataFrame({"value": values, "group": groups})
    first_group = table.groupby("value")["group"].min()

    part: set[Any] = set()

    for _, members in first_group.groupby(first_group):
        names = random.permutation(np.sort(members.index.to_numpy()))
        size = min(len(names) - 1, round(share * len(names)))
        part.update(names[: max(1, size)])

    return part


def clip_means(features: np.ndarray, clip: np.ndarray, num_clips: int) -> np.ndarray:
    """The mean over each clip's frames.

    Args:
        features: (N, D) per frame, clip by clip.
        clip: (N,) the clip of each frame.
        num_clips: how many clips there are.

    Returns:
        (C, D) float32.

    Raises:
        ValueError: where the frames of a clip do not lie together.
    """
    begins = np.r_[True, clip[1:] != clip[:-1]]
    starts = np.flatnonzero(begins)

    if len(starts) != num_clips:
        raise ValueError(
            f"{num_clips} clips, but the frames come in {len(starts)} runs: order the frames clip "
            "by clip"
        )

    lengths = np.diff(np.r_[starts, len(clip)])
    sums = np.add.reduceat(np.asarray(features, np.float64), starts, axis=0)
    means = sums / lengths[:, None]

    return means.astype(np.float32)


def sample_frames(clip: np.ndarray, selected: np.ndarray, at_most: int, seed: int) -> np.ndarray:
    """Draw frames of the selected clips.

    Args:
        clip: (N,) the clip of each frame.
        selected: (C,) bool.
        at_most: the number of frames, where there are more.
        seed: of the draw.

    Returns:
        (n,) rows of the frames, ascending.
    """
    rows = np.flatnonzero(selected[clip])
    if len(rows) > at_most:
        random = np.random.default_rng([seed, 7005])
        rows = np.sort(random.choice(rows, at_most, replace=False))

    return rows
