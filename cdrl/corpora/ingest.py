"""Real clips into a crop store: the one way in, whatever corpus they come from.

    manifest -> plan: one job for each clip                          (`ingest_plan`)
    job      -> worker: decode on one time base -> find, follow and crop the face
                -> a piece, or a reason                              (`ingest_worker`)
    pieces   -> one store, in the manifest's order, with report.html and rejected.csv
                                                                     (`ingest_assembly`)

A piece is a store of one clip in `OUT.pieces`, there in full or not at all. So a run that was
killed goes on where it was, and the finished store has the same bytes whatever the number of
workers and of interruptions.
"""

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from cdrl.core.cluster import run_jobs
from cdrl.core.files import exclusive, keep_work_folder, remove_work_folder, write_json
from cdrl.core.pools import Lost
from cdrl.core.settings import IngestConfig
from cdrl.corpora.ingest_assembly import (
    assemble,
    count_kinds,
    joined_clips,
    read_rejected,
    unwritable,
)
from cdrl.corpora.ingest_plan import (
    Job,
    Plan,
    check_manifest,
    plan_jobs,
    refuse_other_store,
    refuse_place,
)
from cdrl.corpora.ingest_worker import make_piece
from cdrl.corpora.store import Store
from cdrl.corpora.store_sums import CARD
from cdrl.media.detectors import load_detector


@dataclass(frozen=True)
class IngestResult:
    """What `ingest` did.

    Attributes:
        clips: in the store.
        frames: in the store.
        rejected: (name, reason) of the other clips.
        read_frames: cropped by this call; 0 where all was done before.
        seconds: how long that took.
        core_seconds: of processor time that the workers spent on those frames.
    """

    clips: int
    frames: int
    rejected: tuple[tuple[str, str], ...]
    read_frames: int
    seconds: float
    core_seconds: float


@dataclass
class _Throughput:
    """Frames that the workers cropped, the time since they began, and their processor time."""

    read_frames: int = 0
    seconds: float = 0.0
    core_seconds: float = 0.0


def pieces_of(out: Path) -> Path:
    """Return the folder where the clips of a store lie, each by itself, until it is complete.

    Args:
        out: folder of the store.
    """
    return out.with_name(out.name + ".pieces")


def ingest(
    manifest: pd.DataFrame,
    root: Path,
    out: Path,
    config: IngestConfig | None = None,
    progress: bool = True,
    shared: Path | None = None,
) -> IngestResult:
    """Read, align and crop every clip of a manifest into a store.

    A clip that cannot be used is left out and named.

    Args:
        manifest: columns `manifest.COLUMNS`; `sound` is "" where the sound is in the video.
        root: folder that `path` and `sound` are relative to.
        out: folder of the store; it appears when it is complete. What is done of it waits in
            `OUT.pieces`.
        config: the settings; None for the defaults.
        progress: a bar, and a line with the throughput at the end.
        shared: folder of finished clips that several stores may take from, and that stays; None:
            `OUT.pieces`, removed in the end.

    Returns:
        Counts and reasons; the same reasons are in the store's `report.html` and `rejected.csv`.

    Raises:
        InputError: a manifest that is none, a detector that is not installed, an `out` that is
            not empty and no store, that holds the corpus, or that was made of another manifest or
            with other settings; another process that writes there, a full disk, and where not one
            clip could be used.
    """
    out = Path(out)
    plan = Plan(
        manifest=check_manifest(manifest),
        root=Path(root),
        out=out,
        pieces=Path(shared) if shared else pieces_of(out),
        keep_pieces=bool(shared),
        config=config or IngestConfig(),
    )
    refuse_place(plan)
    if (out / CARD).exists():
        refuse_other_store(plan)
        _remove_pieces(plan)
        return _result(out, _Throughput())
    _try_detector(plan.config.detector)

    if plan.keep_pieces:
        plan.pieces.mkdir(parents=True, exist_ok=True)
        return _ingest_pieces(plan, progress)
    keep_work_folder(plan.pieces)
    with exclusive(plan.pieces):
        return _ingest_pieces(plan, progress)


def _ingest_pieces(plan: Plan, progress: bool) -> IngestResult:
    """Make what is lacking of the pieces, and the store of them."""
    jobs = plan_jobs(plan)
    throughput = _run_jobs(plan, jobs, progress)
    try:
        rejected = assemble(plan, jobs, progress)
    except OSError as error:
        raise unwritable(plan.out, error.strerror or str(error)) from error
    _remove_pieces(plan)
    result = _result(plan.out, throughput)
    if progress:
        tqdm.write("\n".join(summary(result, rejected)))
    return result


def _try_detector(name: str) -> None:
    """Run a detector once, so that one that is missing is refused before anything is read."""
    detector = load_detector(name)
    detector(0, np.zeros((64, 64, 3), np.uint8), False)


def _remove_pieces(plan: Plan) -> None:
    """Remove the pieces, unless other stores share them."""
    if not plan.keep_pieces:
        remove_work_folder(plan.pieces)


def _run_jobs(plan: Plan, jobs: list[Job], progress: bool) -> _Throughput:
    """Run the jobs that are not done, in workers."""
    config = plan.config
    joined = joined_clips(plan)
    waiting = [job for job in jobs if job.name not in joined and not job.is_done()]
    throughput = _Throughput()
    start = time.monotonic()
    bar = tqdm(
        total=len(jobs),
        initial=len(jobs) - len(waiting),
        unit="clip",
        disable=not progress,
        desc=plan.out.name,
    )
    results = run_jobs(
        make_piece, waiting, config.workers, config.limit_seconds, cluster=config.cluster
    )
    with bar, closing(results):
        for number, result in results:
            _keep_result(waiting[number], result, throughput)
            throughput.seconds = time.monotonic() - start
            speed = throughput.read_frames / throughput.seconds
            bar.set_postfix_str(f"{speed:.0f} frames/s", refresh=False)
            bar.update()
    throughput.seconds = time.monotonic() - start
    return throughput


def _keep_result(job: Job, result: dict | Lost, throughput: _Throughput) -> None:
    """Count the frames of a new piece, or write the reason down."""
    if isinstance(result, Lost):
        remedy = "use fewer workers, or convert it, e.g. with ffmpeg, to mp4"
        if result.timed_out:
            remedy = "raise the time limit or cut the clip"
        reason = f"{result.reason}; {remedy}"
        result = {"reason": reason, "thumbnail": "", "limit": job.config.limit_seconds}
    if "stop" in result:
        raise unwritable(job.piece.parent, result["stop"])
    if "frames" in result:
        throughput.read_frames += result["frames"]
        throughput.core_seconds += result["core_seconds"]
    else:
        write_json(job.reason_file, result)


def _result(out: Path, throughput: _Throughput) -> IngestResult:
    """What a finished store holds, and how fast it was made."""
    store = Store(out)
    return IngestResult(
        clips=len(store.clips),
        frames=len(store),
        rejected=read_rejected(out),
        read_frames=throughput.read_frames,
        seconds=throughput.seconds,
        core_seconds=throughput.core_seconds,
    )


def summary(result: IngestResult, rejected: dict[str, dict]) -> list[str]:
    """The lines that close a run: what is in, how fast it went, how many were left out and why.

    Args:
        result: of `ingest`.
        rejected: name -> {"reason", ...} of the clips that were left out.
    """
    speed = result.read_frames / max(result.seconds, 1e-9)
    core_speed = result.read_frames / max(result.core_seconds, 1e-9)
    lines = [
        f"{result.clips} clips, {result.frames} frames; {result.read_frames} of them now, in "
        f"{result.seconds:.1f} s: {speed:.1f} frames a second, {core_speed:.1f} a second of one "
        "core"
    ]
    for kind, count in count_kinds(rejected):
        lines.append(f"left out {count}: {kind}")
    return lines
