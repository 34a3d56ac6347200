"""One rule for every stage: a finished folder is read, an unfinished one resumed.

A folder that other settings made is refused. One that other code made is kept and named.

A stage's folder holds `config.json` (written first), the files of its work, and `results.json`
(written last: a stage with results is complete). results.json begins with a copy of the stage's
before, so the last folder of a run has the whole history: settings, scores, seconds and memory of
every stage.
"""

import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cdrl.core.code_identity import UNRECORDED, CodeIdentity, join_codes
from cdrl.core.errors import InputError
from cdrl.core.files import damaged, exclusive, read_json, write_json
from cdrl.core.former_names import renamed_setting
from cdrl.core.results import INTERVAL_NAME, RESULTS, all_scores, check_results, read_results
from cdrl.core.settings import (
    STAGES,
    config_hash,
    hashed_settings,
    stage_folder,
    stage_name,
    to_dict,
)
from cdrl.core.stage_code import CONFIG, difference, other_code, say_other_code, stage_code

REMEDY = "choose another run name (--out) or remove that folder"
PACKAGES = ("cdrl", "torch", "numpy", "numba", "open_clip_torch", "scikit-learn", "umap-learn")

Work = Callable[[Path], Mapping[str, Any] | None]


def run_stage(
    config: Any, run: Path | str, work: Work, extra: Iterable[Any] = ()
) -> dict[str, Any]:
    """Do a stage's work once, in its own folder of the run.

    A finished stage that other code made is read too; a line says so.

    Args:
        config: the stage's configuration; its class says which stage it is.
        run: folder of the run.
        work: `work(out) -> scores` does the stage's work in the folder `out`, resumes what an
            interrupted attempt left there, and returns a mapping of score names to numbers.
        extra: functions and classes of your own that take part in the work: their code becomes
            part of the stage's. Those that a setting names as `module:name` are part of it already.

    Returns:
        The results of this stage and all before it, as `read_results` reads them.

    Raises:
        InputError: the folder was made with other settings (they are named), the stage before is
            not complete, or another process works in the folder.
    """
    stage = stage_name(type(config))
    out = stage_folder(run, stage)
    history = _results_before(run, stage)
    check_stage(config, run)
    if (out / RESULTS).exists():
        reason = difference(run, stage, extra)
        say_other_code(run, {stage: reason} if reason else {})
        return read_results(out)

    code = stage_code(stage, to_dict(config), extra)
    out.mkdir(parents=True, exist_ok=True)
    with exclusive(out):
        scores, seconds, made_by = _timed_work(config, out, work, history, code)
    made_by = join_codes(made_by, stage_code(stage, to_dict(config), extra).sum)
    repeated = sorted(scores.keys() & all_scores(history).keys())
    if repeated:
        names = ", ".join(repeated)
        raise ValueError(
            f"stage {stage} reports scores that a stage before it has reported: {names}"
        )

    record = {
        "config": to_dict(config),
        "hash": config_hash(config),
        "code": made_by,
        "seconds": round(seconds, 2),
        "peak_gb": round(peak_memory_gb(), 3),
        "versions": versions(),
        "interval": INTERVAL_NAME,
        "scores": scores,
    }
    stages = history.get("stages", {}) | {stage: record}
    write_json(out / RESULTS, {"stages": stages})
    return read_results(out)


def _timed_work(
    config: Any, out: Path, work: Work, history: dict[str, Any], code: CodeIdentity
) -> tuple[dict[str, Any], float, str]:
    """Do the work and add its seconds to those of interrupted attempts.

    The seconds of an attempt that Ctrl-C or an error ended count; those of a killed one are lost.

    Returns:
        The scores, the seconds, and the code: of all attempts, where they had different ones.
    """
    seconds_before = 0.0
    made_by = code.sum
    if (out / CONFIG).exists():
        before = _read_config(out)
        seconds_before = before["seconds"]
        made_by = join_codes(before.get("code", UNRECORDED), code.sum)
    record = {
        "config": hashed_settings(config),
        "from": _hashes(history),
        "seconds": seconds_before,
        "code": made_by,
        "modules": code.modules,
        "from_code": _codes(history),
    }
    write_json(out / CONFIG, record)
    start = time.monotonic()
    try:
        scores = dict(work(out) or {})
    finally:
        seconds = seconds_before + time.monotonic() - start
        record["seconds"] = round(seconds, 2)
        write_json(out / CONFIG, record)
    return scores, seconds, made_by


def _read_config(out: Path) -> dict[str, Any]:
    """Read a stage's config.json and check its form."""
    fields = {"config": dict, "from": dict, "seconds": (int, float)}
    record = read_json(out / CONFIG, fields=fields, remedy=REMEDY)
    if not isinstance(record.get("code", ""), str):
        raise InputError(f"{out / CONFIG} cannot be read (code is no text): {REMEDY}")
    return record


def check_stage(config: Any, run: Path | str) -> None:
    """Refuse, before any work, a stage folder that other settings made.

    Args:
        config: the stage's configuration.
        run: folder of the run.

    Raises:
        InputError: with the settings that differ, as in
            "runs/demo/02_content was made with steps=300, now 200".
    """
    stage = stage_name(type(config))
    out = stage_folder(run, stage)
    if not (out / CONFIG).exists():
        return
    record = _read_config(out)
    _compare_settings(out, record["config"], hashed_settings(config))

    hashes = _hashes(_results_before(run, stage, must_exist=False))
    changed = [name for name in hashes if record["from"].get(name) != hashes[name]]
    if changed:
        names = " and ".join(changed)
        raise InputError(f"{out} was made from another {names} than this run's: {REMEDY}")


def _compare_settings(out: Path, former: dict[str, Any], present: dict[str, Any]) -> None:
    """Refuse former settings of a folder that differ from the present ones."""
    names = dict.fromkeys([*former, *present])
    differing = [name for name in names if former.get(name) != present.get(name)]
    if not differing:
        return
    renamed = [name for name in differing if renamed_setting(name)]
    if renamed:
        names_text = ", ".join(renamed)
        raise InputError(
            f"{out} was made by cdrl 0.1.0, which called settings {names_text}: read it with "
            f"cdrl 0.1.0, or {REMEDY}"
        )
    former_text = " ".join(f"{name}={former.get(name)}" for name in differing)
    present_text = " ".join(f"{name}={present.get(name)}" for name in differing)
    if len(differing) == 1:
        present_text = str(present.get(differing[0]))
    raise InputError(f"{out} was made with {former_text}, now {present_text}: {REMEDY}")


def run_of(path: Path | str, stage: str) -> Path | None:
    """Find the run that a folder is, or that a file or folder lies in.

    Args:
        path: a run's folder, or a path up to three levels below one.
        stage: a stage that the run must have finished.

    Returns:
        The run's folder, or None.
    """
    path = Path(path)
    if not path.exists():
        return None
    for folder in (path, *list(path.parents)[:3]):
        if (stage_folder(folder, stage) / RESULTS).exists():
            return folder
    return None


def made_with(path: Path | str, stage: str, name: str, default: Any) -> Any:
    """Return the setting `stage.name` of the run that a path lies in.

    Args:
        path: a run's folder, or a path in one.
        stage: the stage of the setting.
        name: the field's name.
        default: what a path outside of a run returns.
    """
    run = run_of(path, stage)
    if run is None:
        return default
    path = stage_folder(run, stage) / RESULTS
    record = check_results(path)["stages"].get(stage, {})
    if "config" not in record:
        raise damaged(path, f"it has no settings of {stage}", REMEDY)
    return record["config"].get(name, default)


def finish_run(run: Path | str, seconds: float, peak_gb: float) -> dict[str, Any]:
    """Write the run's own results.json: the last stage's, with the run's cost.

    Args:
        run: folder of a run whose stages are all complete.
        seconds: wall-clock seconds of the notebooks, interrupted attempts included.
        peak_gb: peak memory of all processes of the run together, GB.

    Returns:
        The results.
    """
    last_stage = list(STAGES)[-1]
    results = read_results(stage_folder(run, last_stage), of_run=True)
    peaks = [record["peak_gb"] for record in results["stages"].values()]
    results["run"] = {
        "time.total_seconds": round(seconds, 1),
        "memory.peak_gb": round(max(peak_gb, *peaks), 3),
    }
    results["other_code"] = other_code(run)
    write_json(Path(run) / RESULTS, results)
    return results


def peak_memory_gb() -> float:
    """Return the peak memory so far: this process plus the largest of its finished children, GB."""
    bytes_per_unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return (own + children) * bytes_per_unit / 1e9


def versions() -> dict[str, str]:
    """Return versions that a result may depend on, without importing a package."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            installed[package] = "missing"
    return installed


def _results_before(run: Path | str, stage: str, must_exist: bool = True) -> dict[str, Any]:
    """Return the results of the stage before; an empty mapping for the first stage."""
    stages = list(STAGES)
    position = stages.index(stage)
    if position == 0:
        return {}
    folder = stage_folder(run, stages[position - 1])
    if (folder / RESULTS).exists():
        return check_results(folder / RESULTS, of_run=True)
    if must_exist:
        raise InputError(f"{folder} is not complete: run notebook {folder.name[:2]} first")
    return {}


def _hashes(history: dict[str, Any]) -> dict[str, str]:
    """Return the hash of every stage in results."""
    return {name: record["hash"] for name, record in history.get("stages", {}).items()}


def _codes(history: dict[str, Any]) -> dict[str, str]:
    """Return the code of every stage in results."""
    codes = {}
    for name, record in history.get("stages", {}).items():
        codes[name] = record.get("code", UNRECORDED)
    return codes
