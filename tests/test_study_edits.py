"""The edit half of the study on the committed sentences: every variant, resumed, put together."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cdrl.baselines.released.guidance import ReleasedGuidance
from cdrl.core.errors import InputError
from cdrl.core.files import read_json, write_json
from cdrl.core.former_names import EDITORS as FORMER_EDITORS
from cdrl.core.paths import repository_root
from cdrl.core.results import all_scores
from cdrl.core.settings import StudyConfig, from_dict
from cdrl.core.weight_files import checksum
from cdrl.corpora.store import Store
from cdrl.editors.actions import RENDERER
from cdrl.editors.constant_baseline import fit_constant
from cdrl.evaluation.edit_comparison import parse_intensity_scales
from cdrl.evaluation.readings import load_references, save_references
from cdrl.models.image_editor import MAX_INTENSITY
from cdrl.priors.actions import ACTION_TRACKER
from cdrl.study.action_jobs import tracker_folder
from cdrl.study.edit_jobs import (
    EDITORS,
    copy_finished_jobs,
    edit_folder,
    edit_job_path,
    open_edits,
    prepare_edits,
    read_statistics,
    shared_path,
    variant_of,
)
from cdrl.study.row import Job
from cdrl.study.rows import EDIT
from cdrl.study.run import list_jobs, run_study
from cdrl.study.tables import difference_at_any_weight

ROOT = repository_root()
COMMITTED_JOBS = ROOT / "results" / "study" / "jobs"
EDITS = 5  # of four people
SMALL = {
    "speech": "cached",
    "people": 4,
    "clips": 4,
    "report_people": 4,
    "pairs": 40,
    "content_steps": 4,
    "emotion_steps": 4,
    "released_steps": 2,
    "edits": EDITS,
    "edit_pairs": EDITS,
    "edit_steps": 2,
    "edit_batch": 2,
    "edit_sweep": "0.5",
    "workers": 1,
    "half": "edit",
    "manipulator_steps": 2,
    "distil_steps": 2,
}
ROWS = [name for name in EDIT if not name.endswith(("_half", "_fivefold"))]
PICTURE_SCORES = ("psnr", "identity", "mouth_l1")
COMMON_SCORES = (
    "mouth_error.low",
    "emotion_accuracy.truth_1",
    "speech_correlation",
    "jitter.happy",
)
UNTRAINED = (
    "image.copy_source",
    "curves.truth",
    "curves.paired",
    "rendered.tracked",
    "rendered.expected",
)


class HiddenEdits:
    """True edits that nothing can read until an editor is trained."""

    def __init__(self, edits):
        self.edits = edits
        self.hidden = True

    def __getattr__(self, name):
        assert not self.hidden, f"the training of an editor reads {name} of the true edits"
        return getattr(self.edits, name)


def watched(train, opened):
    """A function of `EDITORS` that notes in `opened` the stores that the training of a row opens.

    It trains from the beginning: what an earlier row left is removed.
    """
    open_store = Store.__init__

    def train_watched(work, config, row, seed, edits):
        manipulators = tracker_folder(edit_folder(work, config)) / "manipulators"
        shutil.rmtree(manipulators / f"{variant_of(row)}.{seed}", ignore_errors=True)
        hidden = HiddenEdits(edits)
        names = opened.setdefault(row, set())

        def record(self, path):
            names.add(Path(path).name)
            open_store(self, path)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Store, "__init__", record)
            result = train(work, config, row, seed, hidden)
        hidden.hidden = False
        return result

    return train_watched


def do_here(jobs, work, config):
    """Do the jobs in this process; `test_study` has them done in others."""
    for function, *arguments in jobs:
        function(work, config, *arguments)
    return []


@pytest.fixture(scope="module", autouse=True)
def one_process():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cdrl.study.run.run_jobs", do_here)
        yield


@pytest.fixture(scope="module")
def opened_stores():
    """{row: names of the stores that its training opened}; `study` fills it."""
    return {}


@pytest.fixture(scope="module")
def study(smoke, tmp_path_factory, one_process, opened_stores):
    """Every variant with one seed on the clips of the smoke run; the other half's results exist."""
    folder = tmp_path_factory.mktemp("edits")
    (folder / "work").mkdir()
    for name in ("train", "report"):
        (folder / "work" / name).symlink_to(smoke / "00_corpus" / name)
    other_half = {
        "stages": {"study": {"scores": {"content.viseme": 0.5}}},
        "run": {"time.hours": 2.0},
    }
    write_json(folder / "results" / "results.json", other_half)
    rows = ",".join(f"edit.{name}" for name in ROWS)
    config = StudyConfig(**SMALL, seeds=1, rows=rows)
    editors = {name: watched(train, opened_stores) for name, train in EDITORS.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cdrl.study.edit_jobs.EDITORS", editors)
        patch.setattr("cdrl.study.edit_jobs.fit_constant", partial(fit_constant, steps=10))
        results = run_study(folder / "results", folder / "work", config)
    return folder, config, results


@pytest.mark.parametrize("row", [row for row in ROWS if not row.startswith("curves.")])
def test_every_variant_is_scored(study, row):
    scores = all_scores(study[2])
    name = f"spfem.{row}"
    expected = {f"{name}.{score}" for score in COMMON_SCORES}
    assert expected <= scores.keys()
    picture_scores = [score for score in PICTURE_SCORES if f"{name}.{score}" in scores]
    assert picture_scores == ([] if row.startswith("rendered.") else list(PICTURE_SCORES))
    assert scores[f"{name}.mouth_error.n"] == EDITS
    assert scores[f"{name}.mouth_error.seeds"] == 1


@pytest.mark.parametrize("row", ["curves.truth", "curves.paired"])
def test_rows_of_curves_have_no_picture_and_no_emotion(study, row):
    scores = all_scores(study[2])
    has_error = scores[f"spfem.{row}.mouth_error.low"] > 0
    assert has_error == (row != "curves.truth")
    assert f"spfem.{row}.emotion_accuracy" not in scores


def test_sources_and_true_edits_score_what_they_must(study):
    scores = all_scores(study[2])
    assert scores["spfem.image.copy_source.speech_correlation"] == pytest.approx(1)
    assert scores["spfem.curves.truth.mouth_correlation"] == pytest.approx(1)
    assert 0 < scores["spfem.curves.truth.speech_correlation"] < 1


def test_the_results_of_the_other_half_stay(study):
    scores = all_scores(study[2])
    assert scores["content.viseme"] == 0.5
    assert scores["time.hours"] == 2.0
    assert scores["study.edits.jobs.done"] == len(ROWS)


def test_intensity_scale_zero_is_the_source(study):
    scores = all_scores(study[2])
    copied = scores["spfem.image.copy_source.mouth_error"]
    tracked = scores["spfem.rendered.tracked.mouth_error"]
    at_zero = scores["spfem.image.cdrl.scale_000.mouth_error"]
    assert at_zero == pytest.approx(copied)
    assert scores["spfem.rendered.cdrl.scale_000.mouth_error"] == pytest.approx(tracked)
    assert tracked != copied
    assert scores["spfem.actions.cdrl.scale_000.mouth_error"] == at_zero


def test_the_table_has_a_line_for_each_row(study):
    folder, config, _ = study
    table = pd.read_csv(folder / "results" / "edit.csv")
    rows = dict.fromkeys(job.row for job in list_jobs(config))
    assert table["row"].tolist() == list(rows)


def test_variants_are_compared_clip_by_clip(study):
    scores = all_scores(study[2])
    across = scores["spfem.actions.cdrl_minus_image_constant.psnr"]
    difference = scores["spfem.actions.cdrl.psnr"] - scores["spfem.image.constant.psnr"]
    assert across == pytest.approx(difference)

    name = "spfem.image.cdrl_minus_baseline.mouth_error"
    cdrl = scores["spfem.image.cdrl.mouth_error"]
    difference = cdrl - scores["spfem.image.baseline.mouth_error"]
    assert scores[name] == pytest.approx(difference)
    assert scores[f"{name}.low"] <= difference <= scores[f"{name}.high"]
    folder, config, _ = study
    people = set(open_edits(folder / "work", config).speakers)
    assert scores[f"{name}.n"] == len(people)
    assert f"{name}.happy" in scores

    table = pd.read_csv(study[0] / "results" / "edit_differences.csv").set_index("row")
    assert table.loc[name, "value"] == pytest.approx(difference, abs=1e-4)
    assert f"{name}.over_accuracies" in table.index


def test_variants_are_compared_at_equal_accuracy(study):
    scores = all_scores(study[2])
    assert "spfem.rendered.cdrl_minus_baseline.mouth_error.at_equal_accuracy.high" in scores
    name = "spfem.image.cdrl_minus_baseline.mouth_error"
    for judge in ("", ".judge_1", ".judge_2"):
        assert f"{name}.at_equal_accuracy{judge}.high" in scores


def test_of_several_weights_each_variant_uses_its_best(study):
    """The double weights are there, the halves are not: no such score is in the results yet."""
    folder, config, results = study
    name = "spfem.image.cdrl_minus_baseline.mouth_error.any_weight.at_equal_accuracy"
    assert name not in all_scores(results)

    shared = edit_folder(folder / "work", config)
    families = []
    for variant in ("cdrl", "baseline"):
        rows = (f"image.{variant}", f"image.{variant}_double")
        families.append([{0: read_statistics(shared, row, 0)} for row in rows])
    edits = open_edits(folder / "work", config)
    scores = difference_at_any_weight("x", families[0], families[1], edits)
    num_people = len(set(edits.speakers))
    assert scores["x.mouth_error.any_weight.at_equal_accuracy.n"] == num_people

    same = difference_at_any_weight("x", families[0], families[0], edits)
    assert same["x.mouth_error.any_weight.at_equal_accuracy"] == 0
    assert same["x.mouth_error.any_weight.over_accuracies.high"] == 0


TRAINED = [row for row in ROWS if row not in UNTRAINED and not EDIT[row].change]


def test_every_trained_row_was_watched(study, opened_stores):
    assert set(TRAINED) <= opened_stores.keys()


@pytest.mark.parametrize("row", TRAINED)
def test_no_variant_but_the_upper_bound_reads_a_true_edit(study, opened_stores, row):
    opened = opened_stores[row]
    if row == "image.paired":
        assert opened == {"train", "paired"}
    elif variant_of(row) == "paired":
        assert opened - {"train"} == {"paired"}
    else:
        assert opened <= {"train"}


def test_every_editor_trains_its_variants():
    trained = set(ROWS) - set(UNTRAINED)
    actions = ("baseline", "cdrl", "content", "emotion", "paired")
    variants = {
        "image": ("constant", *actions, "released", "baseline_double", "cdrl_double"),
        "rendered": actions,
        "actions": actions,
    }
    expected = set()
    for editor, names in variants.items():
        expected |= {f"{editor}.{name}" for name in names}
    assert trained == expected


def test_true_edits_of_the_upper_bound_are_of_training_people(study):
    folder, config, _ = study
    shared = edit_folder(folder / "work", config)
    paired = set(Store(shared / "paired").clips.speaker)
    assert paired <= set(Store(folder / "work" / "train").clips.speaker)
    assert not paired & set(Store(shared / "truth").clips.speaker)


def test_true_edits_of_training_people_are_rendered_for_the_upper_bound_alone(study, monkeypatch):
    folder, _, _ = study
    rendered = []

    def record(sources, requests, path, *sizes):
        rendered.append(path.name)

    monkeypatch.setattr("cdrl.study.edit_jobs.studio_edits.generate_edits", record)
    other = StudyConfig(**SMALL | {"edit_steps": 3}, seeds=1)
    jobs = [Job("edit", row, 0) for row in ROWS if not row.endswith(".paired")]
    prepare_edits(folder / "work", other, jobs)
    assert rendered == ["truth"]

    rendered.clear()
    prepare_edits(folder / "work", other, [Job("edit", "image.paired", 0)])
    assert rendered == ["truth", "paired"]


def test_a_finished_job_is_read_and_a_further_seed_is_added(study):
    folder, _, _ = study
    rows = "edit.image.copy_source,edit.image.baseline,edit.image.cdrl"
    config = StudyConfig(**SMALL, seeds=2, rows=rows)
    shared = edit_folder(folder / "work", config)
    first_job = edit_job_path(shared, "image.baseline", 0)
    written = first_job.stat().st_mtime_ns
    scores = all_scores(run_study(folder / "more", folder / "work", config))
    assert first_job.stat().st_mtime_ns == written
    assert scores["study.edits.jobs.done"] == 5

    name = "spfem.image.baseline.psnr"
    values = []
    for seed in (0, 1):
        record = read_json(edit_job_path(shared, "image.baseline", seed))
        values.append(record["scores"][name])
    assert scores[name] == pytest.approx(np.mean(values))
    assert scores[f"{name}.sd"] == pytest.approx(np.std(values, ddof=1))
    assert scores[f"{name}.n"] == EDITS
    assert scores["spfem.image.cdrl_minus_baseline.psnr.seeds"] == 2
    assert scores["spfem.image.cdrl_minus_baseline.psnr.n"] == 4  # people


def refuse_jobs(jobs, work, config):
    assert not jobs, f"done again: {jobs}"
    return []


def test_finished_jobs_travel_with_the_results(study, tmp_path, monkeypatch):
    """On another machine, where the work folder has no jobs, none is done again."""
    folder, config, before = study
    name = edit_folder(folder / "work", config).name
    other = tmp_path / "work"
    without_jobs = shutil.ignore_patterns("jobs", "editors", "manipulators")
    shutil.copytree(folder / "work", other, symlinks=True, ignore=without_jobs)
    monkeypatch.setattr("cdrl.study.run.run_jobs", refuse_jobs)
    again = all_scores(run_study(folder / "results", other, config))
    score = "spfem.image.cdrl.mouth_error.high"
    assert again[score] == all_scores(before)[score]
    assert (other / name / "jobs" / "image.cdrl.0.npz").exists()


def test_jobs_under_former_names_are_found_and_keep_their_names(study, tmp_path, monkeypatch):
    """Version 0.1.0 called the editors `drawn` and `coefficient`, in files and in their scores."""
    folder, config, before = study
    shared = edit_folder(folder / "work", config)
    work = tmp_path / "work"
    shutil.copytree(folder / "work", work, symlinks=True)
    renamed = 0
    for former, present in FORMER_EDITORS.items():
        for path in (work / shared.name / "jobs").glob(f"{present}.*"):
            if path.suffix == ".json":
                text = path.read_text().replace(f"spfem.{present}.", f"spfem.{former}.")
                path.write_text(text.replace("temporal_smoothness", "steady"))
            path.rename(path.with_name(path.name.replace(present, former, 1)))
            renamed += 1
    assert renamed == 2 * len([row for row in ROWS if row.startswith(("actions.", "rendered."))])

    monkeypatch.setattr("cdrl.study.run.run_jobs", refuse_jobs)
    again = run_study(tmp_path / "results", work, config)
    former_scores = again["stages"]["edits"]["scores"]
    present_scores = before["stages"]["edits"]["scores"]
    assert list(former_scores) == list(present_scores)
    # Four people leave some intervals of single emotions undefined: NaN equals NaN.
    np.testing.assert_equal(former_scores, present_scores)
    carried = {path.name for path in (tmp_path / "results" / "jobs" / shared.name).iterdir()}
    assert carried == {path.name for path in (work / shared.name / "jobs").iterdir()}


def test_the_committed_jobs_are_those_of_the_default_settings(tmp_path):
    config = StudyConfig(half="edit")
    folder = edit_folder(tmp_path, config)
    assert folder.name == "edit_7f2ba56a81a2"
    copy_finished_jobs(COMMITTED_JOBS / folder.name, folder / "jobs")
    jobs = list_jobs(config)
    missing = [job for job in jobs if not edit_job_path(folder, job.row, job.seed).exists()]
    assert len(jobs) == 69
    assert missing == []


def test_other_settings_of_the_edit_have_a_folder_of_their_own(study):
    folder, config, _ = study
    shared = edit_folder(folder / "work", config)
    longer = StudyConfig(**SMALL | {"edit_steps": 3}, seeds=1)
    assert edit_folder(folder / "work", longer) != shared
    more_seeds = StudyConfig(**SMALL | {"workers": 2}, seeds=3)
    assert edit_folder(folder / "work", more_seeds) == shared


@pytest.mark.parametrize(
    ("network", "same"), [(RENDERER, [True, True, False]), (ACTION_TRACKER, [True, False, False])]
)
def test_another_tracker_or_renderer_repeats_its_own_jobs_alone(
    tmp_path, monkeypatch, network, same
):
    rows = ("image.cdrl", "rendered.cdrl", "actions.cdrl")
    students = shared_path(tmp_path, "students", 1)
    before = [edit_job_path(tmp_path, row, 1) for row in rows]

    def other_checksum(path):
        return "0" * 64 if path.stem == network else checksum(path)

    for module in ("edit_jobs", "action_jobs"):
        monkeypatch.setattr(f"cdrl.study.{module}.checksum", other_checksum)
    after = [edit_job_path(tmp_path, row, 1) for row in rows]
    assert [path == former for path, former in zip(after, before, strict=True)] == same
    assert (shared_path(tmp_path, "students", 1) == students) == (network == RENDERER)
    assert shared_path(tmp_path, "curves") == tmp_path / "curves.npz"
    assert before[2].with_suffix(".npz").name.startswith("actions.cdrl.1.")


def test_references_are_kept_to_the_bit(study, tmp_path):
    folder, config, _ = study
    references = load_references(edit_folder(folder / "work", config) / "references.npz")
    save_references(references, tmp_path / "again.npz")
    again = load_references(tmp_path / "again.npz")
    assert len(again.truth) == EDITS
    assert again.truth[3].judge_a == references.truth[3].judge_a
    for before, after in zip(references.source, again.source, strict=True):
        assert np.array_equal(before.mouth_curves, after.mouth_curves)
    assert again.another_identity.shape == (EDITS, 64)
    assert again.truth[0].identity.shape == (64,)


def test_released_guidance_is_frozen_and_reaches_the_output_alone(study):
    folder, config, _ = study
    shared = edit_folder(folder / "work", config)
    guidance = ReleasedGuidance(shared / "released" / "0").train()
    assert not guidance.training
    assert not any(parameter.requires_grad for parameter in guidance.parameters())

    random = torch.Generator().manual_seed(0)
    clips = []
    for _ in range(3):
        clips.append(torch.rand(2, 5, 3, 64, 64, generator=random).requires_grad_(True))
    source, output, reference = clips
    num_audio = guidance.content_net.audio.out.in_features
    audio = torch.rand(2, 5, num_audio, generator=random)
    labels = torch.tensor([4, 5])
    content = guidance.content(source, output, audio_features=audio)
    emotion = guidance.emotion(output, reference=reference.detach(), label_indices=labels)
    (content.sum() + emotion.sum()).backward()
    assert output.grad[:, ::2].abs().sum() > 0
    assert source.grad is None
    assert content.shape == emotion.shape == (2,)

    same_content = guidance.content(source, source, audio_features=audio).detach()
    same_emotion = guidance.emotion(output, reference=output, label_indices=labels).detach()
    assert float(same_content.max()) < 1e-4
    assert float(same_emotion.max()) < 1e-5


def test_intensity_scales_are_read_in_order_with_one_among_them():
    assert parse_intensity_scales("1.5,0.5") == [0.5, 1.0, 1.5]


@pytest.mark.parametrize("scales", ["0.5,2", "strong", "0"])
def test_intensity_scales_are_checked(scales):
    with pytest.raises(InputError, match="1.5") as refused:
        parse_intensity_scales(scales)
    assert f"sweep={scales}" in str(refused.value)
    assert "sweep=0.5,1.5" in str(refused.value)


@pytest.mark.parametrize("scales", ["0.5,2", "strong", "0"])
def test_intensity_scales_of_the_study_are_checked_before_anything_runs(scales):
    with pytest.raises(InputError, match=f"edit_sweep={scales}") as refused:
        from_dict(StudyConfig, {"edit_sweep": scales, "half": "edit"})
    assert str(MAX_INTENSITY) in str(refused.value)


def test_one_half_has_its_own_jobs():
    kinds = {}
    for half in ("both", "representation", "edit"):
        kinds[half] = {job.kind for job in list_jobs(StudyConfig(half=half))}
    assert kinds == {
        "both": {"content", "emotion", "edit"},
        "representation": {"content", "emotion"},
        "edit": {"edit"},
    }


def test_the_edit_half_has_each_seeded_row_three_times():
    jobs = list_jobs(StudyConfig(half="edit"))
    assert len(jobs) == 3 * (11 + 5 + 5) + 6
    assert jobs[-1] == ("edit", "image.cdrl_double", 2)
    assert ("edit", "image.constant", 1) not in jobs


def test_unknown_rows_are_refused_with_those_that_are_accepted():
    with pytest.raises(InputError, match="edit.image.best is no row of split=report") as refused:
        list_jobs(StudyConfig(half="edit", rows="edit.image.best"))
    assert "accepted are edit.image.copy_source" in str(refused.value)
