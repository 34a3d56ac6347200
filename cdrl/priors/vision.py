"""Vision priors: frozen features of face and mouth.

Both parts read the same aligned crop: `face_view` resizes it, `mouth_view` cuts the mouth box of
the clip out of it. Boxes are relative, so a crop of any resolution gives the same view, and both
views are differentiable to the pixels.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.checkpoint import freeze, load_network, weights_path
from cdrl.core.errors import InputError
from cdrl.core.weight_files import checksum
from cdrl.priors.iresnet import ReleasedVision

FACE_SIZE = 64
MOUTH_SIZE = (32, 48)


def face_view(images: torch.Tensor) -> torch.Tensor:
    """Resize aligned crops to the input of the face backbone.

    Args:
        images: (B, 3, H, W) RGB in [0, 1], any resolution.

    Returns:
        (B, 3, 64, 64) in [-1, 1]; a mid-grey image gives zeros.
    """
    size = (FACE_SIZE, FACE_SIZE)
    if images.shape[-2:] != size:
        images = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
    return images * 2 - 1


def mouth_view(images: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Cut the mouth out of each crop, as the input of the mouth backbone.

    Args:
        images: (B, 3, H, W) RGB in [0, 1].
        boxes: (B, 4) left, top, right, bottom, relative to the crop, 0 to 1.

    Returns:
        (B, 3, 32, 48) in [-1, 1], bilinear; the border is repeated outside of the crop.
    """
    transform = _box_transform(boxes.to(images))
    shape = [images.shape[0], 3, *MOUTH_SIZE]  # `len` would be fixed in an export
    grid = F.affine_grid(transform, shape, align_corners=False)
    mouths = F.grid_sample(
        images, grid, mode="bilinear", padding_mode="border", align_corners=False
    )

    return mouths * 2 - 1


def _box_transform(boxes: torch.Tensor) -> torch.Tensor:
    """(B, 4) boxes -> (B, 2, 3) affine maps of [-1, 1] to the box."""
    left, top, right, bottom = boxes.unbind(1)
    none = torch.zeros_like(left)

    across = torch.stack([right - left, none, left + right - 1], 1)
    down = torch.stack([none, bottom - top, top + bottom - 1], 1)

    return torch.stack([across, down], 1)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with GroupNorm and a skip; halves the resolution.

    Args:
        channels: of the input.
        out: channels of the output.
    """

    def __init__(self, channels: int, out: int):
        super().__init__()

        self.skip = nn.Conv2d(channels, out, 1)
        self.first = nn.Conv2d(channels, out, 3, 2, 1)
        self.second = nn.Conv2d(out, out, 3, 1, 1)

        norms = [nn.GroupNorm(8, out), nn.GroupNorm(8, out)]
        self.norms = nn.ModuleList(norms)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, h, w) -> (B, out, h / 2, w / 2)."""
        hidden = self.first(x)
        hidden = self.norms[0](hidden)
        hidden = F.silu(hidden)

        skip = self.skip(F.avg_pool2d(x, 2))
        hidden = self.second(hidden)
        hidden = self.norms[1](hidden)

        return F.silu(skip + hidden)


class Backbone(nn.Module):
    """Small residual network, view -> features.

    Args:
        size: (H, W) of the view, multiples of 16.
        widths: channels after the stem (stride 2) and after each residual stage (stride 2 each).
        features: length of the feature vector.

    Example:
        Backbone((64, 64), (24, 48, 96, 128), 256)(torch.zeros(2, 3, 64, 64)).shape == (2, 256)
    """

    def __init__(self, size: tuple[int, int], widths: tuple[int, ...], features: int):
        super().__init__()

        self.stem = nn.Conv2d(3, widths[0], 4, 2, 1)
        self.stages = nn.Sequential()
        for channels, out in pairwise(widths):
            self.stages.append(ResidualBlock(channels, out))

        height, width = size
        stride = 2 ** len(widths)
        cells = (height // stride) * (width // stride)
        self.out = nn.Linear(widths[-1] * cells, features)
        self.norm = nn.LayerNorm(features)

    def forward(self, view: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, features), layer-normalised."""
        hidden = F.silu(self.stem(view))
        hidden = self.stages(hidden)
        features = self.out(hidden.flatten(1))
        return self.norm(features)


def face_backbone(features: int = 256) -> Backbone:
    """Build the architecture of the committed face backbone (0.9 M parameters)."""
    return Backbone((FACE_SIZE, FACE_SIZE), (24, 48, 96, 128), features)


def mouth_backbone(features: int = 128) -> Backbone:
    """Build the architecture of the committed mouth backbone (1.0 M parameters)."""
    return Backbone(MOUTH_SIZE, (48, 96, 160), features)


class VisionPrior(nn.Module):
    """Frozen face and mouth backbones with their views: crops in, features out.

    Args:
        face: name or path of weights (see `cdrl.core.checkpoint.find_network`).
        mouth: name or path of weights.

    Attributes:
        name: of the weights of face and mouth.
        identity: name and sha256 of the weights of face and mouth; features are stored under it.

    Example:
        prior = VisionPrior()
        face, mouth = prior(images, boxes)     # (B, 3, H, W) in [0, 1], (B, 4)
        face.shape, mouth.shape                # (B, 256), (B, 128)
    """

    def __init__(self, face: str = "face_backbone", mouth: str = "mouth_backbone"):
        super().__init__()

        self.name = (face, mouth)
        self.identity = (_weights_identity(face), _weights_identity(mouth))
        self.face = load_network(face_backbone, face)
        self.mouth = load_network(mouth_backbone, mouth)
        freeze(self)  # the statistics of a frozen network must not drift in training

    def forward(
        self, images: torch.Tensor, boxes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Extract features.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
            boxes: (B, 4) mouth boxes.

        Returns:
            Face features (B, 256) and mouth features (B, 128).
        """
        face = self.face(face_view(images))
        mouth = self.mouth(mouth_view(images, boxes))
        return face, mouth


def _weights_identity(name: str) -> dict[str, str]:
    return {"name": name, "sha256": checksum(weights_path(name))}


def vision_prior(
    name: str | Sequence[str] = "embedded", weights: str = ""
) -> VisionPrior | ReleasedVision:
    """Build a vision prior.

    Args:
        name: `embedded`, `iresnet50`, `iresnet50/random`, or names of a face and a mouth backbone.
        weights: folder or file of the weights of `iresnet50`.

    Raises:
        InputError: any other name, or weights that are missing.
    """
    if not isinstance(name, str):
        face, mouth = name
        return VisionPrior(face, mouth)
    if name == "embedded":
        return VisionPrior()
    if name in ("iresnet50", "iresnet50/random"):
        return ReleasedVision(weights, random=name.endswith("/random"))
    raise InputError(f"unknown vision prior {name!r}: accepted are embedded, iresnet50")
