"""The tables of edits of real faces, in Markdown and CSV."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cdrl.evaluation.real_networks import EXPRESSION_NETWORKS, LANDMARKS
from cdrl.evaluation.real_scores import ALL, HIGH_IS_BAD, SCORES

HEADS = (
    "emotion",
    "top",
    *(f"top by {name}" for name in EXPRESSION_NETWORKS),
    "probability",
    "rise",
    "identity (two frames)",
    "brow inner",
    "brow outer",
    "lids",
    "mouth width",
    "mouth opening",
    "opening r (worst)",
    "closure",
    "background",
    "jitter",
)
MOVED = ("brow_inner", "brow_outer", "lids", "mouth_width", "mouth_opening")
MISSING = "-"
INTRODUCTION = """# Edits of real faces, measured

Written by `{command}`. `cdrl scores {folder}` prints every number, `people.csv` has each person.

One clip a person, its first two seconds, edited from neutral at intensity 1. `top`: people in whom
the emotion has the highest probability, by the mean of two networks that others trained on real
faces (`data/weights/real`), and by each of them. `probability`: of the source and of the edit.
`identity`: cosine of different frames of edit and source, beside that of two frames of the source.
Movements are edit less source, in distances of the outer eye corners, by the face mesh and by a
network of 68 landmarks. On people of the studio, whose movements are known, the mesh reads .40 of
the inner brow's, .52 of the mouth's width and .46 of its opening; the landmarks read .76, .64 and
.92. `opening r`: the correlation of the mouth's opening with the source's, by the mesh. `closure`:
share of the frames closed in speech that stay closed, by the mesh. `background`: mean change of the
pixels outside the face's crop, of 255, which encoding alone causes. Brackets behind a rise are 95 %
intervals (Student's t over people).

`real.*` are people in a folder of clips, `studio.*` people of the studio with the same scores:
`studio.true` is what the studio itself would act, `real.acted` what a person acted in another clip.
`copy` changes nothing and is encoded as the others are.
"""


def real_readme(
    records: Mapping[str, Mapping[str, Any]],
    people: Sequence[Mapping[str, Any]],
    command: str,
    folder: str,
) -> str:
    """A page in Markdown with a table for each editor.

    Args:
        records: "real.actions" -> {"config", "scores"}.
        people: lines of `people_table` of all of them.
        command: that made it.
        folder: of the results.
    """
    parts = [INTRODUCTION.format(command=command, folder=folder)]
    for prefix, record in records.items():
        lines = [f"## {prefix}", ""]
        lines += _table(prefix, record["scores"])
        lines += ["", _worst_people(prefix, people), ""]
        parts.append("\n".join(lines))

    return "\n".join(parts)


def _table(prefix: str, scores: Mapping[str, Any]) -> list[str]:
    """One line an emotion."""
    emotions = []
    for name in scores:
        if name.startswith(f"{prefix}.") and name.endswith(".top"):
            emotions.append(name.removeprefix(f"{prefix}.").removesuffix(".top"))

    lines = [_row(HEADS), _row(["---"] * len(HEADS))]
    for emotion in emotions:
        lines.append(_row(_cells(f"{prefix}.{emotion}", emotion, scores)))

    return lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(prefix: str, emotion: str, scores: Mapping[str, Any]) -> list[str]:
    """The cells of one emotion, as `HEADS`."""

    def number(name: str, digits: int = 2) -> str:
        value = scores.get(f"{prefix}.{name}")
        return MISSING if value is None else f"{value:.{digits}f}"

    people = int(scores[f"{prefix}.top.n"])
    if emotion == ALL:
        tops = [number("top"), *(number(f"top.{name}") for name in EXPRESSION_NETWORKS)]
    else:
        tops = [f"{scores[f'{prefix}.top.count']:.0f} of {people}"]
        for name in EXPRESSION_NETWORKS:
            tops.append(f"{scores[f'{prefix}.top.{name}'] * people:.0f}")

    before = scores[f"{prefix}.probability"] - scores[f"{prefix}.rise"]
    interval = ""
    if np.isfinite(scores.get(f"{prefix}.rise.low") or np.nan):
        interval = f" ({number('rise.low')} to {number('rise.high')})"
    cells = [
        emotion,
        *tops,
        f"{before:.2f} to {number('probability')}",
        f"{number('rise', 3)}{interval}",
        f"{number('identity')} ({number('identity.two_frames')})",
    ]
    for name in MOVED:
        cells.append(f"{number(name, 3)}, {number(f'{name}.{LANDMARKS}', 3)}")
    cells.append(f"{number('opening_correlation')} ({number('opening_correlation.worst')})")
    cells += [number("closure"), number("background"), number("jitter")]

    return cells


def _worst_people(prefix: str, people: Sequence[Mapping[str, Any]]) -> str:
    """Who is worst in each score, over all emotions."""
    lines = [line for line in people if line["editor"] == prefix and line["emotion"] != ALL]
    texts = []
    for name in SCORES:
        scored = [line for line in lines if line.get(name) is not None]
        if name == "top" or not scored:
            continue
        ascending = sorted(scored, key=lambda line: line[name])
        worst = ascending[-1] if name in HIGH_IS_BAD else ascending[0]
        texts.append(f"{name} {worst[name]:.2f} ({worst['person']}, {worst['emotion']})")

    return f"Worst: {'; '.join(texts)}."
