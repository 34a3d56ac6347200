"""What lies below a root: its files' names and sizes become a manifest; what is no clip is told with the reason.

No clip is opened: `check.read_headers` does that.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pandas as pd
from tqdm import tqdm

from cdrl.core.errors import InputError
from cdrl.corpora.adapters import CORPORA
from cdrl.corpora.folder import LABELS, folder_parser
from cdrl.corpora.manifest import COLUMNS, media_path

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".avi", ".flv", ".webm", ".mpg", ".mpeg", ".wmv")
SOUND_SUFFIXES = (".wav", ".flac", ".m4a", ".mp3", ".aac", ".ogg")
UNFINISHED = (".part", ".crdownload", ".download", ".tmp")
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
RECOGNISE = 2000  # files that are looked at to tell which corpus a root holds


class Remark(NamedTuple):
    """Something to say of a file. kind: unusable, left out, stray (no rows of the manifest); unreadable, note (rows)."""

    kind: str
    path: str
    reason: str


@dataclass(frozen=True)
class Scan:
    """What a root holds: the corpus, the manifest (columns `COLUMNS`, sorted by name), and what is not in it."""

    corpus: str
    clips: pd.DataFrame
    remarks: list[Remark]


class _File(NamedTuple):
    path: PurePosixPath
    size: int
    labels: dict


def scan(root: Path, corpus: str = "", template: str = "") -> Scan:
    """Read a root's names into a manifest.

    Args:
        corpus: a name in `CORPORA`; empty: whichever explains most names. template: for `folder`, as
            {speaker}/{emotion}/{sentence}_{take}; empty: labels.csv, else {speaker}/{emotion}/{clip}.

    Raises:
        InputError: where the root is no folder, of no known corpus, or holds not one usable clip.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder that holds the corpus")
    remarks: list[Remark] = []
    files = list(
        tqdm(_walk(root, remarks), desc="names", unit="file", mininterval=2, delay=2, leave=False)
    )
    corpus = corpus or ("folder" if template else recognise(root, [path for path, _ in files]))
    if CORPORA.get(corpus) is None:
        raise InputError(f"unknown corpus {corpus!r}: accepted are {', '.join(CORPORA)}")
    if corpus == "studio":
        raise InputError(
            f"corpus studio is {CORPORA[corpus].form}: there is nothing to check, cdrl run makes it"
        )
    parse, faults = CORPORA[corpus].parse, {}
    if corpus == "folder":
        parse, faults = folder_parser(root, template)
        remarks += [Remark("unusable", path, reason) for path, reason in faults.items()]
    readable, own = [], PurePosixPath(root.resolve().name)
    for path, size in files:
        kind, found = _read(root, own, path, size, parse)
        if kind == "clip":
            readable.append(_File(path, size, found))
        elif str(path) != LABELS:
            remarks.append(Remark(kind, str(path), found))
    clips = _rows(corpus, readable, remarks)
    if clips.empty:
        reasons = pd.Series(
            [r.reason for r in remarks if r.kind == "unusable"] or [r.reason for r in remarks],
            dtype=str,
        )
        first = f"; most often: {reasons.mode()[0]}" if len(reasons) else ""
        raise InputError(
            f"{root}: not one clip of {corpus} ({CORPORA[corpus].form}) among {len(files)} files{first}"
        )
    return Scan(corpus, clips, remarks)


def recognise(root: Path, paths: list[PurePosixPath]) -> str:
    """The corpus whose names the files have, `folder` where a labels.csv lies in the root.

    Raises:
        InputError: where no corpus explains a name.
    """
    if PurePosixPath(LABELS) in paths:
        return "folder"
    media = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES + SOUND_SUFFIXES]
    media = media[:: max(1, len(media) // RECOGNISE)]
    counts, own = {}, PurePosixPath(root.resolve().name)
    for name, corpus in CORPORA.items():
        parse = folder_parser(root)[0] if name == "folder" else corpus.parse
        counts[name] = sum(_parses(parse, own / path) for path in media) if parse else 0
    best = max(counts, key=counts.get)
    if not counts[best]:
        forms = "; ".join(
            f"{name} {corpus.form}" for name, corpus in CORPORA.items() if name != "studio"
        )
        raise InputError(
            f"{root}: none of {len(media)} video and sound files is named as a known corpus names them: {forms}"
        )
    return best


def _parses(parse, path: PurePosixPath) -> bool:
    try:
        return bool(parse(path))
    except InputError:
        return False


def _walk(root: Path, remarks: list[Remark]) -> Iterator[tuple[PurePosixPath, int]]:
    """(path, bytes) of every file that is not left behind by a file manager; links to folders are followed once."""
    pending, seen = [PurePosixPath()], set()
    while pending:
        folder = pending.pop()
        real = os.path.realpath(root / folder)
        if real in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except OSError as error:
            remarks.append(
                Remark("unusable", str(folder), f"the folder cannot be listed: {error.strerror}")
            )
            continue
        folders = []
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith((".", "__MACOSX")) or entry.name.lower() in (
                "thumbs.db",
                "desktop.ini",
            ):
                remarks.append(
                    Remark("stray", str(path), "left behind by a file manager or an unpacker")
                )
            elif not _is_utf8(entry.name):
                remarks.append(
                    Remark("unusable", repr(str(path)), "its name is not UTF-8: rename it")
                )
            elif entry.is_dir():
                folders.append(path)
            else:
                try:
                    yield path, entry.stat().st_size
                except OSError:
                    remarks.append(Remark("unusable", str(path), "a link to nothing"))
        pending += reversed(folders)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read(
    root: Path, own: PurePosixPath, path: PurePosixPath, size: int, parse
) -> tuple[str, dict | str]:
    """("clip", labels) or (kind of remark, reason)."""
    suffix = path.suffix.lower()
    if suffix in UNFINISHED:
        return "unusable", "an unfinished download: fetch it again"
    if suffix in ARCHIVES:
        return "stray", "an archive: unpack it to use what is in it"
    if suffix not in VIDEO_SUFFIXES + SOUND_SUFFIXES:
        return "stray", f"neither video nor sound ({suffix or 'no suffix'})"
    try:
        found = parse(own / path)
    except InputError as error:
        return "unusable", str(error)
    if "left_out" in found:
        return "left out", found["left_out"]
    if not size:
        return "unusable", "empty (0 bytes): fetch it again"
    if not os.access(root / path, os.R_OK):
        return "unusable", "its permissions forbid reading it (chmod +r)"
    if size < 1024 and (root / path).read_bytes().startswith(b"version https://git-lfs"):
        return "unusable", "a Git LFS pointer, not the clip: git lfs pull"
    return "clip", found


def _rows(corpus: str, files: list[_File], remarks: list[Remark]) -> pd.DataFrame:
    """Join pictures and sounds of the same clip; of two files of one clip the first by path counts."""
    videos, sounds = {}, {}
    for file in sorted(files, key=lambda file: (file.labels.get("silent", False), str(file.path))):
        is_video = file.path.suffix.lower() in VIDEO_SUFFIXES
        if corpus == "folder" and not is_video:
            remarks.append(
                Remark(
                    "stray",
                    str(file.path),
                    "a sound file; name it in the column sound of labels.csv",
                )
            )
            continue
        held, key = (
            (videos if is_video else sounds),
            _key(file, with_camera=is_video, by_path=corpus == "folder"),
        )
        if key in held:
            remarks.append(
                Remark(
                    "left out",
                    str(file.path),
                    "the same clip as another file, which comes first by path",
                )
            )
        else:
            held[key] = file
    rows, heard = [], set()
    for file in videos.values():
        key = _key(file, with_camera=False)
        beside = CORPORA[corpus].sound_beside or file.labels.get("silent", False)
        sound = file.labels.get("sound") or (
            str(sounds[key].path) if beside and key in sounds else ""
        )
        heard.add(key)
        if file.labels.get("silent") and not sound:
            remarks.append(
                Remark(
                    "unusable",
                    str(file.path),
                    "pictures only (modality 02) and no sound file (03) of it",
                )
            )
            continue
        if CORPORA[corpus].sound_beside and not sound:
            remarks.append(
                Remark(
                    "note",
                    str(file.path),
                    "no sound file of it; fine where the video holds its sound",
                )
            )
        rows.append(_row(corpus, file, str(file.path), sound))
    rows += [
        _row(corpus, file, "", str(file.path)) for key, file in sounds.items() if key not in heard
    ]
    clips = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"intensity": int, "bytes": int})
    clips["name"] = _safe_names(clips)
    return clips.sort_values("name", ignore_index=True)


def _key(file: _File, with_camera: bool, by_path: bool = False):
    if by_path:
        return str(file.path)
    columns = ("speaker", "sentence", "emotion", "intensity", "take") + (
        ("camera",) if with_camera else ()
    )
    return tuple(file.labels[column] for column in columns)


def _row(corpus: str, file: _File, path: str, sound: str) -> dict:
    return file.labels | {
        "corpus": corpus,
        "path": path,
        "sound": sound,
        "bytes": file.size,
        "sha256": "",
    }


def _safe_names(clips: pd.DataFrame) -> pd.Series:
    """Names of letters, digits, - _ . alone, unique whatever the case; a changed or shared one ends in a hash of its path."""
    safe = clips["name"].map(lambda name: re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._")[:100])
    mended = (safe != clips["name"]) | safe.str.lower().duplicated(keep=False)
    tail = media_path(clips).map(lambda path: "-" + hashlib.sha256(path.encode()).hexdigest()[:8])
    return safe.where(~mended, safe + tail)
