"""Rows of fair opponents: what else could do what CDRL does, with as many trials.

The rows of `actions` share everything but what their text says. Each family has nine settings, all
of them scored at every intensity scale of `frontier_sweep`; their whole
frontiers are compared (`cdrl.evaluation.frontiers`). docs/guides/study.md has a sentence for each.
"""

from typing import Any

from cdrl.study.row import Row

# Parts of rows' names -> factor on a weight.
FACTORS = {"half": 0.5, "once": 1.0, "double": 2.0, "fivefold": 5.0}
# Of a guided family: weights of the adversarial term and of both guided terms, crossed.
ADVERSARIAL = ("half", "once", "double")
GUIDED = ("once", "double", "fivefold")
CONTRASTED = ("half", "once", "double")  # the term that contrasts moments is larger by itself
# Of the family without guidance, which has as many settings: the adversarial term and the jaw's.
JAW = ("half", "once", "double")
# Guided families -> who guides them.
GUIDED_FAMILIES = {
    "cdrl": "cdrl",
    "supervised": "classifier_untrained",
    "contrast": "cdrl",
    "supervised_contrast": "classifier_untrained",
}
# Families whose content term contrasts the moments of the source, in place of 1 - cos.
CONTRAST_FAMILIES = ("contrast", "supervised_contrast")
FAMILIES = ("baseline", *GUIDED_FAMILIES)
PRIMARY = ("cdrl", "baseline")  # the two families of the primary outcomes
# Pairs of families, and of single rows of `actions`, whose frontiers are compared.
FAMILY_PAIRS = (
    PRIMARY,
    ("cdrl", "supervised"),
    ("supervised", "baseline"),
    ("contrast", "baseline"),
    ("contrast", "cdrl"),
    ("contrast", "supervised_contrast"),
)
ROW_PAIRS = (
    ("cdrl_once_once", "baseline_once_once"),
    ("cdrl_once_once", "classifier"),
    ("cdrl_once_once", "classifier_bottleneck"),
    ("cdrl_once_once", "untrained_code"),
    ("cdrl_once_once", "released_flat"),
    ("cdrl_apart", "baseline_apart"),
    ("cdrl_label_free", "baseline_label_free"),
    ("cdrl_long", "baseline_long"),
)
EDITOR = "actions"


def _crossed_rows() -> dict[str, Row]:
    """Build the nine settings of each family; `cdrl_once_once` is the method's own."""
    rows = {}
    for adversarial in ADVERSARIAL:
        for jaw in JAW:
            change: dict[str, Any] = {
                "variant": "baseline",
                "adversarial_weight": FACTORS[adversarial],
                "speech_weight": FACTORS[jaw],
            }
            text = f"no guidance; adversarial term {adversarial}, the jaw's term {jaw}"
            name = f"{EDITOR}.baseline_{adversarial}_{jaw}"
            rows[name] = Row(text, change, family="baseline", teacher="cdrl")

    for family, teacher in GUIDED_FAMILIES.items():
        contrasts = family in CONTRAST_FAMILIES
        for adversarial in ADVERSARIAL:
            for guided in CONTRASTED if contrasts else GUIDED:
                change = {
                    "variant": "cdrl",
                    "adversarial_weight": FACTORS[adversarial],
                    "content_weight": FACTORS[guided],
                    "emotion_weight": FACTORS[guided],
                    "contrast_content": contrasts,
                }
                text = f"{family}; adversarial term {adversarial}, both guided terms {guided}"
                name = f"{EDITOR}.{family}_{adversarial}_{guided}"
                rows[name] = Row(text, change, family=family, teacher=teacher)

    return rows


BASELINE = {"variant": "baseline"}
CDRL = {"variant": "cdrl"}
EDITS = {
    **_crossed_rows(),
    "actions.classifier": Row(
        "the same terms; a plain classifier's embedding instead of CERL's",
        CDRL,
        teacher="classifier",
    ),
    "actions.classifier_bottleneck": Row(
        "the same terms; plain cross-entropy through CERL's bottleneck instead of CERL",
        CDRL,
        teacher="classifier_bottleneck",
    ),
    "actions.untrained_code": Row(
        "the same terms; an untrained code of mouth features instead of CCRL's",
        CDRL,
        teacher="untrained",
    ),
    "actions.released_flat": Row(
        "the same terms; the embeddings of the released losses, trained until they are flat",
        CDRL,
        teacher="released_flat",
        until_flat=True,
    ),
    "actions.baseline_apart": Row(
        "no guidance; the discriminator's gradients are clipped by their own norm",
        BASELINE | {"clip_apart": True},
        teacher="cdrl",
    ),
    "actions.cdrl_apart": Row(
        "both terms; the discriminator's gradients are clipped by their own norm",
        CDRL | {"clip_apart": True},
        teacher="cdrl",
    ),
    "actions.baseline_label_free": Row(
        "no guidance; the discriminator has not seen action labels",
        BASELINE,
        backbone="identity",
        teacher="cdrl",
        label_free=True,
    ),
    "actions.cdrl_label_free": Row(
        "both terms; the discriminator has not seen action labels",
        CDRL,
        backbone="identity",
        teacher="cdrl",
        label_free=True,
    ),
    "actions.baseline_long": Row(
        "no guidance, four times the steps: whether its curve was flat",
        BASELINE,
        teacher="cdrl",
        duration=4,
    ),
    "actions.cdrl_long": Row("both terms, four times the steps", CDRL, teacher="cdrl", duration=4),
}
CONTENT = {
    "raw_window": Row("the input features of nine frames, the method's window", kind="window"),
    "raw_window_identity": Row(
        "the same, of backbones trained on speaker labels only", backbone="identity", kind="window"
    ),
    "untrained_code": Row(
        "no training: 12 whitened components of nine frames of mouth features, clip mean removed",
        kind="code",
    ),
    "untrained_code_identity": Row(
        "the same, of backbones trained on speaker labels only", backbone="identity", kind="code"
    ),
    "released_flat": Row(
        "CCRL as released, trained until its loss is flat",
        takes_audio=True,
        kind="released",
        until_flat=True,
    ),
}
EMOTION = {
    "raw_window": Row(
        "the input features, mean and std over 51 frames, the method's window", kind="window"
    ),
    "raw_window_identity": Row(
        "the same, of a backbone trained on speaker labels only", backbone="identity", kind="window"
    ),
    "classifier": Row("a plain classifier: cross-entropy, no bottleneck", kind="classifier"),
    "classifier_bottleneck": Row(
        "plain cross-entropy through CERL's bottleneck", {"bottleneck": 8}, kind="classifier"
    ),
    "classifier_identity": Row(
        "a plain classifier on a backbone trained on speaker labels only",
        backbone="identity",
        kind="classifier",
    ),
}
OPPONENTS: dict[str, dict[str, Row]] = {"content": CONTENT, "emotion": EMOTION, "edit": EDITS}
