"""How a crop store is written: clip by clip, whole or not at all."""

import io
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.files import WORK_MARK, make_work_folder, remove_work_folder
from cdrl.corpora.store import COLUMNS, FORMAT, FULL_SCALE, MOUTH_COLUMNS, OPTIONAL
from cdrl.corpora.store_sums import CARD, FILES, sum_files


class StoreWriter:
    """Writes a store clip by clip into `PATH.partial` and renames it when closed.

    So a store is complete or absent.

    Example:
        with StoreWriter(path) as writer:
            writer.add(row, face, transforms, audio, mouth_box, truth)

    Args:
        path: folder of the store. A store that is there is replaced.
        crop: kind of the face crops, see `cdrl.media.faces.align`.

    Raises:
        InputError: `path` or `PATH.partial` holds files that are not the kit's.
    """

    def __init__(self, path: Path, crop: str = "aligned") -> None:
        self.path = Path(path)
        self.crop = crop
        refuse_foreign_store(self.path)
        self.partial = make_work_folder(self.path.with_name(self.path.name + ".partial"))

        self.rows: list[dict] = []
        self.files: dict[str, BinaryIO] = {}
        self.layouts: dict[str, tuple[tuple[int, ...], np.dtype]] = {}  # shape of a row, type
        self.samples = 0
        self.frames = 0

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
                self._write_headers()
            for file in self.files.values():
                file.close()
            if kind is None:
                self._finish()
        finally:
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
        layout = (array.shape[1:], array.dtype)
        if name not in self.files:
            self.files[name] = open(self.partial / f"{name}.npy", "wb")  # noqa: SIM115
            self.files[name].write(_header(0, *layout))
            self.layouts[name] = layout
        if self.layouts[name] != layout:
            shape, kind = layout
            raise ValueError(f"{name}: got {shape} {kind}, this store holds {self.layouts[name]}")
        if array.size:
            # Where the disk is full `write` says so; `tofile` does not.
            self.files[name].write(array.data)

    def _write_headers(self) -> None:
        """Write the arrays' headers again, with their lengths; all else stays as it was written."""
        for name, layout in self.layouts.items():
            length = self.samples if name == "audio" else self.frames
            file = self.files[name]
            file.seek(0)
            file.write(_header(length, *layout))

    def _finish(self) -> None:
        """Complete the partial folder and give it the store's name."""
        clips = pd.DataFrame(self.rows, columns=list(COLUMNS))
        clips.to_parquet(self.partial / "clips.parquet", index=False)
        card = {
            "format": FORMAT,
            "frames": self.frames,
            "samples": self.samples,
            "crop": self.crop,
            FILES: sum_files(self.partial),
        }
        # Written last: a folder that has the card is a finished store. The folder is renamed as a
        # whole: no temporary name is needed. An OSError of a full disk must reach the caller as it
        # is.
        (self.partial / CARD).write_text(json.dumps(card))

        refuse_foreign_store(self.path)
        if self.path.exists():
            shutil.rmtree(self.path)
        # The mark goes last: a folder of ours without it would be refused if this ended in between.
        os.replace(self.partial, self.path)
        (self.path / WORK_MARK).unlink()


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
