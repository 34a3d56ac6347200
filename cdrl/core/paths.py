"""Where things lie: the clone or the installed package, the runs, the committed data.

This is the only module that climbs parent folders.
"""

import os
from pathlib import Path

from cdrl.core.errors import InputError

PACKAGE = Path(__file__).resolve().parents[1]


def repository_root() -> Path:
    """Return the folder that holds cdrl/, notebooks/ and data/ in a clone."""
    return PACKAGE.parent


def import_root() -> Path:
    """Return the folder that the package lies in; `PYTHONPATH` of a process that must import it."""
    return PACKAGE.parent


def in_clone() -> bool:
    """Whether the package lies in a clone of the repository, not in an installed wheel."""
    return (repository_root() / "pyproject.toml").is_file()


def working_root() -> Path:
    """Return the folder that relative run names lie in: the clone, else the working directory."""
    return repository_root() if in_clone() else Path.cwd()


def run_path(run: Path | str) -> Path:
    """Return the folder of a run.

    Args:
        run: a path; a relative one lies in the clone, wherever a notebook's kernel was started.
    """
    return working_root() / run


def notebooks_root() -> Path:
    """Return the folder of the notebooks: of the clone, else those in the installed package."""
    return repository_root() / "notebooks" if in_clone() else PACKAGE / "notebooks"


def data_root() -> Path:
    """Return the folder with the committed data: head, faces, weights, samples, speech, splits.

    CDRL_DATA names it; without it data/ of the clone is taken, else the data in the installed
    package.

    Raises:
        InputError: where none exists.
    """
    named = os.environ.get("CDRL_DATA")
    if named:
        root = Path(named)
        description = f"CDRL_DATA={named}"
    else:
        root = repository_root() / "data" if in_clone() else PACKAGE / "data"
        description = str(root)
    if not root.is_dir():
        raise InputError(
            f"no data folder at {description}: set CDRL_DATA to the data/ folder of a clone of the "
            "repository"
        )
    return root
