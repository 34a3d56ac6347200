"""The store of an ingest, put together from its pieces in the manifest's order."""

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
from cdrl.corpora.store_writer import StoreWriter

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
    rejected = {}
    for job in jobs:
        if not job.has_piece():
            fields = {"reason": str, "thumbnail": str}
            rejected[job.name] = read_json(job.reason_file, fields=fields)
    if len(rejected) == len(jobs):
        raise _nothing_usable(plan, rejected)
    _write_store(plan, jobs, rejected, progress)
    return rejected


def _write_store(plan: Plan, jobs: list[Job], rejected: dict[str, dict], progress: bool) -> None:
    num_accepted = len(jobs) - len(rejected)
    picture_step = max(1, -(-num_accepted // ACCEPTED_PICTURES))
    pictures = []
    num_written = 0
    rows = plan.manifest.to_dict("records")
    bar = tqdm(
        zip(jobs, rows, strict=True),
        total=len(jobs),
        unit="clip",
        disable=not progress,
        desc=f"{plan.out.name}, the store",
        mininterval=2,
    )
    with bar, StoreWriter(plan.out, plan.config.crop) as writer:
        for job, row in bar:
            if job.name in rejected:
                continue
            piece = Store(job.piece)
            box = piece.clips.loc[0, MOUTH_COLUMNS]
            labels = _store_row(plan, job, row)
            writer.add(labels, piece.face, piece.transforms, piece.audio, box)
            if num_written % picture_step == 0:
                middle = len(piece) // 2
                pictures.append(np.array(piece.face[middle]))
            num_written += 1
        write_report(writer.partial, plan.manifest, rejected, writer.frames, pictures)
        write_json(writer.partial / "ingest.json", plan.record())


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
