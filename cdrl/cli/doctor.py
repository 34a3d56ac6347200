"""What is installed and found on this machine, and what each missing piece would need."""

import os
import platform
import shutil
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import psutil
import torch

from cdrl.core.errors import InputError
from cdrl.core.paths import data_root
from cdrl.core.presets import COSTS

# Distribution -> module, of everything that every command needs.
PACKAGES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "numba": "numba",
    "av": "av",
    "open_clip_torch": "open_clip",
    "umap-learn": "umap",
    "plotly": "plotly",
    "papermill": "papermill",
    "ai-edge-litert": "ai_edge_litert",
    "pyarrow": "pyarrow",
    "safetensors": "safetensors",
}

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True)
class Finding:
    """One piece: whether it is there, what exactly, and what to do about it if not."""

    name: str
    present: bool
    found: str
    remedy: str = ""
    required: bool = False


def examine():
    """Everything that `cdrl doctor` prints, in its order.

    Returns:
        list of `Finding`; those that are required and not present make its exit status 1.
    """
    return [
        *_machine(),
        *_packages(),
        *_optional_packages(),
        *_weights(),
        *_wide_priors(),
        *_corpora(),
    ]


def finding_lines(findings):
    """One line for each finding, with its remedy where it is missing.

    >>> finding_lines([Finding("espeak-ng", False, "missing", "pip install -e '.[studio]'")])
    ["missing  espeak-ng: pip install -e '.[studio]'"]
    """
    return [
        f"ok       {each.name}: {each.found}"
        if each.present
        else f"missing  {each.name}: {each.remedy}"
        for each in findings
    ]


def _machine():
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(Path.cwd())
    need = COSTS["cpu"]
    device = (
        torch.cuda.get_device_name(0)
        if torch.cuda.is_available()
        else "CPU only (enough for smoke and cpu)"
    )
    return [
        Finding(
            "machine", True, f"{platform.system()} {platform.machine()}, {cores} cores, {device}"
        ),
        Finding(
            "memory",
            memory.available / 1e9 >= need.memory_gb,
            f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB available",
            f"{memory.available / 1e9:.1f} GB available, the preset cpu needs up to {need.memory_gb:g}: close "
            "something or take --preset smoke",
        ),
        Finding(
            "disk",
            disk.free / 1e9 >= need.disk_gb,
            f"{disk.free / 1e9:.1f} GB free in {Path.cwd()}",
            f"{disk.free / 1e9:.1f} GB free in {Path.cwd()}, the preset cpu needs up to {need.disk_gb:g}",
        ),
    ]


def _packages():
    findings = [Finding("python", True, platform.python_version())]
    for name, module in PACKAGES.items():
        found = _package_version(name, module)
        findings.append(Finding(name, bool(found), found, f"pip install {name}", required=True))
    return findings


def _optional_packages():
    torchaudio = _package_version("torchaudio", "torchaudio")
    espeak = _package_version("espeakng-loader", "espeakng_loader")
    widget, browser = (
        _package_version("anywidget", "anywidget"),
        next(filter(None, map(shutil.which, BROWSERS)), ""),
    )
    return [
        Finding(
            "anywidget",
            bool(widget),
            widget,
            "only explorer and dial inside a notebook need it, cdrl explore RUN and cdrl dial RUN write pages without: pip install anywidget",
        ),
        Finding(
            "browser",
            bool(browser),
            browser,
            "only the tests that drive JupyterLab need a Chromium on the path, they skip without; all else works",
        ),
        Finding(
            "torchaudio",
            bool(torchaudio),
            torchaudio,
            "only the wide audio priors (wav2vec 2.0, HuBERT) need it, all else works: pip install -e '.[audio]'",
        ),
        Finding(
            "espeak-ng",
            bool(espeak),
            f"espeakng-loader {espeak}",
            "new studio speech needs it, --preset smoke has its speech cached: pip install -e '.[studio]' (GPL-3+)",
        ),
    ]


def _package_version(name, module):
    """The version, or an empty text where the module is not there.

    torchaudio is really imported: one built for another torch is installed and yet unusable.
    """
    try:
        if module == "torchaudio":
            import_module(module)
        return version(name) if find_spec(module) else ""
    except (ImportError, OSError, PackageNotFoundError):
        return ""


def _weights():
    try:
        folder = data_root() / "weights"
    except InputError as error:
        return [Finding("data", False, "", str(error), required=True)]
    names = sorted({*_trainable(), *(path.stem for path in folder.glob("*.safetensors"))})
    places = {name: folder / f"{name}.safetensors" for name in names if name != "guidance"}
    places |= {
        f"guidance/{kind}": folder / "guidance" / kind / "model.safetensors"
        for kind in ("content", "emotion")
    }
    return [_network(name, path) for name, path in places.items()]


def _trainable():
    """Names of the committed networks; none where a package is missing that training needs."""
    try:
        from cdrl.recipes import RECIPES
    except ImportError:
        return []
    return list(RECIPES)


def _network(name, path):
    if not path.exists():
        remedy = (
            f"{path} is missing: git checkout data/weights, or cdrl train {name.partition('/')[0]}"
        )
        return Finding(f"weights {name}", False, "", remedy, required=True)
    card = path.with_suffix(".json")
    remedy = f"{card} (its card) is missing: git checkout data/weights"
    found = f"{path.stat().st_size / 1e6:.2f} MB, with its card"
    return Finding(f"weights {name}", card.exists(), found, remedy, required=True)


def _wide_priors():
    """The paper's priors, which are not embedded: where their weights lie, or what to get."""
    try:
        from cdrl.priors import sources
    except ImportError:
        return []
    paper = {"audio": "WAV2VEC2_XLSR53", "language": "ViT-B-32/openai", "vision": "iresnet50"}
    return [_wide_prior(sources, kind, name) for kind, name in paper.items()]


def _wide_prior(sources, kind, name):
    try:
        (source,) = sources.required_sources(**{kind: name})
        path = sources.find(source)
        if path is not None:
            sources.verify(path)
        return Finding(f"prior {name}", path is not None, str(path), f"only {source.missing()}")
    except (InputError, ImportError) as error:
        return Finding(f"prior {name}", False, "", str(error))


def _corpora():
    try:
        root = data_root()
    except InputError:
        return []
    samples = sorted((root / "samples").glob("*.flv"))
    lacking = [name for name in ("head", "speech") if not any((root / name).glob("*"))]
    return [
        Finding(
            "corpus studio",
            not lacking,
            "generated; head pack and speech cache found",
            f"nothing in {' and '.join(str(root / name) for name in lacking)}: git checkout data",
            required=True,
        ),
        Finding(
            "real clips",
            bool(samples),
            f"{len(samples)} of CREMA-D",
            f"{root / 'samples'} holds no clip: git checkout data/samples",
        ),
    ]
