"""The card of an editor: what it learnt, on which crops and in which run."""

from dataclasses import dataclass
from pathlib import Path

from cdrl.core.vocabulary import EMOTIONS


@dataclass(frozen=True)
class EditorCard:
    """What has to be known about an editor to use it; the editor carries it.

    Attributes:
        name: of its weights or of its variant, for messages.
        emotions: the emotions that it learnt, those it can be asked for.
        crop: how the faces that it learnt from were cropped, `aligned` or `released`.
        run: folder of the run that trained it, whose encoders guide a fit; None: no run, the
            committed encoders guide it.
    """

    name: str = "unnamed"
    emotions: tuple[str, ...] = EMOTIONS
    crop: str = "aligned"
    run: Path | None = None


DEFAULT_CARD = EditorCard()
