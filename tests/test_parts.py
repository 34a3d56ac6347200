"""Rows in which a part of the method can matter: worse images, few labels, an unseen emotion."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cdrl.core.settings import StudyConfig
from cdrl.core.vocabulary import EMOTIONS, UNLABELLED
from cdrl.media.mouths import DEFAULT_MOUTH_BOX
from cdrl.study.changed_images import CHANGES, COVERED, GREY, SMALL, with_changed_images
from cdrl.study.emotion_jobs import unseen_scores
from cdrl.study.few_labels import with_few_labels, without_emotion
from cdrl.study.inputs import training_data
from cdrl.study.parts import PARTS, UNSEEN
from cdrl.study.run import study_clips

SIZE = 96
PEOPLE = 6


@pytest.fixture
def crops():
    random = np.random.default_rng(0)
    return random.integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.uint8)


def test_a_covered_mouth_is_grey_and_nothing_else_changes(crops):
    covered = CHANGES["occluded"](crops)
    left, top, right, bottom = DEFAULT_MOUTH_BOX
    rows = slice(round(SIZE * top), round(SIZE * bottom))
    columns = slice(round(SIZE * left), round(SIZE * right))
    assert (covered[:, rows, columns] == GREY).all()
    above = round(SIZE * COVERED[1])
    assert np.array_equal(covered[:, :above], crops[:, :above])
    assert not (crops == GREY).all(), "the store's own crops stay"


@pytest.mark.parametrize("name", ["blurred", "small"])
def test_worse_images_have_less_detail_and_the_same_light(crops, name):
    changed = CHANGES[name](crops)
    assert changed.shape == crops.shape and changed.dtype == np.uint8
    assert changed.astype(float).mean() == pytest.approx(crops.mean(), abs=2)
    assert changed.std() < crops.std() / 3
    flat = np.full_like(crops, 77)
    assert np.abs(CHANGES[name](flat).astype(int) - 77).max() <= 1


def test_a_store_with_changed_images_changes_what_is_read(crops):
    store = SimpleNamespace(face=crops, clips="clips")
    changed = with_changed_images(store, "small")
    assert changed.face.shape == crops.shape and len(changed.face) == 3 and store.face is crops
    rows = np.array([2, 0])
    assert np.array_equal(changed.face[rows], CHANGES["small"](crops[rows]))
    assert SMALL == 20


@pytest.fixture
def features():
    """Clips of people who say four sentences in two emotions each."""
    rows = []
    for person in range(PEOPLE):
        for sentence in range(4):
            for emotion in ("happy", "contempt" if sentence == 3 else "sad"):
                rows.append((f"{person}", f"{sentence}", emotion, 1))
    clips = pd.DataFrame(rows, columns=["speaker", "sentence", "emotion", "intensity"])
    return SimpleNamespace(store=SimpleNamespace(clips=clips))


def test_few_labels_are_those_of_whole_pairs(features):
    before = features.store.clips.copy()
    few = with_few_labels(features, 0.25).store.clips
    labelled = few[few.emotion != UNLABELLED]
    assert len(labelled) == 2 * round(0.25 * 4 * PEOPLE)
    assert (labelled.groupby(["speaker", "sentence"]).size() == 2).all()
    assert (few.emotion[labelled.index] == before.emotion[labelled.index]).all()
    assert features.store.clips.equals(before)

    one = with_few_labels(features, 0.001).store.clips
    assert (one.emotion != UNLABELLED).sum() == 2
    assert with_few_labels(features, 0.25, seed=1).store.clips.equals(few) is False


def test_an_emotion_that_is_left_out_has_no_label(features):
    clips = without_emotion(features, UNSEEN).store.clips
    assert set(clips.emotion) == {"happy", "sad", UNLABELLED}
    assert (clips.emotion == UNLABELLED).sum() == PEOPLE


def features_of(speakers):
    return SimpleNamespace(store=SimpleNamespace(clips=pd.DataFrame({"speaker": speakers})))


def test_words_that_find_an_unseen_emotion_score_one_and_those_that_take_all_are_told():
    prompts = np.eye(len(EMOTIONS))
    target = EMOTIONS.index(UNSEEN)
    speakers = [str(number % PEOPLE) for number in range(24)]
    seen = features_of(speakers)
    unseen = features_of(speakers)

    of_unseen = np.tile(prompts[target], (24, 1))
    of_seen = prompts[[(target + 1 + number % 7) % 8 for number in range(24)]]
    right = unseen_scores(of_seen, of_unseen, prompts, seen, unseen)
    assert right["emotion.unseen"].value == 1 and right["emotion.unseen_false"].value == 0
    assert right["emotion.unseen_area"].value == 1
    assert right["emotion.unseen"].chance == 1 / 8

    blind = unseen_scores(of_unseen, of_unseen, prompts, seen, unseen)
    assert blind["emotion.unseen"].value == blind["emotion.unseen_false"].value == 1
    wrong = unseen_scores(of_unseen, of_seen, prompts, seen, unseen)
    assert wrong["emotion.unseen"].value == 0 and wrong["emotion.unseen_area"].value == 0


def test_rows_that_train_on_other_data_have_folders_of_their_own():
    names = {}
    for kind, rows in PARTS.items():
        for name, row in rows.items():
            names[(kind, name)] = training_data(row)
    assert names[("content", "occluded")] == "occluded"
    assert names[("emotion", "labels_1")] == "labels1"
    assert names[("emotion", "labels_5_classifier")] == "labels5"
    assert names[("emotion", "unseen")] == "without-contempt"
    assert "" not in names.values()


def test_each_part_stands_beside_the_same_with_the_part_left_out():
    content, emotion = PARTS["content"], PARTS["emotion"]
    for pixels in CHANGES:
        assert {pixels, f"{pixels}_no_query", f"{pixels}_query", f"{pixels}_raw"} <= set(content)
        assert content[pixels].pixels == content[f"{pixels}_no_query"].pixels == pixels
    for labels in ("labels_1", "labels_5"):
        left_out = emotion[f"{labels}_no_prompts"]
        assert left_out.labels == emotion[labels].labels
        assert left_out.change["prior_weight"] == 0


def test_people_who_score_show_the_unseen_emotion_too():
    clips = study_clips(StudyConfig(half="parts", studio_version=2, people=4))
    unseen = clips[f"report_{UNSEEN}"]
    assert {clip.emotion for clip in unseen} == {UNSEEN}
    assert {clip.version for clip in unseen} == {2}
    said = {(clip.person, clip.sentence) for clip in clips["report"]}
    assert {(clip.person, clip.sentence) for clip in unseen} == said
    assert len(unseen) == len(said)
