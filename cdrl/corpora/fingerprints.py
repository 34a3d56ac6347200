"""What a clip is, in 32 hexadecimal digits: features are kept under these, so that a changed clip never finds old ones."""

import hashlib
import json
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from cdrl.core.files import write_json
from cdrl.corpora.store import Store

FILE = "fingerprints.json"


def clip_fingerprints(store: Store) -> dict[str, list[str]]:
    """Hashes of every clip's content, computed once per store and kept beside it (some 1 GB of crops a second).

    Returns:
        `seen`: of crops and mouth box; `heard`: of sound, frame count and frame rate; one text per clip each. A clip that is
        cropped anew keeps its `heard`.
    """
    path, stamp = store.path / FILE, _stamp(store.path)
    if path.exists():
        kept = json.loads(path.read_text())
        if kept["stamp"] == stamp:
            return {"seen": kept["seen"], "heard": kept["heard"]}
    boxes = store.clips[["mouth_left", "mouth_top", "mouth_right", "mouth_bottom"]].to_numpy(
        np.float32
    )
    found = {"seen": [], "heard": []}
    for clip, row in enumerate(
        tqdm(store.clips.itertuples(), "fingerprints", len(store.clips), mininterval=2, delay=2)
    ):
        crops = store.face[store.frames(clip)]
        sound = store.audio[int(row.audio_start) : int(row.audio_start + row.audio_samples)]
        found["seen"].append(_digest(str(crops.shape), crops, boxes[clip]))
        found["heard"].append(_digest(f"{row.num_frames} {float(row.frame_rate)!r}", sound))
    try:
        write_json(path, {"stamp": stamp, **found})
    except OSError:  # a store that may only be read is hashed every time
        pass
    return found


def _digest(text: str, *arrays: np.ndarray) -> str:
    found = hashlib.sha256(text.encode())
    for array in arrays:
        found.update(np.ascontiguousarray(array))
    return found.hexdigest()[:32]


def _stamp(folder: Path) -> list:
    """Sizes and times of the files that the hashes were made from."""
    files = [(folder / name).stat() for name in ("clips.parquet", "face.npy", "audio.npy")]
    return [[file.st_size, file.st_mtime_ns] for file in files]
