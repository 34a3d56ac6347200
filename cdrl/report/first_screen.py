"""The first screen of report.html: verdict, five numbers, one video and the dial."""

import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cdrl.core.vocabulary import EMOTIONS
from cdrl.report.main_scores import main_editor, parts_of, score_texts
from cdrl.report.verdict import Finding, copied_mouth_error, verdict

Scores = Mapping[str, float]
TARGET = re.compile(r"-to-([a-z]+)")  # in a video's name: the emotion of the edit
REAL = "real-"  # begins the name of a video of a real person, whom the scores are not about
NUM_NUMBERS = 5


@dataclass(frozen=True)
class Number:
    """One of the numbers of the first screen.

    Attributes:
        name: of the score.
        text: what it is.
        wanted: what it should be.
        reference: what it is compared with, as in "chance".
        level: of that reference; None where there is none.
    """

    name: str
    text: str
    wanted: str
    reference: str
    level: float | None


def first_screen(title: str, scores: Scores, video: str, dial: str) -> str:
    """The HTML of the first screen.

    Args:
        title: of the page.
        scores: {name: number} of the run.
        video: HTML of one video, or empty.
        dial: HTML of the dial, or empty.
    """
    result = verdict(scores)
    caution = f'<p class="caution">{html.escape(result.caution)}</p>' if result.caution else ""
    findings = "".join(_finding_item(finding) for finding in result.findings)
    rules = "".join(_rule_item(finding) for finding in result.findings)
    numbers = "".join(_number_card(scores, number) for number in five_numbers(scores))
    folded_rules = ""
    if rules:
        folded_rules = (
            f"<details><summary>the numbers and the rule behind each answer</summary>"
            f"<ul>{rules}</ul></details>"
        )
    return (
        f'<header id="verdict"><h1>{html.escape(title)}</h1>'
        f'<p class="headline">{html.escape(result.headline)}</p>{caution}'
        f'<div class="numbers">{numbers}</div><div class="halves">'
        f'<ul class="findings">{findings}</ul>{video}</div>{folded_rules}'
        f'<div id="dial">{dial}</div></header>'
    )


def five_numbers(scores: Scores) -> list[Number]:
    """The numbers of the first screen that a run has, each with what it is compared with.

    Args:
        scores: {name: number} of the run.
    """
    editor = f"spfem.{main_editor(scores)}.cdrl"
    chance = {name: scores.get(f"{name}.chance") for name in scores}
    shown = f"{editor}.emotion_accuracy"
    mouth = f"{editor}.mouth_error"
    copied = copied_mouth_error(scores)
    candidates = (
        ("content.swap_image", "content: right image beats a wrong one", "high", "chance"),
        ("content.emotion", "content: emotion read from a frame", "at chance", "chance"),
        ("emotion.emotion", "emotion: emotion read from a clip", "high", "chance"),
        ("emotion.viseme", "emotion: mouth shape read from a frame", "at chance", "chance"),
        (shown, "edit: wanted emotion read", "high", "chance"),
        (mouth, "edit: error of the mouth", "low", "copying the source"),
    )
    numbers = []
    for name, text, wanted, reference in candidates:
        if name in scores:
            level = copied if name == mouth else chance[name]
            numbers.append(Number(name, text, wanted, reference, level))
    if len(numbers) > NUM_NUMBERS:
        numbers = [number for number in numbers if number.name != "emotion.viseme"]

    return numbers


def best_video(scores: Scores, names: Iterable[str]) -> str:
    """The video to look at first: of the emotion that judges read most often from the edits.

    Args:
        scores: {name: number} of the run.
        names: of the files.

    Returns:
        One of the names; those of people of the studio first, whom the scores are about; empty
        without videos.
    """
    prefix = f"spfem.{main_editor(scores)}.cdrl"

    def rank(name: str) -> tuple[bool, float, float]:
        match = TARGET.search(name)
        emotion = match[1] if match and match[1] in EMOTIONS else ""
        accuracy = scores.get(f"{prefix}.emotion_accuracy.{emotion}", 0.0)
        error = scores.get(f"{prefix}.mouth_error.{emotion}", float("inf"))
        return (not name.startswith(REAL), accuracy, -error)

    return max(sorted(names), key=rank, default="")


def _finding_item(finding: Finding) -> str:
    """A finding as an item of a list."""
    return (
        f'<li class="{finding.answer}"><b>{finding.answer}</b> '
        f"<span>{html.escape(finding.sentence)}</span></li>"
    )


def _rule_item(finding: Finding) -> str:
    """The numbers and the rule of a finding as an item of a list."""
    sentence = html.escape(finding.sentence)
    numbers = html.escape(finding.numbers)
    return f"<li>{sentence} {numbers} <small>{html.escape(finding.rule)}.</small></li>"


def _number_card(scores: Scores, number: Number) -> str:
    """A number in large digits, with its interval and what it is compared with."""
    name = number.name
    names = (name, f"{name}.low", f"{name}.high", f"{name}.n")
    texts = score_texts({key: scores[key] for key in names if key in scores})
    parts = parts_of(texts, name)
    notes = []
    if number.level is not None:
        notes.append(f"{number.reference} {number.level:.3g}")
    if "interval" in parts:
        notes.append(f"95 %: {parts['interval']}")
    if "n" in parts:
        notes.append(f"n {parts['n']}")

    value = f"{scores[name]:.3f}"
    return (
        f"<div><b>{value}</b><span>{html.escape(number.text)}</span>"
        f"<small>wanted: {number.wanted}; {html.escape('; '.join(notes))}</small></div>"
    )
