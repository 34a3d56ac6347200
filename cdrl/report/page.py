"""report.html: the executed notebooks' story in one file that opens anywhere, also on a phone and without a network."""

import base64
import html
import json
import os
import re
from pathlib import Path

import nbformat
from latex2mathml.converter import convert as latex_to_mathml
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from plotly.offline import get_plotlyjs

from cdrl.errors import InputError
from cdrl.stage import all_scores, read_results, score_lines

STYLE = """
body{font:16px/1.5 Helvetica,Arial,sans-serif;color:#222;max-width:60rem;margin:0 auto;padding:0 1rem 4rem}
h1,h2,h3{line-height:1.2}h1{margin-top:3rem;border-top:3px solid #0072B2;padding-top:1rem}
img,video{max-width:100%;height:auto}pre{overflow-x:auto;background:#f6f6f6;padding:.6rem;font-size:13px}
table{border-collapse:collapse;font-size:14px}td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:left}
.wide{overflow-x:auto}details{margin:.4rem 0}summary{color:#555;cursor:pointer;font-size:14px}
.videos{display:grid;grid-template-columns:repeat(auto-fill,minmax(16rem,1fr));gap:1rem}figure{margin:0}
figcaption{font-size:14px}nav a{margin-right:1rem}
"""


def write_report(run):
    """Writes `report.html` of a run from its executed notebooks, videos and results.json.

    Args:
        run: folder with notebooks/*.ipynb (executed), results.json and perhaps videos/*.mp4, whose captions
            videos/captions.json ({file name: text}) may hold.

    Returns:
        Path of the page: one file, everything inline; plotly.js is in it once.

    Raises:
        InputError: for a folder without executed notebooks.
    """
    run = Path(run)
    copies = sorted((run / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    if not copies:
        raise InputError(f"no executed notebooks in {run / 'notebooks'}: cdrl run makes them")
    chapters = [_chapter(nbformat.read(path, as_version=4), path.stem) for path in copies]
    results = read_results(run)
    body = "\n".join([_contents(copies), *chapters, _videos(run / "videos"), _score_table(results), _settings(results)])
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>cdrl: {html.escape(run.name)}</title><style>{STYLE}</style>
<script>{get_plotlyjs() if "Plotly.newPlot" in body else ""}</script></head><body>
{body}
</body></html>
"""
    out, temporary = run / "report.html", run / f".report.html.{os.getpid()}"
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(out)
    return out


def _contents(copies):
    links = [(path.stem, path.stem.replace("_", " ")) for path in copies]
    links += [("videos", "videos"), ("scores", "scores"), ("settings", "settings")]
    return "<nav>" + " ".join(f'<a href="#{anchor}">{html.escape(text)}</a>' for anchor, text in links) + "</nav>"


def _chapter(notebook, name):
    parts = [f'<section id="{name}">']
    for position, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            parts.append(_markdown(cell.source))
        elif cell.cell_type == "code" and cell.source.strip():
            parts.append(f"<details><summary>code</summary><pre>{html.escape(cell.source)}</pre></details>")
            parts += [_output(output, f"{name}-{position}-{row}") for row, output in enumerate(cell.outputs)]
    return "\n".join([*parts, "</section>"])


def _output(output, anchor):
    """One output of a cell, in the richest form that the page can show."""
    if output.output_type == "stream":
        return "" if output.name == "stderr" else f"<pre>{html.escape(_last_rewrites(output.text))}</pre>"
    if output.output_type == "error":
        return f"<pre>{html.escape(output.ename)}: {html.escape(output.evalue)}</pre>"
    data = output.data
    if "application/vnd.jupyter.widget-view+json" in data:  # a progress bar: without its kernel it stands still
        return ""
    if "application/vnd.plotly.v1+json" in data:
        return figure_block(data["application/vnd.plotly.v1+json"], anchor)
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            return f'<img src="data:{kind};base64,{data[kind].strip()}" alt="">'
    if "text/html" in data:
        return f'<div class="wide">{data["text/html"]}</div>'
    if "text/markdown" in data:
        return _markdown(data["text/markdown"])
    return f"<pre>{html.escape(data.get('text/plain', ''))}</pre>"


class _Renderer(IPythonRenderer):
    """Formulas become MathML, which browsers draw without a script or a network."""

    def inline_math(self, body):
        return latex_to_mathml(body)

    def block_math(self, body):
        return f'<div class="wide">{latex_to_mathml(body, display="block")}</div>'


def _markdown(text):
    return MarkdownWithMath(renderer=_Renderer(escape=False, exclude_anchor_links=True)).render(text)


def figure_block(data, anchor):
    """A plotly figure, {"data": [...], "layout": {...}}, as HTML for a page that holds plotly.js; `anchor` is its id."""
    figure = json.dumps([data["data"], data["layout"]]).replace("</", "<\\/")
    draw = f'Plotly.newPlot("{anchor}", ...{figure}, {{"responsive": true, "displaylogo": false}})'
    return f'<div class="wide"><div id="{anchor}"></div></div><script>{draw}</script>'


def _last_rewrites(text):
    """Progress bars rewrite their line: only the last state is kept."""
    return re.sub(r"[^\n]*\r(?!\n)", "", text)


def _videos(folder):
    captions = json.loads((folder / "captions.json").read_text()) if (folder / "captions.json").exists() else {}
    figures = [
        f'<figure><video controls loop playsinline preload="metadata" src="data:video/mp4;base64,'
        f'{base64.b64encode(path.read_bytes()).decode()}"></video>'
        f"<figcaption>{html.escape(captions.get(path.name, path.stem.replace('_', ' ')))}</figcaption></figure>"
        for path in sorted(folder.glob("*.mp4"))
    ]
    note = (
        "Synthetic: every video here was generated or edited by this run." if figures else "This run wrote no videos."
    )
    return f'<section id="videos"><h1>Videos</h1><p>{note}</p><div class="videos">{"".join(figures)}</div></section>'


def _score_table(results):
    rows = [line.split(" ", 1) for line in score_lines(all_scores(results))]
    cells = "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in rows)
    return f'<section id="scores"><h1>Scores</h1><div class="wide"><table>{cells}</table></div></section>'


def _settings(results):
    rows = "".join(
        f"<tr><td>{html.escape(stage)}</td><td>{record['seconds']:.0f}</td><td>{record['peak_gb']:.2f}</td>"
        f"<td>{record['hash']}</td><td>{html.escape(_listed(record['config'], '='))}</td></tr>"
        for stage, record in results["stages"].items()
    )
    last = list(results["stages"].values())[-1]["versions"]
    return (
        '<section id="settings"><h1>Settings, seeds and cost</h1><div class="wide"><table><tr><th>stage</th>'
        f"<th>seconds</th><th>peak GB</th><th>hash</th><th>settings</th></tr>{rows}</table></div>"
        f"<p>{html.escape(_listed(last, ' '))}</p></section>"
    )


def _listed(values, between):
    return ", ".join(f"{name}{between}{value}" for name, value in values.items())
