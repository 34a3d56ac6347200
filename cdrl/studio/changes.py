"""Clips rendered again with their facial actions changed: what teaches the neural renderer to draw a change.

No clip is acted again and no emotion is named here: whoever asks says what is added to the actions of a clip. The true edits,
which know how the same moment is acted in another emotion, are another module's (`cdrl.studio.edits`).
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cdrl.corpora.store import Store, StoreWriter
from cdrl.media import faces
from cdrl.studio.acting import act, utterance_of
from cdrl.studio.corpus import render_performance, spec_of
from cdrl.studio.pools import in_order
from cdrl.studio.speech import speak_all

MARK = "~"


def source_of(name: str) -> str:
    """Name of the clip that was changed.

    >>> source_of("studio-0300-301-happy-3-0~17")
    'studio-0300-301-happy-3-0'
    """
    return name.split(MARK)[0]


def render_changes(
    sources: Store,
    wanted: list[tuple[int, np.ndarray]],
    out_path: Path,
    frame_size: int = 128,
    crop_size: int = 96,
    workers: int = 2,
) -> None:
    """Render clips with other facial actions into a store, each cropped where its SOURCE's face was found, so that pixels compare.

    Person, pose, gaze, light, timing and speech are those of the source; labels too. `truth["change"]` (T, 52) is what was added
    after actions were held to [0, 1].

    Args:
        sources: store of studio clips. wanted: (number of a clip, change (T, 52) of its actions) each. workers: processes.
    """
    jobs = []
    for clip, change in wanted:
        row = sources.clips.iloc[clip]
        box = row[["mouth_left", "mouth_top", "mouth_right", "mouth_bottom"]].to_numpy(np.float32)
        jobs.append(
            (
                row["name"],
                change,
                sources.transforms[sources.frames(clip)][:],
                box,
                frame_size,
                crop_size,
            )
        )
    with StoreWriter(out_path, sources.crop) as writer:
        results = tqdm(
            in_order(_make, jobs, workers),
            total=len(jobs),
            unit="clip",
            desc="changed actions",
            mininterval=2,
        )
        for number, ((clip, _), result) in enumerate(zip(wanted, results, strict=True)):
            row = sources.clips.iloc[clip]
            labels = {
                key: row[key]
                for key in (
                    "corpus",
                    "split",
                    "speaker",
                    "sentence",
                    "emotion",
                    "intensity",
                    "frame_rate",
                )
            }
            writer.add({"name": f"{row['name']}{MARK}{number}", **labels}, **result)


def _make(
    name: str,
    change: np.ndarray,
    transforms: np.ndarray,
    box: np.ndarray,
    frame_size: int,
    crop_size: int,
) -> dict:
    spec = spec_of(name)
    performance = act(spec, speak_all([utterance_of(spec)])[0])
    before = performance.coefficients.astype(np.float32)
    after = np.clip(before + change, 0, 1).astype(np.float32)
    frames, _ = render_performance(spec, replace(performance, coefficients=after), frame_size)
    return {
        "face": faces.crop(frames, faces.Alignment(transforms, box), size=crop_size),
        "transforms": transforms,
        "audio": performance.audio,
        "mouth_box": box,
        "truth": {"change": (after - before).astype(np.float16)},
    }
