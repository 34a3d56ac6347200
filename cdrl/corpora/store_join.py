"""Several crop stores as one."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cdrl.corpora.store import COLUMNS, MOUTH_COLUMNS, Store
from cdrl.corpora.store_writer import StoreWriter

# Columns that say where a clip lies in its store, and its mouth, which `StoreWriter.add` takes.
PLACES = {"start", "num_frames", "audio_start", "audio_samples", *MOUTH_COLUMNS}


def join_stores(stores: Sequence[Store], out: Path, without: Iterable[str] = ()) -> None:
    """Write the clips of several stores into one, in order; it has no truth.

    Args:
        stores: with crops of one size and kind.
        out: folder of the new store.
        without: emotions whose clips are left out.
    """
    left_out = set(without)
    with StoreWriter(out, stores[0].crop) as writer:
        for store in stores:
            for number in range(len(store.clips)):
                if store.clips["emotion"].iloc[number] not in left_out:
                    _copy_clip(store, number, writer)


def _copy_clip(store: Store, number: int, writer: StoreWriter) -> None:
    """Add one clip of a store to a writer."""
    clip = store.clips.iloc[number]
    row: dict[str, Any] = {}
    for column in COLUMNS:
        if column not in PLACES and column in clip.index:
            row[column] = clip[column]

    frames = store.frames(number)
    sound = store.audio[store.audio_slice(number)]
    mouth_box = clip[MOUTH_COLUMNS]
    writer.add(row, store.face[frames], store.transforms[frames], sound, mouth_box)
