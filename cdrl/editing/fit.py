"""The fit of an editor to the clips of a folder, and the figure that says whether it helped.

The facial-action editor's renderer learns from any clips, without labels (`frame_pairs`). Part of
them is left out: there the renderer draws frames from other frames before and after the fit. A fit
that does not come nearer to them is not kept. What was fitted lies in a folder of its own, with the
checksums of the clips, and is taken from there the next time; a fit that was stopped is resumed.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from cdrl.core.checkpoint import load_weights, save_weights
from cdrl.core.errors import InputError
from cdrl.core.files import check_disk, exclusive, read_json, write_json
from cdrl.core.weight_files import checksum
from cdrl.corpora.scan import VIDEO_SUFFIXES
from cdrl.editing.control import Mixture
from cdrl.editing.disclosure import NOTE_KEY
from cdrl.editors.base import Editor
from cdrl.editors.default_editor import DefaultEditor, code_sum
from cdrl.editors.frame_pairs import (
    CROP,
    LEAST_FRAMES,
    TrackedClip,
    fit_renderer,
    kept_movement,
    redrawing_errors,
    tracked_clip,
)
from cdrl.media.faces import align, crop
from cdrl.media.inspection import in_worker
from cdrl.media.video import read_metadata, read_video_stream
from cdrl.models.action_renderer import ActionRenderer
from cdrl.models.image_editor import ImageEditor

VERSION = 1  # counts up whenever the same clips would be fitted otherwise
STEPS = 400
SECONDS_A_STEP = 0.3  # of one core
FRAME_RATE = 25.0  # Hz
LONGEST = 20.0  # seconds of a clip that are read
MOST_CLIPS = 48  # of a folder, evenly spread over its names
LEFT_OUT = 3  # every third clip is left out; of one or two clips the last third
# A fit is kept where the error falls by this share at least, and by two standard errors, while the
# editor's own changes still move so much.
LEAST_GAIN = 0.01
STANDARD_ERRORS = 2.0
LEAST_MOVEMENT = 0.9
NEEDED_GB = 0.05
REPORT = "fit.json"
WEIGHTS = "renderer.safetensors"


@dataclass(frozen=True)
class FitReport:
    """What a fit did on frames that were left out; errors are of 255, inside the face.

    Attributes:
        unchanged: error of the frame that is drawn from, without any warp.
        before: error of what the renderer drew before the fit.
        after: error of what it draws after the fit.
        standard_error: of the difference of the two.
        movement: share of the movement of the editor's own changes that the fit leaves.
        pairs: of frames.
        clips: that were left out; 0: the last third of each.
        learnt: clips that were learnt from.
        seconds: of them.
    """

    unchanged: float
    before: float
    after: float
    standard_error: float
    movement: float
    pairs: int
    clips: int
    learnt: int
    seconds: float

    @property
    def helped(self) -> bool:
        """Whether the fit is kept."""
        gain = self.before - self.after
        nearer = gain >= max(LEAST_GAIN * self.before, STANDARD_ERRORS * self.standard_error)
        return bool(nearer and self.movement >= LEAST_MOVEMENT)

    def describe(self) -> str:
        """The figures and what follows from them, in one line."""
        of = f"{self.clips} clips left out" if self.clips else "the last third, left out"
        line = (
            f"fit: redrawing frames of {of} errs by {self.after:.2f} of 255, {self.before:.2f} "
            f"before the fit, {self.unchanged:.2f} without any warp (n {self.pairs} pairs, "
            f"standard error of the gain {self.standard_error:.2f}); the edits keep "
            f"{self.movement:.2f} of their movement"
        )
        if self.helped:
            return f"{line}: kept"
        return f"{line}: it did not help, and is not kept"


def fit_to_folder(
    editor: DefaultEditor,
    folder: Path,
    out: Path,
    steps: int = STEPS,
    say: Callable[[str], None] = print,
) -> DefaultEditor:
    """Fit the facial-action editor to the clips of a folder; no labels are needed.

    Args:
        editor: stays as it is.
        folder: of videos that show one face each, sub-folders too; any names. What cannot be used
            is said.
        out: folder of the fits. Each set of clips has a folder of its own there, in which a fit is
            found again, or resumed.
        steps: of training.
        say: called with lines: the cost, what is left out, and whether the fit helped.

    Returns:
        A fitted copy of the editor; the editor itself where the fit did not help.

    Raises:
        InputError: a folder without a clip to learn from.
    """
    videos = find_videos(Path(folder))
    work = Path(out) / f"fit-{_key(editor, videos, steps)}"
    check_disk(work, NEEDED_GB)
    work.mkdir(parents=True, exist_ok=True)
    with exclusive(work):
        if not (work / REPORT).exists():
            _make_fit(editor, Path(folder), videos, work, steps, say)
        report = FitReport(**read_json(work / REPORT, dict))
        say(f"{report.describe()} ({work})")
        if not report.helped:
            return editor

        renderer = load_weights(str(work / WEIGHTS), ActionRenderer(**_renderer_of(editor).config))
    return editor.with_renderer(renderer, f"{editor.card.name}, {work.name}")


def find_videos(folder: Path) -> list[Path]:
    """The videos of a folder and its sub-folders, by name; at most `MOST_CLIPS`.

    Edits that this kit made are not among them: nobody looked so.

    Args:
        folder: any.

    Raises:
        InputError: no such folder, or none with a video.
    """
    if not folder.is_dir():
        raise InputError(f"--fit {folder}: no such folder; give one of videos of this person")
    videos = []
    for path in sorted(folder.rglob("*")):
        is_video = path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()
        if is_video and not _is_edit(path):
            videos.append(path)
    if not videos:
        accepted = ", ".join(VIDEO_SUFFIXES)
        raise InputError(f"--fit {folder}: no video in it; files that end in {accepted} are read")

    number = min(len(videos), MOST_CLIPS)
    chosen = np.linspace(0, len(videos) - 1, number).round().astype(int)
    return [videos[index] for index in chosen]


def _is_edit(path: Path) -> bool:
    """Whether a video says that this kit edited it."""
    try:
        return NOTE_KEY in read_metadata(path)
    except InputError:
        return False


def _key(editor: DefaultEditor, videos: Sequence[Path], steps: int) -> str:
    """Twelve digits that change with the clips, the networks and the way of fitting."""
    digest = hashlib.sha256(f"{VERSION} {steps} {code_sum()}".encode())
    for value in editor.state_dict().values():
        digest.update(value.numpy().tobytes())
    for video in videos:
        digest.update(checksum(video).encode())
    return digest.hexdigest()[:12]


def _renderer_of(editor: DefaultEditor) -> ActionRenderer:
    return editor.renderer


def _make_fit(
    editor: DefaultEditor,
    folder: Path,
    videos: Sequence[Path],
    work: Path,
    steps: int,
    say: Callable[[str], None],
) -> None:
    """Read the clips, fit and measure; the report is written last."""
    clips = _read_clips(editor, folder, videos, say)
    learnt, left_out, num_clips = split_clips(clips)
    seconds = sum(len(clip) for clip in learnt) / FRAME_RATE
    minutes = max(1, round(steps * SECONDS_A_STEP / 60))
    say(
        f"fit: {len(learnt)} clips, {seconds:.0f} s, {steps} steps: about {minutes} minutes of one "
        "core; it can be stopped, and goes on where it was"
    )

    before = _renderer_of(editor)
    after, _ = fit_renderer(before, learnt, steps, work)
    save_weights(work / WEIGHTS, after, {"model": after.config, "clips": len(learnt)})
    after = load_weights(str(work / WEIGHTS), ActionRenderer(**after.config))
    report = measure_fit(before, after, left_out, num_clips, len(learnt), seconds)
    write_json(work / REPORT, report.__dict__)
    (work / "checkpoint.pt").unlink(missing_ok=True)


def split_clips(clips: Sequence[TrackedClip]) -> tuple[list[TrackedClip], list[TrackedClip], int]:
    """What is learnt from, what is left out, and how many whole clips that is.

    Args:
        clips: of the folder; every third one is left out, of one or two clips the last third.
    """
    if len(clips) >= LEFT_OUT:
        left_out = list(clips[LEFT_OUT - 1 :: LEFT_OUT])
        learnt = [clip for number, clip in enumerate(clips) if number % LEFT_OUT != LEFT_OUT - 1]
        return learnt, left_out, len(left_out)

    learnt = []
    left_out = []
    for clip in clips:
        end = len(clip) * (LEFT_OUT - 1) // LEFT_OUT
        learnt.append(clip.part(0, end))
        left_out.append(clip.part(end, len(clip)))
    return learnt, left_out, 0


def measure_fit(
    before: ActionRenderer,
    after: ActionRenderer,
    left_out: Sequence[TrackedClip],
    num_clips: int,
    learnt: int,
    seconds: float,
) -> FitReport:
    """Redraw frames that were left out, before and after a fit.

    Args:
        before: the renderer before the fit.
        after: the renderer after it.
        left_out: clips, or parts of clips, that were not learnt from.
        num_clips: that were left out as a whole.
        learnt: clips that were learnt from.
        seconds: of them.
    """
    errors = redrawing_errors([before, after], left_out)
    unchanged, error_before, error_after = errors.mean(0)
    gain = errors[:, 1] - errors[:, 2]
    return FitReport(
        unchanged=round(float(unchanged), 4),
        before=round(float(error_before), 4),
        after=round(float(error_after), 4),
        standard_error=round(float(gain.std() / np.sqrt(len(gain))), 4),
        movement=round(kept_movement(before, after, left_out), 4),
        pairs=len(errors),
        clips=num_clips,
        learnt=learnt,
        seconds=seconds,
    )


def _read_clips(
    editor: DefaultEditor, folder: Path, videos: Sequence[Path], say: Callable[[str], None]
) -> list[TrackedClip]:
    """The faces of the clips; those that cannot be used cost a line each."""
    least = LEAST_FRAMES * LEFT_OUT if len(videos) < LEFT_OUT else LEAST_FRAMES
    clips = []
    for video in videos:
        try:
            crops = in_worker(read_crops, video, video)
            if len(crops) < least:
                raise InputError(
                    f"{video}: {len(crops) / FRAME_RATE:.1f} s are too short to learn from, "
                    f"{least / FRAME_RATE:.1f} are needed; give a longer clip"
                )
        except InputError as error:
            say(f"fit: left out {error}")
            continue
        clips.append(tracked_clip(editor, crops, video.stem))

    if not clips:
        raise InputError(
            f"--fit {folder}: no clip to learn from, the reasons are above; give videos that show "
            "one face for a second or more"
        )
    return clips


def read_crops(path: Path) -> np.ndarray:
    """The face of the first seconds of a video, at 25 Hz.

    Args:
        path: of the file.

    Returns:
        (T, C, C, 3) uint8 RGB, aligned.

    Raises:
        InputError: a file that cannot be read, or that does not show one face.
    """
    frames = []
    for part in read_video_stream(path, FRAME_RATE, chunk=1):
        frames.append(part[0])
        if len(frames) >= LONGEST * FRAME_RATE:
            break
    return crop(frames, align(frames, name=str(path)), CROP)


def fit_for_edit(
    editor: Editor,
    folder: Path,
    source: Path,
    emotion: str | Mixture,
    out: Path,
    guidance: str | Path | None = None,
    say: Callable[[str], None] = print,
) -> Editor:
    """The fit that `cdrl edit --fit` makes: of the facial-action editor, or of the image editor.

    Args:
        editor: stays as it is.
        folder: of clips of the person.
        source: the clip that will be edited, or a folder of clips; the image editor takes one clip.
        emotion: what it will be edited to.
        out: the edited video or folder; fits lie in `fits` beside it.
        guidance: the run whose encoders guide the fit of an image editor.
        say: called with lines.

    Raises:
        InputError: an editor that takes no fit; as `fit_to_folder` and `fit_image_editor`.
    """
    if isinstance(editor, DefaultEditor):
        return fit_to_folder(editor, folder, Path(out).parent / "fits", say=say)
    if not editor.can_fit:
        raise InputError(
            f"--fit: {editor.card.name} takes no fit; the editors actions (the default) and image "
            "take one"
        )
    if source.is_dir():
        raise InputError(
            f"--fit: goes with one video where the image editor is fitted; {source} is a folder"
        )
    from cdrl.editing.image_fit import fit_image_editor  # imports CDRL guidance

    image_editor = cast(ImageEditor, editor)
    strongest = emotion if isinstance(emotion, str) else max(emotion, key=emotion.__getitem__)
    return fit_image_editor(image_editor, folder, source, strongest, guidance=guidance)
