"""The command `cdrl edit`: one video or a folder of them, to an emotion, mixture, text or clip."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cdrl.core.errors import InputError
from cdrl.core.files import check_disk
from cdrl.core.vocabulary import emotion_index
from cdrl.editing.control import (
    IntensityCurve,
    describe_mixture,
    emotion_weights,
    read_reference,
    read_text,
)
from cdrl.editing.output_paths import check_out_file, check_out_folder
from cdrl.editing.pipeline import edit_video
from cdrl.editing.sight import face_choice
from cdrl.editors.base import Editor
from cdrl.editors.loading import DEFAULT_EDITOR, load_editor
from cdrl.media.inspection import in_worker, rehearse
from cdrl.media.tracks import FaceChoice

NEEDED_GB = 0.1
LONGEST_REASON = 300  # characters of an unforeseen error
MOST_SKIPPED = 8  # files that are named, of those that are no videos

Emotion = str | dict[str, float]  # a name, or a mixture {name: weight}


@dataclass(frozen=True)
class EditJob:
    """One video and where its edit goes.

    Attributes:
        source: the video.
        out: the edited video.
    """

    source: Path
    out: Path


@dataclass(frozen=True)
class FolderPlan:
    """The edits of a folder.

    Attributes:
        jobs: one for each video.
        skipped: names of what is there and is no video.
    """

    jobs: list[EditJob]
    skipped: list[str]


@dataclass(frozen=True)
class EditPlan:
    """What is done with every video.

    Attributes:
        editor: edits the face.
        emotion: that the edit shows.
        intensity: one number, or a curve over time.
        source_emotion: that the source shows, where it is known.
        compare: whether a comparison is written too.
        truth: a video of the true edit, for the comparison.
        face: which of several faces; None: the widest.
        mark: whether the pictures say that they are synthetic.
    """

    editor: Editor
    emotion: Emotion
    intensity: float | IntensityCurve
    source_emotion: Emotion | None
    compare: bool
    truth: Path | None
    face: FaceChoice | None
    mark: bool


def edit(arguments: argparse.Namespace) -> None:
    """Edit a video, or every video of a folder.

    Args:
        arguments: of the command.

    Raises:
        InputError: for what cannot be used; it is checked before anything is computed.
    """
    _check_emotion_arguments(arguments)
    emotion_text = arguments.positional_emotion or arguments.emotion
    emotion = parse_mixture(emotion_text) if emotion_text else None
    source_emotion = None
    if arguments.source_emotion:
        source_emotion = parse_mixture(arguments.source_emotion)
    intensity = _intensity(arguments)
    face = face_choice(arguments.face)
    for file in (arguments.reference, arguments.truth):
        if file and not Path(file).is_file():
            raise InputError(f"{file}: no such video file")

    source = Path(arguments.source)
    out = Path(arguments.out)
    if source.is_dir():
        folder_plan = _plan_folder(source, out, arguments)
    else:
        job = _plan_file(source, out, arguments)
    check_disk(out.parent, NEEDED_GB, done=[])
    if arguments.truth:
        truth = Path(arguments.truth)
        in_worker(rehearse, truth, truth)

    editor = load_editor(arguments.generator or DEFAULT_EDITOR)
    if emotion is None:
        emotion = read_emotion(arguments, editor.card.emotions)
    if arguments.fit:
        from cdrl.editing.fit import fit_for_edit  # imports all that trains

        editor = fit_for_edit(
            editor, Path(arguments.fit), source, emotion, out, arguments.guidance, say=_say
        )

    plan = EditPlan(
        editor=editor,
        emotion=emotion,
        intensity=intensity,
        source_emotion=source_emotion,
        compare=arguments.compare or bool(arguments.truth),
        truth=Path(arguments.truth) if arguments.truth else None,
        face=face,
        mark=arguments.mark,
    )
    if source.is_dir():
        _edit_folder(source, out, folder_plan, plan)
    else:
        _edit_one(job, plan)


def _check_emotion_arguments(arguments: argparse.Namespace) -> None:
    """Refuse no emotion, and more than one."""
    choices = (arguments.positional_emotion, arguments.emotion, arguments.text, arguments.reference)
    given = [choice for choice in choices if choice is not None]
    if len(given) != 1:
        raise InputError(
            "edit: exactly one of --emotion, --text and --reference is needed, as in --emotion "
            "happy"
        )


def _intensity(arguments: argparse.Namespace) -> float | IntensityCurve:
    """The intensity of the edit: 1, or what --intensity or --curve says."""
    if arguments.curve is None:
        return 1.0 if arguments.intensity is None else arguments.intensity
    if arguments.intensity is not None:
        raise InputError("edit: --curve says the intensity, leave --intensity out")

    return IntensityCurve.from_text(arguments.curve, "--curve")


def parse_mixture(text: str) -> Emotion:
    """Read an emotion: a name as it is; "happy:0.7,surprised:0.3" as {name: weight}.

    Args:
        text: as it was typed.

    Raises:
        InputError: for words that are no emotion, one that is named twice, and weights that are
            no positive, finite numbers.
    """
    if ":" not in text:
        emotion_index(text)
        return text

    remedy = (
        f"--emotion {text}: a weight above 0 behind every name is needed, as in "
        "happy:0.7,surprised:0.3"
    )
    mixture = {}
    for part in text.split(","):
        name, _, weight = part.strip().partition(":")
        emotion_index(name)
        if name in mixture:
            raise InputError(
                f"--emotion {text}: {name} is named twice; give every emotion once, with one weight"
            )
        mixture[name] = _number(weight, remedy)
    emotion_weights(mixture)  # refuses weights that cannot be mixed
    return mixture


def _number(text: str, remedy: str) -> float:
    """Read a number; `remedy` is the message where it is none."""
    try:
        return float(text)
    except ValueError:
        raise InputError(remedy) from None


def _plan_file(source: Path, out: Path, arguments: argparse.Namespace) -> EditJob:
    """The edit of one file; refuses paths that do not fit together."""
    if not source.is_file():
        raise InputError(f"{source}: no such video file")
    check_out_file(source, out)
    if arguments.compare or arguments.truth:
        check_out_file(source, _comparison_path(out))
    return EditJob(source, out)


def _plan_folder(source: Path, out: Path, arguments: argparse.Namespace) -> FolderPlan:
    """The edits of every video of a folder."""
    if arguments.truth:
        raise InputError(f"--truth: goes with one video; {source} is a folder")
    from cdrl.corpora.scan import VIDEO_SUFFIXES  # imports pandas

    videos = []
    skipped = []
    for path in sorted(source.iterdir()):
        is_video = path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir()
        if is_video:
            videos.append(path)
        else:
            skipped.append(path.name)
    if not videos:
        accepted = ", ".join(VIDEO_SUFFIXES)
        raise InputError(f"{source}: no video in it; files that end in {accepted} are edited")
    if out.suffix == ".mp4":
        raise InputError(f"--out {out}: {source} is a folder, so a folder for the edits is needed")
    check_out_folder(out)
    if out.exists() and out.samefile(source):
        raise InputError(f"--out {out}: is the folder of the sources; give another one")
    return FolderPlan(_name_edits(videos, out), skipped)


def _name_edits(videos: list[Path], out: Path) -> list[EditJob]:
    """One edit for each video, named as the video; the whole name where two would be alike."""
    stems = [path.stem.casefold() for path in videos]
    names = []
    for path in videos:
        is_alone = stems.count(path.stem.casefold()) == 1
        names.append(path.stem if is_alone else path.name)
    if len(set(names)) < len(names):
        names = [path.name for path in videos]
    return [EditJob(path, out / f"{name}.mp4") for path, name in zip(videos, names, strict=True)]


def _comparison_path(out: Path) -> Path:
    """Where the comparison of an edit goes."""
    return out.with_name(f"{out.stem}-compare.mp4")


def read_emotion(arguments: argparse.Namespace, emotions: Sequence[str]) -> dict[str, float]:
    """Read and print the mixture that --text or --reference means.

    Args:
        arguments: of the command.
        emotions: that the editor learnt.

    Returns:
        {name: weight}.
    """
    from cdrl.representation.guidance import Guidance  # imports every prior

    guidance = Guidance(arguments.guidance)
    learnt = tuple(emotions)
    agreement = ""
    mixture: Mapping[str, float]
    if arguments.text is not None:
        mixture = read_text(guidance, arguments.text, learnt)
    else:
        path = Path(arguments.reference)
        reading = read_reference(guidance, path, learnt, isolated=True)
        mixture = reading.mixture
        if reading.stretches > 1:
            agreement = f", {reading.agreeing} of {reading.stretches} stretches agree"

    request = arguments.text or arguments.reference
    print(f"{request}: read as {describe_mixture(mixture)}{agreement}", flush=True)
    return dict(mixture)


def _edit_one(job: EditJob, plan: EditPlan) -> None:
    """Edit one video and print where the edit is."""
    edit_video(
        job.source,
        plan.emotion,
        job.out,
        plan.intensity,
        plan.editor,
        source_emotion=plan.source_emotion,
        face=plan.face,
        mark=plan.mark,
        isolated=True,
        say=_say,
    )
    print(job.out, flush=True)
    if plan.compare:
        from cdrl.editing.compare import write_comparison

        comparison = _comparison_path(job.out)
        write_comparison(job.source, job.out, comparison, plan.truth)
        print(comparison, flush=True)


def _say(line: str) -> None:
    """Print a line at once: a progress bar follows it."""
    print(line, flush=True)


def _edit_folder(source: Path, out: Path, folder: FolderPlan, plan: EditPlan) -> None:
    """Edit every video of a folder; one that cannot be edited costs itself a line."""
    failures = []
    for job in folder.jobs:
        try:
            _edit_one(job, plan)
        except InputError as error:
            reason = str(error).removeprefix(f"{job.source}: ")
            failures.append(f"{job.source.name}: {reason}")
        except Exception as error:  # any other fault of one file does not end the others
            message = " ".join(str(error).split())[:LONGEST_REASON]
            reason = f"could not be edited ({type(error).__name__}: {message})"
            failures.append(f"{job.source.name}: {reason}")

    num_videos = len(folder.jobs)
    num_edited = num_videos - len(failures)
    print(f"{num_edited} of {num_videos} videos edited into {out}, {len(failures)} left out")
    for failure in failures:
        print(f"left out {failure}")
    if folder.skipped:
        names = ", ".join(folder.skipped[:MOST_SKIPPED])
        num_more = len(folder.skipped) - MOST_SKIPPED
        more = f" and {num_more} more" if num_more > 0 else ""
        print(f"skipped, no videos by their names: {names}{more}")
    if not num_edited:
        raise InputError(
            f"{source}: none of {num_videos} videos could be edited; the reasons are above"
        )
