"""The fields of one clip and one emotion at every intensity, small enough for a browser.

Fields depend on the intensity in a nonlinear way: they are computed at some knots, interpolated
between them, and fade out linearly below the first. The fields of all frames and knots of a clip
are similar, so that each is stored as a sum of a few `components`.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from cdrl.corpora.batches import image_tensor
from cdrl.editing.pipeline import TRAINED_RATE, smooth, stride_at
from cdrl.editors.base import Editor
from cdrl.models.field_network import apply_fields

ALL_FRAMES = slice(None)
TINY = 1e-12  # below which a number is zero
CHUNK = 96  # frames that the generator edits at once, at every knot


@dataclass(frozen=True)
class LowRankFields:
    """Fields as the sum over r of `scale[r] * weights[k, t, r] * components[r]`, knot k, frame t.

    Attributes:
        components: (R, 3 fine^2 + coarse^2) int8: flow x and y, shading, residual, concatenated.
        weights: (K, T, R) int16.
        scale: (R,) float32, undoes the rounding to whole numbers.
        knots: the K intensities, ascending.
        fine: cells a side of flow and residual.
        coarse: cells a side of the shading.
    """

    components: np.ndarray
    weights: np.ndarray
    scale: np.ndarray
    knots: tuple[float, ...]
    fine: int
    coarse: int


@torch.no_grad()
def low_rank_fields(
    editor: Editor, crops: np.ndarray, weights: torch.Tensor, frame_rate: float = TRAINED_RATE
) -> LowRankFields:
    """Compute all that the edits of one clip to one emotion need besides its pictures; seconds.

    Args:
        editor: of this clip, as `editor_of_clip` returns it.
        crops: (T, H, H, 3) uint8 aligned crops.
        weights: (1, 8) weights of the emotions.
        frame_rate: of the clip, Hz.
    """
    num_frames = len(crops)
    frames = image_tensor(crops)[None]
    stride = stride_at(editor, frame_rate)
    knots = editor.intensity_knots
    levels = torch.tensor(knots)[:, None].expand(-1, num_frames)

    parts = []
    for start in range(0, num_frames, CHUNK):
        chunk = slice(start, start + CHUNK)
        flow, shading, residual = editor.fields(frames, weights, levels, chunk, stride)
        fields = (flow, _at_most_half(shading, flow.shape[-1]), residual)
        flattened = [field.flatten(2) for field in fields]
        parts.append(torch.cat(flattened, 2))

    matrix = torch.cat(parts, 1).flatten(0, 1)
    components, row_weights, scale = _factorise(matrix.numpy(), editor.field_rank)
    flow, shading, _ = fields
    return LowRankFields(
        components=components,
        weights=row_weights.reshape(len(knots), num_frames, -1),
        scale=scale,
        knots=knots,
        fine=flow.shape[-1],
        coarse=shading.shape[-1],
    )


def _at_most_half(shading: torch.Tensor, fine: int) -> torch.Tensor:
    """(K, T, 1, C, C) shading, averaged where it is as fine as the flow: a page has little room."""
    if 2 * shading.shape[-1] <= fine:
        return shading
    means = F.avg_pool2d(shading.flatten(0, 1), 2)
    return means.unflatten(0, shading.shape[:2])


def _factorise(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Approximate an (N, D) matrix by (R, D) int8 components, (N, R) int16 weights, (R,) scales.

    The N left singular vectors are eigenvectors of the small (N, N) product of the rows; before the
    rounding to 8 bits that is as good as a singular value decomposition of all D columns.
    """
    product = (matrix @ matrix.T).astype(np.float64)
    eigenvalues, vectors = np.linalg.eigh(product)
    largest = np.argsort(eigenvalues)[::-1][:rank]
    left = vectors[:, largest]
    scaled_components = left.T.astype(np.float32) @ matrix
    singular_values = np.sqrt(np.maximum(eigenvalues[largest], 0))
    right = scaled_components / np.maximum(singular_values, TINY)[:, None]

    components, component_scale = _quantise(right, 1, np.int8)
    weights, weight_scale = _quantise(left * singular_values, 0, np.int16)
    scale = component_scale * weight_scale

    return components, weights, scale.astype(np.float32)


def _quantise(values: np.ndarray, axis: int, kind: type) -> tuple[np.ndarray, np.ndarray]:
    """Round an (N, D) array to whole numbers of a type.

    Returns:
        The whole numbers, and the (R,) factors that give the values back; the entries along `axis`
        share a factor.
    """
    largest = np.abs(values).max(axis, keepdims=True)
    factor = np.maximum(largest, TINY) / np.iinfo(kind).max
    whole = np.round(values / factor)
    return whole.astype(kind), factor.ravel()


def fields_at(fields: LowRankFields, curve: np.ndarray) -> list[torch.Tensor]:
    """The fields of a clip for one intensity a frame; warp.js computes the same.

    Args:
        fields: at the knots.
        curve: (T,) intensities, 0 to 1.5; 0 gives zeros.

    Returns:
        Flow (T, 2, F, F), shading (T, 1, C, C) and residual (T, 1, F, F).
    """
    weights = torch.from_numpy(_interpolated_weights(fields, curve))
    unchanged = torch.tensor(np.array(curve) == 0)[:, None]
    smoothed = smooth(weights.float()).masked_fill(unchanged, 0)
    components = torch.from_numpy(fields.components)
    flat = smoothed @ components.float()

    fine = fields.fine
    coarse = fields.coarse
    lengths = [2 * fine**2, coarse**2, fine**2]
    flow, shading, residual = flat.split(lengths, 1)
    return [
        flow.view(-1, 2, fine, fine),
        shading.view(-1, 1, coarse, coarse),
        residual.view(-1, 1, fine, fine),
    ]


def _interpolated_weights(fields: LowRankFields, curve: np.ndarray) -> np.ndarray:
    """(T, R) weights of the components for (T,) intensities, before they are smoothed over time."""
    num_knots = len(fields.knots)
    position = np.interp(curve, fields.knots, np.arange(num_knots))
    knot = np.minimum(position.astype(int), num_knots - 2)
    share = (position - knot)[:, None]
    frame = np.arange(len(curve))
    below = fields.weights[knot, frame]
    above = fields.weights[knot + 1, frame]
    mixed = below * (1 - share) + above * share

    fade = np.clip(curve / fields.knots[0], 0, 1)
    return mixed * fields.scale * fade[:, None]


def edit_with_fields(
    fields: LowRankFields, crops: np.ndarray, curve: np.ndarray, shown: slice = ALL_FRAMES
) -> np.ndarray:
    """Edit crops by their low-rank fields, without the generator.

    Within a level or so of 255 of `edit_clip` (tests/test_dial.py).

    Args:
        fields: of the same clip.
        crops: (T, H, H, 3) uint8.
        curve: (T,) intensities.
        shown: the frames to return.

    Returns:
        (T, H, H, 3) uint8, or fewer frames where not all are shown.
    """
    curve = np.asarray(curve, np.float32)
    flow, shading, residual = (field[shown] for field in fields_at(fields, curve))
    edited = apply_fields(image_tensor(crops[shown]), flow, shading, residual)
    pixels = (edited * 255).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).numpy()
