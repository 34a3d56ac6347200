"""The coefficient host of the edit (SPFEM), NED's family: facial actions over time in, the same with another emotion out.

A renderer makes pictures of the result; the studio's is not differentiable, so everything here lives on the actions: the
host, its style encoder, the judge of its game, and two students that stand for the frozen pixel encoders.
"""

import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.vocabulary import ACTIONS, EMOTIONS
from cdrl.models.image_editor import LOWEST_LEVEL, field_gain

STYLE = 16  # length of a style code
REACH = 4  # frames that the content student needs on each side
# Gaze belongs to the source: what its lids follow is not edited.
GAZE_ACTIONS = tuple(k for k, name in enumerate(ACTIONS) if name.startswith("eyeLook"))


def scaled(module: nn.Module, coefficients: torch.Tensor) -> torch.Tensor:
    """(..., 52) actions less their mean, in deviations of the training people; both are buffers of the module."""
    return (coefficients - module.mean) / module.std


def _units(module: nn.Module, mean: torch.Tensor | None, deviation: torch.Tensor | None) -> None:
    module.register_buffer("mean", torch.zeros(len(ACTIONS)) if mean is None else mean.clone())
    module.register_buffer(
        "std", torch.ones(len(ACTIONS)) if deviation is None else deviation.clone()
    )


class FiLMTemporalBlock(nn.Module):
    """Dilated convolution over time, each frame normalised over channels, scale and shift chosen by a code; with a skip."""

    def __init__(self, width: int, dilation: int, code: int):
        super().__init__()
        self.reach = dilation
        self.conv = nn.Conv1d(width, width, 3, dilation=dilation)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.style = nn.Linear(code, 2 * width)

    def forward(self, x: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """(B, T, width), (B, T or 1, code) -> (B, T, width); the ends are held."""
        scale, shift = self.style(code).chunk(2, -1)
        held = F.pad(self.norm(x).transpose(1, 2), (self.reach, self.reach), mode="replicate")
        return x + F.silu(self.conv(held).transpose(1, 2) * (1 + scale) + shift)


class ActionManipulator(nn.Module):
    """Edits facial actions: out = source + gain(intensity) deviation change(source, style, intensity).

    A frame's change depends on 15 frames on each side. The style is a row of a table (a label) or comes from a reference clip;
    a change of the eyeLook actions is not possible.

    Args:
        mean, deviation: (52,) of the training people's tracked actions. width: of the hidden layers.

    Example:
        host = ActionManipulator()
        host(torch.rand(2, 30, 52), host.label_style(torch.tensor([4, 6])), torch.ones(2)).shape == (2, 30, 52)
    """

    def __init__(
        self,
        mean: torch.Tensor | None = None,
        deviation: torch.Tensor | None = None,
        width: int = 128,
    ):
        super().__init__()
        _units(self, mean, deviation)
        free = torch.ones(len(ACTIONS))
        free[list(GAZE_ACTIONS)] = 0
        self.register_buffer("free", free, persistent=False)
        self.table = nn.Parameter(torch.randn(len(EMOTIONS), STYLE) * 0.5)
        self.mapping = nn.Sequential(
            nn.Linear(STYLE + 1, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU()
        )
        self.enter = nn.Linear(len(ACTIONS), width)
        self.blocks = nn.ModuleList(
            [FiLMTemporalBlock(width, dilation, 64) for dilation in (1, 2, 4, 8)]
        )
        self.out = nn.Linear(width, len(ACTIONS))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.style_encoder = StyleEncoder(self.mean, self.std)

    @property
    def reach(self) -> int:
        """Frames on each side that a frame's change depends on: 15."""
        return sum(block.reach for block in self.blocks)

    def label_style(self, emotion: torch.Tensor) -> torch.Tensor:
        """(B,) labels -> (B, 16): their rows of the table."""
        return self.table[emotion]

    def forward(
        self, coefficients: torch.Tensor, style: torch.Tensor, intensity: torch.Tensor
    ) -> torch.Tensor:
        """The edit.

        Args:
            coefficients: (B, T, 52) in [0, 1]. style: (B, 16), of `label_style` or `style_encoder`.
            intensity: (B,), or (B, T) for a curve over time; 0 to 1.5.

        Returns:
            (B, T, 52) in [0, 1]; where the intensity is 0, the source itself. A host that was never trained returns its source.
        """
        batch, count = coefficients.shape[:2]
        intensity = (intensity[:, None] if intensity.ndim == 1 else intensity).expand(batch, count)[
            ..., None
        ]
        strength = intensity.clamp(LOWEST_LEVEL, 1)
        code = self.mapping(torch.cat([style[:, None] * strength, strength], -1))
        hidden = self.enter(scaled(self, coefficients))
        for block in self.blocks:
            hidden = block(hidden, code)
        change = self.std * self.free * self.out(hidden)
        out = (coefficients + field_gain(intensity) * change).clamp(0, 1)
        return torch.where((intensity == 0) | (self.free == 0), coefficients, out)


class StyleEncoder(nn.Module):
    """How a clip is acted: (B, T, 52) of any length -> (B, 16)."""

    def __init__(
        self,
        mean: torch.Tensor | None = None,
        deviation: torch.Tensor | None = None,
        width: int = 96,
    ):
        super().__init__()
        _units(self, mean, deviation)
        self.frame = nn.Sequential(
            nn.Linear(len(ACTIONS), width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.out = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, STYLE))

    def forward(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Mean and deviation over time of what each frame shows, mapped."""
        return self.out(pooled(self.frame(scaled(self, coefficients))))


class ActionDiscriminator(nn.Module):
    """Does this window look like a real face with that emotion? (B, T, 52) -> (B, 8, 2), read by `discriminator.asked`."""

    def __init__(
        self,
        mean: torch.Tensor | None = None,
        deviation: torch.Tensor | None = None,
        width: int = 96,
        noise: float = 0.1,
    ):
        super().__init__()
        _units(self, mean, deviation)
        self.noise = noise
        self.time = nn.Sequential(
            nn.Conv1d(len(ACTIONS), width, 5, 2, 2),
            nn.LeakyReLU(0.2),
            nn.Conv1d(width, width, 5, 2, 2),
            nn.LeakyReLU(0.2),
        )
        self.out = nn.Sequential(
            nn.Dropout(0.2),
            nn.Linear(2 * width, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, 2 * len(EMOTIONS)),
        )

    def forward(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Per emotion a logit, high where real, and its slope in intensity; noise on what it sees while training."""
        seen = scaled(self, coefficients)
        if self.training:
            seen = seen + self.noise * torch.randn_like(seen)
        return self.out(pooled(self.time(seen.transpose(1, 2)).transpose(1, 2))).view(
            len(seen), len(EMOTIONS), 2
        )


class ContentStudent(nn.Module):
    """Nine frames of actions -> the content embedding that the pixel encoder gives the middle one.

    Args:
        embedding: length of that encoder's output.

    Example:
        ContentStudent(embedding=12)(torch.rand(2, 24, 52)).shape == (2, 16, 12)
    """

    def __init__(
        self,
        mean: torch.Tensor | None = None,
        deviation: torch.Tensor | None = None,
        embedding: int = 12,
        width: int = 192,
    ):
        super().__init__()
        _units(self, mean, deviation)
        self.net = nn.Sequential(
            nn.Conv1d(len(ACTIONS), width, 2 * REACH + 1),
            nn.SiLU(),
            nn.Conv1d(width, width, 1),
            nn.SiLU(),
            nn.Conv1d(width, embedding, 1),
        )

    def forward(self, coefficients: torch.Tensor) -> torch.Tensor:
        """(B, T, 52) -> (B, T - 8, D), unit norm."""
        return F.normalize(
            self.net(scaled(self, coefficients).transpose(1, 2)).transpose(1, 2), dim=-1
        )


class EmotionStudent(nn.Module):
    """A window of actions of any length -> the emotion embedding that the pixel encoder pools over the same frames.

    Args:
        embedding: length of that encoder's output.
    """

    def __init__(
        self,
        mean: torch.Tensor | None = None,
        deviation: torch.Tensor | None = None,
        embedding: int = 128,
        width: int = 128,
    ):
        super().__init__()
        _units(self, mean, deviation)
        self.frame = nn.Sequential(
            nn.Linear(len(ACTIONS), width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.out = nn.Sequential(
            nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, embedding)
        )

    def forward(self, coefficients: torch.Tensor) -> torch.Tensor:
        """(B, T, 52) -> (B, D), unit norm."""
        return F.normalize(self.out(pooled(self.frame(scaled(self, coefficients)))), dim=-1)


def pooled(hidden: torch.Tensor) -> torch.Tensor:
    """(B, T, D) -> (B, 2 D): mean and standard deviation over time."""
    return torch.cat([hidden.mean(1), (hidden.var(1, unbiased=False) + 1e-4).sqrt()], -1)
