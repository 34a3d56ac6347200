"""What the figures have in common: colours, template, buttons, and numbers as JSON stores them."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike
from PIL import Image

# Okabe and Ito's eight colours, which colour-blind readers can tell apart.
# Black is reserved for truth and chance.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999933", "#882255")
# For more labels, as the 15 visemes: seven further ones, drawn with another marker.
MORE_COLOURS = ("#F0E442", "#6A3D9A", "#8C510A", "#FF1F5B", "#00FFC8", "#1B3A1B", "#A0A0A0")
# Colours of what a bar is about, so that a figure can be read without its legend.
GREY = "#9A9A9A"
SUBJECT_COLOURS = {
    "control": "#CFCFCF",
    "raw": GREY,
    "copy_source": GREY,
    "truth": "#444444",
    "content": COLOURS[0],
    "content_av": COLOURS[5],
    "emotion": COLOURS[1],
    "baseline": COLOURS[4],
    "cdrl": COLOURS[0],
    "released": COLOURS[3],
    "paired": "#444444",
    "constant": "#CFCFCF",
    "fitted": COLOURS[2],
}
# Colour mixed in and its share: none, then white, then black, for still more labels.
SHADES = ((255, 0.0), (255, 0.5), (0, 0.45))
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "Helvetica, Arial, sans-serif", "size": 13, "color": "#222"},
        "colorway": COLOURS,
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "margin": {"l": 60, "r": 20, "t": 50, "b": 50},
        "title": {
            "x": 0,
            "xref": "container",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"l": 8, "t": 12},
            "font": {"size": 16},
        },
        "xaxis": {"gridcolor": "#e5e5e5", "zeroline": False, "automargin": True},
        "yaxis": {"gridcolor": "#e5e5e5", "zeroline": False, "automargin": True},
        # At the foot of the figure: the plot and the title of its axis make room for it.
        "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"},
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


def factor_menu(factors: Sequence[str], trace_factors: Sequence[str]) -> dict:
    """A menu that shows the traces of one factor and hides all others, as plotly's `updatemenus`.

    It stands at the upper left, above the plot, and opens over it: it never moves the plot.

    Args:
        factors: one entry for each.
        trace_factors: the factor of each trace of the figure.
    """
    buttons = []
    for factor in factors:
        visible = [trace_factor == factor for trace_factor in trace_factors]
        change = {"visible": visible}
        buttons.append({"label": f"colour: {factor}", "method": "update", "args": [change]})

    place = {"x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "pad": {"b": 6}}
    return {"buttons": buttons, "type": "dropdown", "direction": "down", **place}


def emotion_first(factors: Mapping[str, Any]) -> dict[str, Any]:
    """The factors with the emotion before all others: maps open coloured by it.

    Args:
        factors: {name: labels}.

    >>> list(emotion_first({"viseme": 1, "emotion": 2}))
    ['emotion', 'viseme']
    """
    if "emotion" not in factors:
        return dict(factors)
    return {"emotion": factors["emotion"], **factors}


def point_marker(position: int, colour: str, size: int) -> dict:
    """Plotly's marker for the frames of one label of a map.

    Args:
        position: of the label among those of its factor; the eight after the first eight get
            another form, so that colour is not all that tells them apart.
        colour: #rrggbb.
        size: pixels.
    """
    symbols = ("circle", "diamond")
    symbol = symbols[position // len(COLOURS) % len(symbols)]
    return {"size": size, "opacity": 0.75, "color": colour, "symbol": symbol}


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


def palette(count: int) -> list[str]:
    """Colours for labels that have no order, all distinct up to three times 15.

    Args:
        count: number of labels.

    Returns:
        `count` colours as #rrggbb, the eight of `COLOURS` first.
    """
    plain = COLOURS + MORE_COLOURS
    colours = []
    for position in range(count):
        level, share = SHADES[position // len(plain) % len(SHADES)]
        colours.append(mixed_colour(plain[position % len(plain)], level, share))

    return colours


def mixed_colour(colour: str, level: int, share: float) -> str:
    """A colour of which a share is replaced by grey.

    Args:
        colour: #rrggbb.
        level: of the grey, 0 to 255.
        share: of the grey, 0 to 1.

    Returns:
        #rrggbb.
    """
    mixture = "#"
    for start in (1, 3, 5):
        value = int(colour[start : start + 2], 16)
        part = round(value * (1 - share) + level * share)
        mixture += f"{part:02x}"

    return mixture
