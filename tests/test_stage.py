import json

import numpy as np
import pytest

from cdrl.core.errors import InputError
from cdrl.core.files import read_json, write_json
from cdrl.core.results import all_scores, read_results, score_lines
from cdrl.core.settings import STAGES, ContentConfig, CorpusConfig, PriorsConfig, stage_folder
from cdrl.core.stage import check_stage, finish_run, peak_memory_gb, run_stage


def first_two(run):
    run_stage(CorpusConfig(), run, lambda out: {"corpus.clips": 12})
    return run_stage(PriorsConfig(), run, lambda out: {})


def never(out):
    raise AssertionError("work was done again")


def test_a_finished_stage_is_read_and_not_done_again(tmp_path):
    first = run_stage(CorpusConfig(), tmp_path, lambda out: {"corpus.share": np.float32(0.25)})
    assert first["stages"]["corpus"]["scores"] == {"corpus.share": 0.25}
    assert run_stage(CorpusConfig(), tmp_path, never) == first


def test_a_stage_that_is_being_made_is_not_made_by_a_second_process(tmp_path):
    def meanwhile(out):
        with pytest.raises(InputError, match="another process is writing here"):
            run_stage(CorpusConfig(), tmp_path, never)
        return {"corpus.clips": 1}

    assert run_stage(CorpusConfig(), tmp_path, meanwhile) == run_stage(
        CorpusConfig(), tmp_path, never
    )


def test_an_interrupted_stage_goes_on_in_its_folder_and_its_seconds_add_up(tmp_path, monkeypatch):
    clock = iter([0.0, 5.0, 100.0, 107.0])
    monkeypatch.setattr("cdrl.core.stage.time.monotonic", lambda: next(clock))

    def interrupted(out):
        (out / "checkpoint").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(CorpusConfig(), tmp_path, interrupted)
    with pytest.raises(InputError, match="no results"):
        read_results(tmp_path)
    results = run_stage(
        CorpusConfig(),
        tmp_path,
        lambda out: {"corpus.found": (out / "checkpoint").read_text() == "half"},
    )
    assert results["stages"]["corpus"]["scores"]["corpus.found"] is True
    assert results["stages"]["corpus"]["seconds"] == 12.0


def test_a_folder_made_with_other_settings_is_refused_naming_them(tmp_path):
    run_stage(CorpusConfig(seed=3), tmp_path, lambda out: {})
    with pytest.raises(
        InputError,
        match=r"00_corpus was made with seed=3, now 4: choose another run name \(--out\) or remove",
    ):
        run_stage(CorpusConfig(seed=4), tmp_path, never)
    default = CorpusConfig().train_people
    with pytest.raises(
        InputError,
        match=f"was made with train_people={default} seed=3, now train_people=9 seed=4: ",
    ):
        check_stage(CorpusConfig(seed=4, train_people=9), tmp_path)


def test_an_unfinished_folder_with_other_settings_is_refused_too(tmp_path):
    with pytest.raises(RuntimeError):
        run_stage(CorpusConfig(seed=3), tmp_path, lambda out: (_ for _ in ()).throw(RuntimeError()))
    with pytest.raises(InputError, match="seed=3, now 4"):
        run_stage(CorpusConfig(seed=4), tmp_path, never)


def test_a_free_setting_may_change(tmp_path):
    run_stage(CorpusConfig(workers=1), tmp_path, lambda out: {})
    run_stage(CorpusConfig(workers=2), tmp_path, never)


def test_results_of_the_stages_before_are_copied_in(tmp_path):
    results = first_two(tmp_path)
    assert list(results["stages"]) == ["corpus", "priors"]
    assert read_json(stage_folder(tmp_path, "corpus") / "results.json")["stages"] == {
        "corpus": results["stages"]["corpus"]
    }
    assert all_scores(results) == {"corpus.clips": 12}
    assert (
        results["stages"]["priors"]["peak_gb"] > 0.01
        and results["stages"]["priors"]["versions"]["torch"]
    )


def test_a_stage_whose_predecessor_is_missing_is_refused(tmp_path):
    with pytest.raises(InputError, match="00_corpus is not complete: run notebook 00 first"):
        run_stage(PriorsConfig(), tmp_path, never)
    assert not stage_folder(tmp_path, "priors").exists()


def test_a_stage_made_from_another_predecessor_is_refused(tmp_path):
    first_two(tmp_path)
    (stage_folder(tmp_path, "corpus") / "results.json").unlink()
    (stage_folder(tmp_path, "corpus") / "config.json").unlink()
    run_stage(CorpusConfig(seed=9), tmp_path, lambda out: {})
    with pytest.raises(InputError, match="01_priors was made from another corpus than this run's"):
        run_stage(PriorsConfig(), tmp_path, never)


def test_one_score_cannot_come_from_two_stages(tmp_path):
    first_two(tmp_path)
    with pytest.raises(
        ValueError,
        match="stage content reports scores that a stage before it has reported: corpus.clips",
    ):
        run_stage(ContentConfig(), tmp_path, lambda out: {"corpus.clips": 13})


def test_results_are_the_run_s_own_once_it_is_finished(tmp_path):
    for config_class in STAGES.values():
        run_stage(config_class(), tmp_path, lambda out: {})
    assert "run" not in read_results(tmp_path)
    finish_run(tmp_path, 61.26, 250.0)
    assert all_scores(read_results(tmp_path)) == {
        "time.total_seconds": 61.3,
        "memory.peak_gb": 250.0,
    }
    finish_run(tmp_path, 61.26, 0.0)
    assert all_scores(read_results(tmp_path))["memory.peak_gb"] > 0.01


def test_results_of_an_unfinished_run_are_the_last_stage_s(tmp_path):
    first_two(tmp_path)
    assert list(read_results(tmp_path)["stages"]) == ["corpus", "priors"]


def test_numbers_that_are_not_finite_are_written_as_valid_json(tmp_path):
    write_json(tmp_path / "a.json", {"x": float("nan"), "y": [np.float64("inf"), np.int64(3)]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": None, "y": [None, 3]}
    assert score_lines(read_json(tmp_path / "a.json"), "x") == ["x nan"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "results.json").write_text('{"stages": ')
    with pytest.raises(
        InputError, match=r"results.json cannot be read \(.*\): remove it and run again"
    ):
        read_results(tmp_path)


def test_score_lines_select_by_prefix_and_by_wildcard():
    scores = {
        "content.viseme": 0.43217,
        "content.viseme.chance": 1 / 9,
        "content_av.viseme": 0.7,
        "fit.frames": 20000,
    }
    assert score_lines(scores, "content") == [
        "content.viseme 0.4322",
        "content.viseme.chance 0.1111",
    ]
    assert score_lines(scores, "*.viseme") == ["content.viseme 0.4322", "content_av.viseme 0.7"]
    assert score_lines(scores)[-1] == "fit.frames 20000"


def test_peak_memory_counts_what_was_touched():
    block = np.ones(60_000_000)  # 0.48 GB
    assert block.nbytes / 1e9 < peak_memory_gb() < 500


def test_a_grid_is_told_from_a_run(tmp_path):
    (tmp_path / "grid.html").write_text("")
    with pytest.raises(InputError, match=r"is a grid: its scores are in .*results\.csv"):
        read_results(tmp_path)
