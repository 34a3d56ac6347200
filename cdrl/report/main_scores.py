"""The scores that matter most, of thousands: for `cdrl scores`, the report and a grid's page."""

from collections.abc import Mapping, Sequence

from cdrl.core.results import score_lines

PARTS = ("chance", "low", "high", "n")  # of a score, shown beside it
NUM_SCORES = 25  # that are shown without a pattern
EDITORS = ("actions", "image", "rendered")  # the default one first
# Encoders: what they should know, what they should not, and the frozen features they are made of.
ENCODER_SCORES = (
    "content.swap_image",
    "content.retrieval_r1",
    "content.viseme",
    "content.emotion",
    "content.emotion_clip",
    "content.speaker",
    "content.swap_audio",
    "emotion.emotion",
    "emotion.intensity",
    "emotion.viseme",
    "emotion.speaker",
    "raw.swap_image",
    "raw.viseme",
    "raw.emotion",
    "raw.content.swap_image",  # so called in the study
    "raw.content.viseme",
    "raw.content.emotion",
    "hsic.content_emotion",
)
# Edits, after `spfem.EDITOR.`.
EDIT_SCORES = (
    "cdrl.emotion_accuracy",
    "cdrl.emotion_accuracy.truth",
    "cdrl.mouth_error",
    "baseline.emotion_accuracy",
    "baseline.mouth_error",
    "cdrl_minus_baseline.mouth_error",
    "cdrl.speech_correlation",
    "cdrl.closure",
    "cdrl.identity",
    "cdrl.psnr",
    "cdrl.jitter",
)
# Edits of real people, after `real.`: the mean of all emotions, then the emotions.
EDITORS_OF_PEOPLE = ("actions", "copy", "acted")
PEOPLE_SCORES = (
    "all.top",
    "all.rise",
    "all.identity",
    "all.identity.two_frames",
    "all.opening_correlation",
    "all.closure",
)
EMOTION_SCORES = ("happy", "surprised", "sad", "angry", "fear", "disgusted")
RUN_SCORES = ("time.total_seconds", "memory.peak_gb")


def main_scores(scores: Mapping[str, object], count: int = NUM_SCORES) -> list[str]:
    """The names of the scores that matter, most important first in each group.

    Args:
        scores: {name: number} of a run or of the study.
        count: most names.

    Returns:
        Names that are there: of encoders, of the edits of the default editor, of edits of real
        people, of the run. The first names of all where none of these is there.

    >>> main_scores({"content.viseme": 0.5, "content.viseme.n": 8, "content.loss": 2.0})
    ['content.viseme']
    """
    names = list(ENCODER_SCORES)
    editor = main_editor(scores)
    if editor:
        names += [f"spfem.{editor}.{name}" for name in EDIT_SCORES]
        names += [f"spfem.{name}.copy_source.mouth_error" for name in EDITORS]
    for editor in EDITORS_OF_PEOPLE:
        names += [f"real.{editor}.{name}" for name in PEOPLE_SCORES]
    names += [f"real.actions.{emotion}.top" for emotion in EMOTION_SCORES]
    names += RUN_SCORES

    present = [name for name in names if name in scores]
    return (present or plain_names(scores))[:count]


def main_editor(scores: Mapping[str, object]) -> str:
    """The editor that a run is about: the default one if it was scored; empty without edits.

    Args:
        scores: {name: number}.
    """
    for editor in EDITORS:
        if f"spfem.{editor}.cdrl.emotion_accuracy" in scores:
            return editor
    return ""


def plain_names(scores: Mapping[str, object]) -> list[str]:
    """The names of all scores, without those of chance levels, ends of intervals and counts.

    Args:
        scores: {name: number}.
    """
    plain = []
    for name in scores:
        base, _, last = name.rpartition(".")
        if last not in PARTS or base not in scores:
            plain.append(name)

    return plain


def score_texts(scores: Mapping[str, object]) -> dict[str, str]:
    """The numbers of scores as `cdrl scores` prints them.

    Args:
        scores: mapping of names to numbers.
    """
    texts = {}
    for line in score_lines(dict(scores)):
        name, text = line.split(" ", 1)
        texts[name] = text

    return texts


def parts_of(texts: Mapping[str, str], name: str) -> dict[str, str]:
    """The texts of a score's chance, interval and n, where it has them.

    Args:
        texts: of all scores, as `score_texts` returns them.
        name: of the score.

    >>> parts_of({"a": "0.5", "a.low": "0.4", "a.high": "0.6", "a.n": "8"}, "a")
    {'n': '8', 'interval': '0.4 to 0.6'}
    """
    parts = {}
    for part in PARTS:
        full_name = f"{name}.{part}"
        if full_name in texts:
            parts[part] = texts[full_name]
    low = parts.pop("low", None)
    high = parts.pop("high", None)
    if low is not None and high is not None and "nan" not in (low, high):
        parts["interval"] = f"{low} to {high}"

    return parts


def in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of text whose columns begin at the same place.

    Args:
        rows: of cells, all of the same number.
    """
    columns = zip(*rows, strict=True)
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())

    return lines
