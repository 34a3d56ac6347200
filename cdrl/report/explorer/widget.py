"""The explorer as a Jupyter widget; imported only where somebody watches."""

import anywidget
import traitlets

from cdrl.report.explorer.page import code, payload, style


class Explorer(anywidget.AnyWidget):
    """Two linked maps in JupyterLab, Colab and VS Code; faces and clips are sent when they are asked for.

    Attributes:
        atlas: what is shown. selected: positions in `atlas.frames` that the last lasso holds, set by the browser.
    """

    _esm, _css = code(), style()
    header = traitlets.Dict().tag(sync=True)
    arrays = traitlets.Bytes().tag(sync=True)
    selected = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(self, atlas):
        self.atlas = atlas
        header, arrays = payload(atlas)
        super().__init__(header=header, arrays=arrays)
        self.on_msg(self.answer)

    def answer(self, _widget, asked: dict, _buffers=()) -> None:
        """Sends the face of one frame or the film of one clip, or a line that says why it cannot.

        Args:
            asked: {"key": what to answer under, "what": "face" | "clip", "which": position of a frame | number of a clip}.
        """
        which, reply = int(asked["which"]), {"key": asked["key"]}
        try:
            if asked["what"] == "face":
                self.send(reply | {"kind": "image/jpeg"}, [self.atlas.face(which)])
            else:
                sound = self.atlas.has_sound(which)
                self.send(reply | {"kind": "video/mp4", "sound": sound}, [self.atlas.film(which)])
        except (
            Exception
        ) as error:  # whatever it is, the browser shows it in one line and the maps go on
            self.send(
                reply
                | {
                    "fault": f"{asked['what']} {which} cannot be read ({error}); the maps still work."
                }
            )

    def __repr__(self):
        return (
            "The explorer shows itself in JupyterLab, Colab and VS Code while the kernel runs; "
            "cdrl explore RUN writes the same as one HTML page."
        )
