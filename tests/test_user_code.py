"""Losses, encoders and an editor of the user: taken, checked, trained, and named in results."""

import os
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_encoders import CONTENT, drawn_features
from torch import nn

from cdrl.core import user_code
from cdrl.core.checkpoint import load_card
from cdrl.core.errors import InputError
from cdrl.core.paths import repository_root
from cdrl.core.settings import (
    ContentConfig,
    EmotionConfig,
    GeneratorConfig,
    StudyConfig,
    config_hash,
    from_dict,
    hashed_settings,
    stage_config,
    to_dict,
)
from cdrl.core.stage import run_stage
from cdrl.editors.base import DEFAULT_CARD
from cdrl.editors.image import image_entries, starting_networks
from cdrl.editors.loading import load_editor
from cdrl.editors.user_editor import CODE as EDITOR_CODE
from cdrl.models.image_editor import ImageEditor
from cdrl.representation.ccrl import embed_content, train_content
from cdrl.representation.cerl import embed_clips, train_emotion
from cdrl.representation.components import (
    check_content,
    content_loss,
    load_content_encoder,
    load_emotion_encoder,
)
from cdrl.representation.pairs import PairSampler, chance_loss, find_pairs
from cdrl.study.run import list_jobs
from cdrl.study.user_rows import row_file_name

GUIDE = (repository_root() / "docs" / "guides" / "own_loss.md").read_text()
EXAMPLE = re.search(r"^```python\n(.*?)^```", GUIDE, re.S | re.M).group(1)
SHORT = replace(CONTENT, steps=3)
SETTINGS = tuple(user_code.INTERFACES)


class OwnEditor(ImageEditor):
    """The kit's editor under a name of one's own."""


class EmotionOfMeans(nn.Module):
    def __init__(self, features, embedding, window):
        super().__init__()
        self.layer = nn.Linear(features, embedding)

    def forward(self, features):
        return F.normalize(self.layer(features.mean(1)), dim=-1)


class LearntMargin(nn.Module):
    def __init__(self):
        super().__init__()
        self.margin = nn.Parameter(torch.tensor(0.3))

    def forward(self, embedding, labels, temperature):
        cosines = embedding @ embedding.T
        same = labels[:, None] == labels[None]
        return (F.relu(cosines + self.margin) * ~same - cosines * same).mean()


@pytest.fixture(autouse=True)
def nothing_is_given_yet(monkeypatch):
    monkeypatch.setattr(user_code, "_GIVEN", {})
    monkeypatch.setenv(user_code.VARIABLE, "")


def forget():
    """Go on as a process that was given nothing."""
    user_code._GIVEN.clear()
    os.environ[user_code.VARIABLE] = ""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The guide's example as mine.py in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    path = tmp_path / "mine.py"
    path.write_text(EXAMPLE)
    yield path
    sys.modules.pop("mine", None)


@pytest.fixture(scope="module")
def features():
    return drawn_features()


def content_config(**settings):
    """The short settings with code of the user, given as a setting is."""
    given = stage_config("content", "smoke", {f"content.{k}": v for k, v in settings.items()})
    return replace(SHORT, loss=given.loss, encoder=given.encoder)


def test_the_example_of_the_guide_trains_and_is_read_again(mine, features, tmp_path):
    config = replace(content_config(loss="mine:triplet", encoder="mine:Mouth"), steps=20)
    pairs = find_pairs(features, config)
    encoder, history = train_content(features, pairs, config, tmp_path / "own")
    assert history.contrast.iloc[-1] < history.contrast.iloc[0]

    again = load_content_encoder(tmp_path / "own")
    assert type(again).__name__ == "Mouth"
    rows = np.arange(10)
    assert np.array_equal(
        embed_content(again, features, rows), embed_content(encoder, features, rows)
    )
    # The hinge of a constant encoder is its margin.
    sampler = PairSampler(features, pairs, config)
    assert chance_loss(sampler, content_loss(config), batches=2) == pytest.approx(0.5, abs=1e-5)


def test_an_emotion_encoder_and_a_loss_with_parameters_are_trained(features, tmp_path):
    config = EmotionConfig(steps=3, batch=8, encoder=EmotionOfMeans, loss=LearntMargin)
    encoder, history = train_emotion(features, config, "embedded", tmp_path)
    assert np.isfinite(history.total).all()
    again = load_emotion_encoder(tmp_path)
    assert np.array_equal(embed_clips(again, features), embed_clips(encoder, features))
    state = torch.load(tmp_path / "training" / "checkpoint.pt", weights_only=True)["model"]
    assert float(state["contrastive_loss.margin"]) != pytest.approx(0.3, abs=1e-6)


def test_an_editor_of_the_user_is_built_and_found_again(tmp_path):
    from cdrl.core.checkpoint import save_network

    config = GeneratorConfig(editor=OwnEditor)
    editor, _ = starting_networks(None, card=DEFAULT_CARD, own=config.editor)
    entries = image_entries(editor, tmp_path) | {EDITOR_CODE: user_code.identity(config.editor)}
    save_network(tmp_path, editor, entries)
    assert type(load_editor(tmp_path)) is OwnEditor
    forget()
    with pytest.raises(InputError, match=r"generator\.editor=.*OwnEditor.*named in a file"):
        load_editor(tmp_path)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_name_is_imported_for_every_setting_by_the_user_s_settings_alone(setting, mine):
    stage, _, field = setting.partition(".")
    with mine.open("a") as file:
        file.write("\n\ndef anything(*arguments, **keywords):\n    return 1\n")
    config = stage_config(stage, "smoke", {setting: "mine:anything"})
    assert getattr(config, field) == "mine:anything"
    assert user_code.given(setting, "mine:anything")() == 1

    # What results.json says of it is read back without an import.
    forget()
    del sys.modules["mine"]
    record = to_dict(config)
    assert getattr(from_dict(type(config), record), field) == "mine:anything"
    assert "mine" not in sys.modules
    with pytest.raises(InputError, match=f"{setting}=mine:anything.*--set {setting}="):
        user_code.given(setting, "mine:anything")


def test_processes_that_are_started_take_what_this_one_was_given(mine, monkeypatch):
    stage_config("content", "smoke", {"content.loss": "mine:triplet"})
    monkeypatch.setattr(user_code, "_GIVEN", {})
    assert user_code.given("content.loss", "mine:triplet").__name__ == "triplet"
    with pytest.raises(InputError, match=user_code.VARIABLE):
        user_code.given("content.encoder", "mine:Mouth")


def test_a_card_that_names_code_is_refused_without_an_import(mine, features, tmp_path):
    config = content_config(encoder="mine:Mouth")
    pairs = find_pairs(features, config)
    train_content(features, pairs, config, tmp_path / "own")
    assert load_card(tmp_path / "own")["code"].startswith("mine:Mouth ")

    forget()
    del sys.modules["mine"]
    with pytest.raises(InputError, match=r"content\.encoder=mine:Mouth"):
        load_content_encoder(tmp_path / "own")
    assert "mine" not in sys.modules


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("nothing", "module:name"),
        ("no_such_module:name", "No module named 'no_such_module'"),
        ("mine:no_such_name", "mine.py has no no_such_name"),
        ("mine:NUMBER", "cannot be called"),
        ("mine:no_arguments", "called with|built with"),
        ("broken:name", "SyntaxError"),
        (7, "a function or a class is needed"),
        (lambda *arguments: None, "a function or a class is needed"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(setting, value, told, mine):
    with mine.open("a") as file:
        file.write("\n\nNUMBER = 3\n\n\ndef no_arguments():\n    return 0\n")
    (mine.parent / "broken.py").write_text("def (\n")
    with pytest.raises(InputError, match=told) as caught:
        stage_config(setting.partition(".")[0], "smoke", {setting: value})
    assert str(caught.value).startswith(f"{setting}=")
    assert "\n" not in str(caught.value)


def matrix_of_cosines(anchor, candidates, positive, temperature, valid):
    return torch.einsum("bd,bnd->bn", anchor, candidates)


def number_without_gradient(anchor, candidates, positive, temperature, valid):
    return torch.tensor(1.0)


def not_a_number(anchor, candidates, positive, temperature, valid):
    return anchor.sum(1) * float("nan")


def failing(anchor, candidates, positive, temperature, valid):
    return anchor @ candidates


class NoUnitLength(nn.Module):
    def __init__(self, face, mouth, audio, window, embedding):
        super().__init__()
        self.layer = nn.Linear(face, embedding)

    def forward(self, face, mouth, audio=None):
        return self.layer(face.mean(1))


class OtherLength(NoUnitLength):
    def forward(self, face, mouth, audio=None):
        return F.normalize(face.mean(1), dim=-1)


class NeedsSound(NoUnitLength):
    def forward(self, face, mouth, audio):
        return F.normalize(self.layer(face.mean(1)) + audio.sum(), dim=-1)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"loss": matrix_of_cosines}, r"\(6, 8\).*one value per sample"),
        ({"loss": number_without_gradient}, "no gradient"),
        ({"loss": not_a_number}, "finite loss is needed"),
        ({"loss": failing}, "RuntimeError"),
        ({"encoder": NoUnitLength}, "unit length is needed"),
        ({"encoder": OtherLength}, r"\(6, 24\).*\(6, 12\)"),
        ({"encoder": NeedsSound}, "fails on a small batch"),
    ],
)
def test_what_does_not_work_is_told_before_the_training(settings, told, features):
    config = content_config(**settings)
    with pytest.raises(InputError, match=told):
        check_content(config, features)


def test_other_code_under_the_same_name_is_another_result(mine, tmp_path):
    def stage(text):
        mine.write_text(text)
        sys.modules.pop("mine", None)
        return stage_config("content", "smoke", {"content.loss": "mine:triplet"})

    config = stage(EXAMPLE)
    former = config_hash(config)
    assert hashed_settings(config)["loss"].startswith("mine:triplet ")
    run_stage(stage_config("corpus", "smoke"), tmp_path / "run", lambda out: {})
    run_stage(stage_config("priors", "smoke"), tmp_path / "run", lambda out: {})
    run_stage(config, tmp_path / "run", lambda out: {})

    assert config_hash(stage(f"# A comment.\n{EXAMPLE}")) == former
    changed = stage(EXAMPLE.replace("0.5 +", "0.4 +"))
    assert config_hash(changed) != former
    with pytest.raises(InputError, match="was made with loss=mine:triplet"):
        run_stage(changed, tmp_path / "run", lambda out: {})


def test_code_of_a_notebook_counts_with_what_it_uses_there(monkeypatch):
    def cell(margin, helper):
        values = {"__name__": "__main__"}
        source = (
            f"MARGIN = {margin}\n\ndef helper(x):\n    return x {helper}\n\n"
            "class Loss:\n    scale = 2.0\n"
            "    def __call__(self, embedding, labels, temperature):\n"
            "        return helper(embedding) + MARGIN\n"
        )
        name = f"<cell {len(cells)}>"
        cells.append(name)
        exec(compile(source, name, "exec"), values)
        lines = source.splitlines(keepends=True)
        monkeypatch.setitem(user_code.inspect.linecache.cache, name, (1, None, lines, name))
        return user_code.identity(user_code.allow("emotion.loss", values["Loss"]))

    cells = []
    first = cell(0.5, "+ 1")
    assert first.startswith("__main__:Loss ")
    assert cell(0.5, "+ 1") == first
    assert cell(0.6, "+ 1") != first
    assert cell(0.5, "+ 2") != first


def test_the_kit_s_own_code_leaves_every_hash_as_it_was():
    assert config_hash(ContentConfig()) == "5464a21aec18"


def test_the_study_has_a_row_for_code_of_the_user_and_a_file_for_each_code(mine):
    settings = {"content_loss": "mine:triplet", "rows": "content.own", "seeds": 2}
    config = from_dict(StudyConfig, settings)
    jobs = list_jobs(config)
    assert [job.row for job in jobs] == ["own", "own"]
    first = row_file_name(config, "content", "own")
    mine.write_text(EXAMPLE.replace("0.5 +", "0.4 +"))
    sys.modules.pop("mine", None)
    assert row_file_name(config, "content", "own") != first
    with pytest.raises(InputError, match=r"content\.own"):
        list_jobs(from_dict(StudyConfig, {"rows": "content.own"}))
    with pytest.raises(InputError, match="has no nothing"):
        list_jobs(from_dict(StudyConfig, {"content_loss": "mine:nothing"}))
