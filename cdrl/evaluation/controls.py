"""Features without information: what a method is worth shows on input that says nothing."""

import copy

import numpy as np
import torch

from cdrl.priors.features import Features
from cdrl.priors.language import LanguagePrior
from cdrl.priors.vision import vision_prior

NOISES = 512  # different noise images


@torch.no_grad()
def without_information(
    features: Features, kind: str, language: str | None = None, seed: int = 0
) -> Features:
    """The same clips, labels and sound, every image replaced.

    Args:
        features: of real crops. kind: `constant` (one grey image for all) or `noise` (uniform noise, drawn anew per frame from
            512 images). language: the prior that reads them (None: the one that read the crops).

    Returns:
        Features whose face, mouth and language arrays are those of the replaced images, in memory.
    """
    random = np.random.default_rng([seed, 8101])
    size = features.store.face.shape[1]
    count = NOISES if kind == "noise" else 1
    pixels = (
        random.random((count, 3, size, size), dtype=np.float32)
        if kind == "noise"
        else np.full((1, 3, size, size), 0.5, np.float32)
    )
    images = torch.from_numpy(pixels)
    boxes = torch.tensor([[0.25, 0.6, 0.75, 0.93]]).expand(count, -1)
    vision, prior = (
        vision_prior(features.names["vision"]),
        LanguagePrior(language or features.names["language"]),
    )
    parts = [
        (*vision(*part), prior.image_features(part[0]))
        for part in zip(images.split(64), boxes.split(64), strict=True)
    ]
    found = dict(
        zip(("face", "mouth", "language"), map(torch.cat, zip(*parts, strict=True)), strict=True)
    )
    if features.priors["language"] == features.priors["face"]:  # one file serves both
        found["language"] = found["face"]
    row = random.integers(0, count, len(features.store))
    out = copy.copy(features)
    for name, value in found.items():
        setattr(out, name, value.half().numpy()[row])
    return out
