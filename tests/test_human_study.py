"""A study with people: the page, its key, and the score of its answers."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, browser_path

from cdrl.core.errors import InputError
from cdrl.core.files import read_json

SCRIPT = Path(__file__).parent.parent / "scripts" / "human_study.py"


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("human_study", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def edits(tmp_path):
    """Edits of twelve clips to two emotions by two methods; a file is its own name."""
    for method in ("one", "two"):
        for emotion in ("happy", "sad"):
            folder = tmp_path / method / emotion
            folder.mkdir(parents=True)
            for clip in range(12):
                (folder / f"clip{clip}.mp4").write_text(f"{method} {emotion} {clip}")
    return tmp_path / "one", tmp_path / "two"


def answer(study, page, folder, rater, choose):
    """Write the answers of a rater who chooses by (trial of the key, files, question)."""
    trials = json.loads(
        (page / "index.html").read_text().split("const study = ")[1].split(";\n")[0]
    )
    key = read_json(page / study.KEY, dict)["trials"]
    answers = []
    for trial in trials["trials"]:
        for question in study.QUESTIONS:
            chosen = choose(key[trial["trial"]], trial["files"], question)
            answers.append({"trial": trial["trial"], "question": question, "chosen": chosen})
    path = folder / f"{rater}.json"
    path.write_text(json.dumps({"rater": rater, "answers": answers}))
    return path


def test_a_page_hides_which_method_a_file_is_and_repeats_by_its_seed(study, edits, tmp_path):
    count = study.write_page(*edits, tmp_path / "page", seed=3)
    assert count == 24 + 2
    page = (tmp_path / "page" / "index.html").read_text()
    assert "one" not in {path.stem for path in (tmp_path / "page" / "videos").iterdir()}
    assert str(edits[0]) not in page and "first_file" not in page and "clip3" not in page

    key = read_json(tmp_path / "page" / study.KEY, dict)["trials"]
    for trial in key.values():
        shown = (tmp_path / "page" / "videos" / trial["first_file"]).read_text()
        assert shown == f"one {trial['emotion']} {trial['clip'][4:-4]}"
    study.write_page(*edits, tmp_path / "again", seed=3)
    assert (tmp_path / "again" / "index.html").read_text() == page
    with pytest.raises(InputError, match="exists already"):
        study.write_page(*edits, tmp_path / "page", seed=3)


def test_a_preferred_method_wins_and_a_coin_does_not(study, edits, tmp_path):
    page = tmp_path / "page"
    study.write_page(*edits, page, seed=0)
    random = np.random.default_rng(0)

    def choose(trial, files, question):
        if trial["check"]:
            return study.NO_DIFFERENCE
        if question == "emotion":
            return trial["first_file"]
        if question == "lips":
            return files[random.integers(2)]
        return study.NO_DIFFERENCE

    files = [answer(study, page, tmp_path, f"r{rater}", choose) for rater in range(8)]
    scores = study.score(page, files)
    assert scores["emotion"]["preference"] == 1 and scores["emotion.sad"]["clips"] == 12
    assert scores["lips"]["low"] < 0.5 < scores["lips"]["high"]
    assert scores["real"]["preference"] == 0.5
    assert scores["check"] == {"same": 1.0, "answers": 8 * 2 * 3}
    assert scores["emotion"]["answers"] == 8 * 24  # checks are no comparison
    assert "| emotion | 1.00 " in study.table(scores, read_json(page / study.KEY, dict))


def test_the_interval_is_that_of_clips_where_clips_differ_more(study, edits, tmp_path):
    """All raters agree, but on half of the clips: many raters make it no narrower."""
    page = tmp_path / "page"
    study.write_page(*edits, page, seed=0)

    def choose(trial, files, question):
        first = trial["first_file"]
        other = next(file for file in files if file != first)
        return first if int(trial["clip"][4:-4]) < 6 else other

    files = [answer(study, page, tmp_path, f"r{rater}", choose) for rater in range(8)]
    scores = study.score(page, files)["emotion"]
    assert scores["preference"] == pytest.approx(0.5)
    # Student's t over 12 clips of which half is 1: 2.201 * sqrt(.2727 / 12).
    assert scores["high"] - scores["preference"] == pytest.approx(0.332, abs=0.002)


def test_wrong_folders_and_answers_are_one_line(study, edits, tmp_path, capsys):
    page = tmp_path / "page"
    with pytest.raises(SystemExit):
        study.main(["page", str(edits[0]), str(tmp_path), "--out", str(page)])
    assert "no EMOTION/CLIP.mp4 in common" in capsys.readouterr().err

    study.write_page(*edits, page, seed=0)
    path = answer(study, page, tmp_path, "r0", lambda trial, files, question: files[0])
    (tmp_path / "copy.json").write_text(path.read_text())
    with pytest.raises(InputError, match=r"copy.json: rater 'r0' is also in .*r0.json"):
        study.score(page, [path, tmp_path / "copy.json"])
    foreign = {"rater": "x", "answers": [{"trial": "t9999", "question": "lips", "chosen": "a"}]}
    (tmp_path / "foreign.json").write_text(json.dumps(foreign))
    with pytest.raises(InputError, match="answers to another page"):
        study.score(page, [tmp_path / "foreign.json"])


@pytest.mark.browser
@pytest.mark.skipif(browser_path() is None, reason="no browser is installed")
def test_a_rater_goes_through_the_page_and_saves_the_answers(study, edits, tmp_path):
    for method in edits:
        for path in method.glob("*/*.mp4"):
            if path.stem != "clip0":
                path.unlink()
    page = tmp_path / "page"
    count = study.write_page(*edits, page, seed=0)
    (tmp_path / "profile").mkdir()
    browser = Browser(tmp_path / "profile")
    try:
        browser.open((page / "index.html").as_uri())
        assert browser.run("find('begin').disabled")
        browser.run("find('agree').click(); find('code').value = 'r7'; checkBegin(); 1")
        browser.run("find('begin').click(); 1")
        for _ in range(count):
            browser.run(
                "document.querySelectorAll('#questions input[value$=mp4]').forEach("
                "input => input.click()); 1"
            )
            assert browser.run("find('next').disabled")  # the videos were not watched
            browser.run(
                "for (const side of ['left', 'right'])"
                " find(side).dispatchEvent(new Event('ended')); 1"
            )
            assert not browser.run("find('next').disabled")
            browser.run("find('next').click(); 1")
        saved = browser.run("fetch(find('save').href).then(reply => reply.text())")
        assert browser.run("find('save').download") == "answers_r7.json" and not browser.errors
        assert all(not request.startswith("http") for request in browser.requests)
    finally:
        browser.close()

    path = tmp_path / "answers_r7.json"
    path.write_text(saved)
    scores = study.score(page, [path])
    assert scores["emotion"]["answers"] == count - 2 and scores["emotion"]["raters"] == 1
