"""Fair opponents: as many settings each, teachers with one interface, a training until flat."""

import numpy as np
import pytest
import torch
from torch import nn

from cdrl.core.settings import StudyConfig
from cdrl.editors.actions import ActionEditor, load_manipulator, load_renderer
from cdrl.models.image_editor import label_weights
from cdrl.study.action_jobs import SweepEditor
from cdrl.study.flat import train_until_flat
from cdrl.study.opponent_jobs import CLASSIFIER_OF, opponent_settings, training_folder
from cdrl.study.opponents import EDITS, FAMILIES, FAMILY_PAIRS, OPPONENTS, ROW_PAIRS
from cdrl.study.rows import BESIDE, EDIT, HALVES, MAIN_TABLES, TABLES, rows_of
from cdrl.study.run import list_jobs
from cdrl.study.teachers import TEACHERS
from cdrl.training.loop import CLIP_NORM, LoopConfig, train


def settings_of(name):
    return opponent_settings(StudyConfig(), EDITS[name], 0)


def test_every_family_has_as_many_settings_and_its_own_knobs():
    settings = {}
    for name, row in EDITS.items():
        if row.family:
            trained = settings_of(name)
            knobs = (trained.adversarial_weight, trained.speech_weight, trained.emotion_weight)
            settings.setdefault(row.family, set()).add(knobs)
    assert {family: len(each) for family, each in settings.items()} == dict.fromkeys(FAMILIES, 9)


def test_the_method_s_own_setting_is_one_of_its_family():
    plain = opponent_settings(StudyConfig(), EDIT["actions.cdrl"], 0)
    assert settings_of("actions.cdrl_once_once") == plain
    assert settings_of("actions.baseline_once_once") == plain
    assert settings_of("actions.cdrl_long").steps == 4 * plain.steps
    assert settings_of("actions.cdrl_apart").clip_apart
    assert not plain.contrast_content
    assert settings_of("actions.contrast_half_double").contrast_content
    assert settings_of("actions.supervised_contrast_half_double").contrast_content


def test_every_pair_and_every_teacher_exists():
    for pair in ROW_PAIRS:
        for name in pair:
            assert f"actions.{name}" in EDITS
    assert {family for pair in FAMILY_PAIRS for family in pair} <= set(FAMILIES)
    assert {row.teacher for row in EDITS.values()} == set(TEACHERS)
    assert set(CLASSIFIER_OF) <= set(TEACHERS)


def test_opponents_are_no_rows_of_the_committed_study():
    for kind in ("content", "emotion", "edit"):
        assert not OPPONENTS[kind].keys() & MAIN_TABLES[kind].keys()
    assert len(list_jobs(StudyConfig(half="edit"))) == 69
    assert len(list_jobs(StudyConfig(half="representation"))) == 65


@pytest.mark.parametrize("half", sorted(BESIDE))
def test_a_half_has_its_rows_and_those_beside_them(half):
    for kind, rows in rows_of("report", half).items():
        assert kind in HALVES[half]
        assert set(BESIDE[half][kind]) <= rows.keys() <= TABLES[kind].keys()
    jobs = list_jobs(StudyConfig(half=half, seeds=1))
    assert len(jobs) == sum(len(rows) for rows in rows_of("choose", half).values())


def test_who_scores_does_not_change_what_is_trained(tmp_path):
    folder = training_folder(tmp_path, StudyConfig())
    assert training_folder(tmp_path, StudyConfig(split="choose", edits=7, seeds=1)) == folder
    assert training_folder(tmp_path, StudyConfig(frontier_sweep="2.5")) == folder
    assert training_folder(tmp_path, StudyConfig(manipulator_steps=7)) != folder
    assert training_folder(tmp_path, StudyConfig(studio_version=2)) != folder


def test_a_sweep_tracks_a_clip_once_and_edits_it_as_the_editor_does():
    editors = [each(load_manipulator(), load_renderer()) for each in (ActionEditor, SweepEditor)]
    first, second = torch.rand(2, 1, 5, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for frames in (first, second, first):
        for emotion, scale in (("happy", 1.0), ("sad", 0.5)):
            drawn = []
            for editor in editors:
                intensity = torch.full((1, 5), scale)
                drawn.append(editor.fields(frames, label_weights([emotion]), intensity))
            for expected, found in zip(*drawn, strict=True):
                assert torch.equal(expected, found)
    assert len(editors[1].tracked) == 2


def test_steps_double_until_the_loss_is_flat():
    asked = []

    def fit(steps):
        asked.append(steps)
        return steps, 1 + 10 / steps

    trained, notes = train_until_flat(fit, 10)
    assert asked == [10, 20, 40, 80, 160, 320, 640]
    assert trained == 640 and notes["flat"] == 1
    assert notes["last_loss"] == pytest.approx(1 + 10 / 640)

    _, notes = train_until_flat(lambda steps: (steps, 100 / steps), 10, most_doublings=2)
    assert notes == {"steps": 40, "last_loss": 2.5, "flat": 0}


class TwoParts(nn.Module):
    """A small and a large linear loss."""

    def __init__(self):
        super().__init__()
        self.small = nn.Linear(1, 1, bias=False)
        self.large = nn.Linear(1, 1, bias=False)


def first_gradients(clip_apart):
    """Gradients of both parts in the first step, as they are clipped."""
    torch.manual_seed(0)
    model = TwoParts()
    ones = torch.ones(4, 1)

    def objective(batch):
        return {"sum": model.small(batch)[:, 0] + 1000 * model.large(batch)[:, 0]}

    apart = model.large if clip_apart else None
    config = LoopConfig(steps=1, weights={"sum": 1.0})
    train(model, objective, lambda random: ones, config, clip_apart=apart)
    return model.small.weight.grad.item(), model.large.weight.grad.item()


def test_gradients_that_are_clipped_apart_do_not_rescale_the_others():
    small, large = first_gradients(clip_apart=False)
    assert np.hypot(small, large) == pytest.approx(CLIP_NORM, rel=1e-4)
    assert small == pytest.approx(0.001, rel=1e-2)

    small, large = first_gradients(clip_apart=True)
    assert small == pytest.approx(1, rel=1e-4)
    assert large == pytest.approx(CLIP_NORM, rel=1e-4)
