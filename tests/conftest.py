"""Rules that hold in every test."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from cdrl.core.paths import repository_root

WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
if WORKERS > 1:  # before anything imports torch: workers that use every core slow each other down
    num_threads = max(1, (os.cpu_count() or 1) // WORKERS)
    os.environ.setdefault("OMP_NUM_THREADS", str(num_threads))

NOTEBOOKS = ("test_notebooks", "test_real_corpora")  # files that run all notebooks
# Files that take longest, in the order in which several processes begin them. On a fresh clone the
# run below compiles the renderer; the two after it need nothing of that, so it is not done twice.
# Those that read the run come when the first has made it.
LONGEST = (
    "test_notebooks",
    "test_group",
    "test_released",
    "test_real_corpora",
    "test_study_edits",
    "test_cluster",
    "test_study",
    "test_stopping",
    "test_grid",
    "test_edit_command",
    "test_dial",
    "test_ingest",
    "test_notebook_runner",
    "test_kernels",
    "test_action_renderer",
    "test_packaging",
    "test_encoders",
    "test_fitting",
    "test_projection",
    "test_doctor",
    "test_fuzz",
    "test_media_clock",
    "test_action_editor",
    "test_corpus",
    "test_renderer_fit",
    "test_pools",
    "test_edit",
    "test_control",
    "test_bundles",
    "test_course",
    "test_generator",
    "test_edit_variants",
)
SMOKE_RUN = ("run", "--preset", "smoke", "--set", "visible_steps=2")  # of the fixture `smoke`
LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")


def pytest_collection_modifyitems(items):
    """Mark what needs a whole run or a browser, or takes long; the longest files begin."""
    slow = set((Path(__file__).parent / "slow_tests.txt").read_text().split())
    for item in items:
        if "smoke" in item.fixturenames or item.path.stem in NOTEBOOKS:
            item.add_marker("notebook")
        if item.path.stem == "test_jupyterlab":
            item.add_marker("browser")
        if {item.path.stem, f"{item.path.stem}::{item.originalname}"} & slow:
            item.add_marker("slow")
    if WORKERS == 1:
        return
    order = {name: position for position, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONGEST)))


def pytest_terminal_summary(terminalreporter, config):
    """Say what the table of coverage counts, which comes next."""
    if config.pluginmanager.has_plugin("_cov"):
        terminalreporter.write_line("coverage: of the quick tests, without processes they start")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Connections other than to this machine (notebook kernels) fail at once."""
    connect = socket.socket.connect

    def connect_locally(self, address):
        if isinstance(address, tuple) and address[0] not in LOCAL_HOSTS:
            raise AssertionError(f"tests use no network, this one connects to {address[0]}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_locally)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """A run of all seven notebooks with the preset smoke, made once for all processes."""
    folder = tmp_path_factory.getbasetemp()
    if WORKERS > 1:
        folder = folder.parent
    run = folder / "smoke"
    finished = run.with_suffix(".made")
    command = [sys.executable, "-m", "cdrl.cli.main", *SMOKE_RUN, "--out", str(run)]
    with FileLock(run.with_suffix(".lock")):
        if not finished.exists():
            done = subprocess.run(
                command, cwd=repository_root(), capture_output=True, text=True, timeout=1500
            )
            assert done.returncode == 0, done.stderr[-3000:]
            finished.touch()
    return run
