"""Which clips make up the studio corpus, and the pool that renders them into a crop store.

A clip is its `ClipSpec`; its name says all of it, so any frame can be made again from the name
alone.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from cdrl.core.errors import InputError
from cdrl.core.pools import in_order
from cdrl.core.vocabulary import EMOTIONS, INTENSITIES, SCORED_EMOTIONS
from cdrl.corpora.store_writer import StoreWriter
from cdrl.studio.acting import ClipSpec, Performance, act, true_edit, utterance_of
from cdrl.studio.articulation import FRAME_RATE
from cdrl.studio.people import RESERVED_PEOPLE, VERSION, sample_person, sample_scene
from cdrl.studio.recording import record, sample_recording
from cdrl.studio.sentences import sentence_ids
from cdrl.studio.speech import Speech, speak_all

DEFAULT_CLIPS = 8  # per person, of a drawn split
_LEVEL_SEED, _DRAW_SEED = 51, 52
_BATCH = 4  # clips a worker is given at once
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Split:
    """People and sentences.

    No person is in two splits, no sentence in two of train, choose, report and judge.

    Attributes:
        people: ids.
        sentences: ids.
        is_drawn: each person says some sentences, drawn at random; otherwise the split is crossed
            (see `specs`).
    """

    people: tuple[int, ...]
    sentences: tuple[int, ...]
    is_drawn: bool


_TRAIN_SENTENCES = sentence_ids("train")
_SMOKE_SENTENCES = sentence_ids("smoke")
SPLITS = {
    # More people for the frozen backbones, who also learn from `train`: people are what they lack.
    "priors": Split((*range(160), *range(1000, 1640)), _TRAIN_SENTENCES, is_drawn=True),
    "train": Split(tuple(range(2000, 2640)), _TRAIN_SENTENCES, is_drawn=True),
    "choose": Split(tuple(range(200, 224)), sentence_ids("choose"), is_drawn=False),
    "report": Split(tuple(range(300, 324)), sentence_ids("report"), is_drawn=False),
    "judge": Split(tuple(range(400, 560)), sentence_ids("judge"), is_drawn=True),
    # The backbones fit the people they learnt from better than others, so the action tracker learns
    # from people that they never met.
    "action_tracker": Split(tuple(range(3000, 3640)), _TRAIN_SENTENCES, is_drawn=True),
    # The preset `smoke`: its speech is committed. Its two parts share neither a person nor a
    # sentence.
    "smoke_train": Split(tuple(range(600, 604)), _SMOKE_SENTENCES[:2], is_drawn=True),
    "smoke_report": Split(tuple(range(604, 608)), _SMOKE_SENTENCES[2:], is_drawn=False),
    # People who may score and be sealed, with sentences that nobody else says. In version 2 their
    # voices are nobody else's either. `reserved_people` draws others.
    "reserved": Split(tuple(RESERVED_PEOPLE[:48]), sentence_ids("reserved"), is_drawn=False),
}


# --- lists of clips ---------------------------------------------------------------------------


def level_of(person: int, sentence: int, emotion: str) -> int:
    """The one intensity, 1 to 3, at which a person says a sentence in an emotion.

    Neutral has 1 only.
    """
    if emotion == "neutral":
        return 1
    order = (*SCORED_EMOTIONS, "contempt")
    seed = [_LEVEL_SEED, person, sentence, order.index(emotion)]
    return int(np.random.default_rng(seed).choice(INTENSITIES))


def _leveled_spec(person: int, sentence: int, emotion: str, version: int) -> ClipSpec:
    """The clip of a person, a sentence and an emotion, at its one intensity."""
    level = level_of(person, sentence, emotion)
    return ClipSpec(person, sentence, emotion, level, version=version)


def specs(
    split: str,
    people: int | None = None,
    clips: int | None = None,
    sentences: int | None = None,
    seed: int = 0,
    version: int = VERSION,
) -> list[ClipSpec]:
    """The clips of a split, in the order of their names' numbers.

    `priors`, `train`, `action_tracker` and `judge` are drawn: each person says `clips / 2`
    sentences of the split, each in two emotions (parallel clips; an odd count gives the last
    sentence three), so that every emotion comes equally often. The others are crossed: the first
    half of the people says the first half of the sentences, the second half the rest, each in all
    seven scored emotions; a probe fitted on one half meets neither a person nor a sentence of it in
    the other.

    Args:
        split: key of `SPLITS`.
        people: how many (drawn splits: the first ones; else half of them from each half). Default:
            all.
        clips: per person, drawn splits only; default 8.
        sentences: how many in all, half for each half of the people; crossed splits only. Default:
            all.
        seed: of the draw.
        version: of the studio; in version 2 contempt is drawn as often as the scored emotions.

    Raises:
        InputError: an unknown split, or more than it has.

    >>> len(specs("report")), len(specs("report", people=12, sentences=6))
    (1008, 252)
    >>> len(specs("train", people=10, clips=8))
    80
    """
    if split not in SPLITS:
        raise InputError(f"unknown split {split!r}: accepted are {', '.join(SPLITS)}")

    if split == "reserved" and version == 1:
        raise InputError("split reserved: its voices are of studio version 2; accepted is 2")

    entry = SPLITS[split]
    num_people = len(entry.people) if people is None else people
    if not 1 <= num_people <= len(entry.people):
        raise InputError(
            f"split {split}: {num_people} people asked for, it has 1 to {len(entry.people)}"
        )

    if entry.is_drawn:
        num_clips = DEFAULT_CLIPS if clips is None else clips
        return _drawn(entry, num_people, num_clips, seed, version)

    most_sentences = len(entry.sentences)
    num_sentences = most_sentences if sentences is None else sentences
    if num_people < 2 or not 2 <= num_sentences <= most_sentences:
        raise InputError(
            f"split {split}: {num_people} people and {num_sentences} sentences asked for; a "
            f"crossed split takes 2 or more people and 2 to {most_sentences} sentences"
        )
    return _crossed(entry, num_people, num_sentences, version)


def reserved_people(seed: int, number: int = 48) -> tuple[int, ...]:
    """People drawn from those that are reserved, without the split's own.

    Args:
        seed: 0 or more, such as the digits of a commit.
        number: how many.
    """
    rng = np.random.default_rng([_DRAW_SEED, seed])
    others = RESERVED_PEOPLE[len(SPLITS["reserved"].people) :]
    drawn = rng.choice(len(others), number, replace=False)
    return tuple(others[int(index)] for index in np.sort(drawn))


def reserved_specs(
    seed: int, people: int, sentences: int, version: int = VERSION
) -> list[ClipSpec]:
    """The clips of people drawn from those that are reserved.

    Trainings of version 1 hear the women's voices of these people, from other people.

    Args:
        seed: of `reserved_people`.
        people: how many, half of them for each half of the sentences.
        sentences: how many of the reserved ones.
        version: of the studio.

    Raises:
        InputError: more sentences than are reserved.
    """
    reserved = SPLITS["reserved"]
    if sentences > len(reserved.sentences):
        raise InputError(
            f"{sentences} sealed sentences asked for: 2 to {len(reserved.sentences)} are reserved"
        )
    drawn = Split(reserved_people(seed), reserved.sentences, is_drawn=False)
    return _crossed(drawn, people, sentences, version)


def in_emotion(clips: Sequence[ClipSpec], emotion: str) -> list[ClipSpec]:
    """The same people with the same sentences in one emotion, at its one intensity.

    Args:
        clips: of a crossed split.
        emotion: its name.
    """
    pairs = {(clip.person, clip.sentence, clip.version): None for clip in clips}
    specs_of_emotion = []
    for person, sentence, version in pairs:
        specs_of_emotion.append(_leveled_spec(person, sentence, emotion, version))
    return specs_of_emotion


def _crossed(split: Split, num_people: int, num_sentences: int, version: int) -> list[ClipSpec]:
    """Two halves that share neither people nor sentences, each in all emotions."""
    first_people, second_people = _halves(split.people, num_people)
    first_sentences, second_sentences = _halves(split.sentences, num_sentences)
    first = _all_combinations(first_people, first_sentences, version)
    return first + _all_combinations(second_people, second_sentences, version)


def _all_combinations(
    people: Sequence[int], sentences: Sequence[int], version: int
) -> list[ClipSpec]:
    """Every person with every sentence in every scored emotion."""
    clips = []
    for person in people:
        for sentence in sentences:
            for emotion in SCORED_EMOTIONS:
                clips.append(_leveled_spec(person, sentence, emotion, version))

    return clips


def _halves(items: Sequence[_Item], number: int) -> tuple[Sequence[_Item], Sequence[_Item]]:
    """The first (number + 1) // 2 of the first half of `items`, number // 2 of the second."""
    middle = (len(items) + 1) // 2
    first = items[:middle]
    second = items[middle:]
    return first[: (number + 1) // 2], second[: number // 2]


def _drawn(
    split: Split, num_people: int, num_clips: int, seed: int, version: int
) -> list[ClipSpec]:
    """The first people of a split with sentences drawn for each of them."""
    most = 2 * len(split.sentences)
    if not 2 <= num_clips <= most:
        raise InputError(f"{num_clips} clips per person asked for: accepted are 2 to {most}")

    clips = []
    for person in split.people[:num_people]:
        rng = np.random.default_rng([_DRAW_SEED, seed, person])

        drawn = rng.choice(split.sentences, num_clips // 2, replace=False)
        sentences = np.sort(drawn)

        emotions = SCORED_EMOTIONS if version == 1 else EMOTIONS
        for index, emotion in enumerate(_shuffled_rounds(rng, num_clips, emotions)):
            pair = min(index // 2, len(sentences) - 1)
            sentence = int(sentences[pair])
            clips.append(_leveled_spec(person, sentence, emotion, version))

    return clips


def _shuffled_rounds(rng: np.random.Generator, number: int, accepted: Sequence[str]) -> list[str]:
    """Emotions round by round in a new order, never the same in two or three neighbours."""
    emotions: list[str] = []
    while len(emotions) < number:
        order = [str(emotion) for emotion in rng.permutation(accepted)]

        repeats = set(emotions[-2:]) & set(order[:2])
        if not repeats:
            emotions += order

    return emotions[:number]


def smoke_specs(version: int = VERSION) -> list[ClipSpec]:
    """Every clip that the preset `smoke` can need, whatever its seed: 112 with committed speech.

    Args:
        version: of the studio; the speech of version 1 is committed.
    """
    drawn = SPLITS["smoke_train"]
    report = specs("smoke_report", version=version)
    return report + _all_combinations(drawn.people, drawn.sentences, version)


# --- names ------------------------------------------------------------------------------------


def name_of(spec: ClipSpec) -> str:
    """Name of a clip: version of the studio, person, sentence, emotion, intensity, take.

    >>> name_of(ClipSpec(300, 301, "happy", 3)), name_of(ClipSpec(300, 301, "sad", 1, version=2))
    ('studio-0300-301-happy-3-0', 'studio2-0300-301-sad-1-0')
    """
    version = "" if spec.version == 1 else spec.version
    speaker_and_sentence = f"{spec.person:04d}-{spec.sentence:03d}"
    return f"studio{version}-{speaker_and_sentence}-{spec.emotion}-{spec.intensity}-{spec.take}"


def spec_of(name: str) -> ClipSpec:
    """The clip that a name means; the inverse of `name_of`.

    Raises:
        InputError: for a name of another form.
    """
    match = re.fullmatch(r"studio(\d*)-(\d{4,})-(\d{3,})-([a-z]+)-(\d)-(\d+)", name)
    if match is None:
        raise InputError(
            f"{name!r} is no clip of the studio: accepted are names such as "
            "studio-0300-301-happy-3-0"
        )

    version, person, sentence, emotion, intensity, take = match.groups()
    return ClipSpec(
        int(person), int(sentence), emotion, int(intensity), int(take), int(version or 1)
    )


# --- pictures ---------------------------------------------------------------------------------


def render_performance(
    spec: ClipSpec, performance: Performance, size: int = 128
) -> tuple[np.ndarray, np.ndarray]:
    """Render a performance of a clip's person; version 2 is seen through a camera and a file.

    Args:
        spec: for the person and the version.
        performance: T frames.
        size: side of the frames in pixels.

    Returns:
        Frames (T, size, size, 3) uint8, and landmarks (T, L, 2) in their pixels.
    """
    frames, landmarks = render_clean(spec, performance, size)
    if spec.version > 1:
        frames = record(sample_recording(performance.scene), frames)
    return frames, landmarks


def render_clean(
    spec: ClipSpec, performance: Performance, size: int = 128
) -> tuple[np.ndarray, np.ndarray]:
    """As `render_performance`, before any camera."""
    from cdrl.studio.render import render

    return render(
        sample_person(spec.person, spec.version),
        performance.coefficients,
        performance.pose,
        performance.gaze,
        sample_scene(performance.scene, spec.version),
        size=size,
    )


def render_edit(spec: ClipSpec, emotion: str, intensity: float, size: int = 128) -> np.ndarray:
    """Frames (T, size, size, 3) uint8 of the true edit (evaluation only, never trained on).

    Args:
        spec: the clip.
        emotion: of the edit.
        intensity: level, as in `true_edit`.
        size: side of the frames in pixels.
    """
    frames, _ = render_performance(spec, true_edit(spec, emotion, intensity), size)
    return frames


@dataclass(frozen=True)
class GenerationReport:
    """What `generate` wrote.

    Attributes:
        clips: number of clips.
        frames: number of frames.
        missing: (name, reason) of each clip whose face was not found.
    """

    clips: int
    frames: int
    missing: tuple[tuple[str, str], ...]


class StoredClip(NamedTuple):
    """A clip as `StoreWriter.add` takes it, without its labels.

    Attributes:
        face: (T, C, C, 3) uint8 crops.
        transforms: (T, 2, 3) crop -> frame pixels.
        audio: (S,) 16 kHz.
        mouth_box: (4,) in the crop.
        truth: name -> (T, ...).
    """

    face: np.ndarray
    transforms: np.ndarray
    audio: np.ndarray
    mouth_box: np.ndarray
    truth: dict[str, np.ndarray]


def generate(
    clips: list[ClipSpec],
    out_path: Path,
    split: str,
    frame_size: int = 128,
    crop_size: int = 96,
    workers: int = 2,
    progress: bool = True,
    crop: str = "aligned",
) -> GenerationReport:
    """Act, render, find and crop the face, and write a crop store.

    The store has the same bytes for any number of workers.

    Args:
        clips: as `specs` lists them.
        out_path: the store's folder; it appears when it is complete.
        split: written to the column of that name.
        frame_size: pixels, rendered.
        crop_size: pixels, of the face crop.
        workers: processes; each runs an espeak process of its own where speech is not cached. 1: in
            this process.
        progress: show a bar.
        crop: aligned or released.

    Returns:
        Counts; clips without a face are also listed in the store's `missing.json`.
    """
    jobs = []
    for start in range(0, len(clips), _BATCH):
        batch = clips[start : start + _BATCH]
        jobs.append((batch, frame_size, crop_size, crop))

    missing: list[tuple[str, str]] = []

    bar = tqdm(total=len(clips), unit="clip", disable=not progress, desc=split)
    with StoreWriter(out_path, crop) as writer, bar:
        batches = in_order(_make_batch, jobs, workers)
        for (batch, *_), results in zip(jobs, batches, strict=True):
            for spec, result in zip(batch, results, strict=True):
                if isinstance(result, str):
                    missing.append((name_of(spec), result))
                else:
                    writer.add(_labels(spec, split), *result)
                bar.update()

        missing_path = writer.partial / "missing.json"
        missing_path.write_text(json.dumps(missing, indent=1))

    if missing and progress:
        tqdm.write(
            f"{split}: no face found in {len(missing)} of {len(clips)} clips, listed in "
            f"{out_path}/missing.json"
        )

    num_clips = len(clips) - len(missing)

    return GenerationReport(num_clips, writer.frames, tuple(missing))


def _labels(spec: ClipSpec, split: str) -> dict[str, str | int | float]:
    """A clip's row of the store."""
    return {
        "name": name_of(spec),
        "corpus": "studio",
        "speaker": f"{spec.person:04d}",
        "sentence": f"{spec.sentence:03d}",
        "emotion": spec.emotion,
        "intensity": spec.intensity,
        "frame_rate": FRAME_RATE,
        "split": split,
    }


def _make_batch(
    batch: list[ClipSpec], frame_size: int, crop_size: int, crop: str
) -> list[StoredClip | str]:
    """Each clip, or the reason why its face was not found."""
    utterances = [utterance_of(spec) for spec in batch]

    clips = []
    for spec, speech in zip(batch, speak_all(utterances), strict=True):
        clips.append(_make_clip(spec, speech, frame_size, crop_size, crop))

    return clips


def _make_clip(
    spec: ClipSpec, speech: Speech, frame_size: int, crop_size: int, crop: str
) -> StoredClip | str:
    from cdrl.media import faces

    performance = act(spec, speech)
    frames, landmarks = render_performance(spec, performance, frame_size)
    try:
        alignment = faces.align(frames, name=name_of(spec), crop=crop)
    except InputError as error:
        return str(error)

    transforms = alignment.transforms
    face = faces.crop(frames, alignment, size=crop_size)
    in_crop = faces.to_crop(landmarks, transforms) / faces.CROP_SIZE
    truth = _stored_truth(performance, in_crop)

    return StoredClip(face, transforms, performance.audio, alignment.mouth_box, truth)


def _stored_truth(performance: Performance, landmarks: np.ndarray) -> dict[str, np.ndarray]:
    """The truth of T frames as the store keeps it.

    Args:
        performance: T frames.
        landmarks: (T, L, 2) in the crop, 0 to 1.
    """
    truth = {}
    truth["coefficients"] = performance.coefficients.astype(np.float16)
    truth["viseme"] = performance.viseme
    truth["phoneme"] = performance.phoneme

    truth["landmarks"] = landmarks.astype(np.float16)
    truth["pose"] = performance.pose.astype(np.float16)
    truth["gaze"] = performance.gaze.astype(np.float16)

    return truth
