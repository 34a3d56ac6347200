"""Plain plotly figures in one house style, small enough that an executed notebook stays under 2 MB."""

import base64
import io

import numpy as np
import plotly.graph_objects as go
from PIL import Image

# Okabe and Ito's eight colours, told apart by colour-blind readers; black is kept for truth and chance.
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
MAX_POINTS = 4000


def face_grid(images, row_labels=(), column_labels=(), title="", cell=96):
    """A grid of faces with a label for each row and column: one JPEG, whatever its number of cells.

    Args:
        images: (R, C, H, W, 3) uint8 RGB.
        row_labels, column_labels: R and C texts, or none.
        cell: side of a face in the figure, pixels.

    Returns:
        A figure of C * cell by R * cell pixels and the labels' margins.
    """
    rows, columns, height, width, _ = np.shape(images)
    mosaic = np.asarray(images).transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
    picture = Image.fromarray(mosaic).resize((columns * cell, rows * cell), Image.LANCZOS)
    figure = go.Figure()
    figure.add_layout_image(
        source=jpeg_uri(picture),
        xref="x",
        yref="y",
        x=0,
        y=0,
        sizex=columns,
        sizey=rows,
        sizing="stretch",
        layer="below",
    )
    figure.update_xaxes(
        range=[0, columns],
        side="top",
        showgrid=False,
        ticks="",
        tickvals=[k + 0.5 for k in range(len(column_labels))],
        ticktext=list(column_labels),
    )
    figure.update_yaxes(
        range=[rows, 0],
        showgrid=False,
        ticks="",
        scaleanchor="x",
        tickvals=[k + 0.5 for k in range(len(row_labels))],
        ticktext=list(row_labels),
    )
    top = 70 if title else 40
    figure.update_layout(
        template=TEMPLATE,
        title=title,
        height=rows * cell + top + 20,
        width=columns * cell + 140,
        margin={"l": 110, "r": 10, "t": top, "b": 10},
    )
    return figure


def score_bars(names, values, chance=None, low=None, high=None, n=None, title="", unit="accuracy"):
    """Bars with their intervals and, across each, its own chance level.

    Args:
        names: N texts. values: (N,). chance: (N,), a number for all, or None.
        low, high: (N,) ends of the bootstrap interval, or None.
        n: (N,) how many were judged, written at the foot of the bar; nan where unknown, or None.
        unit: what the axis measures.

    Returns:
        A figure; the chance levels are one black mark a bar.
    """
    names, values = list(names), np.asarray(values, dtype=float)
    error = None
    if low is not None and high is not None:
        above, below = np.asarray(high, dtype=float) - values, values - np.asarray(low, dtype=float)
        error = {
            "type": "data",
            "symmetric": False,
            "array": _rounded(above),
            "arrayminus": _rounded(below),
        }
    judged = (
        None
        if n is None
        else ["" if np.isnan(each) else f"n {each:.0f}" for each in np.asarray(n, dtype=float)]
    )
    figure = go.Figure(
        go.Bar(
            y=names,
            x=_rounded(values),
            orientation="h",
            error_x=error,
            name="score",
            showlegend=False,
            text=judged,
            textposition="inside",
            insidetextanchor="start",
            textangle=0,
            insidetextfont={"color": "white", "size": 11},
        )
    )
    if chance is not None:
        figure.add_scatter(
            y=names,
            x=_rounded(np.broadcast_to(chance, len(names))),
            mode="markers",
            name="chance",
            marker={"symbol": "line-ns", "size": 18, "line": {"width": 3, "color": "black"}},
        )
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(
        template=TEMPLATE, title=title, xaxis_title=unit, height=110 + 30 * len(names)
    )
    return figure


def speech(sound, spoken=(), title="", rate=16_000):
    """The waveform of a clip with its phonemes over it, where they are known.

    Args:
        sound: (S,) in [-1, 1]. spoken: (start, end, phoneme) of each phoneme, seconds; "sil" is left blank.
        rate: Hz.
    """
    parts = np.array_split(np.abs(np.asarray(sound, dtype=float)), 600)
    peaks = np.array([part.max(initial=0) for part in parts])
    peaks, times = (
        peaks / max(peaks.max(), 1e-9),
        (np.arange(len(peaks)) + 0.5) * len(sound) / rate / len(peaks),
    )
    figure = go.Figure()
    for values, fill in ((peaks, None), (-peaks, "tonexty")):
        figure.add_scatter(
            x=_rounded(times, 3),
            y=_rounded(values, 3),
            mode="lines",
            fill=fill,
            line={"width": 1, "color": COLOURS[0]},
            showlegend=False,
        )
    said = [each for each in spoken if each[2] != "sil"]
    if said:
        edges = [
            value for start, end, _ in said for edge in (start, end) for value in (edge, edge, None)
        ]
        figure.add_scatter(
            x=edges,
            y=[-1.05, 1.3, None] * (2 * len(said)),
            mode="lines",
            line={"width": 1, "color": "#bbb"},
            showlegend=False,
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=[(start + end) / 2 for start, end, _ in said],
            y=[1.15 + 0.13 * (k % 2) for k in range(len(said))],
            text=[name for *_, name in said],
            mode="text",
            textfont={"size": 11},
            showlegend=False,
            hoverinfo="skip",
        )
    figure.update_yaxes(visible=False, range=[-1.1, 1.4])
    figure.update_layout(template=TEMPLATE, title=title, xaxis_title="seconds", height=260)
    return figure


def factor_map(points, factors, title="", seed=0):
    """A two-dimensional map of an embedding, coloured by one factor at a time; buttons choose which.

    Args:
        points: (N, 2) coordinates; at most `MAX_POINTS` of them, drawn at random, are shown.
        factors: {"emotion": (N,) labels, "viseme": ...}; numbers or texts.
        seed: of that draw.

    Returns:
        A figure with a trace for each label of each factor; those of the first factor are visible.
    """
    points = np.asarray(points, dtype=float)
    kept = np.sort(np.random.default_rng(seed).permutation(len(points))[:MAX_POINTS])
    figure, owners = go.Figure(), []
    for factor, labels in factors.items():
        labels = np.asarray(labels)[kept]
        for position, label in enumerate(np.unique(labels)):
            chosen = points[kept][labels == label]
            figure.add_scattergl(
                x=_rounded(chosen[:, 0], 2),
                y=_rounded(chosen[:, 1], 2),
                mode="markers",
                name=str(label),
                marker={"size": 4, "opacity": 0.7, "color": COLOURS[position % len(COLOURS)]},
                visible=not owners or owners[0] == factor,
            )
            owners.append(factor)
    buttons = [
        {
            "label": factor,
            "method": "update",
            "args": [{"visible": [owner == factor for owner in owners]}],
        }
        for factor in factors
    ]
    figure.update_layout(
        template=TEMPLATE,
        title=title,
        height=480,
        updatemenus=[
            {
                "buttons": buttons,
                "type": "buttons",
                "direction": "right",
                "x": 0,
                "y": 1.12,
                "yanchor": "bottom",
            }
        ],
        margin={"t": 110},
    )
    figure.update_xaxes(showticklabels=False)
    figure.update_yaxes(showticklabels=False)
    return figure


def curves(series, chance=None, title="", x_title="step", y_title="loss", x=None):
    """Lines over a common axis, thinned to `MAX_POINTS` in all, and a dashed line at chance.

    Args:
        series: {name: (N,) values}.
        chance: value of the dashed line; several with what each is, {text: value}; or None.
        x: (N,) positions; None counts from 0.
    """
    figure = go.Figure()
    for name, values in series.items():
        values = np.asarray(values, dtype=float)
        step = max(1, -(-len(values) * len(series) // MAX_POINTS))
        positions = np.arange(len(values)) if x is None else np.asarray(x)
        figure.add_scatter(
            x=positions[::step].tolist(), y=_rounded(values[::step]), mode="lines", name=str(name)
        )
    for text, value in (
        chance if isinstance(chance, dict) else {} if chance is None else {"no information": chance}
    ).items():
        figure.add_hline(
            y=float(value), line={"dash": "dash", "color": "black"}, annotation_text=text
        )
    figure.update_layout(
        template=TEMPLATE, title=title, xaxis_title=x_title, yaxis_title=y_title, height=380
    )
    return figure


def trade_off(series, title="", x_title="emotion accuracy", y_title="mouth error"):
    """One line for each variant through the settings of its dial: what is gained across, what it costs upwards.

    Args:
        series: {name: (x, y, texts)}, (K,) each in the order of the dial; texts are written at the points.
    """
    figure = go.Figure()
    for name, (x, y, texts) in series.items():
        figure.add_scatter(
            x=_rounded(x),
            y=_rounded(y),
            text=list(texts),
            mode="lines+markers+text",
            textposition="top center",
            name=str(name),
        )
    figure.update_layout(
        template=TEMPLATE, title=title, xaxis_title=x_title, yaxis_title=y_title, height=440
    )
    return figure


def matrix(values, rows, columns, title=""):
    """A matrix with its numbers written in; white is zero, blue positive, orange negative.

    Args:
        values: (R, C). rows, columns: R and C texts.
    """
    values = np.asarray(values, dtype=float)
    limit = max(1e-6, float(np.nanmax(np.abs(values))))
    figure = go.Figure(
        go.Heatmap(
            z=_rounded(values, 3),
            x=list(columns),
            y=list(rows),
            zmin=-limit,
            zmax=limit,
            texttemplate="%{z:.2f}",
            colorscale=[[0, COLOURS[1]], [0.5, "white"], [1, COLOURS[0]]],
            showscale=False,
        )
    )
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(template=TEMPLATE, title=title, height=120 + 42 * len(rows))
    return figure


def alignment(likeness, aligned, title="", frame_rate=25):
    """Likeness of every pair of moments of two clips, and the path of an alignment through it.

    Args:
        likeness: (T, U) cosine of frame t of the first clip and frame u of the second.
        aligned: (T,) frame of the second clip for each frame of the first.
        frame_rate: frames a second, for the axes.
    """
    likeness, aligned = np.asarray(likeness, dtype=float), np.asarray(aligned)
    down, right = (np.arange(count) / frame_rate for count in likeness.shape)
    figure = go.Figure(
        go.Heatmap(
            z=_rounded(likeness, 2),
            x=_rounded(right),
            y=_rounded(down),
            colorscale="Greys",
            showscale=False,
        )
    )
    figure.add_scatter(
        x=_rounded(aligned / frame_rate),
        y=_rounded(down),
        mode="lines",
        name="path",
        line={"color": COLOURS[1], "width": 3},
    )
    figure.update_yaxes(autorange="reversed", title="first clip, seconds")
    figure.update_xaxes(title="second clip, seconds")
    figure.update_layout(template=TEMPLATE, title=title, height=460)
    return figure


def jpeg_uri(image, quality=85):
    """An image as a data URI.

    Args:
        image: PIL image, or (H, W, 3) uint8 RGB.
    """
    image = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _rounded(values, digits=4):
    """Plain short numbers: plotly would store arrays with 17 digits, or as bytes that a diff cannot read."""
    found = np.round(np.asarray(values, dtype=float), digits)
    return np.where(np.isfinite(found), found, None).tolist()  # JSON knows no nan
