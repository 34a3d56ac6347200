"""The atlas on the screen: widget, page, and plain figures for where nobody can click."""

import base64
import html
import json
import os
import sys
from pathlib import Path

import numpy as np
from plotly.subplots import make_subplots
from tqdm import tqdm

from cdrl.report import figures
from cdrl.report import style as style_of_figures
from cdrl.report.explorer.atlas import SPACES, Atlas, read_atlas
from cdrl.report.ready import somebody_watches

HERE = Path(__file__).parent
TITLES = {"content": "Content: what is said", "emotion": "Emotion: how it is felt"}
STRIPS = {
    "content": "Nearest by content under every other emotion (cosine)",
    "emotion": "Nearest by emotion in every other sentence (cosine)",
}
STATIC_POINTS = 1200


def explore(run, points: int = 0):
    """The explorer of a run, as the last line of a cell.

    Args:
        run: folder of a run, or an `Atlas`. points: as `read_atlas` takes it.

    Returns:
        A widget with two linked maps; the plain figure instead, where no browser can be in front of the kernel or
        anywidget is not installed (one line says so).
    """
    atlas = run if isinstance(run, Atlas) else read_atlas(run, points)
    if not somebody_watches():
        return static_figure(atlas)
    try:
        from cdrl.report.explorer.widget import Explorer
    except ImportError as error:
        print(
            f"explorer: {error}; pip install anywidget. A plain figure instead, cdrl explore RUN writes a page."
        )
        return static_figure(atlas)
    return Explorer(atlas)


def static_figure(atlas: Atlas):
    """Both maps side by side, coloured by one factor at a time; a legend's entry shows or hides it in both.

    Returns:
        A plotly figure of at most `STATIC_POINTS` frames, some 300 kB.
    """
    kept = np.unique(
        np.linspace(0, len(atlas.frames) - 1, min(STATIC_POINTS, len(atlas.frames))).astype(int)
    )
    lines = {space: quality_line(atlas, space).replace("), ", "),<br>", 1) for space in SPACES}
    notes = [
        f"{TITLES[space]}<br><span style='font-size:11px'>{lines[space]}</span>" for space in SPACES
    ]
    figure, owners = make_subplots(1, 2, subplot_titles=notes, horizontal_spacing=0.03), []
    for factor, labels in atlas.factors.items():
        colours = palette(factor, len(np.unique(labels)))
        for code, label in enumerate(np.unique(labels)):
            rows = kept[labels[kept] == label]
            for column, space in enumerate(SPACES):
                x, y = (
                    np.round(atlas.points[space][rows].astype(float), 2).T.tolist()
                    if len(rows)
                    else ([], [])
                )
                figure.add_scattergl(
                    x=x,
                    y=y,
                    mode="markers",
                    name=str(label),
                    legendgroup=f"{factor} {label}",
                    showlegend=column == 0,
                    marker={"size": 5, "opacity": 0.8, "color": colours[code]},
                    hoverinfo="name",
                    visible=factor == next(iter(atlas.factors)),
                    row=1,
                    col=column + 1,
                )
                owners.append(factor)
    buttons = [
        {
            "label": factor,
            "method": "update",
            "args": [{"visible": [owner == factor for owner in owners]}],
        }
        for factor in atlas.factors
    ]
    menu = {
        "buttons": buttons,
        "type": "buttons",
        "direction": "right",
        "x": 0,
        "xanchor": "left",
        "y": 1.22,
        "yanchor": "bottom",
    }
    figure.update_layout(
        template=style_of_figures.TEMPLATE,
        height=560,
        updatemenus=[menu],
        margin={"t": 130, "l": 10, "r": 10},
    )
    figure.update_xaxes(showticklabels=False)
    figure.update_yaxes(showticklabels=False)
    return figure


def neighbour_figure(atlas: Atlas, rows: int = 4):
    """Frames under their own emotion and, beside each, the nearest of every other by content: the widget's strip on paper.

    Args:
        rows: frames, each of another viseme, speaker and emotion where there are so many.
    """
    names = atlas.groups["content"]
    chosen = _various(atlas, rows)
    cells, labels = [], []
    for position in chosen:
        near = atlas.nearest["content"][position]
        cells.append(
            [np.asarray(atlas.store.face[atlas.frames[k if k >= 0 else position]]) for k in near]
        )
        labels.append(
            f"{atlas.factors['emotion'][position]}, {atlas.factors[_speech(atlas)][position]}"
        )
    return figures.face_grid(
        np.stack([np.stack(row) for row in cells]),
        labels,
        names,
        "Nearest by content under every other emotion",
        cell=88,
    )


def write_page(run, out, points: int = 0) -> Path:
    """The explorer as one HTML file: maps, faces and clips inside, for any browser, without a network.

    Args:
        run: folder of a run, or an `Atlas`. out: the file. points: as `read_atlas` takes it.

    Returns:
        `out`; 3,000 frames of 600 clips are some 45 MB.
    """
    atlas, out = run if isinstance(run, Atlas) else read_atlas(run, points), Path(out)
    header, arrays = payload(atlas)
    clips = np.unique(atlas.clip)
    bar = {"disable": not sys.stderr.isatty(), "leave": False}
    parts = {
        "arrays": [arrays],
        "faces": [
            atlas.face(position, 64)
            for position in tqdm(range(len(atlas.frames)), desc="faces", **bar)
        ],
        "films": [atlas.film(clip) for clip in tqdm(clips, desc="clips", **bar)],
    }
    header["clips"] = {
        int(clip): [position, atlas.has_sound(clip)] for position, clip in enumerate(clips)
    }
    header["lengths"] = {name: [len(piece) for piece in pieces] for name, pieces in parts.items()}
    packed = "".join(
        f'<script type="application/octet-stream" id="{name}">{base64.b64encode(b"".join(pieces)).decode()}</script>\n'
        for name, pieces in parts.items()
    )
    page = (HERE / "page.html").read_text()
    given = json.dumps(header).replace("</", "<\\/")
    for mark, text in {
        "TITLE": html.escape(f"cdrl explorer: {atlas.name}"),
        "STYLE": style(),
        "DATA": packed,
        "HEADER": given,
        "CODE": code().replace("export default", "const widget ="),
    }.items():
        page = page.replace(f"%{mark}%", text, 1)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(out)
    return out


def payload(atlas: Atlas) -> tuple[dict, bytes]:
    """What the browser is given: a header that json can write, and one block of numbers.

    Returns:
        The header, and little-endian arrays in the order in which `unpack` of explorer.js reads them: positions
        (n, 2) float32 of each map, neighbours (n, G) int32 of each, cosines (n, G) float32 of each, clip (n,) int32,
        seconds (n,) float32, one (n,) uint16 code for each factor.
    """
    levels = {
        name: np.unique(labels, return_inverse=True) for name, labels in atlas.factors.items()
    }
    header = {
        "n": len(atlas.frames),
        "maps": [
            {
                "title": TITLES[space],
                "note": quality_line(atlas, space),
                "strip": STRIPS[space],
                "groups": atlas.groups[space],
                "near": len(atlas.groups[space]),
            }
            for space in SPACES
        ],
        "factors": [
            {
                "name": name,
                "labels": [str(label) for label in labels],
                "colours": palette(name, len(labels)),
            }
            for name, (labels, _) in levels.items()
        ],
    }
    arrays = [(atlas.points[space], "<f4") for space in SPACES]
    arrays += [(atlas.nearest[space], "<i4") for space in SPACES] + [
        (atlas.likeness[space], "<f4") for space in SPACES
    ]
    arrays += [
        (atlas.clip, "<i4"),
        (atlas.seconds, "<f4"),
        *((codes, "<u2") for _, codes in levels.values()),
    ]
    return header, b"".join(np.ascontiguousarray(values, kind).tobytes() for values, kind in arrays)


def quality_line(atlas: Atlas, space: str) -> str:
    """How far a map can be trusted, in one line; it stands under it."""
    found = {name: float(value) for name, value in atlas.quality[space].items()}
    return (
        f"trustworthiness {found['trustworthiness']:.2f} (random map: about .5), neighbours kept "
        f"{found['knn_agreement']:.2f} (chance {found['knn_agreement.chance']:.3f}), n = {found['n']:.0f}"
    )


def palette(factor: str, count: int) -> list[str]:
    """`count` colours as #rrggbb: light to dark for intensity, else the house's, then lighter and darker ones."""
    if factor == "intensity":
        return [_mixed("#0072B2", 255, 0.75 * (1 - k / max(1, count - 1))) for k in range(count)]
    rounds = [lambda c: c.lower(), lambda c: _mixed(c, 255, 0.5), lambda c: _mixed(c, 0, 0.45)]
    return [
        rounds[k // len(figures.COLOURS) % 3](figures.COLOURS[k % len(figures.COLOURS)])
        for k in range(count)
    ]


def code() -> str:
    """The JavaScript of the explorer, one module without imports."""
    return "\n".join((HERE / name).read_text() for name in ("scatter.js", "explorer.js"))


def style() -> str:
    """Its style sheet."""
    return (HERE / "explorer.css").read_text()


def _mixed(colour: str, level: int, share: float) -> str:
    parts = [round(int(colour[k : k + 2], 16) * (1 - share) + level * share) for k in (1, 3, 5)]
    return "#" + "".join(f"{part:02x}" for part in parts)


def _various(atlas: Atlas, rows: int) -> list[int]:
    """Positions of frames that differ in viseme, speaker and emotion, mouths at rest last; the same every time."""
    mixed = np.random.default_rng(0).permutation(len(atlas.frames))
    chosen, seen = [], set()
    for position in mixed[np.argsort(atlas.factors[_speech(atlas)][mixed] == "sil", kind="stable")]:
        own = {
            (name, atlas.factors[name][position]) for name in (_speech(atlas), "speaker", "emotion")
        }
        if len(chosen) < rows and not own & seen:
            chosen.append(int(position))
            seen |= own
    return chosen


def _speech(atlas: Atlas) -> str:
    """The factor that tells what is said: the viseme, or the sentence where a real corpus knows no more."""
    return "viseme" if "viseme" in atlas.factors else "sentence"
