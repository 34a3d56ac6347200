"""JupyterLab for real, in a headless Chromium: notebooks run without an error, explorer and dial can be seen and used.

Pictures of what the browser showed are left in runs/browser. Without a browser everything here skips and says so.
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
from browser import Browser, found, wait_for
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from tiny_run import FRAMES, tiny_dial, tiny_run

from cdrl.core.paths import repository_root
from cdrl.corpora.samples import sample_paths
from cdrl.report import dial, explorer
from cdrl.report.dial import page as dial_show
from cdrl.report.dial.low_rank import edit_with_fields
from cdrl.report.dial.choices import TEXTS, in_words
from cdrl.report.explorer.atlas import Atlas

ROOT = repository_root()
PICTURES = ROOT / "runs" / "browser"
POINTS = 2 * 2 * 7 * FRAMES
# The open notebook, for a window that nobody focuses.
PANEL = "(window.jupyterapp ? [...jupyterapp.shell.widgets('main')].find((each) => each.context?.sessionContext) : null)"

pytestmark = pytest.mark.skipif(
    not found(),
    reason="no Chromium on the path (Debian: apt-get install chromium): JupyterLab is not driven; the kit works without",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("tiny") / "run")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    made = Browser(tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """(address, token, folder of its files) of a JupyterLab that knows nothing of this machine's own settings."""
    home = tmp_path_factory.mktemp("jupyter")
    files = home / "files"
    files.mkdir()
    token, port = secrets.token_hex(16), free_port()
    places = {
        name: str(home / name)
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [
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
        ],
        env={**os.environ, **places, "PYTHONPATH": path},
        stdout=(home / "log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    address = f"http://127.0.0.1:{port}"

    def ready():
        assert process.poll() is None, (home / "log").read_text()[-2000:]
        try:
            return (
                urllib.request.urlopen(f"{address}/api/status?token={token}", timeout=5).status
                == 200
            )
        except OSError:
            return False

    wait_for(ready, 120, "JupyterLab's server")
    yield address, token, files
    process.terminate()
    process.wait(60)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def strangers(browser):
    """Addresses outside a page of its own that it asked for; a tab's icon of the server that was shown before is none of its doing."""
    inside = ("file:", "blob:", "data:", "about:")
    return [
        url
        for url in browser.asked
        if not url.startswith(inside)
        and not (url.startswith("http://127.0.0.1") and url.endswith("favicon.ico"))
    ]


def run_all(browser, lab, name, notebook, seconds):
    """Opens a notebook in JupyterLab and runs all its cells; no error may be among the outputs."""
    address, token, files = lab
    nbformat.write(notebook, files / f"{name}.ipynb")
    browser.leave()
    browser.open(f"{address}/lab/tree/{name}.ipynb?token={token}&reset")
    browser.until(f"{PANEL}?.context?.sessionContext?.session?.kernel?.status === 'idle'", 150)
    browser.run(
        f"jupyterapp.shell.collapseLeft(); jupyterapp.shell.activateById({PANEL}.id); window.done = 0;"
        "jupyterapp.commands.execute('notebook:run-all-cells').then(() => (window.done = 1), (e) => (window.done = String(e))); 1"
    )
    assert browser.until("window.done", seconds) == 1
    cells = json.loads(browser.run(f"JSON.stringify({PANEL}.content.model.toJSON().cells)"))
    ran = [cell for cell in cells if cell["cell_type"] == "code"]
    wrong = [
        output for cell in ran for output in cell["outputs"] if output["output_type"] == "error"
    ]
    assert not wrong and all(cell["execution_count"] for cell in ran), wrong
    others = [
        url for url in browser.asked if not url.startswith((address, "data:", "blob:", "about:"))
    ]
    assert not others, "something was asked of the network"
    return ran


def place_of(browser, point, view=0, root="document"):
    """Where a point of a map is in the window, pixels."""
    return browser.run(
        f"""(() => {{const el = {root}.querySelector('.cdrl-explorer'), made = el.cdrl || window.cdrl;
        const box = el.querySelectorAll('.cdrl-above')[{view}].getBoundingClientRect(), at = made.views[{view}].where({point});
        return [box.left + at[0], box.top + at[1]];}})()"""
    )


def colour_of(browser, selector):
    """Mean colour of a picture on the page, or nothing while it is not there."""
    return browser.run(
        f"""(() => {{const image = document.querySelector('{selector}');
        if (!image || !(image.naturalWidth || image.videoWidth)) return null;
        const canvas = document.createElement('canvas'); canvas.width = canvas.height = 1;
        const pen = canvas.getContext('2d'); pen.drawImage(image, 0, 0, 1, 1);
        return Array.from(pen.getImageData(0, 0, 1, 1).data.slice(0, 3));}})()"""
    )


def click_a_point(browser, atlas, point, picture):
    """As `_click_a_point`; the picture is taken however it ends."""
    try:
        _click_a_point(browser, atlas, point)
    finally:
        browser.photograph(PICTURES / picture)


def _click_a_point(browser, atlas, point):
    """Its face appears when pointed at; a click keeps it, plays its clip and shows its neighbours."""
    browser.run("document.querySelector('.cdrl-explorer').scrollIntoView({block: 'start'})")
    x, y = place_of(browser, point)
    expected = np.asarray(atlas.store.face[atlas.frames[point]], float).mean((0, 1))
    browser.mouse("mouseMoved", x, y)
    wait_for(
        lambda: near(colour_of(browser, ".cdrl-tip img"), expected), 60, "the face at the pointer"
    )
    browser.click(x, y)
    wait_for(
        lambda: near(colour_of(browser, ".cdrl-face"), expected), 60, "the face that was clicked"
    )
    shown = browser.run("document.querySelector('.cdrl-now p').textContent")
    assert all(f"{name} {labels[point]}" in shown for name, labels in atlas.factors.items())
    wait_for(
        lambda: browser.run("document.querySelector('.cdrl-now video').currentTime") > 0.05,
        60,
        "the clip plays",
    )
    film = "document.querySelector('.cdrl-now video')"
    assert browser.run(f"{film}.webkitAudioDecodedByteCount > 0 && !{film}.paused")
    said = browser.run("document.querySelector('.cdrl-said').textContent")
    assert "cannot" not in said and "no sound" not in said
    strips = "document.querySelectorAll('.cdrl-strip')"
    counts = browser.run(f"[...{strips}].map((strip) => strip.querySelectorAll('img').length)")
    assert counts == [(atlas.nearest[space][point] >= 0).sum() for space in ("content", "emotion")]
    browser.until(
        f"[...{strips}].every((strip) => [...strip.querySelectorAll('img')].every((image) => image.naturalWidth))"
    )


def near(colour, expected):
    return colour is not None and np.abs(np.subtract(colour, expected)).max() < 12


def test_the_page_shows_faces_plays_clips_and_selects_in_both_maps(browser, run, tmp_path):
    atlas = explorer.read_atlas(run)
    page = explorer.write_page(atlas, tmp_path / "maps.html")
    browser.leave()
    browser.open(page.as_uri())
    browser.until("!!window.cdrl")
    click_a_point(browser, atlas, 33, "page.png")

    label = atlas.factors["emotion"][0]
    browser.run(
        f"[...document.querySelectorAll('.cdrl-legend button')].find((b) => b.textContent === '{label}').click()"
    )
    assert browser.run("document.querySelector('.cdrl-said').textContent").startswith(
        f"{POINTS // 7} of {POINTS} frames"
    )
    browser.run("document.querySelectorAll('.cdrl-factor')[1].click()")
    assert browser.run("document.querySelector('.cdrl-legend').textContent").startswith("DDFFPP")

    points = atlas.points["emotion"]
    middle = points[atlas.factors["emotion"] == "happy"].mean(0)
    inside = np.abs(points - middle).max(1) < 0.4
    corners = box_around(browser, points, middle, 0.4)
    browser.drag([*corners, corners[0]])
    said = browser.run("document.querySelector('.cdrl-said').textContent")
    assert (
        said
        == f"{inside.sum()} of {POINTS} frames are selected in both maps; click beside the points to let go."
    )
    browser.photograph(PICTURES / "lasso.png")
    for view in (0, 1):  # colour for what is selected, grey for the rest, in either map
        chosen, other = (int(np.flatnonzero(rows)[0]) for rows in (inside, ~inside))
        assert np.ptp(pixel(browser, view, chosen)) > 40
    assert np.ptp(pixel(browser, 1, other)) < 40
    assert not browser.errors and not strangers(browser)


def pixel(browser, view, point):
    """Colour of a map where a point lies, (3,)."""
    return browser.run(
        f"""(() => {{const canvas = document.querySelectorAll('.cdrl-frame canvas:first-child')[{view}], ratio = canvas.width / canvas.clientWidth;
        const [x, y] = cdrl.views[{view}].where({point}).map((each) => Math.round(each * ratio));
        return Array.from(canvas.getContext('2d').getImageData(x, y, 1, 1).data.slice(0, 3));}})()"""
    )


def box_around(browser, points, middle, half):
    """Window corners of a square of the emotion map, in its own units, by two points' known places."""
    a, b = 0, int(np.argmax(np.abs(points - points[0]).sum(1)))
    at = np.array([place_of(browser, k, view=1) for k in (a, b)])
    scale = (at[1] - at[0]) / (points[b] - points[a])
    corners = middle + half * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    return (at[0] + (corners - points[a]) * scale).tolist()


def test_fifty_thousand_points_stay_smooth(browser, run, tmp_path, monkeypatch):
    atlas, n, rng = explorer.read_atlas(run), 50_000, np.random.default_rng(2)
    monkeypatch.setattr(Atlas, "face", lambda self, position, side=0: b"0")
    drawn = np.sort(rng.integers(0, POINTS, n))
    many = replace(
        atlas,
        frames=drawn,
        factors={name: labels[drawn] for name, labels in atlas.factors.items()},
        points={space: rng.standard_normal((n, 2)).astype(np.float32) for space in atlas.points},
        nearest={space: values[drawn] for space, values in atlas.nearest.items()},
        likeness={space: values[drawn] for space, values in atlas.likeness.items()},
    )
    browser.open(explorer.write_page(many, tmp_path / "many.html").as_uri())
    browser.until("!!window.cdrl", 60)
    above = (
        "const above = document.querySelector('.cdrl-above'), box = above.getBoundingClientRect();"
    )
    move = (
        "new PointerEvent('pointermove', {clientX: box.left + 200 + 9 * k, clientY: box.top + 200})"
    )
    paint = cost(browser, "cdrl.views[k % 2].paint()", 20)
    hover = cost(browser, f"{above} above.dispatchEvent({move})", 20)
    print(f"50,000 points: a map is painted in {paint:.1f} ms, the pointer found in {hover:.1f} ms")
    browser.photograph(PICTURES / "fifty_thousand.png")
    assert paint < 60 and hover < 16


def cost(browser, script, times):
    """Milliseconds of the page's own thread for one run of a script with k = 0, 1, ...; other processes do not count."""

    def spent():
        found = {
            each["name"]: each["value"]
            for each in browser.send("Performance.getMetrics")["metrics"]
        }
        return 1000 * found["TaskDuration"]

    browser.send("Performance.enable", timeDomain="threadTicks")
    before = spent()
    browser.run(f"(() => {{for (let k = 0; k < {times}; k++) {{{script}}}}})()")
    return (spent() - before) / times


def test_the_explorer_lives_in_jupyterlab(browser, lab, run):
    source = f"from cdrl.report import explorer\nmaps = explorer.explore({str(run)!r})\nmaps"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    [cell] = run_all(browser, lab, "explorer", notebook, 120)
    assert any(
        "application/vnd.jupyter.widget-view+json" in output.get("data", {})
        for output in cell["outputs"]
    )
    browser.until("document.querySelectorAll('.cdrl-above').length === 2", 60)
    browser.until("document.querySelector('.cdrl-above').width > 100", 60)
    assert (
        browser.run("getComputedStyle(document.querySelector('.cdrl-above')).position")
        == "absolute"
    ), "its style is there"
    click_a_point(browser, explorer.read_atlas(run), 33, "jupyterlab_explorer.png")
    assert not [error for error in browser.errors if "cdrl" in error]


def canvas(browser, pane):
    """(H, H, 3) picture that the dial shows: "source" or "edit"."""
    values = browser.run(
        f"""(() => {{const canvas = document.querySelector('.cdrl-{pane} canvas'), side = canvas.width;
        return Array.from(canvas.getContext('2d').getImageData(0, 0, side, side).data);}})()"""
    )
    return np.reshape(values, (int((len(values) / 4) ** 0.5), -1, 4))[..., :3].astype(float)


def set_slider(browser, value):
    """The dial's slider under the mouse: pressed where that intensity lies."""
    browser.run("document.querySelector('.cdrl-slider').scrollIntoView({block: 'center'})")
    left, top, wide, high = browser.run(
        "(() => {const box = document.querySelector('.cdrl-slider').getBoundingClientRect();"
        "return [box.left, box.top, box.width, box.height];})()"
    )
    browser.click(
        left + 9 + (wide - 18) * value / 1.5, top + high / 2
    )  # half a thumb is left free at either end


def dial_is_there(browser):
    """Its clip is shown, its fields have come, its readings stand beside it."""
    ready = "document.querySelector('.cdrl-dial')?.cdrl?.state.bank && document.querySelectorAll('.cdrl-track').length"
    browser.until(f"{ready} && !document.querySelector('.cdrl-stale')", 300)


def turn_the_dial(browser, picture):
    """The slider is moved and the edit follows, readings and all; the picture is taken however it ends."""
    try:
        dial_is_there(browser)
        set_slider(browser, 0)
        still = canvas(browser, "edit")
        assert np.array_equal(still, canvas(browser, "source")), "intensity 0 is the source"
        set_slider(browser, 1.2)
        browser.until("!document.querySelector('.cdrl-stale')", 120)
        assert 1 < np.abs(canvas(browser, "edit") - still).mean() < 40
        value = float(browser.run("document.querySelector('.cdrl-level output').textContent"))
        assert value == pytest.approx(1.2, abs=0.03)
        assert (
            float(browser.run("document.querySelectorAll('.cdrl-facts b')[1].textContent")) > 0.5
        ), "the clip's mean change"
        shown = browser.run(
            "[...document.querySelectorAll('.cdrl-bars small')].map((each) => +each.textContent)"
        )
        assert sum(shown) == pytest.approx(1, abs=0.05)
        said = browser.run("document.querySelector('.cdrl-said').textContent")
        assert not said, said
    finally:
        browser.run("document.querySelector('.cdrl-dial')?.scrollIntoView({block: 'start'})")
        browser.photograph(PICTURES / picture)


def test_the_dial_s_page_draws_what_the_generator_does_and_plays(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(dial_show, "SHOWN_FIRST", ("happy", "sad"))
    neutral = next(path for path in sample_paths() if "NEU" in path.name)
    desk = dial.Session(tiny_dial(tmp_path / "run"), neutral)
    page = dial.write_page(desk, tmp_path / "turn.html", texts=[TEXTS[0]])
    browser.leave()
    browser.open(page.as_uri())
    turn_the_dial(browser, "dial_page.png")

    made, side = "document.querySelector('.cdrl-dial').cdrl", desk.take(0).crops.shape[1]
    browser.run("document.querySelectorAll('.cdrl-emotion')[1].click()")
    browser.until(
        f"{made}.state.emotion === 1 && document.querySelector('.cdrl-edit figcaption').textContent.includes('sad')"
    )
    browser.run(
        "[...document.querySelectorAll('.cdrl-shapes button')].find((b) => b.textContent === 'rise').click()"
    )
    curve = np.array(browser.run(f"Array.from({made}.state.curve)"), np.float32)
    assert np.allclose(curve, np.linspace(0, 1, len(curve)), atol=0.01), "rises from 0 to level 3"
    for share in (0.15, 0.4, 0.9):  # below level 1, and between two pairs of knots
        frame = round(share * (len(curve) - 1))
        browser.run(f"{made}.show({frame})")
        crops = np.zeros_like(desk.take(0).crops)
        crops[frame] = canvas(browser, "source")
        expected = edit_with_fields(desk.bank(desk.take(0), {"sad": 1.0}), crops, curve)[frame]
        off = np.abs(canvas(browser, "edit") - expected)
        assert expected.shape == (side, side, 3) and off.mean() < 0.05 and off.max() <= 2
    assert "A curve is read where the kernel runs" in browser.until(
        "document.querySelector('.cdrl-said').textContent", 20
    )

    frame, words = len(curve) // 2, in_words(desk, TEXTS[0])
    for kind, name in (("words", TEXTS[0]), ("reference", desk.references[desk.telling[0]])):
        browser.run(
            f"(() => {{const s = document.querySelector('.cdrl-{kind} select'); s.value = '{name}'; s.dispatchEvent(new Event('change'));}})()"
        )
        shown = "document.querySelector('.cdrl-edit figcaption').textContent"
        browser.until(
            f"{shown}.includes('{name}') && document.querySelector('.cdrl-reading').textContent.startsWith('read as')",
            20,
        )
        if kind == "words":
            browser.run(f"{made}.show({frame})")
            crops[frame] = canvas(browser, "source")
            expected = edit_with_fields(desk.bank(desk.take(0), words.mixture), crops, curve)[frame]
            assert np.abs(canvas(browser, "edit") - expected).mean() < 0.05
    browser.until("document.querySelector('.cdrl-like img').naturalWidth")
    browser.run("document.querySelectorAll('.cdrl-emotion')[0].click()")
    browser.until(
        "document.querySelector('.cdrl-like').hidden && !document.querySelector('.cdrl-reading').textContent"
    )

    slide = "const s = document.querySelector('.cdrl-slider'); s.value = 0.3 + k / 20; s.dispatchEvent(new Event('input'));"
    spent = cost(browser, slide, 20)
    print(f"a move of the slider shows its frame in {spent:.1f} ms")
    assert spent < 100
    browser.run(f"document.querySelector('.cdrl-play').click(); {made}.state.frame = 0")
    wait_for(lambda: browser.run(f"{made}.state.frame") > 5, 60, "the clip plays")
    browser.run("document.querySelector('.cdrl-play').click()")
    assert not browser.errors and not strangers(browser)


def test_the_dial_takes_words_and_a_reference_in_jupyterlab(browser, lab, tmp_path):
    """Typed into the widget; the kernel reads them, says what they mean, and goes on after words that it does not know."""
    run, clip = (
        tiny_dial(tmp_path / "run"),
        next(path for path in sample_paths() if "NEU" in path.name),
    )
    source = (
        f"from cdrl.report import dial\nturned = dial.dial({str(run)!r}, {str(clip)!r})\nturned"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    run_all(browser, lab, "dial", notebook, 120)
    dial_is_there(browser)
    said, reading = (
        f"document.querySelector('.cdrl-{name}').textContent" for name in ("said", "reading")
    )
    type_in = "(() => {{const s = document.querySelector('.cdrl-words input'); s.value = '{}'; s.dispatchEvent(new Event('change'));}})()"
    browser.run(type_in.format("furious"))
    browser.until(f"{said}.includes('never learnt furious')", 60)
    browser.run(type_in.format(TEXTS[0]))
    browser.until(
        f"{reading} === 'read as fear 76 % + surprised 14 % + neutral 10 %' && !{said}", 60
    )
    browser.until("!document.querySelector('.cdrl-stale')", 60)
    assert np.abs(canvas(browser, "edit") - canvas(browser, "source")).mean() > 0.3
    choose = "s.value = [...s.options].find((each) => each.text.includes('HAP')).value; s.dispatchEvent(new Event('change'));"
    browser.run(
        f"(() => {{const s = document.querySelector('.cdrl-reference select'); {choose}}})()"
    )
    browser.until(
        f"{reading} === 'read as happy' && !{said} && document.querySelector('.cdrl-like img').naturalWidth",
        120,
    )
    browser.until("!document.querySelector('.cdrl-stale')", 60)
    browser.run("document.querySelector('.cdrl-dial').scrollIntoView({block: 'start'})")
    browser.photograph(PICTURES / "jupyterlab_dial.png")
    assert not [error for error in browser.errors if "cdrl" in error]


def test_a_phone_s_width_holds_the_dial_of_facial_actions_and_a_silent_clip_plays(
    browser, tmp_path, monkeypatch
):
    monkeypatch.setattr(dial_show, "SHOWN_FIRST", ("happy",))
    monkeypatch.setattr("cdrl.report.dial.session.SourceClip.heard", lambda self: b"")
    desk = dial.Session(tiny_dial(tmp_path / "run"), sample_paths()[0], generator="action_renderer")
    page = dial.write_page(desk, tmp_path / "turn.html")
    browser.send(
        "Emulation.setDeviceMetricsOverride",
        width=390,
        height=844,
        deviceScaleFactor=1,
        mobile=True,
    )
    try:
        browser.open(page.as_uri())
        dial_is_there(browser)
        assert browser.run("document.documentElement.scrollWidth") <= 390
        assert browser.run("document.querySelector('.cdrl-said').textContent").startswith(
            "This clip has no sound"
        )
        browser.run(
            "document.querySelector('.cdrl-play').click(); document.querySelector('.cdrl-dial').cdrl.state.frame = 0"
        )
        wait_for(
            lambda: browser.run("document.querySelector('.cdrl-dial').cdrl.state.frame") > 5,
            60,
            "the pictures play",
        )
        browser.run(
            "document.querySelector('.cdrl-play').click(); document.querySelector('.cdrl-dial').cdrl.show(12)"
        )
        crops = np.zeros_like(desk.take(0).crops)
        crops[12], curve = (
            canvas(browser, "source"),
            np.array(
                browser.run("Array.from(document.querySelector('.cdrl-dial').cdrl.state.curve)"),
                np.float32,
            ),
        )
        expected = edit_with_fields(desk.bank(desk.take(0), {"happy": 1.0}), crops, curve)[12]
        off, moved = (
            np.abs(canvas(browser, "edit") - expected),
            np.abs(crops[12].astype(float) - expected),
        )
        assert off.mean() < 0.05 and off.max() <= 2 and moved.mean() > 1
        browser.photograph(PICTURES / "dial_phone.png")
    finally:
        browser.send("Emulation.clearDeviceMetricsOverride")


MUTE = "const made = render({model: {get: () => header, on() {}, off() {}, set() {}, save_changes() {}, send() {}}, el});"


def test_a_kernel_that_does_not_answer_is_told_in_one_line(browser, tmp_path):
    code = (
        dial_show.code()
        .replace("export default { render };", "")
        .replace("PATIENCE = 90000", "PATIENCE = 50")
    )
    header = json.dumps(dial_show.header_of(["a clip"], ["happy"], ["happy"]) | {"live": True})
    page = tmp_path / "mute.html"
    page.write_text(
        f"<div id=el></div><script>{code} const header = {header}, el = document.getElementById('el'); {MUTE}</script>"
    )
    browser.open(page.as_uri())
    said = browser.until(
        "(document.querySelector('.cdrl-said').textContent.match(/.*does not answer.*/) || [''])[0]"
    )
    assert (
        said
        == "The kernel does not answer: run the cell again. What is on the screen still turns and plays."
    )


def test_where_no_sound_can_be_played_the_pictures_play(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(dial_show, "SHOWN_FIRST", ("happy",))
    page = dial.write_page(
        dial.Session(tiny_dial(tmp_path / "run"), sample_paths()[0]), tmp_path / "turn.html"
    )
    del browser.errors[:]
    browser.open(page.as_uri())
    dial_is_there(browser)
    browser.run(
        "HTMLMediaElement.prototype.play = () => Promise.reject(new DOMException('no device', 'NotSupportedError'))"
    )
    browser.run(
        "document.querySelector('.cdrl-dial').cdrl.show(0); document.querySelector('.cdrl-play').click()"
    )
    wait_for(
        lambda: browser.run("document.querySelector('.cdrl-dial').cdrl.state.frame") > 5,
        60,
        "the pictures play",
    )
    said = browser.run("document.querySelector('.cdrl-said').textContent")
    assert (
        said == "No sound can be played here; the pictures play all the same."
        and not browser.errors
    )


@pytest.mark.parametrize("name", ["00_start_here", "04_probe_disentanglement", "05_generate_spfem"])
def test_a_notebook_runs_in_jupyterlab_without_an_error(browser, lab, smoke, name):
    notebook = load_notebook_node(str(ROOT / "notebooks" / f"{name}.ipynb"))
    filled = parameterize_notebook(notebook, {"run_folder": str(smoke), "preset": "smoke"})
    run_all(browser, lab, name, filled, 300)
    browser.run(
        f"(() => {{const c = {PANEL}.content, last = c.widgets.length - 1; c.activeCellIndex = last; c.scrollToItem(last);}})()"
    )
    if name.startswith("04"):
        browser.until("document.querySelectorAll('.cdrl-above').length === 2", 60)
        browser.until("document.querySelector('.cdrl-above').width > 100", 60)
        click_a_point(browser, explorer.read_atlas(smoke), 7, "jupyterlab_04.png")
    elif name.startswith("05"):
        turn_the_dial(browser, "jupyterlab_05.png")
    else:
        browser.photograph(PICTURES / "jupyterlab_00.png")


def test_the_report_fits_a_phone_and_prints_its_figures_whole(browser, smoke):
    del browser.errors[:]
    browser.send(
        "Emulation.setDeviceMetricsOverride",
        width=390,
        height=844,
        deviceScaleFactor=1,
        mobile=True,
    )
    try:
        browser.open((smoke / "report.html").as_uri())
        browser.until(
            "figures.length > 5 && [...document.querySelectorAll('.figure')].every((each) => each.querySelector('svg'))",
            120,
        )
        assert browser.run("document.documentElement.scrollWidth") <= 390
        browser.photograph(PICTURES / "report_phone.png")
        turn_the_dial(browser, "report_phone_dial.png")  # the static twin of notebook 05
    finally:
        browser.send("Emulation.clearDeviceMetricsOverride")
    page = base64.b64decode(
        browser.send("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"]
    )
    assert page.startswith(b"%PDF") and len(page) > 100_000
    (PICTURES / "report.pdf").write_bytes(page)
    browser.run("dispatchEvent(new Event('beforeprint'))")
    widths = browser.run(
        "[...document.querySelectorAll('.js-plotly-plot')].map((each) => each.layout.width)"
    )
    assert max(widths) <= 660, "wider than the paper"
    assert not browser.errors
