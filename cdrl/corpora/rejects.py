"""What an ingest took and what it left out, with the reason: one page and one table."""

import base64
import html
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from cdrl.core.tables import write_csv

THUMBNAIL = 120  # pixels, the longer side
PICTURES = 200  # shown of each reason; the table has all
ACCEPTED_PICTURES = PICTURES // 5
ACCEPTED = (
    "A clip is accepted when one face, at least 24 pixels wide and turned no more than 55 degrees "
    "away, is seen without a gap of over 12 frames in one unbroken shot, its sound is there, and "
    "the file is as long as its header says. Portrait and variable frame rates are fine."
)
STYLE = """
body{font:16px/1.5 Helvetica,Arial,sans-serif;color:#222;max-width:60rem;margin:0 auto;\
padding:0 1rem 4rem}
h2{border-top:3px solid #0072B2;padding-top:.6rem}\
table{border-collapse:collapse;font-size:14px}.wide{overflow-x:auto}
td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}\
.crops img{margin:2px}
"""
HEAD = (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
    'content="width=device-width, initial-scale=1">'
)


def reason_kind(reason: str) -> str:
    """A reason without its numbers and its advice, to count by.

    >>> reason_kind("truncated, 1.20 s of 2.24 s are there; fetch the file again")
    'truncated, # s of # s are there'
    """
    statement = re.split(r"[;(:]", reason)[0]
    return re.sub(r"\d+(\.\d+)?", "#", statement).strip()


def thumbnail(image: np.ndarray | None) -> str:
    """A small JPEG of a (H, W, 3) uint8 image as text (base64); "" for None."""
    if image is None:
        return ""
    picture = Image.fromarray(image)
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=80)
    return base64.b64encode(jpeg.getvalue()).decode()


def write_report(
    folder: Path,
    manifest: pd.DataFrame,
    rejected: dict[str, dict],
    num_frames: int,
    crops: Iterable[np.ndarray],
) -> None:
    """Write `report.html`, which needs no other file, and `rejected.csv` into a folder.

    Args:
        folder: where.
        manifest: one row per clip.
        rejected: name -> {"reason": text, "thumbnail": base64 JPEG}.
        num_frames: how many were accepted.
        crops: (C, C, 3) uint8 of some accepted clips.
    """
    is_rejected = manifest["name"].isin(list(rejected))
    rejected_clips = manifest[is_rejected].copy()
    reasons = [rejected[name]["reason"] for name in rejected_clips["name"]]
    rejected_clips["kind"] = [reason_kind(reason) for reason in reasons]
    rejected_clips["reason"] = reasons
    write_csv(folder / "rejected.csv", rejected_clips)

    accepted_clips = manifest[~is_rejected]
    title = f"{len(accepted_clips)} of {len(manifest)} clips accepted"
    num_speakers = accepted_clips["speaker"].nunique()
    pictures = [_picture(thumbnail(np.asarray(crop))) for crop in crops]
    counts = Counter(rejected_clips["kind"]).most_common()
    sections = [
        f"<h1>{title}</h1><p>{num_frames} frames, {num_speakers} speakers, "
        f"{len(rejected_clips)} clips left out.</p>",
        _table(["reason", "clips"], [(_text(kind), str(count)) for kind, count in counts]),
        f"<h2>Accepted</h2><p>{ACCEPTED}</p>",
        _emotion_table(accepted_clips),
        f'<p class="crops">{"".join(pictures)}</p>',
    ]
    for kind, _ in counts:
        clips_of_kind = rejected_clips[rejected_clips["kind"] == kind]
        sections += _kind_section(kind, clips_of_kind, rejected)
    page = (
        f"{HEAD}<title>{title}</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(sections)
        + "\n</body></html>\n"
    )
    (folder / "report.html").write_text(page, encoding="utf-8")


def _kind_section(kind: str, clips: pd.DataFrame, rejected: dict[str, dict]) -> list[str]:
    """A heading and a table of the clips that were left out for reasons of one kind."""
    rows = []
    for _, clip in clips.head(PICTURES).iterrows():
        picture = _picture(rejected[clip["name"]]["thumbnail"])
        rows.append((picture, _text(clip["path"]), _text(clip["reason"])))
    section = [f"<h2>{_text(kind)}: {len(clips)}</h2>", _table(["", "clip", "reason"], rows)]
    num_hidden = len(clips) - len(rows)
    if num_hidden:
        section.append(f"<p>and {num_hidden} more in rejected.csv</p>")
    return section


def _emotion_table(clips: pd.DataFrame) -> str:
    """Clips of each emotion and intensity."""
    table = pd.crosstab(clips["emotion"], clips["intensity"])
    levels = [f"level {level}" for level in table.columns]
    rows = []
    for emotion, counts in zip(table.index, table.to_numpy(), strict=True):
        rows.append((_text(str(emotion)), *(str(count) for count in counts)))
    return _table(["emotion", *levels], rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already."""
    names = "".join(f"<th>{_text(name)}</th>" for name in head)
    lines = [f"<tr>{names}</tr>"]
    for row in rows:
        cells = "".join(f"<td>{cell}</td>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _text(text: str) -> str:
    """A text as HTML."""
    return html.escape(text)


def _picture(jpeg: str) -> str:
    return f'<img alt="" src="data:image/jpeg;base64,{jpeg}">' if jpeg else "no picture"
