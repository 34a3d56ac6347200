"""Distances between sets of frames as the paper's release computes them, on the features of a network that is named.

FAD takes an ArcFace ResNet-18 (`resnet18_110.pth` of arcface-pytorch), CSIM an EfficientFace trained on AffectNet-7, weights that a
user brings. Numbers on other networks do not compare with the release's tables.
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
from cdrl.models.published import EXPRESSION_SIDE, FACE_SIDE, EfficientFace, FaceNet

EPSILON = 1e-6  # added to the diagonals where the product of covariances has no root
_GREY = (0.299, 0.587, 0.114)
_MEAN, _DEVIATION = (
    (0.57535914, 0.44928582, 0.40079932),
    (0.20735591, 0.18981615, 0.18132027),
)  # RAF-DB's, of EfficientFace
_BATCH = 32


@lru_cache(maxsize=4)
def load_published(kind: str, path: str | Path) -> nn.Module:
    """The network "face" (FAD) or "expression" (CSIM) with the weights in `path`, frozen, in eval mode, on the GPU where there is one.

    Raises:
        InputError: no such file, one that holds more than tensors, another network's weights, or a file that has changed.
    """
    path = Path(path)
    state = read_state(path)
    verify(path)
    return fill({"face": FaceNet, "expression": EfficientFace}[kind](), state, path).to(
        pick_device("auto")
    )


@torch.no_grad()
def published_features(network: nn.Module, frames: np.ndarray) -> np.ndarray:
    """What a network of `load_published` says of crops, prepared as the release does.

    For "face": grey, 164 pixels, the middle 128, [-1, 1]. For "expression": 256 pixels, the middle 224, its normalisation. Differs
    from the release: resized in floating point, so within a grey level of Pillow's.

    Args:
        frames: (T, H, H, 3) uint8 RGB, crops of the face.

    Returns:
        (T, 512) or (T, 1024).
    """
    face = isinstance(network, FaceNet)
    side, whole = (FACE_SIDE, 164) if face else (EXPRESSION_SIDE, 256)
    found, border = [], (whole - side) // 2
    for part in torch.from_numpy(np.ascontiguousarray(frames)).split(_BATCH):
        images = part.permute(0, 3, 1, 2).float() / 255
        if face:
            images = (images * torch.tensor(_GREY)[:, None, None]).sum(1, keepdim=True)
        images = F.interpolate(
            images, (whole, whole), mode="bilinear", antialias=True, align_corners=False
        )
        images = images[..., border : border + side, border : border + side]
        mean, deviation = ((0.5,), (0.5,)) if face else (_MEAN, _DEVIATION)
        given = (images - torch.tensor(mean)[:, None, None]) / torch.tensor(deviation)[
            :, None, None
        ]
        found.append(network(given.to(next(network.parameters()).device)).cpu())
    return torch.cat(found).numpy()


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Frechet distance of the Gaussians of two sets of features: |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)).

    As in FAD and FID (arXiv:1706.08500).

    Args:
        first, second: (N, D) and (M, D) features; with fewer rows than dimensions the covariances are not full, and the value is
            too large.

    Returns:
        0 for one set against itself; 9 for unit Gaussians whose means are 3 apart in one dimension, D for one of deviation 1
        against one of deviation 2 in D dimensions.
    """
    means = [np.asarray(x, np.float64).mean(0) for x in (first, second)]
    spreads = [
        np.cov(np.asarray(x, np.float64), rowvar=False).reshape(len(means[0]), -1)
        for x in (first, second)
    ]
    root = sqrtm(spreads[0] @ spreads[1])
    if not np.isfinite(root).all():
        guard = EPSILON * np.eye(len(root))
        root = sqrtm((spreads[0] + guard) @ (spreads[1] + guard))
    value = (
        np.square(means[0] - means[1]).sum()
        + np.trace(spreads[0] + spreads[1])
        - 2 * np.trace(root.real)
    )
    return float(max(value, 0.0))


def set_similarity(
    first: np.ndarray, second: np.ndarray, number: int = 100, seed: int = 1
) -> float:
    """Mean of all cosines between `number` random rows of each of two sets: CSIM as released, seed and number too.

    Args:
        first, second: (N, D), (M, D) features. number: rows drawn of each, without repetition; all where there are fewer.

    Returns:
        In [-1, 1]; 1 for two sets of one direction, 0 for unrelated ones.
    """
    random, drawn = np.random.default_rng(seed), []
    for rows in (first, second):
        rows = np.asarray(rows, np.float64)[random.permutation(len(rows))[:number]]
        drawn.append(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
    return float((drawn[0] @ drawn[1].T).mean())
