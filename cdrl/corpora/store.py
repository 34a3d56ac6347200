"""The crop store: every corpus, once ingested, looks like this, whatever it came from.

A store is a folder of plain arrays that open by memory map, one row of `clips.parquet` per clip:

| file | shape, type | meaning |
|---|---|---|
| `face.npy` | (N, C, C, 3) uint8 RGB | face crops, clip after clip; kind: `store.json` |
| `transforms.npy` | (N, 2, 3) float32 | affine map from crop pixels to pixels of the full frame |
| `audio.npy` | (S,) int16 | 16 kHz mono sound of all clips, one after the other |
| `truth_*.npy` | (N, ...) | studio only: coefficients (52), viseme, phoneme, landmarks, pose |

Positions inside a crop (`mouth_box`, landmarks) are relative, 0 to 1, so they hold at any
resolution. `store.json` has the size and the sha256 of each.
"""

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
from cdrl.core.files import (
    WORK_MARK,
    damaged,
    make_work_folder,
    read_array,
    read_json,
    remove_work_folder,
)
from cdrl.core.tables import check_whole_numbers, read_table
from cdrl.corpora.store_sums import CARD, FILES, REMEDY, check_sizes, sum_files

FORMAT = 1
COLUMNS = (
    "name",
    "corpus",
    "split",
    "speaker",
    "sentence",
    "emotion",
    "intensity",
    "frame_rate",
    "start",
    "num_frames",
    "audio_start",
    "audio_samples",
    "mouth_left",
    "mouth_top",
    "mouth_right",
    "mouth_bottom",
    "media",
    "camera",
    "take",
)
MOUTH_COLUMNS = ["mouth_left", "mouth_top", "mouth_right", "mouth_bottom"]
# Columns that a row may lack when it is added.
OPTIONAL = {"media": "", "camera": "", "take": ""}
COUNTS = ("start", "num_frames", "audio_start", "audio_samples")
CROPS = ("aligned", "released")
FULL_SCALE = 32767  # of int16 sound


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


def _has_shape(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    """Whether a shape is as expected, where None takes any length."""
    if len(shape) != len(expected):
        return False
    return all(size in (length, None) for length, size in zip(shape, expected, strict=True))


class Store:
    """A finished store, opened by memory map.

    Attributes:
        clips: one row per clip, columns `COLUMNS`; `start` and `num_frames` address the arrays.
        face: (N, C, C, 3) uint8.
        transforms: (N, 2, 3) float32.
        audio: (S,) int16.
        truth: name -> (N, ...).
        crop: kind of the face crops: `aligned` (also in a store from before there was a choice) or
            `released`.

    Args:
        path: folder of the store.

    Raises:
        InputError: where the folder is missing, unfinished or of another format.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        card_file = self.path / CARD
        if not card_file.exists():
            raise InputError(
                f"{self.path}: no finished crop store here; run notebook 00 (or `cdrl run`) first"
            )
        card = read_json(card_file, dict, remedy=REMEDY)
        if card.get("format") != FORMAT:
            raise InputError(
                f"{card_file}: store format {card.get('format')}, this version reads {FORMAT}; "
                "build it anew"
            )
        self.crop: str = card.get("crop", "aligned")
        if self.crop not in CROPS:
            raise damaged(card_file, f"crop {self.crop!r}; known are {', '.join(CROPS)}", REMEDY)
        check_sizes(self.path, card)
        self.clips = self._read_clips()
        frames = int(self.clips["num_frames"].sum())
        samples = int(self.clips["audio_samples"].sum())
        self.face = self._read_array("face", frames, (None, None, 3), np.uint8)
        self.transforms = self._read_array("transforms", frames, (2, 3), np.float32)
        self.audio = self._read_array("audio", samples, (), np.int16)
        self.truth: dict[str, np.ndarray] = {}
        for file in self.path.glob("truth_*.npy"):
            name = file.stem.removeprefix("truth_")
            self.truth[name] = self._read_array(file.stem, frames)

    def _read_clips(self) -> pd.DataFrame:
        """The table of the clips, with the columns that every store has."""
        file = self.path / "clips.parquet"
        columns = [name for name in COLUMNS if name not in OPTIONAL]
        clips = read_table(file, columns, REMEDY)
        check_whole_numbers(file, clips, COUNTS, REMEDY)
        for start, length in (("start", "num_frames"), ("audio_start", "audio_samples")):
            expected = clips[length].cumsum() - clips[length]
            if not (clips[start] == expected).all():
                raise damaged(file, f"its {start} is not where the clip before ends", REMEDY)
        numbers = clips[[*MOUTH_COLUMNS, "frame_rate"]]
        is_number = [pd.api.types.is_numeric_dtype(numbers[name]) for name in numbers]
        if not all(is_number) or not np.isfinite(numbers.to_numpy(float)).all():
            raise damaged(file, "a mouth box or a frame rate is no number", REMEDY)
        return clips

    def _read_array(
        self,
        name: str,
        length: int,
        row_shape: tuple[int | None, ...] | None = None,
        kind: type | None = None,
    ) -> np.ndarray:
        """One array, memory-mapped, whose length must be that of all clips together."""
        file = self.path / f"{name}.npy"
        array = read_array(file, mapped=True, remedy=REMEDY)
        if array.ndim == 0 or len(array) != length:
            rows = len(array) if array.ndim else 0
            raise damaged(file, f"it has {rows} rows, the clips have {length}", REMEDY)
        if kind is not None and array.dtype != kind:
            raise damaged(file, f"it holds {array.dtype}, {np.dtype(kind)} is needed", REMEDY)
        if row_shape is not None and not _has_shape(array.shape[1:], row_shape):
            raise damaged(file, f"its shape is {array.shape}", REMEDY)
        return array

    def __len__(self) -> int:
        return len(self.face)

    def frames(self, clip: int) -> slice:
        """Rows of the frame arrays that belong to clip number `clip`."""
        row = self.clips.iloc[clip]
        return slice(int(row.start), int(row.start + row.num_frames))

    def audio_slice(self, clip: int) -> slice:
        """Samples of `audio` that belong to clip number `clip`."""
        row = self.clips.iloc[clip]
        return slice(int(row.audio_start), int(row.audio_start + row.audio_samples))

    def sound(self, clip: int) -> np.ndarray:
        """(S,) float32 in [-1, 1]: the clip's 16 kHz sound."""
        samples = self.audio[self.audio_slice(clip)]
        return samples.astype(np.float32) / FULL_SCALE

    def per_frame(self, column: str) -> np.ndarray:
        """(N,) a clip label repeated for each of its frames."""
        return np.repeat(self.clips[column].to_numpy(), self.clips["num_frames"].to_numpy())

    def clip_mouth_boxes(self) -> np.ndarray:
        """(K, 4) float32: left, top, right, bottom of each clip's mouth in the crop, 0 to 1."""
        return self.clips[MOUTH_COLUMNS].to_numpy(np.float32)

    def mouth_boxes(self) -> np.ndarray:
        """(N, 4) float32: the clip's mouth box repeated for each of its frames."""
        return np.repeat(self.clip_mouth_boxes(), self.clips["num_frames"].to_numpy(), axis=0)
