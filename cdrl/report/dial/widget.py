"""The dial as a Jupyter widget; the only module of it that needs anywidget."""

from collections.abc import Sequence
from typing import Any

import anywidget
import numpy as np
import traitlets

from cdrl.report.dial.choices import TEXTS, prior_vocabulary, reference_choice, text_choice
from cdrl.report.dial.payload import (
    clip_facts,
    controls,
    fields_bytes,
    fields_shape,
    offered_emotions,
    script,
    style_sheet,
)
from cdrl.report.dial.session import Session

# What a failed request was about, for its message; others are named by their clip.
TASKS = {"text": "reading the text", "reference": "reading the reference"}


class Dial(anywidget.AnyWidget):
    """A clip beside its edit in JupyterLab, Colab and VS Code.

    Clips, fields and readings are sent on request. The emotion is a label, a text or a reference.

    Attributes:
        session: clips and generator.
        header: sent to the browser, as `controls` returns it.
        clip: name of the clip that the user has chosen.
        emotion: {emotion: weight} that the user has chosen, as `edit_clip` takes it.
        curve: one intensity a frame that the user has drawn.
    """

    _esm = script()
    _css = style_sheet()
    header = traitlets.Dict().tag(sync=True)
    clip = traitlets.Unicode().tag(sync=True)
    emotion = traitlets.Dict().tag(sync=True)
    curve = traitlets.List(traitlets.Float()).tag(sync=True)

    def __init__(self, session: Session, texts: Sequence[str] = TEXTS) -> None:
        self.session = session
        emotions = offered_emotions(session.emotions)
        header = controls(session.clip_names, emotions, session.emotions)
        header["live"] = True
        header["texts"] = list(texts)
        header["vocabulary"] = prior_vocabulary(session)
        header["references"] = session.reference_names
        super().__init__(header=header)
        self.on_msg(self.answer)

    def answer(self, _widget: Any, request: dict, _buffers: Sequence[bytes] = ()) -> None:
        """Send a clip, an emotion, fields or readings; or a line with the error.

        Args:
            request: {"key": copied into the answer, "what": "clip" | "text" | "reference" |
                "fields" | "readings", "clip": position of the clip or of the reference}; for a text
                its "text"; for fields and readings the "mixture", {emotion: weight}; for readings
                the "curve", one intensity a frame.
        """
        key = request["key"]
        what = request["what"]
        try:
            content, buffers = self._content(request)
            self.send({"key": key, **content}, buffers)
        except Exception as error:  # any fault becomes one line in the browser; the rest goes on
            task = TASKS.get(what, f"{what} of clip {request['clip']}")
            fault = f"{task} failed ({error}); choose another, the rest still works."
            self.send({"key": key, "fault": fault})

    def _content(self, request: dict) -> tuple[dict, list[bytes] | None]:
        """The content and the buffers of the answer to a request."""
        what = request["what"]
        position = int(request["clip"])
        if what == "text":
            return text_choice(self.session, request["text"]).to_dict(), None
        if what == "reference":
            reference = self.session.reference(position)
            return reference_choice(self.session, reference).to_dict(), None

        clip = self.session.clip(position)
        if what == "clip":
            return clip_facts(clip), [clip.sprite_sheet(), clip.mp3()]
        if what == "fields":
            fields = self.session.fields(clip, request["mixture"])
            return fields_shape(fields), [fields_bytes(fields)]
        curve = np.array(request["curve"], np.float32)
        return self.session.readings(clip, request["mixture"], curve), None

    def __repr__(self) -> str:
        return (
            "The dial shows itself in JupyterLab, Colab and VS Code while the kernel runs; "
            "cdrl dial RUN writes the same as one HTML page."
        )
