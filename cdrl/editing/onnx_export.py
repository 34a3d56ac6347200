"""Networks of the kit as ONNX files, for programs without torch.

Every file is run by onnxruntime, at other sizes than it was exported with, and compared with torch
before it is kept.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cdrl.core.checkpoint import weights_path
from cdrl.core.errors import InputError
from cdrl.core.files import atomic_path, write_json
from cdrl.core.vocabulary import ACTIONS, EMOTIONS
from cdrl.core.weight_files import checksum
from cdrl.editors.actions import DEFAULT_RENDERER, MANIPULATOR, load_manipulator, load_renderer
from cdrl.media.mouths import DEFAULT_MOUTH_BOX
from cdrl.models.action_networks import STYLE
from cdrl.models.action_renderer import ActionRenderer
from cdrl.models.field_network import WORKING_SIZE
from cdrl.priors.actions import ACTION_TRACKER, load_tracker
from cdrl.priors.vision import VisionPrior
from cdrl.representation.components import load_content_encoder, load_emotion_encoder
from cdrl.representation.guidance import encoder_folders

TOLERANCE = 1e-4  # largest difference from torch, of values of order 1
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
REMEDY = 'pip install -e ".[onnx]"'
FRAMES = 24  # of the example that is traced
OTHER_FRAMES = 31  # of the one that is compared
SIZE = 96  # pixels of a crop in the example
OTHER_SIZE = 128
FACE = 256  # numbers of a frame's face features
MOUTH = 128

Arrays = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Export:
    """One network and how it is exported.

    Attributes:
        network: frozen, in eval mode.
        inputs: (frames, size of a crop in pixels) -> example inputs.
        free: for each input the axes whose length is free.
        weights: files that the network was read from.
        meaning: of the inputs and outputs, for the card.
        facts: what else the card holds.
    """

    network: nn.Module
    inputs: Callable[[int, int], Arrays]
    free: tuple[tuple[int, ...], ...]
    weights: tuple[Path, ...]
    meaning: str
    facts: dict[str, Any] = field(default_factory=dict)


class _RendererFields(nn.Module):
    """The renderer's fields, which any program can apply to a picture of any size."""

    def __init__(self, renderer: ActionRenderer):
        super().__init__()
        self.renderer = renderer

    def forward(
        self, frames: torch.Tensor, actions: torch.Tensor, change: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(1, T, 3, 64, 64), (1, T, 52), (1, T, 52) -> flow, shading and residual."""
        return self.renderer.fields(frames, actions, change)


def _crops(frames: int, size: int) -> torch.Tensor:
    """(T, 3, S, S) in [0, 1], smooth, so that samples between pixels are as in a picture."""
    coarse = torch.rand(frames, 3, 8, 8)
    return nn.functional.interpolate(coarse, (size, size), mode="bilinear")


def _vision_prior(encoders: str) -> Export:
    def inputs(frames: int, size: int) -> Arrays:
        box = torch.tensor([0.3, 0.6, 0.7, 0.9])
        return _crops(frames, size), box.expand(frames, 4).contiguous()

    return Export(
        VisionPrior(),
        inputs,
        ((0, 2, 3), (0,)),
        (weights_path("face_backbone"), weights_path("mouth_backbone")),
        "images (N, 3, S, S) RGB in [0, 1], boxes (N, 4) of the mouth -> face (N, 256) and "
        "mouth (N, 128) features",
        {"box_of_aligned_crops": list(DEFAULT_MOUTH_BOX)},
    )


def _action_tracker(encoders: str) -> Export:
    return Export(
        load_tracker(),
        lambda frames, size: (torch.randn(2, frames, FACE + MOUTH),),
        ((0, 1),),
        (weights_path(ACTION_TRACKER),),
        "features (B, T, 384), face and mouth of vision_prior -> actions (B, T, 52)",
    )


def _action_manipulator(encoders: str) -> Export:
    def inputs(frames: int, size: int) -> Arrays:
        actions = torch.rand(2, frames, len(ACTIONS))
        return actions, torch.randn(2, STYLE), torch.rand(2, frames)

    manipulator = load_manipulator()
    styles = dict(zip(EMOTIONS, manipulator.table.tolist(), strict=True))
    return Export(
        manipulator,
        inputs,
        ((0, 1), (0,), (0, 1)),
        (weights_path(MANIPULATOR),),
        "coefficients (B, T, 52), style (B, 16), intensity (B, T) -> edited actions (B, T, 52)",
        {"actions": list(ACTIONS), "styles": styles},
    )


def _action_renderer(encoders: str) -> Export:
    def inputs(frames: int, size: int) -> Arrays:
        actions = torch.rand(1, frames, len(ACTIONS))
        change = 0.3 * torch.rand(1, frames, len(ACTIONS))
        return _crops(frames, WORKING_SIZE)[None], actions, change

    return Export(
        _RendererFields(load_renderer(DEFAULT_RENDERER)),
        inputs,
        ((1,), (1,), (1,)),
        (weights_path(DEFAULT_RENDERER),),
        "crops (1, T, 3, 64, 64) RGB in [0, 1], actions and their change (1, T, 52) -> flow, "
        "shading and residual; `apply_fields` of cdrl.models.field_network tells how a picture of "
        "any size is edited by them",
    )


def _content(encoders: str) -> Export:
    folder, _ = encoder_folders(encoders)
    encoder = load_content_encoder(folder)
    window = encoder.window

    def inputs(frames: int, size: int) -> Arrays:
        return torch.randn(frames, window, FACE), torch.randn(frames, window, MOUTH)

    return Export(
        encoder,
        inputs,
        ((0,), (0,)),
        (folder / "model.safetensors",),
        f"windows of {window} frames, face (N, {window}, 256) and mouth (N, {window}, 128) -> "
        "content embedding (N, D), unit norm; without the audio query",
    )


def _emotion(encoders: str) -> Export:
    _, folder = encoder_folders(encoders)
    encoder = load_emotion_encoder(folder)
    size_of_features = encoder.config["features"]
    return Export(
        encoder,
        lambda frames, size: (torch.randn(3, frames, size_of_features),),
        ((0, 1),),
        (folder / "model.safetensors",),
        f"features (B, T, {size_of_features}), language prior and mouth -> emotion embedding "
        "(B, D), unit norm",
    )


NETWORKS: dict[str, Callable[[str], Export]] = {
    "vision_prior": _vision_prior,
    "action_tracker": _action_tracker,
    "action_manipulator": _action_manipulator,
    "action_renderer": _action_renderer,
    "content": _content,
    "emotion": _emotion,
}


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the networks to export, all where none is named.

    Args:
        names: keys of `NETWORKS`.

    Raises:
        InputError: an unknown name, or a package is missing.
    """
    unknown = [name for name in names if name not in NETWORKS]
    if unknown:
        raise InputError(f"{unknown[0]}: no network of that name; {', '.join(NETWORKS)}")
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(f"{missing[0]} is not installed: {REMEDY}")
    return tuple(names) or tuple(NETWORKS)


def export_network(name: str, folder: Path, encoders: str = "guidance") -> float:
    """Write `NAME.onnx` and its card `NAME.json`, after onnxruntime has given the same numbers.

    Args:
        name: key of `NETWORKS`.
        folder: where; it exists.
        encoders: `guidance` (the committed content and emotion encoders) or the folder of a run.

    Returns:
        The largest difference from torch, at another number of frames and another size of the
        crops than the export was traced with.

    Raises:
        InputError: the difference is above 1e-4.
    """
    export = NETWORKS[name](encoders)
    path = Path(folder) / f"{name}.onnx"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        traced = export.inputs(FRAMES, SIZE)
        others = export.inputs(OTHER_FRAMES, OTHER_SIZE)

    with atomic_path(path) as temporary:
        _write_onnx(export, traced, temporary)
        session = onnx_session(temporary)
        difference = _largest_difference(export.network, session, others)
        if not difference <= TOLERANCE:
            raise InputError(
                f"{path}: onnxruntime differs from torch by {difference:.1e}, over {TOLERANCE:g}; "
                "it was not kept"
            )
    card = {
        "network": name,
        "meaning": export.meaning,
        "inputs": {node.name: node.shape for node in session.get_inputs()},
        "outputs": {node.name: node.shape for node in session.get_outputs()},
        "weights": {weights.name: checksum(weights) for weights in export.weights},
        **export.facts,
        "difference": difference,
        "versions": {package: version(package) for package in ("cdrl", "torch", "onnx")},
    }
    write_json(path.with_suffix(".json"), card)

    return difference


def _write_onnx(export: Export, inputs: Arrays, path: Path) -> None:
    """Export a network with free lengths; what the exporter prints is not shown."""
    shapes = []
    for axes in export.free:
        shapes.append(dict.fromkeys(axes, torch.export.Dim.AUTO))
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            export.network, inputs, dynamo=True, dynamic_shapes=tuple(shapes), verbose=False
        )
        assert program is not None  # with dynamo=True it never is
        program.save(path)


def onnx_session(path: Path) -> Any:
    """Open an ONNX file on the CPU.

    Args:
        path: of the file.

    Returns:
        An `onnxruntime.InferenceSession`.
    """
    import onnxruntime  # here: an extra

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _largest_difference(network: nn.Module, session: Any, inputs: Arrays) -> float:
    with torch.no_grad():
        expected = network(*inputs)
    if isinstance(expected, torch.Tensor):
        expected = (expected,)
    names = [node.name for node in session.get_inputs()]
    feeds = {name: array.numpy() for name, array in zip(names, inputs, strict=True)}
    results = session.run(None, feeds)

    differences = []
    for result, tensor in zip(results, expected, strict=True):
        differences.append(np.abs(result - tensor.numpy()).max())
    return float(max(differences))
