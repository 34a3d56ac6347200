"""The feature store: keyed by what it was made from, never computed twice, never stale, whole or resumable."""

import json
import os

import numpy as np
import pytest
import torch
from safetensors import safe_open
from test_store import row

from cdrl.core.devices import pick_device
from cdrl.core.errors import InputError
from cdrl.core.files import exclusive
from cdrl.corpora import batches
from cdrl.corpora.fingerprints import clip_fingerprints
from cdrl.corpora.store import Store, StoreWriter
from cdrl.evaluation.controls import without_information
from cdrl.priors import features as feature_store
from cdrl.priors import iresnet as released_vision
from cdrl.priors.audio import EmbeddedAudioPrior
from cdrl.priors.feature_files import FeatureWriter, open_feature_file
from cdrl.priors.features import KINDS, Features, extract
from cdrl.priors.vision import VisionPrior, vision_prior

LENGTHS = (7, 5, 6, 4)
BOX = (0.25, 0.6, 0.75, 0.93)


def make_store(path, lengths=LENGTHS, changed=None, silent=None):
    """A store of drawn clips; one clip may have other pictures, another one other sound."""
    with StoreWriter(path) as writer:
        for k, length in enumerate(lengths):
            random = np.random.default_rng([k, k == changed])
            face = random.integers(0, 255, (length, 32, 32, 3), dtype=np.uint8)
            audio = np.random.default_rng([k, 5]).uniform(-0.3, 0.3, length * 640) * (k != silent)
            writer.add(
                row(f"clip{k}"),
                face,
                np.tile(np.eye(2, 3, dtype=np.float32), (length, 1, 1)),
                audio,
                BOX,
            )
    return Store(path)


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "store")


@pytest.fixture
def asked(monkeypatch):
    """How many frames the vision prior and how many clips the audio prior were asked for, sizes of one frame and one second aside."""
    count = {"frames": 0, "clips": 0}
    see, listen = VisionPrior.forward, EmbeddedAudioPrior.extract_clips

    def seen(self, images, boxes):
        count["frames"] += len(images) if len(images) > 1 else 0
        return see(self, images, boxes)

    def heard(self, clips):
        count["clips"] += len(clips)
        return listen(self, clips)

    monkeypatch.setattr(VisionPrior, "forward", seen)
    monkeypatch.setattr(EmbeddedAudioPrior, "extract_clips", heard)
    return count


@torch.no_grad()
def test_features_are_what_the_priors_say_memory_mapped_and_readable_by_the_library(
    store, tmp_path
):
    features, prior, heard = (
        extract(store, tmp_path / "features", batch=4),
        VisionPrior(),
        EmbeddedAudioPrior(),
    )
    face, mouth = prior(
        batches.load_images(store, np.arange(len(store))), torch.from_numpy(store.mouth_boxes())
    )
    sound = torch.cat([heard(store.sound(k), length, 25.0) for k, length in enumerate(LENGTHS)])
    for kind, wanted in (("face", face), ("mouth", mouth), ("language", face), ("audio", sound)):
        found = getattr(features, kind)
        assert (
            isinstance(found, np.memmap) and found.dtype == np.float16 and found.flags.c_contiguous
        )
        np.testing.assert_allclose(found, wanted.numpy(), atol=3e-3, rtol=3e-3)
        assert np.array_equal(found[[[0, 3], [21, 2]]], np.asarray(found)[[[0, 3], [21, 2]]])
    with safe_open(next((tmp_path / "features").glob("audio-*.safetensors")), "np") as file:
        assert np.array_equal(file.get_tensor("features"), features.audio) and list(
            file.get_tensor("lengths")
        ) == list(LENGTHS)
        assert json.loads(file.metadata()["prior"]) == heard.identity == features.priors["audio"]
    assert (
        features.clip_means("mouth").shape == (4, 128) and features.names["language"] == "embedded"
    )


def test_what_is_known_is_not_computed_again(store, tmp_path, asked):
    first = extract(store, tmp_path / "features")
    assert asked == {"frames": 22, "clips": 4}
    again = extract(store, tmp_path / "features")
    assert asked == {"frames": 22, "clips": 4} and np.array_equal(first.face, again.face)


def test_a_changed_clip_is_computed_and_the_others_are_not_and_nothing_stale_is_read(
    store, tmp_path, asked
):
    before = extract(store, tmp_path / "features")
    kept = {kind: np.array(getattr(before, kind)) for kind in KINDS}
    asked.update(frames=0, clips=0)
    changed = make_store(tmp_path / "store", changed=1, silent=3)
    with pytest.raises(
        InputError,
        match="face-.*: made from other clips than .*store holds now; run notebook 01 again",
    ):
        Features(changed, tmp_path / "features")
    after = extract(changed, tmp_path / "features")
    assert asked == {"frames": 5, "clips": 1}
    for kind, rows in (
        ("face", changed.frames(1)),
        ("mouth", changed.frames(1)),
        ("audio", changed.frames(3)),
    ):
        same = np.ones(len(changed), bool)
        same[rows] = False
        found = getattr(after, kind)
        assert np.array_equal(found[same], kept[kind][same]) and not np.array_equal(
            found[~same], kept[kind][~same]
        )


def test_a_longer_corpus_takes_over_the_clips_it_shares(store, tmp_path, asked):
    extract(store, tmp_path / "features")
    asked.update(frames=0, clips=0)
    longer = extract(
        make_store(tmp_path / "longer", (*LENGTHS, 9)),
        tmp_path / "features_of_longer",
        shared=tmp_path / "features",
    )
    assert asked == {"frames": 9, "clips": 1} and len(longer.face) == 31
    assert np.array_equal(longer.face[:22], extract(store, tmp_path / "features").face)


def test_another_prior_is_computed_and_its_features_lie_beside_the_old_ones(
    store, tmp_path, monkeypatch, asked
):
    first = extract(store, tmp_path / "features")
    monkeypatch.setattr(feature_store, "SCHEMA_VERSION", 2)
    extract(store, tmp_path / "features")
    assert (
        asked["frames"] == 44
        and len(list((tmp_path / "features").glob("mouth-*.safetensors"))) == 2
    )
    monkeypatch.undo()
    assert np.array_equal(first.mouth, extract(store, tmp_path / "features").mouth)
    index = json.loads((tmp_path / "features/index.json").read_text())
    index["face"]["prior"]["sha256"] = "0"
    (tmp_path / "features/index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="made by another prior than .*index.json says"):
        Features(store, tmp_path / "features")


def test_a_killed_extraction_goes_on_and_ends_with_the_same_bytes(
    store, tmp_path, monkeypatch, asked
):
    monkeypatch.setattr(feature_store, "GROUP", 6)  # one clip or two at a time
    whole, see = extract(store, tmp_path / "whole"), VisionPrior.forward
    asked.update(frames=0, clips=0)

    def killed(self, images, boxes):
        if asked["frames"] >= 12:
            raise KeyboardInterrupt
        return see(self, images, boxes)

    monkeypatch.setattr(VisionPrior, "forward", killed)
    with pytest.raises(KeyboardInterrupt):
        extract(store, tmp_path / "features")
    assert not (tmp_path / "features/index.json").exists() and not list(
        (tmp_path / "features").glob("*.safetensors")
    )
    monkeypatch.setattr(VisionPrior, "forward", see)
    resumed = extract(store, tmp_path / "features")
    assert asked == {"frames": 22, "clips": 4}, "12 frames before it was killed, 10 after"
    assert all(np.array_equal(getattr(whole, kind), getattr(resumed, kind)) for kind in KINDS)
    assert not list((tmp_path / "features").glob("*.partial"))


def test_a_file_that_was_cut_short_is_refused_and_a_partial_one_begun_anew(store, tmp_path):
    extract(store, tmp_path / "features")
    path = next((tmp_path / "features").glob("face-*.safetensors"))
    whole = path.read_bytes()
    for length in (0, 4, 60, len(whole) - 100):
        path.write_bytes(whole[:length])
        with pytest.raises(
            InputError,
            match="face-.*safetensors: not a whole file of features .*remove it and run notebook 01 again",
        ):
            Features(store, tmp_path / "features")
    path.unlink()
    path.with_suffix(".partial").write_bytes(whole[:60])
    assert len(extract(store, tmp_path / "features").face) == 22 and path.read_bytes() == whole


def test_two_processes_do_not_write_one_folder_and_a_number_that_does_not_fit_is_refused(
    store, tmp_path
):
    (tmp_path / "features").mkdir()
    with (
        exclusive(tmp_path / "features"),
        pytest.raises(InputError, match="features: another process is writing here"),
    ):
        extract(store, tmp_path / "features")
    writer = FeatureWriter(tmp_path / "a.safetensors", ["0" * 32], np.array([2]), 3, {"name": "a"})
    with pytest.raises(
        InputError,
        match="a.safetensors: a feature is not finite in half precision; try --set priors.device=cpu",
    ):
        writer.write([0], np.full((2, 3), np.inf, np.float16))
    writer.write([0], np.ones((2, 3), np.float16))
    writer.finish()
    assert open_feature_file(tmp_path / "a.safetensors")["features"].sum() == 6


def test_features_that_are_not_there_are_told_and_plain_arrays_of_before_are_not_believed(
    store, tmp_path
):
    with pytest.raises(
        InputError, match="index.json: not extracted yet; run notebook 01 .or `cdrl run`. first$"
    ):
        Features(store, tmp_path / "features")
    (tmp_path / "features").mkdir()
    np.save(tmp_path / "features/face.npy", np.zeros((22, 256), np.float16))
    with pytest.raises(
        InputError, match="the plain .npy of an earlier version do not say what they were made from"
    ):
        Features(store, tmp_path / "features")
    extract(store, tmp_path / "features")
    assert (tmp_path / "features/face.npy").exists(), "they are left where they are"


def test_fingerprints_are_kept_beside_the_store_and_made_anew_when_it_changes(store, monkeypatch):
    first = clip_fingerprints(store)
    assert len(first["visual"]) == 4 and all(
        len(text) == 32 for text in first["visual"] + first["audio"]
    )
    monkeypatch.setattr(type(store), "frames", None)  # reading the crops again would fail
    assert clip_fingerprints(store) == first
    monkeypatch.undo()
    face = np.load(store.path / "face.npy")
    face[0] ^= 1
    np.save(store.path / "face.npy", face)
    os.utime(store.path / "face.npy", (1, 1))
    second = clip_fingerprints(Store(store.path))
    assert (
        second["visual"][0] != first["visual"][0]
        and second["visual"][1:] == first["visual"][1:]
        and second["audio"] == first["audio"]
    )


def test_another_vision_prior_is_chosen_by_name_and_its_controls_look_through_it(
    store, tmp_path, monkeypatch
):
    monkeypatch.setattr(released_vision, "INPUT_SIZE", 56)
    features = extract(store, tmp_path / "features", vision=vision_prior("iresnet50/random"))
    assert (
        features.face.shape == (22, 256)
        and features.mouth.shape == (22, 1536)
        and features.language.shape == (22, 256)
    )
    assert (
        features.priors["language"]["name"] == "language_prior"
        and features.names["vision"] == "iresnet50/random"
    )
    blank = without_information(features, "constant")
    assert (
        blank.mouth.shape == (22, 1536)
        and blank.language.shape == (22, 256)
        and np.ptp(blank.face, axis=0).max() == 0
    )


def test_a_device_that_is_not_here_is_refused():
    assert pick_device("cpu").type == "cpu" and pick_device().type in ("cpu", "cuda")
    with pytest.raises(
        InputError, match="device=tpu: not to be used here .*; accepted are auto, cpu, cuda"
    ):
        pick_device("tpu")
