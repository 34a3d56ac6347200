"""What keeps an edit a movement of the face instead of a painting: functions of the generator's fields."""

import torch

STRETCH = 0.4  # how much a cell may be stretched or sheared at no cost


def bending(flow: torch.Tensor) -> torch.Tensor:
    """Mean squared second difference of a flow, thin-plate energy: 0 for any affine motion (Eq. 3 of TPAMI 11(6):567).

    Args:
        flow: (B, ..., 2, h, w) in units of half the width.

    Returns:
        (B,) in squared cells; 0 for a shift, a rotation, a scaling.
    """
    flow = flow * (flow.shape[-1] / 2)  # in cells
    across = flow[..., :, 2:] - 2 * flow[..., :, 1:-1] + flow[..., :, :-2]
    down = flow[..., 2:, :] - 2 * flow[..., 1:-1, :] + flow[..., :-2, :]
    mixed = (flow[..., 1:, 1:] - flow[..., 1:, :-1]) - (flow[..., :-1, 1:] - flow[..., :-1, :-1])
    return sum(
        factor * part.square().flatten(1).mean(1)
        for factor, part in ((1, across), (1, down), (2, mixed))
    )


def stretching(flow: torch.Tensor) -> torch.Tensor:
    """Hinge on the flow's derivatives: one source pixel drawn out over many (a smear), or a fold, costs.

    Args:
        flow: (B, ..., 2, h, w) in units of half the width.

    Returns:
        (B,); 0 while no cell is stretched, squeezed or sheared by more than that.
    """
    flow = flow * (flow.shape[-1] / 2)
    slopes = (flow[..., :, 1:] - flow[..., :, :-1], flow[..., 1:, :] - flow[..., :-1, :])
    return sum((slope.abs() - STRETCH).clamp(min=0).square().flatten(1).mean(1) for slope in slopes)


def asymmetry(flow: torch.Tensor) -> torch.Tensor:
    """Mean squared difference between a flow and its mirror image: a smile on one side only.

    Args:
        flow: (B, ..., 2, h, w), x then y, in units of half the width.

    Returns:
        (B,) in squared cells; 0 for a motion that a mirror does not change.
    """
    flow = flow * (flow.shape[-1] / 2)
    mirrored = flow.flip(-1) * flow.new_tensor([-1, 1]).view(2, 1, 1)
    return (flow - mirrored).square().flatten(1).mean(1)


def acceleration(field: torch.Tensor) -> torch.Tensor:
    """Mean squared second difference in time: an edit that trembles.

    Args:
        field: (B, T >= 3, ...).

    Returns:
        (B,); 0 for a field that stays or changes steadily.
    """
    return (field[:, 2:] - 2 * field[:, 1:-1] + field[:, :-2]).square().flatten(1).mean(1)
