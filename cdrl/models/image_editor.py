"""The image host of the edit (SPFEM): source frames and an emotion in, the same frames with that emotion out.

The network looks at a frame, at one before it and at one after it, and answers with three fields: where every pixel comes
from (flow), how much light falls on it (shading) and, around eyes and mouth only, what the source does not show
(residual). Fields are predicted at 64 px and applied at the resolution of the crop, so that skin, hair and lashes of a
large crop stay those of the source.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.vocabulary import EMOTIONS, emotion_index
from cdrl.models.editor_card import DEFAULT_CARD, EditorCard

WORKING_SIZE = 64
FLOW_LIMIT = 0.25  # of half the crop's width: 8 of 64 pixels
SHADING_LIMIT = 0.3
RESIDUAL_LIMIT = 0.3  # on brightness alone: with colour, lips and lids are painted instead of moved
BORDER = 0.08  # of the crop's width, where every field fades to nothing: crops are pasted back into frames
# Where something may be uncovered or appear, in the aligned crop: centre x, y and radii x, y of a soft ellipse.
PLACES = {
    "left eye": (0.315, 0.26, 0.15, 0.1),
    "right eye": (0.685, 0.26, 0.15, 0.1),
    "mouth": (0.5, 0.67, 0.28, 0.21),
}
LOWEST_LEVEL = 1 / 3
MAX_INTENSITY = 1.5


class Edit(NamedTuple):
    """What the generator did.

    Attributes:
        frames: (B, T, 3, H, W) RGB in [0, 1].
        flow: (B, T, 2, 32, 32) x and y of where a pixel comes from, less its own place, in units of half the crop's width.
        shading: (B, T, 1, 16, 16) logarithm of the factor on brightness.
        residual: (B, T, 1, 32, 32) what is added to all three colours. Of an `ActionRenderer`, flow and residual are 64 x 64.
    """

    frames: torch.Tensor
    flow: torch.Tensor
    shading: torch.Tensor
    residual: torch.Tensor


class FiLMConvBlock(nn.Module):
    """3x3 convolution, GroupNorm, scale and shift chosen by the emotion, SiLU; with a skip where shapes allow."""

    def __init__(self, channels: int, out: int, code: int, stride: int = 1):
        super().__init__()
        self.skip = channels == out and stride == 1
        self.conv = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.norm = nn.GroupNorm(8, out, affine=False)
        self.style = nn.Linear(code, 2 * out)

    def forward(self, x: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        scale, shift = self.style(code)[:, :, None, None].chunk(2, 1)
        hidden = F.silu(self.norm(self.conv(x)) * (1 + scale) + shift)
        return x + hidden if self.skip else hidden


class FieldNet(nn.Module):
    """The network that answers with fields: what `ImageEditor` and `ActionRenderer` share.

    Args:
        stride: distance in frames of the two neighbours that are seen too. resolution_factor: flow and residual have 32 * resolution_factor cells a side.
    """

    def __init__(self, stride: int, resolution_factor: int = 1):
        super().__init__()
        self.stride, self.resolution_factor = stride, resolution_factor

    def _build(self, width: int, code: int) -> None:
        """Channels at 16 x 16; half of it times the resolution_factor at 32 x 32, twice at 8 x 8, three times at 4 x 4; length of the code."""
        fine, wide, deep = self.resolution_factor * width // 2, 2 * width, 3 * width
        self.stem = nn.Conv2d(36, fine, 1)
        self.down = nn.ModuleList(
            [
                FiLMConvBlock(fine, width, code, 2),
                FiLMConvBlock(width, wide, code, 2),
                FiLMConvBlock(wide, deep, code, 2),
            ]
        )
        self.same = nn.ModuleList(
            [FiLMConvBlock(width, width, code), FiLMConvBlock(wide, wide, code)]
        )
        self.core = nn.ModuleList([FiLMConvBlock(deep, deep, code) for _ in range(4)])
        self.up = nn.ModuleList(
            [
                FiLMConvBlock(deep, wide, code),
                FiLMConvBlock(wide, width, code),
                FiLMConvBlock(width, fine, code),
            ]
        )
        self.join = nn.ModuleList(
            [
                FiLMConvBlock(wide, wide, code),
                FiLMConvBlock(width, width, code),
                FiLMConvBlock(fine, fine, code),
            ]
        )
        self.flow_residual_head = zero_init(nn.Conv2d(fine, 3 * self.resolution_factor**2, 3, 1, 1))
        self.shade = zero_init(nn.Conv2d(width, 1, 3, 1, 1))
        cells = self.resolution_factor * WORKING_SIZE // 2
        self.register_buffer("window", border_window(cells), persistent=False)
        self.register_buffer("coarse_window", border_window(WORKING_SIZE // 4), persistent=False)
        self.register_buffer("roi_mask", roi_mask(cells), persistent=False)

    def predict_fields(
        self,
        frames: torch.Tensor,
        code: torch.Tensor,
        gain: torch.Tensor,
        at: slice,
        stride: int | None = None,
    ) -> tuple:
        """Flow, shading and residual of the frames `at`, shapes as in `Edit`.

        Args:
            frames: (B, T, 3, H, W). code: (B, t, code) and gain: (B, t) of the t frames `at`. stride: replaces the network's own.
        """
        batch, count = frames.shape[:2]
        small = working_view(frames.flatten(0, 1)).view(batch, count, 3, WORKING_SIZE, WORKING_SIZE)
        seen = neighbours(small, stride or self.stride)[:, at]
        count = seen.shape[1]
        fine, coarse = self._decode(seen.flatten(0, 1) * 2 - 1, code.flatten(0, 1))
        gain = gain.flatten()[:, None, None, None]
        move, paint = F.pixel_shuffle(self.flow_residual_head(fine), self.resolution_factor).split(
            (2, 1), 1
        )
        flow = FLOW_LIMIT * torch.tanh(blur(move)) * self.window
        shading = SHADING_LIMIT * torch.tanh(self.shade(coarse)) * self.coarse_window
        residual = RESIDUAL_LIMIT * torch.tanh(paint) * self.roi_mask
        return tuple(
            (gain * field).view(batch, count, *field.shape[1:])
            for field in (flow, shading, residual)
        )

    def _decode(self, x: torch.Tensor, code: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 9, 64, 64), (B, code) -> features at 32 x 32 and at 16 x 16."""
        at32 = F.silu(self.stem(F.pixel_unshuffle(x, 2)))
        at16 = self.same[0](self.down[0](at32, code), code)
        at8 = self.same[1](self.down[1](at16, code), code)
        x = self.down[2](at8, code)
        for block in self.core:
            x = block(x, code)
        x = self.join[0](at8 + upsample2x(self.up[0](x, code)), code)
        coarse = self.join[1](at16 + upsample2x(self.up[1](x, code)), code)
        return self.join[2](at32 + upsample2x(self.up[2](coarse, code)), code), coarse


class ImageEditor(FieldNet):
    """Windows of aligned crops and an emotion -> edited windows.

    Args:
        width: channels at 16 x 16; half of it at 32 x 32, twice at 8 x 8, three times at 4 x 4.
        code: length of an emotion's learnt code.
        stride: distance in frames of the two neighbours that are seen too.
        card: what it learnt, see `EditorCard`.

    Example:
        generator = ImageEditor()
        weights = label_weights(["happy", "sad"])
        generator(frames, weights, torch.tensor([1.0, 0.7])).frames     # (2, T, 3, H, W) -> the same shape
    """

    can_fit = True
    # The fields are those of level 1 times the intensity below it, and those of level 3 times the intensity above, see `field_gain`.
    intensity_knots = (1 / 3, 1 / 2, 2 / 3, 5 / 6, 1.0, 1.5)
    field_rank = 12

    def __init__(
        self, width: int = 32, code: int = 64, stride: int = 2, card: EditorCard = DEFAULT_CARD
    ):
        super().__init__(stride)
        self.card = card
        self.table = nn.Parameter(torch.randn(len(EMOTIONS), code))
        self.mapping = nn.Sequential(
            nn.Linear(code, code), nn.SiLU(), nn.Linear(code, code), nn.SiLU()
        )
        self._build(width, code)

    @property
    def reach(self) -> int:
        """Frames on each side that a frame's fields depend on."""
        return self.stride

    def forward(
        self,
        frames: torch.Tensor,
        weights: torch.Tensor,
        intensity: torch.Tensor,
        at: slice = slice(None),
    ) -> Edit:
        """Edit.

        Args:
            frames: (B, T, 3, H, W) RGB in [0, 1], aligned crops of consecutive frames, any H = W >= 64.
            weights: (B, 8) mixture of emotions, order `EMOTIONS`, sums to 1.
            intensity: (B,) or (B, T), 0 to 1.5. 0: nothing changes, exactly. 1/3, 2/3, 1: levels 1 to 3 of the corpora.
            at: the frames to edit and to return; their neighbours are looked at all the same.

        Returns:
            `Edit`. A generator that was never trained returns its source.
        """
        batch, count = frames.shape[:2]
        intensity = (intensity[:, None] if intensity.ndim == 1 else intensity).expand(batch, count)
        fields = self.fields(frames, weights, intensity, at)
        frames = frames[:, at]
        out = apply_fields(*[field.flatten(0, 1) for field in (frames, *fields)]).view_as(frames)
        return Edit(torch.where(intensity[:, at, None, None, None] == 0, frames, out), *fields)

    def fields(
        self,
        frames: torch.Tensor,
        weights: torch.Tensor,
        intensity: torch.Tensor,
        at: slice = slice(None),
        stride: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Flow, shading and residual for frames (B, T, 3, H, W), weights (B, 8), intensity (B, T); shapes as in `Edit`.

        One clip may be asked for at K intensities at once, (K, T). `stride` replaces the generator's own where the frame rate is not 25 Hz.
        """
        frames, intensity = frames.expand(len(intensity), *frames.shape[1:]), intensity[:, at]
        return self.predict_fields(
            frames, self.code(weights, intensity), field_gain(intensity), at, stride
        )

    def code(self, weights: torch.Tensor, intensity: torch.Tensor) -> torch.Tensor:
        """(B, 8) and (B, T) -> (B, T, code): the mixture's row of the table, scaled by the intensity, mapped."""
        row = weights.to(self.table) @ self.table
        return self.mapping(row[:, None] * intensity.clamp(LOWEST_LEVEL, 1)[:, :, None])


def label_weights(labels: list[str]) -> torch.Tensor:
    """Emotion names -> (B, 8) one-hot weights.

    Raises:
        InputError: for a word that is no emotion.
    """
    return F.one_hot(torch.tensor([emotion_index(name) for name in labels]), len(EMOTIONS)).float()


def field_gain(intensity: torch.Tensor) -> torch.Tensor:
    """How much of the fields is applied: 0 at 0, 1 from level 1 (1/3) to level 3 (1), the intensity itself beyond.

    Below level 1 no clip was ever seen, so the edit to level 1 fades out; above level 3 the edit to level 3 is overdrawn.
    """
    return (intensity / LOWEST_LEVEL).clamp(0, 1) * intensity.clamp(min=1)


def working_view(images: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) -> (B, 3, 64, 64), bilinear with antialiasing."""
    if images.shape[-2:] == (WORKING_SIZE, WORKING_SIZE):
        return images
    return F.interpolate(
        images, (WORKING_SIZE, WORKING_SIZE), mode="bilinear", antialias=True, align_corners=False
    )


def neighbours(frames: torch.Tensor, stride: int) -> torch.Tensor:
    """Each frame with the ones `stride` before and after it, the ends repeated: (B, T, 3, H, W) -> (B, T, 9, H, W)."""
    index = torch.arange(frames.shape[1], device=frames.device)
    last = frames.shape[1] - 1
    return torch.cat(
        [
            frames[:, (index - stride).clamp(min=0)],
            frames,
            frames[:, (index + stride).clamp(max=last)],
        ],
        2,
    )


def apply_fields(
    images: torch.Tensor, flow: torch.Tensor, shading: torch.Tensor, residual: torch.Tensor
) -> torch.Tensor:
    """out(p) = source(p + flow(p)) exp(shading(p)) + residual(p), fields enlarged to the image, clipped to [0, 1].

    Args:
        images: (B, 3, H, W) in [0, 1]. flow: (B, 2, h, w) in units of half the width (x) and height (y).
        shading: (B, 1, h, w). residual: (B, 1 or 3, h, w); any h, w.

    Returns:
        (B, 3, H, W); zero fields give the images, to rounding.
    """
    size = images.shape[-2:]
    flow, shading, residual = (
        field
        if field.shape[-2:] == size
        else F.interpolate(field, size, mode="bilinear", align_corners=False)
        for field in (flow, shading, residual)
    )
    y, x = (torch.linspace(1 / n - 1, 1 - 1 / n, n, device=images.device) for n in size)
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1) + flow.permute(0, 2, 3, 1)
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return (moved * shading.exp() + residual).clamp(0, 1)


def blur(field: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) smoothed by the binomial kernel 1 4 6 4 1 / 16 both ways, borders repeated; constants stay."""
    channels = field.shape[1]
    kernel = field.new_tensor([1, 4, 6, 4, 1]) / 16
    padded = F.pad(field, (2, 2, 2, 2), mode="replicate")
    across = F.conv2d(padded, kernel.view(1, 1, 1, 5).expand(channels, 1, 1, 5), groups=channels)
    return F.conv2d(across, kernel.view(1, 1, 5, 1).expand(channels, 1, 5, 1), groups=channels)


def border_window(size: int) -> torch.Tensor:
    """(1, 1, size, size): 1 inside, falling to 0 over the outer `BORDER` of the crop, 0 in the outermost cells."""
    place = torch.arange(size) / (size - 1)
    edge = (torch.minimum(place, 1 - place) / BORDER).clamp(0, 1)
    ramp = 0.5 - 0.5 * torch.cos(math.pi * edge)
    return (ramp[:, None] * ramp[None]).view(1, 1, size, size)


def roi_mask(size: int) -> torch.Tensor:
    """(1, 1, size, size): 1 at the centre of the eyes and the mouth, 0 outside of the ellipses of `PLACES`."""
    place = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(place, place, indexing="ij")
    mask = torch.zeros(size, size)
    for left, top, wide, high in PLACES.values():
        radius = ((x - left) / wide) ** 2 + ((y - top) / high) ** 2
        mask = torch.maximum(mask, (2 - 2 * radius).clamp(0, 1))
    return mask.view(1, 1, size, size)


def upsample2x(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def zero_init(layer: nn.Conv2d) -> nn.Conv2d:
    """Starts at zero: the first edit is no edit."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
