"""The crop store: what is written is read, whole or not at all."""

import errno
import io
import json

import numpy as np
import pandas as pd
import psutil
import pytest

from cdrl.cli.main import main
from cdrl.core.errors import InputError
from cdrl.corpora.fingerprints import clip_fingerprints
from cdrl.corpora.store import Store
from cdrl.corpora.store_sums import describe_sums
from cdrl.corpora.store_writer import StoreWriter

WHOLE_BOX = (0, 0, 1, 1)


def row(name, speaker="s"):
    return {
        "name": name,
        "corpus": "test",
        "split": "train",
        "speaker": speaker,
        "sentence": "t",
        "emotion": "happy",
        "intensity": 2,
        "frame_rate": 25.0,
    }


def clip(length, seed):
    """Crops, transforms and sound of `length` frames."""
    random = np.random.default_rng(seed)
    face = random.integers(0, 255, (length, 8, 8, 3), dtype=np.uint8)
    transforms = np.tile(np.eye(2, 3, dtype=np.float32), (length, 1, 1))
    audio = random.uniform(-1, 1, length * 640)
    return face, transforms, audio


def write_two_clips(path):
    """A store of clips of 3 and 5 frames."""
    with StoreWriter(path) as writer:
        for number, length in enumerate((3, 5)):
            truth = {"viseme": np.full(length, number, np.uint8)}
            labels = row(f"clip{number}", speaker=f"s{number}")
            writer.add(labels, *clip(length, number), (0.25, 0.5, 0.75, 0.9), truth)


def test_what_was_written_is_read(tmp_path):
    write_two_clips(tmp_path / "store")
    store = Store(tmp_path / "store")
    assert len(store) == 8
    assert list(store.clips.name) == ["clip0", "clip1"]
    face, _, audio = clip(5, 1)
    assert np.array_equal(store.face[store.frames(1)], face)
    assert np.abs(store.sound(1) - audio).max() < 2 / 32767
    assert list(store.truth["viseme"]) == [0] * 3 + [1] * 5
    assert list(store.per_frame("speaker")) == ["s0"] * 3 + ["s1"] * 5
    assert store.mouth_boxes().shape == (8, 4)


def test_a_store_is_written_once_and_not_copied_when_it_is_finished(tmp_path):
    face = np.zeros((200, 64, 64, 3), np.uint8)
    transforms = np.zeros((200, 2, 3), np.float32)
    before = psutil.Process().io_counters().write_chars
    with StoreWriter(tmp_path / "store") as writer:
        writer.add(row("a"), face, transforms, np.zeros(200 * 640), WHOLE_BOX)
    written = psutil.Process().io_counters().write_chars - before
    size = sum(path.stat().st_size for path in (tmp_path / "store").iterdir())
    assert size <= written < 1.01 * size


@pytest.mark.parametrize("length", [1, 12_345])
def test_an_array_of_a_store_is_a_file_of_numpy(tmp_path, length):
    audio = np.arange(length, dtype=np.int16)
    with StoreWriter(tmp_path / "store") as writer:
        writer.add(row("a"), *clip(1, 0)[:2], audio, WHOLE_BOX)
    expected = io.BytesIO()
    np.lib.format.write_array(expected, audio, version=(2, 0))
    assert (tmp_path / "store" / "audio.npy").read_bytes() == expected.getvalue()


def test_an_interrupted_store_leaves_nothing_that_looks_finished(tmp_path):
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path / "store") as writer:
        writer.add(row("a"), *clip(3, 0), WHOLE_BOX)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="no finished crop store here; run notebook 00"):
        Store(tmp_path / "store")


class FullDisk(io.BytesIO):
    """A file whose last bytes cannot be written."""

    def close(self):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_store_that_a_full_disk_ends_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="No space left"), StoreWriter(tmp_path / "store") as writer:
        writer.add(row("a"), *clip(3, 0), WHOLE_BOX)
        writer.files["face"] = FullDisk()
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_another_format_is_refused(tmp_path):
    write_two_clips(tmp_path / "store")
    (tmp_path / "store" / "store.json").write_text('{"format": 99}')
    with pytest.raises(InputError, match="store format 99, this version reads 1 and 2"):
        Store(tmp_path / "store")


def write_in_shards(path, lengths, shard_frames, key=""):
    """A store of random clips, cut when so many frames are there."""
    with StoreWriter(path, key=key, shard_bytes=shard_frames * 8 * 8 * 3) as writer:
        for number, length in enumerate(lengths):
            truth = {"viseme": np.full(length, number, np.uint8)}
            writer.add(row(f"clip{number}"), *clip(length, number), WHOLE_BOX, truth)


def test_a_store_in_shards_reads_like_one_in_one_file(tmp_path):
    lengths = (3, 5, 2, 9, 1, 1, 4)
    write_in_shards(tmp_path / "shards", lengths, 6)
    write_in_shards(tmp_path / "one", lengths, 1000)
    store = Store(tmp_path / "shards")
    other = Store(tmp_path / "one")
    assert [len(np.load(tmp_path / "shards" / f"face.{k:03d}.npy")) for k in range(3)] == [8, 11, 6]
    assert (store.num_shards, other.num_shards) == (3, 0)
    pd.testing.assert_frame_equal(store.clips, other.clips)
    for array, whole in (
        (store.face, other.face),
        (store.transforms, other.transforms),
        (store.audio, other.audio),
        (store.truth["viseme"], other.truth["viseme"]),
    ):
        assert np.array_equal(array[:], whole)
    for number in range(len(lengths)):
        assert np.array_equal(store.face[store.frames(number)], other.face[other.frames(number)])
        assert np.array_equal(store.sound(number), other.sound(number))
    assert clip_fingerprints(store) == clip_fingerprints(other)
    assert not list((tmp_path / "shards").glob("shard.*"))


def test_every_file_of_a_store_in_shards_is_watched(tmp_path):
    write_in_shards(tmp_path / "store", (3, 5, 2), 4)
    files = sorted((tmp_path / "store").glob("*.npy"))
    assert len(files) == 8
    assert "9 files" in describe_sums(tmp_path / "store")
    for path in files:
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(InputError, match=path.name):
            describe_sums(tmp_path / "store")
        path.unlink()
        with pytest.raises(InputError, match=path.name):
            Store(tmp_path / "store")
        path.write_bytes(whole)
    Store(tmp_path / "store")


@pytest.mark.parametrize(
    "shards",
    [
        None,
        [],
        [{}],
        "ab",
        [{"frames": 8, "samples": 5120}],
        [{"frames": 4, "samples": 2560}, {"frames": 6, "samples": 3840}],
        [{"frames": 10, "samples": 6400}, {"frames": 0, "samples": 0}],
    ],
)
def test_shards_that_are_not_those_of_the_clips_are_refused(tmp_path, shards):
    write_in_shards(tmp_path / "store", (3, 5, 2), 4)
    card = tmp_path / "store" / "store.json"
    record = json.loads(card.read_text()) | {"shards": shards}
    card.write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"store\.json cannot be read \(its shards"):
        Store(tmp_path / "store")


def test_a_writer_with_a_key_goes_on_behind_its_last_shard(tmp_path):
    write_in_shards(tmp_path / "whole", (3, 5, 2), 4, key="a")
    with (
        pytest.raises(KeyboardInterrupt),
        StoreWriter(tmp_path / "store", key="a", shard_bytes=4 * 8 * 8 * 3) as writer,
    ):
        for number, length in enumerate((3, 5, 2)):
            truth = {"viseme": np.full(length, number, np.uint8)}
            writer.add(row(f"clip{number}"), *clip(length, number), WHOLE_BOX, truth)
        raise KeyboardInterrupt
    with pytest.raises(InputError, match="2 clips of an unfinished store"):
        StoreWriter(tmp_path / "store", key="b")

    with StoreWriter(tmp_path / "store", key="a", shard_bytes=4 * 8 * 8 * 3) as writer:
        assert [entry["name"] for entry in writer.rows] == ["clip0", "clip1"]
        face, _, _ = clip(3, 0)
        assert np.array_equal(writer.finished_crops()[:3], face)
        with pytest.raises(ValueError, match="this store holds"):
            writer.add(row("b"), np.zeros((2, 9, 9, 3), np.uint8), *clip(2, 2)[1:], WHOLE_BOX)
        truth = {"viseme": np.full(2, 2, np.uint8)}
        writer.add(row("clip2"), *clip(2, 2), WHOLE_BOX, truth)
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "store").iterdir())
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "store" / name).read_bytes()


def test_clips_of_one_store_have_the_same_truth(tmp_path):
    writer = StoreWriter(tmp_path / "store")
    with pytest.raises(ValueError, match="this store holds"), writer:
        writer.add(row("a"), *clip(3, 0), WHOLE_BOX, {"viseme": np.zeros(3, np.uint8)})
        writer.add(row("b"), *clip(3, 0), WHOLE_BOX, {"viseme": np.zeros((3, 2), np.uint8)})


def folder_with_a_file(path):
    path.mkdir(parents=True)
    (path / "diary.txt").write_text("mine")
    return path


@pytest.mark.parametrize("name", ["store", "store.partial"])
def test_a_store_is_not_written_over_files_of_somebody_else(tmp_path, name):
    folder = folder_with_a_file(tmp_path / name)
    with pytest.raises(InputError) as refused:
        StoreWriter(tmp_path / "store")
    assert str(folder) in str(refused.value)
    assert "--out" in str(refused.value)
    assert (folder / "diary.txt").read_text() == "mine"


def test_unfinished_work_of_before_is_replaced(tmp_path):
    StoreWriter(tmp_path / "store")
    writer = StoreWriter(tmp_path / "store")
    assert writer.partial.is_dir()


def test_a_flipped_bit_is_noticed_in_every_array_and_in_the_table(tmp_path):
    write_two_clips(tmp_path / "store")
    assert "as they were written" in describe_sums(tmp_path / "store")
    files = [path for path in (tmp_path / "store").iterdir() if path.name != "store.json"]
    assert len(files) == 5
    for path in files:
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[-1] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(InputError, match=path.name):
            describe_sums(tmp_path / "store")
        path.write_bytes(whole)
    describe_sums(tmp_path / "store")


def test_data_check_of_a_store_compares_its_sums(tmp_path, capsys):
    write_two_clips(tmp_path / "store")
    assert main(["data", "check", str(tmp_path / "store")]) == 0
    assert "as they were written" in capsys.readouterr().out
    (tmp_path / "store" / "audio.npy").write_bytes(b"x" * 10368)
    assert main(["data", "check", str(tmp_path / "store")]) == 2
    assert "audio.npy" in capsys.readouterr().err


def test_a_file_that_is_gone_or_has_another_size_is_named_when_a_store_is_opened(tmp_path):
    for change in (lambda path: path.unlink(), lambda path: path.write_bytes(b"x")):
        for name in ("truth_viseme.npy", "transforms.npy"):
            write_two_clips(tmp_path / "store")
            change(tmp_path / "store" / name)
            with pytest.raises(InputError, match=name):
                Store(tmp_path / "store")


def test_a_store_from_before_sums_were_recorded_opens(tmp_path):
    write_two_clips(tmp_path / "store")
    card = tmp_path / "store" / "store.json"
    record = json.loads(card.read_text())
    record.pop("files")
    card.write_text(json.dumps(record))
    assert len(Store(tmp_path / "store")) == 8
    assert "before sums were recorded" in describe_sums(tmp_path / "store")


def test_damaged_fingerprints_are_made_again(tmp_path):
    write_two_clips(tmp_path / "store")
    store = Store(tmp_path / "store")
    expected = clip_fingerprints(store)
    file = tmp_path / "store" / "fingerprints.json"
    whole = json.loads(file.read_text())
    texts = ["", "[]", "{}", json.dumps(whole | {"seen": ["x", "y"]}), json.dumps({"stamp": 1})]
    for text in texts:
        file.write_text(text)
        assert clip_fingerprints(store) == expected
