"""Print what CDRL changes on the coefficient host: every variant on edits of the choosing people, judged from their pixels.

    python scripts/compare_action_editor.py TRAIN CHOOSE --work runs/coefficient

TRAIN and CHOOSE are crop stores of the studio's splits of these names, as `cdrl train` and `cdrl study` leave them. One seed, for
looking and choosing; numbers to report come from other people. Resumes; with the defaults about 25 minutes of one core.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
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
from cdrl.evaluation.edit_tasks import TrueEdits
from cdrl.evaluation.judges import Judges
from cdrl.evaluation.metrics import RENDERED_SCORES, restore_statistics
from cdrl.evaluation.readings import References, read_clip
from cdrl.priors.actions import load_tracker, track
from cdrl.priors.features import extract
from cdrl.representation.distillation import distil, fit_scores
from cdrl.representation.guidance import Guidance
from cdrl.studio import edits


def true_edits(store: Store, number: int, seed: int, path: Path) -> tuple[list, Store]:
    """The edits that are drawn, and the store of their truth, rendered where it is missing."""
    wanted = edits.draw_edits(store, number, seed)
    if not (path / "store.json").exists():
        edits.generate_edits(store, wanted, path, 128, store.face.shape[1], workers=1)
    return wanted, Store(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("choose", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/coefficient"))
    parser.add_argument("--edits", type=int, default=63)
    parser.add_argument("--variants", nargs="+", choices=ACTION_VARIANTS, default=list(ACTION_VARIANTS))
    parser.add_argument(
        "--pairs",
        type=int,
        default=420,
        help="true edits of the training people, for `paired` alone",
    )
    parser.add_argument("--steps", type=int, default=ActionsConfig().steps)
    chosen = parser.parse_args()
    train, choose, work, reader = (
        Store(chosen.train),
        Store(chosen.choose),
        chosen.work,
        load_tracker(),
    )
    config, teacher = replace(ActionsConfig(), steps=chosen.steps), Guidance()
    features = {
        store.path: extract(store, work / f"{name}_features")
        for name, store in (("train", train), ("choose", choose))
    }
    tracked = {path: track(each, reader) for path, each in features.items()}
    students = distil(features[train.path], tracked[train.path], teacher, config, work / "students")
    fit = fit_scores(students, features[choose.path], tracked[choose.path], teacher)
    control = distil(
        features[train.path],
        tracked[train.path],
        teacher,
        replace(config, distil_steps=200),
        work / "shuffled",
        shuffled=True,
    )
    shuffled = fit_scores(control, features[choose.path], tracked[choose.path], teacher)
    print(
        "students, cosine on the choosing people:",
        {name: round(value, 3) for name, value in fit.items()},
    )
    print(
        "the same, told the answers to other windows:",
        {name: round(value, 3) for name, value in shuffled.items()},
    )

    wanted, truth = true_edits(choose, chosen.edits, 9, work / f"edits_choose_{chosen.edits}")
    pairs = None
    if "paired" in chosen.variants:
        pairs = tracked_edit_pairs(
            tracked[train.path],
            true_edits(train, chosen.pairs, 1, work / f"edits_train_{chosen.pairs}")[1],
            reader,
        )
    judges, read = Judges(), {}
    sources = [choose.face[choose.frames(clip)] for clip, _, _ in wanted]
    read["copy_source"] = [read_clip(judges, crops) for crops in sources]
    read["truth"] = [read_clip(judges, truth.face[truth.frames(k)]) for k in range(len(wanted))]
    read["tracked"] = []  # rendered as tracked, unedited: what tracking costs
    for clip, _, _ in wanted:
        actions, place = tracked[choose.path].clip(clip), alignment_of(choose, clip)
        read["tracked"].append(
            read_clip(
                judges,
                render_edit(choose.clips.name[clip], actions, place, 128, choose.face.shape[1]),
            )
        )
    for variant in chosen.variants:
        true_pairs = pairs if variant == "paired" else None
        manipulator, _ = train_action_manipulator(
            tracked[train.path],
            ActionWindowGuidance(students),
            config,
            variant,
            work / variant,
            true_pairs,
        )
        read[variant] = [
            read_clip(judges, crops)
            for crops in render_action_edits(choose, manipulator, tqdm(wanted, desc=variant), reader)
        ]
    edits = TrueEdits(choose, truth, choose.face.shape[1])
    references = References(read["copy_source"], read["truth"])
    statistics, estimates = {}, {}
    for variant, readings in read.items():
        rows = statistics_from_readings(readings, edits, references, RENDERED_SCORES)
        estimates |= estimate_variant(f"spfem.rendered.{variant}", rows, references, edits)
        statistics[variant] = {name: restore_statistics(name, rows[name]) for name in rows}
    print(format_estimates(estimates, RENDERED_SCORES))
    for variant in ("content", "emotion", "cdrl"):
        if not {variant, "baseline"} <= set(statistics):
            continue
        first, second = statistics[variant], statistics["baseline"]
        differences = estimate_differences(variant, first, second, np.arange(len(edits)))
        texts = []
        for name, difference in differences.items():
            score = name.rpartition(".")[2]
            interval = f"({difference.low:+.3f} to {difference.high:+.3f})"
            texts.append(f"{score} {difference.value:+.3f} {interval}")
        print(f"{variant} less baseline: {', '.join(texts)}")


if __name__ == "__main__":
    main()
