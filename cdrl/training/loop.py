"""The one training loop: seeded, resumable, logged; a run that was stopped ends exactly like one that was not."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from cdrl.core.devices import pick_device
from cdrl.core.errors import InputError


@dataclass(frozen=True)
class LoopConfig:
    """How to train.

    Args:
        steps: optimiser steps. learning_rate: peak; linear warm-up over `warmup` steps, then cosine to zero.
        device: `cpu`, `auto` (a GPU where there is one) or a name of torch's; on a GPU the terms are computed in half precision.
        weights: factor of each term of the objective; a term that is not named, or has 0, is measured all the same.
        save_every: steps between checkpoints.
    """

    steps: int = 300
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    warmup: int = 20
    seed: int = 0
    save_every: int = 100
    log_every: int = 10
    weights: dict = field(default_factory=dict)
    device: str = "cpu"


def learning_rate(step: int, config: LoopConfig) -> float:
    """Warm-up and cosine. Step 0 of 100 with warm-up 10 gives a tenth of the peak; the last step almost none."""
    rise = min(1.0, (step + 1) / max(config.warmup, 1))
    return float(config.learning_rate * rise * 0.5 * (1 + np.cos(np.pi * step / config.steps)))


def train(
    model: nn.Module,
    objective: Callable,
    sample: Callable,
    config: LoopConfig,
    out: Path | None = None,
    title: str = "",
) -> pd.DataFrame:
    """Minimise the weighted sum of the objective's terms.

    Every step draws its batch and torch's randomness from (seed, step) alone, so nothing but model, optimiser and counter
    has to be kept to resume bit for bit.

    Args:
        model: its parameters that require gradients are trained.
        objective: batch -> {name: per-sample values or scalar}. Weighted by `config.weights`.
        sample: numpy Generator -> batch.
        out: folder of the checkpoint; None keeps none.

    Returns:
        One row per logged step: step, total and every term, averaged since the row before.

    Raises:
        InputError: a weight that names no term, or a loss that is not finite.
    """
    device = pick_device(config.device)
    place(model, device)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters, config.learning_rate, weight_decay=config.weight_decay
    )
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
    first, rows, sums, count = _resume(out, model, optimiser, scaler)
    model.train()
    for step in tqdm(
        range(first, config.steps),
        desc=title or "train",
        initial=first,
        total=config.steps,
        mininterval=2,
    ):
        torch.manual_seed((config.seed * 1_000_003 + step) % 2**31)
        batch = on_device(sample(np.random.default_rng([config.seed, step])), device)
        with torch.autocast(device.type, torch.float16) if device.type == "cuda" else nullcontext():
            terms = objective(batch)
        terms = {name: value.float().nanmean() for name, value in terms.items()}
        unknown = set(config.weights) - set(terms)
        if unknown:
            raise InputError(
                f"loss weights {sorted(unknown)} name no term: this objective has {', '.join(sorted(terms))}"
            )
        total = sum(
            config.weights.get(name, 0.0) * value
            for name, value in terms.items()
            if config.weights.get(name)
        )
        if not torch.isfinite(total):
            raise InputError(
                f"{title or 'training'}: the loss is {total.item()} at step {step}; lower learning_rate"
            )
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, config)
        optimiser.zero_grad(set_to_none=True)
        scaler.scale(total).backward()
        scaler.unscale_(optimiser)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        scaler.step(optimiser)
        scaler.update()
        for name, value in {"total": total, **terms}.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        count += 1
        if (step + 1) % config.log_every == 0 or step + 1 == config.steps:
            rows.append({"step": step + 1, **{name: value / count for name, value in sums.items()}})
            sums, count = {}, 0
        if out is not None and ((step + 1) % config.save_every == 0 or step + 1 == config.steps):
            _save(
                out,
                model,
                optimiser,
                scaler=scaler.state_dict(),
                step=step + 1,
                rows=rows,
                sums=sums,
                count=count,
            )
    place(model, torch.device("cpu")).eval()
    return pd.DataFrame(rows)


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a model, and the frozen networks and tensors that its parts hold beside their parameters."""
    for module in list(model.modules()):
        for name, value in vars(module).items():
            if isinstance(value, list):
                vars(module)[name] = [
                    item.to(device) if isinstance(item, nn.Module) else item for item in value
                ]
            elif isinstance(value, (nn.Module, torch.Tensor)) and not isinstance(
                value, nn.Parameter
            ):
                vars(module)[name] = value.to(device)
    return model.to(device)


def on_device(batch, device: torch.device):
    """A batch with every tensor in it moved; what is no tensor stays."""
    if isinstance(batch, dict):
        return {name: on_device(value, device) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(on_device(value, device) for value in batch)
    return batch.to(device) if isinstance(batch, torch.Tensor) else batch


def _save(out: Path, model: nn.Module, optimiser, **counters) -> None:
    Path(out).mkdir(parents=True, exist_ok=True)
    partial = Path(out) / "checkpoint.partial"
    torch.save(
        {"model": model.state_dict(), "optimiser": optimiser.state_dict(), **counters}, partial
    )
    os.replace(partial, Path(out) / "checkpoint.pt")


def _resume(out: Path | None, model: nn.Module, optimiser, scaler) -> tuple[int, list, dict, int]:
    path = Path(out) / "checkpoint.pt" if out is not None else None
    if path is None or not path.exists():
        return 0, [], {}, 0
    kept = torch.load(path, weights_only=True, map_location="cpu")
    model.load_state_dict(kept["model"])
    optimiser.load_state_dict(kept["optimiser"])
    if kept.get("scaler"):  # empty on the CPU
        scaler.load_state_dict(kept["scaler"])
    return kept["step"], kept["rows"], kept["sums"], kept["count"]
