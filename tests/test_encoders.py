"""CCRL and CERL on a small corpus of drawn features.

Shapes, dependence, values without information, and learning.
"""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from cdrl.core.errors import InputError
from cdrl.core.settings import ContentConfig, EmotionConfig
from cdrl.core.vocabulary import emotion_index
from cdrl.models.content import ContentEncoder
from cdrl.models.emotion import EmotionEncoder
from cdrl.priors.features import Features
from cdrl.representation.ccrl import ContentObjective, embed_content, image_shifts, train_content
from cdrl.representation.cerl import EmotionSampler, embed_clips, embed_emotion, train_emotion
from cdrl.representation.pairs import PairSampler, chance_loss, find_pairs

LENGTH = 40  # frames of a clip


class DrawnStore(SimpleNamespace):
    def __len__(self):
        return len(self.clips) * LENGTH

    def frames(self, clip):
        return slice(clip * LENGTH, (clip + 1) * LENGTH)


def drawn_features(people=4, sentences=3, emotions=("happy", "sad", "angry"), seed=0):
    """Features of a corpus where every take of a sentence has the same speech track.

    Face and mouth hold speech, emotion and person; the audio holds speech alone.
    """
    random = np.random.default_rng(seed)
    speech = np.cumsum(random.standard_normal((sentences, LENGTH, 8)), 1)
    look = {}
    for name in [*emotions, *range(people)]:
        look[name] = random.standard_normal(8) * 2

    rows = []
    face = []
    mouth = []
    audio = []
    for person in range(people):
        for sentence in range(sentences):
            for emotion in emotions:
                rows.append(clip_row(person, sentence, emotion))
                lasting = np.concatenate([look[emotion], look[person]])
                lasting = np.tile(lasting, (LENGTH, 1))
                noise = random.standard_normal((LENGTH, 24)) * 0.3
                track = speech[sentence]
                face.append(np.concatenate([lasting, track * 0.3], 1) + noise)
                mouth.append(np.concatenate([track, lasting], 1) + noise)
                audio.append(track + random.standard_normal((LENGTH, 8)) * 0.05)

    clips = pd.DataFrame(rows)
    clips["start"] = np.arange(len(clips)) * LENGTH
    features = object.__new__(Features)
    features.store = DrawnStore(path="drawn", clips=clips)
    features.face = np.concatenate(face).astype(np.float16)
    features.mouth = np.concatenate(mouth).astype(np.float16)
    features.audio = np.concatenate(audio).astype(np.float16)
    features.language = np.concatenate(face).astype(np.float16)
    return features


def clip_row(person, sentence, emotion):
    return {
        "name": f"{person}-{sentence}-{emotion}",
        "corpus": "drawn",
        "speaker": str(person),
        "sentence": str(sentence),
        "emotion": emotion,
        "intensity": 2,
        "num_frames": LENGTH,
        "frame_rate": 25.0,
    }


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
SOUND_UNITS = torch.stack([torch.zeros(8), torch.ones(8)])


def content_sampler(features, shuffled=False, **changes):
    config = replace(CONTENT, **changes)
    return PairSampler(features, find_pairs(features, config), config, shuffled)


def diagonal_error(pairs):
    """Frames between an alignment and the diagonal, at most."""
    return np.abs(np.stack(pairs.aligned) - np.arange(LENGTH)).max()


def test_pairs_say_the_same_in_another_emotion_and_align_on_the_diagonal():
    features = drawn_features()
    pairs = find_pairs(features, CONTENT)
    sentence = features.store.clips.sentence.to_numpy()
    emotion = features.store.clips.emotion.to_numpy()
    assert len(pairs) == 40
    assert pairs.kept.all()
    assert (sentence[pairs.a] == sentence[pairs.b]).all()
    assert (emotion[pairs.a] != emotion[pairs.b]).all()
    assert diagonal_error(pairs) <= 2


def test_a_corpus_where_each_sentence_has_one_emotion_is_refused():
    features = drawn_features()
    features.store.clips["sentence"] = features.store.clips["emotion"]
    message = "no sentence is said in two emotions, .*; take sentences common to several emotions"
    with pytest.raises(InputError, match=message):
        find_pairs(features, CONTENT)


def test_too_few_pairs_are_refused():
    features = drawn_features()
    pairs = find_pairs(features, CONTENT).assign(kept=False)
    with pytest.raises(InputError, match="0 of 40 pairs could be aligned"):
        PairSampler(features, pairs, CONTENT)


def add_tunes(features):
    """Give every sentence a tune of its own, four frames a note."""
    notes = np.random.default_rng(1).integers(2, 30, (3, LENGTH // 4))
    tunes = {}
    for sentence, frequency in enumerate(np.repeat(notes, 4, 1) * 100):
        phase = np.cumsum(np.repeat(frequency, 640) * 2 * np.pi / 16000)
        tunes[str(sentence)] = np.sin(phase).astype(np.float32)
    sentences = features.store.clips.sentence
    features.store.sound = lambda clip: tunes[sentences[clip]]


@pytest.mark.parametrize(
    ("alignment", "tolerance"), [("prior", 2), ("mfcc", 3), ("linear", 0), ("truth", 0)]
)
def test_every_alignment_joins_takes_that_differ_in_nothing(alignment, tolerance):
    features = drawn_features()
    add_tunes(features)
    phonemes = np.arange(LENGTH) // 3 + 1
    features.store.truth = {"phoneme": np.tile(phonemes, len(features.store.clips))}
    pairs = find_pairs(features, replace(CONTENT, alignment=alignment))
    assert pairs.kept.all()
    assert diagonal_error(pairs) <= tolerance


def test_a_corpus_without_phone_times_has_no_true_alignment():
    features = drawn_features()
    features.store.truth = {}
    with pytest.raises(InputError, match="alignment=truth needs phone times"):
        find_pairs(features, replace(CONTENT, alignment="truth"))


def test_a_constant_encoder_scores_the_logarithm_of_its_candidates():
    sampler = content_sampler(drawn_features())
    encoder = ContentEncoder(24, 24, 8, window=5)
    torch.nn.init.zeros_(encoder.head[-1].weight)
    batch = sampler(np.random.default_rng([CONTENT.seed, 0]))
    terms = ContentObjective(encoder, CONTENT, 4, SOUND_UNITS)(batch)

    contrast = terms["contrast"].mean().item()
    candidates = batch["valid"].sum(3).float()
    assert contrast == pytest.approx(candidates.log().mean().item(), abs=1e-4)
    assert chance_loss(sampler, batches=1) == pytest.approx(contrast, abs=1e-4)
    assert terms["contrast"].max().item() <= math.log(2 * CONTENT.moments - 1) + 1e-4

    wrong_image = terms["wrong_image"].tolist()
    assert wrong_image == pytest.approx([math.log(3)] * len(wrong_image), abs=1e-4)
    floor = 0.5 / CONTENT.embedding**0.5
    assert terms["variance"].item() == pytest.approx(floor - 0.01, abs=1e-3)


def test_candidates_are_the_moments_of_both_clips_without_the_near_the_alike_and_oneself():
    features = drawn_features()
    any_sound = {"false_negative_cosine": 1.0}
    both = content_sampler(features, **any_sound)(np.random.default_rng(3))
    other_only = content_sampler(features, negatives="one", **any_sound)(np.random.default_rng(3))

    moments = CONTENT.moments
    in_other_clip = both["valid"][..., :moments]
    in_own_clip = both["valid"][..., moments:]
    same = torch.eye(moments, dtype=torch.bool).expand(2, CONTENT.batch, -1, -1)
    assert in_other_clip[same].all()
    assert not in_own_clip[same].any()

    # What is near in one clip counts as near in both.
    assert torch.equal(in_other_clip & ~same, in_own_clip & ~same)
    positive = both["valid"].gather(3, both["positive"][..., None])
    assert positive.all()
    assert positive.shape == (2, CONTENT.batch, moments, 1)

    assert torch.equal(other_only["valid"][..., :moments], in_other_clip)
    assert not other_only["valid"][..., moments:].any()


def test_shuffling_draws_the_positive_at_random_among_the_valid_candidates():
    sampler = content_sampler(drawn_features(), shuffled=True)
    shares = []
    expected_shares = []
    right_images = []
    for number in range(40):
        batch = sampler(np.random.default_rng(number))
        valid = batch["valid"]
        positive = batch["positive"]
        assert valid.gather(3, positive[..., None]).all()
        own_clip = valid[..., CONTENT.moments :]
        shares.append(float((positive >= CONTENT.moments).float().mean()))
        expected_shares.append(float((own_clip.sum(3) / valid.sum(3)).mean()))
        right_images.append(float((batch["image_positive"] == 0).float().mean()))
    assert np.mean(shares) == pytest.approx(np.mean(expected_shares), abs=0.02)
    assert np.mean(right_images) == pytest.approx(1 / 3, abs=0.05)


@pytest.mark.parametrize("pairs", range(3, 20))
def test_the_images_under_one_sound_are_of_three_pairs(pairs):
    places = {shift % pairs for shift in image_shifts(pairs)}
    assert 0 in places
    assert len(places) == 3


def test_an_exchanged_mean_leaves_the_movement_as_it_is():
    features = drawn_features()
    long_windows = {"short_window_prob": 0.0}
    plain = content_sampler(features, mean_swap_prob=0.0, **long_windows)
    swapping = content_sampler(features, mean_swap_prob=1.0, **long_windows)
    before = plain(np.random.default_rng(5))["mouth"]
    after = swapping(np.random.default_rng(5))["mouth"]
    assert torch.allclose(before.diff(dim=2), after.diff(dim=2), atol=1e-4)
    assert (before - after).abs().mean() > 0.5


def test_true_pairs_are_learnt_and_shuffled_ones_are_not(tmp_path):
    features = drawn_features()
    pairs = find_pairs(features, CONTENT)
    _, history = train_content(features, pairs, CONTENT, tmp_path / "true")
    _, shuffled = train_content(features, pairs, CONTENT, tmp_path / "shuffled", shuffled=True)
    chance = chance_loss(PairSampler(features, pairs, CONTENT))
    assert history.contrast.iloc[-1] < chance - 1
    assert shuffled.contrast.iloc[-1] == pytest.approx(chance, abs=0.1)
    assert history.sound.iloc[-1] < shuffled.sound.iloc[-1] - 0.5


@pytest.mark.slow
def test_ccrl_on_two_processes_is_that_on_one(tmp_path):
    features = drawn_features()
    pairs = find_pairs(features, CONTENT)
    histories = []
    for devices in (1, 2):
        config = replace(CONTENT, steps=6, devices=devices)
        out = tmp_path / str(devices)
        encoder, history = train_content(features, pairs, config, out)
        assert not encoder.training
        assert (out / "model.safetensors").exists()
        histories.append(history)
    pd.testing.assert_frame_equal(histories[0], histories[1], rtol=1e-4)


def test_the_image_only_embedding_has_no_gradient_from_sound_and_from_other_windows():
    encoder = ContentEncoder(24, 24, 8, window=5)
    face = torch.randn(2, 5, 24, requires_grad=True)
    mouth = torch.randn(2, 5, 24, requires_grad=True)
    encoder(face, mouth)[0].sum().backward()
    assert encoder.audio.weight.grad is None
    assert float(face.grad[0].abs().max()) > 0
    assert float(face.grad[1].abs().max()) == 0


def test_windows_repeat_the_first_frame_at_the_start_of_their_clip():
    features = drawn_features()
    (window,) = features.windows(np.array([LENGTH]), ("face",), 5)
    frames = [LENGTH, LENGTH, LENGTH, LENGTH + 1, LENGTH + 2]
    assert np.array_equal(window[0].numpy(), features.face[frames].astype(np.float32))


def test_a_short_window_repeats_its_last_frames():
    features = drawn_features()
    (window,) = features.windows(np.array([20]), ("face",), 9, np.array([2]))
    frames = [18, 18, 18, 19, 20, 21, 22, 22, 22]
    assert np.array_equal(window[0].numpy(), features.face[frames].astype(np.float32))


def test_embeddings_of_some_rows_are_those_of_all():
    features = drawn_features()
    torch.manual_seed(0)
    encoder = ContentEncoder(24, 24, 8, window=5).eval()
    rows = np.array([7, 100, 3])
    of_all = embed_content(encoder, features, np.arange(len(features.face)))
    assert np.allclose(of_all[rows], embed_content(encoder, features, rows), atol=1e-6)


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
    blank.mouth = np.zeros_like(blank.mouth)
    _, blank_history = train_emotion(blank, config, "embedded", tmp_path / "blank")
    assert history.prior.iloc[-1] < 0.5
    assert blank_history.prior.iloc[-1] > math.log(3) - 0.05

    embedding = embed_clips(encoder, features)
    similarity = embedding @ embedding.T
    labels = features.store.clips.emotion.to_numpy()
    same = labels[:, None] == labels[None]
    assert similarity[same].mean() > similarity[~same].mean() + 0.3


def test_a_frame_s_emotion_is_pooled_over_its_window_alone():
    features = drawn_features()
    torch.manual_seed(0)
    encoder = EmotionEncoder(48, 16, token_width=8, window=5).eval()
    before = embed_emotion(encoder, features)
    features.language = features.language.copy()
    features.language[20] += 3
    difference = np.abs(embed_emotion(encoder, features) - before).max(1)
    assert np.flatnonzero(difference > 1e-6).tolist() == [18, 19, 20, 21, 22]


def test_noise_passes_the_bottleneck_in_training_only():
    encoder = EmotionEncoder(24, 16, token_width=8, dropout=0.0)
    features = torch.randn(3, 5, 24)
    assert not torch.allclose(encoder(features), encoder(features))
    encoder.eval()
    assert torch.allclose(encoder(features), encoder(features))


def test_a_share_of_the_batches_has_as_few_frames_as_an_editor_shows():
    sampler = EmotionSampler(drawn_features(), EmotionConfig(batch=4, short=0.5))
    lengths = set()
    for number in range(20):
        batch = sampler(np.random.default_rng(number))
        lengths.add(batch["features"].shape[2])
    assert lengths == {5, 26}  # of a window of 51 frames every other one


def numbered_features(lengths):
    """Features of clips that hold the number of the clip and of the frame.

    Clips 2 k and 2 k + 1 are speaker k, happy and sad.
    """
    rows = []
    frames = []
    for number, length in enumerate(lengths):
        row = clip_row(number // 2, 0, ("happy", "sad")[number % 2])
        rows.append(row | {"num_frames": length})
        frames.append(np.stack([np.full(length, number), np.arange(length)], 1))
    clips = pd.DataFrame(rows)
    clips["start"] = np.concatenate([[0], np.cumsum(lengths)[:-1]])

    features = object.__new__(Features)
    features.store = SimpleNamespace(path="numbered", clips=clips)
    features.language = np.concatenate(frames).astype(np.float32)
    features.mouth = np.zeros((sum(lengths), 1), np.float32)
    return features


def drawn_windows(lengths, **settings):
    """Drawn clips (N,), and the numbers of clip and frame (N, T) in their windows."""
    sampler = EmotionSampler(numbered_features(lengths), EmotionConfig(batch=64, **settings))
    clips = []
    windows = []
    for seed in range(20):
        batch = sampler(np.random.default_rng(seed))
        is_sad = batch["emotion"] == emotion_index("sad")
        clips.append((2 * batch["speaker"] + is_sad).flatten())
        windows.append(batch["features"].flatten(0, 1))
    joined = torch.cat(windows)
    return torch.cat(clips), joined[..., 0], joined[..., 1]


@pytest.mark.parametrize("short", [0.0, 1.0])
def test_every_window_of_cerl_lies_in_the_clip_that_was_drawn(short):
    lengths = [8, 25, 20, 26, 3, 60, 1, 51]
    clips, clip_of_frame, _ = drawn_windows(lengths, window=51, short=short)
    assert set(clips.tolist()) == set(range(len(lengths)))
    assert torch.equal(clip_of_frame, clips[:, None].expand_as(clip_of_frame))


def test_a_clip_shorter_than_the_window_is_seen_from_end_to_end():
    clips, _, frames = drawn_windows([8, 25, 20, 50], window=51, short=0.0)
    last = torch.tensor([7, 24, 19, 49])[clips]
    assert not frames[:, 0].any()
    assert torch.equal(frames[:, -1].long(), last)


@pytest.mark.parametrize(("window", "length"), [(51, 60), (5, 8), (51, 51)])
def test_every_start_of_a_window_can_be_drawn(window, length):
    _, _, frames = drawn_windows([length, length], window=window, short=0.0)
    starts = set(frames[:, 0].tolist())
    assert starts == set(range(length - window + 1))
    assert (frames[:, -1] - frames[:, 0] == window - 1).all()


def test_the_shared_head_does_not_know_the_label():
    encoder = EmotionEncoder(24, 16, token_width=8).eval()
    features = torch.randn(1, 5, 24).expand(7, -1, -1)
    embedding = encoder(features)
    assert torch.allclose(embedding, embedding[:1].expand(7, -1))
