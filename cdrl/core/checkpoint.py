"""Weights on disk: a safetensors file and, beside it, a card that says what it is and how to make it again.

Files that somebody else made are read by `read_state`, so that nothing in them is executed, and known by their sha256.
"""

import hashlib
import json
import os
import re
import zipfile
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from cdrl.core.errors import InputError
from cdrl.core.files import read_json, write_json
from cdrl.core.paths import data_root


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
    return fill(model, present_names(read_state(path)), path)


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


def fill(model: torch.nn.Module, state: dict, path: Path, assign: bool = False) -> torch.nn.Module:
    """Put a state dict into a model, frozen, in eval mode.

    Args:
        path: where it came from, for the message. assign: take the tensors themselves, for a model on the meta device.

    Raises:
        InputError: the state dict of another architecture, naming the first key or shape that differs.
    """
    try:
        model.load_state_dict(state, assign=assign)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise InputError(f"{path}: weights of another model ({reason[:200]})") from None
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
