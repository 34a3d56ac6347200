"""The crop store: every corpus, once ingested, looks like this, whatever it came from.

A store is a folder of plain arrays that open by memory map, one row of `clips.parquet` per clip:

| file | shape, type | meaning |
|---|---|---|
| `face.npy` | (N, C, C, 3) uint8 RGB | face crops of all clips, one after the other; `store.json` says of which kind |
| `transforms.npy` | (N, 2, 3) float32 | affine map from crop pixels to pixels of the full frame |
| `audio.npy` | (S,) int16 | 16 kHz mono sound of all clips, one after the other |
| `truth_*.npy` | (N, ...) | studio only: coefficients (52), viseme, phoneme, landmarks, pose |

Positions inside a crop (`mouth_box`, landmarks) are relative, 0 to 1, so they hold at any resolution.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError

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


class StoreWriter:
    """Writes a store clip by clip into `PATH.partial` and renames it when closed: a store is complete or absent.

    Example:
        with StoreWriter(path) as writer:
            writer.add(row, face, transforms, audio, truth)

    Args:
        crop: how the faces are cropped, see `cdrl.media.faces.align`.
    """

    def __init__(self, path: Path, crop: str = "aligned"):
        self.path, self.crop = Path(path), crop
        self.partial = self.path.with_name(self.path.name + ".partial")
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)
        self.rows, self.files, self.shapes, self.samples, self.frames = [], {}, {}, 0, 0

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            for file in self.files.values():
                file.close()
            if kind is None:
                self._finish()
        finally:
            shutil.rmtree(self.partial, ignore_errors=True)

    def _append(self, name: str, array: np.ndarray) -> None:
        array = np.ascontiguousarray(array)
        shape, kind = array.shape[1:], array.dtype
        if name not in self.files:
            self.files[name] = open(self.partial / f"{name}.raw", "wb")
            self.shapes[name] = (shape, kind)
        if self.shapes[name] != (shape, kind):
            raise ValueError(f"{name}: got {shape} {kind}, this store holds {self.shapes[name]}")
        if array.size:
            self.files[name].write(array.data)  # says why where the disk is full; `tofile` does not

    def add(self, row: dict, face, transforms, audio, mouth_box, truth: dict | None = None) -> None:
        """Append one clip.

        Args:
            row: name, corpus, split, speaker, sentence, emotion, intensity, frame_rate and, for a file, media, camera, take.
            face: (T, C, C, 3) uint8 crops, or an iterable of such arrays, T in all.
            transforms: (T, 2, 3) crop pixels -> frame pixels.
            audio: (S,) float in [-1, 1] or int16, 16 kHz.
            mouth_box: (4,) left, top, right, bottom in the crop, 0 to 1, one box for the whole clip.
            truth: name -> (T, ...) array; the same names for every clip of a store.
        """
        audio = np.asarray(audio)
        if audio.dtype != np.int16:
            audio = np.round(np.clip(audio, -1, 1) * 32767).astype(np.int16)
        count = 0
        for chunk in [face] if isinstance(face, np.ndarray) else face:
            self._append("face", chunk)
            count += len(chunk)
        if count != len(transforms):
            raise ValueError(f"{row['name']}: {count} crops, {len(transforms)} transforms")
        self._append("transforms", np.asarray(transforms, np.float32))
        self._append("audio", audio)
        for name, values in (truth or {}).items():
            self._append(f"truth_{name}", values)
        left, top, right, bottom = (float(v) for v in mouth_box)
        self.rows.append(
            {
                "media": "",
                "camera": "",
                "take": "",
                **row,
                "start": self.frames,
                "num_frames": count,
                "audio_start": self.samples,
                "audio_samples": len(audio),
                "mouth_left": left,
                "mouth_top": top,
                "mouth_right": right,
                "mouth_bottom": bottom,
            }
        )
        self.frames += count
        self.samples += len(audio)

    def _finish(self) -> None:
        for name, (shape, kind) in self.shapes.items():
            length = self.samples if name == "audio" else self.frames
            _add_header(
                self.partial / f"{name}.raw", self.partial / f"{name}.npy", (length, *shape), kind
            )
        pd.DataFrame(self.rows, columns=list(COLUMNS)).to_parquet(
            self.partial / "clips.parquet", index=False
        )
        (self.partial / "store.json").write_text(
            json.dumps({"format": FORMAT, "frames": self.frames, "crop": self.crop})
        )
        shutil.rmtree(self.path, ignore_errors=True)
        os.replace(self.partial, self.path)


def _add_header(raw: Path, out: Path, shape: tuple, kind: np.dtype) -> None:
    """Turn a headerless dump into a .npy file without holding it in memory."""
    with open(out, "wb") as target, open(raw, "rb") as source:
        np.lib.format.write_array_header_2_0(
            target,
            {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape},
        )
        shutil.copyfileobj(source, target, 1 << 24)
    raw.unlink()


class Store:
    """A finished store, opened by memory map.

    Attributes:
        clips: one row per clip, columns `COLUMNS`; `start` and `num_frames` address the arrays.
        face: (N, C, C, 3) uint8. transforms: (N, 2, 3). audio: (S,) int16. truth: name -> (N, ...).
        crop: how the faces are cropped: `aligned`, also where the store is of a time without a choice, or `released`.

    Raises:
        InputError: where the folder is missing, unfinished or of another format.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        if not (self.path / "store.json").exists():
            raise InputError(
                f"{self.path}: no finished crop store here; run notebook 00 (or `cdrl run`) first"
            )
        card = json.loads((self.path / "store.json").read_text())
        if card["format"] != FORMAT:
            raise InputError(
                f"{self.path}: store format {card['format']}, this version reads {FORMAT}; build it anew"
            )
        self.crop = card.get("crop", "aligned")
        self.clips = pd.read_parquet(self.path / "clips.parquet")
        self.face = np.load(self.path / "face.npy", mmap_mode="r")
        self.transforms = np.load(self.path / "transforms.npy", mmap_mode="r")
        self.audio = np.load(self.path / "audio.npy", mmap_mode="r")
        self.truth = {
            file.stem.removeprefix("truth_"): np.load(file, mmap_mode="r")
            for file in self.path.glob("truth_*.npy")
        }

    def __len__(self) -> int:
        return len(self.face)

    def frames(self, clip: int) -> slice:
        """Rows of the frame arrays that belong to clip number `clip`."""
        row = self.clips.iloc[clip]
        return slice(int(row.start), int(row.start + row.num_frames))

    def sound(self, clip: int) -> np.ndarray:
        """(S,) float32 in [-1, 1]: the clip's 16 kHz sound."""
        row = self.clips.iloc[clip]
        return (
            self.audio[int(row.audio_start) : int(row.audio_start + row.audio_samples)].astype(
                np.float32
            )
            / 32767
        )

    def per_frame(self, column: str) -> np.ndarray:
        """(N,) a clip label repeated for each of its frames."""
        return np.repeat(self.clips[column].to_numpy(), self.clips["num_frames"].to_numpy())

    def mouth_boxes(self) -> np.ndarray:
        """(N, 4) float32: the clip's mouth box repeated for each of its frames."""
        boxes = self.clips[["mouth_left", "mouth_top", "mouth_right", "mouth_bottom"]].to_numpy(
            np.float32
        )
        return np.repeat(boxes, self.clips["num_frames"].to_numpy(), axis=0)
