"""Work of a stage side by side: each part in a process of its own, with one numeric thread.

The networks of the kit are small: two threads of one training are far from twice as fast as one
thread, two trainings of one thread each are.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from cdrl.core.devices import pick_device
from cdrl.core.pools import beside
from cdrl.core.user_code import INTERFACES, is_own


@contextmanager
def side_by_side(
    function: Callable[..., Any], jobs: Sequence[tuple], settings: Any
) -> Iterator[list[Any]]:
    """Do jobs in other processes while the block works in this one.

    They are done here, after the block, where other processes gain nothing (one worker, a GPU,
    several devices) or do not know the code (of the user's own).

    Args:
        function: importable by name; arguments and result must be picklable.
        jobs: tuples of arguments.
        settings: of the stage.

    Yields:
        A list, which holds the results in order when the block has been left.
    """
    workers = settings.workers if _can_divide(settings) else 1
    threads = torch.get_num_threads()
    if workers > 1:
        torch.set_num_threads(1)
    try:
        with beside(function, jobs, workers) as results:
            yield results
    finally:
        torch.set_num_threads(threads)


def _can_divide(settings: Any) -> bool:
    """Whether a stage works on the CPU, one process a training, with code of the kit alone."""
    own_code = {name.partition(".")[2] for name in INTERFACES}
    has_own_code = any(is_own(getattr(settings, name, "")) for name in own_code)
    is_alone = getattr(settings, "devices", 1) == 1
    device = pick_device(getattr(settings, "device", "cpu"))
    return is_alone and device.type == "cpu" and not has_own_code
