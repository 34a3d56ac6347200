"""How the dial is asked for an emotion: by label, in words, or as another clip shows it. Each becomes a mixture of labels."""

import re
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import EMOTIONS
from cdrl.editing.control import read_crops, read_text
from cdrl.report.dial.session import Session, SourceClip
from cdrl.report.style import jpeg_uri

TEXTS = (
    "eyes wide, jaw open",
    "brows lowered, lip corners up",
)  # in words that the embedded language prior knows
STILL = 112  # pixels of a reference's picture


@dataclass(frozen=True)
class Choice:
    """One thing that the dial can be turned to.

    Attributes:
        kind: "label", "words" or "clip". name: the label, the words, or the reference's name. mixture: {emotion: share}, what it is
            read as. still: data URI of the reference's middle frame; empty for the others.
    """

    kind: str
    name: str
    mixture: dict
    still: str = ""

    @property
    def key(self) -> str:
        """Under which dial.js finds its fields; a label is its own."""
        return self.name if self.kind == "label" else f"{self.kind}: {self.name}"

    def told(self) -> dict:
        """What the browser is told of it."""
        return {"kind": self.kind, "name": self.name, "mixture": self.mixture, "still": self.still}


def by_label(name: str) -> Choice:
    """An emotion that the generator learnt, by its name."""
    return Choice("label", name, {name: 1.0})


def in_words(desk: Session, text: str) -> Choice:
    """A text, as `cdrl edit --text` reads it.

    Raises:
        InputError: for words that the language prior never learnt, naming those it did.
    """
    known = vocabulary(desk)
    strange = (
        []
        if known is None or text in EMOTIONS
        else sorted(set(re.findall(r"[^\s,.;]+", text.lower())) - set(known))
    )
    if strange:
        raise InputError(
            f"{text!r}: the language prior never learnt {', '.join(strange)}; it knows {', '.join(known)}"
        )
    return Choice("words", text, read_text(desk.guidance, text, desk.emotions))


def as_in(desk: Session, reference: SourceClip) -> Choice:
    """A clip, as `cdrl edit --reference` reads it, here from the crops that the dial shows.

    Raises:
        InputError: a clip of under three frames, or one that shows what the generator never learnt.
    """
    mixture = read_crops(desk.guidance, reference.crops, desk.emotions, reference.name)
    middle = Image.fromarray(np.asarray(reference.crops[len(reference.crops) // 2])).resize(
        (STILL, STILL), Image.LANCZOS
    )
    return Choice("clip", reference.name, mixture, jpeg_uri(middle))


def vocabulary(desk: Session) -> list[str] | None:
    """The words that a text may use; None where the run's language prior is a real CLIP and takes any."""
    words = getattr(desk.guidance.language.tokenize, "words", None)
    return None if words is None else sorted(words)
