"""How processes end: with the process that started them, and at once when a signal asks for it."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import psutil

LOOK_SECONDS = 0.5  # between two looks at the parent
PATIENCE_SECONDS = 3.0  # for the work to end in order after a signal
ROUNDS = 20  # looks for processes that were started while others were being ended
STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, kill, a closed terminal


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number  # as shells count it


def end_descendants() -> None:
    """End every process below this one at once."""
    own = psutil.Process()
    for _ in range(ROUNDS):
        living = [child for child in own.children(recursive=True) if _is_living(child)]
        if not living:
            return
        for child in living:
            _kill(child)
        time.sleep(0.02)


def _is_living(process: psutil.Process) -> bool:
    """Whether a process still runs; one that has ended may wait to be read."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _kill(process: psutil.Process) -> None:
    """End a process that may have ended meanwhile."""
    try:
        process.kill()
    except psutil.Error:
        return


def end_with_parent(parent: int | None = None) -> None:
    """From now on this process ends, with all below it, when its parent does.

    Args:
        parent: process id of the parent; None is the present one's. It may be gone already.
    """
    watched = os.getppid() if parent is None else parent
    threading.Thread(target=_watch, args=(watched,), daemon=True).start()


def _watch(parent: int) -> None:
    """Wait until another process is the parent of this one, which is so when its own has ended."""
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    _end_now(1)


def _end_now(status: int) -> None:
    """End this process and all below it, without any further step."""
    end_descendants()
    os._exit(status)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Let Ctrl-C, TERM and HUP end the block and every process below this one.

    The first signal ends the processes below and raises `Stopped`. Work that is not over some
    seconds later is cut off. A signal that is ignored, as HUP under nohup, stays ignored.

    Raises:
        Stopped: a signal came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread receives signals
        return
    timers: list[threading.Timer] = []
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        timer = threading.Timer(PATIENCE_SECONDS, _end_now, (128 + number,))
        timer.daemon = True
        timer.start()
        timers.append(timer)
        end_descendants()
        raise Stopped(number)

    former = {}
    for name in STOP_SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            former[number] = signal.signal(number, stop)
    try:
        yield
    except BaseException:
        if received:  # compiled code turns what is raised in it into an error of its own
            raise Stopped(received[0]) from None
        raise
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        if timers:
            end_descendants()  # what was started again meanwhile
        for timer in timers:
            timer.cancel()
