"""Plotly figures in one style, each stored with a still picture, in a notebook of under 2 MB."""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from cdrl.report.interactive import Figure
from cdrl.report.style import (
    COLOURS,
    SUBJECT_COLOURS,
    emotion_first,
    factor_menu,
    jpeg_uri,
    json_numbers,
    palette,
    point_marker,
    set_style,
)
from cdrl.report.words import in_lines, variant_words, words_of

MAX_POINTS = 4000
MAX_LEGEND = 15  # labels of a factor that the legend lists; a pointer shows the others' names
WAVEFORM_PARTS = 600  # points that a waveform is drawn with
LINE_HEIGHT = 16  # pixels of a line of a label
NO_BREAK = "\N{NO-BREAK SPACE}"
COLUMN_LETTERS = 11  # of a line above a column of faces
SILENT = {"showlegend": False, "hoverinfo": "skip"}  # a trace without entry or label of its own

Phoneme = tuple[float, float, str]  # start and end in seconds, name


def face_grid(
    images: ArrayLike,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    title: str = "",
    cell: int = 96,
) -> Figure:
    """A grid of faces with a label for each row and column: one JPEG for all cells.

    Args:
        images: (R, C, H, W, 3) uint8 RGB.
        row_labels: R texts, or none.
        column_labels: C texts, or none.
        title: of the figure.
        cell: side of a face in the figure, pixels.

    Returns:
        A figure of C * cell by R * cell pixels and the margins of the labels.
    """
    rows, columns, height, width, _ = np.shape(images)
    tiles = np.asarray(images).transpose(0, 2, 1, 3, 4)
    mosaic = tiles.reshape(rows * height, columns * width, 3)
    size = (columns * cell, rows * cell)
    picture = Image.fromarray(mosaic).resize(size, Image.Resampling.LANCZOS)

    figure = Figure()
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
    column_lines = [in_lines(str(label), COLUMN_LETTERS) for label in column_labels]
    num_lines = max((label.count("<br>") + 1 for label in column_lines), default=0)
    _label_rows(figure, row_labels, rows)
    _label_columns(figure, column_lines, columns)

    top = (44 if title else 12) + LINE_HEIGHT * num_lines
    margin = {"l": 110, "r": 10, "t": top, "b": 10}
    set_style(figure, title, height=rows * cell + top + 20)
    figure.update_layout(width=columns * cell + 140, margin=margin)

    return figure


def _label_rows(figure: Figure, labels: Sequence[str], count: int) -> None:
    """Write a label at the middle of every row of a grid, the first row above."""
    middles = [row + 0.5 for row in range(len(labels))]

    figure.update_yaxes(range=[count, 0], scaleanchor="x")
    figure.update_yaxes(showgrid=False, ticks="")
    figure.update_yaxes(tickvals=middles, ticktext=list(labels))


def _label_columns(figure: Figure, labels: Sequence[str], count: int) -> None:
    """Write a label above the middle of every column of a grid."""
    middles = [column + 0.5 for column in range(len(labels))]

    figure.update_xaxes(range=[0, count], side="top")
    figure.update_xaxes(showgrid=False, ticks="", tickangle=0)
    figure.update_xaxes(tickvals=middles, ticktext=list(labels))


def score_bars(
    names: Iterable[str],
    values: ArrayLike,
    chance: ArrayLike | None = None,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    n: ArrayLike | None = None,
    title: str = "",
    unit: str = "accuracy",
    mark: str = "chance",
) -> Figure:
    """Bars with their intervals and, across each, its own chance level.

    A bar's colour says what it is about: content, emotion, the frozen features (grey), a variant.

    Args:
        names: N texts; names of scores are written in words.
        values: (N,) scores.
        chance: (N,) chance levels, one number for all, or None.
        low: (N,) lower ends of the bootstrap intervals, or None.
        high: (N,) upper ends, or None.
        n: (N,) number of samples, written after the name; nan where unknown, or None.
        title: of the figure.
        unit: what the axis measures.
        mark: what the legend calls the chance levels.

    Returns:
        A figure; the chance levels are one black mark a bar.
    """
    names = list(names)
    scores = np.asarray(values, dtype=float)
    counts = _sample_counts(n, len(names))
    labels = _bar_labels(names, counts)
    num_lines = sum(label.count("<br>") for label in labels)

    figure = Figure()
    figure.add_bar(
        y=labels,
        x=json_numbers(scores),
        orientation="h",
        error_x=_error_bars(scores, low, high),
        name="score",
        showlegend=False,
        marker={"color": [_bar_colour(name) for name in names]},
    )
    if chance is not None:
        _add_chance_marks(figure, labels, chance, mark)

    figure.update_yaxes(autorange="reversed", tickfont={"size": 12})
    height = 110 + 30 * len(names) + LINE_HEIGHT // 2 * num_lines
    set_style(figure, title, height=height, x_title=unit)

    return figure


def _bar_labels(names: Sequence[str], counts: Sequence[str]) -> list[str]:
    """What stands beside each bar: its name in words, in short lines, with its count."""
    labels = []
    for name, count in zip(names, counts, strict=True):
        text = f"{words_of(name)} ({count})" if count else words_of(name)
        lines = in_lines(text)
        labels.append(lines.replace(NO_BREAK, " "))

    return labels


def _bar_colour(name: str) -> str:
    """The colour of the part of a name that says what a bar is about; blue where none does."""
    for part in re.split(r"[.: ]+", name):
        if part in SUBJECT_COLOURS:
            return SUBJECT_COLOURS[part]

    return COLOURS[0]


def _add_chance_marks(figure: Figure, names: list[str], chance: ArrayLike, mark: str) -> None:
    """Draw a black mark across each bar at its chance level; (N,) levels or one for all."""
    levels = np.broadcast_to(np.asarray(chance), len(names))
    positions = json_numbers(levels)
    line = {"width": 3, "color": "black"}
    marker = {"symbol": "line-ns", "size": 18, "line": line}

    figure.add_scatter(y=names, x=positions, mode="markers", name=mark, marker=marker)


def _error_bars(scores: np.ndarray, low: ArrayLike | None, high: ArrayLike | None) -> dict | None:
    """Plotly's error bars of (N,) scores between their (N,) ends; None without ends."""
    if low is None or high is None:
        return None

    above = np.asarray(high, dtype=float) - scores
    below = scores - np.asarray(low, dtype=float)

    return {
        "type": "data",
        "symmetric": False,
        "array": json_numbers(above),
        "arrayminus": json_numbers(below),
    }


def _sample_counts(n: ArrayLike | None, num_bars: int) -> list[str]:
    """The text `n = 300` for each number of samples; empty where it is not known."""
    if n is None:
        return [""] * num_bars
    counts = np.asarray(n, dtype=float)
    return ["" if np.isnan(count) else f"n{NO_BREAK}={NO_BREAK}{count:.0f}" for count in counts]


def speech(
    sound: ArrayLike, spoken: Iterable[Phoneme] = (), title: str = "", rate: int = 16_000
) -> Figure:
    """The waveform of a clip with its phonemes over it, where they are known.

    Args:
        sound: (S,) samples in [-1, 1].
        spoken: (start, end, phoneme) of each phoneme, seconds; "sil" is left blank.
        title: of the figure.
        rate: samples a second, Hz.
    """
    samples = np.asarray(sound, dtype=float)
    parts = np.array_split(np.abs(samples), WAVEFORM_PARTS)
    peaks = np.array([part.max(initial=0) for part in parts])
    peaks = peaks / max(peaks.max(), 1e-9)
    times = (np.arange(len(peaks)) + 0.5) * len(samples) / rate / len(peaks)

    figure = Figure()
    for heights, fill in ((peaks, None), (-peaks, "tonexty")):
        figure.add_scatter(
            x=json_numbers(times, 3),
            y=json_numbers(heights, 3),
            mode="lines",
            fill=fill,
            line={"width": 1, "color": COLOURS[0]},
            showlegend=False,
        )

    phonemes = [interval for interval in spoken if interval[2] != "sil"]
    if phonemes:
        _add_phoneme_edges(figure, phonemes)
        _add_phoneme_names(figure, phonemes)

    figure.update_yaxes(visible=False, range=[-1.1, 1.4])
    set_style(figure, title, height=260, x_title="seconds")

    return figure


def _add_phoneme_edges(figure: Figure, phonemes: Sequence[Phoneme]) -> None:
    """Draw a line at both ends of each phoneme."""
    edges: list[float | None] = []
    for start, end, _ in phonemes:
        edges += [start, start, None]
        edges += [end, end, None]

    heights = [-1.05, 1.3, None] * (2 * len(phonemes))
    line = {"width": 1, "color": "#bbb"}

    figure.add_scatter(x=edges, y=heights, mode="lines", line=line, **SILENT)


def _add_phoneme_names(figure: Figure, phonemes: Sequence[Phoneme]) -> None:
    """Write each phoneme over the middle of its interval, in two rows so that names stay apart."""
    middles = []
    heights = []
    names = []
    for position, (start, end, name) in enumerate(phonemes):
        middles.append((start + end) / 2)
        heights.append(1.15 + 0.13 * (position % 2))
        names.append(name)

    figure.add_scatter(
        x=middles, y=heights, text=names, mode="text", textfont={"size": 11}, **SILENT
    )


def factor_map(
    points: ArrayLike, factors: Mapping[str, ArrayLike], title: str = "", seed: int = 0
) -> Figure:
    """A two-dimensional map of an embedding, coloured by one factor at a time; a menu chooses it.

    Args:
        points: (N, 2) coordinates; at most `MAX_POINTS` of them, drawn at random, are shown.
        factors: {"emotion": (N,) labels, "viseme": ...}; numbers or texts.
        title: of the figure.
        seed: of that random draw.

    Returns:
        A figure with a trace for each label of each factor. Those of the emotion are visible, or
        of the first factor where there is no emotion.
    """
    coordinates = np.asarray(points, dtype=float)
    order = np.random.default_rng(seed).permutation(len(coordinates))
    sample = np.sort(order[:MAX_POINTS])
    coordinates = coordinates[sample]

    figure = Figure()
    trace_factors: list[str] = []
    ordered = emotion_first(factors)
    first = next(iter(ordered))
    for factor, values in ordered.items():
        labels = np.asarray(values)[sample]
        names = np.unique(labels)
        colours = palette(len(names))
        for position, label in enumerate(names):
            group = coordinates[labels == label]
            figure.add_scattergl(
                x=json_numbers(group[:, 0], 2),
                y=json_numbers(group[:, 1], 2),
                mode="markers",
                name=str(label),
                marker=point_marker(position, colours[position], 5),
                showlegend=len(names) <= MAX_LEGEND,
                visible=factor == first,
            )
            trace_factors.append(factor)

    set_style(figure, title, height=560)
    figure.update_layout(updatemenus=[factor_menu(list(ordered), trace_factors)])
    figure.update_layout(margin={"l": 10, "r": 10, "t": 84, "b": 10})
    figure.update_xaxes(showticklabels=False)
    figure.update_yaxes(showticklabels=False)

    return figure


def curves(
    series: Mapping[str, ArrayLike],
    chance: float | Mapping[str, float] | None = None,
    title: str = "",
    x_title: str = "step",
    y_title: str = "loss",
    x: ArrayLike | None = None,
) -> Figure:
    """Lines over a common axis, thinned to `MAX_POINTS` in all, and a dashed line at chance.

    Args:
        series: {name: (N,) values}.
        chance: value of the dashed line; several with their texts, {text: value}; or None.
        title: of the figure.
        x_title: of the horizontal axis.
        y_title: of the vertical axis.
        x: (N,) positions; None counts from 0.
    """
    figure = Figure()
    for name, values in series.items():
        heights = np.asarray(values, dtype=float)
        step = max(1, -(-len(heights) * len(series) // MAX_POINTS))
        positions = np.arange(len(heights)) if x is None else np.asarray(x)
        thinned = heights[::step]

        figure.add_scatter(
            x=positions[::step].tolist(),
            y=json_numbers(thinned),
            mode="lines" if len(thinned) > 1 else "markers",
            name=words_of(str(name)),  # plotly refuses names that are numbers
        )

    _add_chance_lines(figure, _chance_levels(chance))
    set_style(figure, title, height=380, x_title=x_title, y_title=y_title)
    return figure


def _add_chance_lines(figure: Figure, levels: Mapping[str, float]) -> None:
    """Draw dashed lines, with their texts right and left in turn, so that neighbours stay apart."""
    line = {"dash": "dash", "color": "black"}
    ascending = sorted(levels, key=lambda text: levels[text])
    for text, level in levels.items():
        side = "top right" if ascending.index(text) % 2 == 0 else "top left"
        figure.add_hline(y=float(level), line=line, annotation_text=text, annotation_position=side)


def _chance_levels(chance: float | Mapping[str, float] | None) -> Mapping[str, float]:
    """The dashed lines by their texts."""
    if chance is None:
        return {}
    if isinstance(chance, Mapping):
        return chance
    return {"no information": chance}


def trade_off(
    series: Mapping[str, tuple[ArrayLike, ArrayLike, Iterable[str]]],
    title: str = "",
    x_title: str = "emotion accuracy",
    y_title: str = "mouth error",
) -> Figure:
    """One line for each variant through its intensity scales: the gain across, the cost upwards.

    Args:
        series: {name: (x, y, texts)}, (K,) each in the order of the intensity scale; the texts are
            written at the points of the first variant; the others have the same scale.
        title: of the figure.
        x_title: of the horizontal axis.
        y_title: of the vertical axis.
    """
    colours = palette(len(series))
    figure = Figure()
    for name, (gains, costs, texts) in series.items():
        figure.add_scatter(
            x=json_numbers(gains),
            y=json_numbers(costs),
            text=list(texts),
            mode="lines+markers" if figure.data else "lines+markers+text",
            textposition="top center",
            name=variant_words(str(name)),
            line={"color": colours[len(figure.data)]},
        )

    set_style(figure, title, height=480, x_title=x_title, y_title=y_title)
    return figure


def matrix(
    values: ArrayLike, rows: Sequence[str], columns: Sequence[str], title: str = ""
) -> Figure:
    """A matrix with its numbers written in; white is zero, blue positive, orange negative.

    Args:
        values: (R, C) numbers.
        rows: R texts.
        columns: C texts.
        title: of the figure.
    """
    numbers = np.asarray(values, dtype=float)
    limit = max(1e-6, float(np.nanmax(np.abs(numbers))))
    scale = [[0, COLOURS[1]], [0.5, "white"], [1, COLOURS[0]]]

    figure = Figure()
    figure.add_heatmap(
        z=json_numbers(numbers, 3),
        x=list(columns),
        y=list(rows),
        zmin=-limit,
        zmax=limit,
        texttemplate="%{z:.2f}",
        colorscale=scale,
        showscale=False,
    )
    figure.update_yaxes(autorange="reversed")
    set_style(figure, title, height=120 + 42 * len(rows))

    return figure


def alignment(
    similarity: ArrayLike, aligned: ArrayLike, title: str = "", frame_rate: float = 25
) -> Figure:
    """Similarity of every pair of moments of two clips, and the path of an alignment through it.

    Args:
        similarity: (T, U) cosine of frame t of the first clip and frame u of the second.
        aligned: (T,) frame of the second clip for each frame of the first.
        title: of the figure.
        frame_rate: frames a second, for the axes.
    """
    cosines = np.asarray(similarity, dtype=float)
    first_seconds = np.arange(cosines.shape[0]) / frame_rate
    second_seconds = np.arange(cosines.shape[1]) / frame_rate
    path_seconds = np.asarray(aligned) / frame_rate
    down = json_numbers(first_seconds)

    figure = Figure()
    figure.add_heatmap(
        z=json_numbers(cosines, 2),
        x=json_numbers(second_seconds),
        y=down,
        colorscale="Greys",
        showscale=False,
    )
    figure.add_scatter(
        x=json_numbers(path_seconds),
        y=down,
        mode="lines",
        name="path",
        line={"color": COLOURS[1], "width": 3},
    )
    figure.update_yaxes(autorange="reversed", title="first clip, seconds")
    figure.update_xaxes(title="second clip, seconds")
    set_style(figure, title, height=460)

    return figure
