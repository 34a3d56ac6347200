"""Thousands of damaged inputs: each is done or refused in one line, and none is modified.

Short here; `make fuzz` sets CDRL_FUZZ=long: 2,000 inputs, 50 of each kind of file of the kit's own
and 400 media. A failure prints its seed, and `CDRL_FUZZ_SEED=N` begins there.
"""

import json
import os
import random

import pytest
import yaml
from fuzzing import (
    LONGEST,
    ODD_VALUES,
    damage_bytes,
    damage_json,
    damage_media,
    damaged_manifest,
    media_seeds,
    refused_or_done,
    try_edit,
    try_ingest,
    try_own_files,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cdrl.cli.edit import parse_mixture
from cdrl.cli.grid_file import read_grid
from cdrl.core.paths import data_root
from cdrl.core.pools import Lost, run_each
from cdrl.core.presets import PRESETS
from cdrl.core.settings import STAGES, field_names, stage_config
from cdrl.core.user_code import INTERFACES
from cdrl.corpora.manifest import load_manifest, save_manifest
from cdrl.corpora.scan import scan
from cdrl.corpora.splits import load_split
from cdrl.editing.control import IntensityCurve

LONG = os.environ.get("CDRL_FUZZ") == "long"
SEED = int(os.environ.get("CDRL_FUZZ_SEED", "0"))
EXAMPLES = 400 if LONG else 30
OWN_ROUNDS = 50 if LONG else 2
MEDIA = 400 if LONG else 2
WORKERS = 2 if LONG else 1
GROUP = 20  # damaged media of one ingest
SLOW_START = 60.0  # seconds of a child that loads everything first

fuzz = settings(
    max_examples=EXAMPLES,
    deadline=LONGEST * 1000,
    derandomize=not LONG,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
seeds = st.integers(0, 2**32 - 1)
odd_texts = st.sampled_from([str(value) for value in ODD_VALUES]) | st.text(max_size=40)
numbers = st.integers().map(str) | st.floats().map(str)

NAMES = []
for stage, config_class in STAGES.items():
    for name in field_names(config_class):
        full_name = f"{stage}.{name}"
        if full_name not in INTERFACES:  # these import what they name
            NAMES.append(full_name)


@fuzz
@given(st.sampled_from(NAMES) | odd_texts, odd_texts | numbers, st.sampled_from(sorted(PRESETS)))
def test_settings(name, value, preset):
    stage = name.partition(".")[0]
    stage = stage if stage in STAGES else "content"
    assert refused_or_done(stage_config, stage, preset, {name: value}) == ""


@fuzz
@given(st.text(max_size=40) | st.from_regex(r"[-0-9.e:,a-z ]{0,30}", fullmatch=True))
@example("0:0,1:nan")
@example("happy:1e-46")
@example("\n")
def test_curves_and_mixtures(text):
    assert refused_or_done(IntensityCurve.from_text, text) == ""
    assert refused_or_done(parse_mixture, text) == ""


GRID = {
    "preset": "smoke",
    "notebooks": [0, 1, 2],
    "settings": {"content.steps": 3},
    "grid": {"content.seed": [0, 1]},
    "rows": [{"content.alignment": "prior"}],
    "scores": ["content.*"],
}


@fuzz
@given(seeds)
def test_grids(tmp_path, seed):
    choose = random.Random(seed)
    content = yaml.safe_dump(GRID).encode()
    if choose.random() < 0.6:
        damaged = damage_json(GRID, choose)
        content = yaml.safe_dump(damaged, allow_unicode=True).encode("utf-8", "replace")
    else:
        content = damage_bytes(content, choose)
    path = tmp_path / "grid.yaml"
    path.write_bytes(content)
    assert refused_or_done(read_grid, path) == "", f"seed {seed}: {content[:300]!r}"


@fuzz
@given(seeds)
def test_splits(tmp_path, seed):
    choose = random.Random(seed)
    names = sorted((data_root() / "splits").glob("*.json"))
    valid = json.loads(choose.choice(names).read_text())
    path = tmp_path / "split.json"
    path.write_text(json.dumps(damage_json(valid, choose)))
    assert refused_or_done(load_split, path) == "", f"seed {seed}: {path.read_text()[:300]}"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """A manifest of three clips."""
    root = tmp_path_factory.mktemp("corpus")
    for name in ("a/happy/x.mp4", "a/sad/x.mp4", "b/neutral/x.mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return scan(root, "folder", "{speaker}/{emotion}/{sentence}").clips


@fuzz
@given(seeds)
def test_manifests(tmp_path, manifest, seed):
    choose = random.Random(seed)
    path = tmp_path / "manifest.parquet"
    if choose.random() < 0.3:
        save_manifest(manifest, path)
        path.write_bytes(damage_bytes(path.read_bytes(), choose))
    else:
        try:
            damaged_manifest(manifest, choose).to_parquet(path, index=False)
        except Exception:  # no file can hold such a table
            return
    assert refused_or_done(load_manifest, path) == "", f"seed {seed}"


def collect(function, jobs, workers, limit=LONGEST + SLOW_START):
    """Do jobs in processes with a time limit; what went wrong, all together."""
    faults = []
    for number, result in run_each(function, jobs, workers, limit):
        if isinstance(result, Lost):
            faults.append(f"{jobs[number]}: {result.reason}")
        elif result:
            faults += result if isinstance(result, list) else [result]
    return faults


def test_media_that_once_ended_in_a_traceback(tmp_path):
    """Labels that are no UTF-8, and a stream that begins in the middle."""
    clips = media_seeds(tmp_path / "seeds")
    for seed in (204, 249, 339):
        folder = tmp_path / str(seed) / "a" / "happy"
        folder.mkdir(parents=True)
        path = damage_media(clips[seed % len(clips)], folder, seed)
        assert not try_edit((path, tmp_path / f"{seed}.mp4"))
        assert not try_ingest((tmp_path / str(seed), tmp_path / "stores" / str(seed)))


def test_files_of_the_kit_s_own(tmp_path):
    """Cards, weights, stores, results, features and tables, each with its own damage."""
    jobs = [(tmp_path, SEED + number) for number in range(OWN_ROUNDS)]
    assert collect(try_own_files, jobs, WORKERS if LONG else 0) == []


@pytest.mark.slow
def test_media(tmp_path):
    """Damaged clips through `edit`, and in folders through `data ingest`."""
    clips = media_seeds(tmp_path / "seeds")
    damaged = tmp_path / "damaged"
    for number in range(MEDIA):
        source = clips[(SEED + number) % len(clips)]
        folder = damaged / str(number // GROUP) / "a" / "happy"
        folder.mkdir(parents=True, exist_ok=True)
        damage_media(source, folder, SEED + number)
    files = sorted(path for path in damaged.rglob("*") if path.is_file())
    assert len(files) == MEDIA

    (tmp_path / "edits").mkdir()
    edits = [(path, tmp_path / "edits" / f"{path.stem}.mp4") for path in files]
    ingests = [(root, tmp_path / "stores" / root.name) for root in sorted(damaged.iterdir())]
    workers = WORKERS if LONG else 0
    faults = collect(try_edit, edits, workers)
    faults += collect(try_ingest, ingests, workers, limit=LONGEST * GROUP)
    assert faults == []
