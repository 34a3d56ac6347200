"""The neural renderer of facial actions, trained on changed clips; the editor that uses it."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from cdrl.core.checkpoint import load_card
from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS
from cdrl.corpora.batches import image_tensor, load_images
from cdrl.corpora.samples import sample_paths
from cdrl.corpora.store import Store
from cdrl.editing import pipeline as edit
from cdrl.editing.fit import fit_for_edit
from cdrl.editors import renderer as training
from cdrl.editors.actions import ActionEditor, load_manipulator, load_renderer
from cdrl.editors.default_editor import DefaultEditor
from cdrl.editors.loading import load_editor
from cdrl.media.video import read_video
from cdrl.models.action_renderer import FAINT, ActionRenderer
from cdrl.models.field_network import working_view
from cdrl.models.image_editor import label_weights
from cdrl.priors.actions import TrackedActions, load_tracker, track_clip
from cdrl.priors.vision import VisionPrior
from cdrl.studio import acting, changes
from cdrl.studio import corpus as studio

SMILE = ACTIONS.index("mouthSmileLeft")
PUFF = ACTIONS.index("cheekPuff")
JAW = ACTIONS.index("jawOpen")
# Of a pixel from 0 to 1: float32 leaves 1.2e-5 of it, a little more or less on each machine.
ROUNDING = 5e-5


def seeded(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def busy_renderer():
    """A renderer whose last layers are not zero: it draws something whatever the change."""
    torch.manual_seed(0)
    renderer = ActionRenderer()
    for layer in (renderer.flow_residual_head, renderer.shade):
        torch.nn.init.normal_(layer.weight, std=0.1)
        torch.nn.init.normal_(layer.bias)
    return renderer.eval().requires_grad_(False)


def true_actions(store):
    return store.truth["coefficients"][:].astype(np.float32)


def clip_of(store, clip):
    """(1, T, 3, C, C) in [0, 1]."""
    return image_tensor(np.array(store.face[store.frames(clip)]))[None]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Two people's clips, and three of them with their actions changed.

    Not at all, by a wide jaw, by more of a smile than there is room for.
    """
    folder = tmp_path_factory.mktemp("changes")
    specs = studio.specs("smoke_train", people=2, clips=2)
    studio.generate(specs, folder / "train", "train", 96, 96, workers=1, progress=False)
    store = Store(folder / "train")
    requested = []
    for clip, added in ((0, {}), (1, {JAW: 0.4}), (2, {SMILE: 9.0, PUFF: 0.8})):
        change = np.zeros((int(store.clips.num_frames[clip]), len(ACTIONS)), np.float32)
        change[:, list(added)] = list(added.values())
        requested.append((clip, change))

    true_edit = acting.true_edit

    def own_emotion_only(spec, emotion, intensity, speech=None):
        assert (emotion, intensity) == (spec.emotion, spec.intensity), "a true edit was acted"
        return true_edit(spec, emotion, intensity, speech)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(acting, "true_edit", own_emotion_only)
        changes.render_changes(store, requested, folder / "changed", 96, 96, workers=1)
    return store, Store(folder / "changed")


@pytest.fixture(scope="module")
def editor():
    return ActionEditor(load_manipulator(), busy_renderer())


def test_no_change_leaves_every_field_at_nothing_and_a_faint_one_fades():
    renderer = busy_renderer()
    frames = seeded(2, 5, 3, 64, 64)
    actions = seeded(2, 5, 52, seed=1)
    change = torch.zeros(2, 5, 52)
    for field in renderer.fields(frames, actions, change):
        assert float(field.abs().max()) == 0

    change[:, :, JAW] = FAINT
    flow, shading, _ = renderer.fields(frames, actions, change)
    assert flow.abs().max() > 1e-3
    assert flow.shape == (2, 5, 2, 64, 64) and shading.shape == (2, 5, 1, 16, 16)
    code = renderer.condition_mlp(torch.cat([actions, change / 2], -1))
    half = renderer.predict_fields(frames, code, torch.full((2, 5), 0.5), slice(None))
    for field, expected in zip(renderer.fields(frames, actions, change / 2), half, strict=True):
        assert torch.allclose(field, expected)


def test_an_untrained_renderer_returns_its_source():
    frames = seeded(2, 5, 3, 64, 64)
    change = torch.zeros(2, 5, 52)
    change[:, :, JAW] = FAINT
    edited = ActionRenderer()(frames, seeded(2, 5, 52, seed=1), change)
    assert torch.allclose(edited.frames, frames, atol=1e-6)
    assert float(edited.flow.detach().abs().max()) == 0


def test_fine_shading_begins_with_nothing_and_darkens_the_mouth_alone():
    renderer = busy_renderer()
    fine = training.with_fine_shading(renderer)
    frames = seeded(1, 3, 3, 64, 64)
    actions = seeded(1, 3, 52, seed=1)
    change = torch.full((1, 3, 52), 0.1)
    usual = renderer(frames, actions, change)
    before = fine(frames, actions, change)
    assert before.shading.shape == (1, 3, 1, 64, 64)
    assert torch.allclose(
        before.shading[..., 30:34, 30:34].mean(), usual.shading[..., 7:9, 7:9].mean(), atol=0.02
    )

    torch.nn.init.constant_(fine.fine_shade.bias, -9)
    darker = fine(frames, actions, change).shading - before.shading
    assert darker[..., 43, 32].max() < -2.5 and darker[..., 20, 32].min() > -0.26
    assert torch.allclose(darker[..., 20, 32], torch.tensor(-0.25), atol=0.01)
    torch.nn.init.constant_(fine.fine_shade.bias, 9)
    lighter = fine(frames, actions, change).shading - before.shading
    assert lighter[..., 43, 32].max() < 0.26, "nothing gets much lighter"


def test_a_dark_mouth_costs_less_than_dark_skin():
    fine = ActionRenderer(fine_shading=True)
    drawn = fine(seeded(1, 3, 3, 64, 64), seeded(1, 3, 52), torch.full((1, 3, 52), 0.1))
    costs = {}
    for name, row in (("skin", 20), ("mouth", 43)):
        shading = torch.zeros(1, 3, 1, 64, 64)
        shading[..., row - 2 : row + 2, 30:34] = -1
        terms = training.rendered_painting_terms(drawn._replace(shading=shading), fine)
        weights = training.PIXEL_WEIGHTS | training.FINE_WEIGHTS
        costs[name] = sum(weights[term] * float(value.detach()) for term, value in terms.items())
    assert 0 < costs["mouth"] < 0.2 * costs["skin"]


def test_varied_changes_are_wider_and_leave_the_gaze(stores):
    store, _ = stores
    tracked = TrackedActions(store.clips, true_actions(store))
    manipulator = load_manipulator()
    plain = training.sample_changes(manipulator, tracked, 8)
    varied = training.sample_changes(manipulator, tracked, 8, varied=True)
    gaze = [number for number, name in enumerate(ACTIONS) if name.startswith("eyeLook")]
    for _, change in varied:
        assert np.abs(change[:, gaze]).max() == 0
    sizes = [np.mean([np.abs(change).max() for _, change in some]) for some in (plain, varied)]
    assert sizes[1] > sizes[0]


def test_the_middle_alone_is_drawn_as_it_is_among_the_others():
    renderer = busy_renderer()
    frames = seeded(1, 9, 3, 64, 64)
    actions = seeded(1, 9, 52, seed=1)
    change = seeded(1, 9, 52, seed=2) - 0.5
    whole = renderer(frames, actions, change)
    part = renderer(frames, actions, change, slice(4, 6))
    assert part.frames.shape == (1, 2, 3, 64, 64)
    assert torch.allclose(whole.frames[:, 4:6], part.frames, atol=ROUNDING)


def test_it_learns_from_the_frames_that_it_looks_at_when_it_draws():
    """The sampler gives a window's first, middle and last frame; in a video they are 2 apart."""
    renderer = busy_renderer()
    frames = seeded(2, 5, 3, 96, 96)
    actions = seeded(2, 5, 52, seed=1)
    change = seeded(2, 5, 52, seed=2) - 0.5
    batch = {"frames": frames[:, ::2], "actions": actions[:, ::2], "change": change[:, ::2]}
    middle = training.render_middle(renderer, batch)
    assert middle.frames.shape == (2, 1, 3, 96, 96)
    in_video = renderer(frames, actions, change, slice(2, 3))
    assert torch.allclose(in_video.frames, middle.frames, atol=ROUNDING)


def test_a_mirror_exchanges_the_sides_of_actions():
    mirrored = training.MIRRORED
    assert sorted(mirrored) == list(range(52))
    assert [mirrored[index] for index in mirrored] == list(range(52))
    names = {name: ACTIONS[mirrored[index]] for index, name in enumerate(ACTIONS)}
    assert names["jawOpen"] == "jawOpen" and names["mouthLeft"] == "mouthRight"
    assert names["eyeLookInLeft"] == "eyeLookInRight"


def test_changed_clips_are_the_source_but_for_the_change(stores):
    store, changed = stores
    for clip, is_changed in enumerate((False, True, True)):
        before = store.face[store.frames(clip)].astype(int)
        after = changed.face[changed.frames(clip)].astype(int)
        difference = np.abs(after - before).mean()
        assert difference > 1 if is_changed else difference == 0
    sources = [changes.source_of(name) for name in changed.clips.name]
    assert sources == store.clips.name[:3].tolist()
    assert changed.clips.emotion.tolist() == store.clips.emotion[:3].tolist()

    change = changed.truth["change"][changed.frames(2)].astype(float)
    truth = store.truth["coefficients"][store.frames(2)].astype(float)
    assert np.allclose(change[:, SMILE], 1 - truth[:, SMILE], atol=2e-3)
    assert np.abs(change[:, JAW]).max() == 0


def test_the_module_that_changes_clips_cannot_reach_a_true_edit():
    names = set()
    for node in ast.walk(ast.parse(Path(changes.__file__).read_text())):
        if isinstance(node, ast.ImportFrom):
            names |= {node.module, *(alias.name for alias in node.names)}
    assert {"act", "cdrl.core.pools"} <= names
    assert not names & {"true_edit", "cdrl.studio.edits", "render_edit"}


def test_windows_hold_the_source_the_change_and_what_it_looks_like(stores):
    store, changed = stores
    sampler = training.ChangeSampler(store, changed, true_actions(store), 16)
    batch = sampler(np.random.default_rng(0))
    assert {name: tuple(value.shape[1:]) for name, value in batch.items()} == {
        "frames": (3, 3, 96, 96),
        "truth": (1, 3, 96, 96),
        "actions": (3, 52),
        "change": (3, 52),
        "boxes": (4,),
    }
    smiles = set()
    windows = zip(batch["frames"], batch["truth"], batch["change"], strict=True)
    for frames, truth, change in windows:
        if float(change.abs().max()) == 0:
            assert torch.equal(frames[1:2], truth)
        else:
            assert float((frames[1:2] - truth).abs().mean()) > 1e-3
        for side in (SMILE, training.MIRRORED[SMILE]):
            if float(change[:, side].max()) > 0.1:
                smiles.add(side)
    assert len(smiles) == 2, "half of the windows are mirrored, and with them the smile"


def test_a_perceptual_difference_is_that_of_the_features_and_moves_the_rendered_picture_alone():
    vision = VisionPrior()
    boxes = torch.tensor([[0.3, 0.5, 0.7, 0.8], [0.2, 0.4, 0.6, 0.9]])
    truth = seeded(2, 3, 96, 96).requires_grad_()
    rendered = seeded(2, 3, 96, 96, seed=1).requires_grad_()
    difference = training.perceptual_difference(vision, rendered, truth, boxes)
    naive = torch.zeros(2)
    for feature, true_feature in zip(vision(rendered, boxes), vision(truth, boxes), strict=True):
        naive += ((feature - true_feature) ** 2).mean(1)
    assert difference.tolist() == pytest.approx(naive.tolist(), rel=1e-4)
    assert training.perceptual_difference(vision, truth, truth, boxes).abs().max() < 1e-6

    difference.sum().backward()
    assert float(rendered.grad.abs().max()) > 0 and truth.grad is None
    assert all(p.grad is None for p in vision.parameters())


def test_the_mouth_s_box_goes_with_the_mirror(stores):
    store, changed = stores
    boxed = Store(store.path)
    boxed.clips = boxed.clips.assign(
        mouth_left=0.1, mouth_top=0.5, mouth_right=0.6, mouth_bottom=0.8
    )
    sampler = training.ChangeSampler(boxed, changed, true_actions(boxed), 16)
    batch = sampler(np.random.default_rng(0))
    box = torch.tensor([0.1, 0.5, 0.6, 0.8])
    mirrored_box = torch.tensor([0.4, 0.5, 0.9, 0.8])
    stored = {picture.tobytes() for picture in np.array(boxed.face).transpose(0, 3, 1, 2)}
    sides = set()
    for frames, found in zip(batch["frames"], batch["boxes"], strict=True):
        picture = (255 * frames[1]).round().to(torch.uint8).numpy()
        is_mirrored = picture.tobytes() not in stored
        assert torch.allclose(found, mirrored_box if is_mirrored else box)
        sides.add(is_mirrored)
    assert sides == {False, True}


def test_a_renderer_learns_to_draw_and_then_to_look_like_it(stores, tmp_path):
    store, changed = stores
    actions = true_actions(store)

    def train(perceptual):
        steps = {"pixels": 120, "perceptual": perceptual}
        return training.train_action_renderer(store, changed, actions, steps, tmp_path, batch=8)

    first, first_history = train(0)
    renderer, history = train(40)
    truth = first_history["pixels"].truth
    assert truth.iloc[-1] < 0.7 * truth.iloc[0]
    assert not len(first_history["perceptual"]) and len(history["perceptual"])
    assert first_history["pixels"].equals(history["pixels"])

    batch = training.ChangeSampler(store, changed, actions, 24)(np.random.default_rng(9))
    before = training.RenderingObjective(first, VisionPrior())(batch)
    after = training.RenderingObjective(renderer, VisionPrior())(batch)
    assert after["perceptual"].mean() < 0.8 * before["perceptual"].mean()
    scores = training.rendering_scores(renderer, store, changed, actions, batches=2)
    assert scores["psnr"] > scores["psnr.source"] + 1 and scores["n"] == 48
    assert not any(p.requires_grad for p in renderer.parameters())


def test_changes_of_another_store_are_refused(stores):
    store, changed = stores
    actions = np.zeros((len(store.face), 52), np.float32)
    shorter = Store(changed.path)
    shorter.clips = shorter.clips.assign(num_frames=shorter.clips.num_frames - 1)
    with pytest.raises(InputError, match="is not as long as its source in .*: render it anew"):
        training.ChangeSampler(store, shorter, actions, 2)

    brief = Store(changed.path)
    brief.clips = brief.clips.assign(num_frames=4)
    brief_sources = Store(store.path)
    brief_sources.clips = brief_sources.clips.assign(num_frames=4)
    with pytest.raises(InputError, match="no clip of 5 frames or more"):
        training.ChangeSampler(brief_sources, brief, actions, 2)


def test_the_manipulator_asks_for_changes_of_every_emotion_and_strength(stores):
    store, _ = stores
    tracked = TrackedActions(store.clips, true_actions(store))
    clips = set()
    sizes = []
    for clip, change in training.sample_changes(load_manipulator(), tracked, 16):
        assert change.shape == tracked.clip(clip).shape
        clips.add(clip)
        sizes.append(float(np.abs(change).mean()))
    assert len(clips) > 1
    assert min(sizes) > 1e-3 and max(sizes) > 3 * min(sizes)


def test_the_editor_tracks_as_the_tracker_does(stores, editor):
    store, _ = stores
    tracked = editor.actions(clip_of(store, 0))[0].numpy()
    expected = track_clip(store, 0, load_tracker(), VisionPrior())
    # The editor takes the mouth's box of all crops.
    assert tracked.shape == expected.shape and np.abs(tracked - expected).mean() < 0.03
    assert np.corrcoef(tracked[:, JAW], expected[:, JAW])[0, 1] > 0.95


def test_at_nothing_the_editor_changes_nothing(stores, editor):
    store, _ = stores
    crops = np.array(store.face[store.frames(0)])
    assert np.array_equal(edit.edit_clip(editor, crops, "happy", 0.0), crops)

    curve = np.zeros(len(crops), np.float32)
    curve[20:] = 1
    out = edit.edit_clip(editor, crops, "happy", curve)
    assert np.array_equal(out[:18], crops[:18]) and not np.array_equal(out[24:], crops[24:])
    to_itself = edit.edit_clip(editor, crops, "happy", 1.0, source_emotion="happy")
    assert np.abs(to_itself.astype(int) - crops).max() == 0


def test_the_editor_works_in_pieces(stores, editor):
    store, _ = stores
    weights = label_weights(["happy"])
    crops = np.array(store.face[store.frames(0)])
    crops = np.concatenate([crops, crops[::-1]])
    curve = np.ones(len(crops), np.float32)
    whole = np.stack(list(edit.edit_stream(editor, crops, weights, curve, chunk=1000)))
    pieces = np.stack(list(edit.edit_stream(editor, crops, weights, curve, chunk=7)))
    assert np.abs(whole.astype(int) - pieces).max() <= 1

    frames = image_tensor(crops[:40])[None]
    flow_of_part, _, _ = editor.fields(frames, weights, torch.ones(1, 40), slice(20, 24))
    flow, _, _ = editor.fields(frames, weights, torch.ones(1, 40))
    assert torch.allclose(flow_of_part, flow[:, 20:24], atol=1e-5)


def test_twice_as_many_frames_a_second_of_the_same_film_get_the_same_edit(stores, editor):
    store, _ = stores
    weights = label_weights(["happy"])
    frames = clip_of(store, 0)[:, :40]
    count = frames.shape[1]
    actions = editor.actions(frames)
    usual = editor.change(actions, weights, torch.ones(1, count))
    double_actions = editor.actions(frames.repeat_interleave(2, 1), 2)
    doubled = editor.change(double_actions, weights, torch.ones(1, 2 * count), 2)
    difference = (doubled[:, ::2] - usual)[:, 2:-2]
    assert difference.abs().mean() < 0.2 * usual.abs().mean()


def test_the_committed_renderer_draws_people_it_never_met(stores, monkeypatch):
    """Changes of one or two actions alone, which the manipulator never makes, at 64 px."""

    def load_small_images(*arguments):
        return working_view(load_images(*arguments))

    monkeypatch.setattr(training, "load_images", load_small_images)
    store, changed = stores
    renderer = load_renderer()
    scores = training.rendering_scores(renderer, store, changed, true_actions(store), batches=2)
    assert scores["psnr"] > scores["psnr.source"] + 2


def test_the_committed_renderer_has_a_card_and_is_an_editor():
    card = load_card("action_renderer")
    assert card["command"] == "cdrl train action_renderer" and "no true edit" in card["truth"]
    assert card["scores"]["psnr"] > card["scores"]["psnr.source"] + 4
    editor = load_editor("action_renderer")
    assert isinstance(editor, ActionEditor) and not editor.training
    assert "happy" in editor.card.emotions and editor.card.crop == "aligned"


def test_the_renderer_of_the_default_editor_has_a_card_and_draws_people_it_never_met():
    card = load_card("default_renderer")
    assert card["command"] == "cdrl train default_renderer" and "no true edit" in card["truth"]
    assert card["scores"]["psnr"] > card["scores"]["psnr.source"] + 1
    editor = load_editor()
    assert isinstance(editor, DefaultEditor)
    assert editor.renderer.fine_shading and not editor.editor.renderer.fine_shading


def test_the_committed_renderer_draws_what_the_manipulator_makes_of_people_it_never_met(
    stores, tmp_path
):
    store, _ = stores
    tracker = load_tracker()
    vision = VisionPrior()
    actions = [track_clip(store, clip, tracker, vision) for clip in range(len(store.clips))]
    tracked = TrackedActions(store.clips, np.concatenate(actions))
    requested = training.sample_changes(load_manipulator(), tracked, 7)
    changes.render_changes(store, requested, tmp_path / "changed", 96, 96, workers=1)
    scores = training.rendering_scores(
        load_renderer(), store, Store(tmp_path / "changed"), tracked.coefficients, batches=4
    )
    assert scores["psnr"] > scores["psnr.source"] + 4


def test_a_video_is_edited_and_a_fit_is_refused(editor, tmp_path):
    source = sample_paths()[0]
    out = edit.edit_video(source, "happy", tmp_path / "happy.mp4", editor=editor, progress=False)
    assert len(read_video(out).frames) == len(read_video(source).frames)
    with pytest.raises(InputError, match="takes no fit; the editors actions .* and image"):
        fit_for_edit(editor, source.parent, source, "happy", out)
