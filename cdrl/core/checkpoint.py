"""Networks on disk with their cards, and frozen parts that checkpoints leave out.

A network is stored as a safetensors file and a card in JSON, in one of three forms; `load_network`
reads all of them. The card's `model` has the arguments that build the network again.

    NAME.safetensors, NAME.json       `save_weights`: committed networks, half precision, sha256
    model.safetensors, model.json     `save_network`: a network of a run, with its history
    model.safetensors, config.json    `save_pretrained`: the form of the Hugging Face Hub
"""

import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import torch
from huggingface_hub import ModelHubMixin, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from cdrl.core.errors import InputError
from cdrl.core.files import atomic_path, damaged, first_line, read_json
from cdrl.core.former_names import present_tensor_names
from cdrl.core.paths import data_root
from cdrl.core.weight_files import State, check_finite, checksum, fill, read_state

if TYPE_CHECKING:
    import pandas as pd

Network = TypeVar("Network", bound=torch.nn.Module)

FROZEN_MARK = "_cdrl_frozen"  # attribute of a module that `freeze` marked
_WEIGHTS = "model.safetensors"
_RUN_CARD = "model.json"
_HUB_CARD = "config.json"
_CARD_REMEDY = "get the network again, or train it again"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_FORMER_VERSION = "; if an earlier cdrl wrote it, version 0.1.0 reads it"
_HUB_README = """---
{{ card_data }}
---

A network of cdrl. In Python: `from_pretrained("OWNER/NAME")` of its class reads it.
"""


@dataclass(frozen=True)
class NetworkFiles:
    """The two files of a network.

    Args:
        weights: a .safetensors file.
        card: a .json file.
    """

    weights: Path
    card: Path


# Writing


def save_weights(path: Path, model: torch.nn.Module, card: dict) -> Path:
    """Write a network in half precision with its card; both appear whole or not at all.

    Args:
        path: ends in .safetensors; the card is written beside it as .json.
        model: the network.
        card: at least `model` (arguments that build the network), `command`, `truth`, `scores`.

    Returns:
        The path.
    """
    path = Path(path)
    state = {}
    for name, value in model.state_dict().items():
        value = value.detach().cpu().contiguous()
        state[name] = value.half() if value.is_floating_point() else value
    _write_state(path, state)

    facts = {"parameters": sum(value.numel() for value in state.values()), "sha256": checksum(path)}
    text = json.dumps({**card, **facts}, indent=1, sort_keys=True) + "\n"
    _write_text(path.with_suffix(".json"), text)
    return path


def save_network(
    folder: Path, model: Network, card: dict, history: "pd.DataFrame | None" = None
) -> Network:
    """Write a network of a run: model.safetensors, model.json and history.parquet.

    Args:
        folder: made where it is missing.
        model: the network.
        card: at least `model`, the arguments that build the network.
        history: of its training, one row per logged step; None writes none.

    Returns:
        The network, frozen, in eval mode.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if history is not None:
        history.to_parquet(folder / "history.parquet", index=False)
    _write_text(folder / _RUN_CARD, json.dumps(card, indent=1))
    _write_state(folder / _WEIGHTS, _contiguous_state(model))
    return model.eval().requires_grad_(False)


def save_pretrained(model: "Pretrained", folder: Path, card: dict | None = None) -> None:
    """Write a network as the Hugging Face Hub has it: config.json and model.safetensors.

    Args:
        model: a network that tells its arguments in `config`.
        folder: made where it is missing.
        card: what else is known of the network, kept under `cdrl` in config.json.
    """
    folder = Path(folder)
    config = {**model.config, "cdrl": card or {}}
    _write_text(folder / _HUB_CARD, json.dumps(config, indent=2, sort_keys=True) + "\n")
    _write_state(folder / _WEIGHTS, _contiguous_state(model))


def _contiguous_state(model: Any) -> State:
    return {name: value.contiguous() for name, value in model.state_dict().items()}


def _write_state(path: Path, state: State) -> None:
    with atomic_path(path) as temporary:
        save_file(state, temporary)


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text)


# Reading


def load_network(build: Callable[..., Network], where: str | Path) -> Network:
    """Build a network from its card and fill it with its weights.

    Args:
        build: the network's class, or a function that takes the arguments of its card.
        where: see `find_network`.

    Returns:
        The network in single precision, frozen, in eval mode.

    Raises:
        InputError: files that are missing or damaged, or the weights of another network.
    """
    return _build_filled(build, find_network(where))


def load_weights(where: str | Path, model: Network) -> Network:
    """Fill a network that is already built.

    Args:
        where: see `find_network`.
        model: the network.

    Returns:
        The network in single precision, frozen, in eval mode.

    Raises:
        InputError: files that are missing or damaged, or the weights of another network.
    """
    return _fill_checked(model, find_network(where))


def load_card(where: str | Path) -> dict:
    """Read the card of a network.

    Args:
        where: see `find_network`.

    Raises:
        InputError: where it is missing or is not JSON.
    """
    return _read_card(find_network(where).card)


def load_tensors(path: Path, names: Iterable[str] = ()) -> State:
    """Read tensors that a run keeps beside its networks.

    Args:
        path: a .safetensors file.
        names: those that must be in it.

    Returns:
        Name -> tensor, in the precision that the file has.

    Raises:
        InputError: missing or damaged, or with values that are not finite.
    """
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{path}: missing or damaged ({reason}); train the encoders again, notebooks 02 and 03"
        ) from error
    for name in names:
        if name not in state:
            raise damaged(path, f"it has no tensor {name}", "train the encoders again")
    check_finite(path, state)
    return state


def find_network(where: str | Path) -> NetworkFiles:
    """Find the files of a network, in any of the three forms.

    Args:
        where: name of committed weights; path of a .safetensors file; or folder that `save_network`
            or `save_pretrained` wrote.

    Raises:
        InputError: there is no such network.
    """
    path = Path(where)
    is_folder = isinstance(where, Path) and path.suffix != ".safetensors"
    if not is_folder and not path.is_dir():
        weights = weights_path(str(where))
        return NetworkFiles(weights, weights.with_suffix(".json"))

    card = path / _RUN_CARD
    if not card.exists() and (path / _HUB_CARD).exists():
        card = path / _HUB_CARD
    return NetworkFiles(path / _WEIGHTS, card)


def weights_path(name: str) -> Path:
    """Find a file of weights: a path as it is, else in CDRL_WEIGHTS, else in `data/weights`.

    Raises:
        InputError: not found; names every folder that was searched.
    """
    path = Path(name)
    if path.suffix == ".safetensors" and path.exists():
        return path
    folders = []
    users_folder = os.environ.get("CDRL_WEIGHTS")
    if users_folder:
        folders.append(Path(users_folder))
    folders.append(data_root() / "weights")
    for folder in folders:
        path = folder / f"{name}.safetensors"
        if path.exists():
            return path
    searched = ", ".join(str(folder) for folder in folders)
    raise InputError(
        f"weights {name!r} not found in {searched}: give a .safetensors path, set CDRL_WEIGHTS, "
        f"or make them with `cdrl train {name}`"
    )


def kit_weights_path(name: str) -> Path:
    """Find weights of the kit's own: in `data/weights` alone, never in CDRL_WEIGHTS.

    Networks that measure are found so: a file of a user's folder must not replace a judge.

    Args:
        name: of committed weights, or the path of a .safetensors file that the user names.

    Raises:
        InputError: not found.
    """
    path = Path(name)
    if path.suffix != ".safetensors":
        path = data_root() / "weights" / f"{name}.safetensors"
    if not path.is_file():
        raise InputError(
            f"{path}: the weights of this evaluation network are missing; get the kit's data "
            "folder again, or name a .safetensors file"
        )
    return path


def _names_hub(where: str | Path) -> bool:
    """Tell whether this is OWNER/NAME of the Hugging Face Hub: a text that is no path here."""
    if not isinstance(where, str) or where.endswith(".safetensors"):
        return False
    return bool(_HUB_ID.fullmatch(where)) and not Path(where).exists()


def _download(repository: str) -> NetworkFiles:
    """Get both files of a network from the Hugging Face Hub; they are kept in its cache."""
    try:
        card = hf_hub_download(repository, _HUB_CARD)
        weights = hf_hub_download(repository, _WEIGHTS)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"{repository}: no such folder here, and not read from the Hugging Face Hub "
            f"({reason[:160]}); give a folder, a .safetensors file or OWNER/NAME"
        ) from None
    return NetworkFiles(Path(weights), Path(card))


def _read_card(path: Path) -> dict:
    """Read a card; one of the Hub is brought into the form of the others."""
    if not path.exists():
        raise InputError(_missing_card(path))
    card = read_json(path, dict, remedy=_CARD_REMEDY)
    if path.name == _HUB_CARD:
        facts = card.pop("cdrl", {})
        if not isinstance(facts, dict):
            raise damaged(path, "its cdrl is no mapping", _CARD_REMEDY)
        card = {"model": card, **facts}
    if not isinstance(card.get("model"), dict):
        raise damaged(path, "it has no model, the arguments of the network", _CARD_REMEDY)
    if not isinstance(card.get("sha256", ""), str):
        raise damaged(path, "its sha256 is no text", _CARD_REMEDY)
    return card


def _missing_card(path: Path) -> str:
    if path.name == _RUN_CARD:
        return f"{path}: no trained encoder here; run notebooks 02 and 03 (or `cdrl run`) first"
    return f"{path}: the card of these weights is missing; it must lie beside the .safetensors file"


def _build_filled(build: Callable[..., Network], files: NetworkFiles) -> Network:
    arguments = _read_card(files.card)["model"]
    try:
        model = build(**arguments)
    except InputError:
        raise
    except Exception as error:  # wrong arguments end in errors of every kind
        reason = f"its model builds no network: {first_line(error)}"
        raise damaged(files.card, reason, _CARD_REMEDY) from error
    return _fill_checked(model, files)


def _fill_checked(model: Network, files: NetworkFiles) -> Network:
    """Fill a network, after a look at the checksum that its card has."""
    expected = _read_card(files.card).get("sha256")
    if expected is not None and expected != checksum(files.weights):
        raise InputError(
            f"{files.weights}: checksum differs from its card; "
            "the file is damaged or of another version"
        )
    state = present_tensor_names(read_state(files.weights))
    return fill(model, state, files.weights, remedy=_FORMER_VERSION)


class Pretrained(ModelHubMixin, library_name="cdrl", model_card_template=_HUB_README):
    """Mixin of a network that is saved, shared and loaded by one call.

    Example:
        encoder = ContentEncoder.from_pretrained("data/weights/guidance/content")
        encoder.save_pretrained("mine")          # config.json, model.safetensors; no pickle
        encoder.push_to_hub("owner/name")

    Attributes:
        config: the arguments that build the network, numbers and texts only.
    """

    config: dict[str, Any]

    def _save_pretrained(self, save_directory: Path) -> None:
        save_pretrained(self, save_directory)

    @classmethod
    def from_pretrained(cls, where: str | Path) -> Self:  # type: ignore[override]
        """Load a network of this class, frozen, in eval mode.

        Args:
            where: see `find_network`; or OWNER/NAME on the Hugging Face Hub, which is downloaded.

        Raises:
            InputError: files that are missing or damaged, or the weights of another network.
        """
        files = _download(str(where)) if _names_hub(where) else find_network(where)
        return _build_filled(cls, files)  # type: ignore[type-var]


# Frozen parts


def freeze(module: Network) -> Network:
    """Mark a part as frozen: no gradients, always in eval mode, left out of checkpoints.

    It may then be registered in a network that is trained: `train()` of that network leaves it in
    eval mode, and `trained_state` leaves its tensors out.

    Returns:
        The same module.
    """
    module.requires_grad_(False)
    module.eval()
    setattr(module, FROZEN_MARK, True)
    object.__setattr__(module, "train", partial(_stay_in_eval_mode, module))
    return module


def _stay_in_eval_mode(module: torch.nn.Module, mode: bool = True) -> torch.nn.Module:
    """Replace `train` of a frozen module."""
    return module


def trained_state(module: torch.nn.Module) -> State:
    """Return the state dict of a module without the tensors of its frozen parts."""
    prefixes = _frozen_prefixes(module)
    state = {}
    for name, value in module.state_dict().items():
        if not name.startswith(prefixes):
            state[name] = value
    return state


def load_trained_state(module: torch.nn.Module, state: State) -> None:
    """Load what `trained_state` gave; frozen parts stay as they are.

    Args:
        module: of the same architecture.
        state: tensors by name.

    Raises:
        InputError: the state has not exactly the tensors of the module's trained parts.
    """
    expected = trained_state(module)
    missing = expected.keys() - state.keys()
    unknown = state.keys() - expected.keys()
    reshaped = set()
    for name in expected.keys() & state.keys():
        if expected[name].shape != state[name].shape:
            reshaped.add(name)

    wrong = sorted(missing) + sorted(unknown) + sorted(reshaped)
    if wrong:
        raise InputError(
            f"checkpoint of another model: {len(missing)} tensors are missing, {len(unknown)} are "
            f"unknown, {len(reshaped)} have another shape, such as {wrong[0]!r}; "
            "remove the checkpoint to begin anew"
        )
    module.load_state_dict(state, strict=False)


def _frozen_prefixes(module: torch.nn.Module) -> tuple[str, ...]:
    """Return how the names of all tensors in frozen parts begin."""
    prefixes = []
    for name, part in module.named_modules(remove_duplicate=False):
        if name and getattr(part, FROZEN_MARK, False):
            prefixes.append(f"{name}.")
    return tuple(prefixes)
