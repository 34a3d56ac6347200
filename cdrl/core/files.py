"""Files that appear whole or not at all, and folders that one process writes at a time."""

import fcntl
import json
import math
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

from cdrl.core.errors import InputError


def write_json(path, value):
    """Writes JSON under a temporary name and renames it; numbers that are not finite become null."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(_plain(value), indent=1, allow_nan=False) + "\n")
    temporary.replace(path)


def read_json(path):
    """Reads a JSON file.

    Raises:
        InputError: for a file that is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): remove it and run again") from error


def _plain(value):
    """Numbers of numpy and torch as Python's, so that json can write them."""
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
def held_alone(folder):
    """Keeps a second process out of a folder; let go when this one ends, however it does. Where the disk knows no locks, nothing is held.

    Raises:
        InputError: where another process holds it.
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


def check_disk(folder, needed_gb):
    """Refuses to begin where the disk will be full before the end; what lies in the folder already counts.

    Raises:
        InputError: naming the folder, what is free and what is needed.
    """
    folder = Path(folder)
    held = (
        sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e9
        if folder.exists()
        else 0.0
    )
    existing = next(place for place in [folder, *folder.resolve().parents] if place.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if free + held < needed_gb:
        raise InputError(
            f"{folder}: {free:.1f} GB of disk are free, {needed_gb - held:.1f} GB are needed: free some, or choose "
            "another --out or a smaller --preset"
        )
