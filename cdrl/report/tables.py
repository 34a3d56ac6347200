"""Scores as tables with chance, interval and n beside each; all others are folded away."""

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from cdrl.core.results import score_lines
from cdrl.report.html_page import html_table

PARTS = ("chance", "low", "high", "n")  # of a score, shown beside it


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
        table = [self.HEADS, *self.rows]
        columns = zip(*table, strict=True)
        widths = [max(map(len, column)) for column in columns]
        lines = []
        for row in table:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            lines.append("  ".join(cells).rstrip())

        return "\n".join(lines)


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
        parts = _parts(texts, name)
        chance = parts.get("chance", "")
        interval = _interval(parts)
        rows.append((description, name, texts[name], chance, interval, parts.get("n", "")))

    lines: dict[str, None] = {}  # an ordered set
    for pattern in folded:
        for line in score_lines(dict(scores), pattern):
            lines[line] = None
    return ScoreTable(tuple(rows), tuple(lines))


def score_texts(scores: Mapping[str, float]) -> dict[str, str]:
    """The numbers of scores as `cdrl scores` prints them.

    Args:
        scores: mapping of names to numbers.
    """
    texts = {}
    for line in score_lines(dict(scores)):
        name, text = line.split(" ", 1)
        texts[name] = text

    return texts


def score_rows(scores: Mapping[str, float]) -> str:
    """Every score as a row of an HTML table, with chance, interval and n in small print.

    Args:
        scores: mapping of names to numbers.
    """
    texts = score_texts(scores)
    rows = []
    for name, value in texts.items():
        base, _, last = name.rpartition(".")
        if last in PARTS and base in texts:
            continue  # shown beside its score
        notes = html.escape(", ".join(_notes(texts, name)))
        small = f"<small>{notes}</small>" if notes else ""
        cells = f"<td>{html.escape(name)}</td><td>{html.escape(value)}{small}</td>"
        rows.append(f"<tr>{cells}</tr>")

    return "".join(rows)


def _parts(texts: Mapping[str, str], name: str) -> dict[str, str]:
    """The texts of a score's chance, interval and n, where it has them."""
    parts = {}
    for part in PARTS:
        full_name = f"{name}.{part}"
        if full_name in texts:
            parts[part] = texts[full_name]

    return parts


def _interval(parts: Mapping[str, str]) -> str:
    """`0.4 to 0.6`; empty without both ends."""
    if "low" in parts and "high" in parts:
        return f"{parts['low']} to {parts['high']}"
    return ""


def _notes(texts: Mapping[str, str], name: str) -> list[str]:
    """What stands in small print beside a score."""
    parts = _parts(texts, name)
    interval = _interval(parts)
    notes = [interval] if interval else []
    for part in ("chance", "n"):
        if part in parts:
            notes.append(f"{part} {parts[part]}")

    return notes
