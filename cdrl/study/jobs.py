"""One job of the study: one row, one seed; trained on the training set, scored on people and sentences it never met."""

import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingRegressor

from cdrl.baselines.released.training import (
    embed_released,
    train_released_content,
    train_released_emotion,
)
from cdrl.core.files import write_json
from cdrl.core.settings import ContentConfig, EmotionConfig, StudyConfig, config_hash
from cdrl.core.vocabulary import MOUTH_INDEX, emotion_index
from cdrl.corpora.store import Store
from cdrl.evaluation import controls, dependence, estimate, leakage, retrieval, swap
from cdrl.evaluation.probe_splits import frame_table
from cdrl.evaluation.probes import correlation_measure, probe
from cdrl.models.content import ContentEncoder
from cdrl.priors.features import Features
from cdrl.priors.language import LanguagePrior
from cdrl.representation.content import embed_content, train_content
from cdrl.representation.emotion import SHORT, embed_emotion, train_emotion
from cdrl.representation.pairs import PairSampler, chance_loss, find_pairs
from cdrl.stages.s02_content import pair_scores
from cdrl.stages.s04_probe import halved
from cdrl.study.rows import CONTENT, EMOTION, TABLES, Row


def job_path(work: Path, split: str, kind: str, name: str, seed: int) -> Path:
    """Where the scores of one job lie."""
    return Path(work) / "jobs" / split / f"{kind}.{name}.{seed}.json"


def do_job(work: Path, config: StudyConfig, kind: str, name: str, seed: int) -> None:
    """Train and score one row with one seed, and write its scores."""
    torch.manual_seed(seed)
    begin = time.monotonic()
    rows = {"content": content_job, "emotion": emotion_job}[kind](
        Path(work), config, TABLES[kind][name], seed
    )
    scores = estimate.lines({key: cells for key, cells in rows.items() if isinstance(cells, dict)})
    scores |= {key: float(value) for key, value in rows.items() if not isinstance(value, dict)}
    write_json(
        job_path(work, config.split, kind, name, seed),
        {"scores": scores, "seconds": round(time.monotonic() - begin, 1)},
    )


@lru_cache(maxsize=4)
def features_of(work: Path, split: str, backbone: str) -> Features:
    """What the priors say of the clips of one set."""
    return Features(Store(work / split), work / f"{split}_{backbone}")


@lru_cache(maxsize=1)
def _corpus(work: Path, split: str, fit_frames: int) -> leakage.Corpus:
    store = Store(work / split)
    frames = frame_table(store.clips, store.truth["viseme"][:], store.truth["phoneme"][:])
    return leakage.Corpus(halved(store.clips), frames, 0, fit_frames)


@lru_cache(maxsize=1)
def pairs_of(work: Path, settings: ContentConfig) -> pd.DataFrame:
    """The aligned pairs of training clips that these settings draw."""
    return find_pairs(features_of(work, "train", "actions"), settings)


def encoder_folder(
    work: Path, kind: str, settings, backbone: str = "actions", given: str = ""
) -> Path:
    """Where the encoder of one kind, content or emotion, is kept that was trained with these settings."""
    return (
        Path(work)
        / "encoders"
        / f"{kind}-{config_hash(settings)}-{backbone}-{given or {'content': 'pairs', 'emotion': 'faces'}[kind]}"
    )


def _raw_content(features: Features) -> np.ndarray:
    return np.concatenate([features.face[:], features.mouth[:]], 1).astype(np.float32)


def _raw_emotion(features: Features) -> np.ndarray:
    return np.concatenate([features.language[:], features.mouth[:]], 1).astype(np.float32)


@lru_cache(maxsize=2)
def _raw_results(work: Path, split: str, kind: str, fit_frames: int) -> dict:
    """Probes of the input features, for the shares: what the backbones of the method show of speaker, sentence, viseme."""
    features, corpus = features_of(work, split, "actions"), _corpus(work, split, fit_frames)
    if kind == "content":
        return leakage.raw_results(_raw_content(features), corpus, {"speaker": False})
    return leakage.raw_results(
        _raw_emotion(features), corpus, {"viseme": False, "sentence": True, "speaker": True}
    )


def content_job(work: Path, config: StudyConfig, row: Row, seed: int) -> dict:
    """Scores of one content row: name -> cells."""
    steps = config.control_steps if row.control in ("constant", "noise") else config.content_steps
    settings = replace(
        ContentConfig(steps=steps, pairs=config.pairs, seed=seed), **(row.change or {})
    )
    train, report = (features_of(work, split, row.backbone) for split in ("train", config.split))
    corpus, extra = _corpus(work, config.split, config.fit_frames), {}
    everything = np.arange(len(report.store))
    other = np.random.default_rng([seed, 9001]).permutation(everything) if row.heard else None
    if row.control in ("constant", "noise"):
        train, report = (
            controls.without_information(f, row.control, seed=k)
            for k, f in enumerate((train, report))
        )
    if row.kind == "raw":
        code = retrieval.standardise(_raw_content(report))
        embed = lambda image, audio: code[image]  # noqa: E731
    elif row.kind == "released":
        pairs = pairs_of(work, ContentConfig(pairs=config.pairs, seed=seed))
        model, history = train_released_content(train, pairs, config.released_steps, seed)
        extra = {
            f"loss.{name}": float(history[name].tail(5).mean())
            for name in ("loss", "positive", "negative")
        }
        embed = lambda image, audio: embed_released(model, report, image, audio)  # noqa: E731
        code = embed(everything, other)
    else:
        encoder, extra = _content_encoder(work, row, settings, train, seed)
        embed = lambda image, audio: embed_content(
            encoder, report, image, audio if row.heard else None
        )  # noqa: E731
        code = embed(everything, other)
        heard = embed_content(encoder, report, everything, everything)
    triples = swap.draw_triples(corpus.clips, corpus.frames, config.swaps, 0)
    rows = {f"content.{key}": value for key, value in extra.items()}
    if row.control in ("constant", "noise"):
        for factor, per_clip, name in (
            ("viseme", False, "viseme"),
            ("emotion", False, "emotion"),
            ("emotion", True, "emotion_clip"),
            ("speaker", False, "speaker"),
        ):
            rows[f"content.{name}"] = corpus.null_row(
                code, factor, per_clip, ("linear",) if factor == "viseme" else leakage.KINDS
            )
        return rows
    rows |= leakage.content_scores(
        code,
        corpus,
        None
        if row.kind == "raw"
        else _raw_results(work, config.split, "content", config.fit_frames),
    )
    rows["content.retrieval_r1"] = retrieval.retrieval_r1(
        code, corpus.clips, corpus.frames, num_sentences=config.gallery, seed=0
    )
    rows["content.swap_image"] = swap.swap_image(embed, triples, 0)
    rows["content.swap_audio"] = swap.swap_audio(embed, corpus.frames, seed=0)
    rows["rank.content"] = dependence.effective_rank(code)
    if row.kind == "trained":
        both = lambda image, audio: embed_content(encoder, report, image, audio)  # noqa: E731
        rows["content_av.swap_image"] = swap.swap_image(both, triples, 0)
        rows["content_av.swap_audio"] = swap.swap_audio(both, corpus.frames, seed=0)
        rows["content_av.retrieval_r1"] = retrieval.retrieval_r1(
            heard, corpus.clips, corpus.frames, num_sentences=config.gallery, seed=0
        )
    if row == CONTENT["cdrl"]:
        np.save(work / f"code_{config.split}_{seed}.npy", code.astype(np.float16))
        if seed == 0:
            rows |= leakage.permuted_scores(
                leakage.content_scores, code, corpus, "control.permuted.content"
            )
            rows |= truth_rows(report, corpus, config)
    return rows


def _content_encoder(
    work: Path, row: Row, settings: ContentConfig, train: Features, seed: int
) -> tuple[ContentEncoder, dict]:
    """The encoder of a row, and what its training says."""
    if row.kind == "untrained":
        shape = {
            "face": train.face.shape[1],
            "mouth": train.mouth.shape[1],
            "audio": train.audio.shape[1],
        }
        return ContentEncoder(
            **shape, window=settings.window, embedding=settings.embedding
        ).eval(), {}
    pairs = pairs_of(
        work, ContentConfig(pairs=settings.pairs, alignment=settings.alignment, seed=seed)
    )
    folder = encoder_folder(work, "content", settings, row.backbone, row.control)
    encoder, history = train_content(
        train, pairs, settings, folder, shuffled=row.control == "shuffled"
    )
    found = {
        f"loss.{name}": float(history[name].tail(5).mean())
        for name in history
        if name not in ("step", "total")
    }
    found["loss.chance"] = chance_loss(PairSampler(train, pairs, settings))
    if row.backbone == "actions" and not row.control:
        found |= {
            name: value
            for name, value in pair_scores(train, pairs).items()
            if ".linear" not in name
        }
    return encoder, found


def truth_rows(features: Features, corpus, config: StudyConfig) -> dict:
    """What the true mouth coefficients score: one frame for visemes, one, 5 and 9 frames for retrieval and swap."""
    store, clip = features.store, corpus.frames["clip"].to_numpy()
    truth = np.asarray(store.truth["coefficients"][:], np.float32)[:, MOUTH_INDEX]
    rows = {"truth.viseme": corpus.read(truth, "viseme", kinds=("linear",)).row()}
    first, last = np.searchsorted(clip, clip, "left"), np.searchsorted(clip, clip, "right") - 1
    triples = swap.draw_triples(corpus.clips, corpus.frames, config.swaps, 0)
    for length in (1, 5, 9):
        around = np.clip(
            np.arange(len(clip))[:, None] + np.arange(length) - length // 2,
            first[:, None],
            last[:, None],
        )
        code = retrieval.standardise(truth[around].reshape(len(truth), -1))
        rows[f"truth.swap_image_{length}"] = swap.swap_image(
            lambda image, audio, c=code: c[image], triples, 0
        )
        rows[f"truth.retrieval_r1_{length}"] = retrieval.retrieval_r1(
            code, corpus.clips, corpus.frames, num_sentences=config.gallery, seed=0
        )
    coefficients = np.asarray(store.truth["coefficients"][:], np.float32)
    rows["truth.emotion"] = corpus.read(
        coefficients, "emotion", per_clip=True, kinds=("linear",)
    ).row()
    rows["truth.intensity"] = corpus.intensity(coefficients)
    return rows


def ceiling_rows(work: Path, config: StudyConfig) -> dict:
    """What knowing every coefficient, fitted on as many clips as CERL, reads of emotion and (with the label) of intensity."""
    corpus, stores = (
        _corpus(work, config.split, config.fit_frames),
        [Store(work / name) for name in ("train", config.split)],
    )
    known = []
    for store in stores:
        truth, start = (
            np.asarray(store.truth["coefficients"][:], np.float32),
            store.clips["start"].to_numpy(),
        )
        mean = np.add.reduceat(truth, start) / store.clips["num_frames"].to_numpy()[:, None]
        known.append(np.concatenate([mean, np.maximum.reduceat(truth, start)], 1))
    clips = [
        store.clips.assign(label=store.clips["emotion"].map(emotion_index)) for store in stores
    ]
    _, score = corpus.parts("emotion", True)
    speakers, dial = clips[1]["speaker"].to_numpy(), (clips[1]["emotion"] != "neutral").to_numpy()
    use = (clips[0]["emotion"] != "contempt").to_numpy()
    labels = [table["emotion"].to_numpy() for table in clips]
    result = probe(
        known[0][use],
        labels[0][use],
        known[1][score],
        labels[1][score],
        ("linear",),
        speakers[score],
    )
    rows = {"emotion.emotion": result.row()}
    levels = clips[1]["intensity"].to_numpy()[score]
    for level in (2, 3):
        rows[f"emotion.emotion_{level}"] = estimate.row(
            estimate.mean_of(result.hits["linear"][levels == level]),
            speakers[score][levels == level],
        )
    with_label = [
        np.concatenate([values, table[["label"]]], 1)
        for values, table in zip(known, clips, strict=True)
    ]
    use, score = use & (clips[0]["emotion"] != "neutral").to_numpy(), score[dial[score]]
    trees = HistGradientBoostingRegressor(max_iter=300, random_state=0).fit(
        with_label[0][use], clips[0]["intensity"][use]
    )
    found, wanted = trees.predict(with_label[1][score]), clips[1]["intensity"].to_numpy()[score]
    rows["emotion.intensity"] = estimate.row(
        correlation_measure(rankdata(found), rankdata(wanted)), speakers[score], chance=0.0
    )
    return rows


def short_rows(encoder, features: Features, corpus: leakage.Corpus) -> dict:
    """The same encoder over five frames, as a generator's guidance sees them: what it knows per frame then."""
    code = embed_emotion(encoder, features, SHORT)
    return {
        "emotion_short.emotion_frame": corpus.read(code, "emotion", kinds=("linear",)).row(),
        "emotion_short.viseme": corpus.read(code, "viseme").row(),
    }


def emotion_job(work: Path, config: StudyConfig, row: Row, seed: int) -> dict:
    """Scores of one emotion row: name -> cells."""
    if row.kind == "truth":
        return ceiling_rows(work, config)
    steps = config.control_steps if row.control else config.emotion_steps
    settings = replace(EmotionConfig(steps=steps, seed=seed), **(row.change or {}))
    train, report = (features_of(work, split, row.backbone) for split in ("train", config.split))
    corpus, rows = _corpus(work, config.split, config.fit_frames), {}
    if row.control:
        train, report = (
            controls.without_information(f, row.control, seed=k)
            for k, f in enumerate((train, report))
        )
    if row.kind == "raw":
        code = _raw_emotion(report)
    elif row.kind == "released":
        for name, given in (("", train), (".noise", controls.without_information(train, "noise"))):
            history = train_released_emotion(given, "embedded", config.emotion_steps, seed)
            rows[f"emotion.loss{name}"] = float(history.loss.tail(5).mean())
            rows[f"emotion.loss{name}.chance"] = float(np.log(7))
        language = torch.from_numpy(np.asarray(report.language[:], np.float32))
        with torch.no_grad():
            code = LanguagePrior("embedded").project(language).numpy()
    else:
        folder = encoder_folder(work, "emotion", settings, row.backbone, row.control)
        encoder, history = train_emotion(train, settings, "embedded", folder)
        rows |= {
            f"emotion.loss.{name}": float(history[name].tail(5).mean())
            for name in history
            if name not in ("step", "total")
        }
        code = embed_emotion(encoder, report)
    if row.control:
        for factor, per_clip in (
            ("emotion", True),
            ("speaker", True),
            ("sentence", True),
            ("viseme", False),
        ):
            rows[f"emotion.{factor}"] = corpus.null_row(code, factor, per_clip)
        return rows
    raw = (
        None
        if row.kind == "raw"
        else _raw_results(work, config.split, "emotion", config.fit_frames)
    )
    rows |= leakage.emotion_scores(code, corpus, raw)
    rows["rank.emotion"] = dependence.effective_rank(code)
    if row.kind == "trained":
        rows |= short_rows(encoder, report, corpus)
    if row == EMOTION["cdrl"]:
        if seed == 0:
            rows |= leakage.permuted_scores(
                leakage.emotion_scores, code, corpus, "control.permuted.emotion"
            )
        content = work / f"code_{config.split}_{seed}.npy"
        if content.exists():
            rows["hsic.content_emotion"] = dependence.hsic(
                np.load(content).astype(np.float32),
                code,
                corpus.frames["clip"].to_numpy(),
                seed=seed,
            )
    return rows
