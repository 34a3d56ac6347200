"""The dial as a Jupyter widget; imported only where somebody watches."""

import anywidget
import numpy as np
import traitlets

from cdrl.report.dial.page import (
    SHOWN_FIRST,
    bank_bytes,
    bank_shape,
    code,
    header_of,
    style,
    take_facts,
)
from cdrl.report.dial.choices import TEXTS, as_in, in_words, vocabulary


class Dial(anywidget.AnyWidget):
    """A clip beside its edit in JupyterLab, Colab and VS Code; clips, fields and readings are sent when they are asked for.

    The emotion is asked for by label, in words or as another clip shows it.

    Attributes:
        desk: clips and generator. clip, emotion, curve: what the reader has set, as `edit_clip` takes them: name of the
            clip, {emotion: share}, one intensity a frame.
    """

    _esm, _css = code(), style()
    header = traitlets.Dict().tag(sync=True)
    clip = traitlets.Unicode().tag(sync=True)
    emotion = traitlets.Dict().tag(sync=True)
    curve = traitlets.List(traitlets.Float()).tag(sync=True)

    def __init__(self, desk, texts=TEXTS):
        self.desk = desk
        shown = [name for name in SHOWN_FIRST if name in desk.emotions]
        offered = {
            "live": True,
            "texts": list(texts),
            "words": vocabulary(desk),
            "references": desk.references,
        }
        super().__init__(header=header_of(desk.names, shown, desk.emotions) | offered)
        self.on_msg(self.answer)

    def answer(self, _widget, asked: dict, _buffers=()) -> None:
        """Sends a clip, what words or a reference are read as, the fields of an emotion or readings; or a line that says why not.

        Args:
            asked: {"key": what to answer under, "what": "take" | "words" | "clip" | "bank" | "read", "clip": number of the clip, for
                "clip" that of the reference} and for "words" the "text", for the last two "mixture": {emotion: share}, for
                the last "curve": one intensity a frame.
        """
        reply, clip, what = {"key": asked["key"]}, int(asked["clip"]), asked["what"]
        try:
            if what in ("words", "clip"):
                choice = (
                    in_words(self.desk, asked["text"])
                    if what == "words"
                    else as_in(self.desk, self.desk.reference(clip))
                )
                return self.send(reply | choice.told())
            take = self.desk.take(clip)
            if what == "take":
                self.send(reply | take_facts(take), [take.sheet(), take.heard()])
            elif what == "bank":
                bank = self.desk.bank(take, asked["mixture"])
                self.send(reply | bank_shape(bank), [bank_bytes(bank)])
            else:
                self.send(
                    reply | self.desk.read(take, asked["mixture"], np.float32(asked["curve"]))
                )
        except (
            Exception
        ) as error:  # whatever it is, the browser shows it in one line and what it holds goes on
            about = {"words": "reading the words", "clip": "reading the reference"}.get(
                what, f"{what} of clip {clip}"
            )
            self.send(
                reply
                | {"fault": f"{about} failed ({error}); choose another, the rest still works."}
            )

    def __repr__(self):
        return (
            "The dial shows itself in JupyterLab, Colab and VS Code while the kernel runs; "
            "cdrl dial RUN writes the same as one HTML page."
        )
