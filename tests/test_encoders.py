"""CCRL, CERL and guidance: shapes, dependence, no-information values, on a small corpus of drawn features."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from cdrl.core.errors import InputError
from cdrl.core.settings import ContentConfig, EmotionConfig
from cdrl.models.content import ContentEncoder
from cdrl.models.emotion import EmotionEncoder
from cdrl.priors.features import Features
from cdrl.representation.content import ContentObjective, embed_content, train_content
from cdrl.representation.emotion import EmotionSampler, embed_clips, embed_emotion, train_emotion
from cdrl.representation.pairs import PairSampler, chance_loss, find_pairs

LENGTH = 40


class Drawn(SimpleNamespace):
    def __len__(self):
        return len(self.clips) * LENGTH


def drawn_features(people=4, sentences=3, emotions=("happy", "sad", "angry"), seed=0):
    """Features of a corpus whose speech track is the same for every take of a sentence, beside emotion and person."""
    random = np.random.default_rng(seed)
    speech = np.cumsum(random.standard_normal((sentences, LENGTH, 8)), 1)
    rows, face, mouth, sound = [], [], [], []
    look = {name: random.standard_normal(8) * 2 for name in [*emotions, *range(people)]}
    for person in range(people):
        for sentence in range(sentences):
            for emotion in emotions:
                rows.append(
                    {
                        "name": f"{person}-{sentence}-{emotion}",
                        "speaker": str(person),
                        "sentence": str(sentence),
                        "emotion": emotion,
                        "intensity": 2,
                        "num_frames": LENGTH,
                        "frame_rate": 25.0,
                    }
                )
                still = np.concatenate([look[emotion], look[person]])
                noise = random.standard_normal((LENGTH, 24)) * 0.3
                face.append(
                    np.concatenate([np.tile(still, (LENGTH, 1)), speech[sentence] * 0.3], 1) + noise
                )
                mouth.append(
                    np.concatenate([speech[sentence], np.tile(still, (LENGTH, 1))], 1) + noise
                )
                sound.append(speech[sentence] + random.standard_normal((LENGTH, 8)) * 0.05)
    clips = pd.DataFrame(rows)
    clips["start"] = np.arange(len(clips)) * LENGTH
    store = Drawn(path="drawn", clips=clips, frames=lambda c: slice(c * LENGTH, (c + 1) * LENGTH))
    out = object.__new__(Features)
    out.store = store
    out.face, out.mouth, out.audio, out.language = (
        np.concatenate(x).astype(np.float16) for x in (face, mouth, sound, face)
    )
    return out


CONTENT = ContentConfig(
    steps=60,
    batch=4,
    pairs=40,
    moments=12,
    temporal_exclusion=2,
    window=5,
    temperature=0.2,
    false_negative_cosine=0.999,
)
SOUND = torch.stack([torch.zeros(8), torch.ones(8)])  # centres of two units


def test_pairs_say_the_same_in_another_emotion_and_align_on_the_diagonal():
    features = drawn_features()
    pairs, clips = find_pairs(features, CONTENT), features.store.clips
    assert len(pairs) == 40 and pairs.kept.all()
    assert (clips.sentence.to_numpy()[pairs.a] == clips.sentence.to_numpy()[pairs.b]).all()
    assert (clips.emotion.to_numpy()[pairs.a] != clips.emotion.to_numpy()[pairs.b]).all()
    assert np.abs(np.stack(pairs.aligned) - np.arange(LENGTH)).max() <= 2


def test_a_corpus_where_each_sentence_has_one_emotion_is_refused():
    features = drawn_features()
    features.store.clips["sentence"] = features.store.clips["emotion"]
    with pytest.raises(
        InputError,
        match="no sentence is said in two emotions, so content and emotion cannot be told apart",
    ):
        find_pairs(features, CONTENT)


def test_too_few_pairs_are_refused():
    features = drawn_features()
    pairs = find_pairs(features, CONTENT).assign(kept=False)
    with pytest.raises(InputError, match="0 of 40 pairs could be aligned"):
        PairSampler(features, pairs, CONTENT)


@pytest.mark.parametrize(
    "alignment, most", [("prior", 2), ("mfcc", 3), ("linear", 0), ("truth", 0)]
)
def test_every_alignment_joins_takes_that_differ_in_nothing(alignment, most):
    features = drawn_features()
    clips = features.store.clips
    tones = np.repeat(
        np.random.default_rng(1).integers(2, 30, (3, LENGTH // 4)), 4, 1
    )  # one tune a sentence, 4 frames a note
    wave = {
        str(k): np.sin(np.cumsum(np.repeat(tones[k] * 100, 640) * 2 * np.pi / 16000)).astype(
            np.float32
        )
        for k in range(3)
    }
    features.store.sound = lambda clip: wave[clips.sentence[clip]]
    features.store.truth = {
        "phoneme": np.concatenate([np.arange(LENGTH) // 3 + 1 for _ in range(len(clips))])
    }
    pairs = find_pairs(features, replace(CONTENT, alignment=alignment))
    assert pairs.kept.all() and np.abs(np.stack(pairs.aligned) - np.arange(LENGTH)).max() <= most


def test_a_corpus_without_phone_times_has_no_true_alignment():
    features = drawn_features()
    features.store.truth = {}
    with pytest.raises(InputError, match="alignment=truth needs phone times"):
        find_pairs(features, replace(CONTENT, alignment="truth"))


def test_a_constant_encoder_scores_the_logarithm_of_its_candidates():
    features = drawn_features()
    sampler = PairSampler(features, find_pairs(features, CONTENT), CONTENT)
    encoder = ContentEncoder(24, 24, 8, window=5)
    torch.nn.init.zeros_(encoder.head[-1].weight)
    batch = sampler(np.random.default_rng([CONTENT.seed, 0]))
    terms = ContentObjective(encoder, CONTENT, 4, SOUND)(batch)
    assert terms["contrast"].mean().item() == pytest.approx(
        batch["valid"].sum(3).float().log().mean().item(), abs=1e-4
    )
    assert chance_loss(sampler, 1) == pytest.approx(terms["contrast"].mean().item(), abs=1e-4)
    assert terms["contrast"].max().item() <= math.log(2 * CONTENT.moments - 1) + 1e-4
    assert terms["wrong_image"].tolist() == pytest.approx(
        [math.log(3)] * len(terms["wrong_image"]), abs=1e-4
    )
    assert terms["variance"].item() == pytest.approx(0.5 / CONTENT.embedding**0.5 - 0.01, abs=1e-3)


def test_candidates_are_the_moments_of_both_clips_less_the_near_the_alike_and_oneself():
    features = drawn_features()
    pairs = find_pairs(features, CONTENT)
    batch = PairSampler(features, pairs, replace(CONTENT, alike=2.0))(np.random.default_rng(3))
    twin = PairSampler(features, pairs, replace(CONTENT, alike=2.0, sides="one"))(
        np.random.default_rng(3)
    )
    moments = CONTENT.moments
    same = torch.eye(moments, dtype=torch.bool).expand(2, CONTENT.batch, -1, -1)
    assert (
        batch["valid"][..., :moments][same].all() and not batch["valid"][..., moments:][same].any()
    )
    assert torch.equal(
        batch["valid"][..., :moments] & ~same, batch["valid"][..., moments:] & ~same
    )  # near on either side is near
    assert torch.equal(
        batch["valid"].gather(3, batch["positive"][..., None])[..., 0],
        torch.ones(2, CONTENT.batch, moments, dtype=torch.bool),
    )
    assert (
        torch.equal(twin["valid"][..., :moments], batch["valid"][..., :moments])
        and not twin["valid"][..., moments:].any()
    )


def test_shuffling_draws_the_positive_by_lot_among_the_valid_candidates():
    features = drawn_features()
    sampler = PairSampler(features, find_pairs(features, CONTENT), CONTENT, shuffled=True)
    batches = [sampler(np.random.default_rng(k)) for k in range(40)]
    assert all(bool(b["valid"].gather(3, b["positive"][..., None]).all()) for b in batches)
    own = np.mean([float((b["positive"] >= CONTENT.moments).float().mean()) for b in batches])
    wanted = np.mean(
        [
            float((b["valid"][..., CONTENT.moments :].sum(3) / b["valid"].sum(3)).mean())
            for b in batches
        ]
    )
    assert own == pytest.approx(wanted, abs=0.02)
    assert np.mean([float((b["answer"] == 0).float().mean()) for b in batches]) == pytest.approx(
        1 / 3, abs=0.05
    )


def test_an_exchanged_offset_leaves_the_movement_as_it_is():
    features = drawn_features()
    pairs = find_pairs(features, CONTENT)
    plain, moved = (
        PairSampler(features, pairs, replace(CONTENT, offset=share, held=0.0))(
            np.random.default_rng(5)
        )["mouth"]
        for share in (0.0, 1.0)
    )
    assert torch.allclose(plain.diff(dim=2), moved.diff(dim=2), atol=1e-4)
    assert (plain - moved).abs().mean() > 0.5


def test_true_pairs_are_learnt_and_shuffled_ones_are_not(tmp_path):
    features = drawn_features()
    pairs = find_pairs(features, CONTENT)
    _, history = train_content(features, pairs, CONTENT, tmp_path / "true")
    _, shuffled = train_content(features, pairs, CONTENT, tmp_path / "shuffled", shuffled=True)
    chance = chance_loss(PairSampler(features, pairs, CONTENT))
    assert history.contrast.iloc[-1] < chance - 1
    assert shuffled.contrast.iloc[-1] == pytest.approx(chance, abs=0.1)
    assert history.sound.iloc[-1] < shuffled.sound.iloc[-1] - 0.5


def test_the_image_only_embedding_receives_no_gradient_from_sound_and_none_from_frames_outside_its_window():
    encoder = ContentEncoder(24, 24, 8, window=5)
    face, mouth = (torch.randn(2, 5, 24, requires_grad=True) for _ in range(2))
    encoder(face, mouth)[0].sum().backward()
    assert encoder.audio.weight.grad is None and float(face.grad[1].abs().max()) == 0 < float(
        face.grad[0].abs().max()
    )


def test_windows_are_held_at_the_ends_of_their_clip():
    features = drawn_features()
    (window,) = features.windows(np.array([LENGTH]), ("face",), 5)
    expected = features.face[[LENGTH, LENGTH, LENGTH, LENGTH + 1, LENGTH + 2]].astype(np.float32)
    assert np.array_equal(window[0].numpy(), expected)


def test_a_short_window_holds_its_last_frames():
    features = drawn_features()
    (window,) = features.windows(np.array([20]), ("face",), 9, np.array([2]))
    expected = features.face[[18, 18, 18, 19, 20, 21, 22, 22, 22]].astype(np.float32)
    assert np.array_equal(window[0].numpy(), expected)


def test_embeddings_of_chosen_rows_are_those_of_all(tmp_path):
    features = drawn_features()
    torch.manual_seed(0)
    encoder = ContentEncoder(24, 24, 8, window=5).eval()
    rows = np.array([7, 100, 3])
    assert np.allclose(
        embed_content(encoder, features, np.arange(len(features.face)))[rows],
        embed_content(encoder, features, rows),
        atol=1e-6,
    )


def test_cerl_needs_one_sentence_in_two_emotions_by_one_speaker():
    features = drawn_features(emotions=("happy",))
    with pytest.raises(InputError, match="no speaker says one sentence in two emotions"):
        EmotionSampler(features, EmotionConfig())


def test_cerl_learns_emotions_and_nothing_from_constant_features(tmp_path):
    features = drawn_features()
    config = EmotionConfig(steps=60, batch=16)
    encoder, history = train_emotion(features, config, "embedded", tmp_path / "real")
    blank = drawn_features()
    blank.language, blank.mouth = np.zeros_like(blank.language), np.zeros_like(blank.mouth)
    _, nothing = train_emotion(blank, config, "embedded", tmp_path / "blank")
    assert history.prior.iloc[-1] < 0.5 < math.log(3) - 0.05 < nothing.prior.iloc[-1]
    code, labels = embed_clips(encoder, features), features.store.clips.emotion.to_numpy()
    same = labels[:, None] == labels[None]
    assert (code @ code.T)[same].mean() > (code @ code.T)[~same].mean() + 0.3


def test_a_frame_s_emotion_is_pooled_over_its_window_alone():
    features = drawn_features()
    torch.manual_seed(0)
    encoder = EmotionEncoder(48, 16, token_width=8, window=5).eval()
    before = embed_emotion(encoder, features)
    features.language = features.language.copy()
    features.language[20] += 3
    moved = np.flatnonzero(np.abs(embed_emotion(encoder, features) - before).max(1) > 1e-6)
    assert moved.tolist() == [18, 19, 20, 21, 22]


def test_noise_passes_the_narrow_place_in_training_only():
    encoder, features = EmotionEncoder(24, 16, token_width=8, dropout=0.0), torch.randn(3, 5, 24)
    assert not torch.allclose(encoder(features), encoder(features))
    assert torch.allclose(encoder.eval()(features), encoder(features))


def test_a_share_of_the_batches_sees_as_few_frames_as_a_generator_shows():
    features = drawn_features()
    sampler = EmotionSampler(features, EmotionConfig(batch=4, short=0.5))
    lengths = {sampler(np.random.default_rng(k))["features"].shape[2] for k in range(20)}
    assert lengths == {5, 26}  # of a window of 51 every other frame


def test_the_shared_head_does_not_know_the_label():
    encoder = EmotionEncoder(24, 16, token_width=8).eval()
    features = torch.randn(1, 5, 24).expand(7, -1, -1)
    assert torch.allclose(encoder(features), encoder(features)[:1].expand(7, -1))
