"""The sealed set: drawn by the commit of its protocol, scored once, never trained on."""

import ast
import subprocess
from types import SimpleNamespace

import pandas as pd
import pytest

from cdrl.cli.checks import study_settings
from cdrl.cli.main import build_parser
from cdrl.core.errors import InputError
from cdrl.core.files import read_json, write_json
from cdrl.core.paths import repository_root
from cdrl.core.settings import StudyConfig
from cdrl.studio.corpus import SPLITS, name_of, reserved_people, specs
from cdrl.studio.people import RESERVED_PEOPLE
from cdrl.studio.sentences import sentence_ids
from cdrl.study import seal
from cdrl.study.edit_jobs import edit_folder, intensity_scales
from cdrl.study.frontier_tables import sealed_rows
from cdrl.study.run import list_jobs, run_study, study_clips
from cdrl.study.seal import (
    CHOSEN,
    PROTOCOL,
    RECORD,
    check_sealed_store,
    close_seal,
    describe,
    marked,
    open_seal,
    read_openings,
    read_protocol,
    sealed_clips,
)

ROOT = repository_root()
CHOICE = {
    "baseline": {"actions.baseline_half_once": [1.0, 2.0]},
    "cdrl": {"actions.cdrl_once_double": [0.75, 1.0]},
}
ALLOWED = {"cdrl/studio/corpus.py", "cdrl/study/seal.py", "cdrl/study/run.py"}


def git(root, *arguments):
    names = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", "-C", str(root), *names, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def clone(tmp_path):
    """A clone with a committed protocol, and another commit after it."""
    root = tmp_path / "clone"
    (root / PROTOCOL).parent.mkdir(parents=True)
    (root / PROTOCOL).write_text("score once\n")
    write_json(root / CHOSEN, CHOICE)
    git(tmp_path, "init", "-q", str(root))
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "protocol")
    (root / "code.py").write_text("pass\n")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "code")
    return root


def open_here(root, again=False, rows="", settings="a", code="b"):
    return open_seal(rows, settings, code, again, root)


def test_the_commit_that_changed_the_protocol_draws_the_people(clone):
    protocol = read_protocol(clone)
    assert protocol.commit == git(clone, "rev-parse", "HEAD~1")
    assert protocol.seed == int(protocol.commit[:8], 16)

    clips = sealed_clips(StudyConfig(), protocol)
    people = {clip.person for clip in clips}
    assert people == set(reserved_people(protocol.seed))
    assert {clip.sentence for clip in clips} <= set(sentence_ids("reserved"))
    assert {clip.version for clip in clips} == {1}
    assert len(people) == 48 and len({clip.sentence for clip in clips}) == 12

    (clone / PROTOCOL).write_text("score once, and well\n")
    git(clone, "commit", "-q", "-a", "-m", "better protocol")
    assert not people & set(reserved_people(read_protocol(clone).seed))


@pytest.mark.parametrize("file", [PROTOCOL, CHOSEN])
def test_a_protocol_that_is_not_as_committed_is_refused(clone, file):
    with open(clone / file, "a") as stream:
        stream.write("\n")
    with pytest.raises(InputError, match=f"{file} is not as committed: commit the protocol"):
        read_protocol(clone)

    (clone / file).unlink()
    with pytest.raises(InputError, match=f"{file} is missing"):
        read_protocol(clone)


def test_without_git_nothing_is_drawn(clone, tmp_path):
    bare = tmp_path / "bare"
    (bare / PROTOCOL).parent.mkdir(parents=True)
    for file in (PROTOCOL, CHOSEN):
        (bare / file).write_text("{}")
    with pytest.raises(InputError, match="no clone that git can read"):
        read_protocol(bare)


def test_a_sealed_set_is_scored_once_and_then_again_only_where_that_is_said(clone):
    first = open_here(clone)
    assert not first.finished
    assert open_here(clone) == first, "an interrupted scoring goes on"
    with pytest.raises(InputError, match="was opened on .*--again scores it again"):
        open_here(clone, code="c")

    done = close_seal(first, clone)
    assert done.finished and close_seal(done, clone) == done
    with pytest.raises(InputError, match="was scored on .*a sealed set counts once") as refused:
        open_here(clone)
    assert "\n" not in str(refused.value)
    assert len(read_openings(clone)) == 1

    second = open_here(clone, again=True)
    assert second.again == 1
    assert len(read_openings(clone)) == 2
    recorded = read_json(clone / RECORD)["openings"][0]
    assert recorded["seed"] == first.seed and recorded["head"] == git(clone, "rev-parse", "HEAD")


def test_every_table_says_that_it_was_scored_again(clone):
    table = pd.DataFrame({"row": ["a", "b"]})
    first = close_seal(open_here(clone), clone)
    assert not marked(table, first).sealed.str.contains("again").any()
    assert "sealed.scored_again" not in describe(first)
    assert describe(first)["sealed.protocol"] == first.commit

    third = open_here(clone, again=True, code="c")
    third = open_here(clone, again=True, code="d")
    assert marked(table, third).sealed.str.endswith("scored again (2 before)").all()
    assert describe(third)["sealed.scored_again"] == 2


@pytest.fixture
def in_clone(clone, monkeypatch):
    monkeypatch.setattr(seal, "repository_root", lambda: clone)
    return clone


def test_the_sealed_set_scores_what_was_chosen(in_clone):
    rows = sealed_rows()
    assert rows[:3] == ["image.copy_source", "curves.truth", "actions.paired"]
    assert {"actions.baseline_half_once", "actions.cdrl_once_double"} <= set(rows)
    assert "actions.cdrl_once_once" not in rows

    config = StudyConfig(split="sealed", half="opponents")
    assert intensity_scales(config, "actions.baseline_half_once") == [1.0, 2.0]
    assert intensity_scales(config, "actions.classifier")[-1] == 2.5
    assert {job.row for job in list_jobs(config)} == set(rows)
    clips = study_clips(config)
    assert len({clip.person for clip in clips["sealed"]}) == 48
    assert {clip.version for clip in clips["train"]} == {1}


def test_nothing_is_rendered_before_the_protocol_is_committed(in_clone, tmp_path):
    (in_clone / PROTOCOL).write_text("other\n")
    config = StudyConfig(split="sealed", half="opponents")
    with pytest.raises(InputError, match="is not as committed"):
        run_study(tmp_path / "out", tmp_path / "work", config)
    assert not (tmp_path / "work").exists()
    assert not (in_clone / RECORD).exists()


def test_people_of_another_protocol_are_never_taken_for_these(in_clone, tmp_path, monkeypatch):
    config = StudyConfig(split="sealed", half="opponents")
    clips = study_clips(config)["sealed"]
    folder = edit_folder(tmp_path, config)
    stored = [name_of(clip) for clip in clips[:-1]]  # a face was not found in the last one
    monkeypatch.setattr(
        seal, "Store", lambda path: SimpleNamespace(clips=pd.DataFrame({"name": stored}))
    )
    check_sealed_store(tmp_path, clips)
    write_json(tmp_path / "sealed" / "store.json", {})
    check_sealed_store(tmp_path, clips)

    (in_clone / PROTOCOL).write_text("other\n")
    git(in_clone, "commit", "-q", "-a", "-m", "other")
    assert edit_folder(tmp_path, config) != folder
    others = study_clips(config)["sealed"]
    with pytest.raises(InputError, match="has the people of another protocol: choose another"):
        check_sealed_store(tmp_path, others)


def settings_of(*arguments):
    return study_settings(build_parser().parse_args(["study", *arguments]))


def test_the_command_knows_who_is_sealed():
    config = settings_of("--sealed", "--set", "seeds=5")
    assert (config.split, config.half, config.studio_version) == ("sealed", "opponents", 1)
    assert config.seeds == 5
    with pytest.raises(InputError, match="split=sealed: `cdrl study --sealed`"):
        settings_of("--set", "split=sealed")
    with pytest.raises(InputError, match="studio_version=2: the sealed set has studio_version=1"):
        settings_of("--sealed", "--set", "studio_version=2")
    with pytest.raises(InputError, match="--again: only the sealed set is scored once"):
        settings_of("--again")


def test_no_training_set_has_a_sealed_person():
    for name, split in SPLITS.items():
        if name != "reserved":
            assert not set(split.people) & set(RESERVED_PEOPLE), name
    train = specs("train", version=2)
    assert not {clip.person for clip in train} & set(RESERVED_PEOPLE)


def test_nothing_but_the_sealed_set_asks_for_a_sealed_person():
    """Who names them: the studio, which has them, and the study, which scores them."""
    names = {"reserved_people", "reserved_specs", "sealed_clips", "RESERVED_PEOPLE"}
    wrong = {}
    for path in (ROOT / "cdrl").rglob("*.py"):
        tree = ast.parse(path.read_text())
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        used |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        file = str(path.relative_to(ROOT))
        is_studio = file.startswith("cdrl/studio/")
        if not is_studio and file not in ALLOWED and (names & used or "reserved" in texts):
            wrong[file] = sorted(names & used)
    assert wrong == {}
