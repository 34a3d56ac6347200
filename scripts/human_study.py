"""Ask people which of two edits they prefer, on a page that runs on this computer, and score it.

    cdrl edit clips happy --from neutral --out edits/cdrl/happy            (and each other emotion)
    cdrl edit clips happy --from neutral --editor image --out edits/image/happy
    python scripts/human_study.py page edits/cdrl edits/image --out study_page
    (raters open study_page/index.html; each saves a file of answers)
    python scripts/human_study.py score study_page answers/*.json

Both folders hold EMOTION/CLIP.mp4. Every trial shows the two edits of one clip side by side under
neutral names, in an order and on sides that differ by rater. Some trials show the same file twice:
who prefers one of them is guessing. The protocol stands in docs/guides/human_study.md. Nobody's
answers leave the computer by themselves.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.files import atomic_path, read_json, write_json
from cdrl.core.intervals import jackknife_spread, t_interval
from cdrl.core.vocabulary import EMOTIONS
from cdrl.report.html_page import script_json

TEMPLATE = Path(__file__).with_suffix(".html")
QUESTIONS = {
    "emotion": "Which person looks more {emotion}?",
    "lips": "In which video do the lips fit the words better?",
    "real": "Which video looks more like an ordinary recording?",
}
NO_DIFFERENCE = "same"
CHECKS = 0.1  # share of trials that show the same file twice, at least two
CHANCE = 0.5
KEY = "key.json"  # which method a file is; raters never open it


def find_pairs(first: Path, second: Path) -> list[tuple[str, str]]:
    """(emotion, file name) of the edits that both folders have.

    Raises:
        InputError: there is none.
    """
    names = []
    for folder in (first, second):
        found = {(path.parent.name, path.name) for path in folder.glob("*/*.mp4")}
        names.append({pair for pair in found if pair[0] in EMOTIONS})
    both = sorted(names[0] & names[1])
    if not both:
        raise InputError(
            f"{first} and {second} have no EMOTION/CLIP.mp4 in common; make them by "
            "`cdrl edit clips happy --out FOLDER/happy`"
        )
    return both


def write_page(first: Path, second: Path, out: Path, seed: int) -> int:
    """Write the page, its videos under neutral names, and the key.

    Args:
        first: folder of the edits of one method.
        second: of the other.
        out: a new folder.
        seed: of the neutral names, and of the trials that show one file twice.

    Returns:
        The number of trials.

    Raises:
        InputError: the folder exists, or there is nothing to compare.
    """
    if out.exists():
        raise InputError(f"{out} exists already; name a new folder")
    pairs = find_pairs(first, second)
    random = np.random.default_rng(seed)
    checks = random.choice(len(pairs), max(2, round(CHECKS * len(pairs))), replace=True)
    shown = [(*pair, False) for pair in pairs] + [(*pairs[index], True) for index in checks]

    videos = out / "videos"
    videos.mkdir(parents=True)
    numbers = random.permutation(2 * len(shown))
    trials: list[dict[str, Any]] = []
    key: dict[str, Any] = {"first": str(first), "second": str(second), "trials": {}}
    for index, (emotion, clip, is_check) in enumerate(shown):
        files = []
        for side, folder in enumerate((first, first if is_check else second)):
            name = f"{numbers[2 * index + side]:04d}.mp4"
            shutil.copyfile(folder / emotion / clip, videos / name)
            files.append(name)
        trial = f"t{index:04d}"
        trials.append({"trial": trial, "emotion": emotion, "files": files})
        key["trials"][trial] = {
            "emotion": emotion,
            "clip": clip,
            "check": is_check,
            "first_file": files[0],
        }

    content = script_json({"trials": trials, "questions": QUESTIONS, "same": NO_DIFFERENCE})
    with atomic_path(out / "index.html") as temporary:
        temporary.write_text(TEMPLATE.read_text().replace("__STUDY__", content))
    write_json(out / KEY, key)
    return len(trials)


def read_answers(page: Path, files: Sequence[Path]) -> pd.DataFrame:
    """One row an answer: rater, trial, question, and 1 for the first method, 0 for the second.

    Raises:
        InputError: a file that is none of this page, or two of one rater.
    """
    key = read_json(page / KEY, dict)["trials"]
    rows = []
    raters: dict[str, Path] = {}
    for path in files:
        answers = read_json(path, dict)
        rater = str(answers.get("rater", ""))
        if rater in raters:
            raise InputError(f"{path}: rater {rater!r} is also in {raters[rater]}; keep one")
        raters[rater] = path
        for answer in answers.get("answers", []):
            trial = key.get(answer.get("trial"))
            if trial is None or answer.get("question") not in QUESTIONS:
                raise InputError(f"{path}: answers to another page than {page}")
            if answer["chosen"] == NO_DIFFERENCE:
                value = CHANCE
            else:
                value = float(answer["chosen"] == trial["first_file"])
            rows.append(
                {
                    "rater": rater,
                    "trial": answer["trial"],
                    "clip": trial["clip"],
                    "emotion": trial["emotion"],
                    "check": trial["check"],
                    "question": answer["question"],
                    "first": value,
                    "same": answer["chosen"] == NO_DIFFERENCE,
                }
            )

    if not rows:
        raise InputError(f"{page}: no answers in the files that were named")
    return pd.DataFrame(rows)


def preference(answers: pd.DataFrame) -> dict[str, float]:
    """How often the first method is preferred; "no difference" counts half.

    The interval is over raters or over clips, whichever is wider: both are a sample.
    """
    value = float(answers["first"].mean())
    ends = []
    for group in ("rater", "clip"):
        names = answers[group].unique()
        without = [answers.loc[answers[group] != name, "first"].mean() for name in names]
        ends.append(t_interval(value, jackknife_spread(np.array(without))))
    if not np.isfinite(ends).all():
        low = high = float("nan")
    else:
        low, high = max(ends, key=lambda interval: interval[1] - interval[0])

    return {
        "preference": value,
        "low": low,
        "high": high,
        "chance": CHANCE,
        "raters": answers.rater.nunique(),
        "clips": answers["clip"].nunique(),
        "answers": len(answers),
    }


def score(page: Path, files: Sequence[Path]) -> dict[str, dict[str, float]]:
    """The scores of a study.

    Args:
        page: folder of `write_page`.
        files: of answers, one a rater.

    Returns:
        Question, and question.EMOTION -> `preference`; `check`: share of "no difference" where
        both videos are one file.
    """
    answers = read_answers(page, files)
    checks = answers[answers.check]
    compared = answers[~answers.check]
    scores = {}
    for question, part in compared.groupby("question", sort=False):
        scores[str(question)] = preference(part)
        for emotion, of_emotion in part.groupby("emotion"):
            scores[f"{question}.{emotion}"] = preference(of_emotion)

    scores["check"] = {"same": float(checks["same"].mean()), "answers": len(checks)}
    return scores


def table(scores: dict[str, dict[str, float]], key: dict[str, Any]) -> str:
    """The scores as a table in Markdown."""
    lines = [
        f"Share of answers that prefer {key['first']} to {key['second']} (chance {CHANCE}):",
        "",
        "| question | preference (95 %) | raters | clips | answers |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, values in scores.items():
        if name == "check":
            continue
        interval = f"{values['low']:.2f} to {values['high']:.2f}"
        counts = f"{values['raters']} | {values['clips']} | {values['answers']}"
        lines.append(f"| {name} | {values['preference']:.2f} ({interval}) | {counts} |")
    lines += ["", f"Same file twice: {scores['check']['same']:.2f} answered no difference."]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a page, or score its answers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("page", help="write the page")
    making.add_argument("first", type=Path)
    making.add_argument("second", type=Path)
    making.add_argument("--out", type=Path, required=True)
    making.add_argument("--seed", type=int, default=0)
    scoring = commands.add_parser("score", help="score answers")
    scoring.add_argument("page", type=Path)
    scoring.add_argument("answers", type=Path, nargs="+")
    scoring.add_argument("--json", type=Path, help="write the scores here too")
    given = parser.parse_args(arguments)

    try:
        if given.command == "page":
            count = write_page(given.first, given.second, given.out, given.seed)
            print(
                f"{given.out / 'index.html'}: {count} trials; {given.out / KEY} is for the scorer"
            )
            return
        scores = score(given.page, given.answers)
    except (InputError, json.JSONDecodeError) as error:
        parser.exit(1, f"{error}\n")
    if given.json:
        write_json(given.json, scores)
    print(table(scores, read_json(given.page / KEY, dict)))


if __name__ == "__main__":
    main()
