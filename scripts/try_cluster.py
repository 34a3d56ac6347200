"""Try everything that a Dask cluster does, beside the same commands without one.

    python scripts/try_cluster.py --work runs/cluster
    python scripts/try_cluster.py --work runs/cluster --only jobs,grid

A scheduler and two worker processes of one thread each are started on this machine, as a user
starts them. On them run:

    ingest     200 rendered clips: the files have the same bytes as those that the pool of this
               machine makes
    worker     the same, and a worker is killed in the middle: its jobs are done again, and the
               bytes are the same
    scheduler  the same, and the scheduler is killed in the middle: one line; under another one
               the same command goes on, and the bytes are the same
    grid       two runs of real notebooks: the same arrays, weights, tables and scores
    study      rows of content, emotion and both editors at the smallest size: the same scores
    jobs       10,000 jobs that do nothing, and the memory of the process that hands them over

Each part ends with a line; its figures go into results/scale/cluster.json. It takes some 20 minutes
of two idle cores. It needs the extra `cluster` (`pip install -e ".[cluster]"`).
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import neg
from pathlib import Path
from typing import Any

import psutil
from kill_harness import CDRL, digest
from measure_edit import MEGABYTE
from measure_ingest import count_pieces, lay_out, render_clips

from cdrl.core.cluster import run_on_cluster
from cdrl.core.files import read_json, write_json
from cdrl.core.paths import repository_root

RECORD = repository_root() / "results" / "scale" / "cluster.json"
WORKERS = 2
CLIPS = 200
JOBS = 10_000
LOOKS = 10  # at the memory of the client
PATIENCE = 60.0  # seconds until a scheduler has written its file
GRID = """
preset: smoke
notebooks: [0, 1, 2]
grid: {content.seed: [0, 1]}
"""
STUDY: dict[str, Any] = {
    "speech": "cached",
    "people": 4,
    "clips": 4,
    "report_people": 4,
    "pairs": 40,
    "content_steps": 8,
    "emotion_steps": 8,
    "released_steps": 4,
    "fit_frames": 400,
    "swaps": 100,
    "gallery": 2,
    "edits": 8,
    "edit_pairs": 8,
    "edit_steps": 2,
    "edit_batch": 2,
    "edit_sweep": "0.5,1",
    "manipulator_steps": 4,
    "distil_steps": 4,
    "seeds": 1,
    "workers": WORKERS,
    "rows": "content.cdrl,content.raw,emotion.cdrl,emotion.raw,edit.image.cdrl,"
    "edit.actions.baseline,edit.actions.cdrl",
}


class Different(Exception):
    """A cluster did something else than the same command without one."""


def start(words: Sequence[str], folder: Path) -> subprocess.Popen:
    """Start a process of Dask that prints nothing."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(repository_root())}
    return subprocess.Popen(
        [sys.executable, "-m", *words], env=environment, cwd=folder, stderr=subprocess.DEVNULL
    )


def end(process: subprocess.Popen) -> None:
    """End a process and all below it."""
    family = []
    if process.poll() is None:
        family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    for child in family:
        if child.is_running():
            child.kill()


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[Path, subprocess.Popen, subprocess.Popen]]:
    """A scheduler's file, the scheduler, and the process above two workers.

    Args:
        folder: for their files.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    file = folder / "scheduler.json"
    local = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
    scheduler = start(
        ["distributed.cli.dask_scheduler", "--port", "0", "--no-show", *local], folder
    )
    deadline = time.monotonic() + PATIENCE
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    workers = start(
        ["distributed.cli.dask_worker", f"--nworkers={WORKERS}", "--nthreads=1", *local], folder
    )
    try:
        yield file, scheduler, workers
    finally:
        end(workers)
        end(scheduler)


def command(*words: str | Path) -> subprocess.Popen:
    """Start a command of the kit; its output is read when it ends."""
    return subprocess.Popen(
        [*CDRL, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen) -> float:
    """Wait for a command; returns its seconds.

    Raises:
        Different: it failed.
    """
    begin = time.monotonic()
    _, errors = process.communicate()
    if process.returncode:
        raise Different(f"exit code {process.returncode}: {errors[-2000:]}")
    return time.monotonic() - begin


def differences(folder: Path, other: Path) -> list[str]:
    """Names of the files of two folders whose bytes differ, or that one of them lacks."""
    names = {path.name for path in (*folder.iterdir(), *other.iterdir())}

    def content(path: Path) -> bytes | None:
        return path.read_bytes() if path.exists() else None

    return sorted(name for name in names if content(folder / name) != content(other / name))


def refuse_differences(names: Sequence[str]) -> None:
    """End where files differ."""
    if names:
        raise Different(f"{len(names)} files differ: {', '.join(names[:5])}")


# --- the parts ------------------------------------------------------------------------------------


def corpus_of(work: Path) -> Path:
    """A corpus of `CLIPS` short rendered clips, laid out as MEAD."""
    root = work / "corpus"
    lay_out(root, render_clips(work), CLIPS)
    return root


def reference(work: Path) -> Path:
    """The store of the corpus, made without a cluster."""
    out = work / "here"
    finish(command("data", "ingest", corpus_of(work), "--out", out, "--workers", str(WORKERS)))
    return out


def remove_store(out: Path) -> None:
    """Remove what an earlier trial left."""
    for folder in (out, out.with_name(out.name + ".pieces"), out.with_name(out.name + ".partial")):
        shutil.rmtree(folder, ignore_errors=True)


def ingest_on(work: Path, file: Path, name: str) -> tuple[Path, subprocess.Popen]:
    """Begin the ingest on a cluster, which is waited for until a third is done."""
    out = work / name
    remove_store(out)
    process = command("data", "ingest", corpus_of(work), "--out", out, "--cluster", file)
    pieces = out.with_name(out.name + ".pieces")
    while count_pieces(pieces) < CLIPS // 3 and process.poll() is None:
        time.sleep(0.02)
    return out, process


def try_ingest(work: Path) -> dict[str, Any]:
    """An ingest of 200 clips."""
    expected = reference(work)
    with cluster(work / "dask") as (file, _, _):
        begin = time.monotonic()
        out, process = ingest_on(work, file, "there")
        finish(process)
        seconds = time.monotonic() - begin
    refuse_differences(differences(expected, out))
    return {"clips": CLIPS, "files": len(list(out.iterdir())), "seconds": round(seconds)}


def try_worker(work: Path) -> dict[str, Any]:
    """The same, with a worker that is killed."""
    expected = reference(work)
    with cluster(work / "dask") as (file, _, workers):
        out, process = ingest_on(work, file, "worker_killed")
        above = psutil.Process(workers.pid).children()
        killed = next(child for child in above if "spawn_main" in " ".join(child.cmdline()))
        killed.kill()
        finish(process)
    refuse_differences(differences(expected, out))
    return {"clips": CLIPS, "killed": 1}


def try_scheduler(work: Path) -> dict[str, Any]:
    """The same, with a scheduler that is killed, and the command again under another one."""
    expected = reference(work)
    with cluster(work / "dask") as (file, scheduler, _):
        out, process = ingest_on(work, file, "scheduler_killed")
        scheduler.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
    line = errors.strip().splitlines()[-1]
    if process.returncode == 0 or "its scheduler was lost" not in line or "Traceback" in errors:
        raise Different(f"exit code {process.returncode}: {errors[-2000:]}")
    kept = count_pieces(out.with_name(out.name + ".pieces"))
    with cluster(work / "dask") as (file, _, _):
        finish(command("data", "ingest", work / "corpus", "--out", out, "--cluster", file))
    refuse_differences(differences(expected, out))
    return {"clips": CLIPS, "kept": kept, "line": line.replace(f"{work}/", "")}


def try_grid(work: Path) -> dict[str, Any]:
    """A grid of two runs of real notebooks."""
    table = work / "grid.yaml"
    table.write_text(GRID)
    folders = (work / "grid_here", work / "grid_there")
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    here = finish(command("grid", table, "--out", folders[0], "--workers", str(WORKERS)))
    with cluster(work / "dask") as (file, _, _):
        there = finish(command("grid", table, "--out", folders[1], "--cluster", file))
    return compare_digests(*folders) | {"seconds_here": round(here), "seconds_there": round(there)}


def try_study(work: Path) -> dict[str, Any]:
    """Rows of a study at the smallest size."""
    settings = []
    for name, value in STUDY.items():
        settings += ["--set", f"{name}={value}"]
    folders = (work / "study_here", work / "study_there")
    for folder in (*folders, *(folder.with_suffix(".work") for folder in folders)):
        shutil.rmtree(folder, ignore_errors=True)

    def study(folder: Path, *more: str | Path) -> float:
        own_work = folder.with_suffix(".work")
        return finish(command("study", "--out", folder, "--work", own_work, *settings, *more))

    here = study(folders[0])
    with cluster(work / "dask") as (file, _, _):
        there = study(folders[1], "--cluster", file)
    works = [folder.with_suffix(".work") for folder in folders]
    num_files = compare_digests(*folders)["files"] + compare_digests(*works)["files"]
    return {
        "rows": len(STUDY["rows"].split(",")),
        "files": num_files,
        "seconds_here": round(here),
        "seconds_there": round(there),
    }


def compare_digests(here: Path, there: Path) -> dict[str, Any]:
    """Compare arrays, weights, tables and scores of two folders; times are left out.

    Raises:
        Different: with the names of the files.
    """
    expected, found = digest(here), digest(there)
    names = sorted(expected.keys() | found.keys())
    refuse_differences([name for name in names if expected.get(name) != found.get(name)])
    return {"files": len(expected)}


def try_jobs(work: Path) -> dict[str, Any]:
    """Many jobs that do nothing, and the memory of this process as they end."""
    megabytes = []
    me = psutil.Process()
    with cluster(work / "dask") as (file, _, _):
        begin = time.monotonic()
        for number, _ in enumerate(run_on_cluster(neg, range(JOBS), str(file))):
            if number % (JOBS // LOOKS) == 0:
                megabytes.append(round(me.memory_info().rss / MEGABYTE, 1))
        megabytes.append(round(me.memory_info().rss / MEGABYTE, 1))
        seconds = time.monotonic() - begin
    return {"jobs": JOBS, "megabytes": megabytes, "seconds": round(seconds)}


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "ingest": try_ingest,
    "worker": try_worker,
    "scheduler": try_scheduler,
    "grid": try_grid,
    "study": try_study,
    "jobs": try_jobs,
}


def main() -> int:
    """Try the parts that were asked for; returns 1 where one differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("runs/cluster"), help="folder for all")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in arguments.only.split(","):
        try:
            found = PARTS[name](work)
        except Different as difference:
            print(f"{name}: DIFFERENT, {difference}", flush=True)
            failed = 1
            continue
        print(f"{name}: as without a cluster, {found}", flush=True)
        record = read_json(RECORD, dict) if RECORD.exists() else {}
        write_json(RECORD, record | {name: found})
    return failed


if __name__ == "__main__":
    sys.exit(main())
