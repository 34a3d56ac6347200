"""Whether a folder or file can be written, asked before any work is done for it."""

import os
import tempfile
from pathlib import Path

from cdrl.core.errors import InputError, printable
from cdrl.core.paths import in_clone, repository_root

LONGEST_NAME = 240  # bytes; disks take 255, and unfinished files have longer names
LONGEST_PATH = 3800  # bytes; systems take 4096


def check_folder(option: str, folder: Path | str) -> None:
    """Refuse a folder that cannot be made or written.

    Args:
        option: what names the folder, as "--out".
        folder: that will be written.

    Raises:
        InputError: with the option, the folder and what stands in the way.
    """
    label = _label(option, folder)
    place = _absolute(label, folder)
    if not place.name or _holds_kit(place):
        raise InputError(
            f"{label}: holds the kit or the whole disk; name a folder of its own, as in "
            f"{option} runs/new"
        )
    if os.path.lexists(place) and not place.is_dir():
        kind = "a link to nothing" if place.is_symlink() else "a file"
        raise InputError(f"{label}: is {kind}; name a folder, as in {option} runs/new")
    _check_writable(label, place)


def check_file(option: str, file: Path | str, suffix: str = "") -> None:
    """Refuse a file that cannot be written.

    Args:
        option: what names the file, as "--out".
        file: that will be written.
        suffix: that its name needs, as ".html"; "" for any.

    Raises:
        InputError: with the option, the file and what stands in the way.
    """
    label = _label(option, file)
    place = _absolute(label, file)
    if suffix and place.suffix != suffix:
        example = f"{place.stem or 'page'}{suffix}"
        raise InputError(
            f"{label}: a file that ends in {suffix} is needed, as in {option} {example}"
        )
    if place.is_dir():
        raise InputError(f"{label}: is a folder; name a file in it, as in {option} page{suffix}")
    _check_writable(label, place.parent)


def _label(option: str, path: Path | str) -> str:
    """An option and its value for a message, in one short line."""
    text = printable(str(path))
    return f"{option} {text}" if len(text) < LONGEST_NAME else f"{option} {text[:60]}..."


def _absolute(label: str, path: Path | str) -> Path:
    """The absolute path; refuses names that no disk takes, or that a terminal would obey."""
    place = Path(os.path.abspath(path))
    if not str(place).isprintable():
        raise InputError(f"{label}: has characters that cannot be printed; choose another name")
    longest = max(len(os.fsencode(part)) for part in place.parts)
    if longest > LONGEST_NAME or len(os.fsencode(place)) > LONGEST_PATH:
        raise InputError(
            f"{label}: a name of up to {LONGEST_NAME} bytes is needed, this one has {longest}; "
            "choose a shorter one"
        )
    return place


def _holds_kit(place: Path) -> bool:
    """Whether a folder is the clone or one above it."""
    root = repository_root()
    return in_clone() and (place == root or place in root.parents)


def _check_writable(label: str, folder: Path) -> None:
    """Refuse a folder below which nothing can be written; it need not exist yet."""
    existing = folder
    while not os.path.lexists(existing):
        existing = existing.parent
    if not existing.is_dir():
        raise InputError(f"{label}: {existing} is no folder, so nothing can be made below it")
    try:
        with tempfile.TemporaryDirectory(prefix=".cdrl-", dir=existing):
            pass
    except OSError as error:
        raise InputError(
            f"{label}: nothing can be written in {existing} ({error.strerror}); choose another "
            "folder"
        ) from None
