"""Rows in which a part of the method can matter, each beside the same with the part left out.

- The audio query: the mouth is covered, blurred or few pixels, in training and in scoring. What the
  sound adds stands in `content_av.*`, where the right sound goes with both sides.
- Alignment: rows of the main table on people of studio version 2, whose tempo differs by emotion.
- Prompts: 1 or 5 % of the labels, and contempt, of which no training clip has a label.
"""

from cdrl.study.row import Row

PIXELS = {
    "occluded": "the mouth covered",
    "blurred": "images blurred",
    "small": "crops of 20 pixels",
}
LABELS = {"labels_5": 0.05, "labels_1": 0.01}
NO_QUERY = {"wrong_image_weight": 0.0}
QUERY_ALONE = {"contrast_weight": 0.0, "wrong_image_weight": 1.0}
NO_PROMPTS = {"prior_weight": 0.0, "direction_weight": 0.0}
NO_CONTRAST = {"contrast_weight": 0.0}
UNSEEN = "contempt"


def _content_rows() -> dict[str, Row]:
    """Build the rows of worse images."""
    rows = {}
    for pixels, text in PIXELS.items():
        rows[pixels] = Row(f"{text}: the method, with its audio query", pixels=pixels)
        rows[f"{pixels}_no_query"] = Row(f"{text}: no audio query", NO_QUERY, pixels=pixels)
        rows[f"{pixels}_query"] = Row(
            f"{text}: audio query with wrong images alone", QUERY_ALONE, pixels=pixels
        )
        rows[f"{pixels}_raw"] = Row(f"{text}: the input features", kind="raw", pixels=pixels)

    return rows


def _emotion_rows() -> dict[str, Row]:
    """Build the rows of few labels, and of an emotion that was never trained."""
    rows = {}
    for name, share in LABELS.items():
        text = f"{100 * share:g} % of the labels"
        rows[name] = Row(f"{text}: the method", labels=share)
        rows[f"{name}_no_prompts"] = Row(f"{text}: no prompts", NO_PROMPTS, labels=share)
        rows[f"{name}_no_contrast"] = Row(f"{text}: prompts alone", NO_CONTRAST, labels=share)
        rows[f"{name}_classifier"] = Row(
            f"{text}: a plain classifier", kind="classifier", labels=share
        )

    rows["unseen"] = Row("contempt is never trained: the method's prompts", left_out=UNSEEN)
    rows["unseen_no_contrast"] = Row(
        "contempt is never trained: prompts alone", NO_CONTRAST, left_out=UNSEEN
    )
    rows["unseen_words"] = Row(
        "contempt is never trained: no CERL, the language prior's own words and images",
        kind="words",
        left_out=UNSEEN,
    )
    return rows


PARTS: dict[str, dict[str, Row]] = {
    "content": _content_rows(),
    "emotion": _emotion_rows(),
    "edit": {},
}
