"""Losses of an image editor's fields: they keep an edit a motion of the face, not a painting.

A flow is given in units of half the width of the crop. A cell is one element of its grid.
"""

import torch

STRETCH_LIMIT = 0.4  # how much a cell may be stretched or sheared at no cost


def bending(flow: torch.Tensor) -> torch.Tensor:
    """Mean squared second difference of a flow: the thin-plate energy.

    Eq. 3 of TPAMI 11(6):567.

    Args:
        flow: (B, ..., 2, h, w) in units of half the width.

    Returns:
        (B,) in squared cells; 0 for any affine motion: a shift, a rotation, a scaling.
    """
    flow = _in_cells(flow)
    across = _second_difference(flow, -1)
    down = _second_difference(flow, -2)
    mixed = _mixed_difference(flow)

    across_energy = _mean_square(across)
    down_energy = _mean_square(down)
    mixed_energy = _mean_square(mixed)
    return across_energy + down_energy + 2 * mixed_energy


def stretching(flow: torch.Tensor) -> torch.Tensor:
    """Hinge on the first differences of a flow: one source pixel smeared over many, or a fold.

    Args:
        flow: (B, ..., 2, h, w) in units of half the width.

    Returns:
        (B,) in squared cells; 0 while no cell is stretched, squeezed or sheared by more than
        `STRETCH_LIMIT`.
    """
    flow = _in_cells(flow)
    across = _first_difference(flow, -1)
    down = _first_difference(flow, -2)

    across_cost = _mean_square(_excess(across))
    down_cost = _mean_square(_excess(down))
    return across_cost + down_cost


def asymmetry(flow: torch.Tensor) -> torch.Tensor:
    """Mean squared difference between a flow and its mirror image: a smile on one side only.

    Args:
        flow: (B, ..., 2, h, w), x then y, in units of half the width.

    Returns:
        (B,) in squared cells; 0 for a motion that is symmetric about the vertical axis.
    """
    flow = _in_cells(flow)
    sign = flow.new_tensor([-1, 1]).view(2, 1, 1)
    mirrored = flow.flip(-1) * sign
    return _mean_square(flow - mirrored)


def acceleration(field: torch.Tensor) -> torch.Tensor:
    """Mean squared second difference in time: an edit that trembles.

    Args:
        field: (B, T, ...), T at least 3.

    Returns:
        (B,) in the squared unit of the field; 0 for a field that changes by equal steps.
    """
    return _mean_square(_second_difference(field, 1))


def _in_cells(flow: torch.Tensor) -> torch.Tensor:
    """Convert a flow from units of half the width to cells."""
    return flow * (flow.shape[-1] / 2)


def _first_difference(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Return x[1:] - x[:-1] along one axis."""
    length = x.shape[dim] - 1
    after = x.narrow(dim, 1, length)
    before = x.narrow(dim, 0, length)
    return after - before


def _second_difference(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Return x[2:] - 2 x[1:-1] + x[:-2] along one axis."""
    length = x.shape[dim] - 2

    after = x.narrow(dim, 2, length)
    middle = x.narrow(dim, 1, length)
    before = x.narrow(dim, 0, length)

    return after - 2 * middle + before


def _mixed_difference(x: torch.Tensor) -> torch.Tensor:
    """Return the difference along rows of the difference along columns."""
    lower = x[..., 1:, 1:] - x[..., 1:, :-1]
    upper = x[..., :-1, 1:] - x[..., :-1, :-1]
    return lower - upper


def _excess(difference: torch.Tensor) -> torch.Tensor:
    """Return by how much a difference goes beyond `STRETCH_LIMIT`."""
    return (difference.abs() - STRETCH_LIMIT).clamp(min=0)


def _mean_square(values: torch.Tensor) -> torch.Tensor:
    """(B, ...) -> (B,)."""
    return values.square().flatten(1).mean(1)
