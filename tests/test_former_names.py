"""Work of version 0.1.0 is found and read under the present names."""

import json
from dataclasses import replace

import pytest

from cdrl.core.errors import InputError
from cdrl.core.former_names import SETTINGS, former_row, present_name, renamed_setting
from cdrl.core.results import all_scores, read_results
from cdrl.core.settings import (
    ActionsConfig,
    ContentConfig,
    EmotionConfig,
    GeneratorConfig,
    StudyConfig,
    config_hash,
    from_dict,
    stage_config,
    to_dict,
)
from cdrl.core.stage import check_stage, run_stage
from cdrl.study.rows import EDIT

# What version 0.1.0 computed of its defaults.
HASHES = {
    ContentConfig: "5464a21aec18",
    EmotionConfig: "0f8f3fac99c3",
    GeneratorConfig: "99e3363cffc1",
    ActionsConfig: "3a230870bd8c",
    StudyConfig: "80599bde8586",
}
SCORES = {
    "spfem.drawn.cdrl.psnr.low": "spfem.actions.cdrl.psnr.low",
    "spfem.coefficient.tracked.jitter": "spfem.rendered.tracked.jitter",
    "spfem.image.cdrl.dial_150.mouth_error": "spfem.image.cdrl.scale_150.mouth_error",
    "spfem.image.cdrl.loss.steady": "spfem.image.cdrl.loss.temporal_smoothness",
    "spfem.image.cdrl.loss.adversarial": "spfem.image.cdrl.loss.adversarial",
    "content.viseme": "content.viseme",
    "spfem": "spfem",
}


@pytest.mark.parametrize("config_class", HASHES)
def test_hashes_are_those_of_version_0_1_0(config_class):
    config = config_class()
    if config_class is GeneratorConfig:  # it trained the image editor
        config = stage_config("generator", "cpu", {"generator.editor": "image"})
    assert config_hash(config) == HASHES[config_class]


@pytest.mark.parametrize("name", ["editor", "distil_steps", "pixel_steps"])
def test_what_came_later_counts_where_it_changes_a_result(name):
    config = stage_config("generator", "cpu", {"generator.editor": "image"})
    value = "actions" if name == "editor" else 7
    assert config_hash(replace(config, **{name: value})) != config_hash(config)


@pytest.mark.parametrize("former", SCORES)
def test_a_score_has_one_present_name(former):
    present = present_name(former)
    assert present == SCORES[former]
    assert present_name(present) == present


def test_every_row_has_one_former_name():
    former = [former_row(row) for row in EDIT]
    assert len(set(former)) == len(EDIT)
    for row, former_name in zip(EDIT, former, strict=True):
        assert present_name(f"spfem.{former_name}.psnr") == f"spfem.{row}.psnr"


def test_results_are_read_under_present_names(tmp_path):
    record = {"scores": {"spfem.drawn.cdrl.fps": 168.0, "content.viseme": 0.5}}
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"stages": {"evaluate": record}}))
    scores = all_scores(read_results(path))
    assert list(scores.items()) == [("spfem.actions.cdrl.fps", 168.0), ("content.viseme", 0.5)]


def test_a_run_of_version_0_1_0_is_refused_with_the_version_that_reads_it(tmp_path):
    config = GeneratorConfig()
    former = to_dict(config)
    former["game_weight"] = former.pop("adversarial_weight")
    folder = tmp_path / "05_generator"
    folder.mkdir()
    record = {"config": former, "from": {}, "seconds": 1.0}
    (folder / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="cdrl 0.1.0") as refused:
        check_stage(config, tmp_path)
    message = str(refused.value)
    assert str(folder) in message
    assert "game_weight" in message
    assert "\n" not in message


def test_a_run_without_renamed_settings_is_read(tmp_path):
    config = stage_config("corpus", "smoke", {})
    results = run_stage(config, tmp_path, lambda out: {"corpus.clips": 3})
    assert run_stage(config, tmp_path, lambda out: pytest.fail("made again")) == results


@pytest.mark.parametrize("former", SETTINGS)
def test_a_former_setting_is_refused_with_its_present_name(former):
    assert SETTINGS[former] in renamed_setting(former)
    assert renamed_setting(SETTINGS[former]) == ""


@pytest.mark.parametrize(
    ("config_class", "former", "present"),
    [
        (ContentConfig, "guard", "temporal_exclusion"),
        (GeneratorConfig, "game_weight", "adversarial_weight"),
        (StudyConfig, "coefficient_steps", "manipulator_steps"),
    ],
)
def test_a_former_setting_is_no_riddle(config_class, former, present):
    with pytest.raises(InputError, match=former) as refused:
        from_dict(config_class, {former: 1})
    assert present in str(refused.value)


def test_a_former_setting_of_a_stage_is_no_riddle():
    with pytest.raises(InputError, match="content.guard") as refused:
        stage_config("content", "cpu", {"content.guard": 2})
    assert "temporal_exclusion" in str(refused.value)
