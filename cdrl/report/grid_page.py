"""grid.html: what the runs of a grid scored, side by side, in one file that needs no network."""

import html
import json
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd

from cdrl.report.figures import score_bars
from cdrl.report.page import STYLE, figure_block, plotly_code

# Drawn where the grid's file names none; those that the runs do not have are left out.
MAIN = (
    "content.swap_image",
    "content.retrieval_r1",
    "content.viseme",
    "content.emotion",
    "content.emotion_clip",
    "emotion.emotion",
    "emotion.viseme",
    "spfem.image.cdrl.emotion_accuracy",
    "spfem.image.cdrl.mouth_error",
    "spfem.image.cdrl.speech_correlation",
)
BESIDE = ("chance", "low", "high", "n")


def write_grid_page(
    results: pd.DataFrame, failures: pd.DataFrame, varied: list, patterns: list, out
) -> None:
    """A table of runs and their scores, a bar figure for each score, and the failures with their reasons.

    Args:
        results: columns run, the varied settings, score, value. failures: run, the varied settings, reason.
        varied: names of those settings. patterns: scores to show, with wildcards; empty for `MAIN`.
        out: file to write.
    """
    wide = results.pivot_table(index="run", columns="score", values="value", sort=False)
    shown = select_scores(list(wide.columns), patterns)
    parts = [f"<h1>{len(wide)} runs, {len(failures)} failed</h1>"]
    settings = (
        results.drop_duplicates("run").set_index("run")[varied]
        if varied
        else pd.DataFrame(index=wide.index)
    )
    parts.append(_table(wide, settings, shown))
    for position, score in enumerate(shown):
        beside = {
            name: wide[f"{score}.{name}"] if f"{score}.{name}" in wide else None
            for name in BESIDE[:3]
        }
        figure = score_bars(wide.index, wide[score], title=score, unit=score, **beside)
        parts.append(figure_block(json.loads(figure.to_json()), f"figure{position}"))
    if len(failures):
        rows = "".join(
            f"<tr><td>{html.escape(row.run)}</td><td>{html.escape(row.reason)}</td></tr>"
            for row in failures.itertuples()
        )
        parts.append(f'<h2 id="failed">Failed</h2><div class="wide"><table>{rows}</table></div>')
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>cdrl grid</title>'
        f"<style>{STYLE}</style><script>{plotly_code() if shown else ''}</script></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
    Path(out).write_text(page, encoding="utf-8")


def select_scores(names: list, patterns: list) -> list:
    """Scores to show: those that match, in the order of the patterns; never a chance, an interval's end or an n alone.

    >>> select_scores(["a.x", "a.x.n", "b"], ["a.*"])
    ['a.x']
    """
    plain = [name for name in names if name.rpartition(".")[2] not in BESIDE]
    found = [name for pattern in patterns or MAIN for name in plain if fnmatchcase(name, pattern)]
    return list(dict.fromkeys(found if found or patterns else plain[:8]))


def _table(wide: pd.DataFrame, settings: pd.DataFrame, shown: list) -> str:
    head = "".join(
        f"<th>{html.escape(str(name))}</th>" for name in ["run", *settings.columns, *shown]
    )
    rows = []
    for run in wide.index:
        cells = [run, *settings.loc[run], *(_cell(wide.loc[run], score) for score in shown)]
        rows.append(
            "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells) + "</tr>"
        )
    note = "value (95 % interval; chance; n), where a score has them"
    return f'<p>{note}</p><div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def _cell(scores: pd.Series, name: str) -> str:
    """`0.42 (0.40 to 0.44; chance 0.17; n 300)`."""
    value = scores[name]
    if pd.isna(value):
        return ""
    has = {part: scores.get(f"{name}.{part}") for part in BESIDE}
    beside = (
        [f"{has['low']:.3g} to {has['high']:.3g}"]
        if pd.notna(has["low"]) and pd.notna(has["high"])
        else []
    )
    beside += [f"{part} {has[part]:.3g}" for part in ("chance", "n") if pd.notna(has[part])]
    return f"{value:.4g}" + (f" ({'; '.join(beside)})" if beside else "")
