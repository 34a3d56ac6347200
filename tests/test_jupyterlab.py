"""JupyterLab, explorer and dial in a headless Chromium: notebooks run, both can be seen and used.

Pictures of what the browser showed are left in runs/browser. Without a browser all tests here skip.
"""

import base64
import json
import os
import secrets
import socket
import subprocess
import sys
import urllib.request
from dataclasses import replace

import nbformat
import numpy as np
import pytest
from browser import Browser, browser_path, wait_for
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from tiny_run import FRAMES, tiny_dial, tiny_run

from cdrl.core.paths import repository_root
from cdrl.corpora.samples import sample_paths
from cdrl.report import dial, explorer
from cdrl.report.dial import payload
from cdrl.report.dial.choices import TEXTS, text_choice
from cdrl.report.dial.low_rank import edit_with_fields
from cdrl.report.dial.source_clip import SourceClip
from cdrl.report.explorer.atlas import Atlas

ROOT = repository_root()
PICTURES = ROOT / "runs" / "browser"
POINTS = 2 * 2 * 7 * FRAMES
# The open notebook, also in a window without focus.
PANEL = (
    "(window.jupyterapp ? [...jupyterapp.shell.widgets('main')]"
    ".find((each) => each.context?.sessionContext) : null)"
)
DIAL = "document.querySelector('.cdrl-dial').cdrl"
STATUS = "document.querySelector('.cdrl-status').textContent"
MIXTURE = "document.querySelector('.cdrl-mixture').textContent"
UP_TO_DATE = "!document.querySelector('.cdrl-stale')"
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}

pytestmark = pytest.mark.skipif(
    not browser_path(),
    reason="no Chromium on the path (Debian: apt-get install chromium); the kit works without",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("tiny") / "run")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    instance = Browser(tmp_path_factory.mktemp("profile"))
    yield instance
    instance.close()


@pytest.fixture
def phone(browser):
    """The browser with the screen of a phone."""
    browser.send("Emulation.setDeviceMetricsOverride", **PHONE)
    yield browser
    browser.send("Emulation.clearDeviceMetricsOverride")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """(address, token, folder of its files) of a JupyterLab without this machine's settings."""
    home = tmp_path_factory.mktemp("jupyter")
    files = home / "files"
    files.mkdir()
    token = secrets.token_hex(16)
    port = free_port()
    environment = dict(os.environ)
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        environment[name] = str(home / name)
    modules = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(modules)
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={files}",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.extension_manager=readonly",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    log = home / "log"
    process = subprocess.Popen(
        command, env=environment, stdout=log.open("wb"), stderr=subprocess.STDOUT
    )
    address = f"http://127.0.0.1:{port}"

    def is_ready():
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            reply = urllib.request.urlopen(f"{address}/api/status?token={token}", timeout=5)
        except OSError:
            return False
        return reply.status == 200

    wait_for(is_ready, 120, "JupyterLab's server")
    yield address, token, files
    process.terminate()
    process.wait(60)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def foreign_requests(browser):
    """Addresses outside a page of its own that it requested.

    The icon of the tab may still come from the server that was shown before.
    """
    inside = ("file:", "blob:", "data:", "about:")
    foreign = []
    for address in browser.requests:
        is_icon = address.startswith("http://127.0.0.1") and address.endswith("favicon.ico")
        if not address.startswith(inside) and not is_icon:
            foreign.append(address)
    return foreign


def one_cell_notebook(source):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    return notebook


def run_all(browser, lab, name, notebook, seconds):
    """Open a notebook in JupyterLab and run all its cells; no output may be an error."""
    address, token, files = lab
    nbformat.write(notebook, files / f"{name}.ipynb")
    browser.leave()
    browser.open(f"{address}/lab/tree/{name}.ipynb?token={token}&reset")
    browser.until(f"{PANEL}?.context?.sessionContext?.session?.kernel?.status === 'idle'", 150)
    browser.run(
        f"jupyterapp.shell.collapseLeft(); jupyterapp.shell.activateById({PANEL}.id);"
        "window.done = 0;"
        "jupyterapp.commands.execute('notebook:run-all-cells')"
        ".then(() => (window.done = 1), (e) => (window.done = String(e))); 1"
    )
    assert browser.until("window.done", seconds) == 1
    cells = json.loads(browser.run(f"JSON.stringify({PANEL}.content.model.toJSON().cells)"))
    code_cells = [cell for cell in cells if cell["cell_type"] == "code"]
    for cell in code_cells:
        assert cell["execution_count"]
        for output in cell["outputs"]:
            assert output["output_type"] != "error", output
    inside = (address, "data:", "blob:", "about:")
    foreign = [url for url in browser.requests if not url.startswith(inside)]
    assert not foreign, "something was requested of the network"
    return code_cells


def text_of(browser, selector):
    return browser.run(f"document.querySelector('{selector}').textContent")


def position_of(browser, point, view=0):
    """Where a point of a map is in the window, pixels."""
    return browser.run(
        f"""(() => {{
        const root = document.querySelector('.cdrl-explorer'), instance = root.cdrl || window.cdrl;
        const box = root.querySelectorAll('.cdrl-above')[{view}].getBoundingClientRect();
        const [x, y] = instance.views[{view}].positionOf({point});
        return [box.left + x, box.top + y];}})()"""
    )


def colour_of(browser, selector):
    """Mean colour of a picture on the page, or None while it is not there."""
    return browser.run(
        f"""(() => {{const image = document.querySelector('{selector}');
        if (!image || !(image.naturalWidth || image.videoWidth)) return null;
        const canvas = document.createElement('canvas'); canvas.width = canvas.height = 1;
        const pen = canvas.getContext('2d'); pen.drawImage(image, 0, 0, 1, 1);
        return Array.from(pen.getImageData(0, 0, 1, 1).data.slice(0, 3));}})()"""
    )


def wait_for_colour(browser, selector, expected, description):
    def has_colour():
        colour = colour_of(browser, selector)
        return colour is not None and np.abs(np.subtract(colour, expected)).max() < 12

    wait_for(has_colour, 60, description)


def click_a_point(browser, atlas, point, picture):
    """As `_click_a_point`; the picture is taken however it ends."""
    try:
        _click_a_point(browser, atlas, point)
    finally:
        browser.photograph(PICTURES / picture)


def _click_a_point(browser, atlas, point):
    """Its face appears under the pointer; a click plays its clip and shows its neighbours."""
    browser.run("document.querySelector('.cdrl-explorer').scrollIntoView({block: 'start'})")
    x, y = position_of(browser, point)
    expected = np.asarray(atlas.store.face[atlas.frames[point]], float).mean((0, 1))
    browser.mouse("mouseMoved", x, y)
    wait_for_colour(browser, ".cdrl-tip img", expected, "the face at the pointer")
    browser.click(x, y)
    wait_for_colour(browser, ".cdrl-face", expected, "the face that was clicked")
    description = text_of(browser, ".cdrl-current p")
    for name, labels in atlas.factors.items():
        assert f"{name} {labels[point]}" in description

    film = "document.querySelector('.cdrl-current video')"
    browser.until(f"{film}.currentTime > 0.05", 60)
    assert browser.run(f"{film}.webkitAudioDecodedByteCount > 0 && !{film}.paused")
    status = text_of(browser, ".cdrl-status")
    assert "cannot" not in status
    assert "no sound" not in status

    strips = "document.querySelectorAll('.cdrl-strip')"
    counts = browser.run(f"[...{strips}].map((strip) => strip.querySelectorAll('img').length)")
    assert counts == [(atlas.nearest[space][point] >= 0).sum() for space in ("content", "emotion")]
    images = "[...document.querySelectorAll('.cdrl-strip img')]"
    browser.until(f"{images}.every((image) => image.naturalWidth)")


def click_button(browser, selector, text):
    """Click the button with a text among those of a CSS selector."""
    browser.run(
        f"[...document.querySelectorAll('{selector}')].find((b) => b.textContent === '{text}')"
        ".click()"
    )


def test_the_page_shows_faces_plays_clips_and_selects_in_both_maps(browser, run, tmp_path):
    atlas = explorer.read_atlas(run)
    page = explorer.write_page(atlas, tmp_path / "maps.html")
    browser.leave()
    browser.open(page.as_uri())
    browser.until("!!window.cdrl")
    click_a_point(browser, atlas, 33, "page.png")

    click_button(browser, ".cdrl-legend button", atlas.factors["emotion"][0])
    status = text_of(browser, ".cdrl-status")
    assert status.startswith(f"{POINTS // 7} of {POINTS} frames")
    browser.run("document.querySelectorAll('.cdrl-factor')[1].click()")
    assert text_of(browser, ".cdrl-legend").startswith("DDFFPP")

    points = atlas.points["emotion"]
    middle = points[atlas.factors["emotion"] == "happy"].mean(0)
    inside = np.abs(points - middle).max(1) < 0.4
    corners = box_around(browser, points, middle, 0.4)
    browser.drag([*corners, corners[0]])
    status = text_of(browser, ".cdrl-status")
    assert status.startswith(f"{inside.sum()} of {POINTS} frames are selected in both maps")
    browser.photograph(PICTURES / "lasso.png")

    selected = int(np.flatnonzero(inside)[0])
    other = int(np.flatnonzero(~inside)[0])
    assert np.ptp(pixel(browser, 0, selected)) > 40, "a selected frame has its colour in both maps"
    assert np.ptp(pixel(browser, 1, selected)) > 40
    assert np.ptp(pixel(browser, 1, other)) < 40, "the others are grey"
    assert not browser.errors
    assert not foreign_requests(browser)


def press(browser, selector, key):
    """A key on the first element of a CSS selector that has the focus then."""
    browser.run(
        f"""(() => {{const node = document.querySelector('{selector}');
        if (document.activeElement !== node) node.focus();
        node.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}', bubbles: true}}));}})()"""
    )


# Elements that a person uses, without a name that a screen reader could say.
NAMELESS = """[...document.querySelectorAll(
    'button, select, input, canvas:not([aria-hidden]), video, img:not([alt=""]), [role=slider]'
)].filter((node) => !node.closest('[hidden], .cdrl-poster, [aria-hidden=true]') && !(
    node.textContent.trim() || node.ariaLabel || node.alt || node.title ||
    [...(node.labels || [])].some((label) => label.textContent.trim())
)).map((node) => node.outerHTML)"""


def test_the_explorer_is_used_by_keys_alone_and_says_what_it_shows(browser, run, tmp_path):
    atlas = explorer.read_atlas(run)
    page = explorer.write_page(atlas, tmp_path / "maps.html")
    browser.leave()
    browser.open(page.as_uri())
    browser.until("!!window.cdrl")
    press(browser, ".cdrl-above", "ArrowRight")
    first = text_of(browser, ".cdrl-spoken")
    press(browser, ".cdrl-above", "ArrowRight")
    second = text_of(browser, ".cdrl-spoken")
    assert first.startswith("emotion ")
    assert second != first
    press(browser, ".cdrl-above", "Enter")
    browser.until("document.querySelector('.cdrl-face').naturalWidth > 0")
    assert browser.run("document.querySelector('.cdrl-face').alt") == second
    press(browser, ".cdrl-above", "+")
    press(browser, ".cdrl-above", "0")
    assert browser.run(NAMELESS) == []
    assert not browser.errors


def pixel(browser, view, point):
    """(3,) colour of a map where a point lies."""
    return browser.run(
        f"""(() => {{
        const canvas = document.querySelectorAll('.cdrl-frame canvas:first-child')[{view}];
        const ratio = canvas.width / canvas.clientWidth;
        const [x, y] = cdrl.views[{view}].positionOf({point});
        const pen = canvas.getContext('2d');
        const pixel = pen.getImageData(Math.round(x * ratio), Math.round(y * ratio), 1, 1);
        return Array.from(pixel.data.slice(0, 3));}})()"""
    )


def box_around(browser, points, middle, half):
    """Window corners of a square of the emotion map, by the known positions of two points."""
    first = 0
    second = int(np.argmax(np.abs(points - points[0]).sum(1)))
    first_position = np.array(position_of(browser, first, view=1))
    second_position = np.array(position_of(browser, second, view=1))
    scale = (second_position - first_position) / (points[second] - points[first])
    corners = middle + half * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    return (first_position + (corners - points[first]) * scale).tolist()


def test_fifty_thousand_points_stay_smooth(browser, run, tmp_path, monkeypatch):
    atlas = explorer.read_atlas(run)
    count = 50_000
    rng = np.random.default_rng(2)
    monkeypatch.setattr(Atlas, "face", lambda self, position, side=0, quality=0: b"0")
    rows = np.sort(rng.integers(0, POINTS, count))
    points = {}
    for space in atlas.points:
        points[space] = rng.standard_normal((count, 2)).astype(np.float32)
    large_atlas = replace(
        atlas,
        frames=rows,
        factors={name: labels[rows] for name, labels in atlas.factors.items()},
        points=points,
        nearest={space: values[rows] for space, values in atlas.nearest.items()},
        similarity={space: values[rows] for space, values in atlas.similarity.items()},
    )
    page = explorer.write_page(large_atlas, tmp_path / "many.html")
    browser.open(page.as_uri())
    browser.until("!!window.cdrl", 60)

    paint = cost(browser, "cdrl.views[k % 2].paint()", 20)
    move = (
        "const above = document.querySelector('.cdrl-above'), box = above.getBoundingClientRect();"
        "const clientX = box.left + 200 + 9 * k, clientY = box.top + 200;"
        "above.dispatchEvent(new PointerEvent('pointermove', {clientX, clientY}))"
    )
    hover = cost(browser, move, 20)
    print(f"50,000 points: a map is painted in {paint:.1f} ms, the pointer found in {hover:.1f} ms")
    browser.photograph(PICTURES / "fifty_thousand.png")
    assert paint < 60
    assert hover < 16


def cost(browser, script, times):
    """Milliseconds of the page's own thread for one run of a script with k = 0, 1, ...

    Other processes do not count.
    """

    def spent():
        metrics = browser.send("Performance.getMetrics")["metrics"]
        duration = next(each["value"] for each in metrics if each["name"] == "TaskDuration")
        return 1000 * duration

    browser.send("Performance.enable", timeDomain="threadTicks")
    before = spent()
    browser.run(f"(() => {{for (let k = 0; k < {times}; k++) {{{script}}}}})()")
    return (spent() - before) / times


def wait_for_maps(browser):
    browser.until("document.querySelectorAll('.cdrl-above').length === 2", 60)
    browser.until("document.querySelector('.cdrl-above').width > 100", 60)


def test_the_explorer_lives_in_jupyterlab(browser, lab, run):
    source = f"from cdrl.report import explorer\nmaps = explorer.explore({str(run)!r})\nmaps"
    [cell] = run_all(browser, lab, "explorer", one_cell_notebook(source), 120)
    kinds = set()
    for output in cell["outputs"]:
        kinds |= output.get("data", {}).keys()
    assert "application/vnd.jupyter.widget-view+json" in kinds
    wait_for_maps(browser)
    position = browser.run("getComputedStyle(document.querySelector('.cdrl-above')).position")
    assert position == "absolute", "its style is there"
    click_a_point(browser, explorer.read_atlas(run), 33, "jupyterlab_explorer.png")
    assert not [error for error in browser.errors if "cdrl" in error]


def canvas(browser, pane):
    """(H, H, 3) picture that the dial shows: "source" or "edit"."""
    values = browser.run(
        f"""(() => {{
        const canvas = document.querySelector('.cdrl-{pane} canvas'), side = canvas.width;
        return Array.from(canvas.getContext('2d').getImageData(0, 0, side, side).data);}})()"""
    )
    side = int((len(values) / 4) ** 0.5)
    return np.reshape(values, (side, side, 4))[..., :3].astype(float)


def set_slider(browser, intensity):
    """Press the mouse on the dial's slider where an intensity lies."""
    slider = "document.querySelector('.cdrl-slider')"
    browser.run(f"{slider}.scrollIntoView({{block: 'center'}})")
    left, top, width, height = browser.run(
        f"(() => {{const box = {slider}.getBoundingClientRect();"
        "return [box.left, box.top, box.width, box.height];})()"
    )
    half_thumb = 9  # pixels that are left free at either end
    x = left + half_thumb + (width - 2 * half_thumb) * intensity / 1.5
    browser.click(x, top + height / 2)


def set_input(browser, selector, value):
    """Give a text or a choice to an input of the dial."""
    browser.run(
        f"(() => {{const input = document.querySelector('{selector}'); input.value = '{value}';"
        "input.dispatchEvent(new Event('change'));})()"
    )


def wait_for_dial(browser):
    """Wait until its clip is shown, its fields have come, its readings stand beside it."""
    fields = "document.querySelector('.cdrl-dial')?.cdrl?.state.fields"
    tracks = "document.querySelectorAll('.cdrl-track').length"
    browser.until(f"{fields} && {tracks} && {UP_TO_DATE}", 300)


def turn_the_dial(browser, picture):
    """As `_turn_the_dial`; the picture is taken however it ends."""
    try:
        _turn_the_dial(browser)
    finally:
        browser.run("document.querySelector('.cdrl-dial')?.scrollIntoView({block: 'start'})")
        browser.photograph(PICTURES / picture)


def _turn_the_dial(browser):
    """The slider is moved and the edit follows, with its readings.

    Where it may be chosen the emotion is surprised: an editor of a few steps changes most there.
    """
    wait_for_dial(browser)
    browser.run(
        "[...document.querySelectorAll('.cdrl-emotion')]"
        ".filter((each) => each.textContent.includes('surprised')).forEach((each) => each.click())"
    )
    browser.until(UP_TO_DATE, 120)
    set_slider(browser, 0)
    unchanged = canvas(browser, "edit")
    assert np.array_equal(unchanged, canvas(browser, "source")), "intensity 0 is the source"
    set_slider(browser, 1.2)
    browser.until(UP_TO_DATE, 120)
    assert 1 < np.abs(canvas(browser, "edit") - unchanged).mean() < 40
    intensity = float(text_of(browser, ".cdrl-level output"))
    assert intensity == pytest.approx(1.2, abs=0.03)
    clip_change = browser.run("document.querySelectorAll('.cdrl-facts b')[1].textContent")
    assert float(clip_change) > 0.5
    probabilities = browser.run(
        "[...document.querySelectorAll('.cdrl-bars small')].map((each) => +each.textContent)"
    )
    assert sum(probabilities) == pytest.approx(1, abs=0.05)
    assert not text_of(browser, ".cdrl-status")


def wait_for_playing(browser, description):
    frame = f"{DIAL}.state.frame"
    wait_for(lambda: browser.run(frame) > 5, 60, description)


def click_play(browser):
    browser.run("document.querySelector('.cdrl-play').click()")


def curve_of(browser):
    """(T,) intensity curve of the dial."""
    return np.array(browser.run(f"Array.from({DIAL}.state.curve)"), np.float32)


def expected_edit(browser, session, mixture, curve, frame):
    """(H, H, 3) what `edit_with_fields` makes of the frame that the dial shows."""
    clip = session.clip(0)
    crops = np.zeros_like(clip.crops)
    crops[frame] = canvas(browser, "source")
    return edit_with_fields(session.fields(clip, mixture), crops, curve)[frame]


def neutral_sample():
    return next(path for path in sample_paths() if "NEU" in path.name)


@pytest.fixture(scope="module")
def dial_run(tmp_path_factory):
    return tiny_dial(tmp_path_factory.mktemp("dial") / "run")


@pytest.fixture
def one_emotion(monkeypatch):
    """Pages offer the label happy alone, so that they are written quickly."""
    monkeypatch.setattr(payload, "EMOTION_ORDER", ("happy",))


def test_the_dial_s_page_draws_what_the_generator_does_and_plays(
    browser, dial_run, tmp_path, monkeypatch
):
    monkeypatch.setattr(payload, "EMOTION_ORDER", ("happy", "sad"))
    session = dial.Session(dial_run, neutral_sample())
    page = dial.write_page(session, tmp_path / "turn.html", texts=[TEXTS[0]])
    browser.leave()
    browser.open(page.as_uri())
    turn_the_dial(browser, "dial_page.png")

    caption = "document.querySelector('.cdrl-edit figcaption').textContent"
    browser.run("document.querySelectorAll('.cdrl-emotion')[1].click()")
    browser.until(f"{DIAL}.state.emotion === 1 && {caption}.includes('sad')")
    click_button(browser, ".cdrl-shapes button", "rise")
    curve = curve_of(browser)
    assert np.allclose(curve, np.linspace(0, 1, len(curve)), atol=0.01), "rises from 0 to level 3"
    for share in (0.15, 0.4, 0.9):  # below level 1, and between two pairs of knots
        frame = round(share * (len(curve) - 1))
        browser.run(f"{DIAL}.show({frame})")
        expected = expected_edit(browser, session, {"sad": 1.0}, curve, frame)
        difference = np.abs(canvas(browser, "edit") - expected)
        assert expected.shape == session.clip(0).crops.shape[1:]
        assert difference.mean() < 0.05
        assert difference.max() <= 2
    assert "A curve is read where the kernel runs" in browser.until(STATUS, 20)

    set_input(browser, ".cdrl-text select", TEXTS[0])
    browser.until(f"{caption}.includes('{TEXTS[0]}') && {MIXTURE}.startsWith('read as')", 20)
    frame = len(curve) // 2
    browser.run(f"{DIAL}.show({frame})")
    mixture = text_choice(session, TEXTS[0]).mixture
    expected = expected_edit(browser, session, mixture, curve, frame)
    assert np.abs(canvas(browser, "edit") - expected).mean() < 0.05

    reference = session.reference_names[session.page_references[0]]
    set_input(browser, ".cdrl-reference select", reference)
    browser.until(f"{caption}.includes('{reference}') && {MIXTURE}.startsWith('read as')", 20)
    browser.until("document.querySelector('.cdrl-example img').naturalWidth")
    browser.run("document.querySelectorAll('.cdrl-emotion')[0].click()")
    browser.until(f"document.querySelector('.cdrl-example').hidden && !{MIXTURE}")

    slide = (
        "const slider = document.querySelector('.cdrl-slider'); slider.value = 0.3 + k / 20;"
        "slider.dispatchEvent(new Event('input'));"
    )
    spent = cost(browser, slide, 20)
    print(f"a move of the slider shows its frame in {spent:.1f} ms")
    assert spent < 100
    click_play(browser)
    browser.run(f"{DIAL}.state.frame = 0")
    wait_for_playing(browser, "the clip plays")
    click_play(browser)
    assert not browser.errors
    assert not foreign_requests(browser)


def test_the_dial_takes_a_text_and_a_reference_in_jupyterlab(browser, lab, dial_run):
    """The kernel reads them, says what they mean, and goes on after words that it cannot read."""
    clip = str(neutral_sample())
    source = (
        f"from cdrl.report import dial\nturned = dial.dial({str(dial_run)!r}, {clip!r})\nturned"
    )
    run_all(browser, lab, "dial", one_cell_notebook(source), 120)
    wait_for_dial(browser)
    set_input(browser, ".cdrl-text input", "furious")
    browser.until(f"{STATUS}.includes('never learnt furious')", 60)

    set_input(browser, ".cdrl-text input", TEXTS[0])
    mixture = "read as fear 76 % + surprised 14 % + neutral 10 %"
    browser.until(f"{MIXTURE} === '{mixture}' && !{STATUS}", 60)
    browser.until(UP_TO_DATE, 60)
    assert np.abs(canvas(browser, "edit") - canvas(browser, "source")).mean() > 0.3

    happy = next(path.stem for path in sample_paths() if "HAP" in path.name)
    set_input(browser, ".cdrl-reference select", happy)
    picture = "document.querySelector('.cdrl-example img').naturalWidth"
    browser.until(f"{MIXTURE} === 'read as happy' && !{STATUS} && {picture}", 120)
    browser.until(UP_TO_DATE, 60)
    browser.run("document.querySelector('.cdrl-dial').scrollIntoView({block: 'start'})")
    browser.photograph(PICTURES / "jupyterlab_dial.png")
    assert not [error for error in browser.errors if "cdrl" in error]


def test_the_dial_is_turned_by_keys_alone(browser, dial_run, tmp_path, one_emotion):
    session = dial.Session(dial_run, sample_paths()[0])
    page = dial.write_page(session, tmp_path / "turn.html")
    browser.leave()
    browser.open(page.as_uri())
    wait_for_dial(browser)
    for key in ("ArrowUp", "ArrowUp", "PageDown"):
        press(browser, ".cdrl-knob", key)
    assert curve_of(browser)[0] == pytest.approx(1 + 0.05 + 0.05 - 0.25)
    knob = "document.activeElement"
    assert browser.run(f"{knob}.getAttribute('role')") == "slider", "the focus stays"
    assert float(browser.run(f"{knob}.getAttribute('aria-valuenow')")) == pytest.approx(0.85)
    assert browser.run(NAMELESS) == []
    assert not browser.errors


def test_a_phone_s_width_holds_the_dial_of_facial_actions_and_a_silent_clip_plays(
    phone, dial_run, tmp_path, monkeypatch, one_emotion
):
    monkeypatch.setattr(SourceClip, "mp3", lambda self: b"")
    session = dial.Session(dial_run, sample_paths()[0], generator="action_renderer")
    page = dial.write_page(session, tmp_path / "turn.html")
    phone.open(page.as_uri())
    wait_for_dial(phone)
    assert phone.run("document.documentElement.scrollWidth") <= 390
    assert text_of(phone, ".cdrl-status").startswith("This clip has no sound")
    click_play(phone)
    phone.run(f"{DIAL}.state.frame = 0")
    wait_for_playing(phone, "the pictures play")
    click_play(phone)
    phone.run(f"{DIAL}.show(12)")

    expected = expected_edit(phone, session, {"happy": 1.0}, curve_of(phone), 12)
    difference = np.abs(canvas(phone, "edit") - expected)
    change = np.abs(canvas(phone, "source") - expected)
    assert difference.mean() < 0.05
    assert difference.max() <= 2
    assert change.mean() > 1
    phone.photograph(PICTURES / "dial_phone.png")


SILENT_KERNEL = """
const model = {get: () => header, on() {}, off() {}, set() {}, save_changes() {}, send() {}};
const instance = render({model, el});
"""


def test_a_kernel_that_does_not_answer_is_told_in_one_line(browser, tmp_path):
    code = payload.script().replace("export default { render };", "")
    code = code.replace("PATIENCE = 90000", "PATIENCE = 50")
    header = payload.controls(["a clip"], ["happy"], ["happy"])
    header["live"] = True
    page = tmp_path / "mute.html"
    page.write_text(
        f"<div id=el></div><script>{code} const header = {json.dumps(header)};"
        f"const el = document.getElementById('el'); {SILENT_KERNEL}</script>"
    )
    browser.open(page.as_uri())
    status = browser.until(f"({STATUS}.match(/.*does not answer.*/) || [''])[0]")
    assert "run the cell again" in status
    assert "\n" not in status


def test_where_no_sound_can_be_played_the_pictures_play(browser, dial_run, tmp_path, one_emotion):
    session = dial.Session(dial_run, sample_paths()[0])
    page = dial.write_page(session, tmp_path / "turn.html")
    browser.leave()
    browser.open(page.as_uri())
    wait_for_dial(browser)
    error = "new DOMException('no device', 'NotSupportedError')"
    browser.run(f"HTMLMediaElement.prototype.play = () => Promise.reject({error})")
    browser.run(f"{DIAL}.show(0)")
    click_play(browser)
    wait_for_playing(browser, "the pictures play")
    status = text_of(browser, ".cdrl-status")
    assert status == "No sound can be played here; the pictures play all the same."
    assert not browser.errors


@pytest.mark.parametrize("name", ["00_start_here", "04_probe_disentanglement", "05_generate_spfem"])
def test_a_notebook_runs_in_jupyterlab_without_an_error(browser, lab, smoke, name):
    notebook = load_notebook_node(str(ROOT / "notebooks" / f"{name}.ipynb"))
    parameters = {"run_folder": str(smoke), "preset": "smoke"}
    run_all(browser, lab, name, parameterize_notebook(notebook, parameters), 300)
    browser.run(
        f"(() => {{const content = {PANEL}.content, last = content.widgets.length - 1;"
        "content.activeCellIndex = last; content.scrollToItem(last);})()"
    )
    if name.startswith("04"):
        wait_for_maps(browser)
        click_a_point(browser, explorer.read_atlas(smoke), 7, "jupyterlab_04.png")
    elif name.startswith("05"):
        turn_the_dial(browser, "jupyterlab_05.png")
    else:
        browser.photograph(PICTURES / "jupyterlab_00.png")


def test_the_report_fits_a_phone(phone, smoke):
    phone.leave()
    phone.open((smoke / "report.html").as_uri())
    phone.until("document.querySelector('.headline') && waiting.size > 3", 120)
    assert phone.run("document.documentElement.scrollWidth") <= 390
    assert phone.run("figures.length") == 0, "what is folded costs nothing"
    phone.photograph(PICTURES / "report_phone.png")
    turn_the_dial(phone, "report_phone_dial.png")  # the static dial of notebook 05

    phone.run("document.querySelectorAll('details').forEach((each) => (each.open = true)); 1")
    drawn = (
        "[...document.querySelectorAll('.figure')].every((figure) => figure.querySelector('svg'))"
    )
    phone.until(f"figures.length > 5 && {drawn}", 120)
    assert phone.run("document.documentElement.scrollWidth") <= 390
    assert not phone.errors


def test_the_report_prints_its_figures_whole(browser, smoke):
    browser.leave()
    browser.open((smoke / "report.html").as_uri())
    browser.until("waiting.size > 3", 120)
    pdf = browser.send("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"]
    page = base64.b64decode(pdf)
    assert page.startswith(b"%PDF")
    assert len(page) > 100_000
    (PICTURES / "report.pdf").write_bytes(page)
    browser.run("dispatchEvent(new Event('beforeprint'))")
    widths = browser.run(
        "[...document.querySelectorAll('.js-plotly-plot')].map((each) => each.layout.width)"
    )
    assert max(widths) <= 660, "wider than the paper"
    assert not browser.errors
