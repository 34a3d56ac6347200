"""Work on files that nobody has looked at: a job that kills its process, or never ends, is known by its number.

A pool of the standard library loses every waiting job when one process dies and cannot say which job did it. Here each
process has one job at a time and a pipe of its own, so the others go on.
"""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait

from threadpoolctl import threadpool_limits

from cdrl.core.errors import InputError

_NEVER, _START_SECONDS = float("inf"), 300.0


@dataclass(frozen=True)
class Lost:
    """What became of a job that has no result."""

    reason: str


def run_each(
    function: Callable, jobs: Sequence, workers: int, limit_seconds: float
) -> Iterator[tuple[int, object]]:
    """Yield (number of the job, its result or `Lost`) as they finish, in no order.

    Args:
        function: importable by name; job -> result, both picklable. It has to catch what it expects.
        workers: spawned processes with single-threaded numerics; 0 works in this process, without limit or protection.
        limit_seconds: per job; its process is killed then and replaced.

    Raises:
        InputError: where not even an idle process can be started.
    """
    if workers <= 0:
        yield from ((number, function(job)) for number, job in enumerate(jobs))
        return
    waiting = deque(enumerate(jobs))
    crew = [_Worker(function, limit_seconds) for _ in range(min(workers, len(jobs)))]
    try:
        while waiting or any(worker.number is not None for worker in crew):
            first = min(worker.deadline for worker in crew) - time.monotonic()
            wait([worker.pipe for worker in crew], None if first == _NEVER else max(0.0, first))
            for place, worker in enumerate(crew):
                answer = worker.answer()
                if answer is not None:
                    yield answer
                if worker.idle and waiting and worker.give(*waiting[0]):
                    waiting.popleft()
                if worker.finished and waiting:
                    crew[place] = _Worker(function, limit_seconds)
            crew = [worker for worker in crew if not worker.finished]
    finally:
        for worker in crew:
            worker.end()


class _Worker:
    """One process, the job that it has, and until when."""

    def __init__(self, function: Callable, limit_seconds: float):
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, function), daemon=True)
        self.process.start()
        theirs.close()
        self.limit, self.deadline = limit_seconds, time.monotonic() + _START_SECONDS
        self.number, self.idle, self.finished = None, False, False

    def give(self, number: int, job) -> bool:
        """Hand a job over; False where the process has died meanwhile, which is not the job's fault."""
        self.idle = False
        try:
            self.pipe.send(job)
        except OSError:
            self.end()
            return False
        self.number, self.deadline = number, time.monotonic() + self.limit
        return True

    def answer(self) -> tuple[int, object] | None:
        """(number, result) when the job is over, one way or the other; None while it is not."""
        number, starting = self.number, self.number is None and not self.idle
        try:
            if self.pipe.poll():
                result = self.pipe.recv()
                self.number, self.idle, self.deadline = None, True, _NEVER
                return None if number is None else (number, result)
        except (EOFError, OSError):
            lost = Lost(_death(self.end()))
        else:
            if time.monotonic() < self.deadline:
                return None
            self.end()
            lost = Lost(
                f"took longer than {self.limit:g} s and was stopped; raise the time limit or cut the clip"
            )
        if starting:
            raise InputError(
                f"a worker process did not start (exit code {self.process.exitcode}); a script that starts workers needs "
                '`if __name__ == "__main__":`, or set workers=0'
            )
        self.number, self.idle = None, False
        return None if number is None else (number, lost)

    def end(self) -> int | None:
        """Close the pipe, stop the process if it does not end by itself, and say how it ended."""
        self.finished = True
        if not self.pipe.closed:
            self.pipe.close()
            self.process.join(0.2)  # one that died keeps its own exit code
            self.process.kill()
            self.process.join()
        return self.process.exitcode


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return (
            f"killed the process that read it, {name}{hint}; convert it, e.g. with ffmpeg, to mp4"
        )
    return f"ended the process that read it, exit code {code}; convert it, e.g. with ffmpeg, to mp4"


def _serve(pipe, function: Callable) -> None:
    """The life of a worker: says that it is ready, then one result for each job, until its parent is gone."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threadpool_limits(1)
    pipe.send(None)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        pipe.send(function(job))


def _end_with_parent() -> None:
    wait([parent_process().sentinel])
    os._exit(1)
