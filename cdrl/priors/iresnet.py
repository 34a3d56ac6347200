"""The release's IResNet-50 as a vision prior: features of face and mouth from its third stage."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.checkpoint import freeze
from cdrl.core.weight_files import State, fill, read_state, verify
from cdrl.priors import sources

INPUT_SIZE = 224  # pixels a side, as released
MOUTH_GRID = (2, 3)  # rows and columns of the mouth's box
_UNUSED_PARTS = ("layer4.", "bn2.", "fc.", "features.")


class IResNetBlock(nn.Module):
    """BN, 3x3 conv, BN, PReLU, 3x3 conv, BN, plus a skip; no activation after the sum.

    The skip is the identity, or a strided 1x1 convolution with BN where shapes change.

    Args:
        channels: of the input.
        out: channels of the output.
        stride: of the second convolution.
    """

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()

        self.bn1 = nn.BatchNorm2d(channels, eps=1e-5)
        self.conv1 = nn.Conv2d(channels, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out, eps=1e-5)
        self.prelu = nn.PReLU(out)
        self.conv2 = nn.Conv2d(out, out, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out, eps=1e-5)

        self.downsample: nn.Sequential | None = None
        if stride != 1 or channels != out:
            convolution = nn.Conv2d(channels, out, 1, stride, bias=False)
            norm = nn.BatchNorm2d(out, eps=1e-5)
            self.downsample = nn.Sequential(convolution, norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, h, w) -> (B, out, h / stride, w / stride)."""
        hidden = self.bn1(x)
        hidden = self.conv1(hidden)
        hidden = self.bn2(hidden)
        hidden = self.prelu(hidden)

        skip = x if self.downsample is None else self.downsample(x)
        hidden = self.conv2(hidden)
        hidden = self.bn3(hidden)

        return hidden + skip


class IResNet(nn.Module):
    """ArcFace's IResNet-50 up to its third stage.

    Args:
        blocks: number of blocks of each stage.
    """

    def __init__(self, blocks: tuple[int, ...] = (3, 4, 14)):
        super().__init__()

        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64, eps=1e-5)
        self.prelu = nn.PReLU(64)

        channels = 64
        out = 64
        for number, count in enumerate(blocks, 1):
            self.add_module(f"layer{number}", _stage(channels, out, count))
            channels = out
            out *= 2
        self.stages = len(blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, 224, 224) in [-1, 1] -> (B, 256, 28, 28)."""
        x = self.conv1(x)
        x = self.bn1(x)
        x = self.prelu(x)

        for number in range(1, self.stages + 1):
            stage = getattr(self, f"layer{number}")
            x = stage(x)

        return x


def _stage(channels: int, out: int, count: int) -> nn.Sequential:
    """Make the blocks of a stage; the first halves the resolution."""
    blocks = nn.Sequential()
    blocks.append(IResNetBlock(channels, out, 2))
    for _ in range(count - 1):
        blocks.append(IResNetBlock(out, out, 1))
    return blocks


class ReleasedVision(nn.Module):
    """Frozen IResNet-50 up to its third stage, with the input of the release: 224 px, [-1, 1], BGR.

    The release keeps the whole map, 256 x 28 x 28 a frame (400 KB in half precision). Differs from
    the release: here the face is the map's mean over the image, and the mouth its means over six
    parts of the mouth's box.

    Args:
        weights: folder or file: backbone.pth of the release, or an ArcFace IResNet-50 as
            .safetensors (see `cdrl.priors.sources`).
        random: weights drawn from seed 0 instead, for tests.

    Attributes:
        name: of the prior.
        identity: name, view and sha256 of the weights, for face and mouth; features are stored
            under it.

    Example:
        face, mouth = ReleasedVision(weights)(images, boxes)   # (B, 3, H, W) in [0, 1], (B, 4)
        face.shape, mouth.shape                                # (B, 256), (B, 1536)

    Raises:
        InputError: weights missing, unreadable, or of another network.
    """

    def __init__(self, weights: str = "", random: bool = False):
        super().__init__()

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.net = IResNet()
        digest = "random"
        self.name = "iresnet50/random"
        if not random:
            path = sources.require_file(sources.vision_source(), weights)
            digest = verify(path)
            fill(self.net, _backbone_state(path), path)
            self.name = "iresnet50"

        face_identity = {"name": self.name, "view": "mean", "sha256": digest}
        mouth_identity = {"name": self.name, "view": "mouth 2x3", "sha256": digest}
        self.identity = (face_identity, mouth_identity)
        freeze(self)  # the release let the statistics of its frozen BatchNorm drift

    def forward(
        self, images: torch.Tensor, boxes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Extract features.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
            boxes: (B, 4) mouth boxes.

        Returns:
            Face features (B, 256) and mouth features (B, 1536).
        """
        from torchvision.ops import roi_align  # seconds, and few paths need it

        size = (INPUT_SIZE, INPUT_SIZE)
        images = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        bgr = images.flip(1)
        maps = self.net(bgr * 2 - 1)

        regions = _numbered_regions(boxes, maps)
        face = maps.mean((2, 3))
        mouth = roi_align(maps, regions, MOUTH_GRID, sampling_ratio=2, aligned=True)

        return face, mouth.flatten(1)


def _backbone_state(path: Path) -> State:
    """Read the parts of IResNet-50 that are used, from any file that has them."""
    state = read_state(path)
    is_whole_content_network = any(name.startswith("mask_learning.") for name in state)
    backbone = {}
    for name, value in state.items():
        if is_whole_content_network and not name.startswith("img_encoder."):
            continue
        name = name.removeprefix("img_encoder.")
        if not name.startswith(_UNUSED_PARTS):
            backbone[name] = value

    return backbone


def _numbered_regions(boxes: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """(B, 4) relative boxes -> (B, 5): number of the image, then its box in cells of the maps."""
    corners = boxes.to(maps) * maps.shape[-1]
    number = torch.arange(len(boxes), device=maps.device)
    number = number[:, None].to(corners)
    return torch.cat([number, corners], 1)
