"""What a run can do with the clips of a real corpus, and what it cannot: said before 00 runs."""

import pandas as pd

from cdrl.core.vocabulary import UNLABELLED


def lacks_training(clips: pd.DataFrame) -> str:
    """Say why clips cannot train content and emotion alone; "" where they can.

    Args:
        clips: speaker, sentence, emotion of the training clips.
    """
    labelled = clips[clips["emotion"] != UNLABELLED]
    if labelled.empty:
        return "no clip is labelled with an emotion"
    if labelled["emotion"].nunique() < 2:
        return f"{labelled['emotion'].iloc[0]} is the only emotion"
    if not _num_contrasts(labelled):
        return "nobody says one sentence in two emotions"
    return ""


def _num_contrasts(labelled: pd.DataFrame) -> int:
    """How often one person says one sentence in two emotions or more."""
    emotions = labelled.groupby(["speaker", "sentence"])["emotion"].nunique()
    return int((emotions > 1).sum())


def describe_outlook(train: pd.DataFrame, report: pd.DataFrame) -> list[str]:
    """Say what the training clips teach and what the reporting clips can show.

    Args:
        train: manifest of the training clips; empty where rendered people train.
        report: manifest of the reporting clips.

    Returns:
        A line each for content, emotion, edits and scores.
    """
    return [*_describe_training(train), *_describe_scores(report)]


def _describe_training(train: pd.DataFrame) -> list[str]:
    if train.empty:
        return [
            "content, emotion and editor learn from rendered people of the studio: nobody here is "
            "left to train"
        ]

    reason = lacks_training(train)
    if not reason:
        labelled = train[train["emotion"] != UNLABELLED]
        contrasts = _num_contrasts(labelled)
        return [
            f"content and emotion learn from {len(train)} clips: one person says one sentence in "
            f"several emotions {contrasts} times"
        ]

    has_labels = (train["emotion"] != UNLABELLED).any()
    editor = "these clips and them" if has_labels else "them"
    return [
        f"content learns from {len(train)} clips, each its own partner, and from rendered people: "
        f"{reason}",
        "emotion cannot be learnt here, for the same reason: it comes from the rendered people; "
        f"the editor learns from {editor}",
    ]


def _describe_scores(report: pd.DataFrame) -> list[str]:
    lines = [f"edits: {len(report)} clips of {report['speaker'].nunique()} people can be edited"]
    labelled = report[report["emotion"] != UNLABELLED]
    if labelled.empty:
        lines.append(
            "not measured: what the embeddings know of the emotion, and how well judges read "
            "untouched clips, since the reporting clips have no labels"
        )
    elif labelled.groupby("sentence")["emotion"].nunique().max() < 2:
        lines.append(
            "not measured: what the embeddings know of the emotion, since no reporting sentence is "
            "said in two emotions"
        )
    if report["speaker"].nunique() == 1:
        lines.append(
            f"{report['speaker'].iloc[0]} alone reports: no interval over people, and no probe, "
            "retrieval or swap, which compare people"
        )
    return lines
