"""One rule for every stage: a finished folder is read, an unfinished one resumed, one made otherwise refused.

A stage's folder holds `config.json` (written first), whatever its work writes, and `results.json` (written last:
its presence means complete). results.json begins with a copy of the stage's before, so that the last folder of a run
tells the whole history: settings, scores, seconds and memory of every stage.
"""

import platform
import resource
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cdrl.core.errors import InputError
from cdrl.core.files import held_alone, read_json, write_json
from cdrl.core.results import RESULTS, all_scores, read_results
from cdrl.core.settings import STAGES, config_hash, identity, stage_folder, stage_name, to_dict

CONFIG = "config.json"


def run_stage(config, run, work):
    """Does a stage's work once, in its own folder of the run.

    Args:
        config: the stage's configuration; its class says which stage it is.
        run: folder of the run.
        work: `work(out) -> scores`: does the stage's work in the folder `out`, going on from what an interrupted
            attempt left there, and returns a mapping of score names to numbers.

    Returns:
        The results of this stage and all before it, as `read_results` reads them.

    Raises:
        InputError: where the folder was made with other settings (naming them), the stage before is not complete, or another
            process is at it.
    """
    stage = stage_name(type(config))
    out = stage_folder(run, stage)
    history = _upstream(run, stage)
    check_stage(config, run)
    if (out / RESULTS).exists():
        return read_results(out)
    out.mkdir(parents=True, exist_ok=True)
    with held_alone(out):
        seconds_before = read_json(out / CONFIG)["seconds"] if (out / CONFIG).exists() else 0.0
        began = {"config": identity(config), "from": _hashes(history), "seconds": seconds_before}
        write_json(out / CONFIG, began)
        start = time.monotonic()
        try:
            scores = dict(work(out) or {})
        finally:  # seconds of an attempt that Ctrl-C or an error ended count; those of a killed one are lost
            seconds = seconds_before + time.monotonic() - start
            write_json(out / CONFIG, began | {"seconds": round(seconds, 2)})
    taken = sorted(scores.keys() & all_scores(history).keys())
    if taken:
        raise ValueError(
            f"stage {stage} reports scores that a stage before it has reported: {', '.join(taken)}"
        )
    record = {
        "config": to_dict(config),
        "hash": config_hash(config),
        "seconds": round(seconds, 2),
        "peak_gb": round(peak_memory_gb(), 3),
        "versions": versions(),
        "scores": scores,
    }
    write_json(out / RESULTS, {"stages": history.get("stages", {}) | {stage: record}})
    return read_results(out)


def check_stage(config, run):
    """Refuses, before any work, a stage folder that was made with other settings.

    Raises:
        InputError: naming the settings that differ, as in "runs/demo/02_content was made with steps=300, now 200".
    """
    stage = stage_name(type(config))
    out = stage_folder(run, stage)
    if not (out / CONFIG).exists():
        return
    made, now = read_json(out / CONFIG), identity(config)
    remedy = "choose another run name (--out) or remove that folder"
    keys = [
        key
        for key in dict.fromkeys([*made["config"], *now])
        if made["config"].get(key) != now.get(key)
    ]
    if keys:
        past = " ".join(f"{key}={made['config'].get(key)}" for key in keys)
        present = " ".join(
            f"{now.get(key)}" if len(keys) == 1 else f"{key}={now.get(key)}" for key in keys
        )
        raise InputError(f"{out} was made with {past}, now {present}: {remedy}")
    hashes = _hashes(_upstream(run, stage, must_exist=False))
    changed = [name for name in hashes if made["from"].get(name) != hashes[name]]
    if changed:
        raise InputError(
            f"{out} was made from another {' and '.join(changed)} than this run's: {remedy}"
        )


def run_of(place, stage):
    """The run that a folder is, or that a file or folder lies in, where that run has finished `stage`; else None."""
    place = Path(place)
    folders = (place, *list(place.parents)[:3]) if place.exists() else ()
    return next(
        (folder for folder in folders if (stage_folder(folder, stage) / RESULTS).exists()), None
    )


def made_with(place, stage, name, default):
    """The setting `stage.name` that a run was made with, or a run that a file or folder lies in; `default` for what lies in none."""
    run = run_of(place, stage)
    return (
        default
        if run is None
        else read_json(stage_folder(run, stage) / RESULTS)["stages"][stage]["config"].get(
            name, default
        )
    )


def finish_run(run, seconds, peak_gb):
    """Writes the run's own results.json: the last stage's, with the run's cost.

    Args:
        run: folder of a run whose stages are all complete.
        seconds: wall-clock seconds the notebooks took, those of interrupted attempts included.
        peak_gb: peak memory of all processes of the run together, GB.
    """
    results = read_results(stage_folder(run, list(STAGES)[-1]))
    peak_gb = max([peak_gb, *(record["peak_gb"] for record in results["stages"].values())])
    results["run"] = {"time.total_seconds": round(seconds, 1), "memory.peak_gb": round(peak_gb, 3)}
    write_json(Path(run) / RESULTS, results)
    return results


def peak_memory_gb():
    """Peak resident memory so far, GB: of this process plus the largest of its finished children."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(resource.getrusage(each).ru_maxrss for each in who) * unit / 1e9


def versions():
    """Versions that a result may depend on, without importing anything."""
    found = {"python": platform.python_version()}
    for name in (
        "cdrl",
        "torch",
        "numpy",
        "numba",
        "open_clip_torch",
        "scikit-learn",
        "umap-learn",
    ):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def _upstream(run, stage, must_exist=True):
    """Results of the stage before; nothing for the first."""
    position = list(STAGES).index(stage)
    if position == 0:
        return {}
    before = stage_folder(run, list(STAGES)[position - 1])
    if (before / RESULTS).exists():
        return read_json(before / RESULTS)
    if must_exist:
        raise InputError(f"{before} is not complete: run notebook {before.name[:2]} first")
    return {}


def _hashes(history):
    return {name: record["hash"] for name, record in history.get("stages", {}).items()}
