"""A small training in the processes of a group, for test_group: quick to import."""

import os
import signal
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from cdrl.training.joint import is_first, joint_forward
from cdrl.training.loop import LoopConfig, train

STEPS = 12


class Regression(nn.Module):
    """A small network with dropout, and a joint loss of the whole batch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 1))

    def forward(self, batch):
        output = joint_forward(self.network, batch)[:, 0]
        return {"fit": (output - batch.sum(1)).square(), "spread": (output.std() - 1).square()}


def draw(random):
    return torch.from_numpy(random.standard_normal((7, 4), dtype="float32"))


def train_regression(out: Path, steps: int, deadly_step: int = -1):
    """Train in the group; in the second process a step can be deadly."""
    model = Regression()
    calls = []

    def sample(random):
        calls.append(1)
        if not is_first() and len(calls) == deadly_step:
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(random)

    config = LoopConfig(steps=steps, save_every=4, log_every=4, weights={"fit": 1.0, "spread": 0.1})
    history = train(model, model, sample, config, out)
    if is_first():
        save_file(model.state_dict(), out / "model.safetensors")
        history.to_parquet(out / "history.parquet")


def fail(out: Path):
    """A training whose settings are wrong."""
    model = Regression()
    config = LoopConfig(steps=2, weights={"fitt": 1.0})
    train(model, model, draw, config, out)


def end_slowly():
    """End with an exit code half a second after all files, the sentinel's too, are closed."""
    os.closerange(3, 4096)
    time.sleep(0.5)
    os._exit(3)
