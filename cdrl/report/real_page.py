"""A page on the user's machine: contact sheets and moving pictures of edits of real faces.

It shows altered real people, so it is not to be passed on.
"""

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cdrl.core.files import atomic_path
from cdrl.report.html_page import html_page

TILE = 176  # pixels a side of a picture of a contact sheet
GAP = 4  # pixels between them
NOTE = (
    "These pictures show real people as they never looked. They are for you to judge the edit, and "
    "not to be passed on."
)


def contact_sheet(rows: Sequence[Sequence[np.ndarray]], path: Path) -> None:
    """Write pictures in rows and columns as one file.

    Args:
        rows: of (H, W, 3) uint8 pictures.
        path: a .jpg or .png.
    """
    columns = max(len(row) for row in rows)
    step = TILE + GAP
    sheet = Image.new("RGB", (columns * step - GAP, len(rows) * step - GAP), "white")
    for number, row in enumerate(rows):
        for column, picture in enumerate(row):
            tile = Image.fromarray(picture).resize((TILE, TILE), Image.Resampling.BILINEAR)
            sheet.paste(tile, (column * step, number * step))

    with atomic_path(path) as partial:
        sheet.save(partial, quality=92)


def write_real_page(
    folder: Path,
    sheets: Sequence[tuple[str, Path]],
    editors: Sequence[str],
    people: Sequence[str],
    emotions: Sequence[str],
) -> Path:
    """Write index.html beside the videos.

    Args:
        folder: with EDITOR/PERSON/EMOTION.mp4 and source/PERSON/neutral.mp4.
        sheets: title and file of each contact sheet.
        editors: whose videos are shown.
        people: rows.
        emotions: columns.

    Returns:
        The page.
    """
    parts = ["<h1>Edits of faces</h1>", f"<p>{NOTE}</p>"]
    for title, sheet in sheets:
        source = html.escape(sheet.relative_to(folder).as_posix())
        parts.append(f"<h2>{html.escape(title)}</h2>")
        parts.append(f'<img src="{source}" style="max-width:100%">')

    for editor in editors:
        parts.append(f"<h2>{html.escape(editor)}, moving</h2>")
        for person in people:
            files = [folder / "source" / person / "neutral.mp4"]
            files += [folder / editor / person / f"{emotion}.mp4" for emotion in emotions]
            videos = [_video(file, folder) for file in files if file.is_file()]
            parts.append(f"<p>{html.escape(person)}<br>{' '.join(videos)}</p>")

    page = folder / "index.html"
    with atomic_path(page) as partial:
        partial.write_text(html_page("Edits of faces", "\n".join(parts)))

    return page


def _video(file: Path, folder: Path) -> str:
    """A moving picture with its emotion below."""
    source = html.escape(file.relative_to(folder).as_posix())
    title = html.escape(file.stem)
    return (
        f'<video src="{source}" title="{title}" width="{TILE}" autoplay loop muted playsinline>'
        "</video>"
    )
