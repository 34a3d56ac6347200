"""Weights on disk: a safetensors file and, beside it, a card that says what it is and how to make it again.

Files that somebody else made are read by `read_state`, so that nothing in them is executed, and known by their sha256.
"""

import hashlib
import json
import os
import re
import zipfile
from functools import lru_cache
from functools import partial as partial_function
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from cdrl.core.errors import InputError
from cdrl.core.files import read_json, write_json
from cdrl.core.paths import data_root

if TYPE_CHECKING:
    import pandas as pd

Network = TypeVar("Network", bound=torch.nn.Module)
FROZEN_MARK = "_cdrl_frozen"  # the attribute of a module that `freeze` marked
FORMER_VERSION = "; if an earlier cdrl wrote it, version 0.1.0 reads it"


def weights_path(name: str) -> Path:
    """Where the weights called `name` lie: a path as it is, else $CDRL_WEIGHTS, else the committed `data/weights`.

    Raises:
        InputError: naming every place that was looked at.
    """
    named = Path(name)
    if named.suffix == ".safetensors" and named.exists():
        return named
    places = [Path(os.environ["CDRL_WEIGHTS"])] if os.environ.get("CDRL_WEIGHTS") else []
    places.append(data_root() / "weights")
    for place in places:
        if (place / f"{name}.safetensors").exists():
            return place / f"{name}.safetensors"
    raise InputError(
        f"weights {name!r} not found in {', '.join(map(str, places))}: give a .safetensors path, set CDRL_WEIGHTS, "
        f"or make them with `cdrl train {name}`"
    )


def save_weights(path: Path, model: torch.nn.Module, card: dict) -> Path:
    """Write `model` in half precision with its card; both appear whole or not at all.

    Args:
        path: ends in .safetensors; the card is written beside it as .json.
        card: at least `model` (keyword arguments that rebuild the architecture), `command`, `truth`, `scores`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    state = {
        name: value.half() if value.is_floating_point() else value for name, value in state.items()
    }
    partial = path.with_suffix(".partial")
    save_file(state, partial)
    card = {
        **card,
        "parameters": sum(v.numel() for v in state.values()),
        "sha256": checksum(partial),
    }
    partial_card = path.with_suffix(".json.partial")
    partial_card.write_text(json.dumps(card, indent=1, sort_keys=True) + "\n")
    os.replace(partial, path)
    os.replace(partial_card, path.with_suffix(".json"))
    return path


def load_card(name: str) -> dict:
    """The card of the weights called `name`.

    Raises:
        InputError: where it is missing.
    """
    path = weights_path(name).with_suffix(".json")
    if not path.exists():
        raise InputError(
            f"{path}: the card of these weights is missing; it must lie beside the .safetensors file"
        )
    return json.loads(path.read_text())


def load_weights(name: str, model: torch.nn.Module) -> torch.nn.Module:
    """Fill `model` with the weights called `name`, in single precision, frozen and in eval mode.

    Raises:
        InputError: not a safetensors file, a checksum that differs from the card, or another architecture.
    """
    path = weights_path(name)
    if load_card(name).get("sha256") not in (None, checksum(path)):
        raise InputError(
            f"{path}: checksum differs from its card; the file is damaged or of another version"
        )
    return fill(model, present_names(read_state(path)), path, remedy=FORMER_VERSION)


def read_state(path: Path) -> dict:
    """Tensors by name out of a .safetensors, .pth, .pt or .bin file; nothing in the file is executed, and .pth are mapped.

    Returns:
        name -> tensor on the CPU, floats in single precision, without a `state_dict` around them or `module.` before them.

    Raises:
        InputError: missing, damaged, or holding anything else than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file of weights")
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        elif _is_torchscript(path):
            raise ValueError("TorchScript")
        else:
            state = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except SafetensorError as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from None
    except Exception as error:  # noqa: BLE001 - whatever the reader says, these are no weights
        raise InputError(
            f"{path}: {_why_unreadable(error)}; a .safetensors or a .pth of tensors alone is needed"
        ) from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(value, torch.Tensor) for value in state.values())
    ):
        raise InputError(
            f"{path}: not a state dict; a .safetensors or a .pth of tensors by name is needed"
        )
    return {
        name.removeprefix("module."): value.float() if value.is_floating_point() else value
        for name, value in state.items()
    }


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _why_unreadable(error: Exception) -> str:
    if "TorchScript" in str(error):
        return "a TorchScript archive, which holds code and is not opened"
    if type(error).__name__ == "UnpicklingError":
        return "holds more than tensors, or is damaged; nothing in it was executed"
    return f"cannot be read, perhaps cut short ({str(error).splitlines()[0][:120]})"


# Parts of networks that had other names when the committed weights were written.
FORMER_PARTS = {"told": "condition_mlp", "move_and_paint": "flow_residual_head", "deviation": "std"}


def present_names(state: dict) -> dict:
    """A state dict under the names that parts of networks have now, see `FORMER_PARTS`.

    >>> list(present_names({"style_encoder.deviation": 0, "told.0.bias": 0}))
    ['style_encoder.std', 'condition_mlp.0.bias']
    """
    renamed = {}
    for name, value in state.items():
        parts = [FORMER_PARTS.get(part, part) for part in name.split(".")]
        renamed[".".join(parts)] = value
    return renamed


def fill(
    model: Network, state: dict, path: Path, assign: bool = False, remedy: str = ""
) -> Network:
    """Put a state dict into a model, frozen, in eval mode.

    Args:
        model: to fill.
        state: tensors by name.
        path: where it came from, for the message.
        assign: take the tensors themselves, for a model on the meta device.
        remedy: end of the message, for a state of another model.

    Raises:
        InputError: the state dict of another architecture, naming the first key or shape that differs.
    """
    try:
        model.load_state_dict(state, assign=assign)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise InputError(f"{path}: weights of another model ({reason[:200]}){remedy}") from None
    return model.eval().requires_grad_(False)


def verify(path: Path) -> str:
    """The sha256 of a file that somebody else made, checked against all that is known of it.

    Known are a card (NAME.json, or NAME.EXT.json, with `sha256`) and digits that publishers put at the end of a name
    (`NAME-46683a32.pt`). Where nothing is known it is recorded in NAME.EXT.json, and checked from then on.

    Raises:
        InputError: the file is another one than it was, or than it says.
    """
    path = Path(path)
    found, again = checksum(path), "it is damaged or of another version, get it again"
    named = re.search(r"-(?=[0-9]*[a-f])([0-9a-f]{8,64})$", path.stem)  # not a date
    if named and not found.startswith(named[1]):
        raise InputError(
            f"{path}: its sha256 begins with {found[:12]}, its name says {named[1][:12]}; {again}"
        )
    for card in (path.with_suffix(".json"), path.with_name(f"{path.name}.json")):
        known = read_json(card).get("sha256") if card.exists() else None
        if known and known != found:
            raise InputError(
                f"{path}: its sha256 begins with {found[:12]}, {card.name} says {known[:12]}; {again} (or remove {card.name}, "
                "if the change was meant)"
            )
        if known:
            return found
    try:
        write_json(
            card,
            {
                "sha256": found,
                "bytes": path.stat().st_size,
                "known_from": "the first use of this file here",
            },
        )
    except OSError:  # a folder that may only be read keeps no record
        pass
    return found


def checksum(path: Path) -> str:
    """The sha256 of a file, 64 hexadecimal digits; a file of the same size and time is not read twice."""
    found = Path(path).stat()
    return _sha256(Path(path), found.st_ino, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, *_: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_network(
    folder: Path, model: torch.nn.Module, card: dict, history: "pd.DataFrame | None" = None
) -> torch.nn.Module:
    """Write a network of a run in single precision: model.safetensors and model.json, its card.

    Args:
        folder: made where it is missing.
        model: the network.
        card: at least `model`, the keyword arguments that rebuild the network.
        history: of its training, one row per logged step, written as history.parquet; None writes none.

    Returns:
        The network, frozen, in eval mode.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if history is not None:
        history.to_parquet(folder / "history.parquet", index=False)

    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    partial = folder / "model.partial"
    save_file(state, partial)
    (folder / "model.json").write_text(json.dumps(card, indent=1))
    os.replace(partial, folder / "model.safetensors")
    return model.eval().requires_grad_(False)


def load_network(network_class: type[Network], folder: str | Path) -> Network:
    """The network that `save_network` wrote in a folder, frozen, in eval mode.

    Args:
        network_class: its class; the card has the arguments.
        folder: of model.safetensors and model.json.

    Raises:
        InputError: a file that is missing or damaged, or the weights of another network.
    """
    model = network_class(**load_network_card(folder)["model"])
    path = Path(folder) / "model.safetensors"
    state = present_names(load_tensors(path))
    return fill(model, state, path, remedy=FORMER_VERSION)


def load_network_card(folder: str | Path) -> dict:
    """The card that `save_network` wrote in a folder.

    Raises:
        InputError: where none is.
    """
    path = Path(folder) / "model.json"
    if not path.exists():
        raise InputError(
            f"{path}: no trained encoder here; run notebooks 02 and 03 (or `cdrl run`) first"
        )
    return json.loads(path.read_text())


def load_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Tensors by name out of a .safetensors file that a run wrote, in the precision they have there.

    Raises:
        InputError: missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path}: missing or damaged ({reason}); train the encoders again, notebooks 02 and 03"
        ) from error


def freeze(module: Network) -> Network:
    """Mark a part as frozen: no gradients, always in eval mode, left out of checkpoints.

    It may then be registered in a network that is trained: `train()` of that network leaves it in eval mode, and
    `trained_state` leaves its tensors out.

    Returns:
        The same module.
    """
    module.requires_grad_(False)
    module.eval()
    setattr(module, FROZEN_MARK, True)
    object.__setattr__(module, "train", partial_function(_stay_in_eval_mode, module))
    return module


def _stay_in_eval_mode(module: torch.nn.Module, mode: bool = True) -> torch.nn.Module:
    """What `train` does in a frozen module."""
    return module


def trained_state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state dict of a module without the tensors of the parts in it that `freeze` marked."""
    prefixes = _frozen_prefixes(module)
    state = {}
    for name, value in module.state_dict().items():
        if not name.startswith(prefixes):
            state[name] = value
    return state


def load_trained_state(module: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Load what `trained_state` gave; frozen parts stay as they are.

    Raises:
        InputError: the state has not exactly the tensors of the module's trained parts.
    """
    expected = trained_state(module)
    missing = sorted(expected.keys() - state.keys())
    unknown = sorted(state.keys() - expected.keys())
    differing = []
    for name in expected.keys() & state.keys():
        if expected[name].shape != state[name].shape:
            differing.append(name)
    if missing or unknown or differing:
        raise InputError(
            f"checkpoint of another model: {len(missing)} tensors missing, {len(unknown)} unknown, {len(differing)} of another "
            f"shape, such as {[*missing, *unknown, *sorted(differing)][0]!r}; remove the checkpoint to begin anew"
        )
    module.load_state_dict(state, strict=False)


def _frozen_prefixes(module: torch.nn.Module) -> tuple[str, ...]:
    """The beginnings of the names of all tensors in parts that `freeze` marked."""
    prefixes = []
    for name, part in module.named_modules(remove_duplicate=False):
        if name and getattr(part, FROZEN_MARK, False):
            prefixes.append(f"{name}.")
    return tuple(prefixes)
