"""CCRL and the losses as released: the golden case, the key mapping, and the facts that made us build something else."""

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
from cdrl.baselines.released.networks import IResNet, ReleasedContent, load_released, release_name
from cdrl.baselines.released.training import small_released
from cdrl.core.errors import InputError

GOLDEN = {
    "loss": 0.6269357204437256,
    "positive": 0.5601748824119568,
    "negative": 0.18711061775684357,
    "features": (
        (0, 0, 0, 0),
        17.459148406982422,
        (1, 17, 5, 20),
        -19.04620361328125,
        (1, 255, 27, 27),
        5.238964080810547,
    ),
    "content": (
        (0, 0, 0, 0),
        0.6175810098648071,
        (1, 17, 5, 20),
        28.07496452331543,
        (1, 255, 27, 27),
        -7.90470552444458,
    ),
    "cerl": 0.9999068975448608,
}


def released_state():
    """Names and shapes of a release checkpoint: our network under its names, and the parts that it stores unused."""
    back = {release_name(name): name for name in _candidates()}
    state = {back[name]: value for name, value in ReleasedContent().state_dict().items()}
    full = IResNet((3, 4, 14, 3)).state_dict()
    state |= {
        f"img_encoder.{name}": value for name, value in full.items() if name.startswith("layer4")
    }
    norms = torch.nn.ModuleDict(
        {"bn2": torch.nn.BatchNorm2d(512), "features": torch.nn.BatchNorm1d(512)}
    )
    state |= {f"img_encoder.{name}": value for name, value in norms.state_dict().items()}
    state["img_encoder.fc.weight"], state["img_encoder.fc.bias"] = (
        torch.zeros(512, 25088),
        torch.zeros(512),
    )
    return state


def _candidates():
    ours = ReleasedContent().state_dict()
    for name in ours:
        part, _, rest = name.partition(".")
        if part == "image":
            yield f"img_encoder.{rest}"
        elif part == "key":
            yield f"mask_learning.image_feature_mapping.residual_block{int(rest[0]) + 1}.{rest[2:]}"
        elif name.startswith("audio.convolutions"):
            yield f"mask_learning.audio_feature_mapping.conv{int(rest.split('.')[1]) + 1}.{rest.split('.')[2]}"
        elif part == "audio":
            yield f"mask_learning.audio_feature_mapping.fc.{rest.split('.')[1]}"
        else:
            yield f"mask_learning.linear_{part[0]}.{rest}"


def golden_state(base=100):
    """The weights of the golden case: normals from RandomState(base + i) for float key number i, scaled by their kind."""
    state, out = released_state(), {}
    floats = sorted(name for name, value in state.items() if value.is_floating_point())
    for i, name in enumerate(floats):
        shape = tuple(state[name].shape)
        n = np.random.RandomState(base + i).standard_normal(shape).astype(np.float32)
        norm = f"{name.rpartition('.')[0]}.running_mean" in state
        kind = name.rpartition(".")[2]
        if norm and kind == "weight":
            value = 1 + 0.1 * n
        elif norm and kind in ("bias", "running_mean"):
            value = 0.1 * n
        elif kind == "running_var":
            value = 1 + 0.1 * np.abs(n)
        elif "prelu" in name:
            value = np.full(shape, 0.25, np.float32)
        elif len(shape) == 1:
            value = 0.01 * n
        else:
            value = n / np.sqrt(np.prod(shape[1:]))
        out[name] = torch.from_numpy(np.asarray(value, np.float32))
    return out | {name: value for name, value in state.items() if name not in out}


def drawn(seed, *shape):
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape).astype(np.float32))


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    path = tmp_path_factory.mktemp("release") / "NN_DCL.pth"
    torch.save(golden_state(), path)
    return load_released(path)


@torch.no_grad()
def test_the_golden_case_of_the_release(released):
    x, y, z = (drawn(100 + 10001 + k, 2, 3, 224, 224) for k in range(3))
    audio, other = (drawn(100 + 10004 + k, 2, 1, 512) for k in range(2))
    maps = {"features": released.features(x), "content": released(x, audio)}
    for name, found in maps.items():
        expected = GOLDEN[name]
        for place, value in zip(expected[::2], expected[1::2], strict=True):
            assert found[place].item() == pytest.approx(value, rel=1e-3)
    anchor, positive, negative = maps["content"], released(y, audio), released(z, other)
    loss, near, far = released_content(anchor, positive, negative)
    assert near.mean().item() == pytest.approx(GOLDEN["positive"], rel=1e-3)
    assert far.mean().item() == pytest.approx(GOLDEN["negative"], rel=1e-3)
    assert loss.mean().item() == pytest.approx(GOLDEN["loss"], rel=1e-3)


def test_the_golden_case_of_the_emotion_loss():
    text = F.normalize(drawn(100 + 20001, 1, 7, 512), dim=-1).repeat(3, 1, 1)
    image = F.normalize(F.normalize(drawn(100 + 20002, 3, 7, 512), dim=-1) + 0.1 * text, dim=-1)
    assert released_emotion(image, text, 0.07).mean().item() == pytest.approx(
        GOLDEN["cerl"], rel=1e-3
    )


@torch.no_grad()
def test_released_attention_has_rank_one(released):
    features = drawn(1, 1, 256, 28, 28)
    values = torch.linalg.svdvals(released.logits(features, drawn(2, 1, 1, 512))[0])
    assert values[1] / values[0] < 1e-4


def test_no_gradient_reaches_a_pair_whose_cosine_is_negative():
    anchor = torch.tensor([[1.0, 0.0]])
    positive = torch.tensor([[-1.0, 0.1]], requires_grad=True)
    loss, near, _ = released_content(anchor, positive, torch.tensor([[0.0, 1.0]]))
    loss.sum().backward()
    assert near.item() == 0 and positive.grad.abs().sum() == 0


def test_a_checkpoint_holds_every_key_once(released):
    names = [release_name(name) for name in released_state()]
    assert len(names) == len(set(names)) == 558 + 1
    assert (
        sum(
            p.numel()
            for part in ("key", "audio", "query", "keys", "value")
            for p in getattr(released, part).parameters()
        )
        == 13_753_217
    )


def test_the_backbone_alone_loads_too(tmp_path):
    state = {
        name.removeprefix("img_encoder."): value
        for name, value in golden_state().items()
        if name.startswith("img_encoder")
    }
    torch.save(state, tmp_path / "backbone.pth")
    model = load_released(tmp_path / "backbone.pth")
    torch.testing.assert_close(model.image.conv1.weight, state["conv1.weight"])


def test_other_files_are_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_released(tmp_path / "NN_DCL.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(InputError, match="not a checkpoint of tensors"):
        load_released(tmp_path / "text.pth")
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "nested.pth")
    with pytest.raises(InputError, match="flat state dict"):
        load_released(tmp_path / "nested.pth")
    torch.save({"mask_learning.linear_q.weight": torch.zeros(2, 2)}, tmp_path / "small.pth")
    with pytest.raises(InputError, match="differ from the released network"):
        load_released(tmp_path / "small.pth")


def test_the_small_network_is_the_large_one_on_another_image_encoder():
    small = small_released(64)
    assert set(dict(small.named_children())) == set(dict(ReleasedContent().named_children()))
    images, audio = torch.zeros(2, 3, 64, 64), torch.randn(2, 1, 64)
    with torch.no_grad():
        values = torch.linalg.svdvals(small.logits(small.features(images), audio)[0])
        assert small(images, audio).shape == (2, 96, 8, 8) and values[1] / values[0] < 1e-4
    assert not any(p.requires_grad for p in small.image.parameters())


def test_heads_of_a_label_need_no_image_and_a_shared_head_does():
    torch.manual_seed(0)
    text = F.normalize(torch.randn(7, 16), dim=-1)
    losses = {}
    for labels in (7, 1):
        heads = LabelHeads(8, 16, labels, hidden=32)
        optimiser = torch.optim.Adam(heads.parameters(), 1e-2)
        for _ in range(150):
            noise = torch.randn(16, 7, 8)
            image = (
                heads(noise) if labels == 7 else heads(noise.flatten(0, 1)[:, None]).view(16, 7, 16)
            )
            loss = released_emotion(image, text.expand(16, -1, -1)).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        losses[labels] = loss.item()
    assert losses[7] < 0.01 and losses[1] == pytest.approx(np.log(7), abs=0.1)


@pytest.fixture(scope="module")
def released_emotion_file(tmp_path_factory):
    """A CERL checkpoint with the release's names, random weights."""
    torch.manual_seed(0)
    model = ReleasedEmotion()
    with torch.no_grad():
        model.context.normal_(0, 0.02)
        model.start.normal_(0, 0.02)
        model.description[:, :20].normal_(0, 0.02)
    theirs = {}
    for name, value in model.state_dict().items():
        part, _, rest = name.partition(".")
        name = {
            "heads": f"mlps.{rest[:1]}.mlp{rest[1:]}",
            "context": "prompt_learner.ctx",
            "start": "prompt_learner.token_prefix",
            "description": "prompt_learner.token_suffix",
            "clip": f"text_encoder.{rest}",
        }[part]
        theirs[name.replace("text_encoder.visual.", "image_encoder.")] = value
    path = tmp_path_factory.mktemp("cerl") / "12.pth"
    torch.save(theirs, path)
    return path, theirs, model


@torch.no_grad()
def test_a_cerl_checkpoint_loads_by_its_names(released_emotion_file):
    path, theirs, model = released_emotion_file
    assert sorted(map(release_emotion_name, theirs)) == sorted(model.state_dict())
    loaded = load_released_emotion(path)
    assert (
        tuple(theirs["prompt_learner.token_suffix"].shape) == (7, 68, 512)
        and "mlps.6.mlp.4.weight" in theirs
    )
    prior = loaded.text()
    assert prior.shape == (7, 512) and torch.allclose(prior.norm(dim=1), torch.ones(7), atol=1e-5)
    loaded.description[:, 20:] += torch.randn(
        512
    )  # padding lies behind the end: causal attention never looks there
    assert torch.allclose(loaded.text()[0], prior[0], atol=1e-5)
    loaded.description[:, 19] += torch.randn(512)  # the end itself
    assert not torch.allclose(loaded.text()[0], prior[0], atol=1e-3)


def test_a_checkpoint_of_another_network_is_refused(released_emotion_file, tmp_path):
    path, theirs, _ = released_emotion_file
    torch.save(
        {name: value for name, value in theirs.items() if "mlps.6" not in name},
        tmp_path / "six.pth",
    )
    with pytest.raises(
        InputError,
        match="6 keys or shapes differ from the released network, the first is heads.6.0.bias",
    ):
        load_released_emotion(tmp_path / "six.pth")
