"""Content rows of the study: train a CCRL encoder, score it on other people and sentences."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from cdrl.baselines.released.training import embed_released, train_released_content
from cdrl.core.settings import ContentConfig, StudyConfig
from cdrl.core.vocabulary import MOUTH_INDEX
from cdrl.evaluation import dependence, leakage, retrieval, swap
from cdrl.evaluation.estimate import Estimate
from cdrl.evaluation.leakage import ProbeCorpus
from cdrl.evaluation.probes import PROBE_KINDS, ProbeResult
from cdrl.models.content import ContentEncoder
from cdrl.priors.features import Features
from cdrl.representation.ccrl import embed_content, train_content
from cdrl.representation.components import content_loss
from cdrl.representation.pairs import PairSampler, chance_loss
from cdrl.representation.untrained_code import fit_untrained_code
from cdrl.stages.s02_content import pair_scores
from cdrl.stages.s04_probe import window_rows
from cdrl.stages.s04_speech import look_up
from cdrl.study.flat import train_until_flat
from cdrl.study.inputs import (
    content_inputs,
    encoder_folder,
    probe_corpus,
    row_features,
    study_features,
    training_data,
    training_pairs,
)
from cdrl.study.row import Row
from cdrl.study.rows import CONTENT
from cdrl.study.teachers import train_released_to
from cdrl.study.user_rows import own_change

Scores = dict[str, Estimate | float]
# Factors that encoders trained on blank images are probed for: factor, per clip, name, probes.
BLANK_PROBES = (
    ("viseme", False, "viseme", ("linear",)),
    ("emotion", False, "emotion", PROBE_KINDS),
    ("emotion", True, "emotion_clip", PROBE_KINDS),
    ("speaker", False, "speaker", PROBE_KINDS),
)
SHUFFLED_AUDIO_SEED = 9001
TRUTH_WINDOWS = (1, 5, 9)  # frames


@dataclass(frozen=True)
class ContentCode:
    """What a content row is scored by.

    Attributes:
        embed: (image frames, audio frames) -> (n, D) embeddings.
        embed_with_audio: the same with the right audio, of rows that are trained here; else None.
        training: scores of the training, without the prefix `content.`.
    """

    embed: swap.Embed
    embed_with_audio: swap.Embed | None = None
    training: Mapping[str, float] = field(default_factory=dict)


@lru_cache(maxsize=1)
def raw_content_results(work: Path, split: str, fit_frames: int) -> dict[str, ProbeResult]:
    """Probe the method's input features once, for the leak shares of all content rows."""
    features = study_features(work, split, "actions")
    corpus = probe_corpus(work, split, fit_frames)
    return leakage.raw_results(content_inputs(features), corpus, {"speaker": False})


def content_job(work: Path, config: StudyConfig, row: Row, seed: int) -> Scores:
    """Train and score one content row.

    Args:
        work: the study's work folder.
        config: the study's settings.
        row: one of `CONTENT`.
        seed: of the training.

    Returns:
        Score names with estimates, or with plain numbers where a score has no interval.
    """
    train, report = row_features(work, config, row)
    corpus = probe_corpus(work, config.split, config.fit_frames)
    trained = _train_row(work, config, row, seed, train, report)

    all_frames = np.arange(len(report.store))
    audio_frames = all_frames
    if row.takes_audio:
        random = np.random.default_rng([seed, SHUFFLED_AUDIO_SEED])
        audio_frames = random.permutation(all_frames)

    code = trained.embed(all_frames, audio_frames)

    scores: Scores = {f"content.{name}": value for name, value in trained.training.items()}
    if row.blank:
        return scores | _blank_scores(code, corpus)

    raw = None
    if row.kind != "raw":
        raw = raw_content_results(work, config.split, config.fit_frames)

    scores |= leakage.content_scores(code, corpus, raw)
    triples = swap.draw_triples(corpus.clips, corpus.frames, config.swaps, 0)

    scores |= _speech_scores("content", trained.embed, code, corpus, triples, config)
    scores["rank.content"] = dependence.effective_rank(code)
    if trained.embed_with_audio is not None:
        code_with_audio = trained.embed_with_audio(all_frames, all_frames)
        scores |= _speech_scores(
            "content_av", trained.embed_with_audio, code_with_audio, corpus, triples, config
        )

    if row == CONTENT["cdrl"]:
        np.save(code_path(work, config.split, seed), code.astype(np.float16))
        if seed == 0:
            scores |= leakage.permuted_scores(
                leakage.content_scores, code, corpus, "control.permuted.content"
            )
            scores |= truth_scores(report, corpus, config)

    return scores


def code_path(work: Path, split: str, seed: int) -> Path:
    """Return the file of the method's content code, (N, D) float16, of one set and seed."""
    return Path(work) / f"code_{split}_{seed}.npy"


def _train_row(
    work: Path, config: StudyConfig, row: Row, seed: int, train: Features, report: Features
) -> ContentCode:
    """Train what the row says, and return how frames of `report` are embedded."""
    if row.kind == "raw":
        standardised = retrieval.standardise(content_inputs(report))
        return ContentCode(look_up(standardised))

    if row.kind == "window":
        return ContentCode(look_up(raw_windows(report)))
    if row.kind == "code":
        return ContentCode(look_up(fit_untrained_code(train, seed=seed).embed(report)))

    if row.kind == "released":
        return _train_released(work, config, seed, train, report, row.until_flat)

    steps = config.control_steps if row.blank else config.content_steps
    settings = ContentConfig(steps=steps, pairs=config.pairs, seed=seed)

    change = own_change(config, "content") if row.kind == "own" else row.change
    settings = replace(settings, **change)
    if row.kind == "untrained":
        encoder = _untrained_encoder(train, settings)
        return ContentCode(_embedder(encoder, report, row.takes_audio))

    encoder, training = _train_encoder(work, row, settings, train, seed)
    embed = _embedder(encoder, report, row.takes_audio)

    return ContentCode(embed, _embedder(encoder, report, True), training)


def raw_windows(features: Features) -> np.ndarray:
    """Return the input features of CCRL in the method's own window.

    Args:
        features: of the set that scores.

    Returns:
        (N, window x (F + M)) float32, standardised.
    """
    rows = np.arange(len(features.store))
    face, mouth = features.windows(rows, ("face", "mouth"), ContentConfig().window)
    windows = np.concatenate([face.numpy(), mouth.numpy()], -1)
    return retrieval.standardise(windows.reshape(len(rows), -1))


def _embedder(encoder: ContentEncoder, features: Features, takes_audio: bool) -> swap.Embed:
    """Embed by an encoder, with the audio query or from the image alone."""

    def embed(image_frames: np.ndarray, audio_frames: np.ndarray) -> np.ndarray:
        audio = audio_frames if takes_audio else None
        return embed_content(encoder, features, image_frames, audio)

    return embed


def _train_released(
    work: Path, config: StudyConfig, seed: int, train: Features, report: Features, until_flat: bool
) -> ContentCode:
    """Train CCRL as released, the steps of the study or until its loss is flat."""
    pairs = training_pairs(work, ContentConfig(pairs=config.pairs, seed=seed))
    training: dict[str, float] = {}
    if until_flat:
        fit = partial(train_released_to, train, pairs, seed)
        model, notes = train_until_flat(fit, config.released_steps)
        training |= notes
    else:
        model, history = train_released_content(train, pairs, config.released_steps, seed)
        for name in ("loss", "positive", "negative"):
            training[f"loss.{name}"] = float(history[name].tail(5).mean())

    def embed(image_frames: np.ndarray, audio_frames: np.ndarray) -> np.ndarray:
        return embed_released(model, report, image_frames, audio_frames)

    return ContentCode(embed, training=training)


def _untrained_encoder(train: Features, settings: ContentConfig) -> ContentEncoder:
    """Draw an encoder with the shapes of the training features."""
    encoder = ContentEncoder(
        face=train.face.shape[1],
        mouth=train.mouth.shape[1],
        audio=train.audio.shape[1],
        window=settings.window,
        embedding=settings.embedding,
    )
    return encoder.eval()


def _train_encoder(
    work: Path, row: Row, settings: ContentConfig, train: Features, seed: int
) -> tuple[ContentEncoder, dict[str, float]]:
    """Train the encoder of a row; return it and the scores of its training."""
    pair_settings = ContentConfig(pairs=settings.pairs, alignment=settings.alignment, seed=seed)
    pairs = training_pairs(work, pair_settings)

    folder = encoder_folder(work, "content", settings, row.backbone, training_data(row))
    shuffled = row.control == "shuffled"
    encoder, history = train_content(train, pairs, settings, folder, shuffled=shuffled)

    training = {}
    for name in history:
        if name not in ("step", "total"):
            training[f"loss.{name}"] = float(history[name].tail(5).mean())

    sampler = PairSampler(train, pairs, settings)
    training["loss.chance"] = chance_loss(sampler, content_loss(settings))
    if row.backbone == "actions" and not row.control:
        for name, value in pair_scores(train, pairs).items():
            if ".linear" not in name:
                training[name] = value

    return encoder, training


def _blank_scores(code: np.ndarray, corpus: ProbeCorpus) -> Scores:
    """Probe a code, (N, D), of images without information, with the null of every probe."""
    scores: Scores = {}
    for factor, per_clip, name, kinds in BLANK_PROBES:
        scores[f"content.{name}"] = corpus.probe_with_null(code, factor, per_clip, kinds)

    return scores


def _speech_scores(
    prefix: str,
    embed: swap.Embed,
    code: np.ndarray,
    corpus: ProbeCorpus,
    triples: swap.Triples,
    config: StudyConfig,
) -> Scores:
    """Score retrieval by an (N, D) code, and both swaps by how frames are embedded."""
    retrieved = retrieval.retrieval_r1(
        code, corpus.clips, corpus.frames, num_sentences=config.gallery, seed=0
    )
    return {
        f"{prefix}.retrieval_r1": retrieved,
        f"{prefix}.swap_image": swap.swap_image(embed, triples),
        f"{prefix}.swap_audio": swap.swap_audio(embed, corpus.frames, seed=0),
    }


def truth_scores(features: Features, corpus: ProbeCorpus, config: StudyConfig) -> Scores:
    """Score the true coefficients: one frame for visemes; 1, 5 and 9 frames for speech.

    Args:
        features: of the set that scores.
        corpus: the probe corpus of that set.
        config: the study's settings.
    """
    coefficients = np.asarray(features.store.truth["coefficients"][:], np.float32)
    mouth = coefficients[:, MOUTH_INDEX]

    viseme = corpus.probe(mouth, "viseme", kinds=("linear",))
    scores: Scores = {"truth.viseme": viseme.estimate()}

    clip_of_frame = corpus.frames["clip"].to_numpy()
    triples = swap.draw_triples(corpus.clips, corpus.frames, config.swaps, 0)

    for length in TRUTH_WINDOWS:
        windows = mouth[window_rows(clip_of_frame, length)]
        code = retrieval.standardise(windows.reshape(len(mouth), -1))
        scores[f"truth.swap_image_{length}"] = swap.swap_image(look_up(code), triples)
        scores[f"truth.retrieval_r1_{length}"] = retrieval.retrieval_r1(
            code, corpus.clips, corpus.frames, num_sentences=config.gallery, seed=0
        )

    emotion = corpus.probe(coefficients, "emotion", per_clip=True, kinds=("linear",))
    scores["truth.emotion"] = emotion.estimate()
    scores["truth.intensity"] = corpus.probe_intensity(coefficients)

    return scores
