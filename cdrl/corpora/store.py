"""The crop store: every corpus, once ingested, looks like this, whatever it came from.

A store is a folder of plain arrays that open by memory map, one row of `clips.parquet` per clip:

| file | shape, type | meaning |
|---|---|---|
| `face.npy` | (N, C, C, 3) uint8 RGB | face crops, clip after clip; kind: `store.json` |
| `transforms.npy` | (N, 2, 3) float32 | affine map from crop pixels to pixels of the full frame |
| `audio.npy` | (S,) int16 | 16 kHz mono sound of all clips, one after the other |
| `truth_*.npy` | (N, ...) | studio only: coefficients (52), viseme, phoneme, landmarks, pose |

A large store has several files of each, `face.000.npy`, `face.001.npy` and so on, each of whole
clips; `store.json` then lists the rows of each (`shards`). `Store` reads both alike.

Positions inside a crop (`mouth_box`, landmarks) are relative, 0 to 1, so they hold at any
resolution. `store.json` has the size and the sha256 of each.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.files import damaged, read_array, read_json
from cdrl.core.tables import check_whole_numbers, read_table
from cdrl.corpora.sharded_array import RowArray, ShardedArray
from cdrl.corpora.store_sums import CARD, REMEDY, check_sizes

ONE_FILE_FORMAT = 1  # `face.npy`
SHARDED_FORMAT = 2  # `face.000.npy`, `face.001.npy`, ...
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


def _has_shape(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    """Whether a shape is as expected, where None takes any length."""
    if len(shape) != len(expected):
        return False
    return all(size in (length, None) for length, size in zip(shape, expected, strict=True))


def array_file(name: str, shard: int | None) -> str:
    """Return the name of the file of an array.

    Args:
        name: of the array, as `face`.
        shard: which of several files; None: the only one.
    """
    return f"{name}.npy" if shard is None else f"{name}.{shard:03d}.npy"


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
        num_shards: files of each array; 0: one file without a number. All arrays are numpy's own
            then, else `ShardedArray`, which takes the same slices and rows.

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
        if card.get("format") not in (ONE_FILE_FORMAT, SHARDED_FORMAT):
            raise InputError(
                f"{card_file}: store format {card.get('format')}, this version reads "
                f"{ONE_FILE_FORMAT} and {SHARDED_FORMAT}; build it anew"
            )
        self.crop: str = card.get("crop", "aligned")
        if self.crop not in CROPS:
            raise damaged(card_file, f"crop {self.crop!r}; known are {', '.join(CROPS)}", REMEDY)
        check_sizes(self.path, card)
        self.clips = self._read_clips()
        frames, samples = self._shard_lengths(card)
        self.num_shards = len(frames) if card["format"] == SHARDED_FORMAT else 0
        self.face = self._read_array("face", frames, (None, None, 3), np.uint8)
        self.transforms = self._read_array("transforms", frames, (2, 3), np.float32)
        self.audio = self._read_array("audio", samples, (), np.int16)
        self.truth: dict[str, RowArray] = {}
        first_file = array_file("truth_*", 0 if self.num_shards else None)
        for file in self.path.glob(first_file):
            name = file.name.split(".")[0].removeprefix("truth_")
            self.truth[name] = self._read_array(f"truth_{name}", frames)

    def _shard_lengths(self, card: dict[str, Any]) -> tuple[list[int], list[int]]:
        """Frames and samples of each file, checked against the clips."""
        all_frames = int(self.clips["num_frames"].sum())
        all_samples = int(self.clips["audio_samples"].sum())
        if card["format"] == ONE_FILE_FORMAT:
            return [all_frames], [all_samples]
        try:
            shards: list[Any] = card["shards"]
            frames = [int(shard["frames"]) for shard in shards]
            samples = [int(shard["samples"]) for shard in shards]
        except (TypeError, KeyError, ValueError):
            raise damaged(self.path / CARD, "its shards have another form", REMEDY) from None
        clip_ends = self.clips["start"] + self.clips["num_frames"]
        sound_ends = self.clips["audio_start"] + self.clips["audio_samples"]
        is_whole = sum(frames) == all_frames and sum(samples) == all_samples
        cut_between = np.isin(np.cumsum(frames), clip_ends).all()
        heard_between = np.isin(np.cumsum(samples), sound_ends).all()
        if not (is_whole and cut_between and heard_between and min(frames, default=0) > 0):
            raise damaged(self.path / CARD, "its shards are not those of the clips", REMEDY)
        return frames, samples

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
        lengths: list[int],
        row_shape: tuple[int | None, ...] | None = None,
        kind: type | None = None,
    ) -> RowArray:
        """One array, memory-mapped; every file of it must have its number of rows."""
        if not self.num_shards:
            return self._read_file(self.path / array_file(name, None), lengths[0], row_shape, kind)
        files = []
        for number, length in enumerate(lengths):
            file = self.path / array_file(name, number)
            array = self._read_file(file, length, row_shape, kind)
            # Every file has rows like those of the first.
            row_shape, kind = array.shape[1:], array.dtype.type
            files.append(file)
        return ShardedArray(files, lengths)

    def _read_file(
        self, file: Path, length: int, row_shape: tuple[int | None, ...] | None, kind: type | None
    ) -> np.ndarray:
        """A file of an array, memory-mapped, whose length must be that of its clips together."""
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
