"""Where a model trains and in which precision: in float32 on the CPU, in float16 on a GPU."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from cdrl.core.devices import pick_device


class Engine:
    """Device, precision, backward pass and optimiser step of one training run.

    On a GPU the loss is computed in float16 under autocast, and a scaler keeps small gradients
    from becoming zero (arXiv:1710.03740).

    Args:
        device: `cpu`, `auto` (a GPU where there is one) or a name of torch's.

    Attributes:
        device: where the model and its batches are.
        scaler: of the loss, so that float16 gradients do not vanish; does nothing on the CPU.

    Raises:
        InputError: no such device here.
    """

    def __init__(self, device: str = "cpu"):
        self.device = pick_device(device)
        uses_half = self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=uses_half)

    def setup(
        self, model: nn.Module, optimiser: torch.optim.Optimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Move the model to the device.

        Args:
            model: moved in place, so that the optimiser keeps its parameters.
            optimiser: over parameters of the model; it has not made a step.

        Returns:
            The model and the optimiser to train with.
        """
        model.to(self.device)
        return model, optimiser

    def autocast(self) -> AbstractContextManager:
        """The context in which the loss is computed."""
        if self.device.type == "cuda":
            return torch.autocast(self.device.type, torch.float16)
        return nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss to those of the parameters.

        Args:
            loss: float32 scalar, the mean over (B,) samples.
        """
        self.scaler.scale(loss).backward()

    def step(
        self, optimiser: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], clip_norm: float
    ) -> bool:
        """Clip the gradients to a norm and make a step.

        Args:
            optimiser: over the parameters.
            parameters: all that have gradients; their norm is taken together.
            clip_norm: the largest norm that is left as it is.

        Returns:
            False where the step was skipped because float16 gradients are not finite.
        """
        self.scaler.unscale_(optimiser)
        torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        scale = self.scaler.get_scale()
        self.scaler.step(optimiser)
        self.scaler.update()
        # The scaler lowers its scale after gradients that are not finite, and only then.
        return self.scaler.get_scale() >= scale

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensors of all processes, joined; with one process the tensor itself.

        Args:
            tensor: (B, ...) of this process.

        Returns:
            (B, ...) of all processes.
        """
        return tensor

    def state_dict(self) -> dict:
        """What a checkpoint has to keep; empty on the CPU."""
        return self.scaler.state_dict()

    def load_state_dict(self, state: dict) -> None:
        """Take up what `state_dict` gave; an empty one changes nothing."""
        if state:
            self.scaler.load_state_dict(state)
