"""The training loop: exact resume, weights, refusals, frozen parts, and the engine under it."""

import numpy as np
import pytest
import torch
from torch import nn

from cdrl.core.checkpoint import freeze
from cdrl.core.errors import InputError
from cdrl.training.engine import Engine
from cdrl.training.loop import LoopConfig, learning_rate, to_device, train

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
    rows = random.integers(0, 64, 8)
    return DATA[torch.from_numpy(rows)]


def config(**changes):
    settings = {"steps": 20, "warmup": 3, "save_every": 7, "log_every": 4, "weights": {"fit": 1.0}}
    return LoopConfig(**(settings | changes))


def assert_same_parameters(one, two):
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


def stop_at(call):
    """A sampler that is interrupted when it is called for the given time."""
    calls = []

    def interrupted(random):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return sample(random)

    return interrupted


def test_a_stopped_run_ends_bit_for_bit_like_one_that_was_not(tmp_path):
    whole = Task()
    history = train(whole, whole, sample, config())

    stopped = Task()
    with pytest.raises(KeyboardInterrupt):
        train(stopped, stopped, stop_at(18), config(), tmp_path)
    resumed = Task()
    resumed_history = train(resumed, resumed, sample, config(), tmp_path)

    assert_same_parameters(whole, resumed)
    assert history.equals(resumed_history)


def test_a_term_of_weight_zero_is_measured_and_does_not_train():
    with_zero = Task()
    history = train(with_zero, with_zero, sample, config(weights={"fit": 1.0, "size": 0.0}))
    without = Task()
    train(without, without, sample, config())
    assert "size" in history
    assert_same_parameters(with_zero, without)


def test_a_weight_that_names_no_term_is_refused():
    task = Task()
    with pytest.raises(InputError, match=r"\['fitt'\] name no term: .* fit, size"):
        train(task, task, sample, config(weights={"fitt": 1.0}))


def test_a_loss_that_is_not_finite_is_refused():
    task = Task()

    def objective(batch):
        return {"fit": task(batch)["fit"] * float("nan")}

    with pytest.raises(InputError, match="the loss is nan at step 0; lower learning_rate"):
        train(task, objective, sample, config())


def test_the_learning_rate_warms_up_and_ends_near_zero():
    settings = LoopConfig(steps=100, warmup=10, learning_rate=1.0)
    assert learning_rate(0, settings) == pytest.approx(0.1)
    assert learning_rate(99, settings) < 0.001


def test_on_the_cpu_the_loop_is_the_plain_one_bit_for_bit():
    """Without a GPU, half precision, its scaler and moves to a device change no bit."""
    settings = config()
    looped = Task()
    train(looped, looped, sample, settings)

    plain = Task()
    plain.train()
    optimiser = torch.optim.AdamW(
        plain.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    for step in range(settings.steps):
        torch.manual_seed(step)
        batch = sample(np.random.default_rng([0, step]))
        loss = plain(batch)["fit"].nanmean()
        optimiser.param_groups[0]["lr"] = learning_rate(step, settings)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimiser.step()
    assert_same_parameters(looped, plain)


def test_a_device_that_is_not_here_is_refused():
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    task = Task()
    with pytest.raises(InputError, match="device=cuda: not .* accepted are auto, cpu, cuda"):
        train(task, task, sample, config(device="cuda"))


class Guided(Task):
    """As the objectives that are trained with a frozen network: it is a part of the module."""

    def __init__(self, bias=0.0):
        super().__init__()
        self.guidance = freeze(nn.Sequential(nn.Linear(4, 1), nn.Dropout(0.5)))
        nn.init.constant_(self.guidance[0].bias, bias)
        self.register_buffer("units", torch.zeros(3), persistent=False)

    def forward(self, batch):
        terms = super().forward(batch)
        terms["guidance"] = self.guidance(batch)[:, 0].square()
        return terms


def test_a_checkpoint_leaves_frozen_parts_out(tmp_path):
    model = Guided()
    train(model, model, sample, config(), tmp_path)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert list(saved["model"]) == ["net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias"]

    resumed = Guided(bias=2.0)
    history = train(resumed, resumed, sample, config(steps=25), tmp_path)
    assert len(history) == 7
    assert float(resumed.guidance[0].bias) == 2.0


def test_a_frozen_part_stays_as_it_is_and_in_eval_mode(tmp_path):
    model = Guided()
    before = {name: value.clone() for name, value in model.guidance.state_dict().items()}
    in_training = []

    def objective(batch):
        in_training.append((model.net.training, model.guidance[1].training))
        return model(batch)

    train(model, objective, sample, config(weights={"fit": 1.0, "guidance": 1.0}), tmp_path)
    assert set(in_training) == {(True, False)}
    for name, value in model.guidance.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    task = Task()
    train(task, task, sample, config(), tmp_path)
    other = Task()
    other.net = nn.Sequential(nn.Linear(4, 9), nn.Dropout(0.3), nn.Linear(9, 1))
    with pytest.raises(InputError, match="checkpoint of another model: .* 'net.0.bias'"):
        train(other, other, sample, config(), tmp_path)


def test_frozen_parts_and_batches_move_along():
    engine = Engine()
    engine.device = torch.device("meta")
    model = Guided()
    engine.setup(model, torch.optim.AdamW(model.parameters()))
    tensors = [model.net[0].weight, model.guidance[0].weight, model.units]
    assert {value.device.type for value in tensors} == {"meta"}

    batch = to_device({"a": DATA, "b": [DATA, (DATA, 3)], "name": "x"}, engine.device)
    nested, number = batch["b"][1]
    assert batch["a"].device.type == "meta"
    assert nested.device.type == "meta"
    assert number == 3
    assert batch["name"] == "x"


def test_the_engine_clips_the_norm_of_all_gradients_together():
    engine = Engine()
    parameters = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))]
    optimiser = torch.optim.SGD(parameters, lr=1.0)
    engine.backward(3 * parameters[0].sum() + 4 * parameters[1].sum())
    assert engine.step(optimiser, parameters, 1.0) is True
    assert parameters[0].item() == pytest.approx(-0.6, abs=1e-5)
    assert parameters[1].item() == pytest.approx(-0.8, abs=1e-5)


def test_the_engine_of_one_process_keeps_its_gradients():
    engine = Engine()
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.ones(2)
    engine.average_gradients([parameter])
    assert parameter.grad.tolist() == [1, 1]
    assert engine.state_dict() == {}


def test_the_engine_says_where_a_step_was_skipped():
    engine = Engine(precision="fp16")
    parameter = nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=1.0)
    engine.backward(parameter.sum() * float("inf"))
    assert engine.step(optimiser, [parameter], 1.0) is False
    assert parameter.item() == 0

    parameter.grad = None
    engine.backward(parameter.sum())
    assert engine.step(optimiser, [parameter], 1.0) is True
    assert parameter.item() == pytest.approx(-1, abs=1e-5)
