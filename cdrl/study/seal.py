"""The sealed set: people whom nobody has looked at, scored once, by a protocol that came before.

Its people are drawn by the commit that holds the protocol, so they cannot be rendered before it.
The record of every scoring stands beside the protocol, wherever the results go.
"""

import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.files import read_json, write_json
from cdrl.core.paths import repository_root
from cdrl.core.settings import StudyConfig
from cdrl.corpora.store import Store
from cdrl.studio import corpus as studio

FOLDER = Path("results") / "sealed"
PROTOCOL = FOLDER / "protocol.md"
# {family: {row: [intensity scales]}}, of the choosing set: what is scored.
CHOSEN = FOLDER / "chosen.json"
RECORD = FOLDER / "scored.json"
DIGITS = 8  # hexadecimal digits of the commit that make the seed
SEALED = "sealed"  # the split, and the store of its clips


@dataclass(frozen=True)
class Protocol:
    """The protocol as it is committed.

    Attributes:
        commit: that last changed it, 40 hexadecimal digits.
        date: of that commit, ISO 8601.
    """

    commit: str
    date: str

    @property
    def seed(self) -> int:
        """Of the sealed people: the first eight digits of the commit.

        >>> Protocol("000000ff" + 32 * "0", "").seed
        255
        """
        return int(self.commit[:DIGITS], 16)


@dataclass(frozen=True)
class Opening:
    """One scoring of the sealed set, as `scored.json` keeps it.

    Attributes:
        commit: of the protocol.
        seed: of the people.
        date: when it began, ISO 8601.
        head: commit of the code.
        code: of the study's jobs, see `cdrl.study.job_code`.
        settings: hash of the study's settings.
        rows: that were asked for; empty for all.
        finished: when its last job was done; empty before.
        again: how many scorings were finished or given up before it; 0 for the first.
    """

    commit: str
    seed: int
    date: str
    head: str
    code: str
    settings: str
    rows: str
    finished: str = ""
    again: int = 0

    def goes_on_with(self, other: "Opening") -> bool:
        """Whether this is the same scoring, which was interrupted.

        Args:
            other: an earlier one.
        """
        same = ("commit", "code", "settings", "rows")
        is_same = all(getattr(self, name) == getattr(other, name) for name in same)
        return is_same and not other.finished


def read_protocol(root: Path | None = None) -> Protocol:
    """Find the commit of the protocol and of what the choosing set chose.

    Args:
        root: of the clone; None: this one.

    Raises:
        InputError: no git, a file that is missing, not committed or changed since.
    """
    root = repository_root() if root is None else Path(root)
    files = (PROTOCOL, CHOSEN)
    for file in files:
        if not (root / file).exists():
            raise InputError(f"--sealed: {root / file} is missing{_remedy(file)}")

    names = [str(file) for file in files]
    changed = _git(root, "status", "--porcelain", "--", *names)
    if changed:
        listed = ", ".join(line[3:] for line in changed.splitlines())
        raise InputError(
            f"--sealed: {listed} is not as committed: commit the protocol first, since its commit "
            "draws the people"
        )
    line = _git(root, "log", "-n", "1", "--format=%H %cI", "--", *names)
    if not line:
        raise InputError(
            f"--sealed: {root / PROTOCOL} is in no commit: commit it first, since its commit draws "
            "the people"
        )
    commit, date = line.split()
    return Protocol(commit, date)


def _remedy(file: Path) -> str:
    """Say how a missing file comes about."""
    if file == PROTOCOL:
        return ": it comes with the kit's repository"
    return (
        ": `cdrl study --set half=opponents --set split=choose --out FOLDER` writes chosen.json "
        "into FOLDER; copy it there and commit it"
    )


def _git(root: Path, *arguments: str) -> str:
    """Return what git says; the people are drawn by a commit, so there has to be git."""
    try:
        process = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        raise InputError(
            f"--sealed: {root} is no clone that git can read: the sealed people are drawn by the "
            "commit of the protocol; clone the repository"
        ) from None
    return process.stdout.rstrip("\n")


def sealed_clips(config: StudyConfig, protocol: Protocol) -> list[studio.ClipSpec]:
    """List the clips of the sealed people.

    Args:
        config: how many people and sentences, of which version of the studio.
        protocol: draws the people.
    """
    return studio.reserved_specs(
        protocol.seed, config.sealed_people, config.sealed_sentences, config.studio_version
    )


def check_sealed_store(work: Path, clips: list[studio.ClipSpec]) -> None:
    """Refuse a work folder that has other sealed people, of a former protocol.

    Args:
        work: the study's work folder.
        clips: of the sealed people.

    Raises:
        InputError: other clips are there.
    """
    folder = Path(work) / SEALED
    if not (folder / "store.json").exists():
        return
    names = {studio.name_of(clip) for clip in clips}
    if not set(Store(folder).clips["name"]) <= names:
        raise InputError(
            f"--sealed: {folder} has the people of another protocol: choose another --work, or "
            "remove that folder"
        )


def read_chosen(root: Path | None = None) -> dict[str, dict[str, list[float]]]:
    """Read the settings that the choosing set chose: {family: {row: [intensity scales]}}.

    Args:
        root: of the clone; None: this one.

    Raises:
        InputError: a file of another form.
    """
    root = repository_root() if root is None else Path(root)
    chosen = read_json(root / CHOSEN, dict)
    for rows in chosen.values():
        if not isinstance(rows, dict) or not all(isinstance(row, list) for row in rows.values()):
            raise InputError(f"{root / CHOSEN} cannot be read: {_remedy(CHOSEN)[2:]}")
    return chosen


def open_seal(
    rows: str, settings: str, code: str, again: bool, root: Path | None = None
) -> Opening:
    """Write that the sealed set is scored from now on; refuse a second time.

    An interrupted scoring goes on where code, settings and rows are the same.

    Args:
        rows: that were asked for; empty for all.
        settings: a hash of the study's settings.
        code: of the study's jobs.
        again: whether it may be scored again; every table says so then.
        root: of the clone; None: this one.

    Raises:
        InputError: it was scored before, or begun with other code or settings.
    """
    root = repository_root() if root is None else Path(root)
    protocol = read_protocol(root)
    former = read_openings(root)
    opening = Opening(
        commit=protocol.commit,
        seed=protocol.seed,
        date=_now(),
        head=_git(root, "rev-parse", "HEAD"),
        code=code,
        settings=settings,
        rows=rows,
        again=len(former),
    )
    if former and opening.goes_on_with(former[-1]):
        return former[-1]
    if former and not again:
        last = former[-1]
        state = f"scored on {last.finished}" if last.finished else f"opened on {last.date}"
        raise InputError(
            f"--sealed: the sealed set was {state} by commit {last.head[:12]} ({root / RECORD}): "
            "a sealed set counts once; --again scores it again, and every table says so"
        )
    _write(root, [*former, opening])
    return opening


def close_seal(opening: Opening, root: Path | None = None) -> Opening:
    """Write that a scoring is finished.

    Args:
        opening: the last one.
        root: of the clone; None: this one.

    Returns:
        The same, with the date.
    """
    root = repository_root() if root is None else Path(root)
    if opening.finished:
        return opening
    finished = Opening(**asdict(opening) | {"finished": _now()})
    _write(root, [*read_openings(root)[:-1], finished])
    return finished


def read_openings(root: Path) -> list[Opening]:
    """Read every scoring of the sealed set, the first one first.

    Args:
        root: of the clone.
    """
    path = root / RECORD
    if not path.exists():
        return []
    record = read_json(path, fields={"openings": list})
    try:
        return [Opening(**opening) for opening in record["openings"]]
    except TypeError:
        raise InputError(
            f"{path} cannot be read: it is the record of the sealed set; bring back the committed "
            "one"
        ) from None


def _write(root: Path, openings: list[Opening]) -> None:
    write_json(root / RECORD, {"openings": [asdict(opening) for opening in openings]})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def describe(opening: Opening) -> dict[str, Any]:
    """What every table of the sealed set says of its scoring.

    Args:
        opening: of the scoring.
    """
    entries = {
        "sealed.protocol": opening.commit,
        "sealed.seed": opening.seed,
        "sealed.date": opening.date,
        "sealed.commit": opening.head,
    }
    if opening.again:
        entries["sealed.scored_again"] = opening.again
    return entries


def marked(table: pd.DataFrame, opening: Opening) -> pd.DataFrame:
    """A table whose every line says of which scoring it is.

    Args:
        table: of the sealed set.
        opening: of the scoring.
    """
    text = f"protocol {opening.commit[:12]}, {opening.date}"
    if opening.again:
        text += f", scored again ({opening.again} before)"
    return table.assign(sealed=text)
