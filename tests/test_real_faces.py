"""Networks trained on real faces: their values on fixed crops are those of other programs."""

import numpy as np
import pytest
import torch
from PIL import Image

from cdrl.core.checkpoint import load_card, load_weights
from cdrl.core.paths import data_root
from cdrl.models.real_faces import DenseFaceNet, FaceRes, MiniXception, same_padding

FOLDER = data_root() / "weights" / "real"
GREY = torch.tensor([0.2989, 0.587, 0.114]).view(1, 3, 1, 1)
# Of a numpy program that runs the packages' own files node by node.
EXPRESSION = [0.1403, 0.0019, 0.8437, 0.0009, 0.0022, 0.0011, 0.0099]
EXPRESSION_FER = [0.0659, 0.0001, 0.0110, 0.0115, 0.9108, 0.0003, 0.0005]
IDENTITY_COSINES = [0.94217, 0.93157]


def crops():
    """Three smooth random pictures (3, 160, 160, 3) uint8."""
    random = np.random.default_rng(0)
    pictures = []
    for _ in range(3):
        noise = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        pictures.append(np.asarray(Image.fromarray(noise).resize((160, 160), Image.BICUBIC)))
    return np.stack(pictures)


def resized(size):
    pictures = [Image.fromarray(crop).resize((size, size), Image.BILINEAR) for crop in crops()]
    return torch.from_numpy(np.stack(pictures).astype(np.float32)).permute(0, 3, 1, 2)


def test_expressions_are_those_of_the_package():
    network = load_weights(str(FOLDER / "expression.safetensors"), DenseFaceNet(7))
    probabilities = network(resized(112)).softmax(1)[0]
    assert probabilities.tolist() == pytest.approx(EXPRESSION, abs=1e-4)


def test_expressions_of_the_second_network_are_those_of_its_package():
    network = load_weights(str(FOLDER / "expression_fer.safetensors"), MiniXception())
    grey = (resized(64) * GREY).sum(1, keepdim=True) / 127.5 - 1
    probabilities = network(grey).softmax(1)[0]
    assert probabilities.tolist() == pytest.approx(EXPRESSION_FER, abs=1e-4)


def test_identities_are_unit_vectors_and_those_of_the_package():
    network = load_weights(str(FOLDER / "identity.safetensors"), FaceRes())
    vectors = network(resized(224))
    assert vectors.shape == (3, 1024)
    assert vectors.norm(dim=1).tolist() == pytest.approx([1.0] * 3, abs=1e-5)
    cosines = vectors[1:] @ vectors[0]
    assert cosines.tolist() == pytest.approx(IDENTITY_COSINES, abs=1e-4)


def test_every_card_names_source_licence_and_use():
    for name in ("expression", "expression_fer", "identity", "landmarks"):
        card = load_card(str(FOLDER / f"{name}.safetensors"))
        assert card["licence"] == "MIT"
        assert "npm @vladmandic/" in card["source"]
        assert "not for training" in card["use"]
        assert card["trained_on"]


def test_padding_is_larger_behind():
    padded = same_padding(torch.ones(1, 1, 4, 4), kernel=3, stride=2)
    assert padded.shape == (1, 1, 5, 5)
    assert padded[0, 0, :, 0].tolist() == [1, 1, 1, 1, 0]
    assert same_padding(torch.ones(1, 1, 5, 5), kernel=3, stride=2).shape == (1, 1, 7, 7)
