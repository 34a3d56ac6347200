"""What an ingest will cost, guessed from the headers of a few clips before it begins."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.settings import IngestConfig
from cdrl.corpora.adapters import CORPORA
from cdrl.corpora.ingest_plan import check_manifest
from cdrl.corpora.store_writer import SHARD_BYTES
from cdrl.media.audio import AUDIO_RATE
from cdrl.media.decoding import open_video

# Of one core, measured at 480 x 360 and 1920 x 1080 and rounded up: face and crop of a frame, and
# decoding a megapixel.
SECONDS_A_FRAME = 0.006
SECONDS_A_MEGAPIXEL = 0.014
HEADERS = 20  # about as many files are opened
TYPICAL_SECONDS = 3.0  # of a clip of an unknown corpus
TYPICAL_MEGAPIXELS = 1.0
TRANSFORM_BYTES = 24  # of a frame
SAMPLE_BYTES = 2


class Cost(NamedTuple):
    """What an ingest will take.

    Attributes:
        frames: to crop.
        minutes: on as many idle cores as there are workers.
        disk_gb: GB at most: the store, and the pieces that are not in it yet.
        end_gb: GB in the end.
    """

    frames: int
    minutes: float
    disk_gb: float
    end_gb: float


def expected_cost(
    manifest: pd.DataFrame, root: Path, config: IngestConfig, keep_pieces: bool = False
) -> Cost:
    """Frames, minutes and GB of disk that an ingest will take; a rough guess.

    Clips that are sound alone cost nothing.

    Args:
        manifest: of the corpus.
        root: folder that its paths are relative to.
        config: of the ingest.
        keep_pieces: whether the pieces stay when the store is there, as those of a run do.

    Raises:
        InputError: a manifest that is none.
    """
    paths = _video_paths(check_manifest(manifest))
    seconds, megapixels = _read_headers(paths, root)
    mean_seconds = float(np.mean(seconds)) if seconds else _typical_seconds(manifest)
    mean_megapixels = float(np.mean(megapixels)) if megapixels else TYPICAL_MEGAPIXELS
    num_frames = round(len(paths) * mean_seconds * config.frame_rate)

    frame_seconds = SECONDS_A_FRAME + SECONDS_A_MEGAPIXEL * mean_megapixels
    core_seconds = num_frames * frame_seconds
    crop_bytes = 3 * config.crop_size**2
    sound_bytes = SAMPLE_BYTES * AUDIO_RATE / config.frame_rate
    store_bytes = num_frames * (crop_bytes + TRANSFORM_BYTES + sound_bytes)
    minutes = core_seconds / max(1, config.workers) / 60
    piece_bytes = store_bytes if keep_pieces else min(store_bytes, SHARD_BYTES)
    end_bytes = store_bytes + (piece_bytes if keep_pieces else 0)
    return Cost(num_frames, minutes, (store_bytes + piece_bytes) / 1e9, end_bytes / 1e9)


def _video_paths(manifest: pd.DataFrame) -> pd.Series:
    paths = manifest["path"]
    return paths[paths != ""]


def _typical_seconds(manifest: pd.DataFrame) -> float:
    """Length of a clip where no header can be read."""
    corpus = CORPORA.get(manifest["corpus"].iloc[0])
    return corpus.seconds if corpus is not None else TYPICAL_SECONDS


def _read_headers(paths: pd.Series, root: Path) -> tuple[list[float], list[float]]:
    """Seconds and megapixels of some of the files, of those that can be opened."""
    seconds = []
    megapixels = []
    step = max(1, len(paths) // HEADERS)
    for path in paths.iloc[::step]:
        try:
            with open_video(Path(root) / path) as (container, video, _):
                seconds.append((container.duration or 0) / 1e6)
                context = video.codec_context
                megapixels.append(context.width * context.height / 1e6)
        except (InputError, OSError):
            continue
    return seconds, megapixels


def describe_cost(
    manifest: pd.DataFrame,
    root: Path,
    config: IngestConfig,
    frames_per_second: float = 0.0,
    keep_pieces: bool = False,
) -> str:
    """`expected_cost` in words, the same for every command that prints it.

    Args:
        manifest: of the corpus.
        root: folder that its paths are relative to.
        config: of the ingest.
        frames_per_second: of one core, where it was measured; 0: by the size of the pictures.
        keep_pieces: see `expected_cost`.

    Raises:
        InputError: a manifest that is none.
    """
    cost = expected_cost(manifest, root, config, keep_pieces)
    if not cost.frames:
        return "nothing to do, these are sounds without pictures"
    cores = max(1, config.workers)
    minutes = cost.minutes
    if frames_per_second:
        minutes = cost.frames / frames_per_second / cores / 60
    seconds, _ = _read_headers(_video_paths(manifest), root)
    note = "" if seconds else ": a guess, no header could be read"
    return (
        f"about {cost.frames} frames, {minutes:.1f} minutes on {cores} idle cores, "
        f"{cost.disk_gb:.2f} GB of disk at most, {cost.end_gb:.2f} GB in the end{note}"
    )
