"""Scores and cards of the committed networks that this folder trains."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cdrl.core.vocabulary import ACTIONS
from cdrl.corpora.store import Store

HELD_OUT = "choosing set: other people and other sentences"
LICENCE = "Apache-2.0"
MIN_VARIANCE = 4e-4  # of an action: it hardly moves below a standard deviation of .02
STD_FLOOR = 0.02  # added to the std of every action, so that none is divided by zero


def training_card(
    name: str, arguments: dict[str, Any], truth: str, scores: dict[str, Any], steps: int
) -> dict[str, Any]:
    """What is known of a network, for the file beside its weights.

    Args:
        name: of the weights, and of the command that makes them.
        arguments: that build the network.
        truth: what it was trained on.
        scores: on the held-out people; floats are rounded to four digits.
        steps: optimiser steps.
    """
    rounded = {}
    for score, value in scores.items():
        if isinstance(value, float):
            value = round(value, 4)
        rounded[score] = value

    return {
        "name": name,
        "model": arguments,
        "truth": truth,
        "steps": steps,
        "command": f"cdrl train {name}",
        "held_out": HELD_OUT,
        "licence": LICENCE,
        "scores": rounded,
    }


def r2(truth: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Coefficient of determination of each column.

    Args:
        truth: (N, D).
        predictions: (N, D).

    Returns:
        (D,); the mean scores 0, NaN where the truth hardly moves (standard deviation below .02).
    """
    variance = truth.var(0)
    error = ((truth - predictions) ** 2).mean(0)
    explained = 1 - error / np.maximum(variance, 1e-9)
    return np.where(variance > MIN_VARIANCE, explained, np.nan)


def r2_scores(
    held_out: Store, values: np.ndarray, index: Sequence[int] | np.ndarray, frames: int
) -> dict[str, Any]:
    """Scores of a network that reads facial actions, for its card.

    Args:
        held_out: the store that it was scored on.
        values: (K,) coefficients of determination.
        index: (K,) which actions these are.
        frames: how many were scored.

    Returns:
        r2 (mean over actions that move), n, people, and r2.ACTION of each.
    """
    mean = np.nanmean(values)
    people = held_out.clips.speaker.nunique()
    scores: dict[str, Any] = {"r2": float(mean), "n": frames, "people": int(people)}

    for action, value in zip(index, values, strict=True):
        if np.isfinite(value):
            name = ACTIONS[action]
            scores[f"r2.{name}"] = round(float(value), 3)
    return scores


def true_actions(store: Store) -> np.ndarray:
    """The true facial actions of a store of the studio.

    Args:
        store: with truth.

    Returns:
        (N, 52) float32.
    """
    return store.truth["coefficients"][:].astype(np.float32)
