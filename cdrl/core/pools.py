"""The one pool of worker processes for jobs, built on pebble.

A job may have a time limit (`run_each`). A job that kills its process costs itself alone, and is
known by its number. All workers end with their parent, however it ends.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from functools import partial
from typing import Any

from pebble import ProcessExpired, ProcessPool
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from cdrl.core.ending import end_with, end_with_parent
from cdrl.core.errors import InputError
from cdrl.core.worker_server import start_worker_server

AHEAD = 2  # jobs per worker that are handed over before their results are needed
_kept_pools: list[ProcessPool] = []  # of the blocks of `kept_workers` that this process is in
_method = "spawn"  # how workers begin


@dataclass(frozen=True)
class Lost:
    """A job without a result.

    Attributes:
        reason: why, as half a sentence.
        timed_out: whether it ran into its time limit; else its process died.
    """

    reason: str
    timed_out: bool = False


def fork_workers() -> None:
    """From now on workers are forked from a copy of this process as it is now, see `worker_server`.

    It may neither have started threads nor computed anything. Where systems cannot, they are
    spawned as before.
    """
    global _method
    if start_worker_server():
        _method = "forkserver"


def run_each(
    function: Callable[[Any], Any],
    jobs: Sequence[Any],
    workers: int,
    limit_seconds: float | None = None,
    threads: int = 1,
) -> Generator[tuple[int, Any], None, None]:
    """Yield (number of the job, its result or `Lost`) as the jobs end, in no order.

    Args:
        function: importable by name, job -> result; both must be picklable. What it raises is
            raised here, and ends the other jobs.
        jobs: what the function is called with.
        workers: processes; 0 works in this process, without limit and protection.
        limit_seconds: per job; its process is ended then and replaced. None is no limit.
        threads: numeric threads of each worker; 0 leaves them as they are.

    Raises:
        InputError: the workers do not start.
    """
    if workers <= 0:
        for number, job in enumerate(jobs):
            yield number, function(job)
        return
    with _pool(min(workers, len(jobs)), threads) as pool:
        waiting = deque(enumerate(jobs))
        running: dict[Future, int] = {}
        while waiting or running:
            while waiting and len(running) < AHEAD * workers:
                number, job = waiting.popleft()
                running[pool.schedule(function, args=(job,), timeout=limit_seconds)] = number
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                yield running.pop(future), _result(future, limit_seconds)


def in_order(
    function: Callable[..., Any], jobs: Sequence[tuple], workers: int, threads: int = 1
) -> Iterator[Any]:
    """Yield `function(*job)` of every job in order; workers are a few jobs ahead, never more.

    Args:
        function: importable by name; arguments and result must be picklable.
        jobs: tuples of arguments.
        workers: processes; 0 and 1 work in this process.
        threads: numeric threads of each worker; 0 leaves them as they are.

    Raises:
        InputError: a job's process was killed; the workers do not start.
    """
    if workers <= 1:
        for job in jobs:
            yield function(*job)
        return
    with _kept_or_new_pool(min(workers, len(jobs)), threads) as pool:
        waiting = deque(jobs)
        running: deque[Future] = deque()
        try:
            while waiting or running:
                while waiting and len(running) <= AHEAD * workers:
                    running.append(pool.schedule(function, args=waiting.popleft()))
                yield _refuse_lost(_result(running.popleft(), None))
        finally:
            for future in running:
                future.cancel()


@contextmanager
def kept_workers(workers: int, threads: int = 1) -> Iterator[None]:
    """Let `in_order` and `beside` share one pool in the block.

    Its processes stay between the calls: what they have imported and cached is there already.

    Args:
        workers: processes; 0 and 1 start none.
        threads: numeric threads of each; 0 leaves them as they are.
    """
    if workers <= 1:
        yield
        return
    with _pool(workers, threads) as pool:
        _kept_pools.append(pool)
        try:
            yield
        finally:
            _kept_pools.remove(pool)


@contextmanager
def beside(
    function: Callable[..., Any], jobs: Sequence[tuple], workers: int, threads: int = 1
) -> Iterator[list[Any]]:
    """Do jobs in other processes while the block runs; when it is left, all have ended.

    Args:
        function: importable by name; arguments and result must be picklable. What it writes to
            standard error is not shown, so that its bars do not mix with those of the block.
        jobs: tuples of arguments.
        workers: processes in all, this one among them; 0 and 1 do the jobs here, after the block,
            and show their bars.
        threads: numeric threads of each worker; 0 leaves them as they are.

    Yields:
        A list, which holds the results in order when the block has been left.

    Raises:
        InputError: a job's process was killed; the workers do not start.
    """
    results: list[Any] = []
    if workers <= 1:
        yield results
        for job in jobs:
            results.append(function(*job))
        return
    with _kept_or_new_pool(min(workers - 1, len(jobs)), threads) as pool:
        running = [pool.schedule(quietly, args=(function, *job)) for job in jobs]
        yield results
        for future in running:
            results.append(_refuse_lost(_result(future, None)))


def quietly(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function whose standard error nobody sees: the bars of a worker.

    Args:
        function: what is called.
        arguments: of the call.
    """
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        return function(*arguments)


class WorkerPool:
    """Processes that stay between jobs, for a program that gets its jobs one by one.

    They end with the program.

    Args:
        workers: spawned processes.
        threads: numeric threads of each; 0 leaves them as they are.
    """

    def __init__(self, workers: int, threads: int = 1) -> None:
        self.pool = _pool(workers, threads).pool

    def do(self, function: Callable[[Any], Any], job: Any, limit_seconds: float | None) -> Any:
        """Do one job and wait for it; several threads may call this at once.

        Args:
            function: importable by name, job -> result.
            job: what it is called with.
            limit_seconds: None is no limit.

        Returns:
            Its result, or `Lost`. What it raises is raised here.
        """
        future = self.pool.schedule(function, args=(job,), timeout=limit_seconds)
        wait([future])
        return _result(future, limit_seconds)


def _kept_or_new_pool(workers: int, threads: int) -> AbstractContextManager[ProcessPool]:
    """The pool that `kept_workers` keeps, else one that ends with the block."""
    return nullcontext(_kept_pools[-1]) if _kept_pools else _pool(workers, threads)


class _pool:
    """A pebble pool whose workers are ended when the block is left, however it is left."""

    def __init__(self, workers: int, threads: int) -> None:
        self.pool = ProcessPool(
            max(workers, 1),
            initializer=partial(_start_worker, threads, dict(os.environ)),
            context=multiprocessing.get_context(_method),
        )

    def __enter__(self) -> ProcessPool:
        return self.pool

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            self.pool.close()
        else:
            self.pool.stop()
        self.pool.join()


def _result(future: Future, limit_seconds: float | None) -> Any:
    """Return the result of a job that has ended, or why it has none."""
    try:
        return future.result()
    except ProcessExpired as death:
        return Lost(_death(death.exitcode))
    except BrokenProcessPool:
        raise InputError(
            "worker processes do not start; a script that starts them needs "
            '`if __name__ == "__main__":`, or set workers=0'
        ) from None
    except TimeoutError:
        if limit_seconds is None:
            raise
        return Lost(f"took longer than {limit_seconds:g} s and was stopped", timed_out=True)


def _refuse_lost(result: Any) -> Any:
    """A job's result, where its process lived."""
    if isinstance(result, Lost):
        raise InputError(
            f"a worker process {result.reason}: fewer workers need less memory; what is "
            "complete is kept and the same command goes on"
        )
    return result


def _death(code: int | None) -> str:
    """Say how a worker died."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"killed its process, {name}{hint}"
    return f"ended its process, exit code {code}"


def _start_worker(threads: int, environment: dict[str, str]) -> None:
    """Prepare a worker: it ignores Ctrl-C, limits its threads and ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid != os.getppid():  # forked by a server
        end_with(parent)
        os.environ.update(environment)
        _forget_random_numbers()
    else:
        end_with_parent(parent.pid if parent is not None else None)
    # Bars of one worker need no lock between processes; its semaphore would outlive the worker.
    tqdm.set_lock(threading.RLock())
    if threads:
        threadpool_limits(threads)  # of what is loaded; the variable is for what will be
        os.environ["OMP_NUM_THREADS"] = str(threads)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)


def _forget_random_numbers() -> None:
    """Begin with numbers of its own, as Python's `random` sees to by itself."""
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
