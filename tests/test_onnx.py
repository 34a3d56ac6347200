"""Networks as ONNX files: equal to torch, and an edit without torch."""

import json
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from cdrl.cli.main import main
from cdrl.core.errors import InputError
from cdrl.core.vocabulary import emotion_index
from cdrl.editing import onnx_export
from cdrl.editing.onnx_export import NETWORKS, check_names, export_network
from cdrl.editors.actions import DEFAULT_RENDERER, ActionEditor, load_manipulator, load_renderer
from cdrl.studio.acting import ClipSpec, act
from cdrl.studio.render import render

# An edit with numpy and onnxruntime alone, from the files and what their cards say.
WITHOUT_TORCH = """
import json, sys
import numpy as np
import onnxruntime

sys.modules["torch"] = None  # any import of it fails
folder, source, out = sys.argv[1:]

def run(name, *inputs):
    session = onnxruntime.InferenceSession(f"{folder}/{name}.onnx")
    names = [node.name for node in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))

def card(name):
    return json.load(open(f"{folder}/{name}.json"))

frames = np.load(source)
box = np.float32(card("vision_prior")["box_of_aligned_crops"])
boxes = np.tile(box, (len(frames), 1))
face, mouth = run("vision_prior", frames, boxes)
features = np.concatenate([face, mouth], 1)[None]
actions = np.clip(run("action_tracker", features)[0], 0, 1)
style = np.float32([card("action_manipulator")["styles"]["happy"]])
intensity = np.ones((1, len(frames)), np.float32)
edited = run("action_manipulator", actions, style, intensity)[0]
fields = run("action_renderer", frames[None], actions, edited - actions)
np.savez(out, *fields)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """All networks, exported by the command."""
    folder = tmp_path_factory.mktemp("onnx") / "files"
    main(["export", "--out", str(folder)])
    return folder


@pytest.fixture(scope="module")
def frames():
    """(20, 3, 64, 64): a rendered person who talks."""
    performance = act(ClipSpec(303, 301, "neutral", 1))
    images, _ = render(
        303,
        performance.coefficients[:20],
        performance.pose[:20],
        performance.gaze[:20],
        performance.scene,
        size=64,
    )
    return torch.from_numpy(images).permute(0, 3, 1, 2) / 255


def test_every_network_is_written_with_a_card_and_equals_torch(files):
    for name in NETWORKS:
        card = json.loads((files / f"{name}.json").read_text())
        assert 0 < card["difference"] <= 1e-4
        assert (files / f"{name}.onnx").stat().st_size > 100_000
        assert all(len(checksum) == 64 for checksum in card["weights"].values())


def test_an_edit_without_torch_has_the_same_fields(files, frames, tmp_path):
    source = tmp_path / "frames.npy"
    np.save(source, frames.numpy())
    out = tmp_path / "fields.npz"
    command = [sys.executable, "-c", WITHOUT_TORCH, str(files), str(source), str(out)]
    subprocess.run(command, check=True)
    found = np.load(out)

    editor = ActionEditor(load_manipulator(), load_renderer(DEFAULT_RENDERER))
    weights = torch.zeros(1, 8)
    weights[0, emotion_index("happy")] = 1
    expected = editor.fields(frames[None], weights, torch.ones(1, len(frames)))
    assert float(expected[0].abs().max()) > 0.01
    for name, field in zip(found.files, expected, strict=True):
        assert np.abs(found[name] - field.numpy()).max() < 1e-4


def test_a_file_that_differs_from_torch_is_not_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(onnx_export, "TOLERANCE", -1.0)
    with pytest.raises(InputError, match="onnxruntime differs from torch by .* it was not kept"):
        export_network("emotion", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_unknown_networks_and_missing_packages_are_one_line(monkeypatch):
    assert check_names(()) == tuple(NETWORKS)
    with pytest.raises(InputError, match="^emotions: no network of that name; vision_prior, "):
        check_names(["emotion", "emotions"])

    monkeypatch.setattr(
        onnx_export, "find_spec", lambda name: None if name == "onnxscript" else find_spec(name)
    )
    with pytest.raises(InputError, match=r"^onnxscript is not installed: pip install .*\[onnx\]"):
        check_names(["emotion"])
