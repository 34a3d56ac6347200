"""The networks behind the committed weights: every recipe runs, and the judges stand apart."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn import linear_model
from torch import nn

from cdrl.core.checkpoint import load_card, load_weights
from cdrl.corpora import batches
from cdrl.corpora.store import Store
from cdrl.evaluation import judge_training
from cdrl.evaluation.judges import NETWORKS, FrameNet, Judges
from cdrl.studio import corpus as studio
from cdrl.training import backbones

RECIPES = {
    "face_backbone": partial(backbones.train_backbone, "face"),
    "mouth_backbone": partial(backbones.train_backbone, "mouth"),
    "judge_a": partial(judge_training.train_judge, "judge_a"),
    "judge_b": partial(judge_training.train_judge, "judge_b"),
    "tracker": judge_training.train_tracker,
    "identity": judge_training.train_identity,
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    train = studio.specs("smoke_train", people=4, clips=4)
    reported = studio.specs("smoke_report", people=2, sentences=2)
    held_out = [spec for spec in reported if spec.emotion != "fear"]
    for name, clips in (("train", train), ("held_out", held_out)):
        studio.generate(clips, folder / name, name, 96, 96, workers=1, progress=False)
    return Store(folder / "train"), Store(folder / "held_out")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_writes_weights_with_a_card_that_loads(name, stores, tmp_path):
    card = RECIPES[name](*stores, tmp_path / "out", tmp_path / "work", steps=2)
    written = load_card(str(tmp_path / "out" / f"{name}.safetensors"))
    assert written["command"] == f"cdrl train {name}"
    assert written["held_out"]
    assert written["truth"]
    assert written["scores"] == card["scores"]
    assert all(np.isfinite(value) for value in card["scores"].values())
    assert written["steps"] == 2


def test_judges_and_tracker_have_three_architectures_and_every_network_its_seed():
    architectures = {NETWORKS[name][0] for name in ("judge_a", "judge_b", "tracker")}
    seeds = {seed for _, seed in NETWORKS.values()}
    assert len(architectures) == 3
    assert len(seeds) == len(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_committed_cards_say_what_the_code_makes(name):
    architecture, seed = NETWORKS[name]
    card = load_card(name)
    assert card["model"]["architecture"] == architecture
    assert card["seed"] == seed
    assert "judge split" in card["truth"]


def test_a_judge_is_the_linear_readout_of_its_action_network(stores, tmp_path, monkeypatch):
    """Class scores of the one folded layer equal those of the regression on the actions."""
    readouts = []

    class RecordedRegression(linear_model.LogisticRegression):
        def fit(self, actions, labels):
            super().fit(actions, labels)
            readouts.append((self, actions))
            return self

    monkeypatch.setattr(linear_model, "LogisticRegression", RecordedRegression)
    judge_training.train_judge("judge_a", *stores, tmp_path / "out", tmp_path / "work", steps=2)
    readout, actions = readouts[0]
    path = str(tmp_path / "out" / "judge_a.safetensors")
    judge = load_weights(path, FrameNet("shufflenet_v2_x0_5", 7))
    rows = np.arange(0, stores[0].clips.num_frames[0], judge_training.READOUT_STRIDE)
    with torch.no_grad():
        probabilities = judge(batches.load_images(stores[0], rows)).softmax(1).numpy()
    expected = readout.predict_proba(actions[: len(rows)])
    assert np.abs(probabilities - expected).max() < 0.05  # stored in half precision


def test_the_judges_answer_for_one_clip_as_documented():
    frames = torch.rand(3, 3, 96, 96)
    judges = Judges()
    for name in ("judge_a", "judge_b"):
        probabilities = judges.emotion(name, frames)
        assert probabilities.shape == (7,)
        assert probabilities.sum() == pytest.approx(1, abs=1e-5)

    actions, landmarks = judges.track(frames)
    assert actions.shape[0] == 3
    assert actions.min() >= 0
    assert actions.max() <= 1
    assert landmarks.shape[::2] == (3, 2)

    lengths = np.linalg.norm(judges.identity(frames), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_the_last_layer_of_every_body_gives_the_outputs():
    for architecture, _ in NETWORKS.values():
        last = FrameNet(architecture, 11).last()
        assert isinstance(last, nn.Linear)
        assert last.out_features == 11
