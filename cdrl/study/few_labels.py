"""Training clips of which few keep their emotion label, or none of one emotion."""

import copy

import numpy as np

from cdrl.core.vocabulary import UNLABELLED
from cdrl.priors.features import Features

SEED = 9203


def with_few_labels(features: Features, share: float, seed: int = 0) -> Features:
    """Keep the labels of some speakers' sentences; the clips of one sentence stay together.

    Args:
        features: of the training clips.
        share: of the sentences of speakers, 0 to 1; one keeps its labels at least.
        seed: of the draw.

    Returns:
        The same features; the labels of the other clips are empty.
    """
    clips = features.store.clips
    groups = clips.groupby(["speaker", "sentence"], sort=True)["emotion"]
    has_two = groups.nunique() > 1
    pairs = has_two.index[has_two]

    count = max(1, round(share * len(pairs)))
    random = np.random.default_rng([seed, SEED])
    drawn = {pairs[number] for number in random.choice(len(pairs), count, replace=False)}
    keys = zip(clips["speaker"], clips["sentence"], strict=True)
    return _relabelled(features, np.array([key in drawn for key in keys]))


def without_emotion(features: Features, emotion: str) -> Features:
    """Take the label off every clip of one emotion, so that no training sees it.

    Args:
        features: of the training clips.
        emotion: its name.
    """
    emotions = features.store.clips["emotion"].to_numpy()
    return _relabelled(features, emotions != emotion)


def _relabelled(features: Features, keeps: np.ndarray) -> Features:
    """The same features, where (C,) bool says which clips keep their label."""
    store = copy.copy(features.store)
    emotion = store.clips["emotion"].where(keeps, UNLABELLED)
    store.clips = store.clips.assign(emotion=emotion)
    relabelled = copy.copy(features)
    relabelled.store = store
    return relabelled
