"""Real clips: CREMA-D's file names, the six committed samples, and any files into a crop store."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cdrl.config import IngestConfig
from cdrl.data import ingest as clips
from cdrl.data.faces import CROP
from cdrl.data.media import Clip, read_video
from cdrl.errors import InputError
from cdrl.vocabulary import CREMA_D_EMOTIONS

SAMPLES = Path(__file__).resolve().parents[2] / "data" / "samples"
# CREMA-D's levels -> ours; XX means "not specified" and is stored as the middle one (neutral has level 1 only).
LEVELS = {"LO": 1, "MD": 2, "HI": 3, "XX": 2}


def crema_d_labels(path: Path) -> dict:
    """Labels from a CREMA-D file name, actor_sentence_emotion_level.

    Raises:
        InputError: for a name of another form, an unknown emotion or an unknown level.

    >>> crema_d_labels(Path("1001_DFA_ANG_XX.flv"))["emotion"]
    'angry'
    """
    parts = Path(path).stem.split("_")
    if len(parts) != 4 or not parts[0].isdigit():
        raise InputError(f"{path}: not a CREMA-D name; expected actor_sentence_emotion_level, as 1001_DFA_ANG_XX.flv")
    actor, sentence, emotion, level = parts
    if emotion not in CREMA_D_EMOTIONS or level not in LEVELS:
        raise InputError(
            f"{path}: {emotion}_{level} is not of CREMA-D; emotions are {', '.join(CREMA_D_EMOTIONS)}, "
            f"levels {', '.join(LEVELS)}"
        )
    emotion = CREMA_D_EMOTIONS[emotion]
    return {
        "corpus": "crema-d", "speaker": actor, "sentence": sentence, "emotion": emotion,
        "intensity": 1 if emotion == "neutral" else LEVELS[level],
    }  # fmt: skip


def sample_paths() -> list[Path]:
    """The six committed clips: actor 1001 says "Don't forget a jacket" in six emotions, sorted by name."""
    paths = sorted(SAMPLES.glob("*.flv"))
    if not paths:
        raise InputError(f"{SAMPLES}: no sample clips; restore them from the repository (git checkout -- data/samples)")
    return paths


def sample_clips(frame_rate: float | None = 25.0) -> list[Clip]:
    """The committed clips, read, with labels."""
    return [read_crema_d(path, frame_rate) for path in sample_paths()]


def read_crema_d(path: Path, frame_rate: float | None = 25.0) -> Clip:
    """One CREMA-D clip as it was distributed (FLV, 29.97 Hz, MP3)."""
    return read_video(path, frame_rate, labels=crema_d_labels(path))


def ingest(paths: Iterable[Path | str], out: Path, crop_size: int = CROP) -> list[tuple[str, str]]:
    """A few clips with CREMA-D's names into a store, in this process: `cdrl.data.ingest` does it.

    Args:
        paths: files anywhere. out: folder of the store. crop_size: pixels a side of the stored crops.

    Returns:
        (name, reason) of each clip that was left out; empty when all are in.

    Raises:
        InputError: for a name that is not CREMA-D's, and when not one clip could be used.
    """
    paths = [Path(path).absolute() for path in paths]
    root = Path(os.path.commonpath([path.parent for path in paths])) if paths else SAMPLES
    rows = [
        {**crema_d_labels(path), "name": path.stem, "camera": "front", "take": "1", "path": str(path.relative_to(root)),
         "sound": "", "bytes": 0, "sha256": hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""}
        for path in paths
    ]  # fmt: skip
    manifest = pd.DataFrame(rows, columns=list(clips.MANIFEST))
    config = IngestConfig(crop_size=crop_size, workers=0)
    return list(clips.ingest(manifest, root, out, config, progress=False).rejected)
