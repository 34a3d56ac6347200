"""An editor of the user in place of the image editor: built, tried on a small batch, trained."""

from typing import Any, cast

import torch
from torch import nn

from cdrl.core.checkpoint import load_weights
from cdrl.core.errors import InputError
from cdrl.core.user_code import given, identity
from cdrl.core.vocabulary import EMOTIONS
from cdrl.editors.base import EditorCard
from cdrl.models.field_network import WORKING_SIZE
from cdrl.models.image_editor import ImageEditor

SETTING = "generator.editor"
CODE = "code"  # entry of a card: name and hash of the user's class
# What editing needs of an editor beside its fields, see `cdrl.editors.base.Editor`.
ATTRIBUTES = ("card", "stride", "reach", "can_fit", "intensity_knots", "field_rank", "fields")
TRIAL_SHAPE = (2, 5, 3, WORKING_SIZE, WORKING_SIZE)


def build_own_editor(name: str, card: EditorCard) -> ImageEditor:
    """Build the user's editor; it has the interface of `ImageEditor`.

    Args:
        name: `module:name` of its class, which this process was given.
        card: of the editor.

    Raises:
        InputError: it fails on a small batch, lacks what editing needs, or returns other frames
            than it was asked for.
    """
    build = given(SETTING, name)
    try:
        editor = build(card=card)
        _try_editor(name, editor)
    except InputError:
        raise
    except Exception as error:  # any fault of the user's code
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else "no message"
        raise InputError(
            f"{SETTING}={name}: it fails on a small batch ({type(error).__name__}: {reason}); mend "
            "it, docs/guides/own_loss.md says what an editor needs"
        ) from error
    return cast(ImageEditor, editor)


def load_own_editor(weights: str, entries: dict[str, Any], card: EditorCard) -> ImageEditor:
    """Load a trained editor of the user's code, frozen, in eval mode.

    Args:
        weights: path.
        entries: of the card file.
        card: of the editor.

    Raises:
        InputError: code that this process was not given, or that is another since.
    """
    name = entries[CODE].partition(" ")[0]
    editor = build_own_editor(name, card)
    if identity(name) != entries[CODE]:
        raise InputError(
            f"{weights}: it was trained with other code under the name {name}; bring that code "
            "back, or train again"
        )
    load_weights(weights, editor)
    return editor


def _try_editor(name: str, editor: Any) -> None:
    """Refuse an editor that lacks an attribute, or does not edit two windows of five frames."""
    if not isinstance(editor, nn.Module):
        raise InputError(
            f"{SETTING}={name}: it builds a {type(editor).__name__}; a torch.nn.Module is needed, "
            "such as a subclass of cdrl.models.image_editor.ImageEditor"
        )
    missing = [attribute for attribute in ATTRIBUTES if not hasattr(editor, attribute)]
    if missing:
        raise InputError(
            f"{SETTING}={name}: it has no {', '.join(missing)}, which editing needs; take a "
            "subclass of cdrl.models.image_editor.ImageEditor"
        )
    frames = torch.rand(TRIAL_SHAPE)
    weights = nn.functional.one_hot(torch.tensor([0, 1]), len(EMOTIONS)).float()
    with torch.no_grad():
        edit = editor(frames, weights, torch.ones(2), slice(None))
        same = editor(frames, weights, torch.zeros(2), slice(None))
    if edit.frames.shape != frames.shape:
        raise InputError(
            f"{SETTING}={name}: it returns frames of {tuple(edit.frames.shape)}; as many as it got "
            f"are needed, {TRIAL_SHAPE}"
        )
    if not torch.equal(same.frames, frames):
        raise InputError(
            f"{SETTING}={name}: at intensity 0 it changes the frames; it has to return its source"
        )
