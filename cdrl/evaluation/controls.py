"""Features without information: what a method is worth shows on input that says nothing."""

import copy

import numpy as np
import torch

from cdrl.priors.features import Features
from cdrl.priors.language import LanguagePrior
from cdrl.priors.vision import vision_prior

NUM_NOISE_IMAGES = 512
MOUTH_BOX = (0.25, 0.6, 0.75, 0.93)  # of every replaced image, relative to it
_BATCH_SIZE = 64


@torch.no_grad()
def without_information(
    features: Features, kind: str, language: str | None = None, seed: int = 0
) -> Features:
    """The same clips, labels and sound, every image replaced.

    Args:
        features: of real crops.
        kind: `constant` (one grey image for all) or `noise` (uniform noise, drawn anew for each
            frame from 512 images).
        language: the language prior that encodes the images (None: the one of `features`).
        seed: of the noise.

    Returns:
        Features whose face, mouth and language arrays are those of the replaced images, in memory.
    """
    random = np.random.default_rng([seed, 8101])
    size = features.store.face.shape[1]

    if kind == "noise":
        pixels = random.random((NUM_NOISE_IMAGES, 3, size, size), dtype=np.float32)
    else:
        pixels = np.full((1, 3, size, size), 0.5, np.float32)

    images = torch.from_numpy(pixels)
    arrays = _encode(images, features, language or features.names["language"])
    image_of_frame = random.integers(0, len(images), len(features.store))

    replaced = copy.copy(features)

    for name, values in arrays.items():
        setattr(replaced, name, values.half().numpy()[image_of_frame])

    return replaced


def _encode(images: torch.Tensor, features: Features, language: str) -> dict[str, torch.Tensor]:
    """(n, 3, H, W) -> face, mouth and language features, (n, D) each, by the named priors."""
    vision = vision_prior(features.names["vision"])
    language_prior = LanguagePrior(language)
    boxes = torch.tensor([MOUTH_BOX]).expand(len(images), -1)

    faces, mouths, languages = [], [], []

    for part, part_boxes in zip(images.split(_BATCH_SIZE), boxes.split(_BATCH_SIZE), strict=True):
        face, mouth = vision(part, part_boxes)
        faces.append(face)
        mouths.append(mouth)
        languages.append(language_prior.image_features(part))

    arrays = {"face": torch.cat(faces), "mouth": torch.cat(mouths)}
    # One file serves both where the language prior's image tower is the face backbone.
    shares_file = features.priors["language"] == features.priors["face"]
    arrays["language"] = arrays["face"] if shares_file else torch.cat(languages)

    return arrays
