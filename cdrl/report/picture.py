"""Still pictures of plotly figures, drawn by matplotlib: for pages where no script may run.

Plotly's own export needs a browser. Here the data of the figure are drawn again, so that a
notebook exported by nbconvert, GitHub's view and a printed page show what the script would show.
"""

import base64
import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as Canvas
from PIL import Image

from cdrl.report.style import COLOURS

DPI = 100
WIDTH = 840  # pixels, where a figure has no width of its own
HEIGHT = 450
COLOURS_KEPT = 128  # of a PNG: lines and letters need no more
FONT_POINTS = 9
LETTER_WIDTH = 6  # pixels of a letter of the legend
ENTRY_WIDTH = 48  # pixels of an entry of the legend besides its letters
DASHES = {"dash": "--", "dot": ":"}
MARKERS = {"line-ns": "|", "diamond": "D"}  # all others are circles
# Thickness of what is drawn, points.
BAR_HEIGHT = 0.8  # of the distance of two bars
LINE_WIDTH = 1.6
MARKER_SIZE = 6.0


def picture(figure: go.Figure) -> dict[str, bytes]:
    """Draw a figure as it looks before anyone clicks.

    Args:
        figure: with traces of the kinds bar (horizontal), scatter, scattergl and heatmap, with
            pictures and lines in data coordinates.

    Returns:
        {"image/png": bytes}, or {"image/jpeg": bytes} for a figure of faces, which is smaller so;
        nothing where the figure has a kind of trace that cannot be drawn.
    """
    content = figure.to_plotly_json()
    traces = [trace for trace in content["data"] if trace.get("visible", True) is True]
    layout = content["layout"]
    if any(trace["type"] not in DRAWERS for trace in traces):
        return {}

    width = layout.get("width") or WIDTH
    height = layout.get("height") or HEIGHT
    canvas = Canvas(figsize=(width / DPI, height / DPI), dpi=DPI, layout="constrained")
    axes = _add_axes(canvas, traces, layout)
    for position, trace in enumerate(traces):
        trace_axes = axes[trace.get("xaxis", "x")]
        DRAWERS[trace["type"]](trace_axes, trace, COLOURS[position % len(COLOURS)])
    for image in layout.get("images", ()):
        _draw_image(axes[image.get("xref", "x")], image)
    _draw_chance_lines(axes["x"], layout)
    for name, trace_axes in axes.items():
        _style_axes(trace_axes, layout, name.removeprefix("x"))
    _add_title(canvas, layout)
    _add_legend(canvas, axes)

    return _encoded(canvas, is_photograph=bool(layout.get("images")))


def _encoded(canvas: Canvas, is_photograph: bool) -> dict[str, bytes]:
    """Draw a canvas: faces as JPEG, lines as a PNG of few colours."""
    agg = FigureCanvasAgg(canvas)
    agg.draw()
    pixels = np.asarray(agg.buffer_rgba())[..., :3]
    image = Image.fromarray(np.ascontiguousarray(pixels))
    buffer = io.BytesIO()
    if is_photograph:
        image.save(buffer, "JPEG", quality=80)
        return {"image/jpeg": buffer.getvalue()}

    few_colours = image.quantize(COLOURS_KEPT, dither=Image.Dither.NONE)
    few_colours.save(buffer, "PNG", optimize=True)
    return {"image/png": buffer.getvalue()}


def _add_axes(canvas: Canvas, traces: Sequence[Mapping], layout: Mapping) -> dict[str, Axes]:
    """Axes side by side, one for each horizontal axis of the figure, by plotly's name of it."""
    names = sorted({trace.get("xaxis", "x") for trace in traces} | {"x"})
    grid = canvas.subplots(1, len(names), squeeze=False)
    axes = dict(zip(names, grid[0], strict=True))
    if len(names) > 1:
        titles = [_plain(note["text"]) for note in layout.get("annotations", ())]
        for name, title in zip(names, titles, strict=False):
            axes[name].set_title(title, fontsize=FONT_POINTS, loc="left")

    return axes


def _draw_bars(axes: Axes, trace: Mapping, colour: str) -> None:
    """Draw horizontal bars with their intervals."""
    marker = trace.get("marker", {})
    names = _positions(trace["y"])
    lengths = _numbers(trace["x"])
    axes.barh(names, lengths, BAR_HEIGHT, color=marker.get("color", colour), label=_label(trace))
    error = trace.get("error_x")
    if error:
        ends = np.abs([_numbers(error["arrayminus"]), _numbers(error["array"])])
        axes.errorbar(lengths, names, xerr=ends, fmt="none", ecolor="#222", elinewidth=1, capsize=3)


def _draw_scatter(axes: Axes, trace: Mapping, colour: str) -> None:
    """Draw lines, markers and texts of a trace."""
    mode = trace.get("mode", "lines")
    line = trace.get("line", {})
    marker = trace.get("marker", {})
    x = _positions(trace["x"])
    y = _positions(trace["y"])
    count = min(len(x), len(y))  # plotly leaves out what has no partner
    x = x[:count]
    y = y[:count]
    label = _label(trace)

    if "lines" in mode:
        width = line.get("width", LINE_WIDTH)
        dash = DASHES.get(line.get("dash", ""), "-")
        shade = line.get("color", colour)
        axes.plot(x, y, color=shade, linestyle=dash, linewidth=width, label=label)
        label = "_nolegend_"
        if trace.get("fill") == "tonexty":
            axes.fill_between(x, y, -np.asarray(y, dtype=float), color=shade, alpha=0.5)
    if "markers" in mode:
        shape = MARKERS.get(marker.get("symbol", ""), "o")
        size = marker.get("size", MARKER_SIZE)
        edge = marker.get("line", {})
        shade = marker.get("color") or edge.get("color") or line.get("color") or colour
        thickness = edge.get("width", 0)
        axes.scatter(
            x,
            y,
            s=(0.75 * size) ** 2,
            marker=shape,
            c=shade,
            alpha=marker.get("opacity", 1),
            linewidths=thickness,
            label=label,
            zorder=3,
        )
    if "text" in mode:
        above = 5 if "lines" in mode else 0
        for place_x, place_y, text in zip(x, y, trace["text"], strict=False):
            axes.annotate(
                _plain(text),
                (place_x, place_y),
                (0, above),
                textcoords="offset points",
                ha="center",
                fontsize=FONT_POINTS - 2,
            )


def _draw_heatmap(axes: Axes, trace: Mapping, _colour: str) -> None:
    """Draw a matrix of numbers, with the numbers written in where the figure has them."""
    values = np.array([_numbers(row) for row in trace["z"]])
    colours = trace.get("colorscale", "Greys")
    if not isinstance(colours, str):
        steps = [(share, _readable_colour(colour)) for share, colour in colours]
        colours = LinearSegmentedColormap.from_list("figure", steps)

    has_names = isinstance(trace["y"][0], str)
    columns = np.arange(values.shape[1]) if has_names else _numbers(trace["x"])
    rows = np.arange(values.shape[0]) if has_names else _numbers(trace["y"])
    axes.pcolormesh(
        columns,
        rows,
        values,
        cmap=colours,
        shading="nearest",
        vmin=trace.get("zmin"),
        vmax=trace.get("zmax"),
    )
    if has_names:
        axes.set_xticks(columns, trace["x"])
        axes.set_yticks(rows, trace["y"])
    if trace.get("texttemplate"):
        for (row, column), value in np.ndenumerate(values):
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=FONT_POINTS)


DRAWERS: dict[str, Callable[[Axes, Mapping, str], None]] = {
    "bar": _draw_bars,
    "scatter": _draw_scatter,
    "scattergl": _draw_scatter,
    "heatmap": _draw_heatmap,
}


def _draw_image(axes: Axes, image: Mapping) -> None:
    """Draw a picture that lies in data coordinates, its upper left corner given."""
    encoded = image["source"].partition(",")[2]
    pixels = Image.open(io.BytesIO(base64.b64decode(encoded)))
    right = image["x"] + image["sizex"]
    below = image["y"] + image["sizey"]
    axes.imshow(np.asarray(pixels), extent=(image["x"], right, below, image["y"]), aspect="auto")


def _draw_chance_lines(axes: Axes, layout: Mapping) -> None:
    """Draw the horizontal lines across a figure, with their texts."""
    levels = [shape["y0"] for shape in layout.get("shapes", ())]
    for level in levels:
        axes.axhline(level, color="black", linestyle="--", linewidth=1)
    if levels:
        for note in layout.get("annotations", ()):
            is_right = note["x"] == 1
            axes.annotate(
                _plain(note["text"]),
                (note["x"], note["y"]),
                (-3 if is_right else 3, 3),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right" if is_right else "left",
                fontsize=FONT_POINTS - 1,
                bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1},
                zorder=4,
            )


def _style_axes(axes: Axes, layout: Mapping, number: str) -> None:
    """Give axes the range, the texts and the titles that the figure has."""
    across = layout.get(f"xaxis{number}", {})
    upward = layout.get(f"yaxis{number}", {})
    axes.tick_params(labelsize=FONT_POINTS - 1, length=0)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    is_picture_or_map = bool(axes.images or (axes.collections and not axes.lines))
    if not is_picture_or_map:
        axes.grid(color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.02)

    axes.set_xlabel(_plain(across.get("title", {}).get("text", "")), fontsize=FONT_POINTS)
    axes.set_ylabel(_plain(upward.get("title", {}).get("text", "")), fontsize=FONT_POINTS)
    if across.get("range") is not None:
        axes.set_xlim(*across["range"])
    if upward.get("range") is not None:
        axes.set_ylim(*upward["range"])
    if upward.get("autorange") == "reversed":
        axes.invert_yaxis()

    for axis, settings in ((axes.xaxis, across), (axes.yaxis, upward)):
        if settings.get("visible") is False or settings.get("showticklabels") is False:
            axis.set_tick_params(labelleft=False, labelbottom=False)
        if settings.get("tickvals") is not None:
            texts = [_plain(text) for text in settings["ticktext"]]
            axis.set_ticks(list(settings["tickvals"]), texts)
    if across.get("side") == "top":
        axes.xaxis.tick_top()
        axes.tick_params(length=0)


def _add_title(canvas: Canvas, layout: Mapping) -> None:
    """Write the title above all axes, at the left."""
    title = _plain(layout.get("title", {}).get("text") or "")
    if title:
        canvas.suptitle(title, x=0.01, ha="left", fontsize=FONT_POINTS + 2)


def _add_legend(canvas: Canvas, axes: Mapping[str, Axes]) -> None:
    """List the names of traces below all axes, where there are several."""
    handles, labels = axes["x"].get_legend_handles_labels()
    if len(labels) < 2 and labels != ["chance"]:
        return

    longest = max(len(label) for label in labels)
    width = canvas.get_figwidth() * DPI
    columns = int(width // (ENTRY_WIDTH + LETTER_WIDTH * longest))
    canvas.legend(
        handles,
        labels,
        loc="outside lower left",
        ncols=max(1, min(columns, len(labels))),
        fontsize=FONT_POINTS - 1,
        frameon=False,
    )


def _label(trace: Mapping) -> str:
    """The name of a trace in the legend; matplotlib leaves out what begins with _."""
    if trace.get("showlegend") is False or not trace.get("name"):
        return "_nolegend_"
    return _plain(trace["name"])


def _readable_colour(text: str) -> str:
    """A colour as matplotlib reads it: plotly writes rgb(1,2,3) too."""
    match = re.fullmatch(r"rgb\((\d+), ?(\d+), ?(\d+)\)", text)
    if match is None:
        return text
    red, green, blue = (int(number) for number in match.groups())
    return f"#{red:02x}{green:02x}{blue:02x}"


def _numbers(values: Any) -> np.ndarray:
    """Numbers of a figure's JSON, where None stands for nan."""
    return np.array(list(values), dtype=float)


def _positions(values: Any) -> list[str] | np.ndarray:
    """Places along an axis: names, or numbers."""
    listed = list(values)
    if listed and isinstance(listed[0], str):
        return [_plain(text) for text in listed]
    return _numbers(listed)


def _plain(text: str) -> str:
    """A text of a figure without the HTML that plotly reads."""
    with_lines = re.sub(r"<br ?/?>", "\n", str(text))
    return html.unescape(re.sub(r"<[^>]*>", "", with_lines)).replace("$", r"\$")
