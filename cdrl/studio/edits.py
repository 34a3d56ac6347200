"""True edits: the same clip acted again in another emotion.

For the evaluation, and for the one row that says what they would be worth. No training may import
this module: the study's upper bound, `paired`, is given a store of those of the training people.
"""

from collections.abc import Sequence
from math import gcd
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cdrl.core.pools import in_order
from cdrl.core.vocabulary import INTENSITIES, SCORED_EMOTIONS
from cdrl.corpora.store import Store
from cdrl.corpora.store_writer import StoreWriter
from cdrl.studio.acting import true_edit
from cdrl.studio.corpus import StoredClip, render_performance, spec_of

ARROW = "->"
SEED = 9101
# Labels of a source that its edits have too.
LABELS = ("corpus", "speaker", "sentence", "frame_rate")


def draw_edits(sources: Store, number: int, seed: int = 0) -> list[tuple[int, str, int]]:
    """Which clips are to be edited into what.

    Targets in turn, never the source's own emotion, and people in turn for each target.

    Args:
        sources: the reporting store.
        number: of edits.
        seed: of the draw.

    Returns:
        (source clip, target emotion, level 1 to 3) each; neutral at level 1.
    """
    rng = np.random.default_rng([seed, SEED])

    clips = sources.clips
    people = sorted(set(clips.speaker))
    num_targets = len(SCORED_EMOTIONS)
    # Rounds until a target meets the same people again.
    period = len(people) // gcd(num_targets + 1, len(people))
    is_scored = clips.emotion.isin(SCORED_EMOTIONS)

    edits = []
    for index in range(number):
        target = SCORED_EMOTIONS[index % num_targets]
        turn = index // num_targets
        person_index = index + turn + turn // period
        person = people[person_index % len(people)]

        is_candidate = is_scored & (clips.emotion != target) & (clips.speaker == person)
        level = 1 if target == "neutral" else int(rng.choice(INTENSITIES))

        clip = rng.choice(np.flatnonzero(is_candidate))
        edits.append((int(clip), target, level))

    return edits


def edit_name(source: str, target: str, level: int) -> str:
    """Name of an edit, as in `studio-0300-301-happy-3-0->angry-2`.

    Args:
        source: name of the clip.
        target: emotion.
        level: 1 to 3.
    """
    return f"{source}{ARROW}{target}-{level}"


def source_of(name: str) -> str:
    """Name of the clip that an edit was made from."""
    source, _, _ = name.partition(ARROW)
    return source


def generate_edits(
    sources: Store,
    edits: Sequence[tuple[int, str, int]],
    out_path: Path,
    frame_size: int,
    crop_size: int,
    workers: int = 2,
) -> None:
    """Render true edits into a store.

    Each is cropped where its SOURCE's face was found, so that pixels compare.

    Args:
        sources: store of the source clips.
        edits: as `draw_edits` lists them.
        out_path: the new store's folder.
        frame_size: pixels, rendered.
        crop_size: pixels, of the face crop.
        workers: processes.
    """
    mouth_boxes = sources.clip_mouth_boxes()
    jobs = []
    for clip, target, level in edits:
        name = sources.clips.iloc[clip]["name"]
        frames = sources.frames(clip)
        transforms = sources.transforms[frames][:]
        jobs.append((name, target, level, transforms, mouth_boxes[clip], frame_size, crop_size))

    with StoreWriter(out_path, sources.crop) as writer:
        results = in_order(_make_edit, jobs, workers)
        bar = tqdm(results, total=len(jobs), unit="clip", desc="true edits")
        for (clip, target, level), result in zip(edits, bar, strict=True):
            source = sources.clips.iloc[clip]
            labels = {key: source[key] for key in LABELS}
            labels["name"] = edit_name(source["name"], target, level)
            labels["split"] = "edits"
            labels["emotion"] = target
            labels["intensity"] = level

            writer.add(labels, *result)


def _make_edit(
    name: str,
    target: str,
    level: int,
    transforms: np.ndarray,
    mouth_box: np.ndarray,
    frame_size: int,
    crop_size: int,
) -> StoredClip:
    """One edit of the clip of this name, in its source's crop."""
    from cdrl.media import faces

    spec = spec_of(name)
    performance = true_edit(spec, target, level)
    frames, landmarks = render_performance(spec, performance, frame_size)
    alignment = faces.Alignment(transforms, mouth_box)
    face = faces.crop(frames, alignment, size=crop_size)

    in_crop = faces.to_crop(landmarks, transforms) / faces.CROP_SIZE
    coefficients = performance.coefficients.astype(np.float16)
    truth = {"coefficients": coefficients, "landmarks": in_crop.astype(np.float16)}

    return StoredClip(face, transforms, performance.audio, mouth_box, truth)
