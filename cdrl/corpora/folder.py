"""Anybody's videos as a corpus.

Labels come from `labels.csv` in the root, or from the names of folders and files. Videos without
any are taken too: their emotion is `UNLABELLED` and each sentence is its own.
"""

import csv
import os
import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import INTENSITIES, UNLABELLED, read_emotion
from cdrl.corpora.adapters import clip_labels

LABELS = "labels.csv"
REQUIRED = ("path", "speaker", "sentence", "emotion")
OPTIONAL = ("intensity", "camera", "take", "sound")
TEMPLATE = "{speaker}/{emotion}/{sentence}"
FIELDS = ("speaker", "sentence", "emotion", "intensity", "camera", "take", "clip")
FIELD = re.compile(r"\{(.*?)\}")

Parser = Callable[[PurePosixPath], dict]

NAMED_BY_FILES = (
    "sentences are the files' names, so equal names have to be equal words; where they are not, "
    "name the layout {speaker}/{emotion}/{clip}"
)
NAMED_BY_NOBODY = (
    "no labels: no folder is called like an emotion, and there is no labels.csv; a folder stands "
    "for a person, and so does each video that lies in none"
)


class FolderNames(NamedTuple):
    """What the names in a folder mean.

    Attributes:
        parse: a function as those of `adapters`.
        faults: {place: reason} of the lines of labels.csv without a usable clip.
        note: what a user has to know of it; "" for nothing.
    """

    parse: Parser
    faults: dict[str, str]
    note: str = ""


def folder_parser(
    root: Path, template: str = "", paths: Sequence[PurePosixPath] = ()
) -> FolderNames:
    """How to read a root: by a template where one is given, else its labels.csv, else `TEMPLATE`.

    Where no folder is named like an emotion there are no labels at all.

    Args:
        root: the folder.
        template: as `TEMPLATE`, with `FIELDS`.
        paths: of the videos, relative to the root.

    Raises:
        InputError: for a template or a label file that cannot be used.
    """
    if template:
        return FolderNames(_template_parser(template), {})
    if not (Path(root) / LABELS).is_file():
        if paths and not any(_names_an_emotion(path) for path in paths):
            return FolderNames(_parse_unlabelled, {}, NAMED_BY_NOBODY)
        return FolderNames(_template_parser(TEMPLATE), {}, NAMED_BY_FILES)
    labels_of_path, faults = read_labels(root)

    def parse(path: PurePosixPath) -> dict:
        below_root = str(_below_root(path))
        if below_root not in labels_of_path:
            raise InputError(f"no line of {LABELS} names it")
        return labels_of_path[below_root]

    return FolderNames(parse, faults)


def _names_an_emotion(path: PurePosixPath) -> bool:
    """Whether a folder of a path is called like an emotion."""
    for folder in path.parent.parts:
        try:
            read_emotion(folder)
        except InputError:
            continue
        return True
    return False


def _parse_unlabelled(path: PurePosixPath) -> dict:
    """Labels of a video of which nobody said anything.

    Its folder stands for the person. A video that lies in the root is a person of its own.
    """
    below_root = _below_root(path)
    folder = str(below_root.parent)
    stem = str(below_root.with_suffix(""))
    values = {"speaker": stem if folder == "." else folder, "sentence": stem}
    return _read_labels(values, below_root)


def _below_root(path: PurePosixPath) -> PurePosixPath:
    """A path without the root's own name in front."""
    return PurePosixPath(*path.parts[1:])


def _template_parser(template: str) -> Parser:
    names = FIELD.findall(template)
    unusable = [name for name in names if name not in FIELDS or names.count(name) > 1]
    if unusable or "speaker" not in names:
        raise InputError(
            f"template {template!r}: {{speaker}} is needed, each field once; accepted are "
            f"{', '.join(FIELDS)}, as in {TEMPLATE} or {{speaker}}/{{emotion}}/"
            "{sentence}_{take}; without {emotion} the videos have no labels"
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
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); mend that") from error
    return labels_of_path, faults


def _checked_columns(file: Path, names: Sequence[str] | None) -> list[str]:
    """The names of the columns; refused where one is missing, unknown or there twice."""
    columns = [name.strip().lower() for name in names or ()]
    missing = [name for name in REQUIRED if name not in columns]
    unknown = [name for name in columns if name not in REQUIRED + OPTIONAL]
    doubled = [name for name in dict.fromkeys(columns) if columns.count(name) > 1]
    fault = ""
    if missing:
        fault = f"no column {', '.join(missing)}"
    elif unknown:
        fault = f"unknown column {', '.join(unknown)}"
    elif doubled:
        fault = f"column {', '.join(doubled)} twice"
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
            hint = f"; write {UNLABELLED} where you do not know it" if name == "emotion" else ""
            raise InputError(f"{location}, column {name}: empty{hint}")
    path = _read_path(values["path"], f"{location}, column path", root)
    sound = _read_path(values.get("sound", ""), f"{location}, column sound", root)
    try:
        labels = _read_labels(values, PurePosixPath(path))
    except InputError as error:
        raise InputError(f"{location}, {error}") from None
    return path, labels | {"sound": sound}


def _read_path(cell: str, location: str, root: Path) -> str:
    """A path below the root, with /, as the disk spells it; "" for an empty cell."""
    if not cell:
        return ""
    text = cell.replace("\\", "/")
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"{location}: {text} does not lie below the root")
    found = _find_file(root, path)
    if found is None:
        raise InputError(f"{location}: no file {text} below the root (upper and lower case count)")
    return str(found)


def _find_file(root: Path, path: PurePosixPath) -> PurePosixPath | None:
    """A file below the root whose name may spell its accents in another way, as a Mac's do."""
    found = PurePosixPath()
    try:
        for part in path.parts:
            if not (root / found / part).exists():
                part = _same_name(os.listdir(root / found), part)
            found = found / part
        return found if (root / found).is_file() else None
    except (OSError, ValueError):  # a part that no disk can hold
        return None


def _same_name(names: Sequence[str], wanted: str) -> str:
    """The one of some names that is the wanted one in another form of Unicode, else the wanted."""
    for name in names:
        if one_form(name) == one_form(wanted):
            return name
    return wanted


def one_form(text: str) -> str:
    """A text in the one form of Unicode in which texts are compared (NFC)."""
    return unicodedata.normalize("NFC", text)


def _read_labels(values: dict, path: PurePosixPath) -> dict:
    """A manifest's labels from the texts of a line or of a path; errors name the column.

    Without an emotion the clip is unlabelled.
    """
    values = {name: one_form(text) for name, text in values.items()}
    intensity = values.get("intensity") or "2"
    accepted = [str(level) for level in INTENSITIES]
    if intensity not in accepted:
        raise InputError(f"column intensity: {intensity!r} is none of {', '.join(accepted)}")
    try:
        emotion = read_emotion(values.get("emotion", UNLABELLED))
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
