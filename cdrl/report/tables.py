"""Scores as tables with chance, interval and n beside each; all others are folded away."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from cdrl.core.results import score_lines
from cdrl.report.main_scores import in_columns, parts_of, plain_names, score_texts
from cdrl.report.words import variant_words, words_of


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
        table = _score_rows_html(self.rows)
        if not self.folded:
            return table
        lines = html.escape("\n".join(self.folded))
        summary = f"<summary>all {len(self.folded)} lines of these scores</summary>"
        return f"{table}<details>{summary}<pre>{lines}</pre></details>"

    def __repr__(self) -> str:
        return "\n".join(in_columns([self.HEADS, *self.rows]))


def _score_rows_html(rows: Iterable[Sequence[str]]) -> str:
    """A table of descriptions with names below them, values, chances, intervals and counts."""
    heads = "".join(f"<th>{head}</th>" for head in ("what", "value", "chance", "95 %", "n"))
    lines = [f"<tr>{heads}</tr>"]
    for description, name, *numbers in rows:
        cells = "".join(f"<td>{html.escape(number)}</td>" for number in numbers)
        what = f"{html.escape(description)}<small>{html.escape(name)}</small>"
        lines.append(f"<tr><td>{what}</td>{cells}</tr>")

    return f'<table class="main">{"".join(lines)}</table>'


@dataclass(frozen=True)
class ColumnTable:
    """A table whose columns are variants of an editor; its cells break where it would be too wide.

    Attributes:
        frame: texts as in "0.51 (0.47 to 0.55)", one row a score and one column a variant.
    """

    frame: pd.DataFrame

    def _repr_html_(self) -> str:
        names = [str(name) for name in self.frame.columns]
        heads = "".join(f"<th>{html.escape(variant_words(name))}</th>" for name in ("", *names))
        lines = [f"<tr>{heads}</tr>"]
        for score, cells in self.frame.iterrows():
            columns = [f"<td>{html.escape(words_of(str(score)))}</td>"]
            columns += [_value_cell(cell) for cell in cells]
            lines.append(f"<tr>{''.join(columns)}</tr>")

        return f"<table>{''.join(lines)}</table>"

    def __repr__(self) -> str:
        return self.frame.to_string()


def _value_cell(text: object) -> str:
    """A cell with a value and, below it, its interval; empty where there is none."""
    value, _, interval = str(text if isinstance(text, str) else "").partition(" (")
    small = f"<small>{html.escape(interval.rstrip(')'))}</small>" if interval else ""
    return f"<td>{html.escape(value)}{small}</td>"


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


def main_score_table(scores: Mapping[str, float], names: Sequence[str]) -> str:
    """An HTML table of some scores in words, with chance, interval and n.

    Args:
        scores: mapping of names to numbers.
        names: of the scores to show.
    """
    texts = score_texts(scores)
    rows = []
    for name in names:
        parts = parts_of(texts, name)
        numbers = [parts.get(part, "") for part in ("chance", "interval", "n")]
        rows.append((words_of(name), name, texts[name], *numbers))

    return _score_rows_html(rows)
