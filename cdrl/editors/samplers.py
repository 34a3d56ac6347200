"""Batches of unpaired clips: windows of pixels or of facial actions.

Every batch has as many clips of every emotion.
"""

from collections.abc import Sequence

import numpy as np
import torch

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import emotion_index
from cdrl.corpora.batches import load_images, window_rows
from cdrl.corpora.store import Store
from cdrl.models.action_networks import REACH
from cdrl.models.field_network import working_view
from cdrl.priors.actions import TrackedActions

Batch = dict[str, torch.Tensor]

WINDOW = 5  # frames of a window of pixels
LEVELS = 3  # of intensity
NEUTRAL = emotion_index("neutral")
BOX_COLUMNS = ["mouth_left", "mouth_top", "mouth_right", "mouth_bottom"]


def group_by_emotion(emotion: np.ndarray, usable: np.ndarray) -> list[np.ndarray]:
    """Clip numbers of each emotion, one array an emotion.

    Args:
        emotion: (C,) label number of every clip.
        usable: (U,) numbers of the clips that may be drawn.
    """
    groups = []
    for label in np.unique(emotion[usable]):
        groups.append(usable[emotion[usable] == label])
    return groups


def check_emotions(groups: list[np.ndarray], needed: int, frames: int, path: object) -> None:
    """Refuses clips of too few emotions.

    Args:
        groups: (G,) clip numbers of each emotion, see `group_by_emotion`.
        needed: emotions at least.
        frames: that a clip has at least.
        path: of the store, for the message.

    Raises:
        InputError: naming the store and how many emotions its clips show.
    """
    if len(groups) < needed:
        raise InputError(
            f"{path}: {len(groups)} emotions in clips of {frames} frames or more; adversarial "
            "training needs two or more: add clips of another emotion"
        )


def numbers_of_clips(store: Store, names: Sequence[str]) -> np.ndarray:
    """(N,) the numbers of the clips of these names."""
    number_of = {name: number for number, name in enumerate(store.clips.name)}
    return np.array([number_of[name] for name in names])


def check_lengths(store: Store, edits: Store, origin: np.ndarray) -> None:
    """Refuses edits that are not as long as the clips they were made from.

    Args:
        store: of the clips.
        edits: of the edits.
        origin: (E,) the clip of each edit.

    Raises:
        InputError: naming the first of them.
    """
    length = edits.clips["num_frames"].to_numpy()
    clip_length = store.clips["num_frames"].to_numpy()
    wrong = np.flatnonzero(length != clip_length[origin])
    if len(wrong):
        name = edits.clips["name"][wrong[0]]
        raise InputError(
            f"{edits.path}: {name} is not as long as its source in {store.path}: render it anew"
        )


def draw_balanced(groups: list[np.ndarray], count: int, random: np.random.Generator) -> np.ndarray:
    """Draw clips, as many of every group, give or take one; which group comes first is drawn too.

    Args:
        groups: clip numbers of each group.
        count: of the clips.
        random: draws them.

    Returns:
        (count,) clip numbers.
    """
    first = random.integers(len(groups))

    clips = []
    for turn in range(count):
        group = groups[(first + turn) % len(groups)]
        clip = random.choice(group)
        clips.append(clip)

    return np.array(clips)


def draw_starts(length: np.ndarray, window: int, random: np.random.Generator) -> np.ndarray:
    """(B,) the first frame of a window of each clip, given the lengths (B,) of clips and window."""
    last_start = length - window
    return random.integers(0, last_start + 1)


def draw_references(count: int, random: np.random.Generator) -> np.ndarray:
    """(count,) for each window another one of the batch; every window is the reference of one."""
    return np.roll(np.arange(count), random.integers(1, count))


def draw_strengths(
    emotion: np.ndarray, level: np.ndarray, random: np.random.Generator
) -> torch.Tensor:
    """Intensities of levels 1, 2, 3: 1/3, 2/3, 1.

    Neutral has one level only, which stands for any strength.

    Args:
        emotion: (B,) label numbers.
        level: (B,) 1 to 3.
        random: draws the strengths of neutral.

    Returns:
        (B,) float32.
    """
    drawn_level = random.integers(1, LEVELS + 1, len(emotion))
    return level_intensities(np.where(emotion == NEUTRAL, drawn_level, level))


def level_intensities(level: np.ndarray) -> torch.Tensor:
    """(B,) levels 1, 2, 3 -> (B,) float32 intensities 1/3, 2/3, 1."""
    return torch.from_numpy(level / LEVELS).float()


def draw_mirrored(count: int, random: np.random.Generator) -> torch.Tensor:
    """(count,) bool: which windows are mirrored, each with probability one half."""
    return torch.from_numpy(random.random(count) < 0.5)


def mirror_where(
    mirrored: torch.Tensor, values: torch.Tensor, flipped: torch.Tensor
) -> torch.Tensor:
    """`flipped` (B, ...) for the windows that are mirrored, `values` (B, ...) for the others."""
    shape = [-1] + [1] * (values.ndim - 1)
    return torch.where(mirrored.view(shape), flipped, values)


def mirror_boxes(boxes: torch.Tensor) -> torch.Tensor:
    """(B, 4) left, top, right, bottom, relative to the crop -> those of the mirrored crops."""
    left, top, right, bottom = boxes.unbind(1)
    return torch.stack([1 - right, top, 1 - left, bottom], 1)


def window_frames(
    store: Store, clips: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, torch.Tensor]:
    """Windows of five frames.

    Args:
        store: of the clips.
        clips: (B,) their numbers.
        starts: (B,) the first frame of each window.

    Returns:
        (B, 5) rows of the store; (B, 5, 3, 64, 64) RGB in [0, 1].
    """
    rows = window_rows(store, clips, starts, WINDOW)
    frames = working_view(load_images(store, rows.ravel()))
    return rows, frames.unflatten(0, rows.shape)


class WindowSampler:
    """Draws windows of five frames and for each another emotion to become.

    The target emotions are those of the batch in another order, so that what the discriminator sees
    as real and as edited has the same emotions and levels.

    Args:
        store: of training people.
        batch: windows.
        mirror: half of them are mirrored.
        targets: emotions to become instead, each with any strength.
        leave_out: emotions whose clips are not used.
        audio: (N, A) the audio prior of the store's frames, where the guidance needs it.

    Raises:
        InputError: where no clip has five frames, or all show one emotion and no targets are given.
    """

    def __init__(
        self,
        store: Store,
        batch: int,
        mirror: bool = True,
        targets: Sequence[str] = (),
        leave_out: Sequence[str] = (),
        audio: np.ndarray | None = None,
    ):
        self.store = store
        self.batch = batch
        self.mirror = mirror
        self.audio = audio
        self.targets = np.array([emotion_index(name) for name in targets])

        clips = store.clips
        self.emotion = clips["emotion"].map(emotion_index).to_numpy()
        self.level = clips["intensity"].to_numpy()
        self.length = clips["num_frames"].to_numpy()
        self.boxes = clips[BOX_COLUMNS].to_numpy(np.float32)

        left_out = clips["emotion"].isin(list(leave_out)).to_numpy()
        is_usable = (self.length >= WINDOW) & ~left_out
        usable = np.flatnonzero(is_usable)
        self.groups = group_by_emotion(self.emotion, usable)

        needed = 1 if targets else 2
        check_emotions(self.groups, needed, WINDOW, store.path)

    def __call__(self, random: np.random.Generator) -> Batch:
        """Draw a batch.

        Returns:
            frames (B, 5, 3, 64, 64), boxes (B, 4), emotion, target (B,) int64, intensity,
            target_intensity (B,); reference (B,): which window of the batch shows the target,
            another clip that says something else; audio (B, 5, A) where there is any.
        """
        clips = draw_balanced(self.groups, self.batch, random)
        starts = draw_starts(self.length[clips], WINDOW, random)
        rows, frames = window_frames(self.store, clips, starts)
        boxes = torch.from_numpy(self.boxes[clips])

        if self.mirror:
            mirrored = draw_mirrored(len(clips), random)
            frames = mirror_where(mirrored, frames, frames.flip(-1))
            boxes = mirror_where(mirrored, boxes, mirror_boxes(boxes))

        reference = draw_references(len(clips), random)
        emotion = self.emotion[clips]
        target, target_level = self._targets(clips[reference], random)
        intensity = draw_strengths(emotion, self.level[clips], random)
        target_intensity = draw_strengths(target, target_level, random)
        batch = {
            "frames": frames,
            "boxes": boxes,
            "emotion": torch.from_numpy(emotion),
            "target": torch.from_numpy(target),
            "intensity": intensity,
            "target_intensity": target_intensity,
            "reference": torch.from_numpy(reference),
        }

        if self.audio is not None:
            audio = np.asarray(self.audio[rows], np.float32)
            batch["audio"] = torch.from_numpy(audio)
        return batch

    def _targets(
        self, references: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """(B,) label numbers and levels to become: of the reference clips (B,), or drawn."""
        if not len(self.targets):
            return self.emotion[references], self.level[references]

        count = len(references)
        target = random.choice(self.targets, count)
        level = random.integers(1, LEVELS + 1, count)
        return target, level


class ActionWindowSampler:
    """Draws windows of tracked actions and for each another window of the batch to become like.

    Args:
        tracked: training people.
        batch: windows.
        window: frames.
        store: of the same clips, where the pixels of the middle frames are wanted too.

    Raises:
        InputError: a window too short for the content student, or clips that are long enough show
            fewer than two emotions.
    """

    def __init__(
        self, tracked: TrackedActions, batch: int, window: int, store: Store | None = None
    ):
        shortest = 2 * REACH + 1
        if window < shortest:
            raise InputError(
                f"window={window}: at least {shortest} frames are needed, content is read from so "
                "many"
            )
        clips = tracked.clips
        self.tracked = tracked
        self.store = store
        self.batch = batch
        self.window = window
        self.emotion = clips["emotion"].map(emotion_index).to_numpy()
        self.level = clips["intensity"].to_numpy()
        self.length = clips["num_frames"].to_numpy()

        usable = np.flatnonzero(self.length >= window)
        self.groups = group_by_emotion(self.emotion, usable)
        check_emotions(self.groups, 2, window, tracked.path)

    def __call__(self, random: np.random.Generator) -> Batch:
        """Draw a batch.

        Returns:
            source, reference (B, T, 52), emotion, target (B,) int64, intensity, target_intensity
            (B,); with a store the pixels of the five frames `middle_frames`: frames
            (B, 5, 3, 64, 64), boxes (B, 4).
        """
        clips = draw_balanced(self.groups, self.batch, random)
        starts = draw_starts(self.length[clips], self.window, random)
        rows = window_rows(self.tracked, clips, starts, self.window)
        source = torch.from_numpy(self.tracked.coefficients[rows])

        reference = draw_references(len(clips), random)
        labels = self.emotion[clips]
        strength = draw_strengths(labels, self.level[clips], random)
        emotion = torch.from_numpy(labels)
        batch = {
            "source": source,
            "reference": source[reference],
            "emotion": emotion,
            "target": emotion[reference],
            "intensity": strength,
            "target_intensity": strength[reference],
        }
        if self.store is not None:
            first = middle_frames(self.window).start
            _, batch["frames"] = window_frames(self.store, clips, starts + first)
            batch["boxes"] = torch.from_numpy(self.store.clip_mouth_boxes()[clips])
        return batch


def middle_frames(window: int) -> slice:
    """The five frames in the middle of a window of so many.

    >>> middle_frames(24)
    slice(9, 14, None)
    """
    first = (window - WINDOW) // 2
    return slice(first, first + WINDOW)
