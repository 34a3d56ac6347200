"""One file for one kind of feature of all clips of a store.

A safetensors file that opens by memory map and says what it was made from: `features` (N, D)
float16, one row for each frame; `lengths` (C,) int32, frames of each clip; `clips` (C, 16) uint8,
the clips' fingerprints; `done` (C,) uint8. While it is written it is called `.partial` and filled
clip by clip, so that a killed run goes on. When it is complete it is renamed and never changed.
"""

import json
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cdrl.core.errors import InputError
from cdrl.core.files import first_line

# Types of safetensors that these files have.
_TYPES: dict[str, type] = {"F16": np.float16, "U8": np.uint8, "I32": np.int32}
# Axes of the arrays that each file must have.
_DIMENSIONS = {"features": 2, "lengths": 1, "clips": 2, "done": 1}
_SIZE_BYTES = 8  # at the begin of a safetensors file: the length of its header
_MAX_HEADER = 1 << 27  # bytes; a longer one is no header
_FINGERPRINT_BYTES = 16


def digest(value: Any) -> str:
    """Hash anything that json can write: 12 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True)
    return sha256(text.encode()).hexdigest()[:12]


def open_feature_file(path: Path, mode: Literal["r", "r+"] = "r") -> dict[str, Any]:
    """Open a feature file.

    Args:
        path: of the file.
        mode: `r`, or `r+` to write into its arrays.

    Returns:
        Its arrays by name, memory-mapped, and `prior`, the text that says what made them.

    Raises:
        InputError: cut short, or no such file.
    """
    path = Path(path)
    try:
        header, begin = _read_header(path)
        arrays: dict[str, Any] = {"prior": header.pop("__metadata__")["prior"]}
        for name, entry in header.items():
            kind = _TYPES[entry["dtype"]]
            offset = begin + entry["data_offsets"][0]
            shape = tuple(entry["shape"])
            arrays[name] = np.memmap(path, kind, mode, offset, shape)
        json.loads(arrays["prior"])
        shapes = {name: arrays[name].ndim for name in _DIMENSIONS}
        if shapes != _DIMENSIONS:
            raise ValueError("arrays of other shapes")
    except (OSError, ValueError, KeyError, AttributeError, TypeError, OverflowError) as error:
        reason = first_line(error)[:120]
        raise InputError(
            f"{path}: not a whole file of features ({reason}); remove it and run notebook 01 again"
        ) from None
    return arrays


def _read_header(path: Path) -> tuple[dict, int]:
    """Read the header of a safetensors file, and where its arrays begin.

    Raises:
        ValueError: there is no header.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(_SIZE_BYTES), "little")
        if length >= _MAX_HEADER:
            raise ValueError("no header")
        header = json.loads(file.read(length))
    return header, _SIZE_BYTES + length


class FeatureWriter:
    """Fills a feature file clip by clip.

    Args:
        path: of the complete file.
        fingerprints: of each clip.
        lengths: (C,) frames of each clip.
        width: D.
        prior: what makes the features.

    Attributes:
        done: (C,) uint8, memory-mapped, 1 where a clip's rows are written.
    """

    def __init__(
        self, path: Path, fingerprints: list[str], lengths: np.ndarray, width: int, prior: dict
    ):
        self.path = Path(path)
        self.partial = self.path.with_suffix(".partial")
        self.fingerprints = fingerprints
        self.lengths = np.asarray(lengths, np.int32)
        self.ends = np.cumsum(lengths)
        self.starts = self.ends - lengths

        if not self._can_resume(width):
            self._create(width, prior)
        arrays = open_feature_file(self.partial, "r+")
        self.rows = arrays["features"]
        self.done = arrays["done"]

    def _can_resume(self, width: int) -> bool:
        """Tell whether a partial file for as many clips and frames is there."""
        try:
            arrays = open_feature_file(self.partial)
        except InputError:
            return False
        same_shape = arrays["features"].shape == (self.ends[-1], width)
        return same_shape and len(arrays["done"]) == len(self.fingerprints)

    def _create(self, width: int, prior: dict) -> None:
        """Write the header, lengths and fingerprints; everything else is zeros."""
        count = len(self.fingerprints)
        shapes = {
            "lengths": ("I32", [count]),
            "clips": ("U8", [count, _FINGERPRINT_BYTES]),
            "features": ("F16", [int(self.ends[-1]), width]),
            "done": ("U8", [count]),
        }
        header, end = _make_header(shapes, prior)
        size = len(header).to_bytes(_SIZE_BYTES, "little")
        fingerprint_bytes = bytes.fromhex("".join(self.fingerprints))

        with open(self.partial, "wb") as file:
            file.write(size + header)
            file.write(self.lengths.tobytes() + fingerprint_bytes)
            file.truncate(_SIZE_BYTES + len(header) + end)

    def write(self, clips: Sequence[int], rows: np.ndarray) -> None:
        """Write the features of some clips; they are on the disk before the clips count as done.

        Args:
            clips: numbers of the clips.
            rows: (N, D), N the frames of these clips, one clip after the other.

        Raises:
            InputError: a feature that half precision cannot hold.
        """
        if not np.isfinite(rows).all():
            raise InputError(
                f"{self.path.name}: a feature is not finite in half precision; "
                "try --set priors.device=cpu"
            )
        first = 0
        for clip in clips:
            start = self.starts[clip]
            end = self.ends[clip]
            self.rows[start:end] = rows[first : first + end - start]
            first += end - start

        self.rows.flush()
        self.done[list(clips)] = 1
        self.done.flush()

    def copy_known(self, folder: Path, pattern: str) -> int:
        """Copy the features of clips that a complete file in a folder already has.

        Args:
            folder: of the files.
            pattern: of the names of files that the same prior made.

        Returns:
            Number of clips.
        """
        missing = set(np.flatnonzero(self.done == 0).tolist())
        count = 0
        for path in sorted(Path(folder).glob(pattern)):
            arrays = open_feature_file(path)
            features = arrays["features"]
            if features.shape[1] != self.rows.shape[1]:
                continue

            rows_of_clip = _rows_by_fingerprint(arrays)
            known = [clip for clip in sorted(missing) if self.fingerprints[clip] in rows_of_clip]
            if known:
                rows = [features[rows_of_clip[self.fingerprints[clip]]] for clip in known]
                self.write(known, np.concatenate(rows))
                missing -= set(known)
                count += len(known)

        return count

    def finish(self) -> None:
        """Give the complete file its name."""
        del self.rows, self.done
        os.replace(self.partial, self.path)


def _make_header(shapes: dict[str, tuple[str, list[int]]], prior: dict) -> tuple[bytes, int]:
    """Make the header of a safetensors file, and the length of its arrays in bytes.

    Args:
        shapes: type and shape of each array.
        prior: what makes the features.
    """
    metadata = {"prior": json.dumps(prior, sort_keys=True)}
    header: dict[str, Any] = {"__metadata__": metadata}

    end = 0
    for name, (kind, shape) in shapes.items():
        start = end
        item_bytes = np.dtype(_TYPES[kind]).itemsize
        end += int(np.prod(shape)) * item_bytes
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}

    text = json.dumps(header).encode()
    padding = -len(text) % 8  # arrays begin at a multiple of 8 bytes

    return text + b" " * padding, end


def _rows_by_fingerprint(arrays: dict[str, Any]) -> dict[str, slice]:
    """Rows of each clip of a feature file."""
    rows = {}
    ends = np.cumsum(arrays["lengths"])
    for fingerprint, length, end in zip(arrays["clips"], arrays["lengths"], ends, strict=True):
        rows[fingerprint.tobytes().hex()] = slice(end - length, end)

    return rows
