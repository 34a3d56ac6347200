"""What every editor can do and says about itself: the `Editor` protocol, and its card on disk."""

import os
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from cdrl.core.errors import InputError
from cdrl.models.editor_card import DEFAULT_CARD, EditorCard
from cdrl.models.field_network import Fields

__all__ = [
    "DEFAULT_CARD",
    "ClipEditor",
    "Editor",
    "EditorCard",
    "Fields",
    "card_entries",
    "editor_of_clip",
    "read_editor_card",
]

REQUIRED_ENTRIES = ("editor", "name", "emotions", "crop", "run")  # of an editor, on disk


class Editor(Protocol):
    """Whatever turns crops, emotions and intensities into fields that edit the crops.

    `cdrl.editing.pipeline` edits clips and files with any of them; the fields are applied by
    `cdrl.models.field_network.apply_fields`.
    """

    @property
    def card(self) -> EditorCard:
        """What it learnt, on which crops and in which run."""
        ...

    @property
    def stride(self) -> int:
        """Frames at 25 Hz to the two neighbours that its network looks at; 0: it looks at none."""
        ...

    @property
    def reach(self) -> int:
        """Frames at 25 Hz on each side that a frame's fields depend on."""
        ...

    @property
    def can_fit(self) -> bool:
        """Whether it can be fine-tuned on the clips of one person."""
        ...

    @property
    def intensity_knots(self) -> tuple[float, ...]:
        """Ascending intensities between which the fields are nearly linear."""
        ...

    @property
    def field_rank(self) -> int:
        """Number of components that nearly reproduce the fields of one clip and one emotion."""
        ...

    def fields(
        self,
        frames: torch.Tensor,
        weights: torch.Tensor,
        intensity: torch.Tensor,
        selection: slice = slice(None),
        stride: int | None = None,
    ) -> Fields:
        """Flow, shading and residual, shapes as in `Edit`; all 0 where the intensity is 0.

        Args:
            frames: (B, T, 3, H, W) RGB in [0, 1], crops of consecutive frames.
            weights: (B, 8) mixtures of emotions, each sums to 1.
            intensity: (B, T), 0 to 1.5; with B = 1, (K, T) asks for one clip at K intensities.
            selection: the frames to edit; their neighbours are looked at all the same.
            stride: replaces the editor's own where the frame rate is not 25 Hz.
        """
        ...


@runtime_checkable
class ClipEditor(Protocol):
    """An editor that looks at a clip before it edits the clip."""

    def for_clip(self, crops: np.ndarray, source: torch.Tensor | None = None) -> Editor:
        """The editor of one clip.

        Args:
            crops: (N, H, H, 3) uint8 RGB, aligned, spread over the clip.
            source: (8,) the emotion that they show, where it is known.
        """
        ...


def editor_of_clip(
    editor: Editor, crops: np.ndarray, weights: torch.Tensor
) -> tuple[Editor, torch.Tensor]:
    """The editor of one clip, and the weights that it takes.

    Args:
        editor: of any clip.
        crops: (N, H, H, 3) uint8 RGB, aligned, spread over the clip.
        weights: (1, 8), or (2, 8) with the source's below.

    Returns:
        Both as they were for an editor that looks at no clip before; else the source's emotion is
        in the editor, and the weights are (1, 8).
    """
    if not isinstance(editor, ClipEditor):
        return editor, weights

    source = weights[1] if len(weights) == 2 else None
    return editor.for_clip(crops, source), weights[:1]


def card_entries(card: EditorCard, folder: Path) -> dict[str, Any]:
    """The entries of the card file beside the weights of an editor.

    Args:
        card: of the editor.
        folder: where the weights are written; the run is kept relative to it, so that a run can be
            moved as a whole.
    """
    run = None
    if card.run is not None:
        run = os.path.relpath(card.run, folder)
    return {"name": card.name, "emotions": list(card.emotions), "crop": card.crop, "run": run}


def read_editor_card(entries: dict[str, Any], weights: Path) -> EditorCard:
    """The card of an editor from the file beside its weights.

    Args:
        entries: what the file holds.
        weights: path of the weights.

    Raises:
        InputError: the file of a network that is no editor, or of an editor that an earlier version
            wrote.
    """
    missing = []
    for entry in REQUIRED_ENTRIES:
        if entry not in entries:
            missing.append(entry)
    if missing:
        raise InputError(
            f"{weights.with_suffix('.json')}: the card of an editor needs {', '.join(missing)}; "
            "these weights are no editor, or an earlier cdrl wrote them: version 0.1.0 reads them, "
            "or train them again"
        )

    run = None
    if entries["run"] is not None:
        run = Path(os.path.normpath(weights.parent / entries["run"]))
    return EditorCard(entries["name"], tuple(entries["emotions"]), entries["crop"], run)
