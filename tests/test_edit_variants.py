"""Variants beside baseline and cdrl: the constant edit, the released losses, the upper bound."""

import numpy as np
import pytest
import torch

from cdrl.baselines.released.losses import released_content_guidance, released_emotion_guidance
from cdrl.core.errors import InputError
from cdrl.core.settings import GeneratorConfig
from cdrl.core.vocabulary import EMOTIONS
from cdrl.corpora.store import Store
from cdrl.corpora.store_writer import StoreWriter
from cdrl.editing.pipeline import edit_clip
from cdrl.editors.constant_baseline import fit_constant, same_person
from cdrl.editors.image import starting_networks
from cdrl.editors.paired import PairedImageObjective, PairedWindowSampler, train_paired_image_editor
from cdrl.editors.samplers import WindowSampler
from cdrl.editors.variants import ADVERSARIAL, GUIDED, IMAGE_PAIRED, IMAGE_VARIANTS
from cdrl.models.constant_edit import ConstantEdit
from cdrl.studio.edits import draw_edits

HAPPY = EMOTIONS.index("happy")
NEUTRAL = EMOTIONS.index("neutral")


def weights_of(emotion):
    """(1, 8) one-hot weights."""
    return torch.eye(len(EMOTIONS))[emotion][None]


def seeded(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def soft_picture(seed, size=64):
    """(64, 64, 3) a smooth random picture in [0, 1]."""
    small = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(seed))
    large = torch.nn.functional.interpolate(
        small, (size, size), mode="bicubic", align_corners=False
    )
    return large[0].clamp(0, 1).permute(1, 2, 0).numpy()


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
            transforms = np.tile(np.eye(2, 3, dtype=np.float32), (len(crops), 1, 1))
            sound = np.zeros(len(crops) * 640)
            writer.add(row, crops, transforms, sound, (0.25, 0.5, 0.75, 0.83))
    return Store(path)


@pytest.fixture(scope="module")
def shifted(tmp_path_factory):
    """Sixteen people; happy at level 3 is neutral with everything four pixels higher."""
    clips = []
    for person in range(16):
        face = soft_picture(person)
        neutral = np.repeat(face[None], 5, 0)
        happy = np.repeat(np.roll(face, -4, 0)[None], 5, 0)
        clips.append((f"n{person}", person, "neutral", 1, neutral))
        clips.append((f"h{person}", person, "happy", 3, happy))
    return write(tmp_path_factory.mktemp("constant") / "store", clips)


@pytest.fixture(scope="module")
def constant(shifted):
    return fit_constant(shifted, steps=100)


def test_the_constant_edit_finds_a_constant_change(shifted, constant):
    edit, errors = constant
    assert errors["warp"] < 0.5 * errors["nothing"] and errors["warp"] < errors["picture"]

    source = shifted.face[shifted.frames(0)]
    truth = shifted.face[shifted.frames(1)].astype(float)
    inside = np.s_[:, 12:-12, 12:-12]
    before = np.abs(source.astype(float) - truth)[inside].mean()
    edited = edit_clip(edit, source, "happy").astype(float)
    after = np.abs(edited - truth)[inside].mean()
    assert after < 0.5 * before
    assert edit.card.emotions == ("happy", "neutral") and edit.card.crop == "aligned"


def test_the_constant_edit_follows_the_intensity(shifted, constant):
    edit, _ = constant
    source = shifted.face[shifted.frames(0)]
    assert np.array_equal(edit_clip(edit, source, "happy", 0.0), source)

    moved = []
    for intensity in (0.0, 0.9, 1.0, 1.5):
        curve = torch.full((1, 5), intensity)
        flow, _, _ = edit.fields(torch.zeros(1, 5, 3, 64, 64), weights_of(HAPPY), curve)
        moved.append(float(flow.abs().mean()))
    assert moved[0] == 0 and moved[1] < moved[2]
    assert moved[3] == pytest.approx(1.5 * moved[2])
    assert torch.equal(edit.flow[NEUTRAL, 0], edit.flow[NEUTRAL, 2])
    with pytest.raises(InputError, match="'sad': this editor learnt happy, neutral"):
        edit_clip(edit, source, "sad")


def test_levels_of_a_constant_edit_are_interpolated():
    edit = ConstantEdit()
    with torch.no_grad():
        edit.flow[HAPPY] = torch.tensor([1.0, 2.0, 4.0])[:, None, None, None]
    intensity = torch.tensor([[0.0, 1 / 6, 1 / 3, 0.5, 2 / 3, 1.0, 1.5]])
    frames = torch.zeros(1, 7, 3, 64, 64)
    flow, _, residual = edit.fields(frames, weights_of(HAPPY), intensity)
    assert flow[0, :, 0, 0, 0].tolist() == pytest.approx([0, 0.5, 1, 1.5, 2, 4, 6])
    assert residual.shape == (1, 7, 3, 64, 64)


def test_people_with_one_emotion_make_no_constant_edit(tmp_path):
    clips = []
    for person in range(3):
        clips.append((f"c{person}", person, "happy", 1, np.zeros((5, 64, 64, 3))))
    store = write(tmp_path / "one", clips)
    with pytest.raises(InputError, match="nobody shows two emotions"):
        same_person(store)


def test_released_content_guidance_has_its_closed_form_and_its_dead_zone():
    first = torch.tensor([[1.0, 0.0]]).repeat(3, 1)
    second = torch.tensor([[2.0, 0.0], [0.5, 0.75**0.5], [-1.0, 0.1]], requires_grad=True)
    loss = released_content_guidance(first, second)
    assert loss.tolist() == pytest.approx([0, np.log(2), 100], abs=1e-5)
    loss.sum().backward()
    # As released: no gradient where it is worst.
    assert second.grad[1].abs().sum() > 0 and second.grad[2].abs().sum() == 0


def test_released_emotion_guidance_has_its_closed_form():
    a = seeded(4, 6, seed=0)
    b = seeded(4, 6, seed=1)
    prompt = seeded(4, 6, seed=2)
    plain = 1 - torch.nn.functional.cosine_similarity(a, b)
    assert torch.allclose(released_emotion_guidance(a, b, torch.ones(4, 6)), plain)

    product = (a * b * prompt**2).sum(1)
    squares = (a**2 * prompt**2).sum(1) * (b**2 * prompt**2).sum(1)
    weighted = 1 - product / squares.sqrt()
    assert torch.allclose(released_emotion_guidance(a, b, prompt), weighted, atol=1e-6)


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    """Six clips of noise, and as true edits the negatives of four: (clips, true edits, origin)."""
    folder = tmp_path_factory.mktemp("paired")
    random = np.random.default_rng(5)
    frames = [random.random((7, 64, 64, 3)) for _ in range(6)]
    clips = []
    for number in range(6):
        clips.append((f"c{number}", number, EMOTIONS[number % 3], 1, frames[number]))
    edits = []
    order = [3, 0, 5, 1]
    for number in order:
        edits.append((f"e{number}", number, EMOTIONS[4 + number % 2], 2, 1 - frames[number]))
    return write(folder / "store", clips), write(folder / "truths", edits), np.array(order)


def test_the_upper_bound_sees_the_same_frames_of_source_and_true_edit(edited):
    batch = PairedWindowSampler(*edited, batch=8)(np.random.default_rng(0))
    assert batch["frames"].shape == (8, 5, 3, 64, 64)
    assert torch.allclose(batch["truth"], 1 - batch["frames"], atol=0.005)
    assert sorted(batch["target"].tolist()) == [4] * 4 + [5] * 4
    assert torch.allclose(batch["target_intensity"], torch.tensor(2 / 3))
    assert set(batch["emotion"].tolist()) <= {0, 1, 2}


def test_an_edit_of_another_length_is_refused(edited):
    store, truths, origin = edited
    other = Store(truths.path)
    other.clips = truths.clips.assign(num_frames=6)
    with pytest.raises(InputError, match="e3 is not as long as its source"):
        PairedWindowSampler(store, other, origin, 4)


def test_the_upper_bound_has_no_adversary_and_no_guidance_and_the_others_no_truth(edited):
    store, _, _ = edited
    assert not IMAGE_PAIRED.keys() & {*ADVERSARIAL, *GUIDED}
    assert "paired" not in IMAGE_VARIANTS
    for weights in IMAGE_VARIANTS.values():
        assert "truth" not in weights
    baseline = IMAGE_VARIANTS["baseline"]
    shared = {name: value for name, value in baseline.items() if name in IMAGE_PAIRED}
    assert shared | {"truth": IMAGE_PAIRED["truth"]} == IMAGE_PAIRED
    assert {"reconstruction", "bending", "temporal_smoothness"} <= shared.keys()

    editor, _ = starting_networks(None)
    batch = PairedWindowSampler(*edited, batch=4)(np.random.default_rng(0))
    terms = PairedImageObjective(editor)(batch)
    assert set(terms) == set(IMAGE_PAIRED)
    assert all(value.shape == (4,) for value in terms.values())
    assert "truth" not in WindowSampler(store, 4)(np.random.default_rng(0))


def test_the_truth_pulls_the_edit_towards_itself(edited):
    editor, _ = starting_networks(None)
    objective = PairedImageObjective(editor)
    batch = PairedWindowSampler(*edited, batch=2)(np.random.default_rng(0))
    optimiser = torch.optim.Adam(editor.parameters(), 2e-3)
    values = []
    for _ in range(8):
        loss = objective(batch)["truth"].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(loss.item())
    assert values[-1] < values[0] - 0.005


def test_training_of_the_upper_bound_leaves_an_editor(edited, tmp_path):
    config = GeneratorConfig(steps=2, batch=2)
    editor, history = train_paired_image_editor(*edited, config, tmp_path, start=None)
    assert not editor.training and (tmp_path / "model.safetensors").exists()
    assert "discriminator" not in history


def test_the_window_that_shows_the_target_is_another_clip(edited):
    store, _, _ = edited
    audio = np.arange(len(store) * 2).reshape(-1, 2)
    batch = WindowSampler(store, 6, audio=audio)(np.random.default_rng(3))
    reference = batch["reference"]
    assert torch.equal(batch["emotion"][reference], batch["target"])
    assert (reference != torch.arange(6)).all()
    assert batch["audio"].shape == (6, 5, 2)
    steps = batch["audio"][:, :, 0].diff(dim=1)
    assert torch.equal(steps, torch.full((6, 4), 2.0))


@pytest.mark.parametrize("people", [6, 15, 24])
def test_every_target_is_asked_of_every_person(tmp_path, people):
    clips = []
    for person in range(people):
        for emotion in ("happy", "sad"):
            name = f"p{person}{emotion}"
            clips.append((name, f"{person:02d}", emotion, 1, np.zeros((1, 64, 64, 3))))
    store = write(tmp_path / "store", clips)
    met = set()
    for clip, target, _ in draw_edits(store, 7 * people):
        assert store.clips.emotion[clip] != target
        met.add((store.clips.speaker[clip], target))
    assert len(met) == 7 * people
