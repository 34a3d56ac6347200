"""Figures show the numbers that they are given, and are stored as short plain JSON."""

import base64
import io
import re

import nbformat
import numpy as np
import plotly.graph_objects as go
import pytest
from nbconvert import HTMLExporter
from nbconvert.preprocessors import ExecutePreprocessor
from PIL import Image

from cdrl.report.figures import (
    MAX_POINTS,
    alignment,
    curves,
    face_grid,
    factor_map,
    matrix,
    score_bars,
    speech,
    trade_off,
)
from cdrl.report.interactive import PLOTLY, mime_bundle
from cdrl.report.style import jpeg_uri, palette


def picture_of(uri):
    """The picture of a data URI."""
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_face_grid_puts_each_face_in_its_row_and_column():
    shades = np.array(
        [
            [[250, 10, 10], [10, 250, 10], [10, 10, 250]],
            [[250, 250, 10], [10, 250, 250], [250, 10, 250]],
        ],
        np.uint8,
    )
    images = np.broadcast_to(shades[:, :, None, None], (2, 3, 32, 24, 3))
    figure = face_grid(images, ["a", "b"], ["x", "y", "z"], cell=40)
    picture = picture_of(figure.layout.images[0].source)
    assert picture.size == (120, 80)
    for row in range(2):
        for column in range(3):
            colour = np.array(picture.getpixel((column * 40 + 20, row * 40 + 20)), int)
            assert np.abs(colour - shades[row, column]).max() < 20
    assert figure.layout.xaxis.ticktext == ("x", "y", "z")
    assert figure.layout.yaxis.ticktext == ("a", "b")
    assert figure.layout.yaxis.range == (2, 0)


def test_bars_carry_their_intervals_and_their_chance_levels():
    figure = score_bars(
        ["v", "e"], [0.5, 0.3], chance=[0.1, 0.14], low=[0.4, 0.2], high=[0.7, 0.35]
    )
    bars, chance = figure.data
    assert np.allclose(bars.error_x.array, [0.2, 0.05])
    assert np.allclose(bars.error_x.arrayminus, [0.1, 0.1])
    assert list(chance.x) == [0.1, 0.14]
    assert list(chance.y) == ["v", "e"]


def test_one_chance_level_serves_all_bars():
    figure = score_bars(["v", "e"], [0.5, 0.3], chance=0.25)
    assert list(figure.data[1].x) == [0.25, 0.25]


def test_bars_say_in_words_what_they_are_and_how_many_were_judged():
    names = ["raw.viseme", "spfem.image.baseline.mouth_error", "six clips"]
    figure = score_bars(names, [0.5, 0.3, 0.1], n=[6000, float("nan"), 6])
    labels = [label.replace("<br>", " ") for label in figure.data[0].y]
    assert labels == [
        "frozen features: mouth shape of a frame (n = 6000)",
        "image editor, without CDRL: mouth error",
        "six clips (n = 6)",
    ]
    assert max(len(line) for label in figure.data[0].y for line in label.split("<br>")) <= 36


def test_frozen_features_content_and_emotion_have_colours_of_their_own():
    names = ["raw.viseme", "content.viseme", "content_av.viseme", "emotion.emotion", "truth.viseme"]
    colours = score_bars(names, [0.5] * 5, chance=0.1).data[0].marker.color
    assert len(set(colours)) == 5
    assert "black" not in colours, "black is chance"


def test_the_map_shows_one_factor_at_a_time_and_no_more_than_4000_points():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(5000, 2))
    emotion = rng.integers(0, 7, 5000)
    viseme = rng.integers(0, 15, 5000)
    figure = factor_map(points, {"viseme": viseme, "emotion": emotion}, seed=1)
    visible = [trace for trace in figure.data if trace.visible]
    assert len(figure.data) == 22
    assert len(visible) == 7
    assert sum(len(trace.x) for trace in visible) == MAX_POINTS

    second = figure.layout.updatemenus[0].buttons[1]
    assert second.label == "colour: viseme"
    assert second.args[0]["visible"] == [False] * 7 + [True] * 15
    assert len(figure.to_json()) < 400_000
    happy = next(trace for trace in visible if trace.name == "4")
    assert set(happy.x) <= set(np.round(points[emotion == 4, 0], 2))
    visemes = figure.data[7:]
    assert len({trace.marker.color for trace in visemes}) == 15


def test_the_menu_of_a_map_takes_no_width_and_many_labels_stand_in_no_legend():
    speakers = np.arange(40).astype(str)
    figure = factor_map(np.zeros((40, 2)), {"speaker": speakers})
    assert figure.layout.updatemenus[0].type == "dropdown"
    assert not any(trace.showlegend for trace in figure.data)


def test_forty_five_labels_have_colours_that_differ():
    assert len(set(palette(45))) == 45


def test_neighbouring_chance_levels_have_their_texts_on_different_sides():
    levels = {"ln 8": 2.08, "ln 60": 4.1, "ln 10": 2.3}
    sides = {note.text: note.xanchor for note in curves({"a": [1.0, 2]}, levels).layout.annotations}
    assert sides["ln 8"] != sides["ln 10"] != sides["ln 60"]


def test_texts_above_columns_of_faces_have_room_below_the_title():
    images = np.zeros((1, 2, 8, 8, 3), np.uint8)
    long = face_grid(images, ["a"], ["happy to disgusted 2", "x"], title="Faces")
    short = face_grid(images, ["a"], ["x", "y"], title="Faces")
    assert "<br>" in long.layout.xaxis.ticktext[0]
    assert long.layout.margin.t > short.layout.margin.t


def test_curves_are_thinned_and_chance_is_a_dashed_line():
    figure = curves({"loss": np.arange(10_000.0), "other": np.arange(10.0)}, chance=2.5)
    loss = figure.data[0]
    assert len(loss.x) <= MAX_POINTS / 2
    assert loss.x[1] == loss.y[1] == 5
    assert figure.layout.shapes[0].y0 == 2.5
    assert figure.layout.shapes[0].line.dash == "dash"


def test_several_chance_levels_say_what_each_is():
    figure = curves({"a": [2.0, 1.0]}, chance={"ln 8": np.log(8), "ln 60": np.log(60)})
    texts = [annotation.text for annotation in figure.layout.annotations]
    heights = [shape.y0 for shape in figure.layout.shapes]
    assert texts == ["ln 8", "ln 60"]
    assert heights == pytest.approx([np.log(8), np.log(60)])


@pytest.mark.parametrize("size", [8, 96])
def test_a_data_uri_holds_a_jpeg_of_the_same_size(size):
    image = picture_of(jpeg_uri(np.full((size, size, 3), 90, np.uint8)))
    assert image.format == "JPEG"
    assert image.size == (size, size)


def test_a_matrix_shows_its_numbers_on_a_scale_around_zero():
    heat = matrix([[0.5, -0.25, 0.0]], ["a"], ["x", "y", "z"]).data[0]
    assert [list(row) for row in heat.z] == [[0.5, -0.25, 0.0]]
    assert (heat.zmin, heat.zmax) == (-0.5, 0.5)
    assert list(heat.x) == ["x", "y", "z"]
    assert list(heat.y) == ["a"]


def test_an_alignment_runs_in_seconds_first_clip_down():
    similarity = np.random.default_rng(0).random((50, 75))
    heat, path = alignment(similarity, np.arange(50) * 1.5).data
    assert np.shape(heat.z) == (50, 75)
    assert np.isclose(heat.x[-1], 74 / 25)
    assert np.isclose(heat.y[-1], 49 / 25)
    assert np.allclose(path.y, np.arange(50) / 25)
    assert np.allclose(path.x, np.arange(50) * 1.5 / 25)


def test_a_trade_off_keeps_the_order_of_the_intensity_scales():
    series = {
        "cdrl": ([0.1, 0.6, 0.5], [0.9, 0.7, 0.8], ["0", "1", "1.5"]),
        "baseline": ([0.1], [0.9], ["0"]),
    }
    first, second = trade_off(series).data
    assert list(first.x) == [0.1, 0.6, 0.5]
    assert list(first.text) == ["0", "1", "1.5"]
    assert [first.name, second.name] == ["with CDRL", "without CDRL"]


def every_figure():
    """One small figure of each kind."""
    images = np.full((1, 2, 8, 8, 3), 90, np.uint8)
    sound = np.sin(np.arange(16_000) / 9)
    return {
        "face_grid": face_grid(images, ["a"], ["x", "y"]),
        "score_bars": score_bars(["content.viseme"], [0.5], 0.1, [0.4], [0.6], [7]),
        "matrix": matrix([[1.0]], ["a"], ["b"]),
        "curves": curves({"loss": np.arange(5.0), "$other": [1.0]}, chance=2.5),
        "trade_off": trade_off({"cdrl": ([0.1, 0.6], [0.9, 0.7], ["0", "1"])}),
        "factor_map": factor_map(np.eye(3)[:, :2], {"emotion": np.arange(3)}),
        "alignment": alignment(np.eye(3, 4), np.arange(3)),
        "speech": speech(sound, [(0.5, 0.7, "AA")]),
    }


def test_figures_are_stored_as_plain_json():
    for figure in every_figure().values():
        assert "bdata" not in figure.to_json()


@pytest.mark.parametrize("kind", every_figure())
def test_every_kind_of_figure_is_stored_with_a_small_still_picture(kind):
    bundle = mime_bundle(every_figure()[kind])
    assert PLOTLY in bundle
    [mimetype] = [each for each in bundle if each.startswith("image/")]
    content = base64.b64decode(bundle[mimetype])
    assert len(content) < 60_000
    picture = Image.open(io.BytesIO(content)).convert("L")
    assert picture.width >= 300
    assert np.ptp(np.asarray(picture)) > 60, "something is drawn"


def test_the_still_picture_shows_a_longer_bar_for_a_higher_score():
    def dark_pixels(score):
        bundle = mime_bundle(score_bars(["raw.viseme", "truth.viseme"], [1.0, score]))
        picture = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).convert("L")
        return np.sum(np.abs(np.asarray(picture).astype(int) - 0x44) < 6)

    assert dark_pixels(0.8) == pytest.approx(2 * dark_pixels(0.4), rel=0.1)


def test_a_figure_of_a_kind_that_cannot_be_drawn_still_is_plotly_s():
    bundle = mime_bundle(go.Figure(go.Pie(values=[1, 2])))
    assert list(bundle) == [PLOTLY]


@pytest.mark.slow
def test_an_executed_notebook_exported_as_html_shows_its_figures():
    source = "from cdrl.report import figures"
    cells = [
        "figures.curves({'loss': [3.0, 2.0, 1.0]}, title='A curve')",
        "figures.score_bars(['content.viseme'], [0.5], 0.1)",
    ]
    notebook = nbformat.v4.new_notebook()
    for cell in (source, *cells):
        notebook.cells.append(nbformat.v4.new_code_cell(cell))
    ExecutePreprocessor(timeout=120, kernel_name="python3").preprocess(notebook)
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    assert [sorted(output.data) for output in outputs] == [[PLOTLY, "image/png"]] * 2

    page, _ = HTMLExporter().from_notebook_node(notebook)
    pictures = re.findall(r'<img[^>]*src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == len(cells)
    for picture in pictures:
        assert Image.open(io.BytesIO(base64.b64decode(picture))).width >= 300


def test_a_clip_s_phonemes_stand_where_they_are_said():
    sound = np.r_[np.zeros(8000), 0.5 * np.sin(np.arange(8000) / 9)]
    figure = speech(sound, [(0.0, 0.5, "sil"), (0.5, 0.7, "AA"), (0.7, 1.0, "B")])
    upper, lower, edges, names = figure.data
    assert list(names.text) == ["AA", "B"]
    assert np.allclose(names.x, [0.6, 0.85])
    assert {value for value in edges.x if value is not None} == {0.5, 0.7, 1.0}

    times = np.array(upper.x)
    peaks = np.array(upper.y)
    assert times[-1] == pytest.approx(1, abs=0.01)
    assert max(peaks) == 1
    assert peaks[times < 0.49].max() == 0
    assert np.allclose(peaks, -np.array(lower.y))
    assert len(speech(sound).data) == 2
