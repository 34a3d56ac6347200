"""Tables of scores: what an argument needs is shown, everything else is folded, nothing is invented."""

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
    table = score_table(
        SCORES,
        {
            "content.viseme": "mouth <shapes>",
            "content.loss": "loss",
            "content.gone": "never scored",
        },
        ("content",),
    )
    first, second = table.rows
    assert first == (
        "mouth <shapes>",
        "content.viseme",
        "0.4838",
        "0.1555",
        "0.4468 to 0.5138",
        "6000",
    )
    assert second == ("loss", "content.loss", "2.5", "", "", "")
    page = table._repr_html_()
    assert "mouth &lt;shapes&gt;" in page and "never scored" not in page and page.count("<tr>") == 3
    shown, folded = page.split("<details>")
    assert (
        "content.viseme.linear 0.4838" in folded
        and "content.viseme.linear" not in shown
        and "emotion.emotion" not in page
    )
    assert table.folded[-1] == "content.loss 2.5" and len(table.folded) == 7
    assert "<details>" not in score_table(SCORES, {"content.loss": "loss"})._repr_html_()


def test_plain_text_shows_the_same_rows_in_columns():
    lines = repr(
        score_table(SCORES, {"content.viseme": "shapes", "content.loss": "loss"}, ("content",))
    ).splitlines()
    assert len(lines) == 3 and lines[1].split() == [
        "shapes",
        "content.viseme",
        "0.4838",
        "0.1555",
        "0.4468",
        "to",
        "0.5138",
        "6000",
    ]
    assert all(
        line[: lines[0].index("score")].strip() in ("what", "shapes", "loss") for line in lines
    ), "columns are aligned"


def test_a_folded_line_stands_once_though_two_patterns_match_it():
    assert len(score_table(SCORES, {}, ("content", "content.viseme")).folded) == 7


def test_the_report_s_rows_put_chance_interval_and_n_in_small_print():
    rows = score_rows(SCORES)
    assert "<td>0.4838<small>0.4468 to 0.5138, chance 0.1555, n 6000</small></td>" in rows
    assert rows.count("<tr>") == 4
