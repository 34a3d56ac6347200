"""Add the scores of posture and motion of the mouth to a study that was done before they existed.

    python scripts/add_mouth_scores.py [--study results/study]

The kept jobs hold the moments of every clip, so nothing is edited or judged again. The new scores
stand in a stage of their own of results.json, with intervals over people and seeds; the others
stay as they are, with theirs. `closure` needs landmarks, which the jobs do not hold.
"""

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from cdrl.core.files import read_json, write_json
from cdrl.core.former_names import former_row
from cdrl.core.results import INTERVAL_NAME, RESULTS, check_results
from cdrl.evaluation.edit_comparison import estimate_at_equal_accuracy, estimate_differences
from cdrl.evaluation.edit_metrics import restore_statistics, with_derived_scores
from cdrl.evaluation.estimate import Estimate, estimate_score, flatten_scores
from cdrl.studio.corpus import name_of, specs
from cdrl.studio.edits import draw_edits
from cdrl.study.rows import EDIT

STAGE = "edits.mouth"
SCORES = ("mouth_posture_error", "mouth_motion_error", "mouth_truth_correlation")
MOTION = "mouth_motion_error"
COMPARED = (("cdrl", "baseline"), ("cdrl", "paired"), ("cdrl", "released"))

# seed -> intensity scale -> score -> (E, M) statistics
Job = dict[int, dict[float, dict[str, np.ndarray]]]


def people_of_edits(config: dict[str, Any]) -> np.ndarray:
    """(E,) the person of each edit of a study, drawn as the study drew them."""
    clips = specs(config["split"], people=config["report_people"])
    table = {
        "name": [name_of(spec) for spec in clips],
        "speaker": [f"{spec.person:04d}" for spec in clips],
        "emotion": [spec.emotion for spec in clips],
    }
    sources: Any = SimpleNamespace(clips=pd.DataFrame(table))
    edits = draw_edits(sources, config["edits"])
    speakers = np.array(table["speaker"])

    return speakers[[clip for clip, _, _ in edits]]


def read_jobs(folder: Path, row: str) -> Job:
    """The statistics of every seed of a row; nothing where no job of it is kept."""
    jobs: Job = {}
    for name in dict.fromkeys((row, former_row(row))):
        for path in sorted(folder.glob(f"*/{name}.*.npz")):
            seed = int(path.name.removeprefix(f"{name}.").partition(".")[0])
            jobs[seed] = _read_job(path)

    return jobs


def _read_job(path: Path) -> dict[float, dict[str, np.ndarray]]:
    """The statistics of one job at every intensity scale."""
    scales: dict[float, dict[str, np.ndarray]] = {}
    with np.load(path) as arrays:
        for key in arrays.files:
            scale, score = key.split("/")
            scales.setdefault(float(scale), {})[score] = arrays[key].astype(np.float64)

    return {scale: with_derived_scores(scores) for scale, scores in scales.items()}


def pool(job: Job, seeds: list[int], scale: float) -> dict[str, np.ndarray]:
    """The statistics of several seeds one after another."""
    names = job[seeds[0]][scale]
    return {name: np.concatenate([job[seed][scale][name] for seed in seeds]) for name in names}


def row_scores(row: str, job: Job, people: np.ndarray) -> dict[str, Estimate]:
    """The new scores of one row, over all of its seeds."""
    seeds = sorted(job)
    statistics = pool(job, seeds, 1.0)
    groups = np.tile(people, len(seeds))
    of_seeds = np.repeat(seeds, len(people))

    estimates = {}
    for name in SCORES:
        restored = restore_statistics(name, statistics[name])
        estimate = estimate_score(restored, groups, of_seeds)
        estimates[f"spfem.{row}.{name}"] = estimate.with_details(seeds=len(seeds))

    return estimates


def differences(
    editor: str, pair: tuple[str, str], jobs: dict[str, Job], people: np.ndarray
) -> Any:
    """The new scores of one variant less another, and at equal emotion accuracy."""
    first, second = (jobs.get(f"{editor}.{variant}", {}) for variant in pair)
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return {}

    groups = np.tile(people, len(seeds))
    of_seeds = np.repeat(seeds, len(people))
    prefix = f"spfem.{editor}.{'_minus_'.join(pair)}"
    restored = []
    for job in (first, second):
        statistics = pool(job, seeds, 1.0)
        restored.append({name: restore_statistics(name, statistics[name]) for name in SCORES})
    estimates = estimate_differences(prefix, *restored, groups, seeds=of_seeds)

    scales = sorted(first[seeds[0]].keys() & second[seeds[0]].keys())
    curves = [[pool(job, seeds, scale) for scale in scales] for job in (first, second)]

    return estimates | estimate_at_equal_accuracy(
        prefix, curves[:1], curves[1:], groups, name=MOTION, seeds=of_seeds
    )


def main() -> None:
    """Add the scores and print how many there are."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--study", type=Path, default=Path("results/study"))
    folder = parser.parse_args().study

    check_results(folder / RESULTS)
    # As it stands in the file: former names stay.
    results = read_json(folder / RESULTS, dict)
    people = people_of_edits(results["stages"]["edits"]["config"])
    jobs = {}
    estimates: dict[str, Estimate] = {}
    for row in EDIT:
        job = read_jobs(folder / "jobs", row)
        if job:
            jobs[row] = job
            estimates |= row_scores(row, job, people)

    for editor in dict.fromkeys(row.partition(".")[0] for row in jobs):
        for pair in COMPARED:
            estimates |= differences(editor, pair, jobs, people)

    results["stages"][STAGE] = {
        "config": {"command": "python scripts/add_mouth_scores.py"},
        "scores": flatten_scores(estimates),
        "interval": INTERVAL_NAME,
    }
    write_json(folder / RESULTS, results)
    print(f"{len(estimates)} scores of {len(jobs)} rows added to {folder / RESULTS}")


if __name__ == "__main__":
    main()
