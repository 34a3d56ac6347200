"""A table of settings, one run of the notebooks for each of its rows: several at once, resumable, failures kept apart.

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

import hashlib
import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pandas as pd
import yaml

from cdrl.cli.notebooks import notebook_paths, plan_notebooks, run_notebooks
from cdrl.core.errors import InputError
from cdrl.core.files import read_json
from cdrl.core.paths import repository_root
from cdrl.core.presets import PRESETS
from cdrl.core.results import RESULTS, all_scores, read_results
from cdrl.core.settings import STAGES, config_hash, stage_config, stage_folder
from cdrl.report.grid_page import write_grid_page

KEYS = {
    "preset": str,
    "notebooks": list,
    "settings": dict,
    "grid": dict,
    "rows": list,
    "scores": list,
}


@dataclass(frozen=True)
class Grid:
    """What a file asks for.

    Attributes:
        preset: a name in `PRESETS`. notebooks: their paths, in order. rows: {run's name: its settings, as texts}.
        varied: names of the settings that differ between rows. scores: patterns of the scores to draw.
    """

    preset: str
    notebooks: list
    rows: dict
    varied: list
    scores: list


def read_grid(path, folder=None) -> Grid:
    """Reads a grid's file; nothing runs.

    Args:
        path: the YAML file. folder: of the notebooks; None for the clone's.

    Raises:
        InputError: for a file that is missing or no such table, an unknown key, a notebook that is not there, or two
            rows that say the same.
    """
    given = _read_yaml(Path(path))
    preset = given.get("preset", "cpu")
    if preset not in PRESETS:
        raise InputError(f"{path}: preset {preset!r}: accepted are {', '.join(PRESETS)}")
    fixed, grid = given.get("settings", {}), given.get("grid", {})
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"{path}: grid: {name} needs a list of values, as in {name}: [0, 1]")
    combinations = [dict(zip(grid, values)) for values in product(*grid.values())]
    rows = given.get("rows", [{}])
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: rows needs a list of settings, as in - {{content.steps: 200}}")
    table = [{**row, **combination} for row in rows for combination in combinations]
    named = {}
    for row in table:
        name = _name(row)
        if name in named:
            raise InputError(f"{path}: two rows are the same, {name}: remove one")
        named[name] = {key: _text(path, key, value) for key, value in {**fixed, **row}.items()}
    varied = list(dict.fromkeys(key for row in table for key in row))
    return Grid(
        preset,
        _chosen(path, given.get("notebooks"), notebook_paths(folder)),
        named,
        varied,
        given.get("scores", []),
    )


def check_grid(grid: Grid, out) -> dict:
    """The notebooks' parameters of every run: a bad name or value anywhere is refused before anything runs.

    Returns:
        {run's name: {notebook: its parameters}}.

    Raises:
        InputError: as `plan` does, naming the run.
    """
    planned = {}
    for name, settings in grid.rows.items():
        try:
            planned[name] = plan_notebooks(
                grid.notebooks, _told(_folder(out, name)), grid.preset, settings
            )
        except InputError as error:
            raise InputError(f"run {name}: {error}") from error
    return planned


def run_grid(grid: Grid, out, workers: int = 1, say=print) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs what is not finished and writes what all runs say.

    Of runs with the same corpus one goes first; the others take hard links to its finished stages as far as they agree.
    `results.parquet`, `results.csv` and `grid.html` are written anew each time, `failures.csv` where there are any; a
    failed run is tried again by the next call.

    Args:
        out: folder of the grid (absolute); each run lies in runs/NAME. workers: runs at once. say: gets a line per run.

    Returns:
        One row per run and score: run, preset, the varied settings, score, value; and one per failure: run, the
        settings, reason.
    """
    planned, out = check_grid(grid, out), Path(out)
    hashes = {name: _hashes(grid.preset, settings) for name, settings in grid.rows.items()}
    first, done = {}, {}
    for name in planned:
        first.setdefault(str([hashes[name][part] for part in ("own", "corpus")]), name)
    leaders = list(first.values())
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    spawned = multiprocessing.get_context("spawn")
    for wave in (leaders, [name for name in planned if name not in leaders]):
        with ProcessPoolExecutor(
            workers, mp_context=spawned, initializer=_share_cores, initargs=(threads,)
        ) as pool:
            for name in wave:
                others = [
                    other
                    for other in planned
                    if other != name and hashes[other]["own"] == hashes[name]["own"]
                ]
                _borrow(_folder(out, name), hashes[name], [_folder(out, other) for other in others])
            futures = {
                pool.submit(_run_one, planned[name], _folder(out, name)): name for name in wave
            }
            for future in as_completed(futures):
                name = futures[future]
                done[name] = _result(future)
                state = (
                    f"failed: {done[name]['reason']}"
                    if "reason" in done[name]
                    else f"{done[name]['seconds']:.0f} s"
                )
                say(f"[{len(done)}/{len(planned)}] {name}: {state}")
    return _write(grid, out, done)


def _write(grid: Grid, out: Path, done: dict) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows, failed = [], []
    for name in grid.rows:
        label = {"run": name, "preset": grid.preset} | {
            key: grid.rows[name].get(key, "") for key in grid.varied
        }
        if "reason" in done[name]:
            failed.append(label | {"reason": done[name]["reason"]})
            continue
        scores = all_scores(read_results(_folder(out, name))) | {
            "time.total_seconds": round(done[name]["seconds"], 1),
            "memory.peak_gb": round(done[name]["peak_gb"], 3),
        }
        rows += [label | {"score": score, "value": value} for score, value in scores.items()]
    columns = ["run", "preset", *grid.varied]
    results = pd.DataFrame(rows, columns=[*columns, "score", "value"]).astype({"value": float})
    failures = pd.DataFrame(failed, columns=[*columns, "reason"])
    _replace(out / "results.parquet", lambda path: results.to_parquet(path, index=False))
    _replace(out / "results.csv", lambda path: results.to_csv(path, index=False))
    (out / "failures.csv").unlink(missing_ok=True)
    if failed:
        _replace(out / "failures.csv", lambda path: failures.to_csv(path, index=False))
    _replace(
        out / "grid.html",
        lambda path: write_grid_page(results, failures, grid.varied, grid.scores, path),
    )
    return results, failures


def _run_one(parameters: dict, run: Path) -> dict:
    """In a worker: seconds and peak_gb of a run, or the one-line reason why it failed."""
    try:
        seconds, peak_gb = run_notebooks(parameters, run, say=lambda line: None)
        read_results(run)
    except Exception as error:  # every fault of one run is that run's: the others go on
        line = next(iter(str(error).strip().splitlines()), "")
        own = type(error).__name__ in ("InputError", "NotebookError")
        return {"reason": line if own else f"{type(error).__name__}: {line}"}
    return {"seconds": seconds, "peak_gb": peak_gb}


def _result(future) -> dict:
    try:
        return future.result()
    except Exception as error:  # the process itself ended: too little memory, most often
        line = str(error).partition("\n")[0]
        return {
            "reason": f"its process ended ({line}): fewer --workers need less memory; the same command goes on"
        }


def _share_cores(threads: str) -> None:
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, threads)


def _borrow(run: Path, hashes: dict, others: list[Path]) -> None:
    """Hard links to the finished stages of other runs that have the same settings and the same history."""
    for stage in STAGES:
        mine = stage_folder(run, stage)
        if mine.exists():
            continue
        for other in others:
            theirs = stage_folder(other, stage)
            if (theirs / RESULTS).exists():
                made = read_json(theirs / RESULTS)["stages"]
                if all(record["hash"] == hashes.get(name) for name, record in made.items()):
                    partial = mine.with_name(f".{mine.name}.{os.getpid()}")
                    shutil.rmtree(partial, ignore_errors=True)
                    shutil.copytree(theirs, partial, copy_function=os.link)
                    partial.replace(mine)
                    break
        else:
            return


def _hashes(preset: str, settings: dict) -> dict:
    """Hash of each stage's settings, with those that are no stage's but a notebook's own."""
    names = {f"{stage}.{field}" for stage in STAGES for field in STAGES[stage].__dataclass_fields__}
    known = names | {name.partition(".")[2] for name in names}
    of_stages = {name: value for name, value in settings.items() if name in known}
    own = {name: value for name, value in settings.items() if name not in known}
    return {"own": own} | {
        stage: config_hash(stage_config(stage, preset, of_stages)) for stage in STAGES
    }


def _folder(out, name: str) -> Path:
    return Path(out).resolve() / "runs" / name


def _told(run: Path) -> Path:
    """What the notebooks are told: relative to the clone where it lies in it, so that they name no home folder."""
    root = repository_root()
    return run.relative_to(root) if run.is_relative_to(root) else run


def _name(row: dict) -> str:
    """A folder's name that says how a run differs: `content.steps=200,seed=1`."""
    text = ",".join(f"{key}={value}" for key, value in row.items()) or "only"
    plain = "".join(letter if letter.isalnum() or letter in "=,._+-" else "-" for letter in text)
    if plain == text and len(plain) <= 100:
        return plain
    return f"{plain[:80]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _text(path, name: str, value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, (str, int, float)):
        raise InputError(f"{path}: {name}={value}: one number or text is needed")
    return str(value)


def _chosen(path, wanted: list | None, found: list[Path]) -> list[Path]:
    numbers = [each.name[:2] for each in found]
    asked = [f"{int(each):02d}" if str(each).isdigit() else str(each) for each in wanted or numbers]
    if asked != numbers[: len(asked)]:
        raise InputError(
            f"{path}: notebooks {', '.join(asked)}: each reads the one before, so they begin with {numbers[0]} and leave "
            f"none out; there are {', '.join(numbers)}"
        )
    return found[: len(asked)]


def _read_yaml(path: Path) -> dict:
    try:
        given = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(
            f"{path}: no such grid file ({error.strerror}): see cdrl grid --help"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{path}: is not YAML ({line})") from error
    if not isinstance(given, dict):
        raise InputError(f"{path}: needs keys, as in grid: (accepted are {', '.join(KEYS)})")
    for key, value in given.items():
        if key not in KEYS:
            raise InputError(f"{path}: unknown key {key!r}: accepted are {', '.join(KEYS)}")
        if not isinstance(value, KEYS[key]):
            kind = {str: "a text", list: "a list", dict: "names and values"}[KEYS[key]]
            raise InputError(f"{path}: {key} needs {kind}, got {value!r}")
    return given


def _replace(path: Path, write) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    write(temporary)
    temporary.replace(path)
