"""The generator: its warp against a slow one, what must not change, and where gradients may not go."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from cdrl.core.checkpoint import save_weights
from cdrl.core.errors import InputError
from cdrl.core.settings import GeneratorConfig
from cdrl.core.vocabulary import EMOTIONS
from cdrl.corpora.store import Store, StoreWriter
from cdrl.editors.image import (
    VARIANTS,
    ImageObjective,
    WindowSampler,
    emotion_targets,
    fit_person,
    held,
    loss_weights,
    starting_nets,
    train_image_editor,
    train_start,
)
from cdrl.losses.fields import STRETCH, acceleration, asymmetry, bending, stretching
from cdrl.models.content import ContentEncoder
from cdrl.models.discriminator import Discriminator, conditional_logit, jittered
from cdrl.models.emotion import EmotionEncoder
from cdrl.models.image_editor import (
    ImageEditor,
    apply_fields,
    blur,
    field_gain,
    label_weights,
    roi_mask,
)
from cdrl.priors.language import tiny_clip
from cdrl.priors.vision import face_backbone, mouth_backbone
from cdrl.representation.content import save_encoder
from cdrl.representation.guidance import Guidance
from cdrl.training.loop import LoopConfig


def seeded(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def busy_generator(seed=0):
    """A generator whose last layers are not zero: it moves, shades and paints."""
    torch.manual_seed(seed)
    generator = ImageEditor()
    for layer in (generator.flow_residual_head, generator.shade):
        torch.nn.init.normal_(layer.weight, std=0.3)
    return generator.eval()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Twelve clips of coloured noise in six emotions: enough for a sampler."""
    path = tmp_path_factory.mktemp("generator") / "store"
    with StoreWriter(path) as writer:
        for k in range(12):
            random = np.random.default_rng([7, k])
            face = np.repeat(
                np.repeat(random.integers(0, 255, (6 + k % 3, 12, 12, 3), dtype=np.uint8), 6, 1),
                6,
                2,
            )
            row = {
                "name": f"c{k}",
                "corpus": "test",
                "split": "train",
                "speaker": k % 4,
                "sentence": "t",
                "frame_rate": 25.0,
                "emotion": EMOTIONS[k % 6],
                "intensity": 1 if EMOTIONS[k % 6] == "neutral" else 1 + k % 3,
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
    save_encoder(ContentEncoder(), card, history, folder / "02_content")
    save_encoder(
        EmotionEncoder(), {"model": {}, "language": "embedded"}, history, folder / "03_emotion"
    )
    unit = torch.nn.functional.normalize(torch.randn(8, 4, 128), dim=-1)
    save_file(
        {"text": unit[:, 0].contiguous(), "prototypes": unit[:, 1:].contiguous()},
        folder / "03_emotion/targets.safetensors",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDRL_WEIGHTS", str(folder))
        return Guidance(folder)


def test_the_warp_equals_a_slow_one():
    images, flow = seeded(2, 3, 9, 9), 0.6 * (seeded(2, 2, 9, 9, seed=1) - 0.5)
    shading, residual = seeded(2, 1, 9, 9, seed=2) - 0.5, 0.2 * (seeded(2, 3, 9, 9, seed=3) - 0.5)
    found = apply_fields(images, flow, shading, residual)
    for b, i, j in np.ndindex(2, 9, 9):
        x = min(max(j + float(flow[b, 0, i, j]) * 9 / 2, 0), 8)
        y = min(max(i + float(flow[b, 1, i, j]) * 9 / 2, 0), 8)
        left, top = min(int(x), 7), min(int(y), 7)
        u, v = x - left, y - top
        part = images[b, :, top : top + 2, left : left + 2].double()
        value = (
            part[:, 0, 0] * (1 - u) * (1 - v)
            + part[:, 0, 1] * u * (1 - v)
            + part[:, 1, 0] * (1 - u) * v
            + part[:, 1, 1] * u * v
        )
        wanted = (value * np.exp(float(shading[b, 0, i, j])) + residual[b, :, i, j]).clamp(0, 1)
        assert torch.allclose(found[b, :, i, j].double(), wanted, atol=1e-5)


def test_zero_fields_reproduce_the_source_at_any_resolution():
    for size in (64, 96, 176):
        images = seeded(1, 3, size, size)
        out = apply_fields(
            images, torch.zeros(1, 2, 32, 32), torch.zeros(1, 1, 16, 16), torch.zeros(1, 3, 64, 64)
        )
        assert (out - images).abs().max() < 1e-4


def test_a_flow_to_the_right_shows_what_was_on_the_right():
    images = torch.zeros(1, 3, 64, 64)
    images[..., 40] = 1
    flow = torch.zeros(1, 2, 32, 32)
    flow[:, 0] = 8 / 32  # 8 of 64 pixels, in half widths
    out = apply_fields(images, flow, torch.zeros(1, 1, 16, 16), torch.zeros(1, 3, 64, 64))
    assert out[0, 0, 30].argmax() == 32


def test_intensity_zero_changes_nothing_at_all():
    generator, frames = busy_generator(), seeded(2, 5, 3, 96, 96)
    weights = label_weights(["happy", "sad"])
    curve = torch.tensor([[0.0, 0.5, 1.0, 0.0, 1.5]] * 2)
    with torch.no_grad():
        assert torch.equal(generator(frames, weights, torch.zeros(2)).frames, frames)
        out = generator(frames, weights, curve).frames
    assert torch.equal(out[:, [0, 3]], frames[:, [0, 3]])
    assert (out[:, [1, 2, 4]] - frames[:, [1, 2, 4]]).abs().mean() > 1e-3


def test_an_untrained_generator_returns_its_source():
    frames = seeded(1, 5, 3, 64, 64)
    torch.manual_seed(0)
    out = ImageEditor()(frames, label_weights(["angry"]), torch.ones(1))
    assert (out.frames - frames).abs().max() < 1e-5


def test_the_gain_is_continuous_rises_and_is_one_at_the_levels():
    dial = torch.linspace(0, 1.5, 301)
    gain = field_gain(dial)
    assert gain[0] == 0 and torch.allclose(
        field_gain(torch.tensor([1 / 3, 2 / 3, 1.0])), torch.ones(3)
    )
    assert gain[-1] == 1.5 and (gain.diff() >= -1e-6).all() and gain.diff().max() < 0.02


def test_the_edit_is_the_same_at_every_resolution():
    generator, small = (
        busy_generator(),
        seeded(1, 5, 3, 8, 8).repeat_interleave(12, 3).repeat_interleave(12, 4),
    )
    weights, intensity = label_weights(["happy"]), torch.ones(1, 5)
    large = small.repeat_interleave(2, 3).repeat_interleave(2, 4)
    with torch.no_grad():
        a, b = (generator.fields(x, weights, intensity) for x in (small, large))
    assert all((x - y).abs().max() < 0.05 * x.abs().max() for x, y in zip(a, b, strict=True))


def test_a_frame_sees_its_neighbours_and_no_others():
    generator, frames = busy_generator(), seeded(1, 9, 3, 64, 64).requires_grad_(True)
    generator(frames, label_weights(["fear"]), torch.ones(1)).frames[:, 4].sum().backward()
    reach = frames.grad.abs().sum((0, 2, 3, 4))
    assert (reach[[2, 4, 6]] > 0).all() and (reach[[0, 1, 3, 5, 7, 8]] == 0).all()


def test_editing_part_of_a_window_equals_editing_all_of_it():
    generator, frames = busy_generator(), seeded(1, 7, 3, 64, 64)
    weights, intensity = label_weights(["sad"]), torch.ones(1)
    with torch.no_grad():
        whole, part = (
            generator(frames, weights, intensity),
            generator(frames, weights, intensity, slice(2, 4)),
        )
    assert torch.allclose(whole.frames[:, 2:4], part.frames, atol=1e-3)


def test_nothing_happens_at_the_border_and_paint_stays_in_its_places():
    generator, frames = busy_generator(), seeded(1, 5, 3, 64, 64)
    with torch.no_grad():
        edit = generator(frames, label_weights(["happy"]), torch.ones(1))
    change = (edit.frames - frames).abs()
    assert change[..., 0, :].max() < 1e-4 and change[..., :, -1].max() < 1e-4 < change.max()
    allowed = roi_mask(32)[0, 0] > 0
    assert edit.residual[..., ~allowed].abs().max() == 0 < edit.residual.abs().max()
    assert (
        allowed[8, 10] and allowed[21, 16] and not allowed[5, 16]
    )  # an eye, the mouth, not between the brows


def test_mixtures_of_labels_and_their_strength_reach_the_output():
    generator, frames = busy_generator(), seeded(1, 5, 3, 64, 64)
    with torch.no_grad():
        outs = [
            generator(frames, weights, torch.tensor([strength])).frames
            for weights, strength in (
                (label_weights(["happy"]), 1.0),
                (label_weights(["sad"]), 1.0),
                (label_weights(["happy"]), 0.5),
                ((label_weights(["happy"]) + label_weights(["sad"])) / 2, 1.0),
            )
        ]
    assert all((a - b).abs().max() > 1e-3 for k, a in enumerate(outs) for b in outs[:k])


def test_blur_keeps_constants_and_softens_points():
    point = torch.zeros(1, 1, 9, 9)
    point[..., 4, 4] = 1
    assert torch.allclose(blur(torch.full((1, 2, 9, 9), 0.7)), torch.full((1, 2, 9, 9), 0.7))
    assert torch.allclose(blur(point)[0, 0, 4, 4], torch.tensor((6 / 16) ** 2))


def test_affine_motion_bends_nothing_and_a_fold_costs():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    affine = torch.stack([0.1 * x - 0.2 * y + 0.3, 0.2 * x + 0.1 * y])[None]
    assert bending(affine) < 1e-8 and stretching(affine) == 0
    smear = torch.stack([-0.9 * x, 0 * y])[None]  # ten output columns show one source column
    assert torch.allclose(
        stretching(smear), torch.tensor([(0.9 * 32 / 31 - STRETCH) ** 2 / 2]), atol=1e-3
    )
    assert bending(seeded(1, 2, 32, 32)) > 1


def test_a_smile_on_one_side_is_asymmetric_and_one_on_both_is_not():
    one = torch.zeros(1, 2, 8, 8)
    one[0, :, 6, 6] = torch.tensor([0.25, -0.25])  # one cell to the right, one up
    both = one.clone()
    both[0, :, 6, 1] = torch.tensor([-0.25, -0.25])
    assert asymmetry(both) == 0 and torch.allclose(asymmetry(one), torch.tensor([4 / 128]))


def test_a_steady_change_has_no_acceleration():
    ramp = torch.arange(5.0).view(1, 5, 1, 1, 1).expand(1, 5, 2, 4, 4)
    assert acceleration(ramp) == 0 and torch.allclose(
        acceleration(ramp.square()), torch.tensor([4.0])
    )


def test_the_sampler_gives_real_and_wanted_emotions_equally_often(store):
    batch = WindowSampler(store, 12)(np.random.default_rng(0))
    assert (
        batch["frames"].shape == (12, 5, 3, 64, 64)
        and 0 <= batch["frames"].min()
        and batch["frames"].max() <= 1
    )
    assert (
        sorted(batch["emotion"].tolist())
        == sorted(batch["target"].tolist())
        == sorted(list(range(6)) * 2)
    )
    assert set((batch["intensity"] * 3).round().int().tolist()) <= {1, 2, 3}


def test_a_mirrored_window_has_a_mirrored_mouth_box(store):
    sampler = WindowSampler(store, 24)
    sampler.boxes = sampler.boxes.copy()
    sampler.boxes[:, 2] = 0.6  # from .25 to .6; in the mirror from .4 to .75
    left, _, right, _ = sampler(np.random.default_rng(1))["boxes"].unbind(1)
    assert {
        (round(a, 2), round(b, 2)) for a, b in zip(left.tolist(), right.tolist(), strict=True)
    } == {(0.25, 0.6), (0.4, 0.75)}


def test_one_emotion_is_no_game(tmp_path, store):
    with StoreWriter(tmp_path / "one") as writer:
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
        writer.add(
            row, np.zeros((6, 64, 64, 3), np.uint8), np.zeros((6, 2, 3)), np.zeros(10), (0, 0, 1, 1)
        )
    with pytest.raises(
        InputError, match="1 emotions in clips of 5 frames or more; the game needs two or more"
    ):
        WindowSampler(Store(tmp_path / "one"), 4)


def test_each_player_gets_only_the_gradient_of_its_own_loss(store, guidance):
    batch = WindowSampler(store, 3)(np.random.default_rng(0))
    objective = ImageObjective(
        busy_generator().requires_grad_(True),
        Discriminator(),
        loss_weights("cdrl", GeneratorConfig()),
        guidance,
    )
    terms = objective(batch)
    assert set(terms) == set(VARIANTS["cdrl"]) and all(
        value.shape == (3,) for value in terms.values()
    )

    def reached(module, name):
        found = torch.autograd.grad(
            terms[name].mean(), list(module.parameters()), retain_graph=True, allow_unused=True
        )
        return any(g is not None and bool(g.abs().sum() > 0) for g in found)

    assert reached(objective.discriminator, "discriminator") and not reached(
        objective.generator, "discriminator"
    )
    for name in terms.keys() - {"discriminator"}:
        assert reached(objective.generator, name) and not reached(objective.discriminator, name), (
            name
        )
    assert not any(p.requires_grad for p in guidance.parameters()) and not guidance.training
    assert not any("guidance" in name for name in objective.state_dict())


def test_guidance_of_weight_zero_is_measured_without_a_gradient(store, guidance):
    batch = WindowSampler(store, 2)(np.random.default_rng(0))
    terms = ImageObjective(
        *starting_nets(None), loss_weights("content", GeneratorConfig()), guidance
    )(batch)
    assert (
        terms["content"].requires_grad
        and not terms["emotion"].requires_grad
        and terms["emotion"].min() > 0
    )


def test_held_gives_the_parameters_back():
    net = Discriminator()
    with held(net):
        assert not any(p.requires_grad for p in net.parameters())
    assert all(p.requires_grad for p in net.parameters())


def test_the_variants_differ_in_the_guidance_alone():
    config = GeneratorConfig(content_weight=3.0, emotion_weight=0.5)
    tables = {name: loss_weights(name, config) for name in VARIANTS}
    assert [(t.pop("content"), t.pop("emotion")) for t in tables.values()] == [
        tuple(factor * VARIANTS[name][key] for key, factor in (("content", 3.0), ("emotion", 0.5)))
        for name in VARIANTS
    ]
    assert all(table == tables["baseline"] for table in tables.values())
    assert (
        VARIANTS["baseline"]["content"]
        == VARIANTS["baseline"]["emotion"]
        == 0
        < VARIANTS["cdrl"]["content"]
    )


def test_guidance_lowers_its_own_loss_on_one_batch(store, guidance):
    batch = WindowSampler(store, 2)(np.random.default_rng(0))
    objective = ImageObjective(*starting_nets(None), {"emotion": 1.0}, guidance)
    optimiser = torch.optim.Adam(objective.generator.parameters(), 2e-3)
    values = []
    for _ in range(7):
        loss = objective(batch)["emotion"].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(loss.item())
    assert values[-1] < values[0] - 0.02


def test_targets_follow_label_and_level(guidance):
    found = emotion_targets(
        guidance, torch.tensor([4, 4, 5, 5]), torch.tensor([1 / 3, 1.0, 1 / 3, 1.0])
    )
    assert torch.allclose(found[0], guidance.prototypes[4, 0], atol=1e-3) and torch.allclose(
        found[1], guidance.prototypes[4, 2], atol=1e-3
    )
    assert torch.equal(found[2], found[3])  # neutral has one level


def test_a_stopped_training_ends_like_one_that_was_not(store, tmp_path, monkeypatch):
    config = GeneratorConfig(steps=4, batch=2)
    whole, history = train_image_editor(
        store, None, config, "baseline", tmp_path / "whole", start=None
    )
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
            train_image_editor(store, None, config, "baseline", tmp_path / "stopped", start=None)
    assert not (tmp_path / "stopped/model.safetensors").exists()
    resumed, _ = train_image_editor(
        store, None, config, "baseline", tmp_path / "stopped", start=None
    )
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )
    assert {"discriminator", "cycle"} <= set(history.columns) and (
        tmp_path / "whole/model.json"
    ).exists()


def test_training_goes_on_from_the_committed_start(store, tmp_path, monkeypatch):
    card = train_start(store, tmp_path / "weights", tmp_path / "work", steps=2, batch=2)
    assert "no true edit" in card["truth"] and card["command"] == "cdrl train generator_start"
    monkeypatch.setenv("CDRL_WEIGHTS", str(tmp_path / "weights"))
    generator, discriminator = starting_nets("generator_start")
    fresh, _ = starting_nets(None)
    assert (generator.table - fresh.table).abs().max() > 0 and all(
        p.requires_grad for p in discriminator.parameters()
    )


def test_an_unknown_variant_and_missing_guidance_are_refused(store, tmp_path):
    with pytest.raises(
        InputError, match="unknown variant 'cdlr': accepted are baseline, content, emotion, cdrl"
    ):
        train_image_editor(store, None, GeneratorConfig(), "cdlr", tmp_path, start=None)
    with pytest.raises(InputError, match="variant 'cdrl' needs guidance: run notebooks 02 and 03"):
        train_image_editor(store, None, GeneratorConfig(), "cdrl", tmp_path, start=None)


def test_an_unknown_emotion_is_refused():
    with pytest.raises(InputError, match="unknown emotion 'hapy' .did you mean happy"):
        label_weights(["hapy"])


def test_a_fit_to_a_person_uses_no_clip_of_the_target_and_leaves_the_generator_alone(
    store, guidance
):
    generator = busy_generator().requires_grad_(False)
    before = generator.table.clone()
    copy, history = fit_person(
        generator, store, guidance, targets=("happy",), leave_out=("happy",), steps=2, batch=2
    )
    assert torch.equal(generator.table, before) and not torch.equal(copy.table, before)
    assert (
        not any(p.requires_grad for p in copy.parameters())
        and "discriminator" not in history
        and "content" in history
    )
    sampler = WindowSampler(store, 10, targets=("happy",), leave_out=("happy",))
    batch = sampler(np.random.default_rng(0))
    happy = EMOTIONS.index("happy")
    assert set(batch["target"].tolist()) == {happy} and happy not in batch["emotion"].tolist()


def test_the_head_that_is_asked_answers_with_its_slope():
    heads = torch.arange(32.0).view(2, 8, 2)
    found = conditional_logit(heads, torch.tensor([4, 0]), torch.tensor([1.0, 2 / 3]))
    assert torch.allclose(found, torch.tensor([8 + 9 / 3, 16.0]))


def test_jitter_moves_a_window_as_one_and_lets_gradients_through():
    frames = seeded(2, 1, 3, 64, 64).repeat(1, 3, 1, 1, 1).requires_grad_(True)
    torch.manual_seed(0)
    out = jittered(frames)
    assert torch.equal(out[:, 0], out[:, 2]) and not torch.allclose(out, frames)
    out.sum().backward()
    assert (frames.grad[..., 4:-4, 4:-4] > 0).all()
