"""The command `cdrl evaluate`: edits of real faces, made, read and measured."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from cdrl.core.errors import InputError
from cdrl.core.files import atomic_path, check_disk, exclusive, write_json
from cdrl.core.results import INTERVAL_NAME, RESULTS, check_results
from cdrl.core.tables import write_csv
from cdrl.evaluation.estimate import flatten_scores
from cdrl.evaluation.real_clips import find_people
from cdrl.evaluation.real_run import (
    COPY,
    EDITORS,
    TARGETS,
    TRUE,
    EditSource,
    RealRun,
    Work,
    acted_edits,
    read_frames,
    real_subjects,
    studio_subjects,
)
from cdrl.evaluation.real_scores import (
    ACTED_SCORES,
    SCORES,
    PersonEdit,
    estimate_real_scores,
    people_table,
)
from cdrl.media.faces import crop
from cdrl.report.real_page import contact_sheet, write_real_page
from cdrl.report.real_tables import real_readme

NEEDED_GB = 0.3
SECONDS_AN_EDIT = 3.0  # of one core: edited, encoded and read, 50 frames
PEOPLE_TABLE = "people.csv"


def evaluate(arguments: argparse.Namespace) -> None:
    """Edit one clip of every person of a folder, and measure.

    Args:
        arguments: of the command.

    Raises:
        InputError: for what cannot be used; before any edit is made.
    """
    emotions = parse_emotions(arguments.emotions)
    people = find_people(Path(arguments.folder))
    out = Path(arguments.out)
    folder = Path(arguments.work)
    check_disk(folder, NEEDED_GB)

    runs = [RealRun(Work(folder, "real"), real_subjects(people), emotions)]
    sources = [edit_sources(arguments)]
    if arguments.studio:
        runs.append(RealRun(Work(folder, "studio"), studio_subjects(arguments.studio), emotions))
        sources.append([EditSource(TRUE), *_without_files(sources[0])])

    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder):
        print(_cost(runs, sources), flush=True)
        for run, of_run in zip(runs, sources, strict=True):
            for source in of_run:
                _evaluate_editor(run, source, out, arguments)
            write_page(run, of_run)

        acted = _acted(runs[0], people)
        if acted:
            _add_results(out, "real.acted", acted, ACTED_SCORES, 0.0, arguments)
    print(f"tables: {out / 'README.md'}, scores: cdrl scores {out}")


def parse_emotions(text: str) -> list[str]:
    """Read the emotions of --emotions.

    Args:
        text: names between commas; empty for all six.

    Raises:
        InputError: for another name.
    """
    names = [name.strip() for name in text.split(",") if name.strip()] or list(TARGETS)
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        raise InputError(
            f"--emotions {text}: {unknown[0]} cannot be scored; accepted are {', '.join(TARGETS)}"
        )
    return list(dict.fromkeys(names))


def edit_sources(arguments: argparse.Namespace) -> list[EditSource]:
    """The editors that are measured, and the edits that were made before.

    Args:
        arguments: of the command.

    Raises:
        InputError: for an unknown editor, or a folder of edits that is missing.
    """
    names = [name.strip() for name in arguments.editor.split(",") if name.strip()]
    for name in names:
        if name not in EDITORS:
            raise InputError(f"--editor {name}: unknown; accepted are {', '.join(EDITORS)}")
    if not arguments.edits:
        return [EditSource(name) for name in names]

    made = Path(arguments.edits)
    if not made.is_dir():
        raise InputError(f"--edits {made}: no such folder; it holds EMOTION/CLIP.mp4")
    if made.name in (*EDITORS, TRUE):
        raise InputError(f"--edits {made}: its name is an editor's; rename the folder")
    return [EditSource(made.name, made)]


def _without_files(sources: Sequence[EditSource]) -> list[EditSource]:
    """The editors that can edit people of the studio too."""
    return [source for source in sources if source.made is None]


def _cost(runs: Sequence[RealRun], sources: Sequence[Sequence[EditSource]]) -> str:
    """What the command will do, in one line."""
    missing = 0
    for run, of_run in zip(runs, sources, strict=True):
        missing += run.missing(of_run)

    people = sum(len(run.subjects) for run in runs)
    minutes = missing * SECONDS_AN_EDIT / 60
    return (
        f"{people} people: {missing} edits of two seconds are to be made and read, about "
        f"{minutes:.0f} minutes of one core; the others are kept"
    )


def _evaluate_editor(
    run: RealRun, source: EditSource, out: Path, arguments: argparse.Namespace
) -> None:
    """Make and read the edits of one editor, and write its scores."""
    begin = time.monotonic()
    total = len(run.subjects) * len(run.emotions)
    prefix = f"{run.work.kind}.{source.name}"
    edits = list(tqdm(run.edits(source), total=total, desc=prefix, unit="edit", mininterval=2))

    seconds = time.monotonic() - begin
    _add_results(out, prefix, edits, SCORES, seconds, arguments)


def _acted(run: RealRun, people: Sequence[Any]) -> list[PersonEdit]:
    """The acted clips of the folder beside the neutral ones of the same people."""
    if not any(person.acted for person in people):
        return []

    readings = {}
    for subject in run.subjects:
        readings[subject.person] = run.source_reading(subject)

    return acted_edits(run, people, readings)


def _add_results(
    out: Path,
    prefix: str,
    edits: Sequence[PersonEdit],
    names: Sequence[str],
    seconds: float,
    arguments: argparse.Namespace,
) -> None:
    """Put the scores of one editor into results.json, people.csv and README.md."""
    results: dict[str, Any] = {"stages": {}, "run": {}}
    if (out / RESULTS).exists():
        results = check_results(out / RESULTS)

    command = _command(arguments)
    results["stages"][prefix] = {
        "config": {"people": len({edit.person for edit in edits}), "command": command},
        "scores": flatten_scores(estimate_real_scores(prefix, edits, names)),
        "interval": INTERVAL_NAME,
        "seconds": round(seconds, 1),
    }
    results["command"] = command
    write_json(out / RESULTS, results)

    table = _people_of_others(out, prefix)
    table += people_table(prefix, edits, names)
    write_csv(out / PEOPLE_TABLE, pd.DataFrame(table))

    records = results["stages"]
    with atomic_path(out / "README.md") as partial:
        partial.write_text(real_readme(records, table, command, str(out)))


def _command(arguments: argparse.Namespace) -> str:
    """The command as one would type it; the folder by its last name."""
    words = ["cdrl evaluate", Path(arguments.folder).name]
    if arguments.edits:
        words.append(f"--edits {Path(arguments.edits).name}")
    else:
        words.append(f"--editor {arguments.editor}")
    if arguments.emotions:
        words.append(f"--emotions {arguments.emotions}")
    if arguments.studio:
        words.append(f"--studio {arguments.studio}")

    return " ".join(words)


def _people_of_others(out: Path, prefix: str) -> list[dict[str, Any]]:
    """The lines of people.csv of other editors."""
    path = out / PEOPLE_TABLE
    if not path.exists():
        return []

    table = pd.read_csv(path, dtype={"person": str})
    others = table[table["editor"] != prefix]
    lines = []
    for line in others.to_dict("records"):
        present = {str(name): value for name, value in line.items() if not pd.isna(value)}
        lines.append(present)

    return lines


def write_page(run: RealRun, sources: Sequence[EditSource]) -> None:
    """Write contact sheets and the page with moving pictures, and say where they are.

    Args:
        run: with its readings and videos.
        sources: the editors that are shown.
    """
    folder = run.work.folder / run.work.kind
    shown = [source for source in sources if source.name != COPY and source.made is None]
    sheets = []
    for source in shown:
        path = folder / "sheets" / f"{source.name}.jpg"
        columns = ", ".join(["source", *run.emotions])
        contact_sheet([_sheet_row(run, source, subject) for subject in run.subjects], path)
        sheets.append((f"{source.name}: {columns}", path))

    if sheets:
        names = [source.name for source in shown]
        people = [subject.person for subject in run.subjects]
        print(write_real_page(folder, sheets, names, people, run.emotions))


def _sheet_row(run: RealRun, source: EditSource, subject: Any) -> list[np.ndarray]:
    """The middle frame of the source and of every edit of one person, cropped to the face."""
    footage = run.footage(subject)
    middle = len(footage.frames) // 2
    alignment = footage.alignment.part(middle, middle + 1)

    pictures = [crop(footage.frames[middle : middle + 1], alignment, 224)[0]]
    for emotion in run.emotions:
        video = run.work.video(source.name, subject.person, emotion)
        frames = read_frames(video, middle + 1)
        pictures.append(crop(frames[middle:], alignment, 224)[0])

    return pictures
