"""Print what CDRL changes on the facial-action editor, judged from the pixels of its edits.

    python scripts/compare_action_editor.py TRAIN CHOOSE --work runs/coefficient

Every variant is trained on TRAIN and edits clips of CHOOSE: crop stores of the studio's splits of
these names, as `cdrl train` and `cdrl study` leave them. One seed, for looking and choosing;
numbers to report come from other people. Resumes; with the defaults about 25 minutes of one core.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from cdrl.core.settings import ActionsConfig
from cdrl.corpora.store import Store
from cdrl.editors.manipulator import ActionWindowGuidance, train_action_manipulator
from cdrl.editors.rendered import alignment_of, render_action_edits, render_edit, tracked_edit_pairs
from cdrl.editors.variants import ACTION_VARIANTS
from cdrl.evaluation.edit_comparison import estimate_differences
from cdrl.evaluation.edit_evaluation import (
    estimate_variant,
    format_estimates,
    statistics_from_readings,
)
from cdrl.evaluation.edit_metrics import RENDERED_SCORES, restore_statistics
from cdrl.evaluation.edit_tasks import TrueEdits
from cdrl.evaluation.estimate import Estimate
from cdrl.evaluation.judges import Judges
from cdrl.evaluation.readings import ClipReading, References, read_clip
from cdrl.priors.actions import ActionTracker, TrackedActions, load_tracker, track
from cdrl.priors.features import Features, extract
from cdrl.representation.distillation import ActionGuidance, distil, fit_scores
from cdrl.representation.guidance import Guidance
from cdrl.studio.edits import draw_edits, generate_edits

FRAME_SIZE = 128  # pixels of a rendered frame
CONTROL_STEPS = 200
TRAIN_SEED = 1
CHOOSE_SEED = 9
COMPARED = ("content", "emotion", "cdrl")  # each with the baseline

EditRequest = tuple[int, str, int]  # source clip, emotion, level


class People:
    """The clips of one split, with their features and tracked actions."""

    def __init__(self, name: str, store: Path, work: Path, tracker: ActionTracker) -> None:
        self.name = name
        self.store = Store(store)
        self.work = work
        self.features: Features = extract(self.store, work / f"{name}_features")
        self.tracked: TrackedActions = track(self.features, tracker)

    def true_edits(self, number: int, seed: int) -> tuple[list[EditRequest], Store]:
        """Edits that are drawn, and the store of their truth, rendered where it is missing."""
        requests = draw_edits(self.store, number, seed)
        path = self.work / f"edits_{self.name}_{number}"
        if not (path / "store.json").exists():
            crop_size = self.store.face.shape[1]
            generate_edits(self.store, requests, path, FRAME_SIZE, crop_size, workers=1)
        return requests, Store(path)


def train_students(
    train: People, choose: People, config: ActionsConfig, work: Path
) -> ActionGuidance:
    """Distil the guidance into students, and print how well they agree with it on other people."""
    teacher = Guidance()
    students = distil(train.features, train.tracked, teacher, config, work / "students")
    fit = fit_scores(students, choose.features, choose.tracked, teacher)
    print("students, cosine on the choosing people:", rounded(fit))

    control_config = replace(config, distil_steps=CONTROL_STEPS)
    control = distil(
        train.features, train.tracked, teacher, control_config, work / "shuffled", shuffled=True
    )
    control_fit = fit_scores(control, choose.features, choose.tracked, teacher)
    print("the same, trained on the answers to other windows:", rounded(control_fit))
    return students


def rounded(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in scores.items()}


def read_tracked(
    judges: Judges, choose: People, requests: Sequence[EditRequest]
) -> list[ClipReading]:
    """Clips rendered as they were tracked, without an edit: what tracking costs."""
    store = choose.store
    crop_size = store.face.shape[1]
    readings = []
    for clip, _, _ in requests:
        name = store.clips.name[clip]
        actions = choose.tracked.clip(clip)
        alignment = alignment_of(store, clip)
        crops = render_edit(name, actions, alignment, FRAME_SIZE, crop_size)
        readings.append(read_clip(judges, crops))
    return readings


def print_scores(readings: Mapping[str, list[ClipReading]], edits: TrueEdits) -> None:
    """The scores of every variant, and what each part of CDRL changes."""
    references = References(readings["copy_source"], readings["truth"])
    statistics = {}
    estimates: dict[str, Estimate] = {}
    for variant, variant_readings in readings.items():
        rows = statistics_from_readings(variant_readings, edits, references, RENDERED_SCORES)
        prefix = f"spfem.rendered.{variant}"
        estimates |= estimate_variant(prefix, rows, references, edits)
        statistics[variant] = {name: restore_statistics(name, rows[name]) for name in rows}
    print(format_estimates(estimates, RENDERED_SCORES))

    for variant in COMPARED:
        if variant not in statistics or "baseline" not in statistics:
            continue
        differences = estimate_differences(
            variant, statistics[variant], statistics["baseline"], edits.speakers
        )
        texts = []
        for name, difference in differences.items():
            score = name.rpartition(".")[2]
            interval = f"({difference.low:+.3f} to {difference.high:+.3f})"
            texts.append(f"{score} {difference.value:+.3f} {interval}")
        print(f"{variant} less baseline: {', '.join(texts)}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("choose", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/coefficient"))
    parser.add_argument("--edits", type=int, default=63)
    parser.add_argument(
        "--variants", nargs="+", choices=ACTION_VARIANTS, default=list(ACTION_VARIANTS)
    )
    parser.add_argument(
        "--pairs",
        type=int,
        default=420,
        help="true edits of the training people, for `paired` alone",
    )
    parser.add_argument("--steps", type=int, default=ActionsConfig().steps)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    work = arguments.work
    config = replace(ActionsConfig(), steps=arguments.steps)
    tracker = load_tracker()
    train = People("train", arguments.train, work, tracker)
    choose = People("choose", arguments.choose, work, tracker)
    students = train_students(train, choose, config, work)

    requests, truth = choose.true_edits(arguments.edits, CHOOSE_SEED)
    pairs = None
    if "paired" in arguments.variants:
        _, train_truth = train.true_edits(arguments.pairs, TRAIN_SEED)
        pairs = tracked_edit_pairs(train.tracked, train_truth, tracker)

    judges = Judges()
    edits = TrueEdits(choose.store, truth, choose.store.face.shape[1])
    sources = [choose.store.face[choose.store.frames(clip)] for clip, _, _ in requests]
    truths = [truth.face[truth.frames(number)] for number in range(len(requests))]
    readings = {
        "copy_source": [read_clip(judges, crops) for crops in sources],
        "truth": [read_clip(judges, crops) for crops in truths],
        "tracked": read_tracked(judges, choose, requests),
    }
    for variant in arguments.variants:
        manipulator, _ = train_action_manipulator(
            train.tracked,
            ActionWindowGuidance(students),
            config,
            variant,
            work / variant,
            pairs if variant == "paired" else None,
        )
        progress = tqdm(requests, desc=variant)
        edited = render_action_edits(choose.store, manipulator, progress, tracker)
        readings[variant] = [read_clip(judges, crops) for crops in edited]

    print_scores(readings, edits)


if __name__ == "__main__":
    main()
