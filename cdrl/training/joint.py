"""Batches that several processes share: what objectives call, without an import of the engine."""

import os
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

import torch


class JointEngine(Protocol):
    """What runs a network on a batch that several processes share."""

    def joint_forward(self, network: Callable[..., Any], *inputs: Any) -> Any:
        """See the function of this name."""
        ...


active_engine: ContextVar[JointEngine | None] = ContextVar("engine", default=None)


def group_size() -> int:
    """Number of processes that train together with this one; 1: it trains alone."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def is_first() -> bool:
    """Whether this process writes files and shows progress: the first of its group, or alone."""
    return group_size() == 1 or os.environ["LOCAL_RANK"] == "0"


def joint_forward(network: Callable[..., Any], *inputs: Any) -> Any:
    """Run a network on a batch that every process of the training has drawn alike.

    In a training by several processes, or with micro-batches, each process runs its share in parts
    and receives the outputs of all, with gradients. Otherwise it is `network(*inputs)`.

    Args:
        network: (B, ...) inputs -> a tensor (B, ...), or tensors in tuples and dicts.
        inputs: tensors (B, ...); anything else is the same for every share.
    """
    engine = active_engine.get()
    if engine is None:
        return network(*inputs)
    return engine.joint_forward(network, *inputs)


def map_tensors(function: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    """Apply a function to every tensor.

    Args:
        function: tensor (B, ...) -> tensor (B, ...).
        value: a tensor, or tensors in dicts, lists, tuples and named tuples; anything else stays.
    """
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, dict):
        return {name: map_tensors(function, item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [map_tensors(function, item) for item in value]
        is_named = hasattr(value, "_fields")
        return type(value)(*items) if is_named else type(value)(items)
    return value
