"""What the explorer shows: positions of the same frames in two maps, their labels, neighbours, faces and clips."""

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cdrl.core.errors import InputError
from cdrl.core.paths import run_path
from cdrl.core.settings import stage_folder
from cdrl.corpora.store import Store
from cdrl.evaluation.projection import map_quality, umap_map
from cdrl.evaluation.retrieval import unit_rows
from cdrl.media.encoding import write_video
from cdrl.report.ready import finished_stage
from cdrl.stages import factors_of_frames

SPACES = ("content", "emotion")
# The label whose groups a frame's neighbours are sought in: same speech in other emotions, same mood in other words.
ACROSS = {"content": "emotion", "emotion": "sentence"}
STUDIO = "Synthetic: a generated person of the cdrl studio; nobody said this"


@dataclass(frozen=True)
class Atlas:
    """Two maps of the same n frames of a store, with everything that a click may ask for.

    Attributes:
        name: what to call it, as the run's folder.
        store: where faces and sounds lie; frames: (n,) its rows that were mapped, ascending.
        points: {space: (n, 2) float32} positions. quality: {space: {"trustworthiness": .., ...}}, as `map_quality`.
        factors: {"emotion": (n,) labels, ...}.
        groups: {space: G names}; nearest, likeness: {space: (n, G)} position of the nearest frame in each group, -1 in
            a frame's own, and its cosine in the full embedding.
    """

    name: str
    store: Store
    frames: np.ndarray
    points: dict
    quality: dict
    factors: dict
    groups: dict
    nearest: dict
    likeness: dict

    @property
    def clip(self) -> np.ndarray:
        """(n,) number of the clip in the store that a frame belongs to."""
        return np.searchsorted(self.store.clips.start.to_numpy(), self.frames, "right") - 1

    @property
    def seconds(self) -> np.ndarray:
        """(n,) seconds from the beginning of its clip."""
        clips = self.store.clips.iloc[self.clip]
        return ((self.frames - clips.start.to_numpy()) / clips.frame_rate.to_numpy()).astype(
            np.float32
        )

    def face(self, position: int, side: int = 0) -> bytes:
        """JPEG of one frame's aligned crop; `side` in pixels, 0 leaves it as it is."""
        image = Image.fromarray(np.asarray(self.store.face[self.frames[position]]))
        image = image.resize((side, side), Image.LANCZOS) if side else image
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=80)
        return buffer.getvalue()

    def film(self, clip: int) -> bytes:
        """An mp4 of one clip's crops with its sound (H.264, MP3), labelled as synthetic where it is of the studio."""
        rate, sound = float(self.store.clips.frame_rate.iloc[clip]), self.store.sound(clip)
        label = (
            {"comment": STUDIO, "description": STUDIO}
            if self.store.clips.corpus.iloc[clip] == "studio"
            else None
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            write_video(
                path,
                np.asarray(self.store.face[self.store.frames(clip)]),
                rate,
                sound,
                label,
                sound_codec="libmp3lame",
            )
            return path.read_bytes()

    def has_sound(self, clip: int) -> bool:
        """Whether anything can be heard in a clip."""
        return bool(np.any(self.store.sound(clip)))


def read_atlas(run, points: int = 0) -> Atlas:
    """The atlas of a run that notebook 04 is done with, on the people that nothing was trained on.

    Args:
        run: folder of a run; a relative one lies in the clone.
        points: frames to map anew (UMAP, seeded; a minute for 20,000); 0 takes the maps that the run has.

    Returns:
        Atlas; with 0, its trustworthiness is what `cdrl scores RUN map` prints.

    Raises:
        InputError: where there is no such run, it has no maps yet, another version made it, or it has fewer frames.
    """
    run = run_path(run)
    folder = finished_stage(run, "probe", "maps", tuple(f"{space}.npy" for space in SPACES))
    embeddings = {space: np.load(folder / f"{space}.npy").astype(np.float32) for space in SPACES}
    store = Store(stage_folder(run, "corpus") / "report")
    if {len(values) for values in embeddings.values()} != {len(store)}:
        raise InputError(
            f"{folder}: its embeddings are of other frames than {store.path}: make the run again under another --out"
        )
    if points and not 4 <= points <= len(store):
        raise InputError(
            f"points={points}: 0 for the maps that the run has, or from 4 to {len(store)}, its frames"
        )
    maps = {space: _map(folder, space, values, points) for space, values in embeddings.items()}
    frames = np.intersect1d(*[rows for _, rows in maps.values()])
    places = {
        space: coordinates[np.isin(rows, frames)] for space, (coordinates, rows) in maps.items()
    }
    mapped = {space: values[frames] for space, values in embeddings.items()}
    factors = factors_of_frames(run, frames)
    factors = {"emotion": factors["emotion"], **factors}  # the colour that the maps open with
    found = {space: nearest_of_groups(mapped[space], factors[ACROSS[space]]) for space in SPACES}
    groups, nearest, likeness = (
        {space: found[space][part] for space in SPACES} for part in range(3)
    )
    quality = {space: map_quality(mapped[space], places[space]) for space in SPACES}
    return Atlas(run.name, store, frames, places, quality, factors, groups, nearest, likeness)


def nearest_of_groups(
    embedding: np.ndarray, labels: np.ndarray
) -> tuple[list, np.ndarray, np.ndarray]:
    """For every row the nearest row of every other group, by cosine.

    Args:
        embedding: (n, D). labels: (n,) the group of each row.

    Returns:
        G group names as texts, ascending; (n, G) int32 rows, -1 for a row's own group; (n, G) float32 cosines, 0 there.
    """
    unit, names = unit_rows(embedding), np.unique(labels)
    nearest = np.full((len(unit), len(names)), -1, np.int32)
    likeness = np.zeros((len(unit), len(names)), np.float32)
    for column, name in enumerate(names):
        members = np.flatnonzero(labels == name)
        for block in np.array_split(np.flatnonzero(labels != name), 1 + len(unit) // 2000):
            cosines = unit[block] @ unit[members].T
            best = cosines.argmax(1)
            nearest[block, column], likeness[block, column] = (
                members[best],
                cosines[np.arange(len(block)), best],
            )
    return [str(name) for name in names], nearest, likeness


def _map(
    folder: Path, space: str, embedding: np.ndarray, points: int
) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) positions and (n,) rows: the run's own map, or one of so many points drawn now."""
    files = [folder / f"map_{space}.npy", folder / f"map_{space}_rows.npy"]
    if points or not all(file.exists() for file in files):
        return umap_map(embedding, n_frames=points or 3000)
    return tuple(np.load(file) for file in files)
