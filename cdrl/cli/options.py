"""What several commands do with their arguments: settings, and paths in the clone."""

from collections.abc import Iterable
from pathlib import Path

from cdrl.core.errors import InputError
from cdrl.core.paths import working_root


def parse_settings(texts: Iterable[str]) -> dict[str, str]:
    """Read `--set`: ["content.steps=200"] -> {"content.steps": "200"}.

    Args:
        texts: one for each `--set`.

    Raises:
        InputError: for a text without a name or an equals sign.
    """
    settings = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise InputError(f"--set {text}: name=value is needed, as in --set content.steps=200")
        settings[name.strip()] = value.strip()

    return settings


def relative_to_root(path: Path | str) -> Path:
    """A path relative to the clone where it lies in it, so that notebooks name no home folder.

    Args:
        path: of a run; absolute, or relative to the working directory.
    """
    absolute = Path(path).resolve()
    root = working_root()
    return absolute.relative_to(root) if absolute.is_relative_to(root) else absolute
