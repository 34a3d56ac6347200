"""The best constant edit, fitted on unpaired clips of training people.

What a change of emotion looks like on average: the same fields for every face.
"""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import EMOTIONS, emotion_index
from cdrl.corpora.batches import load_images
from cdrl.corpora.store import Store
from cdrl.editors.base import EditorCard, Fields
from cdrl.editors.image import emotions_of
from cdrl.editors.objective import Terms, mean_difference, smooth_flow_terms
from cdrl.losses.fields import asymmetry
from cdrl.models.constant_edit import LEVELS, ConstantEdit
from cdrl.models.field_network import (
    WORKING_SIZE,
    apply_fields,
    border_window,
    roi_mask,
    working_view,
)
from cdrl.training.loop import LoopConfig, train

FRAME_STEP = 4  # every fourth frame of a clip counts for its mean
FOLDS = 4  # one in so many people is held out to choose the form
PAIRS_AT_ONCE = 256
BATCH = 64  # pairs
CELLS = len(EMOTIONS) * LEVELS
WEIGHTS = {"difference": 100.0, "bending": 5.0, "stretching": 10.0, "asymmetry": 5.0}


@dataclass(frozen=True)
class ClipMeans:
    """The mean aligned crop of every clip.

    Attributes:
        images: (C, 3, 64, 64) RGB in [0, 1].
        emotion: (C,) label numbers.
        level: (C,) 1 to 3.
    """

    images: torch.Tensor
    emotion: torch.Tensor
    level: torch.Tensor


def clip_means(store: Store) -> ClipMeans:
    """The mean of every fourth frame of each clip of a store."""
    means = []

    for clip in range(len(store.clips)):
        span = store.frames(clip)
        rows = np.arange(span.start, span.stop, FRAME_STEP)
        images = load_images(store, rows)
        means.append(working_view(images).mean(0))

    emotion = [emotion_index(name) for name in store.clips.emotion]
    level = store.clips.intensity.to_numpy().astype(np.int64)
    return ClipMeans(
        images=torch.stack(means), emotion=torch.tensor(emotion), level=torch.from_numpy(level)
    )


def same_person(store: Store) -> np.ndarray:
    """(P, 2) clips a, b of one person in two emotions, whatever is said; every order.

    Raises:
        InputError: where nobody shows two emotions.
    """
    speaker = store.clips.speaker.to_numpy()
    emotion = store.clips.emotion.to_numpy()
    same_speaker = speaker[:, None] == speaker
    other_emotion = emotion[:, None] != emotion
    pairs = np.argwhere(same_speaker & other_emotion)
    if not len(pairs):
        raise InputError(
            f"{store.path}: nobody shows two emotions; a constant edit is fitted on people who do"
        )
    return pairs


def even_light(images: torch.Tensor) -> torch.Tensor:
    """Divide images by their local mean over an eighth of their width.

    Clips of one person differ in light more than in emotion.

    Args:
        images: (B, 3, H, W).
    """
    coarse = F.avg_pool2d(images, images.shape[-1] // 8)
    local_mean = F.interpolate(coarse, images.shape[-2:], mode="bilinear", align_corners=False)
    return (images + 0.02) / (local_mean + 0.02)


def fit_warp(means: ClipMeans, pairs: np.ndarray, steps: int, card: EditorCard) -> ConstantEdit:
    """A smooth flow for each emotion and level.

    By gradient descent on |warped a - b| in even light, at 32 px.

    Args:
        means: of the clips.
        pairs: (P, 2) clips a, b of one person.
        steps: of the descent.
        card: of the edit.
    """
    edit = ConstantEdit(card)
    images = F.avg_pool2d(means.images, 2)
    window = border_window(WORKING_SIZE // 2)[0]

    def draw_pairs(random: np.random.Generator) -> np.ndarray:
        return random.integers(0, len(pairs), BATCH)

    def objective(batch: np.ndarray) -> Terms:
        a, b = torch.from_numpy(pairs[batch]).unbind(1)
        flow, shading, residual = _fields_of(edit, means, b)
        flow = flow * window
        no_shading = shading * 0
        no_residual = residual * 0
        warped = apply_fields(images[a], flow, no_shading, no_residual)

        difference = mean_difference(even_light(warped), even_light(images[b]))
        terms = {"difference": difference}
        terms |= smooth_flow_terms(flow)
        terms["asymmetry"] = asymmetry(flow)
        return terms

    loop = LoopConfig(steps=steps, learning_rate=5e-3, weight_decay=0.0, weights=WEIGHTS)
    train(edit, objective, draw_pairs, loop, title="constant edit")
    with torch.no_grad():
        edit.flow.mul_(window)
    return edit


def _fields_of(edit: ConstantEdit, means: ClipMeans, clips: torch.Tensor) -> Fields:
    """The fields of the emotions and levels of clips, given by their numbers (B,)."""
    emotion = means.emotion[clips]
    level = means.level[clips]
    return edit.cells(emotion, level)


def add_residual(
    edit: ConstantEdit, means: ClipMeans, pairs: np.ndarray, mask: torch.Tensor
) -> ConstantEdit:
    """A copy of an edit that adds what the edit leaves of the change, on average.

    Args:
        edit: without a residual.
        means: of the clips.
        pairs: (P, 2) clips a, b of one person.
        mask: (64, 64), 1 where something may be added.
    """
    copy = deepcopy(edit)
    with torch.no_grad():
        change = _mean_remaining_change(edit, means, pairs)
        residual = change * mask
        copy.residual.copy_(residual.view_as(copy.residual))
    return copy


def fit_forms(
    means: ClipMeans, pairs: np.ndarray, steps: int, card: EditorCard
) -> dict[str, ConstantEdit]:
    """The three forms of a constant edit; every field fades to nothing at the border.

    `picture`: the mean of b - a over all pairs whose b shows that emotion at that level.
    `warp`: see `fit_warp`.
    `both`: the warp, then around eyes and mouth the mean of b - warped a.

    Args:
        means: of the clips.
        pairs: (P, 2) clips a, b of one person.
        steps: of the warp.
        card: of the edits.
    """
    border = border_window(WORKING_SIZE)[0, 0]
    eyes_and_mouth = roi_mask(WORKING_SIZE)[0, 0]
    no_edit = ConstantEdit(card)

    warp = fit_warp(means, pairs, steps, card)
    picture = add_residual(no_edit, means, pairs, border)
    both = add_residual(warp, means, pairs, border * eyes_and_mouth)

    return {"picture": picture.finish(), "warp": warp.finish(), "both": both.finish()}


def _mean_remaining_change(edit: ConstantEdit, means: ClipMeans, pairs: np.ndarray) -> torch.Tensor:
    """(24, 3, 64, 64) mean of b - edited a for every emotion and level; 0 where no b shows it."""
    total = torch.zeros(CELLS, *means.images.shape[1:])
    count = torch.zeros(CELLS, dtype=torch.int64)
    for part in torch.from_numpy(pairs).split(PAIRS_AT_ONCE):
        a, b = part.unbind(1)
        fields = _fields_of(edit, means, b)
        edited = apply_fields(means.images[a], *fields)
        change = means.images[b] - edited

        emotion = means.emotion[b]
        level = means.level[b]
        cell = emotion * LEVELS + level - 1
        total.index_add_(0, cell, change)
        count += torch.bincount(cell, minlength=CELLS)

    divisor = count.clamp(min=1)
    return total / divisor[:, None, None, None]


@torch.no_grad()
def residual_error(edit: ConstantEdit | None, means: ClipMeans, pairs: np.ndarray) -> float:
    """Mean |edited a - b| in even light.

    Args:
        edit: None leaves a as it is.
        means: of the clips.
        pairs: (P, 2) clips a, b of one person.
    """
    errors = []
    for part in torch.from_numpy(pairs).split(PAIRS_AT_ONCE):
        a, b = part.unbind(1)
        output = means.images[a]
        if edit is not None:
            fields = _fields_of(edit, means, b)
            output = apply_fields(output, *fields)

        target = even_light(means.images[b])
        error = mean_difference(even_light(output), target)
        errors.append(error)

    return float(torch.cat(errors).mean())


def _held_out_pairs(store: Store, pairs: np.ndarray) -> np.ndarray:
    """(P,) bool: pairs of the people who choose the form, one in four; all pairs of few people."""
    _, person_of_clip = np.unique(store.clips.speaker, return_inverse=True)
    first_clips = pairs[:, 0]
    person = person_of_clip[first_clips]

    last_fold = FOLDS - 1
    if person.max() < last_fold:
        return np.ones(len(pairs), bool)
    return person % FOLDS == last_fold


def fit_constant(store: Store, steps: int = 200) -> tuple[ConstantEdit, dict[str, float]]:
    """The constant edit of the form that does better on people it was not fitted on.

    The form is chosen on training people that are held out; the edit is fitted on all.

    Args:
        store: training people; their clips are not paired, and no true edit is read.
        steps: of the warp.

    Returns:
        The edit; and `nothing`, `picture`, `warp`, `both`: mean difference left between clip means
        of the held-out people.
    """
    card = EditorCard("constant", emotions_of(store), store.crop)
    means = clip_means(store)
    pairs = same_person(store)
    is_held_out = _held_out_pairs(store, pairs)
    held_out = pairs[is_held_out]
    fitting = pairs
    if not is_held_out.all():
        fitting = pairs[~is_held_out]

    form_errors = {}
    for form, edit in fit_forms(means, fitting, steps, card).items():
        form_errors[form] = residual_error(edit, means, held_out)
    best_form = min(form_errors, key=lambda form: form_errors[form])

    errors = {"nothing": residual_error(None, means, held_out)}
    errors |= form_errors
    forms = fit_forms(means, pairs, steps, card)
    return forms[best_form], errors
