import sys

import nbformat
import pytest

from cdrl.cli.notebooks import (
    NotebookError,
    PeakMemory,
    notebook_paths,
    plan_notebooks,
    run_notebooks,
)
from cdrl.core.errors import InputError
from cdrl.core.files import read_json, write_json
from cdrl.core.settings import CorpusConfig
from cdrl.core.stage import run_stage

PARAMETERS = 'run_folder: str = "runs/demo"\npreset: str = "cpu"\nsettings: dict = {}\n'


def write(folder, name, *sources, parameters=PARAMETERS):
    cells = [nbformat.v4.new_code_cell(source) for source in (parameters, *sources)]
    cells[0].metadata["tags"] = ["parameters"]
    path = folder / f"{name}.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def outputs(run, name):
    cells = nbformat.read(run / "notebooks" / f"{name}.ipynb", as_version=4).cells
    return "".join(
        output.text
        for cell in cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream"
    )


def test_notebooks_run_in_order_in_this_interpreter_from_the_clone_s_root_and_resume(tmp_path):
    write(tmp_path, "01_second", "print(open(run_folder + '/made').read(), settings)")
    write(
        tmp_path,
        "00_first",
        "import os, sys\nprint(sys.executable, os.path.exists('cdrl/cli/main.py'), preset)",
        "open(run_folder + '/made', 'a').write('once')",
    )
    run, said = tmp_path / "run", []
    run.mkdir()
    parameters = plan_notebooks(notebook_paths(tmp_path), run, "smoke", {"content.steps": "3"})
    seconds, peak_gb = run_notebooks(parameters, run, say=said.append)
    assert outputs(run, "00_first").split() == [sys.executable, "True", "smoke"]
    assert outputs(run, "01_second") == "once {'content.steps': '3'}\n"
    assert said[0].startswith("[1/2] 00_first: ") and said[1].startswith("[2/2] 01_second: ")
    assert seconds > 0.1 and peak_gb > 0.05

    assert run_notebooks(parameters, run, say=said.append) == (seconds, peak_gb)
    assert (
        (run / "made").read_text() == "once"
        and "done before" in said[2]
        and "done before" in said[3]
    )

    write(tmp_path, "01_second", "print('changed')")
    run_notebooks(
        plan_notebooks(notebook_paths(tmp_path), run, "smoke", {"content.steps": "3"}),
        run,
        say=said.append,
    )
    assert (run / "made").read_text() == "once" and outputs(run, "01_second") == "changed\n"

    run_notebooks(parameters, run, first="01", say=said.append)
    assert len(said) == 7 and (run / "made").read_text() == "once"

    write(tmp_path, "00_first", "print('also changed')")
    run_notebooks(
        plan_notebooks(notebook_paths(tmp_path), run, "smoke", {"content.steps": "3"}),
        run,
        say=said.append,
    )
    assert len(said) == 9 and not any("done before" in line for line in said[7:]), (
        "what comes after is executed again"
    )


def test_a_notebook_whose_stage_folder_was_removed_is_executed_again(tmp_path):
    work = "from cdrl.core.settings import CorpusConfig\nfrom cdrl.core.stage import read_json, run_stage, write_json\n"
    write(
        tmp_path,
        "00_first",
        work + "run_stage(CorpusConfig(), run_folder, lambda out: {'corpus.clips': 3})",
    )
    run, said = tmp_path / "run", []
    parameters = plan_notebooks(notebook_paths(tmp_path), run, "cpu", {})
    run_notebooks(parameters, run, say=said.append)
    (run / "00_corpus" / "results.json").unlink()
    run_notebooks(parameters, run, say=said.append)
    assert (run / "00_corpus" / "results.json").exists() and "done before" not in said[1]


def test_figures_are_stored_as_data_and_not_with_a_copy_of_plotly(tmp_path):
    figure = "from cdrl.report import figures\nfigures.curves({'loss': [3.0, 2.0]})"
    run_notebooks({write(tmp_path, "00_first", figure): {}}, tmp_path / "run", say=print)
    copy = tmp_path / "run" / "notebooks" / "00_first.ipynb"
    data = nbformat.read(copy, as_version=4).cells[1].outputs[0].data
    assert data["application/vnd.plotly.v1+json"]["data"][0]["y"] == [3.0, 2.0]
    assert copy.stat().st_size < 20_000


def test_seconds_of_an_interrupted_attempt_count(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_stage(
            CorpusConfig(), tmp_path / "run", lambda out: (_ for _ in ()).throw(KeyboardInterrupt())
        )
    file = tmp_path / "run" / "00_corpus" / "config.json"
    write_json(file, read_json(file) | {"seconds": 1000.0})
    seconds, _ = run_notebooks({write(tmp_path, "00_first"): {}}, tmp_path / "run", say=print)
    assert 1000.0 < seconds < 1100.0


def test_an_input_error_in_a_notebook_is_its_one_line_and_any_other_names_cell_and_copy(tmp_path):
    bad_input = write(
        tmp_path,
        "00_first",
        "from cdrl.core.errors import InputError",
        "raise InputError('a.mp4: no face found')",
    )
    with pytest.raises(InputError, match="^a.mp4: no face found$"):
        run_notebooks({bad_input: {}}, tmp_path / "run", say=print)
    fault = write(tmp_path, "00_first", "print('fine')", "1 / 0")
    with pytest.raises(
        NotebookError,
        match=r"00_first.ipynb, cell 2: ZeroDivisionError: .*; see .*failed_00_first.ipynb$",
    ):
        run_notebooks({fault: {}}, tmp_path / "run", say=print)
    assert not (tmp_path / "run" / "notebooks" / "00_first.ipynb").exists()
    mended = write(tmp_path, "00_first", "print('fine')")
    run_notebooks({mended: {}}, tmp_path / "run", say=print)
    assert [path.name for path in (tmp_path / "run" / "notebooks").iterdir()] == ["00_first.ipynb"]


def test_a_kernel_that_dies_is_told_in_one_line_with_what_still_works(tmp_path):
    deadly = write(tmp_path, "00_first", "print('so far')", "import os\nos.kill(os.getpid(), 9)")
    with pytest.raises(NotebookError) as died:
        run_notebooks({deadly: {}}, tmp_path / "run", say=print)
    line = str(died.value)
    assert (
        line.startswith("00_first.ipynb: its kernel died, most often for want of memory (")
        and "\n" not in line
    )
    assert "what is complete is kept and the same command goes on" in line
    assert "so far" in (tmp_path / "run" / "notebooks" / "failed_00_first.ipynb").read_text()
    mended = write(tmp_path, "00_first", "print('fine')")
    run_notebooks({mended: {}}, tmp_path / "run", say=print)
    assert [path.name for path in (tmp_path / "run" / "notebooks").iterdir()] == ["00_first.ipynb"]


def test_a_notebook_gets_only_what_it_declares_and_as_the_type_it_annotates(tmp_path):
    write(tmp_path, "00_first", parameters=PARAMETERS + "example_person: int = 3\n")
    write(tmp_path, "01_second", parameters='preset: str = "cpu"\n')
    first, second = plan_notebooks(
        notebook_paths(tmp_path), "runs/x", "smoke", {"example_person": "5", "seed": "1"}
    ).values()
    assert first == {
        "run_folder": "runs/x",
        "preset": "smoke",
        "settings": {"seed": "1"},
        "example_person": 5,
    }
    assert second == {"preset": "smoke"}


def test_misspelt_settings_are_refused_before_anything_runs(tmp_path):
    write(tmp_path, "00_first", parameters=PARAMETERS + "example_person: int = 3\n")
    with pytest.raises(
        InputError, match=r"unknown setting 'content.stepz' \(did you mean content.steps\?\)"
    ):
        plan_notebooks(notebook_paths(tmp_path), tmp_path / "run", "smoke", {"content.stepz": "1"})
    with pytest.raises(
        InputError, match="example_person=many: int is needed, as in example_person=3"
    ):
        plan_notebooks(
            notebook_paths(tmp_path), tmp_path / "run", "smoke", {"example_person": "many"}
        )
    assert not (tmp_path / "run").exists()


def test_a_run_made_with_other_settings_is_refused_before_anything_runs(tmp_path):
    write(tmp_path, "00_first")
    run_stage(CorpusConfig(seed=8), tmp_path / "run", lambda out: {})
    with pytest.raises(InputError, match="was made with .*seed=8.*: choose another run name"):
        plan_notebooks(notebook_paths(tmp_path), tmp_path / "run", "cpu", {})


def test_a_folder_without_notebooks_is_refused(tmp_path):
    with pytest.raises(InputError, match="no notebooks in .*: clone the repository"):
        notebook_paths(tmp_path)


def test_peak_memory_sees_what_was_held_only_for_a_while():
    with PeakMemory() as memory:
        block = bytearray(b"x") * 400_000_000
        block[::4096] = b"y" * len(block[::4096])
        memory._stop.wait(0.7)
        del block
    assert memory.gb > 0.4
