"""Notebook 07 and `cdrl compare`: losses and encoders of one's own, scored beside the kit's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.settings import ContentConfig, ProbeConfig, config_hash, stage_config
from cdrl.core.stage import run_stage
from cdrl.evaluation import swap
from cdrl.evaluation.estimate import (
    Estimate,
    estimate_score,
    flatten_scores,
    mean_statistics,
    paired_difference,
)
from cdrl.evaluation.leakage import ProbeCorpus
from cdrl.models.content import ContentEncoder
from cdrl.priors.features import Features
from cdrl.representation.ccrl import embed_content, train_content
from cdrl.representation.components import check_content
from cdrl.representation.pairs import find_pairs
from cdrl.stages.s00_corpus import build_corpus
from cdrl.stages.s01_priors import extract_priors, open_features
from cdrl.stages.s04_probe import probe_corpus

FOLDER = "07_ideas"  # of a run
LINEAR = "linear"
SWAP = "swap_image"
FACTORS = ("viseme", "emotion")
SCORES = (SWAP, *FACTORS)
SWAP_CHANCE = 0.5
GAIN = "_gain"
# Settings of a run that is made for comparisons alone: few people and sentences.
SMALL_RUN = {
    "corpus.train_people": 12,
    "corpus.report_people": 12,
    "corpus.report_sentences": 4,
    "corpus.edits": 7,
    "probe.fit_frames": 4000,
}


@dataclass(frozen=True)
class ScoreRows:
    """What is counted for one score of one encoder.

    Attributes:
        hits: (N,) 0, .5 or 1, the rows of every idea in the same order.
        people: (N,) the speaker of each row.
        seeds: (N,) the training seed of each row.
        chance: the score without any information.
    """

    hits: np.ndarray
    people: np.ndarray
    seeds: np.ndarray
    chance: float


def prepare_features(
    run: Path, preset: str = "cpu", settings: Mapping[str, Any] | None = None
) -> None:
    """Make the corpus and the features of a run, as notebooks 00 and 01; what is there is read.

    Args:
        run: folder of the run.
        preset: of the run.
        settings: of the run.

    Raises:
        InputError: the run has other settings; they are named.
    """
    corpus = stage_config("corpus", preset, settings)
    run_stage(corpus, run, partial(build_corpus, run, corpus))
    priors = stage_config("priors", preset, settings)
    run_stage(priors, run, partial(extract_priors, run, priors))


def compare_content(
    run: Path, ideas: Mapping[str, ContentConfig], probes: ProbeConfig, seeds: Sequence[int] = ()
) -> dict[str, float]:
    """Train CCRL for each idea, and score it on people that nothing was trained on.

    Every idea has the same pairs, batches and steps, as far as its settings say. Its encoder lies
    in `RUN/07_ideas`; the same code and settings are not trained again.

    Args:
        run: folder of a run with notebooks 00 and 01 done.
        ideas: name -> settings of CCRL. The first idea is what the others are compared with.
        probes: settings of the probes.
        seeds: of the trainings; each idea is trained once with each. Empty: with its own.

    Returns:
        `NAME.swap_image`, `NAME.viseme`, `NAME.emotion`, each with chance, interval and n; for all
        but the first idea also `NAME.swap_image_gain` and so on, the paired difference to the
        first. Intervals are over people, and over seeds where there are several.

    Raises:
        InputError: code that does not work, before anything is trained; a corpus without visemes.
    """
    train = open_features(run, "train")
    report = open_features(run, "report")
    for config in ideas.values():
        check_content(config, train)

    corpus = probe_corpus(report.store, probes)
    check_visemes(run, corpus)
    triples = swap.draw_triples(corpus.clips, corpus.frames, probes.swaps, probes.seed)

    scored = {}
    for name, config in ideas.items():
        parts = []
        for seed in seeds or (config.seed,):
            seeded = replace(config, seed=seed)
            pairs = find_pairs(train, seeded)
            encoder = _train_once(run, train, pairs, seeded)
            parts.append(_score(encoder, report, corpus, triples, seed))
        scored[name] = _join(parts)

    return flatten_scores(_compared(scored))


def check_visemes(run: Path, corpus: ProbeCorpus) -> None:
    """Refuse a corpus whose sounds are not known; real clips have no phone times.

    Args:
        run: what the error names.
        corpus: of the run.

    Raises:
        InputError: visemes cannot be probed.
    """
    reason = corpus.missing_reason("viseme", per_clip=False)
    if reason:
        raise InputError(f"{run}: {reason}; ideas are compared in a run of the studio")


def _train_once(
    run: Path, features: Features, pairs: pd.DataFrame, config: ContentConfig
) -> ContentEncoder:
    """Train an encoder; a folder of the same settings and code is resumed, so it takes no step."""
    folder = Path(run) / FOLDER / config_hash(config)
    encoder, _ = train_content(features, pairs, config, folder)
    return encoder


def _score(
    encoder: ContentEncoder,
    features: Features,
    corpus: ProbeCorpus,
    triples: swap.Triples,
    seed: int,
) -> dict[str, ScoreRows]:
    """Score the embedding of the image alone."""

    def embed(image_frames: np.ndarray, audio_frames: np.ndarray) -> np.ndarray:
        return embed_content(encoder, features, image_frames)

    wins = swap.triple_wins(embed, triples)
    rows = {SWAP: ScoreRows(wins, triples.speaker, np.full(len(wins), seed), SWAP_CHANCE)}

    code = embed_content(encoder, features)
    for factor in FACTORS:
        probe = corpus.probe(code, factor, kinds=(LINEAR,))
        hits = probe.hits[LINEAR].astype(float)
        rows[factor] = ScoreRows(hits, probe.groups, np.full(len(hits), seed), probe.chance)

    return rows


def _join(parts: Sequence[Mapping[str, ScoreRows]]) -> dict[str, ScoreRows]:
    """The rows of all seeds, one seed after another."""
    joined = {}
    for score in SCORES:
        rows = [part[score] for part in parts]
        joined[score] = ScoreRows(
            np.concatenate([part.hits for part in rows]),
            np.concatenate([part.people for part in rows]),
            np.concatenate([part.seeds for part in rows]),
            rows[0].chance,
        )

    return joined


def _compared(scored: Mapping[str, Mapping[str, ScoreRows]]) -> dict[str, Estimate]:
    """All estimates by name, with the differences to the first idea over the same rows."""
    first = next(iter(scored.values()))
    estimates = {}
    for name, scores in scored.items():
        for score, rows in scores.items():
            share = mean_statistics(rows.hits)
            seeds = rows.seeds if len(np.unique(rows.seeds)) > 1 else None
            estimate = estimate_score(share, rows.people, seeds, chance=rows.chance)
            estimates[f"{name}.{score}"] = estimate
            if scores is not first:
                first_share = mean_statistics(first[score].hits)
                gain = paired_difference(share, first_share, rows.people, seeds)
                estimates[f"{name}.{score}{GAIN}"] = gain

    return estimates
