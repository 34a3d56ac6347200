"""What `cdrl data check` says of a corpus: what is there, missing, altered or odd."""

from pathlib import Path

import av
import numpy as np
import pandas as pd
from tqdm import tqdm

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import EMOTIONS
from cdrl.corpora.adapters import CORPORA
from cdrl.corpora.scan import Remark, Scan
from cdrl.media.decoding import nominal_frame_rate, open_video

HEADER_SAMPLE = 12  # clips that are opened to see whether names lie
FEW_SPEAKERS = 12  # below this an interval over speakers says little
EXAMPLES = 3  # printed of each kind of remark


def concerns(clips: pd.DataFrame) -> list[str]:
    """Why results from these clips could mislead: emotion told by the sentence, too few speakers, emotions or pairs.

    Args:
        clips: speaker, sentence, emotion.

    Returns:
        One line for each; none for a crossed corpus of 12 speakers or more.
    """
    found = []
    speakers, emotions = clips["speaker"].nunique(), sorted(set(clips["emotion"]))
    if speakers < FEW_SPEAKERS:
        why = (
            "no disjoint train, choose and report parts can be made"
            if speakers < 3
            else "an interval over them says little"
        )
        found.append(f"too few speakers: {speakers}, {FEW_SPEAKERS} are needed; {why}")
    if len(emotions) < 2:
        return [*found, f"one emotion only ({emotions[0]}): there is nothing to contrast"]
    table = pd.crosstab(clips["sentence"], clips["emotion"])
    shared = table[(table > 0).sum(axis=1) > 1]
    told, chance = table.max(axis=1).sum() / len(clips), table.sum().max() / len(clips)
    guess = f"the sentence alone tells the emotion of {told:.0%} of the clips (chance {chance:.0%})"
    if shared.empty:
        return [
            *found,
            f"emotion and sentence are confounded: none of {len(table)} sentences is said in two emotions, so content "
            f"predicts emotion and no pair can be aligned; {guess}",
        ]
    if told - chance > 0.5 * (1 - chance):
        found.append(
            f"emotion and sentence are largely confounded: {guess}, and {len(shared)} of {len(table)} sentences are said "
            "in two emotions; measure on those only"
        )
    alone = [emotion for emotion in emotions if not shared[emotion].any()]
    if alone:
        found.append(
            f"no sentence of {', '.join(alone)} is said in another emotion: no pair can be aligned for it"
        )
    return found


def read_headers(
    root: Path, clips: pd.DataFrame, sample: int = 0
) -> tuple[np.ndarray, list[Remark]]:
    """Open files, read their headers and say which names lie.

    Args:
        sample: so many, evenly spread; 0: all.

    Returns:
        Seconds of each file that could be opened, and remarks on those that could not or are not as released.
    """
    rows = clips if not sample else clips.iloc[:: max(1, -(-len(clips) // sample))]
    seconds, remarks = [], []
    for row in tqdm(
        rows.itertuples(),
        total=len(rows),
        desc="headers",
        unit="file",
        mininterval=2,
        delay=2,
        leave=False,
    ):
        try:
            length, rate = (
                _video_header(root, row) if row.path else _sound_header(Path(root) / row.sound)
            )
            seconds.append(length)
            released = CORPORA[row.corpus].sample_rate
            if released and rate != released:
                reason = f"sound at {rate} Hz, as released {released}: somebody converted it"
                remarks.append(Remark("note", row.path or row.sound, reason))
        except InputError as error:
            reason = str(error).removeprefix(f"{Path(root) / (row.path or row.sound)}: ")
            remarks.append(Remark("unreadable", row.path or row.sound, reason))
    return np.array(seconds), remarks


def _video_header(root: Path, row) -> tuple[float, int]:
    """(seconds, sample rate of the sound) that a video's header promises."""
    path = Path(root) / row.path
    with open_video(path) as (container, video, audio):
        length = (container.duration or 0) / av.time_base or video.frames / nominal_frame_rate(
            video
        )
        rate = audio.codec_context.sample_rate if audio else 0
    if row.sound:
        rate = _sound_header(Path(root) / row.sound)[1]
    elif not rate:
        raise InputError(f"{path}: no sound in it, and no sound file of it")
    return _positive(path, length), rate


def _sound_header(path: Path) -> tuple[float, int]:
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise InputError(f"{path}: no sound in it")
            length = (container.duration or 0) / av.time_base
            return _positive(path, length), container.streams.audio[0].codec_context.sample_rate
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(
            f"{path}: not a readable sound ({error.strerror or type(error).__name__})"
        ) from error


def _positive(path: Path, seconds: float) -> float:
    if seconds <= 0:
        raise InputError(f"{path}: its header promises no length")
    return seconds


def corpus_report(found: Scan, changes: list[str]) -> list[str]:
    """The lines of `cdrl data check`: counts, speaker x emotion, remarks, what is missing, changes, concerns.

    Args:
        changes: lines about a saved manifest.
    """
    clips, corpus = found.clips, CORPORA[found.corpus]
    silent = int((clips["path"] == "").sum())
    only = f", {silent} of them sound only" if silent else ""
    cameras = sorted(set(clips["camera"]) - {""})
    table = pd.crosstab(clips["speaker"], clips["emotion"]).reindex(
        columns=[e for e in EMOTIONS if e in set(clips.emotion)]
    )
    lines = [
        f"corpus {found.corpus}: clips {len(clips)}{only}, speakers {clips['speaker'].nunique()}, "
        f"sentences {clips['sentence'].nunique()}, emotions {clips['emotion'].nunique()}"
        + (f", cameras {' '.join(cameras)}" if cameras else "")
        + f", {clips['bytes'].sum() / 1e9:.3f} GB",
        *table.rename_axis(index=None, columns=None).to_string().splitlines(),
        *_remark_lines(found.remarks),
    ]
    missing = corpus.missing(clips)
    if missing:
        lines.append(f"missing: {len(missing)}, {_examples(missing)} ({corpus.certainty})")
    elif corpus.certainty:
        lines.append(f"missing: nothing of the speakers who are here ({corpus.certainty})")
    lines += changes
    return lines + [f"beware: {concern}" for concern in concerns(clips)]


def _remark_lines(remarks: list[Remark]) -> list[str]:
    """One line for each kind and reason, with a count and the first few paths."""
    groups: dict[tuple[str, str], list[str]] = {}
    for remark in remarks:
        groups.setdefault((remark.kind, remark.reason), []).append(remark.path)
    return [
        f"{kind}: {len(paths)}, {reason}: {_examples(paths)}"
        for (kind, reason), paths in sorted(groups.items())
    ]


def _examples(names: list[str]) -> str:
    shown = ", ".join(name.encode(errors="backslashreplace").decode() for name in names[:EXAMPLES])
    return shown + (", ..." if len(names) > EXAMPLES else "")


def change_lines(changes: dict[str, list[str]], file: Path, summed: bool) -> list[str]:
    """What `manifest.compare` found, in words."""
    lines = [
        f"{kind} since {file}: {len(paths)}, {_examples(paths)}"
        for kind, paths in changes.items()
        if paths
    ]
    how = "sums" if summed else "sizes alone, --sums compares contents"
    return lines or [f"as in {file} (by {how})"]
