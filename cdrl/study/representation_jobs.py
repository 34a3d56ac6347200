"""One job of the representation half: one row, one seed, one file of scores."""

import time
from pathlib import Path

import torch

from cdrl.core.code_identity import join_codes
from cdrl.core.files import write_json
from cdrl.core.settings import StudyConfig
from cdrl.evaluation.estimate import Estimate, flatten_scores
from cdrl.study.content_jobs import Scores, content_job
from cdrl.study.emotion_jobs import emotion_job
from cdrl.study.job_code import job_code, study_code
from cdrl.study.rows import TABLES
from cdrl.study.user_rows import row_file_name


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
    code = job_code(work)

    row = TABLES[kind][name]
    job = content_job if kind == "content" else emotion_job
    scores = job(Path(work), config, row, seed)

    seconds = round(time.monotonic() - begin, 1)
    file_name = row_file_name(config, kind, name)
    path = job_path(work, config.split, kind, file_name, seed)
    code = join_codes(code, study_code().sum)
    write_json(path, {"scores": _flat(scores), "seconds": seconds, "code": code})


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
