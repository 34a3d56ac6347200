"""Speech with exact phoneme times: a voice per person, prosody per emotion, espeak-ng or its cache.

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
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import av
import numpy as np

from cdrl.core.errors import InputError
from cdrl.core.files import atomic_path
from cdrl.core.paths import data_root, import_root
from cdrl.core.vocabulary import EMOTIONS, PHONEMES
from cdrl.media.audio import AUDIO_RATE
from cdrl.studio.espeak_worker import SAMPLE_RATE as ESPEAK_RATE
from cdrl.studio.people import RESERVED_PEOPLE, VERSION, sample_person
from cdrl.studio.phonemes import to_phonemes
from cdrl.studio.tempo import paced

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
# Of people who may score and be sealed (`people.RESERVED_PEOPLE`): nobody else has them.
RESERVED_FEMALE_VOICES = ("steph3", "f5", "shelby", "Annie", "aunty")
RESERVED_MALE_VOICES = (
    "Andy",
    "Hugo",
    "Marco",
    "antonio",
    "sandro",
    "victor",
    "Storm",
    "norbert",
    "paul",
    "pedro",
)


class Prosody(NamedTuple):
    """What an emotion at level 3 does to a voice.

    Attributes:
        rate: factor.
        pitch: steps of espeak's pitch (0-99).
        range: steps of espeak's pitch range (0-99).
        gain: dB.
    """

    rate: float
    pitch: float
    range: float
    gain: float


PROSODY = {
    "angry": Prosody(1.12, 9, 22, 4.0),
    "contempt": Prosody(0.90, -5, -8, -1.0),
    "disgusted": Prosody(0.86, -7, 6, -0.5),
    "fear": Prosody(1.20, 17, 4, -1.5),
    "happy": Prosody(1.08, 14, 24, 1.5),
    "neutral": Prosody(1.00, 0, 0, 0.0),
    "sad": Prosody(0.78, -11, -24, -4.0),
    "surprised": Prosody(1.03, 21, 32, 2.0),
}
_VOICE_SEED, _PROSODY_SEED, _SPEAKER_PROSODY_SEED = 11, 12, 13
_SYNTHESIS_VOLUME = 60  # low enough that no voice clips; loudness is set afterwards
# Samples of silence put in front, 40 ms at 22.05 kHz: every utterance begins with `sil`.
_LEAD = 882
_LEVEL = 0.07  # root mean square of neutral speech, full scale 1
_PEAK = 0.97  # largest sample, full scale 1
_SILENCE = PHONEMES.index("sil")
_FULL_SCALE = 32768  # of int16


@dataclass(frozen=True)
class Voice:
    """How one person speaks.

    The person's id seeds how strongly each emotion changes the voice.

    Attributes:
        person: id.
        name: espeak voice variant.
        rate: words a minute.
        pitch: espeak's, 0-99.
        range: espeak's pitch range, 0-99.
    """

    person: int
    name: str
    rate: float
    pitch: float
    range: float


@dataclass(frozen=True)
class Utterance:
    """One request to the synthesiser.

    Attributes:
        voice: espeak voice variant.
        text: English, or SSML.
        rate: words a minute.
        pitch: espeak's, 0-99.
        range: espeak's pitch range, 0-99.
        gain: dB, applied to the sound afterwards.
    """

    voice: str
    text: str
    rate: int
    pitch: int
    range: int
    gain: float

    @property
    def key(self) -> str:
        """16 hexadecimal digits, the same for equal utterances on every machine."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Speech:
    """Sound and its P phonemes, one after the other without gaps.

    Attributes:
        audio: (S,) float32 in [-1, 1], 16 kHz.
        phoneme: (P,) uint8, positions in `vocabulary.PHONEMES`; the first is silence, the last is
            not.
        start_seconds: (P,) float64.
        end_seconds: (P,) float64; end[p] == start[p + 1], end[-1] == S / 16000.
    """

    audio: np.ndarray
    phoneme: np.ndarray
    start_seconds: np.ndarray
    end_seconds: np.ndarray


class _StoredSpeech(NamedTuple):
    """Speech as the cache holds it."""

    audio: np.ndarray  # (S,) int16, 16 kHz
    phoneme: list[int]  # P positions in `vocabulary.PHONEMES`
    start: list[int]  # first sample of each


def variants_of(person: int, sex: str, version: int = VERSION) -> tuple[str, ...]:
    """The espeak variants that a person's voice is drawn from.

    Args:
        person: id.
        sex: female or male.
        version: of the studio; in version 1 nothing is reserved.
    """
    is_female = sex == "female"
    if person in RESERVED_PEOPLE:
        return RESERVED_FEMALE_VOICES if is_female else RESERVED_MALE_VOICES

    variants = FEMALE_VOICES if is_female else MALE_VOICES
    if version == 1:
        return variants
    return tuple(name for name in variants if name not in RESERVED_FEMALE_VOICES)


def voice_of(person: int, version: int = VERSION) -> Voice:
    """The voice of a person, drawn once from the id; a man's or a woman's, as the face is.

    Args:
        person: id.
        version: of the studio.
    """
    rng = np.random.default_rng([_VOICE_SEED, person])

    variants = variants_of(person, sample_person(person).sex, version)
    variant = variants[rng.integers(len(variants))]

    rate = rng.normal(168, 11)
    pitch = rng.normal(50, 7)
    pitch_range = rng.normal(46, 8)

    return Voice(person, f"en-us+{variant}", rate, pitch, pitch_range)


def utterance(
    voice: Voice,
    text: str,
    emotion: str,
    intensity: float,
    seed: tuple[int, ...] = (),
    version: int = VERSION,
) -> Utterance:
    """A text in a person's voice and one emotion.

    Args:
        voice: of the person.
        text: English.
        emotion: one of `vocabulary.EMOTIONS`.
        intensity: level 1 to 3 (MEAD's); the change of prosody grows in proportion.
        seed: numbers that tell takes apart; the same seed gives the same utterance.
        version: of the studio; 2 has pauses, and words of their own tempo.
    """
    emotion_seed = [voice.person, EMOTIONS.index(emotion)]
    speaker_rng = np.random.default_rng([_SPEAKER_PROSODY_SEED, *emotion_seed])
    rng = np.random.default_rng([_PROSODY_SEED, *emotion_seed, *seed])
    prosody = PROSODY[emotion]
    scale = intensity / 3 * speaker_rng.lognormal(0, 0.25)

    mean_rate = voice.rate * prosody.rate**scale
    mean_pitch = voice.pitch + prosody.pitch * scale
    mean_range = voice.range + prosody.range * scale
    mean_gain = prosody.gain * scale

    rate = np.clip(mean_rate * rng.lognormal(0, 0.04), 100, 260)
    pitch = np.clip(mean_pitch + rng.normal(0, 2.5), 5, 99)
    pitch_range = np.clip(mean_range + rng.normal(0, 4), 2, 99)
    gain = np.clip(mean_gain + rng.normal(0, 1), -9, 7)

    rounded_gain = round(float(gain), 1)
    if version > 1:
        pace = 1.0 if emotion == "neutral" else scale
        text = paced(text, emotion, pace, rng)

    return Utterance(voice.name, text, int(rate), int(pitch), int(pitch_range), rounded_gain)


def cache_folder() -> Path:
    """Folder of the committed speech, in the data folder."""
    return data_root() / "speech"


def speak_all(utterances: Sequence[Utterance], folder: Path | None = None) -> list[Speech]:
    """The sound of each utterance, from a cache where it is there, else from espeak-ng.

    espeak-ng takes some 10 ms for one, and 0.3 s for the first of a process.

    Args:
        utterances: what is missing in the cache is synthesised in one batch.
        folder: of the cache; by default the committed one.

    Raises:
        InputError: when espeak-ng is needed and not installed, or refuses an utterance.

    >>> request = utterance(voice_of(600), "Push my purple boat.", "neutral", 1, (601, 1, 0))
    >>> 0.8 < len(speak_all([request])[0].audio) / 16000 < 1.6
    True
    """
    if folder is None:
        folder = cache_folder()
    cached = read_cache(folder)
    missing = [item for item in utterances if item.key not in cached]

    stored = dict(cached)
    synthesised = _synthesise(missing)
    for item, speech in zip(missing, synthesised, strict=True):
        stored[item.key] = speech

    return [_from_stored(stored[item.key]) for item in utterances]


def _from_stored(stored: _StoredSpeech) -> Speech:
    samples = [*stored.start, len(stored.audio)]
    edges = np.array(samples) / AUDIO_RATE

    audio = stored.audio.astype(np.float32) / _FULL_SCALE
    phoneme = np.array(stored.phoneme, np.uint8)

    return Speech(audio, phoneme, edges[:-1], edges[1:])


# --- espeak-ng --------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def espeak_process(process_id: int) -> subprocess.Popen:
    """The espeak process of one process (a fork must not share its parent's pipe).

    Args:
        process_id: of the process that asks.

    Raises:
        InputError: espeak-ng is not installed.
    """
    if importlib.util.find_spec("espeakng_loader") is None:
        raise InputError(
            "this sentence is not in the committed speech cache and espeak-ng (package "
            'espeakng_loader) is not installed: pip install -e ".[studio]"'
        )

    environment = dict(os.environ)
    search_path = [str(import_root())]
    if environment.get("PYTHONPATH"):
        search_path.append(environment["PYTHONPATH"])

    environment["PYTHONPATH"] = os.pathsep.join(search_path)
    command = [sys.executable, "-m", "cdrl.studio.espeak_worker"]
    pipe = subprocess.PIPE

    return subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment)


def _living_process() -> subprocess.Popen:
    """The espeak process; a new one where the last has ended since it was used."""
    process = espeak_process(os.getpid())
    if process.poll() is None:
        return process

    espeak_process.cache_clear()
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()
    return espeak_process(os.getpid())


def _synthesise(utterances: list[Utterance]) -> list[_StoredSpeech]:
    """Each utterance spoken by espeak-ng."""
    if not utterances:
        return []

    process = _living_process()
    try:
        answers = _exchange(process, utterances)
    except (BrokenPipeError, EOFError):
        espeak_process.cache_clear()
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()
        raise InputError(
            "the espeak-ng process ended; try again, or reinstall the package espeakng_loader"
        ) from None
    except BaseException:  # interrupted half-way: what is left in the pipe answers nobody
        espeak_process.cache_clear()
        process.kill()
        raise

    for item, (header, _) in zip(utterances, answers, strict=True):
        if "error" in header:
            raise InputError(f"espeak-ng on {item.text!r}: {header['error']}")

    speeches = []
    for item, (header, audio) in zip(utterances, answers, strict=True):
        speeches.append(_finish(header["events"], audio, item.gain))

    return speeches


def _exchange(
    process: subprocess.Popen, utterances: list[Utterance]
) -> list[tuple[dict[str, Any], np.ndarray]]:
    """Send requests to an espeak process and read its answers: header and int16 sound."""
    assert process.stdin is not None
    assert process.stdout is not None
    requests = []
    for item in utterances:
        request = asdict(item)
        request["volume"] = _SYNTHESIS_VOLUME
        requests.append(request)

    process.stdin.write(json.dumps(requests).encode() + b"\n")
    process.stdin.flush()

    return [read_answer(process.stdout) for _ in utterances]


def read_answer(pipe: IO[bytes]) -> tuple[dict[str, Any], np.ndarray]:
    """One answer of an espeak process: its header, and sound (S,) int16 at 22.05 kHz.

    Raises:
        EOFError: the process has ended.
    """
    line = pipe.readline()
    if not line:
        raise EOFError
    header = json.loads(line)
    num_bytes = 2 * header.get("samples", 0)

    return header, np.frombuffer(pipe.read(num_bytes), "<i2")


def _finish(events: list[tuple[str, int]], audio: np.ndarray, gain: float) -> _StoredSpeech:
    """Resample to 16 kHz, set the loudness, cut trailing silence, name the phonemes.

    Args:
        events: espeak's mnemonics and their first samples at 22.05 kHz.
        audio: (S,) int16 at 22.05 kHz.
        gain: dB.
    """
    from scipy.signal import resample_poly  # its import takes half a second

    audio = np.concatenate([np.zeros(_LEAD, np.int16), audio])
    shifted = [(mnemonic, sample + _LEAD) for mnemonic, sample in events]
    phoneme, start = to_phonemes(shifted, len(audio))
    end = len(audio)
    if phoneme[-1] == _SILENCE:
        end = start[-1]
        phoneme = phoneme[:-1]
        start = start[:-1]

    sound = audio[:end].astype(np.float64)
    sound = resample_poly(sound, AUDIO_RATE // 50, ESPEAK_RATE // 50)
    sound = _set_level(sound, gain)
    # 12 bits: half the size on disk, noise at -74 dB.
    quantised = np.round(sound * 2048).astype(np.int16) * 16
    start_16k = []
    for sample in start:
        start_16k.append(round(sample * AUDIO_RATE / ESPEAK_RATE))

    return _StoredSpeech(quantised, phoneme, start_16k)


def _set_level(sound: np.ndarray, gain: float) -> np.ndarray:
    """Sound (S,) at the level of its gain (dB), and never above the peak."""
    power = np.mean(sound**2)
    level = np.sqrt(power)
    wanted_level = _LEVEL * 10 ** (gain / 20)
    factor = wanted_level / max(level, 1e-9)
    sound = sound * factor

    peak = np.abs(sound).max()

    return sound * min(1.0, _PEAK / peak)


# --- cache ------------------------------------------------------------------------------------


def write_cache(folder: Path, utterances: Sequence[Utterance]) -> None:
    """Synthesise and store utterances.

    `speech.flac` holds all sounds end to end, `speech.json` the span and the phonemes of each key.

    Args:
        folder: of the cache, made where it is missing.
        utterances: repeated ones are stored once.
    """
    unique = {item.key: item for item in utterances}
    speeches = _synthesise(list(unique.values()))

    lines = []
    first = 0
    for key, speech in zip(unique, speeches, strict=True):
        entry = {
            "first": first,
            "samples": len(speech.audio),
            "phoneme": speech.phoneme,
            "start": speech.start,
        }
        text = json.dumps(entry, separators=(",", ":"))
        lines.append(f'"{key}": {text}')
        first += len(speech.audio)

    with atomic_path(folder / "speech.flac") as path:
        _write_flac(path, np.concatenate([speech.audio for speech in speeches]))

    with atomic_path(folder / "speech.json") as path:
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _write_flac(path: Path, audio: np.ndarray) -> None:
    """Write (S,) int16 samples at 16 kHz."""
    options = {"compression_level": "12"}

    with av.open(f"file:{path}", "w", format="flac") as container:
        stream = container.add_stream("flac", rate=AUDIO_RATE, layout="mono", options=options)
        stream.codec_context.format = av.AudioFormat("s16")

        frame = av.AudioFrame.from_ndarray(audio[None], "s16", "mono")
        frame.sample_rate = AUDIO_RATE

        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@functools.lru_cache(maxsize=4)
def read_cache(folder: Path) -> Mapping[str, _StoredSpeech]:
    """The stored speech of each key; empty where there is no cache."""
    if not (folder / "speech.json").exists():
        return {}

    with av.open(f"file:{folder}/speech.flac") as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]

    audio = np.concatenate(frames)
    table = json.loads((folder / "speech.json").read_text())

    cache = {}
    for key, entry in table.items():
        end = entry["first"] + entry["samples"]
        sound = audio[entry["first"] : end]
        cache[key] = _StoredSpeech(sound, entry["phoneme"], entry["start"])

    return cache
