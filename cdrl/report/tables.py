"""Scores as tables: the few that an argument needs, with chance, interval and n beside each; the rest folded away."""

import html
from dataclasses import dataclass

from cdrl.core.results import score_lines

PARTS = ("chance", "low", "high", "n")  # of a score, told beside it


@dataclass(frozen=True)
class ScoreTable:
    """A small table that a notebook, the report and plain text can show.

    Attributes:
        rows: (what it is, score, value, chance, interval, n), texts; "" where there is none. folded: all lines that belong to it.
    """

    rows: tuple[tuple[str, ...], ...]
    folded: tuple[str, ...]

    HEADS = ("what", "score", "value", "chance", "95 % interval", "n")

    def _repr_html_(self) -> str:
        heads = "".join(f"<th>{head}</th>" for head in self.HEADS)
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        lines = html.escape("\n".join(self.folded))
        rest = (
            f"<details><summary>all {len(self.folded)} lines of these scores</summary><pre>{lines}</pre></details>"
            if self.folded
            else ""
        )
        return f"<table><tr>{heads}</tr>{rows}</table>{rest}"

    def __repr__(self):
        table = [self.HEADS, *self.rows]
        widths = [max(len(row[k]) for row in table) for k in range(len(self.HEADS))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in table
        )


def score_table(scores: dict, told: dict[str, str], folded: tuple[str, ...] = ()) -> ScoreTable:
    """The scores that an argument needs, each with what it is in words.

    Args:
        scores: mapping of names to numbers, as `cdrl.core.stage.all_scores` returns it. told: {name: what it is}; names that this run
            has not scored are left out. folded: patterns of `cdrl.core.stage.score_lines`; what they match is kept, folded.

    >>> score_table({"a.b": 0.5, "a.b.chance": 0.25, "a.b.n": 8}, {"a.b": "how often"}, ("a",)).rows
    (('how often', 'a.b', '0.5', '0.25', '', '8'),)
    """
    texts, rows = score_texts(scores), []
    for name, words in told.items():
        if name in texts:
            part = {each: texts.get(f"{name}.{each}", "") for each in PARTS}
            interval = f"{part['low']} to {part['high']}" if part["low"] and part["high"] else ""
            rows.append((words, name, texts[name], part["chance"], interval, part["n"]))
    lines = dict.fromkeys(line for pattern in folded for line in score_lines(scores, pattern))
    return ScoreTable(tuple(rows), tuple(lines))


def score_texts(scores: dict) -> dict[str, str]:
    """{name: its number as `cdrl scores` prints it}."""
    return dict(line.split(" ", 1) for line in score_lines(scores))


def score_rows(scores: dict) -> str:
    """Every score as a row of an HTML table, with its chance level, interval and n in small print."""
    texts, rows = score_texts(scores), []
    for name, value in texts.items():
        base, _, part = name.rpartition(".")
        if part in PARTS and base in texts:
            continue
        told = {part: texts[f"{name}.{part}"] for part in PARTS if f"{name}.{part}" in texts}
        low, high = told.pop("low", None), told.pop("high", None)
        notes = [f"{low} to {high}"] * (low is not None and high is not None) + [
            f"{part} {text}" for part, text in told.items()
        ]
        small = f"<small>{html.escape(', '.join(notes))}</small>" if notes else ""
        rows.append(f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}{small}</td></tr>")
    return "".join(rows)
