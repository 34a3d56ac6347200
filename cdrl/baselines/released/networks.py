"""CCRL as released, so that its checkpoints (full size) and its shortcomings (any size) can be examined; no part of our method.

Our words on the left, the release's state dict on the right (`load_released` applies it):

    image.*                       img_encoder.*   IResNet-50; layer4, bn2, fc and features are stored there and never used
    key.{0..3}.*                  mask_learning.image_feature_mapping.residual_block{1..4}.*
    audio.convolutions.{0..3}.*   mask_learning.audio_feature_mapping.conv{1..4}.*
    audio.out.*                   mask_learning.audio_feature_mapping.fc.*
    query.*, keys.*, value.*      mask_learning.linear_{q,k,v}.*
"""

import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.errors import InputError
from cdrl.priors.iresnet import IResNet

SIDE, CHANNELS = 28, 256  # of the map that stands for content
_RENAMED = (
    (r"^img_encoder\.(?!layer4|bn2|fc|features)", "image."),
    (r"^mask_learning\.audio_feature_mapping\.fc\.", "audio.out."),
    (r"^mask_learning\.linear_q\.", "query."),
    (r"^mask_learning\.linear_k\.", "keys."),
    (r"^mask_learning\.linear_v\.", "value."),
)
_NUMBERED = (
    (r"^mask_learning\.image_feature_mapping\.residual_block(\d)\.", "key."),
    (r"^mask_learning\.audio_feature_mapping\.conv(\d)\.", "audio.convolutions."),
)
_UNUSED = re.compile(r"^(img_encoder\.)?(layer4|bn2|fc|features)\.")


class KeyBlock(nn.Module):
    """3x3 conv, BN, ReLU, 3x3 conv, BN, plus the identity or a 1x1 conv with BN, ReLU."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, out, 3, 1, 1), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1), nn.BatchNorm2d(out)
        changes = channels != out
        self.skip_connection = (
            nn.Sequential(nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out))
            if changes
            else nn.Sequential()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(hidden + self.skip_connection(x))


class AudioMap(nn.Module):
    """One frame's audio vector (B, 1, A) -> one map (B, 1, side, side)."""

    def __init__(self, audio: int, side: int):
        super().__init__()
        widths = (1, 64, 64, 64, 1)
        self.convolutions = nn.ModuleList(
            [nn.Conv1d(a, b, 3, 1, 1) for a, b in zip(widths[:-1], widths[1:], strict=True)]
        )
        self.out, self.side = nn.Linear(audio, side * side), side

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        for convolution in self.convolutions:
            audio = F.relu(convolution(audio))
        return self.out(audio.flatten(1)).view(-1, 1, self.side, self.side)


class ReleasedContent(nn.Module):
    """The released CCRL network, forward pass and shapes as published; 13.75 M parameters besides the image encoder.

    The audio map is repeated over all channels, so the attention's logits are an outer product: rank one. The same audio
    reaches anchor and positive, so the loss can be met by the audio; `tests/test_released.py` holds both as facts.

    Args:
        image: frozen image encoder, (B, 3, H, W) -> (B, channels, side, side); None: the release's IResNet-50.
        channels, side: of the map that stands for content. audio: length of a frame's audio vector.
    """

    def __init__(
        self,
        image: nn.Module | None = None,
        channels: int = CHANNELS,
        side: int = SIDE,
        audio: int = 512,
    ):
        super().__init__()
        self.image, self.channels, self.side = image or IResNet(), channels, side
        widths = (channels, 2 * channels, 2 * channels, channels, channels)
        self.key = nn.ModuleList(
            [KeyBlock(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True)]
        )
        self.audio = AudioMap(audio, side)
        self.query, self.keys, self.value = (nn.Linear(side * side, side * side) for _ in range(3))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, 224, 224) in [-1, 1] -> (B, 256, 28, 28); the release fed BGR."""
        return self.image(images)

    def logits(self, features: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
        """(B, 256, 28, 28), (B, 1, 512) -> (B, 784, 784) attention logits, query by key position; of rank one."""
        key = features
        for block in self.key:
            key = block(key)
        query = self.query(self.audio(audio).expand(-1, self.channels, -1, -1).flatten(2))
        return query.transpose(1, 2) @ self.keys(key.flatten(2)) / self.side

    def forward(self, images: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
        """(B, 3, 224, 224), (B, 1, 512) -> content (B, 256, 28, 28)."""
        features = self.features(images)
        attention = self.logits(features, audio).softmax(-1)
        return (self.value(features.flatten(2)) @ attention.transpose(1, 2)).view_as(features)


def release_name(name: str) -> str:
    """Our name of a parameter of the release; the name itself where it has none.

    >>> release_name("mask_learning.image_feature_mapping.residual_block2.conv1.weight")
    'key.1.conv1.weight'
    """
    for pattern, ours in _NUMBERED:
        name = re.sub(pattern, lambda found, ours=ours: f"{ours}{int(found[1]) - 1}.", name)
    for pattern, ours in _RENAMED:
        name = re.sub(pattern, ours, name)
    return name


def load_released(path: Path, model: ReleasedContent | None = None) -> ReleasedContent:
    """Fill the network from a checkpoint of the release: `NN_DCL.pth` (all of it) or `backbone.pth` (the image encoder).

    Args:
        path: a .pth; read with `weights_only`, so that it cannot run code. model: what to fill; a new one by default.

    Returns:
        The network, frozen, in eval mode (the release left its frozen BatchNorm in train mode).

    Raises:
        InputError: missing, unreadable, or with keys or shapes of another network, the first of which is named.
    """
    model, state = model or ReleasedContent(), read_checkpoint(path, "NN_DCL.pth and backbone.pth")
    whole = any(name.startswith("mask_learning.") for name in state)
    if not whole:
        state = {
            f"img_encoder.{name.removeprefix('img_encoder.')}": value
            for name, value in state.items()
        }
    state = {release_name(name): value for name, value in state.items() if not _UNUSED.match(name)}
    wanted = {
        name: value
        for name, value in model.state_dict().items()
        if whole or name.startswith("image.")
    }
    check_keys(path, wanted, state)
    model.load_state_dict(state, strict=False)
    return model.eval().requires_grad_(False)


def read_checkpoint(path: Path, accepted: str) -> dict:
    """The flat state dict in a .pth of the release, read so that it cannot run code.

    Raises:
        InputError: missing, unreadable, or anything else than tensors by name.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; accepted are {accepted} of the CDRL release")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - whatever the unpickler says, it is not such a checkpoint
        raise InputError(
            f"{path}: not a checkpoint of tensors ({str(error).splitlines()[0]})"
        ) from None
    tensors = isinstance(state, dict) and all(
        isinstance(value, torch.Tensor) for value in state.values()
    )
    if not tensors or not state:
        raise InputError(f"{path}: a flat state dict of tensors is needed, as {accepted} are")
    return state


def check_keys(path: Path, wanted: dict, state: dict) -> None:
    """Refuses a state dict whose keys or shapes are another network's, naming the first that differs."""
    wrong = sorted(set(wanted) ^ set(state)) or [
        name for name in wanted if wanted[name].shape != state[name].shape
    ]
    if wrong:
        raise InputError(
            f"{path}: {len(wrong)} keys or shapes differ from the released network, the first is {wrong[0]}"
        )
