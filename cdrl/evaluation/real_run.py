"""Every clip of a few people edited to every emotion, and read; resumable, clip by clip.

An edit is made as `cdrl edit` makes it, from the first two seconds of a clip. It is written as a
video, and what is scored is that video.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cdrl.core.checkpoint import weights_path
from cdrl.core.errors import InputError
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.core.weight_files import checksum
from cdrl.editing.pipeline import crop_size, edit_clip
from cdrl.editors.actions import DEFAULT_RENDERER, MANIPULATOR, RENDERER
from cdrl.editors.base import Editor
from cdrl.editors.default_editor import code_sum
from cdrl.editors.loading import CALIBRATED, IMAGE_EDITOR, load_editor
from cdrl.evaluation.face_geometry import track_mesh
from cdrl.evaluation.real_clips import NEUTRAL, SECONDS, Footage, PersonClip, clip_sum, read_footage
from cdrl.evaluation.real_networks import RealNetworks
from cdrl.evaluation.real_scores import FaceReading, PersonEdit, load_reading, save_reading
from cdrl.media.encoding import write_video
from cdrl.media.faces import CROP_SIZE, Alignment, align, crop, paste
from cdrl.media.video import read_video_stream
from cdrl.priors.actions import ACTION_TRACKER
from cdrl.studio.acting import ClipSpec, act, true_edit
from cdrl.studio.articulation import FRAME_RATE
from cdrl.studio.corpus import name_of, render_performance, smoke_specs

VERSION = 1  # counts up whenever the same clip would be read differently
TARGETS = tuple(name for name in SCORED_EMOTIONS if name != NEUTRAL)
FRAMES_READ = 6  # by the networks, spread over the clip
CROP_READ = 224  # pixels a side of the crops that the networks see
INTENSITY = 1.0
STRONGEST = 3  # the studio's level that intensity 1 means
STUDIO_SIZE = 256  # pixels a side of the studio's frames
COPY = "copy"
TRUE = "true"
PLAIN = "actions_plain"
# name -> what `load_editor` takes; None: no editor
EDITORS: dict[str, str | None] = {
    "actions": CALIBRATED,
    PLAIN: RENDERER,
    "image": IMAGE_EDITOR,
    COPY: None,
}
# name -> committed weights that its edits depend on
WEIGHTS: dict[str, tuple[str, ...]] = {
    "actions": (DEFAULT_RENDERER, MANIPULATOR, ACTION_TRACKER),
    PLAIN: (RENDERER, MANIPULATOR, ACTION_TRACKER),
    "image": (IMAGE_EDITOR,),
}


@dataclass(frozen=True)
class Subject:
    """One person and what they do.

    Attributes:
        person: name.
        read: gives the footage of the source.
        key: changes when the source does.
        stem: name of the source's file without its ending.
        true_edit: emotion -> frames of the true edit, of a person of the studio.
    """

    person: str
    read: Callable[[], Footage]
    key: str
    stem: str
    true_edit: Callable[[str], np.ndarray] | None = None


@dataclass(frozen=True)
class Work:
    """Where readings and videos are kept.

    Attributes:
        folder: of the user's machine; videos of altered people are not to be passed on.
        kind: "real" or "studio".
    """

    folder: Path
    kind: str

    def video(self, editor: str, person: str, emotion: str) -> Path:
        """The video of an edit, or of a source."""
        return self.folder / self.kind / editor / person / f"{emotion}.mp4"

    def reading(self, editor: str, person: str, emotion: str) -> Path:
        """What was read in it."""
        return self.video(editor, person, emotion).with_suffix(".npz")


def real_subjects(people: Sequence[PersonClip]) -> list[Subject]:
    """The people of a folder."""
    subjects = []
    for clip in people:
        read = partial(read_footage, clip.path)
        subjects.append(Subject(clip.person, read, clip_sum(clip.path), clip.path.stem))

    return subjects


def studio_subjects(number: int) -> list[Subject]:
    """People of the studio whom nothing was trained on, one neutral clip each.

    Args:
        number: 1 to 8; their speech is committed.

    Raises:
        InputError: for another number.
    """
    of_people: dict[int, ClipSpec] = {}
    for spec in smoke_specs():
        if spec.emotion == NEUTRAL:
            of_people.setdefault(spec.person, spec)

    if not 1 <= number <= len(of_people):
        raise InputError(f"--studio {number}: 1 to {len(of_people)} people of the studio are there")
    subjects = []
    for person in sorted(of_people)[:number]:
        spec = of_people[person]
        name = f"{person:04d}"
        read = partial(_act, spec)
        render_true_edit = partial(_true_frames, spec)
        subjects.append(Subject(name, read, name_of(spec), name_of(spec), render_true_edit))

    return subjects


def _act(spec: ClipSpec) -> Footage:
    """The footage of a clip of the studio."""
    frames, _ = render_performance(spec, act(spec), STUDIO_SIZE)
    frames = frames[: round(SECONDS * FRAME_RATE)]
    return Footage(frames, align(frames, name=str(spec.person)), FRAME_RATE)


def _true_frames(spec: ClipSpec, emotion: str) -> np.ndarray:
    """The frames of its true edit at level 3."""
    frames, _ = render_performance(spec, true_edit(spec, emotion, STRONGEST), STUDIO_SIZE)
    return frames[: round(SECONDS * FRAME_RATE)]


class EditSource:
    """Where the frames of an edit come from: an editor, the source, its true edit, or files.

    Args:
        name: of `EDITORS`, "true", or the name of a folder of edits.
        made: that folder, with EMOTION/CLIP.mp4; None where the edits are made here.
        editor: an editor in place of the committed one.
    """

    def __init__(self, name: str, made: Path | None = None, editor: Editor | None = None) -> None:
        self.name = name
        self.made = made
        self.editor = editor
        weights = EDITORS.get(name)
        if editor is None and made is None and weights is not None:
            self.editor = load_editor(weights)

        if self.editor is not None and self.editor.card.crop != "aligned":
            raise InputError(
                f"--editor {name}: it takes {self.editor.card.crop} crops, aligned ones are scored"
            )

    def shown(self, emotion: str) -> str:
        """What its frames show when an emotion is asked for: a copy stays as it is."""
        return NEUTRAL if self.name == COPY else emotion

    def key(self, subject: Subject, emotion: str) -> str:
        """What an edit was made from; the same for the same edit."""
        parts = [str(VERSION), subject.key, self.name, self.shown(emotion)]
        if self.made is not None:
            parts.append(clip_sum(self.file(subject, emotion)))
        for weights in WEIGHTS.get(self.name, ()):
            parts.append(checksum(weights_path(weights))[:12])
        if EDITORS.get(self.name) == CALIBRATED:
            parts.append(code_sum())

        return "-".join(parts)

    def file(self, subject: Subject, emotion: str) -> Path:
        """The video of an edit that was made before.

        Raises:
            InputError: where there is none.
        """
        assert self.made is not None
        path = self.made / emotion / f"{subject.stem}.mp4"
        if not path.is_file():
            raise InputError(
                f"{path}: no such edit; cdrl edit CLIPS {emotion} --from {NEUTRAL} --out "
                f"{self.made / emotion} makes those of a folder"
            )
        return path

    def frames(self, subject: Subject, footage: Footage, emotion: str) -> np.ndarray:
        """(T, H, W, 3) uint8: the frames of an edit."""
        if self.name == TRUE:
            assert subject.true_edit is not None
            return subject.true_edit(emotion)
        if self.made is not None:
            return read_frames(self.file(subject, emotion), len(footage.frames))
        if self.editor is None:
            return footage.frames

        size = crop_size(footage.alignment)
        crops = crop(footage.frames, footage.alignment, size)
        edited = edit_clip(
            self.editor, crops, emotion, INTENSITY, footage.frame_rate, source_emotion=NEUTRAL
        )
        return paste(footage.frames, edited, footage.alignment)


def read_frames(path: Path, count: int) -> np.ndarray:
    """The first frames of a video.

    Args:
        path: the file.
        count: T.

    Returns:
        (T, H, W, 3) uint8 RGB.

    Raises:
        InputError: for a video with fewer frames.
    """
    frames = []
    for part in read_video_stream(path, frame_rate=None, chunk=1):
        frames.append(part[0])
        if len(frames) == count:
            return np.stack(frames)

    raise InputError(
        f"{path}: {len(frames)} frames, its source has {count}; edit that source once more"
    )


class RealRun:
    """The edits and readings of some people.

    Args:
        work: where they are kept.
        subjects: the people.
        emotions: to edit to, of `TARGETS`.
    """

    def __init__(self, work: Work, subjects: Sequence[Subject], emotions: Sequence[str]) -> None:
        self.work = work
        self.subjects = subjects
        self.emotions = emotions
        self.networks = RealNetworks()
        self._footage: tuple[str, Footage] | None = None

    def missing(self, sources: Sequence[EditSource]) -> int:
        """How many edits are still to be made and read."""
        count = 0
        for source in sources:
            shown = {source.shown(emotion) for emotion in self.emotions}
            for subject in self.subjects:
                for emotion in sorted(shown):
                    count += self._kept(source, subject, emotion) is None

        return count

    def edits(self, source: EditSource) -> Iterator[PersonEdit]:
        """Every person edited to every emotion, read; what is kept is not made again."""
        for subject in self.subjects:
            of_source = self.source_reading(subject)
            for emotion in self.emotions:
                reading = self._kept(source, subject, emotion)
                if reading is None:
                    reading = self._make(source, subject, emotion)
                yield PersonEdit(subject.person, emotion, of_source, reading)

    def key(self, text: str) -> str:
        """What a reading is kept under: its clip, and the networks that read it."""
        return f"{text}-{self.networks.fingerprint}"

    def _kept(self, source: EditSource, subject: Subject, emotion: str) -> FaceReading | None:
        """The reading of an edit that was made before."""
        path = self.work.reading(source.name, subject.person, source.shown(emotion))
        return load_reading(path, self.key(source.key(subject, emotion)))

    def source_reading(self, subject: Subject) -> FaceReading:
        """The reading of a source, made where it is missing."""
        key = self.key(f"{VERSION}-{subject.key}")
        path = self.work.reading("source", subject.person, NEUTRAL)
        kept = load_reading(path, key)
        if kept is not None:
            return kept

        footage = self.footage(subject)
        video = self.work.video("source", subject.person, NEUTRAL)
        write_video(video, footage.frames, footage.frame_rate)
        reading = read_face(footage.frames, footage, self.networks)
        save_reading(reading, path, key)

        return reading

    def _make(self, source: EditSource, subject: Subject, emotion: str) -> FaceReading:
        """Make an edit, write its video and read it."""
        footage = self.footage(subject)
        frames = source.frames(subject, footage, emotion)

        if source.made is None:
            video = self.work.video(source.name, subject.person, source.shown(emotion))
            write_video(video, frames, footage.frame_rate)
            frames = read_frames(video, len(frames))
        height, width = footage.frames.shape[1:3]
        reading = read_face(frames[:, :height, :width], footage, self.networks)

        path = self.work.reading(source.name, subject.person, source.shown(emotion))
        save_reading(reading, path, self.key(source.key(subject, emotion)))

        return reading

    def footage(self, subject: Subject) -> Footage:
        """The footage of one person; that of the last one is kept."""
        if self._footage is None or self._footage[0] != subject.person:
            self._footage = (subject.person, subject.read())

        return self._footage[1]


def read_face(frames: np.ndarray, footage: Footage, networks: RealNetworks) -> FaceReading:
    """Everything that is read in the frames of a source or of its edit.

    Args:
        frames: (T, H, W, 3) uint8 RGB.
        footage: of the source; says where the face is.
        networks: those of expressions and identity.
    """
    alignment = footage.alignment
    numbers = np.linspace(0, len(frames) - 1, FRAMES_READ).round().astype(int)
    some = Alignment(alignment.transforms[numbers], alignment.mouth_box)
    crops = crop(frames[numbers], some, CROP_READ)

    return FaceReading(
        probabilities=networks.expressions(crops),
        identity=networks.identity(crops),
        landmarks=networks.landmarks(crops),
        points=track_mesh(frames, alignment),
        background=background_change(frames, footage),
    )


def background_change(frames: np.ndarray, footage: Footage) -> float:
    """Mean change of the pixels outside the face's crop, of 255; nan where it fills the frame.

    Args:
        frames: (T, H, W, 3) uint8 of the edit.
        footage: of the source.
    """
    height, width = frames.shape[1:3]
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    pixels = np.stack([x.ravel(), y.ravel()])

    total = 0.0
    count = 0
    for frame, source, transform in zip(
        frames, footage.frames, footage.alignment.transforms, strict=True
    ):
        inverse = np.linalg.inv(transform[:, :2])
        in_crop = inverse @ (pixels - transform[:, 2:])
        is_outside = ((in_crop < 0) | (in_crop > CROP_SIZE)).any(0).reshape(height, width)

        change = np.abs(frame[is_outside].astype(int) - source[is_outside].astype(int))
        total += float(change.sum())
        count += change.size

    return total / count if count else float("nan")


def acted_edits(
    run: RealRun, people: Sequence[PersonClip], readings: Mapping[str, FaceReading]
) -> list[PersonEdit]:
    """The clips in which a person acts an emotion, beside that person's neutral one.

    Args:
        run: reads them.
        people: of the folder.
        readings: person -> what was read in the neutral clip.
    """
    edits = []
    for clip in people:
        for emotion, path in clip.acted.items():
            if emotion not in run.emotions:
                continue
            key = run.key(f"{VERSION}-{clip_sum(path)}")
            kept = run.work.reading("acted", clip.person, emotion)
            reading = load_reading(kept, key)
            if reading is None:
                footage = read_footage(path)
                reading = read_face(footage.frames, footage, run.networks)
                save_reading(reading, kept, key)
            edits.append(PersonEdit(clip.person, emotion, readings[clip.person], reading))

    return edits
