"""What lies below a root: its files' names and sizes become a manifest.

Whatever is no clip is reported with the reason. No clip is decoded: `check.read_headers` reads what
they promise.
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
from cdrl.core.settings import ALSO
from cdrl.corpora.adapters import CORPORA
from cdrl.corpora.folder import LABELS, FolderNames, Parser, folder_parser
from cdrl.corpora.manifest import COLUMNS, media_path
from cdrl.media.riff import refuse_cut_file

# Files that may be videos, by name. Phones write .3gp; camcorders and receivers .mts, .m2ts, .ts.
VIDEO_SUFFIXES = (
    *(".mp4", ".mov", ".m4v", ".mkv", ".avi", ".flv", ".webm", ".mpg", ".mpeg", ".wmv"),
    *(".3gp", ".3g2", ".mts", ".m2ts", ".m2t", ".ts", ".vob", ".ogv", ".mxf", ".asf", ".f4v"),
    *(".dv", ".divx"),
)
# Those without loss come first: of two sounds of one clip they are taken.
SOUND_SUFFIXES = (".wav", ".flac", ".m4a", ".mp3", ".aac", ".ogg")
RIFF_SUFFIXES = (".avi", ".wav")  # their first bytes tell whether their end is missing
UNFINISHED_SUFFIXES = (".part", ".crdownload", ".download", ".tmp")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
STRAY_PREFIXES = (".", "__MACOSX")
STRAY_NAMES = ("thumbs.db", "desktop.ini")
RECOGNISE = 2000  # files that are looked at to tell which corpus a root holds
SMALLEST_CLIP = 1024  # bytes; a smaller file may be a Git LFS pointer
NAME_LENGTH = 100  # characters of a clip's name, at most
ALL_CLIPS = "all clips"  # the path of a remark on no single file
# What makes two files the same clip; pictures also by their camera.
CLIP_KEY = ("speaker", "sentence", "emotion", "intensity", "take")


class Remark(NamedTuple):
    """Something to say of a file.

    Attributes:
        kind: unusable, left out, stray (no rows of the manifest); unreadable, note (rows).
        path: of the file, relative to the root.
        reason: half a sentence.
    """

    kind: str
    path: str
    reason: str


@dataclass(frozen=True)
class Scan:
    """What a root holds.

    Attributes:
        corpus: name in `CORPORA`.
        clips: the manifest (columns `COLUMNS`, sorted by name).
        remarks: what is not in it, and notes.
    """

    corpus: str
    clips: pd.DataFrame
    remarks: list[Remark]


class _File(NamedTuple):
    """A file below the root: path, bytes."""

    path: PurePosixPath
    size: int


class _Media(NamedTuple):
    """A video or a sound file of a clip: path, bytes, labels."""

    path: PurePosixPath
    size: int
    labels: dict

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEO_SUFFIXES

    @property
    def is_silent(self) -> bool:
        """Whether the name says that the file has pictures only."""
        return self.labels.get("silent", False)


def scan(root: Path, corpus: str = "", template: str = "") -> Scan:
    """Read a root's names into a manifest.

    Args:
        root: the folder that holds the corpus.
        corpus: a name in `CORPORA`, also as crema_d; empty: whichever explains most names.
        template: for `folder`, as {speaker}/{emotion}/{sentence}_{take}; empty: labels.csv, else
            {speaker}/{emotion}/{sentence}, else no labels.

    Raises:
        InputError: where the root is no folder, of no known corpus, or holds not one usable clip.
    """
    root = Path(root)
    _refuse_root(root)
    files, remarks = _list_files(root)
    corpus = ALSO.get(corpus, corpus)
    if not corpus:
        paths = [file.path for file in files]
        corpus = "folder" if template else recognise_corpus(root, paths)
    names = _names_of(root, corpus, template, _video_paths(files))
    for path, reason in names.faults.items():
        remarks.append(Remark("unusable", path, reason))

    media = []
    for file in files:
        result = _read_name(root, file, names.parse)
        if isinstance(result, _Media):
            media.append(result)
        elif result.path != LABELS:
            remarks.append(result)
    clips = _manifest(corpus, media, remarks)
    if clips.empty:
        raise _no_clip(root, corpus, len(files), remarks)
    if names.note:
        remarks.append(Remark("note", ALL_CLIPS, names.note))
    return Scan(corpus, clips, remarks)


def _refuse_root(root: Path) -> None:
    """Refuse a root that is no folder, or whose path cannot be stored as text."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder that holds the corpus")
    path = str(root.resolve())
    if not _is_utf8(path):
        raise InputError(f"{path!r}: its name is not UTF-8, no table can hold it: rename it")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _video_paths(files: list[_File]) -> list[PurePosixPath]:
    """The paths of the files that are videos by their names."""
    return [file.path for file in files if file.path.suffix.lower() in VIDEO_SUFFIXES]


def _names_of(root: Path, corpus: str, template: str, videos: list[PurePosixPath]) -> FolderNames:
    """How the names of a corpus are read."""
    if corpus not in CORPORA:
        raise InputError(f"unknown corpus {corpus!r}: accepted are {', '.join(CORPORA)}")
    if corpus == "folder":
        return folder_parser(root, template, videos)
    parse = CORPORA[corpus].parse
    if parse is None:
        raise InputError(
            f"corpus {corpus} is {CORPORA[corpus].form}: there is nothing to check, cdrl run makes "
            "it"
        )
    return FolderNames(parse, {})


def _no_clip(root: Path, corpus: str, num_files: int, remarks: list[Remark]) -> InputError:
    """The error for a root without a usable clip: the most frequent reason is named."""
    reasons = [remark.reason for remark in remarks if remark.kind == "unusable"]
    reasons = reasons or [remark.reason for remark in remarks]
    hint = ""
    if reasons:
        most_frequent = pd.Series(reasons, dtype=str).mode()[0]
        hint = f"; most often: {most_frequent}"
    form = CORPORA[corpus].form
    return InputError(f"{root}: not one clip of {corpus} ({form}) among {num_files} files{hint}")


def recognise_corpus(root: Path, paths: list[PurePosixPath]) -> str:
    """The corpus whose names the files have, `folder` where a labels.csv lies in the root.

    Args:
        root: the folder.
        paths: of the files, relative to it.

    Raises:
        InputError: where no corpus explains a name.
    """
    if PurePosixPath(LABELS) in paths:
        return "folder"
    suffixes = VIDEO_SUFFIXES + SOUND_SUFFIXES
    media = [path for path in paths if path.suffix.lower() in suffixes]
    media = media[:: max(1, len(media) // RECOGNISE)]
    best_corpus = ""
    best_count = 0
    for name, corpus in CORPORA.items():
        parse = folder_parser(root).parse if name == "folder" else corpus.parse
        count = _num_parsed(root, media, parse) if parse is not None else 0
        if count > best_count:
            best_corpus = name
            best_count = count
    if not best_corpus:
        forms = [f"{name} {corpus.form}" for name, corpus in CORPORA.items() if name != "studio"]
        raise InputError(
            f"{root}: names without labels; --corpus folder takes any videos. None of "
            f"{len(media)} video and sound files is named as a known corpus names them: "
            f"{'; '.join(forms)}"
        )
    return best_corpus


def _num_parsed(root: Path, paths: list[PurePosixPath], parse: Parser) -> int:
    """How many of the paths a parse function can read."""
    num_parsed = 0
    for path in paths:
        try:
            labels = parse(_with_root_name(root, path))
        except InputError:
            continue
        num_parsed += bool(labels)
    return num_parsed


def _with_root_name(root: Path, path: PurePosixPath) -> PurePosixPath:
    """A path with the root's own name in front, as the parse functions take it."""
    return PurePosixPath(root.resolve().name) / path


def _list_files(root: Path) -> tuple[list[_File], list[Remark]]:
    """All files below a root, and remarks on what cannot be used whatever the corpus."""
    files = []
    remarks = []
    progress = tqdm(_walk(root), desc="names", unit="file", mininterval=2, delay=2, leave=False)
    for item in progress:
        if isinstance(item, _File):
            files.append(item)
        else:
            remarks.append(item)
    return files, remarks


def _walk(root: Path) -> Iterator[_File | Remark]:
    """Yield every file, or what is wrong with it; links to folders are followed once."""
    pending = [PurePosixPath()]
    visited = set()
    while pending:
        folder = pending.pop()
        real_path = os.path.realpath(root / folder)
        if real_path in visited:
            continue
        visited.add(real_path)
        try:
            entries = sorted(os.scandir(root / folder), key=_entry_name)
        except OSError as error:
            reason = f"the folder cannot be listed: {error.strerror}"
            yield Remark("unusable", str(folder), reason)
            continue

        subfolders = []
        for entry in entries:
            fault = _entry_fault(folder, entry)
            if fault is not None:
                yield fault
            elif entry.is_dir():
                subfolders.append(folder / entry.name)
            else:
                yield _file_or_fault(folder, entry)
        pending += reversed(subfolders)


def _entry_name(entry: os.DirEntry) -> str:
    return entry.name


def _entry_fault(folder: PurePosixPath, entry: os.DirEntry) -> Remark | None:
    """Why a file or folder is not looked at, by its name; None where it is."""
    path = str(folder / entry.name)
    is_stray = entry.name.startswith(STRAY_PREFIXES) or entry.name.lower() in STRAY_NAMES
    if is_stray:
        return Remark("stray", path, "left behind by a file manager or an unpacker")
    if not _is_utf8(entry.name):
        return Remark("unusable", repr(path), "its name is not UTF-8: rename it")
    try:
        entry.is_dir()
    except OSError as error:
        return Remark("unusable", path, f"a link that cannot be followed ({error.strerror})")
    return None


def _file_or_fault(folder: PurePosixPath, entry: os.DirEntry) -> _File | Remark:
    path = folder / entry.name
    try:
        size = entry.stat().st_size
    except OSError:
        return Remark("unusable", str(path), "a link to nothing")
    return _File(path, size)


def _read_name(root: Path, file: _File, parse: Parser) -> _Media | Remark:
    """A file's labels, or why it is no clip."""
    path = str(file.path)
    suffix = file.path.suffix.lower()
    if suffix in UNFINISHED_SUFFIXES:
        return Remark("unusable", path, "an unfinished download: fetch it again")
    if suffix in ARCHIVE_SUFFIXES:
        return Remark("stray", path, "an archive: unpack it to use what is in it")
    if suffix not in VIDEO_SUFFIXES + SOUND_SUFFIXES:
        return Remark("stray", path, f"neither video nor sound ({suffix or 'no suffix'})")
    try:
        labels = parse(_with_root_name(root, file.path))
    except InputError as error:
        return Remark("unusable", path, str(error))
    if "left_out" in labels:
        return Remark("left out", path, labels["left_out"])
    reason = _unreadable_reason(root / file.path, file.size)
    if reason:
        return Remark("unusable", path, reason)
    return _Media(file.path, file.size, labels)


def _unreadable_reason(path: Path, size: int) -> str:
    """Why a file cannot be read; "" where it can."""
    if not size:
        return "empty (0 bytes): fetch it again"
    if not os.access(path, os.R_OK):
        return "its permissions forbid reading it (chmod +r)"
    if size < SMALLEST_CLIP:
        content = path.read_bytes()
        if content.startswith(b"version https://git-lfs"):
            return "a Git LFS pointer, not the clip: git lfs pull"
    if path.suffix.lower() in RIFF_SUFFIXES:
        try:
            refuse_cut_file(path)
        except (InputError, OSError) as error:
            return str(error).removeprefix(f"{path}: ")
    return ""


def _manifest(corpus: str, media: list[_Media], remarks: list[Remark]) -> pd.DataFrame:
    """Join pictures and sounds of the same clip; what is not used is added to the remarks."""
    videos, sounds = _distinct_clips(corpus, media, remarks)
    rows = []
    keys_with_video = set()
    for video in videos:
        key = _clip_key(video)
        keys_with_video.add(key)
        sound = _sound_path(corpus, video, sounds.get(key))
        if video.is_silent and not sound:
            reason = "pictures only (modality 02) and no sound file (03) of it"
            remarks.append(Remark("unusable", str(video.path), reason))
            continue
        if CORPORA[corpus].sound_beside and not sound:
            reason = "no sound file of it; fine where the video holds its sound"
            remarks.append(Remark("note", str(video.path), reason))
        rows.append(_row(corpus, video, str(video.path), sound))
    for key, file in sounds.items():
        if key not in keys_with_video:
            rows.append(_row(corpus, file, "", str(file.path)))

    clips = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"intensity": int, "bytes": int})
    clips["name"] = _safe_names(clips)
    return clips.sort_values("name", ignore_index=True)


def _distinct_clips(
    corpus: str, media: list[_Media], remarks: list[Remark]
) -> tuple[list[_Media], dict[tuple, _Media]]:
    """Videos, and sounds by their clip; of two files of one clip the preferred one counts."""
    videos: dict[tuple, _Media] = {}
    sounds: dict[tuple, _Media] = {}
    for file in sorted(media, key=_preferred_first):
        path = str(file.path)
        if corpus == "folder" and not file.is_video:
            reason = "a sound file; name it in the column sound of labels.csv"
            remarks.append(Remark("stray", path, reason))
            continue
        group = videos if file.is_video else sounds
        key = _clip_key(file)
        if file.is_video:
            key = (*key, file.labels["camera"])
        if corpus == "folder":
            key = (path,)
        if key in group:
            reason = "the same clip as another file, which is taken instead"
            remarks.append(Remark("left out", path, reason))
        else:
            group[key] = file
    return list(videos.values()), sounds


def _preferred_first(file: _Media) -> tuple[bool, int, str]:
    """Sorts by kind and path: pictures only come last, and of sounds those without loss come first.

    CREMA-D has each sound twice, and some of its MP3s are blank.
    """
    suffix = file.path.suffix.lower()
    rank = SOUND_SUFFIXES.index(suffix) if suffix in SOUND_SUFFIXES else 0
    return file.is_silent, rank, str(file.path)


def _clip_key(file: _Media) -> tuple:
    """What a file has in common with the other files of its clip."""
    return tuple(file.labels[column] for column in CLIP_KEY)


def _sound_path(corpus: str, video: _Media, sound: _Media | None) -> str:
    """The separate sound of a video; "" where it is in the video."""
    named = video.labels.get("sound")
    if named:
        return named
    is_separate = CORPORA[corpus].sound_beside or video.is_silent
    if is_separate and sound is not None:
        return str(sound.path)
    return ""


def _row(corpus: str, file: _Media, path: str, sound: str) -> dict:
    """A row of the manifest."""
    row = dict(file.labels)
    row["corpus"] = corpus
    row["path"] = path
    row["sound"] = sound
    row["bytes"] = file.size
    row["sha256"] = ""
    return row


def _safe_names(clips: pd.DataFrame) -> pd.Series:
    """Names of letters, digits, - _ . alone, unique whatever the case.

    A name that is changed, or shared, ends in a hash of its path.
    """
    safe = clips["name"].map(_safe_name)
    is_shared = safe.str.lower().duplicated(keep=False)
    is_changed = safe != clips["name"]
    endings = media_path(clips).map(_path_ending)
    return safe.where(~(is_changed | is_shared), safe + endings)


def _safe_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._")[:NAME_LENGTH]


def _path_ending(path: str) -> str:
    digest = hashlib.sha256(path.encode()).hexdigest()
    return f"-{digest[:8]}"
