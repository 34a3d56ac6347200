"""FAD and CSIM on the papers' networks: their files' names and shapes, their parts by hand, their preparation; weights are random, none are here."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from cdrl.core.errors import InputError
from cdrl.evaluation.realism import (
    frechet_distance,
    load_published,
    published_features,
    set_similarity,
)
from cdrl.evaluation.set_scores import KIT, PUBLISHED, SetReader, set_scores
from cdrl.models.published import EfficientFace, FaceNet

BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def alive(network, seed=0):
    """Running statistics as after training, so that an order of layers is seen."""
    torch.manual_seed(seed)
    for name, value in network.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.3)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def face():
    return alive(FaceNet())


@pytest.fixture(scope="module")
def expression():
    return alive(EfficientFace())


def crops(number, side=96, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (number, side, side, 3), dtype=np.uint8)


# --- the networks -------------------------------------------------------------------------------------------------------


def test_the_face_network_has_the_names_of_arcface_pytorch(face):
    names = ["conv1.weight", *(f"bn1.{part}" for part in BATCH_NORM), "prelu.weight"]
    for layer in range(1, 5):
        for block in (0, 1):
            stem = f"layer{layer}.{block}"
            names += [f"{stem}.{bn}.{part}" for bn in ("bn0", "bn1", "bn2") for part in BATCH_NORM]
            names += [f"{stem}.{part}.weight" for part in ("conv1", "conv2", "prelu")]
            if block == 0 and layer > 1:
                names += [
                    f"{stem}.downsample.0.weight",
                    *(f"{stem}.downsample.1.{part}" for part in BATCH_NORM),
                ]
    names += [f"{bn}.{part}" for bn in ("bn4", "bn5") for part in BATCH_NORM] + [
        "fc5.weight",
        "fc5.bias",
    ]
    state = face.state_dict()
    assert sorted(state) == sorted(names)
    assert state["fc5.weight"].shape == (512, 512 * 8 * 8) and state[
        "layer2.0.conv1.weight"
    ].shape == (64, 64, 3, 3)
    assert state["layer2.0.conv2.weight"].shape == (128, 64, 3, 3) and state[
        "layer3.1.prelu.weight"
    ].shape == (1,)


def test_a_block_of_the_face_network_by_hand(face):
    block, x = face.layer2[0], torch.randn(2, 64, 6, 6)

    def normal(value, bn):
        shape = (1, -1, 1, 1)
        spread = (bn.running_var + bn.eps).sqrt()
        return (value - bn.running_mean.view(shape)) / spread.view(shape) * bn.weight.view(
            shape
        ) + bn.bias.view(shape)

    def bend(value):
        return torch.where(value > 0, value, block.prelu.weight * value)

    conv = torch.nn.functional.conv2d
    inner = bend(normal(conv(normal(x, block.bn0), block.conv1.weight, padding=1), block.bn1))
    inner = normal(conv(inner, block.conv2.weight, stride=2, padding=1), block.bn2)
    beside = normal(conv(x, block.downsample[0].weight, stride=2), block.downsample[1])
    torch.testing.assert_close(block(x), bend(inner + beside), rtol=1e-4, atol=1e-5)


def test_the_expression_network_has_the_names_of_efficientface(expression):
    state = expression.state_dict()
    for name, shape in {
        "conv1.0.weight": (29, 3, 3, 3),
        "stage2.0.branch1.0.weight": (29, 1, 3, 3),
        "stage2.0.branch1.2.weight": (58, 29, 1, 1),
        "stage2.3.branch2.5.weight": (58, 58, 1, 1),
        "stage3.7.branch2.0.weight": (116, 116, 1, 1),
        "stage4.0.branch2.3.weight": (232, 1, 3, 3),
        "local.conv1_1.weight": (116, 1, 3, 3),
        "local.conv4_2.weight": (116, 1, 3, 3),
        "local.bn3_1.running_var": (116,),
        "modulator.channel_att.gate_c.gate_c_fc_0.weight": (7, 116),
        "modulator.channel_att.gate_c.gate_c_bn_1.running_mean": (7,),
        "modulator.channel_att.gate_c.gate_c_fc_final.bias": (116,),
        "modulator.spatial_att.gate_s.gate_s_conv_reduce0.weight": (7, 116, 1, 1),
        "modulator.spatial_att.gate_s.gate_s_bn_reduce0.bias": (7,),
        "modulator.spatial_att.gate_s.gate_s_conv_di_1.weight": (7, 7, 3, 3),
        "modulator.spatial_att.gate_s.gate_s_bn_di_0.weight": (7,),
        "modulator.spatial_att.gate_s.gate_s_conv_final.weight": (1, 7, 1, 1),
        "conv5.0.weight": (1024, 464, 1, 1),
        "fc.weight": (7, 1024),
    }.items():
        assert tuple(state[name].shape) == shape, name
    assert (
        round(sum(value.numel() for value in expression.parameters()) / 1e6, 2) == 1.28
    )  # million, as its authors count


def test_a_quarter_sees_nothing_of_the_others(expression):
    x = torch.randn(1, 29, 56, 56)
    changed = x.clone()
    changed[..., 28:, :28] += 1  # below, left
    differs = (expression.local(x) - expression.local(changed)).abs().sum((0, 1)) > 0
    assert differs[14:, :14].all() and not differs[:14].any() and not differs[:, 14:].any()
    alone = expression.local.conv2_1(
        x[..., 28:, :28]
    )  # the second filters are those of the quarter below, left
    alone = torch.relu(expression.local.bn2_1(alone))
    alone = torch.relu(expression.local.bn2_2(expression.local.conv2_2(alone)))
    torch.testing.assert_close(expression.local(x)[..., 14:, :14], alone)


def test_the_gate_multiplies_what_channel_and_place_say(expression):
    x, gate = torch.randn(2, 116, 28, 28), expression.modulator
    channel = gate.channel_att.gate_c(torch.nn.functional.avg_pool2d(x, 28).flatten(1))
    place = gate.spatial_att.gate_s(x)
    found = gate(x)
    for b, c, i, j in ((0, 0, 0, 0), (1, 115, 27, 3), (0, 50, 14, 14)):
        wanted = x[b, c, i, j] * torch.sigmoid(channel[b, c] * place[b, 0, i, j])
        assert float(found[b, c, i, j]) == pytest.approx(float(wanted), rel=1e-4, abs=1e-6)


# --- their weights and what they are shown ------------------------------------------------------------------------------


def test_frames_are_prepared_as_the_release_does(face, expression):
    frames = crops(2, 200)
    for network, whole, side, mode in ((face, 164, 128, "L"), (expression, 256, 224, "RGB")):
        border, given = (whole - side) // 2, []
        for frame in frames:
            picture = Image.fromarray(frame).convert(mode).resize((whole, whole), Image.BILINEAR)
            picture = picture.crop((border, border, border + side, border + side))
            given.append(np.atleast_3d(np.asarray(picture, np.float32) / 255).transpose(2, 0, 1))
        mean, deviation = (
            (0.5, 0.5)
            if mode == "L"
            else (
                np.array([[[0.57535914]], [[0.44928582]], [[0.40079932]]]),
                np.array([[[0.20735591]], [[0.18981615]], [[0.18132027]]]),
            )
        )
        wanted = network(torch.from_numpy((np.array(given) - mean) / deviation).float()).numpy()
        found = published_features(network, frames)
        assert found.shape == (2, {"L": 512, "RGB": 1024}[mode])
        assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()
        np.testing.assert_allclose(
            published_features(network, frames[1:]), found[1:], rtol=1e-4, atol=1e-5
        )


def test_weights_load_as_they_were_published_and_others_are_refused(tmp_path, expression):
    wrapped = {
        "epoch": 9,
        "state_dict": {f"module.{name}": value for name, value in expression.state_dict().items()},
    }
    path = tmp_path / "EfficientFace_Trained_on_AffectNet7.pth.tar"
    torch.save(wrapped, path)
    frames = crops(1)
    assert np.array_equal(
        published_features(load_published("expression", path), frames),
        published_features(expression, frames),
    )
    with pytest.raises(InputError, match="weights of another model"):
        load_published("face", path)
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="weights of another model"):
        load_published("expression", tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="no such file of weights"):
        load_published("face", tmp_path / "resnet18_110.pth")


# --- the scores ---------------------------------------------------------------------------------------------------------


def test_fad_pools_the_actors_and_csim_is_a_mean_over_them():
    random = np.random.default_rng(0)
    clips = pd.DataFrame({"speaker": list("aabb"), "emotion": ["happy", "sad", "happy", "sad"]})
    wanted = pd.DataFrame(
        {"speaker": ["a", "b", "b"], "emotion": ["happy", "happy", "sad"], "protocol": "intra"}
    )
    originals = [
        {"face": random.normal(k, 1, (40, 3)), "expression": random.normal(k, 1, (40, 3))}
        for k in range(4)
    ]
    seen = [
        {"face": random.normal(0, 2, (30, 3)), "expression": random.normal(1, 1, (30, 3))}
        for _ in range(3)
    ]
    rows, lines = set_scores("x", seen, wanted, clips, originals, KIT | PUBLISHED)
    pooled = [
        np.concatenate([part[k]["face"] for k in numbers])
        for part, numbers in ((originals, (0, 2)), (seen, (0, 1)))
    ]
    assert rows["x.fad.intra.happy"].value == pytest.approx(frechet_distance(*pooled))
    each = [
        set_similarity(originals[real]["expression"], seen[made]["expression"])
        for real, made in ((0, 0), (2, 1))
    ]
    assert rows["x.csim.intra.happy"].value == pytest.approx(np.mean(each))
    assert rows["x.csim.intra.sad"].value == pytest.approx(
        set_similarity(originals[3]["expression"], seen[2]["expression"])
    )
    assert rows["x.csim.intra"].value == pytest.approx(
        (rows["x.csim.intra.happy"].value + rows["x.csim.intra.sad"].value) / 2
    )
    assert not lines and sorted({name.split(".")[1] for name in rows}) == ["csim", "fad"]


def test_too_few_frames_for_a_covariance_are_told():
    clips = pd.DataFrame({"speaker": ["a"], "emotion": ["happy"]})
    wanted = pd.DataFrame({"speaker": ["a"], "emotion": ["happy"], "protocol": "intra"})
    rows, lines = set_scores(
        "x", [{"face": np.ones((5, 3))}], wanted, clips, [{"face": np.ones((9, 3))}], PUBLISHED
    )
    assert rows == {} and lines == [
        "left out fad of intra edits to happy: fewer than 6 frames, made or real"
    ]


def test_the_reader_asks_the_networks_whose_weights_are_named(tmp_path, face):
    save_file(face.state_dict(), tmp_path / "face.safetensors")
    judges = SimpleNamespace(
        identity=lambda images: np.zeros((len(images), 2)),
        features=lambda name, images: np.ones((len(images), 3)),
    )
    frames = crops(3)
    named = SetReader(
        judges, SimpleNamespace(arcface=str(tmp_path / "face.safetensors"), efficient_face="")
    )
    assert {name: value.shape for name, value in named.read(frames).items()} == {
        "identity": (3, 2),
        "judge_a": (3, 3),
        "face": (3, 512),
    }
    assert list(named.read(frames, kit=False)) == ["face"]
    assert list(SetReader(judges, SimpleNamespace(arcface="", efficient_face="")).read(frames)) == [
        "identity",
        "judge_a",
    ]
