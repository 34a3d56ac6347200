"""Weights on disk: a safetensors file and, beside it, a card that says what it is and how to make it again."""

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from cdrl.config import data_root
from cdrl.errors import InputError


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
    state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    partial = path.with_suffix(".partial")
    save_file(state, partial)
    card = {**card, "parameters": sum(v.numel() for v in state.values()), "sha256": _sha256(partial)}
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
        raise InputError(f"{path}: the card of these weights is missing; it must lie beside the .safetensors file")
    return json.loads(path.read_text())


def load_weights(name: str, model: torch.nn.Module) -> torch.nn.Module:
    """Fill `model` with the weights called `name`, in single precision, frozen and in eval mode.

    Raises:
        InputError: not a safetensors file, a checksum that differs from the card, or another architecture.
    """
    path = weights_path(name)
    card = load_card(name)
    if card.get("sha256") not in (None, _sha256(path)):
        raise InputError(f"{path}: checksum differs from its card; the file is damaged or of another version")
    try:
        state = {key: v.float() if v.is_floating_point() else v for key, v in load_file(path).items()}
    except SafetensorError as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from None
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise InputError(f"{path}: weights of another model ({reason})") from None
    return model.eval().requires_grad_(False)


def _sha256(path: Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
