"""The notebooks as a course: every part of the argument, and commands that are accepted.

What a notebook computes by hand is the kit's loss, and every line of it is needed.
"""

import json
import linecache
import re
import shlex
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import NamedTuple

import nbformat
import numpy as np
import pytest
import torch
import yaml
from test_encoders import drawn_features

from cdrl.cli.grid_file import check_grid, read_grid
from cdrl.cli.main import build_parser
from cdrl.cli.options import parse_settings
from cdrl.cli.planning import notebook_paths
from cdrl.core.errors import InputError
from cdrl.core.notebook_parameters import declared_parameters
from cdrl.core.paths import repository_root
from cdrl.core.presets import PRESETS
from cdrl.core.results import RESULTS
from cdrl.core.settings import STAGES, stage_config, stage_folder
from cdrl.core.stage import check_stage, run_stage
from cdrl.core.vocabulary import emotion_index
from cdrl.corpora.samples import sample_clips
from cdrl.media.encoding import write_video
from cdrl.media.video import read_video
from cdrl.priors.actions import TrackedActions
from cdrl.priors.language import WORDS
from cdrl.report.edit_panel import EditPanel
from cdrl.representation.guidance import Guidance

ROOT = repository_root()
PAPER = "arxiv.org/abs/2504.05672"
PARTS = ("**Question.**", "**Idea", "**Figure.**", "**Reading.**", "## Try next")
SOURCE = re.compile(r"arxiv\.org/abs/[\d.]+\d|doi\.org/[\w./-]+")
REFUTATION = re.compile(r"[Rr]efute|would mean|would have proved us")
EVERY = pytest.mark.parametrize("path", notebook_paths(every=True), ids=lambda path: path.stem)
STAGE_NOTEBOOKS = pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)


def read_cells(path):
    return nbformat.read(path, as_version=4).cells


def prose(path):
    texts = [cell.source for cell in read_cells(path) if cell.cell_type == "markdown"]
    return "\n\n".join(texts)


def code(path):
    texts = [cell.source for cell in read_cells(path) if cell.cell_type == "code"]
    return "\n\n".join(texts)


@EVERY
def test_no_part_of_the_argument_is_missing(path):
    text = prose(path)
    assert [part for part in PARTS if part not in text] == []


@EVERY
def test_the_idea_has_its_equation_and_its_sources(path):
    first = read_cells(path)[0].source
    assert "$$" in first
    assert PAPER in first
    assert len(set(SOURCE.findall(prose(path)))) >= 2


@EVERY
def test_a_notebook_says_what_would_have_refuted_it(path):
    assert REFUTATION.search(prose(path))


@STAGE_NOTEBOOKS
def test_settings_that_a_notebook_prints_exist(path):
    stage = list(STAGES)[int(path.name[:2])]
    config = stage_config(stage, "cpu", {})
    names = re.findall(r"\bconfig\.(\w+)", code(path))
    assert [name for name in names if not hasattr(config, name)] == []


def commands(path):
    """The lines that a notebook gives to be typed, each command alone."""
    lines = []
    for block in re.findall(r"^```\n(.*?)^```", prose(path), re.S | re.M):
        for line in block.splitlines():
            lines += [part.strip() for part in line.split("&&")]
    return lines


@EVERY
def test_what_a_notebook_tells_to_try_is_accepted_and_changes_something(path, tmp_path):
    lines = commands(path)
    assert any(line.startswith("cdrl run ") for line in lines), "a run with one thing changed"
    for line in lines:
        check_command(shlex.split(line), tmp_path)


def check_command(words, tmp_path):
    if words[0] == "cdrl":
        check_cdrl(words)
    elif words[0] == "papermill":
        check_papermill(words[1:])
    elif words[0] == "printf":
        grid = tmp_path / words[-1]
        grid.write_text(words[1].replace("\\n", "\n"))
        check_grid(read_grid(grid), tmp_path / "grid")
    else:
        assert words[0] in ("mkdir", "cp"), words


def check_cdrl(words):
    arguments = build_parser().parse_args(words[1:])
    if words[1] == "run":
        check_settings(parse_settings(arguments.set), arguments.preset)
    elif words[1] == "edit":
        assert (ROOT / arguments.source).is_file()
        assert set(re.findall(r"\w+", arguments.text)) <= set(WORDS)


def check_settings(settings, preset):
    """Every setting is accepted, as `cdrl run` checks before anything runs, and changes a value."""
    for stage in STAGES:
        stage_config(stage, preset, settings)
    for name, value in settings.items():
        stage, _, field = name.partition(".")
        before = getattr(stage_config(stage, preset, {}), field)
        after = getattr(stage_config(stage, preset, {name: value}), field)
        assert after != before, f"{name} is {before} already"


def check_papermill(words):
    source, target = words[0], words[1]
    parameters = papermill_parameters(words)
    assert (ROOT / source).is_file()
    assert target.endswith(".ipynb")
    given = {name for name, value in parameters.items() if name != "settings" or value}
    assert given <= set(declared_parameters(ROOT / source))
    check_settings(parameters["settings"], parameters.get("preset", "cpu"))


def papermill_parameters(words):
    """The parameters that the words behind `papermill` give the notebook."""
    parameters = {}
    position = 2
    while position < len(words):
        option = words[position]
        if option == "-p":
            parameters[words[position + 1]] = words[position + 2]
            position += 3
        elif option == "-y":
            parameters |= yaml.safe_load(words[position + 1])
            position += 2
        else:
            assert words[position : position + 2] == ["-k", "python3"]
            position += 2
    given = parameters.get("settings", {})
    settings = {name: str(value) for name, value in given.items()}
    return parameters | {"settings": settings}


class Request(NamedTuple):
    """What a command makes: stages of a run, or one of them."""

    run: str
    preset: str
    settings: dict
    only_stage: str | None


def requested_stages(words):
    """The stages that a command makes; None where it makes none."""
    if words[:2] == ["cdrl", "run"]:
        arguments = build_parser().parse_args(words[1:])
        settings = parse_settings(arguments.set)
        return Request(arguments.out, arguments.preset, settings, None)
    if words[0] == "papermill":
        if int(Path(words[1]).name[:2]) >= len(STAGES):
            return None
        parameters = papermill_parameters(words[1:])
        stage = list(STAGES)[int(Path(words[1]).name[:2])]
        preset = parameters.get("preset", "cpu")
        return Request(parameters["run_folder"], preset, parameters["settings"], stage)
    return None


@EVERY
def test_what_is_told_to_be_copied_is_all_that_stays_the_same(path, tmp_path):
    """After the copies before it a run is accepted, and makes only what its settings change."""
    for stage in STAGES:
        run_stage(stage_config(stage, "cpu", {}), tmp_path / "runs" / "demo", lambda out: {})
    for command in commands(path):
        words = shlex.split(command)
        request = requested_stages(words)
        if words[0] in ("mkdir", "cp"):
            subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
        elif request is not None:
            check_copies(request, tmp_path / request.run, command)


def check_copies(request, run, command):
    names = list(STAGES)
    configs = {}
    for stage in names:
        configs[stage] = stage_config(stage, request.preset, request.settings)
        check_stage(configs[stage], run)
    copied = [stage for stage in names if (stage_folder(run, stage) / RESULTS).exists()]
    changed = min(names.index(name.partition(".")[0]) for name in request.settings)
    assert copied == names[:changed], command
    assert request.only_stage in (None, names[changed]), command
    run_stage(configs[names[changed]], run, lambda out: {})


METHODS = ("02_train_ccrl", "03_train_cerl", "05_generate_spfem")
SMALL = {"content.window": 5, "content.moments": 6, "content.units": 8, "emotion.window": 9}


def method_cells(name):
    """Code cells of a notebook up to the comparison of both losses."""
    [path] = [path for path in notebook_paths() if path.stem == name]
    cells = [cell for cell in read_cells(path) if cell.cell_type == "code"]
    ids = [cell.id for cell in cells]
    return cells[: ids.index(f"{name[:2]}-see-equal") + 1]


def is_by_hand(cell):
    return "by_hand" in cell.metadata.get("tags", ())


def drawn_windows(random):
    """A batch as the sampler of windows of facial actions gives it, with pixels."""
    source = torch.from_numpy(random.random((2, 24, 52), np.float32))
    return {
        "source": source,
        "reference": source.flip(0),
        "frames": torch.from_numpy(random.random((2, 5, 3, 64, 64), np.float32)),
        "boxes": torch.tensor([[0.2, 0.5, 0.8, 1.0]] * 2),
        "emotion": torch.tensor([emotion_index("happy"), emotion_index("sad")]),
        "target": torch.tensor([emotion_index("sad"), emotion_index("happy")]),
        "intensity": torch.tensor([1.0, 1 / 3]),
        "target_intensity": torch.tensor([1 / 3, 1.0]),
    }


def prepare(name, monkeypatch):
    """What the cells before those by hand define, on drawn features."""
    features = drawn_features()
    features.store.face = np.zeros((len(features.face), 8, 8, 3), np.uint8)
    monkeypatch.setattr("cdrl.stages.open_features", lambda run, part: features)
    monkeypatch.setattr("cdrl.stages.training_clips", lambda run: features.store)
    monkeypatch.setattr("cdrl.stages.priors_language", lambda run: "embedded")
    actions = np.random.default_rng(0).random((len(features.face), 52), np.float32)
    tracked = TrackedActions(features.store.clips, actions)
    monkeypatch.setattr("cdrl.stages.track_training_clips", lambda run: tracked)
    guidance = Guidance()
    values = {"__name__": "__main__"}
    for cell in method_cells(name)[:-1]:
        if is_by_hand(cell):
            continue
        exec(compile(cell.source, cell.id, "exec"), values)
        if "parameters" in cell.metadata.get("tags", ()):
            values |= {"preset": "smoke", "settings": SMALL}
        if name.startswith("05"):
            values["Guidance"] = lambda run: guidance
            values["ActionWindowSampler"] = lambda *arguments: drawn_windows
    return values


def compare(cells, prepared, without=(None, None)):
    """Execute the cells by hand and the comparison, without one line of one cell."""
    values = dict(prepared)
    for cell in cells:
        lines = cell.source.splitlines()
        if cell.id == without[0]:
            del lines[without[1]]
        exec(compile("\n".join(lines), cell.id, "exec"), values)


def lines_that_count(cell):
    """Numbers of the lines by hand that are neither empty nor explain."""
    return [
        number
        for number, line in enumerate(cell.source.splitlines())
        if line.strip() and not line.strip().startswith(('"""', "#"))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_the_loss_by_hand_is_the_kit_s_and_every_line_of_it_is_needed(name, monkeypatch):
    prepared = prepare(name, monkeypatch)
    cells = [cell for cell in method_cells(name) if is_by_hand(cell)]
    comparison = method_cells(name)[-1]
    assert cells
    compare([*cells, comparison], prepared)

    needless = []
    for cell in cells:
        for number in lines_that_count(cell):
            try:
                compare([*cells, comparison], prepared, (cell.id, number))
            except Exception:
                continue
            needless.append(cell.source.splitlines()[number])
    assert needless == []


def execute(stem, parameters):
    """Execute a notebook's code in this process with other parameters; return what it defines."""
    [path] = [path for path in notebook_paths(every=True) if path.stem == stem]
    values = {"__name__": "__main__"}
    for cell in read_cells(path):
        if cell.cell_type == "code":
            lines = cell.source.splitlines(keepends=True)
            linecache.cache[cell.id] = (len(cell.source), None, lines, cell.id)
            exec(compile(cell.source, cell.id, "exec"), values)
            if "parameters" in cell.metadata.get("tags", ()):
                values |= parameters
    return values


@pytest.mark.slow
def test_a_video_is_edited_without_a_browser_and_shown_beside_its_source(tmp_path):
    sample = sample_clips()[4]
    video = tmp_path / "short.mp4"
    write_video(video, sample.frames[:15], 25.0, sample.audio[: 16000 * 15 // 25])
    parameters = {"video": str(video), "curve": [0, 1], "out_folder": str(tmp_path / "edits")}
    panel = execute("08_edit_your_video", parameters)["panel"]
    assert panel.curve[0] == 0
    assert panel.curve[-1] == 1

    before = read_video(video).frames
    after = read_video(panel.edited).frames
    compared = read_video(panel.comparison)
    assert after.shape == before.shape
    assert compared.frames.shape[2] == 2 * before.shape[2]
    assert len(compared.audio)
    difference = np.abs(after.astype(int) - before.astype(int)).mean((1, 2, 3))
    assert difference[-1] > 2 * difference[0]
    assert 'download="short-edited.mp4"' in panel.result.value.replace("'", '"')


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"emotion": "bored"}, "emotion=bored.*happy"),
        ({"source_emotion": "bored"}, "source_emotion=bored.*neutral"),
        ({"curve": [0, 2]}, r"curve=\[0, 2\].*0 to 1.5"),
    ],
)
def test_a_panel_refuses_what_it_cannot_edit(choice, told):
    with pytest.raises(InputError, match=told):
        EditPanel("none.mp4", **choice)


def test_a_panel_says_that_a_video_is_missing(tmp_path):
    panel = EditPanel(tmp_path / "none.mp4", folder=tmp_path)
    with pytest.raises(InputError, match=r"none\.mp4: no such video"):
        panel.edit()


def test_an_uploaded_video_becomes_the_source(tmp_path):
    panel = EditPanel("none.mp4", folder=tmp_path)
    panel._take_upload({"new": [{"name": "../mine.mp4", "content": memoryview(b"abc")}]})
    assert panel.path.value == str(tmp_path / "uploads" / "mine.mp4")
    assert (tmp_path / "uploads" / "mine.mp4").read_bytes() == b"abc"


class Sessions(BaseHTTPRequestHandler):
    """Answers as Colab's server does for a notebook that was opened from GitHub."""

    path_of_notebook = "fileId=https%3A//github.com/someone/the-kit/blob/main/notebooks/00.ipynb"

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps([{"path": self.path_of_notebook}]).encode())

    def log_message(self, *words):
        pass


@pytest.fixture
def colab(monkeypatch):
    """A machine without the kit; the commands that the first cells start are collected."""
    server = HTTPServer(("127.0.0.1", 0), Sessions)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("COLAB_JUPYTER_IP", "127.0.0.1")
    monkeypatch.setenv("KMP_TARGET_PORT", str(server.server_port))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    commands = []
    monkeypatch.setattr("subprocess.run", lambda words, check: commands.append(words))
    yield commands
    server.shutdown()
    server.server_close()


def first_cells(**parameters):
    """Execute the cells of 00 that come before the kit is imported."""
    values = {"__name__": "__main__"}
    for cell in read_cells(notebook_paths()[0]):
        if cell.cell_type != "code" or "from cdrl" in cell.source:
            continue
        exec(compile(cell.source, cell.id, "exec"), values)
        if cell.id == "setup":
            return values
        if "parameters" in cell.metadata.get("tags", ()):
            values |= parameters
    raise AssertionError("no cell sets the kit up")


def test_the_first_cells_run_untouched_on_colab_and_begin_small(colab):
    values = first_cells()
    clone, install = colab
    assert "https://github.com/someone/the-kit" in clone
    assert install[-1] == "cdrl-kit"
    assert (values["preset"], values["run_folder"]) == ("smoke", "runs/smoke")


@pytest.mark.parametrize("preset", list(PRESETS))
def test_colab_installs_the_extra_that_a_preset_needs(colab, preset):
    values = first_cells(preset=preset, small=False, repository="https://example.org/kit.git")
    clone, install = colab
    assert "https://example.org/kit.git" in clone
    assert values["preset"] == preset
    config = stage_config("corpus", preset)
    needs_speech = config.corpus == "studio" and config.speech == "espeak"
    assert ("studio" in install[-1]) == needs_speech
    needs_torchaudio = stage_config("priors", preset).audio != "embedded"
    assert ("audio" in install[-1]) == needs_torchaudio


def test_without_an_address_the_first_cells_say_what_to_do(colab, monkeypatch):
    monkeypatch.setattr(Sessions, "path_of_notebook", "fileId=1AbC")
    with pytest.raises(ModuleNotFoundError, match="repository"):
        first_cells()
    assert colab == []
