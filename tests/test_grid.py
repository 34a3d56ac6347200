"""Grids: a table of cheap runs, their results in one table, resumed; failures apart; nonsense refused before it runs."""

import json
import re

import nbformat
import pandas as pd
import pytest

from cdrl.cli.grid import check_grid, read_grid, run_grid
from cdrl.cli.main import main
from cdrl.core.errors import InputError
from cdrl.report.grid_page import select_scores, write_grid_page

STAGE = """
from cdrl.core.settings import stage_config
from cdrl.core.errors import InputError
from cdrl.core.stage import run_stage
config = stage_config("{stage}", preset, settings)
open(run_folder + "/{stage}.log", "a").write("x")
scores = {{"{stage}.a": {value}, "{stage}.a.chance": 0.5, "{stage}.a.n": 9}}
"""
RUN = "results = run_stage(config, run_folder, lambda out: scores)"
FAIL = 'if {when}: raise InputError("clip.mp4: no face found")'


def notebook(folder, name, *sources):
    parameters = (
        'run_folder: str = "runs/x"\npreset: str = "cpu"\nsettings: dict = {}\nspeed: float = 1.0'
    )
    cells = [nbformat.v4.new_code_cell(source) for source in (parameters, *sources)]
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / f"{name}.ipynb")


def kit(folder, fails="config.batch > 2"):
    """Two notebooks that cost nothing: the first stage, and the second, whose score is its setting."""
    folder.mkdir(exist_ok=True)
    notebook(folder, "00_first", STAGE.format(stage="corpus", value=1.0), RUN)
    notebook(
        folder,
        "01_second",
        STAGE.format(stage="priors", value="config.batch"),
        FAIL.format(when=fails),
        RUN,
    )
    return folder


def written(path, text):
    path.write_text(text)
    return path


GRID = """
preset: smoke
settings: {speed: 8}
grid: {priors.batch: [1, 2, 3]}
"""


def test_a_grid_runs_resumes_and_keeps_failures_apart(tmp_path):
    file, out, said = written(tmp_path / "batches.yaml", GRID), tmp_path / "out", []
    results, failures = run_grid(
        read_grid(file, kit(tmp_path / "kit")), out, workers=2, say=said.append
    )
    assert sorted(results.run.unique()) == ["priors.batch=1", "priors.batch=2"] and list(
        failures.run
    ) == ["priors.batch=3"]
    assert failures.reason[0] == "clip.mp4: no face found" and failures["priors.batch"][0] == "3"
    assert (
        any(line.endswith("priors.batch=3: failed: clip.mp4: no face found") for line in said)
        and len(said) == 3
    )
    scores = results[results.score == "priors.a"].set_index("run").value
    assert scores.to_dict() == {"priors.batch=1": 1.0, "priors.batch=2": 2.0} and set(
        results.columns
    ) == {"run", "preset", "priors.batch", "score", "value"}
    assert (results.score == "time.total_seconds").sum() == 2
    pd.testing.assert_frame_equal(pd.read_parquet(out / "results.parquet"), results)
    assert (
        len(pd.read_csv(out / "results.csv")) == len(results)
        and len(pd.read_csv(out / "failures.csv")) == 1
    )
    # The first stage is the same for all: one run made it, the others hold links to its files.
    inodes = {
        (out / "runs" / name / "00_corpus" / "results.json").stat().st_ino
        for name in ("priors.batch=1", "priors.batch=2", "priors.batch=3")
    }
    assert len(inodes) == 1

    kit(tmp_path / "kit", fails="config.batch > 3")
    again, failures = run_grid(read_grid(file, tmp_path / "kit"), out, workers=2, say=said.append)
    assert sorted(again.run.unique()) == [
        "priors.batch=1",
        "priors.batch=2",
        "priors.batch=3",
    ] and not len(failures)
    assert not (out / "failures.csv").exists()
    assert "0 failed" in (out / "grid.html").read_text()


def test_finished_runs_are_read_and_their_notebooks_not_executed_again(tmp_path):
    file = written(tmp_path / "g.yaml", "preset: smoke\ngrid: {speed: [1]}\nnotebooks: [0]")
    grid = read_grid(file, kit(tmp_path / "kit"))
    first, _ = run_grid(grid, tmp_path / "out", say=print)
    again, _ = run_grid(grid, tmp_path / "out", say=print)
    assert (tmp_path / "out/runs/speed=1/corpus.log").read_text() == "x" and not list(
        tmp_path.glob("out/runs/*/01_*")
    )
    pd.testing.assert_frame_equal(first, again)


def test_rows_meet_every_combination_and_names_say_how_runs_differ(tmp_path):
    text = "rows: [{content.alignment: linear}, {content.alignment: prior}]\ngrid: {seed: [0, 1]}\nsettings: {content.steps: 5}"
    grid = read_grid(written(tmp_path / "g.yaml", text), kit(tmp_path / "kit"))
    assert list(grid.rows) == [
        f"content.alignment={a},seed={s}" for a in ("linear", "prior") for s in (0, 1)
    ]
    assert grid.rows["content.alignment=prior,seed=1"] == {
        "content.steps": "5",
        "content.alignment": "prior",
        "seed": "1",
    }
    assert (
        grid.varied == ["content.alignment", "seed"]
        and grid.preset == "cpu"
        and len(grid.notebooks) == 2
    )
    odd = read_grid(
        written(tmp_path / "h.yaml", "grid: {corpus.data_root: [/some/where]}"), tmp_path / "kit"
    )
    assert re.fullmatch(r"corpus.data_root=-some-where-[0-9a-f]{8}", next(iter(odd.rows)))


@pytest.mark.parametrize(
    "text, line",
    [
        (
            "grid: {content.stepz: [1]}",
            r"run content.stepz=1: unknown setting 'content.stepz' \(did you mean content.steps\?\)",
        ),
        (
            "grid: {content.steps: [1, many]}",
            "run content.steps=many: steps=many: a whole number from 0 is needed",
        ),
        ("grid: {speed: [fast]}", "run speed=fast: speed=fast: float is needed"),
        ("settings: {corpus.corpus: meat}", "run only: corpus=meat: accepted are studio"),
        (
            "gird: {speed: [1]}",
            "unknown key 'gird': accepted are preset, notebooks, settings, grid, rows, scores",
        ),
        ("preset: large", "preset 'large': accepted are smoke, cpu, gpu"),
        ("grid: {speed: 1}", r"grid: speed needs a list of values, as in speed: \[0, 1\]"),
        ("settings: [1]", r"settings needs names and values, got \[1\]"),
        ("settings: {speed: [1, 2]}", r"speed=\[1, 2\]: one number or text is needed"),
        ("rows: [{speed: 1}, {speed: 1}]", "two rows are the same, speed=1: remove one"),
        ("rows: [5]", "rows needs a list of settings"),
        (
            "notebooks: [1]",
            "notebooks 01: each reads the one before, so they begin with 00 and leave none out; there are 00, 01",
        ),
        ("notebooks: [0, 1, 2]", "notebooks 00, 01, 02: each reads the one before"),
        ("grid: {speed: [1", "is not YAML"),
        ("just a text", "needs keys, as in grid:"),
    ],
)
def test_what_a_grid_cannot_mean_is_refused_before_anything_runs(tmp_path, text, line):
    with pytest.raises(InputError, match=line):
        check_grid(
            read_grid(written(tmp_path / "g.yaml", text), kit(tmp_path / "kit")), tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_the_command_refuses_in_one_line(tmp_path, capsys):
    assert main(["grid", str(tmp_path / "gone.yaml")]) == 2
    assert "gone.yaml: no such grid file (No such file or directory)" in capsys.readouterr().err
    file = written(tmp_path / "g.yaml", "grid: {content.stepz: [1]}")
    assert main(["grid", str(file), "--out", str(tmp_path / "out")]) == 2
    assert (
        "did you mean content.steps?" in capsys.readouterr().err and not (tmp_path / "out").exists()
    )
    assert main(["grid", str(file), "--workers", "0"]) == 2
    assert "--workers 0: a whole number from 1 is needed" in capsys.readouterr().err


def table(**scores):
    return pd.DataFrame(
        [
            {"run": run, "seed": run[-1], "score": name, "value": value}
            for run in ("s=0", "s=1")
            for name, value in scores.items()
        ]
    )


def test_the_page_shows_each_score_with_its_chance_interval_and_n(tmp_path):
    parts = {"a": 0.42, "a.low": 0.4, "a.high": 0.45, "a.chance": 0.17, "a.n": 300, "b": 2.0}
    failures = pd.DataFrame([{"run": "s=2", "seed": "2", "reason": "x <b>: no"}])
    write_grid_page(table(**parts), failures, ["seed"], ["a", "b"], tmp_path / "grid.html")
    page = (tmp_path / "grid.html").read_text()
    assert (
        "2 runs, 1 failed" in page
        and "0.42 (0.4 to 0.45; chance 0.17; n 300)" in page
        and "x &lt;b&gt;: no" in page
    )
    assert (
        page.count('draw("figure') == 2
        and "<link" not in page
        and "<img" not in page.partition("<h1>")[2]
    )
    drawn = json.loads(re.search(r'<script>draw\("figure0", (.*?)\)</script>', page).group(1))
    assert (
        drawn[0][0]["x"] == [0.42, 0.42]
        and drawn[0][1]["name"] == "chance"
        and drawn[0][1]["x"] == [0.17, 0.17]
    )


def test_a_grid_in_which_everything_failed_has_a_page_of_reasons(tmp_path):
    failures = pd.DataFrame([{"run": "only", "reason": "no room"}])
    write_grid_page(
        table()[:0].reindex(columns=["run", "score", "value"]),
        failures,
        [],
        [],
        tmp_path / "grid.html",
    )
    page = (tmp_path / "grid.html").read_text()
    assert "0 runs, 1 failed" in page and "no room" in page and len(page) < 5000


def test_scores_are_chosen_by_pattern_or_the_main_ones_or_the_first():
    names = ["corpus.clips", "content.viseme", "content.viseme.chance", "content.emotion"]
    assert select_scores(names, ["content.*"]) == ["content.viseme", "content.emotion"]
    assert select_scores(names, []) == ["content.viseme", "content.emotion"]
    assert select_scores(["corpus.clips", "corpus.clips.n"], []) == ["corpus.clips"]
    assert select_scores(names, ["nothing"]) == []
