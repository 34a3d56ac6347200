"""Where things lie: the clone, the runs, the committed data. The only module that climbs parent folders."""

import os
from pathlib import Path

from cdrl.core.errors import InputError


def repository_root():
    """The folder that holds cdrl/, notebooks/ and data/ in a clone."""
    return Path(__file__).resolve().parents[2]


def run_path(run):
    """A run's folder; a relative one lies in the clone, from wherever a notebook's kernel was started."""
    return repository_root() / run


def data_root():
    """The folder with the committed assets (head, weights, samples): CDRL_DATA, or data/ of the clone.

    Raises:
        InputError: where neither exists; a wheel alone carries the code and no assets.
    """
    named = os.environ.get("CDRL_DATA")
    root = Path(named) if named else repository_root() / "data"
    if not root.is_dir():
        where = f"CDRL_DATA={named}" if named else f"{root} (the package is not in a clone)"
        raise InputError(
            f"no data folder at {where}: set CDRL_DATA to the data/ folder of a clone of the repository"
        )
    return root
