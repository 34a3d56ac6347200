"""The neural renderer of facial actions: taught by changed clips, never by a true edit; and the editor that draws with it."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from cdrl.core.checkpoint import load_card
from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS
from cdrl.corpora.batches import images
from cdrl.corpora.samples import sample_paths
from cdrl.corpora.store import Store
from cdrl.editing import pipeline as edit
from cdrl.editors import renderer as training
from cdrl.editors.actions import ActionEditor, load_renderer
from cdrl.editors.rendered import load_manipulator, sample_changes
from cdrl.media.video import read_video
from cdrl.models.action_renderer import FAINT, ActionRenderer
from cdrl.models.image_editor import label_weights, working_view
from cdrl.priors.actions import Tracked, load_tracker, track_clip
from cdrl.priors.vision import VisionPrior
from cdrl.studio import acting, changes
from cdrl.studio import corpus as studio

SMILE, PUFF, JAW = (ACTIONS.index(name) for name in ("mouthSmileLeft", "cheekPuff", "jawOpen"))


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def busy_renderer():
    """A renderer whose last layers are not zero: it draws something whatever it is told."""
    torch.manual_seed(0)
    renderer = ActionRenderer()
    for layer in (renderer.flow_residual_head, renderer.shade):
        torch.nn.init.normal_(layer.weight, std=0.1), torch.nn.init.normal_(layer.bias)
    return renderer.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Two people's clips, and three of them with their actions changed: not at all, by a wide jaw, by more of a smile than there is room for."""
    folder = tmp_path_factory.mktemp("changes")
    studio.generate(
        studio.specs("smoke_train", people=2, clips=2),
        folder / "train",
        "train",
        96,
        96,
        workers=1,
        progress=False,
    )
    store, wanted = Store(folder / "train"), []
    for clip, change in ((0, {}), (1, {JAW: 0.4}), (2, {SMILE: 9.0, PUFF: 0.8})):
        asked = np.zeros((int(store.clips.num_frames[clip]), len(ACTIONS)), np.float32)
        asked[:, list(change)] = list(change.values())
        wanted.append((clip, asked))
    act = acting.true_edit

    def own_only(spec, emotion, intensity, speech=None):
        assert (emotion, intensity) == (spec.emotion, spec.intensity), "a true edit was acted"
        return act(spec, emotion, intensity, speech)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(acting, "true_edit", own_only)
        changes.render_changes(store, wanted, folder / "changed", 96, 96, workers=1)
    return store, Store(folder / "changed")


@pytest.fixture(scope="module")
def editor():
    return ActionEditor(load_manipulator(), busy_renderer())


def test_no_change_leaves_every_field_at_nothing_and_a_faint_one_fades():
    renderer, frames, actions = busy_renderer(), drawn(2, 5, 3, 64, 64), drawn(2, 5, 52, seed=1)
    change = torch.zeros(2, 5, 52)
    assert all(float(field.abs().max()) == 0 for field in renderer.fields(frames, actions, change))
    change[:, :, JAW] = FAINT
    full = renderer.fields(frames, actions, change)
    assert (
        full[0].abs().max() > 1e-3
        and full[0].shape == (2, 5, 2, 64, 64)
        and full[1].shape == (2, 5, 1, 16, 16)
    )
    code = renderer.told(torch.cat([actions, change / 2], -1))
    half = renderer.drawn(frames, code, torch.full((2, 5), 0.5), slice(None))
    for one, other in zip(renderer.fields(frames, actions, change / 2), half, strict=True):
        assert torch.allclose(one, other)
    new = ActionRenderer()(frames, actions, change)
    assert (
        torch.allclose(new.frames, frames, atol=1e-6) and float(new.flow.detach().abs().max()) == 0
    )


def test_the_middle_alone_is_drawn_as_it_is_among_the_others():
    renderer, frames, actions, change = (
        busy_renderer(),
        drawn(1, 9, 3, 64, 64),
        drawn(1, 9, 52, seed=1),
        drawn(1, 9, 52, seed=2) - 0.5,
    )
    whole, part = renderer(frames, actions, change), renderer(frames, actions, change, slice(4, 6))
    assert part.frames.shape == (1, 2, 3, 64, 64) and torch.allclose(
        whole.frames[:, 4:6], part.frames, atol=1e-5
    )


def test_it_learns_from_the_frames_that_it_looks_at_when_it_draws():
    """The sampler gives a window's first, middle and last frame; in a video those are `stride` apart."""
    renderer, frames, actions, change = (
        busy_renderer(),
        drawn(2, 5, 3, 96, 96),
        drawn(2, 5, 52, seed=1),
        drawn(2, 5, 52, seed=2) - 0.5,
    )
    taught = {"frames": frames[:, ::2], "actions": actions[:, ::2], "change": change[:, ::2]}
    among, middle = (
        renderer(frames, actions, change, slice(2, 3)),
        training.render_middle(renderer, taught),
    )
    assert middle.frames.shape == (2, 1, 3, 96, 96) and torch.allclose(
        among.frames, middle.frames, atol=1e-5
    )


def test_a_mirror_exchanges_the_sides_of_actions():
    mirrored = training.MIRRORED
    assert sorted(mirrored) == list(range(52)) and [mirrored[k] for k in mirrored] == list(
        range(52)
    )
    names = {name: ACTIONS[mirrored[k]] for k, name in enumerate(ACTIONS)}
    assert (
        names["jawOpen"] == "jawOpen"
        and names["mouthLeft"] == "mouthRight"
        and names["eyeLookInLeft"] == "eyeLookInRight"
    )


def test_changed_clips_are_the_source_but_for_the_change(stores):
    store, changed = stores
    face = [changed.face[changed.frames(k)].astype(int) for k in range(3)]
    before = [store.face[store.frames(k)].astype(int) for k in range(3)]
    assert (
        np.array_equal(face[0], before[0])
        and np.abs(face[1] - before[1]).mean() > 1
        and np.abs(face[2] - before[2]).mean() > 1
    )
    assert [changes.source_of(name) for name in changed.clips.name] == store.clips.name[:3].tolist()
    assert changed.clips.emotion.tolist() == store.clips.emotion[:3].tolist()
    given, truth = (
        changed.truth["change"][changed.frames(2)].astype(float),
        store.truth["coefficients"][store.frames(2)].astype(float),
    )
    assert (
        np.allclose(given[:, SMILE], 1 - truth[:, SMILE], atol=2e-3)
        and np.abs(given[:, JAW]).max() == 0
    )


def test_the_module_that_changes_clips_cannot_reach_a_true_edit():
    names = set()
    for node in ast.walk(ast.parse(Path(changes.__file__).read_text())):
        if isinstance(node, ast.ImportFrom):
            names |= {node.module, *(alias.name for alias in node.names)}
    assert {"act", "cdrl.studio.pools"} <= names and not names & {
        "true_edit",
        "cdrl.studio.edits",
        "render_edit",
    }


def test_windows_hold_the_source_the_change_and_what_it_looks_like(stores):
    store, changed = stores
    actions = store.truth["coefficients"][:].astype(np.float32)
    sampler, seen = training.ChangeSampler(store, changed, actions, 16), set()
    batch = sampler(np.random.default_rng(0))
    assert {name: tuple(value.shape[1:]) for name, value in batch.items()} == {
        "frames": (3, 3, 96, 96),
        "truth": (1, 3, 96, 96),
        "actions": (3, 52),
        "change": (3, 52),
        "boxes": (4,),
    }
    for frames, truth, change in zip(batch["frames"], batch["truth"], batch["change"], strict=True):
        if float(change.abs().max()) == 0:
            assert torch.equal(frames[1:2], truth)
        else:
            assert float((frames[1:2] - truth).abs().mean()) > 1e-3
        seen |= {k for k in (SMILE, training.MIRRORED[SMILE]) if float(change[:, k].max()) > 0.1}
    assert len(seen) == 2, "half of the windows are mirrored, and with them the smile of one side"


def test_what_the_vision_prior_sees_is_told_apart_in_the_drawn_picture_alone():
    vision, boxes = VisionPrior(), torch.tensor([[0.3, 0.5, 0.7, 0.8], [0.2, 0.4, 0.6, 0.9]])
    truth, drawn_ = (
        drawn(2, 3, 96, 96).requires_grad_(),
        drawn(2, 3, 96, 96, seed=1).requires_grad_(),
    )
    found = training.perceptual_difference(vision, drawn_, truth, boxes)
    naive = [
        sum(
            ((one[k] - other[k]) ** 2).mean().item()
            for one, other in zip(vision(drawn_, boxes), vision(truth, boxes), strict=True)
        )
        for k in (0, 1)
    ]
    assert (
        found.tolist() == pytest.approx(naive, rel=1e-4)
        and training.perceptual_difference(vision, truth, truth, boxes).abs().max() < 1e-6
    )
    found.sum().backward()
    assert (
        float(drawn_.grad.abs().max()) > 0
        and truth.grad is None
        and all(p.grad is None for p in vision.parameters())
    )


def test_the_mouth_s_box_goes_with_the_mirror(stores):
    store, changed = stores
    one = Store(store.path)
    one.clips = one.clips.assign(mouth_left=0.1, mouth_top=0.5, mouth_right=0.6, mouth_bottom=0.8)
    batch = training.ChangeSampler(
        one, changed, one.truth["coefficients"][:].astype(np.float32), 16
    )(np.random.default_rng(0))
    there, mirrored = torch.tensor([0.1, 0.5, 0.6, 0.8]), torch.tensor([0.4, 0.5, 0.9, 0.8])
    kinds = [
        next(k for k, box in enumerate((there, mirrored)) if torch.allclose(box, found))
        for found in batch["boxes"]
    ]
    faces = {picture.tobytes() for picture in np.array(one.face).transpose(0, 3, 1, 2)}
    upright = [
        (255 * frames[1]).round().to(torch.uint8).numpy().tobytes() in faces
        for frames in batch["frames"]
    ]
    assert set(kinds) == {0, 1} and upright == [kind == 0 for kind in kinds]


def test_a_renderer_learns_to_draw_and_then_to_look_like_it(stores, tmp_path):
    store, changed = stores
    actions = store.truth["coefficients"][:].astype(np.float32)
    first, history = training.train_action_renderer(
        store, changed, actions, {"pixels": 120, "perceptual": 0}, tmp_path, batch=8
    )
    renderer, seen = training.train_action_renderer(
        store, changed, actions, {"pixels": 120, "perceptual": 40}, tmp_path, batch=8
    )
    batch = training.ChangeSampler(store, changed, actions, 24)(np.random.default_rng(9))
    before, after = (
        training.RenderingObjective(net, VisionPrior())(batch) for net in (first, renderer)
    )
    truth = history["pixels"].truth
    assert (
        truth.iloc[-1] < 0.7 * truth.iloc[0]
        and not len(history["perceptual"])
        and history["pixels"].equals(seen["pixels"])
        and len(seen["perceptual"])
    )
    assert after["perceptual"].mean() < 0.8 * before["perceptual"].mean()
    scores = training.rendering_scores(renderer, store, changed, actions, batches=2)
    assert (
        scores["psnr"] > scores["psnr.source"] + 1
        and scores["n"] == 48
        and not any(p.requires_grad for p in renderer.parameters())
    )


def test_changes_of_another_store_are_refused(stores):
    store, changed = stores
    actions = np.zeros((len(store.face), 52), np.float32)
    shorter = Store(changed.path)
    shorter.clips = shorter.clips.assign(num_frames=shorter.clips.num_frames - 1)
    with pytest.raises(InputError, match="is not as long as its source in .*: render it anew"):
        training.ChangeSampler(store, shorter, actions, 2)
    brief = Store(changed.path)
    brief.clips = brief.clips.assign(num_frames=4)
    other = Store(store.path)
    other.clips = other.clips.assign(num_frames=4)
    with pytest.raises(InputError, match="no clip of 5 frames or more"):
        training.ChangeSampler(other, brief, actions, 2)


def test_the_host_asks_for_changes_of_every_emotion_and_strength(stores):
    store = stores[0]
    tracked = Tracked(store.clips, store.truth["coefficients"][:].astype(np.float32))
    wanted = sample_changes(load_manipulator(), tracked, 16)
    assert all(change.shape == tracked.clip(clip).shape for clip, change in wanted)
    size = [float(np.abs(change).mean()) for _, change in wanted]
    assert len({clip for clip, _ in wanted}) > 1 and min(size) > 1e-3 and max(size) > 3 * min(size)


def test_the_editor_tracks_as_the_reader_does(stores, editor):
    store = stores[0]
    frames = (
        torch.from_numpy(np.array(store.face[store.frames(0)])).permute(0, 3, 1, 2)[None].float()
        / 255
    )
    found, wanted = (
        editor.actions(frames)[0].numpy(),
        track_clip(store, 0, load_tracker(), VisionPrior()),
    )
    assert (
        found.shape == wanted.shape and np.abs(found - wanted).mean() < 0.03
    )  # the mouth's box is that of all crops
    assert np.corrcoef(found[:, JAW], wanted[:, JAW])[0, 1] > 0.95


def test_at_nothing_the_editor_changes_nothing(stores, editor):
    store = stores[0]
    crops, curve = (
        np.array(store.face[store.frames(0)]),
        np.zeros(int(store.clips.num_frames[0]), np.float32),
    )
    assert np.array_equal(edit.edit_clip(editor, crops, "happy", 0.0), crops)
    curve[20:] = 1
    out = edit.edit_clip(editor, crops, "happy", curve)
    assert np.array_equal(out[:18], crops[:18]) and not np.array_equal(out[24:], crops[24:])
    assert (
        np.abs(
            edit.edit_clip(editor, crops, "happy", 1.0, source_emotion="happy").astype(int) - crops
        ).max()
        == 0
    )


def test_the_editor_works_in_pieces_and_at_other_frame_rates(stores, editor):
    store = stores[0]
    crops, weights = np.array(store.face[store.frames(0)]), label_weights(["happy"])
    crops, curve = np.concatenate([crops, crops[::-1]]), np.ones(2 * len(crops), np.float32)
    whole, pieces = (
        np.stack(list(edit.edit_stream(editor, crops, weights, curve, chunk=chunk))).astype(int)
        for chunk in (1000, 7)
    )
    assert np.abs(whole - pieces).max() <= 1
    frames = torch.from_numpy(crops[:40]).permute(0, 3, 1, 2)[None].float() / 255
    some, all_of_them = (
        editor.fields(frames, weights, torch.ones(1, 40), at)[0]
        for at in (slice(20, 24), slice(None))
    )
    assert torch.allclose(some, all_of_them[:, 20:24], atol=1e-5)
    # Twice as many frames a second of the same film: the same edit, frame for frame.
    double = np.repeat(crops[:40], 2, axis=0)
    slow, fast = (
        editor.actions(frames),
        editor.actions(torch.from_numpy(double).permute(0, 3, 1, 2)[None].float() / 255, 2),
    )
    usual, doubled = (
        editor.change(seen, weights, torch.ones(1, seen.shape[1]), step)
        for seen, step in ((slow, 1), (fast, 2))
    )
    assert (doubled[:, ::2] - usual)[:, 2:-2].abs().mean() < 0.2 * usual.abs().mean()


def test_the_committed_renderer_draws_people_it_never_met(stores, monkeypatch):
    """Changes of one or two actions alone, which the host never asks for, at the 64 px that the renderer looks at."""
    monkeypatch.setattr(training, "images", lambda *given: working_view(images(*given)))
    store, changed = stores
    actions = store.truth["coefficients"][:].astype(np.float32)
    scores = training.rendering_scores(load_renderer(), store, changed, actions, batches=2)
    assert scores["psnr"] > scores["psnr.source"] + 2


def test_the_committed_renderer_draws_what_the_host_asks_of_people_it_never_met(stores, tmp_path):
    card, net = load_card("action_renderer"), edit.load_editor("action_renderer")
    assert (
        isinstance(net, ActionEditor)
        and "happy" in net.emotions
        and net.crop == "aligned"
        and not net.training
    )
    assert card["command"] == "cdrl train action_renderer" and "no true edit" in card["truth"]
    assert card["scores"]["psnr"] > card["scores"]["psnr.source"] + 4
    store = stores[0]
    tracked = Tracked(
        store.clips,
        np.concatenate(
            [track_clip(store, k, load_tracker(), VisionPrior()) for k in range(len(store.clips))]
        ),
    )
    changes.render_changes(
        store, sample_changes(load_manipulator(), tracked, 7), tmp_path / "asked", 96, 96, workers=1
    )
    scores = training.rendering_scores(
        load_renderer(), store, Store(tmp_path / "asked"), tracked.coefficients, batches=4
    )
    assert scores["psnr"] > scores["psnr.source"] + 4


def test_a_video_is_edited_and_a_fit_is_refused(editor, tmp_path):
    source = sample_paths()[0]
    out = edit.edit_video(source, "happy", tmp_path / "happy.mp4", generator=editor, progress=False)
    assert len(read_video(out).frames) == len(read_video(source).frames)
    with pytest.raises(InputError, match="a fit fine-tunes the image host"):
        edit.fit_to_folder(editor, source.parent, source, "happy")
