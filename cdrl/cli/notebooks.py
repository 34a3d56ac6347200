"""Runs the notebooks in order with papermill, in kernels of this interpreter; resumes.

A notebook that was executed without an error, from the same source and parameters, and whose run
folder still holds its results, is not executed again. All that come after one that is executed are
executed too; their finished stages are read, so it is quick.
"""

import hashlib
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import papermill
import psutil
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from cdrl.cli.kernels import OwnKernelManager, kernel_managers
from cdrl.core.errors import FULL_DISK_LINE, InputError, tells_full_disk
from cdrl.core.files import atomic_path, read_json
from cdrl.core.paths import working_root
from cdrl.core.results import RESULTS
from cdrl.core.settings import STAGES, stage_folder
from cdrl.core.stage import CONFIG

SAMPLE_SECONDS = 0.5  # between two looks at the memory
NOTABLE_GROWTH = 1.05  # of it, before shared pages are counted again


class NotebookError(RuntimeError):
    """A notebook failed by a fault of the kit: one line with cell, error and executed copy."""


@dataclass(frozen=True)
class Record:
    """What the runner writes into the metadata of an executed copy.

    Attributes:
        mark: hash of the notebook's source and parameters.
        seconds: of its execution, earlier attempts included.
        peak_gb: peak memory, GB.
        stages: {folder of a stage: hash of its results} when it was done.
    """

    mark: str
    seconds: float
    peak_gb: float
    stages: dict[str, str]


def run_notebooks(
    parameters: Mapping[Path, Mapping[str, Any]],
    out: Path | str,
    first: str | None = None,
    log: Callable[[str], Any] | None = None,
) -> tuple[float, float]:
    """Execute notebooks in order into a folder.

    Args:
        parameters: {notebook path: its parameters}, in order, as `plan_notebooks` returns them.
        out: folder of the run (absolute); the executed copies go to its notebooks/.
        first: two digits: notebooks before that one are left as they are, that one and all after
            it are executed.
        log: receives one line per notebook; None prints it.

    Returns:
        (seconds, peak_gb): of all notebooks together, with those of earlier attempts.

    Raises:
        InputError: that a notebook raised.
        NotebookError: for any other error in a notebook.
    """
    out = Path(out)
    log = log or partial(print, flush=True)
    copies = {path: out / "notebooks" / path.name for path in parameters}
    all_done = not first
    with kernel_managers() as manager_class:
        for number, (path, values) in enumerate(parameters.items(), 1):
            if first and path.name < first:
                continue
            label = f"[{number}/{len(parameters)}] {path.stem}"
            copy = copies[path]
            mark = _mark(path, values)
            all_done = all_done and _is_done(copy, mark, out)
            if all_done:
                log(f"{label}: done before ({_read_record(copy)['seconds']:.0f} s)")
                continue

            earlier_seconds = _seconds_of_attempts(out, path)
            start = time.monotonic()
            with PeakMemory() as memory:
                _execute(path, copy, values, manager_class)
            seconds = time.monotonic() - start
            record = Record(mark, earlier_seconds + seconds, memory.gb, _stage_digests(out))
            _write_record(copy, record)
            log(f"{label}: {seconds:.0f} s, {memory.gb:.1f} GB")

    records = [_read_record(copy) for copy in copies.values() if copy.exists()]
    total_seconds = sum(record.get("seconds", 0.0) for record in records)
    peak_gb = max(record.get("peak_gb", 0.0) for record in records)
    return total_seconds, peak_gb


class PeakMemory:
    """Samples the memory of this process and all below it, twice a second.

    Pages that processes share are divided among them, so that they count once. To count so takes
    the system tens of milliseconds, so it is done where the plain sum has grown by a twentieth. A
    system that cannot, as a Mac, counts shared pages in each process.

    Attributes:
        gb: largest sum so far, GB.
    """

    def __enter__(self) -> "PeakMemory":
        self.gb = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        """Sample until the end."""
        process = psutil.Process()
        largest_sum = 0.0
        while True:
            processes = [process, *process.children(recursive=True)]
            plain_sum = _memory_gb(processes, _resident_bytes)
            if plain_sum > largest_sum * NOTABLE_GROWTH:
                largest_sum = plain_sum
                self.gb = max(self.gb, _memory_gb(processes, _proportional_bytes))
            if self._stop.wait(SAMPLE_SECONDS):
                return


def _memory_gb(
    processes: Iterable[psutil.Process], measure: Callable[[psutil.Process], int]
) -> float:
    """Memory of processes, GB; one that has ended meanwhile has none."""
    num_bytes = 0
    for process in processes:
        with suppress(psutil.Error):
            num_bytes += measure(process)
    return num_bytes / 1e9


def _resident_bytes(process: psutil.Process) -> int:
    return process.memory_info().rss


def _proportional_bytes(process: psutil.Process) -> int:
    """Memory of a process, shared pages divided by the number of processes that share them."""
    memory = process.memory_full_info()
    return getattr(memory, "pss", memory.rss)


def _seconds_of_attempts(out: Path, path: Path) -> float:
    """Seconds of interrupted attempts that a notebook's stage has on record.

    They count, although their work need not be repeated.
    """
    configs = sorted(out.glob(f"{path.name[:2]}_*/{CONFIG}"))
    fields = {"seconds": (int, float)}
    return sum(read_json(file, fields=fields)["seconds"] for file in configs)


def _execute(
    path: Path, copy: Path, parameters: Mapping[str, Any], manager_class: type[OwnKernelManager]
) -> None:
    """Execute one notebook; a failed copy is kept under another name."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    unfinished = copy.with_name(f".{copy.name}")
    failed = copy.with_name(f"failed_{copy.name}")
    progress_bar: dict[str, Any] | bool = False  # nothing in a log
    if sys.stderr.isatty():
        progress_bar = {"desc": path.stem, "leave": False}

    logging.getLogger("asyncio").addFilter(_is_no_dead_kernel)
    try:
        papermill.execute_notebook(
            _plain_path(path),
            _plain_path(unfinished),
            parameters=parameters,
            kernel_name="python3",
            language="python",
            cwd=working_root(),
            kernel_manager_class=manager_class,
            progress_bar=progress_bar,
            # Else it is asked to end and waits for its processes. A pool's tracker of resources
            # does not end when it is asked, so the kernel was killed after 2.5 seconds anyway.
            shutdown_kernel="immediate",
        )
    except PapermillExecutionError as error:
        unfinished.replace(failed)
        raise _notebook_error(path, failed, error) from error
    except DeadKernelError as error:
        unfinished.replace(failed)
        free_gb = psutil.virtual_memory().available / 1e9
        raise NotebookError(
            f"{path.name}: its kernel died, most often for want of memory ({free_gb:.1f} GB are "
            "free now): what is complete is kept and the same command goes on; close something, or "
            f"take --preset smoke; see {failed}"
        ) from error

    failed.unlink(missing_ok=True)
    unfinished.replace(copy)


def _is_no_dead_kernel(record: logging.LogRecord) -> bool:
    """Whether a line of asyncio's log is another than that of a kernel which a signal ended.

    A signal leaves the task that waits for the kernel; asyncio would print what it ended with.
    """
    return not (record.exc_info and record.exc_info[0] is DeadKernelError)


def _plain_path(path: Path) -> str:
    """A path for papermill, which would fill {name} in it with the value of a parameter."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _notebook_error(path: Path, failed: Path, error: PapermillExecutionError) -> Exception:
    """The error of a notebook's cell: an InputError as it is, any other with cell and copy."""
    if error.ename == "InputError":
        return InputError(error.evalue)
    if tells_full_disk(error):
        return InputError(f"{failed.parent.parent}: {FULL_DISK_LINE}")
    lines = error.evalue.strip().splitlines()
    reason = lines[0] if lines else ""
    return NotebookError(
        f"{path.name}, cell {error.cell_index}: {error.ename}: {reason}; see {failed}"
    )


def _mark(path: Path, parameters: Mapping[str, Any]) -> str:
    """A hash that changes when the notebook's cells or its parameters do."""
    cells = []
    for cell in nbformat.read(path, as_version=4).cells:
        cells.append((cell.cell_type, cell.source))
    text = json.dumps([cells, parameters], sort_keys=True)
    return _digest(text.encode())


def _stage_digests(out: Path) -> dict[str, str]:
    """{folder: hash of its results} of every finished stage of a run."""
    digests = {}
    for stage in STAGES:
        file = stage_folder(out, stage) / RESULTS
        if file.exists():
            digests[file.parent.name] = _digest(file.read_bytes())

    return digests


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _is_done(copy: Path, mark: str, out: Path) -> bool:
    """Whether a notebook was executed as it is now and its results are still there."""
    if not copy.exists():
        return False
    record = _read_record(copy)
    if record.get("mark") != mark:
        return False
    return record["stages"].items() <= _stage_digests(out).items()


def _read_record(copy: Path) -> dict[str, Any]:
    """What `_write_record` wrote; empty for a copy of another program, or a damaged one."""
    try:
        record = nbformat.read(copy, as_version=4).metadata.get("cdrl", {})
    except Exception:  # a damaged copy ends in errors of every kind; it is executed again
        return {}
    is_whole = isinstance(record, dict) and isinstance(record.get("stages"), dict)
    return record if is_whole and isinstance(record.get("seconds"), (int, float)) else {}


def _write_record(copy: Path, record: Record) -> None:
    """Write a record into the metadata of an executed copy."""
    notebook = nbformat.read(copy, as_version=4)
    notebook.metadata["cdrl"] = asdict(record)
    with atomic_path(copy) as temporary:
        nbformat.write(notebook, temporary)
