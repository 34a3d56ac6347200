"""Code of the user in place of the kit's: losses, encoders and an editor, given by settings.

A setting such as `content.loss` takes `module:name`, or the object itself in a notebook. `allow`
imports the module, checks the object and remembers it under its name. Nothing else imports code by
a name: a card, a checkpoint or results name an object at most, and `given` finds it only among
those that the user gave to this process, or to the one that started it (CDRL_OWN_CODE).
"""

import hashlib
import importlib
import inspect
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from cdrl.core.code_identity import code_identity, source_text
from cdrl.core.errors import InputError

NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
NOTEBOOK = "__main__"  # the module of what a notebook's cells define
DIGITS = 12  # hexadecimal digits of an identity
PLAIN = (bool, int, float, str, tuple)  # values that a function may take from its module
# Environment variable: SETTING=MODULE:NAME of what the user gave, with commas between them.
VARIABLE = "CDRL_OWN_CODE"
GUIDE = "docs/guides/own_loss.md"


@dataclass(frozen=True)
class Interface:
    """How the kit uses an object of the user.

    Attributes:
        call: names of the arguments that it is called with, in order.
        build: names of the keyword arguments that its class is built with. None: a function, or a
            class that is built with nothing.
    """

    call: tuple[str, ...]
    build: tuple[str, ...] | None = None


# Setting -> what its object has to take.
INTERFACES = {
    "content.loss": Interface(("anchor", "candidates", "positive", "temperature", "valid")),
    "content.encoder": Interface(
        ("face", "mouth", "audio"), ("face", "mouth", "audio", "window", "embedding")
    ),
    "emotion.loss": Interface(("embedding", "labels", "temperature")),
    "emotion.encoder": Interface(("features",), ("features", "embedding", "window")),
    "generator.editor": Interface(("frames", "weights", "intensity", "selection"), ("card",)),
}

# Setting -> names of the kit's own objects that it takes beside `module:name`.
KIT_NAMES = {"generator.editor": ("actions", "image")}

_GIVEN: dict[str, Any] = {}  # name -> the object that this process was given


def allow(setting: str, value: Any) -> str:
    """Take an object of the user, check it, and return its name.

    Args:
        setting: a name in `INTERFACES`.
        value: `module:name`, which is imported, or a function or class.

    Returns:
        `module:name`, under which `given` finds it.

    Raises:
        InputError: the module cannot be imported, or has no such object; the object cannot be
            called as the interface says, or has no source code.
    """
    if isinstance(value, str):
        name = value
        target = _import_object(setting, name)
    else:
        target = value
        name = _name_of(setting, target)
    _check_signature(setting, name, target)
    _read_source(setting, name, target)
    _GIVEN[name] = target
    if target.__module__ != NOTEBOOK:
        _tell_processes(f"{setting}={name}")
    return name


def given(setting: str, name: str) -> Any:
    """Return the object of a name that this process was given before.

    Args:
        setting: what the object is for, as the message calls it.
        name: `module:name`.

    Raises:
        InputError: it was not given; what a file names is never imported.
    """
    if name not in _GIVEN and f"{setting}={name}" in _inherited_entries():
        allow(setting, name)
    if name not in _GIVEN:
        raise InputError(
            f"{setting}={name}: this code is named in a file, and code is imported only from your "
            f"own settings: give it again, as in --set {setting}={name}, or for any command "
            f"{VARIABLE}={setting}={name}"
        )
    return _GIVEN[name]


def _inherited_entries() -> list[str]:
    """Return what the process that started this one was given."""
    return [entry for entry in os.environ.get(VARIABLE, "").split(",") if entry]


def _tell_processes(entry: str) -> None:
    """Let processes that are started later take the same code."""
    inherited = _inherited_entries()
    if entry not in inherited:
        os.environ[VARIABLE] = ",".join([*inherited, entry])


def identity(name: str) -> str:
    """Return the name of an allowed object with a hash of its source code.

    Args:
        name: `module:name`; one that this process was not given has no hash.

    Returns:
        Such as "mine:loss 1f0c6b7a2d90"; another hash where the code is another.
    """
    if name not in _GIVEN:
        return name
    source = _read_source("", name, _GIVEN[name])
    digest = hashlib.sha256(source.encode()).hexdigest()
    return f"{name} {digest[:DIGITS]}"


def is_own(name: str) -> bool:
    """Whether the value of a setting names code of the user.

    >>> is_own("mine:loss"), is_own("image"), is_own("")
    (True, False, False)
    """
    return NAME.fullmatch(name) is not None


def check_name(text: str) -> str:
    """Accept `module:name`, or nothing for the kit's own.

    Raises:
        ValueError: any other text.
    """
    if text and not NAME.fullmatch(text):
        raise ValueError("module:name")
    return text


# Import


def _import_object(setting: str, name: str) -> Any:
    """Import `module:name`; a module of the working directory is found too."""
    if not NAME.fullmatch(name):
        raise InputError(
            f"{setting}={name}: module:name is needed, as in {setting}=mine:my_code for my_code of "
            f"mine.py; see {GUIDE}"
        )
    module_name, _, attribute = name.partition(":")
    module = _import_module(setting, name, module_name)
    if not hasattr(module, attribute):
        public = [each for each in vars(module) if not each.startswith("_")]
        raise InputError(
            f"{setting}={name}: {_place(module)} has no {attribute}; it has "
            f"{', '.join(public[:12]) or 'nothing'}"
        )
    return getattr(module, attribute)


def _import_module(setting: str, name: str, module_name: str) -> ModuleType:
    """Import a module, at last from the working directory.

    Processes that are started later find it there as well, by PYTHONPATH.
    """
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name.partition(".")[0]:
            raise _import_error(setting, name, error) from error
    except Exception as error:  # the user's own code fails in any way
        raise _import_error(setting, name, error) from error

    folder = str(Path.cwd())
    importlib.invalidate_caches()
    sys.path.append(folder)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the user's own code fails in any way
        sys.path.remove(folder)
        raise _import_error(setting, name, error) from error
    folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if folder not in folders:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [*folders, folder]))
    return module


def _import_error(setting: str, name: str, error: Exception) -> InputError:
    module_name = name.partition(":")[0]
    reason = _first_line(error)
    return InputError(
        f"{setting}={name}: importing {module_name} fails ({type(error).__name__}: {reason}); run "
        f"in the folder of {module_name.partition('.')[0]}.py, or install it"
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no message"


def _place(module: ModuleType) -> str:
    """Return the file of a module, or its name."""
    return getattr(module, "__file__", None) or module.__name__


def _name_of(setting: str, target: Any) -> str:
    """Return `module:name` of a function or class."""
    attribute = getattr(target, "__qualname__", "")
    attribute = attribute.rpartition(".")[2]
    is_definition = inspect.isclass(target) or inspect.isfunction(target)
    if not is_definition or not attribute.isidentifier():
        raise InputError(
            f"{setting}={target!r:.80}: a function or a class is needed, as in "
            f"def my_code(...); wrap an object that is already built in a function; see {GUIDE}"
        )
    return f"{target.__module__}:{attribute}"


# Checks


def _check_signature(setting: str, name: str, target: Any) -> None:
    """Refuse what cannot be built and called as the interface of its setting says."""
    interface = INTERFACES[setting]
    if not callable(target):
        raise InputError(
            f"{setting}={name}: a {type(target).__name__} cannot be called; a function or a class "
            f"is needed, see {GUIDE}"
        )
    if interface.build is None and not inspect.isclass(target):
        _check_binds(setting, name, target, interface.call)
        return
    keywords = dict.fromkeys(interface.build or ())
    _check_builds(setting, name, target, keywords)
    if inspect.isclass(target):
        _check_binds(setting, name, _called_method(target), ("self", *interface.call))


def _called_method(target: type) -> Any:
    """Return what runs when an object of a class is called: `forward` of a network."""
    return getattr(target, "forward", None) or target.__call__


def _check_binds(setting: str, name: str, function: Any, arguments: tuple[str, ...]) -> None:
    signature = _signature(function)
    if signature is None:
        return
    try:
        signature.bind(*arguments)
    except TypeError:
        expected = ", ".join(argument for argument in arguments if argument != "self")
        raise InputError(
            f"{setting}={name}: it takes {signature}, and is called with ({expected}); see {GUIDE}"
        ) from None


def _check_builds(setting: str, name: str, target: Any, keywords: dict[str, None]) -> None:
    signature = _signature(target)
    if signature is None:
        return
    try:
        signature.bind(**keywords)
    except TypeError:
        expected = ", ".join(f"{keyword}=" for keyword in keywords)
        raise InputError(
            f"{setting}={name}: it takes {signature}, and is built with ({expected}); see {GUIDE}"
        ) from None


def _signature(function: Any) -> inspect.Signature | None:
    """Return a signature; None for code that does not tell."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


# Source code


def _read_source(setting: str, name: str, target: Any) -> str:
    """Return a text that differs where the code of an object differs.

    An imported object counts with its file and what that imports of its own folder; an object of a
    notebook with the functions, classes and plain values of other cells that it uses.
    """
    if target.__module__ != NOTEBOOK:
        modules = code_identity([], [name]).modules
        own_modules = {key: tree for key, tree in modules.items() if not key.startswith("cdrl.")}
        return json.dumps(own_modules, sort_keys=True)
    try:
        return "\n".join(_definitions(target, {}).values())
    except (OSError, TypeError) as error:
        raise InputError(
            f"{setting}={name}: its source code cannot be read, and it is part of what names a "
            f"result ({_first_line(error)}); define it in a file or in a notebook's cell"
        ) from error


def _definitions(target: Any, found: dict[str, str]) -> dict[str, str]:
    """Collect the sources of a definition of a notebook and of what it uses there."""
    name = target.__qualname__
    if name in found:
        return found
    functions = _functions_of(target)
    parts = [source_text(function) for function in functions]
    if inspect.isclass(target):
        parts += _class_values(target)
    found[name] = "\n".join(parts)

    used_values = dict(_used_values(functions))
    if inspect.isclass(target):
        used_values |= {base.__name__: base for base in target.__bases__}
    for used, value in used_values.items():
        if isinstance(value, PLAIN):
            found[used] = f"{used} = {value!r}"
        elif getattr(value, "__module__", "") == NOTEBOOK and hasattr(value, "__qualname__"):
            _definitions(value, found)
    return found


def _class_values(target: type) -> list[str]:
    """Return the bases of a class and its plain values, as text."""
    texts = [f"bases {[base.__qualname__ for base in target.__bases__]}"]
    for name, value in vars(target).items():
        if isinstance(value, PLAIN) and not name.startswith("__"):
            texts.append(f"{name} = {value!r}")
    return texts


def _used_values(functions: list[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the global names that functions use, with their values."""
    for function in functions:
        for name in _used_names(function.__code__):
            if name in function.__globals__:
                yield name, function.__globals__[name]


def _functions_of(target: Any) -> list[FunctionType]:
    """Return a function itself, or the methods of a class.

    `inspect.getsource` does not find a class of a notebook, but it finds its methods.
    """
    if inspect.isfunction(target):
        return [target]
    functions: list[FunctionType] = []
    for member in vars(target).values():
        member = getattr(member, "__func__", member)
        if inspect.isfunction(member):
            functions.append(member)
    if not functions:
        raise TypeError("no function of it is written in Python")
    return functions


def _used_names(code: CodeType) -> list[str]:
    """Return the global names in a function and in the functions inside it, in order."""
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names += _used_names(constant)
    return names
