"""The command `cdrl compare`: what it refuses, and its table."""

import ast
from pathlib import Path

import pandas as pd
import pytest

from cdrl.cli.compare import SMALL
from cdrl.cli.main import main
from cdrl.core.errors import InputError
from cdrl.core.notebook_parameters import declared_parameters
from cdrl.core.paths import notebooks_root
from cdrl.evaluation.leakage import ProbeCorpus
from cdrl.report import figures
from cdrl.report.ideas import NO_DIFFERENCE, idea_lines
from cdrl.stages.s07_ideas import SMALL_RUN, check_visemes

MINE = "content.loss=mine:triplet"


def refused(capsys, *words):
    """The one line with which the command refuses these words."""
    assert main(["compare", *words]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    "words, parts",
    [
        (["emotion.loss=mine:mine"], ("emotion.loss", "cdrl run")),
        (["content.loss"], ("idea content.loss", "name=value")),
        (["content.lose=mine:mine"], ("content.lose", "content.loss")),
        (["content.window=5", "--seeds", "0"], ("--seeds 0", "from 1")),
        (["content.window=5", "--steps", "0"], ("--steps", "0")),
        (["content.seed=3"], ("content.seed=3", "--seeds")),
    ],
)
def test_ideas_and_numbers_that_cannot_be_used_are_refused_in_one_line(capsys, words, parts):
    line = refused(capsys, *words)
    assert line.count("\n") == 1
    for part in parts:
        assert part in line


def test_code_that_is_not_there_and_a_run_that_is_not_there_are_refused(capsys, tmp_path):
    assert "nowhere_to_be_found" in refused(capsys, "content.loss=nowhere_to_be_found:loss")
    run = str(tmp_path / "gone")
    assert run in refused(capsys, "content.temperature=0.2", "--run", run)


def test_the_command_and_notebook_07_share_one_small_run():
    parameters = declared_parameters(notebooks_root() / "07_your_own_loss.ipynb")
    assert ast.literal_eval(parameters["settings"].default) == SMALL_RUN
    assert ast.literal_eval(parameters["run_folder"].default) == SMALL


def test_a_corpus_without_visemes_is_refused_with_its_run():
    real = ProbeCorpus(pd.DataFrame({"speaker": ["ann"]}), pd.DataFrame({"clip": [0]}))
    with pytest.raises(InputError, match="runs/real: no truth about viseme.*studio"):
        check_visemes(Path("runs/real"), real)


def score(key, value, low, high, chance=0.1):
    return {key: value, f"{key}.low": low, f"{key}.high": high, f"{key}.chance": chance}


def test_the_table_says_better_only_where_the_whole_interval_is_on_the_better_side():
    scores = {}
    for name in ("kit", MINE):
        for kind in ("swap_image", "viseme", "emotion"):
            scores |= score(f"{name}.{kind}", 0.5, 0.4, 0.6)
    scores |= score(f"{MINE}.swap_image_gain", 0.02, 0.01, 0.03)
    scores |= score(f"{MINE}.viseme_gain", 0.02, -0.01, 0.05)
    scores |= score(f"{MINE}.emotion_gain", 0.02, 0.01, 0.03)

    table = [line for line in idea_lines(scores) if MINE in line]

    assert len(table) == 3
    assert table[0].endswith("+0.020 (+0.010 to +0.030)  better")
    assert table[1].endswith(NO_DIFFERENCE)
    assert table[2].endswith("worse")


def test_one_person_has_no_interval():
    nan = float("nan")
    scores = {}
    for kind in ("swap_image", "viseme", "emotion"):
        scores |= score(f"kit.{kind}", 0.5, nan, nan)
    assert "nan" not in "\n".join(idea_lines(scores))


def test_marks_of_differences_are_not_called_chance():
    figure = figures.score_bars(["mine"], [0.1], 0, mark="no gain")
    assert [trace.name for trace in figure.data] == ["score", "no gain"]
