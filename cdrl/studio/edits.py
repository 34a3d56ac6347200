"""True edits: the same clip acted again in another emotion. For the evaluation, and for the one row that says what they would be worth.

No training may import this module: the study's upper bound, `paired`, is handed a store of those of the training people.
"""

from math import gcd
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cdrl.core.vocabulary import INTENSITIES, SCORED_EMOTIONS
from cdrl.corpora.store import Store, StoreWriter
from cdrl.studio.acting import ClipSpec, true_edit, utterance_of
from cdrl.studio.corpus import render_performance, spec_of
from cdrl.studio.pools import in_order
from cdrl.studio.speech import speak_all

ARROW = "->"


def draw_edits(sources: Store, number: int, seed: int = 0) -> list[tuple[int, str, int]]:
    """Which clips are to be edited into what: targets in turn, never the source's own emotion, people in turn for each target.

    Args:
        sources: the reporting store. number: edits.

    Returns:
        (source clip, target emotion, level 1 to 3) each; neutral at level 1.
    """
    random, found = np.random.default_rng([seed, 9101]), []
    clips, people = sources.clips, sorted(set(sources.clips.speaker))
    period = len(people) // gcd(
        len(SCORED_EMOTIONS) + 1, len(people)
    )  # rounds until a target meets the same people again
    for k in range(number):
        target, turn = SCORED_EMOTIONS[k % len(SCORED_EMOTIONS)], k // len(SCORED_EMOTIONS)
        person = people[(k + turn + turn // period) % len(people)]
        fitting = np.flatnonzero(
            (clips.speaker == person)
            & (clips.emotion != target)
            & clips.emotion.isin(SCORED_EMOTIONS)
        )
        level = 1 if target == "neutral" else int(random.choice(INTENSITIES))
        found.append((int(random.choice(fitting)), target, level))
    return found


def edit_name(source: str, target: str, level: int) -> str:
    """Name of an edit, as in `studio-0300-301-happy-3-0->angry-2`."""
    return f"{source}{ARROW}{target}-{level}"


def source_of(name: str) -> str:
    """Name of the clip that an edit was made from."""
    return name.split(ARROW)[0]


def generate_edits(
    sources: Store,
    wanted: list[tuple[int, str, int]],
    out_path: Path,
    frame_size: int,
    crop_size: int,
    workers: int = 2,
) -> None:
    """Render true edits into a store, each cropped where its SOURCE's face was found, so that pixels compare.

    Args:
        sources: store of the source clips. wanted: as `draw_edits` lists them. workers: processes.
    """
    jobs = []
    for clip, target, level in wanted:
        row = sources.clips.iloc[clip]
        box = row[["mouth_left", "mouth_top", "mouth_right", "mouth_bottom"]].to_numpy(np.float32)
        jobs.append(
            (
                row["name"],
                target,
                level,
                sources.transforms[sources.frames(clip)][:],
                box,
                frame_size,
                crop_size,
            )
        )
    with StoreWriter(out_path, sources.crop) as writer:
        results = tqdm(
            in_order(_make, jobs, workers), total=len(jobs), unit="clip", desc="true edits"
        )
        for (clip, target, level), result in zip(wanted, results, strict=True):
            row = sources.clips.iloc[clip]
            labels = {key: row[key] for key in ("corpus", "speaker", "sentence", "frame_rate")}
            name = edit_name(row["name"], target, level)
            writer.add(
                {"name": name, "split": "edits", "emotion": target, "intensity": level, **labels},
                **result,
            )


def _make(
    name: str,
    target: str,
    level: int,
    transforms: np.ndarray,
    box: np.ndarray,
    frame_size: int,
    crop_size: int,
) -> dict:
    from cdrl.media import faces

    spec: ClipSpec = spec_of(name)
    speech = speak_all([utterance_of(spec)])[0]
    performance = true_edit(spec, target, level, speech)
    frames, landmarks = render_performance(spec, performance, frame_size)
    inverse = np.linalg.inv(transforms[:, :, :2])
    relative = (
        np.einsum("tij,tlj->tli", inverse, landmarks - transforms[:, None, :, 2]) / faces.CROP
    )
    return {
        "face": faces.crop(frames, faces.Alignment(transforms, box), size=crop_size),
        "transforms": transforms,
        "audio": performance.audio,
        "mouth_box": box,
        "truth": {
            "coefficients": performance.coefficients.astype(np.float16),
            "landmarks": relative.astype(np.float16),
        },
    }
