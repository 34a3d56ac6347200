"""Curves of a training in TensorBoard's files, and trackers that are off or not installed."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from cdrl.core.errors import InputError
from cdrl.training import experiment_trackers
from cdrl.training.loop import LoopConfig, train

pytest.importorskip("tensorboard")

OFF = """
import sys
from pathlib import Path
from cdrl.training.experiment_trackers import Tracker
Tracker("none", Path("."), "x").log({"step": 1, "total": 0.5})
Tracker("auto", None, "x").log({"step": 1, "total": 0.5})
print(sorted({"tensorboard", "torch", "lightning_fabric"} & set(sys.modules)))
"""


def train_line(folder, steps, tracker):
    """Fit a line to y = 3 x; the history."""
    torch.manual_seed(0)
    model = nn.Linear(1, 1)
    config = LoopConfig(
        steps=steps,
        learning_rate=0.1,
        log_every=5,
        save_every=5,
        weights={"fit": 1.0},
        tracker=tracker,
    )

    def objective(x):
        return {"fit": (model(x) - 3 * x).square()}

    def sample(random):
        return torch.from_numpy(random.standard_normal((8, 1)).astype("float32"))

    return train(model, objective, sample, config, folder / "training", "a line")


def read_events(folder):
    """{name: [(step, value), ...]} of TensorBoard's files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    curves = {}
    for name in events.Tags()["scalars"]:
        curves[name] = [(event.step, event.value) for event in events.Scalars(name)]
    return curves


@pytest.mark.parametrize("tracker", ["tensorboard", "auto"])
def test_tensorboard_has_the_rows_of_the_history(tmp_path, tracker):
    history = train_line(tmp_path, 20, tracker)
    curves = read_events(tmp_path / experiment_trackers.FOLDER / "a_line")
    assert sorted(curves) == ["fit", "total"]
    for name, curve in curves.items():
        assert [step for step, _ in curve] == history.step.tolist() == [5, 10, 15, 20]
        values = [value for _, value in curve]
        assert values == pytest.approx(history[name].tolist(), rel=1e-6)


def test_what_is_off_writes_and_imports_nothing(tmp_path):
    train_line(tmp_path, 5, "none")
    assert not (tmp_path / experiment_trackers.FOLDER).exists()
    done = subprocess.run([sys.executable, "-c", OFF], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_tracker_changes_no_result(tmp_path):
    with_one = train_line(tmp_path / "with", 20, "tensorboard")
    without = train_line(tmp_path / "without", 20, "none")
    assert with_one.equals(without)


def test_a_tracker_that_is_not_installed_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(experiment_trackers.PACKAGES, "wandb", ("pytorch_lightning", "not_there"))
    monkeypatch.setattr(
        experiment_trackers.importlib.util,
        "find_spec",
        lambda name: None if name == "not_there" else name,
    )
    with pytest.raises(InputError, match="tracker=wandb needs not-there: pip install not-there"):
        experiment_trackers.Tracker("wandb", tmp_path, "x")


def test_auto_is_none_where_tensorboard_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment_trackers.importlib.util, "find_spec", lambda name: None)
    assert experiment_trackers.Tracker("auto", tmp_path, "x").logger is None
