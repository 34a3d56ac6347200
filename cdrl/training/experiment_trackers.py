"""Where the curves of a training also go: TensorBoard, MLflow or Weights & Biases.

The loggers are those of the training engine's makers. What is logged are the rows of the history.
"""

import importlib.util
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from cdrl.core.errors import InputError

NONE = "none"
AUTO = "auto"
TENSORBOARD = "tensorboard"
MLFLOW = "mlflow"
WANDB = "wandb"
PROJECT = "cdrl"
# Packages that each tracker needs, as they are imported.
PACKAGES = {
    TENSORBOARD: ("tensorboard",),
    MLFLOW: ("pytorch_lightning", "mlflow"),
    WANDB: ("pytorch_lightning", "wandb"),
}
FOLDER = "tracker"  # beside the folder of the checkpoint


class Tracker:
    """Logs rows of numbers; one that is off does nothing and imports nothing.

    Args:
        name: none, tensorboard, mlflow, wandb; auto is tensorboard where it is installed.
        folder: where files of a tracker on this machine go; None switches it off.
        title: of the training.

    Raises:
        InputError: a tracker whose packages are not installed.
    """

    def __init__(self, name: str, folder: Path | None, title: str) -> None:
        self.logger: Any = None
        if folder is None or name == NONE:
            return
        if name == AUTO:
            if _missing(TENSORBOARD):
                return
            name = TENSORBOARD
        missing = _missing(name)
        if missing:
            packages = " ".join(missing).replace("_", "-")
            raise InputError(f"tracker={name} needs {packages}: pip install {packages}")
        self.logger = _logger(name, Path(folder), title or "train")

    def log(self, row: Mapping[str, float]) -> None:
        """Log a row of the history.

        Args:
            row: "step" and the terms by their names.
        """
        if self.logger is None:
            return
        terms = {name: value for name, value in row.items() if name != "step"}
        self.logger.log_metrics(terms, step=int(row["step"]))
        self.logger.save()

    def close(self) -> None:
        """Finish what is written."""
        if self.logger is not None:
            self.logger.finalize("success")


def _missing(name: str) -> list[str]:
    """The packages of a tracker that are not installed."""
    return [package for package in PACKAGES[name] if importlib.util.find_spec(package) is None]


def _logger(name: str, folder: Path, title: str) -> Any:
    """The engine's own logger; its packages are imported here, since most runs need none."""
    run = title.replace(" ", "_")
    folder.mkdir(parents=True, exist_ok=True)
    if name == TENSORBOARD:
        from lightning_fabric.loggers import TensorBoardLogger

        return TensorBoardLogger(root_dir=folder, name=run, version="")

    from pytorch_lightning import loggers

    server = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{folder.resolve()}/mlflow.db")
    make = {
        MLFLOW: partial(loggers.MLFlowLogger, PROJECT, run, tracking_uri=server),
        WANDB: partial(loggers.WandbLogger, project=PROJECT, name=run, save_dir=folder),
    }
    return make[name]()
