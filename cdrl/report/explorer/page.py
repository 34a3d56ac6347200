"""The explorer as one HTML file, for any browser, without a network."""

import base64
import html
import re
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cdrl.core.files import atomic_path
from cdrl.report.explorer.atlas import Atlas, read_atlas
from cdrl.report.explorer.payload import FOLDER, payload, script, style_sheet
from cdrl.report.html_page import script_json

FACE_SIDE = 64  # pixels
MARK = re.compile("%(TITLE|STYLE|DATA|HEADER|CODE)%")  # of page.html


def write_page(run: Atlas | Path | str, out: Path | str, points: int = 0) -> Path:
    """Write the explorer as one HTML file with maps, faces and clips inside.

    Args:
        run: folder of a run, or an `Atlas`.
        out: the file.
        points: as `read_atlas` takes it.

    Returns:
        `out`; 3,000 frames of 600 clips are some 45 MB.
    """
    atlas = run if isinstance(run, Atlas) else read_atlas(run, points)
    out = Path(out)
    header, arrays = payload(atlas)
    clips = np.unique(atlas.clip)
    blocks = {"arrays": [arrays], "faces": _faces(atlas), "films": _films(atlas, clips)}

    header["clips"] = {}
    for position, clip in enumerate(clips):
        header["clips"][int(clip)] = [position, atlas.has_sound(clip)]
    header["lengths"] = {}
    for name, pieces in blocks.items():
        header["lengths"][name] = [len(piece) for piece in pieces]

    page = _fill_template(atlas.name, header, blocks)
    with atomic_path(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out


def _faces(atlas: Atlas) -> list[bytes]:
    """The JPEG of every mapped frame."""
    positions = tqdm(range(len(atlas.frames)), desc="faces", leave=False, disable=_no_terminal())
    return [atlas.face(position, FACE_SIDE) for position in positions]


def _films(atlas: Atlas, clips: np.ndarray) -> list[bytes]:
    """The mp4 of every one of (n,) clips."""
    numbers = tqdm(clips, desc="clips", leave=False, disable=_no_terminal())
    return [atlas.film(clip) for clip in numbers]


def _no_terminal() -> bool:
    """Whether a progress bar would be written into a log."""
    return not sys.stderr.isatty()


def _fill_template(name: str, header: dict, blocks: dict[str, list[bytes]]) -> str:
    """The text of page.html with a run's name, its data and the explorer's script and style."""
    values = {
        "TITLE": html.escape(f"cdrl explorer: {name}"),
        "STYLE": style_sheet(),
        "DATA": "".join(_data_element(name, pieces) for name, pieces in blocks.items()),
        "HEADER": script_json(header),
        "CODE": script().replace("export default", "const widget ="),
    }
    template = (FOLDER / "page.html").read_text()
    # In one pass: a label such as %CODE% must not be taken for a mark of the template.
    return MARK.sub(lambda match: values[match[1]], template)


def _data_element(name: str, pieces: list[bytes]) -> str:
    """A script element that holds bytes as base64."""
    encoded = base64.b64encode(b"".join(pieces)).decode()
    return f'<script type="application/octet-stream" id="{name}">{encoded}</script>\n'
