"""Figures show the numbers that they are given, and are stored as short plain JSON."""

import base64
import io

import numpy as np
import pytest
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
from cdrl.report.style import jpeg_uri


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


def test_bars_say_how_many_were_judged():
    figure = score_bars(["v", "e"], [0.5, 0.3], n=[6000, float("nan")])
    assert list(figure.data[0].text) == ["n 6000", ""]


def test_the_map_shows_one_factor_at_a_time_and_no_more_than_4000_points():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(5000, 2))
    emotion = rng.integers(0, 7, 5000)
    viseme = rng.integers(0, 15, 5000)
    figure = factor_map(points, {"emotion": emotion, "viseme": viseme}, seed=1)
    visible = [trace for trace in figure.data if trace.visible]
    assert len(figure.data) == 22
    assert len(visible) == 7
    assert sum(len(trace.x) for trace in visible) == MAX_POINTS

    second = figure.layout.updatemenus[0].buttons[1]
    assert second.label == "viseme"
    assert second.args[0]["visible"] == [False] * 7 + [True] * 15
    assert len(figure.to_json()) < 400_000
    happy = next(trace for trace in visible if trace.name == "4")
    assert set(happy.x) <= set(np.round(points[emotion == 4, 0], 2))


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
    assert [first.name, second.name] == ["cdrl", "baseline"]


def test_figures_are_stored_as_plain_json():
    images = np.zeros((1, 2, 8, 8, 3), np.uint8)
    figures = [
        face_grid(images, ["a"], ["x", "y"]),
        score_bars(["v"], [0.5], 0.1, [0.4], [0.6]),
        matrix([[1.0]], ["a"], ["b"]),
        curves({"loss": np.arange(5.0)}),
        factor_map(np.zeros((3, 2)), {"emotion": np.arange(3)}),
        alignment(np.ones((3, 4)), np.arange(3)),
    ]
    for figure in figures:
        assert "bdata" not in figure.to_json()


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
