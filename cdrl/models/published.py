"""The two networks that the papers' FAD and CSIM are computed on, so that their published weights load: names and shapes are theirs."""

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.shufflenetv2 import InvertedResidual

FACE_SIDE, EXPRESSION_SIDE = 128, 224  # pixels
_STAGES = ((29, 116, 4), (116, 232, 8), (232, 464, 4))  # channels before and after, blocks


class FaceNet(nn.Module):
    """ResNet-18 of ArcFace (arXiv:1801.07698) without squeeze and excitation, as in `resnet18_110.pth` of arcface-pytorch: who it is.

    Example:
        FaceNet()(torch.zeros(2, 1, 128, 128)).shape == (2, 512)   # after `.eval()`; 25.6 million parameters
    """

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.prelu = (
            nn.Conv2d(1, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.PReLU(),
        )
        widths = (64, 64, 128, 256, 512)
        for k in range(1, 5):
            stage = nn.Sequential(
                _FaceBlock(widths[k - 1], widths[k]), _FaceBlock(widths[k], widths[k])
            )
            self.add_module(f"layer{k}", stage)
        self.bn4, self.fc5, self.bn5 = (
            nn.BatchNorm2d(512),
            nn.Linear(512 * 8 * 8, 512),
            nn.BatchNorm1d(512),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 1, 128, 128) grey in [-1, 1] -> (B, 512)."""
        found = F.max_pool2d(self.prelu(self.bn1(self.conv1(images))), 2)
        found = self.layer4(self.layer3(self.layer2(self.layer1(found))))
        return self.bn5(self.fc5(self.bn4(found).flatten(1)))


class _FaceBlock(nn.Module):
    """Normalise, filter, normalise, bend, filter, normalise; half the size where the channels double. One slope bends twice."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        stride = out // channels
        self.bn0, self.conv1, self.bn1 = (
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.prelu, self.conv2, self.bn2 = (
            nn.PReLU(),
            nn.Conv2d(channels, out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        if stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        beside = self.downsample(x) if hasattr(self, "downsample") else x
        return self.prelu(
            self.bn2(self.conv2(self.prelu(self.bn1(self.conv1(self.bn0(x)))))) + beside
        )


class EfficientFace(nn.Module):
    """EfficientFace (Zhao, Liu and Zhou, AAAI 2021) of seven expressions: a ShuffleNet with a gate and a branch that sees quarters alone.

    Example:
        EfficientFace()(torch.zeros(2, 3, 224, 224)).shape == (2, 1024)   # what its classifier reads; 1.3 million parameters
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, 29, 3, 2, 1, bias=False), nn.BatchNorm2d(29), nn.ReLU()
        )
        for k, (channels, out, blocks) in enumerate(_STAGES, 2):
            rest = [InvertedResidual(out, out, 1) for _ in range(blocks - 1)]
            self.add_module(f"stage{k}", nn.Sequential(InvertedResidual(channels, out, 2), *rest))
        self.local, self.modulator = _Quarters(29, 116), _Gate(116)
        self.conv5 = nn.Sequential(
            nn.Conv2d(464, 1024, 1, bias=False), nn.BatchNorm2d(1024), nn.ReLU()
        )
        self.fc = nn.Linear(1024, 7)  # in the file; not asked

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, 224, 224) RGB, normalised -> (B, 1024), before the classifier."""
        found = F.max_pool2d(self.conv1(images), 3, 2, 1)
        found = self.modulator(self.stage2(found)) + self.local(found)
        return self.conv5(self.stage4(self.stage3(found))).mean((2, 3))


class _Quarters(nn.Module):
    """Each quarter of the picture through filters of its own, that see nothing of the others."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        for k in range(1, 5):
            for j, (width, stride) in enumerate(((channels, 2), (out, 1)), 1):
                filters = nn.Conv2d(width, out, 3, stride, 1, groups=width, bias=False)
                self.add_module(f"conv{k}_{j}", filters)
                self.add_module(f"bn{k}_{j}", nn.BatchNorm2d(out))

    def _part(self, x: torch.Tensor, k: int) -> torch.Tensor:
        for j in (1, 2):
            x = F.relu(getattr(self, f"bn{k}_{j}")(getattr(self, f"conv{k}_{j}")(x)))
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        quarters = [
            part for half in x.chunk(2, 3) for part in half.chunk(2, 2)
        ]  # the left half's from above, then the right's
        done = [self._part(quarter, k) for k, quarter in enumerate(quarters, 1)]
        return torch.cat([torch.cat(done[:2], 2), torch.cat(done[2:], 2)], 3)


class _Gate(nn.Module):
    """Every value times a number in (0, 1): what its channel says over the whole picture, times what its place says."""

    def __init__(self, channels: int):
        super().__init__()
        few = channels // 16
        self.channel_att, self.spatial_att = nn.Module(), nn.Module()
        self.channel_att.gate_c = nn.Sequential()
        for name, layer in {
            "gate_c_fc_0": nn.Linear(channels, few),
            "gate_c_bn_1": nn.BatchNorm1d(few),
            "gate_c_relu_1": nn.ReLU(),
            "gate_c_fc_final": nn.Linear(few, channels),
        }.items():
            self.channel_att.gate_c.add_module(name, layer)
        place = self.spatial_att.gate_s = nn.Sequential()
        for k, name in enumerate(("reduce0", "di_0", "di_1")):
            filters = (
                nn.Conv2d(few, few, 3, padding=4, dilation=4) if k else nn.Conv2d(channels, few, 1)
            )
            for kind, layer in (
                ("conv", filters),
                ("bn", nn.BatchNorm2d(few)),
                ("relu", nn.ReLU()),
            ):
                place.add_module(f"gate_s_{kind}_{name}", layer)
        place.add_module("gate_s_conv_final", nn.Conv2d(few, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        channel = self.channel_att.gate_c(x.mean((2, 3)))[:, :, None, None]
        return torch.sigmoid(channel * self.spatial_att.gate_s(x)) * x
