"""The public interface: embeddings, scores and edits, and an import that stays light."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import cdrl
from cdrl.core.errors import InputError
from cdrl.core.paths import repository_root
from cdrl.core.results import all_scores, read_results
from cdrl.corpora.samples import ingest_crema_d, sample_paths
from cdrl.corpora.store import Store
from cdrl.media.video import video_facts
from cdrl.priors.features import extract
from cdrl.representation.ccrl import embed_content
from cdrl.representation.cerl import embed_emotion

STUDY = repository_root() / "results" / "study"
SAMPLE = sample_paths()[4]


def embedding(table, name):
    """(T, D) columns NAME_0, NAME_1, ... in order."""
    names = [column for column in table if column.startswith(f"{name}_")]
    assert names == [f"{name}_{index}" for index in range(len(names))]
    return table[names].to_numpy()


def run_python(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=repository_root()
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def encoders():
    return cdrl.load()


@pytest.fixture(scope="module")
def table(encoders):
    return encoders.embed(SAMPLE)


def test_every_frame_of_the_file_has_a_row_with_its_time(table):
    facts = video_facts(SAMPLE)
    assert len(table) == facts.num_frames
    assert table["time"].iloc[0] == 0
    assert (table["time"].diff().dropna() > 0).all()
    assert table["time"].iloc[-1] == pytest.approx((len(table) - 1) / facts.frame_rate, abs=1e-3)
    assert not table.isna().any(axis=None)


@pytest.mark.parametrize("name", ["content", "emotion"])
def test_embeddings_have_unit_norm(table, name):
    rows = embedding(table, name)
    assert rows.shape[1] > 1
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)


def test_content_changes_from_frame_to_frame(table):
    assert np.ptp(embedding(table, "content"), axis=0).max() > 0.1


def test_a_video_is_embedded_as_a_stored_clip_is(encoders, table, tmp_path):
    guidance = encoders.guidance
    ingest_crema_d([SAMPLE], tmp_path / "store", crop_size=96)
    store = Store(tmp_path / "store")
    features = extract(
        store,
        tmp_path / "features",
        language=guidance.language,
        vision=guidance.vision,
        device="cpu",
    )
    stored = {
        "content": embed_content(guidance.content_encoder, features),
        "emotion": embed_emotion(guidance.emotion_encoder, features),
    }
    distances = np.abs(table["time"].to_numpy()[:, None] - np.arange(len(store)) / 25)
    moments = distances.round(6).argmin(1)
    assert set(moments) == set(range(len(store)))
    for name, rows in stored.items():
        cosine = (embedding(table, name) * rows[moments]).sum(1)
        assert cosine.min() > 0.99, name


def test_the_function_embeds_by_the_committed_encoders(table, encoders, monkeypatch):
    monkeypatch.setattr("cdrl.api.load", lambda run: encoders)
    pd.testing.assert_frame_equal(cdrl.embed(str(SAMPLE)), table)


@pytest.mark.parametrize("kind", ["missing", "text", "folder"])
def test_what_is_no_video_is_refused_in_one_line(encoders, tmp_path, kind):
    video = tmp_path / "talk.mp4"
    if kind == "text":
        video.write_text("no video")
    if kind == "folder":
        video.mkdir()
    with pytest.raises(InputError) as caught:
        encoders.embed(video)
    message = str(caught.value)
    assert str(video) in message
    assert "\n" not in message


def test_no_encoders_are_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match="nowhere") as caught:
        cdrl.load(tmp_path / "nowhere")
    assert "\n" not in str(caught.value)


def test_scores_are_a_table_with_chance_interval_and_n():
    scores = cdrl.scores(STUDY)
    assert list(scores.columns) == ["value", "chance", "low", "high", "n"]
    assert scores.index.name == "score"
    assert scores.index.is_unique
    assert all(pd.api.types.is_float_dtype(kind) for kind in scores.dtypes)

    row = scores.loc["content.viseme"]
    assert row["value"] == pytest.approx(0.5538, abs=1e-4)
    assert row["chance"] == pytest.approx(0.1485)
    assert row["low"] < row["value"] < row["high"]
    assert row["n"] == 6000


def test_no_number_of_a_run_is_left_out_of_its_table():
    scores = cdrl.scores(STUDY)
    assert scores.notna().to_numpy().sum() == len(all_scores(read_results(STUDY)))


def test_a_pattern_selects_a_name_and_all_below_it():
    below = cdrl.scores(STUDY, "content.viseme")
    assert "content.viseme" in below.index
    assert all(name.startswith("content.viseme") for name in below.index)
    assert len(cdrl.scores(STUDY, "content.*")) > len(below)


def test_a_pattern_without_a_match_and_encoders_without_a_run_are_refused_in_one_line(encoders):
    with pytest.raises(InputError, match="nothing.like.it") as caught:
        cdrl.scores(STUDY, "nothing.like.it")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"cdrl\.load\('runs/demo'\)"):
        encoders.scores()


def test_an_edit_is_that_of_the_pipeline_and_a_run_takes_its_own_editor(encoders, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "cdrl.api.edit_video",
        lambda source, emotion, out, **options: calls.append((source, emotion, options)) or out,
    )
    out = cdrl.edit(str(SAMPLE), "happy", "happy.mp4", 0.7, "neutral")
    assert str(out) == "happy.mp4"
    source, emotion, options = calls[0]
    assert (source, emotion) == (SAMPLE, "happy")
    assert options == {
        "intensity": 0.7,
        "editor": "calibrated",
        "source_emotion": "neutral",
        "face": None,
        "mark": False,
    }

    encoders.edit(SAMPLE, "sad", "sad.mp4")
    monkeypatch.setattr(encoders, "folder", "runs/mine")
    encoders.edit(SAMPLE, "sad", "sad.mp4")
    encoders.edit(SAMPLE, "sad", "sad.mp4", editor="generator")
    editors = [options["editor"] for _, _, options in calls[1:]]
    assert editors == ["calibrated", "runs/mine", "generator"]


def test_an_unknown_emotion_is_refused_before_anything_is_written(tmp_path):
    out = tmp_path / "out.mp4"
    with pytest.raises(InputError, match="hapy"):
        cdrl.edit(SAMPLE, "hapy", out)
    assert not out.exists()


def test_the_import_is_light_and_completes_all_public_names():
    code = (
        "import sys, cdrl; heavy = {'torch', 'numpy', 'pandas', 'cdrl.api'}; "
        "dir(cdrl); cdrl.__version__; print(sorted(heavy & set(sys.modules)))"
    )
    assert run_python(code) == "[]"
    assert dir(cdrl) == sorted(cdrl.__all__)
    for name in cdrl.__all__:
        assert getattr(cdrl, name) is not None, name
    assert cdrl.__version__[0].isdigit()


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="embedd"):
        cdrl.embedd  # noqa: B018
