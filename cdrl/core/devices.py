"""Where computing happens: the CPU, or a GPU where there is one."""

import torch

from cdrl.core.errors import InputError


def pick_device(name: str = "auto") -> torch.device:
    """Return a device that works here.

    Args:
        name: `auto` is a GPU where there is one, else the CPU; any other name is torch's.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:80]
        raise InputError(
            f"device={name}: not usable here ({reason}); accepted are auto, cpu, cuda, cuda:0, ..."
        ) from None
    return device
