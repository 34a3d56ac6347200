"""The coefficient host: tracked from pixels, edited, rendered; unpaired, guided by students of the pixel encoders."""

import ast
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cdrl.core.checkpoint import load_card
from cdrl.core.errors import InputError
from cdrl.core.paths import repository_root
from cdrl.core.settings import ActionsConfig
from cdrl.core.vocabulary import ACTIONS, SCORED_EMOTIONS, emotion_index
from cdrl.corpora.store import Store
from cdrl.editors.manipulator import (
    VARIANTS,
    ActionObjective,
    ActionWindowSampler,
    PairedSampler,
    correlation,
    train_action_manipulator,
    variant_weights,
)
from cdrl.editors.rendered import (
    alignment_of,
    edit_actions,
    load_manipulator,
    render_action_edits,
    render_edit,
    tracked_edit_pairs,
)
from cdrl.evaluation.edit_comparison import estimate_differences
from cdrl.evaluation.edit_evaluation import (
    estimate_variant,
    format_estimates,
    statistics_from_readings,
)
from cdrl.evaluation.metrics import RENDERED_SCORES, restore_statistics
from cdrl.evaluation.readings import ClipReading, References
from cdrl.models.action_editor import (
    GAZE_ACTIONS,
    ActionDiscriminator,
    ActionManipulator,
    ContentStudent,
    EmotionStudent,
)
from cdrl.priors.actions import ActionTracker, TrackedActions, load_tracker, track, track_clip
from cdrl.priors.features import extract
from cdrl.priors.vision import VisionPrior
from cdrl.representation import distillation as distilling
from cdrl.representation.distillation import distil, feature_stats, fit_scores
from cdrl.representation.guidance import Guidance
from cdrl.studio import corpus as studio
from cdrl.studio import edits
from cdrl.studio.acting import act
from cdrl.training.loop import LoopConfig
from cdrl.training.tracker import train_action_tracker

SMALL = ActionsConfig(steps=4, batch=4, window=12, distil_steps=40)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Real studio clips, small: four people who train, two others, and two true edits of the training people."""
    folder = tmp_path_factory.mktemp("corpora")
    train, others = (
        studio.specs("smoke_train", people=4, clips=4),
        studio.specs("smoke_report", people=2, sentences=2)[:6],
    )
    for name, clips in (("train", train), ("others", others)):
        studio.generate(clips, folder / name, name, 96, 96, workers=1, progress=False)
    found = {name: Store(folder / name) for name in ("train", "others")}
    wanted = edits.draw_edits(found["train"], 2)
    edits.generate_edits(found["train"], wanted, folder / "edits", 96, 96, workers=1)
    return found | {"edits": Store(folder / "edits"), "wanted": wanted}


@pytest.fixture(scope="module")
def features(stores, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    return {
        name: extract(stores[name], folder / name, device="cpu") for name in ("train", "others")
    }


@pytest.fixture(scope="module")
def tracked(features):
    reader = load_tracker()
    return {name: track(each, reader) for name, each in features.items()}


@pytest.fixture(scope="module")
def teacher():
    return Guidance()


@pytest.fixture(scope="module")
def students(features, tracked, teacher, tmp_path_factory):
    """The students, and those of the control, who were told the answers to other windows."""
    folder = tmp_path_factory.mktemp("students")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distilling, "LONGEST", 20)
        return [
            distil(features["train"], tracked["train"], teacher, SMALL, folder / str(k), shuffled=k)
            for k in (False, True)
        ]


def busy_host(seed=0, **units_of):
    """A host whose last layer is not zero: it edits."""
    torch.manual_seed(seed)
    host = ActionManipulator(**units_of)
    torch.nn.init.normal_(host.out.weight, std=0.05)
    return host.eval().requires_grad_(False)


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_host_that_was_never_trained_returns_its_source():
    host, source = ActionManipulator(), drawn(2, 20, 52)
    assert torch.equal(host(source, host.label_style(torch.tensor([4, 6])), torch.ones(2)), source)


def test_intensity_zero_changes_nothing_and_gaze_is_never_edited():
    host, source = busy_host(), drawn(30, 52).numpy()
    assert np.array_equal(edit_actions(host, source, "happy", 0.0), source)
    curve = np.where(np.arange(30) < 10, 0.0, 1.5)
    out = edit_actions(host, source, "happy", curve)
    assert np.array_equal(out[:10], source[:10]) and np.abs(out[10:] - source[10:]).mean() > 1e-3
    assert np.array_equal(out[:, list(GAZE_ACTIONS)], source[:, list(GAZE_ACTIONS)]) and len(GAZE_ACTIONS) == 8
    assert (
        out.min() >= 0 and out.max() <= 1 and out.dtype == np.float32 and out.shape == source.shape
    )
    assert np.array_equal(out, edit_actions(host, source, "happy", curve))


def test_label_reference_and_strength_all_reach_the_edit():
    host, source = busy_host(), drawn(30, 52).numpy()
    happy, sad, mild = (
        edit_actions(host, source, *w) for w in (("happy", 1.0), ("sad", 1.0), ("happy", 1 / 3))
    )
    assert np.abs(happy - sad).max() > 1e-3 and np.abs(happy - mild).max() > 1e-3
    like = [
        edit_actions(host, source, drawn(length, 52, seed=length).numpy()) for length in (9, 40)
    ]
    assert np.abs(like[0] - like[1]).max() > 1e-4


def test_a_frame_depends_on_fifteen_neighbours_and_no_others():
    host, source = busy_host(), drawn(1, 61, 52).requires_grad_(True)
    host(source, host.label_style(torch.tensor([4])), torch.ones(1))[0, 30].sum().backward()
    seen = source.grad.abs().sum((0, 2)) > 0
    assert seen[15:46].all() and not seen[:15].any() and not seen[46:].any() and host.reach == 15


def test_a_reading_depends_on_seven_neighbours_and_no_others():
    reader, seen = ActionTracker().eval(), drawn(1, 31, 384).requires_grad_(True)
    reader(seen)[0, 15].sum().backward()
    reached = seen.grad.abs().sum((0, 2)) > 0
    assert (
        reached[8:23].all()
        and not reached[:8].any()
        and not reached[23:].any()
        and reader.reach == 7
    )


def test_a_reading_does_not_depend_on_the_frame_rate():
    reader, frames = load_tracker(), torch.cumsum(drawn(1, 31, 384) - 0.5, 1)
    plain = reader(frames)
    assert torch.allclose(
        reader(frames, 1 + 1e-9), plain, atol=1e-4
    )  # the other way to say the same
    between = torch.lerp(frames[:, :-1], frames[:, 1:], 0.5)
    double = torch.cat([torch.stack([frames[:, :-1], between], 2).flatten(1, 2), frames[:, -1:]], 1)
    assert torch.allclose(reader(double, 2)[:, ::2], plain, atol=1e-4) and not torch.allclose(
        reader(double)[:, ::2], plain, atol=1e-1
    )


def test_students_and_discriminator_have_the_shapes_of_their_teachers():
    actions = drawn(3, 24, 52)
    content, emotion = ContentStudent(embedding=12)(actions), EmotionStudent(embedding=128)(actions)
    assert content.shape == (3, 16, 12) and emotion.shape == (3, 128)
    assert torch.allclose(content.norm(dim=-1), torch.ones(3, 16)) and torch.allclose(
        emotion.norm(dim=-1), torch.ones(3)
    )
    assert ActionDiscriminator()(actions).shape == (3, 8, 2)


def test_correlation_is_pearson_s():
    a, b = drawn(2, 30), drawn(2, 30, seed=1)
    wanted = [np.corrcoef(x, y)[0, 1] for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    assert np.allclose(correlation(a, b), wanted, atol=1e-3) and torch.allclose(
        correlation(a, 2 * a + 1), torch.ones(2), atol=1e-3
    )
    assert correlation(a, torch.zeros_like(a)).abs().max() == 0


def test_the_committed_tracker_reads_people_it_never_met(stores, features, tracked):
    truth, found = (
        stores["others"].truth["coefficients"][:].astype(np.float32),
        tracked["others"].coefficients,
    )
    jaw = ACTIONS.index("jawOpen")
    assert found.shape == truth.shape and found.min() >= 0 and found.max() <= 1
    assert np.corrcoef(found[:, jaw], truth[:, jaw])[0, 1] > 0.85
    seen = track_clip(stores["others"], 1, load_tracker(), VisionPrior())
    assert (
        np.abs(seen - tracked["others"].clip(1)).max() < 0.02
    )  # cached features are half precision
    card = load_card("action_tracker")
    assert (
        card["command"] == "cdrl train action_tracker"
        and card["scores"]["r2"] > 0.7
        and "no emotion label" in card["truth"]
    )


def test_the_tracker_s_recipe_writes_weights_with_a_card(features, tmp_path):
    card = train_action_tracker(
        (features["train"], features["others"]),
        features["train"],
        tmp_path,
        tmp_path / "work",
        steps=40,
    )  # to see that it learns
    assert (
        0.3 < card["scores"]["r2"] < 1
        and load_card(str(tmp_path / "action_tracker.safetensors"))["steps"] == 40
    )
    assert np.isfinite(
        load_tracker(str(tmp_path / "action_tracker.safetensors")).predict(np.zeros((5, 384)))
    ).all()


def test_the_tracker_needs_truth(features, tmp_path, monkeypatch):
    monkeypatch.setattr(features["others"].store, "truth", {})
    with pytest.raises(InputError, match="no true coefficients here"):
        train_action_tracker(
            (features["train"],), features["others"], tmp_path, tmp_path / "work", steps=1
        )


def test_true_actions_render_to_the_stored_crop(stores):
    store = stores["others"]
    truth = store.truth["coefficients"][store.frames(0)].astype(np.float32)
    stored, name = store.face[store.frames(0)].astype(int), store.clips.name[0]
    given = render_edit(name, truth, alignment_of(store, 0), 96)
    found = render_edit(name, truth, None, 96)
    exact = render_edit(name, act(studio.spec_of(name)).coefficients, alignment_of(store, 0), 96)
    assert np.array_equal(exact, store.face[store.frames(0)])
    for crops in (given, found):  # half precision of the stored truth is all that differs
        assert (
            crops.shape == stored.shape
            and crops.dtype == np.uint8
            and np.abs(crops - stored).mean() < 0.1
        )
    other = truth.copy()
    other[:, ACTIONS.index("jawOpen")] = 1
    assert np.abs(render_edit(name, other, alignment_of(store, 0), 96) - stored).mean() > 1


def test_edits_of_a_store_have_its_crops_shape_and_follow_the_host(stores, tracked):
    mean, deviation = feature_stats(tracked["train"].coefficients)
    wanted, store = [(0, "happy", 3)], stores["others"]
    hosts = busy_host(mean=mean, deviation=deviation), ActionManipulator(mean, deviation)
    changed, kept = (
        render_action_edits(store, host, wanted, load_tracker(), 96)[0] for host in hosts
    )
    assert changed.shape == store.face[store.frames(0)].shape and changed.dtype == np.uint8
    tracking = render_edit(
        store.clips.name[0], tracked["others"].clip(0), alignment_of(store, 0), 96
    ).astype(int)
    assert np.abs(kept - tracking).mean() < 0.5 < np.abs(changed - tracking).mean()


def test_the_committed_host_answers_every_dial_in_order_and_follows_a_reference(tracked):
    host, others = load_manipulator(), tracked["others"]
    source = others.clip(others.clips.emotion.tolist().index("neutral"))
    telling = {
        "happy": "mouthSmileLeft",
        "angry": "browDownLeft",
        "surprised": "eyeWideLeft",
        "sad": "mouthFrownLeft",
        "disgusted": "noseSneerLeft",
    }
    for emotion, action in telling.items():
        seen = [
            edit_actions(host, source, emotion, dial)[:, ACTIONS.index(action)].mean()
            for dial in (0, 0.15, 1 / 3, 2 / 3, 1, 1.5)
        ]
        assert all(a < b for a, b in zip(seen, seen[1:])) and seen[4] > seen[0] + 0.1, emotion
    smile = ACTIONS.index("mouthSmileLeft")
    like = edit_actions(host, source, others.clip(others.clips.emotion.tolist().index("happy")))
    assert like[:, smile].mean() > source[:, smile].mean() + 0.1
    card = load_card("action_manipulator")
    assert card["command"] == "cdrl train action_manipulator" and "no true edit" in card["truth"]
    assert card["scores"]["student.content"] > card["scores"]["student.content.chance"] + 0.8


def test_students_agree_with_their_teachers_on_other_people_more_than_the_shuffled_ones(
    students, features, tracked, teacher, monkeypatch
):
    monkeypatch.setattr(distilling, "LONGEST", 20)
    right, wrong = (
        fit_scores(each, features["others"], tracked["others"], teacher, batches=4)
        for each in students
    )
    assert (
        right["content"] > right["content.chance"] + 0.2
        and right["content"] > wrong["content"] + 0.2
    )
    assert (
        right["emotion"] > right["emotion.chance"] + 0.02
        and right["emotion"] > wrong["emotion"] + 0.02
    )


def test_guidance_on_actions_is_zero_on_the_source_and_has_a_gradient_to_the_output(
    students, tracked
):
    guidance, source = students[0], torch.from_numpy(tracked["others"].clip(0)[None, :20])
    assert guidance.content(source, source).abs().max() < 1e-5
    output = (source + 0.05 * drawn(1, 20, 52)).requires_grad_(True)
    target = guidance.target(labels="happy", intensity=1.0)
    assert torch.allclose(target[0], guidance.prototypes[emotion_index("happy"), 2], atol=1e-5)
    (guidance.content(source, output) + guidance.emotion(output, embedding=target)).sum().backward()
    assert output.grad.abs().sum() > 0 and not any(p.requires_grad for p in guidance.parameters())


def test_students_of_other_clips_are_refused(features, tracked, teacher):
    with pytest.raises(InputError, match="track the store again"):
        distilling.DistillationSampler(features["others"], tracked["train"], teacher)


def test_the_sampler_asks_for_the_emotions_of_the_batch_and_shows_their_windows(tracked):
    batch = ActionWindowSampler(tracked["train"], 7, 12)(np.random.default_rng(0))
    assert sorted(batch["target"].tolist()) == sorted(batch["emotion"].tolist()) and batch[
        "source"
    ].shape == (7, 12, 52)
    rows = {row.tobytes() for row in tracked["train"].coefficients}
    for k in range(7):
        assert {row.numpy().tobytes() for row in batch["source"][k]} <= rows, (
            "only what was tracked in the clips themselves"
        )
        twin = next(j for j in range(7) if torch.equal(batch["source"][j], batch["reference"][k]))
        assert (
            batch["emotion"][twin] == batch["target"][k]
            and batch["intensity"][twin] == batch["target_intensity"][k]
        )


def test_one_emotion_is_no_game(tracked):
    clips = tracked["train"].clips.assign(emotion="happy")
    with pytest.raises(InputError, match="1 emotions in clips of 12 frames or more"):
        ActionWindowSampler(TrackedActions(clips, tracked["train"].coefficients, "here"), 4, 12)
    with pytest.raises(InputError, match="window=8: at least 9 frames"):
        ActionWindowSampler(tracked["train"], 4, 8)


def imported(name, found=None):
    """Modules of cdrl that a module imports, and those that they import."""
    found = set() if found is None else found
    path = repository_root() / f"{name.replace('.', '/')}.py"
    if name in found or not path.exists():
        return found
    found.add(name)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cdrl"):
            for child in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                imported(child, found)
    return found


def test_no_training_can_reach_a_true_edit_and_unpaired_variants_refuse_them(tracked, tmp_path):
    reached = imported("cdrl.editors.manipulator")
    assert "cdrl.representation.distillation" in reached and "cdrl.priors.actions" in reached
    assert not [name for name in reached if name.startswith("cdrl.studio")], (
        "the studio alone can make a true edit"
    )
    assert "cdrl.studio.edits" in imported("cdrl.editors.rendered"), (
        "the walk finds it where it is imported"
    )
    pairs = ([], [], np.zeros(0, int), np.zeros(0))
    for variant in VARIANTS:
        if variant != "paired":
            with pytest.raises(InputError, match="no other may see them"):
                train_action_manipulator(tracked["train"], None, SMALL, variant, tmp_path, pairs)
    with pytest.raises(InputError, match="variant 'paired': true edits are needed"):
        train_action_manipulator(tracked["train"], None, SMALL, "paired", tmp_path)
    with pytest.raises(InputError, match="none of 0 true edits has 12 frames"):
        train_action_manipulator(tracked["train"], None, SMALL, "paired", tmp_path, pairs)


def test_unknown_variants_missing_guidance_emotions_and_sizes_are_refused(
    tracked, stores, tmp_path
):
    with pytest.raises(
        InputError, match="unknown variant 'cdlr' of the coefficient host: accepted are baseline"
    ):
        train_action_manipulator(tracked["train"], None, SMALL, "cdlr", tmp_path)
    with pytest.raises(InputError, match="variant 'cdrl' needs guidance"):
        train_action_manipulator(tracked["train"], None, SMALL, "cdrl", tmp_path)
    with pytest.raises(InputError, match="did you mean happy"):
        edit_actions(busy_host(), np.zeros((5, 52)), "hapy")
    with pytest.raises(InputError, match="intensity 2.0: accepted are 0"):
        edit_actions(busy_host(), np.zeros((5, 52)), "happy", 2.0)
    with pytest.raises(InputError, match=r"coefficients \(5, 52\), this clip takes"):
        render_edit(stores["others"].clips.name[0], np.zeros((5, 52)))


def test_the_variants_differ_in_the_guidance_alone():
    unpaired = {name: dict(weights) for name, weights in VARIANTS.items() if name != "paired"}
    guided = {name: (w.pop("content") > 0, w.pop("emotion") > 0) for name, w in unpaired.items()}
    assert guided == {
        "baseline": (False, False),
        "content": (True, False),
        "emotion": (False, True),
        "cdrl": (True, True),
    }
    assert len({tuple(sorted(w.items())) for w in unpaired.values()}) == 1
    assert (
        variant_weights("cdrl", replace(SMALL, content_weight=0.5))["content"]
        == VARIANTS["cdrl"]["content"] / 2
    )


def test_a_term_of_weight_zero_is_measured_without_a_gradient(students, tracked):
    mean, deviation = feature_stats(tracked["train"].coefficients)
    nets = ActionManipulator(mean, deviation), ActionDiscriminator(mean, deviation)
    objective = ActionObjective(*nets, VARIANTS["baseline"], students[0])
    terms = objective(ActionWindowSampler(tracked["train"], 4, 12)(np.random.default_rng(0)))
    assert set(terms) == set(VARIANTS["cdrl"]) and all(
        value.shape == (4,) for value in terms.values()
    )
    assert (
        not terms["content"].requires_grad
        and not terms["emotion"].requires_grad
        and terms["cycle"].requires_grad
    )


def test_a_stopped_training_ends_like_one_that_was_not(students, tracked, tmp_path, monkeypatch):
    whole, history = train_action_manipulator(
        tracked["train"], students[0], SMALL, "cdrl", tmp_path / "whole"
    )
    again, _ = train_action_manipulator(
        tracked["train"], students[0], SMALL, "cdrl", tmp_path / "again"
    )
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
            train_action_manipulator(
                tracked["train"], students[0], SMALL, "cdrl", tmp_path / "stopped"
            )
    resumed, _ = train_action_manipulator(
        tracked["train"], students[0], SMALL, "cdrl", tmp_path / "stopped"
    )
    for other in (again, resumed):
        assert all(
            torch.equal(a, b)
            for a, b in zip(whole.state_dict().values(), other.state_dict().values(), strict=True)
        )
    assert {"discriminator", "cycle", "content"} <= set(history.columns) and (
        tmp_path / "whole/model.json"
    ).exists()


def test_guided_training_brings_the_emotion_nearer(students, tracked, tmp_path):
    config = replace(SMALL, steps=50, batch=7, learning_rate=1e-2, emotion_weight=10.0)
    _, history = train_action_manipulator(tracked["train"], students[0], config, "cdrl", tmp_path)
    assert history["emotion"].iloc[-1] < 0.9 * history["emotion"].iloc[0]


def test_paired_training_fits_true_edits(stores, tracked, tmp_path):
    pairs = tracked_edit_pairs(tracked["train"], stores["edits"], load_tracker())
    assert [len(a) for a in pairs[0]] == [len(b) for b in pairs[1]] and pairs[2].tolist() == [
        emotion_index(t) for _, t, _ in stores["wanted"]
    ]
    batch = PairedSampler(*pairs, 6, 12)(np.random.default_rng(0))
    assert batch["source"].shape == batch["truth"].shape == (6, 12, 52)
    _, history = train_action_manipulator(
        tracked["train"],
        None,
        replace(SMALL, steps=40, learning_rate=3e-3),
        "paired",
        tmp_path,
        pairs,
    )
    assert history["paired"].iloc[-1] < 0.8 * history["paired"].iloc[0]


def test_the_truth_scores_perfectly_and_the_table_says_so():
    random = np.random.default_rng(0)
    clips = []
    for name in SCORED_EMOTIONS:
        curves, landmarks = random.random((20, 3)), random.random((20, 5, 2))
        clips.append(ClipReading(curves, landmarks, name, name))
    edits = SimpleNamespace(
        target_emotions=np.array(SCORED_EMOTIONS), speakers=np.array(["a", "b"] * 3 + ["a"])
    )
    references = References(clips, clips)
    statistics = statistics_from_readings(clips, edits, references, RENDERED_SCORES)
    estimates = estimate_variant("spfem.rendered.truth", statistics, references, edits)
    value = {}
    for name, estimate in estimates.items():
        if name.count(".") == 3:
            value[name.rpartition(".")[2]] = estimate.value
    same = pytest.approx(1)
    assert value == {
        "emotion_accuracy": 1,
        "mouth_error": 0,
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
        "truth: emotion_accuracy 1.000 (1.000 to 1.000), mouth_error 0.000"
    )
