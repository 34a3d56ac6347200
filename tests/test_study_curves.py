"""Rows that give true edits of training people to boosted trees: an upper bound."""

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from cdrl.evaluation import edit_scores
from cdrl.study.curve_jobs import label_features, predict_curves

EMOTIONS = ("angry", "happy", "sad")
SHIFT = {"angry": (0.3, 0, 0), "happy": (0, 0.4, 0), "sad": (0, 0, -0.3)}
FRAMES = 40


class Clips(NamedTuple):
    """Mouth curves (40, 3) of clips and of their edits, with the labels of both."""

    sources: list
    truths: list
    source_table: pd.DataFrame
    edit_table: pd.DataFrame


def draw_clips(number, seed, own_shift=0.0):
    """Clips and edits: a shift that emotion and level tell, and a random one of each clip's own."""
    random = np.random.default_rng(seed)
    sources, truths, labels = [], [], []
    for _ in range(number):
        source = np.cumsum(random.normal(0, 0.1, (FRAMES, 3)), 0)
        emotion = EMOTIONS[random.integers(3)]
        level = int(random.integers(1, 4))
        shift = np.array(SHIFT[emotion]) * level
        truths.append(source + shift + own_shift * random.normal(0, 1, 3))
        sources.append(source)
        labels.append({"emotion": emotion, "intensity": level})
    neutral = pd.DataFrame({"emotion": "neutral", "intensity": 1}, index=range(number))
    return Clips(sources, truths, neutral, pd.DataFrame(labels))


def write_pairs(path, clips):
    labels = []
    for number in range(len(clips.sources)):
        source = clips.source_table.iloc[number]
        edit = clips.edit_table.iloc[number]
        labels.append(label_features(source, edit))
    np.savez(
        path,
        lengths=[FRAMES] * len(clips.sources),
        asked=labels,
        source=np.concatenate(clips.sources),
        truth=np.concatenate(clips.truths),
    )


def errors(own_shift, tmp_path, scrambled=False):
    """The mouth error of the trees and of copying the source, on clips that trained nothing."""
    training = draw_clips(240, 0, own_shift)
    if scrambled:
        training = training._replace(truths=training.truths[1:] + training.truths[:1])
    pairs = tmp_path / "pairs.npz"
    write_pairs(pairs, training)

    scored = draw_clips(40, 1, own_shift)
    edits = SimpleNamespace(
        report=SimpleNamespace(clips=scored.source_table),
        requests=SimpleNamespace(clips=scored.edit_table),
        sources=np.arange(40),
    )
    predicted = predict_curves(edits, scored.sources, pairs, trees=40)
    assert [curves.shape for curves in predicted] == [(FRAMES, 3)] * 40
    by_trees = edit_scores.mouth_error(predicted, scored.truths).value
    by_copying = edit_scores.mouth_error(scored.sources, scored.truths).value
    return by_trees, by_copying


def test_what_emotion_and_level_tell_is_found(tmp_path):
    by_trees, by_copying = errors(0.0, tmp_path)
    assert by_trees < 0.4 * by_copying


def test_what_nothing_tells_stays_an_error(tmp_path):
    """Each clip's own shift has std .3: relative to the std of the truth it is the least error."""
    truths = np.concatenate(draw_clips(40, 1, 0.3).truths)
    least = 0.3 * np.sqrt(np.mean(1 / truths.var(0)))
    by_trees, _ = errors(0.3, tmp_path)
    without_own_shift, _ = errors(0.0, tmp_path)
    assert by_trees == pytest.approx(least, rel=0.35)
    assert by_trees > without_own_shift


def test_trained_on_another_clip_s_truth_they_know_nothing(tmp_path):
    by_trees, by_copying = errors(0.0, tmp_path, scrambled=True)
    assert by_trees > 0.8
    assert by_trees > by_copying
