"""Which face is meant, and what was seen of a video: in lines for a person."""

from pathlib import Path

import numpy as np

from cdrl.core.errors import InputError, printable
from cdrl.editing.disclosure import describe_earlier, earlier_notes
from cdrl.media.inspection import Inspection
from cdrl.media.tracks import FaceChoice, Shot, describe_faces

# A face by its number from 1, left to right; by a box left, top, width, height in pixels; as text.
Face = int | str | tuple[float, float, float, float] | FaceChoice | None

MOST_SHOTS = 4  # that are described one by one
MOST_RANGES = 6  # of frames that stay


def face_choice(face: Face) -> FaceChoice | None:
    """Which of several faces is meant.

    Args:
        face: 2, "2", (40, 60, 90, 110) or "40,60,90,110"; None: the widest.

    Raises:
        InputError: for anything else.
    """
    if face is None or isinstance(face, FaceChoice):
        return face
    remedy = (
        f"face {face}: a number from 1, left to right, or a box left,top,width,height in pixels is "
        "needed, as in --face 2 or --face 40,60,90,110"
    )
    try:
        parts = str(face).split(",") if isinstance(face, (int, str)) else list(face)
        values = [float(part) for part in parts]
    except (TypeError, ValueError):
        raise InputError(remedy) from None

    if len(values) == 1:
        [number] = values
        if not (number >= 1 and number.is_integer()):
            raise InputError(remedy)
        return FaceChoice(number=int(number))
    if len(values) != 4 or not np.isfinite(values).all() or min(values[2:]) <= 0:
        raise InputError(remedy)
    left, top, width, height = values
    return FaceChoice(box=(left, top, width, height))


def describe_inspection(source: Path, inspection: Inspection, fade_seconds: float) -> list[str]:
    """What was seen of a video, one line a subject.

    Args:
        source: the file.
        inspection: of it.
        fade_seconds: over which the edit fades beside frames that stay.

    Returns:
        Faces and shots; frames that stay, where there are any; that the file is an edit already,
        where it is one.
    """
    name = printable(source.name)
    times = inspection.times - inspection.times[0]
    lines = [f"{name}: {_describe_shots(inspection.track.shots, times)}"]
    kept = _describe_kept(inspection, times)
    if kept:
        lines.append(f"{name}: {kept}{_describe_fades(inspection, fade_seconds)}")
    earlier = earlier_notes(inspection.metadata)
    if earlier:
        lines.append(
            f"{name}: is synthetic already ({describe_earlier(earlier)}); it is edited again, and "
            "its note is kept"
        )
    return lines


def _describe_fades(inspection: Inspection, fade_seconds: float) -> str:
    """Where the edit fades; "" where frames that stay are apart from the others by cuts."""
    for stretch in inspection.track.stretches:
        is_edited = stretch.alignment is not None
        if is_edited and not (stretch.after_cut and stretch.before_cut):
            return f"; beside them the edit fades over {fade_seconds:g} s"
    return ""


def _describe_shots(shots: list[Shot], times: np.ndarray) -> str:
    """Faces of each shot, which one is edited, and where the cuts are; times in seconds, (T,)."""
    if len(shots) == 1:
        return f"{_describe_shot(shots[0])}, one shot"
    descriptions = []
    for shot in shots[:MOST_SHOTS]:
        descriptions.append(f"from {times[shot.start]:.2f} s {_describe_shot(shot)}")
    more = len(shots) - MOST_SHOTS
    if more > 0:
        descriptions.append(f"and {more} more")
    return f"{len(shots)} shots, each edited by itself: {'; '.join(descriptions)}"


def _describe_shot(shot: Shot) -> str:
    """The faces of a shot, and which one is edited."""
    faces = describe_faces(shot.boxes)
    if len(shot.boxes) < 2:
        return faces
    if shot.chosen is None:
        return f"{faces}, none of them is edited"
    return f"{faces}, face {shot.chosen + 1} is edited"


def _describe_kept(inspection: Inspection, times: np.ndarray) -> str:
    """Which frames stay, from when to when, (T,) seconds, and why; "" where none does."""
    kept = inspection.track.kept
    if not kept:
        return ""
    num_frames = len(times)
    ranges = []
    for stretch in kept[:MOST_RANGES]:
        begin = times[stretch.start]
        end = times[min(stretch.stop, num_frames - 1)]
        ranges.append(f"{begin:.2f} to {end:.2f} s ({stretch.reason})")
    more = len(kept) - MOST_RANGES
    if more > 0:
        ranges.append(f"and {more} more")
    num_kept = sum(len(stretch) for stretch in kept)
    return f"{num_kept} of {num_frames} frames stay as they are: {', '.join(ranges)}"
