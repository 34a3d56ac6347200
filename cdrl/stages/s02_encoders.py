"""Notebooks 02 and 03: the two encoders and their controls."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from cdrl.baselines.released.training import present, train_released_emotion
from cdrl.core.results import read_results
from cdrl.core.settings import stage_folder
from cdrl.corpora.time_warp import align_by_phones, linear
from cdrl.evaluation import controls
from cdrl.priors.features import Features
from cdrl.representation.content import train_content
from cdrl.representation.emotion import train_emotion
from cdrl.representation.pairs import PairSampler, chance_loss, find_pairs
from cdrl.stages.s00_corpus import open_features


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


def train_cerl(run: Path, config, out: Path) -> dict:
    """Notebook 03: train the shared head and the prompts; the same on constant and noise images, the controls; CERL as released.

    Returns:
        emotion.loss.*: the last value of the prompt loss, beside its no-information value ln 8; released.emotion.loss.*: of the
        released loss on faces, on noise, and on noise with one head for all labels, beside ln 7 (the emotions that are there).
    """
    features = open_features(run, "train")
    language = _language(run)
    _, history = train_emotion(features, config, language, out)
    scores = {
        "emotion.loss.prior": float(history["prior"].iloc[-1]),
        "emotion.loss.prior.chance": float(np.log(8)),
    }
    for kind in ("constant", "noise"):
        short = replace(config, steps=config.control_steps)
        _, blank = train_emotion(
            controls.without_information(features, kind, language), short, language, out / kind
        )
        scores[f"control.{kind}.emotion.loss"] = float(blank["prior"].tail(5).mean())
    noise = controls.without_information(features, "noise", language)
    given = {"faces": (features, False), "noise": (noise, False), "noise_one_head": (noise, True)}
    for name, (seen, shared) in given.items():
        released = train_released_emotion(
            seen, language, config.released_steps, config.seed, shared=shared
        )
        (out / "released").mkdir(exist_ok=True)
        released.to_parquet(out / "released" / f"{name}.parquet", index=False)
        scores[f"released.emotion.loss.{name}"] = float(released.loss.tail(3).mean())
    return scores | {"released.emotion.loss.chance": float(np.log(len(present(features))))}


def _language(run: Path) -> str:
    return read_results(stage_folder(run, "priors"))["stages"]["priors"]["config"]["language"]
