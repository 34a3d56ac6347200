"""The one pool: jobs that die or hang, order, parents that end, scripts without a guard."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from troublesome import Stillborn, fail, play, power, process_number

from cdrl.core.errors import InputError
from cdrl.core.pools import Lost, beside, in_order, kept_workers, run_each
from cdrl.core.worker_server import KNOWN

ROOT = Path(__file__).parents[1]
SLEEPERS = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from cdrl.core.pools import run_each
from troublesome import play
if __name__ == "__main__":
    list(run_each(play, ["a", "hang", "hang"], 2))
"""
FORKED = """
import os, sys
sys.path[:0] = [{root!r}, {tests!r}]
import torch
from cdrl.core import pools
from troublesome import draw, play
if __name__ == "__main__":
    pools.fork_workers()
    os.environ["SET_LATER"] = "1"
    print(list(pools.in_order(torch.get_num_threads, [()], 2)))
    print(list(pools.in_order(os.getenv, [("SET_LATER",)], 2)))
    first, second = pools.in_order(draw, [(0,), (1,)], 2)
    print(first != second)
    print(dict(pools.run_each(play, ["a", "die", "hang"], 2, 2.0)))
    list(pools.run_each(play, ["hang", "hang"], 2))
"""


def test_a_job_that_dies_or_hangs_is_known_by_its_number_and_the_others_finish():
    jobs = ["a", "die", "b", "hang", "c", "die", "d"]
    results = dict(run_each(play, jobs, 2, 4.0))
    finished = {number: value for number, value in results.items() if not isinstance(value, Lost)}
    assert finished == {0: "aa", 2: "bb", 4: "cc", 6: "dd"}
    assert results[1] == results[5]
    assert "exit code 7" in results[1].reason
    assert results[3].reason.startswith("took longer than 4 s and was stopped")


def test_no_job_gives_no_result():
    assert list(run_each(play, [], 2, 1.5)) == []
    assert list(in_order(power, [], 2)) == []


def test_in_order_a_job_that_dies_is_one_line_with_a_remedy():
    with pytest.raises(InputError, match="exit code 7: fewer workers .* the same command goes on"):
        list(in_order(play, [("a",), ("die",), ("b",)], 2))


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_job_raises_is_raised_here(workers):
    with pytest.raises(InputError, match="job c is wrong"):
        list(run_each(fail, ["c"], workers))


def test_workers_that_end_before_they_take_a_job_are_not_started_for_ever():
    with pytest.raises(InputError, match="worker processes do not start"):
        list(run_each(Stillborn(), ["a"], 1, 20))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_the_order_of_the_jobs(workers):
    jobs = [(base, 2) for base in range(12)]
    assert list(in_order(power, jobs, workers)) == [base**2 for base in range(12)]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_jobs_beside_a_block_have_ended_in_order_when_it_is_left(workers):
    with beside(power, [(3, 2), (2, 5)], workers) as results:
        assert results == []
    assert results == [9, 32]


def test_kept_workers_do_the_jobs_of_several_calls_and_end_with_the_block():
    jobs = [(number,) for number in range(6)]
    with kept_workers(2), beside(process_number, jobs[:1], 2) as others:
        first = set(in_order(process_number, jobs, 2))
        second = set(in_order(process_number, jobs, 2))
    workers = first | second | set(others)
    assert len(workers) <= 2
    assert not any(psutil.pid_exists(number) for number in workers)


def test_without_workers_to_keep_each_call_has_its_own():
    with kept_workers(1):
        assert list(in_order(power, [(2, 3), (3, 2)], 1)) == [8, 9]


def test_a_job_beside_a_block_that_dies_is_one_line_with_a_remedy():
    with (
        pytest.raises(InputError, match="exit code 7: fewer workers .* the same command goes on"),
        beside(play, [("die",)], 2),
    ):
        pass


def test_what_the_block_raises_ends_the_jobs_beside_it():
    start = time.monotonic()
    with pytest.raises(KeyError), beside(play, [("hang",)], 2):
        raise KeyError
    assert time.monotonic() - start < 60  # the job itself would take for ever
    assert not workers_among(psutil.Process().children(recursive=True))


def test_a_loop_that_stops_early_leaves_no_worker():
    results = in_order(power, [(base, 2) for base in range(50)], 2)
    assert next(results) == 0
    before = workers_among(psutil.Process().children(recursive=True))
    assert before
    results.close()
    _, alive = psutil.wait_procs(before, timeout=10)
    assert not alive


def workers_among(processes):
    """Those that are workers of a pool; one that has ended in the meantime is none."""
    workers = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if "spawn_main" in " ".join(process.cmdline()):
                workers.append(process)
    return workers


@pytest.mark.parametrize("signal_name", ["SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"])
def test_workers_end_with_their_parent(signal_name, tmp_path):
    import signal

    script = tmp_path / "script.py"
    script.write_text(SLEEPERS.format(root=str(ROOT), tests=str(ROOT / "tests")))

    def take_signals():
        """Under nohup and in the background of a shell a process is started without them."""
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    parent = subprocess.Popen(
        [sys.executable, script], stderr=subprocess.DEVNULL, preexec_fn=take_signals
    )
    workers: list[psutil.Process] = []
    deadline = time.monotonic() + 60
    while len(workers) < 2 and time.monotonic() < deadline:
        children = psutil.Process(parent.pid).children(recursive=True)
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        time.sleep(0.1)
    assert len(workers) == 2
    time.sleep(2.0)
    parent.send_signal(getattr(signal, signal_name))
    _, alive = psutil.wait_procs([*workers, psutil.Process(parent.pid)], timeout=5)
    parent.wait(timeout=10)
    assert not alive


@pytest.mark.skipif(not KNOWN, reason="workers are spawned there")
def test_forked_workers_work_as_spawned_ones_and_end_with_their_parent(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    script = tmp_path / "script.py"
    script.write_text(FORKED.format(root=str(ROOT), tests=str(ROOT / "tests")))
    command = [sys.executable, "-u", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        lines = [parent.stdout.readline() for _ in range(4)]
        processes = []
        deadline = time.monotonic() + 30
        # The server, two workers, the standard library's tracker of resources.
        while len(processes) < 4 and time.monotonic() < deadline:
            processes = psutil.Process(parent.pid).children(recursive=True)
            time.sleep(0.1)
        parent.kill()
        _, alive = psutil.wait_procs(processes, timeout=5)
    assert len(processes) == 4
    assert not alive
    assert not list(tmp_path.glob("cdrl-workers-*"))
    assert lines[:3] == ["[1]\n", "['1']\n", "True\n"]
    assert "'aa'" in lines[3]
    assert "exit code 7" in lines[3]
    assert "was stopped" in lines[3]


def test_a_script_without_a_guard_is_refused_in_one_line(tmp_path):
    script = tmp_path / "script.py"
    text = SLEEPERS.format(root=str(ROOT), tests=str(ROOT / "tests"))
    guarded = 'if __name__ == "__main__":\n    list('
    assert guarded in text
    script.write_text(text.replace(guarded, "list("))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    last_line = done.stderr.strip().splitlines()[-1]
    assert "__main__" in last_line
    assert "workers=0" in last_line
