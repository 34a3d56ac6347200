"""The command `cdrl doctor`: what is installed on this machine, what each missing piece needs.

It runs where packages are missing, so all but the smallest are imported when they are looked for.
"""

import argparse
import os
import platform
import shutil
import tempfile
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import psutil

from cdrl.core.compile_cache import VARIABLE, choose_compile_cache
from cdrl.core.errors import InputError
from cdrl.core.paths import data_root
from cdrl.core.presets import COSTS

# Distribution -> module, of all packages that every command needs.
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
# The priors of the paper, which are not embedded.
PAPER_PRIORS = {"audio": "WAV2VEC2_XLSR53", "language": "ViT-B-32/openai", "vision": "iresnet50"}


@dataclass(frozen=True)
class Finding:
    """One piece of the installation.

    Attributes:
        name: of the piece.
        present: whether it is there.
        detail: what exactly is there.
        remedy: what to do where it is missing.
        required: whether the kit needs it.
    """

    name: str
    present: bool
    detail: str
    remedy: str = ""
    required: bool = False


def doctor(arguments: argparse.Namespace) -> int:
    """Print all findings.

    Args:
        arguments: of the command; there are none.

    Returns:
        1 where a required piece is missing, else 0.
    """
    findings = examine()
    print("\n".join(finding_lines(findings)))
    missing = [finding for finding in findings if finding.required and not finding.present]
    return 1 if missing else 0


def examine() -> list[Finding]:
    """Look for all pieces, in the order in which they are printed."""
    findings = _machine()
    findings += _packages()
    findings += _optional_packages()
    findings += _weights()
    findings += _paper_priors()
    findings += _corpora()
    return findings


def finding_lines(findings: list[Finding]) -> list[str]:
    """Describe each finding in one line, with its remedy where it is missing.

    Args:
        findings: of `examine`.

    >>> finding_lines([Finding("espeak-ng", False, "missing", "pip install -e '.[studio]'")])
    ["missing  espeak-ng: pip install -e '.[studio]'"]
    """
    lines = []
    for finding in findings:
        if finding.present:
            lines.append(f"ok       {finding.name}: {finding.detail}")
        else:
            lines.append(f"missing  {finding.name}: {finding.remedy}")

    return lines


def _machine() -> list[Finding]:
    """Processor, memory and disk, compared with what the preset cpu needs."""
    if hasattr(os, "sched_getaffinity"):
        num_cores = len(os.sched_getaffinity(0))
    else:
        num_cores = os.cpu_count() or 1
    system = f"{platform.system()} {platform.machine()}, {num_cores} cores, {_device()}"

    need = COSTS["cpu"]
    memory = psutil.virtual_memory()
    available_gb = memory.available / 1e9
    memory_detail = f"{available_gb:.1f} of {memory.total / 1e9:.1f} GB available"
    memory_remedy = (
        f"{available_gb:.1f} GB available, the preset cpu needs up to {need.memory_gb:g}: close "
        "something or take --preset smoke"
    )
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    disk_detail = f"{free_gb:.1f} GB free in {Path.cwd()}"
    disk_remedy = f"{disk_detail}, the preset cpu needs up to {need.disk_gb:g}"
    return [
        Finding("machine", True, system),
        Finding("memory", available_gb >= need.memory_gb, memory_detail, memory_remedy),
        _compile_cache(),
        Finding("disk", free_gb >= need.disk_gb, disk_detail, disk_remedy),
    ]


def _compile_cache() -> Finding:
    """Where compiled code is kept; a folder of temporary files stands in where nothing else is."""
    folder = choose_compile_cache()
    is_kept = not folder.startswith(tempfile.gettempdir())
    remedy = (
        f"neither the installation nor ~/.cache can be written, {folder} keeps it for now; set "
        f"{VARIABLE} to a folder that stays, or every new machine compiles for a minute"
    )
    return Finding("compiled code", is_kept, folder or "kept by numba", remedy)


def _device() -> str:
    """The name of the GPU, or that there is none."""
    torch = _import_if_present("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return "CPU only (enough for smoke and cpu)"


def _packages() -> list[Finding]:
    """Python and the packages that every command needs."""
    findings = [Finding("python", True, platform.python_version())]
    for name, module in PACKAGES.items():
        number = _package_version(name, module)
        remedy = f"pip install {name}"
        findings.append(Finding(name, bool(number), number, remedy, required=True))

    return findings


def _optional_packages() -> list[Finding]:
    """What only some commands or the tests need."""
    anywidget = _package_version("anywidget", "anywidget")
    anywidget_remedy = (
        "only explorer and dial inside a notebook need it, cdrl explore RUN and cdrl dial RUN "
        "write pages without: pip install anywidget"
    )
    browser = _browser()
    browser_remedy = (
        "only the tests that drive JupyterLab need a Chromium on the path, they skip without; all "
        "else works"
    )
    torchaudio = _package_version("torchaudio", "torchaudio")
    torchaudio_remedy = (
        "only the wide audio priors (wav2vec 2.0, HuBERT) need it, all else works: "
        "pip install -e '.[audio]'"
    )
    espeak = _package_version("espeakng-loader", "espeakng_loader")
    espeak_remedy = (
        "new studio speech needs it, --preset smoke has its speech cached: "
        "pip install -e '.[studio]' (GPL-3+)"
    )
    return [
        Finding("anywidget", bool(anywidget), anywidget, anywidget_remedy),
        Finding("browser", bool(browser), browser, browser_remedy),
        Finding("torchaudio", bool(torchaudio), torchaudio, torchaudio_remedy),
        Finding("espeak-ng", bool(espeak), f"espeakng-loader {espeak}", espeak_remedy),
    ]


def _browser() -> str:
    """Path of a Chromium, or an empty text."""
    for name in BROWSERS:
        path = shutil.which(name)
        if path:
            return path
    return ""


def _package_version(name: str, module: str) -> str:
    """The version of a distribution, or an empty text where its module is not there.

    torchaudio is really imported: one that was built for another torch is installed and unusable.
    """
    try:
        if module == "torchaudio":
            import_module(module)
        return version(name) if find_spec(module) else ""
    except (ImportError, OSError, PackageNotFoundError):
        return ""


def _import_if_present(module: str) -> ModuleType | None:
    """A module, or None where it or a package that it needs is missing."""
    try:
        return import_module(module)
    except ImportError:
        return None


def _weights() -> list[Finding]:
    """The committed networks and those that a recipe makes."""
    try:
        folder = data_root() / "weights"
    except InputError as error:
        return [Finding("data", False, "", str(error), required=True)]

    recipes = _import_if_present("cdrl.recipes")  # a package of the training may be missing
    names = {path.stem for path in folder.glob("*.safetensors")}
    if recipes is not None:
        names |= recipes.RECIPES.keys()
    names -= {"guidance"}  # two networks in a folder

    files = {name: folder / f"{name}.safetensors" for name in sorted(names)}
    for kind in ("content", "emotion"):
        files[f"guidance/{kind}"] = folder / "guidance" / kind / "model.safetensors"
    return [_network(name, path) for name, path in files.items()]


def _network(name: str, path: Path) -> Finding:
    """One network with its card."""
    label = f"weights {name}"
    if not path.exists():
        recipe = name.partition("/")[0]
        remedy = f"{path} is missing: git checkout data/weights, or cdrl train {recipe}"
        return Finding(label, False, "", remedy, required=True)

    card = path.with_suffix(".json")
    detail = f"{path.stat().st_size / 1e6:.2f} MB, with its card"
    remedy = f"{card} (its card) is missing: git checkout data/weights"
    return Finding(label, card.exists(), detail, remedy, required=True)


def _paper_priors() -> list[Finding]:
    """The priors of the paper: where their weights are, or how to get them."""
    sources = _import_if_present("cdrl.priors.sources")
    if sources is None:
        return []
    return [_paper_prior(sources, kind, name) for kind, name in PAPER_PRIORS.items()]


def _paper_prior(sources: ModuleType, kind: str, name: str) -> Finding:
    """One prior of the paper; its weights are checked where they are here."""
    label = f"prior {name}"
    try:
        (source,) = sources.required_sources(**{kind: name})
        path = sources.find(source)
        if path is not None:
            sources.verify(path)
    except (InputError, ImportError) as error:
        return Finding(label, False, "", str(error))
    return Finding(label, path is not None, str(path), f"only {source.missing()}")


def _corpora() -> list[Finding]:
    """The data of the generated corpus, and the real clips."""
    try:
        root = data_root()
    except InputError:
        return []  # reported with the weights

    missing = [root / name for name in ("head", "speech") if not any((root / name).glob("*"))]
    missing_folders = " and ".join(str(folder) for folder in missing)
    clips = sorted((root / "samples").glob("*.flv"))
    return [
        Finding(
            "corpus studio",
            not missing,
            "generated; head pack and speech cache found",
            f"nothing in {missing_folders}: git checkout data",
            required=True,
        ),
        Finding(
            "real clips",
            bool(clips),
            f"{len(clips)} of CREMA-D",
            f"{root / 'samples'} holds no clip: git checkout data/samples",
        ),
    ]
