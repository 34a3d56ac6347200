"""CCRL as released, so that its checkpoints and its shortcomings can be examined.

The checkpoints have the full size; the shortcomings show at any size. Our names on the left, the
release's state dict on the right (`load_released` applies it):

    image.*                       img_encoder.*   IResNet-50; its parts layer4, bn2, fc and features
                                                  are stored and never used
    key.{0..3}.*                  mask_learning.image_feature_mapping.residual_block{1..4}.*
    audio.convolutions.{0..3}.*   mask_learning.audio_feature_mapping.conv{1..4}.*
    audio.out.*                   mask_learning.audio_feature_mapping.fc.*
    query.*, keys.*, value.*      mask_learning.linear_{q,k,v}.*
"""

import re
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.errors import InputError
from cdrl.core.weight_files import State, check_values, read_state
from cdrl.priors.iresnet import IResNet

# Of the map that stands for content.
SIDE = 28
CHANNELS = 256
_RENAMED = (
    (r"^img_encoder\.(?!layer4|bn2|fc|features)", "image."),
    (r"^mask_learning\.audio_feature_mapping\.fc\.", "audio.out."),
    (r"^mask_learning\.linear_q\.", "query."),
    (r"^mask_learning\.linear_k\.", "keys."),
    (r"^mask_learning\.linear_v\.", "value."),
)
# Parts that the release numbers from 1.
_NUMBERED = (
    (r"^mask_learning\.image_feature_mapping\.residual_block(\d)\.", "key."),
    (r"^mask_learning\.audio_feature_mapping\.conv(\d)\.", "audio.convolutions."),
)
_UNUSED = re.compile(r"^(img_encoder\.)?(layer4|bn2|fc|features)\.")


class KeyBlock(nn.Module):
    """3x3 conv, BN, ReLU, 3x3 conv, BN, plus the identity or a 1x1 conv with BN, ReLU.

    Args:
        channels: of the input.
        out: channels of the output.
    """

    def __init__(self, channels: int, out: int):
        super().__init__()

        self.conv1 = nn.Conv2d(channels, out, 3, 1, 1)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(out)

        self.skip_connection = nn.Sequential()
        if channels != out:
            self.skip_connection.append(nn.Conv2d(channels, out, 1, bias=False))
            self.skip_connection.append(nn.BatchNorm2d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, h, w) -> (B, out, h, w)."""
        hidden = self.conv1(x)
        hidden = F.relu(self.bn1(hidden))
        hidden = self.conv2(hidden)
        hidden = self.bn2(hidden)

        return F.relu(hidden + self.skip_connection(x))


class AudioMap(nn.Module):
    """One frame's audio vector -> one map.

    Args:
        audio: length of the vector.
        side: of the map.
    """

    def __init__(self, audio: int, side: int):
        super().__init__()

        self.convolutions = nn.ModuleList()
        for channels, out in pairwise((1, 64, 64, 64, 1)):
            self.convolutions.append(nn.Conv1d(channels, out, 3, 1, 1))
        self.out = nn.Linear(audio, side * side)
        self.side = side

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """(B, 1, A) -> (B, 1, side, side)."""
        for convolution in self.convolutions:
            audio = F.relu(convolution(audio))

        audio_map = self.out(audio.flatten(1))
        return audio_map.view(-1, 1, self.side, self.side)


class ReleasedContent(nn.Module):
    """The released CCRL network, forward pass and shapes as published.

    It has 13.75 M parameters besides the image encoder. The audio map is repeated over all
    channels, so the attention's logits are an outer product: rank one. The same audio reaches
    anchor and positive, so the audio alone can meet the loss. `tests/test_released.py` checks both.

    Args:
        image: frozen image encoder, (B, 3, H, W) -> (B, channels, side, side); None: the release's
            IResNet-50.
        channels: of the map that stands for content.
        side: of the map.
        audio: length of a frame's audio vector.
    """

    def __init__(
        self,
        image: nn.Module | None = None,
        channels: int = CHANNELS,
        side: int = SIDE,
        audio: int = 512,
    ):
        super().__init__()

        self.image = IResNet() if image is None else image
        self.channels = channels
        self.side = side

        self.key = nn.ModuleList()
        widths = (channels, 2 * channels, 2 * channels, channels, channels)
        for block_channels, out in pairwise(widths):
            self.key.append(KeyBlock(block_channels, out))

        self.audio = AudioMap(audio, side)
        positions = side * side
        self.query = nn.Linear(positions, positions)
        self.keys = nn.Linear(positions, positions)
        self.value = nn.Linear(positions, positions)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, 224, 224) in [-1, 1], BGR in the release -> (B, 256, 28, 28)."""
        return self.image(images)

    def logits(self, features: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
        """Compute attention logits, which are of rank one.

        Args:
            features: (B, 256, 28, 28).
            audio: (B, 1, 512).

        Returns:
            (B, 784, 784), query by key position.
        """
        key = features
        for block in self.key:
            key = block(key)

        audio_map = self.audio(audio).expand(-1, self.channels, -1, -1)
        query = self.query(audio_map.flatten(2))

        keys = self.keys(key.flatten(2))

        return query.transpose(1, 2) @ keys / self.side

    def forward(self, images: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
        """Compute content maps.

        Args:
            images: (B, 3, 224, 224) in [-1, 1].
            audio: (B, 1, 512).

        Returns:
            (B, 256, 28, 28).
        """
        features = self.features(images)
        logits = self.logits(features, audio)
        attention = logits.softmax(-1)

        value = self.value(features.flatten(2))
        content = value @ attention.transpose(1, 2)

        return content.view_as(features)


def release_name(name: str) -> str:
    """Translate a parameter's name in the release to ours; an unknown name stays.

    >>> release_name("mask_learning.image_feature_mapping.residual_block2.conv1.weight")
    'key.1.conv1.weight'
    """
    for pattern, ours in _NUMBERED:
        match = re.match(pattern, name)
        if match:
            number = int(match[1]) - 1
            return f"{ours}{number}.{name[match.end() :]}"
    for pattern, ours in _RENAMED:
        name = re.sub(pattern, ours, name)
    return name


def load_released(path: Path, model: ReleasedContent | None = None) -> ReleasedContent:
    """Fill the network from a checkpoint of the release.

    Args:
        path: `NN_DCL.pth` (all of it) or `backbone.pth` (the image encoder); nothing in it is
            executed.
        model: what to fill; a new one by default.

    Returns:
        The network, frozen, in eval mode (the release left its frozen BatchNorm in train mode).

    Raises:
        InputError: missing, unreadable, or with keys or shapes of another network; the message has
            the first that differs.
    """
    if model is None:
        model = ReleasedContent()
    released = read_state(path)
    is_whole = any(name.startswith("mask_learning.") for name in released)
    state = {}
    for name, value in released.items():
        if _UNUSED.match(name):
            continue
        if not is_whole:
            name = f"img_encoder.{name.removeprefix('img_encoder.')}"
        state[release_name(name)] = value

    expected = {}
    for name, value in model.state_dict().items():
        if is_whole or name.startswith("image."):
            expected[name] = value
    check_keys(path, expected, state)
    model.load_state_dict(state, strict=False)

    return model.eval().requires_grad_(False)


def check_keys(path: Path, expected: State, state: State) -> None:
    """Refuse a state dict of another network; the message has the first key that differs.

    Args:
        path: of the checkpoint.
        expected: the network's state dict.
        state: the checkpoint's.

    Raises:
        InputError: keys or shapes differ, or values that no network computes with.
    """
    differing = sorted(expected.keys() ^ state.keys())
    if not differing:
        for name, value in expected.items():
            if value.shape != state[name].shape:
                differing.append(name)
    if differing:
        raise InputError(
            f"{path}: {len(differing)} keys or shapes differ from the released network, "
            f"the first is {differing[0]}"
        )
    check_values(path, expected, state)
