"""The one training loop: seeded, logged, and resumed bit for bit."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from cdrl.core.checkpoint import load_trained_state, trained_state
from cdrl.core.errors import InputError
from cdrl.core.files import atomic_path
from cdrl.core.settings import ContentConfig, EmotionConfig
from cdrl.training.experiment_trackers import FOLDER, NONE, Tracker
from cdrl.training.joint import is_first, map_tensors

if TYPE_CHECKING:
    from cdrl.training.engine import Engine

CLIP_NORM = 1.0  # largest norm of all gradients together
MOST_SKIPPED = 50  # steps in a row whose fp16 gradients are not finite

Terms = dict[str, torch.Tensor]
Objective = Callable[[Any], Terms]
Sample = Callable[[np.random.Generator], Any]


@dataclass(frozen=True)
class LoopConfig:
    """How to train.

    Args:
        steps: optimiser steps.
        learning_rate: peak; linear warm-up over `warmup` steps, then cosine to zero.
        weight_decay: of AdamW.
        warmup: steps.
        seed: of every batch and of the noise in every step.
        save_every: steps between checkpoints.
        log_every: steps between rows of the history.
        weights: factor of each term of the objective; a term that is not named, or has 0, is
            measured all the same.
        device: `cpu`, `auto` (a GPU where there is one) or a name of torch's.
        precision: auto, fp32, bf16 or fp16, see `Engine`.
        micro_batches: parts in which the costly networks run, see `Engine`.
        compiled: whether they are compiled by torch.compile.
        tracker: where the history also goes, see `cdrl.training.experiment_trackers`.
    """

    steps: int = 300
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    warmup: int = 20
    seed: int = 0
    save_every: int = 100
    log_every: int = 10
    weights: dict[str, float] = field(default_factory=dict)
    device: str = "cpu"
    precision: str = "auto"
    micro_batches: int = 1
    compiled: bool = False
    tracker: str = NONE


def loop_config(settings: ContentConfig | EmotionConfig, terms: Iterable[str]) -> LoopConfig:
    """How to train as the settings of a stage say.

    Args:
        settings: rates, and the weight of every term.
        terms: of the objective; the weight of `contrast` is the setting `contrast_weight`.
    """
    weights = {}
    for name in terms:
        weights[name] = getattr(settings, f"{name}_weight")

    return LoopConfig(
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
        weights=weights,
        device=settings.device,
        precision=settings.precision,
        micro_batches=settings.micro_batches,
        compiled=settings.compiled,
        tracker=settings.tracker,
    )


@dataclass
class TrainingLog:
    """Terms averaged over the steps of each row.

    Args:
        rows: finished rows: step, total and every term.
        sums: of every term since the last row.
        count: steps since the last row.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0

    def add(self, terms: Terms) -> None:
        """Count one step.

        Args:
            terms: name -> scalar of shape ().
        """
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value.detach())
        self.count += 1

    def finish_row(self, step: int) -> None:
        """Append the averages since the last row.

        Args:
            step: steps made so far.
        """
        row: dict[str, float] = {"step": step}
        for name, total in self.sums.items():
            row[name] = total / self.count

        self.rows.append(row)
        self.sums = {}
        self.count = 0


def learning_rate(step: int, config: LoopConfig) -> float:
    """Linear warm-up, then a cosine to zero.

    Step 0 of 100 with warm-up 10 gives a tenth of the peak, the last step almost none.
    """
    rise = min(1.0, (step + 1) / max(config.warmup, 1))
    fall = 0.5 * (1 + np.cos(np.pi * step / config.steps))
    return float(config.learning_rate * rise * fall)


def train(
    model: nn.Module,
    objective: Objective,
    sample: Sample,
    config: LoopConfig,
    out: Path | None = None,
    title: str = "",
    clip_apart: nn.Module | None = None,
) -> pd.DataFrame:
    """Minimise the weighted sum of the objective's terms.

    In a group of processes (`cdrl.training.group`) all train the same model; the first one writes
    the checkpoint and shows progress.

    Every step draws its batch and torch's randomness from (seed, step) alone. To resume bit for
    bit, a checkpoint has to keep nothing but the model, the optimiser and counters.

    Args:
        model: its parameters that require gradients are trained.
        objective: batch -> {name: values per sample, or a scalar}. Weighted by `config.weights`.
        sample: numpy Generator -> batch.
        config: number of steps, rates, weights and device.
        out: folder of the checkpoint; None keeps none.
        title: of the progress bar and of messages.
        clip_apart: part of the model whose gradients are clipped by their own norm; None: all
            gradients are clipped together.

    Returns:
        One row per logged step: step, total and every term, averaged since the row before.

    Raises:
        InputError: a weight that names no term, or a loss that is not finite.
    """
    # Fabric is imported where something is trained, since editing and reading need none of it.
    from cdrl.training.engine import Engine

    engine = Engine(config.device, config.precision, config.micro_batches, config.compiled)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    apart = [] if clip_apart is None else list(clip_apart.parameters())
    model, optimiser = engine.setup(model, _build_optimiser(parameters, config))
    checkpoint = Checkpoint(out, model, optimiser, engine)
    first_step, log = checkpoint.load()
    engine.wait_for_all()  # nobody writes a checkpoint before all have read it

    tracker = _open_tracker(config, out, title)
    model.train()
    skipped_steps = 0
    skipped_in_a_row = 0
    progress = tqdm(
        range(first_step, config.steps),
        desc=title or "train",
        initial=first_step,
        total=config.steps,
        mininterval=2,
        disable=not is_first(),
    )
    for step in progress:
        terms = _terms_of_batch(objective, sample, step, config, engine)
        total = _weighted_sum(terms, config.weights)
        if engine.scaler is None:
            _refuse_not_finite(total, step, title)

        _set_learning_rate(optimiser, learning_rate(step, config))
        optimiser.zero_grad(set_to_none=True)
        engine.backward(total)
        if engine.step(optimiser, parameters, CLIP_NORM, apart):
            skipped_in_a_row = 0
        else:
            skipped_steps += 1
            skipped_in_a_row += 1
            progress.set_postfix(skipped=skipped_steps)
            _refuse_many_skipped(skipped_in_a_row, step, title)

        if bool(torch.isfinite(total)):
            log.add({"total": total, **terms})
        steps_done = step + 1
        is_last = steps_done == config.steps
        if is_last or steps_done % config.log_every == 0:
            log.finish_row(steps_done)
            tracker.log(log.rows[-1])
        if is_last or steps_done % config.save_every == 0:
            checkpoint.save(steps_done, log)

    tracker.close()
    engine.wait_for_all()
    model.to("cpu")
    model.eval()
    return pd.DataFrame(log.rows)


def _open_tracker(config: LoopConfig, out: Path | None, title: str) -> Tracker:
    """The tracker of the first process of a group, in a folder beside that of the checkpoint."""
    folder = None if out is None else Path(out).parent / FOLDER
    return Tracker(config.tracker if is_first() else NONE, folder, title)


def _build_optimiser(parameters: list[nn.Parameter], config: LoopConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, config.learning_rate, weight_decay=config.weight_decay)


def _set_learning_rate(optimiser: torch.optim.Optimizer, value: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = value


def _terms_of_batch(
    objective: Objective, sample: Sample, step: int, config: LoopConfig, engine: "Engine"
) -> Terms:
    """Draw the batch of a step and compute the mean of every term; missing samples are NaN."""
    torch.manual_seed((config.seed * 1_000_003 + step) % 2**31)
    batch = sample(np.random.default_rng([config.seed, step]))
    batch = to_device(batch, engine.device)
    with engine.active(), engine.autocast():
        values = objective(batch)

    terms = {}
    for name, value in values.items():
        terms[name] = value.float().nanmean()

    return terms


def _weighted_sum(terms: Terms, weights: dict[str, float]) -> torch.Tensor:
    """The loss; a term without a weight has no part in it.

    Raises:
        InputError: a weight that names no term.
    """
    unknown = sorted(weights.keys() - terms.keys())
    if unknown:
        accepted = ", ".join(sorted(terms))
        raise InputError(f"loss weights {unknown} name no term: this objective has {accepted}")

    device = next(iter(terms.values())).device
    total = torch.zeros((), device=device)
    for name, value in terms.items():
        weight = weights.get(name, 0.0)
        if weight:
            total = total + weight * value

    return total


def _refuse_not_finite(total: torch.Tensor, step: int, title: str) -> None:
    if not torch.isfinite(total):
        raise InputError(
            f"{title or 'training'}: the loss is {total.item()} at step {step}; lower learning_rate"
        )


def _refuse_many_skipped(skipped: int, step: int, title: str) -> None:
    if skipped == MOST_SKIPPED:
        raise InputError(
            f"{title or 'training'}: {skipped} steps in a row, to step {step}, had gradients that "
            "are not finite in fp16; set precision=fp32 or bf16, or lower learning_rate"
        )


def to_device(batch: Any, device: torch.device) -> Any:
    """Move every tensor in a batch; everything else stays.

    Args:
        batch: a tensor, or tensors in dicts, lists and tuples.
        device: where to.
    """
    return map_tensors(lambda tensor: tensor.to(device), batch)


def read_history(folder: Path) -> pd.DataFrame:
    """Read the history of a network of a run, as `save_network` wrote it.

    Args:
        folder: of the network.
    """
    return pd.read_parquet(Path(folder) / "history.parquet")


class Checkpoint:
    """The state of a training run in a file.

    Frozen parts of the model are left out: they are read from their own files.

    Args:
        folder: of checkpoint.pt; None keeps nothing.
        model: its trained parts are saved.
        optimiser: its state is saved.
        engine: its state is saved, as that of its gradient scaler.
    """

    def __init__(
        self,
        folder: Path | None,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        engine: "Engine",
    ):
        self.path = None if folder is None else Path(folder) / "checkpoint.pt"
        self.model = model
        self.optimiser = optimiser
        self.engine = engine

    def save(self, step: int, log: TrainingLog) -> None:
        """Write the state atomically, in the first process of a group.

        Args:
            step: steps made so far.
            log: of these steps.
        """
        if self.path is None or not is_first():
            return
        state = {
            "model": trained_state(self.model),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.engine.state_dict(),
            "step": step,
            "rows": log.rows,
            "sums": log.sums,
            "count": log.count,
        }
        with atomic_path(self.path) as temporary:
            torch.save(state, temporary)

    def load(self) -> tuple[int, TrainingLog]:
        """Put a saved state into model, optimiser and engine.

        Returns:
            The step to go on with and the log so far; step 0 and an empty log where nothing is
            saved.

        Raises:
            InputError: the state of another model.
        """
        if self.path is None or not self.path.exists():
            return 0, TrainingLog()

        state = torch.load(self.path, weights_only=True, map_location="cpu")
        load_trained_state(self.model, state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.engine.load_state_dict(state["scaler"])

        log = TrainingLog(state["rows"], state["sums"], state["count"])
        return state["step"], log
