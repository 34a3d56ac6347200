"""The corpora: how each names its clips, what it ought to hold, and how sure that is. One parse function each.

A parse function reads the labels from a path (below the root, with the root's own name in front), of a video or of a
sound file. It raises InputError with the reason for a name that it cannot read, and returns {"left_out": reason}
for a clip that is the corpus's and not for this kit. Add a corpus: CONTRIBUTING.md.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePosixPath

import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import CREMA_D_EMOTIONS, EMOTIONS, FOREIGN_EMOTIONS, RAVDESS_EMOTIONS

# CREMA-D's levels -> ours; XX means "not specified" and is stored as the middle one (neutral has level 1 only). One
# clip, 1040_ITH_SAD, has a single X in some copies.
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
# The list of faulty clips that the corpus's page gives, as others quote it; not verified here.
CREMA_D_BAD = {
    "1064_IEO_DIS_MD": "a minute long, with every emotion",
    "1064_TIE_SAD_XX": "has no length to speak of",
    "1076_MTI_NEU_XX": "nearly empty",
    "1076_MTI_SAD_XX": "nearly empty, silent",
}
MEAD_CAMERAS = ("front", "left_30", "left_60", "right_30", "right_60", "top", "down")
# Certain: the pairs of the paper's release say that neutral 001 to 003 are said again in these emotions, as 001 to
# 003. In disgusted they are 001 to 003 for some speakers and 028 to 030 for 19 of 36 (which, is not published), so
# there, and for contempt, a number stands for a sentence of its own. All other numbers are sentences of one emotion.
MEAD_SHARED = ("angry", "fear", "happy", "neutral", "sad", "surprised")
MEAD_DOUBTFUL = tuple(f"disgusted_{number:03d}" for number in (1, 2, 3, 28, 29, 30))
# The 47 of the public release that published splits name; its page says "about 48".
MEAD_SPEAKERS = tuple(
    [
        f"M{number:03d}"
        for number in (3, 5, 7, 9, 11, 12, 13, 19, *range(22, 36), 37, 39, 40, 41, 42)
    ]
    + [
        f"W{number:03d}"
        for number in (
            9,
            11,
            14,
            15,
            16,
            18,
            19,
            21,
            23,
            24,
            25,
            26,
            28,
            29,
            33,
            35,
            36,
            37,
            38,
            40,
        )
    ]
)
# RAVDESS's `normal` is stored as the middle level.
RAVDESS_INTENSITIES = {"01": 2, "02": 3}


@dataclass(frozen=True)
class Corpus:
    """One corpus.

    Attributes:
        form: how its files are named, as an error says it. parse: see the module; None for the generated one.
        missing: clips -> names that its speakers lack. certainty: how sure `missing` is.
        seconds: of a typical clip, where none can be opened. sound_beside: the sound lies in files of its own.
        sample_rate: of the sound as released, Hz; 0 where unknown.
    """

    form: str
    parse: Callable[[PurePosixPath], dict] | None = None
    missing: Callable[[pd.DataFrame], list[str]] = lambda clips: []
    certainty: str = ""
    seconds: float = 4.0
    sound_beside: bool = False
    sample_rate: int = 0


def clip_labels(speaker, sentence, emotion, intensity, name, camera="", take="") -> dict:
    """The labels of a manifest's row; neutral always has intensity 1, a foreign emotion is left out."""
    if emotion in FOREIGN_EMOTIONS:
        return {"left_out": FOREIGN_EMOTIONS[emotion]}
    intensity = 1 if emotion == "neutral" else intensity
    return {
        "name": name,
        "speaker": speaker,
        "sentence": sentence,
        "emotion": emotion,
        "intensity": intensity,
        "camera": camera,
        "take": take,
    }


def parse_mead(path: PurePosixPath) -> dict:
    """M003/video/front/angry/level_3/001.mp4 and M003/audio/angry/level_3/001.m4a, parsed by name, not by depth.

    `take` keeps the file's number, which is no sentence: that is common_001 to common_003 where several emotions share
    it (`MEAD_SHARED`), else angry_017 and the like.
    """
    parts = [part.lower() for part in path.parent.parts]
    found = {
        "speaker folder (M003, W009)": [p.upper() for p in parts if re.fullmatch(r"[mw]\d{3}", p)],
        f"emotion folder ({', '.join(EMOTIONS)})": [p for p in parts if p in EMOTIONS],
        "level folder (level_1 to level_3)": [p for p in parts if re.fullmatch(r"level_[123]", p)],
        f"camera folder ({', '.join(MEAD_CAMERAS)}) or audio folder": [
            p for p in parts if p in (*MEAD_CAMERAS, "audio")
        ],
        "number (001.mp4)": re.findall(r"^\d{3}$", path.stem),
    }
    for what, values in found.items():
        if len(set(values)) != 1:
            raise InputError(f"{'no' if not values else 'more than one'} {what} in its path")
    speaker, emotion, level, camera, take = (values[0] for values in found.values())
    camera = "" if camera == "audio" else camera
    if emotion == "neutral" and level != "level_1":
        raise InputError(f"neutral {level}: neutral has level_1 only")
    common = emotion in MEAD_SHARED and int(take) <= 3
    name = "_".join(filter(None, (speaker, camera, emotion, level[-1], take)))
    sentence = f"common_{take}" if common else f"{emotion}_{take}"
    return clip_labels(speaker, sentence, emotion, int(level[-1]), name, camera, take)


def missing_mead(clips: pd.DataFrame) -> list[str]:
    """Folders speaker/camera/emotion/level without a clip, for the speakers and cameras that are there at all."""
    have = set(zip(clips.speaker, clips.camera, clips.emotion, clips.intensity, strict=True))
    levels = [
        (emotion, k) for emotion in EMOTIONS for k in ((1,) if emotion == "neutral" else (1, 2, 3))
    ]
    grid = product(
        sorted(set(clips.speaker)), [c for c in MEAD_CAMERAS if c in set(clips.camera)], levels
    )
    return [f"{s}/{c}/{e}/level_{k}" for s, c, (e, k) in grid if (s, c, e, k) not in have]


def parse_ravdess(path: PurePosixPath) -> dict:
    """01-01-05-02-01-01-03.mp4: modality, channel, emotion, intensity, statement, repetition, actor; any folder."""
    match = re.fullmatch(
        r"(0[123])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])", path.stem
    )
    if not match:
        raise InputError("not seven numbers of RAVDESS, as in 01-01-05-02-01-01-03.mp4")
    modality, channel, emotion, intensity, statement, repetition, actor = match.groups()
    folder = re.search(r"actor_(\d\d)$", path.parent.name.lower())
    if folder and folder[1] != actor:
        raise InputError(
            f"its name says actor {actor}, its folder {path.parent.name}: one of them lies"
        )
    if channel == "02":
        return {"left_out": "song; the kit is about speech"}
    if (emotion, intensity) == ("01", "02"):
        raise InputError("strong neutral: RAVDESS has no such clip, the name lies")
    name = path.stem.removeprefix(f"{modality}-{channel}-")
    found = clip_labels(
        f"Actor_{actor}",
        statement,
        RAVDESS_EMOTIONS[emotion],
        RAVDESS_INTENSITIES[intensity],
        f"ravdess-{name}",
        take=repetition,
    )
    return found | {"silent": modality == "02"}


def missing_ravdess(clips: pd.DataFrame) -> list[str]:
    """Speech clips of the full grid that an actor who is there lacks, named without modality and channel."""
    code = {emotion: number for number, emotion in RAVDESS_EMOTIONS.items()}
    kinds = [
        (e, k) for e in EMOTIONS if e in code for k in (("01",) if e == "neutral" else ("01", "02"))
    ]
    grid = product(sorted(set(clips.speaker)), kinds, ("01", "02"), ("01", "02"))
    names = [f"ravdess-{code[e]}-{k}-{s}-{r}-{actor[-2:]}" for actor, (e, k), s, r in grid]
    return sorted(set(names) - set(clips.name))


def crema_d_labels(path: Path) -> dict:
    """Labels from a CREMA-D file name, actor_sentence_emotion_level; any word may stand for the sentence.

    Raises:
        InputError: for a name of another form, an unknown emotion or an unknown level.

    >>> crema_d_labels(Path("1001_DFA_ANG_XX.flv"))["emotion"]
    'angry'
    """
    try:
        found = _crema_d(PurePosixPath(Path(path).name))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return {"corpus": "crema-d"} | {
        key: found[key] for key in ("speaker", "sentence", "emotion", "intensity")
    }


def _crema_d(path: PurePosixPath) -> dict:
    parts = path.stem.upper().split("_")
    if len(parts) != 4 or not parts[0].isdigit():
        raise InputError(
            "not a CREMA-D name; expected actor_sentence_emotion_level, as 1001_DFA_ANG_XX.flv"
        )
    actor, sentence, emotion, level = parts
    if emotion not in CREMA_D_EMOTIONS or level not in CREMA_D_LEVELS:
        raise InputError(
            f"{emotion}_{level} is not of CREMA-D; emotions are {', '.join(CREMA_D_EMOTIONS)}, levels {', '.join(CREMA_D_LEVELS)}"
        )
    name = "_".join((actor, sentence, emotion, "XX" if level == "X" else level))
    return clip_labels(actor, sentence, CREMA_D_EMOTIONS[emotion], CREMA_D_LEVELS[level], name)


def parse_crema_d(path: PurePosixPath) -> dict:
    """1001_DFA_ANG_XX.flv in any folder; the four clips that are listed as faulty are left out."""
    found = _crema_d(path)
    if found["sentence"] not in CREMA_D_SENTENCES:
        raise InputError(
            f"{found['sentence']} is no sentence of CREMA-D; they are {', '.join(CREMA_D_SENTENCES)}"
        )
    if found["name"] in CREMA_D_BAD:
        return {
            "left_out": f"faulty by the list of the corpus's page: {CREMA_D_BAD[found['name']]}"
        }
    return found


def missing_crema_d(clips: pd.DataFrame) -> list[str]:
    """Names of the full grid that an actor who is there lacks: 82 each, levels for the sentence IEO alone."""
    kinds = [
        (s, e, "XX")
        for s in CREMA_D_SENTENCES
        for e in CREMA_D_EMOTIONS
        if s != "IEO" or e == "NEU"
    ]
    kinds += [
        ("IEO", e, level) for e in CREMA_D_EMOTIONS if e != "NEU" for level in ("LO", "MD", "HI")
    ]
    names = {"_".join((actor, *kind)) for actor in set(clips.speaker) for kind in kinds}
    return sorted(names - set(clips.name) - set(CREMA_D_BAD))


CORPORA = {
    "studio": Corpus("generated by notebook 00, no folder of files"),
    "mead": Corpus(
        "M003/video/front/angry/level_3/001.mp4",
        parse_mead,
        missing_mead,
        "the design has every such folder; whether the release has, is not certain, and how many numbers each holds "
        "(about 40 neutral, 30 others) varies and is not checked",
        3.6,
        True,
    ),
    "ravdess": Corpus(
        "01-01-05-02-01-01-03.mp4",
        parse_ravdess,
        missing_ravdess,
        "certain: the corpus is a full grid, 52 speech clips an actor without calm",
        3.7,
        sample_rate=48_000,
    ),
    "crema-d": Corpus(
        "1001_DFA_ANG_XX.flv",
        parse_crema_d,
        missing_crema_d,
        "20 of the grid's 7462 names do not exist in the release of 7442, so up to 20 are not missed",
        2.5,
        sample_rate=44_100,
    ),
    "folder": Corpus("a video in labels.csv, or SPEAKER/EMOTION/CLIP.mp4"),
}
