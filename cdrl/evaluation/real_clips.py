"""One clip of each person in a folder of videos, and its first two seconds."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cdrl.core.errors import InputError
from cdrl.core.weight_files import checksum
from cdrl.corpora.adapters import crema_d_labels
from cdrl.corpora.folder import LABELS, read_labels
from cdrl.corpora.scan import VIDEO_SUFFIXES
from cdrl.media.decoding import mean_frame_rate
from cdrl.media.faces import Alignment, align
from cdrl.media.video import read_video_stream

SECONDS = 2.0  # of each clip
MIN_FRAMES = 8  # of a clip that can be scored
NEUTRAL = "neutral"
NOMINAL_RATE = 25.0  # Hz, of a clip whose frames do not tell


@dataclass(frozen=True)
class PersonClip:
    """The clip of one person that is edited.

    Attributes:
        person: name in tables.
        path: the video.
        acted: emotion -> a video in which that person acts it, where the labels tell.
    """

    person: str
    path: Path
    acted: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Footage:
    """The first seconds of a clip, and where the face is in them.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        alignment: of T frames.
        frame_rate: Hz.
    """

    frames: np.ndarray
    alignment: Alignment
    frame_rate: float


def find_people(folder: Path) -> list[PersonClip]:
    """One clip a person, by name.

    The person is told by labels.csv, by the sub-folder, by a name in CREMA-D's form, or else each
    video is a person of its own. A person's clip is the first one called neutral; without labels
    the first of all.

    Args:
        folder: of videos.

    Raises:
        InputError: no such folder, or none with a video.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name one with videos of people who speak")
    videos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        accepted = ", ".join(VIDEO_SUFFIXES)
        raise InputError(f"{folder}: no video in it; files that end in {accepted} are read")

    labels = read_labels(folder)[0] if (folder / LABELS).is_file() else {}
    of_people: dict[str, list[tuple[Path, str]]] = {}
    for video in videos:
        person, emotion = _person_and_emotion(video, folder, labels)
        of_people.setdefault(person, []).append((video, emotion))

    people = []
    for person in sorted(of_people):
        clips = of_people[person]
        calm = [video for video, emotion in clips if emotion in (NEUTRAL, "")]
        if not calm:
            names = ", ".join(video.name for video, _ in clips)
            raise InputError(
                f"{folder}: {person} has no neutral clip ({names}); add one, or take these out"
            )
        acted = {emotion: video for video, emotion in clips if emotion not in (NEUTRAL, "")}
        people.append(PersonClip(person, calm[0], acted))

    return people


def _person_and_emotion(video: Path, folder: Path, labels: dict[str, dict]) -> tuple[str, str]:
    """The person of a video, and the emotion that its labels give, or nothing."""
    relative = video.relative_to(folder)
    if labels:
        entry = labels.get(relative.as_posix())
        if entry is None:
            raise InputError(f"{folder / LABELS}: no line names {relative}; add one")
        return entry["speaker"], entry["emotion"]
    try:
        parsed = crema_d_labels(video)
    except InputError:
        person = relative.parts[0] if len(relative.parts) > 1 else video.stem
        return person, ""
    return parsed["speaker"], parsed["emotion"]


def read_footage(path: Path) -> Footage:
    """The first two seconds of a video.

    Args:
        path: the file.

    Raises:
        InputError: a file that cannot be read, is too short or shows no face.
    """
    times: list[float] = []
    frames: list[np.ndarray] = []
    for part in read_video_stream(path, frame_rate=None, chunk=1, times=times):
        if times[len(frames)] - times[0] >= SECONDS:
            break
        frames.append(part[0])

    if len(frames) < MIN_FRAMES:
        raise InputError(
            f"{path}: {len(frames)} frames; {MIN_FRAMES} or more are needed to score an edit"
        )
    rate = mean_frame_rate(times[: len(frames)], NOMINAL_RATE)

    return Footage(np.stack(frames), align(frames, name=str(path)), rate)


def clip_sum(path: Path) -> str:
    """Twelve digits of the SHA-256 of a file."""
    return checksum(path)[:12]
