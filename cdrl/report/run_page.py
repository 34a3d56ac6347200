"""report.html: what a run has shown, and its executed notebooks, in one file without a network.

The first screen has the verdict, five numbers, a video and the dial. All else is folded below it.
"""

import base64
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from latex2mathml.converter import convert as latex_to_mathml
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from cdrl.core.code_identity import UNRECORDED
from cdrl.core.errors import InputError
from cdrl.core.files import atomic_path, read_json
from cdrl.core.results import all_scores, read_results
from cdrl.report.first_screen import best_video, first_screen
from cdrl.report.html_page import figure_block, html_page, html_table
from cdrl.report.main_scores import main_scores
from cdrl.report.tables import main_score_table, score_rows

PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
# Sections after the notebooks: anchor and text of their links.
DIAL_MARK = 'class="cdrl-dial"'  # of the dial's HTML in a notebook
LAST_SECTIONS = (("videos", "videos"), ("scores", "scores"), ("settings", "settings and origin"))
STAGE_HEADS = ("stage", "notebook", "seconds", "peak GB", "seed", "settings' hash", "code")
ORIGIN = (
    '<p>Every number under <a href="#scores">scores</a> was measured by the stage above it, in the '
    "notebook named below, and is in results.json of that stage's folder; <code>cdrl scores RUN "
    "NAME</code> prints it again. Every figure is the output of the cell under whose "
    "<em>code</em> it stands. chance: what no information scores; <em>a to b</em>: 95 % interval "
    "(too narrow over few speakers); n: how many were judged. Seconds and memory are those of the "
    "machine that made the run.</p>"
)


def write_report(run: Path | str) -> Path:
    """Write `report.html` of a run from its executed notebooks, videos and results.json.

    Args:
        run: folder with notebooks/*.ipynb (executed), results.json and perhaps videos/*.mp4, with
            captions in videos/captions.json, {file name: text}.

    Returns:
        Path of the page: one file with everything inside; plotly.js is in it once.

    Raises:
        InputError: for a folder without executed notebooks.
    """
    run = Path(run)
    copies = sorted((run / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    if not copies:
        raise InputError(f"no executed notebooks in {run / 'notebooks'}: cdrl run makes them")

    notebooks = {path: nbformat.read(path, as_version=4) for path in copies}
    results = read_results(run, of_run=True)
    scores = all_scores(results)
    dial = _take_dial(notebooks.values())
    captions = _captions(run / "videos")
    best = best_video(scores, captions)
    video = _video(run / "videos" / best, captions[best]) if best else ""
    parts = [first_screen(run.name, scores, video, dial), _links(copies)]
    parts += [_chapter(notebook, path.stem) for path, notebook in notebooks.items()]
    parts.append(_videos(run / "videos", captions, best))
    parts.append(_scores(results))
    parts.append(_settings(results, copies, _command(notebooks[copies[-1]])))

    out = run / "report.html"
    page = html_page(f"cdrl: {run.name}", "\n".join(parts))
    with atomic_path(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out


def _links(copies: Sequence[Path]) -> str:
    """Links to all sections."""
    sections = [(path.stem, path.stem.replace("_", " ")) for path in copies]
    sections += LAST_SECTIONS
    links = [f'<a href="#{anchor}">{html.escape(text)}</a>' for anchor, text in sections]
    return f"<nav>{' '.join(links)}</nav>"


def _take_dial(notebooks: Iterable[nbformat.NotebookNode]) -> str:
    """The HTML of the dial, which moves from its notebook to the first screen; empty without one.

    A dial holds its clips: it must not stand on the page twice.
    """
    for notebook in notebooks:
        for cell in notebook.cells:
            for output in cell.get("outputs", ()):
                data = output.get("data", {})
                content = data.get("text/html", "")
                if DIAL_MARK in content:
                    data["text/html"] = '<p><a href="#dial">The dial stands at the top.</a></p>'
                    return content
    return ""


def _folded(anchor: str, title: str, body: str) -> str:
    """A section that opens at a click, at a link to it, and on paper."""
    return (
        f'<section id="{anchor}"><details class="chapter"><summary>{html.escape(title)}</summary>\n'
        f"{body}\n</details></section>"
    )


def _title(notebook: nbformat.NotebookNode, name: str) -> str:
    """The number and the title of a notebook, for the line that opens it."""
    number = name.partition("_")[0]
    for cell in notebook.cells:
        first_line = cell.source.strip().partition("\n")[0]
        if cell.cell_type == "markdown" and first_line.startswith("# "):
            title = first_line.removeprefix("# ").strip()
            return title if title.startswith(number) else f"{number} {title}"
    return name.replace("_", " ")


def _chapter(notebook: nbformat.NotebookNode, name: str) -> str:
    """The section of one notebook: its texts, its outputs, and its code folded."""
    parts = []
    for position, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            parts.append(_markdown(cell.source))
        elif cell.cell_type == "code" and cell.source.strip():
            code = html.escape(cell.source)
            parts.append(
                f'<details class="code"><summary>code</summary><pre>{code}</pre></details>'
            )
            for number, output in enumerate(cell.outputs):
                parts.append(_output(output, f"{name}-{position}-{number}"))

    return _folded(name, _title(notebook, name), "\n".join(parts))


def _output(output: nbformat.NotebookNode, anchor: str) -> str:
    """One output of a cell; warnings and other texts on stderr are left out."""
    if output.output_type == "stream":
        if output.name == "stderr":
            return ""
        return f"<pre>{html.escape(_last_states(output.text))}</pre>"
    if output.output_type == "error":
        return f"<pre>{html.escape(output.ename)}: {html.escape(output.evalue)}</pre>"
    return _richest_form(output.data, anchor)


def _richest_form(data: Mapping[str, Any], anchor: str) -> str:
    """The form of an output that shows most of all that the page can show."""
    if WIDGET in data:  # a progress bar: without its kernel it stands still
        return ""
    if PLOTLY in data:
        return figure_block(data[PLOTLY], anchor)
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

    def inline_math(self, body: str) -> str:
        return latex_to_mathml(body)

    def block_math(self, body: str) -> str:
        formula = latex_to_mathml(body, display="block")
        return f'<div class="wide">{formula}</div>'


def _markdown(text: str) -> str:
    """Markdown as HTML, with tables that a phone scrolls alone."""
    renderer = _Renderer(escape=False, exclude_anchor_links=True)
    page = MarkdownWithMath(renderer=renderer).render(text)
    page = page.replace("<table>", '<div class="wide"><table>')
    return page.replace("</table>", "</table></div>")


def _last_states(text: str) -> str:
    """A text without the former states of its progress bars, which rewrite their line."""
    return re.sub(r"[^\n]*\r(?!\n)", "", text)


def _captions(folder: Path) -> dict[str, str]:
    """The caption of every video of a run, by the name of its file."""
    captions = {}
    caption_file = folder / "captions.json"
    if caption_file.exists():
        captions = read_json(caption_file, dict)

    texts = {}
    for path in sorted(folder.glob("*.mp4")):
        texts[path.name] = captions.get(path.name, path.stem.replace("_", " "))
    return texts


def _videos(folder: Path, captions: Mapping[str, str], best: str) -> str:
    """The section of all videos with their captions; the best one stands on the first screen."""
    figures = []
    for name, caption in captions.items():
        if name != best:
            figures.append(_video(folder / name, caption))
    note = "This run wrote no videos."
    if best:
        note = (
            f'Synthetic: every video here was generated or edited by this run. "{captions[best]}" '
            "stands at the top: its emotion is the one that is read best."
        )
    body = f'<h1>Videos</h1><p>{html.escape(note)}</p><div class="videos">{"".join(figures)}</div>'
    return _folded("videos", f"Videos ({len(captions)})", body)


def _video(path: Path, caption: str) -> str:
    """One mp4 with its caption."""
    encoded = base64.b64encode(path.read_bytes()).decode()
    return (
        '<figure><video controls loop playsinline preload="metadata" '
        f'src="data:video/mp4;base64,{encoded}"></video>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _scores(results: dict[str, Any]) -> str:
    """The section of all scores, by stage, with chance level, interval and n in the same row."""
    scores_by_stage = {}
    for stage, record in results["stages"].items():
        scores_by_stage[stage] = record["scores"]
    scores_by_stage["the whole run"] = results.get("run", {})

    tables = []
    for stage, scores in scores_by_stage.items():
        if scores:
            rows = score_rows(scores)
            tables.append(
                f"<details><summary>{html.escape(stage)}, {len(scores)} lines</summary>"
                f"<table>{rows}</table></details>"
            )

    everything = all_scores(results)
    main_table = main_score_table(everything, main_scores(everything))
    body = f'<h1>Scores</h1>{main_table}<div class="scores">{"".join(tables)}</div>'
    return _folded("scores", f"Scores ({len(everything):,})", body)


def _settings(results: Mapping[str, Any], copies: Sequence[Path], command: str) -> str:
    """The section of settings, seeds, versions and cost, and where the numbers come from."""
    stages = results["stages"]
    costs = html_table(_stage_rows(stages, copies), STAGE_HEADS)
    entries = []
    for stage, record in stages.items():
        settings = html.escape(_joined(record["config"], "="))
        entries.append(f"<dt>{html.escape(stage)}</dt><dd>{settings}</dd>")

    title = "Settings, seeds, cost and origin"
    body = (
        f"<h1>{title}</h1>{ORIGIN}{command}"
        f'<div class="wide">{costs}</div>{_other_code(results)}'
        f'<h2>Settings</h2><dl class="settings">{"".join(entries)}</dl>'
        f"<h2>Versions</h2><p>{html.escape(_versions(stages))}</p>"
    )
    return _folded("settings", title, body)


def _other_code(results: Mapping[str, Any]) -> str:
    """A paragraph that names the stages which other code made than that which finished the run."""
    found = results.get("other_code", {})
    if not found:
        return ""
    stages = "; ".join(f"{stage}: {reason}" for stage, reason in found.items())
    return f"<p><strong>Other code made these stages:</strong> {html.escape(stages)}.</p>"


def _stage_rows(stages: Mapping[str, Any], copies: Sequence[Path]) -> list[tuple]:
    """The notebook, the cost and the seed of every stage."""
    notebook_names = {path.name[:2]: path.name for path in copies}
    rows = []
    for position, (stage, record) in enumerate(stages.items()):
        notebook = notebook_names.get(f"{position:02d}", "not in this run")
        seconds = f"{record['seconds']:.0f}"
        peak_gb = f"{record['peak_gb']:.2f}"
        seed = record["config"].get("seed", "")
        code = record.get("code", UNRECORDED)
        rows.append((stage, notebook, seconds, peak_gb, seed, record["hash"], code))

    return rows


def _versions(stages: Mapping[str, Any]) -> str:
    """The packages of the last stage, and the stages that other versions made."""
    versions = {stage: record["versions"] for stage, record in stages.items()}
    last = list(versions.values())[-1]
    others = [stage for stage in versions if versions[stage] != last]

    note = "All stages were made with these."
    if others:
        note = f"Other versions made {', '.join(others)}: see results.json."
    return f"{_joined(last, ' ')}. {note}"


def _command(notebook: nbformat.NotebookNode) -> str:
    """The command that made the run, from what papermill wrote into an executed notebook."""
    parameters = notebook.metadata.get("papermill", {}).get("parameters", {})
    if not parameters:
        return ""

    preset = parameters.get("preset", "cpu")
    folder = parameters.get("run_folder", "RUN")
    command = f"cdrl run --preset {preset} --out {folder}"
    for name, value in parameters.get("settings", {}).items():
        command += f" --set {name}={value}"
    return f"<p>Made by <code>{html.escape(command)}</code></p>"


def _joined(values: Mapping[str, Any], between: str) -> str:
    """Names and values in one line."""
    return ", ".join(f"{name}{between}{value}" for name, value in values.items())
