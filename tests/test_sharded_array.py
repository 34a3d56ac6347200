"""Rows in several files are read as numpy reads one array."""

import pickle

import numpy as np
import pytest

from cdrl.core.errors import InputError
from cdrl.corpora import sharded_array
from cdrl.corpora.sharded_array import ShardedArray

LENGTHS = [3, 1, 0, 6, 2]


@pytest.fixture(params=[(), (4,), (4, 5)], ids=["numbers", "vectors", "pictures"])
def pair(request, tmp_path):
    """The same rows as numpy's array and in files of 3, 1, 0, 6 and 2 rows."""
    shape = (sum(LENGTHS), *request.param)
    whole = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    return whole, write_shards(tmp_path, whole)


def write_shards(folder, whole):
    files = []
    ends = np.cumsum(LENGTHS)
    for number, part in enumerate(np.split(whole, ends[:-1])):
        files.append(folder / f"rows.{number:03d}.npy")
        np.save(files[-1], part)
    return ShardedArray(files, LENGTHS)


def test_shape_type_and_all_rows(pair):
    whole, sharded = pair
    assert sharded.shape == whole.shape
    assert sharded.dtype == whole.dtype
    assert len(sharded) == len(whole)
    assert np.array_equal(np.asarray(sharded), whole)
    assert np.asarray(sharded, np.float32).dtype == np.float32
    assert np.array_equal(np.stack(list(sharded)), whole)
    assert np.array_equal(sharded[...], whole)


BOUNDS = [None, -30, -12, -4, -1, 0, 2, 3, 4, 5, 9, 10, 12, 40]


def test_every_slice(pair):
    whole, sharded = pair
    for start in BOUNDS:
        for stop in BOUNDS:
            for step in (None, 1, 2, 5, -1, -3):
                key = slice(start, stop, step)
                assert np.array_equal(sharded[key], whole[key]), key
                assert sharded[key].shape == whole[key].shape, key


def test_every_row_and_its_type(pair):
    whole, sharded = pair
    for row in range(-len(whole), len(whole)):
        assert np.array_equal(sharded[row], whole[row])
        assert np.array_equal(sharded[np.int64(row)], whole[row])
        assert np.shape(sharded[row]) == np.shape(whole[row])


def test_rows_in_any_order_and_shape(pair):
    whole, sharded = pair
    random = np.random.default_rng(0)
    for shape in [(0,), (1,), (7,), (40,), (3, 5), (2, 3, 4)]:
        rows = random.integers(-len(whole), len(whole), shape)
        assert np.array_equal(sharded[rows], whole[rows])
        assert sharded[rows].shape == whole[rows].shape
    assert np.array_equal(sharded[[5, 0, 11]], whole[[5, 0, 11]])
    assert sharded[[]].shape == whole[[]].shape
    mask = random.random(len(whole)) < 0.5
    assert np.array_equal(sharded[mask], whole[mask])


def test_other_axes(tmp_path):
    whole = np.arange(12 * 20).reshape(12, 4, 5)
    sharded = write_shards(tmp_path, whole)
    rows = np.array([11, 2, 3])
    assert np.array_equal(sharded[:, 1], whole[:, 1])
    assert np.array_equal(sharded[2:9, 1:3, ::2], whole[2:9, 1:3, ::2])
    assert np.array_equal(sharded[7, 2], whole[7, 2])
    assert np.array_equal(sharded[rows, :, 4], whole[rows, :, 4])
    assert np.array_equal(sharded[rows.reshape(3, 1), 1], whole[rows.reshape(3, 1), 1])


def test_what_it_cannot_do_is_refused(pair):
    whole, sharded = pair
    wrong_keys = [12, -13, [0, 12], 1.5, "a", None, np.ones(3, bool), (slice(None), [0, 1])]
    for key in wrong_keys:
        with pytest.raises(IndexError):
            sharded[key]
    with pytest.raises(ValueError, match="without a copy"):
        sharded.__array__(copy=False)
    with pytest.raises(ValueError, match="0 files"):
        ShardedArray([], [])
    with pytest.raises(ValueError, match="5 files, 1 lengths"):
        ShardedArray(sharded.files, [12])
    assert len(whole) == 12


def test_a_slice_in_one_file_is_a_view(pair):
    _, sharded = pair
    assert isinstance(sharded[4:10], np.memmap)
    assert not isinstance(sharded[3:10], np.memmap)


def test_few_files_stay_open(pair, monkeypatch):
    whole, sharded = pair
    monkeypatch.setattr(sharded_array, "OPEN_SHARDS", 2)
    for row in [0, 3, 4, 10, 11, 0, 5]:
        assert np.array_equal(sharded[row], whole[row])
        assert len(sharded._mapped) <= 2


def test_a_copy_for_another_process_holds_no_rows(pair):
    whole, sharded = pair
    copy = pickle.loads(pickle.dumps(sharded))
    assert np.array_equal(copy[:], whole)
    assert len(pickle.dumps(sharded)) < 2000


def test_a_file_that_is_gone_is_named(pair):
    _, sharded = pair
    sharded.files[3].unlink()
    with pytest.raises(InputError, match=r"rows\.003\.npy cannot be read"):
        sharded[5]
