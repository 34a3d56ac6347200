"""The variants beside baseline and cdrl: the constant edit on a known change, the released losses, the upper bound."""

import numpy as np
import pytest
import torch

from cdrl.baselines.released.losses import released_content_guidance, released_emotion_guidance
from cdrl.core.errors import InputError
from cdrl.core.settings import GeneratorConfig
from cdrl.core.vocabulary import EMOTIONS
from cdrl.corpora.store import Store, StoreWriter
from cdrl.editing.pipeline import edit_clip
from cdrl.editors.constant import fit_constant, same_person
from cdrl.editors.image import GUIDED, VARIANTS, WindowSampler, starting_nets
from cdrl.editors.paired import WEIGHTS, PairedObjective, PairedSampler, train_paired_image_editor
from cdrl.models.constant_edit import ConstantEdit
from cdrl.studio.edits import draw_edits

HAPPY, NEUTRAL = EMOTIONS.index("happy"), EMOTIONS.index("neutral")


def soft(seed, size=64):
    """(64, 64, 3) a smooth random picture in [0, 1]."""
    small = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(seed))
    return (
        torch.nn.functional.interpolate(small, (size, size), mode="bicubic", align_corners=False)[0]
        .clamp(0, 1)
        .permute(1, 2, 0)
        .numpy()
    )


def write(path, clips):
    """A store of (name, speaker, emotion, level, frames (T, 64, 64, 3) in [0, 1])."""
    with StoreWriter(path) as writer:
        for name, speaker, emotion, level, frames in clips:
            row = {
                "name": name,
                "corpus": "t",
                "split": "t",
                "speaker": speaker,
                "sentence": "t",
                "frame_rate": 25.0,
                "emotion": emotion,
                "intensity": level,
            }
            crops = np.round(255 * np.asarray(frames)).astype(np.uint8)
            writer.add(
                row,
                crops,
                np.tile(np.eye(2, 3, dtype=np.float32), (len(crops), 1, 1)),
                np.zeros(len(crops) * 640),
                (0.25, 0.5, 0.75, 0.83),
            )
    return Store(path)


@pytest.fixture(scope="module")
def shifted(tmp_path_factory):
    """Sixteen people; happy at level 3 is neutral with everything four pixels higher."""
    clips = []
    for person in range(16):
        face = soft(person)
        clips += [
            (f"n{person}", person, "neutral", 1, np.repeat(face[None], 5, 0)),
            (f"h{person}", person, "happy", 3, np.repeat(np.roll(face, -4, 0)[None], 5, 0)),
        ]
    return write(tmp_path_factory.mktemp("constant") / "store", clips)


@pytest.fixture(scope="module")
def constant(shifted):
    return fit_constant(shifted, steps=100)


def test_the_constant_edit_finds_a_constant_change(shifted, constant):
    edit, left = constant
    assert left["warp"] < 0.5 * left["nothing"] and left["warp"] < left["picture"]
    source, truth = shifted.face[shifted.frames(0)], shifted.face[shifted.frames(1)].astype(float)
    inside = np.s_[:, 12:-12, 12:-12]
    before, after = (
        np.abs(x.astype(float) - truth)[inside].mean()
        for x in (source, edit_clip(edit, source, "happy"))
    )
    assert after < 0.5 * before and edit.emotions == ("happy", "neutral")


def test_the_constant_edit_keeps_the_dial(shifted, constant):
    edit, source = constant[0], shifted.face[shifted.frames(0)]
    assert np.array_equal(edit_clip(edit, source, "happy", 0.0), source)
    moved = [
        float(
            edit.fields(
                torch.zeros(1, 5, 3, 64, 64), torch.eye(8)[HAPPY][None], torch.full((1, 5), i)
            )[0]
            .abs()
            .mean()
        )
        for i in (0.0, 0.9, 1.0, 1.5)
    ]
    assert moved[0] == 0 and moved[1] < moved[2] and moved[3] == pytest.approx(1.5 * moved[2])
    assert torch.equal(edit.flow[NEUTRAL, 0], edit.flow[NEUTRAL, 2])
    with pytest.raises(InputError, match="this generator learnt happy, neutral"):
        edit_clip(edit, source, "sad")


def test_levels_of_a_constant_edit_are_interpolated():
    edit = ConstantEdit()
    with torch.no_grad():
        edit.flow[HAPPY] = torch.tensor([1.0, 2.0, 4.0])[:, None, None, None]
    intensity = torch.tensor([[0.0, 1 / 6, 1 / 3, 0.5, 2 / 3, 1.0, 1.5]])
    flow, _, residual = edit.fields(
        torch.zeros(1, 7, 3, 64, 64), torch.eye(8)[HAPPY][None], intensity
    )
    assert flow[0, :, 0, 0, 0].tolist() == pytest.approx(
        [0, 0.5, 1, 1.5, 2, 4, 6]
    ) and residual.shape == (1, 7, 3, 64, 64)


def test_people_with_one_emotion_make_no_constant_edit(tmp_path):
    store = write(
        tmp_path / "one", [(f"c{k}", k, "happy", 1, np.zeros((5, 64, 64, 3))) for k in range(3)]
    )
    with pytest.raises(InputError, match="nobody shows two emotions"):
        same_person(store)


def test_released_guidance_has_its_closed_forms_and_its_dead_zone():
    first = torch.tensor([[1.0, 0.0]]).repeat(3, 1)
    second = torch.tensor([[2.0, 0.0], [0.5, 0.75**0.5], [-1.0, 0.1]], requires_grad=True)
    found = released_content_guidance(first, second)
    assert found.tolist() == pytest.approx([0, np.log(2), 100], abs=1e-5)
    found.sum().backward()
    assert (
        second.grad[1].abs().sum() > 0 and second.grad[2].abs().sum() == 0
    )  # as released: no gradient where it is worst
    a, b, prompt = (torch.randn(4, 6, generator=torch.Generator().manual_seed(k)) for k in range(3))
    plain = 1 - torch.nn.functional.cosine_similarity(a, b)
    assert torch.allclose(released_emotion_guidance(a, b, torch.ones(4, 6)), plain)
    weighted = (
        1
        - (a * b * prompt**2).sum(1)
        / ((a**2 * prompt**2).sum(1) * (b**2 * prompt**2).sum(1)).sqrt()
    )
    assert torch.allclose(released_emotion_guidance(a, b, prompt), weighted, atol=1e-6)


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    """Six clips of noise, and as true edits their negatives."""
    folder, random = tmp_path_factory.mktemp("paired"), np.random.default_rng(5)
    frames = [random.random((7, 64, 64, 3)) for _ in range(6)]
    store = write(
        folder / "store", [(f"c{k}", k, EMOTIONS[k % 3], 1, x) for k, x in enumerate(frames)]
    )
    order = [3, 0, 5, 1]
    wanted = write(
        folder / "wanted", [(f"e{k}", k, EMOTIONS[4 + k % 2], 2, 1 - frames[k]) for k in order]
    )
    return store, wanted, np.array(order)


def test_the_upper_bound_sees_the_same_frames_of_source_and_true_edit(edited):
    batch = PairedSampler(*edited, batch=8)(np.random.default_rng(0))
    assert torch.allclose(batch["truth"], 1 - batch["frames"], atol=0.005) and batch[
        "frames"
    ].shape == (8, 5, 3, 64, 64)
    assert sorted(batch["target"].tolist()) == [4] * 4 + [5] * 4 and torch.allclose(
        batch["target_intensity"], torch.tensor(2 / 3)
    )
    assert set(batch["emotion"].tolist()) <= {0, 1, 2}


def test_an_edit_of_another_length_is_refused(edited):
    store, wanted, origin = edited
    other = Store(wanted.path)
    other.clips = wanted.clips.assign(num_frames=6)
    with pytest.raises(InputError, match="e3 is not as long as its source"):
        PairedSampler(store, other, origin, 4)


def test_the_upper_bound_has_neither_game_nor_guidance_and_the_others_no_truth(edited):
    store, wanted, origin = edited
    assert (
        WEIGHTS.keys() & {"discriminator", "adversarial", *GUIDED} == set()
        and "paired" not in VARIANTS
    )
    assert all("truth" not in weights for weights in VARIANTS.values())
    shared = {name: value for name, value in VARIANTS["baseline"].items() if name in WEIGHTS}
    assert (
        WEIGHTS == shared | {"truth": WEIGHTS["truth"]}
        and {"reconstruction", "bending", "temporal_smoothness"} <= shared.keys()
    )
    terms = PairedObjective(starting_nets(None)[0])(
        PairedSampler(*edited, batch=4)(np.random.default_rng(0))
    )
    assert set(terms) == set(WEIGHTS) and all(value.shape == (4,) for value in terms.values())
    assert "truth" not in WindowSampler(store, 4)(np.random.default_rng(0))


def test_the_truth_pulls_the_edit_towards_itself_and_training_leaves_a_generator(edited, tmp_path):
    batch, objective = (
        PairedSampler(*edited, batch=2)(np.random.default_rng(0)),
        PairedObjective(starting_nets(None)[0]),
    )
    optimiser, values = torch.optim.Adam(objective.generator.parameters(), 2e-3), []
    for _ in range(8):
        loss = objective(batch)["truth"].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(loss.item())
    assert values[-1] < values[0] - 0.005
    generator, history = train_paired_image_editor(
        *edited, GeneratorConfig(steps=2, batch=2), tmp_path, start=None
    )
    assert (
        not generator.training
        and (tmp_path / "model.safetensors").exists()
        and "discriminator" not in history
    )


def test_the_window_that_shows_the_target_is_another_clip(edited):
    store, *_ = edited
    batch = WindowSampler(store, 6, audio=np.arange(len(store) * 2).reshape(-1, 2))(
        np.random.default_rng(3)
    )
    reference = batch["reference"]
    assert (
        torch.equal(batch["emotion"][reference], batch["target"])
        and (reference != torch.arange(6)).all()
    )
    assert batch["audio"].shape == (6, 5, 2) and torch.equal(
        batch["audio"][:, 1:, 0] - batch["audio"][:, :-1, 0], torch.full((6, 4), 2.0)
    )


@pytest.mark.parametrize("people", [6, 15, 24])
def test_every_target_is_asked_of_every_person(tmp_path, people):
    clips = [
        (f"p{k}{e}", f"{k:02d}", e, 1, np.zeros((1, 64, 64, 3)))
        for k in range(people)
        for e in ("happy", "sad")
    ]
    store = write(tmp_path / "store", clips)
    drawn = draw_edits(store, 7 * people)
    met = {(store.clips.speaker[clip], target) for clip, target, _ in drawn}
    assert len(met) == 7 * people and all(
        store.clips.emotion[clip] != target for clip, target, _ in drawn
    )
