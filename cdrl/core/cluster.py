"""Jobs on a Dask cluster, with the results and the promises of the pool of this machine.

What is handed over are a function's name and its arguments; results are files in a folder that all
machines share under the same path. In every Dask worker the jobs run in processes of
`cdrl.core.pools`, so a job that dies or takes too long costs itself alone. A Dask worker that is
lost costs the jobs that it had: they are done again elsewhere.
"""

import importlib
import importlib.util
import logging
import multiprocessing
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from itertools import islice
from threading import Lock
from typing import Any

from cdrl.core.cluster_address import ACCEPTED, LOCAL, QUEUES
from cdrl.core.errors import InputError
from cdrl.core.pools import AHEAD, Lost, WorkerPool, run_each

PREFIX = "CDRL_"  # of the variables of the environment that workers take over
ANSWER_SECONDS = 20.0  # until a scheduler answers

_pools: dict[int, WorkerPool] = {}  # of this Dask worker: numeric threads of a job -> its pool
_pools_lock = Lock()


def run_jobs(
    function: Callable[[Any], Any],
    jobs: Sequence[Any],
    workers: int,
    limit_seconds: float | None = None,
    threads: int = 1,
    cluster: str = "",
) -> Generator[tuple[int, Any], None, None]:
    """Yield (number of the job, its result or `Lost`), from this machine's pool or a cluster.

    Args:
        function: importable by name, job -> result; both must be picklable.
        jobs: what the function is called with.
        workers: processes of this machine, see `run_each`.
        limit_seconds: per job; None is no limit.
        threads: numeric threads of each job; 0 leaves them as they are.
        cluster: where the jobs are done instead, see `cdrl.core.cluster_address`; empty is here.

    Raises:
        InputError: the workers do not start; of a cluster see `run_on_cluster`.
    """
    if cluster:
        yield from run_on_cluster(function, jobs, cluster, limit_seconds, threads)
    else:
        yield from run_each(function, jobs, workers, limit_seconds, threads)


def run_on_cluster(
    function: Callable[[Any], Any],
    jobs: Sequence[Any],
    where: str,
    limit_seconds: float | None = None,
    threads: int = 1,
) -> Generator[tuple[int, Any], None, None]:
    """Yield (number of the job, its result or `Lost`) as the jobs end, in no order.

    A few jobs for each worker are handed over at a time, so that memory does not grow with the
    number of jobs. Where the loop stops early, the jobs that were handed over are cancelled.

    Args:
        function: importable by name on every worker, job -> result. What it raises is raised here.
        jobs: what the function is called with.
        where: the workers, see `cdrl.core.cluster_address`.
        limit_seconds: per job; None is no limit.
        threads: numeric threads of each job; 0 leaves them as they are.

    Raises:
        InputError: a package is not installed, no scheduler answers, or it is lost on the way.
    """
    if not jobs:
        return
    surroundings = _surroundings()
    with _connected(where) as client:
        waiting = enumerate(jobs)
        running: dict[Any, int] = {}
        ended = _as_ended(client)
        while True:
            most = AHEAD * max(1, sum(client.nthreads().values()))
            for number, job in islice(waiting, max(0, most - len(running))):
                call = (function, job, limit_seconds, threads, surroundings)
                future = client.submit(_do, *call, pure=False)
                running[future] = number
                ended.add(future)
            if not running:
                return
            future = next(ended)
            yield running.pop(future), _result(future)


def _surroundings() -> tuple[str, dict[str, str]]:
    """The working folder and the variables of the environment that a job has here."""
    variables = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    return os.getcwd(), variables


@contextmanager
def _connected(where: str) -> Iterator[Any]:
    """A client of the scheduler; workers that were started for it are ended with it.

    Raises:
        InputError: no scheduler answers, or it is lost in the block.
    """
    _refuse_missing("distributed")
    import distributed  # an extra, slow to import

    _silence_dask()
    name, _, number = where.partition(":")
    own = None
    try:
        if name == LOCAL:
            own = _local_cluster(int(number))
        elif name in QUEUES:
            own = _queue_cluster(name, int(number))
        kind = "scheduler_file" if where.endswith(".json") else "address"
        place = {kind: own or where}
        client = distributed.Client(**place, timeout=ANSWER_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        if own is not None:
            own.close()
        raise InputError(f"--cluster {where}: no scheduler answers ({error}); {ACCEPTED}") from None
    try:
        yield client
    except (CancelledError, distributed.comm.CommClosedError, OSError) as error:
        raise InputError(
            f"--cluster {where}: its scheduler was lost ({type(error).__name__}); what is complete "
            "is kept, and the same command goes on"
        ) from None
    finally:
        client.close(timeout=2)
        if own is not None:
            own.close(timeout=10)


def _silence_dask() -> None:
    """Keep Dask from printing its own failures, which become one line here.

    Its configuration gives some of its loggers a level of their own.
    """
    for name in ("distributed", *logging.root.manager.loggerDict):
        if name.split(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _local_cluster(number: int) -> Any:
    """Workers on this machine, a process and a core each."""
    import dask
    import distributed

    # A worker that is a daemon may not start the processes that protect it from its jobs.
    with dask.config.set({"distributed.worker.daemon": False}):
        return distributed.LocalCluster(
            n_workers=number, threads_per_worker=1, processes=True, dashboard_address=":0"
        )


def _queue_cluster(name: str, number: int) -> Any:
    """Workers that a queue starts, as dask_jobqueue's own configuration describes them."""
    _refuse_missing("dask_jobqueue")
    jobqueue = importlib.import_module("dask_jobqueue")
    cluster = getattr(jobqueue, QUEUES[name])()
    cluster.scale(jobs=number)
    return cluster


def _refuse_missing(module: str) -> None:
    """Say how a package is installed that is not there."""
    if importlib.util.find_spec(module) is None:
        raise InputError(f"--cluster needs {module}: pip install -e '.[cluster]'")


def _as_ended(client: Any) -> Any:
    """An iterator over the futures that are added to it, as they end."""
    import distributed

    return distributed.as_completed(loop=client.loop)


def _result(future: Any) -> Any:
    """Its result, or why it has none: a job whose Dask worker died each time is lost."""
    import distributed

    try:
        return future.result()
    except distributed.scheduler.KilledWorker as death:
        return Lost(f"ended its Dask worker {death.allowed_failures + 1} times")
    finally:
        future.release()


def _do(
    function: Callable[[Any], Any],
    job: Any,
    limit_seconds: float | None,
    threads: int,
    surroundings: tuple[str, dict[str, str]],
) -> Any:
    """In a Dask worker: do a job in a process of the worker's own pool."""
    pool = _own_pool(threads)
    return pool.do(_do_there, (function, job, surroundings), limit_seconds)


def _do_there(call: tuple[Callable[[Any], Any], Any, tuple[str, dict[str, str]]]) -> Any:
    """In a process of that pool: do a job where, and as, the client would do it."""
    function, job, (folder, variables) = call
    if not os.path.isdir(folder):
        raise InputError(
            f"{folder}: a worker does not have this folder; all machines need it under this path"
        )
    os.chdir(folder)
    os.environ.update(variables)
    return function(job)


def _own_pool(threads: int) -> WorkerPool:
    """The pool of this Dask worker, a process for each of its threads."""
    import distributed

    with _pools_lock:
        if threads not in _pools:
            _allow_children()
            number = distributed.get_worker().state.nthreads
            _pools[threads] = WorkerPool(number, threads)
        return _pools[threads]


def _allow_children() -> None:
    """Let a Dask worker start processes although Dask made it a daemon.

    Python forbids a daemon to have children because they would outlive it. These do not: they end
    with their parent, see `cdrl.core.ending`.
    """
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
