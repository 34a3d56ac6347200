"""One job of the representation half: one row, one seed, one file of scores."""

import time
from pathlib import Path

import torch

from cdrl.core.files import write_json
from cdrl.core.settings import StudyConfig
from cdrl.evaluation.estimate import Estimate, flatten_scores
from cdrl.study.content_jobs import Scores, content_job
from cdrl.study.emotion_jobs import emotion_job
from cdrl.study.rows import TABLES


def job_path(work: Path, split: str, kind: str, name: str, seed: int) -> Path:
    """Return the file with the scores of one job."""
    return Path(work) / "jobs" / split / f"{kind}.{name}.{seed}.json"


def do_job(work: Path, config: StudyConfig, kind: str, name: str, seed: int) -> None:
    """Train and score one row with one seed, and write its scores.

    Args:
        work: the study's work folder.
        config: the study's settings.
        kind: `content` or `emotion`.
        name: of the row.
        seed: of the training.
    """
    torch.manual_seed(seed)
    begin = time.monotonic()

    row = TABLES[kind][name]
    job = content_job if kind == "content" else emotion_job
    scores = job(Path(work), config, row, seed)

    seconds = round(time.monotonic() - begin, 1)
    path = job_path(work, config.split, kind, name, seed)
    write_json(path, {"scores": _flat(scores), "seconds": seconds})


def _flat(scores: Scores) -> dict[str, float]:
    """Put estimates first, with what stands beside them, then plain numbers."""
    estimates = {}
    numbers = {}
    for name, score in scores.items():
        if isinstance(score, Estimate):
            estimates[name] = score
        else:
            numbers[name] = float(score)

    return flatten_scores(estimates) | numbers
