"""A corpus on disk as a table, the manifest: one row per clip, saved and compared.

| column | meaning |
|---|---|
| `name` | unique, safe as a file name |
| `corpus`, `speaker`, `sentence`, `emotion`, `intensity` | labels; our words; 1 to 3, neutral 1 |
| `camera`, `take` | "" where the corpus has none |
| `path` | the video, relative to the root, with /; "" where only sound is there |
| `sound` | a separate file with the sound; "" where it is in the video |
| `bytes`, `sha256` | of the video (else of the sound); the sum is "" until `add_sums` |
"""

import hashlib
import json
import os
from pathlib import Path
from typing import TextIO

import pandas as pd
from tqdm import tqdm

from cdrl.core.errors import InputError
from cdrl.core.files import atomic_path

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
                    sum_of_state[state] = _hash_file(root / path)
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


def _hash_file(path: Path) -> str:
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
        InputError: where there is none, or the file is another thing.
    """
    try:
        clips = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: no manifest that can be read; make one with cdrl data check ROOT --write"
        ) from error
    if list(clips.columns) != list(COLUMNS):
        raise InputError(f"{path}: not a manifest, its columns are {', '.join(clips.columns)}")
    return clips


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
