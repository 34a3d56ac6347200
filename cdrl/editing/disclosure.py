"""What an edited video says of itself: in its metadata, and on request in its pictures."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cdrl.core.errors import printable
from cdrl.media.encoding import SYNTHETIC

NOTE_KEY = "cdrl_edit"  # of the metadata: an `EditNote` as JSON
LONGEST_NOTE = 20_000  # characters of a stranger's metadata that are looked at
MOST_EARLIER = 20  # notes of earlier edits that are kept
LONGEST_WORD = 80  # characters of a value in an earlier note
# The mark: height of its letters by the frame's shorter side, and its widest by the frame's width.
LETTER_SHARE = 1 / 22
WIDEST_SHARE = 0.6
SMALLEST_LETTERS = 9  # pixels
LARGEST_LETTERS = 64
INK = (255, 255, 255)
GROUND = (24, 24, 24)


@dataclass(frozen=True)
class EditNote:
    """What was asked of one edit.

    Attributes:
        emotion: in words, as in "0.7 happy + 0.3 surprised".
        intensity: in words, as in "1" or "0 to 1.5".
        source_emotion: what the source was said to show; empty where nothing was said.
        editor: its name.
        version: of the kit.
        edited_frames: frames that the edit shows in.
        frames: of the video.
    """

    emotion: str
    intensity: str
    source_emotion: str
    editor: str
    version: str
    edited_frames: int
    frames: int

    def sentence(self) -> str:
        """The note in words."""
        origin = f" from {self.source_emotion}" if self.source_emotion else ""
        return (
            f"edited{origin} to {self.emotion}, intensity {self.intensity}, in "
            f"{self.edited_frames} of {self.frames} frames, by {self.editor}, cdrl {self.version}"
        )


def describe_intensity(curve: np.ndarray) -> str:
    """An intensity over time in words.

    Args:
        curve: (T,) intensity.

    Returns:
        As in "0.7" or "0 to 1.5".
    """
    low = float(np.min(curve))
    high = float(np.max(curve))
    return f"{high:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def kit_version() -> str:
    """The version of the installed kit."""
    try:
        return version("cdrl")
    except PackageNotFoundError:  # a clone on the path that was never installed
        return "unknown"


def note_metadata(note: EditNote, source_metadata: dict[str, str]) -> dict[str, str]:
    """The metadata of an edited file: that it is synthetic, what was asked, and earlier edits.

    Args:
        note: of this edit.
        source_metadata: of the file that was edited.
    """
    earlier = earlier_notes(source_metadata)
    record = asdict(note) | {"synthetic": True, "earlier": earlier}
    description = f"{SYNTHETIC}. The face was {note.sentence()}."
    if earlier:
        description += f" Before that: {describe_earlier(earlier)}."
    return {"comment": SYNTHETIC, "description": description, NOTE_KEY: json.dumps(record)}


def earlier_notes(metadata: dict[str, str]) -> list[dict[str, Any]]:
    """The notes of the edits that made a file, the latest first; none of a recording.

    Args:
        metadata: of the file; a stranger may have written it.
    """
    text = metadata.get(NOTE_KEY, "")[:LONGEST_NOTE]
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        record = None
    if isinstance(record, dict):
        older = record.pop("earlier", [])
        notes = [record]
        if isinstance(older, list):
            notes += [entry for entry in older if isinstance(entry, dict)]
        return notes[:MOST_EARLIER]
    if metadata.get("comment") == SYNTHETIC:
        return [{"synthetic": True}]
    return []


def describe_earlier(notes: list[dict[str, Any]]) -> str:
    """Earlier edits in words, the latest first.

    Args:
        notes: of `earlier_notes`.
    """
    sentences = []
    for note in notes:
        if "emotion" not in note:
            sentences.append("made by this kit, its note does not say how")
            continue
        emotion = _short_text(note["emotion"])
        intensity = _short_text(note.get("intensity", "?"))
        kit = _short_text(note.get("version", "?"))
        sentences.append(f"{emotion}, intensity {intensity}, cdrl {kit}")
    return "; ".join(sentences)


def _short_text(value: Any) -> str:
    """A stranger's value as short, printable text."""
    words = " ".join(str(value).split())
    return printable(words[:LONGEST_WORD])


def mark_frames(frames: Iterable[np.ndarray], text: str) -> Iterator[np.ndarray]:
    """Draw "synthetic: TEXT" into the lower left corner of every frame.

    Args:
        frames: (H, W, 3) uint8 each.
        text: what was asked, in a few words; left out where the frame is too narrow for it.
    """
    for frame in frames:
        height, width = frame.shape[:2]
        label = _label(height, width, text)
        rows, columns = label.shape[:2]
        margin = min(rows // 2, height - rows, width - columns)
        bottom = height - margin
        marked = np.array(frame)
        marked[bottom - rows : bottom, margin : margin + columns] = label
        yield marked


@cache
def _label(height: int, width: int, text: str) -> np.ndarray:
    """The mark of frames of a size, (h, w, 3) uint8, no larger than the frame."""
    letters = round(min(height, width) * LETTER_SHARE)
    letters = min(max(letters, SMALLEST_LETTERS), LARGEST_LETTERS)
    words = f"synthetic: {text}"
    label = _draw_label(words, letters)
    if label.width > WIDEST_SHARE * width:
        label = _draw_label("synthetic", letters)
    label = label.crop((0, 0, min(label.width, width), min(label.height, height)))
    return np.asarray(label)


def _draw_label(words: str, letters: int) -> Image.Image:
    """Words in light letters of a height in pixels on a dark ground."""
    font = ImageFont.load_default(letters)
    left, top, right, bottom = font.getbbox(words)
    padding = max(2, letters // 3)
    size = (round(right - left) + 2 * padding, round(bottom - top) + 2 * padding)
    label = Image.new("RGB", size, GROUND)
    ImageDraw.Draw(label).text((padding - left, padding - top), words, INK, font)
    return label
