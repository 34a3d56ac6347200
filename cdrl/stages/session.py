"""What a notebook asks of the machine it runs on: Google Drive where that is wanted, and a GPU where there is one."""

import importlib.util
from pathlib import Path

from cdrl.core.errors import InputError

DRIVE = "/content/drive"


def start(drive: bool = False) -> str:
    """One line about the device; with `drive`, Google Drive is mounted first.

    Does nothing else anywhere, asks nothing, and needs no widget.

    Raises:
        InputError: `drive` outside Colab.
    """
    import torch

    where = ""
    if drive:
        if (
            importlib.util.find_spec("google") is None
            or importlib.util.find_spec("google.colab") is None
        ):
            raise InputError(
                "drive=True: Google Drive can be mounted in Colab only; name a folder of this machine instead"
            )
        if not Path(DRIVE).exists():
            from google.colab import drive as colab

            colab.mount(DRIVE)
        where = f"; Drive is at {DRIVE}"
    if torch.cuda.is_available():
        return f"torch {torch.__version__} on {torch.cuda.get_device_name(0)}: priors and training use it, in half precision{where}"
    return f"torch {torch.__version__} on the CPU, in single precision: no GPU was found{where}"
