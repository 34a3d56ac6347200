"""The real sample clips in notebook 04: the encoders as trained, and fitted to other clips."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cdrl.core.checkpoint import load_tensors
from cdrl.core.errors import InputError
from cdrl.core.results import read_results
from cdrl.core.settings import ContentConfig, EmotionConfig, ProbeConfig, from_dict, stage_folder
from cdrl.core.tables import read_table
from cdrl.core.vocabulary import EMOTIONS, emotion_index
from cdrl.evaluation import retrieval, swap
from cdrl.evaluation.estimate import (
    Estimate,
    ScoreStatistics,
    estimate_score,
    mean_statistics,
    paired_difference,
)
from cdrl.evaluation.probe_splits import frame_table
from cdrl.models.content import ContentEncoder
from cdrl.models.emotion import EmotionEncoder
from cdrl.priors.features import Features
from cdrl.representation.ccrl import embed_content, sound_units
from cdrl.representation.cerl import EmotionSampler, embed_clips
from cdrl.representation.components import load_content_encoder, load_emotion_encoder
from cdrl.representation.finetune import fit_content, fit_emotion, select_clips
from cdrl.representation.pairs import PairSampler
from cdrl.stages.s01_priors import open_features
from cdrl.stages.s04_speech import look_up, match_by_audio

LEAST_BATCH = 3  # pairs: a right image and two wrong ones are of different pairs
SWAP_TRIPLES = 400  # of each fold
# Frames that the interval leaves out together, half a second: neighbours share their windows.
BLOCK = 12
INPUT_WINDOW = 5  # frames of the raw features
LEFT_OUT = "left out real.fitted, real.gain"


@dataclass(frozen=True)
class Query:
    """The frames of one clip that are retrieved from another.

    Attributes:
        frames: (T,) rows of the clip.
        gallery: (S,) rows of the other clip.
        moments: (T,) where in the gallery each frame is said.
    """

    frames: np.ndarray
    gallery: np.ndarray
    moments: np.ndarray


@dataclass(frozen=True)
class Fold:
    """Two clips that are left out of a fit together.

    Attributes:
        clips: their numbers.
        queries: each clip's frames, retrieved from the other.
        triples: of the image swap, both ways.
    """

    clips: tuple[int, int]
    queries: list[Query]
    triples: swap.Triples


@dataclass(frozen=True)
class Measure:
    """A score before its interval.

    Attributes:
        statistics: (C, M) rows.
        groups: (C,) what the interval leaves out in turn.
        chance: the score without information.
    """

    statistics: ScoreStatistics
    groups: np.ndarray
    chance: float


@dataclass(frozen=True)
class RunEncoders:
    """The encoders of a run.

    Attributes:
        content: CCRL's.
        emotion: CERL's.
        prompts: (K, D) learnt prompts of the emotions.
    """

    content: ContentEncoder
    emotion: EmotionEncoder
    prompts: np.ndarray


def real_scores(run: Path, config: ProbeConfig) -> tuple[dict[str, Estimate], list[str]]:
    """Score a run's encoders on six clips of one actor and sentence, before and after a fit.

    Args:
        run: folder of the run.
        config: the stage's settings.

    Returns:
        Estimates `real.retrieval_r1`, `real.swap_image`, `real.emotion_nearest` of the encoders as
        trained; `real.fitted.*` on clips that the fit left out; `real.gain.*`, the paired
        difference; `real.raw.*` of the raw features; `real.content.aligned` and the like, mean
        cosines of all pairs of clips. And a line for what is left out.
    """
    clips = open_features(run, "real")
    try:
        folds = draw_folds(clips, config.seed)
    except InputError as error:
        return {}, [f"left out real: {error}"]

    encoders = _load_encoders(run)
    raw = _raw_code(clips)
    content = embed_content(encoders.content, clips)

    as_trained = speech_measures(folds, [content] * len(folds))
    as_trained["emotion_nearest"] = _nearest(encoders.emotion, encoders.prompts, clips)

    fitted, notes = _fitted_measures(run, clips, folds, config, encoders)
    measures = {
        "real.raw": speech_measures(folds, [raw] * len(folds)),
        "real": as_trained,
        "real.fitted": fitted,
    }
    estimates = {}
    for prefix, measures_of_code in measures.items():
        for name, measure in measures_of_code.items():
            estimates[f"{prefix}.{name}"] = estimate_score(
                measure.statistics, measure.groups, chance=measure.chance
            )

    for name, measure in fitted.items():
        estimates[f"real.gain.{name}"] = paired_difference(
            measure.statistics, as_trained[name].statistics, measure.groups
        )

    estimates |= agreement("real.content", content, clips)
    estimates |= agreement("real.raw", raw, clips)

    return estimates, notes


def _load_encoders(run: Path) -> RunEncoders:
    """Load the encoders that a run has trained."""
    emotion_folder = stage_folder(run, "emotion")
    content = load_content_encoder(stage_folder(run, "content"))

    emotion = load_emotion_encoder(emotion_folder)
    targets = load_tensors(emotion_folder / "targets.safetensors", ("text",))

    return RunEncoders(content, emotion, targets["text"].numpy())


def _raw_code(clips: Features) -> np.ndarray:
    """Return the standardised mouth and face features of five frames around each, (N, D)."""
    all_frames = np.arange(len(clips.store))
    windows = clips.windows(all_frames, ("mouth", "face"), INPUT_WINDOW)
    flat = [window.flatten(1).numpy() for window in windows]

    return retrieval.standardise(np.concatenate(flat, 1))


def draw_folds(clips: Features, seed: int = 0) -> list[Fold]:
    """Put every clip in one fold, with a clip of another emotion.

    Six clips make three folds; for each the other four clips are left to fit to.

    Args:
        clips: features of the clips.
        seed: of the triples.

    Raises:
        InputError: fewer than two clips, or moments that cannot be aligned.
    """
    table = clips.store.clips
    if len(table) < 2:
        plural = "" if len(table) == 1 else "s"
        raise InputError(
            f"{len(table)} real clip{plural}: a moment of one has to be found in another"
        )

    moments, sounds_alike = match_by_audio(clips)
    frames = _frames_of_clips(clips)

    order = table.sort_values("emotion", kind="stable").index.tolist()
    half = len(order) // 2
    folds = []
    for first, second in zip(order[:half], order[half:], strict=False):
        # There is one speaker, so each clip counts as one; clips outside the fold as one emotion.
        in_fold = table.index.isin((first, second))
        emotions = table["emotion"].where(in_fold, "left out")
        relabelled = table.assign(speaker=table["name"], emotion=emotions)
        triples = swap.draw_triples(
            relabelled, frame_table(table), SWAP_TRIPLES, seed, moments, sounds_alike
        )
        queries = []
        for clip, other in ((first, second), (second, first)):
            path = moments(clip, other)
            if path is not None:
                queries.append(Query(frames[clip], frames[other], path))
        folds.append(Fold((first, second), queries, triples))

    return folds


def _frames_of_clips(clips: Features) -> list[np.ndarray]:
    """Return the (T,) frame numbers of every clip."""
    store = clips.store
    all_frames = np.arange(len(store))
    return [all_frames[store.frames(clip)] for clip in range(len(store.clips))]


def speech_measures(folds: list[Fold], codes: list[np.ndarray]) -> dict[str, Measure]:
    """Measure retrieval and swap of one code for each fold, over all folds.

    A moment that is retrieved both ways is drawn together with its neighbours within half a second.

    Args:
        folds: of `draw_folds`.
        codes: (N, D) of all frames, for each fold.

    Returns:
        `retrieval_r1` and `swap_image`.
    """
    hits: list[float] = []
    chances: list[float] = []
    hit_blocks: list[int] = []

    wins: list[float] = []
    win_blocks: list[int] = []
    for fold, code in zip(folds, codes, strict=True):
        unit = retrieval.unit_rows(code)
        for query in fold.queries:
            hit, chance = retrieval.frame_hits(
                unit[query.frames], unit[query.gallery], query.moments, len(query.gallery)
            )
            hits.extend(hit)
            chances.extend(chance)
            aligned = query.gallery[np.round(query.moments).astype(int)]
            hit_blocks.extend(np.minimum(query.frames, aligned) // BLOCK)
        wins.extend(swap.triple_wins(look_up(code), fold.triples))
        win_blocks.extend(np.minimum(fold.triples.anchor, fold.triples.positive) // BLOCK)

    return {
        "retrieval_r1": Measure(
            mean_statistics(hits), np.array(hit_blocks), float(np.mean(chances))
        ),
        "swap_image": Measure(mean_statistics(wins), np.array(win_blocks), 0.5),
    }


def _nearest(encoder: EmotionEncoder, prompts: np.ndarray, clips: Features) -> Measure:
    """Measure whether each clip is nearest to the prompt of its own label, of eight.

    Args:
        encoder: CERL's.
        prompts: (K, D) learnt prompts.
        clips: features of the clips; the interval leaves out whole clips.
    """
    code = embed_clips(encoder, clips)
    nearest = (code @ np.asarray(prompts).T).argmax(1)
    emotions = clips.store.clips["emotion"]
    labels = emotions.map(emotion_index).to_numpy()

    hits = nearest == labels

    return Measure(mean_statistics(hits), np.arange(len(hits)), 1 / len(EMOTIONS))


def _fitted_measures(
    run: Path, clips: Features, folds: list[Fold], config: ProbeConfig, encoders: RunEncoders
) -> tuple[dict[str, Measure], list[str]]:
    """Measure each fold by encoders fitted to the other clips; else nothing, and the reason."""
    train = open_features(run, "train")
    if not config.fit_steps:
        return {}, [f"{LEFT_OUT}: probe.fit_steps is 0"]
    if _speakers(train) & _speakers(clips):
        return {}, [f"{LEFT_OUT}: the encoders were trained on clips of this actor already"]

    try:
        return _fit_folds(run, train, clips, folds, config, encoders), []
    except InputError as error:
        return {}, [f"{LEFT_OUT}: {error}"]


def _speakers(features: Features) -> set[tuple[str, str]]:
    """Return the speakers of a store, each with its corpus."""
    clips = features.store.clips
    return set(zip(clips["corpus"], clips["speaker"], strict=True))


def _fit_folds(
    run: Path,
    train: Features,
    clips: Features,
    folds: list[Fold],
    config: ProbeConfig,
    encoders: RunEncoders,
) -> dict[str, Measure]:
    """Fit both encoders to the clips outside each fold, and measure the fold by them."""
    stages = read_results(stage_folder(run, "emotion"))["stages"]
    content_config = from_dict(ContentConfig, stages["content"]["config"])
    emotion_config = from_dict(EmotionConfig, stages["emotion"]["config"])
    language = stages["priors"]["config"]["language"]

    columns = ("a", "b", "kept", "aligned", "quality")
    pairs = read_table(stage_folder(run, "content") / "pairs.parquet", columns)
    units = sound_units(train, content_config)
    training_pairs = PairSampler(train, pairs, _half_batch(content_config))
    training_emotions = EmotionSampler(train, _half_batch(emotion_config))

    codes = []
    nearest = np.full(len(clips.store.clips), np.nan)

    for fold in folds:
        others = [clip for clip in range(len(nearest)) if clip not in fold.clips]
        fit_to = select_clips(clips, others)
        content = fit_content(
            encoders.content, fit_to, training_pairs, units, content_config, config.fit_steps
        )
        codes.append(embed_content(content, clips))
        emotion, prompts = fit_emotion(
            encoders.emotion, fit_to, training_emotions, language, emotion_config, config.fit_steps
        )
        fold_clips = list(fold.clips)
        measure = _nearest(emotion, prompts.numpy(), select_clips(clips, fold_clips))
        nearest[fold_clips] = measure.statistics.rows[:, 0]

    measures = speech_measures(folds, codes)
    measures["emotion_nearest"] = Measure(
        mean_statistics(nearest), np.arange(len(nearest)), 1 / len(EMOTIONS)
    )

    return measures


def _half_batch(config: Any) -> Any:
    """Return settings with half of the batch, 3 at least; the other half is of the real clips."""
    return replace(config, batch=max(LEAST_BATCH, config.batch // 2))


def agreement(prefix: str, code: np.ndarray, clips: Features) -> dict[str, Estimate]:
    """Compare a code along the aligned moments of all pairs of clips with unaligned moments.

    Args:
        prefix: of the score names.
        code: (N, D) of all frames.
        clips: features of the clips.

    Returns:
        `PREFIX.aligned` and `PREFIX.unaligned`, mean cosines, with the number of pairs.
    """
    unit = retrieval.unit_rows(code)
    frames = _frames_of_clips(clips)

    moments, _ = match_by_audio(clips)
    cosines: dict[str, list[float]] = {"aligned": [], "unaligned": []}

    for first in range(len(frames)):
        for second in range(first):
            path = moments(first, second)
            if path is None:
                continue
            partner = frames[second][np.round(path).astype(int)]
            aligned = (unit[frames[first]] * unit[partner]).sum(1)
            unaligned = unit[frames[first]] @ unit[frames[second]].T
            cosines["aligned"].append(aligned.mean())
            cosines["unaligned"].append(unaligned.mean())

    estimates = {}
    for name, values in cosines.items():
        value = float(np.mean(values))
        estimates[f"{prefix}.{name}"] = Estimate(value, details={"pairs": len(values)})

    return estimates
