"""Where an edit may be written: asked before any work is done."""

import errno
import os
import stat
from pathlib import Path

from cdrl.core.errors import InputError
from cdrl.media.encoding import SYNTHETIC
from cdrl.media.video import read_metadata

VIDEO_SUFFIX = ".mp4"


def check_out_file(source: Path, out: Path) -> None:
    """Refuse a file that cannot be written, or that must not be replaced.

    Args:
        source: the video that is edited.
        out: where the edit goes.

    Raises:
        InputError: a name that is none, is too long or does not end in .mp4; a folder; a place
            where no file can be made; the source; a file that this kit did not make.
    """
    if not out.name:
        raise InputError(f"--out {out}: is no file; give a name that ends in .mp4, as in happy.mp4")
    if out.suffix.lower() != VIDEO_SUFFIX:
        example = f"{out.stem}{VIDEO_SUFFIX}"
        raise InputError(f"--out {out}: the edited video is an .mp4 file, as in --out {example}")
    status = _check_path(out)
    if status is not None and stat.S_ISDIR(status.st_mode):
        raise InputError(f"--out {out}: is a folder; give a file that ends in .mp4")
    refuse_to_overwrite(source, out)


def check_out_folder(out: Path) -> None:
    """Refuse a folder in which no edits can be written.

    Args:
        out: where the edits go; it is made later, where it is missing.

    Raises:
        InputError: a file, or a place where no folder can be made.
    """
    status = _check_path(out)
    if status is not None and not stat.S_ISDIR(status.st_mode):
        raise InputError(f"--out {out}: is a file; give a folder for the edits")


def _check_path(out: Path) -> os.stat_result | None:
    """The status of what is at a path; None where nothing is and something can be made there."""
    try:
        status = os.stat(out)
    except FileNotFoundError:
        status = None
    except (OSError, ValueError) as error:
        raise InputError(f"--out {out}: {_path_fault(error)}; choose another name") from None
    if status is None and os.path.islink(out):
        raise InputError(f"--out {out}: is a link to nothing; remove it, or choose another name")

    folder = out.absolute()
    if status is None or not stat.S_ISDIR(status.st_mode):
        folder = folder.parent
    missing = [out.name] if status is None else []
    while not folder.exists():
        if folder.is_symlink():
            raise InputError(f"--out {out}: {folder} is a link to nothing; choose another folder")
        missing.append(folder.name)
        folder = folder.parent
    _check_folder(out, folder, missing)
    return status


def _check_folder(out: Path, folder: Path, missing: list[str]) -> None:
    """Refuse a path whose missing parts cannot be made in an existing folder."""
    if not folder.is_dir():
        raise InputError(f"--out {out}: {folder} is no folder; choose another place")
    longest = os.pathconf(folder, "PC_NAME_MAX")
    for name in missing:
        length = len(os.fsencode(name))
        if length > longest:
            raise InputError(
                f"--out {out}: a name of {length} bytes, {longest} are allowed there; choose a "
                "shorter one"
            )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"--out {out}: {folder} is closed to writing; choose another place")


def _path_fault(error: OSError | ValueError) -> str:
    """What is wrong with a path, as half a sentence."""
    if isinstance(error, ValueError):
        return "is no path"
    reasons = {
        errno.ENAMETOOLONG: "its name is too long",
        errno.ENOTDIR: "a part of it is a file, not a folder",
        errno.ELOOP: "is a link that leads to itself",
        errno.EACCES: "lies in a folder that is closed",
    }
    known = reasons.get(error.errno or 0)
    return known or f"cannot be used ({error.strerror})"


def refuse_to_overwrite(source: Path, out: Path) -> None:
    """Refuses an `out` that is the source, or a file that this kit did not make.

    Its own older edits are replaced.

    Args:
        source: the video that is edited.
        out: where the edit goes.

    Raises:
        InputError: saying which.
    """
    if not out.exists():
        return
    if source.exists() and out.samefile(source):
        raise InputError(f"{out}: is the source itself; give another name to --out")
    try:
        comment = read_metadata(out).get("comment")
    except InputError:
        comment = None
    if comment != SYNTHETIC:
        raise InputError(
            f"{out}: is there already and is no edit of this kit; give another --out, nothing is "
            "overwritten"
        )
