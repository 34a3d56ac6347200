"""Several processes that train as one: joint batches, resume, and how they end."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
import torch
from joint_training import OBJECTIVES, compare, compare_and_train, terms_and_gradients
from regression_training import STEPS, Regression, draw, end_slowly, fail, train_regression
from safetensors.torch import load_file

from cdrl.core.errors import InputError
from cdrl.training.engine import Engine
from cdrl.training.group import run_in_group, starts_group
from cdrl.training.joint import joint_forward
from cdrl.training.loop import LoopConfig, train


class MadeByTwo(NamedTuple):
    """Folders: terms and gradients of every objective, and a training of the regression."""

    found: Path
    whole: Path


@pytest.fixture(scope="module")
def made_by_two(tmp_path_factory):
    """What two processes compute and train over gloo."""
    made = MadeByTwo(tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("whole"))
    run_in_group(compare_and_train, tuple(made), 2, "cpu", "comparison")
    return made


def assert_equal_to(expected, found):
    """Terms to 1e-6; all gradients together to 5e-6 of their length, what float32 leaves of them.

    Measured: 1e-7 to 3e-7, and 2e-6 behind three passes of the image editor in a row.
    """
    assert expected.keys() == found.keys()
    gradient = []
    difference = []
    for name, value in expected.items():
        if name.startswith("term"):
            torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6, msg=name)
        else:
            gradient.append(value.flatten().double())
            difference.append((found[name] - value).flatten().double())
    length = torch.cat(gradient).norm()
    assert length > 0
    assert torch.cat(difference).norm() < 5e-6 * length


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_processes_have_terms_and_gradients_of_one_with_the_joint_batch(made_by_two, name):
    expected = terms_and_gradients(name)
    assert_equal_to(expected, load_file(made_by_two.found / f"{name}.safetensors"))


@pytest.mark.parametrize("name", ["ccrl", "cerl", "image_editor"])
def test_micro_batches_have_terms_and_gradients_of_the_whole_batch(name):
    assert_equal_to(terms_and_gradients(name), terms_and_gradients(name, micro_batches=4))


def test_a_group_whose_process_dies_says_so_and_resumes_bit_for_bit(made_by_two, tmp_path):
    whole = made_by_two.whole
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    with pytest.raises(InputError, match=r"regression: process 2 of 2 ended \(SIGKILL\)") as error:
        run_in_group(train_regression, (stopped, STEPS, 7), 2, "cpu", "regression")
    assert "same command goes on" in str(error.value)
    assert (stopped / "checkpoint.pt").exists()
    run_in_group(train_regression, (stopped, STEPS), 2, "cpu", "regression")

    expected = load_file(whole / "model.safetensors")
    for name, value in load_file(stopped / "model.safetensors").items():
        assert torch.equal(value, expected[name])
    history = pd.read_parquet(whole / "history.parquet")
    assert history["step"].tolist() == [4, 8, 12]
    pd.testing.assert_frame_equal(pd.read_parquet(stopped / "history.parquet"), history)


def test_an_error_of_a_process_is_the_error_of_the_group(tmp_path):
    with pytest.raises(InputError, match="loss weights .* name no term"):
        run_in_group(fail, (tmp_path,), 2, "cpu", "regression")


def test_a_process_that_takes_its_time_to_end_is_not_taken_for_a_success():
    with pytest.raises(InputError, match=r"process 1 of 1 ended \(exit code 3\)"):
        run_in_group(end_slowly, (), 1, "cpu", "regression")


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(InputError, match="devices=2: this machine has 1 GPUs.*device=cpu"):
        run_in_group(compare, (), 2, "cuda", "comparison")


def test_a_process_of_a_group_starts_no_group(monkeypatch):
    assert starts_group(2)
    assert not starts_group(1)
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not starts_group(2)


def test_outside_of_a_training_a_joint_batch_is_any_batch():
    inputs = torch.arange(3.0)
    assert joint_forward(torch.neg, inputs).tolist() == [0, -1, -2]
    engine = Engine(micro_batches=2)
    with engine.active():
        outputs = joint_forward(lambda x: {"a": (x, x + 1)}, inputs)
    assert torch.equal(outputs["a"][1], inputs + 1)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_training_in_16_bits_reaches_that_in_32(precision):
    losses = {}
    for name in ("fp32", precision):
        model = Regression()
        config = LoopConfig(
            steps=60, learning_rate=3e-2, weights={"fit": 1.0}, precision=name, log_every=60
        )
        history = train(model, model, draw, config)
        losses[name] = history["fit"].iloc[-1]
    assert losses[precision] == pytest.approx(losses["fp32"], rel=0.05)


def test_fp16_steps_with_gradients_that_are_not_finite_are_skipped_until_they_are_too_many():
    class Overflowing(Regression):
        def forward(self, batch):
            output = self.network(batch)[:, 0].float()
            return {"fit": output.square() * float("inf")}

    model = Overflowing()
    before = [parameter.clone() for parameter in model.parameters()]
    few = LoopConfig(steps=20, weights={"fit": 1.0}, precision="fp16")
    train(model, model, draw, few)
    for parameter, value in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, value)

    many = LoopConfig(steps=60, weights={"fit": 1.0}, precision="fp16")
    with pytest.raises(InputError, match="50 steps in a row.*precision=fp32"):
        train(model, model, draw, many)
