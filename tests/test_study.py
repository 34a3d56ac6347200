"""The study on the committed sentences: every kind of row, resumed, summed up over seeds."""

import pandas as pd
import pytest

from cdrl.core.errors import InputError
from cdrl.core.files import read_json
from cdrl.core.paths import repository_root
from cdrl.core.results import all_scores, read_results
from cdrl.core.settings import StudyConfig
from cdrl.study.rows import rows_of
from cdrl.study.run import controls_inside, list_jobs, over_seeds, run_study

ROWS = "content.cdrl,content.released,content.control.constant,emotion.cdrl,emotion.released,emotion.truth"
SMALL = {
    "speech": "cached",
    "people": 4,
    "clips": 4,
    "report_people": 4,
    "pairs": 40,
    "content_steps": 8,
    "emotion_steps": 8,
    "released_steps": 4,
    "fit_frames": 400,
    "swaps": 100,
    "gallery": 2,
    "workers": 1,
}


@pytest.fixture(scope="module")
def study(smoke, tmp_path_factory):
    """Six jobs on the clips that the smoke run has rendered."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "work").mkdir()
    for name in ("train", "report"):
        (folder / "work" / name).symlink_to(smoke / "00_corpus" / name)
    config = StudyConfig(**SMALL, seeds=1, rows=ROWS)
    return folder, config, run_study(folder / "results", folder / "work", config)


def test_every_row_is_scored_and_printed_under_its_name(study):
    folder, _, results = study
    scores = all_scores(results)
    for name in (
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
    ):
        assert name in scores, name
    assert scores["released.content.swap_image.chance"] == 0.5 and scores["content.viseme.n"] > 0
    assert scores["content.swap_audio"] == 0 and scores["content.swap_audio.by_construction"] == 1
    assert (
        scores["released.content.swap_audio.image"] > 0.01
    )  # in four steps its attention has not learnt to listen yet
    table = pd.read_csv(folder / "results" / "content.csv")
    assert table["row"].tolist() == ["cdrl", "released", "control.constant"]
    assert (
        scores["truth.emotion.emotion.n"] == scores["emotion.emotion.n"] > 0
        and "truth.emotion.intensity" in scores
    )
    assert scores["emotion_short.viseme.n"] == scores["emotion.viseme.n"] > 0
    assert read_results(folder / "results")["run"]["study.jobs.done"] == 6


def test_constant_images_leave_the_loss_at_its_no_information_value(study):
    scores = all_scores(study[2])
    assert scores["control.constant.content.loss.contrast.inside"] == 1
    assert scores["control.constant.content.emotion.inside"] == 1


def test_a_finished_job_is_read_and_a_further_seed_is_added(study):
    folder, config, before = study
    job = folder / "work" / "jobs" / "report" / "emotion.released.0.json"
    made = job.stat().st_mtime_ns
    again = run_study(
        folder / "results", folder / "work", StudyConfig(**SMALL, seeds=2, rows="emotion.released")
    )
    assert job.stat().st_mtime_ns == made and again["run"]["study.jobs.done"] == 2
    key = "released.emotion.emotion"
    both = [
        read_json(job.with_name(f"emotion.released.{seed}.json"))["scores"]["emotion.emotion"]
        for seed in (0, 1)
    ]
    assert (
        all_scores(again)[key] == pytest.approx(sum(both) / 2)
        and all_scores(again)[f"{key}.seeds"] == 2
    )


def test_other_settings_need_another_folder_of_work(study):
    folder, _, _ = study
    with pytest.raises(
        InputError, match="was made with other settings .*: choose another --work or remove it"
    ):
        run_study(
            folder / "results", folder / "work", StudyConfig(**SMALL | {"pairs": 41}, seeds=1)
        )


def test_unknown_rows_are_refused_before_anything_is_rendered(tmp_path):
    with pytest.raises(
        InputError,
        match="study.rows=content.best: content.best is no row of split=report: accepted are content.cdrl",
    ):
        run_study(tmp_path / "out", tmp_path / "work", StudyConfig(rows="content.best"))
    assert not (tmp_path / "work").exists()


def test_what_was_chosen_is_not_what_is_reported():
    report, choose = rows_of("report"), rows_of("choose")
    assert set(report["content"]) & set(choose["content"]) == {"cdrl", "raw"}
    seeds = {job[2] for job in list_jobs(StudyConfig()) if job[:2] == ("content", "cdrl")}
    assert seeds == {0, 1, 2} and ("content", "raw", 1) not in list_jobs(StudyConfig())


def test_a_mean_over_seeds_keeps_the_spread():
    means = over_seeds([{"a": 0.2, "a.n": 9, "b": 1.0}, {"a": 0.4, "a.n": 9, "b": None}])
    assert means["a"] == pytest.approx(0.3) and (
        means["a.least"],
        means["a.most"],
        means["a.seeds"],
    ) == (0.2, 0.4, 2)
    assert means["b"] == 1.0 and "b.least" not in means


def test_a_control_outside_its_interval_is_counted():
    name = "control.noise.content.emotion"
    inside = {
        name: 0.17,
        f"{name}.low": 0.15,
        f"{name}.high": 0.19,
        f"{name}.chance": 0.14,
        f"{name}.null_low": 0.1,
        f"{name}.null_high": 0.2,
    }
    outside = {
        "control.shuffled.content.loss.contrast": 3.0,
        "control.shuffled.content.loss.chance": 3.5,
    }
    found = controls_inside(inside | outside)
    assert controls_inside(inside | {f"{name}.null_high": 0.16})["control.inside"] == 0
    assert (
        found["control.noise.content.emotion.inside"] == 1
        and found["control.shuffled.content.loss.contrast.inside"] == 0
    )
    assert found["control.inside"] == 0.5


def test_the_committed_study_names_its_commit_and_its_command():
    results = read_json(repository_root() / "results" / "study" / "results.json")
    assert (
        len(results["commit"]) == 40
        and results["command"] == "cdrl study"
        and results["run"]["time.hours"] > 0
    )
    assert results["stages"]["study"]["config"]["seeds"] == 3
