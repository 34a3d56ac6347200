"""The facial-action editor that a run trains: its last steps, its file, and what edits with it."""

from functools import partial

import numpy as np
import pytest
import torch

from cdrl.core.errors import InputError
from cdrl.core.settings import ActionsConfig, stage_config
from cdrl.core.vocabulary import ACTIONS
from cdrl.corpora.store import Store
from cdrl.corpora.store_writer import StoreWriter
from cdrl.editing.pipeline import edit_clip, edit_clip_at
from cdrl.editors.actions import ActionEditor, load_renderer
from cdrl.editors.base import EditorCard
from cdrl.editors.default_editor import DefaultEditor
from cdrl.editors.image import WindowGuidance
from cdrl.editors.loading import load_editor, without_rules
from cdrl.editors.manipulator import (
    ActionDrawing,
    ActionObjective,
    ActionWindowGuidance,
    PixelSupervision,
    editor_entries,
    train_action_manipulator,
)
from cdrl.editors.samplers import ActionWindowSampler
from cdrl.editors.variants import ACTION_VARIANTS
from cdrl.models.action_networks import ActionDiscriminator, ActionManipulator
from cdrl.priors.actions import TrackedActions
from cdrl.representation.distillation import ActionGuidance
from cdrl.representation.guidance import Guidance
from cdrl.training.loop import LoopConfig

FRAMES = 14
BOX = (0.25, 0.5, 0.75, 0.83)
SMALL = ActionsConfig(steps=2, pixel_steps=4, batch=4, window=12)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Six clips of coloured noise in three emotions."""
    path = tmp_path_factory.mktemp("run_editor") / "store"
    with StoreWriter(path) as writer:
        for number in range(6):
            random = np.random.default_rng([8, number])
            cells = random.integers(0, 255, (FRAMES, 8, 8, 3), dtype=np.uint8)
            row = {
                "name": f"c{number}",
                "corpus": "test",
                "split": "train",
                "speaker": number % 2,
                "sentence": "t",
                "frame_rate": 25.0,
                "emotion": ("angry", "happy", "sad")[number % 3],
                "intensity": 1,
            }
            face = np.repeat(np.repeat(cells, 8, 1), 8, 2)
            transforms = np.tile(np.eye(2, 3, dtype=np.float32), (FRAMES, 1, 1))
            writer.add(row, face, transforms, np.zeros(FRAMES * 640), BOX)
    return Store(path)


@pytest.fixture(scope="module")
def tracked(store):
    actions = np.random.default_rng(1).random((len(store), len(ACTIONS)), np.float32)
    return TrackedActions(store.clips, actions)


@pytest.fixture(scope="module")
def pixels(store):
    return PixelSupervision(store, load_renderer(), WindowGuidance(Guidance()))


@pytest.fixture(scope="module")
def students(pixels):
    torch.manual_seed(0)
    mean, std = torch.zeros(len(ACTIONS)), torch.ones(len(ACTIONS))
    prototypes = pixels.guidance.guidance.prototypes
    return ActionWindowGuidance(ActionGuidance(mean, std, prototypes.clone(), 12))


def trained(tracked, students, pixels, folder):
    card = EditorCard("cdrl", ("happy", "sad"), "aligned", folder.parent)
    entries = editor_entries(card, folder)
    return train_action_manipulator(
        tracked, students, SMALL, "cdrl", folder, pixels=pixels, card=entries
    )


def test_the_last_steps_are_guided_on_drawn_pixels_and_resumed(
    tracked, students, pixels, tmp_path, monkeypatch
):
    whole, history = trained(tracked, students, pixels, tmp_path / "whole")
    assert history.step.tolist() == [2, 6]
    assert history.pixels.tolist() == [0, 1]
    assert np.isfinite(history.to_numpy()).all()

    calls = []

    class Stops(ActionWindowSampler):
        def __call__(self, random):
            calls.append(1)
            if len(calls) == SMALL.steps + 4:
                raise KeyboardInterrupt
            return super().__call__(random)

    with monkeypatch.context() as patch:
        patch.setattr("cdrl.editors.manipulator.ActionWindowSampler", Stops)
        patch.setattr("cdrl.editors.manipulator.LoopConfig", partial(LoopConfig, save_every=2))
        with pytest.raises(KeyboardInterrupt):
            trained(tracked, students, pixels, tmp_path / "stopped")
    assert not (tmp_path / "stopped" / "model.safetensors").exists()
    resumed, _ = trained(tracked, students, pixels, tmp_path / "stopped")
    again = resumed.state_dict()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again[name])

    editor = load_editor(tmp_path / "whole")
    assert isinstance(editor, DefaultEditor)
    assert editor.card == EditorCard("cdrl", ("happy", "sad"), "aligned", tmp_path)
    plain = without_rules(editor)
    assert isinstance(plain, ActionEditor)
    assert torch.equal(plain.manipulator.out.weight, whole.out.weight)


def test_both_terms_reach_the_manipulator_through_the_drawn_pixels_alone(tracked, store, pixels):
    batch = ActionWindowSampler(tracked, 3, 12, store)(np.random.default_rng(0))
    torch.manual_seed(0)
    manipulator = ActionManipulator()
    torch.nn.init.normal_(manipulator.out.weight, std=0.05)
    drawing = ActionDrawing(pixels.renderer)
    objective = ActionObjective(
        manipulator, ActionDiscriminator(), ACTION_VARIANTS["cdrl"], pixels.guidance, drawing
    )
    terms = objective(batch)
    for name in ("content", "emotion"):
        [gradient] = torch.autograd.grad(
            terms[name].mean(), [manipulator.out.weight], retain_graph=True
        )
        assert gradient.abs().max() > 0
    frozen = [*pixels.renderer.parameters(), *pixels.guidance.parameters()]
    assert not any(parameter.requires_grad for parameter in frozen)


@pytest.mark.parametrize("name", ["image", "actions_plain"])
def test_edits_at_several_intensities_are_those_at_each(name, store):
    editor = load_editor(name)
    crops = np.array(store.face[store.frames(0)])
    together = edit_clip_at(editor, crops, "happy", [0.5, 1.5])
    for intensity, edited in zip((0.5, 1.5), together, strict=True):
        alone = edit_clip(editor, crops, "happy", intensity)
        assert np.abs(alone.astype(int) - edited).max() <= 1
        assert np.abs(edited.astype(int) - crops).max() > 1


def test_the_editor_is_chosen_by_its_setting_and_by_the_crop():
    def chosen(**settings):
        return stage_config("generator", "cpu", settings)

    actions = chosen()
    image = chosen(**{"generator.editor": "image"})
    assert (actions.editor, image.editor) == ("actions", "image")
    assert image.steps < actions.steps
    assert chosen(**{"generator.editor": "image", "generator.steps": 7}).steps == 7
    released = chosen(**{"corpus.crop": "released"})
    assert released == image
    with pytest.raises(InputError, match=r"aligned crops, and corpus\.crop=released"):
        chosen(**{"corpus.crop": "released", "generator.editor": "actions"})
    with pytest.raises(InputError, match="actions, image or module:name"):
        chosen(**{"generator.editor": "pictures"})
