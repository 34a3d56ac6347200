import pytest
from pydantic.dataclasses import dataclass

from cdrl.core.errors import InputError
from cdrl.core.paths import data_root, run_path
from cdrl.core.presets import COSTS, PRESETS
from cdrl.core.settings import (
    STAGES,
    ActionsConfig,
    ContentConfig,
    CorpusConfig,
    IngestConfig,
    StudyConfig,
    config_hash,
    field_infos,
    from_dict,
    resolve_settings,
    stage_config,
    stage_folder,
    to_dict,
)

SETTINGS = [*STAGES.values(), ActionsConfig, IngestConfig, StudyConfig]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("stage", STAGES)
def test_every_preset_makes_every_stage(stage, preset):
    config = stage_config(stage, preset)
    assert isinstance(config, STAGES[stage])
    assert from_dict(type(config), to_dict(config)) == config


def test_every_preset_has_a_cost():
    assert COSTS.keys() == PRESETS.keys()


def test_presets_hold_only_what_differs_from_the_defaults():
    for preset, table in PRESETS.items():
        for name, value in table.items():
            stage, _, key = name.partition(".")
            default = getattr(STAGES[stage](), key)
            assert value != default and type(value) is type(default), f"{preset}: {name}"


def test_a_setting_comes_after_the_preset():
    assert stage_config("content", "smoke", {"content.steps": "77"}).steps == 77
    assert stage_config("content", "smoke", {"emotion.steps": "77"}) == stage_config(
        "content", "smoke"
    )


def test_a_bare_name_means_the_one_stage_that_has_it_and_is_refused_where_several_do():
    assert resolve_settings({"bottleneck": "7"}) == {"emotion.bottleneck": "7"}
    with pytest.raises(
        InputError,
        match="'learning_rate' is ambiguous: name the stage too, as in content.learning_rate or ",
    ):
        resolve_settings({"learning_rate": "1"})


def test_a_bare_seed_is_every_stage_s():
    resolved = resolve_settings({"seed": 5})
    assert resolved == {
        f"{stage}.seed": 5 for stage in STAGES if "seed" in field_infos(STAGES[stage])
    }
    assert len(resolved) > 2
    assert stage_config("emotion", "cpu", {"seed": "5"}).seed == 5


def test_unknown_keys_are_refused_with_the_nearest_and_the_accepted():
    with pytest.raises(
        InputError,
        match=r"unknown setting of content 'step' \(did you mean steps\?\): accepted are steps, ",
    ):
        from_dict(ContentConfig, {"step": 3})
    with pytest.raises(
        InputError, match=r"unknown setting 'content.stepz' \(did you mean content.steps\?\)"
    ):
        stage_config("content", "cpu", {"content.stepz": "3"})
    with pytest.raises(
        InputError, match=r"unknown setting 'temprature' \(did you mean temperature\?\)"
    ):
        stage_config("content", "cpu", {"temprature": "3"})
    with pytest.raises(
        InputError,
        match=r"unknown preset 'gpus' \(did you mean gpu\?\): accepted are smoke, cpu, gpu",
    ):
        stage_config("content", "gpus")
    with pytest.raises(InputError, match="unknown stage 'video': accepted are corpus, priors"):
        stage_folder("runs/demo", "video")


@pytest.mark.parametrize(
    "value", ["many", "2.5", 2.5, None, True, "-1", "0", "nan", "inf", "1e308", [3], {}]
)
def test_a_value_of_another_kind_is_refused(value):
    with pytest.raises(
        InputError, match="content.steps=.*: a whole number from 1 up to 10000000 is needed, as in "
    ):
        from_dict(ContentConfig, {"steps": value})


def test_texts_numbers_and_truth_values_are_read_as_the_field_s_type():
    @dataclass(frozen=True)
    class Flags:
        on: bool = False
        rate: float = 0.5
        name: str = "a"

    read = from_dict(Flags, {"on": "True", "rate": 2, "name": "b"})
    assert read == Flags(True, 2.0, "b") and type(read.rate) is float
    with pytest.raises(InputError, match="on=maybe: true or false is needed"):
        from_dict(Flags, {"on": "maybe"})
    with pytest.raises(InputError, match="name=3: a text is needed"):
        from_dict(Flags, {"name": 3})


def test_a_corpus_without_an_adapter_is_refused():
    with pytest.raises(InputError, match="corpus.corpus=meat: accepted are studio"):
        from_dict(CorpusConfig, {"corpus": "meat"})


def test_hash_changes_with_every_setting_but_the_free_ones():
    base = CorpusConfig()
    assert config_hash(base) == config_hash(CorpusConfig())
    assert config_hash(CorpusConfig(workers=base.workers + 1)) == config_hash(base)
    changed = [
        CorpusConfig(seed=1),
        CorpusConfig(train_people=base.train_people + 1),
        CorpusConfig(data_root="x"),
    ]
    assert len({config_hash(config) for config in [base, *changed]}) == 4


def test_hash_tells_stages_with_equal_settings_apart():
    shared = {"steps": 3, "batch": 4, "seed": 1}
    assert config_hash(from_dict(ContentConfig, shared)) != config_hash(
        from_dict(STAGES["emotion"], shared)
    )


def test_a_relative_run_lies_in_the_clone_and_an_absolute_one_where_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_path("runs/demo").parent.parent.joinpath("cdrl", "core", "settings.py").exists()
    assert run_path(tmp_path) == tmp_path


def test_data_root_is_the_clone_s_or_the_one_named(monkeypatch, tmp_path):
    monkeypatch.delenv("CDRL_DATA", raising=False)
    assert data_root().joinpath("samples").is_dir()
    monkeypatch.setenv("CDRL_DATA", str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.setenv("CDRL_DATA", str(tmp_path / "gone"))
    with pytest.raises(
        InputError, match="no data folder at CDRL_DATA=.*gone: set CDRL_DATA to the data/ folder"
    ):
        data_root()


OUT_OF_RANGE = {
    "evaluate.sweep": "nan",
    "priors.device": "meta",
    "priors.audio": "",
    "content.batch": 0,
    "content.dropout": "1",
    "content.learning_rate": "1e308",
    "content.seed": 2**31,
    "corpus.split": "",
    "corpus.detector": "somewhere",
    "corpus.workers": -1,
}


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_a_value_out_of_its_range_is_refused_with_the_setting_and_an_example(name):
    stage, _, field = name.partition(".")
    with pytest.raises(InputError) as refused:
        stage_config(stage, "cpu", {name: OUT_OF_RANGE[name]})
    message = str(refused.value)
    default = field_infos(STAGES[stage])[field].default
    assert message.startswith(f"{name}={OUT_OF_RANGE[name]}: ")
    assert message.endswith(f"as in {name}={default}")
    assert "\n" not in message


@pytest.mark.parametrize("config_class", SETTINGS, ids=lambda each: each.__name__)
def test_every_setting_says_what_it_means_and_has_a_range_or_a_check(config_class):
    free_texts = {
        "data_root",
        "template",
        "ingested",
        "weights",
        "features",
        "start",
        "syncnet",
        "arcface",
        "efficient_face",
        "rows",
        "boxes",
    }
    for name, info in field_infos(config_class).items():
        assert info.description, name
        has_choices = bool(getattr(info.annotation, "__args__", ()))
        is_checked = bool(info.metadata) or has_choices or info.annotation is bool
        assert is_checked or name in free_texts, name


@pytest.mark.parametrize("config_class", SETTINGS, ids=lambda each: each.__name__)
def test_the_defaults_are_within_their_ranges(config_class):
    defaults = to_dict(config_class())
    assert from_dict(config_class, defaults) == config_class()


BAD_VALUES = {
    "int": ("many", "", "nan", "inf", "1e308", -1, 10**400, 1.5, float("nan"), None, [1], {}, True),
    "float": ("many", "", "nan", "inf", "-inf", -1e9, 1e308, float("inf"), None, [1.0], {}, True),
    "bool": ("maybe", "", "nan", 2, None, [], "1e308"),
    "str": (5, None, [], {}, True, float("nan"), "a\nb", "a\0b", "{" + 300 * "x" + "/\x1b[2J"),
}


def fields_of_all_settings():
    for config_class in SETTINGS:
        for name, info in field_infos(config_class).items():
            yield pytest.param(config_class, name, info, id=f"{config_class.__name__}.{name}")


@pytest.mark.parametrize("config_class, name, info", fields_of_all_settings())
def test_every_field_refuses_every_bad_value_in_one_line_and_takes_its_default(
    config_class, name, info
):
    kind = type(info.default).__name__
    for value in BAD_VALUES[kind]:
        with pytest.raises(InputError) as refusal:
            from_dict(config_class, {name: value})
        line = str(refusal.value)
        assert line.isprintable()
        assert f"{name}=" in line
        assert len(line) < 600
        assert " is needed, as in " in line or "accepted are " in line
    for default in (info.default, str(info.default)):
        assert getattr(from_dict(config_class, {name: default}), name) == info.default


def test_a_bad_value_is_told_by_every_stage_not_by_its_own_alone():
    for stage in STAGES:
        for name, value in {"evaluate.sweep": "nan", "content.batch": 0, "device": "meta"}.items():
            with pytest.raises(InputError, match=name):
                stage_config(stage, "smoke", {name: value})
