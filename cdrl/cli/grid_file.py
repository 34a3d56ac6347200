"""The file of `cdrl grid`: read and checked, nothing runs and nothing heavy is imported.

GRID.yaml says what stays and what varies:

    preset: smoke                        # default: cpu
    notebooks: [0, 1, 2]                 # default: all; from 00 on and without a gap
    settings: {content.steps: 100}       # of every run
    grid:                                # every combination
      content.emotion_weight: [0, 0.2]
      content.seed: [0, 1, 2]
    rows:                                # each with every combination
      - {content.alignment: prior}
      - {content.alignment: linear}
    scores: [content.swap_image]         # for the figures; wildcards; default: the main ones
"""

import hashlib
import json
import math
import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from cdrl.cli.options import absolute_places, relative_to_root
from cdrl.cli.planning import notebook_paths, plan_notebooks
from cdrl.core.errors import InputError
from cdrl.core.paths import run_path
from cdrl.core.presets import PRESETS

# Keys of GRID.yaml: their types, and these in words.
KEYS = {
    "preset": (str, "a text"),
    "notebooks": (list, "a list"),
    "settings": (dict, "names and values"),
    "grid": (dict, "names and values"),
    "rows": (list, "a list"),
    "scores": (list, "a list"),
}
LONGEST_NAME = 100  # characters of a run's folder
LARGEST_FILE = 1_000_000  # bytes
MOST_RUNS = 10_000


@dataclass(frozen=True)
class Grid:
    """The content of GRID.yaml.

    Attributes:
        preset: a name in `PRESETS`.
        notebooks: their paths, in order.
        rows: {run's name: its settings, as texts}.
        varied: names of the settings that differ between rows.
        scores: patterns of the scores to draw.
    """

    preset: str
    notebooks: list[Path]
    rows: dict[str, dict[str, str]]
    varied: list[str]
    scores: list[str]


def read_grid(path: Path | str, folder: Path | str | None = None) -> Grid:
    """Read a grid's file; nothing runs.

    Args:
        path: the YAML file.
        folder: of the notebooks; None for the clone's.

    Raises:
        InputError: for a file that is missing or no such table, an unknown key, a notebook that is
            not there, or two rows that say the same.
    """
    content = _read_yaml(Path(path))
    preset = content.get("preset", "cpu")
    if preset not in PRESETS:
        raise InputError(f"{path}: preset {preset!r}: accepted are {', '.join(PRESETS)}")

    table = _combine(path, content.get("rows", [{}]), content.get("grid", {}))
    shared_settings = content.get("settings", {})
    rows: dict[str, dict[str, str]] = {}
    varied: dict[str, None] = {}  # an ordered set
    for row in table:
        name = _run_name(row)
        if name in rows:
            raise InputError(f"{path}: two rows are the same, {name}: remove one")
        rows[name] = {}
        for key, value in {**shared_settings, **row}.items():
            rows[name][key] = _setting_text(path, key, value)
        varied |= dict.fromkeys(row)

    notebooks = _select_notebooks(path, content.get("notebooks"), notebook_paths(folder))
    scores = content.get("scores", [])
    for pattern in scores:
        if not isinstance(pattern, str):
            raise InputError(
                f"{path}: scores: {pattern!r:.60}: names of scores are needed, as in "
                "scores: [content.swap_image]"
            )
    return Grid(preset, notebooks, rows, list(varied), scores)


def _combine(path: Path | str, rows: list, grid: dict[str, list]) -> list[dict[str, Any]]:
    """Every row with every combination of the grid's values."""
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"{path}: grid: {name} needs a list of values, as in {name}: [0, 1]")
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: rows needs a list of settings, as in - {{content.steps: 200}}")

    num_runs = len(rows) * math.prod(len(values) for values in grid.values())
    if num_runs > MOST_RUNS:
        raise InputError(f"{path}: {num_runs} runs, {MOST_RUNS} at most; list fewer values")
    table = []
    for row in rows:
        for combination in product(*grid.values()):
            combined = dict(zip(grid, combination, strict=True))
            table.append({**row, **combined})
    return table


def _run_name(row: dict[str, Any]) -> str:
    """A folder's name that says how a run differs: `content.steps=200,seed=1`."""
    text = ",".join(f"{key}={value}" for key, value in row.items()) or "only"
    name = re.sub(r"[^A-Za-z0-9=,._+-]", "-", text)
    if name == text and len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{name[: LONGEST_NAME - 20]}-{digest[:8]}"


def _setting_text(path: Path | str, name: Any, value: Any) -> str:
    """A setting's value as `--set` would have it."""
    if not isinstance(name, str):
        raise InputError(f"{path}: {name!r}: the name of a setting is needed, as content.steps")
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, (str, int, float)):
        raise InputError(f"{path}: {name}={value!s:.60}: one number or text is needed")
    return str(value)


def _select_notebooks(path: Path | str, entries: list | None, available: list[Path]) -> list[Path]:
    """The first notebooks, as many as the file lists; each reads the results of those before it."""
    available_numbers = [notebook.name[:2] for notebook in available]
    numbers = available_numbers
    if entries:
        numbers = [_notebook_number(each) for each in entries]
    if numbers != available_numbers[: len(numbers)]:
        raise InputError(
            f"{path}: notebooks {', '.join(numbers)}: each reads the one before, so they begin "
            f"with {available_numbers[0]} and leave none out; there are "
            f"{', '.join(available_numbers)}"
        )
    return available[: len(numbers)]


def _notebook_number(entry: Any) -> str:
    """The two digits of a notebook; what is no number stays as it is, and is none of them."""
    text = str(entry)
    is_number = isinstance(entry, (int, str)) and text.isascii() and text.isdigit()
    return text.zfill(2) if is_number else repr(entry)


def _read_yaml(path: Path) -> dict[str, Any]:
    """The content of GRID.yaml, with the types of its values checked."""
    text = _read_text(path)
    try:
        content = yaml.load(text, _GridLoader)
        json.dumps(content, ensure_ascii=False, default=str).encode()  # texts that no file can hold
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: is not YAML ({reason})") from None
    except (ValueError, TypeError, OverflowError) as error:  # dates and numbers that are none
        raise InputError(f"{path}: is not YAML ({error}); put texts into quotes") from None
    except RecursionError:
        raise InputError(
            f"{path}: has too many brackets in one another; a table is needed"
        ) from None

    accepted = ", ".join(KEYS)
    if not isinstance(content, dict):
        raise InputError(f"{path}: needs keys, as in grid: (accepted are {accepted})")
    for key, value in content.items():
        if key not in KEYS:
            raise InputError(f"{path}: unknown key {key!r:.60}: accepted are {accepted}")
        kind, description = KEYS[key]
        if not isinstance(value, kind):
            raise InputError(f"{path}: {key} needs {description}, got {value!r:.60}")
    return content


def _read_text(path: Path) -> str:
    """The text of a regular file of a size that a table can have."""
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is no file; a file of keys is needed, see cdrl grid --help")
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise InputError(
                f"{path}: {size / 1e6:.1f} MB, a grid file has {LARGEST_FILE / 1e6:g} MB at most; "
                "list fewer rows"
            )
        return path.read_text()
    except OSError as error:
        raise InputError(
            f"{path}: no such grid file ({error.strerror}): see cdrl grid --help"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not YAML ({error})") from None


class _GridLoader(yaml.SafeLoader):
    """Reads plain YAML: no aliases, which a few lines can make endless, and no key twice."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse an alias such as *a."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(None, None, "aliases are not read, write it out", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a name that stands twice."""
        names = set()
        for key, _ in node.value:
            if key.value in names:
                raise yaml.MarkedYAMLError(
                    None, None, f"{key.value!r} stands twice", key.start_mark
                )
            names.add(key.value)
        return super().construct_mapping(node, deep)


def check_grid(grid: Grid, out: Path | str) -> dict[str, dict[Path, dict]]:
    """Plan the notebooks of every run: a bad name or value is refused before anything runs.

    Args:
        grid: the table.
        out: folder of the grid.

    Returns:
        {run's name: {notebook: its parameters}}.

    Raises:
        InputError: as `plan_notebooks` does, with the name of the run.
    """
    plans = {}
    for name, settings in grid.rows.items():
        run = relative_to_root(run_folder(out, name))
        try:
            places = absolute_places(settings)
            plans[name] = plan_notebooks(grid.notebooks, run, grid.preset, places)
        except InputError as error:
            raise InputError(f"run {name}: {error}") from error

    return plans


def grid_folder(file: str, out: str | None) -> Path:
    """The folder of a grid, absolute.

    Args:
        file: the YAML file.
        out: as it was typed; None for runs/ and the file's name.
    """
    folder = run_path(f"runs/{Path(file).stem}") if out is None else Path(out)
    return folder.resolve()


def run_folder(out: Path | str, name: str) -> Path:
    """The folder of one run of a grid, absolute.

    Args:
        out: folder of the grid.
        name: of the run.
    """
    return Path(out).resolve() / "runs" / name
