"""Scores of the coefficient host: emotion, mouth, steadiness. It renders with the true person, so picture and identity say nothing."""

import numpy as np

from cdrl.evaluation import edit_scores

SCORES = ("emotion_accuracy", "mouth_error", "mouth_correlation", "speech_correlation", "jitter")


def coefficient_rows(
    variant: str, mine: list[dict], truth: list[dict], source: list[dict], target: np.ndarray, speakers: np.ndarray, seed: int = 0
) -> dict[str, dict]:  # fmt: skip
    """Rows `spfem.coefficient.VARIANT.*` as the image host has them, without psnr, mouth_l1 and identity.

    Args:
        mine, truth, source: what the evaluation networks read in the output, the true edit and the source, one mapping a clip with
            curves (T, 3), landmarks (T, L, 2), judge_a and judge_b. target, speakers: (C,).

    Returns:
        As `edit_scores.edit_rows` and `emotion_rows`; for the truth itself mouth_error is 0.
    """
    pick = lambda readings, key: [reading[key] for reading in readings]  # noqa: E731
    measures = {
        "mouth_error": edit_scores.mouth_error(pick(mine, "curves"), pick(truth, "curves")),
        "mouth_correlation": edit_scores.mouth_correlation(pick(mine, "curves"), pick(truth, "curves")),
        "speech_correlation": edit_scores.speech_correlation(pick(mine, "curves"), pick(source, "curves")),
        "jitter": edit_scores.jitter(pick(mine, "landmarks"), pick(source, "landmarks")),
    }
    prefix = f"spfem.coefficient.{variant}"
    heard = [tuple(np.array(pick(r, judge)) for judge in ("judge_a", "judge_b")) for r in (mine, truth)]
    return edit_scores.edit_rows(prefix, measures, speakers, target, seed) | edit_scores.emotion_rows(prefix, *heard, target, speakers, seed)


def rows_as_text(rows: dict[str, dict]) -> str:
    """A table of those rows, one line a variant: value (95 % from low to high) of each of `SCORES`.

    >>> rows_as_text({"spfem.coefficient.cdrl.jitter": {"value": 1.0, "low": 0.9, "high": 1.25}}).splitlines()[-1]
    'cdrl: jitter 1.000 (0.900 to 1.250)'
    """
    variants, lines = dict.fromkeys(name.split(".")[2] for name in rows), []
    for variant in variants:
        cells = {score: rows.get(f"spfem.coefficient.{variant}.{score}") for score in SCORES}
        texts = [f"{score} {c['value']:.3f} ({c['low']:.3f} to {c['high']:.3f})" for score, c in cells.items() if c]
        lines.append(f"{variant}: " + ", ".join(texts))
    return "\n".join(lines)
