"""The mesh tracker: what it measures, what it reads, and how it is mixed with pixels."""

import numpy as np
import pytest
import torch

from cdrl.core.checkpoint import load_card
from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS
from cdrl.corpora.store import Store
from cdrl.editors.default_amounts import UPPER
from cdrl.editors.default_tracking import MESH_SHARES, mesh_shares, mix_movements
from cdrl.media.crop_mesh import mesh_in_crops
from cdrl.priors.mesh_actions import (
    COUNT,
    GAPS,
    HEIGHTS,
    LARGEST,
    MeshTracker,
    load_mesh_tracker,
    measure_mesh,
)
from cdrl.studio import corpus as studio
from cdrl.training.cards import true_actions
from cdrl.training.mesh_tracker import MeshSampler, from_median, measure_store, train_mesh_tracker

JAW = ACTIONS.index("jawOpen")
BLINK = ACTIONS.index("eyeBlinkLeft")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Six clips of two rendered people whom no network has met."""
    path = tmp_path_factory.mktemp("corpora") / "others"
    clips = studio.specs("smoke_report", people=2, sentences=2)[:6]
    studio.generate(clips, path, "others", 96, 96, workers=1, progress=False)
    return Store(path)


@pytest.fixture(scope="module")
def meshes(store):
    return mesh_in_crops(store.face[store.frames(0)])


def test_measures_do_not_change_where_the_head_is_shifted_turned_or_nearer(meshes):
    measures = measure_mesh(meshes)
    assert measures.shape == (len(meshes), COUNT) and measures.dtype == np.float32

    turn = np.array([[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]])
    moved = 170 * meshes @ turn.T + np.array([40.0, -9.0])
    assert np.abs(measure_mesh(moved) - measures).max() < 1e-5


def test_measures_are_what_their_names_say(meshes):
    names = [*GAPS, *HEIGHTS]
    before = measure_mesh(meshes[:1])[0]
    opened = meshes[:1].copy()
    opened[:, 14] += [0, 0.1]  # the inner edge of the lower lip, down
    opened[:, [55, 107]] -= [0, 0.05]  # the left inner brow, up
    difference = measure_mesh(opened)[0] - before

    assert difference[names.index("inner_lips_middle")] == pytest.approx(0.1, abs=0.02)
    assert difference[len(GAPS) + list(HEIGHTS).index("brow_inner_left")] == pytest.approx(
        -0.05, abs=0.01
    )
    assert difference[names.index("lids_left")] == 0


def test_the_committed_tracker_reads_people_whom_it_never_met(store):
    tracker = load_mesh_tracker()
    truth = from_median(store, true_actions(store))
    read = []
    for clip in range(len(store.clips)):
        measures = measure_mesh(mesh_in_crops(store.face[store.frames(clip)]))
        read.append(tracker.predict(measures))
    read = np.concatenate(read)

    assert np.corrcoef(read[:, JAW], truth[:, JAW])[0, 1] > 0.8
    assert np.corrcoef(read[:, BLINK], truth[:, BLINK])[0, 1] > 0.8
    card = load_card("mesh_tracker")
    assert card["command"] == "cdrl train mesh_tracker" and card["scores"]["r2.jawOpen"] > 0.7


def test_a_slipped_mesh_is_bounded_and_time_may_be_finer():
    tracker = MeshTracker().eval()
    slipped = torch.full((1, 9, COUNT), 1000.0)
    bound = torch.full((1, 9, COUNT), LARGEST)
    assert torch.equal(tracker(slipped), tracker(bound))

    slow = torch.sin(torch.arange(60.0) / 9)[None, :, None].expand(1, 60, COUNT)
    twice = torch.nn.functional.interpolate(
        slow.transpose(1, 2), 119, mode="linear", align_corners=True
    ).transpose(1, 2)
    with torch.no_grad():
        assert torch.allclose(tracker(twice, 2.0)[:, ::2], tracker(slow), atol=1e-4)


def test_the_recipe_writes_weights_with_a_card(store, tmp_path):
    card = train_mesh_tracker(store, store, tmp_path, tmp_path / "work", steps=20)
    assert -1 < card["scores"]["r2"] < 1 and "no emotion label" in card["truth"]
    weights = str(tmp_path / "mesh_tracker.safetensors")
    assert load_card(weights)["steps"] == 20
    assert np.isfinite(load_mesh_tracker(weights).predict(np.zeros((5, COUNT)))).all()


def test_what_is_learnt_is_the_change_from_the_median_of_a_clip(store, tmp_path):
    kept = tmp_path / "measures.npy"
    measures = measure_store(store, kept)
    assert np.array_equal(measure_store(store, kept), measures)

    inputs, actions = MeshSampler(store, measures)(np.random.default_rng(0))
    assert inputs.shape == (32, 24, COUNT) and actions.shape == (32, 24, len(ACTIONS))
    changes = from_median(store, measures)
    for clip in range(len(store.clips)):
        assert np.abs(np.median(changes[store.frames(clip)], axis=0)).max() < 1e-6


def test_a_store_without_truth_is_refused(store, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "truth", {})
    with pytest.raises(InputError, match="no true coefficients here"):
        train_mesh_tracker(store, store, tmp_path, tmp_path / "work", steps=1)


def test_movements_are_mixed_by_their_shares():
    random = torch.Generator().manual_seed(0)
    tracked = torch.rand(7, len(ACTIONS), generator=random)
    median = torch.rand(len(ACTIONS), generator=random)
    change = 0.1 * torch.randn(7, len(ACTIONS), generator=random)
    mixed = mix_movements(tracked, median, change)

    shares = mesh_shares()
    expected = median + (1 - shares) * (tracked - median) + shares * change
    assert torch.allclose(mixed, expected.clamp(0, 1), atol=1e-6)
    still = mix_movements(median.expand(7, -1), median, torch.zeros_like(change))
    assert torch.allclose(still, median.expand(7, -1), atol=1e-6)

    for name in ("tongueOut", "eyeLookUpLeft"):  # the mesh does not know them
        assert shares[ACTIONS.index(name)] == 0
    assert shares[ACTIONS.index("mouthSmileLeft")] == MESH_SHARES["mouthSmile"]
    assert shares[UPPER].min() > 0
