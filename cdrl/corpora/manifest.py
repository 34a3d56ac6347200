"""A corpus on disk as a table, the manifest: one row per clip, saved and compared.

| column | meaning |
|---|---|
| `name` | unique, safe as a file name |
| `corpus`, `speaker`, `sentence`, `emotion`, `intensity` | our words, or unlabelled; 1 to 3 |
| `camera`, `take` | "" where the corpus has none |
| `path` | the video, relative to the root, with /; "" where only sound is there |
| `sound` | a separate file with the sound; "" where it is in the video |
| `bytes`, `sha256` | of the video (else of the sound); the sum is "" until `add_sums` |
"""

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

import numpy as np
import pandas as pd
from tqdm import tqdm

from cdrl.core.errors import InputError
from cdrl.core.files import atomic_path
from cdrl.core.vocabulary import EMOTIONS, INTENSITIES, UNLABELLED

COLUMNS = (
    "name",
    "corpus",
    "speaker",
    "sentence",
    "emotion",
    "intensity",
    "camera",
    "take",
    "path",
    "sound",
    "bytes",
    "sha256",
)
# What tells one state of a file from another: path, size, time of its last change.
FileState = tuple[str, int, int]


def media_path(clips: pd.DataFrame) -> pd.Series:
    """The file that `bytes` and `sha256` are of: the video, or the sound where there is none."""
    return clips["path"].where(clips["path"] != "", clips["sound"])


def add_sums(root: Path, clips: pd.DataFrame, record: Path) -> pd.DataFrame:
    """The manifest with the SHA-256 of every file, resumable.

    Args:
        root: the folder that the manifest's paths are relative to.
        clips: the manifest.
        record: a file with a JSON line for each sum; what has the same path, size and time of
            change there is not read again.

    Raises:
        InputError: for a file that cannot be read.
    """
    root = Path(root)
    sum_of_state = _read_record(record)
    record.parent.mkdir(parents=True, exist_ok=True)
    num_bytes = int(clips["bytes"].sum())
    progress = tqdm(total=num_bytes, desc="sums", unit="B", unit_scale=True, mininterval=2)
    sums = []
    with open(record, "a") as out, progress:
        out.write("\n")
        for path in media_path(clips):
            try:
                state = _file_state(root, path)
                if state not in sum_of_state:
                    sum_of_state[state] = hash_file(root / path)
                    _append_record(out, state, sum_of_state[state])
            except OSError as error:
                raise InputError(
                    f"{root / path}: cannot be read ({error.strerror}); mend it, then go on"
                ) from error
            sums.append(sum_of_state[state])
            progress.update(state[1])
    return clips.assign(sha256=sums)


def _read_record(record: Path) -> dict[FileState, str]:
    """The sums of a record; a kill may have left half a line."""
    sum_of_state: dict[FileState, str] = {}
    if not record.exists():
        return sum_of_state
    for line in record.read_text().splitlines():
        try:
            entry = json.loads(line)
            state = (entry["path"], entry["bytes"], entry["mtime_ns"])
            sum_of_state[state] = entry["sha256"]
        except (json.JSONDecodeError, KeyError, TypeError):
            continue
    return sum_of_state


def _append_record(out: TextIO, state: FileState, digest: str) -> None:
    path, num_bytes, changed_ns = state
    entry = {"path": path, "bytes": num_bytes, "mtime_ns": changed_ns, "sha256": digest}
    out.write(json.dumps(entry) + "\n")
    out.flush()


def _file_state(root: Path, path: str) -> FileState:
    status = os.stat(root / path)
    return path, status.st_size, status.st_mtime_ns


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits.

    Args:
        path: the file.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_manifest(clips: pd.DataFrame, path: Path) -> None:
    """Write a manifest (Parquet), whole or not at all.

    Args:
        clips: the manifest.
        path: the file.
    """
    with atomic_path(path) as partial:
        clips[list(COLUMNS)].to_parquet(partial, index=False)


def load_manifest(path: Path) -> pd.DataFrame:
    """A saved manifest.

    Args:
        path: the file.

    Raises:
        InputError: where there is none, the file is another thing, or a row cannot be used.
    """
    try:
        clips = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: no manifest that can be read; make one with cdrl data check ROOT --write"
        ) from error
    if list(clips.columns) != list(COLUMNS):
        columns = ", ".join(str(name) for name in clips.columns)
        raise InputError(f"{path}: not a manifest, its columns are {columns}")
    return check_rows(clips, str(path))


def check_rows(clips: pd.DataFrame, source: str) -> pd.DataFrame:
    """Refuse a manifest with a value that cannot be used.

    Args:
        clips: columns `COLUMNS`, with rows numbered in any way.
        source: what the message calls the manifest.

    Returns:
        The manifest, with whole numbers as int.

    Raises:
        InputError: with the row, the column, the value and what is accepted.
    """
    for column, (is_usable, accepted) in ACCEPTED.items():
        for number, value in enumerate(clips[column]):
            if not is_usable(value):
                place = f"{source}: row {number}, column {column}"
                raise InputError(f"{place}: {_shown(value)}; {accepted} is needed")
    _refuse_repeated_names(clips, source)

    has_file = (clips["path"] != "") | (clips["sound"] != "")
    if not has_file.all():
        number = int(np.flatnonzero(~has_file)[0])
        raise InputError(f"{source}: row {number}: neither path nor sound; name one of them")
    return clips.astype({column: int for column in NUMBERS})


def _refuse_repeated_names(clips: pd.DataFrame, source: str) -> None:
    is_repeated = clips["name"].duplicated()
    if is_repeated.any():
        name = clips["name"][is_repeated].iloc[0]
        raise InputError(
            f"{source}: the name {name!r} stands for several clips; each needs its own"
        )


def _shown(value: Any) -> str:
    """A value for a message; a long one is cut."""
    return repr(value)[:80]


def _is_text(value: Any) -> bool:
    """Whether a value is a text that a file can hold."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_label(value: Any) -> bool:
    return _is_text(value) and bool(value.strip())


def _is_name(value: Any) -> bool:
    """Whether a value is a file's name of letters, digits, - _ and dots."""
    return isinstance(value, str) and re.fullmatch(r"(?!\.+$)[\w.-]{1,200}", value) is not None


def _is_emotion(value: Any) -> bool:
    return isinstance(value, str) and value in (*EMOTIONS, UNLABELLED)


def _is_whole(value: Any) -> bool:
    """Whether a value is a whole number from 0."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        return False
    return bool(np.isfinite(value) and value >= 0 and value == int(value))


def _is_level(value: Any) -> bool:
    return _is_whole(value) and int(value) in INTENSITIES


def _lies_below_root(value: Any) -> bool:
    """Whether a value is "" or a path that cannot leave the root."""
    if not _is_text(value):
        return False
    path = PurePosixPath(value)
    return not path.is_absolute() and ".." not in path.parts


def _is_sum(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"([0-9a-f]{64})?", value) is not None


NUMBERS = ("intensity", "bytes")
_Accepted = tuple[Callable[[Any], bool], str]
_BELOW_ROOT: _Accepted = (_lies_below_root, "a path below the root, with / and without ..,")
_LABEL: _Accepted = (_is_label, "a text")
# What each column accepts, and in words.
ACCEPTED: dict[str, _Accepted] = {
    "name": (_is_name, "a file's name of letters, digits, - _ and dots"),
    "corpus": _LABEL,
    "speaker": _LABEL,
    "sentence": _LABEL,
    "emotion": (_is_emotion, f"one of {', '.join(EMOTIONS)} or {UNLABELLED}"),
    "intensity": (_is_level, "1, 2 or 3"),
    "camera": (_is_text, "a text, perhaps empty,"),
    "take": (_is_text, "a text, perhaps empty,"),
    "path": _BELOW_ROOT,
    "sound": _BELOW_ROOT,
    "bytes": (_is_whole, "a number of bytes, 0 where it is unknown,"),
    "sha256": (_is_sum, "a sum of 64 hexadecimal digits, or nothing,"),
}


def compare(clips: pd.DataFrame, saved: pd.DataFrame) -> dict[str, list[str]]:
    """What became of a saved manifest's files.

    Args:
        clips: the manifest of the files as they are now.
        saved: the manifest of the same root that was saved.

    Returns:
        {"gone", "new", "altered"} -> paths. Altered: another size or, where both have sums, another
        sum.
    """
    now = clips.set_index(media_path(clips))[["bytes", "sha256"]]
    then = saved.set_index(media_path(saved))[["bytes", "sha256"]]
    both = then.join(now, how="inner", lsuffix="_then", rsuffix="_now")
    have_sums = (both["sha256_then"] != "") & (both["sha256_now"] != "")
    other_size = both["bytes_then"] != both["bytes_now"]
    other_sum = have_sums & (both["sha256_then"] != both["sha256_now"])
    paths_now = set(now.index)
    paths_then = set(then.index)
    return {
        "gone": sorted(paths_then - paths_now),
        "new": sorted(paths_now - paths_then),
        "altered": sorted(both.index[other_size | other_sum]),
    }
