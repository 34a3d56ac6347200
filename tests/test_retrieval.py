"""Alignment by phones and retrieval across speakers and emotions, on codes of known recall."""

import numpy as np
import pandas as pd
import pytest
from known_codes import labelled_corpus, noise, one_hot, rotation

from cdrl.corpora.dtw import label_runs, phone_alignment
from cdrl.evaluation.probe_splits import frame_table
from cdrl.evaluation.retrieval import draw_galleries, retrieval_r1, standardise, unit_rows

CORPUS = labelled_corpus(seed=1)
CLIPS = CORPUS.clips
FRAMES = CORPUS.frames


def moment_code(clips=CLIPS, frames=FRAMES, width=0.5):
    """What is said, and nothing else: a point that moves along the phones of each sentence.

    It is the same in all takes of a sentence.
    """
    phonemes = frames["phoneme"].to_numpy()
    num_sentences = clips["sentence"].nunique()
    codes = []
    for clip, row in enumerate(clips.itertuples()):
        phones = phonemes[frames["clip"] == clip]
        first_take = clips.index[clips["sentence"] == row.sentence][0]
        sentence_phones, _ = label_runs(phonemes[frames["clip"] == first_take])
        moments = phone_alignment(phones, np.repeat(sentence_phones, 10))
        grid = np.arange(0, 10 * len(sentence_phones), 2.0)
        distance = (moments[:, None] - grid) / 5
        code = np.zeros((len(phones), num_sentences, 60))
        code[:, row.sentence, : len(grid)] = np.exp(-(distance**2) * width)
        codes.append(code.reshape(len(phones), -1))
    return np.concatenate(codes)


def test_a_clip_aligned_to_itself_is_the_identity():
    phones = np.array([0, 0, 3, 3, 3, 1, 0])
    assert np.allclose(phone_alignment(phones, phones), np.arange(7))


def test_alignment_is_linear_inside_each_phone():
    slow = np.repeat([0, 5, 6, 0], [2, 4, 2, 2])
    fast = np.repeat([0, 5, 6, 0], [4, 2, 2, 1])
    silence = [0.5, 2.5]
    first_phone = [3.75, 4.25, 4.75, 5.25]
    second_phone = [6, 7]
    last_silence = [7.75, 8]  # its second centre, 8.25, is beyond the last frame
    expected = [*silence, *first_phone, *second_phone, *last_silence]
    assert np.allclose(phone_alignment(slow, fast), expected)


def test_alignment_there_and_back_returns_to_the_same_frame():
    phonemes = FRAMES["phoneme"].to_numpy()
    one = phonemes[FRAMES["clip"] == 0]
    two = phonemes[FRAMES["clip"] == 4]
    there = phone_alignment(one, two)
    back = phone_alignment(two, one)
    assert np.all(np.diff(there) >= 0)
    again = np.interp(there, np.arange(len(two)), back)
    assert np.abs(again - np.arange(len(one))).max() <= 1


def test_a_lost_phone_is_bridged_and_another_sentence_refused():
    whole = np.repeat([0, 5, 6, 7, 0], [4, 4, 1, 4, 4])
    lost = np.repeat([0, 5, 7, 0], [4, 4, 4, 4])
    moments = phone_alignment(whole, lost)
    assert np.allclose(np.delete(moments, 8), np.arange(16))
    assert 7 <= moments[8] <= 8
    another = np.repeat([0, 9, 8, 11, 0], [1, 4, 4, 4, 1])
    assert phone_alignment(whole, another) is None


def test_galleries_are_five_sentences_of_one_other_speaker_in_one_other_emotion():
    galleries = draw_galleries(CLIPS, 50, 5, seed=2)
    assert len(galleries) == 50
    for query, gallery in galleries:
        rows = CLIPS.iloc[gallery]
        assert rows["sentence"].nunique() == 5
        assert rows["sentence"].iloc[0] == CLIPS["sentence"].iloc[query]
        assert rows["speaker"].nunique() == rows["emotion"].nunique() == 1
        assert rows["speaker"].iloc[0] != CLIPS["speaker"].iloc[query]
        assert rows["emotion"].iloc[0] != CLIPS["emotion"].iloc[query]


def test_a_code_of_the_moment_is_always_found():
    assert retrieval_r1(moment_code(), CLIPS, FRAMES, num_queries=60).value > 0.99


def test_a_constant_code_scores_exactly_its_chance_and_noise_about_that():
    constant = retrieval_r1(np.ones((len(FRAMES), 4)), CLIPS, FRAMES, num_queries=60)
    assert constant.value == pytest.approx(constant.chance, abs=1e-12)
    assert constant.n == 600
    gallery_size = constant.details["gallery"]
    assert 2 / gallery_size < constant.chance < 3.1 / gallery_size
    random = retrieval_r1(noise(len(FRAMES)), CLIPS, FRAMES)
    assert random.value == pytest.approx(constant.chance, abs=0.02)


def test_a_code_of_speaker_and_emotion_finds_nothing():
    code = np.c_[one_hot(FRAMES["speaker"]), one_hot(FRAMES["emotion"])]
    estimate = retrieval_r1(code, CLIPS, FRAMES, num_queries=60)
    assert estimate.value == pytest.approx(estimate.chance, abs=0.01)


def test_rotation_and_duplication_change_no_retrieval_and_noise_lowers_it():
    code = moment_code() @ noise(360, 12) / 5 + 0.3 * noise(len(FRAMES), 12, seed=1)
    expected = retrieval_r1(code, CLIPS, FRAMES, num_queries=80)
    assert expected.chance * 3 < expected.value < 0.9
    for equivalent in (code @ rotation(12), np.c_[code, code]):
        estimate = retrieval_r1(equivalent, CLIPS, FRAMES, num_queries=80)
        assert estimate.value == pytest.approx(expected.value, abs=1e-9)


def test_retrieval_agrees_with_a_naive_loop():
    # All frames of two query clips, each against the only gallery there is: nothing is drawn.
    pairs = CLIPS[(CLIPS["speaker"] < 2) & (CLIPS["sentence"] < 5)]
    keep = pairs[pairs["emotion"] == np.where(pairs["speaker"] == 0, "happy", "sad")].index
    clips = CLIPS.loc[keep].reset_index(drop=True)
    frames = FRAMES[FRAMES["clip"].isin(keep)]
    frames = frame_table(clips, frames["viseme"].to_numpy(), frames["phoneme"].to_numpy())
    code = noise(len(frames), 3)
    lengths = np.linalg.norm(code, axis=1)
    clip = frames["clip"].to_numpy()
    phoneme = frames["phoneme"].to_numpy()
    hits = {}
    for row in frames.itertuples():
        others = [k for k in range(len(clips)) if clips["speaker"][k] != row.speaker]
        gallery = np.flatnonzero(np.isin(clip, others))
        cosines = []
        for k in gallery:
            cosines.append(code[row.Index] @ code[k] / lengths[row.Index] / lengths[k])
        nearest = gallery[int(np.argmax(cosines))]
        target = next(k for k in others if clips["sentence"][k] == row.sentence)
        moments = phone_alignment(phoneme[clip == row.clip], phoneme[clip == target])
        moment = round(float(moments[row.frame_index]))
        is_near = abs(frames["frame_index"][nearest] - moment) <= 1
        hits.setdefault(row.clip, []).append(clip[nearest] == target and is_near)

    hits_of_queries = []
    for query, _ in draw_galleries(clips, 30, 5, seed=0):
        hits_of_queries += hits[query]
    estimate = retrieval_r1(code, clips, frames, num_queries=30, per_query=1000)
    assert estimate.value == pytest.approx(np.mean(hits_of_queries), abs=1e-12)


def test_pairs_without_alignment_are_counted():
    broken = FRAMES.copy()
    odd = broken["speaker"] == 0
    broken.loc[odd, "phoneme"] = broken.loc[odd, "phoneme"] + 50
    estimate = retrieval_r1(noise(len(FRAMES)), CLIPS, broken, num_queries=60)
    num_skipped = estimate.details["skipped"]
    assert num_skipped > 0
    assert estimate.n == 10 * (60 - num_skipped)


def test_a_corpus_without_another_speaker_is_refused():
    alone = CLIPS["speaker"].to_numpy() == 0
    clips = CLIPS[alone].reset_index(drop=True)
    frames = FRAMES[FRAMES["speaker"] == 0]
    code = noise(len(frames))
    with pytest.raises(ValueError, match="no gallery of 5 sentences .* among 42 clips"):
        retrieval_r1(code, clips, frames)


def test_standardised_features_have_unit_columns_and_unit_rows_unit_length():
    code = standardise(np.c_[100 + noise(50, 2), np.full(50, 7.0)])
    assert np.allclose(code.mean(0), 0, atol=1e-5)
    assert np.allclose(code.std(0), [1, 1, 0], atol=1e-5)
    rows = unit_rows(np.array([[3.0, 4.0], [0, 0]]))
    assert np.allclose(np.linalg.norm(rows, axis=1), [1, 0])


def test_frame_table_numbers_frames_within_clips():
    clips = pd.DataFrame(
        {"speaker": [1, 2], "sentence": 0, "emotion": "sad", "intensity": 1, "num_frames": [2, 3]}
    )
    table = frame_table(clips, np.zeros(5), np.zeros(5))
    assert table["frame_index"].tolist() == [0, 1, 0, 1, 2]
    assert table["speaker"].tolist() == [1, 1, 2, 2, 2]
