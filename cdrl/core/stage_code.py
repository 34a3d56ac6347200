"""Which stages of a run other code made: they are kept, named, and made again where one asks.

A stage's code is that of the module with its work and of all that this imports, of the kit and, for
a setting of the form `module:name`, of the user.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cdrl.core.code_identity import ALSO, UNRECORDED, CodeIdentity, code_identity, describe_changes
from cdrl.core.errors import InputError
from cdrl.core.files import exclusive, read_json
from cdrl.core.results import RESULTS, check_results
from cdrl.core.settings import STAGES, stage_folder
from cdrl.core.user_code import NAME

CONFIG = "config.json"
FORMER = "former"  # folder of a run, for stages that were set aside
# The module with the work of each stage.
STAGE_MODULES = {
    "corpus": "cdrl.stages.s00_corpus",
    "priors": "cdrl.stages.s01_priors",
    "content": "cdrl.stages.s02_content",
    "emotion": "cdrl.stages.s03_emotion",
    "probe": "cdrl.stages.s04_probe",
    "generator": "cdrl.stages.s05_generate",
    "evaluate": "cdrl.stages.s06_evaluate",
}
_REMEDY = "remove it and run again"


def stage_code(stage: str, settings: Mapping[str, Any], extra: Iterable[Any] = ()) -> CodeIdentity:
    """Identify the code that makes a stage today.

    Args:
        stage: a name in `STAGES`.
        settings: of the stage, by name; a text `module:name` adds that module.
        extra: what else takes part in the work, see `code_identity`.

    Raises:
        InputError: something in `extra` whose source cannot be read.
    """
    named = [value for value in settings.values() if _names_code(value)]
    return code_identity([STAGE_MODULES[stage]], [*named, *extra])


def _names_code(value: Any) -> bool:
    """Whether a setting is the name of something in a module that Python finds."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        return False
    try:
        code_identity([], [value])
    except InputError:  # a text of the same form; who uses it says what is wrong with it
        return False
    return True


def other_code(run: Path | str) -> dict[str, str]:
    """Find the finished stages of a run that other code than today's made.

    Args:
        run: folder of the run.

    Returns:
        {stage: what is known of the difference}, in order; empty where there is none.

    Raises:
        InputError: a damaged results.json or config.json.
    """
    found = {}
    for stage in STAGES:
        if (stage_folder(run, stage) / RESULTS).exists():
            reason = difference(run, stage)
            if reason:
                found[stage] = reason
    return found


def difference(run: Path | str, stage: str, extra: Iterable[Any] = ()) -> str:
    """Say how the code that made a finished stage differs from today's.

    Args:
        run: folder of the run.
        stage: a name in `STAGES`.
        extra: what else takes part in the work, see `code_identity`.

    Returns:
        What is known of the difference; empty where there is none.
    """
    folder = stage_folder(run, stage)
    record = _record(run, stage)
    code = record.get("code", UNRECORDED)
    made = read_stage_code(folder)
    if code == UNRECORDED or not made:
        return describe_changes({}, {})
    if ALSO in code:
        return "code changed while it was made"
    present = stage_code(stage, record["config"], extra).modules
    present |= _found_again(made.keys() - present.keys())
    comparable = {name: digits for name, digits in made.items() if _is_comparable(name, present)}
    if comparable != present:
        return describe_changes(comparable, present)
    return _other_input(run, stage)


def _found_again(names: Iterable[str]) -> dict[str, str]:
    """Return the digits of a user's modules that Python finds by their names."""
    found: dict[str, str] = {}
    for name in names:
        if not name.startswith("cdrl."):
            with suppress(InputError):
                found[name] = code_identity([], [name]).modules[name]
    return found


def _is_comparable(name: str, present: Mapping[str, str]) -> bool:
    """Whether a module's digits can be compared: one of the kit's, or one that is found today."""
    return name.startswith("cdrl.") or name in present


def _other_input(run: Path | str, stage: str) -> str:
    """Say which stage before was made by other code since; empty where none was."""
    file = stage_folder(run, stage) / CONFIG
    former = read_json(file, dict).get("from_code", {}) if file.exists() else {}
    if not isinstance(former, dict):
        raise InputError(f"{file} cannot be read (from_code is no mapping): {_REMEDY}")
    for before, code in former.items():
        is_there = before in STAGES and (stage_folder(run, before) / RESULTS).exists()
        if is_there and _record(run, before).get("code", UNRECORDED) != code:
            return f"made from another {before}"
    return ""


def _record(run: Path | str, stage: str) -> dict[str, Any]:
    """Read what a finished stage says of itself."""
    file = stage_folder(run, stage) / RESULTS
    record = check_results(file)["stages"].get(stage)
    if record is None or not isinstance(record.get("config"), dict):
        raise InputError(f"{file} cannot be read (it has no {stage} of its own): {_REMEDY}")
    return record


def read_stage_code(folder: Path) -> dict[str, str]:
    """Read the digits of each module that made a stage; empty where they were not recorded.

    Args:
        folder: of the stage.
    """
    file = folder / CONFIG
    if not file.exists():
        return {}
    modules = read_json(file, dict).get("modules", {})
    if not isinstance(modules, dict):
        raise InputError(f"{file} cannot be read (modules is no mapping): {_REMEDY}")
    return modules


def describe_other_code(run: Path | str, found: Mapping[str, str]) -> str:
    """Name stages that other code made in one line, with the way to make them again.

    Args:
        run: folder of the run.
        found: what `other_code` returned, not empty.
    """
    names = []
    for stage, reason in found.items():
        names.append(f"{stage_folder(run, stage).name} ({reason})")
    return (
        f"{run}: other code made {', '.join(names)}; kept as it is; cdrl run or grid with "
        "--remake changed makes it again, and what follows"
    )


def say_other_code(run: Path | str, found: Mapping[str, str]) -> None:
    """Print the line of `describe_other_code`, where there is something to say.

    Args:
        run: folder of the run.
        found: what `other_code` returned.
    """
    if found:
        print(describe_other_code(run, found), file=sys.stdout, flush=True)


def set_aside(run: Path | str) -> list[Path]:
    """Move the first stage that other code made, and all after it, out of the way.

    Nothing is removed: the folders go to `former/` in the run.

    Args:
        run: folder of the run.

    Returns:
        Where the folders are now; empty where no stage was made by other code.

    Raises:
        InputError: another process works in one of them.
    """
    run = Path(run)
    found = other_code(run)
    if not found:
        return []
    stages = list(STAGES)
    first = stages.index(next(iter(found)))
    folders = [stage_folder(run, stage) for stage in stages[first:]]
    folders = [folder for folder in folders if folder.exists()]
    for folder in folders:
        with exclusive(folder):
            pass

    (run / FORMER).mkdir(exist_ok=True)
    moved = []
    for folder in folders:
        target = _free_name(run / FORMER / folder.name)
        os.replace(folder, target)
        moved.append(target)
    return moved


def _free_name(path: Path) -> Path:
    """Return a path, or the first of PATH.1, PATH.2 ... that is not there."""
    number = 0
    candidate = path
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}.{number}")
    return candidate
