"""The release's IResNet-50 as a vision prior."""

import pytest
import torch
from safetensors.torch import save_file

from cdrl.core.errors import InputError
from cdrl.priors import iresnet
from cdrl.priors.iresnet import IResNet, ReleasedVision
from cdrl.priors.vision import VisionPrior, vision_prior


@pytest.fixture
def small_input(monkeypatch):
    """A quarter of the side: the same network on a sixteenth of the pixels."""
    monkeypatch.setattr(iresnet, "INPUT_SIZE", 56)


def random_images(batch=2, size=96):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, 3, size, size, generator=generator)


def test_features_come_from_the_third_stage_of_bgr_and_pass_gradients_to_the_pixels(small_input):
    prior = vision_prior("iresnet50/random").train()
    boxes = torch.tensor([[0.25, 0.5, 0.75, 1.0]]).expand(2, -1)
    images = random_images(size=56).requires_grad_()
    face, mouth = prior(images, boxes)
    (face.sum() + mouth.square().sum()).backward()

    bgr = images.detach().flip(1)
    maps = prior.net(bgr * 2 - 1)
    torch.testing.assert_close(face, maps.mean((2, 3)), atol=1e-4, rtol=1e-4)
    assert face.shape == (2, 256)
    assert mouth.shape == (2, 256 * 6)
    assert float(images.grad.abs().sum()) > 0
    assert not prior.net.training
    assert not any(parameter.requires_grad for parameter in prior.parameters())


def test_the_mouth_is_the_mean_of_six_parts_of_its_box(monkeypatch):
    prior = vision_prior("iresnet50/random")
    columns = torch.arange(28.0).expand(28, 28)
    maps = torch.stack([columns, columns.T])[None]
    monkeypatch.setattr(prior.net, "forward", lambda images: maps)
    box = torch.tensor([[6 / 28, 14 / 28, 18 / 28, 26 / 28]])
    _, mouth = prior(random_images(1), box)
    column_means, row_means = mouth.view(2, 2, 3)
    # The middles of columns 6 to 10, 10 to 14 and 14 to 18, and of rows 14 to 20 and 20 to 26.
    torch.testing.assert_close(column_means[0], torch.tensor([7.5, 11.5, 15.5]))
    torch.testing.assert_close(row_means[:, 0], torch.tensor([16.5, 22.5]))


def test_weights_are_read_as_released_as_arcface_safetensors_or_from_the_whole_checkpoint(
    small_input, tmp_path
):
    torch.manual_seed(5)
    state = IResNet((3, 4, 14, 3)).state_dict()  # layer4 is stored and not used
    torch.save(state | {"fc.weight": torch.zeros(2, 2)}, tmp_path / "backbone.pth")
    released = ReleasedVision(str(tmp_path))
    assert torch.equal(released.net.conv1.weight, state["conv1.weight"])
    assert released.identity[0] != released.identity[1]

    contiguous = {name: value.contiguous() for name, value in state.items()}
    save_file(contiguous, tmp_path / "arcface.safetensors")
    whole = {f"img_encoder.{name}": value for name, value in state.items()}
    whole["mask_learning.linear_q.bias"] = torch.zeros(784)
    torch.save(whole, tmp_path / "NN_DCL.pth")
    for name in ("arcface.safetensors", "NN_DCL.pth"):
        other = ReleasedVision(str(tmp_path / name))
        for key, value in released.state_dict().items():
            assert torch.equal(other.state_dict()[key], value)
        assert other.identity[0]["sha256"] != released.identity[0]["sha256"]


def test_missing_and_foreign_weights_and_unknown_names_are_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("CDRL_WEIGHTS", raising=False)
    with pytest.raises(InputError, match=r"iresnet50: its weights are missing: get backbone.pth"):
        vision_prior("iresnet50")
    torch.save({"conv1.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "backbone.pth")
    with pytest.raises(InputError, match=r"backbone.pth: weights of another model"):
        vision_prior("iresnet50", str(tmp_path))
    with pytest.raises(InputError, match="'resnet': accepted are embedded, iresnet50"):
        vision_prior("resnet")


def test_the_embedded_prior_is_built_by_its_name_or_by_names_of_weights():
    assert isinstance(vision_prior(), VisionPrior)
    assert vision_prior(("face_backbone", "mouth_backbone")).name[0] == "face_backbone"
