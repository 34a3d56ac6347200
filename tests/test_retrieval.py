"""Alignment by phones and retrieval across speakers and emotions, on codes whose recall is known."""

import numpy as np
import pandas as pd
import pytest
from known_codes import labelled_corpus, noise, one_hot, rotation

from cdrl.corpora.dtw import label_runs, phone_alignment
from cdrl.evaluation.probe_splits import frame_table
from cdrl.evaluation.retrieval import draw_galleries, retrieval_r1, standardise, unit_rows

CORPUS = labelled_corpus(seed=1)
CLIPS, FRAMES = CORPUS.clips, CORPUS.frames


def moment_code(clips=CLIPS, frames=FRAMES, width=0.5):
    """What is said, and nothing else: a point that travels along each sentence by its phones, the same in all takes."""
    codes = []
    for clip, row in enumerate(clips.itertuples()):
        phones = frames["phoneme"].to_numpy()[frames["clip"] == clip]
        first = frames["phoneme"].to_numpy()[
            frames["clip"] == clips.index[clips["sentence"] == row.sentence][0]
        ]
        moment = phone_alignment(phones, np.repeat(label_runs(first)[0], 10))
        grid = np.arange(0, 10 * len(label_runs(first)[0]), 2.0)
        code = np.zeros((len(phones), clips["sentence"].nunique(), 60))
        code[:, row.sentence, : len(grid)] = np.exp(-(((moment[:, None] - grid) / 5) ** 2) * width)
        codes.append(code.reshape(len(phones), -1))
    return np.concatenate(codes)


def test_a_clip_aligned_to_itself_is_the_identity():
    phones = np.array([0, 0, 3, 3, 3, 1, 0])
    assert np.allclose(phone_alignment(phones, phones), np.arange(7))


def test_alignment_is_linear_inside_each_phone():
    slow = np.repeat([0, 5, 6, 0], [2, 4, 2, 2])
    fast = np.repeat([0, 5, 6, 0], [4, 2, 2, 1])
    expected = [
        0.5,
        2.5,
        3.75,
        4.25,
        4.75,
        5.25,
        6,
        7,
        7.75,
        8,
    ]  # the last centre, 8.25, is beyond the last frame
    assert np.allclose(phone_alignment(slow, fast), expected)


def test_alignment_there_and_back_returns_to_the_same_frame():
    one, two = (FRAMES["phoneme"].to_numpy()[FRAMES["clip"] == clip] for clip in (0, 4))
    there, back = phone_alignment(one, two), phone_alignment(two, one)
    assert np.all(np.diff(there) >= 0)
    again = np.interp(there, np.arange(len(two)), back)
    assert np.abs(again - np.arange(len(one))).max() <= 1


def test_a_lost_phone_is_bridged_and_another_sentence_refused():
    whole, lost = np.repeat([0, 5, 6, 7, 0], [4, 4, 1, 4, 4]), np.repeat([0, 5, 7, 0], [4, 4, 4, 4])
    moments = phone_alignment(whole, lost)
    assert np.allclose(np.delete(moments, 8), np.arange(16)) and 7 <= moments[8] <= 8
    assert phone_alignment(whole, np.repeat([0, 9, 8, 11, 0], [1, 4, 4, 4, 1])) is None


def test_galleries_are_five_sentences_of_one_other_speaker_in_one_other_emotion():
    drawn = draw_galleries(CLIPS, 50, 5, seed=2)
    assert len(drawn) == 50
    for query, gallery in drawn:
        rows = CLIPS.iloc[gallery]
        assert (
            rows["sentence"].nunique() == 5
            and rows["sentence"].iloc[0] == CLIPS["sentence"].iloc[query]
        )
        assert rows["speaker"].nunique() == rows["emotion"].nunique() == 1
        assert rows["speaker"].iloc[0] != CLIPS["speaker"].iloc[query]
        assert rows["emotion"].iloc[0] != CLIPS["emotion"].iloc[query]


def test_a_code_of_the_moment_is_always_found():
    assert retrieval_r1(moment_code(), CLIPS, FRAMES, num_queries=60).value > 0.99


def test_a_constant_code_scores_exactly_its_chance_and_noise_about_that():
    found = retrieval_r1(np.ones((len(FRAMES), 4)), CLIPS, FRAMES, num_queries=60)
    assert found.value == pytest.approx(found.chance, abs=1e-12) and found.n == 600
    assert 2 / found.details["gallery"] < found.chance < 3.1 / found.details["gallery"]
    assert retrieval_r1(noise(len(FRAMES)), CLIPS, FRAMES).value == pytest.approx(
        found.chance, abs=0.02
    )


def test_a_code_of_speaker_and_emotion_finds_nothing():
    code = np.c_[one_hot(FRAMES["speaker"]), one_hot(FRAMES["emotion"])]
    found = retrieval_r1(code, CLIPS, FRAMES, num_queries=60)
    assert found.value == pytest.approx(found.chance, abs=0.01)


def test_rotation_and_duplication_change_no_retrieval_and_noise_lowers_it():
    code = moment_code() @ noise(360, 12) / 5 + 0.3 * noise(len(FRAMES), 12, seed=1)
    own = retrieval_r1(code, CLIPS, FRAMES, num_queries=80)
    assert own.chance * 3 < own.value < 0.9
    for same in (code @ rotation(12), np.c_[code, code]):
        found = retrieval_r1(same, CLIPS, FRAMES, num_queries=80)
        assert found.value == pytest.approx(own.value, abs=1e-9)


def test_retrieval_agrees_with_a_naive_loop():
    # All frames of two query clips, each against the only gallery there is: nothing is drawn.
    pairs = CLIPS[(CLIPS["speaker"] < 2) & (CLIPS["sentence"] < 5)]
    keep = pairs[pairs["emotion"] == np.where(pairs["speaker"] == 0, "happy", "sad")].index
    clips = CLIPS.loc[keep].reset_index(drop=True)
    frames = FRAMES[FRAMES["clip"].isin(keep)]
    frames = frame_table(clips, frames["viseme"].to_numpy(), frames["phoneme"].to_numpy())
    code = noise(len(frames), 3)
    clip, phoneme = frames["clip"].to_numpy(), frames["phoneme"].to_numpy()
    hits = {}
    for row in frames.itertuples():
        other = [k for k in range(len(clips)) if clips["speaker"][k] != row.speaker]
        shelf = np.flatnonzero(np.isin(clip, other))
        cosine = [
            code[row.Index] @ code[k] / np.linalg.norm(code[row.Index]) / np.linalg.norm(code[k])
            for k in shelf
        ]
        best = shelf[int(np.argmax(cosine))]
        target = next(k for k in other if clips["sentence"][k] == row.sentence)
        moment = round(
            float(phone_alignment(phoneme[clip == row.clip], phoneme[clip == target])[row.moment])
        )
        hits.setdefault(row.clip, []).append(
            clip[best] == target and abs(frames["moment"][best] - moment) <= 1
        )
    drawn = [query for query, _ in draw_galleries(clips, 30, 5, seed=0)]
    found = retrieval_r1(code, clips, frames, num_queries=30, per_query=1000)
    assert found.value == pytest.approx(
        np.mean(np.concatenate([hits[query] for query in drawn])), abs=1e-12
    )


def test_pairs_without_alignment_are_counted_and_queries_can_be_limited():
    broken = FRAMES.copy()
    odd = broken["speaker"] == 0
    broken.loc[odd, "phoneme"] = broken.loc[odd, "phoneme"] + 50
    found = retrieval_r1(noise(len(FRAMES)), CLIPS, broken, num_queries=60)
    assert found.details["skipped"] > 0 and found.n == 10 * (60 - found.details["skipped"])
    spoken = (FRAMES["phoneme"] != 0).to_numpy()
    assert (
        retrieval_r1(noise(len(FRAMES)), CLIPS, FRAMES, num_queries=60, include=spoken).n <= 600
    )


def test_a_corpus_without_another_speaker_is_refused():
    alone = CLIPS["speaker"].to_numpy() == 0
    clips = CLIPS[alone].reset_index(drop=True)
    with pytest.raises(
        ValueError, match="no gallery of 5 sentences by another speaker .* among 42 clips"
    ):
        retrieval_r1(noise(int(clips["num_frames"].sum())), clips, FRAMES[FRAMES["speaker"] == 0])


def test_standardised_features_have_unit_columns_and_unit_rows_unit_length():
    code = standardise(np.c_[100 + noise(50, 2), np.full(50, 7.0)])
    assert np.allclose(code.mean(0), 0, atol=1e-5) and np.allclose(
        code.std(0), [1, 1, 0], atol=1e-5
    )
    assert np.allclose(np.linalg.norm(unit_rows(np.array([[3.0, 4.0], [0, 0]])), axis=1), [1, 0])


def test_frame_table_numbers_moments_within_clips():
    clips = pd.DataFrame(
        {"speaker": [1, 2], "sentence": 0, "emotion": "sad", "intensity": 1, "num_frames": [2, 3]}
    )
    table = frame_table(clips, np.zeros(5), np.zeros(5))
    assert table["moment"].tolist() == [0, 1, 0, 1, 2] and table["speaker"].tolist() == [
        1,
        1,
        2,
        2,
        2,
    ]
