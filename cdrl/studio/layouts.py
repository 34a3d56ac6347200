"""Studio clips as files in the folders of real corpora, so that whatever reads those meets a full, crossed tree.

Every person says every sentence in every emotion that the corpus has, once. Names, codecs and sample rates are the
corpus's own; pictures are square and run at the studio's 25 frames a second, and nobody in them exists.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from scipy.signal import resample_poly
from tqdm import tqdm

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import CREMA_D_EMOTIONS, SCORED_EMOTIONS
from cdrl.media.encoding import SYNTHETIC
from cdrl.studio.acting import ClipSpec, act, utterance_of
from cdrl.studio.articulation import FRAME_RATE
from cdrl.studio.corpus import SPLITS, level_of, render_performance
from cdrl.studio.people import sample_person
from cdrl.studio.speech import AUDIO_RATE, speak_all

RAVDESS_CODES = {
    "neutral": "01",
    "happy": "03",
    "sad": "04",
    "angry": "05",
    "fear": "06",
    "disgusted": "07",
    "surprised": "08",
}
CREMA_D_CODES = {name: code for code, name in CREMA_D_EMOTIONS.items()}
CREMA_D_SENTENCES = (
    "DFA",
    "IEO",
    "IOM",
    "ITH",
    "ITS",
    "IWL",
    "IWW",
    "MTI",
    "TAI",
    "TIE",
    "TSI",
    "WSI",
)
MEAD_NAMES = {"male": ("M003", "M005", "M007", "M009"), "female": ("W009", "W011", "W014", "W015")}
# Container -> its name in FFmpeg, codecs of picture and sound.
FORMATS = {
    ".mp4": ("mp4", "libx264", "aac"),
    ".flv": ("flv", "flv1", "libmp3lame"),
    ".m4a": ("ipod", None, "aac"),
    ".wav": ("wav", None, "pcm_s16le"),
}


@dataclass(frozen=True)
class Layout:
    """One corpus's folders: `files` gives path -> (pictures?, sound?) of a clip."""

    files: Callable
    emotions: tuple[str, ...]
    sentences: int
    sample_rate: int


def _mead(spec: ClipSpec, speaker: int, sentence: int) -> dict:
    sex = sample_person(spec.person).sex
    place = f"{spec.emotion}/level_{spec.intensity}/{sentence + 1:03d}"
    name = MEAD_NAMES[sex][speaker]
    return {
        f"{name}/video/front/{place}.mp4": (True, False),
        f"{name}/audio/{place}.m4a": (False, True),
    }


def _ravdess(spec: ClipSpec, speaker: int, sentence: int) -> dict:
    actor = 2 * speaker + (1 if sample_person(spec.person).sex == "male" else 2)
    strength = "02" if spec.intensity == 3 else "01"
    stem = f"01-{RAVDESS_CODES[spec.emotion]}-{strength}-{sentence + 1:02d}-01-{actor:02d}"
    return {
        f"Actor_{actor:02d}/01-{stem}.mp4": (True, True),
        f"Actor_{actor:02d}/03-{stem}.wav": (False, True),
    }


def _crema_d(spec: ClipSpec, speaker: int, sentence: int) -> dict:
    level = "XX" if spec.emotion == "neutral" else ("LO", "MD", "HI")[spec.intensity - 1]
    stem = f"{1001 + speaker}_{CREMA_D_SENTENCES[sentence]}_{CREMA_D_CODES[spec.emotion]}_{level}"
    return {f"{stem}.flv": (True, True)}


LAYOUTS = {
    "mead": Layout(_mead, SCORED_EMOTIONS, 3, 44_100),
    "ravdess": Layout(_ravdess, SCORED_EMOTIONS, 2, 48_000),
    "crema-d": Layout(_crema_d, tuple(CREMA_D_EMOTIONS.values()), 12, 44_100),
}


def write_layout(
    layout: str,
    out: Path,
    people: int = 2,
    sentences: int = 2,
    size: int = 256,
    emotions: tuple[str, ...] | None = None,
    progress: bool = True,
    level: int = 0,
) -> list[Path]:
    """Render and write a tree of clips; a file that is there already is kept, so the same call resumes.

    Up to four people and two sentences have committed speech; more need espeak-ng.

    Args:
        layout: mead, ravdess or crema-d. people: 1 to 4. sentences: from 1 to what the corpus's names can tell apart.
        size: pixels a side. emotions: of the corpus's; default all. level: 1 to 3 for every clip that is not neutral; 0: one of
            them for each clip, as in the studio.

    Returns:
        The files, in order. MEAD's videos are silent: its sound lies in files of its own.

    Raises:
        InputError: for another layout, number or emotion.
    """
    out, files = Path(out), {}
    for spec, speaker, sentence in _clips(layout, people, sentences, emotions, level):
        files |= {
            out / name: (spec, parts)
            for name, parts in LAYOUTS[layout].files(spec, speaker, sentence).items()
        }
    made = None
    for path, (spec, (pictures, sound)) in tqdm(
        files.items(), desc=layout, unit="file", disable=not progress
    ):
        if path.exists():
            continue
        if made is None or made[0] != spec:
            performance = act(spec, speak_all([utterance_of(spec)])[0])
            made = spec, render_performance(spec, performance, size)[0], performance.audio
        _write(
            path,
            made[1] if pictures else None,
            made[2] if sound else None,
            LAYOUTS[layout].sample_rate,
        )
    return list(files)


def _clips(
    layout: str, people: int, sentences: int, emotions: tuple[str, ...] | None, level: int
) -> list:
    """(spec, number of the speaker, number of the sentence) of every clip."""
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout {layout!r}: accepted are {', '.join(LAYOUTS)}")
    chosen = LAYOUTS[layout]
    if not (1 <= people <= 4 and 1 <= sentences <= chosen.sentences):
        raise InputError(
            f"layout {layout}: {people} people and {sentences} sentences asked for; it has 1 to 4 people and 1 to "
            f"{chosen.sentences} sentences"
        )
    if level not in (0, 1, 2, 3):
        raise InputError(
            f"layout {layout}: level {level} asked for; accepted are 1 to 3, or 0 for one of them drawn for each clip"
        )
    strange = set(emotions or ()) - set(chosen.emotions)
    if strange:
        raise InputError(
            f"layout {layout}: no {', '.join(sorted(strange))}; accepted are {', '.join(chosen.emotions)}"
        )
    spoken = (
        SPLITS["smoke_train"]
        if sentences <= len(SPLITS["smoke_train"].sentences)
        else SPLITS["train"]
    )
    return [
        (
            ClipSpec(person, sentence, emotion, _level(level, person, sentence, emotion)),
            speaker,
            number,
        )
        for speaker, person in enumerate(spoken.people[:people])
        for number, sentence in enumerate(spoken.sentences[:sentences])
        for emotion in emotions or chosen.emotions
    ]


def _level(asked: int, person: int, sentence: int, emotion: str) -> int:
    return asked if asked and emotion != "neutral" else level_of(person, sentence, emotion)


def _write(
    path: Path, frames: np.ndarray | None, audio: np.ndarray | None, sample_rate: int
) -> None:
    """One file, under a temporary name until it is complete."""
    kind, video_codec, audio_codec = FORMATS[path.suffix]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with av.open(str(partial), "w", format=kind) as container:
            container.metadata["comment"] = SYNTHETIC
            video = sound = None
            if frames is not None:
                rate = Fraction(FRAME_RATE).limit_denominator(1000)
                video = container.add_stream(
                    video_codec, rate=rate, options={"crf": "18"} if kind == "mp4" else {}
                )
                video.height, video.width, video.pix_fmt = *frames.shape[1:3], "yuv420p"
                video.bit_rate = 0 if kind == "mp4" else 4_000_000
            if audio is not None:
                sound = container.add_stream(audio_codec, rate=sample_rate, layout="mono")
                heard = resample_poly(audio, sample_rate // 100, AUDIO_RATE // 100).astype(
                    np.float32
                )
            for number in range(0 if frames is None else len(frames)):
                container.mux(
                    video.encode(av.VideoFrame.from_ndarray(frames[number], format="rgb24"))
                )
            if sound is not None:
                frame = av.AudioFrame.from_ndarray(
                    np.clip(heard, -1, 1)[None], format="fltp", layout="mono"
                )
                frame.sample_rate, frame.pts = sample_rate, 0
                resampler = av.AudioResampler(sound.codec_context.format, "mono", sample_rate)
                for piece in [*resampler.resample(frame), *resampler.resample(None)]:
                    container.mux(sound.encode(piece))
            for stream in filter(None, (video, sound)):
                container.mux(stream.encode(None))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
