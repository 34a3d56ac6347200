"""The six committed samples of CREMA-D, and files with CREMA-D's names into a crop store."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.paths import data_root
from cdrl.core.settings import IngestConfig, from_dict
from cdrl.corpora.adapters import crema_d_labels
from cdrl.corpora.ingest import ingest
from cdrl.corpora.manifest import COLUMNS
from cdrl.media.faces import CROP_SIZE
from cdrl.media.video import Clip, read_video


def sample_folder() -> Path:
    """The folder with the committed clips."""
    return data_root() / "samples"


def sample_paths() -> list[Path]:
    """The six committed clips, sorted by name.

    Actor 1001 says "Don't forget a jacket" in six emotions.

    Raises:
        InputError: where they are missing.
    """
    folder = sample_folder()
    paths = sorted(folder.glob("*.flv"))
    if not paths:
        raise InputError(
            f"{folder}: no sample clips; restore them from the repository "
            "(git checkout -- data/samples)"
        )
    return paths


def sample_clips(frame_rate: float | None = 25.0) -> list[Clip]:
    """The committed clips, read, with labels.

    Args:
        frame_rate: Hz; None keeps the files' own, 29.97 Hz.
    """
    clips = []
    for path in sample_paths():
        clips.append(read_video(path, frame_rate, labels=crema_d_labels(path)))
    return clips


def ingest_crema_d(
    files: Iterable[Path | str], out: Path, crop_size: int = CROP_SIZE, crop: str = "aligned"
) -> list[tuple[str, str]]:
    """A few clips with CREMA-D's names into a store, in this process.

    Args:
        files: anywhere.
        out: folder of the store.
        crop_size: pixels a side of the stored crops.
        crop: aligned or released.

    Returns:
        (name, reason) of each clip that was left out; empty when all are in.

    Raises:
        InputError: for a name that is not CREMA-D's, and when not one clip could be used.
    """
    paths = [Path(file).absolute() for file in files]
    root = _common_folder(paths)
    rows = [_manifest_row(path, root) for path in paths]
    manifest = pd.DataFrame(rows, columns=list(COLUMNS))
    settings = {"crop": crop, "crop_size": crop_size, "workers": 0}
    config = from_dict(IngestConfig, settings)
    result = ingest(manifest, root, out, config, progress=False)
    return list(result.rejected)


def _common_folder(paths: Sequence[Path]) -> Path:
    """The deepest folder that holds all files."""
    if not paths:
        return sample_folder()
    return Path(os.path.commonpath([path.parent for path in paths]))


def _manifest_row(path: Path, root: Path) -> dict:
    """A row of a manifest for a file with CREMA-D's name."""
    row = dict(crema_d_labels(path))
    row["name"] = path.stem
    row["camera"] = "front"
    row["take"] = "1"
    row["path"] = str(path.relative_to(root))
    row["sound"] = ""
    row["bytes"] = 0
    row["sha256"] = ""
    if path.is_file():
        row["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return row
