"""Which notebooks run with which parameters; nothing runs here, and nothing heavy is imported."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cdrl.core.errors import InputError
from cdrl.core.former_names import renamed_setting
from cdrl.core.notebook_parameters import Parameter, declared_parameters, read_parameter
from cdrl.core.paths import notebooks_root, working_root
from cdrl.core.settings import STAGES, check_known, field_names, stage_config
from cdrl.core.stage import check_stage

# What the runner passes to a notebook whose `parameters` cell declares it.
RUN_PARAMETERS = ("run_folder", "preset", "settings")


def notebook_paths(folder: Path | str | None = None, every: bool = False) -> list[Path]:
    """The notebooks in order: 00_..., 01_...

    Args:
        folder: that holds them; None for those of the clone or of the installed package.
        every: with 07 and 08, which no run needs; else those of the stages.

    Raises:
        InputError: where there are none.
    """
    folder = Path(folder) if folder else notebooks_root()
    paths = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not every:
        paths = [path for path in paths if int(path.name[:2]) < len(STAGES)]
    if not paths:
        raise InputError(
            f"no notebooks in {folder}: clone the repository and install it with pip install -e ."
        )
    return paths


def plan_notebooks(
    paths: Sequence[Path], run: Path | str, preset: str, settings: Mapping[str, str]
) -> dict[Path, dict[str, Any]]:
    """Choose the parameters of every notebook; they are checked before anything runs.

    Args:
        paths: of the notebooks.
        run: folder of the run, as the notebooks get it.
        preset: name of the preset.
        settings: {`stage.field`, `field`, or a notebook's own parameter: text of its value}.

    Returns:
        {path: parameters}; each gets only what its `parameters` cell declares.

    Raises:
        InputError: for a setting that neither a stage nor a notebook has, a bad value, or a run
            folder that was made with other settings.
    """
    declared = {path: declared_parameters(path) for path in paths}
    own_names: set[str] = set()
    for parameters in declared.values():
        own_names |= parameters.keys() - set(RUN_PARAMETERS)

    _check_names(settings, own_names)
    own_settings = {}
    stage_settings = {}
    for name, value in settings.items():
        if name in own_names:
            own_settings[name] = value
        else:
            stage_settings[name] = value

    for stage in STAGES:
        config = stage_config(stage, preset, stage_settings)
        check_stage(config, working_root() / run)

    run_values: dict[str, Any] = {
        "run_folder": str(run),
        "preset": preset,
        "settings": stage_settings,
    }
    return {
        path: _values(parameters, run_values, own_settings) for path, parameters in declared.items()
    }


def _check_names(names: Iterable[str], own_names: set[str]) -> None:
    """Refuse a bare name that neither a stage nor a notebook has; the nearest is told."""
    bare_names: dict[str, None] = dict.fromkeys([*RUN_PARAMETERS, *sorted(own_names)])
    for config_class in STAGES.values():
        bare_names |= dict.fromkeys(field_names(config_class))
    for name in names:
        if name in RUN_PARAMETERS:
            raise InputError(
                f"setting {name!r}: is no setting of a stage; a run takes it as --preset, --out or "
                "--set, a grid as a key or an option of its own"
            )
        if "." not in name and not renamed_setting(name):
            check_known("setting", name, bare_names)


def _values(
    parameters: Mapping[str, Parameter], run_values: dict[str, Any], own_settings: dict[str, str]
) -> dict[str, Any]:
    """The values of the parameters that one notebook declares."""
    values: dict[str, Any] = {}
    for name, value in run_values.items():
        if name in parameters:
            values[name] = value
    for name, text in own_settings.items():
        if name in parameters:
            values[name] = read_parameter(parameters[name], text)
    return values
