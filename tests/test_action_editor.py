"""Facial actions: tracked from pixels, edited, rendered; unpaired training, distilled guidance."""

import ast
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cdrl.core.checkpoint import load_card, load_tensors
from cdrl.core.errors import InputError
from cdrl.core.paths import repository_root
from cdrl.core.settings import ActionsConfig, EmotionConfig
from cdrl.core.vocabulary import ACTIONS, SCORED_EMOTIONS, emotion_index
from cdrl.corpora.store import Store
from cdrl.editors.actions import edit_actions, load_manipulator
from cdrl.editors.manipulator import ActionObjective, ActionWindowGuidance, train_action_manipulator
from cdrl.editors.objective import correlation
from cdrl.editors.paired import PairedActionSampler, TrackedEdits
from cdrl.editors.rendered import alignment_of, render_action_edits, render_edit, tracked_edit_pairs
from cdrl.editors.samplers import ActionWindowSampler
from cdrl.editors.variants import ACTION_VARIANTS, action_weights
from cdrl.evaluation.edit_comparison import estimate_differences
from cdrl.evaluation.edit_evaluation import (
    estimate_variant,
    format_estimates,
    statistics_from_readings,
)
from cdrl.evaluation.edit_metrics import RENDERED_SCORES, restore_statistics
from cdrl.evaluation.readings import ClipReading, References
from cdrl.models.action_networks import (
    GAZE_ACTIONS,
    ActionDiscriminator,
    ActionManipulator,
    ContentStudent,
    EmotionStudent,
)
from cdrl.priors.actions import ActionTracker, TrackedActions, load_tracker, track, track_clip
from cdrl.priors.features import extract
from cdrl.priors.vision import VisionPrior
from cdrl.representation import distillation
from cdrl.representation.cerl import EmotionSampler
from cdrl.representation.classifier import ClassifierObjective, train_classifier, without_bottleneck
from cdrl.representation.components import load_emotion_encoder
from cdrl.representation.distillation import (
    ActionGuidance,
    Teachers,
    distil,
    feature_stats,
    fit_scores,
)
from cdrl.representation.guidance import Guidance
from cdrl.representation.label_free import (
    load_label_free_view,
    speaker_free_components,
    train_label_free_view,
)
from cdrl.representation.untrained_code import fit_untrained_code, without_clip_means
from cdrl.studio import corpus as studio
from cdrl.studio import edits as studio_edits
from cdrl.studio.acting import act
from cdrl.training.action_tracker import train_action_tracker
from cdrl.training.loop import LoopConfig

SMALL = ActionsConfig(steps=4, batch=4, window=12, distil_steps=40)
JAW = ACTIONS.index("jawOpen")
NO_EDITS = TrackedEdits([], [], np.zeros(0, int), np.zeros(0))


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Real studio clips, small: four people who train, two others, two true edits of the former."""
    folder = tmp_path_factory.mktemp("corpora")
    specs = {
        "train": studio.specs("smoke_train", people=4, clips=4),
        "others": studio.specs("smoke_report", people=2, sentences=2)[:6],
    }
    opened = {}
    for name, clips in specs.items():
        studio.generate(clips, folder / name, name, 96, 96, workers=1, progress=False)
        opened[name] = Store(folder / name)

    drawn_edits = studio_edits.draw_edits(opened["train"], 2)
    path = folder / "edits"
    studio_edits.generate_edits(opened["train"], drawn_edits, path, 96, 96, workers=1)
    return opened | {"edits": Store(path), "drawn_edits": drawn_edits}


@pytest.fixture(scope="module")
def features(stores, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    extracted = {}
    for name in ("train", "others"):
        extracted[name] = extract(stores[name], folder / name, device="cpu")
    return extracted


@pytest.fixture(scope="module")
def tracked(features):
    tracker = load_tracker()
    return {name: track(extracted, tracker) for name, extracted in features.items()}


@pytest.fixture(scope="module")
def teacher():
    return Guidance()


@pytest.fixture(scope="module")
def students(features, tracked, teacher, tmp_path_factory):
    """The students, and those of the control, who learnt the answers to other windows."""
    folder = tmp_path_factory.mktemp("students")
    distilled = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distillation, "MAX_WINDOW", 20)
        for shuffled in (False, True):
            out = folder / str(shuffled)
            student = distil(
                features["train"], tracked["train"], teacher, SMALL, out, shuffled=shuffled
            )
            distilled.append(student)
    return distilled


@pytest.fixture
def guidance(students):
    return ActionWindowGuidance(students[0])


def busy_manipulator(seed=0, **stats):
    """A manipulator whose last layer is not zero: it edits."""
    torch.manual_seed(seed)
    manipulator = ActionManipulator(**stats)
    torch.nn.init.normal_(manipulator.out.weight, std=0.05)
    return manipulator.eval().requires_grad_(False)


def seeded(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def assert_same_state(one, other):
    other_state = other.state_dict()
    for name, value in one.state_dict().items():
        assert torch.equal(value, other_state[name]), name


def test_a_manipulator_that_was_never_trained_returns_its_source():
    manipulator = ActionManipulator()
    source = seeded(2, 20, 52)
    style = manipulator.label_style(torch.tensor([4, 6]))
    assert torch.equal(manipulator(source, style, torch.ones(2)), source)


def test_intensity_zero_changes_nothing_and_gaze_is_never_edited():
    manipulator = busy_manipulator()
    source = seeded(30, 52).numpy()
    assert np.array_equal(edit_actions(manipulator, source, "happy", 0.0), source)

    curve = np.where(np.arange(30) < 10, 0.0, 1.5)
    out = edit_actions(manipulator, source, "happy", curve)
    assert np.array_equal(out[:10], source[:10])
    assert np.abs(out[10:] - source[10:]).mean() > 1e-3
    gaze = list(GAZE_ACTIONS)
    assert np.array_equal(out[:, gaze], source[:, gaze]) and len(gaze) == 8
    assert out.min() >= 0 and out.max() <= 1
    assert out.dtype == np.float32 and out.shape == source.shape
    assert np.array_equal(out, edit_actions(manipulator, source, "happy", curve))


def test_label_reference_and_strength_all_reach_the_edit():
    manipulator = busy_manipulator()
    source = seeded(30, 52).numpy()
    happy = edit_actions(manipulator, source, "happy", 1.0)
    sad = edit_actions(manipulator, source, "sad", 1.0)
    mild = edit_actions(manipulator, source, "happy", 1 / 3)
    assert np.abs(happy - sad).max() > 1e-3 and np.abs(happy - mild).max() > 1e-3

    short_reference = seeded(9, 52, seed=9).numpy()
    long_reference = seeded(40, 52, seed=40).numpy()
    like_short = edit_actions(manipulator, source, reference=short_reference)
    like_long = edit_actions(manipulator, source, reference=long_reference)
    assert np.abs(like_short - like_long).max() > 1e-4


def test_an_edit_takes_an_emotion_or_a_reference():
    source = seeded(30, 52).numpy()
    with pytest.raises(InputError, match="one of emotion and reference"):
        edit_actions(busy_manipulator(), source)
    with pytest.raises(InputError, match="one of emotion and reference"):
        edit_actions(busy_manipulator(), source, "happy", reference=source)


def test_a_frame_depends_on_fifteen_neighbours_and_no_others():
    manipulator = busy_manipulator()
    source = seeded(1, 61, 52).requires_grad_(True)
    style = manipulator.label_style(torch.tensor([4]))
    manipulator(source, style, torch.ones(1))[0, 30].sum().backward()
    reached = source.grad.abs().sum((0, 2)) > 0
    assert reached[15:46].all() and not reached[:15].any() and not reached[46:].any()
    assert manipulator.reach == 15


def test_a_reading_depends_on_seven_neighbours_and_no_others():
    tracker = ActionTracker().eval()
    features = seeded(1, 31, 384).requires_grad_(True)
    tracker(features)[0, 15].sum().backward()
    reached = features.grad.abs().sum((0, 2)) > 0
    assert reached[8:23].all() and not reached[:8].any() and not reached[23:].any()
    assert tracker.reach == 7


def test_a_reading_does_not_depend_on_the_frame_rate():
    tracker = load_tracker()
    frames = torch.cumsum(seeded(1, 31, 384) - 0.5, 1)
    plain = tracker(frames)
    interpolating = tracker(frames, 1 + 1e-9)  # the other way to compute the same
    assert torch.allclose(interpolating, plain, atol=1e-4)

    between = torch.lerp(frames[:, :-1], frames[:, 1:], 0.5)
    interleaved = torch.stack([frames[:, :-1], between], 2).flatten(1, 2)
    double = torch.cat([interleaved, frames[:, -1:]], 1)
    assert torch.allclose(tracker(double, 2)[:, ::2], plain, atol=1e-4)
    assert not torch.allclose(tracker(double)[:, ::2], plain, atol=1e-1)


def test_students_and_discriminator_have_the_shapes_of_their_teachers():
    actions = seeded(3, 24, 52)
    content = ContentStudent(embedding=12)(actions)
    emotion = EmotionStudent(embedding=128)(actions)
    assert content.shape == (3, 16, 12) and emotion.shape == (3, 128)
    assert torch.allclose(content.norm(dim=-1), torch.ones(3, 16))
    assert torch.allclose(emotion.norm(dim=-1), torch.ones(3))
    assert ActionDiscriminator()(actions).shape == (3, 8, 2)


def test_correlation_is_pearson_s():
    a = seeded(2, 30)
    b = seeded(2, 30, seed=1)
    expected = [np.corrcoef(a[row], b[row])[0, 1] for row in range(2)]
    assert np.allclose(correlation(a, b), expected, atol=1e-3)
    assert torch.allclose(correlation(a, 2 * a + 1), torch.ones(2), atol=1e-3)
    assert correlation(a, torch.zeros_like(a)).abs().max() == 0


def test_the_committed_tracker_reads_people_it_never_met(stores, tracked):
    store = stores["others"]
    truth = store.truth["coefficients"][:].astype(np.float32)
    actions = tracked["others"].coefficients
    assert actions.shape == truth.shape and actions.min() >= 0 and actions.max() <= 1
    assert np.corrcoef(actions[:, JAW], truth[:, JAW])[0, 1] > 0.85

    from_crops = track_clip(store, 1, load_tracker(), VisionPrior())
    # Cached features are half precision.
    assert np.abs(from_crops - tracked["others"].clip(1)).max() < 0.02
    card = load_card("action_tracker")
    assert card["command"] == "cdrl train action_tracker" and card["scores"]["r2"] > 0.7
    assert "no emotion label" in card["truth"]


def test_the_tracker_s_recipe_writes_weights_with_a_card(features, tmp_path):
    card = train_action_tracker(
        (features["train"], features["others"]),
        features["train"],
        tmp_path,
        tmp_path / "work",
        steps=40,
    )
    assert 0.3 < card["scores"]["r2"] < 1
    weights = str(tmp_path / "action_tracker.safetensors")
    assert load_card(weights)["steps"] == 40
    assert np.isfinite(load_tracker(weights).predict(np.zeros((5, 384)))).all()


def test_the_tracker_needs_truth(features, tmp_path, monkeypatch):
    monkeypatch.setattr(features["others"].store, "truth", {})
    with pytest.raises(InputError, match="no true coefficients here"):
        train_action_tracker(
            (features["train"],), features["others"], tmp_path, tmp_path / "work", steps=1
        )


def test_true_actions_render_to_the_stored_crop(stores):
    store = stores["others"]
    rows = store.frames(0)
    name = store.clips.name[0]
    alignment = alignment_of(store, 0)
    exact = act(studio.spec_of(name)).coefficients
    assert np.array_equal(render_edit(name, exact, alignment, 96), store.face[rows])

    truth = store.truth["coefficients"][rows].astype(np.float32)
    stored = store.face[rows].astype(int)
    for crops in (render_edit(name, truth, alignment, 96), render_edit(name, truth, None, 96)):
        assert crops.shape == stored.shape and crops.dtype == np.uint8
        # Half precision of the stored truth is all that differs.
        assert np.abs(crops - stored).mean() < 0.1

    other = truth.copy()
    other[:, JAW] = 1
    assert np.abs(render_edit(name, other, alignment, 96) - stored).mean() > 1


def test_edits_of_a_store_have_its_crops_shape_and_follow_the_manipulator(stores, tracked):
    mean, std = feature_stats(tracked["train"].coefficients)
    store = stores["others"]
    edits = [(0, "happy", 3)]
    busy = busy_manipulator(mean=mean, std=std)
    [changed] = render_action_edits(store, busy, edits, load_tracker(), 96)
    [unchanged] = render_action_edits(
        store, ActionManipulator(mean, std), edits, load_tracker(), 96
    )
    assert changed.shape == store.face[store.frames(0)].shape and changed.dtype == np.uint8

    actions = tracked["others"].clip(0)
    as_tracked = render_edit(store.clips.name[0], actions, alignment_of(store, 0), 96).astype(int)
    assert np.abs(unchanged - as_tracked).mean() < 0.5 < np.abs(changed - as_tracked).mean()


@pytest.mark.parametrize(
    ("emotion", "action"),
    [
        ("happy", "mouthSmileLeft"),
        ("angry", "browDownLeft"),
        ("surprised", "eyeWideLeft"),
        ("sad", "mouthFrownLeft"),
        ("disgusted", "noseSneerLeft"),
    ],
)
def test_the_committed_manipulator_answers_every_intensity_in_order(tracked, emotion, action):
    manipulator = load_manipulator()
    others = tracked["others"]
    source = others.clip(others.clips.emotion.tolist().index("neutral"))
    strengths = []
    for intensity in (0, 0.15, 1 / 3, 2 / 3, 1, 1.5):
        edited = edit_actions(manipulator, source, emotion, intensity)
        strengths.append(edited[:, ACTIONS.index(action)].mean())
    assert (np.diff(strengths) > 0).all() and strengths[4] > strengths[0] + 0.1


def test_the_committed_manipulator_follows_a_reference_and_has_a_card(tracked):
    others = tracked["others"]
    emotions = others.clips.emotion.tolist()
    source = others.clip(emotions.index("neutral"))
    reference = others.clip(emotions.index("happy"))
    edited = edit_actions(load_manipulator(), source, reference=reference)
    smile = ACTIONS.index("mouthSmileLeft")
    assert edited[:, smile].mean() > source[:, smile].mean() + 0.1

    card = load_card("action_manipulator")
    assert card["command"] == "cdrl train action_manipulator" and "no true edit" in card["truth"]
    assert card["scores"]["student.content"] > card["scores"]["student.content.chance"] + 0.8
    assert (card["crop"], card["run"]) == ("aligned", None) and "happy" in card["emotions"]


def test_students_agree_with_their_teachers_on_other_people_more_than_the_shuffled_ones(
    students, features, tracked, teacher, monkeypatch
):
    monkeypatch.setattr(distillation, "MAX_WINDOW", 20)
    scores = []
    for student in students:
        fit = fit_scores(student, features["others"], tracked["others"], teacher, batches=4)
        scores.append(fit)
    right, wrong = scores
    assert right["content"] > right["content.chance"] + 0.2
    assert right["content"] > wrong["content"] + 0.2
    assert right["emotion"] > right["emotion.chance"] + 0.02
    assert right["emotion"] > wrong["emotion"] + 0.02


def test_guidance_on_actions_is_zero_on_the_source_and_has_a_gradient_to_the_output(
    students, tracked
):
    guidance = students[0]
    source = torch.from_numpy(tracked["others"].clip(0)[None, :20])
    assert guidance.content(source, source).abs().max() < 1e-5
    target = guidance.target(labels="happy", intensity=1.0)
    assert torch.allclose(target[0], guidance.prototypes[emotion_index("happy"), 2], atol=1e-5)

    output = (source + 0.05 * seeded(1, 20, 52)).requires_grad_(True)
    content = guidance.content(source, output)
    emotion = guidance.emotion(output, embedding=target)
    (content + emotion).sum().backward()
    assert output.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in guidance.parameters())


@pytest.fixture(scope="module")
def untrained_code(features):
    return fit_untrained_code(features["train"])


@pytest.fixture(scope="module")
def classifier(features, tmp_path_factory):
    """A plain classifier's encoder, its history and its folder."""
    out = tmp_path_factory.mktemp("classifier")
    config = without_bottleneck(EmotionConfig(steps=60, batch=8))
    encoder, history = train_classifier(features["train"], config, "embedded", out)
    return encoder, history, out


def test_an_untrained_code_is_white_and_knows_no_clip_mean(features, untrained_code):
    train = features["train"]
    code = untrained_code.embed(train)
    assert code.shape == (len(train.store), 12) and code.dtype == np.float32
    assert np.allclose(np.linalg.norm(code, axis=1), 1, atol=1e-4)

    starts = train.store.clips["start"].to_numpy()
    sums = np.add.reduceat(without_clip_means(train), starts)
    assert np.abs(sums).max() < 0.05
    others = untrained_code.embed(features["others"])
    assert others.shape[1] == 12 and np.isfinite(others).all()


def test_a_classifier_learns_emotions_and_is_read_as_cerl_is(classifier, features):
    encoder, history, out = classifier
    assert history["cross_entropy"].iloc[-1] < 0.5 * history["cross_entropy"].iloc[0]
    assert encoder.config["bottleneck"] == 128 and encoder.noise == 0

    loaded = load_emotion_encoder(out)
    windows = seeded(2, 5, encoder.config["features"])
    assert torch.equal(loaded(windows), encoder(windows))
    prototypes = load_tensors(out / "targets.safetensors")["prototypes"]
    assert prototypes.shape == (8, 3, 128)


def test_a_classifier_that_knows_nothing_scores_ln_8(classifier, features):
    objective = ClassifierObjective(classifier[0])
    torch.nn.init.zeros_(objective.readout.weight)
    torch.nn.init.zeros_(objective.readout.bias)
    batch = EmotionSampler(features["train"], EmotionConfig(batch=3))(np.random.default_rng(0))
    loss = objective(batch)["cross_entropy"]
    assert torch.allclose(loss, torch.full((6,), float(np.log(8))), atol=1e-5)


def test_students_learn_from_other_teachers_too(
    classifier, untrained_code, features, tracked, tmp_path, monkeypatch
):
    monkeypatch.setattr(distillation, "MAX_WINDOW", 20)
    encoder, _, out = classifier
    prototypes = load_tensors(out / "targets.safetensors")["prototypes"]
    teachers = Teachers(untrained_code.embed, encoder, prototypes, 12)
    student = distil(features["train"], tracked["train"], teachers, SMALL, tmp_path)
    fit = fit_scores(student, features["others"], tracked["others"], teachers, batches=4)
    assert fit["content"] > fit["content.chance"] + 0.1

    guidance = ActionWindowGuidance(student)
    batch = ActionWindowSampler(tracked["train"], 4, 12)(np.random.default_rng(0))
    output = batch["source"].clone().requires_grad_(True)
    terms = guidance.emotion(batch, output) + guidance.content(batch, output)
    assert terms.shape == (4,)
    terms.sum().backward()
    assert output.grad.abs().sum() > 0


class Code(torch.nn.Module):
    """A content code (B, T - 8, D): of every moment its own axis, or all the same."""

    def __init__(self, same):
        super().__init__()
        self.same = same

    def forward(self, actions):
        number = actions.shape[1] - 8
        code = torch.ones(number, 1) if self.same else torch.eye(number)
        return code.expand(len(actions), -1, -1)


def test_content_contrast_asks_for_the_same_moment():
    guidance = ActionGuidance(torch.zeros(52), torch.ones(52), torch.zeros(8, 3, 4), 6)
    source = seeded(2, 14, 52)
    guidance.content_student = Code(same=False)
    by_hand = np.log(1 + 5 * np.exp(-1 / 0.1))  # six moments, cosines 1 and 0
    loss = guidance.content_contrast(source, source)
    assert loss.tolist() == pytest.approx([by_hand, by_hand], abs=1e-6)
    guidance.content_student = Code(same=True)
    loss = guidance.content_contrast(source, source)
    assert loss.tolist() == pytest.approx([np.log(6), np.log(6)], abs=1e-6)


def test_content_contrast_is_that_of_a_loop(stores, guidance):
    students = guidance.guidance
    source, output = seeded(2, 3, 14, 52)
    output.requires_grad_(True)
    loss = students.content_contrast(source, output)
    expected = torch.zeros(3)
    for clip in range(3):
        a = students.content_student(source[clip : clip + 1])[0]
        b = students.content_student(output[clip : clip + 1])[0]
        for moment in range(6):
            shares = torch.exp(torch.stack([b[moment] @ other for other in a]) / 0.1)
            expected[clip] -= torch.log(shares[moment] / shares.sum()) / 6
    assert torch.allclose(loss, expected, atol=1e-5)
    loss.sum().backward()
    assert output.grad.abs().sum() > 0
    contrasting = ActionWindowGuidance(students, contrast=True)
    assert torch.equal(contrasting.content({"source": source}, output), loss)


def test_a_discriminator_sees_what_a_label_free_backbone_shows(features, tracked, tmp_path):
    components = speaker_free_components(features["train"])
    assert components.shape[1] == 52 and np.isfinite(components).all()
    speakers = features["train"].store.per_frame("speaker")
    for speaker in np.unique(speakers):
        assert np.abs(components[speakers == speaker].mean(0)).max() < 0.02

    config = replace(SMALL, distil_steps=60)
    view = train_label_free_view(features["train"], tracked["train"], config, tmp_path)
    actions = torch.from_numpy(tracked["train"].coefficients)
    error = (view(actions) - torch.from_numpy(components)).square().mean()
    assert error < 0.9 * np.square(components).mean()
    assert torch.equal(load_label_free_view(tmp_path)(actions[:3]), view(actions[:3]))

    discriminator = ActionDiscriminator()
    objective = ActionObjective(
        ActionManipulator(), discriminator, action_weights("baseline", SMALL), None, view=view
    )
    assert not any(parameter.requires_grad for parameter in objective.view.parameters())
    seen = []
    discriminator.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    batch = ActionWindowSampler(tracked["train"], 4, 12)(np.random.default_rng(0))
    objective(batch)
    assert torch.equal(seen[0], view(batch["source"]))


def test_the_jaw_s_term_and_clipping_apart_are_settings_of_the_manipulator(tracked, tmp_path):
    config = replace(SMALL, speech_weight=2.0, clip_apart=True)
    assert action_weights("baseline", config)["speech"] == 2
    assert action_weights("baseline", SMALL) == ACTION_VARIANTS["baseline"]
    histories = []
    for number, each in enumerate((SMALL, replace(SMALL, clip_apart=True))):
        out = tmp_path / str(number)
        _, history = train_action_manipulator(tracked["train"], None, each, "baseline", out)
        histories.append(history)
    assert not histories[0].equals(histories[1])


def test_students_of_other_clips_are_refused(features, tracked, teacher):
    with pytest.raises(InputError, match="track the store again"):
        distillation.DistillationSampler(features["others"], tracked["train"], teacher)


def test_the_sampler_asks_for_the_emotions_of_the_batch_and_shows_their_windows(tracked):
    batch = ActionWindowSampler(tracked["train"], 7, 12)(np.random.default_rng(0))
    source = batch["source"]
    assert source.shape == (7, 12, 52)
    assert sorted(batch["target"].tolist()) == sorted(batch["emotion"].tolist())

    tracked_frames = {row.tobytes() for row in tracked["train"].coefficients}
    for frame in source.flatten(0, 1).numpy():
        assert frame.tobytes() in tracked_frames, "only what was tracked in the clips themselves"
    for window in range(7):
        reference = batch["reference"][window]
        twin = next(other for other in range(7) if torch.equal(source[other], reference))
        assert batch["emotion"][twin] == batch["target"][window]
        assert batch["intensity"][twin] == batch["target_intensity"][window]


def test_one_emotion_and_short_windows_are_refused(tracked):
    clips = tracked["train"].clips.assign(emotion="happy")
    one_emotion = TrackedActions(clips, tracked["train"].coefficients, "here")
    with pytest.raises(InputError, match="here: 1 emotions in clips of 12 frames or more"):
        ActionWindowSampler(one_emotion, 4, 12)
    with pytest.raises(InputError, match="window=8: at least 9 frames"):
        ActionWindowSampler(tracked["train"], 4, 8)


def imported_names(source):
    """Modules of cdrl, and what is imported from them."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cdrl"):
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def reached_modules(name):
    """A module of cdrl, those that it imports, and those that they import."""
    reached = set()
    waiting = [name]
    while waiting:
        module = waiting.pop()
        path = repository_root() / f"{module.replace('.', '/')}.py"
        if module not in reached and path.exists():
            reached.add(module)
            waiting += imported_names(path.read_text())
    return reached


def test_no_training_can_reach_a_true_edit():
    reached = reached_modules("cdrl.editors.manipulator")
    assert {"cdrl.representation.distillation", "cdrl.priors.actions"} <= reached
    # The studio alone can make a true edit.
    assert not [name for name in reached if name.startswith("cdrl.studio")]
    # The walk finds it where it is imported.
    assert "cdrl.studio.edits" in reached_modules("cdrl.editors.rendered")


@pytest.mark.parametrize("variant", sorted(ACTION_VARIANTS.keys() - {"paired"}))
def test_unpaired_variants_refuse_true_edits(tracked, tmp_path, variant):
    with pytest.raises(InputError, match="no other may see them"):
        train_action_manipulator(tracked["train"], None, SMALL, variant, tmp_path, NO_EDITS)


def test_the_paired_variant_needs_true_edits(tracked, tmp_path):
    with pytest.raises(InputError, match="variant 'paired': true edits are needed"):
        train_action_manipulator(tracked["train"], None, SMALL, "paired", tmp_path)
    with pytest.raises(InputError, match="none of 0 true edits has 12 frames"):
        train_action_manipulator(tracked["train"], None, SMALL, "paired", tmp_path, NO_EDITS)


def test_unknown_variants_missing_guidance_emotions_and_sizes_are_refused(
    tracked, stores, tmp_path
):
    with pytest.raises(InputError, match="unknown variant 'cdlr' .* accepted are baseline"):
        train_action_manipulator(tracked["train"], None, SMALL, "cdlr", tmp_path)
    with pytest.raises(InputError, match="variant 'cdrl' needs guidance"):
        train_action_manipulator(tracked["train"], None, SMALL, "cdrl", tmp_path)
    with pytest.raises(InputError, match="did you mean happy"):
        edit_actions(busy_manipulator(), np.zeros((5, 52)), "hapy")
    with pytest.raises(InputError, match="intensity 2.0: accepted are 0"):
        edit_actions(busy_manipulator(), np.zeros((5, 52)), "happy", 2.0)
    with pytest.raises(InputError, match=r"coefficients \(5, 52\), this clip takes"):
        render_edit(stores["others"].clips.name[0], np.zeros((5, 52)))


def test_the_variants_differ_in_the_guidance_alone():
    unpaired = {name: dict(ACTION_VARIANTS[name]) for name in ACTION_VARIANTS if name != "paired"}
    guided = {}
    for name, weights in unpaired.items():
        guided[name] = (weights.pop("content") > 0, weights.pop("emotion") > 0)
        assert weights == unpaired["baseline"]
    assert guided == {
        "baseline": (False, False),
        "content": (True, False),
        "emotion": (False, True),
        "cdrl": (True, True),
    }
    halved = action_weights("cdrl", replace(SMALL, content_weight=0.5))
    assert halved["content"] == ACTION_VARIANTS["cdrl"]["content"] / 2


def test_a_term_of_weight_zero_is_measured_without_a_gradient(guidance, tracked):
    mean, std = feature_stats(tracked["train"].coefficients)
    manipulator = ActionManipulator(mean, std)
    discriminator = ActionDiscriminator(mean, std)
    weights = ACTION_VARIANTS["baseline"]
    objective = ActionObjective(manipulator, discriminator, weights, guidance)
    terms = objective(ActionWindowSampler(tracked["train"], 4, 12)(np.random.default_rng(0)))
    assert set(terms) == set(ACTION_VARIANTS["cdrl"])
    assert all(value.shape == (4,) for value in terms.values())
    assert not terms["content"].requires_grad and not terms["emotion"].requires_grad
    assert terms["cycle"].requires_grad


def test_a_stopped_training_ends_like_one_that_was_not(guidance, tracked, tmp_path, monkeypatch):
    def train(name):
        return train_action_manipulator(tracked["train"], guidance, SMALL, "cdrl", tmp_path / name)

    whole, history = train("whole")
    again, _ = train("again")
    calls = []

    class Stops(ActionWindowSampler):
        def __call__(self, random):
            calls.append(1)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return super().__call__(random)

    with monkeypatch.context() as patch:
        patch.setattr("cdrl.editors.manipulator.ActionWindowSampler", Stops)
        patch.setattr("cdrl.editors.manipulator.LoopConfig", partial(LoopConfig, save_every=2))
        with pytest.raises(KeyboardInterrupt):
            train("stopped")
    resumed, _ = train("stopped")
    assert_same_state(whole, again)
    assert_same_state(whole, resumed)
    assert {"discriminator", "cycle", "content"} <= set(history.columns)
    assert (tmp_path / "whole/model.json").exists()


def test_guided_training_brings_the_emotion_nearer(guidance, tracked, tmp_path):
    config = replace(SMALL, steps=50, batch=7, learning_rate=1e-2, emotion_weight=10.0)
    _, history = train_action_manipulator(tracked["train"], guidance, config, "cdrl", tmp_path)
    assert history["emotion"].iloc[-1] < 0.9 * history["emotion"].iloc[0]


def test_paired_training_fits_true_edits(stores, tracked, tmp_path):
    pairs = tracked_edit_pairs(tracked["train"], stores["edits"], load_tracker())
    for source, truth in zip(pairs.sources, pairs.truths, strict=True):
        assert len(source) == len(truth)
    targets = [emotion_index(target) for _, target, _ in stores["drawn_edits"]]
    assert pairs.emotion.tolist() == targets

    batch = PairedActionSampler(pairs, 6, 12)(np.random.default_rng(0))
    assert batch["source"].shape == batch["truth"].shape == (6, 12, 52)
    config = replace(SMALL, steps=40, learning_rate=3e-3)
    _, history = train_action_manipulator(tracked["train"], None, config, "paired", tmp_path, pairs)
    assert history["paired"].iloc[-1] < 0.8 * history["paired"].iloc[0]


def test_the_truth_scores_perfectly_and_the_table_says_so():
    random = np.random.default_rng(0)
    clips = []
    for name in SCORED_EMOTIONS:
        curves = random.random((20, 3))
        landmarks = random.random((20, 5, 2))
        clips.append(ClipReading(curves, landmarks, name, name))
    edits = SimpleNamespace(
        target_emotions=np.array(SCORED_EMOTIONS),
        speakers=np.array(["a", "b"] * 3 + ["a"]),
        closed=list,
    )
    references = References(clips, clips)
    statistics = statistics_from_readings(clips, edits, references, RENDERED_SCORES)
    estimates = estimate_variant("spfem.rendered.truth", statistics, references, edits)
    values = {}
    for name, estimate in estimates.items():
        if name.count(".") == 3:
            values[name.rpartition(".")[2]] = estimate.value
    same = pytest.approx(1)
    assert values == {
        "emotion_accuracy": 1,
        "mouth_error": 0,
        "mouth_posture_error": 0,
        "mouth_motion_error": 0,
        "mouth_truth_correlation": same,
        "mouth_correlation": same,
        "speech_correlation": same,
        "jitter": 1,
    }
    error = restore_statistics("mouth_error", statistics["mouth_error"])
    differences = estimate_differences("x", {"e": error}, {"e": error}, np.arange(7))
    difference = differences["x.e"]
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)
    assert (difference.p, difference.n) == (1, 7)
    assert format_estimates(estimates, RENDERED_SCORES).startswith(
        "truth: emotion_accuracy 1.000 (0.158 to 1.000), mouth_error 0.000"
    )
