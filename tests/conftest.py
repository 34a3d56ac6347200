"""Rules that hold in every test."""

import os
import socket
import subprocess
import sys

WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
if WORKERS > 1:  # before anything imports torch: workers that use every core hold each other up
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // WORKERS)))

import pytest
from filelock import FileLock

from cdrl.core.paths import repository_root


def pytest_collection_modifyitems(items):
    """In several processes: the two files that take longest begin, those that read the run below come last and find it made."""
    readers, first = (
        {item.path for item in items if "smoke" in item.fixturenames},
        ("test_notebooks", "test_real_corpora"),
    )
    if WORKERS > 1:
        items.sort(
            key=lambda item: (
                first.index(item.path.stem)
                if item.path.stem in first
                else len(first) + (item.path in readers)
            )
        )


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
    """A run of all seven notebooks, as `cdrl run --preset smoke` makes it; made once for all tests, of every process, that read it."""
    place = tmp_path_factory.getbasetemp()
    run = (place.parent if WORKERS > 1 else place) / "smoke"
    made = run.with_suffix(".made")
    with FileLock(run.with_suffix(".lock")):
        if not made.exists():
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "cdrl.cli.main",
                    "run",
                    "--preset",
                    "smoke",
                    "--out",
                    str(run),
                ],
                cwd=repository_root(),
                capture_output=True,
                text=True,
                timeout=1500,
            )
            assert done.returncode == 0, done.stderr[-3000:]
            made.touch()
    return run
