"""The committed real clips, and clips with CREMA-D's names into a store."""

import numpy as np
import pytest

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import CREMA_D_EMOTIONS
from cdrl.corpora.adapters import crema_d_labels
from cdrl.corpora.samples import ingest_crema_d, sample_clips, sample_folder, sample_paths
from cdrl.corpora.store import Store
from cdrl.media.encoding import write_video


def test_the_six_samples_are_one_actor_in_six_emotions():
    labels = [crema_d_labels(path) for path in sample_paths()]
    assert {label["emotion"] for label in labels} == set(CREMA_D_EMOTIONS.values())
    assert {label["speaker"] for label in labels} == {"1001"}
    assert {label["sentence"] for label in labels} == {"DFA"}
    neutral = [label for label in labels if label["emotion"] == "neutral"]
    assert {label["intensity"] for label in neutral} == {1}


def test_samples_are_read_from_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CDRL_DATA", str(tmp_path))
    assert sample_folder() == tmp_path / "samples"
    with pytest.raises(InputError, match="samples: no sample clips; restore them"):
        sample_paths()


def test_levels_are_read_and_strange_names_refused():
    assert crema_d_labels("1076_IEO_SAD_HI.flv")["intensity"] == 3
    with pytest.raises(InputError, match="not a CREMA-D name; expected actor_sentence_emotion"):
        crema_d_labels("holiday.mp4")
    with pytest.raises(InputError, match="JOY_XX is not of CREMA-D; emotions are ANG, DIS"):
        crema_d_labels("1001_DFA_JOY_XX.flv")


def test_samples_become_a_store_with_crops_sound_and_reasons_for_the_rest(tmp_path):
    angry, disgusted, *_, last = sample_paths()
    broken = tmp_path / "1001_DFA_SAD_XX.flv"
    broken.write_bytes(last.read_bytes()[:90_000])
    ((name, reason),) = ingest_crema_d([angry, disgusted, broken], tmp_path / "store")
    assert name == broken.stem
    assert "truncated" in reason

    store = Store(tmp_path / "store")
    assert list(store.clips["emotion"]) == ["angry", "disgusted"]
    assert set(store.clips["speaker"]) == {"1001"}
    assert store.face.shape == (sum(store.clips["num_frames"]), 96, 96, 3)
    for number, row in store.clips.iterrows():
        assert len(store.sound(number)) == round(row["num_frames"] / 25 * 16_000)
    middle = store.face[:, 30:60, 30:66].reshape(len(store), -1, 3)
    red, _, blue = middle.mean(axis=1).T
    assert (red > blue + 20).all()  # skin, not the green screen


def test_nothing_usable_raises_and_makes_no_store(tmp_path):
    clip = sample_clips()[4]
    assert np.isfinite(clip.audio).all()
    wall = tmp_path / "1001_DFA_NEU_XX.mp4"
    write_video(wall, clip.frames[:8, :, :100], 25.0, clip.audio[: 8 * 640] + 0.01)
    pattern = "none of 1 clips could be used .1 no face found.*1001_DFA_NEU_XX: no face found"
    with pytest.raises(InputError, match=pattern):
        ingest_crema_d([wall], tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_an_unknown_crop_is_refused(tmp_path):
    with pytest.raises(InputError, match="crop"):
        ingest_crema_d(sample_paths()[:1], tmp_path / "store", crop="square")
