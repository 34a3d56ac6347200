"""What the figures have in common: colours, template, buttons, and numbers as JSON stores them."""

import base64
import io
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike
from PIL import Image

# Okabe and Ito's eight colours, which colour-blind readers can tell apart.
# Black is reserved for truth and chance.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999933", "#882255")
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "Helvetica, Arial, sans-serif", "size": 13, "color": "#222"},
        "colorway": COLOURS,
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "margin": {"l": 60, "r": 20, "t": 50, "b": 50},
        "title": {"x": 0, "xref": "paper"},
        "xaxis": {"gridcolor": "#e5e5e5", "zeroline": False, "automargin": True},
        "yaxis": {"gridcolor": "#e5e5e5", "zeroline": False, "automargin": True},
        "legend": {"orientation": "h", "y": -0.2},
    }
)


def set_style(
    figure: go.Figure,
    title: str,
    height: int,
    x_title: str | None = None,
    y_title: str | None = None,
) -> None:
    """Give a figure the common style, a title, its height in pixels and titles of its axes."""
    figure.update_layout(template=TEMPLATE, title=title, height=height)
    if x_title is not None:
        figure.update_layout(xaxis_title=x_title)
    if y_title is not None:
        figure.update_layout(yaxis_title=y_title)


def factor_menu(factors: Sequence[str], trace_factors: Sequence[str], position: dict) -> dict:
    """Buttons that show the traces of one factor and hide all others, as plotly's `updatemenus`.

    Args:
        factors: one button for each.
        trace_factors: the factor of each trace of the figure.
        position: where the buttons are, as plotly takes it.
    """
    buttons = []
    for factor in factors:
        visible = [trace_factor == factor for trace_factor in trace_factors]
        change = {"visible": visible}
        buttons.append({"label": factor, "method": "update", "args": [change]})

    return {"buttons": buttons, "type": "buttons", "direction": "right", **position}


def jpeg_uri(image: Image.Image | np.ndarray, quality: int = 85) -> str:
    """An image as a data URI.

    Args:
        image: PIL image, or (H, W, 3) uint8 RGB.
        quality: of the JPEG, up to 95.
    """
    picture = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    encoded = base64.b64encode(buffer.getvalue())
    return "data:image/jpeg;base64," + encoded.decode()


def json_numbers(values: ArrayLike, digits: int = 4) -> list:
    """Plain short numbers, None for nan: plotly would store 17 digits, or bytes without a diff.

    Args:
        values: (...,) numbers.
        digits: that are kept after the point.
    """
    rounded = np.round(np.asarray(values, dtype=float), digits)
    numbers = rounded.astype(object)
    numbers[~np.isfinite(rounded)] = None  # JSON knows no nan

    return numbers.tolist()
