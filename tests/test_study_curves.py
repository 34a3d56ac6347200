"""Trees find what the source's mouth tells of the true edit's, and nothing where it tells nothing."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cdrl.evaluation import edit_scores
from cdrl.study.curve_jobs import _asked, best_curves

EMOTIONS = ("angry", "happy", "sad")
SHIFT = {"angry": (0.3, 0, 0), "happy": (0, 0.4, 0), "sad": (0, 0, -0.3)}


def acted(number, seed, chance=0.0):
    """Clips of 40 frames and their edits: a shift that emotion and level tell, and one of each clip's own that nothing tells."""
    random, sources, truths, rows = np.random.default_rng(seed), [], [], []
    for _ in range(number):
        source = np.cumsum(random.normal(0, 0.1, (40, 3)), 0)
        emotion, level = EMOTIONS[random.integers(3)], int(random.integers(1, 4))
        truths.append(source + np.array(SHIFT[emotion]) * level + chance * random.normal(0, 1, 3))
        sources.append(source)
        rows.append({"emotion": emotion, "intensity": level})
    return (
        sources,
        truths,
        pd.DataFrame(rows),
        pd.DataFrame({"emotion": "neutral", "intensity": 1}, index=range(number)),
    )


def kept(path, sources, truths, wanted, clips):
    asked = [_asked(clips.iloc[k], wanted.iloc[k]) for k in range(len(sources))]
    np.savez(
        path,
        lengths=[40] * len(sources),
        asked=asked,
        source=np.concatenate(sources),
        truth=np.concatenate(truths),
    )
    return path


def error(chance, tmp_path, scrambled=False):
    sources, truths, wanted, clips = acted(240, 0, chance)
    if scrambled:
        truths = truths[1:] + truths[:1]
    pairs = kept(tmp_path / "pairs.npz", sources, truths, wanted, clips)
    sources, truths, wanted, clips = acted(40, 1, chance)
    edits = SimpleNamespace(
        report=SimpleNamespace(clips=clips),
        wanted=SimpleNamespace(clips=wanted),
        sources=np.arange(40),
    )
    found = best_curves(edits, sources, pairs, trees=40)
    assert [one.shape for one in found] == [(40, 3)] * 40
    return edit_scores.mouth_error(found, truths).value, edit_scores.mouth_error(
        sources, truths
    ).value


def test_what_emotion_and_level_tell_is_found(tmp_path):
    mine, copied = error(0.0, tmp_path)
    assert mine < 0.4 * copied


def test_what_nothing_tells_stays_an_error(tmp_path):
    """Each clip's own shift has deviation .3: its share of the truth's deviation is the least error there is."""
    truths = acted(40, 1, 0.3)[1]
    least = 0.3 * np.sqrt(np.mean(1 / np.concatenate(truths).var(0)))
    assert (
        error(0.3, tmp_path)[0] == pytest.approx(least, rel=0.35)
        and error(0.3, tmp_path)[0] > error(0.0, tmp_path)[0]
    )


def test_taught_another_clip_s_truth_they_know_nothing(tmp_path):
    mine, copied = error(0.0, tmp_path, scrambled=True)
    assert mine > 0.8 and mine > copied
