"""A command that resumes: two cheap notebooks with workers. Arguments: folder, of the notebooks."""

import sys
from pathlib import Path

import nbformat
from light_server import NAME

from cdrl.cli.kernels import KernelServer
from cdrl.cli.notebooks import run_notebooks
from cdrl.core.ending import Stopped, stopped_by_signals

PARAMETERS = """
run_folder: str = ""
stage: str = "corpus"
"""
WORK = """
from cdrl.core.files import write_array
from cdrl.core.pools import run_each
from cdrl.core.settings import stage_config
from cdrl.core.stage import run_stage
from troublesome import slow_square

def work(out):
    jobs = [number for number in range(6) if not (out / f"{number}.npy").exists()]
    for _, (number, array) in run_each(slow_square, jobs, 2):
        write_array(out / f"{number}.npy", array)
    return {f"{stage}.squares": 6, f"{stage}.fps": __import__("time").time()}

results = run_stage(stage_config(stage, "smoke"), run_folder, work)
"""


def write_notebook(path):
    cells = [nbformat.v4.new_code_cell(source) for source in (PARAMETERS, WORK)]
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def main():
    KernelServer.module = NAME
    out = Path(sys.argv[1])
    notebooks = Path(sys.argv[2])
    plan = {}
    for number, stage in enumerate(("corpus", "priors")):
        path = notebooks / f"{number:02d}_{stage}.ipynb"
        if not path.exists():
            write_notebook(path)
        plan[path] = {"run_folder": str(out), "stage": stage}
    try:
        with stopped_by_signals():
            run_notebooks(plan, out)
    except Stopped as stop:
        return stop.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
