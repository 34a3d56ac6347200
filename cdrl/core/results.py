"""Results of a run: read, put together, printed."""

from fnmatch import fnmatchcase
from pathlib import Path

from cdrl.core.errors import InputError
from cdrl.core.files import read_json
from cdrl.core.settings import STAGES, stage_folder

RESULTS = "results.json"


def read_results(path):
    """The results of a run folder, a stage folder or a results.json.

    Args:
        path: `runs/demo` reads its results.json or, before the run is complete, the last finished stage's.

    Returns:
        {"stages": {stage: {"config", "hash", "seconds", "peak_gb", "versions", "scores"}}, ...}.

    Raises:
        InputError: for a folder without results.
    """
    path = Path(path)
    if path.is_file():
        return read_json(path)
    candidates = [
        path / RESULTS,
        *(stage_folder(path, stage) / RESULTS for stage in reversed(STAGES)),
    ]
    found = next((candidate for candidate in candidates if candidate.exists()), None)
    if found is None:
        raise InputError(
            f"no results in {path}: name the folder of a run, as in runs/demo, or make one with cdrl run"
        )
    return read_json(found)


def all_scores(results):
    """Every score of every stage in one mapping, and the run's own (`time.total_seconds`, `memory.peak_gb`)."""
    scores = {}
    for record in results.get("stages", {}).values():
        scores |= record["scores"]
    return scores | results.get("run", {})


def score_lines(scores, pattern=""):
    """`name value` lines; four digits are kept.

    Args:
        scores: mapping of names to numbers.
        pattern: "content.*" (wildcards) or "content" (that name and all below it); empty for all.

    >>> score_lines({"content.viseme": 0.43217, "emotion.viseme": 0.2}, "content")
    ['content.viseme 0.4322']
    """
    wanted = {
        name: value
        for name, value in scores.items()
        if not pattern
        or name == pattern
        or name.startswith(f"{pattern}.")
        or fnmatchcase(name, pattern)
    }
    return [f"{name} {_number(value)}" for name, value in wanted.items()]


def _number(value):
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    return "nan" if value is None else str(value)
