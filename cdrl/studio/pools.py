"""Rendering in worker processes."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context


def in_order(make: Callable, jobs: list[tuple], workers: int) -> Iterator:
    """`make(*job)` of every job, in order; worker processes are a few jobs ahead, never more. 1: in this process."""
    if workers <= 1:
        yield from (make(*job) for job in jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = deque()
        for job in jobs:
            waiting.append(pool.submit(make, *job))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
