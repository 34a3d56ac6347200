"""The labels of single frames of a run, for the colours of a map."""

from pathlib import Path

import numpy as np

from cdrl.core.settings import stage_folder
from cdrl.core.vocabulary import VISEMES
from cdrl.corpora.store import Store

FACTORS = ("emotion", "speaker", "sentence", "intensity")


def factors_of_frames(run: Path, rows: np.ndarray) -> dict[str, np.ndarray]:
    """The labels of frames of the reporting people.

    Args:
        run: folder of the run.
        rows: (n,) frames of the reporting store.

    Returns:
        {factor: (n,) labels}; the viseme where the corpus knows it.
    """
    store = Store(stage_folder(run, "corpus") / "report")
    labels = {}
    if "viseme" in store.truth:
        visemes = store.truth["viseme"][:][rows]
        labels["viseme"] = np.array(VISEMES)[visemes]

    for factor in FACTORS:
        labels[factor] = store.per_frame(factor)[rows]

    return labels
