"""The explorer without a browser: what it reads, what it sends, and its messages."""

import base64
import io
import json
import re
import sys
from types import SimpleNamespace

import av
import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image
from tiny_run import FRAMES, face, tiny_run

from cdrl.cli.main import main
from cdrl.core.errors import InputError
from cdrl.core.settings import stage_folder
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.evaluation.projection import map_quality
from cdrl.report import explorer
from cdrl.report.explorer import atlas as atlas_module
from cdrl.report.explorer.payload import factor_colours, payload, script

POINTS = 2 * 2 * 7 * FRAMES


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("explorer") / "run")


@pytest.fixture(scope="module")
def atlas(run):
    return explorer.read_atlas(run)


def test_nearest_frames_across_emotion_are_the_same_moment_of_the_same_sentence(atlas):
    frame_indices = np.round(atlas.seconds * 25)
    moments = np.stack([frame_indices, atlas.factors["sentence"].astype(float)])
    nearest = atlas.nearest["content"]
    groups = np.array(atlas.groups["content"])
    own_group = nearest < 0
    assert atlas.groups["content"] == sorted(SCORED_EMOTIONS)
    assert own_group.sum() == POINTS
    assert np.array_equal(groups[own_group.argmax(1)], atlas.factors["emotion"])

    same_moment = (moments[:, nearest] == moments[:, :, None]).all(0)
    assert same_moment[~own_group].mean() > 0.95
    assert np.median(atlas.similarity["content"][~own_group]) > 0.85

    emotions = atlas.factors["emotion"][nearest]
    assert np.all((emotions == groups)[~own_group])


def test_nearest_of_groups_agrees_with_loops_and_keeps_out_the_own_group():
    rng = np.random.default_rng(1)
    embedding = rng.standard_normal((30, 5))
    labels = rng.integers(0, 4, 30)
    names, nearest, similarity = explorer.nearest_of_groups(embedding, labels)
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    for i in range(30):
        for k, name in enumerate(names):
            best = -1
            cosine = 0.0
            for j in range(30):
                in_group = str(labels[j]) == name and name != str(labels[i])
                if in_group and (best < 0 or unit[i] @ unit[j] > cosine):
                    best = j
                    cosine = unit[i] @ unit[j]
            assert nearest[i, k] == best
            assert similarity[i, k] == pytest.approx(cosine, abs=1e-6)


def test_both_maps_show_the_same_frames_and_carry_their_trustworthiness(atlas, run):
    embedding = np.load(stage_folder(run, "probe") / "emotion.npy").astype(np.float32)
    quality = map_quality(embedding, atlas.points["emotion"])
    assert atlas.quality["emotion"] == quality
    header, _ = payload(atlas)
    trustworthiness = f"trustworthiness {quality['trustworthiness']:.2f} (random map: about .5)"
    assert trustworthiness in header["maps"][1]["note"]
    assert "n = 280" in header["maps"][0]["note"]
    assert header["n"] == POINTS


def test_frames_that_only_one_map_has_are_left_out(tmp_path):
    run = tiny_run(tmp_path / "run")
    folder = stage_folder(run, "probe")
    mapped = {"content": np.arange(0, POINTS, 2), "emotion": np.arange(0, POINTS, 3)}
    for space, rows in mapped.items():
        coordinates = np.repeat(rows[:, None], 2, 1).astype(np.float32)
        np.save(folder / f"map_{space}.npy", coordinates)
        np.save(folder / f"map_{space}_rows.npy", rows)
    atlas = explorer.read_atlas(run)
    assert np.array_equal(atlas.frames, np.arange(0, POINTS, 6))
    for points in atlas.points.values():
        assert np.array_equal(points[:, 0], atlas.frames)


def test_a_run_without_map_files_is_mapped_and_so_is_one_with_another_number_of_points(
    tmp_path, monkeypatch
):
    requested = []

    def fake_umap(embedding, n_frames):
        requested.append(n_frames)
        rows = np.arange(min(n_frames, len(embedding)))
        return np.zeros((len(rows), 2), np.float32), rows

    monkeypatch.setattr(atlas_module, "umap_map", fake_umap)
    without_maps = tiny_run(tmp_path / "none", maps=False)
    assert len(explorer.read_atlas(without_maps).frames) == POINTS
    assert len(explorer.read_atlas(tiny_run(tmp_path / "some"), points=50).frames) == 50
    assert requested == [3000, 3000, 50, 50]


def test_the_numbers_are_read_back_in_the_order_of_unpack(atlas):
    header, block = payload(atlas)
    n = header["n"]
    num_groups = [each["num_groups"] for each in header["maps"]]
    kinds = [("<f4", 2 * n)] * 2
    kinds += [("<i4", n * count) for count in num_groups]
    kinds += [("<f4", n * count) for count in num_groups]
    kinds += [("<i4", n), ("<f4", n)]
    kinds += [("<u2", n)] * len(header["factors"])
    offset = 0
    arrays = []
    for kind, count in kinds:
        arrays.append(np.frombuffer(block, kind, count, offset))
        offset += arrays[-1].nbytes
    assert offset == len(block)
    assert np.array_equal(arrays[0].reshape(n, 2), atlas.points["content"])
    assert np.array_equal(arrays[3].reshape(n, num_groups[1]), atlas.nearest["emotion"])
    labels = np.array(header["factors"][0]["labels"])
    assert np.array_equal(labels[arrays[8]], atlas.factors["emotion"])
    assert np.array_equal(arrays[6], atlas.clip)
    assert np.array_equal(arrays[7], atlas.seconds)

    order = re.findall(r"const (\w+) = (?:maps\.map\(\(\w*\) => )?take\((\w+)", script())
    names = ["points", "nearest", "similarity", "clip", "seconds"]
    types = ["Float32Array", "Int32Array", "Float32Array", "Int32Array", "Float32Array"]
    assert order == list(zip(names, types, strict=True))


def test_the_static_figure_links_the_maps_by_legend_and_is_small(atlas):
    figure = explorer.static_figure(atlas)
    visible = [trace for trace in figure.data if trace.visible]
    assert {trace.name for trace in visible} == set(SCORED_EMOTIONS)
    for name in SCORED_EMOTIONS:
        first, second = (trace for trace in visible if trace.name == name)
        assert first.legendgroup == second.legendgroup
        assert {first.xaxis, second.xaxis} == {"x", "x2"}
        assert first.marker.color == second.marker.color
    buttons = figure.layout.updatemenus[0].buttons
    assert [button.label for button in buttons] == [f"colour: {name}" for name in atlas.factors]
    for annotation in figure.layout.annotations:
        assert "trustworthiness" in annotation.text
    assert len(figure.to_json()) < 300_000


def test_the_neighbour_figure_shows_a_frame_under_its_own_emotion(atlas):
    figure = explorer.neighbour_figure(atlas, rows=2)
    assert list(figure.layout.xaxis.ticktext) == sorted(SCORED_EMOTIONS)
    assert len(figure.layout.yaxis.ticktext) == 2


def test_without_a_kernel_or_headless_the_plain_figure_is_shown(atlas, run, monkeypatch):
    assert isinstance(explorer.explore(run), go.Figure)
    pretend_a_browser(monkeypatch)
    monkeypatch.setenv("CDRL_HEADLESS", "1")
    assert isinstance(explorer.explore(atlas), go.Figure)


def pretend_a_browser(monkeypatch):
    """As in a notebook whose kernel has a browser in front of it."""
    monkeypatch.delenv("CDRL_HEADLESS", raising=False)
    shell = SimpleNamespace(kernel=1)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


def test_without_anywidget_one_line_says_what_still_works(atlas, monkeypatch, capsys):
    pretend_a_browser(monkeypatch)
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "cdrl.report.explorer.widget", raising=False)
    assert isinstance(explorer.explore(atlas), go.Figure)
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert "pip install anywidget" in line
    assert "cdrl explore RUN writes a page" in line


@pytest.fixture
def widget(atlas, monkeypatch):
    from cdrl.report.explorer.widget import Explorer

    instance = Explorer(atlas)
    instance.sent = []

    def keep(content, buffers=None):
        instance.sent.append((content, buffers))

    monkeypatch.setattr(instance, "send", keep)
    return instance


def test_the_widget_sends_the_requested_face_and_the_clip_with_its_sound(widget, atlas):
    widget.answer(widget, {"key": "face 33", "what": "face", "which": 33})
    reply, [jpeg] = widget.sent[0]
    assert reply == {"key": "face 33", "kind": "image/jpeg"}
    expected = face(0, atlas.factors["emotion"][33], 3)
    picture = np.asarray(Image.open(io.BytesIO(jpeg))).astype(int)
    assert np.abs(picture - expected).max() < 12

    widget.answer(widget, {"key": "clip 2", "what": "clip", "which": 2})
    reply, [film] = widget.sent[1]
    assert reply == {"key": "clip 2", "kind": "video/mp4", "sound": True}
    with av.open(io.BytesIO(film)) as container:
        assert "generated person" in container.metadata["comment"]
        assert sum(1 for _ in container.decode(video=0)) == FRAMES
    with av.open(io.BytesIO(film)) as container:
        pieces = [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
    assert 0.1 < np.concatenate(pieces).std() < 0.3


def test_what_the_widget_cannot_read_it_says_in_a_line(widget):
    widget.answer(widget, {"key": "clip 999", "what": "clip", "which": 999})
    ((reply, buffers),) = widget.sent
    assert buffers is None
    assert reply["key"] == "clip 999"
    assert reply["fault"].startswith("clip 999 cannot be read (")
    assert reply["fault"].endswith("; the maps still work.")


def test_the_widget_carries_its_script_and_its_style(widget):
    state = widget.get_state()
    assert "export default { render }" in state["_esm"]
    assert ".cdrl-frame" in state["_css"]


def test_where_no_widget_can_be_drawn_its_text_names_the_command(widget):
    assert "cdrl explore RUN" in repr(widget)


def test_films_of_a_page_are_small_enough_for_six_hundred(atlas):
    sizes = [len(atlas.film(clip)) for clip in range(3)]
    assert max(sizes) < 13_000


def test_a_film_keeps_its_colours(atlas):
    with av.open(io.BytesIO(atlas.film(0))) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    crops = np.asarray(atlas.store.face[atlas.store.frames(0)])
    assert np.abs(np.mean(frames, (0, 1, 2)) - crops.mean((0, 1, 2))).max() < 4


def test_a_clip_without_sound_is_told_apart(tmp_path):
    run = tiny_run(tmp_path / "run", speakers=1, sentences=1, sound=False)
    silent = explorer.read_atlas(run)
    assert not silent.has_sound(0)
    assert silent.film(0)


def test_the_page_is_one_file_without_any_request(run, tmp_path, capsys):
    out = tmp_path / "new" / "maps.html"
    assert main(["explore", str(run), "--out", str(out)]) == 0
    assert "no network is needed" in capsys.readouterr().out
    page = out.read_text()
    assert not re.findall(r"""(?:src|href)=|https?://|@import|\bimport\s*[("{]""", page)

    header_text = re.search(r'id="header">(.*?)</script>', page, re.S).group(1)
    header = json.loads(header_text)
    assert header["n"] == POINTS
    assert len(header["lengths"]["faces"]) == POINTS + 1, "all, and what all begin with"
    assert len(header["clips"]) == 28
    encoded = re.search(r'id="films">(.*?)</script>', page, re.S).group(1)
    films = base64.b64decode(encoded)
    assert len(films) == sum(header["lengths"]["films"])
    encoded = re.search(r'id="faces">(.*?)</script>', page, re.S).group(1)
    faces = base64.b64decode(encoded)
    beginning, first = header["lengths"]["faces"][:2]
    picture = Image.open(io.BytesIO(faces[: beginning + first]))
    assert picture.size == (64, 64)
    assert beginning > 400, "the tables of a JPEG stand in the page once"
    assert b"ftyp" in films[:12]

    markup = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.S)
    assert "%" not in markup
    assert [path.name for path in out.parent.iterdir()] == ["maps.html"]


def test_colours_of_many_labels_differ_and_intensity_darkens():
    assert len(set(factor_colours("speaker", 24))) == 24
    shades = [int(colour[1:3], 16) for colour in factor_colours("intensity", 3)]
    assert shades == sorted(shades, reverse=True)
    assert len(factor_colours("intensity", 1)) == 1


def refused(capsys, *words):
    """The one line with which the command refuses its input."""
    assert main(list(words)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err[6:-1]


def test_a_run_that_is_not_there_or_not_ready_is_refused_with_what_can_be_read(tmp_path, capsys):
    line = refused(capsys, "explore", str(tmp_path / "gone"))
    assert "no such run: name a folder, as in runs/demo" in line

    begun = tmp_path / "begun"
    (begun / "02_content").mkdir(parents=True)
    line = refused(capsys, "explore", str(begun))
    assert "has no maps yet (04_probe is not complete)" in line
    assert f"cdrl scores {begun}" in line

    line = refused(capsys, "explore", str(tmp_path), "--out", "maps.png")
    assert "as in --out maps.html" in line


def test_a_run_of_another_version_is_refused_and_its_scores_are_named(tmp_path, capsys):
    run = tiny_run(tmp_path / "run", made_by="0.0.7")
    line = refused(capsys, "explore", str(run))
    assert "was made by cdrl 0.0.7, this is 0." in line
    assert f"can still be read: cdrl scores {run}" in line
    assert main(["scores", str(run), "content"]) == 0
    assert capsys.readouterr().out == "content.viseme 0.5\n"

    part = tiny_run(tmp_path / "part")
    (stage_folder(part, "probe") / "emotion.npy").unlink()
    assert "and lacks emotion.npy" in refused(capsys, "explore", str(part))


@pytest.mark.parametrize("points", [-1, 3, 281])
def test_more_points_than_frames_or_too_few_are_refused(run, capsys, points):
    line = refused(capsys, "explore", str(run), f"--points={points}")
    assert line.startswith(f"points={points}: ")
    assert "from 4 to 280" in line


def test_embeddings_of_other_frames_are_refused(tmp_path):
    run = tiny_run(tmp_path / "run")
    np.save(stage_folder(run, "probe") / "content.npy", np.zeros((3, 4), np.float16))
    with pytest.raises(InputError, match="embeddings are of other frames than .*: make the run"):
        explorer.read_atlas(run)
