"""The command `cdrl edit`: one video or a folder of them; the emotion by name, mixture, text or reference clip."""

from pathlib import Path

from cdrl.core.errors import InputError
from cdrl.core.files import check_disk
from cdrl.core.vocabulary import EMOTIONS, emotion_index


def add_edit_command(commands):
    """Adds edit to the parser of `cdrl`."""
    edit = commands.add_parser(
        "edit", help="edit the emotion of a video, or of every video of a folder; the sound stays"
    )
    edit.add_argument(
        "source", metavar="SOURCE", help="a video file with one face, or a folder of such files"
    )
    edit.add_argument("wanted", metavar="EMOTION", nargs="?", help="as --emotion")
    edit.add_argument(
        "--emotion", help=f"{', '.join(EMOTIONS)}; or a mixture, happy:0.7,surprised:0.3"
    )
    edit.add_argument(
        "--text",
        help="a description; without a real CLIP in the words of its captions: 'lip corners up, cheeks raised'",
    )
    edit.add_argument(
        "--reference",
        metavar="FILE",
        help="a video that shows the emotion; it is read from the face, and printed",
    )
    edit.add_argument(
        "--guidance",
        metavar="RUN",
        help="what reads --text and --reference and guides --fit (default: the committed encoders; for --fit those of --generator's run)",
    )
    edit.add_argument(
        "--intensity", type=float, help="0 changes nothing, 1 is strong, up to 1.5 (default 1)"
    )
    edit.add_argument(
        "--curve",
        metavar="S:I,...",
        help="intensity over time, as in 0:0,1.5:1,3:0 (seconds:intensity, linear in between)",
    )
    edit.add_argument(
        "--from",
        dest="source_emotion",
        metavar="EMOTION",
        help="what SOURCE shows; then an emotion to itself changes nothing",
    )
    edit.add_argument(
        "--generator",
        metavar="RUN",
        help="folder of a run, or weights (default: action_renderer, by facial actions; for --fit generator, the image host)",
    )
    edit.add_argument(
        "--out",
        required=True,
        metavar="OUT.mp4",
        help="the edited video; of a folder, the folder of the edits",
    )
    edit.add_argument(
        "--compare",
        action="store_true",
        help="also write OUT-compare.mp4: source and edit side by side",
    )
    edit.add_argument(
        "--truth", metavar="FILE", help="a video of the true edit, third in the comparison"
    )
    edit.add_argument(
        "--fit", metavar="FOLDER", help="first fit to this person's clips there, named as CREMA-D's"
    )
    edit.set_defaults(command=_edit)


def parse_mixture(text):
    """A name as it is; "happy:0.7,surprised:0.3" -> {"happy": 0.7, "surprised": 0.3}.

    Raises:
        InputError: for words that are no emotion, and weights that are no numbers above 0.
    """
    if ":" not in text:
        emotion_index(text)
        return text
    mixture = {}
    for part in text.split(","):
        name, _, weight = part.strip().partition(":")
        emotion_index(name)
        mixture[name] = _number(
            weight,
            f"--emotion {text}: a weight above 0 behind every name is needed, as in happy:0.7,surprised:0.3",
        )
    return mixture


def parse_curve(text):
    """ "0:0,1.5:1,3:0" -> [[0.0, 0.0], [1.5, 1.0], [3.0, 0.0]], seconds and intensities.

    Raises:
        InputError: for what is no pair of numbers.
    """
    remedy = f"--curve {text}: seconds:intensity pairs are needed, as in 0:0,1.5:1,3:0"
    pairs = [part.split(":") for part in text.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise InputError(remedy)
    return [[_number(each, remedy) for each in pair] for pair in pairs]


def _number(text, remedy):
    try:
        return float(text)
    except ValueError:
        raise InputError(remedy) from None


def _edit(chosen):
    asked = {
        "emotion": chosen.wanted or chosen.emotion,
        "text": chosen.text,
        "reference": chosen.reference,
    }
    given = [name for name, value in asked.items() if value is not None]
    if len(given) != 1 or (chosen.wanted and chosen.emotion):
        raise InputError(
            "edit: exactly one of --emotion, --text and --reference is needed, as in --emotion happy"
        )
    mixture = parse_mixture(asked["emotion"]) if given == ["emotion"] else None
    chosen.source_emotion = parse_mixture(chosen.source_emotion) if chosen.source_emotion else None
    if chosen.curve and chosen.intensity is not None:
        raise InputError("edit: --curve says the intensity, leave --intensity out")
    intensity = (
        parse_curve(chosen.curve)
        if chosen.curve
        else 1.0
        if chosen.intensity is None
        else chosen.intensity
    )
    source, out = Path(chosen.source), Path(chosen.out)
    for file in filter(None, (chosen.reference, chosen.truth)):
        if not Path(file).is_file():
            raise InputError(f"{file}: no such video file")
    jobs = _jobs(source, out, chosen)
    check_disk(out.parent, 0.1)
    from cdrl.editing.control import IntensityCurve
    from cdrl.editing.fit import fit_to_folder
    from cdrl.editors.actions import RENDERER
    from cdrl.editors.loading import IMAGE_EDITOR, load_editor

    if isinstance(intensity, list):
        seconds, values = zip(*intensity, strict=True)
        intensity = IntensityCurve(list(seconds), list(values))

    generator = load_editor(chosen.generator or (IMAGE_EDITOR if chosen.fit else RENDERER))
    if mixture is None:
        mixture = _read(chosen, generator.card.emotions)
    if chosen.fit:
        strongest = mixture if isinstance(mixture, str) else max(mixture, key=mixture.get)
        generator = fit_to_folder(
            generator, Path(chosen.fit), source, strongest, guidance=chosen.guidance
        )
    if source.is_file():
        _edit_one(*jobs[0], mixture, intensity, generator, chosen)
    else:
        _edit_folder(source, out, jobs, mixture, intensity, generator, chosen)


def _jobs(source, out, chosen):
    """(video, its edit) of one file or of a folder."""
    if source.is_dir():
        from cdrl.corpora.scan import VIDEO_SUFFIXES

        for name in ("fit", "truth"):
            if getattr(chosen, name):
                raise InputError(f"--{name}: goes with one video; {source} is a folder")
        files = sorted(path for path in source.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
        if not files:
            raise InputError(
                f"{source}: no video in it; files that end in {', '.join(VIDEO_SUFFIXES)} are edited"
            )
        if out.is_file() or out.suffix == ".mp4":
            raise InputError(
                f"--out {out}: {source} is a folder, so a folder for the edits is needed"
            )
        stems = [path.stem for path in files]
        return [
            (path, out / f"{path.stem if stems.count(path.stem) == 1 else path.name}.mp4")
            for path in files
        ]
    if not source.is_file():
        raise InputError(f"{source}: no such video file")
    if out.suffix != ".mp4":
        raise InputError(
            f"--out {out}: the edited video is an .mp4 file, as in --out {out.with_suffix('.mp4').name}"
        )
    if out.exists() and out.samefile(source):
        raise InputError(f"--out {out}: is the source itself; choose another name")
    return [(source, out)]


def _read(chosen, known):
    """The mixture that a text or a reference clip means, printed."""
    from cdrl.editing.control import describe_mixture, read_reference, read_text
    from cdrl.representation.guidance import Guidance

    guidance, steady = Guidance(chosen.guidance), ""
    if chosen.text is not None:
        mixture = read_text(guidance, chosen.text, known)
    else:
        mixture, agreeing, stretches = read_reference(guidance, Path(chosen.reference), known)
        steady = f", {agreeing} of {stretches} stretches agree" if stretches > 1 else ""
    print(
        f"{chosen.text or chosen.reference}: read as {describe_mixture(mixture)}{steady}",
        flush=True,
    )
    return mixture


def _edit_one(source, out, mixture, intensity, generator, chosen):
    from cdrl.editing.compare import write_comparison
    from cdrl.editing.pipeline import edit_video

    edit_video(source, mixture, out, intensity, generator, source_emotion=chosen.source_emotion)
    print(out, flush=True)
    if chosen.compare or chosen.truth:
        truth = Path(chosen.truth) if chosen.truth else None
        print(
            write_comparison(source, out, out.with_name(f"{out.stem}-compare.mp4"), truth),
            flush=True,
        )


def _edit_folder(source, out, jobs, mixture, intensity, generator, chosen):
    """Every video of a folder; one that cannot be edited costs itself a line."""
    left_out = []
    for video, target in jobs:
        try:
            _edit_one(video, target, mixture, intensity, generator, chosen)
        except InputError as error:
            left_out.append(f"{video.name}: {str(error).removeprefix(f'{video}: ')}")
        except Exception as error:  # whatever else a strange file sets off is this file's fault, not the batch's end
            left_out.append(
                f"{video.name}: could not be edited ({type(error).__name__}: {' '.join(str(error).split())[:300]})"
            )
    print(
        f"{len(jobs) - len(left_out)} of {len(jobs)} videos edited into {out}, {len(left_out)} left out"
    )
    print("\n".join(f"left out {line}" for line in left_out))
    if len(left_out) == len(jobs):
        raise InputError(
            f"{source}: none of {len(jobs)} videos could be edited; the reasons are above"
        )
