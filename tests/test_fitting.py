"""The fit of a run's encoders to a few clips.

Clips that are left out have no part in it, it helps where it can, and known codes score what they
must.
"""

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_encoders import CONTENT, LENGTH, drawn_features

from cdrl.core.errors import InputError
from cdrl.core.settings import EmotionConfig, PriorsConfig, ProbeConfig, stage_folder
from cdrl.core.vocabulary import emotion_index
from cdrl.corpora.store import Store
from cdrl.evaluation import retrieval
from cdrl.representation.ccrl import embed_content, sound_units, train_content
from cdrl.representation.cerl import EmotionSampler, embed_clips, train_emotion
from cdrl.representation.finetune import fit_content, fit_emotion, select_clips
from cdrl.representation.pairs import PairSampler, find_pairs
from cdrl.stages import s04_real_clips as real_clips
from cdrl.stages.s04_real_clips import draw_folds, real_scores, speech_measures

SIX = ("angry", "disgusted", "fear", "happy", "neutral", "sad")
EMOTION = EmotionConfig(steps=60, batch=16)
STEPS = 60
KINDS = ("face", "mouth", "audio", "language")


def stored(features, corpus="drawn"):
    """Drawn features with a store that knows its frames from its own table, as real ones do."""
    store = object.__new__(Store)
    store.path = corpus
    store.face = features.face
    store.truth = {}
    store.clips = features.store.clips.assign(corpus=corpus)
    features.store = store
    return features


def six_clips(corpus="drawn"):
    """One person and sentence in six emotions."""
    return stored(drawn_features(people=1, sentences=1, emotions=SIX), corpus)


def rotated(features, seed=4):
    """Features whose face and mouth have other axes: of another person than any in training."""
    square = np.random.default_rng(seed).standard_normal((24, 24))
    rotation = np.linalg.qr(square)[0]
    for kind in ("face", "mouth"):
        values = getattr(features, kind).astype(np.float32) @ rotation
        setattr(features, kind, values.astype(np.float16))
    return features


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run trained on four people in six emotions, and six clips of another person."""
    folder = tmp_path_factory.mktemp("fit") / "run"
    train = stored(drawn_features(sentences=2, emotions=SIX))
    pairs = find_pairs(train, CONTENT)
    content, _ = train_content(train, pairs, CONTENT, stage_folder(folder, "content"))
    pairs.to_parquet(stage_folder(folder, "content") / "pairs.parquet")
    emotion, _ = train_emotion(train, EMOTION, "embedded", stage_folder(folder, "emotion"))

    stages = {}
    for name, config in (("priors", PriorsConfig()), ("content", CONTENT), ("emotion", EMOTION)):
        stages[name] = {"config": asdict(config), "scores": {}}
    record = json.dumps({"stages": stages})
    (stage_folder(folder, "emotion") / "results.json").write_text(record)
    return SimpleNamespace(
        folder=folder,
        train=train,
        pairs=pairs,
        content=content,
        emotion=emotion,
        clips=rotated(six_clips("real")),
    )


def fitted_content(run, clips, steps=STEPS):
    training_sampler = PairSampler(run.train, run.pairs, replace(CONTENT, batch=3))
    units = sound_units(run.train, CONTENT)
    return fit_content(run.content, clips, training_sampler, units, CONTENT, steps)


def fitted_emotion(run, clips, steps=STEPS):
    training_sampler = EmotionSampler(run.train, replace(EMOTION, batch=8))
    return fit_emotion(run.emotion, clips, training_sampler, "embedded", EMOTION, steps)


def fitted_emotion_encoder(run, clips, steps=STEPS):
    encoder, _ = fitted_emotion(run, clips, steps)
    return encoder


def spoilt(features, clips):
    """The same with features of some clips that nothing can be learnt from: not a number."""
    copied = select_clips(features, range(len(features.store.clips)))
    for kind in KINDS:
        values = getattr(features, kind).copy()
        for clip in clips:
            values[features.store.frames(clip)] = np.nan
        setattr(copied, kind, values)
    return copied


def assert_same_state(one, two):
    state = two.state_dict()
    for name, value in one.state_dict().items():
        assert torch.equal(value, state[name])


def assert_frozen(module):
    assert not module.training
    for parameter in module.parameters():
        assert not parameter.requires_grad


@pytest.mark.parametrize("fit", [fitted_content, fitted_emotion_encoder])
def test_clips_that_are_left_out_have_no_part_in_the_fit(run, fit):
    used = [0, 1, 3, 4]
    spoilt_clips = spoilt(run.clips, (2, 5))
    one = fit(run, select_clips(run.clips, used), 3)
    two = fit(run, select_clips(spoilt_clips, used), 3)
    assert_same_state(one, two)


def test_spoilt_clips_would_be_noticed(run):
    spoilt_clips = spoilt(run.clips, (2, 5))
    with pytest.raises(InputError, match="the loss is nan"):
        fitted_emotion(run, select_clips(spoilt_clips, [0, 1, 2, 3]), 3)


def test_a_fit_is_a_frozen_copy_and_differs_from_its_encoder(run):
    before = {name: value.clone() for name, value in run.content.state_dict().items()}
    encoder = fitted_content(run, run.clips, 3)
    for name, value in run.content.state_dict().items():
        assert torch.equal(value, before[name])
    changed = []
    for name, value in encoder.state_dict().items():
        changed.append(not torch.equal(value, before[name]))
    assert any(changed)
    assert_frozen(encoder)

    emotion, prompts = fitted_emotion(run, run.clips, 3)
    assert_frozen(emotion)
    assert prompts.shape == (8, 128)
    assert torch.allclose(prompts.norm(dim=1), torch.ones(8), atol=1e-5)


def retrieval_r1(folds, codes):
    return speech_measures(folds, codes)["retrieval_r1"]


def test_a_fit_finds_the_moments_of_clips_that_were_left_out_and_forgets_little(run):
    fold = draw_folds(run.clips)[0]
    others = [clip for clip in range(6) if clip not in fold.clips]
    encoder = fitted_content(run, select_clips(run.clips, others))

    before = retrieval_r1([fold], [embed_content(run.content, run.clips)]).statistics.value
    after = retrieval_r1([fold], [embed_content(encoder, run.clips)]).statistics.value
    assert after > before + 0.1

    # One sentence in two emotions, aligned on the diagonal.
    rows = (run.train.store.frames(0), run.train.store.frames(1))
    similarity = []
    for content in (run.content, encoder):
        code = embed_content(content, run.train)
        similarity.append(float((code[rows[0]] * code[rows[1]]).sum(1).mean()))
    assert similarity[1] > 0.7 * similarity[0]


def test_the_emotion_of_clips_that_were_fitted_to_is_read(run):
    encoder, prompts = fitted_emotion(run, run.clips)
    targets = load_file(stage_folder(run.folder, "emotion") / "targets.safetensors")
    labels = [emotion_index(name) for name in SIX]

    def correct(emotion, text):
        similarity = embed_clips(emotion, run.clips) @ text.numpy().T
        return int((similarity.argmax(1) == labels).sum())

    before = correct(run.emotion, targets["text"])
    after = correct(encoder, prompts)
    assert after >= 5
    assert after > before


def test_the_level_of_the_new_clips_is_not_used(run):
    other_levels = select_clips(run.clips, range(6))
    other_levels.store.clips["intensity"] = 1
    one = fitted_emotion_encoder(run, run.clips, 3)
    two = fitted_emotion_encoder(run, other_levels, 3)
    assert_same_state(one, two)


def test_every_clip_is_left_out_once_with_one_of_another_emotion():
    folds = draw_folds(six_clips())
    left_out = [clip for fold in folds for clip in fold.clips]
    assert sorted(left_out) == list(range(6))
    assert len(folds) == 3
    for fold in folds:
        rows = set()
        for clip in fold.clips:
            rows.update(range(clip * LENGTH, (clip + 1) * LENGTH))
        used = {*fold.triples.anchor, *fold.triples.positive, *fold.triples.negative}
        for query in fold.queries:
            used.update(query.frames)
            used.update(query.gallery)
        assert used <= rows
        assert len(fold.queries) == 2


FRAMES = 6 * LENGTH  # of six clips


def code_of_the_moment():
    """(N, LENGTH): a code that tells the moment and nothing else."""
    return np.eye(LENGTH)[np.arange(FRAMES) % LENGTH]


@pytest.mark.parametrize(
    ("code", "swap"), [(code_of_the_moment(), 1.0), (np.ones((FRAMES, 3)), 0.5)]
)
def test_known_codes_score_what_they_must(code, swap):
    measures = speech_measures(draw_folds(six_clips()), [code] * 3)
    retrieved = measures["retrieval_r1"]
    if swap == 1.0:
        assert retrieved.statistics.value > 0.9
    else:
        assert retrieved.statistics.value == pytest.approx(retrieved.chance)
    assert len(retrieved.groups) == FRAMES
    assert retrieved.chance == pytest.approx(3 / LENGTH, abs=0.01)
    assert measures["swap_image"].statistics.value == pytest.approx(swap, abs=0.05)


def test_each_fold_is_scored_by_its_own_code():
    noise = np.random.default_rng(0).standard_normal((FRAMES, 8))
    codes = [code_of_the_moment(), retrieval.standardise(noise), code_of_the_moment()]
    retrieved = retrieval_r1(draw_folds(six_clips()), codes)
    assert retrieved.statistics.value == pytest.approx(2 / 3, abs=0.1)


def opens(monkeypatch, run, clips=None):
    """Let the stage find these clips as the real ones."""
    real = clips or run.clips

    def open_features(folder, name):
        return real if name == "real" else run.train

    monkeypatch.setattr(real_clips, "open_features", open_features)


def test_scores_stand_before_and_after_with_the_paired_difference(run, monkeypatch):
    opens(monkeypatch, run)
    rows, notes = real_scores(run.folder, ProbeConfig(fit_steps=30))
    assert notes == []
    for name in ("retrieval_r1", "swap_image", "emotion_nearest"):
        before = rows[f"real.{name}"]
        after = rows[f"real.fitted.{name}"]
        gain = rows[f"real.gain.{name}"]
        assert gain.value == pytest.approx(after.value - before.value)
        assert gain.low <= gain.value <= gain.high
        assert before.n == after.n
        assert before.chance == after.chance
        assert before.low <= before.value <= before.high
    assert rows["real.gain.retrieval_r1"].value > 0.05
    assert rows["real.emotion_nearest"].n == 6
    assert rows["real.content.aligned"].details["pairs"] == 15
    assert "real.raw.swap_image" in rows
    assert "real.raw.emotion_nearest" not in rows


def test_without_steps_the_fit_is_left_out_with_its_reason(run, monkeypatch):
    opens(monkeypatch, run)
    rows, notes = real_scores(run.folder, ProbeConfig(fit_steps=0))
    assert notes == ["left out real.fitted, real.gain: probe.fit_steps is 0"]
    assert "real.retrieval_r1" in rows
    assert not [name for name in rows if "fitted" in name or "gain" in name]


def test_a_person_of_the_training_is_not_fitted_to(run, monkeypatch):
    same_person = select_clips(run.clips, range(6))
    same_person.store.clips["corpus"] = "drawn"
    opens(monkeypatch, run, same_person)
    rows, notes = real_scores(run.folder, ProbeConfig())
    assert len(notes) == 1
    assert notes[0].startswith("left out real.fitted, real.gain: ")
    assert "trained on clips of this actor" in notes[0]
    assert "real.swap_image" in rows


def test_too_few_clips_are_not_fitted_to_and_one_clip_is_not_scored(run, monkeypatch):
    opens(monkeypatch, run, select_clips(run.clips, [0, 3]))
    rows, notes = real_scores(run.folder, ProbeConfig(fit_steps=2))
    assert notes[0].startswith("left out real.fitted, real.gain: ")
    assert "real.retrieval_r1" in rows

    opens(monkeypatch, run, select_clips(run.clips, [0]))
    rows, notes = real_scores(run.folder, ProbeConfig())
    assert rows == {}
    assert notes[0].startswith("left out real: ")
