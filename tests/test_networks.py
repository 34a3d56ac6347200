"""The networks behind the committed weights: every recipe runs from a corpus to a card, and the judges stand apart."""

import numpy as np
import pytest
import torch
from torch import nn

from cdrl.core.checkpoint import load_card
from cdrl.corpora.store import Store
from cdrl.evaluation import judges as networks
from cdrl.evaluation.judges import NETWORKS, FrameNet, Judges
from cdrl.studio import corpus as studio
from cdrl.training import backbones as priors


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    train = studio.specs("smoke_train", people=4, clips=4)
    held_out = [
        spec
        for spec in studio.specs("smoke_report", people=2, sentences=2)
        if spec.emotion != "fear"
    ]
    for name, clips in (("train", train), ("held_out", held_out)):
        studio.generate(clips, folder / name, name, 96, 96, workers=1, progress=False)
    return Store(folder / "train"), Store(folder / "held_out")


RECIPES = {
    "face_backbone": lambda *a: priors.train_backbone("face", *a, steps=2),
    "mouth_backbone": lambda *a: priors.train_backbone("mouth", *a, steps=2),
    "judge_a": lambda *a: networks.train_judge("judge_a", *a, steps=2),
    "judge_b": lambda *a: networks.train_judge("judge_b", *a, steps=2),
    "tracker": lambda *a: networks.train_tracker(*a, steps=2),
    "identity": lambda *a: networks.train_identity(*a, steps=2),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_writes_weights_with_a_card_that_loads(name, stores, tmp_path):
    card = RECIPES[name](*stores, tmp_path / "out", tmp_path / "work")
    written = load_card(str(tmp_path / "out" / f"{name}.safetensors"))
    assert written["command"] == f"cdrl train {name}" and written["held_out"] and written["truth"]
    assert written["scores"] == card["scores"] and all(
        np.isfinite(v) for v in card["scores"].values()
    )
    assert written["steps"] == 2


def test_judges_and_tracker_have_three_architectures_and_every_network_its_seed():
    bodies, seeds = zip(
        *(NETWORKS[name] for name in ("judge_a", "judge_b", "tracker")), strict=True
    )
    assert len(set(bodies)) == 3 and len({seed for _, seed in NETWORKS.values()}) == len(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_committed_cards_say_what_the_code_makes(name):
    card = load_card(name)
    assert card["model"]["architecture"] == NETWORKS[name][0] and card["seed"] == NETWORKS[name][1]
    assert "judge split" in card["truth"]


def test_a_judge_is_the_linear_readout_of_its_reader(stores, tmp_path, monkeypatch):
    """The two linear layers are folded into one: class scores equal those of the regression on the actions."""
    reader, _, _ = networks.train_reader("judge_a", stores[0], tmp_path / "reader", 2)
    kept = []

    class Kept(networks.LogisticRegression):
        def fit(self, x, y):
            kept.append((super().fit(x, y), x))
            return kept[-1][0]

    monkeypatch.setattr(networks, "LogisticRegression", Kept)
    networks.train_judge("judge_a", *stores, tmp_path / "out", tmp_path / "work", steps=2)
    readout, seen = kept[0]
    judge = networks.load_weights(
        str(tmp_path / "out" / "judge_a.safetensors"), FrameNet("shufflenet_v2_x0_5", 7)
    )
    rows = np.arange(0, stores[0].clips.num_frames[0], 9)
    with torch.no_grad():
        found = judge(networks.batches.load_images(stores[0], rows)).softmax(1).numpy()
    assert (
        np.abs(found - readout.predict_proba(seen[: len(rows)])).max() < 0.05
    )  # stored in half precision


def test_the_judges_answer_for_one_clip_as_documented():
    frames = torch.rand(3, 3, 96, 96)
    judges = Judges()
    for name in ("judge_a", "judge_b"):
        probabilities = judges.emotion(name, frames)
        assert probabilities.shape == (7,) and probabilities.sum() == pytest.approx(1, abs=1e-5)
    actions, landmarks = judges.track(frames)
    assert (
        actions.shape[0] == 3
        and actions.min() >= 0
        and actions.max() <= 1
        and landmarks.shape[::2] == (3, 2)
    )
    np.testing.assert_allclose(np.linalg.norm(judges.identity(frames), axis=1), 1, atol=1e-5)


def test_the_last_layer_of_every_body_gives_the_outputs():
    for architecture, _ in NETWORKS.values():
        last = FrameNet(architecture, 11).last()
        assert isinstance(last, nn.Linear) and last.out_features == 11
