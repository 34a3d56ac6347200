"""The data of the explorer: two maps of the same frames, labels, neighbours, faces and clips."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cdrl.core.errors import InputError
from cdrl.core.files import damaged, read_array
from cdrl.core.paths import run_path
from cdrl.core.settings import stage_folder
from cdrl.corpora.frame_labels import factors_of_frames
from cdrl.corpora.store import Store
from cdrl.evaluation.projection import map_quality, umap_map
from cdrl.evaluation.retrieval import unit_rows
from cdrl.report.ready import finished_stage
from cdrl.report.small_film import film_of
from cdrl.report.style import emotion_first

SPACES = ("content", "emotion")
# The factor whose groups the neighbours of a frame come from: the same speech in other emotions,
# the same emotion in other sentences.
GROUP_FACTORS = {"content": "emotion", "emotion": "sentence"}
DEFAULT_POINTS = 3000  # of a map that is made here because the run has none
BLOCK_ROWS = 2000  # of a product of embeddings, so that it fits into memory


@dataclass(frozen=True)
class Atlas:
    """Two maps of the same n frames of a store, with all data that a click may ask for.

    Attributes:
        name: the title, as the run's folder.
        store: the crops and sounds.
        frames: (n,) rows of the store that were mapped, ascending.
        points: {space: (n, 2) float32} positions.
        quality: {space: {"trustworthiness": .., ...}}, as `map_quality` returns it.
        factors: {"emotion": (n,) labels, ...}.
        groups: {space: names of its G groups}.
        nearest: {space: (n, G)} position of the nearest frame in each group; -1 in the frame's own.
        similarity: {space: (n, G)} cosine of that frame in the full embedding.
    """

    name: str
    store: Store
    frames: np.ndarray
    points: dict[str, np.ndarray]
    quality: dict[str, dict[str, float]]
    factors: dict[str, np.ndarray]
    groups: dict[str, list[str]]
    nearest: dict[str, np.ndarray]
    similarity: dict[str, np.ndarray]

    @property
    def clip(self) -> np.ndarray:
        """(n,) number of the clip in the store that a frame belongs to."""
        starts = self.store.clips.start.to_numpy()
        return np.searchsorted(starts, self.frames, "right") - 1

    @property
    def seconds(self) -> np.ndarray:
        """(n,) seconds from the beginning of its clip."""
        clips = self.store.clips.iloc[self.clip]
        frame_indices = self.frames - clips.start.to_numpy()
        return (frame_indices / clips.frame_rate.to_numpy()).astype(np.float32)

    def face(self, position: int, side: int = 0, quality: int = 80) -> bytes:
        """The JPEG of one frame's aligned crop.

        Args:
            position: of the frame among `frames`.
            side: height and width in pixels; 0 leaves the crop as it is.
            quality: of the JPEG.
        """
        crop = self.store.face[self.frames[position]]
        image = Image.fromarray(np.asarray(crop))
        if side:
            image = image.resize((side, side), Image.Resampling.LANCZOS)

        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return buffer.getvalue()

    def film(self, clip: int) -> bytes:
        """An mp4 (H.264, MP3) of one clip's crops with its sound; a studio clip is labelled.

        Args:
            clip: number of the clip in the store.
        """
        return film_of(self.store, clip)

    def has_sound(self, clip: int) -> bool:
        """Whether the sound of a clip is not silence.

        Args:
            clip: number of the clip in the store.
        """
        return bool(np.any(self.store.sound(clip)))


def read_atlas(run: Path | str, points: int = 0) -> Atlas:
    """Read the atlas of a run with a complete notebook 04, on the people of its reporting split.

    Args:
        run: folder of a run; a relative one lies in the clone.
        points: frames to map again (UMAP, seeded; a minute for 20,000); 0 takes the maps of the
            run.

    Returns:
        Atlas; with 0, its trustworthiness is what `cdrl scores RUN map` prints.

    Raises:
        InputError: where there is no such run, it has no maps yet, another version made it, or it
            has fewer frames.
    """
    run = run_path(run)
    folder = finished_stage(run, "probe", "maps", tuple(f"{space}.npy" for space in SPACES))
    store = Store(stage_folder(run, "corpus") / "report")
    embeddings = _read_embeddings(folder, store)
    if points and not 4 <= points <= len(store):
        raise InputError(
            f"points={points}: 0 for the maps that the run has, or from 4 to {len(store)}, its "
            "frames"
        )

    coordinates, rows = _read_maps(folder, embeddings, points)
    frames = np.intersect1d(rows["content"], rows["emotion"])
    factors = emotion_first(factors_of_frames(run, frames))

    positions = {}
    quality = {}
    groups = {}
    nearest = {}
    similarity = {}
    for space in SPACES:
        in_both_maps = np.isin(rows[space], frames)
        embedding = embeddings[space][frames]
        positions[space] = coordinates[space][in_both_maps]
        quality[space] = map_quality(embedding, positions[space])
        labels = factors[GROUP_FACTORS[space]]
        neighbours = nearest_of_groups(embedding, labels)
        groups[space], nearest[space], similarity[space] = neighbours

    return Atlas(
        name=run.name,
        store=store,
        frames=frames,
        points=positions,
        quality=quality,
        factors=factors,
        groups=groups,
        nearest=nearest,
        similarity=similarity,
    )


def _read_embeddings(folder: Path, store: Store) -> dict[str, np.ndarray]:
    """Read {space: (N, D) float32}, one row for each frame of the store."""
    embeddings = {}
    for space in SPACES:
        file = folder / f"{space}.npy"
        embedding = read_array(file, 2).astype(np.float32)
        if not np.isfinite(embedding).all():
            raise damaged(file, "it holds a NaN or an infinite value")
        if len(embedding) != len(store):
            raise InputError(
                f"{folder}: its embeddings are of other frames than {store.path}: make the run "
                "again under another --out"
            )
        embeddings[space] = embedding

    return embeddings


def _read_maps(
    folder: Path, embeddings: dict[str, np.ndarray], points: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return {space: (n, 2) positions} and {space: (n,) rows} of the run's maps, or of new ones."""
    coordinates = {}
    rows = {}
    for space, embedding in embeddings.items():
        coordinate_file = folder / f"map_{space}.npy"
        row_file = folder / f"map_{space}_rows.npy"
        complete = coordinate_file.exists() and row_file.exists()
        if points or not complete:
            num_frames = points or DEFAULT_POINTS
            coordinates[space], rows[space] = umap_map(embedding, n_frames=num_frames)
        else:
            coordinates[space] = read_array(coordinate_file, 2)
            rows[space] = read_array(row_file, 1)
            _check_map(coordinate_file, coordinates[space], rows[space], len(embedding))

    return coordinates, rows


def _check_map(path: Path, points: np.ndarray, rows: np.ndarray, num_frames: int) -> None:
    """Refuse a map, (n, 2), whose points are not those of its rows, (n,), of `num_frames`."""
    if points.shape != (len(rows), 2) or not np.isfinite(points).all():
        raise damaged(path, f"a place for each of {len(rows)} rows is needed")
    is_row = rows.dtype.kind in "iu" and bool(((rows >= 0) & (rows < num_frames)).all())
    if not is_row:
        raise damaged(path, f"its rows are not of the {num_frames} frames")


def nearest_of_groups(
    embedding: np.ndarray, labels: np.ndarray
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """For every row the nearest row of every other group, by cosine.

    Args:
        embedding: (n, D) features.
        labels: (n,) the group of each row.

    Returns:
        G group names as texts, ascending; (n, G) int32 rows, -1 for a row's own group; (n, G)
        float32 cosines, 0 there.
    """
    unit = unit_rows(embedding)
    names = np.unique(labels)
    nearest = np.full((len(unit), len(names)), -1, np.int32)
    similarity = np.zeros((len(unit), len(names)), np.float32)
    num_blocks = 1 + len(unit) // BLOCK_ROWS

    for column, name in enumerate(names):
        members = np.flatnonzero(labels == name)
        others = np.flatnonzero(labels != name)
        for block in np.array_split(others, num_blocks):
            cosines = unit[block] @ unit[members].T
            best = cosines.argmax(1)
            nearest[block, column] = members[best]
            similarity[block, column] = cosines[np.arange(len(block)), best]

    return [str(name) for name in names], nearest, similarity
