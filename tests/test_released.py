"""CCRL and CERL as released: the golden case, the mapping of names, and their shortcomings."""

from copy import deepcopy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cdrl.baselines.released.emotion import (
    LabelHeads,
    ReleasedEmotion,
    load_released_emotion,
    release_emotion_name,
)
from cdrl.baselines.released.losses import released_content, released_emotion
from cdrl.baselines.released.networks import ReleasedContent, load_released, release_name
from cdrl.baselines.released.training import small_released
from cdrl.core.errors import InputError
from cdrl.priors.iresnet import IResNet

# Values that the release's own code gives for weights and inputs of these seeds.
CONTENT_LOSS = 0.6269357204437256
POSITIVE_COSINE = 0.5601748824119568
NEGATIVE_COSINE = 0.18711061775684357
EMOTION_LOSS = 0.9999068975448608
# By index.
FEATURES = {
    (0, 0, 0, 0): 17.459148406982422,
    (1, 17, 5, 20): -19.04620361328125,
    (1, 255, 27, 27): 5.238964080810547,
}
CONTENT = {
    (0, 0, 0, 0): 0.6175810098648071,
    (1, 17, 5, 20): 28.07496452331543,
    (1, 255, 27, 27): -7.90470552444458,
}


def name_in_release(name):
    """The release's name of one of our parameters."""
    part, _, rest = name.partition(".")
    if part == "image":
        return f"img_encoder.{rest}"
    if part == "key":
        number, _, rest = rest.partition(".")
        return f"mask_learning.image_feature_mapping.residual_block{int(number) + 1}.{rest}"
    if name.startswith("audio.convolutions"):
        _, _, number, kind = name.split(".")
        return f"mask_learning.audio_feature_mapping.conv{int(number) + 1}.{kind}"
    if part == "audio":
        _, _, kind = name.split(".")
        return f"mask_learning.audio_feature_mapping.fc.{kind}"
    return f"mask_learning.linear_{part[0]}.{rest}"


def released_state():
    """Names and shapes of a checkpoint of the release, with the parts that it stores unused."""
    state = {}
    for name, value in ReleasedContent().state_dict().items():
        state[name_in_release(name)] = value
    for name, value in IResNet((3, 4, 14, 3)).state_dict().items():
        if name.startswith("layer4"):
            state[f"img_encoder.{name}"] = value

    norms = torch.nn.ModuleDict()
    norms["bn2"] = torch.nn.BatchNorm2d(512)
    norms["features"] = torch.nn.BatchNorm1d(512)
    for name, value in norms.state_dict().items():
        state[f"img_encoder.{name}"] = value
    state["img_encoder.fc.weight"] = torch.zeros(512, 25088)
    state["img_encoder.fc.bias"] = torch.zeros(512)
    return state


def golden_value(name, shape, seed, has_norm):
    """One tensor of the golden case: normals from RandomState, scaled by kind."""
    noise = np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
    kind = name.rpartition(".")[2]
    if has_norm and kind == "weight":
        value = 1 + 0.1 * noise
    elif has_norm and kind in ("bias", "running_mean"):
        value = 0.1 * noise
    elif kind == "running_var":
        value = 1 + 0.1 * np.abs(noise)
    elif "prelu" in name:
        value = np.full(shape, 0.25, np.float32)
    elif len(shape) == 1:
        value = 0.01 * noise
    else:
        value = noise / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(value, np.float32))


def golden_state(first_seed=100):
    """The weights of the golden case; tensor number i of floats has seed first_seed + i."""
    state = released_state()
    floats = sorted(name for name, value in state.items() if value.is_floating_point())
    golden = {}
    for number, name in enumerate(floats):
        module = name.rpartition(".")[0]
        has_norm = f"{module}.running_mean" in state
        shape = tuple(state[name].shape)
        golden[name] = golden_value(name, shape, first_seed + number, has_norm)
    return state | golden


def golden_input(seed, *shape):
    noise = np.random.RandomState(seed).standard_normal(shape)
    return torch.from_numpy(noise.astype(np.float32))


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    path = tmp_path_factory.mktemp("release") / "NN_DCL.pth"
    torch.save(golden_state(), path)
    return load_released(path)


@torch.no_grad()
def test_the_golden_case_of_the_release(released):
    x, y, z = (golden_input(10101 + number, 2, 3, 224, 224) for number in range(3))
    audio, other_audio = (golden_input(10104 + number, 2, 1, 512) for number in range(2))
    of_image = []
    hook = released.image.register_forward_hook(lambda *call: of_image.append(call[-1]))
    anchor = released(x, audio)
    hook.remove()
    [features] = of_image
    for index, value in FEATURES.items():
        assert features[index].item() == pytest.approx(value, rel=1e-3)
    for index, value in CONTENT.items():
        assert anchor[index].item() == pytest.approx(value, rel=1e-3)

    positive = released(y, audio)
    negative = released(z, other_audio)
    loss, positive_cosine, negative_cosine = released_content(anchor, positive, negative)
    assert positive_cosine.mean().item() == pytest.approx(POSITIVE_COSINE, rel=1e-3)
    assert negative_cosine.mean().item() == pytest.approx(NEGATIVE_COSINE, rel=1e-3)
    assert loss.mean().item() == pytest.approx(CONTENT_LOSS, rel=1e-3)


def test_the_golden_case_of_the_emotion_loss():
    text = F.normalize(golden_input(20101, 1, 7, 512), dim=-1).repeat(3, 1, 1)
    noise = F.normalize(golden_input(20102, 3, 7, 512), dim=-1)
    image = F.normalize(noise + 0.1 * text, dim=-1)
    loss = released_emotion(image, text, 0.07)
    assert loss.mean().item() == pytest.approx(EMOTION_LOSS, rel=1e-3)


@torch.no_grad()
def test_released_attention_has_rank_one(released):
    features = golden_input(1, 1, 256, 28, 28)
    logits = released.logits(features, golden_input(2, 1, 1, 512))
    singular_values = torch.linalg.svdvals(logits[0])
    assert singular_values[1] / singular_values[0] < 1e-4


def test_no_gradient_reaches_a_pair_whose_cosine_is_negative():
    anchor = torch.tensor([[1.0, 0.0]])
    positive = torch.tensor([[-1.0, 0.1]], requires_grad=True)
    negative = torch.tensor([[0.0, 1.0]])
    loss, positive_cosine, _ = released_content(anchor, positive, negative)
    loss.sum().backward()
    assert positive_cosine.item() == 0
    assert positive.grad.abs().sum() == 0


def test_a_checkpoint_has_every_name_once(released):
    names = [release_name(name) for name in released_state()]
    assert len(names) == 558 + 1
    assert len(set(names)) == len(names)

    parameters = 0
    for part in ("key", "audio", "query", "keys", "value"):
        module = getattr(released, part)
        parameters += sum(parameter.numel() for parameter in module.parameters())
    assert parameters == 13_753_217


def test_the_backbone_alone_loads_too(tmp_path):
    state = {}
    for name, value in released_state().items():
        if name.startswith("img_encoder"):
            state[name.removeprefix("img_encoder.")] = value
    torch.save(state, tmp_path / "backbone.pth")
    model = load_released(tmp_path / "backbone.pth")
    torch.testing.assert_close(model.image.conv1.weight, state["conv1.weight"])


def test_other_files_are_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"NN_DCL.pth: no such file"):
        load_released(tmp_path / "NN_DCL.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(InputError, match=r"text.pth: .*a .pth of tensors alone is needed") as error:
        load_released(tmp_path / "text.pth")
    assert "\n" not in str(error.value)
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "nested.pth")
    with pytest.raises(InputError, match=r"nested.pth: .* differ from the released network"):
        load_released(tmp_path / "nested.pth")
    torch.save({"mask_learning.linear_q.weight": torch.zeros(2, 2)}, tmp_path / "small.pth")
    with pytest.raises(InputError, match=r"small.pth: .* differ from the released network"):
        load_released(tmp_path / "small.pth")


@torch.no_grad()
def test_the_small_network_is_the_large_one_on_another_image_encoder():
    small = small_released(64)
    large = ReleasedContent()
    assert set(dict(small.named_children())) == set(dict(large.named_children()))
    assert not any(parameter.requires_grad for parameter in small.image.parameters())

    images = torch.zeros(2, 3, 64, 64)
    audio = torch.randn(2, 1, 64)
    assert small(images, audio).shape == (2, 96, 8, 8)
    logits = small.logits(small.features(images), audio)
    singular_values = torch.linalg.svdvals(logits[0])
    assert singular_values[1] / singular_values[0] < 1e-4


def loss_on_noise(shared):
    """The loss of heads that are trained on images without information."""
    text = F.normalize(torch.randn(7, 16), dim=-1)
    heads = LabelHeads(8, 16, 1 if shared else 7, hidden=32)
    optimiser = torch.optim.Adam(heads.parameters(), 1e-2)
    for _ in range(90):
        noise = torch.randn(16, 7, 8)
        if shared:
            noise = noise.flatten(0, 1)[:, None]
        image = heads(noise).view(16, 7, 16)
        loss = released_emotion(image, text.expand(16, -1, -1)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return loss.item()


def test_heads_of_a_label_need_no_image_and_a_shared_head_does():
    torch.manual_seed(0)
    assert loss_on_noise(shared=False) < 0.01
    assert loss_on_noise(shared=True) == pytest.approx(np.log(7), abs=0.1)


def emotion_name_in_release(name):
    """The release's name of one of our parameters of CERL."""
    part, _, rest = name.partition(".")
    if part == "heads":
        return f"mlps.{rest[:1]}.mlp{rest[1:]}"
    if part == "clip":
        name = f"text_encoder.{rest}"
        return name.replace("text_encoder.visual.", "image_encoder.")
    names = {
        "context": "prompt_learner.ctx",
        "start": "prompt_learner.token_prefix",
        "description": "prompt_learner.token_suffix",
    }
    return names[part]


@pytest.fixture(scope="module")
def emotion_network():
    """CERL with random weights; the descriptions have 20 tokens before their padding."""
    torch.manual_seed(0)
    network = ReleasedEmotion()
    with torch.no_grad():
        network.context.normal_(0, 0.02)
        network.start.normal_(0, 0.02)
        network.description[:, :20].normal_(0, 0.02)
    return network


@pytest.fixture(scope="module")
def emotion_state(emotion_network):
    """Its state dict under the release's names."""
    state = {}
    for name, value in emotion_network.state_dict().items():
        state[emotion_name_in_release(name)] = value
    return state


@torch.no_grad()
def test_a_cerl_checkpoint_loads_by_its_names(emotion_network, emotion_state, tmp_path):
    torch.save(emotion_state, tmp_path / "12.pth")
    ours = [release_emotion_name(name) for name in emotion_state]
    assert sorted(ours) == sorted(emotion_network.state_dict())
    assert emotion_state["prompt_learner.token_suffix"].shape == (7, 68, 512)
    assert "mlps.6.mlp.4.weight" in emotion_state

    loaded = load_released_emotion(tmp_path / "12.pth")
    prior = loaded.text()
    assert prior.shape == (7, 512)
    assert torch.allclose(prior.norm(dim=1), torch.ones(7), atol=1e-5)


@torch.no_grad()
def test_a_prompt_is_read_at_its_end_and_its_padding_does_not_matter(emotion_network):
    network = deepcopy(emotion_network)
    prior = network.text()
    network.description[:, 20:] += torch.randn(512)  # behind the end: attention is causal
    assert torch.allclose(network.text()[0], prior[0], atol=1e-5)
    network.description[:, 19] += torch.randn(512)  # the end itself
    assert not torch.allclose(network.text()[0], prior[0], atol=1e-3)


def test_a_checkpoint_of_another_network_is_refused(emotion_state, tmp_path):
    six_heads = {name: value for name, value in emotion_state.items() if "mlps.6" not in name}
    torch.save(six_heads, tmp_path / "six.pth")
    with pytest.raises(InputError, match=r"six.pth: 6 keys.*the first is heads.6.0.bias"):
        load_released_emotion(tmp_path / "six.pth")
