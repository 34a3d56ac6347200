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

from cdrl.core.errors import InputError
from cdrl.core.results import read_results
from cdrl.report.tables import score_rows

STYLE = """
body{font:16px/1.5 Helvetica,Arial,sans-serif;color:#222;background:#fff;max-width:60rem;margin:0 auto;padding:0 1rem 4rem;overflow-wrap:break-word}
h1,h2,h3{line-height:1.2}h1{margin-top:3rem;border-top:3px solid #0072B2;padding-top:1rem}
img,video,audio{max-width:100%}img,video{height:auto}pre{overflow-x:auto;background:#f6f6f6;padding:.6rem;font-size:13px}
table{border-collapse:collapse;font-size:14px}td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}
.wide{overflow-x:auto}details{margin:.4rem 0}summary{color:#555;cursor:pointer;font-size:14px}
.scores td:first-child{overflow-wrap:anywhere;min-width:8rem}.scores td+td{white-space:nowrap;font-variant-numeric:tabular-nums}
.scores small{color:#555;display:block;white-space:normal}dl.kept{font-size:14px}.kept dt{font-weight:bold}.kept dd{margin:0 0 .5rem;overflow-wrap:anywhere}
.videos{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(16rem,100%),1fr));gap:1rem}figure{margin:0}
figcaption{font-size:14px}nav a{margin-right:1rem}
@media(max-width:30rem){body{font-size:15px;padding:0 .75rem 3rem}h1{font-size:1.6rem;margin-top:2rem}td,th{padding:.2rem .4rem}}
@media print{@page{margin:14mm}body{font-size:10.5pt;max-width:none;padding:0}nav,details,audio,.modebar{display:none!important}
section+section h1{break-before:page}h1{margin-top:0}h1,h2,h3{break-after:avoid}pre{white-space:pre-wrap;font-size:8pt}
.wide{overflow:visible}.figure,img,tr,video{break-inside:avoid}video{max-height:45mm;width:auto}.scores{columns:2}.scores table{width:100%}table{font-size:8.5pt}}
"""
# Figures follow the paper's width when printed, and their tools stay away from a phone's small screen.
SCRIPT = """
const figures = [], paper = 660;
function draw(id, figure) {
  figures.push(id);
  Plotly.newPlot(id, ...figure, {responsive: true, displaylogo: false, displayModeBar: innerWidth < 600 ? false : "hover"});
}
const each = (change) => figures.forEach((id) => Plotly.relayout(id, change(document.getElementById(id))));
addEventListener("beforeprint", () => each((figure) => {
  figure.before = figure.layout.width || null;
  return {width: Math.min(paper, figure.before || paper)};
}));
addEventListener("afterprint", () => each((figure) => ({width: figure.before, autosize: !figure.before})));
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
    body = "\n".join(
        [
            _contents(copies),
            *chapters,
            _videos(run / "videos"),
            _score_table(results),
            _settings(results, copies),
        ]
    )
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>cdrl: {html.escape(run.name)}</title><style>{STYLE}</style>
<script>{plotly_code() if "<script>draw(" in body else ""}</script></head><body>
{body}
</body></html>
"""
    out, temporary = run / "report.html", run / f".report.html.{os.getpid()}"
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(out)
    return out


def _contents(copies):
    links = [(path.stem, path.stem.replace("_", " ")) for path in copies]
    links += [("videos", "videos"), ("scores", "scores"), ("settings", "settings and origin")]
    return (
        "<nav>"
        + " ".join(f'<a href="#{anchor}">{html.escape(text)}</a>' for anchor, text in links)
        + "</nav>"
    )


def _chapter(notebook, name):
    parts = [f'<section id="{name}">']
    for position, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            parts.append(_markdown(cell.source))
        elif cell.cell_type == "code" and cell.source.strip():
            parts.append(
                f"<details><summary>code</summary><pre>{html.escape(cell.source)}</pre></details>"
            )
            parts += [
                _output(output, f"{name}-{position}-{row}")
                for row, output in enumerate(cell.outputs)
            ]
    return "\n".join([*parts, "</section>"])


def _output(output, anchor):
    """One output of a cell, in the richest form that the page can show."""
    if output.output_type == "stream":
        return (
            ""
            if output.name == "stderr"
            else f"<pre>{html.escape(_last_rewrites(output.text))}</pre>"
        )
    if output.output_type == "error":
        return f"<pre>{html.escape(output.ename)}: {html.escape(output.evalue)}</pre>"
    data = output.data
    if (
        "application/vnd.jupyter.widget-view+json" in data
    ):  # a progress bar: without its kernel it stands still
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
    page = MarkdownWithMath(renderer=_Renderer(escape=False, exclude_anchor_links=True)).render(
        text
    )
    return page.replace("<table>", '<div class="wide"><table>').replace(
        "</table>", "</table></div>"
    )  # a phone scrolls the table alone


def plotly_code():
    """What a page with figures needs once: plotly.js, and what draws them on screen and on paper."""
    return get_plotlyjs() + SCRIPT


def figure_block(data, anchor):
    """A plotly figure, {"data": [...], "layout": {...}}, as HTML for a page that holds `plotly_code`; `anchor` is its id."""
    figure = json.dumps([data["data"], data["layout"]]).replace("</", "<\\/")
    return f'<div class="wide figure"><div id="{anchor}"></div></div><script>draw("{anchor}", {figure})</script>'


def _last_rewrites(text):
    """Progress bars rewrite their line: only the last state is kept."""
    return re.sub(r"[^\n]*\r(?!\n)", "", text)


def _videos(folder):
    captions = (
        json.loads((folder / "captions.json").read_text())
        if (folder / "captions.json").exists()
        else {}
    )
    figures = [
        f'<figure><video controls loop playsinline preload="metadata" src="data:video/mp4;base64,'
        f'{base64.b64encode(path.read_bytes()).decode()}"></video>'
        f"<figcaption>{html.escape(captions.get(path.name, path.stem.replace('_', ' ')))}</figcaption></figure>"
        for path in sorted(folder.glob("*.mp4"))
    ]
    note = (
        "Synthetic: every video here was generated or edited by this run."
        if figures
        else "This run wrote no videos."
    )
    return f'<section id="videos"><h1>Videos</h1><p>{note}</p><div class="videos">{"".join(figures)}</div></section>'


def _score_table(results):
    """Every score under the stage that measured it, with its chance level, interval and n in the same row."""
    parts = [(stage, record["scores"]) for stage, record in results["stages"].items()]
    tables = [
        f"<h2>{html.escape(stage)}</h2><table>{score_rows(scores)}</table>"
        for stage, scores in [*parts, ("the whole run", results.get("run", {}))]
        if scores
    ]
    return (
        f'<section id="scores"><h1>Scores</h1><div class="scores">{"".join(tables)}</div></section>'
    )


def _settings(results, copies):
    """Settings, seeds, versions and cost of every stage, and where each number of the page comes from."""
    stages = results["stages"]
    number = {path.name[:2]: path.name for path in copies}
    rows, kept = [], []
    for position, (stage, record) in enumerate(stages.items()):
        notebook = number.get(f"{position:02d}", "not in this run")
        cells = [
            stage,
            notebook,
            f"{record['seconds']:.0f}",
            f"{record['peak_gb']:.2f}",
            record["config"].get("seed", ""),
            record["hash"],
        ]
        rows.append("".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells))
        kept.append(
            f"<dt>{html.escape(stage)}</dt><dd>{html.escape(_listed(record['config'], '='))}</dd>"
        )
    last = list(stages.values())[-1]["versions"]
    others = [stage for stage, record in stages.items() if record["versions"] != last]
    note = (
        f" Other versions made {', '.join(others)}: see results.json."
        if others
        else " All stages were made with these."
    )
    heads = "".join(
        f"<th>{head}</th>"
        for head in ("stage", "notebook", "seconds", "peak GB", "seed", "settings' hash")
    )
    return (
        f'<section id="settings"><h1>Settings, seeds, cost and origin</h1>{_origin(copies)}'
        f'<div class="wide"><table><tr>{heads}</tr>{"".join(f"<tr>{row}</tr>" for row in rows)}</table></div>'
        f'<h2>Settings</h2><dl class="kept">{"".join(kept)}</dl>'
        f"<h2>Versions</h2><p>{html.escape(_listed(last, ' '))}.{html.escape(note)}</p></section>"
    )


def _origin(copies):
    """How the page came about, from what papermill wrote into the executed copies."""
    given = (
        nbformat.read(copies[-1], as_version=4).metadata.get("papermill", {}).get("parameters", {})
    )
    text = (
        '<p>Every number under <a href="#scores">scores</a> was measured by the stage above it, in the notebook named below, and lies in '
        "results.json of that stage's folder; <code>cdrl scores RUN NAME</code> prints it again. Every figure is the output of the cell under "
        "whose <em>code</em> it stands. chance: what no information scores; <em>a to b</em>: 95 % interval (too narrow over few speakers); n: how many were judged. Seconds and "
        "memory are those of the machine that made the run.</p>"
    )
    if not given:
        return text
    changed = "".join(f" --set {name}={value}" for name, value in given.get("settings", {}).items())
    command = f"cdrl run --preset {given.get('preset', 'cpu')} --out {given.get('run_folder', 'RUN')}{changed}"
    return f"{text}<p>Made by <code>{html.escape(command)}</code></p>"


def _listed(values, between):
    return ", ".join(f"{name}{between}{value}" for name, value in values.items())
