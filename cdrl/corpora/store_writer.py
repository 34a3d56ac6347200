"""How a crop store is written: clip by clip, whole or not at all.

Arrays lie in `PATH.partial` until the store is complete. They are cut at the end of a clip whenever
`shard_bytes` of crops are there, so no file is written twice, and a store that says what it is made
of (`key`) keeps the finished shards of a run that was cut off.
"""

import io
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.files import (
    WORK_MARK,
    damaged,
    keep_work_folder,
    make_work_folder,
    read_array,
    read_json,
    remove_work_folder,
    write_json,
)
from cdrl.corpora.sharded_array import ShardedArray
from cdrl.corpora.store import (
    COLUMNS,
    FULL_SCALE,
    MOUTH_COLUMNS,
    ONE_FILE_FORMAT,
    OPTIONAL,
    SHARDED_FORMAT,
    array_file,
)
from cdrl.corpora.store_sums import CARD, FILES, check_sizes, sum_files

SHARD_BYTES = 4 << 30  # of crops in a file, and at most one clip more


@dataclass(frozen=True)
class Shard:
    """A finished part of a store: one file of every array.

    Attributes:
        frames: rows of its frame arrays.
        samples: of its sound.
        files: name -> {"bytes", "sha256"}.
    """

    frames: int
    samples: int
    files: dict[str, dict[str, Any]]


class StoreWriter:
    """Writes a store clip by clip into `PATH.partial` and renames it when closed.

    So a store is complete or absent.

    Example:
        with StoreWriter(path) as writer:
            writer.add(row, face, transforms, audio, mouth_box, truth)

    Attributes:
        rows: of the clips that are in, those of an earlier run included.
        shards: that are finished.
        frames: in all of them and in the one that is being written.
        partial: folder of the unfinished store.

    Args:
        path: folder of the store. A store that is there is replaced.
        crop: kind of the face crops, see `cdrl.media.faces.align`.
        key: what the store is made of. With a key, finished shards that an earlier writer with the
            same key has left are gone on with: `rows` says which clips they hold. "": the writer
            begins anew and leaves nothing when it fails.
        shard_bytes: of crops, after which the next clip begins new files.

    Raises:
        InputError: `path` or `PATH.partial` holds files that are not the kit's; shards that were
            made with another key, or that are damaged.
    """

    def __init__(
        self, path: Path, crop: str = "aligned", key: str = "", shard_bytes: int | None = None
    ) -> None:
        self.path = Path(path)
        self.crop = crop
        self.key = key
        self.shard_bytes = SHARD_BYTES if shard_bytes is None else shard_bytes
        refuse_foreign_store(self.path)
        self.partial = partial_of(self.path)

        self.rows: list[dict] = []
        self.shards: list[Shard] = []
        self.files: dict[str, BinaryIO] = {}  # of the shard that is being written
        self.layouts: dict[str, tuple[tuple[int, ...], np.dtype]] = {}  # shape of a row, type
        self.samples = 0
        self.frames = 0
        self._kept_rows = 0  # of the shards that a record keeps
        if key:
            self._go_on()
        else:
            make_work_folder(self.partial)

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            for file in self.files.values():
                # On a full disk this fails once more, for it writes what is left.
                with suppress(OSError):
                    file.close()
            if not self._kept_rows:
                remove_work_folder(self.partial)

    def add(
        self,
        row: dict,
        face: np.ndarray | Iterable[np.ndarray],
        transforms: np.ndarray,
        audio: np.ndarray,
        mouth_box: Sequence[float] | np.ndarray | pd.Series,
        truth: dict[str, np.ndarray] | None = None,
    ) -> None:
        """Append one clip.

        Args:
            row: name, corpus, split, speaker, sentence, emotion, intensity, frame_rate and, for a
                file, media, camera, take.
            face: (T, C, C, 3) uint8 crops, or an iterable of such arrays, T in all.
            transforms: (T, 2, 3) crop pixels -> frame pixels.
            audio: (S,) float in [-1, 1] or int16, 16 kHz.
            mouth_box: (4,) left, top, right, bottom in the crop, 0 to 1, one box for the whole
                clip.
            truth: name -> (T, ...) array; the same names for every clip of a store.

        Raises:
            ValueError: for another number of crops than of transforms, and for arrays unlike those
                of the clips before.
        """
        if self.files and self.files["face"].tell() >= self.shard_bytes:
            self._finish_shard()
            if self.key:
                self._keep_shard()
        num_frames = self._append_crops(face)
        if num_frames != len(transforms):
            raise ValueError(f"{row['name']}: {num_frames} crops, {len(transforms)} transforms")
        self._append("transforms", np.asarray(transforms, np.float32))
        audio = _as_int16(audio)
        self._append("audio", audio)
        for name, values in (truth or {}).items():
            self._append(f"truth_{name}", values)

        record = OPTIONAL | row
        record["start"] = self.frames
        record["num_frames"] = num_frames
        record["audio_start"] = self.samples
        record["audio_samples"] = len(audio)
        for column, position in zip(MOUTH_COLUMNS, mouth_box, strict=True):
            record[column] = float(position)
        self.rows.append(record)
        self.frames += num_frames
        self.samples += len(audio)

    def finished_crops(self) -> ShardedArray:
        """Return the crops of the finished shards, of which there must be one at least."""
        files = [self.partial / array_file("face", number) for number in range(len(self.shards))]
        return ShardedArray(files, [shard.frames for shard in self.shards])

    def _append_crops(self, face: np.ndarray | Iterable[np.ndarray]) -> int:
        """Append crops, chunk by chunk, and return their number."""
        chunks = [face] if isinstance(face, np.ndarray) else face
        num_frames = 0
        for chunk in chunks:
            self._append("face", chunk)
            num_frames += len(chunk)
        return num_frames

    def _append(self, name: str, array: np.ndarray) -> None:
        """Append rows to the file of an array; its header has no length until the end."""
        array = np.ascontiguousarray(array)
        layout = self.layouts.setdefault(name, (array.shape[1:], array.dtype))
        if layout != (array.shape[1:], array.dtype):
            raise ValueError(
                f"{name}: got {array.shape[1:]} {array.dtype}, this store holds {layout}"
            )
        if name not in self.files:
            path = self.partial / array_file(name, len(self.shards))
            self.files[name] = open(path, "wb")  # noqa: SIM115
            self.files[name].write(_header(0, *layout))
        if array.size:
            # Where the disk is full `write` says so; `tofile` does not.
            self.files[name].write(array.data)

    def _finish_shard(self) -> None:
        """Complete the files that are being written; the next clip begins new ones."""
        frames = self.frames - sum(shard.frames for shard in self.shards)
        samples = self.samples - sum(shard.samples for shard in self.shards)
        paths = []
        for name, file in self.files.items():
            file.seek(0)
            file.write(_header(samples if name == "audio" else frames, *self.layouts[name]))
            file.flush()
            if self.key:
                # What the shard was made from may be removed soon, so it must be on the disk.
                os.fsync(file.fileno())
            file.close()
            paths.append(Path(file.name))
        self.files = {}
        self.shards.append(Shard(frames, samples, sum_files(paths)))

    def _keep_shard(self) -> None:
        """Record the shard that was finished last, so that another writer can go on behind it."""
        record = {"key": self.key, "rows": self.rows[self._kept_rows :]} | asdict(self.shards[-1])
        write_json(_shard_record(self.partial, len(self.shards) - 1), record)
        self._kept_rows = len(self.rows)

    def _go_on(self) -> None:
        """Take over the finished shards of an earlier writer, and remove what it left half done."""
        keep_work_folder(self.partial)
        kept = {WORK_MARK}
        for record in read_shards(self.path, self.key):
            check_sizes(self.partial, record, _remedy(self.partial))
            kept |= {_shard_record(self.partial, len(self.shards)).name, *record["files"]}
            self.shards.append(Shard(record["frames"], record["samples"], record["files"]))
            self.rows += record["rows"]
            self.frames += record["frames"]
            self.samples += record["samples"]
        self._kept_rows = len(self.rows)

        for path in self.partial.iterdir():
            if path.name not in kept:
                path.unlink()
        for name in self.shards[0].files if self.shards else ():
            array = read_array(self.partial / name, mapped=True, remedy=_remedy(self.partial))
            self.layouts[name.split(".")[0]] = (array.shape[1:], array.dtype)

    def _finish(self) -> None:
        """Complete the partial folder and give it the store's name."""
        if self.files:
            self._finish_shard()
        clips = pd.DataFrame(self.rows, columns=list(COLUMNS))
        table = self.partial / "clips.parquet"
        clips.to_parquet(table, index=False)
        card: dict[str, Any] = {
            "format": SHARDED_FORMAT if len(self.shards) > 1 else ONE_FILE_FORMAT,
            "frames": self.frames,
            "samples": self.samples,
            "crop": self.crop,
        }
        if len(self.shards) > 1:
            card["shards"] = [
                {"frames": shard.frames, "samples": shard.samples} for shard in self.shards
            ]
        files = sum_files([table])
        for shard in self.shards:
            files |= shard.files
        if len(self.shards) == 1:
            files = self._without_numbers(files)
        card[FILES] = dict(sorted(files.items()))
        # Written last: a folder that has the card is a finished store. The folder is renamed as a
        # whole: no temporary name is needed. An OSError of a full disk must reach the caller as it
        # is.
        (self.partial / CARD).write_text(json.dumps(card))

        refuse_foreign_store(self.path)
        if self.path.exists():
            shutil.rmtree(self.path)
        # The mark goes last: a folder of ours without it would be refused if this ended in between.
        os.replace(self.partial, self.path)
        for number in range(len(self.shards)):
            _shard_record(self.path, number).unlink(missing_ok=True)
        (self.path / WORK_MARK).unlink()

    def _without_numbers(self, files: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Rename the arrays of a store that has one shard; returns the sums by the new names."""
        renamed = {}
        for name, entry in files.items():
            plain = name.replace(".000.", ".")
            os.replace(self.partial / name, self.partial / plain)
            renamed[plain] = entry
        return renamed


def partial_of(path: Path) -> Path:
    """Return the folder where a store is written until it is complete.

    Args:
        path: folder of the store.
    """
    return path.with_name(path.name + ".partial")


def read_shards(path: Path, key: str) -> list[dict[str, Any]]:
    """Return the records of the finished shards of a store that is not finished.

    Args:
        path: folder of the store.
        key: that the writer was given.

    Returns:
        Of each shard: {"key", "rows", "frames", "samples", "files"}; `rows` are those of its clips.

    Raises:
        InputError: a shard that was made with another key, or a damaged record.
    """
    partial = partial_of(path)
    records: list[dict[str, Any]] = []
    fields = {"key": str, "rows": list, "frames": int, "samples": int, "files": dict}
    while (file := _shard_record(partial, len(records))).exists():
        record = read_json(file, fields=fields, remedy=_remedy(partial))
        if not all(isinstance(row, dict) and set(COLUMNS) <= set(row) for row in record["rows"]):
            raise damaged(file, "a clip in it lacks a column", _remedy(partial))
        records.append(record)
    if any(record["key"] != key for record in records):
        num_clips = sum(len(record["rows"]) for record in records)
        raise InputError(
            f"{partial}: {num_clips} clips of an unfinished store, made of another manifest or "
            f"with other settings: run that command to its end, {_remedy(partial)}, or choose "
            "another --out"
        )
    return records


def _remedy(partial: Path) -> str:
    """What can be done about an unfinished store that cannot be gone on with."""
    return f"remove {partial} to begin anew"


def _shard_record(partial: Path, number: int) -> Path:
    """The file that says what a finished shard of an unfinished store holds."""
    return partial / f"shard.{number:03d}.json"


def refuse_foreign_store(path: Path) -> None:
    """Refuse the place of a store where files lie that are no store.

    Args:
        path: folder that a store will be written to.

    Raises:
        InputError: a file, or a folder with files that is no finished store.
    """
    if not path.exists() or (path / CARD).exists():
        return
    if not path.is_dir() or any(path.iterdir()):
        raise InputError(
            f"{path}: is no store of cdrl and not empty; choose another --out, nothing is "
            "overwritten"
        )


def _as_int16(audio: np.ndarray) -> np.ndarray:
    """(S,) float in [-1, 1] or int16 -> (S,) int16."""
    audio = np.asarray(audio)
    if audio.dtype == np.int16:
        return audio
    scaled = np.clip(audio, -1, 1) * FULL_SCALE
    return np.round(scaled).astype(np.int16)


def _header(length: int, row_shape: tuple[int, ...], kind: np.dtype) -> bytes:
    """The header of a .npy file; numpy leaves room in it, so its size is that of any length."""
    header = {
        "descr": np.lib.format.dtype_to_descr(kind),
        "fortran_order": False,
        "shape": (length, *row_shape),
    }
    begin = io.BytesIO()
    np.lib.format.write_array_header_2_0(begin, header)
    return begin.getvalue()
