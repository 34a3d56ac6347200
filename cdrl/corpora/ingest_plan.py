"""The plan of an ingest: what is asked for, one job for each clip, and which jobs are done.

The result of a job, its piece, is a store of one clip in a folder whose name is a hash of the
clip's file and of the settings; or, beside it, a JSON file with the reason why there is none.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.files import damaged, read_json
from cdrl.core.settings import IngestConfig, config_hash, hashed_settings
from cdrl.corpora.manifest import COLUMNS, check_rows
from cdrl.corpora.store_writer import refuse_foreign_store
from cdrl.media.detectors import box_file

# Counts up whenever the same file under the same settings would give other crops or sound.
VERSION = 1


@dataclass(frozen=True)
class Plan:
    """What an ingest is asked for.

    Attributes:
        manifest: checked, see `check_manifest`.
        root: folder that its paths are relative to.
        out: folder of the store.
        pieces: folder of the pieces.
        keep_pieces: whether they stay when the store is there.
        config: the settings.
    """

    manifest: pd.DataFrame
    root: Path
    out: Path
    pieces: Path
    keep_pieces: bool
    config: IngestConfig

    def record(self) -> dict[str, Any]:
        """What the finished store remembers, in `ingest.json`, to be recognised by."""
        return {
            "ingest": VERSION,
            "settings": hashed_settings(self.config),
            "manifest": _digest(self.manifest.to_csv(index=False)),
        }

    @property
    def key(self) -> str:
        """Hash of the record: what the shards of an unfinished store are recognised by."""
        return _digest(json.dumps(self.record(), sort_keys=True))


@dataclass(frozen=True)
class Job:
    """One clip for a worker.

    Attributes:
        name: of the clip.
        root: folder that the paths are relative to.
        path: of the video; "" where there is none.
        sound: of a separate sound file; "" where the sound is in the video.
        bytes: of the video as the manifest says; 0 where it does not say.
        sha256: of the video as the manifest says; "" where it does not say.
        piece: folder that the piece becomes.
        config: the settings.
    """

    name: str
    root: Path
    path: str
    sound: str
    bytes: int
    sha256: str
    piece: Path
    config: IngestConfig

    @property
    def reason_file(self) -> Path:
        """The file with the reason why there is no piece."""
        return self.piece.with_suffix(".json")

    def has_piece(self) -> bool:
        """Whether the clip is done and can be used."""
        return (self.piece / "store.json").exists()

    def is_done(self) -> bool:
        """Whether a piece or a reason is there.

        A clip that took too long is tried again only with more time.
        """
        if self.has_piece():
            return True
        if not self.reason_file.exists():
            return False
        time_limit = read_json(self.reason_file, dict).get("limit", np.inf)
        if not isinstance(time_limit, (int, float)):
            raise damaged(self.reason_file, "its limit is no number")
        return time_limit >= self.config.limit_seconds


def check_manifest(manifest: pd.DataFrame) -> pd.DataFrame:
    """The manifest's own columns, rows numbered from 0.

    Args:
        manifest: columns `manifest.COLUMNS`, perhaps others.

    Raises:
        InputError: for a missing or doubled column, an empty table, a value that cannot be used,
            and a name of several clips.
    """
    names = list(manifest.columns)
    missing = [name for name in COLUMNS if name not in names]
    doubled = [name for name in COLUMNS if names.count(name) > 1]
    if missing or doubled or not len(manifest):
        fault = "no clip in it"
        if doubled:
            fault = f"column {', '.join(doubled)} twice"
        if missing:
            fault = f"no column {', '.join(missing)}"
        raise InputError(
            f"manifest: {fault}; a table with the columns {', '.join(COLUMNS)} is needed"
        )
    return check_rows(manifest[list(COLUMNS)].reset_index(drop=True), "manifest")


def refuse_place(plan: Plan) -> None:
    """Refuse places of the store where files of somebody else would be lost.

    Args:
        plan: its `out` and `root` are compared.

    Raises:
        InputError: `out` is the corpus, holds it, or has files and is no store.
    """
    out = plan.out.resolve()
    root = plan.root.resolve()
    if out == root or out in root.parents:
        raise InputError(
            f"{plan.out}: holds the corpus {plan.root}; choose another --out, nothing is "
            "overwritten"
        )
    refuse_foreign_store(plan.out)


def refuse_other_store(plan: Plan) -> None:
    """Refuse a finished store that was made of another manifest or with other settings.

    Args:
        plan: its `out` holds a finished store.

    Raises:
        InputError: with the settings that differ.
    """
    file = plan.out / "ingest.json"
    stored = read_json(file, dict) if file.exists() else {}
    if not isinstance(stored.get("settings", {}), dict):
        raise damaged(file, "its settings are no mapping")
    # A store from before there was a choice of crops is aligned.
    stored_settings = {"crop": "aligned"} | stored.get("settings", {})
    stored["settings"] = stored_settings
    record = plan.record()
    if stored == record:
        return
    changed = []
    for name, value in record["settings"].items():
        stored_value = stored_settings.get(name)
        if stored_value != value:
            changed.append(f"{name}={stored_value}")
    reason = f"made with {', '.join(changed)}" if changed else "made of another manifest"
    raise InputError(
        f"{plan.out}: holds a finished store, {reason}; choose another --out, nothing is "
        "overwritten"
    )


def plan_jobs(plan: Plan) -> list[Job]:
    """One job for each clip of the manifest, in its order."""
    return [_plan_job(plan, row) for row in plan.manifest.itertuples()]


def _plan_job(plan: Plan, row: Any) -> Job:
    config = plan.config
    identity = [
        VERSION,
        config_hash(config),
        row.path,
        row.sound,
        int(row.bytes),
        row.sha256,
        bool(config.boxes),
        _boxes_digest(config, row.name),
    ]
    # The sum is of the pictures; a sound that was exchanged beside them makes another clip.
    if row.sha256 and row.sound and row.path:
        identity += _sound_state(plan.root / row.sound)
    piece_name = _digest(json.dumps(identity))[:20]
    return Job(
        name=row.name,
        root=plan.root,
        path=row.path,
        sound=row.sound,
        bytes=int(row.bytes),
        sha256=row.sha256,
        piece=plan.pieces / piece_name,
        config=config,
    )


def _boxes_digest(config: IngestConfig, name: str) -> str:
    """Hash of a clip's given boxes; "" where there are none, which the worker reports."""
    if not config.boxes:
        return ""
    try:
        file = box_file(Path(config.boxes), name)
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except (InputError, OSError):
        return ""


def _sound_state(path: Path) -> list[list[int]]:
    """Size and time of a file, as one item; empty where it is missing, which the worker reports."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [[status.st_size, status.st_mtime_ns]]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
