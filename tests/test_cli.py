import json
import subprocess
import sys
import time
from collections import namedtuple

import pytest

from cdrl.cli.main import check_disk, main, parse_settings
from cdrl.core.errors import InputError
from cdrl.core.paths import repository_root
from cdrl.core.settings import CorpusConfig
from cdrl.core.stage import run_stage


def refused(capsys, *words):
    """The one line that a command refuses its input with."""
    assert main(list(words)) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("cdrl: ") and printed.err.count("\n") == 1
    return printed.err[6:-1]


def test_help_is_immediate_and_imports_nothing_heavy():
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "cdrl.cli.main", "--help"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "scores" in done.stdout
    heavy = {"torch", "numpy", "numba", "papermill", "plotly", "pandas"}
    assert not heavy & {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert time.monotonic() - start < 5  # 0.15 s on an idle core


def test_scores_prints_name_value_lines(tmp_path, capsys):
    run_stage(
        CorpusConfig(),
        tmp_path,
        lambda out: {"corpus.clips": 12, "corpus.emotion_from_mouth": 0.71238},
    )
    assert main(["scores", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "corpus.clips 12\ncorpus.emotion_from_mouth 0.7124\n"
    assert main(["scores", str(tmp_path), "*.emotion*"]) == 0
    assert capsys.readouterr().out == "corpus.emotion_from_mouth 0.7124\n"


def test_scores_of_nothing_are_refused(tmp_path, capsys):
    assert "no results in" in refused(capsys, "scores", str(tmp_path))
    (tmp_path / "results.json").write_text(
        json.dumps({"stages": {}, "run": {"time.total_seconds": 3.0}})
    )
    assert "matches 'contend'" in refused(capsys, "scores", str(tmp_path), "contend")


def test_misspelt_words_are_refused_in_one_line(capsys):
    assert "invalid choice: 'rnu' (choose from" in refused(capsys, "rnu")
    assert "unrecognized arguments: --pressset" in refused(capsys, "run", "--pressset=smoke")
    assert "argument --preset: invalid choice: 'large'" in refused(
        capsys, "run", "--preset", "large"
    )
    assert "argument --from: 9: two digits from 00 to 06 are accepted" in refused(
        capsys, "run", "--from", "9"
    )
    assert "--set steps: name=value is needed" in refused(capsys, "run", "--set", "steps")
    assert "did you mean content.steps?" in refused(capsys, "run", "--set", "content.stepz=4")
    assert "corpus=meat: accepted are studio" in refused(capsys, "run", "--corpus", "meat")


def test_a_missing_corpus_root_is_refused(capsys, tmp_path):
    line = refused(
        capsys, "run", "--corpus", "studio", "--set", f"corpus.data_root={tmp_path / 'gone'}"
    )
    assert (
        line.startswith("corpus studio: corpus.data_root=")
        and "is not a folder: give the folder that holds" in line
    )


def test_run_refuses_before_anything_is_written_where_the_disk_is_small(
    capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "shutil.disk_usage", lambda path: namedtuple("Usage", "total used free")(10, 10, 10_000_000)
    )
    assert "0.0 GB of disk are free" in refused(
        capsys, "run", "--preset", "smoke", "--out", str(tmp_path / "new")
    )
    assert not (tmp_path / "new").exists()


def test_disk_that_the_run_already_holds_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "shutil.disk_usage", lambda path: namedtuple("Usage", "total used free")(10, 10, 1_000_000)
    )
    (tmp_path / "held").write_bytes(bytes(2_000_000))
    check_disk(tmp_path, 0.0025)
    with pytest.raises(InputError, match="another --out or a smaller --preset"):
        check_disk(tmp_path, 0.0035)


def test_edit_refuses_what_it_cannot_use_before_it_begins(capsys, tmp_path):
    clip = str(next((repository_root() / "data" / "samples").glob("*.flv")))
    out = ["--out", str(tmp_path / "out.mp4")]
    assert "unknown emotion 'hapy' (did you mean happy?)" in refused(
        capsys, "edit", clip, "--emotion", "hapy", *out
    )
    assert "gone.mp4: no such video file" in refused(
        capsys, "edit", "gone.mp4", "--emotion", "happy", *out
    )
    assert "as in --out out.mp4" in refused(
        capsys, "edit", clip, "--emotion", "happy", "--out", str(tmp_path / "out.avi")
    )
    (tmp_path / "own.mp4").write_bytes(b"")
    own = str(tmp_path / "own.mp4")
    assert "is the source itself" in refused(
        capsys, "edit", own, "--emotion", "happy", "--out", own
    )
    assert [path.name for path in tmp_path.iterdir()] == ["own.mp4"]


def test_settings_are_split_at_the_first_equals_sign():
    assert parse_settings(["content.steps=200", "corpus.data_root=/a=b"]) == {
        "content.steps": "200",
        "corpus.data_root": "/a=b",
    }
    with pytest.raises(InputError, match="--set =3: name=value is needed"):
        parse_settings(["=3"])


@pytest.mark.parametrize("name", ["syncnet", "arcface", "efficient_face"])
def test_published_weights_that_are_missing_are_told_before_anything_runs(name, tmp_path, capsys):
    assert (
        main(
            [
                "run",
                "--preset",
                "smoke",
                "--out",
                str(tmp_path / "run"),
                "--set",
                f"evaluate.{name}={tmp_path}/none.pth",
            ]
        )
        == 2
    )
    assert (
        "none.pth: no such file of weights" in capsys.readouterr().err
        and not (tmp_path / "run").exists()
    )
