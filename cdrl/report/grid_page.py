"""grid.html: the scores of a grid's runs side by side, in one file that needs no network."""

import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd

from cdrl.report.figures import score_bars
from cdrl.report.html_page import figure_block, html_page, html_table
from cdrl.report.main_scores import PARTS

# Shown where the grid's file names none; those that the runs do not have are left out.
MAIN_SCORES = (
    "content.swap_image",
    "content.retrieval_r1",
    "content.viseme",
    "content.emotion",
    "content.emotion_clip",
    "emotion.emotion",
    "emotion.viseme",
    "spfem.actions.cdrl.emotion_accuracy",
    "spfem.actions.cdrl.mouth_error",
    "spfem.actions.cdrl.speech_correlation",
    "spfem.image.cdrl.emotion_accuracy",
    "spfem.image.cdrl.mouth_error",
    "spfem.image.cdrl.speech_correlation",
)
NUM_FIRST_SCORES = 8  # shown where the runs have none of the main ones
NOTE = "value (95 % interval; chance; n), where a score has them"


def write_grid_page(
    results: pd.DataFrame,
    failures: pd.DataFrame,
    varied: Sequence[str],
    patterns: Sequence[str],
    out: Path | str,
) -> None:
    """Write a table of runs and scores, a bar figure for each score, and the failures.

    Args:
        results: columns run, the varied settings, score, value.
        failures: columns run, the varied settings, reason.
        varied: names of the settings that differ between runs.
        patterns: scores to show, with wildcards; none for `MAIN_SCORES`.
        out: file to write.
    """
    scores = results.pivot_table(index="run", columns="score", values="value", sort=False)
    settings = pd.DataFrame(index=scores.index)
    if varied:
        settings = results.drop_duplicates("run").set_index("run")[list(varied)]
    names = select_scores(list(scores.columns), patterns)

    parts = [f"<h1>{len(scores)} runs, {len(failures)} failed</h1>"]
    parts.append(_score_table(scores, settings, names))
    for position, name in enumerate(names):
        parts.append(_score_figure(scores, name, f"figure{position}"))
    if len(failures):
        reasons = html_table(failures[["run", "reason"]].itertuples(index=False))
        parts.append(f'<h2 id="failed">Failed</h2><div class="wide">{reasons}</div>')

    page = html_page("cdrl grid", "\n".join(parts))
    Path(out).write_text(page, encoding="utf-8")


def _score_figure(scores: pd.DataFrame, name: str, anchor: str) -> str:
    """Bars of one score, with its chance levels and intervals, as HTML."""
    figure = score_bars(
        scores.index,
        scores[name],
        chance=scores.get(f"{name}.chance"),
        low=scores.get(f"{name}.low"),
        high=scores.get(f"{name}.high"),
        title=name,
        unit=name,
    )
    content = json.loads(figure.to_json())
    return figure_block(content, anchor)


def select_scores(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The scores to show: those that match, in the order of the patterns.

    A chance level, an end of an interval or an n is never shown alone.

    Args:
        names: of all scores.
        patterns: with wildcards; none for `MAIN_SCORES`, or the first scores where none of these
            is there.

    >>> select_scores(["a.x", "a.x.n", "b"], ["a.*"])
    ['a.x']
    """
    plain = [name for name in names if name.rpartition(".")[2] not in PARTS]
    selected: dict[str, None] = {}  # an ordered set
    for pattern in patterns or MAIN_SCORES:
        for name in plain:
            if fnmatchcase(name, pattern):
                selected[name] = None

    if not selected and not patterns:
        return plain[:NUM_FIRST_SCORES]
    return list(selected)


def _score_table(scores: pd.DataFrame, settings: pd.DataFrame, names: Sequence[str]) -> str:
    """A row for each run: its name, its settings and its scores."""
    rows = []
    for run in scores.index:
        cells = [run, *settings.loc[run]]
        for name in names:
            cells.append(_score_text(scores.loc[run], name))
        rows.append(cells)

    table = html_table(rows, ["run", *settings.columns, *names])
    return f'<p>{NOTE}</p><div class="wide">{table}</div>'


def _score_text(scores: pd.Series, name: str) -> str:
    """`0.42 (0.40 to 0.44; chance 0.17; n 300)`; empty where the run has no such score."""
    value = scores[name]
    if pd.isna(value):
        return ""

    low = scores.get(f"{name}.low")
    high = scores.get(f"{name}.high")
    notes = []
    if pd.notna(low) and pd.notna(high):
        notes.append(f"{low:.3g} to {high:.3g}")
    for part in ("chance", "n"):
        number = scores.get(f"{name}.{part}")
        if pd.notna(number):
            notes.append(f"{part} {number:.3g}")

    text = f"{value:.4g}"
    return f"{text} ({'; '.join(notes)})" if notes else text
