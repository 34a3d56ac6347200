"""The two networks of the papers' FAD and CSIM.

Names of parts and shapes are those of the authors, so that the published weights load.
"""

import torch
import torch.nn.functional as F
from torch import nn

FACE_SIDE = 128  # pixels
EXPRESSION_SIDE = 224
# Of EfficientFace: channels before and after a stage, blocks.
_STAGES = ((29, 116, 4), (116, 232, 8), (232, 464, 4))


class FaceNet(nn.Module):
    """ResNet-18 of ArcFace (arXiv:1801.07698): an embedding of the person.

    Without squeeze and excitation, as in `resnet18_110.pth` of arcface-pytorch.

    Example:
        FaceNet().eval()(torch.zeros(2, 1, 128, 128)).shape == (2, 512)   # 25.6 million parameters
    """

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self) -> None:
        super().__init__()

        self.conv1 = nn.Conv2d(1, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU()

        widths = ((64, 64), (64, 128), (128, 256), (256, 512))
        for number, (channels, out) in enumerate(widths, 1):
            first_block = _FaceBlock(channels, out)
            second_block = _FaceBlock(out, out)
            self.add_module(f"layer{number}", nn.Sequential(first_block, second_block))

        self.bn4 = nn.BatchNorm2d(512)
        self.fc5 = nn.Linear(512 * 8 * 8, 512)
        self.bn5 = nn.BatchNorm1d(512)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 1, 128, 128) grey in [-1, 1] -> (B, 512)."""
        x = self.conv1(images)
        x = self.bn1(x)
        x = self.prelu(x)
        x = F.max_pool2d(x, 2)

        x = self.layer1(x)
        x = self.layer2(x)
        x = self.layer3(x)
        x = self.layer4(x)

        x = self.bn4(x).flatten(1)
        x = self.fc5(x)

        return self.bn5(x)


class _FaceBlock(nn.Module):
    """BN, conv, BN, PReLU, conv, BN, plus the input, PReLU; both PReLU share one slope.

    The size halves where the channels double.
    """

    def __init__(self, channels: int, out: int):
        super().__init__()

        stride = out // channels
        self.bn0 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.prelu = nn.PReLU()

        self.conv2 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)

        self.downsample: nn.Sequential | None = None
        if stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = x if self.downsample is None else self.downsample(x)

        x = self.bn0(x)
        x = self.conv1(x)
        x = self.bn1(x)
        x = self.prelu(x)
        x = self.conv2(x)
        x = self.bn2(x)

        return self.prelu(x + skip)


class EfficientFace(nn.Module):
    """EfficientFace (Zhao, Liu and Zhou, AAAI 2021) of seven expressions.

    A ShuffleNet with a gate and a branch that filters the quarters of the image apart.

    Example:
        EfficientFace()(torch.zeros(2, 3, 224, 224)).shape == (2, 1024)   # 1.3 million parameters
    """

    stage2: nn.Sequential
    stage3: nn.Sequential
    stage4: nn.Sequential

    def __init__(self) -> None:
        super().__init__()

        self.conv1 = nn.Sequential(
            nn.Conv2d(3, 29, 3, 2, 1, bias=False), nn.BatchNorm2d(29), nn.ReLU()
        )
        for number, (channels, out, blocks) in enumerate(_STAGES, 2):
            self.add_module(f"stage{number}", _shuffle_stage(channels, out, blocks))

        self.local = _Quarters(29, 116)
        self.modulator = _Gate(116)

        self.conv5 = nn.Sequential(
            nn.Conv2d(464, 1024, 1, bias=False), nn.BatchNorm2d(1024), nn.ReLU()
        )
        self.fc = nn.Linear(1024, 7)  # in the published file; not used here

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, 224, 224) RGB, normalised -> (B, 1024), the input of its classifier."""
        x = self.conv1(images)
        x = F.max_pool2d(x, 3, 2, 1)

        whole = self.modulator(self.stage2(x))
        x = whole + self.local(x)

        x = self.stage3(x)
        x = self.stage4(x)
        x = self.conv5(x)

        return x.mean((2, 3))


def _shuffle_stage(channels: int, out: int, blocks: int) -> nn.Sequential:
    """Blocks of ShuffleNet; the first halves the size."""
    from torchvision.models.shufflenetv2 import InvertedResidual  # seconds, and few paths need it

    later_blocks = [InvertedResidual(out, out, 1) for _ in range(blocks - 1)]
    first_block = InvertedResidual(channels, out, 2)
    return nn.Sequential(first_block, *later_blocks)


class _Quarters(nn.Module):
    """Two convolutions for each quarter of the image, with filters of its own."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        for quarter in range(1, 5):
            first = nn.Conv2d(channels, out, 3, 2, 1, groups=channels, bias=False)
            self.add_module(f"conv{quarter}_1", first)
            self.add_module(f"bn{quarter}_1", nn.BatchNorm2d(out))

            second = nn.Conv2d(out, out, 3, 1, 1, groups=out, bias=False)
            self.add_module(f"conv{quarter}_2", second)
            self.add_module(f"bn{quarter}_2", nn.BatchNorm2d(out))

    def _filter(self, x: torch.Tensor, quarter: int) -> torch.Tensor:
        for layer in (1, 2):
            convolution = getattr(self, f"conv{quarter}_{layer}")
            norm = getattr(self, f"bn{quarter}_{layer}")

            x = convolution(x)
            x = norm(x)
            x = F.relu(x)

        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = x.chunk(2, 3)

        upper_left, lower_left = left.chunk(2, 2)
        upper_right, lower_right = right.chunk(2, 2)

        upper_left = self._filter(upper_left, 1)
        lower_left = self._filter(lower_left, 2)
        upper_right = self._filter(upper_right, 3)
        lower_right = self._filter(lower_right, 4)

        left = torch.cat([upper_left, lower_left], 2)
        right = torch.cat([upper_right, lower_right], 2)

        return torch.cat([left, right], 3)


class _Gate(nn.Module):
    """Multiplies every value by a number in (0, 1), from its channel's mean and its position."""

    def __init__(self, channels: int):
        super().__init__()

        reduced = channels // 16
        self.channel_att = _ChannelGate(channels, reduced)
        self.spatial_att = _SpatialGate(channels, reduced)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        channel = self.channel_att(x)
        position = self.spatial_att(x)
        return torch.sigmoid(channel * position) * x


class _ChannelGate(nn.Module):
    def __init__(self, channels: int, reduced: int):
        super().__init__()

        self.gate_c = nn.Sequential()

        self.gate_c.add_module("gate_c_fc_0", nn.Linear(channels, reduced))
        self.gate_c.add_module("gate_c_bn_1", nn.BatchNorm1d(reduced))
        self.gate_c.add_module("gate_c_relu_1", nn.ReLU())
        self.gate_c.add_module("gate_c_fc_final", nn.Linear(reduced, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C, 1, 1)."""
        channel_means = x.mean((2, 3))
        return self.gate_c(channel_means)[:, :, None, None]


class _SpatialGate(nn.Module):
    def __init__(self, channels: int, reduced: int):
        super().__init__()

        self.gate_s = nn.Sequential()
        self._add("reduce0", nn.Conv2d(channels, reduced, 1))

        for name in ("di_0", "di_1"):
            self._add(name, nn.Conv2d(reduced, reduced, 3, padding=4, dilation=4))

        self.gate_s.add_module("gate_s_conv_final", nn.Conv2d(reduced, 1, 1))

    def _add(self, name: str, convolution: nn.Conv2d) -> None:
        norm = nn.BatchNorm2d(convolution.out_channels)
        self.gate_s.add_module(f"gate_s_conv_{name}", convolution)
        self.gate_s.add_module(f"gate_s_bn_{name}", norm)
        self.gate_s.add_module(f"gate_s_relu_{name}", nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, 1, h, w)."""
        return self.gate_s(x)
