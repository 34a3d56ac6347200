"""Every committed network has its entry in data/weights/README.md, and the entry is what its card says."""

import json
import shutil

import pytest

from cdrl.cli.main import main
from cdrl.core.errors import InputError
from cdrl.core.paths import data_root
from cdrl.recipes import RECIPES
from cdrl.report import model_cards

WEIGHTS = data_root() / "weights"


def entries(text):
    """{name: its rows as {key: value}}."""
    found = {}
    for part in text.split("\n## ")[1:]:
        lines = part.splitlines()
        rows = [
            line.strip("| ").split(" | ", 1)
            for line in lines
            if line.startswith("| ") and not line.startswith("| |")
        ]
        found[lines[0]] = {"what": lines[1], **dict(rows)}
    return found


def test_the_committed_page_is_what_the_command_writes():
    assert (WEIGHTS / "README.md").read_text() == model_cards.cards_text(WEIGHTS), (
        "run cdrl train --cards"
    )


def test_every_file_of_weights_has_an_entry_with_what_a_reader_has_to_know():
    found = entries((WEIGHTS / "README.md").read_text())
    files = [path.relative_to(WEIGHTS) for path in WEIGHTS.rglob("*.safetensors")]
    named = {
        str(path.with_suffix("")) if len(path.parts) == 1 else str(path.parent) for path in files
    }
    assert found.keys() == named and len(named) >= 15
    for name, entry in found.items():
        keys = (
            "what",
            "made by",
            "trained on",
            "truth it saw",
            "scores",
            "form",
            "licence",
            "limits",
        )
        assert all(len(entry.get(key, "")) > 5 for key in keys), name
        assert entry["made by"].strip("`").removeprefix("cdrl train ") in RECIPES, (
            "the command makes it again"
        )


def test_an_entry_tells_the_card_s_own_numbers():
    card, entry = (
        json.loads((WEIGHTS / "judge_a.json").read_text()),
        entries((WEIGHTS / "README.md").read_text())["judge_a"],
    )
    assert (
        f"accuracy {card['scores']['accuracy']}" in entry["scores"]
        and f"chance {card['scores']['chance']}" in entry["scores"]
    )
    assert (
        entry["truth it saw"] == card["truth"]
        and card["sha256"][:16] in entry["form"]
        and "never train against it" in entry["limits"]
    )


def test_the_command_writes_the_page_and_leaves_somebody_s_own_alone(tmp_path, capsys):
    for kind in ("json", "safetensors"):
        shutil.copy(WEIGHTS / f"judge_a.{kind}", tmp_path)
    assert main(["train", "--cards", "--out", str(tmp_path)]) == 0
    assert entries((tmp_path / "README.md").read_text()).keys() == {"judge_a"}
    (tmp_path / "README.md").write_text("mine")
    capsys.readouterr()
    assert main(["train", "--cards", "--out", str(tmp_path)]) == 2
    assert "not written by this command, so it is not replaced" in capsys.readouterr().err


def test_weights_without_a_card_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="no .safetensors file here"):
        model_cards.cards_text(tmp_path)
    shutil.copy(WEIGHTS / "judge_a.safetensors", tmp_path)
    with pytest.raises(InputError, match="judge_a.json: the card of these weights is missing"):
        model_cards.cards_text(tmp_path)
