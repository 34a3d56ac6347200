"""Where the weights of the wide priors come from: a folder of yours, or a download that was asked for. Nothing is fetched else.

Looked at, in this order: the setting `priors.weights`, the folder that CDRL_WEIGHTS names, and where torchaudio's own call
leaves its files. `prepare` tells all that is missing before any work begins.
"""

import os
import tempfile
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import torch

from cdrl.core.errors import InputError
from cdrl.core.weight_files import verify

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


@dataclass(frozen=True)
class Source:
    """The weights of one wide prior.

    Args:
        setting: as a user writes it, `priors.audio=WAV2VEC2_XLSR53`. files: accepted names; the first is where it should go.
        get: what to get and how, in words. cache: a folder in which a library may have left it.
    """

    setting: str
    files: tuple
    get: str
    cache: Path | None = None

    def missing(self, weights: str = "") -> str:
        """One line that says what to get and where to put it."""
        place = (
            weights
            or os.environ.get("CDRL_WEIGHTS")
            or "a folder that --set priors.weights=FOLDER or CDRL_WEIGHTS names"
        )
        return f"{self.setting}: its weights are missing: get {self.get}; put it into {place} as {self.files[0]}"


def bundle(name: str):
    """The torchaudio bundle called `name`, with or without `/random`.

    Raises:
        InputError: torchaudio missing, or no such bundle.
    """
    name = name.removesuffix("/random")
    try:
        import torchaudio.pipelines as pipelines
    except (ImportError, OSError):
        raise InputError(
            f'audio prior {name!r} needs torchaudio: pip install -e ".[audio]", or use audio=embedded'
        ) from None
    known = [
        key
        for key, value in vars(pipelines).items()
        if type(value) is pipelines.Wav2Vec2Bundle and value._model_type == "Wav2Vec2"
    ]
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise InputError(
            f"unknown audio prior {name!r}{hint}: accepted are embedded, {', '.join(sorted(known))}"
        )
    return getattr(pipelines, name)


def audio_source(name: str) -> Source:
    """Of a torchaudio bundle: the file under the name it is published by, .pth or converted to .safetensors."""
    published = bundle(name)._path.rpartition("/")[2]
    stem = published.rpartition(".")[0]
    call = f"torchaudio.pipelines.{name}.get_model(), on a machine that is online, leaves it in {_hub()}"
    return Source(
        f"priors.audio={name}", (published, f"{stem}.safetensors"), f"{published} ({call})", _hub()
    )


def language_source(name: str) -> Source:
    """Of an open_clip model MODEL/TAG: MODEL-TAG.safetensors, or .pth, .pt, .bin.

    Raises:
        InputError: open_clip knows no such tag of that model.
    """
    import open_clip

    model, _, tag = name.partition("/")
    known = open_clip.get_pretrained_cfg(model, tag)
    if not known:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
        raise InputError(
            f"language prior {name!r}: open_clip has no weights {tag!r} of {model}; accepted are {tags}"
        )
    files = tuple(f"{model}-{tag}{suffix}" for suffix in SUFFIXES)
    published = (
        f"open_clip_model.safetensors of {known['hf_hub'].strip('/')}"
        if known.get("hf_hub")
        else known["url"].rpartition("/")[2]
    )
    call = f"open_clip.download_pretrained(open_clip.get_pretrained_cfg({model!r}, {tag!r})), on a machine that is online, says where it leaves it"
    return Source(f"priors.language={name}", files, f"{published} ({call})")


def vision_source(name: str = "iresnet50") -> Source:
    """Of the release's image encoder, an ArcFace IResNet-50."""
    get = "backbone.pth of the CDRL release, or any ArcFace IResNet-50 (no library fetches it)"
    return Source(
        f"priors.vision={name}",
        ("backbone.pth", "backbone.safetensors", "iresnet50.pth", "iresnet50.safetensors"),
        get,
    )


def required_sources(
    audio: str = "embedded", language: str = "embedded", vision: str = "embedded"
) -> list[Source]:
    """What these priors need from outside; nothing for embedded ones, paths and random weights.

    >>> required_sources()
    []
    """
    kinds = ((audio, audio_source), (language, language_source), (vision, vision_source))
    return [
        source(name)
        for name, source in kinds
        if not name.endswith(("embedded", ".safetensors", "/random"))
    ]


def find(source: Source, weights: str = "") -> Path | None:
    """The file of a source: `weights` itself where that is a file, else the first that lies in one of the folders."""
    if Path(weights).is_file():
        return Path(weights)
    places = [weights, os.environ.get("CDRL_WEIGHTS"), source.cache]
    paths = (Path(place) / file for place in places if place for file in source.files)
    return next((path for path in paths if path.is_file()), None)


def require_file(source: Source, weights: str = "") -> Path:
    """As `find`.

    Raises:
        InputError: saying what to get and where to put it.
    """
    path = find(source, weights)
    if path is None:
        raise InputError(source.missing(weights))
    return path


def prepare(config) -> list[Path]:
    """Weights of all priors of a `PriorsConfig`, found or (with `download`) fetched, their checksums verified, before any work.

    Raises:
        InputError: one line for each that is missing; a file that is not what it was.
    """
    if config.weights and not config.download and not Path(config.weights).is_dir():
        raise InputError(
            f"priors.weights={config.weights}: not a folder; give the folder that holds the weights"
        )
    needed = required_sources(config.audio, config.language, config.vision)
    if config.download:
        for source in needed:
            if find(source, config.weights) is None:
                _download(source, config.weights)
    missing = [
        source.missing(config.weights) for source in needed if find(source, config.weights) is None
    ]
    if missing:
        raise InputError("\n".join(missing))
    paths = [find(source, config.weights) for source in needed]
    for path in paths:
        verify(path)
    return paths


def _download(source: Source, weights: str) -> None:
    """Into the named folder, under a temporary name first."""
    folder = weights or os.environ.get("CDRL_WEIGHTS")
    setting, _, name = source.setting.partition("=")
    if setting == "priors.vision":
        return  # `prepare` says where it is to be had
    if not folder:
        raise InputError(
            f"priors.download=true: {source.setting} needs a folder, --set priors.weights=FOLDER or CDRL_WEIGHTS"
        )
    Path(folder).mkdir(parents=True, exist_ok=True)
    print(f"downloading the weights of {source.setting} into {folder}", flush=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as work:
            if setting == "priors.audio":
                bundle(name).get_model(
                    dl_kwargs={"model_dir": work, "map_location": "cpu", "weights_only": True}
                )
                fetched = Path(work) / source.files[0]
            else:
                import open_clip

                fetched = Path(
                    open_clip.download_pretrained(
                        open_clip.get_pretrained_cfg(*name.split("/")), cache_dir=work
                    )
                )
            target = Path(folder) / f"{Path(source.files[0]).stem}{fetched.suffix}"
            os.replace(fetched.resolve(), target)  # where the library left it may be a link
    except Exception as error:  # noqa: BLE001 - whatever a downloader raises, there are no weights
        raise InputError(
            f"{source.missing(weights)} (the download failed: {str(error).splitlines()[0][:120]})"
        ) from None


def _hub() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"
