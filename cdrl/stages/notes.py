"""What a stage has to say in words: how a corpus was split, which scores were left out and why."""

from pathlib import Path

from cdrl.core.files import read_json, write_json
from cdrl.core.settings import stage_folder
from cdrl.corpora.store import Store

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


def has_truth(run: Path) -> bool:
    """Whether the reporting store of a run knows visemes, coefficients and true edits: only a generated corpus does."""
    return "viseme" in Store(stage_folder(run, "corpus") / "report").truth


def known(scores: dict, names: list[str]) -> list[str]:
    """Those of the names that a run has scored, in order; what is lacking is told by `read_notes`."""
    return [name for name in names if name in scores]


def bars(scores: dict, names: list[str]) -> tuple:
    """What `score_bars` draws: the names that were scored, and for each (N,) value, chance, low, high and n, nan where there is none."""
    names = known(scores, names)
    return names, *(
        [scores.get(name + part, float("nan")) for name in names]
        for part in ("", ".chance", ".low", ".high", ".n")
    )
