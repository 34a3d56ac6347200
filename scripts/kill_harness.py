"""Kill commands of the kit at random moments, and compare what they make with undisturbed work.

    python scripts/kill_harness.py --kills 50 --seed 0 --work runs/kills

Each subject is a command that resumes: `run` (the preset smoke, kills in every notebook), `grid`
(a small grid, two runs at once), `studio` and `ingest`. Each is done once undisturbed. Then it is
started again and again, and each time ended at a random moment: Ctrl-C, TERM, HUP, kill -9 of the
command, or kill -9 of a process that it started. Five seconds later no process may be left: all
carry a mark in their environment, so that one that lost its parent is found too. In the end the
command finishes, and its results and arrays must be those of the undisturbed one to the bit, but
for times, memory and frames a second. `--subjects` takes some of them. The same seed gives the same
plan of kills; where in the work they fall depends on the machine. The exit status is 0 where all
held.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import psutil

from cdrl.cli.planning import notebook_paths

MARK = "CDRL_KILL_HARNESS"  # in the environment of every process of a subject
WAYS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGKILL", "worker")
PATIENCE = 5.0  # seconds until no process may be left
LOOK = 0.1  # seconds between two looks
ATTEMPTS = 3  # starts for each kill; a command may be done before the moment comes
LONGEST = 3600.0  # seconds of an undisturbed command
# Parts of the names of scores that differ from run to run.
UNSTABLE = ("time.", "memory.", "fps")
UNSTABLE_KEYS = ("seconds", "peak_gb", "versions", "commit")
CDRL = (sys.executable, "-m", "cdrl.cli.main")
GRID = """
preset: smoke
notebooks: [0, 1]
settings: {corpus.train_people: 2, corpus.report_people: 2, corpus.report_sentences: 2}
grid: {corpus.seed: [0, 1]}
"""


@dataclass(frozen=True)
class Subject:
    """A command that resumes.

    Attributes:
        name: of the subject.
        command: its words; `{out}` stands for the folder that it writes.
        parts: texts that its output shows when one part is done and the next begins.
    """

    name: str
    command: tuple[str, ...]
    parts: tuple[str, ...] = ()

    def words(self, out: Path) -> list[str]:
        """The words of the command for one folder."""
        return [word.replace("{out}", str(out)) for word in self.command]


@dataclass
class Account:
    """What happened to one subject.

    Attributes:
        kills: how many times it was ended.
        slowest: seconds until the last process was gone, the worst case.
        faults: what did not hold, one line each.
        kinds: {way: number of kills}.
    """

    kills: int = 0
    slowest: float = 0.0
    faults: list[str] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)


class Process:
    """One start of a subject's command, in a session and with a mark of its own.

    Args:
        words: of the command.
        log: file of what it prints.
    """

    def __init__(self, words: Sequence[str], log: Path) -> None:
        self.token = uuid4().hex
        self.log = log
        environment = os.environ | {MARK: self.token, "PYTHONUNBUFFERED": "1"}
        with open(log, "wb") as file:
            self.process = subprocess.Popen(
                words,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                preexec_fn=_heed_signals,
            )

    def runs(self) -> bool:
        """Whether the command itself has not ended."""
        return self.process.poll() is None

    def printed(self) -> str:
        """What it printed so far."""
        return self.log.read_text(errors="replace")

    def left(self) -> list[psutil.Process]:
        """Every living process that carries the mark."""
        self.process.poll()
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            is_zombie = process.status() == psutil.STATUS_ZOMBIE
            return not is_zombie and process.environ().get(MARK) == self.token
        except psutil.Error:
            return False

    def wait_for(self, text: str, deadline: float) -> None:
        """Wait until it printed a text, ended, or the time is over."""
        while self.runs() and text not in self.printed() and time.monotonic() < deadline:
            time.sleep(LOOK)

    def end(self, way: str, chance: random.Random) -> None:
        """Send the signal of one of `WAYS`; a worker's death need not end the command."""
        if way != "worker":
            self.process.send_signal(getattr(signal, way))
            return
        others = [process for process in self.left() if process.pid != self.process.pid]
        if others:
            _kill(chance.choice(others))
            time.sleep(1.0)
        if self.runs():
            self.process.kill()


def _heed_signals() -> None:
    """Undo what nohup and shells set for work in the background: Ctrl-C and HUP ignored."""
    for name in ("SIGINT", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)


def _kill(process: psutil.Process) -> None:
    """End a process that may have ended meanwhile."""
    try:
        process.kill()
    except psutil.Error:
        return


def digest(folder: Path) -> dict[str, str]:
    """Hash the results, arrays and tables of a folder.

    Args:
        folder: that a subject wrote.

    Returns:
        {path in the folder: hash of its content without what differs from run to run}.
    """
    digests = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "results.json":
            text = json.dumps(stable_part(json.loads(path.read_text())), sort_keys=True)
            digests[name] = _hash(text.encode())
        elif path.suffix in (".npy", ".safetensors"):
            digests[name] = _hash(path.read_bytes())
        elif path.suffix == ".parquet" and path.name != "results.parquet":
            table = pd.read_parquet(path).drop(columns="media", errors="ignore")
            digests[name] = _hash(table.to_csv().encode())
    return digests


def stable_part(value: Any) -> Any:
    """Leave out of results what differs from run to run.

    Args:
        value: the content of a results.json, or a part of it.
    """
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, item in value.items():
        unstable = key in UNSTABLE_KEYS or any(part in key for part in UNSTABLE)
        if not unstable:
            kept[key] = stable_part(item)
    return kept


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def finish(subject: Subject, out: Path, log: Path) -> list[float]:
    """Do a command to its end.

    Args:
        subject: the command.
        out: its folder.
        log: file of what it prints.

    Returns:
        Seconds of each part, the start of the command in the first.

    Raises:
        RuntimeError: it failed or left a process.
    """
    started = Process(subject.words(out), log)
    deadline = time.monotonic() + LONGEST
    seconds = []
    begin = time.monotonic()
    for text in (*subject.parts, None):
        if text is None:
            started.process.wait(max(1.0, deadline - time.monotonic()))
        else:
            started.wait_for(text, deadline)
        seconds.append(time.monotonic() - begin)
        begin = time.monotonic()
    if started.process.returncode != 0:
        raise RuntimeError(f"{subject.name} failed: {started.printed()[-2000:]}")
    time.sleep(1.0)
    left = started.left()
    if left:
        raise RuntimeError(f"{subject.name} ended and left {_describe(left)}")
    return seconds


def torment(subject: Subject, kills: int, seed: int, work: Path) -> Account:
    """Kill a command at random moments of all its parts, let it finish, and compare.

    Args:
        subject: the command.
        kills: how many times.
        seed: of the moments and the ways.
        work: folder for what it makes; it must not exist.
    """
    work.mkdir(parents=True)
    reference = work / "undisturbed"
    out = work / "killed"
    lengths = finish(subject, reference, work / "undisturbed.log")
    account = Account()
    chance = random.Random(f"{subject.name} {seed}")
    for attempt in range(ATTEMPTS * kills):
        if account.kills == kills:
            break
        part = account.kills * len(lengths) // kills
        way = WAYS[chance.randrange(len(WAYS))]
        delay = chance.random() * lengths[part]
        log = work / f"kill_{attempt:02d}_{way}.log"
        was_killed = _start_and_kill(subject, out, log, part, delay, way, chance, account)
        print(f"{subject.name}: {account.kills} of {kills}, {way} in part {part}", flush=True)
        if not was_killed:  # it was done before: compare, and begin anew
            account.faults += _differences(digest(reference), digest(out))
            shutil.rmtree(out)
    try:
        finish(subject, out, work / "finished.log")
    except RuntimeError as fault:
        account.faults.append(str(fault))
    account.faults += _differences(digest(reference), digest(out))
    return account


def _start_and_kill(
    subject: Subject,
    out: Path,
    log: Path,
    part: int,
    delay: float,
    way: str,
    chance: random.Random,
    account: Account,
) -> bool:
    """Start the command, end it some time after a part began, and see what is left.

    Returns:
        Whether it was ended; else it was done before.
    """
    started = Process(subject.words(out), log)
    if part:
        started.wait_for(subject.parts[part - 1], time.monotonic() + LONGEST)
    deadline = time.monotonic() + delay
    while started.runs() and time.monotonic() < deadline:
        time.sleep(LOOK)
    if not started.runs():
        return False
    account.kills += 1
    account.kinds[way] = account.kinds.get(way, 0) + 1
    started.end(way, chance)
    begin = time.monotonic()
    while started.left() and time.monotonic() < begin + PATIENCE:
        time.sleep(LOOK)
    account.slowest = max(account.slowest, time.monotonic() - begin)
    left = started.left()
    if left:
        account.faults.append(f"{log.name}: after {PATIENCE:g} s left: {_describe(left)}")
    for process in left:
        _kill(process)
    if "Traceback" in started.printed() and way != "worker":
        account.faults.append(f"{log}: a traceback")
    return True


def _describe(processes: Sequence[psutil.Process]) -> str:
    """The command lines of processes."""
    lines = []
    for process in processes:
        try:
            lines.append(" ".join(process.cmdline())[-80:])
        except psutil.Error:
            continue
    return "; ".join(lines)


def _differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """One line for each file that is missing, additional or different."""
    lines = [f"missing: {name}" for name in expected if name not in found]
    lines += [f"additional: {name}" for name in found if name not in expected]
    for name, value in expected.items():
        if name in found and found[name] != value:
            lines.append(f"different: {name}")
    return lines


def subjects(work: Path) -> dict[str, Subject]:
    """The commands, in the order in which they are tried.

    Args:
        work: existing folder for their input.
    """
    grid = work / "grid.yaml"
    grid.write_text(GRID)
    corpus = work / "corpus"
    studio = (*CDRL, "data", "studio", "--layout", "crema-d", "--people", "2", "--size", "128")
    marks = tuple(f"[{number}/" for number in range(1, len(notebook_paths())))
    return {
        "studio": Subject("studio", (*studio, "--out", "{out}")),
        "ingest": Subject("ingest", (*CDRL, "data", "ingest", str(corpus), "--out", "{out}/store")),
        "grid": Subject(
            "grid", (*CDRL, "grid", str(grid), "--workers", "2", "--out", "{out}"), ("[1/",)
        ),
        "run": Subject("run", (*CDRL, "run", "--preset", "smoke", "--out", "{out}"), marks),
    }


def main(words: Sequence[str] | None = None) -> int:
    """Torment all subjects and print an account of each.

    Args:
        words: of the command line.

    Returns:
        1 where something did not hold, else 0.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="of all subjects together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/kills"), help="must not exist")
    parser.add_argument("--subjects", default="studio,ingest,grid,run")
    arguments = parser.parse_args(words)

    work = arguments.work.resolve()
    work.mkdir(parents=True)
    known = subjects(work)
    chosen = arguments.subjects.split(",")
    if "ingest" in chosen:
        finish(known["studio"], work / "corpus", work / "corpus.log")
    # The notebooks and the grid take most; the two small commands get a tenth each.
    shares = {"studio": 0.1, "ingest": 0.1, "grid": 0.2, "run": 0.6}
    total = sum(shares[name] for name in chosen)
    faults = 0
    for name in chosen:
        kills = round(arguments.kills * shares[name] / total)
        account = torment(known[name], kills, arguments.seed, work / name)
        faults += len(account.faults)
        print(
            f"{name}: {account.kills} kills {account.kinds}, all processes gone within "
            f"{account.slowest:.1f} s, {len(account.faults)} faults",
            flush=True,
        )
        for line in account.faults:
            print(f"  {line}", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
