"""Ideas that were compared, as lines of text."""

import math
from collections.abc import Mapping

from cdrl.report.main_scores import in_columns

# Score -> what it says, and whether an idea is better where it is higher.
SCORES = {
    "swap_image": ("image swap", True),
    "viseme": ("viseme (wanted)", True),
    "emotion": ("emotion (a leak)", False),
}
HEADS = ("score", "idea", "value (95 %)", "chance", "difference (95 %)", "shows")
NO_DIFFERENCE = "no difference"


def idea_lines(scores: Mapping[str, float]) -> list[str]:
    """A table of ideas: every score, and its paired difference to the first idea.

    Args:
        scores: of `cdrl.stages.compare_content`.

    Returns:
        Lines. The last column is `better` or `worse` where the whole interval of the difference
        lies on one side of 0.
    """
    rows: list[tuple[str, ...]] = [HEADS]
    for score, (words, is_wanted) in SCORES.items():
        for key in scores:
            if key.endswith(f".{score}"):
                rows.append((words, key.removesuffix(f".{score}"), *_cells(scores, key, is_wanted)))

    lines = in_columns(rows)
    lines.append(
        "Differences are to the first idea, on the same frames. Intervals are over people, and "
        "over seeds where there are several."
    )
    return lines


def _cells(scores: Mapping[str, float], key: str, is_wanted: bool) -> tuple[str, ...]:
    """The texts of one score of one idea."""
    value = _with_interval(scores, key, ".3f")
    chance = f"{scores[key + '.chance']:.3f}"
    gain = f"{key}_gain"
    if gain not in scores:
        return value, chance, "", ""
    return value, chance, _with_interval(scores, gain, "+.3f"), _verdict(scores, gain, is_wanted)


def _with_interval(scores: Mapping[str, float], key: str, form: str) -> str:
    """A value and its interval; without one where one person was scored."""
    value, low, high = (scores[key + part] for part in ("", ".low", ".high"))
    if math.isnan(low):
        return f"{value:{form}}"
    return f"{value:{form}} ({low:{form}} to {high:{form}})"


def _verdict(scores: Mapping[str, float], gain: str, is_wanted: bool) -> str:
    """What the interval of a difference shows."""
    low, high = scores[f"{gain}.low"], scores[f"{gain}.high"]
    if low > 0:
        return "better" if is_wanted else "worse"
    if high < 0:
        return "worse" if is_wanted else "better"
    return NO_DIFFERENCE
