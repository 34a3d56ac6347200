"""CCRL, CERL and guidance: shapes, dependence, no-information values, on a small corpus of drawn features."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from cdrl.config import ContentConfig, EmotionConfig
from cdrl.errors import InputError
from cdrl.models.content import ContentEncoder
from cdrl.models.emotion import EmotionEncoder
from cdrl.pipeline.encoders import chance_loss
from cdrl.priors.store import Features
from cdrl.training.content import MOMENTS, ContentObjective, PairSampler, embed_content, find_pairs, train_content
from cdrl.training.emotion import EmotionSampler, embed_clips, train_emotion

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
                rows.append({"name": f"{person}-{sentence}-{emotion}", "speaker": str(person), "sentence": str(sentence),
                             "emotion": emotion, "intensity": 2, "num_frames": LENGTH, "frame_rate": 25.0})  # fmt: skip
                still = np.concatenate([look[emotion], look[person]])
                noise = random.standard_normal((LENGTH, 24)) * 0.3
                face.append(np.concatenate([np.tile(still, (LENGTH, 1)), speech[sentence] * 0.3], 1) + noise)
                mouth.append(np.concatenate([speech[sentence], np.tile(still, (LENGTH, 1))], 1) + noise)
                sound.append(speech[sentence] + random.standard_normal((LENGTH, 8)) * 0.05)
    clips = pd.DataFrame(rows)
    clips["start"] = np.arange(len(clips)) * LENGTH
    store = Drawn(path="drawn", clips=clips, frames=lambda c: slice(c * LENGTH, (c + 1) * LENGTH))
    out = object.__new__(Features)
    out.store = store
    out.face, out.mouth, out.audio, out.language = (np.concatenate(x).astype(np.float16) for x in (face, mouth, sound, face))
    return out


CONTENT = ContentConfig(steps=60, batch=4, pairs=40, embedding=16, temperature=0.2, alike=0.999)


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
    with pytest.raises(InputError, match="no sentence is said in two emotions, so content and emotion cannot be told apart"):
        find_pairs(features, CONTENT)


def test_too_few_pairs_are_refused():
    features = drawn_features()
    pairs = find_pairs(features, CONTENT).assign(kept=False)
    with pytest.raises(InputError, match="0 of 40 pairs could be aligned"):
        PairSampler(features, pairs, CONTENT)


def test_a_constant_encoder_scores_the_logarithm_of_its_candidates():
    features = drawn_features()
    sampler = PairSampler(features, find_pairs(features, CONTENT), CONTENT)
    encoder = ContentEncoder(24, 24, 8, embedding=16)
    torch.nn.init.zeros_(encoder.head[-1].weight)
    batch = sampler(np.random.default_rng([CONTENT.seed, 0]))
    terms = ContentObjective(encoder, CONTENT, 4)(batch)
    candidates = 2 * batch["apart"].sum(2) + 1  # both sides' negatives and the positive
    assert terms["contrast"].mean().item() == pytest.approx(candidates.float().log().mean().item(), abs=1e-4)
    assert chance_loss(sampler, 1) == pytest.approx(terms["contrast"].mean().item(), abs=1e-4)
    assert terms["contrast"].max().item() <= math.log(2 * MOMENTS - 1) + 1e-4
    assert terms["wrong_image"].tolist() == pytest.approx([math.log(3)] * len(terms["wrong_image"]), abs=1e-4)
    assert terms["variance"].item() == pytest.approx(0.5 / 4 - 0.01, abs=1e-3)


def test_true_pairs_are_learnt_and_shuffled_ones_are_not(tmp_path):
    features = drawn_features()
    pairs = find_pairs(features, CONTENT)
    _, history = train_content(features, pairs, CONTENT, tmp_path / "true")
    _, shuffled = train_content(features, pairs, CONTENT, tmp_path / "shuffled", shuffled=True)
    assert history.contrast.iloc[-1] < history.contrast.iloc[0] - 1 < shuffled.contrast.iloc[-1]


def test_the_image_only_embedding_receives_no_gradient_from_sound_and_none_from_frames_outside_its_window():
    encoder = ContentEncoder(24, 24, 8, embedding=16)
    face, mouth = (torch.randn(2, 5, 24, requires_grad=True) for _ in range(2))
    encoder(face, mouth)[0].sum().backward()
    assert encoder.audio.weight.grad is None and float(face.grad[1].abs().max()) == 0 < float(face.grad[0].abs().max())


def test_windows_are_held_at_the_ends_of_their_clip():
    features = drawn_features()
    (window,) = features.windows(np.array([LENGTH]), ("face",), 5)
    expected = features.face[[LENGTH, LENGTH, LENGTH, LENGTH + 1, LENGTH + 2]].astype(np.float32)
    assert np.array_equal(window[0].numpy(), expected)


def test_embeddings_of_chosen_rows_are_those_of_all(tmp_path):
    features = drawn_features()
    torch.manual_seed(0)
    encoder = ContentEncoder(24, 24, 8, embedding=16).eval()
    rows = np.array([7, 100, 3])
    assert np.allclose(embed_content(encoder, features, np.arange(len(features.face)))[rows], embed_content(encoder, features, rows), atol=1e-6)


def test_cerl_needs_one_sentence_in_two_emotions_by_one_speaker():
    features = drawn_features(emotions=("happy",))
    with pytest.raises(InputError, match="no speaker says one sentence in two emotions"):
        EmotionSampler(features, EmotionConfig())


def test_cerl_learns_emotions_and_nothing_from_constant_features(tmp_path):
    features = drawn_features()
    config = EmotionConfig(steps=60, batch=16)
    encoder, history = train_emotion(features, config, "embedded", tmp_path / "real")
    blank = drawn_features()
    blank.language = np.zeros_like(blank.language)
    _, nothing = train_emotion(blank, config, "embedded", tmp_path / "blank")
    assert history.prior.iloc[-1] < 0.5 < math.log(3) - 0.05 < nothing.prior.iloc[-1]
    code, labels = embed_clips(encoder, features), features.store.clips.emotion.to_numpy()
    same = labels[:, None] == labels[None]
    assert (code @ code.T)[same].mean() > (code @ code.T)[~same].mean() + 0.3


def test_the_shared_head_does_not_know_the_label():
    encoder = EmotionEncoder(24, 16, token_width=8).eval()
    features = torch.randn(1, 5, 24).expand(7, -1, -1)
    assert torch.allclose(encoder(features), encoder(features)[:1].expand(7, -1))
