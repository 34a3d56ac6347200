"""The command `cdrl grid`: one run of the notebooks for each row of a table of settings.

Several run at once; the command resumes; the failure of one run does not end the others.
"""

import argparse
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from cdrl.cli.grid_file import Grid, check_grid, grid_folder, read_grid, run_folder
from cdrl.cli.inputs import check_inputs
from cdrl.cli.notebooks import NotebookError, run_notebooks
from cdrl.core.cluster import run_jobs
from cdrl.core.errors import InputError
from cdrl.core.files import atomic_path, check_disk
from cdrl.core.pools import Lost
from cdrl.core.presets import COSTS
from cdrl.core.results import RESULTS, all_scores, check_results, read_results
from cdrl.core.settings import STAGES, config_hash, field_names, stage_config, stage_folder
from cdrl.core.stage_code import difference, other_code, say_other_code, set_aside
from cdrl.core.tables import write_csv
from cdrl.report.grid_page import write_grid_page

STAGES_WITH_INPUTS = ("corpus", "priors", "evaluate")  # corpora and networks from elsewhere
THREAD_VARIABLES = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Hashes:
    """What two runs must have in common to share stages.

    Attributes:
        notebook_settings: settings that are no stage's but a notebook's own.
        stages: hash of each stage's settings.
    """

    notebook_settings: dict[str, str]
    stages: dict[str, str]


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        seconds: of all its notebooks.
        peak_gb: peak memory, GB.
        failure: why it failed, in one line; empty for a complete run.
    """

    seconds: float = 0.0
    peak_gb: float = 0.0
    failure: str = ""


def grid(arguments: argparse.Namespace) -> int:
    """Run a grid.

    Args:
        arguments: of the command.

    Returns:
        1 where a run failed, else 0.
    """
    workers = arguments.workers
    table = read_grid(arguments.grid)
    out = grid_folder(arguments.grid, arguments.out)
    check_grid(table, out)
    table = _with_inputs(table)
    for name in table.rows:
        run = run_folder(out, name)
        if arguments.remake:
            set_aside(run)
        say_other_code(run, other_code(run))

    cost = COSTS[table.preset]
    memory_gb = cost.memory_gb * workers
    check_disk(out, cost.disk_gb * len(table.rows))
    print(
        f"{len(table.rows)} runs of {len(table.notebooks)} notebooks, preset {table.preset}, into "
        f"{out}: at most {cost.minutes:g} minutes each on 2 idle cores, {memory_gb:g} GB of memory "
        f"for {workers} at once; Ctrl-C is safe, the same command resumes",
        flush=True,
    )
    results, failures = run_grid(table, out, workers, cluster=arguments.cluster)

    num_failures = len(failures)
    failed = f", {num_failures} failed: {out / 'failures.csv'}" if num_failures else ""
    print(
        f"{results.run.nunique()} runs{failed}. Read {out / 'grid.html'}; every score: "
        f"{out / 'results.csv'}"
    )
    return 1 if num_failures else 0


def _with_inputs(table: Grid) -> Grid:
    """Look for what the runs need, once for each kind of need; paths become absolute."""
    answers: dict[tuple, dict[str, str]] = {}
    rows = {}
    for name, settings in table.rows.items():
        needs = {}
        for setting, value in settings.items():
            stage = setting.partition(".")[0]
            if stage not in STAGES or stage in STAGES_WITH_INPUTS or setting.endswith(".device"):
                needs[setting] = value
        key = tuple(sorted(needs.items()))
        if key not in answers:
            answers[key] = _checked_inputs(name, table.preset, needs)
        others = {setting: value for setting, value in settings.items() if setting not in needs}
        rows[name] = others | answers[key]
    return replace(table, rows=rows)


def _checked_inputs(name: str, preset: str, settings: dict[str, str]) -> dict[str, str]:
    """The settings of one run, after its inputs were looked for."""
    checked = dict(settings)
    try:
        check_inputs(preset, checked)
    except InputError as error:
        raise InputError(f"run {name}: {error}") from error
    return checked


def run_grid(
    grid: Grid,
    out: Path | str,
    workers: int = 1,
    log: Callable[[str], Any] = print,
    cluster: str = "",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run what is not finished and write the results of all runs.

    Of runs with the same corpus one goes first; the others take hard links to its finished stages
    as far as they agree. `results.parquet`, `results.csv` and `grid.html` are written each time,
    `failures.csv` where there are any; a failed run is tried again by the next call.

    Args:
        grid: the table.
        out: folder of the grid (absolute); each run lies in runs/NAME.
        workers: runs at once.
        log: receives a line for each run.
        cluster: where the runs are done instead, see `cdrl.core.cluster_address`.

    Returns:
        One row per run and score: run, preset, the varied settings, score, value; and one per
        failure: run, the settings, reason.
    """
    out = Path(out)
    plans = check_grid(grid, out)
    hashes = {name: _hashes(grid.preset, settings) for name, settings in grid.rows.items()}
    leaders = _leaders(hashes)
    followers = [name for name in plans if name not in leaders]

    outcomes: dict[str, Outcome] = {}
    for names in (leaders, followers):
        for name in names:
            _share_stages(out, name, hashes)
        jobs = [(plans[name], run_folder(out, name), workers) for name in names]
        for number, result in run_jobs(_run_one, jobs, max(1, workers), threads=0, cluster=cluster):
            name = names[number]
            outcome = _outcome(result)
            outcomes[name] = outcome
            state = f"failed: {outcome.failure}"
            if not outcome.failure:
                state = f"{outcome.seconds:.0f} s"
            log(f"[{len(outcomes)}/{len(plans)}] {name}: {state}")

    return _write_results(grid, out, outcomes)


def _leaders(hashes: dict[str, Hashes]) -> list[str]:
    """The first run of each corpus."""
    leaders: dict[str, str] = {}
    for name, run_hashes in hashes.items():
        corpus = f"{run_hashes.notebook_settings} {run_hashes.stages['corpus']}"
        leaders.setdefault(corpus, name)

    return list(leaders.values())


def _run_one(job: tuple[dict[Path, dict], Path, int]) -> Outcome:
    """In a worker: execute the notebooks of one run, which shares the cores with the others."""
    parameters, run, workers = job
    threads = max(1, (os.cpu_count() or 1) // max(1, workers))
    for name in THREAD_VARIABLES:  # the kernels inherit them
        os.environ.setdefault(name, str(threads))
    _name_weights(parameters)
    try:
        seconds, peak_gb = run_notebooks(parameters, run, log=_discard)
        read_results(run)
    except (InputError, NotebookError) as error:
        return Outcome(failure=_first_line(error))
    except Exception as error:  # any other fault of one run does not end the others
        return Outcome(failure=f"{type(error).__name__}: {_first_line(error)}")
    return Outcome(seconds, peak_gb)


def _name_weights(parameters: dict[Path, dict]) -> None:
    """Tell the kernels where the priors' weights are, as `cdrl run` does."""
    for values in parameters.values():
        weights = values.get("settings", {}).get("priors.weights")
        if weights:
            os.environ["CDRL_WEIGHTS"] = weights


def _discard(line: str) -> None:
    """Runs that go on at once do not report their notebooks."""


def _first_line(error: Exception) -> str:
    """The first line of an error's message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else ""


def _outcome(result: Outcome | Lost) -> Outcome:
    """How a run ended, its worker process included."""
    if isinstance(result, Outcome):
        return result
    return Outcome(
        failure=f"it {result.reason}: fewer --workers need less memory; the same command goes on"
    )


def _share_stages(out: Path, name: str, hashes: dict[str, Hashes]) -> None:
    """Link the finished stages of other runs that agree with this one, from the first stage on."""
    run = run_folder(out, name)
    settings = hashes[name].notebook_settings
    others = []
    for other, other_hashes in hashes.items():
        if other != name and other_hashes.notebook_settings == settings:
            others.append(run_folder(out, other))

    for stage in STAGES:
        if stage_folder(run, stage).exists():
            continue
        donor = _donor(stage, hashes[name], others)
        if donor is None:
            return
        _link_folder(stage_folder(donor, stage), stage_folder(run, stage))


def _donor(stage: str, hashes: Hashes, runs: Sequence[Path]) -> Path | None:
    """A run whose finished stage and all before it have the same settings, and today's code."""
    for run in runs:
        results = stage_folder(run, stage) / RESULTS
        if not results.exists():
            continue
        records = check_results(results)["stages"]
        differing = [
            name for name, record in records.items() if record["hash"] != hashes.stages.get(name)
        ]
        of_other_code = [name for name in records if difference(run, name)]
        if not differing and not of_other_code:
            return run
    return None


def _link_folder(source: Path, target: Path) -> None:
    """Make a copy of a folder out of hard links, whole or not at all."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, copy_function=os.link)
    partial.replace(target)


def _hashes(preset: str, settings: dict[str, str]) -> Hashes:
    """The hashes of one run's settings."""
    stage_names = set()
    for stage, config_class in STAGES.items():
        for name in field_names(config_class):
            stage_names |= {name, f"{stage}.{name}"}

    stage_settings = {}
    notebook_settings = {}
    for name, value in settings.items():
        if name in stage_names:
            stage_settings[name] = value
        else:
            notebook_settings[name] = value

    hashes = {}
    for stage in STAGES:
        hashes[stage] = config_hash(stage_config(stage, preset, stage_settings))
    return Hashes(notebook_settings, hashes)


def _write_results(
    grid: Grid, out: Path, outcomes: dict[str, Outcome]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write the tables and the page of all runs."""
    result_rows = []
    failure_rows = []
    for name, settings in grid.rows.items():
        outcome = outcomes[name]
        label = {"run": name, "preset": grid.preset}
        for setting in grid.varied:
            label[setting] = settings.get(setting, "")
        if outcome.failure:
            failure_rows.append({**label, "reason": outcome.failure})
            continue
        for score, value in _run_scores(run_folder(out, name), outcome).items():
            result_rows.append({**label, "score": score, "value": value})

    columns = ["run", "preset", *grid.varied]
    results = pd.DataFrame(result_rows, columns=[*columns, "score", "value"])
    results = results.astype({"value": float})
    failures = pd.DataFrame(failure_rows, columns=[*columns, "reason"])

    with atomic_path(out / "results.parquet") as temporary:
        results.to_parquet(temporary, index=False)
    write_csv(out / "results.csv", results)
    (out / "failures.csv").unlink(missing_ok=True)
    if failure_rows:
        write_csv(out / "failures.csv", failures)
    with atomic_path(out / "grid.html") as temporary:
        write_grid_page(results, failures, grid.varied, grid.scores, temporary)
    return results, failures


def _run_scores(run: Path, outcome: Outcome) -> dict[str, float]:
    """Every score of a run, with its cost."""
    scores = all_scores(read_results(run))
    scores["time.total_seconds"] = round(outcome.seconds, 1)
    scores["memory.peak_gb"] = round(outcome.peak_gb, 3)
    return scores
