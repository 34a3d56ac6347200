"""Distances between sets of frames as the paper's release computes them.

FAD takes an ArcFace ResNet-18 (`resnet18_110.pth` of arcface-pytorch), CSIM an EfficientFace
trained on AffectNet-7, weights that a user brings. Numbers on other networks do not compare with
the release's tables.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.linalg import sqrtm
from torch import nn

from cdrl.core.devices import pick_device
from cdrl.core.weight_files import fill, read_state, verify
from cdrl.evaluation.retrieval import unit_rows
from cdrl.models.published import EXPRESSION_SIDE, FACE_SIDE, EfficientFace, FaceNet

EPSILON = 1e-6  # added to the diagonals where the product of covariances has no root
FACE_RESIZED = 164  # pixels, of which the middle `FACE_SIDE` are seen
EXPRESSION_RESIZED = 256  # pixels, of which the middle `EXPRESSION_SIDE` are seen
_GREY = (0.299, 0.587, 0.114)
# RAF-DB's, of EfficientFace.
_EXPRESSION_MEAN = (0.57535914, 0.44928582, 0.40079932)
_EXPRESSION_STD = (0.20735591, 0.18981615, 0.18132027)
_BATCH_SIZE = 32


@lru_cache(maxsize=4)
def load_published(kind: str, path: str | Path) -> nn.Module:
    """Load a published network, frozen, in eval mode, on the GPU where there is one.

    Args:
        kind: "face" (FAD) or "expression" (CSIM).
        path: file of its weights, a user's.

    Raises:
        InputError: no such file, one that holds more than tensors, another network's weights, or a
            file that has changed.
    """
    path = Path(path)
    verify(path)
    state = read_state(path)
    network: nn.Module = FaceNet() if kind == "face" else EfficientFace()

    return fill(network, state, path).to(pick_device("auto"))


@torch.no_grad()
def published_features(network: nn.Module, frames: np.ndarray) -> np.ndarray:
    """The features of a published network, its input prepared as the release does.

    For "face": grey, 164 pixels, the middle 128, [-1, 1]. For "expression": 256 pixels, the middle
    224, its normalisation. Differs from the release: resized in floating point, so within a grey
    level of Pillow's.

    Args:
        network: of `load_published`.
        frames: (T, H, H, 3) uint8 RGB, crops of the face.

    Returns:
        (T, 512) or (T, 1024).
    """
    device = next(network.parameters()).device
    prepare = _prepare_face if isinstance(network, FaceNet) else _prepare_expression

    features = []
    for part in torch.from_numpy(np.ascontiguousarray(frames)).split(_BATCH_SIZE):
        images = part.permute(0, 3, 1, 2).float() / 255
        inputs = prepare(images).to(device)
        features.append(network(inputs).cpu())

    return torch.cat(features).numpy()


def _prepare_face(images: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, H) RGB in [0, 1] -> (B, 1, 128, 128) in [-1, 1]."""
    weights = torch.tensor(_GREY)[:, None, None]
    grey = (images * weights).sum(1, keepdim=True)
    inner = _resize_and_crop(grey, FACE_RESIZED, FACE_SIDE)

    return _normalise(inner, mean=(0.5,), std=(0.5,))


def _prepare_expression(images: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, H) RGB in [0, 1] -> (B, 3, 224, 224), normalised."""
    inner = _resize_and_crop(images, EXPRESSION_RESIZED, EXPRESSION_SIDE)
    return _normalise(inner, _EXPRESSION_MEAN, _EXPRESSION_STD)


def _resize_and_crop(images: torch.Tensor, size: int, side: int) -> torch.Tensor:
    """(B, C, H, H) -> (B, C, side, side), the middle of the images at `size` pixels."""
    resized = F.interpolate(
        images, (size, size), mode="bilinear", antialias=True, align_corners=False
    )

    border = (size - side) // 2
    inner = slice(border, border + side)
    return resized[..., inner, inner]


def _normalise(
    images: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]
) -> torch.Tensor:
    """(B, C, H, W) minus the mean of each channel, over its std."""
    centred = images - torch.tensor(mean)[:, None, None]
    return centred / torch.tensor(std)[:, None, None]


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Frechet distance of the Gaussians of two sets of features.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), as in FAD and FID (arXiv:1706.08500).

    Args:
        first: (N, D) features; with fewer rows than dimensions the covariances are not full, and
            the value is too large.
        second: (M, D) features.

    Returns:
        0 for one set against itself; 9 for unit Gaussians whose means are 3 apart in one dimension,
        D for one of std 1 against one of std 2 in D dimensions.
    """
    first_mean, first_covariance = _gaussian(first)
    second_mean, second_covariance = _gaussian(second)
    root = sqrtm(first_covariance @ second_covariance)

    if not np.isfinite(root).all():
        guard = EPSILON * np.eye(len(root))
        root = sqrtm((first_covariance + guard) @ (second_covariance + guard))

    between_means = np.square(first_mean - second_mean).sum()
    variances = np.trace(first_covariance + second_covariance)
    common = np.trace(root.real)

    value = between_means + variances - 2 * common

    return float(max(value, 0.0))


def _gaussian(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) -> mean (D,) and covariance (D, D)."""
    features = np.asarray(features, np.float64)
    mean = features.mean(0)
    covariance = np.cov(features, rowvar=False)

    return mean, covariance.reshape(len(mean), -1)


def set_similarity(
    first: np.ndarray, second: np.ndarray, number: int = 100, seed: int = 1
) -> float:
    """Mean of all cosines between random rows of two sets: CSIM as released, seed and number too.

    Args:
        first: (N, D) features.
        second: (M, D) features.
        number: rows drawn of each, without repetition; all where there are fewer.
        seed: of the draws.

    Returns:
        In [-1, 1]; 1 for two sets of one direction, 0 for unrelated ones.
    """
    random = np.random.default_rng(seed)
    first_rows = _draw_unit_rows(first, number, random)
    second_rows = _draw_unit_rows(second, number, random)

    return float((first_rows @ second_rows.T).mean())


def _draw_unit_rows(features: np.ndarray, number: int, random: np.random.Generator) -> np.ndarray:
    """(N, D) -> (n, D) float64 rows of length 1, drawn at random."""
    rows = random.permutation(len(features))[:number]
    return unit_rows(features[rows])
