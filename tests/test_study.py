"""The study on the committed sentences: every kind of row, resumed, put together over seeds."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cdrl.core.errors import InputError
from cdrl.core.files import read_json
from cdrl.core.former_names import present_name
from cdrl.core.paths import repository_root
from cdrl.core.results import all_scores, read_results, score_lines
from cdrl.core.settings import StudyConfig
from cdrl.corpora.store import MOUTH_COLUMNS, Store
from cdrl.corpora.store_join import PLACES
from cdrl.corpora.store_writer import StoreWriter
from cdrl.study.row import Job
from cdrl.study.rows import EDIT, rows_of
from cdrl.study.run import controls_inside, jobs_in_phases, list_jobs, over_seeds, run_study

ROOT = repository_root()
ROWS = (
    "content.cdrl,content.released,content.control.constant,"
    "emotion.cdrl,emotion.released,emotion.truth"
)
REPORTED = ("angry", "happy", "neutral", "sad")
SMALL = {
    "speech": "cached",
    "people": 4,
    "clips": 4,
    "report_people": 4,
    "pairs": 40,
    "content_steps": 8,
    "emotion_steps": 8,
    "released_steps": 4,
    "control_steps": 40,
    "fit_frames": 400,
    "swaps": 100,
    "gallery": 2,
    "workers": 1,
}
SCORED = (
    "content.swap_image",
    "released.content.swap_image",
    "released.content.swap_audio.audio",
    "content.emotion_clip",
    "content.speaker_share",
    "truth.viseme",
    "truth.retrieval_r1_5",
    "emotion.speaker_share",
    "hsic.content_emotion",
    "released.emotion.loss.noise",
    "control.permuted.content.emotion",
    "control.constant.content.viseme",
)


def copy_clips(store, out, emotions):
    """Write the clips of some emotions into a store of their own, with their truth."""
    with StoreWriter(out, store.crop) as writer:
        for number in np.flatnonzero(store.clips.emotion.isin(emotions)):
            clip = store.clips.iloc[number]
            row = {name: value for name, value in clip.items() if name not in PLACES}
            frames = store.frames(number)
            truth = {name: values[frames] for name, values in store.truth.items()}
            crops = store.face[frames]
            transforms = store.transforms[frames]
            mouth_box = clip[MOUTH_COLUMNS]
            writer.add(row, crops, transforms, store.sound(number), mouth_box, truth)


@pytest.fixture(scope="module")
def study(smoke, tmp_path_factory):
    """Six jobs on clips that the smoke run has rendered; four of the emotions report."""
    folder = tmp_path_factory.mktemp("study")
    work = folder / "work"
    work.mkdir()
    (work / "train").symlink_to(smoke / "00_corpus" / "train")
    copy_clips(Store(smoke / "00_corpus" / "report"), work / "report", REPORTED)
    config = StudyConfig(**SMALL, seeds=1, rows=ROWS)
    results = run_study(folder / "results", work, config)
    return folder, config, results


def test_every_row_is_scored_and_printed_under_its_name(study):
    scores = all_scores(study[2])
    assert [name for name in SCORED if name not in scores] == []
    assert scores["released.content.swap_image.chance"] == 0.5
    assert scores["content.viseme.n"] > 0
    assert scores["truth.emotion.emotion.n"] == scores["emotion.emotion.n"] > 0
    assert "truth.emotion.intensity" in scores
    assert scores["emotion_short.viseme.n"] == scores["emotion.viseme.n"] > 0


def test_rows_on_a_cluster_have_the_same_scores_to_the_bit(study, tmp_path):
    """Two worker processes of Dask on this machine, with one thread each, as jobs have here."""
    pytest.importorskip("distributed")
    folder, config, _ = study
    work = tmp_path / "work"
    work.mkdir()
    for name in ("train", "report", "train_actions", "report_actions", "code_report_0.npy"):
        (work / name).symlink_to(folder / "work" / name)

    on_cluster = replace(config, rows="content.control.constant,emotion.cdrl", cluster="local:2")
    run_study(tmp_path / "results", work, on_cluster)
    jobs = sorted((work / "jobs" / "report").glob("*.json"))
    assert len(jobs) == 2
    for job in jobs:
        here = read_json(folder / "work" / "jobs" / "report" / job.name)
        assert read_json(job)["scores"] == here["scores"]


def test_what_the_method_s_emotion_is_compared_with_is_made_before_it():
    jobs = list_jobs(StudyConfig(**SMALL, seeds=2, rows=ROWS))
    first, second = jobs_in_phases(jobs)
    assert first == [Job("content", "cdrl", 0), Job("content", "cdrl", 1)]
    assert set(second) == set(jobs) - set(first)


def test_audio_moves_no_code_of_images_alone(study):
    scores = all_scores(study[2])
    assert scores["content.swap_audio"] == 0
    assert scores["content.swap_audio.by_construction"] == 1
    # In four steps the attention of the released encoder has not learnt to listen yet.
    assert scores["released.content.swap_audio.image"] > 0.01


def test_the_table_has_a_line_for_each_row(study):
    folder = study[0]
    table = pd.read_csv(folder / "results" / "content.csv")
    assert table["row"].tolist() == ["cdrl", "released", "control.constant"]
    assert read_results(folder / "results")["run"]["study.jobs.done"] == 6


def test_constant_images_leave_the_loss_at_its_no_information_value(study):
    scores = all_scores(study[2])
    assert scores["control.constant.content.loss.contrast.inside"] == 1
    assert scores["control.constant.content.emotion.inside"] == 1


def test_a_finished_job_is_read_and_a_further_seed_is_added(study):
    folder = study[0]
    job = folder / "work" / "jobs" / "report" / "emotion.released.0.json"
    written = job.stat().st_mtime_ns
    config = StudyConfig(**SMALL, seeds=2, rows="emotion.released")
    again = run_study(folder / "results", folder / "work", config)
    assert job.stat().st_mtime_ns == written
    assert again["run"]["study.jobs.done"] == 2

    values = []
    for seed in (0, 1):
        record = read_json(job.with_name(f"emotion.released.{seed}.json"))
        values.append(record["scores"]["emotion.emotion"])
    scores = all_scores(again)
    name = "released.emotion.emotion"
    assert scores[name] == pytest.approx(sum(values) / 2)
    assert scores[f"{name}.seeds"] == 2


def test_other_settings_need_another_folder_of_work(study):
    folder = study[0]
    config = StudyConfig(**SMALL | {"pairs": 41}, seeds=1)
    with pytest.raises(InputError, match="was made with other settings") as refused:
        run_study(folder / "results", folder / "work", config)
    assert str(folder / "work") in str(refused.value)
    assert "choose another --work or remove it" in str(refused.value)


def test_unknown_rows_are_refused_before_anything_is_rendered(tmp_path):
    config = StudyConfig(rows="content.best")
    with pytest.raises(InputError, match="content.best is no row of split=report") as refused:
        run_study(tmp_path / "out", tmp_path / "work", config)
    assert "study.rows=content.best" in str(refused.value)
    assert "accepted are content.cdrl" in str(refused.value)
    assert not (tmp_path / "work").exists()


def test_more_people_than_there_are_are_refused_before_anything_is_rendered(tmp_path):
    with pytest.raises(InputError, match="split smoke_train: 5 people asked for, it has 1 to 4"):
        run_study(tmp_path / "out", tmp_path / "work", StudyConfig(speech="cached", people=5))
    assert not (tmp_path / "work").exists()


def test_what_was_chosen_is_not_what_is_reported():
    report = rows_of("report")
    choose = rows_of("choose")
    assert set(report["content"]) & set(choose["content"]) == {"cdrl", "raw"}


def test_rows_that_train_are_done_with_every_seed():
    jobs = list_jobs(StudyConfig())
    seeds = {job.seed for job in jobs if job[:2] == ("content", "cdrl")}
    assert seeds == {0, 1, 2}
    assert ("content", "raw", 1) not in jobs


def test_a_mean_over_seeds_keeps_the_spread():
    means = over_seeds([{"a": 0.2, "a.n": 9, "b": 1.0}, {"a": 0.4, "a.n": 9, "b": None}])
    assert means["a"] == pytest.approx(0.3)
    assert means["a.least"] == 0.2
    assert means["a.most"] == 0.4
    assert means["a.seeds"] == 2
    assert means["b"] == 1.0
    assert "b.least" not in means


CONTROL = "control.noise.content.emotion"
INSIDE = {
    CONTROL: 0.17,
    f"{CONTROL}.low": 0.15,
    f"{CONTROL}.high": 0.19,
    f"{CONTROL}.chance": 0.14,
    f"{CONTROL}.null_low": 0.1,
    f"{CONTROL}.null_high": 0.2,
}


def test_a_control_outside_its_interval_is_counted():
    outside = {
        "control.shuffled.content.loss.contrast": 3.0,
        "control.shuffled.content.loss.chance": 3.5,
    }
    answers = controls_inside(INSIDE | outside)
    assert answers["control.noise.content.emotion.inside"] == 1
    assert answers["control.shuffled.content.loss.contrast.inside"] == 0
    assert answers["control.inside"] == 0.5


def test_a_control_above_its_null_is_outside():
    answers = controls_inside(INSIDE | {f"{CONTROL}.null_high": 0.16})
    assert answers["control.inside"] == 0


def test_the_committed_study_names_its_commit_and_its_command():
    results = read_json(ROOT / "results" / "study" / "results.json")
    assert len(results["commit"]) == 40
    assert results["command"] == "cdrl study"
    assert results["run"]["time.hours"] > 0
    assert results["stages"]["study"]["config"]["seeds"] == 3


def test_the_committed_study_prints_what_version_0_1_0_printed():
    """A sample of its lines, drawn by `random.Random(0)`, kept under the names that it had."""
    sample = (ROOT / "tests" / "data" / "study_scores.txt").read_text().splitlines()
    expected = []
    for line in sample:
        name, value = line.split(" ")
        expected.append(f"{present_name(name)} {value}")

    printed = score_lines(all_scores(read_results(ROOT / "results" / "study")))
    in_sample = set(expected)
    assert [line for line in printed if line in in_sample] == expected
    assert len(expected) == 200


def test_scores_of_the_committed_study_have_present_names():
    scores = all_scores(read_results(ROOT / "results" / "study"))
    assert [name for name in scores if present_name(name) != name] == []
    rows = {name.removeprefix("spfem.") for name in scores}
    for row in EDIT:
        assert f"{row}.mouth_error" in rows
