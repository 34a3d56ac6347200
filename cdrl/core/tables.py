"""Tables on disk: Parquet that the kit reads again, CSV that people open in a spreadsheet."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from cdrl.core.errors import InputError, printable
from cdrl.core.files import REMEDY, atomic_path, damaged, first_line

# A spreadsheet takes a cell that begins so for a formula, and runs it.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def read_table(path: Path | str, columns: Iterable[str] = (), remedy: str = REMEDY) -> pd.DataFrame:
    """Read a table from a .parquet file.

    Args:
        path: the file.
        columns: those that it must have.
        remedy: end of the message.

    Raises:
        InputError: for a file that is missing or damaged, or lacks a column.
    """
    try:
        table = pd.read_parquet(path)
    except Exception as error:  # damaged files raise errors of every kind
        raise damaged(path, first_line(error), remedy) from None
    missing = [name for name in columns if name not in table]
    if missing:
        raise damaged(path, f"it has no column {', '.join(missing)}", remedy)
    return table


def check_whole_numbers(
    path: Path | str, table: pd.DataFrame, columns: Iterable[str], remedy: str = REMEDY
) -> None:
    """Refuse a table with a column that should hold whole numbers from 0 and does not.

    Args:
        path: file of the table, for the message.
        table: that was read.
        columns: to look at.
        remedy: end of the message.

    Raises:
        InputError: names the file and the first such column.
    """
    for name in columns:
        values = table[name]
        if not pd.api.types.is_integer_dtype(values) or bool((values < 0).any()):
            raise damaged(path, f"its {name} are not whole numbers from 0", remedy)


def write_csv(path: Path | str, table: pd.DataFrame) -> None:
    """Write a CSV for people, whole or not at all; no text in it becomes a formula.

    Args:
        path: the file.
        table: its index is left out.
    """
    with atomic_path(path) as temporary:
        spreadsheet_safe(table).to_csv(temporary, index=False)


def spreadsheet_safe(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose texts a spreadsheet takes for texts and not for formulas.

    Args:
        table: for a CSV that people open.

    Returns:
        A copy; texts that begin with = + - @, a tab or a line break have an apostrophe before them.
        Numbers stay, those in texts too.
    """
    safe = table.map(_safe_cell)
    return safe.set_axis([_safe_cell(name) for name in table.columns], axis=1)


def _safe_cell(value: Any) -> Any:
    is_formula = isinstance(value, str) and value.startswith(FORMULA_STARTS)
    return f"'{value}" if is_formula and not _is_number(value) else value


def _is_number(text: str) -> bool:
    """Whether a text is a plain number, as -0.5: what a spreadsheet may read as one."""
    return text.isascii() and text.lstrip("+-").replace(".", "", 1).isdigit()


def refuse_other_encoding(path: Path | str, name: str) -> None:
    """Refuse a path whose name is not UTF-8: tables and JSON cannot hold it.

    Args:
        path: a file or a folder of the user.
        name: what it is, as `--out`.

    Raises:
        InputError: with the path, its odd bytes written as escapes.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            f"{name} {printable(str(path))}: its name is not UTF-8, and no table can hold it; "
            "rename the folder, or reach it by a link with another name"
        ) from None
