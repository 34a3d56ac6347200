"""Clips rendered again with other facial actions, to teach the neural renderer a change.

No clip is acted again and no emotion is named here: the caller says what is added to the actions of
a clip. The true edits, which know how the same moment is acted in another emotion, are in another
module (`cdrl.studio.edits`).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cdrl.core.pools import in_order
from cdrl.corpora.store import Store
from cdrl.corpora.store_writer import StoreWriter
from cdrl.media import faces
from cdrl.studio.acting import act
from cdrl.studio.corpus import StoredClip, render_performance, spec_of

MARK = "~"
# Labels of a source that its changed clips have too.
LABELS = ("corpus", "split", "speaker", "sentence", "emotion", "intensity", "frame_rate")


def source_of(name: str) -> str:
    """Name of the clip that was changed.

    >>> source_of("studio-0300-301-happy-3-0~17")
    'studio-0300-301-happy-3-0'
    """
    source, _, _ = name.partition(MARK)
    return source


def render_changes(
    sources: Store,
    changes: Sequence[tuple[int, np.ndarray]],
    out_path: Path,
    frame_size: int = 128,
    crop_size: int = 96,
    workers: int = 2,
) -> None:
    """Render clips with other facial actions into a store.

    Each is cropped where its SOURCE's face was found, so that pixels compare. Person, pose, gaze,
    light, timing and speech are those of the source; labels too. `truth["change"]` (T, 52) is what
    was added after actions were clipped to [0, 1].

    Args:
        sources: store of studio clips.
        changes: (number of a clip, change (T, 52) of its actions) each.
        out_path: the new store's folder.
        frame_size: pixels, rendered.
        crop_size: pixels, of the face crop.
        workers: processes.
    """
    mouth_boxes = sources.clip_mouth_boxes()
    jobs = []
    for clip, change in changes:
        name = sources.clips.iloc[clip]["name"]
        frames = sources.frames(clip)
        transforms = sources.transforms[frames][:]
        alignment = faces.Alignment(transforms, mouth_boxes[clip])
        jobs.append((name, change, alignment, frame_size, crop_size))

    with StoreWriter(out_path, sources.crop) as writer:
        results = in_order(_make_change, jobs, workers)
        bar = tqdm(results, total=len(jobs), unit="clip", desc="changed actions", mininterval=2)
        for number, result in enumerate(bar):
            clip, _ = changes[number]
            source = sources.clips.iloc[clip]
            labels = {key: source[key] for key in LABELS}
            labels["name"] = f"{source['name']}{MARK}{number}"

            writer.add(labels, *result)


def _make_change(
    name: str, change: np.ndarray, alignment: faces.Alignment, frame_size: int, crop_size: int
) -> StoredClip:
    """The clip of this name with its actions changed, in its source's crop."""
    spec = spec_of(name)
    performance = act(spec)
    before = performance.coefficients.astype(np.float32)
    after = np.clip(before + change, 0, 1)
    after = after.astype(np.float32)
    changed = replace(performance, coefficients=after)

    frames, _ = render_performance(spec, changed, frame_size)
    face = faces.crop(frames, alignment, size=crop_size)
    applied_change = after - before
    truth = {"change": applied_change.astype(np.float16)}

    return StoredClip(face, alignment.transforms, performance.audio, alignment.mouth_box, truth)
