"""report.html: the notebooks in order, scores, settings and videos in one file."""

import json
import re
from html.parser import HTMLParser

import nbformat
import numpy as np
import pytest

from cdrl.core.errors import InputError
from cdrl.core.settings import STAGES
from cdrl.core.stage import finish_run, run_stage
from cdrl.report.explorer.page import _fill_template
from cdrl.report.figures import curves
from cdrl.report.html_page import figure_block, script_json
from cdrl.report.page import write_report

PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"


def write_executed(run, name, *cells, parameters=None):
    """Write an executed notebook into a run, as papermill leaves it."""
    notebook = nbformat.v4.new_notebook(cells=list(cells))
    if parameters is not None:
        notebook.metadata["papermill"] = {"parameters": parameters}
    path = run / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def markdown(text):
    return nbformat.v4.new_markdown_cell(text)


def code(source, *outputs):
    return nbformat.v4.new_code_cell(source, outputs=list(outputs))


def display(data):
    return nbformat.v4.new_output("display_data", data=data)


def stream(name, text):
    return nbformat.v4.new_output("stream", name=name, text=text)


def run_with_score(stage, config_class, run):
    run_stage(config_class(), run, lambda out: {f"{stage}.score": 0.5})


@pytest.fixture
def run(tmp_path):
    run = tmp_path / "demo"
    for stage, config_class in STAGES.items():
        run_with_score(stage, config_class, run)
    finish_run(run, 600, 3)

    figure = nbformat.from_dict(curves({"</script>": np.arange(5.0)}).to_plotly_json())
    plotly = display({PLOTLY: figure, "text/plain": "Figure()"})
    write_executed(run, "01_b", markdown("# Second & last"), code("fig.show()", plotly))

    progress = stream("stdout", "  5%\r 50%\r100% <done>\n")
    warning = stream("stderr", "a warning\n")
    table = "<table><tr><td>7</td></tr></table>"
    write_executed(
        run,
        "00_a",
        markdown("# First\n\n$a_b$ **bold**"),
        code("x = 1 < 2", progress, warning),
        code("table", display({"text/html": table, "text/plain": "7"})),
        code("image", display({"image/png": "iVBORw0KGgo=\n", "text/plain": "<Image>"})),
    )

    videos = run / "videos"
    videos.mkdir()
    (videos / "happy_1.mp4").write_bytes(b"mp4 bytes")
    (videos / "sad_2.mp4").write_bytes(b"more")
    captions = {"sad_2.mp4": "person 300, sad & slow"}
    (videos / "captions.json").write_text(json.dumps(captions))
    return run


def without_scripts(run):
    """The page without its scripts: plotly.js is 5 MB of text that contains nearly everything."""
    return re.sub(r"<script>.*?</script>", "", write_report(run).read_text(), flags=re.S)


def test_the_page_has_the_notebooks_in_order_then_videos_and_scores(run):
    page = without_scripts(run)
    marks = ["First</h1>", "Second &amp; last", 'id="videos"', 'id="scores"']
    positions = [page.index(mark) for mark in marks]
    assert positions == sorted(positions)


def test_texts_and_outputs_are_shown_and_warnings_are_not(run):
    page = without_scripts(run)
    assert "<strong>bold</strong>" in page
    assert "x = 1 &lt; 2" in page
    assert "<pre>100% &lt;done&gt;\n</pre>" in page
    assert " 50%" not in page
    assert "a warning" not in page
    assert "<td>7</td>" in page
    assert 'src="data:image/png;base64,iVBORw0KGgo="' in page


def test_formulas_are_mathml(run):
    page = without_scripts(run)
    first_section = page.partition("<section")[2].partition("</section>")[0]
    assert "<mi>a</mi><mi>b</mi></msub>" in first_section
    assert "$" not in first_section


def test_scores_settings_and_versions_are_in_the_page(run):
    page = without_scripts(run)
    assert "<td>content.score</td><td>0.5</td>" in page
    assert "<td>time.total_seconds</td><td>600</td>" in page
    assert "train_people=" in page
    assert "seed=0" in page
    assert "torch 2." in page


def test_a_score_stands_with_its_chance_interval_and_n_under_its_stage(tmp_path):
    scores = {
        "corpus.x": 0.5,
        "corpus.x.chance": 0.25,
        "corpus.x.low": 0.4,
        "corpus.x.high": 0.6,
        "corpus.x.n": 12,
        "corpus.n": 7,
    }
    run_stage(STAGES["corpus"](), tmp_path, lambda out: scores)
    write_executed(tmp_path, "00_a", markdown("# First"))
    page = without_scripts(tmp_path)
    small = "<small>0.4 to 0.6, chance 0.25, n 12</small>"
    row = f"<tr><td>corpus.x</td><td>0.5{small}</td></tr>"
    assert f"<h2>corpus</h2><table>{row}" in page
    assert "<td>corpus.n</td><td>7</td>" in page
    assert "corpus.x.chance" not in page


def test_the_page_says_how_it_was_made(tmp_path):
    run_with_score("corpus", STAGES["corpus"], tmp_path)
    parameters = {"preset": "smoke", "run_folder": "runs/a", "settings": {"corpus.seed": 3}}
    write_executed(tmp_path, "00_a", markdown("# First"), parameters=parameters)
    page = without_scripts(tmp_path)
    assert "<code>cdrl run --preset smoke --out runs/a --set corpus.seed=3</code>" in page
    assert "<td>corpus</td><td>00_a.ipynb</td>" in page
    assert "All stages were made with these." in page


def test_the_page_is_one_file_with_plotly_once_and_videos_inline(run):
    page = write_report(run).read_text()
    assert page.count('draw("01_b-1-0"') == 1
    assert page.count("plotly.js v") == 1
    assert '"name":"\\u003c/script>"' in page.replace('": "', '":"')
    assert "bXA0IGJ5dGVz" in page
    assert "happy 1</figcaption>" in page
    assert "person 300, sad &amp; slow" in page
    assert 'name="viewport"' in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", without_scripts(run))
    assert [path.name for path in run.glob("*report*")] == ["report.html"]


class TagBalance(HTMLParser):
    """Checks that every tag is closed by its own end."""

    WITHOUT_END = ("meta", "img", "br", "link", "hr")

    def __init__(self):
        super().__init__()
        self.open_tags = []

    def handle_starttag(self, tag, attributes):
        if tag not in self.WITHOUT_END:
            self.open_tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag


def test_every_tag_is_closed(run):
    balance = TagBalance()
    balance.feed(write_report(run).read_text())
    assert not balance.open_tags


def test_a_run_without_figures_or_videos_has_a_small_page(run):
    (run / "notebooks" / "01_b.ipynb").unlink()
    for file in (run / "videos").iterdir():
        file.unlink()
    page = write_report(run).read_text()
    assert len(page) < 100_000
    assert "This run wrote no videos." in page


def test_a_folder_without_executed_notebooks_is_refused(tmp_path):
    with pytest.raises(InputError, match="no executed notebooks in .*: cdrl run makes them"):
        write_report(tmp_path)


def test_a_progress_bar_without_its_kernel_is_left_out(run):
    bar = display({WIDGET: {"model_id": "x"}, "text/plain": "CCRL:   0%|   | 0/300"})
    write_executed(run, "02_c", code("train()", bar))
    page = without_scripts(run)
    assert "train()" in page
    assert "0/300" not in page


TROUBLESOME_LABELS = [
    "<!--<script>",
    "</script>",
    "<!--",
    "%CODE%",
    "%TITLE%",
    "%HEADER%",
    "a%DATA%",
]


@pytest.mark.parametrize("label", TROUBLESOME_LABELS)
def test_data_of_a_page_is_read_back_and_never_ends_or_opens_an_element(label):
    content = {label: [label]}
    text = script_json(content)
    assert "<" not in text
    assert json.loads(text) == content
    assert "<!--" not in figure_block({"data": [content], "layout": {}}, "a").partition("draw(")[2]


@pytest.mark.parametrize("label", TROUBLESOME_LABELS)
def test_labels_of_an_explorer_stand_in_its_header_alone(label):
    page = _fill_template(label, {"labels": [label]}, {"arrays": [b"a"]})
    header = re.search(r'id="header">(.*?)</script>', page, re.S)
    assert json.loads(header[1]) == {"labels": [label]}
    plain = _fill_template("plain", {"labels": ["plain"]}, {"arrays": [b"a"]})
    assert page.count("<script") == plain.count("<script")
    assert page.count("const widget =") == 1
