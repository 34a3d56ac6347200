"""The rows of the study's tables: what differs from the method as it should be, and why it is asked."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        why: one line for the table. change: settings of its stage.
        backbone: `actions`, or `identity` (never saw a coefficient). heard: the embedding takes audio.
        control: what the training was given instead (constant, noise, shuffled).
        kind: `trained`, `released`, `untrained`, `raw` or `truth`.
        choosing: a question of design, asked on the choosing set alone.
    """

    why: str
    change: dict = None
    backbone: str = "actions"
    heard: bool = False
    control: str = ""
    kind: str = "trained"
    choosing: bool = False

    @property
    def seeded(self) -> bool:
        """Whether another seed gives another result."""
        return self.kind not in ("raw", "truth")

    @property
    def core(self) -> bool:
        """The method, the released one and the controls: done for all seeds before any ablation."""
        return not (self.change or self.choosing or self.backbone != "actions")


CONTENT = {
    "cdrl": Row("the method"),
    "released": Row(
        "CCRL as released, our re-implementation; probed under a random other sound",
        heard=True,
        kind="released",
    ),
    "control.shuffled": Row("positives and sounds drawn by lot", control="shuffled"),
    "control.untrained": Row("an encoder nobody trained", kind="untrained"),
    "control.constant": Row("trained and tested on one grey image", control="constant"),
    "control.noise": Row("trained and tested on noise images", control="noise"),
    "raw": Row("the input features", kind="raw"),
    "identity": Row("backbones that saw speaker labels only", backbone="identity"),
    "raw_identity": Row(
        "the input features of the backbones that saw speaker labels only",
        backbone="identity",
        kind="raw",
    ),
    "truth_pairs": Row(
        "pairs aligned by the true phone times: an upper bound", {"alignment": "truth"}
    ),
    "mfcc_pairs": Row("DTW on cepstra: no learnt audio prior for the pairs", {"alignment": "mfcc"}),
    "linear_pairs": Row(
        "a linear time warp: no sound at all for the pairs", {"alignment": "linear"}
    ),
    "one_sided": Row("negatives of the partner's clip alone", {"negatives": "one"}),
    "image_only": Row("no audio query in training", {"wrong_image_weight": 0.0}),
    "audio_query": Row(
        "audio query, wrong-image negatives, nothing else contrasted; probed under a random other sound",
        {"contrast_weight": 0.0, "wrong_image_weight": 1.0},
        heard=True,
    ),
    "no_sound": Row("the sound is no teacher", {"sound_weight": 0.0}, choosing=True),
    "no_offset": Row("no exchanged offsets", {"mean_swap_prob": 0.0}, choosing=True),
    "no_adversary": Row(
        "no gradient reversal", {"emotion_weight": 0.0, "speaker_weight": 0.0}, choosing=True
    ),
    "covariance": Row(
        "correlation with the emotion label penalised", {"covariance_weight": 10.0}, choosing=True
    ),
    "wide": Row("32 dimensions instead of 12", {"embedding": 32}, choosing=True),
    "short": Row("5 frames instead of 9", {"window": 5}, choosing=True),
}
EMOTION = {
    "cdrl": Row("the method"),
    "released": Row(
        "CERL as released, our re-implementation: the heads are dropped, CLIP's image features remain",
        kind="released",
    ),
    "control.constant": Row("trained and tested on one grey image", control="constant"),
    "control.noise": Row("trained and tested on noise images", control="noise"),
    "raw": Row("the input features", kind="raw"),
    "truth": Row(
        "a ceiling: true coefficients (mean and greatest of a clip), classifier and trees fitted on the training people",
        kind="truth",
    ),
    "identity": Row("a backbone that saw speaker labels only", backbone="identity"),
    "raw_identity": Row(
        "the input features of a backbone that saw speaker labels only",
        backbone="identity",
        kind="raw",
    ),
    "no_contrast": Row("prompts only, no emotion-augmented contrast", {"contrast_weight": 0.0}),
    "no_prior": Row(
        "no prompts: contrast without the language prior",
        {"prior_weight": 0.0, "direction_weight": 0.0},
    ),
    "wide": Row(
        "no narrow place: 128 dimensions without noise",
        {"bottleneck": 128, "noise": 0.0},
        choosing=True,
    ),
    "no_noise": Row("8 dimensions without noise", {"noise": 0.0}, choosing=True),
    "no_adversary": Row("no gradient reversal", {"speaker_weight": 0.0}, choosing=True),
}
# HOST.VARIANT; a further host is a further entry of `study_edits.HOSTS` and its own lines here.
EDIT = {
    "image.copy_source": Row("nothing done", kind="raw"),
    "image.constant": Row(
        "the best edit that looks at nothing, fitted on unpaired clips", kind="raw"
    ),
    "image.baseline": Row("the host without guidance"),
    "image.cdrl": Row("both terms"),
    "image.content": Row("the content term alone"),
    "image.emotion": Row("the emotion term alone"),
    "image.released": Row("the host guided by the losses as released, our re-implementation"),
    "image.paired": Row(
        "trained on true edits of the training people, L1 to their pixels: an upper bound of psnr"
    ),
    "image.cdrl_fivefold": Row(
        "cdrl, both terms five times",
        {"variant": "cdrl", "content_weight": 5.0, "emotion_weight": 5.0},
    ),
    **{
        f"image.{variant}_{name}": Row(
            f"{variant}, {what} {name}", {"variant": variant} | dict.fromkeys(weights, factor)
        )
        for name, factor in (("half", 0.5), ("double", 2.0))
        for variant, what, weights in (
            ("baseline", "its game", ("adversarial_weight",)),
            ("cdrl", "both terms", ("content_weight", "emotion_weight")),
        )
    },
    "curves.truth": Row(
        "the true edits' own mouths: what speech_correlation a right answer has", kind="truth"
    ),
    "curves.paired": Row(
        "no host: trees taught the mouth curves of true edits of the training people", kind="truth"
    ),
    "coefficient.tracked": Row(
        "sources tracked and rendered again, nothing edited: what tracking costs", kind="raw"
    ),
    "coefficient.expected": Row(
        "true speech, the mean of how 60 training people act what is asked, rendered: a person's way unknown",
        kind="truth",
    ),
    "coefficient.baseline": Row("the host without guidance"),
    "coefficient.cdrl": Row("both terms, by students on facial actions"),
    "coefficient.content": Row("the content term alone"),
    "coefficient.emotion": Row("the emotion term alone"),
    "coefficient.paired": Row(
        "trained on the tracked actions of true edits of the training people"
    ),
    "drawn.baseline": Row(
        "the coefficient host without guidance, tracked in pixels and drawn by the neural renderer"
    ),
    "drawn.cdrl": Row("both terms, so drawn"),
    "drawn.content": Row("the content term alone, so drawn"),
    "drawn.emotion": Row("the emotion term alone, so drawn"),
    "drawn.paired": Row(
        "trained on the tracked actions of true edits of the training people, so drawn"
    ),
}
TABLES = {"content": CONTENT, "emotion": EMOTION, "edit": EDIT}
HALVES = {
    "both": ("content", "emotion", "edit"),
    "representation": ("content", "emotion"),
    "edit": ("edit",),
}
BACKBONES = {
    "actions": ("face_backbone", "mouth_backbone"),
    "identity": ("face_identity", "mouth_identity"),
}


def rows_of(split: str, half: str = "both") -> dict:
    """The rows of one set's tables, {kind: {name: row}}: `choose` has the questions of design, `report` what is claimed.

    >>> "wide" in rows_of("report")["emotion"], "wide" in rows_of("choose")["emotion"], list(rows_of("report", "edit"))
    (False, True, ['edit'])
    """
    always = ("cdrl", "raw")
    return {
        kind: {
            name: row
            for name, row in TABLES[kind].items()
            if kind == "edit" or name in always or row.choosing == (split == "choose")
        }
        for kind in HALVES[half]
    }
