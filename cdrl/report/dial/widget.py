"""The dial as a Jupyter widget; imported only where somebody watches."""

import anywidget
import numpy as np
import traitlets

from cdrl.report.dial.show import SHOWN_FIRST, bank_bytes, bank_shape, code, header_of, style, take_facts


class Dial(anywidget.AnyWidget):
    """A clip beside its edit in JupyterLab, Colab and VS Code; clips, fields and readings are sent when they are asked for.

    Attributes:
        desk: clips and generator. clip, emotion, curve: what the reader has set, as `edit_clip` takes them: name of the
            clip, {emotion: share}, one intensity a frame.
    """

    _esm, _css = code(), style()
    header = traitlets.Dict().tag(sync=True)
    clip = traitlets.Unicode().tag(sync=True)
    emotion = traitlets.Dict().tag(sync=True)
    curve = traitlets.List(traitlets.Float()).tag(sync=True)

    def __init__(self, desk):
        self.desk = desk
        shown = [name for name in SHOWN_FIRST if name in desk.emotions]
        super().__init__(header=header_of(desk.names, shown, desk.emotions) | {"live": True})
        self.on_msg(self.answer)

    def answer(self, _widget, asked: dict, _buffers=()) -> None:
        """Sends a clip, the fields of an emotion or readings, or a line that says why it cannot.

        Args:
            asked: {"key": what to answer under, "what": "take" | "bank" | "read", "clip": its number} and, for the last
                two, "mixture": {emotion: share}, for the last "curve": one intensity a frame.
        """
        reply, clip = {"key": asked["key"]}, int(asked["clip"])
        try:
            take = self.desk.take(clip)
            if asked["what"] == "take":
                self.send(reply | take_facts(take), [take.sheet(), take.heard()])
            elif asked["what"] == "bank":
                bank = self.desk.bank(take, asked["mixture"])
                self.send(reply | bank_shape(bank), [bank_bytes(bank)])
            else:
                self.send(reply | self.desk.read(take, asked["mixture"], np.float32(asked["curve"])))
        except Exception as error:  # whatever it is, the browser shows it in one line and what it holds goes on
            self.send(reply | {"fault": f"{asked['what']} of clip {clip} failed ({error}); choose another, the rest still works."})

    def __repr__(self):
        return (
            "The dial shows itself in JupyterLab, Colab and VS Code while the kernel runs; "
            "cdrl dial RUN writes the same as one HTML page."
        )
