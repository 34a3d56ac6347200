"""Networks on disk with their cards, and frozen parts that checkpoints leave out."""

import json
from copy import deepcopy
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from huggingface_hub import hub_mixin
from safetensors.torch import load_file, save_file
from torch import nn

from cdrl.core import checkpoint
from cdrl.core.checkpoint import (
    Pretrained,
    freeze,
    load_card,
    load_network,
    load_trained_state,
    load_weights,
    save_network,
    save_pretrained,
    save_weights,
    trained_state,
    weights_path,
)
from cdrl.core.errors import InputError
from cdrl.core.weight_files import checksum


class Small(nn.Module):
    """A linear layer whose size its card tells."""

    def __init__(self, features: int = 3):
        super().__init__()
        self.condition_mlp = nn.Linear(features, 2)


class Shared(nn.Module, Pretrained):
    """A network of the Hub's form."""

    def __init__(self, features: int = 3):
        super().__init__()
        self.config = {"features": features}
        self.layer = nn.Linear(features, 2)


class Trained(nn.Module):
    """A trained layer and a prior."""

    def __init__(self, prior: nn.Module):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.prior = prior

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.prior(self.layer(x))


def test_a_saved_network_is_read_back_bit_for_bit_with_its_card_and_history(tmp_path):
    network = Small(5)
    card = {"model": {"features": 5}, "steps": 7}
    history = pd.DataFrame({"step": [10, 20], "total": [0.5, 0.25]})
    returned = save_network(tmp_path / "made", network, card, history)
    loaded = load_network(Small, tmp_path / "made")

    assert returned is network
    for model in (returned, loaded):
        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert load_card(tmp_path / "made") == card
    assert pd.read_parquet(tmp_path / "made/history.parquet").equals(history)
    names = sorted(path.name for path in (tmp_path / "made").iterdir())
    assert names == ["history.parquet", "model.json", "model.safetensors"]


def test_without_a_history_none_is_written(tmp_path):
    save_network(tmp_path, Small(), {"model": {}})
    assert not (tmp_path / "history.parquet").exists()


def test_a_folder_without_a_card_or_with_damaged_weights_is_named(tmp_path):
    with pytest.raises(InputError, match=r"model.json: no trained encoder here"):
        load_network(Small, tmp_path)
    save_network(tmp_path, Small(), {"model": {}})
    (tmp_path / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(InputError, match=r"model.safetensors: not a readable safetensors file"):
        load_network(Small, tmp_path)


def test_parts_are_found_under_their_former_names(tmp_path):
    network = Small()
    save_network(tmp_path, network, {"model": {}})
    state = load_file(tmp_path / "model.safetensors")
    former = {name.replace("condition_mlp", "told"): value for name, value in state.items()}
    save_file(former, tmp_path / "model.safetensors")
    loaded = load_network(Small, tmp_path)
    assert torch.equal(loaded.condition_mlp.weight, network.condition_mlp.weight)


def test_weights_with_unknown_parts_name_the_version_that_reads_them_in_one_line(tmp_path):
    save_network(tmp_path, Small(), {"model": {}})
    state = load_file(tmp_path / "model.safetensors")
    unknown = {name.replace("condition_mlp", "oracle"): value for name, value in state.items()}
    save_file(unknown, tmp_path / "model.safetensors")
    with pytest.raises(InputError) as of_a_run:
        load_network(Small, tmp_path)

    class Oracle(nn.Module):
        def __init__(self):
            super().__init__()
            self.oracle = nn.Linear(3, 2)

    path = save_weights(tmp_path / "mine.safetensors", Oracle(), {"model": {}})
    with pytest.raises(InputError) as of_a_file:
        load_weights(str(path), Small())

    for error, name in ((of_a_run, "model.safetensors"), (of_a_file, "mine.safetensors")):
        message = str(error.value)
        assert "\n" not in message
        assert name in message
        assert "weights of another model" in message
        assert "0.1.0" in message


def test_a_frozen_part_stays_in_eval_mode_without_gradients_and_out_of_the_state():
    network = Trained(freeze(nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))))
    network.train()
    assert network.layer.training
    assert not any(part.training for part in network.prior.modules())
    assert not any(parameter.requires_grad for parameter in network.prior.parameters())

    network(torch.rand(4, 3)).sum().backward()
    assert network.layer.weight.grad.abs().sum() > 0
    assert set(trained_state(network)) == {"layer.weight", "layer.bias"}
    assert "prior.1.weight" in network.state_dict()


def test_a_part_below_another_or_registered_twice_is_left_out_wherever_it_stands():
    shared = freeze(nn.Linear(3, 3))
    network = nn.ModuleDict({"first": Trained(shared), "second": Trained(shared)})
    names = {"first.layer.weight", "first.layer.bias", "second.layer.weight", "second.layer.bias"}
    assert set(trained_state(network)) == names


def test_names_that_begin_alike_are_told_apart():
    network = nn.ModuleDict({"prior": freeze(nn.Linear(1, 1)), "prior2": nn.Linear(1, 1)})
    assert set(trained_state(network)) == {"prior2.weight", "prior2.bias"}


def test_a_copy_of_a_frozen_part_is_frozen_by_itself():
    network = deepcopy(Trained(freeze(nn.Dropout(0.5))))
    network.train()
    assert network.training
    assert not network.prior.training
    assert network.prior.train() is network.prior


def test_the_trained_state_is_loaded_and_the_frozen_part_stays():
    source = Trained(freeze(nn.Linear(3, 2)))
    network = Trained(freeze(nn.Linear(3, 2)))
    before = network.prior.weight.clone()
    load_trained_state(network, trained_state(source))
    assert torch.equal(network.layer.weight, source.layer.weight)
    assert torch.equal(network.prior.weight, before)


@pytest.mark.parametrize("change", ["missing", "unknown", "frozen", "shape"])
def test_a_state_that_is_not_exactly_the_trained_parts_is_refused(change):
    network = Trained(freeze(nn.Linear(3, 2)))
    state = trained_state(network)
    if change == "missing":
        name = "layer.bias"
        del state[name]
    elif change == "unknown":
        name = "other.weight"
        state[name] = torch.zeros(1)
    elif change == "frozen":
        name = "prior.weight"
        state[name] = network.prior.weight
    else:
        name = "layer.weight"
        state[name] = torch.zeros(1)
    with pytest.raises(InputError, match=f"another model.*{name}"):
        load_trained_state(network, state)


def test_a_shared_network_has_the_hub_s_two_files_without_a_pickle_and_is_read_back(tmp_path):
    network = Shared(5)
    network.save_pretrained(tmp_path / "mine")
    names = sorted(path.name for path in (tmp_path / "mine").iterdir())
    assert names == ["README.md", "config.json", "model.safetensors"]
    assert json.loads((tmp_path / "mine/config.json").read_text())["features"] == 5

    loaded = Shared.from_pretrained(tmp_path / "mine")
    assert isinstance(loaded, Shared)
    assert loaded.config == {"features": 5}
    assert not loaded.training
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_the_card_of_a_shared_network_keeps_what_else_is_known(tmp_path):
    save_pretrained(Shared(4), tmp_path, {"emotions": ["happy"]})
    assert load_card(tmp_path) == {"model": {"features": 4}, "emotions": ["happy"]}


@pytest.mark.parametrize("form", ["weights", "run", "hub"])
def test_one_function_reads_every_form(tmp_path, form):
    network = Shared(4)
    card = {"model": {"features": 4}}
    if form == "weights":
        where = save_weights(tmp_path / "mine.safetensors", network, card)
    elif form == "run":
        save_network(tmp_path, network, card)
        where = tmp_path
    else:
        save_pretrained(network, tmp_path)
        where = tmp_path
    for location in (where, str(where)):
        loaded = Shared.from_pretrained(location)
        assert torch.allclose(loaded.layer.weight, network.layer.weight, atol=1e-3)
        assert loaded.layer.weight.dtype == torch.float32


def test_weights_are_written_in_half_precision_with_their_sha256(tmp_path):
    path = save_weights(tmp_path / "mine.safetensors", Small(), {"model": {}, "truth": "none"})
    card = load_card(path)
    assert card["sha256"] == checksum(path)
    assert card["parameters"] == 8
    assert {value.dtype for value in load_file(path).values()} == {torch.float16}

    path.with_suffix(".json").write_text(json.dumps(card | {"sha256": "0" * 64}))
    with pytest.raises(InputError, match=r"mine.safetensors: checksum differs from its card"):
        load_network(Small, path)


def test_a_committed_network_is_found_by_its_name():
    card = load_card("face_backbone")
    assert card["sha256"] == checksum(weights_path("face_backbone"))


def test_a_network_of_the_hub_is_downloaded_by_its_owner_and_name(tmp_path, monkeypatch):
    save_pretrained(Shared(4), tmp_path)
    requests = []

    def download(repository, name):
        requests.append((repository, name))
        return str(tmp_path / name)

    monkeypatch.setattr(checkpoint, "hf_hub_download", download)
    loaded = Shared.from_pretrained("owner/name")
    assert loaded.config == {"features": 4}
    assert set(requests) == {("owner/name", "config.json"), ("owner/name", "model.safetensors")}


def test_a_network_that_the_hub_does_not_give_is_named_in_one_line(monkeypatch):
    def refuse(repository, name):
        raise OSError("no connection\nat all")

    monkeypatch.setattr(checkpoint, "hf_hub_download", refuse)
    with pytest.raises(InputError, match=r"owner/name: .*Hub.*no connection") as error:
        Shared.from_pretrained("owner/name")
    assert "\n" not in str(error.value)


def test_a_network_is_uploaded_as_its_two_files_and_a_readme(monkeypatch):
    uploaded = []

    class Hub:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, **options):
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, repo_id, folder_path, **options):
            names = sorted(path.name for path in folder_path.iterdir())
            uploaded.append((repo_id, names))
            return "address"

    monkeypatch.setattr(hub_mixin, "HfApi", Hub)
    assert Shared().push_to_hub("owner/name") == "address"
    assert uploaded == [("owner/name", ["README.md", "config.json", "model.safetensors"])]


def test_only_from_pretrained_asks_the_hub(monkeypatch):
    def refuse(repository, name):
        raise AssertionError("asked the Hub")

    monkeypatch.setattr(checkpoint, "hf_hub_download", refuse)
    with pytest.raises(InputError, match=r"weights 'owner/name' not found in .*data/weights"):
        load_network(Small, "owner/name")
