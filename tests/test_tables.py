"""Tables of scores: what an argument needs is shown, all else is folded, nothing is invented."""

import pandas as pd
import pytest

from cdrl.cli.main import main
from cdrl.core.paths import repository_root
from cdrl.core.results import all_scores, read_results, score_lines
from cdrl.core.settings import CorpusConfig
from cdrl.core.stage import run_stage
from cdrl.report.main_scores import NUM_SCORES, main_scores, plain_names
from cdrl.report.tables import ColumnTable, score_rows, score_table
from cdrl.report.words import words_of

SCORES = {
    "content.viseme": 0.48375,
    "content.viseme.chance": 0.1555,
    "content.viseme.low": 0.4468,
    "content.viseme.high": 0.5138,
    "content.viseme.n": 6000.0,
    "content.viseme.linear": 0.48375,
    "content.loss": 2.5,
    "emotion.emotion": 0.781,
}


def test_each_score_stands_beside_its_chance_interval_and_n():
    descriptions = {
        "content.viseme": "mouth <shapes>",
        "content.loss": "loss",
        "content.gone": "never scored",
    }
    first, second = score_table(SCORES, descriptions, ("content",)).rows
    numbers = ("0.4838", "0.1555", "0.4468 to 0.5138", "6000")
    assert first == ("mouth <shapes>", "content.viseme", *numbers)
    assert second == ("loss", "content.loss", "2.5", "", "", "")


def test_the_page_of_a_table_shows_its_rows_and_folds_the_other_scores():
    descriptions = {"content.viseme": "mouth <shapes>", "content.loss": "loss"}
    table = score_table(SCORES, descriptions, ("content",))
    page = table._repr_html_()
    assert page.count("<tr>") == 3
    assert "mouth &lt;shapes&gt;" in page
    assert "emotion.emotion" not in page
    visible, folded = page.split("<details>")
    assert "content.viseme.linear" not in visible
    assert "content.viseme.linear 0.4838" in folded
    assert table.folded[-1] == "content.loss 2.5"
    assert len(table.folded) == 7


def test_a_table_without_folded_scores_has_nothing_to_open():
    table = score_table(SCORES, {"content.loss": "loss"})
    assert "<details>" not in table._repr_html_()


def test_a_score_that_the_run_does_not_have_is_left_out():
    assert score_table(SCORES, {"content.gone": "never scored"}).rows == ()


def test_plain_text_shows_the_same_rows_in_columns():
    descriptions = {"content.viseme": "shapes", "content.loss": "loss"}
    table = score_table(SCORES, descriptions, ("content",))
    lines = repr(table).splitlines()
    assert len(lines) == 3
    first_row = "shapes content.viseme 0.4838 0.1555 0.4468 to 0.5138 6000"
    assert lines[1].split() == first_row.split()
    width = lines[0].index("score")
    first_column = [line[:width].strip() for line in lines]
    assert first_column == ["what", "shapes", "loss"], "columns are aligned"


def test_a_folded_line_stands_once_though_two_patterns_match_it():
    assert len(score_table(SCORES, {}, ("content", "content.viseme")).folded) == 7


def test_the_report_s_rows_put_chance_interval_and_n_in_small_print():
    rows = score_rows(SCORES)
    assert "<td>0.4838<small>0.4468 to 0.5138, chance 0.1555, n 6000</small></td>" in rows
    assert rows.count("<tr>") == 4


def many_scores():
    """The scores of a run: more than anyone reads."""
    scores = {f"spfem.image.cdrl.mouth_error.part_{k}": k / 100 for k in range(90)}
    scores |= SCORES
    scores["spfem.image.cdrl.emotion_accuracy"] = 0.7
    return scores


@pytest.fixture(scope="module")
def large_run(tmp_path_factory):
    run = tmp_path_factory.mktemp("large")
    run_stage(CorpusConfig(), run, lambda out: many_scores())
    return run


def printed(capsys, *words):
    assert main(["scores", *map(str, words)]) == 0
    return capsys.readouterr().out.splitlines()


def test_scores_without_a_pattern_are_the_main_ones_and_say_how_to_see_the_rest(large_run, capsys):
    lines = printed(capsys, large_run)
    assert lines[0].split()[:2] == ["name", "value"]
    cells = {line.split()[0]: line.split()[1:] for line in lines[1:-2]}
    assert list(cells) == ["content.viseme", "emotion.emotion", "spfem.image.cdrl.emotion_accuracy"]
    numbers = ["0.4838", "0.1555", "0.4468", "to", "0.5138", "6000"]
    assert cells["content.viseme"][:6] == numbers
    assert f"cdrl scores {large_run} --all" in lines[-1]
    assert f"cdrl scores {large_run} content" in lines[-1]


def test_all_scores_and_those_of_a_pattern_are_plain_name_value_lines(large_run, capsys):
    assert printed(capsys, large_run, "--all") == score_lines(many_scores())
    assert printed(capsys, large_run, "content.loss") == ["content.loss 2.5"]


def test_the_study_s_main_scores_fit_a_screen_and_keep_chance_and_interval(capsys):
    study = repository_root() / "results" / "study"
    lines = printed(capsys, study)
    assert 10 < len(lines) <= NUM_SCORES + 3
    names = [line.split()[0] for line in lines[1:-2]]
    scores = all_scores(read_results(study))
    assert names == main_scores(scores)
    for line, name in zip(lines[1:], names, strict=False):
        assert line.split()[1] == score_lines({name: scores[name]})[0].split()[1]
        if f"{name}.low" in scores:
            assert " to " in line


@pytest.mark.parametrize(
    "scores",
    [
        {},
        {"corpus.clips": 12, "corpus.share": 0.5, "corpus.share.chance": 0.2},
        {"content.viseme": 0.5, "spfem.actions.cdrl.emotion_accuracy": 0.1},
    ],
)
def test_main_scores_are_those_that_are_there_and_no_part_of_another(scores):
    names = main_scores(scores)
    assert set(names) <= set(plain_names(scores))
    assert bool(names) == bool(scores)


def test_every_main_score_of_the_study_has_words():
    for name in main_scores(all_scores(read_results(repository_root() / "results" / "study"))):
        assert "_" not in words_of(name)
        assert "." not in words_of(name)


def test_the_main_scores_of_real_people_are_those_of_the_default_editor_in_words(capsys):
    folder = repository_root() / "results" / "real"
    lines = printed(capsys, folder)
    names = [line.split()[0] for line in lines[1:-2]]
    assert names[:2] == ["real.actions.all.top", "real.actions.all.rise"]
    assert "real.copy.all.rise" in names and "nan" not in "".join(lines)
    for name in names:
        assert words_of(name).startswith("real people, ")
        assert "_" not in words_of(name) and "." not in words_of(name)
    # What a run says of its real clips is no edit.
    assert words_of("real.raw.retrieval_r1").startswith("frozen features: ")
    assert words_of("real.viseme") == "content, as trained: mouth shape of a frame"


def test_a_table_of_variants_has_its_intervals_below_its_values_and_words_for_heads():
    cells = {"mouth_error": "0.511 (0.474 to 0.547)", "psnr": float("nan")}
    table = ColumnTable(pd.DataFrame({"cdrl": cells, "copy_source": cells}))
    page = table._repr_html_()
    assert page.count("<td>0.511<small>0.474 to 0.547</small></td>") == 2
    assert page.count("<td></td>") == 2
    assert "<th>with CDRL</th><th>copy of the source</th>" in page
    assert "0.511 (0.474 to 0.547)" in repr(table)
