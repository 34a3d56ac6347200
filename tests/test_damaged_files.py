"""Every file of the kit's own, damaged in eight ways: one line names it and says what to do."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from tiny_run import tiny_run
from torch import nn

from cdrl.cli.main import main
from cdrl.core.checkpoint import Pretrained, load_network, load_tensors, save_network, save_weights
from cdrl.core.errors import InputError
from cdrl.core.files import read_array, read_json
from cdrl.core.results import RESULTS, read_results
from cdrl.core.settings import STAGES, CorpusConfig, PriorsConfig, stage_folder
from cdrl.core.stage import finish_run, run_stage
from cdrl.core.stage_code import other_code
from cdrl.core.weight_files import verify
from cdrl.corpora.ingest_assembly import read_rejected
from cdrl.corpora.store import Store
from cdrl.corpora.store_sums import describe_sums
from cdrl.editing.requests import Request, load_requests
from cdrl.evaluation.readings import ClipReading, References, load_references, save_references
from cdrl.priors.feature_files import FeatureWriter, open_feature_file
from cdrl.report.explorer.atlas import read_atlas
from cdrl.stages.notes import read_notes, write_notes
from cdrl.study.edit_jobs import read_statistics
from cdrl.study.job_code import code_of_work, read_job


def truncated(content):
    return content[: len(content) // 2]


def flipped(content):
    """The same length, every byte of the first hundred changed."""
    return bytes(byte ^ 0x5A for byte in content[:100]) + content[100:]


DAMAGES = {
    "missing": None,
    "empty": lambda content: b"",
    "truncated": truncated,
    "mapping": lambda content: b"{}",
    "list": lambda content: b"[]",
    "null": lambda content: b"null",
    "random": lambda content: np.random.default_rng(len(content)).bytes(300),
    "flipped": flipped,
    "text": lambda content: b"<html>not found</html>",
}


class Small(nn.Module, Pretrained):
    """A network of the Hub's form."""

    def __init__(self, features: int = 3):
        super().__init__()
        self.config = {"features": features}
        self.layer = nn.Linear(features, 2)


def unlike(path):
    """Another content of the same kind as a file's: readable, and of the wrong shape."""
    if path.suffix == ".npy":
        np.save(path, np.zeros((2, 2, 2, 2, 2), np.complex64))
    elif path.suffix == ".npz":
        np.savez(path, other=np.zeros(3))
    elif path.suffix == ".parquet":
        pd.DataFrame({"other": [1]}).to_parquet(path)
    elif path.suffix == ".safetensors":
        save_file({"other": torch.zeros(3)}, path)
    elif path.suffix == ".csv":
        path.write_text("other\n1\n")
    else:
        path.write_text(json.dumps({"other": 1}))


def damage(path, name):
    if name == "unlike":
        unlike(path)
    elif name == "missing":
        path.unlink()
    else:
        path.write_bytes(DAMAGES[name](path.read_bytes()))


def walk(folder, names, open_it, allowed=()):
    """Damage each file in each way, open it, and compare what is said; files are mended again.

    Args:
        folder: of the files.
        names: of the files in it.
        open_it: opens all of them.
        allowed: (name, damage) of what is told apart by nothing, or made again.
    """
    open_it()
    silent = []
    for name in names:
        path = folder / name
        whole = path.read_bytes()
        for kind in (*DAMAGES, "unlike"):
            damage(path, kind)
            try:
                open_it()
                if (name, kind) not in allowed:
                    silent.append((name, kind))
            except InputError as error:
                message = str(error)
                named = path.parent if kind == "missing" else path
                assert named.name in message, (name, kind, message)
                assert "\n" not in message, (name, kind, message)
                assert len(message) < 600, (name, kind, message)
            path.write_bytes(whole)
    assert silent == []


def names_in(folder, *patterns):
    found = []
    for pattern in patterns:
        found += sorted(str(path.relative_to(folder)) for path in folder.rglob(pattern))
    assert found
    return found


def test_a_store(tmp_path):
    store = stage_folder(tiny_run(tmp_path / "run", 1, 1), "corpus") / "report"
    names = [name for name in names_in(store, "*") if name != "fingerprints.json"]
    assert len(names) == 6
    walk(store, names, lambda: Store(store))
    walk(store, names, lambda: describe_sums(store))


def test_a_store_from_before_sums_were_recorded(tmp_path):
    store = stage_folder(tiny_run(tmp_path / "run", 1, 1), "corpus") / "report"
    card = read_json(store / "store.json")
    card.pop("files")
    (store / "store.json").write_text(json.dumps(card))
    names = ["clips.parquet", "face.npy", "transforms.npy", "audio.npy"]
    walk(store, names, lambda: Store(store))
    walk(
        store, ["truth_viseme.npy"], lambda: Store(store), allowed=[("truth_viseme.npy", "missing")]
    )


def never(out):
    raise AssertionError("work was done again")


def test_a_run_and_its_results(tmp_path, capsys):
    run = tmp_path / "run"
    for config_class in STAGES.values():
        run_stage(config_class(), run, lambda out: {})
    finish_run(run, 1, 1)

    def open_all():
        run_stage(CorpusConfig(), run, never)
        run_stage(PriorsConfig(), run, never)
        other_code(run)

    folders = [stage_folder(run, stage).name for stage in ("corpus", "priors")]
    names = [f"{folder}/{name}" for folder in folders for name in ("config.json", RESULTS)]
    gone = [(name, "missing") for name in names if name.endswith("config.json")]
    # A stage without results is not finished: its work is done again, and what follows is refused.
    walk(run, [names[0], names[2]], open_all, allowed=gone)
    for name in (names[1], names[3]):
        whole = (run / name).read_bytes()
        for kind in [*DAMAGES, "unlike"]:
            if kind != "missing":
                damage(run / name, kind)
                with pytest.raises(InputError, match=RESULTS):
                    open_all()
                (run / name).write_bytes(whole)

    def scores():
        if main(["scores", str(run)]):
            raise InputError(capsys.readouterr().err.strip())

    walk(run, [RESULTS], scores, allowed=[(RESULTS, "missing")])
    walk(run, [RESULTS], lambda: read_results(run, of_run=True), allowed=[(RESULTS, "missing")])


def test_notes_and_requests_of_a_run(tmp_path):
    run = tiny_run(tmp_path / "run", 1, 1)
    corpus = stage_folder(run, "corpus")
    write_notes(corpus, ["one", "two"])
    notes = [("notes.json", kind) for kind in ("missing", "list")]
    walk(corpus, ["notes.json"], lambda: read_notes(run, "corpus"), allowed=notes)

    values = dict(zip(Request._fields, (0, "sad", 1, "", "drawn"), strict=True))
    table = pd.DataFrame([values | {"name": "a", "speaker": "0000"}])
    table.to_parquet(corpus / "edits.parquet")
    walk(corpus, ["edits.parquet"], lambda: load_requests(run))


def test_embeddings_and_maps_that_the_explorer_reads(tmp_path):
    run = tiny_run(tmp_path / "run", 1, 2)
    folder = stage_folder(run, "probe")
    names = names_in(folder, "*.npy")
    assert len(names) == 6

    def open_all():
        for name in names:
            read_array(folder / name, 1 if name.endswith("_rows.npy") else 2)

    read_atlas(run)
    walk(folder, names, open_all)
    for name in names:
        whole = (folder / name).read_bytes()
        damage(folder / name, "unlike")
        with pytest.raises(InputError, match=name):
            read_atlas(run)
        (folder / name).write_bytes(whole)


@pytest.mark.parametrize("form", ["of a run", "committed", "hub", "tensors"])
def test_networks_and_their_cards(tmp_path, form):
    where = tmp_path / "net"
    model = Small()
    names = ["model.safetensors", "model.json"]
    if form == "of a run":
        save_network(where, model, {"model": {"features": 3}})
    elif form == "committed":
        save_weights(where / "net.safetensors", model, {"model": {"features": 3}})
        names = ["net.safetensors", "net.json"]
    elif form == "hub":
        model.save_pretrained(where)
        names = ["model.safetensors", "config.json"]
    else:
        where.mkdir()
        file = where / "targets.safetensors"
        save_file({"text": torch.zeros(2)}, file)
        walk(where, [file.name], lambda: load_tensors(file, ("text",)))
        return
    source = str(where / names[0]) if form == "committed" else where
    # A card of the Hub is the arguments alone: none of them says what is missing.
    allowed = [("config.json", "mapping")]
    walk(where, names, lambda: load_network(Small, source), allowed=allowed)


def test_a_card_with_other_arguments_of_the_network_is_named(tmp_path):
    save_network(tmp_path, Small(), {"model": {"features": 3}})
    for model in ({"width": 3}, {"features": "x"}, {"features": -1}, {"features": None}, [], None):
        (tmp_path / "model.json").write_text(json.dumps({"model": model}))
        with pytest.raises(InputError, match=r"model\.json"):
            load_network(Small, tmp_path)


def test_records_of_weights_of_others(tmp_path, capsys):
    file = tmp_path / "w.pth"
    file.write_bytes(b"weights")
    verify(file)
    allowed = [("w.pth.json", "missing")]
    walk(tmp_path, ["w.pth.json"], lambda: verify(file), allowed=allowed)


def test_features(tmp_path):
    path = tmp_path / "face.safetensors"
    writer = FeatureWriter(path, ["0" * 32], np.array([3]), 4, {"name": "p"})
    writer.write([0], np.ones((3, 4), np.float32))
    writer.finish()
    walk(tmp_path, [path.name], lambda: open_feature_file(path))


def reading(frames):
    return ClipReading(np.zeros((frames, 3)), np.zeros((frames, 4, 2)), "sad", "sad", np.zeros(4))


def test_files_of_a_study(tmp_path):
    save_references(
        References([reading(2)], [reading(2)], np.zeros((1, 4))), tmp_path / "references.npz"
    )
    walk(tmp_path, ["references.npz"], lambda: load_references(tmp_path / "references.npz"))

    (tmp_path / "job.json").write_text('{"scores": {"a": 1}, "code": "x"}')
    walk(tmp_path, ["job.json"], lambda: read_job(tmp_path / "job.json"))
    (tmp_path / "study.json").write_text('{"hash": "x", "config": {}, "code": "x"}')
    allowed = [("study.json", kind) for kind in ("missing", "mapping", "unlike")]
    walk(tmp_path, ["study.json"], lambda: code_of_work(tmp_path), allowed=allowed)

    (tmp_path / "jobs").mkdir()
    np.savez(tmp_path / "jobs" / "image.cdrl.0.npz", **{"1/psnr": np.zeros((2, 1))})
    name = "jobs/image.cdrl.0.npz"
    walk(tmp_path, [name], lambda: read_statistics(tmp_path, "image.cdrl", 0))


def test_the_list_of_clips_that_an_ingest_left_out(tmp_path):
    (tmp_path / "rejected.csv").write_text("name,reason\na,too dark\n")
    cut = [("rejected.csv", "truncated")]  # a table that ends early is a table
    walk(tmp_path, ["rejected.csv"], lambda: read_rejected(tmp_path), allowed=cut)
