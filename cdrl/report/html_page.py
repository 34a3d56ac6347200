"""What the HTML pages of runs and grids have in common: the frame, plotly figures, tables."""

import html
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

FOLDER = Path(__file__).parent
DRAW = "<script>draw("  # begins the script of every figure


def html_page(title: str, body: str) -> str:
    """A whole page that needs no network; plotly.js is in it once where it has figures.

    Args:
        title: of the page.
        body: HTML; its figures are made by `figure_block`.
    """
    style = (FOLDER / "page.css").read_text()
    script = ""
    if DRAW in body:
        script = get_plotlyjs()
    if script or "<details" in body:
        script += (FOLDER / "page.js").read_text()

    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title><style>
{style}</style>
<script>{script}</script></head><body>
{body}
</body></html>
"""


def script_json(content: Any) -> str:
    r"""Data as JSON that a script element may hold, whatever texts are in it.

    Every `<` is escaped: after `<!--<script>` a browser would not see the end of the element.

    Args:
        content: what `json.dumps` takes.

    >>> script_json("</script>")
    '"\\u003c/script>"'
    """
    return json.dumps(content).replace("<", "\\u003c")


def figure_block(figure: dict, anchor: str) -> str:
    """A plotly figure as HTML for `html_page`.

    Args:
        figure: {"data": [...], "layout": {...}}.
        anchor: id of its element, unique on the page.
    """
    content = script_json([figure["data"], figure["layout"]])
    element = f'<div class="wide figure"><div id="{anchor}"></div></div>'
    return f'{element}{DRAW}"{anchor}", {content})</script>'


def html_table(rows: Iterable[Iterable], heads: Iterable = ()) -> str:
    """A table of texts.

    Args:
        rows: of cells.
        heads: cells of the first row, or none.
    """
    head = "".join(f"<th>{html.escape(str(cell))}</th>" for cell in heads)
    parts = [f"<tr>{head}</tr>"] if head else []
    for row in rows:
        cells = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row)
        parts.append(f"<tr>{cells}</tr>")

    return f"<table>{''.join(parts)}</table>"
