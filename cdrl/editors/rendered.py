"""Edits by the coefficient host: facial actions tracked from pixels, edited, rendered with the source's person, pose and light."""

from dataclasses import replace

import numpy as np
import torch

from cdrl.core.checkpoint import load_card, load_weights
from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS, EMOTIONS, emotion_index
from cdrl.corpora.store import Store
from cdrl.media import faces
from cdrl.models.action_editor import ActionManipulator
from cdrl.models.image_editor import LOWEST_LEVEL, MAX_INTENSITY
from cdrl.priors.actions import ActionTracker, TrackedActions, track_clip
from cdrl.priors.vision import VisionPrior
from cdrl.studio.acting import act
from cdrl.studio.corpus import render_performance, spec_of
from cdrl.studio.edits import source_of

MANIPULATOR = "action_manipulator"  # the committed weights


def load_manipulator(name: str = MANIPULATOR) -> ActionManipulator:
    """The committed coefficient host, or the weights of that name or path, frozen, in eval mode."""
    return load_weights(name, ActionManipulator(**load_card(name)["model"]))


@torch.no_grad()
def edit_actions(
    host: ActionManipulator,
    coefficients: np.ndarray,
    wanted: str | np.ndarray,
    intensity: float | np.ndarray = 1.0,
) -> np.ndarray:
    """Another emotion on a clip's facial actions.

    Args:
        coefficients: (T, 52) in [0, 1], any T. wanted: an emotion's name, or the actions (T', 52) of a reference clip.
        intensity: 0 to 1.5, or a curve (T,).

    Returns:
        (T, 52) float32 in [0, 1]; where the intensity is 0 what was given, bit for bit.

    Raises:
        InputError: unknown emotion, or an intensity outside its range.
    """
    dial = torch.as_tensor(np.broadcast_to(np.float32(intensity), len(coefficients)).copy())
    if not bool(((dial >= 0) & (dial <= MAX_INTENSITY)).all()):
        raise InputError(
            f"intensity {intensity}: accepted are 0 (changes nothing) to {MAX_INTENSITY} (level 3 is 1)"
        )
    source = torch.from_numpy(np.asarray(coefficients, np.float32))[None]
    if isinstance(wanted, str):
        style = host.label_style(torch.tensor([emotion_index(wanted)]))
    else:
        style = host.style_encoder(torch.from_numpy(np.asarray(wanted, np.float32))[None])
    return host(source, style, dial[None])[0].numpy()


def render_edit(
    name: str,
    coefficients: np.ndarray,
    alignment: faces.Alignment | None = None,
    frame_size: int = 128,
    crop_size: int = 96,
) -> np.ndarray:
    """A studio clip rendered with other facial actions, and its face cropped.

    Person, pose, gaze, light and timing are the clip's own. The face is found in the new frames, as in a user's video; or, with
    the source's alignment, cropped where the SOURCE's face was found, as the true edits are, so that pixels compare.

    Args:
        name: of the clip. coefficients: (T, 52) in [0, 1]. alignment: of the source; None looks for the face.

    Returns:
        (T, crop_size, crop_size, 3) uint8 RGB.

    Raises:
        InputError: no studio clip's name, or another number of frames than the clip has.
    """
    spec = spec_of(name)
    performance = act(spec)
    if coefficients.shape != (len(performance.pose), len(ACTIONS)):
        raise InputError(
            f"{name}: coefficients {coefficients.shape}, this clip takes ({len(performance.pose)}, {len(ACTIONS)})"
        )
    frames, _ = render_performance(
        spec, replace(performance, coefficients=np.asarray(coefficients, np.float32)), frame_size
    )
    return faces.crop(frames, alignment or faces.align(frames, name=name), crop_size)


def alignment_of(store: Store, clip: int) -> faces.Alignment:
    """Where a clip's face was found when it was ingested."""
    row = store.clips.iloc[clip]
    box = np.array([row.mouth_left, row.mouth_top, row.mouth_right, row.mouth_bottom], np.float32)
    return faces.Alignment(np.array(store.transforms[store.frames(clip)]), box)


def render_action_edits(
    sources: Store,
    host: ActionManipulator,
    wanted: list[tuple[int, str, int]],
    reader: ActionTracker,
    frame_size: int = 128,
) -> list[np.ndarray]:
    """Track, edit and render every clip that is asked for; the crops have the size of the store's and lie where its do.

    Args:
        sources: studio clips. wanted: (source clip, target emotion, level 1 to 3) each, as `edits.draw_edits` lists them.

    Returns:
        One (T, C, C, 3) uint8 array for each edit.
    """
    vision, found = VisionPrior(), []
    for clip, target, level in wanted:
        edited = edit_actions(host, track_clip(sources, clip, reader, vision), target, level / 3)
        name = sources.clips.name[clip]
        found.append(
            render_edit(
                name, edited, alignment_of(sources, clip), frame_size, sources.face.shape[1]
            )
        )
    return found


def sample_changes(
    host: ActionManipulator, tracked: TrackedActions, number: int, seed: int = 0
) -> list[tuple[int, np.ndarray]]:
    """Changes of facial actions to learn to draw: the host's edits of clips drawn by lot, emotions in turn, the dial anywhere.

    Args:
        tracked: the people whose clips are changed. number: changes.

    Returns:
        (number of a clip, change (T, 52)) each, as `changes.render_changes` takes them; no true edit is involved.
    """
    random, found = np.random.default_rng([seed, 4711]), []
    for k in range(number):
        clip = int(random.integers(len(tracked.clips)))
        actions, emotion = tracked.clip(clip), EMOTIONS[k % len(EMOTIONS)]
        found.append(
            (
                clip,
                edit_actions(
                    host, actions, emotion, float(random.uniform(LOWEST_LEVEL, MAX_INTENSITY))
                )
                - actions,
            )
        )
    return found


def tracked_edit_pairs(
    tracked: TrackedActions, truths: Store, reader: ActionTracker
) -> tuple[list, list, np.ndarray, np.ndarray]:
    """What `paired` is trained on: the tracked actions of true edits, and of the clips they were made from.

    Args:
        tracked: TRAINING people. truths: store of their true edits, as `edits.generate_edits` writes it.

    Returns:
        Sources and true edits, one (T, 52) array each, label numbers (E,) and levels (E,).
    """
    vision, number = VisionPrior(), {name: k for k, name in enumerate(tracked.clips.name)}
    before = [tracked.clip(number[source_of(name)]) for name in truths.clips.name]
    after = [track_clip(truths, k, reader, vision) for k in range(len(before))]
    return (
        before,
        after,
        truths.clips.emotion.map(emotion_index).to_numpy(),
        truths.clips.intensity.to_numpy(),
    )
