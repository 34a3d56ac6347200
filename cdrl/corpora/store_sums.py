"""Sums of a store's files: a bit that flips on a disk is noticed.

`store.json` has the size and the sha256 of the arrays and of the table. Sizes are compared whenever
a store is opened; sums are by `cdrl data check STORE`, which reads all of it.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cdrl.core.errors import InputError
from cdrl.core.files import damaged, read_json

CARD = "store.json"
FILES = "files"  # the card's entry: {file: {"bytes", "sha256"}}
REMEDY = "remove the store and make it anew"


def sum_files(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Return size and sha256 of files by their names, for the card of a store.

    Args:
        paths: arrays and the table of a store that is being finished.
    """
    files = {}
    for path in paths:
        files[path.name] = {"bytes": path.stat().st_size, "sha256": _digest(path)}
    return files


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sizes(folder: Path, card: Mapping[str, Any], remedy: str = REMEDY) -> None:
    """Refuse a store with a file that is gone or has another size than it was written with.

    Args:
        folder: of the store.
        card: content of its store.json; one from before sizes were recorded has none.
        remedy: end of the message.

    Raises:
        InputError: names the file.
    """
    for name, entry in recorded_files(folder, card).items():
        path = folder / name
        if not path.is_file():
            raise damaged(path, "it is gone", remedy)
        size = path.stat().st_size
        if size != entry["bytes"]:
            raise damaged(path, f"it has {size} bytes, {entry['bytes']} were written", remedy)


def recorded_files(folder: Path, card: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a store's card says of its files, after a look at its form.

    Args:
        folder: of the store.
        card: content of its store.json.

    Raises:
        InputError: an entry of another form.
    """
    files = card.get(FILES, {})
    if not isinstance(files, dict):
        raise damaged(folder / CARD, f"its {FILES} is no mapping", REMEDY)
    for name, entry in files.items():
        is_plain = Path(name).name == name
        has_form = isinstance(entry, dict) and isinstance(entry.get("bytes"), int)
        if not is_plain or not has_form or not isinstance(entry.get("sha256"), str):
            raise damaged(folder / CARD, f"its entry of {name[:80]!r} has another form", REMEDY)
    return files


def describe_sums(folder: Path | str) -> str:
    """Compare every file of a store with its sum, and say in a line that all are as written.

    Args:
        folder: of the store.

    Raises:
        InputError: names the files that are not as they were written.
    """
    folder = Path(folder)
    card = read_json(folder / CARD, fields={"format": int}, remedy=REMEDY)
    files = recorded_files(folder, card)
    if not files:
        return f"{folder}: a store from before sums were recorded; make it anew to have them"
    check_sizes(folder, card)

    wrong = [name for name, entry in files.items() if _digest(folder / name) != entry["sha256"]]
    if wrong:
        raise InputError(
            f"{folder}: {', '.join(wrong)} changed since the store was written (another sha256): "
            f"{REMEDY}"
        )
    gigabytes = sum(entry["bytes"] for entry in files.values()) / 1e9
    return f"{folder}: a crop store, {len(files)} files of {gigabytes:.2f} GB as they were written"
