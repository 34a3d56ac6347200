"""Files of weights: nothing in them is executed, and they are known by their sha256."""

import hashlib
import io
import json
import pathlib

import pytest
import torch
from safetensors.torch import save_file

from cdrl.baselines.released.networks import check_keys
from cdrl.core.checkpoint import kit_weights_path, load_network, load_tensors, save_network
from cdrl.core.errors import InputError
from cdrl.core.weight_files import fill, read_state, verify
from cdrl.evaluation.judges import NETWORKS, Judges
from cdrl.evaluation.lip_sync import load_syncnet
from cdrl.evaluation.realism import load_published


class Harmful:
    """A pickle that makes a file when it is opened as pickles usually are."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["backbone.pth", "backbone.safetensors", "backbone.bin"])
def test_a_pickle_with_code_is_refused_and_nothing_in_it_is_executed(tmp_path, name):
    harm = tmp_path / "harm"
    torch.save({"conv1.weight": Harmful(harm)}, tmp_path / name)
    expected = "nothing in it was executed|not a readable safetensors file"
    with pytest.raises(InputError, match=expected) as error:
        read_state(tmp_path / name)
    assert not harm.exists()
    assert "\n" not in str(error.value)
    torch.load(io.BytesIO((tmp_path / name).read_bytes()), weights_only=False)
    assert harm.exists(), "the same file does harm where it is trusted"


def test_a_torchscript_archive_is_not_opened(tmp_path):
    path = tmp_path / "ViT-B-32-openai.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(InputError, match=r"TorchScript archive.*a .safetensors or a .pth"):
        read_state(path)


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_a_file_that_was_cut_short_is_refused(tmp_path, name):
    path = tmp_path / name
    state = torch.nn.Linear(64, 64).state_dict()
    if path.suffix == ".safetensors":
        save_file(dict(state), path)
    else:
        torch.save(state, path)
    assert torch.equal(read_state(path)["weight"], state["weight"])

    path.write_bytes(path.read_bytes()[:-5000])
    expected = "not a readable safetensors file|cannot be read, perhaps cut short|or is damaged"
    with pytest.raises(InputError, match=expected) as error:
        read_state(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_state_dict_or_another_model_s_is_refused(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(InputError, match=r"list.pth: not a state dict"):
        read_state(tmp_path / "list.pth")
    with pytest.raises(InputError, match=r"gone.pth: no such file of weights"):
        read_state(tmp_path / "gone.pth")

    path = tmp_path / "wrapped.pth"
    state = torch.nn.Linear(2, 3).state_dict()
    wrapped = {f"module.{name}": value for name, value in state.items()}
    torch.save({"state_dict": wrapped}, path)
    state = read_state(path)
    assert fill(torch.nn.Linear(2, 3), state, path).weight.shape == (3, 2)
    with pytest.raises(InputError, match=r"wrapped.pth: weights of another model .*weight"):
        fill(torch.nn.Linear(4, 3), state, path)


def test_a_checksum_is_recorded_on_first_use_and_verified_from_then_on(tmp_path):
    path = tmp_path / "backbone.pth"
    path.write_bytes(b"first")
    digest = hashlib.sha256(b"first").hexdigest()
    assert verify(path) == digest
    assert verify(path) == digest

    path.write_bytes(b"second")
    with pytest.raises(InputError) as error:
        verify(path)
    message = str(error.value)
    assert f"backbone.pth.json says {digest[:12]}" in message
    assert "damaged or of another version" in message
    assert "remove backbone.pth.json" in message

    (tmp_path / "backbone.pth.json").unlink()
    (tmp_path / "backbone.json").write_text(json.dumps({"sha256": "0" * 64}))
    with pytest.raises(InputError, match="backbone.json says 000000000000"):
        verify(path)


def test_digits_that_a_publisher_put_into_the_name_are_verified(tmp_path):
    digest = hashlib.sha256(b"a").hexdigest()
    right = tmp_path / f"net-{digest[:8]}.pt"
    wrong = tmp_path / "net-deadbeef.pt"
    dated = tmp_path / "net-20240101.pt"
    for path in (right, wrong, dated):
        path.write_bytes(b"a")
    assert verify(right) == digest
    assert verify(dated) == digest
    with pytest.raises(InputError, match=f"begins with {digest[:12]}, its name says deadbeef"):
        verify(wrong)


SPOILT = {
    "nan": lambda value: value.clone().fill_(float("nan")),
    "inf": lambda value: value * float("inf"),
    "one nan among many": lambda value: torch.where(
        torch.arange(value.numel()).view_as(value) == 3, float("nan"), value
    ),
    "too large for single precision": lambda value: value.double() + 1e300,
    "integers": lambda value: (value * 100).to(torch.int8),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_weights_that_no_network_computes_with_are_refused_where_they_are_opened(tmp_path, kind):
    class Network(torch.nn.Linear):
        def __init__(self):
            super().__init__(3, 2)

    save_network(tmp_path, Network(), {"model": {}})
    path = tmp_path / "model.safetensors"
    load_network(Network, tmp_path)
    state = read_state(path)
    state["weight"] = SPOILT[kind](state["weight"])
    save_file(state, path)

    read = read_state(path)
    openers = [
        lambda: load_network(Network, tmp_path),
        lambda: fill(Network(), read, path),
        lambda: check_keys(path, Network().state_dict(), read),
    ]
    if kind not in ("integers", "too large for single precision"):
        openers.append(lambda: load_tensors(path))  # keeps the precision and kind of the file
    for opener in openers:
        with pytest.raises(InputError, match="'weight' holds") as error:
            opener()
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_integers_of_a_network_s_own_are_accepted(tmp_path):
    model = torch.nn.BatchNorm1d(3)
    assert fill(torch.nn.BatchNorm1d(3), model.state_dict(), tmp_path / "a.pth").num_features == 3


@pytest.mark.parametrize("content", ['{"sha256": null}', "{}", '{"sha256": ""}'])
def test_a_record_whose_sum_disappeared_is_told_and_not_recorded_anew(tmp_path, content):
    path = tmp_path / "net.pth"
    path.write_bytes(b"first")
    verify(path)
    record = tmp_path / "net.pth.json"
    record.write_text(content)
    path.write_bytes(b"second")
    with pytest.raises(InputError, match="is gone from it"):
        verify(path)
    assert record.read_text() == content


def test_a_record_that_is_made_is_told(tmp_path, capsys):
    path = tmp_path / "net.pth"
    path.write_bytes(b"first")
    verify(path)
    assert "no sum of it was known" in capsys.readouterr().err
    verify(path)
    assert capsys.readouterr().err == ""


def test_every_card_of_a_file_is_checked(tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(b"first")
    digest = hashlib.sha256(b"first").hexdigest()
    (tmp_path / "net.json").write_text(json.dumps({"sha256": digest}))
    (tmp_path / "net.pth.json").write_text(json.dumps({"sha256": "0" * 64}))
    with pytest.raises(InputError, match="net.pth.json says"):
        verify(path)


@pytest.mark.parametrize("load", [load_syncnet, lambda path: load_published("face", path)])
def test_a_file_that_has_changed_is_refused_before_it_is_parsed(tmp_path, load):
    path = tmp_path / "net-deadbeef.pth"
    path.write_bytes(b"no weights at all")
    with pytest.raises(InputError, match="its name says deadbeef"):
        load(path)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_user_s_folder_replaces_no_evaluation_network(tmp_path, monkeypatch, name):
    (tmp_path / f"{name}.safetensors").write_bytes(b"another")
    (tmp_path / f"{name}.json").write_text("{}")
    monkeypatch.setenv("CDRL_WEIGHTS", str(tmp_path))
    assert kit_weights_path(name).parent != tmp_path
    assert Judges((name,)).cards[name]["sha256"]
    assert kit_weights_path(str(tmp_path / f"{name}.safetensors")).parent == tmp_path
