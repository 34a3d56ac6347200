"""A process of which the workers of pools are forked, itself forked where everything is imported.

A spawned worker imports what its jobs need: four seconds for torch and the kit, and half a
gigabyte. A forked one has it, in memory that it shares. multiprocessing has servers that fork, but
begins each as a new interpreter; this one takes over the modules of the process that calls.
"""

import os
import shutil
import socket
import sys
import tempfile
from multiprocessing import forkserver
from typing import Any

# From Python 3.14 on its servers ask for a key, which the process that begins them has.
KNOWN = sys.platform == "linux" and sys.version_info < (3, 14)


def start_worker_server() -> bool:
    """Fork the server; to be called before this process starts a thread or computes anything.

    It ends when this process and all workers have.

    Returns:
        Whether there is one now: `multiprocessing`'s context forkserver is to be used then.
    """
    if not KNOWN:
        return False
    folder = tempfile.mkdtemp(prefix="cdrl-workers-")  # of this user alone
    address = os.path.join(folder, "socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    alive_reading, alive_writing = os.pipe()  # held open by this process and by all workers
    pid = os.fork()
    if pid == 0:
        os.close(alive_writing)
        _serve(listener.detach(), alive_reading, folder)
    listener.close()
    os.close(alive_reading)

    server: Any = forkserver._forkserver
    server._forkserver_address = address
    server._forkserver_alive_fd = alive_writing
    server._forkserver_pid = pid
    return True


def _serve(listener: int, alive: int, folder: str) -> None:
    """Fork workers on request, remove the folder of the socket, and end."""
    # A worker that a kernel spawns writes into the notebook. This server is older than the kernel:
    # bars of its workers would stand among the lines of the run.
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    try:
        forkserver.main(listener, alive, [])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)
