"""Swaps of image and audio, on encoders that listen to one, to the other or to both."""

import numpy as np
import pytest
from known_codes import labelled_corpus, noise, one_hot
from test_retrieval import moment_code

from cdrl.evaluation.swap import draw_triples, swap_audio, swap_image

CORPUS = labelled_corpus(seed=1)
CLIPS, FRAMES = CORPUS.clips, CORPUS.frames
TRIPLES = draw_triples(CLIPS, FRAMES, 3000)
MOMENT = moment_code(CLIPS, FRAMES)
VOICE = noise(len(FRAMES), 360)


def sees(features):
    return lambda image, audio: features[image]


def hears(features):
    return lambda image, audio: features[audio]


def test_triples_are_what_the_definition_says():
    table = FRAMES.iloc
    x, y, z = table[TRIPLES.anchor], table[TRIPLES.positive], table[TRIPLES.negative]
    assert len(TRIPLES) == 3000 and TRIPLES.skipped == 0
    assert np.all(x["sentence"].to_numpy() == y["sentence"].to_numpy())
    assert np.all(x["speaker"].to_numpy() != y["speaker"].to_numpy())
    assert np.all(x["emotion"].to_numpy() != y["emotion"].to_numpy())
    assert np.all(y["clip"].to_numpy() == z["clip"].to_numpy())
    assert np.all(y["viseme"].to_numpy() != z["viseme"].to_numpy())
    gap = np.abs(TRIPLES.positive - TRIPLES.negative)
    assert np.array_equal(TRIPLES.far, np.arange(3000) % 2 == 1)
    assert (
        gap[~TRIPLES.far].min() == 2
        and gap[~TRIPLES.far].max() == 4
        and gap[TRIPLES.far].min() == 5
    )
    assert np.array_equal(TRIPLES.speaker, x["speaker"])


def test_the_right_frame_says_what_the_anchor_says():
    same = (
        FRAMES["phoneme"].to_numpy()[TRIPLES.anchor] == FRAMES["phoneme"].to_numpy()[TRIPLES.positive]
    )
    assert same.mean() > 0.97  # the rest: a moment on the edge of two phones


def test_an_encoder_of_the_lips_wins_and_one_of_the_voice_ties():
    lips = swap_image(sees(MOMENT), TRIPLES)
    assert lips.value > 0.99 and lips.details["near"] > 0.98 and lips.n == 3000
    voice = swap_image(hears(MOMENT), TRIPLES)
    assert voice.value == 0.5 and voice.low == voice.high == 0.5


def test_a_constant_ties_and_noise_or_the_speaker_guess():
    assert swap_image(sees(np.ones((len(FRAMES), 3))), TRIPLES).value == 0.5
    assert swap_image(sees(noise(len(FRAMES))), TRIPLES).value == pytest.approx(0.5, abs=0.03)
    assert swap_image(sees(one_hot(FRAMES["speaker"])), TRIPLES).value == 0.5


@pytest.mark.parametrize("known", [0.0, 0.25, 0.5, 1.0])
def test_a_code_that_knows_a_share_of_the_anchors_wins_half_the_rest(known):
    # An anchor that is not known points away from every frame alike: a tie.
    blind = np.random.default_rng(0).random(len(FRAMES)) >= known
    codes = np.c_[MOMENT, np.zeros(len(FRAMES))]
    images = {id(TRIPLES.positive): codes[TRIPLES.positive], id(TRIPLES.negative): codes[TRIPLES.negative]}
    nothing = np.eye(codes.shape[1])[-1]
    images[id(TRIPLES.anchor)] = np.where(
        blind[TRIPLES.anchor, None], nothing, codes[TRIPLES.anchor]
    )
    found = swap_image(lambda image, audio: images[id(image)], TRIPLES)
    share = np.mean(~blind[TRIPLES.anchor])
    assert found.value == pytest.approx(share + 0.5 * (1 - share), abs=0.01)
    assert share == pytest.approx(known, abs=0.05)


def test_swap_image_agrees_with_a_naive_loop():
    code = noise(len(FRAMES), 4, seed=8)
    embed = lambda image, audio: code[image] + 0.5 * VOICE[audio, :4]  # noqa: E731
    wins = []
    for x, y, z in zip(TRIPLES.anchor[:200], TRIPLES.positive[:200], TRIPLES.negative[:200]):
        a, b, c = (code[k] + 0.5 * VOICE[x, :4] for k in (x, y, z))
        right, wrong = (
            a @ b / np.linalg.norm(a) / np.linalg.norm(b),
            a @ c / np.linalg.norm(a) / np.linalg.norm(c),
        )
        wins.append(1.0 if right > wrong else 0.0)
    part = type(TRIPLES)(
        *(getattr(TRIPLES, name)[:200] for name in ("anchor", "positive", "negative", "far", "speaker")),
        0,
    )
    assert swap_image(embed, part).value == pytest.approx(np.mean(wins), abs=1e-12)


def test_exchanged_audio_moves_an_image_encoder_not_at_all_and_an_audio_encoder_alone():
    image = swap_audio(sees(MOMENT), FRAMES)
    assert image.value == 0 and image.details["by_construction"] == 1 and image.details["image"] > 0.5
    audio = swap_audio(hears(VOICE), FRAMES)
    assert audio.value == np.inf and audio.details["image"] == 0 and audio.details["by_construction"] == 0
    both = swap_audio(lambda i, a: np.c_[VOICE[i], VOICE[a]], FRAMES)
    assert both.value == pytest.approx(1, abs=0.03)
    less = swap_audio(lambda i, a: np.c_[VOICE[i], 0.5 * VOICE[a]], FRAMES)
    assert (
        less.value == pytest.approx(0.25, abs=0.02)
        and less.low < less.value < less.high
    )


def test_a_corpus_of_one_speaker_gives_no_triple():
    clips = CLIPS[CLIPS["speaker"] == 0].reset_index(drop=True)
    with pytest.raises(
        ValueError, match="no triple among 42 clips: it takes one sentence by two speakers"
    ):
        draw_triples(clips, FRAMES[FRAMES["speaker"] == 0], 10)
