import re
from html.parser import HTMLParser

import nbformat
import numpy as np
import pytest

from cdrl.core.errors import InputError
from cdrl.core.settings import STAGES
from cdrl.core.stage import finish_run, run_stage
from cdrl.report.figures import curves
from cdrl.report.page import write_report


def executed(run, name, *cells):
    (run / "notebooks").mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells)), run / "notebooks" / f"{name}.ipynb")


def code(source, *outputs):
    return nbformat.v4.new_code_cell(source, outputs=list(outputs))


def display(**data):
    return nbformat.v4.new_output(
        "display_data", data={key.replace("_", "/"): value for key, value in data.items()}
    )


@pytest.fixture
def run(tmp_path):
    run = tmp_path / "demo"
    for stage, config_class in STAGES.items():
        run_stage(config_class(), run, lambda out: {f"{stage}.score": 0.5})
    finish_run(run, 600, 3)
    figure = nbformat.from_dict(curves({"</script>": np.arange(5.0)}).to_plotly_json())
    plotly = nbformat.v4.new_output(
        "display_data", data={"application/vnd.plotly.v1+json": figure, "text/plain": "Figure()"}
    )
    executed(
        run, "01_b", nbformat.v4.new_markdown_cell("# Second & last"), code("fig.show()", plotly)
    )
    stream = nbformat.v4.new_output("stream", name="stdout", text="  5%\r 50%\r100% <done>\n")
    noise = nbformat.v4.new_output("stream", name="stderr", text="a warning\n")
    executed(
        run,
        "00_a",
        nbformat.v4.new_markdown_cell("# First\n\n$a_b$ **bold**"),
        code("x = 1 < 2", stream, noise),
        code("table", display(text_html="<table><tr><td>7</td></tr></table>", text_plain="7")),
        code("image", display(image_png="iVBORw0KGgo=\n", text_plain="<Image>")),
    )
    (run / "videos").mkdir()
    (run / "videos" / "happy_1.mp4").write_bytes(b"mp4 bytes")
    (run / "videos" / "sad_2.mp4").write_bytes(b"more")
    (run / "videos" / "captions.json").write_text('{"sad_2.mp4": "person 300, sad & slow"}')
    return run


def story(run):
    """The page without its scripts (plotly.js is 5 MB of text that contains nearly everything)."""
    return re.sub(r"<script>.*?</script>", "", write_report(run).read_text(), flags=re.S)


def test_the_page_tells_the_notebooks_in_order_with_their_outputs(run):
    page = story(run)
    assert (
        page.index("First</h1>")
        < page.index("Second &amp; last")
        < page.index('id="videos"')
        < page.index('id="scores"')
    )
    assert (
        "<strong>bold</strong>" in page
        and "<pre>100% &lt;done&gt;\n</pre>" in page
        and " 50%" not in page
    )
    assert (
        "<mi>a</mi><mi>b</mi></msub>" in page
        and "$" not in page.partition("<section")[2].partition("</section>")[0]
    )
    assert "a warning" not in page and "x = 1 &lt; 2" in page and "<td>7</td>" in page
    assert 'src="data:image/png;base64,iVBORw0KGgo="' in page
    assert (
        "<td>content.score</td><td>0.5</td>" in page
        and "<td>time.total_seconds</td><td>600</td>" in page
    )
    assert "train_people=" in page and "seed=0" in page and "torch 2." in page


def test_a_score_stands_with_its_chance_interval_and_n_under_its_stage(tmp_path):
    values = {
        "corpus.x": 0.5,
        "corpus.x.chance": 0.25,
        "corpus.x.low": 0.4,
        "corpus.x.high": 0.6,
        "corpus.x.n": 12,
        "corpus.n": 7,
    }
    run_stage(STAGES["corpus"](), tmp_path, lambda out: values)
    executed(tmp_path, "00_a", nbformat.v4.new_markdown_cell("# First"))
    path = tmp_path / "notebooks" / "00_a.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["papermill"] = {
        "parameters": {"preset": "smoke", "run_folder": "runs/a", "settings": {"corpus.seed": 3}}
    }
    nbformat.write(notebook, path)
    page = story(tmp_path)
    assert (
        "<h2>corpus</h2><table><tr><td>corpus.x</td><td>0.5<small>0.4 to 0.6, chance 0.25, n 12</small></td></tr>"
        in page
    )
    assert "<td>corpus.n</td><td>7</td>" in page and "corpus.x.chance" not in page
    assert "<code>cdrl run --preset smoke --out runs/a --set corpus.seed=3</code>" in page
    assert (
        "<td>corpus</td><td>00_a.ipynb</td>" in page and "All stages were made with these." in page
    )


def test_the_page_is_one_file_with_plotly_once_and_videos_inline(run):
    page = write_report(run).read_text()
    assert page.count('draw("01_b-1-0"') == 1 and page.count("plotly.js v") == 1
    assert '"name":"<\\/script>"' in page.replace('": "', '":"')
    assert (
        "bXA0IGJ5dGVz" in page
        and "happy 1</figcaption>" in page
        and "person 300, sad &amp; slow" in page
    )
    assert 'name="viewport"' in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", story(run))
    assert [path.name for path in run.glob("*report*")] == ["report.html"]


def test_every_tag_is_closed(run):
    class Balance(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open_tags = []

        def handle_starttag(self, tag, attributes):
            if tag not in ("meta", "img", "br", "link", "hr"):
                self.open_tags.append(tag)

        def handle_endtag(self, tag):
            assert self.open_tags.pop() == tag

    balance = Balance()
    balance.feed(write_report(run).read_text())
    assert not balance.open_tags


def test_a_run_without_figures_or_videos_has_a_small_page(run):
    (run / "notebooks" / "01_b.ipynb").unlink()
    for file in (run / "videos").iterdir():
        file.unlink()
    page = write_report(run).read_text()
    assert len(page) < 100_000 and "This run wrote no videos." in page


def test_a_folder_without_executed_notebooks_is_refused(tmp_path):
    with pytest.raises(InputError, match="no executed notebooks in .*: cdrl run makes them"):
        write_report(tmp_path)


def test_a_progress_bar_that_stands_still_is_left_out(run):
    bar = nbformat.v4.new_output(
        "display_data",
        data={
            "application/vnd.jupyter.widget-view+json": {"model_id": "x"},
            "text/plain": "CCRL:   0%|   | 0/300",
        },
    )
    executed(run, "02_c", code("train()", bar))
    assert "0/300" not in story(run) and "train()" in story(run)
