"""The rows of the study's tables: what differs from the method, and what the row is for."""

from collections.abc import Container
from typing import Any

from cdrl.study.opponents import OPPONENTS
from cdrl.study.parts import PARTS
from cdrl.study.row import Row

CONTENT = {
    "cdrl": Row("the method"),
    "own": Row("a loss or an encoder of your own, content.loss and content.encoder", kind="own"),
    "released": Row(
        "CCRL as released, our re-implementation; probed with the audio of another moment",
        takes_audio=True,
        kind="released",
    ),
    "control.shuffled": Row("random positives and random audio", control="shuffled"),
    "control.untrained": Row("an untrained encoder", kind="untrained"),
    "control.constant": Row("trained and tested on one grey image", control="constant"),
    "control.noise": Row("trained and tested on noise images", control="noise"),
    "raw": Row("the input features", kind="raw"),
    "identity": Row("backbones trained on speaker labels only", backbone="identity"),
    "raw_identity": Row(
        "the input features of the backbones trained on speaker labels only",
        backbone="identity",
        kind="raw",
    ),
    "truth_pairs": Row(
        "pairs aligned by the true phone times: an upper bound", {"alignment": "truth"}
    ),
    "mfcc_pairs": Row(
        "pairs aligned by DTW on cepstra: no learnt audio prior", {"alignment": "mfcc"}
    ),
    "linear_pairs": Row("pairs aligned by a linear time warp: no audio", {"alignment": "linear"}),
    "one_sided": Row("negatives from the partner's clip alone", {"negatives": "one"}),
    "image_only": Row("no audio query in training", {"wrong_image_weight": 0.0}),
    "audio_query": Row(
        "audio query with wrong-image negatives alone; probed with the audio of another moment",
        {"contrast_weight": 0.0, "wrong_image_weight": 1.0},
        takes_audio=True,
    ),
    "no_sound": Row("no audio units as targets", {"sound_weight": 0.0}, choosing=True),
    "no_offset": Row("no exchange of mean features", {"mean_swap_prob": 0.0}, choosing=True),
    "no_adversary": Row(
        "no gradient reversal", {"emotion_weight": 0.0, "speaker_weight": 0.0}, choosing=True
    ),
    "covariance": Row(
        "a penalty on the covariance with the emotion label",
        {"covariance_weight": 10.0},
        choosing=True,
    ),
    "wide": Row("32 dimensions instead of 12", {"embedding": 32}, choosing=True),
    "short": Row("5 frames instead of 9", {"window": 5}, choosing=True),
}
EMOTION = {
    "cdrl": Row("the method"),
    "own": Row("a loss or an encoder of your own, emotion.loss and emotion.encoder", kind="own"),
    "released": Row(
        "CERL as released, our re-implementation: without its heads, CLIP's image features remain",
        kind="released",
    ),
    "control.constant": Row("trained and tested on one grey image", control="constant"),
    "control.noise": Row("trained and tested on noise images", control="noise"),
    "raw": Row("the input features", kind="raw"),
    "truth": Row(
        "an upper bound: mean and maximum of the true coefficients of a clip, "
        "classifier and trees fitted on the training people",
        kind="truth",
    ),
    "identity": Row("a backbone trained on speaker labels only", backbone="identity"),
    "raw_identity": Row(
        "the input features of a backbone trained on speaker labels only",
        backbone="identity",
        kind="raw",
    ),
    "no_contrast": Row("prompts only, no emotion-augmented contrast", {"contrast_weight": 0.0}),
    "no_prior": Row(
        "no prompts: contrast without the language prior",
        {"prior_weight": 0.0, "direction_weight": 0.0},
    ),
    "wide": Row(
        "no bottleneck: 128 dimensions without noise",
        {"bottleneck": 128, "noise": 0.0},
        choosing=True,
    ),
    "no_noise": Row("8 dimensions without noise", {"noise": 0.0}, choosing=True),
    "no_adversary": Row("no gradient reversal", {"speaker_weight": 0.0}, choosing=True),
}
# Further loss weights of the image editor's baseline and cdrl: end of the row's name -> factor.
WEIGHT_FACTORS = {"half": 0.5, "double": 2.0}


def _weight_rows() -> dict[str, Row]:
    """Build the rows of the image editor with other weights, as many for baseline as for cdrl."""
    weights_of = {
        "baseline": ("its adversarial term", ("adversarial_weight",)),
        "cdrl": ("both terms", ("content_weight", "emotion_weight")),
    }
    rows = {}
    for ending, factor in WEIGHT_FACTORS.items():
        for variant, (terms, weights) in weights_of.items():
            change: dict[str, Any] = {"variant": variant}
            for weight in weights:
                change[weight] = factor
            rows[f"image.{variant}_{ending}"] = Row(f"{variant}, {terms} {ending}", change)

    return rows


# EDITOR.VARIANT; another editor is another entry of `edit_jobs.EDITORS` and its own rows here.
EDIT = {
    "image.copy_source": Row("the source, not edited", kind="raw"),
    "image.constant": Row(
        "the best edit that does not see its source, fitted on unpaired clips", kind="raw"
    ),
    "image.baseline": Row("the editor without guidance"),
    "image.cdrl": Row("both terms"),
    "image.content": Row("the content term alone"),
    "image.emotion": Row("the emotion term alone"),
    "image.released": Row("guided by the losses as released, our re-implementation"),
    "image.paired": Row(
        "trained on true edits of the training people, L1 to their pixels: an upper bound of psnr"
    ),
    "image.cdrl_fivefold": Row(
        "cdrl, both terms five times",
        {"variant": "cdrl", "content_weight": 5.0, "emotion_weight": 5.0},
    ),
    **_weight_rows(),
    "curves.truth": Row(
        "the mouths of the true edits themselves: the speech_correlation of a right answer",
        kind="truth",
    ),
    "curves.paired": Row(
        "no editor: trees trained on the mouth curves of true edits of the training people",
        kind="truth",
    ),
    "rendered.tracked": Row(
        "sources tracked and rendered again, not edited: the cost of tracking", kind="raw"
    ),
    "rendered.expected": Row(
        "true speech with the mean acting of 60 training people, rendered: "
        "the person's own way of acting is unknown",
        kind="truth",
    ),
    "rendered.baseline": Row("the action manipulator without guidance"),
    "rendered.cdrl": Row("both terms, by students on facial actions"),
    "rendered.content": Row("the content term alone"),
    "rendered.emotion": Row("the emotion term alone"),
    "rendered.paired": Row("trained on the tracked actions of true edits of the training people"),
    "actions.baseline": Row(
        "the action manipulator without guidance, from tracked pixels through the neural renderer"
    ),
    "actions.cdrl": Row("both terms, through the neural renderer"),
    "actions.content": Row("the content term alone, through the neural renderer"),
    "actions.emotion": Row("the emotion term alone, through the neural renderer"),
    "actions.paired": Row(
        "trained on the tracked actions of true edits of the training people, "
        "through the neural renderer"
    ),
}
# The tables of `results/study`; their rows are those of its committed results.
MAIN_TABLES = {"content": CONTENT, "emotion": EMOTION, "edit": EDIT}
# Every row of every half, by table.
TABLES: dict[str, dict[str, Row]] = {
    kind: rows | OPPONENTS[kind] | PARTS[kind] for kind, rows in MAIN_TABLES.items()
}
HALVES = {
    "both": ("content", "emotion", "edit"),
    "representation": ("content", "emotion"),
    "edit": ("edit",),
    "opponents": ("content", "emotion", "edit"),
    "parts": ("content", "emotion"),
}
# Rows of the main tables that stand beside those of another half.
BESIDE: dict[str, dict[str, tuple[str, ...]]] = {
    "opponents": {
        "content": ("cdrl", "raw", "identity", "raw_identity", "released"),
        "emotion": ("cdrl", "raw", "identity", "raw_identity"),
        "edit": ("image.copy_source", "curves.truth", "actions.paired"),
    },
    "parts": {
        "content": ("cdrl", "image_only", "truth_pairs", "mfcc_pairs", "linear_pairs"),
        "emotion": ("cdrl", "no_prior"),
        "edit": (),
    },
}
IN_BOTH_SETS = ("cdrl", "raw")


def rows_of(split: str, half: str = "both", own: Container[str] = ()) -> dict[str, dict[str, Row]]:
    """Return the rows of one set's tables, {kind: {name: row}}.

    Args:
        split: `choose` has the questions of design, `report` what is claimed, `sealed` too.
        half: a name in `HALVES`. The opponents and the parts are scored on every set.
        own: tables whose row `own` has code of the user.

    >>> "wide" in rows_of("report")["emotion"], "wide" in rows_of("choose")["emotion"]
    (False, True)
    >>> list(rows_of("report", "edit"))
    ['edit']
    """
    if half in BESIDE:
        return _rows_beside(half)

    tables: dict[str, dict[str, Row]] = {}
    for kind in HALVES[half]:
        tables[kind] = {}
        for name, row in MAIN_TABLES[kind].items():
            in_both = kind == "edit" or row.kind == "own" or name in IN_BOTH_SETS
            is_missing = row.kind == "own" and kind not in own
            if not is_missing and (in_both or row.choosing == (split == "choose")):
                tables[kind][name] = row

    return tables


def _rows_beside(half: str) -> dict[str, dict[str, Row]]:
    """Return the rows of opponents or parts, after those of the main tables beside them."""
    further = {"opponents": OPPONENTS, "parts": PARTS}[half]
    tables = {}
    for kind in HALVES[half]:
        main = {name: MAIN_TABLES[kind][name] for name in BESIDE[half][kind]}
        tables[kind] = main | further[kind]
    return tables
