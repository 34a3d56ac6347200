"""Files that appear whole or not at all, and folders that one process writes at a time."""

import fcntl
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from cdrl.core.errors import FULL_DISK_LINE, InputError, tells_full_disk

REMEDY = "remove it and run again"
WORK_MARK = ".cdrl-unfinished"  # a file in each folder of unfinished work


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside `path` and rename it to `path` when the block ends well.

    The temporary file is removed when the block fails. Its folder is made where it is missing. Its
    mode is that of any new file of the user, whatever the writer gave it.

    Args:
        path: the file to write. A file that is there already is replaced as a whole.

    Raises:
        InputError: no space is left on the disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{uuid4().hex[:12]}{path.suffix[:16]}"
    try:
        mode = _new_file_mode(temporary)
        yield temporary
        temporary.chmod(mode)
        temporary.replace(path)
    except InputError:
        raise
    except Exception as error:
        if tells_full_disk(error):
            raise InputError(f"{path}: {FULL_DISK_LINE}") from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _new_file_mode(path: Path) -> int:
    """The mode that a new file gets here from the user's umask; the file does not stay."""
    path.touch()
    mode = path.stat().st_mode
    path.unlink()
    return mode


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON atomically; numbers that are not finite become null.

    Args:
        path: the file to write.
        value: mappings, lists, texts and numbers, those of numpy and torch included.
    """
    text = json.dumps(_plain(value), indent=1, allow_nan=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def read_json(
    path: Path | str,
    kind: type = object,
    fields: Mapping[str, Any] | None = None,
    remedy: str = REMEDY,
) -> Any:
    """Read a JSON file and check its form.

    Args:
        path: the file.
        kind: the type that its content must have, as dict.
        fields: of a mapping, the names that it must have and the types of their values.
        remedy: end of the message.

    Raises:
        InputError: for a file that is missing, is not JSON or has another form.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, first_line(error), remedy) from error
    wanted: Any = dict if fields else kind
    if not isinstance(value, wanted):
        reason = f"it holds a {type(value).__name__}, a {wanted.__name__} is needed"
        raise damaged(path, reason, remedy)
    if fields:
        _check_fields(path, value, fields, remedy)
    return value


def _check_fields(
    path: Path | str, record: dict[str, Any], fields: Mapping[str, Any], remedy: str
) -> None:
    """Refuse a record that lacks a field, or has one of another type."""
    for name, kind in fields.items():
        if name not in record:
            raise damaged(path, f"it has no {name}", remedy)
        if not isinstance(record[name], kind):
            raise damaged(path, f"its {name} is a {type(record[name]).__name__}", remedy)


def damaged(path: Path | str, reason: str, remedy: str = REMEDY) -> InputError:
    """Make the error for a file of the kit's own that cannot be used.

    Args:
        path: the file.
        reason: half a sentence.
        remedy: what the user can do.
    """
    return InputError(f"{path} cannot be read ({reason[:160]}): {remedy}")


def first_line(error: Exception) -> str:
    """Return the first line of an error's message; its kind where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def read_array(
    path: Path | str, dimensions: int | None = None, mapped: bool = False, remedy: str = REMEDY
) -> np.ndarray:
    """Read an array of numbers from a .npy file.

    Args:
        path: the file.
        dimensions: how many it must have; None takes any.
        mapped: map it into memory instead of reading it.
        remedy: end of the message.

    Returns:
        (N, ...) as it was written; with `mapped` it cannot be written to.

    Raises:
        InputError: for a file that is missing or damaged, or holds something else.
    """
    try:
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except Exception as error:  # damaged headers raise errors of every kind
        raise damaged(path, first_line(error), remedy) from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise damaged(path, "it holds no array of numbers", remedy)
    if dimensions is not None and array.ndim != dimensions:
        raise damaged(path, f"its shape is {array.shape}, {dimensions} axes are needed", remedy)
    return array


def read_arrays(
    path: Path | str, names: Iterable[str] = (), remedy: str = REMEDY
) -> dict[str, np.ndarray]:
    """Read all arrays of a .npz file.

    Args:
        path: the file.
        names: those that must be in it.
        remedy: end of the message.

    Returns:
        The arrays by name.

    Raises:
        InputError: for a file that is missing or damaged, or lacks an array.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except Exception as error:  # damaged archives raise errors of every kind
        raise damaged(path, first_line(error), remedy) from None
    missing = [name for name in names if name not in arrays]
    if missing:
        raise damaged(path, f"it has no array {', '.join(missing)}", remedy)
    return arrays


def write_array(path: Path | str, array: np.ndarray) -> None:
    """Write an array as .npy atomically.

    Args:
        path: the file to write.
        array: (N, ...) of any type but objects.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array, allow_pickle=False)


def make_work_folder(path: Path | str) -> Path:
    """Make a folder for unfinished work, with a mark by which it is known as the kit's own.

    A marked folder that is there already is emptied; `keep_work_folder` leaves its content.

    Args:
        path: the folder.

    Returns:
        The folder.

    Raises:
        InputError: somebody else's folder with files is there.
    """
    path = Path(path)
    remove_work_folder(path)
    keep_work_folder(path)
    return path


def keep_work_folder(path: Path | str) -> Path:
    """Make a marked folder for unfinished work, or go on in the one that is there.

    Args:
        path: the folder.

    Returns:
        The folder.

    Raises:
        InputError: somebody else's folder with files is there.
    """
    path = Path(path)
    _refuse_foreign_folder(path)
    path.mkdir(parents=True, exist_ok=True)
    (path / WORK_MARK).touch()
    return path


def remove_work_folder(path: Path | str) -> None:
    """Remove a folder that carries the kit's mark, or that is empty; nothing where there is none.

    Args:
        path: the folder.

    Raises:
        InputError: somebody else's folder with files is there.
    """
    path = Path(path)
    if not path.exists():
        return
    _refuse_foreign_folder(path)
    _empty_except_mark(path)
    shutil.rmtree(path)


def _empty_except_mark(path: Path) -> None:
    """Remove what a folder holds, its mark excepted: a removal that is cut off can be repeated."""
    for child in path.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        elif child.name != WORK_MARK:
            child.unlink()


def _refuse_foreign_folder(path: Path) -> None:
    """Refuse a path with files that does not carry the kit's mark."""
    if not path.exists() or (path / WORK_MARK).exists():
        return
    if not path.is_dir() or any(path.iterdir()):
        raise InputError(
            f"{path}: is needed for unfinished work, and what is there was not made by cdrl; move "
            "it away, or choose another --out"
        )


def _plain(value: Any) -> Any:
    """Turn numbers of numpy and torch into Python's, so that json can write them."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@contextmanager
def exclusive(folder: Path | str) -> Iterator[None]:
    """Keep a second process out of a folder as long as the block runs.

    The lock ends with the process, however it ends. A disk that knows no locks gives none.

    Args:
        folder: an existing folder.

    Raises:
        InputError: another process holds the lock.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{folder}: another process is writing here; wait for it, or name another folder"
            ) from None
        except OSError:
            pass
        yield
    finally:
        os.close(handle)


def check_disk(folder: Path | str, needed_gb: float, done: Sequence[Path] | None = None) -> None:
    """Refuse to begin where the disk will be full before the end.

    Args:
        folder: where the work will write.
        needed_gb: what the work writes in all, GB.
        done: folders whose files are part of that already; None: `folder` itself.

    Raises:
        InputError: with the folder, the free space and the needed space.
    """
    folder = Path(folder)
    candidates = [folder, *folder.resolve().parents]
    existing = next(candidate for candidate in candidates if candidate.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    if free_gb >= needed_gb:
        return  # a folder may hold so many files that counting them takes seconds

    places = [folder] if done is None else done
    missing_gb = needed_gb - sum(folder_gb(place) for place in places)
    if free_gb < missing_gb:
        raise InputError(
            f"{folder}: {free_gb:.1f} GB of disk are free, {missing_gb:.1f} GB are needed: free "
            "some, or choose another --out or a smaller --preset"
        )


def folder_gb(folder: Path) -> float:
    """Return the size of all files in a folder, GB; 0 where there is none."""
    size = 0
    for file in folder.rglob("*"):
        if file.is_file():
            size += file.stat().st_size
    return size / 1e9
