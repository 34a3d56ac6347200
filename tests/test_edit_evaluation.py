"""One evaluator for corpora with true edits and without: its scores, and those it leaves out."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cdrl.core.settings import EvaluateConfig
from cdrl.core.vocabulary import ACTIONS, SCORED_EMOTIONS, VISEMES
from cdrl.evaluation.edit_evaluation import (
    edit_statistics,
    evaluate_edits,
    read_edits,
    read_sources,
    sweep_intensity,
)
from cdrl.evaluation.edit_metrics import TABLE_SCORES, restore_statistics, with_derived_scores
from cdrl.evaluation.edit_tasks import Edits, TrueEdits, resize_crops
from cdrl.evaluation.readings import load_references, read_references, save_references
from cdrl.studio.head import LANDMARKS

FRAMES = 12
SIZE = 16
GAP_OF_SHADE = 0.06
MOUTH_ACTIONS = ("jawOpen", "mouthSmileLeft", "mouthPucker")


class ShadeJudges:
    """Networks that read everything off the mean shades of red, green and blue.

    The three shades are the mouth actions; their mean over a clip gives emotion and identity.
    """

    def track(self, images):
        shades = images.mean((2, 3)).numpy()
        actions = np.zeros((len(shades), len(ACTIONS)))
        for channel, name in enumerate(MOUTH_ACTIONS):
            actions[:, ACTIONS.index(name)] = shades[:, channel]
        landmarks = np.repeat(shades[:, None, :2], len(LANDMARKS), axis=1)
        landmarks[:, LANDMARKS.index("left_eye_outer"), 0] += 0.3
        landmarks[:, LANDMARKS.index("lower_lip_inner"), 1] += 0.3 * GAP_OF_SHADE * shades[:, 0]
        return actions, landmarks

    def emotion(self, name, images):
        index = int(images.mean() * len(SCORED_EMOTIONS))
        return np.eye(len(SCORED_EMOTIONS))[index]

    def identity(self, images):
        features = images.mean((2, 3)).numpy() + 0.01
        return features / np.linalg.norm(features, axis=1, keepdims=True)

    def features(self, name, images):
        return images.mean((2, 3)).numpy()


class FakeStore:
    """Clips of one shade each that moves a little, as a crop store holds them."""

    def __init__(self, names, speakers, emotions, seed, **columns):
        rng = np.random.default_rng(seed)
        self.clips = pd.DataFrame({"name": names, "speaker": speakers, "emotion": emotions})
        self.clips = self.clips.assign(intensity=3, frame_rate=25.0, **columns)
        shades = []
        for _ in names:
            level = rng.uniform(60, 200, 3)
            shades.append(level + np.cumsum(rng.normal(0, 4, (FRAMES, 3)), 0))
        pixels = np.concatenate(shades).round().clip(0, 255).astype(np.uint8)
        self.face = np.broadcast_to(pixels[:, None, None], (len(pixels), SIZE, SIZE, 3))
        self.truth = {"landmarks": rng.uniform(0.3, 0.7, (len(pixels), 68, 2))}
        self.truth["viseme"] = np.arange(len(pixels)) % 3

    def frames(self, clip):
        return slice(clip * FRAMES, (clip + 1) * FRAMES)


NAMES = [f"clip{k}" for k in range(6)]
SPEAKERS = list("aabbcc")
REPORT = FakeStore(NAMES, SPEAKERS, ["sad", "happy"] * 3, seed=1)
CONFIG = EvaluateConfig()


def true_edits():
    names = [f"{name}->angry-3" for name in NAMES]
    truth = FakeStore(names, SPEAKERS, ["angry"] * 6, seed=2)
    return TrueEdits(REPORT, truth, SIZE)


def requested_edits(report=REPORT):
    num_clips = len(report.clips)
    clips = report.clips.assign(emotion="angry", protocol="cross")
    requests = SimpleNamespace(clips=clips, frames=report.frames)
    return Edits(report, requests, np.arange(num_clips), SIZE)


def scores_of(evaluation, variant):
    prefix = f"spfem.image.{variant}."
    names = [name.removeprefix(prefix) for name in evaluation.estimates if name.startswith(prefix)]
    return {name for name in names if not name.endswith(".angry")}


def test_with_true_edits_every_score_but_those_of_missing_weights_is_there():
    edits = true_edits()
    outputs = {"copy_source": edits.source, "truth": edits.truth}
    evaluation = evaluate_edits(edits, outputs, ShadeJudges(), CONFIG)
    assert scores_of(evaluation, "truth") == set(TABLE_SCORES)
    assert set(evaluation.statistics["truth"]) == set(TABLE_SCORES)
    estimates = evaluation.estimates
    assert estimates["spfem.image.truth.mouth_error"].value == pytest.approx(0, abs=1e-6)
    assert estimates["spfem.image.truth.psnr"].value == pytest.approx(100)
    assert estimates["spfem.image.truth.mouth_l1"].value == 0
    assert estimates["spfem.image.copy_source.speech_correlation"].value == pytest.approx(1)
    assert estimates["spfem.image.copy_source.jitter"].value == pytest.approx(1)
    assert "truth" in estimates["spfem.image.truth.emotion_accuracy"].details


def test_without_true_edits_what_compares_with_them_is_left_out_with_the_reason():
    edits = requested_edits()
    outputs = {"copy_source": edits.source}
    evaluation = evaluate_edits(edits, outputs, ShadeJudges(), CONFIG)
    expected = {"emotion_accuracy", "speech_correlation", "closure", "identity", "jitter"}
    sets = {"frechet.identity.cross", "similarity.judge_a.cross"}
    assert scores_of(evaluation, "copy_source") - sets == expected
    speech = evaluation.estimates["spfem.image.copy_source.speech_correlation"]
    assert speech.value == pytest.approx(1)
    assert "sources" in evaluation.estimates["spfem.image.copy_source.emotion_accuracy"].details
    left_out = [note for note in evaluation.notes if note.startswith("left out mouth_error")]
    assert len(left_out) == 1
    for name in ("mouth_posture_error", "mouth_motion_error", "mouth_truth_correlation", "psnr"):
        assert name in left_out[0]


def test_closure_is_read_where_the_sources_close_their_lips_and_left_out_without_phonemes():
    edits = true_edits()
    outputs = {"copy": edits.source, "truth": edits.truth}
    evaluation = evaluate_edits(edits, outputs, ShadeJudges(), CONFIG)
    kept = []
    for edit in range(len(edits)):
        gaps = GAP_OF_SHADE * edits.source(edit)[:, 0, 0, 0] / 255
        frames = range(edit * FRAMES, (edit + 1) * FRAMES)
        for frame, gap in zip(frames, gaps, strict=True):
            if frame % 3 == VISEMES.index("PP"):
                kept.append(gap < 0.03)
    copied = evaluation.estimates["spfem.image.copy.closure"]
    assert copied.value == pytest.approx(np.mean(kept))
    of_truth = evaluation.estimates["spfem.image.truth.closure"]
    assert copied.details["truth"] == of_truth.value
    unknown = FakeStore(NAMES, SPEAKERS, ["sad", "happy"] * 3, seed=1)
    del unknown.truth["viseme"]
    edits = requested_edits(unknown)
    evaluation = evaluate_edits(edits, {"copy": edits.source}, ShadeJudges(), CONFIG)
    assert "closure" not in scores_of(evaluation, "copy")
    assert any(note.startswith("left out closure:") for note in evaluation.notes)


def test_statistics_from_before_a_score_existed_give_that_score():
    edits = true_edits()
    references = read_references(edits, ShadeJudges())
    rows = edit_statistics(edits.source, edits, references, ShadeJudges(), "copy")
    derived = with_derived_scores({"mouth_error": rows["mouth_error"]})
    assert len(derived) == 4
    for name, kept in derived.items():
        assert np.allclose(kept, rows[name]), name
    assert with_derived_scores({"psnr": rows["psnr"]}) == {"psnr": rows["psnr"]}


def test_identity_needs_two_people_with_two_clips_each():
    one_person = FakeStore(NAMES[:2], ["a", "a"], ["sad", "happy"], seed=3)
    one_clip_each = FakeStore(NAMES[:2], ["a", "b"], ["sad", "happy"], seed=3)
    for report in (one_person, one_clip_each):
        edits = requested_edits(report)
        evaluation = evaluate_edits(edits, {"copy": edits.source}, ShadeJudges(), CONFIG)
        assert "identity" not in scores_of(evaluation, "copy")
        assert any(note.startswith("left out identity:") for note in evaluation.notes)


def test_every_score_of_a_variant_is_restored_from_its_statistics():
    edits = true_edits()
    evaluation = evaluate_edits(edits, {"copy": edits.source}, ShadeJudges(), CONFIG)
    for name, rows in evaluation.statistics["copy"].items():
        expected = evaluation.estimates[f"spfem.image.copy.{name}"].value
        assert restore_statistics(name, rows).value == pytest.approx(expected), name


def test_what_was_read_before_gives_the_same_scores():
    edits = true_edits()
    judges = ShadeJudges()
    outputs = {"copy_source": edits.source, "truth": edits.truth}
    references = read_references(edits, judges, CONFIG.seed)
    known = {
        "copy_source": read_sources(edits, references),
        "truth": read_edits(edits.truth, edits, judges, "truth"),
    }
    at_once = evaluate_edits(edits, outputs, judges, CONFIG)
    after = evaluate_edits(edits, outputs, judges, CONFIG, references=references, known=known)
    assert str(after.estimates) == str(at_once.estimates)


def test_references_are_the_same_after_writing_and_reading(tmp_path):
    references = read_references(true_edits(), ShadeJudges(), seed=0)
    save_references(references, tmp_path / "references.npz")
    again = load_references(tmp_path / "references.npz")
    assert np.array_equal(again.another_identity, references.another_identity)
    for kept, reading in zip(again.truth, references.truth, strict=True):
        assert np.array_equal(kept.mouth_curves, reading.mouth_curves)
        assert np.array_equal(kept.landmarks, reading.landmarks)
        assert (kept.judge_a, kept.judge_b) == (reading.judge_a, reading.judge_b)
        assert np.array_equal(kept.identity, reading.identity)


def test_a_sweep_edits_at_every_scale_but_the_two_that_are_known():
    edits = true_edits()
    judges = ShadeJudges()
    references = read_references(edits, judges)
    source = edit_statistics(edits.source, edits, references, judges, "source")
    truth = edit_statistics(edits.truth, edits, references, judges, "truth")
    scales = []

    def outputs(edit, scale):
        scales.append(scale)
        return edits.truth(edit) if scale > 1 else edits.source(edit)

    curve = sweep_intensity(source, truth, [0.5, 1.0, 1.5], outputs, edits, references, judges, "x")
    assert set(scales) == {0.5, 1.5}
    assert curve[0] is source
    assert curve[2] is truth
    assert np.array_equal(curve[1]["mouth_error"], source["mouth_error"])
    assert np.array_equal(curve[3]["mouth_error"], truth["mouth_error"])


def test_resized_crops_keep_their_shade():
    crops = np.full((2, 8, 8, 3), 90, np.uint8)
    resized = resize_crops(crops, 5)
    assert resized.shape == (2, 5, 5, 3)
    assert resized.dtype == np.uint8
    assert np.all(resized == 90)
