"""Edited facial actions rendered by the studio, with the source's own person, pose and light.

For studio clips alone; this is also where the true edits enter the training of `paired`.
"""

from dataclasses import replace

import numpy as np

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS, emotion_index
from cdrl.corpora.store import Store
from cdrl.editors.actions import edit_actions
from cdrl.editors.paired import TrackedEdits
from cdrl.editors.samplers import LEVELS
from cdrl.media import faces
from cdrl.models.action_networks import ActionManipulator
from cdrl.priors.actions import ActionTracker, TrackedActions, track_clip
from cdrl.priors.vision import VisionPrior
from cdrl.studio.acting import act
from cdrl.studio.corpus import render_performance, spec_of
from cdrl.studio.edits import source_of


def render_edit(
    name: str,
    actions: np.ndarray,
    alignment: faces.Alignment | None = None,
    frame_size: int = 128,
    crop_size: int = 96,
) -> np.ndarray:
    """A studio clip rendered with other facial actions, and its face cropped.

    Person, pose, gaze, light and timing are the clip's own. The face is found in the new frames, as
    in a user's video; or, with the source's alignment, cropped where the SOURCE's face was found,
    as the true edits are, so that pixels compare.

    Args:
        name: of the clip.
        actions: (T, 52) in [0, 1].
        alignment: of the source; None looks for the face.
        frame_size: pixels a side of the rendered frames.
        crop_size: pixels a side of the crops.

    Returns:
        (T, crop_size, crop_size, 3) uint8 RGB.

    Raises:
        InputError: no studio clip's name, or another number of frames than the clip has.
    """
    spec = spec_of(name)
    performance = act(spec)
    shape = (len(performance.pose), len(ACTIONS))
    if actions.shape != shape:
        raise InputError(f"{name}: coefficients {actions.shape}, this clip takes {shape}")

    coefficients = np.asarray(actions, np.float32)
    edited = replace(performance, coefficients=coefficients)
    frames, _ = render_performance(spec, edited, frame_size)

    if alignment is None:
        alignment = faces.align(frames, name=name)
    return faces.crop(frames, alignment, crop_size)


def alignment_of(store: Store, clip: int) -> faces.Alignment:
    """Where the face of a clip, given by its number, was found when it was ingested."""
    row = store.clips.iloc[clip]
    box = [row.mouth_left, row.mouth_top, row.mouth_right, row.mouth_bottom]
    transforms = np.array(store.transforms[store.frames(clip)])
    return faces.Alignment(transforms, np.array(box, np.float32))


def render_action_edits(
    sources: Store,
    manipulator: ActionManipulator,
    edits: list[tuple[int, str, int]],
    tracker: ActionTracker,
    frame_size: int = 128,
) -> list[np.ndarray]:
    """Track, edit and render clips; the crops have the size of the store's and lie where its do.

    Args:
        sources: studio clips.
        manipulator: edits the tracked actions.
        edits: (source clip, target emotion, level 1 to 3) each, as `edits.draw_edits` lists them.
        tracker: reads the actions of the sources.
        frame_size: pixels a side of the rendered frames.

    Returns:
        One (T, C, C, 3) uint8 array for each edit.
    """
    vision = VisionPrior()
    crop_size = sources.face.shape[1]

    rendered = []
    for clip, target, level in edits:
        actions = track_clip(sources, clip, tracker, vision)
        edited = edit_actions(manipulator, actions, target, level / LEVELS)

        name = sources.clips.name[clip]
        alignment = alignment_of(sources, clip)
        crops = render_edit(name, edited, alignment, frame_size, crop_size)
        rendered.append(crops)
    return rendered


def tracked_edit_pairs(
    tracked: TrackedActions, truths: Store, tracker: ActionTracker
) -> TrackedEdits:
    """What `paired` is trained on: tracked actions of true edits, and of their source clips.

    Args:
        tracked: TRAINING people.
        truths: store of their true edits, as `edits.generate_edits` writes it.
        tracker: reads the actions of the true edits.
    """
    vision = VisionPrior()
    clip_number = {name: number for number, name in enumerate(tracked.clips.name)}

    sources = []
    actions = []
    for edit, name in enumerate(truths.clips.name):
        source = clip_number[source_of(name)]
        sources.append(tracked.clip(source))
        actions.append(track_clip(truths, edit, tracker, vision))

    labels = truths.clips.emotion.map(emotion_index)
    return TrackedEdits(
        sources=sources,
        truths=actions,
        emotion=labels.to_numpy(),
        level=truths.clips.intensity.to_numpy(),
    )
