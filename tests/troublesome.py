"""What worker processes of the tests run: jobs and a detector that die, hang or never start."""

import os
import resource
import signal
import time
from dataclasses import replace

MAGENTA = (255, 0, 255)
CYAN = (0, 255, 255)


def play(job):
    if job == "die":
        os._exit(7)
    while job == "hang":
        time.sleep(0.05)
    return job * 2


def fail(job):
    from cdrl.core.errors import InputError

    raise InputError(f"job {job} is wrong")


def power(base, exponent):
    return base**exponent


def process_number(job):
    time.sleep(0.01)
    return os.getpid()


class Stillborn:
    """A function that ends the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (5,)


def crash_or_hang(index, frame, small):
    """A detector that dies of magenta and never ends at cyan."""
    from cdrl.media.faces import find_face

    colour = frame.mean(axis=(0, 1))
    if abs(colour - MAGENTA).max() < 12:
        os.kill(os.getpid(), signal.SIGSEGV)
    while abs(colour - CYAN).max() < 12:
        time.sleep(0.1)
    return find_face(index, frame, small)


def inspect_or_die(job):
    """Look through a video; one that is named deadly.mp4 ends the process."""
    from cdrl.media.inspection import inspect_video

    if job.path.name == "deadly.mp4":
        os.kill(os.getpid(), signal.SIGSEGV)
    return inspect_video(job)


def peak_growth(job):
    """Memory that a clip costs in this fresh process, after a short one has loaded everything.

    Returns:
        Frames of the clip, and MB by which the process grows at most.
    """
    from cdrl.corpora.ingest_worker import make_piece

    make_piece(replace(job, path="short.mp4", piece=job.piece.with_name("short")))
    before = peak_memory_mb()
    frames = make_piece(job).get("frames")
    return frames, peak_memory_mb() - before


def peak_memory_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_lightly(job):
    """Execute the notebooks of one run of a grid, which need nothing of the stages."""
    from light_server import NAME

    from cdrl.cli import grid, kernels

    kernels.KernelServer.module = NAME
    return grid._run_one(job)


def write_or_die(work, config, job):
    """A job of a study that is killed, or leaves a file."""
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    (work / job).touch()


def slow_square(number):
    """The number and an array that takes a moment to make."""
    import numpy as np

    time.sleep(0.3)
    return number, np.full((2, 3), number**2, np.int64)


def place(job):
    """The working folder, a variable of the kit's, and the threads of a job."""
    import numpy as np  # noqa: F401  # loads a library whose threads are limited
    from threadpoolctl import threadpool_info

    threads = {library["num_threads"] for library in threadpool_info()}
    return os.getcwd(), os.environ.get("CDRL_WEIGHTS"), min(threads)


def leave_a_mark(path):
    """Leave a file of one's own, work for a moment and tell the process."""
    path.with_name(f"{path.name}-{os.getpid()}").touch()
    time.sleep(1.0)
    return os.getpid()


def draw(number):
    """A random number of a worker; meanwhile another one takes the next job."""
    import numpy as np

    time.sleep(0.5)
    return np.random.rand()
