"""Hooks of the documentation site (mkdocs.yml): pages made of the README, notebooks and settings.

The course is shown as a run has executed it. CDRL_DOCS_RUN names that run; without it the
notebooks are shown without their figures.
"""

import os
import re
from pathlib import Path

import nbformat
import plotly.io
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter
from plotly.offline import get_plotlyjs

from cdrl.core.settings import STAGES, settings_table

ROOT = Path(__file__).resolve().parents[1]
PLOTLY = "application/vnd.plotly.v1+json"
# Files of the repository that become pages.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "results/README.md": "results.md",
    "data/README.md": "data.md",
    "data/weights/README.md": "weights.md",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
IMAGE = re.compile(r'src="docs/')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those under docs/."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text()
        files.append(File.generated(config, page, content=relink(text, source, page)))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for name, content in course_page(path).items():
            files.append(File.generated(config, f"course/{name}", content=content))
    for page, text in reference_pages().items():
        files.append(File.generated(config, f"reference/{page}", content=text))
    files.append(File.generated(config, "guides/settings.md", content=settings_page()))
    files.append(File.generated(config, "plotly.js", content=get_plotlyjs()))
    return files


def relink(text: str, source: str, page: str) -> str:
    """Point the links of a repository file to pages of the site.

    Args:
        text: Markdown of the file.
        source: its path in the repository.
        page: its page of the site.

    Returns:
        The Markdown. A link to a file that has no page becomes its text.
    """
    folder = Path(source).parent

    def replace(match: re.Match) -> str:
        mark, label, target = match.groups()
        if target.startswith(("http", "#", "mailto:")):
            return match.group(0)
        path, hash_mark, anchor = target.partition("#")
        found = os.path.normpath(folder / path)
        site_path = page_of(found)
        if site_path is None:
            return label
        relative = os.path.relpath(site_path, Path(page).parent)
        return f"{mark}[{label}]({relative}{hash_mark}{anchor})"

    return IMAGE.sub('src="', LINK.sub(replace, text))


def page_of(path: str) -> str | None:
    """Return the page or picture of the site that shows a repository file, or None."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.startswith("notebooks/") and path.endswith(".ipynb"):
        return f"course/{Path(path).stem}.md"
    return None


def course_page(path: Path) -> dict[str, str | bytes]:
    """Turn a notebook into a page and its pictures.

    Args:
        path: the notebook of the repository. The executed one of CDRL_DOCS_RUN is taken if it is
            there.

    Returns:
        File names and contents.
    """
    run = os.environ.get("CDRL_DOCS_RUN")
    executed = ROOT / run / "notebooks" / path.name if run else path
    notebook = nbformat.read(executed if executed.exists() else path, as_version=4)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            figure = output.get("data", {}).pop(PLOTLY, None)
            if figure is not None:
                output["data"] = {"text/html": figure_html(figure)}
    exporter = MarkdownExporter()
    text, resources = exporter.from_notebook_node(notebook)
    pages: dict[str, str | bytes] = {
        f"{path.stem}.md": relink(text, f"notebooks/{path.name}", "course/x.md")
    }
    pages |= resources.get("outputs", {})
    return pages


def figure_html(figure: dict) -> str:
    """Return an interactive plotly figure as HTML on one line, as Markdown needs it."""
    html = plotly.io.to_html(figure, full_html=False, include_plotlyjs=False, validate=False)
    return " ".join(html.split("\n"))


def reference_pages() -> dict[str, str]:
    """Return a page for `cdrl.api` and each folder of the package, with every public name there."""
    pages = {}
    for folder in sorted(path for path in (ROOT / "cdrl").iterdir() if path.is_dir()):
        modules = sorted(folder.rglob("*.py"))
        names = [module_name(path) for path in modules if path.stem != "__init__"]
        if names:
            title = f"# cdrl.{folder.name}\n"
            blocks = [f"\n## {name}\n\n::: {name}\n" for name in names]
            pages[f"{folder.name}.md"] = title + "".join(blocks)
    pages["api.md"] = "# cdrl.api\n\n::: cdrl.api\n"
    return pages


def module_name(path: Path) -> str:
    """Return the dotted name of a module of the package."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def settings_page() -> str:
    """Return the table of all settings, made from their definitions."""
    lines = ["# Settings", "", "Set one with `cdrl run --set NAME=VALUE`.", ""]
    for stage in STAGES:
        lines += [
            f"## {stage}",
            "",
            "| setting | default | accepted | meaning |",
            "|---|---|---|---|",
        ]
        for row in settings_table(stage):
            cells = [cell.replace("|", "\\|") or "(empty)" for cell in row]
            lines.append(f"| `{cells[0]}` | `{cells[1]}` | {cells[2]} | {cells[3]} |")
        lines.append("")
    return "\n".join(lines)
