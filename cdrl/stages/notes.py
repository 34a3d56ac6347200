"""What a stage has to say in words: how a corpus was split, which scores were left out and why."""

from pathlib import Path

from cdrl.core.files import read_json, write_json
from cdrl.core.settings import stage_folder

FILE = "notes.json"


def write_notes(out: Path, lines: list[str]) -> None:
    """Keep a stage's lines in its folder, each once."""
    write_json(Path(out) / FILE, list(dict.fromkeys(lines)))


def read_notes(run: Path, stage: str) -> str:
    """The lines of a stage, one below the other; of a generated corpus, that nothing was left out."""
    path = stage_folder(run, stage) / FILE
    return (
        "\n".join(read_json(path))
        if path.exists()
        else "nothing was left out: the corpus is generated and its truth is known"
    )
