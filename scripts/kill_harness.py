"""Kill commands of the kit at random moments, and compare what they make with undisturbed work.

    python scripts/kill_harness.py --kills 50 --seed 0 --work runs/kills

Each subject is a command that resumes: `run` (the preset smoke, kills in every notebook), `grid`
(a small grid, two runs at once), `studio` and `ingest`. Each is done once undisturbed. Then it is
started again and again, and each time ended at a random moment: Ctrl-C, TERM, HUP, kill -9 of the
command, or kill -9 of a process that it started. Five seconds later no process may be left: all
carry a mark in their environment, so that one that lost its parent is found too. In the end the
command finishes, and its results and arrays must be those of the undisturbed one to the bit, but
for times, memory and frames a second. `--only` takes some of the subjects. The same seed gives the
same plan of kills; where in the work they fall depends on the machine. The exit status is 0 where
all held.

The kills of a subject are shared out evenly among its parts, and counted where they fell. The
account stands in `WORK/SUBJECT/account.json` after each kill: the same command goes on from there,
and prints what there is also where Ctrl-C or TERM ends it.
"""

import argparse
import dataclasses
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
from cdrl.core.ending import Stopped, stopped_by_signals
from cdrl.core.files import write_json

MARK = "CDRL_KILL_HARNESS"  # in the environment of every process of a subject
WAYS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGKILL", "worker")
PATIENCE = 5.0  # seconds until no process may be left
LOOK = 0.1  # seconds between two looks
ATTEMPTS = 3  # starts for each kill of a part; it may be done before the moment comes
LATE = 3.0  # seconds at most from the end of a part that was done too soon to its kill
LONGEST = 3600.0  # seconds of an undisturbed command
# Parts of the names of scores that differ from run to run.
UNSTABLE = ("time.", "memory.", "fps", ".seconds")
UNSTABLE_KEYS = ("seconds", "peak_gb", "versions", "commit", "cluster")
CDRL = (sys.executable, "-m", "cdrl.cli.main")
# The notebooks and the grid take most; the two small commands get a tenth each.
SHARES = {"studio": 0.1, "ingest": 0.1, "grid": 0.2, "run": 0.6}
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
        lengths: seconds of each part of the undisturbed command.
        fallen: number of kills in each part.
        starts: of the command for each part.
        is_done: whether it finished behind the last kill and was compared.
    """

    kills: int = 0
    slowest: float = 0.0
    faults: list[str] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)
    lengths: list[float] = field(default_factory=list)
    fallen: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    is_done: bool = False

    def describe(self, name: str) -> str:
        """The account in a line, and one for each fault.

        Args:
            name: of the subject.
        """
        state = "" if self.is_done else ", not yet compared at its end"
        line = (
            f"{name}: {self.kills} kills {self.kinds}, by part {self.fallen}, all processes gone "
            f"within {self.slowest:.1f} s, {len(self.faults)} faults{state}"
        )
        return "\n  ".join([line, *self.faults])

    def wanted_part(self, kills: int, reached: int) -> int | None:
        """The first part, of those not done yet, that has fewer kills than its share.

        Args:
            kills: of all parts together.
            reached: the part in which the command stands.

        Returns:
            None where none is left.
        """
        parts = len(self.lengths)
        for part in range(reached, parts):
            share = kills * (part + 1) // parts - kills * part // parts
            if self.fallen[part] < share and self.starts[part] < ATTEMPTS * share:
                return part
        return None


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

    def part(self, subject: Subject) -> int:
        """The number of the part in which it is, by what it printed."""
        printed = self.printed()
        shown = [text in printed for text in subject.parts]
        return sum(shown)

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
        work: folder for what it makes. An account that lies there is gone on with.
    """
    work.mkdir(parents=True, exist_ok=True)
    reference = work / "undisturbed"
    out = work / "killed"
    file = work / "account.json"
    account = read_account(file)
    if account.is_done:
        return account
    if not account.lengths:
        if reference.exists():  # it was stopped before: its times would be wrong
            shutil.rmtree(reference)
        account.lengths = finish(subject, reference, work / "undisturbed.log")
        account.fallen = [0] * len(account.lengths)
        account.starts = [0] * len(account.lengths)
        write_json(file, dataclasses.asdict(account))

    reached = 0  # a part that was done before is passed at once
    while account.kills < kills:
        part = account.wanted_part(kills, reached)
        if part is None:
            part = account.wanted_part(kills, 0)
            if part is None:
                break
            account.faults += _compare(subject, reference, out, work)
            shutil.rmtree(out)
        reached = _kill_in_part(subject, out, work, part, seed, account)
        write_json(file, dataclasses.asdict(account))
        print(f"{subject.name}: {account.kills} of {kills}, by part {account.fallen}", flush=True)

    account.faults += _compare(subject, reference, out, work)
    account.is_done = True
    write_json(file, dataclasses.asdict(account))
    return account


def read_account(file: Path) -> Account:
    """The account of an earlier command; an empty one where there is none.

    Args:
        file: account.json of a subject.
    """
    if not file.exists():
        return Account()
    return Account(**json.loads(file.read_text()))


def _compare(subject: Subject, reference: Path, out: Path, work: Path) -> list[str]:
    """Let a command finish; what failed, or differs from the undisturbed one."""
    faults = []
    try:
        finish(subject, out, work / "finished.log")
    except RuntimeError as fault:
        faults.append(str(fault))
    return faults + _differences(digest(reference), digest(out))


def _kill_in_part(
    subject: Subject, out: Path, work: Path, part: int, seed: int, account: Account
) -> int:
    """Start the command, end it at a random moment of a part, and see what is left.

    A part that ends before the moment comes is followed by the kill within `LATE` seconds.

    Returns:
        The part in which it was; behind the last one where it was done before.
    """
    attempt = sum(account.starts)
    account.starts[part] += 1
    chance = random.Random(f"{subject.name} {seed} {attempt}")
    way = WAYS[chance.randrange(len(WAYS))]
    delay = chance.random() * account.lengths[part]
    late = chance.random() * LATE
    log = work / f"kill_{attempt:02d}_{way}.log"

    started = Process(subject.words(out), log)
    try:
        if part:
            started.wait_for(subject.parts[part - 1], time.monotonic() + LONGEST)
        deadline = time.monotonic() + delay
        is_beyond = False
        while started.runs() and time.monotonic() < deadline:
            if not is_beyond and started.part(subject) > part:
                is_beyond = True
                deadline = min(deadline, time.monotonic() + late)
            time.sleep(LOOK)
        if not started.runs():
            return len(account.lengths)
        fallen = started.part(subject)
        started.end(way, chance)
        _account_for(started, way, fallen, account)
        return fallen
    finally:
        for process in started.left():
            _kill(process)


def _account_for(started: Process, way: str, part: int, account: Account) -> None:
    """Note a kill: where it fell, how long processes lived, and what did not hold."""
    account.kills += 1
    account.fallen[part] += 1
    account.kinds[way] = account.kinds.get(way, 0) + 1
    begin = time.monotonic()
    while started.left() and time.monotonic() < begin + PATIENCE:
        time.sleep(LOOK)
    account.slowest = max(account.slowest, time.monotonic() - begin)
    left = started.left()
    if left:
        account.faults.append(f"{started.log.name}: after {PATIENCE:g} s left: {_describe(left)}")
    if "Traceback" in started.printed() and way != "worker":
        account.faults.append(f"{started.log}: a traceback")


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
    """Torment all subjects and print an account of each, also where a signal ends it.

    Args:
        words: of the command line.

    Returns:
        1 where something did not hold, else 0; 128 and its number after a signal.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="of all subjects together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/kills"), help="goes on there")
    parser.add_argument("--only", default=",".join(SHARES), help="subjects, with commas between")
    arguments = parser.parse_args(words)

    chosen = arguments.only.split(",")
    if not set(chosen) <= set(SHARES):
        parser.error(f"--only {arguments.only}: accepted are {', '.join(SHARES)}")
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    known = subjects(work)
    status = 0
    try:
        with stopped_by_signals():
            if "ingest" in chosen:
                finish(known["studio"], work / "corpus", work / "corpus.log")
            for name in chosen:
                kills = round(arguments.kills * SHARES[name])
                torment(known[name], kills, arguments.seed, work / name)
    except Stopped as stop:
        print("stopped; the same command goes on from here", flush=True)
        status = stop.status
    except RuntimeError as fault:
        print(fault, flush=True)
        status = 1

    for name in chosen:
        account = read_account(work / name / "account.json")
        print(account.describe(name), flush=True)
        if account.faults:
            status = status or 1
    return status


if __name__ == "__main__":
    sys.exit(main())
