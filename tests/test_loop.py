"""The training loop: exact resume, weights, refusals."""

import numpy as np
import pytest
import torch
from torch import nn

from cdrl.core.errors import InputError
from cdrl.training.loop import LoopConfig, learning_rate, on_device, place, train

DATA = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))


class Task(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 1))

    def forward(self, batch):
        out = self.net(batch)[:, 0]
        return {"fit": (out - batch.sum(1)).square(), "size": out.square()}


def sample(random: np.random.Generator):
    return DATA[torch.from_numpy(random.integers(0, 64, 8))]


def config(**changes):
    return LoopConfig(
        **(
            {"steps": 20, "warmup": 3, "save_every": 7, "log_every": 4, "weights": {"fit": 1.0}}
            | changes
        )
    )


def test_a_stopped_run_ends_bit_for_bit_like_one_that_was_not(tmp_path):
    whole, stopped = Task(), Task()
    history = train(whole, whole, sample, config())

    def interrupted(random):
        interrupted.calls += 1
        if interrupted.calls == 18:
            raise KeyboardInterrupt
        return sample(random)

    interrupted.calls = 0
    with pytest.raises(KeyboardInterrupt):
        train(stopped, stopped, interrupted, config(), tmp_path)
    resumed = Task()
    again = train(resumed, resumed, sample, config(), tmp_path)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    assert history.equals(again)


def test_a_term_of_weight_zero_is_measured_and_does_not_train():
    with_zero, without = Task(), Task()
    history = train(with_zero, with_zero, sample, config(weights={"fit": 1.0, "size": 0.0}))
    train(without, without, sample, config())
    assert "size" in history and all(
        torch.equal(a, b) for a, b in zip(with_zero.parameters(), without.parameters(), strict=True)
    )


def test_a_weight_that_names_no_term_is_refused():
    task = Task()
    with pytest.raises(InputError, match=r"\['fitt'\] name no term: this objective has fit, size"):
        train(task, task, sample, config(weights={"fitt": 1.0}))


def test_a_loss_that_is_not_finite_is_refused():
    task = Task()
    with pytest.raises(InputError, match="the loss is nan at step 0; lower learning_rate"):
        train(task, lambda batch: {"fit": task(batch)["fit"] * float("nan")}, sample, config())


def test_the_learning_rate_warms_up_and_ends_near_zero():
    settings = LoopConfig(steps=100, warmup=10, learning_rate=1.0)
    assert learning_rate(0, settings) == pytest.approx(0.1) and learning_rate(99, settings) < 0.001


def test_on_the_cpu_the_loop_is_the_plain_one_bit_for_bit():
    """Half precision, its scaler and moves to a device leave no trace where there is no GPU: a loop written out gives the same."""
    settings, looped, plain = config(), Task(), Task()
    train(looped, looped, sample, settings)
    plain.train()
    optimiser = torch.optim.AdamW(
        plain.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    for step in range(settings.steps):
        torch.manual_seed(step)
        loss = plain(sample(np.random.default_rng([0, step])))["fit"].nanmean()
        optimiser.param_groups[0]["lr"] = learning_rate(step, settings)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimiser.step()
    assert all(
        torch.equal(a, b) for a, b in zip(looped.parameters(), plain.parameters(), strict=True)
    )


def test_a_device_that_is_not_here_is_refused():
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    task = Task()
    with pytest.raises(InputError, match="device=cuda: not to be used here"):
        train(task, task, sample, config(device="cuda"))


class Guided(Task):
    """As the generator's objective: frozen parts beside the parameters."""

    def __init__(self):
        super().__init__()
        self.__dict__["guidance"] = nn.Linear(2, 2)
        self.prior, self.units = [nn.Linear(2, 2)], torch.zeros(3)


def test_frozen_parts_and_batches_move_along():
    model = place(Guided(), torch.device("meta"))
    held = [model.net[0].weight, model.guidance.weight, model.prior[0].weight, model.units]
    assert {value.device.type for value in held} == {"meta"}
    batch = on_device({"a": DATA, "b": [DATA, (DATA, 3)], "name": "x"}, torch.device("meta"))
    assert (
        batch["b"][1][0].device.type == batch["a"].device.type == "meta"
        and batch["b"][1][1] == 3
        and batch["name"] == "x"
    )
