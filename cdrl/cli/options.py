"""What several commands do with their arguments: settings, and paths in the clone."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from cdrl.core.errors import InputError
from cdrl.core.paths import working_root

# Settings whose values are paths of files and folders of the user.
PLACES = ("data_root", "ingested", "weights", "features", "syncnet", "arcface", "efficient_face")


def parse_settings(texts: Iterable[str], option: str = "--set") -> dict[str, str]:
    """Read `--set`: ["content.steps=200"] -> {"content.steps": "200"}.

    Args:
        texts: one for each `--set`.
        option: what an error calls it.

    Raises:
        InputError: for a text without a name or an equals sign.
    """
    settings = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise InputError(
                f"{option} {text}: name=value is needed, as in {option} content.steps=200"
            )
        settings[name.strip()] = value.strip()

    return settings


def absolute_places(settings: Mapping[str, str]) -> dict[str, str]:
    """Make paths of the user absolute: notebooks run in another folder than the command.

    A run that resumes compares them with those it was made with.

    Args:
        settings: names, with their stage or without, and texts.

    >>> absolute_places({"corpus.data_root": "/data/../mead", "steps": "5"})
    {'corpus.data_root': '/mead', 'steps': '5'}
    """
    absolute = dict(settings)
    for name, value in settings.items():
        field = name.rpartition(".")[2]
        is_place = field in PLACES or (field == "split" and value.endswith(".json"))
        if is_place and value:
            absolute[name] = str(Path(value).resolve())

    return absolute


def relative_to_root(path: Path | str) -> Path:
    """A path relative to the clone where it lies in it, so that notebooks name no home folder.

    Args:
        path: of a run; absolute, or relative to the working directory.
    """
    absolute = Path(path).resolve()
    root = working_root()
    return absolute.relative_to(root) if absolute.is_relative_to(root) else absolute
