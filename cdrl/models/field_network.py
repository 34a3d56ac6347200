"""Networks that answer with fields, and how fields edit images.

A network reads a frame, one before it and one after it, and predicts three fields: where every
pixel comes from (flow), the change of brightness (shading) and, around eyes and mouth only, what
the source does not show (residual). Fields are predicted at 64 px and applied at the resolution of
the crop, so that skin, hair and lashes of a large crop stay those of the source.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.checkpoint import Pretrained

WORKING_SIZE = 64
FLOW_LIMIT = 0.25  # of half the crop's width: 8 of 64 pixels
SHADING_LIMIT = 0.3
# On brightness alone: with colour, the network paints lips and lids instead of moving them.
RESIDUAL_LIMIT = 0.3
# Of the crop's width, where every field fades to nothing: crops are pasted back into frames.
BORDER = 0.08
# Where something may be uncovered or appear, in the aligned crop: centre x, y and radii x, y of a
# soft ellipse.
ROI_ELLIPSES = {
    "left eye": (0.315, 0.26, 0.15, 0.1),
    "right eye": (0.685, 0.26, 0.15, 0.1),
    "mouth": (0.5, 0.67, 0.28, 0.21),
}
CORE_BLOCKS = 4

Fields = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # flow, shading, residual; see `Edit`


class Edit(NamedTuple):
    """Edited frames and the fields that edited them.

    Attributes:
        frames: (B, T, 3, H, W) RGB in [0, 1].
        flow: (B, T, 2, 32, 32), x and y of where a pixel comes from, relative to the pixel, in
            units of half the crop's width. 64 x 64 cells from an `ActionRenderer`.
        shading: (B, T, 1, 16, 16), logarithm of the factor on brightness. 64 x 64 cells from an
            `ActionRenderer` with fine shading.
        residual: (B, T, 1, 32, 32), added to all three colours. 64 x 64 from an `ActionRenderer`.
    """

    frames: torch.Tensor
    flow: torch.Tensor
    shading: torch.Tensor
    residual: torch.Tensor


class FiLMConvBlock(nn.Module):
    """3x3 convolution, GroupNorm, scale and shift by a code (FiLM), SiLU; a skip if shapes allow.

    Args:
        channels: of the input.
        out: channels of the output.
        code: length of the code.
        stride: of the convolution.
    """

    def __init__(self, channels: int, out: int, code: int, stride: int = 1):
        super().__init__()

        self.skip = channels == out and stride == 1

        self.conv = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.norm = nn.GroupNorm(8, out, affine=False)
        self.style = nn.Linear(code, 2 * out)

    def forward(self, x: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """(B, channels, h, w), (B, code) -> (B, out, h / stride, w / stride)."""
        modulation = self.style(code)
        modulation = modulation[:, :, None, None]
        scale, shift = modulation.chunk(2, 1)

        hidden = self.conv(x)
        hidden = self.norm(hidden)
        hidden = F.silu(hidden * (1 + scale) + shift)

        return x + hidden if self.skip else hidden


class FieldNetwork(nn.Module, Pretrained):
    """Base of `ImageEditor` and `ActionRenderer`: a U-Net from three frames and a code to fields.

    A subclass makes what computes its code, then calls `_build`.

    Args:
        stride: distance in frames to the neighbours before and after that are read too.
        resolution_factor: flow and residual have 32 * resolution_factor cells a side.
    """

    window: torch.Tensor
    coarse_window: torch.Tensor
    roi_mask: torch.Tensor

    def __init__(self, stride: int, resolution_factor: int = 1):
        super().__init__()
        self.stride = stride
        self.resolution_factor = resolution_factor

    def _build(self, width: int, code: int) -> None:
        """Make the layers.

        Args:
            width: channels at 16 x 16; half of it times the resolution factor at 32 x 32, twice at
                8 x 8, three times at 4 x 4.
            code: length of the code.
        """
        fine = self.resolution_factor * width // 2
        wide = 2 * width
        deep = 3 * width
        self.stem = nn.Conv2d(36, fine, 1)

        self.down = nn.ModuleList()
        for channels, out in ((fine, width), (width, wide), (wide, deep)):
            self.down.append(FiLMConvBlock(channels, out, code, 2))

        self.same = nn.ModuleList()
        for channels in (width, wide):
            self.same.append(FiLMConvBlock(channels, channels, code))

        self.core = nn.ModuleList()
        for _ in range(CORE_BLOCKS):
            self.core.append(FiLMConvBlock(deep, deep, code))

        self.up = nn.ModuleList()
        for channels, out in ((deep, wide), (wide, width), (width, fine)):
            self.up.append(FiLMConvBlock(channels, out, code))

        self.join = nn.ModuleList()
        for channels in (wide, width, fine):
            self.join.append(FiLMConvBlock(channels, channels, code))

        outputs = 3 * self.resolution_factor**2
        self.flow_residual_head = zero_init(nn.Conv2d(fine, outputs, 3, 1, 1))
        self.shade = zero_init(nn.Conv2d(width, 1, 3, 1, 1))
        self._build_masks()

    def _build_masks(self) -> None:
        """Make what fades fields out at the border, and the residual outside of eyes and mouth."""
        cells = self.resolution_factor * WORKING_SIZE // 2
        window = border_window(cells)
        coarse_window = border_window(WORKING_SIZE // 4)
        mask = roi_mask(cells)

        self.register_buffer("window", window, persistent=False)
        self.register_buffer("coarse_window", coarse_window, persistent=False)
        self.register_buffer("roi_mask", mask, persistent=False)

    def predict_fields(
        self,
        frames: torch.Tensor,
        code: torch.Tensor,
        gain: torch.Tensor,
        selection: slice,
        stride: int | None = None,
    ) -> Fields:
        """Predict the fields of some frames of each clip.

        Args:
            frames: (B, T, 3, H, W) RGB in [0, 1].
            code: (B, t, code) of the t selected frames.
            gain: (B, t), factor on their fields.
            selection: the frames.
            stride: replaces the network's own.

        Returns:
            Flow, shading and residual of t frames, shapes as in `Edit`.
        """
        small = _small_frames(frames)
        triples = neighbours(small, stride or self.stride, selection) * 2 - 1
        if not _is_one_clip(frames):
            fields = self._fields(triples.flatten(0, 1), code.flatten(0, 1), gain.flatten())
            flow, shading, residual = (field.unflatten(0, gain.shape) for field in fields)
            return flow, shading, residual

        # One after another: all at once would not fit into the processor's cache.
        of_codes = []
        for codes, gains in zip(code, gain, strict=True):
            of_codes.append(self._fields(triples[0], codes, gains))
        flow, shading, residual = (torch.stack(field) for field in zip(*of_codes, strict=True))
        return flow, shading, residual

    def _fields(self, x: torch.Tensor, code: torch.Tensor, gain: torch.Tensor) -> Fields:
        """(B, 9, 64, 64), (B, code), (B,) -> fields of B frames."""
        fine, coarse = self._decode(x, code)
        frame_gain = gain[:, None, None, None]

        flow, residual = self._flow_and_residual(fine)
        flow = FLOW_LIMIT * torch.tanh(blur(flow)) * self.window

        shading = self._shading(fine, coarse)

        residual = RESIDUAL_LIMIT * torch.tanh(residual) * self.roi_mask
        return frame_gain * flow, frame_gain * shading, frame_gain * residual

    def _shading(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """Features at 32 x 32 and at 16 x 16 -> shading (B, 1, h, w)."""
        shading = self.shade(coarse)
        return SHADING_LIMIT * torch.tanh(shading) * self.coarse_window

    def _flow_and_residual(self, fine: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features at 32 x 32 -> flow (B, 2, h, w) and residual (B, 1, h, w), not yet limited."""
        outputs = self.flow_residual_head(fine)
        outputs = F.pixel_shuffle(outputs, self.resolution_factor)
        flow, residual = outputs.split((2, 1), 1)
        return flow, residual

    def _decode(self, x: torch.Tensor, code: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 9, 64, 64), (B, code) -> features at 32 x 32 and at 16 x 16."""
        x = F.pixel_unshuffle(x, 2)
        at32 = F.silu(self.stem(x))

        at16 = self.down[0](at32, code)
        at16 = self.same[0](at16, code)

        at8 = self.down[1](at16, code)
        at8 = self.same[1](at8, code)

        at4 = self.down[2](at8, code)
        for block in self.core:
            at4 = block(at4, code)

        upper = self.up[0](at4, code)
        at8 = at8 + upsample2x(upper)
        at8 = self.join[0](at8, code)

        upper = self.up[1](at8, code)
        at16 = at16 + upsample2x(upper)
        at16 = self.join[1](at16, code)

        upper = self.up[2](at16, code)
        at32 = at32 + upsample2x(upper)
        at32 = self.join[2](at32, code)

        return at32, at16


def _small_frames(frames: torch.Tensor) -> torch.Tensor:
    """(B, T, 3, H, W) -> (B, T, 3, 64, 64); (1, T, 3, 64, 64) of one clip that was expanded."""
    if _is_one_clip(frames):
        frames = frames[:1]
    batch, count = frames.shape[:2]
    small = working_view(frames.flatten(0, 1))
    return small.view(batch, count, 3, WORKING_SIZE, WORKING_SIZE)


def _is_one_clip(frames: torch.Tensor) -> bool:
    """Whether (B, T, 3, H, W) frames are one clip that was expanded to B > 1."""
    return len(frames) > 1 and frames.stride(0) == 0


def working_view(images: torch.Tensor) -> torch.Tensor:
    """Resize images to 64 x 64, bilinear with antialiasing: (B, 3, H, W) -> (B, 3, 64, 64)."""
    size = (WORKING_SIZE, WORKING_SIZE)
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)


def neighbours(frames: torch.Tensor, stride: int, selection: slice = slice(None)) -> torch.Tensor:
    """Put the frames `stride` before and after beside each frame; the ends are repeated.

    Args:
        frames: (B, T, 3, H, W).
        stride: distance in frames.
        selection: the t frames to put together.

    Returns:
        (B, t, 9, H, W): before, the frame, after.
    """
    count = frames.shape[1]
    index = torch.arange(count, device=frames.device)[selection]
    index_before = (index - stride).clamp(min=0)
    index_after = (index + stride).clamp(max=count - 1)

    before = frames[:, index_before]
    after = frames[:, index_after]

    return torch.cat([before, frames[:, index], after], 2)


def apply_to_clips(frames: torch.Tensor, fields: Fields) -> torch.Tensor:
    """Apply fields to clips: `apply_fields` on every frame.

    Args:
        frames: (B, T, 3, H, W) in [0, 1].
        fields: of the same frames, (B, T, C, h, w) each.

    Returns:
        (B, T, 3, H, W) in [0, 1].
    """
    images = frames.flatten(0, 1)
    flow, shading, residual = (field.flatten(0, 1) for field in fields)
    return apply_fields(images, flow, shading, residual).view_as(frames)


def apply_fields(
    images: torch.Tensor, flow: torch.Tensor, shading: torch.Tensor, residual: torch.Tensor
) -> torch.Tensor:
    """Edit images: out(p) = source(p + flow(p)) exp(shading(p)) + residual(p), clipped to [0, 1].

    Fields are enlarged to the image.

    Args:
        images: (B, 3, H, W) in [0, 1].
        flow: (B, 2, h, w) in units of half the width (x) and height (y); any h, w.
        shading: (B, 1, h, w); any h, w.
        residual: (B, 1 or 3, h, w); any h, w.

    Returns:
        (B, 3, H, W) in [0, 1]; zero fields give the images, to rounding.
    """
    height, width = images.shape[-2:]
    flow = _enlarge(flow, height, width)
    shading = _enlarge(shading, height, width)
    residual = _enlarge(residual, height, width)

    moved = sample_moved(images, flow)
    edited = moved * shading.exp() + residual

    return edited.clamp(0, 1)


def sample_moved(images: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Move images: out(p) = source(p + flow(p)), bilinear, with borders repeated.

    Args:
        images: (B, C, H, W).
        flow: (B, 2, H, W) in units of half the width (x) and height (y).

    Returns:
        (B, C, H, W).
    """
    height, width = images.shape[-2:]
    pixels = _pixel_grid(height, width, images.device)
    grid = pixels + flow.permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _enlarge(field: torch.Tensor, height: int, width: int) -> torch.Tensor:
    if field.shape[-2:] == (height, width):
        return field
    return F.interpolate(field, (height, width), mode="bilinear", align_corners=False)


def _pixel_grid(height: int, width: int, device: torch.device) -> torch.Tensor:
    """(H, W, 2) x and y of every pixel, where the image goes from -1 to 1."""
    y = _pixel_centres(height, device)
    x = _pixel_centres(width, device)
    columns, rows = torch.meshgrid(x, y, indexing="xy")
    return torch.stack([columns, rows], -1)


def _pixel_centres(count: int, device: torch.device) -> torch.Tensor:
    """(count,) positions of pixels, where the image goes from -1 to 1."""
    return torch.linspace(1 / count - 1, 1 - 1 / count, count, device=device)


def blur(field: torch.Tensor) -> torch.Tensor:
    """Smooth by the binomial kernel 1 4 6 4 1 / 16 in both directions, with borders repeated.

    Args:
        field: (B, C, H, W).

    Returns:
        (B, C, H, W); a constant field stays.
    """
    channels = field.shape[1]
    kernel = field.new_tensor([1, 4, 6, 4, 1]) / 16

    row = kernel.view(1, 1, 1, 5)
    column = kernel.view(1, 1, 5, 1)
    row = row.expand(channels, -1, -1, -1)
    column = column.expand(channels, -1, -1, -1)

    padded = F.pad(field, (2, 2, 2, 2), mode="replicate")
    across = F.conv2d(padded, row, groups=channels)

    return F.conv2d(across, column, groups=channels)


def border_window(size: int) -> torch.Tensor:
    """Make a mask that fades out over the outer `BORDER` of the crop.

    Returns:
        (1, 1, size, size): 1 inside, falling to 0 in the outermost cells.
    """
    position = torch.arange(size) / (size - 1)
    distance = torch.minimum(position, 1 - position)
    inside = (distance / BORDER).clamp(0, 1)

    angle = math.pi * inside
    ramp = 0.5 - 0.5 * torch.cos(angle)

    window = ramp[:, None] * ramp[None]

    return window.view(1, 1, size, size)


def roi_mask(size: int, regions: Iterable[str] = tuple(ROI_ELLIPSES)) -> torch.Tensor:
    """Make a mask of the eyes and the mouth.

    Args:
        size: cells a side.
        regions: of `ROI_ELLIPSES`.

    Returns:
        (1, 1, size, size): 1 at the centres of the regions, 0 outside of them.
    """
    position = (torch.arange(size) + 0.5) / size

    y, x = torch.meshgrid(position, position, indexing="ij")
    mask = torch.zeros(size, size)
    for region in regions:
        centre_x, centre_y, radius_x, radius_y = ROI_ELLIPSES[region]
        across = (x - centre_x) / radius_x
        down = (y - centre_y) / radius_y

        distance = across**2 + down**2
        ellipse = (2 - 2 * distance).clamp(0, 1)
        mask = torch.maximum(mask, ellipse)

    return mask.view(1, 1, size, size)


def upsample2x(x: torch.Tensor) -> torch.Tensor:
    """Repeat every cell: (B, C, h, w) -> (B, C, 2 h, 2 w)."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def zero_init(layer: nn.Conv2d) -> nn.Conv2d:
    """Set a layer to zero, so that the first edit changes nothing."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
