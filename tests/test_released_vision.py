"""The release's IResNet-50 as a vision prior."""

import pytest
import torch
from safetensors.torch import save_file

from cdrl.baselines.released.networks import IResNet
from cdrl.core.errors import InputError
from cdrl.priors import iresnet as released_vision
from cdrl.priors.iresnet import ReleasedVision
from cdrl.priors.vision import VisionPrior, vision_prior


@pytest.fixture
def small(monkeypatch):
    """A quarter of the side: the same network on a sixteenth of the pixels."""
    monkeypatch.setattr(released_vision, "INPUT_SIZE", 56)


def pictures(batch=2, size=96):
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_face_and_mouth_come_from_the_third_stage_blue_first_and_pass_gradients_to_the_pixels(
    small,
):
    prior, box = (
        vision_prior("iresnet50/random").train(),
        torch.tensor([[0.25, 0.5, 0.75, 1.0]]).expand(2, -1),
    )
    images = pictures(size=56).requires_grad_()
    face, mouth = prior(images, box)
    (face.sum() + mouth.square().sum()).backward()
    maps = prior.net(images.detach().flip(1) * 2 - 1)
    torch.testing.assert_close(face, maps.mean((2, 3)), atol=1e-4, rtol=1e-4)
    assert (
        face.shape == (2, 256)
        and mouth.shape == (2, 256 * 6)
        and float(images.grad.abs().sum()) > 0
    )
    assert not prior.net.training and not any(p.requires_grad for p in prior.parameters())


def test_the_mouth_is_the_mean_of_six_parts_of_its_box(monkeypatch):
    prior = vision_prior("iresnet50/random")
    grid = torch.arange(28.0).expand(28, 28)
    monkeypatch.setattr(
        prior.net, "forward", lambda images: torch.stack([grid, grid.T])[None]
    )  # columns, then rows, as values
    _, mouth = prior(pictures(1), torch.tensor([[6 / 28, 14 / 28, 18 / 28, 26 / 28]]))
    columns, rows = mouth.view(2, 2, 3)
    torch.testing.assert_close(
        columns[0], torch.tensor([7.5, 11.5, 15.5])
    )  # middles of columns 6 to 10, 10 to 14, 14 to 18
    torch.testing.assert_close(rows[:, 0], torch.tensor([16.5, 22.5]))


def test_weights_are_read_as_released_as_arcface_safetensors_or_out_of_the_whole_checkpoint(
    small, tmp_path, monkeypatch
):
    torch.manual_seed(5)
    state = IResNet((3, 4, 14, 3)).state_dict()  # layer4 is stored and not used
    torch.save(state | {"fc.weight": torch.zeros(2, 2)}, tmp_path / "backbone.pth")
    first = ReleasedVision(str(tmp_path))
    assert (
        torch.equal(first.net.conv1.weight, state["conv1.weight"])
        and first.identity[0] != first.identity[1]
    )
    save_file(
        {name: value.contiguous() for name, value in state.items()},
        tmp_path / "arcface.safetensors",
    )
    whole = {f"img_encoder.{name}": value for name, value in state.items()} | {
        "mask_learning.linear_q.bias": torch.zeros(784)
    }
    torch.save(whole, tmp_path / "NN_DCL.pth")
    for name in ("arcface.safetensors", "NN_DCL.pth"):
        again = ReleasedVision(str(tmp_path / name))
        assert all(
            torch.equal(a, b)
            for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True)
        )
        assert again.identity[0]["sha256"] != first.identity[0]["sha256"]


def test_missing_and_foreign_weights_and_unknown_names_are_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("CDRL_WEIGHTS", raising=False)
    with pytest.raises(
        InputError,
        match="priors.vision=iresnet50: its weights are missing: get backbone.pth of the CDRL release",
    ):
        vision_prior("iresnet50")
    torch.save({"conv1.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "backbone.pth")
    with pytest.raises(InputError, match="backbone.pth: weights of another model"):
        vision_prior("iresnet50", str(tmp_path))
    with pytest.raises(
        InputError, match="unknown vision prior 'resnet': accepted are embedded, iresnet50"
    ):
        vision_prior("resnet")
    assert (
        isinstance(vision_prior(), VisionPrior)
        and vision_prior(("face_backbone", "mouth_backbone")).name[0] == "face_backbone"
    )
