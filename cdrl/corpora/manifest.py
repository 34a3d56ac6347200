"""A corpus on disk as a table, the manifest: one row per clip, and its sums, saved and compared.

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

import pandas as pd
from tqdm import tqdm

from cdrl.core.errors import InputError

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


def media_path(clips: pd.DataFrame) -> pd.Series:
    """The file that `bytes` and `sha256` are of: the video, or the sound where there is none."""
    return clips["path"].where(clips["path"] != "", clips["sound"])


def add_sums(root: Path, clips: pd.DataFrame, record: Path) -> pd.DataFrame:
    """The manifest with the SHA-256 of every file, resumable.

    Goes on from `record`, a JSON line for each sum: what has the same
    path, size and time of change there is not read again.
    """
    known = {}
    for line in record.read_text().splitlines() if record.exists() else ():
        try:  # a kill may have left half a line
            entry = json.loads(line)
            known[entry["path"], entry["bytes"], entry["mtime_ns"]] = entry["sha256"]
        except (json.JSONDecodeError, KeyError, TypeError):
            continue
    record.parent.mkdir(parents=True, exist_ok=True)
    sums, paths = [], media_path(clips)
    with (
        open(record, "a") as out,
        tqdm(
            total=int(clips["bytes"].sum()), desc="sums", unit="B", unit_scale=True, mininterval=2
        ) as bar,
    ):
        out.write("\n")
        for path in paths:
            try:
                state = os.stat(Path(root) / path)
                key = (path, state.st_size, state.st_mtime_ns)
                if key not in known:
                    with open(Path(root) / path, "rb") as file:
                        known[key] = hashlib.file_digest(file, "sha256").hexdigest()
                    entry = dict(zip(("path", "bytes", "mtime_ns"), key, strict=True)) | {
                        "sha256": known[key]
                    }
                    out.write(json.dumps(entry) + "\n")
                    out.flush()
            except OSError as error:
                raise InputError(
                    f"{Path(root) / path}: cannot be read ({error.strerror}); mend it, then go on"
                ) from error
            sums.append(known[key])
            bar.update(state.st_size)
    return clips.assign(sha256=sums)


def save_manifest(clips: pd.DataFrame, path: Path) -> None:
    """Write a manifest (Parquet), whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    clips[list(COLUMNS)].to_parquet(partial, index=False)
    os.replace(partial, path)


def load_manifest(path: Path) -> pd.DataFrame:
    """A saved manifest.

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
    """What became of a saved manifest's files: {"gone", "new", "altered"} -> paths.

    Altered: another size or, where both have sums, another sum.
    """
    now = clips.set_index(media_path(clips))[["bytes", "sha256"]]
    then = saved.set_index(media_path(saved))[["bytes", "sha256"]]
    both = then.join(now, how="inner", lsuffix="_then", rsuffix="_now")
    summed = (both["sha256_then"] != "") & (both["sha256_now"] != "")
    other = (both["bytes_then"] != both["bytes_now"]) | (
        summed & (both["sha256_then"] != both["sha256_now"])
    )
    return {
        "gone": sorted(set(then.index) - set(now.index)),
        "new": sorted(set(now.index) - set(then.index)),
        "altered": sorted(both.index[other]),
    }
