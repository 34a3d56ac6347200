"""Scores of the coefficient host: emotion, mouth, steadiness. It renders with the true person, so picture and identity say nothing."""

import numpy as np

from cdrl.evaluation import edit_scores
from cdrl.evaluation.estimate import ScoreStatistics, paired_difference

SCORES = ("emotion_accuracy", "mouth_error", "mouth_correlation", "speech_correlation", "jitter")


def coefficient_measures(
    mine: list[dict], truth: list[dict], source: list[dict]
) -> dict[str, ScoreStatistics]:
    """The scores that need no label: mouth_error, mouth_correlation, speech_correlation, jitter.

    Args:
        mine, truth, source: what the evaluation networks read in the output, the true edit and the source, one mapping a clip with
            curves (T, 3), landmarks (T, L, 2), judge_a and judge_b.
    """
    return {
        "mouth_error": edit_scores.mouth_error(_pick(mine, "curves"), _pick(truth, "curves")),
        "mouth_correlation": edit_scores.mouth_correlation(
            _pick(mine, "curves"), _pick(truth, "curves")
        ),
        "speech_correlation": edit_scores.speech_correlation(
            _pick(mine, "curves"), _pick(source, "curves")
        ),
        "jitter": edit_scores.jitter(_pick(mine, "landmarks"), _pick(source, "landmarks")),
    }


def estimate_action_edits(
    variant: str,
    mine: list[dict],
    truth: list[dict],
    source: list[dict],
    target: np.ndarray,
    speakers: np.ndarray,
    seed: int = 0,
) -> dict[str, dict]:
    """Rows `spfem.rendered.VARIANT.*` as the image host has them, without psnr, mouth_l1 and identity.

    Args:
        mine, truth, source: as for `coefficient_measures`. target, speakers: (C,).

    Returns:
        As `edit_scores.estimate_per_emotion` and `estimate_emotion_accuracy`; for the truth itself mouth_error is 0.
    """
    prefix, measures = f"spfem.rendered.{variant}", coefficient_measures(mine, truth, source)
    rows = edit_scores.estimate_per_emotion(prefix, measures, speakers, target, seed)
    return rows | edit_scores.estimate_emotion_accuracy(
        prefix, _heard(mine), _heard(truth), target, speakers, seed
    )


def differences(
    first: list[dict], second: list[dict], truth: list[dict], source: list[dict], target: np.ndarray
) -> dict[str, dict]:
    """First less second over the same clips, each score with a paired bootstrap interval over clips.

    Args:
        first, second, truth, source: as for `coefficient_measures`. target: (C,).

    Returns:
        score -> value, low, high, p, n, as `bootstrap.paired_difference`; a variant against itself gives 0 and p = 1.
    """
    one, two = (
        coefficient_measures(read, truth, source)
        | {"emotion_accuracy": edit_scores.emotion_accuracy(*_heard(read), target)}
        for read in (first, second)
    )
    return {score: paired_difference(one[score], two[score]) for score in SCORES}


def format_estimates(rows: dict[str, dict]) -> str:
    """A table of those rows, one line a variant: value (95 % from low to high) of each of `SCORES`.

    >>> format_estimates({"spfem.rendered.cdrl.jitter": Estimate(1.0, 0.9, 1.25)})
    'cdrl: jitter 1.000 (0.900 to 1.250)'
    """
    variants, lines = dict.fromkeys(name.split(".")[2] for name in rows), []
    for variant in variants:
        cells = {score: rows.get(f"spfem.rendered.{variant}.{score}") for score in SCORES}
        texts = [
            f"{score} {c.value:.3f} ({c.low:.3f} to {c.high:.3f})"
            for score, c in cells.items()
            if c
        ]
        lines.append(f"{variant}: " + ", ".join(texts))
    return "\n".join(lines)


def _pick(readings: list[dict], key: str) -> list:
    return [reading[key] for reading in readings]


def _heard(readings: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(_pick(readings, "judge_a")), np.array(_pick(readings, "judge_b"))
