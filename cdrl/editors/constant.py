"""The best constant edit, fitted on unpaired clips of training people: what a change of emotion looks like on average."""

from copy import deepcopy

import numpy as np
import torch
import torch.nn.functional as F

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import EMOTIONS, emotion_index
from cdrl.corpora.batches import images
from cdrl.corpora.store import Store
from cdrl.losses.fields import asymmetry, bending, stretching
from cdrl.models.constant_edit import LEVELS, ConstantEdit
from cdrl.models.image_editor import (
    WORKING_SIZE,
    apply_fields,
    border_window,
    roi_mask,
    working_view,
)
from cdrl.training.loop import LoopConfig, train

EVERY = 4  # frames of a clip that its mean is of
HELD_OUT = 4  # every so many people choose the form
WEIGHTS = {"difference": 100.0, "bending": 5.0, "stretching": 10.0, "asymmetry": 5.0}


def clip_means(store: Store) -> torch.Tensor:
    """(C, 3, 64, 64) the mean aligned crop of every clip."""
    return torch.stack(
        [
            working_view(images(store, np.arange(*_span(store, k), EVERY))).mean(0)
            for k in range(len(store.clips))
        ]
    )


def _span(store: Store, clip: int) -> tuple[int, int]:
    rows = store.frames(clip)
    return rows.start, rows.stop


def same_person(store: Store) -> np.ndarray:
    """(P, 2) clips a, b of one person in two emotions, whatever is said; every order.

    Raises:
        InputError: where nobody shows two emotions.
    """
    speaker, emotion = store.clips.speaker.to_numpy(), store.clips.emotion.to_numpy()
    found = np.argwhere((speaker[:, None] == speaker) & (emotion[:, None] != emotion))
    if not len(found):
        raise InputError(
            f"{store.path}: nobody shows two emotions; a constant edit is fitted on people who do"
        )
    return found


def even_light(images: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) divided by their local mean over an eighth: clips of one person differ in light more than in emotion."""
    local = F.interpolate(
        F.avg_pool2d(images, images.shape[-1] // 8),
        images.shape[-2:],
        mode="bilinear",
        align_corners=False,
    )
    return (images + 0.02) / (local + 0.02)


def fit_warp(
    means: torch.Tensor, pairs: np.ndarray, emotion: torch.Tensor, level: torch.Tensor, steps: int
) -> ConstantEdit:
    """A smooth flow for each emotion and level, by gradient descent on |warped a - b| in even light, at 32 px.

    Args:
        means: (C, 3, 64, 64) of `clip_means`. pairs: (P, 2) clips of one person. emotion, level: (C,) labels of the clips.
    """
    edit, window, small = (
        ConstantEdit(),
        border_window(WORKING_SIZE // 2)[0],
        F.avg_pool2d(means, 2),
    )

    def objective(rows):
        one, two = torch.from_numpy(pairs[rows]).unbind(1)
        flow, shading, residual = edit.cells(emotion[two], level[two])
        flow = flow * window
        difference = even_light(
            apply_fields(small[one], flow, shading * 0, residual * 0)
        ) - even_light(small[two])
        smooth = {
            "bending": bending(flow),
            "stretching": stretching(flow),
            "asymmetry": asymmetry(flow),
        }
        return {"difference": difference.abs().flatten(1).mean(1), **smooth}

    loop = LoopConfig(steps=steps, learning_rate=5e-3, weight_decay=0.0, weights=WEIGHTS)
    train(
        edit,
        objective,
        lambda random: random.integers(0, len(pairs), 64),
        loop,
        title="constant edit",
    )
    with torch.no_grad():
        edit.flow.mul_(window)
    return edit


def with_picture(
    warp: ConstantEdit,
    means: torch.Tensor,
    pairs: np.ndarray,
    emotion: torch.Tensor,
    level: torch.Tensor,
    mask,
) -> ConstantEdit:
    """A copy that adds, where the mask (64, 64) lets it, the mean of b - warped a over pairs (P, 2) of clip means (C, 3, 64, 64)."""
    edit = deepcopy(warp)
    with torch.no_grad():
        edit.residual.copy_(
            (
                _mean_change(warp, means, *torch.from_numpy(pairs).unbind(1), emotion, level) * mask
            ).view_as(edit.residual)
        )
    return edit


def fit_forms(
    means: torch.Tensor, pairs: np.ndarray, emotion: torch.Tensor, level: torch.Tensor, steps: int
) -> dict:
    """The three forms of a constant edit; every field fades to nothing at the border.

    `picture`: the mean of b - a over all pairs whose b shows that emotion at that level. `warp`: see `fit_warp`. `both`: the
    warp, then around eyes and mouth the mean of b - warped a.

    Args:
        means: (C, 3, 64, 64) of `clip_means`. pairs: (P, 2) clips of one person. emotion, level: (C,) labels of the clips.
    """
    border, places = border_window(WORKING_SIZE)[0, 0], roi_mask(WORKING_SIZE)[0, 0]
    warp, labels = fit_warp(means, pairs, emotion, level, steps), (emotion, level)
    forms = {
        "picture": with_picture(ConstantEdit(), means, pairs, *labels, border),
        "warp": warp,
        "both": with_picture(warp, means, pairs, *labels, border * places),
    }
    return {name: edit.finish() for name, edit in forms.items()}


def _mean_change(edit: ConstantEdit, means, a, b, emotion, level) -> torch.Tensor:
    """(8 * 3, 3, 64, 64) mean of b - warped a for every emotion and level; 0 where no b shows it."""
    cell = emotion[b] * LEVELS + level[b] - 1
    total = torch.zeros(len(EMOTIONS) * LEVELS, *means.shape[1:])
    for one, two, where in zip(a.split(256), b.split(256), cell.split(256), strict=True):
        total.index_add_(
            0, where, means[two] - apply_fields(means[one], *edit.cells(emotion[two], level[two]))
        )
    return total / torch.bincount(cell, minlength=len(total)).clamp(min=1)[:, None, None, None]


@torch.no_grad()
def residual_error(
    edit: ConstantEdit | None,
    means: torch.Tensor,
    pairs: np.ndarray,
    emotion: torch.Tensor,
    level: torch.Tensor,
) -> float:
    """Mean |edited a - b| in even light over pairs (P, 2) of clip means (C, 3, 64, 64); None: a itself."""
    found = []
    for part in torch.from_numpy(pairs).split(256):
        a, b = part.unbind(1)
        out = (
            means[a] if edit is None else apply_fields(means[a], *edit.cells(emotion[b], level[b]))
        )
        found.append((even_light(out) - even_light(means[b])).abs().flatten(1).mean(1))
    return float(torch.cat(found).mean())


def fit_constant(store: Store, steps: int = 200) -> tuple[ConstantEdit, dict]:
    """The constant edit of the form that does better on training people it was not fitted on, fitted on all of them.

    Args:
        store: training people; their clips are not paired, and no true edit is read. steps: of the warp.

    Returns:
        The edit; and `nothing`, `picture`, `warp`, `both`: mean difference left between clip means of the held-out people.
    """
    means, pairs = clip_means(store), same_person(store)
    emotion = torch.tensor([emotion_index(name) for name in store.clips.emotion])
    level = torch.from_numpy(store.clips.intensity.to_numpy().astype(np.int64))
    people = np.unique(store.clips.speaker, return_inverse=True)[1][pairs[:, 0]]
    held = (
        people % HELD_OUT == HELD_OUT - 1
        if people.max() >= HELD_OUT - 1
        else np.ones(len(pairs), bool)
    )
    fitting = pairs[~held] if (~held).any() else pairs
    errors = {
        form: residual_error(edit, means, pairs[held], emotion, level)
        for form, edit in fit_forms(means, fitting, emotion, level, steps).items()
    }
    best = min(errors, key=errors.get)
    nothing = residual_error(None, means, pairs[held], emotion, level)
    edit = fit_forms(means, pairs, emotion, level, steps)[best]
    edit.emotions = tuple(sorted(set(store.clips.emotion)))
    return edit, {"nothing": nothing} | errors
