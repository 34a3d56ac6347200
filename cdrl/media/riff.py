"""AVI and WAV files say how many bytes they have: one that is shorter was cut."""

import os
import struct
from pathlib import Path
from typing import BinaryIO

from cdrl.core.errors import InputError

KINDS = (b"AVI ", b"AVIX", b"WAVE")
HEADER_BYTES = 12  # "RIFF", the size of what follows the first 8 bytes, the kind
# Sizes of a file whose end was not known when its head was written, as of a stream.
UNKNOWN_SIZES = (0, 0x7FFFFFFF, 0xFFFFFFFF)


def missing_bytes(path: Path) -> int:
    """Count the bytes that an AVI or WAV file promises and does not have.

    Args:
        path: any file.

    Returns:
        0 for a whole file, and for a file of another kind or of unknown length.
    """
    num_bytes = os.path.getsize(path)
    end = 0
    with open(path, "rb") as file:
        while end < num_bytes:
            size = _chunk_size(file, end)
            if size is None:
                return 0
            end += 8 + size
    return max(0, end - num_bytes)


def _chunk_size(file: BinaryIO, start: int) -> int | None:
    """The size that a RIFF chunk states; None where there is no such chunk, or no such size."""
    file.seek(start)
    header = file.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return None
    mark, size, kind = struct.unpack("<4sI4s", header)
    if mark != b"RIFF" or kind not in KINDS or size in UNKNOWN_SIZES:
        return None
    return size + size % 2  # chunks begin at even positions


def refuse_cut_file(path: Path) -> None:
    """Refuse an AVI or WAV file whose end is missing.

    Args:
        path: any file.

    Raises:
        InputError: with the number of bytes.
    """
    num_missing = missing_bytes(path)
    if num_missing > 1:  # the last byte may be padding
        raise InputError(
            f"{path}: truncated, {num_missing} bytes of its end are missing; fetch the file again"
        )
