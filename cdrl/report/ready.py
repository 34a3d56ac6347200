"""Checks before a run is shown: its stage is complete and of this version, a browser is there."""

import os
import sys
from importlib.metadata import version
from pathlib import Path

from cdrl.core.errors import InputError
from cdrl.core.results import RESULTS, read_results
from cdrl.core.settings import stage_folder


def finished_stage(run: Path, stage: str, content: str, files: tuple[str, ...]) -> Path:
    """The folder of a complete stage.

    Args:
        run: folder of a run.
        stage: its name.
        content: what the caller shows of it, as in "maps", for the messages.
        files: names of the files that the folder must hold.

    Raises:
        InputError: where there is no such run, the stage is not complete, or another version made
            it; the line says what can be read all the same.
    """
    if not run.is_dir():
        raise InputError(
            f"{run}: no such run: name a folder, as in runs/demo, or make one with cdrl run "
            f"--out {run}"
        )

    folder = stage_folder(run, stage)
    if not (folder / RESULTS).exists():
        raise InputError(
            f"{run} has no {content} yet ({folder.name} is not complete): finish it with the same "
            f"cdrl run --out {run}; what is done so far: cdrl scores {run}"
        )

    versions = read_results(folder)["stages"][stage]["versions"]
    made_by = versions.get("cdrl", "unknown")
    present = version("cdrl")
    missing = [name for name in files if not (folder / name).exists()]
    if missing or _major_minor(made_by) != _major_minor(present):
        lacks = f" and lacks {' and '.join(missing)}" if missing else ""
        raise InputError(
            f"{run} was made by cdrl {made_by}{lacks}, this is {present}: its {content} cannot be "
            f"shown, make it again under another --out; its scores can still be read: "
            f"cdrl scores {run}"
        )
    return folder


def _major_minor(number: str) -> list[str]:
    """The first two parts of a version: "0.1.0" -> ["0", "1"]."""
    return number.split(".")[:2]


def is_interactive() -> bool:
    """Whether this is a kernel with a browser in front of it.

    False outside a kernel and in the headless ones that `cdrl run` starts, which set CDRL_HEADLESS.
    """
    if os.environ.get("CDRL_HEADLESS") or "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None
