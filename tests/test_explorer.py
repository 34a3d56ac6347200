"""The explorer without a browser: what it reads, what it sends, and what it says where it cannot."""

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
from cdrl.report.explorer import page as show

POINTS = 2 * 2 * 7 * FRAMES


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("explorer") / "run")


@pytest.fixture(scope="module")
def atlas(run):
    return explorer.read_atlas(run)


def test_nearest_frames_across_emotion_are_the_same_moment_of_the_same_sentence(atlas):
    moment = np.stack([np.round(atlas.seconds * 25), atlas.factors["sentence"].astype(float)])
    own = atlas.nearest["content"] < 0
    assert atlas.groups["content"] == sorted(SCORED_EMOTIONS) and own.sum() == POINTS
    assert np.array_equal(
        np.array(atlas.groups["content"])[own.argmax(1)], atlas.factors["emotion"]
    )
    hits = (moment[:, atlas.nearest["content"]] == moment[:, :, None]).all(0)
    assert hits[~own].mean() > 0.95 and np.median(atlas.likeness["content"][~own]) > 0.85
    found = atlas.factors["emotion"][atlas.nearest["content"]]
    assert np.all((found == np.array(atlas.groups["content"]))[~own])


def test_nearest_of_groups_agrees_with_loops_and_keeps_out_the_own_group():
    rng = np.random.default_rng(1)
    values, labels = rng.standard_normal((30, 5)), rng.integers(0, 4, 30)
    names, nearest, likeness = explorer.nearest_of_groups(values, labels)
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    for i in range(30):
        for k, name in enumerate(names):
            others = [j for j in range(30) if str(labels[j]) == name and name != str(labels[i])]
            best = max(others, key=lambda j: unit[i] @ unit[j], default=-1)
            assert nearest[i, k] == best
            assert likeness[i, k] == pytest.approx(
                unit[i] @ unit[best] if best >= 0 else 0, abs=1e-6
            )


def test_both_maps_show_the_same_frames_and_carry_their_trustworthiness(atlas, run):
    quality = map_quality(
        np.load(stage_folder(run, "probe") / "emotion.npy").astype(np.float32),
        atlas.points["emotion"],
    )
    assert atlas.quality["emotion"] == quality
    header, _ = show.payload(atlas)
    assert (
        f"trustworthiness {quality['trustworthiness']:.2f} (random map: about .5)"
        in header["maps"][1]["note"]
    )
    assert "n = 280" in header["maps"][0]["note"] and header["n"] == POINTS


def test_frames_that_only_one_map_has_are_left_out(tmp_path):
    run = tiny_run(tmp_path / "run")
    folder = stage_folder(run, "probe")
    kept = {"content": np.arange(0, POINTS, 2), "emotion": np.arange(0, POINTS, 3)}
    for space, rows in kept.items():
        np.save(folder / f"map_{space}.npy", np.repeat(rows[:, None], 2, 1).astype(np.float32))
        np.save(folder / f"map_{space}_rows.npy", rows)
    atlas = explorer.read_atlas(run)
    assert np.array_equal(atlas.frames, np.arange(0, POINTS, 6))
    assert all(np.array_equal(points[:, 0], atlas.frames) for points in atlas.points.values())


def test_a_run_without_map_files_is_mapped_and_so_is_one_asked_for_more_points(
    tmp_path, monkeypatch
):
    asked = []

    def fake(embedding, n_frames):
        asked.append(n_frames)
        rows = np.arange(min(n_frames, len(embedding)))
        return np.zeros((len(rows), 2), np.float32), rows

    monkeypatch.setattr(atlas_module, "umap_map", fake)
    assert len(explorer.read_atlas(tiny_run(tmp_path / "none", maps=False)).frames) == POINTS
    assert len(explorer.read_atlas(tiny_run(tmp_path / "some"), points=50).frames) == 50
    assert asked == [3000, 3000, 50, 50]


def test_the_numbers_are_read_back_in_the_order_of_unpack(atlas):
    header, block = show.payload(atlas)
    n, near = header["n"], [each["near"] for each in header["maps"]]
    kinds = [("<f4", 2 * n)] * 2 + [("<i4", n * k) for k in near] + [("<f4", n * k) for k in near]
    kinds += [("<i4", n), ("<f4", n)] + [("<u2", n)] * len(header["factors"])
    offset, arrays = 0, []
    for kind, count in kinds:
        arrays.append(np.frombuffer(block, kind, count, offset))
        offset += arrays[-1].nbytes
    assert offset == len(block)
    assert np.array_equal(arrays[0].reshape(n, 2), atlas.points["content"])
    assert np.array_equal(arrays[3].reshape(n, near[1]), atlas.nearest["emotion"])
    assert np.array_equal(
        np.array(header["factors"][0]["labels"])[arrays[8]], atlas.factors["emotion"]
    )
    assert np.array_equal(arrays[6], atlas.clip) and np.array_equal(arrays[7], atlas.seconds)
    script = show.code()
    order = re.findall(r"const (\w+) = (?:maps\.map\(\(\w*\) => )?take\((\w+)", script)
    assert [kind for _, kind in order] == [
        "Float32Array",
        "Int32Array",
        "Float32Array",
        "Int32Array",
        "Float32Array",
    ]


def test_the_static_twin_links_the_maps_by_legend_and_is_small(atlas):
    figure = show.static_figure(atlas)
    shown = [trace for trace in figure.data if trace.visible]
    assert {trace.name for trace in shown} == set(SCORED_EMOTIONS)
    for name in SCORED_EMOTIONS:
        pair = [trace for trace in shown if trace.name == name]
        assert len(pair) == 2 and len({trace.legendgroup for trace in pair}) == 1
        assert {trace.xaxis for trace in pair} == {"x", "x2"} and pair[0].marker.color == pair[
            1
        ].marker.color
    assert [button.label for button in figure.layout.updatemenus[0].buttons] == list(atlas.factors)
    assert all("trustworthiness" in each.text for each in figure.layout.annotations)
    assert len(figure.to_json()) < 300_000


def test_the_strip_on_paper_shows_a_frame_under_its_own_emotion(atlas):
    figure = explorer.neighbour_figure(atlas, rows=2)
    assert (
        list(figure.layout.xaxis.ticktext) == sorted(SCORED_EMOTIONS)
        and len(figure.layout.yaxis.ticktext) == 2
    )


def test_without_a_kernel_or_headless_the_plain_figure_is_shown(atlas, run, monkeypatch):
    assert isinstance(explorer.explore(run), go.Figure)
    watched(monkeypatch)
    monkeypatch.setenv("CDRL_HEADLESS", "1")
    assert isinstance(explorer.explore(atlas), go.Figure)


def watched(monkeypatch):
    """As in a notebook whose kernel has somebody in front of it."""
    monkeypatch.delenv("CDRL_HEADLESS", raising=False)
    monkeypatch.setitem(
        sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1))
    )


def test_without_anywidget_one_line_says_what_still_works(atlas, monkeypatch, capsys):
    watched(monkeypatch)
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "cdrl.report.explorer.widget", raising=False)
    assert isinstance(explorer.explore(atlas), go.Figure)
    line = capsys.readouterr().out
    assert (
        line.count("\n") == 1
        and "pip install anywidget. A plain figure instead, cdrl explore RUN writes a page" in line
    )


@pytest.fixture
def widget(atlas, monkeypatch):
    from cdrl.report.explorer.widget import Explorer

    made = Explorer(atlas)
    made.sent = []
    monkeypatch.setattr(
        made, "send", lambda content, buffers=None: made.sent.append((content, buffers))
    )
    return made


def test_the_widget_sends_the_face_and_the_sounding_clip_that_were_asked_for(widget, atlas):
    widget.answer(widget, {"key": "face 33", "what": "face", "which": 33})
    reply, [jpeg] = widget.sent[0]
    assert reply == {"key": "face 33", "kind": "image/jpeg"}
    expected = face(0, atlas.factors["emotion"][33], 3)
    assert np.abs(np.asarray(Image.open(io.BytesIO(jpeg))).astype(int) - expected).max() < 12
    widget.answer(widget, {"key": "clip 2", "what": "clip", "which": 2})
    reply, [film] = widget.sent[1]
    assert reply == {"key": "clip 2", "kind": "video/mp4", "sound": True}
    with av.open(io.BytesIO(film)) as container:
        assert "generated person" in container.metadata["comment"]
        assert sum(1 for _ in container.decode(video=0)) == FRAMES
    with av.open(io.BytesIO(film)) as container:
        heard = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])
    assert 0.1 < heard.std() < 0.3


def test_what_the_widget_cannot_read_it_says_in_a_line(widget):
    widget.answer(widget, {"key": "clip 999", "what": "clip", "which": 999})
    ((reply, buffers),) = widget.sent
    assert buffers is None and reply["fault"].startswith("clip 999 cannot be read (")
    assert reply["fault"].endswith("; the maps still work.")


def test_the_widget_carries_its_script_and_its_style(widget):
    state = widget.get_state()
    assert "export default { render }" in state["_esm"] and ".cdrl-frame" in state["_css"]


def test_where_no_widget_can_be_drawn_its_text_says_what_to_do(widget):
    assert "cdrl explore RUN writes the same as one HTML page" in repr(widget)


def test_a_clip_without_sound_is_told_apart(tmp_path):
    silent = explorer.read_atlas(tiny_run(tmp_path / "run", speakers=1, sentences=1, sound=False))
    assert not silent.has_sound(0) and silent.film(0)


def test_the_page_is_one_file_that_asks_for_nothing(run, tmp_path, capsys):
    out = tmp_path / "new" / "maps.html"
    assert main(["explore", str(run), "--out", str(out)]) == 0
    assert "no network is needed" in capsys.readouterr().out
    page = out.read_text()
    assert not re.findall(r"""(?:src|href)=|https?://|@import|\bimport\s*[("{]""", page)
    header = json.loads(re.search(r'id="header">(.*?)</script>', page, re.S).group(1))
    assert (
        header["n"] == POINTS
        and len(header["lengths"]["faces"]) == POINTS
        and len(header["clips"]) == 28
    )
    films = base64.b64decode(re.search(r'id="films">(.*?)</script>', page, re.S).group(1))
    assert len(films) == sum(header["lengths"]["films"]) and b"ftyp" in films[:12]
    assert "%" not in re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.S)
    assert [path.name for path in out.parent.iterdir()] == ["maps.html"]


def test_colours_of_many_labels_differ_and_intensity_darkens():
    assert len(set(show.palette("speaker", 24))) == 24
    shades = [int(colour[1:3], 16) for colour in show.palette("intensity", 3)]
    assert shades == sorted(shades, reverse=True) and len(show.palette("intensity", 1)) == 1


def refused(capsys, *words):
    assert main(list(words)) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    return printed.err[6:-1]


def test_a_run_that_is_not_there_or_not_ready_is_refused_with_what_can_be_read(tmp_path, capsys):
    assert "no such run: name a folder, as in runs/demo" in refused(
        capsys, "explore", str(tmp_path / "gone")
    )
    (tmp_path / "begun" / "02_content").mkdir(parents=True)
    line = refused(capsys, "explore", str(tmp_path / "begun"))
    assert (
        "has no maps yet (04_probe is not complete)" in line
        and "what is done so far: cdrl scores" in line
    )
    assert "as in --out maps.html" in refused(capsys, "explore", str(tmp_path), "--out", "maps.png")


def test_a_run_of_another_version_is_refused_and_its_scores_are_named(tmp_path, capsys):
    run = tiny_run(tmp_path / "run", made_by="0.0.7")
    line = refused(capsys, "explore", str(run))
    assert (
        "was made by cdrl 0.0.7, this is 0." in line
        and f"can still be read: cdrl scores {run}" in line
    )
    assert (
        main(["scores", str(run), "content"]) == 0
        and capsys.readouterr().out == "content.viseme 0.5\n"
    )
    (stage_folder(tiny_run(tmp_path / "part"), "probe") / "emotion.npy").unlink()
    assert "and lacks emotion.npy" in refused(capsys, "explore", str(tmp_path / "part"))


@pytest.mark.parametrize("points", [-1, 3, 281])
def test_more_points_than_frames_or_too_few_are_refused(run, capsys, points):
    line = refused(capsys, "explore", str(run), f"--points={points}")
    assert line == f"points={points}: 0 for the maps that the run has, or from 4 to 280, its frames"


def test_embeddings_of_other_frames_are_refused(tmp_path):
    run = tiny_run(tmp_path / "run")
    np.save(stage_folder(run, "probe") / "content.npy", np.zeros((3, 4), np.float16))
    with pytest.raises(
        InputError, match="its embeddings are of other frames than .*: make the run again"
    ):
        explorer.read_atlas(run)
