"""The image editor: its warp against a slow one, what must not change, where gradients may go."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from cdrl.core.checkpoint import save_network, save_weights, trained_state
from cdrl.core.errors import InputError
from cdrl.core.settings import GeneratorConfig
from cdrl.core.vocabulary import EMOTIONS
from cdrl.corpora.store import Store
from cdrl.corpora.store_writer import StoreWriter
from cdrl.editors.image import (
    ImageObjective,
    WindowGuidance,
    fit_person,
    starting_networks,
    train_image_editor,
    train_start,
)
from cdrl.editors.objective import emotion_targets, fixed_parameters
from cdrl.editors.samplers import WindowSampler
from cdrl.editors.variants import IMAGE_VARIANTS, image_weights
from cdrl.losses.fields import STRETCH_LIMIT, acceleration, asymmetry, bending, stretching
from cdrl.models.content import ContentEncoder
from cdrl.models.discriminator import Discriminator, conditional_logit, jitter_frames
from cdrl.models.emotion import EmotionEncoder
from cdrl.models.field_network import apply_fields, blur, roi_mask
from cdrl.models.image_editor import ImageEditor, field_gain, label_weights
from cdrl.priors.language import tiny_clip
from cdrl.priors.vision import face_backbone, mouth_backbone
from cdrl.representation.guidance import Guidance
from cdrl.training.loop import LoopConfig

CONFIG = GeneratorConfig()


def seeded(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def busy_editor(seed=0):
    """An editor whose last layers are not zero: it moves, shades and paints."""
    torch.manual_seed(seed)
    editor = ImageEditor()
    for layer in (editor.flow_residual_head, editor.shade):
        torch.nn.init.normal_(layer.weight, std=0.3)
    return editor.eval()


def zero_shading():
    return torch.zeros(1, 1, 16, 16)


def zero_residual():
    return torch.zeros(1, 3, 64, 64)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Twelve clips of coloured noise in six emotions: enough for a sampler."""
    path = tmp_path_factory.mktemp("generator") / "store"
    with StoreWriter(path) as writer:
        for number in range(12):
            random = np.random.default_rng([7, number])
            shape = (6 + number % 3, 12, 12, 3)
            cells = random.integers(0, 255, shape, dtype=np.uint8)
            face = np.repeat(np.repeat(cells, 6, 1), 6, 2)
            emotion = EMOTIONS[number % 6]
            row = {
                "name": f"c{number}",
                "corpus": "test",
                "split": "train",
                "speaker": number % 4,
                "sentence": "t",
                "frame_rate": 25.0,
                "emotion": emotion,
                "intensity": 1 if emotion == "neutral" else 1 + number % 3,
            }
            transforms = np.tile(np.eye(2, 3, dtype=np.float32), (len(face), 1, 1))
            writer.add(row, face, transforms, np.zeros(len(face) * 640), (0.25, 0.5, 0.75, 0.83))
    return Store(path)


@pytest.fixture(scope="module")
def guidance(tmp_path_factory):
    """Guidance as a run leaves it, never trained."""
    folder = tmp_path_factory.mktemp("guidance")
    torch.manual_seed(3)
    card = {"model": {}}
    save_weights(folder / "face_backbone.safetensors", face_backbone(), card)
    save_weights(folder / "mouth_backbone.safetensors", mouth_backbone(), card)
    save_weights(folder / "language_prior.safetensors", tiny_clip(), card)
    history = pd.DataFrame({"step": [0]})
    save_network(folder / "02_content", ContentEncoder(), card, history)
    emotion_card = {"model": {}, "language": "embedded"}
    save_network(folder / "03_emotion", EmotionEncoder(), emotion_card, history)
    unit = torch.nn.functional.normalize(torch.randn(8, 4, 128), dim=-1)
    tensors = {"text": unit[:, 0].contiguous(), "prototypes": unit[:, 1:].contiguous()}
    save_file(tensors, folder / "03_emotion/targets.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDRL_WEIGHTS", str(folder))
        return Guidance(folder)


def slow_pixel(images, flow, shading, residual, b, i, j):
    """One pixel of 9 x 9 images, warped, shaded and painted, (3,) in double precision."""
    x = min(max(j + float(flow[b, 0, i, j]) * 9 / 2, 0), 8)
    y = min(max(i + float(flow[b, 1, i, j]) * 9 / 2, 0), 8)
    left = min(int(x), 7)
    top = min(int(y), 7)
    u = x - left
    v = y - top
    corners = images[b, :, top : top + 2, left : left + 2].double()
    above = corners[:, 0, 0] * (1 - u) + corners[:, 0, 1] * u
    below = corners[:, 1, 0] * (1 - u) + corners[:, 1, 1] * u
    value = above * (1 - v) + below * v
    return (value * np.exp(float(shading[b, 0, i, j])) + residual[b, :, i, j]).clamp(0, 1)


def test_the_warp_equals_a_slow_one():
    images = seeded(2, 3, 9, 9)
    flow = 0.6 * (seeded(2, 2, 9, 9, seed=1) - 0.5)
    shading = seeded(2, 1, 9, 9, seed=2) - 0.5
    residual = 0.2 * (seeded(2, 3, 9, 9, seed=3) - 0.5)
    found = apply_fields(images, flow, shading, residual)
    for b, i, j in np.ndindex(2, 9, 9):
        expected = slow_pixel(images, flow, shading, residual, b, i, j)
        assert torch.allclose(found[b, :, i, j].double(), expected, atol=1e-5)


def test_zero_fields_give_the_images():
    for size in (64, 96, 176):
        images = seeded(1, 3, size, size)
        out = apply_fields(images, torch.zeros(1, 2, 32, 32), zero_shading(), zero_residual())
        assert (out - images).abs().max() < 1e-4


def test_a_flow_to_the_right_shows_what_was_on_the_right():
    images = torch.zeros(1, 3, 64, 64)
    images[..., 40] = 1
    flow = torch.zeros(1, 2, 32, 32)
    flow[:, 0] = 8 / 32  # 8 of 64 pixels, in half widths
    out = apply_fields(images, flow, zero_shading(), zero_residual())
    assert out[0, 0, 30].argmax() == 32


def test_intensity_zero_changes_nothing_at_all():
    editor = busy_editor()
    frames = seeded(2, 5, 3, 96, 96)
    weights = label_weights(["happy", "sad"])
    curve = torch.tensor([[0.0, 0.5, 1.0, 0.0, 1.5]] * 2)
    with torch.no_grad():
        assert torch.equal(editor(frames, weights, torch.zeros(2)).frames, frames)
        out = editor(frames, weights, curve).frames
    assert torch.equal(out[:, [0, 3]], frames[:, [0, 3]])
    assert (out[:, [1, 2, 4]] - frames[:, [1, 2, 4]]).abs().mean() > 1e-3


def test_an_untrained_editor_returns_its_source():
    frames = seeded(1, 5, 3, 64, 64)
    torch.manual_seed(0)
    out = ImageEditor()(frames, label_weights(["angry"]), torch.ones(1))
    assert (out.frames - frames).abs().max() < 1e-5


def test_the_gain_is_continuous_rises_and_is_one_at_the_levels():
    gain = field_gain(torch.linspace(0, 1.5, 301))
    at_levels = field_gain(torch.tensor([1 / 3, 2 / 3, 1.0]))
    assert torch.allclose(at_levels, torch.ones(3))
    assert gain[0] == 0 and gain[-1] == 1.5
    assert (gain.diff() >= -1e-6).all() and gain.diff().max() < 0.02


def test_the_edit_is_the_same_at_every_resolution():
    editor = busy_editor()
    small = seeded(1, 5, 3, 8, 8).repeat_interleave(12, 3).repeat_interleave(12, 4)
    large = small.repeat_interleave(2, 3).repeat_interleave(2, 4)
    weights = label_weights(["happy"])
    with torch.no_grad():
        fields = editor.fields(small, weights, torch.ones(1, 5))
        fields_of_large = editor.fields(large, weights, torch.ones(1, 5))
    for one, other in zip(fields, fields_of_large, strict=True):
        assert (one - other).abs().max() < 0.05 * one.abs().max()


def test_a_frame_sees_its_neighbours_and_no_others():
    frames = seeded(1, 9, 3, 64, 64).requires_grad_(True)
    edit = busy_editor()(frames, label_weights(["fear"]), torch.ones(1))
    edit.frames[:, 4].sum().backward()
    reach = frames.grad.abs().sum((0, 2, 3, 4))
    assert (reach[[2, 4, 6]] > 0).all() and (reach[[0, 1, 3, 5, 7, 8]] == 0).all()


def test_editing_part_of_a_window_equals_editing_all_of_it():
    editor = busy_editor()
    frames = seeded(1, 7, 3, 64, 64)
    weights = label_weights(["sad"])
    with torch.no_grad():
        whole = editor(frames, weights, torch.ones(1))
        part = editor(frames, weights, torch.ones(1), slice(2, 4))
    assert torch.allclose(whole.frames[:, 2:4], part.frames, atol=1e-3)


def test_nothing_happens_at_the_border_and_paint_stays_in_its_places():
    frames = seeded(1, 5, 3, 64, 64)
    with torch.no_grad():
        edit = busy_editor()(frames, label_weights(["happy"]), torch.ones(1))
    change = (edit.frames - frames).abs()
    assert change[..., 0, :].max() < 1e-4 < change.max()
    assert change[..., :, -1].max() < 1e-4
    allowed = roi_mask(32)[0, 0] > 0
    assert edit.residual[..., ~allowed].abs().max() == 0 < edit.residual.abs().max()
    assert allowed[8, 10] and allowed[21, 16]  # an eye, the mouth
    assert not allowed[5, 16]  # between the brows


def test_mixtures_of_labels_and_their_strength_reach_the_output():
    editor = busy_editor()
    frames = seeded(1, 5, 3, 64, 64)
    happy = label_weights(["happy"])
    sad = label_weights(["sad"])
    outs = []
    for weights, strength in ((happy, 1.0), (sad, 1.0), (happy, 0.5), ((happy + sad) / 2, 1.0)):
        with torch.no_grad():
            edit = editor(frames, weights, torch.tensor([strength]))
        for other in outs:
            assert (edit.frames - other).abs().max() > 1e-3
        outs.append(edit.frames)


def test_blur_keeps_constants_and_softens_points():
    constant = torch.full((1, 2, 9, 9), 0.7)
    assert torch.allclose(blur(constant), constant)
    point = torch.zeros(1, 1, 9, 9)
    point[..., 4, 4] = 1
    assert torch.allclose(blur(point)[0, 0, 4, 4], torch.tensor((6 / 16) ** 2))


def test_affine_motion_bends_nothing_and_a_fold_costs():
    coordinates = torch.linspace(-1, 1, 32)
    y, x = torch.meshgrid(coordinates, coordinates, indexing="ij")
    affine = torch.stack([0.1 * x - 0.2 * y + 0.3, 0.2 * x + 0.1 * y])[None]
    assert bending(affine) < 1e-8 and stretching(affine) == 0
    smear = torch.stack([-0.9 * x, 0 * y])[None]  # ten output columns show one source column
    expected = torch.tensor([(0.9 * 32 / 31 - STRETCH_LIMIT) ** 2 / 2])
    assert torch.allclose(stretching(smear), expected, atol=1e-3)
    assert bending(seeded(1, 2, 32, 32)) > 1


def test_a_smile_on_one_side_is_asymmetric_and_one_on_both_is_not():
    one = torch.zeros(1, 2, 8, 8)
    one[0, :, 6, 6] = torch.tensor([0.25, -0.25])  # one cell to the right, one up
    both = one.clone()
    both[0, :, 6, 1] = torch.tensor([-0.25, -0.25])
    assert asymmetry(both) == 0
    assert torch.allclose(asymmetry(one), torch.tensor([4 / 128]))


def test_a_steady_change_has_no_acceleration():
    ramp = torch.arange(5.0).view(1, 5, 1, 1, 1).expand(1, 5, 2, 4, 4)
    assert acceleration(ramp) == 0
    assert torch.allclose(acceleration(ramp.square()), torch.tensor([4.0]))


def test_the_sampler_gives_real_and_target_emotions_equally_often(store):
    batch = WindowSampler(store, 12)(np.random.default_rng(0))
    frames = batch["frames"]
    assert frames.shape == (12, 5, 3, 64, 64) and frames.min() >= 0 and frames.max() <= 1
    twice_each = sorted(list(range(6)) * 2)
    assert sorted(batch["emotion"].tolist()) == twice_each
    assert sorted(batch["target"].tolist()) == twice_each
    levels = (batch["intensity"] * 3).round().int()
    assert set(levels.tolist()) <= {1, 2, 3}


def test_a_mirrored_window_has_a_mirrored_mouth_box(store):
    sampler = WindowSampler(store, 24)
    sampler.boxes = sampler.boxes.copy()
    sampler.boxes[:, 2] = 0.6  # from .25 to .6; in the mirror from .4 to .75
    left, _, right, _ = sampler(np.random.default_rng(1))["boxes"].unbind(1)
    sides = set()
    for a, b in zip(left.tolist(), right.tolist(), strict=True):
        sides.add((round(a, 2), round(b, 2)))
    assert sides == {(0.25, 0.6), (0.4, 0.75)}


def test_one_emotion_is_refused(tmp_path):
    row = {
        "name": "a",
        "corpus": "t",
        "split": "t",
        "speaker": 0,
        "sentence": "t",
        "frame_rate": 25.0,
        "emotion": "sad",
        "intensity": 1,
    }
    face = np.zeros((6, 64, 64, 3), np.uint8)
    with StoreWriter(tmp_path / "one") as writer:
        writer.add(row, face, np.zeros((6, 2, 3)), np.zeros(10), (0, 0, 1, 1))
    with pytest.raises(InputError, match="one: 1 emotions in clips of 5 frames .* two or more"):
        WindowSampler(Store(tmp_path / "one"), 4)


def is_reached(module, term):
    """Whether a term has a gradient to the parameters of a module."""
    gradients = torch.autograd.grad(
        term.mean(), list(module.parameters()), retain_graph=True, allow_unused=True
    )
    return any(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients)


def test_each_side_gets_only_the_gradient_of_its_own_loss(store, guidance):
    batch = WindowSampler(store, 3)(np.random.default_rng(0))
    editor = busy_editor().requires_grad_(True)
    weights = image_weights("cdrl", CONFIG)
    objective = ImageObjective(editor, Discriminator(), weights, WindowGuidance(guidance))
    terms = objective(batch)
    assert set(terms) == set(IMAGE_VARIANTS["cdrl"])
    assert all(value.shape == (3,) for value in terms.values())

    discriminator = objective.discriminator
    assert is_reached(discriminator, terms["discriminator"])
    assert not is_reached(editor, terms["discriminator"])
    for name in terms.keys() - {"discriminator"}:
        assert is_reached(editor, terms[name]), name
        assert not is_reached(discriminator, terms[name]), name


def test_frozen_parts_are_registered_stay_frozen_and_are_no_part_of_a_checkpoint(guidance):
    weights = image_weights("cdrl", CONFIG)
    networks = starting_networks(None)
    objective = ImageObjective(*networks, weights, WindowGuidance(guidance)).train()
    assert objective.training and not guidance.training and not objective.vision.training
    assert not any(p.requires_grad for p in guidance.parameters())
    assert any(name.startswith("guidance.guidance.") for name in objective.state_dict())
    parts = {name.split(".")[0] for name in trained_state(objective)}
    assert parts == {"editor", "discriminator"}


def test_guidance_of_weight_zero_is_measured_without_a_gradient(store, guidance):
    batch = WindowSampler(store, 2)(np.random.default_rng(0))
    weights = image_weights("content", CONFIG)
    objective = ImageObjective(*starting_networks(None), weights, WindowGuidance(guidance))
    terms = objective(batch)
    assert terms["content"].requires_grad
    assert not terms["emotion"].requires_grad and terms["emotion"].min() > 0


def test_fixed_parameters_are_given_back():
    network = Discriminator()
    with fixed_parameters(network):
        assert not any(p.requires_grad for p in network.parameters())
    assert all(p.requires_grad for p in network.parameters())


def test_the_variants_differ_in_the_guidance_alone():
    config = GeneratorConfig(content_weight=3.0, emotion_weight=0.5)
    baseline = image_weights("baseline", config)
    for name, variant in IMAGE_VARIANTS.items():
        weights = image_weights(name, config)
        assert weights["content"] == 3.0 * variant["content"]
        assert weights["emotion"] == 0.5 * variant["emotion"]
        guided = {"content": weights["content"], "emotion": weights["emotion"]}
        assert weights == baseline | guided
    assert baseline["content"] == baseline["emotion"] == 0 < IMAGE_VARIANTS["cdrl"]["content"]


def test_guidance_lowers_its_own_loss_on_one_batch(store, guidance):
    batch = WindowSampler(store, 2)(np.random.default_rng(0))
    networks = starting_networks(None)
    objective = ImageObjective(*networks, {"emotion": 1.0}, WindowGuidance(guidance))
    optimiser = torch.optim.Adam(objective.editor.parameters(), 2e-3)
    values = []
    for _ in range(7):
        loss = objective(batch)["emotion"].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(loss.item())
    assert values[-1] < values[0] - 0.02


def test_targets_follow_label_and_level(guidance):
    labels = torch.tensor([4, 4, 5, 5])
    targets = emotion_targets(guidance, labels, torch.tensor([1 / 3, 1.0, 1 / 3, 1.0]))
    assert torch.allclose(targets[0], guidance.prototypes[4, 0], atol=1e-3)
    assert torch.allclose(targets[1], guidance.prototypes[4, 2], atol=1e-3)
    assert torch.equal(targets[2], targets[3])  # neutral has one level


def test_a_stopped_training_ends_like_one_that_was_not(store, tmp_path, monkeypatch):
    config = GeneratorConfig(steps=4, batch=2)

    def train(name):
        return train_image_editor(store, None, config, "baseline", tmp_path / name, start=None)

    whole, history = train("whole")
    calls = []

    class Stops(WindowSampler):
        def __call__(self, random):
            calls.append(1)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return super().__call__(random)

    with monkeypatch.context() as patch:
        patch.setattr("cdrl.editors.image.WindowSampler", Stops)
        patch.setattr("cdrl.editors.image.LoopConfig", partial(LoopConfig, save_every=2))
        with pytest.raises(KeyboardInterrupt):
            train("stopped")
    assert not (tmp_path / "stopped/model.safetensors").exists()
    resumed, _ = train("stopped")
    resumed_state = resumed.state_dict()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed_state[name])
    assert {"discriminator", "cycle"} <= set(history.columns)
    assert (tmp_path / "whole/model.json").exists()


def test_training_goes_on_from_the_committed_start(store, tmp_path, monkeypatch):
    weights = tmp_path / "weights"
    card = train_start(store, weights, tmp_path / "work", steps=2, batch=2)
    assert "no true edit" in card["truth"] and card["command"] == "cdrl train generator_start"
    monkeypatch.setenv("CDRL_WEIGHTS", str(weights))
    editor, discriminator = starting_networks("generator_start")
    fresh, _ = starting_networks(None)
    assert (editor.table - fresh.table).abs().max() > 0
    assert all(p.requires_grad for p in discriminator.parameters())


def test_an_unknown_variant_and_missing_guidance_are_refused(store, tmp_path):
    message = "unknown variant 'cdlr' of the image editor: accepted are baseline, content, emotion"
    with pytest.raises(InputError, match=message):
        train_image_editor(store, None, CONFIG, "cdlr", tmp_path, start=None)
    with pytest.raises(InputError, match="variant 'cdrl' needs guidance: run notebooks 02 and 03"):
        train_image_editor(store, None, CONFIG, "cdrl", tmp_path, start=None)


def test_an_unknown_emotion_is_refused():
    with pytest.raises(InputError, match="unknown emotion 'hapy' .did you mean happy"):
        label_weights(["hapy"])


def test_a_fit_to_a_person_uses_no_clip_of_the_target_and_leaves_the_editor_alone(store, guidance):
    editor = busy_editor().requires_grad_(False)
    before = editor.table.clone()
    copy, history = fit_person(editor, store, guidance, ["happy"], ["happy"], steps=2, batch=2)
    assert torch.equal(editor.table, before) and not torch.equal(copy.table, before)
    assert not any(p.requires_grad for p in copy.parameters())
    assert "discriminator" not in history and "content" in history

    sampler = WindowSampler(store, 10, targets=("happy",), leave_out=("happy",))
    batch = sampler(np.random.default_rng(0))
    happy = EMOTIONS.index("happy")
    assert set(batch["target"].tolist()) == {happy}
    assert happy not in batch["emotion"].tolist()


def test_the_head_of_the_emotion_answers_with_its_slope():
    heads = torch.arange(32.0).view(2, 8, 2)
    logits = conditional_logit(heads, torch.tensor([4, 0]), torch.tensor([1.0, 2 / 3]))
    assert torch.allclose(logits, torch.tensor([8 + 9 / 3, 16.0]))


def test_jitter_moves_a_window_as_one_and_lets_gradients_through():
    frames = seeded(2, 1, 3, 64, 64).repeat(1, 3, 1, 1, 1).requires_grad_(True)
    torch.manual_seed(0)
    out = jitter_frames(frames)
    assert torch.equal(out[:, 0], out[:, 2]) and not torch.allclose(out, frames)
    out.sum().backward()
    assert (frames.grad[..., 4:-4, 4:-4] > 0).all()
