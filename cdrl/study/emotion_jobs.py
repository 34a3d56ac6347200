"""Emotion rows of the study: train a CERL encoder, score it on other people and sentences."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cdrl.baselines.released.training import train_released_emotion
from cdrl.core.checkpoint import load_tensors
from cdrl.core.files import read_array
from cdrl.core.settings import EmotionConfig, StudyConfig
from cdrl.core.vocabulary import EMOTIONS, emotion_index
from cdrl.corpora.store import Store
from cdrl.evaluation import controls, dependence, leakage
from cdrl.evaluation.estimate import Estimate, estimate_score, mean_statistics
from cdrl.evaluation.leakage import ProbeCorpus
from cdrl.evaluation.probes import ProbeResult, correlation_statistics, fit_probes
from cdrl.models.emotion import EmotionEncoder
from cdrl.models.layers import mean_and_std
from cdrl.priors.features import Features
from cdrl.priors.language import DESCRIPTIONS, LanguagePrior
from cdrl.representation.cerl import (
    SHORT_WINDOW,
    embed_clips,
    embed_emotion,
    train_emotion,
    window_features,
)
from cdrl.representation.classifier import train_classifier
from cdrl.study.content_jobs import Scores, code_path
from cdrl.study.inputs import (
    LANGUAGE,
    emotion_inputs,
    encoder_folder,
    probe_corpus,
    row_features,
    study_features,
    training_data,
)
from cdrl.study.parts import UNSEEN
from cdrl.study.row import Row
from cdrl.study.rows import EMOTION
from cdrl.study.teachers import classifier_folder, emotion_settings
from cdrl.study.user_rows import own_change

# Factors that encoders trained on blank images are probed for: factor, per clip.
BLANK_PROBES = (("emotion", True), ("speaker", True), ("sentence", True), ("viseme", False))
RAW_FACTORS = {"viseme": False, "sentence": True, "speaker": True}  # factor -> per clip
RELEASED_EMOTIONS = 7  # of CERL as released; a head without information scores ln 7
INTENSITY_LEVELS = (2, 3)  # those that neutral has not
TREE_ITERATIONS = 300
POOL_BATCH = 2048  # windows that are pooled at once


@lru_cache(maxsize=1)
def raw_emotion_results(work: Path, split: str, fit_frames: int) -> dict[str, ProbeResult]:
    """Probe the method's input features once, for the leak shares of all emotion rows."""
    features = study_features(work, split, "actions")
    corpus = probe_corpus(work, split, fit_frames)
    return leakage.raw_results(emotion_inputs(features), corpus, RAW_FACTORS)


def emotion_job(work: Path, config: StudyConfig, row: Row, seed: int) -> Scores:
    """Train and score one emotion row.

    Args:
        work: the study's work folder.
        config: the study's settings.
        row: one of `EMOTION`.
        seed: of the training.

    Returns:
        Score names with estimates, or with plain numbers where a score has no interval.
    """
    if row.kind == "truth":
        return upper_bound_scores(work, config)

    train, report = row_features(work, config, row)
    corpus = probe_corpus(work, config.split, config.fit_frames)

    code, encoder, scores = _train_row(work, config, row, seed, train, report)
    if row.control:
        for factor, per_clip in BLANK_PROBES:
            scores[f"emotion.{factor}"] = corpus.probe_with_null(code, factor, per_clip)
        return scores

    raw = None
    if row.kind != "raw":
        raw = raw_emotion_results(work, config.split, config.fit_frames)

    scores |= leakage.emotion_scores(code, corpus, raw)
    scores["rank.emotion"] = dependence.effective_rank(code)

    if encoder is not None:
        scores |= short_window_scores(encoder, report, corpus)
    if row == EMOTION["cdrl"]:
        scores |= _method_scores(work, config, seed, code, corpus)

    return scores


def _train_row(
    work: Path, config: StudyConfig, row: Row, seed: int, train: Features, report: Features
) -> tuple[np.ndarray, EmotionEncoder | None, Scores]:
    """Train what the row says.

    Returns:
        (N, D) code of all frames of `report`, the encoder of a trained row, scores of the training.
    """
    if row.kind == "raw":
        return emotion_inputs(report), None, {}
    if row.kind == "window":
        return pooled_windows(report), None, {}
    if row.kind == "released":
        return _project_released(report), None, _train_released(config, seed, train)
    if row.kind == "words":
        return _project_released(report), None, words_scores(report, other_clips(work, config))

    steps = config.control_steps if row.control else config.emotion_steps
    change = own_change(config, "emotion") if row.kind == "own" else row.change
    settings = replace(EmotionConfig(steps=steps, seed=seed), **change)
    if row.kind == "classifier":
        settings = emotion_settings(config, seed, "bottleneck" in change)
        folder = classifier_folder(work, settings, row.backbone, training_data(row))
        encoder, history = train_classifier(train, settings, LANGUAGE, folder)
    else:
        folder = encoder_folder(work, "emotion", settings, row.backbone, training_data(row))
        encoder, history = train_emotion(train, settings, LANGUAGE, folder)

    scores: Scores = {}
    for name in history:
        if name not in ("step", "total"):
            scores[f"emotion.loss.{name}"] = float(history[name].tail(5).mean())
    if row.left_out:
        prompts = load_tensors(folder / "targets.safetensors")["text"].numpy()
        unseen = other_clips(work, config)
        embedded = [embed_clips(encoder, clips) for clips in (report, unseen)]
        scores |= unseen_scores(embedded[0], embedded[1], prompts, report, unseen)

    return embed_emotion(encoder, report), encoder, scores


def other_clips(work: Path, config: StudyConfig) -> Features:
    """Return the clips of the scoring people that show the emotion which was never trained."""
    return study_features(work, unseen_name(config.split), "actions")


def unseen_name(split: str) -> str:
    """Return the name of the store of those clips.

    Args:
        split: `report` or `choose`.
    """
    return f"{split}_{UNSEEN}"


def unseen_scores(
    seen_clips: np.ndarray,
    unseen_clips: np.ndarray,
    prompts: np.ndarray,
    seen: Features,
    unseen: Features,
) -> Scores:
    """Score how well words find an emotion that was never trained: the nearest prompt of a clip.

    Args:
        seen_clips: (C, D) embeddings of the scoring set's clips, unit norm.
        unseen_clips: (U, D) of the clips of the other emotion.
        prompts: (8, D), unit norm.
        seen: the clips of the first.
        unseen: the clips of the second.

    Returns:
        `emotion.unseen`, the share of those clips whose nearest prompt is theirs, chance 1 / 8;
        `emotion.unseen_false`, the share of the other clips that it takes; and
        `emotion.unseen_area`, the probability that such a clip is nearer to its prompt than another
        clip is, less the nearest other prompt of each; chance .5.
    """
    target = emotion_index(UNSEEN)
    others = np.arange(len(prompts)) != target
    margins = []
    for clips in (unseen_clips, seen_clips):
        cosine = clips @ prompts.T
        margins.append(cosine[:, target] - cosine[:, others].max(1))

    people = [features.store.clips["speaker"].to_numpy() for features in (unseen, seen)]
    found = estimate_score(mean_statistics(margins[0] > 0), people[0], chance=1 / len(prompts))
    wrong = estimate_score(mean_statistics(margins[1] > 0), people[1])

    ranks = np.searchsorted(np.sort(margins[1]), margins[0]) / len(margins[1])
    area = estimate_score(mean_statistics(ranks), people[0], chance=0.5)
    return {"emotion.unseen": found, "emotion.unseen_false": wrong, "emotion.unseen_area": area}


@torch.no_grad()
def words_scores(seen: Features, unseen: Features) -> Scores:
    """Score the language prior alone: its own words and its own image embedding, no training.

    Args:
        seen: the scoring set's clips.
        unseen: the clips of the emotion that was never trained.
    """
    prior = LanguagePrior(LANGUAGE)
    prompts = prior.text_embedding([DESCRIPTIONS[name] for name in EMOTIONS]).numpy()
    of_clips = []
    for features in (seen, unseen):
        frames = _project_released(features)
        starts = features.store.clips["start"].to_numpy()
        sums = np.add.reduceat(frames, starts)
        of_clips.append(sums / np.linalg.norm(sums, axis=1, keepdims=True))
    return unseen_scores(of_clips[0], of_clips[1], prompts, seen, unseen)


def pooled_windows(features: Features) -> np.ndarray:
    """Return the input features of CERL pooled as CERL pools: over its window, inside the clip.

    Args:
        features: of the set that scores.

    Returns:
        (N, 2 x (L + M)) float32, mean and standard deviation over 51 frames.
    """
    window = EmotionConfig().window
    rows = np.arange(len(features.store))
    pooled = []
    for part in np.array_split(rows, max(1, len(rows) // POOL_BATCH)):
        pooled.append(mean_and_std(window_features(features, part, window)))
    return torch.cat(pooled).numpy()


def _train_released(config: StudyConfig, seed: int, train: Features) -> Scores:
    """Train CERL as released on faces and on noise, and return its losses beside ln 7."""
    noise = controls.without_information(train, "noise")
    scores: Scores = {}
    for ending, features in (("", train), (".noise", noise)):
        history = train_released_emotion(features, LANGUAGE, config.emotion_steps, seed)
        name = f"emotion.loss{ending}"
        scores[name] = float(history.loss.tail(5).mean())
        scores[f"{name}.chance"] = float(np.log(RELEASED_EMOTIONS))

    return scores


def _project_released(report: Features) -> np.ndarray:
    """Return CLIP's image features in the joint space, (N, D): what CERL as released leaves."""
    language = torch.from_numpy(np.asarray(report.language[:], np.float32))
    with torch.no_grad():
        return LanguagePrior(LANGUAGE).project(language).numpy()


def short_window_scores(
    encoder: EmotionEncoder, features: Features, corpus: ProbeCorpus
) -> dict[str, Estimate]:
    """Score an encoder over five frames, as the guidance of a generator sees them.

    Args:
        encoder: a trained one.
        features: of the set that scores.
        corpus: the probe corpus of that set.
    """
    code = embed_emotion(encoder, features, SHORT_WINDOW)
    emotion = corpus.probe(code, "emotion", kinds=("linear",))
    viseme = corpus.probe(code, "viseme")

    return {
        "emotion_short.emotion_frame": emotion.estimate(),
        "emotion_short.viseme": viseme.estimate(),
    }


def _method_scores(
    work: Path, config: StudyConfig, seed: int, code: np.ndarray, corpus: ProbeCorpus
) -> Scores:
    """Score the method's code, (N, D), on permuted labels, and its dependence on content."""
    scores: Scores = {}
    if seed == 0:
        scores |= leakage.permuted_scores(
            leakage.emotion_scores, code, corpus, "control.permuted.emotion"
        )

    path = code_path(work, config.split, seed)
    if path.exists():
        content = read_array(path, 2).astype(np.float32)
        clip_of_frame = corpus.frames["clip"].to_numpy()
        scores["hsic.content_emotion"] = dependence.hsic(content, code, clip_of_frame, seed=seed)

    return scores


def upper_bound_scores(work: Path, config: StudyConfig) -> Scores:
    """Read emotion and intensity from all true coefficients, fitted on as many clips as CERL has.

    Args:
        work: the study's work folder.
        config: the study's settings.

    Returns:
        `emotion.emotion`, the same on levels 2 and 3; `emotion.intensity`, given the label.
    """
    corpus = probe_corpus(work, config.split, config.fit_frames)
    train = Store(work / "train")
    report = Store(work / config.split)

    _, scored_clips = corpus.split_rows("emotion", True)
    scores = _emotion_upper_bound(train, report, scored_clips)
    scores["emotion.intensity"] = _intensity_upper_bound(train, report, scored_clips)

    return scores


def _clip_coefficients(store: Store) -> np.ndarray:
    """Return mean and maximum of the true coefficients of every clip, (C, 2 x 52) float32."""
    truth = np.asarray(store.truth["coefficients"][:], np.float32)
    starts = store.clips["start"].to_numpy()
    num_frames = store.clips["num_frames"].to_numpy()

    mean = np.add.reduceat(truth, starts) / num_frames[:, None]
    maximum = np.maximum.reduceat(truth, starts)

    return np.concatenate([mean, maximum], 1)


def _emotion_upper_bound(train: Store, report: Store, scored_clips: np.ndarray) -> Scores:
    """Fit a linear probe of emotion on the training clips without contempt, which no clip scores.

    Args:
        train: clips that fit.
        report: clips that score.
        scored_clips: (C,) numbers of those among them.
    """
    use = (train.clips["emotion"] != "contempt").to_numpy()
    speakers = report.clips["speaker"].to_numpy()[scored_clips]
    result = fit_probes(
        _clip_coefficients(train)[use],
        train.clips["emotion"].to_numpy()[use],
        _clip_coefficients(report)[scored_clips],
        report.clips["emotion"].to_numpy()[scored_clips],
        ("linear",),
        speakers,
    )
    scores: Scores = {"emotion.emotion": result.estimate()}

    levels = report.clips["intensity"].to_numpy()[scored_clips]
    for level in INTENSITY_LEVELS:
        hits = mean_statistics(result.hits["linear"][levels == level])
        scores[f"emotion.emotion_{level}"] = estimate_score(hits, speakers[levels == level])

    return scores


def _intensity_upper_bound(train: Store, report: Store, scored_clips: np.ndarray) -> Estimate:
    """Fit trees of intensity on coefficients and label; neutral, which has one level, is left out.

    Args:
        train: clips that fit.
        report: clips that score.
        scored_clips: (C,) numbers of those among them.
    """
    from scipy.stats import rankdata  # here: its import takes a second
    from sklearn.ensemble import HistGradientBoostingRegressor

    fit_use = (~train.clips["emotion"].isin(("contempt", "neutral"))).to_numpy()
    not_neutral = (report.clips["emotion"] != "neutral").to_numpy()
    scored = scored_clips[not_neutral[scored_clips]]

    trees = HistGradientBoostingRegressor(max_iter=TREE_ITERATIONS, random_state=0)
    trees.fit(_with_label(train)[fit_use], train.clips["intensity"][fit_use])

    predicted = trees.predict(_with_label(report)[scored])
    intensity = report.clips["intensity"].to_numpy()[scored]

    statistics = correlation_statistics(rankdata(predicted), rankdata(intensity))
    speakers = report.clips["speaker"].to_numpy()[scored]

    return estimate_score(statistics, speakers, chance=0.0)


def _with_label(store: Store) -> np.ndarray:
    """Return the coefficients of every clip and the number of its label, (C, 2 x 52 + 1)."""
    labels: pd.Series = store.clips["emotion"].map(emotion_index)
    return np.concatenate([_clip_coefficients(store), labels.to_frame()], 1)
