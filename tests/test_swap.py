"""Swaps of image and audio, on encoders that listen to one, to the other or to both."""

import numpy as np
import pytest
from known_codes import labelled_corpus, noise, one_hot
from test_retrieval import moment_code

from cdrl.evaluation.swap import Triples, draw_triples, swap_audio, swap_image

CORPUS = labelled_corpus(seed=1)
CLIPS = CORPUS.clips
FRAMES = CORPUS.frames
TRIPLES = draw_triples(CLIPS, FRAMES, 3000)
MOMENT = moment_code(CLIPS, FRAMES)
VOICE = noise(len(FRAMES), 360)


def sees(features):
    def embed(image, audio):
        return features[image]

    return embed


def hears(features):
    def embed(image, audio):
        return features[audio]

    return embed


def sees_and_hears(audio_weight):
    def embed(image, audio):
        return np.c_[VOICE[image], audio_weight * VOICE[audio]]

    return embed


def test_triples_are_what_the_definition_says():
    table = FRAMES.iloc
    x = table[TRIPLES.anchor]
    y = table[TRIPLES.positive]
    z = table[TRIPLES.negative]
    assert len(TRIPLES) == 3000
    assert TRIPLES.skipped == 0
    assert np.all(x["sentence"].to_numpy() == y["sentence"].to_numpy())
    assert np.all(x["speaker"].to_numpy() != y["speaker"].to_numpy())
    assert np.all(x["emotion"].to_numpy() != y["emotion"].to_numpy())
    assert np.all(y["clip"].to_numpy() == z["clip"].to_numpy())
    assert np.all(y["viseme"].to_numpy() != z["viseme"].to_numpy())
    gap = np.abs(TRIPLES.positive - TRIPLES.negative)
    assert np.array_equal(TRIPLES.far, np.arange(3000) % 2 == 1)
    assert gap[~TRIPLES.far].min() == 2
    assert gap[~TRIPLES.far].max() == 4
    assert gap[TRIPLES.far].min() == 5
    assert np.array_equal(TRIPLES.speaker, x["speaker"])


def test_the_right_frame_says_what_the_anchor_says():
    phonemes = FRAMES["phoneme"].to_numpy()
    is_same = phonemes[TRIPLES.anchor] == phonemes[TRIPLES.positive]
    assert is_same.mean() > 0.97  # the rest: a moment on the edge of two phones


def test_an_encoder_of_the_lips_wins_and_one_of_the_voice_ties():
    lips = swap_image(sees(MOMENT), TRIPLES)
    assert lips.value > 0.99
    assert lips.details["near"] > 0.98
    assert lips.n == 3000
    voice = swap_image(hears(MOMENT), TRIPLES)
    assert voice.value == 0.5
    assert voice.low == voice.high == 0.5


def test_a_constant_ties_and_noise_or_the_speaker_guess():
    assert swap_image(sees(np.ones((len(FRAMES), 3))), TRIPLES).value == 0.5
    assert swap_image(sees(noise(len(FRAMES))), TRIPLES).value == pytest.approx(0.5, abs=0.03)
    assert swap_image(sees(one_hot(FRAMES["speaker"])), TRIPLES).value == 0.5


@pytest.mark.parametrize("known", [0.0, 0.25, 0.5, 1.0])
def test_a_code_that_knows_a_share_of_the_anchors_wins_half_the_rest(known):
    # An anchor that is not known points away from every frame alike: a tie.
    is_blind = np.random.default_rng(0).random(len(FRAMES)) >= known
    codes = np.c_[MOMENT, np.zeros(len(FRAMES))]
    nothing = np.eye(codes.shape[1])[-1]

    def embed(image, audio):
        if image is TRIPLES.anchor:
            return np.where(is_blind[image, None], nothing, codes[image])
        return codes[image]

    estimate = swap_image(embed, TRIPLES)
    share = np.mean(~is_blind[TRIPLES.anchor])
    assert estimate.value == pytest.approx(share + 0.5 * (1 - share), abs=0.01)
    assert share == pytest.approx(known, abs=0.05)


def test_swap_image_agrees_with_a_naive_loop():
    code = noise(len(FRAMES), 4, seed=8)

    def embed(image, audio):
        return code[image] + 0.5 * VOICE[audio, :4]

    def cosine(one, two):
        return one @ two / np.linalg.norm(one) / np.linalg.norm(two)

    wins = []
    for number in range(200):
        x = TRIPLES.anchor[number]
        anchor = embed(x, x)
        positive = embed(TRIPLES.positive[number], x)
        negative = embed(TRIPLES.negative[number], x)
        wins.append(float(cosine(anchor, positive) > cosine(anchor, negative)))

    part = Triples(
        TRIPLES.anchor[:200],
        TRIPLES.positive[:200],
        TRIPLES.negative[:200],
        TRIPLES.far[:200],
        TRIPLES.speaker[:200],
        skipped=0,
    )
    assert swap_image(embed, part).value == pytest.approx(np.mean(wins), abs=1e-12)


def test_exchanged_audio_moves_an_image_encoder_not_at_all_and_an_audio_encoder_alone():
    image = swap_audio(sees(MOMENT), FRAMES)
    assert image.value == 0
    assert image.details["by_construction"] == 1
    assert image.details["image"] > 0.5
    audio = swap_audio(hears(VOICE), FRAMES)
    assert audio.value == np.inf
    assert audio.details["image"] == 0
    assert audio.details["by_construction"] == 0
    both = swap_audio(sees_and_hears(1), FRAMES)
    assert both.value == pytest.approx(1, abs=0.03)
    less = swap_audio(sees_and_hears(0.5), FRAMES)
    assert less.value == pytest.approx(0.25, abs=0.02)
    assert less.low < less.value < less.high


def test_a_corpus_of_one_speaker_gives_no_triple():
    clips = CLIPS[CLIPS["speaker"] == 0].reset_index(drop=True)
    frames = FRAMES[FRAMES["speaker"] == 0]
    with pytest.raises(ValueError, match="no triple among 42 clips: .* two speakers"):
        draw_triples(clips, frames, 10)
