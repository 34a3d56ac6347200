"""Commands that are killed leave no process, resume, and make what undisturbed ones make."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from light_server import NAME
from troublesome import write_or_die

from cdrl.core.ending import Stopped, end_descendants, stopped_by_signals
from cdrl.core.paths import repository_root
from cdrl.core.settings import StudyConfig
from cdrl.study.run import run_jobs

ROOT = repository_root()
sys.path.insert(0, str(ROOT / "scripts"))
import kill_harness  # noqa: E402

SCRIPT = ROOT / "tests" / "interrupted.py"
KERNEL = "cdrl.cli.kernel"  # where a system cannot fork


@pytest.fixture
def subject(tmp_path, monkeypatch):
    """Two cheap notebooks with workers, as a command that resumes."""
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    command = (sys.executable, str(SCRIPT), "{out}", str(tmp_path))
    return kill_harness.Subject("cheap", command, ("[1/2]",))


@pytest.mark.slow
def test_a_few_kills_at_random_moments_leave_no_process_and_the_same_results(subject, tmp_path):
    # Hang-up, the end of a worker, Ctrl-C; the test below has the other two signals.
    account = kill_harness.torment(subject, kills=3, seed=14, work=tmp_path / "work")
    assert account.faults == []
    assert account.kills == 3
    assert account.slowest < kill_harness.PATIENCE


@pytest.mark.slow
@pytest.mark.parametrize("way", ["SIGKILL", "SIGTERM"])
def test_kernels_and_their_workers_end_with_the_command(subject, tmp_path, way):
    started = kill_harness.Process(subject.words(tmp_path / "out"), tmp_path / "log")
    deadline = time.monotonic() + 120
    are_there = False
    while not are_there and time.monotonic() < deadline:
        commands = [" ".join(process.cmdline()) for process in started.left()]
        workers = [command for command in commands if "spawn_main" in command]
        kernels = [command for command in commands if NAME in command or KERNEL in command]
        # Forked ones have one command: two servers, a kernel and two workers.
        are_there = len(kernels) >= 5 or (len(workers) == 2 and bool(kernels))
        time.sleep(0.1)
    assert are_there
    started.process.send_signal(getattr(signal, way))
    gone = time.monotonic() + 5
    while started.left() and time.monotonic() < gone:
        time.sleep(0.1)
    assert started.left() == []
    assert "Traceback" not in started.printed()


@pytest.fixture
def heeded():
    """Signals that end a process do so here too where pytest was started to ignore them."""
    former = {}
    for name in ("SIGINT", "SIGHUP"):
        number = getattr(signal, name)
        former[number] = signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("name, status", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_what_was_started_and_is_known_by_its_number(name, status, heeded):
    with pytest.raises(Stopped) as stopped, stopped_by_signals():
        child = psutil.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        os.kill(os.getpid(), getattr(signal, name))
        time.sleep(5)
    assert stopped.value.status == status
    assert child.wait(timeout=5) == -signal.SIGKILL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_error_that_a_signal_became_is_still_the_signal():
    with pytest.raises(Stopped), stopped_by_signals():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except BaseException:
            raise SystemError("returned a result with an exception set") from None


BUSY = """
import hashlib
from cdrl.core.ending import stopped_by_signals
with stopped_by_signals():
    print("begun", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""


def test_compiled_code_that_does_not_look_at_signals_is_cut_off():
    busy = psutil.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True)
    assert busy.stdout.readline() == "begun\n"
    time.sleep(1.0)  # until it is in the compiled code
    busy.terminate()
    assert busy.wait(timeout=10) == 143


def test_a_hang_up_that_is_ignored_stays_ignored():
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, former)


def test_processes_of_processes_are_ended_too():
    code = (
        "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {inner!r}]); {inner}"
    )
    inner = "import time; time.sleep(60)"
    child = psutil.Popen([sys.executable, "-c", code.format(inner=inner)])
    deadline = time.monotonic() + 20
    while not child.children() and time.monotonic() < deadline:
        time.sleep(0.05)
    below = [child, *child.children()]
    assert len(below) == 2
    end_descendants()
    _, alive = psutil.wait_procs(below, timeout=5)
    assert not alive


def test_a_job_of_a_study_whose_process_is_killed_costs_itself_alone(tmp_path):
    jobs = [(write_or_die, name) for name in ("a", "die", "b", "c")]
    lost = run_jobs(jobs, tmp_path, StudyConfig(workers=2))
    assert len(lost) == 1
    assert lost[0].startswith("die killed its process, SIGKILL")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_kills_are_shared_out_among_parts_that_are_not_done_yet():
    account = kill_harness.Account(lengths=[9.0, 0.1, 9.0], fallen=[2, 0, 1], starts=[2, 0, 1])
    assert account.wanted_part(kills=6, reached=0) == 1
    assert account.wanted_part(kills=6, reached=2) == 2
    account.starts[1] = 6  # too quick to be hit: its kills fell in the part behind it
    assert account.wanted_part(kills=6, reached=0) == 2
    account.fallen[2] = 2
    assert account.wanted_part(kills=6, reached=0) is None


def test_a_stopped_harness_prints_its_account_and_goes_on_from_it(monkeypatch, tmp_path, capsys):
    sleeping = (sys.executable, "-c", "import time; time.sleep(60)")
    subject = kill_harness.Subject("studio", sleeping)
    monkeypatch.setattr(kill_harness, "subjects", lambda work: {"studio": subject})
    former = kill_harness.Account(kills=2, fallen=[2], starts=[2], lengths=[50.0], slowest=1.25)
    (tmp_path / "studio").mkdir()
    text = json.dumps(dataclasses.asdict(former))
    (tmp_path / "studio" / "account.json").write_text(text)

    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
    status = kill_harness.main(["--only", "studio", "--work", str(tmp_path)])
    assert status == 128 + signal.SIGTERM
    printed = capsys.readouterr().out
    assert "studio: 2 kills" in printed
    assert "within 1.2 s, 0 faults, not yet compared" in printed
    logs = [path.name for path in (tmp_path / "studio").glob("kill_*")]
    assert len(logs) == 1 and logs[0].startswith("kill_02_")


def test_the_harness_leaves_out_only_what_differs_from_run_to_run(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps({"scores": {"a": 1, "time.x": 2}}))
    (tmp_path / "a.npy").write_bytes(b"1")
    before = kill_harness.digest(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps({"scores": {"a": 1, "time.x": 3}}))
    assert kill_harness.digest(tmp_path) == before
    (tmp_path / "a.npy").write_bytes(b"2")
    assert kill_harness.digest(tmp_path).keys() == before.keys()
    assert kill_harness.digest(tmp_path) != before
    (tmp_path / "results.json").write_text(json.dumps({"scores": {"a": 2, "time.x": 3}}))
    assert kill_harness.digest(tmp_path)["results.json"] != before["results.json"]
