"""Grids: cheap runs, their results in one table, resumed; failures apart; nonsense refused."""

import io
import json
import os
import re
from contextlib import nullcontext
from typing import NamedTuple

import nbformat
import pandas as pd
import pytest
from light_server import NAME
from troublesome import run_lightly

from cdrl.cli.grid import run_grid
from cdrl.cli.grid_file import check_grid, read_grid
from cdrl.cli.kernels import kernel_managers
from cdrl.cli.main import main
from cdrl.core.errors import InputError
from cdrl.report.grid_page import select_scores, write_grid_page

PARAMETERS = """
run_folder: str = "runs/x"
preset: str = "cpu"
settings: dict = {}
speed: float = 1.0
"""
STAGE = """
from cdrl.core.settings import stage_config
from cdrl.core.errors import InputError
from cdrl.core.stage import run_stage
config = stage_config("{stage}", preset, settings)
open(run_folder + "/{stage}.log", "a").write("x")
scores = {{"{stage}.a": {value}, "{stage}.a.chance": 0.5, "{stage}.a.n": 9}}
"""
RUN = "results = run_stage(config, run_folder, lambda out: scores)"
FAIL = 'if {condition}: raise InputError("clip.mp4: no face found")'
GRID = """
preset: smoke
notebooks: [0, 1]
settings: {speed: 8}
grid: {priors.batch: [1, 2, 3]}
"""


def write_notebook(folder, name, *sources):
    cells = [nbformat.v4.new_code_cell(source) for source in (PARAMETERS, *sources)]
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / f"{name}.ipynb")


def write_notebooks(folder):
    """Two notebooks that cost nothing: the first stage, and the second, scored by its setting.

    The second fails where its setting is above 2, until there is a file `cured` beside it.
    """
    folder.mkdir(exist_ok=True)
    cured = f"__import__('os').path.exists({str(folder / 'cured')!r})"
    condition = f"config.batch > 2 and not {cured}"
    first = STAGE.format(stage="corpus", value=1.0)
    second = STAGE.format(stage="priors", value="config.batch")
    write_notebook(folder, "00_first", first, RUN)
    write_notebook(folder, "01_second", second, FAIL.format(condition=condition), RUN)
    return folder


def grid_of(tmp_path, text, name="g.yaml"):
    """A grid of the two notebooks."""
    file = tmp_path / name
    file.write_text(text)
    return read_grid(file, write_notebooks(tmp_path / "notebooks"))


class Attempt(NamedTuple):
    """What one call of `run_grid` returned, printed and left in files.

    `executed` has a letter for each execution of a notebook that came to its stage.
    """

    results: pd.DataFrame
    failures: pd.DataFrame
    lines: list[str]
    files: dict[str, str]
    parquet: pd.DataFrame
    executed: dict[str, str]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("grid")


def attempt(grid, out, workers):
    lines = []
    results, failures = run_grid(grid, out, workers, log=lines.append)
    files = {}
    for path in out.iterdir():
        if path.suffix in (".csv", ".html"):
            files[path.name] = path.read_text()
    executed = {}
    for path in out.glob("runs/*/*.log"):
        executed[f"{path.parent.name} {path.stem}"] = path.read_text()
    parquet = pd.read_parquet(out / "results.parquet")
    return Attempt(results, failures, lines, files, parquet, executed)


@pytest.fixture(scope="module")
def tried(place):
    """Three runs, one of which fails, of the first two of three notebooks."""
    third = STAGE.format(stage="content", value=1.0)
    (place / "notebooks").mkdir()
    write_notebook(place / "notebooks", "02_third", third, RUN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cdrl.cli.grid._run_one", run_lightly)
        return attempt(grid_of(place, GRID), place / "out", workers=2)


def run_here(function, jobs, workers, threads, cluster):
    """Do the jobs in this process, which has imported what they need."""
    return enumerate(map(function, jobs))


@pytest.fixture(scope="module")
def resumed(tried, place):
    """The same grid once more, after the cause of the failure is gone."""
    grid = grid_of(place, GRID)
    (place / "notebooks" / "cured").touch()
    with kernel_managers() as manager_class, pytest.MonkeyPatch.context() as patch:
        patch.setattr("cdrl.cli.kernels.KernelServer.module", NAME)
        patch.setattr("cdrl.cli.grid.run_jobs", run_here)
        patch.setattr("cdrl.cli.grid.THREAD_VARIABLES", ())
        patch.setattr("cdrl.cli.notebooks.kernel_managers", lambda: nullcontext(manager_class))
        return attempt(grid, place / "out", workers=1)


def test_a_grid_keeps_failures_apart(tried):
    assert sorted(tried.results.run.unique()) == ["priors.batch=1", "priors.batch=2"]
    assert list(tried.failures.run) == ["priors.batch=3"]
    assert tried.failures.reason[0] == "clip.mp4: no face found"
    assert tried.failures["priors.batch"][0] == "3"
    assert len(tried.lines) == 3
    failed = [line for line in tried.lines if "failed" in line]
    assert len(failed) == 1
    assert failed[0].endswith("priors.batch=3: failed: clip.mp4: no face found")


def test_the_scores_of_a_grid_are_one_table(tried):
    results = tried.results
    scores = results[results.score == "priors.a"].set_index("run").value
    assert scores.to_dict() == {"priors.batch=1": 1.0, "priors.batch=2": 2.0}
    assert set(results.columns) == {"run", "preset", "priors.batch", "score", "value"}
    assert (results.score == "time.total_seconds").sum() == 2
    pd.testing.assert_frame_equal(tried.parquet, results)
    assert len(pd.read_csv(io.StringIO(tried.files["results.csv"]))) == len(results)
    assert len(pd.read_csv(io.StringIO(tried.files["failures.csv"]))) == 1


def test_runs_of_one_corpus_share_its_stage_by_hard_links(tried, place):
    folders = sorted((place / "out" / "runs").iterdir())
    inodes = {(folder / "00_corpus" / "results.json").stat().st_ino for folder in folders}
    assert [folder.name for folder in folders] == [f"priors.batch={number}" for number in (1, 2, 3)]
    assert len(inodes) == 1


def test_a_grid_resumes(resumed):
    runs = ["priors.batch=1", "priors.batch=2", "priors.batch=3"]
    assert sorted(resumed.results.run.unique()) == runs
    assert not len(resumed.failures)
    assert "failures.csv" not in resumed.files
    assert "0 failed" in resumed.files["grid.html"]


def test_finished_runs_are_read_and_their_notebooks_not_executed_again(tried, resumed):
    finished = [name for name in tried.executed if "batch=3" not in name]
    assert len(finished) == 4
    for name in finished:
        assert tried.executed[name] == resumed.executed[name] == "x", name
    assert resumed.executed["priors.batch=3 priors"] == "xx", "the one that failed"
    again = resumed.results[resumed.results.run != "priors.batch=3"]
    pd.testing.assert_frame_equal(tried.results, again.reset_index(drop=True))


def test_notebooks_that_a_grid_leaves_out_are_not_executed(tried, resumed, place):
    assert (place / "notebooks" / "02_third.ipynb").exists()
    for run in (place / "out" / "runs").iterdir():
        copies = sorted(path.name for path in (run / "notebooks").glob("[0-9]*.ipynb"))
        assert copies == ["00_first.ipynb", "01_second.ipynb"]
    assert {name.split(" ")[1] for name in resumed.executed} == {"corpus", "priors"}


def test_rows_meet_every_combination_and_names_say_how_runs_differ(tmp_path):
    text = (
        "rows: [{content.alignment: linear}, {content.alignment: prior}]\n"
        "grid: {seed: [0, 1]}\n"
        "settings: {content.steps: 5}"
    )
    grid = grid_of(tmp_path, text)
    assert list(grid.rows) == [
        "content.alignment=linear,seed=0",
        "content.alignment=linear,seed=1",
        "content.alignment=prior,seed=0",
        "content.alignment=prior,seed=1",
    ]
    settings = {"content.steps": "5", "content.alignment": "prior", "seed": "1"}
    assert grid.rows["content.alignment=prior,seed=1"] == settings
    assert grid.varied == ["content.alignment", "seed"]
    assert grid.preset == "cpu"
    assert len(grid.notebooks) == 2


def test_a_value_that_is_no_folder_s_name_is_replaced_by_its_hash(tmp_path):
    grid = grid_of(tmp_path, "grid: {corpus.data_root: [/some/where]}")
    (name,) = grid.rows
    assert re.fullmatch(r"corpus.data_root=-some-where-[0-9a-f]{8}", name)


@pytest.mark.parametrize(
    "text, line",
    [
        (
            "grid: {content.stepz: [1]}",
            r"run content.stepz=1: .*'content.stepz' \(did you mean content.steps\?\)",
        ),
        ("grid: {content.steps: [1, many]}", "run content.steps=many: .*steps=many: a whole"),
        ("grid: {speed: [fast]}", "run speed=fast: speed=fast: float is needed"),
        ("settings: {corpus.corpus: meat}", "run only: .*corpus=meat: accepted are studio"),
        ("gird: {speed: [1]}", "unknown key 'gird': accepted are preset, notebooks, settings"),
        ("preset: large", "preset 'large': accepted are smoke, cpu, gpu"),
        ("grid: {speed: 1}", r"grid: speed needs a list of values, as in speed: \[0, 1\]"),
        ("settings: [1]", r"settings needs names and values, got \[1\]"),
        ("settings: {speed: [1, 2]}", r"speed=\[1, 2\]: one number or text is needed"),
        ("rows: [{speed: 1}, {speed: 1}]", "two rows are the same, speed=1: remove one"),
        ("rows: [5]", "rows needs a list of settings"),
        ("notebooks: [1]", "notebooks 01: .* begin with 00 .*; there are 00, 01"),
        ("notebooks: [0, 1, 2]", "notebooks 00, 01, 02: each reads the one before"),
        ("grid: {speed: [1", "is not YAML"),
        ("just a text", "needs keys, as in grid:"),
        ("settings: {speed: 2020-13-45}", "is not YAML .*month"),
        ("settings: {speed: 2020-01-05}", "speed=2020-01-05: one number or text is needed"),
        ("settings: {speed: !!int zz}", "is not YAML .*zz"),
        ("settings: {speed: !!float zz}", "is not YAML .*zz"),
        ("settings: {speed: !!python/object:os.system x}", "is not YAML .*constructor"),
        ("settings: {speed: !!binary ää}", "is not YAML"),
        (f"grid: {'[' * 5000}{']' * 5000}", "too many brackets"),
        (f"grid: {'{a: ' * 5000}", "too many brackets|is not YAML"),
        ("a: &a [x, x]\nb: &b [*a, *a]\ngrid: {speed: *b}", "aliases are not read"),
        ("grid: &g {speed: [1]}\nsettings: {<<: *g}", "aliases are not read"),
        ("grid: {speed: [1], speed: [2]}", "'speed' stands twice"),
        ("grid: {[1, 2]: [1]}", "is not YAML|names of settings"),
        ("grid: {5: [1]}", "5: the name of a setting is needed"),
        ("rows: [{null: 1}]", "None: the name of a setting is needed"),
        ("settings: {speed: .nan}", "speed=nan: float is needed"),
        ("settings: {content.steps: .inf}", "content.steps=inf: a whole number"),
        ("settings: {content.steps: null}", "content.steps=None: one number or text"),
        ("settings: {corpus.data_root: {}}", "one number or text is needed"),
        ('notebooks: ["²"]', "notebooks '²': .* begin with 00"),
        ("notebooks: [0.0]", "notebooks 0.0: .* begin with 00"),
        ("notebooks: [true]", "notebooks True: .* begin with 00"),
        ("notebooks: [[0]]", "begin with 00"),
        ("scores: [1]", "scores: 1: names of scores are needed"),
        ("scores: [{a: b}]", "names of scores are needed"),
        ("preset: [smoke]", "preset needs a text"),
        (
            "grid: {content.seed: [" + "0," * 101 + "0], content.steps: [" + "1," * 101 + "1]}",
            "10404 runs, 10000 at most",
        ),
        ("a: " + "x" * 1_100_000, "1.1 MB, a grid file has 1 MB at most"),
        ("x: \0", "is not YAML"),
        ("", "needs keys"),
    ],
    ids=lambda text: text[:24],
)
def test_what_a_grid_cannot_mean_is_refused_before_anything_runs(tmp_path, text, line):
    out = tmp_path / "out"
    with pytest.raises(InputError, match=line) as refusal:
        check_grid(grid_of(tmp_path, text), out)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 1500
    assert not out.exists()


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path):
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    for path in (pipe, "/dev/zero", tmp_path, loop, tmp_path / "gone.yaml", tmp_path / ("x" * 300)):
        with pytest.raises(InputError, match="is no file|no such grid file") as refusal:
            read_grid(path, write_notebooks(tmp_path / "notebooks"))
        assert str(path) in str(refusal.value)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match="bytes.yaml: is not YAML"):
        read_grid(tmp_path / "bytes.yaml")


def test_names_of_runs_fit_every_disk(tmp_path):
    grid = grid_of(tmp_path, f"grid: {{corpus.data_root: [{'ж' * 99}, {'ж' * 98}]}}")
    assert len(grid.rows) == 2
    assert max(len(os.fsencode(name)) for name in grid.rows) <= 100


def test_the_command_refuses_in_one_line(tmp_path, capsys):
    assert main(["grid", str(tmp_path / "gone.yaml")]) == 2
    assert "gone.yaml: no such grid file (No such file or directory)" in capsys.readouterr().err

    file = tmp_path / "g.yaml"
    file.write_text("grid: {content.stepz: [1]}")
    out = tmp_path / "out"
    assert main(["grid", str(file), "--out", str(out)]) == 2
    assert "did you mean content.steps?" in capsys.readouterr().err
    assert not out.exists()
    assert main(["grid", str(file), "--workers", "0"]) == 2
    assert "--workers 0: a whole number from 1" in capsys.readouterr().err


def results_of(scores):
    """The table of two runs with the same scores."""
    rows = []
    for run in ("s=0", "s=1"):
        for name, value in scores.items():
            rows.append({"run": run, "seed": run[-1], "score": name, "value": value})
    return pd.DataFrame(rows, columns=["run", "seed", "score", "value"])


def test_the_page_shows_each_score_with_its_chance_interval_and_n(tmp_path):
    scores = {"a": 0.42, "a.low": 0.4, "a.high": 0.45, "a.chance": 0.17, "a.n": 300, "b": 2.0}
    failures = pd.DataFrame([{"run": "s=2", "seed": "2", "reason": "x <b>: no"}])
    file = tmp_path / "grid.html"
    write_grid_page(results_of(scores), failures, ["seed"], ["a", "b"], file)
    page = file.read_text()
    assert "2 runs, 1 failed" in page
    assert "0.42 (0.4 to 0.45; chance 0.17; n 300)" in page
    assert "x &lt;b&gt;: no" in page
    assert page.count('draw("figure') == 2
    assert "<link" not in page
    assert "<img" not in page.partition("<h1>")[2]

    figure = re.search(r'<script>draw\("figure0", (.*?)\)</script>', page).group(1)
    bars, chance = json.loads(figure)[0]
    assert bars["x"] == [0.42, 0.42]
    assert chance["name"] == "chance"
    assert chance["x"] == [0.17, 0.17]


def test_a_grid_in_which_everything_failed_has_a_page_of_reasons(tmp_path):
    failures = pd.DataFrame([{"run": "only", "reason": "no room"}])
    file = tmp_path / "grid.html"
    write_grid_page(results_of({}), failures, [], [], file)
    page = file.read_text()
    assert "0 runs, 1 failed" in page
    assert "no room" in page
    assert len(page) < 5000


def test_scores_are_chosen_by_pattern_or_the_main_ones_or_the_first():
    names = ["corpus.clips", "content.viseme", "content.viseme.chance", "content.emotion"]
    assert select_scores(names, ["content.*"]) == ["content.viseme", "content.emotion"]
    assert select_scores(names, []) == ["content.viseme", "content.emotion"]
    assert select_scores(["corpus.clips", "corpus.clips.n"], []) == ["corpus.clips"]
    assert select_scores(names, ["nothing"]) == []
