"""What the source's mouth and the labels tell of the true edit's mouth: trees on true edits.

It is a reference value, no bound: the rest of the face, which an editor sees, says more about how a
person acts.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from cdrl.core.files import atomic_path, read_arrays
from cdrl.core.vocabulary import EMOTIONS
from cdrl.corpora.store import Store
from cdrl.evaluation.edit_tasks import TrueEdits, resize_crops
from cdrl.evaluation.judges import Judges
from cdrl.evaluation.readings import frames_to_tensor
from cdrl.media.mouth_curves import mouth_curves
from cdrl.studio.edits import source_of

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesRegressor

CURVE_SCORES = ("mouth_error", "mouth_correlation", "speech_correlation")
OFFSETS = (0, -4, -2, 2, 4)  # frames that the trees see, relative to the frame they predict
STRIDE = 2  # every second frame of the training pairs is used
LEVELS = 3  # intensity 1 is level 3


def read_pairs(sources: Store, true_edits: Store, size: int, out: Path) -> None:
    """Write the mouth curves of clips and of their true edits, with the labels of both.

    Args:
        sources: clips of training people.
        true_edits: their true edits.
        size: side of the crops that the evaluation tracker reads, pixels.
        out: an .npz file of plain arrays.
    """
    judges = Judges(("tracker",))
    clip_index = {name: index for index, name in enumerate(sources.clips.name)}
    source_curves: dict[int, np.ndarray] = {}

    curves_before = []
    curves_after = []
    labels = []
    names = tqdm(true_edits.clips.name, desc="mouths of true edits", mininterval=2)

    for edit, name in enumerate(names):
        clip = clip_index[source_of(name)]
        if clip not in source_curves:
            source_curves[clip] = _mouth_curves(judges, sources, clip, size)
        curves_before.append(source_curves[clip])
        curves_after.append(_mouth_curves(judges, true_edits, edit, size))
        labels.append(label_features(sources.clips.iloc[clip], true_edits.clips.iloc[edit]))

    arrays: dict[str, Any] = {
        "lengths": np.array([len(curves) for curves in curves_after]),
        "asked": np.array(labels),
        "source": np.concatenate(curves_before),
        "truth": np.concatenate(curves_after),
    }
    with atomic_path(out) as partial, open(partial, "wb") as file:
        np.savez(file, **arrays)


def predict_curves(
    edits: TrueEdits, sources: list[np.ndarray], pairs: Path, trees: int = 200, seed: int = 0
) -> list[np.ndarray]:
    """Predict the mouth curves of every edit: the source's, and the change that trees learnt.

    Args:
        edits: which clip becomes which emotion.
        sources: mouth curves (T, 3) of each edit's source.
        pairs: a file of `read_pairs`.
        trees: number of trees.
        seed: of the trees.

    Returns:
        One (T, 3) array an edit.
    """
    model = _fit_trees(pairs, trees, seed)
    clips = edits.report.clips

    requests = edits.requests.clips
    predicted = []
    for edit, curves in enumerate(sources):
        labels = label_features(clips.iloc[edits.sources[edit]], requests.iloc[edit])
        change = model.predict(_tree_features(curves, labels))
        predicted.append(curves + change)

    return predicted


def _fit_trees(pairs: Path, trees: int, seed: int) -> "ExtraTreesRegressor":
    """Fit trees on the changes between sources and true edits of `read_pairs`."""
    from sklearn.ensemble import ExtraTreesRegressor  # here: its import takes a second

    arrays = read_arrays(pairs, ("lengths", "source", "truth", "asked"))
    ends = np.cumsum(arrays["lengths"])[:-1]
    curves_before = np.split(arrays["source"], ends)
    changes = np.split(arrays["truth"] - arrays["source"], ends)
    labels = arrays["asked"]

    inputs = []
    for curves, clip_labels in zip(curves_before, labels, strict=True):
        inputs.append(_tree_features(curves, clip_labels)[::STRIDE])

    targets = [change[::STRIDE] for change in changes]
    model = ExtraTreesRegressor(trees, min_samples_leaf=20, max_features=0.5, random_state=seed)

    return model.fit(np.concatenate(inputs), np.concatenate(targets))


def _mouth_curves(judges: Judges, store: Store, clip: int, size: int) -> np.ndarray:
    """Return the mouth curves of a clip, (T, 3), as the evaluation tracker reads them."""
    crops = resize_crops(store.face[store.frames(clip)], size)
    coefficients, _ = judges.track(frames_to_tensor(crops))
    return mouth_curves(coefficients)


def label_features(source: Any, edit: Any) -> np.ndarray:
    """Return emotion and level of a source clip and of its edit, (18,).

    Args:
        source: row of a table of clips.
        edit: row of a table of clips.
    """
    values = []
    for clip in (source, edit):
        one_hot = [float(clip.emotion == emotion) for emotion in EMOTIONS]
        values.append([*one_hot, clip.intensity / LEVELS])

    return np.concatenate(values)


def _tree_features(curves: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return what the trees see of every frame.

    Args:
        curves: (T, 3) mouth curves.
        labels: (18,) of `label_features`.

    Returns:
        (T, 39): the frame and those around it, the clip's mean and standard deviation, the labels.
    """
    frames = np.arange(len(curves))
    neighbours = []
    for offset in OFFSETS:
        rows = np.clip(frames + offset, 0, len(curves) - 1)
        neighbours.append(curves[rows])

    clip_features = np.concatenate([curves.mean(0), curves.std(0), labels])
    repeated = np.broadcast_to(clip_features, (len(curves), len(clip_features)))

    return np.concatenate([*neighbours, repeated], 1)
