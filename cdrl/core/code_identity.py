"""Which code made a result: a sum of the syntax trees of all modules that the work imports.

Docstrings, comments and layout do not count: a better explanation of a loss leaves its results
valid, another sign in it does not. Imports are followed inside of cdrl, and inside of the folder of
a module that a user brings; packages of others are known by their versions.
"""

import ast
import hashlib
import inspect
import json
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from cdrl.core.errors import InputError
from cdrl.core.files import write_json
from cdrl.core.paths import PACKAGE

UNRECORDED = "unrecorded"  # the code of results from before it was recorded
ALSO = "+"  # between the codes that worked on one result, one after the other
SHOWN = 4  # changed modules that a message names
_SUM_DIGITS = 12
_MODULE_DIGITS = 8
_NO_LEVEL = 0
_CACHED_MODULES = 2000  # kept in the file of `_cache_file`
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# Parts of a syntax tree that say nothing or follow from the others.
_SILENT_FIELDS = ("ctx", "kind", "type_comment", "type_ignores")


@dataclass(frozen=True)
class CodeIdentity:
    """What made a result.

    Args:
        sum: 12 hexadecimal digits that differ when any module differs.
        modules: 8 hexadecimal digits of each module, by its name.
    """

    sum: str
    modules: dict[str, str]


@dataclass(frozen=True)
class _Module:
    """What is known of one source.

    Args:
        tree: hexadecimal digits of its syntax tree.
        imports: dotted names that it may import.
    """

    tree: str
    imports: tuple[str, ...]


def code_identity(modules: Sequence[str], extra: Iterable[Any] = ()) -> CodeIdentity:
    """Identify the code of some work: its modules, and all that they import, directly or not.

    Nothing is imported: the sources are read.

    Args:
        modules: names of modules of cdrl, as `cdrl.stages.s02_content`.
        extra: what a user adds, as a loss of one's own: functions, classes, instances, or texts
            "module:name". The modules that they come from count, with what these import of cdrl
            and of their own folder; of what was written in a notebook, its source.

    Returns:
        The sum of all, and the digits of each module.

    Raises:
        InputError: a module that is not there, or something whose source cannot be read.

    Example:
        code_identity(["cdrl.losses.contrastive"], extra=[my_loss]).sum
    """
    sources = dict(_package_sources())
    roots = list(modules)
    found: dict[str, _Module] = {}
    for thing in extra:
        name, text, folder = _source_of(thing)
        if text is None:
            roots.append(name)
            continue
        module = _read_module(text, name)
        found[name] = module
        if folder is not None:
            sources |= _neighbours(folder)
        roots += _known(module.imports, sources)

    unknown = [name for name in roots if name not in sources]
    if unknown:
        raise InputError(
            f"{unknown[0]}: no such module of cdrl; give one as cdrl.losses.contrastive"
        )
    _follow(roots, sources, found)
    _write_cache()

    digits = {name: found[name].tree[:_MODULE_DIGITS] for name in sorted(found)}
    whole = json.dumps([[name, found[name].tree] for name in sorted(found)])
    return CodeIdentity(_digest(whole)[:_SUM_DIGITS], digits)


def join_codes(former: str, present: str) -> str:
    """Return the codes that worked on one result, in order.

    Args:
        former: one sum, or several.
        present: the sum of the code that goes on.

    >>> join_codes("a", "b"), join_codes("a+b", "b")
    ('a+b', 'a+b')
    """
    codes = former.split(ALSO)
    if codes[-1] != present:
        codes.append(present)
    return ALSO.join(codes)


def changed_modules(former: Mapping[str, str], present: Mapping[str, str]) -> list[str]:
    """Return the names of modules that differ, sorted.

    Args:
        former: digits of modules by name, as `CodeIdentity.modules` has them.
        present: the same of the present code.

    >>> changed_modules({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"})
    ['b', 'c']
    """
    names = sorted(former.keys() | present.keys())
    return [name for name in names if former.get(name) != present.get(name)]


def describe_changes(former: Mapping[str, str], present: Mapping[str, str]) -> str:
    """Name the modules that differ, at most four of them.

    Args:
        former: digits of modules by name; empty where none were recorded.
        present: the same of the present code.

    >>> describe_changes({"cdrl.a": "1"}, {"cdrl.a": "2"})
    'changed since: cdrl.a'
    >>> describe_changes({}, {"cdrl.a": "2"})
    'its code was not recorded'
    """
    if not former:
        return "its code was not recorded"
    names = changed_modules(former, present)
    shown = ", ".join(names[:SHOWN])
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"changed since: {shown}{rest}"


# The graph of modules


def _follow(roots: Iterable[str], sources: Mapping[str, Path], found: dict[str, _Module]) -> None:
    """Read the roots and all that they import, and put them into `found`."""
    waiting = [name for name in roots if name not in found]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = _module_of_file(sources[name], name)
        waiting += _known(found[name].imports, sources)


def _known(names: Iterable[str], sources: Mapping[str, Path]) -> list[str]:
    """Return the modules that some dotted names lie in: `cdrl.a.b.function` -> `cdrl.a.b`.

    `cdrl.a:`, of a text, must be a module itself.
    """
    modules = []
    for name in names:
        module = name.removesuffix(":")
        parent = module.rpartition(".")[0]
        if module in sources:
            modules.append(module)
        elif parent in sources and module == name:
            modules.append(parent)
    return modules


def _package_sources() -> dict[str, Path]:
    """Return the file of every module of cdrl by its name."""
    sources = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        sources[".".join(parts)] = path
    return sources


def _neighbours(folder: Path) -> dict[str, Path]:
    """Return the modules that lie in the folder of a user's module, by name."""
    return {path.stem: path for path in folder.glob("*.py") if path.stem.isidentifier()}


def _module_of_file(path: Path, name: str) -> _Module:
    """Read a module; a file that was not written since is not read again."""
    status = path.stat()
    return _read_file(path, name, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _read_file(path: Path, name: str, *_version: int) -> _Module:
    return _read_module(path.read_text(encoding="utf-8"), name)


def _read_module(text: str, name: str) -> _Module:
    """Return the tree's digits and the imports of a source, from the cache where it has them."""
    key = _digest(f"{name}\n{text}")
    known = _cache().get(key)
    if known is not None:
        return known
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise InputError(f"{name}: its source is no Python ({error}); mend it") from None
    parts: list[str] = []
    _describe(tree, parts.append)
    module = _Module(_digest(" ".join(parts)), tuple(sorted(_imports(tree, name))))
    _cache()[key] = module
    _new_keys.add(key)
    return module


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# One syntax tree


def _describe(value: Any, write: Any) -> None:
    """Write a syntax tree as words that are the same in every version of Python."""
    if isinstance(value, ast.Constant):
        write(f"{type(value.value).__name__} {value.value!r}")
    elif isinstance(value, ast.AST):
        write(f"({type(value).__name__}")
        for name, child in ast.iter_fields(value):
            if name == "body" and isinstance(value, _WITH_DOCSTRING):
                child = _without_docstring(child)
            if child is None or child == [] or name in _SILENT_FIELDS:
                continue
            write(name)
            _describe(child, write)
        write(")")
    elif isinstance(value, list):
        write("[")
        for child in value:
            _describe(child, write)
        write("]")
    else:
        write(repr(value))


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    """Return the statements of a body without the text that explains it."""
    if not body or not isinstance(body[0], ast.Expr):
        return body
    first = body[0].value
    is_text = isinstance(first, ast.Constant) and isinstance(first.value, str)
    return body[1:] if is_text else body


def _imports(tree: ast.AST, name: str) -> set[str]:
    """Return the dotted names that a tree imports; what only types need is left out.

    A text that has a module's form, "cdrl.studio.espeak_worker", counts too: processes are started
    by such texts.
    """
    names: set[str] = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, name)
            names |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant):
            names |= _module_names(node.value)
        waiting += ast.iter_child_nodes(node)
    return names


def _base(node: ast.ImportFrom, name: str) -> str:
    """Return the module that `from ... import` names; dots count from the module's own package."""
    if node.level == _NO_LEVEL:
        return node.module or ""
    package = name.split(".")[: -node.level]
    return ".".join([*package, *filter(None, [node.module])])


def _module_names(value: Any) -> set[str]:
    """Return the module that a text names, `cdrl.a` or `cdrl.a:function`, as `cdrl.a:`."""
    if not isinstance(value, str) or not value.startswith("cdrl.") or " " in value:
        return set()
    return {f"{value.partition(':')[0]}:"}


# What users add


def _source_of(thing: Any) -> tuple[str, str | None, Path | None]:
    """Return the name of a thing's module, its source, and the folder where its imports lie.

    The source is None for a module of cdrl.
    """
    if isinstance(thing, str):
        return _source_of_name(thing)
    if isinstance(thing, partial):
        return _source_of(thing.func)
    definition = thing
    if not (inspect.isroutine(thing) or inspect.isclass(thing) or inspect.ismodule(thing)):
        definition = type(thing)
    module = inspect.getmodule(definition)
    name = getattr(module, "__name__", "")
    if name == "cdrl" or name.startswith("cdrl."):
        return name, None, None
    try:
        path = Path(inspect.getsourcefile(definition) or "")
        if path.suffix == ".py" and path.is_file():
            return name, path.read_text(encoding="utf-8"), path.parent
        text = textwrap.dedent(source_text(definition))
    except (TypeError, OSError, ValueError):
        shown = getattr(definition, "__qualname__", repr(definition))
        raise InputError(
            f"{shown}: its source cannot be read, so a change of it could not be noticed; "
            "put it into a module, a file NAME.py"
        ) from None
    return f"{name}.{definition.__qualname__}", text, None


def source_text(definition: Any) -> str:
    """Return the source of a function or class, from its file or its notebook's cell.

    Args:
        definition: the function or class.

    Raises:
        OSError: it has none. Code of `exec` is called "<string>", and so is that of `python -c`:
            since Python 3.13 the text of the latter would be taken for that of the former.
        TypeError: it is part of Python itself.
    """
    if inspect.getsourcefile(definition) == "<string>":
        raise OSError("it was made by exec, or typed after python -c")
    return inspect.getsource(definition)


def _source_of_name(text: str) -> tuple[str, str | None, Path | None]:
    """Find the source of "module:name" without importing it."""
    module = text.partition(":")[0]
    if module == "cdrl" or module.startswith("cdrl."):
        return module, None, None
    path: Path | None = None
    search: list[str] | None = None
    for part in module.split("."):
        spec = PathFinder.find_spec(part, search)
        if spec is None and search is None:
            spec = PathFinder.find_spec(part, [str(Path.cwd())])
        if spec is None:
            raise InputError(f"{text}: Python finds no module {module}; give module:name of a file")
        search = list(spec.submodule_search_locations or [])
        path = Path(spec.origin) if spec.origin else None
    if path is None or path.suffix != ".py":
        raise InputError(
            f"{text}: {module} has no source in Python; give module:name of a .py file"
        )
    return module, path.read_text(encoding="utf-8"), path.parent


# Trees that were read before, by the sum of their source

_new_keys: set[str] = set()


def _cache_file() -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "cdrl" / "code.json"


@lru_cache(maxsize=1)
def _cache() -> dict[str, _Module]:
    """Read the file of trees that were read before; what is damaged in it is read again."""
    cache = {}
    with suppress(OSError, ValueError, RuntimeError, TypeError, AttributeError, RecursionError):
        entries = json.loads(_cache_file().read_text())
        for key, (tree, imports) in entries.items():
            cache[str(key)] = _Module(str(tree), tuple(map(str, imports)))
    return cache


def _write_cache() -> None:
    """Keep the trees that were new; where nothing can be written they are read every time."""
    if not _new_keys:
        return
    _new_keys.clear()
    kept = list(_cache().items())[-_CACHED_MODULES:]
    entries = {key: [module.tree, module.imports] for key, module in kept}
    with suppress(OSError, RuntimeError, InputError):
        write_json(_cache_file(), entries)
