"""Kernels of a run are forks of one process, and like those that are started anew."""

import os
import signal
import time

import nbformat
import psutil
import pytest
from light_server import NAME

from cdrl.cli import kernels
from cdrl.cli.kernels import ForkedKernel, KernelServer
from cdrl.cli.notebooks import run_notebooks
from cdrl.core import ending
from cdrl.core.files import read_json

pytestmark = pytest.mark.skipif(not kernels.CAN_FORK, reason="only Linux forks kernels")

SHOWN = """
import json, os, random, sys
import numpy, torch
facts = {"parent": os.getppid(), "folder": os.getcwd(), "path": sys.path, "name": __name__}
facts["environment"] = {name: os.environ[name] for name in ("PLOTLY_RENDERER", "CDRL_HEADLESS")}
facts["threads"] = torch.get_num_threads()
facts["leads"] = os.getsid(0) == os.getpid()
facts["seeds"] = [random.random(), numpy.random.rand(), torch.rand(1).item()]
torch.manual_seed(0)
pixels = torch.rand(64, 3, 32, 32)
layer = torch.nn.Conv2d(3, 16, 3)
facts["torch"] = layer(pixels).double().sum().item()
draw = numpy.random.default_rng(0)
facts["blas"] = (draw.random((700, 700)) @ draw.random((700, 700))).tobytes()[:64].hex()
json.dump(facts, open(FILE, "w"))
"""


def write(folder, name, *sources):
    path = folder / f"{name}.ipynb"
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def facts_of_two(folder):
    """What two notebooks of a run tell of their kernels."""
    folder.mkdir()
    files = [folder / f"{number}.json" for number in (0, 1)]
    plan = {}
    for number, file in enumerate(files):
        source = SHOWN.replace("FILE", repr(str(file)))
        plan[write(folder, f"0{number}_x", "a = 1", source)] = {}
    run_notebooks(plan, folder / "run", log=print)
    return [read_json(file) for file in files]


def test_forked_kernels_are_like_those_that_are_started_anew(tmp_path, monkeypatch):
    forked = facts_of_two(tmp_path / "forked")
    assert forked[0]["parent"] == forked[1]["parent"] != os.getpid()
    assert not psutil.pid_exists(forked[0]["parent"])
    monkeypatch.setattr(kernels, "CAN_FORK", False)
    fresh = facts_of_two(tmp_path / "fresh")
    assert fresh[0]["parent"] == os.getpid()
    for name in ("folder", "path", "name", "environment", "threads", "leads", "torch", "blas"):
        assert [facts[name] for facts in forked] == [facts[name] for facts in fresh], name
    drawn = [facts["seeds"] for facts in (*forked, *fresh)]
    assert len({number for seeds in drawn for number in seeds}) == 12


@pytest.fixture(scope="module")
def server():
    """One for all tests below; some end it, and then it is started again."""
    server = KernelServer()
    server.module = NAME
    yield server
    server.close()


def fork_sleeper(server, folder):
    """Fork a kernel that nobody talks to."""
    folder.mkdir(exist_ok=True)
    arguments = ["-f", str(folder / "connection.json"), "--log-level=CRITICAL"]
    return ForkedKernel(server.fork(arguments, dict(os.environ), folder))


def wait_until(is_true, seconds=5):
    end = time.monotonic() + seconds
    while not is_true() and time.monotonic() < end:
        time.sleep(0.05)
    return is_true()


def test_a_kernel_that_died_is_known_before_the_server_reads_its_status(server, tmp_path):
    kernel = fork_sleeper(server, tmp_path)
    kernel.send_signal(signal.SIGKILL)
    assert wait_until(lambda: kernel.poll() is not None)
    assert server.process.poll() is None


def test_code_of_the_kit_that_has_changed_is_read_again(server, tmp_path):
    fork_sleeper(server, tmp_path / "1")
    first = server.process.pid
    before = os.stat(ending.__file__)
    try:
        os.utime(ending.__file__, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        fork_sleeper(server, tmp_path / "2")
        assert server.process.pid != first
    finally:
        os.utime(ending.__file__, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_kernels_end_with_the_server_and_a_new_one_is_started(server, tmp_path):
    kernel = fork_sleeper(server, tmp_path)
    assert kernel.poll() is None
    first = server.process.pid
    server.process.send_signal(signal.SIGKILL)
    assert wait_until(lambda: kernel.poll() is not None)

    other = fork_sleeper(server, tmp_path / "other")
    assert server.process.pid != first
    server.close()
    assert wait_until(lambda: other.poll() is not None)


def test_a_server_that_cannot_be_had_costs_time_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(KernelServer, "_ask", lambda *_: "")
    monkeypatch.setattr(KernelServer, "_start", lambda self: None)
    notebook = write(tmp_path, "00_x", "a = 1", f"open({str(tmp_path / 'made')!r}, 'w')")
    run_notebooks({notebook: {}}, tmp_path / "run", log=print)
    assert (tmp_path / "made").exists()
