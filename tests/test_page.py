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
from cdrl.report.first_screen import best_video, first_screen, five_numbers
from cdrl.report.html_page import figure_block, script_json
from cdrl.report.run_page import write_report
from cdrl.report.verdict import FEWEST_PEOPLE, LARGEST_LEAK, verdict

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
    assert f"<summary>corpus, 6 lines</summary><table>{row}" in page
    assert "<td>corpus.n</td><td>7</td>" in page
    assert "corpus.x.chance" not in page
    cells = "<td>0.5</td><td>0.25</td><td>0.4 to 0.6</td><td>12</td>"
    assert f"<small>corpus.x</small></td>{cells}" in page


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


def with_interval(name, value, half, chance=None):
    """A score with an interval and, where it has one, a chance level."""
    scores = {name: value, f"{name}.low": value - half, f"{name}.high": value + half}
    if chance is not None:
        scores[f"{name}.chance"] = chance
    return scores


EDIT = "spfem.actions.cdrl"
GOOD = {
    **with_interval("content.swap_image", 0.98, 0.01, 0.5),
    **with_interval("content.emotion", 0.18, 0.01, 0.17),
    **with_interval("content.emotion_clip", 0.16, 0.02, 0.14),
    **with_interval("emotion.emotion", 0.86, 0.05, 0.14),
    **with_interval("emotion.viseme", 0.15, 0.01, 0.15),
    **with_interval(f"{EDIT}.emotion_accuracy", 0.63, 0.07, 0.14),
    **with_interval(f"{EDIT}.mouth_error", 0.51, 0.04),
    **with_interval(f"{EDIT}_minus_baseline.mouth_error", -0.03, 0.01),
    "spfem.image.copy_source.mouth_error": 0.84,
    "raw.emotion": 0.75,
    "raw.emotion.chance": 0.17,
    "raw.emotion_clip": 0.84,
    "raw.emotion_clip.chance": 0.14,
    "emotion.emotion.speakers": 24.0,
}


def answers(scores):
    return [finding.answer for finding in verdict(scores).findings]


def test_a_run_in_which_all_is_as_it_should_be_gets_a_verdict_without_a_but():
    result = verdict(GOOD)
    assert answers(GOOD) == ["yes"] * 8
    assert result.headline.startswith("Content and emotion come apart.")
    assert "wanted emotion" in result.headline
    assert result.caution == ""


@pytest.mark.parametrize(
    "change, position, answer",
    [
        (with_interval("content.swap_image", 0.52, 0.05, 0.5), 0, "open"),
        (with_interval("content.swap_image", 0.40, 0.05, 0.5), 0, "no"),
        (with_interval("content.emotion", 0.17 + LARGEST_LEAK, 0.001, 0.17), 1, "partly"),
        (with_interval("content.emotion", 0.60, 0.01, 0.17), 1, "no"),
        (with_interval("content.emotion_clip", 0.30, 0.01, 0.14), 2, "partly"),
        (with_interval("emotion.emotion", 0.14, 0.05, 0.14), 3, "open"),
        (with_interval("emotion.viseme", 0.40, 0.01, 0.15), 4, "no"),
        (with_interval(f"{EDIT}.emotion_accuracy", 0.1, 0.02, 0.14), 5, "no"),
        (with_interval(f"{EDIT}.mouth_error", 0.84, 0.04), 6, "open"),
        (with_interval(f"{EDIT}.mouth_error", 0.95, 0.04), 6, "no"),
        (with_interval(f"{EDIT}_minus_baseline.mouth_error", -0.03, 0.04), 7, "open"),
        (with_interval(f"{EDIT}_minus_baseline.mouth_error", 0.03, 0.01), 7, "no"),
    ],
)
def test_an_answer_changes_with_its_number_and_interval_alone(change, position, answer):
    expected = ["yes"] * 8
    expected[position] = answer
    assert answers(GOOD | change) == expected


def test_leaks_and_failures_change_the_headline():
    leaking = GOOD | with_interval("content.emotion_clip", 0.3, 0.01, 0.14)
    assert "come apart in part" in verdict(leaking).headline
    blind = GOOD
    for name in ("content.swap_image", "content.emotion", "emotion.emotion"):
        chance = GOOD[f"{name}.chance"]
        blind = blind | with_interval(name, chance + (name == "content.emotion"), 0.01, chance)
    assert "do not come apart" in verdict(blind).headline


def test_few_people_are_a_caution_and_an_unscored_run_claims_nothing():
    few = GOOD | {"emotion.emotion.speakers": FEWEST_PEOPLE - 1.0}
    assert f"Only {FEWEST_PEOPLE - 1} people" in verdict(few).caution
    assert verdict({}).findings == ()
    assert "not scored" in verdict({}).headline


def test_the_first_screen_has_five_numbers_each_with_what_it_is_compared_with():
    numbers = five_numbers(GOOD)
    assert len(numbers) == 5
    levels = {number.name: number.level for number in numbers}
    assert levels["content.swap_image"] == 0.5
    assert levels[f"{EDIT}.mouth_error"] == 0.84, "copying the source"
    page = first_screen("demo", GOOD, "<video></video>", "<b>dial</b>")
    for number in numbers:
        assert f"<b>{GOOD[number.name]:.3f}</b>" in page
        assert f"{number.reference} {number.level:.3g}" in page
    assert page.count('<li class="yes">') == 8
    assert page.index("<video>") < page.index("<b>dial</b>")


def test_the_best_video_is_of_the_emotion_that_is_read_best_and_of_a_person_that_was_scored():
    accuracy = f"{EDIT}.emotion_accuracy"
    scores = GOOD | {f"{accuracy}.happy": 0.9, f"{accuracy}.sad": 0.2}
    names = ["real-1001-neutral-to-happy.mp4", "s-1-to-sad-1.mp4", "s-2-to-happy-1.mp4"]
    assert best_video(scores, names) == "s-2-to-happy-1.mp4"
    assert best_video(scores, names[:2]) == "s-1-to-sad-1.mp4"
    assert best_video({}, []) == ""


def test_everything_but_the_first_screen_is_folded_and_the_dial_stands_in_it_once(run):
    dial = '<div class="cdrl-dial" id="dial-1"></div>'
    write_executed(run, "05_d", code("dial", display({"text/html": dial, "text/plain": "dial"})))
    page = without_scripts(run)
    first, folded = page.split("</header>")
    assert dial in first
    assert page.count(dial) == 1
    assert '<a href="#dial">' in folded
    assert first.count("<video") == 1
    sections = folded.count("<section")
    assert sections == folded.count('<details class="chapter">') == 6
    assert folded.count("</details></section>") == sections
