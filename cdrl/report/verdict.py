"""What the scores of a run say, in plain sentences, each with the rule that made it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cdrl.report.main_scores import EDITORS, main_editor

# Thresholds of the sentences. A level counts as above chance where its whole interval is.
LARGEST_LEAK = 0.05  # above chance, at the upper end of the interval: practically nothing
PART_OF_LEAK = 0.5  # of what the frozen features tell: less than that is left out in part
FEWEST_PEOPLE = 5  # under whom no score may be called a result
Scores = Mapping[str, float]


@dataclass(frozen=True)
class Finding:
    """One sentence about a run.

    Attributes:
        answer: "yes", "partly", "no" or "open"; open where the interval allows both.
        sentence: what the numbers say.
        numbers: the numbers behind it.
        rule: when the answer is which.
    """

    answer: str
    sentence: str
    numbers: str
    rule: str


@dataclass(frozen=True)
class Verdict:
    """What a run has shown.

    Attributes:
        headline: the whole in a sentence.
        findings: its parts; none where nothing was scored.
        caution: what speaks against reading the numbers; empty where nothing does.
    """

    headline: str
    findings: tuple[Finding, ...]
    caution: str


def verdict(scores: Scores) -> Verdict:
    """Judge a run by its scores.

    Args:
        scores: {name: number} of a run or of the study.

    Returns:
        The verdict; what was not scored has no finding.
    """
    separation = _present(scores, SEPARATION_RULES)
    edit = _present(scores, EDIT_RULES)
    headline = f"{_separation_headline(separation)} {_edit_headline(edit)}".strip()
    return Verdict(headline, (*separation, *edit), _caution(scores))


def _present(
    scores: Scores, rules: tuple[Callable[[Scores], Finding | None], ...]
) -> list[Finding]:
    """The findings of the rules whose scores are there."""
    findings = [rule(scores) for rule in rules]
    return [finding for finding in findings if finding is not None]


def _separation_headline(findings: list[Finding]) -> str:
    """The sentence on the two representations."""
    answers = [finding.answer for finding in findings]
    if not answers:
        return "Content and emotion were not scored in this run."
    if all(answer == "yes" for answer in answers):
        return "Content and emotion come apart."
    if answers.count("no") + answers.count("open") >= len(answers) / 2:
        return "Content and emotion do not come apart here."
    return "Content and emotion come apart in part."


def _edit_headline(findings: list[Finding]) -> str:
    """The sentence on the edit; empty where it was not scored."""
    answers = {finding.answer for finding in findings[:2]}
    if not answers:
        return ""
    if answers == {"yes"}:
        return "The edit shows the wanted emotion, and its mouth comes nearer to the true edit's."
    if "yes" in answers:
        return "The edit does one half of its work: see below."
    return "The edit does not do its work yet."


def _caution(scores: Scores) -> str:
    """A warning where so few people were scored that no number is a result."""
    people = scores.get("emotion.emotion.speakers", scores.get("content.viseme.speakers"))
    if people is None or people >= FEWEST_PEOPLE:
        return ""
    return (
        f"Only {people:.0f} people were scored, so this is a check that the machinery runs and no "
        f"result: it takes {FEWEST_PEOPLE} people or more."
    )


def _content_knows_speech(scores: Scores) -> Finding | None:
    """Whether the right image beats a wrong one more often than chance."""
    name = "content.swap_image"
    if name not in scores:
        return None
    answer = _above(scores, name)
    sentences = {
        "yes": "Content knows what is said.",
        "no": "Content does not know what is said.",
        "open": "Whether content knows what is said is open.",
    }
    numbers = f"The right image beats a wrong one in {_level(scores, name)}."
    rule = "yes: the whole interval lies above chance; no: below or on it"
    return Finding(answer, sentences[answer], numbers, rule)


def _emotion_knows_emotion(scores: Scores) -> Finding | None:
    """Whether the emotion of a clip is read from the emotion embedding."""
    name = "emotion.emotion"
    if name not in scores:
        return None
    answer = _above(scores, name)
    sentences = {
        "yes": "Emotion knows how it is felt.",
        "no": "Emotion does not know how it is felt.",
        "open": "Whether emotion knows how it is felt is open.",
    }
    numbers = f"The emotion of a clip is read in {_level(scores, name)}."
    rule = "yes: the whole interval lies above chance; no: below or on it"
    return Finding(answer, sentences[answer], numbers, rule)


def _frame_omits_emotion(scores: Scores) -> Finding | None:
    """Whether the emotion cannot be read from the content of a frame."""
    raw_names = ("raw.emotion", "raw.content.emotion")
    return _leak(scores, "content.emotion", raw_names, "Content", "the emotion of a frame")


def _clip_omits_emotion(scores: Scores) -> Finding | None:
    """Whether the emotion cannot be read from the mean content of a clip."""
    raw_names = ("raw.emotion_clip", "raw.content.emotion_clip")
    return _leak(scores, "content.emotion_clip", raw_names, "Content", "the emotion of a clip")


def _emotion_omits_speech(scores: Scores) -> Finding | None:
    """Whether the mouth shape of a frame cannot be read from emotion."""
    raw_names = ("raw.viseme", "raw.content.viseme")
    return _leak(scores, "emotion.viseme", raw_names, "Emotion", "the mouth shape of a frame")


def _leak(
    scores: Scores, name: str, raw_names: tuple[str, ...], subject: str, leak: str
) -> Finding | None:
    """What is left of something that an embedding should not tell.

    Args:
        scores: of the run.
        name: of the leak's score.
        raw_names: of the same score of the frozen features, the first that is there.
        subject: the embedding.
        leak: what it should leave out.
    """
    chance_name = f"{name}.chance"
    if name not in scores or chance_name not in scores:
        return None
    value = scores[name]
    chance = scores[chance_name]
    upper = scores.get(f"{name}.high", value)

    numbers = f"It is read in {_level(scores, name)}."
    share = None
    for raw_name in raw_names:
        raw_excess = scores.get(raw_name, chance) - scores.get(f"{raw_name}.chance", chance)
        if share is None and raw_excess > 0:
            share = max(0.0, value - chance) / raw_excess
            numbers += f" Frozen features: {_short(scores[raw_name])}."

    if upper - chance <= LARGEST_LEAK:
        answer, verb = "yes", "leaves out"
    elif share is not None and share < PART_OF_LEAK:
        answer, verb = "partly", "leaves out most of"
    else:
        answer, verb = "no", "still tells"
    rule = (
        f"yes: the upper end of the interval is at most {LARGEST_LEAK} above chance; partly: less "
        f"than {PART_OF_LEAK} of what the frozen features tell above chance is left"
    )
    return Finding(answer, f"{subject} {verb} {leak}.", numbers, rule)


def _edit_shows_emotion(scores: Scores) -> Finding | None:
    """Whether judges read the wanted emotion from the edit."""
    name = f"spfem.{main_editor(scores)}.cdrl.emotion_accuracy"
    if name not in scores:
        return None
    answer = _above(scores, name)
    sentences = {
        "yes": "The edit shows the wanted emotion.",
        "no": "The edit does not show the wanted emotion.",
        "open": "Whether the edit shows the wanted emotion is open.",
    }
    numbers = f"It is read in {_level(scores, name)}."
    truth = scores.get(f"{name}.truth")
    if truth is not None:
        numbers += f" True edits: {_short(truth)}."
    rule = "yes: the whole interval lies above chance; no: below or on it"
    return Finding(answer, sentences[answer], numbers, rule)


def _edit_keeps_mouth(scores: Scores) -> Finding | None:
    """Whether the edit's mouth is nearer to the true edit's than the source's is."""
    name = f"spfem.{main_editor(scores)}.cdrl.mouth_error"
    copied = copied_mouth_error(scores)
    if name not in scores or copied is None:
        return None
    answer = "open"
    if scores.get(f"{name}.high", scores[name]) < copied:
        answer = "yes"
    elif scores.get(f"{name}.low", scores[name]) > copied:
        answer = "no"
    sentences = {
        "yes": "Its mouth comes nearer to that of the true edit than the source's.",
        "no": "Its mouth is farther from that of the true edit than the source's.",
        "open": "Whether its mouth comes nearer to that of the true edit is open.",
    }
    numbers = f"Mouth error {_level(scores, name)}; copying the source: {_short(copied)}."
    rule = "yes: the whole interval lies below the error of copying the source; no: above it"
    return Finding(answer, sentences[answer], numbers, rule)


def _terms_help(scores: Scores) -> Finding | None:
    """Whether the CDRL terms lower the mouth error of the same editor."""
    name = f"spfem.{main_editor(scores)}.cdrl_minus_baseline.mouth_error"
    if name not in scores or f"{name}.low" not in scores:
        return None
    answer = "open"
    if scores[f"{name}.high"] < 0:
        answer = "yes"
    elif scores[f"{name}.low"] > 0:
        answer = "no"
    sentences = {
        "yes": "The CDRL terms lower the mouth error.",
        "no": "The CDRL terms raise the mouth error.",
        "open": "That the CDRL terms change the mouth error is not shown.",
    }
    numbers = f"With less without: {_level(scores, name)}."
    rule = "yes: the whole interval lies below 0; no: above 0; open: 0 is inside"
    return Finding(answer, sentences[answer], numbers, rule)


def copied_mouth_error(scores: Scores) -> float | None:
    """The mouth error of copying the source, which no editor has a part in; None if not scored.

    Args:
        scores: {name: number}.
    """
    for editor in (main_editor(scores), *EDITORS):
        name = f"spfem.{editor}.copy_source.mouth_error"
        if name in scores:
            return scores[name]
    return None


def _above(scores: Scores, name: str) -> str:
    """Whether a level lies above its chance: "yes", "no" or "open" by its interval."""
    value = scores[name]
    chance = scores.get(f"{name}.chance", 0.0)
    if scores.get(f"{name}.low", value) > chance:
        return "yes"
    if scores.get(f"{name}.high", value) <= chance:
        return "no"
    return "open"


def _level(scores: Scores, name: str) -> str:
    """A score with its interval and chance: `.988 (.983 to .992; chance .5)`."""
    notes = []
    if f"{name}.low" in scores and f"{name}.high" in scores:
        notes.append(f"{_short(scores[f'{name}.low'])} to {_short(scores[f'{name}.high'])}")
    if f"{name}.chance" in scores:
        notes.append(f"chance {_short(scores[f'{name}.chance'])}")
    if f"{name}.n" in scores:
        notes.append(f"n {scores[f'{name}.n']:.0f}")
    text = _short(scores[name])
    return f"{text} ({'; '.join(notes)})" if notes else text


def _short(number: float) -> str:
    """A number with three digits after the point."""
    return f"{number:.3f}"


SEPARATION_RULES = (
    _content_knows_speech,
    _frame_omits_emotion,
    _clip_omits_emotion,
    _emotion_knows_emotion,
    _emotion_omits_speech,
)
EDIT_RULES = (_edit_shows_emotion, _edit_keeps_mouth, _terms_help)
