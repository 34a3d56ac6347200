"""Anybody's videos as a corpus: labels from `labels.csv` in the root, or from folder names."""

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import INTENSITIES, read_emotion
from cdrl.corpora.adapters import clip_labels

LABELS = "labels.csv"
REQUIRED = ("path", "speaker", "sentence", "emotion")
OPTIONAL = ("intensity", "camera", "take", "sound")
TEMPLATE = "{speaker}/{emotion}/{clip}"
FIELDS = ("speaker", "sentence", "emotion", "intensity", "camera", "take", "clip")
FIELD = re.compile(r"\{(.*?)\}")


def folder_parser(
    root: Path, template: str = ""
) -> tuple[Callable[[PurePosixPath], dict], dict[str, str]]:
    """How to read a root: by a template where one is given, else its labels.csv, else `TEMPLATE`.

    Args:
        root: the folder.
        template: as `TEMPLATE`, with `FIELDS`.

    Returns:
        A parse function as those of `adapters`, and {path: reason} of the lines of labels.csv
        without a usable clip.

    Raises:
        InputError: for a template or a label file that cannot be used.
    """
    if template or not (Path(root) / LABELS).is_file():
        return _template_parser(template or TEMPLATE), {}
    labels_of_path, faults = read_labels(root)

    def parse(path: PurePosixPath) -> dict:
        below_root = str(_below_root(path))
        if below_root not in labels_of_path:
            raise InputError(f"no line of {LABELS} names it")
        return labels_of_path[below_root]

    return parse, faults


def _below_root(path: PurePosixPath) -> PurePosixPath:
    """A path without the root's own name in front."""
    return PurePosixPath(*path.parts[1:])


def _template_parser(template: str) -> Callable[[PurePosixPath], dict]:
    names = FIELD.findall(template)
    unusable = [name for name in names if name not in FIELDS or names.count(name) > 1]
    if unusable or not {"speaker", "emotion"} <= set(names):
        raise InputError(
            f"template {template!r}: {{speaker}} and {{emotion}} are needed once, accepted are "
            f"{', '.join(FIELDS)}, as in {TEMPLATE} or {{speaker}}/{{emotion}}/"
            "{sentence}_{take}"
        )
    pattern = _template_pattern(template)

    def parse(path: PurePosixPath) -> dict:
        below_root = _below_root(path)
        stem = str(below_root.with_suffix(""))
        match = pattern.fullmatch(stem)
        if not match:
            raise InputError(f"its path has not the form {template}")
        # Without a field for it the sentence is unknown: two clips of one name are not taken for
        # one sentence.
        values = {"sentence": stem} | match.groupdict()
        return _read_labels(values, below_root)

    return parse


def _template_pattern(template: str) -> re.Pattern[str]:
    """A template as a regular expression with a group for each field."""
    pattern = ""
    for number, part in enumerate(FIELD.split(template)):
        is_field = number % 2 == 1
        pattern += f"(?P<{part}>[^/]+?)" if is_field else re.escape(part)
    return re.compile(pattern)


def read_labels(root: Path) -> tuple[dict[str, dict], dict[str, str]]:
    """Read labels.csv.

    Args:
        root: the folder with the file.

    Returns:
        {path: labels} of every usable line; {location: reason} of the others, with line and column.

    Raises:
        InputError: where the file has not the columns, or is no UTF-8 text.
    """
    root = Path(root)
    file = root / LABELS
    labels_of_path: dict[str, dict] = {}
    faults: dict[str, str] = {}
    try:
        with open(file, newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text)
            reader.fieldnames = _checked_columns(file, reader.fieldnames)
            for row in reader:
                location = f"{LABELS} line {reader.line_num}"
                try:
                    path, labels = _read_row(row, location, root)
                    if path in labels_of_path:
                        raise InputError(f"{location}, column path: {path} has a line already")
                    labels_of_path[path] = labels
                except InputError as error:
                    faults[f"{LABELS}:{reader.line_num}"] = str(error)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: no table in UTF-8 ({error}); save it as CSV in UTF-8") from error
    return labels_of_path, faults


def _checked_columns(file: Path, names: Sequence[str] | None) -> list[str]:
    """The names of the columns; refused where one is missing or unknown."""
    columns = [name.strip() for name in names or ()]
    missing = [name for name in REQUIRED if name not in columns]
    unknown = [name for name in columns if name not in REQUIRED + OPTIONAL]
    fault = ""
    if missing:
        fault = f"no column {', '.join(missing)}"
    elif unknown:
        fault = f"unknown column {', '.join(unknown)}"
    if fault:
        raise InputError(
            f"{file}: line 1 has {fault}; needed are {', '.join(REQUIRED)}, accepted too "
            f"{', '.join(OPTIONAL)}, between commas"
        )
    return columns


def _read_row(row: dict, location: str, root: Path) -> tuple[str, dict]:
    """(path, labels) of one line."""
    if None in row or None in row.values():
        raise InputError(
            f"{location}: as many cells as columns are needed; put quotes around a text with a "
            "comma"
        )
    values = {name: cell.strip() for name, cell in row.items()}
    for name in REQUIRED:
        if not values[name]:
            raise InputError(f"{location}, column {name}: empty")
    path = _read_path(values["path"], f"{location}, column path", root)
    sound = _read_path(values.get("sound", ""), f"{location}, column sound", root)
    try:
        labels = _read_labels(values, PurePosixPath(path))
    except InputError as error:
        raise InputError(f"{location}, {error}") from None
    return path, labels | {"sound": sound}


def _read_path(cell: str, location: str, root: Path) -> str:
    """A path below the root, with /; "" for an empty cell."""
    if not cell:
        return ""
    text = cell.replace("\\", "/")
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"{location}: {text} does not lie below the root")
    if not (root / path).is_file():
        raise InputError(f"{location}: no file {text} below the root (upper and lower case count)")
    return str(path)


def _read_labels(values: dict, path: PurePosixPath) -> dict:
    """A manifest's labels from the texts of a line or of a path; errors name the column."""
    intensity = values.get("intensity") or "2"
    accepted = [str(level) for level in INTENSITIES]
    if intensity not in accepted:
        raise InputError(f"column intensity: {intensity!r} is none of {', '.join(accepted)}")
    try:
        emotion = read_emotion(values["emotion"])
    except InputError as error:
        raise InputError(f"column emotion: {error}") from None
    stem = str(path.with_suffix(""))
    return clip_labels(
        speaker=values["speaker"],
        sentence=values["sentence"],
        emotion=emotion,
        intensity=int(intensity),
        name=stem.replace("/", "_"),
        camera=values.get("camera", ""),
        take=values.get("take", ""),
    )
