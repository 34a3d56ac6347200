"""Scores as tables with chance, interval and n beside each; all others are folded away."""

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from cdrl.core.results import score_lines
from cdrl.report.html_page import html_table
from cdrl.report.main_scores import in_columns, parts_of, plain_names, score_texts


@dataclass(frozen=True)
class ScoreTable:
    """A small table that a notebook, the report and plain text can show.

    Attributes:
        rows: (description, score, value, chance, interval, n), texts; "" where there is none.
        folded: `name value` lines of all scores that belong to it.
    """

    rows: tuple[tuple[str, ...], ...]
    folded: tuple[str, ...]

    HEADS: ClassVar = ("what", "score", "value", "chance", "95 % interval", "n")

    def _repr_html_(self) -> str:
        table = html_table(self.rows, self.HEADS)
        if not self.folded:
            return table
        lines = html.escape("\n".join(self.folded))
        summary = f"<summary>all {len(self.folded)} lines of these scores</summary>"
        return f"{table}<details>{summary}<pre>{lines}</pre></details>"

    def __repr__(self) -> str:
        return "\n".join(in_columns([self.HEADS, *self.rows]))


def score_table(
    scores: Mapping[str, float], descriptions: Mapping[str, str], folded: tuple[str, ...] = ()
) -> ScoreTable:
    """The scores that an argument needs, each with its description.

    Args:
        scores: mapping of names to numbers, as `cdrl.core.results.all_scores` returns it.
        descriptions: {name of a score: text}; a score that this run does not have is left out.
        folded: patterns of `cdrl.core.results.score_lines`; the scores that they match are folded.

    >>> score_table({"a.b": 0.5, "a.b.chance": 0.25, "a.b.n": 8}, {"a.b": "how often"}, ("a",)).rows
    (('how often', 'a.b', '0.5', '0.25', '', '8'),)
    """
    texts = score_texts(scores)
    rows = []
    for name, description in descriptions.items():
        if name not in texts:
            continue
        parts = parts_of(texts, name)
        numbers = [parts.get(part, "") for part in ("chance", "interval", "n")]
        rows.append((description, name, texts[name], *numbers))

    lines: dict[str, None] = {}  # an ordered set
    for pattern in folded:
        for line in score_lines(dict(scores), pattern):
            lines[line] = None
    return ScoreTable(tuple(rows), tuple(lines))


def score_rows(scores: Mapping[str, float]) -> str:
    """Every score as a row of an HTML table, with chance, interval and n in small print.

    Args:
        scores: mapping of names to numbers.
    """
    texts = score_texts(scores)
    rows = []
    for name in plain_names(texts):
        parts = parts_of(texts, name)
        notes = [parts["interval"]] if "interval" in parts else []
        notes += [f"{part} {parts[part]}" for part in ("chance", "n") if part in parts]
        small = f"<small>{html.escape(', '.join(notes))}</small>" if notes else ""
        value = html.escape(texts[name])
        rows.append(f"<tr><td>{html.escape(name)}</td><td>{value}{small}</td></tr>")

    return "".join(rows)
