"""Which code made each job of a study: it stands beside the scores, and no row has two codes.

Jobs from before code was recorded count as made by one code, `unrecorded`. What the jobs of a work
folder share (corpora, features, encoders) counts as made by the code that began the folder: a job
of later code in it has both, as A+B.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cdrl.core.code_identity import UNRECORDED, CodeIdentity, code_identity, join_codes
from cdrl.core.errors import InputError
from cdrl.core.files import read_json
from cdrl.study.row import Job

STUDY = "study.json"  # in the work folder: the settings and the code that it was begun with
MODULES = ("cdrl.study.representation_jobs", "cdrl.study.edit_jobs")


def study_code() -> CodeIdentity:
    """Identify the code that does the jobs of a study today."""
    return code_identity(MODULES)


def code_of_work(work: Path) -> str:
    """Return the code that began a work folder; today's for one that is not begun.

    Args:
        work: the study's work folder.
    """
    path = Path(work) / STUDY
    if not path.exists():
        return study_code().sum
    return _code(path, read_json(path, dict))


def job_code(work: Path) -> str:
    """Return the code of a job that is done today in a work folder.

    Args:
        work: the study's work folder.
    """
    return join_codes(code_of_work(work), study_code().sum)


def code_of_job(path: Path) -> str:
    """Return the code of a finished job.

    Args:
        path: the file with its scores.

    Raises:
        InputError: a file that is no job's.
    """
    return _code(path, read_job(path))


def read_job(path: Path) -> dict[str, Any]:
    """Read the file with the scores of one job.

    Args:
        path: the file.

    Raises:
        InputError: a file that is no job's.
    """
    record = read_json(path, dict)
    if not isinstance(record.get("scores"), dict):
        raise InputError(f"{path} cannot be read (it has no scores): remove it and run again")
    return record


def _code(path: Path, record: Mapping[str, Any]) -> str:
    code = record.get("code", UNRECORDED)
    if not isinstance(code, str):
        raise InputError(f"{path} cannot be read (code is no text): remove it and run again")
    return code


def codes_of_rows(files: Mapping[Job, Path]) -> dict[str, str]:
    """Return the code of every row that has finished jobs, by `KIND.ROW`.

    Args:
        files: the file with the scores of each job, finished or not.

    Raises:
        InputError: a row whose jobs are of two codes.
    """
    codes: dict[str, str] = {}
    first_files: dict[str, Path] = {}
    for job, path in files.items():
        if not path.exists():
            continue
        row = f"{job.kind}.{job.row}"
        code = code_of_job(path)
        if codes.setdefault(row, code) != code:
            raise _two_codes(row, first_files[row], codes[row], f"{path} by {code}")
        first_files.setdefault(row, path)
    return codes


def check_codes(files: Mapping[Job, Path], present: str) -> dict[str, str]:
    """Refuse, before any work, a row that would have jobs of two codes.

    Args:
        files: the file with the scores of each job, finished or not.
        present: code of the jobs that are not done yet, of `job_code`.

    Returns:
        The code of every row that has finished jobs, by `KIND.ROW`.

    Raises:
        InputError: names the row, a job of the other code, and the remedy.
    """
    codes = codes_of_rows(files)
    for job, path in files.items():
        row = f"{job.kind}.{job.row}"
        if not path.exists() and codes.get(row, present) != present:
            done = next(file for other, file in files.items() if _is_done(other, job, file))
            raise _two_codes(row, done, codes[row], f"seed {job.seed} would be by {present}")
    return codes


def _is_done(job: Job, of_row: Job, file: Path) -> bool:
    return (job.kind, job.row) == (of_row.kind, of_row.row) and file.exists()


def _two_codes(row: str, file: Path, code: str, other: str) -> InputError:
    return InputError(
        f"{row}: {file} was made by code {code}, {other}; one row is of one code: choose another "
        "--work and --out, or set these jobs aside"
    )


def describe_codes(codes: Mapping[str, str], present: str) -> str:
    """Name, in one line, the codes of the rows that today's code did not make; empty for none.

    Args:
        codes: of `check_codes`.
        present: of `job_code`.
    """
    rows = [row for row, code in codes.items() if code != present]
    if not rows:
        return ""
    others = ", ".join(sorted({codes[row] for row in rows}))
    return (
        f"{len(rows)} of {len(codes)} rows were made by other code ({others}; today's is "
        f"{present}): kept, and not compared with rows of today's; another --work and --out make "
        "them again"
    )


def have_one_code(rows: Iterable[str], codes: Mapping[str, str]) -> bool:
    """Whether rows were made by one code, so that they can be compared.

    Args:
        rows: names of rows of the edit half.
        codes: of `codes_of_rows`.
    """
    return len({codes.get(f"edit.{row}", UNRECORDED) for row in rows}) == 1
