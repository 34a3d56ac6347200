"""Real clips: the six committed samples of CREMA-D, and any files into a crop store."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.paths import data_root
from cdrl.core.settings import IngestConfig
from cdrl.corpora import ingest as clips
from cdrl.corpora.adapters import crema_d_labels
from cdrl.corpora.manifest import COLUMNS
from cdrl.media.faces import CROP_SIZE
from cdrl.media.video import Clip, read_video


def sample_folder() -> Path:
    """The folder with the committed clips."""
    return data_root() / "samples"


def sample_paths() -> list[Path]:
    """The six committed clips: actor 1001 says "Don't forget a jacket" in six emotions, sorted by name."""
    paths = sorted(sample_folder().glob("*.flv"))
    if not paths:
        raise InputError(
            f"{sample_folder()}: no sample clips; restore them from the repository (git checkout -- data/samples)"
        )
    return paths


def sample_clips(frame_rate: float | None = 25.0) -> list[Clip]:
    """The committed clips, read, with labels."""
    return [read_crema_d(path, frame_rate) for path in sample_paths()]


def read_crema_d(path: Path, frame_rate: float | None = 25.0) -> Clip:
    """One CREMA-D clip as it was distributed (FLV, 29.97 Hz, MP3)."""
    return read_video(path, frame_rate, labels=crema_d_labels(path))


def ingest_crema_d(
    paths: Iterable[Path | str], out: Path, crop_size: int = CROP_SIZE, crop: str = "aligned"
) -> list[tuple[str, str]]:
    """A few clips with CREMA-D's names into a store, in this process: `cdrl.corpora.ingest` does it.

    Args:
        paths: files anywhere. out: folder of the store. crop_size: pixels a side of the stored crops. crop: aligned or released.

    Returns:
        (name, reason) of each clip that was left out; empty when all are in.

    Raises:
        InputError: for a name that is not CREMA-D's, and when not one clip could be used.
    """
    paths = [Path(path).absolute() for path in paths]
    root = Path(os.path.commonpath([path.parent for path in paths])) if paths else sample_folder()
    rows = [
        {
            **crema_d_labels(path),
            "name": path.stem,
            "camera": "front",
            "take": "1",
            "path": str(path.relative_to(root)),
            "sound": "",
            "bytes": 0,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        }
        for path in paths
    ]
    manifest = pd.DataFrame(rows, columns=list(COLUMNS))
    config = IngestConfig(crop=crop, crop_size=crop_size, workers=0)
    return list(clips.ingest(manifest, root, out, config, progress=False).rejected)
