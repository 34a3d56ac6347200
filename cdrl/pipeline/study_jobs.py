"""One job of the study: one row, one seed; trained on the training set, scored on people and sentences it never met."""

import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cdrl.config import ContentConfig, EmotionConfig, StudyConfig, config_hash
from cdrl.data.store import Store
from cdrl.models.content import ContentEncoder
from cdrl.pipeline.encoders import pair_scores
from cdrl.pipeline.probes import halved
from cdrl.pipeline.study_rows import CONTENT, EMOTION, TABLES, Row
from cdrl.priors.language import LanguagePrior
from cdrl.priors.store import Features
from cdrl.probing import bootstrap, controls, dependence, leakage, retrieval, swap
from cdrl.probing.splits import frame_table
from cdrl.stage import write_json
from cdrl.training.content import embed_content, train_content
from cdrl.training.emotion import embed_emotion, train_emotion
from cdrl.training.pairs import PairSampler, chance_loss, find_pairs
from cdrl.training.released import embed_released, train_released_content, train_released_emotion
from cdrl.vocabulary import MOUTH_INDEX


def job_path(work: Path, split: str, kind: str, name: str, seed: int) -> Path:
    """Where the scores of one job lie."""
    return Path(work) / "jobs" / split / f"{kind}.{name}.{seed}.json"


def do_job(work: Path, config: StudyConfig, kind: str, name: str, seed: int) -> None:
    """Train and score one row with one seed, and write its scores."""
    torch.manual_seed(seed)
    begin = time.monotonic()
    rows = {"content": content_job, "emotion": emotion_job}[kind](Path(work), config, TABLES[kind][name], seed)
    scores = bootstrap.lines({key: cells for key, cells in rows.items() if isinstance(cells, dict)})
    scores |= {key: float(value) for key, value in rows.items() if not isinstance(value, dict)}
    write_json(job_path(work, config.split, kind, name, seed), {"scores": scores, "seconds": round(time.monotonic() - begin, 1)})


@lru_cache(maxsize=4)
def _features(work: Path, split: str, backbone: str) -> Features:
    return Features(Store(work / split), work / f"{split}_{backbone}")


@lru_cache(maxsize=1)
def _corpus(work: Path, split: str, fit_frames: int) -> leakage.Corpus:
    store = Store(work / split)
    frames = frame_table(store.clips, store.truth["viseme"][:], store.truth["phoneme"][:])
    return leakage.Corpus(halved(store.clips), frames, 0, fit_frames)


@lru_cache(maxsize=1)
def _pairs(work: Path, settings: ContentConfig) -> pd.DataFrame:
    return find_pairs(_features(work, "train", "actions"), settings)


def _raw_content(features: Features) -> np.ndarray:
    return np.concatenate([features.face[:], features.mouth[:]], 1).astype(np.float32)


@lru_cache(maxsize=2)
def _raw_results(work: Path, split: str, kind: str, fit_frames: int) -> dict:
    """Probes of the input features, for the shares: what the backbones of the method show of speaker, sentence, viseme."""
    features, corpus = _features(work, split, "actions"), _corpus(work, split, fit_frames)
    if kind == "content":
        return leakage.raw_results(_raw_content(features), corpus, {"speaker": False})
    language = np.asarray(features.language[:], np.float32)
    return leakage.raw_results(language, corpus, {"viseme": False, "sentence": True, "speaker": True})


def content_job(work: Path, config: StudyConfig, row: Row, seed: int) -> dict:
    """Scores of one content row: name -> cells."""
    settings = replace(ContentConfig(steps=config.content_steps, pairs=config.pairs, seed=seed), **(row.change or {}))
    train, report = (_features(work, split, row.backbone) for split in ("train", config.split))
    corpus, extra = _corpus(work, config.split, config.fit_frames), {}
    everything = np.arange(len(report.store))
    other = np.random.default_rng([seed, 9001]).permutation(everything) if row.heard else None
    if row.control in ("constant", "noise"):
        train, report = (controls.without_information(f, row.control, seed=k) for k, f in enumerate((train, report)))
    if row.kind == "raw":
        code = retrieval.standardise(_raw_content(report))
        embed = lambda image, audio: code[image]  # noqa: E731
    elif row.kind == "released":
        pairs = _pairs(work, ContentConfig(pairs=config.pairs, seed=seed))
        model, history = train_released_content(train, pairs, config.released_steps, seed)
        extra = {f"loss.{name}": float(history[name].tail(5).mean()) for name in ("loss", "positive", "negative")}
        embed = lambda image, audio: embed_released(model, report, image, audio)  # noqa: E731
        code = embed(everything, other)
    else:
        encoder, extra = _content_encoder(work, row, settings, train, seed)
        embed = lambda image, audio: embed_content(encoder, report, image, audio if row.heard else None)  # noqa: E731
        code = embed(everything, other)
        heard = embed_content(encoder, report, everything, everything)
    triples = swap.draw_triples(corpus.clips, corpus.frames, config.swaps, 0)
    rows = {f"content.{key}": value for key, value in extra.items()}
    if row.control in ("constant", "noise"):
        for factor, per_clip, name in (("viseme", False, "viseme"), ("emotion", False, "emotion"), ("emotion", True, "emotion_clip"), ("speaker", False, "speaker")):
            rows[f"content.{name}"] = corpus.null_row(code, factor, per_clip, ("linear",) if factor == "viseme" else leakage.KINDS)
        return rows
    rows |= leakage.content_scores(code, corpus, None if row.kind == "raw" else _raw_results(work, config.split, "content", config.fit_frames))
    rows["content.retrieval_r1"] = retrieval.retrieval_r1(code, corpus.clips, corpus.frames, num_sentences=config.gallery, seed=0)
    rows["content.swap_image"] = swap.swap_image(embed, triples, 0)
    rows["content.swap_audio"] = swap.swap_audio(embed, corpus.frames, seed=0)
    rows["rank.content"] = dependence.effective_rank(code)
    if row.kind in ("trained", "released"):
        both = embed if row.kind == "released" else (lambda image, audio: embed_content(encoder, report, image, audio))
        rows["content_av.swap_image"] = swap.swap_image(both, triples, 0)
        rows["content_av.swap_audio"] = swap.swap_audio(both, corpus.frames, seed=0)
        code_av = both(everything, everything) if row.kind == "released" else heard
        rows["content_av.retrieval_r1"] = retrieval.retrieval_r1(code_av, corpus.clips, corpus.frames, num_sentences=config.gallery, seed=0)
    if row == CONTENT["cdrl"]:
        np.save(work / f"code_{config.split}_{seed}.npy", code.astype(np.float16))
        if seed == 0:
            rows |= leakage.permuted_scores(leakage.content_scores, code, corpus, "control.permuted.content")
            rows |= truth_rows(report, corpus, config)
    return rows


def _content_encoder(work: Path, row: Row, settings: ContentConfig, train: Features, seed: int) -> tuple[ContentEncoder, dict]:
    """The encoder of a row, and what its training says."""
    if row.kind == "untrained":
        shape = {"face": train.face.shape[1], "mouth": train.mouth.shape[1], "audio": train.audio.shape[1]}
        return ContentEncoder(**shape, window=settings.window, embedding=settings.embedding).eval(), {}
    pairs = _pairs(work, ContentConfig(pairs=settings.pairs, alignment=settings.alignment, seed=seed))
    folder = work / "encoders" / f"content-{config_hash(settings)}-{row.backbone}-{row.control or 'pairs'}"
    encoder, history = train_content(train, pairs, settings, folder, shuffled=row.control == "shuffled")
    found = {f"loss.{name}": float(history[name].tail(5).mean()) for name in history if name not in ("step", "total")}
    found["loss.chance"] = chance_loss(PairSampler(train, pairs, settings))
    if row.backbone == "actions" and not row.control:
        found |= {name: value for name, value in pair_scores(train, pairs).items() if ".linear" not in name}
    return encoder, found


def truth_rows(features: Features, corpus, config: StudyConfig) -> dict:
    """What the true mouth coefficients score: one frame for visemes, one, 5 and 9 frames for retrieval and swap."""
    store, clip = features.store, corpus.frames["clip"].to_numpy()
    truth = np.asarray(store.truth["coefficients"][:], np.float32)[:, MOUTH_INDEX]
    rows = {"truth.viseme": corpus.read(truth, "viseme", kinds=("linear",)).row()}
    first, last = np.searchsorted(clip, clip, "left"), np.searchsorted(clip, clip, "right") - 1
    triples = swap.draw_triples(corpus.clips, corpus.frames, config.swaps, 0)
    for length in (1, 5, 9):
        around = np.clip(np.arange(len(clip))[:, None] + np.arange(length) - length // 2, first[:, None], last[:, None])
        code = retrieval.standardise(truth[around].reshape(len(truth), -1))
        rows[f"truth.swap_image_{length}"] = swap.swap_image(lambda image, audio, c=code: c[image], triples, 0)
        rows[f"truth.retrieval_r1_{length}"] = retrieval.retrieval_r1(code, corpus.clips, corpus.frames, num_sentences=config.gallery, seed=0)
    coefficients = np.asarray(store.truth["coefficients"][:], np.float32)
    rows["truth.emotion"] = corpus.read(coefficients, "emotion", per_clip=True, kinds=("linear",)).row()
    rows["truth.intensity"] = corpus.intensity(coefficients)
    return rows


def emotion_job(work: Path, config: StudyConfig, row: Row, seed: int) -> dict:
    """Scores of one emotion row: name -> cells."""
    settings = replace(EmotionConfig(steps=config.emotion_steps, seed=seed), **(row.change or {}))
    train, report = (_features(work, split, row.backbone) for split in ("train", config.split))
    corpus, rows = _corpus(work, config.split, config.fit_frames), {}
    if row.control:
        train, report = (controls.without_information(f, row.control, seed=k) for k, f in enumerate((train, report)))
    if row.kind == "raw":
        code = np.asarray(report.language[:], np.float32)
    elif row.kind == "released":
        for name, given in (("", train), (".noise", controls.without_information(train, "noise"))):
            history = train_released_emotion(given, "embedded", config.emotion_steps, seed)
            rows[f"emotion.loss{name}"] = float(history.loss.tail(5).mean())
            rows[f"emotion.loss{name}.chance"] = float(np.log(7))
        language = torch.from_numpy(np.asarray(report.language[:], np.float32))
        with torch.no_grad():
            code = LanguagePrior("embedded").project(language).numpy()
    else:
        folder = work / "encoders" / f"emotion-{config_hash(settings)}-{row.backbone}-{row.control or 'faces'}"
        encoder, history = train_emotion(train, settings, "embedded", folder)
        rows |= {f"emotion.loss.{name}": float(history[name].tail(5).mean()) for name in history if name not in ("step", "total")}
        code = embed_emotion(encoder, report)
    if row.control:
        for factor, per_clip in (("emotion", True), ("speaker", True), ("sentence", True), ("viseme", False)):
            rows[f"emotion.{factor}"] = corpus.null_row(code, factor, per_clip)
        return rows
    raw = None if row.kind == "raw" else _raw_results(work, config.split, "emotion", config.fit_frames)
    rows |= leakage.emotion_scores(code, corpus, raw)
    rows["rank.emotion"] = dependence.effective_rank(code)
    if row == EMOTION["cdrl"]:
        if seed == 0:
            rows |= leakage.permuted_scores(leakage.emotion_scores, code, corpus, "control.permuted.emotion")
        content = work / f"code_{config.split}_{seed}.npy"
        if content.exists():
            rows["hsic.content_emotion"] = dependence.hsic(np.load(content).astype(np.float32), code, corpus.frames["clip"].to_numpy(), seed=seed)
    return rows
