"""Networks of the edit on facial actions: actions over time in, the same with another emotion out.

NED's family. A renderer turns the edited actions into pixels; the studio's is not differentiable,
so all networks here read actions: the manipulator with its style encoder, the discriminator of its
adversarial training, and two students that replace the frozen pixel encoders.
"""

import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.checkpoint import Pretrained
from cdrl.core.vocabulary import ACTIONS, EMOTIONS
from cdrl.models.image_editor import LOWEST_LEVEL, field_gain, intensity_per_frame
from cdrl.models.layers import mean_and_std, silu_layers

DILATIONS = (1, 2, 4, 8)  # of the manipulator's convolutions, which have a kernel of 3
STYLE = 16  # length of a style code
CODE = 64  # length of what style and intensity are mapped to
REACH = 4  # frames that the content student needs on each side
# Gaze belongs to the source: the actions of the lids that follow it are not edited.
GAZE_ACTIONS = tuple(number for number, name in enumerate(ACTIONS) if name.startswith("eyeLook"))


class ActionNetwork(nn.Module):
    """Base of all networks on facial actions: it standardises them.

    Args:
        mean: (52,) of the training people's tracked actions; None: 0.
        std: (52,) of the same; None: 1.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: torch.Tensor | None = None, std: torch.Tensor | None = None):
        super().__init__()

        if mean is None:
            mean = torch.zeros(len(ACTIONS))
        if std is None:
            std = torch.ones(len(ACTIONS))

        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())

    def standardise(self, coefficients: torch.Tensor) -> torch.Tensor:
        """(..., 52) actions -> (..., 52) with mean 0 and standard deviation 1."""
        return (coefficients - self.mean) / self.std


class FiLMTemporalBlock(nn.Module):
    """Dilated convolution over time, scale and shift by a code (FiLM), SiLU, and a skip.

    Args:
        width: channels.
        dilation: of the convolution, which has a kernel of 3.
        code: length of the code.
    """

    def __init__(self, width: int, dilation: int, code: int):
        super().__init__()

        self.reach = dilation
        self.conv = nn.Conv1d(width, width, 3, dilation=dilation)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.style = nn.Linear(code, 2 * width)

    def forward(self, x: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """(B, T, width), (B, T or 1, code) -> (B, T, width); the ends are repeated."""
        modulation = self.style(code)
        scale, shift = modulation.chunk(2, -1)

        hidden = self.norm(x)
        hidden = self._filter(hidden)
        hidden = hidden * (1 + scale) + shift

        return x + F.silu(hidden)

    def _filter(self, x: torch.Tensor) -> torch.Tensor:
        channels_first = x.transpose(1, 2)
        padded = F.pad(channels_first, (self.reach, self.reach), mode="replicate")
        return self.conv(padded).transpose(1, 2)


class ActionManipulator(ActionNetwork, Pretrained):
    """Edits facial actions: out = source + gain(intensity) std change(source, style, intensity).

    A frame's change depends on 15 frames on each side. The style is a row of a table (a label) or
    comes from a reference clip. The eyeLook actions never change.

    Args:
        mean: (52,) of the training people's tracked actions; None: 0.
        std: (52,) of the same; None: 1.
        width: of the hidden layers.

    Example:
        manipulator = ActionManipulator()
        style = manipulator.label_style(torch.tensor([4, 6]))
        manipulator(torch.rand(2, 30, 52), style, torch.ones(2)).shape == (2, 30, 52)
    """

    editable: torch.Tensor

    def __init__(
        self, mean: torch.Tensor | None = None, std: torch.Tensor | None = None, width: int = 128
    ):
        super().__init__(mean, std)

        self.config = {"width": width}
        self.register_buffer("editable", _editable(), persistent=False)

        styles = torch.randn(len(EMOTIONS), STYLE) * 0.5
        self.table = nn.Parameter(styles)
        self.mapping = silu_layers(STYLE + 1, CODE, CODE)

        self.enter = nn.Linear(len(ACTIONS), width)
        self.blocks = nn.ModuleList()
        for dilation in DILATIONS:
            self.blocks.append(FiLMTemporalBlock(width, dilation, CODE))

        self.out = nn.Linear(width, len(ACTIONS))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

        self.style_encoder = StyleEncoder(self.mean, self.std)

    @property
    def reach(self) -> int:
        """Frames on each side that a frame's change depends on: 15."""
        return sum(DILATIONS)

    def label_style(self, emotion: torch.Tensor) -> torch.Tensor:
        """Look up the styles of labels: (B,) int64 -> (B, 16)."""
        return self.table[emotion]

    def forward(
        self, coefficients: torch.Tensor, style: torch.Tensor, intensity: torch.Tensor
    ) -> torch.Tensor:
        """Edit actions.

        Args:
            coefficients: (B, T, 52) in [0, 1].
            style: (B, 16), of `label_style` or `style_encoder`.
            intensity: (B,), or (B, T) for a curve over time; 0 to 1.5.

        Returns:
            (B, T, 52) in [0, 1]; where the intensity is 0, the source itself. A new manipulator,
            not trained yet, returns its source.
        """
        batch, count = coefficients.shape[:2]
        intensity = intensity_per_frame(intensity, batch, count)
        intensity = intensity[..., None]
        code = self._code(style, intensity)

        hidden = self.standardise(coefficients)
        hidden = self.enter(hidden)
        for block in self.blocks:
            hidden = block(hidden, code)
        change = self.std * self.editable * self.out(hidden)

        edited = coefficients + field_gain(intensity) * change
        edited = edited.clamp(0, 1)
        unchanged = (intensity == 0) | (self.editable == 0)

        return torch.where(unchanged, coefficients, edited)

    def _code(self, style: torch.Tensor, intensity: torch.Tensor) -> torch.Tensor:
        """(B, 16), (B, T, 1) -> (B, T, code)."""
        strength = intensity.clamp(LOWEST_LEVEL, 1.0)
        scaled_style = style[:, None] * strength
        return self.mapping(torch.cat([scaled_style, strength], -1))


def _editable() -> torch.Tensor:
    """(52,): 1 for actions that may change, 0 for gaze."""
    editable = torch.ones(len(ACTIONS))
    editable[list(GAZE_ACTIONS)] = 0
    return editable


class StyleEncoder(ActionNetwork):
    """How a clip is acted: actions of any number of frames -> a style.

    Args:
        mean: (52,) of the training people's tracked actions; None: 0.
        std: (52,) of the same; None: 1.
        width: of the hidden layers.
    """

    def __init__(
        self, mean: torch.Tensor | None = None, std: torch.Tensor | None = None, width: int = 96
    ):
        super().__init__(mean, std)

        self.frame = silu_layers(len(ACTIONS), width, width)

        self.out = silu_layers(2 * width, width)
        self.out.append(nn.Linear(width, STYLE))

    def forward(self, coefficients: torch.Tensor) -> torch.Tensor:
        """(B, T, 52) -> (B, 16)."""
        hidden = self.frame(self.standardise(coefficients))
        return self.out(mean_and_std(hidden))


class ActionDiscriminator(ActionNetwork):
    """Tells real windows of actions with an emotion from edited ones.

    Args:
        mean: (52,) of the training people's tracked actions; None: 0.
        std: (52,) of the same; None: 1.
        width: of the hidden layers.
        noise: standard deviation of the noise on standardised actions in training.
    """

    def __init__(
        self,
        mean: torch.Tensor | None = None,
        std: torch.Tensor | None = None,
        width: int = 96,
        noise: float = 0.1,
    ):
        super().__init__(mean, std)

        self.noise = noise
        self.time = nn.Sequential()
        for channels in (len(ACTIONS), width):
            self.time.append(nn.Conv1d(channels, width, 5, 2, 2))
            self.time.append(nn.LeakyReLU(0.2))

        self.out = nn.Sequential()
        self.out.append(nn.Dropout(0.2))
        self.out.append(nn.Linear(2 * width, width))
        self.out.append(nn.LeakyReLU(0.2))
        self.out.append(nn.Linear(width, 2 * len(EMOTIONS)))

    def forward(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Compute logits, see `cdrl.models.discriminator.conditional_logit`.

        Args:
            coefficients: (B, T, 52).

        Returns:
            (B, 8, 2): per emotion a logit, high where real, and its slope in intensity.
        """
        x = self.standardise(coefficients)
        if self.training:
            noise = torch.randn_like(x)
            x = x + self.noise * noise

        hidden = self.time(x.transpose(1, 2))
        pooled = mean_and_std(hidden.transpose(1, 2))
        logits = self.out(pooled)

        return logits.view(len(x), len(EMOTIONS), 2)


class ContentStudent(ActionNetwork):
    """Nine frames of actions -> the content embedding that the pixel encoder gives the middle one.

    Args:
        mean: (52,) of the training people's tracked actions; None: 0.
        std: (52,) of the same; None: 1.
        embedding: D, length of the pixel encoder's output.
        width: of the hidden layers.

    Example:
        ContentStudent(embedding=12)(torch.rand(2, 24, 52)).shape == (2, 16, 12)
    """

    def __init__(
        self,
        mean: torch.Tensor | None = None,
        std: torch.Tensor | None = None,
        embedding: int = 12,
        width: int = 192,
    ):
        super().__init__(mean, std)

        self.net = nn.Sequential()
        self.net.append(nn.Conv1d(len(ACTIONS), width, 2 * REACH + 1))
        self.net.append(nn.SiLU())

        self.net.append(nn.Conv1d(width, width, 1))
        self.net.append(nn.SiLU())

        self.net.append(nn.Conv1d(width, embedding, 1))

    def forward(self, coefficients: torch.Tensor) -> torch.Tensor:
        """(B, T, 52) -> (B, T - 8, D), unit norm."""
        channels_first = self.standardise(coefficients).transpose(1, 2)
        embedding = self.net(channels_first).transpose(1, 2)
        return F.normalize(embedding, dim=-1)


class EmotionStudent(ActionNetwork):
    """A window of actions -> the emotion embedding that the pixel encoder gives the same frames.

    Args:
        mean: (52,) of the training people's tracked actions; None: 0.
        std: (52,) of the same; None: 1.
        embedding: D, length of the pixel encoder's output.
        width: of the hidden layers.
    """

    def __init__(
        self,
        mean: torch.Tensor | None = None,
        std: torch.Tensor | None = None,
        embedding: int = 128,
        width: int = 128,
    ):
        super().__init__(mean, std)

        self.frame = silu_layers(len(ACTIONS), width, width)

        self.out = silu_layers(2 * width, width)
        self.out.append(nn.Linear(width, embedding))

    def forward(self, coefficients: torch.Tensor) -> torch.Tensor:
        """(B, T, 52), any number of frames -> (B, D), unit norm."""
        hidden = self.frame(self.standardise(coefficients))
        embedding = self.out(mean_and_std(hidden))
        return F.normalize(embedding, dim=-1)
