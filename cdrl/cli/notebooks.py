"""Runs the notebooks in order with papermill, each in this interpreter's own kernel, and resumes an interrupted run.

A notebook that was executed without an error, from the same source and parameters, and whose run folder still holds
what it left, is not executed again. Whatever comes after one that is, is (finished stages are read, so it is quick).
"""

import hashlib
import json
import os
import sys
import threading
import time
from functools import partial
from pathlib import Path

import nbformat
import papermill
import psutil
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from papermill.translators import PythonTranslator

from cdrl.core.errors import InputError
from cdrl.core.files import read_json
from cdrl.core.paths import repository_root
from cdrl.core.results import RESULTS
from cdrl.core.settings import STAGES, stage_config, stage_folder
from cdrl.core.stage import CONFIG, check_stage

# What the runner itself passes to a notebook whose `parameters` cell declares it.
RUN_PARAMETERS = ("run_folder", "preset", "settings")


class OwnKernelManager(AsyncKernelManager):
    """Starts kernels with this very interpreter: a kernelspec named python3 may belong to another environment."""

    @property
    def kernel_spec(self):
        """`sys.executable -m ipykernel_launcher`; figures are stored as data, not with a copy of plotly.js in each.

        CDRL_HEADLESS tells the explorer that nobody watches.
        """
        return KernelSpec(
            argv=[
                sys.executable,
                "-m",
                "ipykernel_launcher",
                "-f",
                "{connection_file}",
                "--log-level=CRITICAL",
            ],
            display_name="cdrl",
            language="python",
            env={"PLOTLY_RENDERER": "plotly_mimetype", "CDRL_HEADLESS": "1"},
        )


class NotebookError(RuntimeError):
    """A notebook failed by a fault of the kit: one line that names cell, error and executed copy."""


def notebook_paths(folder=None):
    """The ordered notebooks, as paths: 00_..., 01_..., of the clone or of another folder.

    Raises:
        InputError: where there are none; a wheel alone does not carry them.
    """
    folder = Path(folder) if folder else repository_root() / "notebooks"
    found = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise InputError(
            f"no notebooks in {folder}: clone the repository and install it with pip install -e ."
        )
    return found


def declared_parameters(path):
    """What a notebook's cell tagged `parameters` declares.

    Returns:
        {name: {"inferred_type_name", "default", "help", ...}} as papermill infers them; the defaults are texts.
    """
    cells = nbformat.read(path, as_version=4).cells
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", ())]
    return {each.name: each._asdict() for cell in tagged for each in PythonTranslator.inspect(cell)}


def plan_notebooks(paths, run, preset, settings):
    """Parameters for every notebook, checked before anything runs.

    Args:
        paths: notebooks.
        run: folder of the run, as the notebooks are to be told it.
        preset: name of the preset.
        settings: mapping of `stage.field`, `field` or the name of a notebook's own parameter to a value's text.

    Returns:
        {path: parameters}; each gets only what its `parameters` cell declares.

    Raises:
        InputError: for a setting that neither a stage nor a notebook has, a bad value, or a run folder that was made
            with other settings.
    """
    declared = {path: declared_parameters(path) for path in paths}
    own_names = {name for parameters in declared.values() for name in parameters} - set(
        RUN_PARAMETERS
    )
    own = {name: value for name, value in settings.items() if name in own_names}
    stage_settings = {name: value for name, value in settings.items() if name not in own}
    for stage in STAGES:
        check_stage(stage_config(stage, preset, stage_settings), repository_root() / run)
    given = {"run_folder": str(run), "preset": preset, "settings": stage_settings}
    return {
        path: {name: value for name, value in given.items() if name in parameters}
        | {
            name: _typed(name, value, parameters[name])
            for name, value in own.items()
            if name in parameters
        }
        for path, parameters in declared.items()
    }


def run_notebooks(parameters, out, first=None, say=None):
    """Executes notebooks in order into a folder.

    Args:
        parameters: {notebook path: its parameters}, in order, as `plan` returns them.
        out: folder of the run (absolute); the executed copies go to its notebooks/.
        first: two digits: notebooks before that one are left as they are, that one and all after it are executed.
        say: receives one line per notebook; None prints it.

    Returns:
        (seconds, peak_gb): of all notebooks together, those of earlier attempts included.

    Raises:
        InputError: what a notebook raised as one.
        NotebookError: for any other error in a notebook.
    """
    out, fresh, say = Path(out), True, say or partial(print, flush=True)
    copies = [out / "notebooks" / path.name for path in parameters]
    for position, (path, values) in enumerate(parameters.items()):
        label = f"[{position + 1}/{len(parameters)}] {path.stem}"
        mark = _mark(path, values)
        if first and path.name < first:
            continue
        fresh = fresh and not first and _is_done(copies[position], mark, out)
        if fresh:
            say(f"{label}: done before ({_record(copies[position])['seconds']:.0f} s)")
            continue
        spent, start = _seconds_spent(out, path), time.monotonic()
        with PeakMemory() as memory:
            _execute(path, copies[position], values)
        seconds = spent + time.monotonic() - start
        _stamp(
            copies[position],
            {"mark": mark, "seconds": seconds, "peak_gb": memory.gb, "stages": _stage_digests(out)},
        )
        say(f"{label}: {time.monotonic() - start:.0f} s, {memory.gb:.1f} GB")
    records = [_record(copy) for copy in copies if copy.exists()]
    return sum(record["seconds"] for record in records), max(
        record["peak_gb"] for record in records
    )


class PeakMemory:
    """Samples the memory of this process and all below it, twice a second.

    Shared pages count once for each process that maps them, so that `gb` is an upper bound.
    """

    def __enter__(self):
        self.gb = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join()

    def _watch(self):
        me = psutil.Process()
        while True:
            self.gb = max(
                self.gb, sum(map(_resident_bytes, [me, *me.children(recursive=True)])) / 1e9
            )
            if self._stop.wait(0.5):
                return


def _resident_bytes(process):
    try:
        return process.memory_info().rss
    except psutil.Error:  # it ended meanwhile
        return 0


def _seconds_spent(out, path):
    """Seconds of earlier attempts that a notebook's stage has on record: they count although they need not be repeated."""
    configs = sorted(out.glob(f"{path.name[:2]}_*/{CONFIG}"))
    return sum(read_json(file)["seconds"] for file in configs)


def _execute(path, copy, parameters):
    copy.parent.mkdir(parents=True, exist_ok=True)
    unfinished = copy.with_name(f".{copy.name}")
    try:
        papermill.execute_notebook(
            path,
            unfinished,
            parameters=parameters,
            kernel_name="python3",
            language="python",
            cwd=repository_root(),
            kernel_manager_class=OwnKernelManager,
            progress_bar=_progress_bar(path),
        )
    except PapermillExecutionError as error:
        failed = copy.with_name(f"failed_{copy.name}")
        unfinished.replace(failed)
        if error.ename == "InputError":
            raise InputError(error.evalue) from error
        line = error.evalue.strip().splitlines()[0] if error.evalue.strip() else ""
        raise NotebookError(
            f"{path.name}, cell {error.cell_index}: {error.ename}: {line}; see {failed}"
        ) from error
    except DeadKernelError as error:
        failed = copy.with_name(f"failed_{copy.name}")
        unfinished.replace(failed)
        raise NotebookError(
            f"{path.name}: its kernel died, most often for want of memory ({psutil.virtual_memory().available / 1e9:.1f} GB are free "
            f"now): what is complete is kept and the same command goes on; close something, or take --preset smoke; see {failed}"
        ) from error
    copy.with_name(f"failed_{copy.name}").unlink(missing_ok=True)
    unfinished.replace(copy)


def _progress_bar(path):
    """A bar over the cells where a person watches; nothing in a log."""
    return {"desc": path.stem, "leave": False} if sys.stderr.isatty() else False


def _mark(path, parameters):
    """Changes when the notebook's cells or its parameters do."""
    cells = [(cell.cell_type, cell.source) for cell in nbformat.read(path, as_version=4).cells]
    return hashlib.sha256(json.dumps([cells, parameters], sort_keys=True).encode()).hexdigest()[:16]


def _stage_digests(out):
    files = [stage_folder(out, stage) / RESULTS for stage in STAGES]
    return {
        file.parent.name: hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        for file in files
        if file.exists()
    }


def _is_done(copy, mark, out):
    record = _record(copy) if copy.exists() else {}
    return record.get("mark") == mark and record["stages"].items() <= _stage_digests(out).items()


def _record(copy):
    return nbformat.read(copy, as_version=4).metadata.get("cdrl", {})


def _stamp(copy, record):
    notebook = nbformat.read(copy, as_version=4)
    notebook.metadata["cdrl"] = record
    temporary = copy.with_name(f".{copy.name}.{os.getpid()}")
    nbformat.write(notebook, temporary)
    temporary.replace(copy)


def _typed(name, value, parameter):
    """A notebook parameter's text as the type that its `parameters` cell annotates."""
    kind = {
        "int": int,
        "float": float,
        "str": str,
        "bool": lambda text: {"true": True, "false": False}[text.lower()],
    }
    inferred = parameter["inferred_type_name"]
    try:
        return kind.get(inferred, json.loads)(value)
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{name}={value}: {inferred} is needed, as in {name}={parameter['default']}"
        ) from error
