"""FAD and CSIM on the papers' networks: names and shapes of weights, parts by hand, input.

The weights are random: the published ones are not here.
"""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from cdrl.core.errors import InputError
from cdrl.evaluation.edit_metrics import ARCFACE, METRICS, PROTOCOL, left_out_notes
from cdrl.evaluation.realism import (
    frechet_distance,
    load_published,
    published_features,
    set_similarity,
)
from cdrl.evaluation.set_scores import SET_METRICS, FeatureExtractor, FrameSets, score_sets
from cdrl.models.published import EfficientFace, FaceNet

BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def with_statistics(network, seed=0):
    """Give a network running statistics as after training, so that the order of layers shows."""
    torch.manual_seed(seed)
    for name, value in network.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.3)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def face():
    return with_statistics(FaceNet())


@pytest.fixture(scope="module")
def expression():
    return with_statistics(EfficientFace())


def crops(number, side=96, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (number, side, side, 3), dtype=np.uint8)


# --- the networks


def norm_names(prefix):
    return [f"{prefix}.{part}" for part in BATCH_NORM]


def face_block_names(layer, block):
    """Names of the tensors of one block in arcface-pytorch."""
    prefix = f"layer{layer}.{block}"
    names = []
    for norm in ("bn0", "bn1", "bn2"):
        names += norm_names(f"{prefix}.{norm}")
    for part in ("conv1", "conv2", "prelu"):
        names.append(f"{prefix}.{part}.weight")
    if block == 0 and layer > 1:
        names.append(f"{prefix}.downsample.0.weight")
        names += norm_names(f"{prefix}.downsample.1")
    return names


def test_the_face_network_has_the_names_of_arcface_pytorch(face):
    names = ["conv1.weight", *norm_names("bn1"), "prelu.weight"]
    for layer in range(1, 5):
        for block in (0, 1):
            names += face_block_names(layer, block)
    names += [*norm_names("bn4"), *norm_names("bn5"), "fc5.weight", "fc5.bias"]

    state = face.state_dict()
    assert sorted(state) == sorted(names)
    assert state["fc5.weight"].shape == (512, 512 * 8 * 8)
    assert state["layer2.0.conv1.weight"].shape == (64, 64, 3, 3)
    assert state["layer2.0.conv2.weight"].shape == (128, 64, 3, 3)
    assert state["layer3.1.prelu.weight"].shape == (1,)


def naive_norm(x, norm):
    """Batch norm in eval mode, by its formula."""
    shape = (1, -1, 1, 1)
    std = (norm.running_var + norm.eps).sqrt().view(shape)
    standardised = (x - norm.running_mean.view(shape)) / std
    return standardised * norm.weight.view(shape) + norm.bias.view(shape)


def test_a_block_of_the_face_network_by_hand(face):
    block = face.layer2[0]
    x = torch.randn(2, 64, 6, 6)

    def naive_prelu(value):
        return torch.where(value > 0, value, block.prelu.weight * value)

    conv = torch.nn.functional.conv2d
    hidden = conv(naive_norm(x, block.bn0), block.conv1.weight, padding=1)
    hidden = naive_prelu(naive_norm(hidden, block.bn1))
    hidden = conv(hidden, block.conv2.weight, stride=2, padding=1)
    hidden = naive_norm(hidden, block.bn2)
    skip = conv(x, block.downsample[0].weight, stride=2)
    skip = naive_norm(skip, block.downsample[1])
    torch.testing.assert_close(block(x), naive_prelu(hidden + skip), rtol=1e-4, atol=1e-5)


EXPRESSION_SHAPES = {
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
}


def test_the_expression_network_has_the_names_of_efficientface(expression):
    state = expression.state_dict()
    for name, shape in EXPRESSION_SHAPES.items():
        assert tuple(state[name].shape) == shape, name
    parameters = sum(value.numel() for value in expression.parameters())
    assert round(parameters / 1e6, 2) == 1.28  # million, as its authors count


def test_a_quarter_depends_on_nothing_of_the_others(expression):
    local = expression.local
    x = torch.randn(1, 29, 56, 56)
    changed = x.clone()
    changed[..., 28:, :28] += 1  # lower left
    output = local(x)
    differs = (output - local(changed)).abs().sum((0, 1)) > 0
    assert differs[14:, :14].all()
    assert not differs[:14].any()
    assert not differs[:, 14:].any()

    quarter = local.conv2_1(x[..., 28:, :28])  # the second filters are the lower left's
    quarter = torch.relu(local.bn2_1(quarter))
    quarter = torch.relu(local.bn2_2(local.conv2_2(quarter)))
    torch.testing.assert_close(output[..., 14:, :14], quarter)


def test_the_gate_multiplies_by_channel_and_position(expression):
    gate = expression.modulator
    x = torch.randn(2, 116, 28, 28)
    means = torch.nn.functional.avg_pool2d(x, 28).flatten(1)
    channel = gate.channel_att.gate_c(means)
    position = gate.spatial_att.gate_s(x)
    output = gate(x)
    for b, c, i, j in ((0, 0, 0, 0), (1, 115, 27, 3), (0, 50, 14, 14)):
        expected = x[b, c, i, j] * torch.sigmoid(channel[b, c] * position[b, 0, i, j])
        assert float(output[b, c, i, j]) == pytest.approx(float(expected), rel=1e-4, abs=1e-6)


# --- their weights and their input

EXPRESSION_MEAN = np.array([0.57535914, 0.44928582, 0.40079932]).reshape(3, 1, 1)
EXPRESSION_STD = np.array([0.20735591, 0.18981615, 0.18132027]).reshape(3, 1, 1)


def prepare_by_pillow(frame, mode, whole, side):
    """Resize a frame and cut out its middle, as the release does: (C, side, side) in [0, 1]."""
    image = Image.fromarray(frame).convert(mode).resize((whole, whole), Image.BILINEAR)
    border = (whole - side) // 2
    image = image.crop((border, border, border + side, border + side))
    values = np.atleast_3d(np.asarray(image, np.float32) / 255)
    return values.transpose(2, 0, 1)


@pytest.mark.parametrize("kind", ["face", "expression"])
def test_frames_are_prepared_as_the_release_does(kind, request):
    network = request.getfixturevalue(kind)
    frames = crops(2, 200)
    if kind == "face":
        inputs = np.array([prepare_by_pillow(frame, "L", 164, 128) for frame in frames])
        inputs = (inputs - 0.5) / 0.5
        length = 512
    else:
        inputs = np.array([prepare_by_pillow(frame, "RGB", 256, 224) for frame in frames])
        inputs = (inputs - EXPRESSION_MEAN) / EXPRESSION_STD
        length = 1024

    expected = network(torch.from_numpy(inputs).float()).numpy()
    features = published_features(network, frames)
    assert features.shape == (2, length)
    assert np.abs(features - expected).max() < 0.02 * np.abs(expected).max()
    alone = published_features(network, frames[1:])
    np.testing.assert_allclose(alone, features[1:], rtol=1e-4, atol=1e-5)


def test_weights_load_as_they_were_published_and_others_are_refused(tmp_path, expression):
    state = {f"module.{name}": value for name, value in expression.state_dict().items()}
    path = tmp_path / "EfficientFace_Trained_on_AffectNet7.pth.tar"
    torch.save({"epoch": 9, "state_dict": state}, path)
    frames = crops(1)
    features = published_features(load_published("expression", path), frames)
    assert np.array_equal(features, published_features(expression, frames))

    with pytest.raises(InputError, match="weights of another model"):
        load_published("face", path)
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="weights of another model"):
        load_published("expression", tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="no such file of weights"):
        load_published("face", tmp_path / "resnet18_110.pth")


# --- the scores ---


def features_of_clip(random, mean, std, frames):
    return {
        "face": random.normal(mean, std[0], (frames, 3)),
        "expression": random.normal(mean, std[1], (frames, 3)),
    }


def metrics_named(*names):
    return [metric for metric in SET_METRICS if metric.name in names]


def test_fad_pools_the_actors_and_csim_is_a_mean_over_them():
    random = np.random.default_rng(0)
    clips = pd.DataFrame({"speaker": list("aabb"), "emotion": ["happy", "sad", "happy", "sad"]})
    requests = pd.DataFrame(
        {"speaker": ["a", "b", "b"], "emotion": ["happy", "happy", "sad"], "protocol": "intra"}
    )
    untouched = [features_of_clip(random, clip, (1, 1), 40) for clip in range(4)]
    edited = [features_of_clip(random, 0.5, (2, 1), 30) for _ in range(3)]
    metrics = metrics_named("fad", "csim")
    estimates, notes = score_sets("x", FrameSets(edited, requests, untouched, clips), metrics)

    real_happy = np.concatenate([untouched[0]["face"], untouched[2]["face"]])
    edited_happy = np.concatenate([edited[0]["face"], edited[1]["face"]])
    fad = frechet_distance(real_happy, edited_happy)
    assert estimates["x.fad.intra.happy"].value == pytest.approx(fad)
    of_a = set_similarity(untouched[0]["expression"], edited[0]["expression"])
    of_b = set_similarity(untouched[2]["expression"], edited[1]["expression"])
    happy = estimates["x.csim.intra.happy"].value
    assert happy == pytest.approx(np.mean([of_a, of_b]))
    sad = estimates["x.csim.intra.sad"].value
    assert sad == pytest.approx(set_similarity(untouched[3]["expression"], edited[2]["expression"]))
    assert estimates["x.csim.intra"].value == pytest.approx((happy + sad) / 2)
    assert not notes
    assert sorted({name.split(".")[1] for name in estimates}) == ["csim", "fad"]


def test_edits_without_a_protocol_keep_their_timing():
    random = np.random.default_rng(1)
    clips = pd.DataFrame({"speaker": ["a"], "emotion": ["happy"]})
    untouched = [features_of_clip(random, 0, (1, 1), 9)]
    estimates, _ = score_sets(
        "x", FrameSets(untouched, clips, untouched, clips), metrics_named("csim")
    )
    assert set(estimates) == {"x.csim.intra", "x.csim.intra.happy"}


def test_too_few_frames_for_a_covariance_are_told():
    clips = pd.DataFrame({"speaker": ["a"], "emotion": ["happy"]})
    requests = clips.assign(protocol="intra")
    edited = [{"face": np.ones((5, 3))}]
    untouched = [{"face": np.ones((9, 3))}]
    estimates, notes = score_sets(
        "x", FrameSets(edited, requests, untouched, clips), metrics_named("fad")
    )
    assert estimates == {}
    assert notes == ["left out fad of intra edits to happy: fewer than 6 frames, made or real"]


def test_the_extractor_runs_the_networks_that_are_named(tmp_path, face):
    save_file(face.state_dict(), tmp_path / "face.safetensors")
    judges = SimpleNamespace(
        identity=lambda images: np.zeros((len(images), 2)),
        features=lambda name, images: np.ones((len(images), 3)),
    )
    frames = crops(3)
    extractor = FeatureExtractor(judges, arcface=str(tmp_path / "face.safetensors"))
    features = extractor.extract(frames, ["identity", "judge_a", "face"])
    shapes = {network: values.shape for network, values in features.items()}
    assert shapes == {"identity": (3, 2), "judge_a": (3, 3), "face": (3, 512)}
    assert list(extractor.extract(frames, ["face"])) == ["face"]
    assert list(extractor.published) == ["face"]
    assert not FeatureExtractor(judges).published


def test_a_metric_without_its_weights_is_left_out_with_the_reason():
    available = {PROTOCOL, ARCFACE}
    computed = [metric.name for metric in SET_METRICS if metric.needs <= available]
    assert computed == ["frechet.identity", "similarity.judge_a", "fad"]
    (note,) = left_out_notes(SET_METRICS, available)
    assert note.startswith("left out csim:")
    assert "evaluate.efficient_face=" in note
    notes = left_out_notes(METRICS, set())
    assert any(note.startswith("left out mouth_error,") and "psnr" in note for note in notes)
    assert any("lse_d, lse_c" in note and "SyncNet" in note for note in notes)
