"""What the pages on large corpora and on speed say is what was measured."""

import importlib
import json
from pathlib import PurePosixPath

import pytest

from cdrl.core.paths import repository_root
from cdrl.corpora.adapters import CORPORA

ROOT = repository_root()
RECORD = json.loads((ROOT / "results" / "scale" / "ingest.json").read_text())
PAGE = (ROOT / "docs" / "guides" / "scale.md").read_text()


@pytest.fixture
def scripts(monkeypatch):
    """The folder of the scripts, importable; one of them sets the number of threads."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def measure_ingest(scripts):
    """The script that measures ingests and prints the tables."""
    return importlib.import_module("measure_ingest")


def test_the_tables_of_the_page_are_those_that_the_script_prints(measure_ingest):
    for table in (measure_ingest.size_table(RECORD), measure_ingest.corpus_table(RECORD)):
        assert "\n".join(table) in PAGE


def test_cost_grows_with_the_number_of_clips_and_memory_does_not():
    sizes = {int(number): entry for number, entry in RECORD["sizes"].items()}
    assert sorted(sizes) == [100, 1000, 10_000]
    cpu = {}
    for number, entry in sizes.items():
        assert entry["clips"] == number  # none was left out
        assert 0 < entry["clips_when_stopped"] < number
        # Each byte is written once as a piece and once into the store.
        assert entry["written_bytes"] < 2.1 * entry["store_bytes"]
        cpu[number] = entry["user_cpu_seconds"] + entry["system_cpu_seconds"]
    first = (cpu[1000] - cpu[100]) / 900
    later = (cpu[10_000] - cpu[1000]) / 9000
    assert later < 1.25 * first
    assert sizes[10_000]["worker_mb"] < 1.1 * sizes[100]["worker_mb"]
    assert sizes[10_000]["parent_mb"] < sizes[100]["parent_mb"] + 100


def test_names_of_the_measured_corpus_are_those_of_mead(measure_ingest):
    names = list(measure_ingest.mead_names(700))
    assert len(set(names)) == 700
    for name in names:
        assert CORPORA["mead"].parse(PurePosixPath("MEAD") / name)["camera"] == "front"


def test_hours_and_gigabytes_follow_from_clips_and_what_one_costs(measure_ingest):
    entry = {
        "user_cpu_seconds_a_clip": 1.5,
        "system_cpu_seconds_a_clip": 0.3,
        "store_bytes_a_clip": 2_000_000,
    }
    record = {"corpora": dict.fromkeys(("crema-d", "ravdess", "mead"), entry)}
    lines = measure_ingest.corpus_table(record)
    assert lines[2] == "| crema-d | 7,442 | 5.2 | 1.80 | 3.7 | 15 | 19 |"


def test_the_table_of_ratios_is_that_of_the_record(scripts):
    compare_speed = importlib.import_module("compare_speed")
    folder = ROOT / "results" / "speed"
    record = json.loads((folder / "speed.json").read_text())
    assert set(record["parts"]) <= set(compare_speed.PARTS)
    assert compare_speed.page(record) == (folder / "README.md").read_text()


def test_a_row_says_that_a_peer_is_faster_only_where_every_ratio_does(scripts):
    compare_speed = importlib.import_module("compare_speed")
    row = vars(compare_speed.Row("a sum", "kit", "peer", [2.0, 2.0, 2.0], [1.0, 1.5, 1.8]))
    assert "**the peer is faster**" in compare_speed.table_row(row)
    assert "0.75 (0.50 to 0.90)" in compare_speed.table_row(row)
    row["peer_seconds"] = [1.0, 1.5, 2.2]
    assert "faster" not in compare_speed.table_row(row)
    row |= {"peer_seconds": [], "not_run": "memory"}
    assert "not run: memory" in compare_speed.table_row(row)
