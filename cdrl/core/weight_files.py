"""Files of weights: read without executing anything in them, known by their sha256."""

import hashlib
import re
import sys
import zipfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from cdrl.core.errors import InputError
from cdrl.core.files import damaged, read_json, write_json

Network = TypeVar("Network", bound=torch.nn.Module)
State = dict[str, torch.Tensor]
# Hexadecimal digits at the end of a file's name, `resnet34-b627a593.pt`; digits alone are a date.
_DIGEST_IN_NAME = re.compile(r"-(?=[0-9]*[a-f])([0-9a-f]{8,64})$")


def read_state(path: Path) -> State:
    """Read tensors by name from a .safetensors, .pth, .pt or .bin file; nothing is executed.

    Returns:
        Name -> tensor on the CPU, floats in single precision, without a `state_dict` around them
        or `module.` before their names. Tensors of a .pth are mapped into memory where possible.

    Raises:
        InputError: missing, damaged, or holding anything else than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file of weights")
    content = _read_file(path)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not _is_state(content):
        raise InputError(
            f"{path}: not a state dict; a .safetensors or a .pth of tensors by name is needed"
        )
    state = {}
    for name, value in content.items():
        name = name.removeprefix("module.")
        state[name] = value.float() if value.is_floating_point() else value
    return state


def _read_file(path: Path) -> Any:
    """Read what a file of weights holds.

    Raises:
        InputError: damaged, or not readable without executing something.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if _is_torchscript(path):
            raise ValueError("TorchScript")
        can_be_mapped = zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=can_be_mapped)
    except SafetensorError as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from None
    except Exception as error:  # the readers of damaged files raise errors of every kind
        reason = _why_unreadable(error)
        raise InputError(
            f"{path}: {reason}; a .safetensors or a .pth of tensors alone is needed"
        ) from None


def _is_state(content: Any) -> bool:
    """Tell whether something is a mapping of names to tensors that is not empty."""
    if not isinstance(content, dict) or not content:
        return False
    return all(isinstance(value, torch.Tensor) for value in content.values())


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _why_unreadable(error: Exception) -> str:
    """Say in a few words why a file of weights could not be read."""
    message = str(error)
    if "TorchScript" in message:
        return "a TorchScript archive, which holds code and is not opened"
    if type(error).__name__ == "UnpicklingError":
        return "holds more than tensors, or is damaged; nothing in it was executed"
    first_line = message.partition("\n")[0]
    return f"cannot be read, perhaps cut short ({first_line[:120]})"


def fill(
    model: Network, state: State, path: Path, assign: bool = False, remedy: str = ""
) -> Network:
    """Put a state dict into a model.

    Args:
        model: to fill.
        state: tensors by name.
        path: file of the state dict, for the message.
        assign: take the tensors themselves instead of copies, for a model on the meta device.
        remedy: end of the message.

    Returns:
        The model, frozen, in eval mode.

    Raises:
        InputError: the state dict of another architecture, says which key or shape differs; or
            values that no network computes with.
    """
    check_values(path, model.state_dict(), state)
    try:
        model.load_state_dict(state, assign=assign)
    except RuntimeError as error:
        message = str(error)
        reason = message.splitlines()[1].strip() if "\n" in message else message
        raise InputError(f"{path}: weights of another model ({reason[:200]}){remedy}") from None
    return model.eval().requires_grad_(False)


def check_values(path: Path, expected: State, state: State) -> None:
    """Refuse weights that no network computes with.

    Args:
        path: file of the weights, for the message.
        expected: tensors by name, as the network has them.
        state: tensors by name; those that the network has not are not looked at.

    Raises:
        InputError: integers where the network has floats (they would be cast in silence), a NaN or
            an infinite value; names the file and the first such tensor.
    """
    needed = {name: state[name] for name in expected if name in state}
    for name, value in needed.items():
        if expected[name].is_floating_point() and not value.is_floating_point():
            kind = str(value.dtype).removeprefix("torch.")
            raise InputError(
                f"{path}: {name!r} holds {kind} numbers, floating ones are needed; it is damaged "
                "or quantised, get the weights in floating point"
            )
    check_finite(path, needed)


def check_finite(path: Path, state: State) -> None:
    """Refuse tensors with a NaN or an infinite value.

    Args:
        path: file of the tensors, for the message.
        state: tensors by name.

    Raises:
        InputError: names the file and the first such tensor.
    """
    for name, value in state.items():
        if not value.is_floating_point():
            continue
        if not bool(torch.isfinite(value).all()):
            raise InputError(
                f"{path}: {name!r} holds a NaN or an infinite value, finite ones are needed; the "
                "file is damaged or its training diverged, get it or train it again"
            )


def verify(path: Path) -> str:
    """Compute the sha256 of a file that somebody else made, and check it.

    It is compared with all that is known: a card (NAME.json, or NAME.EXT.json, with `sha256`) and
    digits that publishers put at the end of a name (`NAME-46683a32.pt`). Where nothing is known,
    the sha256 is recorded in NAME.EXT.json, which is said in a line, and checked from then on.

    Raises:
        InputError: no such file, one that is not what its name, its card or the record says, or a
            record that holds no sum any more.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file of weights")
    digest = checksum(path)
    _check_name(path, digest)
    record = path.with_name(f"{path.name}.json")
    is_known = False
    for card in (path.with_suffix(".json"), record):
        expected = _recorded_sum(card) if card.exists() else ""
        if expected:
            _check_card(path, digest, card, expected)
            is_known = True
    if is_known:
        return digest
    if record.exists():
        raise InputError(
            f"{record}: the sha256 of {path.name} is gone from it, so a change of the file could "
            f"not be noticed; get the file again and remove {record.name}, then the sum is "
            "recorded anew"
        )

    entry = {
        "sha256": digest,
        "bytes": path.stat().st_size,
        "known_from": "the first use of this file here",
    }
    with suppress(OSError):  # a folder that may only be read keeps no record
        write_json(record, entry)
    print(
        f"{path}: no sum of it was known, its sha256 {digest[:12]} counts from now on; if it was "
        "used here before, its record has disappeared",
        file=sys.stderr,
        flush=True,
    )
    return digest


def _recorded_sum(card: Path) -> str:
    """Return the sha256 that a card or a record has; empty where it has none."""
    remedy = f"get the file and {card.name} again, or remove {card.name} if the change was meant"
    expected = read_json(card, dict, remedy=remedy).get("sha256") or ""
    if not isinstance(expected, str):
        raise damaged(card, "its sha256 is no text", remedy)
    return expected


def _check_name(path: Path, digest: str) -> None:
    match = _DIGEST_IN_NAME.search(path.stem)
    if match is None:
        return
    expected = match[1]
    if not digest.startswith(expected):
        raise InputError(
            f"{path}: its sha256 begins with {digest[:12]}, its name says {expected[:12]}; "
            "it is damaged or of another version, get it again"
        )


def _check_card(path: Path, digest: str, card: Path, expected: str) -> None:
    if expected != digest:
        raise InputError(
            f"{path}: its sha256 begins with {digest[:12]}, {card.name} says {expected[:12]}; "
            "it is damaged or of another version, get it again "
            f"(or remove {card.name}, if the change was meant)"
        )


def checksum(path: Path) -> str:
    """Compute the sha256 of a file: 64 hexadecimal digits.

    A file of the same size and time is not read twice.
    """
    path = Path(path)
    status = path.stat()
    return _sha256(path, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, *_version: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
