"""What the source's mouth and the labels tell of the true edit's mouth: trees that were taught it, on true edits of the training people.

A mark to measure hosts at, no bound: the rest of the face, which a host sees, says more about how a person acts.
"""

from pathlib import Path

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from tqdm.auto import tqdm

from cdrl.core.vocabulary import EMOTIONS
from cdrl.corpora.store import Store
from cdrl.evaluation import edit_scores
from cdrl.evaluation.edit_evaluation import TrueEdits, resized, tensor
from cdrl.evaluation.judges import Judges
from cdrl.studio.edits import source_of

SCORES = ("mouth_error", "mouth_correlation", "speech_correlation")
AROUND = (-4, -2, 2, 4)  # frames that the trees see beside the one that they answer for
EVERY = 2  # frames of the training pairs


def read_pairs(sources: Store, wanted: Store, size: int, out: Path) -> None:
    """Write the mouth curves of clips and of their true edits, as the evaluation tracker reads them, with what was asked for.

    Args:
        sources, wanted: training people's clips and true edits. size: pixels at which crops are judged. out: an .npz of plain arrays.
    """
    judges, number = Judges(("tracker",)), {name: k for k, name in enumerate(sources.clips.name)}
    origin = np.array([number[source_of(name)] for name in wanted.clips.name])
    curves, known = {"source": [], "truth": []}, {}
    for k, clip in enumerate(tqdm(origin, desc="mouths of true edits", mininterval=2)):
        if clip not in known:
            known[clip] = _curves(judges, sources, clip, size)
        curves["source"].append(known[clip])
        curves["truth"].append(_curves(judges, wanted, k, size))
    asked = [
        _asked(sources.clips.iloc[clip], wanted.clips.iloc[k]) for k, clip in enumerate(origin)
    ]
    partial = Path(out).with_suffix(".partial.npz")
    lengths = np.array([len(one) for one in curves["truth"]])
    np.savez(
        partial,
        lengths=lengths,
        asked=np.array(asked),
        **{name: np.concatenate(values) for name, values in curves.items()},
    )
    partial.replace(out)


def best_curves(
    edits: TrueEdits, sources: list[np.ndarray], pairs: Path, trees: int = 200, seed: int = 0
) -> list[np.ndarray]:
    """The mouth curves that trees expect of every edit: the source's, and the change that `read_pairs` taught them.

    Args:
        sources: mouth curves (T, 3) of each edit's source. pairs: file of `read_pairs`.

    Returns:
        One (T, 3) array an edit.
    """
    with np.load(pairs) as kept:
        ends = np.cumsum(kept["lengths"])[:-1]
        seen = [
            _features(one, asked)[::EVERY]
            for one, asked in zip(np.split(kept["source"], ends), kept["asked"], strict=True)
        ]
        change = np.concatenate(
            [one[::EVERY] for one in np.split(kept["truth"] - kept["source"], ends)]
        )
    model = ExtraTreesRegressor(
        trees, min_samples_leaf=20, max_features=0.5, random_state=seed
    ).fit(np.concatenate(seen), change)
    clips, wanted = edits.report.clips, edits.wanted.clips
    asked = [_asked(clips.iloc[source], wanted.iloc[k]) for k, source in enumerate(edits.sources)]
    return [
        one + model.predict(_features(one, each)) for one, each in zip(sources, asked, strict=True)
    ]


def _curves(judges: Judges, store: Store, clip: int, size: int) -> np.ndarray:
    return edit_scores.mouth_curves(
        judges.track(tensor(resized(store.face[store.frames(clip)], size)))[0]
    )


def _asked(source, wanted) -> np.ndarray:
    """(18,) emotion and level of the source and of the edit."""
    both = [
        [float(row.emotion == name) for name in EMOTIONS] + [row.intensity / 3]
        for row in (source, wanted)
    ]
    return np.concatenate(both)


def _features(curves: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """(T, 3), (18,) -> (T, 39): the moment, those around it, the clip's mean and deviation, and what is asked."""
    rows = np.arange(len(curves))
    around = [curves[np.clip(rows + step, 0, len(curves) - 1)] for step in (0, *AROUND)]
    whole = np.concatenate([curves.mean(0), curves.std(0), asked])
    return np.concatenate([*around, np.broadcast_to(whole, (len(curves), len(whole)))], 1)
