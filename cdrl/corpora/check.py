"""What `cdrl data check` says of a corpus: what is there, missing, altered or odd."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
from av.container import InputContainer
from tqdm import tqdm

from cdrl.core.errors import InputError, printable
from cdrl.core.vocabulary import EMOTIONS, UNLABELLED
from cdrl.corpora.adapters import CORPORA
from cdrl.corpora.scan import ALL_CLIPS, Remark, Scan
from cdrl.media.decoding import ANY_LABELS, nominal_frame_rate, open_video

HEADER_SAMPLE = 12  # clips that are opened to see whether names lie
FEW_SPEAKERS = 12  # below this an interval over speakers says little
FEWEST_SPEAKERS = 3  # one each for train, choose and report
EXAMPLES = 3  # printed of each kind of remark
BRIEF_REMARKS = 5  # lines about files before a run begins


def concerns(clips: pd.DataFrame) -> list[str]:
    """Why results from these clips could mislead.

    Reasons are an emotion that the sentence tells, and too few speakers, emotions or pairs.

    Args:
        clips: speaker, sentence, emotion.

    Returns:
        One line for each; none for a crossed corpus of 12 speakers or more.
    """
    speaker_concerns = _speaker_concerns(clips)
    labelled = clips[clips["emotion"] != UNLABELLED]
    emotions = sorted(set(labelled["emotion"]))
    if not emotions:
        return [*speaker_concerns, "no clip is labelled with an emotion"]
    if len(emotions) < 2:
        single = f"one emotion only ({emotions[0]}): there is nothing to contrast"
        return [*speaker_concerns, single]
    return speaker_concerns + _sentence_concerns(labelled)


def _speaker_concerns(clips: pd.DataFrame) -> list[str]:
    num_speakers = clips["speaker"].nunique()
    if num_speakers >= FEW_SPEAKERS:
        return []
    consequence = "an interval over them says little"
    if num_speakers < FEWEST_SPEAKERS:
        consequence = "no disjoint train, choose and report parts can be made"
    return [f"too few speakers: {num_speakers}, {FEW_SPEAKERS} are needed; {consequence}"]


def _sentence_concerns(clips: pd.DataFrame) -> list[str]:
    """Concerns of clips with several emotions: can emotion and sentence be told apart?"""
    table = pd.crosstab(clips["sentence"], clips["emotion"])
    num_emotions = (table > 0).sum(axis=1)
    shared = table[num_emotions > 1]  # sentences said in several emotions

    # How often the best guess of the emotion is right, with and without the sentence.
    accuracy = table.max(axis=1).sum() / len(clips)
    chance = table.sum().max() / len(clips)
    guess = (
        f"the sentence alone tells the emotion of {accuracy:.0%} of the clips (chance {chance:.0%})"
    )
    if shared.empty:
        return [
            f"emotion and sentence are confounded: none of {len(table)} sentences is said in two "
            "emotions, so content predicts emotion and no pair can be aligned; " + guess
        ]
    sentence_concerns = []
    if accuracy - chance > 0.5 * (1 - chance):
        sentence_concerns.append(
            f"emotion and sentence are largely confounded: {guess}, and {len(shared)} of "
            f"{len(table)} sentences are said in two emotions; measure on those only"
        )
    unpaired = [emotion for emotion in table.columns if not shared[emotion].any()]
    if unpaired:
        sentence_concerns.append(
            f"no sentence of {', '.join(unpaired)} is said in another emotion: no pair can be "
            "aligned for it"
        )
    return sentence_concerns


def read_headers(
    root: Path, clips: pd.DataFrame, sample: int = 0
) -> tuple[np.ndarray, list[Remark]]:
    """Open files, read their headers and say which names lie.

    Args:
        root: the folder that the manifest's paths are relative to.
        clips: the manifest.
        sample: so many clips, evenly spread; 0: all.

    Returns:
        (K,) seconds of each file that could be opened, and remarks on those that could not or are
        not as released.
    """
    root = Path(root)
    step = max(1, -(-len(clips) // sample)) if sample else 1
    selected = clips.iloc[::step]
    seconds = []
    remarks = []
    progress = tqdm(
        selected.itertuples(),
        total=len(selected),
        desc="headers",
        unit="file",
        mininterval=2,
        delay=2,
        leave=False,
    )
    for row in progress:
        path = row.path or row.sound
        try:
            length, sample_rate = _read_header(root, row)
        except InputError as error:
            reason = str(error).removeprefix(f"{root / path}: ")
            remarks.append(Remark("unreadable", path, reason))
            continue
        seconds.append(length)
        released_rate = CORPORA[row.corpus].sample_rate
        if released_rate and sample_rate != released_rate:
            reason = (
                f"sound at {sample_rate} Hz, as released {released_rate}: somebody converted it"
            )
            remarks.append(Remark("note", path, reason))
    return np.array(seconds), remarks


def _read_header(root: Path, row: Any) -> tuple[float, int]:
    """(seconds, sample rate of the sound) that the header of a manifest's row promises."""
    if not row.path:
        return _sound_header(root / row.sound)
    path = root / row.path
    with open_video(path) as (container, video, audio):
        seconds = _header_seconds(container)
        if not seconds:
            seconds = video.frames / nominal_frame_rate(video)
        sample_rate = audio.codec_context.sample_rate if audio is not None else 0
    if row.sound:
        _, sample_rate = _sound_header(root / row.sound)
    elif not sample_rate:
        raise InputError(f"{path}: no sound in it, and no sound file of it")
    return _positive(path, seconds), sample_rate


def _sound_header(path: Path) -> tuple[float, int]:
    try:
        with av.open(f"file:{path}", **ANY_LABELS) as container:
            if not container.streams.audio:
                raise InputError(f"{path}: no sound in it")
            audio = container.streams.audio[0]
            seconds = _positive(path, _header_seconds(container))
            return seconds, audio.codec_context.sample_rate
    except (av.error.FFmpegError, OSError) as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{path}: not a readable sound ({reason})") from error


def _header_seconds(container: InputContainer) -> float:
    """Length that the container states; 0 where it states none."""
    return (container.duration or 0) / av.time_base


def _positive(path: Path, seconds: float) -> float:
    if seconds <= 0:
        raise InputError(f"{path}: its header promises no length")
    return seconds


def describe_corpus(scan: Scan, changes: list[str]) -> list[str]:
    """The lines of `cdrl data check`.

    They are counts, speaker x emotion, remarks, what is missing, changes, and concerns.

    Args:
        scan: of the root.
        changes: lines about a saved manifest.
    """
    clips = scan.clips
    lines = [_describe_counts(scan)]
    lines += _emotion_table(clips)
    lines += _describe_remarks(scan.remarks)

    corpus = CORPORA[scan.corpus]
    missing = corpus.missing(clips)
    if missing:
        examples = _examples(missing)
        lines.append(f"missing: {len(missing)}, {examples} ({corpus.certainty})")
    elif corpus.certainty:
        lines.append(f"missing: nothing of the speakers who are here ({corpus.certainty})")

    lines += changes
    for concern in concerns(clips):
        lines.append(f"beware: {concern}")
    return [printable(line) for line in lines]


def describe_briefly(scan: Scan) -> list[str]:
    """What `cdrl data check` says of a corpus, in a few lines: counts, remarks, concerns.

    Args:
        scan: of the root.
    """
    remarks = _describe_remarks([remark for remark in scan.remarks if remark.kind != "stray"])
    lines = [_describe_counts(scan), *remarks[:BRIEF_REMARKS]]
    num_hidden = len(remarks) - BRIEF_REMARKS
    if num_hidden > 0:
        lines.append(f"and {num_hidden} more kinds of remarks")
    for concern in concerns(scan.clips):
        lines.append(f"beware: {concern}")
    return [printable(line) for line in lines]


def _describe_counts(scan: Scan) -> str:
    """One line: clips, speakers, sentences, emotions, cameras, size."""
    clips = scan.clips
    num_sounds = int((clips["path"] == "").sum())
    cameras = sorted(set(clips["camera"]) - {""})
    gigabytes = clips["bytes"].sum() / 1e9
    parts = [f"corpus {scan.corpus}: clips {len(clips)}"]
    if num_sounds:
        parts.append(f"{num_sounds} of them sound only")
    for column in ("speaker", "sentence"):
        parts.append(f"{column}s {clips[column].nunique()}")
    emotions = set(clips["emotion"]) - {UNLABELLED}
    parts.append(f"emotions {len(emotions)}")
    if cameras:
        parts.append(f"cameras {' '.join(cameras)}")
    parts.append(f"{gigabytes:.3f} GB")
    return ", ".join(parts)


def _emotion_table(clips: pd.DataFrame) -> list[str]:
    """Lines of a table of clips: a row per speaker, a column per emotion."""
    present = set(clips["emotion"])
    emotions = [emotion for emotion in (*EMOTIONS, UNLABELLED) if emotion in present]
    table = pd.crosstab(clips["speaker"], clips["emotion"]).reindex(columns=emotions)
    text = table.rename_axis(index=None, columns=None).to_string()
    return text.splitlines()


def _describe_remarks(remarks: list[Remark]) -> list[str]:
    """One line for each kind and reason, with a count and the first few paths.

    What holds for all clips has no count: it would be 1.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for remark in remarks:
        group = groups.setdefault((remark.kind, remark.reason), [])
        group.append(remark.path)
    lines = []
    for (kind, reason), paths in sorted(groups.items()):
        if paths == [ALL_CLIPS]:
            lines.append(f"{kind}: {reason}")
        else:
            lines.append(f"{kind}: {len(paths)}, {reason}: {_examples(paths)}")
    return lines


def _examples(names: list[str]) -> str:
    """The first few names; a character that cannot be printed is escaped."""
    shown = []
    for name in names[:EXAMPLES]:
        shown.append(printable(name))
    if len(names) > EXAMPLES:
        shown.append("...")
    return ", ".join(shown)


def describe_changes(changes: dict[str, list[str]], file: Path, has_sums: bool) -> list[str]:
    """What `manifest.compare` returns, in words.

    Args:
        changes: kind of change -> paths.
        file: the saved manifest.
        has_sums: whether contents were compared.
    """
    lines = []
    for kind, paths in changes.items():
        if paths:
            lines.append(f"{kind} since {file}: {len(paths)}, {_examples(paths)}")
    how = "sums" if has_sums else "sizes alone, --sums compares contents"
    return lines or [f"as in {file} (by {how})"]
