"""Scores and variants in words, for figures, tables and `cdrl scores`."""

import re

# What a number is about: the beginning of a score's name. Longer beginnings come first.
SUBJECTS = {
    "control.untrained.content": "untrained encoder",
    "control.shuffled.content": "trained on shuffled pairs",
    "control.constant.content": "content of constant images",
    "control.noise.content": "content of noise",
    "control.permuted.content": "content, permuted labels",
    "control.constant.emotion": "emotion of constant images",
    "control.noise.emotion": "emotion of noise",
    "control.permuted.emotion": "emotion, permuted labels",
    "real.raw": "frozen features",
    "real.fitted": "content, fitted",
    "real": "content, as trained",
    "raw.content": "frozen features",
    "raw.emotion": "frozen features",
    "raw": "frozen features",
    "truth": "true mouth",
    "content_av": "content with sound",
    "content": "content",
    "emotion": "emotion",
    "hsic": "content and emotion",
    "time": "time",
    "memory": "memory",
}
EDITORS = {
    "actions": "facial-action editor",
    "rendered": "facial actions, rendered",
    "image": "image editor",
}
VARIANTS = {
    "copy_source": "copy of the source",
    "constant": "one change for all clips",
    "baseline": "without CDRL",
    "content": "content term alone",
    "emotion": "emotion term alone",
    "cdrl": "with CDRL",
    "released": "the release's losses",
    "paired": "trained on true edits",
    "cdrl_minus_baseline": "difference that CDRL makes",
}
MEASURES_OF_EMBEDDINGS = {
    "viseme": "mouth shape of a frame",
    "emotion": "emotion of a frame",
    "emotion_clip": "emotion of a clip",
    "emotion_frame": "emotion of a frame",
    "emotion_2": "emotion of a clip, level 2",
    "emotion_3": "emotion of a clip, level 3",
    "emotion_nearest": "own prompt is nearest",
    "intensity": "level of the emotion",
    "speaker": "speaker",
    "speaker_share": "share of the speaker that is left",
    "sentence": "sentence",
    "swap_image": "right image wins",
    "swap_image_dtw": "right image wins, aligned by sound",
    "swap_audio": "moves with the sound",
    "retrieval_r1": "moment found in another person",
    "retrieval_dtw_r1": "moment found, aligned by sound",
    "content_emotion": "their dependence (HSIC)",
}
MEASURES_OF_EDITS = {
    "emotion_accuracy": "wanted emotion is read",
    "mouth_error": "mouth error",
    "mouth_posture_error": "mouth error of the mean posture",
    "mouth_motion_error": "mouth error of the motion",
    "mouth_correlation": "mouth follows the true edit",
    "mouth_truth_correlation": "mouth follows the true edit, per clip",
    "speech_correlation": "mouth follows the source",
    "closure": "lips close where they must",
    "psnr": "PSNR, dB",
    "mouth_l1": "difference of the mouth's pixels",
    "identity": "same person",
    "jitter": "jitter, source = 1",
    "fps": "frames a second",
    "truth": "the same on true edits",
}
# Edits of people in a folder, by `cdrl evaluate`: real.EDITOR.EMOTION.MEASURE, studio likewise.
PEOPLE = {"real": "real people", "studio": "people of the studio"}
EDITORS_OF_PEOPLE = {
    "actions": "default editor",
    "actions_plain": "facial-action editor alone",
    "image": "image editor",
    "copy": "not edited",
    "true": "true edits",
    "acted": "really acted",
}
MEASURES_OF_PEOPLE = {
    "top": "wanted emotion is the likeliest",
    "probability": "probability of the wanted emotion",
    "rise": "rise of that probability",
    "two_frames": "two frames of the source",
    "brow_inner": "inner brows up",
    "brow_outer": "outer brows up",
    "lids": "lids apart",
    "mouth_width": "mouth wider",
    "mouth_opening": "lips apart",
    "opening_correlation": "mouth opens with the source",
    "background": "change around the face",
    "count": "people",
    "expression": "by the first network",
    "expression_fer": "by the second network",
}
MEASURES_OF_RUNS = {"total_seconds": "seconds of the whole run", "peak_gb": "GB at the peak"}
MEASURES = MEASURES_OF_EMBEDDINGS | MEASURES_OF_EDITS | MEASURES_OF_RUNS
IDENTIFIER = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")
LINE_LENGTH = 34  # letters of a label's line in a figure


def words_of(name: str) -> str:
    """A score's or a variant's name in words; any other text as it is.

    Args:
        name: as in "content.viseme" or "cdrl".

    >>> words_of("raw.viseme")
    'frozen features: mouth shape of a frame'
    >>> words_of("spfem.actions.cdrl.mouth_error")
    'facial-action editor, with CDRL: mouth error'
    >>> words_of("real.actions.happy.rise")
    'real people, default editor, happy: rise of that probability'
    >>> words_of("Six real clips")
    'Six real clips'
    """
    if not IDENTIFIER.fullmatch(name):
        return name
    parts = name.split(".")
    if parts[0] == "spfem" and len(parts) > 3:
        editor = EDITORS.get(parts[1], _spaced(parts[1]))
        return f"{editor}, {variant_words(parts[2])}: {_measure_words(parts[3:])}"
    if len(parts) > 3 and parts[0] in PEOPLE and parts[1] in EDITORS_OF_PEOPLE:
        people = f"{PEOPLE[parts[0]]}, {EDITORS_OF_PEOPLE[parts[1]]}"
        known = MEASURES | MEASURES_OF_PEOPLE
        measures = [known.get(part, _spaced(part)) for part in parts[3:]]
        emotion = "all emotions" if parts[2] == "all" else parts[2]
        return f"{people}, {emotion}: {', '.join(measures)}"
    if parts[0] in VARIANTS and len(parts) > 1 and parts[1] in MEASURES_OF_EDITS:
        return f"{variant_words(parts[0])}: {_measure_words(parts[1:])}"
    if len(parts) == 1:
        return _word_alone(name)

    for beginning, subject in SUBJECTS.items():
        if name.startswith(f"{beginning}."):
            rest = name.removeprefix(f"{beginning}.").split(".")
            if beginning == "emotion" and rest == ["emotion"]:
                rest = ["emotion_clip"]  # the emotion embedding is one of a clip
            return f"{subject}: {_measure_words(rest)}"
    return _measure_words(parts)


def _word_alone(name: str) -> str:
    """A name without parts in words; "content" and "emotion" stay what they are."""
    if name in ("content", "emotion"):
        return name
    if name in MEASURES:
        return MEASURES[name]
    return variant_words(name)


def variant_words(name: str) -> str:
    """A variant of an editor in words.

    Args:
        name: as in "cdrl" or "baseline_half".

    >>> variant_words("cdrl_double")
    'with CDRL, double weights'
    """
    if name in VARIANTS:
        return VARIANTS[name]
    base, _, factor = name.rpartition("_")
    if base in VARIANTS and factor in ("half", "double", "fivefold"):
        return f"{VARIANTS[base]}, {factor} weights"
    return _spaced(name)


def _measure_words(parts: list[str]) -> str:
    """The end of a score's name in words: ["mouth_error", "happy"] -> "mouth error, happy"."""
    return ", ".join(MEASURES.get(part, _spaced(part)) for part in parts)


def _spaced(name: str) -> str:
    """A name without its underscores."""
    return name.replace("_", " ")


def in_lines(text: str, length: int = LINE_LENGTH) -> str:
    """A label in lines of at most so many letters, as plotly breaks them.

    Args:
        text: words.
        length: of a line, letters; a longer word stands alone.

    >>> in_lines("frozen features: mouth shape", 17)
    'frozen features:<br>mouth shape'
    """
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}".strip()
        if lines[-1] and len(joined) > length:
            lines.append(word)
        else:
            lines[-1] = joined

    return "<br>".join(lines)
