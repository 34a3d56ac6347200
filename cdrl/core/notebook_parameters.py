"""The `parameters` cell of a notebook: what it declares, and what papermill or a user put over it.

Nothing heavy is imported: commands ask this before anything else.
"""

import ast
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdrl.core.errors import InputError
from cdrl.core.settings import STAGES, check_known, stage_config

INJECTED = "# Parameters"  # the first line of the cell that papermill adds
# Annotation -> the types of values that it takes.
KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "dict": (dict,),
    "list": (list,),
}
BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a notebook.

    Attributes:
        name: of the parameter.
        kind: its annotation, as in "int".
        default: its value in the notebook, as it is written there.
    """

    name: str
    kind: str
    default: str


def declared_parameters(path: Path) -> dict[str, Parameter]:
    """What the cell of a notebook that is tagged `parameters` declares.

    Args:
        path: of the notebook.

    Returns:
        {name: parameter}, in order.

    Raises:
        InputError: a file that is no notebook.
    """
    try:
        cells = json.loads(path.read_text())["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is no notebook ({error}): git checkout notebooks") from None
    declared: dict[str, Parameter] = {}
    for cell in cells:
        if "parameters" in cell["metadata"].get("tags", ()):
            declared |= annotated_values("".join(cell["source"]))
    return declared


def annotated_values(source: str) -> dict[str, Parameter]:
    """The annotated assignments of a cell.

    Args:
        source: of the cell.

    >>> annotated_values("seed: int = 3")["seed"].kind
    'int'
    """
    values = {}
    for statement in ast.parse(source).body:
        if not isinstance(statement, ast.AnnAssign) or statement.value is None:
            continue
        if isinstance(statement.target, ast.Name):
            name = statement.target.id
            kind = ast.unparse(statement.annotation)
            values[name] = Parameter(name, kind, ast.unparse(statement.value))
    return values


def read_parameter(parameter: Parameter, text: str) -> Any:
    """Read the text of a value as the type that the notebook annotates.

    Args:
        parameter: of the notebook.
        text: as it was typed.

    Raises:
        InputError: for a text of another type.
    """
    try:
        if parameter.kind == "str":
            return text
        if parameter.kind == "bool":
            return BOOLEANS[text.lower()]
        if parameter.kind in ("int", "float"):
            return _finite({"int": int, "float": float}[parameter.kind](text))
        value = json.loads(text)
    except (KeyError, ValueError, RecursionError):
        raise _wrong_type(parameter, text) from None
    _check_kind(parameter, value)
    return value


def _finite(number: float) -> float:
    """Refuse NaN and infinity."""
    if not abs(number) < float("inf"):
        raise ValueError(number)
    return number


def _check_kind(parameter: Parameter, value: Any) -> None:
    """Refuse a value of another type than the notebook annotates."""
    kinds = KINDS.get(parameter.kind.partition("[")[0])
    if kinds is None:
        return
    is_wrong_bool = isinstance(value, bool) and bool not in kinds
    is_finite = not isinstance(value, float) or math.isfinite(value)
    if is_wrong_bool or not is_finite or not isinstance(value, kinds):
        raise _wrong_type(parameter, value)


def _wrong_type(parameter: Parameter, value: Any) -> InputError:
    example = f"{parameter.name}={parameter.default}"
    return InputError(f"{parameter.name}={value}: {parameter.kind} is needed, as in {example}")


def check_parameters(preset: str, settings: Mapping[str, Any]) -> None:
    """In the first cell of a notebook: refuse what it, or a later notebook, could not use.

    Asked are all settings of all stages; and, where papermill added a cell of parameters, their
    names and types. Papermill itself takes any name and goes on with the defaults.

    Args:
        preset: name of the preset.
        settings: by `stage.field` or `field`.

    Raises:
        InputError: with the names that exist and the nearest one, or with what is accepted.
    """
    _check_cells(_executed_cells())
    if not isinstance(settings, Mapping):
        raise InputError(
            f"settings={settings}: names and values are needed, as in "
            'settings={"content.steps": 200}'
        )
    for stage in STAGES:
        stage_config(stage, preset, settings)


def _executed_cells() -> Sequence[str]:
    """The sources of the cells that this notebook executed so far; none outside a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell.user_ns.get("In", []) if shell is not None else []


def _check_cells(cells: Sequence[str]) -> None:
    """Compare the last cell that papermill added with the cell of parameters before it."""
    declared: dict[str, Parameter] = {}
    injected = ""
    for cell in cells:
        if cell.lstrip().startswith(INJECTED):
            injected = cell
        elif "run_folder:" in cell:
            declared = annotated_values(cell)
            injected = ""
    if not (declared and injected):
        return
    for name, value in _assigned_values(injected).items():
        check_known("parameter", name, declared)
        _check_kind(declared[name], value)


def _assigned_values(source: str) -> dict[str, Any]:
    """The values that a cell of papermill's assigns."""
    values = {}
    for statement in ast.parse(source).body:
        if not isinstance(statement, ast.Assign):
            continue
        for target in statement.targets:
            if isinstance(target, ast.Name):
                values[target.id] = _literal(statement.value)
    return values


def _literal(node: ast.expr) -> Any:
    """A value that is written out; papermill writes float("nan") as a call."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return float("nan")
