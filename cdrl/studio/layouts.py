"""Studio clips as files in the folders of real corpora, or of a folder of one's own.

Whatever reads those corpora meets a full, crossed tree: every person says every sentence in every
emotion that the corpus has, once. Names, codecs and sample rates are the corpus's own; pictures are
square and run at the studio's 25 frames a second, and nobody in them exists.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from tqdm import tqdm

from cdrl.core.errors import InputError
from cdrl.core.files import atomic_path
from cdrl.core.vocabulary import CREMA_D_EMOTIONS, SCORED_EMOTIONS
from cdrl.corpora.adapters import CREMA_D_SENTENCES
from cdrl.media.audio import AUDIO_RATE
from cdrl.studio.acting import ClipSpec, act
from cdrl.studio.articulation import FRAME_RATE
from cdrl.studio.corpus import SPLITS, level_of, render_performance
from cdrl.studio.people import VERSION, check_version, sample_person

# What every file says of itself in its metadata.
RENDERED = "Rendered by the cdrl studio; nobody here exists"
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
CREMA_D_LEVELS = {1: "LO", 2: "MD", 3: "HI"}
MEAD_NAMES = {"male": ("M003", "M005", "M007", "M009"), "female": ("W009", "W011", "W014", "W015")}
FOLDER_NAMES = ("ann", "bo", "cam", "dee")
MOST_PEOPLE = 4


class Format(NamedTuple):
    """A kind of file.

    Attributes:
        container: its name in FFmpeg.
        video_codec: None for sound alone.
        audio_codec: name in FFmpeg.
    """

    container: str
    video_codec: str | None
    audio_codec: str


FORMATS = {
    ".mp4": Format("mp4", "libx264", "aac"),
    ".flv": Format("flv", "flv1", "libmp3lame"),
    ".m4a": Format("ipod", None, "aac"),
    ".wav": Format("wav", None, "pcm_s16le"),
}


class Tracks(NamedTuple):
    """What a file of a clip holds."""

    video: bool
    audio: bool


VIDEO = Tracks(video=True, audio=False)
SOUND = Tracks(video=False, audio=True)
VIDEO_WITH_SOUND = Tracks(video=True, audio=True)


@dataclass(frozen=True)
class Layout:
    """The folders of one corpus.

    Attributes:
        files: (spec, number of the speaker, number of the sentence) -> path of each file of a clip
            and what it holds.
        emotions: those of the corpus.
        num_sentences: how many its names can tell apart.
        sample_rate: of its sound, Hz.
    """

    files: Callable[[ClipSpec, int, int], dict[str, Tracks]]
    emotions: tuple[str, ...]
    num_sentences: int
    sample_rate: int


def _mead_files(spec: ClipSpec, speaker: int, sentence: int) -> dict[str, Tracks]:
    sex = sample_person(spec.person).sex
    name = MEAD_NAMES[sex][speaker]

    clip = f"{spec.emotion}/level_{spec.intensity}/{sentence + 1:03d}"

    video_path = f"{name}/video/front/{clip}.mp4"
    audio_path = f"{name}/audio/{clip}.m4a"

    return {video_path: VIDEO, audio_path: SOUND}


def _ravdess_files(spec: ClipSpec, speaker: int, sentence: int) -> dict[str, Tracks]:
    is_male = sample_person(spec.person).sex == "male"
    actor = 2 * speaker + (1 if is_male else 2)  # men have odd numbers
    code = RAVDESS_CODES[spec.emotion]
    strength = "02" if spec.intensity == 3 else "01"

    stem = f"01-{code}-{strength}-{sentence + 1:02d}-01-{actor:02d}"
    folder = f"Actor_{actor:02d}"

    return {f"{folder}/01-{stem}.mp4": VIDEO_WITH_SOUND, f"{folder}/03-{stem}.wav": SOUND}


def _crema_d_files(spec: ClipSpec, speaker: int, sentence: int) -> dict[str, Tracks]:
    is_neutral = spec.emotion == "neutral"
    level = "XX" if is_neutral else CREMA_D_LEVELS[spec.intensity]
    sentence_code = sorted(CREMA_D_SENTENCES)[sentence]
    emotion_code = CREMA_D_CODES[spec.emotion]

    actor = 1001 + speaker
    name = f"{actor}_{sentence_code}_{emotion_code}_{level}.flv"

    return {name: VIDEO_WITH_SOUND}


def _folder_files(spec: ClipSpec, speaker: int, sentence: int) -> dict[str, Tracks]:
    name = FOLDER_NAMES[speaker]
    return {f"{name}/{spec.emotion}/sentence_{sentence + 1}.mp4": VIDEO_WITH_SOUND}


LAYOUTS = {
    "mead": Layout(_mead_files, SCORED_EMOTIONS, 3, 44_100),
    "ravdess": Layout(_ravdess_files, SCORED_EMOTIONS, 2, 48_000),
    "crema-d": Layout(_crema_d_files, tuple(CREMA_D_EMOTIONS.values()), 12, 44_100),
    "folder": Layout(_folder_files, SCORED_EMOTIONS, 12, 48_000),
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
    version: int = VERSION,
) -> list[Path]:
    """Render and write a tree of clips.

    A file that is there already is kept, so the same call resumes. Up to four people and two
    sentences have committed speech; more need espeak-ng.

    Args:
        layout: mead, ravdess, crema-d or folder.
        out: root of the tree.
        people: 1 to 4.
        sentences: from 1 to what the corpus's names can tell apart.
        size: pixels a side.
        emotions: of the corpus's; default all.
        progress: show a bar.
        level: 1 to 3 for every clip that is not neutral; 0: one of them for each clip, as in the
            studio.
        version: of the studio; 2 needs espeak-ng.

    Returns:
        The files, in order. MEAD's videos are silent: its sound lies in files of its own.

    Raises:
        InputError: for another layout, number or emotion.
    """
    check_version(version)
    clips = _clips(layout, people, sentences, emotions, level)
    entry = LAYOUTS[layout]

    files: dict[Path, Tracks] = {}
    for drawn in tqdm(clips, desc=layout, unit="clip", disable=not progress):
        clip = drawn._replace(spec=replace(drawn.spec, version=version))
        missing: dict[Path, Tracks] = {}
        clip_files = entry.files(clip.spec, clip.speaker, clip.sentence)
        for name, tracks in clip_files.items():
            path = Path(out) / name
            files[path] = tracks

            if not path.exists():
                missing[path] = tracks

        if missing:
            _write_clip(clip.spec, missing, size, entry.sample_rate)

    return list(files)


class _Clip(NamedTuple):
    """A clip with the numbers of its speaker and its sentence in the layout."""

    spec: ClipSpec
    speaker: int
    sentence: int


def _clips(
    layout: str, people: int, sentences: int, emotions: tuple[str, ...] | None, level: int
) -> list[_Clip]:
    _check(layout, people, sentences, emotions, level)
    has_committed_speech = sentences <= len(SPLITS["smoke_train"].sentences)
    split = SPLITS["smoke_train" if has_committed_speech else "train"]

    clips = []
    for speaker, person in enumerate(split.people[:people]):
        for number, sentence in enumerate(split.sentences[:sentences]):
            for emotion in emotions or LAYOUTS[layout].emotions:
                intensity = level_of(person, sentence, emotion)
                if level and emotion != "neutral":
                    intensity = level

                spec = ClipSpec(person, sentence, emotion, intensity)
                clips.append(_Clip(spec, speaker, number))

    return clips


def _check(
    layout: str, people: int, sentences: int, emotions: tuple[str, ...] | None, level: int
) -> None:
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout {layout!r}: accepted are {', '.join(LAYOUTS)}")

    entry = LAYOUTS[layout]
    if not (1 <= people <= MOST_PEOPLE and 1 <= sentences <= entry.num_sentences):
        raise InputError(
            f"layout {layout}: {people} people and {sentences} sentences asked for; it has 1 to "
            f"{MOST_PEOPLE} people and 1 to {entry.num_sentences} sentences"
        )

    if level not in (0, 1, 2, 3):
        raise InputError(
            f"layout {layout}: level {level} asked for; accepted are 1 to 3, or 0 for one of them "
            "drawn for each clip"
        )

    unknown = set(emotions or ()) - set(entry.emotions)
    if unknown:
        names = ", ".join(sorted(unknown))
        raise InputError(f"layout {layout}: no {names}; accepted are {', '.join(entry.emotions)}")


def _write_clip(spec: ClipSpec, files: dict[Path, Tracks], size: int, sample_rate: int) -> None:
    """Act and render a clip once, and write its files.

    Args:
        spec: the clip.
        files: path -> what it holds.
        size: pixels a side.
        sample_rate: of the sound in the files, Hz.
    """
    performance = act(spec)
    frames, _ = render_performance(spec, performance, size)

    for path, tracks in files.items():
        video = frames if tracks.video else None
        audio = performance.audio if tracks.audio else None

        _write_file(path, video, audio, sample_rate)


def _write_file(
    path: Path, frames: np.ndarray | None, audio: np.ndarray | None, sample_rate: int
) -> None:
    """Write one file, which appears when it is complete.

    Args:
        path: the suffix decides the format.
        frames: (T, H, W, 3) uint8, or no video.
        audio: (S,) 16 kHz, or no sound.
        sample_rate: of the sound in the file, Hz.
    """
    file_format = FORMATS[path.suffix]
    with (
        atomic_path(path) as temporary,
        av.open(f"file:{temporary}", "w", format=file_format.container) as container,
    ):
        container.metadata["comment"] = RENDERED
        streams: list[VideoStream | AudioStream] = []
        if frames is not None:
            video = _add_video_stream(container, file_format, frames.shape[1:3])
            streams.append(video)
        if audio is not None:
            added = container.add_stream(file_format.audio_codec, rate=sample_rate, layout="mono")
            sound = cast(AudioStream, added)
            streams.append(sound)

        if frames is not None:
            for image in frames:
                container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        if audio is not None:
            _encode_audio(container, sound, audio)

        for stream in streams:
            container.mux(stream.encode(None))


def _add_video_stream(
    container: OutputContainer, file_format: Format, shape: tuple[int, ...]
) -> VideoStream:
    """A stream for frames of a height and a width, of nearly no loss."""
    is_mp4 = file_format.container == "mp4"
    rate = Fraction(FRAME_RATE).limit_denominator(1000)
    options = {"crf": "18"} if is_mp4 else {}
    added = container.add_stream(str(file_format.video_codec), rate=rate, options=options)
    stream = cast(VideoStream, added)

    stream.height, stream.width = shape
    stream.pix_fmt = "yuv420p"
    stream.bit_rate = 0 if is_mp4 else 4_000_000

    return stream


def _encode_audio(container: OutputContainer, stream: AudioStream, audio: np.ndarray) -> None:
    """Encode (S,) samples at 16 kHz at the stream's own rate."""
    from scipy.signal import resample_poly  # its import takes half a second

    rate = stream.rate
    resampled = resample_poly(audio, rate // 100, AUDIO_RATE // 100)
    samples = np.clip(resampled.astype(np.float32), -1, 1)

    frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
    frame.sample_rate = rate
    frame.pts = 0

    resampler = av.AudioResampler(stream.codec_context.format, "mono", rate)
    pieces = [*resampler.resample(frame), *resampler.resample(None)]
    for piece in pieces:
        container.mux(stream.encode(piece))
