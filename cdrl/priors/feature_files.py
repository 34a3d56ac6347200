"""One kind of feature of all clips of a store: a safetensors file that opens by memory map and says what it was made from.

`features` (N, D) float16, one row per frame; `lengths` (C,) int32, frames of each clip; `clips` (C, 16) uint8, its fingerprint;
`done` (C,) uint8. While it is written it is called `.partial` and is filled clip by clip, so that a killed run goes on; complete,
it is renamed and never changed.
"""

import json
import os
from hashlib import sha256
from pathlib import Path

import numpy as np

from cdrl.core.errors import InputError

_TYPES = {"F16": np.float16, "U8": np.uint8, "I32": np.int32}


def digest(value) -> str:
    """12 hexadecimal digits of anything that json can write."""
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def open_features(path: Path, mode: str = "r") -> dict[str, np.ndarray]:
    """The arrays of a feature file, memory-mapped, and `prior`, the text of what made them.

    Raises:
        InputError: cut short, or no such file.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length < 1 << 27 else None
        arrays = {"prior": header.pop("__metadata__")["prior"]}
        for name, entry in header.items():
            arrays[name] = np.memmap(
                path,
                _TYPES[entry["dtype"]],
                mode,
                8 + length + entry["data_offsets"][0],
                tuple(entry["shape"]),
            )
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path}: not a whole file of features ({error}); remove it and run notebook 01 again"
        ) from None
    return arrays


class FeatureWriter:
    """Fills a feature file clip by clip.

    Args:
        path: of the complete file. prints: fingerprint of each clip. lengths: frames of each. width: D. prior: what makes them.

    Attributes:
        done: (C,) uint8, memory-mapped, 1 where a clip's rows are written.
    """

    def __init__(self, path: Path, prints: list[str], lengths: np.ndarray, width: int, prior: dict):
        self.path, self.partial = Path(path), Path(path).with_suffix(".partial")
        self.prints, self.lengths = prints, np.asarray(lengths, np.int32)
        self.ends = np.cumsum(lengths)
        self.starts = self.ends - lengths
        if not self._resumes(width):
            self._create(width, prior)
        opened = open_features(self.partial, "r+")
        self.rows, self.done = opened["features"], opened["done"]

    def _resumes(self, width: int) -> bool:
        try:
            found = open_features(self.partial)
        except InputError:
            return False
        return found["features"].shape == (self.ends[-1], width) and len(found["done"]) == len(
            self.prints
        )

    def _create(self, width: int, prior: dict) -> None:
        count, clips = (
            len(self.prints),
            np.frombuffer(bytes.fromhex("".join(self.prints)), np.uint8),
        )
        shapes = {
            "lengths": ("I32", [count]),
            "clips": ("U8", [count, 16]),
            "features": ("F16", [int(self.ends[-1]), width]),
            "done": ("U8", [count]),
        }
        header, end = {"__metadata__": {"prior": json.dumps(prior, sort_keys=True)}}, 0
        for name, (kind, shape) in shapes.items():
            start, end = end, end + int(np.prod(shape)) * np.dtype(_TYPES[kind]).itemsize
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(self.partial, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.write(self.lengths.tobytes() + clips.tobytes())
            file.truncate(8 + len(text) + end)

    def write(self, clips, rows: np.ndarray) -> None:
        """Rows of some clips, one clip after the other; they are on the disk before the clips count as done.

        Args:
            rows: (N, D), N the frames of these clips.

        Raises:
            InputError: a feature that half precision cannot hold.
        """
        if not np.isfinite(rows).all():
            raise InputError(
                f"{self.path.name}: a feature is not finite in half precision; try --set priors.device=cpu"
            )
        place = 0
        for clip in clips:
            length = self.ends[clip] - self.starts[clip]
            self.rows[self.starts[clip] : self.ends[clip]] = rows[place : place + length]
            place += length
        self.rows.flush()
        self.done[list(clips)] = 1
        self.done.flush()

    def take(self, folder: Path, pattern: str) -> int:
        """Copies the rows of clips that a complete file in the folder already holds; returns how many.

        Args:
            pattern: of the names of files that the same prior made.
        """
        todo, taken = set(np.flatnonzero(self.done == 0)), 0
        for path in sorted(Path(folder).glob(pattern)):
            found = open_features(path)
            ends = np.cumsum(found["lengths"])
            places = {
                each.tobytes().hex(): (end - length, end)
                for each, length, end in zip(found["clips"], found["lengths"], ends, strict=True)
            }
            known = [clip for clip in sorted(todo) if self.prints[clip] in places]
            if known and found["features"].shape[1] == self.rows.shape[1]:
                self.write(
                    known,
                    np.concatenate(
                        [found["features"][slice(*places[self.prints[clip]])] for clip in known]
                    ),
                )
                todo, taken = todo - set(known), taken + len(known)
        return taken

    def finish(self) -> None:
        """Gives the complete file its name."""
        del self.rows, self.done
        os.replace(self.partial, self.path)
