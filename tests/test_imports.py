"""What a path does not need is not imported for it, so that commands and notebooks start soon."""

import subprocess
import sys

import pytest

OF_TRAINING = {"torchvision", "open_clip", "timm", "torch._dynamo", "sympy", "sklearn"}
OF_SCORES = {"scipy.stats", "scipy.signal", "scipy.optimize", "umap"}
OF_FIGURES = {"matplotlib", "plotly", "IPython", "ipywidgets"}
HEAVY = OF_TRAINING | OF_SCORES | OF_FIGURES

# What a process imports -> what that must not bring.
LIGHT = {
    "cdrl": HEAVY | {"torch", "numpy", "pandas", "numba", "papermill"},
    "cdrl.cli.main": HEAVY | {"torch", "numpy", "pandas", "numba", "papermill"},
    "cdrl.cli.edit": HEAVY | {"pandas", "scipy.fft", "lightning_fabric", "papermill"},
    "cdrl.media.inspection": HEAVY | {"torch", "pandas"},
    "cdrl.studio.corpus, cdrl.studio.render": HEAVY | {"torch"},
    "cdrl.api": HEAVY,
    "cdrl.stages": HEAVY,
}


@pytest.mark.parametrize("modules", LIGHT)
def test_no_process_imports_what_it_may_never_need(modules):
    code = f"import sys, {modules}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert sorted(LIGHT[modules] & set(done.stdout.split())) == []
