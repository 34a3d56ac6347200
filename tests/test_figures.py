import base64
import io

import numpy as np
import pytest
from PIL import Image

from cdrl.report.figures import MAX_POINTS, confusion, curves, face_grid, factor_map, jpeg_uri, score_bars


def test_face_grid_puts_each_face_in_its_row_and_column():
    shades = np.array(
        [[[250, 10, 10], [10, 250, 10], [10, 10, 250]], [[250, 250, 10], [10, 250, 250], [250, 10, 250]]], np.uint8
    )
    figure = face_grid(
        np.broadcast_to(shades[:, :, None, None], (2, 3, 32, 24, 3)), ["a", "b"], ["x", "y", "z"], cell=40
    )
    picture = Image.open(io.BytesIO(base64.b64decode(figure.layout.images[0].source.partition(",")[2])))
    assert picture.size == (120, 80)
    for row in range(2):
        for column in range(3):
            found = np.array(picture.getpixel((column * 40 + 20, row * 40 + 20)), int)
            assert np.abs(found - shades[row, column]).max() < 20
    assert figure.layout.xaxis.ticktext == ("x", "y", "z") and figure.layout.yaxis.ticktext == ("a", "b")
    assert figure.layout.yaxis.range == (2, 0)


def test_bars_carry_their_intervals_and_their_chance_levels():
    figure = score_bars(
        ["v", "e"], [0.5, 0.3], chance=[0.1, 0.14], low=np.array([0.4, 0.2]), high=np.array([0.7, 0.35])
    )
    bars, chance = figure.data
    assert np.allclose(bars.error_x.array, [0.2, 0.05]) and np.allclose(bars.error_x.arrayminus, [0.1, 0.1])
    assert list(chance.x) == [0.1, 0.14] and list(chance.y) == ["v", "e"]
    assert list(score_bars(["v", "e"], [0.5, 0.3], chance=0.25).data[1].x) == [0.25, 0.25]


def test_the_map_shows_one_factor_at_a_time_and_no_more_than_4000_points():
    rng = np.random.default_rng(0)
    points, emotion, viseme = rng.normal(size=(5000, 2)), rng.integers(0, 7, 5000), rng.integers(0, 15, 5000)
    figure = factor_map(points, {"emotion": emotion, "viseme": viseme}, seed=1)
    visible = [trace for trace in figure.data if trace.visible]
    assert len(figure.data) == 22 and len(visible) == 7
    assert sum(len(trace.x) for trace in visible) == MAX_POINTS
    second = figure.layout.updatemenus[0].buttons[1]
    assert second.label == "viseme" and second.args[0]["visible"] == [False] * 7 + [True] * 15
    assert len(figure.to_json()) < 400_000
    happy = next(trace for trace in visible if trace.name == "4")
    assert set(happy.x) <= set(np.round(points[emotion == 4, 0], 2))


def test_curves_are_thinned_and_chance_is_a_dashed_line():
    figure = curves({"loss": np.arange(10_000.0), "other": np.arange(10.0)}, chance=2.5)
    assert len(figure.data[0].x) <= MAX_POINTS / 2 and figure.data[0].x[1] == figure.data[0].y[1] == 5
    assert figure.layout.shapes[0].y0 == 2.5 and figure.layout.shapes[0].line.dash == "dash"


def test_rows_of_a_confusion_matrix_sum_to_one():
    figure = confusion([[3, 1], [0, 4]], ["a", "b"])
    assert [list(row) for row in figure.data[0].z] == [[0.75, 0.25], [0.0, 1.0]]
    assert np.isfinite(np.array(confusion([[0, 0], [0, 4]], ["a", "b"]).data[0].z)).all()


@pytest.mark.parametrize("size", [8, 96])
def test_a_data_uri_holds_a_jpeg_of_the_same_size(size):
    image = Image.open(io.BytesIO(base64.b64decode(jpeg_uri(np.full((size, size, 3), 90, np.uint8)).partition(",")[2])))
    assert image.format == "JPEG" and image.size == (size, size)
