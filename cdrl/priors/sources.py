"""Where the weights of the wide priors come from: a user's folder, or a requested download.

Nothing else is fetched. Files are searched in the folder of the setting `priors.weights`, then in
the folder that CDRL_WEIGHTS names, then where torchaudio's own call leaves them. `prepare` says all
that is missing before any work begins.
"""

import os
import tempfile
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch

from cdrl.core.errors import InputError
from cdrl.core.settings import PriorsConfig
from cdrl.core.weight_files import verify

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
# Names that need no file: `embedded`, a path of weights, and weights drawn at random.
_WITHOUT_SOURCE = ("embedded", ".safetensors", "/random")
_VISION_FILES = ("backbone.pth", "backbone.safetensors", "iresnet50.pth", "iresnet50.safetensors")


@dataclass(frozen=True)
class Source:
    """The weights of one wide prior.

    Args:
        setting: as a user writes it, `priors.audio=WAV2VEC2_XLSR53`.
        files: accepted names; a download gets the first.
        get: what to get and how, in words.
        cache: a folder in which a library may have left it.
    """

    setting: str
    files: tuple[str, ...]
    get: str
    cache: Path | None = None

    def missing(self, weights: str = "") -> str:
        """Say in one line what to get and where to put it."""
        folder = weights or os.environ.get("CDRL_WEIGHTS")
        if not folder:
            folder = "a folder that --set priors.weights=FOLDER or CDRL_WEIGHTS names"
        return (
            f"{self.setting}: its weights are missing: get {self.get}; "
            f"put it into {folder} as {self.files[0]}"
        )


def find_bundle(name: str) -> Any:
    """Find a torchaudio bundle.

    Args:
        name: of the bundle, with or without `/random`.

    Raises:
        InputError: torchaudio missing, or no such bundle.
    """
    name = name.removesuffix("/random")
    try:
        import torchaudio.pipelines as pipelines
    except (ImportError, OSError):
        raise InputError(
            f'audio prior {name!r} needs torchaudio: pip install -e ".[audio]", '
            "or use audio=embedded"
        ) from None
    bundles = {}
    for key, value in vars(pipelines).items():
        if type(value) is pipelines.Wav2Vec2Bundle and value._model_type == "Wav2Vec2":
            bundles[key] = value
    if name in bundles:
        return bundles[name]

    similar = get_close_matches(name, bundles, n=1)
    hint = f" (did you mean {similar[0]}?)" if similar else ""
    accepted = ", ".join(sorted(bundles))
    raise InputError(f"unknown audio prior {name!r}{hint}: accepted are embedded, {accepted}")


def audio_source(name: str) -> Source:
    """Source of a torchaudio bundle: its published file, .pth or converted to .safetensors."""
    published = find_bundle(name)._path.rpartition("/")[2]
    stem = published.rpartition(".")[0]
    files = (published, f"{stem}.safetensors")

    cache = Path(torch.hub.get_dir()) / "checkpoints"
    call = f"torchaudio.pipelines.{name}.get_model()"
    get = f"{published} ({call}, on a machine that is online, leaves it in {cache})"

    return Source(f"priors.audio={name}", files, get, cache)


def language_source(name: str) -> Source:
    """Source of an open_clip model: MODEL-TAG.safetensors, or .pth, .pt, .bin.

    Args:
        name: MODEL/TAG.

    Raises:
        InputError: open_clip knows no such model, or no such tag of it.
    """
    import open_clip

    model, _, tag = name.partition("/")
    config = open_clip.get_pretrained_cfg(model, tag)
    if not config:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model))
        if not tags:
            raise InputError(
                f"language prior {name!r}: open_clip has no model {model!r} with weights; accepted "
                "are embedded, a .safetensors file and MODEL/TAG, as in ViT-B-32/openai"
            )
        raise InputError(
            f"language prior {name!r}: open_clip has no weights {tag!r} of {model}; "
            f"accepted are {tags}"
        )
    if config.get("hf_hub"):
        repository = config["hf_hub"].strip("/")
        published = f"open_clip_model.safetensors of {repository}"
    else:
        published = config["url"].rpartition("/")[2]

    call = f"open_clip.download_pretrained(open_clip.get_pretrained_cfg({model!r}, {tag!r}))"
    get = f"{published} ({call}, on a machine that is online, says where it leaves it)"
    files = tuple(f"{model}-{tag}{suffix}" for suffix in SUFFIXES)

    return Source(f"priors.language={name}", files, get)


def vision_source(name: str = "iresnet50") -> Source:
    """Source of the release's image encoder, an ArcFace IResNet-50."""
    get = "backbone.pth of the CDRL release, or any ArcFace IResNet-50 (no library fetches it)"
    return Source(f"priors.vision={name}", _VISION_FILES, get)


def required_sources(
    audio: str = "embedded", language: str = "embedded", vision: str = "embedded"
) -> list[Source]:
    """Sources of all priors that need a file; none for embedded ones, paths and random weights.

    >>> required_sources()
    []
    """
    required = []
    if not audio.endswith(_WITHOUT_SOURCE):
        required.append(audio_source(audio))
    if not language.endswith(_WITHOUT_SOURCE):
        required.append(language_source(language))
    if not vision.endswith(_WITHOUT_SOURCE):
        required.append(vision_source(vision))

    return required


def find(source: Source, weights: str = "") -> Path | None:
    """Find the file of a source.

    Args:
        source: of a prior.
        weights: a file, which is taken as it is, or a folder that is searched first.

    Returns:
        The first file in one of the folders; None where there is none.
    """
    if Path(weights).is_file():
        return Path(weights)
    for folder in (weights, os.environ.get("CDRL_WEIGHTS"), source.cache):
        if not folder:
            continue
        for file in source.files:
            path = Path(folder) / file
            if path.is_file():
                return path
    return None


def require_file(source: Source, weights: str = "") -> Path:
    """Find the file of a source, see `find`.

    Raises:
        InputError: there is none; says what to get and where to put it.
    """
    path = find(source, weights)
    if path is None:
        raise InputError(source.missing(weights))
    return path


def check_folder(config: PriorsConfig) -> None:
    """Refuse a folder of weights that is not there and that nothing will make.

    Args:
        config: of the priors.

    Raises:
        InputError: naming it.
    """
    if config.weights and not config.download and not Path(config.weights).is_dir():
        raise InputError(
            f"priors.weights={config.weights}: not a folder; give the folder that holds the weights"
        )


def prepare(config: PriorsConfig) -> list[Path]:
    """Find the weights of all priors, fetch them if asked to, and verify their checksums.

    Args:
        config: names of the priors; `download` asks to fetch what is missing.

    Returns:
        The files.

    Raises:
        InputError: one line for each file that is missing, or one that is not what it was.
    """
    check_folder(config)
    required = required_sources(config.audio, config.language, config.vision)
    if config.download:
        for source in required:
            if find(source, config.weights) is None:
                _download(source, config.weights)

    paths = []
    missing = []
    for source in required:
        path = find(source, config.weights)
        if path is None:
            missing.append(source.missing(config.weights))
        else:
            paths.append(path)
    if missing:
        raise InputError(*missing)
    for path in paths:
        verify(path)

    return paths


def _download(source: Source, weights: str) -> None:
    """Fetch the file of a source into the named folder; it appears whole or not at all."""
    folder = weights or os.environ.get("CDRL_WEIGHTS")
    if source.setting.startswith("priors.vision="):
        return  # no library fetches it; `prepare` says where to get it
    if not folder:
        raise InputError(
            f"priors.download=true: {source.setting} needs a folder, "
            "--set priors.weights=FOLDER or CDRL_WEIGHTS"
        )
    Path(folder).mkdir(parents=True, exist_ok=True)
    print(f"downloading the weights of {source.setting} into {folder}", flush=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as work:
            fetched = _fetch(source, Path(work))
            stem = Path(source.files[0]).stem
            target = Path(folder) / f"{stem}{fetched.suffix}"
            os.replace(fetched.resolve(), target)  # where the library left it may be a link
    except Exception as error:  # downloaders raise errors of every kind
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{source.missing(weights)} (the download failed: {reason[:120]})"
        ) from None


def _fetch(source: Source, work: Path) -> Path:
    """Let the prior's own library download the weights into a folder."""
    setting, _, name = source.setting.partition("=")
    if setting == "priors.audio":
        options = {"model_dir": str(work), "map_location": "cpu", "weights_only": True}
        find_bundle(name).get_model(dl_kwargs=options)
        return work / source.files[0]

    import open_clip

    model, tag = name.split("/")
    config = open_clip.get_pretrained_cfg(model, tag)

    return Path(open_clip.download_pretrained(config, cache_dir=str(work)))
