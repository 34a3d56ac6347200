"""Opening editors: by the name of committed weights, by a path, or out of a run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from cdrl.core.checkpoint import load_card, load_weights, weights_path
from cdrl.core.errors import InputError
from cdrl.core.settings import stage_folder
from cdrl.editors import actions
from cdrl.editors.actions import ActionEditor
from cdrl.editors.base import Editor, EditorCard, read_editor_card
from cdrl.editors.default_editor import NAME as CALIBRATED
from cdrl.editors.default_editor import DefaultEditor
from cdrl.editors.user_editor import CODE, load_own_editor
from cdrl.models.image_editor import ImageEditor

IMAGE_EDITOR = "generator"  # the committed image editor, what a fit begins with
RUN_VARIANT = "cdrl"  # the variant of a run that edits
WEIGHTS_FILE = "model.safetensors"
DEFAULT_EDITOR = CALIBRATED  # what edits where nobody names an editor
# Names of the scores, and what they are names of.
NAMES = {"actions": CALIBRATED, "actions_plain": actions.RENDERER, "image": IMAGE_EDITOR}


def load_editor(where: str | Path = DEFAULT_EDITOR) -> Editor:
    """An editor, with its card.

    Args:
        where: `actions` (the default, also called `calibrated`: the facial-action editor from a
            person's own resting face); `actions_plain` (`action_renderer`: that editor as the study
            scores it); `image` (`generator`); name or path of other weights; or folder of a run.

    Returns:
        Frozen, in eval mode.

    Raises:
        InputError: where there is none, or the weights are no editor's.
    """
    where = NAMES.get(str(where), where)
    if where == CALIBRATED:
        return _load_default_editor()

    folder = Path(where)
    weights = _find_weights(folder) if folder.is_dir() else weights_path(str(where))
    entries = load_card(str(weights))
    card = read_editor_card(entries, weights)
    if entries["editor"] == actions.KIND and "renderer" in entries:
        return _load_run_editor(weights, entries, card)
    if entries["editor"] == actions.KIND:
        return _load_action_editor(weights, entries, card)
    from cdrl.editors import image  # imports all that trains

    if entries["editor"] == image.KIND:
        return _load_image_editor(weights, entries, card)
    raise InputError(
        f"{weights.with_suffix('.json')}: editor {entries['editor']!r} is unknown, accepted are "
        f"{actions.KIND!r} and {image.KIND!r}; take another cdrl, or train it again"
    )


def without_rules(editor: Editor) -> Editor:
    """The facial-action editor as scores of the studio know it; any other editor as it is.

    The rules of `DefaultEditor` mend what goes wrong on real faces; on rendered people, whom
    tracker and renderer know, the mouth is nearer to true edits without them.

    Args:
        editor: of `load_editor`.
    """
    return editor.editor if isinstance(editor, DefaultEditor) else editor


def _find_weights(folder: Path) -> Path:
    """The weights in the folder of an editor, of the stage that trains it, or of a run."""
    stage = stage_folder(folder, "generator")
    for candidate in (folder, folder / RUN_VARIANT, stage / RUN_VARIANT):
        weights = candidate / WEIGHTS_FILE
        if weights.exists():
            return weights
    raise InputError(
        f"{folder}: no trained editor here; run notebook 05 (or `cdrl run`) first, or name weights"
    )


def _load_image_editor(weights: Path, entries: dict[str, Any], card: EditorCard) -> ImageEditor:
    if CODE in entries:
        return load_own_editor(str(weights), entries, card)
    editor = ImageEditor(**entries["model"], card=card)
    load_weights(str(weights), editor)
    return editor


def _load_run_editor(weights: Path, entries: dict[str, Any], card: EditorCard) -> DefaultEditor:
    """The manipulator that a run trained, drawn and calibrated as the committed one is."""
    manipulator = actions.load_manipulator(str(weights))
    renderer = actions.load_renderer(entries["renderer"])
    editor = ActionEditor(manipulator, renderer, card=card)
    return DefaultEditor(editor, actions.load_renderer(actions.DEFAULT_RENDERER), card)


def _load_action_editor(weights: Path, entries: dict[str, Any], card: EditorCard) -> ActionEditor:
    """The weights are those of the renderer, which names the manipulator whose edits it draws."""
    manipulator = actions.load_manipulator(entries["manipulator"])
    renderer = actions.load_renderer(str(weights))
    return ActionEditor(manipulator, renderer, card=card)


def _load_default_editor() -> DefaultEditor:
    """The committed facial-action editor, calibrated; it has no weights of its own."""
    weights = weights_path(actions.RENDERER)
    entries = load_card(str(weights))
    card = read_editor_card(entries, weights)
    editor = _load_action_editor(weights, entries, card)
    renderer = actions.load_renderer(actions.DEFAULT_RENDERER)
    return DefaultEditor(editor, renderer, replace(card, name=CALIBRATED))
