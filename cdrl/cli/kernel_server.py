"""One process that has imported what notebooks need, and forks a kernel for each of them.

It runs no numeric code and starts no thread of Python; the threads that libraries start at import,
those of OpenBLAS and of Arrow's allocator, are prepared for a fork by these libraries. It ends with
the process that started it.

Requests come as lines of JSON, {"arguments": [...], "environment": {...}, "folder": "..."}; the
answer to each is {"pid": N}.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

from cdrl.cli.kernel import run_kernel
from cdrl.core.ending import LOOK_SECONDS
from cdrl.core.pools import fork_workers

# What the first kernel waits for.
FIRST_MODULES = ("ipykernel.kernelapp", "ipykernel.ipkernel", "cdrl.stages", "cdrl.report.figures")
# Of others, and for most of the notebooks: imported while the first kernel works.
LATER_MODULES = (
    "nbformat",  # plotly shows figures by it
    "cdrl.report.tables",
    "cdrl.report.live",
    "lightning_fabric",
    "sklearn.cluster",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.neighbors",
    "sklearn.neural_network",
    "sklearn.pipeline",
    "torchvision",
    "open_clip",
)


def main(number: int, parent: int) -> None:
    """Answer requests until the other end is closed; in a fork, be the kernel.

    Args:
        number: of the open end of a socket pair.
        parent: process id of the one that asks; it may be gone already.
    """
    os.set_inheritable(number, False)
    _end_with_parent(parent)
    sys.path.remove(os.getcwd())  # as for any kernel: IPython adds it again

    connection = socket.socket(fileno=number)
    for name in FIRST_MODULES:
        import_module(name)
    waiting = list(LATER_MODULES)
    sources = _source_times()
    while True:
        is_asked = select.select([connection], [], [], 0 if waiting else None)[0]
        if not is_asked:
            import_module(waiting.pop(0))
            sources = {**_source_times(), **sources}
            continue
        line = connection.makefile().readline()
        if not line or sources != _source_times():
            return  # the other end is closed; or code has changed since: a new server reads it
        request = json.loads(line)
        _reap()
        pid = _fork()
        if pid == 0:
            connection.close()
            _become_kernel(request)
            return
        connection.sendall(json.dumps({"pid": pid}).encode() + b"\n")


def _end_with_parent(parent: int) -> None:
    """End when the parent does. A timer looks: a thread would be lost in a fork."""

    def look(*_: Any) -> None:
        if os.getppid() != parent:
            os._exit(1)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)


def _source_times() -> dict[str, int]:
    """{file of a module of the kit: when it was written, ns} for what is imported."""
    times = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and name.partition(".")[0] == "cdrl":
            times[file] = Path(file).stat().st_mtime_ns
    return times


def _reap() -> None:
    """Read the status of kernels that have ended."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


def _fork() -> int:
    gc.freeze()  # what is there is not looked through again, which would copy its pages
    with warnings.catch_warnings():
        # Python counts the threads of libraries too, see above.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _become_kernel(request: dict[str, Any]) -> None:
    """Make of a fork what a process of its own would be, and run the kernel."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    server = os.getppid()
    os.setsid()
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.environ["JPY_PARENT_PID"] = str(server)
    os.chdir(request["folder"])
    fork_workers()
    # Each kernel begins with random numbers of its own, as Python's `random` sees to by itself.
    sys.modules["numpy"].random.seed()
    sys.modules["torch"].default_generator.seed()
    run_kernel(request["arguments"])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
