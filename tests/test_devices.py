"""No term of an objective is left on the CPU when the training moves to a GPU.

This is seen without a GPU, on torch's fake tensors, which know a device and hold no values.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from cdrl.core import checkpoint
from cdrl.core.settings import ContentConfig, EmotionConfig
from cdrl.editors.image import ImageObjective, starting_networks
from cdrl.editors.variants import IMAGE_VARIANTS
from cdrl.models.content import ContentEncoder
from cdrl.models.emotion import EmotionEncoder
from cdrl.priors.language import LanguagePrior
from cdrl.representation.ccrl import ContentObjective
from cdrl.representation.cerl import EmotionObjective
from cdrl.training.loop import to_device

GPU = torch.device("cuda:0")


def read_fake_as_true(self):
    return True if isinstance(self, FakeTensor) else bool(self.item())


def read_fake_as_twelve(self):
    return 12 if isinstance(self, FakeTensor) else int(self.item())


def fill_nothing(model, state, path, **options):
    return model.eval().requires_grad_(False)


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    """Fake tensors, of which two devices in one operation are refused."""
    monkeypatch.setattr(torch.Tensor, "__bool__", read_fake_as_true)
    monkeypatch.setattr(torch.Tensor, "__int__", read_fake_as_twelve)
    # Values are not needed, and no file has fake ones.
    monkeypatch.setattr(checkpoint, "read_state", lambda path: {})
    monkeypatch.setattr(checkpoint, "fill", fill_nothing)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def devices_of_terms(build, batch):
    """The devices of the terms of an objective whose parts are made on the GPU."""
    with GPU:
        objective = build()
    terms = objective(to_device(batch, GPU))
    return {str(value.device) for value in terms.values()}


def content_batch():
    """Two clips a pair, 4 pairs, 8 moments, 9 frames."""
    shape = (2, 4, 8, 9)
    return {
        "face": torch.randn(*shape, 256),
        "mouth": torch.randn(*shape, 128),
        "audio": torch.randn(*shape, 64),
        "valid": torch.ones(2, 4, 8, 16, dtype=torch.bool),
        "positive": torch.arange(8).expand(2, 4, 8),
        "image_positive": torch.zeros(4, 8).long(),
        "emotion": torch.zeros(2, 4).long(),
        "speaker": torch.zeros(2, 4).long(),
    }


def emotion_batch():
    """Two clips a pair, 6 pairs, 5 frames."""
    return {
        "features": torch.randn(2, 6, 5, 384),
        "level": torch.rand(2, 6),
        "emotion": torch.zeros(2, 6).long(),
        "speaker": torch.zeros(2, 6).long(),
    }


def image_batch():
    """Two windows of five frames."""
    return {
        "frames": torch.rand(2, 5, 3, 64, 64),
        "boxes": torch.tensor([[0.2, 0.5, 0.8, 0.9]] * 2),
        "emotion": torch.zeros(2).long(),
        "target": torch.zeros(2).long(),
        "intensity": torch.ones(2),
        "target_intensity": torch.ones(2),
    }


def content_objective(units):
    return ContentObjective(ContentEncoder(), ContentConfig(), 3, units)


def test_ccrl_moves_as_a_whole():
    def build():
        return content_objective(torch.randn(10, 64))

    assert devices_of_terms(build, content_batch()) == {"cuda:0"}


def test_cerl_moves_with_its_frozen_prior():
    def build():
        prior = LanguagePrior("embedded")
        encoder = EmotionEncoder(embedding=prior.embedding, token_width=prior.token_width)
        return EmotionObjective(encoder, prior, EmotionConfig(), 3)

    assert devices_of_terms(build, emotion_batch()) == {"cuda:0"}


def test_the_image_editor_moves_with_its_discriminator_and_backbones():
    def build():
        editor, discriminator = starting_networks(None)
        return ImageObjective(editor, discriminator, IMAGE_VARIANTS["baseline"])

    assert devices_of_terms(build, image_batch()) == {"cuda:0"}


def test_a_part_that_stays_behind_is_noticed():
    units_on_the_cpu = torch.randn(10, 64)

    def build():
        return content_objective(units_on_the_cpu)

    with pytest.raises(RuntimeError, match="same device"):
        devices_of_terms(build, content_batch())
