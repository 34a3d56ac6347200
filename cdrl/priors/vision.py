"""Face and mouth backbones: what a frame looks like, before anyone asks about content or emotion.

Both look at the same aligned crop: `face_view` shrinks it, `mouth_view` cuts the clip's mouth box out of it. Boxes are
relative, so a crop of any resolution gives the same view, and both are differentiable to the pixels.
"""

import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.checkpoint import load_card, load_weights, weights_path
from cdrl.core.errors import InputError
from cdrl.core.weight_files import checksum
from cdrl.priors.iresnet import ReleasedVision

FACE_SIZE = 64
MOUTH_SIZE = (32, 48)


def face_view(images: torch.Tensor) -> torch.Tensor:
    """Aligned crops as the face backbone sees them.

    Args:
        images: (B, 3, H, W) RGB in [0, 1], any resolution.

    Returns:
        (B, 3, 64, 64) in [-1, 1]; a mid-grey image gives zeros.
    """
    if images.shape[-2:] != (FACE_SIZE, FACE_SIZE):
        images = F.interpolate(
            images, (FACE_SIZE, FACE_SIZE), mode="bilinear", antialias=True, align_corners=False
        )
    return images * 2 - 1


def mouth_view(images: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """The mouth of each crop as the mouth backbone sees it.

    Args:
        images: (B, 3, H, W) RGB in [0, 1].
        boxes: (B, 4) left, top, right, bottom, relative to the crop, 0 to 1.

    Returns:
        (B, 3, 32, 48) in [-1, 1], bilinear; outside of the crop repeats its border.
    """
    left, top, right, bottom = boxes.to(images).unbind(1)
    theta = images.new_zeros(len(images), 2, 3)
    theta[:, 0, 0], theta[:, 0, 2] = right - left, left + right - 1
    theta[:, 1, 1], theta[:, 1, 2] = bottom - top, top + bottom - 1
    grid = F.affine_grid(theta, (len(images), 3, *MOUTH_SIZE), align_corners=False)
    return (
        F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False) * 2
        - 1
    )


class Residual(nn.Module):
    """3x3 convolution pair with GroupNorm; halves the resolution."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.skip = nn.Conv2d(channels, out, 1)
        self.first = nn.Conv2d(channels, out, 3, 2, 1)
        self.second = nn.Conv2d(out, out, 3, 1, 1)
        self.norms = nn.ModuleList([nn.GroupNorm(8, out), nn.GroupNorm(8, out)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = F.silu(self.norms[0](self.first(x)))
        return F.silu(self.skip(F.avg_pool2d(x, 2)) + self.norms[1](self.second(hidden)))


class Backbone(nn.Module):
    """Small residual network, view -> features.

    Args:
        size: (H, W) of the view, multiples of 16.
        widths: channels after the stem (stride 2) and after each residual stage (stride 2 each).
        features: length of the feature vector.

    Example:
        Backbone((64, 64), (24, 48, 96, 128), 256)(torch.zeros(2, 3, 64, 64)).shape == (2, 256)
    """

    def __init__(self, size: tuple, widths: tuple, features: int):
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 4, 2, 1)
        self.stages = nn.Sequential(
            *[Residual(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True)]
        )
        shrink = 2 ** len(widths)
        self.out = nn.Linear(widths[-1] * (size[0] // shrink) * (size[1] // shrink), features)
        self.norm = nn.LayerNorm(features)

    def forward(self, view: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, features), layer-normalised."""
        return self.norm(self.out(self.stages(F.silu(self.stem(view))).flatten(1)))


def face_backbone(features: int = 256) -> Backbone:
    """The architecture of the committed face backbone (0.9 M parameters)."""
    return Backbone((FACE_SIZE, FACE_SIZE), (24, 48, 96, 128), features)


def mouth_backbone(features: int = 128) -> Backbone:
    """The architecture of the committed mouth backbone (1.0 M parameters)."""
    return Backbone(MOUTH_SIZE, (48, 96, 160), features)


class VisionPrior(nn.Module):
    """Frozen face and mouth backbones with their views: crops in, features out.

    Args:
        face, mouth: names or paths of weights (see `cdrl.core.checkpoint.weights_path`).

    Example:
        prior = VisionPrior()
        face, mouth = prior(images, boxes)     # (B, 3, H, W) in [0, 1], (B, 4) -> (B, 256), (B, 128)
    """

    def __init__(self, face: str = "face_backbone", mouth: str = "mouth_backbone"):
        super().__init__()
        self.name = (face, mouth)
        self.identity = tuple(
            {"name": name, "sha256": checksum(weights_path(name))} for name in (face, mouth)
        )
        self.face = load_weights(face, face_backbone(**load_card(face)["model"]))
        self.mouth = load_weights(mouth, mouth_backbone(**load_card(mouth)["model"]))

    def train(self, mode: bool = True) -> "VisionPrior":
        """Frozen: stays in eval mode whatever is asked (the release let its frozen BatchNorm drift)."""
        return super().train(False)

    def forward(
        self, images: torch.Tensor, boxes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, H, W) RGB in [0, 1] and (B, 4) boxes -> face (B, 256) and mouth (B, 128) features."""
        return self.face(face_view(images)), self.mouth(mouth_view(images, boxes))


def vision_prior(name="embedded", weights: str = "") -> nn.Module:
    """The vision prior called `name`: `embedded`, `iresnet50` (`iresnet50/random`), or names of a face and a mouth backbone.

    Raises:
        InputError: for any other name.
    """
    if isinstance(name, (tuple, list)):
        return VisionPrior(*name)
    if name == "embedded":
        return VisionPrior()
    if name not in ("iresnet50", "iresnet50/random"):
        raise InputError(f"unknown vision prior {name!r}: accepted are embedded, iresnet50")
    return ReleasedVision(weights, random=name.endswith("/random"))
