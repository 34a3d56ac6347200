"""The store of an ingest, put together from its pieces in the manifest's order.

A large store is written in shards. The pieces of a finished shard are removed, unless other stores
share them, so the disk never holds much more than the store; a run that is cut off goes on behind
its last finished shard.
"""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from cdrl.core.errors import InputError
from cdrl.core.files import damaged, first_line, read_json, write_json
from cdrl.corpora.ingest_plan import Job, Plan
from cdrl.corpora.rejects import ACCEPTED_PICTURES, reason_kind, write_report
from cdrl.corpora.store import MOUTH_COLUMNS, Store
from cdrl.corpora.store_writer import StoreWriter, read_shards

# Columns of the manifest that the store takes over as they are.
LABELS = ("name", "corpus", "speaker", "sentence", "emotion", "intensity")


def assemble(plan: Plan, jobs: list[Job], progress: bool) -> dict[str, dict]:
    """Write the store from the pieces.

    Args:
        plan: of the ingest.
        jobs: all done, in the manifest's order.
        progress: show a bar; ten thousand clips take a minute or two.

    Returns:
        name -> {"reason", "thumbnail"} of the clips without a piece.

    Raises:
        InputError: where not one clip could be used.
        OSError: where the store cannot be written.
    """
    joined = joined_clips(plan)
    rejected = {}
    for job in jobs:
        if job.name not in joined and not job.has_piece():
            fields = {"reason": str, "thumbnail": str}
            rejected[job.name] = read_json(job.reason_file, fields=fields)
    if len(rejected) == len(jobs):
        raise _nothing_usable(plan, rejected)
    _write_store(plan, jobs, rejected, progress)
    return rejected


def _write_store(plan: Plan, jobs: list[Job], rejected: dict[str, dict], progress: bool) -> None:
    accepted = [
        (job, row)
        for job, row in zip(jobs, plan.manifest.to_dict("records"), strict=True)
        if job.name not in rejected
    ]
    picture_step = max(1, -(-len(accepted) // ACCEPTED_PICTURES))
    pictures = []
    bar = tqdm(
        accepted,
        unit="clip",
        disable=not progress,
        desc=f"{plan.out.name}, the store",
        mininterval=2,
    )
    with bar, StoreWriter(plan.out, plan.config.crop, plan.key) as writer:
        joined = {clip["name"]: clip for clip in writer.rows}
        # A run that was killed may have left some of them.
        _remove_pieces(plan, [job for job in jobs if job.name in joined])
        num_shards = len(writer.shards)
        unfinished: list[Job] = []  # jobs of the shard that is being written
        for number, (job, row) in enumerate(bar):
            if job.name not in joined:
                piece = Store(job.piece)
                box = piece.clips.loc[0, MOUTH_COLUMNS]
                labels = _store_row(plan, job, row)
                writer.add(labels, piece.face[:], piece.transforms[:], piece.audio[:], box)
            if number % picture_step == 0:
                pictures.append(_middle_crop(job, joined.get(job.name), writer))
            if len(writer.shards) > num_shards:
                num_shards = len(writer.shards)
                _remove_pieces(plan, unfinished)
                unfinished = []
            unfinished.append(job)
        write_report(writer.partial, plan.manifest, rejected, writer.frames, pictures)
        write_json(writer.partial / "ingest.json", plan.record())


def _middle_crop(job: Job, clip: dict[str, Any] | None, writer: StoreWriter) -> np.ndarray:
    """The middle crop of a clip, from its piece, or from the finished shard that holds it."""
    if clip is None:
        crops = Store(job.piece).face
        return np.array(crops[len(crops) // 2])
    middle = clip["start"] + clip["num_frames"] // 2
    return np.array(writer.finished_crops()[middle])


def joined_clips(plan: Plan) -> set[str]:
    """Names of the clips that lie in finished shards of the unfinished store.

    Args:
        plan: of the ingest.

    Raises:
        InputError: the shards were made of another manifest or with other settings.
    """
    names = set()
    for shard in read_shards(plan.out, plan.key):
        names |= {clip["name"] for clip in shard["rows"]}
    return names


def _remove_pieces(plan: Plan, jobs: list[Job]) -> None:
    """Remove the pieces of clips that lie in a finished shard, unless other stores share them."""
    if plan.keep_pieces:
        return
    for job in jobs:
        shutil.rmtree(job.piece, ignore_errors=True)


def _store_row(plan: Plan, job: Job, row: dict[Any, Any]) -> dict[str, Any]:
    """The labels of a clip in the store, from its row of the manifest."""
    labels = {column: row[column] for column in LABELS}
    labels["camera"] = str(row["camera"])
    labels["take"] = str(row["take"])
    labels["split"] = plan.config.split
    labels["frame_rate"] = plan.config.frame_rate
    labels["media"] = str(job.root / job.path)
    return labels


def _nothing_usable(plan: Plan, rejected: dict[str, dict]) -> InputError:
    """Write the report and return the error that names it."""
    write_report(plan.pieces, plan.manifest, rejected, 0, ())
    counts = [f"{count} {kind}" for kind, count in count_kinds(rejected)]
    first_name, first = next(iter(rejected.items()))
    return InputError(
        f"{plan.out}: none of {len(rejected)} clips could be used ({', '.join(counts)}); "
        f"the first, {first_name}: {first['reason']}; all reasons in {plan.pieces}/report.html"
    )


def count_kinds(rejected: dict[str, dict]) -> list[tuple[str, int]]:
    """Kinds of reasons and how many clips have each, most frequent first.

    Args:
        rejected: name -> {"reason", ...}.
    """
    kinds = [reason_kind(entry["reason"]) for entry in rejected.values()]
    return Counter(kinds).most_common()


def read_rejected(out: Path) -> tuple[tuple[str, str], ...]:
    """(name, reason) of each clip that a finished store left out."""
    file = out / "rejected.csv"
    try:
        table = pd.read_csv(file, keep_default_na=False, dtype=str)
        table = table[["name", "reason"]]
    except (OSError, ValueError, KeyError) as error:
        raise damaged(file, first_line(error), "remove the store and make it anew") from None
    return tuple(zip(table["name"], table["reason"], strict=True))


def unwritable(path: Path, reason: str) -> InputError:
    """The error for a disk that is full or closed to writing."""
    return InputError(
        f"{path}: cannot be written ({reason}); free some space, the same command goes on"
    )
