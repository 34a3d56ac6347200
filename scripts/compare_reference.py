"""Print how near edits come to a person's own way of acting: by label, and by a reference clip.

    python scripts/compare_reference.py runs/demo --clips 3

Neutral clips of a run's reporting people are edited to the other emotions, from their tracked
actions. The reference is one or more other sentences of the same person in the wanted emotion at
one level, which is taken as known, for the label too. Compared are the edit by label; the
manipulator's own style code of the reference; the label's edit moved by a share of what the
reference's mean actions differ from its own; and moved by a linear map of that difference. One map
is fitted on training people: one half of a clip is the reference of the other half. One is fitted
on true edits of the other people, so that it is an upper bound and no editor. Scores are against
exact true edits, before anything is drawn: `mouth_posture_error` with its 95 % interval over
people, and the paired difference to the label.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cdrl.core.vocabulary import ACTIONS, SCORED_EMOTIONS
from cdrl.corpora.store import Store
from cdrl.editors.actions import edit_actions, load_manipulator
from cdrl.editors.samplers import LEVELS
from cdrl.evaluation.edit_scores import mouth_posture_error
from cdrl.evaluation.estimate import ScoreStatistics, estimate_score, paired_difference
from cdrl.media.mouth_curves import mouth_curves
from cdrl.priors.actions import load_tracker, track
from cdrl.priors.features import Features
from cdrl.studio.acting import true_edit
from cdrl.studio.corpus import spec_of

NEUTRAL = "neutral"
SHARES = (0.3, 0.5, 1.0)  # of the difference of mean actions
RATE = 25  # Hz
RIDGE = 0.1  # of the inner products, beside differences of unit variance
LEAST_SCALE = 1e-4
MOUTH = [
    number for number, name in enumerate(ACTIONS) if name.startswith(("mouth", "jaw", "cheek"))
]


@dataclass(frozen=True)
class Edit:
    """One edit and what it is compared with.

    Attributes:
        speaker: of all clips.
        source: (T, 52) tracked actions of the neutral clip.
        reference: (T', 52) tracked actions of the reference, its clips one after another.
        by_label: (T, 52) the edit by label.
        by_style: (T, 52) the edit by the reference's style code.
        truth: (T, 52) exact actions of the true edit.
    """

    speaker: str
    source: np.ndarray
    reference: np.ndarray
    by_label: np.ndarray
    by_style: np.ndarray
    truth: np.ndarray

    @property
    def difference(self) -> np.ndarray:
        """(52,) mean actions of the reference less those of the edit by label."""
        return self.reference.mean(axis=0) - self.by_label.mean(axis=0)


def tracked_clips(run: Path, split: str) -> tuple[Store, list[np.ndarray]]:
    """The clips of a split of a run, and the (T, 52) tracked actions of each."""
    store = Store(run / "00_corpus" / split)
    tracked = track(Features(store, run / "01_priors" / split), load_tracker())
    return store, [tracked.clip(clip).clip(0, 1) for clip in range(len(store.clips))]


def make_edits(run: Path, number: int, num_clips: int, seed: int) -> list[Edit]:
    """Edit neutral clips of the run's reporting people, by label and by reference.

    Args:
        run: folder of a run whose notebook 01 is done.
        number: of edits at most.
        num_clips: of a reference at most.
        seed: of the draw of clips and references.
    """
    store, tracked = tracked_clips(run, "report")
    clips = store.clips
    manipulator = load_manipulator()
    random = np.random.default_rng(seed)

    emotions = [emotion for emotion in SCORED_EMOTIONS if emotion != NEUTRAL]
    neutral = np.flatnonzero(clips.emotion == NEUTRAL)
    wanted = [(int(clip), emotion) for clip in neutral for emotion in emotions]
    chosen = random.permutation(len(wanted))[:number]
    edits = []
    for source, emotion in [wanted[index] for index in sorted(chosen)]:
        is_reference = (clips.speaker == clips.speaker[source]) & (clips.emotion == emotion)
        is_reference &= clips.sentence != clips.sentence[source]
        first = int(random.choice(np.flatnonzero(is_reference)))
        level = int(clips.intensity[first])
        is_reference &= (clips.intensity == level) & (clips.index != first)
        others = random.permutation(np.flatnonzero(is_reference))[: num_clips - 1]

        actions = tracked[source]
        acted = np.concatenate([tracked[clip] for clip in (first, *others)])
        spec = spec_of(clips.name[source])
        edits.append(
            Edit(
                speaker=clips.speaker[source],
                source=actions,
                reference=acted,
                by_label=edit_actions(manipulator, actions, emotion, level / LEVELS),
                by_style=edit_actions(manipulator, actions, None, level / LEVELS, acted),
                truth=true_edit(spec, emotion, level).coefficients,
            )
        )
    return edits


class LinearMap:
    """Ridge regression from the mouth's differences to moves of all actions.

    Args:
        differences: (N, 52).
        moves: (N, 52).
    """

    def __init__(self, differences: np.ndarray, moves: np.ndarray) -> None:
        mouth = differences[:, MOUTH]
        self.scale = mouth.std(axis=0) + LEAST_SCALE
        scaled = mouth / self.scale
        inner = scaled.T @ scaled + RIDGE * len(scaled) * np.eye(len(MOUTH))
        self.weights = np.linalg.solve(inner, scaled.T @ moves)

    def __call__(self, differences: np.ndarray) -> np.ndarray:
        """(N, 52) differences -> (N, 52) moves."""
        return differences[:, MOUTH] / self.scale @ self.weights


def map_of_halves(run: Path) -> LinearMap:
    """Fit on training people: one half of a clip shows how the other half is acted.

    Every clip is the target of an edit by label of the same person's other clip of the sentence.
    """
    store, tracked = tracked_clips(run, "train")
    clips = store.clips
    manipulator = load_manipulator()
    differences = []
    moves = []
    for target in np.flatnonzero(clips.emotion != NEUTRAL):
        is_source = (clips.speaker == clips.speaker[target]) & (clips.index != target)
        is_source &= clips.sentence == clips.sentence[target]
        strength = int(clips.intensity[target]) / LEVELS
        for source in np.flatnonzero(is_source):
            edited = edit_actions(
                manipulator, tracked[source], str(clips.emotion[target]), strength
            )
            missing = halves_of(tracked[target]) - halves_of(edited)
            differences += [missing[0], missing[1]]
            moves += [missing[1], missing[0]]
    return LinearMap(np.stack(differences), np.stack(moves))


def halves_of(actions: np.ndarray) -> np.ndarray:
    """(T, 52) -> (2, 52) means of the first and of the second half."""
    return np.stack([half.mean(axis=0) for half in np.array_split(actions, 2)])


def moves_of_true_edits(edits: list[Edit]) -> np.ndarray:
    """(E, 52) moves by a map that is fitted on the true edits of the other people."""
    speakers = np.array([edit.speaker for edit in edits])
    differences = np.stack([edit.difference for edit in edits])
    missing = np.stack([edit.truth.mean(axis=0) - edit.by_label.mean(axis=0) for edit in edits])
    moves = np.zeros_like(missing)
    for speaker in np.unique(speakers):
        others = speakers != speaker
        linear_map = LinearMap(differences[others], missing[others])
        moves[~others] = linear_map(differences[~others])
    return moves


def moved(edits: list[Edit], moves: np.ndarray) -> list[np.ndarray]:
    """The edits by label, each moved by a row of `moves`, (E, 52)."""
    return [edit.by_label + move for edit, move in zip(edits, moves, strict=True)]


def score(edits: list[Edit], outputs: list[np.ndarray]) -> ScoreStatistics:
    """The posture error of edited actions, (T, 52) each."""
    curves = [mouth_curves(output.clip(0, 1)) for output in outputs]
    return mouth_posture_error(curves, [mouth_curves(edit.truth) for edit in edits])


def main() -> None:
    """Print a line for each way of editing."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--edits", type=int, default=180)
    parser.add_argument("--clips", type=int, default=1, help="of a reference, at most")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    edits = make_edits(arguments.run, arguments.edits, arguments.clips, arguments.seed)
    editable = load_manipulator().editable.numpy()
    outputs = {
        "source": [edit.source for edit in edits],
        "label": [edit.by_label for edit in edits],
        "style code": [edit.by_style for edit in edits],
    }
    differences = np.stack([edit.difference for edit in edits])
    for share in SHARES:
        outputs[f"label, moved by {share:g}"] = moved(edits, share * editable * differences)
    by_halves = map_of_halves(arguments.run)(differences)
    outputs["label, moved by the map of halves"] = moved(edits, by_halves)
    outputs["label, moved by the map of true edits"] = moved(edits, moves_of_true_edits(edits))

    speakers = [edit.speaker for edit in edits]
    of_label = score(edits, outputs["label"])
    seconds = np.mean([len(edit.reference) / RATE for edit in edits])
    print(f"{len(edits)} edits of {len(set(speakers))} people, references of {seconds:.1f} s")
    for name, frames in outputs.items():
        statistics = score(edits, frames)
        estimate = estimate_score(statistics, speakers)
        change = paired_difference(statistics, of_label, speakers)
        print(
            f"{name}: {estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f}), less label "
            f"{change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f})"
        )


if __name__ == "__main__":
    main()
