"""The emotions that the dial can show: by label, by text, or as another clip shows them.

Each becomes a mixture of labels.
"""

import re
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import EMOTIONS
from cdrl.editing.control import read_crops, read_text
from cdrl.report.dial.session import Session
from cdrl.report.dial.source_clip import SourceClip
from cdrl.report.style import jpeg_uri

# Examples in words that the embedded language prior knows.
TEXTS = ("eyes wide, jaw open", "brows lowered, lip corners up")
PICTURE_SIDE = 112  # pixels of a reference's picture


@dataclass(frozen=True)
class EmotionChoice:
    """One emotion that the dial can show.

    Attributes:
        kind: "label", "text" or "reference".
        name: the label, the text, or the reference's name.
        mixture: {emotion: weight} that it was read as.
        picture: data URI of the reference's middle frame; empty for the others.
    """

    kind: str
    name: str
    mixture: dict[str, float]
    picture: str = ""

    @property
    def key(self) -> str:
        """The name under which dial.js finds its fields."""
        return self.name if self.kind == "label" else f"{self.kind}: {self.name}"

    def to_dict(self) -> dict:
        """Its attributes for JSON."""
        return asdict(self)


def label_choice(name: str) -> EmotionChoice:
    """An emotion that the generator learnt.

    Args:
        name: of the emotion.
    """
    return EmotionChoice("label", name, {name: 1.0})


def text_choice(session: Session, text: str) -> EmotionChoice:
    """A text, read as `cdrl edit --text` reads it.

    Args:
        session: with the guidance that reads the text.
        text: a description.

    Raises:
        InputError: for words that the language prior never learnt, with those it did.
    """
    vocabulary = prior_vocabulary(session)
    if vocabulary is not None and text not in EMOTIONS:
        words = set(re.findall(r"[^\s,.;]+", text.lower()))
        unknown = ", ".join(sorted(words - set(vocabulary)))
        if unknown:
            accepted = ", ".join(vocabulary)
            raise InputError(
                f"{text!r}: the language prior never learnt {unknown}; it knows {accepted}"
            )

    mixture = read_text(session.guidance, text, session.emotions)
    return EmotionChoice("text", text, mixture)


def reference_choice(session: Session, reference: SourceClip) -> EmotionChoice:
    """A clip, read as `cdrl edit --reference` reads it, here from the crops of the dial.

    Args:
        session: with the guidance that reads the clip.
        reference: the clip.

    Raises:
        InputError: a clip of under three frames, or one of an emotion that the generator never
            learnt.
    """
    name = reference.name
    crops = reference.crops
    mixture = read_crops(session.guidance, crops, session.emotions, name)

    middle = np.asarray(crops[len(crops) // 2])
    size = (PICTURE_SIDE, PICTURE_SIDE)
    picture = Image.fromarray(middle).resize(size, Image.Resampling.LANCZOS)
    return EmotionChoice("reference", name, mixture, jpeg_uri(picture))


def prior_vocabulary(session: Session) -> list[str] | None:
    """The words that a text may use; None where the language prior is a real CLIP and takes any.

    Args:
        session: with the guidance that reads texts.
    """
    words = getattr(session.guidance.language.tokenize, "words", None)
    return None if words is None else sorted(words)
