"""What an ingest took and what it left out, with the reason: one page and one table."""

import base64
import html
import io
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

THUMBNAIL = 120  # pixels, the longer side
SHOWN = 200  # of each reason, and of the accepted clips a fifth of it; the table has all
ACCEPTED = (
    "A clip is accepted when one face, at least 24 pixels wide and turned no more than 55 degrees away, is seen without a "
    "gap of over 12 frames in one unbroken shot, its sound is there, and the file is as long as its header says. "
    "Portrait and variable frame rates are fine."
)
STYLE = """
body{font:16px/1.5 Helvetica,Arial,sans-serif;color:#222;max-width:60rem;margin:0 auto;padding:0 1rem 4rem}
h2{border-top:3px solid #0072B2;padding-top:.6rem}table{border-collapse:collapse;font-size:14px}.wide{overflow-x:auto}
td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}.crops img{margin:2px}
"""


def reason_kind(reason: str) -> str:
    """A reason without its numbers and its advice, to count by.

    >>> reason_kind("truncated, 1.20 s of 2.24 s are there; fetch the file again")
    'truncated, # s of # s are there'
    """
    return re.sub(r"\d+(\.\d+)?", "#", re.split(r"[;(:]", reason)[0]).strip()


def thumbnail(image: np.ndarray | None) -> str:
    """A small JPEG of a (H, W, 3) uint8 image as text (base64); "" for None."""
    if image is None:
        return ""
    picture, out = Image.fromarray(image), io.BytesIO()
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    picture.save(out, "JPEG", quality=80)
    return base64.b64encode(out.getvalue()).decode()


def write_report(
    folder: Path, manifest: pd.DataFrame, rejected: dict, frames: int, crops: Iterable[np.ndarray]
) -> None:
    """Write `report.html`, which needs no other file, and `rejected.csv` into a folder.

    Args:
        manifest: one row per clip. rejected: name -> {"reason": text, "thumbnail": base64 JPEG}.
        frames: how many were accepted. crops: (C, C, 3) uint8 of some accepted clips.
    """
    left_out = manifest[manifest["name"].isin(list(rejected))].copy()
    left_out["reason"] = [rejected[name]["reason"] for name in left_out["name"]]
    left_out.insert(len(left_out.columns) - 1, "kind", left_out["reason"].map(reason_kind))
    left_out.to_csv(folder / "rejected.csv", index=False)
    taken = manifest[~manifest["name"].isin(list(rejected))]
    counts = Counter(left_out["kind"]).most_common()
    title = f"{len(taken)} of {len(manifest)} clips accepted"
    body = [
        f"<h1>{title}</h1><p>{frames} frames, {taken['speaker'].nunique()} speakers, {len(left_out)} clips left out.</p>",
        _table(["reason", "clips"], [[kind, str(number)] for kind, number in counts]),
        f"<h2>Accepted</h2><p>{ACCEPTED}</p>",
        _by_emotion(taken),
        f'<p class="crops">{"".join(_picture(thumbnail(np.asarray(crop))) for crop in crops)}</p>',
    ]
    for kind, number in counts:
        rows = left_out[left_out["kind"] == kind].head(SHOWN)
        body.append(f"<h2>{html.escape(kind)}: {number}</h2>")
        cells = zip(rows["name"], rows["path"], rows["reason"])
        shown = [
            [_picture(rejected[name]["thumbnail"]), *map(html.escape, (path, reason))]
            for name, path, reason in cells
        ]
        body.append(_table(["", "clip", "reason"], shown, escaped=True))
        if number > SHOWN:
            body.append(f"<p>and {number - SHOWN} more in rejected.csv</p>")
    (folder / "report.html").write_text(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"><title>{title}</title><style>{STYLE}</style></head><body>\n'
        + "\n".join(body)
        + "\n</body></html>\n",
        encoding="utf-8",
    )


def _by_emotion(taken: pd.DataFrame) -> str:
    table = pd.crosstab(taken["emotion"], taken["intensity"])
    rows = [
        [str(emotion), *map(str, values)] for emotion, values in zip(table.index, table.to_numpy())
    ]
    return _table(["emotion", *(f"level {level}" for level in table.columns)], rows)


def _table(head: list[str], rows: list[list[str]], escaped: bool = False) -> str:
    cells = [[text if escaped else html.escape(text) for text in row] for row in rows]
    lines = "".join("<tr>" + "".join(f"<td>{text}</td>" for text in row) + "</tr>" for row in cells)
    names = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    return f'<div class="wide"><table><tr>{names}</tr>{lines}</table></div>'


def _picture(jpeg: str) -> str:
    return f'<img alt="" src="data:image/jpeg;base64,{jpeg}">' if jpeg else "no picture"
