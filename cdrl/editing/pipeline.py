"""The edit itself: a clip or a video file and an emotion in, the same with that emotion out.

Steady over time, and in bounded memory.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from cdrl.corpora.batches import image_tensor
from cdrl.editing.control import (
    IntensityCurve,
    Mixture,
    describe_mixture,
    emotion_weights,
    frame_intensities,
)
from cdrl.editing.disclosure import (
    EditNote,
    describe_intensity,
    kit_version,
    mark_frames,
    note_metadata,
)
from cdrl.editing.output_paths import check_out_file
from cdrl.editing.sight import Face, describe_inspection, face_choice
from cdrl.editors.base import ClipEditor, Editor, editor_of_clip
from cdrl.editors.loading import DEFAULT_EDITOR, load_editor
from cdrl.media.decoding import mean_frame_rate
from cdrl.media.encoding import write_edit
from cdrl.media.faces import CROP_SIZE, Alignment, crop, paste
from cdrl.media.inspection import InspectionJob, in_worker, inspect_video, single_frames, spread
from cdrl.media.tracks import FaceTrack
from cdrl.models.field_network import apply_fields

# The fields are averaged over neighbouring frames with these weights: the edit does not tremble.
SMOOTHING = (1, 4, 6, 4, 1)
SMOOTHING_REACH = len(SMOOTHING) // 2  # frames on each side
CHUNK = 24  # frames edited at once; fewer where frames are so large that these would hold more than
MAX_BUFFER_BYTES = 200 << 20
MIN_CHUNK = 4  # frames
LARGE_CHUNK = 96  # frames of a clip that is in memory; their neighbours are looked at once
TRAINED_RATE = 25.0  # Hz
MIN_CROP_SIZE = 64  # pixels a side of the crop that is edited
MAX_CROP_SIZE = 320
FADE_SECONDS = 0.3  # over which the edit comes and goes beside frames that stay
# The face of a shot is looked at before it is edited: so many frames of its first seconds.
FACE_FRAMES = 24
FACE_SECONDS = 10.0

# Number of a stretch's first frame -> its editor and the weights that this takes.
EditorOfStretch = dict[int, tuple[Editor, torch.Tensor]]


def edit_clip(
    editor: Editor,
    crops: np.ndarray,
    emotion: str | Mixture,
    intensity: float | np.ndarray = 1.0,
    frame_rate: float = TRAINED_RATE,
    source_emotion: str | Mixture | None = None,
) -> np.ndarray:
    """Edit aligned crops.

    Args:
        editor: of `load_editor`, or trained here.
        crops: (T, H, H, 3) uint8 RGB, H >= 64.
        emotion: a name, or a mixture {name: weight}.
        intensity: 0 to 1.5, one number or (T,); 0 gives the crops themselves.
        frame_rate: Hz.
        source_emotion: that of the source, where the edit shall start from there, see
            `emotion_weights`.

    Returns:
        (T, H, H, 3) uint8.
    """
    curve = frame_intensities(intensity, len(crops))
    weights = emotion_weights(emotion, editor.card.emotions, source_emotion)
    seen = crops[spread(len(crops), FACE_FRAMES)]
    editor, weights = editor_of_clip(editor, seen, weights)
    return np.stack(list(edit_stream(editor, crops, weights, curve, frame_rate)))


@torch.no_grad()
def edit_clip_at(
    editor: Editor,
    crops: np.ndarray,
    emotion: str | Mixture,
    intensities: Sequence[float],
    frame_rate: float = TRAINED_RATE,
    source_emotion: str | Mixture | None = None,
) -> list[np.ndarray]:
    """`edit_clip` at several intensities above 0; the editor looks at the clip once for all.

    Args:
        editor: of `load_editor`, or trained here; one that needs no source emotion in its weights.
        crops: (T, H, H, 3) uint8 RGB, H >= 64.
        emotion: a name, or a mixture {name: weight}.
        intensities: up to 1.5.
        frame_rate: Hz.
        source_emotion: see `edit_clip`; for an editor that looks at the clip before.

    Returns:
        (T, H, H, 3) uint8 for each intensity.
    """
    weights = emotion_weights(emotion, editor.card.emotions, source_emotion)
    seen = crops[spread(len(crops), FACE_FRAMES)]
    editor, weights = editor_of_clip(editor, seen, weights)
    images = image_tensor(crops)
    stride = stride_at(editor, frame_rate)
    curves = torch.tensor(intensities)[:, None].expand(-1, len(crops))

    parts = []
    for start in range(0, len(crops), LARGE_CHUNK):
        chunk = slice(start, start + LARGE_CHUNK)
        parts.append(editor.fields(images[None], weights, curves, chunk, stride))

    edits = []
    for number in range(len(intensities)):
        fields = []
        for field in zip(*parts, strict=True):
            series = torch.cat([part[number] for part in field])
            fields.append(smooth(series))
        edits.append(_to_pixels(apply_fields(images, *fields)))
    return edits


def _to_pixels(images: torch.Tensor) -> np.ndarray:
    """(T, 3, H, W) in [0, 1] -> (T, H, W, 3) uint8."""
    pixels = (images * 255).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).numpy()


def stride_at(editor: Editor, frame_rate: float) -> int:
    """Frames to the neighbours that the editor looks at, at a frame rate in Hz."""
    return max(1, round(editor.stride * frame_rate / TRAINED_RATE))


def edit_stream(
    editor: Editor,
    crops: Iterable[np.ndarray],
    weights: torch.Tensor,
    curve: np.ndarray,
    frame_rate: float = TRAINED_RATE,
    chunk: int | None = None,
) -> Iterator[np.ndarray]:
    """`edit_clip` for any length: takes crops one by one, yields them edited in the same order.

    Some `chunk` of them are in memory at once.

    Args:
        editor: of `load_editor`.
        crops: (H, W, 3) uint8 each.
        weights: (1, 8), or (2, 8) with the source's, see `emotion_weights`.
        curve: (T,) intensity.
        frame_rate: Hz.
        chunk: frames edited at once; None: `CHUNK`.
    """
    chunk = chunk or CHUNK
    stride = stride_at(editor, frame_rate)
    margin = SMOOTHING_REACH
    if editor.stride:
        margin += math.ceil(stride * editor.reach / editor.stride)

    buffer: list[np.ndarray] = []
    first = 0  # number of the first frame in the buffer
    done = 0  # frames edited so far
    for image in chain(crops, [None]):
        ended = image is None
        if image is not None:
            buffer.append(image)
        ready = first + len(buffer)
        if not ended:
            ready -= margin
        if ready - done < (1 if ended else chunk):
            continue

        window = np.stack(buffer)
        intensity = curve[first : first + len(buffer)]
        frames = slice(done - first, ready - first)
        yield from _edit_window(editor, window, weights, intensity, frames, stride)
        done = ready
        unneeded = max(0, done - margin - first)
        buffer = buffer[unneeded:]
        first += unneeded


@torch.no_grad()
def _edit_window(
    editor: Editor,
    crops: np.ndarray,
    weights: torch.Tensor,
    intensity: np.ndarray,
    frames: slice,
    stride: int,
) -> np.ndarray:
    """Edit some frames of a window of crops.

    Args:
        editor: of `load_editor`.
        crops: (T, H, H, 3) uint8.
        weights: (1 or 2, 8), see `emotion_weights`.
        intensity: (T,).
        frames: the t frames to edit; the others are their neighbours.
        stride: see `stride_at`.

    Returns:
        (t, H, H, 3) uint8.
    """
    images = image_tensor(crops)
    number = len(weights)

    clips = images[None].expand(number, -1, -1, -1, -1)
    curve = torch.tensor(np.array(intensity))
    curves = curve.expand(number, -1)

    start = max(0, frames.start - SMOOTHING_REACH)
    stop = min(len(crops), frames.stop + SMOOTHING_REACH)
    inner = slice(frames.start - start, frames.stop - start)
    fields = editor.fields(clips, weights, curves, slice(start, stop), stride)

    unchanged = (curve[frames] == 0)[:, None, None, None]
    smoothed = []
    for field in fields:
        change = field[0]
        if number == 2:
            change = field[0] - field[1]
        change = smooth(change)[inner]
        smoothed.append(change.masked_fill(unchanged, 0))

    flow, shading, residual = smoothed
    return _to_pixels(apply_fields(images[frames], flow, shading, residual))


def smooth(field: torch.Tensor) -> torch.Tensor:
    """Average a field over time with the weights `SMOOTHING`, the ends repeated.

    Args:
        field: (T, C, h, w).

    Returns:
        (T, C, h, w); a field that stays keeps its value.
    """
    kernel = field.new_tensor(SMOOTHING) / sum(SMOOTHING)
    kernel = kernel.view(1, 1, -1)

    margins = (SMOOTHING_REACH, SMOOTHING_REACH)
    series = field.flatten(1).T[:, None]
    padded = F.pad(series, margins, mode="replicate")
    averaged = F.conv1d(padded, kernel)[:, 0]
    return averaged.T.view_as(field)


def edit_video(
    source: Path,
    emotion: str | Mixture,
    out: Path,
    intensity: float | str | np.ndarray | IntensityCurve = 1.0,
    editor: str | Path | Editor = DEFAULT_EDITOR,
    progress: bool = True,
    source_emotion: str | Mixture | None = None,
    face: Face = None,
    mark: bool = False,
    isolated: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """Edit a video file: face found, cropped, edited, put back.

    Sound, length and frame rate stay those of the source. So do frames in which the face cannot be
    edited; beside them the edit fades in and out. Each shot is edited by itself.

    Args:
        source: any video that shows a face.
        emotion: a name, or a mixture {name: weight}.
        out: an .mp4.
        intensity: 0 to 1.5: one number; (T,), one per frame; or a curve over time, which may be
            written "0:0,1.5:1,3:0" (seconds:intensity).
        editor: as `load_editor` takes it, or an editor itself.
        progress: whether to show it.
        source_emotion: the emotion of the source, where it is known, see `emotion_weights`.
        face: which of several faces, see `face_choice`; None: the widest of each shot.
        mark: whether to write into the pictures that they are synthetic.
        isolated: whether to read the file first in a process of its own, which a damaged file may
            end without harm. A script needs `if __name__ == "__main__":` then.
        say: called with lines on what was seen: faces, shots, frames that stay; and on what of the
            file is converted or dropped.

    Returns:
        `out`. Its metadata says that it is synthetic, and what was asked.

    Raises:
        InputError: unknown emotion, intensity outside 0 to 1.5, a file that cannot be read or in
            which no face can be edited, an `out` that cannot be written or that this kit did not
            make; before anything is written.
    """
    source = Path(source)
    out = Path(out)
    choice = face_choice(face)
    check_out_file(source, out)
    if isinstance(editor, (str, Path)):
        editor = load_editor(editor)
    weights = emotion_weights(emotion, editor.card.emotions, source_emotion)
    if isinstance(intensity, str):
        intensity = IntensityCurve.from_text(intensity)
    if not isinstance(intensity, IntensityCurve) and not np.ndim(intensity):
        frame_intensities(intensity, 1)

    job = InspectionJob(source, choice, editor.card.crop, progress)
    inspection = in_worker(inspect_video, job, source) if isolated else inspect_video(job)
    track = inspection.track
    times = inspection.times - inspection.times[0]

    if isinstance(intensity, IntensityCurve):
        intensity = intensity.at(times)
    curve = frame_intensities(intensity, len(times))
    frame_rate = mean_frame_rate(times.tolist(), TRAINED_RATE)
    fade = round(FADE_SECONDS * frame_rate)
    strength = curve * track.strength(fade)
    for line in describe_inspection(source, inspection, FADE_SECONDS):
        say(line)

    target = describe_mixture(emotion)
    editors = editors_of_stretches(editor, source, track, weights, frame_rate)
    frames = single_frames(source)
    frames = edited_track(editor, frames, track, weights, strength, frame_rate, editors)
    frames = _with_progress(frames, f"edit to {target}", len(track), progress)
    if mark:
        frames = mark_frames(frames, target)

    note = EditNote(
        emotion=target,
        intensity=describe_intensity(curve),
        source_emotion="" if source_emotion is None else describe_mixture(source_emotion),
        editor=editor.card.name,
        version=kit_version(),
        edited_frames=int((strength > 0).sum()),
        frames=len(track),
    )
    metadata = note_metadata(note, inspection.metadata)
    metadata["title"] = f"{source.stem} edited to {target}, intensity {note.intensity}"
    write_edit(source, frames, out, metadata, say)
    return out


def _with_progress(
    frames: Iterable[np.ndarray], title: str, total: int | None, progress: bool
) -> Iterator[np.ndarray]:
    """The frames, with a progress bar of them."""
    return iter(tqdm(frames, title, total, unit="frame", mininterval=2, disable=not progress))


def editors_of_stretches(
    editor: Editor,
    source: Path,
    track: FaceTrack,
    weights: torch.Tensor,
    frame_rate: float = TRAINED_RATE,
) -> EditorOfStretch:
    """The editor of each stretch of a shot, which has looked at the face there.

    The file is decoded up to ten seconds into the last shot: 24 frames of each shot are cropped and
    read, which takes .1 seconds a shot.

    Args:
        editor: of `load_editor`; one that looks at no clip before is not asked.
        source: the video.
        track: where the face is.
        weights: (1, 8), or (2, 8) with the source's.
        frame_rate: Hz.

    Returns:
        Nothing for editors that look at no clip before.
    """
    if not isinstance(editor, ClipEditor):
        return {}

    editors: EditorOfStretch = {}
    remaining = single_frames(source)
    position = 0
    for stretch in track.stretches:
        if stretch.alignment is None:
            continue
        count = min(len(stretch), max(1, round(FACE_SECONDS * frame_rate)))
        numbers = set(spread(count, FACE_FRAMES).tolist())
        size = crop_size(stretch.alignment)

        seen = []
        for index, frame in enumerate(islice(remaining, stretch.start - position, None)):
            if index in numbers:
                [face] = crop([frame], stretch.alignment.part(index, index + 1), size)
                seen.append(face)
            if index == count - 1:
                break
        position = stretch.start + count
        editors[stretch.start] = editor_of_clip(editor, np.stack(seen), weights)

    return editors


def edited_track(
    editor: Editor,
    frames: Iterable[np.ndarray],
    track: FaceTrack,
    weights: torch.Tensor,
    curve: np.ndarray,
    frame_rate: float = TRAINED_RATE,
    editors: EditorOfStretch | None = None,
) -> Iterator[np.ndarray]:
    """All frames of a video, one by one, each stretch of a shot edited by itself.

    Frames that cannot be edited are the source's, to the bit.

    Args:
        editor: of `load_editor`.
        frames: (H, W, 3) uint8 each.
        track: where the face is, and which frames stay.
        weights: (1, 8), or (2, 8) with the source's, see `emotion_weights`.
        curve: (T,) intensity.
        frame_rate: Hz.
        editors: of `editors_of_stretches`; a stretch that is not there takes `editor`.
    """
    known = editors or {}
    remaining = iter(frames)
    for stretch in track.stretches:
        part = islice(remaining, len(stretch))
        if stretch.alignment is None:
            yield from part
            continue
        own, own_weights = known.get(stretch.start, (editor, weights))
        own_curve = curve[stretch.start : stretch.stop]
        yield from edited_frames(own, part, stretch.alignment, own_weights, own_curve, frame_rate)


def edited_frames(
    editor: Editor,
    frames: Iterable[np.ndarray],
    alignment: Alignment,
    weights: torch.Tensor,
    curve: np.ndarray,
    frame_rate: float = TRAINED_RATE,
) -> Iterator[np.ndarray]:
    """Full frames, one by one, with the edited face put back.

    Those of intensity 0 are the source's, to the bit.

    Args:
        editor: of `load_editor`.
        frames: (H, W, 3) uint8 each.
        alignment: where the face is in each of them.
        weights: (1, 8), or (2, 8) with the source's, see `emotion_weights`.
        curve: (T,) intensity.
        frame_rate: Hz.
    """
    remaining = iter(frames)
    first_frame = next(remaining)
    chunk = min(CHUNK, max(MIN_CHUNK, MAX_BUFFER_BYTES // first_frame.nbytes))
    source = chain([first_frame], remaining)
    del first_frame

    # Not `tee`: that keeps 57 frames however few are needed.
    waiting: deque[np.ndarray] = deque()
    crops = _crop_frames(source, alignment, waiting)

    edits = edit_stream(editor, crops, weights, curve, frame_rate, chunk)
    for index, face in enumerate(edits):
        frame = waiting.popleft()
        if curve[index] != 0:
            frame_alignment = alignment.part(index, index + 1)
            [frame] = paste([frame], face[None], frame_alignment)
        yield frame


def _crop_frames(
    frames: Iterable[np.ndarray], alignment: Alignment, waiting: deque[np.ndarray]
) -> Iterator[np.ndarray]:
    """The face of each frame; the frame itself is appended to `waiting`."""
    size = crop_size(alignment)

    for index, frame in enumerate(frames):
        waiting.append(frame)
        frame_alignment = alignment.part(index, index + 1)
        [face] = crop([frame], frame_alignment, size)
        yield face


def crop_size(alignment: Alignment) -> int:
    """Pixels a side that lose nothing: the face's median size in the frames, a multiple of 16."""
    axes = alignment.transforms[:, :, :2]
    scale = np.median(np.linalg.norm(axes, axis=1).max(axis=1))
    size = np.ceil(scale * CROP_SIZE / 16) * 16
    return int(np.clip(size, MIN_CROP_SIZE, MAX_CROP_SIZE))
