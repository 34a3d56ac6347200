"""What made a result: the trees of the modules that its work imports, and what is done about it."""

import re
import shutil
import sys
import time
from functools import partial

import nbformat
import pytest

from cdrl.cli.main import main
from cdrl.core import code_identity as code
from cdrl.core.code_identity import changed_modules, code_identity
from cdrl.core.errors import InputError
from cdrl.core.files import read_json, write_json
from cdrl.core.paths import PACKAGE, repository_root
from cdrl.core.results import read_results
from cdrl.core.settings import STAGES, CorpusConfig, PriorsConfig, stage_folder
from cdrl.core.stage import finish_run, run_stage
from cdrl.core.stage_code import STAGE_MODULES, other_code, set_aside
from cdrl.report.run_page import write_report

LOSS = "cdrl.losses.contrastive"


@pytest.fixture(scope="module")
def cache_file(tmp_path_factory):
    """The trees that were read before, for all tests here."""
    return tmp_path_factory.mktemp("cache") / "code.json"


@pytest.fixture(autouse=True)
def package(tmp_path, monkeypatch, cache_file):
    """A copy of the kit's sources that a test may change, and a cache that is nobody's."""
    copy = tmp_path / "copy" / "cdrl"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    monkeypatch.setattr(code, "PACKAGE", copy)
    monkeypatch.setattr(code, "_cache_file", lambda: cache_file)
    code._cache.cache_clear()
    yield copy
    code._cache.cache_clear()


def change(path, before, after):
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_a_comment_a_docstring_and_layout_change_nothing_and_a_sign_does(package):
    file = package / "losses" / "contrastive.py"
    before = code_identity([LOSS])
    text = file.read_text()
    file.write_text(f"# a remark\n{text}\n\n")
    assert code_identity([LOSS]) == before
    file.write_text(re.sub(r'"""', '"""Explained anew. ', text, count=1))
    assert code_identity([LOSS]) == before
    file.write_text(text + "\nFURTHER = 1\n")
    after = code_identity([LOSS])
    assert after.sum != before.sum
    assert changed_modules(before.modules, after.modules) == [LOSS]


def test_the_loss_is_code_of_the_stage_that_trains_with_it_and_not_of_the_corpus():
    of_stage = {stage: code_identity([module]) for stage, module in STAGE_MODULES.items()}
    assert LOSS in of_stage["content"].modules
    assert LOSS not in of_stage["corpus"].modules
    assert "cdrl.studio.espeak_worker" in of_stage["corpus"].modules  # started by its name
    for identity in of_stage.values():
        assert not any(name.startswith(("cdrl.cli", "cdrl.report")) for name in identity.modules)


def test_every_stage_has_the_module_whose_work_its_notebook_calls():
    assert list(STAGE_MODULES) == list(STAGES)
    for number, (stage, module) in enumerate(STAGE_MODULES.items()):
        notebook = next((repository_root() / "notebooks").glob(f"{number:02d}_*.ipynb"))
        call = re.search(r"stages\.(\w+)\(run, config, out\)", notebook.read_text())
        path = PACKAGE.parent / f"{module.replace('.', '/')}.py"
        assert f"def {call[1]}(" in path.read_text(), stage


def test_identities_of_all_modules_take_less_than_a_second():
    names = list(code._package_sources())
    code_identity(names)
    code._read_file.cache_clear()
    code._cache.cache_clear()
    start = time.monotonic()
    identity = code_identity(names)
    assert time.monotonic() - start < 1
    assert len(identity.modules) == len(names)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', '{"a": ["x", 3]}'])
def test_a_damaged_cache_changes_no_identity(text):
    expected = code_identity([LOSS])
    code._cache_file().write_text(text)
    code._read_file.cache_clear()
    code._cache.cache_clear()
    assert code_identity([LOSS]) == expected


MINE = "import helper_of_mine\nfrom cdrl.losses import contrastive\n\ndef loss(x):\n    return x\n"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A user's module with a loss, and one beside it that it imports."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "loss_of_mine.py").write_text(MINE)
    (folder / "helper_of_mine.py").write_text("FACTOR = 2\n")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in ("loss_of_mine", "helper_of_mine"):
        sys.modules.pop(name, None)


def test_a_loss_of_the_user_is_part_of_the_code_by_object_and_by_name(mine):
    from loss_of_mine import loss

    plain = code_identity(["cdrl.core.errors"])
    for extra in (loss, partial(loss, 1), "loss_of_mine:loss"):
        identity = code_identity(["cdrl.core.errors"], [extra])
        assert identity.sum != plain.sum
        assert {"loss_of_mine", "helper_of_mine", LOSS} <= identity.modules.keys()
    (mine / "helper_of_mine.py").write_text("FACTOR = 3\n")
    changed = code_identity(["cdrl.core.errors"], [loss])
    assert changed_modules(identity.modules, changed.modules) == ["helper_of_mine"]


def test_code_without_a_source_is_refused_in_one_line():
    namespace = {}
    exec("def loss(x):\n    return x", namespace)
    for extra, shown in ((namespace["loss"], "loss"), ("no_such_module_at_all:loss", "no_such")):
        with pytest.raises(InputError) as refused:
            code_identity([], [extra])
        assert shown in str(refused.value)
        assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match=r"cdrl\.nothing"):
        code_identity(["cdrl.nothing"])


def never(out):
    raise AssertionError("work was done again")


def two_stages(run):
    run_stage(CorpusConfig(), run, lambda out: {"corpus.clips": 3})
    run_stage(PriorsConfig(), run, lambda out: {})


def test_a_finished_stage_of_other_code_is_kept_and_named(package, tmp_path, capsys):
    run = tmp_path / "run"
    two_stages(run)
    two_stages(run)
    assert "other code" not in capsys.readouterr().out
    assert other_code(run) == {}

    change(package / "priors" / "features.py", "SCHEMA_VERSION = ", "SCHEMA_VERSION = 1 + ")
    run_stage(CorpusConfig(), run, never)
    run_stage(PriorsConfig(), run, never)
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    for part in (str(run), "01_priors", "cdrl.priors.features", "--remake changed"):
        assert part in printed


def test_a_stage_from_before_code_was_recorded_is_named_too(tmp_path, capsys):
    two_stages(tmp_path)
    for name in ("config.json", "results.json"):
        file = stage_folder(tmp_path, "corpus") / name
        text = file.read_text()
        file.write_text(re.sub(r'"(code|modules|from_code)"', r'"former_\1"', text))
    assert list(other_code(tmp_path)) == ["corpus", "priors"]
    assert "not recorded" in other_code(tmp_path)["corpus"]
    assert "another corpus" in other_code(tmp_path)["priors"]


def test_code_that_changes_while_a_stage_is_made_is_named(package, tmp_path):
    def work(out):
        change(package / "corpora" / "store.py", "FULL_SCALE = 32767", "FULL_SCALE = 32768")

    results = run_stage(CorpusConfig(), tmp_path, work)
    assert results["stages"]["corpus"]["code"].count("+") == 1
    assert "while it was made" in other_code(tmp_path)["corpus"]


def test_a_stage_that_two_codes_worked_on_is_named(package, tmp_path):
    def interrupted(out):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(CorpusConfig(), tmp_path, interrupted)
    change(package / "corpora" / "store.py", "FULL_SCALE = 32767", "FULL_SCALE = 32768")
    results = run_stage(CorpusConfig(), tmp_path, lambda out: {})
    assert results["stages"]["corpus"]["code"].count("+") == 1
    assert "while it was made" in other_code(tmp_path)["corpus"]


def test_what_other_code_made_is_set_aside_with_all_that_follows_and_nothing_is_lost(
    package, tmp_path
):
    run = tmp_path / "run"
    for config_class in STAGES.values():
        run_stage(config_class(), run, lambda out: (out / "work").write_text("hours") and {})
    assert set_aside(run) == []
    change(
        package / "losses" / "contrastive.py", "def ", "def further() -> None:\n    pass\n\n\ndef "
    )
    moved = set_aside(run)
    assert [folder.name for folder in moved][:2] == ["02_content", "03_emotion"]
    assert len(moved) == 5
    assert all((folder / "work").read_text() == "hours" for folder in moved)
    assert stage_folder(run, "priors").exists()
    assert not stage_folder(run, "content").exists()
    assert other_code(run) == {}


def test_results_and_report_of_a_run_name_the_stages_of_other_code(package, tmp_path):
    for config_class in STAGES.values():
        run_stage(config_class(), tmp_path, lambda out: {})
    finish_run(tmp_path, 1, 1)
    assert read_results(tmp_path)["other_code"] == {}
    change(
        package / "losses" / "contrastive.py", "def ", "def further() -> None:\n    pass\n\n\ndef "
    )
    finish_run(tmp_path, 1, 1)
    assert LOSS in read_results(tmp_path)["other_code"]["content"]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "notebooks" / "00_a.ipynb")
    page = write_report(tmp_path).read_text()
    assert "Other code made these stages" in page
    assert f"content: changed since: {LOSS}" in page


def test_the_command_names_other_code_and_makes_it_again_where_asked(
    package, tmp_path, monkeypatch, capsys
):
    from cdrl.core.settings import stage_config

    run = tmp_path / "run"
    for stage in STAGES:
        run_stage(stage_config(stage, "smoke", {}), run, lambda out: {})
    monkeypatch.setattr("cdrl.cli.run.run_notebooks", lambda *words, **named: (1.0, 1.0))
    monkeypatch.setattr("cdrl.cli.run._look_for_inputs", lambda preset, settings: settings)
    monkeypatch.setattr("cdrl.cli.run._finish", lambda *words: None)
    words = ["run", "--preset", "smoke", "--out", str(run)]
    assert main(words) == 0
    assert "other code" not in capsys.readouterr().out
    change(
        package / "losses" / "contrastive.py", "def ", "def further() -> None:\n    pass\n\n\ndef "
    )
    assert main(words) == 0
    named = [line for line in capsys.readouterr().out.splitlines() if "other code" in line]
    assert len(named) == 1
    assert "02_content" in named[0]
    assert stage_folder(run, "content").exists()
    assert main([*words, "--remake", "changed"]) == 0
    assert "former" in capsys.readouterr().out
    assert not stage_folder(run, "content").exists()
    assert (run / "former" / "02_content").exists()


@pytest.mark.parametrize("part", ["code", "modules", "from_code"])
def test_a_damaged_record_of_code_is_named(tmp_path, part):
    two_stages(tmp_path)
    file = stage_folder(tmp_path, "priors") / "config.json"
    record = read_json(file)
    write_json(file, record | {part: [1]})
    with pytest.raises(InputError, match="01_priors/config.json"):
        run_stage(PriorsConfig(), tmp_path, never)
