"""Anybody's videos as a corpus: labels from a file `labels.csv` in the root, or from folder names by a template."""

import csv
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import INTENSITIES, read_emotion
from cdrl.corpora.adapters import clip_labels

LABELS = "labels.csv"
REQUIRED, OPTIONAL = (
    ("path", "speaker", "sentence", "emotion"),
    ("intensity", "camera", "take", "sound"),
)
TEMPLATE = "{speaker}/{emotion}/{clip}"
FIELDS = ("speaker", "sentence", "emotion", "intensity", "camera", "take", "clip")


def folder_parser(
    root: Path, template: str = ""
) -> tuple[Callable[[PurePosixPath], dict], dict[str, str]]:
    """How to read this root: a template where one is given, else its labels.csv, else `TEMPLATE`.

    Returns:
        A parse function as those of `corpora`, and {path: reason} of the lines of labels.csv without a usable clip.
    """
    if template or not (Path(root) / LABELS).is_file():
        return _by_template(template or TEMPLATE), {}
    rows, faults = read_labels(root)

    def parse(path: PurePosixPath) -> dict:
        below = PurePosixPath(*path.parts[1:])
        if str(below) not in rows:
            raise InputError(f"no line of {LABELS} names it")
        return rows[str(below)]

    return parse, faults


def _by_template(template: str) -> Callable[[PurePosixPath], dict]:
    names = re.findall(r"\{(.*?)\}", template)
    wrong = [name for name in names if name not in FIELDS or names.count(name) > 1]
    if wrong or not {"speaker", "emotion"} <= set(names):
        raise InputError(
            f"template {template!r}: {{speaker}} and {{emotion}} are needed once, accepted are "
            f"{', '.join(FIELDS)}, as in {TEMPLATE} or {{speaker}}/{{emotion}}/{{sentence}}_{{take}}"
        )
    parts = re.split(r"\{(.*?)\}", template)
    pattern = "".join(f"(?P<{p}>[^/]+?)" if k % 2 else re.escape(p) for k, p in enumerate(parts))

    def parse(path: PurePosixPath) -> dict:
        below = PurePosixPath(*path.parts[1:])
        match = re.fullmatch(pattern, str(below.with_suffix("")))
        if not match:
            raise InputError(f"its path has not the form {template}")
        # Without a field for it the sentence is unknown: two clips of one name are not taken for one sentence.
        return _labels({"sentence": str(below.with_suffix(""))} | match.groupdict(), below)

    return parse


def read_labels(root: Path) -> tuple[dict[str, dict], dict[str, str]]:
    """The labels of every usable line of labels.csv by path, and the reasons, with line and column, of the others.

    Raises:
        InputError: where the file has not the columns, or is no UTF-8 text.
    """
    file, rows, faults = Path(root) / LABELS, {}, {}
    try:
        with open(file, newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text)
            columns = [name.strip() for name in reader.fieldnames or ()]
            lacking = [name for name in REQUIRED if name not in columns]
            strange = [name for name in columns if name not in REQUIRED + OPTIONAL]
            if lacking or strange:
                what = (
                    f"no column {', '.join(lacking)}"
                    if lacking
                    else f"unknown column {', '.join(strange)}"
                )
                raise InputError(
                    f"{file}: line 1 has {what}; needed are {', '.join(REQUIRED)}, accepted too "
                    f"{', '.join(OPTIONAL)}, between commas"
                )
            reader.fieldnames = columns
            for row in reader:
                place = f"{LABELS} line {reader.line_num}"
                try:
                    path, found = _row(row, place, Path(root))
                    if path in rows:
                        raise InputError(f"{place}, column path: {path} has a line already")
                    rows[path] = found
                except InputError as error:
                    faults[f"{LABELS}:{reader.line_num}"] = str(error)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: no table in UTF-8 ({error}); save it as CSV in UTF-8") from error
    return rows, faults


def _row(row: dict, place: str, root: Path) -> tuple[str, dict]:
    """(path, labels) of one line."""
    if None in row or None in row.values():
        raise InputError(
            f"{place}: as many cells as columns are needed; put quotes around a text with a comma"
        )
    row = {name: value.strip() for name, value in row.items()}
    for name in REQUIRED:
        if not row[name]:
            raise InputError(f"{place}, column {name}: empty")
    for name in ("path", "sound"):
        row[name] = row.get(name, "").replace("\\", "/")
        below = PurePosixPath(row[name])
        if below.is_absolute() or ".." in below.parts:
            raise InputError(f"{place}, column {name}: {row[name]} does not lie below the root")
        if row[name] and not (root / below).is_file():
            raise InputError(
                f"{place}, column {name}: no file {row[name]} below the root (upper and lower case count)"
            )
        row[name] = str(below) if row[name] else ""
    try:
        return row["path"], _labels(row, PurePosixPath(row["path"])) | {"sound": row["sound"]}
    except InputError as error:
        raise InputError(f"{place}, {error}") from None


def _labels(values: dict, path: PurePosixPath) -> dict:
    """A manifest's labels from the texts of a line or of a path; errors name the column."""
    level = values.get("intensity") or "2"
    if level not in map(str, INTENSITIES):
        raise InputError(
            f"column intensity: {level!r} is none of {', '.join(map(str, INTENSITIES))}"
        )
    try:
        emotion = read_emotion(values["emotion"])
    except InputError as error:
        raise InputError(f"column emotion: {error}") from None
    name = str(path.with_suffix("")).replace("/", "_")
    return clip_labels(
        values["speaker"],
        values["sentence"],
        emotion,
        int(level),
        name,
        values.get("camera", ""),
        values.get("take", ""),
    )
