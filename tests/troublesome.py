"""What worker processes of the tests run: jobs that die, hang or never start, a detector that does, and memory measured."""

import os
import signal
import time
from dataclasses import replace

MAGENTA, CYAN = (255, 0, 255), (0, 255, 255)


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


class Stillborn:
    """A function that ends the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (5,)


def touchy(index, frame, small):
    """A detector that dies of magenta and never ends at cyan."""
    from cdrl.media.faces import find_face

    colour = frame.mean(axis=(0, 1))
    if abs(colour - MAGENTA).max() < 12:
        os.kill(os.getpid(), signal.SIGSEGV)
    while abs(colour - CYAN).max() < 12:
        time.sleep(0.1)
    return find_face(index, frame, small)


def peak_growth(job):
    """(frames, MB by which this fresh process grows at most over a clip after a short one has loaded everything)."""
    import resource

    from cdrl.corpora.ingest import make_piece

    make_piece(replace(job, path="short.mp4", piece=job.piece.with_name("short")))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    frames = make_piece(job).get("frames")
    return frames, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
