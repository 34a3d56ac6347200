"""Where a model trains: devices, precision and processes of Lightning Fabric under the one loop.

Several processes train as one. Each draws the same batch from the same seed. The costly networks
run on a share of it (`joint_forward`), their outputs are gathered with gradients, and every process
computes the loss of the whole batch. So a contrastive loss has the candidates of all processes, and
no loss has to know of them.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from operator import itemgetter
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision, Precision
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from cdrl.core.devices import pick_device
from cdrl.core.errors import InputError
from cdrl.training.joint import active_engine, group_size, map_tensors

PRECISIONS = ("auto", "fp32", "bf16", "fp16")

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


class Engine:
    """Device, precision, processes, backward pass and optimiser step of one training run.

    In 16-bit floating point the loss is computed under autocast; with fp16 a scaler keeps small
    gradients from becoming zero (arXiv:1710.03740). The processes of a group are started by
    `cdrl.training.group`, or by torchrun.

    Args:
        device: `cpu`, `auto` (a GPU where there is one) or a name of torch's.
        precision: fp32, bf16, fp16; auto is fp16 on a GPU and fp32 on the CPU.
        micro_batches: parts in which `joint_forward` runs a network. Gradients are those of the
            whole batch; only one part's activations are in memory, each is computed twice.
        compiled: whether `joint_forward` compiles its networks by torch.compile.

    Attributes:
        device: where the model and its batches are.
        rank: number of this process in its group, from 0.
        size: processes of the group.
        scaler: of the loss with fp16, else None.

    Raises:
        InputError: no such device here, or an unknown precision.
    """

    def __init__(
        self,
        device: str = "cpu",
        precision: str = "auto",
        micro_batches: int = 1,
        compiled: bool = False,
    ):
        chosen_device = pick_device(device)
        self.precision = _precision_name(precision, chosen_device)
        self.micro_batches = micro_batches
        self.compiled = compiled
        self.size = group_size()

        self.scaler: torch.amp.GradScaler | None = None
        if self.precision == "fp16":
            self.scaler = torch.amp.GradScaler(chosen_device.type)
        self._plugin = _precision_plugin(self.precision, chosen_device, self.scaler)
        self.fabric = _fabric(chosen_device, self.size, self._plugin)
        self.fabric.launch()

        self.device = self.fabric.device
        self.rank = self.fabric.global_rank
        self._compiled_networks: dict[int, Callable[..., Any]] = {}
        self._calls = 0

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

    @contextmanager
    def active(self) -> Iterator[None]:
        """Inside the block, the objective of one step, `joint_forward` uses this engine."""
        self._calls = 0
        token = active_engine.set(self)
        try:
            yield
        finally:
            active_engine.reset(token)

    def autocast(self) -> AbstractContextManager:
        """The context in which the loss is computed."""
        return self.fabric.autocast()

    def joint_forward(self, network: Callable[..., Any], *inputs: Any) -> Any:
        """See the function of this name."""
        forward = self._forward_of(network)
        if _mixes_samples(network):
            return forward(*inputs)
        if self.size == 1:
            return self._in_micro_batches(forward, inputs)

        count = _batch_size(inputs)
        share = -(-count // self.size)  # rounded up; the last process may repeat the last sample
        first = self.rank * share
        rows = torch.arange(first, first + share, device=self.device).clamp(max=count - 1)
        own_inputs = map_tensors(itemgetter(rows), inputs)
        with self._noise_of_this_process():
            own_outputs = self._in_micro_batches(forward, own_inputs)

        def gather(tensor: torch.Tensor) -> torch.Tensor:
            gathered: Any = self.fabric.all_gather(tensor.contiguous(), sync_grads=True)
            return gathered.flatten(0, 1)[:count]

        return map_tensors(gather, own_outputs)

    def _forward_of(self, network: Callable[..., Any]) -> Callable[..., Any]:
        """The network, or what torch.compile makes of it, once."""
        if not self.compiled:
            return network
        key = id(network)
        if key not in self._compiled_networks:
            self._compiled_networks[key] = torch.compile(network)
        return self._compiled_networks[key]

    def _in_micro_batches(self, forward: Callable[..., Any], inputs: Any) -> Any:
        """Run a network part by part; the activations of a part are computed again for gradients.

        Each part draws its own noise, the same both times.
        """
        if self.micro_batches == 1:
            return forward(*inputs)
        count = _batch_size(inputs)
        outputs = []
        for rows in torch.arange(count, device=self.device).chunk(self.micro_batches):
            part = map_tensors(itemgetter(rows), inputs)
            outputs.append(checkpoint(forward, *part, use_reentrant=False))
        return _concatenate(outputs)

    @contextmanager
    def _noise_of_this_process(self) -> Iterator[None]:
        """Inside the block torch draws other numbers in each process; after it, the same again."""
        self._calls += 1
        seed = torch.initial_seed() + self._calls * self.size + self.rank
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed % 2**63)
            yield

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss to those of the parameters.

        Args:
            loss: float32 scalar, the mean over the (B,) samples of the whole batch.
        """
        self.fabric.backward(loss)

    def step(
        self,
        optimiser: torch.optim.Optimizer,
        parameters: Iterable[nn.Parameter],
        clip_norm: float,
        apart: Iterable[nn.Parameter] = (),
    ) -> bool:
        """Average the gradients over the processes, clip them to a norm and make a step.

        Args:
            optimiser: over the parameters.
            parameters: all that have gradients; their norm is taken together.
            clip_norm: the largest norm that is left as it is.
            apart: those of the parameters whose norm is taken by itself instead, as those of an
                adversary, whose gradients would rescale the others'.

        Returns:
            False where the step was skipped because fp16 gradients are not finite.
        """
        parameters = list(parameters)
        self.average_gradients(parameters)
        self._plugin.unscale_gradients(optimiser)
        own_norm = {id(parameter) for parameter in apart}
        together = [parameter for parameter in parameters if id(parameter) not in own_norm]
        torch.nn.utils.clip_grad_norm_(together, clip_norm)
        if own_norm:
            others = [parameter for parameter in parameters if id(parameter) in own_norm]
            torch.nn.utils.clip_grad_norm_(others, clip_norm)
        if self.scaler is None:
            optimiser.step()
            return True
        scale = self.scaler.get_scale()
        self._plugin.optimizer_step(optimiser)
        # The scaler lowers its scale after gradients that are not finite, and only then.
        return self.scaler.get_scale() >= scale

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes.

        Each process has the loss of the whole batch. A network of `joint_forward` received in each
        process the gradient of its share, times the number of processes; everything else has the
        same gradient in all. The mean is right for both.

        Args:
            parameters: those with a gradient are averaged; all processes have the same ones.
        """
        if self.size == 1:
            return
        gradients = []
        for parameter in parameters:
            if parameter.grad is not None:
                gradients.append(parameter.grad)
        joined = torch.cat([gradient.flatten() for gradient in gradients])
        mean: Any = self.fabric.all_reduce(joined, reduce_op="mean")
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, values in zip(gradients, mean.split(sizes), strict=True):
            gradient.copy_(values.view_as(gradient))

    def wait_for_all(self) -> None:
        """Go on when every process of the group has come here."""
        if self.size > 1:
            self.fabric.barrier()

    def state_dict(self) -> dict:
        """What a checkpoint has to keep; empty without a scaler."""
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state_dict(self, state: dict) -> None:
        """Take up what `state_dict` gave; an empty one changes nothing."""
        if state and self.scaler is not None:
            self.scaler.load_state_dict(state)


def _mixes_samples(network: Callable[..., Any]) -> bool:
    """Whether an output depends on the whole batch, so that every process has to run all of it."""
    if not isinstance(network, nn.Module):
        return False
    return any(isinstance(module, _BatchNorm) and module.training for module in network.modules())


def _concatenate(parts: list[Any]) -> Any:
    """Join outputs of one form along their first axis."""
    first = parts[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(parts)
    if isinstance(first, dict):
        return {name: _concatenate([part[name] for part in parts]) for name in first}
    items = [_concatenate(list(column)) for column in zip(*parts, strict=True)]
    is_named = hasattr(first, "_fields")
    return type(first)(*items) if is_named else type(first)(items)


def _batch_size(inputs: Iterable[Any]) -> int:
    """B of the first tensor."""
    for value in inputs:
        if isinstance(value, torch.Tensor):
            return len(value)
    raise ValueError("joint_forward: no input is a tensor")


def _precision_name(precision: str, device: torch.device) -> str:
    """What `auto` means on a device."""
    if precision not in PRECISIONS:
        raise InputError(f"precision={precision}: accepted are {', '.join(PRECISIONS)}")
    if precision == "auto":
        return "fp16" if device.type == "cuda" else "fp32"
    return precision


def _precision_plugin(
    precision: str, device: torch.device, scaler: torch.amp.GradScaler | None
) -> Precision:
    """Fabric's part for a precision."""
    if precision == "fp32":
        return Precision()
    name: Any = "16-mixed" if precision == "fp16" else "bf16-mixed"
    return MixedPrecision(name, device.type, scaler)


def _fabric(device: torch.device, size: int, precision: Precision) -> Fabric:
    """Fabric for one process, or for one of a group that was started already."""
    accelerator = device.type
    if size == 1:
        devices: Any = 1 if device.index is None or accelerator != "cuda" else [device.index]
        return Fabric(accelerator=accelerator, devices=devices, plugins=[precision])
    backend = "nccl" if accelerator == "cuda" else "gloo"
    return Fabric(
        accelerator=accelerator,
        devices=size,
        strategy=DDPStrategy(process_group_backend=backend),
        plugins=[precision, LightningEnvironment()],
    )
