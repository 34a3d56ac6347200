"""The explorer as plain plotly figures, for a notebook that nobody can click in."""

import numpy as np
from plotly.subplots import make_subplots

from cdrl.report.explorer.atlas import SPACES, Atlas
from cdrl.report.explorer.payload import TITLES, factor_colours, quality_line
from cdrl.report.figures import MAX_LEGEND, face_grid
from cdrl.report.interactive import Figure
from cdrl.report.style import TEMPLATE, factor_menu, point_marker

STATIC_POINTS = 1200
CELL = 88  # pixels of a face in the strip


def static_figure(atlas: Atlas) -> Figure:
    """Both maps side by side, coloured by one factor at a time; the legend works on both.

    Args:
        atlas: the maps.

    Returns:
        A plotly figure of at most `STATIC_POINTS` frames, some 300 kB.
    """
    num_frames = len(atlas.frames)
    steps = np.linspace(0, num_frames - 1, min(STATIC_POINTS, num_frames))
    sample = np.unique(steps.astype(int))

    titles = [_map_title(atlas, space) for space in SPACES]
    figure = Figure()
    make_subplots(1, 2, subplot_titles=titles, horizontal_spacing=0.03, figure=figure)
    trace_factors: list[str] = []
    for factor in atlas.factors:
        trace_factors += _add_factor(figure, atlas, factor, sample)

    menu = factor_menu(list(atlas.factors), trace_factors)
    menu["pad"] = {"b": 66}  # above the titles of the maps
    margin = {"t": 120, "l": 10, "r": 10, "b": 10}
    figure.update_layout(template=TEMPLATE, height=620, updatemenus=[menu], margin=margin)
    figure.update_xaxes(showticklabels=False)
    figure.update_yaxes(showticklabels=False)

    return figure


def _map_title(atlas: Atlas, space: str) -> str:
    """Title of a map with its quality in smaller letters below, in two lines."""
    quality = quality_line(atlas, space).replace("), ", "),<br>", 1)
    return f"{TITLES[space]}<br><span style='font-size:11px'>{quality}</span>"


def _add_factor(figure: Figure, atlas: Atlas, factor: str, sample: np.ndarray) -> list[str]:
    """Draw the (n,) sampled frames of every label of a factor, in both maps.

    Returns:
        The factor's name, once for each trace.
    """
    values = atlas.factors[factor]
    labels = np.unique(values)
    colours = factor_colours(factor, len(labels))
    visible = factor == next(iter(atlas.factors))

    for position, label in enumerate(labels):
        marker = point_marker(position, colours[position], 5)
        rows = sample[values[sample] == label]
        for column, space in enumerate(SPACES):
            coordinates = np.round(atlas.points[space][rows].astype(float), 2)
            figure.add_scattergl(
                x=coordinates[:, 0].tolist(),
                y=coordinates[:, 1].tolist(),
                mode="markers",
                name=str(label),
                legendgroup=f"{factor} {label}",
                showlegend=column == 0 and len(labels) <= MAX_LEGEND,
                marker=marker,
                hoverinfo="name",
                visible=visible,
                row=1,
                col=column + 1,
            )

    return [factor] * (len(labels) * len(SPACES))


def neighbour_figure(atlas: Atlas, rows: int = 4) -> Figure:
    """Frames and, beside each, its nearest of every other emotion by content, as the widget shows.

    Args:
        atlas: the maps.
        rows: frames, each of another viseme, speaker and emotion where there are so many.
    """
    positions = _varied_frames(atlas, rows)
    speech = _speech_factor(atlas)
    cells = []
    labels = []
    for position in positions:
        cells.append(_neighbour_faces(atlas, position))
        emotion = atlas.factors["emotion"][position]
        labels.append(f"{emotion}, {atlas.factors[speech][position]}")

    title = "Nearest by content under every other emotion"
    return face_grid(np.stack(cells), labels, atlas.groups["content"], title, cell=CELL)


def _neighbour_faces(atlas: Atlas, position: int) -> np.ndarray:
    """(G, H, W, 3) faces: a frame under its own emotion, its neighbour under every other."""
    faces = []
    for neighbour in atlas.nearest["content"][position]:
        member = neighbour if neighbour >= 0 else position
        faces.append(np.asarray(atlas.store.face[atlas.frames[member]]))

    return np.stack(faces)


def _varied_frames(atlas: Atlas, count: int) -> list[int]:
    """Positions of frames that differ in viseme, speaker and emotion, mouths at rest last.

    The same every time.
    """
    speech = _speech_factor(atlas)
    order = np.random.default_rng(0).permutation(len(atlas.frames))
    at_rest = atlas.factors[speech][order] == "sil"
    order = order[np.argsort(at_rest, kind="stable")]

    positions: list[int] = []
    used: set[tuple] = set()
    for position in order:
        labels = {(name, atlas.factors[name][position]) for name in (speech, "speaker", "emotion")}
        if len(positions) < count and not labels & used:
            positions.append(int(position))
            used |= labels

    return positions


def _speech_factor(atlas: Atlas) -> str:
    """The factor of speech: the viseme, or the sentence where a real corpus has no visemes."""
    return "viseme" if "viseme" in atlas.factors else "sentence"
