"""The edit half of the study on the committed sentences: every variant, resumed, summed up; and who may read a true edit."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from cdrl.baselines.released.guidance import ReleasedGuidance
from cdrl.core.weight_files import checksum
from cdrl.core.errors import InputError
from cdrl.core.files import read_json, write_json
from cdrl.core.results import all_scores
from cdrl.core.settings import StudyConfig
from cdrl.corpora.store import Store
from cdrl.editors.actions import RENDERER
from cdrl.evaluation.edit_comparison import parse_intensity_scales
from cdrl.evaluation.readings import load_references, save_references
from cdrl.priors.actions import ACTION_TRACKER
from cdrl.study.action_jobs import tracker_folder
from cdrl.study.edit_jobs import HOSTS, edit_job_path, edit_place, opened, prepare, shared_path
from cdrl.study.rows import EDIT
from cdrl.study.run import list_jobs, run_study
from cdrl.study.tables import _any_weight, _statistics

SMALL = {
    "speech": "cached",
    "people": 4,
    "clips": 4,
    "report_people": 4,
    "pairs": 40,
    "content_steps": 4,
    "emotion_steps": 4,
    "released_steps": 2,
    "edits": 7,
    "edit_pairs": 7,
    "edit_steps": 2,
    "edit_batch": 2,
    "edit_sweep": "0.5",
    "workers": 1,
    "half": "edit",
    "coefficient_steps": 2,
    "distil_steps": 2,
}
ROWS = [name for name in EDIT if not name.endswith(("_half", "_fivefold"))]
PICTURES = ("psnr", "identity", "mouth_l1")


@pytest.fixture(scope="module")
def study(smoke, tmp_path_factory):
    """Every variant with one seed on the clips that the smoke run has rendered; results of the other half are there already."""
    folder = tmp_path_factory.mktemp("edits")
    (folder / "work").mkdir()
    for name in ("train", "report"):
        (folder / "work" / name).symlink_to(smoke / "00_corpus" / name)
    write_json(
        folder / "results" / "results.json",
        {"stages": {"study": {"scores": {"content.viseme": 0.5}}}, "run": {"time.hours": 2.0}},
    )
    config = StudyConfig(**SMALL, seeds=1, rows=",".join(f"edit.{name}" for name in ROWS))
    return folder, config, run_study(folder / "results", folder / "work", config)


def test_every_variant_is_scored_beside_the_other_half(study):
    folder, config, results = study
    scores = all_scores(results)
    for row in ROWS:
        name = f"spfem.{row}"
        if row.startswith("curves."):  # no picture, no emotion
            assert (scores[f"{name}.mouth_error.low"] > 0) == (
                row != "curves.truth"
            ) and f"{name}.emotion_accuracy" not in scores
            continue
        assert {
            f"{name}.{s}"
            for s in (
                "mouth_error.low",
                "emotion_accuracy.truth_1",
                "speech_correlation",
                "jitter.happy",
            )
        } <= scores.keys(), row
        assert [s for s in PICTURES if f"{name}.{s}" in scores] == (
            [] if row.startswith("coefficient.") else list(PICTURES)
        )
        assert scores[f"{name}.mouth_error.n"] == 7 and scores[f"{name}.mouth_error.seeds"] == 1
    assert scores["spfem.image.copy_source.speech_correlation"] == pytest.approx(1)
    assert scores["spfem.curves.truth.mouth_correlation"] == pytest.approx(1)
    assert 0 < scores["spfem.curves.truth.speech_correlation"] < 1
    assert (
        scores["content.viseme"] == 0.5
        and scores["time.hours"] == 2.0
        and scores["study.edits.jobs.done"] == len(ROWS)
    )
    assert scores["spfem.image.cdrl.dial_000.mouth_error"] == pytest.approx(
        scores["spfem.image.copy_source.mouth_error"]
    )
    assert scores["spfem.coefficient.cdrl.dial_000.mouth_error"] == pytest.approx(
        scores["spfem.coefficient.tracked.mouth_error"]
    )
    assert (
        scores["spfem.coefficient.tracked.mouth_error"]
        != scores["spfem.image.copy_source.mouth_error"]
    )
    assert (
        scores["spfem.drawn.cdrl.dial_000.mouth_error"]
        == scores["spfem.image.cdrl.dial_000.mouth_error"]
    )
    assert pd.read_csv(folder / "results" / "edit.csv")["row"].tolist() == list(
        dict.fromkeys(name for _, name, _ in list_jobs(config))
    )


def test_variants_are_compared_clip_by_clip_and_at_equal_accuracy(study):
    scores, host = all_scores(study[2]), "spfem.image"
    assert "spfem.coefficient.cdrl_minus_baseline.mouth_error.at_equal_accuracy.high" in scores
    across = scores["spfem.drawn.cdrl_minus_image_constant.psnr"]
    assert across == pytest.approx(
        scores["spfem.drawn.cdrl.psnr"] - scores["spfem.image.constant.psnr"]
    )
    name, apart = (
        f"{host}.cdrl_minus_baseline.mouth_error",
        scores[f"{host}.cdrl.mouth_error"] - scores[f"{host}.baseline.mouth_error"],
    )
    assert (
        scores[name] == pytest.approx(apart)
        and scores[f"{name}.low"] <= apart <= scores[f"{name}.high"]
        and scores[f"{name}.n"] == 7
    )
    assert {
        f"{name}.at_equal_accuracy{judge}.high" for judge in ("", ".judge_1", ".judge_2")
    } <= scores.keys() and f"{name}.sad" in scores
    table = pd.read_csv(study[0] / "results" / "edit_differences.csv").set_index("row")
    assert (
        table.loc[name, "value"] == pytest.approx(apart, abs=1e-4)
        and f"{name}.over_accuracies" in table.index
    )


def test_of_several_weights_each_variant_uses_its_best(study):
    """Baseline with a game of twice the weight and cdrl with both terms doubled are there, the halves are not: no such row yet."""
    folder, config, results = study
    name = "spfem.image.cdrl_minus_baseline.mouth_error.any_weight.at_equal_accuracy"
    assert name not in all_scores(results)
    place = edit_place(folder / "work", config)
    found = {
        variant: {0: _statistics(place, f"image.{variant}", 0)}
        for variant in ("baseline", "baseline_double", "cdrl", "cdrl_double")
    }
    families = [[found[variant], found[f"{variant}upsample2x"]] for variant in ("cdrl", "baseline")]
    rows = _any_weight("x", *families, opened(folder / "work", config))
    assert rows["x.mouth_error.any_weight.at_equal_accuracy.n"] == 7
    same = _any_weight("x", families[0], families[0], opened(folder / "work", config))
    assert (
        same["x.mouth_error.any_weight.at_equal_accuracy"]
        == same["x.mouth_error.any_weight.over_accuracies.high"]
        == 0
    )


def test_no_variant_but_the_upper_bound_reads_a_true_edit(study, monkeypatch):
    """Every store that a training opens is written down; all start without a checkpoint, so all do train."""
    folder, config, _ = study
    place, opened = edit_place(folder / "work", config), []
    begin = Store.__init__
    monkeypatch.setattr(
        Store, "__init__", lambda self, path: (opened.append(str(path)), begin(self, path))[1]
    )
    read = {}
    for row in ROWS:
        if EDIT[row].change or row in (
            "image.copy_source",
            "curves.truth",
            "curves.paired",
            "coefficient.tracked",
            "coefficient.expected",
        ):
            continue
        for folder_ in (place, tracker_folder(place)):
            shutil.rmtree(
                folder_ / "hosts" / f"{row.replace('drawn.', 'coefficient.')}.0", ignore_errors=True
            )
        opened.clear()
        HOSTS[row.partition(".")[0]](folder / "work", config, row, 0, None)
        read[row] = {path.rpartition("/")[2] for path in opened}
    assert read.pop("image.paired") == {"train", "paired"}
    assert all(
        read.pop(f"{host}.paired") - {"train"} == {"paired"} for host in ("coefficient", "drawn")
    )
    actions = ("baseline", "cdrl", "content", "emotion")
    trained = {
        "image": ("constant", *actions, "released"),
        "coefficient": actions,
        "drawn": actions,
    }
    assert set(read) == {
        f"{host}.{variant}" for host, variants in trained.items() for variant in variants
    }
    assert all(found <= {"train"} for found in read.values())
    assert set(Store(place / "paired").clips.speaker) <= set(
        Store(folder / "work" / "train").clips.speaker
    )
    assert not set(Store(place / "paired").clips.speaker) & set(
        Store(place / "truth").clips.speaker
    )


def test_true_edits_of_training_people_are_rendered_for_the_upper_bound_alone(study, monkeypatch):
    folder, config, _ = study
    made = []
    monkeypatch.setattr(
        "cdrl.study.edit_jobs.studio_edits.generate_edits",
        lambda sources, wanted, path, *rest: made.append(path.name),
    )
    other = StudyConfig(**SMALL | {"edit_steps": 3}, seeds=1)
    prepare(
        folder / "work", other, [("edit", name, 0) for name in ROWS if not name.endswith(".paired")]
    )
    assert made == ["truth"]
    prepare(folder / "work", other, [("edit", "image.paired", 0)])
    assert made == ["truth", "truth", "paired"]


def test_a_finished_job_is_read_and_a_further_seed_is_added(study):
    folder, config, before = study
    job = edit_job_path(edit_place(folder / "work", config), "image.baseline", 0)
    made = job.stat().st_mtime_ns
    rows = "edit.image.copy_source,edit.image.baseline,edit.image.cdrl"
    scores = all_scores(
        run_study(folder / "more", folder / "work", StudyConfig(**SMALL, seeds=2, rows=rows))
    )
    assert job.stat().st_mtime_ns == made and scores["study.edits.jobs.done"] == 5
    both = [
        read_json(edit_job_path(job.parent.parent, "image.baseline", seed))["scores"][
            "spfem.image.baseline.psnr"
        ]
        for seed in (0, 1)
    ]
    assert scores["spfem.image.baseline.psnr"] == pytest.approx(np.mean(both))
    assert (
        scores["spfem.image.baseline.psnr.sd"] == pytest.approx(np.std(both, ddof=1))
        and scores["spfem.image.baseline.psnr.n"] == 7
    )
    assert (
        scores["spfem.image.cdrl_minus_baseline.psnr.seeds"] == 2
        and scores["spfem.image.cdrl_minus_baseline.psnr.n"] == 7
    )


def test_finished_jobs_travel_with_the_results(study, tmp_path, monkeypatch):
    """On another machine, where the work folder has none of them, nothing of theirs is done again."""
    folder, config, before = study
    place = edit_place(folder / "work", config)
    other = tmp_path / "work"
    shutil.copytree(
        folder / "work", other, symlinks=True, ignore=shutil.ignore_patterns("jobs", "hosts")
    )
    monkeypatch.setattr(
        "cdrl.study.run._work_off",
        lambda jobs, *rest: pytest.fail(f"done again: {jobs}") if jobs else None,
    )
    again = all_scores(run_study(folder / "results", other, config))
    name = "spfem.image.cdrl.mouth_error"
    assert (
        again[f"{name}.high"] == all_scores(before)[f"{name}.high"]
        and (other / place.name / "jobs" / "image.cdrl.0.npz").exists()
    )


def test_other_settings_of_the_edit_have_a_folder_of_their_own(study):
    folder, config, _ = study
    other = StudyConfig(**SMALL | {"edit_steps": 3}, seeds=1)
    assert edit_place(folder / "work", other) != edit_place(folder / "work", config)
    assert edit_place(
        folder / "work", StudyConfig(**SMALL | {"workers": 2}, seeds=3)
    ) == edit_place(folder / "work", config)


@pytest.mark.parametrize(
    ("network", "same"), [(RENDERER, [True, True, False]), (ACTION_TRACKER, [True, False, False])]
)
def test_another_tracker_or_renderer_asks_for_its_own_jobs_alone_again(
    tmp_path, monkeypatch, network, same
):
    names, students = (
        ("image.cdrl", "coefficient.cdrl", "drawn.cdrl"),
        shared_path(tmp_path, "students", 1),
    )
    before = [edit_job_path(tmp_path, name, 1) for name in names]
    for module in ("edit_jobs", "action_jobs"):
        monkeypatch.setattr(
            f"cdrl.study.{module}.checksum",
            lambda path: "0" * 64 if path.stem == network else checksum(path),
        )
    assert [
        edit_job_path(tmp_path, name, 1) == path for name, path in zip(names, before, strict=True)
    ] == same
    assert (shared_path(tmp_path, "students", 1) == students) == (network == RENDERER)
    assert shared_path(tmp_path, "curves") == tmp_path / "curves.npz"
    assert before[2].with_suffix(".npz").name.startswith("drawn.cdrl.1.")


def test_references_are_kept_to_the_bit(study, tmp_path):
    found = load_references(edit_place(study[0] / "work", study[1]) / "references.npz")
    save_references(found, tmp_path / "again.npz")
    again = load_references(tmp_path / "again.npz")
    assert len(again.truth) == 7 and again.truth[3].judge_a == found.truth[3].judge_a
    assert all(
        np.array_equal(a.mouth_curves, b.mouth_curves)
        for a, b in zip(found.source, again.source, strict=True)
    )
    assert again.another_identity.shape == (7, 64) and again.truth[0].identity.shape == (64,)


def test_released_guidance_is_frozen_and_reaches_the_output_alone(study):
    folder, config, _ = study
    guidance = ReleasedGuidance(edit_place(folder / "work", config) / "released" / "0").train()
    assert not guidance.training and not any(p.requires_grad for p in guidance.parameters())
    random = torch.Generator().manual_seed(0)
    source, output, reference = (
        torch.rand(2, 5, 3, 64, 64, generator=random).requires_grad_(True) for _ in range(3)
    )
    sound = torch.rand(2, 5, guidance.content_net.audio.out.in_features, generator=random)
    content, emotion = (
        guidance.content(source, output, audio_features=sound),
        guidance.emotion(
            output, reference=reference.detach(), label_indices=torch.tensor([4, 5])
        ),
    )
    (content.sum() + emotion.sum()).backward()
    assert (
        output.grad[:, ::2].abs().sum() > 0
        and source.grad is None
        and content.shape == emotion.shape == (2,)
    )
    assert float(guidance.content(source, source, audio_features=sound).detach().max()) < 1e-4
    assert float(guidance.emotion(output, reference=output, label_indices=torch.tensor([4, 5])).detach().max()) < 1e-5


def test_settings_of_the_dial_are_checked_before_anything_runs(tmp_path):
    assert parse_intensity_scales("1.5,0.5") == [0.5, 1.0, 1.5]
    for wrong in ("0.5,2", "strong", "0"):
        with pytest.raises(
            InputError,
            match=f"sweep={wrong}: numbers above 0 up to 1.5 are accepted, as in sweep=0.5,1.5",
        ):
            run_study(
                tmp_path / "out", tmp_path / "work", StudyConfig(edit_sweep=wrong, half="edit")
            )
    assert not (tmp_path / "work").exists()


def test_one_half_has_its_own_jobs():
    kinds = {
        half: {job[0] for job in list_jobs(StudyConfig(half=half))}
        for half in ("both", "representation", "edit")
    }
    assert kinds == {
        "both": {"content", "emotion", "edit"},
        "representation": {"content", "emotion"},
        "edit": {"edit"},
    }
    edit = list_jobs(StudyConfig(half="edit"))
    assert (
        len(edit) == 3 * (11 + 5 + 5) + 6
        and edit[-1] == ("edit", "image.cdrl_double", 2)
        and ("edit", "image.constant", 1) not in edit
    )
    with pytest.raises(
        InputError,
        match="edit.image.best is no row of split=report: accepted are edit.image.copy_source",
    ):
        list_jobs(StudyConfig(half="edit", rows="edit.image.best"))
