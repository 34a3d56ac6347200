"""An array that lies in several files, read like one: the arrays of a large crop store."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cdrl.core.files import read_array

# Files of an array that stay mapped. Each holds a file handle, of which a process has about 1,000.
OPEN_SHARDS = 64


class RowArray(Protocol):
    """What an array of a store can do, whether it lies in one file (numpy's own) or in several."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Type of an element."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any, /) -> Any: ...

    def __array__(self, dtype: Any = None, /, *, copy: bool | None = None) -> np.ndarray: ...


class ShardedArray:
    """Rows that lie in several .npy files, one file after the other, mapped when they are needed.

    Example:
        faces = ShardedArray([Path("face.000.npy"), Path("face.001.npy")], [3, 5])
        faces[2:4]  # (2, C, C, 3), copied from both files
        faces[4:8]  # (4, C, C, 3), a view of the second

    Attributes:
        shape: (N, ...), N rows in all files together.
        dtype: of every file.

    Args:
        files: all with rows of one shape and type.
        lengths: rows of each file.

    Raises:
        ValueError: no file, or another number of files than of lengths.
        InputError: a file that cannot be read.
    """

    def __init__(self, files: Sequence[Path], lengths: Sequence[int]) -> None:
        if not files or len(files) != len(lengths):
            raise ValueError(f"{len(files)} files, {len(lengths)} lengths")
        self.files = list(files)
        self.lengths = list(lengths)
        self._ends = np.cumsum(self.lengths)
        self._mapped: dict[int, np.ndarray] = {}
        first = self._shard(0)
        self.shape: tuple[int, ...] = (int(self._ends[-1]), *first.shape[1:])
        self.dtype: np.dtype = first.dtype

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy in another process maps the files itself.
        return ShardedArray, (self.files, self.lengths)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any, /) -> Any:
        """Rows, as numpy gives them.

        Args:
            key: a row number, a slice, (B, ...) row numbers, (N,) bool, or `...` for all; in a
                tuple, slices and numbers of the other axes may follow.

        Returns:
            A view where a slice lies in one file, else a copy.

        Raises:
            IndexError: a row that is not there, or a key of another kind.
        """
        if isinstance(key, tuple):
            return self._columns(key)
        if key is Ellipsis:
            key = slice(None)
        if isinstance(key, slice):
            return self._slice(key)
        rows = np.asarray(key)
        if rows.dtype == bool:
            if rows.shape != (len(self),):
                raise IndexError(f"{rows.shape} bool for {len(self)} rows")
            rows = np.flatnonzero(rows)
        if rows.size == 0:
            rows = rows.astype(np.int64)
        if rows.dtype.kind not in "iu":
            raise IndexError(f"rows are named by whole numbers, not by {rows.dtype}")
        return self._rows(rows)

    def __array__(self, dtype: Any = None, /, *, copy: bool | None = None) -> np.ndarray:
        """All rows, read into memory."""
        if copy is False:
            raise ValueError("an array of several files cannot be read without a copy")
        return np.asarray(self._slice(slice(None)), dtype)

    def _shard(self, number: int) -> np.ndarray:
        """One file, mapped; the one that was mapped first is given up where there are too many."""
        array = self._mapped.get(number)
        if array is None:
            array = read_array(self.files[number], mapped=True)
            self._mapped[number] = array
            if len(self._mapped) > OPEN_SHARDS:
                oldest = next(iter(self._mapped))
                self._mapped.pop(oldest, None)
        return array

    def _columns(self, key: tuple[Any, ...]) -> Any:
        """Rows by the first item of a key, then the other axes by the other items."""
        first, *others = key
        if not all(isinstance(item, (slice, int, np.integer)) for item in others):
            raise IndexError("axes after the first take numbers and slices; take the rows first")
        rows = self[first]
        if np.ndim(first) == 0 and not isinstance(first, slice):
            return rows[tuple(others)]
        kept = (slice(None),) * max(1, np.ndim(first))
        return rows[(*kept, *others)]

    def _slice(self, key: slice) -> np.ndarray:
        """Rows of a slice."""
        start, stop, step = key.indices(len(self))
        if step != 1:
            return self._rows(np.arange(start, stop, step))
        if stop <= start:
            return self._shard(0)[:0]
        first = self._shard_of(start)
        last = self._shard_of(stop - 1)
        parts = []
        for number in range(first, last + 1):
            begin = self._ends[number] - self.lengths[number]
            local = slice(max(0, start - begin), min(self.lengths[number], stop - begin))
            parts.append(self._shard(number)[local])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _rows(self, rows: np.ndarray) -> Any:
        """(B, ...) row numbers, negative ones from the end -> (B, ..., *row)."""
        outside = (rows < -len(self)) | (rows >= len(self))
        if outside.any():
            row = rows[outside].flat[0]
            raise IndexError(f"row {row} of {len(self)}")
        flat = np.where(rows < 0, rows + len(self), rows).reshape(-1)
        if rows.ndim == 0:
            number = self._shard_of(int(flat[0]))
            return self._shard(number)[flat[0] - self._ends[number] + self.lengths[number]]
        found = np.empty((len(flat), *self.shape[1:]), self.dtype)
        shards = np.searchsorted(self._ends, flat, side="right")
        for number in np.unique(shards):
            is_here = shards == number
            begin = self._ends[number] - self.lengths[number]
            found[is_here] = self._shard(int(number))[flat[is_here] - begin]
        return found.reshape(*rows.shape, *self.shape[1:])

    def _shard_of(self, row: int) -> int:
        """Number of the file that holds a row; a file without rows holds none."""
        return int(np.searchsorted(self._ends, row, side="right"))
