"""What networks that others trained on real faces read in aligned crops; for scores alone."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import nn

from cdrl.core.checkpoint import load_card, load_weights
from cdrl.core.paths import data_root
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.core.weight_files import checksum
from cdrl.models.real_faces import DenseFaceNet, FaceRes, MiniXception

# The networks of expressions, of identity and of landmarks, files of data/weights/real.
EXPRESSION_NETWORKS = ("expression", "expression_fer")
IDENTITY = "identity"
LANDMARKS = "landmarks"
NUM_LANDMARKS = 68
BUILD: dict[str, Callable[[], nn.Module]] = {
    "expression": partial(DenseFaceNet, 7),
    "expression_fer": MiniXception,
    IDENTITY: FaceRes,
    LANDMARKS: partial(DenseFaceNet, 2 * NUM_LANDMARKS),
}
GREY = (0.2989, 0.587, 0.114)  # of red, green, blue
HALF_RANGE = 127.5  # half of the levels of a pixel


class RealNetworks:
    """The networks, loaded, each applied to the crops of one clip."""

    def __init__(self) -> None:
        folder = data_root() / "weights" / "real"
        self.networks = {}
        self.order = {}
        sums = []
        for name, build in BUILD.items():
            weights = folder / f"{name}.safetensors"
            self.networks[name] = load_weights(str(weights), build())
            self.order[name] = load_card(str(weights)).get("emotions", [])
            sums.append(checksum(weights)[:12])
        self.fingerprint = "-".join(sums)

    @torch.no_grad()
    def expressions(self, crops: np.ndarray) -> np.ndarray:
        """The probabilities of the emotions, mean over the frames.

        Args:
            crops: (T, H, H, 3) uint8 RGB, aligned.

        Returns:
            (2, 7): a row for each of `EXPRESSION_NETWORKS`, order `SCORED_EMOTIONS`.
        """
        colour = _resized(crops, DenseFaceNet.SIZE)
        small = _resized(crops, MiniXception.SIZE)
        weights = torch.tensor(GREY).view(1, 3, 1, 1)
        grey = (small * weights).sum(1, keepdim=True)

        logits = {
            "expression": self.networks["expression"](colour),
            "expression_fer": self.networks["expression_fer"](grey / HALF_RANGE - 1),
        }
        rows = []
        for name in EXPRESSION_NETWORKS:
            probabilities = logits[name].softmax(1).mean(0).numpy()
            order = [self.order[name].index(emotion) for emotion in SCORED_EMOTIONS]
            rows.append(probabilities[order])

        return np.stack(rows)

    @torch.no_grad()
    def identity(self, crops: np.ndarray) -> np.ndarray:
        """(T, H, H, 3) uint8 crops -> (T, 1024), unit norm."""
        return self.networks[IDENTITY](_resized(crops, FaceRes.SIZE)).numpy()

    @torch.no_grad()
    def landmarks(self, crops: np.ndarray) -> np.ndarray:
        """(T, H, H, 3) uint8 crops -> (T, 68, 2) x right, y down, 0 to 1 in the crop."""
        coordinates = self.networks[LANDMARKS](_resized(crops, DenseFaceNet.SIZE))
        return coordinates.reshape(-1, NUM_LANDMARKS, 2).numpy()


def _resized(crops: np.ndarray, size: int) -> torch.Tensor:
    """(T, H, H, 3) uint8 -> (T, 3, size, size) float32 of 0 to 255."""
    pictures = []
    for crop in crops:
        picture = Image.fromarray(crop).resize((size, size), Image.Resampling.BILINEAR)
        pictures.append(np.asarray(picture))

    levels = torch.from_numpy(np.stack(pictures).astype(np.float32))
    return levels.permute(0, 3, 1, 2)
