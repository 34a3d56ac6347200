"""Kernels of `cdrl run`: of this very interpreter, and where a system can fork, started at once."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

from cdrl.core.paths import working_root

CAN_FORK = sys.platform == "linux"  # on a Mac, libraries of the system do not stand a fork
END_SECONDS = 5  # for the server to end
# Figures are stored as data, not with a copy of plotly.js in each. CDRL_HEADLESS tells explorer
# and dial that no browser is there.
ENVIRONMENT = {"PLOTLY_RENDERER": "plotly_mimetype", "CDRL_HEADLESS": "1"}


class OwnKernelManager(AsyncKernelManager):
    """Starts kernels of this very interpreter: the spec python3 may be of another environment."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """`sys.executable -m cdrl.cli.kernel`."""
        command = [sys.executable, "-m", "cdrl.cli.kernel", "-f", "{connection_file}"]
        return KernelSpec(
            argv=[*command, "--log-level=CRITICAL"],
            display_name="cdrl",
            language="python",
            env=ENVIRONMENT,
        )


class KernelServer:
    """The process that forks kernels, started by the first one that is asked for.

    Attributes:
        module: what it runs, by name.
    """

    module = "cdrl.cli.kernel_server"

    def __init__(self) -> None:
        self.process: subprocess.Popen | None = None

    def _start(self) -> None:
        self.connection, other_end = socket.socketpair()
        number = other_end.fileno()
        self.process = subprocess.Popen(
            [sys.executable, "-m", self.module, str(number), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            cwd=working_root(),
            env={**os.environ, **ENVIRONMENT},
            pass_fds=[number],
            start_new_session=True,
        )
        other_end.close()

    def fork(self, arguments: list[str], environment: dict[str, str], folder: Path | str) -> int:
        """Fork a kernel.

        Args:
            arguments: of the kernel.
            environment: its variables.
            folder: in which it works.

        Returns:
            Its process id.

        Raises:
            OSError: the server does not answer.
        """
        request = {"arguments": arguments, "environment": environment, "folder": str(folder)}
        line = json.dumps(request).encode() + b"\n"
        answer = self._ask(line) if self.process else ""
        if not answer:  # the first one; or it ended, as it does where the kit's code has changed
            self.close()
            self._start()
            answer = self._ask(line)
        if not answer:
            raise ConnectionError("the server of kernels has ended")
        return int(json.loads(answer)["pid"])

    def _ask(self, line: bytes) -> str:
        """Send a request; the answer is empty where the server has ended."""
        try:
            self.connection.sendall(line)
            return self.connection.makefile().readline()
        except ConnectionError:
            return ""

    def close(self) -> None:
        """End the server; kernels that still run end with it."""
        if self.process is None:
            return
        self.connection.close()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


class ForkedKernel(psutil.Process):
    """A kernel that the server has forked, with what Jupyter calls of a process that it started."""

    stdin = stdout = stderr = None

    def poll(self) -> int | None:
        """None while it runs; its exit status is known to the server alone."""
        with suppress(psutil.Error):
            if self.is_running() and self.status() != psutil.STATUS_ZOMBIE:
                return None
        return 0

    def wait(self, timeout: float | None = None) -> int | None:
        """Return at once: it is called when the kernel has ended."""
        return self.poll()


class ForkingProvisioner(LocalProvisioner):
    """Has the server fork a kernel; starts a process of its own where that fails.

    Args:
        server: forks.
    """

    def __init__(self, server: KernelServer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.server = server

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the kernel.

        Args:
            cmd: sys.executable, -m, the module, and arguments of the kernel.
            **kwargs: as for a process that is started: `env` and `cwd` are used.
        """
        folder = kwargs.get("cwd") or Path.cwd()
        try:
            pid = self.server.fork(cmd[3:], kwargs["env"], folder)
            self.process = ForkedKernel(pid)
        except (OSError, psutil.Error):
            return await super().launch_kernel(cmd, **kwargs)
        self.pid = self.pgid = pid
        self.cwd = str(folder)
        return self.connection_info


@contextmanager
def kernel_managers() -> Iterator[type[OwnKernelManager]]:
    """Yield the class of kernel managers for papermill; its server ends with the block."""
    if not CAN_FORK:
        yield OwnKernelManager
        return
    server = KernelServer()

    class ForkingKernelManager(OwnKernelManager):
        """Starts kernels by the server."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.provisioner = ForkingProvisioner(server, kernel_spec=self.kernel_spec, parent=self)

    try:
        yield ForkingKernelManager
    finally:
        server.close()
