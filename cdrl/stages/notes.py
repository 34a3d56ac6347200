"""What a stage says in words: how a corpus was split, which scores were left out and why."""

from pathlib import Path

from cdrl.core.files import damaged, read_json, write_json
from cdrl.core.settings import stage_folder

FILE = "notes.json"
NOTHING_LEFT_OUT = "nothing was left out: the corpus is generated and its truth is known"


def write_notes(out: Path, notes: list[str]) -> None:
    """Write a stage's notes to its folder, each once."""
    without_repetition = list(dict.fromkeys(notes))
    write_json(Path(out) / FILE, without_repetition)


def read_notes(run: Path, stage: str) -> str:
    """Return the notes of a stage, one a line.

    Args:
        run: folder of the run.
        stage: its name, as `corpus`.
    """
    path = stage_folder(run, stage) / FILE
    if not path.exists():
        return NOTHING_LEFT_OUT
    notes = read_json(path, list)
    if not all(isinstance(note, str) for note in notes):
        raise damaged(path, "it holds other things than texts")
    return "\n".join(notes)
