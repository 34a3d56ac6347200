"""Which clips make up the studio corpus, and the process pool that renders them into a crop store.

A clip is its `ClipSpec`; its name says all of it, so any frame can be made again from the name alone.
"""

import json
import re
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import INTENSITIES, SCORED_EMOTIONS
from cdrl.corpora.store import StoreWriter
from cdrl.studio.acting import ClipSpec, Performance, act, true_edit, utterance_of
from cdrl.studio.sentences import sentence_ids
from cdrl.studio.speech import Speech, speak_all

# Counts up whenever a clip of the same name would look, move or sound different; scores compare within one version.
VERSION = 1
FRAME_RATE = 25.0
_LEVEL_SEED, _DRAW_SEED = 51, 52
_BATCH = 4  # clips a worker is handed at once


@dataclass(frozen=True)
class Split:
    """People and sentences; no person is in two splits, no sentence in two of train, choose, report and judge."""

    people: tuple[int, ...]
    sentences: tuple[int, ...]


SPLITS = {
    # More people for the frozen backbones, who learn from `train` too: people are what they lack.
    "priors": Split((*range(160), *range(1000, 1640)), sentence_ids("train")),
    "train": Split(tuple(range(2000, 2640)), sentence_ids("train")),
    "choose": Split(tuple(range(200, 224)), sentence_ids("choose")),
    "report": Split(tuple(range(300, 324)), sentence_ids("report")),
    "judge": Split(tuple(range(400, 560)), sentence_ids("judge")),
    # For the action reader, on features of backbones that never met them: those fit the people they learnt from better than others.
    "action_tracker": Split(tuple(range(3000, 3640)), sentence_ids("train")),
    # The preset `smoke`: its speech is committed. Its two parts share neither a person nor a sentence.
    "smoke_train": Split(tuple(range(600, 604)), sentence_ids("smoke")[:2]),
    "smoke_report": Split(tuple(range(604, 608)), sentence_ids("smoke")[2:]),
}


def level_of(person: int, sentence: int, emotion: str) -> int:
    """The one intensity, 1 to 3, at which a person says a sentence in an emotion; neutral has 1 only."""
    if emotion == "neutral":
        return 1
    rng = np.random.default_rng([_LEVEL_SEED, person, sentence, SCORED_EMOTIONS.index(emotion)])
    return int(rng.choice(INTENSITIES))


def specs(
    split: str,
    people: int | None = None,
    clips: int | None = None,
    sentences: int | None = None,
    seed: int = 0,
) -> list[ClipSpec]:
    """The clips of a split, in the order of their names' numbers.

    `priors`, `train`, `action_tracker` and `judge` are drawn: each person says `clips / 2` sentences of the split, each in two emotions (parallel
    clips; an odd count gives the last sentence three), so that every emotion comes equally often. The others are
    crossed: the first half of the people says the first half of the sentences, the second half the rest, each in all
    seven scored emotions; a probe fitted on one half meets neither a person nor a sentence of it in the other.

    Args:
        people: how many (drawn splits: the first ones; else half of them from each half). Default: all.
        clips: per person, drawn splits only; default 8.
        sentences: how many in all, half for each half of the people; crossed splits only. Default: all.
        seed: of the draw.

    >>> len(specs("report")), len(specs("report", people=12, sentences=6)), len(specs("train", people=10, clips=8))
    (1008, 252, 80)
    """
    if split not in SPLITS:
        raise InputError(f"unknown split {split!r}: accepted are {', '.join(SPLITS)}")
    chosen = SPLITS[split]
    number = len(chosen.people) if people is None else people
    if not 1 <= number <= len(chosen.people):
        raise InputError(
            f"split {split}: {number} people asked for, it has 1 to {len(chosen.people)}"
        )
    if split in ("priors", "train", "action_tracker", "judge", "smoke_train"):
        return _drawn(chosen, number, 8 if clips is None else clips, seed)
    return _crossed(
        split, chosen, number, len(chosen.sentences) if sentences is None else sentences
    )


def _crossed(split: str, chosen: Split, people: int, sentences: int) -> list[ClipSpec]:
    if people < 2 or not 2 <= sentences <= len(chosen.sentences):
        raise InputError(
            f"split {split}: {people} people and {sentences} sentences asked for; a crossed split takes 2 or more "
            f"people and 2 to {len(chosen.sentences)} sentences"
        )
    found = []
    for size, texts, group in zip(
        ((people + 1) // 2, people // 2),
        _halves(chosen.sentences, sentences),
        _halves(chosen.people, len(chosen.people)),
    ):
        for person in group[:size]:
            found += [
                ClipSpec(person, sentence, emotion, level_of(person, sentence, emotion))
                for sentence in texts
                for emotion in SCORED_EMOTIONS
            ]
    return found


def _halves(items, number: int) -> tuple:
    """The first (number + 1) // 2 of the first half of `items`, and number // 2 of the second."""
    middle = (len(items) + 1) // 2
    return tuple(items[:middle][: (number + 1) // 2]), tuple(items[middle:][: number // 2])


def _drawn(chosen: Split, people: int, clips: int, seed: int) -> list[ClipSpec]:
    if not 2 <= clips <= 2 * len(chosen.sentences):
        raise InputError(
            f"{clips} clips per person asked for: accepted are 2 to {2 * len(chosen.sentences)}"
        )
    found = []
    for person in chosen.people[:people]:
        rng = np.random.default_rng([_DRAW_SEED, seed, person])
        texts = np.sort(rng.choice(chosen.sentences, clips // 2, replace=False))
        emotions = _turns(rng, clips)
        for index, emotion in enumerate(emotions):
            sentence = int(texts[min(index // 2, len(texts) - 1)])
            found.append(ClipSpec(person, sentence, emotion, level_of(person, sentence, emotion)))
    return found


def _turns(rng: np.random.Generator, number: int) -> list[str]:
    """Emotions in turn, a new order each round, never the same in two or three neighbouring places."""
    found: list[str] = []
    while len(found) < number:
        order = [str(name) for name in rng.permutation(SCORED_EMOTIONS)]
        if not set(found[-2:]) & set(order[:2]):
            found += order
    return found[:number]


def smoke_specs() -> list[ClipSpec]:
    """Every clip that the preset `smoke` can ask for, whatever its seed: 112; their speech is committed."""
    drawn = SPLITS["smoke_train"]
    return specs("smoke_report") + [
        ClipSpec(person, sentence, emotion, level_of(person, sentence, emotion))
        for person in drawn.people
        for sentence in drawn.sentences
        for emotion in SCORED_EMOTIONS
    ]


# --- names -----------------------------------------------------------------------------------------------------------


def name_of(spec: ClipSpec) -> str:
    """Name of a clip: person, sentence, emotion, intensity, take.

    >>> name_of(ClipSpec(300, 301, "happy", 3))
    'studio-0300-301-happy-3-0'
    """
    return (
        f"studio-{spec.person:04d}-{spec.sentence:03d}-{spec.emotion}-{spec.intensity}-{spec.take}"
    )


def spec_of(name: str) -> ClipSpec:
    """The clip that a name means; `name_of` turned round.

    Raises:
        InputError: for a name of another form.
    """
    match = re.fullmatch(r"studio-(\d{4,})-(\d{3,})-([a-z]+)-(\d)-(\d+)", name)
    if match is None:
        raise InputError(
            f"{name!r} is no clip of the studio: accepted are names such as studio-0300-301-happy-3-0"
        )
    person, sentence, emotion, intensity, take = match.groups()
    return ClipSpec(int(person), int(sentence), emotion, int(intensity), int(take))


# --- pictures --------------------------------------------------------------------------------------------------------


def render_performance(
    spec: ClipSpec, performance: Performance, size: int = 128
) -> tuple[np.ndarray, np.ndarray]:
    """(T, size, size, 3) uint8 frames of a performance and (T, L, 2) landmarks in their pixels."""
    from cdrl.studio.render import render

    return render(
        spec.person,
        performance.coefficients,
        performance.pose,
        performance.gaze,
        performance.scene,
        size=size,
    )


def render_edit(spec: ClipSpec, emotion: str, intensity: float, size: int = 128) -> np.ndarray:
    """(T, size, size, 3) uint8: the frames of the true edit (evaluation only, never trained on)."""
    return render_performance(spec, true_edit(spec, emotion, intensity), size)[0]


@dataclass(frozen=True)
class Made:
    """What `generate` did: clips and frames written, and (name, reason) of those whose face was not found."""

    clips: int
    frames: int
    missing: tuple[tuple[str, str], ...]


def generate(
    clips: list[ClipSpec],
    out_path: Path,
    split: str,
    frame_size: int = 128,
    crop_size: int = 96,
    workers: int = 2,
    progress: bool = True,
    crop: str = "aligned",
) -> Made:
    """Act, render, find and crop the face, and write a crop store; the same bytes for any number of workers.

    Args:
        clips: as `specs` lists them. out_path: the store's folder; it appears when it is complete.
        split: written to the column of that name. frame_size: pixels, rendered. crop_size: pixels, of the face crop.
        workers: processes; each runs an espeak helper of its own where speech is not cached. 1: in this process.
        crop: aligned or released.

    Returns:
        counts; clips without a face are also listed in the store's `missing.json`.
    """
    batches = [clips[start : start + _BATCH] for start in range(0, len(clips), _BATCH)]
    missing, done, frames = [], 0, 0
    with (
        StoreWriter(out_path, crop) as writer,
        tqdm(total=len(clips), unit="clip", disable=not progress, desc=split) as bar,
    ):
        for batch, results in zip(
            batches, _in_order(batches, (frame_size, crop_size, crop), workers)
        ):
            for spec, result in zip(batch, results):
                if isinstance(result, str):
                    missing.append((name_of(spec), result))
                else:
                    writer.add({**_row(spec), "split": split}, **result)
                    done, frames = done + 1, frames + len(result["face"])
                bar.update()
        (writer.partial / "missing.json").write_text(json.dumps(missing, indent=1))
    if missing and progress:
        tqdm.write(
            f"{split}: no face found in {len(missing)} of {len(clips)} clips, listed in {out_path}/missing.json"
        )
    return Made(done, frames, tuple(missing))


def _row(spec: ClipSpec) -> dict:
    return {
        "name": name_of(spec),
        "corpus": "studio",
        "speaker": f"{spec.person:04d}",
        "sentence": f"{spec.sentence:03d}",
        "emotion": spec.emotion,
        "intensity": spec.intensity,
        "frame_rate": FRAME_RATE,
    }


def _in_order(batches: list, sizes: tuple[int, int, str], workers: int):
    """Results of every batch in order; a pool works a few batches ahead, never more."""
    if workers <= 1:
        yield from (_make(batch, *sizes) for batch in batches)
        return
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=threadpool_limits, initargs=(1,)
    ) as pool:
        waiting, ahead = deque(), iter(batches)
        for batch in ahead:
            waiting.append(pool.submit(_make, batch, *sizes))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _make(batch: list[ClipSpec], frame_size: int, crop_size: int, crop: str) -> list:
    """For each clip the arguments of `StoreWriter.add`, or the reason why its face was not found."""
    speeches = speak_all([utterance_of(spec) for spec in batch])
    return [
        _clip(spec, speech, frame_size, crop_size, crop) for spec, speech in zip(batch, speeches)
    ]


def _clip(spec: ClipSpec, speech: Speech, frame_size: int, crop_size: int, crop: str) -> dict | str:
    from cdrl.media import faces

    performance = act(spec, speech)
    frames, landmarks = render_performance(spec, performance, frame_size)
    try:
        alignment = faces.align(frames, name=name_of(spec), crop=crop)
    except InputError as error:
        return str(error)
    inverse = np.linalg.inv(alignment.transforms[:, :, :2])
    relative = (
        np.einsum("tij,tlj->tli", inverse, landmarks - alignment.transforms[:, None, :, 2])
        / faces.CROP
    )
    return {
        "face": faces.crop(frames, alignment, size=crop_size),
        "transforms": alignment.transforms,
        "audio": performance.audio,
        "mouth_box": alignment.mouth_box,
        "truth": {
            "coefficients": performance.coefficients.astype(np.float16),
            "viseme": performance.viseme,
            "phoneme": performance.phoneme,
            "landmarks": relative.astype(np.float16),
            "pose": performance.pose.astype(np.float16),
            "gaze": performance.gaze.astype(np.float16),
        },
    }
