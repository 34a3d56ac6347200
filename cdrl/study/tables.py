"""The edit half of the study put together: means over seeds, intervals, paired differences.

The mouth is also compared at equal emotion accuracy, see `cdrl.evaluation.edit_comparison`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cdrl.core.former_names import present_scores
from cdrl.core.settings import StudyConfig
from cdrl.evaluation.edit_comparison import (
    estimate_at_equal_accuracy,
    estimate_differences,
    estimate_intensity_curve,
)
from cdrl.evaluation.edit_evaluation import estimate_variant
from cdrl.evaluation.edit_metrics import TABLE_SCORES, restore_statistics
from cdrl.evaluation.edit_tasks import TrueEdits
from cdrl.evaluation.estimate import flatten_scores
from cdrl.evaluation.readings import References, load_references
from cdrl.study.edit_jobs import (
    Statistics,
    edit_folder,
    edit_job_path,
    open_edits,
    read_statistics,
    shared_path,
)
from cdrl.study.job_code import codes_of_rows, have_one_code, read_job
from cdrl.study.opponents import ROW_PAIRS
from cdrl.study.row import Job
from cdrl.study.rows import TABLES, WEIGHT_FACTORS

# Pairs of variants, each within one editor: what each term adds, and CDRL beside the released
# losses and beside an edit without a network.
COMPARED = (
    ("cdrl", "baseline"),
    ("content", "baseline"),
    ("emotion", "baseline"),
    ("cdrl", "emotion"),
    ("cdrl", "content"),
    ("cdrl", "released"),
    ("released", "baseline"),
    ("cdrl", "constant"),
    ("cdrl", "paired"),
    ("cdrl_fivefold", "baseline"),
    ("cdrl_fivefold", "cdrl"),
)
MAIN = COMPARED[0]  # compared for each emotion too, and with every weight
# Rows of two editors: facial actions beside pixels, and beside an edit without a network.
ACROSS_EDITORS = (("actions.cdrl", "image.cdrl"), ("actions.cdrl", "image.constant"))
NOT_AVERAGED = (".low", ".high", ".n")  # ends of score names
SEEDS_COLUMNS = ("low", "high", "sd")
DIFFERENCE_COLUMNS = ("low", "high", "p", "n", "sd", "accuracy")
SINGLE_JUDGES = (".judge_1", ".judge_2")

# The statistics of one row: seed -> intensity scale -> score -> (E, M).
SeedStatistics = dict[int, dict[float, Statistics]]
Scores = dict[str, Any]


def edit_summary(
    work: Path, config: StudyConfig, jobs: list[Job]
) -> tuple[Scores, dict[str, pd.DataFrame]]:
    """Put the edit jobs that are done together.

    Args:
        work: the study's work folder.
        config: the study's settings.
        jobs: all jobs of the edit half, done or not.

    Returns:
        Scores: `spfem.EDITOR.VARIANT.NAME`, the mean over the seeds with sd, least, most, seeds,
        and the interval over speakers and seeds; `spfem.EDITOR.A_minus_B.NAME`, paired over clips,
        its interval over speakers and seeds too. Tables: `edit` and `edit_differences`.
    """
    folder = edit_folder(work, config)
    statistics: dict[str, SeedStatistics] = {}
    files = {job: edit_job_path(folder, job.row, job.seed) for job in jobs}
    codes = codes_of_rows(files)
    for job in jobs:
        if files[job].exists():
            of_row = statistics.setdefault(job.row, {})
            of_row[job.seed] = read_statistics(folder, job.row, job.seed)

    if not statistics:
        return {}, {}

    edits = open_edits(work, config)
    references = load_references(shared_path(folder, "references"))

    scores: Scores = {}
    for row, seeds in statistics.items():
        scores |= _row_scores(folder, row, seeds, references, edits)

    editors = [row.partition(".")[0] for row in statistics]
    for editor in dict.fromkeys(editors):
        scores |= _editor_differences(editor, statistics, edits, codes)

    for first, second in ACROSS_EDITORS:
        if _can_be_compared((first, second), statistics, codes):
            prefix = f"spfem.{first}_minus_{second.replace('.', '_')}"
            scores |= _difference(
                prefix,
                statistics[first],
                statistics[second],
                edits,
                TABLES["edit"][second].seeded,
                False,
            )

    tables = {"edit": _row_table(scores, statistics), "edit_differences": _difference_table(scores)}

    return scores, tables


def _editor_differences(
    editor: str, statistics: dict[str, SeedStatistics], edits: TrueEdits, codes: dict[str, str]
) -> Scores:
    """Compare the variants of one editor that one code made."""
    scores: Scores = {}
    for pair in (*COMPARED, *ROW_PAIRS):
        first, second = (f"{editor}.{variant}" for variant in pair)
        if _can_be_compared((first, second), statistics, codes):
            prefix = f"spfem.{editor}.{'_minus_'.join(pair)}"
            scores |= _difference(
                prefix,
                statistics[first],
                statistics[second],
                edits,
                TABLES["edit"][second].seeded,
                by_emotion=pair == MAIN,
            )

    families = []
    for variant in MAIN:
        endings = ["", *(f"_{ending}" for ending in WEIGHT_FACTORS)]
        rows = [f"{editor}.{variant}{ending}" for ending in endings]
        if not _can_be_compared(rows, statistics, codes):
            return scores
        families.append([statistics[row] for row in rows])

    prefix = f"spfem.{editor}.{'_minus_'.join(MAIN)}"

    return scores | difference_at_any_weight(prefix, families[0], families[1], edits)


def _can_be_compared(
    rows: Iterable[str], statistics: dict[str, SeedStatistics], codes: dict[str, str]
) -> bool:
    """Whether all rows are done, by one code."""
    return all(row in statistics for row in rows) and have_one_code(rows, codes)


def _pool_seeds(seeds: Iterable[dict[float, Statistics]], scale: float) -> Statistics:
    """Concatenate the statistics of several seeds at one scale, {score: (seeds x E, M)}."""
    at_scale = [statistics[scale] for statistics in seeds]
    pooled = {}
    for score in at_scale[0]:
        pooled[score] = np.concatenate([statistics[score] for statistics in at_scale])

    return pooled


def _row_scores(
    folder: Path, row: str, seeds: SeedStatistics, references: References, edits: TrueEdits
) -> Scores:
    """Return the scores of one row: intervals over all seeds, means over seeds and their spread."""
    prefix = f"spfem.{row}"
    statistics = list(seeds.values())

    pooled = _pool_seeds(statistics, 1.0)
    estimates = estimate_variant(prefix, pooled, references, edits, times=len(statistics))
    scores: Scores = flatten_scores(estimates)

    scores_of_seeds = []
    for seed in seeds:
        record = read_job(edit_job_path(folder, row, seed))
        scores_of_seeds.append(present_scores(record["scores"]))

    first = scores_of_seeds[0]

    for key in first:
        values = [of_seed[key] for of_seed in scores_of_seeds if of_seed[key] is not None]
        if values and not key.endswith(NOT_AVERAGED):
            scores[key] = float(np.mean(values))
            if f"{key}.n" in first:
                scores |= _spread(key, values)
        elif key.endswith(".n"):
            scores[key] = first[key]  # clips, not clips times seeds

    scales = sorted(statistics[0])
    if len(scales) > 1:
        curve = [_pool_seeds(statistics, scale) for scale in scales]
        scores |= flatten_scores(estimate_intensity_curve(prefix, scales, curve))

    return scores


def _spread(key: str, values: list[float]) -> Scores:
    """Return the number of seeds and, of several, standard deviation, least and most."""
    spread: Scores = {}
    if len(values) > 1:
        spread[f"{key}.sd"] = float(np.std(values, ddof=1))
        spread[f"{key}.least"] = min(values)
        spread[f"{key}.most"] = max(values)

    spread[f"{key}.seeds"] = len(values)

    return spread


def _difference(
    prefix: str,
    first: SeedStatistics,
    second: SeedStatistics,
    edits: TrueEdits,
    seeded: bool,
    by_emotion: bool,
) -> Scores:
    """Compare two rows over the seeds that both have.

    A row without seeds is compared with each seed of the other.
    """
    seeds = sorted(first.keys() & second.keys() if seeded else first)
    if not seeds:
        return {}

    first_seeds = _select_seeds(first, seeds)
    second_seeds = _select_seeds(second, seeds)

    people = np.tile(edits.speakers, len(seeds))
    of_seeds = np.repeat(seeds, len(edits))
    emotions = np.tile(edits.target_emotions, len(seeds)) if by_emotion else ()

    first_scores = _restore(_pool_seeds(first_seeds, 1.0))
    second_scores = _restore(_pool_seeds(second_seeds, 1.0))

    estimates = estimate_differences(
        prefix, first_scores, second_scores, people, emotions, of_seeds
    )
    scores: Scores = flatten_scores(estimates)

    for score in first_scores:
        if score not in second_scores:
            continue
        differences = []
        for one, two in zip(first_seeds, second_seeds, strict=True):
            difference = _value(score, one) - _value(score, two)
            differences.append(difference)
        scores |= _spread(f"{prefix}.{score}", differences)

    scales = sorted(first_seeds[0].keys() & second_seeds[0].keys())
    first_curve = [_pool_seeds(first_seeds, scale) for scale in scales]

    second_curve = [_pool_seeds(second_seeds, scale) for scale in scales]
    for error in ("mouth_error", "mouth_motion_error"):
        at_equal_accuracy = estimate_at_equal_accuracy(
            prefix, [first_curve], [second_curve], people, name=error, seeds=of_seeds
        )
        scores |= flatten_scores(at_equal_accuracy)

    return scores


def _select_seeds(statistics: SeedStatistics, seeds: list[int]) -> list[dict[float, Statistics]]:
    """Return the statistics of each seed; of a row that lacks it, those of its first seed."""
    first_seed = min(statistics)
    return [statistics.get(seed, statistics[first_seed]) for seed in seeds]


def _restore(statistics: Statistics) -> dict[str, Any]:
    """Put the formula of each score back to its rows."""
    return {score: restore_statistics(score, rows) for score, rows in statistics.items()}


def _value(score: str, statistics: dict[float, Statistics]) -> float:
    """Return a score at intensity scale 1."""
    return restore_statistics(score, statistics[1.0][score]).value


def difference_at_any_weight(
    prefix: str, first: list[SeedStatistics], second: list[SeedStatistics], edits: TrueEdits
) -> Scores:
    """Compare the mouth at equal accuracy where each variant may use the best of its weights.

    Args:
        prefix: of the score names.
        first: statistics of one variant with each of its weights.
        second: statistics of the other variant with each of its weights.
        edits: which clip becomes which emotion.

    Returns:
        `PREFIX.mouth_error.any_weight.*` over the seeds that all of them have; else nothing.
    """
    seed_sets = [set(statistics) for statistics in (*first, *second)]
    seeds = sorted(set.intersection(*seed_sets))
    if not seeds:
        return {}

    scales = sorted(first[0][seeds[0]])
    estimates = estimate_at_equal_accuracy(
        prefix,
        _weight_curves(first, seeds, scales),
        _weight_curves(second, seeds, scales),
        np.tile(edits.speakers, len(seeds)),
        name="mouth_error.any_weight",
        seeds=np.repeat(seeds, len(edits)),
    )

    return flatten_scores(estimates)


def _weight_curves(
    family: list[SeedStatistics], seeds: list[int], scales: list[float]
) -> list[list[Statistics]]:
    """Pool the seeds of every weight at every scale."""
    curves = []
    for statistics in family:
        of_seeds = [statistics[seed] for seed in seeds]
        curves.append([_pool_seeds(of_seeds, scale) for scale in scales])

    return curves


def _row_table(scores: Scores, rows: Iterable[str]) -> pd.DataFrame:
    """Build one line for each row: every score with its interval, and sd over the seeds."""
    lines = []
    for row in rows:
        line = {"row": row, "seeds": scores.get(f"spfem.{row}.mouth_error.seeds")}
        for score in TABLE_SCORES:
            key = f"spfem.{row}.{score}"
            if key not in scores:
                continue
            line[score] = round(scores[key], 4)
            for part in SEEDS_COLUMNS:
                if f"{key}.{part}" in scores:
                    line[f"{score}.{part}"] = round(scores[f"{key}.{part}"], 4)
        lines.append(line)

    return pd.DataFrame(lines)


def _difference_table(scores: Scores) -> pd.DataFrame:
    """Build one line for each difference of two rows: value, interval, p, number of clips."""
    lines = []
    for key in scores:
        if "_minus_" not in key or f"{key}.p" not in scores or key.endswith(SINGLE_JUDGES):
            continue
        line = {"row": key, "value": scores[key]}
        for part in DIFFERENCE_COLUMNS:
            if f"{key}.{part}" in scores:
                line[part] = scores[f"{key}.{part}"]
        lines.append(line)

    return pd.DataFrame(lines).round(4)
