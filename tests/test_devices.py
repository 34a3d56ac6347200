"""No term of an objective is left on the CPU when the training moves: seen without a GPU, on torch's tensors without memory."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from cdrl.core import checkpoint
from cdrl.core.settings import ContentConfig, EmotionConfig
from cdrl.editors import image as generator
from cdrl.models.content import ContentEncoder
from cdrl.models.emotion import EmotionEncoder
from cdrl.priors.language import LanguagePrior
from cdrl.representation.content import ContentObjective
from cdrl.representation.emotion import EmotionObjective
from cdrl.training.loop import on_device

GPU = torch.device("cuda:0")


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    """Tensors know their device and their shape and hold no values; two devices in one operation are refused."""
    for name, answer, read in (("__bool__", True, bool), ("__int__", 12, int)):
        monkeypatch.setattr(
            torch.Tensor,
            name,
            lambda self, answer=answer, read=read: (
                answer if isinstance(self, FakeTensor) else read(self.item())
            ),
        )
    monkeypatch.setattr(
        checkpoint, "read_state", lambda path: {}
    )  # values are not needed, and no file has fake ones
    monkeypatch.setattr(
        checkpoint, "fill", lambda model, state, path, **options: model.eval().requires_grad_(False)
    )
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def terms(build, batch):
    """The devices of an objective's terms whose parts were made there."""
    with GPU:
        objective = build()
    return {str(value.device) for value in objective(on_device(batch, GPU)).values()}


def content_batch():
    shape = (2, 4, 8, 9)  # two clips, pairs, moments, frames
    batch = {
        name: torch.randn(*shape, width)
        for name, width in (("face", 256), ("mouth", 128), ("audio", 64))
    }
    batch |= {
        "valid": torch.ones(2, 4, 8, 16, dtype=torch.bool),
        "positive": torch.arange(8).expand(2, 4, 8),
        "answer": torch.zeros(4, 8).long(),
    }
    return batch | {name: torch.zeros(2, 4).long() for name in ("emotion", "speaker")}


def test_ccrl_moves_as_a_whole():
    assert terms(
        lambda: ContentObjective(ContentEncoder(), ContentConfig(), 3, torch.randn(10, 64)),
        content_batch(),
    ) == {"cuda:0"}


def test_cerl_moves_with_its_frozen_prior():
    def build():
        prior = LanguagePrior("embedded")
        encoder = EmotionEncoder(embedding=prior.embedding, token_width=prior.token_width)
        return EmotionObjective(encoder, prior, EmotionConfig(), prior.embedding, 3)

    batch = {"features": torch.randn(2, 6, 5, 384), "level": torch.rand(2, 6)}
    assert terms(
        build, batch | {name: torch.zeros(2, 6).long() for name in ("emotion", "speaker")}
    ) == {"cuda:0"}


def test_the_generator_moves_with_its_discriminator_and_backbones(monkeypatch):
    build = lambda: generator.GeneratorObjective(
        *generator.starting_nets(None), generator.VARIANTS["baseline"]
    )  # noqa: E731
    batch = {
        "frames": torch.rand(2, 5, 3, 64, 64),
        "boxes": torch.tensor([[0.2, 0.5, 0.8, 0.9]] * 2),
    }
    batch |= {name: torch.zeros(2).long() for name in ("emotion", "target")}
    batch |= {name: torch.ones(2) for name in ("intensity", "target_intensity")}
    assert terms(build, batch) == {"cuda:0"}


def test_a_part_that_stays_is_told():
    units = torch.randn(10, 64)
    with pytest.raises(RuntimeError, match="same device"):
        terms(
            lambda: ContentObjective(ContentEncoder(), ContentConfig(), 3, units), content_batch()
        )
