"""The row `own` of the study: a loss or an encoder of the user, with all scores and controls.

`cdrl study --set content.loss=mine:loss --set rows=content.cdrl,content.own` compares it with the
method, on people whom no network was trained on.
"""

import hashlib

from cdrl.core.settings import StudyConfig
from cdrl.core.user_code import allow, identity

OWN = "own"  # name of the row
PARTS = ("loss", "encoder")
_DIGITS = 12


def own_change(config: StudyConfig, kind: str) -> dict[str, str]:
    """Return the settings of one stage that name code of the user, after that code was checked.

    Args:
        config: the study's settings, as the user gave them.
        kind: `content` or `emotion`.

    Raises:
        InputError: code that cannot be imported or called.
    """
    change = {}
    for part in PARTS:
        name = getattr(config, f"{kind}_{part}", "")
        if name:
            change[part] = allow(f"{kind}.{part}", name)
    return change


def own_kinds(config: StudyConfig) -> tuple[str, ...]:
    """Return the tables that have a row `own`: those with code of the user."""
    return tuple(kind for kind in ("content", "emotion") if own_change(config, kind))


def row_file_name(config: StudyConfig, kind: str, row: str) -> str:
    """Return how the files of a row's jobs begin; other code of the user is another file.

    Args:
        config: the study's settings.
        kind: `content`, `emotion` or `edit`.
        row: name of the row.
    """
    if row != OWN:
        return row
    identities = [f"{part} {identity(name)}" for part, name in own_change(config, kind).items()]
    digest = hashlib.sha256("\n".join(identities).encode()).hexdigest()
    return f"{row}-{digest[:_DIGITS]}"
