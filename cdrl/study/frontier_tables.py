"""The frontiers of the opponents: which settings are on them, and how they differ.

On the choosing set a frontier has every setting that was tried, and what lies on it is written to
`chosen.json`. On the sealed set it has the settings of that file and no others.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cdrl.core.settings import StudyConfig
from cdrl.evaluation.edit_tasks import TrueEdits
from cdrl.evaluation.estimate import flatten_scores
from cdrl.evaluation.frontiers import chosen_settings, compare_frontiers
from cdrl.study.edit_jobs import Statistics, edit_folder, edit_job_path, open_edits, read_statistics
from cdrl.study.job_code import codes_of_rows, have_one_code
from cdrl.study.opponents import EDITOR, FAMILIES, FAMILY_PAIRS, PRIMARY, ROW_PAIRS
from cdrl.study.row import Job
from cdrl.study.rows import BESIDE, TABLES
from cdrl.study.seal import SEALED, read_chosen

# Statistics of some rows: row -> seed -> intensity scale -> score -> (E, M).
RowStatistics = dict[str, dict[int, dict[float, Statistics]]]
BESIDE_SEALED = ("actions.classifier", "actions.untrained_code")
COLUMNS = ("low", "high", "p", "n", "verdict", "shared", "without_range", "confidence")


def sealed_rows() -> list[str]:
    """List the rows that the sealed set scores: what was chosen, and what stands beside it.

    Raises:
        InputError: nothing was chosen yet.
    """
    rows = list(BESIDE["opponents"]["edit"])
    for chosen in read_chosen().values():
        rows += chosen
    return [*rows, *BESIDE_SEALED]


def frontier_summary(
    work: Path, config: StudyConfig, jobs: list[Job]
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Compare the whole frontiers of families, and of single rows, over the seeds that both have.

    Args:
        work: the study's work folder.
        config: the study's settings.
        jobs: all jobs of the edit half, done or not.

    Returns:
        Scores `spfem.actions.frontier.A_minus_B.NAME` of families and
        `spfem.actions.A_minus_B.NAME` of rows, see `compare_frontiers`; and their table.
    """
    statistics = _finished(work, config, jobs)
    if not statistics:
        return {}, pd.DataFrame()
    edits = open_edits(work, config)
    codes = codes_of_rows({job: _path(work, config, job) for job in jobs})

    scores: dict[str, Any] = {}
    for pair in FAMILY_PAIRS:
        families = [_of_family(statistics, family) for family in pair]
        prefix = f"spfem.{EDITOR}.frontier.{'_minus_'.join(pair)}"
        if all(families) and have_one_code([*families[0], *families[1]], codes):
            settings = [_settings_of(config, family) for family in pair]
            scores |= _compare(prefix, families, settings, edits)
    for pair in ROW_PAIRS:
        names = [f"{EDITOR}.{name}" for name in pair]
        if all(name in statistics for name in names) and have_one_code(names, codes):
            rows = [{name: statistics[name]} for name in names]
            prefix = f"spfem.{EDITOR}.{'_minus_'.join(pair)}"
            scores |= _compare(prefix, rows, [None, None], edits)

    return scores, _table(scores)


def chosen_by_family(
    work: Path, config: StudyConfig, jobs: list[Job]
) -> dict[str, dict[str, list[float]]]:
    """List the settings on the frontier of each family: {family: {row: [intensity scales]}}.

    Args:
        work: the study's work folder.
        config: the study's settings.
        jobs: all jobs of the edit half, done or not.
    """
    statistics = _finished(work, config, jobs)
    chosen = {}
    for family in FAMILIES:
        pooled = {}
        for row, seeds in _of_family(statistics, family).items():
            scales = next(iter(seeds.values()))
            pooled[row] = {scale: _pool(seeds, sorted(seeds), scale) for scale in scales}
        if pooled:
            chosen[family] = chosen_settings(pooled)
    return chosen


def _finished(work: Path, config: StudyConfig, jobs: list[Job]) -> RowStatistics:
    """Read the statistics of the opponents whose jobs are done."""
    statistics: RowStatistics = {}
    for job in jobs:
        is_opponent = bool(TABLES["edit"][job.row].teacher)
        if is_opponent and _path(work, config, job).exists():
            of_row = statistics.setdefault(job.row, {})
            of_row[job.seed] = read_statistics(edit_folder(work, config), job.row, job.seed)
    return statistics


def _path(work: Path, config: StudyConfig, job: Job) -> Path:
    return edit_job_path(edit_folder(work, config), job.row, job.seed)


def _of_family(statistics: RowStatistics, family: str) -> RowStatistics:
    """The rows of a family that are done."""
    rows = TABLES["edit"]
    return {row: seeds for row, seeds in statistics.items() if rows[row].family == family}


def _settings_of(config: StudyConfig, family: str) -> dict[str, list[float]] | None:
    """The intensity scales of each row that the sealed set compares; None: all that there are."""
    return read_chosen()[family] if config.split == SEALED else None


def _compare(
    prefix: str,
    families: list[RowStatistics],
    settings: list[dict[str, list[float]] | None],
    edits: TrueEdits,
) -> dict[str, Any]:
    """Compare two families over the seeds that every row of both has."""
    seed_sets = [set(seeds) for family in families for seeds in family.values()]
    seeds = sorted(set.intersection(*seed_sets))
    if not seeds:
        return {}

    points = []
    for family, of_family in zip(families, settings, strict=True):
        points.append(_points(family, of_family, seeds))

    people = np.tile(edits.speakers, len(seeds))
    of_seeds = np.repeat(seeds, len(edits))
    return flatten_scores(compare_frontiers(prefix, points[0], points[1], people, of_seeds))


def _points(
    family: RowStatistics, settings: dict[str, list[float]] | None, seeds: list[int]
) -> list[Statistics]:
    """The statistics of every setting, of all seeds one after another; nothing done is none."""
    points = []
    for row, of_seeds in family.items():
        available = [scale for scale in of_seeds[seeds[0]] if scale > 0]
        scales = available if settings is None else settings.get(row, [])
        for scale in scales:
            points.append(_pool(of_seeds, seeds, scale))
    return points


def _pool(
    of_seeds: dict[int, dict[float, Statistics]], seeds: list[int], scale: float
) -> Statistics:
    """The statistics of some seeds at one scale, {score: (seeds x E, M)}."""
    at_scale = [of_seeds[seed][scale] for seed in seeds]
    return {
        score: np.concatenate([statistics[score] for statistics in at_scale])
        for score in at_scale[0]
        if all(score in statistics for statistics in at_scale)
    }


def _table(scores: dict[str, Any]) -> pd.DataFrame:
    """One line for each difference; the two primary outcomes first and named so."""
    primary = f"spfem.{EDITOR}.frontier.{'_minus_'.join(PRIMARY)}."
    lines = []
    for key, value in scores.items():
        if f"{key}.verdict" not in scores:
            continue
        is_primary = key.startswith(primary) and not key.endswith(".area")
        kind = "primary" if is_primary else "secondary"
        line = {"outcome": key, "kind": kind, "value": value}
        for part in COLUMNS:
            if f"{key}.{part}" in scores:
                line[part] = scores[f"{key}.{part}"]
        lines.append(line)
    return pd.DataFrame(lines).round(4)
