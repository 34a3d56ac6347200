"""A clip's content in 32 hexadecimal digits.

Features are stored under these digits, so that a clip that was changed never gets the features of
its former content.
"""

import hashlib
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from cdrl.core.errors import InputError
from cdrl.core.files import read_json, write_json
from cdrl.corpora.store import Store

FILE = "fingerprints.json"
_HASH = re.compile(r"[0-9a-f]{32}")
# The file's names of the two lists.
KEYS = {"visual": "seen", "audio": "heard"}


def clip_fingerprints(store: Store) -> dict[str, list[str]]:
    """Hashes of every clip's content, computed once per store and kept beside it.

    Hashing takes about a second for each GB of crops.

    Returns:
        `visual`: hashes of the crops and the mouth box; `audio`: hashes of the sound, the frame
        count and the frame rate. One text per clip each. A clip that is cropped anew keeps its
        `audio` hash.
    """
    path = store.path / FILE
    stamp = _stamp(store.path)
    stored = _read_stored(path)
    if stored.get("stamp") == stamp and _are_whole(stored, len(store.clips)):
        return {name: stored[key] for name, key in KEYS.items()}

    fingerprints = _hash_clips(store)
    record: dict[str, Any] = {"stamp": stamp}
    for name, key in KEYS.items():
        record[key] = fingerprints[name]
    # A store that may only be read is hashed every time.
    with suppress(OSError):
        write_json(path, record)
    return fingerprints


def _read_stored(path: Path) -> dict[str, Any]:
    """Read what is kept beside a store; what is damaged is made again."""
    try:
        return read_json(path, dict) if path.exists() else {}
    except InputError:
        return {}


def _are_whole(stored: dict[str, Any], num_clips: int) -> bool:
    """Whether a text for each clip is there, of the right form."""
    for key in KEYS.values():
        hashes = stored.get(key)
        if not isinstance(hashes, list) or len(hashes) != num_clips:
            return False
        if not all(isinstance(text, str) and _HASH.fullmatch(text) for text in hashes):
            return False
    return True


def _hash_clips(store: Store) -> dict[str, list[str]]:
    """The hashes of every clip, computed from the store's arrays."""
    boxes = store.clip_mouth_boxes()
    fingerprints: dict[str, list[str]] = {"visual": [], "audio": []}
    rows = tqdm(store.clips.itertuples(), "fingerprints", len(store.clips), mininterval=2, delay=2)
    for clip, row in enumerate(rows):
        crops = store.face[store.frames(clip)]
        visual_hash = _digest(str(crops.shape), crops, boxes[clip])
        fingerprints["visual"].append(visual_hash)

        timing = f"{row.num_frames} {float(row.frame_rate)!r}"
        audio_hash = _digest(timing, store.audio[store.audio_slice(clip)])
        fingerprints["audio"].append(audio_hash)
    return fingerprints


def _digest(text: str, *arrays: np.ndarray) -> str:
    """The first 32 digits of the SHA-256 of a text and some arrays."""
    digest = hashlib.sha256(text.encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


def _stamp(folder: Path) -> list[list[int]]:
    """Sizes and times of the files that the hashes are made from."""
    stamp = []
    arrays = [*sorted(folder.glob("face.*")), *sorted(folder.glob("audio.*"))]
    for path in [folder / "clips.parquet", *arrays]:
        status = path.stat()
        stamp.append([status.st_size, status.st_mtime_ns])
    return stamp
