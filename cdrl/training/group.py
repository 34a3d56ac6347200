"""Several processes that train as one: how they start, and how they end together."""

import mmap
import multiprocessing
import os
import signal
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch

from cdrl.core.ending import end_with_parent
from cdrl.core.errors import InputError
from cdrl.training.joint import group_size

LOOPBACK = "127.0.0.1"
FAREWELL_SECONDS = 1.0  # in which processes may say why they end


def _pickle_map(array: np.memmap) -> tuple:
    """Send a whole memory map as its file's name; a part of one as its values."""
    is_whole = isinstance(array.base, mmap.mmap) and array.flags.c_contiguous
    if is_whole and array.filename is not None and array.mode == "r":
        return _open_map, (str(array.filename), array.dtype, array.offset, array.shape)
    return np.array, (np.asarray(array),)


def _open_map(path: str, dtype: np.dtype, offset: int, shape: tuple[int, ...]) -> np.memmap:
    return np.memmap(path, dtype, "r", offset, shape)


ForkingPickler.register(np.memmap, _pickle_map)


def starts_group(devices: int) -> bool:
    """Whether a training on so many devices has to start its processes first.

    Args:
        devices: of the settings.
    """
    return devices > 1 and group_size() == 1


def run_in_group(
    function: Callable[..., Any], arguments: tuple, size: int, device: str, title: str
) -> None:
    """Call a function in several processes whose `Engine` joins them.

    The first one writes files. One that dies ends all. On the CPU the processes share the cores.

    Args:
        function: importable by name; it trains, and leaves its result in files.
        arguments: can be pickled.
        size: processes.
        device: of the settings; each process takes a GPU of its own, or all the CPU.
        title: of the message.

    Raises:
        InputError: fewer GPUs than processes, or a process that died: what is trained so far stays
            in the checkpoint.
    """
    _check_devices(size, device)
    context = multiprocessing.get_context("spawn")
    port = _free_port()
    processes = []
    connections = []
    for rank in range(size):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(
            target=_member, args=(function, arguments, rank, size, port, os.getpid(), sender)
        )
        process.start()
        sender.close()
        processes.append(process)
        connections.append(receiver)
    try:
        _wait_for(processes, connections, title)
    finally:
        for process in processes:
            process.kill()
            process.join()


def _check_devices(size: int, device: str) -> None:
    """Refuse more processes than there are GPUs."""
    uses_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    available = torch.cuda.device_count()
    if uses_gpu and size > available:
        raise InputError(
            f"devices={size}: this machine has {available} GPUs; "
            "give fewer, or device=cpu for processes of the CPU"
        )


def _free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return listener.getsockname()[1]


def _wait_for(processes: list, connections: list[Connection], title: str) -> None:
    """Return when all processes have ended well; raise where one has not."""
    running = {process.sentinel: process for process in processes}
    while running:
        for sentinel in wait(list(running)):
            # A process closes its sentinel a moment before it has an exit code.
            running.pop(sentinel).join()
        if any(process.exitcode for process in processes):
            # The others notice the loss of one and end with errors of their own.
            wait(list(running), timeout=FAREWELL_SECONDS)
            _refuse_failure(processes, connections, title)


def _refuse_failure(processes: list, connections: list[Connection], title: str) -> None:
    """Raise what ended a group: the error of the user, the end of one process, or a fault.

    When one process ends, the others fail too, in the next exchange; their errors say nothing.
    """
    faults = []
    for connection in connections:
        refusal, fault = _last_words(connection)
        if refusal:
            raise InputError(refusal)
        if fault:
            faults.append(fault)

    killed = [process for process in processes if (process.exitcode or 0) < 0]
    if faults and not killed:
        raise RuntimeError(f"{title}: a process of the group failed\n{faults[0]}")
    first = (killed or [process for process in processes if process.exitcode])[0]
    code = first.exitcode
    reason = f"exit code {code}" if code > 0 else signal.Signals(-code).name
    number = processes.index(first) + 1
    raise InputError(
        f"{title}: process {number} of {len(processes)} ended ({reason}), so the others were ended "
        "too; the checkpoint is kept, and the same command goes on from it"
    )


def _last_words(connection: Connection) -> tuple[str, str]:
    """The line for the user that a process sent, or its fault; empty texts where it sent none."""
    try:
        return connection.recv() if connection.poll() else ("", "")
    except EOFError:
        return "", ""


def _member(
    function: Callable[..., Any],
    arguments: tuple,
    rank: int,
    size: int,
    port: int,
    parent: int,
    sender: Connection,
) -> None:
    """One process of a group."""
    end_with_parent(parent)
    os.environ["LOCAL_RANK"] = str(rank)
    os.environ["NODE_RANK"] = "0"
    os.environ["WORLD_SIZE"] = str(size)
    os.environ["MASTER_ADDR"] = LOOPBACK
    os.environ["MASTER_PORT"] = str(port)
    cores = os.cpu_count() or 1
    torch.set_num_threads(max(1, cores // size))
    try:
        function(*arguments)
    except InputError as error:
        sender.send((str(error), ""))
        raise SystemExit(1) from None
    except Exception:
        sender.send(("", traceback.format_exc()))
        raise SystemExit(1) from None
