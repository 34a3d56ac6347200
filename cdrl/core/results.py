"""Results of a run: read, put together, printed."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from cdrl.core.errors import InputError
from cdrl.core.files import damaged, read_json
from cdrl.core.former_names import present_scores
from cdrl.core.settings import STAGES, stage_folder

RESULTS = "results.json"
# What `run_stage` writes for each stage, beside its scores.
RECORD: dict[str, type | tuple[type, ...]] = {
    "config": dict,
    "hash": str,
    "seconds": (int, float),
    "peak_gb": (int, float),
    "versions": dict,
}
# What results call the intervals of their scores. Where no name stands beside the scores, they are
# of before: percentiles of resamples, too narrow over few people.
INTERVAL_NAME = "t over people, shares on the logit, trained things with their seeds"


def read_results(path: Path | str, of_run: bool = False) -> dict[str, Any]:
    """Read the results of a run folder, a stage folder or a results.json.

    Args:
        path: `runs/demo` reads its results.json or, before the run is complete, that of the last
            finished stage.
        of_run: every stage must have all that `run_stage` writes, not its scores alone.

    Returns:
        {"stages": {stage: {"config", "hash", "seconds", "peak_gb", "versions", "scores"}}, ...}.

    Raises:
        InputError: for a folder without results, or a damaged file.
    """
    path = Path(path)
    if path.is_file():
        return check_results(path, of_run)
    candidates = [path / RESULTS]
    for stage in reversed(STAGES):
        candidates.append(stage_folder(path, stage) / RESULTS)
    for candidate in candidates:
        if candidate.exists():
            return check_results(candidate, of_run)
    if (path / "grid.html").exists():
        raise InputError(
            f"{path} is a grid: its scores are in {path / 'results.csv'}, those of one run in "
            f"{path / 'runs'}"
        )
    raise InputError(
        f"no results in {path}: name the folder of a run, as in runs/demo, or make one with "
        "cdrl run"
    )


def check_results(path: Path, of_run: bool = False) -> dict[str, Any]:
    """Read one results.json, check its form and put scores under their present names.

    Args:
        path: the file.
        of_run: every stage must have all that `run_stage` writes, not its scores alone.

    Raises:
        InputError: for a file that is not JSON or has another form.
    """
    results = read_json(path, fields={"stages": dict})
    stages = results["stages"]
    for name in ("run", "other_code"):
        if not isinstance(results.get(name, {}), dict):
            raise damaged(path, f"its {name} is no mapping")
    for stage, record in stages.items():
        if not isinstance(record, dict) or not isinstance(record.get("scores"), dict):
            raise damaged(path, f"stage {stage} has no scores")
        for name, kind in RECORD.items():
            is_needed = of_run or name in record
            if is_needed and not isinstance(record.get(name), kind):
                raise damaged(path, f"stage {stage} has no {name} of the right type")
        record["scores"] = present_scores(record["scores"])
    return results


def all_scores(results: dict[str, Any]) -> dict[str, Any]:
    """Collect the scores of every stage, and the run's own time and memory.

    Args:
        results: of `read_results`.

    Returns:
        Score names and values; `time.total_seconds` and `memory.peak_gb` for a finished run.
    """
    scores: dict[str, Any] = {}
    for record in results.get("stages", {}).values():
        scores |= record["scores"]
    return scores | results.get("run", {})


def score_lines(scores: dict[str, Any], pattern: str = "") -> list[str]:
    """Format scores as `name value` lines with four digits.

    Args:
        scores: mapping of names to numbers.
        pattern: "content.*" (wildcards) or "content" (that name and all below it); empty for all.

    >>> score_lines({"content.viseme": 0.43217, "emotion.viseme": 0.2}, "content")
    ['content.viseme 0.4322']
    """
    lines = []
    for name, value in select_scores(scores, pattern).items():
        lines.append(f"{name} {_number(value)}")
    return lines


def select_scores(scores: dict[str, Any], pattern: str = "") -> dict[str, Any]:
    """Select the scores whose names match a pattern, in the same order.

    Args:
        scores: mapping of names to numbers.
        pattern: as `score_lines` takes it.
    """
    selected = {}
    for name, value in scores.items():
        if _matches(name, pattern):
            selected[name] = value
    return selected


def _matches(name: str, pattern: str) -> bool:
    """Whether a score's name is selected by a pattern of `score_lines`."""
    if not pattern or name == pattern:
        return True
    return name.startswith(f"{pattern}.") or fnmatchcase(name, pattern)


def _number(value: Any) -> str:
    """Format a number with four digits; None, which JSON has for nan, as nan."""
    if value is None:
        return "nan"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
