"""Notebook 07: contrastive losses and encoders of one's own, scored beside the kit's."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cdrl.core.settings import ContentConfig, ProbeConfig, config_hash
from cdrl.evaluation import swap
from cdrl.evaluation.estimate import Estimate, flatten_scores, mean_statistics, paired_difference
from cdrl.evaluation.leakage import ProbeCorpus
from cdrl.models.content import ContentEncoder
from cdrl.priors.features import Features
from cdrl.representation.ccrl import embed_content, train_content
from cdrl.representation.components import check_content
from cdrl.representation.pairs import find_pairs
from cdrl.stages.s01_priors import open_features
from cdrl.stages.s04_probe import probe_corpus

FOLDER = "07_ideas"  # of a run
LINEAR = ("linear",)


@dataclass(frozen=True)
class ScoredIdea:
    """The scores of one encoder.

    Attributes:
        estimates: swap_image, viseme and emotion.
        wins: (N,) of the triples of the image swap, 0, .5 or 1.
    """

    estimates: dict[str, Estimate]
    wins: np.ndarray


def compare_content(
    run: Path, ideas: Mapping[str, ContentConfig], probes: ProbeConfig
) -> dict[str, float]:
    """Train CCRL once for each idea, and score it on people that nothing was trained on.

    Every idea has the same pairs, batches and steps, as far as its settings say. Its encoder lies
    in `RUN/07_ideas`; the same code and settings are not trained again.

    Args:
        run: folder of a run with notebooks 00 and 01 done.
        ideas: name -> settings of CCRL. The first idea is what the others are compared with.
        probes: settings of the probes.

    Returns:
        `NAME.swap_image`, `NAME.viseme`, `NAME.emotion`, each with chance, interval and n; for all
        but the first idea `NAME.swap_image_gain`, the paired difference to the first.

    Raises:
        InputError: code that does not work, before anything is trained.
    """
    train = open_features(run, "train")
    report = open_features(run, "report")
    for config in ideas.values():
        check_content(config, train)

    corpus = probe_corpus(report.store, probes)
    triples = swap.draw_triples(corpus.clips, corpus.frames, probes.swaps, probes.seed)

    scored = {}
    for name, config in ideas.items():
        pairs = find_pairs(train, config)
        encoder = _train_once(run, train, pairs, config)
        scored[name] = _score(encoder, report, corpus, triples)

    return flatten_scores(_compared(scored, triples))


def _train_once(
    run: Path, features: Features, pairs: pd.DataFrame, config: ContentConfig
) -> ContentEncoder:
    """Train an encoder; a folder of the same settings and code is resumed, so it takes no step."""
    folder = Path(run) / FOLDER / config_hash(config)
    encoder, _ = train_content(features, pairs, config, folder)
    return encoder


def _score(
    encoder: ContentEncoder, features: Features, corpus: ProbeCorpus, triples: swap.Triples
) -> ScoredIdea:
    """Score the embedding of the image alone."""

    def embed(image_frames: np.ndarray, audio_frames: np.ndarray) -> np.ndarray:
        return embed_content(encoder, features, image_frames)

    code = embed_content(encoder, features)
    estimates = {
        "swap_image": swap.swap_image(embed, triples),
        "viseme": corpus.probe(code, "viseme", kinds=LINEAR).estimate(),
        "emotion": corpus.probe(code, "emotion", kinds=LINEAR).estimate(),
    }
    return ScoredIdea(estimates, swap.triple_wins(embed, triples))


def _compared(scored: Mapping[str, ScoredIdea], triples: swap.Triples) -> dict[str, Estimate]:
    """All estimates by name, with the differences to the first idea over the same triples."""
    first = next(iter(scored.values()))
    estimates = {}
    for name, idea in scored.items():
        for score, estimate in idea.estimates.items():
            estimates[f"{name}.{score}"] = estimate
        if idea is not first:
            own_wins = mean_statistics(idea.wins)
            first_wins = mean_statistics(first.wins)
            gain = paired_difference(own_wins, first_wins, triples.speaker)
            estimates[f"{name}.swap_image_gain"] = gain

    return estimates
