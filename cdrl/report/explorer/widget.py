"""The explorer as a Jupyter widget; the only module of it that needs anywidget."""

from collections.abc import Sequence
from typing import Any

import anywidget
import traitlets

from cdrl.report.explorer.atlas import Atlas
from cdrl.report.explorer.payload import payload, script, style_sheet


class Explorer(anywidget.AnyWidget):
    """Two linked maps in JupyterLab, Colab and VS Code; faces and clips are sent on request.

    Attributes:
        atlas: the maps.
        header: sent to the browser, as `payload` returns it.
        arrays: sent to the browser, as `payload` returns it.
        selected: positions in `atlas.frames` inside the last lasso, set by the browser.
    """

    _esm = script()
    _css = style_sheet()
    header = traitlets.Dict().tag(sync=True)
    arrays = traitlets.Bytes().tag(sync=True)
    selected = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(self, atlas: Atlas) -> None:
        self.atlas = atlas
        header, arrays = payload(atlas)
        super().__init__(header=header, arrays=arrays)
        self.on_msg(self.answer)

    def answer(self, _widget: Any, request: dict, _buffers: Sequence[bytes] = ()) -> None:
        """Send the face of one frame or the film of one clip, or a line with the error.

        Args:
            request: {"key": copied into the answer, "what": "face" | "clip", "which": position of
                a frame | number of a clip}.
        """
        key = request["key"]
        try:
            content, media = self._content(request["what"], int(request["which"]))
            self.send({"key": key, **content}, [media])
        except Exception as error:  # any fault becomes one line in the browser; the maps go on
            name = f"{request['what']} {request['which']}"
            fault = f"{name} cannot be read ({error}); the maps still work."
            self.send({"key": key, "fault": fault})

    def _content(self, what: str, number: int) -> tuple[dict, bytes]:
        """What a picture or film is, and its bytes."""
        if what == "face":
            return {"kind": "image/jpeg"}, self.atlas.face(number)
        content = {"kind": "video/mp4", "sound": self.atlas.has_sound(number)}
        return content, self.atlas.film(number)

    def __repr__(self) -> str:
        return (
            "The explorer shows itself in JupyterLab, Colab and VS Code while the kernel runs; "
            "cdrl explore RUN writes the same as one HTML page."
        )
