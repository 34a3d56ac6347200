"""The fit to a few clips: what is left out of it has no part in it, it helps where it can, and known codes score what they must."""

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
from cdrl.representation.content import embed_content, sound_units, train_content
from cdrl.representation.emotion import EmotionSampler, embed_clips, train_emotion
from cdrl.representation.finetune import fit_content, fit_emotion, select_clips
from cdrl.representation.pairs import PairSampler, find_pairs
from cdrl.stages import s04_real_clips as real_clips
from cdrl.stages.s04_real_clips import draw_folds, real_scores, speech_measures

SIX = ("angry", "disgusted", "fear", "happy", "neutral", "sad")
EMOTION = EmotionConfig(steps=60, batch=16)
STEPS = 60


def stored(features, corpus="drawn"):
    """Drawn features with a store that knows its frames from its own table, as real ones do."""
    store = object.__new__(Store)
    store.path, store.face, store.truth = corpus, features.face, {}
    store.clips = features.store.clips.assign(corpus=corpus)
    features.store = store
    return features


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that learnt people 0 to 3 in six emotions; and six clips of somebody else whose features lie elsewhere."""
    folder, train = (
        tmp_path_factory.mktemp("fit") / "run",
        stored(drawn_features(sentences=2, emotions=SIX)),
    )
    pairs = find_pairs(train, CONTENT)
    content, _ = train_content(train, pairs, CONTENT, stage_folder(folder, "content"))
    pairs.to_parquet(stage_folder(folder, "content") / "pairs.parquet")
    emotion, _ = train_emotion(train, EMOTION, "embedded", stage_folder(folder, "emotion"))
    stages = {"priors": PriorsConfig(), "content": CONTENT, "emotion": EMOTION}
    record = {"stages": {name: {"config": asdict(config)} for name, config in stages.items()}}
    (stage_folder(folder, "emotion") / "results.json").write_text(json.dumps(record))
    clips = stored(drawn_features(people=1, sentences=1, emotions=SIX), "real")
    turn = np.linalg.qr(np.random.default_rng(4).standard_normal((24, 24)))[0]
    clips.face, clips.mouth = (
        (x.astype(np.float32) @ turn).astype(np.float16) for x in (clips.face, clips.mouth)
    )
    return SimpleNamespace(
        folder=folder, train=train, pairs=pairs, content=content, emotion=emotion, clips=clips
    )


def fitted_content(run, clips, steps=STEPS):
    before = PairSampler(run.train, run.pairs, replace(CONTENT, batch=2))
    return fit_content(run.content, clips, before, sound_units(run.train, CONTENT), CONTENT, steps)


def fitted_emotion(run, clips, steps=STEPS):
    return fit_emotion(
        run.emotion,
        clips,
        EmotionSampler(run.train, replace(EMOTION, batch=8)),
        "embedded",
        EMOTION,
        steps,
    )


def spoilt(features, clips):
    """The same with features of some clips that nothing can be learnt from: not a number."""
    out = select_clips(features, range(len(features.store.clips)))
    for kind in ("face", "mouth", "audio", "language"):
        values = getattr(features, kind).copy()
        for clip in clips:
            values[features.store.frames(clip)] = np.nan
        setattr(out, kind, values)
    return out


def test_clips_that_are_left_out_have_no_part_in_the_fit(run):
    kept, bad = [0, 1, 3, 4], spoilt(run.clips, (2, 5))
    for fit in (fitted_content, lambda *given: fitted_emotion(*given)[0]):
        one, two = (fit(run, select_clips(features, kept), 3).state_dict() for features in (run.clips, bad))
        assert all(torch.equal(value, two[name]) for name, value in one.items())
    with pytest.raises(InputError, match="the loss is nan"):  # the spoilt clips would be noticed
        fitted_emotion(run, select_clips(bad, [0, 1, 2, 3]), 3)


def test_a_fit_is_a_copy_frozen_and_not_what_it_was(run):
    before = {name: value.clone() for name, value in run.content.state_dict().items()}
    encoder = fitted_content(run, run.clips, 3)
    assert all(torch.equal(value, run.content.state_dict()[name]) for name, value in before.items())
    assert any(not torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert not encoder.training and not any(each.requires_grad for each in encoder.parameters())
    turned, text = fitted_emotion(run, run.clips, 3)
    assert not turned.training and not any(each.requires_grad for each in turned.parameters())
    assert text.shape == (8, 128) and torch.allclose(text.norm(dim=1), torch.ones(8), atol=1e-5)


def test_a_fit_finds_the_moments_of_clips_that_were_left_out_and_forgets_little(run):
    [fold, *_] = draw_folds(run.clips)
    encoder = fitted_content(
        run, select_clips(run.clips, [clip for clip in range(6) if clip not in fold.clips])
    )
    found = [
        speech_measures([fold], [embed_content(each, run.clips)])["retrieval_r1"].statistics.value
        for each in (run.content, encoder)
    ]
    assert found[1] > found[0] + 0.1
    rows = (
        run.train.store.frames(0),
        run.train.store.frames(1),
    )  # one sentence in two emotions, aligned on the diagonal
    known = [embed_content(each, run.train) for each in (run.content, encoder)]
    alike = [float((code[rows[0]] * code[rows[1]]).sum(1).mean()) for code in known]
    assert alike[1] > 0.7 * alike[0]


def test_the_emotion_of_clips_that_were_fitted_to_is_read(run):
    turned, text = fitted_emotion(run, run.clips)
    old = load_file(stage_folder(run.folder, "emotion") / "targets.safetensors")["text"]
    labels = [emotion_index(name) for name in SIX]
    right = [
        int(((embed_clips(each[0], run.clips) @ each[1].numpy().T).argmax(1) == labels).sum())
        for each in ((run.emotion, old), (turned, text))
    ]
    assert right[1] >= 5 and right[1] > right[0]


def test_the_level_of_the_new_clips_is_not_asked_for(run):
    other = select_clips(run.clips, range(6))
    other.store.clips["intensity"] = 1
    one, two = (fitted_emotion(run, clips, 3)[0].state_dict() for clips in (run.clips, other))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_every_clip_is_left_out_once_with_one_of_another_emotion():
    clips = stored(drawn_features(people=1, sentences=1, emotions=SIX))
    folds = draw_folds(clips)
    assert (
        sorted(clip for fold in folds for clip in fold.clips) == list(range(6)) and len(folds) == 3
    )
    for fold in folds:
        rows = {row for clip in fold.clips for row in range(clip * LENGTH, (clip + 1) * LENGTH)}
        used = {
            *fold.triples.anchor,
            *fold.triples.positive,
            *fold.triples.negative,
            *(row for query in fold.queries for row in (*query.frames, *query.gallery)),
        }
        assert used <= rows and len(fold.queries) == 2


def test_known_codes_score_what_they_must():
    clips = stored(drawn_features(people=1, sentences=1, emotions=SIX))
    folds, count = draw_folds(clips), 6 * LENGTH
    moment = np.eye(LENGTH)[np.arange(count) % LENGTH]
    for code, wanted, swap in ((moment, 0.9, 1.0), (np.ones((count, 3)), None, 0.5)):
        found = speech_measures(folds, [code] * 3)
        measure = found["retrieval_r1"].statistics
        groups = found["retrieval_r1"].groups
        chance = found["retrieval_r1"].chance
        assert measure.value == pytest.approx(chance) if wanted is None else measure.value > wanted
        assert len(groups) == count and chance == pytest.approx(3 / LENGTH, abs=0.01)
        assert found["swap_image"].statistics.value == pytest.approx(swap, abs=0.05)
    other = [
        moment,
        retrieval.standardise(np.random.default_rng(0).standard_normal((count, 8))),
        moment,
    ]
    assert speech_measures(folds, other)["retrieval_r1"].statistics.value == pytest.approx(
        2 / 3, abs=0.1
    )  # each fold by its own code


def opens(monkeypatch, run, clips=None):
    monkeypatch.setattr(
        real_clips,
        "open_features",
        lambda folder, name: (clips or run.clips) if name == "real" else run.train,
    )


def test_scores_stand_before_and_after_with_the_paired_difference(run, monkeypatch):
    opens(monkeypatch, run)
    rows, lines = real_scores(run.folder, ProbeConfig(fit_steps=30))
    assert lines == []
    for name in ("retrieval_r1", "swap_image", "emotion_nearest"):
        before, after, gain = (
            rows[f"{prefix}.{name}"] for prefix in ("real", "real.fitted", "real.gain")
        )
        assert (
            gain.value == pytest.approx(after.value - before.value)
            and gain.low <= gain.value <= gain.high
        )
        assert (
            before.n == after.n
            and before.chance == after.chance
            and before.low <= before.value <= before.high
        )
    assert rows["real.gain.retrieval_r1"].value > 0.05 and rows["real.emotion_nearest"].n == 6
    assert (
        rows["real.content.aligned"].details["pairs"] == 15
        and "real.raw.swap_image" in rows
        and "real.raw.emotion_nearest" not in rows
    )


def test_a_fit_that_cannot_be_is_left_out_and_said(run, monkeypatch):
    opens(monkeypatch, run)
    rows, lines = real_scores(run.folder, ProbeConfig(fit_steps=0))
    assert (
        lines == ["left out real.fitted, real.gain: probe.fit_steps is 0"]
        and "real.retrieval_r1" in rows
    )
    assert not [name for name in rows if "fitted" in name or "gain" in name]
    known = select_clips(run.clips, range(6))
    known.store.clips["corpus"] = "drawn"
    opens(monkeypatch, run, known)
    rows, lines = real_scores(run.folder, ProbeConfig())
    assert (
        lines
        == [
            "left out real.fitted, real.gain: the encoders were trained on clips of this actor already"
        ]
        and "real.swap_image" in rows
    )
    opens(monkeypatch, run, select_clips(run.clips, [0, 3]))
    rows, lines = real_scores(run.folder, ProbeConfig(fit_steps=2))
    assert lines[0].startswith("left out real.fitted, real.gain: ") and "real.retrieval_r1" in rows
    opens(monkeypatch, run, select_clips(run.clips, [0]))
    rows, lines = real_scores(run.folder, ProbeConfig())
    assert rows == {} and lines[0].startswith("left out real: ")
