"""The release's IResNet-50 as the vision prior: face and mouth features out of its third stage, behind `VisionPrior`'s interface."""

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import roi_align

from cdrl.core.weight_files import fill, read_state, verify
from cdrl.priors import sources

SIZE = 224  # pixels of a side, as released
MOUTH_GRID = (2, 3)
_UNUSED = ("layer4.", "bn2.", "fc.", "features.")


class IResNetBlock(nn.Module):
    """BN, 3x3 conv, BN, PReLU, 3x3 conv (stride), BN, plus the identity or a strided 1x1 conv with BN; no activation after."""

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels, eps=1e-5)
        self.conv1 = nn.Conv2d(channels, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out, eps=1e-5)
        self.prelu = nn.PReLU(out)
        self.conv2 = nn.Conv2d(out, out, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out, eps=1e-5)
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out, eps=1e-5)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        skip = self.downsample(x) if hasattr(self, "downsample") else x
        return self.bn3(self.conv2(hidden)) + skip


class IResNet(nn.Module):
    """ArcFace's IResNet-50 up to its third stage: (B, 3, 224, 224) in [-1, 1] -> (B, 256, 28, 28)."""

    def __init__(self, blocks: tuple = (3, 4, 14)):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64, eps=1e-5)
        self.prelu = nn.PReLU(64)
        channels = 64
        for number, count in enumerate(blocks, 1):
            out = 64 * 2 ** (number - 1)
            stage = [
                IResNetBlock(channels if k == 0 else out, out, 2 if k == 0 else 1)
                for k in range(count)
            ]
            self.add_module(f"layer{number}", nn.Sequential(*stage))
            channels = out
        self.stages = len(blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.prelu(self.bn1(self.conv1(x)))
        for number in range(1, self.stages + 1):
            x = getattr(self, f"layer{number}")(x)
        return x


class ReleasedVision(nn.Module):
    """Frozen IResNet-50 up to its third stage, fed as the release fed it: 224 pixels, [-1, 1], blue first.

    The release keeps the whole map, 256 x 28 x 28 a frame (400 KB in half precision). Here the face is its mean over the picture
    and the mouth its mean over six parts of the mouth's box: differs from the release.

    Args:
        weights: folder or file: backbone.pth of the release, or an ArcFace IResNet-50 as .safetensors (see `cdrl.priors.sources`).
        random: weights drawn from seed 0 instead, for tests.

    Example:
        face, mouth = ReleasedVision(weights)(images, boxes)   # (B, 3, H, W) in [0, 1], (B, 4) -> (B, 256), (B, 1536)

    Raises:
        InputError: weights missing, unreadable, or of another network.
    """

    def __init__(self, weights: str = "", random: bool = False):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.net = IResNet()
        digest = "random"
        if not random:
            path = sources.require_file(sources.vision_source(), weights)
            digest, state = verify(path), read_state(path)
            if any(
                name.startswith("mask_learning.") for name in state
            ):  # the whole CCRL checkpoint
                state = {
                    name: value for name, value in state.items() if name.startswith("img_encoder.")
                }
            state = {name.removeprefix("img_encoder."): value for name, value in state.items()}
            fill(
                self.net,
                {name: value for name, value in state.items() if not name.startswith(_UNUSED)},
                path,
            )
        self.name = "iresnet50/random" if random else "iresnet50"
        self.identity = tuple(
            {"name": self.name, "view": view, "sha256": digest} for view in ("mean", "mouth 2x3")
        )
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "ReleasedVision":
        """Frozen: stays in eval mode whatever is asked (the release let its frozen BatchNorm drift)."""
        return super().train(False)

    def forward(
        self, images: torch.Tensor, boxes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, H, W) RGB in [0, 1] and (B, 4) boxes -> face (B, 256) and mouth (B, 1536) features."""
        images = F.interpolate(
            images, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False
        )
        found = self.net(images.flip(1) * 2 - 1)
        corners = boxes.to(found) * found.shape[-1]
        numbered = torch.cat(
            [torch.arange(len(boxes), device=found.device)[:, None].to(corners), corners], 1
        )
        return found.mean((2, 3)), roi_align(
            found, numbered, MOUTH_GRID, sampling_ratio=2, aligned=True
        ).flatten(1)
