"""What has to be true before a run can be shown: the stage is complete and of this version; and whether anybody looks."""

import os
import sys
from importlib.metadata import version
from pathlib import Path

from cdrl.core.errors import InputError
from cdrl.core.results import RESULTS, read_results
from cdrl.core.settings import stage_folder


def finished_stage(run: Path, stage: str, shown: str, files: tuple[str, ...]) -> Path:
    """The folder of a complete stage, or one line that says what is missing and what can be read all the same.

    Args:
        run: folder of a run. stage: its name. shown: what is to be shown, as in "maps". files: what must lie in the folder.

    Raises:
        InputError: where there is no such run, the stage is not complete, or another version made it.
    """
    if not run.is_dir():
        raise InputError(
            f"{run}: no such run: name a folder, as in runs/demo, or make one with cdrl run --out {run}"
        )
    folder = stage_folder(run, stage)
    if not (folder / RESULTS).exists():
        raise InputError(
            f"{run} has no {shown} yet ({folder.name} is not complete): finish it with the same cdrl run --out {run}; "
            f"what is done so far: cdrl scores {run}"
        )
    made = read_results(folder)["stages"][stage]["versions"].get("cdrl", "unknown")
    lacking = [name for name in files if not (folder / name).exists()]
    if made.split(".")[:2] != version("cdrl").split(".")[:2] or lacking:
        why = f" and lacks {' and '.join(lacking)}" if lacking else ""
        raise InputError(
            f"{run} was made by cdrl {made}{why}, this is {version('cdrl')}: its {shown} cannot be shown, make it again "
            f"under another --out; its scores can still be read: cdrl scores {run}"
        )
    return folder


def somebody_watches() -> bool:
    """False outside a kernel and in the headless ones that `cdrl run` starts, which set CDRL_HEADLESS."""
    if os.environ.get("CDRL_HEADLESS") or "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None
