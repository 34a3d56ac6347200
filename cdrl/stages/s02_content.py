"""Notebook 02: the content encoder and its controls."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cdrl.core.settings import ContentConfig
from cdrl.corpora.dtw import linear_alignment, phone_alignment
from cdrl.evaluation import controls
from cdrl.priors.features import Features
from cdrl.representation.ccrl import train_content
from cdrl.representation.components import check_content, content_loss
from cdrl.representation.pairs import PairSampler, chance_loss, find_pairs
from cdrl.stages.s01_priors import open_features
from cdrl.training.side_by_side import side_by_side

BLANK_IMAGES = ("constant", "noise")
MILLISECONDS = 1000


def train_ccrl(run: Path, config: ContentConfig, out: Path) -> dict[str, float]:
    """Notebook 02: find pairs of clips, align them, train CCRL and its controls.

    The controls are the same training on shuffled pairs and on constant and noise images.

    Args:
        run: folder of the run.
        config: the stage's settings.
        out: the stage's folder.

    Returns:
        `pairs.*`: how many, how many rejected, and the alignment error in ms beside that of a
        linear warp; `content.loss.chance`, the contrastive term without information.
    """
    features = open_features(run, "train")
    check_content(config, features)
    pairs = find_pairs(features, config)

    pairs.to_parquet(out / "pairs.parquet")
    with side_by_side(_train_controls, [(run, pairs, config, out)], config):
        train_content(features, pairs, config, out)
        chance = chance_loss(PairSampler(features, pairs, config), content_loss(config))
        scores = pair_scores(features, pairs)

    return scores | {"content.loss.chance": chance}


def _train_controls(run: Path, pairs: pd.DataFrame, config: ContentConfig, out: Path) -> None:
    """Train on shuffled pairs, and on constant and noise images."""
    features = open_features(run, "train")
    short = replace(config, steps=config.control_steps)

    train_content(features, pairs, short, out / "shuffled", shuffled=True)
    for kind in BLANK_IMAGES:
        blank = controls.without_information(features, kind)
        train_content(blank, pairs, short, out / kind)


def pair_strip(
    features: Features, pairs: pd.DataFrame, columns: int = 8
) -> tuple[np.ndarray, list[str], list[str]]:
    """Show the same moments in both clips of the first pair, evenly spread.

    Args:
        features: of the clips.
        pairs: of `find_pairs`, those that are kept.
        columns: number of moments.

    Returns:
        (2, columns, C, C, 3) uint8 frames; emotion of each row, time of each column in the first
        clip.
    """
    store = features.store
    pair: Any = pairs.iloc[0]
    last = len(pair.aligned) - 1
    moments = np.linspace(0, last, columns).astype(int)

    aligned = np.round(np.asarray(pair.aligned)[moments]).astype(int)
    aligned = aligned.clip(0, store.clips["num_frames"][pair.b] - 1)
    first = np.asarray(store.face[store.frames(pair.a)])[moments]
    second = np.asarray(store.face[store.frames(pair.b)])[aligned]

    rate = store.clips["frame_rate"][pair.a]
    rows = [store.clips["emotion"][clip] for clip in (pair.a, pair.b)]
    times = [f"{moment / rate:.1f} s" for moment in moments]
    return np.stack([first, second]), rows, times


def pair_scores(features: Features, pairs: pd.DataFrame) -> dict[str, float]:
    """Measure the alignment of pairs against the true phone times.

    Args:
        features: of the clips.
        pairs: of `find_pairs`.

    Returns:
        `pairs.count`, `pairs.kept`, `pairs.quality`; where phone times are known the mean and the
        95th percentile of the error in ms, of DTW and of a linear warp.
    """
    scores = {
        "pairs.count": len(pairs),
        "pairs.kept": int(pairs.kept.sum()),
        "pairs.quality": float(pairs.quality.median()),
    }
    if "phoneme" not in features.store.truth:
        return scores

    errors: dict[str, list[np.ndarray]] = {"dtw": [], "linear": []}

    for pair in pairs[pairs.kept].itertuples():
        pair_errors = _alignment_errors(features, pair)
        for name, values in pair_errors.items():
            errors[name].append(values)

    rate = features.store.clips.frame_rate.iloc[0]

    for name, values_of_pairs in errors.items():
        milliseconds = np.concatenate(values_of_pairs) * MILLISECONDS / rate
        scores[f"pairs.error_ms.{name}"] = float(milliseconds.mean())
        scores[f"pairs.error_ms.{name}.p95"] = float(np.quantile(milliseconds, 0.95))

    return scores


def _alignment_errors(features: Features, pair: Any) -> dict[str, np.ndarray]:
    """Return the errors of one pair in frames, (T,) each; nothing where its phones do not match."""
    store = features.store
    phonemes = store.truth["phoneme"]
    first = np.asarray(phonemes[store.frames(pair.a)])

    second = np.asarray(phonemes[store.frames(pair.b)])
    truth = phone_alignment(first, second)
    if truth is None:
        return {}

    linear = linear_alignment(len(first), len(second))

    return {"dtw": np.abs(np.asarray(pair.aligned) - truth), "linear": np.abs(linear - truth)}
