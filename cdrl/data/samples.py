"""Real clips: the six committed samples of CREMA-D, and any files into a crop store."""

from collections.abc import Iterable
from pathlib import Path

from cdrl.data.corpora import crema_d_labels
from cdrl.data.faces import CROP, align, crop
from cdrl.data.media import Clip, read_video
from cdrl.data.store import StoreWriter
from cdrl.errors import InputError

SAMPLES = Path(__file__).resolve().parents[2] / "data" / "samples"


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


def ingest(
    clips: Iterable[Clip | Path | str], out: Path, crop_size: int = CROP, stride: int = 4, read=read_crema_d,
    split: str = "real",
) -> list[tuple[str, str]]:  # fmt: skip
    """Read, align and crop clips into a store; a clip that cannot be used is left out and named.

    Args:
        clips: `Clip`s, or paths that `read` turns into them. out: folder of the store.
        crop_size: pixels a side of the stored crops. read: path -> Clip with labels speaker, sentence, emotion,
            intensity. split: the store's column.

    Returns:
        (name, reason) of each clip that was refused; empty when all are in.

    Raises:
        InputError: when not one clip could be used; nothing is written then.
    """
    rejected, kept = [], 0
    with StoreWriter(out) as writer:
        for item in clips:
            try:
                clip = item if isinstance(item, Clip) else read(Path(item))
                alignment = align(clip.frames, stride, clip.media or clip.name)
            except InputError as error:
                rejected.append((item.name if isinstance(item, Clip) else str(item), str(error)))
                continue
            row = {"corpus": "file", "split": split, **clip.labels, "name": clip.name, "frame_rate": clip.frame_rate}
            face = crop(clip.frames, alignment, crop_size)
            writer.add(
                {**row, "media": clip.media}, face, alignment.transforms, clip.audio, alignment.mouth_box
            )
            kept += 1
        if not kept:
            raise InputError(f"{out}: none of {len(rejected)} clips could be used; the first: {rejected[:1]}")
    return rejected
