"""Rules that hold in every test."""

import socket
import subprocess
import sys

import pytest

from cdrl.config import repository_root


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Connections other than to this machine (notebook kernels) fail at once."""
    connect = socket.socket.connect

    def local_only(self, address):
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"tests use no network, this one connects to {address[0]}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """A run of all seven notebooks, as `cdrl run --preset smoke` makes it; made once for all tests that read it."""
    run = tmp_path_factory.mktemp("runs") / "smoke"
    done = subprocess.run(
        [sys.executable, "-m", "cdrl.cli", "run", "--preset", "smoke", "--out", str(run)],
        cwd=repository_root(), capture_output=True, text=True, timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return run
