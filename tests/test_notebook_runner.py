"""Notebooks run in order and resume; their faults are one line; settings are checked before."""

import asyncio
import gc
import sys
import time
from contextlib import nullcontext

import nbformat
import papermill
import pytest
from light_server import NAME
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from cdrl.cli.kernels import OwnKernelManager, kernel_managers
from cdrl.cli.notebooks import NotebookError, PeakMemory, run_notebooks
from cdrl.cli.planning import notebook_paths, plan_notebooks
from cdrl.core.errors import InputError
from cdrl.core.files import read_json, write_json
from cdrl.core.notebook_parameters import annotated_values, check_parameters, read_parameter
from cdrl.core.settings import CorpusConfig
from cdrl.core.stage import run_stage

PARAMETERS = 'run_folder: str = "runs/demo"\npreset: str = "cpu"\nsettings: dict = {}\n'
PERSON = "example_person: int = 3\n"
SETTINGS = {"content.steps": "3"}


@pytest.fixture(scope="module", autouse=True)
def one_server():
    """One process forks the kernels of all tests here; runs with their own are in test_kernels."""
    with kernel_managers() as manager_class, pytest.MonkeyPatch.context() as patch:
        patch.setattr("cdrl.cli.kernels.KernelServer.module", NAME)
        patch.setattr("cdrl.cli.notebooks.kernel_managers", lambda: nullcontext(manager_class))
        yield


def write(folder, name, *sources, parameters=PARAMETERS):
    """Write a notebook whose first cell is tagged `parameters`."""
    cells = [nbformat.v4.new_code_cell(source) for source in (parameters, *sources)]
    cells[0].metadata["tags"] = ["parameters"]
    path = folder / f"{name}.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def output_of(run, name):
    """What the executed copy of a notebook printed."""
    text = ""
    for cell in nbformat.read(run / "notebooks" / f"{name}.ipynb", as_version=4).cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                text += output.text
    return text


def copies_in(run):
    return [path.name for path in (run / "notebooks").iterdir()]


@pytest.fixture
def run(tmp_path):
    """The folder of a run of two notebooks, none of them executed."""
    write(
        tmp_path,
        "00_first",
        "import os, sys\nprint(sys.executable, os.path.exists('cdrl/cli/main.py'), preset)",
        "open(run_folder + '/made', 'a').write('once')",
    )
    write(tmp_path, "01_second", "print(open(run_folder + '/made').read(), settings)")
    run = tmp_path / "run"
    run.mkdir()
    return run


def run_all(tmp_path, run, first=None):
    """Run the notebooks of a folder; (seconds, peak_gb) and the lines that were reported."""
    lines = []
    parameters = plan_notebooks(notebook_paths(tmp_path), run, "smoke", SETTINGS)
    cost = run_notebooks(parameters, run, first=first, log=lines.append)
    return cost, lines


def test_notebooks_run_in_order_in_this_interpreter_from_the_clone_s_root(tmp_path, run):
    (seconds, peak_gb), lines = run_all(tmp_path, run)
    assert output_of(run, "00_first").split() == [sys.executable, "True", "smoke"]
    assert output_of(run, "01_second") == "once {'content.steps': '3'}\n"
    assert lines[0].startswith("[1/2] 00_first: ")
    assert lines[1].startswith("[2/2] 01_second: ")
    assert seconds > 0.1
    assert peak_gb > 0.05


def test_what_is_done_is_not_executed_again_and_its_cost_is_kept(tmp_path, run):
    cost, _ = run_all(tmp_path, run)
    cost_again, lines = run_all(tmp_path, run)
    assert cost_again == cost
    assert "done before" in lines[0]
    assert "done before" in lines[1]
    assert (run / "made").read_text() == "once"


def test_a_changed_notebook_is_executed_again_with_all_after_it(tmp_path, run):
    run_all(tmp_path, run)
    write(tmp_path, "01_second", "print('changed')")
    _, lines = run_all(tmp_path, run)
    assert "done before" in lines[0]
    assert output_of(run, "01_second") == "changed\n"
    assert (run / "made").read_text() == "once"

    write(tmp_path, "00_first", "print('also changed')")
    _, lines = run_all(tmp_path, run)
    assert len(lines) == 2
    assert not [line for line in lines if "done before" in line]


def test_notebooks_before_the_first_one_are_left_as_they_are(tmp_path, run):
    run_all(tmp_path, run)
    _, lines = run_all(tmp_path, run, first="01")
    assert len(lines) == 1
    assert lines[0].startswith("[2/2] 01_second: ")
    assert "done before" not in lines[0]
    assert (run / "made").read_text() == "once"


def test_a_notebook_whose_stage_folder_was_removed_is_executed_again(tmp_path):
    work = (
        "from cdrl.core.settings import CorpusConfig\n"
        "from cdrl.core.stage import run_stage\n"
        "run_stage(CorpusConfig(), run_folder, lambda out: {'corpus.clips': 3})"
    )
    write(tmp_path, "00_first", work)
    run = tmp_path / "run"
    lines = []
    parameters = plan_notebooks(notebook_paths(tmp_path), run, "cpu", {})
    run_notebooks(parameters, run, log=lines.append)
    results = run / "00_corpus" / "results.json"
    results.unlink()
    run_notebooks(parameters, run, log=lines.append)
    assert results.exists()
    assert "done before" not in lines[1]


def test_figures_are_stored_as_data_and_not_with_a_copy_of_plotly(tmp_path):
    figure = "from cdrl.report import figures\nfigures.curves({'loss': [3.0, 2.0]})"
    run_notebooks({write(tmp_path, "00_first", figure): {}}, tmp_path / "run", log=print)
    copy = tmp_path / "run" / "notebooks" / "00_first.ipynb"
    data = nbformat.read(copy, as_version=4).cells[1].outputs[0].data
    assert data["application/vnd.plotly.v1+json"]["data"][0]["y"] == [3.0, 2.0]
    assert copy.stat().st_size < 20_000


def test_seconds_of_an_interrupted_attempt_count(tmp_path):
    run = tmp_path / "run"

    def interrupt(out):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(CorpusConfig(), run, interrupt)
    file = run / "00_corpus" / "config.json"
    write_json(file, read_json(file) | {"seconds": 1000.0})
    seconds, _ = run_notebooks({write(tmp_path, "00_first"): {}}, run, log=print)
    assert 1000.0 < seconds < 1100.0


def test_an_input_error_in_a_notebook_is_its_one_line(tmp_path):
    raising = "raise InputError('a.mp4: no face found')"
    notebook = write(tmp_path, "00_first", "from cdrl.core.errors import InputError", raising)
    with pytest.raises(InputError, match="^a.mp4: no face found$"):
        run_notebooks({notebook: {}}, tmp_path / "run", log=print)


def test_any_other_error_names_cell_and_copy_and_the_next_run_removes_the_copy(tmp_path):
    run = tmp_path / "run"
    notebook = write(tmp_path, "00_first", "print('fine')", "1 / 0")
    with pytest.raises(NotebookError, match="00_first.ipynb, cell 2: ZeroDivisionError: ") as fault:
        run_notebooks({notebook: {}}, run, log=print)
    assert str(fault.value).endswith("failed_00_first.ipynb")
    assert copies_in(run) == ["failed_00_first.ipynb"]

    mended = write(tmp_path, "00_first", "print('fine')")
    run_notebooks({mended: {}}, run, log=print)
    assert copies_in(run) == ["00_first.ipynb"]


def test_a_kernel_that_dies_is_reported_in_one_line_with_what_still_works(tmp_path):
    run = tmp_path / "run"
    deadly = write(tmp_path, "00_first", "print('so far')", "import os\nos.kill(os.getpid(), 9)")
    with pytest.raises(NotebookError) as died:
        run_notebooks({deadly: {}}, run, log=print)
    line = str(died.value)
    assert line.startswith("00_first.ipynb: its kernel died, most often for want of memory (")
    assert "\n" not in line
    assert "what is complete is kept and the same command goes on" in line
    assert "so far" in (run / "notebooks" / "failed_00_first.ipynb").read_text()

    mended = write(tmp_path, "00_first", "print('fine')")
    run_notebooks({mended: {}}, run, log=print)
    assert copies_in(run) == ["00_first.ipynb"]


def test_a_task_that_a_signal_left_prints_nothing_of_its_dead_kernel(tmp_path, run, caplog):
    async def leave_task(error):
        async def end():
            raise error

        task = asyncio.ensure_future(end())
        await asyncio.wait([task])
        del task

    run_all(tmp_path, run)
    for error, told in ((DeadKernelError("Kernel died"), False), (ValueError("another"), True)):
        caplog.clear()
        asyncio.run(leave_task(error))
        gc.collect()
        assert ("never retrieved" in caplog.text) == told


def test_a_notebook_gets_only_what_it_declares_and_as_the_type_it_annotates(tmp_path):
    write(tmp_path, "00_first", parameters=PARAMETERS + PERSON)
    write(tmp_path, "01_second", parameters='preset: str = "cpu"\n')
    settings = {"example_person": "5", "seed": "1"}
    plan = plan_notebooks(notebook_paths(tmp_path), "runs/x", "smoke", settings)
    first, second = plan.values()
    assert first == {
        "run_folder": "runs/x",
        "preset": "smoke",
        "settings": {"seed": "1"},
        "example_person": 5,
    }
    assert second == {"preset": "smoke"}


def test_misspelt_settings_are_refused_before_anything_runs(tmp_path):
    write(tmp_path, "00_first", parameters=PARAMETERS + PERSON)
    paths = notebook_paths(tmp_path)
    run = tmp_path / "run"
    with pytest.raises(InputError, match=r"'content.stepz' \(did you mean content.steps\?\)"):
        plan_notebooks(paths, run, "smoke", {"content.stepz": "1"})
    with pytest.raises(InputError, match=r"'presett' \(did you mean preset\?\)"):
        plan_notebooks(paths, run, "smoke", {"presett": "smoke"})
    with pytest.raises(InputError, match="example_person=many: int is needed") as refusal:
        plan_notebooks(paths, run, "smoke", {"example_person": "many"})
    assert "as in example_person=3" in str(refusal.value)
    assert not run.exists()


CHECK = (
    "from cdrl.core.notebook_parameters import check_parameters\ncheck_parameters(preset, settings)"
)


def test_papermill_s_unknown_parameters_are_refused_in_the_first_cell(tmp_path):
    notebook = write(tmp_path, "00_first", CHECK, "open(run_folder + '/made', 'w')")
    with pytest.raises(PapermillExecutionError) as refusal:
        papermill.execute_notebook(
            notebook,
            tmp_path / "copy.ipynb",
            parameters={"presett": "smoke", "run_folder": str(tmp_path)},
            kernel_name="python3",
            language="python",
            kernel_manager_class=OwnKernelManager,
            progress_bar=False,
        )
    assert refusal.value.ename == "InputError"
    assert "'presett' (did you mean preset?)" in refusal.value.evalue
    assert "run_folder, preset, settings" in refusal.value.evalue
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "injected, words",
    [
        ("presett = 'smoke'", ["unknown parameter 'presett'", "did you mean preset?"]),
        ("zzz = 1", ["unknown parameter 'zzz'", "run_folder, preset, settings, example_person"]),
        ("example_person = 'many'", ["example_person=many: int", "as in example_person=3"]),
        ("example_person = True", ["example_person=True: int"]),
        ("example_person = float('nan')", ["example_person=nan: int"]),
        ("settings = ['content.steps=3']", ["settings=", "dict is needed"]),
        ("preset = None", ["preset=None: str is needed"]),
    ],
)
def test_what_papermill_puts_over_the_parameters_has_their_names_and_types(
    injected, words, monkeypatch
):
    cells = ["", PARAMETERS + PERSON, f"# Parameters\n{injected}\n", CHECK]
    module = "cdrl.core.notebook_parameters._executed_cells"
    monkeypatch.setattr(module, lambda: cells)
    with pytest.raises(InputError) as refusal:
        check_parameters("smoke", {})
    for word in words:
        assert word in str(refusal.value)
    # Cells in another order, as in JupyterLab, and right values pass.
    for passing in (cells[2:], [cells[1]], [*cells[:2], "# Parameters\nexample_person = 5"]):
        monkeypatch.setattr(module, lambda passing=passing: passing)
        check_parameters("smoke", {"content.steps": 3})


@pytest.mark.parametrize(
    "settings", [{"evaluate.sweep": "nan"}, {"content.batch": 0}, {"device": "meta"}, {"x": 1}, []]
)
def test_the_first_cell_of_each_notebook_checks_the_settings_of_all_stages(settings):
    with pytest.raises(InputError):
        check_parameters("smoke", settings)
    with pytest.raises(InputError, match=r"'smokee' \(did you mean smoke\?\)"):
        check_parameters("smokee", {})


@pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)
def test_every_notebook_checks_its_parameters_before_it_works(path):
    cells = nbformat.read(path, as_version=4).cells
    sources = [cell.source for cell in cells if cell.cell_type == "code"]
    first = next(source for source in sources if "from cdrl" in source)
    before, _, after = first.partition("check_parameters(preset, settings)\n")
    assert after
    assert "run_stage(" not in before


@pytest.mark.parametrize("kind, text", [("float", "nan"), ("float", "1e999"), ("int", "1.5")])
def test_a_notebook_s_own_numbers_are_finite_and_of_their_type(kind, text):
    parameter = annotated_values(f"speed: {kind} = 1")["speed"]
    with pytest.raises(InputError, match=f"speed={text}: {kind} is needed"):
        read_parameter(parameter, text)


@pytest.mark.parametrize("name", ["a{1}", "a{run_folder}", "{", "}{"])
def test_braces_in_a_path_are_part_of_it_and_no_parameter(tmp_path, name, monkeypatch):
    folder = tmp_path / name
    folder.mkdir()
    notebook = write(folder, "00_first")

    def keep_paths(source, copy, **options):
        paths.extend([source.format(), copy.format()])
        nbformat.write(nbformat.read(source.format(), as_version=4), copy.format())

    paths = []
    monkeypatch.setattr("papermill.execute_notebook", keep_paths)
    run_notebooks({notebook: {"run_folder": "x"}}, folder / "run", log=print)
    assert paths[0] == str(notebook)
    assert (folder / "run" / "notebooks" / "00_first.ipynb").exists()


def test_a_run_made_with_other_settings_is_refused_before_anything_runs(tmp_path):
    write(tmp_path, "00_first")
    run_stage(CorpusConfig(seed=8), tmp_path / "run", lambda out: {})
    with pytest.raises(InputError, match="was made with .*seed=8.*: choose another run name"):
        plan_notebooks(notebook_paths(tmp_path), tmp_path / "run", "cpu", {})


def test_a_folder_without_notebooks_is_refused(tmp_path):
    with pytest.raises(InputError, match="no notebooks in .*: clone the repository"):
        notebook_paths(tmp_path)


def test_peak_memory_sees_what_was_allocated_only_for_a_while():
    with PeakMemory() as memory:
        block = bytearray(b"x") * 400_000_000
        block[::4096] = b"y" * len(block[::4096])
        time.sleep(0.7)
        del block
    assert memory.gb > 0.4
