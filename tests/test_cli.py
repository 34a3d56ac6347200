"""The commands: what they print, and what they refuse in one line before anything runs."""

import json
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

from cdrl.cli.commands import COMMANDS, NOTEBOOK_NUMBERS
from cdrl.cli.main import load_function, main
from cdrl.cli.options import parse_settings
from cdrl.core.errors import InputError
from cdrl.core.files import check_disk
from cdrl.core.paths import repository_root
from cdrl.core.settings import STAGES, CorpusConfig
from cdrl.core.stage import run_stage

HEAVY = {"torch", "numpy", "numba", "papermill", "plotly", "pandas"}
DiskUsage = namedtuple("DiskUsage", "total used free")


def refused(capsys, *words):
    """The one line with which a command refuses its input."""
    assert main(list(words)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("cdrl: ")
    assert printed.err.count("\n") == 1
    return printed.err[6:-1]


def pretend_free_disk(monkeypatch, num_bytes):
    monkeypatch.setattr("shutil.disk_usage", lambda path: DiskUsage(10, 10, num_bytes))


def test_help_is_immediate_and_imports_nothing_heavy():
    start = time.monotonic()
    command = [sys.executable, "-X", "importtime", "-m", "cdrl.cli.main", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert "scores" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not HEAVY & imported
    assert time.monotonic() - start < 5  # 0.15 s on an idle core


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.words))
def test_every_command_has_its_function(command):
    assert callable(load_function(command.function))
    assert not command.check or callable(load_function(command.check))


def test_every_stage_has_its_notebook_number():
    assert len(NOTEBOOK_NUMBERS) == len(STAGES)


def test_scores_prints_name_value_lines(tmp_path, capsys):
    scores = {"corpus.clips": 12, "corpus.emotion_from_mouth": 0.71238}
    run_stage(CorpusConfig(), tmp_path, lambda out: scores)
    assert main(["scores", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "corpus.clips 12\ncorpus.emotion_from_mouth 0.7124\n"
    assert main(["scores", str(tmp_path), "*.emotion*"]) == 0
    assert capsys.readouterr().out == "corpus.emotion_from_mouth 0.7124\n"


def test_scores_of_nothing_are_refused(tmp_path, capsys):
    assert "no results in" in refused(capsys, "scores", str(tmp_path))
    results = {"stages": {}, "run": {"time.total_seconds": 3.0}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    line = refused(capsys, "scores", str(tmp_path), "contend")
    assert "matches 'contend'" in line
    assert f"cdrl scores {tmp_path}" in line


def test_misspelt_words_are_refused_in_one_line(capsys):
    line = refused(capsys, "rnu")
    assert "invalid choice: 'rnu'" in line
    assert "doctor" in line
    assert "unrecognized arguments: --pressset" in refused(capsys, "run", "--pressset=smoke")
    line = refused(capsys, "run", "--preset", "large")
    assert "argument --preset: invalid choice: 'large'" in line
    line = refused(capsys, "run", "--from", "9")
    assert "argument --from: invalid choice: '9'" in line
    assert "06" in line


def test_misspelt_settings_are_refused_in_one_line(capsys):
    assert "--set steps: name=value is needed" in refused(capsys, "run", "--set", "steps")
    line = refused(capsys, "run", "--set", "content.stepz=4")
    assert "did you mean content.steps?" in line
    line = refused(capsys, "run", "--corpus", "meat")
    assert "corpus=meat: accepted are studio" in line


def test_a_missing_corpus_root_is_refused(capsys, tmp_path):
    setting = f"corpus.data_root={tmp_path / 'gone'}"
    line = refused(capsys, "run", "--corpus", "studio", "--set", setting)
    assert line.startswith(f"corpus studio: {setting}")
    assert "is not a folder: give the folder that holds" in line


def test_a_real_corpus_without_its_folder_is_refused(capsys):
    line = refused(capsys, "run", "--corpus", "mead")
    assert "corpus mead: it is not generated" in line
    assert "--data-root FOLDER" in line


def test_run_refuses_a_small_disk_before_anything_is_written(capsys, tmp_path, monkeypatch):
    pretend_free_disk(monkeypatch, 10_000_000)
    new = tmp_path / "new"
    line = refused(capsys, "run", "--preset", "smoke", "--out", str(new))
    assert "0.0 GB of disk are free" in line
    assert not new.exists()


def test_disk_that_the_run_already_holds_counts(tmp_path, monkeypatch):
    pretend_free_disk(monkeypatch, 1_000_000)
    (tmp_path / "file").write_bytes(bytes(2_000_000))
    check_disk(tmp_path, 0.0025)
    with pytest.raises(InputError, match="another --out or a smaller --preset"):
        check_disk(tmp_path, 0.0035)


def test_what_lies_beside_the_output_is_no_part_of_it(capsys, tmp_path, monkeypatch):
    """A folder of large videos made a full disk look as if there were room."""
    pretend_free_disk(monkeypatch, 1_000)
    beside = tmp_path / "other.bin"
    with open(beside, "wb") as file:
        file.truncate(50_000_000_000)
    clips = str(repository_root() / "data" / "samples")
    line = refused(capsys, "data", "ingest", clips, "--out", str(tmp_path / "store"))
    assert "0.0 GB of disk are free" in line
    clip = str(next(Path(clips).glob("*.flv")))
    out = str(tmp_path / "a.mp4")
    line = refused(capsys, "edit", clip, "--emotion", "happy", "--out", out)
    assert "0.0 GB of disk are free" in line
    assert list(tmp_path.iterdir()) == [beside]


def test_edit_refuses_what_it_cannot_use_before_it_begins(capsys, tmp_path):
    samples = repository_root() / "data" / "samples"
    clip = str(next(samples.glob("*.flv")))
    out = ["--out", str(tmp_path / "out.mp4")]
    line = refused(capsys, "edit", clip, "--emotion", "hapy", *out)
    assert "unknown emotion 'hapy' (did you mean happy?)" in line
    line = refused(capsys, "edit", "gone.mp4", "--emotion", "happy", *out)
    assert "gone.mp4: no such video file" in line
    line = refused(capsys, "edit", clip, "--emotion", "happy", "--out", str(tmp_path / "out.avi"))
    assert "as in --out out.mp4" in line

    own = tmp_path / "own.mp4"
    own.write_bytes(b"")
    line = refused(capsys, "edit", str(own), "--emotion", "happy", "--out", str(own))
    assert "is the source itself" in line
    assert [path.name for path in tmp_path.iterdir()] == ["own.mp4"]


def test_settings_are_split_at_the_first_equals_sign():
    settings = parse_settings(["content.steps=200", "corpus.data_root=/a=b"])
    assert settings == {"content.steps": "200", "corpus.data_root": "/a=b"}
    with pytest.raises(InputError, match="--set =3: name=value is needed"):
        parse_settings(["=3"])


@pytest.mark.parametrize("name", ["syncnet", "arcface", "efficient_face"])
def test_published_weights_that_are_missing_are_refused_before_anything_runs(
    name, tmp_path, capsys
):
    run = tmp_path / "run"
    setting = f"evaluate.{name}={tmp_path}/none.pth"
    words = ["run", "--preset", "smoke", "--out", str(run), "--set", setting]
    assert "none.pth: no such file of weights" in refused(capsys, *words)
    assert not run.exists()


@pytest.mark.parametrize(
    "setting, reason",
    [
        ("corpus.train_people=99", "split smoke_train: 99 people asked for, it has 1 to 4"),
        ("corpus.report_sentences=99", "split smoke_report"),
        ("content.device=cuda:77", "device=cuda:77: not usable here"),
        ("priors.audio=WAV2VEC9", "WAV2VEC9"),
    ],
)
def test_what_the_kit_or_this_machine_does_not_have_is_refused_by_run_and_grid(
    setting, reason, tmp_path, capsys
):
    run = tmp_path / "run"
    words = ["run", "--preset", "smoke", "--out", str(run), "--set", setting]
    assert reason in refused(capsys, *words)
    name, _, value = setting.partition("=")
    grid = tmp_path / "g.yaml"
    grid.write_text(f"preset: smoke\ngrid: {{{name}: ['{value}']}}")
    line = refused(capsys, "grid", str(grid), "--out", str(run))
    assert line.startswith("run ")
    assert reason in line
    assert not run.exists()


def options_with_a_value():
    """Every option of every command that takes a text."""
    for command in COMMANDS:
        for argument in command.arguments:
            name = argument.names[-1]
            if name.startswith("--") and "action" not in argument.settings:
                yield pytest.param(command, name, id=f"{' '.join(command.words)} {name}")


@pytest.mark.parametrize(("command", "option"), options_with_a_value())
@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_text_is_refused_and_never_means_the_default(capsys, command, option, text):
    for words in ([option, text], [f"{option}={text}"]):
        message = refused(capsys, *command.words, *words)
        assert message.startswith(f"{option} {text!r}: ")
        assert "leave it out" in message


@pytest.mark.parametrize("text", ["happy:0.5,happy:0.5", "sad:1,happy:1, sad:2"])
def test_an_emotion_that_is_named_twice_in_a_mixture_is_refused(capsys, text):
    message = refused(capsys, "edit", "a.mp4", "--emotion", text, "--out", "b.mp4")
    assert "twice" in message
    assert text in message
