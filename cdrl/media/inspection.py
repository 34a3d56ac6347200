"""A stranger's video, looked through before it is edited: in a process of its own, if need be.

A damaged file can end the process that decodes it. Here that is a worker, which costs its own file
and nothing else. Nothing heavy is imported, so that a worker starts within a second.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from cdrl.core.errors import InputError
from cdrl.core.pools import Lost, run_each
from cdrl.media.decoding import open_video
from cdrl.media.faces import align
from cdrl.media.faces import crop as crop_faces
from cdrl.media.sound import decode_sound
from cdrl.media.tracks import FaceChoice, FaceTrack, follow_face
from cdrl.media.video import VideoFacts, read_metadata, read_video, read_video_stream, video_facts

# A worker's time for one file: more than any needs, so that one that never ends is noticed.
LIMIT_SECONDS = 40.0
LIMIT_BYTES_PER_SECOND = 2_000

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class InspectionJob:
    """A video to look through before it is edited.

    Attributes:
        path: of the file.
        choice: which of several faces; None: the widest.
        crop: `aligned` or `released`, as the editor needs it.
        progress: whether to show it.
    """

    path: Path
    choice: FaceChoice | None = None
    crop: str = "aligned"
    progress: bool = True


@dataclass(frozen=True)
class Inspection:
    """What was seen of a video.

    Attributes:
        track: the face in all frames.
        times: (T,) seconds at which the frames are shown, on the file's own clock.
        metadata: of the file.
    """

    track: FaceTrack
    times: np.ndarray
    metadata: dict[str, str]


def inspect_video(job: InspectionJob) -> Inspection:
    """Decode every picture and all sound of a video, and follow its face.

    Args:
        job: which file and which face.

    Raises:
        InputError: a file that cannot be read, or in which no frame can be edited.
    """
    times: list[float] = []
    frames = single_frames(job.path, times)
    shown = tqdm(frames, "find the face", unit="frame", mininterval=2, disable=not job.progress)
    track = follow_face(shown, job.choice, str(job.path), job.crop)
    rehearse_sound(job.path)
    return Inspection(track, np.array(times), read_metadata(job.path))


def rehearse(path: Path) -> VideoFacts:
    """Decode every picture and all sound of a video, and keep nothing.

    Args:
        path: of the file.

    Raises:
        InputError: a file that cannot be read.
    """
    facts = video_facts(path)
    rehearse_sound(path)
    return facts


def rehearse_sound(path: Path) -> None:
    """Decode the sound of a video, where it has some, and keep nothing.

    Args:
        path: of the file.
    """
    with open_video(path) as (_, _, audio):
        has_sound = audio is not None
    if has_sound:
        for _ in decode_sound(path, 0.0):
            pass


@dataclass(frozen=True)
class CropsJob:
    """A video whose face crops are read.

    Attributes:
        path: of the file.
        crop: `aligned` or `released`.
        size: pixels a side of the crops.
        most: crops at most, evenly spread; 0 is all.
        longest: seconds of the file at most; 0 is any.
    """

    path: Path
    crop: str
    size: int
    most: int = 0
    longest: float = 0.0


def read_spread_crops(job: CropsJob) -> np.ndarray:
    """Face crops of a video, evenly spread over its frames.

    Args:
        job: which file and which crops.

    Returns:
        (T, size, size, 3) uint8, T at most `most`.

    Raises:
        InputError: a file that cannot be read, or that does not show one face.
    """
    alignment = align(single_frames(job.path), name=str(job.path), crop=job.crop)
    numbers = set(spread(len(alignment), job.most).tolist())

    crops = []
    for index, frame in enumerate(single_frames(job.path)):
        if index in numbers:
            frame_alignment = alignment.part(index, index + 1)
            [face] = crop_faces([frame], frame_alignment, job.size)
            crops.append(face)
    return np.stack(crops)


def spread(count: int, most: int) -> np.ndarray:
    """Numbers of at most `most` of `count` frames, evenly spread.

    Args:
        count: of all frames.
        most: of those that are taken; 0 takes all.

    Returns:
        (N,) int.
    """
    number = min(most or count, count)
    return np.linspace(0, count - 1, number).round().astype(int)


@dataclass(frozen=True)
class FaceClip:
    """A short video as face crops and sound.

    Attributes:
        crops: (T, H, H, 3) uint8.
        frame_rate: Hz.
        sound: (S,) samples at 16 kHz, or none.
        mouth_box: (4,) left, top, right, bottom in the crop, 0 to 1.
    """

    crops: np.ndarray
    frame_rate: float
    sound: np.ndarray
    mouth_box: np.ndarray


def read_face_clip(job: CropsJob) -> FaceClip:
    """All face crops of a short video at 25 Hz, and its sound.

    Args:
        job: which file and which crops.

    Raises:
        InputError: a file that cannot be read, is too long, or does not show one face.
    """
    seconds = video_facts(job.path).seconds
    if job.longest and seconds > job.longest:
        raise InputError(
            f"{job.path}: {seconds:.0f} seconds, the dial takes up to {job.longest:g}: cut it, or "
            "edit it whole with cdrl edit"
        )
    video = read_video(job.path, require_audio=False)
    alignment = align(video.frames, name=job.path.name, crop=job.crop)
    crops = crop_faces(video.frames, alignment, job.size)
    return FaceClip(crops, video.frame_rate, video.audio, alignment.mouth_box)


def in_worker(function: Callable[[Job], Result], job: Job, path: Path) -> Result:
    """Call a function of a file in a process of its own.

    Args:
        function: importable by name.
        job: what it is called with.
        path: of the file, for the message.

    Returns:
        What the function returns.

    Raises:
        InputError: what the function raises; and where its process died or did not end.
    """
    limit = LIMIT_SECONDS
    if path.is_file():
        limit += path.stat().st_size / LIMIT_BYTES_PER_SECOND
    [(_, result)] = run_each(function, [job], workers=1, limit_seconds=limit)
    if isinstance(result, Lost):
        raise InputError(
            f"{path}: reading it {result.reason}; convert it, e.g. with ffmpeg, to mp4 with stereo "
            "sound"
        )
    return result


def single_frames(path: Path, times: list[float] | None = None) -> Iterator[np.ndarray]:
    """The frames of a video file, (H, W, 3) uint8 each, one by one at its own frame rate.

    Args:
        path: of the file.
        times: a list to which the time of every frame, in seconds, is appended.
    """
    for frames in read_video_stream(path, frame_rate=None, chunk=1, times=times):
        yield from frames
