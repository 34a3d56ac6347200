"""Every committed network has an entry in data/weights/README.md that agrees with its card."""

import json
import shutil

import pytest

from cdrl.cli.main import main
from cdrl.core.errors import InputError
from cdrl.core.paths import data_root
from cdrl.recipes import RECIPES
from cdrl.report import model_cards

WEIGHTS = data_root() / "weights"
KEYS = (
    "description",
    "made by",
    "trained on",
    "truth it saw",
    "scores",
    "form",
    "licence",
    "limits",
)


def entries(text):
    """{name: its rows as {key: value}}."""
    rows_by_name = {}
    for part in text.split("\n## ")[1:]:
        name, description, *lines = part.splitlines()
        rows = {"description": description}
        for line in lines:
            if line.startswith("| ") and not line.startswith("| |"):
                key, value = line.strip("| ").split(" | ", 1)
                rows[key] = value
        rows_by_name[name] = rows
    return rows_by_name


def committed_networks():
    """{name of a network: its file}."""
    files = {}
    for path in WEIGHTS.rglob("*.safetensors"):
        relative = path.relative_to(WEIGHTS)
        in_own_folder = path.stem in ("model", "targets")
        name = relative.parent if in_own_folder else relative.with_suffix("")
        files[str(name)] = path
    return files


def test_the_committed_page_is_what_the_command_writes():
    page = (WEIGHTS / "README.md").read_text()
    assert page == model_cards.cards_text(WEIGHTS), "run cdrl train --cards"


def test_every_network_has_an_entry_with_what_a_reader_has_to_know():
    rows_by_name = entries((WEIGHTS / "README.md").read_text())
    assert rows_by_name.keys() == committed_networks().keys()
    assert len(rows_by_name) >= 15
    for name, rows in rows_by_name.items():
        for key in KEYS:
            least = 3 if key == "licence" else 6
            assert len(rows.get(key, "")) >= least, (name, key)


def test_the_command_of_an_entry_makes_the_network_again():
    for name, rows in entries((WEIGHTS / "README.md").read_text()).items():
        command = rows["made by"].strip("`")
        if name.startswith("real/"):
            script = command.removeprefix("python ")
            assert (data_root().parent / script).exists(), name
        else:
            assert command.removeprefix("cdrl train ") in RECIPES, name


def test_an_entry_has_the_card_s_own_numbers():
    card = json.loads((WEIGHTS / "judge_a.json").read_text())
    rows = entries((WEIGHTS / "README.md").read_text())["judge_a"]
    assert f"accuracy {card['scores']['accuracy']}" in rows["scores"]
    assert f"chance {card['scores']['chance']}" in rows["scores"]
    assert rows["truth it saw"] == card["truth"]
    assert card["sha256"][:16] in rows["form"]
    assert "never train against it" in rows["limits"]


def test_the_command_writes_the_page_and_leaves_a_user_s_own_alone(tmp_path, capsys):
    for kind in ("json", "safetensors"):
        shutil.copy(WEIGHTS / f"judge_a.{kind}", tmp_path)
    page = tmp_path / "README.md"
    assert main(["train", "--cards", "--out", str(tmp_path)]) == 0
    assert entries(page.read_text()).keys() == {"judge_a"}

    page.write_text("mine")
    capsys.readouterr()
    assert main(["train", "--cards", "--out", str(tmp_path)]) == 2
    line = capsys.readouterr().err
    assert str(page) in line
    assert "not written by this command" in line
    assert page.read_text() == "mine"


def test_weights_without_a_card_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="no .safetensors file here"):
        model_cards.cards_text(tmp_path)
    shutil.copy(WEIGHTS / "judge_a.safetensors", tmp_path)
    with pytest.raises(InputError, match="judge_a.json: the card of these weights is missing"):
        model_cards.cards_text(tmp_path)
