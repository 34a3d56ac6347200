"""A study names the code of each job, and no row is of two codes."""

import pytest

from cdrl.core.code_identity import UNRECORDED
from cdrl.core.errors import InputError
from cdrl.core.files import read_json, write_json
from cdrl.core.paths import repository_root
from cdrl.core.settings import StudyConfig
from cdrl.study import representation_jobs
from cdrl.study.edit_jobs import copy_finished_jobs, edit_folder, edit_job_path
from cdrl.study.job_code import (
    STUDY,
    check_codes,
    codes_of_rows,
    describe_codes,
    have_one_code,
    job_code,
    study_code,
)
from cdrl.study.row import Job
from cdrl.study.run import list_jobs

TODAY = "0123456789ab"


def job_files(folder, codes):
    """Files of one row: {seed: its code, None where it is not done}."""
    files = {}
    for seed, code in codes.items():
        path = folder / f"cdrl.{seed}.json"
        if code is not None:
            record = {"scores": {"a": 1.0}}
            write_json(path, record if code == UNRECORDED else record | {"code": code})
        files[Job("content", "cdrl", seed)] = path
    return files


@pytest.mark.parametrize("codes", [{0: TODAY, 1: None}, {0: UNRECORDED, 1: UNRECORDED}, {0: None}])
def test_rows_of_one_code_are_accepted(tmp_path, codes):
    found = check_codes(job_files(tmp_path, codes), TODAY)
    assert set(found.values()) <= {TODAY, UNRECORDED}


@pytest.mark.parametrize(
    "codes", [{0: UNRECORDED, 1: None}, {0: TODAY, 1: "ba9876543210"}, {0: UNRECORDED, 1: TODAY}]
)
def test_a_row_that_would_be_of_two_codes_is_refused_before_any_work(tmp_path, codes):
    with pytest.raises(InputError) as refused:
        check_codes(job_files(tmp_path, codes), TODAY)
    for part in ("content.cdrl", "cdrl.0.json", TODAY, "--work"):
        assert part in str(refused.value)


def test_the_committed_jobs_are_of_one_unrecorded_code_and_this_is_said_once(tmp_path):
    config = StudyConfig(half="edit")
    folder = edit_folder(tmp_path, config)
    copy_finished_jobs(
        repository_root() / "results" / "study" / "jobs" / folder.name, folder / "jobs"
    )
    files = {job: edit_job_path(folder, job.row, job.seed) for job in list_jobs(config)}
    codes = check_codes(files, TODAY)
    assert set(codes.values()) == {UNRECORDED}
    line = describe_codes(codes, TODAY)
    assert "\n" not in line
    assert line.count(UNRECORDED) == 1
    assert describe_codes(codes, UNRECORDED) == ""


def test_a_work_folder_is_of_the_code_that_began_it(tmp_path):
    today = study_code().sum
    assert job_code(tmp_path) == today
    write_json(tmp_path / STUDY, {"hash": "x", "config": {}})
    assert job_code(tmp_path) == f"{UNRECORDED}+{today}"
    write_json(tmp_path / STUDY, {"hash": "x", "config": {}, "code": TODAY})
    assert job_code(tmp_path) == f"{TODAY}+{today}"
    write_json(tmp_path / STUDY, {"hash": "x", "config": {}, "code": today})
    assert job_code(tmp_path) == today


def test_a_job_writes_its_code_beside_its_scores(tmp_path, monkeypatch):
    monkeypatch.setattr(representation_jobs, "content_job", lambda *words: {"content.viseme": 0.5})
    config = StudyConfig()
    representation_jobs.do_job(tmp_path, config, "content", "cdrl", 0)
    record = read_json(representation_jobs.job_path(tmp_path, config.split, "content", "cdrl", 0))
    assert record["code"] == study_code().sum


def test_rows_of_two_codes_are_not_compared():
    codes = {"edit.image.cdrl": TODAY, "edit.image.baseline": UNRECORDED}
    assert not have_one_code(["image.cdrl", "image.baseline"], codes)
    assert have_one_code(["image.cdrl"], codes)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"scores": []}', '{"scores": {}, "code": 3}']
)
def test_a_damaged_job_is_named(tmp_path, text):
    files = job_files(tmp_path, {0: TODAY})
    path = next(iter(files.values()))
    path.write_text(text)
    with pytest.raises(InputError, match=r"cdrl\.0\.json"):
        codes_of_rows(files)
