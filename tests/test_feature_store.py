"""Features on disk: stored under what made them, never computed twice or outdated, resumable."""

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
from cdrl.corpora.batches import load_images
from cdrl.corpora.fingerprints import clip_fingerprints
from cdrl.corpora.store import Store
from cdrl.corpora.store_writer import StoreWriter
from cdrl.evaluation.controls import without_information
from cdrl.priors import features as features_module
from cdrl.priors import iresnet
from cdrl.priors.audio import EmbeddedAudioPrior
from cdrl.priors.feature_files import FeatureWriter, open_feature_file
from cdrl.priors.features import KINDS, Features, extract
from cdrl.priors.vision import VisionPrior, vision_prior

LENGTHS = (7, 5, 6, 4)
BOX = (0.25, 0.6, 0.75, 0.93)


def make_store(path, lengths=LENGTHS, changed=None, silent=None, shard_bytes=None):
    """A store of random clips; one clip may have other images, another one other sound."""
    with StoreWriter(path, shard_bytes=shard_bytes) as writer:
        for number, length in enumerate(lengths):
            random = np.random.default_rng([number, number == changed])
            face = random.integers(0, 255, (length, 32, 32, 3), dtype=np.uint8)
            random = np.random.default_rng([number, 5])
            audio = random.uniform(-0.3, 0.3, length * 640)
            if number == silent:
                audio = audio * 0
            transforms = np.tile(np.eye(2, 3, dtype=np.float32), (length, 1, 1))
            writer.add(row(f"clip{number}"), face, transforms, audio, BOX)
    return Store(path)


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "store")


@pytest.fixture
def work(monkeypatch):
    """Counts frames of the vision prior (single ones aside) and clips of the audio prior."""
    count = {"frames": 0, "clips": 0}
    extract_visual = VisionPrior.forward
    extract_audio = EmbeddedAudioPrior.extract_clips

    def count_frames(self, images, boxes):
        if len(images) > 1:
            count["frames"] += len(images)
        return extract_visual(self, images, boxes)

    def count_clips(self, clips):
        count["clips"] += len(clips)
        return extract_audio(self, clips)

    monkeypatch.setattr(VisionPrior, "forward", count_frames)
    monkeypatch.setattr(EmbeddedAudioPrior, "extract_clips", count_clips)
    return count


@torch.no_grad()
def test_features_are_the_priors_output_memory_mapped_and_readable_by_the_library(store, tmp_path):
    folder = tmp_path / "features"
    features = extract(store, folder, batch=4)
    audio_prior = EmbeddedAudioPrior()
    images = load_images(store, np.arange(len(store)))
    face, mouth = VisionPrior()(images, torch.from_numpy(store.mouth_boxes()))
    audio = []
    for clip, length in enumerate(LENGTHS):
        audio.append(audio_prior(store.sound(clip), length, 25.0))
    expected = {"face": face, "mouth": mouth, "language": face, "audio": torch.cat(audio)}
    for kind, values in expected.items():
        array = getattr(features, kind)
        assert isinstance(array, np.memmap)
        assert array.dtype == np.float16
        assert array.flags.c_contiguous
        np.testing.assert_allclose(array, values.numpy(), atol=3e-3, rtol=3e-3)
        rows = [[0, 3], [21, 2]]
        assert np.array_equal(array[rows], np.asarray(array)[rows])

    path = next(folder.glob("audio-*.safetensors"))
    with safe_open(path, "np") as file:
        assert np.array_equal(file.get_tensor("features"), features.audio)
        assert list(file.get_tensor("lengths")) == list(LENGTHS)
        assert json.loads(file.metadata()["prior"]) == audio_prior.identity
    assert features.priors["audio"] == audio_prior.identity
    assert features.clip_means("mouth").shape == (4, 128)
    assert features.names["language"] == "embedded"


def test_known_features_are_not_computed_again(store, tmp_path, work):
    first = extract(store, tmp_path / "features")
    assert work == {"frames": 22, "clips": 4}
    second = extract(store, tmp_path / "features")
    assert work == {"frames": 22, "clips": 4}
    assert np.array_equal(first.face, second.face)


def test_only_a_changed_clip_is_computed_again_and_nothing_outdated_is_read(store, tmp_path, work):
    features = extract(store, tmp_path / "features")
    before = {kind: np.array(getattr(features, kind)) for kind in KINDS}
    work.update(frames=0, clips=0)
    changed = make_store(tmp_path / "store", changed=1, silent=3)
    with pytest.raises(InputError, match=r"face-.*: made from other clips .*notebook 01 again"):
        Features(changed, tmp_path / "features")

    after = extract(changed, tmp_path / "features")
    assert work == {"frames": 5, "clips": 1}
    changed_rows = {
        "face": changed.frames(1),
        "mouth": changed.frames(1),
        "audio": changed.frames(3),
    }
    for kind, rows in changed_rows.items():
        is_same = np.ones(len(changed), bool)
        is_same[rows] = False
        array = getattr(after, kind)
        assert np.array_equal(array[is_same], before[kind][is_same])
        assert not np.array_equal(array[~is_same], before[kind][~is_same])


def test_a_longer_corpus_takes_over_the_clips_it_shares(store, tmp_path, work):
    features = extract(store, tmp_path / "features")
    work.update(frames=0, clips=0)
    longer_store = make_store(tmp_path / "longer", (*LENGTHS, 9))
    out = tmp_path / "features_of_longer"
    longer = extract(longer_store, out, shared=tmp_path / "features")
    assert work == {"frames": 9, "clips": 1}
    assert len(longer.face) == 31
    assert np.array_equal(longer.face[:22], features.face)


def test_another_prior_is_computed_and_its_features_lie_beside_the_old_ones(
    store, tmp_path, monkeypatch, work
):
    folder = tmp_path / "features"
    first = extract(store, folder)
    monkeypatch.setattr(features_module, "SCHEMA_VERSION", 2)
    extract(store, folder)
    assert work["frames"] == 44
    assert len(list(folder.glob("mouth-*.safetensors"))) == 2
    monkeypatch.undo()
    assert np.array_equal(first.mouth, extract(store, folder).mouth)


def test_features_of_another_prior_than_the_index_says_are_refused(store, tmp_path):
    extract(store, tmp_path / "features")
    path = tmp_path / "features/index.json"
    index = json.loads(path.read_text())
    index["face"]["prior"]["sha256"] = "0"
    path.write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"made by another prior than .*index.json says"):
        Features(store, tmp_path / "features")


def test_a_killed_extraction_goes_on_and_ends_with_the_same_bytes(
    store, tmp_path, monkeypatch, work
):
    monkeypatch.setattr(features_module, "GROUP", 6)  # one clip or two at a time
    whole = extract(store, tmp_path / "whole")
    extract_visual = VisionPrior.forward
    work.update(frames=0, clips=0)

    def kill_after_twelve_frames(self, images, boxes):
        if work["frames"] >= 12:
            raise KeyboardInterrupt
        return extract_visual(self, images, boxes)

    monkeypatch.setattr(VisionPrior, "forward", kill_after_twelve_frames)
    folder = tmp_path / "features"
    with pytest.raises(KeyboardInterrupt):
        extract(store, folder)
    assert not (folder / "index.json").exists()
    assert not list(folder.glob("*.safetensors"))

    monkeypatch.setattr(VisionPrior, "forward", extract_visual)
    resumed = extract(store, folder)
    assert work == {"frames": 22, "clips": 4}, "12 frames before it was killed, 10 after"
    for kind in KINDS:
        assert np.array_equal(getattr(whole, kind), getattr(resumed, kind))
    assert not list(folder.glob("*.partial"))


def test_a_file_that_was_cut_short_is_refused_and_a_partial_one_begun_anew(store, tmp_path):
    folder = tmp_path / "features"
    extract(store, folder)
    path = next(folder.glob("face-*.safetensors"))
    whole = path.read_bytes()
    for length in (0, 4, 60, len(whole) - 100):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"face-.*not a whole file .*remove it and run"):
            Features(store, folder)

    path.unlink()
    path.with_suffix(".partial").write_bytes(whole[:60])
    assert len(extract(store, folder).face) == 22
    assert path.read_bytes() == whole


def test_two_processes_do_not_write_one_folder(store, tmp_path):
    folder = tmp_path / "features"
    folder.mkdir()
    another = r"features: another process is writing here"
    with exclusive(folder), pytest.raises(InputError, match=another):
        extract(store, folder)


def test_a_number_that_half_precision_cannot_hold_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    writer = FeatureWriter(path, ["0" * 32], np.array([2]), 3, {"name": "a"})
    with pytest.raises(InputError, match=r"a.safetensors: .*not finite.*priors.device=cpu"):
        writer.write([0], np.full((2, 3), np.inf, np.float16))
    writer.write([0], np.ones((2, 3), np.float16))
    writer.finish()
    assert open_feature_file(path)["features"].sum() == 6


def test_missing_features_are_named_and_plain_arrays_of_before_are_not_read(store, tmp_path):
    folder = tmp_path / "features"
    with pytest.raises(
        InputError, match=r"index.json: not extracted yet; run notebook 01 .*first$"
    ):
        Features(store, folder)
    folder.mkdir()
    np.save(folder / "face.npy", np.zeros((22, 256), np.float16))
    with pytest.raises(InputError, match=r"not extracted yet; .*plain .npy of an earlier version"):
        Features(store, folder)
    extract(store, folder)
    assert (folder / "face.npy").exists(), "they are left where they are"


def test_fingerprints_are_stored_beside_the_store_and_made_anew_when_it_changes(store, monkeypatch):
    first = clip_fingerprints(store)
    assert len(first["visual"]) == 4
    for text in first["visual"] + first["audio"]:
        assert len(text) == 32
    monkeypatch.setattr(type(store), "frames", None)  # reading the crops again would fail
    assert clip_fingerprints(store) == first
    monkeypatch.undo()

    path = store.path / "face.npy"
    face = np.load(path)
    face[0] ^= 1
    np.save(path, face)
    os.utime(path, (1, 1))
    second = clip_fingerprints(Store(store.path))
    assert second["visual"][0] != first["visual"][0]
    assert second["visual"][1:] == first["visual"][1:]
    assert second["audio"] == first["audio"]


def test_another_vision_prior_makes_the_features_and_their_controls(store, tmp_path, monkeypatch):
    monkeypatch.setattr(iresnet, "INPUT_SIZE", 56)
    features = extract(store, tmp_path / "features", vision=vision_prior("iresnet50/random"))
    assert features.face.shape == (22, 256)
    assert features.mouth.shape == (22, 1536)
    assert features.language.shape == (22, 256)
    assert features.priors["language"]["name"] == "language_prior"
    assert features.names["vision"] == "iresnet50/random"

    blank = without_information(features, "constant")
    assert blank.mouth.shape == (22, 1536)
    assert blank.language.shape == (22, 256)
    assert np.ptp(blank.face, axis=0).max() == 0


def test_a_device_that_is_not_here_is_refused():
    assert pick_device("cpu").type == "cpu"
    assert pick_device().type in ("cpu", "cuda")
    with pytest.raises(InputError, match="device=tpu: .*accepted are auto, cpu, cuda"):
        pick_device("tpu")


def test_features_of_a_store_in_shards_are_those_of_one_file(store, tmp_path):
    sharded = make_store(tmp_path / "shards", shard_bytes=1)
    assert sharded.num_shards == len(LENGTHS)
    features = extract(store, tmp_path / "features")
    others = extract(sharded, tmp_path / "other")
    for kind in KINDS:
        assert np.array_equal(getattr(features, kind), getattr(others, kind))
