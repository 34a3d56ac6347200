"""A plotly figure that a notebook stores twice: for plotly's script, and as a still picture."""

import base64
from typing import Any

import plotly.graph_objects as go
from IPython.display import display

from cdrl.report.picture import picture

PLOTLY = "application/vnd.plotly.v1+json"


class Figure(go.Figure):
    """A figure whose output in a notebook is one mime bundle: plotly's data and a still picture.

    JupyterLab, VS Code and the report take plotly's data. nbconvert, GitHub and whatever else runs
    no script show the picture.
    """

    def _ipython_display_(self) -> None:
        display(mime_bundle(self), raw=True)


def mime_bundle(figure: go.Figure) -> dict[str, Any]:
    """What a notebook stores of a figure.

    Args:
        figure: any plotly figure.

    Returns:
        {mimetype: content}: plotly's own form for this kind of notebook, and a still picture.
    """
    bundle = dict(figure._repr_mimebundle_())
    if not bundle:  # a renderer that opens a window of its own
        bundle[PLOTLY] = figure.to_plotly_json()
    for mimetype, content in picture(figure).items():
        bundle[mimetype] = base64.b64encode(content).decode()

    return bundle
