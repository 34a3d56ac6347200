"""Speech with exact phoneme times: a voice per person, prosody per emotion, espeak-ng or the committed cache.

    person -> Voice --(emotion, intensity, seed)--> Utterance --(cache | espeak_worker)--> Speech

An `Utterance` is everything that reaches the synthesiser, so its key is the key of the cache.
"""

import functools
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
from scipy.signal import resample_poly

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import EMOTIONS
from cdrl.studio.espeak_worker import SAMPLE_RATE as ESPEAK_RATE
from cdrl.studio.people import sample_person
from cdrl.studio.phonemes import to_phonemes

AUDIO_RATE = 16_000
CACHE = Path(__file__).resolve().parents[2] / "data" / "speech"

FEMALE_VOICES = (
    "f1",
    "f2",
    "f3",
    "f4",
    "f5",
    "Alicia",
    "Andrea",
    "Annie",
    "anika",
    "aunty",
    "belinda",
    "linda",
    "grandma",
    "shelby",
    "steph",
    "steph2",
)
MALE_VOICES = (
    "m1",
    "m2",
    "m3",
    "m4",
    "m5",
    "m6",
    "m7",
    "m8",
    "adam",
    "benjamin",
    "david",
    "edward",
    "john",
    "Lee",
    "max",
    "Michael",
    "michel",
    "mike2",
    "pablo",
    "rob",
    "robert",
    "Gene",
    "travis",
    "Denis",
    "Diogo",
    "Alex",
    "Henrique",
    "miguel",
)

# Emotion at level 3 -> factor of the rate, steps of espeak's pitch and pitch range (0-99), gain in dB.
PROSODY = {
    "angry": (1.12, 9, 22, 4.0),
    "contempt": (0.90, -5, -8, -1.0),
    "disgusted": (0.86, -7, 6, -0.5),
    "fear": (1.20, 17, 4, -1.5),
    "happy": (1.08, 14, 24, 1.5),
    "neutral": (1.00, 0, 0, 0.0),
    "sad": (0.78, -11, -24, -4.0),
    "surprised": (1.03, 21, 32, 2.0),
}
_VOICE_SEED, _PROSODY_SEED, _SPEAKER_PROSODY_SEED = 11, 12, 13
_SYNTHESIS_VOLUME = 60  # low enough that no voice clips; loudness is set afterwards
_LEAD = 882  # samples of silence put in front, 40 ms at 22.05 kHz: every utterance begins with the phoneme `sil`
_LEVEL = 0.07  # root mean square of neutral speech, full scale 1


@dataclass(frozen=True)
class Voice:
    """How one person speaks: espeak voice variant, rate (words a minute), pitch and range (0-99).

    The person's id seeds how strongly each emotion changes these.
    """

    person: int
    name: str
    rate: float
    pitch: float
    range: float


@dataclass(frozen=True)
class Utterance:
    """One request to the synthesiser; `gain` (dB) is applied to its sound afterwards."""

    voice: str
    text: str
    rate: int
    pitch: int
    range: int
    gain: float

    @property
    def key(self) -> str:
        """16 hexadecimal digits, the same for equal utterances on every machine."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Speech:
    """Sound and its phonemes, one after the other without gaps.

    Attributes:
        audio: (S,) float32 in [-1, 1], 16 kHz.
        phoneme: (P,) uint8, positions in `vocabulary.PHONEMES`; the first is silence, the last is not.
        start_seconds, end_seconds: (P,) float64; end[p] == start[p + 1], end[-1] == S / 16000.
    """

    audio: np.ndarray
    phoneme: np.ndarray
    start_seconds: np.ndarray
    end_seconds: np.ndarray


def voice_of(person: int) -> Voice:
    """The voice of a person, drawn once from the person's id; a man's or a woman's as the face is."""
    rng = np.random.default_rng([_VOICE_SEED, person])
    names = FEMALE_VOICES if sample_person(person).sex == "female" else MALE_VOICES
    return Voice(
        person,
        f"en-us+{names[rng.integers(len(names))]}",
        rng.normal(168, 11),
        rng.normal(50, 7),
        rng.normal(46, 8),
    )


def utterance(
    voice: Voice, text: str, emotion: str, intensity: float, seed: tuple[int, ...] = ()
) -> Utterance:
    """What a person's voice does to a text in one emotion.

    Args:
        intensity: level 1 to 3 (MEAD's); the change of prosody grows in proportion.
        seed: numbers that tell takes apart; the same seed gives the same utterance.
    """
    own = np.random.default_rng([_SPEAKER_PROSODY_SEED, voice.person, EMOTIONS.index(emotion)])
    take = np.random.default_rng([_PROSODY_SEED, voice.person, EMOTIONS.index(emotion), *seed])
    rate, pitch, spread, gain = PROSODY[emotion]
    scale = intensity / 3 * own.lognormal(0, 0.25)
    words_per_minute = voice.rate * rate**scale * take.lognormal(0, 0.04)
    return Utterance(
        voice=voice.name,
        text=text,
        rate=int(np.clip(words_per_minute, 100, 260)),
        pitch=int(np.clip(voice.pitch + pitch * scale + take.normal(0, 2.5), 5, 99)),
        range=int(np.clip(voice.range + spread * scale + take.normal(0, 4), 2, 99)),
        gain=round(float(np.clip(gain * scale + take.normal(0, 1), -9, 7)), 1),
    )


def speak(
    voice: Voice, text: str, emotion: str, intensity: float, seed: tuple[int, ...] = ()
) -> Speech:
    """One sentence in one emotion: cache first, then espeak-ng. Some 10 ms, and 0.3 s for the first call of a process.

    >>> speech = speak(voice_of(600), "Push my purple boat.", "neutral", 1, (601, 1, 0))
    >>> 0.8 < len(speech.audio) / 16000 < 1.6
    True
    """
    return speak_all([utterance(voice, text, emotion, intensity, seed)])[0]


def speak_all(utterances: list[Utterance], folder: Path = CACHE) -> list[Speech]:
    """The sound of each utterance, from the cache in `folder` where it is there, else from espeak-ng in one batch.

    Raises:
        InputError: when espeak-ng is needed and not installed, or refuses an utterance.
    """
    cached = read_cache(folder)
    missing = [item for item in utterances if item.key not in cached]
    made = dict(zip([item.key for item in missing], _synthesise(missing)))
    return [_speech(*(cached.get(item.key) or made[item.key])) for item in utterances]


def _speech(audio: np.ndarray, phoneme: list[int], start: list[int]) -> Speech:
    """From stored form: int16 samples, phoneme numbers and their first samples."""
    edges = np.array([*start, len(audio)]) / AUDIO_RATE
    return Speech(
        audio.astype(np.float32) / 32768, np.array(phoneme, np.uint8), edges[:-1], edges[1:]
    )


# --- espeak-ng -------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def _worker(process_id: int) -> subprocess.Popen:
    """This process's own espeak helper (a fork must not share its parent's pipe)."""
    if importlib.util.find_spec("espeakng_loader") is None:
        raise InputError(
            "this sentence is not in the committed speech cache and espeak-ng (package espeakng_loader) is not "
            'installed: pip install -e ".[studio]"'
        )
    root = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "cdrl.studio.espeak_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    )


def _synthesise(utterances: list[Utterance]) -> list[tuple]:
    """(int16 sound at 16 kHz, phoneme numbers, first samples) of each utterance."""
    if not utterances:
        return []
    worker = _worker(os.getpid())
    requests = [{**asdict(item), "volume": _SYNTHESIS_VOLUME} for item in utterances]
    try:
        worker.stdin.write(json.dumps(requests).encode() + b"\n")
        worker.stdin.flush()
        answers = [_read_answer(worker.stdout) for _ in utterances]
    except (BrokenPipeError, EOFError):
        _worker.cache_clear()
        with suppress(BrokenPipeError):
            worker.stdin.close()
        raise InputError(
            "the espeak-ng helper process ended; try again, or reinstall the package espeakng_loader"
        ) from None
    except BaseException:  # interrupted half-way: what is left in the pipe answers nobody
        _worker.cache_clear()
        worker.kill()
        raise
    for item, (header, _) in zip(utterances, answers):
        if "error" in header:
            raise InputError(f"espeak-ng on {item.text!r}: {header['error']}")
    return [
        _finish(item, header["events"], audio) for item, (header, audio) in zip(utterances, answers)
    ]


def _read_answer(pipe) -> tuple[dict, np.ndarray]:
    line = pipe.readline()
    if not line:
        raise EOFError
    header = json.loads(line)
    return header, np.frombuffer(pipe.read(2 * header.get("samples", 0)), "<i2")


def _finish(item: Utterance, events: list, audio: np.ndarray) -> tuple:
    """16 kHz, its loudness set, trailing silence cut; mnemonics turned into our phonemes."""
    audio = np.concatenate([np.zeros(_LEAD, np.int16), audio])
    phoneme, start = to_phonemes([[name, sample + _LEAD] for name, sample in events], len(audio))
    end = len(audio)
    if phoneme[-1] == 0:
        phoneme, start, end = phoneme[:-1], start[:-1], start[-1]
    sound = resample_poly(audio[:end].astype(np.float64), AUDIO_RATE // 50, ESPEAK_RATE // 50)
    sound *= _LEVEL * 10 ** (item.gain / 20) / max(np.sqrt(np.mean(sound**2)), 1e-9)
    sound *= min(1.0, 0.97 / np.abs(sound).max())
    quantised = (
        np.round(sound * 2048).astype(np.int16) * 16
    )  # 12 bits: half the size on disk, noise at -74 dB
    return quantised, phoneme, [round(sample * AUDIO_RATE / ESPEAK_RATE) for sample in start]


# --- cache -----------------------------------------------------------------------------------------------------------


def write_cache(folder: Path, utterances: list[Utterance]) -> None:
    """Synthesise and store: `speech.flac`, all sounds end to end, and `speech.json`, key -> span and phonemes."""
    folder.mkdir(parents=True, exist_ok=True)
    unique = list({item.key: item for item in utterances}.values())
    made = _synthesise(unique)
    table, first = {}, 0
    for item, (audio, phoneme, start) in zip(unique, made):
        table[item.key] = {
            "first": first,
            "samples": len(audio),
            "phoneme": phoneme,
            "start": start,
        }
        first += len(audio)
    partial = folder / "partial.flac"
    with av.open(str(partial), "w", format="flac") as container:
        stream = container.add_stream(
            "flac", rate=AUDIO_RATE, layout="mono", options={"compression_level": "12"}
        )
        stream.codec_context.format = "s16"
        frame = av.AudioFrame.from_ndarray(
            np.concatenate([item[0] for item in made])[None], "s16", "mono"
        )
        frame.sample_rate = AUDIO_RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    os.replace(partial, folder / "speech.flac")
    lines = ",\n".join(
        f'"{key}": {json.dumps(row, separators=(",", ":"))}' for key, row in table.items()
    )
    (folder / "partial.json").write_text("{\n" + lines + "\n}\n")
    os.replace(folder / "partial.json", folder / "speech.json")


@functools.lru_cache(maxsize=4)
def read_cache(folder: Path) -> dict[str, tuple]:
    """Maps a key to (int16 sound, phoneme numbers, first samples); empty where there is no cache."""
    if not (folder / "speech.json").exists():
        return {}
    with av.open(str(folder / "speech.flac")) as container:
        audio = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    table = json.loads((folder / "speech.json").read_text())
    return {
        key: (audio[row["first"] : row["first"] + row["samples"]], row["phoneme"], row["start"])
        for key, row in table.items()
    }
