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

from pathlib import Path

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.files import damaged, read_array, read_json
from cdrl.core.tables import check_whole_numbers, read_table
from cdrl.corpora.store_sums import CARD, REMEDY, check_sizes

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
