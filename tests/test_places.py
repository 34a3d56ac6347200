"""Where commands write is checked before any work; a full disk and closed folders are one line."""

import errno
import os
import stat
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from cdrl.cli import checks
from cdrl.cli.commands import COMMANDS
from cdrl.cli.main import build_parser, main
from cdrl.cli.notebooks import _notebook_error
from cdrl.core import compile_cache
from cdrl.core.errors import InputError, tells_full_disk
from cdrl.core.files import atomic_path, write_json
from cdrl.core.paths import repository_root
from cdrl.core.places import check_file, check_folder
from cdrl.core.settings import stage_config
from cdrl.core.stage import run_stage

ROOT = repository_root()
LONG = "x" * 255
# Every command that writes, with the option that says where; {} stands for the place.
FOLDERS = {
    "run": ["run", "--preset", "smoke", "--out", "{}"],
    "grid": ["grid", "GRID", "--out", "{}"],
    "study": ["study", "--set", "speech=cached", "--out", "{}"],
    "study work": ["study", "--set", "speech=cached", "--work", "{}"],
    "train": ["train", "judge_a", "--out", "{}"],
    "train work": ["train", "judge_a", "--work", "{}"],
    "cards": ["train", "--cards", "--out", "{}"],
    "ingest": ["data", "ingest", "ROOT", "--out", "{}"],
    "evaluate": ["evaluate", "ROOT", "--out", "{}"],
    "export": ["export", "--out", "{}"],
    "studio": ["data", "studio", "--layout", "mead", "--out", "{}"],
}
FILES = {"explore": ["explore", "RUN", "--out", "{}"], "dial": ["dial", "RUN", "--out", "{}"]}
# The check of each command comes first; none of these may import what the command works with.
HEAVY = {"torch", "pandas", "papermill", "numba", "plotly"}


@pytest.fixture
def surroundings(tmp_path, monkeypatch):
    """A working directory with a file, a dangling link and a grid."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "g.yaml").write_text("preset: smoke")
    return tmp_path


def places_of_no_folder():
    """Values of --out that cannot be a folder, with words of the refusal."""
    yield "file", "is a file"
    yield "file/run", "is no folder"
    yield "link", "link to nothing"
    yield "loop", "link to nothing"
    yield "/dev/null/x", "/dev/null is no folder"
    yield "/proc/new/run", "nothing can be written in /proc"
    yield LONG, "240 bytes"
    yield "ж" * 121, "240 bytes"
    yield "a/" * 2000 + "a", "240 bytes"
    yield "a\nb", "cannot be printed"
    yield "\udcff", "cannot be printed"
    yield "/", "whole disk"
    yield str(ROOT), "holds the kit"
    yield str(ROOT.parent), "holds the kit"


@pytest.mark.parametrize("words", FOLDERS.values(), ids=FOLDERS)
def test_every_command_refuses_a_place_that_is_no_folder_before_any_work(
    words, surroundings, capsys
):
    names = {"GRID": "g.yaml", "ROOT": str(surroundings)}
    before = sorted(path.name for path in surroundings.iterdir())
    for place, reason in places_of_no_folder():
        filled = [names.get(word, word).replace("{}", place) for word in words]
        assert main(filled) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        assert reason in printed.err, place[:20]
        assert len(printed.err) < 700
    assert sorted(path.name for path in surroundings.iterdir()) == before


@pytest.mark.parametrize("words", FILES.values(), ids=FILES)
def test_every_page_refuses_a_place_that_is_no_file_before_any_work(words, surroundings, capsys):
    (surroundings / "folder.html").mkdir()
    places = {
        ".": "ends in .html",
        "page": "ends in .html",
        "folder.html": "is a folder",
        "/dev/null/x.html": "is no folder",
        "file/x.html": "is no folder",
        f"{LONG}.html": "240 bytes",
        "a\nb.html": "cannot be printed",
    }
    for place, reason in places.items():
        assert main([word.replace("{}", place) for word in words]) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        assert reason in line


def test_every_command_that_writes_has_a_check_that_comes_first():
    places = {"--out", "--work", "--manifest", "--set"}
    for command in COMMANDS:
        options = {name for argument in command.arguments for name in argument.names}
        if options & places and command.words != ("edit",):  # it plans its files by itself
            assert command.check, command.words


def test_a_store_does_not_replace_the_working_folder(surroundings, capsys):
    for place in (".", str(surroundings), "new/.."):
        assert main(["data", "ingest", "ROOT", "--out", place]) == 2
        assert "is the working folder" in capsys.readouterr().err


def test_places_that_can_be_written_are_taken_and_nothing_is_left_in_them(surroundings):
    for place in ("new", "new/er/run", ".", "..", str(surroundings)):
        check_folder("--out", place)
    check_file("--out", "page.html", ".html")
    check_file("--manifest", "new/manifest.parquet")
    assert not (surroundings / "new").exists()
    assert not list(surroundings.glob(".cdrl*"))


def test_bad_settings_are_answered_before_anything_heavy_is_imported():
    code = (
        "import sys\nfrom cdrl.cli.main import main\n"
        f"assert main(sys.argv[1:]) == 2\nassert not {HEAVY} & set(sys.modules), sys.modules.keys()"
    )
    for words in (
        ["run", "--set", "content.steps=bad"],
        ["run", "--set", "presett=smoke"],
        ["run", "--preset", "smoke", "--set", "evaluate.sweep=nan"],
        ["study", "--set", "edit_sweep=nan"],
        ["grid", "/dev/zero"],
        ["data", "ingest", ".", "--out", "x", "--crop-size", "5"],
        ["run", "--out", "/dev/null/x"],
    ):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stderr)
        assert done.stderr.count("\n") == 1


def full_disk_errors():
    yield OSError(errno.ENOSPC, "No space left on device", "a.npy")
    yield OSError(errno.EDQUOT, "Disk quota exceeded")
    yield OSError(errno.EFBIG, "File too large")
    yield OSError("4096 requested and 12 written")  # NumPy's
    yield RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")
    yield RuntimeError("I/O error: No space left on device (os error 28)")  # of safetensors


@pytest.mark.parametrize("error", full_disk_errors(), ids=lambda error: str(error)[:20])
def test_a_full_disk_is_one_line_whoever_meets_it(error, tmp_path, monkeypatch, capsys):
    def fail(*words, **options):
        raise error

    assert tells_full_disk(error)
    with (
        pytest.raises(InputError, match="x.bin: no space is left"),
        atomic_path(tmp_path / "x.bin"),
    ):
        raise error
    assert not list(tmp_path.iterdir())

    for words, function in {
        ("explore", "RUN"): "cdrl.cli.pages.explore",
        ("run", "--preset", "smoke", "--out", str(tmp_path)): "cdrl.cli.run.run",
    }.items():
        monkeypatch.setattr(function, fail)
        assert main(list(words)) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        assert "no space is left on the disk" in line
        assert "run the same again" in line

    class FromPapermill(Exception):
        ename = type(error).__name__
        evalue = str(error)
        cell_index = 3

    refusal = _notebook_error(tmp_path / "00.ipynb", tmp_path / "copy", FromPapermill(str(error)))
    assert isinstance(refusal, InputError)
    assert "no space is left" in str(refusal)


def test_other_errors_are_no_full_disk():
    for error in (OSError(errno.ENOENT, "No such file"), ValueError("2 requested"), KeyError("a")):
        assert not tells_full_disk(error)


def test_a_limit_on_the_size_of_files_is_told_in_one_line(tmp_path):
    code = (
        "import resource, sys\nfrom cdrl.core.files import write_array\nimport numpy as np\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "write_array(sys.argv[1], np.zeros(1_000_000))"
    )
    file = tmp_path / "a.npy"
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True)
    assert "InputError" in done.stderr.splitlines()[-1]
    assert "no space is left" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_get_the_mode_that_the_user_s_umask_gives(tmp_path, mask, mode):
    former = os.umask(mask)
    try:
        write_json(tmp_path / "a.json", {})
        with atomic_path(tmp_path / "model.safetensors") as temporary:
            save_file({"a": torch.zeros(2)}, temporary)
    finally:
        os.umask(former)
    for name in ("a.json", "model.safetensors"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode


def test_compiled_code_has_a_private_place_where_nothing_can_be_written(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("NUMBA_CACHE_DIR", "before")  # so that the end of the test takes it away
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    assert compile_cache.choose_compile_cache() == ""

    monkeypatch.setattr(compile_cache, "is_writable", lambda folder: False)
    monkeypatch.setitem(sys.modules, "numba", None)
    folder = compile_cache.choose_compile_cache()
    assert os.environ["NUMBA_CACHE_DIR"] == folder
    assert folder.startswith(str(tmp_path))
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700

    monkeypatch.delenv("NUMBA_CACHE_DIR")
    os.chmod(folder, 0o777)  # what others could write is not executed
    assert compile_cache.choose_compile_cache() != folder
    monkeypatch.setenv("NUMBA_CACHE_DIR", "mine")
    assert compile_cache.choose_compile_cache() == "mine"


@pytest.mark.parametrize("kind", [KeyError, OSError])
def test_torch_gets_a_cache_where_the_user_id_has_no_name(kind, monkeypatch, tmp_path):
    """As in `docker run -u 12345`, where `import torchvision` ends in a KeyError otherwise."""

    def no_name():
        raise kind("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv(compile_cache.TORCH_VARIABLE, "")  # so that it is restored afterwards
    del os.environ[compile_cache.TORCH_VARIABLE]
    monkeypatch.setattr(compile_cache.getpass, "getuser", lambda: "somebody")
    compile_cache.choose_torch_cache()
    assert compile_cache.TORCH_VARIABLE not in os.environ

    monkeypatch.setattr(compile_cache.getpass, "getuser", no_name)
    compile_cache.choose_torch_cache()
    folder = os.environ[compile_cache.TORCH_VARIABLE]
    assert os.path.dirname(folder) == str(tmp_path)
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    monkeypatch.undo()


def test_a_folder_is_writable_where_something_can_be_made_in_it(tmp_path):
    assert compile_cache.is_writable(tmp_path / "new" / "er")
    assert not compile_cache.is_writable(compile_cache.Path("/proc/new"))
    assert not compile_cache.is_writable(compile_cache.Path("/dev/null/new"))


def test_a_run_resumes_from_a_relative_folder(tmp_path, monkeypatch):
    corpus = tmp_path / "clips"
    corpus.mkdir()
    run = tmp_path / "run"
    settings = {"corpus.corpus": "folder", "corpus.data_root": str(corpus)}
    config = stage_config("corpus", "smoke", settings)
    run_stage(config, run, lambda out: {"corpus.a": 1.0})
    monkeypatch.chdir(tmp_path)
    words = ["run", "--preset", "smoke", "--corpus", "folder", "--data-root", "clips"]
    arguments = build_parser().parse_args([*words, "--out", str(run)])
    checks.run(arguments)
    other = build_parser().parse_args([*words[:-1], str(tmp_path), "--out", str(run)])
    with pytest.raises(InputError, match="was made with data_root="):
        checks.run(other)


def test_a_study_takes_a_loss_under_the_name_that_runs_have():
    words = ["study", "--set", "content.loss=mine:triplet", "--set", "seeds=1"]
    config = checks.study_settings(build_parser().parse_args(words))
    assert config.content_loss == "mine:triplet"
