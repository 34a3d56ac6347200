"""Notebook 02: the content encoder and its controls."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from cdrl.corpora.time_warp import align_by_phones, linear
from cdrl.evaluation import controls
from cdrl.priors.features import Features
from cdrl.representation.content import train_content
from cdrl.representation.pairs import PairSampler, chance_loss, find_pairs
from cdrl.stages.s01_priors import open_features


def train_ccrl(run: Path, config, out: Path) -> dict:
    """Notebook 02: pair, align, train; and the same on shuffled pairs, constant and noise images, the controls.

    Returns:
        pairs.*: how many, how many rejected, error in ms against the truth beside that of a linear warp; content loss.
    """
    features = open_features(run, "train")
    pairs = find_pairs(features, config)
    pairs.to_parquet(out / "pairs.parquet")
    train_content(features, pairs, config, out)
    short = replace(config, steps=config.control_steps)
    train_content(features, pairs, short, out / "shuffled", shuffled=True)
    for kind in ("constant", "noise"):
        train_content(controls.without_information(features, kind), pairs, short, out / kind)
    return pair_scores(features, pairs) | {
        "content.loss.chance": chance_loss(PairSampler(features, pairs, config))
    }


def pair_scores(features: Features, pairs: pd.DataFrame) -> dict:
    """Alignment error against the true phone times, in ms, of DTW and of a linear warp; nothing without truth."""
    scores = {
        "pairs.count": len(pairs),
        "pairs.kept": int(pairs.kept.sum()),
        "pairs.quality": float(pairs.quality.median()),
    }
    if "phoneme" not in features.store.truth:
        return scores
    errors = {"dtw": [], "linear": []}
    store, rate = features.store, features.store.clips.frame_rate.iloc[0]
    for row in pairs[pairs.kept].itertuples():
        said = [np.asarray(store.truth["phoneme"][store.frames(c)]) for c in (row.a, row.b)]
        truth = align_by_phones(*said)
        if truth is not None:
            errors["dtw"].append(np.abs(np.asarray(row.aligned) - truth))
            errors["linear"].append(np.abs(linear(*map(len, said)) - truth))
    for name, values in errors.items():
        values = np.concatenate(values) * 1000 / rate
        scores |= {
            f"pairs.error_ms.{name}": float(values.mean()),
            f"pairs.error_ms.{name}.p95": float(np.quantile(values, 0.95)),
        }
    return scores
