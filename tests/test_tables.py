"""Tables of scores: what an argument needs is shown, all else is folded, nothing is invented."""

from cdrl.report.tables import score_rows, score_table

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
