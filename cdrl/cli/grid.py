"""The command `cdrl grid`: one run of the notebooks for each row of a table of settings.

Several run at once; the command resumes; the failure of one run does not end the others.
GRID.yaml says what stays and what varies:

    preset: smoke                        # default: cpu
    notebooks: [0, 1, 2]                 # default: all; from 00 on and without a gap
    settings: {content.steps: 100}       # of every run
    grid:                                # every combination
      content.emotion_weight: [0, 0.2]
      content.seed: [0, 1, 2]
    rows:                                # each with every combination
      - {content.alignment: prior}
      - {content.alignment: linear}
    scores: [content.swap_image]         # for the figures; wildcards; default: the main ones
"""

import argparse
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from cdrl.cli.notebooks import NotebookError, run_notebooks
from cdrl.cli.options import relative_to_root
from cdrl.cli.planning import notebook_paths, plan_notebooks
from cdrl.core.errors import InputError
from cdrl.core.files import atomic_path, check_disk, read_json
from cdrl.core.paths import run_path
from cdrl.core.pools import Lost, run_each
from cdrl.core.presets import COSTS, PRESETS
from cdrl.core.results import RESULTS, all_scores, read_results
from cdrl.core.settings import STAGES, config_hash, field_names, stage_config, stage_folder
from cdrl.core.stage_code import difference, other_code, say_other_code, set_aside
from cdrl.report.grid_page import write_grid_page

# Keys of GRID.yaml: their types, and these in words.
KEYS = {
    "preset": (str, "a text"),
    "notebooks": (list, "a list"),
    "settings": (dict, "names and values"),
    "grid": (dict, "names and values"),
    "rows": (list, "a list"),
    "scores": (list, "a list"),
}
LONGEST_NAME = 100  # characters of a run's folder
THREAD_VARIABLES = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Grid:
    """The content of GRID.yaml.

    Attributes:
        preset: a name in `PRESETS`.
        notebooks: their paths, in order.
        rows: {run's name: its settings, as texts}.
        varied: names of the settings that differ between rows.
        scores: patterns of the scores to draw.
    """

    preset: str
    notebooks: list[Path]
    rows: dict[str, dict[str, str]]
    varied: list[str]
    scores: list[str]


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
    if workers < 1:
        raise InputError(f"--workers {workers}: a whole number from 1 is needed")
    table = read_grid(arguments.grid)
    out = run_path(f"runs/{Path(arguments.grid).stem}")
    if arguments.out:
        out = Path(arguments.out)
    out = out.resolve()
    check_grid(table, out)
    for name in table.rows:
        run = _run_folder(out, name)
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
    results, failures = run_grid(table, out, workers)

    num_failures = len(failures)
    failed = f", {num_failures} failed: {out / 'failures.csv'}" if num_failures else ""
    print(
        f"{results.run.nunique()} runs{failed}. Read {out / 'grid.html'}; every score: "
        f"{out / 'results.csv'}"
    )
    return 1 if num_failures else 0


def read_grid(path: Path | str, folder: Path | str | None = None) -> Grid:
    """Read a grid's file; nothing runs.

    Args:
        path: the YAML file.
        folder: of the notebooks; None for the clone's.

    Raises:
        InputError: for a file that is missing or no such table, an unknown key, a notebook that is
            not there, or two rows that say the same.
    """
    content = _read_yaml(Path(path))
    preset = content.get("preset", "cpu")
    if preset not in PRESETS:
        raise InputError(f"{path}: preset {preset!r}: accepted are {', '.join(PRESETS)}")

    table = _combine(path, content.get("rows", [{}]), content.get("grid", {}))
    shared_settings = content.get("settings", {})
    rows: dict[str, dict[str, str]] = {}
    varied: dict[str, None] = {}  # an ordered set
    for row in table:
        name = _run_name(row)
        if name in rows:
            raise InputError(f"{path}: two rows are the same, {name}: remove one")
        rows[name] = {}
        for key, value in {**shared_settings, **row}.items():
            rows[name][key] = _setting_text(path, key, value)
        varied |= dict.fromkeys(row)

    notebooks = _select_notebooks(path, content.get("notebooks"), notebook_paths(folder))
    return Grid(preset, notebooks, rows, list(varied), content.get("scores", []))


def _combine(path: Path | str, rows: list, grid: dict[str, list]) -> list[dict[str, Any]]:
    """Every row with every combination of the grid's values."""
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"{path}: grid: {name} needs a list of values, as in {name}: [0, 1]")
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: rows needs a list of settings, as in - {{content.steps: 200}}")

    table = []
    for row in rows:
        for combination in product(*grid.values()):
            combined = dict(zip(grid, combination, strict=True))
            table.append({**row, **combined})
    return table


def _run_name(row: dict[str, Any]) -> str:
    """A folder's name that says how a run differs: `content.steps=200,seed=1`."""
    text = ",".join(f"{key}={value}" for key, value in row.items()) or "only"
    letters = [letter if letter.isalnum() or letter in "=,._+-" else "-" for letter in text]
    name = "".join(letters)
    if name == text and len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{name[: LONGEST_NAME - 20]}-{digest[:8]}"


def _setting_text(path: Path | str, name: str, value: Any) -> str:
    """A setting's value as `--set` would have it."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, (str, int, float)):
        raise InputError(f"{path}: {name}={value}: one number or text is needed")
    return str(value)


def _select_notebooks(path: Path | str, entries: list | None, available: list[Path]) -> list[Path]:
    """The first notebooks, as many as the file lists; each reads the results of those before it."""
    available_numbers = [notebook.name[:2] for notebook in available]
    numbers = available_numbers
    if entries:
        numbers = [f"{int(each):02d}" if str(each).isdigit() else str(each) for each in entries]
    if numbers != available_numbers[: len(numbers)]:
        raise InputError(
            f"{path}: notebooks {', '.join(numbers)}: each reads the one before, so they begin "
            f"with {available_numbers[0]} and leave none out; there are "
            f"{', '.join(available_numbers)}"
        )
    return available[: len(numbers)]


def _read_yaml(path: Path) -> dict[str, Any]:
    """The content of GRID.yaml, with the types of its values checked."""
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(
            f"{path}: no such grid file ({error.strerror}): see cdrl grid --help"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: is not YAML ({reason})") from error

    accepted = ", ".join(KEYS)
    if not isinstance(content, dict):
        raise InputError(f"{path}: needs keys, as in grid: (accepted are {accepted})")
    for key, value in content.items():
        if key not in KEYS:
            raise InputError(f"{path}: unknown key {key!r}: accepted are {accepted}")
        kind, description = KEYS[key]
        if not isinstance(value, kind):
            raise InputError(f"{path}: {key} needs {description}, got {value!r}")
    return content


def check_grid(grid: Grid, out: Path | str) -> dict[str, dict[Path, dict]]:
    """Plan the notebooks of every run: a bad name or value is refused before anything runs.

    Args:
        grid: the table.
        out: folder of the grid.

    Returns:
        {run's name: {notebook: its parameters}}.

    Raises:
        InputError: as `plan_notebooks` does, with the name of the run.
    """
    plans = {}
    for name, settings in grid.rows.items():
        run = relative_to_root(_run_folder(out, name))
        try:
            plans[name] = plan_notebooks(grid.notebooks, run, grid.preset, settings)
        except InputError as error:
            raise InputError(f"run {name}: {error}") from error

    return plans


def run_grid(
    grid: Grid, out: Path | str, workers: int = 1, log: Callable[[str], Any] = print
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
        jobs = [(plans[name], _run_folder(out, name), workers) for name in names]
        for number, result in run_each(_run_one, jobs, max(1, workers), threads=0):
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
    try:
        seconds, peak_gb = run_notebooks(parameters, run, log=_discard)
        read_results(run)
    except (InputError, NotebookError) as error:
        return Outcome(failure=_first_line(error))
    except Exception as error:  # any other fault of one run does not end the others
        return Outcome(failure=f"{type(error).__name__}: {_first_line(error)}")
    return Outcome(seconds, peak_gb)


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
    run = _run_folder(out, name)
    settings = hashes[name].notebook_settings
    others = []
    for other, other_hashes in hashes.items():
        if other != name and other_hashes.notebook_settings == settings:
            others.append(_run_folder(out, other))

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
        records = read_json(results)["stages"]
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


def _run_folder(out: Path | str, name: str) -> Path:
    """The folder of one run, absolute."""
    return Path(out).resolve() / "runs" / name


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
        for score, value in _run_scores(_run_folder(out, name), outcome).items():
            result_rows.append({**label, "score": score, "value": value})

    columns = ["run", "preset", *grid.varied]
    results = pd.DataFrame(result_rows, columns=[*columns, "score", "value"])
    results = results.astype({"value": float})
    failures = pd.DataFrame(failure_rows, columns=[*columns, "reason"])

    with atomic_path(out / "results.parquet") as temporary:
        results.to_parquet(temporary, index=False)
    with atomic_path(out / "results.csv") as temporary:
        results.to_csv(temporary, index=False)
    (out / "failures.csv").unlink(missing_ok=True)
    if failure_rows:
        with atomic_path(out / "failures.csv") as temporary:
            failures.to_csv(temporary, index=False)
    with atomic_path(out / "grid.html") as temporary:
        write_grid_page(results, failures, grid.varied, grid.scores, temporary)
    return results, failures


def _run_scores(run: Path, outcome: Outcome) -> dict[str, float]:
    """Every score of a run, with its cost."""
    scores = all_scores(read_results(run))
    scores["time.total_seconds"] = round(outcome.seconds, 1)
    scores["memory.peak_gb"] = round(outcome.peak_gb, 3)
    return scores
