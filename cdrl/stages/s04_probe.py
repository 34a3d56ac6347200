"""Notebook 04: every score of the two embeddings, beside reference codes and controls."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from cdrl.core.pools import in_order, quietly
from cdrl.core.results import read_results
from cdrl.core.settings import ProbeConfig, stage_folder
from cdrl.core.vocabulary import MOUTH_INDEX
from cdrl.corpora.store import Store
from cdrl.evaluation import controls, dependence, leakage, retrieval, swap
from cdrl.evaluation.estimate import Estimate, flatten_scores
from cdrl.evaluation.leakage import ProbeCorpus
from cdrl.evaluation.probe_splits import frame_table
from cdrl.evaluation.projection import map_quality, umap_map
from cdrl.models.content import ContentEncoder
from cdrl.priors.features import Features
from cdrl.representation.ccrl import embed_content
from cdrl.representation.cerl import embed_clips, embed_emotion
from cdrl.representation.components import (
    load_content_encoder,
    load_emotion_encoder,
    untrained_content_encoder,
)
from cdrl.stages.notes import write_notes
from cdrl.stages.s01_priors import open_features
from cdrl.stages.s04_real_clips import real_scores
from cdrl.stages.s04_speech import SpeechScores, look_up, uses_dtw

Estimates = dict[str, Estimate]
# Factors that are probed, each with whether clips are probed and not frames.
PROBED = (
    ("viseme", False),
    ("emotion", False),
    ("speaker", False),
    ("emotion", True),
    ("intensity", True),
    ("sentence", True),
    ("speaker", True),
)
REFERENCE_WINDOW = 5  # frames of the reference codes
BLANK_IMAGES = ("constant", "noise")
MAPS = ("content", "emotion")
BAR_COLUMNS = ("", ".chance", ".low", ".high", ".n")


def probe(run: Path, config: ProbeConfig, out: Path) -> dict[str, float]:
    """Notebook 04: score the two embeddings on people and sentences that nothing was trained on.

    Embeddings and map coordinates are written to `out`.

    Args:
        run: folder of the run.
        config: the stage's settings.
        out: the stage's folder.

    Returns:
        `content.*`, `content_av.*`, `emotion.*`, `raw.*`, `hsic.*`, `control.*` and `real.*`, each
        with chance, interval and n; `rank.*` and `map.*`, plain numbers. On a corpus without truth
        the scores that need it are missing, and `notes.json` says which and why.
    """
    codes = _embed(run)
    for name, code in codes.items():
        np.save(out / f"{name}.npy", code.astype(np.float16))

    # The longest come first, so that no process has one left when the others are done.
    jobs: list[tuple] = [
        (real_scores, run, config),
        (_content_probes, run, config, codes["content"]),
        (_emotion_probes, run, config, codes["emotion"]),
        (blank_estimates, run, config),
        (_speech_scores, run, config, codes["content"]),
        (_audio_and_permuted_probes, run, config, codes["content"]),
        (_maps, codes, config, out),
    ]
    # A class of the user is known to this process alone. The bars of parallel jobs would mix, so
    # each job is called through `quietly`.
    workers = 1 if _has_own_encoder(run) else config.workers
    real, content, emotion, blank, speech, others, maps = in_order(quietly, jobs, workers)
    moment_scores, notes_of_speech = speech
    estimates = emotion | others | content | moment_scores | blank

    corpus = probe_corpus(open_features(run, "report").store, config)
    notes: list[str] = []
    if uses_dtw(corpus):
        estimates, notes = without_truth(estimates, corpus, notes_of_speech)

    estimates_of_real_clips, notes_of_real_clips = real
    estimates |= estimates_of_real_clips
    notes += notes_of_real_clips
    if notes:
        write_notes(out, notes)

    clip_of_frame = corpus.frames["clip"].to_numpy()
    estimates["hsic.content_emotion"] = dependence.hsic(
        codes["content"], codes["emotion"], clip_of_frame, seed=config.seed
    )

    scores = flatten_scores(estimates)
    scores["rank.content"] = dependence.effective_rank(codes["content"])
    scores["rank.emotion"] = dependence.effective_rank(codes["emotion"])

    return scores | maps


def _has_own_encoder(run: Path) -> bool:
    """Whether an encoder of a run is the user's own."""
    stages = read_results(stage_folder(run, "emotion"))["stages"]
    return any(stages[stage]["config"].get("encoder") for stage in ("content", "emotion"))


def _embed(run: Path) -> dict[str, np.ndarray]:
    """Embed the frames of the reporting clips, (N, D) each, and the clips themselves."""
    features = open_features(run, "report")
    content_encoder = load_content_encoder(stage_folder(run, "content"))
    emotion_encoder = load_emotion_encoder(stage_folder(run, "emotion"))
    return {
        "content": embed_content(content_encoder, features),
        "emotion": embed_emotion(emotion_encoder, features),
        "emotion_clip": embed_clips(emotion_encoder, features),
    }


def probe_corpus(store: Store, config: ProbeConfig) -> ProbeCorpus:
    """Return the clips and frames of the reporting store, with what is known of their truth.

    Args:
        store: of the reporting people.
        config: the stage's settings.
    """
    # Generated clips have phone times; their people split into those who train and who score.
    truth = {}
    for name in ("viseme", "phoneme"):
        if name in store.truth:
            truth[name] = store.truth[name][:]

    frames = frame_table(store.clips, **truth)
    clips = split_people(store.clips) if "viseme" in truth else store.clips

    return ProbeCorpus(clips, frames, config.seed, config.fit_frames)


def split_people(clips: pd.DataFrame) -> pd.DataFrame:
    """Add a column `fit`: half of the people fit the probes, the others score.

    Those who say the first speaker's sentences fit.

    Args:
        clips: speaker and sentence of each clip.
    """
    first_speaker = clips.speaker == min(clips.speaker)
    sentences = clips.loc[first_speaker, "sentence"]
    return clips.assign(fit=clips.sentence.isin(sentences))


def _content_probes(run: Path, config: ProbeConfig, content: np.ndarray) -> Estimates:
    """Probe the input features, and the content embedding, (N, D), against them."""
    features = open_features(run, "report")
    corpus = probe_corpus(features.store, config)
    inputs = _concatenate(features.face, features.mouth)

    raw_speaker = leakage.raw_results(inputs, corpus, {"speaker": False})
    raw = leakage.content_scores(inputs, corpus, prefix="raw", known=raw_speaker)
    return raw | leakage.content_scores(content, corpus, raw_speaker)


def _emotion_probes(run: Path, config: ProbeConfig, emotion: np.ndarray) -> Estimates:
    """Probe the emotion embedding, (N, D), against its input features."""
    features = open_features(run, "report")
    corpus = probe_corpus(features.store, config)
    inputs = _concatenate(features.language, features.mouth)
    return leakage.emotion_scores(emotion, corpus, inputs)


def _audio_and_permuted_probes(run: Path, config: ProbeConfig, content: np.ndarray) -> Estimates:
    """Probe the content embedding with audio; and that without, (N, D), on permuted labels."""
    features = open_features(run, "report")
    corpus = probe_corpus(features.store, config)
    encoder = load_content_encoder(stage_folder(run, "content"))
    all_frames = np.arange(len(features.store))
    with_audio = embed_content(encoder, features, audio_rows=all_frames)

    audio = leakage.content_scores(with_audio, corpus, prefix="content_av")
    permuted = leakage.permuted_scores(
        leakage.content_scores, content, corpus, "control.permuted.content"
    )
    return audio | permuted


def _concatenate(*arrays: Any) -> np.ndarray:
    """Concatenate (N, D) features of all frames, float32."""
    parts = [array[:] for array in arrays]
    return np.concatenate(parts, 1).astype(np.float32)


def _maps(codes: dict[str, np.ndarray], config: ProbeConfig, out: Path) -> dict[str, float]:
    """Write the maps of both codes, (N, D) each, and return how far they can be trusted."""
    scores: dict[str, float] = {}
    for name in MAPS:
        scores |= _write_map(name, codes[name], config, out)
    return scores


def _write_map(name: str, code: np.ndarray, config: ProbeConfig, out: Path) -> dict[str, float]:
    """Write a map of a code, (N, D), and return how far it can be trusted."""
    coordinates, rows = umap_map(code, config.seed, n_frames=config.map_points)
    np.save(out / f"map_{name}.npy", coordinates)
    np.save(out / f"map_{name}_rows.npy", rows)

    scores = {}
    for key, value in map_quality(code[rows], coordinates).items():
        scores[f"map.{name}.{key}"] = value
    return scores


def without_truth(
    estimates: Estimates, corpus: ProbeCorpus, notes_of_speech: list[str]
) -> tuple[Estimates, list[str]]:
    """Keep the estimates that are numbers on a corpus without truth, and say what is left out.

    Args:
        estimates: of the stage.
        corpus: the probe corpus.
        notes_of_speech: why scores of retrieval and swap are missing, one line each.

    Returns:
        Estimates whose value is a number, and a line for each kind of score that is missing.
    """
    notes = []
    for factor, per_clip in PROBED:
        reason = corpus.missing_reason(factor, per_clip)
        if reason:
            unit = " per clip" if per_clip else ""
            notes.append(f"left out {factor}{unit}: {reason}")

    empty = sorted(name for name, estimate in estimates.items() if not np.isfinite(estimate.value))
    if empty:
        notes.append(
            f"left out {', '.join(empty)}: no clip of that kind scores, "
            "or there is nothing to divide by"
        )

    notes.append(
        "moments are matched by DTW on the audio prior (retrieval_dtw_r1, swap_image_dtw): "
        "no phone times are known"
    )
    one_sentence = corpus.clips["sentence"].nunique() == 1
    if one_sentence and not corpus.missing_reason("emotion", True):
        notes.append(
            "emotion is probed with other people and the same one sentence: there is no other"
        )

    remaining = {
        name: estimate.finite() for name, estimate in estimates.items() if name not in empty
    }

    return remaining, notes + notes_of_speech


def _speech_scores(
    run: Path, config: ProbeConfig, content: np.ndarray
) -> tuple[Estimates, list[str]]:
    """Score retrieval and swaps of all codes, and say which scores are missing.

    Args:
        run: folder of the run.
        config: the stage's settings.
        content: (N, D) the content embedding of all frames.
    """
    features = open_features(run, "report")
    corpus = probe_corpus(features.store, config)
    speech = SpeechScores(features, corpus, config)
    encoder = load_content_encoder(stage_folder(run, "content"))

    estimates = encoder_estimates(features, corpus, encoder, content, config, speech)
    estimates |= reference_estimates(features, corpus, speech)
    estimates |= control_estimates(run, features, config, speech)
    return estimates, speech.left_out


def encoder_estimates(
    features: Features,
    corpus: ProbeCorpus,
    encoder: ContentEncoder,
    content: np.ndarray,
    config: ProbeConfig,
    speech: SpeechScores,
) -> Estimates:
    """Score retrieval and the two swaps of the content encoder.

    Args:
        features: of the reporting store.
        corpus: the probe corpus.
        encoder: CCRL's.
        content: (N, D) what it makes of the images of all frames.
        config: the stage's settings.
        speech: what scores retrieval and image swap.

    Returns:
        `content.*` of the image alone, `content_av.*` with the right audio.
    """

    def embed_image(image_frames: np.ndarray, audio_frames: np.ndarray) -> np.ndarray:
        return embed_content(encoder, features, image_frames)

    def embed_both(image_frames: np.ndarray, audio_frames: np.ndarray) -> np.ndarray:
        return embed_content(encoder, features, image_frames, audio_frames)

    estimates = speech.estimate("content", look_up(content))
    estimates |= speech.estimate("content_av", embed_both)
    for prefix, embed in (("content", embed_image), ("content_av", embed_both)):
        estimates[f"{prefix}.swap_audio"] = swap.swap_audio(embed, corpus.frames, seed=config.seed)

    return estimates


def reference_estimates(features: Features, corpus: ProbeCorpus, speech: SpeechScores) -> Estimates:
    """Score retrieval and image swap of the raw features and of the true mouth, over five frames.

    Args:
        features: of the reporting store.
        corpus: the probe corpus.
        speech: what scores retrieval and image swap.

    Returns:
        `raw.*`, and `truth.*` where true coefficients are known.
    """
    # One code at a time: each has some gigabytes on a large corpus.
    raw = retrieval.standardise(_raw_code(features))
    estimates = speech.estimate("raw", look_up(raw))

    truth = features.store.truth
    if "coefficients" in truth:
        coefficients = np.asarray(truth["coefficients"][:], np.float32)
        windows = window_rows(corpus.frames["clip"].to_numpy(), REFERENCE_WINDOW)
        mouth_windows = coefficients[:, MOUTH_INDEX][windows]
        code = retrieval.standardise(mouth_windows.reshape(len(coefficients), -1))
        estimates |= speech.estimate("truth", look_up(code))

    return estimates


def _raw_code(features: Features) -> np.ndarray:
    """The mouth and the face features of five frames around each, (N, D) float32."""
    all_frames = np.arange(len(features.store))
    parts = []
    for kind in ("mouth", "face"):
        [windows] = features.windows(all_frames, (kind,), REFERENCE_WINDOW)
        parts.append(windows.flatten(1).numpy())

    return np.concatenate(parts, 1)


def window_rows(clip_of_frame: np.ndarray, length: int) -> np.ndarray:
    """Return the rows of a window around every frame; it stops at the ends of the clip.

    Args:
        clip_of_frame: (N,) sorted, the clip of each frame.
        length: frames of the window, odd.

    Returns:
        (N, length) rows.

    >>> window_rows(np.array([0, 0, 1, 1]), 3).tolist()
    [[0, 0, 1], [0, 1, 1], [2, 2, 3], [2, 3, 3]]
    """
    first = np.searchsorted(clip_of_frame, clip_of_frame, "left")
    last = np.searchsorted(clip_of_frame, clip_of_frame, "right") - 1

    frames = np.arange(len(clip_of_frame))
    offsets = np.arange(length) - length // 2
    rows = frames[:, None] + offsets

    return np.clip(rows, first[:, None], last[:, None])


def control_estimates(
    run: Path, features: Features, config: ProbeConfig, speech: SpeechScores
) -> Estimates:
    """Score retrieval and image swap of two controls: shuffled pairs, an untrained encoder.

    Args:
        run: folder of the run.
        features: of the reporting store.
        config: the stage's settings.
        speech: what scores retrieval and image swap.

    Returns:
        `control.shuffled.*` and `control.untrained.*`.
    """
    torch.manual_seed(config.seed)
    content_folder = stage_folder(run, "content")
    untrained = untrained_content_encoder(content_folder)

    shuffled = load_content_encoder(content_folder / "shuffled")
    estimates: Estimates = {}
    for name, encoder in (("shuffled", shuffled), ("untrained", untrained)):
        code = embed_content(encoder, features)
        estimates |= speech.estimate(f"control.{name}.content", look_up(code))

    return estimates


def blank_estimates(run: Path, config: ProbeConfig) -> Estimates:
    """Probe the encoders that were trained on constant and on noise images, on such images.

    Args:
        run: folder of the run.
        config: the stage's settings.

    Returns:
        `control.constant.*` and `control.noise.*`.
    """
    features = open_features(run, "report")
    corpus = probe_corpus(features.store, config)
    estimates: Estimates = {}
    for kind in BLANK_IMAGES:
        blank = controls.without_information(features, kind, seed=1)
        encoder = load_content_encoder(stage_folder(run, "content") / kind)
        code = embed_content(encoder, blank)
        estimates |= leakage.content_scores(code, corpus, prefix=f"control.{kind}.content")
        if corpus.missing_reason("emotion", True):
            continue
        emotion_encoder = load_emotion_encoder(stage_folder(run, "emotion") / kind)
        emotion_code = embed_emotion(emotion_encoder, blank)
        result = corpus.probe(emotion_code, "emotion", per_clip=True, kinds=("linear",))
        estimates[f"control.{kind}.emotion.emotion"] = result.estimate()

    return estimates


def scored_names(scores: dict[str, float], names: Iterable[str]) -> list[str]:
    """Return the names that a run has scored, in order; `read_notes` says why others are missing.

    Args:
        scores: of the run.
        names: of scores.
    """
    return [name for name in names if name in scores]


def bar_columns(scores: dict[str, float], names: Iterable[str]) -> tuple[list, ...]:
    """Return what `figures.score_bars` draws.

    Args:
        scores: of the run.
        names: of scores; those without a value are left out.

    Returns:
        The names, and of each value, chance, low, high and n; nan where there is none.
    """
    present = scored_names(scores, names)
    columns: list[list] = [present]
    for part in BAR_COLUMNS:
        columns.append([scores.get(name + part, float("nan")) for name in present])

    return tuple(columns)
