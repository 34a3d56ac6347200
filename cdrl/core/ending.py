"""How processes end: with the process that started them, and at once when a signal asks for it."""

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from types import FrameType
from typing import Any

import psutil

LOOK_SECONDS = 0.5  # between two looks at the parent
PATIENCE_SECONDS = 1.5  # for the work to end in order after a signal
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
    """End every process below this one at once.

    Once is enough: what is started meanwhile by one of them ends with its own parent.
    """
    for child in psutil.Process().children(recursive=True):
        if _is_to_end(child):
            _kill(child)


def _is_to_end(process: psutil.Process) -> bool:
    """Whether a process runs and does not end by itself.

    One that has ended may wait to be read. Python's resource tracker cleans up behind the others,
    and ends when they have.
    """
    try:
        is_tracker = any("resource_tracker" in word for word in process.cmdline())
        return process.status() != psutil.STATUS_ZOMBIE and not is_tracker
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


def end_with(process: Any) -> None:
    """From now on this process ends, with all below it, when another one does.

    Args:
        process: of `multiprocessing`, as `parent_process` returns it.
    """
    threading.Thread(target=_wait_for, args=(process.sentinel,), daemon=True).start()


def _wait_for(sentinel: int) -> None:
    """Wait for the end of the process of a sentinel."""
    wait([sentinel])
    _end_now(1)


def _watch(parent: int) -> None:
    """Wait until another process is the parent of this one, which is so when its own has ended."""
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    _end_now(1)


def _end_now(status: int) -> None:
    """End this process and all below it, without any further step."""
    end_descendants()
    os._exit(status)


class _Watchman:
    """Cuts this process off some seconds after a signal, whatever its main thread is doing.

    Python's own handlers wait until a call of compiled code returns, which may take a minute.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self.numbers = set(numbers)
        self.left = threading.Event()  # the block has been left
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.writing, False)
        self.former = signal.set_wakeup_fd(self.writing, warn_on_full_buffer=False)
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        """Read the numbers of signals as they come, until the other end is closed."""
        while number := os.read(self.reading, 1):
            if number[0] in self.numbers and not self.left.wait(PATIENCE_SECONDS):
                _end_now(128 + number[0])
        os.close(self.reading)

    def dismiss(self) -> None:
        """The block was left in order."""
        self.left.set()
        signal.set_wakeup_fd(self.former)
        os.close(self.writing)


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
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        end_descendants()
        raise Stopped(number)

    former = {}
    for name in STOP_SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            former[number] = signal.signal(number, stop)
    watchman = _Watchman(former)
    try:
        yield
    except BaseException:
        if received:  # compiled code turns what is raised in it into an error of its own
            raise Stopped(received[0]) from None
        raise
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        watchman.dismiss()
        if received:
            end_descendants()  # what was started again meanwhile
