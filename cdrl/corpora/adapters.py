"""The corpora: how each names its clips, what it ought to hold, and how sure that is.

Each has one parse function. It reads the labels from a path (below the root, with the root's own
name in front), of a video or of a sound file. It raises InputError with the reason for a name that
it cannot read, and returns {"left_out": reason} for a clip that is the corpus's and not for this
kit. How to add a corpus: CONTRIBUTING.md.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import CREMA_D_EMOTIONS, EMOTIONS, FOREIGN_EMOTIONS, RAVDESS_EMOTIONS

# CREMA-D's levels -> ours; XX means "not specified" and is stored as the middle one (neutral has
# level 1 only). One clip, 1040_ITH_SAD, has a single X in some copies.
CREMA_D_LEVELS = {"LO": 1, "MD": 2, "HI": 3, "XX": 2, "X": 2}
CREMA_D_SENTENCES = (
    "IEO",
    "TIE",
    "IOM",
    "IWW",
    "TAI",
    "MTI",
    "IWL",
    "ITH",
    "DFA",
    "ITS",
    "TSI",
    "WSI",
)
# Names of the full grid that the release never had: those that begin so. Counted in the 7,442 names
# of the release (AudioWAV of github.com/CheyneyComputerScience/CREMA-D).
CREMA_D_NEVER_MADE = ("1002_TIE_NEU", "1008_WSI", "1009_MTI", "1019_ITH", "1076_ITS_NEU")
# The list of faulty clips that the corpus's page gives, as others quote it; not verified here.
CREMA_D_BAD = {
    "1064_IEO_DIS_MD": "a minute long, with every emotion",
    "1064_TIE_SAD_XX": "has no length to speak of",
    "1076_MTI_NEU_XX": "nearly empty",
    "1076_MTI_SAD_XX": "nearly empty, silent",
}
MEAD_CAMERAS = ("front", "left_30", "left_60", "right_30", "right_60", "top", "down")
# Numbers 001 to 003 are the same three sentences in these emotions. That was counted in the texts
# that others wrote down for 31,060 front clips: github.com/filby89/spectre, in
# data/list_full_mead_annotated.txt. Six groups of a speaker, an emotion and a level say other words
# there. Of disgusted the numbers of the three differ: 001 to 003 for a dozen speakers, 028 to 030
# for twenty others, neither for fifteen. More sentences are said in several emotions (34 of the 165
# texts are), under numbers that differ from speaker to speaker. There a number stands for a
# sentence of its own: a wrong pair is worse than none.
MEAD_SHARED = ("angry", "contempt", "fear", "happy", "neutral", "sad", "surprised")
MEAD_LAST_SHARED = 3
# A clip's name in copies without folders, as M003#angry#level_1#001, in any order but of its ends.
MEAD_FLAT = re.compile(r"([mw]\d{3})[#_](.+)[#_](\d{3})")
# RAVDESS's `normal` is stored as the middle level.
RAVDESS_INTENSITIES = {"01": 2, "02": 3}
RAVDESS_NAME = re.compile(r"(0[123])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])")
RAVDESS_SONG = "02"
RAVDESS_SILENT = "02"


def _nothing_missing(clips: pd.DataFrame) -> list[str]:
    return []


@dataclass(frozen=True)
class Corpus:
    """One corpus.

    Attributes:
        form: how its files are named, as an error says it.
        parse: see the module; None for the generated one.
        missing: clips -> names that its speakers lack.
        certainty: how sure `missing` is.
        seconds: of a typical clip, where none can be opened.
        sound_beside: the sound lies in files of its own.
        sample_rate: of the sound as released, Hz; 0 where unknown.
    """

    form: str
    parse: Callable[[PurePosixPath], dict] | None = None
    missing: Callable[[pd.DataFrame], list[str]] = _nothing_missing
    certainty: str = ""
    seconds: float = 4.0
    sound_beside: bool = False
    sample_rate: int = 0


def clip_labels(
    speaker: str,
    sentence: str,
    emotion: str,
    intensity: int,
    name: str,
    camera: str = "",
    take: str = "",
) -> dict:
    """The labels of a manifest's row.

    Neutral always has intensity 1; a foreign emotion is left out.

    Args:
        speaker: who speaks.
        sentence: what is said.
        emotion: one of `EMOTIONS`, or of `FOREIGN_EMOTIONS`.
        intensity: 1 to 3.
        name: of the clip.
        camera: "" where the corpus has one.
        take: "" where the corpus has none.
    """
    if emotion in FOREIGN_EMOTIONS:
        return {"left_out": FOREIGN_EMOTIONS[emotion]}
    return {
        "name": name,
        "speaker": speaker,
        "sentence": sentence,
        "emotion": emotion,
        "intensity": 1 if emotion == "neutral" else intensity,
        "camera": camera,
        "take": take,
    }


def parse_mead(path: PurePosixPath) -> dict:
    """Labels of M003/video/front/angry/level_3/001.mp4 and M003/audio/angry/level_3/001.m4a.

    Folders are recognised by their names, not by their depth. In copies without folders the name of
    the file has them all, as M003#angry#level_3#001.mp4 or M003_front_angry_level_3_001.mp4; one
    that names no camera counts as front. `take` keeps the file's number, which is no sentence: that
    is common_001 to common_003 where several emotions share it (`MEAD_SHARED`), else angry_017 and
    the like.

    Args:
        path: see the module.

    Raises:
        InputError: for a part that is missing or there twice, and for a neutral above level 1.
    """
    words, numbers = _mead_words(path)
    speakers = [word.upper() for word in words if re.fullmatch(r"[mw]\d{3}", word)]
    emotions = [word for word in words if word in EMOTIONS]
    levels = [word for word in words if re.fullmatch(r"level_[123]", word)]
    cameras = [word for word in words if word in (*MEAD_CAMERAS, "audio")]

    speaker = _the_one("speaker folder (M003, W009)", speakers)
    emotion = _the_one(f"emotion folder ({', '.join(EMOTIONS)})", emotions)
    level = _the_one("level folder (level_1 to level_3)", levels)
    camera = _the_one(f"camera folder ({', '.join(MEAD_CAMERAS)}) or audio folder", cameras)
    take = _the_one("number (001.mp4)", numbers)
    if emotion == "neutral" and level != "level_1":
        raise InputError(f"neutral {level}: neutral has level_1 only")

    if camera == "audio":
        camera = ""
    is_shared = emotion in MEAD_SHARED and int(take) <= MEAD_LAST_SHARED
    sentence = f"common_{take}" if is_shared else f"{emotion}_{take}"
    intensity = level[-1]
    name_parts = (speaker, camera, emotion, intensity, take)
    name = "_".join(part for part in name_parts if part)
    return clip_labels(speaker, sentence, emotion, int(intensity), name, camera, take)


def _mead_words(path: PurePosixPath) -> tuple[list[str], list[str]]:
    """The words of a clip's folders, or of its flat name with its folders, and its number."""
    words = [part.lower() for part in path.parent.parts]
    flat = MEAD_FLAT.fullmatch(path.stem.lower())
    if flat is None:
        return words, re.findall(r"^\d{3}$", path.stem)

    speaker, middle, number = flat.groups()
    known = (*EMOTIONS, *MEAD_CAMERAS, "audio", "level_1", "level_2", "level_3")
    pattern = "|".join(known)
    words += [speaker, *re.findall(rf"(?<![a-z0-9])(?:{pattern})(?![a-z0-9])", middle)]
    if not any(word in (*MEAD_CAMERAS, "audio") for word in words):
        words.append("front")
    return words, [number]


def _the_one(description: str, values: list[str]) -> str:
    """The one value of a list, which may be there several times."""
    if not values:
        raise InputError(f"no {description} in its path")
    if len(set(values)) > 1:
        raise InputError(f"more than one {description} in its path")
    return values[0]


def missing_mead(clips: pd.DataFrame) -> list[str]:
    """Folders speaker/camera/emotion/level without a clip, for the speakers and cameras there are.

    Args:
        clips: speaker, camera, emotion, intensity.
    """
    columns = (clips.speaker, clips.camera, clips.emotion, clips.intensity)
    present = set(zip(*columns, strict=True))
    present_cameras = set(clips.camera)
    cameras = [camera for camera in MEAD_CAMERAS if camera in present_cameras]
    missing = []
    for speaker in sorted(set(clips.speaker)):
        for camera in cameras:
            for emotion in EMOTIONS:
                for level in (1,) if emotion == "neutral" else (1, 2, 3):
                    if (speaker, camera, emotion, level) not in present:
                        missing.append(f"{speaker}/{camera}/{emotion}/level_{level}")
    return missing


def parse_ravdess(path: PurePosixPath) -> dict:
    """Labels of 01-01-05-02-01-01-03.mp4 in any folder.

    The numbers are modality, channel, emotion, intensity, statement, repetition and actor. `silent`
    is true for a file with pictures only (modality 02).

    Args:
        path: see the module.

    Raises:
        InputError: for a name of another form, one that contradicts its folder, and for strong
            neutral.
    """
    match = RAVDESS_NAME.fullmatch(path.stem)
    if not match:
        raise InputError("not seven numbers of RAVDESS, as in 01-01-05-02-01-01-03.mp4")
    modality, channel, emotion, intensity, statement, repetition, actor = match.groups()
    folder = re.search(r"actor_(\d\d)$", path.parent.name.lower())
    if folder and folder[1] != actor:
        raise InputError(
            f"its name says actor {actor}, its folder {path.parent.name}: one of them lies"
        )
    if channel == RAVDESS_SONG:
        return {"left_out": "song; the kit is about speech"}
    if RAVDESS_EMOTIONS[emotion] == "neutral" and RAVDESS_INTENSITIES[intensity] > 2:
        raise InputError("strong neutral: RAVDESS has no such clip, the name lies")

    short_name = path.stem.removeprefix(f"{modality}-{channel}-")
    labels = clip_labels(
        speaker=f"Actor_{actor}",
        sentence=statement,
        emotion=RAVDESS_EMOTIONS[emotion],
        intensity=RAVDESS_INTENSITIES[intensity],
        name=f"ravdess-{short_name}",
        take=repetition,
    )
    labels["silent"] = modality == RAVDESS_SILENT
    return labels


def missing_ravdess(clips: pd.DataFrame) -> list[str]:
    """Speech clips of the full grid that an actor who is there lacks.

    They are named without modality and channel.

    Args:
        clips: speaker, name.
    """
    kinds = []
    for code, emotion in RAVDESS_EMOTIONS.items():
        if emotion in EMOTIONS:
            kinds.append(f"{code}-01")
        if emotion in EMOTIONS and emotion != "neutral":
            kinds.append(f"{code}-02")

    names = set()
    for actor in set(clips.speaker):
        number = actor[-2:]
        for kind in kinds:
            for statement in ("01", "02"):
                for repetition in ("01", "02"):
                    names.add(f"ravdess-{kind}-{statement}-{repetition}-{number}")
    return sorted(names - set(clips.name))


def crema_d_labels(path: Path | str) -> dict:
    """Labels from a CREMA-D file name, actor_sentence_emotion_level.

    Any word may stand for the sentence.

    Args:
        path: the file; only its name is read.

    Raises:
        InputError: for a name of another form, an unknown emotion or an unknown level.

    >>> crema_d_labels(Path("1001_DFA_ANG_XX.flv"))["emotion"]
    'angry'
    """
    name = PurePosixPath(Path(path).name)
    try:
        parsed = _parse_crema_d_name(name)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    labels = {"corpus": "crema-d"}
    for key in ("speaker", "sentence", "emotion", "intensity"):
        labels[key] = parsed[key]
    return labels


def _parse_crema_d_name(path: PurePosixPath) -> dict:
    parts = path.stem.upper().split("_")
    if len(parts) != 4 or not parts[0].isdigit():
        raise InputError(
            "not a CREMA-D name; expected actor_sentence_emotion_level, as 1001_DFA_ANG_XX.flv"
        )
    actor, sentence, emotion, level = parts
    if emotion not in CREMA_D_EMOTIONS or level not in CREMA_D_LEVELS:
        emotions = ", ".join(CREMA_D_EMOTIONS)
        levels = ", ".join(CREMA_D_LEVELS)
        raise InputError(
            f"{emotion}_{level} is not of CREMA-D; emotions are {emotions}, levels {levels}"
        )
    name = f"{actor}_{sentence}_{emotion}_{'XX' if level == 'X' else level}"
    intensity = CREMA_D_LEVELS[level]
    return clip_labels(actor, sentence, CREMA_D_EMOTIONS[emotion], intensity, name)


def parse_crema_d(path: PurePosixPath) -> dict:
    """Labels of 1001_DFA_ANG_XX.flv in any folder; the four clips listed as faulty are left out.

    Args:
        path: see the module.

    Raises:
        InputError: as `crema_d_labels`; also for an unknown sentence.
    """
    labels = _parse_crema_d_name(path)
    if labels["sentence"] not in CREMA_D_SENTENCES:
        sentences = ", ".join(CREMA_D_SENTENCES)
        raise InputError(f"{labels['sentence']} is no sentence of CREMA-D; they are {sentences}")
    fault = CREMA_D_BAD.get(labels["name"])
    if fault is not None:
        return {"left_out": f"faulty by the list of the corpus's page: {fault}"}
    return labels


def missing_crema_d(clips: pd.DataFrame) -> list[str]:
    """Names of the full grid that an actor who is there lacks: 82 each, if the release has them.

    Only the sentence IEO has levels.

    Args:
        clips: speaker, name.
    """
    endings = []
    for sentence in CREMA_D_SENTENCES:
        for emotion in CREMA_D_EMOTIONS:
            has_levels = sentence == "IEO" and emotion != "NEU"
            for level in ("LO", "MD", "HI") if has_levels else ("XX",):
                endings.append(f"{sentence}_{emotion}_{level}")
    names = set()
    for actor in set(clips.speaker):
        names |= {f"{actor}_{ending}" for ending in endings}
    names -= set(clips.name)
    names -= set(CREMA_D_BAD)
    return sorted(name for name in names if not name.startswith(CREMA_D_NEVER_MADE))


CORPORA = {
    "studio": Corpus("generated by notebook 00, no folder of files"),
    "mead": Corpus(
        form="M003/video/front/angry/level_3/001.mp4, or M003#angry#level_3#001.mp4",
        parse=parse_mead,
        missing=missing_mead,
        certainty="the design has every such folder; whether the release has, is not certain, and "
        "how many numbers each holds (about 40 neutral, 30 others) varies and is not checked",
        seconds=3.6,
        sound_beside=True,
    ),
    "ravdess": Corpus(
        form="01-01-05-02-01-01-03.mp4",
        parse=parse_ravdess,
        missing=missing_ravdess,
        certainty="certain: the corpus is a full grid, 52 speech clips an actor without calm",
        seconds=3.7,
        sample_rate=48_000,
    ),
    "crema-d": Corpus(
        form="1001_DFA_ANG_XX.flv",
        parse=parse_crema_d,
        missing=missing_crema_d,
        certainty="certain: the release has 7442 of the grid's 7462 names",
        seconds=2.5,
        sample_rate=44_100,
    ),
    "folder": Corpus(
        "a video in labels.csv, or SPEAKER/EMOTION/SENTENCE.mp4, one name for one sentence"
    ),
}
